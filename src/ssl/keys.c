/* SPDX-License-Identifier: MIT
 * The queue's memory, its first rows, and new ones. Where the backend multiplies in bfloat16, the copy of the rows that
 * products read is kept beside them. */
#include "ssl/keys.h"
#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/embed.h"

static int width(const hpt__trainer *t) { return t->net->arch.dim; }

hpt_status hpt__keys_open(hpt__keys *q, hpt__trainer *t, int64_t n) {
    hpt_status st = HPT_OK;
    size_t pitch = (size_t)t->be->contrast->pitch(t->dev, t->spec.dtype, width(t));
    q->n = n;
    q->rows = hpt__take(&t->pool, (size_t)n * (size_t)width(t) * hpt__real_size(t->spec.dtype), &st);
    if (pitch) q->low = hpt__take(&t->pool, (size_t)n * pitch * 2, &st);
    return st;
}

/* Each row is keyed by its number. */
hpt_status hpt__keys_fill(hpt__keys *q, hpt__trainer *t) {
    size_t size = hpt__real_size(t->spec.dtype), d = (size_t)width(t), rows = (size_t)q->n;
    char *keys = hpt__alloc(rows * d * size);
    hpt_status st = keys ? HPT_OK : hpt__fail_memory(rows * d * size);
    for (size_t i = 0; i < rows && !st; i++) {
        hpt__rng r;
        double *wide = (double *)(void *)(keys + i * d * size), len;
        float *narrow = (float *)(void *)wide, length;
        hpt__rng_init(&r, t->spec.seed, HPT__RNG_QUEUE, i, 0);
        for (size_t j = 0; j < d; j++)
            if (size == 8) wide[j] = hpt__rng_normal(&r);
            else narrow[j] = (float)hpt__rng_normal(&r);
        if (size == 8) hpt__ref_l2norm_f64(1, (int)d, wide, wide, &len);
        else hpt__ref_l2norm_f32(1, (int)d, narrow, narrow, &length);
        if (i % 256 == 0) st = hpt__span_tick(0);
    }
    t->be->device.enter(t->dev);
    if (!st) t->be->memory.upload(t->dev, q->rows, keys, rows * d * size);
    t->be->device.leave(t->dev);
    hpt__free(keys);
    return st;
}

void hpt__keys_prepare(const hpt__keys *q, hpt__trainer *t) {
    size_t pitch = (size_t)t->be->contrast->pitch(t->dev, t->spec.dtype, width(t));
    if (q->low) t->be->params->lower(t->dev, (size_t)q->n, (size_t)width(t), pitch, q->rows, q->low);
}
void hpt__keys_enter(const hpt__keys *q, hpt__trainer *t, int images, const void *keys, const hpt__vars *vars) {
    t->be->contrast->enqueue(t->dev, t->spec.dtype, images, width(t), keys, q->rows, q->n, q->low, vars, t->outcome);
}
void hpt__keys_entered(hpt__keys *q, int images) {
    q->ptr = (q->ptr + images) % q->n;
    q->filled = q->filled + images < q->n ? q->filled + images : q->n;
}

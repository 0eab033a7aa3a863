/* SPDX-License-Identifier: MIT
 * Contract: drops.h. The factors of a plan, real (drops,batch), follow those of the plan before; 0 with the layer's
 * rate p, else 1/(1-p). An image's draws of a pass are one stream, a number for each layer. */
#include "train/drops.h"
#include "core/rng.h"
#include <string.h>

static size_t bytes_of(const hpt__trainer *t, int plan) {
    size_t n = (size_t)hpt__plan_drops(t->plan[plan]) * (size_t)hpt__plan_batch(t->plan[plan]);
    return (n * hpt__real_size(t->spec.dtype) + 63) / 64 * 64;
}

hpt_status hpt__drops_open(hpt__trainer *t) {
    hpt_status st = HPT_OK;
    t->drop_bytes = 0;
    for (int i = 0; i < t->n_plans; i++) t->drop_bytes += bytes_of(t, i);
    if (!t->drop_bytes && t->spec.drop_path > 0)
        return hpt__fail(HPT_ERR_OPTION, "option 'drop_path': no layer of %s drops images; leave it at 0",
                         t->net->arch.name);
    if (!t->drop_bytes) return HPT_OK;
    for (int l = 0; l < (t->be->host_memory ? 1 : HPT__LANES); l++) {
        t->drop[l] = hpt__take(&t->pool, t->drop_bytes, &st);
        if (st || t->be->host_memory) continue;
        t->be->device.enter(t->dev);
        t->drop_host[l] = t->be->queue.host_alloc(t->dev, t->drop_bytes);
        t->be->device.leave(t->dev);
        if (!t->drop_host[l]) st = hpt__fail_memory(t->drop_bytes);
    }
    return st;
}
void hpt__drops_close(hpt__trainer *t) {
    for (int l = 0; l < HPT__LANES; l++)
        if (t->drop_host[l]) t->be->queue.host_free(t->dev, t->drop_host[l]);
}

/* Which image of the whole step row i of a plan is: ranks lie side by side in each view of each part. */
static uint32_t image_of(const hpt__trainer *t, int batch, int i) {
    int part = batch < t->spec.batch ? batch : t->spec.batch, views = batch / part, all = part * t->comm->size;
    return (uint32_t)((t->part * views + i / part) * all + t->comm->rank * part + i % part);
}
static void draw(const hpt__trainer *t, int plan, void *to) {
    const hpt__plan *p = t->plan[plan];
    int drops = hpt__plan_drops(p), batch = hpt__plan_batch(p);
    for (int i = 0; i < batch && drops; i++) {
        hpt__rng r;
        hpt__rng_init(&r, t->spec.seed, HPT__RNG_DROP, t->step, (uint32_t)plan << 28 | image_of(t, batch, i));
        for (int k = 0; k < drops; k++) {
            double rate = hpt__plan_drop_rate(p, k), f = hpt__rng_uniform(&r) < rate ? 0 : 1 / (1 - rate);
            if (t->spec.dtype == HPT__F64) ((double *)to)[k * batch + i] = f;
            else ((float *)to)[k * batch + i] = (float)f;
        }
    }
}
void hpt__drops_stage(hpt__trainer *t, int lane) {
    char *to = t->be->host_memory ? t->drop[lane] : t->drop_host[lane];
    if (!t->drop_bytes) return;
    for (int i = 0; i < t->n_plans; to += bytes_of(t, i++)) draw(t, i, to);
    if (!t->be->host_memory) t->be->queue.stage(t->dev, lane, t->drop[lane], t->drop_host[lane], t->drop_bytes);
}
void hpt__drops_use(const hpt__trainer *t, int lane) {
    const char *at = t->drop[lane];
    for (int i = 0; i < t->n_plans && at; at += bytes_of(t, i++)) hpt__plan_give_drops(t->plan[i], at);
}

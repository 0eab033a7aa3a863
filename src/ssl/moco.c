/* SPDX-License-Identifier: MIT
 * The published step stands in hpt__moco_step(), line by line (He et al. 2020, algorithm 1; order of facebookresearch/moco). Names there:
 * q, k parameters of the query and key encoder; z_q, z_k their normalised embeddings; keys = z_k in the order of the batch. */
#include "ssl/moco.h"
#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/embed.h"
#include <math.h>
#include <string.h>

static void update(hpt__moco *m, double lr);
static hpt_status not_finite(hpt__moco *m, const char *what, int advance);
static void save_statistics(hpt__moco *m);
static void draw_shuffle(hpt__moco *m);

hpt_status hpt__moco_step(hpt__moco *m, const float *view_q, const float *view_k, int advance, hpt__moco_metrics *out) {
    const hpt__backend *be = m->be;
    hpt__device *dev = m->dev;
    hpt__dtype t = m->spec.dtype;
    int n = m->spec.batch, d = m->net->arch.dim;
    size_t pixels = 3 * (size_t)m->spec.size * (size_t)m->spec.size;
    double loss[3];
    memset(out, 0, sizeof *out);
    out->lr = hpt__schedule_lr(&m->spec.schedule, m->step);
    save_statistics(m);

    /* query: z_q = normalise(f_q(x_q)) */
    HPT_TRY(hpt__plan_forward(m->plan_q, m->q, m->stats_q, view_q, 0.1));
    be->enter(dev);
    be->l2norm(dev, t, n, d, hpt__plan_output(m->plan_q), m->z_q, m->norm);

    /* key encoder first moves towards the query encoder: k = m*k + (1-m)*q */
    be->ema(dev, t, m->k_next, m->k, m->q, m->net->n_params, m->spec.m);

    /* shuffle BN: the key images meet other batch-norm groups than their queries */
    draw_shuffle(m);
    if (m->spec.shuffle) be->gather(dev, HPT__F32, n, pixels, view_k, m->perm, m->shuffled);
    be->leave(dev);

    /* keys: z_k = unshuffle(normalise(f_k(shuffle(x_k)))), no gradient */
    HPT_TRY(hpt__plan_forward(m->plan_k, m->k_next, m->stats_k, m->spec.shuffle ? m->shuffled : view_k, 0.1));
    be->enter(dev);
    be->l2norm(dev, t, n, d, hpt__plan_output(m->plan_k), m->z_k, m->dz);
    be->gather(dev, t, n, (size_t)d, m->z_k, m->inverse, m->keys);

    /* InfoNCE with the queue as it was before this batch; gradient for z_q, then through the normalisation */
    hpt_status st = be->infonce(dev, t, n, d, m->spec.queue, m->z_q, m->keys, m->queue, m->spec.t, loss, m->dz, m->scratch);
    if (!st) be->l2norm_grad(dev, t, n, d, m->z_q, m->norm, m->dz, m->dz);
    out->loss = loss[0];
    out->acc1 = 100 * loss[1] / n;
    out->acc5 = 100 * loss[2] / n;
    out->z_std = be->spread(dev, t, n, d, m->z_q);
    be->leave(dev);
    if (st) return st;
    if (!isfinite(loss[0])) return not_finite(m, "the loss", advance);

    HPT_TRY(hpt__plan_backward(m->plan_q, m->q, m->grad, m->dz));
    be->enter(dev);
    int finite = be->finite(dev, t, m->grad, m->net->n_params);
    if (finite) {
        /* the step counts: keys into the queue, the key encoder's new weights, q = q - lr * update */
        m->ptr = be->enqueue(dev, t, n, d, m->keys, m->queue, m->spec.queue, m->ptr);
        m->filled = m->filled + n < m->spec.queue ? m->filled + n : m->spec.queue;
        void *old = m->k;
        m->k = m->k_next;
        m->k_next = old;
        update(m, out->lr);
        m->step++;
        out->applied = 1;
    }
    be->leave(dev);
    return finite ? HPT_OK : not_finite(m, NULL, advance);
}

/* SGD with momentum on the trainable ranges (all parameters: one range), or AdamW. */
static void update(hpt__moco *m, double lr) {
    size_t size = hpt__real_size(m->spec.dtype);
    hpt__adamw adam = {lr, m->spec.weight_decay, m->spec.beta1, m->spec.beta2, m->spec.eps, m->step + 1};
    for (int i = 0; i < m->net->n_tensors;) {
        const hpt__tensor *first = &m->net->tensors[i];
        if (hpt__is_stat(first) || !m->trainable[i]) {
            i++;
            continue;
        }
        size_t at = first->offset, end = at;
        for (; i < m->net->n_tensors; i++) {
            const hpt__tensor *t = &m->net->tensors[i];
            if (hpt__is_stat(t)) continue;
            if (!m->trainable[i]) break;
            end = t->offset + (t->count + 15) / 16 * 16;
        }
        char *q = (char *)m->q + at * size, *g = (char *)m->grad + at * size, *v1 = (char *)m->moment1 + at * size;
        if (m->spec.adamw) m->be->adamw(m->dev, m->spec.dtype, q, v1, (char *)m->moment2 + at * size, g, end - at, &adam);
        else m->be->sgd(m->dev, m->spec.dtype, q, v1, g, end - at, lr, m->spec.momentum, m->spec.weight_decay);
    }
}

/* A permutation of the batch keyed by (seed, step), and its inverse; the identity when shuffling is off. */
static void draw_shuffle(hpt__moco *m) {
    uint32_t n = (uint32_t)m->spec.batch;
    hpt__rng r;
    hpt__rng_init(&r, m->spec.seed, HPT__RNG_SHUFFLE, m->step, 0);
    hpt__rng_permutation(&r, m->perm, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!m->spec.shuffle) m->perm[i] = i;
        m->inverse[m->perm[i]] = i;
    }
}

/* Running statistics move in the forward passes; a step that does not count must leave them as they were. */
static void save_statistics(hpt__moco *m) {
    size_t bytes = m->net->n_stats * hpt__real_size(m->spec.dtype);
    memcpy(m->stats_old_q, m->stats_q, bytes);
    memcpy(m->stats_old_k, m->stats_k, bytes);
}

static hpt_status not_finite(hpt__moco *m, const char *what, int advance) {
    size_t bytes = m->net->n_stats * hpt__real_size(m->spec.dtype), size = hpt__real_size(m->spec.dtype);
    memcpy(m->stats_q, m->stats_old_q, bytes);
    memcpy(m->stats_k, m->stats_old_k, bytes);
    char text[96] = "a gradient";
    for (int i = 0; !what && i < m->net->n_tensors; i++) {
        const hpt__tensor *t = &m->net->tensors[i];
        if (!hpt__is_stat(t) && !m->be->finite(m->dev, m->spec.dtype, (char *)m->grad + t->offset * size, t->count)) {
            snprintf(text, sizeof text, "the gradient of %s", t->name);
            break;
        }
    }
    uint64_t step = m->step;
    if (!what) memset(m->grad, 0, m->net->n_params * size);
    if (advance) m->step++;
    return hpt__fail(HPT_ERR_NUMERIC, "step %llu: %s is not finite; the step was not applied", (unsigned long long)step + 1, what ? what : text);
}

static void *take(hpt__moco *m, size_t bytes, hpt_status *st) {
    void *p = *st ? NULL : m->be->mem_alloc(m->dev, bytes + 64);
    if (!p && !*st) *st = hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB for the state of a session", bytes >> 20);
    if (p) memset(p, 0, bytes + 64);
    return p;
}

hpt_status hpt__moco_init(hpt__moco *m, const hpt__backend *be, hpt__device *dev, hpt__net *net, const hpt__moco_spec *spec,
                          const float *params, const float *stats) {
    hpt_status st = HPT_OK;
    memset(m, 0, sizeof *m);
    m->be = be;
    m->dev = dev;
    m->net = net;
    m->spec = *spec;
    size_t size = hpt__real_size(spec->dtype), n = (size_t)spec->batch, d = (size_t)net->arch.dim;
    void **const flat[] = {&m->q, &m->k, &m->k_next, &m->grad, &m->moment1};
    for (size_t i = 0; i < sizeof flat / sizeof *flat; i++) *flat[i] = take(m, net->n_params * size, &st);
    if (spec->adamw) m->moment2 = take(m, net->n_params * size, &st);
    void **const stat[] = {&m->stats_q, &m->stats_k, &m->stats_old_q, &m->stats_old_k};
    for (size_t i = 0; i < sizeof stat / sizeof *stat; i++) *stat[i] = take(m, net->n_stats * size, &st);
    m->queue = take(m, (size_t)spec->queue * d * size, &st);
    void **const row[] = {&m->z_q, &m->z_k, &m->dz, &m->keys};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) *row[i] = take(m, n * (d + 1) * size, &st);
    m->norm = take(m, n * size, &st);
    m->scratch = take(m, be->infonce_scratch(dev, spec->dtype, spec->batch, net->arch.dim), &st);
    if (spec->shuffle) m->shuffled = take(m, n * 12 * (size_t)spec->size * (size_t)spec->size, &st);
    m->perm = take(m, n * 4, &st);
    m->inverse = take(m, n * 4, &st);
    m->trainable = take(m, (size_t)net->n_tensors, &st);
    if (st) goto failed;
    memcpy(m->trainable, spec->trainable, (size_t)net->n_tensors);
    hpt__plan_spec ps = {.dtype = spec->dtype, .mode = HPT__TRAIN, .batch = spec->batch, .size = spec->size, .groups = spec->groups,
                         .head = 1, .direct = spec->direct, .trainable = m->trainable};
    if ((st = hpt__plan_create(be, dev, net, &ps, &m->plan_q))) goto failed;
    ps.mode = HPT__FORWARD;
    if ((st = hpt__plan_create(be, dev, net, &ps, &m->plan_k))) goto failed;

    /* k starts as a copy of q's parameters; its statistics start fresh, as a newly built encoder's do */
    hpt__weights_upload(be, dev, spec->dtype, net, params, m->q, 0);
    hpt__weights_upload(be, dev, spec->dtype, net, stats, m->stats_q, 1);
    memcpy(m->k, m->q, net->n_params * size);
    for (int i = 0; i < net->n_tensors; i++)
        for (size_t j = 0; net->tensors[i].kind == HPT__RUN_VAR && j < net->tensors[i].count; j++)
            if (spec->dtype == HPT__F64) ((double *)m->stats_k)[net->tensors[i].offset + j] = 1;
            else ((float *)m->stats_k)[net->tensors[i].offset + j] = 1;
    /* the queue starts as random unit vectors */
    for (int64_t i = 0; i < spec->queue; i++) {
        hpt__rng r;
        hpt__rng_init(&r, spec->seed, HPT__RNG_QUEUE, (uint64_t)i, 0);
        if (spec->dtype == HPT__F64) for (size_t j = 0; j < d; j++) ((double *)m->queue)[(size_t)i * d + j] = hpt__rng_normal(&r);
        else for (size_t j = 0; j < d; j++) ((float *)m->queue)[(size_t)i * d + j] = (float)hpt__rng_normal(&r);
        void *row0 = (char *)m->queue + (size_t)i * d * size;
        be->l2norm(dev, spec->dtype, 1, (int)d, row0, row0, m->norm);
    }
    return HPT_OK;
failed:
    hpt__moco_fini(m);
    return st;
}

void hpt__moco_fini(hpt__moco *m) {
    void *all[] = {m->q, m->k, m->k_next, m->grad, m->moment1, m->moment2, m->stats_q, m->stats_k, m->stats_old_q, m->stats_old_k, m->queue,
                   m->z_q, m->z_k, m->norm, m->dz, m->keys, m->scratch, m->shuffled, m->perm, m->inverse, m->trainable};
    hpt__plan_destroy(m->plan_q);
    hpt__plan_destroy(m->plan_k);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) m->be->mem_free(m->dev, all[i]);
    memset(m, 0, sizeof *m);
}

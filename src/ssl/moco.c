/* SPDX-License-Identifier: MIT
 * The published step stands in step(), line by line (He et al. 2020, algorithm 1; order of facebookresearch/moco). Names there:
 * q, k parameters of the query and key encoder; z_q, z_k their normalised embeddings; keys = z_k of all ranks in the order of the batch.
 * n images on this rank, of all = n * ranks in the step. What differs from step to step (learning rate, queue pointer, permutation)
 * is read from device memory and nothing is decided on the host, so that the whole step can be recorded once and replayed. */
#include "ssl/moco.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/rng.h"
#include "kernels/embed.h"
#include <math.h>
#include <string.h>

typedef struct inputs { hpt__vars vars; uint32_t perm[]; } inputs;      /* perm[all], then its inverse[all] */
typedef struct buckets { hpt__moco *m; size_t end; hpt_status status; } buckets;
static void reduce_ready(void *user, size_t from);
static hpt_status reduce_rest(buckets *b);
static void foresee(hpt__moco *m, const hpt__vars *vars);
static void update(hpt__moco *m, const hpt__vars *vars);

static hpt_status step(hpt__moco *m, const float *view_q, const float *view_k, const inputs *in) {
    const hpt__backend *be = m->be;
    hpt__device *dev = m->dev;
    hpt__comm *comm = m->comm;
    hpt__dtype t = m->spec.dtype;
    hpt__outcome *o = m->outcome;
    int n = m->spec.batch, all = n * comm->size, d = m->net->arch.dim;
    size_t pixels = 3 * (size_t)m->spec.size * (size_t)m->spec.size, row = (size_t)d * hpt__real_size(t), first = (size_t)(n * comm->rank);
    const uint32_t *perm = in->perm + first, *inverse = in->perm + all;
    const void *mine = (char *)m->keys + first * row;

    /* query: z_q = normalise(f_q(x_q)) */
    HPT_TRY(hpt__plan_forward(m->plan_q, m->q, m->q_low, m->stats_q, view_q, 0.1));
    be->enter(dev);
    be->l2norm(dev, t, n, d, hpt__plan_output(m->plan_q), m->z_q, m->norm);

    /* shuffle BN: the key images meet other batch-norm groups, on other ranks, than their queries */
    hpt_status st = HPT_OK;
    if (m->spec.shuffle) {
        if (comm->size > 1) st = comm->all_gather(comm, view_k, m->all_views, (size_t)n * pixels * 4);
        be->gather(dev, HPT__F32, n, pixels, comm->size > 1 ? m->all_views : view_k, perm, m->shuffled);
        view_k = m->shuffled;
    }
    be->leave(dev);
    HPT_TRY(st);

    /* keys: z_k = unshuffle(normalise(f_k(shuffle(x_k)))), no gradient. f_k has already moved towards f_q: k = m*k + (1-m)*q, see update() */
    HPT_TRY(hpt__plan_forward(m->plan_k, m->k_next, m->k_low, m->stats_k, view_k, 0.1));
    be->enter(dev);
    be->l2norm(dev, t, n, d, hpt__plan_output(m->plan_k), m->z_k, m->dz);
    if (comm->size > 1) st = comm->all_gather(comm, m->z_k, m->z_all, (size_t)n * row);
    be->gather(dev, t, all, (size_t)d, comm->size > 1 ? m->z_all : m->z_k, inverse, m->keys);

    /* InfoNCE with the queue as it was before this batch; gradient for z_q, then through the normalisation */
    if (!st) st = be->infonce(dev, t, n, d, m->spec.queue, m->z_q, mine, m->queue, m->queue_low, m->spec.t, o, m->dz, m->scratch);
    be->l2norm_grad(dev, t, n, d, m->z_q, m->norm, m->dz, m->dz);
    be->spread(dev, t, n, d, m->z_q, o, m->scratch);
    if (!st && comm->size > 1) st = comm->mean_start(comm, o, 4, 1);
    if (!st && comm->size > 1) st = comm->mean_wait(comm);
    be->judge(dev, o);
    be->leave(dev);
    HPT_TRY(st);

    /* backward; gradients are averaged over the ranks in buckets as they become ready */
    buckets b = {m, m->net->n_params, HPT_OK};
    HPT_TRY(hpt__plan_backward(m->plan_q, m->q, m->q_low, m->grad, m->dz, comm->size > 1 ? reduce_ready : NULL, &b));
    be->enter(dev);
    if (comm->size > 1) st = reduce_rest(&b);
    be->finite(dev, t, m->stats_q, m->net->n_stats, HPT__BAD_STATS, o);
    be->finite(dev, t, m->stats_k, m->net->n_stats, HPT__BAD_STATS, o);
    if (!st) foresee(m, &in->vars);

    /* unless something is not finite, or would not be, the step counts: keys into the queue, q = q - lr*v, k follows */
    if (!st) {
        be->enqueue(dev, t, all, d, m->keys, m->queue, m->spec.queue, m->queue_low, &in->vars, o);
        update(m, &in->vars);
    }
    be->leave(dev);
    return st;
}

/* Parameters that all train, or all do not: values [at, end) of the flat arrays; each: one tensor alone. */
typedef struct run { int i, trains; size_t at, end; const hpt__tensor *first; } run;
static int next_run(const hpt__moco *m, run *r, int each) {
    const hpt__net *net = m->net;
    while (r->i < net->n_tensors && hpt__is_stat(&net->tensors[r->i])) r->i++;
    if (r->i == net->n_tensors) return 0;
    r->first = &net->tensors[r->i];
    r->trains = m->trainable[r->i];
    r->at = r->first->offset;
    for (int n = 0; r->i < net->n_tensors; r->i++) {
        const hpt__tensor *t = &net->tensors[r->i];
        if (hpt__is_stat(t)) continue;
        if (m->trainable[r->i] != r->trains || (each && n++)) break;
        r->end = t->offset + (t->count + 15) / 16 * 16;
    }
    return 1;
}

/* What the update of a run is: SGD with momentum, AdamW, LARS, or nothing but the key encoder's. */
static hpt__update update_of(const hpt__moco *m, const run *r) {
    hpt__update u = {.q = m->q, .k = m->k, .k_next = m->k_next, .m = m->moment1, .v = m->moment2, .g = m->grad, .q_low = m->q_low, .k_low = m->k_low,
                     .momentum = m->spec.momentum, .wd = m->spec.weight_decay, .b1 = m->spec.beta1, .b2 = m->spec.beta2, .eps = m->spec.eps, .ema = m->spec.m};
    u.rule = r->trains ? m->spec.rule : HPT__FROZEN;
    u.trust = (char *)m->trust + (size_t)(r->first - m->net->tensors) * hpt__real_size(m->spec.dtype);
    if (u.rule == HPT__LARS && r->first->ndim < 2) {        /* moco-v3: vectors have neither weight decay nor trust */
        u.rule = HPT__SGD;
        u.wd = 0;
    }
    return u;
}
/* Would the update leave a weight that is not finite? A gradient, a momentum or an overflow may be why. LARS: its factors on the way. */
static void foresee(hpt__moco *m, const hpt__vars *vars) {
    size_t size = hpt__real_size(m->spec.dtype);
    for (run r = {0}; next_run(m, &r, m->spec.rule == HPT__LARS);) {
        hpt__update u = update_of(m, &r);
        if (u.rule == HPT__LARS)
            m->be->trust(m->dev, m->spec.dtype, (char *)m->q + r.at * size, (char *)m->grad + r.at * size, r.first->count, u.wd, m->spec.trust, (void *)(uintptr_t)u.trust, m->scratch);
        if (u.rule != HPT__FROZEN) m->be->foresee(m->dev, m->spec.dtype, &u, r.at, r.end - r.at, vars, HPT__BAD_UPDATE, m->outcome);
    }
}
/* The update of the trainable ranges (all parameters: one range), and in the same pass that of the key encoder on all of them: k = k_next;
 * k_next = m*k + (1-m)*q for the step to come. */
static void update(hpt__moco *m, const hpt__vars *vars) {
    for (run r = {0}; next_run(m, &r, m->spec.rule == HPT__LARS);) {
        hpt__update u = update_of(m, &r);
        m->be->update(m->dev, m->spec.dtype, &u, r.at, r.end - r.at, vars, m->outcome);
    }
}

/* ---- gradient buckets: from the end of the flat array, where backward begins ---- */

enum { BUCKET = 2 << 20 };      /* values: 8 MiB of float */
/* of what trains: the gradients of the rest are not computed */
static hpt_status reduce(buckets *b, size_t from) {
    hpt__moco *m = b->m;
    size_t size = hpt__real_size(m->spec.dtype);
    for (run r = {0}; next_run(m, &r, 0);) {
        size_t lo = r.at > from ? r.at : from, hi = r.end < b->end ? r.end : b->end;
        if (r.trains && lo < hi) HPT_TRY(m->comm->mean_start(m->comm, (char *)m->grad + lo * size, hi - lo, size == 8));
    }
    b->end = from;
    return HPT_OK;
}
static void reduce_ready(void *user, size_t from) {
    buckets *b = user;
    if (!b->status && b->end - from >= BUCKET) b->status = reduce(b, from);
}
/* And the running statistics: each rank saw other images, the mean of theirs is that of the batch. */
static hpt_status reduce_rest(buckets *b) {
    hpt__moco *m = b->m;
    int f64 = m->spec.dtype == HPT__F64;
    HPT_TRY(b->status);
    HPT_TRY(reduce(b, 0));
    HPT_TRY(m->comm->mean_start(m->comm, m->stats_q, m->net->n_stats, f64));
    HPT_TRY(m->comm->mean_start(m->comm, m->stats_k, m->net->n_stats, f64));
    return b->m->comm->mean_wait(b->m->comm);
}

/* ---- giving a step its images ---- */

hpt_status hpt__moco_stage(hpt__moco *m, const float *view_q, const float *view_k, int later) {
    size_t bytes = (size_t)m->spec.batch * 12 * (size_t)m->spec.size * (size_t)m->spec.size;
    const float *view[2] = {view_q, view_k};
    m->staged = 1;
    m->raw[m->lane] = 0;
    for (int v = 0; v < 2; v++) {
        m->source[v] = view[v];
        if (m->be->host_memory) continue;
        m->be->enter(m->dev);
        if (later) m->be->stage(m->dev, m->lane, m->view[m->lane][v], view[v], bytes);
        else m->be->upload(m->dev, m->view[m->lane][v], view[v], bytes);
        m->be->leave(m->dev);
    }
    return HPT_OK;
}

/* A step may be under way: nothing here may wait for it (another rank may be gone, and only finish() notices), so the old memory is freed
 * after that step. */
static hpt_status grow(hpt__moco *m, void **p, size_t *cap, size_t bytes) {
    if (bytes <= *cap) return HPT_OK;
    void *more = m->n_retired < HPT__RETIRED ? m->be->mem_alloc(m->dev, 2 * bytes) : NULL;        /* crops vary from batch to batch */
    if (more) {
        if (*p) m->retired[m->n_retired++] = *p;
        *p = more;
        *cap = 2 * bytes;
        return HPT_OK;
    }
    return hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB of the device for the images of a batch", bytes >> 20);
}

hpt_status hpt__moco_stage_raw(hpt__moco *m, const uint8_t *pixels, size_t bytes, const hpt__view *views, const float *table) {
    int l = m->lane, n = 2 * m->spec.batch, taps = 3;
    for (int i = 0; i < n; i++)
        if (hpt__view_taps(views + i, m->spec.size) > taps) taps = hpt__view_taps(views + i, m->spec.size);
    m->be->enter(m->dev);
    hpt_status st = grow(m, &m->pixels[l], &m->pixels_cap[l], bytes);
    if (!st) st = grow(m, &m->augment_scratch, &m->augment_cap, m->be->augment_scratch(m->dev, n, m->spec.size, taps));
    if (!st) {
        m->be->stage(m->dev, l, m->pixels[l], pixels, bytes);
        m->be->stage(m->dev, l, m->views[l], views, (size_t)n * sizeof *views);
        if (!m->table_sent) m->be->upload(m->dev, m->table, table, 3 * 256 * 4);     /* before the first step: nothing to wait for */
        m->table_sent = 1;
        m->views_taps[l] = taps;
        m->raw[l] = m->staged = 1;
    }
    m->be->leave(m->dev);
    return st;
}

hpt_status hpt__moco_staged(hpt__moco *m) {
    if (m->be->host_memory) return HPT_OK;
    m->be->enter(m->dev);
    hpt_status st = m->be->lane_wait(m->dev, m->lane);
    m->be->leave(m->dev);
    return st;
}

/* ---- launch and finish ---- */

/* Weights that came from outside: the next key encoder and the low copies follow them. */
static void prepare(hpt__moco *m) {
    const hpt__backend *be = m->be;
    size_t n = m->net->n_params, d = (size_t)m->net->arch.dim;
    be->ema(m->dev, m->spec.dtype, m->k_next, m->k, m->q, n, m->spec.m);
    if (m->q_low) {
        be->lower(m->dev, 1, n, n, m->q, m->q_low);
        be->lower(m->dev, 1, n, n, m->k_next, m->k_low);
    }
    if (m->queue_low) be->lower(m->dev, (size_t)m->spec.queue, d, (size_t)be->queue_pitch(m->dev, m->spec.dtype, (int)d), m->queue, m->queue_low);
    m->prepared = 1;
}

/* Learning rate, queue pointer, and a permutation of the whole batch keyed by (seed, step): the same on every rank. */
static void fill_inputs(hpt__moco *m, inputs *in) {
    uint32_t n = (uint32_t)(m->spec.batch * m->comm->size), *inverse = in->perm + n;
    double t = (double)m->step + 1;
    hpt__rng r;
    m->lr = hpt__schedule_lr(&m->spec.schedule, m->step);
    in->vars = (hpt__vars){.lr = m->lr, .adam1 = 1 - pow(m->spec.beta1, t), .adam2 = sqrt(1 - pow(m->spec.beta2, t)), .ptr = m->ptr};
    hpt__rng_init(&r, m->spec.seed, HPT__RNG_SHUFFLE, m->step, 0);
    hpt__rng_permutation(&r, in->perm, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!m->spec.shuffle) in->perm[i] = i;
        inverse[in->perm[i]] = i;
    }
}
static size_t input_bytes(const hpt__moco *m) { return (sizeof(inputs) + 8 * (size_t)m->spec.batch * (size_t)m->comm->size + 63) / 64 * 64; }

/* Running statistics move in the forward passes: what they were is kept, and put back if the step does not count. */
static size_t stat_bytes(const hpt__moco *m) { return (m->net->n_stats * hpt__real_size(m->spec.dtype) + 63) / 64 * 64; }
static hpt_status whole_step(hpt__moco *m, int lane) {
    const hpt__backend *be = m->be;
    const float *q = be->host_memory ? m->source[0] : m->view[lane][0], *k = be->host_memory ? m->source[1] : m->view[lane][1];
    size_t bytes = stat_bytes(m);
    be->enter(m->dev);
    be->zero(m->dev, m->outcome, sizeof *m->outcome);
    be->copy(m->dev, m->stats_old_q, m->stats_q, bytes);
    be->copy(m->dev, m->stats_old_k, m->stats_k, bytes);
    be->leave(m->dev);
    hpt_status st = step(m, q, k, m->input[lane]);
    be->enter(m->dev);
    if (st && be->host_memory) {        /* cancelled, or a rank is gone: the state is that of before the step and can be saved */
        be->copy(m->dev, m->stats_q, m->stats_old_q, bytes);
        be->copy(m->dev, m->stats_k, m->stats_old_k, bytes);
    }
    if (!st) {
        be->copy_if(m->dev, m->stats_q, m->stats_old_q, bytes, &m->outcome->bad);
        be->copy_if(m->dev, m->stats_k, m->stats_old_k, bytes, &m->outcome->bad);
    }
    if (!st && !be->host_memory) be->fetch(m->dev, m->outcome_host, m->outcome, sizeof *m->outcome);
    be->leave(m->dev);
    return st;
}

/* The first step of a lane runs as it is (libraries load their code then), the second is recorded, later ones replay it. */
static hpt_status run_or_replay(hpt__moco *m, int lane) {
    const hpt__backend *be = m->be;
    if (m->spec.graph && m->warm[lane] && !m->graph[lane]) {
        be->enter(m->dev);
        hpt_status st = be->graph_begin(m->dev);
        be->leave(m->dev);
        HPT_TRY(st);
        st = whole_step(m, lane);
        be->enter(m->dev);
        hpt_status end = be->graph_end(m->dev, &m->graph[lane]);
        be->leave(m->dev);
        HPT_TRY(st ? st : end);
    }
    m->warm[lane] = 1;
    if (!m->graph[lane]) return whole_step(m, lane);
    be->enter(m->dev);
    hpt_status st = be->graph_launch(m->dev, m->graph[lane]);
    be->leave(m->dev);
    return st;
}

hpt_status hpt__moco_launch(hpt__moco *m) {
    const hpt__backend *be = m->be;
    int lane = m->lane;
    inputs *in = m->input_host[lane];
    if (!m->staged) return hpt__fail(HPT_ERR_INTERNAL, "a step without images");
    fill_inputs(m, in);
    be->enter(m->dev);
    if (!m->prepared) prepare(m);
    if (!be->host_memory) {
        be->stage(m->dev, lane, m->input[lane], in, input_bytes(m));
        be->await(m->dev, lane);
        if (m->raw[lane])
            be->augment(m->dev, 2 * m->spec.batch, m->spec.size, m->views_taps[lane], m->views[lane], m->pixels[lane], m->table, m->view[lane][0], m->augment_scratch);
    }
    be->leave(m->dev);
    m->staged = 0;
    m->launched = lane;
    if (!be->host_memory) m->lane = (lane + 1) % HPT__LANES;
    return run_or_replay(m, lane);
}

/* Does part of a flat array hold a value that is not finite? The outcome is free again when this is asked. */
static int bad_part(hpt__moco *m, const void *flat, size_t at, size_t n) {
    if (!flat) return 0;
    m->be->zero(m->dev, m->outcome, sizeof *m->outcome);
    m->be->finite(m->dev, m->spec.dtype, (const char *)flat + at * hpt__real_size(m->spec.dtype), n, HPT__BAD_GRAD, m->outcome);
    m->be->download(m->dev, m->outcome_host, m->outcome, sizeof *m->outcome);
    return m->outcome_host->bad != 0;
}
static int bad_update(hpt__moco *m, const run *r) {
    hpt__update u = update_of(m, r);
    if (u.rule == HPT__FROZEN) return 0;
    m->be->zero(m->dev, m->outcome, sizeof *m->outcome);
    m->be->foresee(m->dev, m->spec.dtype, &u, r->at, r->end - r->at, &((inputs *)m->input[m->launched])->vars, HPT__BAD_UPDATE, m->outcome);
    m->be->download(m->dev, m->outcome_host, m->outcome, sizeof *m->outcome);
    return m->outcome_host->bad != 0;
}
/* What was bad, as far as it can still be seen: "the gradient of conv1.weight". */
static void name_bad(hpt__moco *m, int bad, char *text, size_t size) {
    const hpt__net *net = m->net;
    if (bad & HPT__BAD_LOSS) {
        snprintf(text, size, "the loss");
        return;
    }
    for (run r = {0}; bad & HPT__BAD_UPDATE && next_run(m, &r, 1);) {
        if (!bad_update(m, &r)) continue;
        const char *what = bad_part(m, m->grad, r.at, r.first->count) ? "gradient" : bad_part(m, m->moment1, r.at, r.first->count) || bad_part(m, m->moment2, r.at, r.first->count) ? "momentum" : "next value";
        snprintf(text, size, "the %s of %s", what, r.first->name);
        return;
    }
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        int key = 0;
        if (!hpt__is_stat(t) || (!bad_part(m, m->stats_q, t->offset, t->count) && !(key = bad_part(m, m->stats_k, t->offset, t->count)))) continue;
        snprintf(text, size, "%s of the %s encoder", t->name, key ? "key" : "query");
        return;
    }
    snprintf(text, size, "a running statistic of batch norm");      /* what was before is back by now */
}
static hpt_status not_finite(hpt__moco *m, int bad, int advance) {
    char text[160];
    name_bad(m, bad, text, sizeof text);
    m->be->zero(m->dev, m->grad, m->net->n_params * hpt__real_size(m->spec.dtype));
    uint64_t at = m->step;
    if (advance) m->step++;
    return hpt__fail(HPT_ERR_NUMERIC, "step %llu: %s is not finite; the step was not applied", (unsigned long long)at + 1, text);
}

hpt_status hpt__moco_finish(hpt__moco *m, int advance, hpt__moco_metrics *out) {
    const hpt__backend *be = m->be;
    int all = m->spec.batch * m->comm->size;
    hpt_status st = HPT_OK;
    double begin = hpt__now_ms();
    memset(out, 0, sizeof *out);
    out->lr = m->lr;
    be->enter(m->dev);
    /* asleep for most of the time that the last step took, then awake: the device should not wait for the host */
    while (!be->host_memory && (st = be->poll(m->dev)) == HPT_END) {
        double waited = hpt__now_ms() - begin;
        if ((st = m->comm->check(m->comm, waited / 1000))) break;
        if (waited < 0.8 * m->last_wait || waited > 3 * m->last_wait + 5) hpt__sleep_us(20);
    }
    m->last_wait = hpt__now_ms() - begin;
    while (!st && m->n_retired) m->be->mem_free(m->dev, m->retired[--m->n_retired]);
    hpt__outcome o = *m->outcome_host;
    if (!st) {
        out->loss = o.loss;
        out->acc1 = 100 * o.top1 / m->spec.batch;
        out->acc5 = 100 * o.top5 / m->spec.batch;
        out->z_std = o.spread;
        if (o.bad) st = not_finite(m, o.bad, advance);
        else {
            m->ptr = (m->ptr + all) % m->spec.queue;
            m->filled = m->filled + all < m->spec.queue ? m->filled + all : m->spec.queue;
            m->step++;
            out->applied = 1;
        }
    }
    be->leave(m->dev);
    return st;
}

hpt_status hpt__moco_step(hpt__moco *m, const float *view_q, const float *view_k, int advance, hpt__moco_metrics *out) {
    HPT_TRY(hpt__moco_stage(m, view_q, view_k, 0));
    HPT_TRY(hpt__moco_launch(m));
    return hpt__moco_finish(m, advance, out);
}

/* ---- a run begins and ends ---- */

static void *take(hpt__moco *m, size_t bytes, hpt_status *st) {
    void *p = *st ? NULL : m->be->mem_alloc(m->dev, bytes + 64);
    if (!p && !*st) {
        size_t left = m->be->mem_left(m->dev);
        *st = left == SIZE_MAX ? hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB for the state of a session", bytes >> 20)
                               : hpt__fail(HPT_ERR_MEMORY, "out of device memory: %zu MiB for the state of a session, %zu MiB free", bytes >> 20, left >> 20);
    }
    if (p) m->be->zero(m->dev, p, bytes + 64);
    return p;
}
static void *take_host(hpt__moco *m, size_t bytes, hpt_status *st) {
    void *p = *st ? NULL : m->be->host_alloc(m->dev, bytes);
    if (!p && !*st) *st = hpt__fail_memory(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

/* Running variances of the key encoder start as 1, the queue as random unit vectors. */
static hpt_status fresh_state(hpt__moco *m) {
    const hpt__net *net = m->net;
    size_t size = hpt__real_size(m->spec.dtype), d = (size_t)net->arch.dim, rows = (size_t)m->spec.queue;
    float *stats = hpt__calloc(net->n_stats, 4);
    char *keys = hpt__alloc(rows * d * size), *unit = NULL;
    hpt_status st = stats && keys ? HPT_OK : hpt__fail_memory(rows * d * size);
    for (int i = 0; !st && i < net->n_tensors; i++)
        for (size_t j = 0; net->tensors[i].kind == HPT__RUN_VAR && j < net->tensors[i].count; j++) stats[net->tensors[i].offset + j] = 1;
    for (size_t i = 0; !st && i < rows; i++) {
        hpt__rng r;
        hpt__rng_init(&r, m->spec.seed, HPT__RNG_QUEUE, i, 0);
        for (size_t j = 0; j < d; j++)
            if (size == 8) ((double *)(void *)keys)[i * d + j] = hpt__rng_normal(&r);
            else ((float *)(void *)keys)[i * d + j] = (float)hpt__rng_normal(&r);
        unit = keys + i * d * size;
        if (size == 8) {
            double len;
            hpt__ref_l2norm_f64(1, (int)d, (double *)(void *)unit, (double *)(void *)unit, &len);
        } else {
            float len;
            hpt__ref_l2norm_f32(1, (int)d, (float *)(void *)unit, (float *)(void *)unit, &len);
        }
    }
    if (!st) {
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, stats, m->stats_k, 1);
        m->be->upload(m->dev, m->queue, keys, rows * d * size);
    }
    hpt__free(stats);
    hpt__free(keys);
    return st;
}

static hpt_status take_all(hpt__moco *m) {
    const hpt__moco_spec *spec = &m->spec;
    const hpt__backend *be = m->be;
    const hpt__net *net = m->net;
    hpt_status st = HPT_OK;
    size_t size = hpt__real_size(spec->dtype), n = (size_t)spec->batch, d = (size_t)net->arch.dim, all = n * (size_t)m->comm->size;
    size_t image = 12 * (size_t)spec->size * (size_t)spec->size, pitch = (size_t)be->queue_pitch(m->dev, spec->dtype, (int)d), loss = be->infonce_scratch(m->dev, spec->dtype, (int)n, (int)d);
    int low = be->low_params(m->dev, spec->dtype);
    void **const flat[] = {&m->q, &m->k, &m->k_next, &m->grad, &m->moment1};
    for (size_t i = 0; i < sizeof flat / sizeof *flat; i++) *flat[i] = take(m, net->n_params * size, &st);
    if (spec->rule == HPT__ADAMW) m->moment2 = take(m, net->n_params * size, &st);
    if (low) m->q_low = take(m, net->n_params * 2, &st), m->k_low = take(m, net->n_params * 2, &st);
    void **const stat[] = {&m->stats_q, &m->stats_k, &m->stats_old_q, &m->stats_old_k};
    for (size_t i = 0; i < sizeof stat / sizeof *stat; i++) *stat[i] = take(m, stat_bytes(m), &st);
    m->queue = take(m, (size_t)spec->queue * d * size, &st);
    if (pitch) m->queue_low = take(m, (size_t)spec->queue * pitch * 2, &st);
    void **const row[] = {&m->z_q, &m->z_k, &m->dz};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) *row[i] = take(m, n * (d + 1) * size, &st);
    m->keys = take(m, all * d * size, &st);
    m->norm = take(m, n * size, &st);
    m->trust = take(m, (size_t)net->n_tensors * size, &st);
    m->scratch = take(m, (loss > 128 * 8 ? loss : 128 * 8) + d * 8, &st);
    if (m->comm->size > 1) m->z_all = take(m, all * d * size, &st);
    if (spec->shuffle) m->shuffled = take(m, n * image, &st);
    if (spec->shuffle && m->comm->size > 1) m->all_views = take(m, all * image, &st);
    m->outcome = take(m, sizeof *m->outcome, &st);
    for (int l = 0; l < HPT__LANES; l++) {
        if (be->host_memory && l) break;
        m->input[l] = take(m, input_bytes(m), &st);
        if (be->host_memory) m->input_host[l] = m->input[l];
        else {
            m->input_host[l] = take_host(m, input_bytes(m), &st);
            m->view[l][0] = take(m, 2 * n * image, &st);        /* both views: one launch makes them */
            m->view[l][1] = st ? NULL : (char *)m->view[l][0] + n * image;
            m->views[l] = take(m, 2 * n * sizeof(hpt__view), &st);
        }
    }
    if (!be->host_memory) m->table = take(m, 3 * 256 * 4, &st);
    m->outcome_host = be->host_memory ? m->outcome : take_host(m, sizeof *m->outcome, &st);
    return st;
}

hpt_status hpt__moco_init(hpt__moco *m, const hpt__backend *be, hpt__device *dev, hpt__comm *comm, hpt__net *net, const hpt__moco_spec *spec,
                          const float *params, const float *stats) {
    memset(m, 0, sizeof *m);
    m->be = be;
    m->dev = dev;
    m->comm = comm;
    m->net = net;
    m->spec = *spec;
    if (!be->graph_begin) m->spec.graph = 0;
    if (!(m->trainable = hpt__alloc((size_t)net->n_tensors))) return hpt__fail_memory((size_t)net->n_tensors);
    memcpy(m->trainable, spec->trainable, (size_t)net->n_tensors);
    hpt__plan_spec ps = {.dtype = spec->dtype, .mode = HPT__TRAIN, .batch = spec->batch, .size = spec->size, .groups = spec->groups, .head = 1,
                         .direct = spec->direct, .deterministic = spec->deterministic, .trainable = m->trainable,
                         .watch = be->host_memory && comm->size == 1 ? spec->watch : NULL};
    be->enter(dev);
    hpt_status st = take_all(m);
    be->leave(dev);
    if (!st) st = hpt__plan_create(be, dev, net, &ps, &m->plan_q);
    ps.mode = HPT__FORWARD;
    if (!st) st = hpt__plan_create(be, dev, net, &ps, &m->plan_k);
    if (!st) {      /* k starts as a copy of q's parameters; its statistics start fresh, as a newly built encoder's do */
        be->enter(dev);
        hpt__weights_upload(be, dev, spec->dtype, net, params, m->q, 0);
        hpt__weights_upload(be, dev, spec->dtype, net, stats, m->stats_q, 1);
        be->copy(dev, m->k, m->q, net->n_params * hpt__real_size(spec->dtype));
        st = fresh_state(m);
        if (!st) st = be->sync(dev);
        be->leave(dev);
    }
    if (st) hpt__moco_fini(m);
    return st;
}

void hpt__moco_fini(hpt__moco *m) {
    void *all[] = {m->q, m->k, m->k_next, m->grad, m->moment1, m->moment2, m->stats_q, m->stats_k, m->stats_old_q, m->stats_old_k, m->queue, m->q_low, m->k_low,
                   m->queue_low, m->z_q, m->z_k, m->z_all, m->norm, m->dz, m->keys, m->scratch, m->trust, m->all_views, m->shuffled, m->outcome, m->table,
                   m->augment_scratch};
    if (!m->be) return;
    m->be->enter(m->dev);
    for (int l = 0; l < HPT__LANES; l++) {
        void *lane[] = {m->input[l], m->view[l][0], m->views[l], m->pixels[l]};
        if (m->graph[l]) m->be->graph_destroy(m->dev, m->graph[l]);
        for (size_t i = 0; i < sizeof lane / sizeof *lane; i++)
            if (lane[i]) m->be->mem_free(m->dev, lane[i]);
        if (!m->be->host_memory && m->input_host[l]) m->be->host_free(m->dev, m->input_host[l]);
    }
    if (!m->be->host_memory && m->outcome_host) m->be->host_free(m->dev, m->outcome_host);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) m->be->mem_free(m->dev, all[i]);
    while (m->n_retired) m->be->mem_free(m->dev, m->retired[--m->n_retired]);
    m->be->leave(m->dev);
    hpt__plan_destroy(m->plan_q);
    hpt__plan_destroy(m->plan_k);
    hpt__free(m->trainable);
    memset(m, 0, sizeof *m);
}

/* SPDX-License-Identifier: MIT
 * The published step stands in step(), line by line (He et al. 2020, algorithm 1; order of facebookresearch/moco).
 * Names there: z_q, z_k: normalised embeddings of the query and key images; keys: z_k of all ranks in the order of
 * the batch. The permutation of shuffle BN is drawn from (seed, step), the same on every rank. */
#include "ssl/moco.h"
#include "core/rng.h"
#include <math.h>
#include <string.h>

static int width(const hpt__trainer *t) { return t->net->arch.dim; }
static int images(const hpt__trainer *t) { return t->spec.batch * t->comm->size; }

static hpt_status step(hpt__trainer *t, const float *const *view, const hpt__input *in) {
    hpt__moco *m = t->self;
    const hpt__backend *be = t->be;
    hpt__device *dev = t->dev;
    hpt__comm *comm = t->comm;
    hpt__dtype dt = t->spec.dtype;
    int n = t->spec.batch, all = images(t), d = width(t);
    size_t pixels = 3 * (size_t)t->spec.size * (size_t)t->spec.size, row = (size_t)d * hpt__real_size(dt),
        first = (size_t)(n * comm->rank);
    const uint32_t *perm = in->data + first, *inverse = in->data + all;         /* (all), (all) */
    const float *x_q = view[0], *x_k = view[1];

    /* query: z_q = normalise(f_q(x_q)) */
    HPT_TRY(hpt__trainer_forward(t, &m->q, m->plan_q, x_q));
    be->device.enter(dev);
    be->rows->l2norm(dev, dt, n, d, hpt__plan_output(m->plan_q), m->z_q, m->norm);

    /* shuffle BN: the key images meet other batch-norm groups, on other ranks, than their queries */
    hpt_status st = HPT_OK;
    if (m->own.shuffle) {
        if (comm->size > 1) st = comm->all_gather(comm, x_k, m->all_views, (size_t)n * pixels * 4);
        be->rows->gather(dev, HPT__F32, n, pixels, comm->size > 1 ? m->all_views : x_k, perm, m->shuffled);
        x_k = m->shuffled;
    }
    be->device.leave(dev);
    HPT_TRY(st);

    /* keys: z_k = unshuffle(normalise(f_k(shuffle(x_k)))), no gradient. f_k has already moved towards f_q, see
     * train/optimizer.h */
    HPT_TRY(hpt__trainer_forward(t, &m->k, m->plan_k, x_k));
    be->device.enter(dev);
    be->rows->l2norm(dev, dt, n, d, hpt__plan_output(m->plan_k), m->z_k, m->dz);
    if (comm->size > 1) st = comm->all_gather(comm, m->z_k, m->z_all, (size_t)n * row);
    be->rows->gather(dev, dt, all, (size_t)d, comm->size > 1 ? m->z_all : m->z_k, inverse, m->keys);

    /* InfoNCE with the queue as it was before this batch; gradient for z_q, then through the normalisation */
    if (!st)
        st = be->contrast->infonce(dev, dt, n, d, m->queue.n, m->z_q, (char *)m->keys + first * row, m->queue.rows,
                                   m->queue.low, m->own.tau, t->outcome, m->dz, m->scratch);
    be->rows->l2norm_grad(dev, dt, n, d, m->z_q, m->norm, m->dz, m->dz);
    be->contrast->spread(dev, dt, n, d, m->z_q, t->outcome, m->scratch);
    if (!st) st = hpt__trainer_judge(t);
    be->device.leave(dev);
    return st ? st : hpt__trainer_backward(t, &m->q, m->plan_q, m->dz);
}

/* The keys enter the queue. */
static void commit(hpt__trainer *t, const hpt__input *in) {
    hpt__moco *m = t->self;
    hpt__keys_enter(&m->queue, t, images(t), m->keys, in->vars);
}
static void counted(hpt__trainer *t) { hpt__keys_entered(&((hpt__moco *)t->self)->queue, images(t)); }
static double ema(const hpt__trainer *t, uint64_t step) {
    (void)step;
    return ((const hpt__moco *)t->self)->own.momentum;
}

static size_t input_bytes(const hpt__trainer *t) { return 8 * (size_t)images(t); }
/* Queue row of the first new key; a permutation of the whole batch, then its inverse. */
static void draw(hpt__trainer *t, hpt__input *in) {
    const hpt__moco *m = t->self;
    uint32_t n = (uint32_t)images(t), *perm = in->data, *inverse = perm + n;
    hpt__rng r;
    in->vars->ptr = m->queue.ptr;
    hpt__rng_init(&r, t->spec.seed, HPT__RNG_SHUFFLE, t->step, 0);
    hpt__rng_permutation(&r, perm, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!m->own.shuffle) perm[i] = i;
        inverse[perm[i]] = i;
    }
}
static void prepare(hpt__trainer *t) { hpt__keys_prepare(&((hpt__moco *)t->self)->queue, t); }

/* ---- a run begins ---- */

static hpt_status configure(const hpt__options *o, int all, void *own) {
    (void)all;
    *(hpt__moco_own *)own = (hpt__moco_own){OPT_I(o, moco_k), OPT_F(o, moco_m), OPT_F(o, moco_t),
                                            (int)OPT_I(o, shuffle_bn)};
    return HPT_OK;
}

static hpt_status open(hpt__trainer *t, const void *own) {
    hpt__moco *m = t->self;
    const hpt__trainer_spec *s = &t->spec;
    hpt_status st = HPT_OK;
    m->own = *(const hpt__moco_own *)own;
    if (s->groups * t->comm->size == s->bn_ranks) m->own.shuffle = 0;     /* inside one group it changes nothing */
    size_t size = hpt__real_size(s->dtype), n = (size_t)s->batch, d = (size_t)width(t), all = (size_t)images(t);
    size_t image = 12 * (size_t)s->size * (size_t)s->size;
    size_t loss = t->be->contrast->scratch(t->dev, s->dtype, (int)n, (int)d);
    HPT_TRY(hpt__trainer_network(t, &m->q, t->net, "query", t->spec.trainable, NULL));
    HPT_TRY(hpt__trainer_network(t, &m->k, t->net, "key", NULL, &m->q));
    HPT_TRY(hpt__keys_open(&m->queue, t, m->own.queue));
    void **const rows[] = {&m->z_q, &m->z_k, &m->dz};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = hpt__take(&t->pool, n * (d + 1) * size, &st);
    m->keys = hpt__take(&t->pool, all * d * size, &st);
    m->norm = hpt__take(&t->pool, n * size, &st);
    m->scratch = hpt__take(&t->pool, loss + d * 8, &st);
    if (t->comm->size > 1) m->z_all = hpt__take(&t->pool, all * d * size, &st);
    if (m->own.shuffle) m->shuffled = hpt__take(&t->pool, n * image, &st);
    if (m->own.shuffle && t->comm->size > 1) m->all_views = hpt__take(&t->pool, all * image, &st);
    if (!st) st = hpt__trainer_plan(t, &m->q, s->batch, s->groups, 1, &m->plan_q);
    if (!st) st = hpt__trainer_plan(t, &m->k, s->batch, s->groups, 1, &m->plan_k);
    if (!st) st = hpt__trainer_begin(t, &m->q, &m->k);
    return st ? st : hpt__keys_fill(&m->queue, t);
}

static void report(const hpt__trainer *t, hpt_step_info *i) {
    const hpt__moco *m = t->self;
    i->queue_fill = (uint32_t)m->queue.filled;
    i->chance = log((double)m->queue.n + 1);
}

static int state(hpt__trainer *t, hpt__state item[HPT__STATES]) {
    hpt__moco *m = t->self;
    hpt__keys *q = &m->queue;
    const hpt__state all[] = {
        {.kind = HPT__STATE_ROWS, .name = "queue", .rows = q->rows, .n = q->n, .d = width(t)},
        {.kind = HPT__STATE_NUMBER, .name = "queue_ptr", .number = &q->ptr, .limit = q->n},
        {.kind = HPT__STATE_NETWORK, .name = "encoder_q.", .prefix = "q.", .weights = &m->q},
        {.kind = HPT__STATE_NETWORK, .name = "encoder_k.", .prefix = "k.", .weights = &m->k},
        {.kind = HPT__STATE_NOTE, .name = "filled", .number = &q->filled, .limit = q->n}};
    memcpy(item, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

static const hpt__measure measures[] = {
    {"loss", "nats", -1, offsetof(hpt_step_info, loss)},
    {"chance", "nats", 0, offsetof(hpt_step_info, chance)},
    {"contrast_acc1", "%", 1, offsetof(hpt_step_info, acc1)},
    {"contrast_acc5", "%", 1, offsetof(hpt_step_info, acc5)},
    {"z_std", "", 0, offsetof(hpt_step_info, z_std)},
    {"queue_fill", "keys", 0, 0},
    {"lr", "", 0, offsetof(hpt_step_info, lr)},
    {NULL, NULL, 0, 0},
};

const hpt__method hpt__method_moco = {
    .name = "moco",
    .roles = "labelled val",
    .measures = measures,
    .views = 2,
    .size = sizeof(hpt__moco),
    .own = sizeof(hpt__moco_own),
    .bn_momentum = HPT__BN_OWN,
    .configure = configure,
    .open = open,
    .input_bytes = input_bytes,
    .draw = draw,
    .ema = ema,
    .prepare = prepare,
    .step = step,
    .commit = commit,
    .counted = counted,
    .report = report,
    .state = state,
};

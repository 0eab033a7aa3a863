/* SPDX-License-Identifier: MIT
 * The published step stands in step() (Grill et al. 2020, algorithm 1). Both views go through one pass of 2n images,
 * each in batch-norm groups of its own: loss and gradients are those of two passes. Running statistics move once, by
 * the mean of both views, as far as two steps of momentum 0.1 would; PyTorch's code moves them twice. p: normalised
 * predictions q(z) of the online network's projections z, targets: normalised projections of the target network. */
#include "ssl/byol.h"
#include "core/alloc.h"
#include "core/rng.h"
#include <math.h>

static int width(const hpt__trainer *t) { return t->net->arch.dim; }

static hpt_status step(hpt__trainer *t, const float *const *view, const hpt__input *in) {
    hpt__byol *m = t->self;
    const hpt__backend *be = t->be;
    hpt__device *dev = t->dev;
    hpt__dtype dt = t->spec.dtype;
    int n = t->spec.batch, rows = 2 * n, d = width(t);
    size_t pixels = (size_t)n * 3 * (size_t)t->spec.size * (size_t)t->spec.size;
    const float *x = view[0];
    if (view[1] != view[0] + pixels) {
        be->device.enter(dev);
        be->memory.copy(dev, m->both, view[0], pixels * 4);
        be->memory.copy(dev, (float *)m->both + pixels, view[1], pixels * 4);
        be->device.leave(dev);
        x = m->both;
    }

    /* online: projections, and predictions of what the target network says of the other view */
    HPT_TRY(hpt__trainer_forward(t, &m->online, m->plan_online, x));
    be->device.enter(dev);
    be->rows->l2norm(dev, dt, rows, d, hpt__plan_output(m->plan_online), m->dp, m->norm);
    be->contrast->spread(dev, dt, rows, d, m->dp, t->outcome, m->scratch);
    be->device.leave(dev);
    HPT_TRY(hpt__trainer_forward(t, &m->predictor, m->plan_predictor, hpt__plan_output(m->plan_online)));

    /* target: no gradient; it has followed the online network after the step before */
    HPT_TRY(hpt__trainer_forward(t, &m->target, m->plan_target, x));
    be->device.enter(dev);
    be->rows->l2norm(dev, dt, rows, d, hpt__plan_output(m->plan_target), m->z, m->norm);
    be->rows->gather(dev, dt, rows, (size_t)d, m->z, in->data, m->crossed);

    /* loss: 2 - 2 cos, summed over both orders, mean over the images; gradient through the normalisation */
    be->rows->l2norm(dev, dt, rows, d, hpt__plan_output(m->plan_predictor), m->p, m->norm);
    be->contrast->agree(dev, dt, rows, d, n, m->p, m->crossed, m->dp, t->outcome, m->scratch);
    be->rows->l2norm_grad(dev, dt, rows, d, m->p, m->norm, m->dp, m->dp);
    hpt_status st = hpt__trainer_judge(t);
    be->device.leave(dev);

    if (!st) st = hpt__trainer_backward(t, &m->predictor, m->plan_predictor, m->dp);
    return st ? st : hpt__trainer_backward(t, &m->online, m->plan_online, hpt__plan_input_grad(m->plan_predictor));
}

/* Which row's target a row predicts. */
static size_t input_bytes(const hpt__trainer *t) { return 8 * (size_t)t->spec.batch; }
static void draw(hpt__trainer *t, hpt__input *in) {
    uint32_t n = (uint32_t)t->spec.batch;
    for (uint32_t i = 0; i < 2 * n; i++) in->data[i] = i < n ? i + n : i - n;
}

/* tau = 1 - (1 - tau_0) (cos(pi k/K) + 1)/2 */
static double ema(const hpt__trainer *t, uint64_t step) {
    const hpt__byol *m = t->self;
    return 1 - (1 - m->own.momentum) * (cos(acos(-1.0) * (double)step / (double)t->spec.schedule.total) + 1) / 2;
}

/* ---- a run begins ---- */

static hpt_status configure(const hpt__options *o, int all, void *own) {
    (void)all;
    *(hpt__byol_own *)own = (hpt__byol_own){OPT_F(o, byol_m), (int)OPT_I(o, byol_hidden)};
    return HPT_OK;
}

/* Linear layers N(0, 0.01) without bias, batch norm 1 and 0 (OpenSelfSup). */
static hpt_status fill_predictor(hpt__trainer *t) {
    hpt__byol *m = t->self;
    const hpt__net *net = &m->predictor_net;
    float *params = hpt__calloc(net->n_params, 4), *stats = hpt__calloc(net->n_stats, 4);
    hpt_status st = params && stats ? HPT_OK : hpt__fail_memory(net->n_params * 4);
    for (int i = 0; !st && i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        hpt__rng r;
        hpt__rng_init(&r, t->spec.seed, HPT__RNG_HEAD, 1, (uint64_t)i);
        for (size_t j = 0; j < x->count; j++) {
            if (x->kind == HPT__LINEAR_WEIGHT) params[x->offset + j] = (float)(0.01 * hpt__rng_normal(&r));
            if (x->kind == HPT__NORM_WEIGHT) params[x->offset + j] = 1;
            if (x->kind == HPT__RUN_VAR) stats[x->offset + j] = 1;
        }
    }
    if (!st) {
        t->be->device.enter(t->dev);
        hpt__weights_upload(t->be, t->dev, t->spec.dtype, net, params, m->predictor.params, 0);
        hpt__weights_upload(t->be, t->dev, t->spec.dtype, net, stats, m->predictor.stats, 1);
        t->be->device.leave(t->dev);
    }
    hpt__free(params);
    hpt__free(stats);
    return st;
}

static hpt_status open(hpt__trainer *t, const void *own) {
    hpt__byol *m = t->self;
    const hpt__trainer_spec *s = &t->spec;
    hpt__arch a;
    hpt_status st = HPT_OK;
    m->own = *(const hpt__byol_own *)own;
    if (!t->net->arch.mlp)
        return hpt__fail(HPT_ERR_OPTION, "method=byol needs a projector of two layers: option mlp=1");
    hpt__arch_mlp(&a, width(t), m->own.hidden, width(t), 1);
    HPT_TRY(hpt__net_create(&a, &m->predictor_net));
    if (!(m->all = hpt__alloc((size_t)m->predictor_net.n_tensors)))
        return hpt__fail_memory((size_t)m->predictor_net.n_tensors);
    for (int i = 0; i < m->predictor_net.n_tensors; i++) m->all[i] = !hpt__is_stat(&m->predictor_net.tensors[i]);
    size_t size = hpt__real_size(s->dtype), rows = 2 * (size_t)s->batch, d = (size_t)width(t);
    HPT_TRY(hpt__trainer_network(t, &m->online, t->net, "online", t->spec.trainable, NULL));
    HPT_TRY(hpt__trainer_network(t, &m->predictor, &m->predictor_net, "predictor's", m->all, NULL));
    HPT_TRY(hpt__trainer_network(t, &m->target, t->net, "target", NULL, &m->online));
    void **const arrays[] = {&m->p, &m->z, &m->crossed, &m->dp};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) *arrays[i] = hpt__take(&t->pool, rows * d * size, &st);
    m->norm = hpt__take(&t->pool, rows * size, &st);
    m->scratch = hpt__take(&t->pool, (rows > d ? rows : d) * 8, &st);
    if (t->be->host_memory) m->both = hpt__take(&t->pool, rows * 12 * (size_t)s->size * (size_t)s->size, &st);
    if (!st) st = hpt__trainer_plan(t, &m->online, 2 * s->batch, 2 * s->groups, 1, &m->plan_online);
    if (!st) st = hpt__trainer_plan(t, &m->predictor, 2 * s->batch, 2 * s->groups, 1, &m->plan_predictor);
    if (!st) st = hpt__trainer_plan(t, &m->target, 2 * s->batch, 2 * s->groups, 1, &m->plan_target);
    if (!st) st = hpt__trainer_begin(t, &m->online, &m->target);
    return st ? st : fill_predictor(t);
}
static void close(hpt__trainer *t) {
    hpt__byol *m = t->self;
    hpt__net_fini(&m->predictor_net);
    hpt__free(m->all);
}

static void report(const hpt__trainer *t, hpt_step_info *i) {
    (void)t;
    i->acc1 = i->acc5 = i->chance = NAN;        /* nothing is told apart */
    i->queue_fill = 0;
}

static int state(hpt__trainer *t, hpt__state item[HPT__STATES]) {
    hpt__byol *m = t->self;
    int n = 0;
    item[n++] = (hpt__state){.kind = HPT__STATE_NETWORK, .name = "online.", .prefix = "online.", .weights = &m->online};
    item[n++] = (hpt__state){.kind = HPT__STATE_NETWORK, .name = "predictor.", .prefix = "predictor.",
                             .weights = &m->predictor};
    item[n++] = (hpt__state){.kind = HPT__STATE_NETWORK, .name = "target.", .prefix = "target.", .weights = &m->target};
    return n;
}

static const hpt__measure measures[] = {
    {"loss", "", -1, offsetof(hpt_step_info, loss)},
    {"z_std", "", 0, offsetof(hpt_step_info, z_std)},
    {"lr", "", 0, offsetof(hpt_step_info, lr)},
    {NULL, NULL, 0, 0},
};

const hpt__method hpt__method_byol = {
    .name = "byol",
    .roles = "labelled val",
    .measures = measures,
    .views = 2,
    .size = sizeof(hpt__byol),
    .own = sizeof(hpt__byol_own),
    .bn_momentum = HPT__BN_TWICE,       /* two views at once */
    .configure = configure,
    .open = open,
    .close = close,
    .input_bytes = input_bytes,
    .draw = draw,
    .follow_after = 1,
    .ema = ema,
    .step = step,
    .report = report,
    .state = state,
};

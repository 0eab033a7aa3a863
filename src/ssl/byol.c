/* SPDX-License-Identifier: MIT
 * The published step stands in step() (Grill et al. 2020, algorithm 1). Both views go through one pass of 2n images,
 * each in batch-norm groups of its own: loss and gradients are those of two passes. Running statistics move once, by
 * the mean of both views, as far as two steps of momentum 0.1 would; PyTorch's code moves them twice. p: normalised
 * predictions q(z) of the online network's projections z, targets: normalised projections of the target network. */
#include "ssl/byol.h"
#include <math.h>
#include <string.h>

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
    HPT_TRY(hpt__trainer_forward(t, &m->predictor.weights, m->predictor.plan, hpt__plan_output(m->plan_online)));

    /* target: no gradient; it has followed the online network after the step before */
    HPT_TRY(hpt__trainer_forward(t, &m->target, m->plan_target, x));
    be->device.enter(dev);
    be->rows->l2norm(dev, dt, rows, d, hpt__plan_output(m->plan_target), m->z, m->norm);
    be->rows->gather(dev, dt, rows, (size_t)d, m->z, in->data, m->crossed);

    /* loss: 2 - 2 cos, summed over both orders, mean over the images; gradient through the normalisation */
    be->rows->l2norm(dev, dt, rows, d, hpt__plan_output(m->predictor.plan), m->p, m->norm);
    be->contrast->agree(dev, dt, rows, d, n, m->p, m->crossed, m->dp, t->outcome, m->scratch);
    be->rows->l2norm_grad(dev, dt, rows, d, m->p, m->norm, m->dp, m->dp);
    hpt_status st = hpt__trainer_judge(t);
    be->device.leave(dev);

    if (!st) st = hpt__trainer_backward(t, &m->predictor.weights, m->predictor.plan, m->dp);
    return st ? st : hpt__trainer_backward(t, &m->online, m->plan_online, hpt__plan_input_grad(m->predictor.plan));
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

static hpt_status open(hpt__trainer *t, const void *own) {
    hpt__byol *m = t->self;
    const hpt__trainer_spec *s = &t->spec;
    hpt_status st = HPT_OK;
    m->own = *(const hpt__byol_own *)own;
    if (!t->net->arch.mlp)
        return hpt__fail(HPT_ERR_OPTION, "method=byol needs a projector of two layers: option mlp=1");
    size_t size = hpt__real_size(s->dtype), rows = 2 * (size_t)s->batch, d = (size_t)width(t);
    HPT_TRY(hpt__trainer_network(t, &m->online, t->net, "online", t->spec.trainable, NULL));
    HPT_TRY(hpt__predictor_open(&m->predictor, t, width(t), m->own.hidden, 2 * s->batch, 2 * s->groups));
    HPT_TRY(hpt__trainer_network(t, &m->target, t->net, "target", NULL, &m->online));
    void **const arrays[] = {&m->p, &m->z, &m->crossed, &m->dp};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) *arrays[i] = hpt__take(&t->pool, rows * d * size, &st);
    m->norm = hpt__take(&t->pool, rows * size, &st);
    m->scratch = hpt__take(&t->pool, (rows > d ? rows : d) * 8, &st);
    if (t->be->host_memory) m->both = hpt__take(&t->pool, rows * 12 * (size_t)s->size * (size_t)s->size, &st);
    if (!st) st = hpt__trainer_plan(t, &m->online, 2 * s->batch, 2 * s->groups, 1, &m->plan_online);
    if (!st) st = hpt__trainer_plan(t, &m->target, 2 * s->batch, 2 * s->groups, 1, &m->plan_target);
    if (!st) st = hpt__trainer_begin(t, &m->online, &m->target);
    return st ? st : hpt__predictor_fill(&m->predictor, t);
}
static void close(hpt__trainer *t) { hpt__predictor_close(&((hpt__byol *)t->self)->predictor); }

static void report(const hpt__trainer *t, hpt_step_info *i) {
    (void)t;
    i->acc1 = i->acc5 = i->chance = NAN;        /* nothing is told apart */
    i->queue_fill = 0;
}

static int state(hpt__trainer *t, hpt__state item[HPT__STATES]) {
    hpt__byol *m = t->self;
    const hpt__state all[] = {
        {.kind = HPT__STATE_NETWORK, .name = "online.", .prefix = "online.", .weights = &m->online},
        {.kind = HPT__STATE_NETWORK, .name = "predictor.", .prefix = "predictor.", .weights = &m->predictor.weights},
        {.kind = HPT__STATE_NETWORK, .name = "target.", .prefix = "target.", .weights = &m->target}};
    memcpy(item, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
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

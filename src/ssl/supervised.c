/* SPDX-License-Identifier: MIT
 * One step of torchvision's reference training stands in step(): mixup if asked for, logits, cross-entropy, gradients.
 * Labels come with the images (trainer.label, or trainer.target where an image has several); the network that trains is
 * the model's backbone with a linear layer behind it (ssl/joined.h). */
#include "ssl/supervised.h"
#include "core/alloc.h"
#include "core/rng.h"
#include <math.h>
#include <string.h>

static int classes(const hpt__trainer *t) { return t->net->arch.dim; }

/* What the host tells a step: the share of an image in its mixture (a double), what is true of each image, and with
 * mixup the image of the whole batch that each is mixed with. */
static double *share(hpt__input *in) { return (double *)(void *)in->data; }
enum { TRUTH = 2 };
static size_t truth_words(const hpt__trainer *t) {
    return hpt__loss_truth(hpt__loss_for(t->spec.several), classes(t)) / 4 * (size_t)t->spec.batch;
}
/* Asked before the method is open: with room for a mixture, whether there is one or not. */
static size_t input_bytes(const hpt__trainer *t) { return 4 * (TRUTH + truth_words(t) + (size_t)t->spec.batch); }
static void draw(hpt__trainer *t, hpt__input *in) {
    const hpt__supervised *m = t->self;
    uint32_t n = (uint32_t)t->spec.batch, all = n * (uint32_t)t->comm->size, first = n * (uint32_t)t->comm->rank;
    uint32_t *other = in->data + TRUTH + truth_words(t);
    hpt__rng r;
    *share(in) = 1;
    memcpy(in->data + TRUTH, t->label ? (const void *)t->label : t->target, 4 * truth_words(t));
    if (!(m->own.mixup > 0)) return;
    hpt__rng_init(&r, t->spec.seed, HPT__RNG_MIXUP, t->step, (uint32_t)t->part);
    *share(in) = hpt__rng_beta(&r, m->own.mixup);
    for (uint32_t i = 0; i < n; i++) other[i] = (first + i + all - 1) % all;    /* the one before it */
}

/* x = l x + (1-l) x of the image before it; the pair says the same of the labels. Between enter and leave. */
static hpt_status mix(hpt__trainer *t, const float **x, hpt__pair *pair) {
    hpt__supervised *m = t->self;
    hpt__comm *comm = t->comm;
    size_t n = (size_t)t->spec.batch, pixels = 3 * (size_t)t->spec.size * (size_t)t->spec.size;
    const float *all = *x;
    if (comm->size > 1) {
        HPT_TRY(comm->all_gather(comm, *x, m->all_images, n * pixels * 4));
        HPT_TRY(comm->all_gather(comm, pair->label, m->all_labels, n * 4));
        all = m->all_images;
        pair->label = m->all_labels;
    }
    t->be->rows->mix(t->dev, (int)n, pixels, *x, all, pair, m->mixed);
    *x = m->mixed;
    return HPT_OK;
}

static hpt_status step(hpt__trainer *t, const float *const *view, const hpt__input *in) {
    hpt__supervised *m = t->self;
    const hpt__backend *be = t->be;
    size_t n = (size_t)t->spec.batch, k = (size_t)classes(t);
    const uint32_t *truth = in->data + TRUTH;
    hpt__pair pair = {(const double *)(const void *)in->data, truth + truth_words(t), (const int32_t *)truth};
    const float *x = view[0];
    hpt_status st = HPT_OK;
    be->device.enter(t->dev);
    if (m->own.mixup > 0) st = mix(t, &x, &pair);
    be->device.leave(t->dev);
    HPT_TRY(st);
    HPT_TRY(hpt__trainer_forward(t, &m->model, m->plan, x));
    be->device.enter(t->dev);
    be->memory.copy(t->dev, m->logits, hpt__plan_output(m->plan), n * k * hpt__real_size(t->spec.dtype));
    m->loss->run(&(hpt__scored){.be = be, .dev = t->dev, .dtype = t->spec.dtype, .n = t->spec.batch,
                                .classes = classes(t), .logits = m->logits, .truth = truth, .weight = m->weight,
                                .smoothing = m->own.smoothing, .mix = m->own.mixup > 0 ? &pair : NULL,
                                .losses = m->losses, .outcome = t->outcome});
    st = hpt__trainer_judge(t);
    be->device.leave(t->dev);
    return st ? st : hpt__trainer_backward(t, &m->model, m->plan, m->logits);
}

/* ---- a run begins ---- */

static hpt_status configure(const hpt__options *o, int all, void *own) {
    (void)all;
    *(hpt__supervised_own *)own = (hpt__supervised_own){OPT_F(o, label_smoothing), OPT_F(o, mixup)};
    return HPT_OK;
}

static hpt_status open(hpt__trainer *t, const void *own) {
    hpt__supervised *m = t->self;
    const hpt__trainer_spec *s = &t->spec;
    hpt_status st = HPT_OK;
    size_t n = (size_t)s->batch, k = (size_t)classes(t), size = hpt__real_size(s->dtype);
    m->own = *(const hpt__supervised_own *)own;
    HPT_TRY(hpt__trainer_network(t, &m->model, t->net, "trained", t->spec.trainable, NULL));
    m->loss = hpt__loss_for(s->several);
    m->logits = hpt__take(&t->pool, n * k * size, &st);
    if (s->several) m->losses = hpt__take(&t->pool, n * k * 4, &st);
    if (s->class_weight) m->weight = hpt__take(&t->pool, k * size, &st);
    if (m->own.mixup > 0) {
        size_t image = 12 * (size_t)s->size * (size_t)s->size, all = n * (size_t)t->comm->size;
        m->mixed = hpt__take(&t->pool, n * image, &st);
        if (t->comm->size > 1) m->all_images = hpt__take(&t->pool, all * image, &st);
        if (t->comm->size > 1) m->all_labels = hpt__take(&t->pool, all * 4, &st);
    }
    if (!st) st = hpt__trainer_plan(t, &m->model, s->batch, s->groups, 1, &m->plan);
    if (!st) st = hpt__trainer_begin(t, &m->model, NULL);
    if (st || !m->weight) return st;
    float *narrow = hpt__alloc(k * 4);
    if (!narrow) return hpt__fail_memory(k * 4);
    for (size_t i = 0; i < k; i++) narrow[i] = (float)s->class_weight[i];
    t->be->device.enter(t->dev);
    t->be->memory.upload(t->dev, m->weight, size == 8 ? (const void *)s->class_weight : narrow, k * size);
    t->be->device.leave(t->dev);
    hpt__free(narrow);
    return HPT_OK;
}

/* Loss and right answers are those of the training images; guessing costs log K. */
static void report(const hpt__trainer *t, hpt_step_info *i) {
    i->chance = log((double)classes(t));
    i->z_std = NAN; /* of embeddings: there are none */
    i->queue_fill = 0;
}

static int state(hpt__trainer *t, hpt__state item[HPT__STATES]) {
    hpt__supervised *m = t->self;
    item[0] = (hpt__state){.kind = HPT__STATE_NETWORK, .name = "model.", .prefix = "model.", .weights = &m->model};
    return 1;
}

static const hpt__measure measures[] = {
    {"loss", "nats", -1, offsetof(hpt_step_info, loss)},
    {"chance", "nats", 0, offsetof(hpt_step_info, chance)},
    {"train_top1", "%", 1, offsetof(hpt_step_info, acc1)},
    {"train_top5", "%", 1, offsetof(hpt_step_info, acc5)},
    {"lr", "", 0, offsetof(hpt_step_info, lr)},
    {NULL, NULL, 0, 0},
};

const hpt__method hpt__method_supervised = {
    .name = "supervised",
    .roles = "val",
    .measures = measures,
    .views = 1,
    .labels = 1,
    .size = sizeof(hpt__supervised),
    .own = sizeof(hpt__supervised_own),
    .bn_momentum = HPT__BN_OWN,
    .configure = configure,
    .open = open,
    .input_bytes = input_bytes,
    .draw = draw,
    .step = step,
    .report = report,
    .state = state,
};

/* SPDX-License-Identifier: MIT
 * One step of torchvision's reference training stands in step(): logits, cross-entropy, gradients. Labels come with
 * the images (trainer.label, or trainer.target where an image has several); the network that trains is the model's
 * backbone with a linear layer behind it (ssl/joined.h). */
#include "ssl/supervised.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

static int classes(const hpt__trainer *t) { return t->net->arch.dim; }

static hpt_status step(hpt__trainer *t, const float *const *view, const hpt__input *in) {
    hpt__supervised *m = t->self;
    const hpt__backend *be = t->be;
    size_t n = (size_t)t->spec.batch, k = (size_t)classes(t);
    HPT_TRY(hpt__trainer_forward(t, &m->model, m->plan, view[0]));
    be->device.enter(t->dev);
    be->memory.copy(t->dev, m->logits, hpt__plan_output(m->plan), n * k * hpt__real_size(t->spec.dtype));
    m->loss->run(&(hpt__scored){.be = be, .dev = t->dev, .dtype = t->spec.dtype, .n = t->spec.batch, .heads = 1,
                                .classes = classes(t), .logits = m->logits, .truth = in->data, .weight = m->weight,
                                .smoothing = m->own.smoothing, .losses = m->losses, .outcome = t->outcome});
    hpt_status st = hpt__trainer_judge(t);
    be->device.leave(t->dev);
    return st ? st : hpt__trainer_backward(t, &m->model, m->plan, m->logits);
}

static size_t input_bytes(const hpt__trainer *t) {
    return hpt__loss_truth(hpt__loss_for(t->spec.several), classes(t)) * (size_t)t->spec.batch;
}
static void draw(hpt__trainer *t, hpt__input *in) {
    memcpy(in->data, t->label ? (const void *)t->label : t->target, input_bytes(t));
}

/* ---- a run begins ---- */

static hpt_status configure(const hpt__options *o, int all, void *own) {
    (void)all;
    *(hpt__supervised_own *)own = (hpt__supervised_own){OPT_F(o, label_smoothing)};
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

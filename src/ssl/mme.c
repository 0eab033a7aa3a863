/* SPDX-License-Identifier: MIT
 * A step's two updates stand in learn() and adapt() (Saito et al. 2019, algorithm 1, as SSDA_MME has it). Its images
 * lie in one batch: n with labels, first those of the source and then those of the target, and u of the target without.
 * Encoder and classifier are one network (ssl/joined.h); the second plan turns the gradient around where the
 * classifier's last layer reads directions.
 */
#include "ssl/mme.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

enum { ENCODER = 1, CLASSIFIER = 2 }; /* groups of the optimizer */
enum { SOURCE, LABELLED, UNLABELLED };

static int classes(const hpt__trainer *t) { return t->net->arch.dim; }
static int taught(const hpt__trainer *t) { return t->spec.share[SOURCE] + t->spec.share[LABELLED]; }

/* Labels of the n images. */
static size_t input_bytes(const hpt__trainer *t) { return 4 * (size_t)t->spec.batch; }
static void draw(hpt__trainer *t, hpt__input *in) { memcpy(in->data, t->label, 4 * (size_t)taught(t)); }

/* Logits of a pass, where a loss may write. Between enter and leave. */
static void take_logits(hpt__trainer *t, const hpt__plan *p, int rows) {
    hpt__mme *m = t->self;
    size_t bytes = (size_t)rows * (size_t)classes(t) * hpt__real_size(t->spec.dtype);
    t->be->memory.copy(t->dev, m->logits, hpt__plan_output(p), bytes);
}

/* Cross-entropy, mean over source and target; batch norm sees both together. */
static hpt_status learn(hpt__trainer *t, const float *x, const hpt__input *in) {
    hpt__mme *m = t->self;
    int n = taught(t);
    HPT_TRY(hpt__trainer_forward(t, &m->model, m->plan_taught, x));
    t->be->device.enter(t->dev);
    take_logits(t, m->plan_taught, n);
    hpt__loss_softmax.run(&(hpt__scored){.be = t->be, .dev = t->dev, .dtype = t->spec.dtype, .n = n,
                                         .classes = classes(t), .logits = m->logits, .truth = in->data,
                                         .outcome = t->outcome});
    hpt_status st = hpt__trainer_judge(t);
    t->be->device.leave(t->dev);
    return st ? st : hpt__trainer_backward(t, &m->model, m->plan_taught, m->logits);
}

/* MME: descends -lambda H, turned around below the last layer, so that its directions go where predictions are least
 * certain and the features go to them. ENT: all descends +lambda H. */
static double sign(const hpt__mme *m) { return m->own.minimax ? 1 : -1; }
static hpt_status adapt(hpt__trainer *t, const float *x) {
    hpt__mme *m = t->self;
    int u = t->spec.share[UNLABELLED];
    HPT_TRY(hpt__trainer_forward(t, &m->model, m->plan_free, x));
    t->be->device.enter(t->dev);
    take_logits(t, m->plan_free, u);
    t->be->rows->entropy(t->dev, t->spec.dtype, u, classes(t), m->logits, sign(m) * m->own.lambda, t->outcome);
    hpt_status st = hpt__trainer_judge(t);
    t->be->device.leave(t->dev);
    return st ? st : hpt__trainer_backward(t, &m->model, m->plan_free, m->logits);
}

static hpt_status step(hpt__trainer *t, const float *const *view, const hpt__input *in) {
    size_t pixels = 3 * (size_t)t->spec.size * (size_t)t->spec.size;
    return t->update ? adapt(t, view[0] + (size_t)taught(t) * pixels) : learn(t, view[0], in);
}

/* ---- a run begins ---- */

static hpt_status configure(const hpt__options *o, int all, void *own) {
    (void)all;
    *(hpt__mme_own *)own = (hpt__mme_own){OPT_F(o, mme_lambda), OPT_F(o, mme_encoder_rate), OPT_I(o, bn_group),
                                          !OPT_IS(o, mme_entropy, "off"), OPT_IS(o, mme_entropy, "minimax")};
    return HPT_OK;
}

/* b of the source, up to b of the labelled target, and twice as many of the unlabelled. */
static void shares(const hpt__options *o, int b, uint64_t labelled, int share[HPT__SHARES]) {
    share[SOURCE] = b;
    share[LABELLED] = labelled < (uint64_t)b ? (int)labelled : b;
    share[UNLABELLED] = OPT_IS(o, mme_entropy, "off") ? 0 : 2 * b;
}

/* Both passes, with batch-norm groups of their own. */
static hpt_status make_plans(hpt__trainer *t) {
    hpt__mme *m = t->self;
    int n = taught(t), u = t->spec.share[UNLABELLED], ranks = t->comm->size, groups, more, joined;
    HPT_TRY(hpt__bn_groups_of(m->own.bn_group, n, ranks, &groups, &t->spec.bn_ranks));
    HPT_TRY(hpt__trainer_plan(t, &m->model, n, groups, 1, &m->plan_taught));
    if (!m->own.entropy) return HPT_OK;
    HPT_TRY(hpt__bn_groups_of(m->own.bn_group, u, ranks, &more, &joined));
    if (joined != t->spec.bn_ranks)
        return hpt__fail(HPT_ERR_OPTION,
                         "option 'bn_group': %lld images are those of %d ranks where labels are learnt and of %d in "
                         "the unlabelled pass: use 0, all of a pass", (long long)m->own.bn_group, t->spec.bn_ranks,
                         joined);
    return m->own.minimax ? hpt__trainer_plan_reversed(t, &m->model, u, more, &m->plan_free)
                          : hpt__trainer_plan(t, &m->model, u, more, 1, &m->plan_free);
}

static hpt_status open(hpt__trainer *t, const void *own) {
    hpt__mme *m = t->self;
    size_t rows = (size_t)(taught(t) > t->spec.share[UNLABELLED] ? taught(t) : t->spec.share[UNLABELLED]);
    hpt_status st = HPT_OK;
    m->own = *(const hpt__mme_own *)own;
    if (!(m->group = hpt__alloc((size_t)t->net->n_tensors))) return hpt__fail_memory((size_t)t->net->n_tensors);
    for (int i = 0; i < t->net->n_tensors; i++)
        m->group[i] = !t->spec.trainable[i] ? 0 : t->net->tensors[i].head ? CLASSIFIER : ENCODER;
    t->spec.optimizer.rate[ENCODER - 1] = m->own.encoder_rate;
    t->updates = m->own.entropy ? 2 : 1;
    t->scored = taught(t);
    HPT_TRY(hpt__trainer_network(t, &m->model, t->net, "trained", m->group, NULL));
    m->logits = hpt__take(&t->pool, rows * (size_t)classes(t) * hpt__real_size(t->spec.dtype), &st);
    if (!st) st = make_plans(t);
    return st ? st : hpt__trainer_begin(t, &m->model, NULL);
}
static void close(hpt__trainer *t) { hpt__free(((hpt__mme *)t->self)->group); }

/* Loss and right answers are those of the images with labels; guessing costs log K. */
static void report(const hpt__trainer *t, hpt_step_info *i) {
    const hpt__mme *m = t->self;
    i->chance = log((double)classes(t));
    i->z_std = NAN; /* of embeddings: there are none */
    i->queue_fill = 0;
    i->entropy_loss = -sign(m) * m->own.lambda * i->entropy;
}

static int state(hpt__trainer *t, hpt__state item[HPT__STATES]) {
    hpt__mme *m = t->self;
    item[0] = (hpt__state){.kind = HPT__STATE_NETWORK, .name = "model.", .prefix = "model.", .weights = &m->model};
    return 1;
}

static const hpt__measure measures[] = {
    {"loss", "nats", -1, offsetof(hpt_step_info, loss)},
    {"chance", "nats", 0, offsetof(hpt_step_info, chance)},
    {"train_top1", "%", 1, offsetof(hpt_step_info, acc1)},
    {"train_top5", "%", 1, offsetof(hpt_step_info, acc5)},
    {"entropy", "nats", 0, offsetof(hpt_step_info, entropy)},
    {"entropy_loss", "nats", 0, offsetof(hpt_step_info, entropy_loss)},
    {"lr", "", 0, offsetof(hpt_step_info, lr)},
    {NULL, NULL, 0, 0},
};

const hpt__method hpt__method_mme = {
    .name = "mme",
    .roles = "labelled unlabelled val test",
    .measures = measures,
    .views = 1,
    .labels = 1,
    .updates = 2,
    .ties = 1,
    .size = sizeof(hpt__mme),
    .own = sizeof(hpt__mme_own),
    .bn_momentum = HPT__BN_OWN,
    .shares = shares,
    .configure = configure,
    .open = open,
    .close = close,
    .input_bytes = input_bytes,
    .draw = draw,
    .step = step,
    .report = report,
    .state = state,
};

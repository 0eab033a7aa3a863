/* SPDX-License-Identifier: MIT
 * The losses, and one update of classifiers side by side. Heads do not see each other: one whose rate is too high may
 * diverge beside others that learn, so nothing asks here whether all is finite. */
#include "train/head.h"
#include <string.h>

static void softmax(const hpt__scored *s) {
    if (s->outcome)
        s->be->rows->classify(s->dev, s->dtype, s->n, s->classes, s->logits, s->truth, s->weight, s->smoothing,
                              s->mix, s->outcome);
    else s->be->rows->softmax_ce(s->dev, s->n, s->heads, s->classes, s->logits, s->truth, NULL);
}
static void sigmoid(const hpt__scored *s) {
    s->be->rows->bce(s->dev, s->n, s->heads, s->classes, s->logits, s->truth, s->outcome ? s->losses : NULL);
    if (s->outcome) s->be->rows->mean_loss(s->dev, (size_t)s->n * (size_t)s->classes, s->losses, s->outcome);
}
const hpt__loss hpt__loss_softmax = {"softmax", 0, softmax};
const hpt__loss hpt__loss_sigmoid = {"sigmoid", 1, sigmoid};

hpt_status hpt__heads_open(hpt__heads *h, const hpt_context *ctx, const hpt__loss *loss, int heads, int classes,
                           int dim, int n) {
    static const uint8_t both[2] = {1, 1};
    hpt__arch a = {.family = HPT__FAMILY_MLP, .name = "mlp", .in = dim, .dim = heads * classes};
    *h = (hpt__heads){.loss = loss, .pool = {.be = ctx->be, .dev = ctx->dev, .of = "classifiers on features"},
                      .heads = heads, .classes = classes, .dim = dim};
    hpt_status st = hpt__net_create(&a, &h->net);
    if (!st) st = hpt__weights_open(&h->pool, HPT__F32, &h->net, &h->w);
    h->w.trainable = both;
    h->w.side = heads;
    h->w.grad = hpt__take(&h->pool, h->net.n_params * 4, &st);
    h->w.moment1 = hpt__take(&h->pool, h->net.n_params * 4, &st);
    if (!ctx->be->host_memory) h->x = hpt__take(&h->pool, (size_t)n * (size_t)dim * 4, &st);
    h->logits = hpt__take(&h->pool, (size_t)n * (size_t)(heads * classes) * 4, &st);
    h->truth = hpt__take(&h->pool, (size_t)n * hpt__loss_truth(loss, classes), &st);
    h->vars = hpt__take(&h->pool, HPT__GROUPS * sizeof *h->vars, &st);
    if (st) hpt__heads_close(h);
    return st;
}
void hpt__heads_close(hpt__heads *h) {
    hpt__pool_free(&h->pool);
    hpt__net_fini(&h->net);
    memset(h, 0, sizeof *h);
}

static float *tensor(const hpt__heads *h, void *flat, int i) { return (float *)flat + h->net.tensors[i].offset; }

/* Logits on the device; *x becomes the features there. Between enter and leave. */
static hpt_status forward(hpt__heads *h, int n, const float **x) {
    const hpt__backend *be = h->pool.be;
    int rows = h->heads * h->classes;
    if (h->x) {
        be->memory.upload(h->pool.dev, h->x, *x, sizeof **x * (size_t)n * (size_t)h->dim);
        *x = h->x;
    }
    HPT_TRY(be->rows->gemm(h->pool.dev, HPT__F32, 0, 1, n, rows, h->dim, 1, *x, h->dim, tensor(h, h->w.params, 0),
                           h->dim, 0, h->logits, rows));
    be->rows->add_bias(h->pool.dev, n, rows, tensor(h, h->w.params, 1), h->logits);
    return HPT_OK;
}
hpt_status hpt__heads_logits(hpt__heads *h, int n, const float *x, float *out) {
    const hpt__backend *be = h->pool.be;
    be->device.enter(h->pool.dev);
    hpt_status st = forward(h, n, &x);
    if (!st)
        be->memory.download(h->pool.dev, out, h->logits, sizeof *out * (size_t)n * (size_t)(h->heads * h->classes));
    be->device.leave(h->pool.dev);
    return st;
}

/* What differs from the step before, for each head its rate. */
static void send_rates(hpt__heads *h, const hpt__optimizer *o, const double *rate) {
    hpt__vars v[HPT__GROUPS] = {{0}};
    for (int i = 0; i < h->heads; i++) v[i] = hpt__optimizer_vars(o, &(hpt__vars){.lr = rate[i]}, i + 1);
    if (!memcmp(h->sent, rate, sizeof *rate * (size_t)h->heads)) return;
    memcpy(h->sent, rate, sizeof *rate * (size_t)h->heads);
    h->pool.be->memory.upload(h->pool.dev, h->vars, v, sizeof v);
}
hpt_status hpt__heads_step(hpt__heads *h, int n, const float *x, const void *truth, const hpt__optimizer *o,
                           const double *rate) {
    const hpt__backend *be = h->pool.be;
    hpt__device *dev = h->pool.dev;
    int rows = h->heads * h->classes;
    be->device.enter(dev);
    hpt_status st = forward(h, n, &x);
    be->memory.upload(dev, h->truth, truth, (size_t)n * hpt__loss_truth(h->loss, h->classes));
    if (!st) {
        h->loss->run(&(hpt__scored){.be = be, .dev = dev, .dtype = HPT__F32, .n = n, .heads = h->heads,
                                    .classes = h->classes, .logits = h->logits, .truth = h->truth});
        be->rows->sum_rows(dev, n, rows, h->logits, tensor(h, h->w.grad, 1));
        st = be->rows->gemm(dev, HPT__F32, 1, 0, rows, h->dim, n, 1, h->logits, rows, x, h->dim, 0,
                            tensor(h, h->w.grad, 0), h->dim);
    }
    send_rates(h, o, rate);
    if (!st) hpt__optimizer_step(o, be, dev, HPT__F32, &h->w, h->vars, NULL);
    be->device.leave(dev);
    return st;
}

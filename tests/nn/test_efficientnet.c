/* SPDX-License-Identifier: MIT
 * EfficientNets against timm: what a network consists of, and (fixtures/make_efficientnet.py) features in training and
 * evaluation, every gradient and running statistic, on images of two sides, in both flavours of padding, with drop
 * path. Double on the reference backend, then every other backend. */
#include "backend/backend.h"
#include "core/context.h"
#include "nn/graph.h"
#include "nn/model.h"
#include "nn/plan.h"
#include "support.h"

TEST(efficientnet_tensors) {
    static const struct { const char *name; size_t params; int norms, features; } all[] = {
        {"efficientnet_b0", 4007548, 49, 1280}, {"efficientnet_b1", 6513184, 69, 1280},
        {"efficientnet_b2", 7700994, 69, 1408}, {"efficientnet_b3", 10696232, 78, 1536},
        {"tf_efficientnet_b2", 7700994, 69, 1408}, {"lukemelas_efficientnet_b2", 7700994, 69, 1408}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        hpt__arch a;
        hpt__net net;
        size_t params = 0;
        int norms = 0;
        OK(hpt__arch_from_options(NULL, all[i].name, &a));
        OK(hpt__net_create(&a, &net));
        for (int t = 0; t < net.n_tensors; t++) {
            const hpt__tensor *x = &net.tensors[t];
            if (x->head || hpt__is_stat(x)) continue;
            params += x->count;
            norms += x->kind == HPT__NORM_WEIGHT;
        }
        if (params != all[i].params || norms != all[i].norms || net.feature_dim != all[i].features)
            FAIL("%s: %zu parameters, %d batch norms, %d features", all[i].name, params, norms, net.feature_dim);
        hpt__net_fini(&net);
    }
}

/* ---- against timm ---- */

typedef struct run {
    hpt_context *c;
    hpt__dtype t;
    json_t *f;              /* the case of the fixture */
    hpt__net net;
    hpt__plan *plan;
    void *params, *low, *stats, *grads, *x, *dout, *factors;
    int h, w, batch;
} run;

static void *upload(run *r, const double *x, size_t n, hpt__dtype t) {
    void *d = r->c->be->memory.alloc(r->c->dev, n * 8 + 64);
    float *f = malloc(n * 4 + 4);
    for (size_t i = 0; i < n; i++) f[i] = (float)x[i];
    r->c->be->memory.upload(r->c->dev, d, t == HPT__F64 ? (const void *)x : f, n * hpt__real_size(t));
    free(f);
    return d;
}
/* values of a device's array as they lie there: plain on the reference backend */
static double *download(run *r, const void *d, size_t n) {
    double *x = malloc(n * 8 + 8);
    float *f = malloc(n * 4 + 4);
    r->c->be->memory.download(r->c->dev, r->t == HPT__F64 ? (void *)x : f, d, n * hpt__real_size(r->t));
    for (size_t i = 0; i < n && r->t != HPT__F64; i++) x[i] = f[i];
    free(f);
    return x;
}
/* as fill() of make_fixtures.py, by names: what belongs to no head */
static void weights(const hpt__net *net, float *params, float *stats) {
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        float scale = 0.1f, shift = 0;
        if (t->head) continue;
        if (t->ndim == 4) scale = (float)(sqrt(2.0 / (double)(t->shape[0] * t->shape[2] * t->shape[3])) * sqrt(3.0));
        else if (t->kind == HPT__RUN_MEAN) scale = 0;
        else if (t->kind == HPT__RUN_VAR) scale = 0, shift = 1;
        else if (t->kind == HPT__NORM_WEIGHT) scale = 0.2f, shift = 1;
        fill_f32((hpt__is_stat(t) ? stats : params) + t->offset, t->count, 100 + (uint64_t)i, scale, shift);
    }
}
/* The factors of each layer that drops: kept by the hash, as in the script. */
static double *factors_of(const run *r, size_t drops) {
    double *f = calloc(drops * (size_t)r->batch + 1, 8);
    for (size_t k = 0; k < drops * (size_t)r->batch; k++) {
        double p = hpt__plan_drop_rate(r->plan, (int)(k / (size_t)r->batch)), u = (value_at(k, 7000) + 1) / 2;
        f[k] = u < p ? 0 : 1 / (1 - p);
    }
    return f;
}
static void open_run(run *r, hpt_context *c, hpt__dtype t, json_t *f, hpt__plan_mode mode) {
    hpt__arch a;
    *r = (run){.c = c, .t = t, .f = f, .h = integer(f, "h"), .w = integer(f, "w"), .batch = integer(f, "batch")};
    OK(hpt__arch_from_options(NULL, json_string_value(json_object_get(f, "arch")), &a));
    OK(hpt__net_create(&a, &r->net));
    uint8_t *flags = malloc((size_t)r->net.n_tensors);
    for (int i = 0; i < r->net.n_tensors; i++) flags[i] = !r->net.tensors[i].head;
    hpt__plan_spec s = {.dtype = t, .mode = mode, .batch = r->batch, .size = r->h, .width = r->w, .groups = 1,
                        .deterministic = 1, .trainable = flags, .drop_path = num(f, "drop_path")};
    OK(hpt__plan_create(c->be, c->dev, &r->net, &s, &r->plan));
    size_t n = r->net.n_params, image = (size_t)(r->batch * 3 * r->h * r->w),
           out = (size_t)(r->batch * r->net.feature_dim), drops = (size_t)hpt__plan_drops(r->plan);
    float *params = calloc(n, 4), *stats = calloc(r->net.n_stats, 4);
    double *x = malloc(image * 8), *dout = malloc(out * 8), *factors = factors_of(r, drops);
    weights(&r->net, params, stats);
    fill_f64(x, image, 6000, 2, 0);
    fill_f64(dout, out, 6001, 1, 0);
    CHECK((int)drops == (mode == HPT__EVAL ? 0 : integer(f, "drops")));
    c->be->device.enter(c->dev);
    r->params = c->be->memory.alloc(c->dev, n * 8);
    r->stats = c->be->memory.alloc(c->dev, r->net.n_stats * 8);
    r->grads = c->be->memory.alloc(c->dev, n * 8);
    r->low = c->be->memory.alloc(c->dev, n * 2);
    c->be->memory.zero(c->dev, r->grads, n * hpt__real_size(t));
    hpt__weights_upload(c->be, c->dev, t, &r->net, params, r->params, 0);
    hpt__weights_upload(c->be, c->dev, t, &r->net, stats, r->stats, 1);
    if (c->be->device.low_params(c->dev, t)) c->be->params->lower(c->dev, 1, n, n, r->params, r->low);
    r->x = upload(r, x, image, HPT__F32);
    r->dout = upload(r, dout, out, t);
    r->factors = upload(r, factors, drops * (size_t)r->batch, t);
    c->be->device.leave(c->dev);
    hpt__plan_give_drops(r->plan, r->factors);
    free(params);
    free(stats);
    free(flags);
    free(x);
    free(dout);
    free(factors);
}
static void close_run(run *r) {
    void *all[] = {r->params, r->low, r->stats, r->grads, r->x, r->dout, r->factors};
    hpt__plan_destroy(r->plan);
    r->c->be->device.enter(r->c->dev);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) r->c->be->memory.free(r->c->dev, all[i]);
    r->c->be->device.leave(r->c->dev);
    hpt__net_fini(&r->net);
}

/* What float32 may be off: so many times what PyTorch's is, and a floor; both 0: outputs alone are compared. */
typedef struct bounds { double floor, factor, output; } bounds;
static double worst;
static void same(const run *r, const char *name, const double *x, size_t n, double floor, double factor) {
    json_t *sig = json_object_get(json_object_get(r->f, "tensors"), name);
    if (!sig) FAIL("the fixture has no %s", name);
    double norm = json_number_value(json_array_get(sig, 0)), theirs = json_number_value(json_array_get(sig, 9)),
           most = floor * (norm + 1e-2) + factor * theirs * norm,      /* a gradient may be 0 in theory */
        e = signature_error(x, n, sig) * (norm + 1e-30);
    if (e / most > worst) worst = e / most;
    if (!(e <= most)) FAIL("%s: %.3g off of %.3g, PyTorch's float32 %.3g of it", name, e, norm, theirs);
}
static void same_outputs(run *r, const char *name, bounds b) {
    size_t n = (size_t)(r->batch * r->net.feature_dim);
    r->c->be->device.enter(r->c->dev);
    double *y = download(r, hpt__plan_output(r->plan), n);
    r->c->be->device.leave(r->c->dev);
    same(r, name, y, n, b.output, 0);
    free(y);
}
static void same_tensors(run *r, int stats, bounds b) {
    const hpt__net *net = &r->net;
    size_t n = stats ? net->n_stats : net->n_params;
    char name[HPT__NAME + 8];
    float *plain = calloc(n, 4);
    r->c->be->device.enter(r->c->dev);
    double *x = download(r, stats ? r->stats : r->grads, n);
    hpt__weights_download(r->c->be, r->c->dev, r->t, net, stats ? r->stats : r->grads, plain, stats);
    r->c->be->device.leave(r->c->dev);
    for (size_t i = 0; i < n && r->t != HPT__F64; i++) x[i] = plain[i];
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        if (t->head || hpt__is_stat(t) != stats) continue;
        snprintf(name, sizeof name, "%s%s", stats ? "" : "grad.", t->name);
        same(r, name, x + t->offset, t->count, b.floor, b.factor);
    }
    free(plain);
    free(x);
}
static void against_timm(hpt_context *c, hpt__dtype t, size_t which, bounds b) {
    run r;
    if (!c) SKIP("this backend is not here: %s", hpt_last_error());
    json_t *all = fixture("efficientnet"), *f = json_array_get(json_object_get(all, "cases"), which);
    worst = 0;
    open_run(&r, c, t, f, HPT__EVAL);
    OK(hpt__plan_forward(r.plan, r.params, r.low, r.stats, r.x, HPT__BN_OWN));
    same_outputs(&r, "eval", b);
    close_run(&r);
    open_run(&r, c, t, f, HPT__TRAIN);
    OK(hpt__plan_forward(r.plan, r.params, r.low, r.stats, r.x, HPT__BN_OWN));
    same_outputs(&r, "train", b);
    if (b.floor > 0) same_tensors(&r, 1, b);
    OK(hpt__plan_backward(r.plan, r.params, r.low, r.grads, r.dout, NULL, NULL));
    if (b.floor > 0) same_tensors(&r, 0, b);
    close_run(&r);
    printf("  %s: worst at %.2g of its limit\n", json_string_value(json_object_get(f, "arch")), worst);
    json_decref(all);
}
enum { B0, TF_B0, B0_DROP, B2, TF_B2 };
/* bfloat16: as near as 70 layers of roundings to 8 bits leave it */
static const bounds exact = {1e-9, 0, 1e-9}, narrow = {1e-4, 4, 1e-4}, wide = {0, 0, 0.15};

TEST(efficientnet_b0_fp64) { against_timm(context("reference", 1), HPT__F64, B0, exact); }
TEST(tf_efficientnet_b0_fp64) { against_timm(context("reference", 1), HPT__F64, TF_B0, exact); }
TEST(efficientnet_drop_path_fp64) { against_timm(context("reference", 1), HPT__F64, B0_DROP, exact); }
TEST(efficientnet_b2_fp64) { against_timm(context("reference", 1), HPT__F64, B2, exact); }
TEST(tf_efficientnet_b2_fp64) { against_timm(context("reference", 1), HPT__F64, TF_B2, exact); }
TEST(efficientnet_b0_onednn) { against_timm(fast_context(), HPT__F32, B0, narrow); }
TEST(tf_efficientnet_b0_onednn) { against_timm(fast_context(), HPT__F32, TF_B0, narrow); }
TEST(efficientnet_drop_path_onednn) { against_timm(fast_context(), HPT__F32, B0_DROP, narrow); }
TEST(efficientnet_b2_onednn) { against_timm(fast_context(), HPT__F32, B2, narrow); }
TEST(tf_efficientnet_b2_onednn) { against_timm(fast_context(), HPT__F32, TF_B2, narrow); }
TEST(tf_efficientnet_b2_onednn_bf16) { against_timm(fast_context(), HPT__BF16, TF_B2, wide); }
#ifdef HPT_TEST_EMU
TEST_LIMIT(efficientnet_b0_cuda_bf16, 120) { against_timm(context("cuda", 1), HPT__BF16, B0, wide); }
TEST_LIMIT(efficientnet_drop_path_cuda, 120) { against_timm(context("cuda", 1), HPT__F32, B0_DROP, narrow); }
TEST_LIMIT(tf_efficientnet_b0_cuda, 120) { against_timm(context("cuda", 1), HPT__F32, TF_B0, narrow); }
#endif

/* SPDX-License-Identifier: MIT
 * Whole MoCo steps against PyTorch: loss, every gradient, weights, statistics, queue; 20 steps in fp64. Fixtures:
 * fixtures/make_fixtures.py (moco_*.json). */
#include "support.h"

typedef struct run { hpt_model *m; hpt_session *s; json_t *f; int batch, size; } run;

static run start(hpt_context *ctx, const char *name, const char *precision, int steps) {
    if (!ctx) SKIP("this backend is not here: %s", hpt_last_error());
    run r = {.f = fixture(name)};
    char text[600];
    r.batch = integer(r.f, "batch");
    r.size = integer(r.f, "size");
    int groups = integer(r.f, "groups");
    snprintf(text, sizeof text,
             "arch=%s width=%d stem=%s image_size=%d batch_size=%d moco_k=%d moco_dim=%d bn_group=%d shuffle_bn=0 "
             "moco_m=0.99 conv_algo=direct schedule=constant steps=%d precision=%s",
             json_string_value(json_object_get(r.f, "arch")), integer(r.f, "width"), integer(r.f, "small") ? "small"
             : "imagenet", r.size, r.batch, integer(r.f, "K"), integer(r.f, "dim"), groups > 1 ? r.batch / groups : 0,
             steps, precision);
    hpt_config *c = config(text);
    OK(hpt_config_set_float(c, "lr", num(r.f, "lr")));
    OK(hpt_model_create(ctx, c, &r.m));
    fill_model(r.m, 100);
    OK(hpt_session_create(ctx, c, r.m, NULL, &r.s));
    int K = integer(r.f, "K"), d = integer(r.f, "dim");
    float *q = malloc(4ul * (size_t)K * (size_t)d), *qt = malloc(4ul * (size_t)K * (size_t)d);
    fill_f32(q, (size_t)K * (size_t)d, 5000, 1, 0);
    for (int i = 0; i < K; i++) {
        double n = 0;
        for (int j = 0; j < d; j++) n += (double)q[i * d + j] * q[i * d + j];
        for (int j = 0; j < d; j++) qt[j * K + i] = (float)(q[i * d + j] / sqrt(n));
    }
    OK(hpt_session_set_tensor(r.s, "queue", qt, (uint64_t)K * (uint64_t)d));
    free(q);
    free(qt);
    hpt_config_destroy(c);
    return r;
}
static double step(run *r, int i) {
    size_t n = (size_t)r->batch * 3 * (size_t)r->size * (size_t)r->size;
    float *q = malloc(n * 4), *k = malloc(n * 4);
    hpt_step_info info = {.struct_size = sizeof info};
    fill_f32(q, n, 6000 + 2 * (uint64_t)i, 2, 0);
    fill_f32(k, n, 6001 + 2 * (uint64_t)i, 2, 0);
    for (size_t j = 0; j < n; j++) k[j] = 0.5f * k[j] + 0.5f * q[j];
    OK(hpt_session_step_images(r->s, q, k, &info));
    free(q);
    free(k);
    return info.loss;
}
static void compare(run *r, double loss_tol, double factor, double floor) {
    double loss = step(r, 0), truth = json_number_value(json_array_get(json_object_get(r->f, "loss64"), 0)), worst = 0;
    const char *name, *worst_name = "";
    json_t *t;
    printf("  loss %.9f, PyTorch fp64 %.9f, fp32 %.9f\n", loss, truth, num(r->f, "loss32"));
    CHECK(fabs(loss - truth) <= loss_tol * truth + 2 * fabs(num(r->f, "loss32") - truth));
    float *x = malloc(64 << 20);
    json_object_foreach(json_object_get(r->f, "tensors"), name, t) {
        hpt_tensor_info info = {.struct_size = sizeof info};
        size_t n = 0;
        if (!strcmp(name, "queue")) n = (size_t)(integer(r->f, "K") * integer(r->f, "dim"));
        for (uint32_t i = 0; !n && hpt_model_tensor_info(r->m, i, &info) == HPT_OK; i++)
            if (!strcmp(info.name, strchr(name, '.') + 1)) {
                n = 1;
                for (int d = 0; d < info.ndim; d++) n *= (size_t)info.shape[d];
            }
        CHECK(n);
        OK(hpt_session_get_tensor(r->s, name, x, n));
        double e = signature_error_f32(x, n, json_object_get(t, "sig")), theirs = num(t, "torch_error"),
            limit = floor + factor * theirs;
        if (e / limit > worst) worst = e / limit, worst_name = name;
        if (!(e <= limit)) FAIL("%s: error %.3g, PyTorch fp32's own %.3g, limit %.3g", name, e, theirs, limit);
    }
    printf("  worst tensor: %s at %.2f of its limit\n", worst_name, worst);
    free(x);
}

TEST(step_resnet18_thin_fp64_reference) {
    run r = start(context("reference", 1), "moco_rn18_thin", "fp64", 1);
    compare(&r, 1e-9, 0, 3e-7);     /* outputs are read as float32 */
}
TEST(step_resnet18_thin_fp32_reference) {
    run r = start(context("reference", 1), "moco_rn18_thin", "fp32", 1);
    compare(&r, 1e-6, 2, 1e-5);
}
TEST(step_resnet50_thin_fp64_reference) {   /* bottlenecks, max-pool, two batch-norm groups */
    run r = start(context("reference", 1), "moco_rn50_thin", "fp64", 1);
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(step_resnet18_thin_onednn) {
    run r = start(fast_context(), "moco_rn18_thin", "fp32", 1);
    compare(&r, 1e-6, 2, 1e-5);
}
TEST(step_resnet50_thin_onednn) {
    run r = start(fast_context(), "moco_rn50_thin", "fp32", 1);
    compare(&r, 1e-6, 2, 5e-5);
}
TEST(step_resnet18_onednn) {
    run r = start(fast_context(), "moco_rn18", "fp32", 1);
    compare(&r, 1e-6, 2, 1e-5);
}
#ifdef HPT_TEST_EMU
/* the cuda backend's own code over the emulated kernels and the stand-ins for cuDNN and cuBLASLt */
TEST(step_resnet18_thin_cuda_fp32) {
    run r = start(context("cuda", 1), "moco_rn18_thin", "fp32", 1);
    compare(&r, 1e-6, 2, 1e-5);
}
TEST_LIMIT(step_resnet50_thin_cuda_fp32, 120) {
    run r = start(context("cuda", 1), "moco_rn50_thin", "fp32", 1);
    compare(&r, 1e-6, 2, 5e-5);
}
TEST(step_resnet18_thin_cuda_bf16) {        /* bfloat16 maps and weights: errors of 2^-9 an operation */
    run r = start(context("cuda", 1), "moco_rn18_thin", "bf16", 1);
    double loss = step(&r, 0), truth = json_number_value(json_array_get(json_object_get(r.f, "loss64"), 0));
    if (!(fabs(loss - truth) <= 2e-2 * truth)) FAIL("loss %.6f, PyTorch fp64 %.6f", loss, truth);
}
TEST_LIMIT(step_resnet18_cuda_fp32, 300) {
    if (getenv("HPT_TEST_SLOW")) SKIP("too slow under a sanitizer; the thin networks run the same code");
    run r = start(context("cuda", 1), "moco_rn18", "fp32", 1);
    compare(&r, 1e-6, 2, 1e-5);
}
#endif
TEST(twenty_steps_fp64) {
    run r = start(context("reference", 1), "moco_20_fp64", "fp64", 20);
    for (int i = 0; i < 20; i++) {
        double loss = step(&r, i), truth = json_number_value(json_array_get(json_object_get(r.f, "loss64"), (size_t)i));
        if (!(fabs(loss - truth) <= 1e-9 * truth)) FAIL("step %d: loss %.12f, PyTorch %.12f", i + 1, loss, truth);
    }
}

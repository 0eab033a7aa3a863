/* SPDX-License-Identifier: MIT
 * Whole MoCo steps against PyTorch: loss, every gradient, weights, statistics, queue; 20 steps in fp64. Fixtures:
 * fixtures/make_fixtures.py and make_efficientnet.py (moco_*.json). */
#include "steps.h"

static run start(hpt_context *ctx, const char *name, const char *precision) {
    hpt_config *c;
    json_t *f = fixture(name);
    char text[200];
    const int K = integer(f, "K"), d = integer(f, "dim");
    snprintf(text, sizeof text, "moco_k=%d moco_dim=%d shuffle_bn=0 moco_m=0.99 schedule=constant", K, d);
    run r = run_of(ctx, f, precision, text, &c);
    OK(hpt_session_create(ctx, c, r.m, NULL, &r.s));
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

TEST(step_resnet18_thin_fp64_reference) {
    run r = start(context("reference", 1), "moco_rn18_thin", "fp64");
    compare(&r, 1e-9, 0, 3e-7);     /* outputs are read as float32 */
}
TEST(step_resnet18_thin_fp32_reference) {
    run r = start(context("reference", 1), "moco_rn18_thin", "fp32");
    compare(&r, 1e-6, 2, 1e-5);
}
TEST(step_resnet50_thin_fp64_reference) {   /* bottlenecks, max-pool, two batch-norm groups */
    run r = start(context("reference", 1), "moco_rn50_thin", "fp64");
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(step_efficientnet_b0_fp64_reference) {
    run r = start(context("reference", 1), "moco_efficientnet_b0", "fp64");
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(step_efficientnet_b0_onednn) {
    run r = start(fast_context(), "moco_efficientnet_b0", "fp32");
    compare(&r, 1e-5, 3, 5e-5);
}
TEST(step_resnet18_thin_onednn) {
    run r = start(fast_context(), "moco_rn18_thin", "fp32");
    compare(&r, 1e-6, 2, 1e-5);
}
TEST(step_resnet50_thin_onednn) {
    run r = start(fast_context(), "moco_rn50_thin", "fp32");
    compare(&r, 1e-6, 2, 5e-5);
}
TEST(step_resnet18_onednn) {
    run r = start(fast_context(), "moco_rn18", "fp32");
    compare(&r, 1e-6, 2, 1e-5);
}
#ifdef HPT_TEST_EMU
/* the cuda backend's own code over the emulated kernels and the stand-ins for cuDNN and cuBLASLt */
TEST(step_resnet18_thin_cuda_fp32) {
    run r = start(context("cuda", 1), "moco_rn18_thin", "fp32");
    compare(&r, 1e-6, 2, 1e-5);
}
TEST_LIMIT(step_resnet50_thin_cuda_fp32, 120) {
    run r = start(context("cuda", 1), "moco_rn50_thin", "fp32");
    compare(&r, 1e-6, 2, 5e-5);
}
TEST(step_resnet18_thin_cuda_bf16) {        /* bfloat16 maps and weights: errors of 2^-9 an operation */
    run r = start(context("cuda", 1), "moco_rn18_thin", "bf16");
    double loss = step(&r, 0).loss, truth = json_number_value(json_array_get(json_object_get(r.f, "loss64"), 0));
    if (!(fabs(loss - truth) <= 2e-2 * truth)) FAIL("loss %.6f, PyTorch fp64 %.6f", loss, truth);
}
TEST_LIMIT(step_resnet18_cuda_fp32, 300) {
    if (getenv("HPT_TEST_SLOW")) SKIP("too slow under a sanitizer; the thin networks run the same code");
    run r = start(context("cuda", 1), "moco_rn18", "fp32");
    compare(&r, 1e-6, 2, 1e-5);
}
#endif
TEST(twenty_steps_fp64) {
    run r = start(context("reference", 1), "moco_20_fp64", "fp64");
    compare(&r, 1e-9, 0, 3e-7);
}

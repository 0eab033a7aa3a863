/* SPDX-License-Identifier: MIT
 * BYOL against PyTorch: loss, gradients, weights of all three networks and statistics of a step, 20 steps in fp64;
 * what is kept goes on to the same bits; what belongs to another method is refused. */
#include "steps.h"

static const char *const predictor[] = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                        "3.weight", "3.bias"};
enum { PREDICTOR = sizeof predictor / sizeof *predictor };

/* As fill() of the script, in state-dict order. */
static uint64_t predictor_value(json_t *f, int i, float *x) {
    uint64_t hidden = (uint64_t)integer(f, "predictor"), dim = (uint64_t)integer(f, "dim"), n = i == 0 || i == 6
        ? hidden * dim : i == 7 ? dim : hidden;
    float scale = i == 0 ? (float)(1 / sqrt((double)dim)) : i == 6 ? (float)(1 / sqrt((double)hidden)) : i == 2 ? 0.2f
        : i == 4 || i == 5 ? 0 : 0.1f;
    fill_f32(x, n, 300 + (uint64_t)i, scale, i == 2 || i == 5);
    return n;
}
static run start(hpt_context *ctx, const char *name, const char *precision, const char *more) {
    hpt_config *c;
    json_t *f = fixture(name);
    char text[300];
    float x[48 * 48];
    snprintf(text, sizeof text,
             "method=byol head=byol moco_dim=%d head_hidden=%d byol_hidden=%d schedule=constant optimizer=lars %s",
             integer(f, "dim"), integer(f, "hidden"), integer(f, "predictor"), more);
    run r = run_of(ctx, f, precision, text, &c);
    OK(hpt_config_set_float(c, "byol_m", num(r.f, "tau")));
    OK(hpt_config_set_float(c, "weight_decay", num(r.f, "wd")));
    OK(hpt_session_create(ctx, c, r.m, NULL, &r.s));
    for (int i = 0; i < PREDICTOR; i++) {
        char tensor[40];
        snprintf(tensor, sizeof tensor, "predictor.%s", predictor[i]);
        uint64_t n = predictor_value(r.f, i, x);
        OK(hpt_session_set_tensor(r.s, tensor, x, n));
    }
    hpt_config_destroy(c);
    return r;
}
/* Fields that mean nothing to it say so. */
static void against_pytorch(run r, double loss_tol, double factor, double floor) {
    hpt_step_info info = compare(&r, loss_tol, factor, floor);
    CHECK(isnan(info.chance) && isnan(info.acc1) && isnan(info.acc5) && info.queue_fill == 0 && info.z_std > 0);
}

TEST(byol_step_fp64_reference) {
    /* outputs are read as float32 */
    against_pytorch(start(context("reference", 1), "byol_rn18_thin", "fp64", ""), 1e-9, 0, 3e-7);
}
TEST(byol_step_fp32_reference) {
    against_pytorch(start(context("reference", 1), "byol_rn18_thin", "fp32", ""), 1e-6, 2, 2e-5);
}
TEST(byol_step_onednn) {
    against_pytorch(start(fast_context(), "byol_rn18_thin", "fp32", ""), 1e-6, 2, 2e-5);
}
#ifdef HPT_TEST_EMU
TEST(byol_step_cuda_fp32) {
    against_pytorch(start(context("cuda", 1), "byol_rn18_thin", "fp32", ""), 1e-6, 2, 2e-5);
}
#endif
TEST_LIMIT(byol_twenty_steps_fp64, 120) {
    against_pytorch(start(context("reference", 1), "byol_20_fp64", "fp64", ""), 1e-9, 0, 3e-7);
}
/* An update by three batches: each with batch norm of its own, all with the same target. */
TEST(byol_parts_fp64) {
    against_pytorch(start(context("reference", 1), "byol_parts", "fp64", ""), 1e-9, 0, 3e-7);
    against_pytorch(start(context("reference", 1), "byol_parts_fp64", "fp64", ""), 1e-9, 0, 3e-7);
}
TEST(byol_parts_fp32) {
    against_pytorch(start(context("reference", 1), "byol_parts", "fp32", ""), 1e-6, 2, 2e-5);
}
TEST(byol_parts_onednn) {
    against_pytorch(start(fast_context(), "byol_parts", "fp32", ""), 1e-6, 2, 2e-5);
}
#ifdef HPT_TEST_EMU
TEST(byol_parts_cuda) {
    against_pytorch(start(context("cuda", 1), "byol_parts", "fp32", ""), 1e-6, 2, 2e-5);
}
#endif

/* The target is a copy at first, whatever its momentum, and moves only by it. */
TEST(byol_target_begins_as_a_copy) {
    run r = start(context("reference", 1), "byol_rn18_thin", "fp32", "byol_m=0.9 seed=4");
    float q[64], k[64];
    OK(hpt_session_get_tensor(r.s, "online.bn1.weight", q, 16));
    OK(hpt_session_get_tensor(r.s, "target.bn1.weight", k, 16));
    CHECK(!memcmp(q, k, 64));
}

TEST_LIMIT(byol_goes_on_to_the_same_bits, 120) {
    const char *backends[] = {"reference", "onednn"};
    for (int b = 0; b < 2; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        char path[300];
        float *x = malloc(4 << 20), *y = malloc(4 << 20);
        run one = start(ctx, "byol_20_fp64", "fp32", ""), half = start(ctx, "byol_20_fp64", "fp32", ""),
            rest = start(ctx, "byol_20_fp64", "fp32", "");
        snprintf(path, sizeof path, "%s/byol.pth", temp_dir());
        for (int i = 0; i < 6; i++) step(&one, i);
        for (int i = 0; i < 3; i++) step(&half, i);
        OK(hpt_session_save(half.s, path));
        OK(hpt_session_resume(rest.s, path));
        for (int i = 3; i < 6; i++) step(&rest, i);
        const char *names[] = {"online.conv1.weight", "online.layer4.0.bn2.running_var", "online.fc.3.weight",
                               "target.layer2.0.conv1.weight", "target.fc.1.running_mean", "predictor.0.weight",
                               "predictor.1.running_var", "momentum.layer1.0.conv1.weight", "momentum.3.weight"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            size_t n = size_of(&one, names[i]);
            OK(hpt_session_get_tensor(one.s, names[i], x, n));
            OK(hpt_session_get_tensor(rest.s, names[i], y, n));
            if (memcmp(x, y, n * 4)) FAIL("%s: %s differs after resuming", backends[b], names[i]);
        }
        free(x);
        free(y);
    }
}

static void refused(hpt_context *ctx, const char *options, const char *words) {
    hpt_config *c = config(options);
    hpt_model *m;
    hpt_session *s;
    OK(hpt_model_create(ctx, c, &m));
    hpt_status st = hpt_session_create(ctx, c, m, NULL, &s);
    if (st != HPT_ERR_OPTION || !strstr(hpt_last_error(), words)) FAIL("%s: %d %s", options, st, hpt_last_error());
    hpt_model_destroy(m);
    hpt_config_destroy(c);
}
TEST(keys_of_another_method_are_refused) {
    hpt_context *ctx = context("reference", 1);
#define SMALL "arch=resnet10 width=16 stem=small image_size=16 batch_size=4 bn_group=0 moco_dim=16 steps=2 "
    refused(ctx, SMALL "method=byol moco_k=64", "'moco_k' is of method=moco");
    refused(ctx, SMALL "method=byol shuffle_bn=0", "'shuffle_bn' is of method=moco");
    refused(ctx, SMALL "moco_k=64 byol_m=0.9", "'byol_m' is of method=byol");
    refused(ctx, SMALL "method=byol mlp=0", "mlp=1");
    refused(ctx,
            "arch=resnet10 width=16 stem=small image_size=16 batch_size=4 bn_group=1 moco_dim=16 steps=2 method=byol",
            "batch norm");
}
TEST(a_run_of_another_method_is_not_resumed) {
    hpt_context *ctx = context("reference", 1);
    run byol = start(ctx, "byol_rn18_thin", "fp32", "");
    char path[300];
    hpt_session *s;
    snprintf(path, sizeof path, "%s/byol.pth", temp_dir());
    OK(hpt_session_save(byol.s, path));
    hpt_config *c =
        config("arch=resnet18 width=16 stem=small image_size=16 batch_size=8 moco_k=64 moco_dim=32 bn_group=4 steps=1");
    hpt_model *m;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, NULL, &s));
    CHECK(hpt_session_resume(s, path) == HPT_ERR_MISMATCH);
    if (!strstr(hpt_last_error(), "method=byol") || !strstr(hpt_last_error(), "method=moco"))
        FAIL("%s", hpt_last_error());
}

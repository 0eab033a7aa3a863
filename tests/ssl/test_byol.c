/* SPDX-License-Identifier: MIT
 * BYOL against PyTorch: loss, gradients, weights of all three networks and statistics of a step, 20 steps in fp64;
 * what is kept goes on to the same bits; what belongs to another method is refused. */
#include "support.h"

typedef struct run { hpt_model *m; hpt_session *s; json_t *f; int batch, size; } run;

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
    if (!ctx) SKIP("this backend is not here: %s", hpt_last_error());
    run r = {.f = fixture(name)};
    char text[600];
    float x[48 * 48];
    r.batch = integer(r.f, "batch");
    r.size = integer(r.f, "size");
    snprintf(text, sizeof text,
             "method=byol head=byol arch=%s width=%d stem=small image_size=%d batch_size=%d moco_dim=%d head_hidden=%d "
             "byol_hidden=%d bn_group=%d conv_algo=direct schedule=constant optimizer=lars steps=%d precision=%s %s",
             json_string_value(json_object_get(r.f, "arch")), integer(r.f, "width"), r.size, r.batch,
             integer(r.f, "dim"), integer(r.f, "hidden"), integer(r.f, "predictor"), r.batch / integer(r.f, "groups"),
             integer(r.f, "steps"), precision, more);
    hpt_config *c = config(text);
    OK(hpt_config_set_float(c, "lr", num(r.f, "lr")));
    OK(hpt_config_set_float(c, "byol_m", num(r.f, "tau")));
    OK(hpt_config_set_float(c, "weight_decay", num(r.f, "wd")));
    OK(hpt_model_create(ctx, c, &r.m));
    fill_model(r.m, 100);
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
static double step(run *r, int i) {
    size_t n = (size_t)r->batch * 3 * (size_t)r->size * (size_t)r->size;
    float *a = malloc(n * 4), *b = malloc(n * 4);
    hpt_step_info info = {.struct_size = sizeof info};
    fill_f32(a, n, 6000 + 2 * (uint64_t)i, 2, 0);
    fill_f32(b, n, 6001 + 2 * (uint64_t)i, 2, 0);
    for (size_t j = 0; j < n; j++) b[j] = 0.5f * b[j] + 0.5f * a[j];
    OK(hpt_session_step_images(r->s, a, b, &info));
    CHECK(isnan(info.chance) && isnan(info.acc1) && isnan(info.acc5) && info.queue_fill == 0 && info.z_std > 0);
    free(a);
    free(b);
    return info.loss;
}
static size_t count_of(run *r, const char *name) {
    hpt_tensor_info info = {.struct_size = sizeof info};
    const char *own = strchr(name, '.') + 1;
    float x[48 * 48];
    for (int i = 0; i < PREDICTOR && !strncmp(name, "predictor.", 10); i++)
        if (!strcmp(own, predictor[i])) return predictor_value(r->f, i, x);
    for (uint32_t i = 0; hpt_model_tensor_info(r->m, i, &info) == HPT_OK; i++) {
        size_t n = 1;
        for (int d = 0; d < info.ndim; d++) n *= (size_t)info.shape[d];
        if (!strcmp(info.name, own)) return n;
    }
    FAIL("no tensor %s", name);
}
static void compare(run *r, double loss_tol, double factor, double floor) {
    double loss = step(r, 0), truth = json_number_value(json_array_get(json_object_get(r->f, "loss64"), 0)), worst = 0;
    const char *name, *worst_name = "";
    json_t *t;
    printf("  loss %.9f, PyTorch fp64 %.9f, fp32 %.9f\n", loss, truth, num(r->f, "loss32"));
    CHECK(fabs(loss - truth) <= loss_tol * truth + 2 * fabs(num(r->f, "loss32") - truth));
    float *x = malloc(4 << 20);
    json_object_foreach(json_object_get(r->f, "tensors"), name, t) {
        size_t n = count_of(r, name);
        OK(hpt_session_get_tensor(r->s, name, x, n));
        double e = signature_error_f32(x, n, json_object_get(t, "sig")), theirs = num(t, "torch_error"),
            limit = floor + factor * theirs;
        if (e / limit > worst) worst = e / limit, worst_name = name;
        if (!(e <= limit)) FAIL("%s: error %.3g, PyTorch fp32's own %.3g, limit %.3g", name, e, theirs, limit);
    }
    printf("  worst tensor: %s at %.2f of its limit\n", worst_name, worst);
    free(x);
}

TEST(byol_step_fp64_reference) {
    run r = start(context("reference", 1), "byol_rn18_thin", "fp64", "");
    compare(&r, 1e-9, 0, 3e-7);     /* outputs are read as float32 */
}
TEST(byol_step_fp32_reference) {
    run r = start(context("reference", 1), "byol_rn18_thin", "fp32", "");
    compare(&r, 1e-6, 2, 2e-5);
}
TEST(byol_step_onednn) {
    run r = start(fast_context(), "byol_rn18_thin", "fp32", "");
    compare(&r, 1e-6, 2, 2e-5);
}
#ifdef HPT_TEST_EMU
TEST(byol_step_cuda_fp32) {
    run r = start(context("cuda", 1), "byol_rn18_thin", "fp32", "");
    compare(&r, 1e-6, 2, 2e-5);
}
#endif
TEST_LIMIT(byol_twenty_steps_fp64, 120) {
    run r = start(context("reference", 1), "byol_20_fp64", "fp64", "");
    for (int i = 0; i < 20; i++) {
        double loss = step(&r, i), truth = json_number_value(json_array_get(json_object_get(r.f, "loss64"), (size_t)i));
        if (!(fabs(loss - truth) <= 1e-9 * truth)) FAIL("step %d: loss %.12f, PyTorch %.12f", i + 1, loss, truth);
    }
}

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
            size_t n = !strcmp(names[i], "momentum.3.weight") ? 40 * 32 : count_of(&one, names[i]);
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

/* SPDX-License-Identifier: MIT
 * Options, numbers as text, the generator of random numbers against published values, the learning rate: what needs
 * neither data nor device. */
#define _GNU_SOURCE
#include "core/number.h"
#include "core/options.h"
#include "core/rng.h"
#include "train/schedule.h"
#include "support.h"
#include <sys/wait.h>
#include <unistd.h>

TEST(philox_known_answers) {    /* Random123's kat_vectors for philox4x32-10 */
    const uint32_t ones[4] = {~0u, ~0u, ~0u, ~0u}, pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
        key[2] = {0xa4093822, 0x299f31d0};
    uint32_t out[4], zero[4] = {0};
    hpt__philox(zero, zero, out);
    CHECK(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
    hpt__philox(ones, ones, out);
    CHECK(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd);
    hpt__philox(pi, key, out);
    CHECK(out[0] == 0xd16cfe09 && out[1] == 0x94fdcceb && out[2] == 0x5001e420 && out[3] == 0x24126ea1);
}
TEST(random_numbers) {
    hpt__rng r;
    double s = 0, ss = 0;
    uint32_t p[100], seen[100] = {0};
    hpt__rng_init(&r, 5, 1, 2, 3);
    for (int i = 0; i < 100000; i++) {
        double x = hpt__rng_normal(&r);
        s += x;
        ss += x * x;
    }
    CHECK(fabs(s / 1e5) < 0.02 && fabs(ss / 1e5 - 1) < 0.03);
    hpt__rng_permutation(&r, p, 100);
    for (int i = 0; i < 100; i++) seen[p[i]]++;
    for (int i = 0; i < 100; i++) CHECK(seen[i] == 1);
    for (int i = 0; i < 1000; i++) CHECK(hpt__rng_below(&r, 7) < 7);
}
TEST(numbers_as_text) {
    double x;
    char t[40];
    CHECK(hpt__number_parse("3e-2", &x) && x == 0.03);
    CHECK(!hpt__number_parse("", &x) && !hpt__number_parse("1x", &x) && !hpt__number_parse("nan", &x) &&
          !hpt__number_parse("0x10", &x) && !hpt__number_parse("1e999", &x));
    hpt__number_print(0.1, t, sizeof t);
    CHECK(!strcmp(t, "0.1"));
    hpt__number_print(5000, t, sizeof t);
    CHECK(!strcmp(t, "5000"));
    double v[4];
    CHECK(hpt__number_list("0.3,3,30", v, 4) == 3 && v[2] == 30 && hpt__number_list("1,", v, 4) == -1 &&
          hpt__number_list("1,2,3,4,5", v, 4) == -1);
}
TEST(options) {
    hpt_config *c;
    char t[64];
    size_t n;
    OK(hpt_config_create("pretrain", &c));
    FAILS(HPT_ERR_OPTION, "did you mean 'moco_k'", hpt_config_set(c, "moco_kk", "5"));
    FAILS(HPT_ERR_OPTION, "does not belong", hpt_config_set(c, "probe_steps", "5"));
    FAILS(HPT_ERR_OPTION, "whole number", hpt_config_set(c, "steps", "1.5"));
    FAILS(HPT_ERR_OPTION, "outside", hpt_config_set_int(c, "steps", 0));
    FAILS(HPT_ERR_OPTION, "sgd|adamw|lars", hpt_config_set(c, "optimizer", "lamb"));
    FAILS(HPT_ERR_OPTION, "multiple of 16", hpt_config_set(c, "width", "20"));
    OK(hpt_config_set_float(c, "lr", 0.03));
    OK(hpt_config_get(c, "lr", t, sizeof t, &n));
    CHECK(!strcmp(t, "0.03") && n == 5);
    FAILS(HPT_ERR_ARGUMENT, "too small", hpt_config_get(c, "lr", t, 2, &n));
    CHECK(!strcmp(t, "0") && n == 5);
    OK(hpt_config_get(c, "lr", NULL, 0, &n));
    OK(hpt_config_get(c, "moco_t", t, sizeof t, NULL));
    CHECK(!strcmp(t, "0.2"));
    hpt_config_destroy(c);
    FAILS(HPT_ERR_ARGUMENT, "stage 'x'", hpt_config_create("x", &c));
}
TEST(every_option_has_a_sound_row) {
    hpt_option_info o = {.struct_size = sizeof o};
    unsigned i = 0;
    for (; hpt_config_describe(NULL, i, &o) == HPT_OK; i++) {
        hpt_config *c;
        OK(hpt_config_create(NULL, &c));
        CHECK(strlen(o.doc) > 5 && *o.stages);
        /* its default is a valid value */
        if (o.type != HPT_OPTION_TEXT || *o.def) OK(hpt_config_set(c, o.key, o.def));
        hpt_config_destroy(c);
    }
    CHECK(i == HPT__OPT_COUNT);
}
/* Mean and variance of the shares of mixup, for alphas at which the Gamma variables are 0 as numbers, too. */
TEST(beta_variables) {
    const double alphas[] = {0.001, 0.2, 1, 3, 100};
    enum { N = 40000 };
    for (int k = 0; k < 5; k++) {
        double mean = 0, variance = 0, want = 1 / (4 * (2 * alphas[k] + 1));
        for (int i = 0; i < N; i++) {
            hpt__rng r;
            hpt__rng_init(&r, 5, HPT__RNG_MIXUP, (uint64_t)i, 0);
            double x = hpt__rng_beta(&r, alphas[k]);
            CHECK(x >= 0 && x <= 1);
            mean += x / N;
            variance += (x - 0.5) * (x - 0.5) / N;
        }
        CHECK(fabs(mean - 0.5) < 5 * sqrt(want / N) && fabs(variance / want - 1) < 0.05);
    }
}
TEST(schedules) {
    hpt__schedule s = {.lr = 0.03, .cosine = 1, .total = 100};
    CHECK(hpt__schedule_lr(&s, 0) == 0.03);
    CHECK(fabs(hpt__schedule_lr(&s, 50) - 0.015) < 1e-12);
    s.per_epoch = 25;           /* four epochs: constant inside each */
    CHECK(hpt__schedule_lr(&s, 24) == 0.03 && fabs(hpt__schedule_lr(&s, 25) - 0.03 * 0.5 * (1 + cos(M_PI / 4)))
          < 1e-12);
    s = (hpt__schedule){.lr = 1, .total = 100, .warmup = 10};
    CHECK(hpt__schedule_lr(&s, 0) == 0.1 && hpt__schedule_lr(&s, 9) == 1 && hpt__schedule_lr(&s, 50) == 1);
    s = (hpt__schedule){.lr = 1, .total = 200, .drops = 2, .at = {0.6, 0.8}, .n_at = 2};       /* MoCo v1 */
    CHECK(hpt__schedule_lr(&s, 119) == 1 && fabs(hpt__schedule_lr(&s, 120) - 0.1) < 1e-15);
    CHECK(fabs(hpt__schedule_lr(&s, 159) - 0.1) < 1e-15 && fabs(hpt__schedule_lr(&s, 160) - 0.01) < 1e-15);
    s.total = 2000;
    s.per_epoch = 10;           /* the same 200 epochs */
    CHECK(hpt__schedule_lr(&s, 1199) == 1 && fabs(hpt__schedule_lr(&s, 1200) - 0.1) < 1e-15);
}
TEST(handles_and_misuse) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16");
    hpt_model *m, *m2;
    hpt_session *s;
    hpt_dataset_info di = {.struct_size = sizeof di};
    FAILS(HPT_ERR_ARGUMENT, "NULL", hpt_model_create(NULL, c, &m));
    CHECK(m == NULL);
    FAILS(HPT_ERR_ARGUMENT, "hpt_config", hpt_model_create((hpt_context *)c, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "out is NULL", hpt_model_create(ctx, c, NULL));
    FAILS(HPT_ERR_ARGUMENT, "live", hpt_dataset_get_info((hpt_dataset *)&di, &di));
    OK(hpt_model_create(ctx, c, &m));
    m2 = m;
    hpt_model_destroy(m);
    hpt_model_destroy(m2);      /* again: nothing happens */
    FAILS(HPT_ERR_ARGUMENT, "not a live", hpt_model_save(m2, "/tmp/x", NULL));
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "no tensor", hpt_model_get_tensor(m, "nope", (float *)&di, 1));
    FAILS(HPT_ERR_ARGUMENT, "values", hpt_model_get_tensor(m, "conv1.weight", (float *)&di, 1));
    hpt_model_info bad = {.struct_size = 0};
    FAILS(HPT_ERR_ARGUMENT, "struct_size", hpt_model_get_info(m, &bad));
    hpt_config *p = config("batch_size=4 image_size=32 moco_k=16 steps=3 arch=resnet10 width=16 bn_group=3");
    FAILS(HPT_ERR_OPTION, "bn_group", hpt_session_create(ctx, p, m, NULL, &s));
    set(p, "bn_group=0 precision=bf16");
    FAILS(HPT_ERR_UNSUPPORTED, "bf16", hpt_session_create(ctx, p, m, NULL, &s));
    set(p, "precision=fp32");
    OK(hpt_session_create(ctx, p, m, NULL, &s));
    FAILS(HPT_ERR_STATE, "no data set", hpt_session_step(s, NULL));
    hpt_context_destroy(ctx);       /* any order */
    hpt_model_destroy(m);
    hpt_config_destroy(p);
    float *x = calloc(4 * 3 * 32 * 32, 4);
    OK(hpt_session_step_images(s, x, x, NULL));
    hpt_session_destroy(s);
    hpt_session_destroy(NULL);
    free(x);
    hpt_config_destroy(c);
    CHECK(!strcmp(hpt_status_name(-3), "HPT_ERR_MEMORY") && !strcmp(hpt_status_name(-99), "HPT_ERR_?") &&
          !strcmp(hpt_status_name(1), "HPT_END"));
}
TEST(struct_sizes_are_honoured) {    /* an older program passes a shorter struct: nothing behind it is touched */
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16");
    hpt_model *m;
    struct { hpt_model_info i; } x;
    OK(hpt_model_create(ctx, c, &m));
    memset(&x, 0x5a, sizeof x);
    x.i.struct_size = 16;
    OK(hpt_model_get_info(m, &x.i));
    CHECK(x.i.feature_dim == 128 && ((unsigned char *)&x)[16] == 0x5a);
    struct { hpt_model_info i; char more[32]; } y;      /* a newer one passes a longer struct: the rest is zeroed */
    memset(&y, 0x5a, sizeof y);
    y.i.struct_size = sizeof y;
    OK(hpt_model_get_info(m, &y.i));
    CHECK(y.more[0] == 0 && y.more[31] == 0);
}
TEST(fork_is_reported) {
    hpt_context *ctx = context("reference", 1);
    fflush(stdout);
    pid_t p = fork();
    if (!p) {
        hpt_dataset *ds;
        int ok = hpt_dataset_open(ctx, NULL, "/tmp", &ds) == HPT_ERR_FORKED;
        hpt_context *fresh = context("reference", 1);
        _exit(ok && fresh ? 0 : 1);
    }
    int st;
    waitpid(p, &st, 0);
    CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

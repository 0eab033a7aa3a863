/* SPDX-License-Identifier: MIT
 * What is kept for later is kept under a key of everything that it depends on: every option of the stage, the
 * model's weights and statistics, the data and their labels. */
#define _GNU_SOURCE
#include "core/context.h"
#include "core/options.h"
#include "support.h"
#include <unistd.h>

/* Another value of an option than the one in force. */
static int change(hpt_config *c, const hpt_option_info *o) {
    char now[4100], text[64];
    OK(hpt_config_get(c, o->key, now, sizeof now, NULL));
    if (o->type == HPT_OPTION_TEXT) {
        static const char *const lists[][2] = {{"probe_lr", "0.5"}, {"probe_schedule", "cosine"}, {"ft_lr", "0.02"},
                                               {"ft_length", "3"}, {"pixel_mean", "0.4,0.5,0.6"},
                                               {"pixel_std", "0.2,0.3,0.25"}, {"freeze", "conv1.*"},
                                               {"train_only", "layer4.*"}};
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
            if (!strcmp(lists[i][0], o->key)) return hpt_config_set(c, o->key, lists[i][1]) == HPT_OK;
        return hpt_config_set(c, o->key, "other") == HPT_OK;
    }
    if (o->type == HPT_OPTION_CHOICE) {
        const char *p = o->range;
        for (size_t n; *p; p += n + (p[n] == '|')) {
            n = strcspn(p, "|");
            snprintf(text, sizeof text, "%.*s", (int)n, p);
            if (strcmp(text, now)) return hpt_config_set(c, o->key, text) == HPT_OK;
        }
        return 0;
    }
    double v = atof(now);
    static const double by[] = {1, -1, 0.5, -0.5, 0.01, 1e-3, 16};
    for (size_t i = 0; i < sizeof by / sizeof *by; i++)
        if (o->type == HPT_OPTION_INT ? hpt_config_set_int(c, o->key, (int64_t)(v + by[i])) == HPT_OK &&
            (int64_t)(v + by[i]) != (int64_t)v : hpt_config_set_float(c, o->key, v + by[i]) == HPT_OK) return 1;
    return 0;
}
static const char *const stages[] = {"dataset", "model", "pretrain", "refresh-bn", "linear", "finetune", "knn",
                                     "search", "embed"};

TEST(every_option_is_in_the_key) {
    int neutral = 0, all = 0;
    for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
        hpt_option_info o = {.struct_size = sizeof o};
        char letter = hpt__options_stage(stages[s]);
        for (uint32_t i = 0; hpt_config_describe(stages[s], i, &o) == HPT_OK; i++) {
            char key[64];
            hpt__options plain;
            int opt;
            snprintf(key, sizeof key, "%s", o.key);
            if (!strcmp(key, "preset")) continue;       /* what it sets is in the key, not its name: test_presets.c */
            hpt__options_init(&plain, 0);
            uint64_t was = hpt__options_hash(&plain, letter, 7);
            CHECK(was == hpt__options_hash(NULL, letter, 7) && was != hpt__options_hash(&plain, letter, 8));
            hpt_config *c = config("");
            if (!change(c, &o)) FAIL("no other value for %s", key);
            char text[4100];
            OK(hpt_config_get(c, key, text, sizeof text, NULL));
            OK(hpt__options_set(&plain, key, text));
            OK(hpt__options_get(&plain, key, text, sizeof text, &opt));
            int same = hpt__options_hash(&plain, letter, 7) == was;
            if (same != (hpt__options_role(opt) == HPT__NEUTRAL))
                FAIL("%s of %s %s the key", key, stages[s], same ? "does not change" : "changes");
            neutral += same;
            all++;
            hpt__options_fini(&plain);
            hpt_config_destroy(c);
        }
    }
    CHECK(all > 150 && neutral < 30);
}

/* ---- the keys of work files: evaluations that are stopped leave one behind ---- */

static int countdown;
static int32_t stop_soon(void *user, const hpt_progress *p) {
    (void)user;
    return (p->phase == HPT_PHASE_PROBE || p->phase == HPT_PHASE_FINETUNE) && p->total && --countdown <= 0;
}
static char work[100];
/* The key of the file that a stopped evaluation leaves; 0: it does not get that far with these options. */
static uint64_t key_of(int linear, hpt_context *ctx, hpt_config *c, hpt_model *m, hpt_dataset *train,
                       hpt_dataset *val) {
    hpt_result *r = NULL;
    uint64_t head[2] = {0, 0};
    unlink(work);
    countdown = 2;
    hpt_status st = linear ? hpt_model_linear(m, train, val, NULL, c, &r) : hpt_model_finetune(m, train, val, NULL, c,
        NULL, &r);
    (void)ctx;
    if (st >= 0) FAIL("it was not stopped");
    FILE *f = fopen(work, "rb");
    if (st != HPT_ERR_CANCELLED || !f) return 0;
    CHECK(fread(head, 8, 2, f) == 2 && !fclose(f));
    return head[1];
}
#define SMALL "arch=resnet10 width=16 stem=small image_size=8 batch_size=4 overlap=allow probe_steps=20 " \
    "probe_eval_every=5 probe_lr=1 ft_lr=0.01 ft_length=8 ft_batch=8 ft_micro=4 ft_eval_every=4 "
TEST_LIMIT(work_files_are_for_one_configuration, 300) {
    hpt_context *ctx = context("reference", 1);
    snprintf(work, sizeof work, "%s/work", temp_dir());
    OK(hpt_context_set_progress(ctx, stop_soon, NULL));
    ctx->watch.often = 1;       /* asked at every update */
    hpt_config *base = config(SMALL);
    OK(hpt_config_set(base, "work_file", work));
    hpt_model *m;
    OK(hpt_model_create(ctx, base, &m));
    fill_model(m, 3);
    hpt_dataset *train = toy_set(ctx, "", 16, 10, 2), *val = toy_set(ctx, "", 8, 12, 2),
        *inverted = toy_set(ctx, "invert=1", 16, 10, 2), *three = toy_set(ctx, "", 16, 10, 3);
    for (int linear = 0; linear < 2; linear++) {
        hpt_option_info o = {.struct_size = sizeof o};
        uint64_t was = key_of(linear, ctx, base, m, train, val), now;
        CHECK(was && was == key_of(linear, ctx, base, m, train, val));
        int told = 0;
        for (uint32_t i = 0; hpt_config_describe(linear ? "linear" : "finetune", i, &o) == HPT_OK; i++) {
            hpt_config *c = config(SMALL);
            char key[64];
            int opt;
            snprintf(key, sizeof key, "%s", o.key);
            OK(hpt_config_set(c, "work_file", work));
            if (!strcmp(key, "work_file") || !strcmp(key, "preset")) continue;
            CHECK(change(c, &o));
            hpt__options none;
            hpt__options_init(&none, 0);
            OK(hpt__options_get(&none, key, (char[4100]){0}, 4100, &opt));
            now = key_of(linear, ctx, c, m, train, val);
            if (now && (now == was) != (hpt__options_role(opt) == HPT__NEUTRAL))
                FAIL("%s: %s: the key is %s", linear ? "linear" : "finetune", key, now == was ? "the same" : "another");
            told += now != 0;
            hpt_config_destroy(c);
        }
        CHECK(told > 15);
        /* data, labels, weights, running statistics */
        CHECK((now = key_of(linear, ctx, base, m, inverted, val)) && now != was);
        CHECK((now = key_of(linear, ctx, base, m, three, three)) && now != was);
        CHECK((now = key_of(linear, ctx, base, m, train, train)) && now != was);
        static const char *const tensors[] = {"bn1.weight", "bn1.running_var"};
        for (int k = 0; k < 2; k++) {
            float x[16], y[16];
            OK(hpt_model_get_tensor(m, tensors[k], x, 16));
            memcpy(y, x, sizeof y);
            y[5] += 0.125f;
            OK(hpt_model_set_tensor(m, tensors[k], y, 16));
            CHECK((now = key_of(linear, ctx, base, m, train, val)) && now != was);
            OK(hpt_model_set_tensor(m, tensors[k], x, 16));
        }
        CHECK(was == key_of(linear, ctx, base, m, train, val));
    }
}

/* SPDX-License-Identifier: MIT
 * A NaN, an Inf or an overflow anywhere in the state of a run is found in the step that meets it, before anything is
 * written; under skip and callback nothing but the count changes. */
#include "backend/backend.h"
#include "ssl/session.h"
#include "support.h"

/* cuda: the emulated one, where it was built */
static const char *const backends[] = {"reference", "onednn", "cuda"};
#define SMALL "arch=resnet10 width=16 stem=small image_size=8 batch_size=4 bn_group=2 moco_k=8 moco_dim=16 steps=50 " \
    "precision=fp32 workers=1 "

/* Every tensor of a session, one after the other. */
typedef struct all { float *x; size_t n; } all;
static all state_of(hpt_session *s, hpt_model *m) {
    static const char *const prefix[] = {"q.", "k.", "momentum."};
    hpt_tensor_info t = {.struct_size = sizeof t};
    all a = {malloc(64 << 20), 0};
    for (int p = 0; p < 3; p++)
        for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK; i++) {
            char name[160];
            size_t n = 1;
            for (int d = 0; d < t.ndim; d++) n *= (size_t)t.shape[d];
            snprintf(name, sizeof name, "%s%s", prefix[p], t.name);
            if (p == 2 && strstr(t.name, "running_")) continue;
            OK(hpt_session_get_tensor(s, name, a.x + a.n, n));
            a.n += n;
        }
    OK(hpt_session_get_tensor(s, "queue", a.x + a.n, 8 * 16));
    a.n += 8 * 16;
    return a;
}
static void poke(hpt_session *s, const char *name, size_t n, float value, float *old) {
    float *x = malloc(n * 4);
    OK(hpt_session_get_tensor(s, name, x, n));
    *old = x[n / 2];
    x[n / 2] = value;
    OK(hpt_session_set_tensor(s, name, x, n));
    free(x);
}

TEST_LIMIT(bad_values_are_found_before_they_are_written, 300) {
    static const struct { const char *tensor; size_t n; float value; const char *options, *found; } cases[] = {
        {"momentum.layer2.0.conv1.weight", 32 * 16 * 9, NAN, "", "the momentum of layer2.0.conv1.weight"},
        {"momentum.bn1.bias", 16, INFINITY, "", "the momentum of bn1.bias"},
        {"momentum.fc.2.bias", 16, -INFINITY, "optimizer=lars", "the momentum of fc.2.bias"},
        {"momentum.layer1.0.conv2.weight", 16 * 16 * 9, NAN, "optimizer=lars", "the momentum of layer1.0.conv2.weight"},
        {"momentum.conv1.weight", 16 * 27, NAN, "optimizer=adamw", "the momentum of conv1.weight"},
        {"momentum.layer3.0.bn2.weight", 64, 3e38f, "lr=1000", "the next value of layer3.0.bn2.weight"},
        {"momentum.bn1.weight", 16, NAN, "train=bn", "the momentum of bn1.weight"},
        {"q.bn1.running_mean", 16, NAN, "", "bn1.running_mean of the query encoder"},
        {"q.layer4.0.bn1.running_var", 128, INFINITY, "", "layer4.0.bn1.running_var of the query encoder"},
        {"k.layer2.0.bn2.running_mean", 32, -INFINITY, "", "layer2.0.bn2.running_mean of the key encoder"},
        {"q.conv1.weight", 16 * 27, NAN, "", "the loss"},
        {"k.conv1.weight", 16 * 27, INFINITY, "", "the loss"},
        {"queue", 8 * 16, NAN, "", "the loss"},
    };
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        hpt_context *ctx = context(backends[b], 2);
        if (!ctx) continue;
        hpt_config *c = config(SMALL);
        hpt_dataset *ds = toy_set(ctx, "", 12, 10, 3);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (int skip = 0; skip < 2; skip++) {
                hpt_model *m;
                hpt_session *s;
                hpt_step_info info = {.struct_size = sizeof info};
                float old;
                if (b == 2 && i != (skip ? 5 : 0) && i != (skip ? 9 : 7)) continue;      /* the emulation is slow */
                hpt_config *o = config(SMALL);
                set(o, cases[i].options);
                set(o, skip ? "on_nonfinite=skip" : "on_nonfinite=stop");
                OK(hpt_model_create(ctx, o, &m));
                OK(hpt_session_create(ctx, o, m, ds, &s));
                OK(hpt_session_step(s, &info));
                if (strstr(cases[i].options, "adamw") && !skip) OK(hpt_session_step(s, NULL));
                poke(s, cases[i].tensor, cases[i].n, cases[i].value, &old);
                all before = state_of(s, m);
                if (skip) {
                    OK(hpt_session_step(s, &info));
                    CHECK(info.skipped == 1 && isnan(info.loss));
                } else FAILS(HPT_ERR_NUMERIC, cases[i].found, hpt_session_step(s, NULL));
                all after = state_of(s, m);
                if (memcmp(before.x, after.x, before.n * 4))
                    FAIL("%s on %s: the state changed", cases[i].tensor, backends[b]);
                poke(s, cases[i].tensor, cases[i].n, old, &old);        /* mended, the run goes on */
                if (cases[i].value < 1e38f || !strstr(cases[i].options, "1000")) {
                    OK(hpt_session_step(s, &info));
                    CHECK(isfinite(info.loss) && info.skipped == (uint32_t)skip);
                }
                free(before.x);
                free(after.x);
                hpt_session_destroy(s);
                hpt_model_destroy(m);
                hpt_config_destroy(o);
            }
        hpt_config_destroy(c);
        hpt_dataset_destroy(ds);
        hpt_context_destroy(ctx);
    }
}

/* The kernel: it says bad exactly where the update itself would write something that is not finite. */
TEST(foresee_is_what_update_does) {
    static const float hostile[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e30f, 0};
    for (size_t b = 0; b < 2; b++) {
        hpt_context *c = context(backends[b], 2);
        if (!c) continue;
        for (int rule = HPT__SGD; rule <= HPT__FROZEN; rule++)
            for (size_t n = 1; n < 3000; n = n * 3 + 1)
                for (int where = 0; where < 4; where++)
                    for (size_t h = 0; h < sizeof hostile / sizeof *hostile; h++) {
                        float *x[4], trust = 0.3f;
                        for (int i = 0; i < 4; i++) {
                            x[i] = malloc(n * 4);
                            fill_f32(x[i], n, 7 + (uint64_t)i, 0.5f, i == 2 ? 0.6f : 0);
                        }
                        if (where == 2 && rule != HPT__ADAMW) continue;
                        x[where][n * 2 / 3] = where == 2 ? fabsf(hostile[h]) : hostile[h];
                        hpt__vars v = {.lr = 10, .adam1 = 0.1, .adam2 = 0.03};
                        hpt__update u = {.q = x[0], .m = x[1], .v = x[2], .g = x[3], .trust = &trust,
                                         .rule = (hpt__rule)rule, .momentum = 0.9, .wd = 0.01, .b1 = 0.9, .b2 = 0.99,
                                         .eps = 1e-8};
                        hpt__outcome o = {.bad = HPT__BAD_LOSS};
                        float *q = malloc(n * 4);
                        memcpy(q, x[0], n * 4);
                        c->be->params->foresee(c->dev, HPT__F32, &u, 0, n, &v, HPT__BAD_UPDATE, &o);
                        if (memcmp(q, x[0], n * 4)) FAIL("something was written");
                        c->be->params->update(c->dev, HPT__F32, &u, 0, n, &v, NULL);
                        int bad = 0;
                        for (size_t i = 0; i < n && rule != HPT__FROZEN; i++)
                            bad |= !isfinite(x[0][i]) | !isfinite(x[1][i]) | (rule == HPT__ADAMW && !isfinite(x[2][i]));
                        if (o.bad != (HPT__BAD_LOSS | (bad ? HPT__BAD_UPDATE : 0)))
                            FAIL("%s rule %d n %zu array %d value %g: %d, and the update is %s", backends[b], rule, n,
                                 where, (double)hostile[h], o.bad, bad ? "bad" : "good");
                        for (int i = 0; i < 4; i++) free(x[i]);
                        free(q);
                    }
        hpt_context_destroy(c);
    }
}

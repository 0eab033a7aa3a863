/* SPDX-License-Identifier: MIT
 * LARS with the learning rate inside the momentum (lars_form=openselfsup): the kernel against its formula bit by bit
 * and against NumPy (fixtures/make_lars.py), every CPU backend alike, lengths of zero, and the option in a session. */
#include "backend/backend.h"
#include "core/context.h"
#include "support.h"
#include <stdlib.h>
#include <string.h>

static void fill(double *x, json_t *from) {
    size_t i;
    json_t *v;
    json_array_foreach(from, i, v) x[i] = json_number_value(v);
}
static double apart(const double *x, json_t *want, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs(x[i] - json_number_value(json_array_get(want, i))));
    return worst;
}
TEST(lars_inner_rate_against_numpy) {
    json_t *f = fixture("lars"), *c, *rates = json_object_get(f, "rates");
    size_t i, cases = 0;
    json_array_foreach(json_object_get(f, "cases"), i, c) {
        double p[16], m[16] = {0}, g[16], trust;
        size_t n = json_array_size(json_object_get(c, "p"));
        int trusts = integer(c, "trust");
        fill(p, json_object_get(c, "p"));
        for (size_t k = 0; k < json_array_size(rates); k++) {
            fill(g, json_array_get(json_object_get(c, "g"), k));
            trust = hpt__ref_trust_f64(HPT__LARS_LR, p, g, n, num(c, "wd"), num(f, "eta"));
            if (trusts) CHECK(fabs(trust - json_number_value(json_array_get(json_object_get(c, "ratios"), k))) < 1e-14);
            hpt__vars v = {.lr = json_number_value(json_array_get(rates, k))};
            hpt__update u = {.q = p,
                             .m = m,
                             .g = g,
                             .trust = trusts ? &trust : NULL,
                             .rule = HPT__LARS_LR,
                             .momentum = num(f, "momentum"),
                             .wd = trusts ? num(c, "wd") : 0};
            hpt__ref_update_f64(&u, 0, n, &v, NULL);
        }
        CHECK(apart(p, json_object_get(c, "end"), n) < 1e-14 && apart(m, json_object_get(c, "buffer"), n) < 1e-14);
        cases++;
    }
    CHECK(cases == 3);
}

/* The formula written out once more: the same bits in double and in float, on both CPU backends, at any place and
 * length. */
TEST(lars_inner_rate_bit_by_bit) {
    enum { N = 3000 };
    static double p[N], m[N], g[N], q[N], v[N];
    const double wd = 1e-3, mom = 0.9, trust = 0.0173;
    hpt__vars vars = {.lr = 0.3};
    for (int with = 0; with < 2; with++) {
        for (int i = 0; i < N; i++) {
            q[i] = p[i] = value_at((uint64_t)i, 1);
            v[i] = m[i] = 0.1 * value_at((uint64_t)i, 2);
            g[i] = 0.5 * value_at((uint64_t)i, 3);
        }
        double rate = (with ? trust : 1) * vars.lr;
        hpt__update u = {
            .q = q, .m = v, .g = g, .trust = with ? &trust : NULL, .rule = HPT__LARS_LR, .momentum = mom, .wd = wd};
        hpt__ref_update_f64(&u, 0, N, &vars, NULL);
        for (int i = 0; i < N; i++) {
            double d = fma(wd, p[i], g[i]) * rate, kept = mom * m[i], step = kept + d;
            CHECK(v[i] == step && q[i] == p[i] - step);
        }
    }
    const char *const names[] = {"reference", "onednn"};
    for (int b = 0; b < 2; b++) {
        hpt_context *c = context(names[b], 2);
        if (!c) continue;
        for (int with = 0; with < 2; with++)
            for (size_t n = 1; n < N; n = n * 3 + 1) {
                static float fp[N], fm[N], fg[N], fq[N], fv[N];
                float narrow = (float)trust, rate = (float)((with ? (double)narrow : 1) * vars.lr);
                for (size_t i = 0; i < n; i++) {
                    fq[i] = fp[i] = (float)value_at(i, 1);
                    fv[i] = fm[i] = 0.1f * (float)value_at(i, 2);
                    fg[i] = 0.5f * (float)value_at(i, 3);
                }
                hpt__update u = {.q = fq,
                                 .m = fv,
                                 .g = fg,
                                 .trust = with ? &narrow : NULL,
                                 .rule = HPT__LARS_LR,
                                 .momentum = mom,
                                 .wd = wd};
                c->be->params->update(c->dev, HPT__F32, &u, 0, n, &vars, NULL);
                for (size_t i = 0; i < n; i++) {
                    float d = fmaf((float)wd, fp[i], fg[i]) * rate, kept = (float)mom * fm[i], step = kept + d,
                          next = fp[i] - step;
                    if (memcmp(&fv[i], &step, 4) || memcmp(&fq[i], &next, 4))
                        FAIL("%s: value %zu of %zu", names[b], i, n);
                }
            }
        hpt_context_destroy(c);
    }
}

TEST(lars_inner_rate_of_lengths_of_zero) {
    double p[4] = {1, -2, 0.5, 3}, g[4] = {0.1, 0.2, -0.3, 0.4}, zero[4] = {0}, length = sqrt(1 + 4 + 0.25 + 9);
    CHECK(hpt__ref_trust_f64(HPT__LARS_LR, zero, g, 4, 1e-6, 1e-3) == 0); /* a tensor of zeros stays */
    CHECK(hpt__ref_trust_f64(HPT__LARS_LR, zero, zero, 4, 1e-6, 1e-3) == 0); /* 0/0 */
    CHECK(hpt__ref_trust_f64(HPT__LARS_LR, p, zero, 4, 0, 1e-3) == 0); /* no gradient, no decay: x/0 */
    CHECK(fabs(hpt__ref_trust_f64(HPT__LARS_LR, p, zero, 4, 1e-2, 1e-3) - 0.1) < 1e-15); /* decay alone: eta/wd */
    CHECK(fabs(hpt__ref_trust_f64(HPT__LARS_LR, p, g, 4, 0, 1e-3) - 1e-3 * length / sqrt(0.01 + 0.04 + 0.09 + 0.16)) <
          1e-17);
}

#define SMALL                                                                                                          \
    "arch=resnet10 width=16 stem=small image_size=16 batch_size=8 bn_group=4 moco_k=16 moco_dim=16 seed=3 workers=1 "  \
    "precision=fp32 schedule=constant lr=0.3 lars_trust=0.02 weight_decay=0.01 optimizer=lars steps=8 "
static hpt_session *session(hpt_context *ctx, const char *more, hpt_dataset *ds) {
    char text[600];
    hpt_model *m;
    hpt_session *s;
    snprintf(text, sizeof text, SMALL "%s", more);
    hpt_config *c = config(text);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    return s;
}
enum { CONV = 16 * 16 * 9 };
static void get(hpt_session *s, const char *name, float *x, uint64_t n) { OK(hpt_session_get_tensor(s, name, x, n)); }

/* One step of each form from equal weights: what the buffer holds, and that a vector has neither decay nor trust. Then
 * resume. */
TEST(lars_form_in_a_session) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 24, 18, 3);
    hpt_session *a = session(ctx, "lars_form=openselfsup", ds), *b = session(ctx, "", ds);
    static float before[CONV], p[CONV], g[CONV], m[CONV], other[CONV];
    const char *const matrix = "layer1.0.conv1.weight";
    char name[80], path[300];
    snprintf(name, sizeof name, "q.%s", matrix);
    get(a, name, before, CONV);
    OK(hpt_session_step(a, NULL));
    OK(hpt_session_step(b, NULL));
    get(a, name, p, CONV);
    get(b, name, other, CONV);
    CHECK(memcmp(p, other, sizeof p));
    snprintf(name, sizeof name, "grad.%s", matrix);
    get(a, name, g, CONV);
    snprintf(name, sizeof name, "momentum.%s", matrix);
    get(a, name, m, CONV);
    double pp = 0, gg = 0;
    for (int i = 0; i < CONV; i++) {
        pp += (double)before[i] * before[i];
        gg += (double)g[i] * g[i];
    }
    double rate = 0.02 * sqrt(pp) / (sqrt(gg) + 0.01 * sqrt(pp)) * 0.3, worst = 0, largest = 0;
    for (int i = 0; i < CONV; i++) {
        worst = fmax(worst, fabs(m[i] - rate * (g[i] + 0.01 * before[i])));
        largest = fmax(largest, fabs(m[i]));
        CHECK(p[i] == before[i] - m[i]);
    }
    CHECK(largest > 0 && worst < 1e-6 * largest);
    get(a, "grad.bn1.bias", g, 16);
    get(a, "momentum.bn1.bias", m, 16);
    for (int i = 0; i < 16; i++) CHECK(m[i] == g[i] * 0.3f);
    snprintf(path, sizeof path, "%s/c.pth", temp_dir());
    OK(hpt_session_save(a, path));
    hpt_session *c = session(ctx, "lars_form=openselfsup", ds);
    OK(hpt_session_resume(c, path));
    for (int i = 0; i < 3; i++) {
        OK(hpt_session_step(a, NULL));
        OK(hpt_session_step(c, NULL));
    }
    snprintf(name, sizeof name, "q.%s", matrix);
    get(a, name, p, CONV);
    get(c, name, other, CONV);
    CHECK(!memcmp(p, other, sizeof p));
    hpt_session *d = session(ctx, "", ds); /* buffers of one form mean nothing to the other */
    FAILS(HPT_ERR_MISMATCH, "lars_form", hpt_session_resume(d, path));
    hpt_session_destroy(a);
    hpt_session_destroy(b);
    hpt_session_destroy(c);
    hpt_session_destroy(d);
    hpt_dataset_destroy(ds);
    hpt_context_destroy(ctx);
}

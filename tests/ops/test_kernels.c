/* SPDX-License-Identifier: MIT
 * The reference's operations against PyTorch's fp64 (ops.json) and finite differences; the families of every backend on
 * rows and flat arrays against the reference. (Every operation of every backend against the reference: ops.c.) */
#include "backend/backend.h"
#include "core/context.h"
#include "kernels/embed.h"
#include "kernels/heads.h"
#include "kernels/infonce.h"
#include "nn/plan.h"
#include "support.h"

/* The reference backend, whose maps lie plain: arrays of its type from doubles, and back. */
typedef struct bench { hpt_context *c; hpt__dtype t; } bench;
static void *map_in(const bench *b, const double *x, size_t n) {
    void *m = b->c->be->memory.alloc(b->c->dev, n * 8);
    for (size_t i = 0; i < n; i++)
        if (b->t == HPT__F64) ((double *)m)[i] = x[i];
        else ((float *)m)[i] = (float)x[i];
    return m;
}
static double *map_out(const bench *b, const void *m, size_t n) {
    double *x = malloc(sizeof *x * n);
    for (size_t i = 0; i < n; i++) x[i] = b->t == HPT__F64 ? ((const double *)m)[i] : ((const float *)m)[i];
    return x;
}
static void run_op(const bench *b, hpt__op_kind kind, hpt__geometry g, int direct, hpt__op_args a) {
    hpt__op_desc d = {kind, b->t, g, direct, 1};
    hpt__op *op;
    b->c->be->device.enter(b->c->dev);
    OK(b->c->be->op.create(b->c->dev, &d, &op));
    a.scratch = b->c->be->memory.alloc(b->c->dev, b->c->be->op.scratch(op) + 64);
    OK(b->c->be->op.run(op, &a));
    b->c->be->memory.free(b->c->dev, a.scratch);
    b->c->be->op.destroy(op);
    b->c->be->device.leave(b->c->dev);
}
static double *inputs(size_t n, uint64_t seed, float scale, float shift) {
    double *x = malloc(n * sizeof *x);
    fill_f64(x, n, seed, scale, shift);
    return x;
}
static float *floats(size_t n, uint64_t seed, float scale, float shift) {
    float *x = malloc(n * sizeof *x);
    fill_f32(x, n, seed, scale, shift);
    return x;
}
/* error against fp64 at most factor times PyTorch's own, with a floor for rounding of inputs and outputs */
static void limit(const char *what, double error, double theirs, double floor_) {
    if (!(error <= 2 * theirs + floor_)) FAIL("%s: error %.3g, PyTorch's %.3g", what, error, theirs);
}

static void conv_cases(bench b, double floor_, int direct) {
    json_t *f = fixture("ops"), *c;
    size_t i;
    json_array_foreach(json_object_get(f, "conv"), i, c) {
        hpt__geometry g = {.n = integer(c, "n"), .c = integer(c, "c"), .h = integer(c, "h"), .k = integer(c, "k"),
                           .r = integer(c, "r"), .stride = integer(c, "stride"), .pad_h = integer(c, "pad"),
                           .pad_w = integer(c, "pad"),
                           .bn_groups = 1};
        g.w = g.h;
        g.s = g.r;
        g.p = g.q = (g.h + 2 * g.pad_h - g.r) / g.stride + 1;
        size_t nw = (size_t)(g.k * g.c * g.r * g.s);
        double *x = inputs((size_t)(g.n * g.c * g.h * g.h), 1, 1, 0), *dy = inputs((size_t)(g.n * g.k * g.p * g.p), 3,
            1, 0);
        float *w = floats(nw, 2, 1, 0), *dw = malloc(nw * 4);
        int64_t shape[4] = {g.k, g.c, g.r, g.s};
        void *mx = map_in(&b, x, (size_t)(g.n * g.c * g.h * g.w)),
             *mdy = map_in(&b, dy, (size_t)(g.n * g.k * g.p * g.q)),
             *my = map_in(&b, dy, (size_t)(g.n * g.k * g.p * g.q)),
             *mdx = map_in(&b, x, (size_t)(g.n * g.c * g.h * g.w)), *ndw = aligned_alloc(64, nw * 8 + 64);
        void *wn = aligned_alloc(64, (nw * 8 + 127) / 64 * 64);
        b.c->be->order.pack(b.c->dev, b.t, shape, w, wn);
        run_op(&b, HPT__OP_CONV, g, direct, (hpt__op_args){.x = mx, .w = wn, .y = my});
        double *y = map_out(&b, my, (size_t)(g.n * g.k * g.p * g.q));
        json_t *te = json_object_get(c, "torch_error");
        limit("conv y", signature_error(y, (size_t)(g.n * g.k * g.p * g.q), json_object_get(c, "y")),
              json_number_value(json_array_get(te, 0)), floor_);
        run_op(&b, HPT__OP_CONV_WEIGHTS, g, direct, (hpt__op_args){.x = mx, .dy = mdy, .dw = ndw});
        b.c->be->order.unpack(b.c->dev, b.t, shape, ndw, dw);
        limit("conv dw", signature_error_f32(dw, nw, json_object_get(c, "dw")),
              json_number_value(json_array_get(te, 2)), floor_);
        if (g.c > 3) {          /* the engine never asks for the gradient of the images */
            run_op(&b, HPT__OP_CONV_DATA, g, direct, (hpt__op_args){.dy = mdy, .w = wn, .dx = mdx});
            double *dx = map_out(&b, mdx, (size_t)(g.n * g.c * g.h * g.w));
            limit("conv dx", signature_error(dx, (size_t)(g.n * g.c * g.h * g.h), json_object_get(c, "dx")),
                  json_number_value(json_array_get(te, 1)), floor_);
        }
    }
}
/* weights pass through float32 */
TEST(conv_reference_fp64) { conv_cases((bench){context("reference", 1), HPT__F64}, 1e-7, 1); }
TEST(conv_reference_fp32) { conv_cases((bench){context("reference", 1), HPT__F32}, 1e-7, 1); }

static void norm_cases(bench b, double tol) {
    json_t *f = fixture("ops"), *c;
    size_t i, real_bytes = hpt__real_size(b.t);
    json_array_foreach(json_object_get(f, "bn"), i, c) {
        hpt__geometry g = {.n = integer(c, "n"), .c = integer(c, "c"), .h = integer(c, "h"), .bn_groups = 1,
                           .residual = integer(c, "res"), .act = integer(c, "relu") ? HPT__ACT_RELU : HPT__ACT_NONE,
                           .eps = 1e-5};
        g.w = g.q = g.p = g.h;
        g.k = g.c;
        int hw = g.h * g.w;
        size_t count = (size_t)(g.n * g.c * hw), ch = (size_t)g.c;
        void *x = map_in(&b, inputs(count, 11, 3, 0.7f), (size_t)(g.n * g.c * hw)),
             *r = map_in(&b, inputs(count, 14, 1, 0), (size_t)(g.n * g.c * hw)),
             *dy = map_in(&b, inputs(count, 15, 1, 0), (size_t)(g.n * g.c * hw));
        void *y = map_in(&b, inputs(count, 1, 1, 0), (size_t)(g.n * g.c * hw)),
             *dx = map_in(&b, inputs(count, 1, 1, 0), (size_t)(g.n * g.c * hw));
        float *w32 = floats(ch, 12, 0.5f, 1), *b32 = floats(ch, 13, 0.3f, 0);
        double v[8][64] = {{0}};      /* w b mean rstd run_mean run_var dw db as real */
        int64_t shape[4] = {g.c, 0, 0, 0};
        b.c->be->order.pack(b.c->dev, b.t, shape, w32, v[0]);
        b.c->be->order.pack(b.c->dev, b.t, shape, b32, v[1]);
        for (size_t k = 0; k < ch; k++)
            if (real_bytes == 8) v[5][k] = 1;
            else ((float *)v[5])[k] = 1;
        run_op(&b, HPT__OP_NORM, g, 0, (hpt__op_args){.x = x, .w = v[0], .b = v[1], .r = g.residual ? r : NULL, .y = y,
                                                      .mean = v[2], .rstd = v[3], .run_mean = v[4], .run_var = v[5],
                                                      .momentum = 0.1});
        run_op(&b, HPT__OP_NORM_GRAD, g, 0, (hpt__op_args){.x = x, .y_in = y, .w = v[0], .mean = v[2], .rstd = v[3],
                                                           .dy = dy, .dx = dx, .dw = v[6], .db = v[7]});
        float out[4][64];
        for (int k = 0; k < 4; k++) b.c->be->order.unpack(b.c->dev, b.t, shape, v[4 + k], out[k]);
        limit("norm y", signature_error(map_out(&b, y, (size_t)(g.n * g.c * hw)), count, json_object_get(c, "y")), 0,
              tol);
        limit("norm dx", signature_error(map_out(&b, dx, (size_t)(g.n * g.c * hw)), count, json_object_get(c, "dx")), 0,
              tol * 4);
        if (g.residual)
            limit("norm dr",
                  signature_error(map_out(&b, dy, (size_t)(g.n * g.c * hw)), count, json_object_get(c, "dr")), 0, tol);
        limit("norm run_mean", signature_error_f32(out[0], ch, json_object_get(c, "rm")), 0, tol);
        limit("norm run_var", signature_error_f32(out[1], ch, json_object_get(c, "rv")), 0, tol);
        limit("norm dw", signature_error_f32(out[2], ch, json_object_get(c, "dw")), 0, tol);
        limit("norm db", signature_error_f32(out[3], ch, json_object_get(c, "db")), 0, tol);
    }
}
TEST(norm_reference_fp64) { norm_cases((bench){context("reference", 1), HPT__F64}, 1e-7); }
TEST(norm_reference_fp32) { norm_cases((bench){context("reference", 1), HPT__F32}, 5e-7); }

TEST(maxpool) {
    json_t *f = fixture("ops"), *c;
    size_t i;
    bench b[2] = {{context("reference", 1), HPT__F64}, {context("reference", 1), HPT__F32}};
    for (int k = 0; k < 2; k++)
        json_array_foreach(json_object_get(f, "pool"), i, c) {
            hpt__geometry g = {.n = integer(c, "n"), .c = integer(c, "c"), .h = integer(c, "h"), .p = integer(c, "p"),
                               .r = 3, .s = 3, .stride = 2, .pad_h = 1, .pad_w = 1, .bn_groups = 1};
            g.w = g.h;
            g.q = g.p;
            g.k = g.c;
            size_t in = (size_t)(g.n * g.c * g.h * g.h), out = (size_t)(g.n * g.c * g.p * g.p);
            void *x = map_in(&b[k], inputs(in, 21, 1, 0), (size_t)(g.n * g.c * g.h * g.h)),
                 *dy = map_in(&b[k], inputs(out, 22, 1, 0), (size_t)(g.n * g.c * g.p * g.p)),
                 *y = map_in(&b[k], inputs(out, 1, 1, 0), (size_t)(g.n * g.c * g.p * g.p));
            uint8_t *where = malloc(out);
            run_op(&b[k], HPT__OP_MAXPOOL, g, 0, (hpt__op_args){.x = x, .y = y, .aux = where});
            limit("maxpool y",
                  signature_error(map_out(&b[k], y, (size_t)(g.n * g.c * g.p * g.p)), out, json_object_get(c, "y")), 0,
                  1e-12);
            run_op(&b[k], HPT__OP_MAXPOOL_GRAD, g, 0, (hpt__op_args){.dy = dy, .aux = where, .dx = x});
            limit("maxpool dx",
                  signature_error(map_out(&b[k], x, (size_t)(g.n * g.c * g.h * g.h)), in, json_object_get(c, "dx")), 0,
                  1e-7);
        }
}

TEST(sgd_and_ema_bit_for_bit) {
    json_t *f = fixture("ops");
    const char *names[2] = {"reference", "onednn"};
    for (int k = 0; k < 2; k++) {
        hpt_context *c = context(names[k], 2);
        if (!c) continue;
        float *p = floats(257, 31, 1, 0), *m = calloc(257, 4), *kk = floats(257, 41, 1, 0), *q = floats(257, 42, 1, 0),
            *a = floats(257, 51, 1, 0), *m1 = calloc(257, 4), *m2 = calloc(257, 4);
        for (uint64_t s = 0; s < 3; s++) {
            float *g = floats(257, 32 + s, 0.1f, 0), *ga = floats(257, 52 + s, 0.1f, 0);
            hpt__vars v = {.lr = 0.03}, va = {.lr = 0.003, .adam1 = 1 - pow(0.9, (double)s + 1),
                                              .adam2 = sqrt(1 - pow(0.999, (double)s + 1))};
            hpt__update u = {.q = p, .m = m, .g = g, .rule = HPT__SGD, .momentum = 0.9, .wd = 1e-4};
            hpt__update ua = {.q = a, .m = m1, .v = m2, .g = ga, .rule = HPT__ADAMW, .wd = 0.05, .b1 = 0.9,
                              .b2 = 0.999, .eps = 1e-8};
            c->be->params->update(c->dev, HPT__F32, &u, 0, 257, &v, NULL);
            c->be->params->blend(c->dev, HPT__F32, kk, kk, q, 257, 0.999, 1 - 0.999);
            c->be->params->update(c->dev, HPT__F32, &ua, 0, 257, &va, NULL);
        }
        for (size_t i = 0; i < 257; i++) {
            uint32_t u, v;
            memcpy(&u, p + i, 4);
            memcpy(&v, kk + i, 4);
            CHECK(u == (uint32_t)json_integer_value(json_array_get(json_object_get(f, "sgd"), i)));
            CHECK(v == (uint32_t)json_integer_value(json_array_get(json_object_get(f, "ema"), i)));
            double t = json_number_value(json_array_get(json_object_get(f, "adamw"), i));
            CHECK(fabs(a[i] - t) <= 4e-7 * fabs(t) + 1e-8);
        }
        float bad[20] = {0};
        for (int b = 0; b < 3; b++) {
            hpt__outcome o = {0};
            bad[17] = b == 0 ? 1 : b == 1 ? INFINITY : NAN;
            c->be->params->finite(c->dev, HPT__F32, bad, 20, HPT__BAD_GRAD, &o);
            CHECK(o.bad == (b ? HPT__BAD_GRAD : 0));
        }
    }
}

/* The fused pass against the rules one by one, on both CPU backends: bit for bit except for AdamW's float
 * arithmetic. */
TEST(update_fused_with_key_encoder) {
    const char *names[2] = {"reference", "onednn"};
    for (int k = 0; k < 2; k++)
        for (int rule = HPT__SGD; rule <= HPT__FROZEN; rule++)
            for (size_t n = 1; n < 5000; n = n * 3 + 1) {
                hpt_context *c = context(names[k], 2);
                if (!c) continue;
                float *q = floats(n, 1, 1, 0), *m = floats(n, 2, 1, 0), *v = floats(n, 3, 0.5f, 0.6f),
                    *g = floats(n, 4, 1, 0), *key = floats(n, 5, 1, 0), *next = floats(n, 6, 1, 0);
                float *q2 = floats(n, 1, 1, 0), *m2 = floats(n, 2, 1, 0), *v2 = floats(n, 3, 0.5f, 0.6f),
                    *want = floats(n, 6, 1, 0), trust = 0.3f;
                hpt__vars vars = {.lr = 0.1, .ema = 0.99, .adam1 = 0.1, .adam2 = 0.03};
                hpt__update u = {.q = q, .k = key, .k_next = next, .m = m, .v = v, .g = g, .trust = &trust,
                                 .rule = (hpt__rule)rule, .momentum = 0.9, .wd = 0.01, .b1 = 0.9, .b2 = 0.99,
                                 .eps = 1e-8};
                hpt__update plain = u;
                hpt__outcome bad = {.bad = HPT__BAD_GRAD};
                plain.q = q2; plain.m = m2; plain.v = v2; plain.k = NULL;
                c->be->params->update(c->dev, HPT__F32, &u, 0, n, &vars, &bad);
                CHECK(!memcmp(q, q2, n * 4) && !memcmp(next, want, n * 4));
                c->be->params->update(c->dev, HPT__F32, &u, 0, n, &vars, NULL);
                c->be->params->update(c->dev, HPT__F32, &plain, 0, n, &vars, NULL);
                CHECK(!memcmp(q, q2, n * 4) && !memcmp(m, m2, n * 4) && !memcmp(v, v2, n * 4) &&
                      !memcmp(key, want, n * 4));
                c->be->params->blend(c->dev, HPT__F32, want, want, q2, n, 0.99, 1 - 0.99);
                CHECK(!memcmp(next, want, n * 4));
                hpt_context_destroy(c);
            }
}

static void unit_rows(float *x, int n, int d) {
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int j = 0; j < d; j++) s += (double)x[i * d + j] * x[i * d + j];
        for (int j = 0; j < d; j++) x[i * d + j] = (float)(x[i * d + j] / sqrt(s));
    }
}
TEST(infonce_gradient_by_differences) {
    enum { N = 3, D = 7, Q = 11 };
    double q[N * D], k[N * D], queue[Q * D], dq[N * D], waste[N * D], out[3], up[3], down[3];
    fill_f64(q, N * D, 1, 1, 0);
    fill_f64(k, N * D, 2, 1, 0);
    fill_f64(queue, Q * D, 3, 1, 0);
    hpt__ref_infonce_f64(N, D, Q, q, k, queue, 0.3, out, dq);
    for (int i = 0; i < N * D; i++) {
        double x = q[i], h = 1e-6;
        q[i] = x + h;
        hpt__ref_infonce_f64(N, D, Q, q, k, queue, 0.3, up, waste);
        q[i] = x - h;
        hpt__ref_infonce_f64(N, D, Q, q, k, queue, 0.3, down, waste);
        q[i] = x;
        CHECK(fabs((up[0] - down[0]) / (2 * h) - dq[i]) < 1e-7);
    }
}
TEST(infonce_cpu_against_reference) {
    hpt_context *c = fast_context();
    const int cases[][3] = {{1, 1, 0}, {1, 16, 1}, {3, 7, 15}, {5, 128, 2047}, {8, 32, 2048}, {7, 33, 2049},
                            {16, 128, 5000}};
    for (size_t s = 0; s < sizeof cases / sizeof *cases; s++)
        for (int tau = 0; tau < 3; tau++) {
            int n = cases[s][0], d = cases[s][1], K = cases[s][2];
            double T = tau == 0 ? 0.2 : tau == 1 ? 0.01 : 0.001, out[3], want[3];
            size_t nd = (size_t)(n * d), qd = (size_t)((K + 1) * d);
            float *q = floats(nd, 1, 1, 0), *k = floats(nd, 2, 1, 0), *queue = floats(qd, 3, 1, 0),
                *dq = malloc(nd * 4);
            /* equal rows: ties count for the positive */
            if (s == 4) memcpy(k, q, nd * 4), memcpy(queue, q, nd * 4);
            unit_rows(q, n, d);
            unit_rows(k, n, d);
            unit_rows(queue, K, d);
            double *q64 = malloc(nd * 8), *k64 = malloc(nd * 8), *u64 = malloc(qd * 8), *d64 = malloc(nd * 8);
            for (size_t i = 0; i < nd; i++) q64[i] = q[i], k64[i] = k[i];
            for (size_t i = 0; i < qd; i++) u64[i] = queue[i];
            hpt__ref_infonce_f64(n, d, K, q64, k64, u64, T, want, d64);
            void *scratch = c->be->memory.alloc(c->dev, c->be->contrast->scratch(c->dev, HPT__F32, n, d));
            c->be->device.enter(c->dev);
            hpt__outcome o = {0};
            OK(c->be->contrast->infonce(c->dev, HPT__F32, n, d, K, q, k, queue, NULL, T, &o, dq, scratch));
            c->be->device.leave(c->dev);
            out[0] = o.loss, out[1] = o.top1, out[2] = o.top5;
            if (!(fabs(out[0] - want[0]) <= 4e-7 / T + 1e-6 * fabs(want[0])))
                FAIL("case %zu T %g: loss %.9g, reference %.9g", s, T, out[0], want[0]);
            if (s != 4) CHECK(out[1] == want[1] && out[2] == want[2]);
            double err = 0, norm = 0;
            for (size_t i = 0; i < nd; i++) err += (dq[i] - d64[i]) * (dq[i] - d64[i]), norm += d64[i] * d64[i];
            if (!(sqrt(err) <= (2e-6 + 1e-6 / T) * sqrt(norm) + 1e-7 / T / n))
                FAIL("case %zu T %g: gradient error %.3g of %.3g", s, T, sqrt(err), sqrt(norm));
        }
    float bad[32], dq[32], queue[16 * 40];
    hpt__outcome o = {0};
    void *scratch = c->be->memory.alloc(c->dev, c->be->contrast->scratch(c->dev, HPT__F32, 2, 16));
    fill_f32(bad, 32, 1, 1, 0);
    fill_f32(queue, 16 * 40, 2, 1, 0);
    queue[16 * 39] = NAN;
    OK(c->be->contrast->infonce(c->dev, HPT__F32, 2, 16, 40, bad, bad, queue, NULL, 0.2, &o, dq, scratch));
    CHECK(isnan(o.loss));
    queue[16 * 39] = INFINITY;
    OK(c->be->contrast->infonce(c->dev, HPT__F32, 2, 16, 40, bad, bad, queue, NULL, 0.2, &o, dq, scratch));
    CHECK(!isfinite(o.loss));
}
TEST(embeddings) {
    double x[6] = {3, 4, 0, 0, 1e-20, 0}, y[6], n[3], dy[6] = {1, 2, 3, 4, 5, 6};
    hpt__ref_l2norm_f64(3, 2, x, y, n);
    CHECK(y[0] == 0.6 && y[1] == 0.8 && y[2] == 0 && y[3] == 0);
    double z[4] = {0.3, -0.7, 0.2, 0.9}, zn[2], zy[4], up[4], dz[4];
    hpt__ref_l2norm_f64(2, 2, z, zy, zn);
    hpt__ref_l2norm_backward_f64(2, 2, zy, zn, dy, dz);
    for (int i = 0; i < 4; i++) {
        double v = z[i], f[2];
        for (int s = 0; s < 2; s++) {
            z[i] = v + (s ? -1e-6 : 1e-6);
            hpt__ref_l2norm_f64(2, 2, z, up, zn);
            f[s] = 0;
            for (int j = 0; j < 4; j++) f[s] += up[j] * dy[j];
        }
        z[i] = v;
        CHECK(fabs((f[0] - f[1]) / 2e-6 - dz[i]) < 1e-6);
    }
    float queue[5 * 2] = {0}, keys[7 * 2];
    for (int i = 0; i < 14; i++) keys[i] = (float)i;
    hpt__vars vars = {.ptr = 4};
    hpt__outcome o = {0};
    hpt__ref_enqueue_f32(3, 2, keys, queue, 5, &vars, &o);          /* wraps: rows 4, 0, 1 */
    CHECK(queue[8] == 0 && queue[0] == 2 && queue[2] == 4 && queue[4] == 0);
    vars.ptr = 0;
    hpt__ref_enqueue_f32(7, 2, keys, queue, 5, &vars, &o);          /* more keys than rows: the last stay */
    CHECK(queue[0] == 10 && queue[2] == 12 && queue[4] == 4);
    float same[8] = {1, 0, 1, 0, 1, 0, 1, 0};
    CHECK(hpt__ref_spread_f32(4, 2, same) == 0);
}

TEST(plan_uses_fast_kernels_and_little_memory) {
    hpt_context *ctx = fast_context();
    hpt_config *c = config("arch=resnet50 width=64");
    hpt_model *m;
    OK(hpt_model_create(ctx, c, &m));
    hpt_session *s;
    set(c, "batch_size=2 image_size=64 bn_group=0 moco_k=64 steps=2 precision=fp32");
    OK(hpt_session_create(ctx, c, m, NULL, &s));
    hpt__net net;
    hpt__arch a;
    OK(hpt__arch_from_options(NULL, "resnet50", &a));
    OK(hpt__net_create(&a, &net));
    uint8_t *flags = malloc((size_t)net.n_tensors);
    memset(flags, 1, (size_t)net.n_tensors);
    char *text = malloc(1 << 20);
    size_t bytes[3];
    for (int mode = 0; mode < 3; mode++) {
        hpt__plan *p;
        hpt__plan_spec sp = {.dtype = HPT__F32, .mode = (hpt__plan_mode)mode, .batch = 8, .size = 64, .groups = 1,
                             .head = 1, .trainable = flags};
        OK(hpt__plan_create(ctx->be, ctx->dev, &net, &sp, &p));
        hpt__plan_describe(p, text, 1 << 20);
        if (strstr(text, " : ref")) FAIL("a slow reference kernel is used:\n%s", text);
        bytes[mode] = hpt__plan_bytes(p);
        hpt__plan_destroy(p);
    }
    printf("  arena: evaluation %zu KiB, key encoder %zu KiB, training %zu KiB\n", bytes[0] >> 10, bytes[1] >> 10,
           bytes[2] >> 10);
    CHECK(bytes[1] * 2 < bytes[2]);     /* the key encoder keeps no activations */
}

TEST(heads_gradients_by_differences) {
    enum { N = 4, HEADS = 2, C = 5 };
    double x[N * HEADS * C], g[N * HEADS * C], t[N * HEADS * C], up[N * HEADS], waste[N * HEADS * C],
        all[N * HEADS * C];
    const int32_t y[N] = {0, 4, -1, 2};
    fill_f64(x, N * HEADS * C, 1, 3, 0);
    fill_f64(t, N * HEADS * C, 2, 0.5f, 0.5f);
    for (int bce = 0; bce < 2; bce++) {
        memcpy(g, x, sizeof x);
        if (bce) hpt__ref_bce_f64(N, HEADS, C, g, t, all);
        else hpt__ref_softmax_ce_f64(N, HEADS, C, g, y, up);
        for (int i = 0; i < N * HEADS * C; i++) {
            double f[2] = {0, 0};
            for (int s = 0; s < 2; s++) {
                memcpy(waste, x, sizeof x);
                waste[i] += s ? -1e-6 : 1e-6;
                if (bce) hpt__ref_bce_f64(N, HEADS, C, waste, t, all);
                else hpt__ref_softmax_ce_f64(N, HEADS, C, waste, y, up);
                if (bce) for (int j = 0; j < N * HEADS * C; j++) f[s] += all[j] / (N * C);
                else for (int j = 0; j < N * HEADS; j++) f[s] += up[j] / N;
            }
            CHECK(fabs((f[0] - f[1]) / 2e-6 - g[i]) < 1e-8);
        }
    }
    /* the loss by its definition; a row without a label counts for nothing */
    memcpy(g, x, sizeof x);
    hpt__ref_softmax_ce_f64(N, HEADS, C, g, y, up);
    double sum = 0;
    for (int c = 0; c < C; c++) sum += exp(x[c]);
    CHECK(fabs(up[0] - (log(sum) - x[0])) < 1e-12 && up[2 * HEADS] == 0 && g[2 * HEADS * C] == 0);
    double wide[2] = {800, -800}, target[2] = {0, 1}, loss[2];       /* no overflow far out */
    hpt__ref_bce_f64(1, 1, 2, wide, target, loss);
    CHECK(loss[0] == 800 && loss[1] == 800 && wide[0] == 0.5 && wide[1] == -0.5);
}
/* Smoothing and class weights: the loss by its definition, the gradient by differences of it. */
TEST(loss_of_a_classifier) {
    enum { N = 6, C = 7 };
    double x[N * C], w[C], g[N * C], waste[N * C];
    const int32_t y[N] = {0, 6, 3, 2, 2, 5};
    const uint32_t other[N] = {5, 0, 1, 2, 3, 4};       /* rows 3 and 4: of one class */
    fill_f64(x, N * C, 1, 3, 0);
    fill_f64(w, C, 2, 0.5f, 1);
    for (int kind = 0; kind < 12; kind++) {
        const double *weight = kind & 1 ? w : NULL;
        double s = kind & 2 ? 0.1 : 0, want = 0;
        hpt__outcome o = {.loss = 9}, f[2];
        int top1 = 0, top5 = 0;
        /* soft targets of mixed rows: torch.nn.CrossEntropyLoss with probabilities */
        double share = kind < 4 ? 1 : kind < 8 ? 0.7 : 0.2;
        hpt__pair pair = {&share, other, y}, *mix = kind < 4 ? NULL : &pair;
        memcpy(g, x, sizeof x);
        hpt__ref_classify_f64(N, C, g, y, weight, s, mix, &o);
        for (int i = 0; i < N; i++) {
            double sum = 0;
            int above = 0, z = y[other[i]], large = share < 0.5 ? z : y[i];
            for (int c = 0; c < C; c++) sum += exp(x[i * C + c]), above += x[i * C + c] > x[i * C + large];
            for (int c = 0; c < C; c++)
                want += (weight ? w[c] : 1) * ((1 - s) * (share * (c == y[i]) + (1 - share) * (c == z)) + s / C) *
                        (log(sum) - x[i * C + c]) / N;
            top1 += above == 0;
            top5 += above < 5;
        }
        CHECK(fabs(o.loss - want) < 1e-12 && o.top1 == top1 && o.top5 == top5);
        for (int i = 0; i < N * C; i++) {
            for (int d = 0; d < 2; d++) {
                memcpy(waste, x, sizeof x);
                waste[i] += d ? -1e-6 : 1e-6;
                hpt__ref_classify_f64(N, C, waste, y, weight, s, mix, &f[d]);
            }
            CHECK(fabs((f[0].loss - f[1].loss) / 2e-6 - g[i]) < 1e-8);
        }
    }
}
/* moco-v3's optimizer written out once more, naively */
TEST(lars_by_its_formula) {
    enum { N = 300 };
    double p[N], m[N], g[N], q[N], v[N], pp = 0, dd = 0, trust;
    fill_f64(p, N, 1, 1, 0);
    fill_f64(m, N, 2, 0.1f, 0);
    fill_f64(g, N, 3, 0.5f, 0);
    memcpy(q, p, sizeof p);
    memcpy(v, m, sizeof m);
    for (int i = 0; i < N; i++) {
        double d = g[i] + 1e-3 * p[i];
        pp += p[i] * p[i];
        dd += d * d;
    }
    double ratio = 0.001 * sqrt(pp) / sqrt(dd);
    trust = hpt__ref_trust_f64(HPT__LARS, p, g, N, 1e-3, 0.001);
    CHECK(fabs(trust - ratio) < 1e-15);
    hpt__vars vars = {.lr = 0.3};
    hpt__update u = {.q = q, .m = v, .g = g, .trust = &trust, .rule = HPT__LARS, .momentum = 0.9, .wd = 1e-3};
    hpt__ref_update_f64(&u, 0, N, &vars, NULL);
    for (int i = 0; i < N; i++) {
        double step = 0.9 * m[i] + ratio * (g[i] + 1e-3 * p[i]);
        CHECK(fabs(v[i] - step) < 1e-15 && fabs(q[i] - (p[i] - 0.3 * step)) < 1e-14);
    }
    double zero[N] = {0};
    CHECK(hpt__ref_trust_f64(HPT__LARS, zero, g, N, 1e-3, 0.001) == 1 && hpt__ref_trust_f64(HPT__LARS, p, zero, N, 0,
        0.001) == 1);
}

/* SPDX-License-Identifier: MIT
 * Kernels of src/kernels/ *.cu against their _ref.c: on the host under emulation in `make check`, on the card in
 * `make check-gpu`. Those that are an operation of a network and nothing more: ops.c (device_ops). */
#include "harness.h"
#include "kernels/cuda_kernels.h"
#include "kernels/embed.h"
#include "kernels/heads.h"
#include "kernels/infonce.h"
#include "kernels/norm.h"
#include "data/views.h"
#include "gpu.h"
#include <math.h>

enum { SMS = 5 };       /* small, so that few blocks do several rounds */
#define RUN(call) do { cudaError_t e_ = (call); if (e_ != cudaSuccess) FAIL("%s: %s", #call, cudaGetErrorString(e_)); \
                       e_ = cudaStreamSynchronize(0); \
    if (e_ != cudaSuccess) FAIL("%s: %s", #call, cudaGetErrorString(e_)); } while (0)

static const int sizes[] = {1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257};
enum { SIZES = sizeof sizes / sizeof *sizes };

static double *widen(const float *x, size_t n) {
    double *d = malloc((n + 1) * sizeof *d);
    for (size_t i = 0; i < n; i++) d[i] = x[i];
    return d;
}
static double distance(const float *x, const double *truth, size_t n) {      /* |x - truth| / |truth| */
    double a = 0, b = 0;
    for (size_t i = 0; i < n; i++) {
        a += (x[i] - truth[i]) * (x[i] - truth[i]);
        b += truth[i] * truth[i];
    }
    return sqrt(a) / (sqrt(b) + 1e-30);
}

/* ---- optim ---- */

static void update_case(hpt__rule rule, size_t n, int with_key, int bad) {
    float *h[6], *d[6];
    double *w[6];
    for (int i = 0; i < 6; i++) {       /* q m v g k next */
        h[i] = noise(n, 40 + (uint64_t)i, i == 2 ? 0.5f : 1, i == 2 ? 0.6f : 0);
        w[i] = widen(h[i], n);
        d[i] = to_device(h[i], n * 4);
    }
    float trust = 0.37f;
    uint16_t *low[2] = {to_device(NULL, n * 2), to_device(NULL, n * 2)};
    hpt__vars v = {.lr = 0.03, .ema = 0.99, .adam1 = 0.1, .adam2 = 0.0316};
    hpt__outcome o = {.bad = bad};
    hpt__update u = {.q = h[0], .m = h[1], .v = h[2], .g = h[3], .k = with_key ? h[4] : NULL, .k_next = h[5],
                     .rule = rule, .momentum = 0.9, .wd = 1e-2, .b1 = 0.9, .b2 = 0.999, .eps = 1e-8, .trust = &trust},
                     g = u;
    g.q = d[0]; g.m = d[1]; g.v = d[2]; g.g = d[3]; g.k = with_key ? d[4] : NULL; g.k_next = d[5];
    g.q_low = low[0]; g.k_low = low[1]; g.trust = to_device(&trust, 4);
    for (int b = -1; b < 6; b++) {      /* what foresee says is what the reference says */
        static const float hostile[] = {INFINITY, NAN, 3e38f, -3e38f, 1e30f, 0};
        float *at = h[b & 1 ? 1 : 3] + n - 1, keep = *at, *on_device;
        hpt__vars fast = {.lr = 30, .ema = 0.99, .adam1 = 0.1, .adam2 = 0.0316};
        hpt__outcome none = {0}, *od = to_device(&none, sizeof none);
        hpt__update gb = g;
        if (b >= 0) *at = hostile[b];
        on_device = to_device(h[b & 1 ? 1 : 3], n * 4);
        if (b & 1) gb.m = on_device;
        else gb.g = on_device;
        RUN(hpt__cuda_foresee(0, SMS, &gb, 0, n, to_device(&fast, sizeof fast), HPT__BAD_UPDATE, od));
        if (((hpt__outcome *)to_host(od, sizeof none))->bad != (hpt__ref_foresee_f32(&u, 0, n, &fast) ? HPT__BAD_UPDATE
                                                                : 0)) FAIL("foresee: rule %d n %zu case %d", rule, n,
                                                                           b);
        *at = keep;
    }
    hpt__ref_update_f32(&u, 0, n, &v, &o);
    RUN(hpt__cuda_update(0, SMS, &g, 0, n, to_device(&v, sizeof v), to_device(&o, sizeof o)));
    uint16_t *ql = to_host(low[0], n * 2), *kl = to_host(low[1], n * 2);
    for (int i = 0; i < 6; i++) {
        float *got = to_host(d[i], n * 4);
        /* sgd and ema bit for bit; adam's root and division may differ in the last place of a double */
        for (size_t j = 0; j < n; j++)
            if (rule == HPT__ADAMW ? !(fabsf(got[j] - h[i][j]) <= 1e-6f * fabsf(h[i][j])) : memcmp(&got[j], &h[i][j],
                4)) FAIL("rule %d n %zu array %d: [%zu] %.9g, reference %.9g", rule, n, i, j, got[j], h[i][j]);
        if (!bad)
            for (size_t j = 0; j < n; j++) {
                if (i == 0 && rule != HPT__FROZEN && ql[j] != round_bf16(got[j])) FAIL("bfloat16 copy of q [%zu]", j);
                if (i == 5 && with_key && kl[j] != round_bf16(got[j])) FAIL("bfloat16 copy of k [%zu]", j);
            }
        free(got);
        free(w[i]);
    }
    device_free_all();
}
TEST(cuda_update) {
    const size_t n[] = {1, 3, 4, 5, 63, 1023, 1024, 1025, 4099, 70001};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        for (int rule = HPT__SGD; rule <= HPT__FROZEN; rule++)
            for (int key = 0; key < 2; key++) {
                update_case((hpt__rule)rule, n[i], key, 0);
                if (i < 5) update_case((hpt__rule)rule, n[i], key, HPT__BAD_GRAD);       /* nothing changes */
            }
}
TEST(cuda_ema_finite_trust) {
    const size_t n[] = {1, 7, 1024, 50003};
    for (size_t i = 0; i < 4; i++) {
        float *k = noise(n[i], 1, 1, 0), *q = noise(n[i], 2, 1, 0), *out = malloc(n[i] * 4), trust;
        float *dk = to_device(k, n[i] * 4), *dq = to_device(q, n[i] * 4), *dout = to_device(NULL, n[i] * 4);
        hpt__ref_blend_f32(out, k, q, n[i], 0.999, 1 - 0.999);
        RUN(hpt__cuda_blend(0, SMS, dout, dk, dq, n[i], 0.999, 1 - 0.999));
        float *got = to_host(dout, n[i] * 4);
        CHECK(!memcmp(got, out, n[i] * 4));
        double *p64 = widen(k, n[i]), *g64 = widen(q, n[i]);
        float *t = to_device(NULL, 4);
        for (int rule = HPT__LARS; rule <= HPT__LARS_LR; rule++)
            for (int zero = 0; zero < 3; zero++) {      /* 1: parameters, 2: gradient without decay */
                double wd = zero == 2 ? 0 : 1e-3, *none = calloc(n[i], 8);
                float *dn = to_device(none, n[i] * 4);
                double want = hpt__ref_trust_f64((hpt__rule)rule, zero == 1 ? none : p64, zero == 2 ? none : g64, n[i],
                                                 wd, 0.001);
                RUN(hpt__cuda_trust(0, (hpt__rule)rule, zero == 1 ? dn : dk, zero == 2 ? dn : dq, n[i], wd, 0.001, t,
                                    to_device(NULL, 128 * 8)));
                memcpy(&trust, to_host(t, 4), 4);
                CHECK(fabs(trust - want) <= 1e-6 * want && (zero != 1 || trust == (rule == HPT__LARS)));
                free(none);
            }
        const float hostile[] = {INFINITY, -INFINITY, NAN};
        for (int b = -1; b < 3; b++) {
            hpt__outcome o = {0}, *d = to_device(&o, sizeof o);
            float keep = k[n[i] - 1];
            if (b >= 0) k[n[i] - 1] = hostile[b];
            RUN(hpt__cuda_finite(0, SMS, to_device(k, n[i] * 4), n[i], HPT__BAD_GRAD, d));
            hpt__outcome *r = to_host(d, sizeof o);
            CHECK(r->bad == (b >= 0 ? HPT__BAD_GRAD : 0));
            k[n[i] - 1] = keep;
        }
        device_free_all();
    }
}

/* ---- embed ---- */

TEST(cuda_embed_rows) {
    for (int a = 0; a < SIZES; a++) {
        int n = sizes[a], d = sizes[(a * 5 + 3) % SIZES];
        size_t c = (size_t)n * (size_t)d;
        float *x = noise(c, 5, 2, 0), *dy = noise(c, 6, 1, 0), *y = malloc(c * 4), *norm = malloc((size_t)n * 4),
            *dx = malloc(c * 4);
        if (n > 2) memset(x + 2 * d, 0, (size_t)d * 4);      /* a zero row stays zero */
        hpt__ref_l2norm_f32(n, d, x, y, norm);
        float *gy = to_device(NULL, c * 4), *gn = to_device(NULL, (size_t)n * 4), *gx = to_device(NULL, c * 4);
        RUN(hpt__cuda_l2norm(0, n, d, to_device(x, c * 4), gy, gn));
        close_to("l2norm", to_host(gy, c * 4), y, c, 1e-6);
        close_to("norm", to_host(gn, (size_t)n * 4), norm, (size_t)n, 1e-6);
        hpt__ref_l2norm_backward_f32(n, d, y, norm, dy, dx);
        RUN(hpt__cuda_l2norm_backward(0, n, d, to_device(y, c * 4), to_device(norm, (size_t)n * 4),
                                      to_device(dy, c * 4), gx));
        close_to("l2norm backward", to_host(gx, c * 4), dx, c, 1e-5);

        uint32_t *index = malloc((size_t)n * 4);
        for (int i = 0; i < n; i++) index[i] = (uint32_t)((i * 7 + 3) % n);
        hpt__ref_gather_f32(n, (size_t)d, x, index, y);
        RUN(hpt__cuda_gather(0, n, (size_t)d, to_device(x, c * 4), to_device(index, (size_t)n * 4), gy));
        CHECK(!memcmp(to_host(gy, c * 4), y, c * 4));

        double share = 0.3;             /* two products and a sum, each rounded: the same bits */
        hpt__pair host = {&share, index, NULL}, pair = {to_device(&share, 8), to_device(index, (size_t)n * 4), NULL};
        hpt__ref_mix_f32(n, (size_t)d, x, dy, &host, y);
        RUN(hpt__cuda_mix(0, n, (size_t)d, to_device(x, c * 4), to_device(dy, c * 4), &pair, gy));
        CHECK(!memcmp(to_host(gy, c * 4), y, c * 4));

        hpt__outcome o = {0}, *od = to_device(&o, sizeof o);
        double want = hpt__ref_spread_f32(n, d, x);
        RUN(hpt__cuda_spread(0, n, d, to_device(x, c * 4), od, to_device(NULL, (size_t)d * 8)));
        hpt__outcome *got = to_host(od, sizeof o);
        if (!(fabs(got->spread - want) <= 1e-9 * want + 1e-12)) FAIL("spread %g, reference %g", got->spread, want);

        float *b = noise((size_t)d, 7, 1, 0), *db = malloc((size_t)d * 4), *v = noise(c, 8, 1, 0),
            *gv = to_device(v, c * 4), *gb = to_device(NULL, (size_t)d * 4);
        hpt__ref_add_bias_f32(n, d, b, 1, v);
        RUN(hpt__cuda_add_bias(0, n, d, 1, to_device(b, (size_t)d * 4), gv));
        CHECK(!memcmp(to_host(gv, c * 4), v, c * 4));
        float *gd = to_device(dy, c * 4);
        RUN(hpt__cuda_bias_backward(0, n, d, 1, gv, gd, gb));
        hpt__ref_relu_backward_f32(c, v, dy, dy);
        hpt__ref_sum_rows_f32(n, d, dy, db);
        CHECK(!memcmp(to_host(gd, c * 4), dy, c * 4));
        close_to("bias gradient", to_host(gb, (size_t)d * 4), db, (size_t)d, 1e-6);
        device_free_all();
    }
}
TEST(cuda_enqueue_wraps) {
    const int n[] = {1, 3, 8, 16, 20}, q[] = {1, 5, 8, 16, 33};
    for (int a = 0; a < 5; a++)
        for (int b = 0; b < 5; b++)
            for (int64_t ptr = 0; ptr < q[b]; ptr += 1 + q[b] / 3) {
                enum { D = 10, PITCH = 64 };
                float *keys = noise((size_t)n[a] * D, 9, 1, 0), *queue = noise((size_t)q[b] * D, 10, 1, 0),
                    *dq = to_device(queue, (size_t)q[b] * D * 4);
                uint16_t *low = to_device(NULL, (size_t)q[b] * PITCH * 2);
                hpt__vars v = {.ptr = ptr};
                hpt__outcome o = {0};
                hpt__ref_enqueue_f32(n[a], D, keys, queue, q[b], &v, &o);
                RUN(hpt__cuda_enqueue(0, n[a], D, to_device(keys, (size_t)n[a] * D * 4), dq, q[b], low, PITCH,
                                      to_device(&v, sizeof v), to_device(&o, sizeof o)));
                CHECK(!memcmp(to_host(dq, (size_t)q[b] * D * 4), queue, (size_t)q[b] * D * 4));
                uint16_t *l = to_host(low, (size_t)q[b] * PITCH * 2);
                for (int j = 0; j < D; j++) CHECK(l[ptr * PITCH + j] == round_bf16(queue[ptr * D + j]));
                o.bad = HPT__BAD_GRAD;
                float *other = noise((size_t)n[a] * D, 11, 1, 0);
                RUN(hpt__cuda_enqueue(0, n[a], D, to_device(other, (size_t)n[a] * D * 4), dq, q[b], low, PITCH,
                                      to_device(&v, sizeof v), to_device(&o, sizeof o)));
                CHECK(!memcmp(to_host(dq, (size_t)q[b] * D * 4), queue, (size_t)q[b] * D * 4));
                device_free_all();
            }
}

/* ---- infonce ---- */

static void unit_rows(float *x, int n, int d) {
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int j = 0; j < d; j++) s += (double)x[i * d + j] * x[i * d + j];
        for (int j = 0; j < d; j++) x[i * d + j] = (float)(x[i * d + j] / sqrt(s + 1e-30));
    }
}
/* plain float32: the yardstick for the error of the fp32 kernel */
static double naive(int n, int d, int64_t Q, const float *q, const float *k, const float *queue, float tau, float *dq) {
    float loss = 0, *s = malloc(((size_t)Q + 1) * 4);
    for (int i = 0; i < n; i++) {
        float max = -INFINITY, sum = 0;
        for (int64_t j = 0; j <= Q; j++) {
            const float *v = j ? queue + (j - 1) * d : k + i * d;
            s[j] = 0;
            for (int l = 0; l < d; l++) s[j] += q[i * d + l] * v[l];
            s[j] /= tau;
            if (s[j] > max) max = s[j];
        }
        for (int64_t j = 0; j <= Q; j++) sum += expf(s[j] - max);
        loss += max + logf(sum) - s[0];
        for (int l = 0; l < d; l++) dq[i * d + l] = 0;
        for (int64_t j = 0; j <= Q; j++) {
            const float *v = j ? queue + (j - 1) * d : k + i * d;
            float p = (expf(s[j] - max) / sum - (j == 0)) / ((float)n * tau);
            for (int l = 0; l < d; l++) dq[i * d + l] += p * v[l];
        }
    }
    free(s);
    return loss / (float)n;
}
static void infonce_case(int n, int d, int64_t Q, double tau, int low, int equal_rows, int sms) {
    size_t nd = (size_t)n * (size_t)d, qd = (size_t)Q * (size_t)d;
    int pitch = hpt__cuda_infonce_pitch(d);
    float *q = noise(nd, 20, 1, 0), *k = noise(nd, 21, 1, 0), *queue = noise(qd + 1, 22, 1, 0),
        *dnaive = malloc(nd * 4);
    for (size_t i = 0; i < nd; i++) k[i] = 0.5f * k[i] + 0.5f * q[i];
    if (equal_rows) for (int64_t i = 0; i < Q; i++) memcpy(queue + i * d, k, (size_t)d * 4);
    unit_rows(q, n, d);
    unit_rows(k, n, d);
    unit_rows(queue, (int)Q, d);
    uint16_t *h = calloc((size_t)Q * 128 + 8, 2);
    if (low) for (int64_t i = 0; i < Q; i++) for (int j = 0; j < d; j++) {
        h[i * pitch + j] = round_bf16(queue[i * d + j]);
        queue[i * d + j] = from_bf16(h[i * pitch + j]);      /* the truth is the loss of the stored queue */
    }
    double *q64 = widen(q, nd), *k64 = widen(k, nd), *queue64 = widen(queue, qd), *dq64 = malloc(nd * 8), out[3],
        loss32;
    hpt__ref_infonce_f64(n, d, Q, q64, k64, queue64, tau, out, dq64);
    loss32 = naive(n, d, Q, q, k, queue, (float)tau, dnaive);
    hpt__outcome o = {0}, *od = to_device(&o, sizeof o);
    float *gq = to_device(q, nd * 4), *gk = to_device(k, nd * 4), *dq = to_device(NULL, nd * 4), *gqueue = low ? NULL
        : to_device(queue, (qd + 1) * 4);
    uint16_t *glow = low ? to_device(h, ((size_t)Q * (size_t)pitch + 8) * 2) : NULL;
    void *scratch = to_device(NULL, hpt__cuda_infonce_scratch(n, d, sms));
    RUN(hpt__cuda_infonce(0, sms, n, d, Q, gq, gk, gqueue, glow, tau, od, dq, scratch));
    hpt__outcome *got = to_host(od, sizeof o);
    float *g = to_host(dq, nd * 4);
    double e = distance(g, dq64, nd), e32 = distance(dnaive, dq64, nd), limit = low ? 3e-3 : 2 * e32 + 3e-7;
    /* the naive loss can be lucky: its bound is the rounding of logits of size 1/tau */
    double loss_limit = 2 * fabs(loss32 - out[0]) + (low ? 4e-5 : 3e-7) * (1 + 1 / tau);
    if (!(fabs(got->loss - out[0]) <= loss_limit) || got->bad)
        FAIL("n %d d %d Q %d tau %g low %d: loss %.9g, fp64 %.9g (naive %.9g)", n, d, (int)Q, tau, low, got->loss,
             out[0], loss32);
    if (!(e <= limit))
        FAIL("n %d d %d Q %d tau %g low %d: gradient error %.3g, naive %.3g", n, d, (int)Q, tau, low, e, e32);
    if (!equal_rows && (got->top1 != out[1] || got->top5 != out[2]))
        FAIL("n %d d %d Q %d: top %g %g, reference %g %g", n, d, (int)Q, got->top1, got->top5, out[1], out[2]);
    RUN(hpt__cuda_infonce(0, sms, n, d, Q, gq, gk, gqueue, glow, tau, od, dq, scratch));      /* the same bits again */
    CHECK(!memcmp(to_host(dq, nd * 4), g, nd * 4) && ((hpt__outcome *)to_host(od, sizeof o))->loss == got->loss);
    device_free_all();
}
TEST_LIMIT(cuda_infonce_bf16, 300) {
    for (int a = 0; a < SIZES; a++)
        infonce_case(sizes[a], sizes[(a * 3 + 4) % SIZES] > 128 ? 128 : sizes[(a * 3 + 4) % SIZES],
                     sizes[(a * 7 + 5) % SIZES] * 3, 0.2, 1, 0, SMS);
    infonce_case(8, 128, 4096, 0.2, 1, 0, SMS);
    infonce_case(130, 64, 1000, 0.07, 1, 0, 9);
    infonce_case(16, 32, 200, 0.01, 1, 0, SMS);
    infonce_case(4, 16, 0, 0.2, 1, 0, SMS);
    infonce_case(9, 16, 70, 0.2, 1, 1, SMS);
}
TEST_LIMIT(cuda_infonce_fp32, 300) {
    for (int a = 0; a < SIZES; a++)
        infonce_case(sizes[a], sizes[(a * 3 + 4) % SIZES], sizes[(a * 7 + 5) % SIZES] * 3, 0.2, 0, 0, SMS);
    infonce_case(8, 300, 500, 0.2, 0, 0, SMS);
    infonce_case(70, 64, 1000, 0.07, 0, 0, 9);
    infonce_case(16, 32, 200, 0.01, 0, 0, SMS);
    infonce_case(4, 16, 0, 0.2, 0, 0, SMS);
    infonce_case(9, 16, 70, 0.2, 0, 1, SMS);
}
TEST(cuda_infonce_hostile_values) {
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int low = 0; low < 2; low++)
        for (int where = 0; where < 3; where++)
            for (int b = 0; b < 3; b++) {
                enum { N = 5, D = 16, Q = 70 };
                float *q = noise(N * D, 1, 1, 0), *k = noise(N * D, 2, 1, 0), *queue = noise(Q * D, 3, 1, 0);
                (where == 0 ? q : where == 1 ? k : queue)[3] = bad[b];
                uint16_t h[Q * 64] = {0};
                for (int i = 0; i < Q; i++) for (int j = 0; j < D; j++) h[i * 64 + j] = round_bf16(queue[i * D + j]);
                hpt__outcome o = {0}, *od = to_device(&o, sizeof o);
                RUN(hpt__cuda_infonce(0, SMS, N, D, Q, to_device(q, N * D * 4), to_device(k, N * D * 4),
                                      to_device(queue, Q * D * 4), low ? to_device(h, sizeof h) : NULL, 0.2, od,
                                      to_device(NULL, N * D * 4),
                                      to_device(NULL, hpt__cuda_infonce_scratch(N, D, SMS))));
                RUN(hpt__cuda_judge(0, od));
                hpt__outcome *got = to_host(od, sizeof o);
                if (got->bad != HPT__BAD_LOSS)
                    FAIL("low %d where %d value %g: loss %g, bad %d", low, where, bad[b], got->loss, got->bad);
                device_free_all();
            }
}

/* ---- heads ---- */

TEST(cuda_heads) {
    for (int a = 0; a < SIZES; a++)
        for (int heads = 1; heads < 4; heads += 2) {
            int n = sizes[a], classes = sizes[(a * 3 + 1) % SIZES];
            size_t c = (size_t)n * (size_t)heads * (size_t)classes;
            float *x = noise(c, 30, 8, 0), *loss = malloc(c * 4), *gx = to_device(x, c * 4),
                *gl = to_device(NULL, c * 4), *t = noise(c, 31, 0.5f, 0.5f);
            int32_t *y = malloc((size_t)n * 4);
            for (int i = 0; i < n; i++) y[i] = i % 9 == 5 ? -1 : (i * 3) % classes;
            float *bx = to_device(x, c * 4), *x2 = noise(c, 30, 8, 0);
            hpt__ref_softmax_ce_f32(n, heads, classes, x, y, loss);
            RUN(hpt__cuda_softmax_ce(0, n, heads, classes, gx, to_device(y, (size_t)n * 4), gl));
            close_to("softmax gradient", to_host(gx, c * 4), x, c, 2e-6);
            close_to("softmax loss", to_host(gl, (size_t)n * (size_t)heads * 4), loss, (size_t)n * (size_t)heads, 2e-6);
            hpt__ref_bce_f32(n, heads, classes, x2, t, loss);
            RUN(hpt__cuda_bce(0, n, heads, classes, bx, to_device(t, c * 4), gl));
            close_to("bce gradient", to_host(bx, c * 4), x2, c, 2e-6);
            close_to("bce loss", to_host(gl, c * 4), loss, c, 2e-6);
            device_free_all();
        }
}

TEST(cuda_classify) {
    for (int a = 0; a < SIZES; a++)
        for (int kind = 0; kind < 12; kind++) {
            int n = sizes[a], classes = sizes[(a * 3 + 1) % SIZES];
            size_t c = (size_t)n * (size_t)classes;
            float *x = noise(c, 30, 8, 0), *gx = to_device(x, c * 4), *w = noise((size_t)classes, 31, 0.5f, 1);
            float *gw = kind & 1 ? to_device(w, (size_t)classes * 4) : NULL;
            int32_t *y = malloc((size_t)n * 4);
            hpt__outcome o = {0}, *got, *go = to_device(&o, sizeof o);
            uint32_t *other = malloc((size_t)n * 4);
            double share = kind < 8 ? 0.7 : 0.2;        /* of kinds 4 and more: rows are mixed */
            for (int i = 0; i < n; i++) y[i] = i * 3 % classes, other[i] = (uint32_t)((i + n - 1) % n);
            hpt__pair host = {&share, other, y};
            hpt__pair dev = {to_device(&share, 8), to_device(other, (size_t)n * 4), to_device(y, (size_t)n * 4)};
            hpt__ref_classify_f32(n, classes, x, y, gw ? w : NULL, kind & 2 ? 0.1 : 0, kind < 4 ? NULL : &host, &o);
            RUN(hpt__cuda_classify(0, n, classes, gx, to_device(y, (size_t)n * 4), gw, kind & 2 ? 0.1 : 0,
                                   kind < 4 ? NULL : &dev, go));
            got = to_host(go, sizeof o);
            close_to("gradient", to_host(gx, c * 4), x, c, 2e-6);
            CHECK(fabs(got->loss - o.loss) <= 2e-6 * (1 + fabs(o.loss)) && got->top1 == o.top1 && got->top5 == o.top5);
            device_free_all();
        }
}

TEST(cuda_entropy) {
    for (int a = 0; a < SIZES; a++)
        for (int kind = 0; kind < 3; kind++) {
            int n = sizes[a], classes = sizes[(a * 3 + 1) % SIZES];
            size_t c = (size_t)n * (size_t)classes;
            double scale = kind ? -0.3 : 0.1;
            float *x = noise(c, 33, kind == 2 ? 80 : 8, 0), *gx = to_device(x, c * 4);      /* sharp, too */
            hpt__outcome o = {.loss = 7, .bad = 0}, *got, *go = to_device(&o, sizeof o);
            hpt__ref_entropy_f32(n, classes, x, scale, &o);
            RUN(hpt__cuda_entropy(0, n, classes, gx, scale, go));
            got = to_host(go, sizeof o);
            close_to("gradient", to_host(gx, c * 4), x, c, 2e-5);
            CHECK(fabs(got->entropy - o.entropy) <= 4e-6 * (1 + fabs(o.entropy)) && got->loss == 7 && !got->bad);
            device_free_all();
        }
}

/* ---- maps: reference in (N,C,H,W) float, device in (N,H,W,C) ---- */

static void *map_to_device(const float *x, int n, int c, int hw, int bf16) {
    int cp = hpt__cuda_channels(c, bf16);
    size_t count = (size_t)n * (size_t)hw * (size_t)cp, size = bf16 ? 2 : 4;
    char *m = calloc(count, size);
    for (int i = 0; i < n; i++) for (int j = 0; j < c; j++) for (int p = 0; p < hw; p++) {
        float v = x[((size_t)i * (size_t)c + (size_t)j) * (size_t)hw + (size_t)p];
        size_t at = ((size_t)i * (size_t)hw + (size_t)p) * (size_t)cp + (size_t)j;
        if (bf16) ((uint16_t *)m)[at] = round_bf16(v);
        else ((float *)m)[at] = v;
    }
    void *d = to_device(m, count * size);
    free(m);
    return d;
}
static float *map_to_host(const void *d, int n, int c, int hw, int bf16) {
    int cp = hpt__cuda_channels(c, bf16);
    char *m = to_host(d, (size_t)n * (size_t)hw * (size_t)cp * (bf16 ? 2 : 4));
    float *x = malloc((size_t)n * (size_t)c * (size_t)hw * 4);
    for (int i = 0; i < n; i++) for (int j = 0; j < c; j++) for (int p = 0; p < hw; p++) {
        size_t at = ((size_t)i * (size_t)hw + (size_t)p) * (size_t)cp + (size_t)j;
        x[((size_t)i * (size_t)c + (size_t)j) * (size_t)hw + (size_t)p] = bf16 ? from_bf16(((uint16_t *)m)[at])
            : ((float *)m)[at];
    }
    return x;
}
static void through_bf16(float *x, size_t n, int bf16) {
    if (bf16) for (size_t i = 0; i < n; i++) x[i] = from_bf16(round_bf16(x[i]));
}

static void norm_case(int n, int c, int h, int groups, int flags, int bf16) {
    hpt__geometry g = {.n = n, .c = c, .h = h, .w = h, .k = c, .p = h, .q = h, .bn_groups = groups, .act = flags & 1
                       ? HPT__ACT_RELU : HPT__ACT_NONE, .residual = flags >> 1 & 1, .extra_grad = flags >> 2 & 1,
                       .eps = 1e-5};
    int hw = h * h;
    size_t count = (size_t)n * (size_t)c * (size_t)hw, ch = (size_t)c, gc = ch * (size_t)groups;
    float *x = noise(count, 11, 3, 5), *r = noise(count, 14, 1, 0), *dy = noise(count, 15, 1, 0),
        *dy2 = noise(count, 16, 1, 0), *y = malloc(count * 4), *dx = malloc(count * 4);
    float *w = noise(ch, 12, 0.5f, 1), *b = noise(ch, 13, 0.3f, 0), *mean = malloc(gc * 4), *rstd = malloc(gc * 4),
        *rm = calloc(ch, 4), *rv = calloc(ch, 4), *dw = malloc(ch * 4), *db = malloc(ch * 4);
    through_bf16(x, count, bf16); through_bf16(r, count, bf16); through_bf16(dy, count, bf16);
    through_bf16(dy2, count, bf16);
    hpt__cuda_norm a = {.g = g, .bf16 = bf16, .sms = SMS, .x = map_to_device(x, n, c, hw, bf16),
                        .r = map_to_device(r, n, c, hw, bf16), .y = map_to_device(x, n, c, hw, bf16),
                        .w = to_device(w, ch * 4), .b = to_device(b, ch * 4), .mean = to_device(NULL, gc * 4),
                        .rstd = to_device(NULL, gc * 4), .run_mean = to_device(rm, ch * 4),
                        .run_var = to_device(rv, ch * 4), .dw = to_device(NULL, ch * 4), .db = to_device(NULL, ch * 4),
                        .momentum = 0.1, .scratch = to_device(NULL, hpt__cuda_norm_scratch(&g, bf16, SMS)),
                        .dy = map_to_device(dy, n, c, hw, bf16), .dy2 = map_to_device(dy2, n, c, hw, bf16),
                        .dx = map_to_device(x, n, c, hw, bf16)};
    double tol = bf16 ? 1.2e-2 : 3e-6;
    hpt__ref_norm_train_f32(&g, x, w, b, r, y, mean, rstd, rm, rv, 0.1);
    RUN(hpt__cuda_norm_train(0, &a));
    close_to("norm y", map_to_host(a.y, n, c, hw, bf16), y, count, tol);
    close_to("norm mean", to_host(a.mean, gc * 4), mean, gc, 1e-6);
    close_to("norm rstd", to_host(a.rstd, gc * 4), rstd, gc, 3e-6);
    close_to("norm run_mean", to_host(a.run_mean, ch * 4), rm, ch, 1e-6);
    close_to("norm run_var", to_host(a.run_var, ch * 4), rv, ch, 3e-6);
    float *y2 = malloc(count * 4);
    hpt__ref_norm_eval_f32(&g, x, w, b, r, y2, rm, rv);
    RUN(hpt__cuda_norm_eval(0, &a));
    close_to("norm eval", map_to_host(a.y, n, c, hw, bf16), y2, count, tol);
    a.y_in = map_to_device(y, n, c, hw, bf16);
    a.dx = (void *)(uintptr_t)a.x;                           /* in place, as the plan does */
    hpt__ref_norm_backward_f32(&g, x, y, w, b, mean, rstd, dy, dy2, dx, dw, db);
    RUN(hpt__cuda_norm_backward(0, &a));
    double m = (double)(n / groups) * hw;
    if (m > 1) close_to("norm dx", map_to_host(a.dx, n, c, hw, bf16), dx, count, bf16 ? 2e-2 : 2e-4);
    close_to("norm d", map_to_host(a.dy, n, c, hw, bf16), dy, count, bf16 ? 1e-2 : 0);
    close_to("norm dw", to_host(a.dw, ch * 4), dw, ch, bf16 ? 1e-2 : 1e-5);
    close_to("norm db", to_host(a.db, ch * 4), db, ch, bf16 ? 1e-2 : 1e-5);
    device_free_all();
}
TEST_LIMIT(cuda_norm, 300) {
    const int shapes[][4] = {{1, 8, 1, 1}, {2, 16, 1, 1}, {4, 32, 3, 2}, {6, 24, 5, 3}, {8, 48, 13, 4}, {4, 264, 3, 1},
                             {12, 16, 17, 2}, {2, 16, 37, 2}, {3, 520, 2, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int flags = 0; flags < 8; flags++)
            for (int bf16 = 0; bf16 < 2; bf16++)
                norm_case(shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3], flags, bf16);
}
TEST(cuda_layout) {
    enum { ROWS = 37, C = 3, CP = 8 };
    float *w = noise(ROWS * C, 2, 1, 0), *p = to_device(NULL, ROWS * CP * 4), *back = to_device(NULL, ROWS * C * 4);
    RUN(hpt__cuda_pad_weights(0, 0, ROWS, C, CP, to_device(w, ROWS * C * 4), p));
    float *h = to_host(p, ROWS * CP * 4);
    for (int i = 0; i < ROWS * CP; i++) CHECK(h[i] == (i % CP < C ? w[i / CP * C + i % CP] : 0));
    RUN(hpt__cuda_unpad_weights(0, ROWS, C, CP, p, back));
    CHECK(!memcmp(to_host(back, ROWS * C * 4), w, ROWS * C * 4));
    uint16_t *low = to_device(NULL, ROWS * C * 2), *padded = to_device(NULL, ROWS * CP * 2);
    RUN(hpt__cuda_lower(0, ROWS, C, C, back, low));
    RUN(hpt__cuda_pad_weights(0, 1, ROWS, C, CP, low, padded));
    uint16_t *l = to_host(padded, ROWS * CP * 2);
    for (int i = 0; i < ROWS * CP; i++) CHECK(l[i] == (i % CP < C ? round_bf16(w[i / CP * C + i % CP]) : 0));
    RUN(hpt__cuda_from_bf16(0, ROWS * C, low, back));
    through_bf16(w, ROWS * C, 1);
    CHECK(!memcmp(to_host(back, ROWS * C * 4), w, ROWS * C * 4));
    int32_t flag[2] = {0, 1}, *gf = to_device(flag, sizeof flag);
    float *dst = to_device(w, ROWS * 4), *zero = calloc(ROWS, 4);
    RUN(hpt__cuda_copy_if(0, dst, to_device(zero, ROWS * 4), 16 * 8, gf));
    CHECK(!memcmp(to_host(dst, ROWS * 4), w, ROWS * 4));
    RUN(hpt__cuda_copy_if(0, dst, to_device(zero, ROWS * 4), 16 * 8, gf + 1));
    float *d = to_host(dst, ROWS * 4);
    CHECK(!memcmp(d, zero, 128) && !memcmp(d + 32, w + 32, ROWS * 4 - 128));
    device_free_all();
}

/* ---- augment: bit for bit the CPU's views ---- */

TEST_LIMIT(cuda_augment, 300) {
    enum { SIZE = 24, IMAGES = 24 };
    hpt__augment a = {.size = SIZE, .crop = 1, .crop_min = 0.2, .crop_max = 1, .jitter = 0.9, .brightness = 0.4,
                      .contrast = 0.4, .saturation = 0.4, .hue = 0.4, .gray = 0.3, .blur = 0.6, .blur_min = 0.1,
                      .blur_max = 3, .flip = 0.5, .solarize = 0.4};
    hpt__view view[IMAGES];
    hpt__work work = {0};
    size_t bytes = 0, at = 0, pixels = SIZE * SIZE;
    float table[3][256], mean[3] = {0.4f, 0.5f, 0.6f}, std[3] = {0.2f, 0.25f, 0.3f},
        *want = malloc(IMAGES * pixels * 12);
    uint8_t *all = malloc(IMAGES * 130 * 97 * 3), *out = malloc(pixels * 3);
    int taps = 3;
    hpt__normalize_table(mean, std, table);
    for (int i = 0; i < IMAGES; i++) {
        int w = 1 + (i * 37 + 60) % 130, h = 1 + (i * 53 + 40) % 97;
        hpt__image im = {.rgb = all + at, .w = w, .h = h};
        hpt__rng r;
        hpt__draws d;
        for (int p = 0; p < w * h * 3; p++)
            all[at + (size_t)p] = (uint8_t)(128 + 100 * sin(p * 0.01 * (i + 1)) + 27 * sin(p * 1.7));
        hpt__rng_init(&r, 5, HPT__RNG_AUGMENT, 0, (uint32_t)i);
        a.filter = i % 2 ? HPT__BICUBIC : HPT__BILINEAR;
        hpt__augment_draw(&r, &a, w, h, &d);
        OK(hpt__augment_apply(&work, &im, &a, &d, out));
        hpt__normalize(out, pixels, table, want + (size_t)i * pixels * 3);
        hpt__draws_view(&d, &a, w, h, at, &view[i]);
        if (hpt__view_taps(&view[i], SIZE) > taps) taps = hpt__view_taps(&view[i], SIZE);
        at += (size_t)(w * h * 3);
    }
    bytes = at;
    float *got = to_device(NULL, IMAGES * pixels * 12);
    RUN(hpt__cuda_augment(0, IMAGES, SIZE, taps, to_device(view, sizeof view), to_device(all, bytes),
                          to_device(table, sizeof table), got,
                          to_device(NULL, hpt__cuda_augment_scratch(IMAGES, SIZE, taps))));
    float *g = to_host(got, IMAGES * pixels * 12);
    for (size_t i = 0; i < IMAGES * pixels * 3; i++)
        if (memcmp(&g[i], &want[i], 4))
            FAIL("view %zu value %zu: %g, CPU %g", i / (pixels * 3), i % (pixels * 3), g[i], want[i]);
    device_free_all();
}

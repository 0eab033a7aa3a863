/* SPDX-License-Identifier: MIT
 * The families on plain rows and flat arrays over the reference kernels, in the type that is asked for: the whole of
 * them for the reference backend, and for onednn those that are not worth a kernel of their own. */
#include "backend/host/host_device.h"
#include "kernels/embed.h"
#include "kernels/gemm.h"
#include "kernels/heads.h"
#include <math.h>

/* CALL(t, f, args): the float or the double version */
#define CALL(t, f, ...) ((t) == HPT__F64 ? f##_f64(__VA_ARGS__) : f##_f32(__VA_ARGS__))

/* ---- rows ---- */

static hpt_status gemm(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha, const void *a,
                       int lda, const void *b, int ldb, double beta, void *c, int ldc) {
    (void)dev;
    if (t == HPT__F64) hpt__ref_gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    else hpt__ref_gemm_f32(ta, tb, m, n, k, (float)alpha, a, lda, b, ldb, (float)beta, c, ldc);
    return HPT_OK;
}
void hpt__host_l2norm(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, void *y, void *norm) {
    (void)dev;
    CALL(t, hpt__ref_l2norm, n, d, x, y, norm);
}
void hpt__host_l2norm_grad(hpt__device *dev, hpt__dtype t, int n, int d, const void *y, const void *norm,
                           const void *dy, void *dx) {
    (void)dev;
    CALL(t, hpt__ref_l2norm_backward, n, d, y, norm, dy, dx);
}
void hpt__host_gather(hpt__device *dev, hpt__dtype t, int n, size_t d, const void *in, const uint32_t *index,
                      void *out) {
    (void)dev;
    CALL(t, hpt__ref_gather, n, d, in, index, out);
}
void hpt__host_mix(hpt__device *dev, int n, size_t d, const float *x, const float *all, const hpt__pair *p,
                   float *out) {
    (void)dev;
    hpt__ref_mix_f32(n, d, x, all, p, out);
}
void hpt__host_sum_rows(hpt__device *dev, int n, int d, const float *x, float *out) {
    (void)dev;
    hpt__ref_sum_rows_f32(n, d, x, out);
}
void hpt__host_add_bias(hpt__device *dev, int n, int d, const float *b, float *y) {
    (void)dev;
    hpt__ref_add_bias_f32(n, d, b, 0, y);
}
void hpt__host_softmax_ce(hpt__device *dev, int n, int heads, int classes, float *logits, const int32_t *label,
                          float *loss) {
    (void)dev;
    hpt__ref_softmax_ce_f32(n, heads, classes, logits, label, loss);
}
void hpt__host_bce(hpt__device *dev, int n, int heads, int classes, float *logits, const float *target, float *loss) {
    (void)dev;
    hpt__ref_bce_f32(n, heads, classes, logits, target, loss);
}
void hpt__host_classify(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, const int32_t *label,
                        const void *weight, double smoothing, const hpt__pair *mix, hpt__outcome *o) {
    (void)dev;
    CALL(t, hpt__ref_classify, n, classes, logits, label, weight, smoothing, mix, o);
}
void hpt__host_entropy(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, double scale,
                       hpt__outcome *o) {
    (void)dev;
    CALL(t, hpt__ref_entropy, n, classes, logits, scale, o);
}
void hpt__host_mean_loss(hpt__device *dev, size_t n, const float *loss, hpt__outcome *o) {
    double sum = 0;
    (void)dev;
    for (size_t i = 0; i < n; i++) sum += loss[i];
    o->loss = sum / (double)n;
    o->top1 = o->top5 = 0;
}

const hpt__rows_ops hpt__host_rows = {
    .gemm = gemm,
    .l2norm = hpt__host_l2norm,
    .l2norm_grad = hpt__host_l2norm_grad,
    .gather = hpt__host_gather,
    .mix = hpt__host_mix,
    .sum_rows = hpt__host_sum_rows,
    .add_bias = hpt__host_add_bias,
    .softmax_ce = hpt__host_softmax_ce,
    .bce = hpt__host_bce,
    .classify = hpt__host_classify,
    .entropy = hpt__host_entropy,
    .mean_loss = hpt__host_mean_loss,
};

/* ---- contrast: the queue has no bfloat16 copy, nothing needs scratch ---- */

int hpt__host_pitch(hpt__device *dev, hpt__dtype t, int d) { (void)dev; (void)t; (void)d; return 0; }
static size_t scratch_bytes(hpt__device *dev, hpt__dtype t, int n, int d) {
    (void)dev;
    (void)t;
    (void)n;
    (void)d;
    return 0;
}
static hpt_status infonce(hpt__device *dev, hpt__dtype t, int n, int d, int64_t queued, const void *q, const void *k,
                          const void *queue, const void *low, double tau, hpt__outcome *o, void *dq, void *scratch) {
    double out[3];
    (void)dev; (void)scratch; (void)low;
    CALL(t, hpt__ref_infonce, n, d, queued, q, k, queue, tau, out, dq);
    o->loss = out[0];
    o->top1 = out[1];
    o->top5 = out[2];
    return HPT_OK;
}
void hpt__host_enqueue(hpt__device *dev, hpt__dtype t, int n, int d, const void *keys, void *queue, int64_t q,
                       void *low, const hpt__vars *v, const hpt__outcome *o) {
    (void)dev; (void)low;
    CALL(t, hpt__ref_enqueue, n, d, keys, queue, q, v, o);
}
void hpt__host_spread(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, hpt__outcome *o, void *scratch) {
    (void)dev; (void)scratch;
    o->spread = CALL(t, hpt__ref_spread, n, d, x);
}
void hpt__host_agree(hpt__device *dev, hpt__dtype t, int n, int d, int images, const void *x, const void *y, void *dx,
                  hpt__outcome *o, void *scratch) {
    (void)dev; (void)scratch;
    o->loss = CALL(t, hpt__ref_agree, n, d, images, x, y, dx);
}

const hpt__contrast_ops hpt__host_contrast = {
    .pitch = hpt__host_pitch,
    .scratch = scratch_bytes,
    .infonce = infonce,
    .enqueue = hpt__host_enqueue,
    .spread = hpt__host_spread,
    .agree = hpt__host_agree,
};

/* ---- params ---- */

static void update(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                   const hpt__outcome *o) {
    (void)dev;
    CALL(t, hpt__ref_update, u, at, n, v, o);
}
static void foresee(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                    int32_t bit, hpt__outcome *o) {
    (void)dev;
    if (CALL(t, hpt__ref_foresee, u, at, n, v)) o->bad |= bit;
}
void hpt__host_trust(hpt__device *dev, hpt__dtype t, hpt__rule rule, const void *p, const void *g, size_t n, double wd,
                     double eta, void *out, void *scratch) {
    double x = CALL(t, hpt__ref_trust, rule, p, g, n, wd, eta);
    (void)dev; (void)scratch;
    if (t == HPT__F64) *(double *)out = x;
    else *(float *)out = (float)x;
}
static void blend(hpt__device *dev, hpt__dtype t, void *out, const void *k, const void *q, size_t n, double a,
                  double b) {
    (void)dev;
    CALL(t, hpt__ref_blend, out, k, q, n, a, b);
}
static void finite(hpt__device *dev, hpt__dtype t, const void *x, size_t n, int32_t bit, hpt__outcome *o) {
    (void)dev;
    if (!CALL(t, hpt__ref_finite, x, n)) o->bad |= bit;
}
void hpt__host_judge(hpt__device *dev, hpt__outcome *o) {
    (void)dev;
    if (!isfinite(o->loss) || !isfinite(o->entropy)) o->bad |= HPT__BAD_LOSS;
}
/* no copies: low_params is 0 */
void hpt__host_lower(hpt__device *dev, size_t rows, size_t d, size_t pitch, const void *x, void *low) {
    (void)dev; (void)rows; (void)d; (void)pitch; (void)x; (void)low;
}

const hpt__params_ops hpt__host_params = {
    .update = update,
    .foresee = foresee,
    .trust = hpt__host_trust,
    .blend = blend,
    .finite = finite,
    .judge = hpt__host_judge,
    .lower = hpt__host_lower,
};

/* SPDX-License-Identifier: MIT
 * The reference backend: plain loops over (N,C,H,W) maps in float or double, from src/kernels/<family>_ref.c. The oracle of the tests;
 * never fast. */
#include "backend/backend.h"
#include "kernels/act.h"
#include "kernels/bias.h"
#include "kernels/conv.h"
#include "kernels/embed.h"
#include "kernels/gemm.h"
#include "kernels/heads.h"
#include "kernels/infonce.h"
#include "kernels/norm.h"
#include "kernels/pool.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

struct hpt__device { const hpt__host *host; };
struct hpt__op { hpt__op_desc d; hpt__device *dev; };

static hpt_status ref_open(const hpt__host *host, const hpt__open *o, hpt__device **dev) {
    (void)o;
    if (!(*dev = host->alloc(sizeof **dev))) return host->fail(HPT_ERR_MEMORY, "out of memory opening the reference backend");
    (*dev)->host = host;
    return HPT_OK;
}
static void ref_close(hpt__device *dev) { dev->host->free(dev); }
static void ref_describe(hpt__device *dev, char *text, size_t size) {
    (void)dev;
    snprintf(text, size, "reference (plain C, 1 thread)");
}
static int ref_supports(hpt__device *dev, hpt__dtype t) { (void)dev; return t == HPT__F32 || t == HPT__F64; }
static int ref_no(hpt__device *dev, hpt__dtype t) { (void)dev; (void)t; return 0; }
static hpt_status ref_ok(hpt__device *dev) { (void)dev; return HPT_OK; }
static size_t ref_left(hpt__device *dev) { (void)dev; return SIZE_MAX; }
static void ref_nothing(hpt__device *dev) { (void)dev; }
static void *ref_alloc(hpt__device *dev, size_t bytes) { return dev->host->alloc(bytes); }
static void ref_free(hpt__device *dev, void *p) { dev->host->free(p); }
static void ref_copy(hpt__device *dev, void *dst, const void *src, size_t bytes) { (void)dev; memcpy(dst, src, bytes); }
static void ref_zero(hpt__device *dev, void *p, size_t bytes) { (void)dev; memset(p, 0, bytes); }
static void ref_copy_if(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag) {
    (void)dev;
    if (*flag) memcpy(dst, src, bytes);
}
static size_t ref_act_bytes(hpt__device *dev, hpt__dtype t, int n, int c, int h, int w) {
    (void)dev;
    return (size_t)n * c * h * w * hpt__real_size(t);
}

static void ref_pack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const float *plain, void *native) {
    size_t n = (size_t)(shape[0] * (shape[1] ? shape[1] : 1) * (shape[2] ? shape[2] * shape[3] : 1));
    (void)dev;
    if (t == HPT__F64) for (size_t i = 0; i < n; i++) ((double *)native)[i] = plain[i];
    else memcpy(native, plain, n * 4);
}
static void ref_unpack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const void *native, float *plain) {
    size_t n = (size_t)(shape[0] * (shape[1] ? shape[1] : 1) * (shape[2] ? shape[2] * shape[3] : 1));
    (void)dev;
    if (t == HPT__F64) for (size_t i = 0; i < n; i++) plain[i] = (float)((const double *)native)[i];
    else memcpy(plain, native, n * 4);
}

static hpt_status ref_op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    if (!(*out = dev->host->alloc(sizeof **out))) return dev->host->fail(HPT_ERR_MEMORY, "out of memory for an operation");
    **out = (hpt__op){*d, dev};
    return HPT_OK;
}
static size_t ref_op_scratch(const hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    size_t in = (size_t)g->h * g->w, out = (size_t)g->p * g->q;
    return op->d.kind == HPT__OP_CONV || op->d.kind == HPT__OP_CONV_DATA ? 8 * (in > out ? in : out) : 0;
}
static void ref_op_destroy(hpt__op *op) { if (op) op->dev->host->free(op); }
static const char *ref_op_name(const hpt__op *op) { (void)op; return "reference"; }

static size_t values(const hpt__geometry *g) { return (size_t)g->n * (size_t)g->c * (size_t)g->h * (size_t)g->w; }

/* The body of op_run for one real type T with suffix X. */
#define RUN(T, X) \
static void run_##X(const hpt__op *op, const hpt__op_args *a) { \
    const hpt__geometry *g = &op->d.g; \
    switch (op->d.kind) { \
    case HPT__OP_INPUT: { \
        const float *x = a->x; T *y = a->y; \
        for (size_t i = 0, m = (size_t)g->n * g->c * g->h * g->w; i < m; i++) y[i] = x[i]; \
        break; } \
    case HPT__OP_OUTPUT: memcpy(a->y, a->x, sizeof(T) * (size_t)g->n * g->c * g->h * g->w); break; \
    case HPT__OP_CONV: hpt__ref_conv_forward_##X(g, a->x, a->w, a->y, a->scratch); break; \
    case HPT__OP_CONV_DATA: hpt__ref_conv_backward_data_##X(g, a->dy, a->w, a->dx, a->scratch); break; \
    case HPT__OP_CONV_WEIGHTS: hpt__ref_conv_backward_weights_##X(g, a->x, a->dy, a->dw); break; \
    case HPT__OP_NORM: \
        hpt__ref_norm_train_##X(g, a->x, a->w, a->b, a->r, a->y, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum); break; \
    case HPT__OP_NORM_EVAL: hpt__ref_norm_eval_##X(g, a->x, a->w, a->b, a->r, a->y, a->run_mean, a->run_var); break; \
    case HPT__OP_NORM_GRAD: \
        hpt__ref_norm_backward_##X(g, a->x, a->y_in, a->w, a->mean, a->rstd, a->dy, a->dy2, a->dx, a->dw, a->db); break; \
    case HPT__OP_MAXPOOL: hpt__ref_maxpool_forward_##X(g, a->x, a->y, a->aux); break; \
    case HPT__OP_MAXPOOL_GRAD: hpt__ref_maxpool_backward_##X(g, a->dy, a->dy2, a->aux, a->dx); break; \
    case HPT__OP_AVERAGE: hpt__ref_average_forward_##X(g, a->x, a->y); break; \
    case HPT__OP_AVERAGE_GRAD: hpt__ref_average_backward_##X(g, a->dy, a->dx); break; \
    case HPT__OP_LINEAR: \
        hpt__ref_gemm_##X(0, 1, g->n, g->k, g->c, 1, a->x, g->c, a->w, g->c, 0, a->y, g->k); \
        hpt__ref_add_bias_##X(g->n, g->k, a->b, g->act == HPT__ACT_RELU, a->y); break; \
    case HPT__OP_LINEAR_GRAD: \
        if (g->act == HPT__ACT_RELU) hpt__ref_relu_backward_##X((size_t)g->n * g->k, a->y_in, a->dy, a->dy); \
        hpt__ref_gemm_##X(1, 0, g->k, g->c, g->n, 1, a->dy, g->k, a->x, g->c, 0, a->dw, g->c); \
        if (a->db) hpt__ref_sum_rows_##X(g->n, g->k, a->dy, a->db); \
        if (a->dx) hpt__ref_gemm_##X(0, 0, g->n, g->c, g->k, 1, a->dy, g->k, a->w, g->c, 0, a->dx, g->c); \
        break; \
    case HPT__OP_ACT: hpt__ref_act_##X(values(g), g->act, a->x, a->y); break; \
    case HPT__OP_ACT_GRAD: hpt__ref_act_backward_##X(values(g), g->act, a->x, a->y_in, a->dy, g->extra_grad ? a->dy2 : NULL, a->dx); break; \
    case HPT__OP_BIAS: hpt__ref_bias_##X(g, a->x, a->b, a->y); break; \
    case HPT__OP_BIAS_GRAD: hpt__ref_bias_backward_##X(g, a->dy, a->db); break; \
    case HPT__OP_SUM: hpt__ref_sum_##X(values(g), a->x, g->residual ? a->r : NULL, a->y); break; \
    } \
}
RUN(float, f32)
RUN(double, f64)

static hpt_status ref_op_run(hpt__op *op, const hpt__op_args *a) {
    if (op->d.dtype == HPT__F64) run_f64(op, a);
    else run_f32(op, a);
    return HPT_OK;
}

/* CALL(t, f, args): the float or the double version */
#define CALL(t, f, ...) ((t) == HPT__F64 ? f##_f64(__VA_ARGS__) : f##_f32(__VA_ARGS__))
static hpt_status ref_gemm(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha, const void *a, int lda,
                           const void *b, int ldb, double beta, void *c, int ldc) {
    (void)dev;
    if (t == HPT__F64) hpt__ref_gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    else hpt__ref_gemm_f32(ta, tb, m, n, k, (float)alpha, a, lda, b, ldb, (float)beta, c, ldc);
    return HPT_OK;
}
static hpt_status ref_infonce(hpt__device *dev, hpt__dtype t, int n, int d, int64_t queued, const void *q, const void *k, const void *queue,
                              const void *low, double tau, hpt__outcome *o, void *dq, void *scratch) {
    double out[3];
    (void)dev; (void)scratch; (void)low;
    CALL(t, hpt__ref_infonce, n, d, queued, q, k, queue, tau, out, dq);
    o->loss = out[0];
    o->top1 = out[1];
    o->top5 = out[2];
    return HPT_OK;
}
static int ref_queue_pitch(hpt__device *dev, hpt__dtype t, int d) { (void)dev; (void)t; (void)d; return 0; }
static size_t ref_infonce_scratch(hpt__device *dev, hpt__dtype t, int n, int d) { (void)dev; (void)t; (void)n; (void)d; return 0; }
static void ref_l2norm(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, void *y, void *norm) {
    (void)dev;
    CALL(t, hpt__ref_l2norm, n, d, x, y, norm);
}
static void ref_l2norm_grad(hpt__device *dev, hpt__dtype t, int n, int d, const void *y, const void *norm, const void *dy, void *dx) {
    (void)dev;
    CALL(t, hpt__ref_l2norm_backward, n, d, y, norm, dy, dx);
}
static void ref_gather(hpt__device *dev, hpt__dtype t, int n, size_t d, const void *in, const uint32_t *index, void *out) {
    (void)dev;
    CALL(t, hpt__ref_gather, n, d, in, index, out);
}
static void ref_enqueue(hpt__device *dev, hpt__dtype t, int n, int d, const void *keys, void *queue, int64_t q, void *low, const hpt__vars *v, const hpt__outcome *o) {
    (void)dev; (void)low;
    CALL(t, hpt__ref_enqueue, n, d, keys, queue, q, v, o);
}
static void ref_spread(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, hpt__outcome *o, void *scratch) {
    (void)dev; (void)scratch;
    o->spread = CALL(t, hpt__ref_spread, n, d, x);
}
static void ref_agree(hpt__device *dev, hpt__dtype t, int n, int d, int images, const void *x, const void *y, void *dx, hpt__outcome *o, void *scratch) {
    (void)dev; (void)scratch;
    o->loss = CALL(t, hpt__ref_agree, n, d, images, x, y, dx);
}
static void ref_update(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v, const hpt__outcome *o) {
    (void)dev;
    CALL(t, hpt__ref_update, u, at, n, v, o);
}
static void ref_foresee(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v, int32_t bit, hpt__outcome *o) {
    (void)dev;
    if (CALL(t, hpt__ref_foresee, u, at, n, v)) o->bad |= bit;
}
static void ref_trust(hpt__device *dev, hpt__dtype t, hpt__rule rule, const void *p, const void *g, size_t n, double wd, double eta,
                      void *trust, void *scratch) {
    double x = CALL(t, hpt__ref_trust, rule, p, g, n, wd, eta);
    (void)dev; (void)scratch;
    if (t == HPT__F64) *(double *)trust = x;
    else *(float *)trust = (float)x;
}
static void ref_ema(hpt__device *dev, hpt__dtype t, void *out, const void *k, const void *q, size_t n, double mom) {
    (void)dev;
    CALL(t, hpt__ref_ema, out, k, q, n, mom);
}
static void ref_finite(hpt__device *dev, hpt__dtype t, const void *x, size_t n, int32_t bit, hpt__outcome *o) {
    (void)dev;
    if (!CALL(t, hpt__ref_finite, x, n)) o->bad |= bit;
}
static void ref_judge(hpt__device *dev, hpt__outcome *o) {
    (void)dev;
    if (!isfinite(o->loss)) o->bad |= HPT__BAD_LOSS;
}
static void ref_lower(hpt__device *dev, size_t rows, size_t d, size_t pitch, const void *x, void *low) { (void)dev; (void)rows; (void)d; (void)pitch; (void)x; (void)low; }
static void ref_softmax_ce(hpt__device *dev, int n, int heads, int classes, float *logits, const int32_t *label, float *loss) {
    (void)dev;
    hpt__ref_softmax_ce_f32(n, heads, classes, logits, label, loss);
}
static void ref_classify(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, const int32_t *label, const void *weight, double smoothing,
                         hpt__outcome *o) {
    (void)dev;
    CALL(t, hpt__ref_classify, n, classes, logits, label, weight, smoothing, o);
}
static void ref_bce(hpt__device *dev, int n, int heads, int classes, float *logits, const float *target, float *loss) {
    (void)dev;
    hpt__ref_bce_f32(n, heads, classes, logits, target, loss);
}
static void ref_sum_rows(hpt__device *dev, int n, int d, const float *x, float *out) { (void)dev; hpt__ref_sum_rows_f32(n, d, x, out); }
static void ref_add_bias(hpt__device *dev, int n, int d, const float *b, float *y) { (void)dev; hpt__ref_add_bias_f32(n, d, b, 0, y); }

static const hpt__rows_ops rows_ops = {
    .gemm = ref_gemm,
    .l2norm = ref_l2norm,
    .l2norm_grad = ref_l2norm_grad,
    .gather = ref_gather,
    .sum_rows = ref_sum_rows,
    .add_bias = ref_add_bias,
    .softmax_ce = ref_softmax_ce,
    .bce = ref_bce,
    .classify = ref_classify,
};
static const hpt__contrast_ops contrast_ops = {
    .pitch = ref_queue_pitch,
    .scratch = ref_infonce_scratch,
    .infonce = ref_infonce,
    .enqueue = ref_enqueue,
    .spread = ref_spread,
    .agree = ref_agree,
};
static const hpt__params_ops params_ops = {
    .update = ref_update,
    .foresee = ref_foresee,
    .trust = ref_trust,
    .ema = ref_ema,
    .finite = ref_finite,
    .judge = ref_judge,
    .lower = ref_lower,
};

const hpt__backend hpt__backend_reference = {
    .api = HPT__BACKEND_API,
    .name = "reference",
    .host_memory = 1,
    .device = {
        .open = ref_open,
        .close = ref_close,
        .describe = ref_describe,
        .supports = ref_supports,
        .low_params = ref_no,
        .enter = ref_nothing,
        .leave = ref_nothing,
    },
    .memory = {
        .alloc = ref_alloc,
        .free = ref_free,
        .left = ref_left,
        .upload = ref_copy,
        .download = ref_copy,
        .copy = ref_copy,
        .zero = ref_zero,
        .copy_if = ref_copy_if,
    },
    .queue.sync = ref_ok,
    .order = {
        .act_bytes = ref_act_bytes,
        .pack = ref_pack,
        .unpack = ref_unpack,
    },
    .op = {
        .create = ref_op_create,
        .scratch = ref_op_scratch,
        .run = ref_op_run,
        .destroy = ref_op_destroy,
        .name = ref_op_name,
    },
    .rows = &rows_ops,
    .contrast = &contrast_ops,
    .params = &params_ops,
};

/* SPDX-License-Identifier: MIT
 * The cuda backend (module libhpt-cuda.so): its table, and the kernel families as slots. What a slot does beyond a
 * launch (choosing a type, room for partial sums) stands here; kernels stand in src/kernels/. */
#include "backend/cuda/slots.h"
#include "backend/op.h"
#include "kernels/cuda_kernels.h"

extern const hpt__backend hpt_backend_cuda __attribute__((visibility("default")));

static int supports(hpt__device *dev, hpt__dtype t) {
    (void)dev; return t == HPT__BF16 ? 2 : t == HPT__F32 || t == HPT__TF32;
}
static int low_params(hpt__device *dev, hpt__dtype t) { (void)dev; return t == HPT__BF16; }

/* NOTE(call): a launch of a slot that has no status */
#define NOTE(call) hpt__cuda_note(dev, (call), #call)

static hpt_status gemm(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha,
                       const void *a, int lda, const void *b, int ldb, double beta, void *c, int ldc) {
    HPT_TRY(hpt__cuda_report(dev));
    return hpt__cuda_matmul(dev, t != HPT__F32, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, NULL, 0);
}
static void copy_if(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag) {
    NOTE(hpt__cuda_copy_if(dev->compute, dst, src, bytes, flag));
}
static int queue_pitch(hpt__device *dev, hpt__dtype t, int d) {
    (void)dev; return t == HPT__BF16 ? hpt__cuda_infonce_pitch(d) : 0;
}
static hpt_status infonce(hpt__device *dev, hpt__dtype t, int n, int d, int64_t queued, const void *q, const void *k,
                          const void *queue, const void *low, double tau, hpt__outcome *o, void *dq, void *scratch) {
    (void)t;
    HPT_TRY(hpt__cuda_report(dev));
    CUDA_TRY(dev, hpt__cuda_infonce(dev->compute, dev->sms, n, d, queued, q, k, queue, low, tau, o, dq, scratch));
    return HPT_OK;
}
static size_t infonce_scratch(hpt__device *dev, hpt__dtype t, int n, int d) {
    (void)t; return hpt__cuda_infonce_scratch(n, d, dev->sms);
}
static void l2norm(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, void *y, void *norm) {
    (void)t; NOTE(hpt__cuda_l2norm(dev->compute, n, d, x, y, norm));
}
static void l2norm_grad(hpt__device *dev, hpt__dtype t, int n, int d, const void *y, const void *norm, const void *dy,
                        void *dx) {
    (void)t; NOTE(hpt__cuda_l2norm_backward(dev->compute, n, d, y, norm, dy, dx));
}
static void gather(hpt__device *dev, hpt__dtype t, int n, size_t d, const void *in, const uint32_t *index, void *out) {
    (void)t; NOTE(hpt__cuda_gather(dev->compute, n, d, in, index, out));
}
static void mix(hpt__device *dev, int n, size_t d, const float *x, const float *all, const hpt__pair *p, float *out) {
    NOTE(hpt__cuda_mix(dev->compute, n, d, x, all, p, out));
}
static void enqueue(hpt__device *dev, hpt__dtype t, int n, int d, const void *keys, void *queue, int64_t q, void *low,
                    const hpt__vars *v, const hpt__outcome *o) {
    NOTE(hpt__cuda_enqueue(dev->compute, n, d, keys, queue, q, low, low ? queue_pitch(dev, t, d) : 0, v, o));
}
static void spread(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, hpt__outcome *o, void *scratch) {
    (void)t; NOTE(hpt__cuda_spread(dev->compute, n, d, x, o, scratch));
}
static void agree(hpt__device *dev, hpt__dtype t, int n, int d, int images, const void *x, const void *y, void *dx,
                  hpt__outcome *o, void *scratch) {
    (void)t;
    NOTE(hpt__cuda_agree(dev->compute, n, d, images, x, y, dx, o, scratch));
}
static void update(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                   const hpt__outcome *o) {
    (void)t; NOTE(hpt__cuda_update(dev->compute, dev->sms, u, at, n, v, o));
}
static void foresee(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                    int32_t bit, hpt__outcome *o) {
    (void)t; NOTE(hpt__cuda_foresee(dev->compute, dev->sms, u, at, n, v, bit, o));
}
static void trust(hpt__device *dev, hpt__dtype t, hpt__rule rule, const void *p, const void *g, size_t n, double wd,
                  double eta, void *out, void *scratch) {
    (void)t;
    NOTE(hpt__cuda_trust(dev->compute, rule, p, g, n, wd, eta, out, scratch));
}
static void blend(hpt__device *dev, hpt__dtype t, void *out, const void *k, const void *q, size_t n, double a,
                  double b) {
    (void)t; NOTE(hpt__cuda_blend(dev->compute, dev->sms, out, k, q, n, a, b));
}
static void finite(hpt__device *dev, hpt__dtype t, const void *x, size_t n, int32_t bit, hpt__outcome *o) {
    (void)t; NOTE(hpt__cuda_finite(dev->compute, dev->sms, x, n, bit, o));
}
static void judge(hpt__device *dev, hpt__outcome *o) { NOTE(hpt__cuda_judge(dev->compute, o)); }
static void lower(hpt__device *dev, size_t rows, size_t d, size_t pitch, const void *x, void *low) {
    NOTE(hpt__cuda_lower(dev->compute, rows, d, pitch, x, low));
}
static void softmax_ce(hpt__device *dev, int n, int heads, int classes, float *logits, const int32_t *label,
                       float *loss) {
    NOTE(hpt__cuda_softmax_ce(dev->compute, n, heads, classes, logits, label, loss));
}
static void classify(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, const int32_t *label,
                     const void *weight, double smoothing, const hpt__pair *mix, hpt__outcome *o) {
    (void)t;
    NOTE(hpt__cuda_classify(dev->compute, n, classes, logits, label, weight, smoothing, mix, o));
}
static void entropy(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, double scale, hpt__outcome *o) {
    (void)t;
    NOTE(hpt__cuda_entropy(dev->compute, n, classes, logits, scale, o));
}
static void bce(hpt__device *dev, int n, int heads, int classes, float *logits, const float *target, float *loss) {
    NOTE(hpt__cuda_bce(dev->compute, n, heads, classes, logits, target, loss));
}
static void mean_loss(hpt__device *dev, size_t n, const float *loss, hpt__outcome *o) {
    NOTE(hpt__cuda_mean_loss(dev->compute, n, loss, o));
}
static void sum_rows(hpt__device *dev, int n, int d, const float *x, float *out) {
    NOTE(hpt__cuda_bias_backward(dev->compute, n, d, 0, NULL, (float *)(uintptr_t)x, out));
}
static void add_bias(hpt__device *dev, int n, int d, const float *b, float *y) {
    NOTE(hpt__cuda_add_bias(dev->compute, n, d, 0, b, y));
}
static size_t augment_scratch(hpt__device *dev, int views, int size, int taps) {
    (void)dev; return hpt__cuda_augment_scratch(views, size, taps);
}
static void augment(hpt__device *dev, int views, int size, int taps, const hpt__view *view, const uint8_t *pixels,
                    const float *table, float *out, void *scratch) {
    NOTE(hpt__cuda_augment(dev->compute, views, size, taps, view, pixels, table, out, scratch));
}

static const hpt__rows_ops rows_ops = {
    .gemm = gemm,
    .l2norm = l2norm,
    .l2norm_grad = l2norm_grad,
    .gather = gather,
    .mix = mix,
    .sum_rows = sum_rows,
    .add_bias = add_bias,
    .softmax_ce = softmax_ce,
    .bce = bce,
    .classify = classify,
    .entropy = entropy,
    .mean_loss = mean_loss,
};
static const hpt__contrast_ops contrast_ops = {
    .pitch = queue_pitch,
    .scratch = infonce_scratch,
    .infonce = infonce,
    .enqueue = enqueue,
    .spread = spread,
    .agree = agree,
};
static const hpt__params_ops params_ops = {
    .update = update,
    .foresee = foresee,
    .trust = trust,
    .blend = blend,
    .finite = finite,
    .judge = judge,
    .lower = lower,
};
static const hpt__views_ops views_ops = {
    .scratch = augment_scratch,
    .make = augment,
};

const hpt__backend hpt_backend_cuda = {
    .api = HPT__BACKEND_API,
    .name = "cuda",
    .host_memory = 0,
    .device = {
        .open = hpt__cuda_open,
        .close = hpt__cuda_close,
        .describe = hpt__cuda_describe,
        .supports = supports,
        .low_params = low_params,
        .enter = hpt__cuda_enter,
        .leave = hpt__cuda_leave,
    },
    .memory = {
        .alloc = hpt__cuda_alloc,
        .free = hpt__cuda_free,
        .left = hpt__cuda_left,
        .upload = hpt__cuda_upload,
        .download = hpt__cuda_download,
        .copy = hpt__cuda_copy,
        .zero = hpt__cuda_zero,
        .copy_if = copy_if,
    },
    .queue = {
        .sync = hpt__cuda_sync,
        .host_alloc = hpt__cuda_host_alloc,
        .host_free = hpt__cuda_host_free,
        .stage = hpt__cuda_stage,
        .await = hpt__cuda_await,
        .lane_wait = hpt__cuda_lane_wait,
        .fetch = hpt__cuda_fetch,
        .poll = hpt__cuda_poll,
    },
    .record = {
        .begin = hpt__cuda_record_begin,
        .end = hpt__cuda_record_end,
        .launch = hpt__cuda_record_launch,
        .destroy = hpt__cuda_record_destroy,
    },
    .exchange = {
        .open = hpt__nccl_open,
        .id = hpt__nccl_id,
    },
    .order = {
        .act_bytes = hpt__cuda_act_bytes,
        .pack = hpt__cuda_pack,
        .unpack = hpt__cuda_unpack,
    },
    .op = {
        .list = hpt__cuda_op_list,
        .create = hpt__cuda_op_create,
        .scratch = hpt__op_scratch,
        .run = hpt__cuda_op_run,
        .destroy = hpt__op_destroy,
        .name = hpt__op_name,
    },
    .rows = &rows_ops,
    .contrast = &contrast_ops,
    .params = &params_ops,
    .views = &views_ops,
};

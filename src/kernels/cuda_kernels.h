/* SPDX-License-Identifier: MIT
 * The launchers of the .cu files. Contracts: norm.h, act.h, bias.h, pool.h, scale.h, optim.h, infonce.h, embed.h,
 * heads.h, augment.h; what differs is said here. All pointers are device memory unless a line says otherwise. Launchers
 * take the stream first, never allocate, never synchronise, and return the launch's error. sms: multiprocessors of the
 * card, from which grids are sized.
 *
 * Feature maps are (N,H,W,C), channels padded to hpt__cuda_channels(): bfloat16 if bf16 is 1, else float. Grids and
 * sums are fixed by shape and card: the same bits every run. */
#ifndef HPT__CUDA_KERNELS_H
#define HPT__CUDA_KERNELS_H
#include "kernels/augment.h"
#include "kernels/embed.h"
#include "kernels/geometry.h"
#include "kernels/optim.h"
#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* 16-byte vectors: 8 bfloat16 or 4 float */
static inline int hpt__cuda_channels(int c, int bf16) { return bf16 ? (c + 7) / 8 * 8 : (c + 3) / 4 * 4; }

/* images (N,C,H,W) float -> map */
cudaError_t hpt__cuda_input(cudaStream_t s, int bf16, int n, int c, int h, int w, const float *x, void *y);
/* map -> (n,c,h,w) */
cudaError_t hpt__cuda_output(cudaStream_t s, int bf16, int n, int c, int h, int w, const void *x, float *y);
/* weights (k, window, c) of one type <-> (k, window, cp) padded with zeros */
cudaError_t hpt__cuda_pad_weights(cudaStream_t s, int bf16, int rows, int c, int cp, const void *in, void *out);
cudaError_t hpt__cuda_unpad_weights(cudaStream_t s, int rows, int c, int cp, const float *in, float *out);
/* map (n,h,w,c) -> (n,rows,columns,c) that holds it from row top, column left on (less than 0: without what lies
 * before), zeros around it; c: as it lies in memory */
cudaError_t hpt__cuda_frame(cudaStream_t s, int bf16, int n, int c, int h, int w, int rows, int columns, int top,
                            int left, const void *x, void *y);
/* rows of d floats -> rows of pitch bfloat16, zero beyond d */
cudaError_t hpt__cuda_lower(cudaStream_t s, size_t rows, size_t d, size_t pitch, const float *x, uint16_t *low);
cudaError_t hpt__cuda_from_bf16(cudaStream_t s, size_t n, const uint16_t *x, float *y);
/* dst = src, bytes a multiple of 16, if *flag is (when) / is not zero */
cudaError_t hpt__cuda_copy_if(cudaStream_t s, void *dst, const void *src, size_t bytes, const int32_t *flag);

/* norm: channels of maps a multiple of the vector; rows float, of any length */
typedef struct hpt__cuda_norm {
    hpt__geometry g;
    int bf16, sms;
    const void *x, *y_in, *r, *dy2;
    void *y, *dy, *dx;
    const float *w, *b;
    float *mean, *rstd, *run_mean, *run_var, *dw, *db;
    double momentum;
    float *scratch;                 /* hpt__cuda_norm_scratch() bytes */
} hpt__cuda_norm;
size_t hpt__cuda_norm_scratch(const hpt__geometry *g, int bf16, int sms);
cudaError_t hpt__cuda_norm_train(cudaStream_t s, const hpt__cuda_norm *a);
cudaError_t hpt__cuda_norm_eval(cudaStream_t s, const hpt__cuda_norm *a);
cudaError_t hpt__cuda_norm_backward(cudaStream_t s, const hpt__cuda_norm *a);
/* in halves, between which ranks exchange: (bn_groups,C,2), and those of bn_ranks ranks */
cudaError_t hpt__cuda_norm_moments(cudaStream_t s, const hpt__cuda_norm *a, double *moments);
cudaError_t hpt__cuda_norm_joined(cudaStream_t s, const hpt__cuda_norm *a, const double *moments);
cudaError_t hpt__cuda_norm_grad_sums(cudaStream_t s, const hpt__cuda_norm *a, double *sums);
cudaError_t hpt__cuda_norm_grad_joined(cudaStream_t s, const hpt__cuda_norm *a, const double *sums);

/* act: n values, padding included */
cudaError_t hpt__cuda_act(cudaStream_t s, int bf16, size_t n, hpt__act act, const void *x, void *y);
cudaError_t hpt__cuda_act_backward(cudaStream_t s, int bf16, size_t n, hpt__act act, const void *x, const void *y,
                                   const void *dy, const void *dy2, void *dx);
cudaError_t hpt__cuda_sum(cudaStream_t s, int bf16, size_t n, const void *x, const void *r, void *y);

/* bias of maps */
cudaError_t hpt__cuda_bias(cudaStream_t s, const hpt__geometry *g, int bf16, const void *x, const float *b, void *y);
cudaError_t hpt__cuda_map_bias_backward(cudaStream_t s, const hpt__geometry *g, int bf16, const void *dy, float *db);

/* pool: where is (N,P,Q,C) */
cudaError_t hpt__cuda_maxpool(cudaStream_t s, const hpt__geometry *g, int bf16, const void *x, void *y, uint8_t *where);
cudaError_t hpt__cuda_maxpool_backward(cudaStream_t s, const hpt__geometry *g, int bf16, const void *dy,
                                       const void *dy2, const uint8_t *where, void *dx);
cudaError_t hpt__cuda_average(cudaStream_t s, const hpt__geometry *g, int bf16, const void *x, float *y);
cudaError_t hpt__cuda_average_backward(cudaStream_t s, const hpt__geometry *g, int bf16, const float *dy, void *dx);

/* scale: drop: n images of each values, padding included */
cudaError_t hpt__cuda_scale(cudaStream_t st, const hpt__geometry *g, int bf16, const void *x, const float *s, void *y);
cudaError_t hpt__cuda_scale_backward(cudaStream_t st, const hpt__geometry *g, int bf16, const void *x, const float *s,
                                     const void *dy, void *dx, float *ds);
cudaError_t hpt__cuda_drop(cudaStream_t s, int bf16, size_t n, size_t each, const void *x, const float *f,
                           const void *r, void *y);

/* optim: pointers in u are device memory; low copies bfloat16 or NULL */
cudaError_t hpt__cuda_update(cudaStream_t s, int sms, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                             const hpt__outcome *o);
cudaError_t hpt__cuda_foresee(cudaStream_t s, int sms, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                              int32_t bit, hpt__outcome *o);
cudaError_t hpt__cuda_trust(cudaStream_t s, hpt__rule rule, const float *p, const float *g, size_t n, double wd,
                            double eta, float *trust, double *scratch /* 128 */);
cudaError_t hpt__cuda_blend(cudaStream_t s, int sms, float *out, const float *k, const float *q, size_t n, double a,
                            double b);
cudaError_t hpt__cuda_finite(cudaStream_t s, int sms, const float *x, size_t n, int32_t bit, hpt__outcome *o);

/* embed; spread: scratch of d doubles */
cudaError_t hpt__cuda_l2norm(cudaStream_t s, int n, int d, const float *x, float *y, float *norm);
cudaError_t hpt__cuda_l2norm_backward(cudaStream_t s, int n, int d, const float *y, const float *norm, const float *dy,
                                      float *dx);
cudaError_t hpt__cuda_unit(cudaStream_t s, int n, int d, const float *x, double scale, float *y);
cudaError_t hpt__cuda_unit_backward(cudaStream_t s, int n, int d, const float *x, double scale, const float *dy,
                                    float *dx);
cudaError_t hpt__cuda_gather(cudaStream_t s, int n, size_t d, const float *in, const uint32_t *index, float *out);
cudaError_t hpt__cuda_mix(cudaStream_t s, int n, size_t d, const float *x, const float *all, const hpt__pair *p,
                          float *out);
/* low: bfloat16 copy of the queue with rows of pitch values (zero beyond d), or NULL */
cudaError_t hpt__cuda_enqueue(cudaStream_t s, int n, int d, const float *keys, float *queue, int64_t q, uint16_t *low,
                              int pitch, const hpt__vars *v, const hpt__outcome *o);
cudaError_t hpt__cuda_spread(cudaStream_t s, int n, int d, const float *x, hpt__outcome *o, double *scratch);
/* scratch of n doubles */
cudaError_t hpt__cuda_agree(cudaStream_t s, int n, int d, int images, const float *x, const float *y, float *dx,
                            hpt__outcome *o, double *scratch);
/* d = dy masked by y > 0 (if relu; in place), db[j] = sum over rows of d, unless db is NULL */
cudaError_t hpt__cuda_bias_backward(cudaStream_t s, int n, int d, int relu, const float *y, float *dy, float *db);
cudaError_t hpt__cuda_add_bias(cudaStream_t s, int n, int d, int relu, const float *b, float *y);

/* infonce: queue float (Q,D), or low: bfloat16 (Q, pitch) with pitch = hpt__cuda_infonce_pitch(D); see infonce.cu
 * for errors and work */
int hpt__cuda_infonce_pitch(int d);     /* 64 or 128; 0: D is too large for the bfloat16 kernel */
size_t hpt__cuda_infonce_scratch(int n, int d, int sms);
cudaError_t hpt__cuda_infonce(cudaStream_t s, int sms, int n, int d, int64_t queued, const float *q, const float *k,
                              const float *queue, const uint16_t *low, double tau, hpt__outcome *o, float *dq,
                              void *scratch);
/* bad |= HPT__BAD_LOSS unless loss and entropy are finite */
cudaError_t hpt__cuda_judge(cudaStream_t s, hpt__outcome *o);

/* heads */
cudaError_t hpt__cuda_softmax_ce(cudaStream_t s, int n, int heads, int classes, float *logits, const int32_t *label,
                                 float *loss);
cudaError_t hpt__cuda_classify(cudaStream_t s, int n, int classes, float *logits, const int32_t *label,
                               const float *weight, double smoothing, const hpt__pair *mix, hpt__outcome *o);
cudaError_t hpt__cuda_entropy(cudaStream_t s, int n, int classes, float *logits, double scale, hpt__outcome *o);
cudaError_t hpt__cuda_mean_loss(cudaStream_t s, size_t n, const float *loss, hpt__outcome *o);
cudaError_t hpt__cuda_bce(cudaStream_t s, int n, int heads, int classes, float *logits, const float *target,
                          float *loss);

/* augment: views of a batch from 8-bit images, one block each */
size_t hpt__cuda_augment_scratch(int views, int size, int taps);    /* taps: largest hpt__view_taps() */
cudaError_t hpt__cuda_augment(cudaStream_t s, int views, int size, int taps, const hpt__view *view,
                              const uint8_t *pixels, const float *table /* [3][256] */, float *out, void *scratch);
#ifdef __cplusplus
}
#endif
#endif

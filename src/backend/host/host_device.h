/* SPDX-License-Identifier: MIT
 * What the backends whose memory is the host's share (reference, onednn): memory (host_memory.c), and the families'
 * tables over the reference kernels (rows.c), for float and double. A device of theirs begins with a
 * hpt__host_device. */
#ifndef HPT__HOST_DEVICE_H
#define HPT__HOST_DEVICE_H
#include "backend/backend.h"

typedef struct hpt__host_device { const hpt__host *host; } hpt__host_device;

void *hpt__host_alloc(hpt__device *dev, size_t bytes);
void hpt__host_free(hpt__device *dev, void *p);
size_t hpt__host_left(hpt__device *dev);
void hpt__host_copy(hpt__device *dev, void *dst, const void *src, size_t bytes);
void hpt__host_zero(hpt__device *dev, void *p, size_t bytes);
void hpt__host_copy_if(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag);
#define HPT__HOST_MEMORY { \
    .alloc = hpt__host_alloc, \
    .free = hpt__host_free, \
    .left = hpt__host_left, \
    .upload = hpt__host_copy, \
    .download = hpt__host_copy, \
    .copy = hpt__host_copy, \
    .zero = hpt__host_zero, \
    .copy_if = hpt__host_copy_if, \
}
hpt_status hpt__host_sync(hpt__device *dev);                /* every call has finished when it returns */
int hpt__host_no_low(hpt__device *dev, hpt__dtype t);       /* no bfloat16 copies of parameters */

extern const hpt__rows_ops hpt__host_rows;
extern const hpt__contrast_ops hpt__host_contrast;
extern const hpt__params_ops hpt__host_params;
/* slots of theirs, for a table that has others of its own */
void hpt__host_l2norm(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, void *y, void *norm);
void hpt__host_l2norm_grad(hpt__device *dev, hpt__dtype t, int n, int d, const void *y, const void *norm, const void
                           *dy, void *dx);
void hpt__host_gather(hpt__device *dev, hpt__dtype t, int n, size_t d, const void *in, const uint32_t *index, void
                      *out);
void hpt__host_mix(hpt__device *dev, int n, size_t d, const float *x, const float *all, const hpt__pair *p,
                   float *out);
void hpt__host_sum_rows(hpt__device *dev, int n, int d, const float *x, float *out);
void hpt__host_add_bias(hpt__device *dev, int n, int d, const float *b, float *y);
void hpt__host_softmax_ce(hpt__device *dev, int n, int heads, int classes, float *logits, const int32_t *label, float
                          *loss);
void hpt__host_bce(hpt__device *dev, int n, int heads, int classes, float *logits, const float *target, float *loss);
void hpt__host_entropy(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, double scale,
                       hpt__outcome *o);
void hpt__host_mean_loss(hpt__device *dev, size_t n, const float *loss, hpt__outcome *o);
void hpt__host_classify(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, const int32_t *label, const
                        void *weight, double smoothing, const hpt__pair *mix, hpt__outcome *o);
int hpt__host_pitch(hpt__device *dev, hpt__dtype t, int d);
void hpt__host_enqueue(hpt__device *dev, hpt__dtype t, int n, int d, const void *keys, void *queue, int64_t q, void
                       *low, const hpt__vars *v, const hpt__outcome *o);
void hpt__host_spread(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, hpt__outcome *o, void *scratch);
void hpt__host_agree(hpt__device *dev, hpt__dtype t, int n, int d, int images, const void *x, const void *y, void *dx,
                     hpt__outcome *o, void *scratch);
void hpt__host_trust(hpt__device *dev, hpt__dtype t, hpt__rule rule, const void *p, const void *g, size_t n, double wd,
                     double eta, void *out, void *scratch);
void hpt__host_judge(hpt__device *dev, hpt__outcome *o);
void hpt__host_lower(hpt__device *dev, size_t rows, size_t d, size_t pitch, const void *x, void *low);
#endif

/* SPDX-License-Identifier: MIT
 * rows - the table of operations on plain rows, row major, that heads and evaluations use. Contracts: gemm.h, embed.h,
 * heads.h. */
#ifndef HPT__ROWS_H
#define HPT__ROWS_H
#include "hpt.h"
#include "kernels/dtype.h"
#include "kernels/embed.h"

typedef struct hpt__rows_ops {
    hpt_status (*gemm)(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha,
                       const void *a, int lda, const void *b, int ldb, double beta, void *c, int ldc);
    void (*l2norm)(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, void *y, void *norm);
    void (*l2norm_grad)(hpt__device *dev, hpt__dtype t, int n, int d, const void *y, const void *norm, const void *dy,
                        void *dx);
    void (*gather)(hpt__device *dev, hpt__dtype t, int n, size_t d, const void *in, const uint32_t *index, void *out);
    /* of images, float; p: device memory */
    void (*mix)(hpt__device *dev, int n, size_t d, const float *x, const float *all, const hpt__pair *p, float *out);
    void (*sum_rows)(hpt__device *dev, int n, int d, const float *x, float *out);
    void (*add_bias)(hpt__device *dev, int n, int d, const float *b, float *y);
    /* loss may be NULL */
    void (*softmax_ce)(hpt__device *dev, int n, int heads, int classes, float *logits, const int32_t *label,
                       float *loss);
    void (*bce)(hpt__device *dev, int n, int heads, int classes, float *logits, const float *target, float *loss);
    void (*classify)(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, const int32_t *label,
                     const void *weight, double smoothing, const hpt__pair *mix, hpt__outcome *o);
    void (*entropy)(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, double scale, hpt__outcome *o);
    void (*mean_loss)(hpt__device *dev, size_t n, const float *loss, hpt__outcome *o);
} hpt__rows_ops;
#endif

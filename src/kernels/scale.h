/* SPDX-License-Identifier: MIT
 * scale - maps times a factor for each channel of each image (squeeze-and-excitation, Hu et al. 2018), and times a
 * factor for each image (stochastic depth, Huang et al. 2016: 0, or 1/(1-p) for a residual branch that is kept).
 *
 *   scale:          y[n][c][h][w]  = x[n][c][h][w] * s[n][c]
 *   scale backward: dx[n][c][h][w] = dy[n][c][h][w] * s[n][c]
 *                   ds[n][c]       = sum over h,w of dy[n][c][h][w] * x[n][c][h][w]
 *   drop:           y[n][...]      = x[n][...] * f[n] (+ r[n][...] unless NULL)
 *
 * Maps (N,C,H,W); s, ds (N,C), f (N) real also where maps are bfloat16. drop takes `each` values an image, in any
 * order, and is its own gradient. Outputs are written (=). y may be x, or r in drop; dx may be dy. Sums: double over
 * float partial sums of at most 64 values. Deterministic, and independent of the number of threads. */
#ifndef HPT__SCALE_H
#define HPT__SCALE_H
#include "kernels/geometry.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_scale_##x_(const hpt__geometry *g, const T *x, const T *s, T *y); \
    void hpt__ref_scale_backward_##x_(const hpt__geometry *g, const T *x, const T *s, const T *dy, T *dx, T *ds); \
    void hpt__ref_drop_##x_(size_t n, size_t each, const T *x, const T *f, const T *r, T *y);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

/* SPDX-License-Identifier: MIT
 * bias - a value for each channel of a map, for convolutions that no batch norm follows.
 *
 *   bias:          y[n][c][h][w] = x[n][c][h][w] + b[c]
 *   bias backward: db[c] = sum over n,h,w of dy[n][c][h][w]
 *
 * Maps (N,C,H,W); b, db real. Outputs are written (=); y may be x. Sums: double over float partial sums.
 * Deterministic, and independent of the number of threads. */
#ifndef HPT__BIAS_H
#define HPT__BIAS_H
#include "kernels/geometry.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_bias_##x_(const hpt__geometry *g, const T *x, const T *b, T *y); \
    void hpt__ref_bias_backward_##x_(const hpt__geometry *g, const T *dy, T *db);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

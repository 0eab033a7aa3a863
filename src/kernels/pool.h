/* SPDX-License-Identifier: MIT
 * pool - max pooling with a window (first maximum wins, as in torch; NaN propagates) and global average pooling.
 *
 *   maxpool: y[n][c][p][q] = max over the window inside the map; where (N,C,P,Q) uint8: r*S+s of the winner.
 *            dx = 0, then dx[winner] += dy (+ dy2 if geometry.extra_grad).   Window at most 15 x 15.
 *   average: y (N,C) = mean over H,W. dx[n][c][h][w] = dy[n][c] / (H*W). y and dy are real also when maps are bfloat16.
 * Outputs are written (=). No aliasing. Deterministic. */
#ifndef HPT__POOL_H
#define HPT__POOL_H
#include "kernels/geometry.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_maxpool_forward_##x_(const hpt__geometry *g, const T *x, T *y, uint8_t *where); \
    void hpt__ref_maxpool_backward_##x_(const hpt__geometry *g, const T *dy, const T *dy2, const uint8_t *where, \
                                        T *dx); \
    void hpt__ref_average_forward_##x_(const hpt__geometry *g, const T *x, T *y); \
    void hpt__ref_average_backward_##x_(const hpt__geometry *g, const T *dy, T *dx);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

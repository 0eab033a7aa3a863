/* SPDX-License-Identifier: MIT
 * conv - 2-D convolution without bias, and its two gradients. Cross-correlation as in torch.nn.Conv2d.
 *
 *   y[n][k][p][q]  = sum over c,r,s of x[n][c][p*stride+r-pad_h][q*stride+s-pad_w] * w[k][c][r][s]  (zero outside)
 *   dx[n][c][h][w] = sum over k,r,s of dy[n][k][p][q] * w[k][c][r][s]   for h = p*stride+r-pad_h, w = q*stride+s-pad_w
 *   dw[k][c][r][s] = sum over n,p,q of dy[n][k][p][q] * x[n][c][p*stride+r-pad_h][q*stride+s-pad_w]
 *
 * In groups (geometry.conv_groups = G) output channel k sees the C/G input channels of its own group alone, and c
 * counts within it.
 *
 * x (N,C,H,W), w (K,C/G,R,S), y (N,K,P,Q), contiguous. Outputs are written (=), not added to; no aliasing.
 * Accumulation: double. Deterministic: yes. The fast versions are oneDNN's (src/backend/onednn)
 * and, where each channel is a group, depthwise_cpu.c: float partial sums of weights, double over some 256 pixels. */
#ifndef HPT__CONV_H
#define HPT__CONV_H
#include "kernels/geometry.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_conv_forward_##x_(const hpt__geometry *g, const T *x, const T *w, T *y, double *plane); \
    void hpt__ref_conv_backward_data_##x_(const hpt__geometry *g, const T *dy, const T *w, T *dx, double *plane); \
    void hpt__ref_conv_backward_weights_##x_(const hpt__geometry *g, const T *x, const T *dy, T *dw);
HPT__BOTH(HPT__DECL)    /* plane: scratch of max(h*w, p*q) doubles */
#undef HPT__DECL
#endif

/* SPDX-License-Identifier: MIT
 * norm - batch normalisation (Ioffe and Szegedy 2015) with an optional residual sum and ReLU, or SiLU, in groups of the
 * batch.
 *
 * Training, for each group g of n/bn_groups contiguous images and each channel c, over m = (n/bn_groups)*h*w values:
 *   mean = sum(x)/m     var = sum((x-mean)^2)/m (biased)     rstd = 1/sqrt(var + eps)
 *   y = act?( (x-mean)*rstd*w + b + residual? )
 *   run_mean = (1-mom)*run_mean + mom*avg over g of mean
 *   run_var  = (1-mom)*run_var  + mom*avg over g of var*m/(m-1)         (unbiased; m = 1: biased)
 * Evaluation: mean, var from run_mean, run_var.
 *   act: none, relu, or silu (x*s(x), s(x) = 1/(1+e^-x)), the last without a residual; no other is fused
 * Backward: d = (dy + dy2?), masked by y > 0 if act is relu; times s(z)*(1 + z*(1 - s(z))) if it is silu, with
 * z = (x-mean)*rstd*w + b (y is not read; b is by silu alone). d is WRITTEN BACK into dy: the gradient of the residual.
 *   db = sum over all groups of d      dw = sum over all groups of d*(x-mean)*rstd
 *   dx = w*rstd*( d - sum_g(d)/m - (x-mean)*rstd * sum_g(d*(x-mean)*rstd)/m )
 *
 * Over ranks (bn_ranks of them share each group, each with m of its M = bn_ranks*m values) in halves, between which the
 * ranks exchange doubles (bn_groups,C,2); the second half reads those of all ranks of the group, in their order:
 *   moments: mean_r = sum(x)/m, q_r = sum((x-mean_r)^2)
 *   joined:  mean = avg of mean_r, var = (sum of q_r + m*sum((mean_r-mean)^2))/M, the rest as above with M for m
 *   sums:    sum(d), sum(d*(x-mean)*rstd); d into dy; db, dw of this rank's images alone
 *   joined:  dx as above with sums over the ranks and M for m
 *
 * x, y, residual, dy, dy2, dx (N,C,H,W); w, b, run_*, dw, db (C); mean, rstd (bn_groups,C). dw, db, dx are written (=).
 * Aliasing: dx may be x, y may be x (forward only) or residual; nothing else. eps is the geometry's. Sums: double over
 * float partial sums. Deterministic, and independent of the number of threads. Rows (geometry.rows) are maps of 1x1:
 * batch norm of vectors.
 *
 * The cpu version works on blocked maps (N, C/B, H*W, B) with B = hpt__cpu_block, in float or bfloat16 (statistics
 * float). It comes in four parts that a team of threads runs one after the other, each over items 0..count-1
 * (norm_items()):
 *   stats -> finish (one thread) -> apply;   grad_sums -> grad_finish (one thread) -> grad_apply */
#ifndef HPT__NORM_H
#define HPT__NORM_H
#include "kernels/geometry.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_norm_train_##x_(const hpt__geometry *g, const T *x, const T *w, const T *b, const T *residual, \
                                  T *y, T *mean, \
                                  T *rstd, T *run_mean, T *run_var, double mom); \
    void hpt__ref_norm_eval_##x_(const hpt__geometry *g, const T *x, const T *w, const T *b, const T *residual, T *y, \
                                 const T *run_mean, const T *run_var); \
    void hpt__ref_norm_backward_##x_(const hpt__geometry *g, const T *x, const T *y, const T *w, const T *b, \
                                     const T *mean, const T *rstd, T *dy, const T *dy2, T *dx, T *dw, T *db); \
    void hpt__ref_norm_moments_##x_(const hpt__geometry *g, const T *x, double *moments); \
    void hpt__ref_norm_join_##x_(const hpt__geometry *g, const double *moments, T *mean, T *rstd, T *run_mean, \
                                 T *run_var, double mom); \
    void hpt__ref_norm_apply_##x_(const hpt__geometry *g, const T *x, const T *w, const T *b, const T *residual, T *y, \
                                  const T *mean, const T *rstd); \
    void hpt__ref_norm_grad_sums_##x_(const hpt__geometry *g, const T *x, const T *y, const T *w, const T *b, \
                                      const T *mean, const T *rstd, T *dy, const T *dy2, T *dw, T *db, double *sums); \
    void hpt__ref_norm_grad_joined_##x_(const hpt__geometry *g, const T *x, const T *w, const T *mean, const T *rstd, \
                                        const T *dy, const double *sums, T *dx);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

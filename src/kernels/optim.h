/* SPDX-License-Identifier: MIT
 * optim - one pass over flat parameters. All pointers: n values, contiguous.
 *
 *   sgd    d = g + wd*p;  m = mom*m + d;  p = p - lr*m                 torch.optim.SGD without Nesterov; m = 0 at the first step.
 *          In float32 each line rounds as PyTorch's CPU kernels do: fma for the first and last, two roundings for the second.
 *   adamw  p = p*(1 - lr*wd);  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g^2;
 *          p = p - lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps)        Loshchilov and Hutter 2019; t = step, from 1
 *   ema    out = k*mom + q*(1-mom)                                     two rounded products and a rounded sum; out may be k
 *   finite 1 if every value is finite
 *
 * In place except ema. Deterministic. The cpu versions take the part t of nt of the range. */
#ifndef HPT__OPTIM_H
#define HPT__OPTIM_H
#include "kernels/real.h"
typedef struct hpt__adamw { double lr, wd, b1, b2, eps; uint64_t t; } hpt__adamw;
#define HPT__DECL(T, x_) \
    void hpt__ref_sgd_##x_(T *p, T *m, const T *g, size_t n, double lr, double mom, double wd); \
    void hpt__ref_adamw_##x_(T *p, T *m, T *v, const T *g, size_t n, const hpt__adamw *o); \
    void hpt__ref_ema_##x_(T *out, const T *k, const T *q, size_t n, double mom); \
    int hpt__ref_finite_##x_(const T *x, size_t n);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

/* SPDX-License-Identifier: MIT
 * act - activations alone and sums, element by element, on arrays of n values whatever their layout.
 *
 *   act:          y = max(x, 0) (relu), x * s(x) (silu), s(x) (sigmoid), with s(x) = 1 / (1 + e^-x). NaN stays NaN.
 *   act backward: d = dy (+ dy2 unless NULL).  relu: dx = d where y > 0 else 0.  sigmoid: dx = d * y * (1 - y).
 *                 silu: dx = d * s(x) * (1 + x * (1 - s(x))).
 *                 x is read by silu, y by the others; the other one may be NULL.
 *   sum:          y = x + r, or a copy where r is NULL.
 *
 * Outputs are written (=). dx may be dy or dy2; y may be x, and r in a sum. Deterministic. The reference computes in
 * double; the cpu version is within 4 ulp of the largest of s(x) and 1e-37, in float or bfloat16 (one rounding at
 * the end). */
#ifndef HPT__KERNEL_ACT_H
#define HPT__KERNEL_ACT_H
#include "kernels/geometry.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_act_##x_(size_t n, hpt__act act, const T *x, T *y); \
    void hpt__ref_act_backward_##x_(size_t n, hpt__act act, const T *x, const T *y, const T *dy, const T *dy2, T *dx); \
    void hpt__ref_sum_##x_(size_t n, const T *x, const T *r, T *y);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

/* SPDX-License-Identifier: MIT
 * gemm - c = alpha * op(a) * op(b) + beta * c, row major; op is the transpose if ta / tb is 1. a is (m,k) after op,
 * b (k,n), c (m,n); lda, ldb, ldc: elements between rows as stored. beta 0: c is written, not read. Sums in double
 * here. No aliasing with c. */
#ifndef HPT__GEMM_H
#define HPT__GEMM_H
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_gemm_##x_(int ta, int tb, int m, int n, int k, T alpha, const T *a, int lda, const T *b, int ldb, \
                            T beta, T *c, \
                            int ldc);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

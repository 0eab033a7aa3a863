/* SPDX-License-Identifier: MIT
 * Contract: gemm.h. Three loops in the order of the formula, the sum in double; the reference backend's convolutions
 * do not go through it, so each is a check of the other. */
#include "kernels/gemm.h"

void REF(gemm)(int ta, int tb, int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb,
               real beta, real *c, int ldc) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double s = 0;
            for (int l = 0; l < k; l++)
                s += (double)(ta ? a[(size_t)l * lda + i] : a[(size_t)i * lda + l]) *
                     (double)(tb ? b[(size_t)j * ldb + l] : b[(size_t)l * ldb + j]);
            real *o = &c[(size_t)i * ldc + j];
            *o = (real)(alpha * s + (beta != 0 ? beta * *o : 0));
        }
}

/* SPDX-License-Identifier: MIT
 * Contract: bias.h. Plain loops, the sum over rows in double, written once for float and double (real.h). Every
 * backend is compared with it. */
#include "kernels/bias.h"

void REF(bias)(const hpt__geometry *g, const real *x, const real *b, real *y) {
    size_t hw = (size_t)g->h * (size_t)g->w;
    for (size_t map = 0; map < (size_t)g->n * (size_t)g->c; map++)
        for (size_t i = map * hw; i < (map + 1) * hw; i++) y[i] = x[i] + b[map % (size_t)g->c];
}

void REF(bias_backward)(const hpt__geometry *g, const real *dy, real *db) {
    size_t hw = (size_t)g->h * (size_t)g->w;
    for (size_t c = 0; c < (size_t)g->c; c++) {
        double sum = 0;
        for (size_t n = 0; n < (size_t)g->n; n++)
            for (size_t i = 0; i < hw; i++) sum += dy[(n * (size_t)g->c + c) * hw + i];
        db[c] = (real)sum;
    }
}

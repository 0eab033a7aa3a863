/* SPDX-License-Identifier: MIT
 * Contract: scale.h. Plain loops, the sum over a map in double, written once for float and double (real.h). Every
 * backend is compared with it. */
#include "kernels/scale.h"

void REF(scale)(const hpt__geometry *g, const real *x, const real *s, real *y) {
    size_t hw = (size_t)g->h * (size_t)g->w;
    for (size_t map = 0; map < (size_t)g->n * (size_t)g->c; map++)
        for (size_t i = map * hw; i < (map + 1) * hw; i++) y[i] = x[i] * s[map];
}

void REF(scale_backward)(const hpt__geometry *g, const real *x, const real *s, const real *dy, real *dx, real *ds) {
    size_t hw = (size_t)g->h * (size_t)g->w;
    for (size_t map = 0; map < (size_t)g->n * (size_t)g->c; map++) {
        double sum = 0;
        for (size_t i = map * hw; i < (map + 1) * hw; i++) {
            sum += (double)dy[i] * x[i];
            dx[i] = dy[i] * s[map];
        }
        ds[map] = (real)sum;
    }
}

void REF(drop)(size_t n, size_t each, const real *x, const real *f, const real *r, real *y) {
    for (size_t i = 0; i < n * each; i++) y[i] = x[i] * f[i / each] + (r ? r[i] : 0);
}

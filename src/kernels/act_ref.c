/* SPDX-License-Identifier: MIT
 * Contract: act.h. Plain loops over the values of a map, written once for float and double (real.h); every backend
 * is compared with it. */
#include "kernels/act.h"
#include <math.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

void REF(act)(size_t n, hpt__act act, const real *x, real *y) {
    for (size_t i = 0; i < n; i++) {
        double v = x[i];
        if (act == HPT__ACT_RELU) y[i] = (real)(v < 0 ? 0 : v);
        else if (act == HPT__ACT_SILU) y[i] = (real)(v * sigmoid(v));
        else if (act == HPT__ACT_SIGMOID) y[i] = (real)sigmoid(v);
        else y[i] = x[i];
    }
}

void REF(act_backward)(size_t n, hpt__act act, const real *x, const real *y, const real *dy, const real *dy2,
                       real *dx) {
    for (size_t i = 0; i < n; i++) {
        double d = dy[i];
        if (dy2) d += dy2[i];
        if (act == HPT__ACT_RELU) d = y[i] > 0 ? d : 0;
        else if (act == HPT__ACT_SIGMOID) d *= (double)y[i] * (1 - (double)y[i]);
        else if (act == HPT__ACT_SILU) {
            double s = sigmoid(x[i]);
            d *= s * (1 + x[i] * (1 - s));
        }
        dx[i] = (real)d;
    }
}

void REF(sum)(size_t n, const real *x, const real *r, real *y) {
    for (size_t i = 0; i < n; i++) y[i] = (real)(r ? x[i] + r[i] : x[i]);
}

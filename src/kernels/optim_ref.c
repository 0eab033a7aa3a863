/* SPDX-License-Identifier: MIT */
#include "kernels/optim.h"
#include <math.h>

#ifdef HPT__REAL_DOUBLE
#define FMA fma
#else
#define FMA fmaf
#endif

void REF(sgd)(real *p, real *m, const real *g, size_t n, double lr_, double mom_, double wd_) {
    real lr = (real)-lr_, mom = (real)mom_, wd = (real)wd_;
    for (size_t i = 0; i < n; i++) {
        real d = FMA(wd, p[i], g[i]);
        real mm = mom * m[i];
        m[i] = mm + d;
        p[i] = FMA(lr, m[i], p[i]);
    }
}

void REF(adamw)(real *p, real *m, real *v, const real *g, size_t n, const hpt__adamw *o) {
    double c1 = 1 - pow(o->b1, (double)o->t), c2 = sqrt(1 - pow(o->b2, (double)o->t));
    for (size_t i = 0; i < n; i++) {
        double pi = p[i] * (1 - o->lr * o->wd), mi = o->b1 * m[i] + (1 - o->b1) * g[i],
               vi = o->b2 * v[i] + (1 - o->b2) * (double)g[i] * g[i];
        m[i] = (real)mi;
        v[i] = (real)vi;
        p[i] = (real)(pi - o->lr / c1 * mi / (sqrt(vi) / c2 + o->eps));
    }
}

void REF(ema)(real *out, const real *k, const real *q, size_t n, double mom) {
    real a = (real)mom, b = (real)(1 - mom);
    for (size_t i = 0; i < n; i++) {
        real x = k[i] * a, y = q[i] * b;
        out[i] = x + y;
    }
}

int REF(finite)(const real *x, size_t n) {
    int ok = 1;
    for (size_t i = 0; i < n; i++) ok &= isfinite(x[i]) != 0;
    return ok;
}

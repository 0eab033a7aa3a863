/* SPDX-License-Identifier: MIT
 * Contract: optim.h. One value at a time, rounded as PyTorch rounds: which products and sums are fused is part of
 * the contract. Written once for float and double (real.h). */
#include "kernels/optim.h"
#include <math.h>

#ifdef HPT__REAL_DOUBLE
#define FMA fma
#else
#define FMA fmaf
#endif

static void sgd(const hpt__update *u, size_t at, size_t n, double lr_, double scale_) {
    real *p = (real *)u->q + at, *m = (real *)u->m + at, lr = (real)-lr_, mom = (real)u->momentum, wd = (real)u->wd,
        scale = (real)scale_;
    const real *g = (const real *)u->g + at;
    for (size_t i = 0; i < n; i++) {
        real d = FMA(wd, p[i], g[i]) * scale;
        real mm = mom * m[i];
        m[i] = mm + d;
        p[i] = FMA(lr, m[i], p[i]);
    }
}

static void nesterov(const hpt__update *u, size_t at, size_t n, double lr_) {
    real *p = (real *)u->q + at, *m = (real *)u->m + at, lr = (real)-lr_, mom = (real)u->momentum, wd = (real)u->wd;
    const real *g = (const real *)u->g + at;
    for (size_t i = 0; i < n; i++) {
        real d = FMA(wd, p[i], g[i]), mm = mom * m[i];
        m[i] = mm + d;
        p[i] = FMA(lr, FMA(mom, m[i], d), p[i]);
    }
}

/* trust*lr of lars_lr */
static real inner_rate(const hpt__update *u, const hpt__vars *s) {
    return (real)((u->trust ? (double)*(const real *)u->trust : 1) * s->lr);
}
static void lars_lr(const hpt__update *u, size_t at, size_t n, const hpt__vars *s) {
    real *p = (real *)u->q + at, *m = (real *)u->m + at;
    real mom = (real)u->momentum, wd = (real)u->wd, rate = inner_rate(u, s);
    const real *g = (const real *)u->g + at;
    for (size_t i = 0; i < n; i++) {
        real d = FMA(wd, p[i], g[i]) * rate;
        real mm = mom * m[i];
        m[i] = mm + d;
        p[i] = p[i] - m[i];
    }
}

static void adamw(const hpt__update *u, size_t at, size_t n, const hpt__vars *s) {
    real *p = (real *)u->q + at, *m = (real *)u->m + at, *v = (real *)u->v + at;
    const real *g = (const real *)u->g + at;
    for (size_t i = 0; i < n; i++) {
        double pi = p[i] * (1 - s->lr * u->wd), mi = u->b1 * m[i] + (1 - u->b1) * g[i],
            vi = u->b2 * v[i] + (1 - u->b2) * (double)g[i] * g[i];
        m[i] = (real)mi;
        v[i] = (real)vi;
        p[i] = (real)(pi - s->lr / s->adam1 * mi / (sqrt(vi) / s->adam2 + u->eps));
    }
}

void REF(update)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v, const hpt__outcome *o) {
    if (o && o->bad) return;
    if (u->rule == HPT__SGD) sgd(u, at, n, v->lr, 1);
    else if (u->rule == HPT__NESTEROV) nesterov(u, at, n, v->lr);
    else if (u->rule == HPT__LARS) sgd(u, at, n, v->lr, *(const real *)u->trust);
    else if (u->rule == HPT__LARS_LR) lars_lr(u, at, n, v);
    else if (u->rule == HPT__ADAMW) adamw(u, at, n, v);
    if (!u->k) return;
    const real *q = (const real *)u->q + at;
    real *k = (real *)u->k + at, *next = (real *)u->k_next + at, a = (real)v->ema, b = (real)(1 - v->ema);
    for (size_t i = 0; i < n; i++) {
        real x = next[i] * a, y = q[i] * b;
        k[i] = next[i];
        next[i] = x + y;
    }
}

int REF(foresee)(const hpt__update *u, size_t at, size_t n, const hpt__vars *s) {
    const real *p = (const real *)u->q + at, *m = (const real *)u->m + at, *v = (const real *)u->v + at,
        *g = (const real *)u->g + at;
    real scale = u->rule == HPT__LARS ? *(const real *)u->trust : u->rule == HPT__LARS_LR ? inner_rate(u, s) : 1;
    real lr = (real)-s->lr, mom = (real)u->momentum, wd = (real)u->wd;
    int bad = 0;
    for (size_t i = 0; i < n && u->rule != HPT__FROZEN; i++) {
        if (u->rule == HPT__ADAMW) {
            double pi = p[i] * (1 - s->lr * u->wd), mi = u->b1 * m[i] + (1 - u->b1) * g[i],
                vi = u->b2 * v[i] + (1 - u->b2) * (double)g[i] * g[i];
            bad |= !isfinite((real)vi) | !isfinite((real)(pi - s->lr / s->adam1 * mi / (sqrt(vi) / s->adam2 + u->eps)));
        } else {
            real d = FMA(wd, p[i], g[i]) * scale, mm = mom * m[i], move = mm + d;
            if (u->rule == HPT__NESTEROV) move = FMA(mom, move, d);
            real next = u->rule == HPT__LARS_LR ? p[i] - move : FMA(lr, move, p[i]);
            bad |= !isfinite(next);                 /* finite only if the momentum is */
        }
    }
    return bad;
}

double REF(trust)(hpt__rule rule, const real *p, const real *g, size_t n, double wd, double eta) {
    double pp = 0, dd = 0, decay = rule == HPT__LARS_LR ? 0 : wd;
    for (size_t i = 0; i < n; i++) {
        double d = g[i] + decay * p[i];
        pp += (double)p[i] * p[i];
        dd += d * d;
    }
    if (rule == HPT__LARS_LR) {
        double sum = sqrt(dd) + wd * sqrt(pp);
        return sum > 0 ? eta * sqrt(pp) / sum : 0;
    }
    return pp > 0 && dd > 0 ? eta * sqrt(pp) / sqrt(dd) : 1;
}

void REF(blend)(real *out, const real *k, const real *q, size_t n, double share_k, double share_q) {
    real a = (real)share_k, b = (real)share_q;
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

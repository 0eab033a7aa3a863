/* SPDX-License-Identifier: MIT
 * Contract: optim.h. Compiled without contraction, so that only the written fma are fused: bit for bit PyTorch's
 * rounding. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <math.h>

/* The arrays of one call, so that the compiler sees that they do not overlap. */
static void sgd(float *restrict p, float *restrict m, const float *restrict g, size_t n, float lr, float mom, float wd,
                float scale) {
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]) * scale;
        float b = mom * m[i];
        b = b + d;
        m[i] = b;
        p[i] = __builtin_fmaf(-lr, b, p[i]);
    }
}
static void nesterov(float *restrict p, float *restrict m, const float *restrict g, size_t n, float lr, float mom,
                     float wd) {
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]);
        float b = mom * m[i];
        b = b + d;
        m[i] = b;
        p[i] = __builtin_fmaf(-lr, __builtin_fmaf(mom, b, d), p[i]);
    }
}
static void lars_lr(float *restrict p, float *restrict m, const float *restrict g, size_t n, float rate, float mom,
                    float wd) {
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]) * rate;
        float b = mom * m[i];
        b = b + d;
        m[i] = b;
        p[i] = p[i] - b;
    }
}
/* trust*lr of lars_lr */
static float inner_rate(const hpt__update *u, const hpt__vars *v) {
    return (float)((u->trust ? (double)*(const float *)u->trust : 1) * v->lr);
}
static void adamw(const hpt__update *u, const hpt__vars *s, float *restrict p, float *restrict m, float *restrict v,
                  const float *restrict g, size_t n) {
    float b1 = (float)u->b1, b2 = (float)u->b2, a1 = (float)(1 - u->b1), a2 = (float)(1 - u->b2);
    float decay = (float)(1 - s->lr * u->wd), eps = (float)u->eps, step = (float)(s->lr / s->adam1),
        c2 = (float)(1 / s->adam2);
    for (size_t i = 0; i < n; i++) {
        float first = b1 * m[i] + a1 * g[i], second = b2 * v[i] + a2 * (g[i] * g[i]);
        m[i] = first;
        v[i] = second;
        p[i] = p[i] * decay - step * (first / (__builtin_sqrtf(second) * c2 + eps));
    }
}
static void follow(float *restrict k, float *restrict next, const float *restrict q, size_t n, float a, float b) {
    for (size_t i = 0; i < n; i++) {
        float x = next[i] * a, y = q[i] * b;
        k[i] = next[i];
        next[i] = x + y;
    }
}

/* Exponent all ones: NaN or Inf. */
static uint32_t not_finite(float x) {
    uint32_t u;
    __builtin_memcpy(&u, &x, 4);
    return (u & 0x7f800000u) == 0x7f800000u;
}
static int sgd_foresee(const float *restrict p, const float *restrict m, const float *restrict g, size_t n, float lr,
                       float mom, float wd, float scale) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]) * scale;
        float b = mom * m[i];
        b = b + d;
        bad |= not_finite(__builtin_fmaf(-lr, b, p[i]));       /* finite only if b is */
    }
    return (int)bad;
}
static int nesterov_foresee(const float *restrict p, const float *restrict m, const float *restrict g, size_t n,
                            float lr, float mom, float wd) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]);
        float b = mom * m[i];
        b = b + d;
        bad |= not_finite(__builtin_fmaf(-lr, __builtin_fmaf(mom, b, d), p[i]));
    }
    return (int)bad;
}
static int lars_lr_foresee(const float *restrict p, const float *restrict m, const float *restrict g, size_t n,
                           float rate, float mom, float wd) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]) * rate;
        float b = mom * m[i];
        b = b + d;
        bad |= not_finite(p[i] - b);
    }
    return (int)bad;
}
static int adamw_foresee(const hpt__update *u, const hpt__vars *s, const float *restrict p, const float *restrict m,
                         const float *restrict v, const float *restrict g, size_t n) {
    float b1 = (float)u->b1, b2 = (float)u->b2, a1 = (float)(1 - u->b1), a2 = (float)(1 - u->b2);
    float decay = (float)(1 - s->lr * u->wd), eps = (float)u->eps, step = (float)(s->lr / s->adam1),
        c2 = (float)(1 / s->adam2);
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        float first = b1 * m[i] + a1 * g[i], second = b2 * v[i] + a2 * (g[i] * g[i]);
        bad |= not_finite(second) | not_finite(p[i] * decay - step * (first / (__builtin_sqrtf(second) * c2 + eps)));
    }
    return (int)bad;
}
int CPU(foresee)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v) {
    const float *q = (const float *)u->q + at, *m = (const float *)u->m + at, *g = (const float *)u->g + at;
    if (u->rule == HPT__FROZEN) return 0;
    if (u->rule == HPT__ADAMW) return adamw_foresee(u, v, q, m, (const float *)u->v + at, g, n);
    if (u->rule == HPT__NESTEROV)
        return nesterov_foresee(q, m, g, n, (float)v->lr, (float)u->momentum, (float)u->wd);
    if (u->rule == HPT__LARS_LR) return lars_lr_foresee(q, m, g, n, inner_rate(u, v), (float)u->momentum, (float)u->wd);
    return sgd_foresee(q, m, g, n, (float)v->lr, (float)u->momentum, (float)u->wd, u->rule == HPT__LARS
                       ? *(const float *)u->trust : 1);
}

/* In blocks that stay in the first-level cache, so that q is still there for the key encoder: one pass over memory. */
void CPU(update)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v) {
    for (size_t end = at + n, step; at < end; at += step) {
        step = end - at < 1024 ? end - at : 1024;
        float *q = (float *)u->q + at, *m = (float *)u->m + at;
        const float *g = (const float *)u->g + at;
        if (u->rule == HPT__SGD) sgd(q, m, g, step, (float)v->lr, (float)u->momentum, (float)u->wd, 1);
        else if (u->rule == HPT__NESTEROV) nesterov(q, m, g, step, (float)v->lr, (float)u->momentum, (float)u->wd);
        else if (u->rule == HPT__LARS)
            sgd(q, m, g, step, (float)v->lr, (float)u->momentum, (float)u->wd, *(const float *)u->trust);
        else if (u->rule == HPT__LARS_LR) lars_lr(q, m, g, step, inner_rate(u, v), (float)u->momentum, (float)u->wd);
        else if (u->rule == HPT__ADAMW) adamw(u, v, q, m, (float *)u->v + at, g, step);
        if (u->k) follow((float *)u->k + at, (float *)u->k_next + at, q, step, (float)v->ema, (float)(1 - v->ema));
    }
}

void CPU(blend)(float *out, const float *k, const float *q, size_t n, double share_k, double share_q) {
    float a = (float)share_k, b = (float)share_q;
    for (size_t i = 0; i < n; i++) {
        float x = k[i] * a, y = q[i] * b;
        out[i] = x + y;
    }
}

int CPU(finite)(const float *x, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) bad |= not_finite(x[i]);
    return !bad;
}

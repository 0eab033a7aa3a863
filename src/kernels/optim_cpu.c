/* SPDX-License-Identifier: MIT
 * Contract: optim.h. Compiled without contraction, so that only the written fma are fused: bit for bit PyTorch's rounding. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <math.h>

void CPU(sgd)(float *p, float *m, const float *g, size_t n, float lr, float mom, float wd);
void CPU(sgd)(float *p, float *m, const float *g, size_t n, float lr, float mom, float wd) {
    lr = -lr;
    for (size_t i = 0; i < n; i++) {
        float d = __builtin_fmaf(wd, p[i], g[i]);
        float b = mom * m[i];
        b = b + d;
        m[i] = b;
        p[i] = __builtin_fmaf(lr, b, p[i]);
    }
}

void CPU(adamw)(float *p, float *m, float *v, const float *g, size_t n, const hpt__adamw *o);
void CPU(adamw)(float *p, float *m, float *v, const float *g, size_t n, const hpt__adamw *o) {
    float b1 = (float)o->b1, b2 = (float)o->b2, a1 = (float)(1 - o->b1), a2 = (float)(1 - o->b2);
    float decay = (float)(1 - o->lr * o->wd), eps = (float)o->eps;
    float step = (float)(o->lr / (1 - pow(o->b1, (double)o->t))), c2 = (float)(1 / sqrt(1 - pow(o->b2, (double)o->t)));
    for (size_t i = 0; i < n; i++) {
        float first = b1 * m[i] + a1 * g[i], second = b2 * v[i] + a2 * (g[i] * g[i]);
        m[i] = first;
        v[i] = second;
        p[i] = p[i] * decay - step * (first / (__builtin_sqrtf(second) * c2 + eps));
    }
}

void CPU(ema)(float *out, const float *k, const float *q, size_t n, double mom);
void CPU(ema)(float *out, const float *k, const float *q, size_t n, double mom) {
    float a = (float)mom, b = (float)(1 - mom);
    for (size_t i = 0; i < n; i++) {
        float x = k[i] * a, y = q[i] * b;
        out[i] = x + y;
    }
}

int CPU(finite)(const float *x, size_t n);
int CPU(finite)(const float *x, size_t n) {
    const uint32_t *u = (const void *)x;    /* exponent all ones: NaN or Inf */
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t e;
        __builtin_memcpy(&e, u + i, 4);
        bad |= (e & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

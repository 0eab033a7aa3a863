/* SPDX-License-Identifier: MIT
 * Contract: act.h, on arrays in float or bfloat16. Whole vectors, then what is left of the last one through a vector
 * of its own, so that nothing beyond the array is touched. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <string.h>

/* what a pass does, beside hpt__act: forward; BACKWARD + hpt__act */
enum { SUM = -1, COPY = -2, BACKWARD = 16 };

/* a: x, or y where the activation's gradient reads that; b: r or dy; c: dy2 (zero: none) */
INLINE vf one(int what, vf a, vf b, vf c) {
    vf zero = {0}, s;
    switch (what) {
    case SUM: return a + b;
    case HPT__ACT_RELU: return vec_where(a < zero, zero, a);
    case HPT__ACT_SILU: return a * vec_sigmoid(a);
    case HPT__ACT_SIGMOID: return vec_sigmoid(a);
    case BACKWARD + HPT__ACT_RELU: return vec_where(a > zero, b + c, zero);
    case BACKWARD + HPT__ACT_SIGMOID: return (b + c) * a * (1.0f - a);
    case BACKWARD + HPT__ACT_SILU: s = vec_sigmoid(a); return (b + c) * s * (1.0f + a * (1.0f - s));
    default: return a;
    }
}
INLINE void load_part(const void *p, size_t at, size_t n, int bf16, void *part) {
    size_t size = bf16 ? 2 : 4;
    memcpy(part, (const char *)p + at * size, n * size);
}
/* unaligned: rows and gradients of a caller */
INLINE vf get(const void *p, size_t at, int bf16) {
    vf v = {0};
    if (!p) return v;
    if (!bf16) return vec_loadu((const float *)p + at);
    vh h;
    memcpy(&h, (const uint16_t *)p + at, sizeof h);
    return vec_widen(h);
}
INLINE void put(void *p, size_t at, vf v, int bf16) {
    if (!bf16) vec_storeu((float *)p + at, v);
    else {
        vh h = vec_narrow(v);
        memcpy((uint16_t *)p + at, &h, sizeof h);
    }
}
INLINE void pass(int what, const hpt__cpu_act *j, size_t lo, size_t hi, int bf16) {
    size_t i = lo;
    for (; i + HPT__VB <= hi; i += HPT__VB)
        put(j->y, i, one(what, get(j->a, i, bf16), get(j->b, i, bf16), get(j->c, i, bf16)), bf16);
    if (i == hi) return;
    float part[4][HPT__VB] = {{0}};
    load_part(j->a, i, hi - i, bf16, part[0]);
    if (j->b) load_part(j->b, i, hi - i, bf16, part[1]);
    if (j->c) load_part(j->c, i, hi - i, bf16, part[2]);
    put(part[3], 0, one(what, get(part[0], 0, bf16), get(part[1], 0, bf16), get(part[2], 0, bf16)), bf16);
    memcpy((char *)j->y + i * (bf16 ? 2 : 4), part[3], (hi - i) * (bf16 ? 2 : 4));
}
/* a straight loop for each */
#define EACH(what) case what: if (j->bf16) pass(what, j, lo, hi, 1); else pass(what, j, lo, hi, 0); break;
static void run(int what, const hpt__cpu_act *j, size_t lo, size_t hi) {
    switch (what) {
    EACH(SUM) EACH(COPY)
    EACH(HPT__ACT_RELU) EACH(HPT__ACT_SILU) EACH(HPT__ACT_SIGMOID)
    EACH(BACKWARD + HPT__ACT_RELU) EACH(BACKWARD + HPT__ACT_SILU) EACH(BACKWARD + HPT__ACT_SIGMOID)
    default: break;
    }
}
void CPU(act)(const hpt__cpu_act *j, size_t lo, size_t hi) { run((int)j->act, j, lo, hi); }
void CPU(act_grad)(const hpt__cpu_act *j, size_t lo, size_t hi) { run(BACKWARD + (int)j->act, j, lo, hi); }
void CPU(sum)(const hpt__cpu_act *j, size_t lo, size_t hi) { run(j->b ? SUM : COPY, j, lo, hi); }

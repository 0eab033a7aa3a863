/* SPDX-License-Identifier: MIT
 * Contract: scale.h, on blocked maps. Parts are channel blocks of images, of which none shares a sum with another, and
 * for drop whole images, whatever the order of their values. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <string.h>

#define FOR_PART(i, n) for (int i = (int)((int64_t)(n) * t / nt); i < (int)((int64_t)(n) * (t + 1) / nt); i++)

INLINE void scale_block(const hpt__cpu_scale *a, int i, int bf16) {
    size_t hw = (size_t)a->g->h * (size_t)a->g->w, at = (size_t)i * hw;
    int lanes;
    size_t of = vec_part(a->g->c, i, &lanes);
    vf s = vec_load_part(a->s + of, lanes);
    for (size_t p = at; p < at + hw; p++) vec_store(a->y, p, vec_load(a->x, p, bf16) * s, bf16);
}
void CPU(scale)(const hpt__cpu_scale *a, int t, int nt) {
    FOR_PART(i, a->g->n * vec_blocks(a->g->c))
        if (a->bf16) scale_block(a, i, 1);
        else scale_block(a, i, 0);
}

INLINE void grad_block(const hpt__cpu_scale *a, int i, int bf16) {
    size_t hw = (size_t)a->g->h * (size_t)a->g->w, at = (size_t)i * hw;
    int lanes;
    size_t of = vec_part(a->g->c, i, &lanes);
    vf s = vec_load_part(a->s + of, lanes);
    double sum[HPT__VB] = {0};
    for (size_t p0 = 0; p0 < hw; p0 += 64) {
        vf part = {0};
        for (size_t p = p0; p < hw && p < p0 + 64; p++) {
            vf d = vec_load(a->dy, at + p, bf16);
            part += d * vec_load(a->x, at + p, bf16);
            vec_store(a->dx, at + p, d * s, bf16);
        }
        for (int l = 0; l < HPT__VB; l++) sum[l] += part[l];
    }
    for (int l = 0; l < lanes; l++) a->ds[of + (size_t)l] = (float)sum[l];
}
void CPU(scale_grad)(const hpt__cpu_scale *a, int t, int nt) {
    FOR_PART(i, a->g->n * vec_blocks(a->g->c))
        if (a->bf16) grad_block(a, i, 1);
        else grad_block(a, i, 0);
}

/* value i of an array that need not be aligned, for a whole vector or the first n of one */
INLINE vf get(const void *p, size_t i, size_t n, int bf16) {
    float f[HPT__VB] = {0};
    uint16_t h[HPT__VB] = {0};
    if (!p) return (vf){0};
    if (!bf16) {
        memcpy(f, (const float *)p + i, n * 4);
        return vec_loadu(f);
    }
    memcpy(h, (const uint16_t *)p + i, n * 2);
    vh v;
    memcpy(&v, h, sizeof v);
    return vec_widen(v);
}
INLINE void put(void *p, size_t i, vf v, size_t n, int bf16) {
    if (!bf16) {
        float f[HPT__VB];
        vec_storeu(f, v);
        memcpy((float *)p + i, f, n * 4);
        return;
    }
    vh h = vec_narrow(v);
    memcpy((uint16_t *)p + i, &h, n * 2);
}
INLINE void drop_image(const hpt__cpu_scale *a, int n, int bf16) {
    size_t i = (size_t)n * a->each, end = i + a->each;
    vf f = vec_set(a->s[n]);
    for (; i + HPT__VB <= end; i += HPT__VB)
        put(a->y, i, get(a->x, i, HPT__VB, bf16) * f + get(a->r, i, HPT__VB, bf16), HPT__VB, bf16);
    if (i < end) put(a->y, i, get(a->x, i, end - i, bf16) * f + get(a->r, i, end - i, bf16), end - i, bf16);
}
void CPU(drop)(const hpt__cpu_scale *a, int t, int nt) {
    FOR_PART(n, a->g->n)
        if (a->bf16) drop_image(a, n, 1);
        else drop_image(a, n, 0);
}

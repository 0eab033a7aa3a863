/* SPDX-License-Identifier: MIT
 * Contract: pool.h, on blocked maps: the channels of a block lie side by side, so a window is a loop over vectors.
 * Each function does the part t of nt. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <string.h>

#define PARTS(a) (a->g->n * (a->g->c / HPT__VB))
#define FOR_PART(a, i) \
    for (int i = (int)((int64_t)PARTS(a) * t / nt); i < (int)((int64_t)PARTS(a) * (t + 1) / nt); i++)

INLINE void max_part(const hpt__cpu_pool *a, int i, int bf16) {
    const hpt__geometry *g = a->g;
    for (int p = 0; p < g->p; p++)
        for (int q = 0; q < g->q; q++) {
            vf best = {0};
            vi where = {0};
            int found = 0;
            for (int r = 0; r < g->r; r++)
                for (int s = 0; s < g->s; s++) {
                    int h = p * g->stride + r - g->pad_h, w = q * g->stride + s - g->pad_w;
                    if (h < 0 || h >= g->h || w < 0 || w >= g->w) continue;
                    vf v = vec_load(a->x, ((size_t)i * g->h + h) * g->w + w, bf16);
                    vi take = (vi){0} - 1, index = (vi){0} + (r * g->s + s);
                    if (found) take = (vi)(v > best) | (vi)(v != v);
                    best = vec_where(take, v, best);
                    where = (index & take) | (where & ~take);
                    found = 1;
                }
            size_t o = ((size_t)i * g->p + p) * g->q + q;
            vec_store(a->y, o, best, bf16);
            if (a->where)
                for (int l = 0; l < HPT__VB; l++) a->where[o * HPT__VB + l] = (uint8_t)where[l];
        }
}
void CPU(maxpool)(const hpt__cpu_pool *a, int t, int nt) {
    FOR_PART(a, i)
        if (a->bf16) max_part(a, i, 1);
        else max_part(a, i, 0);
}

INLINE void max_grad_part(const hpt__cpu_pool *a, int i, int bf16) {
    const hpt__geometry *g = a->g;
    vf zero = {0};
    for (int p = 0; p < g->h * g->w; p++) vec_store(a->dx, (size_t)i * g->h * g->w + p, zero, bf16);
    for (int p = 0; p < g->p; p++)
        for (int q = 0; q < g->q; q++) {
            size_t o = ((size_t)i * g->p + p) * g->q + q;
            vf d = vec_load(a->dy, o, bf16);
            vi index;
            if (g->extra_grad) d += vec_load(a->dy2, o, bf16);
            for (int l = 0; l < HPT__VB; l++) index[l] = a->where[o * HPT__VB + l];
            for (int r = 0; r < g->r; r++)
                for (int s = 0; s < g->s; s++) {
                    int h = p * g->stride + r - g->pad_h, w = q * g->stride + s - g->pad_w;
                    if (h < 0 || h >= g->h || w < 0 || w >= g->w) continue;
                    size_t to = ((size_t)i * g->h + h) * g->w + w;
                    vf add = vec_where(index == r * g->s + s, d, zero);
                    vec_store(a->dx, to, vec_load(a->dx, to, bf16) + add, bf16);
                }
        }
}
void CPU(maxpool_grad)(const hpt__cpu_pool *a, int t, int nt) {
    FOR_PART(a, i)
        if (a->bf16) max_grad_part(a, i, 1);
        else max_grad_part(a, i, 0);
}

void CPU(average)(const hpt__cpu_pool *a, int t, int nt) {
    int hw = a->g->h * a->g->w;
    FOR_PART(a, i) {
        vf s = {0};
        for (int p = 0; p < hw; p++) s += vec_load(a->x, (size_t)i * hw + p, a->bf16);
        vec_storeu((float *)a->y + (size_t)i * HPT__VB, s * (1.0f / (float)hw));
    }
}
void CPU(average_grad)(const hpt__cpu_pool *a, int t, int nt) {
    int hw = a->g->h * a->g->w;
    FOR_PART(a, i) {
        vf d = vec_loadu((const float *)a->dy + (size_t)i * HPT__VB) * (1.0f / (float)hw);
        for (int p = 0; p < hw; p++) vec_store(a->dx, (size_t)i * hw + p, d, a->bf16);
    }
}

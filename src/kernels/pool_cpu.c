/* SPDX-License-Identifier: MIT
 * Contract: pool.h, on blocked maps: the channels of a block lie side by side, so a window is a loop over vectors.
 * Each function does the part t of nt. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <string.h>

#define PARTS(a) (a->g->n * vec_blocks(a->g->c))
#define FOR_PART(a, i) \
    for (int i = (int)((int64_t)PARTS(a) * t / nt); i < (int)((int64_t)PARTS(a) * (t + 1) / nt); i++)

/* where of pixel o of part i, of which so many lanes have channels: in the order of a map, but without the others */
INLINE uint8_t *where_at(const hpt__cpu_pool *a, int i, size_t o, int lanes) {
    const hpt__geometry *g = a->g;
    int all;
    return a->where + vec_part(g->c, i, &all) * (size_t)g->p * (size_t)g->q + o * (size_t)lanes;
}
INLINE void max_part(const hpt__cpu_pool *a, int i, int bf16) {
    const hpt__geometry *g = a->g;
    int lanes = vec_lanes(g->c, i % vec_blocks(g->c));
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
            uint8_t *to = a->where ? where_at(a, i, (size_t)(p * g->q + q), lanes) : NULL;
            for (int l = 0; to && l < lanes; l++) to[l] = (uint8_t)where[l];
        }
}
void CPU(maxpool)(const hpt__cpu_pool *a, int t, int nt) {
    FOR_PART(a, i)
        if (a->bf16) max_part(a, i, 1);
        else max_part(a, i, 0);
}

INLINE void max_grad_part(const hpt__cpu_pool *a, int i, int bf16) {
    const hpt__geometry *g = a->g;
    int lanes = vec_lanes(g->c, i % vec_blocks(g->c));
    vf zero = {0};
    for (int p = 0; p < g->h * g->w; p++) vec_store(a->dx, (size_t)i * g->h * g->w + p, zero, bf16);
    for (int p = 0; p < g->p; p++)
        for (int q = 0; q < g->q; q++) {
            size_t o = ((size_t)i * g->p + p) * g->q + q;
            vf d = vec_load(a->dy, o, bf16);
            vi index = {0};
            const uint8_t *where = where_at(a, i, (size_t)(p * g->q + q), lanes);
            if (g->extra_grad) d += vec_load(a->dy2, o, bf16);
            for (int l = 0; l < lanes; l++) index[l] = where[l];
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

/* Of large maps, stripes first: a sum of many floats loses digits. */
INLINE void average_part(const hpt__cpu_pool *a, int i, int bf16) {
    int hw = a->g->h * a->g->w, stripe = hw > 1024 ? 128 : hw, lanes;
    size_t to = vec_part(a->g->c, i, &lanes);
    vf all = {0};
    for (int p0 = 0; p0 < hw; p0 += stripe) {
        vf s = {0};
        for (int p = p0; p < hw && p < p0 + stripe; p++) s += vec_load(a->x, (size_t)i * (size_t)hw + (size_t)p, bf16);
        all += s;
    }
    vec_store_part((float *)a->y + to, all * (1.0f / (float)hw), lanes);
}
void CPU(average)(const hpt__cpu_pool *a, int t, int nt) {
    FOR_PART(a, i)
        if (a->bf16) average_part(a, i, 1);
        else average_part(a, i, 0);
}
INLINE void average_grad_part(const hpt__cpu_pool *a, int i, int bf16) {
    int hw = a->g->h * a->g->w, lanes;
    size_t from = vec_part(a->g->c, i, &lanes);
    vf d = vec_load_part((const float *)a->dy + from, lanes) * (1.0f / (float)hw);
    for (int p = 0; p < hw; p++) vec_store(a->dx, (size_t)i * (size_t)hw + (size_t)p, d, bf16);
}
void CPU(average_grad)(const hpt__cpu_pool *a, int t, int nt) {
    FOR_PART(a, i)
        if (a->bf16) average_grad_part(a, i, 1);
        else average_grad_part(a, i, 0);
}

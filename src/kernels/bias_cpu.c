/* SPDX-License-Identifier: MIT
 * Contract: bias.h, on blocked maps. Parts are channel blocks of images, and for the gradient channel blocks: what
 * each sums does not depend on the number of threads. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"

INLINE void add_bias(const hpt__cpu_bias *a, int i, int bf16) {
    size_t hw = (size_t)a->g->h * (size_t)a->g->w, at = (size_t)i * hw;
    int block = i % vec_blocks(a->g->c);
    vf b = vec_load_part(a->b + block * HPT__VB, vec_lanes(a->g->c, block));
    for (size_t p = 0; p < hw; p++) vec_store(a->y, at + p, vec_load(a->x, at + p, bf16) + b, bf16);
}
void CPU(bias)(const hpt__cpu_bias *a, int t, int nt) {
    int n = a->g->n * vec_blocks(a->g->c);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++)
        if (a->bf16) add_bias(a, i, 1);
        else add_bias(a, i, 0);
}

INLINE void sum_block(const hpt__cpu_bias *a, int cb, int bf16) {
    int blocks = vec_blocks(a->g->c);
    size_t hw = (size_t)a->g->h * (size_t)a->g->w;
    double sum[HPT__VB] = {0};
    for (int n = 0; n < a->g->n; n++) {
        size_t at = ((size_t)n * (size_t)blocks + (size_t)cb) * hw;
        for (size_t p0 = 0; p0 < hw; p0 += 64) {
            vf part = {0};
            for (size_t p = p0; p < hw && p < p0 + 64; p++) part += vec_load(a->x, at + p, bf16);
            for (int l = 0; l < HPT__VB; l++) sum[l] += part[l];
        }
    }
    for (int l = 0; l < vec_lanes(a->g->c, cb); l++) a->db[cb * HPT__VB + l] = (float)sum[l];
}
void CPU(bias_grad)(const hpt__cpu_bias *a, int t, int nt) {
    int n = vec_blocks(a->g->c);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++)
        if (a->bf16) sum_block(a, i, 1);
        else sum_block(a, i, 0);
}

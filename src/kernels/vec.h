/* SPDX-License-Identifier: MIT
 * One vector of HPT__VB floats for the _cpu.c files, which are compiled once for each instruction set (HPT__ISA =
 * base, avx2, avx512) with gcc/clang vector extensions. CPU(name) adds the suffix. bfloat16 values are widened on
 * load and rounded to nearest even on store. */
#ifndef HPT__VEC_H
#define HPT__VEC_H
#include <stddef.h>
#include <stdint.h>
#ifdef __AVX512F__
#include <immintrin.h>
#define HPT__VB 16
#else
#define HPT__VB 8
#endif
#define HPT__PASTE(a, b) a##_##b
#define HPT__PASTE2(a, b) HPT__PASTE(a, b)
#define CPU(name) HPT__PASTE2(hpt__cpu_##name, HPT__ISA)

typedef float vf __attribute__((vector_size(HPT__VB * 4), may_alias));
typedef int32_t vi __attribute__((vector_size(HPT__VB * 4), may_alias));
typedef uint32_t vu __attribute__((vector_size(HPT__VB * 4), may_alias));
typedef uint16_t vh __attribute__((vector_size(HPT__VB * 2), may_alias));
#define INLINE static inline __attribute__((always_inline, unused))

/* from and to bfloat16 */
INLINE vf vec_widen(vh h) {
#ifdef __AVX512F__      /* two instructions; of a conversion gcc makes seven */
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}
INLINE vh vec_narrow(vf x) {
    vu u = (vu)x, nan = (vu)(x != x);
    u = (u + 0x7fff + ((u >> 16) & 1)) & ~nan;
    u |= nan & 0x7fc00000;
    return __builtin_convertvector(u >> 16, vh);
}
/* i-th vector of a map in float or bfloat16 */
INLINE vf vec_load(const void *p, size_t i, int bf16) {
    return bf16 ? vec_widen(((const vh *)p)[i]) : ((const vf *)p)[i];
}
INLINE void vec_store(void *p, size_t i, vf x, int bf16) {
    if (bf16) ((vh *)p)[i] = vec_narrow(x);
    else ((vf *)p)[i] = x;
}
INLINE vf vec_set(float x) { return (vf){0} + x; }
INLINE vf vec_loadu(const float *p) {
    vf v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vec_storeu(float *p, vf v) { __builtin_memcpy(p, &v, sizeof v); }

/* Maps: channels in blocks of HPT__VB; the lanes of the last block that have no channel are 0 and stay so. What has a
 * value for each channel is an array of c: its part for a block, 0 in lanes without a channel. */
INLINE int vec_blocks(int c) { return (c + HPT__VB - 1) / HPT__VB; }
INLINE int vec_lanes(int c, int block) { return c - block * HPT__VB < HPT__VB ? c - block * HPT__VB : HPT__VB; }
/* where the part (n, block) number i of a map has its channels in an array (N,C), and how many they are */
INLINE size_t vec_part(int c, int i, int *lanes) {
    int blocks = vec_blocks(c), block = i % blocks;
    *lanes = vec_lanes(c, block);
    return (size_t)(i / blocks) * (size_t)c + (size_t)block * HPT__VB;
}
INLINE vf vec_load_part(const float *p, int lanes) {
    vf v = {0};
    if (lanes == HPT__VB) return vec_loadu(p);
    for (int l = 0; l < lanes; l++) v[l] = p[l];
    return v;
}
INLINE void vec_store_part(float *p, vf v, int lanes) {
    if (lanes == HPT__VB) vec_storeu(p, v);
    else for (int l = 0; l < lanes; l++) p[l] = v[l];
}
INLINE vf vec_where(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vf vec_max(vf a, vf b) { return vec_where(a > b, a, b); }

/* e^x for x <= about 88; below -87 the result is about 1e-38; NaN stays NaN. Within 2 ulp (Cephes polynomial). */
INLINE vf vec_exp(vf x0) {
    vf x = vec_where(x0 < -87.0f, vec_set(-87.0f), x0);
    vf t = x * 1.44269504088896341f;
    vf magic = vec_set(12582912.0f);                    /* 1.5 * 2^23: rounds to an integer */
    vf n = (t + magic) - magic;
    vf r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = vec_set(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    vi e = (__builtin_convertvector(vec_where(x0 == x0, n, vec_set(0)), vi) + 127) << 23;
    return vec_where(x0 == x0, p * (vf)e, x0);
}
/* 1 / (1 + e^-x), 0 below -87 */
INLINE vf vec_sigmoid(vf x) {
    vf least = vec_set(-87.0f), zero = {0};
#ifdef __AVX512F__      /* the same by this set's instructions; NaN stays: max takes the second */
    vf to = (vf)_mm512_max_ps((__m512)least, (__m512)x), e, y;
    vf n = (vf)_mm512_roundscale_ps((__m512)(to * -1.44269504088896341f), 0);
    vf r = -to - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = vec_set(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    e = 1.0f + (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
    y = (vf)_mm512_rcp14_ps((__m512)e);
    return vec_where(x < least, zero, y + y * (1.0f - e * y));
#endif
    vf s = 1.0f / (1.0f + vec_exp(-vec_where(x < least, least, x)));
    return vec_where(x < least, zero, s);
}
#endif

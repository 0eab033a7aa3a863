/* SPDX-License-Identifier: MIT
 * Pillow's arithmetic on one pixel and one tap of its resizing, once for the CPU and the GPU: compiled without
 * contraction of products and sums, both give the same bits. */
#ifndef HPT__PIXEL_H
#define HPT__PIXEL_H
#include <stdint.h>
#ifdef __CUDACC__
#define PIXEL static __device__ __forceinline__
#else
#define PIXEL static inline
#endif

/* Filters of resizing: triangle, and cubic convolution with a = -0.5 (Keys 1981). Support: input pixels at scale 1. */
typedef enum hpt__filter { HPT__BILINEAR, HPT__BICUBIC } hpt__filter;
enum { HPT__FILTER_BITS = 22 };         /* coefficients are fixed-point with so many bits behind the point */
#define HPT__FILTER_SUPPORT(filter) ((filter) == HPT__BICUBIC ? 2 : 1)
PIXEL double hpt__filter_weight(int filter, double x) {
    if (x < 0) x = -x;
    if (filter != HPT__BICUBIC) return x < 1 ? 1 - x : 0;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}
PIXEL int32_t hpt__filter_fixed(double k) { return (int32_t)((k < 0 ? -0.5 : 0.5) + k * (1 << HPT__FILTER_BITS)); }

PIXEL uint8_t hpt__solar(uint8_t v) { return (uint8_t)(v < 128 ? v : 255 - v); }
PIXEL int hpt__luma(const uint8_t *p) { return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16; }
/* d + f*(s-d) in float; truncated, clipped when f is outside 0..1 */
PIXEL uint8_t hpt__blend(int d, int s, float f) {
    float t = (float)d + f * (float)(s - d);
    return (uint8_t)(t <= 0 ? 0 : t >= 255 ? 255 : t);
}
/* Through 8-bit HSV and back, as Pillow's convert("HSV") does; float and double mix where its source does. add:
 * shift of the 8-bit hue */
PIXEL void hpt__hue_pixel(uint8_t *p, int add) {
    int r = p[0], g = p[1], b = p[2], max = r > g ? r : g, min = r < g ? r : g;
    if (b > max) max = b;
    if (b < min) min = b;
    if (max == min) return;                 /* gray: saturation 0, hue has no effect */
    float cr = (float)(max - min), s = cr / (float)max, rc = (float)(max - r) / cr, gc = (float)(max - g) / cr,
        bc = (float)(max - b) / cr, h;
    if (r == max) h = bc - gc;
    else if (g == max) h = (float)(2.0 + (double)rc - (double)bc);
    else h = (float)(4.0 + (double)gc - (double)rc);
    double turn = (double)h / 6.0 + 1.0;    /* 5/6 .. 11/6: fmod(turn, 1) */
    h = (float)(turn >= 1.0 ? turn - 1.0 : turn);
    int uh = (int)((double)h * 255.0), us = (int)((double)s * 255.0);
    uh = (uint8_t)((uh > 255 ? 255 : uh) + add);
    if (us > 255) us = 255;
    if (!us) {
        p[0] = p[1] = p[2] = (uint8_t)max;
        return;
    }
    float fh = (float)(uh * 6.0 / 255.0);
    int i = (int)fh;
    float f = fh - (float)i, fs = (float)(us / 255.0);
    int pp = (int)(max * (1.0 - (double)fs) + 0.5), q = (int)(max * (1.0 - (double)(fs * f)) + 0.5),
        t = (int)(max * (1.0 - (double)fs * (1.0 - (double)f)) + 0.5), v[3];
    switch (i % 6) {
    case 0: v[0] = max; v[1] = t; v[2] = pp; break;
    case 1: v[0] = q; v[1] = max; v[2] = pp; break;
    case 2: v[0] = pp; v[1] = max; v[2] = t; break;
    case 3: v[0] = pp; v[1] = q; v[2] = max; break;
    case 4: v[0] = t; v[1] = pp; v[2] = max; break;
    default: v[0] = max; v[1] = pp; v[2] = q;
    }
    for (int c = 0; c < 3; c++) p[c] = (uint8_t)(v[c] > 255 ? 255 : v[c]);
}
#undef PIXEL
#endif

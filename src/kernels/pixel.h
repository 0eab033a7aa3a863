/* SPDX-License-Identifier: MIT
 * Pillow's arithmetic on one pixel, once for the CPU and the GPU: compiled without contraction of products and sums, both give the same bits. */
#ifndef HPT__PIXEL_H
#define HPT__PIXEL_H
#include <stdint.h>
#ifdef __CUDACC__
#define PIXEL static __device__ __forceinline__
#else
#define PIXEL static inline
#endif

PIXEL int hpt__luma(const uint8_t *p) { return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16; }
/* d + f*(s-d) in float; truncated, clipped when f is outside 0..1 */
PIXEL uint8_t hpt__blend(int d, int s, float f) {
    float t = (float)d + f * (float)(s - d);
    return (uint8_t)(t <= 0 ? 0 : t >= 255 ? 255 : t);
}
/* Through 8-bit HSV and back, as Pillow's convert("HSV") does; float and double mix where its source does. add: shift of the 8-bit hue */
PIXEL void hpt__hue_pixel(uint8_t *p, int add) {
    int r = p[0], g = p[1], b = p[2], max = r > g ? r : g, min = r < g ? r : g;
    if (b > max) max = b;
    if (b < min) min = b;
    if (max == min) return;                 /* gray: saturation 0, hue has no effect */
    float cr = (float)(max - min), s = cr / (float)max, rc = (float)(max - r) / cr, gc = (float)(max - g) / cr, bc = (float)(max - b) / cr, h;
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
    int pp = (int)(max * (1.0 - (double)fs) + 0.5), q = (int)(max * (1.0 - (double)(fs * f)) + 0.5), t = (int)(max * (1.0 - (double)fs * (1.0 - (double)f)) + 0.5), v[3];
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

/* SPDX-License-Identifier: MIT
 * Contract: transform.h. Semantics: Pillow (ImagingResample, ImageEnhance, convert, BoxBlur), as torchvision's PIL
 * path uses them, bit for bit: fixed-point weights, rounding and the order of passes are Pillow's. */
#include "data/transform.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

void *hpt__work_get(hpt__work *w, int slot, size_t bytes) {
    if (w->cap[slot] < bytes) {
        hpt__free(w->p[slot]);
        w->p[slot] = hpt__alloc_aligned(bytes + bytes / 4);
        w->cap[slot] = w->p[slot] ? bytes + bytes / 4 : 0;
    }
    return w->p[slot];
}
void hpt__work_fini(hpt__work *w) {
    for (int i = 0; i < 8; i++) hpt__free(w->p[i]);
    memset(w, 0, sizeof *w);
}

/* ---- resize: 22-bit fixed-point coefficients, horizontal pass first, 8-bit in between ---- */

enum { BITS = HPT__FILTER_BITS };
static inline uint8_t clip8(int32_t v) {
    v >>= BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* For output positions from0..from0+n-1 of out: first input position, number of taps, coefficients (k[i*size]). */
typedef struct taps { int size, *first, *count; int32_t *k; } taps;
static int make_taps(hpt__work *wk, int slot, int in, int out, hpt__filter filter, int from0, int n, taps *t) {
    double scale = (double)in / out, fscale = scale < 1 ? 1 : scale, support = HPT__FILTER_SUPPORT(filter) * fscale;
    t->size = (int)ceil(support) * 2 + 1;
    char *mem = hpt__work_get(wk, slot, (size_t)t->size * sizeof(double) +
                              (size_t)n * (2 * sizeof(int) + (size_t)t->size * sizeof(int32_t)));
    if (!mem) return 0;
    double *w = (double *)mem;
    t->k = (int32_t *)(w + t->size);
    t->first = (int *)(t->k + (size_t)n * (size_t)t->size);
    t->count = t->first + n;
    for (int i = 0; i < n; i++) {
        double center = (from0 + i + 0.5) * scale, sum = 0, inv = 1 / fscale;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > in) hi = in;
        for (int j = 0; j < hi - lo; j++) {
            w[j] = hpt__filter_weight(filter, (j + lo - center + 0.5) * inv);
            sum += w[j];
        }
        for (int j = 0; j < hi - lo; j++)
            t->k[(size_t)i * (size_t)t->size + (size_t)j] = hpt__filter_fixed(sum != 0 ? w[j] / sum : w[j]);
        t->first[i] = lo;
        t->count[i] = hi - lo;
    }
    return 1;
}

hpt_status hpt__resize(hpt__work *wk, const uint8_t *img, int w, int h, int x, int y, int bw, int bh,
                       hpt__filter filter, uint8_t *out, int ow, int oh) {
    (void)h;
    return hpt__resize_part(wk, img, w, x, y, bw, bh, ow, oh, filter, 0, 0, ow, oh, out);
}

hpt_status hpt__resize_part(hpt__work *wk, const uint8_t *img, int w, int x, int y, int bw, int bh, int rw, int rh,
                            hpt__filter filter, int px, int py, int ow, int oh, uint8_t *out) {
    taps tx, ty;
    const uint8_t *src = img + ((size_t)y * (size_t)w + (size_t)x) * 3;
    size_t pitch = (size_t)w * 3;
    int x_pass = bw != rw, y_pass = bh != rh, row0 = py, rows = oh;
    if (x_pass && !make_taps(wk, 0, bw, rw, filter, px, ow, &tx)) return hpt__fail_memory(0);
    if (y_pass) {
        if (!make_taps(wk, 1, bh, rh, filter, py, oh, &ty)) return hpt__fail_memory(0);
        row0 = ty.first[0];
        rows = ty.first[oh - 1] + ty.count[oh - 1] - row0;
    }
    src += (size_t)row0 * pitch;
    if (x_pass) {
        uint8_t *mid = y_pass ? hpt__work_get(wk, 2, (size_t)rows * (size_t)ow * 3) : out;
        if (!mid) return hpt__fail_memory((size_t)rows * (size_t)ow * 3);
        for (int r = 0; r < rows; r++) {
            const uint8_t *line = src + (size_t)r * pitch;
            uint8_t *to = mid + (size_t)r * (size_t)ow * 3;
            for (int i = 0; i < ow; i++) {
                const int32_t *k = tx.k + (size_t)i * (size_t)tx.size;
                const uint8_t *p = line + 3 * (size_t)tx.first[i];
                int32_t a = 1 << (BITS - 1), b = a, c = a;
                for (int j = 0; j < tx.count[i]; j++, p += 3) {
                    a += p[0] * k[j];
                    b += p[1] * k[j];
                    c += p[2] * k[j];
                }
                to[3 * i] = clip8(a);
                to[3 * i + 1] = clip8(b);
                to[3 * i + 2] = clip8(c);
            }
        }
        src = mid;
        pitch = (size_t)ow * 3;
    } else src += (size_t)px * 3;
    if (y_pass) {
        int32_t *acc = hpt__work_get(wk, 3, (size_t)ow * 3 * sizeof *acc);
        if (!acc) return hpt__fail_memory((size_t)ow * 12);
        for (int i = 0; i < oh; i++) {
            const int32_t *k = ty.k + (size_t)i * (size_t)ty.size;
            for (int c = 0; c < ow * 3; c++) acc[c] = 1 << (BITS - 1);
            for (int j = 0; j < ty.count[i]; j++) {
                const uint8_t *p = src + (size_t)(ty.first[i] - row0 + j) * pitch;
                int32_t f = k[j];
                for (int c = 0; c < ow * 3; c++) acc[c] += p[c] * f;
            }
            uint8_t *to = out + (size_t)i * (size_t)ow * 3;
            for (int c = 0; c < ow * 3; c++) to[c] = clip8(acc[c]);
        }
    } else if (!x_pass)
        for (int r = 0; r < rows; r++)
            memcpy(out + (size_t)r * (size_t)ow * 3, src + (size_t)r * pitch, (size_t)ow * 3);
    return HPT_OK;
}

/* ---- colour ---- */

static void apply_lut(uint8_t *img, size_t n, const uint8_t lut[256]) {
    for (size_t i = 0; i < n; i++) img[i] = lut[img[i]];
}
void hpt__brightness(uint8_t *img, size_t pixels, float f) {
    uint8_t lut[256];
    for (int v = 0; v < 256; v++) lut[v] = hpt__blend(0, v, f);
    apply_lut(img, pixels * 3, lut);
}
void hpt__contrast(uint8_t *img, size_t pixels, float f) {
    uint64_t sum = 0;
    uint8_t lut[256];
    for (size_t i = 0; i < pixels; i++) sum += (uint64_t)hpt__luma(img + 3 * i);
    int mean = (int)((double)sum / (double)pixels + 0.5);
    for (int v = 0; v < 256; v++) lut[v] = hpt__blend(mean, v, f);
    apply_lut(img, pixels * 3, lut);
}
void hpt__saturation(uint8_t *img, size_t pixels, float f) {
    for (size_t i = 0; i < pixels; i++) {
        uint8_t *p = img + 3 * i;
        int l = hpt__luma(p);
        p[0] = hpt__blend(l, p[0], f);
        p[1] = hpt__blend(l, p[1], f);
        p[2] = hpt__blend(l, p[2], f);
    }
}
void hpt__grayscale(uint8_t *img, size_t pixels) {
    for (size_t i = 0; i < pixels; i++) img[3 * i] = img[3 * i + 1] = img[3 * i + 2] = (uint8_t)hpt__luma(img + 3 * i);
}

void hpt__solarize(uint8_t *img, size_t pixels) {
    for (size_t i = 0; i < pixels * 3; i++) img[i] = hpt__solar(img[i]);
}

void hpt__hue(uint8_t *img, size_t pixels, double shift) {
    int add = (int)(shift * 255);
    for (size_t i = 0; i < pixels; i++) hpt__hue_pixel(img + 3 * i, add);
}

/* ---- blur: three extended box blurs in each direction, 24-bit fixed point ---- */

float hpt__box_radius(float sigma) {
    float s2 = sigma * sigma / 3.0f, L = (float)sqrt(12.0 * s2 + 1.0), l = (float)floor((L - 1.0) / 2.0);
    float a = (2 * l + 1) * (l * (l + 1) - 3 * s2);
    a /= 6 * (s2 - (l + 1) * (l + 1));
    return l + a;
}

/* One pass down the columns of in (h rows of n bytes): a running sum for each column. */
static void box_down(const uint8_t *in, uint8_t *out, int n, int h, float radius, uint32_t *acc) {
    int r = (int)radius;
    uint32_t ww = (uint32_t)((float)(1 << 24) / (radius * 2 + 1)), fw = ((1u << 24) - (uint32_t)(r * 2 + 1) * ww) / 2;
#define ROW(i) (in + (size_t)((i) < 0 ? 0 : (i) >= h ? h - 1 : (i)) * (size_t)n)
    memset(acc, 0, (size_t)n * sizeof *acc);
    for (int i = -r; i <= r; i++) {
        const uint8_t *p = ROW(i);
        for (int c = 0; c < n; c++) acc[c] += p[c];
    }
    for (int y = 0; y < h; y++) {
        const uint8_t *before = ROW(y - r - 1), *after = ROW(y + r + 1), *drop = ROW(y - r);
        uint8_t *to = out + (size_t)y * (size_t)n;
        for (int c = 0; c < n; c++) {
            to[c] = (uint8_t)((acc[c] * ww + (uint32_t)(before[c] + after[c]) * fw + (1u << 23)) >> 24);
            acc[c] += (uint32_t)after[c] - drop[c];
        }
    }
#undef ROW
}
static void transpose(const uint8_t *in, uint8_t *out, int w, int h) {
    for (int y0 = 0; y0 < h; y0 += 16)
        for (int x = 0; x < w; x++)
            for (int y = y0; y < h && y < y0 + 16; y++)
                memcpy(out + ((size_t)x * (size_t)h + (size_t)y) * 3, in + ((size_t)y * (size_t)w + (size_t)x) * 3, 3);
}

hpt_status hpt__gaussian_blur(hpt__work *wk, uint8_t *img, int w, int h, float sigma) {
    size_t bytes = (size_t)w * (size_t)h * 3;
    uint8_t *a = hpt__work_get(wk, 2, bytes), *b = hpt__work_get(wk, 4, bytes);
    uint32_t *acc = hpt__work_get(wk, 3, sizeof *acc * 3 * (size_t)(w > h ? w : h));
    if (!a || !b || !acc) return hpt__fail_memory(bytes);
    float radius = hpt__box_radius(sigma);
    transpose(img, a, w, h);                    /* horizontal passes on the transposed image */
    box_down(a, b, h * 3, w, radius, acc);
    box_down(b, a, h * 3, w, radius, acc);
    box_down(a, b, h * 3, w, radius, acc);
    transpose(b, a, h, w);
    box_down(a, b, w * 3, h, radius, acc);
    box_down(b, a, w * 3, h, radius, acc);
    box_down(a, img, w * 3, h, radius, acc);
    return HPT_OK;
}

void hpt__flip(uint8_t *img, int w, int h) {
    for (int y = 0; y < h; y++) {
        uint8_t *row = img + (size_t)y * (size_t)w * 3;
        for (int x = 0; x < w / 2; x++)
            for (int c = 0; c < 3; c++) {
                uint8_t t = row[3 * x + c];
                row[3 * x + c] = row[3 * (w - 1 - x) + c];
                row[3 * (w - 1 - x) + c] = t;
            }
    }
}

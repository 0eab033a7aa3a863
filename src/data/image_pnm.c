/* SPDX-License-Identifier: MIT
 * PNM: P1 to P6, ASCII and binary, any maximum from 1 to 65535, comments; and PAM (P7) of gray or RGB with and without
 * alpha. Levels are scaled as Pillow does: round(value / maximum * 255). (Pillow shows gray of a maximum over 255
 * clipped at 255, so nearly white; here it is scaled too.) */
#include "data/image.h"
#include <math.h>
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, "PNM: " __VA_ARGS__)
typedef struct pnm { uint64_t w, h, depth, max; int ascii, bits, inverted; size_t pixels; } pnm;

static int space(int c) { return c == ' ' || (c >= 9 && c <= 13); }
/* White space and comments. */
static size_t skip(const uint8_t *d, size_t n, size_t at) {
    while (at < n && (space(d[at]) || d[at] == '#'))
        if (d[at] == '#') while (at < n && d[at] != '\n' && d[at] != '\r') at++;
        else at++;
    return at;
}
static int number(const uint8_t *d, size_t n, size_t *at, uint64_t *v) {
    size_t start = *at = skip(d, n, *at);
    for (*v = 0; *at < n && d[*at] >= '0' && d[*at] <= '9'; ++*at) {
        if (*at - start >= 10) return 0;
        *v = *v * 10 + (uint64_t)(d[*at] - '0');
    }
    return *at > start;
}

/* "P7", then lines of a word and a number in any order, to ENDHDR. */
static hpt_status pam_header(const uint8_t *d, size_t n, pnm *p) {
    static const char *const words[] = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"};
    uint64_t *const values[] = {&p->w, &p->h, &p->depth, &p->max};
    for (size_t at = 2;;) {
        size_t start = at = skip(d, n, at), known = 4;
        while (at < n && !space(d[at])) at++;
        if (at == n) return BAD("cut in the header");
        if (at - start == 6 && !memcmp(d + start, "ENDHDR", 6)) {
            p->pixels = at + 1;
            return HPT_OK;
        }
        for (size_t i = 0; i < 4; i++)
            if (at - start == strlen(words[i]) && !memcmp(d + start, words[i], at - start)) known = i;
        if (known < 4) {
            if (!number(d, n, &at, values[known])) return BAD("%s has no number", words[known]);
        } else
            while (at < n && d[at] != '\n') at++;      /* TUPLTYPE, which follows from the depth */
    }
}
static hpt_status header(const uint8_t *d, size_t n, pnm *p) {
    size_t at = 2;
    int type = d[1] - '0';
    *p = (pnm){.depth = type == 3 || type == 6 ? 3 : 1,
               .max = 1,
               .ascii = type <= 3,
               .bits = type == 4,
               .inverted = type == 1 || type == 4};
    if (type == 7) HPT_TRY(pam_header(d, n, p));
    else {
        uint64_t *const values[] = {&p->w, &p->h, &p->max};
        for (int i = 0; i < (p->inverted ? 2 : 3); i++)
            if (!number(d, n, &at, values[i]))
                return at >= n ? BAD("cut in the header") : BAD("a number is missing or too long in the header");
        if (at < n && d[at] == '#') while (at < n && d[at] != '\n' && d[at] != '\r') at++;
        if (at < n && !space(d[at])) return BAD("no white space after the header");
        p->pixels = at < n ? at + 1 : n;
    }
    if (!p->max || p->max > 65535) return BAD("maximum %llu is not in 1..65535", (unsigned long long)p->max);
    if (!p->depth || p->depth > 4) return BAD("%llu channels, 1 to 4 are read", (unsigned long long)p->depth);
    return HPT_OK;
}

hpt_status hpt__pnm_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    pnm p;
    HPT_TRY(header(d, n, &p));
    HPT_TRY(hpt__image_size(p.w, p.h, lim, info));
    uint64_t row = p.bits ? (p.w + 7) / 8 : p.w * p.depth * (p.max > 255 ? 2 : 1);
    uint64_t need = p.ascii ? p.w * p.h * p.depth * (p.inverted ? 1 : 2) - (p.inverted ? 0 : 1) : row * p.h;
    info->cut = n - p.pixels < need;
    if (info->cut && (!lim->accept_cut || n == p.pixels)) return BAD("cut, pixels are missing");
    info->alpha = p.depth == 2 || p.depth == 4;
    return HPT_OK;
}

/* The next sample: 1, 0 at the end of the file, -1 where a number is wrong. */
static int sample(const uint8_t *d, size_t n, const pnm *p, size_t *at, uint64_t *v) {
    if (!p->ascii) {
        size_t size = p->max > 255 ? 2 : 1;
        if (size > n - *at) return 0;
        *v = size == 2 ? (uint64_t)d[*at] << 8 | d[*at + 1] : d[*at];
        *at += size;
        if (*v > p->max) *v = p->max;
        return 1;
    }
    if (!p->inverted) return number(d, n, at, v) ? *v <= p->max ? 1 : -1 : *at >= n ? 0 : -1;
    *at = skip(d, n, *at);                     /* P1: digits need no space between */
    if (*at >= n) return 0;
    *v = (uint64_t)(d[(*at)++] - '0');
    return *v <= 1 ? 1 : -1;
}

static int level(uint64_t v, uint64_t max) { return max == 255 ? (int)v : (int)lrint((double)v / (double)max * 255); }

hpt_status hpt__pnm_decode(const uint8_t *d, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut) {
    pnm p;
    HPT_TRY(header(d, n, &p));
    size_t at = p.pixels, w = (size_t)info->w, h = (size_t)info->h, bytes = (w + 7) / 8;
    if (p.bits) {
        for (size_t y = 0; y < h && bytes <= n - at; y++, at += bytes)
            for (size_t x = 0; x < w; x++) memset(rgb + (y * w + x) * 3, d[at + x / 8] >> (7 - x % 8) & 1 ? 0 : 255, 3);
        *cut = info->cut;
        return HPT_OK;
    }
    uint8_t table[256];
    for (uint64_t v = 0; v < 256 && v <= p.max; v++) table[v] = (uint8_t)level(v, p.max);
    for (size_t i = 0; i < w * h; i++) {
        uint8_t px[4] = {0, 0, 0, 255};
        for (uint64_t c = 0; c < p.depth; c++) {
            uint64_t v;
            int got = sample(d, n, &p, &at, &v);
            if (got < 0) return BAD("a value at byte %zu is not a number up to the maximum", at);
            if (!got) {
                *cut = 1;
                return lim->accept_cut ? HPT_OK : BAD("cut, pixels are missing");
            }
            px[c] = p.inverted ? (uint8_t)(v ? 0 : 255) : v < 256 ? table[v] : (uint8_t)level(v, p.max);
        }
        if (p.depth == 2) px[3] = px[1];
        if (p.depth < 3) px[1] = px[2] = px[0];
        hpt__image_flatten(px, 1, lim->alpha, rgb + i * 3);
    }
    return HPT_OK;
}

/* SPDX-License-Identifier: MIT
 * How much memory the decoders of LZMA (xz) and Zstandard will ask for: a stream names the size of its window, up to 4
 * GiB, whatever the size of the pixels. libtiff does not bound it, so the headers are read here before. */
#include "data/image.h"
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, "TIFF: " __VA_ARGS__)

static uint64_t little(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

hpt_status hpt__zstd_window(const uint8_t *p, size_t n, uint64_t *window) {
    static const uint8_t dictionary[] = {0, 1, 2, 4};
    if (n < 14 || memcmp(p, "\x28\xb5\x2f\xfd", 4)) return n < 14 ? HPT_OK : BAD("not a Zstandard frame");
    size_t at = 5 + dictionary[p[4] & 3], bytes = (size_t)1 << (p[4] >> 6);
    if (p[4] & 32)
        *window = little(p + at, bytes == 1  ? 1
                                 : bytes < 9 ? bytes
                                             : 8) +
                  (bytes == 2 ? 256 : 0); /* one segment: its size */
    else *window = ((uint64_t)1 << (10 + (p[5] >> 3))) / 8 * (8 + (p[5] & 7u));
    return HPT_OK;
}

/* Passes over a variable-length number. */
static int skip_number(const uint8_t *p, size_t n, size_t *at) {
    while (*at < n && p[*at] & 0x80) ++*at;
    return ++*at <= n;
}
/* The window that a block header names; 0: filters other than LZMA2 and delta. */
static uint64_t block_window(const uint8_t *p, size_t n) {
    size_t at = 2, filters = (p[1] & 3u) + 1;
    if ((p[1] & 0x40 && !skip_number(p, n, &at)) || (p[1] & 0x80 && !skip_number(p, n, &at))) return 0;
    for (size_t i = 0; i < filters && n - at >= 3; i++, at += 3) {
        int last = i + 1 == filters;
        if (p[at] != (last ? 0x21 : 3) || p[at + 1] != 1) return 0;
        if (last) return p[at + 2] >= 40 ? UINT32_MAX : (2 | (p[at + 2] & 1ull)) << (p[at + 2] / 2 + 11);
    }
    return 0;
}
/* A stream of one block, as libtiff writes; a second one could name a window of its own. */
hpt_status hpt__xz_window(const uint8_t *p, size_t n, uint64_t *window) {
    static const uint8_t check[16] = {0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64};
    if (n < 24) return HPT_OK;                                  /* cut: nothing to decode */
    if (memcmp(p, "\xfd" "7zXZ\0", 6)) return BAD("not an xz stream");
    size_t header = 4 * ((size_t)p[12] + 1), at = 12 + header;
    if (!p[12] || at > n) return HPT_OK;
    *window = block_window(p + 12, header - 4);
    if (!*window) return BAD("an LZMA stream with filters that are not supported");
    while (at < n && p[at]) {                                   /* chunks: 1, 2 stored, from 0x80 compressed */
        if (n - at < 6) return HPT_OK;
        if (p[at] >= 0x80) at += ((size_t)p[at + 3] << 8 | p[at + 4]) + 1 + (p[at] >= 0xc0 ? 6 : 5);
        else if (p[at] <= 2) at += ((size_t)p[at + 1] << 8 | p[at + 2]) + 1 + 3;
        else return HPT_OK;                                     /* damaged: the decoder stops here too */
        if (at > n) return HPT_OK;
    }
    at = (at + 1 + 3) / 4 * 4 + check[p[7] & 15];
    return at < n && p[at] ? BAD("an LZMA stream of several blocks") : HPT_OK;
}

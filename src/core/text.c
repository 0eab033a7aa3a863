/* SPDX-License-Identifier: MIT
 * Contract: text.h. UTF-8 as the standard allows it (no surrogates, no overlong forms), and how far two words are
 * apart, for proposals after a typing error. */
#include "core/text.h"
#include <string.h>

int hpt__utf8_at(const char *s) {
    const unsigned char *u = (const unsigned char *)s;
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (u[0] < 0x80) return 1;
    int n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4) return 0;
    unsigned c = u[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

int hpt__utf8(const char *s) {
    for (int n; *s; s += n)
        if (!(n = hpt__utf8_at(s))) return 0;
    return 1;
}

int hpt__word_slips(const char *a, const char *b) {
    int d[64], n = (int)strlen(b);
    size_t typed = strlen(a);
    if (typed > 2 && !strncmp(a, b, typed)) return 0;
    if (n > 62 || typed > 62) return 99;
    for (int j = 0; j <= n; j++) d[j] = j;
    for (int i = 1; *a; a++, i++) {
        int diag = d[0];
        d[0] = i;
        for (int j = 1; j <= n; j++) {
            int up = d[j], best = diag + (*a != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (d[j - 1] + 1 < best) best = d[j - 1] + 1;
            d[j] = best;
            diag = up;
        }
    }
    return d[n];
}

/* SPDX-License-Identifier: MIT */
#include "core/text.h"

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

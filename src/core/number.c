/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "core/number.h"
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* newlocale("C") touches no state of the host; uselocale is switched for this thread and back. */
static locale_t c_locale;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void make(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

int hpt__number_parse(const char *text, double *out) {
    pthread_once(&once, make);
    while (*text == ' ') text++;
    if (!*text || strlen(text) > 63) return 0;
    char *end;
    double x = strtod_l(text, &end, c_locale);
    while (*end == ' ') end++;
    if (end == text || *end || !isfinite(x) || strpbrk(text, "xXpP")) return 0;
    *out = x;
    return 1;
}

void hpt__number_print(double x, char *buf, size_t size) {
    pthread_once(&once, make);
    locale_t old = uselocale(c_locale);
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, size, "%.*g", digits, x);
        if (strtod(buf, NULL) == x) break;
    }
    if (fabs(x) < 9.1e15 && x == floor(x) && (fabs(x) >= 1 || x == 0)) snprintf(buf, size, "%.0f", x);
    uselocale(old);
}

int hpt__number_list(const char *text, double *out, int max) {
    int n = 0;
    while (*text) {
        char one[64];
        size_t len = strcspn(text, ",");
        if (n == max || len >= sizeof one) return -1;
        memcpy(one, text, len);
        one[len] = 0;
        if (!hpt__number_parse(one, &out[n++])) return -1;
        text += len;
        if (*text == ',') {
            text++;
            if (!*text) return -1;
        }
    }
    return n;
}

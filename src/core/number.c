/* SPDX-License-Identifier: MIT
 * Contract: number.h. The host's locale is neither read nor changed: a locale of our own, made once, stands in on
 * the calling thread for the time of a call. */
#define _GNU_SOURCE
#include "core/number.h"
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* newlocale("C") touches no state of the host; uselocale is switched for this thread alone and back before the call
 * returns, and nothing of the host's runs in between (setlocale would change every thread of the host). */
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

int hpt__vformat(char *buf, size_t size, const char *fmt, va_list args) {
    pthread_once(&once, make);
    locale_t old = uselocale(c_locale);
    int n = vsnprintf(buf, size, fmt, args);
    uselocale(old);
    return n;
}
int hpt__format(char *buf, size_t size, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = hpt__vformat(buf, size, fmt, args);
    va_end(args);
    return n;
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

void hpt__number_list_print(const float *x, int n, char *buf, size_t size) {
    char one[40];
    size_t at = 0;
    if (size) *buf = 0;
    for (int i = 0; i < n && at < size; i++) {
        for (int digits = 1; digits <= 9; digits++) {       /* 0.485, not 0.48500001430511475 */
            double v;
            hpt__format(one, sizeof one, "%.*g", digits, (double)x[i]);
            if (hpt__number_parse(one, &v) && (float)v == x[i]) break;
        }
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? "," : "", one);
    }
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

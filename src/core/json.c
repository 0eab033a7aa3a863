/* SPDX-License-Identifier: MIT
 * Numbers, arrays and text as JSON: null for what is not finite, the fewest digits that read back exactly, and a
 * replacement for bytes that are no UTF-8. All files that hold results are written through it. */
#include "core/result.h"
#include "core/alloc.h"
#include "core/number.h"
#include "core/text.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

json_t *hpt__json_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }
double hpt__json_real(const json_t *v) { return json_is_number(v) ? json_number_value(v) : NAN; }

json_t *hpt__json_floats(const float *x, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char text[40];
        double v = NAN;
        for (int digits = 1; digits <= 9 && !((float)v == x[i]); digits++) {       /* 0.485, not 0.48500001430511475 */
            hpt__format(text, sizeof text, "%.*g", digits, (double)x[i]);
            if (!hpt__number_parse(text, &v)) v = NAN;
        }
        json_array_append_new(list, hpt__json_number(v));
    }
    return list;
}

json_t *hpt__json_text(const char *text) {
    if (!text) return json_null();
    json_t *plain = json_string(text);
    char *buf = plain ? NULL : hpt__alloc(3 * strlen(text) + 1), *to = buf;
    if (!buf) return plain;
    for (const char *p = text; *p;) {
        int n = hpt__utf8_at(p);
        memcpy(to, n ? p : "\xef\xbf\xbd", n ? (size_t)n : 3);
        to += n ? n : 3;
        p += n ? n : 1;
    }
    *to = 0;
    plain = json_string(buf);
    hpt__free(buf);
    return plain;
}

/* in_text: between the quotes of a string. */
typedef struct buffer { char *p; size_t used, cap; int failed, in_text; } buffer;
/* jansson hands a number over in one piece, with 17 digits: 0.03 is 0.029999999999999999. The same value in the fewest
 * digits that read back the same; 0: this piece is none. */
static int shorter(const char *text, size_t n, char out[40]) {
    double v;
    if (n < 17 || n > 30 || !memchr(text, '.', n)) return 0;
    memcpy(out, text, n);
    out[n] = 0;
    if (strspn(out, "-+.0123456789eE") < n || !hpt__number_parse(out, &v)) return 0;
    hpt__number_print(v, out, 40);
    if (!strpbrk(out, ".e")) snprintf(out + strlen(out), 4, ".0");      /* a real stays one */
    return strlen(out) < n;
}
static int append(const char *text, size_t n, void *arg) {
    buffer *b = arg;
    char less[40];
    if (n == 1 && *text == '"') b->in_text = !b->in_text;
    if (!b->in_text && shorter(text, n, less)) {
        text = less;
        n = strlen(less);
    }
    if (!b->failed && b->used + n + 1 > b->cap) {
        size_t cap = (b->used + n + 1) * 2;
        char *p = hpt__realloc(b->p, cap);
        if (p) b->p = p, b->cap = cap;
        else b->failed = 1;
    }
    if (b->failed) return -1;
    memcpy(b->p + b->used, text, n);
    b->p[b->used += n] = 0;
    return 0;
}
char *hpt__json_dumps(const json_t *v, size_t flags) {
    buffer b = {0};
    if (!json_dump_callback(v, append, &b, flags) && !b.failed) return b.p;
    hpt__free(b.p);
    return NULL;
}

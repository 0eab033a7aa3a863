/* SPDX-License-Identifier: MIT
 * Contract: jsonscan.h. A state for each level of nesting and a buffer of the file, no recursion; numbers and names
 * are handed out as text, and every error says where. */
#include "io/jsonscan.h"
#include "core/alloc.h"
#include "core/number.h"
#include "io/file.h"
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };
enum { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_COMMA_OR_END, WANT_NOTHING, BROKEN };

hpt_status hpt__jscan_open(hpt__jscan *s, const char *path) {
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->want = BROKEN;
    HPT_TRY(hpt__file_open(path, &s->fd, NULL));
    if (!(s->block = hpt__alloc(BLOCK))) {
        hpt__jscan_close(s);
        return hpt__fail_memory(BLOCK);
    }
    s->p = s->begin = s->end = s->block;
    s->want = WANT_VALUE;
    return HPT_OK;
}
void hpt__jscan_memory(hpt__jscan *s, const void *p, size_t n) {
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->p = s->begin = p;
    s->end = s->p + n;
}
void hpt__jscan_close(hpt__jscan *s) {
    if (s->fd >= 0) close(s->fd);
    hpt__free(s->block);
    hpt__free(s->whole);
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->want = BROKEN;
}
uint64_t hpt__jscan_at(const hpt__jscan *s) { return s->before + (uint64_t)(s->p - s->begin); }

/* 1 if n bytes (few) stand at p, read in if need be. */
static int have(hpt__jscan *s, size_t n) {
    size_t left = (size_t)(s->end - s->p), got;
    if (left >= n) return 1;
    if (s->fd < 0 || s->failed) return 0;
    s->before += (uint64_t)(s->p - s->begin);
    memmove(s->block, s->p, left);
    s->failed = hpt__file_take(s->fd, "the file", s->block + left, BLOCK - left, &got);
    s->p = s->begin = s->block;
    s->end = s->block + left + got;
    return left + got >= n;
}
static void blanks(hpt__jscan *s) {
    while (have(s, 1) && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
}

static hpt__jtoken broken(hpt__jscan *s) {
    s->want = BROKEN;
    return HPT__J_ERROR;
}
static int hex4(const uint8_t *p, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F'
            ? c - 'A' + 10 : -1;
        if (v < 0) return 0;
        *out = *out * 16 + (uint32_t)v;
    }
    return 1;
}
static int utf8(uint32_t u, char out[4]) {
    if (u < 0x80) return out[0] = (char)u, 1;
    if (u < 0x800) return out[0] = (char)(0xc0 | u >> 6), out[1] = (char)(0x80 | (u & 63)), 2;
    if (u < 0x10000)
        return out[0] = (char)(0xe0 | u >> 12), out[1] = (char)(0x80 | (u >> 6 & 63)),
            out[2] = (char)(0x80 | (u & 63)), 3;
    return out[0] = (char)(0xf0 | u >> 18), out[1] = (char)(0x80 | (u >> 12 & 63)),
        out[2] = (char)(0x80 | (u >> 6 & 63)), out[3] = (char)(0x80 | (u & 63)), 4;
}
static int keep(hpt__jscan *s, const void *p, size_t n) {
    if (s->whole_n + n > s->whole_cap) {
        size_t cap = (s->whole_n + n + 64) / 2 * 3;
        char *more = hpt__realloc(s->whole, cap);
        if (!more) return s->failed = hpt__fail_memory(cap), 0;
        s->whole = more;
        s->whole_cap = cap;
    }
    memcpy(s->whole + s->whole_n, p, n);
    s->whole_n += n;
    return 1;
}
/* n bytes more of the string, which has *at so far: to text as far as there is room (a character wholly), and to
 * whole. */
static int append(hpt__jscan *s, const uint8_t *p, size_t n, size_t *at) {
    size_t room = HPT__J_TEXT - 1 - *at, fits = n <= room ? n : *p < 0x80 ? room : 0;
    memcpy(s->text + *at, p, fits);
    *at += fits;
    return !s->keeps || keep(s, p, n);
}
/* After the opening quote. */
static int string(hpt__jscan *s) {
    size_t n = 0;
    s->whole_n = 0;
    for (;;) {
        if (!have(s, 1)) return 0;
        const uint8_t *plain = s->p;
        while (s->p < s->end && *s->p >= 0x20 && *s->p < 0x80 && *s->p != '"' && *s->p != '\\') s->p++;
        if (s->p > plain) {
            if (!append(s, plain, (size_t)(s->p - plain), &n)) return 0;
            continue;
        }
        uint8_t c = *s->p++;
        char out[4];
        int len = 1;
        if (c == '"') break;
        if (c < 0x20) return 0;
        out[0] = (char)c;
        if (c == '\\') {
            if (!have(s, 1)) return 0;
            c = *s->p++;
            const char *from = "\"\\/bfnrt", *to = "\"\\/\b\f\n\r\t", *at = c ? strchr(from, c) : NULL;
            uint32_t u, low;
            if (at) out[0] = to[at - from];
            else if (c == 'u' && have(s, 4) && hex4(s->p, &u)) {
                s->p += 4;
                if (u >= 0xd800 && u < 0xdc00) {
                    if (!have(s, 6) || s->p[0] != '\\' || s->p[1] != 'u' || !hex4(s->p + 2, &low) || low < 0xdc00 ||
                        low > 0xdfff) return 0;
                    s->p += 6;
                    u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
                } else if (u >= 0xdc00 && u <= 0xdfff) return 0;
                if (!u) return 0;       /* a zero would cut the text */
                len = utf8(u, out);
            } else return 0;
        }
        if (!append(s, (const uint8_t *)out, (size_t)len, &n)) return 0;
    }
    s->text[n] = 0;
    if (!s->keeps) return 1;
    if (!keep(s, "", 1)) return 0;
    s->whole_n--;
    return 1;
}
static void after_value(hpt__jscan *s) { s->want = s->depth ? WANT_COMMA_OR_END : WANT_NOTHING; }
static hpt__jtoken close_one(hpt__jscan *s, int object) {
    if (!s->depth || s->in_object[s->depth - 1] != object) return broken(s);
    s->depth--;
    s->p++;
    after_value(s);
    return object ? HPT__J_END_OBJECT : HPT__J_END_ARRAY;
}
hpt__jtoken hpt__jscan_next(hpt__jscan *s) {
    if (s->want == BROKEN) return HPT__J_ERROR;
    for (;;) {
        blanks(s);
        if (!have(s, 1)) return s->want == WANT_NOTHING && !s->failed ? HPT__J_END : broken(s);
        uint8_t c = *s->p;
        if (s->want == WANT_NOTHING) return broken(s);
        if (s->want == WANT_COMMA_OR_END) {
            if (c == ',') {
                s->p++;
                s->want = s->in_object[s->depth - 1] ? WANT_KEY : WANT_VALUE;
                continue;
            }
            if (c == '}' || c == ']') return close_one(s, c == '}');
            return broken(s);
        }
        if (s->want == WANT_KEY || s->want == WANT_KEY_OR_END) {
            if (c == '}' && s->want == WANT_KEY_OR_END) return close_one(s, 1);
            if (c != '"') return broken(s);
            s->p++;
            if (!string(s)) return broken(s);
            blanks(s);
            if (!have(s, 1) || *s->p++ != ':') return broken(s);
            s->want = WANT_VALUE;
            return HPT__J_KEY;
        }
        if (c == ']' && s->want == WANT_VALUE_OR_END) return close_one(s, 0);
        if (c == '{' || c == '[') {
            if (s->depth == HPT__J_DEPTH) return broken(s);
            s->in_object[s->depth++] = c == '{';
            s->p++;
            s->want = c == '{' ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
            return c == '{' ? HPT__J_OBJECT : HPT__J_ARRAY;
        }
        if (c == '"') {
            s->p++;
            if (!string(s)) return broken(s);
            after_value(s);
            return HPT__J_STRING;
        }
        size_t n = 0;
        while (n < 63 && have(s, 1) && *s->p && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *s->p))
            s->text[n++] = (char)*s->p++;
        s->text[n] = 0;
        if (!n) return broken(s);
        int word = !strcmp(s->text, "true") || !strcmp(s->text, "false") || !strcmp(s->text, "null");
        if (!word && !((c == '-' || (c >= '0' && c <= '9')) && hpt__number_parse(s->text, &s->number)))
            return broken(s);
        after_value(s);
        return word ? HPT__J_WORD : HPT__J_NUMBER;
    }
}
hpt__jtoken hpt__jscan_string(hpt__jscan *s) {
    s->keeps = 1;
    hpt__jtoken t = hpt__jscan_next(s);
    s->keeps = 0;
    return t;
}
hpt__jtoken hpt__jscan_peek(hpt__jscan *s) {
    if (s->want != WANT_VALUE && s->want != WANT_VALUE_OR_END) return HPT__J_ERROR;
    blanks(s);
    if (!have(s, 1)) return HPT__J_ERROR;
    uint8_t c = *s->p;
    return c == '{' ? HPT__J_OBJECT : c == '[' ? HPT__J_ARRAY : c == '"' ? HPT__J_STRING
        : c == '-' || (c >= '0' && c <= '9') ? HPT__J_NUMBER : c >= 'a' && c <= 'z' ? HPT__J_WORD : HPT__J_ERROR;
}
int hpt__jscan_skip(hpt__jscan *s) {
    int depth = s->depth;
    do {
        hpt__jtoken t = hpt__jscan_next(s);
        if (t == HPT__J_ERROR || t == HPT__J_END) return 0;
    } while (s->depth > depth || s->want == WANT_VALUE || s->want == WANT_KEY || s->want == WANT_KEY_OR_END);
    return 1;
}

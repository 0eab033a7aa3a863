/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "io/jsonscan.h"
#include "core/number.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_COMMA_OR_END, WANT_NOTHING, BROKEN };

hpt_status hpt__jscan_open(hpt__jscan *s, const char *path) {
    struct stat st;
    memset(s, 0, sizeof *s);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        if (fd >= 0) close(fd);
        return hpt__fail(HPT_ERR_IO, "%.800s: %s", path, errno == ENOENT ? "no such file" : "cannot be read");
    }
    if (st.st_size > 0) {
        s->map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (s->map == MAP_FAILED) {
            s->map = NULL;
            close(fd);
            return hpt__fail(HPT_ERR_MEMORY, "%.800s: cannot be mapped", path);
        }
    }
    s->map_bytes = (size_t)st.st_size;
    close(fd);
    s->p = s->begin = s->map;
    s->end = s->p ? s->p + s->map_bytes : s->p;
    return HPT_OK;
}
void hpt__jscan_memory(hpt__jscan *s, const void *p, size_t n) {
    memset(s, 0, sizeof *s);
    s->p = s->begin = p;
    s->end = s->p + n;
}
void hpt__jscan_close(hpt__jscan *s) {
    if (s->map) munmap(s->map, s->map_bytes);
    memset(s, 0, sizeof *s);
    s->want = BROKEN;
}
size_t hpt__jscan_at(const hpt__jscan *s) { return (size_t)(s->p - s->begin); }

static hpt__jtoken broken(hpt__jscan *s) {
    s->want = BROKEN;
    return HPT__J_ERROR;
}
static int hex4(const uint8_t *p, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (v < 0) return 0;
        *out = *out * 16 + (uint32_t)v;
    }
    return 1;
}
static int utf8(uint32_t u, char out[4]) {
    if (u < 0x80) return out[0] = (char)u, 1;
    if (u < 0x800) return out[0] = (char)(0xc0 | u >> 6), out[1] = (char)(0x80 | (u & 63)), 2;
    if (u < 0x10000) return out[0] = (char)(0xe0 | u >> 12), out[1] = (char)(0x80 | (u >> 6 & 63)), out[2] = (char)(0x80 | (u & 63)), 3;
    return out[0] = (char)(0xf0 | u >> 18), out[1] = (char)(0x80 | (u >> 12 & 63)), out[2] = (char)(0x80 | (u >> 6 & 63)), out[3] = (char)(0x80 | (u & 63)), 4;
}
/* After the opening quote. */
static int string(hpt__jscan *s) {
    size_t n = 0;
    for (;;) {
        if (s->p >= s->end) return 0;
        uint8_t c = *s->p++;
        char out[4];
        int len = 1;
        if (c == '"') break;
        if (c < 0x20) return 0;
        out[0] = (char)c;
        if (c == '\\') {
            if (s->p >= s->end) return 0;
            c = *s->p++;
            const char *from = "\"\\/bfnrt", *to = "\"\\/\b\f\n\r\t", *at = c ? strchr(from, c) : NULL;
            uint32_t u, low;
            if (at) out[0] = to[at - from];
            else if (c == 'u' && s->end - s->p >= 4 && hex4(s->p, &u)) {
                s->p += 4;
                if (u >= 0xd800 && u < 0xdc00) {
                    if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u' || !hex4(s->p + 2, &low) || low < 0xdc00 || low > 0xdfff) return 0;
                    s->p += 6;
                    u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
                } else if (u >= 0xdc00 && u <= 0xdfff) return 0;
                if (!u) return 0;       /* a zero would cut the text */
                len = utf8(u, out);
            } else return 0;
        }
        if (n + (size_t)len < HPT__J_TEXT) {
            memcpy(s->text + n, out, (size_t)len);
            n += (size_t)len;
        }
    }
    s->text[n] = 0;
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
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
        if (s->p >= s->end) return s->want == WANT_NOTHING ? HPT__J_END : broken(s);
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
            while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
            if (s->p >= s->end || *s->p++ != ':') return broken(s);
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
        while (s->p < s->end && *s->p && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *s->p) && n < 63) s->text[n++] = (char)*s->p++;
        s->text[n] = 0;
        if (!n) return broken(s);
        int word = !strcmp(s->text, "true") || !strcmp(s->text, "false") || !strcmp(s->text, "null");
        if (!word && !((c == '-' || (c >= '0' && c <= '9')) && hpt__number_parse(s->text, &s->number))) return broken(s);
        after_value(s);
        return word ? HPT__J_WORD : HPT__J_NUMBER;
    }
}
int hpt__jscan_skip(hpt__jscan *s) {
    int depth = s->depth;
    do {
        hpt__jtoken t = hpt__jscan_next(s);
        if (t == HPT__J_ERROR || t == HPT__J_END) return 0;
    } while (s->depth > depth || s->want == WANT_VALUE || s->want == WANT_KEY || s->want == WANT_KEY_OR_END);
    return 1;
}

/* SPDX-License-Identifier: MIT
 * One pass over the text, in place: a value that goes on is joined where it stands, so that long ones cost no more
 * than their length. */
#include "io/ini.h"
#include <string.h>

static int blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

/* Without blanks at both ends. */
static char *trim(char *p, char *end) {
    while (p < end && blank(*p)) p++;
    while (end > p && blank(end[-1])) end--;
    *end = 0;
    return p;
}
/* Cuts a comment: ; after a blank. */
static char *uncomment(char *p) {
    for (char *q = p; *q; q++)
        if (*q == ';' && q > p && blank(q[-1])) return trim(p, q);
    return p;
}

hpt_status hpt__ini_read(char *text, size_t n, const char *file, hpt__ini_fn fn, void *user) {
    hpt__ini_line now = {0};
    char *p = text, *end = text + n, *tail = NULL;      /* tail: end of the value that may go on */
    int line = 0;
    if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) p += 3;
    for (char *next; p < end; p = next) {
        char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol) eol = end;
        next = eol + 1;
        line++;
        if (memchr(p, 0, (size_t)(eol - p)))
            return hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: a zero byte", file, line);
        int indented = blank(*p);
        char *s = trim(p, eol);
        if (!*s || *s == ';' || *s == '#') continue;
        if (indented && tail) {
            s = uncomment(s);
            size_t more = strlen(s);
            *tail++ = ' ';
            memmove(tail, s, more);
            tail += more;
            *tail = 0;
            continue;
        }
        if (now.key) HPT_TRY(fn(user, &now));
        now.key = now.value = tail = NULL;
        if (*s == '[') {
            char *close = strchr(s, ']');
            if (!close) return hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: '[' without ']'", file, line);
            now.section = trim(s + 1, close);
            now.line = line;
            HPT_TRY(fn(user, &now));
            continue;
        }
        char *eq = s + strcspn(s, "=:");
        if (!*eq) return hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: neither [section] nor key = value", file, line);
        if (eq == s) return hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: no key before '%c'", file, line, *eq);
        char *value = uncomment(trim(eq + 1, eq + 1 + strlen(eq + 1)));
        now.key = trim(s, eq);
        now.value = value;
        now.line = line;
        tail = value + strlen(value);
    }
    return now.key ? fn(user, &now) : HPT_OK;
}

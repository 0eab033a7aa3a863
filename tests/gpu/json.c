/* SPDX-License-Identifier: MIT
 * Contract: json.h. Looks for one path at a time in the text of a file, from its beginning: slow, short, and enough
 * for a fixture. */
#include "json.h"
#include "harness.h"

static const char *blank(const char *p) {
    while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') p++;
    return p;
}
static const char *past_string(const char *p) {
    for (p++; *p && *p != '"'; p++) if (*p == '\\') p++;
    return p + 1;
}
static const char *past_value(const char *p) {
    p = blank(p);
    if (*p == '"') return past_string(p);
    if (*p != '{' && *p != '[') {
        while (*p && !strchr(",]} \n", *p)) p++;
        return p;
    }
    for (int depth = 0;; p++) {
        if (*p == '"') p = past_string(p) - 1;
        else if (*p == '{' || *p == '[') depth++;
        else if ((*p == '}' || *p == ']') && --depth == 0) return p + 1;
        if (!*p) return p;
    }
}
char *json_text(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) FAIL("%s cannot be read: run from the top of the tree", path);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    char *t = calloc((size_t)n + 1, 1);
    rewind(f);
    if (fread(t, 1, (size_t)n, f) != (size_t)n) FAIL("%s: short read", path);
    fclose(f);
    return t;
}
const char *json_at(const char *p, const char *path) {
    for (p = blank(p); *path;) {
        size_t len = strcspn(path, "/");
        char close = *p == '{' ? '}' : ']';
        const char *found = NULL;
        if (*p != '{' && *p != '[') return NULL;
        p = blank(p + 1);
        for (int i = 0; *p && *p != close; i++) {
            int hit = 0;
            if (close == '}') {
                hit = !strncmp(p + 1, path, len) && p[1 + len] == '"';
                p = blank(past_string(p));
                p = blank(p + 1);       /* colon */
            } else hit = i == atoi(path);
            if (hit) found = p;
            p = blank(past_value(p));
            if (*p == ',') p = blank(p + 1);
        }
        if (!(p = found)) return NULL;
        path += len + (path[len] == '/');
    }
    return p;
}
double json_num(const char *text, const char *path) {
    const char *p = json_at(text, path);
    if (!p) FAIL("the fixture has no %s", path);
    return *p == 't' ? 1 : *p == 'f' ? 0 : atof(p);
}
int json_str_is(const char *text, const char *path, const char *word) {
    const char *p = json_at(text, path);
    return p && *p == '"' && !strncmp(p + 1, word, strlen(word)) && p[1 + strlen(word)] == '"';
}
int json_key(const char *text, const char *path, int i, char name[128]) {
    const char *p = json_at(text, path);
    if (!p || *p != '{') return 0;
    for (p = blank(p + 1); *p && *p != '}'; i--) {
        const char *end = past_string(p);
        if (i == 0) return snprintf(name, 128, "%.*s", (int)(end - p - 2), p + 1) > 0;
        p = blank(past_value(blank(blank(end) + 1)));
        if (*p == ',') p = blank(p + 1);
    }
    return 0;
}

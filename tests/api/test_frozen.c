/* SPDX-License-Identifier: MIT
 * Programs that were compiled with an older hpt.h go on working: no member of a struct moves, no constant changes its
 * value (tests/abi/frozen.def, held by static assertions), and nothing of the header is missing there. That functions
 * and their parameters stay is the business of `make check-abi`. */
#define _GNU_SOURCE
#include "shell.h"
#include <ctype.h>
#include <stddef.h>

#if UINTPTR_MAX == UINT64_MAX
#define STRUCT(s, bytes) _Static_assert(sizeof(s) == (bytes), "size of " #s);
#define MEMBER(s, m, offset, bytes)                                                                                    \
    _Static_assert(offsetof(s, m) == (offset) && sizeof(((s *)0)->m) == (bytes), "place of " #s "." #m);
#define CONSTANT(name, value) _Static_assert((name) == (value), "value of " #name);
#include "abi/frozen.def"
#endif

static char *frozen;
static void wants(const char *fmt, const char *a, const char *b) {
    char line[200];
    snprintf(line, sizeof line, fmt, a, b);
    if (!strstr(frozen, line))
        FAIL("hpt.h has what tests/abi/frozen.def has no line for: %s... (docs/abi.md)", line + 1);
}
/* Blanks in place of what stands between open and close. */
static void blank_out(char *text, const char *open, const char *close) {
    for (char *p = text; (p = strstr(p, open));) {
        char *end = strstr(p + strlen(open), close);
        CHECK(end);
        memset(p, ' ', (size_t)(end - p) + strlen(close));
    }
}
TEST(all_of_the_header_is_frozen) {
    char *header = read_text("include/hpt.h"), name[64], *save = NULL;
    int structs = 0, members = 0, constants = 0;
    frozen = read_text("tests/abi/frozen.def");
    blank_out(header, "/*", "*/");
    for (char *p = header; (p = strstr(p, "#define HPT_")); p++) {
        long value;
        if (sscanf(p, "#define %63[A-Z0-9_]%*1[ ]%*[(]%ld", name, &value) < 2 &&
            sscanf(p, "#define %63[A-Z0-9_] %ld", name, &value) < 2) continue;
        if (!strncmp(name, "HPT_VERSION", 11)) continue;
        wants("\nCONSTANT(%s, ", name, "");
        constants++;
    }
    for (char *p = header; (p = strstr(p, "typedef struct hpt_")); p++) {
        if (sscanf(p, "typedef struct %63[a-z0-9_] {", name) != 1) continue;
        char *open = p + strcspn(p, "{;");
        if (*open != '{') continue;             /* a handle */
        char *body = strndup(open + 1, strcspn(open, "}") - 1);
        wants("\nSTRUCT(%s, ", name, "");
        structs++;
        for (char *m = strtok_r(body, ";,", &save); m; m = strtok_r(NULL, ";,", &save)) {
            char *end = m + strlen(m);
            while (end > m && (isspace((unsigned char)end[-1]) || end[-1] == ']')) {
                if (*--end == ']') while (*end != '[') end--;
                *end = 0;
            }
            char *from = end;
            while (from > m && (isalnum((unsigned char)from[-1]) || from[-1] == '_')) from--;
            if (!*from) continue;
            wants("\nMEMBER(%s, %s, ", name, from);
            members++;
        }
        free(body);
    }
    printf("  %d structs, %d members, %d constants\n", structs, members, constants);
    CHECK(structs >= 10 && members >= 100 && constants >= 37);
}

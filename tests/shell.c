/* SPDX-License-Identifier: MIT
 * Contract: shell.h. Commands run in a shell with both streams in one text; images for them are written here, so
 * that no test needs a file of its own. */
#define _GNU_SOURCE
#include "shell.h"
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

char output[1 << 20];
int sh(const char *fmt, ...) {
    char *cmd = NULL, *line = NULL;
    va_list ap;
    va_start(ap, fmt);
    CHECK(vasprintf(&cmd, fmt, ap) >= 0);
    va_end(ap);
    CHECK(asprintf(&line, "{ %s\n} 2>&1", cmd) >= 0);
    FILE *p = popen(line, "r");
    CHECK(p);
    size_t n = fread(output, 1, sizeof output - 1, p);
    output[n] = 0;
    while (fgetc(p) != EOF) {
    }
    int st = pclose(p);
    free(cmd);
    free(line);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}
char *read_text(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) FAIL("cannot open %s", path);
    char *t = calloc(1, 1 << 20);
    CHECK(fread(t, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return t;
}
char *stripes(const char *dir, int n) {
    char path[300];
    for (int c = 0; c < 2; c++) {
        snprintf(path, sizeof path, "%s/set", dir);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/set/%s", dir, c ? "rows" : "columns");
        mkdir(path, 0777);
        for (int i = 0; i < n; i++) {
            snprintf(path, sizeof path, "%s/set/%s/%03d.ppm", dir, c ? "rows" : "columns", i);
            FILE *f = fopen(path, "wb");
            fprintf(f, "P6 20 20 255\n");
            for (int p = 0; p < 400; p++)
                for (int k = 0; k < 3; k++)
                    fputc(((c ? p / 20 : p % 20) + i) / 3 % 2
                              ? 200 - 40 * k
                              : 30 + (int)(hash_at((uint64_t)(p * 3 + k), (uint64_t)i) >> 27),
                          f);
            fclose(f);
        }
    }
    snprintf(path, sizeof path, "%s/set", dir);
    return strdup(path);
}

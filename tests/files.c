/* SPDX-License-Identifier: MIT
 * A folder of files that a test writes, and what opens of it as a data set: names and classes as one text, what the log
 * said, what a failing allocation leaves. */
#define _GNU_SOURCE
#include "files.h"
#include "core/alloc.h"
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

char root[80];
void begin(void) { snprintf(root, sizeof root, "%s", temp_dir()); }
void end(void) {
    char command[200];
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", root, root);
    CHECK(!system(command));
}
const char *at(const char *name) {       /* of the folder of this test; eight names at a time */
    static char text[8][600];
    static int k;
    char *p = text[k = (k + 1) % 8];
    snprintf(p, sizeof text[0], "%s%s%s", root, *name ? "/" : "", name);
    return p;
}
void put(const char *name, const void *data, size_t n) {
    char path[600];
    snprintf(path, sizeof path, "%s", at(name));
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(path, 0777);
        *p = '/';
    }
    FILE *f = fopen(path, "wb");
    CHECK(f && (!n || fwrite(data, 1, n, f) == n) && !fclose(f));
}
void text(const char *name, const char *s) { put(name, s, strlen(s)); }

char said[8192];         /* what the log said, a line each, with its level */
static void hear(void *user, int32_t level, const char *line) {
    (void)user;
    if (of_machine(line)) return;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%d %s\n", level, line);
}
hpt_context *listening(void) {
    hpt_context *ctx = context("reference", 1);
    OK(hpt_context_set_log(ctx, hear, NULL));
    return ctx;
}
/* What opens as path: "a/1.png=a b/2.png=b" with names of classes, or numbers, or nothing behind =. */
const char *opens(hpt_context *ctx, const char *options, const char *path) {
    static char all[4096];
    char name[600], label[64];
    hpt_config *c = config(options);
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    *said = *all = 0;
    hpt_status st = hpt_dataset_open(ctx, c, at(path), &ds);
    hpt_config_destroy(c);
    if (st) FAIL("%s: %s", path, hpt_last_error());
    OK(hpt_dataset_get_info(ds, &info));
    for (uint64_t i = 0; i < info.count; i++) {
        int32_t y;
        size_t n = strlen(all);
        *label = 0;
        OK(hpt_dataset_name(ds, i, name, sizeof name, NULL));
        OK(hpt_dataset_label(ds, i, &y));
        if (info.labelled == 1) OK(hpt_dataset_class_name(ds, (uint32_t)y, label, sizeof label, NULL));
        if (info.labelled == 2) {
            uint8_t t[32];
            OK(hpt_dataset_targets(ds, i, t, info.classes));
            for (uint32_t k = 0; k < info.classes; k++) label[k] = (char)('0' + t[k]), label[k + 1] = 0;
        }
        const char *tail = !strncmp(name, root, strlen(root)) ? name + strlen(root) + 1 : name;
        snprintf(all + n, sizeof all - n, "%s%s=%s", n ? " " : "", tail, label);
    }
    hpt_dataset_destroy(ds);
    return all;
}
void link_to(const char *target, const char *name) { CHECK(!symlink(target, at(name))); }

const char *open_all(hpt_context *ctx, const char *path, hpt_status *st) {
    hpt_dataset *ds;
    static char names[4096];
    *names = 0;
    *st = hpt_dataset_open(ctx, NULL, at(path), &ds);
    if (*st) return names;
    hpt_dataset_info info = {.struct_size = sizeof info};
    OK(hpt_dataset_get_info(ds, &info));
    for (uint64_t i = 0; i < info.count; i++) {
        size_t n = strlen(names);
        int32_t y;
        OK(hpt_dataset_name(ds, i, names + n, 200, NULL));
        OK(hpt_dataset_label(ds, i, &y));
        n = strlen(names);
        snprintf(names + n, sizeof names - n, "=%d ", y);
    }
    hpt_dataset_destroy(ds);
    return names;
}

void memory_runs_out(hpt_context *ctx, const char *path) {
    hpt_status st;
    char *whole = strdup(open_all(ctx, path, &st));
    OK(st);
    for (int forever = 0; forever < 2; forever++)
        for (int64_t n = 1;; n++) {
            hpt__alloc_test_fail(n, forever);
            const char *names = open_all(ctx, path, &st);
            int64_t used = hpt__alloc_test_count();
            hpt__alloc_test_fail(0, 0);
            if (st && st != HPT_ERR_MEMORY)
                FAIL("%s, allocation %lld: %s (%s)", path, (long long)n, hpt_status_name(st), hpt_last_error());
            if (!st && strcmp(names, whole))
                FAIL("%s, allocation %lld: %s instead of %s", path, (long long)n, names, whole);
            if (!st && used < n) break;
        }
    free(whole);
}

void more(bytes *b, const void *p, size_t n) {
    size_t cap = 64, want = 64;
    while (cap < b->n) cap *= 2;
    while (want < b->n + n) want *= 2;
    if (!b->p || want > cap) b->p = realloc(b->p, want);
    CHECK(b->p);
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
void le(bytes *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++) more(b, (uint8_t[]){(uint8_t)(v >> 8 * i)}, 1);
}
double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

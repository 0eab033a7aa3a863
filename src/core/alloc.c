/* SPDX-License-Identifier: MIT
 * Contract: alloc.h. The C library's functions behind a counter: hpt__alloc_test_fail(n) makes the n-th call from
 * now give NULL, once or from then on. Zero bytes give a pointer, too. */
#include "core/alloc.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t countdown, counted;
static _Atomic int fail_forever;

void hpt__alloc_test_fail(int64_t nth, int forever) {
    countdown = nth;
    fail_forever = forever;
    counted = 0;
}
int64_t hpt__alloc_test_count(void) { return counted; }

static int refuse(void) {
    atomic_fetch_add_explicit(&counted, 1, memory_order_relaxed);
    if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0) return 0;
    int64_t left = atomic_fetch_sub(&countdown, 1) - 1;
    if (left > 0) return 0;
    if (fail_forever) countdown = 1;
    return 1;
}

void *hpt__alloc(size_t bytes) { return refuse() ? NULL : malloc(bytes ? bytes : 1); }
void *hpt__calloc(size_t count, size_t size) { return refuse() ? NULL : calloc(count ? count : 1, size ? size : 1); }
void *hpt__realloc(void *p, size_t bytes) { return refuse() ? NULL : realloc(p, bytes ? bytes : 1); }

void *hpt__alloc_aligned(size_t bytes) {
    if (refuse() || bytes > SIZE_MAX - 64) return NULL;
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}

char *hpt__strndup(const char *s, size_t n) {
    char *d = hpt__alloc(n + 1);
    if (d) {
        memcpy(d, s, n);
        d[n] = 0;
    }
    return d;
}
char *hpt__strdup(const char *s) { return hpt__strndup(s, strlen(s)); }
void hpt__free(void *p) { free(p); }

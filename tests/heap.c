/* SPDX-License-Identifier: MIT
 * The test program's own malloc family in front of glibc's, which every shared library binds to as well. Under a
 * sanitizer, whose own family must stay, its hooks count instead. Requested sizes count, touched or not. */
#define _GNU_SOURCE
#include "heap.h"
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>

#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED
#endif

static _Atomic int64_t live, peak;
static int64_t before;

static void taken(size_t n) {
    int64_t now = atomic_fetch_add(&live, (int64_t)n) + (int64_t)n, most = peak;
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) {}
}
static void given_back(size_t n) { atomic_fetch_sub(&live, (int64_t)n); }

#ifdef SANITIZED
int __sanitizer_install_malloc_and_free_hooks(void (*taken)(const volatile void *, size_t),
                                              void (*freed)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *p);
static void on_malloc(const volatile void *p, size_t n) {
    if (p) taken(n);
}
static void on_free(const volatile void *p) {
    if (p) given_back(__sanitizer_get_allocated_size(p));
}
void heap_begin(void) {
    static int installed;
    if (!installed) installed = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    before = live;
    peak = before;
}
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);

static void *counted(void *p) {
    if (p) taken(malloc_usable_size(p));
    return p;
}
#pragma GCC visibility push(default)        /* shared libraries bind to these too */
void *malloc(size_t n) { return counted(__libc_malloc(n)); }
void *calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }
void *memalign(size_t align, size_t n) { return counted(__libc_memalign(align, n)); }
void *aligned_alloc(size_t align, size_t n) { return memalign(align, n); }
int posix_memalign(void **out, size_t align, size_t n) {
    if (align < sizeof(void *) || align & (align - 1)) return EINVAL;
    void *p = memalign(align, n);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}
void *realloc(void *p, size_t n) {
    size_t old = p ? malloc_usable_size(p) : 0;
    void *q = __libc_realloc(p, n);
    if (!q && n) return NULL;           /* the old block stays */
    given_back(old);
    return counted(q);
}
void free(void *p) {
    if (p) given_back(malloc_usable_size(p));
    __libc_free(p);
}
#pragma GCC visibility pop
void heap_begin(void) {
    before = live;
    peak = before;
}
#endif

size_t heap_peak(void) { return (size_t)(peak - before); }

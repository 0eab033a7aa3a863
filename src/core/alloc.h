/* SPDX-License-Identifier: MIT
 * Every allocation of the library goes through here, so that tests can make the n-th one fail. Modules get the same
 * functions through hpt__host (core/host.h). */
#ifndef HPT__ALLOC_H
#define HPT__ALLOC_H
#include <stddef.h>
#include <stdint.h>

void *hpt__alloc(size_t bytes);                     /* NULL when out of memory; never for bytes = 0 */
void *hpt__calloc(size_t count, size_t size);       /* zeroed; NULL on overflow of count*size */
void *hpt__realloc(void *p, size_t bytes);
void *hpt__alloc_aligned(size_t bytes);             /* 64-byte aligned; free with hpt__free */
char *hpt__strdup(const char *s);
char *hpt__strndup(const char *s, size_t n);
void hpt__free(void *p);

/* Test hook: 0 = off; n > 0: the n-th allocation from now fails; with forever, all later ones as well. */
void hpt__alloc_test_fail(int64_t nth, int forever);
int64_t hpt__alloc_test_count(void);
#endif

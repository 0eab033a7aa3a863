/* SPDX-License-Identifier: MIT
 * Tests register themselves; run.c runs each in a process of its own with a time limit. A failed CHECK ends its
 * test. */
#ifndef HARNESS_H
#define HARNESS_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* seconds: its limit; 0: DEFAULT_LIMIT, and it is a short one */
typedef struct test { const char *name; void (*fn)(void); int seconds; struct test *next; } test;
enum { DEFAULT_LIMIT = 120 };
void test_register(test *t);
#define TEST(name) TEST_LIMIT(name, 0)
/* A test that takes more than a second or two: with a limit of its own, and left out of `make check-fast`. */
#define TEST_LIMIT(name, limit) \
    static void test_##name(void); \
    __attribute__((constructor)) static void register_##name(void) { \
        static test t = {#name, test_##name, limit, NULL}; \
        test_register(&t); \
    } \
    static void test_##name(void)

#define FAIL(...) do { printf("%s:%d: ", __FILE__, __LINE__); printf(__VA_ARGS__); printf("\n"); fflush(stdout); \
                       exit(1); } while (0)
#define SKIP(...) do { printf(__VA_ARGS__); printf("\n"); fflush(stdout); exit(77); } while (0)
#define CHECK(x) do { if (!(x)) FAIL("%s", #x); } while (0)
#define OK(call) do { hpt_status st_ = (call); if (st_ < 0) FAIL("%s: %s: %s", #call, hpt_status_name(st_), \
    hpt_last_error()); } while (0)
/* the call must fail with this status and a text that holds word */
#define FAILS(status, word, call) do { hpt_status st_ = (call); \
    if (st_ != (status)) FAIL("%s gave %s, not %s (%s)", #call, hpt_status_name(st_), #status, hpt_last_error()); \
    if (!strstr(hpt_last_error(), word)) FAIL("%s: text '%s' lacks '%s'", #call, hpt_last_error(), word); } while (0)
#endif

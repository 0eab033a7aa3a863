/* SPDX-License-Identifier: MIT
 * Shared by the benchmark programs: a status that ends the program with its text, and a clock. bench.py runs them,
 * beside PyTorch where that is installed, and compares. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H
#include "hpt.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void ok(hpt_status st) {
    if (st < 0) {
        fprintf(stderr, "%s: %s\n", hpt_status_name(st), hpt_last_error());
        exit(1);
    }
}
static inline double now_ms(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}
#endif

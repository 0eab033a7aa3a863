/* SPDX-License-Identifier: MIT
 * For tests that run on a device or its emulation: memory there and back, noise, comparison. Needs nothing but CUDA
 * and harness.h. */
#ifndef TESTS_GPU_H
#define TESTS_GPU_H
#include "inputs.h"
void *to_device(const void *x, size_t bytes);       /* x NULL: uninitialised; freed by device_free_all() */
void *to_host(const void *d, size_t bytes);
void device_free_all(void);
float *noise(size_t n, uint64_t seed, float scale, float shift);
/* fails unless |x - truth| <= tol*(1 + |truth|) everywhere; NaN equals NaN */
void close_to(const char *what, const float *x, const float *truth, size_t n, double tol);
#endif

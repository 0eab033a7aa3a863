/* SPDX-License-Identifier: MIT
 * Contract: gpu.h. Memory on the device is remembered and freed in one go; a difference is told with its place and
 * both values. */
#include "gpu.h"
#include "harness.h"
#include <cuda_runtime_api.h>
#include <math.h>

static void *held[4096];
static int count;

void *to_device(const void *x, size_t bytes) {
    void *d = NULL;
    cudaError_t e = cudaMalloc(&d, bytes ? bytes : 1);
    if (e == cudaSuccess && x) e = cudaMemcpyAsync(d, x, bytes, cudaMemcpyHostToDevice, 0);
    if (e == cudaSuccess) e = cudaStreamSynchronize(0);
    if (e != cudaSuccess || count == 4096) FAIL("%zu bytes of device memory: %s", bytes, cudaGetErrorString(e));
    held[count++] = d;
    return d;
}
void *to_host(const void *d, size_t bytes) {
    void *x = malloc(bytes + 1);
    cudaError_t e = cudaMemcpyAsync(x, d, bytes, cudaMemcpyDeviceToHost, 0);
    if (e == cudaSuccess) e = cudaStreamSynchronize(0);
    if (e != cudaSuccess) FAIL("copy from the device: %s", cudaGetErrorString(e));
    return x;
}
void device_free_all(void) {
    while (count) cudaFree(held[--count]);
}
float *noise(size_t n, uint64_t seed, float scale, float shift) {
    float *x = malloc((n + 1) * 4);
    fill_f32(x, n, seed, scale, shift);
    return x;
}
void close_to(const char *what, const float *x, const float *truth, size_t n, double tol) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - truth[i]) <= tol * (1 + fabs((double)truth[i]))) &&
            !(x[i] != x[i] && truth[i] != truth[i]))
            FAIL("%s: [%zu of %zu] %.9g, reference %.9g", what, i, n, x[i], truth[i]);
}

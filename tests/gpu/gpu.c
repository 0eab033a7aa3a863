/* SPDX-License-Identifier: MIT */
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
    for (size_t i = 0; i < n; i++) {
        uint64_t z = i + seed * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        x[i] = (float)((double)((z ^ (z >> 31)) >> 40) / (1 << 23) - 1) * scale + shift;
    }
    return x;
}
uint32_t hash_u32(uint64_t i, uint64_t seed) {
    uint64_t x = i + seed * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((x ^ (x >> 31)) >> 32);
}
float *noise_u32(size_t n, uint64_t seed, float scale, float shift) {
    float *x = malloc((n + 1) * 4);
    for (size_t i = 0; i < n; i++) {
        float v = (float)((double)(hash_u32(i, seed) >> 8) / (1 << 23) - 1) * scale;
        x[i] = v + shift;
    }
    return x;
}
uint16_t round_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return f != f ? 0x7fff : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
float from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
void close_to(const char *what, const float *x, const float *truth, size_t n, double tol) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - truth[i]) <= tol * (1 + fabs((double)truth[i]))) && !(x[i] != x[i] && truth[i] != truth[i]))
            FAIL("%s: [%zu of %zu] %.9g, reference %.9g", what, i, n, x[i], truth[i]);
}

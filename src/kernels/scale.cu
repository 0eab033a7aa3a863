/* SPDX-License-Identifier: MIT
 * Contract: scale.h, on (N,H,W,C) with padded channels, which become 0. Forward passes and drop: one 16-byte vector a
 * thread and turn, each array once. The gradient: a block is one image, 32 channel vectors, 8 threads down the
 * pixels. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256 };

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_scale(size_t vectors, size_t hw, int c,
    int cp, const T *x, const float *s, T *y) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < vectors; i += (size_t)gridDim.x * THREADS) {
        int first = (int)(i * V % (size_t)cp);
        size_t n = i * V / (size_t)cp / hw;
        float v[V];
        hpt_load<T, V>(x + i * V, v);
        for (int l = 0; l < V; l++) v[l] = first + l < c ? v[l] * s[n * (size_t)c + (size_t)(first + l)] : 0;
        hpt_store<T, V>(y + i * V, v);
    }
}
template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_scale_grad(int hw, int c, int cp,
    const T *x, const float *s, const T *dy, T *dx, float *ds) {
    HPT_SHARED(float, sum, THREADS * V);
    int tx = (int)threadIdx.x, ty = (int)threadIdx.y, first = ((int)blockIdx.y * 32 + tx) * V;
    size_t n = (size_t)blockIdx.x;
    float a[V], f[V];
    for (int l = 0; l < V; l++) {
        a[l] = 0;
        f[l] = first + l < c ? s[n * (size_t)c + (size_t)(first + l)] : 0;
    }
    for (int i = ty; i < hw && first < cp; i += 8) {
        size_t at = (n * (size_t)hw + (size_t)i) * (size_t)cp + (size_t)first;
        float u[V], d[V];
        hpt_load<T, V>(x + at, u);
        hpt_load<T, V>(dy + at, d);
        for (int l = 0; l < V; l++) a[l] += d[l] * u[l], d[l] *= f[l];
        hpt_store<T, V>(dx + at, d);
    }
    for (int l = 0; l < V; l++) sum[l * THREADS + ty * 32 + tx] = a[l];
    for (int h = 4; h > 0; h /= 2) {
        __syncthreads();
        if (ty < h)
            for (int l = 0; l < V; l++) sum[l * THREADS + ty * 32 + tx] += sum[l * THREADS + (ty + h) * 32 + tx];
    }
    if (ty == 0)
        for (int l = 0; l < V; l++)
            if (first + l < c) ds[n * (size_t)c + (size_t)(first + l)] = sum[l * THREADS + tx];
}
/* each: values of an image, as they lie in memory */
template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_drop(size_t count, size_t each, const T *x,
    const float *f, const T *r, T *y) {
    size_t vectors = (count + V - 1) / V;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < vectors; i += (size_t)gridDim.x * THREADS) {
        float v[V], u[V];
        for (int l = 0; l < V; l++) u[l] = 0;
        hpt_load<T, V>(x + i * V, v);
        if (r) hpt_load<T, V>(r + i * V, u);
        for (int l = 0; l < V; l++) v[l] = v[l] * f[i * V / each] + u[l];
        hpt_store<T, V>(y + i * V, v);
    }
}

static dim3 grid_for(size_t vectors) {
    size_t blocks = (vectors + THREADS - 1) / THREADS;
    return dim3((unsigned)(blocks < 1 ? 1 : blocks > 8192 ? 8192 : blocks));
}
extern "C" cudaError_t hpt__cuda_scale(cudaStream_t st, const hpt__geometry *g, int bf16, const void *x,
                                       const float *s, void *y) {
    int cp = hpt__cuda_channels(g->c, bf16);
    size_t hw = (size_t)g->h * (size_t)g->w, vectors = (size_t)g->n * hw * (size_t)(cp / (bf16 ? 8 : 4));
    if (bf16)
        HPT_LAUNCH((k_scale<uint16_t, 8>), grid_for(vectors), dim3(THREADS), 0, st, vectors, hw, g->c, cp,
                   (const uint16_t *)x, s, (uint16_t *)y);
    else
        HPT_LAUNCH((k_scale<float, 4>), grid_for(vectors), dim3(THREADS), 0, st, vectors, hw, g->c, cp,
                   (const float *)x, s, (float *)y);
    return cudaGetLastError();
}
extern "C" cudaError_t hpt__cuda_scale_backward(cudaStream_t st, const hpt__geometry *g, int bf16, const void *x,
                                                const float *s, const void *dy, void *dx, float *ds) {
    int cp = hpt__cuda_channels(g->c, bf16), vecs = cp / (bf16 ? 8 : 4);
    dim3 grid((unsigned)g->n, (unsigned)((vecs + 31) / 32)), block(32, 8);
    if (bf16)
        HPT_LAUNCH((k_scale_grad<uint16_t, 8>), grid, block, 0, st, g->h * g->w, g->c, cp, (const uint16_t *)x, s,
                   (const uint16_t *)dy, (uint16_t *)dx, ds);
    else
        HPT_LAUNCH((k_scale_grad<float, 4>), grid, block, 0, st, g->h * g->w, g->c, cp, (const float *)x, s,
                   (const float *)dy, (float *)dx, ds);
    return cudaGetLastError();
}
/* Rows of any length go value by value. */
extern "C" cudaError_t hpt__cuda_drop(cudaStream_t s, int bf16, size_t n, size_t each, const void *x, const float *f,
                                      const void *r, void *y) {
    if (bf16)
        HPT_LAUNCH((k_drop<uint16_t, 8>), grid_for(n * each / 8), dim3(THREADS), 0, s, n * each, each,
                   (const uint16_t *)x, f, (const uint16_t *)r, (uint16_t *)y);
    else if (each % 4 == 0)
        HPT_LAUNCH((k_drop<float, 4>), grid_for(n * each / 4), dim3(THREADS), 0, s, n * each, each, (const float *)x,
                   f, (const float *)r, (float *)y);
    else
        HPT_LAUNCH((k_drop<float, 1>), grid_for(n * each), dim3(THREADS), 0, s, n * each, each, (const float *)x, f,
                   (const float *)r, (float *)y);
    return cudaGetLastError();
}

/* SPDX-License-Identifier: MIT
 * Contract: bias.h, on (N,H,W,C) with padded channels, which keep what they hold. The gradient: 32 channels a block,
 * 8 threads down each over all rows; few blocks for few channels, which a bias without batch norm (a detector's
 * heads) can bear. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256 };

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_bias(size_t vectors, int c, int cp,
    const T *x, const float *b, T *y) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < vectors; i += (size_t)gridDim.x * THREADS) {
        int first = (int)(i * V % (size_t)cp);
        float v[V];
        hpt_load<T, V>(x + i * V, v);
        for (int l = 0; l < V; l++)
            if (first + l < c) v[l] += b[first + l];
        hpt_store<T, V>(y + i * V, v);
    }
}
template <typename T> __global__ void __launch_bounds__(THREADS) k_bias_grad(size_t rows, int c, int cp, const T *dy,
    float *db) {
    HPT_SHARED(double, sum, THREADS);
    int tx = (int)threadIdx.x, ty = (int)threadIdx.y, j = (int)blockIdx.x * 32 + tx;
    double s = 0;
    for (size_t i = (size_t)ty; i < rows && j < c; i += 8) s += (double)hpt_widen(dy[i * (size_t)cp + (size_t)j]);
    sum[ty * 32 + tx] = s;
    for (int h = 4; h > 0; h /= 2) {
        __syncthreads();
        if (ty < h) sum[ty * 32 + tx] += sum[(ty + h) * 32 + tx];
    }
    if (ty == 0 && j < c) db[j] = (float)sum[tx];
}
extern "C" cudaError_t hpt__cuda_bias(cudaStream_t s, const hpt__geometry *g, int bf16, const void *x, const float *b,
                                      void *y) {
    int cp = hpt__cuda_channels(g->c, bf16);
    size_t vectors = (size_t)g->n * (size_t)g->h * (size_t)g->w * (size_t)(cp / (bf16 ? 8 : 4)),
        blocks = (vectors + THREADS - 1) / THREADS;
    dim3 grid((unsigned)(blocks > 8192 ? 8192 : blocks)), block(THREADS);
    if (bf16)
        HPT_LAUNCH((k_bias<uint16_t, 8>), grid, block, 0, s, vectors, g->c, cp, (const uint16_t *)x, b, (uint16_t *)y);
    else HPT_LAUNCH((k_bias<float, 4>), grid, block, 0, s, vectors, g->c, cp, (const float *)x, b, (float *)y);
    return cudaGetLastError();
}
extern "C" cudaError_t hpt__cuda_map_bias_backward(cudaStream_t s, const hpt__geometry *g, int bf16, const void *dy,
                                                   float *db) {
    int cp = hpt__cuda_channels(g->c, bf16);
    size_t rows = (size_t)g->n * (size_t)g->h * (size_t)g->w;
    dim3 grid((unsigned)((g->c + 31) / 32)), block(32, 8);
    if (bf16) HPT_LAUNCH((k_bias_grad<uint16_t>), grid, block, 0, s, rows, g->c, cp, (const uint16_t *)dy, db);
    else HPT_LAUNCH((k_bias_grad<float>), grid, block, 0, s, rows, g->c, cp, (const float *)dy, db);
    return cudaGetLastError();
}

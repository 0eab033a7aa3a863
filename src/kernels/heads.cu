/* SPDX-License-Identifier: MIT
 * One warp for each row and head; logits are read three times from cache. */
#include "kernels/cuda_kernels.h"
#include "kernels/device.h"

enum { THREADS = 256, ROWS = THREADS / HPT_WARP };

__global__ void __launch_bounds__(THREADS) k_softmax_ce(int rows, int n, int heads, int classes, float *logits, const int32_t *label, float *loss) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= rows) return;
    float *x = logits + (size_t)row * (size_t)classes, max = -INFINITY, sum = 0;
    int y = label[row / heads], ok = y >= 0 && y < classes;
    for (int c = lane; c < classes; c += HPT_WARP) max = hpt_pick(max, x[c]);
    for (int i = 16; i > 0; i >>= 1) max = hpt_pick(max, __shfl_xor_sync(HPT_FULL, max, i));
    for (int c = lane; c < classes; c += HPT_WARP) sum += expf(x[c] - max);
    sum = hpt_warp_sum(sum);
    if (loss && lane == 0) loss[row] = ok ? max + logf(sum) - x[y] : 0;
    __syncwarp();
    for (int c = lane; c < classes; c += HPT_WARP) x[c] = ok ? (expf(x[c] - max) / sum - (float)(c == y)) / (float)n : 0;
}
extern "C" cudaError_t hpt__cuda_softmax_ce(cudaStream_t s, int n, int heads, int classes, float *logits, const int32_t *label, float *loss) {
    int rows = n * heads;
    HPT_LAUNCH(k_softmax_ce, dim3((unsigned)((rows + ROWS - 1) / ROWS)), dim3(THREADS), 0, s, rows, n, heads, classes, logits, label, loss);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_bce(size_t count, int n, int heads, int classes, float *logits, const float *target, float *loss) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
        size_t row = i / ((size_t)heads * (size_t)classes);
        float x = logits[i], t = target[row * (size_t)classes + i % (size_t)classes], e = expf(-fabsf(x));
        if (loss) loss[i] = (x > 0 ? x : 0) - x * t + log1pf(e);
        logits[i] = ((x >= 0 ? 1 : e) / (1 + e) - t) / (float)n / (float)classes;
    }
}
extern "C" cudaError_t hpt__cuda_bce(cudaStream_t s, int n, int heads, int classes, float *logits, const float *target, float *loss) {
    size_t count = (size_t)n * (size_t)heads * (size_t)classes, b = (count + THREADS - 1) / THREADS;
    HPT_LAUNCH(k_bce, dim3((unsigned)(b > 4096 ? 4096 : b)), dim3(THREADS), 0, s, count, n, heads, classes, logits, target, loss);
    return cudaGetLastError();
}

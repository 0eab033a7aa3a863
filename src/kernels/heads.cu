/* SPDX-License-Identifier: MIT
 * Contract: heads.h. One warp for each row and head; logits are read three times from cache. Losses are summed in a
 * fixed order, so runs repeat bit for bit. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256, ROWS = THREADS / HPT_WARP };

__global__ void __launch_bounds__(THREADS) k_softmax_ce(int rows, int n, int heads, int classes, float *logits,
                                                        const int32_t *label, float *loss) {
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
    for (int c = lane; c < classes; c += HPT_WARP)
        x[c] = ok ? (expf(x[c] - max) / sum - (float)(c == y)) / (float)n : 0;
}
extern "C" cudaError_t hpt__cuda_softmax_ce(cudaStream_t s, int n, int heads, int classes, float *logits,
                                            const int32_t *label, float *loss) {
    int rows = n * heads;
    HPT_LAUNCH(k_softmax_ce, dim3((unsigned)((rows + ROWS - 1) / ROWS)), dim3(THREADS), 0, s, rows, n, heads, classes,
               logits, label, loss);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_bce(size_t count, int n, int heads, int classes, float *logits,
                                                 const float *target, float *loss) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
        size_t row = i / ((size_t)heads * (size_t)classes);
        float x = logits[i], t = target[row * (size_t)classes + i % (size_t)classes], e = expf(-fabsf(x));
        if (loss) loss[i] = (x > 0 ? x : 0) - x * t + log1pf(e);
        logits[i] = ((x >= 0 ? 1 : e) / (1 + e) - t) / (float)n / (float)classes;
    }
}
extern "C" cudaError_t hpt__cuda_bce(cudaStream_t s, int n, int heads, int classes, float *logits, const float *target,
                                     float *loss) {
    size_t count = (size_t)n * (size_t)heads * (size_t)classes, b = (count + THREADS - 1) / THREADS;
    HPT_LAUNCH(k_bce, dim3((unsigned)(b > 4096 ? 4096 : b)), dim3(THREADS), 0, s, count, n, heads, classes, logits,
               target, loss);
    return cudaGetLastError();
}

/* One block: sums in a fixed order, and the outcome at once. A warp takes a row; 256 rows of 1000 classes are some
 * 20 microseconds. */
enum { WIDE = 1024, WARPS = WIDE / HPT_WARP };
__global__ void __launch_bounds__(WIDE) k_classify(int n, int classes, float *logits, const int32_t *label,
                                                   const float *weight, float smoothing, hpt__pair mix,
                                                   hpt__outcome *o) {
    HPT_SHARED(double, sums, 3 * WARPS);
    int warp = (int)(threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    float all = 0, spread = smoothing / (float)classes;
    for (int c = lane; c < classes; c += HPT_WARP) all += weight ? weight[c] : 1;
    all = hpt_warp_sum(all);
    double loss = 0, top1 = 0, top5 = 0;
    for (int row = warp; row < n; row += WARPS) {
        float *x = logits + (size_t)row * (size_t)classes, max = -INFINITY, sum = 0, above = 0, mine = 0;
        int y = label[row], z = mix.share ? mix.label[mix.other[row]] : y;
        double share = mix.share ? *mix.share : 1;
        if (share < 0.5) {      /* y: of the larger share */
            int swap = y;
            y = z;
            z = swap;
            share = 1 - share;
        }
        float at = x[y], at_z = x[z], own = (1 - smoothing) * (weight ? weight[y] : 1) * (float)share;
        float rest = mix.share ? (1 - smoothing) * (weight ? weight[z] : 1) * (float)(1 - share) : 0;
        float total = own + rest + spread * all;
        for (int c = lane; c < classes; c += HPT_WARP) max = hpt_pick(max, x[c]);
        for (int i = 16; i > 0; i >>= 1) max = hpt_pick(max, __shfl_xor_sync(HPT_FULL, max, i));
        for (int c = lane; c < classes; c += HPT_WARP) {
            sum += expf(x[c] - max);
            above += (float)(x[c] > at);
        }
        sum = hpt_warp_sum(sum);
        above = hpt_warp_sum(above);
        float log_sum = max + logf(sum);
        __syncwarp();
        for (int c = lane; c < classes; c += HPT_WARP) {
            float part = spread * (weight ? weight[c] : 1);
            if (smoothing > 0) mine += part * (log_sum - x[c]);
            x[c] = (expf(x[c] - max) / sum * total - part - (c == y ? own : 0) - (c == z ? rest : 0)) / (float)n;
        }
        mine = hpt_warp_sum(mine) + own * (log_sum - at);
        if (mix.share) mine += rest * (log_sum - at_z);
        loss += (double)mine;
        top1 += above < 1;
        top5 += above < 5;
    }
    if (lane == 0) {
        sums[warp] = loss;
        sums[WARPS + warp] = top1;
        sums[2 * WARPS + warp] = top5;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double v[3] = {0, 0, 0};
        for (int k = 0; k < 3; k++)
            for (int w = 0; w < WARPS; w++) v[k] += sums[k * WARPS + w];
        o->loss = v[0] / n;
        o->top1 = v[1];
        o->top5 = v[2];
    }
}
extern "C" cudaError_t hpt__cuda_classify(cudaStream_t s, int n, int classes, float *logits, const int32_t *label,
                                          const float *weight, double smoothing, const hpt__pair *mix,
                                          hpt__outcome *o) {
    const hpt__pair none = {NULL, NULL, NULL};
    HPT_LAUNCH(k_classify, dim3(1), dim3(WIDE), 0, s, n, classes, logits, label, weight, (float)smoothing,
               mix ? *mix : none, o);
    return cudaGetLastError();
}

/* One block, as k_classify. */
__global__ void __launch_bounds__(WIDE) k_entropy(int n, int classes, float *logits, float scale, hpt__outcome *o) {
    HPT_SHARED(double, sums, WARPS);
    int warp = (int)(threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    const float e = 1e-5f;
    double all = 0;
    for (int row = warp; row < n; row += WARPS) {
        float *x = logits + (size_t)row * (size_t)classes, max = -INFINITY, sum = 0, own = 0, mean = 0;
        for (int c = lane; c < classes; c += HPT_WARP) max = hpt_pick(max, x[c]);
        for (int i = 16; i > 0; i >>= 1) max = hpt_pick(max, __shfl_xor_sync(HPT_FULL, max, i));
        for (int c = lane; c < classes; c += HPT_WARP) sum += expf(x[c] - max);
        sum = hpt_warp_sum(sum);
        for (int c = lane; c < classes; c += HPT_WARP) {
            float p = expf(x[c] - max) / sum, l = logf(p + e);
            own -= p * l;
            mean += p * (l + p / (p + e));
        }
        own = hpt_warp_sum(own);
        mean = hpt_warp_sum(mean);
        __syncwarp();
        for (int c = lane; c < classes; c += HPT_WARP) {
            float p = expf(x[c] - max) / sum;
            x[c] = scale / (float)n * p * (logf(p + e) + p / (p + e) - mean);
        }
        all += (double)own;
    }
    if (lane == 0) sums[warp] = all;
    __syncthreads();
    if (threadIdx.x == 0) {
        double v = 0;
        for (int w = 0; w < WARPS; w++) v += sums[w];
        o->entropy = v / n;
    }
}
extern "C" cudaError_t hpt__cuda_entropy(cudaStream_t s, int n, int classes, float *logits, double scale,
                                         hpt__outcome *o) {
    HPT_LAUNCH(k_entropy, dim3(1), dim3(WIDE), 0, s, n, classes, logits, (float)scale, o);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(WIDE) k_mean_loss(size_t n, const float *loss, hpt__outcome *o) {
    HPT_SHARED(double, sums, WIDE);
    double mine = 0;
    for (size_t i = threadIdx.x; i < n; i += WIDE) mine += (double)loss[i];
    sums[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        double all = 0;
        for (int i = 0; i < WIDE; i++) all += sums[i];
        o->loss = all / (double)n;
        o->top1 = o->top5 = 0;
    }
}
extern "C" cudaError_t hpt__cuda_mean_loss(cudaStream_t s, size_t n, const float *loss, hpt__outcome *o) {
    HPT_LAUNCH(k_mean_loss, dim3(1), dim3(WIDE), 0, s, n, loss, o);
    return cudaGetLastError();
}

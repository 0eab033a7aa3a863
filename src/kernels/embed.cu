/* SPDX-License-Identifier: MIT
 * Contract: embed.h. Rows are short and few: one warp for each, sums in double, in an order that does not depend on
 * the card. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256, ROWS = THREADS / HPT_WARP };

static dim3 row_grid(int n) { return dim3((unsigned)((n + ROWS - 1) / ROWS)); }

__global__ void __launch_bounds__(THREADS) k_l2norm(int n, int d, const float *x, float *y, float *norm) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n) return;
    x += (size_t)row * d;
    y += (size_t)row * d;
    double s = 0;
    for (int j = lane; j < d; j += HPT_WARP) s += (double)x[j] * (double)x[j];
    double len = sqrt(hpt_warp_sum(s));
    if (len < 1e-12) len = 1e-12;
    if (lane == 0) norm[row] = (float)len;
    for (int j = lane; j < d; j += HPT_WARP) y[j] = (float)((double)x[j] / len);
}
extern "C" cudaError_t hpt__cuda_l2norm(cudaStream_t s, int n, int d, const float *x, float *y, float *norm) {
    HPT_LAUNCH(k_l2norm, row_grid(n), dim3(THREADS), 0, s, n, d, x, y, norm);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_l2norm_backward(int n, int d, const float *y, const float *norm,
                                                             const float *dy, float *dx) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n) return;
    y += (size_t)row * d;
    dy += (size_t)row * d;
    dx += (size_t)row * d;
    double s = 0, len = (double)norm[row];
    if (len > 1e-12) for (int j = lane; j < d; j += HPT_WARP) s += (double)y[j] * (double)dy[j];
    s = hpt_warp_sum(s);
    for (int j = lane; j < d; j += HPT_WARP) dx[j] = (float)(((double)dy[j] - (double)y[j] * s) / len);
}
extern "C" cudaError_t hpt__cuda_l2norm_backward(cudaStream_t s, int n, int d, const float *y, const float *norm,
                                                 const float *dy, float *dx) {
    HPT_LAUNCH(k_l2norm_backward, row_grid(n), dim3(THREADS), 0, s, n, d, y, norm, dy, dx);
    return cudaGetLastError();
}

/* max(|x|, 1e-12) of the row that a warp has */
HPT_DEVICE double row_length(int d, int lane, const float *x) {
    double s = 0;
    for (int j = lane; j < d; j += HPT_WARP) s += (double)x[j] * (double)x[j];
    double len = sqrt(hpt_warp_sum(s));
    return len < 1e-12 ? 1e-12 : len;
}
__global__ void __launch_bounds__(THREADS) k_unit(int n, int d, const float *x, double scale, float *y) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n) return;
    x += (size_t)row * d;
    y += (size_t)row * d;
    double len = row_length(d, lane, x);
    for (int j = lane; j < d; j += HPT_WARP) y[j] = (float)(scale * (double)x[j] / len);
}
extern "C" cudaError_t hpt__cuda_unit(cudaStream_t s, int n, int d, const float *x, double scale, float *y) {
    HPT_LAUNCH(k_unit, row_grid(n), dim3(THREADS), 0, s, n, d, x, scale, y);
    return cudaGetLastError();
}
__global__ void __launch_bounds__(THREADS) k_unit_backward(int n, int d, const float *x, double scale, const float *dy,
                                                           float *dx) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n) return;
    x += (size_t)row * d;
    dy += (size_t)row * d;
    dx += (size_t)row * d;
    double s = 0, len = row_length(d, lane, x);
    if (len > 1e-12)
        for (int j = lane; j < d; j += HPT_WARP) s += (double)x[j] / len * (double)dy[j];
    s = hpt_warp_sum(s);
    for (int j = lane; j < d; j += HPT_WARP)
        dx[j] = (float)(scale * ((double)dy[j] - (double)x[j] / len * s) / len);
}
extern "C" cudaError_t hpt__cuda_unit_backward(cudaStream_t s, int n, int d, const float *x, double scale,
                                               const float *dy, float *dx) {
    HPT_LAUNCH(k_unit_backward, row_grid(n), dim3(THREADS), 0, s, n, d, x, scale, dy, dx);
    return cudaGetLastError();
}

template <int V> __global__ void __launch_bounds__(THREADS) k_gather(size_t d, const float *in, const uint32_t *index,
    float *out) {
    const float *from = in + index[blockIdx.y] * d;
    float *to = out + blockIdx.y * d;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < d / V; i += (size_t)gridDim.x * THREADS) {
        float v[V];
        hpt_load<float, V>(from + i * V, v);
        hpt_store<float, V>(to + i * V, v);
    }
}
extern "C" cudaError_t hpt__cuda_gather(cudaStream_t s, int n, size_t d, const float *in, const uint32_t *index,
                                        float *out) {
    int wide = d % 4 == 0 && (uintptr_t)in % 16 == 0 && (uintptr_t)out % 16 == 0;
    size_t b = (d / (wide ? 4 : 1) + 4 * THREADS - 1) / (4 * THREADS);
    dim3 grid((unsigned)(b < 1 ? 1 : b), (unsigned)n);
    if (wide) HPT_LAUNCH(k_gather<4>, grid, dim3(THREADS), 0, s, d, in, index, out);
    else HPT_LAUNCH(k_gather<1>, grid, dim3(THREADS), 0, s, d, in, index, out);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_mix(size_t d, const float *x, const float *all, hpt__pair p, float *out) {
    const float *a = x + blockIdx.y * d, *b = all + p.other[blockIdx.y] * d;
    float *y = out + blockIdx.y * d, own = (float)*p.share, rest = (float)(1 - *p.share);
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < d; i += (size_t)gridDim.x * THREADS)
        y[i] = hpt_add(hpt_mul(own, a[i]), hpt_mul(rest, b[i]));
}
extern "C" cudaError_t hpt__cuda_mix(cudaStream_t s, int n, size_t d, const float *x, const float *all,
                                     const hpt__pair *p, float *out) {
    size_t b = (d + 4 * THREADS - 1) / (4 * THREADS);
    HPT_LAUNCH(k_mix, dim3((unsigned)b, (unsigned)n), dim3(THREADS), 0, s, d, x, all, *p, out);
    return cudaGetLastError();
}

/* Of more keys than rows only the last q stay, so no row is written twice. */
__global__ void __launch_bounds__(THREADS) k_enqueue(int n, int d, const float *keys, float *queue, int64_t q,
                                                     uint16_t *low, int pitch, const hpt__vars *v,
                                                     const hpt__outcome *o) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n || row < (int64_t)n - q || (o && o->bad)) return;
    int64_t to = (v->ptr + row) % q;
    for (int j = lane; j < d; j += HPT_WARP) {
        float x = keys[(size_t)row * d + j];
        queue[to * d + j] = x;
        if (low) low[to * pitch + j] = hpt_to_bf16(x);
    }
}
extern "C" cudaError_t hpt__cuda_enqueue(cudaStream_t s, int n, int d, const float *keys, float *queue, int64_t q,
                                         uint16_t *low, int pitch, const hpt__vars *v, const hpt__outcome *o) {
    HPT_LAUNCH(k_enqueue, row_grid(n), dim3(THREADS), 0, s, n, d, keys, queue, q, low, pitch, v, o);
    return cudaGetLastError();
}

/* 32 columns a block, 32 threads down each */
__global__ void __launch_bounds__(1024) k_spread_columns(int n, int d, const float *x, double *deviation) {
    HPT_SHARED(double, sum, 32 * 32);
    int tx = (int)threadIdx.x, ty = (int)threadIdx.y, j = (int)blockIdx.x * 32 + tx;
    double mean = 0;
    for (int pass = 0; pass < 2; pass++) {
        double s = 0;
        for (int i = ty; i < n && j < d; i += 32) {
            double v = (double)x[(size_t)i * d + j];
            s += pass ? (v - mean) * (v - mean) : v;
        }
        sum[ty * 32 + tx] = s;
        for (int h = 16; h > 0; h /= 2) {
            __syncthreads();
            if (ty < h) sum[ty * 32 + tx] += sum[(ty + h) * 32 + tx];
        }
        __syncthreads();
        mean = sum[tx] / n;
        __syncthreads();
    }
    if (ty == 0 && j < d) deviation[j] = sqrt(mean);
}
__global__ void k_spread(int d, const double *deviation, hpt__outcome *o) {
    double s = 0;
    for (int j = (int)threadIdx.x; j < d; j += HPT_WARP) s += deviation[j];
    s = hpt_warp_sum(s);
    if (threadIdx.x == 0) o->spread = s / sqrt((double)d);
}
extern "C" cudaError_t hpt__cuda_spread(cudaStream_t s, int n, int d, const float *x, hpt__outcome *o,
                                        double *scratch) {
    HPT_LAUNCH(k_spread_columns, dim3((unsigned)((d + 31) / 32)), dim3(32, 32), 0, s, n, d, x, scratch);
    HPT_LAUNCH(k_spread, dim3(1), dim3(HPT_WARP), 0, s, d, (const double *)scratch, o);
    return cudaGetLastError();
}

/* A warp a row; the sum over rows by one warp, in order. */
__global__ void __launch_bounds__(THREADS) k_agree(int n, int d, double scale, const float *x, const float *y,
                                                   float *dx, double *part) {
    int row = (int)(blockIdx.x * ROWS + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n) return;
    double dot = 0;
    for (int j = lane; j < d; j += HPT_WARP) {
        size_t at = (size_t)row * d + j;
        dot += (double)x[at] * (double)y[at];
        dx[at] = (float)(-scale * (double)y[at]);
    }
    dot = hpt_warp_sum(dot);
    if (lane == 0) part[row] = 2 - 2 * dot;
}
__global__ void k_agree_sum(int n, int images, const double *part, hpt__outcome *o) {
    double s = 0;
    for (int i = (int)threadIdx.x; i < n; i += HPT_WARP) s += part[i];
    s = hpt_warp_sum(s);
    if (threadIdx.x == 0) o->loss = s / images;
}
extern "C" cudaError_t hpt__cuda_agree(cudaStream_t s, int n, int d, int images, const float *x, const float *y,
                                       float *dx, hpt__outcome *o, double *scratch) {
    HPT_LAUNCH(k_agree, row_grid(n), dim3(THREADS), 0, s, n, d, 2.0 / images, x, y, dx, scratch);
    HPT_LAUNCH(k_agree_sum, dim3(1), dim3(HPT_WARP), 0, s, n, images, (const double *)scratch, o);
    return cudaGetLastError();
}

/* 32 columns a block, 8 threads down each; every element is masked by the thread that sums it */
__global__ void __launch_bounds__(256) k_bias_backward(int n, int d, int relu, const float *y, float *dy, float *db) {
    HPT_SHARED(double, sum, 8 * 32);
    int tx = (int)threadIdx.x, ty = (int)threadIdx.y, j = (int)blockIdx.x * 32 + tx;
    double s = 0;
    for (int i = ty; i < n && j < d; i += 8) {
        size_t at = (size_t)i * d + j;
        float v = dy[at];
        if (relu && !(y[at] > 0)) dy[at] = v = 0;
        s += (double)v;
    }
    sum[ty * 32 + tx] = s;
    for (int h = 4; h > 0; h /= 2) {
        __syncthreads();
        if (ty < h) sum[ty * 32 + tx] += sum[(ty + h) * 32 + tx];
    }
    if (ty == 0 && j < d && db) db[j] = (float)sum[tx];
}
extern "C" cudaError_t hpt__cuda_bias_backward(cudaStream_t s, int n, int d, int relu, const float *y, float *dy,
                                               float *db) {
    HPT_LAUNCH(k_bias_backward, dim3((unsigned)((d + 31) / 32)), dim3(32, 8), 0, s, n, d, relu, y, dy, db);
    return cudaGetLastError();
}
__global__ void __launch_bounds__(THREADS) k_add_bias(size_t count, int d, int relu, const float *b, float *y) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (size_t)gridDim.x * THREADS) {
        float v = y[i] + b[i % (size_t)d];
        y[i] = relu && v < 0 ? 0 : v;
    }
}
extern "C" cudaError_t hpt__cuda_add_bias(cudaStream_t s, int n, int d, int relu, const float *b, float *y) {
    size_t count = (size_t)n * d, grid = (count + THREADS - 1) / THREADS;
    HPT_LAUNCH(k_add_bias, dim3((unsigned)(grid > 4096 ? 4096 : grid)), dim3(THREADS), 0, s, count, d, relu, b, y);
    return cudaGetLastError();
}

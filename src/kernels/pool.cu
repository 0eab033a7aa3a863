/* SPDX-License-Identifier: MIT
 * Pooling, and the way in and out, on (N,H,W,C) maps. The backward of max pooling gathers (each input looks at the
 * windows that cover it), so that no atomics are needed and sums have a fixed order. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256 };
static dim3 grid_for(size_t items) {
    size_t b = (items + THREADS - 1) / THREADS;
    return dim3((unsigned)(b < 1 ? 1 : b > 1 << 20 ? 1 << 20 : b));
}
#define EACH(i, count) for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < (count); \
                            i += (size_t)gridDim.x * THREADS)

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_input(size_t pixels, size_t hw, int c,
    int vecs, const float *x, T *y) {
    EACH(i, pixels * (size_t)vecs) {
        size_t p = i / (size_t)vecs, n = p / hw, at = p % hw;
        int first = (int)(i % (size_t)vecs) * V;
        float v[V];
        for (int j = 0; j < V; j++) v[j] = first + j < c ? x[(n * (size_t)c + (size_t)(first + j)) * hw + at] : 0;
        hpt_store<T, V>(y + i * V, v);
    }
}
extern "C" cudaError_t hpt__cuda_input(cudaStream_t s, int bf16, int n, int c, int h, int w, const float *x, void *y) {
    size_t hw = (size_t)h * (size_t)w, pixels = (size_t)n * hw;
    int vecs = hpt__cuda_channels(c, bf16) / (bf16 ? 8 : 4);
    if (bf16)
        HPT_LAUNCH((k_input<uint16_t, 8>), grid_for(pixels * (size_t)vecs), dim3(THREADS), 0, s, pixels, hw, c, vecs,
                   x, (uint16_t *)y);
    else
        HPT_LAUNCH((k_input<float, 4>), grid_for(pixels * (size_t)vecs), dim3(THREADS), 0, s, pixels, hw, c, vecs, x,
                   (float *)y);
    return cudaGetLastError();
}

template <typename T> __global__ void __launch_bounds__(THREADS) k_output(size_t count, size_t hw, int c, int pitch,
    const T *x, float *y) {
    EACH(i, count) {
        size_t at = i % hw, k = i / hw % (size_t)c, n = i / hw / (size_t)c;
        float v[1];
        hpt_load<T, 1>(x + (n * hw + at) * (size_t)pitch + k, v);
        y[i] = v[0];
    }
}
extern "C" cudaError_t hpt__cuda_output(cudaStream_t s, int bf16, int n, int c, int h, int w, const void *x, float *y) {
    size_t hw = (size_t)h * (size_t)w, count = (size_t)n * (size_t)c * hw;
    int pitch = hpt__cuda_channels(c, bf16);
    if (bf16)
        HPT_LAUNCH((k_output<uint16_t>), grid_for(count), dim3(THREADS), 0, s, count, hw, c, pitch,
                   (const uint16_t *)x, y);
    else HPT_LAUNCH((k_output<float>), grid_for(count), dim3(THREADS), 0, s, count, hw, c, pitch, (const float *)x, y);
    return cudaGetLastError();
}

template <typename T> __global__ void __launch_bounds__(THREADS) k_repitch(size_t rows, int from, int to, const T *in,
    T *out) {
    EACH(i, rows * (size_t)to) {
        size_t r = i / (size_t)to, c = i % (size_t)to;
        out[i] = c < (size_t)from ? in[r * (size_t)from + c] : (T)0;
    }
}
extern "C" cudaError_t hpt__cuda_pad_weights(cudaStream_t s, int bf16, int rows, int c, int cp, const void *in,
                                             void *out) {
    if (bf16)
        HPT_LAUNCH((k_repitch<uint16_t>), grid_for((size_t)rows * (size_t)cp), dim3(THREADS), 0, s, (size_t)rows, c,
                   cp, (const uint16_t *)in, (uint16_t *)out);
    else
        HPT_LAUNCH((k_repitch<float>), grid_for((size_t)rows * (size_t)cp), dim3(THREADS), 0, s, (size_t)rows, c, cp,
                   (const float *)in, (float *)out);
    return cudaGetLastError();
}
__global__ void __launch_bounds__(THREADS) k_unpad(size_t rows, int c, int cp, const float *in, float *out) {
    EACH(i, rows * (size_t)c) out[i] = in[i / (size_t)c * (size_t)cp + i % (size_t)c];
}
extern "C" cudaError_t hpt__cuda_unpad_weights(cudaStream_t s, int rows, int c, int cp, const float *in, float *out) {
    HPT_LAUNCH(k_unpad, grid_for((size_t)rows * (size_t)c), dim3(THREADS), 0, s, (size_t)rows, c, cp, in, out);
    return cudaGetLastError();
}

/* maps by vectors of 16 bytes, whatever the type */
__global__ void __launch_bounds__(THREADS) k_frame(size_t items, int vecs, int h, int w, int rows, int columns,
    int top, int left, const uint4 *x, uint4 *y) {
    EACH(i, items) {
        size_t at = i / (size_t)vecs, n = at / (size_t)columns / (size_t)rows;
        int from_w = (int)(at % (size_t)columns) - left, from_h = (int)(at / (size_t)columns % (size_t)rows) - top;
        uint4 v = {0, 0, 0, 0};
        if (from_h >= 0 && from_h < h && from_w >= 0 && from_w < w)
            v = x[((n * (size_t)h + (size_t)from_h) * (size_t)w + (size_t)from_w) * (size_t)vecs + i % (size_t)vecs];
        y[i] = v;
    }
}
extern "C" cudaError_t hpt__cuda_frame(cudaStream_t s, int bf16, int n, int c, int h, int w, int rows, int columns,
                                       int top, int left, const void *x, void *y) {
    int vecs = c / (bf16 ? 8 : 4);
    size_t items = (size_t)n * (size_t)rows * (size_t)columns * (size_t)vecs;
    HPT_LAUNCH(k_frame, grid_for(items), dim3(THREADS), 0, s, items, vecs, h, w, rows, columns, top, left,
               (const uint4 *)x, (uint4 *)y);
    return cudaGetLastError();
}

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_maxpool(hpt__geometry g, const T *x, T *y,
    uint8_t *where) {
    size_t vecs = (size_t)g.c / V;
    EACH(i, (size_t)g.n * (size_t)g.p * (size_t)g.q * vecs) {
        size_t o = i / vecs;
        int c = (int)(i % vecs) * V, q = (int)(o % (size_t)g.q), p = (int)(o / (size_t)g.q % (size_t)g.p),
            n = (int)(o / ((size_t)g.q * (size_t)g.p)), found = 0;
        float best[V];
        uint8_t at[V];
        for (int j = 0; j < V; j++) best[j] = 0, at[j] = 0;
        for (int r = 0; r < g.r; r++)
            for (int s = 0; s < g.s; s++) {
                int h = p * g.stride + r - g.pad_h, w = q * g.stride + s - g.pad_w;
                if (h < 0 || h >= g.h || w < 0 || w >= g.w) continue;
                float v[V];
                hpt_load<T, V>(x + (((size_t)n * (size_t)g.h + (size_t)h) * (size_t)g.w + (size_t)w) * (size_t)g.c + c,
                               v);
                for (int j = 0; j < V; j++)
                    if (!found || v[j] > best[j] || v[j] != v[j]) best[j] = v[j], at[j] = (uint8_t)(r * g.s + s);
                found = 1;
            }
        hpt_store<T, V>(y + o * (size_t)g.c + c, best);
        for (int j = 0; j < V; j++) where[o * (size_t)g.c + c + j] = at[j];
    }
}
extern "C" cudaError_t hpt__cuda_maxpool(cudaStream_t s, const hpt__geometry *g, int bf16, const void *x, void *y,
                                         uint8_t *where) {
    size_t items = (size_t)g->n * (size_t)g->p * (size_t)g->q * (size_t)(g->c / (bf16 ? 8 : 4));
    if (bf16)
        HPT_LAUNCH((k_maxpool<uint16_t, 8>), grid_for(items), dim3(THREADS), 0, s, *g, (const uint16_t *)x,
                   (uint16_t *)y, where);
    else
        HPT_LAUNCH((k_maxpool<float, 4>), grid_for(items), dim3(THREADS), 0, s, *g, (const float *)x, (float *)y,
                   where);
    return cudaGetLastError();
}

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_maxpool_backward(hpt__geometry g,
    const T *dy, const T *dy2, const uint8_t *where, T *dx) {
    size_t vecs = (size_t)g.c / V;
    EACH(i, (size_t)g.n * (size_t)g.h * (size_t)g.w * vecs) {
        size_t o = i / vecs;
        int c = (int)(i % vecs) * V, w = (int)(o % (size_t)g.w), h = (int)(o / (size_t)g.w % (size_t)g.h),
            n = (int)(o / ((size_t)g.w * (size_t)g.h));
        float sum[V];
        for (int j = 0; j < V; j++) sum[j] = 0;
        int p0 = h + g.pad_h - g.r + 1, q0 = w + g.pad_w - g.s + 1;
        p0 = p0 <= 0 ? 0 : (p0 + g.stride - 1) / g.stride;
        q0 = q0 <= 0 ? 0 : (q0 + g.stride - 1) / g.stride;
        for (int p = p0; p < g.p && p * g.stride <= h + g.pad_h; p++)
            for (int q = q0; q < g.q && q * g.stride <= w + g.pad_w; q++) {
                int code = (h + g.pad_h - p * g.stride) * g.s + (w + g.pad_w - q * g.stride);
                size_t from = (((size_t)n * (size_t)g.p + (size_t)p) * (size_t)g.q + (size_t)q) * (size_t)g.c +
                    (size_t)c;
                float v[V], u[V];
                hpt_load<T, V>(dy + from, v);
                if (dy2) hpt_load<T, V>(dy2 + from, u);
                for (int j = 0; j < V; j++)
                    if (where[from + (size_t)j] == code) sum[j] += dy2 ? v[j] + u[j] : v[j];
            }
        hpt_store<T, V>(dx + o * (size_t)g.c + c, sum);
    }
}
extern "C" cudaError_t hpt__cuda_maxpool_backward(cudaStream_t s, const hpt__geometry *g, int bf16, const void *dy,
                                                  const void *dy2, const uint8_t *where, void *dx) {
    size_t items = (size_t)g->n * (size_t)g->h * (size_t)g->w * (size_t)(g->c / (bf16 ? 8 : 4));
    if (!g->extra_grad) dy2 = NULL;
    if (bf16)
        HPT_LAUNCH((k_maxpool_backward<uint16_t, 8>), grid_for(items), dim3(THREADS), 0, s, *g, (const uint16_t *)dy,
                   (const uint16_t *)dy2, where, (uint16_t *)dx);
    else
        HPT_LAUNCH((k_maxpool_backward<float, 4>), grid_for(items), dim3(THREADS), 0, s, *g, (const float *)dy,
                   (const float *)dy2, where, (float *)dx);
    return cudaGetLastError();
}

/* a block: one image, 32 channel vectors, 8 threads down the pixels */
template <typename T, int V> __global__ void __launch_bounds__(256) k_average(int hw, int channels, const T *x,
    float *y) {
    HPT_SHARED(float, sum, 256 * V);
    int tx = (int)threadIdx.x, ty = (int)threadIdx.y, c = ((int)blockIdx.y * 32 + tx) * V;
    float a[V];
    for (int j = 0; j < V; j++) a[j] = 0;
    if (c < channels)
        for (int i = ty; i < hw; i += 8) {
            float v[V];
            hpt_load<T, V>(x + ((size_t)blockIdx.x * (size_t)hw + (size_t)i) * (size_t)channels + c, v);
            for (int j = 0; j < V; j++) a[j] += v[j];
        }
    for (int j = 0; j < V; j++) sum[j * 256 + ty * 32 + tx] = a[j];
    for (int h = 4; h > 0; h /= 2) {
        __syncthreads();
        if (ty < h)
            for (int j = 0; j < V; j++) sum[j * 256 + ty * 32 + tx] += sum[j * 256 + (ty + h) * 32 + tx];
    }
    if (ty == 0 && c < channels)
        for (int j = 0; j < V; j++)
            y[(size_t)blockIdx.x * (size_t)channels + (size_t)(c + j)] = sum[j * 256 + tx] / (float)hw;
}
extern "C" cudaError_t hpt__cuda_average(cudaStream_t s, const hpt__geometry *g, int bf16, const void *x, float *y) {
    int vecs = g->c / (bf16 ? 8 : 4);
    dim3 grid((unsigned)g->n, (unsigned)((vecs + 31) / 32)), block(32, 8);
    if (bf16) HPT_LAUNCH((k_average<uint16_t, 8>), grid, block, 0, s, g->h * g->w, g->c, (const uint16_t *)x, y);
    else HPT_LAUNCH((k_average<float, 4>), grid, block, 0, s, g->h * g->w, g->c, (const float *)x, y);
    return cudaGetLastError();
}
template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_average_backward(size_t items, int hw,
    int vecs, const float *dy, T *dx) {
    EACH(i, items) {
        size_t n = i / (size_t)vecs / (size_t)hw, c = i % (size_t)vecs;
        float v[V];
        for (int j = 0; j < V; j++) v[j] = dy[(n * (size_t)vecs + c) * V + (size_t)j] / (float)hw;
        hpt_store<T, V>(dx + i * V, v);
    }
}
extern "C" cudaError_t hpt__cuda_average_backward(cudaStream_t s, const hpt__geometry *g, int bf16, const float *dy,
                                                  void *dx) {
    int vecs = g->c / (bf16 ? 8 : 4), hw = g->h * g->w;
    size_t items = (size_t)g->n * (size_t)hw * (size_t)vecs;
    if (bf16)
        HPT_LAUNCH((k_average_backward<uint16_t, 8>), grid_for(items), dim3(THREADS), 0, s, items, hw, vecs, dy,
                   (uint16_t *)dx);
    else
        HPT_LAUNCH((k_average_backward<float, 4>), grid_for(items), dim3(THREADS), 0, s, items, hw, vecs, dy,
                   (float *)dx);
    return cudaGetLastError();
}

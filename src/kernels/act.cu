/* SPDX-License-Identifier: MIT
 * Contract: act.h. One 16-byte vector a thread and turn; what is left of the last vector goes value by value.
 * Traffic: each array once. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256, SUM = -1, BACKWARD = 16 };        /* what a launch does, beside hpt__act */

HPT_DEVICE float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }
/* a: x, or y where the activation's gradient reads that; b: r or dy; c: dy2 */
template <int WHAT> HPT_DEVICE float one(float a, float b, float c) {
    if (WHAT == SUM) return a + b;
    if (WHAT == HPT__ACT_RELU) return a < 0 ? 0.f : a;
    if (WHAT == HPT__ACT_SILU) return a * sigmoid(a);
    if (WHAT == HPT__ACT_SIGMOID) return sigmoid(a);
    if (WHAT == BACKWARD + HPT__ACT_RELU) return a > 0 ? b + c : 0.f;
    if (WHAT == BACKWARD + HPT__ACT_SIGMOID) return (b + c) * a * (1.f - a);
    float s = sigmoid(a);
    return (b + c) * s * (1.f + a * (1.f - s));
}
template <typename T, int V, int WHAT> HPT_DEVICE void at(const T *a, const T *b, const T *c, T *y, size_t i) {
    float va[V], vb[V] = {0}, vc[V] = {0};
    hpt_load<T, V>(a + i, va);
    if (b) hpt_load<T, V>(b + i, vb);
    if (c) hpt_load<T, V>(c + i, vc);
    for (int v = 0; v < V; v++) va[v] = one<WHAT>(va[v], vb[v], vc[v]);
    hpt_store<T, V>(y + i, va);
}
template <typename T, int V, int WHAT> __global__ void __launch_bounds__(THREADS) k_act(size_t n, const T *a,
    const T *b, const T *c, T *y) {
    size_t vectors = n / V, me = (size_t)blockIdx.x * THREADS + threadIdx.x;
    for (size_t i = me; i < vectors; i += (size_t)gridDim.x * THREADS) at<T, V, WHAT>(a, b, c, y, i * V);
    if (vectors * V + me < n) at<T, 1, WHAT>(a, b, c, y, vectors * V + me);
}
template <int WHAT> static cudaError_t launch(cudaStream_t s, int bf16, size_t n, const void *a, const void *b,
                                              const void *c, void *y) {
    size_t blocks = (n / (bf16 ? 8 : 4) + THREADS) / THREADS;
    dim3 grid((unsigned)(blocks > 8192 ? 8192 : blocks)), block(THREADS);
    if (bf16)
        HPT_LAUNCH((k_act<uint16_t, 8, WHAT>), grid, block, 0, s, n, (const uint16_t *)a, (const uint16_t *)b,
                   (const uint16_t *)c, (uint16_t *)y);
    else
        HPT_LAUNCH((k_act<float, 4, WHAT>), grid, block, 0, s, n, (const float *)a, (const float *)b, (const float *)c,
                   (float *)y);
    return cudaGetLastError();
}
extern "C" cudaError_t hpt__cuda_act(cudaStream_t s, int bf16, size_t n, hpt__act act, const void *x, void *y) {
    if (act == HPT__ACT_RELU) return launch<HPT__ACT_RELU>(s, bf16, n, x, NULL, NULL, y);
    if (act == HPT__ACT_SILU) return launch<HPT__ACT_SILU>(s, bf16, n, x, NULL, NULL, y);
    return launch<HPT__ACT_SIGMOID>(s, bf16, n, x, NULL, NULL, y);
}
extern "C" cudaError_t hpt__cuda_act_backward(cudaStream_t s, int bf16, size_t n, hpt__act act, const void *x,
                                              const void *y, const void *dy, const void *dy2, void *dx) {
    if (act == HPT__ACT_RELU) return launch<BACKWARD + HPT__ACT_RELU>(s, bf16, n, y, dy, dy2, dx);
    if (act == HPT__ACT_SILU) return launch<BACKWARD + HPT__ACT_SILU>(s, bf16, n, x, dy, dy2, dx);
    return launch<BACKWARD + HPT__ACT_SIGMOID>(s, bf16, n, y, dy, dy2, dx);
}
extern "C" cudaError_t hpt__cuda_sum(cudaStream_t s, int bf16, size_t n, const void *x, const void *r, void *y) {
    return launch<SUM>(s, bf16, n, x, r, NULL, y);
}

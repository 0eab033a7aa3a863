/* SPDX-License-Identifier: MIT
 * One block a view. The picture lies in scratch as 8-bit values (L2); each operation is a pass of the block over it,
 * with a barrier between. Resizing computes both directions at once for each output value: the inner sums round to 8
 * bits exactly as a separate pass would. Compiled without contraction of products and sums: results equal the CPU's
 * bit for bit. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"
#include "kernels/pixel.h"

enum { THREADS = 512, BITS = HPT__FILTER_BITS };

static size_t taps_bytes(int size, int taps) { return (size_t)size * (size_t)(taps + 2) * 4; }
static size_t view_bytes(int size, int taps) {
    return (2 * taps_bytes(size, taps) + 2 * (size_t)size * (size_t)size * 3 + 255) / 256 * 256;
}
extern "C" size_t hpt__cuda_augment_scratch(int views, int size, int taps) {
    return (size_t)views * view_bytes(size, taps);
}

HPT_DEVICE int clip8(int v) {
    v >>= BITS;
    return v < 0 ? 0 : v > 255 ? 255 : v;
}
/* table[i*(taps+2)]: first input position, number of taps, coefficients */
HPT_DEVICE void make_taps(int in, int out, int filter, int taps, int *table) {
    double scale = (double)in / out, fscale = scale < 1 ? 1 : scale, support = HPT__FILTER_SUPPORT(filter) * fscale,
        inv = 1 / fscale;
    for (int i = (int)threadIdx.x; i < out; i += THREADS) {
        double center = (i + 0.5) * scale, sum = 0;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5), *t = table + i * (taps + 2);
        if (lo < 0) lo = 0;
        if (hi > in) hi = in;
        for (int j = lo; j < hi; j++) sum += hpt__filter_weight(filter, (j - center + 0.5) * inv);
        for (int j = lo; j < hi; j++) {
            double w = hpt__filter_weight(filter, (j - center + 0.5) * inv);
            t[2 + j - lo] = hpt__filter_fixed(sum != 0 ? w / sum : w);
        }
        t[0] = lo;
        t[1] = hi - lo;
    }
}
/* one box pass along one direction: step = 3 (rows) or 3*size (columns) */
HPT_DEVICE void box(const uint8_t *in, uint8_t *out, int size, float radius, int down) {
    int r = (int)radius, count = size * size * 3, step = down ? 3 * size : 3;
    uint32_t ww = (uint32_t)((float)(1 << 24) / (radius * 2 + 1)), fw = ((1u << 24) - (uint32_t)(r * 2 + 1) * ww) / 2;
    for (int i = (int)threadIdx.x; i < count; i += THREADS) {
        int at = down ? i / (3 * size) : i / 3 % size, base = i - at * step;
        uint32_t acc = 0;
#define AT(j) ((uint32_t)in[base + ((j) < 0 ? 0 : (j) >= size ? size - 1 : (j)) * step])
        for (int j = at - r; j <= at + r; j++) acc += AT(j);
        out[i] = (uint8_t)((acc * ww + (AT(at - r - 1) + AT(at + r + 1)) * fw + (1u << 23)) >> 24);
#undef AT
    }
    __syncthreads();
}

__global__ void __launch_bounds__(THREADS) k_augment(int size, int taps, const hpt__view *views, const uint8_t *pixels,
                                                     const float *table, float *out, char *scratch, size_t per_view) {
    HPT_SHARED(int, sum, THREADS);
    const hpt__view v = views[blockIdx.x];
    int tid = (int)threadIdx.x, count = size * size;
    char *mine = scratch + blockIdx.x * per_view;
    int *tx = (int *)mine, *ty = tx + (size_t)size * (size_t)(taps + 2);
    uint8_t *a = (uint8_t *)(ty + (size_t)size * (size_t)(taps + 2)), *b = a + (size_t)count * 3;
    const uint8_t *src = pixels + v.offset + ((size_t)v.y * (size_t)v.w + (size_t)v.x) * 3;
    make_taps(v.cw, size, v.filter, taps, tx);
    make_taps(v.ch, size, v.filter, taps, ty);
    __syncthreads();
    for (int i = tid; i < count; i += THREADS) {
        const int *kx = tx + i % size * (taps + 2), *ky = ty + i / size * (taps + 2);
        int acc[3] = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)};
        for (int j = 0; j < ky[1]; j++) {
            const uint8_t *p = src + ((size_t)(ky[0] + j) * (size_t)v.w + (size_t)kx[0]) * 3;
            int in[3] = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)};
            for (int k = 0; k < kx[1]; k++, p += 3)
                for (int c = 0; c < 3; c++) in[c] += p[c] * kx[2 + k];
            for (int c = 0; c < 3; c++) acc[c] += clip8(in[c]) * ky[2 + j];
        }
        for (int c = 0; c < 3; c++) a[3 * i + c] = (uint8_t)clip8(acc[c]);
    }
    __syncthreads();
    for (int o = 0; o < 4 && v.jitter; o++) {
        int what = v.order[o], mean = 0;
        if (what == 1) {                            /* contrast: the mean luma of the picture as it is now */
            int s = 0;
            for (int i = tid; i < count; i += THREADS) s += hpt__luma(a + 3 * i);
            sum[tid] = s;
            for (int h = THREADS / 2; h > 0; h /= 2) {
                __syncthreads();
                if (tid < h) sum[tid] += sum[tid + h];
            }
            __syncthreads();
            mean = (int)((double)(unsigned)sum[0] / count + 0.5);
        }
        for (int i = tid; i < count; i += THREADS) {
            uint8_t *p = a + 3 * i;
            int l = what == 2 ? hpt__luma(p) : what == 1 ? mean : 0;
            float f = what == 0 ? v.brightness : what == 1 ? v.contrast : v.saturation;
            if (what == 3) hpt__hue_pixel(p, v.hue);
            else if (what >= 0) for (int c = 0; c < 3; c++) p[c] = hpt__blend(l, p[c], f);
        }
        __syncthreads();
    }
    if (v.gray) {
        for (int i = tid; i < count; i += THREADS)
            a[3 * i] = a[3 * i + 1] = a[3 * i + 2] = (uint8_t)hpt__luma(a + 3 * i);
        __syncthreads();
    }
    if (v.blur) {
        for (int down = 0; down < 2; down++) {
            box(a, b, size, v.radius, down);
            box(b, a, size, v.radius, down);
            box(a, b, size, v.radius, down);
            uint8_t *t = a;
            a = b;
            b = t;
        }
    }
    float *to = out + (size_t)blockIdx.x * (size_t)count * 3;
    for (int i = tid; i < count; i += THREADS) {
        int y = i / size, x = i % size, from = v.flip ? y * size + size - 1 - x : i;
        for (int c = 0; c < 3; c++)
            to[(size_t)c * (size_t)count + (size_t)i] = table[c * 256 + (v.solarize ? hpt__solar(a[3 * from + c])
                                                                         : a[3 * from + c])];
    }
}
extern "C" cudaError_t hpt__cuda_augment(cudaStream_t s, int views, int size, int taps, const hpt__view *view,
                                         const uint8_t *pixels, const float *table, float *out, void *scratch) {
    HPT_LAUNCH(k_augment, dim3((unsigned)views), dim3(THREADS), 0, s, size, taps, view, pixels, table, out,
               (char *)scratch, view_bytes(size, taps));
    return cudaGetLastError();
}

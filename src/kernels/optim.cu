/* SPDX-License-Identifier: MIT
 * Contract: optim.h. Memory-bound: 16-byte accesses, four values of every array in flight per thread, no atomics in
 * sums. What differs from step to step (rate, step, momentum) is read from device memory, so that a recorded step
 * can be replayed. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256 };

struct flat { float *q, *k, *next, *m, *v; const float *g, *trust; uint16_t *q_low, *k_low; };
struct factors { double wd, b1, b2, eps; float momentum; };

template <int RULE> HPT_DEVICE float step_value(float p, float *m, float *v, float g, const factors *f, float lr,
                                                double lr64, double adam1, double adam2, float trust) {
    if (RULE == HPT__SGD || RULE == HPT__LARS) {
        float d = fmaf((float)f->wd, p, g);
        if (RULE == HPT__LARS) d = hpt_mul(d, trust);
        *m = hpt_add(hpt_mul(f->momentum, *m), d);
        return fmaf(-lr, *m, p);
    }
    if (RULE == HPT__NESTEROV) {
        float d = fmaf((float)f->wd, p, g);
        *m = hpt_add(hpt_mul(f->momentum, *m), d);
        return fmaf(-lr, fmaf(f->momentum, *m, d), p);
    }
    if (RULE == HPT__LARS_LR) {         /* trust: times the rate */
        *m = hpt_add(hpt_mul(f->momentum, *m), hpt_mul(fmaf((float)f->wd, p, g), trust));
        return hpt_add(p, -*m);
    }
    if (RULE == HPT__ADAMW) {
        double pi = (double)p * (1 - lr64 * f->wd), mi = f->b1 * (double)*m + (1 - f->b1) * (double)g,
            vi = f->b2 * (double)*v + (1 - f->b2) * (double)g * (double)g;
        *m = (float)mi;
        *v = (float)vi;
        return (float)(pi - lr64 / adam1 * mi / (sqrt(vi) / adam2 + f->eps));
    }
    return p;
}

template <int RULE, int V> HPT_DEVICE void update_at(const flat *a, const factors *f, size_t i, float lr, double lr64,
                                                     double adam1, double adam2, float trust, float ema, float ema1) {
    float p[V], m[V] = {0}, v[V] = {0}, g[V] = {0}, next[V];
    hpt_load<float, V>(a->q + i, p);
    if (RULE != HPT__FROZEN) {
        hpt_load<float, V>(a->m + i, m);
        hpt_load<float, V>(a->g + i, g);
        if (RULE == HPT__ADAMW) hpt_load<float, V>(a->v + i, v);
    }
    if (a->k) hpt_load<float, V>(a->next + i, next);
    for (int j = 0; j < V; j++) p[j] = step_value<RULE>(p[j], m + j, v + j, g[j], f, lr, lr64, adam1, adam2, trust);
    if (RULE != HPT__FROZEN) {
        hpt_store<float, V>(a->q + i, p);
        hpt_store<float, V>(a->m + i, m);
        if (RULE == HPT__ADAMW) hpt_store<float, V>(a->v + i, v);
        if (a->q_low) hpt_store_low<V>(a->q_low + i, p);
    }
    if (!a->k) return;
    hpt_store<float, V>(a->k + i, next);
    for (int j = 0; j < V; j++) next[j] = hpt_add(hpt_mul(next[j], ema), hpt_mul(p[j], ema1));
    hpt_store<float, V>(a->next + i, next);
    if (a->k_low) hpt_store_low<V>(a->k_low + i, next);
}

/* What the gradient is multiplied with: read here, where a recorded step reads this step's rate. */
template <int RULE> HPT_DEVICE float scale_of(const flat *a, double lr64) {
    if (RULE == HPT__LARS_LR) return (float)((a->trust ? (double)*a->trust : 1) * lr64);
    return RULE == HPT__LARS ? *a->trust : 1;
}

template <int RULE> __global__ void __launch_bounds__(THREADS) k_update(flat a, factors f, size_t n,
    const hpt__vars *vars, const hpt__outcome *o) {
    if (o && o->bad) return;
    double lr64 = vars ? vars->lr : 0, adam1 = RULE == HPT__ADAMW ? vars->adam1 : 1, adam2 = RULE == HPT__ADAMW
        ? vars->adam2 : 1;
    float lr = (float)lr64, trust = scale_of<RULE>(&a, lr64), ema = vars ? (float)vars->ema : 0, ema1 = vars
        ? (float)(1 - vars->ema) : 1;
    size_t first = (size_t)blockIdx.x * THREADS + threadIdx.x, stride = (size_t)gridDim.x * THREADS, whole = n / 4;
    for (size_t i = first; i < whole; i += stride)
        update_at<RULE, 4>(&a, &f, 4 * i, lr, lr64, adam1, adam2, trust, ema, ema1);
    for (size_t i = 4 * whole + first; i < n; i += stride)
        update_at<RULE, 1>(&a, &f, i, lr, lr64, adam1, adam2, trust, ema, ema1);
}

static unsigned blocks_for(size_t n, int sms) {
    size_t b = (n / 4 + THREADS) / THREADS, most = (size_t)sms * 8;
    return (unsigned)(b < 1 ? 1 : b > most ? most : b);
}

HPT_DEVICE int not_finite(float x) { return (hpt_bits(x) & 0x7f800000u) == 0x7f800000u; }
/* Sets a bit of the outcome if any thread of the grid saw something bad. */
HPT_DEVICE void report(int bad, int32_t bit, hpt__outcome *o) {
    bad = __any_sync(HPT_FULL, bad);
    if (bad && threadIdx.x % HPT_WARP == 0) atomicOr(&o->bad, bit);
}
template <int RULE, int V> HPT_DEVICE int foresee_at(const flat *a, const factors *f, size_t i, float lr, double lr64,
                                                     double adam1, double adam2, float trust) {
    float p[V], m[V], v[V] = {0}, g[V];
    int bad = 0;
    hpt_load<float, V>(a->q + i, p);
    hpt_load<float, V>(a->m + i, m);
    hpt_load<float, V>(a->g + i, g);
    if (RULE == HPT__ADAMW) hpt_load<float, V>(a->v + i, v);
    for (int j = 0; j < V; j++)
        bad |= not_finite(step_value<RULE>(p[j], m + j, v + j, g[j], f, lr, lr64, adam1, adam2, trust)) |
            not_finite(v[j]);
    return bad;
}
template <int RULE> __global__ void __launch_bounds__(THREADS) k_foresee(flat a, factors f, size_t n,
    const hpt__vars *vars, int32_t bit, hpt__outcome *o) {
    double lr64 = vars->lr, adam1 = RULE == HPT__ADAMW ? vars->adam1 : 1, adam2 = RULE == HPT__ADAMW ? vars->adam2 : 1;
    float lr = (float)lr64, trust = scale_of<RULE>(&a, lr64);
    int bad = 0;
    size_t first = (size_t)blockIdx.x * THREADS + threadIdx.x, stride = (size_t)gridDim.x * THREADS, whole = n / 4;
    for (size_t i = first; i < whole; i += stride)
        bad |= foresee_at<RULE, 4>(&a, &f, 4 * i, lr, lr64, adam1, adam2, trust);
    for (size_t i = 4 * whole + first; i < n; i += stride)
        bad |= foresee_at<RULE, 1>(&a, &f, i, lr, lr64, adam1, adam2, trust);
    report(bad, bit, o);
}

static flat flat_of(const hpt__update *u, size_t at) {
#define AT(T, p) ((p) ? (T *)(p) + at : (T *)0)
    flat a = {AT(float, u->q), AT(float, u->k), AT(float, u->k_next), AT(float, u->m), AT(float, u->v),
              AT(const float, u->g), (const float *)u->trust, AT(uint16_t, u->q_low), AT(uint16_t, u->k_low)};
#undef AT
    return a;
}
static factors factors_of(const hpt__update *u) {
    factors f = {u->wd, u->b1, u->b2, u->eps, (float)u->momentum};
    return f;
}
extern "C" cudaError_t hpt__cuda_update(cudaStream_t s, int sms, const hpt__update *u, size_t at, size_t n,
                                        const hpt__vars *v, const hpt__outcome *o) {
    flat a = flat_of(u, at);
    factors f = factors_of(u);
    dim3 grid(blocks_for(n, sms)), block(THREADS);
    if (!n) return cudaSuccess;
    switch (u->rule) {
    case HPT__SGD: HPT_LAUNCH(k_update<HPT__SGD>, grid, block, 0, s, a, f, n, v, o); break;
    case HPT__NESTEROV: HPT_LAUNCH(k_update<HPT__NESTEROV>, grid, block, 0, s, a, f, n, v, o); break;
    case HPT__ADAMW: HPT_LAUNCH(k_update<HPT__ADAMW>, grid, block, 0, s, a, f, n, v, o); break;
    case HPT__LARS: HPT_LAUNCH(k_update<HPT__LARS>, grid, block, 0, s, a, f, n, v, o); break;
    case HPT__LARS_LR: HPT_LAUNCH(k_update<HPT__LARS_LR>, grid, block, 0, s, a, f, n, v, o); break;
    default: HPT_LAUNCH(k_update<HPT__FROZEN>, grid, block, 0, s, a, f, n, v, o); break;
    }
    return cudaGetLastError();
}
extern "C" cudaError_t hpt__cuda_foresee(cudaStream_t s, int sms, const hpt__update *u, size_t at, size_t n,
                                         const hpt__vars *v, int32_t bit, hpt__outcome *o) {
    flat a = flat_of(u, at);
    factors f = factors_of(u);
    dim3 grid(blocks_for(n, sms)), block(THREADS);
    if (!n) return cudaSuccess;
    switch (u->rule) {
    case HPT__SGD: HPT_LAUNCH(k_foresee<HPT__SGD>, grid, block, 0, s, a, f, n, v, bit, o); break;
    case HPT__NESTEROV: HPT_LAUNCH(k_foresee<HPT__NESTEROV>, grid, block, 0, s, a, f, n, v, bit, o); break;
    case HPT__ADAMW: HPT_LAUNCH(k_foresee<HPT__ADAMW>, grid, block, 0, s, a, f, n, v, bit, o); break;
    case HPT__LARS: HPT_LAUNCH(k_foresee<HPT__LARS>, grid, block, 0, s, a, f, n, v, bit, o); break;
    case HPT__LARS_LR: HPT_LAUNCH(k_foresee<HPT__LARS_LR>, grid, block, 0, s, a, f, n, v, bit, o); break;
    default: return cudaSuccess;
    }
    return cudaGetLastError();
}

/* squared lengths of p and g + wd*p: 64 blocks write a pair of partial sums each, one warp adds them in order */
enum { PARTS = 64 };
__global__ void __launch_bounds__(THREADS) k_trust_parts(const float *p, const float *g, size_t n, double wd,
                                                         double *part) {
    HPT_SHARED(double, sum, 2 * THREADS);
    double pp = 0, dd = 0;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)PARTS * THREADS) {
        double d = (double)g[i] + wd * (double)p[i];
        pp += (double)p[i] * (double)p[i];
        dd += d * d;
    }
    sum[threadIdx.x] = pp;
    sum[THREADS + threadIdx.x] = dd;
    for (int h = THREADS / 2; h > 0; h /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < h)
            for (int k = 0; k < 2; k++) sum[k * THREADS + threadIdx.x] += sum[k * THREADS + threadIdx.x + h];
    }
    if (threadIdx.x == 0) {
        part[2 * blockIdx.x] = sum[0];
        part[2 * blockIdx.x + 1] = sum[THREADS];
    }
}
__global__ void k_trust(int rule, const double *part, double wd, double eta, float *trust) {
    double pp = 0, dd = 0;
    if (threadIdx.x) return;
    for (int i = 0; i < PARTS; i++) {
        pp += part[2 * i];
        dd += part[2 * i + 1];
    }
    double sum = rule == HPT__LARS_LR ? sqrt(dd) + wd * sqrt(pp) : sqrt(dd);
    if (rule == HPT__LARS_LR) *trust = (float)(sum > 0 ? eta * sqrt(pp) / sum : 0);
    else *trust = (float)(pp > 0 && dd > 0 ? eta * sqrt(pp) / sum : 1);
}
extern "C" cudaError_t hpt__cuda_trust(cudaStream_t s, hpt__rule rule, const float *p, const float *g, size_t n,
                                       double wd, double eta, float *trust, double *scratch) {
    HPT_LAUNCH(k_trust_parts, dim3(PARTS), dim3(THREADS), 0, s, p, g, n, rule == HPT__LARS_LR ? 0 : wd, scratch);
    HPT_LAUNCH(k_trust, dim3(1), dim3(32), 0, s, (int)rule, (const double *)scratch, wd, eta, trust);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_blend(float *out, const float *k, const float *q, size_t n, float a,
                                                   float b) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
        out[i] = hpt_add(hpt_mul(k[i], a), hpt_mul(q[i], b));
    }
}
extern "C" cudaError_t hpt__cuda_blend(cudaStream_t s, int sms, float *out, const float *k, const float *q, size_t n,
                                       double a, double b) {
    if (!n) return cudaSuccess;
    HPT_LAUNCH(k_blend, dim3(blocks_for(n * 4, sms)), dim3(THREADS), 0, s, out, k, q, n, (float)a, (float)b);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_finite(const float *x, size_t n, int32_t bit, hpt__outcome *o) {
    int bad = 0;
    size_t first = (size_t)blockIdx.x * THREADS + threadIdx.x, stride = (size_t)gridDim.x * THREADS, whole = n / 4;
    for (size_t i = first; i < whole; i += stride) {
        float v[4];
        hpt_load<float, 4>(x + 4 * i, v);
        for (int j = 0; j < 4; j++) bad |= not_finite(v[j]);
    }
    for (size_t i = 4 * whole + first; i < n; i += stride) bad |= not_finite(x[i]);
    report(bad, bit, o);
}
extern "C" cudaError_t hpt__cuda_finite(cudaStream_t s, int sms, const float *x, size_t n, int32_t bit,
                                        hpt__outcome *o) {
    if (!n) return cudaSuccess;
    HPT_LAUNCH(k_finite, dim3(blocks_for(n, sms)), dim3(THREADS), 0, s, x, n, bit, o);
    return cudaGetLastError();
}

__global__ void __launch_bounds__(THREADS) k_lower(size_t n, size_t d, size_t pitch, const float *x, uint16_t *low) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) {
        size_t row = i / pitch, col = i % pitch;
        low[i] = col < d ? hpt_to_bf16(x[row * d + col]) : (uint16_t)0;
    }
}
__global__ void __launch_bounds__(THREADS) k_from_bf16(size_t n, const uint16_t *x, float *y) {
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS)
        y[i] = hpt_from_bf16(x[i]);
}
static dim3 flat_grid(size_t n) {
    size_t b = (n + THREADS - 1) / THREADS;
    return dim3((unsigned)(b < 1 ? 1 : b > 4096 ? 4096 : b));
}
extern "C" cudaError_t hpt__cuda_lower(cudaStream_t s, size_t rows, size_t d, size_t pitch, const float *x,
                                       uint16_t *low) {
    HPT_LAUNCH(k_lower, flat_grid(rows * pitch), dim3(THREADS), 0, s, rows * pitch, d, pitch, x, low);
    return cudaGetLastError();
}
extern "C" cudaError_t hpt__cuda_from_bf16(cudaStream_t s, size_t n, const uint16_t *x, float *y) {
    HPT_LAUNCH(k_from_bf16, flat_grid(n), dim3(THREADS), 0, s, n, x, y);
    return cudaGetLastError();
}
__global__ void __launch_bounds__(THREADS) k_copy_if(size_t n, const char *src, char *dst, const int32_t *flag) {
    if (!*flag) return;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS)
        hpt_store16(dst + 16 * i, hpt_load16(src + 16 * i));
}
extern "C" cudaError_t hpt__cuda_copy_if(cudaStream_t s, void *dst, const void *src, size_t bytes,
                                         const int32_t *flag) {
    HPT_LAUNCH(k_copy_if, flat_grid(bytes / 16), dim3(THREADS), 0, s, bytes / 16, (const char *)src, (char *)dst, flag);
    return cudaGetLastError();
}

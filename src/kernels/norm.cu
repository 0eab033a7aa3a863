/* SPDX-License-Identifier: MIT
 * Maps (N,H,W,C): a block covers CT channel vectors (threadIdx.x) and RT rows at a time (threadIdx.y); a thread
 * keeps its channels, so per-channel values stay in registers and every access is 16 bytes wide. Sums: float over a
 * thread's rows (at most a few hundred, shifted by the group's first row against cancellation), a tree over the
 * block, double over the blocks of a group. Traffic of a map of B bytes: train reads x twice and writes y once
 * (residual: one read more); backward reads x, y, dy (dy2) and writes d, then reads x and d and writes dx. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"
#include "kernels/norm.h"

enum { THREADS = 256 };

struct shape { int ct, rt, tiles, splits; size_t rows, chunk; };       /* rows: of a group */
/* values that a thread takes at once: rows of a length that 16-byte vectors do not divide go one by one */
static int width_of(const hpt__geometry *g, int bf16) { return bf16 ? 8 : g->rows && g->c % 4 ? 1 : 4; }
static shape shape_of(const hpt__geometry *g, int width, int sms) {
    shape p;
    int vecs = g->c / width;
    p.ct = 1;
    while (p.ct < 32 && p.ct < vecs) p.ct *= 2;
    p.rt = THREADS / p.ct;
    p.tiles = (vecs + p.ct - 1) / p.ct;
    p.rows = (size_t)(g->n / g->bn_groups) * (size_t)g->h * (size_t)g->w;
    size_t want = ((size_t)sms * 6 + (size_t)(p.tiles * g->bn_groups) - 1) / (size_t)(p.tiles * g->bn_groups),
        most = (p.rows + (size_t)p.rt * 4 - 1) / ((size_t)p.rt * 4);
    if (want > most) want = most;
    if (want > 512) want = 512;
    p.chunk = (p.rows + want - 1) / want;
    p.chunk = (p.chunk + (size_t)p.rt - 1) / (size_t)p.rt * (size_t)p.rt;
    p.splits = (int)((p.rows + p.chunk - 1) / p.chunk);
    return p;
}
extern "C" size_t hpt__cuda_norm_scratch(const hpt__geometry *g, int bf16, int sms) {
    shape p = shape_of(g, width_of(g, bf16), sms);
    return (size_t)g->bn_groups * (size_t)g->c * (2 * (size_t)p.splits + 2) * 4;
}

/* The thread's channels, and its rows [lo, hi) of the group, from threadIdx and blockIdx. */
struct where { int c, active; size_t lo, hi, base; };
template <int V> HPT_DEVICE where find(int channels, size_t rows, size_t chunk) {
    where t;
    t.c = (int)(blockIdx.x * blockDim.x + threadIdx.x) * V;
    t.active = t.c < channels;
    t.lo = (size_t)blockIdx.y * chunk + threadIdx.y;
    t.hi = (size_t)(blockIdx.y + 1) * chunk < rows ? (size_t)(blockIdx.y + 1) * chunk : rows;
    t.base = (size_t)blockIdx.z * rows * (size_t)channels + (size_t)t.c;
    return t;
}
/* Adds a and b over threadIdx.y and writes the block's sums: part[((group*C + c)*splits + split)*2 + {0,1}] */
template <int V> HPT_DEVICE void block_sums(const float a[V], const float b[V], int channels, const where *t,
                                            float *part) {
    HPT_SHARED(float, sum, 2 * THREADS * V);
    int me = (int)(threadIdx.y * blockDim.x + threadIdx.x), ct = (int)blockDim.x;
    for (int v = 0; v < V; v++) {
        sum[v * THREADS + me] = a[v];
        sum[(V + v) * THREADS + me] = b[v];
    }
    for (int h = (int)blockDim.y / 2; h > 0; h /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < h)
            for (int v = 0; v < 2 * V; v++) sum[v * THREADS + me] += sum[v * THREADS + me + h * ct];
    }
    if (threadIdx.y == 0 && t->active)
        for (int v = 0; v < V; v++) {
            size_t at = (((size_t)blockIdx.z * (size_t)channels + (size_t)(t->c + v)) * gridDim.y + blockIdx.y) * 2;
            part[at] = sum[v * THREADS + me];
            part[at + 1] = sum[(V + v) * THREADS + me];
        }
}

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_sums(const T *x, int channels, size_t rows,
    size_t chunk, float *part) {
    where t = find<V>(channels, rows, chunk);
    float s[V] = {0}, ss[V] = {0}, shift[V];
    if (t.active) {
        hpt_load<T, V>(x + t.base, shift);
#pragma unroll 4
        for (size_t r = t.lo; r < t.hi; r += blockDim.y) {
            float v[V];
            hpt_load<T, V>(x + t.base + r * (size_t)channels, v);
            for (int i = 0; i < V; i++) {
                float d = v[i] - shift[i];
                s[i] += d;
                ss[i] = fmaf(d, d, ss[i]);
            }
        }
    }
    block_sums<V>(s, ss, channels, &t, part);
}

/* One warp a channel. */
template <typename T> __global__ void __launch_bounds__(THREADS) k_finish(const T *x, const float *part, int channels,
    int groups, int splits, size_t rows, float *mean, float *rstd,
                                                                          float *run_mean, float *run_var, double mom,
                                                                          double eps) {
    int c = (int)(blockIdx.x * (THREADS / HPT_WARP) + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (c >= channels) return;
    double m = (double)rows, avg_mean = 0, avg_var = 0;
    for (int g = 0; g < groups; g++) {
        double s = 0, ss = 0;
        for (int i = lane; i < splits; i += HPT_WARP) {
            const float *p = part + (((size_t)g * (size_t)channels + (size_t)c) * (size_t)splits + (size_t)i) * 2;
            s += (double)p[0];
            ss += (double)p[1];
        }
        s = hpt_warp_sum(s);
        ss = hpt_warp_sum(ss);
        double shift = (double)hpt_widen(x[(size_t)g * rows * (size_t)channels + (size_t)c]), d = s / m,
            sq = ss - s * d;
        if (sq < 0) sq = 0;
        double mu = shift + d, var = sq / m;
        if (lane == 0) {
            mean[g * channels + c] = (float)mu;
            rstd[g * channels + c] = (float)(1 / sqrt(var + eps));
        }
        avg_mean += mu / groups;
        avg_var += (m > 1 ? sq / (m - 1) : var) / groups;
    }
    if (lane == 0) {
        run_mean[c] = (float)((1 - mom) * (double)run_mean[c] + mom * avg_mean);
        run_var[c] = (float)((1 - mom) * (double)run_var[c] + mom * avg_var);
    }
}

/* moments[(group*C + c)*2 + {0,1}]: mean, sum of squares about it. One warp a channel. */
template <typename T>
__global__ void __launch_bounds__(THREADS) k_moments(const T *x, const float *part, int channels, int groups,
                                                     int splits, size_t rows, double *moments) {
    int c = (int)(blockIdx.x * (THREADS / HPT_WARP) + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (c >= channels) return;
    for (int g = 0; g < groups; g++) {
        size_t row = (size_t)g * (size_t)channels + (size_t)c;
        double s = 0, ss = 0;
        for (int i = lane; i < splits; i += HPT_WARP) {
            const float *p = part + (row * (size_t)splits + (size_t)i) * 2;
            s += (double)p[0];
            ss += (double)p[1];
        }
        s = hpt_warp_sum(s);
        ss = hpt_warp_sum(ss);
        double shift = (double)hpt_widen(x[(size_t)g * rows * (size_t)channels + (size_t)c]);
        double d = s / (double)rows, sq = ss - s * d;
        if (lane == 0) {
            moments[row * 2] = shift + d;
            moments[row * 2 + 1] = sq < 0 ? 0 : sq;
        }
    }
}
/* One thread a channel; rows: of a group on one rank. */
__global__ void __launch_bounds__(THREADS) k_join(const double *moments, int channels, int groups, int ranks,
                                                  size_t rows, float *mean, float *rstd, float *run_mean,
                                                  float *run_var, double mom, double eps) {
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= channels) return;
    size_t block = (size_t)groups * (size_t)channels * 2;
    double m = (double)rows, all = m * ranks, avg_mean = 0, avg_var = 0;
    for (int g = 0; g < groups; g++) {
        const double *of = moments + ((size_t)g * (size_t)channels + (size_t)c) * 2;
        double mu = 0, sq = 0;
        for (int r = 0; r < ranks; r++) mu += of[(size_t)r * block] / ranks;
        for (int r = 0; r < ranks; r++) {
            double d = of[(size_t)r * block] - mu;
            sq += of[(size_t)r * block + 1] + m * d * d;
        }
        mean[g * channels + c] = (float)mu;
        rstd[g * channels + c] = (float)(1 / sqrt(sq / all + eps));
        avg_mean += mu / groups;
        avg_var += (all > 1 ? sq / (all - 1) : sq) / groups;
    }
    run_mean[c] = (float)((1 - mom) * (double)run_mean[c] + mom * avg_mean);
    run_var[c] = (float)((1 - mom) * (double)run_var[c] + mom * avg_var);
}

/* EVAL: mean and rstd are the running mean and variance */
template <typename T, int V, int EVAL> __global__ void __launch_bounds__(THREADS) k_apply(const T *x, const T *res,
    T *y, int channels, size_t rows, size_t chunk, const float *mean,
                                                                                         const float *rstd,
                                                                                         const float *w,
                                                                                         const float *b, int act,
                                                                                         float eps) {
    where t = find<V>(channels, rows, chunk);
    if (!t.active) return;
    float mu[V], scale[V], shift[V];
    for (int i = 0; i < V; i++) {
        size_t at = EVAL ? (size_t)(t.c + i) : (size_t)blockIdx.z * (size_t)channels + (size_t)(t.c + i);
        mu[i] = mean[at];
        scale[i] = (EVAL ? 1 / sqrtf(rstd[at] + eps) : rstd[at]) * w[t.c + i];
        shift[i] = b[t.c + i];
    }
#pragma unroll 4
    for (size_t r = t.lo; r < t.hi; r += blockDim.y) {
        size_t at = t.base + r * (size_t)channels;
        float v[V], q[V];
        hpt_load<T, V>(x + at, v);
        if (res) hpt_load<T, V>(res + at, q);
        for (int i = 0; i < V; i++) {
            v[i] = fmaf(v[i] - mu[i], scale[i], shift[i]);
            if (res) v[i] += q[i];
            if (act == HPT__ACT_RELU && v[i] < 0) v[i] = 0;
            if (act == HPT__ACT_SILU) v[i] *= 1 / (1 + expf(-v[i]));
        }
        hpt_store<T, V>(y + at, v);
    }
}

template <typename T, int V> __global__ void __launch_bounds__(THREADS) k_grad_sums(const T *x, const T *y, T *dy,
    const T *dy2, int channels, size_t rows, size_t chunk, const float *mean,
                                                                                   const float *rstd, const float *w,
                                                                                   const float *b, int act,
                                                                                   float *part) {
    where t = find<V>(channels, rows, chunk);
    float sd[V] = {0}, sdx[V] = {0}, mu[V], rs[V];
    if (t.active) {
        for (int i = 0; i < V; i++) {
            mu[i] = mean[(size_t)blockIdx.z * (size_t)channels + (size_t)(t.c + i)];
            rs[i] = rstd[(size_t)blockIdx.z * (size_t)channels + (size_t)(t.c + i)];
        }
#pragma unroll 2
        for (size_t r = t.lo; r < t.hi; r += blockDim.y) {
            size_t at = t.base + r * (size_t)channels;
            float d[V], v[V], q[V];
            hpt_load<T, V>(dy + at, d);
            hpt_load<T, V>(x + at, v);
            if (dy2) {
                hpt_load<T, V>(dy2 + at, q);
                for (int i = 0; i < V; i++) d[i] += q[i];
            }
            for (int i = 0; i < V && act == HPT__ACT_SILU; i++) {
                float z = fmaf(v[i] - mu[i], rs[i] * w[t.c + i], b[t.c + i]), s = 1 / (1 + expf(-z));
                d[i] *= s * (1 + z * (1 - s));
            }
            if (act == HPT__ACT_RELU) {
                hpt_load<T, V>(y + at, q);
                for (int i = 0; i < V; i++)
                    if (!(q[i] > 0)) d[i] = 0;
            }
            if (act != HPT__ACT_NONE || dy2) hpt_store<T, V>(dy + at, d);
            for (int i = 0; i < V; i++) {
                sd[i] += d[i];
                sdx[i] = fmaf(d[i], (v[i] - mu[i]) * rs[i], sdx[i]);
            }
        }
    }
    block_sums<V>(sd, sdx, channels, &t, part);
}
/* means[(group*C + c)*2 + {0,1}] = mean of d, mean of d*xhat */
__global__ void __launch_bounds__(THREADS) k_grad_finish(const float *part, int channels, int groups, int splits,
                                                         size_t rows, float *means, float *dw, float *db) {
    int c = (int)(blockIdx.x * (THREADS / HPT_WARP) + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (c >= channels) return;
    double sum_w = 0, sum_b = 0;
    for (int g = 0; g < groups; g++) {
        double s = 0, sx = 0;
        size_t row = (size_t)g * (size_t)channels + (size_t)c;
        for (int i = lane; i < splits; i += HPT_WARP) {
            s += (double)part[(row * (size_t)splits + (size_t)i) * 2];
            sx += (double)part[(row * (size_t)splits + (size_t)i) * 2 + 1];
        }
        s = hpt_warp_sum(s);
        sx = hpt_warp_sum(sx);
        if (lane == 0) {
            means[row * 2] = (float)(s / (double)rows);
            means[row * 2 + 1] = (float)(sx / (double)rows);
        }
        sum_b += s;
        sum_w += sx;
    }
    if (lane == 0) {
        dw[c] = (float)sum_w;
        db[c] = (float)sum_b;
    }
}
/* sums[(group*C + c)*2 + {0,1}] = sum of d, sum of d*xhat. One warp a channel. */
__global__ void __launch_bounds__(THREADS) k_grad_moments(const float *part, int channels, int groups, int splits,
                                                          double *sums, float *dw, float *db) {
    int c = (int)(blockIdx.x * (THREADS / HPT_WARP) + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (c >= channels) return;
    double sum_w = 0, sum_b = 0;
    for (int g = 0; g < groups; g++) {
        size_t row = (size_t)g * (size_t)channels + (size_t)c;
        double s = 0, sx = 0;
        for (int i = lane; i < splits; i += HPT_WARP) {
            s += (double)part[(row * (size_t)splits + (size_t)i) * 2];
            sx += (double)part[(row * (size_t)splits + (size_t)i) * 2 + 1];
        }
        s = hpt_warp_sum(s);
        sx = hpt_warp_sum(sx);
        if (lane == 0) {
            sums[row * 2] = s;
            sums[row * 2 + 1] = sx;
        }
        sum_b += s;
        sum_w += sx;
    }
    if (lane == 0) {
        dw[c] = (float)sum_w;
        db[c] = (float)sum_b;
    }
}
/* means as k_grad_finish leaves them, over the ranks; count: groups * channels */
__global__ void __launch_bounds__(THREADS) k_grad_join(const double *sums, size_t count, int ranks, double all,
                                                       float *means) {
    size_t row = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (row >= count) return;
    double s = 0, sx = 0;
    for (int r = 0; r < ranks; r++) {
        s += sums[((size_t)r * count + row) * 2];
        sx += sums[((size_t)r * count + row) * 2 + 1];
    }
    means[row * 2] = (float)(s / all);
    means[row * 2 + 1] = (float)(sx / all);
}
template <typename T, int V>
__global__ void __launch_bounds__(THREADS)
    k_grad_apply(const T *x, const T *d, T *dx, int channels, size_t rows, size_t chunk, const float *mean,
                 const float *rstd, const float *w, const float *means) {
    where t = find<V>(channels, rows, chunk);
    if (!t.active) return;
    float mu[V], rs[V], f[V], a[V], b[V];
    for (int i = 0; i < V; i++) {
        size_t at = (size_t)blockIdx.z * (size_t)channels + (size_t)(t.c + i);
        mu[i] = mean[at];
        rs[i] = rstd[at];
        f[i] = w[t.c + i] * rs[i];
        a[i] = means[2 * at];
        b[i] = means[2 * at + 1];
    }
#pragma unroll 4
    for (size_t r = t.lo; r < t.hi; r += blockDim.y) {
        size_t at = t.base + r * (size_t)channels;
        float v[V], g[V];
        hpt_load<T, V>(x + at, v);
        hpt_load<T, V>(d + at, g);
        for (int i = 0; i < V; i++) v[i] = f[i] * (g[i] - a[i] - (v[i] - mu[i]) * rs[i] * b[i]);
        hpt_store<T, V>(dx + at, v);
    }
}

static dim3 channel_grid(int c) { return dim3((unsigned)((c + THREADS / HPT_WARP - 1) / (THREADS / HPT_WARP))); }

/* How a pass over maps is launched. */
template <int V> struct launch {
    shape p;
    dim3 grid, block;
    launch(const hpt__geometry *g, int sms)
        : p(shape_of(g, V, sms)), grid((unsigned)p.tiles, (unsigned)p.splits, (unsigned)g->bn_groups),
          block((unsigned)p.ct, (unsigned)p.rt) {}
};
template <typename T, int V> static void sums(cudaStream_t s, const hpt__cuda_norm *a, const launch<V> *l) {
    HPT_LAUNCH((k_sums<T, V>), l->grid, l->block, 0, s, (const T *)a->x, a->g.c, l->p.rows, l->p.chunk, a->scratch);
}
template <typename T, int V> static void apply(cudaStream_t s, const hpt__cuda_norm *a, const launch<V> *l) {
    HPT_LAUNCH((k_apply<T, V, 0>), l->grid, l->block, 0, s, (const T *)a->x, (const T *)(a->g.residual ? a->r : NULL),
               (T *)a->y, a->g.c, l->p.rows, l->p.chunk, (const float *)a->mean, (const float *)a->rstd, a->w, a->b,
               (int)a->g.act, 0.f);
}
template <typename T, int V> static void grad_sums(cudaStream_t s, const hpt__cuda_norm *a, const launch<V> *l) {
    HPT_LAUNCH((k_grad_sums<T, V>), l->grid, l->block, 0, s, (const T *)a->x, (const T *)a->y_in, (T *)a->dy,
               (const T *)(a->g.extra_grad ? a->dy2 : NULL), a->g.c, l->p.rows, l->p.chunk, (const float *)a->mean,
               (const float *)a->rstd, a->w, a->b, (int)a->g.act, a->scratch);
}
template <typename T, int V>
static void grad_apply(cudaStream_t s, const hpt__cuda_norm *a, const launch<V> *l, const float *means) {
    HPT_LAUNCH((k_grad_apply<T, V>), l->grid, l->block, 0, s, (const T *)a->x, (const T *)a->dy, (T *)a->dx, a->g.c,
               l->p.rows, l->p.chunk, (const float *)a->mean, (const float *)a->rstd, a->w, means);
}

template <typename T, int V> static cudaError_t train(cudaStream_t s, const hpt__cuda_norm *a) {
    const hpt__geometry *g = &a->g;
    launch<V> l(g, a->sms);
    sums<T, V>(s, a, &l);
    HPT_LAUNCH((k_finish<T>), channel_grid(g->c), dim3(THREADS), 0, s, (const T *)a->x, (const float *)a->scratch, g->c,
               g->bn_groups, l.p.splits, l.p.rows, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum, g->eps);
    apply<T, V>(s, a, &l);
    return cudaGetLastError();
}
template <typename T, int V> static cudaError_t moments(cudaStream_t s, const hpt__cuda_norm *a, double *out) {
    launch<V> l(&a->g, a->sms);
    sums<T, V>(s, a, &l);
    HPT_LAUNCH((k_moments<T>), channel_grid(a->g.c), dim3(THREADS), 0, s, (const T *)a->x, (const float *)a->scratch,
               a->g.c, a->g.bn_groups, l.p.splits, l.p.rows, out);
    return cudaGetLastError();
}
template <typename T, int V> static cudaError_t joined(cudaStream_t s, const hpt__cuda_norm *a, const double *in) {
    const hpt__geometry *g = &a->g;
    launch<V> l(g, a->sms);
    HPT_LAUNCH(k_join, dim3((unsigned)((g->c + THREADS - 1) / THREADS)), dim3(THREADS), 0, s, in, g->c, g->bn_groups,
               hpt__bn_ranks(g), l.p.rows, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum, g->eps);
    apply<T, V>(s, a, &l);
    return cudaGetLastError();
}
template <typename T, int V> static cudaError_t eval(cudaStream_t s, const hpt__cuda_norm *a) {
    hpt__geometry g = a->g;
    g.bn_groups = 1;
    launch<V> l(&g, a->sms);
    HPT_LAUNCH((k_apply<T, V, 1>), l.grid, l.block, 0, s, (const T *)a->x, (const T *)(g.residual ? a->r : NULL),
               (T *)a->y, g.c, l.p.rows, l.p.chunk, (const float *)a->run_mean, (const float *)a->run_var, a->w, a->b,
               (int)g.act, (float)g.eps);
    return cudaGetLastError();
}
template <typename T, int V> static cudaError_t backward(cudaStream_t s, const hpt__cuda_norm *a) {
    const hpt__geometry *g = &a->g;
    launch<V> l(g, a->sms);
    float *means = a->scratch + (size_t)g->bn_groups * (size_t)g->c * (size_t)l.p.splits * 2;
    grad_sums<T, V>(s, a, &l);
    HPT_LAUNCH(k_grad_finish, channel_grid(g->c), dim3(THREADS), 0, s, (const float *)a->scratch, g->c, g->bn_groups,
               l.p.splits, l.p.rows, means, a->dw, a->db);
    grad_apply<T, V>(s, a, &l, means);
    return cudaGetLastError();
}
template <typename T, int V> static cudaError_t gradient_sums(cudaStream_t s, const hpt__cuda_norm *a, double *out) {
    launch<V> l(&a->g, a->sms);
    grad_sums<T, V>(s, a, &l);
    HPT_LAUNCH(k_grad_moments, channel_grid(a->g.c), dim3(THREADS), 0, s, (const float *)a->scratch, a->g.c,
               a->g.bn_groups, l.p.splits, out, a->dw, a->db);
    return cudaGetLastError();
}
template <typename T, int V>
static cudaError_t gradient_joined(cudaStream_t s, const hpt__cuda_norm *a, const double *in) {
    const hpt__geometry *g = &a->g;
    launch<V> l(g, a->sms);
    size_t count = (size_t)g->bn_groups * (size_t)g->c;
    HPT_LAUNCH(k_grad_join, dim3((unsigned)((count + THREADS - 1) / THREADS)), dim3(THREADS), 0, s, in, count,
               hpt__bn_ranks(g), (double)l.p.rows * hpt__bn_ranks(g), a->scratch);
    grad_apply<T, V>(s, a, &l, (const float *)a->scratch);
    return cudaGetLastError();
}
#define CALL(f, ...) \
    (a->bf16 ? f<uint16_t, 8>(__VA_ARGS__) \
             : width_of(&a->g, 0) == 4 ? f<float, 4>(__VA_ARGS__) : f<float, 1>(__VA_ARGS__))
extern "C" cudaError_t hpt__cuda_norm_train(cudaStream_t s, const hpt__cuda_norm *a) { return CALL(train, s, a); }
extern "C" cudaError_t hpt__cuda_norm_eval(cudaStream_t s, const hpt__cuda_norm *a) { return CALL(eval, s, a); }
extern "C" cudaError_t hpt__cuda_norm_backward(cudaStream_t s, const hpt__cuda_norm *a) { return CALL(backward, s, a); }
extern "C" cudaError_t hpt__cuda_norm_moments(cudaStream_t s, const hpt__cuda_norm *a, double *out) {
    return CALL(moments, s, a, out);
}
extern "C" cudaError_t hpt__cuda_norm_joined(cudaStream_t s, const hpt__cuda_norm *a, const double *in) {
    return CALL(joined, s, a, in);
}
extern "C" cudaError_t hpt__cuda_norm_grad_sums(cudaStream_t s, const hpt__cuda_norm *a, double *out) {
    return CALL(gradient_sums, s, a, out);
}
extern "C" cudaError_t hpt__cuda_norm_grad_joined(cudaStream_t s, const hpt__cuda_norm *a, const double *in) {
    return CALL(gradient_joined, s, a, in);
}

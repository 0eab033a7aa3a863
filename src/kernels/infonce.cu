/* SPDX-License-Identifier: MIT
 * InfoNCE as attention with keys = values = queue: the N x (Q+1) matrix never exists. The queue is split over the
 * multiprocessors; a block keeps its rows of q in registers, streams its part of the queue in tiles through shared
 * memory, forms logits, moves an online maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022) and accumulates
 * p*queue at once from the same tile. Partial results (one maximum, sum, count and D values for each row and split) are
 * combined in a fixed order: deterministic.
 *
 * bf16 kernel (D <= 128), per step of N rows and Q keys, against the floor of one logit product and one gradient
 * product:
 *   flops   6*N*Q*D on the tensor cores = 1.5 x the floor of 4*N*Q*D: q is split into two bfloat16 parts, so that the
 *           only rounding of a logit beyond fp32 is the queue's own storage. N 256, D 128, Q 65,536: 12.9 GFLOP.
 *   bytes   queue once from memory: 2*Q*D = 16.8 MB (the floor); the N/128 row blocks of a split run side by side and
 *           share it through L2, N/128 * 16.8 MB = 33.6 MB there. Partials: splits*N*(D+3)*4 written and read once, 66
 *           splits: 8.9 MB each way, in L2.
 *   error   against the exact loss of the stored queue: logits about 2^-17 relative; p rounds to bfloat16 for the
 *           gradient product: 2^-9 relative in each term, averaged over the keys. Storing a key in bfloat16 moves a
 *           logit by at most 2^-9/tau.
 * fp32 kernel: 4*N*Q*D flops on the CUDA cores (2*ceil(D/128)+2 instead of 4 halves for D > 128), bytes 4*Q*D per
 * row block of 64 from L2. */
#include "kernels/cuda_kernels.h"
#include "kernels/device_c.h"

enum { THREADS = 256, BM = 128, BN = 64, FM = 64, FN = 64, FK = 32 };
#define LOG2E 1.4426950408889634

struct parts { float *pos, *max, *sum, *acc; int *above; double *row_loss; int *row_above; };
static size_t up(size_t x) { return (x + 63) / 64 * 64; }
static int splits_for(int row_blocks, int sms) {
    int s = sms / row_blocks;
    return s < 1 ? 1 : s;
}
static parts parts_of(void *scratch, int n, int d, int splits) {
    parts p;
    char *at = (char *)scratch;
    size_t rows = (size_t)n, all = rows * (size_t)splits;
    p.row_loss = (double *)at; at += up(rows * 8);
    p.pos = (float *)at; at += up(rows * 4);
    p.row_above = (int *)at; at += up(rows * 4);
    p.max = (float *)at; at += up(all * 4);
    p.sum = (float *)at; at += up(all * 4);
    p.above = (int *)at; at += up(all * 4);
    p.acc = (float *)at;
    (void)d;
    return p;
}
extern "C" size_t hpt__cuda_infonce_scratch(int n, int d, int sms) {
    size_t rows = (size_t)n, all = rows * (size_t)sms;        /* never more splits than multiprocessors */
    return up(rows * 8) + 2 * up(rows * 4) + 3 * up(all * 4) + up(all * (size_t)d * 4);
}
extern "C" int hpt__cuda_infonce_pitch(int d) { return d <= 64 ? 64 : d <= 128 ? 128 : 0; }

/* pos[n] = <q,k>/tau, a warp each */
__global__ void __launch_bounds__(THREADS) k_positive(int n, int d, const float *q, const float *k, double tau,
                                                      float *pos) {
    int row = (int)(blockIdx.x * (THREADS / HPT_WARP) + threadIdx.x / HPT_WARP), lane = (int)(threadIdx.x % HPT_WARP);
    if (row >= n) return;
    double s = 0;
    for (int j = lane; j < d; j += HPT_WARP) s += (double)q[(size_t)row * d + j] * (double)k[(size_t)row * d + j];
    s = hpt_warp_sum(s);
    if (lane == 0) pos[row] = (float)(s / tau);
}

/* Rows g and g+8 of a warp's 16 belong to the four lanes 4g..4g+3. */
HPT_DEVICE float quad_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(HPT_FULL, v, 1));
    return fmaxf(v, __shfl_xor_sync(HPT_FULL, v, 2));
}
HPT_DEVICE float quad_sum(float v) {
    v += __shfl_xor_sync(HPT_FULL, v, 1);
    return v + __shfl_xor_sync(HPT_FULL, v, 2);
}
HPT_DEVICE int quad_sum(int v) {
    v += __shfl_xor_sync(HPT_FULL, v, 1);
    return v + __shfl_xor_sync(HPT_FULL, v, 2);
}

/* One tile of the queue to shared memory, rows of DP+8 values (the pad keeps fragment reads free of bank conflicts);
 * rows beyond the end are zero. */
template <int DP> HPT_DEVICE void load_tile(uint16_t *tile, const uint16_t *low, int64_t at, int64_t end) {
    for (int i = (int)threadIdx.x; i < BN * (DP / 8); i += THREADS) {
        int row = i / (DP / 8), col = i % (DP / 8) * 8;
        uint16_t *to = tile + row * (DP + 8) + col;
        if (at + row < end) hpt_cp_async16(to, low + (at + row) * DP + col);
        else {
            uint4 zero = {0, 0, 0, 0};
            hpt_store16(to, zero);
        }
    }
    hpt_cp_async_commit();
}

/* DP: D padded to 64 or 128. A warp owns 16 rows; see device_c.h for the fragments. */
template <int DP> __global__ void __launch_bounds__(THREADS) k_infonce_bf16(int n, int d, int64_t queued,
    const float *q, const uint16_t *low, float scale2, float inv_tau, int64_t per_split, parts out) {
    enum { KB = DP / 16, NT = BN / 8, DT = DP / 8 };
    HPT_SHARED_DYNAMIC(memory);
    uint16_t *tiles = (uint16_t *)memory;
    int warp = (int)threadIdx.x / HPT_WARP, lane = (int)threadIdx.x % HPT_WARP, g = lane / 4, t = lane % 4;
    int row[2] = {(int)blockIdx.x * BM + warp * 16 + g, (int)blockIdx.x * BM + warp * 16 + g + 8};
    int64_t first = (int64_t)blockIdx.y * per_split, last = first + per_split < queued ? first + per_split : queued;
    uint32_t hi[KB][4], lo[KB][4];
    float acc[DT][4], m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0}, pos[2];
    int above[2] = {0, 0};
    for (int kb = 0; kb < KB; kb++)
        for (int i = 0; i < 4; i++) {
            int r = row[i % 2], c = kb * 16 + i / 2 * 8 + 2 * t;
            float x[2], y[2];
            for (int j = 0; j < 2; j++) {
                x[j] = r < n && c + j < d ? q[(size_t)r * d + c + j] : 0;
                y[j] = x[j] - hpt_from_bf16(hpt_to_bf16(x[j]));
            }
            hi[kb][i] = hpt_pack2(x[0], x[1]);
            lo[kb][i] = hpt_pack2(y[0], y[1]);
        }
    for (int i = 0; i < DT; i++)
        for (int j = 0; j < 4; j++) acc[i][j] = 0;
    for (int i = 0; i < 2; i++) pos[i] = row[i] < n ? out.pos[row[i]] : 0;

    if (first < last) load_tile<DP>(tiles, low, first, last);
    int stage = 0;
    for (int64_t at = first; at < last; at += BN, stage ^= 1) {
        uint16_t *tile = tiles + stage * BN * (DP + 8);
        if (at + BN < last) {
            load_tile<DP>(tiles + (stage ^ 1) * BN * (DP + 8), low, at + BN, last);
            hpt_cp_async_wait(1);
        } else hpt_cp_async_wait(0);
        __syncthreads();

        float s[NT][4];
        for (int nt = 0; nt < NT; nt++) {
            for (int j = 0; j < 4; j++) s[nt][j] = 0;
            const uint16_t *key = tile + (nt * 8 + g) * (DP + 8) + 2 * t;
            for (int kb = 0; kb < KB; kb++) {
                uint32_t b[2] = {*(const uint32_t *)(key + kb * 16), *(const uint32_t *)(key + kb * 16 + 8)};
                hpt_mma_bf16_16x8x16(s[nt], hi[kb], b);
                hpt_mma_bf16_16x8x16(s[nt], lo[kb], b);
            }
        }
        /* s becomes logits in units of log 2; columns beyond the end count for nothing */
        float top[2] = {-INFINITY, -INFINITY}, old[2], part[2] = {0, 0};
        int valid = (int)(last - at < (int64_t)BN ? last - at : (int64_t)BN);
        for (int nt = 0; nt < NT; nt++)
            for (int j = 0; j < 4; j++) {
                int inside = nt * 8 + 2 * t + j % 2 < valid;
                above[j / 2] += inside && s[nt][j] * inv_tau > pos[j / 2];
                s[nt][j] = inside ? s[nt][j] * scale2 : -INFINITY;
                top[j / 2] = fmaxf(top[j / 2], s[nt][j]);
            }
        for (int i = 0; i < 2; i++) {
            old[i] = m[i];
            m[i] = fmaxf(m[i], quad_max(top[i]));
            float f = exp2f(old[i] - m[i]);
            l[i] *= f;
            old[i] = f;
        }
        for (int nt = 0; nt < NT; nt++)
            for (int j = 0; j < 4; j++) {
                s[nt][j] = exp2f(s[nt][j] - m[j / 2]);
                part[j / 2] += s[nt][j];
            }
        for (int i = 0; i < 2; i++) l[i] += part[i];
        for (int dt = 0; dt < DT; dt++)
            for (int j = 0; j < 4; j++) acc[dt][j] *= old[j / 2];
        for (int jb = 0; jb < BN / 16; jb++) {
            uint32_t p[4] = {hpt_pack2(s[2 * jb][0], s[2 * jb][1]), hpt_pack2(s[2 * jb][2], s[2 * jb][3]),
                             hpt_pack2(s[2 * jb + 1][0], s[2 * jb + 1][1]),
                             hpt_pack2(s[2 * jb + 1][2], s[2 * jb + 1][3])};
            const uint16_t *value = tile + (jb * 16 + lane / 8 % 2 * 8 + lane % 8) * (DP + 8) + lane / 16 * 8;
            for (int dt = 0; dt < DT; dt += 2) {
                uint32_t v[4];
                hpt_ldmatrix_x4_trans(v, value + dt * 8);
                hpt_mma_bf16_16x8x16(acc[dt], p, v);
                hpt_mma_bf16_16x8x16(acc[dt + 1], p, v + 2);
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++) {
        float sum = quad_sum(l[i]);
        int count = quad_sum(above[i]);
        if (row[i] >= n) continue;
        size_t at = (size_t)blockIdx.y * (size_t)n + (size_t)row[i];
        if (t == 0) {
            out.max[at] = m[i];
            out.sum[at] = sum;
            out.above[at] = count;
        }
        for (int dt = 0; dt < DT; dt++)
            for (int j = 0; j < 2; j++) {
                int c = dt * 8 + 2 * t + j;
                if (c < d) out.acc[at * (size_t)d + (size_t)c] = acc[dt][2 * i + j];
            }
    }
}

/* 16 x 16 threads, 4 x 4 logits and 4 rows x 8 columns of the gradient each; blockIdx.z: columns z*128 .. of the
 * gradient */
__global__ void __launch_bounds__(THREADS) k_infonce_fp32(int n, int d, int64_t queued, const float *q,
                                                          const float *queue, float scale2, float inv_tau,
                                                          int64_t per_split, parts out) {
    HPT_SHARED_DYNAMIC(memory);
    float *qs = (float *)memory, *ks = qs + FK * (FM + 4), *ps = ks + FK * (FN + 4), *vs = ps + FN * (FM + 4);
    int tid = (int)threadIdx.x, tx = tid % 16, ty = tid / 16, row0 = (int)blockIdx.x * FM, col0 = (int)blockIdx.z * 128;
    int64_t first = (int64_t)blockIdx.y * per_split, last = first + per_split < queued ? first + per_split : queued;
    float acc[4][8], m[4], l[4], pos[4];
    int above[4];
    for (int i = 0; i < 4; i++) {
        m[i] = -INFINITY;
        l[i] = 0;
        above[i] = 0;
        pos[i] = row0 + 4 * ty + i < n ? out.pos[row0 + 4 * ty + i] : 0;
        for (int j = 0; j < 8; j++) acc[i][j] = 0;
    }
    for (int64_t at = first; at < last; at += FN) {
        float s[4][4];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) s[i][j] = 0;
        for (int k0 = 0; k0 < d; k0 += FK) {
            __syncthreads();
            for (int i = tid; i < FK * FM; i += THREADS) {
                int r = i / FK, c = i % FK, in = k0 + c < d;
                qs[c * (FM + 4) + r] = in && row0 + r < n ? q[(size_t)(row0 + r) * d + (k0 + c)] : 0;
                ks[c * (FN + 4) + r] = in && at + r < last ? queue[(at + r) * d + (k0 + c)] : 0;
            }
            __syncthreads();
            for (int c = 0; c < FK; c++) {
                float a[4], b[4];
                hpt_load<float, 4>(qs + c * (FM + 4) + 4 * ty, a);
                hpt_load<float, 4>(ks + c * (FN + 4) + 4 * tx, b);
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 4; j++) s[i][j] = fmaf(a[i], b[j], s[i][j]);
            }
        }
        for (int i = 0; i < 4; i++) {
            float top = -INFINITY;
            for (int j = 0; j < 4; j++) {
                int inside = at + 4 * tx + j < last;
                above[i] += inside && s[i][j] * inv_tau > pos[i];
                s[i][j] = inside ? s[i][j] * scale2 : -INFINITY;
                top = fmaxf(top, s[i][j]);
            }
            for (int k = 8; k > 0; k >>= 1) top = fmaxf(top, __shfl_xor_sync(HPT_FULL, top, k));
            float now = fmaxf(m[i], top), f = exp2f(m[i] - now);
            m[i] = now;
            l[i] *= f;
            for (int j = 0; j < 8; j++) acc[i][j] *= f;
            for (int j = 0; j < 4; j++) {
                s[i][j] = exp2f(s[i][j] - now);
                l[i] += s[i][j];
                ps[(4 * tx + j) * (FM + 4) + 4 * ty + i] = s[i][j];
            }
        }
        for (int i = tid; i < FN * 128; i += THREADS) {
            int r = i / 128, c = i % 128;
            vs[i] = at + r < last && col0 + c < d ? queue[(at + r) * d + (col0 + c)] : 0;
        }
        __syncthreads();
        for (int k = 0; k < FN; k++) {
            float p[4], v[8];
            hpt_load<float, 4>(ps + k * (FM + 4) + 4 * ty, p);
            hpt_load<float, 4>(vs + k * 128 + 4 * tx, v);
            hpt_load<float, 4>(vs + k * 128 + 64 + 4 * tx, v + 4);
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 8; j++) acc[i][j] = fmaf(p[i], v[j], acc[i][j]);
        }
    }
    for (int i = 0; i < 4; i++) {
        float sum = l[i];
        int count = above[i], r = row0 + 4 * ty + i;
        for (int k = 8; k > 0; k >>= 1) {
            sum += __shfl_xor_sync(HPT_FULL, sum, k);
            count += __shfl_xor_sync(HPT_FULL, count, k);
        }
        if (r >= n) continue;
        size_t to = (size_t)blockIdx.y * (size_t)n + (size_t)r;
        if (tx == 0 && blockIdx.z == 0) {
            out.max[to] = m[i];
            out.sum[to] = sum;
            out.above[to] = count;
        }
        for (int j = 0; j < 8; j++) {
            int c = col0 + j / 4 * 64 + 4 * tx + j % 4;
            if (c < d) out.acc[to * (size_t)d + (size_t)c] = acc[i][j];
        }
    }
}

/* One block a row: the splits in order, then the positive. */
__global__ void __launch_bounds__(128) k_combine(int n, int d, int splits, const float *k, double tau, parts in,
                                                 float *dq) {
    int row = (int)blockIdx.x;
    double pos = (double)in.pos[row] * LOG2E, top = pos, sum = 0;
    int above = 0;
    for (int s = 0; s < splits; s++) {
        double m = (double)in.max[(size_t)s * (size_t)n + (size_t)row];
        if (m > top || m != m) top = m;
    }
    for (int s = 0; s < splits; s++) {
        size_t at = (size_t)s * (size_t)n + (size_t)row;
        sum += exp2((double)in.max[at] - top) * (double)in.sum[at];
        above += in.above[at];
    }
    double mine = exp2(pos - top);
    sum += mine;
    for (int c = (int)threadIdx.x; c < d; c += 128) {
        double g = 0;
        for (int s = 0; s < splits; s++) {
            size_t at = (size_t)s * (size_t)n + (size_t)row;
            g += exp2((double)in.max[at] - top) * (double)in.acc[at * (size_t)d + (size_t)c];
        }
        dq[(size_t)row * d + c] = (float)((g / sum + (mine / sum - 1) * (double)k[(size_t)row * d + c]) /
                                          ((double)n * tau));
    }
    if (threadIdx.x == 0) {
        in.row_loss[row] = (top - pos) / LOG2E + log(sum);
        in.row_above[row] = above;
    }
}
__global__ void __launch_bounds__(THREADS) k_total(int n, parts in, hpt__outcome *o) {
    HPT_SHARED(double, sum, 3 * THREADS);
    int tid = (int)threadIdx.x;
    double v[3] = {0, 0, 0};
    for (int i = tid; i < n; i += THREADS) {
        v[0] += in.row_loss[i];
        v[1] += in.row_above[i] < 1;
        v[2] += in.row_above[i] < 5;
    }
    for (int k = 0; k < 3; k++) sum[k * THREADS + tid] = v[k];
    for (int h = THREADS / 2; h > 0; h /= 2) {
        __syncthreads();
        if (tid < h)
            for (int k = 0; k < 3; k++) sum[k * THREADS + tid] += sum[k * THREADS + tid + h];
    }
    if (tid == 0) {
        o->loss = sum[0] / n;
        o->top1 = sum[THREADS];
        o->top5 = sum[2 * THREADS];
    }
}

__global__ void k_judge(hpt__outcome *o) {
    if (threadIdx.x == 0 && !(o->loss - o->loss == 0 && o->entropy - o->entropy == 0)) o->bad |= HPT__BAD_LOSS;
}
extern "C" cudaError_t hpt__cuda_judge(cudaStream_t s, hpt__outcome *o) {
    HPT_LAUNCH(k_judge, dim3(1), dim3(HPT_WARP), 0, s, o);
    return cudaGetLastError();
}

template <int DP> static void launch_bf16(cudaStream_t s, dim3 grid, int n, int d, int64_t queued, const float *q,
                                          const uint16_t *low, double tau, int64_t per, parts p) {
    size_t bytes = (size_t)2 * BN * (DP + 8) * 2;
    HPT_LAUNCH(k_infonce_bf16<DP>, grid, dim3(THREADS), bytes, s, n, d, queued, q, low, (float)(LOG2E / tau),
               (float)(1 / tau), per, p);
}
extern "C" cudaError_t hpt__cuda_infonce(cudaStream_t s, int sms, int n, int d, int64_t queued, const float *q,
                                         const float *k, const float *queue, const uint16_t *low, double tau,
                                         hpt__outcome *o, float *dq, void *scratch) {
    int bm = low ? (int)BM : (int)FM, bn = low ? (int)BN : (int)FN, row_blocks = (n + bm - 1) / bm, zs = low ? 1
        : (d + 127) / 128;
    int splits = splits_for(row_blocks * zs, sms);
    int64_t tiles = (queued + bn - 1) / bn, per = (tiles + splits - 1) / splits * (int64_t)bn;
    splits = per ? (int)((queued + per - 1) / per) : 0;
    parts p = parts_of(scratch, n, d, splits);
    HPT_LAUNCH(k_positive, dim3((unsigned)((n + 7) / 8)), dim3(THREADS), 0, s, n, d, q, k, tau, p.pos);
    if (splits) {
        dim3 grid((unsigned)row_blocks, (unsigned)splits, (unsigned)zs);
        if (low && d <= 64) launch_bf16<64>(s, grid, n, d, queued, q, low, tau, per, p);
        else if (low) launch_bf16<128>(s, grid, n, d, queued, q, low, tau, per, p);
        else {
            size_t bytes = (size_t)(FK * (FM + 4) + FK * (FN + 4) + FN * (FM + 4) + FN * 128) * 4;
            HPT_ALLOW_SHARED(k_infonce_fp32, bytes);
            HPT_LAUNCH(k_infonce_fp32, grid, dim3(THREADS), bytes, s, n, d, queued, q, queue, (float)(LOG2E / tau),
                       (float)(1 / tau), per, p);
        }
    }
    HPT_LAUNCH(k_combine, dim3((unsigned)n), dim3(128), 0, s, n, d, splits, k, tau, p, dq);
    HPT_LAUNCH(k_total, dim3(1), dim3(THREADS), 0, s, n, p, o);
    return cudaGetLastError();
}

/* SPDX-License-Identifier: MIT
 * Contract: norm.h. Traffic per element: forward reads x twice, writes y (reads the residual once); backward reads
 * dy, (dy2), y, x, writes dy, then reads dy, x, writes dx. The work is cut into items of (group, channel block,
 * chunk of images) whatever the number of threads, and partial sums are added in item order, so results do not
 * depend on it. Sums are taken about the group's first pixel, which keeps sum(x^2) - sum(x)^2/m from cancelling. */
#include "kernels/cpu_kernels.h"
#include "kernels/norm.h"
#include "kernels/vec.h"
#include <math.h>

enum { MIN_ITEMS = 16, FLUSH = 64 };    /* FLUSH: pixels (x4) summed in float before they go to double */

static int chunks(const hpt__geometry *g) {
    int s = 1, per = g->n / g->bn_groups, cb = vec_blocks(g->c);
    while (g->bn_groups * cb * s < MIN_ITEMS && s * 2 <= per) s *= 2;
    return s;
}
static int items(const hpt__geometry *g) { return g->bn_groups * vec_blocks(g->c) * chunks(g); }
size_t CPU(norm_scratch)(const hpt__geometry *g) {
    return sizeof(double) * 2 * HPT__VB * (size_t)(items(g) + 2 * g->bn_groups * vec_blocks(g->c));
}

typedef struct item { int group, cb, first, last; } item;
static item item_at(const hpt__geometry *g, int i) {
    int s = chunks(g), cbs = vec_blocks(g->c), per = g->n / g->bn_groups;
    int chunk = i % s, cb = i / s % cbs, group = i / s / cbs;
    return (item){group, cb, group * per + per * chunk / s, group * per + per * (chunk + 1) / s};
}
/* first vector of image n, channel block cb */
INLINE size_t at(const hpt__geometry *g, int n, int cb) {
    return ((size_t)n * (size_t)vec_blocks(g->c) + (size_t)cb) * (size_t)g->h * (size_t)g->w;
}

INLINE void flush(double *to, vf v) {
    for (int l = 0; l < HPT__VB; l++) to[l] += v[l];
}

INLINE void stats_item(const hpt__cpu_norm *a, int i, int bf16) {
    const hpt__geometry *g = a->g;
    item it = item_at(g, i);
    double *sum = a->partial + (size_t)i * 2 * HPT__VB, *sq = sum + HPT__VB;
    for (int l = 0; l < 2 * HPT__VB; l++) sum[l] = 0;
    vf shift = vec_load(a->x, at(g, it.group * (g->n / g->bn_groups), it.cb), bf16);
    int hw = g->h * g->w;
    for (int n = it.first; n < it.last; n++) {
        size_t base = at(g, n, it.cb);
        for (int p0 = 0; p0 < hw; p0 += FLUSH * 4) {
            int p1 = p0 + FLUSH * 4 < hw ? p0 + FLUSH * 4 : hw, p = p0;
            vf s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, q0 = {0}, q1 = {0}, q2 = {0}, q3 = {0};
            for (; p + 4 <= p1; p += 4) {
                vf x0 = vec_load(a->x, base + p, bf16) - shift, x1 = vec_load(a->x, base + p + 1, bf16) - shift;
                vf x2 = vec_load(a->x, base + p + 2, bf16) - shift, x3 = vec_load(a->x, base + p + 3, bf16) - shift;
                s0 += x0; s1 += x1; s2 += x2; s3 += x3;
                q0 += x0 * x0; q1 += x1 * x1; q2 += x2 * x2; q3 += x3 * x3;
            }
            for (; p < p1; p++) {
                vf x0 = vec_load(a->x, base + p, bf16) - shift;
                s0 += x0;
                q0 += x0 * x0;
            }
            flush(sum, (s0 + s1) + (s2 + s3));
            flush(sq, (q0 + q1) + (q2 + q3));
        }
    }
}

void CPU(norm_stats)(const hpt__cpu_norm *a, int t, int nt) {
    int n = items(a->g);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++)
        if (a->bf16) stats_item(a, i, 1);
        else stats_item(a, i, 0);
}

/* mean, and sum of squares about it, of channel l of a block in a group, from the items' sums */
static void moments_of(const hpt__cpu_norm *a, int gr, int cb, int l, double *mean, double *sq) {
    const hpt__geometry *g = a->g;
    int s = chunks(g), cbs = vec_blocks(g->c);
    double m = (double)(g->n / g->bn_groups) * g->h * g->w, sum = 0;
    *sq = 0;
    for (int k = 0; k < s; k++) {
        const double *p = a->partial + (size_t)((gr * cbs + cb) * s + k) * 2 * HPT__VB;
        sum += p[l];
        *sq += p[HPT__VB + l];
    }
    double shift = vec_load(a->x, at(g, gr * (g->n / g->bn_groups), cb), a->bf16)[l];
    *sq -= sum * sum / m;
    if (*sq < 0) *sq = 0;
    *mean = shift + sum / m;
}

void CPU(norm_finish)(const hpt__cpu_norm *a) {
    const hpt__geometry *g = a->g;
    double m = (double)(g->n / g->bn_groups) * g->h * g->w;
    for (int c = 0; c < g->c; c++) {
        double avg_mean = 0, avg_var = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double mean, sq;
            moments_of(a, gr, c / HPT__VB, c % HPT__VB, &mean, &sq);
            double var = sq / m;
            a->mean[gr * g->c + c] = (float)mean;
            a->rstd[gr * g->c + c] = (float)(1 / sqrt(var + g->eps));
            avg_mean += mean / g->bn_groups;
            avg_var += (m > 1 ? var * m / (m - 1) : var) / g->bn_groups;
        }
        a->run_mean[c] = (float)((1 - a->momentum) * a->run_mean[c] + a->momentum * avg_mean);
        a->run_var[c] = (float)((1 - a->momentum) * a->run_var[c] + a->momentum * avg_var);
    }
}
void CPU(norm_moments)(const hpt__cpu_norm *a, double *moments) {
    for (int gr = 0; gr < a->g->bn_groups; gr++)
        for (int c = 0; c < a->g->c; c++, moments += 2)
            moments_of(a, gr, c / HPT__VB, c % HPT__VB, moments, moments + 1);
}

INLINE void apply_map(const hpt__geometry *g, const void *x, const void *r, void *y, size_t base, vf mean, vf scale,
                      vf b, int act, int res, int bf16) {
    vf zero = {0};
    for (int p = 0; p < g->h * g->w; p++) {
        vf v = (vec_load(x, base + p, bf16) - mean) * scale + b;
        if (res) v += vec_load(r, base + p, bf16);
        if (act == HPT__ACT_RELU) v = vec_where(v < zero, zero, v);     /* NaN stays */
        if (act == HPT__ACT_SILU) v *= vec_sigmoid(v);
        vec_store(y, base + p, v, bf16);
    }
}
/* constant flags make straight loops of one body */
#define APPLY(act, res, bf16) apply_map(g, a->x, a->r, a->y, base, mean, scale, b, act, res, bf16); break
INLINE void apply_any(const hpt__cpu_norm *a, size_t base, vf mean, vf scale, vf b) {
    const hpt__geometry *g = a->g;
    switch ((a->bf16 != 0) * 8 + (g->act == HPT__ACT_SILU ? 4 : (g->act == HPT__ACT_RELU) * 2 + (g->residual != 0))) {
    case 0: APPLY(HPT__ACT_NONE, 0, 0);
    case 1: APPLY(HPT__ACT_NONE, 1, 0);
    case 2: APPLY(HPT__ACT_RELU, 0, 0);
    case 3: APPLY(HPT__ACT_RELU, 1, 0);
    case 4: APPLY(HPT__ACT_SILU, 0, 0);
    case 8: APPLY(HPT__ACT_NONE, 0, 1);
    case 9: APPLY(HPT__ACT_NONE, 1, 1);
    case 10: APPLY(HPT__ACT_RELU, 0, 1);
    case 11: APPLY(HPT__ACT_RELU, 1, 1);
    default: APPLY(HPT__ACT_SILU, 0, 1);
    }
}

void CPU(norm_apply)(const hpt__cpu_norm *a, int t, int nt) {
    const hpt__geometry *g = a->g;
    int n = items(g);
    /* the same items: x may still be in cache */
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++) {
        item it = item_at(g, i);
        int c = it.cb * HPT__VB, gc = it.group * g->c + c, lanes = vec_lanes(g->c, it.cb);
        vf mean = vec_load_part(a->mean + gc, lanes), b = vec_load_part(a->b + c, lanes),
            scale = vec_load_part(a->rstd + gc, lanes) * vec_load_part(a->w + c, lanes);
        for (int k = it.first; k < it.last; k++) apply_any(a, at(g, k, it.cb), mean, scale, b);
    }
}

void CPU(norm_eval)(const hpt__cpu_norm *a, int t, int nt) {
    const hpt__geometry *g = a->g;
    int n = items(g);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++) {
        item it = item_at(g, i);
        int c = it.cb * HPT__VB, lanes = vec_lanes(g->c, it.cb);
        float rs[HPT__VB] = {0};
        for (int l = 0; l < lanes; l++) rs[l] = (float)(1 / sqrt(a->run_var[c + l] + a->g->eps));
        vf mean = vec_load_part(a->run_mean + c, lanes), b = vec_load_part(a->b + c, lanes),
            scale = vec_loadu(rs) * vec_load_part(a->w + c, lanes);
        for (int k = it.first; k < it.last; k++) apply_any(a, at(g, k, it.cb), mean, scale, b);
    }
}

/* d of vector `at`, stored where it is not dy itself; z: what the activation read, of silu */
INLINE vf grad_at(const hpt__cpu_norm *a, size_t at, vf x, vf mean, vf scale, vf b, int act, int extra, int bf16) {
    vf d = vec_load(a->dy, at, bf16), zero = {0};
    if (extra) d += vec_load(a->dy2, at, bf16);
    if (act == HPT__ACT_RELU) d = vec_where(vec_load(a->y_in, at, bf16) > zero, d, zero);
    if (act == HPT__ACT_SILU) {
        vf z = (x - mean) * scale + b, s = vec_sigmoid(z);
        d *= s * (1.0f + z * (1.0f - s));
    }
    if (act != HPT__ACT_NONE || extra) vec_store(a->dy, at, d, bf16);
    return d;
}
INLINE void grad_item(const hpt__cpu_norm *a, int i, int act, int extra, int bf16) {
    const hpt__geometry *g = a->g;
    item it = item_at(g, i);
    int c = it.cb * HPT__VB, gc = it.group * g->c + c, hw = g->h * g->w, lanes = vec_lanes(g->c, it.cb);
    double *sum = a->partial + (size_t)i * 2 * HPT__VB, *sx = sum + HPT__VB;
    for (int l = 0; l < 2 * HPT__VB; l++) sum[l] = 0;
    vf mean = vec_load_part(a->mean + gc, lanes), scale = {0}, b = {0};
    if (act == HPT__ACT_SILU) {
        scale = vec_load_part(a->rstd + gc, lanes) * vec_load_part(a->w + c, lanes);
        b = vec_load_part(a->b + c, lanes);
    }
    for (int n = it.first; n < it.last; n++) {
        size_t base = at(g, n, it.cb);
        for (int p0 = 0; p0 < hw; p0 += FLUSH * 2) {
            int p1 = p0 + FLUSH * 2 < hw ? p0 + FLUSH * 2 : hw, p = p0;
            vf s0 = {0}, s1 = {0}, q0 = {0}, q1 = {0};
            for (; p + 2 <= p1; p += 2) {
                vf x0 = vec_load(a->x, base + p, bf16), x1 = vec_load(a->x, base + p + 1, bf16);
                vf d0 = grad_at(a, base + p, x0, mean, scale, b, act, extra, bf16);
                vf d1 = grad_at(a, base + p + 1, x1, mean, scale, b, act, extra, bf16);
                s0 += d0; s1 += d1;
                q0 += d0 * (x0 - mean);
                q1 += d1 * (x1 - mean);
            }
            if (p < p1) {
                vf x0 = vec_load(a->x, base + p, bf16);
                vf d0 = grad_at(a, base + p, x0, mean, scale, b, act, extra, bf16);
                s0 += d0;
                q0 += d0 * (x0 - mean);
            }
            flush(sum, s0 + s1);
            flush(sx, q0 + q1);
        }
    }
}

void CPU(norm_grad_sums)(const hpt__cpu_norm *a, int t, int nt) {
    int n = items(a->g), kind = (a->bf16 != 0) * 8 + (int)a->g->act * 2 + (a->g->extra_grad != 0);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++)
        switch (kind) {
        case 2 * HPT__ACT_NONE: grad_item(a, i, HPT__ACT_NONE, 0, 0); break;
        case 2 * HPT__ACT_NONE + 1: grad_item(a, i, HPT__ACT_NONE, 1, 0); break;
        case 2 * HPT__ACT_RELU: grad_item(a, i, HPT__ACT_RELU, 0, 0); break;
        case 2 * HPT__ACT_RELU + 1: grad_item(a, i, HPT__ACT_RELU, 1, 0); break;
        case 2 * HPT__ACT_SILU: grad_item(a, i, HPT__ACT_SILU, 0, 0); break;
        case 2 * HPT__ACT_SILU + 1: grad_item(a, i, HPT__ACT_SILU, 1, 0); break;
        case 8 + 2 * HPT__ACT_NONE: grad_item(a, i, HPT__ACT_NONE, 0, 1); break;
        case 8 + 2 * HPT__ACT_NONE + 1: grad_item(a, i, HPT__ACT_NONE, 1, 1); break;
        case 8 + 2 * HPT__ACT_RELU: grad_item(a, i, HPT__ACT_RELU, 0, 1); break;
        case 8 + 2 * HPT__ACT_RELU + 1: grad_item(a, i, HPT__ACT_RELU, 1, 1); break;
        case 8 + 2 * HPT__ACT_SILU: grad_item(a, i, HPT__ACT_SILU, 0, 1); break;
        default: grad_item(a, i, HPT__ACT_SILU, 1, 1); break;
        }
}

/* sum(d) and sum(d*(x-mean)) of channel l of a block in a group, from the items' sums */
static void sums_of(const hpt__cpu_norm *a, int gr, int cb, int l, double *sum, double *sx) {
    int s = chunks(a->g), cbs = vec_blocks(a->g->c);
    *sum = *sx = 0;
    for (int k = 0; k < s; k++) {
        const double *p = a->partial + (size_t)((gr * cbs + cb) * s + k) * 2 * HPT__VB;
        *sum += p[l];
        *sx += p[HPT__VB + l];
    }
}
/* where, behind the items' sums, two vectors for each (group, block) say what norm_grad_apply() subtracts: sum(d)/m and
 * rstd^2*sum(d*(x-mean))/m */
static double *coefficients(const hpt__cpu_norm *a, int gr, int c) {
    const hpt__geometry *g = a->g;
    double *all = a->partial + (size_t)items(g) * 2 * HPT__VB;
    return all + (size_t)(gr * vec_blocks(g->c) + c / HPT__VB) * 2 * HPT__VB + c % HPT__VB;
}

void CPU(norm_grad_finish)(const hpt__cpu_norm *a) {
    const hpt__geometry *g = a->g;
    double m = (double)(g->n / g->bn_groups) * g->h * g->w;
    for (int c = 0; c < g->c; c++) {
        double dw = 0, db = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double sum, sx, rs = a->rstd[gr * g->c + c], *to = coefficients(a, gr, c);
            sums_of(a, gr, c / HPT__VB, c % HPT__VB, &sum, &sx);
            dw += sx * rs;
            db += sum;
            to[0] = sum / m;
            to[HPT__VB] = rs * rs * sx / m;
        }
        a->dw[c] = (float)dw;
        a->db[c] = (float)db;
    }
}
void CPU(norm_grad_moments)(const hpt__cpu_norm *a, double *sums) {
    const hpt__geometry *g = a->g;
    for (int c = 0; c < g->c; c++) {
        double dw = 0, db = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double *of = sums + ((size_t)gr * (size_t)g->c + (size_t)c) * 2;
            sums_of(a, gr, c / HPT__VB, c % HPT__VB, of, of + 1);
            of[1] *= a->rstd[gr * g->c + c];
            dw += of[1];
            db += of[0];
        }
        a->dw[c] = (float)dw;
        a->db[c] = (float)db;
    }
}
void CPU(norm_grad_join)(const hpt__cpu_norm *a, const double *sums) {
    const hpt__geometry *g = a->g;
    int ranks = hpt__bn_ranks(g);
    double all = (double)(g->n / g->bn_groups) * g->h * g->w * ranks;
    size_t block = (size_t)g->bn_groups * (size_t)g->c * 2;
    for (int gr = 0; gr < g->bn_groups; gr++)
        for (int c = 0; c < g->c; c++) {
            const double *of = sums + ((size_t)gr * (size_t)g->c + (size_t)c) * 2;
            double sum = 0, sx = 0, *to = coefficients(a, gr, c);
            for (int r = 0; r < ranks; r++) sum += of[(size_t)r * block], sx += of[(size_t)r * block + 1];
            to[0] = sum / all;
            to[HPT__VB] = a->rstd[gr * g->c + c] * sx / all;
        }
}

INLINE void grad_map(const hpt__cpu_norm *a, size_t base, vf mean, vf scale, vf k1, vf k2, int bf16) {
    for (int p = 0; p < a->g->h * a->g->w; p++) {
        vf d = vec_load(a->dy, base + p, bf16), x = vec_load(a->x, base + p, bf16);
        vec_store(a->dx, base + p, scale * (d - k1 - (x - mean) * k2), bf16);
    }
}

void CPU(norm_grad_apply)(const hpt__cpu_norm *a, int t, int nt) {
    const hpt__geometry *g = a->g;
    int n = items(g), cbs = vec_blocks(g->c);
    const double *coef = a->partial + (size_t)n * 2 * HPT__VB;
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++) {
        item it = item_at(g, i);
        int c = it.cb * HPT__VB, gc = it.group * g->c + c, lanes = vec_lanes(g->c, it.cb);
        const double *p = coef + (size_t)(it.group * cbs + it.cb) * 2 * HPT__VB;
        float f1[HPT__VB] = {0}, f2[HPT__VB] = {0};
        for (int l = 0; l < lanes; l++) f1[l] = (float)p[l], f2[l] = (float)p[HPT__VB + l];
        vf mean = vec_load_part(a->mean + gc, lanes),
           scale = vec_load_part(a->rstd + gc, lanes) * vec_load_part(a->w + c, lanes);
        vf k1 = vec_loadu(f1), k2 = vec_loadu(f2);
        for (int k = it.first; k < it.last; k++)
            if (a->bf16) grad_map(a, at(g, k, it.cb), mean, scale, k1, k2, 1);
            else grad_map(a, at(g, k, it.cb), mean, scale, k1, k2, 0);
    }
}

/* SPDX-License-Identifier: MIT
 * Similarities come in blocks of queries x training images from the backend's matrix product; each query keeps its k
 * best in a heap. */
#include "eval/knn.h"
#include "backend/backend.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

enum { QUERIES = 256, OTHERS = 4096 };
typedef struct near { float s; uint32_t at; } near;

static void unit_rows(const float *x, uint64_t n, int dim, float *out) {
    for (uint64_t i = 0; i < n; i++) {
        double sq = 0;
        for (int j = 0; j < dim; j++)
            sq += (double)x[i * (uint64_t)dim + (uint64_t)j] * x[i * (uint64_t)dim + (uint64_t)j];
        float f = (float)(1 / sqrt(sq > 1e-24 ? sq : 1e-24));
        for (int j = 0; j < dim; j++) out[i * (uint64_t)dim + (uint64_t)j] = x[i * (uint64_t)dim + (uint64_t)j] * f;
    }
}

/* Worst of the kept at the root; equal similarities: the earlier image is kept. */
static int worse(near a, near b) { return a.s < b.s || (a.s == b.s && a.at > b.at); }
static void sift(near *h, int n, int i) {
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(h[child + 1], h[child])) child++;
        if (!worse(h[child], h[i])) return;
        near t = h[i];
        h[i] = h[child];
        h[child] = t;
    }
}
static void offer(near *h, int *n, int k, near x) {
    if (*n < k) {
        h[(*n)++] = x;
        if (*n == k) for (int i = k / 2; i >= 0; i--) sift(h, k, i);
    } else if (worse(h[0], x)) {
        h[0] = x;
        sift(h, k, 0);
    }
}

typedef void (*take)(void *user, uint64_t query, const near *best, int n);

static hpt_status search(hpt_context *ctx, int dim, int k, const float *others, uint64_t n_others,
                         const float *queries, uint64_t n, take fn, void *user) {
    const hpt__backend *be = ctx->be;
    HPT__TURN(ctx);
    size_t row = sizeof(float) * (size_t)dim, block = sizeof(float) * QUERIES * OTHERS;
    float *q = hpt__alloc_aligned(QUERIES * row), *o = hpt__alloc_aligned((size_t)n_others * row),
        *s = hpt__alloc_aligned(block), *dq = q, *ds = s, *dx = NULL;
    near *best = hpt__alloc(sizeof *best * QUERIES * (size_t)k);
    int *kept = hpt__alloc(sizeof *kept * QUERIES);
    hpt_status st = q && o && s && best && kept ? HPT_OK : hpt__fail_memory((size_t)n_others * row);
    be->device.enter(ctx->dev);
    if (!st && !be->host_memory) {
        dq = be->memory.alloc(ctx->dev, QUERIES * row);
        dx = be->memory.alloc(ctx->dev, OTHERS * row);
        ds = be->memory.alloc(ctx->dev, block);
        if (!dq || !dx || !ds) st = hpt__fail(HPT_ERR_MEMORY, "out of device memory for nearest neighbours");
    }
    if (!st) unit_rows(others, n_others, dim, o);
    hpt__span span;
    hpt__span_begin(&ctx->watch, &span, HPT_PHASE_NEIGHBOURS, 0, n, "nearest neighbours among %llu",
                    (unsigned long long)n_others);
    for (uint64_t at = 0; at < n && !st; at += QUERIES) {
        if ((st = hpt__between(ctx, &span, at))) break;
        int m = n - at < QUERIES ? (int)(n - at) : QUERIES;
        memset(kept, 0, sizeof *kept * QUERIES);
        unit_rows(queries + at * (uint64_t)dim, (uint64_t)m, dim, q);
        if (!be->host_memory) be->memory.upload(ctx->dev, dq, q, (size_t)m * row);
        for (uint64_t from = 0; from < n_others && !st; from += OTHERS) {
            int w = n_others - from < OTHERS ? (int)(n_others - from) : OTHERS;
            const float *x = o + from * (uint64_t)dim;
            if ((st = hpt__span_at(&span, at))) break;
            if (!be->host_memory) be->memory.upload(ctx->dev, dx, x, (size_t)w * row);
            st = be->rows->gemm(ctx->dev, HPT__F32, 0, 1, m, w, dim, 1, dq, dim, be->host_memory ? x : dx, dim, 0, ds,
                                w);
            if (!st && !be->host_memory) be->memory.download(ctx->dev, s, ds, sizeof(float) * (size_t)m * (size_t)w);
            for (int i = 0; i < m && !st; i++)
                for (int j = 0; j < w; j++)
                    offer(best + (size_t)i * (size_t)k, &kept[i], k, (near){s[(size_t)i * (size_t)w + (size_t)j],
                                                                            (uint32_t)(from + (uint64_t)j)});
        }
        for (int i = 0; i < m && !st; i++) fn(user, at + (uint64_t)i, best + (size_t)i * (size_t)k, kept[i]);
    }
    if (!st) span.done = n;
    hpt__span_end(&span);
    if (!be->host_memory) {
        if (dq && dq != q) be->memory.free(ctx->dev, dq);
        if (dx) be->memory.free(ctx->dev, dx);
        if (ds && ds != s) be->memory.free(ctx->dev, ds);
    }
    be->device.leave(ctx->dev);
    hpt__free(q);
    hpt__free(o);
    hpt__free(s);
    hpt__free(best);
    hpt__free(kept);
    return st;
}

typedef struct vote { const hpt__knn_spec *s; float *votes; } vote;
static void cast_votes(void *user, uint64_t query, const near *best, int n) {
    vote *v = user;
    int c = v->s->labels.classes;
    float *to = v->votes + query * (uint64_t)c;
    memset(to, 0, sizeof *to * (size_t)c);
    for (int i = 0; i < n; i++) {
        float w = (float)exp(((double)best[i].s - 1) / v->s->t);
        if (v->s->labels.y) to[v->s->labels.y[best[i].at]] += w;
        else for (int j = 0; j < c; j++)
            to[j] += w * (float)v->s->labels.multi[(uint64_t)best[i].at * (uint64_t)c + (uint64_t)j];
    }
}
hpt_status hpt__knn_votes(hpt_context *ctx, const hpt__knn_spec *s, const float *queries, uint64_t n, float *votes) {
    vote v = {s, votes};
    int k = (uint64_t)s->k < s->labels.n ? s->k : (int)s->labels.n;
    return search(ctx, s->dim, k, s->train, s->labels.n, queries, n, cast_votes, &v);
}

static void add_similarity(void *user, uint64_t query, const near *best, int n) {
    double s = 0;
    (void)query;
    for (int i = 0; i < n; i++) s += best[i].s;
    *(double *)user += s / n;
}
hpt_status hpt__knn_affinity(hpt_context *ctx, int dim, int k, const float *from, uint64_t n_from,
                             const float *queries, uint64_t n, double *out) {
    *out = 0;
    HPT_TRY(search(ctx, dim, (uint64_t)k < n_from ? k : (int)n_from, from, n_from, queries, n, add_similarity, out));
    *out /= (double)n;
    return HPT_OK;
}

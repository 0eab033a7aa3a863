/* SPDX-License-Identifier: MIT
 * One test for every operation of every backend: inputs from a hash, the reference in double as the truth. A new
 * operation whose row names shapes that are here needs nothing in this file. */
#include "ops.h"
#include "backend/op.h"
#include "harness.h"
#include "inputs.h"
#include <math.h>

/* ---- shapes, of those that the third column of ops.def names ---- */

typedef struct case_shape {
    const char *of;
    int n, c, h, w, k, r, stride, pad /* SAME: as TensorFlow has it */, conv_groups, bn_groups;
} case_shape;
#define MAP(n_, c_, h_, w_) {.of = "MAP", .n = n_, .c = c_, .h = h_, .w = w_}
#define ACT(n_, c_, h_, w_) {.of = "ACT", .n = n_, .c = c_, .h = h_, .w = w_}
#define SUM(n_, c_, h_, w_) {.of = "SUM", .n = n_, .c = c_, .h = h_, .w = w_}
#define CONV(n_, c_, h_, w_, k_, r_, stride_, pad_, groups_) \
    {.of = "CONV", .n = n_, .c = c_, .h = h_, .w = w_, .k = k_, .r = r_, .stride = stride_, .pad = pad_, \
     .conv_groups = groups_}
#define POOL(n_, c_, h_, w_, r_, stride_, pad_) \
    {.of = "POOL", .n = n_, .c = c_, .h = h_, .w = w_, .r = r_, .stride = stride_, .pad = pad_}
#define NORM(n_, c_, h_, w_, groups_) {.of = "NORM", .n = n_, .c = c_, .h = h_, .w = w_, .bn_groups = groups_}
#define UNIT(n_, c_) {.of = "UNIT", .n = n_, .c = c_, .h = 1, .w = 1}
#define LINEAR(n_, c_, k_) {.of = "LINEAR", .n = n_, .c = c_, .h = 1, .w = 1, .k = k_}
enum { SAME = -1 };
static const case_shape shapes[] = {
    /* vectors and blocks filled and not, one pixel, more pixels than a block of threads, sides that differ */
    MAP(1, 16, 1, 1), MAP(2, 3, 5, 7), MAP(2, 1, 3, 3), MAP(3, 32, 4, 3), MAP(2, 48, 9, 11), MAP(2, 5, 5, 3),
    MAP(1, 17, 2, 6), MAP(5, 64, 13, 13), MAP(2, 264, 3, 2), MAP(2, 7, 4, 4), MAP(1, 12, 1, 1), MAP(2, 24, 5, 3),
    MAP(2, 33, 3, 4), MAP(1, 5, 41, 39),
    /* those of the PyTorch fixtures first; then stems, windows of five, groups, depthwise, channels in no vectors */
    CONV(2, 16, 9, 9, 32, 3, 1, 1, 1), CONV(3, 16, 8, 8, 16, 3, 2, 1, 1), CONV(1, 3, 11, 11, 16, 7, 2, 3, 1),
    CONV(2, 32, 7, 7, 16, 1, 1, 0, 1), CONV(2, 16, 8, 8, 32, 1, 2, 0, 1), CONV(2, 3, 8, 8, 16, 3, 1, 1, 1),
    CONV(1, 16, 1, 1, 16, 3, 1, 1, 1), CONV(2, 64, 14, 14, 64, 3, 1, 1, 1), CONV(2, 3, 9, 6, 16, 7, 2, 3, 1),
    CONV(2, 32, 6, 10, 48, 5, 1, 2, 1), CONV(2, 32, 9, 7, 64, 3, 2, 1, 2), CONV(2, 32, 7, 7, 32, 3, 1, 1, 32),
    CONV(1, 64, 6, 6, 64, 5, 2, 2, 64), CONV(2, 64, 5, 5, 64, 5, 1, 2, 4), CONV(2, 13, 7, 5, 29, 3, 1, 1, 1),
    CONV(2, 10, 5, 5, 30, 3, 2, 1, 5), CONV(2, 10, 6, 6, 10, 3, 1, 1, 10),
    /* more zeros after the map than before, in one direction or both */
    CONV(2, 3, 8, 8, 32, 3, 2, SAME, 1), CONV(2, 3, 7, 10, 16, 3, 2, SAME, 1), CONV(2, 32, 8, 9, 32, 5, 2, SAME, 32),
    CONV(1, 48, 6, 6, 48, 3, 2, SAME, 48), CONV(2, 16, 7, 7, 32, 2, 1, SAME, 1), CONV(2, 24, 5, 8, 24, 5, 2, SAME, 24),
    CONV(2, 17, 9, 10, 17, 5, 2, SAME, 17), CONV(1, 40, 8, 8, 40, 3, 2, SAME, 40),
    /* counts that blocks do not divide, on either side; 1x1 in both directions of an inverted bottleneck */
    CONV(2, 24, 9, 7, 40, 3, 1, 1, 1), CONV(2, 24, 6, 6, 144, 1, 1, 0, 1), CONV(1, 144, 6, 6, 24, 1, 1, 0, 1),
    CONV(2, 7, 5, 5, 12, 3, 2, 1, 1), CONV(2, 5, 4, 4, 7, 1, 1, 0, 1), CONV(3, 33, 5, 6, 17, 3, 1, 1, 1),
    CONV(2, 3, 9, 9, 24, 3, 2, 1, 1), CONV(2, 40, 6, 5, 3, 3, 1, 1, 1), CONV(2, 17, 1, 1, 5, 1, 1, 0, 1),
    CONV(2, 40, 5, 7, 40, 5, 1, 2, 1), CONV(1, 88, 7, 7, 120, 1, 1, 0, 1), CONV(2, 13, 8, 8, 9, 7, 2, 3, 1),
    /* depthwise, maps smaller than the window and of many columns; with several outputs a channel */
    CONV(2, 5, 7, 7, 5, 3, 1, 1, 5), CONV(2, 7, 9, 8, 7, 3, 2, 1, 7), CONV(3, 12, 6, 7, 12, 5, 1, 2, 12),
    CONV(2, 17, 9, 9, 17, 5, 2, 2, 17), CONV(2, 25, 8, 33, 25, 3, 1, 1, 25), CONV(2, 25, 31, 8, 25, 3, 2, 1, 25),
    CONV(2, 33, 7, 7, 33, 5, 1, 2, 33), CONV(2, 40, 14, 14, 40, 5, 2, 2, 40), CONV(2, 96, 2, 2, 96, 5, 1, 2, 96),
    CONV(2, 16, 1, 1, 16, 3, 1, 1, 16), CONV(2, 48, 2, 1, 48, 5, 2, 2, 48), CONV(1, 17, 57, 40, 17, 3, 1, 1, 17),
    CONV(2, 24, 9, 9, 24, 7, 1, 3, 24), CONV(2, 32, 11, 9, 32, 7, 2, 3, 32), CONV(2, 16, 8, 8, 16, 2, 2, 0, 16),
    CONV(2, 20, 9, 9, 20, 3, 3, 1, 20), CONV(2, 16, 6, 6, 16, 1, 1, 0, 16), CONV(2, 16, 6, 6, 32, 3, 1, 1, 16),
    CONV(2, 4, 6, 6, 4, 3, 1, 1, 4),
    /* groups of whole blocks, of parts of blocks, across blocks */
    CONV(2, 48, 5, 6, 32, 3, 1, 1, 2), CONV(2, 32, 6, 6, 32, 3, 1, 1, 8), CONV(2, 24, 6, 6, 48, 3, 2, 1, 3),
    CONV(2, 12, 5, 5, 24, 5, 1, 2, 4), CONV(2, 40, 4, 4, 40, 1, 1, 0, 5), CONV(2, 33, 5, 5, 66, 3, 1, 1, 11),
    /* rows and maps of few and many values a channel, and groups of the batch */
    NORM(1, 16, 1, 1, 1), NORM(2, 16, 1, 1, 1), NORM(4, 32, 3, 3, 2), NORM(6, 16, 5, 5, 3), NORM(6, 24, 5, 5, 3),
    NORM(8, 48, 5, 7, 4), NORM(2, 64, 17, 17, 1), NORM(4, 16, 33, 31, 2),
    NORM(4, 264, 3, 3, 1), NORM(3, 520, 2, 2, 3), NORM(4, 16, 5, 9, 2), NORM(4, 13, 3, 5, 2),
    NORM(4, 5, 3, 3, 2), NORM(2, 7, 5, 4, 1), NORM(6, 17, 3, 3, 3), NORM(4, 33, 4, 3, 2), NORM(4, 3, 4, 4, 2),
    POOL(2, 16, 8, 8, 3, 2, 1), POOL(1, 16, 7, 7, 3, 2, 1), POOL(2, 32, 1, 1, 3, 2, 1), POOL(3, 24, 8, 8, 3, 2, 1),
    POOL(2, 8, 13, 13, 2, 2, 0), POOL(1, 40, 9, 9, 5, 3, 2), POOL(2, 8, 6, 6, 3, 1, 1), POOL(2, 16, 9, 6, 3, 2, 1),
    POOL(2, 11, 6, 6, 3, 2, 1), POOL(2, 5, 6, 5, 3, 2, 1), POOL(2, 33, 7, 7, 2, 2, 0), POOL(2, 3, 6, 6, 3, 1, 1),
    LINEAR(1, 1, 1), LINEAR(2, 3, 5), LINEAR(7, 33, 17), LINEAR(31, 64, 127), LINEAR(5, 128, 64),
    LINEAR(65, 257, 33),
    UNIT(1, 1), UNIT(2, 3), UNIT(7, 33), UNIT(31, 512), UNIT(48, 257),
    ACT(2, 3, 5, 7), ACT(1, 16, 1, 1), ACT(3, 32, 4, 3), ACT(2, 48, 9, 11), ACT(1, 13, 1, 1), ACT(7, 33, 1, 1),
    ACT(2, 7, 5, 3), ACT(2, 24, 3, 3), ACT(3, 17, 2, 5),
    SUM(2, 3, 5, 7), SUM(1, 16, 1, 1), SUM(3, 32, 4, 3), SUM(2, 48, 9, 11), SUM(7, 33, 1, 1), SUM(2, 7, 5, 3),
    SUM(2, 24, 3, 3),
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* What else the geometry may ask for: variant v of a shape; 0: there is none. missing: optional arrays that the caller
 * leaves out. */
static int vary(const case_shape *s, int v, hpt__geometry *g, int *direct, int *missing) {
    int pixel = s->h == 1 && s->w == 1, k = s->k ? s->k : s->c;
    *g = (hpt__geometry){.n = s->n, .c = s->c, .h = s->h, .w = s->w, .k = k, .p = s->h, .q = s->w,
                         .r = s->r, .s = s->r, .stride = s->stride, .pad_h = s->pad, .pad_w = s->pad,
                         .conv_groups = s->conv_groups, .bn_groups = s->bn_groups ? s->bn_groups : 1, .eps = 1e-5};
    *direct = *missing = 0;
    if (s->r && s->pad == SAME) {
        g->p = (s->h + s->stride - 1) / s->stride;
        g->q = (s->w + s->stride - 1) / s->stride;
        int more_h = (g->p - 1) * s->stride + s->r - s->h, more_w = (g->q - 1) * s->stride + s->r - s->w;
        g->pad_h = more_h > 0 ? more_h / 2 : 0;
        g->pad_w = more_w > 0 ? more_w / 2 : 0;
    } else if (s->r) {
        g->p = (s->h + 2 * s->pad - s->r) / s->stride + 1;
        g->q = (s->w + 2 * s->pad - s->r) / s->stride + 1;
    }
    if (!strcmp(s->of, "CONV")) {
        *direct = v & 1;
        return v < 2;
    }
    if (!strcmp(s->of, "NORM")) {
        g->act = (const hpt__act[]){HPT__ACT_NONE, HPT__ACT_RELU, HPT__ACT_SILU, HPT__ACT_NONE, HPT__ACT_RELU}[v % 5];
        g->residual = v % 5 > 2;
        g->extra_grad = v / 5 & 1;
        g->rows = v / 10;
        g->bn_ranks = 3;                /* of those that exchange between their halves */
        return v < (pixel ? 20 : 10);
    }
    if (!strcmp(s->of, "UNIT")) {
        g->rows = 1;
        g->scale = v ? -20 : 3.5;       /* a gradient turned around */
        return v < 2;
    }
    if (!strcmp(s->of, "POOL")) {
        g->extra_grad = v;
        return v < 2;
    }
    if (!strcmp(s->of, "LINEAR")) {
        g->act = v & 1 ? HPT__ACT_RELU : HPT__ACT_NONE;
        *missing = v >> 1;
        return v < 4;
    }
    if (!strcmp(s->of, "ACT")) {
        g->act = (hpt__act)(HPT__ACT_RELU + v % 3);
        g->extra_grad = v / 3 & 1;
        g->rows = v / 6;
        return v < (pixel ? 12 : 6);
    }
    if (!strcmp(s->of, "SUM")) {
        g->residual = v & 1;
        g->rows = v >> 1;
        return v < (pixel ? 4 : 2);
    }
    return v < 1;
}

/* How far a result may be from the truth, |x - truth| / |truth| over an array: exact, or as its type rounds; products
 * add up much, Winograd more, and a device may round their factors to 10 bits where precision is not fp32. */
static double limit(hpt__op_kind kind, hpt__dtype t, int direct, const hpt__geometry *g, int map) {
    int products = !strcmp(hpt__op_rows[kind].shapes, "CONV") || !strcmp(hpt__op_rows[kind].shapes, "LINEAR");
    if (kind == HPT__OP_INPUT || kind == HPT__OP_OUTPUT || kind == HPT__OP_MAXPOOL) return 0;
    if (kind == HPT__OP_SUM && !g->residual) return 0;      /* a copy */
    if (t == HPT__F64) return 1e-7;                         /* parameters pass through float32 */
    if (t == HPT__BF16 && (map || products)) return 4e-3;
    if (t == HPT__TF32 && products) return 2e-3;
    return !products ? 6e-7 : direct ? 1e-6 : 2.5e-6;
}

/* ---- arrays ---- */

enum { ARRAYS = 18, SIDES = 3 };                /* sides: the reference, the backend, the backend again */
typedef struct side {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__dtype t;
} side;
typedef struct array {
    hpt__op_array row;
    size_t count;
    double *value;                              /* what goes in */
    void *at[SIDES];
} array;
typedef struct bench {
    side side[SIDES];
    hpt__op_kind kind;
    hpt__geometry g;
    int direct, missing, n;
    array a[ARRAYS];
} bench;

static int is_map(const array *a, const hpt__geometry *g) {
    return !strcmp(a->row.what, "out") || (!strcmp(a->row.what, "in") && !g->rows);
}
/* the geometry of the map that an array is */
static hpt__geometry map_of(const array *a, hpt__geometry g) {
    if (strcmp(a->row.what, "out"))
        return (hpt__geometry){.n = g.n, .c = g.c, .h = g.h, .w = g.w, .k = g.c, .p = g.h, .q = g.w, .bn_groups = 1};
    return (hpt__geometry){.n = g.n, .c = g.k, .h = g.p, .w = g.q, .k = g.k, .p = g.p, .q = g.q, .bn_groups = 1};
}
static size_t count_of(const char *what, const hpt__geometry *g) {
    size_t n = (size_t)g->n, c = (size_t)g->c, k = (size_t)g->k, in = (size_t)(g->h * g->w),
           out = (size_t)(g->p * g->q);
    if (!strcmp(what, "in") || !strcmp(what, "image") || !strcmp(what, "plain")) return n * c * in;
    if (!strcmp(what, "out") || !strcmp(what, "where")) return n * k * out;
    if (!strcmp(what, "each")) return n;
    if (!strcmp(what, "nc")) return n * c;
    if (!strcmp(what, "nk")) return n * k;
    if (!strcmp(what, "group")) return (size_t)g->bn_groups * c;
    if (!strcmp(what, "moments") || !strcmp(what, "sums")) return (size_t)g->bn_groups * c * 2;
    if (!strcmp(what, "all_moments") || !strcmp(what, "all_sums"))
        return (size_t)(g->bn_groups * hpt__bn_ranks(g)) * c * 2;
    if (!strcmp(what, "chan")) return c;
    if (!strcmp(what, "kchan")) return k;
    if (!strcmp(what, "matrix")) return k * c;
    if (!strcmp(what, "weight")) return k * c / (size_t)hpt__conv_groups(g) * (size_t)(g->r * g->s);
    FAIL("ops.def speaks of arrays '%s', which tests/ops.c does not know", what);
}
static void shape_of(const char *what, const hpt__geometry *g, int64_t shape[4]) {
    memset(shape, 0, 4 * sizeof *shape);
    if (!strcmp(what, "weight"))
        memcpy(shape, (int64_t[]){g->k, g->c / hpt__conv_groups(g), g->r, g->s}, 4 * sizeof *shape);
    else shape[0] = (int64_t)count_of(what, g);
}
/* Is it there? What '?' in ops.def leaves to the geometry and to the caller. */
static int given(const bench *b, const char *name) {
    const hpt__geometry *g = &b->g;
    if (!strcmp(name, "r")) return g->residual;
    if (!strcmp(name, "dy2")) return g->extra_grad;
    if (b->kind == HPT__OP_ACT_GRAD) return !strcmp(name, "x") == (g->act == HPT__ACT_SILU);
    if (!strcmp(name, "y_in")) return g->act != HPT__ACT_NONE;
    if (!strcmp(hpt__op_rows[b->kind].shapes, "NORM")) return g->act == HPT__ACT_SILU;  /* b, w of its gradient */
    return !b->missing;
}

static int is_double(const array *a) { return strstr(a->row.what, "moments") || strstr(a->row.what, "sums"); }
static int is_where(const array *a) { return !strcmp(a->row.what, "where"); }

static void *room(const side *s, size_t bytes) {
    void *p = s->be->memory.alloc(s->dev, bytes);
    if (!p) FAIL("no memory for %zu bytes", bytes);
    s->be->memory.zero(s->dev, p, bytes);
    return p;
}
static void *upload_real(const side *s, hpt__dtype t, const double *x, size_t n) {
    void *p = room(s, (n ? n : 1) * hpt__real_size(t));
    float *f = malloc((n + 1) * 4);
    for (size_t i = 0; i < n; i++) f[i] = (float)x[i];
    s->be->memory.upload(s->dev, p, t == HPT__F64 ? (const void *)x : f, n * hpt__real_size(t));
    free(f);
    return p;
}
static double *download_real(const side *s, hpt__dtype t, const void *p, size_t n) {
    double *x = calloc(n + 1, 8);
    float *f = malloc((n + 1) * 4);
    s->be->memory.download(s->dev, t == HPT__F64 ? (void *)x : f, p, n * hpt__real_size(t));
    for (size_t i = 0; i < n && t != HPT__F64; i++) x[i] = f[i];
    free(f);
    return x;
}
/* What nobody may count on: the scratch, what an operation is to write over. NaN in every type. */
static void spoil(const side *s, void *p, size_t bytes) {
    char *bad = malloc(bytes + 1);
    memset(bad, 0xff, bytes);
    s->be->memory.upload(s->dev, p, bad, bytes);
    free(bad);
}
static hpt_status run(const side *s, hpt__op_kind kind, const hpt__geometry *g, int direct, hpt__op_args a) {
    hpt__op_desc d = {kind, s->t, *g, direct, 1};
    hpt__op *op;
    hpt_status st = s->be->op.create(s->dev, &d, &op);
    if (st) return st;
    if (g->c % 16 == 0 && g->k % 16 == 0 && hpt__conv_groups(g) == 1 && strstr(s->be->op.name(op), "ref:"))
        FAIL("%s: a slow kernel of the library below: %s", hpt__op_rows[kind].name, s->be->op.name(op));
    a.scratch = room(s, s->be->op.scratch(op) + 64);
    spoil(s, a.scratch, s->be->op.scratch(op));
    a.momentum = 0.1;
    OK(s->be->op.run(op, &a));
    OK(s->be->queue.sync(s->dev));
    s->be->memory.free(s->dev, a.scratch);
    s->be->op.destroy(op);
    return HPT_OK;
}

/* is it written without being read first? '+' in ops.def says which are */
static int only_written(const bench *b, const array *a) {
    char both[32];
    snprintf(both, sizeof both, "%s:%s+", a->row.name, a->row.what);
    return a->row.written && !strstr(hpt__op_rows[b->kind].arrays, both);
}
/* Values that a backend on the host keeps beside those of a map (to fill its vectors) are 0: as many of the bytes'
 * values differ from 0 as of the map's. */
static void nothing_beside(const side *s, const hpt__geometry *m, const void *map, const double *x, size_t count) {
    size_t bytes = s->be->order.act_bytes(s->dev, s->t, m->n, m->c, m->h, m->w), of_map = 0, all = 0,
           size = s->t == HPT__BF16 ? 2 : s->t == HPT__F64 ? 8 : 4;
    if (!s->be->host_memory) return;
    unsigned char *raw = malloc(bytes + 1);
    s->be->memory.download(s->dev, raw, map, bytes);
    for (size_t i = 0; i < count; i++) of_map += !(x[i] == 0);
    for (size_t i = 0; i < bytes / size; i++) {
        float f = 0;
        double d = 0;
        uint16_t h = 0;
        memcpy(size == 2 ? (void *)&h : size == 8 ? (void *)&d : (void *)&f, raw + i * size, size);
        all += size == 2 ? (h & 0x7fff) != 0 : size == 8 ? !(d == 0) : !(f == 0);
    }
    free(raw);
    if (of_map != all) FAIL("%s: %zu values beside a map of %d channels are not 0", s->be->name, all - of_map, m->c);
}

static void *to_side(const side *s, const array *a, const hpt__geometry *g) {
    if (is_map(a, g)) {
        hpt__geometry m = map_of(a, *g);
        void *plain = upload_real(s, HPT__F32, a->value, a->count),
             *map = room(s, s->be->order.act_bytes(s->dev, s->t, m.n, m.c, m.h, m.w));
        OK(run(s, HPT__OP_INPUT, &m, 0, (hpt__op_args){.x = plain, .y = map}));
        s->be->memory.free(s->dev, plain);
        return map;
    }
    if (is_double(a)) return upload_real(s, HPT__F64, a->value, a->count);
    if (is_where(a)) return room(s, s->be->order.act_bytes(s->dev, HPT__F32, g->n, g->k, g->p, g->q));
    if (strcmp(a->row.what, "weight"))
        return upload_real(s, strcmp(a->row.what, "image") ? s->t : HPT__F32, a->value, a->count);
    int64_t shape[4];
    float *f = malloc(a->count * 4);
    void *p = room(s, a->count * hpt__real_size(s->t));
    shape_of(a->row.what, g, shape);
    for (size_t i = 0; i < a->count; i++) f[i] = (float)a->value[i];
    s->be->order.pack(s->dev, s->t, shape, f, p);
    free(f);
    return p;
}
static double *from_side(const side *s, const array *a, const hpt__geometry *g, const void *p) {
    if (is_map(a, g)) {
        hpt__geometry m = map_of(a, *g);
        void *plain = room(s, a->count * 8);
        OK(run(s, HPT__OP_OUTPUT, &m, 0, (hpt__op_args){.x = p, .y = plain}));
        double *x = download_real(s, s->t, plain, a->count);
        s->be->memory.free(s->dev, plain);
        nothing_beside(s, &m, p, x, a->count);
        return x;
    }
    if (strcmp(a->row.what, "weight")) return download_real(s, is_double(a) ? HPT__F64 : s->t, p, a->count);
    int64_t shape[4];
    float *f = malloc(a->count * 4);
    double *x = malloc(a->count * 8);
    shape_of(a->row.what, g, shape);
    s->be->order.unpack(s->dev, s->t, shape, p, f);
    for (size_t i = 0; i < a->count; i++) x[i] = f[i];
    free(f);
    return x;
}

/* Values by the array's name, (hash - 1/2) * 2 * scale + shift: what a norm reads lies about a mean that it knows; what
 * goes through bfloat16 is a bfloat16. Activations see far ends and NaN, maxima are often equal. */
static void fill(bench *b, array *a) {
    static const double edges[] = {0, -0.0, 1e-3, -1e-3, 20, -20, 88, -88, 200, -200, 3e4, -3e4, NAN};
    static const struct { const char *name; float scale, shift; } of_norm[] = {
        {"x", 3, 5}, {"mean", 0.5f, 5}, {"run_mean", 0.5f, 5}, {"w", 0.5f, 1}, {"rstd", 0.4f, 1}, {"run_var", 0.4f, 1}};
    const char *name = a->row.name, *what = a->row.what;
    int rounded = b->side[1].t == HPT__BF16 && (is_map(a, &b->g) || !strcmp(what, "weight") || !strcmp(what, "image"));
    float scale = 1, shift = 0;
    uint64_t seed = 1;
    for (const char *c = name; *c; c++) seed = seed * 31 + (uint64_t)*c;
    for (size_t i = 0; i < sizeof of_norm / sizeof *of_norm && !strcmp(hpt__op_rows[b->kind].shapes, "NORM"); i++)
        if (!strcmp(of_norm[i].name, name)) scale = of_norm[i].scale, shift = of_norm[i].shift;
    fill_f64(a->value, a->count, seed, scale, shift);
    for (size_t i = 0; i < a->count && !strcmp(hpt__op_rows[b->kind].shapes, "POOL") && !strcmp(name, "x"); i++)
        a->value[i] = rint(4 * a->value[i]) / 4;
    if (b->kind == HPT__OP_ACT || (b->kind == HPT__OP_ACT_GRAD && !strcmp(name, "x")))
        for (size_t i = 0; i < sizeof edges / sizeof *edges && i < a->count; i++) a->value[a->count - 1 - i] = edges[i];
    for (size_t i = 0; i < a->count && !strcmp(what, "all_moments"); i++)      /* a mean, a sum of squares */
        a->value[i] = i & 1 ? fabs(a->value[i]) * b->g.n * b->g.h * b->g.w : 5 + a->value[i] / 2;
    for (size_t i = 0; i < a->count; i++)
        a->value[i] = rounded ? from_bf16(round_bf16((float)a->value[i])) : (float)a->value[i];
}

static hpt__op_args args_of(bench *b, int s) {
    hpt__op_args args = {0};
#define ARRAY(array_) \
    for (int i = 0; i < b->n; i++) \
        if (!strcmp(b->a[i].row.name, #array_)) args.array_ = b->a[i].at[s];
    HPT__OP_ARRAYS(ARRAY)
#undef ARRAY
    return args;
}
/* what device.low_params asks for */
static void *low_copy(const side *s, const array *w) {
    if (!s->be->device.low_params(s->dev, s->t)) return NULL;
    void *low = room(s, w->count * 2);
    s->be->params->lower(s->dev, 1, w->count, w->count, w->at[1], low);
    return low;
}

/* ---- a case ---- */

static void say_where(const bench *b, const char *name) {
    const hpt__geometry *g = &b->g;
    printf("%s in type %d on %s: %dx%dx%dx%d -> %dx%dx%d window %d stride %d groups %d %d act %d residual %d extra %d "
           "rows %d direct %d missing %d: %s: ",
           hpt__op_rows[b->kind].name, (int)b->side[1].t, b->side[1].be->name, g->n, g->c, g->h, g->w, g->k, g->p, g->q,
           g->r, g->stride, g->conv_groups, g->bn_groups, (int)g->act, g->residual, g->extra_grad, g->rows, b->direct,
           b->missing, name);
}
static void compare(const bench *b, const array *a, const double *x, const double *truth) {
    double error = 0, size = 0, most = limit(b->kind, b->side[1].t, b->direct, &b->g, is_map(a, &b->g));
    for (size_t i = 0; i < a->count; i++) {
        if (isnan(truth[i]) && isnan(x[i])) continue;
        double d = x[i] == truth[i] ? 0 : x[i] - truth[i];
        error += d * d;
        size += truth[i] * truth[i];
        if (!(fabs(d) <= 30 * most * (1 + fabs(truth[i])))) {
            say_where(b, a->row.name);
            FAIL("[%zu of %zu] %.9g, reference %.9g", i, a->count, x[i], truth[i]);
        }
    }
    /* a sum that is nothing but what its terms cancel to has no digits of its own: count it as of size 1e-2 a value */
    if (!(sqrt(error) <= most * (sqrt(size) + 1e-2 * sqrt((double)a->count)))) {
        say_where(b, a->row.name);
        FAIL("%.3g off of %.3g", sqrt(error), sqrt(size));
    }
}
static array *find(bench *b, const char *name) {
    for (int i = 0; i < b->n; i++)
        if (!strcmp(b->a[i].row.name, name)) return &b->a[i];
    return NULL;
}
/* where a maximum lay is in the backend's own order: only its own forward pass can say */
static hpt_status prepare_where(bench *b, int s) {
    array *where = find(b, "aux"), x = {.row = {.what = "in"}, .count = count_of("in", &b->g)};
    const side *at = &b->side[s];
    if (!where || where->row.written || !is_where(where)) return HPT_OK;
    x.value = malloc(x.count * 8);
    snprintf(x.row.name, sizeof x.row.name, "x");
    fill(b, &x);
    void *map = to_side(at, &x, &b->g),
         *y = room(at, at->be->order.act_bytes(at->dev, at->t, b->g.n, b->g.k, b->g.p, b->g.q));
    hpt_status st = run(at, HPT__OP_MAXPOOL, &b->g, 0, (hpt__op_args){.x = map, .y = y, .aux = where->at[s]});
    at->be->memory.free(at->dev, map);
    at->be->memory.free(at->dev, y);
    free(x.value);
    return st;
}
/* Runs the operation on a side, in_place: with outputs over the arrays that ops.def allows; results: of each written
 * array, or NULL. HPT_ERR_UNSUPPORTED: the backend refuses the shape. */
static hpt_status run_side(bench *b, int s, int in_place, double *results[ARRAYS]) {
    const side *at = &b->side[s];
    void *low = NULL;
    int over[ARRAYS] = {0};
    for (int i = 0; i < b->n; i++) b->a[i].at[s] = to_side(at, &b->a[i], &b->g);
    for (int i = 0; i < b->n; i++) {
        hpt__geometry m = map_of(&b->a[i], b->g);
        if (is_map(&b->a[i], &b->g) && only_written(b, &b->a[i]))
            spoil(at, b->a[i].at[s], at->be->order.act_bytes(at->dev, at->t, m.n, m.c, m.h, m.w));
    }
    hpt_status st = prepare_where(b, s);
    for (int i = 0; i < b->n && in_place; i++) {
        array *under = b->a[i].row.over[0] ? find(b, b->a[i].row.over) : NULL;
        if (!under) continue;
        at->be->memory.free(at->dev, b->a[i].at[s]);
        b->a[i].at[s] = under->at[s];
        over[i] = 1;
    }
    hpt__op_args args = args_of(b, s);
    if (s && find(b, "w") && !strcmp(find(b, "w")->row.what, "weight")) {
        array w = *find(b, "w");
        w.at[1] = w.at[s];
        args.w_low = low = low_copy(at, &w);
    }
    if (!st) st = run(at, b->kind, &b->g, b->direct, args);
    for (int i = 0; i < b->n; i++)
        results[i] = !st && b->a[i].row.written && !is_where(&b->a[i])
                         ? from_side(at, &b->a[i], &b->g, b->a[i].at[s])
                         : NULL;
    for (int i = 0; i < b->n; i++) if (!over[i]) at->be->memory.free(at->dev, b->a[i].at[s]);
    if (low) at->be->memory.free(at->dev, low);
    return st;
}
static void same_bits(const bench *b, double *x[ARRAYS], double *y[ARRAYS], const char *what) {
    for (int i = 0; i < b->n; i++) {
        if (x[i] && memcmp(x[i], y[i], b->a[i].count * 8)) {
            say_where(b, b->a[i].row.name);
            FAIL("other bits %s", what);
        }
        free(y[i]);
    }
}
/* 1: ran; 0: the backend refuses the shape, which a device may where channels are no whole vectors, and in groups. */
static int run_case(bench *b) {
    double *truth[ARRAYS], *x[ARRAYS], *y[ARRAYS];
    hpt__op_array row;
    int odd = b->g.c % 16 || b->g.k % 16 || hpt__conv_groups(&b->g) > 1, aliases = 0;
    int may_refuse = odd && !b->side[1].be->host_memory;
    b->n = 0;
    for (const char *at = hpt__op_rows[b->kind].arrays; (at = hpt__op_next_array(at, &row));) {
        array *a = &b->a[b->n];
        if (row.optional && !given(b, row.name)) continue;
        *a = (array){.row = row, .count = count_of(row.what, &b->g)};
        a->value = calloc(a->count + 1, 8);
        fill(b, a);
        aliases |= row.over[0] != 0;
        b->n++;
    }
    OK(run_side(b, 0, 0, truth));
    hpt_status st = run_side(b, 1, 0, x);
    if (st == HPT_ERR_UNSUPPORTED && may_refuse) {
        CHECK(strlen(hpt_last_error()) > 20);
    } else {
        if (st) {
            say_where(b, "create");
            FAIL("%s", hpt_last_error());
        }
        for (int i = 0; i < b->n; i++) if (x[i]) compare(b, &b->a[i], x[i], truth[i]);
        OK(run_side(b, 2, 0, y));
        same_bits(b, x, y, "on a second device or run");
        if (aliases) {
            OK(run_side(b, 1, 1, y));
            same_bits(b, x, y, "in place");
        }
    }
    for (int i = 0; i < b->n; i++) {
        free(truth[i]);
        free(x[i]);
        free(b->a[i].value);
    }
    return !st;
}

void ops_against_reference(const hpt__backend *be, hpt__device *dev, hpt__device *again, hpt__dtype t) {
    static bench b;
    hpt__open o = {0, 1, ""};
    hpt__device *ref;
    int all = 0, refused = 0;
    OK(hpt__backend_reference.device.open(&hpt__host_table, &o, &ref));
    b.side[0] = (side){&hpt__backend_reference, ref, HPT__F64};
    b.side[1] = (side){be, dev, t};
    b.side[2] = (side){be, again, t};
    for (int s = 0; s < SIDES; s++) b.side[s].be->device.enter(b.side[s].dev);
    for (int kind = 0; kind < HPT__OP_KINDS; kind++) {
        int ran = 0, tried = 0;
        for (int i = 0; i < SHAPES; i++)
            for (int v = 0;
                 !strcmp(shapes[i].of, hpt__op_rows[kind].shapes) && vary(&shapes[i], v, &b.g, &b.direct, &b.missing);
                 v++, tried++) {
                b.kind = (hpt__op_kind)kind;
                ran += run_case(&b);
            }
        if (!ran) FAIL("operation %s: %d shapes, none of which runs", hpt__op_rows[kind].name, tried);
        all += ran;
        refused += tried - ran;
    }
    for (int s = SIDES - 1; s >= 0; s--) b.side[s].be->device.leave(b.side[s].dev);
    hpt__backend_reference.device.close(ref);
    printf("  %d cases of %d operations, %d refused\n", all, (int)HPT__OP_KINDS, refused);
}

/* SPDX-License-Identifier: MIT
 * Batch norm over ranks: a plan whose groups span ranks gives each rank its part of what one plan of the whole batch
 * gives. Ranks are threads of this process, each with a context, which meet in a communicator of this file; the same
 * over MPI and NCCL: tests/train/test_ranks.c, tests/emu/test_cuda.c. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "core/context.h"
#include "nn/graph.h"
#include "nn/model.h"
#include "nn/plan.h"
#include "support.h"
#include <pthread.h>

enum { RANKS = 4, N = 8, H = 7, W = 5, IMAGE = 3 * H * W, DIM = 5 };

/* ---- a communicator of threads ---- */

typedef struct meeting {
    pthread_barrier_t all;
    const void *part[RANKS];
    int size, fail_at, calls;
} meeting;
static hpt_status gather(hpt__comm *c, const void *part, void *all, size_t bytes) {
    meeting *m = c->state;
    m->part[c->rank] = part;
    pthread_barrier_wait(&m->all);
    for (int r = 0; r < m->size; r++) memcpy((char *)all + (size_t)r * bytes, m->part[r], bytes);
    if (c->rank == 0) m->calls++;
    pthread_barrier_wait(&m->all);
    return m->calls == m->fail_at ? hpt__fail(HPT_ERR_PEER, "rank 1 of %d is gone", m->size) : HPT_OK;
}

/* ---- a network with every way that a batch norm occurs: with residual and ReLU, read twice, of rows ---- */

static void build(hpt__graph *g) {
    memset(g, 0, sizeof *g);
    int x = hpt__graph_images(g, 3, H, W);
    int a = hpt__graph_act(g, hpt__graph_norm(g, hpt__graph_conv(g, x, 16, 3, 1, "a"), "an"), HPT__ACT_RELU);
    int b = hpt__graph_norm(g, hpt__graph_conv(g, a, 16, 3, 1, "b"), "bn");
    int c = hpt__graph_act(g, hpt__graph_add(g, b, a), HPT__ACT_RELU);
    int d = hpt__graph_norm(g, c, "dn"), e = hpt__graph_add(g, d, c);
    int r = hpt__graph_linear(g, hpt__graph_average(g, e, "r"), 7, 1, "u");
    hpt__graph_linear(g, hpt__graph_act(g, hpt__graph_norm(g, r, "vn"), HPT__ACT_SILU), DIM, 0, "w");
    OK(g->status);
}

typedef struct result {
    double y[N * DIM], din[N * IMAGE];
    float *grads, *stats;       /* plain order; grads are sums over the images */
    hpt_status status;
    char text[200];
} result;
typedef struct rank_run {
    hpt_context *ctx;
    hpt__comm comm;
    hpt__dtype t;
    const hpt__net *net;
    const float *params;
    float image[N * IMAGE], dout[N * DIM];
    int n, groups, bn_ranks, at[N];     /* at: which images of the whole batch these are */
    result out;
} rank_run;

static void *put(hpt_context *c, hpt__dtype t, const float *x, size_t n) {
    double *wide = malloc(n * 8);
    void *d = c->be->memory.alloc(c->dev, n * 8 + 64);
    for (size_t i = 0; i < n; i++) wide[i] = x[i];
    c->be->memory.upload(c->dev, d, t == HPT__F64 ? (const void *)wide : x, n * hpt__real_size(t));
    free(wide);
    return d;
}
static void take(hpt_context *c, hpt__dtype t, const void *d, double *x, size_t n) {
    float *f = malloc(n * 4);
    c->be->memory.download(c->dev, t == HPT__F64 ? (void *)x : f, d, n * hpt__real_size(t));
    for (size_t i = 0; i < n && t != HPT__F64; i++) x[i] = f[i];
    free(f);
}
/* One rank's forward and backward pass; what its buffers hold afterwards. */
static void *run_rank(void *arg) {
    rank_run *r = arg;
    hpt_context *c = r->ctx;
    const hpt__backend *be = c->be;
    size_t np = r->net->n_params, ns = r->net->n_stats, n = (size_t)r->n;
    uint8_t *flags = malloc((size_t)r->net->n_tensors);
    hpt__graph g;
    hpt__plan *plan;
    memset(flags, 1, (size_t)r->net->n_tensors);
    build(&g);
    hpt__plan_spec spec = {.dtype = r->t, .mode = HPT__TRAIN, .batch = r->n, .groups = r->groups, .deterministic = 1,
                           .bn_ranks = r->bn_ranks, .comm = &r->comm, .input_grad = 1, .trainable = flags};
    OK(hpt__plan_compile(be, c->dev, r->net, &g, &spec, &plan));
    be->device.enter(c->dev);
    void *params = be->memory.alloc(c->dev, np * 8), *grads = be->memory.alloc(c->dev, np * 8);
    void *stats = be->memory.alloc(c->dev, ns * 8);
    float *ones = malloc(ns * 4);
    for (size_t i = 0; i < ns; i++) ones[i] = 1;
    be->memory.zero(c->dev, grads, np * hpt__real_size(r->t));
    hpt__weights_upload(be, c->dev, r->t, r->net, r->params, params, 0);
    hpt__weights_upload(be, c->dev, r->t, r->net, ones, stats, 1);
    void *x = put(c, HPT__F32, r->image, n * IMAGE), *dout = put(c, r->t, r->dout, n * DIM);
    be->device.leave(c->dev);
    r->out.status = hpt__plan_forward(plan, params, NULL, stats, x, HPT__BN_OWN);
    if (!r->out.status) r->out.status = hpt__plan_backward(plan, params, NULL, grads, dout, NULL, NULL);
    if (r->out.status) snprintf(r->out.text, sizeof r->out.text, "%s", hpt_last_error());
    else {
        r->out.grads = calloc(np, 4);
        r->out.stats = calloc(ns, 4);
        be->device.enter(c->dev);
        take(c, r->t, hpt__plan_output(plan), r->out.y, n * DIM);
        take(c, r->t, hpt__plan_input_grad(plan), r->out.din, n * IMAGE);
        hpt__weights_download(be, c->dev, r->t, r->net, grads, r->out.grads, 0);
        hpt__weights_download(be, c->dev, r->t, r->net, stats, r->out.stats, 1);
        be->device.leave(c->dev);
    }
    hpt__plan_destroy(plan);
    return NULL;
}

typedef struct rig {
    hpt__net net;
    float *params, image[N * IMAGE], dout[N * DIM];
} rig;
static void open_rig(rig *r) {
    hpt__graph g;
    build(&g);
    OK(hpt__net_of_graph(&g, &r->net));
    hpt__graph_fini(&g);
    r->params = calloc(r->net.n_params, 4);
    float *stats = calloc(r->net.n_stats, 4);
    hpt__net_init(&r->net, 3, 0, 0, r->params, stats);
    for (size_t i = 0; i < N * IMAGE; i++) r->image[i] = value_at(i, 5) + (float)(i / IMAGE);    /* means differ much */
    for (size_t i = 0; i < N * DIM; i++) r->dout[i] = value_at(i, 6);
    free(stats);
}
/* size ranks, each with its part of every view of the batch in groups that bn_ranks of them share */
static void run_ranks(const rig *g, const char *backend, hpt__dtype t, int size, int views, int groups, int bn_ranks,
                      int fail_at, rank_run run[RANKS]) {
    pthread_t thread[RANKS];
    meeting m = {.size = size, .fail_at = fail_at};
    pthread_barrier_init(&m.all, NULL, (unsigned)size);
    for (int r = 0; r < size; r++) {
        int n = N / size, each = n / views;
        run[r] = (rank_run){.ctx = context(backend, 1), .t = t, .net = &g->net, .params = g->params, .n = n,
                            .comm = {.name = "threads", .rank = r, .size = size, .state = &m, .all_gather = gather},
                            .groups = groups, .bn_ranks = bn_ranks};
        for (int i = 0; i < n; i++) {
            run[r].at[i] = i / each * (N / views) + r * each + i % each;
            memcpy(run[r].image + i * IMAGE, g->image + run[r].at[i] * IMAGE, IMAGE * 4);
            memcpy(run[r].dout + i * DIM, g->dout + run[r].at[i] * DIM, DIM * 4);
        }
    }
    for (int r = 0; r < size; r++) CHECK(!pthread_create(&thread[r], NULL, run_rank, &run[r]));
    for (int r = 0; r < size; r++) pthread_join(thread[r], NULL);
    pthread_barrier_destroy(&m.all);
}
static void apart(const char *what, double error, double size, double tol) {
    if (!(sqrt(error) <= tol * sqrt(size))) FAIL("%s: %.3g apart", what, sqrt(error / size));
}
/* size ranks whose groups of bn_ranks ranks are those of one rank with groups of the same images; views: each in groups
 * of its own, as BYOL has them in one pass */
static void equal_one(const char *backend, hpt__dtype t, int size, int views, int bn_ranks, double tol) {
    rig g;
    static rank_run one[RANKS], many[RANKS], again[RANKS];
    double dy = 0, y = 0, dx = 0, x = 0, dg = 0, gr = 0, ds = 0, st = 0;
    int n = N / size;
    open_rig(&g);
    run_ranks(&g, backend, t, 1, 1, views * size / bn_ranks, 1, 0, one);
    run_ranks(&g, backend, t, size, views, views, bn_ranks, 0, many);
    run_ranks(&g, backend, t, size, views, views, bn_ranks, 0, again);
    for (int r = 0; r < size; r++) {
        OK(many[r].out.status);
        for (int i = 0; i < n * DIM; i++) {
            double truth = one[0].out.y[many[r].at[i / DIM] * DIM + i % DIM], d = many[r].out.y[i] - truth;
            dy += d * d, y += truth * truth;
        }
        for (int i = 0; i < n * IMAGE; i++) {
            double truth = one[0].out.din[many[r].at[i / IMAGE] * IMAGE + i % IMAGE], d = many[r].out.din[i] - truth;
            dx += d * d, x += truth * truth;
        }
        CHECK(!memcmp(many[r].out.y, again[r].out.y, sizeof many[r].out.y));       /* the same bits every run */
        CHECK(!memcmp(many[r].out.din, again[r].out.din, sizeof many[r].out.din));
        for (int s = 0; s < r; s++)         /* and on all ranks of a group the same statistics */
            CHECK(s / bn_ranks != r / bn_ranks || !memcmp(many[r].out.stats, many[s].out.stats, g.net.n_stats * 4));
    }
    for (size_t i = 0; i < g.net.n_params; i++) {
        double sum = 0, truth = one[0].out.grads[i];
        for (int r = 0; r < size; r++) sum += many[r].out.grads[i];
        dg += (sum - truth) * (sum - truth), gr += truth * truth;
    }
    for (size_t i = 0; i < g.net.n_stats; i++) {
        double sum = 0, truth = one[0].out.stats[i];
        for (int r = 0; r < size; r++) sum += many[r].out.stats[i] / size;
        ds += (sum - truth) * (sum - truth), st += truth * truth;
    }
    apart("output", dy, y, tol);
    apart("gradient of the images", dx, x, tol);
    apart("gradient", dg, gr, tol > 1e-6 ? tol : 1e-6);             /* downloaded as floats */
    apart("running statistics", ds, st, tol > 1e-6 ? tol : 1e-6);
}
TEST(batch_norm_over_ranks_reference) {
    equal_one("reference", HPT__F64, 2, 1, 2, 1e-12);
    equal_one("reference", HPT__F64, 4, 1, 4, 1e-12);
    equal_one("reference", HPT__F64, 4, 1, 2, 1e-12);
    equal_one("reference", HPT__F64, 4, 2, 4, 1e-12);
    equal_one("reference", HPT__F64, 4, 1, 1, 1e-12);
    equal_one("reference", HPT__F32, 4, 1, 4, 2e-5);
}
TEST(batch_norm_over_ranks_onednn) {
    hpt_context *c = fast_context();        /* or it skips */
    hpt_context_destroy(c);
    equal_one("onednn", HPT__F32, 2, 1, 2, 2e-5);
    equal_one("onednn", HPT__F32, 4, 1, 2, 2e-5);
    equal_one("onednn", HPT__F32, 4, 2, 4, 2e-5);
}
/* A rank that is gone ends every pass that waits for it, forward or backward. */
TEST(batch_norm_over_ranks_says_who_is_gone) {
    rig g;
    static rank_run run[RANKS];
    open_rig(&g);
    for (int at = 1; at <= 8; at += 3) {        /* four in the forward pass, four backward */
        run_ranks(&g, "reference", HPT__F32, 2, 1, 1, 2, at, run);
        for (int r = 0; r < 2; r++) CHECK(run[r].out.status == HPT_ERR_PEER && strstr(run[r].out.text, "rank 1 of 2"));
    }
    run_ranks(&g, "reference", HPT__F32, 2, 1, 1, 2, 9, run);
    OK(run[0].out.status);
}
/* What bn_group means: images of the whole batch, which ranks share evenly. */
TEST(batch_norm_groups_of_options) {
    const struct { int group, batch, ranks, groups, bn_ranks; const char *says; } cases[] = {
        {64, 256, 1, 4, 1, NULL}, {0, 256, 1, 1, 1, NULL}, {512, 256, 1, 1, 1, NULL}, {64, 64, 4, 1, 1, NULL},
        {32, 64, 4, 2, 1, NULL}, {64, 32, 4, 1, 2, NULL}, {0, 32, 4, 1, 4, NULL}, {1024, 32, 4, 1, 4, NULL},
        {128, 32, 4, 1, 4, NULL}, {48, 256, 1, 0, 0, "48 does not divide batch_size 256"},
        {96, 32, 4, 0, 0, "96 does not divide batch_size 128"}, {60, 40, 3, 0, 0, "neither a part of a rank's 40"},
        {24, 36, 2, 0, 0, "neither a part of a rank's 36"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hpt__options o;
        char text[40];
        int groups = -1, bn_ranks = -1;
        hpt__options_init(&o, 'P');
        snprintf(text, sizeof text, "%d", cases[i].group);
        OK(hpt__options_set(&o, "bn_group", text));
        hpt_status st = hpt__bn_groups(&o, cases[i].batch, cases[i].ranks, &groups, &bn_ranks);
        if (cases[i].says) {
            FAILS(HPT_ERR_OPTION, cases[i].says, st);
            continue;
        }
        OK(st);
        if (groups != cases[i].groups || bn_ranks != cases[i].bn_ranks)
            FAIL("case %zu: %d groups of %d ranks", i, groups, bn_ranks);
        hpt__options_fini(&o);
    }
}

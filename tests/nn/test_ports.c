/* SPDX-License-Identifier: MIT
 * Plans of several inputs and outputs, each with or without a gradient: against central differences in double, every
 * backend against the reference, and a chain of two plans against one plan of all. Names that have no room, ports that
 * are not there, batch norms with an eps and a momentum of their own. */
#include "backend/backend.h"
#include "core/context.h"
#include "nn/graph.h"
#include "nn/model.h"
#include "nn/plan.h"
#include "support.h"

enum { N = 3, H = 6, W = 9, INS = 3, OUTS = 3, MOST = 1 << 14 };

/* How wide the layers are: a row of what a backend likes, and of what it must pad. */
typedef struct widths { int map, body, rows; } widths;
static const widths even = {16, 32, 16}, odd = {5, 24, 7};

/* body: images and a map come in; a map in the middle and the last one are outputs */
static int body(hpt__graph *g, widths w) {
    int x = hpt__graph_images(g, 3, H, W), m = hpt__graph_map_input(g, w.map, H, W, "more");
    int a = hpt__graph_act(g, hpt__graph_norm(g, hpt__graph_conv(g, x, w.body, 3, 1, "a"), "an"), HPT__ACT_RELU);
    int b = hpt__graph_norm_as(g, hpt__graph_conv(g, m, w.body, 1, 1, "b"), 1e-3, 0.01, "bn");
    int s = hpt__graph_norm(g, hpt__graph_add(g, b, a), "middle");          /* a layer that would be folded */
    return hpt__graph_act(g, s, HPT__ACT_RELU);
}
/* head: a map and rows come in */
static void head(hpt__graph *g, widths w, int y) {
    int r = hpt__graph_rows_input(g, w.rows, "rows");
    int c = hpt__graph_act(g, hpt__graph_norm(g, hpt__graph_conv(g, y, w.body, 3, 2, "c"), "cn"), HPT__ACT_SILU);
    int p = hpt__graph_linear(g, hpt__graph_average(g, c, "pool"), w.rows, 1, "p");
    hpt__graph_linear(g, hpt__graph_add(g, hpt__graph_norm(g, p, "pn"), r), 4, 1, "last");
}
enum { BODY = 1, HEAD = 2 };
static void build(hpt__graph *g, widths w, int parts) {
    memset(g, 0, sizeof *g);
    int y = parts & BODY ? body(g, w) : hpt__graph_map_input(g, w.body, H, W, "map");
    if (parts & HEAD) head(g, w, y);
    OK(g->status);
}

typedef struct run {
    hpt_context *c;
    hpt__dtype t;
    hpt__net net;
    hpt__plan *plan;
    int ins, outs;
    size_t in_count[INS], out_count[OUTS];
    void *params, *low, *stats, *grads, *in[INS], *dout[OUTS];
} run;
static void *put(const run *r, hpt__dtype t, const double *x, size_t n) {
    float *f = malloc(n * 4 + 4);
    void *d = r->c->be->memory.alloc(r->c->dev, n * 8 + 64);
    for (size_t i = 0; i < n; i++) f[i] = (float)x[i];
    r->c->be->memory.upload(r->c->dev, d, t == HPT__F64 ? (const void *)x : f, n * hpt__real_size(t));
    free(f);
    return d;
}
static double *get(const run *r, const void *d, size_t n) {
    double *x = malloc(n * 8 + 8);
    float *f = malloc(n * 4 + 4);
    CHECK(d);
    r->c->be->memory.download(r->c->dev, r->t == HPT__F64 ? (void *)x : f, d, n * hpt__real_size(r->t));
    for (size_t i = 0; i < n && r->t != HPT__F64; i++) x[i] = f[i];
    free(f);
    return x;
}
static double *numbers(size_t n, uint64_t seed) {
    double *x = malloc(n * 8 + 8);
    fill_f64(x, n, seed, 1, 0);
    for (size_t i = 0; i < n; i++) x[i] = (float)x[i];
    return x;
}
/* The whole network: images, "more" and "rows" come in, "middle", "cn" and "last" are given; none comes for "cn". */
static hpt_status open_run(run *r, hpt_context *c, hpt__dtype t, widths w, int parts, hpt__plan_mode mode) {
    static const hpt__port outputs[] = {{"middle", 1}, {"cn", 0}, {"last", 1}}, inputs[] = {{"more", 1}, {"rows", 1}};
    hpt__graph g;
    *r = (run){.c = c, .t = t, .ins = 3, .outs = 3,
               .in_count = {N * 3 * H * W, (size_t)(N * w.map * H * W), (size_t)(N * w.rows)},
               .out_count = {(size_t)(N * w.body * H * W), (size_t)(N * w.body * (H / 2) * ((W + 1) / 2)), N * 4}};
    build(&g, w, parts);
    OK(hpt__net_of_graph(&g, &r->net));
    uint8_t *flags = malloc((size_t)r->net.n_tensors);
    memset(flags, 1, (size_t)r->net.n_tensors);
    hpt__plan_spec s = {.dtype = t, .mode = mode, .batch = N, .groups = 1, .deterministic = 1, .trainable = flags,
                        .outputs = outputs, .n_outputs = 3, .inputs = inputs, .n_inputs = 2, .input_grad = 1};
    hpt_status st = hpt__plan_compile(c->be, c->dev, &r->net, &g, &s, &r->plan);
    free(flags);
    return st;
}
static void arrays(run *r) {
    const hpt__backend *be = r->c->be;
    size_t np = r->net.n_params, ns = r->net.n_stats;
    float *params = calloc(np, 4), *stats = calloc(ns + 1, 4);
    be->device.enter(r->c->dev);
    hpt__net_init(&r->net, 3, 0, 0, params, stats);
    r->params = be->memory.alloc(r->c->dev, np * 8);
    r->grads = be->memory.alloc(r->c->dev, np * 8);
    r->stats = be->memory.alloc(r->c->dev, ns * 8 + 64);
    r->low = be->memory.alloc(r->c->dev, np * 2);
    be->memory.zero(r->c->dev, r->grads, np * hpt__real_size(r->t));
    hpt__weights_upload(be, r->c->dev, r->t, &r->net, params, r->params, 0);
    hpt__weights_upload(be, r->c->dev, r->t, &r->net, stats, r->stats, 1);
    if (be->device.low_params(r->c->dev, r->t)) be->params->lower(r->c->dev, 1, np, np, r->params, r->low);
    for (int i = 0; i < r->ins; i++) {
        double *x = numbers(r->in_count[i], 10 + (uint64_t)i);
        r->in[i] = put(r, i == 0 ? HPT__F32 : r->t, x, r->in_count[i]);
        free(x);
    }
    be->device.leave(r->c->dev);
    free(params);
    free(stats);
}
static void set_douts(run *r) {
    r->c->be->device.enter(r->c->dev);
    for (int i = 0; i < r->outs; i++) {
        double *x = numbers(r->out_count[i], 20 + (uint64_t)i);
        r->dout[i] = i == 1 ? NULL : put(r, r->t, x, r->out_count[i]);
        free(x);
    }
    r->c->be->device.leave(r->c->dev);
}
static double weigh(const run *r) {
    double sum = 0;
    for (int i = 0; i < r->outs; i += 2) {
        double *y = get(r, hpt__plan_output_at(r->plan, i), r->out_count[i]),
               *w = numbers(r->out_count[i], 20 + (uint64_t)i);
        for (size_t j = 0; j < r->out_count[i]; j++) sum += y[j] * w[j];
        free(y);
        free(w);
    }
    return sum;
}
static void forward(run *r) {
    OK(hpt__plan_forward_all(r->plan, r->params, r->low, r->stats, (const void *const *)r->in, HPT__BN_OWN));
}

TEST(ports_gradients_by_differences) {
    run r;
    OK(open_run(&r, context("reference", 1), HPT__F64, odd, BODY | HEAD, HPT__TRAIN));
    arrays(&r);
    set_douts(&r);
    CHECK(hpt__plan_find_input(r.plan, "") == 0 && hpt__plan_find_input(r.plan, "more") == 1);
    CHECK(hpt__plan_find_input(r.plan, "rows") == 2 && hpt__plan_find_input(r.plan, "else") == -1);
    CHECK(hpt__plan_find_output(r.plan, "last") == 2 && hpt__plan_find_output(r.plan, "output") == -1);
    for (int i = 0; i < OUTS; i++) CHECK(hpt__plan_width_at(r.plan, i) * N == r.out_count[i]);
    forward(&r);
    OK(hpt__plan_backward_all(r.plan, r.params, r.low, r.grads, r.dout, NULL, NULL));
    double h = 1e-6, *params = r.params, *grads = r.grads, f[2];
    for (int i = 1; i < INS; i++) {
        double *x = r.in[i], *is = get(&r, hpt__plan_input_grad_at(r.plan, i), r.in_count[i]);
        for (size_t j = 0; j < r.in_count[i]; j += r.in_count[i] / 20 + 1) {
            double was = x[j];
            for (int s = 0; s < 2; s++) x[j] = was + (s ? -h : h), forward(&r), f[s] = weigh(&r);
            x[j] = was;
            double truth = (f[0] - f[1]) / (2 * h);
            if (!(fabs(is[j] - truth) <= 1e-6 * (1 + fabs(truth))))
                FAIL("gradient of input %d [%zu]: %.9g, not %.9g", i, j, is[j], truth);
        }
    }
    for (int i = 0; i < r.net.n_tensors; i++) {
        const hpt__tensor *t = &r.net.tensors[i];
        for (size_t j = 0; j < t->count && !hpt__is_stat(t); j += t->count / 5 + 1) {
            double was = params[t->offset + j], is = grads[t->offset + j];
            for (int s = 0; s < 2; s++) params[t->offset + j] = was + (s ? -h : h), forward(&r), f[s] = weigh(&r);
            params[t->offset + j] = was;
            double truth = (f[0] - f[1]) / (2 * h);
            if (!(fabs(is - truth) <= 1e-6 * (1 + fabs(truth))))
                FAIL("gradient of %s: %.9g, not %.9g", t->name, is, truth);
        }
    }
}

static void near(const char *what, const double *x, const double *truth, size_t n, double tol) {
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) error += (x[i] - truth[i]) * (x[i] - truth[i]), size += truth[i] * truth[i];
    if (!(sqrt(error) <= tol * sqrt(size))) FAIL("%s: %.3g apart", what, sqrt(error / size));
}
/* Outputs in every mode, gradients of inputs and parameters. */
static void follows(hpt_context *c, hpt__dtype t, widths w, double tol) {
    for (int mode = HPT__EVAL; mode <= HPT__TRAIN; mode++) {
        run r[2];
        OK(open_run(&r[0], context("reference", 1), HPT__F64, w, BODY | HEAD, (hpt__plan_mode)mode));
        OK(open_run(&r[1], c, t, w, BODY | HEAD, (hpt__plan_mode)mode));
        for (int i = 0; i < 2; i++) arrays(&r[i]), set_douts(&r[i]), forward(&r[i]);
        for (int i = 0; i < OUTS; i++)
            near("output", get(&r[1], hpt__plan_output_at(r[1].plan, i), r[1].out_count[i]),
                 get(&r[0], hpt__plan_output_at(r[0].plan, i), r[0].out_count[i]), r[0].out_count[i], tol);
        if (mode != HPT__TRAIN) continue;
        for (int i = 0; i < 2; i++)
            OK(hpt__plan_backward_all(r[i].plan, r[i].params, r[i].low, r[i].grads, r[i].dout, NULL, NULL));
        for (int i = 0; i < INS; i++)
            near("gradient of an input", get(&r[1], hpt__plan_input_grad_at(r[1].plan, i), r[1].in_count[i]),
                 get(&r[0], hpt__plan_input_grad_at(r[0].plan, i), r[0].in_count[i]), r[0].in_count[i], 4 * tol);
        float *g[2];
        size_t np = r[0].net.n_params;
        double *wide[2];
        for (int i = 0; i < 2; i++) {
            g[i] = calloc(np, 4);
            wide[i] = malloc(np * 8);
            r[i].c->be->device.enter(r[i].c->dev);
            hpt__weights_download(r[i].c->be, r[i].c->dev, r[i].t, &r[i].net, r[i].grads, g[i], 0);
            r[i].c->be->device.leave(r[i].c->dev);
            for (size_t j = 0; j < np; j++) wide[i][j] = g[i][j];
        }
        near("gradients", wide[1], wide[0], np, 4 * tol);
    }
}
static hpt_context *open_cuda(void) {
#ifdef HPT_TEST_EMU
    return context("cuda", 1);
#else
    SKIP("the emulated device is not built");
#endif
}
TEST(ports_reference) { follows(context("reference", 1), HPT__F32, odd, 1e-5); }
TEST(ports_onednn) {
    hpt_context *c = fast_context();
    follows(c, HPT__F32, even, 2e-5);
    follows(c, HPT__F32, odd, 2e-5);
    if (c->be->device.supports(c->dev, HPT__BF16)) follows(c, HPT__BF16, even, 0.03);
}
TEST(ports_cuda) {
    hpt_context *c = open_cuda();
    follows(c, HPT__F32, even, 2e-5);
    follows(c, HPT__BF16, even, 0.03);
}

/* Two plans, the map between them plain: body's gradient for its output is head's gradient of its input. */
static void chain(hpt_context *c, hpt__dtype t, widths w, double tol) {
    static const hpt__port all_out[] = {{"last", 1}}, body_in[] = {{"more", 1}}, head_in[] = {{"map", 1}, {"rows", 0}};
    size_t more = (size_t)(N * w.map * H * W);
    hpt__plan *plan[3];
    run r[3];
    for (int i = 0; i < 3; i++) {           /* body, head, both */
        int parts = i == 2 ? BODY | HEAD : i + 1;
        hpt__graph g;
        r[i] = (run){.c = c, .t = t};
        build(&g, w, parts);
        OK(hpt__net_of_graph(&g, &r[i].net));
        uint8_t flags[64];
        memset(flags, 1, sizeof flags);
        hpt__plan_spec s = {.dtype = t, .mode = HPT__TRAIN, .batch = N, .groups = 1, .deterministic = 1,
                            .trainable = flags, .outputs = all_out, .n_outputs = i > 0,
                            .inputs = i == 1 ? head_in : body_in, .n_inputs = i == 1 ? 2 : 1};
        OK(hpt__plan_compile(c->be, c->dev, &r[i].net, &g, &s, &plan[i]));
        r[i].plan = plan[i];
        r[i].ins = 0;
        arrays(&r[i]);
    }
    /* the parameters of all, by name */
    c->be->device.enter(c->dev);
    float *p[3];
    for (int i = 2; i >= 0; i--) {
        p[i] = calloc(r[i].net.n_params, 4);
        if (i == 2) hpt__weights_download(c->be, c->dev, t, &r[2].net, r[2].params, p[2], 0);
        for (int j = 0; i < 2 && j < r[i].net.n_tensors; j++) {
            const hpt__tensor *x = &r[i].net.tensors[j], *y = &r[2].net.tensors[hpt__net_find(&r[2].net, x->name)];
            if (!hpt__is_stat(x)) memcpy(p[i] + x->offset, p[2] + y->offset, x->count * 4);
        }
        size_t np = r[i].net.n_params;
        hpt__weights_upload(c->be, c->dev, t, &r[i].net, p[i], r[i].params, 0);
        if (c->be->device.low_params(c->dev, t)) c->be->params->lower(c->dev, 1, np, np, r[i].params, r[i].low);
    }
    const void *in[3];
    double *x;
    in[0] = put(&r[0], HPT__F32, x = numbers(N * 3 * H * W, 10), N * 3 * H * W);
    in[1] = put(&r[0], t, numbers(more, 11), more);
    in[2] = put(&r[0], t, numbers((size_t)(N * w.rows), 12), (size_t)(N * w.rows));
    void *dout[2];
    for (int i = 0; i < 2; i++) dout[i] = put(&r[0], t, numbers(N * 4, 22), N * 4);
    c->be->device.leave(c->dev);
    OK(hpt__plan_forward_all(plan[2], r[2].params, r[2].low, r[2].stats, in, HPT__BN_OWN));
    OK(hpt__plan_backward(plan[2], r[2].params, r[2].low, r[2].grads, dout[0], NULL, NULL));
    OK(hpt__plan_forward_all(plan[0], r[0].params, r[0].low, r[0].stats, in, HPT__BN_OWN));
    const void *second[2] = {hpt__plan_output(plan[0]), in[2]};
    OK(hpt__plan_forward_all(plan[1], r[1].params, r[1].low, r[1].stats, second, HPT__BN_OWN));
    OK(hpt__plan_backward(plan[1], r[1].params, r[1].low, r[1].grads, dout[1], NULL, NULL));
    CHECK(!hpt__plan_input_grad_at(plan[1], 1) && !hpt__plan_input_grad_at(plan[0], 0));       /* not wanted */
    OK(hpt__plan_backward(plan[0], r[0].params, r[0].low, r[0].grads, hpt__plan_input_grad(plan[1]), NULL, NULL));
    near("output of a chain", get(&r[1], hpt__plan_output(plan[1]), N * 4),
         get(&r[2], hpt__plan_output(plan[2]), N * 4), N * 4, tol);
    near("gradient through a chain", get(&r[0], hpt__plan_input_grad_at(plan[0], 1), more),
         get(&r[2], hpt__plan_input_grad_at(plan[2], 1), more), more, tol);
    free(x);
}
TEST(ports_chain_reference) {
    chain(context("reference", 1), HPT__F64, even, 1e-13);
    chain(context("reference", 1), HPT__F32, odd, 1e-6);
}
TEST(ports_chain_onednn) {
    hpt_context *c = fast_context();
    chain(c, HPT__F32, even, 1e-5);
    chain(c, HPT__F32, odd, 1e-5);
    if (c->be->device.supports(c->dev, HPT__BF16)) chain(c, HPT__BF16, even, 0.02);
}
TEST(ports_chain_cuda) {
    hpt_context *c = open_cuda();
    chain(c, HPT__F32, even, 1e-5);
    chain(c, HPT__BF16, even, 0.02);
}

TEST(ports_refused) {
    static const hpt__port no_layer[] = {{"nowhere", 1}}, no_input[] = {{"nothing", 1}},
                           too_many[9] = {{"last", 1}, {"last", 1}, {"last", 1}, {"last", 1}, {"last", 1},
                                          {"last", 1}, {"last", 1}, {"last", 1}, {"last", 1}};
    static const hpt__port none_comes[] = {{"last", 0}};
    const struct {
        const hpt__port *outputs, *inputs;
        int n_outputs, n_inputs;
        hpt_status st;
        const char *says;
    } cases[] = {{no_layer, NULL, 1, 0, HPT_ERR_ARGUMENT, "no layer is called 'nowhere'"},
                 {NULL, no_input, 0, 1, HPT_ERR_INTERNAL, "no input is called 'nothing'"},
                 {too_many, NULL, 9, 0, HPT_ERR_INTERNAL, "more than 8"},
                 {none_comes, NULL, 1, 0, HPT_ERR_INTERNAL, "trains, but no gradient reaches it"}};
    hpt_context *c = context("reference", 1);
    uint8_t flags[64];
    memset(flags, 1, sizeof flags);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hpt__graph g;
        hpt__net net;
        hpt__plan *p;
        build(&g, even, BODY | HEAD);
        OK(hpt__net_of_graph(&g, &net));
        hpt__plan_spec s = {.dtype = HPT__F32, .mode = HPT__TRAIN, .batch = N, .groups = 1, .trainable = flags,
                            .outputs = cases[i].outputs, .n_outputs = cases[i].n_outputs, .inputs = cases[i].inputs,
                            .n_inputs = cases[i].n_inputs};
        FAILS(cases[i].st, cases[i].says, hpt__plan_compile(c->be, c->dev, &net, &g, &s, &p));
        CHECK(!p && !g.nodes);
    }
    run r;
    OK(open_run(&r, c, HPT__F32, even, BODY | HEAD, HPT__TRAIN));
    arrays(&r);
    set_douts(&r);
    FAILS(HPT_ERR_INTERNAL, "one input for a plan of 3",
          hpt__plan_forward(r.plan, r.params, NULL, r.stats, r.in[0], 0));
    FAILS(HPT_ERR_INTERNAL, "of 3 outputs", hpt__plan_backward(r.plan, r.params, NULL, r.grads, r.dout[0], NULL, NULL));
    r.dout[0] = NULL;
    FAILS(HPT_ERR_INTERNAL, "the gradient of output 'middle' is missing",
          hpt__plan_backward_all(r.plan, r.params, NULL, r.grads, r.dout, NULL, NULL));
}
TEST(names_without_room_are_refused) {
    char name[120];
    memset(name, 'n', sizeof name);
    for (int length = 80; length <= 100; length++) {        /* with .weight and its end there is room for 96 - 8 */
        hpt__graph g = {0};
        name[length] = 0;
        int x = hpt__graph_images(&g, 3, 8, 8);
        hpt__graph_conv(&g, x, 16, 3, 1, name);
        if (length < HPT__NAME - 7) CHECK(!g.status && strlen(g.tensors[0].name) == (size_t)length + 7);
        else FAILS(HPT_ERR_UNSUPPORTED, "of a layer or tensor has", g.status);
        hpt__graph_fini(&g);
        g = (hpt__graph){0};
        hpt__graph_average(&g, hpt__graph_images(&g, 3, 8, 8), name);       /* without tensors */
        CHECK((g.status != 0) == (length > HPT__NAME - 1));
        hpt__graph_fini(&g);
        name[length] = 'n';
    }
}
/* eps and momentum are each layer's; another share moves all alike, two steps at once as far as two. */
TEST(norm_has_its_own_eps_and_momentum) {
    const double eps[] = {1e-5, 1e-3, 0.25}, momentum[] = {0.1, 0.01, 0.5}, asked[] = {HPT__BN_OWN, HPT__BN_TWICE, 0.3};
    const char *backends[] = {"reference", "onednn", "cuda"};
    for (int b = 0; b < 3; b++) {
#ifndef HPT_TEST_EMU
        if (b == 2) break;
#endif
        hpt_context *c = context(backends[b], 1);
        for (int i = 0; c && i < 9; i++) {
            int k = i % 3;
            hpt__graph g = {0};
            hpt__net net;
            hpt__plan *p;
            double x[N * 16], mean[16] = {0}, var[16] = {0};
            hpt__graph_norm_as(&g, hpt__graph_map_input(&g, 16, 1, 1, "x"), eps[k], momentum[k], "n");
            OK(hpt__net_of_graph(&g, &net));
            hpt__plan_spec s = {.dtype = HPT__F32, .mode = HPT__FORWARD, .batch = N, .groups = 1};
            OK(hpt__plan_compile(c->be, c->dev, &net, &g, &s, &p));
            run r = {.c = c, .t = HPT__F32, .net = net, .plan = p};
            arrays(&r);
            fill_f64(x, N * 16, 7, 1, 0);
            c->be->device.enter(c->dev);
            void *in = put(&r, HPT__F32, x, N * 16);
            c->be->device.leave(c->dev);
            OK(hpt__plan_forward(p, r.params, NULL, r.stats, in, asked[i / 3]));
            double *y = get(&r, hpt__plan_output(p), N * 16), *st = get(&r, r.stats, net.n_stats);
            double m = i / 3 == 0 ? momentum[k] : i / 3 == 1 ? 1 - pow(1 - momentum[k], 2) : 0.3;
            for (int j = 0; j < 16; j++) {
                for (int n = 0; n < N; n++) mean[j] += x[n * 16 + j] / N;
                for (int n = 0; n < N; n++) var[j] += (x[n * 16 + j] - mean[j]) * (x[n * 16 + j] - mean[j]) / N;
                for (int n = 0; n < N; n++)
                    CHECK(fabs(y[n * 16 + j] - (x[n * 16 + j] - mean[j]) / sqrt(var[j] + eps[k])) <= 1e-5);
                CHECK(fabs(st[net.tensors[2].offset + (size_t)j] - m * mean[j]) <= 1e-6);
                CHECK(fabs(st[net.tensors[3].offset + (size_t)j] - (1 - m + m * var[j] * N / (N - 1))) <= 1e-6);
            }
            hpt__plan_destroy(p);
        }
    }
}

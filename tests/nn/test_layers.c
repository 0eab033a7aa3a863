/* SPDX-License-Identifier: MIT
 * Layers beside a ResNet's: activations and sums as operations of their own, any number of consumers, height and
 * width apart, the gradient of an image. Operations against long double; whole graphs against central differences in
 * double, and every backend against that. */
#include "backend/backend.h"
#include "core/context.h"
#include "nn/graph.h"
#include "nn/model.h"
#include "nn/plan.h"
#include "support.h"

static hpt_context *open_cuda(void) {
#ifdef HPT_TEST_EMU
    hpt_config *o = config("");
    hpt_context *c;
    OK(hpt_config_set(o, "backend", "cuda"));
    OK(hpt_config_set(o, "module_dir", HPT_TEST_EMU));
    OK(hpt_context_create(o, &c));
    hpt_config_destroy(o);
    return c;
#else
    SKIP("the emulated device is not built");
#endif
}
static void *device_array(hpt_context *c, hpt__dtype t, const double *x, size_t n) {
    c->be->device.enter(c->dev);
    void *d = c->be->memory.alloc(c->dev, n * 8 + 64);
    float *f = malloc(n * 4 + 4);
    for (size_t i = 0; i < n; i++) f[i] = (float)x[i];
    c->be->memory.upload(c->dev, d, t == HPT__F64 ? (const void *)x : f, n * hpt__real_size(t));
    c->be->device.leave(c->dev);
    free(f);
    return d;
}
static double *host_array(hpt_context *c, hpt__dtype t, const void *d, size_t n) {
    double *x = malloc(n * 8 + 8);
    float *f = malloc(n * 4 + 4);
    c->be->device.enter(c->dev);
    c->be->memory.download(c->dev, t == HPT__F64 ? (void *)x : f, d, n * hpt__real_size(t));
    c->be->device.leave(c->dev);
    if (t != HPT__F64) for (size_t i = 0; i < n; i++) x[i] = f[i];
    free(f);
    return x;
}
static void run_op(hpt_context *c, hpt__dtype t, hpt__op_kind kind, hpt__geometry g, hpt__op_args a) {
    hpt__op_desc d = {kind, t, g, 0, 1};
    hpt__op *op;
    c->be->device.enter(c->dev);
    OK(c->be->op.create(c->dev, &d, &op));
    CHECK(c->be->op.scratch(op) == 0);
    OK(c->be->op.run(op, &a));
    c->be->op.destroy(op);
    c->be->device.leave(c->dev);
}

static long double act_of(hpt__act act, long double x) {
    long double s = 1 / (1 + expl(-x));
    return act == HPT__ACT_RELU ? (x < 0 ? 0 : x) : act == HPT__ACT_SILU ? x * s : s;
}
static long double slope_of(hpt__act act, long double x) {
    long double s = 1 / (1 + expl(-x));
    return act == HPT__ACT_RELU ? x > 0 : act == HPT__ACT_SILU ? s * (1 + x * (1 - s)) : s * (1 - s);
}
static void same_value(const char *what, double x, long double truth, double tol) {
    if (isnan((double)truth) ? !isnan(x) : !(fabsl(x - truth) <= tol * (1 + fabsl(truth))))
        FAIL("%s is %.9g, not %.9Lg", what, x, truth);
}
/* What the device has of (n,c,h,w) values: as a map and back (bfloat16 rounds), or as rows. */
static void *make(hpt_context *c, hpt__dtype t, hpt__geometry g, double *x) {
    size_t n = (size_t)(g.n * g.c * g.h * g.w);
    void *plain = device_array(c, g.rows ? t : HPT__F32, x, n);
    if (g.rows) return plain;
    c->be->device.enter(c->dev);
    void *map = c->be->memory.alloc(c->dev, c->be->order.act_bytes(c->dev, t, g.n, g.c, g.h, g.w)),
        *back = c->be->memory.alloc(c->dev, n * 8);
    c->be->device.leave(c->dev);
    run_op(c, t, HPT__OP_INPUT, g, (hpt__op_args){.x = plain, .y = map});
    run_op(c, t, HPT__OP_OUTPUT, g, (hpt__op_args){.x = map, .y = back});
    double *now = host_array(c, t, back, n);
    memcpy(x, now, n * 8);
    free(now);
    return map;
}
static double *read(hpt_context *c, hpt__dtype t, hpt__geometry g, const void *map) {
    size_t n = (size_t)(g.n * g.c * g.h * g.w);
    if (g.rows) return host_array(c, t, map, n);
    c->be->device.enter(c->dev);
    void *back = c->be->memory.alloc(c->dev, n * 8);
    c->be->device.leave(c->dev);
    run_op(c, t, HPT__OP_OUTPUT, g, (hpt__op_args){.x = map, .y = back});
    return host_array(c, t, back, n);
}

static void act_case(hpt_context *c, hpt__dtype t, hpt__geometry g, double tol) {
    size_t n = (size_t)(g.n * g.c * g.h * g.w);
    static const double edges[] = {0, -0.0, 1e-3, -1e-3, 20, -20, 88, -88, 200, -200, 3e4, -3e4, NAN};
    double *x = malloc(n * 8), *r = malloc(n * 8), *dy = malloc(n * 8), *dy2 = malloc(n * 8);
    fill_f64(x, n, 1, 4, 0);
    fill_f64(r, n, 2, 1, 0);
    fill_f64(dy, n, 3, 1, 0);
    fill_f64(dy2, n, 4, 1, 0);
    /* also in the last, partial vector */
    for (size_t i = 0; i < sizeof edges / sizeof *edges && i < n; i++) x[n - 1 - i] = edges[i];
    for (size_t i = 0; i < n; i++) x[i] = (float)x[i], r[i] = (float)r[i], dy[i] = (float)dy[i], dy2[i] = (float)dy2[i];
    double *first = malloc(n * 8);
    memcpy(first, r, n * 8);
    void *mx = make(c, t, g, x), *mr = make(c, t, g, r), *md2 = make(c, t, g, dy2);
    g.residual = 1;
    for (int copy = 0; copy < 2; copy++) {
        double *to = malloc(n * 8);
        memcpy(to, first, n * 8);
        void *my = make(c, t, g, to);
        if (copy) g.residual = 0;
        run_op(c, t, HPT__OP_SUM, g, (hpt__op_args){.x = my, .r = copy ? NULL : mr, .y = my});
        double *y = read(c, t, g, my);
        for (size_t i = 0; i < n; i++)
            same_value("sum", y[i], copy ? (long double)r[i] : (long double)r[i] + r[i], copy ? 0 : tol);
        free(y);
        free(to);
    }
    for (hpt__act act = HPT__ACT_RELU; act <= HPT__ACT_SIGMOID; act++)
        for (int extra = 0; extra < 2; extra++) {
            g.act = act;
            g.extra_grad = extra;
            double *scratch = malloc(n * 8), *d = malloc(n * 8);
            memcpy(scratch, x, n * 8);
            memcpy(d, dy, n * 8);
            void *my = make(c, t, g, scratch), *md = make(c, t, g, d);
            run_op(c, t, HPT__OP_ACT, g, (hpt__op_args){.x = mx, .y = my});
            double *y = read(c, t, g, my);
            for (size_t i = 0; i < n; i++) same_value("activation", y[i], act_of(act, x[i]), tol);
            hpt__op_args a = {.dy = md, .dy2 = extra ? md2 : NULL, .dx = md};      /* in place */
            if (act == HPT__ACT_SILU) a.x = mx;
            else a.y_in = my;
            run_op(c, t, HPT__OP_ACT_GRAD, g, a);
            double *dx = read(c, t, g, md);
            for (size_t i = 0; i < n; i++) {
                long double slope = act == HPT__ACT_SIGMOID ? (long double)y[i] * (1 - (long double)y[i])
                    : slope_of(act, x[i]);
                if (act == HPT__ACT_RELU && isnan(x[i])) slope = 0;     /* as batch norm masks: y > 0 */
                same_value("gradient of an activation", dx[i], slope * ((long double)d[i] + (extra ? dy2[i] : 0)),
                           2 * tol);
            }
            free(scratch); free(d); free(y); free(dx);
        }
    free(x); free(r); free(dy); free(dy2); free(first);
}
static void act_cases(hpt_context *c, hpt__dtype t, double tol, double map_tol) {
    const int rows[][2] = {{1, 13}, {3, 5}, {7, 33}, {16, 64}}, maps[][4] = {{2, 3, 5, 7}, {1, 16, 1, 1},
        {3, 32, 4, 3}, {2, 48, 9, 11}};
    for (int i = 0; i < 4; i++)
        act_case(c, t, (hpt__geometry){.n = rows[i][0], .c = rows[i][1], .h = 1, .w = 1, .k = rows[i][1], .p = 1,
                                       .q = 1, .bn_groups = 1, .rows = 1}, tol);
    for (int i = 0; i < 4; i++)
        act_case(c, t, (hpt__geometry){.n = maps[i][0], .c = maps[i][1], .h = maps[i][2], .w = maps[i][3],
                                       .k = maps[i][1], .p = maps[i][2], .q = maps[i][3], .bn_groups = 1}, map_tol);
}
TEST(act_reference) {
    hpt_context *c = context("reference", 1);
    act_cases(c, HPT__F64, 1e-14, 1e-14);
    act_cases(c, HPT__F32, 2e-7, 2e-7);
}

/* ---- graphs ---- */

/* Every way that gradients meet: an activation read by three layers, a sum of two layers that train, a sum with
 * itself, a norm whose input others read, rows read twice; H and W differ; bias in convolutions. less: fewer
 * channels, so that their number is odd. */
#define W(c) ((c) - less)
static void busy(hpt__graph *g, int less) {
    memset(g, 0, sizeof *g);
    int x = hpt__graph_images(g, 3, 11, 6);
    int a = hpt__graph_act(g, hpt__graph_norm(g, hpt__graph_conv(g, x, W(16), 3, 1, "a"), "an"), HPT__ACT_SILU);
    int b = hpt__graph_conv_as(g, a, (hpt__conv_as){W(16), 3, 1, 1, 1, 0}, "b"),
        c = hpt__graph_conv(g, a, W(16), 1, 1, "c");
    /* a: three consumers; sums not folded */
    int s = hpt__graph_add(g, hpt__graph_add(g, b, c), a);
    int n = hpt__graph_norm(g, s, "sn");
    int m = hpt__graph_add(g, n, s);                                                /* s: read by a norm and a sum */
    /* relu that follows a convolution */
    int d = hpt__graph_act(g, hpt__graph_conv_as(g, m, (hpt__conv_as){W(32), 3, 2, 0, 1, 0}, "d"), HPT__ACT_RELU);
    int e = hpt__graph_act(g, d, HPT__ACT_SIGMOID);
    int f = hpt__graph_add(g, hpt__graph_conv(g, hpt__graph_add(g, d, d), W(32), 1, 1, "f"), e);
    int p = hpt__graph_maxpool(g, f, 3, 2, "p"), q = hpt__graph_norm(g, p, "qn");
    int r = hpt__graph_average(g, hpt__graph_add(g, q, p), "r");
    g->head = 1;
    int u = hpt__graph_linear(g, r, W(32), 1, "u");
    int v = hpt__graph_add(g, hpt__graph_act(g, u, HPT__ACT_SIGMOID), r);
    hpt__graph_linear(g, hpt__graph_act(g, hpt__graph_add(g, hpt__graph_norm(g, v, "vn"), u), HPT__ACT_SILU), 5, 0,
                      "w");
    OK(g->status);
}

/* Convolutions in groups: depthwise, groups of 16 and of fewer inputs; less = 1: numbers of channels that no vector
 * divides. */
static void grouped(hpt__graph *g, int less) {
    memset(g, 0, sizeof *g);
    int x = hpt__graph_images(g, 3, 11, 6), w = less ? 10 : 32, wide = less ? 30 : 128;
    int a = hpt__graph_act(g, hpt__graph_norm(g, hpt__graph_conv(g, x, w, 3, 1, "a"), "an"), HPT__ACT_SILU);
    int b = hpt__graph_conv_as(g, a, (hpt__conv_as){.k = w, .window = 3, .stride = 1, .groups = w, .bias = 1}, "b");
    b = hpt__graph_act(g, hpt__graph_norm(g, b, "bn"), HPT__ACT_RELU);
    int c = hpt__graph_conv_as(g, b, (hpt__conv_as){.k = 2 * w, .window = 3, .stride = 2, .groups = 2}, "c");
    int d = hpt__graph_conv_as(g, hpt__graph_norm(g, c, "cn"), (hpt__conv_as){.k = 2 * w, .window = 5, .stride = 1,
        .groups = 4}, "d");
    int e = hpt__graph_conv_as(g, d, (hpt__conv_as){.k = wide, .window = 1, .stride = 1, .groups = less ? 5 : 8}, "e");
    e = hpt__graph_conv_as(g, e, (hpt__conv_as){.k = wide, .window = 5, .stride = 2, .groups = wide}, "f");
    int r = hpt__graph_average(g, e, "r");
    g->head = 1;
    hpt__graph_linear(g, r, 5, 0, "w");
    OK(g->status);
}
static void (*const graphs[])(hpt__graph *, int) = {busy, grouped};

enum { N = 4, IN = N * 3 * 11 * 6, OUT = N * 5 };
typedef struct run {
    hpt_context *c;
    hpt__dtype t;
    hpt__net net;
    hpt__plan *plan;
    void *params, *low, *stats, *grads, *x, *dout;
} run;
static void open_run(run *r, hpt_context *c, hpt__dtype t, int which, int less, hpt__plan_mode mode,
                     const float *params, const double *image, const double *dout) {
    hpt__graph g;
    *r = (run){.c = c, .t = t};
    graphs[which](&g, less);
    OK(hpt__net_of_graph(&g, &r->net));
    uint8_t *flags = malloc((size_t)r->net.n_tensors);
    memset(flags, 1, (size_t)r->net.n_tensors);
    hpt__plan_spec s = {.dtype = t, .mode = mode, .batch = N, .groups = 1, .deterministic = 1, .input_grad = 1,
                        .trainable = flags};
    OK(hpt__plan_compile(c->be, c->dev, &r->net, &g, &s, &r->plan));
    CHECK(!g.nodes);
    c->be->device.enter(c->dev);
    float *stats = malloc(r->net.n_stats * 4);
    for (size_t i = 0; i < r->net.n_stats; i++) stats[i] = 0.7f;
    r->params = c->be->memory.alloc(c->dev, r->net.n_params * 8);
    r->stats = c->be->memory.alloc(c->dev, r->net.n_stats * 8);
    r->grads = c->be->memory.alloc(c->dev, r->net.n_params * 8);
    r->low = c->be->memory.alloc(c->dev, r->net.n_params * 2);
    c->be->memory.zero(c->dev, r->grads, r->net.n_params * hpt__real_size(t));
    hpt__weights_upload(c->be, c->dev, t, &r->net, params, r->params, 0);
    hpt__weights_upload(c->be, c->dev, t, &r->net, stats, r->stats, 1);
    if (c->be->device.low_params(c->dev, t))
        c->be->params->lower(c->dev, 1, r->net.n_params, r->net.n_params, r->params, r->low);
    c->be->device.leave(c->dev);
    r->x = device_array(c, HPT__F32, image, IN);
    r->dout = device_array(c, t, dout, OUT);
    free(stats);
    free(flags);
}
static double *forward(run *r) {
    OK(hpt__plan_forward(r->plan, r->params, r->low, r->stats, r->x, HPT__BN_OWN));
    return host_array(r->c, r->t, hpt__plan_output(r->plan), OUT);
}
/* gradients of all tensors (plain order, by their offsets), then of the image */
static double *backward(run *r) {
    size_t n = r->net.n_params;
    double *all = calloc(n + IN, 8);
    OK(hpt__plan_backward(r->plan, r->params, r->low, r->grads, r->dout, NULL, NULL));
    double *din = host_array(r->c, r->t, hpt__plan_input_grad(r->plan), IN);
    memcpy(all + n, din, IN * 8);
    free(din);
    float *plain = calloc(n, 4);
    r->c->be->device.enter(r->c->dev);
    hpt__weights_download(r->c->be, r->c->dev, r->t, &r->net, r->grads, plain, 0);
    r->c->be->device.leave(r->c->dev);
    for (size_t i = 0; i < n; i++) all[i] = plain[i];
    free(plain);
    return all;
}
static double weigh(const double *y, const double *w) {
    double sum = 0;
    for (int i = 0; i < OUT; i++) sum += y[i] * w[i];
    return sum;
}
static float *some_params(const hpt__net *net) {
    float *p = calloc(net->n_params, 4), *s = calloc(net->n_stats, 4);
    hpt__net_init(net, 3, 0, 0, p, s);
    for (int i = 0; i < net->n_tensors; i++)
        if (net->tensors[i].kind == HPT__NORM_BIAS || net->tensors[i].kind == HPT__CONV_BIAS)
            for (size_t j = 0; j < net->tensors[i].count; j++)
                p[net->tensors[i].offset + j] = 0.3f * (float)((int)j % 3 - 1);
    free(s);
    return p;
}
static void inputs(double *image, double *dout) {
    fill_f64(image, IN, 5, 1, 0);
    fill_f64(dout, OUT, 6, 1, 0);
    for (int i = 0; i < IN; i++) image[i] = (float)image[i];
    for (int i = 0; i < OUT; i++) dout[i] = (float)dout[i];
}

static void by_differences(int which) {
    double image[IN], dout[OUT];
    hpt__graph g;
    run r;
    graphs[which](&g, 0);
    OK(hpt__net_of_graph(&g, &r.net));
    float *params = some_params(&r.net);
    hpt__net_fini(&r.net);
    hpt__graph_fini(&g);
    inputs(image, dout);
    open_run(&r, context("reference", 1), HPT__F64, which, 0, HPT__TRAIN, params, image, dout);
    double *p = r.params, h = 1e-6;
    free(forward(&r));
    double *grad = backward(&r);
    for (int i = 0; i < r.net.n_tensors; i++) {
        const hpt__tensor *t = &r.net.tensors[i];
        if (hpt__is_stat(t)) continue;
        for (size_t j = 0; j < t->count; j += t->count > 12 ? t->count / 7 : 1) {
            double was = p[t->offset + j], f[2];
            for (int s = 0; s < 2; s++) {
                p[t->offset + j] = was + (s ? -h : h);
                double *y = forward(&r);
                f[s] = weigh(y, dout);
                free(y);
            }
            p[t->offset + j] = was;
            double is = grad[t->offset + j], truth = (f[0] - f[1]) / (2 * h);
            if (!(fabs(is - truth) <= 2e-7 * (1 + fabs(truth)) + 4e-8 * fabs(is)))
                FAIL("gradient of %s[%zu] is %.9g, not %.9g", t->name, j, is, truth);
        }
    }
    /* the image is float: a step that floats hold exactly */
    float *x = r.x;
    for (int j = 0; j < IN; j += 23) {
        float was = x[j];
        double f[2];
        for (int s = 0; s < 2; s++) {
            x[j] = was + (s ? -0x1p-12f : 0x1p-12f);
            double *y = forward(&r);
            f[s] = weigh(y, dout) / 2;
            free(y);
        }
        float up = was + 0x1p-12f, down = was - 0x1p-12f;
        x[j] = was;
        double truth = 2 * (f[0] - f[1]) / ((double)up - down), is = grad[r.net.n_params + (size_t)j];
        if (!(fabs(is - truth) <= 1e-4 * (1 + fabs(truth))))
            FAIL("gradient of pixel %d is %.9g, not %.9g", j, is, truth);
    }
    hpt__plan_destroy(r.plan);
}

TEST(layers_gradients_by_differences) { by_differences(0); }
TEST(layers_groups_gradients_by_differences) { by_differences(1); }

/* Training, forward and evaluation give the reference's numbers. */
static void follows(hpt_context *c, hpt__dtype t, int which, int less, double tol) {
    double image[IN], dout[OUT];
    hpt__graph g;
    hpt__net net;
    graphs[which](&g, less);
    OK(hpt__net_of_graph(&g, &net));
    float *params = some_params(&net);
    inputs(image, dout);
    hpt_context *host = context("reference", 1);
    for (int mode = HPT__EVAL; mode <= HPT__TRAIN; mode++) {
        run r[2];
        double *y[2], *d[2] = {NULL, NULL}, err = 0, all = 0;
        open_run(&r[0], host, HPT__F64, which, less, (hpt__plan_mode)mode, params, image, dout);
        open_run(&r[1], c, t, which, less, (hpt__plan_mode)mode, params, image, dout);
        for (int i = 0; i < 2; i++) y[i] = forward(&r[i]);
        for (int i = 0; i < OUT; i++) err += (y[1][i] - y[0][i]) * (y[1][i] - y[0][i]), all += y[0][i] * y[0][i];
        if (!(sqrt(err / all) <= tol)) FAIL("mode %d: output %.3g apart", mode, sqrt(err / all));
        if (mode != HPT__TRAIN) continue;
        for (int i = 0; i < 2; i++) d[i] = backward(&r[i]);
        err = all = 0;
        for (size_t i = 0; i < net.n_params + IN; i++)
            err += (d[1][i] - d[0][i]) * (d[1][i] - d[0][i]), all += d[0][i] * d[0][i];
        printf("  gradients differ by %.2g of their length\n", sqrt(err / all));
        if (!(sqrt(err / all) <= tol)) FAIL("gradients %.3g apart", sqrt(err / all));
    }
}
TEST(layers_onednn) {
    hpt_context *c = fast_context();
    int bf16 = c->be->device.supports(c->dev, HPT__BF16);
    for (int which = 0; which < 2; which++) {
        follows(c, HPT__F32, which, 0, 1e-4);
        follows(c, HPT__F32, which, 3, 1e-4);
        if (bf16) follows(c, HPT__BF16, which, 0, 0.15);
        if (bf16) follows(c, HPT__BF16, which, 3, 0.15);
    }
}
TEST(layers_cuda) {
    hpt_context *c = open_cuda();
    for (int which = 0; which < 2; which++) {
        follows(c, HPT__F32, which, 0, 1e-4);
        follows(c, HPT__BF16, which, 0, 0.15);
    }
}

/* What a backend cannot do is said when the plan is made. */
static void refused(hpt_context *c, hpt__dtype t, const char *word) {
    hpt__graph g;
    hpt__net net;
    hpt__plan *p;
    busy(&g, 3);
    OK(hpt__net_of_graph(&g, &net));
    hpt__plan_spec s = {.dtype = t, .mode = HPT__FORWARD, .batch = N, .groups = 1};
    FAILS(HPT_ERR_UNSUPPORTED, word, hpt__plan_compile(c->be, c->dev, &net, &g, &s, &p));
    hpt__net_fini(&net);
}
TEST(layers_refused_cuda) { refused(open_cuda(), HPT__BF16, "a map of 13 channels"); }

/* Images that are wider than high: a network's features are those of the reference. */
TEST(layers_images_of_two_sides) {
    enum { WIDE = 2 * 3 * 32 * 80 };
    double *image = malloc(WIDE * sizeof *image), *y[2];
    hpt_context *c[2] = {context("reference", 1), fast_context()};
    hpt__arch a;
    hpt__net net;
    OK(hpt__arch_from_options(NULL, "resnet10", &a));
    a.width = 16;
    OK(hpt__net_create(&a, &net));
    fill_f64(image, WIDE, 5, 1, 0);
    float *p = calloc(net.n_params, 4), *s = calloc(net.n_stats, 4);
    hpt__net_init(&net, 3, 0, 0, p, s);
    for (int i = 0; i < 2; i++) {
        hpt__plan *plan;
        hpt__plan_spec spec = {.dtype = HPT__F32, .mode = HPT__EVAL, .batch = 2, .size = 32, .width = 80, .groups = 1,
                               .layer = "layer3"};
        OK(hpt__plan_create(c[i]->be, c[i]->dev, &net, &spec, &plan));
        CHECK(hpt__plan_width(plan) == 64 * 2 * 5);
        void *dp = c[i]->be->memory.alloc(c[i]->dev, net.n_params * 4),
            *ds = c[i]->be->memory.alloc(c[i]->dev, net.n_stats * 4);
        hpt__weights_upload(c[i]->be, c[i]->dev, HPT__F32, &net, p, dp, 0);
        hpt__weights_upload(c[i]->be, c[i]->dev, HPT__F32, &net, s, ds, 1);
        OK(hpt__plan_forward(plan, dp, NULL, ds, device_array(c[i], HPT__F32, image, WIDE), 0));
        y[i] = host_array(c[i], HPT__F32, hpt__plan_output(plan), 2 * 64 * 2 * 5);
    }
    for (int i = 0; i < 2 * 64 * 2 * 5; i++) same_value("feature", y[1][i], y[0][i], 1e-4);
}

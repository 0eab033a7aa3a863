/* SPDX-License-Identifier: MIT
 * Heads on rows, standing alone and behind a network: batch norm of vectors, bias options, the gradient of the
 * input. What must come out is computed here in long double, straight from the formulas, and gradients by its
 * central differences. */
#include "backend/backend.h"
#include "core/context.h"
#include "nn/graph.h"
#include "nn/model.h"
#include "support.h"

typedef long double ld;
typedef struct shape { int n, in, hidden, dim, norm, groups, no_bias[2]; } shape;

/* The network's numbers in long double, tensor by tensor where they lie in the flat arrays. */
typedef struct oracle {
    const hpt__net *net;
    const shape *s;
    ld *p, *stats, *x, *y;
} oracle;

static int at(const hpt__net *net, const char *name) {
    int i = hpt__net_find(net, name);
    if (i < 0) FAIL("no tensor is called %s", name);
    return (int)net->tensors[i].offset;
}
static void linear(const oracle *o, const char *prefix, int n, int in, int out, int bias, const ld *x, ld *y) {
    char name[40];
    snprintf(name, sizeof name, "%s.weight", prefix);
    const ld *w = o->p + at(o->net, name), *b = NULL;
    snprintf(name, sizeof name, "%s.bias", prefix);
    if (bias) b = o->p + at(o->net, name);
    else CHECK(hpt__net_find(o->net, name) < 0);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < out; k++) {
            ld v = b ? b[k] : 0;
            for (int j = 0; j < in; j++) v += x[i * in + j] * w[k * in + j];
            y[i * out + k] = v;
        }
}
/* run: also moves the running statistics by 0.1; eval: uses them */
static void oracle_forward(const oracle *o, int run, int eval) {
    const shape *s = o->s;
    int rows = s->n / s->groups;
    ld *h = malloc(sizeof *h * (size_t)(s->n * s->hidden));
    linear(o, "0", s->n, s->in, s->hidden, !s->no_bias[0], o->x, h);
    for (int j = 0; j < s->hidden && s->norm; j++) {
        ld *rm = o->stats + at(o->net, "1.running_mean") + j, *rv = o->stats + at(o->net, "1.running_var") + j,
            avg = 0, avg_var = 0;
        for (int g = 0; g < s->groups; g++) {
            ld mean = 0, var = 0;
            for (int i = g * rows; i < (g + 1) * rows; i++) mean += h[i * s->hidden + j] / rows;
            for (int i = g * rows; i < (g + 1) * rows; i++)
                var += (h[i * s->hidden + j] - mean) * (h[i * s->hidden + j] - mean) / rows;
            avg += mean / s->groups;
            avg_var += var * rows / (rows - 1) / s->groups;
            if (eval) mean = *rm, var = *rv;
            for (int i = g * rows; i < (g + 1) * rows; i++) {
                ld *v = &h[i * s->hidden + j];
                *v = (*v - mean) / sqrtl(var + 1e-5L) * o->p[at(o->net, "1.weight") + j] +
                    o->p[at(o->net, "1.bias") + j];
            }
        }
        if (run) *rm = *rm * 0.9L + avg * 0.1L, *rv = *rv * 0.9L + avg_var * 0.1L;
    }
    for (int i = 0; i < s->n * s->hidden; i++) h[i] = h[i] > 0 ? h[i] : 0;
    linear(o, s->norm ? "3" : "2", s->n, s->hidden, s->dim, !s->no_bias[1], h, o->y);
    free(h);
}
static ld loss(const oracle *o, const double *dout) {
    ld sum = 0;
    oracle_forward(o, 0, 0);
    for (int i = 0; i < o->s->n * o->s->dim; i++) sum += o->y[i] * dout[i];
    return sum;
}

static void *upload(hpt_context *c, hpt__dtype t, const double *x, size_t n) {
    void *d = c->be->memory.alloc(c->dev, n * 8 + 64);
    float *f = malloc(n * 4 + 4);
    for (size_t i = 0; i < n; i++) f[i] = (float)x[i];
    c->be->memory.upload(c->dev, d, t == HPT__F64 ? (const void *)x : f, n * hpt__real_size(t));
    free(f);
    return d;
}
static double *download(hpt_context *c, hpt__dtype t, const void *d, size_t n) {
    double *x = malloc(n * 8 + 8);
    float *f = malloc(n * 4 + 4);
    c->be->memory.download(c->dev, t == HPT__F64 ? (void *)x : f, d, n * hpt__real_size(t));
    if (t != HPT__F64) for (size_t i = 0; i < n; i++) x[i] = f[i];
    free(f);
    return x;
}
static void near(const char *what, const shape *s, const double *x, const ld *truth, size_t n, double tol) {
    ld scale = 1;
    for (size_t i = 0; i < n; i++) scale = fmaxl(scale, fabsl(truth[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsl(x[i] - truth[i]) <= tol * scale))
            FAIL("%d rows, %d-%d-%d, norm %d, groups %d: %s %zu is %.12g, not %.12Lg", s->n, s->in, s->hidden, s->dim,
                 s->norm, s->groups, what, i, x[i], truth[i]);
}
/* all values or, of many, about so many */
static size_t stride(size_t n, size_t many) { return n <= many ? 1 : n / many | 1; }

/* One head as a plan of its own: output, running statistics, all gradients, evaluation. */
static void alone(hpt_context *c, hpt__dtype t, const shape *s, double tol) {
    hpt__arch a;
    hpt__net net;
    hpt__plan *p, *eval;
    hpt__arch_mlp(&a, s->in, s->hidden, s->dim, s->norm);
    a.no_bias[0] = s->no_bias[0];
    a.no_bias[1] = s->no_bias[1];
    OK(hpt__net_create(&a, &net));
    size_t np = net.n_params, ns = net.n_stats ? net.n_stats : 1, nx = (size_t)(s->n * s->in),
        ny = (size_t)(s->n * s->dim);
    size_t size = hpt__real_size(t);
    double *params = malloc(np * 8), *stats = malloc(ns * 8), *x = malloc(nx * 8), *dout = malloc(ny * 8);
    fill_f64(params, np, 1, 0.4f, 0.1f);
    fill_f64(stats, ns, 2, 0.3f, 0.5f);
    fill_f64(x, nx, 3, 1, 0.2f);
    fill_f64(dout, ny, 4, 1, 0);
    oracle o = {&net, s, malloc(np * sizeof(ld)), malloc(ns * sizeof(ld)), malloc(nx * sizeof(ld)),
                malloc(ny * sizeof(ld))};
    for (size_t i = 0; i < np; i++) o.p[i] = params[i] = (float)params[i];
    for (size_t i = 0; i < ns; i++) o.stats[i] = stats[i] = (float)fabs(stats[i]);
    for (size_t i = 0; i < nx; i++) o.x[i] = x[i] = (float)x[i];
    for (size_t i = 0; i < ny; i++) dout[i] = (float)dout[i];
    uint8_t *flags = malloc((size_t)net.n_tensors);
    memset(flags, 1, (size_t)net.n_tensors);
    hpt__plan_spec spec = {.dtype = t, .mode = HPT__TRAIN, .batch = s->n, .groups = s->groups, .input_grad = 1,
                           .deterministic = 1, .trainable = flags};
    OK(hpt__plan_create(c->be, c->dev, &net, &spec, &p));
    spec.mode = HPT__EVAL;
    OK(hpt__plan_create(c->be, c->dev, &net, &spec, &eval));
    CHECK(hpt__plan_width(p) == (size_t)s->dim && !hpt__plan_input_grad(eval));
    c->be->device.enter(c->dev);
    void *dp = upload(c, t, params, np), *dst = upload(c, t, stats, ns), *dx = upload(c, t, x, nx),
        *dd = upload(c, t, dout, ny);
    void *low = c->be->memory.alloc(c->dev, np * 2 + 64), *grads = c->be->memory.alloc(c->dev, np * 8 + 64);
    c->be->memory.zero(c->dev, grads, np * size);
    if (c->be->device.low_params(c->dev, t)) c->be->params->lower(c->dev, 1, np, np, dp, low);
    c->be->device.leave(c->dev);
    OK(hpt__plan_forward(eval, dp, low, dst, dx, 0));
    c->be->device.enter(c->dev);
    double *ye = download(c, t, hpt__plan_output(eval), ny);
    c->be->device.leave(c->dev);
    oracle_forward(&o, 0, 1);
    near("evaluated output", s, ye, o.y, ny, tol);
    OK(hpt__plan_forward(p, dp, low, dst, dx, HPT__BN_OWN));
    c->be->device.enter(c->dev);
    double *y = download(c, t, hpt__plan_output(p), ny), *st = download(c, t, dst, ns);
    c->be->device.leave(c->dev);
    oracle_forward(&o, 1, 0);
    near("output", s, y, o.y, ny, tol);
    near("running statistic", s, st, o.stats, ns, tol);
    OK(hpt__plan_backward(p, dp, low, grads, dd, NULL, NULL));
    c->be->device.enter(c->dev);
    double *g = download(c, t, grads, np), *din = download(c, t, hpt__plan_input_grad(p), nx);
    c->be->device.leave(c->dev);
    /* a gradient of sums over n rows: its scale is theirs */
    const ld h = 1e-7L;
    double wide = 30 * tol;
    for (int i = 0; i < net.n_tensors; i++) {
        const hpt__tensor *q = &net.tensors[i];
        if (hpt__is_stat(q)) continue;
        CHECK(q->head);
        for (size_t j = 0; j < q->count; j += stride(q->count, 40)) {
            ld *v = &o.p[q->offset + j], was = *v;
            *v = was + h;
            ld up = loss(&o, dout);
            *v = was - h;
            ld truth = (up - loss(&o, dout)) / (2 * h);
            *v = was;
            if (!(fabsl(g[q->offset + j] - truth) <= wide * (1 + fabsl(truth))))
                FAIL("%d rows, %d-%d-%d, norm %d: gradient of %s[%zu] is %.12g, not %.12Lg", s->n, s->in, s->hidden,
                     s->dim, s->norm, q->name, j, g[q->offset + j], truth);
        }
    }
    for (size_t j = 0; j < nx; j += stride(nx, 60)) {
        ld was = o.x[j];
        o.x[j] = was + h;
        ld up = loss(&o, dout);
        o.x[j] = was - h;
        ld truth = (up - loss(&o, dout)) / (2 * h);
        o.x[j] = was;
        if (!(fabsl(din[j] - truth) <= wide * (1 + fabsl(truth))))
            FAIL("%d-%d-%d: gradient of input %zu is %.12g, not %.12Lg", s->in, s->hidden, s->dim, j, din[j], truth);
    }
    c->be->device.enter(c->dev);
    void *device[] = {dp, dst, dx, dd, low, grads};
    for (int i = 0; i < 6; i++) c->be->memory.free(c->dev, device[i]);
    c->be->device.leave(c->dev);
    hpt__plan_destroy(p);
    hpt__plan_destroy(eval);
    hpt__net_fini(&net);
    void *host[] = {params, stats, x, dout, o.p, o.stats, o.x, o.y, flags, ye, y, st, g, din};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
}

static const shape shapes[] = {
    {6, 5, 7, 3, 1, 1, {0, 0}}, {6, 5, 7, 3, 1, 3, {1, 0}}, {6, 5, 7, 3, 1, 2, {1, 1}}, {4, 3, 1, 1, 1, 1, {0, 1}},
        {5, 6, 9, 4, 0, 1, {0, 0}},
    {5, 6, 9, 4, 0, 1, {1, 1}}, {8, 16, 32, 16, 1, 2, {0, 0}}, {9, 24, 40, 10, 1, 1, {0, 1}},
    {2, 8, 18, 6, 1, 1, {0, 0}}, {64, 33, 130, 20, 1, 4, {0, 0}}};
static void all_shapes(hpt_context *c, hpt__dtype t, double tol) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) alone(c, t, &shapes[i], tol);
}
TEST(mlp_reference) {
    hpt_context *c = context("reference", 1);
    all_shapes(c, HPT__F64, 1e-10);
    all_shapes(c, HPT__F32, 2e-5);
}
TEST(mlp_onednn) {
    hpt_context *c = fast_context();
    all_shapes(c, HPT__F32, 2e-5);
    if (c->be->device.supports(c->dev, HPT__BF16)) all_shapes(c, HPT__BF16, 2e-5);      /* rows are float also there */
}
#ifdef HPT_TEST_EMU
TEST(mlp_cuda) {
    hpt_config *o = config("");
    hpt_context *c;
    OK(hpt_config_set(o, "backend", "cuda"));
    OK(hpt_config_set(o, "module_dir", HPT_TEST_EMU));
    OK(hpt_context_create(o, &c));
    all_shapes(c, HPT__F32, 2e-5);
    all_shapes(c, HPT__BF16, 2e-3);         /* TF32 products */
}
#endif

TEST(mlp_names_and_refusals) {
    hpt_context *c = context("reference", 1);
    static const char *const want[] = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                       "3.weight"};
    hpt__arch a;
    hpt__net net;
    hpt__plan *p;
    hpt__arch_mlp(&a, 2048, 4096, 256, 1);
    a.no_bias[1] = 1;
    OK(hpt__net_create(&a, &net));
    CHECK(net.n_tensors == 7 && net.feature_dim == 256);
    for (int i = 0; i < 7; i++) CHECK(!strcmp(net.tensors[i].name, want[i]));
    CHECK(net.tensors[0].shape[0] == 4096 && net.tensors[0].shape[1] == 2048 && net.tensors[6].shape[0] == 256 &&
          net.tensors[6].shape[1] == 4096);
    hpt__plan_spec s = {.dtype = HPT__F32, .mode = HPT__FORWARD, .batch = 4, .groups = 4};
    FAILS(HPT_ERR_OPTION, "batch norm '1' would see one value a channel (1 image): use more images",
          hpt__plan_create(c->be, c->dev, &net, &s, &p));
    hpt__net_fini(&net);
    OK(hpt__arch_from_options(NULL, "resnet18", &a));
    a.mlp = a.head_norm = 1;
    a.hidden = 96;
    a.dim = 24;
    OK(hpt__net_create(&a, &net));
    CHECK(hpt__net_find(&net, "fc.0.bias") > 0 && hpt__net_find(&net, "fc.1.running_var") > 0 &&
          hpt__net_find(&net, "fc.3.weight") > 0 && hpt__net_find(&net, "fc.2.weight") < 0);
    hpt__arch b = a;
    CHECK(hpt__arch_same(&a, &b, 1));
    b.hidden = 95;
    CHECK(!hpt__arch_same(&a, &b, 1) && hpt__arch_same(&a, &b, 0));
    hpt__net_fini(&net);
    FAILS(HPT_ERR_OPTION, "no network is called 'mlp'", hpt__arch_from_options(NULL, "mlp", &a));
}

/* A network with BYOL's projector, then a predictor on its output: the chain of two plans equals the reference in
 * double. */
static double chain(hpt_context *c, hpt__dtype t, double *grad, size_t *count) {
    hpt__arch a, b;
    hpt__net body, head;
    hpt__plan *p, *q;
    OK(hpt__arch_from_options(NULL, "resnet10", &a));
    a.width = 16;
    a.small_stem = a.mlp = a.head_norm = 1;
    a.hidden = 48;
    a.dim = 12;
    hpt__arch_mlp(&b, 12, 20, 12, 1);
    OK(hpt__net_create(&a, &body));
    OK(hpt__net_create(&b, &head));
    hpt_context *host = context("reference", 1);
    size_t n[2] = {body.n_params, head.n_params}, ns[2] = {body.n_stats, head.n_stats};
    const hpt__net *nets[2] = {&body, &head};
    void *d[2], *stats[2], *grads[2], *low[2];
    uint8_t *flags = malloc((size_t)body.n_tensors);
    memset(flags, 1, (size_t)body.n_tensors);
    c->be->device.enter(c->dev);
    for (int i = 0; i < 2; i++) {
        float *x = calloc(n[i], 4), *s = calloc(ns[i], 4);
        hpt__net_init(nets[i], 7, 0, 0, x, s);
        d[i] = c->be->memory.alloc(c->dev, n[i] * 8);
        stats[i] = c->be->memory.alloc(c->dev, ns[i] * 8);
        grads[i] = c->be->memory.alloc(c->dev, n[i] * 8);
        low[i] = c->be->memory.alloc(c->dev, n[i] * 2);
        c->be->memory.zero(c->dev, grads[i], n[i] * hpt__real_size(t));
        hpt__weights_upload(c->be, c->dev, t, nets[i], x, d[i], 0);
        hpt__weights_upload(c->be, c->dev, t, nets[i], s, stats[i], 1);
        if (c->be->device.low_params(c->dev, t)) c->be->params->lower(c->dev, 1, n[i], n[i], d[i], low[i]);
        free(x);
        free(s);
    }
    enum { N = 24, PX = 16 };
    double *image = malloc(sizeof *image * N * 3 * PX * PX), dout[N * 12];
    fill_f64(image, N * 3 * PX * PX, 5, 1, 0);
    fill_f64(dout, N * 12, 6, 1, 0);
    void *x = upload(c, HPT__F32, image, N * 3 * PX * PX), *dy = upload(c, t, dout, N * 12);
    c->be->device.leave(c->dev);
    hpt__plan_spec s = {.dtype = t, .mode = HPT__TRAIN, .batch = N, .size = PX, .groups = 2, .head = 1,
                        .deterministic = 1, .input_grad = 1, .trainable = flags};
    OK(hpt__plan_create(c->be, c->dev, &body, &s, &p));
    OK(hpt__plan_create(c->be, c->dev, &head, &s, &q));
    OK(hpt__plan_forward(p, d[0], low[0], stats[0], x, HPT__BN_OWN));
    OK(hpt__plan_forward(q, d[1], low[1], stats[1], hpt__plan_output(p), HPT__BN_OWN));
    OK(hpt__plan_backward(q, d[1], low[1], grads[1], dy, NULL, NULL));
    OK(hpt__plan_backward(p, d[0], low[0], grads[0], hpt__plan_input_grad(q), NULL, NULL));
    c->be->device.enter(c->dev);
    double *y = download(c, t, hpt__plan_output(q), N * 12), sum = 0;
    double *din = download(c, t, hpt__plan_input_grad(p), N * 3 * PX * PX);
    for (int i = 0; i < N * 12; i++) sum += y[i] * dout[i];
    *count = 0;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < nets[i]->n_tensors; k++) {
            const hpt__tensor *w = &nets[i]->tensors[k];
            if (hpt__is_stat(w)) continue;
            float *plain = malloc(w->count * 4);
            c->be->order.unpack(c->dev, t, w->shape, (char *)grads[i] + w->offset * hpt__real_size(t), plain);
            for (size_t j = 0; j < w->count; j++) grad[(*count)++] = plain[j];
            free(plain);
        }
    memcpy(grad + *count, din, sizeof *din * N * 3 * PX * PX);
    *count += N * 3 * PX * PX;
    c->be->device.leave(c->dev);
    hpt__plan_destroy(p);
    hpt__plan_destroy(q);
    (void)host;
    return sum;
}
static void same_chain(hpt_context *c, hpt__dtype t, double tol) {
    static double want[1 << 19], is[1 << 19];
    size_t n, m;
    double truth = chain(context("reference", 1), HPT__F64, want, &n), got = chain(c, t, is, &m), err = 0, norm = 0;
    CHECK(n == m && n < 1 << 19);
    for (size_t i = 0; i < n; i++) err += (is[i] - want[i]) * (is[i] - want[i]), norm += want[i] * want[i];
    printf("  gradients differ by %.2g of their length\n", sqrt(err / norm));
    if (!(fabs(got - truth) <= tol * (1 + fabs(truth))) || !(sqrt(err / norm) <= tol))
        FAIL("output %.9g, not %.9g; gradients %.3g apart", got, truth, sqrt(err / norm));
}
TEST(byol_chain_onednn) { same_chain(fast_context(), HPT__F32, 1e-4); }
#ifdef HPT_TEST_EMU
TEST(byol_chain_cuda) {
    hpt_config *o = config("");
    hpt_context *c;
    OK(hpt_config_set(o, "backend", "cuda"));
    OK(hpt_config_set(o, "module_dir", HPT_TEST_EMU));
    OK(hpt_context_create(o, &c));
    same_chain(c, HPT__F32, 1e-4);
    same_chain(c, HPT__BF16, 0.35);        /* bfloat16 maps under batch norms of 12 images */
}
#endif

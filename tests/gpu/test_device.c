/* SPDX-License-Identifier: MIT
 * Whole steps of the cuda backend, below the public API so that nothing but CUDA, cuDNN and NCCL is needed to build:
 * against the PyTorch fixtures, against the reference backend, over many steps, after a resume. `make check-gpu`
 * runs them on a GPU at full size (HPT_TEST_GPU is set); `make check` runs the same code on the emulated device,
 * smaller. */
#include "backend/backend.h"
#include "gpu.h"
#include "harness.h"
#include "json.h"
#include "ops.h"
#include "ssl/moco.h"
#include "train/lane.h"
#include <math.h>

extern const hpt__backend hpt_backend_cuda;

static int on_gpu(void) { return getenv("HPT_TEST_GPU") != NULL; }

typedef struct rig { const hpt__backend *be; hpt__device *dev; hpt__comm comm; hpt__net net; hpt__trainer t;
                     hpt__moco *m; float *params, *stats; uint8_t *trainable; } rig;

static void open_rig(rig *r, const hpt__backend *be, const hpt__arch *a, hpt__trainer_spec spec) {
    hpt__open o = {0, 1, ""};
    memset(r, 0, sizeof *r);
    r->be = be;
    OK(be->device.open(&hpt__host_table, &o, &r->dev));
    hpt__comm_self(&r->comm);
    OK(hpt__net_create(a, &r->net));
    r->params = calloc(r->net.n_params, 4);
    r->stats = calloc(r->net.n_stats, 4);
    r->trainable = malloc((size_t)r->net.n_tensors);
    for (int i = 0; i < r->net.n_tensors; i++) {
        const hpt__tensor *t = &r->net.tensors[i];
        r->trainable[i] = !hpt__is_stat(t);
        float scale = 0.1f, shift = 0;              /* as fill() of make_fixtures.py */
        if (t->ndim == 4) scale = (float)(sqrt(2.0 / (double)(t->shape[0] * t->shape[2] * t->shape[3])) * sqrt(3.0));
        else if (t->ndim == 2) scale = (float)(1 / sqrt((double)t->shape[1]));
        else if (t->kind == HPT__RUN_MEAN) scale = 0;
        else if (t->kind == HPT__RUN_VAR) scale = 0, shift = 1;
        else if (t->kind == HPT__NORM_WEIGHT) scale = 0.2f, shift = 1;
        float *v = noise(t->count, 100 + (uint64_t)i, scale, shift);
        memcpy((hpt__is_stat(t) ? r->stats : r->params) + t->offset, v, t->count * 4);
        free(v);
    }
    spec.trainable = r->trainable;
    OK(hpt__trainer_open(&r->t, be, r->dev, &r->comm, &r->net, &spec, r->params, r->stats));
    r->m = r->t.self;
}
static void close_rig(rig *r) {
    hpt__trainer_close(&r->t);
    r->be->device.close(r->dev);
    hpt__net_fini(&r->net);
    free(r->params);
    free(r->stats);
    free(r->trainable);
}
/* A tensor by its session name: q. k. grad. momentum. and the tensor's, in plain order; "queue" in rows. */
static float *fetch(rig *r, const char *name, size_t *n) {
    const hpt__moco *m = r->m;
    const struct { const char *prefix; void *params, *stats; } sets[] = {
        {"q.", m->q.params, m->q.stats}, {"k.", m->k.params, m->k.stats}, {"grad.", m->q.grad, NULL},
            {"momentum.", m->q.moment1, NULL}};
    float *x = NULL;
    r->be->device.enter(r->dev);
    if (!strcmp(name, "queue")) {
        *n = (size_t)m->own.queue * (size_t)r->net.arch.dim;
        x = malloc(*n * 4);
        r->be->memory.download(r->dev, x, m->queue.rows, *n * 4);
    }
    for (int s = 0; s < 4 && !x; s++) {
        size_t len = strlen(sets[s].prefix);
        int at = strncmp(name, sets[s].prefix, len) ? -1 : hpt__net_find(&r->net, name + len);
        if (at < 0) continue;
        const hpt__tensor *t = &r->net.tensors[at];
        *n = t->count;
        x = malloc(t->count * 4);
        r->be->order.unpack(r->dev, r->t.spec.dtype, t->shape,
                            (char *)(hpt__is_stat(t) ? sets[s].stats : sets[s].params) + t->offset * 4, x);
    }
    OK(r->be->queue.sync(r->dev));
    r->be->device.leave(r->dev);
    if (!x) FAIL("no tensor %s", name);
    return x;
}
static hpt__arch arch_of(const char *name, int width, int small, int dim) {
    hpt__arch a = {.width = width, .small_stem = small, .dim = dim, .mlp = 1, .bottleneck = !strcmp(name, "resnet50")};
    const int blocks[3][4] = {{1, 1, 1, 1}, {2, 2, 2, 2}, {3, 4, 6, 3}};
    snprintf(a.name, sizeof a.name, "%s", name);
    memcpy(a.blocks, blocks[!strcmp(name, "resnet10") ? 0 : !strcmp(name, "resnet18") ? 1 : 2], sizeof a.blocks);
    return a;
}
static void views(int step, int batch, int size, float **q, float **k) {
    size_t n = (size_t)batch * 3 * (size_t)size * (size_t)size;
    *q = noise(n, 6000 + 2 * (uint64_t)step, 2, 0);
    *k = noise(n, 6001 + 2 * (uint64_t)step, 2, 0);
    for (size_t j = 0; j < n; j++) (*k)[j] = 0.5f * (*k)[j] + 0.5f * (*q)[j];
}
static double one_step(rig *r, int i) {
    hpt__step_result out;
    float *q, *k;
    views(i, r->t.spec.batch, r->t.spec.size, &q, &k);
    OK(hpt__stage_views(&r->t, (const float *const[]){q, k}, 0));
    OK(hpt__trainer_launch(&r->t));
    OK(hpt__trainer_finish(&r->t, 0, &out));
    free(q);
    free(k);
    return out.loss;
}

/* ---- PyTorch's first step, in fp64, from the fixtures ---- */

static double distance_by_signature(const float *x, size_t n, const char *text, const char *path) {
    char at[200];
    double p[8] = {0}, sq = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t h = hash_at(i, 77);
        for (int k = 0; k < 8; k++) p[k] += h >> k & 1 ? (double)x[i] : -(double)x[i];
    }
    for (int k = 0; k < 8; k++) {
        snprintf(at, sizeof at, "%s/sig/%d", path, k + 1);
        double d = p[k] - json_num(text, at);
        sq += d * d / 8;
    }
    snprintf(at, sizeof at, "%s/sig/0", path);
    return sqrt(sq) / (json_num(text, at) + 1e-30);
}
static void fixture_step(const char *file, hpt__dtype t, double loss_tol, double tensor_floor) {
    char path[200], name[128];
    snprintf(path, sizeof path, "tests/fixtures/%s.json", file);
    char *f = json_text(path);
    rig r;
    int rn50 = json_str_is(f, "arch", "resnet50"), batch = (int)json_num(f, "batch"), dim = (int)json_num(f, "dim"),
        K = (int)json_num(f, "K");
    hpt__arch a = arch_of(rn50 ? "resnet50" : "resnet18", (int)json_num(f, "width"), (int)json_num(f, "small"), dim);
    hpt__trainer_spec s = {.dtype = t, .batch = batch, .size = (int)json_num(f, "size"),
                           .groups = (int)json_num(f, "groups"), .direct = 1, .deterministic = 1, .graph = 1,
                           .method = &hpt__method_moco, .own = &(hpt__moco_own){K, 0.99, 0.2, 0},
                        .optimizer = {.momentum = 0.9, .weight_decay = 1e-4}, .schedule = {json_num(f, "lr"), 0, 10, 0,
                        0}};
    open_rig(&r, &hpt_backend_cuda, &a, s);
    float *q = noise((size_t)K * (size_t)dim, 5000, 1, 0);
    for (int i = 0; i < K; i++) {
        double n = 0;
        for (int j = 0; j < dim; j++) n += (double)q[i * dim + j] * q[i * dim + j];
        for (int j = 0; j < dim; j++) q[i * dim + j] = (float)(q[i * dim + j] / sqrt(n));
    }
    r.be->memory.upload(r.dev, r.m->queue.rows, q, (size_t)K * (size_t)dim * 4);
    double loss = one_step(&r, 0), truth = json_num(f, "loss64/0"), worst = 0;
    printf("  %s: loss %.9f, PyTorch fp64 %.9f, fp32 %.9f\n", file, loss, truth, json_num(f, "loss32"));
    if (!(fabs(loss - truth) <= loss_tol * truth + 2 * fabs(json_num(f, "loss32") - truth))) FAIL("loss");
    for (int i = 0; tensor_floor > 0 && json_key(f, "tensors", i, name); i++) {
        size_t n;
        char at[160];
        /* kept (K,D) here, signed (D,K) there: its keys are z_k, checked by the loss */
        if (!strcmp(name, "queue")) continue;
        float *x = fetch(&r, name, &n);
        snprintf(at, sizeof at, "tensors/%s", name);
        double e = distance_by_signature(x, n, f, at);
        snprintf(at, sizeof at, "tensors/%s/torch_error", name);
        double limit = tensor_floor + 2 * json_num(f, at);
        if (e / limit > worst) worst = e / limit;
        if (!(e <= limit)) FAIL("%s: error %.3g, PyTorch fp32's own %.3g, limit %.3g", name, e, json_num(f, at), limit);
        free(x);
    }
    if (tensor_floor > 0) printf("  worst tensor at %.2f of its limit\n", worst);
    close_rig(&r);
    free(q);
    free(f);
}
TEST_LIMIT(device_pytorch_step_resnet18_thin, 300) { fixture_step("moco_rn18_thin", HPT__F32, 1e-6, 1e-5); }
TEST_LIMIT(device_pytorch_step_resnet50_thin, 300) { fixture_step("moco_rn50_thin", HPT__F32, 1e-6, 5e-5); }
TEST_LIMIT(device_pytorch_step_resnet18, 300) {
    if (!on_gpu()) SKIP("the same fixture runs through the public API in this suite");
    fixture_step("moco_rn18", HPT__F32, 1e-6, 1e-5);
}
TEST_LIMIT(device_pytorch_step_tf32, 300) { fixture_step("moco_rn18_thin", HPT__TF32, 5e-3, 0); }
TEST_LIMIT(device_pytorch_step_bf16, 300) { fixture_step("moco_rn18_thin", HPT__BF16, 2e-2, 0); }

/* ---- loss curves against the reference backend, with shuffle BN, groups, and the step as a graph ---- */

static const hpt__moco_own curve_own = {64, 0.99, 0.2, 1};
static hpt__trainer_spec curve_spec(hpt__dtype t, int steps) {
    return (hpt__trainer_spec){.dtype = t, .batch = 16, .size = 16, .groups = 4, .deterministic = 1, .graph = 1,
                               .method = &hpt__method_moco, .own = &curve_own,
                               .optimizer = {.momentum = 0.9, .weight_decay = 1e-4},
                            .schedule = {0.003, 1, (uint64_t)steps, 0, 0}, .seed = 5};
}
static void curve(hpt__dtype t, double tol) {
    int steps = on_gpu() ? 100 : 5;
    hpt__arch a = arch_of("resnet10", 16, 1, 32);
    rig cuda, ref;
    double worst = 0;
    open_rig(&cuda, &hpt_backend_cuda, &a, curve_spec(t, steps));
    open_rig(&ref, &hpt__backend_reference, &a, curve_spec(HPT__F32, steps));
    for (int i = 0; i < steps; i++) {
        double x = one_step(&cuda, i), y = one_step(&ref, i), e = fabs(x - y) / y;
        if (e > worst) worst = e;
        /* rounding grows along a run: the limit does too */
        if (!(e <= tol * (1 + i * 0.5))) FAIL("step %d: loss %.7f, reference %.7f", i + 1, x, y);
    }
    printf("  %d steps, largest relative difference of the loss %.2g\n", steps, worst);
    close_rig(&cuda);
    close_rig(&ref);
}
TEST_LIMIT(device_loss_curve_fp32, 300) { curve(HPT__F32, 2e-5); }
TEST_LIMIT(device_loss_curve_tf32, 300) { curve(HPT__TF32, 1e-2); }
TEST_LIMIT(device_loss_curve_bf16, 300) { curve(HPT__BF16, 3e-2); }

/* ---- the same bits: twice, with and without a graph, after a resume ---- */

static void load_state(rig *to, rig *from) {
    const hpt__net *net = &from->net;
    size_t n = net->n_params * 4, s = net->n_stats * 4, q = (size_t)from->m->own.queue * (size_t)net->arch.dim * 4;
    const struct { void *a, *b; size_t bytes; } parts[] = {
        {from->m->q.params, to->m->q.params, n}, {from->m->k.params, to->m->k.params, n},
            {from->m->q.moment1, to->m->q.moment1, n},
        {from->m->q.stats, to->m->q.stats, s}, {from->m->k.stats, to->m->k.stats, s},
        {from->m->queue.rows, to->m->queue.rows, q}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *x = malloc(parts[i].bytes);
        from->be->memory.download(from->dev, x, parts[i].a, parts[i].bytes);
        to->be->memory.upload(to->dev, parts[i].b, x, parts[i].bytes);
        free(x);
    }
    to->m->queue.ptr = from->m->queue.ptr;
    to->m->queue.filled = from->m->queue.filled;
    to->t.step = from->t.step;
    to->t.prepared = 0;
}
static void same(rig *a, rig *b, const char *what) {
    const char *names[] = {"q.conv1.weight", "q.layer4.0.conv2.weight", "k.layer4.0.conv2.weight", "q.bn1.running_var",
                           "momentum.fc.0.weight", "queue"};
    for (int i = 0; i < 6; i++) {
        size_t n;
        float *x = fetch(a, names[i], &n), *y = fetch(b, names[i], &n);
        if (memcmp(x, y, n * 4)) FAIL("%s: %s differs", what, names[i]);
        free(x);
        free(y);
    }
}
TEST_LIMIT(device_same_bits_and_resume, 300) {
    hpt__arch a = arch_of("resnet10", 16, 1, 32);
    int half = on_gpu() ? 20 : 3;
    for (int t = 0; t < 2; t++) {
        rig x, y, z;
        hpt__trainer_spec s = curve_spec(t ? HPT__BF16 : HPT__F32, 2 * half), plain = s;
        plain.graph = 0;
        open_rig(&x, &hpt_backend_cuda, &a, s);
        open_rig(&y, &hpt_backend_cuda, &a, plain);
        open_rig(&z, &hpt_backend_cuda, &a, s);
        for (int i = 0; i < half; i++) one_step(&x, i), one_step(&y, i);
        same(&x, &y, "graph and plain launches");
        load_state(&z, &x);
        for (int i = half; i < 2 * half; i++) one_step(&x, i), one_step(&z, i);
        same(&x, &z, "resumed");
        close_rig(&x);
        close_rig(&y);
        close_rig(&z);
    }
}

/* ---- every convolution shape of ResNet-50 on the device against the reference ---- */

static void *upload(rig *r, const void *x, size_t bytes) {
    void *p = r->be->memory.alloc(r->dev, bytes + 64);
    CHECK(p);
    r->be->memory.upload(r->dev, p, x, bytes);
    return p;
}
static void conv_shape(hpt__device *dev, hpt__dtype t, int n, int c, int h, int k, int r, int stride) {
    const hpt__backend *be = &hpt_backend_cuda;
    rig rr = {.be = be, .dev = dev};
    hpt__geometry g = {.n = n, .c = c, .h = h, .w = h, .k = k, .r = r, .s = r, .stride = stride, .pad_h = r / 2,
                       .pad_w = r / 2, .bn_groups = 1};
    g.p = g.q = (h + 2 * g.pad_h - r) / stride + 1;
    int cp = t == HPT__BF16 ? (c + 7) / 8 * 8 : (c + 3) / 4 * 4, bf16 = t == HPT__BF16;
    size_t in = (size_t)(n * c * h * h), inp = (size_t)n * (size_t)(h * h) * (size_t)cp,
        out = (size_t)(n * k) * (size_t)(g.p * g.q), nw = (size_t)(k * c * r * r);
    float *x = noise(in, 1, 1, 0), *w = noise(nw, 2, 0.1f, 0), *dy = noise(out, 3, 1, 0), *nhwc = calloc(inp, 4);
    if (bf16) for (size_t i = 0; i < in; i++) x[i] = from_bf16(round_bf16(x[i]));
    if (bf16) for (size_t i = 0; i < nw; i++) w[i] = from_bf16(round_bf16(w[i]));
    if (bf16) for (size_t i = 0; i < out; i++) dy[i] = from_bf16(round_bf16(dy[i]));
    size_t size = bf16 ? 2 : 4;
#define NHWC(from, C, Cp, HW, to) for (int i_ = 0; i_ < n; i_++) for (int p_ = 0; p_ < (HW); p_++) for (int c_ = 0; \
    c_ < (C); c_++) { \
        float v_ = (from)[((size_t)i_ * (size_t)(C) + (size_t)c_) * (size_t)(HW) + (size_t)p_]; \
        size_t at_ = ((size_t)i_ * (size_t)(HW) + (size_t)p_) * (size_t)(Cp) + (size_t)c_; \
        if (bf16) ((uint16_t *)(void *)(to))[at_] = round_bf16(v_); else (to)[at_] = v_; }
    NHWC(x, c, cp, h * h, nhwc)
    float *dyn = calloc(out, 4);
    NHWC(dy, k, k, g.p * g.q, dyn)
    int64_t shape[4] = {k, c, r, r};
    void *gx = upload(&rr, nhwc, inp * size), *gdy = upload(&rr, dyn, out * size), *gy = upload(&rr, dyn, out * size),
        *gdx = upload(&rr, nhwc, inp * size), *gw = be->memory.alloc(dev, nw * 4 + 64),
         *gdw = be->memory.alloc(dev, nw * 4 + 64), *low = be->memory.alloc(dev, nw * 2 + 64);
    be->order.pack(dev, t, shape, w, gw);
    be->params->lower(dev, 1, nw, nw, gw, low);
    float *got = malloc((inp > out ? inp > nw ? inp : nw : out > nw ? out : nw) * 4);
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 1 && c == 3) continue;
        hpt__op_desc d = {kind == 0 ? HPT__OP_CONV : kind == 1 ? HPT__OP_CONV_DATA : HPT__OP_CONV_WEIGHTS, t, g, 0, 1};
        hpt__op *op;
        OK(be->op.create(dev, &d, &op));
        void *scratch = be->memory.alloc(dev, be->op.scratch(op) + 64);
        hpt__op_args a = {.x = gx, .w = gw, .w_low = low, .y = gy, .dy = gdy, .dx = gdx, .dw = gdw, .scratch = scratch};
        OK(be->op.run(op, &a));
        OK(be->queue.sync(dev));
        /* a sample of outputs in double: the whole would take the reference minutes */
        int channels = kind == 0 ? k : c, hw = kind == 0 ? g.p * g.q : h * h, pitch = kind == 0 ? k : cp;
        size_t count = kind == 2 ? nw : (size_t)n * (size_t)hw * (size_t)pitch;
        if (kind == 2) be->order.unpack(dev, t, shape, gdw, got);
        else {
            char *raw = malloc(count * size);
            be->memory.download(dev, raw, kind == 0 ? gy : gdx, count * size);
            for (size_t i = 0; i < count; i++)
                got[i] = bf16 ? from_bf16(((uint16_t *)(void *)raw)[i]) : ((float *)(void *)raw)[i];
            free(raw);
        }
        double tol = t == HPT__F32 ? 2e-5 : t == HPT__TF32 ? 4e-3 : 1.2e-2, worst = 0, scale = 0;
        for (int s = 0; s < 200; s++) {
            uint32_t hsh = hash_at((uint64_t)s, 9 + (uint64_t)kind);
            double sum = 0;
            float have;
            if (kind < 2) {
                int i = (int)(hsh % (unsigned)n), ch = (int)(hsh / 7 % (unsigned)channels),
                    p = (int)(hsh / 977 % (unsigned)hw), side = kind == 0 ? g.q : h, py = p / side, px = p % side;
                have = got[((size_t)i * (size_t)hw + (size_t)p) * (size_t)pitch + (size_t)ch];
                for (int a1 = 0; a1 < r; a1++)
                    for (int b1 = 0; b1 < r; b1++) for (int o = 0; o < (kind == 0 ? c : k); o++) {
                    if (kind == 0) {
                        int y1 = py * stride + a1 - g.pad_h, x1 = px * stride + b1 - g.pad_w;
                        if (y1 >= 0 && y1 < h && x1 >= 0 && x1 < h)
                            sum += (double)x[((size_t)(i * c + o) * (size_t)h + (size_t)y1) * (size_t)h + (size_t)x1] *
                                w[((size_t)(ch * c + o) * (size_t)r + (size_t)a1) * (size_t)r + (size_t)b1];
                    } else {
                        int y1 = py + g.pad_h - a1, x1 = px + g.pad_w - b1;
                        if (y1 >= 0 && x1 >= 0 && y1 % stride == 0 && x1 % stride == 0 && y1 / stride < g.p &&
                            x1 / stride < g.q)
                            sum += (double)dy[((size_t)(i * k + o) * (size_t)g.p + (size_t)(y1 / stride)) *
                                              (size_t)g.q + (size_t)(x1 / stride)] *
                                              w[((size_t)(o * c + ch) * (size_t)r + (size_t)a1) * (size_t)r +
                                                (size_t)b1];
                    }
                }
            } else {
                int o = (int)(hsh % (unsigned)k), ch = (int)(hsh / 7 % (unsigned)c),
                    a1 = (int)(hsh / 977 % (unsigned)r), b1 = (int)(hsh / 3331 % (unsigned)r);
                have = got[((size_t)(o * c + ch) * (size_t)r + (size_t)a1) * (size_t)r + (size_t)b1];
                for (int i = 0; i < n; i++) for (int y0 = 0; y0 < g.p; y0++) for (int x0 = 0; x0 < g.q; x0++) {
                    int y1 = y0 * stride + a1 - g.pad_h, x1 = x0 * stride + b1 - g.pad_w;
                    if (y1 >= 0 && y1 < h && x1 >= 0 && x1 < h)
                        sum += (double)x[((size_t)(i * c + ch) * (size_t)h + (size_t)y1) * (size_t)h + (size_t)x1] *
                            dy[((size_t)(i * k + o) * (size_t)g.p + (size_t)y0) * (size_t)g.q + (size_t)x0];
                }
            }
            worst += (have - sum) * (have - sum);
            scale += sum * sum;
        }
        if (!(sqrt(worst) <= tol * sqrt(scale)))
            FAIL("%s kind %d: %d images, %d -> %d channels, %dx%d, window %d stride %d: error %.3g (%s)",
                 t == HPT__BF16 ? "bf16" : t == HPT__TF32 ? "tf32" : "fp32", kind, n, c, k, h, h, r, stride,
                                                      sqrt(worst / scale), be->op.name(op));
        be->op.destroy(op);
        be->memory.free(dev, scratch);
    }
    void *all[] = {gx, gdy, gy, gdx, gw, gdw, low};
    for (int i = 0; i < 7; i++) be->memory.free(dev, all[i]);
    free(x); free(w); free(dy); free(nhwc); free(dyn); free(got);
}
TEST_LIMIT(device_convolutions_of_resnet50, 300) {
    static const int full[][5] = {{3, 224, 64, 7, 2}, {64, 56, 64, 1, 1}, {64, 56, 64, 3, 1}, {64, 56, 256, 1, 1},
                                  {256, 56, 64, 1, 1}, {256, 56, 128, 1, 1}, {128, 56, 128, 3, 2},
                                  {256, 56, 512, 1, 2}, {128, 28, 512, 1, 1},
                                  {512, 28, 128, 1, 1}, {128, 28, 128, 3, 1}, {512, 28, 256, 1, 1},
                                  {256, 28, 256, 3, 2}, {512, 28, 1024, 1, 2}, {1024, 14, 256, 1, 1},
                                  {256, 14, 256, 3, 1}, {1024, 14, 512, 1, 1},
                                  {512, 14, 512, 3, 2}, {1024, 14, 2048, 1, 2}, {2048, 7, 512, 1, 1},
                                  {512, 7, 512, 3, 1}, {3, 32, 64, 3, 1}};
    static const int tiny[][5] = {{3, 9, 16, 7, 2}, {16, 6, 32, 3, 2}, {32, 5, 16, 1, 1}, {3, 8, 16, 3, 1}};
    hpt__open o = {0, 1, ""};
    hpt__device *dev;
    OK(hpt_backend_cuda.device.open(&hpt__host_table, &o, &dev));
    const hpt__dtype types[] = {HPT__F32, HPT__TF32, HPT__BF16};
    int n = on_gpu() ? (int)(sizeof full / sizeof *full) : (int)(sizeof tiny / sizeof *tiny);
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < n; i++) {
            const int *s = on_gpu() ? full[i] : tiny[i];
            conv_shape(dev, types[t], on_gpu() ? 8 : 2, s[0], s[1], s[2], s[3], s[4]);
        }
    hpt_backend_cuda.device.close(dev);
}

static void device_ops(hpt__dtype t) {
    hpt__open o = {0, 1, ""};
    hpt__device *dev;
    OK(hpt_backend_cuda.device.open(&hpt__host_table, &o, &dev));
    ops_against_reference(&hpt_backend_cuda, dev, dev, t);
    hpt_backend_cuda.device.close(dev);
}
TEST_LIMIT(device_ops_fp32, 300) { device_ops(HPT__F32); }
TEST_LIMIT(device_ops_tf32, 300) { device_ops(HPT__TF32); }
TEST_LIMIT(device_ops_bf16, 300) { device_ops(HPT__BF16); }

TEST_LIMIT(device_memory_comes_back, 300) {
    hpt__arch a = arch_of("resnet10", 16, 1, 32);
    size_t left[4];
    hpt__open o = {0, 1, ""};
    hpt__device *dev;
    OK(hpt_backend_cuda.device.open(&hpt__host_table, &o, &dev));
    for (int i = 0; i < 4; i++) {
        rig r;
        open_rig(&r, &hpt_backend_cuda, &a, curve_spec(HPT__BF16, 9));
        for (int j = 0; j < 3; j++) one_step(&r, j);
        close_rig(&r);
        left[i] = hpt_backend_cuda.memory.left(dev);
    }
    if (left[3] + (4u << 20) < left[1]) FAIL("free memory fell from %zu to %zu MiB", left[1] >> 20, left[3] >> 20);
    hpt_backend_cuda.device.close(dev);
}

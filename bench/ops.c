/* SPDX-License-Identifier: MIT
 * bench/ops PRECISION ROUNDS [PART] - operations of the onednn backend one by one, at shapes of EfficientNet-B2 at 224
 * (batch 8) and some that ResNets have. Prints one line of JSON for each operation: its shape, what served it, the
 * bytes of the arrays that it reads and writes, processor time in ms on one thread (so that other work on the machine
 * counts little). PART: only shapes whose name holds it. It calls what is inside of the library; whole steps: step.c */
#define _POSIX_C_SOURCE 200809L
#include "backend/backend.h"
#include "common.h"
#include <string.h>

/* the depthwise convolutions of a stage, then its 1x1 convolutions, and what goes over maps value by value */
typedef struct shape { const char *name; int n, c, h, k, r, stride, conv_groups; } shape;
#define DEPTHWISE(c, h, r, stride) {"depthwise", 8, c, h, c, r, stride, c}
#define POINTWISE(c, h, k) {"pointwise", 8, c, h, k, 1, 1, 1}
#define MAPS(c, h) {"maps", 8, c, h, c, 3, 2, 1}
static const shape shapes[] = {
    DEPTHWISE(32, 112, 3, 1), DEPTHWISE(96, 112, 3, 2), DEPTHWISE(144, 56, 3, 1), DEPTHWISE(144, 56, 5, 2),
    DEPTHWISE(288, 28, 5, 1), DEPTHWISE(288, 28, 3, 2), DEPTHWISE(528, 14, 3, 1), DEPTHWISE(720, 14, 5, 1),
    DEPTHWISE(720, 14, 5, 2), DEPTHWISE(1248, 7, 5, 1), DEPTHWISE(2112, 7, 3, 1), DEPTHWISE(40, 112, 3, 1),
    POINTWISE(16, 112, 96), POINTWISE(96, 56, 24), POINTWISE(24, 56, 144), POINTWISE(144, 56, 24),
    POINTWISE(144, 28, 48), POINTWISE(288, 14, 88), POINTWISE(88, 14, 528), POINTWISE(720, 14, 120),
    POINTWISE(120, 14, 720), POINTWISE(208, 7, 1248), POINTWISE(352, 7, 1408),
    MAPS(24, 56), MAPS(144, 56), MAPS(120, 14), MAPS(96, 112), MAPS(2112, 7),
    {"dense", 8, 64, 56, 64, 3, 1, 1},
};
/* what is run on a shape: convolutions, or passes over maps */
static const struct { hpt__op_kind kind; int on_maps; hpt__act act; const char *name; } runs[] = {
    {HPT__OP_CONV, 0, HPT__ACT_NONE, "conv"}, {HPT__OP_CONV_DATA, 0, HPT__ACT_NONE, "conv_data"},
    {HPT__OP_CONV_WEIGHTS, 0, HPT__ACT_NONE, "conv_weights"},
    {HPT__OP_NORM, 1, HPT__ACT_NONE, "norm"}, {HPT__OP_NORM_GRAD, 1, HPT__ACT_NONE, "norm_grad"},
    {HPT__OP_NORM, 1, HPT__ACT_SILU, "norm silu"}, {HPT__OP_NORM_GRAD, 1, HPT__ACT_SILU, "norm_grad silu"},
    {HPT__OP_ACT, 1, HPT__ACT_SILU, "silu"}, {HPT__OP_ACT_GRAD, 1, HPT__ACT_SILU, "silu_grad"},
    {HPT__OP_AVERAGE, 1, HPT__ACT_NONE, "average"}, {HPT__OP_AVERAGE_GRAD, 1, HPT__ACT_NONE, "average_grad"},
    {HPT__OP_MAXPOOL, 1, HPT__ACT_NONE, "maxpool"}, {HPT__OP_SUM, 1, HPT__ACT_NONE, "sum"},
};
enum { RUNS = sizeof runs / sizeof *runs };

static const hpt__backend *be;
static hpt__device *dev;
static hpt__dtype dtype;

static void *room(size_t bytes) {
    void *p = be->memory.alloc(dev, bytes + 64);
    if (!p) exit(1);
    be->memory.zero(dev, p, bytes);
    return p;
}
static float *numbers(size_t n) {
    float *x = room(n * 4);
    uint32_t seed = 1;
    for (size_t i = 0; i < n; i++) x[i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
    return x;
}
static size_t map_bytes(int n, int c, int h) {
    return (size_t)n * (size_t)c * (size_t)h * (size_t)h * (dtype == HPT__BF16 ? 2 : 4);
}
/* a map of random values */
static void *map(int n, int c, int h) {
    hpt__op_desc d = {.kind = HPT__OP_INPUT, .dtype = dtype, .g = {.n = n, .c = c, .h = h, .w = h}};
    hpt__op *op;
    float *x = numbers((size_t)n * (size_t)c * (size_t)h * (size_t)h);
    void *y = room(be->order.act_bytes(dev, dtype, n, c, h, h));
    ok(be->op.create(dev, &d, &op));
    ok(be->op.run(op, &(hpt__op_args){.x = x, .y = y}));
    be->op.destroy(op);
    be->memory.free(dev, x);
    return y;
}
static size_t bytes_of(int run, const hpt__geometry *g) {
    size_t in = map_bytes(g->n, g->c, g->h), out = map_bytes(g->n, g->k, g->p);
    size_t w = (size_t)(g->k * (g->c / hpt__conv_groups(g)) * g->r * g->s) * 4;
    switch (runs[run].kind) {
    case HPT__OP_CONV: case HPT__OP_CONV_DATA: case HPT__OP_CONV_WEIGHTS: return in + out + w;
    case HPT__OP_NORM: return 3 * in;
    case HPT__OP_NORM_GRAD: return (g->act == HPT__ACT_NONE ? 5 : 7) * in;
    case HPT__OP_ACT: return 2 * in;
    case HPT__OP_AVERAGE: case HPT__OP_AVERAGE_GRAD: return in;
    case HPT__OP_MAXPOOL: return in + out;
    default: return 3 * in;
    }
}
/* At least 5 ms of it a round, after one that counts for nothing. */
static void bench(const shape *s, int run, int rounds) {
    int pad = s->r / 2, same = runs[run].on_maps && runs[run].kind != HPT__OP_MAXPOOL,
        p = same ? s->h : (s->h + 2 * pad - s->r) / s->stride + 1;
    hpt__op_desc d = {.kind = runs[run].kind, .dtype = dtype, .deterministic = 1,
                      .g = {.n = s->n, .c = s->c, .h = s->h, .w = s->h, .k = s->k, .p = p, .q = p, .r = s->r, .s = s->r,
                            .stride = s->stride, .pad_h = pad, .pad_w = pad, .conv_groups = s->conv_groups,
                            .bn_groups = 1, .act = runs[run].act, .residual = runs[run].kind == HPT__OP_SUM,
                            .eps = 1e-5}};
    const hpt__geometry *g = &d.g;
    hpt__op *op;
    printf("{\"shape\": \"%s\", \"op\": \"%s\", \"precision\": \"%s\", \"n\": %d, \"c\": %d, \"h\": %d, \"k\": %d, "
           "\"r\": %d, \"stride\": %d, \"groups\": %d, \"bytes\": %zu, ", s->name, runs[run].name,
           dtype == HPT__BF16 ? "bf16" : "fp32", s->n, s->c, s->h, s->k, s->r, s->stride, s->conv_groups,
           bytes_of(run, g));
    if (be->op.create(dev, &d, &op)) {
        printf("\"refused\": true}\n");
        return;
    }
    size_t most = (size_t)(g->c > g->k ? g->c : g->k),
           weights = (size_t)(g->k * (g->c / hpt__conv_groups(g)) * g->r * g->s);
    void *in[4], *out[2], *chan[6];
    float *weight = numbers(weights), *dw = room(weights * 4 + most * 4);
    for (int i = 0; i < 4; i++) in[i] = map(g->n, g->c, g->h);
    for (int i = 0; i < 2; i++) out[i] = map(g->n, g->k, g->p);
    for (int i = 0; i < 6; i++) chan[i] = numbers(most * (i == 5 ? (size_t)g->n : 1));
    int conv = !runs[run].on_maps, pool = runs[run].kind == HPT__OP_MAXPOOL,
        nc = runs[run].kind == HPT__OP_AVERAGE || runs[run].kind == HPT__OP_AVERAGE_GRAD;
    for (size_t i = 0; i < most; i++) ((float *)chan[2])[i] = 1 + ((float *)chan[2])[i] / 2;      /* a rstd */
    hpt__op_args a = {.x = in[0], .y_in = in[1], .w = conv ? weight : chan[0], .b = chan[1], .r = in[2],
                      .y = conv || pool ? out[0] : nc ? chan[5] : in[3], .dx = in[3],
                      .dw = conv ? (void *)dw : chan[4], .db = dw + weights, .dy = conv ? out[1] : nc ? chan[5] : in[2],
                      .mean = chan[3], .rstd = chan[2], .run_mean = room(most * 4), .run_var = room(most * 4),
                      .aux = room((size_t)g->n * most * (size_t)(g->h * g->h) + 64),
                      .scratch = room(be->op.scratch(op)), .momentum = 0.1};
    printf("\"served\": \"%s\", \"ms\": [", be->op.name(op));
    for (int i = -1; i < rounds; i++) {
        double t0 = now_ms(CLOCK_PROCESS_CPUTIME_ID), t = t0;
        int n = 0;
        for (; t - t0 < 5 || n < 2; n++) {
            ok(be->op.run(op, &a));
            t = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        }
        if (i >= 0) printf("%s%.4f", i ? ", " : "", (t - t0) / n);
    }
    printf("]}\n");
    fflush(stdout);
    void *mine[] = {in[0], in[1], in[2], in[3], out[0], out[1], chan[0], chan[1], chan[2], chan[3], chan[4], chan[5],
                    weight, dw, a.run_mean, a.run_var, a.aux, a.scratch};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) be->memory.free(dev, mine[i]);
    be->op.destroy(op);
}

int main(int argc, char **argv) {
    hpt__open o = {0, 1, ""};
    char fallback[HPT__FALLBACK];
    void *module;
    if (argc < 3) return fprintf(stderr, "usage: bench-ops fp32|bf16 ROUNDS [PART]\n"), 2;
    dtype = !strcmp(argv[1], "bf16") ? HPT__BF16 : HPT__F32;
    ok(hpt__backend_open("onednn", "", &o, &be, &dev, &module, fallback));
    be->device.enter(dev);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int run = 0; run < RUNS; run++)
            if (runs[run].on_maps == !strcmp(shapes[i].name, "maps") && (argc < 4 || strstr(shapes[i].name, argv[3])))
                bench(&shapes[i], run, atoi(argv[2]));
    be->device.leave(dev);
    hpt__backend_close(be, dev, module);
    return 0;
}

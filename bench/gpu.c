/* SPDX-License-Identifier: MIT
 * bench-gpu step CONFIG PRECISION ROUNDS     whole MoCo-v2 steps on views that are staged as the session stages them
 * bench-gpu kernels ROUNDS                   kernels one by one, with the bytes and flops that their contracts count
 * Prints one line of JSON for each result. Times are CUDA events around 20 launches, the minimum over ROUNDS. */
#define _POSIX_C_SOURCE 200809L
#include "backend/backend.h"
#include "kernels/cuda_kernels.h"
#include "ssl/moco.h"
#include "train/lane.h"
#include <cublasLt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const hpt__backend hpt_backend_cuda;
static void ok(hpt_status st) {
    if (st < 0) {
        fprintf(stderr, "%s: %s\n", hpt_status_name(st), hpt_last_error());
        exit(1);
    }
}
#define CU(call) do { cudaError_t e_ = (call); if (e_) { fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(e_)); \
                                                         exit(1); } } while (0)
static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static const struct { const char *name, *arch; int blocks[4], bottleneck, small, size, batch, group; int64_t k;
} configs[] = {
    {"rn50-224", "resnet50", {3, 4, 6, 3}, 1, 0, 224, 256, 64, 65536}, {"rn18-224", "resnet18", {2, 2, 2, 2}, 0, 0,
        224, 256, 64, 65536}, {"rn18-32", "resnet18", {2, 2, 2, 2}, 0, 1, 32, 512, 128, 4096},
    {"tiny", "resnet10", {1, 1, 1, 1}, 0, 1, 16, 8, 4, 64}};        /* to try the program itself */

static int bench_step(const char *name, const char *precision, int rounds) {
    size_t c = 0, n = sizeof configs / sizeof *configs;
    while (c < n && strcmp(configs[c].name, name)) c++;
    if (c == n) return fprintf(stderr, "no configuration %s\n", name), 2;
    const hpt__backend *be = &hpt_backend_cuda;
    hpt__open o = {0, 1, ""};
    hpt__device *dev;
    hpt__comm comm;
    hpt__net net;
    hpt__trainer m;
    hpt__arch a = {.width = 64, .small_stem = configs[c].small, .dim = 128, .mlp = 1,
                   .bottleneck = configs[c].bottleneck};
    char device[200];
    double start = now_ms();
    snprintf(a.name, sizeof a.name, "%s", configs[c].arch);
    memcpy(a.blocks, configs[c].blocks, sizeof a.blocks);
    ok(be->device.open(&hpt__host_table, &o, &dev));
    be->device.describe(dev, device, sizeof device);
    size_t before = be->memory.left(dev);
    hpt__comm_self(&comm);
    ok(hpt__net_create(&a, &net));
    float *params = calloc(net.n_params, 4), *stats = calloc(net.n_stats, 4);
    uint8_t *trainable = malloc((size_t)net.n_tensors);
    hpt__net_init(&net, 1, 0, 0, params, stats);
    for (int i = 0; i < net.n_tensors; i++) trainable[i] = !hpt__is_stat(&net.tensors[i]);
    hpt__dtype t = !strcmp(precision, "bf16") ? HPT__BF16 : !strcmp(precision, "tf32") ? HPT__TF32 : HPT__F32;
    int batch = configs[c].batch, size = configs[c].size;
    const hpt__moco_own own = {configs[c].k, 0.999, 0.2, 1};
    hpt__trainer_spec s = {.dtype = t, .batch = batch, .size = size, .groups = batch / configs[c].group,
                           .deterministic = 0, .graph = 1, .method = &hpt__method_moco, .own = &own,
                           .optimizer = {.momentum = 0.9, .weight_decay = 1e-4}, .schedule = {0.03, 1, 100000, 0, 0},
                           .trainable = trainable};
    ok(hpt__trainer_open(&m, be, dev, &comm, &net, &s, params, stats));
    size_t count = (size_t)batch * 3 * (size_t)size * (size_t)size;
    float *view[2] = {be->queue.host_alloc(dev, count * 4), be->queue.host_alloc(dev, count * 4)};
    unsigned seed = 1;
    for (int v = 0; v < 2; v++)
        for (size_t i = 0; i < count; i++)
            view[v][i] = (float)(seed = seed * 1664525u + 1013904223u) / 2147483648.0f - 1;
    hpt__step_result out;
    ok(hpt__stage_views(&m, (const float *const *)view, 1));
    ok(hpt__stage_wait(&m));
    double first = 0, *ms = calloc((size_t)rounds, sizeof *ms), t0 = 0;
    for (int i = -6; i < rounds; i++) {         /* 4 warm-up steps bring both lanes to their graphs */
        t0 = now_ms();
        ok(hpt__trainer_launch(&m));
        ok(hpt__stage_views(&m, (const float *const *)view, 1));
        ok(hpt__stage_wait(&m));
        ok(hpt__trainer_finish(&m, 0, &out));
        if (i == -6) first = now_ms() - start;
        if (i >= 0) ms[i] = now_ms() - t0;
    }
    printf("{\"kind\": \"step\", \"config\": \"%s\", \"precision\": \"%s\", \"device\": \"%s\", \"batch\": %d, "
           "\"first_ms\": %.1f, \"device_mib\": %zu, \"plan_mib\": %zu, \"loss\": %.5f, \"ms\": [", name, precision,
           device, batch, first, (before - be->memory.left(dev)) >> 20, hpt__trainer_plan_bytes(&m) >> 20, out.loss);
    for (int i = 0; i < rounds; i++) printf("%s%.3f", i ? ", " : "", ms[i]);
    printf("]}\n");
    return 0;
}

/* ---- kernels ---- */

static cudaStream_t stream;
static cudaEvent_t ev[2];
static void *device(size_t bytes) {
    void *p;
    CU(cudaMalloc(&p, bytes + 256));
    CU(cudaMemsetAsync(p, 0x3c, bytes, stream));       /* small bfloat16 and float values */
    return p;
}
#define TIME(ms, rounds, call) do { \
    ms = 1e30; \
    for (int r_ = -1; r_ < (rounds); r_++) { \
        float t_; \
        CU(cudaEventRecord(ev[0], stream)); \
        for (int i_ = 0; i_ < 20; i_++) CU(call); \
        CU(cudaEventRecord(ev[1], stream)); \
        CU(cudaEventSynchronize(ev[1])); \
        CU(cudaEventElapsedTime(&t_, ev[0], ev[1])); \
        if (r_ >= 0 && t_ / 20 < ms) ms = t_ / 20; \
    } } while (0)
static void row(const char *name, const char *shape, double ms, double bytes, double flops) {
    printf("{\"kind\": \"kernel\", \"name\": \"%s\", \"shape\": \"%s\", \"us\": %.2f, \"gb_s\": %.1f, \"tflop_s\": "
           "%.2f}\n", name, shape, ms * 1e3, bytes / ms * 1e-6, flops / ms * 1e-9);
    fflush(stdout);
}
static cudaError_t copy(void *dst, const void *src, size_t n) {
    return cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice, stream);
}

static cublasLtHandle_t blas;
static cublasLtMatmulDesc_t desc;
static cublasLtMatrixLayout_t layout;
static cublasLtMatmulHeuristicResult_t algo;
static cudaError_t product(void *a, void *b, void *c, void *ws) {
    float one = 1, zero = 0;
    return cublasLtMatmul(blas, desc, &one, a, layout, b, layout, &zero, c, layout, c, layout, &algo.algo, ws,
                          32 << 20, stream) ? cudaErrorUnknown : cudaSuccess;
}

static int bench_kernels(int rounds) {
    struct cudaDeviceProp p;
    double ms;
    CU(cudaGetDeviceProperties(&p, 0));
    CU(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int i = 0; i < 2; i++) CU(cudaEventCreateWithFlags(&ev[i], cudaEventDefault));
    int sms = p.multiProcessorCount;
    printf("{\"kind\": \"device\", \"name\": \"%s\", \"sms\": %d, \"l2_mib\": %d}\n", p.name, sms, p.l2CacheSize >> 20);
    /* the card's own peaks: copy, and a bfloat16 product of 8192^3 */
    size_t big = (size_t)1 << 30;
    void *x = device(big), *y = device(big), *z = device(big);
    TIME(ms, rounds, copy(y, x, big));
    row("device copy (peak)", "1 GiB", ms, 2.0 * (double)big, 0);
    cublasLtMatmulPreference_t pref;
    size_t ws = 32 << 20;
    int got = 0;
    if (!cublasLtCreate(&blas) && !cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) &&
        !cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, 8192, 8192, 8192) &&
        !cublasLtMatmulPreferenceCreate(&pref) && !cublasLtMatmulPreferenceSetAttribute(pref,
        CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &ws, sizeof ws) && !cublasLtMatmulAlgoGetHeuristic(blas, desc,
        layout, layout, layout, layout, pref, 1, &algo, &got) && got) {
        TIME(ms, rounds, product(x, y, z, (char *)x + ((size_t)512 << 20)));
        row("bf16 product (peak)", "8192^3", ms, 0, 2.0 * 8192 * 8192 * 8192);
    }
    /* InfoNCE: bytes and flops are the floor of infonce.cu, so that the rates compare with the peaks */
    for (int low = 1; low >= 0; low--) {
        int n = 256, d = 128;
        int64_t Q = 65536;
        void *scratch = device(hpt__cuda_infonce_scratch(n, d, sms));
        hpt__outcome *o = device(sizeof *o);
        TIME(ms, rounds, hpt__cuda_infonce(stream, sms, n, d, Q, x, y, (float *)z, low ? (uint16_t *)z : NULL, 0.2, o,
                                           (float *)((char *)x + ((size_t)64 << 20)), scratch));
        row(low ? "infonce bf16" : "infonce fp32", "N 256, D 128, K 65536", ms, (low ? 2.0 : 4.0) * (double)Q * d,
            4.0 * n * (double)Q * d);
    }
    /* one pass: p, m, g, k_next read, p, m, k, k_next and two low copies written */
    size_t n = 28u << 20;
    float *f[6];
    for (int i = 0; i < 6; i++) f[i] = device(n * 4);
    hpt__vars v = {.lr = 0.03, .ema = 0.999, .adam1 = 0.1, .adam2 = 0.03}, *dv = device(sizeof v);
    CU(cudaMemcpyAsync(dv, &v, sizeof v, cudaMemcpyHostToDevice, stream));
    hpt__update u = {.q = f[0], .m = f[1], .g = f[2], .k = f[3], .k_next = f[4], .v = f[5], .q_low = x, .k_low = y,
                     .rule = HPT__SGD, .momentum = 0.9, .wd = 1e-4, .b1 = 0.9, .b2 = 0.999, .eps = 1e-8};
    TIME(ms, rounds, hpt__cuda_update(stream, sms, &u, 0, n, dv, NULL));
    row("sgd + ema + bf16 copies", "28 Mi", ms, 36.0 * (double)n, 0);
    u.rule = HPT__ADAMW;
    TIME(ms, rounds, hpt__cuda_update(stream, sms, &u, 0, n, dv, NULL));
    row("adamw + ema + bf16 copies", "28 Mi", ms, 44.0 * (double)n, 0);
    hpt__outcome *o = device(sizeof *o);
    TIME(ms, rounds, hpt__cuda_finite(stream, sms, f[0], n, HPT__BAD_GRAD, o));
    row("finite", "28 Mi", ms, 4.0 * (double)n, 0);
    /* batch norm on the largest maps of ResNet-50 at batch 256 */
    static const int maps[][2] = {{64, 112}, {256, 56}, {512, 28}, {2048, 7}};
    for (int i = 0; i < 4; i++) {
        hpt__cuda_norm a = {.g = {.n = 256, .c = maps[i][0], .h = maps[i][1], .w = maps[i][1], .bn_groups = 4,
                                  .act = HPT__ACT_RELU, .residual = 1, .eps = 1e-5}, .bf16 = 1, .sms = sms,
                                  .momentum = 0.1};
        size_t bytes = (size_t)256 * (size_t)maps[i][0] * (size_t)maps[i][1] * (size_t)maps[i][1] * 2,
            gc = 4 * (size_t)maps[i][0] * 4;
        char shape[40];
        void *mx = device(bytes), *my = device(bytes), *mr = device(bytes), *md = device(bytes), *st = device(gc * 8);
        a.x = mx; a.y = my; a.y_in = my; a.r = mr; a.dy = md; a.dx = mx;
        a.w = st; a.b = st; a.mean = (float *)st + gc / 4; a.rstd = a.mean + gc / 4; a.run_mean = a.rstd + gc / 4;
        a.run_var = a.run_mean + gc / 4; a.dw = a.run_var + gc / 4; a.db = a.dw + gc / 4;
        a.scratch = device(hpt__cuda_norm_scratch(&a.g, 1, sms));
        snprintf(shape, sizeof shape, "256x%dx%dx%d", maps[i][0], maps[i][1], maps[i][1]);
        TIME(ms, rounds, hpt__cuda_norm_train(stream, &a));
        row("bn + add + relu", shape, ms, 4.0 * (double)bytes, 0);          /* x twice, residual, y */
        TIME(ms, rounds, hpt__cuda_norm_backward(stream, &a));
        /* x, y, dy read, d written; x, d read, dx written */
        row("bn + add + relu backward", shape, ms, 7.0 * (double)bytes, 0);
        void *all[] = {mx, my, mr, md, st, a.scratch};
        for (int k = 0; k < 6; k++) CU(cudaFree(all[k]));
    }
    /* both views of 256 photographs of 500x375 */
    int views = 512, size = 224;
    hpt__view *hv = calloc((size_t)views, sizeof *hv);
    for (int i = 0; i < views; i++)
        hv[i] = (hpt__view){.offset = (uint64_t)(i % 256) * 500 * 375 * 3, .w = 500, .h = 375, .x = i % 60,
                            .y = i % 40, .cw = 230 + i % 200, .ch = 200 + i % 130, .jitter = i % 5 != 0,
                            .order = {0, 1, 2, 3}, .brightness = 1.1f, .contrast = 0.9f, .saturation = 1.2f, .hue = 20,
                            .gray = i % 5 == 0, .blur = i % 2, .flip = i / 2 % 2, .radius = 0.9f};
    hpt__view *dvw = device((size_t)views * sizeof *hv);
    CU(cudaMemcpyAsync(dvw, hv, (size_t)views * sizeof *hv, cudaMemcpyHostToDevice, stream));
    float *table = device(3 * 256 * 4);
    void *scratch = device(hpt__cuda_augment_scratch(views, size, 5));
    TIME(ms, rounds, hpt__cuda_augment(stream, views, size, 5, dvw, x, table, y, scratch));
    row("augment, both views of 256", "500x375 -> 224", ms, 512.0 * (150528 + 4 * 150528), 0);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "step")) return bench_step(argv[2], argv[3], atoi(argv[4]));
    if (argc == 3 && !strcmp(argv[1], "kernels")) return bench_kernels(atoi(argv[2]));
    fprintf(stderr,
            "usage: bench-gpu step rn50-224|rn18-224|rn18-32 bf16|tf32|fp32 ROUNDS\n       bench-gpu kernels ROUNDS\n");
    return 2;
}

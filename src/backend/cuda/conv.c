/* SPDX-License-Identifier: MIT
 * Convolutions through cuDNN 9's graph API (the convolution calls before it are deprecated): one operation a graph,
 * NHWC, float accumulation. Engines come from cuDNN's heuristics; the first few are timed on the device and the fastest
 * is kept, in memory and, if a folder is given, on the disk as cuDNN's own JSON, keyed by card, driver, cuDNN version
 * and the operation. Where runs must repeat and no folder keeps the choice, the heuristics' first is taken untimed.
 *
 * cuDNN 9.19 has no engine for a convolution with batch-norm statistics (GEN_STATS) in bfloat16, float or TF32, only
 * in half (asked without a GPU, see tests/cudnn/plans.c): statistics are read by norm.cu. */
#define _POSIX_C_SOURCE 200809L
#include "backend/cuda/device.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef cudnnBackendDescriptor_t desc_t;
enum { UID_X = 'x', UID_W = 'w', UID_Y = 'y', LONGEST_JSON = 1 << 20 };

hpt_status hpt__cudnn_fail(const hpt__host *host, cudnnStatus_t s, const char *what) {
    char text[400] = "";
    cudnnGetLastErrorString(text, sizeof text);
    hpt_status code = s == CUDNN_STATUS_ALLOC_FAILED ? HPT_ERR_MEMORY : s / 1000 == 3 ? HPT_ERR_UNSUPPORTED
        : HPT_ERR_DEVICE;
    return host->fail(code, "cuDNN: %s: %s%s%.300s", what, cudnnGetErrorString(s), text[0] ? ": " : "", text);
}

/* ---- descriptors: a builder that remembers the first failure ---- */

typedef struct builder { const hpt__host *host; desc_t made[8]; int n; cudnnStatus_t s; const char *what; } builder;
static desc_t make(builder *b, cudnnBackendDescriptorType_t type, const char *what) {
    desc_t d = NULL;
    if (b->s) return NULL;
    b->what = what;
    if (!(b->s = cudnnBackendCreateDescriptor(type, &d))) b->made[b->n++] = d;
    return d;
}
static void set(builder *b, desc_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                int64_t count, const void *v) {
    if (!b->s) b->s = cudnnBackendSetAttribute(d, name, type, count, v);
}
static void finish(builder *b, desc_t d) { if (!b->s) b->s = cudnnBackendFinalize(d); }
static void drop(builder *b) {
    while (b->n) cudnnBackendDestroyDescriptor(b->made[--b->n]);
}

/* four dimensions, the second (channels) innermost in memory */
static desc_t tensor(builder *b, int64_t uid, cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w) {
    int64_t dim[4] = {n, c, h, w}, stride[4] = {h * w * c, 1, w * c, c}, align = 16;
    desc_t d = make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "tensor");
    set(b, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(b, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    set(b, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(b, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(b, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    finish(b, d);
    return d;
}

/* The operation graph of one convolution; descriptors stay in the builder. */
static desc_t conv_graph(builder *b, const hpt__conv_target *t, const hpt__op_desc *d) {
    const hpt__geometry *g = &d->g;
    cudnnDataType_t map = d->dtype == HPT__BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT, compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t dims = 2, dilation[2] = {1, 1}, stride[2] = {g->stride, g->stride}, pad[2] = {g->pad_h, g->pad_w};
    float one = 1, zero = 0;
    static const struct { cudnnBackendDescriptorType_t type; cudnnBackendAttributeName_t conv, x, w, y, alpha, beta;
    } ops[3] = {
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
    int kind = d->kind == HPT__OP_CONV ? 0 : d->kind == HPT__OP_CONV_DATA ? 1 : 2;
    desc_t x = tensor(b, UID_X, map, g->n, g->c, g->h, g->w), w = tensor(b, UID_W, map, g->k,
        g->c / hpt__conv_groups(g), g->r, g->s), y = tensor(b, UID_Y, map, g->n, g->k, g->p, g->q);
    desc_t conv = make(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "convolution");
    set(b, conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    set(b, conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    set(b, conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(b, conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(b, conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(b, conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    set(b, conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    finish(b, conv);
    desc_t op = make(b, ops[kind].type, "convolution operation");
    set(b, op, ops[kind].conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &conv);
    set(b, op, ops[kind].x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x);
    set(b, op, ops[kind].w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w);
    set(b, op, ops[kind].y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y);
    set(b, op, ops[kind].alpha, CUDNN_TYPE_FLOAT, 1, &one);
    set(b, op, ops[kind].beta, CUDNN_TYPE_FLOAT, 1, &zero);
    finish(b, op);
    desc_t graph = make(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "operation graph");
    set(b, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &op);
    if (t->handle) set(b, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &t->handle);
    finish(b, graph);
    return graph;
}

/* Does an engine keep to what the operation promises? fp32 admits no rounded inputs, direct no Winograd or FFT,
 * deterministic no sums in arbitrary order. */
static int allowed(const hpt__op_desc *d, desc_t config) {
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    desc_t engine = NULL;
    int64_t n = 0;
    int ok = 0;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine)) return 0;
    if (!cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) &&
        !cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                  CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, note)) {
        ok = 1;
        for (int64_t i = 0; i < n; i++) switch (note[i]) {
            case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
            case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS: ok &= d->dtype != HPT__F32; break;
            case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION: ok = 0; break;
            case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC: ok &= !d->deterministic; break;
            case CUDNN_NUMERICAL_NOTE_FFT: case CUDNN_NUMERICAL_NOTE_WINOGRAD:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4: case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: ok &= !d->direct; break;
            default: break;
            }
    }
    cudnnBackendDestroyDescriptor(engine);
    return ok;
}

static cudnnStatus_t plan_from(const hpt__conv_target *t, desc_t config, hpt__conv_plan *p) {
    int64_t n = 0;
    cudnnStatus_t s = cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan);
    if (s) return s;
    if (t->handle)
        s = cudnnBackendSetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &t->handle);
    else
        s = cudnnBackendSetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                     &t->properties);
    if (!s)
        s = cudnnBackendSetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                     1, &config);
    if (!s) s = cudnnBackendFinalize(p->plan);
    if (!s)
        s = cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n,
                                     &p->workspace);
    if (s) hpt__conv_release(p);
    return s;
}
void hpt__conv_release(hpt__conv_plan *p) {
    if (p->plan) cudnnBackendDestroyDescriptor(p->plan);
    p->plan = NULL;
}

/* Adds the plans of one heuristic mode. */
static cudnnStatus_t ask(const hpt__conv_target *t, const hpt__op_desc *d, desc_t graph, cudnnBackendHeurMode_t mode,
                         int64_t limit, hpt__conv_plan *out, int most, int *count) {
    desc_t heuristic = NULL, config[HPT__CONV_CANDIDATES] = {0};
    int64_t n = 0, have = 0;
    cudnnStatus_t s = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic);
    if (s) return s;
    s = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &graph);
    if (!s) s = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (!s && !t->handle)
        s = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                     &t->properties);
    if (!s) s = cudnnBackendFinalize(heuristic);
    for (; !s && have < HPT__CONV_CANDIDATES; have++)
        if ((s = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[have]))) break;
    if (!s)
        s = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, have, &n,
                                     config);
    for (int64_t i = 0; !s && i < n && i < have && *count < most; i++) {
        hpt__conv_plan *p = &out[*count];
        /* an engine that will not build is no failure: the next may */
        if (!allowed(d, config[i]) || plan_from(t, config[i], p)) continue;
        if (p->workspace > limit) {
            hpt__conv_release(p);
            continue;
        }
        snprintf(p->name, sizeof p->name, "cudnn:%s#%d", mode == CUDNN_HEUR_MODE_FALLBACK ? "fallback" : "heuristic",
                 (int)i);
        ++*count;
    }
    for (int64_t i = 0; i < have; i++) cudnnBackendDestroyDescriptor(config[i]);
    cudnnBackendDestroyDescriptor(heuristic);
    return s;
}

hpt_status hpt__conv_candidates(const hpt__conv_target *t, const hpt__op_desc *d, int64_t limit, hpt__conv_plan *out,
                                int most, int *count) {
    builder b = {.host = t->host};
    const hpt__geometry *g = &d->g;
    *count = 0;
    memset(out, 0, sizeof *out * (size_t)most);
    desc_t graph = conv_graph(&b, t, d);
    if (b.s) {
        hpt_status st = hpt__cudnn_fail(t->host, b.s, b.what);
        drop(&b);
        return st;
    }
    cudnnStatus_t s = ask(t, d, graph, CUDNN_HEUR_MODE_A, limit, out, most, count);
    if (!*count) s = ask(t, d, graph, CUDNN_HEUR_MODE_FALLBACK, limit, out, most, count);
    drop(&b);
    if (*count) return HPT_OK;
    if (s && s / 1000 != 3) return hpt__cudnn_fail(t->host, s, "heuristics");
    return t->host->fail(HPT_ERR_UNSUPPORTED,
                         "cuDNN has no %s kernel for a %dx%d convolution, %d -> %d channels, %dx%d, batch %d, stride "
                         "%d", d->dtype == HPT__BF16 ? "bf16" : d->dtype == HPT__TF32 ? "tf32" : "fp32", g->r, g->s,
                         g->c, g->k, g->h, g->w, g->n, g->stride);
}

hpt_status hpt__conv_execute(hpt__device *dev, const hpt__conv_plan *p, const void *x, const void *w, const void *y,
                             void *workspace) {
    const void *pointer[3] = {x, w, y};
    int64_t uid[3] = {UID_X, UID_W, UID_Y};
    desc_t pack = NULL;
    cudnnStatus_t s = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (!s) s = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointer);
    if (!s) s = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uid);
    if (!s) s = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (!s) s = cudnnBackendFinalize(pack);
    if (!s) s = cudnnBackendExecute(dev->cudnn, p->plan, pack);
    if (pack) cudnnBackendDestroyDescriptor(pack);
    return s ? hpt__cudnn_fail(dev->host, s, p->name) : HPT_OK;
}

/* ---- the cache on disk: one file a plan, its first line the whole key ---- */

static void key_of(const hpt__device *dev, const hpt__op_desc *d, char *key, size_t size) {
    const hpt__geometry *g = &d->g;
    snprintf(key, size,
             "libhpt plan 3; %s; sm %d.%d; driver %d; cudnn %zu; kind %d dtype %d direct %d det %d; n%d c%d h%d w%d "
             "k%d p%d q%d r%d s%d stride%d pad%dx%d groups%d", dev->name, dev->major, dev->minor, dev->driver,
             cudnnGetVersion(), (int)d->kind, (int)d->dtype, d->direct, d->deterministic, g->n, g->c, g->h, g->w, g->k,
             g->p, g->q, g->r, g->s, g->stride, g->pad_h, g->pad_w, hpt__conv_groups(g));
}
static void path_of(const hpt__device *dev, const char *key, char *path, size_t size) {
    uint64_t h = 14695981039346656037u;
    for (const char *c = key; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
    snprintf(path, size, "%s/conv-%016llx.plan", dev->cache_dir, (unsigned long long)h);
}
static int load_plan(hpt__device *dev, const char *key, hpt__conv_plan *p) {
    char path[1100];
    path_of(dev, key, path, sizeof path);
    FILE *f = fopen(path, "rbe");
    if (!f) return 0;
    char *text = dev->host->alloc(LONGEST_JSON);
    size_t n = text ? fread(text, 1, LONGEST_JSON - 1, f) : 0, head = strlen(key);
    int64_t got;
    int ok = n > head + 1 && n < LONGEST_JSON - 1 && !memcmp(text, key, head) && text[head] == '\n';
    fclose(f);
    if (ok) {
        text[n] = 0;
        ok = !cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan);
        ok = ok && !cudnnBackendSetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                                             &dev->cudnn) &&
             !cudnnBackendSetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                       (int64_t)(n - head - 1), text + head + 1) && !cudnnBackendFinalize(p->plan) &&
             !cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got,
                                       &p->workspace);
        if (!ok) hpt__conv_release(p);          /* of another installation, or damaged: it is timed anew */
        else snprintf(p->name, sizeof p->name, "cudnn:cached");
    }
    if (text) dev->host->free(text);
    return ok;
}
/* A cache that cannot be written costs time at the next start, nothing else: no failure is reported. */
static void save_plan(hpt__device *dev, const char *key, const hpt__conv_plan *p) {
    char path[1100], temp[1200];
    int64_t n = 0;
    if (cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &n,
                                 NULL) || n < 1 || n > LONGEST_JSON / 2) return;
    char *text = dev->host->alloc((size_t)n + 1);
    if (!text) return;
    path_of(dev, key, path, sizeof path);
    snprintf(temp, sizeof temp, "%s.%ld.tmp", path, (long)getpid());
    if (!cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, n, &n,
                                  text)) {
        FILE *f = fopen(temp, "wbxe");
        if (f) {
            while (n > 0 && !text[n - 1]) n--;
            int ok = fprintf(f, "%s\n", key) > 0 && fwrite(text, 1, (size_t)n, f) == (size_t)n && !fflush(f) &&
                !fsync(fileno(f));
            if (fclose(f) || !ok || rename(temp, path)) unlink(temp);
        }
    }
    dev->host->free(text);
}

/* ---- timing ---- */

static cudaError_t time_plan(hpt__device *dev, const hpt__conv_plan *p, int runs, void *const buf[4], cudaEvent_t a,
                             cudaEvent_t b, float *best, hpt_status *st) {
    *best = 1e30f;
    for (int i = 0; i < runs; i++) {    /* the first run loads code */
        float ms;
        cudaError_t e = cudaEventRecord(a, dev->compute);
        if (!e) *st = hpt__conv_execute(dev, p, buf[0], buf[1], buf[2], buf[3]);
        if (*st) return e;
        if (!e) e = cudaEventRecord(b, dev->compute);
        if (!e) e = cudaEventSynchronize(b);
        if (!e) e = cudaEventElapsedTime(&ms, a, b);
        if (e) return e;
        if (i && ms < *best) *best = ms;
    }
    return cudaSuccess;
}

/* The fastest of the candidates, or (not timed) the first that runs; those that fail to run are passed over, unless
 * all do. */
static hpt_status pick(hpt__device *dev, const hpt__op_desc *d, hpt__conv_plan *c, int n, int timed, int *best) {
    const hpt__geometry *g = &d->g;
    size_t size = d->dtype == HPT__BF16 ? 2 : 4, bytes[4] =
        {(size_t)g->n * (size_t)g->c * (size_t)g->h * (size_t)g->w * size,
         (size_t)g->k * (size_t)(g->c / hpt__conv_groups(g)) * (size_t)g->r * (size_t)g->s * size,
                                                             (size_t)g->n * (size_t)g->k * (size_t)g->p *
                                                             (size_t)g->q * size, 256};
    void *buf[4] = {0};
    cudaEvent_t a = NULL, b = NULL;
    hpt_status st = HPT_OK, last = HPT_OK;
    float shortest = 1e30f;
    *best = -1;
    for (int i = 0; i < n; i++) if ((size_t)c[i].workspace > bytes[3]) bytes[3] = (size_t)c[i].workspace;
    cudaError_t e = cudaEventCreateWithFlags(&a, cudaEventDefault);
    if (!e) e = cudaEventCreateWithFlags(&b, cudaEventDefault);
    for (int i = 0; i < 4 && !e; i++) {
        e = cudaMalloc(&buf[i], bytes[i]);
        if (!e) e = cudaMemsetAsync(buf[i], 0, bytes[i], dev->compute);
    }
    for (int i = 0; i < n && !e && (timed || *best < 0); i++) {
        float ms;
        hpt_status ran = HPT_OK;
        e = time_plan(dev, &c[i], timed ? 4 : 1, buf, a, b, &ms, &ran);
        if (ran) last = ran;
        else if (!e && (ms < shortest || *best < 0)) shortest = ms, *best = i;
    }
    /* no room for trials: the heuristics' first; the plan's arena will say what it needs */
    if (e == cudaErrorMemoryAllocation) *best = 0;
    else if (e) st = hpt__cuda_fail(dev, e, "timing a convolution");
    else if (*best < 0) st = last;
    if (e == cudaErrorMemoryAllocation) cudaGetLastError();
    for (int i = 0; i < 4; i++) if (buf[i]) cudaFree(buf[i]);
    if (a) cudaEventDestroy(a);
    if (b) cudaEventDestroy(b);
    return st;
}

hpt_status hpt__conv_choose(hpt__device *dev, const hpt__op_desc *d, hpt__conv_plan *out) {
    hpt__conv_target t = {dev->host, dev->cudnn, NULL};
    hpt__conv_plan c[HPT__CONV_CANDIDATES];
    char key[600];
    int n, best = 0;
    memset(out, 0, sizeof *out);
    key_of(dev, d, key, sizeof key);
    if (dev->cache_dir[0] && load_plan(dev, key, out)) return HPT_OK;
    HPT_TRY(hpt__conv_candidates(&t, d, (int64_t)1 << 30, c, 6, &n));
    /* a choice by timing that is not kept would differ from run to run */
    hpt_status st = pick(dev, d, c, n, n > 1 && (!d->deterministic || dev->cache_dir[0]), &best);
    for (int i = 0; i < n; i++)
        if (!st && i == best) *out = c[i];
        else hpt__conv_release(&c[i]);
    if (!st && dev->cache_dir[0]) save_plan(dev, key, out);
    return st;
}

/* SPDX-License-Identifier: MIT
 * The oneDNN backend (module libhpt-onednn.so): convolutions and matrix products by oneDNN 2.x, everything else by src/kernels/<family>_cpu.c
 * on the same team of threads (team.h).
 *
 * Feature maps are nChw16c (AVX-512) or nChw8c, the 3-channel input nchw. Weights are kept as float OIhw16i16o / OIhw8i8o (stem:
 * Ohwi16o / Ohwi8o): what the forward primitives ask for; a primitive that wants another order or bfloat16 gets it converted in its
 * scratch. Where a shape has only oneDNN's slow reference in these layouts, the nchw (gemm) kernels serve. Winograd F(4x4,3x3) serves 3x3 stride 1 convolutions of 32 channels and 4x4 maps or more in float32 (oneDNN 2.x on AVX-512 only; with 16
 * channels or 2x2 maps the direct kernel measured faster). The choice depends on the shape alone, never on timing: results must repeat. */
#define _POSIX_C_SOURCE 200809L
#include "backend/backend.h"
#include "backend/onednn/team.h"
#include "kernels/bias.h"
#include "kernels/cpu_kernels.h"
#include "kernels/embed.h"
#include "kernels/heads.h"
#include "kernels/infonce.h"
#include "kernels/norm.h"
#include "kernels/pool.h"
#include <dnnl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

extern const hpt__backend hpt_backend_onednn __attribute__((visibility("default")));

struct hpt__device {
    const hpt__host *host;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads;
    hpt__team *team;
    const hpt__cpu_kernels *cpu;
};

/* One oneDNN primitive with its memory objects; data pointers are set at each run. */
typedef struct prim {
    dnnl_primitive_t p;
    dnnl_memory_t mem[4];
    dnnl_exec_arg_t arg[4];
    int n;
} prim;

/* A convolution has three tensors: 0 the input side, 1 the weights, 2 the output side. One the primitive wants in another order or type than
 * we keep is converted in the scratch: inputs before, the output after. */
struct hpt__op {
    hpt__op_desc d;
    hpt__device *dev;
    prim main, reorder[3];
    size_t at[3], scratch;          /* at: place of a converted tensor in the scratch; the primitive's own scratchpad is at 0 */
    char name[64];
};

static hpt_status fail_dnnl(hpt__device *dev, dnnl_status_t st, const char *what) {
    static const char *const names[] = {"success", "out of memory", "invalid arguments", "unimplemented", "iterator ends", "runtime error",
                                        "not required"};
    hpt_status code = st == dnnl_out_of_memory ? HPT_ERR_MEMORY : st == dnnl_unimplemented ? HPT_ERR_UNSUPPORTED : HPT_ERR_DEVICE;
    return dev->host->fail(code, "oneDNN: %s: %s", what, (unsigned)st < 7 ? names[st] : "unknown status");
}
#define DNNL(dev, call) do { dnnl_status_t s_ = (call); if (s_ != dnnl_success) { st = fail_dnnl(dev, s_, #call); goto done; } } while (0)

/* ---- device ---- */

/* Do oneDNN's loops come to our team? A product of one by one asks how many threads there are. */
static int serves_onednn(void) {
    float one = 1, out;
    hpt__team_asked();
    return dnnl_sgemm('N', 'N', 1, 1, 1, 1, &one, 1, &one, 1, 0, &out, 1) == dnnl_success && hpt__team_asked();
}

static hpt_status open_device(const hpt__host *host, const hpt__open *o, hpt__device **out) {
    hpt_status st = HPT_OK;
    hpt__device *dev = host->alloc(sizeof *dev);
    if (!dev) return host->fail(HPT_ERR_MEMORY, "out of memory opening oneDNN");
    memset(dev, 0, sizeof *dev);
    dev->host = host;
    dev->threads = o->threads;
    dev->cpu = &hpt__cpu_table_base;
#if defined(__x86_64__)
    /* what oneDNN will use decides (a user may have capped it), so that its layouts and ours agree */
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    if ((isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 && __builtin_cpu_supports("fma")) dev->cpu = &hpt__cpu_table_avx2;
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core) dev->cpu = &hpt__cpu_table_avx512;
#endif
    if (!(dev->team = hpt__team_create(host, dev->threads, serves_onednn()))) {
        host->free(dev);
        return host->fail(HPT_ERR_MEMORY, "out of memory opening oneDNN");
    }
    DNNL(dev, dnnl_engine_create(&dev->engine, dnnl_cpu, 0));
    DNNL(dev, dnnl_stream_create(&dev->stream, dev->engine, dnnl_stream_default_flags));
    *out = dev;
    return HPT_OK;
done:
    if (dev->engine) dnnl_engine_destroy(dev->engine);
    hpt__team_destroy(dev->team);
    host->free(dev);
    return st;
}
static void close_device(hpt__device *dev) {
    dnnl_stream_destroy(dev->stream);
    dnnl_engine_destroy(dev->engine);
    hpt__team_destroy(dev->team);
    dev->host->free(dev);
}
static void describe(hpt__device *dev, char *text, size_t size) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "onednn %d.%d.%d (%s, %d thread%s)", v->major, v->minor, v->patch, dev->cpu->isa, dev->threads,
             dev->threads == 1 ? "" : "s");
}
static int supports(hpt__device *dev, hpt__dtype t) {
    if (t == HPT__F32) return 2;
    if (t != HPT__BF16 || dev->cpu->block != 16) return 0;
#if defined(__x86_64__)
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_bf16 || isa == dnnl_cpu_isa_avx512_core_amx ? 2 : 1;
#else
    return 0;
#endif
}
static int no_low(hpt__device *dev, hpt__dtype t) { (void)dev; (void)t; return 0; }
static void enter(hpt__device *dev) { hpt__team_enter(dev->team); }
static void leave(hpt__device *dev) { hpt__team_leave(dev->team); }
static hpt_status whole(hpt__device *dev) {
    return hpt__team_whole(dev->team) ? HPT_OK : dev->host->fail(HPT_ERR_MEMORY, "%d threads cannot be started (option threads)", dev->threads);
}

static void *mem_alloc(hpt__device *dev, size_t bytes) { return dev->host->alloc(bytes); }
static void mem_free(hpt__device *dev, void *p) { dev->host->free(p); }
static size_t mem_left(hpt__device *dev) { (void)dev; return SIZE_MAX; }
static void copy(hpt__device *dev, void *dst, const void *src, size_t bytes) { (void)dev; memcpy(dst, src, bytes); }
static void zero(hpt__device *dev, void *p, size_t bytes) { (void)dev; memset(p, 0, bytes); }
static void copy_if(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag) {
    (void)dev;
    if (*flag) memcpy(dst, src, bytes);
}
static hpt_status sync_nothing(hpt__device *dev) { (void)dev; return HPT_OK; }

static size_t elem(hpt__dtype t) { return t == HPT__BF16 ? 2 : 4; }
static size_t act_bytes(hpt__device *dev, hpt__dtype t, int n, int c, int h, int w) { (void)dev; return (size_t)n * c * h * w * elem(t); }

/* ---- parameters: (O,I,H,W) <-> (O/b, I/b, H, W, i, o), stem (O/b, H, W, I, o) ---- */

static int is_blocked(const hpt__device *dev, const int64_t s[4]) { return s[2] * s[3] > 0 && s[0] % dev->cpu->block == 0; }
static size_t weight_index(int64_t o, int64_t i, int64_t y, int64_t x, const int64_t s[4], int b) {
    if (s[1] % b == 0)
        return (size_t)((((((o / b) * (s[1] / b) + i / b) * s[2] + y) * s[3] + x) * b + i % b) * b + o % b);
    return (size_t)(((((o / b) * s[2] + y) * s[3] + x) * s[1] + i) * b + o % b);
}
static void pack(hpt__device *dev, hpt__dtype t, const int64_t s[4], const float *plain, void *native) {
    float *to = native;
    (void)t;
    if (!is_blocked(dev, s)) {
        memcpy(to, plain, (size_t)(s[0] * (s[1] ? s[1] : 1) * (s[2] ? s[2] * s[3] : 1)) * 4);
        return;
    }
    for (int64_t o = 0; o < s[0]; o++)
        for (int64_t i = 0; i < s[1]; i++)
            for (int64_t y = 0; y < s[2]; y++)
                for (int64_t x = 0; x < s[3]; x++) to[weight_index(o, i, y, x, s, dev->cpu->block)] = *plain++;
}
static void unpack(hpt__device *dev, hpt__dtype t, const int64_t s[4], const void *native, float *plain) {
    const float *from = native;
    (void)t;
    if (!is_blocked(dev, s)) {
        memcpy(plain, from, (size_t)(s[0] * (s[1] ? s[1] : 1) * (s[2] ? s[2] * s[3] : 1)) * 4);
        return;
    }
    for (int64_t o = 0; o < s[0]; o++)
        for (int64_t i = 0; i < s[1]; i++)
            for (int64_t y = 0; y < s[2]; y++)
                for (int64_t x = 0; x < s[3]; x++) *plain++ = from[weight_index(o, i, y, x, s, dev->cpu->block)];
}

/* ---- convolutions ---- */

static dnnl_status_t act_md(hpt__device *dev, dnnl_memory_desc_t *md, hpt__dtype t, int n, int c, int h, int w) {
    dnnl_dims_t dims = {n, c, h, w};
    dnnl_format_tag_t tag = c % dev->cpu->block ? dnnl_nchw : dev->cpu->block == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    return dnnl_memory_desc_init_by_tag(md, 4, dims, t == HPT__BF16 ? dnnl_bf16 : dnnl_f32, tag);
}
static dnnl_status_t weight_md(hpt__device *dev, dnnl_memory_desc_t *md, const hpt__geometry *g) {
    int b = dev->cpu->block, groups = hpt__conv_groups(g);
    if (groups > 1) {       /* what weight_index() makes of (K, C/groups, R, S) is one of these */
        dnnl_dims_t in_groups = {groups, g->k / groups, g->c / groups, g->r, g->s};
        dnnl_format_tag_t as = g->k % b ? dnnl_goihw : g->k == groups ? (b == 16 ? dnnl_Goihw16g : dnnl_Goihw8g)
                               : g->c / groups % b ? (b == 16 ? dnnl_gOhwi16o : dnnl_gOhwi8o) : (b == 16 ? dnnl_gOIhw16i16o : dnnl_gOIhw8i8o);
        return dnnl_memory_desc_init_by_tag(md, 5, in_groups, dnnl_f32, as);
    }
    dnnl_dims_t dims = {g->k, g->c, g->r, g->s};
    dnnl_format_tag_t tag = g->k % b ? dnnl_oihw : g->c % b ? (b == 16 ? dnnl_Ohwi16o : dnnl_Ohwi8o) : (b == 16 ? dnnl_OIhw16i16o : dnnl_OIhw8i8o);
    return dnnl_memory_desc_init_by_tag(md, 4, dims, dnnl_f32, tag);
}

/* plain: maps as nchw, which every processor has a fast (gemm) kernel for. */
static dnnl_status_t conv_pd(hpt__op *op, dnnl_alg_kind_t alg, int plain, hpt__op_kind kind, dnnl_primitive_desc_t fwd, dnnl_primitive_desc_t *pd) {
    const hpt__geometry *g = &op->d.g;
    hpt__device *dev = op->dev;
    dnnl_memory_desc_t src, wei, dst;
    dnnl_dims_t sdims = {g->n, g->c, g->h, g->w}, ddims = {g->n, g->k, g->p, g->q}, wdims = {g->k, g->c, g->r, g->s};
    int groups = hpt__conv_groups(g);
    dnnl_dims_t gdims = {groups, g->k / groups, g->c / groups, g->r, g->s};
    dnnl_dims_t stride = {g->stride, g->stride}, pad = {g->pad, g->pad}, pad_r;
    pad_r[0] = (g->p - 1) * g->stride + g->r - g->h - g->pad;
    pad_r[1] = (g->q - 1) * g->stride + g->s - g->w - g->pad;
    dnnl_data_type_t wt = op->d.dtype == HPT__BF16 && kind != HPT__OP_CONV_WEIGHTS ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t at = op->d.dtype == HPT__BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_status_t st;
    dnnl_convolution_desc_t cd;
    dnnl_primitive_attr_t attr = NULL;
    if (plain) st = dnnl_memory_desc_init_by_tag(&src, 4, sdims, at, dnnl_nchw) ? dnnl_invalid_arguments : dnnl_memory_desc_init_by_tag(&dst, 4, ddims, at, dnnl_nchw);
    else st = act_md(dev, &src, op->d.dtype, g->n, g->c, g->h, g->w) ? dnnl_invalid_arguments : act_md(dev, &dst, op->d.dtype, g->n, g->k, g->p, g->q);
    if (st || (st = dnnl_memory_desc_init_by_tag(&wei, groups > 1 ? 5 : 4, groups > 1 ? gdims : wdims, wt, dnnl_format_tag_any))) return st;
    if (kind == HPT__OP_CONV) st = dnnl_convolution_forward_desc_init(&cd, dnnl_forward_training, alg, &src, &wei, NULL, &dst, stride, pad, pad_r);
    else if (kind == HPT__OP_CONV_DATA) st = dnnl_convolution_backward_data_desc_init(&cd, alg, &src, &wei, &dst, stride, pad, pad_r);
    else st = dnnl_convolution_backward_weights_desc_init(&cd, alg, &src, &wei, NULL, &dst, stride, pad, pad_r);
    if (st) return st;
    if ((st = dnnl_primitive_attr_create(&attr))) return st;
    st = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (!st) st = dnnl_primitive_desc_create(pd, &cd, attr, dev->engine, fwd);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

static const char *impl_of(dnnl_primitive_desc_t pd) {
    const char *s = "";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&s);
    return s;
}

/* A primitive descriptor with this algorithm; NULL if there is none, or only oneDNN's slow reference ("ref:any"), unless slow is allowed. */
static dnnl_primitive_desc_t try_conv(hpt__op *op, dnnl_alg_kind_t alg, int plain, int slow) {
    dnnl_primitive_desc_t fwd = NULL, pd = NULL;
    if (op->d.kind == HPT__OP_CONV) {
        if (conv_pd(op, alg, plain, HPT__OP_CONV, NULL, &pd)) pd = NULL;
    } else {
        if (conv_pd(op, alg, plain, HPT__OP_CONV, NULL, &fwd) && conv_pd(op, dnnl_convolution_direct, plain, HPT__OP_CONV, NULL, &fwd)) fwd = NULL;
        if (fwd && conv_pd(op, alg, plain, op->d.kind, fwd, &pd)) pd = NULL;
        if (fwd) dnnl_primitive_desc_destroy(fwd);
    }
    if (pd && !slow && strncmp(impl_of(pd), "ref", 3) == 0) {
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
    return pd;
}
static dnnl_primitive_desc_t choose_conv(hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    dnnl_primitive_desc_t pd = NULL;
    if (!op->d.direct && op->d.dtype == HPT__F32 && hpt__conv_groups(g) == 1 && g->r == 3 && g->s == 3 && g->stride == 1 && g->c % 16 == 0 && g->c >= 32 && g->k >= 32 &&
        g->p >= 4 && g->q >= 4 && op->dev->cpu->block == 16)
        pd = try_conv(op, dnnl_convolution_winograd, 0, 0);
    if (!pd) pd = try_conv(op, dnnl_convolution_direct, 0, 0);
    if (!pd) pd = try_conv(op, dnnl_convolution_direct, 1, 0);
    if (!pd) pd = try_conv(op, dnnl_convolution_direct, 0, 1);
    return pd;
}

static hpt_status prim_arg(hpt__device *dev, prim *p, int which, const dnnl_memory_desc_t *md) {
    hpt_status st = HPT_OK;
    DNNL(dev, dnnl_memory_create(&p->mem[p->n], md, dev->engine, DNNL_MEMORY_NONE));
    p->arg[p->n] = (dnnl_exec_arg_t){which, p->mem[p->n]};
    p->n++;
done:
    return st;
}
static void prim_free(prim *p) {
    for (int i = 0; i < p->n; i++) dnnl_memory_destroy(p->mem[i]);
    if (p->p) dnnl_primitive_destroy(p->p);
    memset(p, 0, sizeof *p);
}

static hpt_status make_reorder(hpt__device *dev, prim *r, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to) {
    hpt_status st = HPT_OK;
    dnnl_primitive_desc_t pd = NULL;
    DNNL(dev, dnnl_reorder_primitive_desc_create(&pd, from, dev->engine, to, dev->engine, NULL));
    DNNL(dev, dnnl_primitive_create(&r->p, pd));
    if (!(st = prim_arg(dev, r, DNNL_ARG_FROM, from))) st = prim_arg(dev, r, DNNL_ARG_TO, to);
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return st;
}

/* Which of the three tensors an operation writes. */
static int output_of(hpt__op_kind kind) { return kind == HPT__OP_CONV ? 2 : kind == HPT__OP_CONV_DATA ? 0 : 1; }

static hpt_status make_conv(hpt__op *op) {
    static const struct { int arg[3]; dnnl_query_t md[3]; } roles[3] = {
        {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md}},
        {{DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST}, {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md}},
        {{DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}, {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md}}};
    hpt_status st = HPT_OK;
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    int role = (int)op->d.kind - HPT__OP_CONV, out = output_of(op->d.kind);
    dnnl_memory_desc_t ours[3];
    int groups = hpt__conv_groups(g), depthwise = groups == g->k && groups == g->c;
    if (groups > 1 && !depthwise && g->k % dev->cpu->block == 0 && g->k / groups % dev->cpu->block)
        return dev->host->fail(HPT_ERR_UNSUPPORTED, "oneDNN: a convolution %d -> %d in %d groups: groups have a multiple of %d output channels, "
                               "or one input and output channel each", g->c, g->k, groups, dev->cpu->block);
    dnnl_primitive_desc_t pd = choose_conv(op);
    if (!pd)
        return dev->host->fail(HPT_ERR_UNSUPPORTED, "oneDNN has no %s convolution %dx%dx%dx%d -> %d, %dx%d stride %d", op->d.dtype == HPT__BF16 ? "bf16" : "fp32",
                               g->n, g->c, g->h, g->w, g->k, g->r, g->s, g->stride);
    snprintf(op->name, sizeof op->name, "%s", impl_of(pd));
    DNNL(dev, act_md(dev, &ours[0], op->d.dtype, g->n, g->c, g->h, g->w));
    DNNL(dev, weight_md(dev, &ours[1], g));
    DNNL(dev, act_md(dev, &ours[2], op->d.dtype, g->n, g->k, g->p, g->q));
    const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    op->scratch = (dnnl_memory_desc_get_size(pad) + 63) / 64 * 64;
    for (int t = 0; t < 3; t++) {
        const dnnl_memory_desc_t *theirs = dnnl_primitive_desc_query_md(pd, roles[role].md[t], 0);
        if ((st = prim_arg(dev, &op->main, roles[role].arg[t], theirs))) goto done;
        if (dnnl_memory_desc_equal(theirs, &ours[t])) continue;
        op->at[t] = op->scratch;
        op->scratch += (dnnl_memory_desc_get_size(theirs) + 63) / 64 * 64;
        st = t == out ? make_reorder(dev, &op->reorder[t], theirs, &ours[t]) : make_reorder(dev, &op->reorder[t], &ours[t], theirs);
        if (st) goto done;
    }
    if ((st = prim_arg(dev, &op->main, DNNL_ARG_SCRATCHPAD, pad))) goto done;
    DNNL(dev, dnnl_primitive_create(&op->main.p, pd));
done:
    dnnl_primitive_desc_destroy(pd);
    return st;
}

static hpt_status run_prim(hpt__device *dev, prim *p, void *const *ptr) {
    hpt_status st = HPT_OK;
    for (int i = 0; i < p->n; i++) DNNL(dev, dnnl_memory_set_data_handle(p->mem[i], ptr[i]));
    DNNL(dev, dnnl_primitive_execute(p->p, dev->stream, p->n, p->arg));
done:
    return st;
}

static hpt_status run_conv(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    char *scratch = a->scratch;
    int out = output_of(op->d.kind);
    void *ours[3] = {op->d.kind == HPT__OP_CONV_DATA ? a->dx : (void *)(uintptr_t)a->x, op->d.kind == HPT__OP_CONV_WEIGHTS ? a->dw : (void *)(uintptr_t)a->w,
                     op->d.kind == HPT__OP_CONV ? a->y : a->dy};
    void *ptr[4] = {ours[0], ours[1], ours[2], scratch};
    for (int t = 0; t < 3; t++) {
        if (!op->reorder[t].p) continue;
        ptr[t] = scratch + op->at[t];
        void *pair[2] = {ours[t], ptr[t]};
        hpt_status st = t == out ? HPT_OK : run_prim(dev, &op->reorder[t], pair);
        if (st) return st;
    }
    hpt_status st = run_prim(dev, &op->main, ptr);
    if (st || !op->reorder[out].p) return st;
    void *back[2] = {ptr[out], ours[out]};
    return run_prim(dev, &op->reorder[out], back);
}

/* ---- the other operations, on the team ---- */

typedef struct job {
    const hpt__cpu_kernels *cpu;
    hpt__cpu_norm norm;
    hpt__cpu_pool pool;
    void (*part)(const hpt__cpu_pool *, int, int);
} job;

static void norm_stats_job(void *arg, int t, int nt) { ((job *)arg)->cpu->norm_stats(&((job *)arg)->norm, t, nt); }
static void norm_apply_job(void *arg, int t, int nt) { ((job *)arg)->cpu->norm_apply(&((job *)arg)->norm, t, nt); }
static void norm_eval_job(void *arg, int t, int nt) { ((job *)arg)->cpu->norm_eval(&((job *)arg)->norm, t, nt); }
static void norm_sums_job(void *arg, int t, int nt) { ((job *)arg)->cpu->norm_grad_sums(&((job *)arg)->norm, t, nt); }
static void norm_grad_job(void *arg, int t, int nt) { ((job *)arg)->cpu->norm_grad_apply(&((job *)arg)->norm, t, nt); }
static void pool_job(void *arg, int t, int nt) { ((job *)arg)->part(&((job *)arg)->pool, t, nt); }

/* Channels that blocks do not divide lie plain (act_md), and the reference's kernels serve them: right, not fast, and float only. */
static hpt_status make_plain(hpt__op *op, int channels) {
    hpt__device *dev = op->dev;
    if (channels % dev->cpu->block == 0) return HPT_OK;
    if (op->d.dtype == HPT__BF16 && !op->d.g.rows)
        return dev->host->fail(HPT_ERR_UNSUPPORTED, "precision=bf16: a map of %d channels, which is no multiple of %d; use fp32", channels,
                               dev->cpu->block);
    snprintf(op->name, sizeof op->name, "reference");
    return HPT_OK;
}
/* Rows are, byte for byte, maps of 1x1. */
static hpt_status make_norm(hpt__op *op) {
    const hpt__cpu_kernels *cpu = op->dev->cpu;
    if (op->d.g.c % cpu->block == 0 && op->d.kind != HPT__OP_NORM_EVAL) op->scratch = cpu->norm_scratch(&op->d.g);
    return make_plain(op, op->d.g.c);
}

static void op_destroy(hpt__op *op) {
    if (!op) return;
    prim_free(&op->main);
    for (int t = 0; t < 3; t++) prim_free(&op->reorder[t]);
    op->dev->host->free(op);
}
static hpt_status op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    *out = NULL;
    hpt_status st = whole(dev);
    if (st) return st;
    hpt__op *op = dev->host->alloc(sizeof *op);
    if (!op) return dev->host->fail(HPT_ERR_MEMORY, "out of memory for an operation");
    memset(op, 0, sizeof *op);
    op->d = *d;
    op->dev = dev;
    snprintf(op->name, sizeof op->name, "cpu:%s", dev->cpu->isa);
    switch (d->kind) {
    case HPT__OP_CONV: case HPT__OP_CONV_DATA: case HPT__OP_CONV_WEIGHTS: st = make_conv(op); break;
    case HPT__OP_NORM: case HPT__OP_NORM_EVAL: case HPT__OP_NORM_GRAD: st = make_norm(op); break;
    case HPT__OP_BIAS: case HPT__OP_BIAS_GRAD: case HPT__OP_MAXPOOL: case HPT__OP_MAXPOOL_GRAD: case HPT__OP_AVERAGE:
    case HPT__OP_AVERAGE_GRAD: st = make_plain(op, d->g.c); break;
    default: break;
    }
    if (st) {
        op_destroy(op);
        return st;
    }
    *out = op;
    return HPT_OK;
}
static size_t op_scratch(const hpt__op *op) { return op->scratch; }
static const char *op_name(const hpt__op *op) { return op->name; }

static hpt_status gemm(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha, const void *a, int lda,
                       const void *b, int ldb, double beta, void *c, int ldc) {
    hpt_status st = whole(dev);
    (void)t;
    if (st) return st;
    DNNL(dev, dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, (float)alpha, a, lda, b, ldb, (float)beta, c, ldc));
done:
    return st;
}

static hpt_status run_linear_grad(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    if (g->act == HPT__ACT_RELU) hpt__ref_relu_backward_f32((size_t)g->n * g->k, a->y_in, a->dy, a->dy);
    if (a->db) hpt__ref_sum_rows_f32(g->n, g->k, a->dy, a->db);
    hpt_status st = gemm(op->dev, HPT__F32, 1, 0, g->k, g->c, g->n, 1, a->dy, g->k, a->x, g->c, 0, a->dw, g->c);
    if (!st && a->dx) st = gemm(op->dev, HPT__F32, 0, 0, g->n, g->c, g->k, 1, a->dy, g->k, a->w, g->c, 0, a->dx, g->c);
    return st;
}

static void to_bf16(const float *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, 4);
        y[i] = x[i] != x[i] ? 0x7fc0 : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
    }
}

static void output(const hpt__device *dev, const hpt__geometry *g, int bf16, const void *x, float *y) {
    size_t hw = (size_t)g->h * (size_t)g->w, c = (size_t)g->c, b = c % (size_t)dev->cpu->block ? 1 : (size_t)dev->cpu->block;
    for (size_t n = 0; n < (size_t)g->n; n++)
        for (size_t k = 0; k < c; k++)
            for (size_t at = 0; at < hw; at++) {
                size_t from = ((n * (c / b) + k / b) * hw + at) * b + k % b;
                uint32_t u = bf16 ? (uint32_t)((const uint16_t *)x)[from] << 16 : 0;
                if (bf16) memcpy(y + (n * c + k) * hw + at, &u, 4);
                else y[(n * c + k) * hw + at] = ((const float *)x)[from];
            }
}

struct bias_job { hpt__cpu_bias bias; void (*part)(const hpt__cpu_bias *, int, int); };
typedef struct act_job {
    hpt__cpu_act act;
    void (*part)(const hpt__cpu_act *, size_t, size_t);
    size_t n;
} act_job;
static void act_part(void *arg, int t, int nt) {
    act_job *j = arg;
    size_t blocks = (j->n + 15) / 16, lo = blocks * (size_t)t / (size_t)nt * 16, hi = blocks * (size_t)(t + 1) / (size_t)nt * 16;
    if (lo < j->n) j->part(&j->act, lo, hi < j->n ? hi : j->n);
}
static void run_act(const hpt__op *op, const hpt__op_args *a, int bf16) {
    const hpt__geometry *g = &op->d.g;
    const hpt__cpu_kernels *cpu = op->dev->cpu;
    act_job j = {{.act = g->act, .bf16 = bf16, .a = a->x, .y = a->y}, cpu->act, (size_t)g->n * (size_t)g->c * (size_t)g->h * (size_t)g->w};
    if (op->d.kind == HPT__OP_SUM) {
        j.part = cpu->sum;
        if (g->residual) j.act.b = a->r;
    } else if (op->d.kind == HPT__OP_ACT_GRAD) {
        j.part = cpu->act_grad;
        if (g->act != HPT__ACT_SILU) j.act.a = a->y_in;
        j.act.b = a->dy;
        if (g->extra_grad) j.act.c = a->dy2;
        j.act.y = a->dx;
    }
    hpt__team_run(act_part, &j);
}

static void bias_job(void *arg, int t, int nt) { ((struct bias_job *)arg)->part(&((struct bias_job *)arg)->bias, t, nt); }
static void run_bias(const hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    const hpt__cpu_kernels *cpu = op->dev->cpu;
    int grad = op->d.kind == HPT__OP_BIAS_GRAD;
    struct bias_job j = {{g, op->d.dtype == HPT__BF16, grad ? a->dy : a->x, a->b, a->y, a->db}, grad ? cpu->bias_grad : cpu->bias};
    hpt__team_run(bias_job, &j);
}

/* An operation on channels that lie plain; 0: it is none of those that mind. */
static int run_plain(const hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    switch (op->d.kind) {
    case HPT__OP_NORM:
        hpt__ref_norm_train_f32(g, a->x, a->w, a->b, a->r, a->y, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum);
        return 1;
    case HPT__OP_NORM_EVAL: hpt__ref_norm_eval_f32(g, a->x, a->w, a->b, a->r, a->y, a->run_mean, a->run_var); return 1;
    case HPT__OP_NORM_GRAD:
        hpt__ref_norm_backward_f32(g, a->x, a->y_in, a->w, a->mean, a->rstd, a->dy, a->dy2, a->dx, a->dw, a->db);
        return 1;
    case HPT__OP_MAXPOOL: hpt__ref_maxpool_forward_f32(g, a->x, a->y, a->aux); return 1;
    case HPT__OP_MAXPOOL_GRAD: hpt__ref_maxpool_backward_f32(g, a->dy, a->dy2, a->aux, a->dx); return 1;
    case HPT__OP_AVERAGE: hpt__ref_average_forward_f32(g, a->x, a->y); return 1;
    case HPT__OP_AVERAGE_GRAD: hpt__ref_average_backward_f32(g, a->dy, a->dx); return 1;
    case HPT__OP_BIAS: hpt__ref_bias_f32(g, a->x, a->b, a->y); return 1;
    case HPT__OP_BIAS_GRAD: hpt__ref_bias_backward_f32(g, a->dy, a->db); return 1;
    default: return 0;
    }
}

static hpt_status op_run(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    int bf16 = op->d.dtype == HPT__BF16 && !g->rows, plain = g->c % dev->cpu->block != 0;
    hpt_status st = whole(dev);
    if (st) return st;
    job j = {.cpu = dev->cpu,
             .norm = {.g = g, .bf16 = bf16, .x = a->x, .y_in = a->y_in, .r = a->r, .dy2 = a->dy2, .y = a->y, .dy = a->dy, .dx = a->dx,
                      .w = a->w, .b = a->b, .mean = a->mean, .rstd = a->rstd, .run_mean = a->run_mean, .run_var = a->run_var,
                      .dw = a->dw, .db = a->db, .momentum = a->momentum, .partial = a->scratch},
             .pool = {.g = g, .bf16 = bf16, .x = a->x, .y = a->y, .where = a->aux, .dy = a->dy, .dy2 = a->dy2, .dx = a->dx}};
    if (plain && run_plain(op, a)) return HPT_OK;
    switch (op->d.kind) {
    case HPT__OP_INPUT:
        if (bf16) to_bf16(a->x, a->y, (size_t)g->n * g->c * g->h * g->w);
        else memcpy(a->y, a->x, (size_t)g->n * g->c * g->h * g->w * 4);
        return HPT_OK;
    case HPT__OP_OUTPUT: output(dev, g, bf16, a->x, a->y); return HPT_OK;
    case HPT__OP_CONV: case HPT__OP_CONV_DATA: case HPT__OP_CONV_WEIGHTS: return run_conv(op, a);
    case HPT__OP_NORM:
        hpt__team_run(norm_stats_job, &j);
        dev->cpu->norm_finish(&j.norm);
        hpt__team_run(norm_apply_job, &j);
        return HPT_OK;
    case HPT__OP_NORM_EVAL: hpt__team_run(norm_eval_job, &j); return HPT_OK;
    case HPT__OP_NORM_GRAD:
        hpt__team_run(norm_sums_job, &j);
        dev->cpu->norm_grad_finish(&j.norm);
        hpt__team_run(norm_grad_job, &j);
        return HPT_OK;
    case HPT__OP_MAXPOOL: j.part = dev->cpu->maxpool; break;
    case HPT__OP_MAXPOOL_GRAD: j.part = dev->cpu->maxpool_grad; break;
    case HPT__OP_AVERAGE: j.part = dev->cpu->average; break;
    case HPT__OP_AVERAGE_GRAD: j.part = dev->cpu->average_grad; break;
    case HPT__OP_LINEAR: {
        st = gemm(dev, HPT__F32, 0, 1, g->n, g->k, g->c, 1, a->x, g->c, a->w, g->c, 0, a->y, g->k);
        if (!st) hpt__ref_add_bias_f32(g->n, g->k, a->b, g->act == HPT__ACT_RELU, a->y);
        return st; }
    case HPT__OP_LINEAR_GRAD: return run_linear_grad(op, a);
    case HPT__OP_BIAS: case HPT__OP_BIAS_GRAD: run_bias(op, a); return HPT_OK;
    case HPT__OP_ACT: case HPT__OP_ACT_GRAD: case HPT__OP_SUM: run_act(op, a, bf16); return HPT_OK;
    }
    hpt__team_run(pool_job, &j);
    return HPT_OK;
}

/* ---- kernel families ---- */

/* scratch: tile of logits, then max and pos (float), sum and above (double) */
static size_t infonce_scratch(hpt__device *dev, hpt__dtype t, int n, int d) {
    (void)dev; (void)t; (void)d;
    return (size_t)n * (HPT__INFONCE_TILE + 16) * 4 + (size_t)n * 24;
}
typedef struct infonce_job {
    const hpt__cpu_kernels *cpu;
    int n, d, width;
    float *s, *max, *pos, *dq;
    double *sum, *above;
} infonce_job;
static void infonce_part(void *arg, int t, int nt) {
    infonce_job *j = arg;
    j->cpu->infonce_rows(j->n * t / nt, j->n * (t + 1) / nt, j->d, j->width, HPT__INFONCE_TILE + 16, j->s, j->max, j->sum, j->above,
                         j->pos, j->dq);
}
static hpt_status infonce(hpt__device *dev, hpt__dtype t, int n, int d, int64_t queued, const void *q_, const void *k_, const void *queue_,
                          const void *low, double tau, hpt__outcome *o, void *dq_, void *scratch) {
    const float *q = q_, *k = k_, *queue = queue_;
    float *dq = dq_, inv = (float)(1 / tau);
    (void)t; (void)low;
    infonce_job j = {dev->cpu, n, d, 0, scratch, NULL, NULL, dq, NULL, NULL};
    j.sum = (double *)((float *)scratch + (size_t)n * (HPT__INFONCE_TILE + 16));
    j.above = j.sum + n;
    j.max = (float *)(j.above + n);
    j.pos = j.max + n;
    memset(dq, 0, (size_t)n * d * 4);
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int l = 0; l < d; l++) s += (double)q[(size_t)i * d + l] * k[(size_t)i * d + l];
        j.max[i] = j.pos[i] = (float)(s / tau);
        j.sum[i] = 1;
        j.above[i] = 0;
    }
    for (int64_t at = 0; at < queued; at += HPT__INFONCE_TILE) {
        j.width = (int)(queued - at < HPT__INFONCE_TILE ? queued - at : HPT__INFONCE_TILE);
        int pitch = HPT__INFONCE_TILE + 16;     /* not a power of two: rows do not fall on the same cache sets */
        hpt_status st = gemm(dev, HPT__F32, 0, 1, n, j.width, d, inv, q, d, queue + at * d, d, 0, j.s, pitch);
        if (st) return st;
        hpt__team_run(infonce_part, &j);
        if ((st = gemm(dev, HPT__F32, 0, 0, n, d, j.width, 1, j.s, pitch, queue + at * d, d, 1, dq, d))) return st;
    }
    double loss = 0, scale = 1 / (n * tau);
    o->top1 = o->top5 = 0;
    for (int i = 0; i < n; i++) {
        double p = exp((double)j.pos[i] - j.max[i]) / j.sum[i] - 1;
        loss += j.max[i] + log(j.sum[i]) - j.pos[i];
        o->top1 += j.above[i] < 1;
        o->top5 += j.above[i] < 5;
        for (int l = 0; l < d; l++) {
            size_t at = (size_t)i * d + l;
            dq[at] = (float)((dq[at] / j.sum[i] + p * k[at]) * scale);
        }
    }
    o->loss = loss / n;
    return HPT_OK;
}

static void l2norm(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, void *y, void *norm) {
    (void)dev; (void)t;
    hpt__ref_l2norm_f32(n, d, x, y, norm);
}
static void l2norm_grad(hpt__device *dev, hpt__dtype t, int n, int d, const void *y, const void *norm, const void *dy, void *dx) {
    (void)dev; (void)t;
    hpt__ref_l2norm_backward_f32(n, d, y, norm, dy, dx);
}
static void gather(hpt__device *dev, hpt__dtype t, int n, size_t d, const void *in, const uint32_t *index, void *out) {
    (void)dev; (void)t;
    hpt__ref_gather_f32(n, d, in, index, out);
}
static void enqueue(hpt__device *dev, hpt__dtype t, int n, int d, const void *keys, void *queue, int64_t q, void *low, const hpt__vars *v, const hpt__outcome *o) {
    (void)dev; (void)t; (void)low;
    hpt__ref_enqueue_f32(n, d, keys, queue, q, v, o);
}
static void spread(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, hpt__outcome *o, void *scratch) {
    (void)dev; (void)t; (void)scratch;
    o->spread = hpt__ref_spread_f32(n, d, x);
}
static void agree(hpt__device *dev, hpt__dtype t, int n, int d, int images, const void *x, const void *y, void *dx, hpt__outcome *o, void *scratch) {
    (void)dev; (void)t; (void)scratch;
    o->loss = hpt__ref_agree_f32(n, d, images, x, y, dx);
}
static void judge(hpt__device *dev, hpt__outcome *o) {
    (void)dev;
    if (!isfinite(o->loss)) o->bad |= HPT__BAD_LOSS;
}
static int queue_pitch(hpt__device *dev, hpt__dtype t, int d) { (void)dev; (void)t; (void)d; return 0; }
static void lower(hpt__device *dev, size_t rows, size_t d, size_t pitch, const void *x, void *low) { (void)dev; (void)rows; (void)d; (void)pitch; (void)x; (void)low; }
static void softmax_ce(hpt__device *dev, int n, int heads, int classes, float *logits, const int32_t *label, float *loss) {
    (void)dev;
    hpt__ref_softmax_ce_f32(n, heads, classes, logits, label, loss);
}
static void classify(hpt__device *dev, hpt__dtype t, int n, int classes, void *logits, const int32_t *label, const void *weight, double smoothing,
                     hpt__outcome *o) {
    (void)dev;
    (void)t;
    hpt__ref_classify_f32(n, classes, logits, label, weight, smoothing, o);
}
static void bce(hpt__device *dev, int n, int heads, int classes, float *logits, const float *target, float *loss) {
    (void)dev;
    hpt__ref_bce_f32(n, heads, classes, logits, target, loss);
}
static void sum_rows(hpt__device *dev, int n, int d, const float *x, float *out) { (void)dev; hpt__ref_sum_rows_f32(n, d, x, out); }
static void add_bias(hpt__device *dev, int n, int d, const float *b, float *y) { (void)dev; hpt__ref_add_bias_f32(n, d, b, 0, y); }

/* Element-wise passes: each thread takes a 16-element aligned part. */
typedef struct flat_job {
    const hpt__cpu_kernels *cpu;
    float *p;
    const float *a, *b;
    size_t at, n;
    double mom;
    const hpt__update *u;
    const hpt__vars *vars;
    int bad[256];
} flat_job;
static void range(const flat_job *j, int t, int nt, size_t *lo, size_t *hi) {
    size_t blocks = (j->n + 15) / 16;
    *lo = blocks * (size_t)t / (size_t)nt * 16;
    *hi = blocks * (size_t)(t + 1) / (size_t)nt * 16;
    if (*hi > j->n) *hi = j->n;
}
static void update_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi) j->cpu->update(j->u, j->at + lo, hi - lo, j->vars);
}
static void ema_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi) j->cpu->ema(j->p + lo, j->a + lo, j->b + lo, hi - lo, j->mom);
}
static void finite_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi && !j->cpu->finite(j->a + lo, hi - lo)) j->bad[t & 255] = 1;
}
static void update(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v, const hpt__outcome *o) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .u = u, .at = at, .n = n, .vars = v};
    if (!o || !o->bad) hpt__team_run(update_part, &j);
}
static void foresee_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi && j->cpu->foresee(j->u, j->at + lo, hi - lo, j->vars)) j->bad[t & 255] = 1;
}
static int any(const flat_job *j) {
    int bad = 0;
    for (int i = 0; i < 256; i++) bad |= j->bad[i];
    return bad;
}
static void foresee(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v, int32_t bit, hpt__outcome *o) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .u = u, .at = at, .n = n, .vars = v};
    hpt__team_run(foresee_part, &j);
    if (any(&j)) o->bad |= bit;
}
static void trust(hpt__device *dev, hpt__dtype t, hpt__rule rule, const void *p, const void *g, size_t n, double wd, double eta, void *out,
                  void *scratch) {
    (void)dev; (void)t; (void)scratch;
    *(float *)out = (float)hpt__ref_trust_f32(rule, p, g, n, wd, eta);
}
static void ema(hpt__device *dev, hpt__dtype t, void *out, const void *k, const void *q, size_t n, double mom) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .p = out, .a = k, .b = q, .n = n, .mom = mom};
    hpt__team_run(ema_part, &j);
}
static void finite(hpt__device *dev, hpt__dtype t, const void *x, size_t n, int32_t bit, hpt__outcome *o) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .a = x, .n = n};
    hpt__team_run(finite_part, &j);
    if (any(&j)) o->bad |= bit;
}

static const hpt__rows_ops rows_ops = {
    .gemm = gemm,
    .l2norm = l2norm,
    .l2norm_grad = l2norm_grad,
    .gather = gather,
    .sum_rows = sum_rows,
    .add_bias = add_bias,
    .softmax_ce = softmax_ce,
    .bce = bce,
    .classify = classify,
};
static const hpt__contrast_ops contrast_ops = {
    .pitch = queue_pitch,
    .scratch = infonce_scratch,
    .infonce = infonce,
    .enqueue = enqueue,
    .spread = spread,
    .agree = agree,
};
static const hpt__params_ops params_ops = {
    .update = update,
    .foresee = foresee,
    .trust = trust,
    .ema = ema,
    .finite = finite,
    .judge = judge,
    .lower = lower,
};

const hpt__backend hpt_backend_onednn = {
    .api = HPT__BACKEND_API,
    .name = "onednn",
    .host_memory = 1,
    .device = {
        .open = open_device,
        .close = close_device,
        .describe = describe,
        .supports = supports,
        .low_params = no_low,
        .enter = enter,
        .leave = leave,
    },
    .memory = {
        .alloc = mem_alloc,
        .free = mem_free,
        .left = mem_left,
        .upload = copy,
        .download = copy,
        .copy = copy,
        .zero = zero,
        .copy_if = copy_if,
    },
    .queue.sync = sync_nothing,
    .order = {
        .act_bytes = act_bytes,
        .pack = pack,
        .unpack = unpack,
    },
    .op = {
        .create = op_create,
        .scratch = op_scratch,
        .run = op_run,
        .destroy = op_destroy,
        .name = op_name,
    },
    .rows = &rows_ops,
    .contrast = &contrast_ops,
    .params = &params_ops,
};

/* SPDX-License-Identifier: MIT
 * Convolutions by oneDNN's primitives, which are made once, and the order of their weights.
 *
 * Weights are kept as float OIhw16i16o / OIhw8i8o (stem: Ohwi16o / Ohwi8o): what the forward primitives ask for; a
 * primitive that wants another order or bfloat16 gets it converted in its scratch. Where a shape has only oneDNN's
 * slow reference in these layouts, the nchw (gemm) kernels serve. Winograd F(4x4,3x3) serves 3x3 stride 1 convolutions
 * of 32 channels and 4x4 maps or more in float32 (oneDNN 2.x on AVX-512 only; with 16 channels or 2x2 maps the direct
 * kernel measured faster). The choice depends on the shape alone, never on timing: results must repeat. */
#include "backend/onednn/onednn.h"
#include <stdio.h>
#include <string.h>

/* One oneDNN primitive with its memory objects; data pointers are set at each run. */
typedef struct prim {
    dnnl_primitive_t p;
    dnnl_memory_t mem[4];
    dnnl_exec_arg_t arg[4];
    int n;
} prim;

/* A convolution has three tensors: 0 the input side, 1 the weights, 2 the output side. One that the primitive wants in
 * another order or type than we keep is converted in the scratch: inputs before, the output after. */
typedef struct convolution {
    prim main, reorder[3];
    size_t at[3];           /* place of a converted tensor in the scratch; the primitive's own scratchpad is at 0 */
    size_t plain;           /* and of the weights in plain order, where oneDNN has no name for ours; else 0 */
} convolution;

/* ---- parameters ---- */

static int is_blocked(const hpt__device *dev, const int64_t s[4]) {
    return s[2] * s[3] > 0 && (s[0] % dev->cpu->block == 0 || s[1] == 1);
}
/* place of weight (o, i, y, x); b: outputs of a block. Of one input a group the last block may be narrower. */
static size_t weight_index(int64_t o, int64_t i, int64_t y, int64_t x, const int64_t s[4], int b) {
    if (s[1] == 1) {
        int64_t whole = o / b * b, lanes = s[0] - whole < b ? s[0] - whole : b;
        return (size_t)(whole * s[2] * s[3] + (y * s[3] + x) * lanes + o % b);
    }
    if (s[1] % b == 0)
        return (size_t)((((((o / b) * (s[1] / b) + i / b) * s[2] + y) * s[3] + x) * b + i % b) * b + o % b);
    return (size_t)(((((o / b) * s[2] + y) * s[3] + x) * s[1] + i) * b + o % b);
}
void hpt__onednn_pack(hpt__device *dev, hpt__dtype t, const int64_t s[4], const float *plain, void *native) {
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
void hpt__onednn_unpack(hpt__device *dev, hpt__dtype t, const int64_t s[4], const void *native, float *plain) {
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

/* ---- primitives ---- */

static dnnl_status_t act_md(hpt__device *dev, dnnl_memory_desc_t *md, hpt__dtype t, int n, int c, int h, int w) {
    dnnl_dims_t dims = {n, c, h, w};
    dnnl_format_tag_t tag = !hpt__onednn_in_blocks(c)    ? dnnl_nchw
                            : dev->cpu->block == 16 ? dnnl_nChw16c
                                                    : dnnl_nChw8c;
    return dnnl_memory_desc_init_by_tag(md, 4, dims, t == HPT__BF16 ? dnnl_bf16 : dnnl_f32, tag);
}
/* Has oneDNN a name for what weight_index() makes of (K, C/groups, R, S)? Not where a block of outputs is narrower or
 * holds parts of several groups; such weights are handed over in plain order. */
static int has_name(const hpt__device *dev, const hpt__geometry *g) {
    int b = dev->cpu->block, groups = hpt__conv_groups(g);
    if (g->k % b) return g->c / groups > 1;
    return groups == 1 || (groups == g->k && groups == g->c) || g->k / groups % b == 0;
}
static dnnl_status_t weight_md(hpt__device *dev, dnnl_memory_desc_t *md, const hpt__geometry *g) {
    int b = dev->cpu->block, groups = hpt__conv_groups(g), plain = !has_name(dev, g);
    if (groups > 1) {
        dnnl_dims_t in_groups = {groups, g->k / groups, g->c / groups, g->r, g->s};
        dnnl_format_tag_t as = plain || g->k % b   ? dnnl_goihw
                               : g->k == groups    ? (b == 16 ? dnnl_Goihw16g : dnnl_Goihw8g)
                               : g->c / groups % b ? (b == 16 ? dnnl_gOhwi16o : dnnl_gOhwi8o)
                                                   : (b == 16 ? dnnl_gOIhw16i16o : dnnl_gOIhw8i8o);
        return dnnl_memory_desc_init_by_tag(md, 5, in_groups, dnnl_f32, as);
    }
    dnnl_dims_t dims = {g->k, g->c, g->r, g->s};
    dnnl_format_tag_t tag = plain || g->k % b ? dnnl_oihw
                            : g->c % b ? (b == 16 ? dnnl_Ohwi16o : dnnl_Ohwi8o)
                                       : (b == 16 ? dnnl_OIhw16i16o : dnnl_OIhw8i8o);
    return dnnl_memory_desc_init_by_tag(md, 4, dims, dnnl_f32, tag);
}

/* plain: maps as nchw, which every processor has a fast (gemm) kernel for. */
static dnnl_status_t conv_pd(hpt__op *op, dnnl_alg_kind_t alg, int plain, hpt__op_kind kind, dnnl_primitive_desc_t fwd,
                             dnnl_primitive_desc_t *pd) {
    const hpt__geometry *g = &op->d.g;
    hpt__device *dev = op->dev;
    dnnl_memory_desc_t src, wei, dst;
    dnnl_dims_t sdims = {g->n, g->c, g->h, g->w}, ddims = {g->n, g->k, g->p, g->q}, wdims = {g->k, g->c, g->r, g->s};
    int groups = hpt__conv_groups(g);
    dnnl_dims_t gdims = {groups, g->k / groups, g->c / groups, g->r, g->s};
    dnnl_dims_t stride = {g->stride, g->stride}, pad = {g->pad_h, g->pad_w}, pad_r;
    pad_r[0] = (g->p - 1) * g->stride + g->r - g->h - g->pad_h;
    pad_r[1] = (g->q - 1) * g->stride + g->s - g->w - g->pad_w;
    dnnl_data_type_t wt = op->d.dtype == HPT__BF16 && kind != HPT__OP_CONV_WEIGHTS ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t at = op->d.dtype == HPT__BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_status_t st;
    dnnl_convolution_desc_t cd;
    dnnl_primitive_attr_t attr = NULL;
    if (plain)
        st = dnnl_memory_desc_init_by_tag(&src, 4, sdims, at, dnnl_nchw)
                 ? dnnl_invalid_arguments
                 : dnnl_memory_desc_init_by_tag(&dst, 4, ddims, at, dnnl_nchw);
    else
        st = act_md(dev, &src, op->d.dtype, g->n, g->c, g->h, g->w)
                 ? dnnl_invalid_arguments
                 : act_md(dev, &dst, op->d.dtype, g->n, g->k, g->p, g->q);
    if (st || (st = dnnl_memory_desc_init_by_tag(&wei, groups > 1 ? 5 : 4, groups > 1 ? gdims : wdims, wt,
                                                 dnnl_format_tag_any)))
        return st;
    if (kind == HPT__OP_CONV)
        st = dnnl_convolution_forward_desc_init(&cd, dnnl_forward_training, alg, &src, &wei, NULL, &dst, stride, pad,
                                                pad_r);
    else if (kind == HPT__OP_CONV_DATA)
        st = dnnl_convolution_backward_data_desc_init(&cd, alg, &src, &wei, &dst, stride, pad, pad_r);
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

/* A primitive descriptor with this algorithm; NULL if there is none, or only oneDNN's slow reference ("ref:any"),
 * unless slow is allowed. */
static dnnl_primitive_desc_t try_conv(hpt__op *op, dnnl_alg_kind_t alg, int plain, int slow) {
    dnnl_primitive_desc_t fwd = NULL, pd = NULL;
    if (op->d.kind == HPT__OP_CONV) {
        if (conv_pd(op, alg, plain, HPT__OP_CONV, NULL, &pd)) pd = NULL;
    } else {
        if (conv_pd(op, alg, plain, HPT__OP_CONV, NULL, &fwd) &&
            conv_pd(op, dnnl_convolution_direct, plain, HPT__OP_CONV, NULL, &fwd))
            fwd = NULL;
        if (fwd && conv_pd(op, alg, plain, op->d.kind, fwd, &pd)) pd = NULL;
        if (fwd) dnnl_primitive_desc_destroy(fwd);
    }
    if (pd && !slow && strncmp(impl_of(pd), "ref", 3) == 0) {
        dnnl_primitive_desc_destroy(pd);
        pd = NULL;
    }
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

static hpt_status make_reorder(hpt__device *dev, prim *r, const dnnl_memory_desc_t *from,
                               const dnnl_memory_desc_t *to) {
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

static void free_convolution(hpt__op *op) {
    convolution *c = op->own;
    if (!c) return;
    prim_free(&c->main);
    for (int t = 0; t < 3; t++) prim_free(&c->reorder[t]);
}

static hpt_status create(hpt__op *op, dnnl_alg_kind_t alg, int plain, int slow) {
    static const struct { int arg[3]; dnnl_query_t md[3]; } roles[3] = {
        {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md}},
        {{DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
         {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md}},
        {{DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST},
         {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md}}};
    hpt_status st = HPT_OK;
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    int role = (int)op->d.kind - HPT__OP_CONV, out = output_of(op->d.kind);
    dnnl_memory_desc_t ours[3];
    convolution *c = hpt__op_own(op, sizeof *c);
    if (!c) return HPT_ERR_MEMORY;
    dnnl_primitive_desc_t pd = try_conv(op, alg, plain, slow);
    if (!pd) return HPT_ERR_UNSUPPORTED;
    snprintf(op->name, sizeof op->name, "%s", impl_of(pd));
    DNNL(dev, act_md(dev, &ours[0], op->d.dtype, g->n, g->c, g->h, g->w));
    DNNL(dev, weight_md(dev, &ours[1], g));
    DNNL(dev, act_md(dev, &ours[2], op->d.dtype, g->n, g->k, g->p, g->q));
    const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    op->scratch = (dnnl_memory_desc_get_size(pad) + 63) / 64 * 64;
    if (!has_name(dev, g)) {
        c->plain = op->scratch += 64;       /* never 0 */
        op->scratch += (dnnl_memory_desc_get_size(&ours[1]) + 63) / 64 * 64;
    }
    for (int t = 0; t < 3; t++) {
        const dnnl_memory_desc_t *theirs = dnnl_primitive_desc_query_md(pd, roles[role].md[t], 0);
        if ((st = prim_arg(dev, &c->main, roles[role].arg[t], theirs))) goto done;
        if (dnnl_memory_desc_equal(theirs, &ours[t])) continue;
        c->at[t] = op->scratch;
        op->scratch += (dnnl_memory_desc_get_size(theirs) + 63) / 64 * 64;
        st = t == out ? make_reorder(dev, &c->reorder[t], theirs, &ours[t])
                      : make_reorder(dev, &c->reorder[t], &ours[t], theirs);
        if (st) goto done;
    }
    if ((st = prim_arg(dev, &c->main, DNNL_ARG_SCRATCHPAD, pad))) goto done;
    DNNL(dev, dnnl_primitive_create(&c->main.p, pd));
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
    convolution *c = op->own;
    char *scratch = a->scratch;
    int out = output_of(op->d.kind);
    void *ours[3] = {op->d.kind == HPT__OP_CONV_DATA ? a->dx : (void *)(uintptr_t)a->x,
                     op->d.kind == HPT__OP_CONV_WEIGHTS ? a->dw : (void *)(uintptr_t)a->w,
                     op->d.kind == HPT__OP_CONV ? a->y : a->dy};
    const hpt__geometry *g = &op->d.g;
    const int64_t shape[4] = {g->k, g->c / hpt__conv_groups(g), g->r, g->s};
    if (c->plain) {
        ours[1] = scratch + c->plain;
        if (out != 1) hpt__onednn_unpack(dev, op->d.dtype, shape, a->w, ours[1]);
    }
    void *ptr[4] = {ours[0], ours[1], ours[2], scratch};
    for (int t = 0; t < 3; t++) {
        if (!c->reorder[t].p) continue;
        ptr[t] = scratch + c->at[t];
        void *pair[2] = {ours[t], ptr[t]};
        hpt_status st = t == out ? HPT_OK : run_prim(dev, &c->reorder[t], pair);
        if (st) return st;
    }
    hpt_status st = run_prim(dev, &c->main, ptr);
    void *back[2] = {ptr[out], ours[out]};
    if (!st && c->reorder[out].p) st = run_prim(dev, &c->reorder[out], back);
    if (!st && c->plain && out == 1) hpt__onednn_pack(dev, op->d.dtype, shape, ours[1], a->dw);
    return st;
}

/* ---- the implementations ---- */

static int winograd_fits(const hpt__device *dev, const hpt__op_desc *d) {
    const hpt__geometry *g = &d->g;
    return !d->direct && d->dtype == HPT__F32 && hpt__conv_groups(g) == 1 && g->r == 3 && g->s == 3 && g->stride == 1 &&
           g->c % 16 == 0 && g->c >= 32 && g->k >= 32 && g->p >= 4 && g->q >= 4 && dev->cpu->block == 16;
}
static hpt_status create_winograd(hpt__op *op) { return create(op, dnnl_convolution_winograd, 0, 0); }
static hpt_status create_direct(hpt__op *op) { return create(op, dnnl_convolution_direct, 0, 0); }
static hpt_status create_nchw(hpt__op *op) { return create(op, dnnl_convolution_direct, 1, 0); }
/* the last: says why there is none */
static hpt_status create_any(hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    hpt_status st = create(op, dnnl_convolution_direct, 0, 1);
    if (st == HPT_ERR_UNSUPPORTED)
        return op->host->fail(st, "oneDNN has no %s convolution %dx%dx%dx%d -> %d, %dx%d stride %d",
                              op->d.dtype == HPT__BF16 ? "bf16" : "fp32", g->n, g->c, g->h, g->w, g->k, g->r, g->s,
                              g->stride);
    return st;
}
#define IMPLEMENTATIONS { \
    {"depthwise", "a group for each channel, 5 channels and more, windows up to 11x11", hpt__onednn_depthwise_fits, \
     hpt__onednn_depthwise_create, hpt__onednn_depthwise_run, NULL}, \
    {"winograd", "fp32, AVX-512, 3x3 with stride 1, no groups, from 32 channels and 4x4 outputs on", winograd_fits, \
     create_winograd, run_conv, free_convolution}, \
    {"direct", "oneDNN's fast kernels", NULL, create_direct, run_conv, free_convolution}, \
    {"direct on nchw", "where those have no blocked maps", NULL, create_nchw, run_conv, free_convolution}, \
    {"oneDNN's reference", NULL, NULL, create_any, run_conv, free_convolution}, \
    HPT__IMPL_END \
}
const hpt__impl hpt__onednn_conv[] = IMPLEMENTATIONS;
const hpt__impl hpt__onednn_conv_data[] = IMPLEMENTATIONS;
const hpt__impl hpt__onednn_conv_weights[] = IMPLEMENTATIONS;

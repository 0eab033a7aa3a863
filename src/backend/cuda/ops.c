/* SPDX-License-Identifier: MIT
 * The layer operations of the cuda backend: convolutions by cuDNN plans (conv.c), the head's products by cuBLASLt
 * (matmul.c), everything else by src/kernels/<family>.cu.
 *
 * Maps are (N,H,W,C), bfloat16 for HPT__BF16, else float; a channel count that is no multiple of a 16-byte vector (the
 * 3 of the images) is padded with zeros. Weights are float (K,R,S,C), unpadded; cuDNN reads the bfloat16 copies that
 * the update pass keeps (args.w_low). The stem's weights are padded in the scratch before, its gradient cut after.
 * cuDNN has no bfloat16 weight gradient with a float result, so that one is widened by a kernel. Where a convolution
 * wants more zeros after a map than before it ("same" padding), which few engines have, the map is framed with zeros in
 * the scratch. */
#include "backend/cuda/slots.h"
#include "backend/op.h"
#include "kernels/cuda_kernels.h"
#include <stdio.h>
#include <string.h>

static int in_bf16(const hpt__op *op) { return op->d.dtype == HPT__BF16 && !op->d.g.rows; }
/* of x as they lie in memory */
static int channels_of(const hpt__op *op) { return hpt__cuda_channels(op->d.g.c, in_bf16(op)); }

static size_t up(size_t x) { return (x + 255) / 256 * 256; }
size_t hpt__cuda_act_bytes(hpt__device *dev, hpt__dtype t, int n, int c, int h, int w) {
    int bf16 = t == HPT__BF16;
    (void)dev;
    return (size_t)n * (size_t)h * (size_t)w * (size_t)hpt__cuda_channels(c, bf16) * (bf16 ? 2 : 4);
}

/* plain (K,C,R,S) <-> native (K,R,S,C); anything else as it is */
static size_t count_of(const int64_t s[4]) { return (size_t)(s[0] * (s[1] ? s[1] : 1) * (s[2] ? s[2] * s[3] : 1)); }
static void permute(const int64_t s[4], const float *in, float *out, int to_native) {
    int64_t window = s[2] * s[3];
    for (int64_t k = 0; k < s[0]; k++)
        for (int64_t c = 0; c < s[1]; c++)
            for (int64_t w = 0; w < window; w++) {
                int64_t plain = (k * s[1] + c) * window + w, native = (k * window + w) * s[1] + c;
                if (to_native) out[native] = in[plain];
                else out[plain] = in[native];
            }
}
/* Room for a weight in the other order; NULL: it needs none, or (ok 0) there is none. */
static float *reordered(hpt__device *dev, const int64_t shape[4], int *ok) {
    float *copy = shape[2] ? dev->host->alloc(count_of(shape) * 4) : NULL;
    *ok = copy || !shape[2];
    if (!*ok) {
        dev->status = HPT_ERR_MEMORY;
        snprintf(dev->text, sizeof dev->text, "out of memory: %zu bytes for the layout of a weight",
                 count_of(shape) * 4);
    }
    return copy;
}
void hpt__cuda_pack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const float *plain, void *native) {
    int ok;
    float *copy = reordered(dev, shape, &ok);
    (void)t;
    if (!ok) return;
    if (copy) permute(shape, plain, copy, 1);
    hpt__cuda_upload(dev, native, copy ? copy : plain, count_of(shape) * 4);
    if (copy) dev->host->free(copy);
}
void hpt__cuda_unpack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const void *native, float *plain) {
    int ok;
    float *copy = reordered(dev, shape, &ok);
    (void)t;
    if (!ok) return;
    hpt__cuda_download(dev, copy ? copy : plain, native, count_of(shape) * 4);
    if (!copy) return;
    permute(shape, copy, plain, 0);
    dev->host->free(copy);
}

/* Outputs of convolutions, and what batch norm reads, lie without padding: their channels are whole vectors. (The
 * images' three are padded.) */
static hpt_status whole_vectors(const hpt__op *op, int channels) {
    int bf16 = op->d.dtype == HPT__BF16;
    if (op->d.g.rows || hpt__cuda_channels(channels, bf16) == channels) return HPT_OK;
    return op->host->fail(HPT_ERR_UNSUPPORTED, "cuda: a map of %d channels, which is no multiple of %d", channels,
                          bf16 ? 8 : 4);
}

static hpt_status whole(hpt__op *op) { return whole_vectors(op, op->d.g.c); }

/* ---- convolutions ---- */

/* scratch: the plan's workspace, then padded weights (forward, data) or the low gradient, then the float gradient with
 * padding, then the framed map (N,rows,columns,C); rows 0: none */
typedef struct cuda_convolution {
    hpt__conv_plan plan;
    size_t padded_at, wide_at, framed_at;
    int rows, columns;
} cuda_convolution;

/* Do as many zeros after the map as before it, which is all that cuDNN is asked for, give this output? */
static int padded_alike(const hpt__geometry *g) {
    return (g->h + 2 * g->pad_h - g->r) / g->stride + 1 == g->p && (g->w + 2 * g->pad_w - g->s) / g->stride + 1 == g->q;
}
/* How long a side of the framed map is: all of the map, and all that the windows see. */
static int framed(int side, int pad, int out, int stride, int window) {
    int seen = (out - 1) * stride + window;
    return side + pad > seen ? side + pad : seen;
}
static hpt_status create_conv(hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    int bf16 = in_bf16(op), channels = channels_of(op), pads = channels != g->c,
        gradient = op->d.kind == HPT__OP_CONV_WEIGHTS;
    size_t weights = (size_t)g->k * (size_t)g->r * (size_t)g->s * (size_t)(channels / hpt__conv_groups(g));
    hpt__op_desc padded = op->d;
    HPT_TRY(whole_vectors(op, hpt__conv_groups(g) > 1 && pads ? g->c : g->k));
    cuda_convolution *c = hpt__op_own(op, sizeof *c);
    if (!c) return HPT_ERR_MEMORY;
    padded.g.c = channels;
    if (!padded_alike(g)) {
        c->rows = padded.g.h = framed(g->h, g->pad_h, g->p, g->stride, g->r);
        c->columns = padded.g.w = framed(g->w, g->pad_w, g->q, g->stride, g->s);
        padded.g.pad_h = padded.g.pad_w = 0;
    }
    HPT_TRY(hpt__conv_choose(op->dev, &padded, &c->plan));
    snprintf(op->name, sizeof op->name, "%s", c->plan.name);
    c->padded_at = up((size_t)c->plan.workspace);
    c->wide_at = c->padded_at;
    if (pads || (gradient && bf16)) c->wide_at += up(weights * (bf16 ? 2 : 4));
    c->framed_at = c->wide_at + (gradient && bf16 && pads ? up(weights * 4) : 0);
    size_t pixels = (size_t)g->n * (size_t)c->rows * (size_t)c->columns;
    op->scratch = c->framed_at + pixels * (size_t)channels * (bf16 ? 2 : 4);
    return HPT_OK;
}
static void destroy_conv(hpt__op *op) {
    cuda_convolution *c = op->own;
    if (c) hpt__conv_release(&c->plan);
}

/* x, or x with its frame: in the scratch. */
static hpt_status input_side(hpt__op *op, const hpt__op_args *a, const void **x) {
    const cuda_convolution *c = op->own;
    const hpt__geometry *g = &op->d.g;
    *x = c->rows ? (char *)a->scratch + c->framed_at : op->d.kind == HPT__OP_CONV_DATA ? a->dx : a->x;
    if (!c->rows || op->d.kind == HPT__OP_CONV_DATA) return HPT_OK;
    CUDA_TRY(op->dev, hpt__cuda_frame(op->dev->compute, in_bf16(op), g->n, channels_of(op), g->h, g->w, c->rows,
                                      c->columns, g->pad_h, g->pad_w, a->x, (char *)a->scratch + c->framed_at));
    return HPT_OK;
}
/* dx without its frame. */
static hpt_status unframe(hpt__op *op, const hpt__op_args *a) {
    const cuda_convolution *c = op->own;
    const hpt__geometry *g = &op->d.g;
    if (!c->rows) return HPT_OK;
    CUDA_TRY(op->dev, hpt__cuda_frame(op->dev->compute, in_bf16(op), g->n, channels_of(op), c->rows, c->columns, g->h,
                                      g->w, -g->pad_h, -g->pad_w, (char *)a->scratch + c->framed_at, a->dx));
    return HPT_OK;
}

static hpt_status run_conv(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    cuda_convolution *c = op->own;
    const hpt__geometry *g = &op->d.g;
    int bf16 = in_bf16(op), channels = channels_of(op);
    char *scratch = a->scratch, *padded = scratch + c->padded_at;
    int rows = g->k * g->r * g->s, pads = channels != g->c;
    size_t weights = (size_t)rows * (size_t)(channels / hpt__conv_groups(g));
    const void *x;
    HPT_TRY(input_side(op, a, &x));
    if (op->d.kind != HPT__OP_CONV_WEIGHTS) {
        const void *w = bf16 ? a->w_low : a->w;
        if (pads) {
            CUDA_TRY(dev, hpt__cuda_pad_weights(dev->compute, bf16, rows, g->c, channels, w, padded));
            w = padded;
        }
        if (op->d.kind == HPT__OP_CONV) return hpt__conv_execute(dev, &c->plan, x, w, a->y, scratch);
        HPT_TRY(hpt__conv_execute(dev, &c->plan, x, w, a->dy, scratch));
        return unframe(op, a);
    }
    HPT_TRY(hpt__conv_execute(dev, &c->plan, x, bf16 || pads ? padded : a->dw, a->dy, scratch));
    float *wide = pads ? (float *)(void *)(bf16 ? scratch + c->wide_at : padded) : a->dw;
    if (bf16) CUDA_TRY(dev, hpt__cuda_from_bf16(dev->compute, weights, (const uint16_t *)(const void *)padded, wide));
    if (pads) CUDA_TRY(dev, hpt__cuda_unpad_weights(dev->compute, rows, g->c, channels, wide, a->dw));
    return HPT_OK;
}
#define CONVOLUTION { \
    {"cuDNN", "channels in whole vectors, but for the images'", NULL, create_conv, run_conv, destroy_conv}, \
    HPT__IMPL_END \
}
static const hpt__impl conv_list[] = CONVOLUTION;
static const hpt__impl conv_data_list[] = CONVOLUTION;
static const hpt__impl conv_weights_list[] = CONVOLUTION;

/* ---- linear layers ---- */

static hpt_status linear(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    return hpt__cuda_matmul(op->dev, op->d.dtype != HPT__F32, 0, 1, g->n, g->k, g->c, 1, a->x, g->c, a->w, g->c, 0,
                            a->y, g->k, a->b, g->act == HPT__ACT_RELU);
}
static hpt_status linear_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    int fast = op->d.dtype != HPT__F32;
    int relu = g->act == HPT__ACT_RELU;
    if (relu || a->db) CUDA_TRY(dev, hpt__cuda_bias_backward(dev->compute, g->n, g->k, relu, a->y_in, a->dy, a->db));
    HPT_TRY(hpt__cuda_matmul(dev, fast, 1, 0, g->k, g->c, g->n, 1, a->dy, g->k, a->x, g->c, 0, a->dw, g->c, NULL, 0));
    if (!a->dx) return HPT_OK;
    return hpt__cuda_matmul(dev, fast, 0, 0, g->n, g->c, g->k, 1, a->dy, g->k, a->w, g->c, 0, a->dx, g->c, NULL, 0);
}
static const hpt__impl linear_list[] = {{.name = "cublaslt", .run = linear}, HPT__IMPL_END};
static const hpt__impl linear_grad_list[] = {{.name = "cublaslt", .run = linear_grad}, HPT__IMPL_END};

/* ---- batch norm ---- */

static hpt__cuda_norm norm_of(const hpt__op *op, const hpt__op_args *a) {
    return (hpt__cuda_norm){
        .g = op->d.g, .bf16 = in_bf16(op), .sms = op->dev->sms, .x = a->x, .y_in = a->y_in, .r = a->r, .dy2 = a->dy2,
        .y = a->y, .dy = a->dy, .dx = a->dx, .w = a->w, .b = a->b, .mean = a->mean, .rstd = a->rstd,
        .run_mean = a->run_mean, .run_var = a->run_var, .dw = a->dw, .db = a->db, .momentum = a->momentum,
        .scratch = a->scratch};
}
static hpt_status create_norm(hpt__op *op) {
    HPT_TRY(whole_vectors(op, op->d.g.c));
    op->scratch = hpt__cuda_norm_scratch(&op->d.g, in_bf16(op), op->dev->sms);
    return HPT_OK;
}
static hpt_status norm(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_train(op->dev->compute, &n));
    return HPT_OK;
}
static hpt_status norm_eval(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_eval(op->dev->compute, &n));
    return HPT_OK;
}
static hpt_status norm_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_backward(op->dev->compute, &n));
    return HPT_OK;
}
static hpt_status norm_moments(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_moments(op->dev->compute, &n, a->aux));
    return HPT_OK;
}
static hpt_status norm_joined(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_joined(op->dev->compute, &n, a->aux));
    return HPT_OK;
}
static hpt_status norm_grad_sums(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_grad_sums(op->dev->compute, &n, a->aux));
    return HPT_OK;
}
static hpt_status norm_grad_joined(hpt__op *op, const hpt__op_args *a) {
    hpt__cuda_norm n = norm_of(op, a);
    CUDA_TRY(op->dev, hpt__cuda_norm_grad_joined(op->dev->compute, &n, a->aux));
    return HPT_OK;
}
#define NORM(create, run) {{"hpt", "channels in whole vectors, or rows", NULL, create, run, NULL}, HPT__IMPL_END}
static const hpt__impl norm_list[] = NORM(create_norm, norm);
static const hpt__impl norm_eval_list[] = NORM(whole, norm_eval);
static const hpt__impl norm_grad_list[] = NORM(create_norm, norm_grad);
static const hpt__impl norm_moments_list[] = NORM(create_norm, norm_moments);
static const hpt__impl norm_joined_list[] = NORM(whole, norm_joined);
static const hpt__impl norm_grad_sums_list[] = NORM(create_norm, norm_grad_sums);
static const hpt__impl norm_grad_joined_list[] = NORM(create_norm, norm_grad_joined);

/* ---- one launch each ---- */

/* values of an operation that goes one by one: padding too, which stays finite and which no operation lets through */
static size_t values(const hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    return (size_t)g->n * (size_t)g->h * (size_t)g->w * (size_t)(g->rows ? g->c : channels_of(op));
}
/* LAUNCH(operation, when, create, call): the list of an operation that is this launch, with s, g and bf16 to speak of
 */
#define LAUNCH(op_, when_, create_, call) \
    static hpt_status launch_##op_(hpt__op *op, const hpt__op_args *a) { \
        const hpt__geometry *g = &op->d.g; \
        cudaStream_t s = op->dev->compute; \
        int bf16 = in_bf16(op); \
        (void)g; (void)bf16; \
        CUDA_TRY(op->dev, call); \
        return HPT_OK; \
    } \
    static const hpt__impl op_##_list[] = {{"hpt", when_, NULL, create_, launch_##op_, NULL}, HPT__IMPL_END};
LAUNCH(input, NULL, NULL, hpt__cuda_input(s, bf16, g->n, g->c, g->h, g->w, a->x, a->y))
LAUNCH(enter, NULL, NULL, hpt__cuda_input(s, bf16, g->n, g->c, g->h, g->w, a->x, a->y))
LAUNCH(output, NULL, NULL, hpt__cuda_output(s, bf16, g->n, g->c, g->h, g->w, a->x, a->y))
LAUNCH(maxpool, "channels in whole vectors", whole, hpt__cuda_maxpool(s, g, bf16, a->x, a->y, a->aux))
LAUNCH(maxpool_grad, "channels in whole vectors", whole,
       hpt__cuda_maxpool_backward(s, g, bf16, a->dy, a->dy2, a->aux, a->dx))
LAUNCH(average, "channels in whole vectors", whole, hpt__cuda_average(s, g, bf16, a->x, a->y))
LAUNCH(average_grad, "channels in whole vectors", whole, hpt__cuda_average_backward(s, g, bf16, a->dy, a->dx))
LAUNCH(act, NULL, NULL, hpt__cuda_act(s, bf16, values(op), g->act, a->x, a->y))
LAUNCH(act_grad, NULL, NULL,
       hpt__cuda_act_backward(s, bf16, values(op), g->act, a->x, a->y_in, a->dy, g->extra_grad ? a->dy2 : NULL, a->dx))
LAUNCH(sum, NULL, NULL, hpt__cuda_sum(s, bf16, values(op), a->x, g->residual ? a->r : NULL, a->y))
LAUNCH(bias, NULL, NULL, hpt__cuda_bias(s, g, bf16, a->x, a->b, a->y))
LAUNCH(scale, NULL, NULL, hpt__cuda_scale(s, g, bf16, a->x, a->b, a->y))
LAUNCH(scale_grad, NULL, NULL, hpt__cuda_scale_backward(s, g, bf16, a->x, a->b, a->dy, a->dx, a->db))
LAUNCH(drop, NULL, NULL,
       hpt__cuda_drop(s, bf16, (size_t)g->n, values(op) / (size_t)g->n, a->x, a->b, g->residual ? a->r : NULL, a->y))
LAUNCH(unit, NULL, NULL, hpt__cuda_unit(s, g->n, g->c, a->x, g->scale, a->y))
LAUNCH(unit_grad, NULL, NULL, hpt__cuda_unit_backward(s, g->n, g->c, a->x, g->scale, a->dy, a->dx))
LAUNCH(bias_grad, NULL, NULL, hpt__cuda_map_bias_backward(s, g, bf16, a->dy, a->db))

/* ---- slots ---- */

const hpt__impl *hpt__cuda_op_list(hpt__op_kind kind, hpt__dtype t) {
    static const hpt__impl *const lists[HPT__OP_KINDS] = {
#define OP(KIND, name, shapes, arrays) name##_list,
#include "backend/ops.def"
#undef OP
    };
    (void)t;
    return lists[kind];
}
hpt_status hpt__cuda_op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    return hpt__op_create(dev, dev->host, hpt__cuda_op_list(d->kind, d->dtype), d, out);
}
hpt_status hpt__cuda_op_run(hpt__op *op, const hpt__op_args *a) {
    HPT_TRY(hpt__cuda_report(op->dev));
    return op->impl->run(op, a);
}

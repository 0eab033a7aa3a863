/* SPDX-License-Identifier: MIT
 * The layer operations of the cuda backend: convolutions by cuDNN plans (conv.c), the head's products by cuBLASLt (matmul.c), everything else
 * by src/kernels/<family>.cu.
 *
 * Maps are (N,H,W,C), bfloat16 for HPT__BF16, else float; a channel count that is no multiple of a 16-byte vector (the 3 of the images) is
 * padded with zeros. Weights are float (K,R,S,C), unpadded; cuDNN reads the bfloat16 copies that the update pass keeps (args.w_low). The
 * stem's weights are padded in the scratch before, its gradient cut after. cuDNN has no bfloat16 weight gradient with a float result, so that
 * one is widened by a kernel. */
#include "backend/cuda/backend.h"
#include "kernels/cuda_kernels.h"
#include <stdio.h>
#include <string.h>

struct hpt__op {
    hpt__op_desc d;
    hpt__device *dev;
    hpt__conv_plan conv;
    int bf16, channels;                     /* of x as they lie in memory */
    size_t scratch, padded_at, wide_at;     /* scratch: workspace; padded weights (forward, data) or low gradient; float gradient with padding */
};

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
        snprintf(dev->text, sizeof dev->text, "out of memory: %zu bytes for the layout of a weight", count_of(shape) * 4);
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

static int is_conv(hpt__op_kind k) { return k == HPT__OP_CONV || k == HPT__OP_CONV_DATA || k == HPT__OP_CONV_WEIGHTS; }
/* Outputs of convolutions, and what batch norm reads, lie without padding: their channels are whole vectors. (The images' three are padded.) */
static hpt_status fits(hpt__device *dev, const hpt__op_desc *d) {
    int norm = d->kind == HPT__OP_NORM || d->kind == HPT__OP_NORM_EVAL || d->kind == HPT__OP_NORM_GRAD, bf16 = d->dtype == HPT__BF16;
    int channels = norm || (is_conv(d->kind) && hpt__conv_groups(&d->g) > 1 && hpt__cuda_channels(d->g.c, bf16) != d->g.c) ? d->g.c : d->g.k;
    if (!(norm || is_conv(d->kind)) || d->g.rows || hpt__cuda_channels(channels, bf16) == channels) return HPT_OK;
    return dev->host->fail(HPT_ERR_UNSUPPORTED, "cuda: a map of %d channels, which is no multiple of %d", channels, bf16 ? 8 : 4);
}
hpt_status hpt__cuda_op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    const hpt__geometry *g = &d->g;
    HPT_TRY(fits(dev, d));
    hpt__op *op = dev->host->alloc(sizeof *op);
    if (!op) return dev->host->fail(HPT_ERR_MEMORY, "out of memory for an operation");
    memset(op, 0, sizeof *op);
    op->d = *d;
    op->dev = dev;
    op->bf16 = d->dtype == HPT__BF16 && !g->rows;
    op->channels = hpt__cuda_channels(g->c, op->bf16);
    if (is_conv(d->kind)) {
        hpt__op_desc padded = *d;
        size_t weights = (size_t)g->k * (size_t)g->r * (size_t)g->s * (size_t)(op->channels / hpt__conv_groups(g));
        padded.g.c = op->channels;
        hpt_status st = hpt__conv_choose(dev, &padded, &op->conv);
        if (st) {
            dev->host->free(op);
            return st;
        }
        op->padded_at = up((size_t)op->conv.workspace);
        op->wide_at = op->padded_at;
        if (d->kind == HPT__OP_CONV_WEIGHTS ? op->bf16 || op->channels != g->c : op->channels != g->c) op->wide_at += up(weights * (op->bf16 ? 2 : 4));
        op->scratch = op->wide_at + (d->kind == HPT__OP_CONV_WEIGHTS && op->bf16 && op->channels != g->c ? up(weights * 4) : 0);
    } else if (d->kind == HPT__OP_NORM || d->kind == HPT__OP_NORM_GRAD) op->scratch = hpt__cuda_norm_scratch(g, op->bf16, dev->sms);
    *out = op;
    return HPT_OK;
}
size_t hpt__cuda_op_scratch(const hpt__op *op) { return op->scratch; }
void hpt__cuda_op_destroy(hpt__op *op) {
    if (!op) return;
    hpt__conv_release(&op->conv);
    op->dev->host->free(op);
}
const char *hpt__cuda_op_name(const hpt__op *op) { return is_conv(op->d.kind) ? op->conv.name : op->d.kind == HPT__OP_LINEAR || op->d.kind == HPT__OP_LINEAR_GRAD ? "cublaslt" : "hpt"; }

static hpt_status run_conv(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    char *scratch = a->scratch, *padded = scratch + op->padded_at;
    int rows = g->k * g->r * g->s, pads = op->channels != g->c;
    size_t weights = (size_t)rows * (size_t)(op->channels / hpt__conv_groups(g));
    if (op->d.kind != HPT__OP_CONV_WEIGHTS) {
        const void *w = op->bf16 ? a->w_low : a->w;
        if (pads) {
            CUDA_TRY(dev, hpt__cuda_pad_weights(dev->compute, op->bf16, rows, g->c, op->channels, w, padded));
            w = padded;
        }
        return op->d.kind == HPT__OP_CONV ? hpt__conv_execute(dev, &op->conv, a->x, w, a->y, scratch) : hpt__conv_execute(dev, &op->conv, a->dx, w, a->dy, scratch);
    }
    HPT_TRY(hpt__conv_execute(dev, &op->conv, a->x, op->bf16 || pads ? padded : a->dw, a->dy, scratch));
    float *wide = pads ? (float *)(void *)(op->bf16 ? scratch + op->wide_at : padded) : a->dw;
    if (op->bf16) CUDA_TRY(dev, hpt__cuda_from_bf16(dev->compute, weights, (const uint16_t *)(const void *)padded, wide));
    if (pads) CUDA_TRY(dev, hpt__cuda_unpad_weights(dev->compute, rows, g->c, op->channels, wide, a->dw));
    return HPT_OK;
}

static hpt_status run_linear(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    return hpt__cuda_matmul(op->dev, op->d.dtype != HPT__F32, 0, 1, g->n, g->k, g->c, 1, a->x, g->c, a->w, g->c, 0, a->y, g->k, a->b, g->act == HPT__ACT_RELU);
}
static hpt_status run_linear_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    int fast = op->d.dtype != HPT__F32;
    int relu = g->act == HPT__ACT_RELU;
    if (relu || a->db) CUDA_TRY(dev, hpt__cuda_bias_backward(dev->compute, g->n, g->k, relu, a->y_in, a->dy, a->db));
    HPT_TRY(hpt__cuda_matmul(dev, fast, 1, 0, g->k, g->c, g->n, 1, a->dy, g->k, a->x, g->c, 0, a->dw, g->c, NULL, 0));
    return a->dx ? hpt__cuda_matmul(dev, fast, 0, 0, g->n, g->c, g->k, 1, a->dy, g->k, a->w, g->c, 0, a->dx, g->c, NULL, 0) : HPT_OK;
}

/* of an operation that goes value by value: padding too, which stays finite and which no operation lets through */
static size_t values(const hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    return (size_t)g->n * (size_t)g->h * (size_t)g->w * (size_t)(g->rows ? g->c : op->channels);
}
hpt_status hpt__cuda_op_run(hpt__op *op, const hpt__op_args *a) {
    hpt__device *dev = op->dev;
    const hpt__geometry *g = &op->d.g;
    cudaStream_t s = dev->compute;
    hpt__cuda_norm norm = {.g = *g, .bf16 = op->bf16, .sms = dev->sms, .x = a->x, .y_in = a->y_in, .r = a->r, .dy2 = a->dy2, .y = a->y, .dy = a->dy, .dx = a->dx, .w = a->w, .b = a->b, .mean = a->mean,
                           .rstd = a->rstd, .run_mean = a->run_mean, .run_var = a->run_var, .dw = a->dw, .db = a->db, .momentum = a->momentum, .scratch = a->scratch};
    HPT_TRY(hpt__cuda_report(dev));
    switch (op->d.kind) {
    case HPT__OP_INPUT: CUDA_TRY(dev, hpt__cuda_input(s, op->bf16, g->n, g->c, g->h, g->w, a->x, a->y)); return HPT_OK;
    case HPT__OP_OUTPUT: CUDA_TRY(dev, hpt__cuda_output(s, op->bf16, g->n, g->c, g->h, g->w, a->x, a->y)); return HPT_OK;
    case HPT__OP_CONV: case HPT__OP_CONV_DATA: case HPT__OP_CONV_WEIGHTS: return run_conv(op, a);
    case HPT__OP_NORM: CUDA_TRY(dev, hpt__cuda_norm_train(s, &norm)); return HPT_OK;
    case HPT__OP_NORM_EVAL: CUDA_TRY(dev, hpt__cuda_norm_eval(s, &norm)); return HPT_OK;
    case HPT__OP_NORM_GRAD: CUDA_TRY(dev, hpt__cuda_norm_backward(s, &norm)); return HPT_OK;
    case HPT__OP_MAXPOOL: CUDA_TRY(dev, hpt__cuda_maxpool(s, g, op->bf16, a->x, a->y, a->aux)); return HPT_OK;
    case HPT__OP_MAXPOOL_GRAD: CUDA_TRY(dev, hpt__cuda_maxpool_backward(s, g, op->bf16, a->dy, a->dy2, a->aux, a->dx)); return HPT_OK;
    case HPT__OP_AVERAGE: CUDA_TRY(dev, hpt__cuda_average(s, g, op->bf16, a->x, a->y)); return HPT_OK;
    case HPT__OP_AVERAGE_GRAD: CUDA_TRY(dev, hpt__cuda_average_backward(s, g, op->bf16, a->dy, a->dx)); return HPT_OK;
    case HPT__OP_LINEAR: return run_linear(op, a);
    case HPT__OP_LINEAR_GRAD: return run_linear_grad(op, a);
    case HPT__OP_ACT: CUDA_TRY(dev, hpt__cuda_act(s, op->bf16, values(op), g->act, a->x, a->y)); return HPT_OK;
    case HPT__OP_ACT_GRAD:
        CUDA_TRY(dev, hpt__cuda_act_backward(s, op->bf16, values(op), g->act, a->x, a->y_in, a->dy, g->extra_grad ? a->dy2 : NULL, a->dx));
        return HPT_OK;
    case HPT__OP_BIAS: CUDA_TRY(dev, hpt__cuda_bias(s, g, op->bf16, a->x, a->b, a->y)); return HPT_OK;
    case HPT__OP_BIAS_GRAD: CUDA_TRY(dev, hpt__cuda_map_bias_backward(s, g, op->bf16, a->dy, a->db)); return HPT_OK;
    case HPT__OP_SUM: CUDA_TRY(dev, hpt__cuda_sum(s, op->bf16, values(op), a->x, g->residual ? a->r : NULL, a->y)); return HPT_OK;
    }
    return dev->host->fail(HPT_ERR_INTERNAL, "cuda: operation %d is unknown", (int)op->d.kind);
}

/* SPDX-License-Identifier: MIT
 * Operations on maps value by value, and the ways in and out. Where the order of values does not matter (activations,
 * sums) any number of channels is served; elsewhere channels that blocks do not divide lie plain. */
#include "backend/onednn/onednn.h"
#include "kernels/bias.h"
#include <string.h>

int hpt__onednn_blocked(const hpt__device *dev, const hpt__op_desc *d) { return d->g.c % dev->cpu->block == 0; }
hpt_status hpt__onednn_plain(hpt__op *op) {
    if (op->d.dtype != HPT__BF16 || op->d.g.rows) return HPT_OK;
    return op->host->fail(HPT_ERR_UNSUPPORTED,
                          "precision=bf16: a map of %d channels, which is no multiple of %d; use fp32", op->d.g.c,
                          op->dev->cpu->block);
}
static int in_bf16(const hpt__op *op) { return op->d.dtype == HPT__BF16 && !op->d.g.rows; }

/* ---- ways in and out: place of value (c, at) of an image in a map ---- */

static size_t place(const hpt__device *dev, const hpt__geometry *g, size_t n, size_t c, size_t at) {
    size_t all = (size_t)g->c, hw = (size_t)g->h * (size_t)g->w,
           b = all % (size_t)dev->cpu->block ? 1 : (size_t)dev->cpu->block;
    return ((n * (all / b) + c / b) * hw + at) * b + c % b;
}
static uint16_t to_bf16(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return x != x ? 0x7fc0 : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
static float from_bf16(uint16_t x) {
    uint32_t u = (uint32_t)x << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static hpt_status input(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    const float *x = a->x;
    size_t hw = (size_t)g->h * (size_t)g->w, count = (size_t)g->n * (size_t)g->c * hw;
    int bf16 = in_bf16(op), blocked = hpt__onednn_blocked(op->dev, &op->d);
    if (!bf16 && !blocked) memcpy(a->y, x, count * 4);
    for (size_t i = 0; bf16 && !blocked && i < count; i++) ((uint16_t *)a->y)[i] = to_bf16(x[i]);
    for (size_t i = 0; blocked && i < count; i++) {
        size_t to = place(op->dev, g, i / hw / (size_t)g->c, i / hw % (size_t)g->c, i % hw);
        if (bf16) ((uint16_t *)a->y)[to] = to_bf16(x[i]);
        else ((float *)a->y)[to] = x[i];
    }
    return HPT_OK;
}
static hpt_status output(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    float *y = a->y;
    int bf16 = in_bf16(op);
    for (size_t n = 0; n < (size_t)g->n; n++)
        for (size_t c = 0; c < (size_t)g->c; c++)
            for (size_t at = 0; at < (size_t)g->h * (size_t)g->w; at++) {
                size_t from = place(op->dev, g, n, c, at);
                *y++ = bf16 ? from_bf16(((const uint16_t *)a->x)[from]) : ((const float *)a->x)[from];
            }
    return HPT_OK;
}
const hpt__impl hpt__onednn_input[] = {{.name = "cpu", .run = input}, HPT__IMPL_END};
const hpt__impl hpt__onednn_enter[] = {{.name = "cpu", .run = input}, HPT__IMPL_END};     /* real is float here */
const hpt__impl hpt__onednn_output[] = {{.name = "cpu", .run = output}, HPT__IMPL_END};

/* ---- activations and sums ---- */

typedef struct maps_job {
    hpt__cpu_act act;
    void (*part)(const hpt__cpu_act *, size_t, size_t);
    size_t n;
} maps_job;
static void part_of(void *arg, int t, int nt) {
    maps_job *j = arg;
    size_t blocks = (j->n + 15) / 16, lo = blocks * (size_t)t / (size_t)nt * 16,
           hi = blocks * (size_t)(t + 1) / (size_t)nt * 16;
    if (lo < j->n) j->part(&j->act, lo, hi < j->n ? hi : j->n);
}
static hpt_status run(const hpt__op *op, hpt__cpu_act act, void (*part)(const hpt__cpu_act *, size_t, size_t)) {
    const hpt__geometry *g = &op->d.g;
    maps_job j = {act, part, (size_t)g->n * (size_t)g->c * (size_t)g->h * (size_t)g->w};
    j.act.act = g->act;
    j.act.bf16 = in_bf16(op);
    hpt__team_run(part_of, &j);
    return HPT_OK;
}
static hpt_status act(hpt__op *op, const hpt__op_args *a) {
    return run(op, (hpt__cpu_act){.a = a->x, .y = a->y}, op->dev->cpu->act);
}
static hpt_status act_grad(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    hpt__cpu_act j = {
        .a = g->act == HPT__ACT_SILU ? a->x : a->y_in, .b = a->dy, .c = g->extra_grad ? a->dy2 : NULL, .y = a->dx};
    return run(op, j, op->dev->cpu->act_grad);
}
static hpt_status sum(hpt__op *op, const hpt__op_args *a) {
    return run(op, (hpt__cpu_act){.a = a->x, .b = op->d.g.residual ? a->r : NULL, .y = a->y}, op->dev->cpu->sum);
}
const hpt__impl hpt__onednn_act[] = {{.name = "cpu", .run = act}, HPT__IMPL_END};
const hpt__impl hpt__onednn_act_grad[] = {{.name = "cpu", .run = act_grad}, HPT__IMPL_END};
const hpt__impl hpt__onednn_sum[] = {{.name = "cpu", .run = sum}, HPT__IMPL_END};

/* ---- a value for each channel ---- */

typedef struct bias_job {
    hpt__cpu_bias bias;
    void (*part)(const hpt__cpu_bias *, int, int);
} bias_job;
static void bias_part(void *arg, int t, int nt) { ((bias_job *)arg)->part(&((bias_job *)arg)->bias, t, nt); }

static hpt_status bias(hpt__op *op, const hpt__op_args *a) {
    bias_job j = {{.g = &op->d.g, .bf16 = op->d.dtype == HPT__BF16, .x = a->x, .b = a->b, .y = a->y},
                  op->dev->cpu->bias};
    hpt__team_run(bias_part, &j);
    return HPT_OK;
}
static hpt_status bias_grad(hpt__op *op, const hpt__op_args *a) {
    bias_job j = {{.g = &op->d.g, .bf16 = op->d.dtype == HPT__BF16, .x = a->dy, .db = a->db}, op->dev->cpu->bias_grad};
    hpt__team_run(bias_part, &j);
    return HPT_OK;
}
static hpt_status plain_bias(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_bias_f32(&op->d.g, a->x, a->b, a->y);
    return HPT_OK;
}
static hpt_status plain_bias_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_bias_backward_f32(&op->d.g, a->dy, a->db);
    return HPT_OK;
}
const hpt__impl hpt__onednn_bias[] = HPT__BLOCKED_OR_PLAIN(NULL, bias, plain_bias);
const hpt__impl hpt__onednn_bias_grad[] = HPT__BLOCKED_OR_PLAIN(NULL, bias_grad, plain_bias_grad);

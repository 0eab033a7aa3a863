/* SPDX-License-Identifier: MIT
 * Operations on maps value by value, the ways in and out, and what serves maps that lie plain. Lanes of a block that
 * have no channel are 0 in each map that comes, and in each that is written. */
#include "backend/onednn/onednn.h"
#include "kernels/bias.h"
#include <stddef.h>
#include <string.h>

/* rows are maps of 1x1 without lanes to spare */
int hpt__onednn_blocked(const hpt__device *dev, const hpt__op_desc *d) {
    return d->g.rows ? d->g.c % dev->cpu->block == 0 : hpt__onednn_in_blocks(d->g.c);
}
static int in_bf16(const hpt__op *op) { return op->d.dtype == HPT__BF16 && !op->d.g.rows; }
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

/* ---- plain maps in bfloat16 ---- */

/* what an array is, if it is a map: its values; else 0 */
static size_t map_values(const hpt__geometry *g, const char *what) {
    if (!strcmp(what, "in")) return (size_t)g->n * (size_t)g->c * (size_t)g->h * (size_t)g->w;
    if (!strcmp(what, "out")) return (size_t)g->n * (size_t)g->k * (size_t)g->p * (size_t)g->q;
    return 0;
}
hpt_status hpt__onednn_plain(hpt__op *op) {
    hpt__op_array row;
    for (const char *at = hpt__op_rows[op->d.kind].arrays; in_bf16(op) && (at = hpt__op_next_array(at, &row));)
        op->scratch += map_values(&op->d.g, row.what) * 4;
    return HPT_OK;
}
/* Runs it on copies of the maps in float, which lie in the scratch; what it wrote goes back. */
hpt_status hpt__onednn_in_float(hpt__op *op, const hpt__op_args *a,
                                hpt_status (*run)(hpt__op *, const hpt__op_args *)) {
    hpt__op_args copy = *a;
#define ARRAY(name) {#name, (void *)(uintptr_t)a->name, offsetof(hpt__op_args, name)},
    const struct { const char *name; void *at; size_t offset; } given[] = {HPT__OP_ARRAYS(ARRAY)};
#undef ARRAY
    hpt__op_array row;
    if (!in_bf16(op)) return run(op, a);
    for (int back = 0; back < 2; back++) {
        float *room = a->scratch;
        for (const char *at = hpt__op_rows[op->d.kind].arrays; (at = hpt__op_next_array(at, &row));) {
            size_t n = map_values(&op->d.g, row.what), i = 0;
            while (strcmp(given[i].name, row.name)) i++;
            if (!n || !given[i].at) continue;
            uint16_t *map = given[i].at;
            if (!back) memcpy((char *)&copy + given[i].offset, &room, sizeof room);
            for (size_t k = 0; k < n && !back; k++) room[k] = from_bf16(map[k]);
            for (size_t k = 0; k < n && back && row.written; k++) map[k] = to_bf16(room[k]);
            room += n;
        }
        hpt_status st = back ? HPT_OK : run(op, &copy);
        if (st) return st;
    }
    return HPT_OK;
}

/* ---- ways in and out ---- */

/* Of values at x (N,C,H*W): value (n, c, at) of the map, also those of lanes without a channel. */
static hpt_status input(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    const float *x = a->x;
    size_t hw = (size_t)g->h * (size_t)g->w, c = (size_t)g->c, to = 0,
           b = hpt__onednn_in_blocks(g->c) ? (size_t)op->dev->cpu->block : 1;
    int bf16 = in_bf16(op);
    for (size_t n = 0; n < (size_t)g->n; n++)
        for (size_t first = 0; first < c; first += b)
            for (size_t at = 0; at < hw; at++)
                for (size_t l = 0; l < b; l++, to++) {
                    float v = first + l < c ? x[(n * c + first + l) * hw + at] : 0;
                    if (bf16) ((uint16_t *)a->y)[to] = to_bf16(v);
                    else ((float *)a->y)[to] = v;
                }
    return HPT_OK;
}
static hpt_status output(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    float *y = a->y;
    int bf16 = in_bf16(op);
    size_t hw = (size_t)g->h * (size_t)g->w, b = hpt__onednn_in_blocks(g->c) ? (size_t)op->dev->cpu->block : 1,
           blocks = ((size_t)g->c + b - 1) / b;
    for (size_t n = 0; n < (size_t)g->n; n++)
        for (size_t c = 0; c < (size_t)g->c; c++)
            for (size_t at = 0; at < hw; at++) {
                size_t from = ((n * blocks + c / b) * hw + at) * b + c % b;
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
    maps_job j = {act, part, g->rows ? (size_t)g->n * (size_t)g->c
                                     : hpt__onednn_values(op->dev, g->n, g->c, g->h, g->w)};
    j.act.act = g->act;
    j.act.bf16 = in_bf16(op);
    hpt__team_run(part_of, &j);
    return HPT_OK;
}
/* of a map's lanes without a channel: what is not 0 where its input is */
static void clear_lanes(const hpt__op *op, void *y) {
    const hpt__geometry *g = &op->d.g;
    size_t size = in_bf16(op) ? 2 : 4, b = (size_t)op->dev->cpu->block, lanes = (size_t)g->c % b,
           hw = (size_t)g->h * (size_t)g->w, blocks = (size_t)g->c / b + 1;
    if (g->rows || !hpt__onednn_in_blocks(g->c) || !lanes) return;
    for (size_t n = 0; n < (size_t)g->n; n++)
        for (size_t at = 0; at < hw; at++)
            memset((char *)y + (((n * blocks + blocks - 1) * hw + at) * b + lanes) * size, 0, (b - lanes) * size);
}
static hpt_status act(hpt__op *op, const hpt__op_args *a) {
    hpt_status st = run(op, (hpt__cpu_act){.a = a->x, .y = a->y}, op->dev->cpu->act);
    if (!st && op->d.g.act == HPT__ACT_SIGMOID) clear_lanes(op, a->y);
    return st;
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
HPT__BLOCKED_OR_PLAIN(bias, NULL, bias);
HPT__BLOCKED_OR_PLAIN(bias_grad, NULL, bias_grad);

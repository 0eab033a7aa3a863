/* SPDX-License-Identifier: MIT
 * Depthwise convolutions by depthwise_cpu.c on the team: all three passes, float and bfloat16, any padding. oneDNN has
 * such kernels, too, but none for gradients of 5x5 weights, none for channels that fill no block, and its sums depend
 * on the number of threads. Weights stay float in every type of maps. */
#include "backend/onednn/onednn.h"

typedef struct depthwise_job {
    hpt__cpu_depthwise depthwise;
    void (*part)(const hpt__cpu_depthwise *, int, int);
} depthwise_job;
static void part_of(void *arg, int t, int nt) {
    depthwise_job *j = arg;
    j->part(&j->depthwise, t, nt);
}

int hpt__onednn_depthwise_fits(const hpt__device *dev, const hpt__op_desc *d) {
    const hpt__geometry *g = &d->g;
    (void)dev;
    return hpt__conv_groups(g) == g->c && g->k == g->c && hpt__onednn_in_blocks(g->c) && g->r <= 11 && g->s <= 11;
}
static size_t buffers(const hpt__op *op) {
    return (op->dev->cpu->depthwise_scratch(&op->d.g, op->dev->threads) + 63) / 64 * 64;
}
hpt_status hpt__onednn_depthwise_create(hpt__op *op) {
    op->scratch = buffers(op);
    if (op->d.kind == HPT__OP_CONV_WEIGHTS) op->scratch += op->dev->cpu->depthwise_partial(&op->d.g);
    return HPT_OK;
}
hpt_status hpt__onednn_depthwise_run(hpt__op *op, const hpt__op_args *a) {
    const hpt__cpu_kernels *cpu = op->dev->cpu;
    depthwise_job j = {{.g = &op->d.g,
                        .bf16 = op->d.dtype == HPT__BF16,
                        .x = a->x,
                        .dy = a->dy,
                        .w = a->w,
                        .y = a->y,
                        .dx = a->dx,
                        .dw = a->dw,
                        .buffers = a->scratch,
                        .partial = (double *)(void *)((char *)a->scratch + buffers(op))},
                       op->d.kind == HPT__OP_CONV        ? cpu->depthwise
                       : op->d.kind == HPT__OP_CONV_DATA ? cpu->depthwise_data
                                                         : cpu->depthwise_weights};
    hpt__team_run(part_of, &j);
    if (op->d.kind != HPT__OP_CONV_WEIGHTS) return HPT_OK;
    j.part = cpu->depthwise_weights_finish;
    hpt__team_run(part_of, &j);
    return HPT_OK;
}

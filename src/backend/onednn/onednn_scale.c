/* SPDX-License-Identifier: MIT
 * Maps times factors by scale_cpu.c on the team, cut by images and blocks of channels, of which none shares a sum with
 * another: any number of threads gives the same bits. */
#include "backend/onednn/onednn.h"
#include "kernels/scale.h"

typedef struct scale_job {
    hpt__cpu_scale scale;
    void (*part)(const hpt__cpu_scale *, int, int);
} scale_job;
static void part_of(void *arg, int t, int nt) { ((scale_job *)arg)->part(&((scale_job *)arg)->scale, t, nt); }
static hpt_status run(hpt__op *op, const hpt__op_args *a, void (*part)(const hpt__cpu_scale *, int, int)) {
    const hpt__geometry *g = &op->d.g;
    scale_job j = {{.g = g,
                    .each = g->rows ? (size_t)g->c : hpt__onednn_values(op->dev, 1, g->c, g->h, g->w),
                    .bf16 = op->d.dtype == HPT__BF16 && !g->rows,
                    .x = a->x,
                    .s = a->b,
                    .r = g->residual ? a->r : NULL,
                    .y = a->y,
                    .dy = a->dy,
                    .dx = a->dx,
                    .ds = a->db},
                   part};
    hpt__team_run(part_of, &j);
    return HPT_OK;
}

static hpt_status scale(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->scale); }
static hpt_status plain_scale(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_scale_f32(&op->d.g, a->x, a->b, a->y);
    return HPT_OK;
}
HPT__BLOCKED_OR_PLAIN(scale, NULL, scale);

static hpt_status scale_grad(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->scale_grad); }
static hpt_status plain_scale_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_scale_backward_f32(&op->d.g, a->x, a->b, a->dy, a->dx, a->db);
    return HPT_OK;
}
HPT__BLOCKED_OR_PLAIN(scale_grad, NULL, scale_grad);

/* an image's values lie together, in whatever order */
static hpt_status drop(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->drop); }
const hpt__impl hpt__onednn_drop[] = {{.name = "cpu", .run = drop}, HPT__IMPL_END};

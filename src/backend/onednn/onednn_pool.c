/* SPDX-License-Identifier: MIT
 * Pooling by pool_cpu.c on the team, cut by images and blocks of channels, of which none shares a sum with another:
 * any number of threads gives the same bits. */
#include "backend/onednn/onednn.h"
#include "kernels/pool.h"

typedef struct pool_job {
    hpt__cpu_pool pool;
    void (*part)(const hpt__cpu_pool *, int, int);
} pool_job;
static void part_of(void *arg, int t, int nt) { ((pool_job *)arg)->part(&((pool_job *)arg)->pool, t, nt); }
static hpt_status run(hpt__op *op, const hpt__op_args *a, void (*part)(const hpt__cpu_pool *, int, int)) {
    pool_job j = {{.g = &op->d.g,
              .bf16 = op->d.dtype == HPT__BF16,
              .x = a->x,
              .y = a->y,
              .where = a->aux,
              .dy = a->dy,
              .dy2 = a->dy2,
              .dx = a->dx},
             part};
    hpt__team_run(part_of, &j);
    return HPT_OK;
}

static hpt_status maxpool(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->maxpool); }
static hpt_status plain_maxpool(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_maxpool_forward_f32(&op->d.g, a->x, a->y, a->aux);
    return HPT_OK;
}
HPT__BLOCKED_OR_PLAIN(maxpool, NULL, maxpool);

static hpt_status maxpool_grad(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->maxpool_grad); }
static hpt_status plain_maxpool_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_maxpool_backward_f32(&op->d.g, a->dy, a->dy2, a->aux, a->dx);
    return HPT_OK;
}
HPT__BLOCKED_OR_PLAIN(maxpool_grad, NULL, maxpool_grad);

static hpt_status average(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->average); }
static hpt_status plain_average(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_average_forward_f32(&op->d.g, a->x, a->y);
    return HPT_OK;
}
HPT__BLOCKED_OR_PLAIN(average, NULL, average);

static hpt_status average_grad(hpt__op *op, const hpt__op_args *a) { return run(op, a, op->dev->cpu->average_grad); }
static hpt_status plain_average_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_average_backward_f32(&op->d.g, a->dy, a->dx);
    return HPT_OK;
}
HPT__BLOCKED_OR_PLAIN(average_grad, NULL, average_grad);

/* SPDX-License-Identifier: MIT
 * Batch norm by norm_cpu.c (contract: norm.h): parts of it run on the team, what joins them on one thread. Parts are
 * cut by the shape alone, never by the number of threads, so that sums have the same bits on any team. */
#include "backend/onednn/onednn.h"
#include "kernels/norm.h"

typedef struct norm_job {
    const hpt__cpu_kernels *cpu;
    hpt__cpu_norm norm;
} norm_job;
static void stats_part(void *arg, int t, int nt) {
    norm_job *j = arg;
    j->cpu->norm_stats(&j->norm, t, nt);
}
static void apply_part(void *arg, int t, int nt) {
    norm_job *j = arg;
    j->cpu->norm_apply(&j->norm, t, nt);
}
static void eval_part(void *arg, int t, int nt) {
    norm_job *j = arg;
    j->cpu->norm_eval(&j->norm, t, nt);
}
static void sums_part(void *arg, int t, int nt) {
    norm_job *j = arg;
    j->cpu->norm_grad_sums(&j->norm, t, nt);
}
static void grad_part(void *arg, int t, int nt) {
    norm_job *j = arg;
    j->cpu->norm_grad_apply(&j->norm, t, nt);
}

/* Rows are, byte for byte, maps of 1x1. */
static norm_job job_of(const hpt__op *op, const hpt__op_args *a) {
    return (norm_job){.cpu = op->dev->cpu,
                 .norm = {.g = &op->d.g, .bf16 = op->d.dtype == HPT__BF16 && !op->d.g.rows, .x = a->x, .y_in = a->y_in,
                          .r = a->r, .dy2 = a->dy2, .y = a->y, .dy = a->dy, .dx = a->dx, .w = a->w, .b = a->b,
                          .mean = a->mean, .rstd = a->rstd, .run_mean = a->run_mean, .run_var = a->run_var,
                          .dw = a->dw, .db = a->db, .momentum = a->momentum, .partial = a->scratch}};
}
static hpt_status partial_sums(hpt__op *op) {
    op->scratch = op->dev->cpu->norm_scratch(&op->d.g);
    return HPT_OK;
}
static hpt_status norm(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    hpt__team_run(stats_part, &j);
    j.cpu->norm_finish(&j.norm);
    hpt__team_run(apply_part, &j);
    return HPT_OK;
}
static hpt_status norm_eval(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    hpt__team_run(eval_part, &j);
    return HPT_OK;
}
static hpt_status norm_grad(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    hpt__team_run(sums_part, &j);
    j.cpu->norm_grad_finish(&j.norm);
    hpt__team_run(grad_part, &j);
    return HPT_OK;
}

/* in halves, between which ranks exchange what aux holds */
static hpt_status norm_moments(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    hpt__team_run(stats_part, &j);
    j.cpu->norm_moments(&j.norm, a->aux);
    return HPT_OK;
}
static hpt_status norm_joined(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    hpt__ref_norm_join_f32(&op->d.g, a->aux, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum);
    hpt__team_run(apply_part, &j);
    return HPT_OK;
}
static hpt_status norm_grad_sums(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    hpt__team_run(sums_part, &j);
    j.cpu->norm_grad_moments(&j.norm, a->aux);
    return HPT_OK;
}
static hpt_status norm_grad_joined(hpt__op *op, const hpt__op_args *a) {
    norm_job j = job_of(op, a);
    j.cpu->norm_grad_join(&j.norm, a->aux);
    hpt__team_run(grad_part, &j);
    return HPT_OK;
}

static hpt_status plain_norm(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_train_f32(&op->d.g, a->x, a->w, a->b, a->r, a->y, a->mean, a->rstd, a->run_mean, a->run_var,
                            a->momentum);
    return HPT_OK;
}
static hpt_status plain_norm_eval(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_eval_f32(&op->d.g, a->x, a->w, a->b, a->r, a->y, a->run_mean, a->run_var);
    return HPT_OK;
}
static hpt_status plain_norm_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_backward_f32(&op->d.g, a->x, a->y_in, a->w, a->b, a->mean, a->rstd, a->dy, a->dy2, a->dx, a->dw,
                               a->db);
    return HPT_OK;
}
static hpt_status plain_norm_moments(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_moments_f32(&op->d.g, a->x, a->aux);
    return HPT_OK;
}
static hpt_status plain_norm_joined(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_join_f32(&op->d.g, a->aux, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum);
    hpt__ref_norm_apply_f32(&op->d.g, a->x, a->w, a->b, a->r, a->y, a->mean, a->rstd);
    return HPT_OK;
}
static hpt_status plain_norm_grad_sums(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_grad_sums_f32(&op->d.g, a->x, a->y_in, a->w, a->b, a->mean, a->rstd, a->dy, a->dy2, a->dw, a->db,
                                a->aux);
    return HPT_OK;
}
static hpt_status plain_norm_grad_joined(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_norm_grad_joined_f32(&op->d.g, a->x, a->w, a->mean, a->rstd, a->dy, a->aux, a->dx);
    return HPT_OK;
}

HPT__BLOCKED_OR_PLAIN(norm_moments, partial_sums, norm_moments);
HPT__BLOCKED_OR_PLAIN(norm_joined, NULL, norm_joined);
HPT__BLOCKED_OR_PLAIN(norm_grad_sums, partial_sums, norm_grad_sums);
HPT__BLOCKED_OR_PLAIN(norm_grad_joined, partial_sums, norm_grad_joined);
HPT__BLOCKED_OR_PLAIN(norm, partial_sums, norm);
HPT__BLOCKED_OR_PLAIN(norm_eval, NULL, norm_eval);
HPT__BLOCKED_OR_PLAIN(norm_grad, partial_sums, norm_grad);

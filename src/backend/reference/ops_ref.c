/* SPDX-License-Identifier: MIT
 * The operations of the reference backend over maps (N,C,H,W), compiled for float and for double: each is the reference
 * kernel of its contract and nothing else. */
#include "backend/reference/reference.h"
#include "kernels/act.h"
#include "kernels/bias.h"
#include "kernels/conv.h"
#include "kernels/embed.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/pool.h"
#include "kernels/scale.h"
#include <string.h>

#ifdef HPT__REAL_DOUBLE
#define LIST(name) const hpt__impl hpt__reference_##name##_f64[]
#else
#define LIST(name) const hpt__impl hpt__reference_##name##_f32[]
#endif
/* an operation that needs nothing but its run */
#define SERVES(op_) LIST(op_) = {{.name = "reference", .run = op_}, HPT__IMPL_END}

static size_t values(const hpt__geometry *g) { return (size_t)g->n * (size_t)g->c * (size_t)g->h * (size_t)g->w; }

/* ---- ways in and out ---- */

static hpt_status input(hpt__op *op, const hpt__op_args *a) {
    const float *x = a->x;
    real *y = a->y;
    for (size_t i = 0, n = values(&op->d.g); i < n; i++) y[i] = x[i];
    return HPT_OK;
}
static hpt_status output(hpt__op *op, const hpt__op_args *a) {
    memcpy(a->y, a->x, sizeof(real) * values(&op->d.g));
    return HPT_OK;
}
SERVES(input);
SERVES(output);
LIST(enter) = {{.name = "reference", .run = output}, HPT__IMPL_END};      /* a copy, too */

/* ---- convolutions: in a plane of doubles ---- */

static hpt_status plane(hpt__op *op) {
    const hpt__geometry *g = &op->d.g;
    size_t in = (size_t)g->h * g->w, out = (size_t)g->p * g->q;
    op->scratch = 8 * (in > out ? in : out);
    return HPT_OK;
}
static hpt_status conv(hpt__op *op, const hpt__op_args *a) {
    REF(conv_forward)(&op->d.g, a->x, a->w, a->y, a->scratch);
    return HPT_OK;
}
static hpt_status conv_data(hpt__op *op, const hpt__op_args *a) {
    REF(conv_backward_data)(&op->d.g, a->dy, a->w, a->dx, a->scratch);
    return HPT_OK;
}
static hpt_status conv_weights(hpt__op *op, const hpt__op_args *a) {
    REF(conv_backward_weights)(&op->d.g, a->x, a->dy, a->dw);
    return HPT_OK;
}
LIST(conv) = {{.name = "reference", .create = plane, .run = conv}, HPT__IMPL_END};
LIST(conv_data) = {{.name = "reference", .create = plane, .run = conv_data}, HPT__IMPL_END};
SERVES(conv_weights);

static hpt_status bias(hpt__op *op, const hpt__op_args *a) {
    REF(bias)(&op->d.g, a->x, a->b, a->y);
    return HPT_OK;
}
static hpt_status bias_grad(hpt__op *op, const hpt__op_args *a) {
    REF(bias_backward)(&op->d.g, a->dy, a->db);
    return HPT_OK;
}
SERVES(bias);
SERVES(bias_grad);

/* ---- batch norm ---- */

static hpt_status norm(hpt__op *op, const hpt__op_args *a) {
    REF(norm_train)(&op->d.g, a->x, a->w, a->b, a->r, a->y, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum);
    return HPT_OK;
}
static hpt_status norm_eval(hpt__op *op, const hpt__op_args *a) {
    REF(norm_eval)(&op->d.g, a->x, a->w, a->b, a->r, a->y, a->run_mean, a->run_var);
    return HPT_OK;
}
static hpt_status norm_grad(hpt__op *op, const hpt__op_args *a) {
    REF(norm_backward)(&op->d.g, a->x, a->y_in, a->w, a->b, a->mean, a->rstd, a->dy, a->dy2, a->dx, a->dw,
                           a->db);
    return HPT_OK;
}
SERVES(norm);
SERVES(norm_eval);
SERVES(norm_grad);

/* in halves, between which ranks exchange what aux holds */
static hpt_status norm_moments(hpt__op *op, const hpt__op_args *a) {
    REF(norm_moments)(&op->d.g, a->x, a->aux);
    return HPT_OK;
}
static hpt_status norm_joined(hpt__op *op, const hpt__op_args *a) {
    REF(norm_join)(&op->d.g, a->aux, a->mean, a->rstd, a->run_mean, a->run_var, a->momentum);
    REF(norm_apply)(&op->d.g, a->x, a->w, a->b, a->r, a->y, a->mean, a->rstd);
    return HPT_OK;
}
static hpt_status norm_grad_sums(hpt__op *op, const hpt__op_args *a) {
    REF(norm_grad_sums)(&op->d.g, a->x, a->y_in, a->w, a->b, a->mean, a->rstd, a->dy, a->dy2, a->dw, a->db, a->aux);
    return HPT_OK;
}
static hpt_status norm_grad_joined(hpt__op *op, const hpt__op_args *a) {
    REF(norm_grad_joined)(&op->d.g, a->x, a->w, a->mean, a->rstd, a->dy, a->aux, a->dx);
    return HPT_OK;
}
SERVES(norm_moments);
SERVES(norm_joined);
SERVES(norm_grad_sums);
SERVES(norm_grad_joined);

/* ---- pooling ---- */

static hpt_status maxpool(hpt__op *op, const hpt__op_args *a) {
    REF(maxpool_forward)(&op->d.g, a->x, a->y, a->aux);
    return HPT_OK;
}
static hpt_status maxpool_grad(hpt__op *op, const hpt__op_args *a) {
    REF(maxpool_backward)(&op->d.g, a->dy, a->dy2, a->aux, a->dx);
    return HPT_OK;
}
static hpt_status average(hpt__op *op, const hpt__op_args *a) {
    REF(average_forward)(&op->d.g, a->x, a->y);
    return HPT_OK;
}
static hpt_status average_grad(hpt__op *op, const hpt__op_args *a) {
    REF(average_backward)(&op->d.g, a->dy, a->dx);
    return HPT_OK;
}
SERVES(maxpool);
SERVES(maxpool_grad);
SERVES(average);
SERVES(average_grad);

/* ---- linear layers ---- */

static hpt_status linear(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    REF(gemm)(0, 1, g->n, g->k, g->c, 1, a->x, g->c, a->w, g->c, 0, a->y, g->k);
    REF(add_bias)(g->n, g->k, a->b, g->act == HPT__ACT_RELU, a->y);
    return HPT_OK;
}
static hpt_status linear_grad(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    if (g->act == HPT__ACT_RELU) REF(relu_backward)((size_t)g->n * g->k, a->y_in, a->dy, a->dy);
    REF(gemm)(1, 0, g->k, g->c, g->n, 1, a->dy, g->k, a->x, g->c, 0, a->dw, g->c);
    if (a->db) REF(sum_rows)(g->n, g->k, a->dy, a->db);
    if (a->dx) REF(gemm)(0, 0, g->n, g->c, g->k, 1, a->dy, g->k, a->w, g->c, 0, a->dx, g->c);
    return HPT_OK;
}
SERVES(linear);
SERVES(linear_grad);

/* ---- rows of one length ---- */

static hpt_status unit(hpt__op *op, const hpt__op_args *a) {
    REF(unit)(op->d.g.n, op->d.g.c, a->x, op->d.g.scale, a->y);
    return HPT_OK;
}
static hpt_status unit_grad(hpt__op *op, const hpt__op_args *a) {
    REF(unit_backward)(op->d.g.n, op->d.g.c, a->x, op->d.g.scale, a->dy, a->dx);
    return HPT_OK;
}
SERVES(unit);
SERVES(unit_grad);

/* ---- value by value ---- */

static hpt_status act(hpt__op *op, const hpt__op_args *a) {
    REF(act)(values(&op->d.g), op->d.g.act, a->x, a->y);
    return HPT_OK;
}
static hpt_status act_grad(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    REF(act_backward)(values(g), g->act, a->x, a->y_in, a->dy, g->extra_grad ? a->dy2 : NULL, a->dx);
    return HPT_OK;
}
static hpt_status sum(hpt__op *op, const hpt__op_args *a) {
    REF(sum)(values(&op->d.g), a->x, op->d.g.residual ? a->r : NULL, a->y);
    return HPT_OK;
}
SERVES(act);
SERVES(act_grad);
SERVES(sum);

/* ---- times factors ---- */

static hpt_status scale(hpt__op *op, const hpt__op_args *a) {
    REF(scale)(&op->d.g, a->x, a->b, a->y);
    return HPT_OK;
}
static hpt_status scale_grad(hpt__op *op, const hpt__op_args *a) {
    REF(scale_backward)(&op->d.g, a->x, a->b, a->dy, a->dx, a->db);
    return HPT_OK;
}
static hpt_status drop(hpt__op *op, const hpt__op_args *a) {
    size_t n = (size_t)op->d.g.n;
    REF(drop)(n, values(&op->d.g) / n, a->x, a->b, op->d.g.residual ? a->r : NULL, a->y);
    return HPT_OK;
}
SERVES(scale);
SERVES(scale_grad);
SERVES(drop);

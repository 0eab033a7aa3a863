/* SPDX-License-Identifier: MIT
 * Products by oneDNN, the linear layers over them, and the table of operations on rows (contracts: gemm.h, embed.h,
 * heads.h). What is no product comes from host/, which the reference backend uses, too. */
#include "backend/onednn/onednn.h"
#include "kernels/embed.h"

hpt_status hpt__onednn_gemm(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha,
                            const void *a, int lda, const void *b, int ldb, double beta, void *c, int ldc) {
    hpt_status st = hpt__onednn_whole(dev);
    (void)t;
    if (st) return st;
    DNNL(dev, dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, (float)alpha, a, lda, b, ldb, (float)beta, c, ldc));
done:
    return st;
}

static hpt_status linear(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    hpt_status st =
        hpt__onednn_gemm(op->dev, HPT__F32, 0, 1, g->n, g->k, g->c, 1, a->x, g->c, a->w, g->c, 0, a->y, g->k);
    if (!st) hpt__ref_add_bias_f32(g->n, g->k, a->b, g->act == HPT__ACT_RELU, a->y);
    return st;
}
static hpt_status linear_grad(hpt__op *op, const hpt__op_args *a) {
    const hpt__geometry *g = &op->d.g;
    if (g->act == HPT__ACT_RELU) hpt__ref_relu_backward_f32((size_t)g->n * g->k, a->y_in, a->dy, a->dy);
    if (a->db) hpt__ref_sum_rows_f32(g->n, g->k, a->dy, a->db);
    hpt_status st =
        hpt__onednn_gemm(op->dev, HPT__F32, 1, 0, g->k, g->c, g->n, 1, a->dy, g->k, a->x, g->c, 0, a->dw, g->c);
    if (!st && a->dx)
        st = hpt__onednn_gemm(op->dev, HPT__F32, 0, 0, g->n, g->c, g->k, 1, a->dy, g->k, a->w, g->c, 0, a->dx, g->c);
    return st;
}
const hpt__impl hpt__onednn_linear[] = {{.name = "gemm", .run = linear}, HPT__IMPL_END};
const hpt__impl hpt__onednn_linear_grad[] = {{.name = "gemm", .run = linear_grad}, HPT__IMPL_END};

/* of features: nothing beside the products */
static hpt_status unit(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_unit_f32(op->d.g.n, op->d.g.c, a->x, op->d.g.scale, a->y);
    return HPT_OK;
}
static hpt_status unit_grad(hpt__op *op, const hpt__op_args *a) {
    hpt__ref_unit_backward_f32(op->d.g.n, op->d.g.c, a->x, op->d.g.scale, a->dy, a->dx);
    return HPT_OK;
}
const hpt__impl hpt__onednn_unit[] = {{.name = "reference", .run = unit}, HPT__IMPL_END};
const hpt__impl hpt__onednn_unit_grad[] = {{.name = "reference", .run = unit_grad}, HPT__IMPL_END};

const hpt__rows_ops hpt__onednn_rows = {
    .gemm = hpt__onednn_gemm,
    .l2norm = hpt__host_l2norm,
    .l2norm_grad = hpt__host_l2norm_grad,
    .gather = hpt__host_gather,
    .mix = hpt__host_mix,
    .sum_rows = hpt__host_sum_rows,
    .add_bias = hpt__host_add_bias,
    .softmax_ce = hpt__host_softmax_ce,
    .bce = hpt__host_bce,
    .classify = hpt__host_classify,
    .entropy = hpt__host_entropy,
    .mean_loss = hpt__host_mean_loss,
};

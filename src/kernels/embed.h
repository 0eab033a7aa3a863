/* SPDX-License-Identifier: MIT
 * embed - small operations on rows of embeddings and images. Deterministic; written once, float and double.
 *
 *   l2norm          y[n] = x[n] / max(|x[n]|, 1e-12); norm[n] = that maximum. A zero row stays zero.
 *   l2norm_backward dx[n] = (dy[n] - y[n]*<y[n],dy[n]>) / norm[n]     (norm at its floor: dy/norm)
 *   unit            y[n] = scale * x[n] / max(|x[n]|, 1e-12): rows of one length. In place allowed.
 *   unit_backward   dx[n] = scale * (dy[n] - u*<u,dy[n]>) / |x[n]|, u = x[n]/|x[n]|   (length at its floor:
 *                   scale * dy / 1e-12). A scale of the other sign than unit had turns the gradient around (Ganin and
 *                   Lempitsky 2015). In place over dy allowed.
 *   gather          out row i = in row index[i]; rows of d values. No aliasing.
 *   mix             out row i = l * x row i + (1-l) * all row other[i], l = *share in 0..1 (mixup, Zhang et al. 2018):
 *                   two products and a sum, each rounded, l and 1-l to the type first, as torchvision's RandomMixup has
 *                   it. No aliasing.
 *   enqueue         unless o->bad: rows of keys go to queue rows v->ptr, v->ptr+1, ... wrapping at q. n may exceed q:
 *                   the last q stay.
 *   spread          mean over d of the standard deviation over n (biased) of x[.][d], times sqrt(d): 1 for uniform
 *                   directions, 0 = collapse.
 *   agree           o->loss = sum over rows of (2 - 2<x,y>) / images, and dx = -2/images * y: rows of length 1, BYOL's
 *                   regression of one view's target by the other's prediction (Grill et al. 2020, eq. 2), where n =
 *                   2*images rows hold both orders.
 *   relu_backward   dx = dy where y > 0 else 0; in place allowed. add_bias: y[n][j] += b[j] (b may be NULL), then relu
 *                   if asked.
 *   sum_rows        out[j] = sum over n of x[n][j]. */
#ifndef HPT__EMBED_H
#define HPT__EMBED_H
#include "kernels/optim.h"
#include "kernels/real.h"
/* Rows that are mixed with others; on a device. label: of the rows that other counts. */
typedef struct hpt__pair { const double *share; const uint32_t *other; const int32_t *label; } hpt__pair;
#define HPT__DECL(T, x_) \
    void hpt__ref_mix_##x_(int n, size_t d, const T *x, const T *all, const hpt__pair *p, T *out); \
    void hpt__ref_l2norm_##x_(int n, int d, const T *x, T *y, T *norm); \
    void hpt__ref_l2norm_backward_##x_(int n, int d, const T *y, const T *norm, const T *dy, T *dx); \
    void hpt__ref_unit_##x_(int n, int d, const T *x, double scale, T *y); \
    void hpt__ref_unit_backward_##x_(int n, int d, const T *x, double scale, const T *dy, T *dx); \
    void hpt__ref_gather_##x_(int n, size_t d, const T *in, const uint32_t *index, T *out); \
    void hpt__ref_enqueue_##x_(int n, int d, const T *keys, T *queue, int64_t q, const hpt__vars *v, \
                               const hpt__outcome *o); \
    double hpt__ref_spread_##x_(int n, int d, const T *x); \
    double hpt__ref_agree_##x_(int n, int d, int images, const T *x, const T *y, T *dx); \
    void hpt__ref_relu_backward_##x_(size_t n, const T *y, const T *dy, T *dx); \
    void hpt__ref_add_bias_##x_(int n, int d, const T *b, int relu, T *y); \
    void hpt__ref_sum_rows_##x_(int n, int d, const T *x, T *out);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

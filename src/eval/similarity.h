/* SPDX-License-Identifier: MIT
 * How alike two representations are (Reed et al. 2022, C.7): RV2 of activations, overlap of errors, Welch's test of
 * two groups of scores. */
#ifndef HPT__SIMILARITY_H
#define HPT__SIMILARITY_H
#include "core/progress.h"

/* Modified RV coefficient (Smilde et al. 2009): X (n,p), Y (n,q), columns centred here; with S = X X^T, R = Y Y^T
 * and zero diagonals, <S,R> / sqrt(<S,S> <R,R>), in [-1, 1]. Sums in double; no n x n matrix is kept.
 * HPT_ERR_NUMERIC if one of them is constant. span: of this comparison, total in rows; NULL: part of whatever this
 * thread is doing, which is asked whether to go on. */
hpt_status hpt__rv2(const float *x, uint64_t p, const float *y, uint64_t q, uint64_t n, hpt__span *span, double *out);
/* |A and B| / |A or B| of the images that prediction a and b get wrong; 1 if neither errs. */
double hpt__error_iou(const int32_t *a, const int32_t *b, const int32_t *label, uint64_t n);
/* Welch's t, its degrees of freedom, and the two-sided p. Each group has at least 2 values; HPT_ERR_NUMERIC if both
 * are constant. */
hpt_status hpt__welch(const double *a, uint64_t na, const double *b, uint64_t nb, double *t, double *dof, double *p);
/* Regularised incomplete beta function I_x(a,b), by Lentz's continued fraction. */
double hpt__incomplete_beta(double a, double b, double x);
#endif

/* SPDX-License-Identifier: MIT
 * k nearest neighbours on frozen features (Wu et al. 2018): cosine similarity, each neighbour votes exp(similarity /
 * t) for its label. */
#ifndef HPT__KNN_H
#define HPT__KNN_H
#include "core/context.h"
#include "eval/metrics.h"

/* train (labels.n, dim) */
typedef struct hpt__knn_spec { int dim, k; double t; const float *train; hpt__truth labels; } hpt__knn_spec;
/* votes (n, classes) of the queries (n, dim). k is cut to the number of training images. */
hpt_status hpt__knn_votes(hpt_context *ctx, const hpt__knn_spec *s, const float *queries, uint64_t n, float *votes);
/* Mean over queries of the mean cosine similarity to their k nearest among the n_from others: how near a set of
 * images is to another. */
hpt_status hpt__knn_affinity(hpt_context *ctx, int dim, int k, const float *from, uint64_t n_from,
                             const float *queries, uint64_t n, double *out);
#endif

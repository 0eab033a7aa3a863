/* SPDX-License-Identifier: MIT
 * Linear probe: softmax regression on frozen features, several learning rates in one pass over the data (Reed et al. 2022, separability).
 * Everything is chosen on the validation set; the test set is scored once, at the end. */
#ifndef HPT__LINEAR_H
#define HPT__LINEAR_H
#include "core/context.h"
#include "core/options.h"
#include <jansson.h>

typedef struct hpt__labelled { const float *x; const int32_t *y; uint64_t n; } hpt__labelled;      /* x (n,dim) */

/* Where a training batch comes from; NULL: rows of train in a seeded random order. Fills x (batch,dim) and y. */
typedef hpt_status (*hpt__probe_batch)(void *ctx, uint64_t step, float *x, int32_t *y);

typedef struct hpt__probe {
    hpt_context *ctx;
    int dim, classes;
    hpt__labelled train, val, test;     /* val.n > 0 */
    hpt__probe_batch next;
    void *next_ctx;
    int batch;                          /* with next */
} hpt__probe;

hpt_status hpt__linear_probe(const hpt__probe *p, const hpt__options *o, json_t *result);
/* Class-balanced fifth (at least one of a class with two or more) as validation: flags val[i]. */
hpt_status hpt__probe_holdout(const int32_t *y, uint64_t n, int classes, uint64_t seed, uint8_t *val);
#endif

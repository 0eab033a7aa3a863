/* SPDX-License-Identifier: MIT
 * Linear probe on frozen features, several learning rates and schedules in one pass over the data (Reed et al. 2022,
 * separability): softmax regression, or with several labels an image one logistic regression a class. Everything is
 * chosen on the validation set; the test set is scored once, at the end. */
#ifndef HPT__LINEAR_H
#define HPT__LINEAR_H
#include "core/context.h"
#include "core/options.h"
#include "eval/metrics.h"

/* x (n,dim); y, or multi (n,classes) */
typedef struct hpt__labelled {
    const float *x;
    const int32_t *y;
    uint64_t n;
    const uint8_t *multi;
    const uint64_t *object;     /* what each image shows, or NULL; where a part is held out it stays whole */
} hpt__labelled;

/* Where a training batch comes from; NULL: rows of train in a seeded random order. Fills x (batch,dim) and the
 * images' numbers in train. */
typedef hpt_status (*hpt__probe_batch)(void *ctx, uint64_t step, float *x, uint64_t *index);

/* Training batches go on at this step (work_file); NULL with next NULL. */
typedef hpt_status (*hpt__probe_seek)(void *ctx, uint64_t step);

/* The classifier that was chosen, for features as they come: (classes,dim) and (classes). hpt__free() both. */
typedef struct hpt__head { float *w, *b; int classes; } hpt__head;

typedef struct hpt__probe {
    hpt_context *ctx;
    int dim, classes;
    hpt__labelled train, val, test;     /* val.n > 0 */
    hpt__probe_batch next;
    hpt__probe_seek seek;
    void *next_ctx;
    int batch;                          /* with next */
    float *test_logits;                 /* (test.n,classes) of the head that was chosen, or NULL */
    hpt__head *head;                    /* or NULL. With probe_scale=unit for features of length 1 */
    /* which images train is made of; 0 unknown. Work under way goes on for the same ones only */
    uint64_t images;
} hpt__probe;

hpt_status hpt__linear_probe(const hpt__probe *p, const hpt__options *o, json_t *result);
/* Class-balanced fifth (at least one of a class with two or more) as validation: flags val[i]. object: or NULL; then
 * objects are what is counted. */
hpt_status hpt__probe_holdout(const int32_t *y, const uint64_t *object, uint64_t n, int classes, uint64_t seed,
                              uint8_t *val);
#endif

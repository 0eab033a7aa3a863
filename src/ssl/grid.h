/* SPDX-License-Identifier: MIT
 * Few-label finetuning (Reed et al. 2022, 4.3 and table 4): the whole network and a linear classifier on a small
 * labelled set, once for each rate and length of a grid; the best on validation images is kept. */
#ifndef HPT__GRID_H
#define HPT__GRID_H
#include "eval/linear.h"
#include "ssl/joined.h"
#include "ssl/labelled.h"

/* What the grid's best run ended with: weights at its best evaluation. */
typedef struct hpt__tuned {
    hpt__joined best;
    hpt__pixels pixels;     /* what its images were normalised with */
} hpt__tuned;

/* val NULL: a class-balanced fifth of train. Everything is chosen on val; test (may be NULL) is scored once.
 * test_logits: (test images, classes), NaN where one cannot be read; or NULL. */
hpt_status hpt__finetune(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test, const hpt__options *o,
                         json_t *result, hpt__tuned *best, float *test_logits);
/* A copy of the model becomes the tuned one, with a classifier of the classes of train. */
hpt_status hpt__tuned_give(const hpt__tuned *t, const hpt_dataset *train, hpt_model *m);
hpt_status hpt__tuned_head(const hpt__tuned *t, hpt__head *out);    /* the classifier's numbers, copied */
void hpt__tuned_free(hpt__tuned *t);
#endif

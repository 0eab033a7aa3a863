/* SPDX-License-Identifier: MIT
 * Few-label finetuning (Reed et al. 2022, 4.3 and table 4): the whole network and a linear classifier on a small
 * labelled set. */
#ifndef HPT__FINETUNE_H
#define HPT__FINETUNE_H
#include "nn/model.h"
#include "ssl/labelled.h"

/* What the grid's best run ended with: weights at its best evaluation. Arrays of the model's sizes, and of the
 * classifier's. */
/* pixels: what its images were normalised with */
typedef struct hpt__tuned { float *params, *stats, *w, *b; int classes; hpt__pixels pixels; } hpt__tuned;

/* val NULL: a class-balanced fifth of train. Everything is chosen on val; test (may be NULL) is scored once.
 * test_logits: (test images, classes), NaN where one cannot be read; or NULL. */
hpt_status hpt__finetune(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test, const hpt__options *o,
                         json_t *result, hpt__tuned *best, float *test_logits);
/* Its classifier, with the classes of train, in place of the one that is there. */
hpt_status hpt__tuned_classifier(const hpt__tuned *t, const hpt_dataset *train, int features, hpt__classifier *fc);
void hpt__tuned_free(hpt__tuned *t);
#endif

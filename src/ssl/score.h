/* SPDX-License-Identifier: MIT
 * How often a model's own classifier is right on labelled images: the score of a run that learns labels, and that of
 * its end on a test set. Classes are matched by name. */
#ifndef HPT__SCORE_H
#define HPT__SCORE_H
#include "data/dataset.h"
#include "nn/model.h"
#include <jansson.h>

typedef struct hpt__right {
    uint64_t read, right;   /* images that can be read, those of them whose class is the likeliest */
    double top1;            /* percent of them; NaN: none */
    double class_mean;      /* mean over the classes that have an image of their percent */
    int classes;            /* that have one */
} hpt__right;

/* to: class of the classifier that a class of ds is (hpt__taught_match), NULL: the same number. */
hpt_status hpt__classifier_right(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const int32_t *to,
                                 hpt__right *out);
/* The same with its classes matched, into {test_top1, test_class_mean, test_images, test_classes, ...}. */
hpt_status hpt__model_score(hpt_model *m, hpt_dataset *test, const hpt__options *o, json_t *result);
#endif

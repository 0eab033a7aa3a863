/* SPDX-License-Identifier: MIT
 * What the supervised evaluations share: labelled sets that fit each other, and one normalisation for all of them. */
#ifndef HPT__LABELLED_H
#define HPT__LABELLED_H
#include "data/dataset.h"
#include "eval/metrics.h"

/* Sets of one evaluation; val and test may be NULL. Options are those given, with the training set's mean and std filled in. */
typedef struct hpt__sets {
    hpt_dataset *ds[3];             /* train, val, test */
    hpt__truth truth[3];
    int32_t *y[3];
    uint8_t *multi[3];
    int classes;
    hpt__options opt;
} hpt__sets;

/* HPT_ERR_ARGUMENT: no labels, one label here and several there, a label that train does not have, a class of train without an image, or images
 * that two of the sets share. Nothing is trained before. */
hpt_status hpt__sets_open(hpt__sets *s, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test, const hpt__options *base);
void hpt__sets_close(hpt__sets *s);
extern const char *const hpt__set_names[3];
#endif

/* SPDX-License-Identifier: MIT
 * A model's backbone with a classifier behind it as one network, which trains as one (method=supervised, finetuning)
 * and becomes the two again. Tensors of the backbone come first in both, in the same order, so its parameters and
 * statistics lie at the same places. */
#ifndef HPT__JOINED_H
#define HPT__JOINED_H
#include "nn/model.h"

typedef struct hpt__joined {
    hpt__net net;          /* backbone, and the classifier's tensors under its names */
    float *params, *stats;
} hpt__joined;

/* Zeros, for a classifier of that form. */
hpt_status hpt__joined_open(hpt__joined *j, const hpt_model *m, hpt__classifier_form form, int classes);
void hpt__joined_close(hpt__joined *j);                                            /* none is fine */
/* The model's backbone, and the classifier's weights unless it is NULL. */
void hpt__joined_set(hpt__joined *j, const hpt_model *m, const hpt__classifier *fc);
/* Back into a model of that backbone and a classifier of that size. */
void hpt__joined_give(const hpt__net *net, const float *params, const float *stats, hpt_model *m, hpt__classifier *fc);
#endif

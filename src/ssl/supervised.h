/* SPDX-License-Identifier: MIT
 * Supervised training as a method of the trainer: cross-entropy of a linear layer on the features, or with several
 * labels an image one logistic regression a class; all of it trained.
 */
#ifndef HPT__SUPERVISED_H
#define HPT__SUPERVISED_H
#include "train/head.h"
#include "train/trainer.h"

typedef struct hpt__supervised_own {
    double smoothing, mixup; /* alpha; 0: none */
} hpt__supervised_own;

/* trainer.self. n images on this rank, K classes. */
typedef struct hpt__supervised {
    hpt__supervised_own own;
    hpt__weights model; /* backbone and classifier, one network as torchvision has it */
    hpt__plan *plan;
    const hpt__loss *loss;
    void *logits, *weight; /* (n,K), then their gradient; (K) of the classes, or NULL: all 1 */
    float *losses;         /* (n,K) where an image has several labels */
    /* mixup: of all ranks, where there are several, (all,3,size,size) and (all); what trains (n,3,size,size) */
    float *all_images, *mixed;
    int32_t *all_labels;
} hpt__supervised;

extern const hpt__method hpt__method_supervised;
#endif

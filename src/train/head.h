/* SPDX-License-Identifier: MIT
 * What a classifier loses: softmax for one label of an image, sigmoid for several. A loss is a row of a table, so that
 * a method and finetuning have the same. */
#ifndef HPT__HEAD_H
#define HPT__HEAD_H
#include "train/optimizer.h"

/* Logits and what is true of their rows. */
typedef struct hpt__scored {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__dtype dtype;
    int n, classes;
    void *logits;               /* real (n,classes); then their gradient, of the mean loss of the rows */
    const void *truth;          /* of a row: one int32, or with several labels (classes) float */
    const void *weight;         /* real (classes), or NULL: all 1; of one label */
    double smoothing;           /* of labels, likewise */
    const hpt__pair *mix;       /* rows that are mixed with others, or NULL; likewise */
    float *losses;              /* room for (n,classes), of several labels */
    hpt__outcome *outcome;      /* gets the mean loss */
} hpt__scored;

typedef struct hpt__loss {
    const char *name;
    int several;                /* a row has several labels */
    void (*run)(const hpt__scored *s);
} hpt__loss;
extern const hpt__loss hpt__loss_softmax, hpt__loss_sigmoid;
static inline const hpt__loss *hpt__loss_for(int several) {
    return several ? &hpt__loss_sigmoid : &hpt__loss_softmax;
}
/* Bytes of a row's truth. */
static inline size_t hpt__loss_truth(const hpt__loss *l, int classes) { return l->several ? 4 * (size_t)classes : 4; }
#endif

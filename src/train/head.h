/* SPDX-License-Identifier: MIT
 * Classifiers on rows of features, and what they lose. A loss is a row of a table, so that a method, finetuning and the
 * probe have the same; classifiers side by side are one matrix of (heads*classes, dim): one product gives the logits of
 * all of them, and one more each gradient. */
#ifndef HPT__HEAD_H
#define HPT__HEAD_H
#include "train/optimizer.h"

/* Logits and what is true of their rows. */
typedef struct hpt__scored {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__dtype dtype;
    int n, heads, classes;
    void *logits;               /* real (n,heads*classes); then their gradient, of the mean loss of the rows */
    const void *truth;          /* of a row: one int32, or with several labels (classes) float */
    const void *weight;         /* real (classes), or NULL: all 1; with an outcome and one label */
    double smoothing;           /* of labels, likewise */
    const hpt__pair *mix;       /* rows that are mixed with others, or NULL; likewise */
    float *losses;              /* room for (n,classes), with an outcome and several labels */
    hpt__outcome *outcome;      /* gets the mean loss, of one head; NULL: nobody asks */
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

/* Classifiers that learn side by side from float features that lie on the host. */
typedef struct hpt__heads {
    const hpt__loss *loss;
    hpt__pool pool;
    hpt__net net;
    hpt__weights w;             /* (heads*classes,dim), (heads*classes); head h is group h+1 */
    int heads, classes, dim;
    float *x, *logits;          /* (n,dim) where the host's memory is not the device's; (n,heads*classes) */
    void *truth;
    hpt__vars *vars;
    double sent[HPT__GROUPS];   /* rates that vars holds */
} hpt__heads;
/* n: most rows at once; heads: at most HPT__GROUPS. Weights are 0. */
hpt_status hpt__heads_open(hpt__heads *h, const hpt_context *ctx, const hpt__loss *loss, int heads, int classes,
                           int dim, int n);
void hpt__heads_close(hpt__heads *h);
hpt_status hpt__heads_logits(hpt__heads *h, int n, const float *x, float *out);
/* One update of every head at its own rate. */
hpt_status hpt__heads_step(hpt__heads *h, int n, const float *x, const void *truth, const hpt__optimizer *o,
                           const double *rate);
#endif

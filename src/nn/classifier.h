/* SPDX-License-Identifier: MIT
 * A classifier on a backbone's features as part of a model: one linear layer, and what it tells apart. It is a
 * network of its own (family mlp), so that it is planned, trained, saved and loaded as any other. */
#ifndef HPT__CLASSIFIER_H
#define HPT__CLASSIFIER_H
#include "nn/net.h"

typedef struct hpt__classifier {
    hpt__net net;           /* fc.weight (classes,features), fc.bias (classes); all zero: there is no classifier */
    float *params;
    char **name;            /* of the classes; NULL: they are numbers */
    int several;            /* 1: an image may have several of them (sigmoid); 0: it has one (softmax) */
} hpt__classifier;

static inline int hpt__classes(const hpt__classifier *c) { return c->net.arch.dim; }

/* With weights zero; name (NULL: none) is copied. On failure there is none to free. */
hpt_status hpt__classifier_create(hpt__classifier *c, int features, int classes, int several, char *const *name);
hpt_status hpt__classifier_copy(hpt__classifier *to, const hpt__classifier *from);
void hpt__classifier_fini(hpt__classifier *c);      /* none is fine */
float *hpt__classifier_weight(const hpt__classifier *c);
float *hpt__classifier_bias(const hpt__classifier *c);
#endif

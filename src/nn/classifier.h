/* SPDX-License-Identifier: MIT
 * A classifier on a backbone's features as part of a model: one linear layer, or one or two of which the last reads
 * directions (arch.temperature, net.h), and what it tells apart. It is a network of its own (family mlp), so that it is
 * planned, trained, saved and loaded as any other. */
#ifndef HPT__CLASSIFIER_H
#define HPT__CLASSIFIER_H
#include "nn/net.h"

typedef struct hpt__classifier {
    /* all zero: there is no classifier. fc.weight (classes,features), fc.bias (classes). With a temperature fc.weight
     * alone, or fc1.weight (hidden,features), fc1.bias (hidden), fc2.weight (classes,hidden) */
    hpt__net net;
    float *params;
    char **name;            /* of the classes; NULL: they are numbers */
    int several;            /* 1: an image may have several of them (sigmoid); 0: it has one (softmax) */
} hpt__classifier;

static inline int hpt__classes(const hpt__classifier *c) { return c->net.arch.dim; }

/* Which of them: temperature 0: one linear layer; hidden 0: the direction of the features is classified. */
typedef struct hpt__classifier_form { double temperature; int hidden; } hpt__classifier_form;
static inline hpt__classifier_form hpt__classifier_form_of(const hpt__classifier *c) {
    return (hpt__classifier_form){c->net.arch.temperature, c->net.arch.mlp ? c->net.arch.hidden : 0};
}
/* With weights zero; name (NULL: none) is copied. On failure there is none to free. */
hpt_status hpt__classifier_create(hpt__classifier *c, int features, int classes, int several, char *const *name);
hpt_status hpt__classifier_create_as(hpt__classifier *c, hpt__classifier_form form, int features, int classes,
                                     int several, char *const *name);
hpt_status hpt__classifier_copy(hpt__classifier *to, const hpt__classifier *from);
void hpt__classifier_fini(hpt__classifier *c);      /* none is fine */
/* of one linear layer */
float *hpt__classifier_weight(const hpt__classifier *c);
float *hpt__classifier_bias(const hpt__classifier *c);
#endif

/* SPDX-License-Identifier: MIT
 * What a session of a method that learns from labels has beside others': the classes, the label of each image, and a
 * network of the model's backbone with its classifier behind it, which trains as one and becomes the two again. */
#ifndef HPT__TAUGHT_H
#define HPT__TAUGHT_H
#include "data/dataset.h"
#include "ssl/joined.h"

typedef struct hpt__taught {
    hpt__joined joined;    /* at the beginning; no tensors: the method has no labels */
    hpt__classifier fc;    /* classes and their names; weights as they were at the beginning */
    int32_t *to;           /* class of fc that a class of the data set is; NULL: the same number */
    int32_t *few_to;       /* likewise, of the few labelled images of another domain (method=mme) */
    double *weight;        /* (classes) option class_weights, mean 1 over the images; NULL: all 1 */
} hpt__taught;

/* The model's classifier if it has one, else a fresh one for the classes of ds. ds NULL: labels come from the host,
 * and option classes says how many classes a fresh one has.
 * HPT_ERR_ARGUMENT: no labels, several an image, a class without an image. HPT_ERR_MISMATCH: a class that the
 * classifier lacks. */
hpt_status hpt__taught_open(hpt__taught *t, const hpt__options *o, const hpt_model *m, const hpt_dataset *ds);
/* Every image has one label. what: how the set is called. HPT_ERR_ARGUMENT. */
hpt_status hpt__taught_one_label(const hpt_dataset *ds, const char *what);
/* The few labelled images of another domain: its classes are the classifier's, and (unless option empty_classes allows
 * it) each of those has an image. HPT_ERR_ARGUMENT, HPT_ERR_MISMATCH. */
hpt_status hpt__taught_few(hpt__taught *t, const hpt__options *o, const hpt_dataset *ds);
/* Its unlabelled images: classes that they have and the classifier lacks are told. */
hpt_status hpt__taught_unlabelled(const hpt__taught *t, const hpt_dataset *ds);
/* Every class of ds is one of fc's, by name where both have names: to[class of ds], NULL where the numbers are equal.
 * HPT_ERR_MISMATCH: a class that fc lacks. */
hpt_status hpt__taught_match(const hpt__classifier *fc, const hpt_dataset *ds, const char *what, int32_t **to);
/* One label an image, of classes that the classifier has; what: how the set is called. */
hpt_status hpt__taught_fits(const hpt__taught *t, const hpt_dataset *ds, const char *what);
void hpt__taught_close(hpt__taught *t);
int32_t hpt__taught_label(const hpt__taught *t, const hpt_dataset *ds, uint64_t i);
int32_t hpt__taught_few_label(const hpt__taught *t, const hpt_dataset *few, uint64_t i);
uint64_t hpt__taught_fingerprint(const hpt__taught *t, const hpt_dataset *ds); /* of the labels */
/* params, stats of net: their backbone becomes the model's, the rest its classifier. */
hpt_status hpt__taught_give(const hpt__taught *t, const float *params, const float *stats, hpt_model *m);
#endif

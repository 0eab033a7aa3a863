/* SPDX-License-Identifier: MIT
 * What the supervised evaluations share: labelled sets that fit each other, with classes matched by name and without
 * the images that cannot be read, and one normalisation for all of them. */
#ifndef HPT__LABELLED_H
#define HPT__LABELLED_H
#include "data/classes.h"
#include "data/dataset.h"
#include "eval/metrics.h"

/* Classes of ds as classes of train, as hpt__classes_match() gives them. HPT_ERR_ARGUMENT: one of them has no
 * labels, one label here and several there, or an image of ds (the text calls it `what`) of a class that train does
 * not have. */
hpt_status hpt__labels_match(const hpt_dataset *train, const hpt_dataset *ds, const char *what, hpt__class_rule *rule,
                             int32_t **to);

/* Sets of one evaluation; val and test may be NULL. Labels are train's classes. Options are those given, with the
 * normalisation filled in. */
typedef struct hpt__sets {
    hpt_dataset *given[3];          /* train, val, test */
    hpt_dataset *ds[3];             /* the images of them that can be read, in order; this struct's own handles */
    hpt__truth truth[3];            /* of ds */
    int32_t *y[3];
    uint8_t *multi[3];
    uint8_t *absent[3];             /* classes of train that have no image in ds */
    hpt__class_rule rule[3];
    int classes;
    hpt__pixels pixels;             /* the normalisation, for all of them */
    hpt__options opt;
} hpt__sets;

/* HPT_ERR_ARGUMENT: no labels, one label here and several there, a class that train does not have, a class of train
 * without an image, or images that two of the sets share. HPT_ERR_DATA: an image that cannot be read
 * (bad_image=error), or none that can. Nothing is trained before. model: how its images are normalised; NULL: only
 * labels are looked at. */
hpt_status hpt__sets_open(hpt__sets *s, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                          const hpt__options *base, const hpt__pixels *model);
void hpt__sets_close(hpt__sets *s);
/* Into the result: images of each set, unreadable ones, classes that only train has, and how classes were matched
 * where there was a choice. */
void hpt__sets_report(const hpt__sets *s, json_t *result);
/* Did an evaluation fail because an image of these sets could not be read any more (bad_image=skip)? Then it is made
 * again, without that image. val and test may be NULL. known: what was unreadable before, from the call with HPT_OK;
 * updated. */
int hpt__sets_again(hpt_status st, const hpt_dataset *train, const hpt_dataset *val, const hpt_dataset *test,
                    uint64_t *known);
/* rows: of the readable images of set i, s->classes values each, in memory for all images given -> in the order
 * given, NaN for the others. */
void hpt__sets_spread(const hpt__sets *s, int i, float *rows);
/* "unreadable": {set: {"count", "names" (at most 100)}} where ds has some, and added to "unreadable_images". */
void hpt__report_unreadable(json_t *result, const char *set, const hpt_dataset *ds);
extern const char *const hpt__set_names[3];
#endif

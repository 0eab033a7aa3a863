/* SPDX-License-Identifier: MIT
 * Task-aware source selection (Reed et al. 2022, 3.3): pretrain on each candidate source on top of the base model,
 * probe on the target's training split, take the candidate with the best score on the target's validation split. No
 * test image has a part in it. */
#ifndef HPT__SEARCH_H
#define HPT__SEARCH_H
#include "nn/model.h"
#include "data/dataset.h"
#include <jansson.h>

typedef struct hpt__search {
    hpt_context *ctx;
    const hpt__options *o;
    hpt_model *base;
    hpt_dataset *const *source;
    const char *const *name;        /* of the sources, for the result */
    int n;
    hpt_dataset *train, *val;       /* the target's */
    hpt_step_fn fn;
    void *user;
} hpt__search;

/* winner: a new model. result: see hpt_source_search(). */
hpt_status hpt__source_search(const hpt__search *s, hpt_model **winner, json_t *result);
#endif

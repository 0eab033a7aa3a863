/* SPDX-License-Identifier: MIT
 * Gradients averaged over the ranks in buckets, from the end of the flat array, where backward begins, as they
 * become ready. */
#ifndef HPT__REDUCE_H
#define HPT__REDUCE_H
#include "train/weights.h"

typedef struct hpt__reduce {
    hpt__comm *comm;
    const hpt__weights *w;
    hpt__dtype dtype;
    size_t end;                 /* values from here on are on their way */
    hpt_status status;
} hpt__reduce;

hpt__reduce hpt__reduce_begin(hpt__comm *comm, const hpt__weights *w, hpt__dtype t);
void hpt__reduce_ready(void *reduce, size_t from);      /* for hpt__plan_backward() */
hpt_status hpt__reduce_rest(hpt__reduce *b);            /* starts what is left; the caller waits for all */
#endif

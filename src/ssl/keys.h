/* SPDX-License-Identifier: MIT
 * MoCo's queue (He et al. 2020): embeddings of earlier key images, the oldest overwritten first, which a query is told
 * apart from. It starts as random unit vectors. */
#ifndef HPT__KEYS_H
#define HPT__KEYS_H
#include "train/trainer.h"

typedef struct hpt__keys {
    int64_t n;                  /* rows */
    void *rows, *low;           /* (n,d); bfloat16 copy in rows of contrast->pitch() values, or NULL */
    int64_t ptr, filled;        /* next row to be written; rows that came from images */
} hpt__keys;

hpt_status hpt__keys_open(hpt__keys *q, hpt__trainer *t, int64_t n);        /* memory, of the trainer's pool */
hpt_status hpt__keys_fill(hpt__keys *q, hpt__trainer *t);
/* Queued: the copy, after rows were set from outside. */
void hpt__keys_prepare(const hpt__keys *q, hpt__trainer *t);
/* Queued, if the step counts: images rows of keys (images,d) enter at vars->ptr; and on the host, once it has. */
void hpt__keys_enter(const hpt__keys *q, hpt__trainer *t, int images, const void *keys, const hpt__vars *vars);
void hpt__keys_entered(hpt__keys *q, int images);
#endif

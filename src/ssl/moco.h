/* SPDX-License-Identifier: MIT
 * MoCo v2 (He et al. 2020; Chen et al. 2020) as a method of the trainer: an encoder that learns, one that follows
 * it, and a queue of the follower's keys. */
#ifndef HPT__MOCO_H
#define HPT__MOCO_H
#include "ssl/keys.h"

typedef struct hpt__moco_own {
    int64_t queue;              /* rows */
    double momentum, tau;       /* of the key encoder; temperature */
    int shuffle;                /* shuffle BN; of no effect where one batch-norm group holds the whole step */
} hpt__moco_own;

/* trainer.self. n images on this rank, of all = n * ranks in the step; d dimensions of an embedding. */
typedef struct hpt__moco {
    hpt__moco_own own;
    hpt__weights q, k;              /* query encoder; key encoder, which follows it */
    hpt__plan *plan_q, *plan_k;
    hpt__keys queue;
    void *z_q, *z_k;                /* (n,d) normalised embeddings */
    void *z_all, *keys;             /* (all,d) keys of all ranks; the same in the order of the batch */
    void *norm, *dz, *scratch;      /* (n) lengths before normalising; (n,d) gradient of z_q */
    void *all_views, *shuffled;     /* (all,3,s,s) key images of all ranks; (n,3,s,s) of this rank in shuffled order */
} hpt__moco;

extern const hpt__method hpt__method_moco;
#endif

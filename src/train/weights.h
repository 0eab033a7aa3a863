/* SPDX-License-Identifier: MIT
 * One network's numbers on a device, as training has them: parameters in the backend's order, running statistics
 * with what they were before the step, gradient and moments if it trains, and a follower's next state if it follows
 * another (He et al. 2020, eq. 2; Grill et al. 2020, eq. 1). Flat arrays of real (float or double) in the layout of
 * the network's tensor table. */
#ifndef HPT__WEIGHTS_H
#define HPT__WEIGHTS_H
#include "nn/model.h"

typedef struct hpt__weights {
    const hpt__net *net;
    const char *role;                   /* in messages: "query", "key", "predictor" */
    void *params;                       /* (n_params); a follower's: those of the last step that counted */
    /* follower: (n_params) of the step to come, params*ema + leader*(1-ema); NULL: no follower */
    void *ahead;
    /* bfloat16 copy of what a forward pass reads, where the backend wants one; else NULL */
    void *low;
    void *stats, *stats_kept;           /* (n_stats) running statistics; those of before the step */
    void *grad, *moment1, *moment2;     /* (n_params); NULL: does not train; moment2: AdamW only */
    void *trust;                        /* (n_tensors) factors of LARS */
    uint8_t *trainable;                 /* host: a flag for each tensor; NULL: does not train */
    struct hpt__weights *follower;      /* who follows these, or NULL */
    /* a follower that moves at the end of a step (BYOL), not at its beginning (MoCo) */
    int after;
} hpt__weights;

/* What a forward pass reads. */
static inline const void *hpt__weights_forward(const hpt__weights *w) { return w->ahead ? w->ahead : w->params; }
/* What is kept of a run and seen from outside: a follower that moves at the beginning of a step has not moved yet. */
static inline void *hpt__weights_kept(const hpt__weights *w) { return w->after ? w->ahead : w->params; }
/* Bytes of the statistics, as copy_if() wants them. */
static inline size_t hpt__weights_stat_bytes(const hpt__weights *w, hpt__dtype t) {
    return (w->net->n_stats * hpt__real_size(t) + 63) / 64 * 64;
}

/* Tensors one after the other that all train, or all do not: values [at, end) of the flat arrays. Begin with {0};
 * each: one tensor alone. */
typedef struct hpt__run { int next, trains; size_t at, end; const hpt__tensor *first; } hpt__run;
int hpt__weights_next_run(const hpt__weights *w, hpt__run *r, int each);
#endif

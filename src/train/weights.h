/* SPDX-License-Identifier: MIT
 * One network's numbers on a device, as training and evaluations have them: parameters in the backend's order, running
 * statistics with what they were before the step, gradient and moments if it trains, and a follower's next state if it
 * follows another (He et al. 2020, eq. 2; Grill et al. 2020, eq. 1). Flat arrays of real (float or double) in the
 * layout of the network's tensor table. And the device memory that they, and whatever else a piece of work needs, are
 * taken from: it is freed as one. */
#ifndef HPT__WEIGHTS_H
#define HPT__WEIGHTS_H
#include "nn/model.h"

/* Device memory that is freed together. Begin with {.be, .dev, .of}. */
typedef struct hpt__pool {
    const hpt__backend *be;
    hpt__device *dev;
    const char *of;                     /* in messages: "a session" */
    void **taken;
    int n, room;
    size_t bytes;                       /* taken in all */
} hpt__pool;
/* Zeroed; nothing once *st is set. */
void *hpt__take(hpt__pool *p, size_t bytes, hpt_status *st);
void hpt__pool_free(hpt__pool *p);      /* all of it; none is fine */

typedef struct hpt__weights {
    const hpt__net *net;
    const char *role;                   /* in messages: "query", "key", "predictor" */
    void *params;                       /* (n_params); a follower's: those of the last step that counted */
    /* follower: (n_params) of the step to come, params*ema + leader*(1-ema); NULL: no follower */
    void *ahead;
    void *low;                          /* bfloat16 copy of what a forward pass reads, if the backend has one */
    void *stats, *stats_kept;           /* (n_stats) running statistics; those of before the step */
    void *grad, *moment1, *moment2;     /* (n_params); NULL: does not train; moment2: AdamW only */
    void *spare;                        /* (n_params) gradient of one of several passes or parts; NULL: there is one */
    void *trust;                        /* (n_tensors) factors of LARS */
    /* what a step of several updates began with: params, moments, low; NULL: not kept */
    void *params_kept, *moment1_kept, *moment2_kept, *low_kept;
    /* host, for each tensor: 0 it stays, g it trains in group g of the optimizer; NULL: nothing trains */
    const uint8_t *trainable;
    struct hpt__weights *follower;      /* who follows these, or NULL */
    int after;                          /* a follower that moves at a step's end (BYOL), not its beginning (MoCo) */
} hpt__weights;

/* Memory for what a forward pass needs. */
hpt_status hpt__weights_open(hpt__pool *p, hpt__dtype t, const hpt__net *net, hpt__weights *w);
/* Plain arrays of the host -> the device and its bfloat16 copy; and back. NULL: not these (params only on the
 * way back). Between leave and enter. */
hpt_status hpt__weights_set(const hpt__pool *p, hpt__dtype t, const hpt__weights *w, const float *params,
                            const float *stats);
hpt_status hpt__weights_get(const hpt__pool *p, hpt__dtype t, const hpt__weights *w, float *params, float *stats);

/* What a forward pass reads. */
static inline const void *hpt__weights_forward(const hpt__weights *w) { return w->ahead ? w->ahead : w->params; }
/* What is kept of a run and seen from outside: a follower that moves at the beginning of a step has not moved yet. */
static inline void *hpt__weights_kept(const hpt__weights *w) { return w->after ? w->ahead : w->params; }
/* Bytes of the statistics, as copy_if() wants them. */
static inline size_t hpt__weights_stat_bytes(const hpt__weights *w, hpt__dtype t) {
    return (w->net->n_stats * hpt__real_size(t) + 63) / 64 * 64;
}

/* Tensors one after the other of one group, or that all stay (group 0): values [at, end) of the flat arrays. Begin with
 * {0}; each: one tensor alone. */
typedef struct hpt__run { int next, group; size_t at, end; const hpt__tensor *first; } hpt__run;
int hpt__weights_next_run(const hpt__weights *w, hpt__run *r, int each);
#endif

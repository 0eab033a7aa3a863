/* SPDX-License-Identifier: MIT
 * MoCo v2 (He et al. 2020; Chen et al. 2020): the state of a run and one step of it, for every backend and any number of ranks. */
#ifndef HPT__MOCO_H
#define HPT__MOCO_H
#include "nn/model.h"
#include "nn/schedule.h"

typedef struct hpt__moco_spec {
    hpt__dtype dtype;
    int batch, size, groups;        /* of this rank: images, edge, batch-norm groups */
    int shuffle, direct, deterministic, graph;      /* graph: record the step once and replay it, where the backend can */
    hpt__rule rule;
    int64_t queue;
    double m, t, momentum, weight_decay, beta1, beta2, eps, trust;
    hpt__schedule schedule;
    uint64_t seed;
    hpt__watch *watch;              /* may give up a step between two operations, which changes nothing; NULL: nobody. Alone on the host only */
    const uint8_t *trainable;       /* a flag for each tensor of the net; copied */
} hpt__moco_spec;

typedef struct hpt__moco_metrics { double loss, acc1, acc5, z_std, lr; int applied; } hpt__moco_metrics;

enum { HPT__RETIRED = 8 };
typedef struct hpt__moco {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__comm *comm;
    hpt__net *net;
    hpt__moco_spec spec;
    uint8_t *trainable;
    hpt__plan *plan_q, *plan_k;
    /* flat device arrays in the backend's order; real = float or double. k: key encoder of the last step that counted; k_next: the one of the
     * step to come, k*m + q*(1-m). *_low: bfloat16 copies where the backend wants them. */
    void *q, *k, *k_next, *grad, *moment1, *moment2, *stats_q, *stats_k, *stats_old_q, *stats_old_k, *queue, *q_low, *k_low, *queue_low;
    void *z_q, *z_k, *z_all, *norm, *dz, *keys, *scratch, *trust;
    void *all_views, *shuffled;     /* key images of all ranks; those of this rank in shuffled order */
    /* what the host gives and gets; two lanes, so that one fills while the other is computed from */
    void *input[HPT__LANES], *input_host[HPT__LANES], *view[HPT__LANES][2], *table, *views[HPT__LANES], *pixels[HPT__LANES], *augment_scratch;
    size_t pixels_cap[HPT__LANES], augment_cap;
    int views_taps[HPT__LANES], raw[HPT__LANES], table_sent, n_retired;
    void *retired[HPT__RETIRED];    /* memory that a step under way may still read; freed when it is finished */
    const float *source[2];         /* host backends read the views where they are */
    hpt__outcome *outcome, *outcome_host;
    hpt__graph_exec *graph[HPT__LANES];
    int lane, launched, staged, warm[HPT__LANES], prepared;
    int64_t ptr, filled;            /* next queue row; rows that came from images */
    uint64_t step;                  /* updates done, left-out ones included */
    double lr, last_wait;           /* of the step launched last; ms that the host waited for the one before */
} hpt__moco;

hpt_status hpt__moco_init(hpt__moco *m, const hpt__backend *be, hpt__device *dev, hpt__comm *comm, hpt__net *net, const hpt__moco_spec *spec,
                          const float *params, const float *stats);
void hpt__moco_fini(hpt__moco *m);

/* One step on views (batch,3,size,size). If anything is not finite (optim.h, HPT__BAD_*), nothing changes (except the step count when advance is set,
 * so that schedule and data move on), metrics.applied is 0, and the result is HPT_ERR_NUMERIC with the tensor named. */
hpt_status hpt__moco_step(hpt__moco *m, const float *view_q, const float *view_k, int advance, hpt__moco_metrics *out);

/* Its parts, so that the images of the next step travel while this one computes: stage, launch, stage the next, finish, launch, ...
 * later: the views lie in memory of host_alloc and stay as they are until hpt__moco_staged(); else they are free when stage returns. */
hpt_status hpt__moco_stage(hpt__moco *m, const float *view_q, const float *view_k, int later);
/* Instead: 8-bit images and draws for all 2*batch views (query views first), augmented by the backend. table: hpt__normalize_table(). */
hpt_status hpt__moco_stage_raw(hpt__moco *m, const uint8_t *pixels, size_t bytes, const hpt__view *views, const float *table);
hpt_status hpt__moco_staged(hpt__moco *m);
hpt_status hpt__moco_launch(hpt__moco *m);
hpt_status hpt__moco_finish(hpt__moco *m, int advance, hpt__moco_metrics *out);
#endif

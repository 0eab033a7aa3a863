/* SPDX-License-Identifier: MIT
 * MoCo v2 (He et al. 2020; Chen et al. 2020): the state of a run and one step of it, for every backend. */
#ifndef HPT__MOCO_H
#define HPT__MOCO_H
#include "nn/model.h"
#include "nn/schedule.h"

typedef struct hpt__moco_spec {
    hpt__dtype dtype;
    int batch, size, groups, shuffle, direct, adamw;
    int64_t queue;
    double m, t, momentum, weight_decay, beta1, beta2, eps;
    hpt__schedule schedule;
    uint64_t seed;
    const uint8_t *trainable;       /* a flag for each tensor of the net; copied */
} hpt__moco_spec;

typedef struct hpt__moco_metrics { double loss, acc1, acc5, z_std, lr; int applied; } hpt__moco_metrics;

typedef struct hpt__moco {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__net *net;
    hpt__moco_spec spec;
    uint8_t *trainable;
    hpt__plan *plan_q, *plan_k;
    /* flat device arrays in the backend's order; real = float or double */
    void *q, *k, *k_next, *grad, *moment1, *moment2, *stats_q, *stats_k, *stats_old_q, *stats_old_k, *queue;
    void *z_q, *z_k, *norm, *dz, *keys, *scratch;
    float *shuffled;                /* key images in shuffled order */
    uint32_t *perm, *inverse;
    int64_t ptr, filled;            /* next queue row; rows that came from images */
    uint64_t step;                  /* updates done, left-out ones included */
} hpt__moco;

hpt_status hpt__moco_init(hpt__moco *m, const hpt__backend *be, hpt__device *dev, hpt__net *net, const hpt__moco_spec *spec,
                          const float *params, const float *stats);
void hpt__moco_fini(hpt__moco *m);
/* One step on views (batch,3,size,size). If loss or gradient is not finite, nothing changes (except the step count when advance is set,
 * so that schedule and data move on), metrics.applied is 0, and the result is HPT_ERR_NUMERIC with the tensor named. */
hpt_status hpt__moco_step(hpt__moco *m, const float *view_q, const float *view_k, int advance, hpt__moco_metrics *out);
#endif

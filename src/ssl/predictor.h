/* SPDX-License-Identifier: MIT
 * BYOL's predictor (Grill et al. 2020): two linear layers with batch norm between them, on the projections of the
 * online network. A network of its own beside the model's; it begins anew with each run. */
#ifndef HPT__PREDICTOR_H
#define HPT__PREDICTOR_H
#include "train/trainer.h"

typedef struct hpt__predictor {
    hpt__net net;
    uint8_t *all;               /* (n_tensors) it trains whole */
    hpt__weights weights;
    hpt__plan *plan;
} hpt__predictor;

/* For rows of d values, hidden between the layers; rows of a pass, groups of batch norm. */
hpt_status hpt__predictor_open(hpt__predictor *p, hpt__trainer *t, int d, int hidden, int rows, int groups);
hpt_status hpt__predictor_fill(const hpt__predictor *p, hpt__trainer *t);
void hpt__predictor_close(hpt__predictor *p);
#endif

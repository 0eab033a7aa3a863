/* SPDX-License-Identifier: MIT
 * BYOL (Grill et al. 2020) as a method of the trainer: an online network that predicts what a target network, which
 * follows it, makes of the other view. */
#ifndef HPT__BYOL_H
#define HPT__BYOL_H
#include "ssl/predictor.h"

typedef struct hpt__byol_own {
    double momentum;            /* of the target network at the first step; rises to 1 by a cosine over the run */
    int hidden;                 /* values between the predictor's two layers */
} hpt__byol_own;

/* trainer.self. n images on this rank, so 2n rows: the first view of all, then the second; d dimensions of a
 * projection. */
typedef struct hpt__byol {
    hpt__byol_own own;
    hpt__weights online, target;            /* the target follows the online network, projector included */
    hpt__plan *plan_online, *plan_target;
    hpt__predictor predictor;
    /* (2n,3,s,s) both views one after the other, where the host gives them apart */
    void *both;
    void *p, *z, *norm;                     /* (2n,d) normalised predictions and targets; (2n) lengths before */
    void *crossed, *dp, *scratch;           /* (2n,d) each row's target: that of the other view; gradient of p */
} hpt__byol;

extern const hpt__method hpt__method_byol;
#endif

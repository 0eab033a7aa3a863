/* SPDX-License-Identifier: MIT
 * Learning rate of update t (from 0) of total: lr * 0.5*(1+cos(pi*t/total)) (Loshchilov and Hutter 2017), every step
 * as the paper or every epoch as facebookresearch/moco; constant; in steps, x0.1 at each of drops equal distances or
 * after given shares of the stage, or at a third and two thirds of so many whole updates (Reed et al. 2022); inverse
 * decay lr * (1+gamma*t)^-power (Ganin and Lempitsky 2015); all after an optional linear warm-up. */
#ifndef HPT__SCHEDULE_H
#define HPT__SCHEDULE_H
#include <stdint.h>
enum { HPT__DROPS = 16 };
typedef struct hpt__schedule {
    double lr;
    int cosine;
    uint64_t total, warmup, drops;              /* drops 0: none */
    uint64_t per_epoch, parts;                  /* batches of an epoch, 0: by step; of an update, 0: one */
    double at[HPT__DROPS];                      /* shares of the stage, ascending */
    int n_at;                                   /* 0: equal distances */
    uint64_t thirds;                            /* 0: none */
    double gamma, power;                        /* inverse; power 0: none */
} hpt__schedule;
double hpt__schedule_lr(const hpt__schedule *s, uint64_t t);
#endif

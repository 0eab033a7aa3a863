/* SPDX-License-Identifier: MIT
 * Learning rate of update t (from 0) of total: lr * 0.5*(1+cos(pi*t/total)) (Loshchilov and Hutter 2017), every step
 * as the paper or every epoch as facebookresearch/moco; constant; in steps, x0.1 at each of drops equal distances;
 * all after an optional linear warm-up. */
#ifndef HPT__SCHEDULE_H
#define HPT__SCHEDULE_H
#include <stdint.h>
/* per_epoch 0: by step; drops 0: none */
typedef struct hpt__schedule { double lr; int cosine; uint64_t total, warmup, per_epoch, drops; } hpt__schedule;
double hpt__schedule_lr(const hpt__schedule *s, uint64_t t);
#endif

/* SPDX-License-Identifier: MIT
 * Stochastic depth in training: what each layer that drops multiplies each image with, drawn by the host for every step
 * and keyed by (seed, step, plan, image of the whole batch), so that ranks together draw what one would, a resumed run
 * goes on as it would have, and a recorded step replays with draws of its own. */
#ifndef HPT__DROPS_H
#define HPT__DROPS_H
#include "train/trainer.h"

hpt_status hpt__drops_open(hpt__trainer *t);                /* after method->open(): room for all plans of both lanes */
void hpt__drops_close(hpt__trainer *t);                     /* between enter and leave */
/* Draws those of the step (or part) to come and, on a device, queues their way on the lane. Between enter and leave. */
void hpt__drops_stage(hpt__trainer *t, int lane);
void hpt__drops_use(const hpt__trainer *t, int lane);       /* what is queued from here on reads this lane's */
#endif

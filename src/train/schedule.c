/* SPDX-License-Identifier: MIT
 * The learning rate as a function of the update: nothing is kept, so a run that goes on after an interruption needs
 * no more than its step count to have the rate of an undisturbed one. */
#include "train/schedule.h"
#include <math.h>

double hpt__schedule_lr(const hpt__schedule *s, uint64_t t) {
    double lr = s->lr, at = (double)t, total = (double)s->total;
    if (s->per_epoch) {
        uint64_t parts = s->parts ? s->parts : 1;
        at = (double)(t * parts / s->per_epoch);
        total = ceil((double)(s->total * parts) / (double)s->per_epoch);
    }
    if (s->cosine) lr *= 0.5 * (1 + cos(3.14159265358979323846 * at / total));
    for (int i = 0; i < s->n_at; i++)
        if (at >= s->at[i] * total - 1e-9) lr *= 0.1;
    if (s->drops && !s->n_at) lr *= pow(0.1, floor(at * (double)(s->drops + 1) / total));
    if (s->power > 0) lr *= pow(1 + s->gamma * (double)t, -s->power);
    if (s->thirds) lr *= t < s->thirds / 3 ? 1 : t < 2 * s->thirds / 3 ? 0.1 : 0.01;
    if (t < s->warmup) lr *= (double)(t + 1) / (double)s->warmup;
    return lr;
}

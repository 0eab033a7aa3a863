/* SPDX-License-Identifier: MIT
 * The images of a step to where it reads them: made views, or 8-bit images with the draws of which the backend makes
 * them. On a device they are staged while the step before still computes. */
#ifndef HPT__LANE_H
#define HPT__LANE_H
#include "train/trainer.h"

/* Views as floats (batch,3,size,size), one pointer for each view of the method.
 * later: they lie in memory of host_alloc and stay as they are until hpt__stage_wait(); else they are free when
 * this returns. */
hpt_status hpt__stage_views(hpt__trainer *t, const float *const *view, int later);
/* Instead: 8-bit images and draws for all views (first view of all images first), augmented by the backend. table:
 * hpt__normalize_table(). */
hpt_status hpt__stage_raw(hpt__trainer *t, const uint8_t *pixels, size_t bytes, const hpt__view *views,
                          const float *table);
/* The copies have ended; a step under way goes on. */
hpt_status hpt__stage_wait(hpt__trainer *t);
#endif

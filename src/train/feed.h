/* SPDX-License-Identifier: MIT
 * Giving steps their images: views that the host has, or the batches of a loader with the truth that goes with them.
 * On the host the views are read where they are. On a device they travel on a lane of their own, while the step before
 * still computes. */
#ifndef HPT__FEED_H
#define HPT__FEED_H
#include "data/loader.h"
#include "train/trainer.h"

/* Steps from a data set. Begin with {.trainer, .spec, .truth, .user}. */
typedef struct hpt__feed {
    hpt__trainer *trainer;
    hpt__loader_spec spec;              /* first_step, steps and memory are filled in */
    /* writes what is true of a batch's images into trainer.label or trainer.target; NULL: nothing is asked for */
    void (*truth)(void *user, hpt__trainer *t, const uint64_t *index);
    void *user;
    hpt__loader *loader;                /* NULL: the next step opens one, at its place */
    int prefetched;                     /* the loader's next batch is staged already */
    double wait, ahead;                 /* ms, for the images of the step made last; for those that are staged */
} hpt__feed;

/* A whole step, all its parts; while a device computes one, the images of the next are brought. After a failure the
 * step can be made anew. HPT_END: the run is over. */
hpt_status hpt__feed_step(hpt__feed *f, int advance, hpt__step_result *out);
/* The same on views that the host gives: floats (parts*batch,3,size,size), one pointer for each view of the method, a
 * part after the other; label: (parts*batch), of a method that has labels. */
hpt_status hpt__feed_given(hpt__feed *f, const float *const *view, const int32_t *label, int advance,
                           hpt__step_result *out);
/* The loader goes, which may wait for a step under way, and with it what it has staged. */
void hpt__feed_close(hpt__feed *f);
#endif

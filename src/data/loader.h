/* SPDX-License-Identifier: MIT
 * Batches made ahead by worker threads. What a batch holds depends on (seed, step) alone, not on the workers: every
 * draw has its own place in a counter-based generator (core/rng.h). */
#ifndef HPT__LOADER_H
#define HPT__LOADER_H
#include "data/dataset.h"

/* What becomes of an image that cannot be read, with bad_image=skip (bad_image=error: the loader stops). STOP: it
 * stops all the same; its images were known to be readable. HOLE: zero pixels and a flag in the batch. NEXT: the
 * next image that can be read stands in. */
typedef enum hpt__bad_policy { HPT__BAD_STOP, HPT__BAD_HOLE, HPT__BAD_NEXT } hpt__bad_policy;

/* Where a batch's images come from, one set after the other: so many of each, of total over all ranks from first on.
 * Each set has epochs of its own. */
enum { HPT__SHARES = 3 };
typedef struct hpt__loader_share { hpt_dataset *ds; int images, total, first; } hpt__loader_share;

typedef struct hpt__loader_spec {
    hpt_dataset *ds;
    int batch, size, workers;
    int total, first;                   /* of a step over all ranks: images, and the first that is ours; 0: batch, 0 */
    /* several sets: batch is the sum of their images, ds the first's, total and first mean nothing; none: ds alone */
    hpt__loader_share share[HPT__SHARES];
    void *(*alloc)(void *user, size_t bytes);       /* memory of the views; NULL: the library's own */
    void (*free)(void *user, void *p);
    void *user;
    int views;                          /* 2: query and key; 1 */
    /* epochs follow each other without a gap; else the rest of an epoch that fills no batch is dropped */
    int stream;
    /* 8-bit pixels and draws instead of views: a device makes them (needs augment[].crop
     * HPT__CROP_RESIZED) */
    int raw;
    /* no augmentation: short edge to resize, central crop; images in order, the last batch zero-filled */
    int plain;
    int resize, square;                 /* square: both edges */
    hpt__bad_policy bad;
    hpt__augment augment[2];            /* of each view; size and crop alike in both */
    uint64_t seed, first_step, steps;   /* batches first_step .. steps-1 */
    float mean[3], std[3];
} hpt__loader_spec;

typedef struct hpt__batch {
    const float *view[2];
    const uint64_t *index;              /* in the data set, each image in its own */
    const uint8_t *hole;                /* with HPT__BAD_HOLE: 1 where an image cannot be read */
    uint64_t epoch;
    const uint8_t *pixels;              /* raw: what the crops of each image need, one after the other */
    size_t bytes;
    const hpt__view *views;             /* raw: batch of the first views, then batch of the second */
    const float *table;                 /* raw: hpt__normalize_table() */
} hpt__batch;
typedef struct hpt__loader hpt__loader;

hpt_status hpt__loader_create(const hpt__loader_spec *spec, hpt__loader **out);
void hpt__loader_destroy(hpt__loader *l);
/* The next batch; waits for it. The batch before is given back. HPT_END after the last. On an image error the loader
 * is finished. */
hpt_status hpt__loader_next(hpt__loader *l, hpt__batch *b, double *wait_ms);
uint64_t hpt__loader_epoch(uint64_t n, uint64_t batch, uint64_t step);      /* epoch of a step's first image */
#endif

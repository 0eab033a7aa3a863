/* SPDX-License-Identifier: MIT
 * An algorithm, as the trainer sees it: what it adds to a step that every method has. "Queued": reads what differs
 * from step to step from device memory and decides nothing on the host, so that a whole step can be recorded once
 * and replayed. */
#ifndef HPT__METHOD_H
#define HPT__METHOD_H
#include "core/options.h"
#include "data/loader.h"
#include "train/optimizer.h"
#include "train/visit.h"

typedef struct hpt__trainer hpt__trainer;

enum { HPT__UPDATES = 2 };          /* most updates of a step */

/* What the host tells a step: each group of tensors at its own rate, for each update; data: the method's own,
 * input_bytes() of it. */
typedef struct hpt__input { hpt__vars vars[HPT__UPDATES * HPT__GROUPS]; uint32_t data[]; } hpt__input;

/* A number of the last step that a host may ask for by index: a field of hpt_step_info. */
typedef struct hpt__measure {
    const char *name, *unit;
    int better;                 /* 1: higher, -1: lower, 0: neither */
    size_t at;                  /* of a double in hpt_step_info; 0: queue_fill */
} hpt__measure;

typedef struct hpt__method {
    const char *name;                                                   /* option method */
    int views;                                                          /* of an image */
    const char *roles;          /* of further data sets, "labelled val" */
    const hpt__measure *measures;       /* ends with a name NULL */
    int labels;                                     /* the feed brings trainer.label or trainer.target too */
    int passes;                                     /* backward passes of a network in an update; 0: one */
    int updates;                                    /* of a step, at most; 0: one */
    /* Where a step takes images of several sets, side by side in its one batch: how many of each, over all ranks, if
     * batch_size is b and the labelled set has so many; NULL: b of the session's own. */
    void (*shares)(const hpt__options *o, int b, uint64_t labelled, int share[HPT__SHARES]);
    int ties;                           /* a score as good as the best of the run is a new best */
    /* bytes of trainer.self, zeroed; of the numbers that configure() fills */
    size_t size, own;
    double bn_momentum;                                                 /* share of a pass in the running statistics */
    hpt_status (*configure)(const hpt__options *o, int images, void *own);     /* images: of a step, over all ranks */
    /* networks, plans, arrays, fresh values; the trainer frees all */
    hpt_status (*open)(hpt__trainer *t, const void *own);
    /* what it holds beside the trainer's; or NULL */
    void (*close)(hpt__trainer *t);
    size_t (*input_bytes)(const hpt__trainer *t);                       /* of input.data; asked before open */
    void (*draw)(hpt__trainer *t, hpt__input *in);                      /* host: what differs from step to step */
    /* followers move at the end of a step, not at its beginning */
    int follow_after;
    double (*ema)(const hpt__trainer *t, uint64_t step);                /* their momentum in this step (from 0) */
    /* queued: own copies, after arrays were set from outside */
    void (*prepare)(hpt__trainer *t);
    /* queued: loss and gradients, of the whole step or of one of its parts, or of update t->update of a step that has
     * several: each sees what the one before it has made of the weights */
    hpt_status (*step)(hpt__trainer *t, const float *const *view, const hpt__input *in);
    /* queued, if the step counts (outcome): keys into the queue */
    void (*commit)(hpt__trainer *t, const hpt__input *in);
    void (*counted)(hpt__trainer *t);                                   /* host: the step has counted */
    /* its own numbers; acc1, acc5, z_std are those of the outcome */
    void (*report)(const hpt__trainer *t, hpt_step_info *i);
    int (*state)(hpt__trainer *t, hpt__state item[HPT__STATES]);        /* how many, in the order of a checkpoint */
} hpt__method;
#endif

/* SPDX-License-Identifier: MIT
 * An algorithm, as the trainer sees it: what it adds to a step that every method has. "Queued": reads what differs
 * from step to step from device memory and decides nothing on the host, so that a whole step can be recorded once
 * and replayed. */
#ifndef HPT__METHOD_H
#define HPT__METHOD_H
#include "train/weights.h"
#include "core/options.h"

typedef struct hpt__trainer hpt__trainer;

/* What the host tells a step; data: the method's own, input_bytes() of it. */
typedef struct hpt__input { hpt__vars vars; uint32_t data[]; } hpt__input;

/* One thing that a run consists of, beside its step count: named once, for saving, resuming, carrying over and
 * reading from outside. */
typedef struct hpt__state {
    enum { HPT__STATE_NETWORK, HPT__STATE_ROWS, HPT__STATE_NUMBER, HPT__STATE_NOTE } kind;
    const char *name;           /* in a checkpoint: "encoder_q.", "queue", "queue_ptr" */
    const char *prefix;         /* network: of its tensors in hpt_session_get_tensor(): "q." */
    hpt__weights *weights;      /* network */
    /* rows: real (n,d) on the device; (d,n) outside, as facebookresearch/moco has its queue */
    void *rows;
    int64_t n, d;
    /* number: 0 to below limit, always there; note: 0 to limit, which is also meant where a file has none */
    int64_t *number;
    int64_t limit;
} hpt__state;
enum { HPT__STATES = 8 };

typedef struct hpt__method {
    const char *name;                                                   /* option method */
    int views;                                                          /* of an image */
    int labels;                                                         /* the feed brings trainer.label too */
    /* bytes of trainer.self, zeroed; of the numbers that configure() fills */
    size_t size, own;
    double bn_momentum;                                                 /* share of a pass in the running statistics */
    hpt_status (*configure)(const hpt__options *o, int images, void *own);     /* images: of a step, over all ranks */
    /* networks, plans, arrays, fresh values; the trainer frees all */
    hpt_status (*open)(hpt__trainer *t, const void *own);
    /* what it holds beside the trainer's; or NULL */
    void (*close)(hpt__trainer *t);
    size_t (*input_bytes)(const hpt__trainer *t);                       /* of input.data */
    void (*draw)(hpt__trainer *t, hpt__input *in);                      /* host: what differs from step to step */
    /* followers move at the end of a step, not at its beginning */
    int follow_after;
    double (*ema)(const hpt__trainer *t, uint64_t step);                /* their momentum in this step (from 0) */
    /* queued: own copies, after arrays were set from outside */
    void (*prepare)(hpt__trainer *t);
    /* queued: loss and gradients */
    hpt_status (*step)(hpt__trainer *t, const float *const *view, const hpt__input *in);
    /* queued, if the step counts (outcome): keys into the queue */
    void (*commit)(hpt__trainer *t, const hpt__input *in);
    void (*counted)(hpt__trainer *t);                                   /* host: the step has counted */
    /* its own numbers; acc1, acc5, z_std are those of the outcome */
    void (*report)(const hpt__trainer *t, hpt_step_info *i);
    int (*state)(hpt__trainer *t, hpt__state item[HPT__STATES]);        /* how many, in the order of a checkpoint */
} hpt__method;
#endif

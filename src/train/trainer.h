/* SPDX-License-Identifier: MIT
 * The engine under every method: networks and their optimizer, lanes that bring the next step's images while this one
 * computes, a step that is recorded once and replayed where the backend can, ranks, and the rule that a step which is
 * not finite changes nothing.
 *
 * A step: stage, launch, stage the next, finish, launch, ... (lane.h; feed.h does all of it). In launch, queued:
 * method->step() makes loss and gradients, statistics and the update are looked at before anything is written,
 * method->commit() and the optimizer write unless outcome->bad.
 *
 * A step may have several updates (t->updates), each with a loss of its own, that count together or not at all; or be
 * made of parts (spec.parts): each is staged, launched and finished as a step is, the gradient is the mean of theirs,
 * and the last one makes the update. */
#ifndef HPT__TRAINER_H
#define HPT__TRAINER_H
#include "train/method.h"
#include "train/reduce.h"
#include "train/schedule.h"

typedef struct hpt__trainer_spec {
    const hpt__method *method;
    const void *own;                /* of the method: method->own bytes */
    hpt__dtype dtype;
    int batch, size, groups;        /* of this rank and a part: images, edge, batch-norm groups */
    int share[HPT__SHARES];         /* of batch: images of each set, the session's own first; all 0: batch of that */
    int bn_ranks;                   /* that share each of these groups; 0: 1 */
    int parts;                      /* of a step; 0: one */
    int several;                    /* an image may have several labels: trainer.target instead of trainer.label */
    double drop_path;               /* rate of stochastic depth, where the network has it; 0: none */
    int direct, deterministic, graph;       /* graph: record the step once and replay it, where the backend can */
    hpt__optimizer optimizer;
    hpt__schedule schedule;
    uint64_t seed;
    /* may give up a step between two operations, which changes nothing; NULL: nobody. Alone on the host only */
    hpt__watch *watch;
    const uint8_t *trainable;       /* optimizer group of each tensor of the model's net, 0: it stays; copied */
    const double *class_weight;     /* while method->open() runs: of a classifier's classes; NULL: all 1 */
} hpt__trainer_spec;

/* What the last step says. top1, top5: percent of this rank's images, where labels are known. */
typedef struct hpt__step_result { double loss, top1, top5, spread, entropy, lr; int applied; } hpt__step_result;

enum { HPT__NETWORKS = 4, HPT__PLANS = 6, HPT__RETIRED = 8, HPT__VIEWS = 2 };
struct hpt__trainer {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__comm *comm;
    hpt__net *net;                  /* the model's */
    hpt__trainer_spec spec;         /* trainable: the trainer's own copy */
    const hpt__method *method;
    void *self;                     /* the method's struct */
    const float *params, *stats;    /* while method->open() runs: what the model's network begins with */

    hpt__weights *network[HPT__NETWORKS];       /* the first is the model's */
    hpt__plan *plan[HPT__PLANS];
    hpt__reduce reduce[HPT__NETWORKS];      /* of the networks that train, in this step */
    hpt__pool pool;                 /* device memory that goes with the trainer */
    int n_networks, n_plans;

    /* what the host gives and gets; two lanes, so that one fills while the other is computed from */
    void *input[HPT__LANES], *input_host[HPT__LANES];
    void *view[HPT__LANES];         /* float (views*batch,3,size,size), the first view of all images first */
    void *table, *views[HPT__LANES], *pixels[HPT__LANES], *augment_scratch;
    size_t pixels_cap[HPT__LANES], augment_cap;
    int views_taps[HPT__LANES], raw[HPT__LANES], table_sent, n_retired;
    void *retired[HPT__RETIRED];    /* memory that a step under way may still read; freed when it is finished */
    void *drop[HPT__LANES], *drop_host[HPT__LANES];     /* drops.h; NULL: no layer drops */
    size_t drop_bytes;
    /* truth of the images that are staged, where the method has labels: (batch), or (batch,classes) with several */
    int32_t *label;
    float *target;
    const float *source[HPT__VIEWS];        /* host backends read the views where they are */

    hpt__outcome *outcome, *outcome_host;
    void *scratch;                  /* of the optimizer */
    hpt__recording *graph[HPT__LANES];
    int lane, launched, staged, warm[HPT__LANES], prepared;
    uint64_t step;                  /* steps done, left-out ones included */
    int updates, update;            /* of a step, which open() may set before it takes networks; the one under way */
    int scored;                     /* images that top1 and top5 count; all, unless open() sets it */
    int part, passes[HPT__NETWORKS];        /* parts of the step under way that are done; passes in this part */
    hpt__step_result sum;           /* of these parts */
    double lr, last_wait;           /* of the step launched last; ms that the host waited for the one before */
};

hpt_status hpt__trainer_open(hpt__trainer *t, const hpt__backend *be, hpt__device *dev, hpt__comm *comm, hpt__net *net,
                             const hpt__trainer_spec *spec, const float *params, const float *stats);
void hpt__trainer_close(hpt__trainer *t);

size_t hpt__trainer_plan_bytes(const hpt__trainer *t);     /* of activations */
/* Images of a step from the session's own set, on this rank. */
static inline int hpt__trainer_own(const hpt__trainer *t) {
    return t->spec.share[0] ? t->spec.share[0] : t->spec.batch;
}
static inline int hpt__trainer_parts(const hpt__trainer *t) { return t->spec.parts > 1 ? t->spec.parts : 1; }
static inline hpt__site hpt__trainer_site(const hpt__trainer *t) {
    return (hpt__site){t->be, t->dev, t->spec.dtype};
}
/* The model's network begins anew: these weights, no moments, step 0, another rate. */
hpt_status hpt__trainer_restart(hpt__trainer *t, const hpt__schedule *s, const float *params, const float *stats);

hpt_status hpt__trainer_launch(hpt__trainer *t);
/* If anything is not finite (optim.h, HPT__BAD_*), nothing has changed (except the step count when advance is set,
 * so that schedule and data move on), out->applied is 0, and the result is HPT_ERR_NUMERIC with the tensor named. After
 * a part that is not a step's last, t->part is above 0. */
hpt_status hpt__trainer_finish(hpt__trainer *t, int advance, hpt__step_result *out);
/* The parts of a step that were made are given up: it begins anew. */
void hpt__trainer_abandon(hpt__trainer *t);

/* ---- for methods; device memory is taken from t->pool ---- */

/* A network that trains (trainable: a group for each tensor, kept by the caller), or follows leader, or stays (both
 * NULL); its arrays. */
hpt_status hpt__trainer_network(hpt__trainer *t, hpt__weights *w, const hpt__net *net, const char *role,
                                const uint8_t *trainable, hpt__weights *leader);
/* While method->open() runs: the model's weights, and a follower of the same shape that starts as a copy of the
 * parameters, with fresh statistics as a newly built network has them (facebookresearch/moco). Between leave and
 * enter. */
hpt_status hpt__trainer_begin(hpt__trainer *t, hpt__weights *model, hpt__weights *follower);
/* The forward pass of a network and, if it trains, its backward; images: of a pass, groups: of batch norm. head: the
 * output is the head's. */
hpt_status hpt__trainer_plan(hpt__trainer *t, const hpt__weights *w, int images, int groups, int head, hpt__plan **out);
/* The same with the head, and the gradient turned around before its last layer (hpt__plan_spec.reverse). */
hpt_status hpt__trainer_plan_reversed(hpt__trainer *t, const hpt__weights *w, int images, int groups, hpt__plan **out);
/* Forward with batch statistics. */
hpt_status hpt__trainer_forward(hpt__trainer *t, const hpt__weights *w, hpt__plan *p, const void *images);
/* Gradients of all its tensors; they are averaged over the ranks as they become ready. Up to method->passes times for
 * a network: their gradients add. dout: overwritten. */
hpt_status hpt__trainer_backward(hpt__trainer *t, hpt__weights *w, hpt__plan *p, void *dout);
/* The loss in the outcome (in a second update: the entropy) is there: averaged over the ranks, and the step is bad if
 * it is not finite. Between enter and leave. */
hpt_status hpt__trainer_judge(hpt__trainer *t);
#endif

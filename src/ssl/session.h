/* SPDX-License-Identifier: MIT
 * The object behind hpt_session: a training run of any method with its data, its configuration and its checkpoint.
 * It knows no method: what one keeps and reports it asks of its table (train/method.h). */
#ifndef HPT__SESSION_H
#define HPT__SESSION_H
#include "ssl/monitor.h"
#include "ssl/taught.h"
#include "train/feed.h"

struct hpt_session {
    hpt__handle handle;
    hpt_context *ctx;
    hpt_model *model;
    hpt_dataset *ds;            /* NULL: the host gives the views */
    /* further data sets by their role, or NULL; test: only looked at, so that none of its images is trained on */
    hpt_dataset *labelled, *unlabelled, *val, *test;
    hpt__options opt;
    hpt__trainer trainer;
    hpt__taught taught;         /* of a method that learns from labels */
    const int32_t *given;       /* labels of the images that the host gives for the next step, or NULL */
    hpt__feed feed;             /* images to the trainer */
    hpt__pixels pixels;         /* of its images; the model gets them with the weights */
    uint64_t fingerprint;       /* of the data set */
    hpt_step_info info;
    _Atomic int cancel, running;    /* running: in hpt__session_run() */
    hpt__monitor monitor;
    int synced;
    uint32_t skipped;
    hpt_status dead;            /* a failure that ends the session */
    char dead_text[1024];
};

hpt_status hpt__session_new(hpt_context *ctx, const hpt__options *o, hpt_model *model, hpt_dataset *ds,
                            hpt_session **out);
/* The trainer and its feed, for the data sets that are there; again, before the first step, where that changes. */
hpt_status hpt__session_open_trainer(hpt_session *s);
void hpt__session_open_feed(hpt_session *s);
/* Collective: every rank has the same options, images and weights. */
hpt_status hpt__session_compare_ranks(hpt_session *s);
hpt_status hpt__session_step(hpt_session *s, const float *q, const float *k);      /* NULL: from the loader */
/* the same inside a span of the caller */
hpt_status hpt__session_advance(hpt_session *s, const float *q, const float *k);
uint64_t hpt__session_epoch(const hpt_session *s);                                 /* of the last step */
hpt_status hpt__session_run(hpt_session *s, hpt_step_fn fn, void *user);
void hpt__session_report(const hpt_session *s, json_t *to);
hpt_status hpt__session_sync(hpt_session *s);
hpt_status hpt__session_monitor(hpt_session *s, hpt_dataset *train, hpt_dataset *val);
hpt_status hpt__session_data(hpt_session *s, const char *role, hpt_dataset *ds);
double hpt__session_measure(const hpt_session *s, const hpt__measure *m);   /* NaN before this session's first step */
hpt_status hpt__session_metric(const hpt_session *s, uint32_t index, hpt_metric *out);     /* HPT_END past the last */
hpt_status hpt__session_step_batch(hpt_session *s, const hpt_batch *b);
hpt_status hpt__session_save(hpt_session *s, const char *path);                    /* checkpoint.c */
hpt_status hpt__session_resume(hpt_session *s, const char *path);
/* Key encoder and queue of an earlier stage (options carry_*) instead of fresh ones. */
hpt_status hpt__session_carry(hpt_session *s, const char *path, int key, int queue);
hpt_status hpt__session_tensor(hpt_session *s, const char *name, float *get, const float *set, uint64_t count);
#endif

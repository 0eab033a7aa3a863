/* SPDX-License-Identifier: MIT
 * Watching a run: scores of labelled images at chosen steps, by nearest neighbours or by the classifier that is
 * trained, the best weights so far, early stop, and alarms. Labels never reach the training itself. */
#ifndef HPT__MONITOR_H
#define HPT__MONITOR_H
#include "nn/model.h"
#include "ssl/labelled.h"

typedef struct hpt__monitor {
    hpt_dataset *train, *val;           /* val NULL: nothing is scored; train NULL: by the model's classifier */
    const char *what;                   /* the score: "knn_top1", "knn_auroc", "val_top1" */
    int32_t *to;                        /* class of the classifier that a class of val is; NULL: the same number */
    uint64_t every, patience;
    double score, best;                 /* NaN before the first */
    uint64_t at, best_at, misses;       /* steps of these scores; scores in a row without a new best */
    float *params, *stats;              /* weights of the best score */
    hpt__classifier fc;                 /* and the classifier, where the model had one */
    int ties;                           /* as good as the best is a new best */
    int stopped;
    uint64_t high;                      /* steps in a row with a loss above chance */
    int told_loss, told_collapse;
} hpt__monitor;

/* train: images that vote; NULL: the classifier fc scores, of a run whose images are ds (NULL: the host's). */
hpt_status hpt__monitor_open(hpt__monitor *m, hpt_model *model, hpt_dataset *train, hpt_dataset *val,
                             const hpt__classifier *fc, const hpt_dataset *ds, const hpt__options *o, int ranks);
void hpt__monitor_close(hpt__monitor *m);
/* Scores the model, which holds the weights of this step. Sets stopped when patience is at its end. */
hpt_status hpt__monitor_score(hpt__monitor *m, hpt_model *model, const hpt__options *o, uint64_t step);
void hpt__monitor_restore(const hpt__monitor *m, hpt_model *model);
/* Looks at loss and spread of a step: a warning or, with alarm=stop, HPT_ERR_NUMERIC. full: the queue holds real
 * keys only. */
hpt_status hpt__monitor_alarm(hpt__monitor *m, hpt_context *ctx, const hpt__options *o, const hpt_step_info *i,
                              int full);
#endif

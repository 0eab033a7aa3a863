/* SPDX-License-Identifier: MIT
 * The folder of a pretraining run. What is in it after any number of interruptions, by Ctrl-C or kill -9, is what an
 * undisturbed run would have written, times apart:
 *   args.json      what was run: data, init, library, device, and every option as resolved; made when all else is ready
 *   metrics.jsonl  a line of numbers a step; on disk before the checkpoint of that step
 *   summary.csv    a line an epoch that is over, averaged from the numbers in metrics.jsonl
 *   train.log      a line for the machine, for each score of the monitor, and at the end
 *   checkpoints/   last.pth.tar, from step 0 on
 *   exported/      the trained model, at the end
 *   stats.json     mean and std of the images, so that a run that goes on need not read them all again */
#ifndef RUNDIR_H
#define RUNDIR_H
#include <hpt.h>
#include <jansson.h>
#include <stdio.h>

typedef struct rundir {
    char *dir, *checkpoint;
    FILE *metrics, *log, *summary;
    unsigned long long epoch, epoch_steps; /* the epoch under way, and its steps that have a loss */
    double epoch_loss, epoch_acc;          /* their sums */
    unsigned long long scored;              /* step of the last score of the monitor in train.log */
    double loss;                           /* of the last step written; NaN before */
    const char *right;                     /* what the share of right answers is called: "contrast_acc", "train_top" */
    const char *score;      /* what the monitor's score is called: "kNN top-1 %" */
    int made;                              /* the folder was not there before */
    int failed;                            /* errno of the first write that failed */
} rundir;

/* Each returns 0, or 1 with the reason on stderr. */
/* refuses a folder that holds a run; makes one that is not there */
int rundir_new(rundir *r, const char *dir, int overwrite);
/* all is ready: what an old run left goes, every place is tried */
int rundir_clear(rundir *r);
void rundir_undo(rundir *r);                               /* before rundir_clear: what rundir_new made goes again */
int rundir_old(rundir *r, const char *dir,
               json_t **args);                  /* a run to resume, and its args.json (free with json_decref) */
int rundir_args(rundir *r, const json_t *args); /* the run begins: writes args.json */
int rundir_open(rundir *r, unsigned long long step, const char *machine); /* opens the logs, cut back to this step */

void rundir_step(rundir *r, const hpt_step_info *i);
/* a score that is not in the log yet, also of an earlier step */
void rundir_score(rundir *r, const hpt_step_info *i);
void rundir_flush(rundir *r);                         /* before a checkpoint */
void rundir_end(rundir *r, const char *text);         /* the last line of train.log */
void rundir_close_epoch(rundir *r);                   /* the run is over: the epoch under way counts */
int rundir_close(rundir *r);                          /* 1 if anything could not be written */
char *rundir_path(const rundir *r, const char *name); /* free() it */
#endif

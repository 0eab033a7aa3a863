/* SPDX-License-Identifier: MIT
 * The demo: does hierarchical pretraining help on real images, in minutes, on this machine? What its two files
 * share: the strategies and what came out for each. */
#ifndef DEMO_H
#define DEMO_H
#include <hpt.h>
#include <jansson.h>
#include <stdio.h>

enum { SIDE = 32, CLASSES = 10, KS = 3, DRAWS = 5, MAX_LENGTHS = 4, CURVE = 200, QUERIES = 5, NEIGHBOURS = 7,
       SAMPLES = 4 };
extern const int label_counts[KS];              /* 5, 20, 100 labels of each class */
extern const char *const class_names[CLASSES];

/* One strategy at one length with one seed: a model and its probe accuracies. */
typedef struct run {
    const char *strategy;       /* random, base, target, hpt, hpt-bn */
    int steps, seed, total_steps;   /* steps on the target; total_steps: base included */
    int n_acc[KS];
    double acc[KS][DRAWS], val[KS][DRAWS], seconds;
    int n_curve;
    double curve_step[CURVE], curve_loss[CURVE];
} run;

typedef struct plan { int base, lengths[MAX_LENGTHS], n_lengths, long_target, seeds, probe_steps; } plan;

typedef struct demo {
    const char *out;
    plan p;
    run *runs;
    int n_runs;
    hpt_context *ctx;
    hpt_dataset *base, *target, *pool, *val, *test;
    char machine[200];
    double seconds;
} demo;

int write_report(demo *d);      /* report.html; 0 on success */
int write_summary(demo *d);     /* summary.json */
void print_table(const demo *d, FILE *to);
/* mean and standard deviation over seeds and draws; returns how many */
int mean_of(const demo *d, const char *strategy, int steps, int k, double *mean, double *sd);
/* sentences, from the numbers alone */
void findings(const demo *d, FILE *to, const char *before, const char *after);
#endif

/* SPDX-License-Identifier: MIT
 * Scores of classifiers. One kind of truth for both problems: one label an image (top-1, top-5), or several (AUROC
 * of each class). */
#ifndef HPT__METRICS_H
#define HPT__METRICS_H
#include "core/status.h"
#include <jansson.h>

typedef struct hpt__truth {
    const int32_t *y;           /* (n) labels, or NULL */
    const uint8_t *multi;       /* (n,classes) 0 and 1, where y is NULL */
    uint64_t n;
    int classes;
} hpt__truth;

typedef struct hpt__score {
    /* what choices are made by, in percent: top-1, or the mean AUROC * 100; NaN if no class has one */
    double main;
    double top1, top5;          /* percent; 0 with several labels */
    int undefined;              /* classes without a positive or without a negative image: no AUROC */
} hpt__score;

/* Right answers of one row of logits: 1 if the label's logit is the largest (the first of equals), and whether it is
 * among the five largest. */
void hpt__top(const float *logits, int classes, int32_t label, int *top1, int *top5);
/* Area under the ROC curve by ranks, ties averaged (Mann-Whitney U); NaN if truth is all 0 or all 1. stride: between
 * values of one class. */
hpt_status hpt__auroc(const float *scores, size_t pitch, const uint8_t *truth, size_t stride, uint64_t n, double *out);
/* logits: rows of pitch values. zero_undefined: AUROC 0 for undefined classes, as the paper's code has it; else they
 * are left out. per_class: classes values (AUROC; NaN undefined) or NULL. */
hpt_status hpt__score_logits(const float *logits, size_t pitch, const hpt__truth *t, int zero_undefined,
                             hpt__score *out, double *per_class);
const char *hpt__metric(const hpt__truth *t);       /* what main is: "top1" or "auroc" */
/* HPT_ERR_ARGUMENT if the set (called what) gives no score that a choice could be made by. */
hpt_status hpt__can_choose(const hpt__truth *t, int zero_undefined, const char *what);
/* "metric", "<prefix>_score", and "<prefix>_top1", "_top5", or "_auroc", "_auroc_classes", "_undefined_classes"
 * (numbers of the classes). */
hpt_status hpt__score_report(json_t *to, const char *prefix, const float *logits, size_t pitch, const hpt__truth *t,
                             int zero_undefined, hpt__score *out);
#endif

/* SPDX-License-Identifier: MIT
 * Evaluations on frozen features: the sets' features, then src/eval/linear or src/eval/knn. Both are also given for
 * features that the host brings. */
#ifndef HPT__PROBE_H
#define HPT__PROBE_H
#include "eval/linear.h"
#include "ssl/features.h"
hpt_status hpt__model_linear(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                             /* (test images, classes), NaN where one cannot be read; or NULL, as head */
                             const hpt__options *o, json_t *result, float *test_logits, hpt__head *head);
hpt_status hpt__model_knn(hpt_model *m, hpt_dataset *train, hpt_dataset *test, const hpt__options *o, json_t *result);
hpt_status hpt__features_linear(hpt_context *ctx, const hpt__options *o, int dim, int classes, hpt__labelled train,
                                hpt__labelled val, hpt__labelled test, json_t *result, float *test_logits,
                                hpt__head *head);
#endif

/* SPDX-License-Identifier: MIT
 * Contract: score.h. The likeliest class is the first of equals; images that cannot be read (bad_image=skip) count for
 * nothing. */
#include "ssl/score.h"
#include "core/alloc.h"
#include "core/result.h"
#include "ssl/features.h"
#include "ssl/labelled.h"
#include "ssl/taught.h"
#include <math.h>

/* Of each class: images, and those that are right. */
static void count(const hpt_dataset *ds, const float *logits, size_t k, const int32_t *to, uint64_t *of,
                  hpt__right *r) {
    for (size_t i = 0; i < ds->count; i++) {
        const float *x = logits + i * k;
        int32_t y = hpt__dataset_label(ds, i), is = to ? to[y] : y;
        int right, among_five;
        if (isnan(x[0])) continue;
        hpt__top(x, (int)k, is, &right, &among_five);
        of[2 * is]++;
        of[2 * is + 1] += (uint64_t)right;
        r->read++;
        r->right += (uint64_t)right;
    }
    r->top1 = r->read ? 100.0 * (double)r->right / (double)r->read : NAN;
    for (size_t c = 0; c < k; c++) {
        if (!of[2 * c]) continue;
        r->class_mean += 100.0 * (double)of[2 * c + 1] / (double)of[2 * c];
        r->classes++;
    }
    r->class_mean = r->classes ? r->class_mean / r->classes : NAN;
}

hpt_status hpt__classifier_right(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const int32_t *to,
                                 hpt__right *out) {
    size_t n = ds->count, k = (size_t)hpt__classes(&m->fc);
    *out = (hpt__right){0};
    float *logits = hpt__alloc(n * k * sizeof *logits + 4);
    uint64_t *of = hpt__calloc(2 * k + 1, sizeof *of);
    hpt_status st = logits && of ? hpt__predict(m, ds, o, logits, n * k) : hpt__fail_memory(n * k * sizeof *logits);
    if (!st) count(ds, logits, k, to, of, out);
    hpt__free(logits);
    hpt__free(of);
    return st;
}

hpt_status hpt__model_score(hpt_model *m, hpt_dataset *test, const hpt__options *o, json_t *result) {
    hpt__right r;
    int32_t *to = NULL;
    if (!hpt__classes(&m->fc)) return hpt__fail(HPT_ERR_STATE, "the model has no classifier");
    HPT_TRY(hpt__taught_one_label(test, "test"));
    HPT_TRY(hpt__taught_match(&m->fc, test, "test", &to));
    hpt_status st = hpt__classifier_right(m, test, o, to, &r);
    hpt__free(to);
    HPT_TRY(st);
    json_object_set_new(result, "metric", json_string("top1"));
    json_object_set_new(result, "test_top1", hpt__json_number(r.top1));
    json_object_set_new(result, "test_class_mean", hpt__json_number(r.class_mean));
    json_object_set_new(result, "test_images", json_integer((json_int_t)r.read));
    json_object_set_new(result, "test_classes", json_integer(r.classes));
    hpt__report_unreadable(result, "test", test);
    return HPT_OK;
}

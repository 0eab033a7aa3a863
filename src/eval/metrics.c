/* SPDX-License-Identifier: MIT
 * Contract: metrics.h. Top-1, top-5 and AUROC from logits, with ties told apart as scikit-learn does (averaged
 * ranks), and the classes for which a score does not exist. */
#include "eval/metrics.h"
#include "core/alloc.h"
#include "core/result.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void hpt__top(const float *l, int classes, int32_t label, int *top1, int *top5) {
    int above = 0;
    *top1 = *top5 = 0;
    if (label < 0 || label >= classes || !isfinite(l[label])) return;
    for (int c = 0; c < classes; c++) above += l[c] > l[label] || (l[c] == l[label] && c < label) || !(l[c] == l[c]);
    *top1 = above == 0;
    *top5 = above < 5;
}

typedef struct ranked { float score; uint8_t positive; } ranked;
static int by_score(const void *a, const void *b) {
    float x = ((const ranked *)a)->score, y = ((const ranked *)b)->score;
    return x < y ? -1 : x > y;
}
hpt_status hpt__auroc(const float *scores, size_t pitch, const uint8_t *truth, size_t stride, uint64_t n, double *out) {
    ranked *r = hpt__alloc(sizeof *r * (size_t)(n + 1));
    double rank_sum = 0, positives = 0;
    if (!r) return hpt__fail_memory(sizeof *r * (size_t)n);
    for (uint64_t i = 0; i < n; i++) {
        float s = scores[i * pitch];
        r[i] = (ranked){s == s ? s : -INFINITY, truth[i * stride]};     /* a NaN ranks last */
    }
    qsort(r, (size_t)n, sizeof *r, by_score);
    for (uint64_t i = 0; i < n;) {
        uint64_t j = i;
        double p = 0;
        for (; j < n && r[j].score == r[i].score; j++) p += r[j].positive;
        rank_sum += p * ((double)(i + j + 1) / 2);      /* ranks i+1..j have this mean */
        positives += p;
        i = j;
    }
    hpt__free(r);
    double negatives = (double)n - positives;
    *out = positives > 0 && negatives > 0 ? (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
        : NAN;
    return HPT_OK;
}

const char *hpt__metric(const hpt__truth *t) { return t->y ? "top1" : "auroc"; }

hpt_status hpt__can_choose(const hpt__truth *t, int zero_undefined, const char *what) {
    if (t->y || zero_undefined) return HPT_OK;
    for (int c = 0; c < t->classes; c++) {
        uint64_t positive = 0;
        for (uint64_t i = 0; i < t->n; i++) positive += t->multi[i * (uint64_t)t->classes + (uint64_t)c];
        if (positive && positive < t->n) return HPT_OK;
    }
    return hpt__fail(HPT_ERR_ARGUMENT,
                     "%s: no class has images with it and images without it, so that there is no AUROC to choose by; "
                     "give other images, or auroc_undefined=zero", what);
}

hpt_status hpt__score_logits(const float *logits, size_t pitch, const hpt__truth *t, int zero_undefined,
                             hpt__score *out, double *per_class) {
    *out = (hpt__score){0};
    if (t->y) {
        uint64_t one = 0, five = 0;
        for (uint64_t i = 0; i < t->n; i++) {
            int a, b;
            hpt__top(logits + i * pitch, t->classes, t->y[i], &a, &b);
            one += (uint64_t)a;
            five += (uint64_t)b;
        }
        out->main = out->top1 = t->n ? 100.0 * (double)one / (double)t->n : 0;
        out->top5 = t->n ? 100.0 * (double)five / (double)t->n : 0;
        return HPT_OK;
    }
    double sum = 0;
    for (int c = 0; c < t->classes; c++) {
        double a;
        HPT_TRY(hpt__auroc(logits + c, pitch, t->multi + c, (size_t)t->classes, t->n, &a));
        if (per_class) per_class[c] = a;
        if (a == a) sum += a;
        else out->undefined++;
    }
    int counted = zero_undefined ? t->classes : t->classes - out->undefined;
    out->main = counted ? 100 * sum / counted : NAN;
    return HPT_OK;
}

hpt_status hpt__score_report(json_t *to, const char *prefix, const float *logits, size_t pitch, const hpt__truth *t,
                             int zero_undefined, hpt__score *out) {
    char key[64];
    double *per = t->y ? NULL : hpt__alloc(sizeof *per * (size_t)(t->classes + 1));
    if (!t->y && !per) return hpt__fail_memory(0);
    hpt_status st = hpt__score_logits(logits, pitch, t, zero_undefined, out, per);
    json_object_set_new(to, "metric", json_string(hpt__metric(t)));
    snprintf(key, sizeof key, "%s_score", prefix);
    if (!st) json_object_set_new(to, key, hpt__json_number(out->main));
    if (!st && t->y) {
        snprintf(key, sizeof key, "%s_top1", prefix);
        json_object_set_new(to, key, json_real(out->top1));
        snprintf(key, sizeof key, "%s_top5", prefix);
        json_object_set_new(to, key, json_real(out->top5));
    } else if (!st) {
        json_t *classes = json_array(), *undefined = json_array();
        for (int c = 0; c < t->classes; c++) {
            json_array_append_new(classes, hpt__json_number(per[c]));
            if (per[c] != per[c]) json_array_append_new(undefined, json_integer(c));
        }
        snprintf(key, sizeof key, "%s_auroc", prefix);
        json_object_set_new(to, key, hpt__json_number(out->main));
        snprintf(key, sizeof key, "%s_auroc_classes", prefix);
        json_object_set_new(to, key, classes);
        snprintf(key, sizeof key, "%s_undefined_classes", prefix);
        json_object_set_new(to, key, undefined);
    }
    hpt__free(per);
    return st;
}

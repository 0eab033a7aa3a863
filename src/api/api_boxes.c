/* SPDX-License-Identifier: MIT
 * Scores of detections: hpt_average_precision on arrays, hpt_score_boxes on files. What is scored comes from
 * eval/truth.h, the numbers from eval/boxes.h; here they become a result. */
#include "api/api.h"
#include "core/alloc.h"
#include "eval/truth.h"
#include <math.h>
#include <string.h>

static const char *const names[12] = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm",
                                      "ARl"};
enum { CONFUSION_ROWS = 100 };          /* most classes whose matrix is in the JSON, too */

/* Options of the stage, as the numbers need them. */
static hpt_status settings(hpt_context *ctx, const hpt_config *cfg, const hpt__options **o, hpt__ap_settings *s) {
    HPT_TRY(hpt__config_options(cfg, o));
    HPT_TRY(hpt__options_check(*o, 'A'));
    *s = (hpt__ap_settings){.metric = OPT_IS(*o, score_metric, "voc07") ? HPT__AP_VOC07
                            : OPT_IS(*o, score_metric, "voc12") ? HPT__AP_VOC12 : HPT__AP_COCO,
                            .masks = (int)OPT_I(*o, score_masks), .threads = ctx->threads,
                            .rounded = (int)OPT_I(*o, score_rounded), .at_score = OPT_F(*o, score_at)};
    if (s->masks && s->metric != HPT__AP_COCO)
        return hpt__fail(HPT_ERR_ARGUMENT, "score_metric=%s is of boxes; score_masks=1 needs score_metric=coco",
                         OPT_S(*o, score_metric));
    return HPT_OK;
}
static json_t *count(uint64_t n) { return json_integer((json_int_t)n); }
static json_t *per_class(const hpt__ap *ap, const hpt__marks *truth) {
    static const char *const of_class[7] = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR100"};
    json_t *list = json_array();
    for (uint32_t k = 0; k < ap->s.classes; k++) {
        const hpt__class_records *c = ap->of + k;
        double v[7], positives = (double)c->positives[0], founds = (double)(c->true_at + c->false_at);
        json_t *j = json_object();
        hpt__ap_of_class(ap, k, v);
        json_object_set_new(j, "name", hpt__json_text(truth->classes[k].name));
        json_object_set_new(j, "id", json_integer(truth->classes[k].id));
        json_object_set_new(j, "objects", count(c->truths));
        json_object_set_new(j, "detections", count(c->founds));
        for (int i = 0; i < 7; i++) json_object_set_new(j, of_class[i], hpt__json_number(v[i]));
        json_object_set_new(j, "precision", hpt__json_number(founds > 0 ? (double)c->true_at / founds : NAN));
        json_object_set_new(j, "recall", hpt__json_number(positives > 0 ? (double)c->true_at / positives : NAN));
        json_array_append_new(list, j);
    }
    return list;
}
static json_t *confusion(const hpt__ap *ap) {
    uint32_t side = ap->s.classes + 1;
    json_t *j = json_object(), *rows = json_array();
    json_object_set_new(j, "iou", json_real(.5));
    json_object_set_new(j, "score", hpt__json_number(ap->s.at_score));
    for (uint32_t r = 0; r < side; r++) {
        json_t *row = json_array();
        for (uint32_t c = 0; c < side; c++) json_array_append_new(row, count(ap->confusion[(uint64_t)r * side + c]));
        json_array_append_new(rows, row);
    }
    json_object_set_new(j, "rows", rows);
    return j;
}
/* A float array of the result, of n doubles from x on, `step` apart. */
static hpt_status add(hpt_result *r, const char *name, const double *x, uint64_t n, uint64_t step) {
    float *out = hpt__alloc((size_t)(n + 1) * sizeof *out);
    if (!out) return hpt__fail_memory((size_t)(n + 1) * sizeof *out);
    for (uint64_t i = 0; i < n; i++) out[i] = (float)x[i * step];
    hpt__result_add(r, name, out, n);
    return HPT_OK;
}
static hpt_status arrays(const hpt__ap *ap, hpt_result *r) {
    uint64_t k = ap->s.classes, curves = (uint64_t)HPT__AP_T * HPT__AP_R * k, step = (uint64_t)HPT__AP_A * ap->m;
    int coco = ap->s.metric == HPT__AP_COCO;
    HPT_TRY(add(r, "precision", ap->precision, curves, step));
    HPT_TRY(add(r, "scores", ap->scores, curves, step));
    HPT_TRY(add(r, "recall", ap->recall + (coco ? HPT__AP_M - 1 : 0), HPT__AP_T * k,
                coco ? (uint64_t)HPT__AP_A * HPT__AP_M : 1));
    if (k > HPT__AP_CONFUSION) return HPT_OK;
    uint64_t cells = (k + 1) * (k + 1);
    float *out = hpt__alloc((size_t)cells * sizeof *out);
    if (!out) return hpt__fail_memory((size_t)cells * sizeof *out);
    for (uint64_t i = 0; i < cells; i++) out[i] = (float)ap->confusion[i];
    hpt__result_add(r, "confusion", out, cells);
    return HPT_OK;
}
static hpt_status give(const hpt__ap *ap, const hpt__options *o, const hpt__marks *truth, const hpt__marks *found,
                       hpt_result **result) {
    json_t *j = hpt__json_begin();
    if (!j) return hpt__fail_memory(64);
    json_object_set_new(j, "metric", json_string(OPT_S(o, score_metric)));
    json_object_set_new(j, "task", json_string(ap->s.masks ? "masks" : "boxes"));
    for (int i = 0; i < 12; i++) json_object_set_new(j, names[i], hpt__json_number(ap->stats[i]));
    json_object_set_new(j, "images", count(ap->images));
    json_object_set_new(j, "objects", count(ap->truths));
    json_object_set_new(j, "crowds", count(ap->crowds));
    json_object_set_new(j, "difficult", count(ap->ignored));
    json_object_set_new(j, "detections", count(ap->founds));
    json_object_set_new(j, "classes", json_integer(ap->s.classes));
    json_object_set_new(j, "areas_computed", count(truth->areas_missing));
    json_object_set_new(j, "empty_detections", count(found->empty_boxes));
    json_object_set_new(j, "score_at", hpt__json_number(ap->s.at_score));
    if (ap->s.metric != HPT__AP_COCO) json_object_set_new(j, "rounded", json_boolean(ap->s.rounded));
    else json_object_set_new(j, "id0", json_string(OPT_S(o, coco_id0)));
    json_object_set_new(j, "per_class", per_class(ap, truth));
    if (ap->s.classes <= CONFUSION_ROWS) json_object_set_new(j, "confusion", confusion(ap));
    HPT_TRY(hpt__result_new(j, result));
    hpt_status st = arrays(ap, *result);
    if (!st) return HPT_OK;
    hpt_result_destroy(*result);
    *result = NULL;
    return st;
}
/* From both sets, which are freed, to the result. */
static hpt_status score(hpt_context *ctx, const hpt__options *o, hpt__ap_settings *s, hpt__marks *truth,
                        hpt__marks *found, hpt_result **result) {
    hpt__marked both = {.truth = truth, .found = found, .id0_unmatched = OPT_IS(o, coco_id0, "pycocotools")};
    hpt__scenes scenes = hpt__marked_scenes(&both);
    hpt__span span;
    hpt__ap ap;
    s->classes = (uint32_t)truth->class_count;
    hpt__span_begin(&ctx->watch, &span, HPT_PHASE_SCORE, 0, scenes.count, "images scored");
    hpt_status st = hpt__ap_compute(s, &scenes, &span, &ap);
    if (!st) span.done = scenes.count;
    hpt__span_end(&span);
    if (!st) st = give(&ap, o, truth, found, result);
    hpt__ap_free(&ap);
    hpt__marks_free(truth);
    hpt__marks_free(found);
    return st;
}

/* Of one hpt_boxes: every array that the task needs. */
static hpt_status check_boxes(const hpt_boxes *b, const char *name, int truth, int masks) {
    const char *missing = !b->count ? NULL : !b->image ? "image" : !b->label ? "label" : !truth && !b->score ? "score"
        : masks && !b->mask ? "mask" : masks && !b->mask_size ? "mask_size" : !masks && !b->box ? "box" : NULL;
    if (missing) return hpt__fail(HPT_ERR_ARGUMENT, "%s: %s is NULL", name, missing);
    if (b->count > UINT32_MAX)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s: %llu entries", name, (unsigned long long)b->count);
    return HPT_OK;
}
hpt_status hpt_average_precision(hpt_context *ctx, const hpt_config *cfg, uint32_t classes, const hpt_boxes *truth,
                                 const hpt_boxes *found, hpt_result **result) {
    const hpt__options *o;
    hpt__ap_settings s;
    hpt_boxes t, f;
    hpt__marks of_truth, of_found;
    OUT(result);
    HOLD(ctx, CONTEXT);
    NOT_NULL(truth);
    NOT_NULL(found);
    HPT_TRY(hpt__struct_in(&t, truth, sizeof t, "truth"));
    HPT_TRY(hpt__struct_in(&f, found, sizeof f, "found"));
    HPT_TRY(settings(ctx, cfg, &o, &s));
    if (!classes || classes > HPT__TRUTH_CLASSES)
        return hpt__fail(HPT_ERR_ARGUMENT, "%u classes; 1 to %d may be", classes, HPT__TRUTH_CLASSES);
    HPT_TRY(check_boxes(&t, "truth", 1, s.masks));
    HPT_TRY(check_boxes(&f, "found", 0, s.masks));
    HPT_TRY(hpt__truth_arrays(classes, &t, &f, s.masks, &of_truth, &of_found));
    return score(ctx, o, &s, &of_truth, &of_found, result);
}
hpt_status hpt_score_boxes(hpt_context *ctx, const hpt_config *cfg, const char *truth, const char *results,
                           hpt_result **result) {
    const hpt__options *o;
    hpt__ap_settings s;
    hpt__marks of_truth, of_found;
    OUT(result);
    HOLD(ctx, CONTEXT);
    NOT_NULL(truth);
    NOT_NULL(results);
    HPT_TRY(settings(ctx, cfg, &o, &s));
    HPT_TRY(hpt__truth_read(truth, s.masks, &of_truth));
    hpt_status st = hpt__found_read(results, &of_truth, s.masks, &of_found);
    if (st) {
        hpt__marks_free(&of_truth);
        return st;
    }
    /* COCO's own evaluator knows crowds, but neither "ignore" nor "difficult" */
    const char *format = of_truth.format;
    for (uint64_t i = 0; i < of_truth.n && s.metric == HPT__AP_COCO && !strcmp(format, "coco"); i++)
        of_truth.m[i].ignored = 0;
    st = score(ctx, o, &s, &of_truth, &of_found, result);
    if (st) return st;
    json_object_set_new((*result)->json, "truth", hpt__json_text(truth));
    json_object_set_new((*result)->json, "truth_format", json_string(format));
    json_object_set_new((*result)->json, "results", hpt__json_text(results));
    if (!hpt__json_lost()) return HPT_OK;
    hpt_result_destroy(*result);
    *result = NULL;
    return hpt__fail_memory(64);
}

/* SPDX-License-Identifier: MIT
 * Evaluations, the search for a source, and comparisons: hpt_model_linear, _knn, _finetune, hpt_source_search,
 * hpt_rv2 and the tests of scores. Each call that computes has the turn of its context. */
#include "api/api.h"
#include "core/alloc.h"
#include "eval/metrics.h"
#include "eval/similarity.h"
#include "ssl/grid.h"
#include "ssl/probe.h"
#include "ssl/score.h"
#include "ssl/search.h"
#include <string.h>

static hpt_status finish(hpt_status st, json_t *j, hpt_result **result) {
    if (st) {
        json_decref(j);
        return st;
    }
    return hpt__result_new(j, result);
}
/* Checks that every supervised evaluation shares, and room for the test logits where probe_keep asks for them. */
static hpt_status begin(char stage, hpt_dataset *train, hpt_dataset *test, const hpt_config *cfg,
                        const hpt__options **o, json_t **j, float **logits, uint64_t *count) {
    *logits = NULL;
    HPT_TRY(hpt__config_options(cfg, o));
    HPT_TRY(hpt__options_check(*o, stage));
    *count = test && OPT_I(*o, probe_keep) ? test->count * train->src->classes : 0;
    if (*count && !(*logits = hpt__alloc((size_t)*count * 4))) return hpt__fail_memory((size_t)*count * 4);
    if ((*j = hpt__json_begin())) return HPT_OK;
    hpt__free(*logits);
    return hpt__fail_memory(64);
}
static hpt_status end(hpt_status st, json_t *j, float *logits, uint64_t count, hpt__head *head, uint64_t dim,
                      hpt_result **result) {
    st = finish(st, j, result);
    if (!st && logits) hpt__result_add(*result, "test_logits", logits, count);
    else hpt__free(logits);
    if (!st) {
        hpt__result_add(*result, "head_weight", head->w, (uint64_t)head->classes * dim);
        hpt__result_add(*result, "head_bias", head->b, (uint64_t)head->classes);
    } else {
        hpt__free(head->w);
        hpt__free(head->b);
    }
    *head = (hpt__head){NULL, NULL, 0};
    return st;
}

hpt_status hpt_model_linear(hpt_model *model, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                            const hpt_config *cfg, hpt_result **result) {
    const hpt__options *o;
    json_t *j;
    float *logits;
    uint64_t n;
    OUT(result);
    HOLD(model, MODEL);
    HOLD(train, DATASET);
    HOLD_IF(val, DATASET);
    HOLD_IF(test, DATASET);
    HPT_TRY(begin('L', train, test, cfg, &o, &j, &logits, &n));
    hpt__head head = {NULL, NULL, 0};
    hpt_status st = hpt__model_linear(model, train, val, test, o, j, logits, &head);
    return end(st, j, logits, n, &head, (uint64_t)model->net.feature_dim, result);
}

hpt_status hpt_model_knn(hpt_model *model, hpt_dataset *train, hpt_dataset *test, const hpt_config *cfg,
                         hpt_result **result) {
    const hpt__options *o;
    OUT(result);
    HOLD(model, MODEL);
    HOLD(train, DATASET);
    HOLD(test, DATASET);
    HPT_TRY(hpt__config_options(cfg, &o));
    json_t *j = hpt__json_begin();
    if (!j) return hpt__fail_memory(64);
    return finish(hpt__model_knn(model, train, test, o, j), j, result);
}

hpt_status hpt_model_finetune(hpt_model *model, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                              const hpt_config *cfg, hpt_model **tuned, hpt_result **result) {
    const hpt__options *o;
    json_t *j;
    float *logits;
    uint64_t n;
    hpt__tuned t = {0};
    OUT(result);
    if (tuned) *tuned = NULL;
    HOLD(model, MODEL);
    HOLD(train, DATASET);
    HOLD_IF(val, DATASET);
    HOLD_IF(test, DATASET);
    HPT_TRY(begin('F', train, test, cfg, &o, &j, &logits, &n));
    hpt_status st = hpt__finetune(model, train, val, test, o, j, &t, logits);
    if (!st && tuned && !(st = hpt__model_clone(model, tuned))) st = hpt__tuned_give(&t, train, *tuned);
    hpt__head head = {NULL, NULL, 0};
    if (!st) st = hpt__tuned_head(&t, &head);
    st = end(st, j, logits, n, &head, (uint64_t)model->net.feature_dim, result);
    if (st && tuned && *tuned) {
        hpt_model_destroy(*tuned);
        *tuned = NULL;
    }
    hpt__tuned_free(&t);
    return st;
}

hpt_status hpt_linear_features(hpt_context *ctx, const hpt_config *cfg, uint32_t dim, uint32_t classes,
                               const float *train, const int32_t *train_labels, uint64_t n_train, const float *val,
                               const int32_t *val_labels, uint64_t n_val, const float *test,
                               const int32_t *test_labels, uint64_t n_test, hpt_result **result) {
    const hpt__options *o;
    OUT(result);
    HOLD(ctx, CONTEXT);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__options_check(o, 'L'));
    if ((n_train && (!train || !train_labels)) || (n_val && (!val || !val_labels)) ||
        (n_test && (!test || !test_labels)))
        return hpt__fail(HPT_ERR_ARGUMENT, "features or labels are NULL");
    if (!dim || dim > 1u << 20 || classes > 1u << 20)
        return hpt__fail(HPT_ERR_ARGUMENT, "%u features, %u classes", dim, classes);
    json_t *j = hpt__json_begin();
    uint64_t kept = OPT_I(o, probe_keep) ? n_test * classes : 0;
    float *logits = kept ? hpt__alloc((size_t)kept * 4) : NULL;
    hpt__head head = {NULL, NULL, 0};
    hpt_status st = j && (logits || !kept) ? HPT_OK : hpt__fail_memory((size_t)kept * 4);
    if (!st)
        st = hpt__features_linear(ctx, o, (int)dim, (int)classes,
                                  (hpt__labelled){train, train_labels, n_train, NULL, NULL},
                                  (hpt__labelled){val, val_labels, n_val, NULL, NULL},
                                  (hpt__labelled){test, test_labels, n_test, NULL, NULL}, j, logits, &head);
    return end(st, j, logits, kept, &head, dim, result);
}

hpt_status hpt_model_score(hpt_model *model, hpt_dataset *test, const hpt_config *cfg, hpt_result **result) {
    const hpt__options *o;
    OUT(result);
    HOLD(model, MODEL);
    HOLD(test, DATASET);
    HPT_TRY(hpt__config_options(cfg, &o));
    json_t *j = hpt__json_begin();
    return j ? finish(hpt__model_score(model, test, o, j), j, result) : hpt__fail_memory(64);
}

hpt_status hpt_source_search(hpt_context *ctx, const hpt_config *cfg, hpt_model *base, hpt_dataset *const *sources,
                             const char *const *names, uint32_t count, hpt_dataset *train, hpt_dataset *val,
                             hpt_step_fn fn, void *user, hpt_model **winner, hpt_result **result) {
    const hpt__options *o;
    OUT(winner);
    OUT(result);
    HOLD(ctx, CONTEXT);
    HOLD(base, MODEL);
    HOLD(train, DATASET);
    HOLD(val, DATASET);
    NOT_NULL(sources);
    NOT_NULL(names);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(sources[i], DATASET);
        NOT_NULL(names[i]);
    }
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__options_check(o, 'S'));
    hpt__search s = {ctx, o, base, sources, names, count > 255 ? 256 : (int)count, train, val, fn, user};
    json_t *j = hpt__json_begin();
    if (!j) return hpt__fail_memory(64);
    hpt_status st = finish(hpt__source_search(&s, winner, j), j, result);
    if (st && *winner) {
        hpt_model_destroy(*winner);
        *winner = NULL;
    }
    return st;
}

hpt_status hpt_rv2(const float *x, uint64_t p, const float *y, uint64_t q, uint64_t n, double *rv2) {
    NOT_NULL(x);
    NOT_NULL(y);
    NOT_NULL(rv2);
    return hpt__rv2(x, p, y, q, n, NULL, rv2);
}
hpt_status hpt_context_rv2(hpt_context *ctx, const float *x, uint64_t p, const float *y, uint64_t q, uint64_t n,
                           double *rv2) {
    hpt__span span;
    HOLD(ctx, CONTEXT);
    NOT_NULL(x);
    NOT_NULL(y);
    NOT_NULL(rv2);
    hpt__span_begin(&ctx->watch, &span, HPT_PHASE_COMPARE, 0, n, "two representations of %llu images",
                    (unsigned long long)n);
    hpt_status st = hpt__rv2(x, p, y, q, n, &span, rv2);
    if (!st) span.done = n;
    hpt__span_end(&span);
    return st;
}
hpt_status hpt_error_iou(const int32_t *a, const int32_t *b, const int32_t *labels, uint64_t n, double *iou) {
    NOT_NULL(a);
    NOT_NULL(b);
    NOT_NULL(labels);
    NOT_NULL(iou);
    *iou = hpt__error_iou(a, b, labels, n);
    return HPT_OK;
}
hpt_status hpt_welch(const double *a, uint64_t na, const double *b, uint64_t nb, double *t, double *dof, double *p) {
    NOT_NULL(a);
    NOT_NULL(b);
    NOT_NULL(t);
    NOT_NULL(dof);
    NOT_NULL(p);
    return hpt__welch(a, na, b, nb, t, dof, p);
}
hpt_status hpt_auroc(const float *scores, const uint8_t *truth, uint64_t n, double *area) {
    NOT_NULL(scores);
    NOT_NULL(truth);
    NOT_NULL(area);
    HPT_TRY(hpt__auroc(scores, 1, truth, 1, n, area));
    return *area == *area ? HPT_OK : hpt__fail(HPT_ERR_NUMERIC, "AUROC needs images of both kinds");
}

/* SPDX-License-Identifier: MIT
 * Labels are looked at here, all of them, before anything trains; and here model and classifier become one network and
 * two again. */
#include "ssl/taught.h"
#include "core/alloc.h"
#include "data/classes.h"
#include <string.h>
#include <xxhash.h>

int32_t hpt__taught_label(const hpt__taught *t, const hpt_dataset *ds, uint64_t i) {
    int32_t y = hpt__dataset_label(ds, i);
    return t->to ? t->to[y] : y;
}

int32_t hpt__taught_few_label(const hpt__taught *t, const hpt_dataset *few, uint64_t i) {
    int32_t y = hpt__dataset_label(few, i);
    return t->few_to ? t->few_to[y] : y;
}

uint64_t hpt__taught_fingerprint(const hpt__taught *t, const hpt_dataset *ds) {
    uint64_t hash = (uint64_t)hpt__classes(&t->fc);
    for (uint64_t i = 0; i < ds->count; i++) {
        int32_t y = hpt__taught_label(t, ds, i);
        hash = XXH3_64bits_withSeed(&y, sizeof y, hash);
    }
    return hash;
}

hpt_status hpt__taught_one_label(const hpt_dataset *ds, const char *what) {
    char where[400];
    int kind = hpt__dataset_labelled(ds);
    if (!kind) return hpt__dataset_no_labels(ds, what);
    if (kind == 2)
        return hpt__fail(HPT_ERR_ARGUMENT,
                         "%s: an image has several labels, and one is learnt (finetuning learns several)", what);
    for (uint64_t i = 0; i < ds->count; i++) {
        if (hpt__dataset_label(ds, i) >= 0) continue;
        hpt__dataset_where(ds, i, where, sizeof where);
        return hpt__fail(HPT_ERR_ARGUMENT, "%s: %s has no label", what, where);
    }
    return HPT_OK;
}

/* One label an image, and of each class an image. */
static hpt_status look_at_labels(const hpt_dataset *ds, const hpt__options *o) {
    HPT_TRY(hpt__taught_one_label(ds, "data"));
    if (ds->src->classes < 2)
        return hpt__fail(HPT_ERR_ARGUMENT, "data: labelled images of at least two classes are needed");
    return OPT_IS(o, empty_classes, "allow") ? HPT_OK : hpt__dataset_all_classes(ds, "data");
}

hpt_status hpt__taught_few(hpt__taught *t, const hpt__options *o, const hpt_dataset *ds) {
    int k = hpt__classes(&t->fc), classes = 0, missing = 0;
    hpt__free(t->few_to);               /* of a set that was refused */
    t->few_to = NULL;
    HPT_TRY(hpt__taught_one_label(ds, "labelled"));
    HPT_TRY(hpt__taught_match(&t->fc, ds, "labelled", &t->few_to));
    if (OPT_IS(o, empty_classes, "allow")) return HPT_OK;
    uint8_t *seen = hpt__calloc((size_t)k, 1);
    if (!seen) return hpt__fail_memory((size_t)k);
    for (uint64_t i = 0; i < ds->count; i++) {
        classes += !seen[hpt__taught_few_label(t, ds, i)];
        seen[hpt__taught_few_label(t, ds, i)] = 1;
    }
    while (missing < k && seen[missing]) missing++;
    hpt__free(seen);
    if (missing == k) return HPT_OK;
    char number[16];
    snprintf(number, sizeof number, "%d", missing);
    return hpt__fail(HPT_ERR_MISMATCH, "labelled: %d of the %d classes of the source have an image, class '%.200s' of "
                     "the source has none (empty_classes=allow trains without)", classes, k,
                     t->fc.name ? t->fc.name[missing] : number);
}

hpt_status hpt__taught_unlabelled(const hpt__taught *t, const hpt_dataset *ds) {
    hpt__class_names into = {t->fc.name, (uint32_t)hpt__classes(&t->fc)}, from = {ds->src->class_name,
                                                                                  ds->src->classes};
    hpt__class_rule rule;
    int32_t *to = NULL;
    if (!into.name || !from.name || from.n < 2) return HPT_OK;
    hpt_status st = hpt__classes_match(into, from, &rule, &to);
    uint32_t other = 0, first = from.n;
    for (uint32_t c = 0; !st && to && c < from.n; c++)
        if (to[c] < 0) {
            if (first == from.n) first = c;
            other++;
        }
    if (other)
        hpt__log(ds->ctx, 1,
                 "unlabelled: %u of its %u classes are none of the source's %u, first '%.200s': their images are taken "
                 "for those of other classes", other, from.n, into.n, from.name[first]);
    hpt__free(to);
    return st == HPT_ERR_FORMAT ? HPT_OK : st;
}

hpt_status hpt__taught_match(const hpt__classifier *fc, const hpt_dataset *ds, const char *what, int32_t **to) {
    hpt__class_names into = {fc->name, (uint32_t)hpt__classes(fc)}, from = {ds->src->class_name, ds->src->classes};
    hpt__class_rule rule;
    char where[400], text[900];
    hpt_status st = hpt__classes_match(into, from, &rule, to);
    if (st == HPT_ERR_FORMAT) return hpt__fail_context(HPT_ERR_ARGUMENT, "%s", what);
    HPT_TRY(st);
    for (uint64_t i = 0; i < ds->count; i++) {
        int32_t y = hpt__dataset_label(ds, i), is = *to ? (*to)[y] : y;
        if (is >= 0 && is < hpt__classes(fc)) continue;
        hpt__dataset_where(ds, i, where, sizeof where);
        if (into.name || from.name)
            hpt__classes_missing(into, from, (uint32_t)y, "the classifier's", where, text, sizeof text);
        else
            snprintf(text, sizeof text, "%s: label %d is outside 0..%d, the classes of the classifier", where, (int)y,
                     (int)into.n - 1);
        hpt__free(*to);
        *to = NULL;
        return hpt__fail(HPT_ERR_MISMATCH, "%s: %s%s", what, text,
                         !strcmp(what, "data") ? "; a model without a classifier (classifier=drop) gets a fresh one"
                         : !strcmp(what, "labelled") ? "; source and target have the same classes, by name" : "");
    }
    return HPT_OK;
}

hpt_status hpt__taught_fits(const hpt__taught *t, const hpt_dataset *ds, const char *what) {
    int32_t *to = NULL;
    HPT_TRY(hpt__taught_one_label(ds, what));
    HPT_TRY(hpt__taught_match(&t->fc, ds, what, &to));
    hpt__free(to);
    return HPT_OK;
}

/* Images of a class count for n/(K n_c): each class as much as every other, and 1 in the mean over the images. */
static hpt_status balance(hpt__taught *t, const hpt_dataset *ds) {
    size_t k = (size_t)hpt__classes(&t->fc);
    if (!(t->weight = hpt__calloc(k, sizeof *t->weight))) return hpt__fail_memory(k * sizeof *t->weight);
    for (uint64_t i = 0; i < ds->count; i++) t->weight[hpt__taught_label(t, ds, i)]++;
    for (size_t c = 0; c < k; c++)
        if (t->weight[c] > 0) t->weight[c] = (double)ds->count / (double)k / t->weight[c];
    return HPT_OK;
}

/* The model's classifier goes on, or a fresh one begins as option init_method says. */
static hpt_status join(hpt__taught *t, const hpt__options *o, const hpt_model *m, int fresh) {
    HPT_TRY(hpt__joined_open(&t->joined, m, hpt__classifier_form_of(&t->fc), hpt__classes(&t->fc)));
    if (fresh)
        HPT_TRY(hpt__net_init(&t->joined.net, (uint64_t)OPT_I(o, seed), OPT_IS(o, init_method, "openselfsup"), 1,
                              t->joined.params, t->joined.stats));
    hpt__joined_set(&t->joined, m, fresh ? NULL : &t->fc);
    return HPT_OK;
}

/* What classifies: the features for method=supervised, directions for method=mme. */
static hpt__classifier_form form_of(const hpt__options *o) {
    int mme = OPT_IS(o, method, "mme"), deep = OPT_IS(o, mme_classifier, "deep");
    return (hpt__classifier_form){mme ? OPT_F(o, mme_temperature) : 0, mme && deep ? (int)OPT_I(o, mme_dim) : 0};
}
/* Does the model's classifier go on? One of method=mme does in any run, with the numbers that it was made with; one
 * linear layer cannot become one of directions, and goes. */
static hpt_status go_on(const hpt_model *m, const hpt__options *o, int *fresh) {
    hpt__classifier_form want = form_of(o), is = hpt__classifier_form_of(&m->fc);
    *fresh = !hpt__classes(&m->fc);
    if (*fresh || !(want.temperature > 0)) return HPT_OK;
    if (!(is.temperature > 0)) {
        hpt__log(m->ctx, 0,
                 "the model's linear classifier of %d classes makes room for one of directions, which begins anew",
                 hpt__classes(&m->fc));
        *fresh = 1;
    } else if (is.hidden != want.hidden || is.temperature < want.temperature || is.temperature > want.temperature)
        return hpt__fail(HPT_ERR_MISMATCH, "the model's classifier is mme_classifier=%s mme_dim=%d mme_temperature=%g, "
                         "and the options ask for %s, %d, %g: classifier=drop begins a fresh one",
                         is.hidden ? "deep" : "plain", is.hidden, is.temperature, want.hidden ? "deep" : "plain",
                         want.hidden, want.temperature);
    return HPT_OK;
}

static hpt_status open(hpt__taught *t, const hpt__options *o, const hpt_model *m, const hpt_dataset *ds) {
    int fresh;
    if (m->fc.several)
        return hpt__fail(HPT_ERR_ARGUMENT,
                         "the model's classifier gives an image several labels, method=%s learns one: classifier=drop",
                         OPT_S(o, method));
    HPT_TRY(go_on(m, o, &fresh));
    int given = ds ? 0 : (int)OPT_I(o, classes);
    if (!ds && fresh && given < 2)
        return hpt__fail(HPT_ERR_ARGUMENT, "method=%s needs a data set with labels, or a model with a "
                         "classifier, or (the host gives images and labels) option classes, at least 2",
                         OPT_S(o, method));
    if (given && !fresh && given != hpt__classes(&m->fc))
        return hpt__fail(HPT_ERR_MISMATCH, "option 'classes' is %d and the model's classifier has %d: leave it out, or "
                         "classifier=drop", given, hpt__classes(&m->fc));
    if (!ds && OPT_IS(o, class_weights, "balanced"))
        return hpt__fail(HPT_ERR_OPTION, "option 'class_weights': balanced counts the images of a data set, and there "
                         "is none");
    if (ds) HPT_TRY(look_at_labels(ds, o));
    if (fresh)
        HPT_TRY(hpt__classifier_create_as(&t->fc, form_of(o), m->net.feature_dim, ds ? (int)ds->src->classes : given, 0,
                                          ds ? ds->src->class_name : NULL));
    else
        HPT_TRY(hpt__classifier_copy(&t->fc, &m->fc));
    if (ds && !fresh) HPT_TRY(hpt__taught_match(&t->fc, ds, "data", &t->to));
    if (ds && OPT_IS(o, class_weights, "balanced")) HPT_TRY(balance(t, ds));
    return join(t, o, m, fresh);
}
hpt_status hpt__taught_open(hpt__taught *t, const hpt__options *o, const hpt_model *m, const hpt_dataset *ds) {
    memset(t, 0, sizeof *t);
    hpt_status st = open(t, o, m, ds);
    if (st) hpt__taught_close(t);
    return st;
}
void hpt__taught_close(hpt__taught *t) {
    hpt__joined_close(&t->joined);
    hpt__classifier_fini(&t->fc);
    hpt__free(t->to);
    hpt__free(t->few_to);
    hpt__free(t->weight);
    memset(t, 0, sizeof *t);
}

hpt_status hpt__taught_give(const hpt__taught *t, const float *params, const float *stats, hpt_model *m) {
    hpt__classifier fc;
    HPT_TRY(hpt__classifier_copy(&fc, &t->fc));
    hpt__joined_give(&t->joined.net, params, stats, m, &fc);
    hpt__classifier_fini(&m->fc);
    m->fc = fc;
    return HPT_OK;
}

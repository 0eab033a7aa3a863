/* SPDX-License-Identifier: MIT
 * Contract: labelled.h. Opens two or three labelled sets together: classes matched, shared images refused,
 * unreadable images left out; and tells all of it in the result. */
#include "ssl/labelled.h"
#include "core/alloc.h"
#include "core/result.h"
#include <math.h>
#include <string.h>

const char *const hpt__set_names[3] = {"train", "val", "test"};

static hpt__class_names names_of(const hpt_dataset *ds) {
    return (hpt__class_names){ds->src->class_name, ds->src->classes};
}

/* ---- classes ---- */

/* Class of train, which has n, that class c of a set is; or -1. */
static int32_t to_train(const int32_t *to, uint32_t n, int32_t c) { return to ? to[c] : c < (int32_t)n ? c : -1; }

static hpt_status unknown_class(const hpt_dataset *train, const hpt_dataset *ds, const char *what, uint64_t image,
                                uint32_t c) {
    char where[400], text[900];
    hpt__dataset_where(ds, image, where, sizeof where);
    if (!ds->src->class_name && !train->src->class_name)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s: %s: label %u is outside 0..%d, the classes of train", what, where, c,
                         (int)train->src->classes - 1);
    hpt__classes_missing(names_of(train), names_of(ds), c, "train's", where, text, sizeof text);
    return hpt__fail(HPT_ERR_ARGUMENT, "%s: %s", what, text);
}

/* Every label that ds uses is a class of train. */
static hpt_status check_labels(const hpt_dataset *train, const hpt_dataset *ds, const char *what, const int32_t *to) {
    uint32_t n = train->src->classes;
    char where[400];
    for (uint64_t j = 0; j < ds->count; j++) {
        const uint8_t *m = hpt__dataset_targets(ds, j);
        for (uint32_t c = 0; m && c < ds->src->classes; c++)
            if (m[c] && to_train(to, n, (int32_t)c) < 0) return unknown_class(train, ds, what, j, c);
        int32_t y = hpt__dataset_label(ds, j);
        if (!m && y < 0) {
            hpt__dataset_where(ds, j, where, sizeof where);
            return hpt__fail(HPT_ERR_ARGUMENT, "%s: %s has no label", what, where);
        }
        if (!m && to_train(to, n, y) < 0) return unknown_class(train, ds, what, j, (uint32_t)y);
    }
    return HPT_OK;
}

hpt_status hpt__labels_match(const hpt_dataset *train, const hpt_dataset *ds, const char *what, hpt__class_rule *rule,
                             int32_t **to) {
    int kind = hpt__dataset_labelled(ds), other = hpt__dataset_labelled(train);
    *to = NULL;
    if (!other) return hpt__dataset_no_labels(train, "train");
    if (!kind) return hpt__dataset_no_labels(ds, what);
    if (kind != other)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s has %s an image, train has %s", what, kind == 2 ? "several labels"
                         : "one label", kind == 2 ? "one" : "several");
    hpt_status st = hpt__classes_match(names_of(train), names_of(ds), rule, to);
    if (st == HPT_ERR_FORMAT) return hpt__fail_context(HPT_ERR_ARGUMENT, "train, %s", what);
    /* columns without names: nothing else says which is which */
    if (!st && kind == 2 && !*to && ds->src->classes != train->src->classes)
        st = hpt__fail(HPT_ERR_ARGUMENT, "%s has %u classes, train has %u", what, ds->src->classes,
                       train->src->classes);
    if (!st) st = check_labels(train, ds, what, *to);
    if (st) {
        hpt__free(*to);
        *to = NULL;
    }
    return st;
}

/* Labels of the images that are left, as classes of train. */
static hpt_status take_labels(hpt__sets *s, int i, const int32_t *to) {
    const hpt_dataset *ds = s->ds[i];
    size_t n = (size_t)ds->count, k = (size_t)s->classes;
    int several = hpt__dataset_labelled(ds) == 2;
    if (several) s->multi[i] = hpt__calloc(n * k + 1, 1);
    else s->y[i] = hpt__alloc(sizeof *s->y[i] * (n + 1));
    s->absent[i] = hpt__alloc(k + 1);
    if ((!s->multi[i] && !s->y[i]) || !s->absent[i]) return hpt__fail_memory(n * 4);
    memset(s->absent[i], 1, k);
    for (size_t j = 0; j < n; j++) {
        const uint8_t *m = hpt__dataset_targets(ds, j);
        for (uint32_t c = 0; several && c < ds->src->classes; c++) {
            int32_t at = to_train(to, (uint32_t)s->classes, (int32_t)c);
            if (!m[c] || at < 0) continue;
            s->multi[i][j * k + (size_t)at] = m[c];
            s->absent[i][at] = 0;
        }
        if (!several) s->absent[i][s->y[i][j] = to_train(to, (uint32_t)s->classes, hpt__dataset_label(ds, j))] = 0;
    }
    s->truth[i] = (hpt__truth){s->y[i], s->multi[i], n, s->classes};
    return HPT_OK;
}

static void class_text(const hpt_dataset *ds, int c, char *text, size_t size) {
    if (ds->src->class_name) snprintf(text, size, "%s", ds->src->class_name[c]);
    else snprintf(text, size, "%d", c);
}

/* What is worth a word, said once for a pair of sources. */
static void tell(const hpt__sets *s, int i) {
    const hpt_dataset *ds = s->given[i], *train = s->given[0];
    const char *set = hpt__set_names[i];
    if (ds->src == train->src || atomic_exchange(&ds->src->compared, (const void *)train->src) == train->src) return;
    if (s->rule[i] == HPT__CLASS_INDEX)
        hpt__log(train->ctx, ds->src->classes != train->src->classes,
                 "%s has only %s for its classes, %s has %s: matched by index (%u and %u classes)", ds->src->class_name
                 ? "train" : set, "numbers", ds->src->class_name ? set : "train", "names", train->src->classes,
                 ds->src->classes);
    if (s->rule[i] == HPT__CLASS_NUMBER)
        hpt__log(train->ctx, 0, "train, %s: class names that are numbers were matched with numbers by their value",
                 set);
    char text[600] = "", name[128];
    int n = 0;
    for (int c = 0; c < s->classes; c++) {
        if (!s->absent[i][c]) continue;
        class_text(train, c, name, sizeof name);
        if (n++ < 8) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.60s", n > 1 ? ", " : "", name);
    }
    if (n)
        hpt__log(train->ctx, 0, "%s: no image of %d of train's %d classes: %s%s", set, n, s->classes, text,
                 n > 8 ? ", ..." : "");
}

/* ---- sets ---- */

static hpt_status apart(const hpt__sets *s, int a, int b) {
    uint64_t common, first[2];
    char wa[420], wb[420];
    if (!s->given[a] || !s->given[b]) return HPT_OK;
    HPT_TRY(hpt__dataset_overlap(s->given[a], s->given[b], &common, first, NULL));
    if (!common) return HPT_OK;
    hpt__dataset_where(s->given[a], first[0], wa, sizeof wa);
    hpt__dataset_where(s->given[b], first[1], wb, sizeof wb);
    return hpt__fail(HPT_ERR_ARGUMENT, "%s and %s share %llu images, first %s and %s", hpt__set_names[a],
                     hpt__set_names[b], (unsigned long long)common, wa, wb);
}

/* One normalisation for all sets: the model's, unless options give another ("data": the training set's). Filled in
 * as numbers. */
static hpt_status normalisation(hpt__sets *s, const hpt__pixels *model) {
    char text[96];
    HPT_TRY(hpt__dataset_normalization(s->given[0], &s->opt, model, 0, &s->pixels));
    hpt__pixels_text(s->pixels.mean, text);
    HPT_TRY(hpt__options_set(&s->opt, "pixel_mean", text));
    hpt__pixels_text(s->pixels.std, text);
    return hpt__options_set(&s->opt, "pixel_std", text);
}

/* Every class of train still has an image when those that cannot be read are gone. */
static hpt_status classes_left(const hpt__sets *s) {
    uint64_t gone = s->given[0]->count - s->ds[0]->count;
    if (!gone) return HPT_OK;
    hpt_status st = hpt__dataset_all_classes(s->ds[0], "train");
    return st ? hpt__fail_context(st, "without its %llu unreadable images", (unsigned long long)gone) : HPT_OK;
}

hpt_status hpt__sets_open(hpt__sets *s, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                          const hpt__options *base, const hpt__pixels *model) {
    hpt_dataset *const given[3] = {train, val, test};
    int32_t *to[3] = {NULL, NULL, NULL};
    memset(s, 0, sizeof *s);
    memcpy(s->given, given, sizeof given);
    s->classes = (int)train->src->classes;
    hpt_status st = hpt__options_copy(&s->opt, base);
    int full = !OPT_IS(&s->opt, empty_classes, "allow");
    for (int i = 0; i < 3 && !st; i++)
        if (given[i]) st = hpt__labels_match(train, given[i], hpt__set_names[i], &s->rule[i], &to[i]);
    if (!st && s->classes < (hpt__dataset_labelled(train) == 1 ? 2 : 1))
        st = hpt__fail(HPT_ERR_ARGUMENT, "labelled images of at least two classes are needed");
    if (!st && full) st = hpt__dataset_all_classes(train, "train");
    for (int i = 0; i < 3 && !st && !OPT_IS(&s->opt, overlap, "allow"); i++) st = apart(s, i == 2, i ? 2 : 1);
    if (!st && model) st = normalisation(s, model);
    for (int i = 0; i < 3 && !st; i++) {
        if (!given[i]) continue;
        st = hpt__dataset_readable(given[i], given[i]->count, &s->ds[i]);
        if (st) st = hpt__fail_context(st, "%s", hpt__set_names[i]);
        if (!st) st = take_labels(s, i, to[i]);
        if (!st && i) tell(s, i);
    }
    if (!st && full) st = classes_left(s);
    for (int i = 0; i < 3; i++) hpt__free(to[i]);
    if (st) hpt__sets_close(s);
    return st;
}

void hpt__sets_close(hpt__sets *s) {
    for (int i = 0; i < 3; i++) {
        if (s->ds[i]) hpt__handle_close(s->ds[i], HPT__KIND_DATASET);
        hpt__free(s->y[i]);
        hpt__free(s->multi[i]);
        hpt__free(s->absent[i]);
    }
    hpt__options_fini(&s->opt);
    memset(s, 0, sizeof *s);
}

int hpt__sets_again(hpt_status st, const hpt_dataset *train, const hpt_dataset *val, const hpt_dataset *test,
                    uint64_t *known) {
    uint64_t before = *known;
    *known = train->src->bad_count + (val ? val->src->bad_count : 0) + (test ? test->src->bad_count : 0);
    return st == HPT_ERR_DATA && *known > before;
}

void hpt__sets_spread(const hpt__sets *s, int i, float *rows) {
    const hpt_dataset *all = s->given[i], *ds = s->ds[i];
    size_t k = (size_t)s->classes;
    for (uint64_t at = all->count, left = ds->count; at-- > 0;) {
        float *to = rows + at * k;
        if (left && all->index[at] == ds->index[left - 1]) memmove(to, rows + --left * k, sizeof *to * k);
        else for (size_t c = 0; c < k; c++) to[c] = NAN;
    }
}

/* ---- what results say ---- */

static json_t *member(json_t *of, const char *key) {
    json_t *j = json_object_get(of, key);
    if (!j) json_object_set_new(of, key, j = json_object());
    return j;
}

void hpt__report_unreadable(json_t *result, const char *set, const hpt_dataset *ds) {
    enum { NAMED = 100 };
    uint64_t n = hpt__dataset_bad_count(ds);
    json_object_set_new(result, "unreadable_images",
                        json_integer(json_integer_value(json_object_get(result, "unreadable_images")) + (json_int_t)n));
    uint64_t cut = hpt__dataset_cut_count(ds);
    if (cut)
        json_object_set_new(result, "truncated_images",
                            json_integer(json_integer_value(json_object_get(result, "truncated_images")) +
                                         (json_int_t)cut));
    if (!n) return;
    json_t *names = json_array();
    char name[4200];
    for (uint64_t i = 0; i < ds->count && json_array_size(names) < NAMED; i++) {
        if (!hpt__dataset_is_bad(ds, i)) continue;
        hpt__dataset_name(ds, i, name, sizeof name);
        json_array_append_new(names, hpt__json_text(name));
    }
    json_object_set_new(member(result, "unreadable"), set, json_pack("{s:I,s:o}", "count", (json_int_t)n, "names",
        names));
}

void hpt__sets_report(const hpt__sets *s, json_t *result) {
    static const char *const rules[] = {"same", "name", "number", "index"};
    char key[32], name[400];
    for (int i = 0; i < 3; i++) {
        if (!s->given[i]) continue;
        snprintf(key, sizeof key, "%s_images", hpt__set_names[i]);
        json_object_set_new(result, key, json_integer((json_int_t)s->ds[i]->count));
        hpt__report_unreadable(result, hpt__set_names[i], s->given[i]);
        if (s->rule[i] != HPT__CLASS_SAME)
            json_object_set_new(member(result, "classes_matched"), hpt__set_names[i], json_string(rules[s->rule[i]]));
        json_t *list = json_array();
        for (int c = 0; c < s->classes && i; c++) {
            if (!s->absent[i][c]) continue;
            class_text(s->given[0], c, name, sizeof name);
            json_array_append_new(list, hpt__json_text(name));
        }
        if (json_array_size(list)) json_object_set(member(result, "classes_only_in_train"), hpt__set_names[i], list);
        json_decref(list);
    }
}

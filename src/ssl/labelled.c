/* SPDX-License-Identifier: MIT */
#include "ssl/labelled.h"
#include "core/alloc.h"
#include <string.h>

const char *const hpt__set_names[3] = {"train", "val", "test"};

static hpt_status labels_of(hpt__sets *s, int i) {
    hpt_dataset *ds = s->ds[i];
    const char *what = hpt__set_names[i];
    int kind = hpt__dataset_labelled(ds);
    char where[800];
    if (!kind) return hpt__fail(HPT_ERR_ARGUMENT, "%s: the data set has no labels", what);
    if (kind != hpt__dataset_labelled(s->ds[0])) return hpt__fail(HPT_ERR_ARGUMENT, "%s has %s an image, train has %s", what, kind == 2 ? "several labels" : "one label", kind == 2 ? "one" : "several");
    if (kind == 2 && (int)ds->src->classes != s->classes) return hpt__fail(HPT_ERR_ARGUMENT, "%s has %u classes, train has %d", what, ds->src->classes, s->classes);
    if (kind == 2) s->multi[i] = hpt__alloc((size_t)ds->count * (size_t)s->classes);
    else s->y[i] = hpt__alloc(sizeof *s->y[i] * (size_t)ds->count);
    if (!s->multi[i] && !s->y[i]) return hpt__fail_memory((size_t)ds->count * 4);
    for (uint64_t j = 0; j < ds->count; j++) {
        if (kind == 2) {
            memcpy(s->multi[i] + j * (uint64_t)s->classes, hpt__dataset_targets(ds, j), (size_t)s->classes);
            continue;
        }
        int32_t y = s->y[i][j] = hpt__dataset_label(ds, j);
        if (y >= 0 && y < s->classes) continue;
        hpt__dataset_where(ds, j, where, sizeof where);
        return hpt__fail(HPT_ERR_ARGUMENT, "%s: %s: label %d is outside 0..%d, the classes of train", what, where, y, s->classes - 1);
    }
    s->truth[i] = (hpt__truth){s->y[i], s->multi[i], ds->count, s->classes};
    return HPT_OK;
}

static hpt_status apart(const hpt__sets *s, int a, int b) {
    uint64_t common, first[2];
    char wa[420], wb[420];
    if (!s->ds[a] || !s->ds[b]) return HPT_OK;
    HPT_TRY(hpt__dataset_overlap(s->ds[a], s->ds[b], &common, first, NULL));
    if (!common) return HPT_OK;
    hpt__dataset_where(s->ds[a], first[0], wa, sizeof wa);
    hpt__dataset_where(s->ds[b], first[1], wb, sizeof wb);
    return hpt__fail(HPT_ERR_ARGUMENT, "%s and %s share %llu images, first %s and %s", hpt__set_names[a], hpt__set_names[b], (unsigned long long)common, wa, wb);
}

/* One normalisation for all sets: the training set's, unless options give another. */
static hpt_status normalisation(hpt__options *o, hpt_dataset *train) {
    for (int c = 0; c < 2; c++) {
        char text[96];
        if (strcmp(c ? OPT_S(o, pixel_std) : OPT_S(o, pixel_mean), "auto")) continue;
        HPT_TRY(hpt__dataset_stats(train));
        const float *v = c ? train->std : train->mean;
        /* nine digits bring a float back exactly; written by hand against locales */
        snprintf(text, sizeof text, "%.9e;%.9e;%.9e", (double)v[0], (double)v[1], (double)v[2]);
        for (char *q = text; *q; q++) *q = *q == ',' ? '.' : *q == ';' ? ',' : *q;
        HPT_TRY(hpt__options_set(o, c ? "pixel_std" : "pixel_mean", text));
    }
    return HPT_OK;
}

hpt_status hpt__sets_open(hpt__sets *s, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test, const hpt__options *base) {
    memset(s, 0, sizeof *s);
    s->ds[0] = train;
    s->ds[1] = val;
    s->ds[2] = test;
    s->classes = (int)train->src->classes;
    hpt_status st = hpt__options_copy(&s->opt, base);
    for (int i = 0; i < 3 && !st; i++)
        if (s->ds[i]) st = labels_of(s, i);
    if (!st && s->classes < (s->y[0] ? 2 : 1)) st = hpt__fail(HPT_ERR_ARGUMENT, "labelled images of at least two classes are needed");
    if (!st && !OPT_IS(&s->opt, empty_classes, "allow")) st = hpt__dataset_all_classes(train, "train");
    for (int i = 0; i < 3 && !st && !OPT_IS(&s->opt, overlap, "allow"); i++) st = apart(s, i == 2, i ? 2 : 1);
    if (!st) st = normalisation(&s->opt, train);
    if (st) hpt__sets_close(s);
    return st;
}

void hpt__sets_close(hpt__sets *s) {
    for (int i = 0; i < 3; i++) {
        hpt__free(s->y[i]);
        hpt__free(s->multi[i]);
    }
    hpt__options_fini(&s->opt);
    memset(s, 0, sizeof *s);
}

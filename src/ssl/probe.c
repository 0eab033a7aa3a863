/* SPDX-License-Identifier: MIT */
#include "ssl/probe.h"
#include "core/alloc.h"
#include <string.h>

static hpt_status check_labels(const char *what, const hpt__labelled *s, int classes) {
    for (uint64_t i = 0; i < s->n; i++)
        if (s->y[i] < 0 || s->y[i] >= classes)
            return hpt__fail(HPT_ERR_ARGUMENT, "%s: label %d of image %llu is outside 0..%d", what, s->y[i], (unsigned long long)i, classes - 1);
    return HPT_OK;
}

/* Without a validation set: a class-balanced fifth of train, copied apart. */
static hpt_status hold_out(const hpt__probe *all, const hpt__options *o, hpt__probe *p, float **x, int32_t **y) {
    uint64_t n = all->train.n, a = 0, b = n;
    uint8_t *val = hpt__alloc((size_t)n + 1);
    *x = hpt__alloc(sizeof **x * (size_t)n * (size_t)all->dim);
    *y = hpt__alloc(sizeof **y * (size_t)(n + 1));
    hpt_status st = val && *x && *y ? hpt__probe_holdout(all->train.y, n, all->classes, (uint64_t)OPT_I(o, seed), val) : hpt__fail_memory((size_t)n);
    for (uint64_t i = 0; i < n && !st; i++) {
        uint64_t to = val[i] ? --b : a++;
        memcpy(*x + to * (uint64_t)all->dim, all->train.x + i * (uint64_t)all->dim, sizeof **x * (size_t)all->dim);
        (*y)[to] = all->train.y[i];
    }
    hpt__free(val);
    if (st) return st;
    *p = *all;
    p->train = (hpt__labelled){*x, *y, a};
    p->val = (hpt__labelled){*x + a * (uint64_t)all->dim, *y + a, n - a};
    return HPT_OK;
}

static hpt_status probe(const hpt__probe *in, const hpt__options *o, json_t *result) {
    hpt__probe p = *in;
    float *x = NULL;
    int32_t *y = NULL;
    if (!p.train.n || p.classes < 2) return hpt__fail(HPT_ERR_ARGUMENT, "a probe needs labelled images of at least two classes");
    HPT_TRY(check_labels("train", &p.train, p.classes));
    HPT_TRY(check_labels("val", &p.val, p.classes));
    HPT_TRY(check_labels("test", &p.test, p.classes));
    hpt_status st = p.val.n ? HPT_OK : hold_out(in, o, &p, &x, &y);
    if (!st) st = hpt__linear_probe(&p, o, result);
    hpt__free(x);
    hpt__free(y);
    return st;
}

hpt_status hpt__features_linear(hpt_context *ctx, const hpt__options *o, int dim, int classes, hpt__labelled train, hpt__labelled val, hpt__labelled test,
                                json_t *result) {
    hpt__probe p = {.ctx = ctx, .dim = dim, .classes = classes, .train = train, .val = val, .test = test};
    return probe(&p, o, result);
}

static hpt_status load_set(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const char *what, float **x, int32_t **y, hpt__labelled *out) {
    if (!ds) return HPT_OK;
    if (!ds->src->label) return hpt__fail(HPT_ERR_ARGUMENT, "%s: the data set has no labels", what);
    *x = hpt__alloc(sizeof **x * (size_t)ds->count * (size_t)m->net.feature_dim);
    *y = hpt__alloc(sizeof **y * (size_t)ds->count);
    if (!*x || !*y) return hpt__fail_memory((size_t)ds->count * 4);
    for (uint64_t i = 0; i < ds->count; i++) (*y)[i] = hpt__dataset_label(ds, i);
    HPT_TRY(hpt__features(m, ds, o, *x));
    *out = (hpt__labelled){*x, *y, ds->count};
    return HPT_OK;
}

/* Training batches of augmented crops: features of each step's images, made when they are needed. */
typedef struct augmented { hpt__encoder e; hpt__loader *l; hpt_dataset *ds; } augmented;
static hpt_status augmented_next(void *ctx, uint64_t step, float *x, int32_t *y) {
    augmented *a = ctx;
    hpt__batch b;
    (void)step;
    HPT_TRY(hpt__loader_next(a->l, &b, NULL));
    for (int i = 0; i < a->e.batch; i++) y[i] = hpt__dataset_label(a->ds, b.index[i]);
    return hpt__encoder_run(&a->e, b.view[0], a->e.batch, x);
}

static hpt_status with_augmentation(hpt_model *m, hpt_dataset *train, const hpt__options *o, hpt__probe *p, augmented *a) {
    int64_t want = OPT_I(o, probe_batch);
    p->batch = (int)((uint64_t)want < train->count ? want : (int64_t)train->count);
    hpt__loader_spec s = {.ds = train, .batch = p->batch, .size = (int)OPT_I(o, image_size), .workers = (int)OPT_I(o, workers), .views = 1,
                          .seed = (uint64_t)OPT_I(o, seed) ^ 0x70726f6265u, .steps = (uint64_t)OPT_I(o, probe_steps)};
    hpt__augment_probe(s.size, &s.augment);
    HPT_TRY(hpt__dataset_normalization(train, o, s.mean, s.std));
    a->ds = train;
    HPT_TRY(hpt__encoder_open(&a->e, m, o, p->batch, s.size, HPT__EVAL, 1));
    hpt_status st = hpt__loader_create(&s, &a->l);
    if (st) {
        hpt__encoder_close(&a->e);
        return st;
    }
    p->next = augmented_next;
    p->next_ctx = a;
    return HPT_OK;
}

hpt_status hpt__model_linear(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test, const hpt__options *base, json_t *result) {
    hpt_dataset *sets[3] = {train, val, test};
    static const char *const names[3] = {"train", "val", "test"};
    float *x[3] = {NULL, NULL, NULL};
    int32_t *y[3] = {NULL, NULL, NULL};
    hpt__labelled data[3] = {{0}, {0}, {0}};
    hpt_status st = HPT_OK;
    hpt__options opt, *o = &opt;
    if (OPT_I(base, probe_augment) && !val) return hpt__fail(HPT_ERR_ARGUMENT, "probe_augment=1 needs a validation set of its own");
    HPT_TRY(hpt__options_copy(&opt, base));
    /* one normalisation for all three sets: the training set's, unless options give another */
    for (int c = 0; c < 2 && !st; c++) {
        const char *key = c ? "pixel_std" : "pixel_mean";
        char text[96];
        if (strcmp(c ? OPT_S(o, pixel_std) : OPT_S(o, pixel_mean), "auto")) continue;
        st = hpt__dataset_stats(train);
        const float *v = c ? train->std : train->mean;
        /* nine digits bring a float back exactly; written by hand against locales */
        snprintf(text, sizeof text, "%.9e;%.9e;%.9e", (double)v[0], (double)v[1], (double)v[2]);
        for (char *q = text; *q; q++) *q = *q == ',' ? '.' : *q == ';' ? ',' : *q;
        if (!st) st = hpt__options_set(o, key, text);
    }
    for (int i = 0; i < 3 && !st; i++) st = load_set(m, sets[i], o, names[i], &x[i], &y[i], &data[i]);
    if (!st) {
        hpt__probe p = {.ctx = m->ctx, .dim = m->net.feature_dim, .classes = (int)train->src->classes, .train = data[0], .val = data[1], .test = data[2]};
        augmented a = {0};
        if (OPT_I(o, probe_augment)) st = with_augmentation(m, train, o, &p, &a);
        if (!st) st = probe(&p, o, result);
        if (p.next) {
            hpt__loader_destroy(a.l);
            hpt__encoder_close(&a.e);
        }
    }
    for (int i = 0; i < 3; i++) {
        hpt__free(x[i]);
        hpt__free(y[i]);
    }
    hpt__options_fini(&opt);
    return st;
}

/* SPDX-License-Identifier: MIT
 * Features of the sets, once, then eval/linear.c or eval/knn.c over them; with probe_augment=1 features of fresh
 * crops for each pass. Holding out a part of train where there is no validation set is done here. */
#include "ssl/probe.h"
#include "core/alloc.h"
#include "core/result.h"
#include "eval/knn.h"
#include "nn/facts.h"
#include "ssl/labelled.h"
#include <math.h>
#include <string.h>

/* A row that is no number would be in no image's favour, without a word. */
static hpt_status check_rows(const char *what, const float *x, uint64_t n, int dim) {
    for (uint64_t i = 0; i < n; i++)
        for (int j = 0; j < dim; j++)
            if (!isfinite(x[i * (uint64_t)dim + (uint64_t)j]))
                return hpt__fail(HPT_ERR_NUMERIC,
                                 "%s: feature %d of image %llu is not finite: weights that are not, or an image that "
                                 "could not be read (leave its row out)", what, j, (unsigned long long)i);
    return HPT_OK;
}
static hpt_status check_set(const char *what, const hpt__labelled *s, int dim, int classes) {
    for (uint64_t i = 0; i < s->n && s->y; i++)
        if (s->y[i] < 0 || s->y[i] >= classes)
            return hpt__fail(HPT_ERR_ARGUMENT, "%s: label %d of image %llu is outside 0..%d", what, s->y[i],
                             (unsigned long long)i, classes - 1);
    return s->x ? check_rows(what, s->x, s->n, dim) : HPT_OK;
}

/* Without a validation set: a class-balanced fifth of train, copied apart. */
static hpt_status hold_out(const hpt__probe *all, const hpt__options *o, hpt__probe *p, float **x, int32_t **y,
                           uint8_t **multi) {
    uint64_t n = all->train.n, a = 0, b = n;
    uint8_t *val = hpt__alloc((size_t)n + 1);
    *x = hpt__alloc(sizeof **x * (size_t)n * (size_t)all->dim);
    if (all->train.y) *y = hpt__alloc(sizeof **y * (size_t)(n + 1));
    else *multi = hpt__alloc((size_t)n * (size_t)all->classes);
    hpt_status st = val && *x && (*y || *multi) ? hpt__probe_holdout(all->train.y, all->train.object, n, all->classes,
        (uint64_t)OPT_I(o, seed), val) : hpt__fail_memory((size_t)n);
    for (uint64_t i = 0; i < n && !st; i++) {
        uint64_t to = val[i] ? --b : a++;
        memcpy(*x + to * (uint64_t)all->dim, all->train.x + i * (uint64_t)all->dim, sizeof **x * (size_t)all->dim);
        if (*y) (*y)[to] = all->train.y[i];
        else
            memcpy(*multi + to * (uint64_t)all->classes, all->train.multi + i * (uint64_t)all->classes,
                   (size_t)all->classes);
    }
    hpt__free(val);
    if (st) return st;
    *p = *all;
    p->train = (hpt__labelled){*x, *y, a, *multi, NULL};
    p->val = (hpt__labelled){*x + a * (uint64_t)all->dim, *y ? *y + a : NULL, n - a,
                             *multi ? *multi + a * (uint64_t)all->classes : NULL, NULL};
    return HPT_OK;
}

static hpt_status probe(const hpt__probe *in, const hpt__options *o, json_t *result) {
    hpt__probe p = *in;
    float *x = NULL;
    int32_t *y = NULL;
    uint8_t *multi = NULL;
    HPT__TURN(p.ctx);
    if (!p.train.n || p.classes < (p.train.y ? 2 : 1))
        return hpt__fail(HPT_ERR_ARGUMENT, "a probe needs labelled images of at least two classes");
    HPT_TRY(check_set("train", &p.train, p.dim, p.classes));
    HPT_TRY(check_set("val", &p.val, p.dim, p.classes));
    HPT_TRY(check_set("test", &p.test, p.dim, p.classes));
    hpt_status st = p.val.n ? HPT_OK : hold_out(in, o, &p, &x, &y, &multi);
    if (!st) st = hpt__linear_probe(&p, o, result);
    hpt__free(x);
    hpt__free(y);
    hpt__free(multi);
    return st;
}

hpt_status hpt__features_linear(hpt_context *ctx, const hpt__options *o, int dim, int classes, hpt__labelled train,
                                hpt__labelled val, hpt__labelled test, json_t *result, float *test_logits,
                                hpt__head *head) {
    hpt__probe p = {.ctx = ctx, .dim = dim, .classes = classes, .train = train, .val = val, .test = test,
                    .test_logits = test_logits, .head = head};
    hpt__facts(result, ctx, HPT__F32, NULL);
    return probe(&p, o, result);
}

/* Training batches of augmented crops: features of each step's images, made when they are needed. */
typedef struct augmented { hpt__encoder e; hpt__loader_spec spec; hpt__loader *l; } augmented;
static hpt_status augmented_next(void *ctx, uint64_t step, float *x, uint64_t *index) {
    augmented *a = ctx;
    hpt__batch b;
    (void)step;
    HPT_TRY(hpt__loader_next(a->l, &b, NULL));
    memcpy(index, b.index, sizeof *index * (size_t)a->e.batch);
    return hpt__encoder_run(&a->e, b.view[0], a->e.batch, x);
}

static hpt_status augmented_seek(void *ctx, uint64_t step) {
    augmented *a = ctx;
    hpt__loader_destroy(a->l);
    a->l = NULL;
    a->spec.first_step = step;
    return hpt__loader_create(&a->spec, &a->l);
}

static hpt_status with_augmentation(hpt_model *m, hpt_dataset *train, const hpt__options *o, hpt__probe *p,
                                    augmented *a) {
    int64_t want = OPT_I(o, probe_batch);
    p->batch = (int)((uint64_t)want < train->count ? want : (int64_t)train->count);
    hpt__loader_spec s = {.ds = train, .batch = p->batch, .size = (int)OPT_I(o, image_size),
                          .workers = (int)OPT_I(o, workers), .views = 1,
                          .seed = (uint64_t)OPT_I(o, seed) ^ 0x70726f6265u, .steps = (uint64_t)OPT_I(o, probe_steps)};
    hpt__augment_probe(s.size, &s.augment[0]);
    hpt__pixels px;
    HPT_TRY(hpt__dataset_normalization(train, o, &m->pixels, 0, &px));
    memcpy(s.mean, px.mean, sizeof s.mean);
    memcpy(s.std, px.std, sizeof s.std);
    HPT_TRY(hpt__encoder_open(&a->e, m, o, &(hpt__encoder_spec){.batch = p->batch, .size = s.size}));
    a->spec = s;
    hpt_status st = hpt__loader_create(&s, &a->l);
    if (st) {
        hpt__encoder_close(&a->e);
        return st;
    }
    p->next = augmented_next;
    p->seek = augmented_seek;
    p->next_ctx = a;
    return HPT_OK;
}

static hpt_status linear(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                         const hpt__options *base, json_t *result, float *test_logits, hpt__head *head) {
    HPT__TURN(m->ctx);
    HPT__SPAN(&m->ctx->watch, HPT_PHASE_PROBE, "linear probe");
    hpt__sets s;
    float *x[3] = {NULL, NULL, NULL};
    hpt__labelled data[3] = {{0}, {0}, {0}};
    uint64_t *object = NULL;
    if (OPT_I(base, probe_augment) && !val)
        return hpt__fail(HPT_ERR_ARGUMENT, "probe_augment=1 needs a validation set of its own");
    HPT_TRY(hpt__sets_open(&s, train, val, test, base, &m->pixels));
    hpt_status st = HPT_OK;
    int augment = (int)OPT_I(&s.opt, probe_augment);
    for (int i = 0; i < 3 && !st; i++) {
        if (!s.ds[i]) continue;
        /* training crops are made step by step then */
        int needed = i || !augment || OPT_IS(&s.opt, probe_scale, "standard");
        x[i] = needed ? hpt__alloc(sizeof *x[i] * (size_t)s.ds[i]->count * (size_t)m->net.feature_dim) : NULL;
        st = !needed ? HPT_OK : x[i] ? hpt__features(m, s.ds[i], &s.opt, x[i])
            : hpt__fail_memory((size_t)s.ds[i]->count * 4);
        data[i] = (hpt__labelled){x[i], s.y[i], s.ds[i]->count, s.multi[i], NULL};
    }
    if (!st && !val) st = hpt__dataset_object_keys(s.ds[0], &object);
    data[0].object = object;
    if (!st) {
        hpt__probe p = {.ctx = m->ctx, .dim = m->net.feature_dim, .classes = s.classes, .train = data[0],
                        .val = data[1], .test = data[2], .test_logits = test_logits, .head = head};
        augmented a = {0};
        hpt__sets_report(&s, result);
        p.images = hpt__dataset_fingerprint(s.ds[0]);
        if (augment) st = with_augmentation(m, s.ds[0], &s.opt, &p, &a);
        if (!st) st = probe(&p, &s.opt, result);
        if (!st && test_logits) hpt__sets_spread(&s, 2, test_logits);
        if (p.next) {
            hpt__loader_destroy(a.l);
            hpt__encoder_close(&a.e);
        }
    }
    for (int i = 0; i < 3; i++) hpt__free(x[i]);
    hpt__free(object);
    if (!st) st = hpt__facts_of(result, m->ctx, &s.opt, &s.pixels);
    hpt__sets_close(&s);
    return st;
}

hpt_status hpt__model_linear(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                             const hpt__options *o, json_t *result, float *test_logits, hpt__head *head) {
    uint64_t known = 0;
    hpt__sets_again(HPT_OK, train, val, test, &known);
    for (;;) {
        hpt_status st = linear(m, train, val, test, o, result, test_logits, head);
        if (!hpt__sets_again(st, train, val, test, &known)) return st;
        json_object_clear(result);
    }
}

static hpt_status knn(hpt_model *m, hpt_dataset *train, hpt_dataset *test, const hpt__options *base, json_t *result) {
    HPT__TURN(m->ctx);
    HPT__SPAN(&m->ctx->watch, HPT_PHASE_NEIGHBOURS, "nearest neighbours");
    hpt__sets s;
    hpt__score score;
    HPT_TRY(hpt__sets_open(&s, train, NULL, test, base, &m->pixels));
    size_t d = (size_t)m->net.feature_dim;
    size_t n = (size_t)s.ds[0]->count, queries = (size_t)s.ds[2]->count;
    float *x = hpt__alloc(sizeof *x * n * d), *q = hpt__alloc(sizeof *q * queries * d),
        *votes = hpt__alloc(sizeof *votes * queries * (size_t)s.classes);
    hpt_status st = x && q && votes ? HPT_OK : hpt__fail_memory(sizeof *x * n * d);
    if (!st) st = hpt__features(m, s.ds[0], &s.opt, x);
    if (!st) st = hpt__features(m, s.ds[2], &s.opt, q);
    if (!st) st = check_rows("train", x, n, (int)d);
    if (!st) st = check_rows("test", q, queries, (int)d);
    hpt__knn_spec k = {.dim = (int)d, .k = (int)OPT_I(&s.opt, knn_k), .t = OPT_F(&s.opt, knn_t), .train = x,
                       .labels = s.truth[0]};
    if (!st) st = hpt__knn_votes(m->ctx, &k, q, queries, votes);
    if (!st)
        st = hpt__score_report(result, "knn", votes, (size_t)s.classes, &s.truth[2],
                               OPT_IS(&s.opt, auroc_undefined, "zero"), &score);
    if (!st) hpt__sets_report(&s, result);
    if (!st) st = hpt__facts_of(result, m->ctx, &s.opt, &s.pixels);
    hpt__free(x);
    hpt__free(q);
    hpt__free(votes);
    hpt__sets_close(&s);
    return st;
}
hpt_status hpt__model_knn(hpt_model *m, hpt_dataset *train, hpt_dataset *test, const hpt__options *o, json_t *result) {
    uint64_t known = 0;
    hpt__sets_again(HPT_OK, train, NULL, test, &known);
    for (;;) {
        hpt_status st = knn(m, train, test, o, result);
        if (!hpt__sets_again(st, train, NULL, test, &known)) return st;
        json_object_clear(result);
    }
}

/* SPDX-License-Identifier: MIT
 * All heads are one matrix of (heads*classes, dim): one product gives every head's logits, one more every head's
 * gradient. What is under way lies in one list (items), so that a probe goes on at the update where it stopped. */
#include "eval/linear.h"
#include "core/alloc.h"
#include "core/result.h"
#include "core/number.h"
#include "core/rng.h"
#include "data/dataset.h"
#include "train/schedule.h"
#include "train/visit.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_HEADS = 24, MAX_RATES = 8 };

typedef struct probe_state {
    const hpt__probe *p;
    const hpt__options *o;
    hpt__site at;
    hpt__pool pool;
    int heads, rows, dim, classes, batch;       /* rows: heads*classes */
    double momentum;
    hpt__schedule schedule[MAX_HEADS];
    const char *schedule_name[MAX_HEADS];
    /* on the device: weights, biases, their moments and gradients; a batch; rates, those of sent[] */
    float *w, *vw, *gw;                 /* (rows,dim) */
    float *b, *vb, *gb;                 /* (rows) */
    float *x, *logits, *targets;        /* (batch,dim) (batch,rows) (batch,classes) */
    int32_t *y;                         /* (batch) */
    hpt__vars *vars;                    /* (heads) */
    double sent[MAX_HEADS];
    /* on the host; x, logits and targets are those of the device where that is the host */
    float *host_x, *host_logits, *host_targets, *scale, *shift;        /* scale, shift: (dim) */
    int32_t *host_y;
    uint64_t *rows_of;                  /* (batch) images: their numbers in train */
    uint32_t *order;                    /* (train.n) */
    float *best_w, *best_b;
    /* under way: updates done, the best so far, and whether the weights as they are are still to be scored */
    int64_t step, best_step, best_head, due;
    double best;
    json_t *curve;
} probe_state;

/* Feature scaling is part of the probe: fitted on train, applied to every set through the same vectors. */
static void fit_scale(probe_state *s, const char *how) {
    for (int j = 0; j < s->dim; j++) s->scale[j] = 1, s->shift[j] = 0;
    if (strcmp(how, "standard")) return;
    for (int j = 0; j < s->dim; j++) {
        double sum = 0, sq = 0, n = (double)s->p->train.n;
        for (uint64_t i = 0; i < s->p->train.n; i++) sum += s->p->train.x[i * (uint64_t)s->dim + (uint64_t)j];
        for (uint64_t i = 0; i < s->p->train.n; i++) {
            double d = s->p->train.x[i * (uint64_t)s->dim + (uint64_t)j] - sum / n;
            sq += d * d;
        }
        s->shift[j] = (float)(sum / n);
        s->scale[j] = (float)(1 / sqrt(sq / n + 1e-6));
    }
}
static void scaled_row(const probe_state *s, const char *how, const float *from, float *to) {
    if (!strcmp(how, "unit")) {
        double sq = 0;
        for (int j = 0; j < s->dim; j++) sq += (double)from[j] * from[j];
        float f = (float)(1 / sqrt(sq > 1e-24 ? sq : 1e-24));
        for (int j = 0; j < s->dim; j++) to[j] = from[j] * f;
    } else
        for (int j = 0; j < s->dim; j++) to[j] = (from[j] - s->shift[j]) * s->scale[j];
}

static void push(probe_state *s, void *device, const void *host, size_t bytes) {
    if (device != host) s->at.be->memory.upload(s->at.dev, device, host, bytes);
}
static void pull(probe_state *s, void *host, const void *device, size_t bytes) {
    if (device != host) s->at.be->memory.download(s->at.dev, host, device, bytes);
}

/* Logits of the first n rows of s->host_x. */
static hpt_status forward(probe_state *s, int n) {
    const hpt__backend *be = s->at.be;
    push(s, s->x, s->host_x, sizeof(float) * (size_t)n * (size_t)s->dim);
    HPT_TRY(be->rows->gemm(s->at.dev, HPT__F32, 0, 1, n, s->rows, s->dim, 1, s->x, s->dim, s->w, s->dim, 0, s->logits,
                           s->rows));
    be->rows->add_bias(s->at.dev, n, s->rows, s->b, s->logits);
    return HPT_OK;
}

static hpt__truth truth(const probe_state *s, const hpt__labelled *set) {
    return (hpt__truth){set->y, set->multi, set->n, s->classes};
}

/* What a set scores: with one label the share of right answers, counted as batches pass; with several, AUROC needs
 * all logits. out: of each head. keep (n,classes): logits of head `kept` alone. */
static hpt_status score(probe_state *s, const char *how, const hpt__labelled *set, int zero, double out[MAX_HEADS],
                        float *keep, int kept) {
    uint64_t right[MAX_HEADS] = {0};
    size_t rows = (size_t)s->rows, c = (size_t)s->classes;
    float *all = set->y || keep ? NULL : hpt__alloc(sizeof *all * (size_t)set->n * rows);
    if (!set->y && !keep && !all) return hpt__fail_memory(sizeof *all * (size_t)set->n * rows);
    hpt_status st = HPT_OK;
    for (uint64_t at = 0; at < set->n && !st; at += (uint64_t)s->batch) {
        int n = set->n - at < (uint64_t)s->batch ? (int)(set->n - at) : s->batch;
        if ((st = hpt__watch_poll(&s->p->ctx->watch))) break;
        for (int i = 0; i < n; i++)
            scaled_row(s, how, set->x + (at + (uint64_t)i) * (uint64_t)s->dim, s->host_x + (size_t)i * (size_t)s->dim);
        if ((st = forward(s, n))) break;
        pull(s, s->host_logits, s->logits, sizeof(float) * (size_t)n * rows);
        if (all) memcpy(all + at * rows, s->host_logits, sizeof *all * (size_t)n * rows);
        for (int i = 0; i < n; i++) {
            const float *l = s->host_logits + (size_t)i * rows;
            if (keep) memcpy(keep + (at + (uint64_t)i) * c, l + (size_t)kept * c, sizeof *keep * c);
            for (int h = 0; h < s->heads && set->y; h++) {
                int one, five;
                hpt__top(l + (size_t)h * c, s->classes, set->y[at + (uint64_t)i], &one, &five);
                right[h] += (uint64_t)one;
            }
        }
    }
    hpt__truth t = truth(s, set);
    for (int h = 0; h < s->heads && !st && out; h++) {
        hpt__score sc = {0};
        if (all) st = hpt__score_logits(all + (size_t)h * c, rows, &t, zero, &sc, NULL);
        out[h] = all ? sc.main : 100.0 * (double)right[h] / (double)set->n;
    }
    hpt__free(all);
    return st;
}

/* Row indices of a step: epochs in seeded random order follow each other without a gap. */
static void draw_batch(probe_state *s, const char *how, uint64_t seed, uint64_t step, uint64_t *epoch_in) {
    uint32_t n = (uint32_t)s->p->train.n;
    for (int i = 0; i < s->batch; i++) {
        uint64_t at = step * (uint64_t)s->batch + (uint64_t)i, epoch = at / n;
        if (epoch != *epoch_in) {
            hpt__rng r;
            hpt__rng_init(&r, seed, HPT__RNG_PROBE, epoch, 0);
            hpt__rng_permutation(&r, s->order, n);
            *epoch_in = epoch;
        }
        uint32_t row = s->order[at % n];
        scaled_row(s, how, s->p->train.x + (uint64_t)row * (uint64_t)s->dim, s->host_x + (size_t)i * (size_t)s->dim);
        s->rows_of[i] = row;
    }
}

/* One update of every head: mean softmax or binary cross-entropy, SGD with momentum, no weight decay. */
static hpt_status train_step(probe_state *s) {
    const hpt__labelled *train = &s->p->train;
    const hpt__backend *be = s->at.be;
    hpt__device *dev = s->at.dev;
    size_t c = (size_t)s->classes, wide = c * (size_t)s->dim;
    HPT_TRY(forward(s, s->batch));
    for (int i = 0; i < s->batch; i++) {
        uint64_t row = s->rows_of[i];
        if (train->y) s->host_y[i] = train->y[row];
        else for (size_t j = 0; j < c; j++) s->host_targets[(size_t)i * c + j] = train->multi[row * c + j];
    }
    if (train->y) {
        push(s, s->y, s->host_y, sizeof(int32_t) * (size_t)s->batch);
        be->rows->softmax_ce(dev, s->batch, s->heads, s->classes, s->logits, s->y, NULL);
    } else {
        push(s, s->targets, s->host_targets, sizeof(float) * (size_t)s->batch * c);
        be->rows->bce(dev, s->batch, s->heads, s->classes, s->logits, s->targets, NULL);
    }
    be->rows->sum_rows(dev, s->batch, s->rows, s->logits, s->gb);
    HPT_TRY(be->rows->gemm(dev, HPT__F32, 1, 0, s->rows, s->dim, s->batch, 1, s->logits, s->rows, s->x, s->dim, 0,
                           s->gw, s->dim));
    hpt__update w = {.q = s->w, .m = s->vw, .g = s->gw, .rule = HPT__SGD, .momentum = s->momentum},
        b = {.q = s->b, .m = s->vb, .g = s->gb, .rule = HPT__SGD, .momentum = s->momentum};
    for (int h = 0; h < s->heads; h++) {
        hpt__vars v = {.lr = hpt__schedule_lr(&s->schedule[h], (uint64_t)s->step)};
        if (v.lr != s->sent[h]) be->memory.upload(dev, s->vars + h, &v, sizeof v);
        s->sent[h] = v.lr;
        be->params->update(dev, HPT__F32, &w, (size_t)h * wide, wide, s->vars + h, NULL);
        be->params->update(dev, HPT__F32, &b, (size_t)h * c, c, s->vars + h, NULL);
    }
    return HPT_OK;
}

hpt_status hpt__probe_holdout(const int32_t *y, const uint64_t *object, uint64_t n, int classes, uint64_t seed,
                              uint8_t *val) {
    hpt__draw d;
    hpt__rng r;
    uint64_t held = 0;
    hpt__rng_init(&r, seed, HPT__RNG_PROBE, 1ull << 40, 1);
    HPT_TRY(hpt__draw_objects(object, n, &r, &d));
    uint32_t *size = hpt__calloc((size_t)classes + 1, sizeof *size);
    hpt_status st = size ? HPT_OK : hpt__fail_memory((size_t)classes * 4);
    memset(val, 0, (size_t)n);
    for (uint64_t u = 0; u < d.n && y && !st; u++) size[y[d.image[d.start[u]]]]++;
    for (int c = 0; c < classes && !st; c++) size[c] = size[c] < 2 ? 0 : (size[c] + 4) / 5;
    for (uint64_t u = 0; u < d.n && !st; u++) {
        uint32_t *left = y ? &size[y[d.image[d.start[u]]]] : NULL;
        if (left ? !*left : held >= (d.n + 4) / 5) continue;
        if (left) --*left;
        for (uint64_t i = d.start[u]; i < d.start[u + 1]; i++) val[d.image[i]] = 1;
        held++;
    }
    if (!st && !held)
        st = hpt__fail(HPT_ERR_ARGUMENT, "one image a class leaves none for validation; give a validation set");
    hpt__draw_free(&d);
    hpt__free(size);
    return st;
}

static hpt_status open(probe_state *s) {
    hpt_status st = HPT_OK;
    size_t rows = (size_t)s->rows, dim = (size_t)s->dim, wide = rows * dim, n = (size_t)s->batch;
    float **const wides[] = {&s->w, &s->vw, &s->gw}, **const narrow[] = {&s->b, &s->vb, &s->gb};
    for (int i = 0; i < 3; i++) {
        *wides[i] = hpt__take(&s->pool, wide * 4, &st);
        *narrow[i] = hpt__take(&s->pool, rows * 4, &st);
    }
    s->x = hpt__take(&s->pool, n * dim * 4, &st);
    s->logits = hpt__take(&s->pool, n * rows * 4, &st);
    s->targets = hpt__take(&s->pool, n * (size_t)s->classes * 4, &st);
    s->y = hpt__take(&s->pool, n * 4, &st);
    s->vars = hpt__take(&s->pool, MAX_HEADS * sizeof *s->vars, &st);
    HPT_TRY(st);
    int there = s->at.be->host_memory;
    s->host_x = there ? s->x : hpt__calloc(n * dim, 4);
    s->host_logits = there ? s->logits : hpt__calloc(n * rows, 4);
    s->host_targets = there ? s->targets : hpt__calloc(n * (size_t)s->classes, 4);
    s->host_y = there ? s->y : hpt__calloc(n, 4);
    s->scale = hpt__calloc(dim, 4);
    s->shift = hpt__calloc(dim, 4);
    s->best_w = hpt__calloc(wide, 4);
    s->best_b = hpt__calloc(rows, 4);
    s->rows_of = hpt__calloc(n, sizeof *s->rows_of);
    s->order = hpt__calloc((size_t)s->p->train.n + 1, 4);
    s->curve = json_array();
    return s->host_x && s->host_logits && s->host_targets && s->host_y && s->scale && s->shift && s->best_w &&
        s->best_b && s->rows_of && s->order && s->curve ? HPT_OK : hpt__fail_memory(wide * 4);
}
static void close(probe_state *s) {
    void *const copies[] = {s->host_x, s->host_logits, s->host_targets, s->host_y};
    void *const all[] = {s->scale, s->shift, s->best_w, s->best_b, s->rows_of, s->order};
    for (size_t i = 0; !s->at.be->host_memory && i < sizeof copies / sizeof *copies; i++) hpt__free(copies[i]);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) hpt__free(all[i]);
    hpt__pool_free(&s->pool);
    json_decref(s->curve);
}

/* ---- work under way ---- */

static uint64_t work_key(const probe_state *s) {
    const hpt__probe *p = s->p;
    uint64_t h = 0, about[] = {(uint64_t)s->dim, (uint64_t)s->classes, (uint64_t)s->heads, (uint64_t)s->batch,
                               p->train.n, p->val.n, p->images};
    h = hpt__options_hash(s->o, 'L', XXH3_64bits_withSeed(p->ctx->be->name, strlen(p->ctx->be->name),
                                                       XXH3_64bits(about, sizeof about)));
    if (p->train.x) h = XXH3_64bits_withSeed(p->train.x, sizeof(float) * (size_t)p->train.n * (size_t)s->dim, h);
    if (p->val.y) h = XXH3_64bits_withSeed(p->val.y, sizeof *p->val.y * (size_t)p->val.n, h);
    else if (p->val.multi) h = XXH3_64bits_withSeed(p->val.multi, (size_t)p->val.n * (size_t)s->classes, h);
    if (p->train.y) h = XXH3_64bits_withSeed(p->train.y, sizeof *p->train.y * (size_t)p->train.n, h);
    else h = XXH3_64bits_withSeed(p->train.multi, (size_t)p->train.n * (size_t)s->classes, h);
    /* so a probe of other weights does not go on here */
    return XXH3_64bits_withSeed(p->val.x, sizeof(float) * (size_t)p->val.n * (size_t)s->dim, h);
}
static int items(probe_state *s, hpt__state item[HPT__STATES]) {
    int64_t rows = s->rows, wide = rows * s->dim;
    const hpt__state all[] = {
        {.kind = HPT__STATE_ROWS, .name = "w", .rows = s->w, .n = rows, .d = s->dim},
        {.kind = HPT__STATE_ROWS, .name = "b", .rows = s->b, .n = rows, .d = 1},
        {.kind = HPT__STATE_ROWS, .name = "vw", .rows = s->vw, .n = rows, .d = s->dim},
        {.kind = HPT__STATE_ROWS, .name = "vb", .rows = s->vb, .n = rows, .d = 1},
        {.kind = HPT__STATE_FLOATS, .name = "best_w", .floats = s->best_w, .n = wide},
        {.kind = HPT__STATE_FLOATS, .name = "best_b", .floats = s->best_b, .n = rows},
        {.kind = HPT__STATE_NUMBER, .name = "step", .number = &s->step},
        {.kind = HPT__STATE_NUMBER, .name = "due", .number = &s->due},
        {.kind = HPT__STATE_NUMBER, .name = "best_step", .number = &s->best_step},
        {.kind = HPT__STATE_NUMBER, .name = "best_head", .number = &s->best_head},
        {.kind = HPT__STATE_REAL, .name = "best", .real = &s->best},
        {.kind = HPT__STATE_LIST, .name = "curve", .list = s->curve}};
    memcpy(item, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}
static hpt_status save_work(probe_state *s) {
    hpt__state item[HPT__STATES];
    if (!*OPT_S(s->o, work_file)) return HPT_OK;
    return hpt__work_save(OPT_S(s->o, work_file), work_key(s), s->at, item, items(s, item));
}
static hpt_status load_work(probe_state *s) {
    hpt__state item[HPT__STATES];
    if (!*OPT_S(s->o, work_file)) return HPT_OK;
    hpt_status st = hpt__work_load(OPT_S(s->o, work_file), work_key(s), s->at, item, items(s, item));
    if (st == HPT_END) return HPT_OK;
    return !st && s->step && s->p->seek ? s->p->seek(s->p->next_ctx, (uint64_t)s->step) : st;
}

/* The score of every head, and the weights if one is the best. */
static hpt_status take_score(probe_state *s, const char *scale_name, int zero, const char *key) {
    double got[MAX_HEADS];
    HPT_TRY(score(s, scale_name, &s->p->val, zero, got, NULL, 0));
    json_t *row = json_array();
    for (int h = 0; h < s->heads; h++) {
        json_array_append_new(row, hpt__json_number(got[h]));
        if (got[h] > s->best || s->best_step == 0) {
            s->best = got[h];
            s->best_step = s->step;
            s->best_head = h;
            s->at.be->memory.download(s->at.dev, s->best_w, s->w, sizeof(float) * (size_t)s->rows * (size_t)s->dim);
            s->at.be->memory.download(s->at.dev, s->best_b, s->b, sizeof(float) * (size_t)s->rows);
        }
    }
    json_array_append_new(s->curve, json_pack("{s:I, s:o}", "step", (json_int_t)s->step, key, row));
    s->due = 0;
    return HPT_OK;
}

/* The chosen head, with the scaling of the features in it. */
static hpt_status give_head(const probe_state *s, int kept, hpt__head *out) {
    size_t c = (size_t)s->classes, d = (size_t)s->dim;
    hpt__free(out->w);
    hpt__free(out->b);
    *out = (hpt__head){hpt__alloc(c * d * 4), hpt__alloc(c * 4), s->classes};
    if (!out->w || !out->b) return hpt__fail_memory(c * d * 4);
    for (size_t k = 0; k < c; k++) {
        const float *w = s->best_w + ((size_t)kept * c + k) * d;
        double b = s->best_b[(size_t)kept * c + k];
        for (size_t j = 0; j < d; j++) {
            out->w[k * d + j] = w[j] * s->scale[j];
            b -= (double)w[j] * s->scale[j] * s->shift[j];
        }
        out->b[k] = (float)b;
    }
    return HPT_OK;
}

/* Updates from s->step to the end, with scores between. how: option probe_scale. */
static hpt_status run_steps(probe_state *s, const char *how, int zero, const char *key) {
    const hpt__probe *p = s->p;
    int64_t steps = OPT_I(s->o, probe_steps), every = OPT_I(s->o, probe_eval_every), saved = 0;
    uint64_t seed = (uint64_t)OPT_I(s->o, seed), epoch = UINT64_MAX;
    hpt_status st = HPT_OK;
    hpt__span span;
    hpt__span_begin(&p->ctx->watch, &span, HPT_PHASE_PROBE, (uint64_t)s->step, (uint64_t)steps, "linear probe");
    while (!st && (s->step < steps || s->due)) {
        span.score = s->best_step ? s->best : NAN;
        if ((st = hpt__between(p->ctx, &span, (uint64_t)s->step))) break;
        if (!s->due) {
            if (p->next) {
                if ((st = p->next(p->next_ctx, (uint64_t)s->step, s->host_x, s->rows_of))) break;
                for (int i = 0; i < s->batch; i++) {
                    float *row = s->host_x + (size_t)i * (size_t)s->dim;
                    scaled_row(s, how, row, row);
                }
            } else draw_batch(s, how, seed, (uint64_t)s->step, &epoch);
            if ((st = train_step(s))) break;
            s->step++;
            s->due = s->step % every == 0 || s->step == steps;
            if (!s->due) continue;
        }
        if ((st = take_score(s, how, zero, key))) break;
        if (s->step - saved >= OPT_I(s->o, work_every)) {
            st = save_work(s);
            saved = s->step;
        }
    }
    span.done = (uint64_t)s->step;
    hpt__span_end(&span);
    if (st != HPT_ERR_CANCELLED || !*OPT_S(s->o, work_file)) return st;
    hpt_status kept = save_work(s);         /* the same call goes on from here */
    return kept ? kept : hpt__fail(HPT_ERR_CANCELLED, "cancelled: linear probe, after %llu updates",
                                   (unsigned long long)s->step);
}

/* The test set, once, with the choice made. */
static hpt_status test_best(probe_state *s, const char *how, int zero, json_t *result) {
    const hpt__probe *p = s->p;
    hpt__truth asked = truth(s, &p->test);
    hpt__score sc;
    s->at.be->memory.upload(s->at.dev, s->w, s->best_w, sizeof(float) * (size_t)s->rows * (size_t)s->dim);
    s->at.be->memory.upload(s->at.dev, s->b, s->best_b, sizeof(float) * (size_t)s->rows);
    float *logits = p->test_logits ? p->test_logits
        : hpt__alloc(sizeof *logits * (size_t)p->test.n * (size_t)s->classes);
    hpt_status st = logits ? score(s, how, &p->test, zero, NULL, logits, (int)s->best_head)
        : hpt__fail_memory((size_t)p->test.n);
    if (!st) st = hpt__score_report(result, "test", logits, (size_t)s->classes, &asked, zero, &sc);
    if (logits != p->test_logits) hpt__free(logits);
    return st;
}

static void report(const probe_state *s, const char *metric, const char *key, json_t *result) {
    const hpt__probe *p = s->p;
    json_t *rates = json_array(), *schedules = json_array();
    for (int h = 0; h < s->heads; h++) {
        json_array_append_new(rates, json_real(s->schedule[h].lr));
        json_array_append_new(schedules, json_string(s->schedule_name[h]));
    }
    json_object_set_new(result, "metric", json_string(metric));
    json_object_set_new(result, key, json_real(s->best));
    json_object_set_new(result, "val_score", json_real(s->best));
    json_object_set_new(result, "best_lr", json_real(s->schedule[s->best_head].lr));
    json_object_set_new(result, "best_schedule", json_string(s->schedule_name[s->best_head]));
    json_object_set_new(result, "schedule", schedules);
    json_object_set_new(result, "best_step", json_integer((json_int_t)s->best_step));
    json_object_set_new(result, "classes", json_integer(s->classes));
    json_object_set_new(result, "train_images", json_integer((json_int_t)p->train.n));
    json_object_set_new(result, "val_images", json_integer((json_int_t)p->val.n));
    json_object_set_new(result, "test_images", json_integer((json_int_t)p->test.n));
    json_object_set_new(result, "lr", rates);
    json_object_set(result, "curve", s->curve);
}

static hpt_status run(probe_state *s, json_t *result) {
    const hpt__probe *p = s->p;
    size_t wide = (size_t)s->classes * (size_t)s->dim;
    char how[16], key[32];
    int zero = OPT_IS(s->o, auroc_undefined, "zero");
    hpt__truth val = truth(s, &p->val);
    const char *metric = hpt__metric(&val);
    hpt__rng r;
    HPT_TRY(hpt__can_choose(&val, zero, "val"));
    snprintf(how, sizeof how, "%s", OPT_S(s->o, probe_scale));
    snprintf(key, sizeof key, "val_%s", metric);
    hpt__rng_init(&r, (uint64_t)OPT_I(s->o, seed), HPT__RNG_HEAD, 0, 0);
    /* every head starts alike: N(0, 0.01), bias 0 */
    for (size_t i = 0; i < wide; i++) s->best_w[i] = (float)(0.01 * hpt__rng_normal(&r));
    for (int h = 1; h < s->heads; h++) memcpy(s->best_w + (size_t)h * wide, s->best_w, wide * 4);
    s->at.be->memory.upload(s->at.dev, s->w, s->best_w, (size_t)s->heads * wide * 4);
    fit_scale(s, how);
    HPT_TRY(load_work(s));
    HPT_TRY(run_steps(s, how, zero, key));
    report(s, metric, key, result);
    if (*OPT_S(s->o, work_file)) remove(OPT_S(s->o, work_file));
    if (p->head) HPT_TRY(give_head(s, (int)s->best_head, p->head));
    return p->test.n ? test_best(s, how, zero, result) : HPT_OK;
}

/* A head for each rate with each schedule. */
static hpt_status choose_heads(probe_state *s) {
    static const char *const known[] = {"step", "cosine", "constant"};
    double rate[MAX_RATES];
    uint64_t steps = (uint64_t)OPT_I(s->o, probe_steps);
    int rates = hpt__number_list(OPT_S(s->o, probe_lr), rate, MAX_RATES);
    if (rates < 1)
        return hpt__fail(HPT_ERR_OPTION, "option 'probe_lr': '%.60s' is not a list of 1 to %d rates",
                         OPT_S(s->o, probe_lr), MAX_RATES);
    for (const char *q = OPT_S(s->o, probe_schedule); *q;) {
        size_t n = strcspn(q, ",");
        const char *name = NULL;
        for (int i = 0; i < 3; i++)
            if (strlen(known[i]) == n && !memcmp(known[i], q, n)) name = known[i];
        if (!name || s->heads + rates > MAX_HEADS)
            return hpt__fail(HPT_ERR_OPTION,
                             "option 'probe_schedule': '%.60s' is not a list of step, cosine, constant",
                             OPT_S(s->o, probe_schedule));
        for (int i = 0; i < rates; i++) {
            s->schedule_name[s->heads] = name;
            s->schedule[s->heads++] = (hpt__schedule){.lr = rate[i], .total = steps, .cosine = name == known[1],
                                                      .thirds = name == known[0] ? steps : 0};
        }
        q += n + (q[n] == ',');
    }
    return s->heads ? HPT_OK : hpt__fail(HPT_ERR_OPTION, "option 'probe_schedule' is empty");
}

hpt_status hpt__linear_probe(const hpt__probe *p, const hpt__options *o, json_t *result) {
    hpt_context *ctx = p->ctx;
    probe_state s = {.p = p, .o = o, .at = {ctx->be, ctx->dev, HPT__F32}, .dim = p->dim, .classes = p->classes,
                     .pool = {.be = ctx->be, .dev = ctx->dev, .of = "the linear probe"},
                     .momentum = OPT_F(o, probe_momentum)};
    HPT_TRY(choose_heads(&s));
    s.rows = s.heads * s.classes;
    s.batch = p->next ? p->batch : (int)OPT_I(o, probe_batch);
    if (!p->next && (uint64_t)s.batch > p->train.n) s.batch = (int)p->train.n;
    s.at.be->device.enter(s.at.dev);
    hpt_status st = open(&s);
    if (!st) st = run(&s, result);
    if (!st) st = s.at.be->queue.sync(s.at.dev);
    close(&s);
    s.at.be->device.leave(s.at.dev);
    return st;
}

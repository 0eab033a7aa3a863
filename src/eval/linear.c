/* SPDX-License-Identifier: MIT
 * All heads are one matrix of (heads*classes, dim): one product gives every head's logits, one more every head's
 * gradient. */
#include "eval/linear.h"
#include "backend/backend.h"
#include "core/alloc.h"
#include "core/result.h"
#include "core/number.h"
#include "core/rng.h"
#include "io/statefile.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_HEADS = 24, MAX_RATES = 8 };

typedef struct probe_state {
    const hpt__probe *p;
    const hpt__backend *be;
    hpt__device *dev;
    int heads, rows, dim, classes, batch;
    double lr[MAX_HEADS], sent[MAX_HEADS], mom;      /* sent: rates that d.vars holds */
    const char *schedule[MAX_HEADS];
    float *w, *b, *vw, *vb, *gw, *gb, *logits, *x, *targets, *best_w, *best_b, *scale, *shift;
    int32_t *y;
    uint64_t *rows_of;              /* images of a batch: their numbers in train */
    uint32_t *order;
    /* on the device; the same arrays where it is the host */
    struct { float *w, *b, *vw, *vb, *gw, *gb, *logits, *x, *targets; int32_t *y; hpt__vars *vars; } d;
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
    if (device != host) s->be->memory.upload(s->dev, device, host, bytes);
}
static void pull(probe_state *s, void *host, const void *device, size_t bytes) {
    if (device != host) s->be->memory.download(s->dev, host, device, bytes);
}

/* Logits of the first n rows of s->x. */
static hpt_status forward(probe_state *s, int n, const float *w, const float *b) {
    push(s, s->d.x, s->x, sizeof(float) * (size_t)n * (size_t)s->dim);
    HPT_TRY(s->be->rows->gemm(s->dev, HPT__F32, 0, 1, n, s->rows, s->dim, 1, s->d.x, s->dim, w, s->dim, 0, s->d.logits,
                              s->rows));
    s->be->rows->add_bias(s->dev, n, s->rows, b, s->d.logits);
    return HPT_OK;
}

static hpt__truth truth(const probe_state *s, const hpt__labelled *set) {
    return (hpt__truth){set->y, set->multi, set->n, s->classes};
}

/* What a set scores: with one label the share of right answers, counted as batches pass; with several, AUROC needs
 * all logits. out: of each head. keep (n,classes): logits of head `kept` alone. */
static hpt_status score(probe_state *s, const char *how, const hpt__labelled *set, const float *w, const float *b,
                        int zero, double out[MAX_HEADS], float *keep, int kept) {
    uint64_t right[MAX_HEADS] = {0};
    size_t rows = (size_t)s->rows, c = (size_t)s->classes;
    float *all = set->y || keep ? NULL : hpt__alloc(sizeof *all * (size_t)set->n * rows);
    if (!set->y && !keep && !all) return hpt__fail_memory(sizeof *all * (size_t)set->n * rows);
    hpt_status st = HPT_OK;
    for (uint64_t at = 0; at < set->n && !st; at += (uint64_t)s->batch) {
        int n = set->n - at < (uint64_t)s->batch ? (int)(set->n - at) : s->batch;
        if ((st = hpt__watch_poll(&s->p->ctx->watch))) break;
        for (int i = 0; i < n; i++)
            scaled_row(s, how, set->x + (at + (uint64_t)i) * (uint64_t)s->dim, s->x + (size_t)i * (size_t)s->dim);
        if ((st = forward(s, n, w, b))) break;
        pull(s, s->logits, s->d.logits, sizeof(float) * (size_t)n * rows);
        if (all) memcpy(all + at * rows, s->logits, sizeof *all * (size_t)n * rows);
        for (int i = 0; i < n; i++) {
            const float *l = s->logits + (size_t)i * rows;
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
        scaled_row(s, how, s->p->train.x + (uint64_t)row * (uint64_t)s->dim, s->x + (size_t)i * (size_t)s->dim);
        s->rows_of[i] = row;
    }
}

double hpt__supervised_factor(const char *schedule, uint64_t t, uint64_t steps) {
    if (!strcmp(schedule, "constant")) return 1;
    if (!strcmp(schedule, "cosine")) return 0.5 * (1 + cos(3.14159265358979323846 * (double)t / (double)steps));
    return t < steps / 3 ? 1 : t < 2 * steps / 3 ? 0.1 : 0.01;
}

/* One update of every head: mean softmax or binary cross-entropy, SGD with momentum, no weight decay. */
static hpt_status train_step(probe_state *s, uint64_t step, uint64_t steps) {
    const hpt__labelled *train = &s->p->train;
    size_t c = (size_t)s->classes;
    HPT_TRY(forward(s, s->batch, s->d.w, s->d.b));
    for (int i = 0; i < s->batch; i++) {
        uint64_t row = s->rows_of[i];
        if (train->y) s->y[i] = train->y[row];
        else for (size_t j = 0; j < c; j++) s->targets[(size_t)i * c + j] = train->multi[row * c + j];
    }
    if (train->y) {
        push(s, s->d.y, s->y, sizeof(int32_t) * (size_t)s->batch);
        s->be->rows->softmax_ce(s->dev, s->batch, s->heads, s->classes, s->d.logits, s->d.y, NULL);
    } else {
        push(s, s->d.targets, s->targets, sizeof(float) * (size_t)s->batch * c);
        s->be->rows->bce(s->dev, s->batch, s->heads, s->classes, s->d.logits, s->d.targets, NULL);
    }
    s->be->rows->sum_rows(s->dev, s->batch, s->rows, s->d.logits, s->d.gb);
    HPT_TRY(s->be->rows->gemm(s->dev, HPT__F32, 1, 0, s->rows, s->dim, s->batch, 1, s->d.logits, s->rows, s->d.x,
                              s->dim, 0, s->d.gw, s->dim));
    hpt__update w = {.q = s->d.w, .m = s->d.vw, .g = s->d.gw, .rule = HPT__SGD, .momentum = s->mom},
        b = {.q = s->d.b, .m = s->d.vb, .g = s->d.gb, .rule = HPT__SGD, .momentum = s->mom};
    for (int h = 0; h < s->heads; h++) {
        size_t wide = (size_t)s->classes * (size_t)s->dim;
        hpt__vars v = {.lr = s->lr[h] * hpt__supervised_factor(s->schedule[h], step, steps)};
        if (v.lr != s->sent[h]) s->be->memory.upload(s->dev, s->d.vars + h, &v, sizeof v);
        s->sent[h] = v.lr;
        s->be->params->update(s->dev, HPT__F32, &w, (size_t)h * wide, wide, s->d.vars + h, NULL);
        s->be->params->update(s->dev, HPT__F32, &b, (size_t)h * (size_t)s->classes, (size_t)s->classes, s->d.vars + h,
                              NULL);
    }
    return HPT_OK;
}

hpt_status hpt__probe_holdout(const int32_t *y, uint64_t n, int classes, uint64_t seed, uint8_t *val) {
    uint32_t *order = hpt__alloc(sizeof *order * (size_t)(n + 1)), *size = hpt__calloc((size_t)classes + 1,
        sizeof *size);
    hpt_status st = order && size ? HPT_OK : hpt__fail_memory((size_t)n * 4);
    uint64_t held = 0;
    if (!st) {
        hpt__rng r;
        hpt__rng_init(&r, seed, HPT__RNG_PROBE, 1ull << 40, 1);
        hpt__rng_permutation(&r, order, (uint32_t)n);
        for (uint64_t i = 0; i < n && y; i++) size[y[i]]++;
        for (int c = 0; c < classes; c++) size[c] = size[c] < 2 ? 0 : (size[c] + 4) / 5;
        memset(val, 0, (size_t)n);
        for (uint64_t i = 0; i < n; i++)
            if (y ? size[y[order[i]]] : held < (n + 4) / 5) {
                if (y) size[y[order[i]]]--;
                val[order[i]] = 1;
                held++;
            }
        if (!held)
            st = hpt__fail(HPT_ERR_ARGUMENT, "one image a class leaves none for validation; give a validation set");
    }
    hpt__free(order);
    hpt__free(size);
    return st;
}

/* Device arrays: the host's own where the backend computes there. */
static hpt_status on_device(probe_state *s) {
    size_t rows = (size_t)s->rows, wide = rows * (size_t)s->dim;
    const struct { void **device; void *host; size_t bytes; } all[] = {
        {(void **)&s->d.w, s->w, wide * 4}, {(void **)&s->d.b, s->b, rows * 4}, {(void **)&s->d.vw, s->vw, wide * 4},
            {(void **)&s->d.vb, s->vb, rows * 4},
        {(void **)&s->d.gw, s->gw, wide * 4}, {(void **)&s->d.gb, s->gb, rows * 4},
        {(void **)&s->d.logits, s->logits, (size_t)s->batch * rows * 4},
        {(void **)&s->d.x, s->x, (size_t)s->batch * (size_t)s->dim * 4}, {(void **)&s->d.y, s->y, (size_t)s->batch * 4},
        {(void **)&s->d.targets, s->targets, (size_t)s->batch * (size_t)s->classes * 4}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *all[i].device = s->be->host_memory ? all[i].host : s->be->memory.alloc(s->dev, all[i].bytes);
        if (!*all[i].device)
            return hpt__fail(HPT_ERR_MEMORY, "out of device memory for the probe: %zu MiB", all[i].bytes >> 20);
        if (!s->be->host_memory) s->be->memory.zero(s->dev, *all[i].device, all[i].bytes);
    }
    if (!(s->d.vars = s->be->memory.alloc(s->dev, MAX_HEADS * sizeof *s->d.vars))) return hpt__fail_memory(0);
    return HPT_OK;
}
static void off_device(probe_state *s) {
    void *all[] = {s->d.w, s->d.b, s->d.vw, s->d.vb, s->d.gw, s->d.gb, s->d.logits, s->d.x, s->d.y, s->d.targets};
    for (size_t i = 0; !s->be->host_memory && i < sizeof all / sizeof *all; i++)
        if (all[i]) s->be->memory.free(s->dev, all[i]);
    if (s->d.vars) s->be->memory.free(s->dev, s->d.vars);
}

static void state_free(probe_state *s) {
    void *all[] = {s->w, s->b, s->vw, s->vb, s->gw, s->gb, s->logits, s->x, s->best_w, s->best_b, s->scale, s->shift,
                   s->y, s->order, s->targets, s->rows_of};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) hpt__free(all[i]);
}

/* ---- work under way ---- */

/* The best so far. due: the weights after the step that is kept are still to be scored. */
typedef struct choice { double best; uint64_t step; int head, due; json_t *curve; } choice;

static uint64_t work_key(const probe_state *s, const hpt__options *o) {
    const hpt__probe *p = s->p;
    uint64_t h = 0, about[] = {(uint64_t)s->dim, (uint64_t)s->classes, (uint64_t)s->heads, (uint64_t)s->batch,
                               p->train.n, p->val.n, p->images};
    h = hpt__options_hash(o, 'L', XXH3_64bits_withSeed(p->ctx->be->name, strlen(p->ctx->be->name),
                                                       XXH3_64bits(about, sizeof about)));
    if (p->train.x) h = XXH3_64bits_withSeed(p->train.x, sizeof(float) * (size_t)p->train.n * (size_t)s->dim, h);
    if (p->val.y) h = XXH3_64bits_withSeed(p->val.y, sizeof *p->val.y * (size_t)p->val.n, h);
    else if (p->val.multi) h = XXH3_64bits_withSeed(p->val.multi, (size_t)p->val.n * (size_t)s->classes, h);
    if (p->train.y) h = XXH3_64bits_withSeed(p->train.y, sizeof *p->train.y * (size_t)p->train.n, h);
    else h = XXH3_64bits_withSeed(p->train.multi, (size_t)p->train.n * (size_t)s->classes, h);
    /* so a probe of other weights does not go on here */
    return XXH3_64bits_withSeed(p->val.x, sizeof(float) * (size_t)p->val.n * (size_t)s->dim, h);
}
enum { WORK_PARTS = 6 };
static void work_parts(probe_state *s, hpt__state_part part[WORK_PARTS]) {
    size_t rows = (size_t)s->rows * 4, wide = rows * (size_t)s->dim;
    const hpt__state_part all[WORK_PARTS] = {{s->w, wide}, {s->b, rows}, {s->vw, wide}, {s->vb, rows},
                                             {s->best_w, wide}, {s->best_b, rows}};
    memcpy(part, all, sizeof all);
}
static hpt_status save_work(probe_state *s, const hpt__options *o, uint64_t step, const choice *c) {
    hpt__state_part part[WORK_PARTS];
    void *const device[] = {s->d.w, s->d.b, s->d.vw, s->d.vb};
    work_parts(s, part);
    for (int i = 0; i < 4; i++) pull(s, part[i].p, device[i], part[i].bytes);
    json_t *j = json_pack("{s:I,s:b,s:f,s:I,s:i,s:O}", "step", (json_int_t)step, "due", c->due, "best", c->best,
                          "best_step", (json_int_t)c->step, "best_head", c->head, "curve", c->curve);
    char *text = j ? hpt__json_dumps(j, JSON_COMPACT) : NULL;
    hpt_status st = text ? hpt__state_save(OPT_S(o, work_file), work_key(s, o), text, part, WORK_PARTS)
        : hpt__fail_memory(4096);
    json_decref(j);
    hpt__free(text);
    return st;
}
/* The step to go on at: 0 where nothing is kept. */
static hpt_status load_work(probe_state *s, const hpt__options *o, uint64_t *step, choice *c) {
    hpt__state_part part[WORK_PARTS];
    void *const device[] = {s->d.w, s->d.b, s->d.vw, s->d.vb};
    char *text;
    *step = 0;
    if (!*OPT_S(o, work_file)) return HPT_OK;
    work_parts(s, part);
    hpt_status st = hpt__state_load(OPT_S(o, work_file), work_key(s, o), &text, part, WORK_PARTS);
    if (st) return st == HPT_END ? HPT_OK : st;
    json_t *j = json_loads(text, 0, NULL);
    hpt__free(text);
    for (int i = 0; i < 4; i++) push(s, device[i], part[i].p, part[i].bytes);
    *step = (uint64_t)json_integer_value(json_object_get(j, "step"));
    c->due = json_is_true(json_object_get(j, "due"));
    c->best = json_number_value(json_object_get(j, "best"));
    c->step = (uint64_t)json_integer_value(json_object_get(j, "best_step"));
    c->head = (int)json_integer_value(json_object_get(j, "best_head"));
    json_array_extend(c->curve, json_object_get(j, "curve"));
    json_decref(j);
    return *step && s->p->seek ? s->p->seek(s->p->next_ctx, *step) : HPT_OK;
}

/* The score of every head after t steps, and the weights if one is the best. */
static hpt_status take_score(probe_state *s, const char *scale_name, int zero, uint64_t t, const char *key, choice *c) {
    double got[MAX_HEADS];
    HPT_TRY(score(s, scale_name, &s->p->val, s->d.w, s->d.b, zero, got, NULL, 0));
    json_t *row = json_array();
    for (int h = 0; h < s->heads; h++) {
        json_array_append_new(row, hpt__json_number(got[h]));
        if (got[h] > c->best || c->step == 0) {
            c->best = got[h];
            c->step = t;
            c->head = h;
            s->be->memory.download(s->dev, s->best_w, s->d.w, sizeof(float) * (size_t)s->rows * (size_t)s->dim);
            s->be->memory.download(s->dev, s->best_b, s->d.b, sizeof(float) * (size_t)s->rows);
        }
    }
    json_array_append_new(c->curve, json_pack("{s:I, s:o}", "step", (json_int_t)t, key, row));
    c->due = 0;
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

static hpt_status run(probe_state *s, const hpt__options *o, json_t *result) {
    const hpt__probe *p = s->p;
    const char *how = OPT_S(o, probe_scale);
    char scale_name[16];
    snprintf(scale_name, sizeof scale_name, "%s", how);
    uint64_t steps = (uint64_t)OPT_I(o, probe_steps), every = (uint64_t)OPT_I(o, probe_eval_every),
        seed = (uint64_t)OPT_I(o, seed), epoch = UINT64_MAX;
    choice c = {0};
    uint64_t saved = 0;
    hpt__span span;
    hpt_status st = HPT_OK;
    int zero = OPT_IS(o, auroc_undefined, "zero");
    hpt__truth val = truth(s, &p->val);
    const char *metric = hpt__metric(&val);
    char key[32];
    hpt__score sc;
    hpt__rng r;
    HPT_TRY(hpt__can_choose(&val, zero, "val"));
    hpt__rng_init(&r, seed, HPT__RNG_HEAD, 0, 0);
    for (size_t i = 0; i < (size_t)s->classes * (size_t)s->dim; i++) {
        float v = (float)(0.01 * hpt__rng_normal(&r));        /* every head starts alike: N(0, 0.01), bias 0 */
        for (int h = 0; h < s->heads; h++) s->w[(size_t)h * (size_t)s->classes * (size_t)s->dim + i] = v;
    }
    push(s, s->d.w, s->w, sizeof(float) * (size_t)s->rows * (size_t)s->dim);
    fit_scale(s, scale_name);
    c.curve = json_array();
    snprintf(key, sizeof key, "val_%s", metric);
    uint64_t t;
    HPT_TRY_GOTO(st, load_work(s, o, &t, &c), failed);
    hpt__span_begin(&p->ctx->watch, &span, HPT_PHASE_PROBE, t, steps, "linear probe");
    for (st = HPT_OK; !st && (t < steps || c.due);) {
        span.score = c.step ? c.best : NAN;
        if ((st = hpt__between(p->ctx, &span, t))) break;
        if (!c.due) {
            if (p->next) {
                if ((st = p->next(p->next_ctx, t, s->x, s->rows_of))) break;
                for (int i = 0; i < s->batch; i++)
                    scaled_row(s, scale_name, s->x + (size_t)i * (size_t)s->dim, s->x + (size_t)i * (size_t)s->dim);
            } else draw_batch(s, scale_name, seed, t, &epoch);
            if ((st = train_step(s, t, steps))) break;
            t++;
            c.due = t % every == 0 || t == steps;
            if (!c.due) continue;
        }
        if ((st = take_score(s, scale_name, zero, t, key, &c))) break;
        if (*OPT_S(o, work_file) && t - saved >= (uint64_t)OPT_I(o, work_every)) {
            st = save_work(s, o, t, &c);
            saved = t;
        }
    }
    span.done = t;
    hpt__span_end(&span);
    if (st == HPT_ERR_CANCELLED && *OPT_S(o, work_file)) {        /* the same call goes on from here */
        hpt_status kept = save_work(s, o, t, &c);
        st = kept ? kept : hpt__fail(HPT_ERR_CANCELLED, "cancelled: linear probe, after %llu updates",
                                     (unsigned long long)t);
    }
    if (st) goto failed;
    json_t *rates = json_array(), *schedules = json_array();
    for (int h = 0; h < s->heads; h++)
        json_array_append_new(rates, json_real(s->lr[h])),
            json_array_append_new(schedules, json_string(s->schedule[h]));
    json_object_set_new(result, "metric", json_string(metric));
    json_object_set_new(result, key, json_real(c.best));
    json_object_set_new(result, "val_score", json_real(c.best));
    json_object_set_new(result, "best_lr", json_real(s->lr[c.head]));
    json_object_set_new(result, "best_schedule", json_string(s->schedule[c.head]));
    json_object_set_new(result, "schedule", schedules);
    json_object_set_new(result, "best_step", json_integer((json_int_t)c.step));
    json_object_set_new(result, "classes", json_integer(s->classes));
    json_object_set_new(result, "train_images", json_integer((json_int_t)p->train.n));
    json_object_set_new(result, "val_images", json_integer((json_int_t)p->val.n));
    json_object_set_new(result, "test_images", json_integer((json_int_t)p->test.n));
    json_object_set_new(result, "lr", rates);
    json_object_set_new(result, "curve", c.curve);
    if (*OPT_S(o, work_file)) remove(OPT_S(o, work_file));
    if (p->head) HPT_TRY(give_head(s, c.head, p->head));
    if (p->test.n) {        /* once, with the choice made */
        s->be->memory.upload(s->dev, s->d.w, s->best_w, sizeof(float) * (size_t)s->rows * (size_t)s->dim);
        s->be->memory.upload(s->dev, s->d.b, s->best_b, sizeof(float) * (size_t)s->rows);
        float *logits = p->test_logits ? p->test_logits
            : hpt__alloc(sizeof *logits * (size_t)p->test.n * (size_t)s->classes);
        hpt__truth asked = truth(s, &p->test);
        st = logits ? score(s, scale_name, &p->test, s->d.w, s->d.b, zero, NULL, logits, c.head)
            : hpt__fail_memory((size_t)p->test.n);
        if (!st) st = hpt__score_report(result, "test", logits, (size_t)s->classes, &asked, zero, &sc);
        if (logits != p->test_logits) hpt__free(logits);
        return st;
    }
    return HPT_OK;
failed:
    json_decref(c.curve);
    return st;
}

hpt_status hpt__linear_probe(const hpt__probe *p, const hpt__options *o, json_t *result) {
    probe_state s = {.p = p, .be = p->ctx->be, .dev = p->ctx->dev, .dim = p->dim, .classes = p->classes,
               .mom = OPT_F(o, probe_momentum)};
    double rate[MAX_RATES];
    int rates = hpt__number_list(OPT_S(o, probe_lr), rate, MAX_RATES);
    if (rates < 1)
        return hpt__fail(HPT_ERR_OPTION, "option 'probe_lr': '%.60s' is not a list of 1 to %d rates",
                         OPT_S(o, probe_lr), MAX_RATES);
    static const char *const known[] = {"step", "cosine", "constant"};
    for (const char *q = OPT_S(o, probe_schedule); *q;) {
        size_t n = strcspn(q, ",");
        const char *name = NULL;
        for (int i = 0; i < 3; i++)
            if (strlen(known[i]) == n && !memcmp(known[i], q, n)) name = known[i];
        if (!name || s.heads + rates > MAX_HEADS)
            return hpt__fail(HPT_ERR_OPTION,
                             "option 'probe_schedule': '%.60s' is not a list of step, cosine, constant",
                             OPT_S(o, probe_schedule));
        for (int i = 0; i < rates; i++) {
            s.schedule[s.heads] = name;
            s.lr[s.heads++] = rate[i];
        }
        q += n + (q[n] == ',');
    }
    if (!s.heads) return hpt__fail(HPT_ERR_OPTION, "option 'probe_schedule' is empty");
    s.rows = s.heads * s.classes;
    s.batch = p->next ? p->batch : (int)OPT_I(o, probe_batch);
    if (!p->next && (uint64_t)s.batch > p->train.n) s.batch = (int)p->train.n;
    size_t rows = (size_t)s.rows, dim = (size_t)s.dim, wide = rows * dim;
    s.w = hpt__calloc(wide, 4); s.b = hpt__calloc(rows, 4); s.vw = hpt__calloc(wide, 4); s.vb = hpt__calloc(rows, 4);
    s.gw = hpt__calloc(wide, 4); s.gb = hpt__calloc(rows, 4); s.best_w = hpt__calloc(wide, 4);
    s.best_b = hpt__calloc(rows, 4);
    s.scale = hpt__calloc(dim, 4); s.shift = hpt__calloc(dim, 4);
    s.logits = hpt__calloc((size_t)s.batch * rows, 4); s.x = hpt__calloc((size_t)s.batch * dim, 4);
    s.y = hpt__calloc((size_t)s.batch, 4);
    s.targets = hpt__calloc((size_t)s.batch * (size_t)s.classes, 4);
    s.rows_of = hpt__calloc((size_t)s.batch, sizeof *s.rows_of);
    s.order = hpt__calloc((size_t)p->train.n + 1, 4);
    hpt_status st = s.w && s.b && s.vw && s.vb && s.gw && s.gb && s.best_w && s.best_b && s.scale && s.shift &&
        s.logits && s.x && s.y && s.order && s.targets && s.rows_of
                        ? HPT_OK : hpt__fail_memory(wide * 4);
    s.be->device.enter(s.dev);
    if (!st) st = on_device(&s);
    if (!st) st = run(&s, o, result);
    if (!st) st = s.be->queue.sync(s.dev);
    off_device(&s);
    s.be->device.leave(s.dev);
    state_free(&s);
    return st;
}

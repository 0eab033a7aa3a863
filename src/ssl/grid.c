/* SPDX-License-Identifier: MIT
 * Points of a grid, one after the other through one trainer of method=supervised: only rate and length differ. An
 * update is made of ft_batch/ft_micro parts, so the schedule counts updates. Everything that is under way lies in one
 * list (items), so that the grid goes on at the update where it stopped. */
#include "ssl/grid.h"
#include "core/alloc.h"
#include "core/number.h"
#include "core/result.h"
#include "core/rng.h"
#include "nn/facts.h"
#include "ssl/features.h"
#include "ssl/supervised.h"
#include "train/feed.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_RATES = 8, BODY = 1, HEAD = 2 };         /* groups of the optimizer */

typedef struct grid_point { double lr; char length[32]; uint64_t updates; } grid_point;

typedef struct grid {
    hpt_model *m;
    const hpt__options *o;
    const hpt__sets *sets;
    hpt__joined start;                  /* the pretrained backbone and a fresh classifier: N(0, 0.01), bias 0 */
    hpt__comm alone;
    hpt__trainer trainer;
    hpt__feed feed;
    hpt__encoder eval;                  /* of the trainer's weights */
    hpt__tuned *best;
    grid_point *point;
    int n_points, classes;
    uint64_t before, total, key;        /* updates of the points before, and of all; work_file's */
    float *val;                         /* logits of the validation images */
    /* under way: finished points in runs, the best of all, and the point at which the grid is */
    json_t *runs, *curve;
    double best_score, own, due;        /* NaN: none yet; due: the loss at step, where a score is still to come */
    int64_t at, step, own_step, best_point, best_step;         /* step: updates done of point number at */
} grid;

/* ---- points ---- */

/* The next of option ft_length's lengths: as it is written, and in updates. HPT_END behind the last. */
static hpt_status next_length(const char **list, uint64_t per_epoch, char one[32], uint64_t *updates) {
    char *end;
    size_t len = strcspn(*list, ",");
    if (!**list) return HPT_END;
    snprintf(one, 32, "%.*s", (int)(len < 30 ? len : 30), *list + strspn(*list, " "));
    unsigned long long count = strtoull(one, &end, 10);
    if (end == one || count < 1 || count > 10000000 || (strcmp(end, "") && strcmp(end, "e")))
        return hpt__fail(HPT_ERR_OPTION, "option 'ft_length': '%s' is neither a number of updates nor of epochs (90e)",
                         one);
    *updates = *end ? count * per_epoch : count;
    *list += len + ((*list)[len] == ',');
    return HPT_OK;
}
static hpt_status make_points(grid *g, uint64_t images) {
    double lr[MAX_RATES];
    int rates = hpt__number_list(OPT_S(g->o, ft_lr), lr, MAX_RATES), lengths = 1;
    uint64_t n = g->sets->ds[0]->count, per_epoch = (n + images - 1) / images;
    grid_point p;
    hpt_status st;
    if (rates < 1)
        return hpt__fail(HPT_ERR_OPTION, "option 'ft_lr': '%.60s' is not a list of 1 to %d rates", OPT_S(g->o, ft_lr),
                         MAX_RATES);
    for (const char *c = OPT_S(g->o, ft_length); *c; c++) lengths += *c == ',';
    if (!(g->point = hpt__calloc((size_t)(rates * lengths), sizeof p))) return hpt__fail_memory(sizeof p);
    const char *list = OPT_S(g->o, ft_length);
    while ((st = next_length(&list, per_epoch, p.length, &p.updates)) == HPT_OK)
        for (int i = 0; i < rates; i++) {
            p.lr = lr[i];
            g->total += p.updates;
            g->point[g->n_points++] = p;
        }
    return st == HPT_END ? HPT_OK : st;
}
/* ft_drops=released: lengths in updates drop at a twelfth and two twelfths. */
static hpt__schedule schedule_of(const grid *g, const grid_point *p) {
    int by_epochs = p->length[strlen(p->length) - 1] == 'e';
    return (hpt__schedule){.lr = p->lr, .total = p->updates,
                           .thirds = OPT_IS(g->o, ft_drops, "released") && !by_epochs ? p->updates / 4 : p->updates};
}

/* ---- work under way ---- */

static int items(grid *g, hpt__state item[HPT__STATES]) {
    const hpt__net *net = &g->start.net;
    const hpt__state all[] = {
        {.kind = HPT__STATE_NETWORK, .name = "model.", .prefix = "model.", .weights = g->trainer.network[0]},
        {.kind = HPT__STATE_FLOATS, .name = "params", .floats = g->best->best.params, .n = (int64_t)net->n_params},
        {.kind = HPT__STATE_FLOATS, .name = "stats", .floats = g->best->best.stats, .n = (int64_t)net->n_stats},
        {.kind = HPT__STATE_NUMBER, .name = "point", .number = &g->at},
        {.kind = HPT__STATE_NUMBER, .name = "step", .number = &g->step},
        {.kind = HPT__STATE_NUMBER, .name = "own_step", .number = &g->own_step},
        {.kind = HPT__STATE_NUMBER, .name = "best_point", .number = &g->best_point},
        {.kind = HPT__STATE_NUMBER, .name = "best_step", .number = &g->best_step},
        {.kind = HPT__STATE_REAL, .name = "best_score", .real = &g->best_score},
        {.kind = HPT__STATE_REAL, .name = "own", .real = &g->own},
        {.kind = HPT__STATE_REAL, .name = "due", .real = &g->due},
        {.kind = HPT__STATE_LIST, .name = "runs", .list = g->runs},
        {.kind = HPT__STATE_LIST, .name = "curve", .list = g->curve}};
    memcpy(item, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}
static hpt_status save(grid *g) {
    hpt__state item[HPT__STATES];
    return hpt__work_save(OPT_S(g->o, work_file), g->key, hpt__trainer_site(&g->trainer), item, items(g, item));
}
static hpt_status load(grid *g) {
    hpt__state item[HPT__STATES];
    const hpt__net *net = &g->m->net;
    const char *name = g->m->ctx->be->name;
    uint64_t key = XXH3_64bits_withSeed(g->m->stats, net->n_stats * 4, XXH3_64bits(g->m->params, net->n_params * 4));
    key = hpt__options_hash(g->o, 'F', XXH3_64bits_withSeed(name, strlen(name), key));  /* normalisation filled in */
    for (int i = 0; i < 2; i++) {
        const hpt__truth *truth = &g->sets->truth[i];
        uint64_t id = hpt__dataset_fingerprint(g->sets->ds[i]);
        key = XXH3_64bits_withSeed(&id, sizeof id, key);
        key = truth->y ? XXH3_64bits_withSeed(truth->y, sizeof *truth->y * (size_t)truth->n, key)
                       : XXH3_64bits_withSeed(truth->multi, (size_t)truth->n * (size_t)truth->classes, key);
    }
    g->key = key;
    hpt_status st = hpt__work_load(OPT_S(g->o, work_file), key, hpt__trainer_site(&g->trainer), item, items(g, item));
    return st == HPT_END ? HPT_OK : st;
}

/* ---- one point ---- */

static void truth_of(void *user, hpt__trainer *t, const uint64_t *index) {
    const hpt__truth *truth = &((grid *)user)->sets->truth[0];
    size_t c = (size_t)truth->classes;
    for (size_t i = 0; i < (size_t)t->spec.batch; i++)
        if (truth->y) t->label[i] = truth->y[index[i]];
        else for (size_t k = 0; k < c; k++) t->target[i * c + k] = truth->multi[index[i] * c + k];
}

static hpt_status logits_of(grid *g, int set, float *out) {
    return hpt__encoder_pass(&g->eval, g->sets->ds[set], g->o, &g->m->pixels, HPT__BAD_STOP, NULL, out, NULL, NULL);
}
/* The score of the weights as they are, and the weights if it is the best. */
static hpt_status take_score(grid *g) {
    hpt__score sc;
    HPT_TRY(logits_of(g, 1, g->val));
    HPT_TRY(hpt__score_logits(g->val, (size_t)g->classes, &g->sets->truth[1], OPT_IS(g->o, auroc_undefined, "zero"),
                              &sc, NULL));
    json_array_append_new(g->curve, json_pack("{s:I,s:f,s:f}", "step", (json_int_t)g->step, "loss", g->due, "val_score",
                                              sc.main));
    if (!(sc.main <= g->own)) g->own = sc.main, g->own_step = g->step;
    if (!(sc.main <= g->best_score)) {
        g->best_score = sc.main;
        g->best_point = g->at;
        g->best_step = g->step;
        HPT_TRY(hpt__weights_get(&g->trainer.pool, g->trainer.spec.dtype, g->trainer.network[0], g->best->best.params,
                                 g->best->best.stats));
    }
    g->due = NAN;
    return HPT_OK;
}

/* Updates and scores of a point, from g->step on. *note: why it ended early. */
static hpt_status updates_of(grid *g, const grid_point *p, hpt__span *span, const char **note) {
    int64_t end = (int64_t)p->updates, every = OPT_I(g->o, ft_eval_every), keep = OPT_I(g->o, work_every);
    while (g->step < end || isfinite(g->due)) {
        span->score = g->best_score;
        HPT_TRY(hpt__between(g->m->ctx, span, g->before + (uint64_t)g->step));
        if (!isfinite(g->due)) {
            hpt__step_result out;
            hpt_status st = hpt__feed_step(&g->feed, 0, &out);
            if (st == HPT_ERR_NUMERIC) {        /* this rate is too high; the other points of the grid go on */
                *note = "diverged";
                return HPT_OK;
            }
            HPT_TRY(st);
            g->step++;
            if (g->step % every == 0 || g->step == end) g->due = out.loss;
        }
        if (isfinite(g->due)) HPT_TRY(take_score(g));
        if (g->step % keep == 0 && g->step < end) HPT_TRY(save(g));
    }
    return HPT_OK;
}
static hpt_status one_point(grid *g) {
    const grid_point *p = &g->point[g->at];
    hpt__schedule s = schedule_of(g, p);
    const char *note = "";
    hpt__span span;
    hpt__span_begin(&g->m->ctx->watch, &span, HPT_PHASE_FINETUNE, g->before + (uint64_t)g->step, g->total,
                    "finetuning %d: %s at rate %g", (int)g->at + 1, p->length, p->lr);
    hpt_status st = HPT_OK;
    if (!g->step) st = hpt__trainer_restart(&g->trainer, &s, g->start.params, g->start.stats);
    g->trainer.spec.schedule = s;
    g->trainer.step = (uint64_t)g->step;
    if (!st) st = updates_of(g, p, &span, &note);
    span.done = g->before + (uint64_t)g->step;
    hpt__span_end(&span);
    hpt__feed_close(&g->feed);
    if (st == HPT_ERR_CANCELLED) {          /* the same call goes on from here */
        hpt_status kept = save(g);
        return kept ? kept : hpt__fail(HPT_ERR_CANCELLED, "cancelled: finetuning, after %llu updates",
                                       (unsigned long long)g->step);
    }
    if (st) return st;
    json_array_append_new(g->runs, json_pack("{s:f,s:s,s:I,s:I,s:o,s:s,s:O}", "lr", p->lr, "length", p->length,
                                             "updates", (json_int_t)p->updates, "best_step", (json_int_t)g->own_step,
                                             "val_score", hpt__json_number(g->own), "note", note, "curve", g->curve));
    json_decref(g->curve);
    g->curve = json_array();
    g->own = g->due = NAN;
    g->own_step = g->step = 0;
    g->at++;
    return save(g);
}

/* ---- the grid ---- */

static hpt_status all_points(grid *g, json_t *result, float *test_logits) {
    const hpt__sets *sets = g->sets;
    const char *metric = hpt__metric(&sets->truth[0]);
    char key[32];
    hpt_status st = load(g);
    for (int64_t i = 0; i < g->at && !st; i++) g->before += g->point[i].updates;
    while (!st && g->at < g->n_points) {
        uint64_t updates = g->point[g->at].updates;
        st = one_point(g);
        g->before += updates;
    }
    json_object_set(result, "runs", g->runs);
    HPT_TRY(st);
    if (*OPT_S(g->o, work_file)) remove(OPT_S(g->o, work_file));
    if (g->best_score != g->best_score)
        return hpt__fail(HPT_ERR_NUMERIC, "every learning rate of option ft_lr diverged");
    json_object_set_new(result, "best_lr", json_real(g->point[g->best_point].lr));
    json_object_set_new(result, "best_length", json_string(g->point[g->best_point].length));
    json_object_set_new(result, "best_step", json_integer((json_int_t)g->best_step));
    snprintf(key, sizeof key, "val_%s", metric);
    json_object_set_new(result, key, json_real(g->best_score));
    json_object_set_new(result, "metric", json_string(metric));
    json_object_set_new(result, "val_score", json_real(g->best_score));
    json_object_set_new(result, "classes", json_integer(g->classes));
    hpt__sets_report(sets, result);
    if (!sets->ds[2]) return HPT_OK;
    hpt__score sc;                  /* once, with the choice made */
    size_t count = (size_t)sets->ds[2]->count * (size_t)g->classes;
    float *logits = test_logits ? test_logits : hpt__alloc(sizeof *logits * count);
    st = logits ? HPT_OK : hpt__fail_memory(sizeof *logits * count);
    if (!st)
        st = hpt__weights_set(&g->trainer.pool, g->trainer.spec.dtype, g->trainer.network[0], g->best->best.params,
                              g->best->best.stats);
    if (!st) st = logits_of(g, 2, logits);
    if (!st)
        st = hpt__score_report(result, "test", logits, (size_t)g->classes, &sets->truth[2],
                               OPT_IS(g->o, auroc_undefined, "zero"), &sc);
    if (logits != test_logits) hpt__free(logits);
    else if (!st) hpt__sets_spread(sets, 2, logits);
    return st;
}

/* The network to begin with, and its groups: what options train_only and freeze leave of the backbone, and the
 * classifier. */
static hpt_status make_start(grid *g, uint8_t **group) {
    const hpt__net *net = &g->start.net;
    HPT_TRY(hpt__joined_open(&g->start, g->m, (hpt__classifier_form){0}, g->classes));
    hpt__joined_set(&g->start, g->m, NULL);
    HPT_TRY(hpt__joined_open(&g->best->best, g->m, (hpt__classifier_form){0}, g->classes));
    int most = net->n_tensors > g->m->net.n_tensors ? net->n_tensors : g->m->net.n_tensors;
    if (!(*group = hpt__calloc((size_t)most, 1))) return hpt__fail_memory((size_t)most);
    HPT_TRY(hpt__choose_trainable(&g->m->net, g->o, 0, *group));
    hpt__rng r;
    hpt__rng_init(&r, (uint64_t)OPT_I(g->o, seed), HPT__RNG_HEAD, 0, 0);
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        if (x->head) (*group)[i] = HEAD;
        for (size_t j = 0; x->kind == HPT__LINEAR_WEIGHT && j < x->count; j++)
            g->start.params[x->offset + j] = (float)(0.01 * hpt__rng_normal(&r));
    }
    return HPT_OK;
}
static hpt_status open(grid *g, int micro, int parts, hpt__dtype dtype, const uint8_t *group) {
    const hpt__options *o = g->o;
    hpt_context *ctx = g->m->ctx;
    static const hpt__supervised_own own = {0};
    hpt__trainer_spec s = {.method = &hpt__method_supervised, .own = &own, .dtype = dtype, .batch = micro,
                           .parts = parts, .size = (int)OPT_I(o, image_size), .groups = 1,
                           .several = !g->sets->truth[0].y, .direct = OPT_IS(o, conv_algo, "direct"),
                           .deterministic = 1, .drop_path = OPT_F(o, drop_path),
                           .seed = (uint64_t)OPT_I(o, seed), .watch = &ctx->watch,
                           .trainable = group};
    s.optimizer = (hpt__optimizer){.rule = HPT__SGD, .momentum = OPT_F(o, ft_momentum),
                                   .weight_decay = OPT_F(o, ft_weight_decay)};
    s.optimizer.rate[HEAD - 1] = OPT_F(o, ft_head_factor);
    hpt__comm_self(&g->alone);          /* ranks finetune each for itself, all the same */
    HPT_TRY(hpt__trainer_open(&g->trainer, ctx->be, ctx->dev, &g->alone, &g->start.net, &s, g->start.params,
                              g->start.stats));
    g->feed = (hpt__feed){.trainer = &g->trainer, .truth = truth_of, .user = g};
    g->feed.spec = (hpt__loader_spec){.ds = g->sets->ds[0], .batch = micro, .size = s.size,
                                      .workers = (int)OPT_I(o, workers), .views = 1, .stream = 1,
                                      .seed = (uint64_t)OPT_I(o, seed) ^ 0x74756e65u};
    hpt__augment_probe(s.size, &g->feed.spec.augment[0]);
    if (!OPT_I(o, ft_augment)) g->feed.spec.augment[0].crop = 0, g->feed.spec.augment[0].flip = 0;
    memcpy(g->feed.spec.mean, g->sets->pixels.mean, sizeof g->feed.spec.mean);
    memcpy(g->feed.spec.std, g->sets->pixels.std, sizeof g->feed.spec.std);
    return hpt__encoder_open(&g->eval, g->m, o, &(hpt__encoder_spec){.batch = micro, .size = s.size,
                                                                     .weights = g->trainer.network[0]});
}
static hpt_status run(grid *g, json_t *result, float *test_logits) {
    uint64_t n = g->sets->ds[0]->count;
    int batch = (int)OPT_I(g->o, ft_batch), micro = (int)OPT_I(g->o, ft_micro);
    uint8_t *group = NULL;
    hpt__dtype dtype = HPT__F32;
    if (micro > batch) micro = batch;
    if ((uint64_t)micro > n) micro = (int)n;
    int parts = (batch + micro - 1) / micro;
    hpt_status st = hpt__precision(g->m->ctx, g->o, &dtype);
    if (!st && dtype == HPT__F64) st = hpt__fail(HPT_ERR_UNSUPPORTED, "precision=fp64 is not for finetuning");
    if (!st) st = make_points(g, (uint64_t)micro * (uint64_t)parts);
    if (!st) st = make_start(g, &group);
    size_t count = (size_t)g->sets->ds[1]->count * (size_t)g->classes;
    if (!st && !(g->val = hpt__alloc(sizeof *g->val * count))) st = hpt__fail_memory(sizeof *g->val * count);
    if (!st) st = open(g, micro, parts, dtype, group);
    if (!st) st = all_points(g, result, test_logits);
    hpt__facts(result, g->m->ctx, dtype, &g->sets->pixels);
    if (g->eval.plan) hpt__encoder_close(&g->eval);
    hpt__feed_close(&g->feed);
    hpt__trainer_close(&g->trainer);
    hpt__joined_close(&g->start);
    hpt__free(group);
    hpt__free(g->val);
    hpt__free(g->point);
    json_decref(g->runs);
    json_decref(g->curve);
    return st;
}

/* ---- the result ---- */

hpt_status hpt__tuned_give(const hpt__tuned *t, const hpt_dataset *train, hpt_model *m) {
    hpt__classifier fc;
    HPT_TRY(hpt__classifier_create(&fc, m->net.feature_dim, t->best.net.arch.dim, hpt__dataset_labelled(train) == 2,
                                   train->src->class_name));
    hpt__joined_give(&t->best.net, t->best.params, t->best.stats, m, &fc);
    hpt__classifier_fini(&m->fc);
    m->fc = fc;
    hpt__model_learnt(m, &t->pixels);
    return HPT_OK;
}
hpt_status hpt__tuned_head(const hpt__tuned *t, hpt__head *out) {
    const hpt__net *net = &t->best.net;
    const hpt__tensor *w = &net->tensors[hpt__net_find(net, "fc.weight")];
    const hpt__tensor *b = &net->tensors[hpt__net_find(net, "fc.bias")];
    *out = (hpt__head){hpt__alloc(w->count * 4), hpt__alloc(b->count * 4), net->arch.dim};
    if (!out->w || !out->b) return hpt__fail_memory(w->count * 4);
    memcpy(out->w, t->best.params + w->offset, w->count * 4);
    memcpy(out->b, t->best.params + b->offset, b->count * 4);
    return HPT_OK;
}
void hpt__tuned_free(hpt__tuned *t) { hpt__joined_close(&t->best); }

/* ---- the sets ---- */

/* Without a validation set: a class-balanced fifth of train. */
static hpt_status hold_out(hpt_dataset *all, uint64_t seed, hpt_dataset **train, hpt_dataset **val) {
    size_t n = (size_t)all->count;
    uint8_t *flag = hpt__alloc(n + 1);
    uint64_t *index = hpt__alloc(sizeof *index * (n + 1)), *object = NULL, a = 0, b = all->count;
    int32_t *y = all->src->label ? hpt__alloc(sizeof *y * (n + 1)) : NULL;
    hpt_status st = flag && index && (y || !all->src->label) ? HPT_OK : hpt__fail_memory(n * 8);
    for (size_t i = 0; i < n && !st && y; i++) {
        y[i] = hpt__dataset_label(all, i);
        if (y[i] < 0) st = hpt__fail(HPT_ERR_ARGUMENT, "train: an image has no label");
    }
    if (!st) st = hpt__dataset_object_keys(all, &object);
    if (!st) st = hpt__probe_holdout(y, object, all->count, (int)all->src->classes, seed, flag);
    for (size_t i = 0; i < n && !st; i++) index[flag[i] ? --b : a++] = all->index[i];
    if (!st) st = hpt__dataset_new(all->ctx, all->src, index, a, train);
    if (!st) st = hpt__dataset_new(all->ctx, all->src, index + a, n - a, val);
    hpt__free(flag);
    hpt__free(index);
    hpt__free(object);
    hpt__free(y);
    return st;
}

static hpt_status finetune(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test,
                           const hpt__options *o, json_t *result, hpt__tuned *best, float *test_logits) {
    HPT__TURN(m->ctx);
    HPT__SPAN(&m->ctx->watch, HPT_PHASE_FINETUNE, "finetuning");
    hpt__sets sets;
    hpt_dataset *own[3] = {NULL, NULL, NULL};       /* without val: two parts, and what they are parts of */
    memset(best, 0, sizeof *best);
    if (!hpt__dataset_labelled(train)) return hpt__dataset_no_labels(train, "train");
    hpt_status st = val ? HPT_OK : hpt__dataset_readable(train, train->count, &own[2]);
    if (!st && !val) st = hold_out(own[2], (uint64_t)OPT_I(o, seed), &own[0], &own[1]);
    if (!st) st = hpt__sets_open(&sets, own[0] ? own[0] : train, own[1] ? own[1] : val, test, o, &m->pixels);
    if (st && own[2] && own[2]->count < train->count)
        st = hpt__fail_context(st, "without %llu unreadable images",
                               (unsigned long long)(train->count - own[2]->count));
    if (!st && (st = hpt__can_choose(&sets.truth[1], OPT_IS(o, auroc_undefined, "zero"), "val")))
        hpt__sets_close(&sets);
    if (!st) {
        grid g = {.m = m, .o = &sets.opt, .sets = &sets, .best = best, .classes = sets.classes, .runs = json_array(),
                  .curve = json_array(), .best_score = NAN, .own = NAN, .due = NAN};
        best->pixels = sets.pixels;
        st = run(&g, result, test_logits);
        if (!st && !val) hpt__report_unreadable(result, "train", train);
        hpt__sets_close(&sets);
    }
    for (int i = 0; i < 3; i++)
        if (own[i]) hpt__handle_close(own[i], HPT__KIND_DATASET);
    if (st) hpt__tuned_free(best);
    return st;
}
hpt_status hpt__finetune(hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *test, const hpt__options *o,
                         json_t *result, hpt__tuned *best, float *test_logits) {
    uint64_t known = 0;
    hpt__sets_again(HPT_OK, train, val, test, &known);
    for (;;) {
        hpt_status st = finetune(m, train, val, test, o, result, best, test_logits);
        if (!hpt__sets_again(st, train, val, test, &known)) return st;
        json_object_clear(result);
    }
}

/* SPDX-License-Identifier: MIT
 * One update is step(), in order. Gradients of ft_batch/ft_micro parts are averaged before it, so the schedule
 * counts updates. */
#include "ssl/finetune.h"
#include "core/alloc.h"
#include "core/result.h"
#include "core/number.h"
#include "core/rng.h"
#include "eval/linear.h"
#include "io/statefile.h"
#include "nn/facts.h"
#include "ssl/features.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_LIST = 8 };

typedef struct tuner {
    hpt_model *m;
    const hpt__backend *be;
    hpt__device *dev;
    const hpt__options *o;
    const hpt__sets *sets;
    hpt__dtype dtype;
    hpt__plan *train, *eval;
    uint8_t *trainable;
    int micro, parts, dim, classes, size;
    size_t n_head;                      /* classes * dim */
    uint64_t before, total;             /* updates of the points before, and of all */
    /* device: network, its gradient and the mean over the parts, momentum; classifier w (classes,dim) and b
     * (classes) lie one after the other */
    float *q, *stats, *stats_old, *grad, *mean, *mom, *head, *head_grad, *head_mean, *head_mom, *logits, *loss, *df,
        *images, *targets;
    int32_t *y;
    void *low;
    hpt__vars *vars;                    /* [0] backbone, [1] classifier */
    float *host_logits, *host_loss, *host_targets, *head0;
    int32_t *host_y;
} tuner;

static void upload(tuner *t, void *to, const void *from, size_t bytes) {
    t->be->memory.upload(t->dev, to, from, bytes);
}

static hpt_status classify(tuner *t, const float *features) {
    HPT_TRY(t->be->rows->gemm(t->dev, HPT__F32, 0, 1, t->micro, t->classes, t->dim, 1, features, t->dim, t->head,
                              t->dim, 0, t->logits, t->classes));
    t->be->rows->add_bias(t->dev, t->micro, t->classes, t->head + t->n_head, t->logits);
    return HPT_OK;
}

/* Forward and backward of one part; its gradients enter the mean. */
static hpt_status part(tuner *t, const hpt__batch *b, int i) {
    const hpt__truth *truth = &t->sets->truth[0];
    size_t c = (size_t)t->classes, n = (size_t)t->micro;
    const float *x = b->view[0];
    for (size_t j = 0; j < n; j++)
        if (truth->y) t->host_y[j] = truth->y[b->index[j]];
        else for (size_t k = 0; k < c; k++) t->host_targets[j * c + k] = truth->multi[b->index[j] * c + k];
    t->be->device.enter(t->dev);
    if (t->images) upload(t, t->images, x, n * 12 * (size_t)t->size * (size_t)t->size), x = t->images;
    if (truth->y) upload(t, t->y, t->host_y, n * 4);
    else upload(t, t->targets, t->host_targets, n * c * 4);
    t->be->device.leave(t->dev);
    HPT_TRY(hpt__plan_forward(t->train, t->q, t->low, t->stats, x, 0.1));
    const float *f = hpt__plan_output(t->train);
    t->be->device.enter(t->dev);
    hpt_status st = classify(t, f);
    if (truth->y) t->be->rows->softmax_ce(t->dev, t->micro, 1, t->classes, t->logits, t->y, t->loss);
    else t->be->rows->bce(t->dev, t->micro, 1, t->classes, t->logits, t->targets, t->loss);
    if (!st)
        st = t->be->rows->gemm(t->dev, HPT__F32, 1, 0, t->classes, t->dim, t->micro, 1, t->logits, t->classes, f,
                               t->dim, 0, t->head_grad, t->dim);
    t->be->rows->sum_rows(t->dev, t->micro, t->classes, t->logits, t->head_grad + t->n_head);
    if (!st)
        st = t->be->rows->gemm(t->dev, HPT__F32, 0, 0, t->micro, t->dim, t->classes, 1, t->logits, t->classes, t->head,
                               t->dim, 0, t->df, t->dim);
    t->be->device.leave(t->dev);
    HPT_TRY(st);
    HPT_TRY(hpt__plan_backward(t->train, t->q, t->low, t->grad, t->df, NULL, NULL));
    if (t->parts == 1) return HPT_OK;
    t->be->device.enter(t->dev);           /* mean of i+1 values = mean of i * i/(i+1) + value / (i+1) */
    double keep = (double)i / (i + 1);
    t->be->params->blend(t->dev, HPT__F32, t->mean, t->mean, t->grad, t->m->net.n_params, keep, 1 - keep);
    t->be->params->blend(t->dev, HPT__F32, t->head_mean, t->head_mean, t->head_grad, t->n_head + (size_t)t->classes,
                         keep, 1 - keep);
    t->be->device.leave(t->dev);
    return HPT_OK;
}

/* One update. Given up in the middle it has changed nothing: running statistics are put back. */
static hpt_status step(tuner *t, hpt__loader *l, double lr) {
    const hpt__net *net = &t->m->net;
    size_t bytes = net->n_stats * 4;
    hpt_status st = HPT_OK;
    t->be->device.enter(t->dev);
    t->be->memory.copy(t->dev, t->stats_old, t->stats, bytes);
    t->be->device.leave(t->dev);
    for (int i = 0; i < t->parts && !st; i++) {
        hpt__batch b;
        st = hpt__loader_next(l, &b, NULL);
        if (!st) st = part(t, &b, i);
    }
    if (st) {
        t->be->device.enter(t->dev);
        t->be->memory.copy(t->dev, t->stats, t->stats_old, bytes);
        t->be->device.leave(t->dev);
        return st;
    }
    hpt__vars v[2] = {{.lr = lr}, {.lr = lr * OPT_F(t->o, ft_head_factor)}};
    hpt__update u = {.q = t->q, .m = t->mom, .g = t->parts > 1 ? t->mean : t->grad, .q_low = t->low, .rule = HPT__SGD,
                     .momentum = OPT_F(t->o, ft_momentum), .wd = OPT_F(t->o, ft_weight_decay)};
    t->be->device.enter(t->dev);
    upload(t, t->vars, v, sizeof v);
    for (int i = 0; i < net->n_tensors; i++)
        if (t->trainable[i] && !net->tensors[i].head)
            t->be->params->update(t->dev, HPT__F32, &u, net->tensors[i].offset, net->tensors[i].count, t->vars, NULL);
    u = (hpt__update){.q = t->head, .m = t->head_mom, .g = t->parts > 1 ? t->head_mean : t->head_grad,
                      .rule = HPT__SGD, .momentum = u.momentum, .wd = u.wd};
    t->be->params->update(t->dev, HPT__F32, &u, 0, t->n_head + (size_t)t->classes, t->vars + 1, NULL);
    t->be->device.leave(t->dev);
    return HPT_OK;
}

/* Logits (n,classes) of plain images with the weights as they are. */
static hpt_status logits_of(tuner *t, hpt_dataset *ds, float *out) {
    hpt__loader *l = NULL;
    size_t n = (size_t)t->micro, c = (size_t)t->classes;
    HPT_TRY(hpt__plain_loader(ds, t->o, &t->m->pixels, t->micro, (ds->count + n - 1) / n, HPT__BAD_STOP, &l));
    hpt_status st = HPT_OK;
    for (uint64_t at = 0; at < ds->count && !st; at += n) {
        hpt__batch b;
        if ((st = hpt__loader_next(l, &b, NULL))) break;
        const float *x = b.view[0];
        t->be->device.enter(t->dev);
        if (t->images) upload(t, t->images, x, n * 12 * (size_t)t->size * (size_t)t->size), x = t->images;
        t->be->device.leave(t->dev);
        if ((st = hpt__plan_forward(t->eval, t->q, t->low, t->stats, x, 0))) break;
        t->be->device.enter(t->dev);
        st = classify(t, hpt__plan_output(t->eval));
        if (!st) t->be->memory.download(t->dev, t->host_logits, t->logits, n * c * 4);
        t->be->device.leave(t->dev);
        memcpy(out + at * c, t->host_logits, sizeof *out * c * (size_t)(ds->count - at < n ? ds->count - at : n));
    }
    hpt__loader_destroy(l);
    return st;
}
static hpt_status evaluate(tuner *t, int set, float *logits, hpt__score *score) {
    HPT_TRY(logits_of(t, t->sets->ds[set], logits));
    return hpt__score_logits(logits, (size_t)t->classes, &t->sets->truth[set], OPT_IS(t->o, auroc_undefined, "zero"),
                             score, NULL);
}

/* Weights of the pretrained model and a fresh classifier: N(0, 0.01), bias 0. */
static hpt_status reset(tuner *t) {
    const hpt__net *net = &t->m->net;
    t->be->device.enter(t->dev);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, t->m->params, t->q, 0);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, t->m->stats, t->stats, 1);
    if (t->low) t->be->params->lower(t->dev, 1, net->n_params, net->n_params, t->q, t->low);
    t->be->memory.zero(t->dev, t->mom, net->n_params * 4);
    t->be->memory.zero(t->dev, t->head_mom, (t->n_head + (size_t)t->classes) * 4);
    upload(t, t->head, t->head0, (t->n_head + (size_t)t->classes) * 4);
    hpt_status st = t->be->queue.sync(t->dev);
    t->be->device.leave(t->dev);
    return st;
}
static hpt_status keep(tuner *t, hpt__tuned *best) {
    const hpt__net *net = &t->m->net;
    t->be->device.enter(t->dev);
    hpt__weights_download(t->be, t->dev, t->dtype, net, t->q, best->params, 0);
    hpt__weights_download(t->be, t->dev, t->dtype, net, t->stats, best->stats, 1);
    t->be->memory.download(t->dev, best->w, t->head, t->n_head * 4);
    t->be->memory.download(t->dev, best->b, t->head + t->n_head, (size_t)t->classes * 4);
    hpt_status st = t->be->queue.sync(t->dev);
    t->be->device.leave(t->dev);
    return st;
}
static hpt_status restore(tuner *t, const hpt__tuned *best) {
    const hpt__net *net = &t->m->net;
    t->be->device.enter(t->dev);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, best->params, t->q, 0);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, best->stats, t->stats, 1);
    if (t->low) t->be->params->lower(t->dev, 1, net->n_params, net->n_params, t->q, t->low);
    upload(t, t->head, best->w, t->n_head * 4);
    upload(t, t->head + t->n_head, best->b, (size_t)t->classes * 4);
    hpt_status st = t->be->queue.sync(t->dev);
    t->be->device.leave(t->dev);
    return st;
}

static hpt_status open_loader(tuner *t, uint64_t first, uint64_t updates, hpt__loader **l) {
    hpt__loader_spec s = {.ds = t->sets->ds[0], .batch = t->micro, .size = t->size,
                          .workers = (int)OPT_I(t->o, workers), .views = 1, .stream = 1,
                          .seed = (uint64_t)OPT_I(t->o, seed) ^ 0x74756e65u, .first_step = first * (uint64_t)t->parts,
                          .steps = updates * (uint64_t)t->parts};
    hpt__augment_probe(s.size, &s.augment[0]);
    if (!OPT_I(t->o, ft_augment)) s.augment[0].crop = 0, s.augment[0].flip = 0;
    memcpy(s.mean, t->sets->pixels.mean, sizeof s.mean);
    memcpy(s.std, t->sets->pixels.std, sizeof s.std);
    return hpt__loader_create(&s, l);
}

static double factor(tuner *t, const char *length, uint64_t at, uint64_t updates) {
    if (OPT_IS(t->o, ft_drops, "released") && length[strlen(length) - 1] != 'e') updates /= 4;
    return hpt__supervised_factor("step", at, updates);
}

/* ---- work under way: all of it is in the file, so the grid goes on at the update where it stopped ---- */

/* The grid so far: finished points in runs, the best of all, and the point under way. */
typedef struct progress {
    json_t *runs, *curve;
    double best_score, own, best_lr;        /* NaN: none yet */
    char best_length[32];
    uint64_t best_step, own_step, step;     /* step: updates done of the point under way */
    double due;                             /* its loss at step, where a score is still to come; NaN: no score is */
    int point;                              /* its number */
} progress;
enum { WORK_PARTS = 9 };
/* plain: q, momentum, statistics, head, its momentum */
typedef struct work { hpt__state_part part[WORK_PARTS]; float *plain; uint64_t key; } work;

static hpt_status work_open(tuner *t, const hpt__tuned *best, work *w) {
    const hpt__net *net = &t->m->net;
    size_t p = net->n_params, s = net->n_stats, h = t->n_head + (size_t)t->classes;
    memset(w, 0, sizeof *w);
    if (!*OPT_S(t->o, work_file)) return HPT_OK;
    if (!(w->plain = hpt__calloc(2 * p + s + 2 * h, 4))) return hpt__fail_memory((2 * p + s + 2 * h) * 4);
    float *x = w->plain;
    const hpt__state_part all[WORK_PARTS] = {{x, p * 4}, {x + p, p * 4}, {x + 2 * p, s * 4}, {x + 2 * p + s, h * 4},
                                             {x + 2 * p + s + h, h * 4},
                                             {best->params, p * 4}, {best->stats, s * 4}, {best->w, t->n_head * 4},
                                             {best->b, (size_t)t->classes * 4}};
    memcpy(w->part, all, sizeof all);
    w->key = XXH3_64bits_withSeed(t->be->name, strlen(t->be->name), XXH3_64bits_withSeed(t->m->stats, s * 4,
        XXH3_64bits(t->m->params, p * 4)));
    w->key = hpt__options_hash(t->o, 'F', w->key);      /* with the normalisation, which is filled in */
    for (int i = 0; i < 2; i++) {
        const hpt__truth *truth = &t->sets->truth[i];
        uint64_t id = hpt__dataset_fingerprint(t->sets->ds[i]);
        w->key = XXH3_64bits_withSeed(&id, sizeof id, w->key);
        if (truth->y) w->key = XXH3_64bits_withSeed(truth->y, sizeof *truth->y * (size_t)truth->n, w->key);
        else w->key = XXH3_64bits_withSeed(truth->multi, (size_t)truth->n * (size_t)truth->classes, w->key);
    }
    return HPT_OK;
}
static hpt_status work_save(tuner *t, work *w, const progress *g) {
    const hpt__net *net = &t->m->net;
    if (!w->plain) return HPT_OK;
    t->be->device.enter(t->dev);
    hpt__weights_download(t->be, t->dev, t->dtype, net, t->q, w->part[0].p, 0);
    hpt__weights_download(t->be, t->dev, t->dtype, net, t->mom, w->part[1].p, 0);
    hpt__weights_download(t->be, t->dev, t->dtype, net, t->stats, w->part[2].p, 1);
    t->be->memory.download(t->dev, w->part[3].p, t->head, w->part[3].bytes);
    t->be->memory.download(t->dev, w->part[4].p, t->head_mom, w->part[4].bytes);
    hpt_status st = t->be->queue.sync(t->dev);
    t->be->device.leave(t->dev);
    HPT_TRY(st);
    json_t *j = json_pack("{s:O,s:O,s:o,s:o,s:o,s:f,s:s,s:I,s:I,s:I,s:i}", "runs", g->runs, "curve", g->curve,
                          "best_score", hpt__json_number(g->best_score), "own", hpt__json_number(g->own), "due",
                          hpt__json_number(g->due), "best_lr", g->best_lr, "best_length", g->best_length, "best_step",
                          (json_int_t)g->best_step, "own_step", (json_int_t)g->own_step, "step", (json_int_t)g->step,
                          "point", g->point);
    char *text = j ? hpt__json_dumps(j, JSON_COMPACT) : NULL;
    st = text ? hpt__state_save(OPT_S(t->o, work_file), w->key, text, w->part, WORK_PARTS) : hpt__fail_memory(4096);
    json_decref(j);
    hpt__free(text);
    return st;
}
static hpt_status work_load(tuner *t, work *w, progress *g) {
    const hpt__net *net = &t->m->net;
    char *text;
    if (!w->plain) return HPT_OK;
    hpt_status st = hpt__state_load(OPT_S(t->o, work_file), w->key, &text, w->part, WORK_PARTS);
    if (st) return st == HPT_END ? HPT_OK : st;
    json_t *j = json_loads(text, 0, NULL);
    hpt__free(text);
    json_array_extend(g->runs, json_object_get(j, "runs"));
    json_array_extend(g->curve, json_object_get(j, "curve"));
    g->best_score = hpt__json_real(json_object_get(j, "best_score"));
    g->own = hpt__json_real(json_object_get(j, "own"));
    g->due = hpt__json_real(json_object_get(j, "due"));
    g->best_lr = json_number_value(json_object_get(j, "best_lr"));
    g->best_step = (uint64_t)json_integer_value(json_object_get(j, "best_step"));
    g->own_step = (uint64_t)json_integer_value(json_object_get(j, "own_step"));
    g->step = (uint64_t)json_integer_value(json_object_get(j, "step"));
    g->point = (int)json_integer_value(json_object_get(j, "point"));
    const char *length = json_string_value(json_object_get(j, "best_length"));
    snprintf(g->best_length, sizeof g->best_length, "%s", length ? length : "");
    json_decref(j);
    t->be->device.enter(t->dev);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, w->part[0].p, t->q, 0);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, w->part[1].p, t->mom, 0);
    hpt__weights_upload(t->be, t->dev, t->dtype, net, w->part[2].p, t->stats, 1);
    if (t->low) t->be->params->lower(t->dev, 1, net->n_params, net->n_params, t->q, t->low);
    upload(t, t->head, w->part[3].p, w->part[3].bytes);
    upload(t, t->head_mom, w->part[4].p, w->part[4].bytes);
    st = t->be->queue.sync(t->dev);
    t->be->device.leave(t->dev);
    return st;
}

/* ---- the grid ---- */

static hpt_status mean_loss(tuner *t, double *loss) {
    size_t n = (size_t)t->micro * (size_t)(t->sets->truth[0].y ? 1 : t->classes);
    t->be->device.enter(t->dev);
    t->be->memory.download(t->dev, t->host_loss, t->loss, n * 4);
    hpt_status st = t->be->queue.sync(t->dev);
    t->be->device.leave(t->dev);
    *loss = 0;
    for (size_t j = 0; j < n; j++) *loss += t->host_loss[j] / (double)n;
    return st;
}

/* The score of the weights as they are, and the weights if it is the best. */
static hpt_status take_score(tuner *t, double lr, const char *length, float *val, hpt__tuned *best, progress *g) {
    hpt__score sc;
    HPT_TRY(evaluate(t, 1, val, &sc));
    json_array_append_new(g->curve, json_pack("{s:I,s:f,s:f}", "step", (json_int_t)g->step, "loss", g->due,
                                              "val_score", sc.main));
    if (!(sc.main <= g->own)) g->own = sc.main, g->own_step = g->step;
    if (!(sc.main <= g->best_score)) {
        g->best_score = sc.main;
        g->best_lr = lr;
        g->best_step = g->step;
        snprintf(g->best_length, sizeof g->best_length, "%s", length);
        HPT_TRY(keep(t, best));
    }
    g->due = NAN;
    return HPT_OK;
}

/* One point of the grid, from g->step on. */
static hpt_status one_run(tuner *t, double lr, const char *length, uint64_t updates, float *val, hpt__tuned *best,
                          progress *g, work *w) {
    hpt__loader *l = NULL;
    uint64_t every = (uint64_t)OPT_I(t->o, ft_eval_every), save = (uint64_t)OPT_I(t->o, work_every);
    const char *note = "";
    hpt__span span;
    hpt__span_begin(&t->m->ctx->watch, &span, HPT_PHASE_FINETUNE, t->before + g->step, t->total,
                    "finetuning %d: %s at rate %g", g->point + 1, length, lr);
    hpt_status st = g->step ? HPT_OK : reset(t);
    if (!st) st = open_loader(t, g->step, updates, &l);
    while (!st && (g->step < updates || isfinite(g->due))) {
        span.score = g->best_score;
        if ((st = hpt__between(t->m->ctx, &span, t->before + g->step))) break;
        if (!isfinite(g->due)) {
            if ((st = step(t, l, lr * factor(t, length, g->step, updates)))) break;
            g->step++;
            if (g->step % every == 0 || g->step == updates) {
                if ((st = mean_loss(t, &g->due))) break;
                if (!isfinite(g->due)) {    /* this rate is too high; the other points of the grid go on */
                    note = "diverged";
                    break;
                }
            }
        }
        if (isfinite(g->due) && (st = take_score(t, lr, length, val, best, g))) break;
        if (g->step % save == 0 && g->step < updates) st = work_save(t, w, g);
    }
    span.done = t->before + g->step;
    hpt__span_end(&span);
    hpt__loader_destroy(l);
    if (st == HPT_ERR_CANCELLED) {          /* the same call goes on from here */
        hpt_status kept = work_save(t, w, g);
        return kept ? kept : hpt__fail(HPT_ERR_CANCELLED, "cancelled: finetuning, after %llu updates",
                                       (unsigned long long)g->step);
    }
    if (st) return st;
    json_array_append_new(g->runs, json_pack("{s:f,s:s,s:I,s:I,s:o,s:s,s:O}", "lr", lr, "length", length, "updates",
                                             (json_int_t)updates, "best_step", (json_int_t)g->own_step, "val_score",
                                             hpt__json_number(g->own), "note", note, "curve", g->curve));
    json_decref(g->curve);
    g->curve = json_array();
    g->own = g->due = NAN;
    g->own_step = g->step = 0;
    g->point++;
    return work_save(t, w, g);
}

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
static hpt_status all_runs(tuner *t, hpt__tuned *best, progress *g, work *w) {
    double lr[MAX_LIST];
    char one[32];
    int rates = hpt__number_list(OPT_S(t->o, ft_lr), lr, MAX_LIST), point = 0;
    uint64_t n = t->sets->ds[0]->count, batch = (uint64_t)t->micro * (uint64_t)t->parts,
        per_epoch = (n + batch - 1) / batch, updates;
    if (rates < 1)
        return hpt__fail(HPT_ERR_OPTION, "option 'ft_lr': '%.60s' is not a list of 1 to %d rates", OPT_S(t->o, ft_lr),
                         MAX_LIST);
    const char *p = OPT_S(t->o, ft_length);
    hpt_status st;
    while ((st = next_length(&p, per_epoch, one, &updates)) == HPT_OK) t->total += updates * (uint64_t)rates;
    HPT_TRY(st);
    float *val = hpt__alloc(sizeof *val * (size_t)t->sets->ds[1]->count * (size_t)t->classes);
    st = val ? HPT_OK : hpt__fail_memory(sizeof *val * (size_t)t->sets->ds[1]->count * (size_t)t->classes);
    for (p = OPT_S(t->o, ft_length); !st && (st = next_length(&p, per_epoch, one, &updates)) == HPT_OK;)
        for (int i = 0; i < rates && !st; i++, point++, t->before += updates)
            if (point >= g->point) st = one_run(t, lr[i], one, updates, val, best, g, w);
    hpt__free(val);
    return st == HPT_END ? HPT_OK : st;
}

static hpt_status grid(tuner *t, json_t *result, hpt__tuned *best, float *test_logits) {
    progress g = {.runs = json_array(), .curve = json_array(), .best_score = NAN, .own = NAN, .due = NAN};
    const char *metric = hpt__metric(&t->sets->truth[0]);
    char key[32];
    work w;
    hpt_status st = work_open(t, best, &w);
    if (!st) st = work_load(t, &w, &g);
    if (!st) st = all_runs(t, best, &g, &w);
    hpt__free(w.plain);
    json_object_set_new(result, "runs", g.runs);
    json_decref(g.curve);
    if (st) return st;
    if (w.key) remove(OPT_S(t->o, work_file));
    if (g.best_score != g.best_score) return hpt__fail(HPT_ERR_NUMERIC, "every learning rate of option ft_lr diverged");
    json_object_set_new(result, "best_lr", json_real(g.best_lr));
    json_object_set_new(result, "best_length", json_string(g.best_length));
    json_object_set_new(result, "best_step", json_integer((json_int_t)g.best_step));
    snprintf(key, sizeof key, "val_%s", metric);
    json_object_set_new(result, key, json_real(g.best_score));
    json_object_set_new(result, "metric", json_string(metric));
    json_object_set_new(result, "val_score", json_real(g.best_score));
    json_object_set_new(result, "classes", json_integer(t->classes));
    hpt__sets_report(t->sets, result);
    if (!t->sets->ds[2]) return HPT_OK;
    hpt__score sc;                  /* once, with the choice made */
    float *logits = test_logits ? test_logits : hpt__alloc(sizeof *logits * (size_t)t->sets->ds[2]->count *
                                                           (size_t)t->classes);
    st = logits ? restore(t, best) : hpt__fail_memory(0);
    if (!st) st = logits_of(t, t->sets->ds[2], logits);
    if (!st)
        st = hpt__score_report(result, "test", logits, (size_t)t->classes, &t->sets->truth[2],
                               OPT_IS(t->o, auroc_undefined, "zero"), &sc);
    if (logits != test_logits) hpt__free(logits);
    else if (!st) hpt__sets_spread(t->sets, 2, logits);
    return st;
}

/* ---- memory ---- */

static void *take(tuner *t, size_t bytes, hpt_status *st) {
    void *p = *st ? NULL : t->be->memory.alloc(t->dev, bytes + 64);
    if (!p && !*st) *st = hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB for finetuning", bytes >> 20);
    if (p) t->be->memory.zero(t->dev, p, bytes + 64);
    return p;
}
static hpt_status open_tuner(tuner *t) {
    const hpt__net *net = &t->m->net;
    hpt_status st = HPT_OK;
    size_t n = (size_t)t->micro, c = (size_t)t->classes, head = t->n_head + c, p = net->n_params * 4,
        image = 12 * (size_t)t->size * (size_t)t->size;
    t->trainable = hpt__alloc((size_t)net->n_tensors);
    t->host_logits = hpt__calloc(n * c, 4);
    t->host_loss = hpt__calloc(n * c, 4);
    t->host_targets = hpt__calloc(n * c, 4);
    t->host_y = hpt__calloc(n, 4);
    t->head0 = hpt__calloc(head, 4);
    if (!t->trainable || !t->host_logits || !t->host_loss || !t->host_targets || !t->host_y || !t->head0)
        return hpt__fail_memory(head * 4);
    HPT_TRY(hpt__choose_trainable(net, t->o, 0, t->trainable));
    hpt__rng r;
    hpt__rng_init(&r, (uint64_t)OPT_I(t->o, seed), HPT__RNG_HEAD, 0, 0);
    for (size_t i = 0; i < t->n_head; i++) t->head0[i] = (float)(0.01 * hpt__rng_normal(&r));
    t->be->device.enter(t->dev);
    float **const flat[] = {&t->q, &t->grad, &t->mean, &t->mom}, **const small[] = {&t->head, &t->head_grad,
        &t->head_mean, &t->head_mom};
    for (size_t i = 0; i < 4; i++) *flat[i] = take(t, p, &st), *small[i] = take(t, head * 4, &st);
    t->stats = take(t, net->n_stats * 4, &st);
    t->stats_old = take(t, net->n_stats * 4, &st);
    if (t->be->device.low_params(t->dev, t->dtype)) t->low = take(t, net->n_params * 2, &st);
    t->logits = take(t, n * c * 4, &st);
    t->loss = take(t, n * c * 4, &st);
    t->targets = take(t, n * c * 4, &st);
    t->y = take(t, n * 4, &st);
    t->df = take(t, n * (size_t)t->dim * 4, &st);
    t->vars = take(t, 2 * sizeof *t->vars, &st);
    if (!t->be->host_memory) t->images = take(t, n * image, &st);
    t->be->device.leave(t->dev);
    hpt__plan_spec s = {.dtype = t->dtype, .mode = HPT__TRAIN, .batch = t->micro, .size = t->size, .groups = 1,
                        .direct = OPT_IS(t->o, conv_algo, "direct"), .deterministic = 1, .trainable = t->trainable,
                          .watch = t->be->host_memory ? &t->m->ctx->watch : NULL};
    if (!st) st = hpt__plan_create(t->be, t->dev, net, &s, &t->train);
    s.mode = HPT__EVAL;
    s.trainable = NULL;
    if (!st) st = hpt__plan_create(t->be, t->dev, net, &s, &t->eval);
    return st;
}
static void close_tuner(tuner *t) {
    void *device[] = {t->q, t->grad, t->mean, t->mom, t->head, t->head_grad, t->head_mean, t->head_mom, t->stats,
                      t->stats_old, t->low, t->logits, t->loss, t->targets, t->y, t->df, t->vars, t->images};
    void *host[] = {t->trainable, t->host_logits, t->host_loss, t->host_targets, t->host_y, t->head0};
    hpt__plan_destroy(t->train);
    hpt__plan_destroy(t->eval);
    t->be->device.enter(t->dev);
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) t->be->memory.free(t->dev, device[i]);
    t->be->device.leave(t->dev);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) hpt__free(host[i]);
}
hpt_status hpt__tuned_classifier(const hpt__tuned *t, const hpt_dataset *train, int features, hpt__classifier *fc) {
    hpt__classifier_fini(fc);
    HPT_TRY(hpt__classifier_create(fc, features, t->classes, hpt__dataset_labelled(train) == 2,
                                   train->src->class_name));
    memcpy(hpt__classifier_weight(fc), t->w, (size_t)t->classes * (size_t)features * 4);
    memcpy(hpt__classifier_bias(fc), t->b, (size_t)t->classes * 4);
    return HPT_OK;
}
void hpt__tuned_free(hpt__tuned *t) {
    hpt__free(t->params);
    hpt__free(t->stats);
    hpt__free(t->w);
    hpt__free(t->b);
    memset(t, 0, sizeof *t);
}

/* Without a validation set: a class-balanced fifth of train. */
static hpt_status hold_out(hpt_dataset *all, uint64_t seed, hpt_dataset **train, hpt_dataset **val) {
    size_t n = (size_t)all->count;
    uint8_t *flag = hpt__alloc(n + 1);
    uint64_t *index = hpt__alloc(sizeof *index * (n + 1)), a = 0, b = all->count;
    int32_t *y = all->src->label ? hpt__alloc(sizeof *y * (n + 1)) : NULL;
    hpt_status st = flag && index && (y || !all->src->label) ? HPT_OK : hpt__fail_memory(n * 8);
    for (size_t i = 0; i < n && !st && y; i++) {
        y[i] = hpt__dataset_label(all, i);
        if (y[i] < 0) st = hpt__fail(HPT_ERR_ARGUMENT, "train: an image has no label");
    }
    if (!st) st = hpt__probe_holdout(y, all->count, (int)all->src->classes, seed, flag);
    for (size_t i = 0; i < n && !st; i++) index[flag[i] ? --b : a++] = all->index[i];
    if (!st) st = hpt__dataset_new(all->ctx, all->src, index, a, train);
    if (!st) st = hpt__dataset_new(all->ctx, all->src, index + a, n - a, val);
    hpt__free(flag);
    hpt__free(index);
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
        uint64_t n = sets.ds[0]->count;
        int batch = (int)OPT_I(o, ft_batch), micro = (int)OPT_I(o, ft_micro);
        if (micro > batch) micro = batch;
        if ((uint64_t)micro > n) micro = (int)n;
        tuner t = {.m = m, .be = m->ctx->be, .dev = m->ctx->dev, .o = &sets.opt, .sets = &sets, .micro = micro,
                   .parts = (batch + micro - 1) / micro, .dim = m->net.feature_dim, .classes = sets.classes,
                   .size = (int)OPT_I(o, image_size), .n_head = (size_t)sets.classes * (size_t)m->net.feature_dim};
        best->classes = sets.classes;
        best->params = hpt__calloc(m->net.n_params, 4);
        best->stats = hpt__calloc(m->net.n_stats, 4);
        best->w = hpt__calloc(t.n_head, 4);
        best->b = hpt__calloc((size_t)sets.classes, 4);
        st = best->params && best->stats && best->w && best->b ? hpt__precision(m->ctx, o, &t.dtype)
            : hpt__fail_memory(m->net.n_params * 4);
        if (!st && t.dtype == HPT__F64) st = hpt__fail(HPT_ERR_UNSUPPORTED, "precision=fp64 is not for finetuning");
        if (!st) st = open_tuner(&t);
        if (!st) st = grid(&t, result, best, test_logits);
        if (!st && !val) hpt__report_unreadable(result, "train", train);
        hpt__facts(result, m->ctx, t.dtype, &sets.pixels);
        best->pixels = sets.pixels;
        close_tuner(&t);
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

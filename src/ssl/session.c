/* SPDX-License-Identifier: MIT
 * A run from the host's side: its options made into a trainer, images brought to each step, what a step reports,
 * scores and alarms on the way, and the weights back in the model. */
#include "ssl/session.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/number.h"
#include "core/result.h"
#include "nn/facts.h"
#include "ssl/byol.h"
#include "ssl/mme.h"
#include "ssl/moco.h"
#include "ssl/supervised.h"
#include <math.h>
#include <string.h>
#include <xxhash.h>

enum { LARGE = 1 << 29 };      /* bytes of a run that are worth a line */

static void session_free(void *p) {
    hpt_session *s = p;
    hpt__turn_take(&s->ctx->turn);
    if (s->trainer.be) hpt__feed_close(&s->feed);
    hpt__trainer_close(&s->trainer);
    hpt__taught_close(&s->taught);
    hpt__turn_give(&s->ctx->turn);
    hpt__monitor_close(&s->monitor);
    hpt__options_fini(&s->opt);
    hpt__release(s->ds);
    hpt__release(s->labelled);
    hpt__release(s->unlabelled);
    hpt__release(s->val);
    hpt__release(s->test);
    hpt__release(s->model);
    hpt__release(s->ctx);
    hpt__free(s);
}

/* Ranks that train with other options, data or weights would average nonsense: compared once, at the start. */
hpt_status hpt__session_compare_ranks(hpt_session *s) {
    static const char *const what[] = {"options", "images", "weights"};
    hpt__comm *c = s->ctx->comm;
    int labels = s->trainer.method->labels;
    const float *params = labels ? s->taught.joined.params : s->model->params;
    size_t n = s->trainer.net->n_params;
    uint64_t mine[3] = {hpt__options_hash(&s->opt, 'P', 0), s->fingerprint,
                        XXH3_64bits_withSeed(params, n * 4,
                                             XXH3_64bits(s->pixels.mean,
                                                         sizeof s->pixels.mean) ^ XXH3_64bits(s->pixels.std,
                                                         sizeof s->pixels.std) << 1)},
                                                         *all = hpt__alloc(sizeof mine * (size_t)c->size);
    if (!all) return hpt__fail_memory(sizeof mine * (size_t)c->size);
    hpt_status st = c->host_gather(c, mine, all, sizeof mine);
    for (int r = 0; !st && r < c->size; r++)
        for (int i = 0; i < 3; i++)
            if (all[3 * r + i] != all[i] && !st)
                st = hpt__fail(HPT_ERR_MISMATCH, "rank %d has other %s than rank 0", r, what[i]);
    hpt__free(all);
    return st;
}

/* Sizes that train, but not as meant. */
static void warn_of_sizes(hpt_context *ctx, uint64_t images, int64_t batch, int64_t queue) {
    if (images == 1)
        hpt__log(ctx, 1, "there is one image only: %s", queue
                 ? "every negative is a view of the image itself, so that nothing can be learnt to tell it from others"
                 : "a network that gives the same for every image satisfies all its views");
    else if ((uint64_t)batch > images)
        hpt__log(ctx, 1,
                 "batch_size=%lld is more than the %llu images: an image is several times in a batch%s; use a "
                 "batch_size of at most %llu", (long long)batch, (unsigned long long)images,
                 queue ? ", and then a negative of itself" : "", (unsigned long long)images);
    if (!queue) return;
    if ((uint64_t)queue > images) {
        int64_t fit = (int64_t)(images > 4096 ? 4096 : images) / batch * batch;
        hpt__log(ctx, 1,
                 "moco_k=%lld is more than the %llu images: the queue holds several keys of each image; consider "
                 "moco_k=%lld, moco_m=0.99", (long long)queue, (unsigned long long)images,
                 (long long)(fit ? fit : batch));
    }
    if (queue < batch)
        hpt__log(ctx, 1,
                 "moco_k=%lld is less than batch_size=%lld: the queue never holds the keys of a whole batch; use a "
                 "multiple of the batch size", (long long)queue, (long long)batch);
    else if (queue % batch)
        hpt__log(ctx, 1,
                 "moco_k=%lld is not a multiple of batch_size=%lld: the queue never holds whole batches alone, and "
                 "facebookresearch/moco refuses this; %lld would be", (long long)queue, (long long)batch,
                 (long long)(queue / batch * batch));
}

/* The queue's rows, of a method that has one. */
static int64_t queue_of(const hpt_session *s) {
    hpt__state item[HPT__STATES];
    int n = s->trainer.method->state((hpt__trainer *)(uintptr_t)&s->trainer, item);
    for (int i = 0; i < n; i++)
        if (item[i].kind == HPT__STATE_ROWS) return item[i].n;
    return 0;
}

static const hpt__method *const methods[] = {&hpt__method_moco, &hpt__method_byol, &hpt__method_supervised,
                                             &hpt__method_mme};

/* The method that option method names. */
static const hpt__method *method_of(const hpt__options *o) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (OPT_IS(o, method, methods[i]->name)) return methods[i];
    return NULL;
}

/* Where schedule=steps lets the rate fall: at equal distances, or after the shares of the stage in schedule_at. */
static hpt_status drops_of(const hpt__options *o, hpt__schedule *s) {
    const char *at = OPT_S(o, schedule_at);
    s->drops = (uint64_t)OPT_I(o, schedule_drops);
    if (!*at) return HPT_OK;
    s->n_at = hpt__number_list(at, s->at, HPT__DROPS);
    int good = s->n_at > 0;
    for (int i = 0; i < s->n_at; i++) good &= s->at[i] > (i ? s->at[i - 1] : 0) && s->at[i] < 1;
    if (good) return HPT_OK;
    return hpt__fail(HPT_ERR_OPTION, "option 'schedule_at': '%.60s' is not a list of 1 to %d shares between 0 and 1, "
                     "ascending (0.6,0.8)", at, HPT__DROPS);
}

/* The update rule. Nesterov's form needs a momentum, and is one of SGD. */
static hpt_status rule_of(const hpt__options *o, hpt__rule *rule) {
    hpt__rule lars = OPT_IS(o, lars_form, "openselfsup") ? HPT__LARS_LR : HPT__LARS;
    int sgd = OPT_IS(o, optimizer, "sgd"), nesterov = (int)OPT_I(o, nesterov);
    *rule = OPT_IS(o, optimizer, "adamw") ? HPT__ADAMW : OPT_IS(o, optimizer, "lars") ? lars
            : nesterov ? HPT__NESTEROV : HPT__SGD;
    if (nesterov && (!sgd || !(OPT_F(o, momentum) > 0)))
        return hpt__fail(HPT_ERR_OPTION,
                         "option 'nesterov' is a form of SGD with momentum: it needs optimizer=sgd and a momentum "
                         "above 0");
    return HPT_OK;
}

/* How many images of each data set this rank's batch holds; false: it has them of the session's own alone. */
static hpt_status shares_of(const hpt_session *s, hpt__trainer_spec *spec, int ranks) {
    static const char *const role[HPT__SHARES] = {"data", "labelled", "unlabelled"};
    int all[HPT__SHARES], b = spec->batch * ranks;
    if (!spec->method->shares) return HPT_OK;
    spec->method->shares(&s->opt, b, s->labelled ? s->labelled->count : (uint64_t)b, all);
    spec->batch = 0;
    for (int k = 0; k < HPT__SHARES; k++) {
        if (all[k] % ranks)
            return hpt__fail(HPT_ERR_OPTION,
                             "a step takes %d images of the set '%s', which cannot be shared evenly by %d ranks: "
                             "option batch_size=%d would take %d", all[k], role[k], ranks, all[k] / ranks * ranks,
                             all[k] / ranks * ranks);
        spec->share[k] = all[k] / ranks;
        spec->batch += spec->share[k];
    }
    return HPT_OK;
}

/* What a step needs, before there is one. On a device all of it has been given; the kernel of a host gives what is not
 * there and ends the process that uses it, so what will not fit is a warning that names a batch that would. */
static void say_memory(const hpt_session *s, int batch) {
    const hpt__trainer *t = &s->trainer;
    size_t step = hpt__trainer_plan_bytes(t);
    if (!t->be->host_memory) {
        hpt__log(s->ctx, 0, "device memory: %zu MiB for the activations of %d images, %zu MiB left", step >> 20, batch,
                 t->be->memory.left(t->dev) >> 20);
        return;
    }
    if (step + t->pool.bytes < LARGE) return;
    uint64_t left = hpt__memory_free();
    int fits = hpt__memory_batch(step, batch, left);
    char more[64] = "";
    if (fits && batch % fits == 0 && !hpt__options_other_method(HPT__OPT_accumulate, t->method->name))
        snprintf(more, sizeof more, " (with accumulate=%d as many images an update)",
                 batch / fits * hpt__trainer_parts(t));
    if (fits == batch)
        hpt__log(s->ctx, 0, "memory: %.1f GiB for a step of %d images, beside %.1f GiB of weights and state",
                 ldexp((double)step, -30), batch, ldexp((double)t->pool.bytes, -30));
    else if (fits)
        hpt__log(s->ctx, 1,
                 "a step of %d images needs %.1f GiB of memory and %.1f GiB are free: the system may end this process; "
                 "batch_size=%d would need %.1f GiB%s", batch, ldexp((double)step, -30), ldexp((double)left, -30),
                 fits * s->ctx->comm->size, ldexp((double)step / batch * fits, -30), more);
    else
        hpt__log(s->ctx, 1,
                 "a step of %d images needs %.1f GiB of memory and %.1f GiB are free: the system may end this process; "
                 "a smaller image_size or a smaller network needs less", batch, ldexp((double)step, -30),
                 ldexp((double)left, -30));
}

/* What the options say of a run, for the trainer. images: of a part of a step, over all ranks. */
static hpt_status trainer_spec(const hpt_session *s, hpt__trainer_spec *spec, int64_t *images) {
    const hpt__options *o = &s->opt;
    int ranks = s->ctx->comm->size;
    *images = OPT_I(o, batch_size);
    *spec = (hpt__trainer_spec){.size = (int)OPT_I(o, image_size), .direct = OPT_IS(o, conv_algo, "direct"),
                                .deterministic = (int)OPT_I(o, deterministic), .drop_path = OPT_F(o, drop_path),
                                .graph = (int)OPT_I(o, cuda_graph),
                                .seed = (uint64_t)OPT_I(o, seed), .watch = &s->ctx->watch};
    hpt__rule rule;
    HPT_TRY(rule_of(o, &rule));
    spec->optimizer = (hpt__optimizer){.rule = rule, .momentum = OPT_F(o, momentum),
                                       .weight_decay = OPT_F(o, weight_decay), .beta1 = OPT_F(o, adam_beta1),
                                       .beta2 = OPT_F(o, adam_beta2), .eps = OPT_F(o, adam_eps),
                                       .trust = OPT_F(o, lars_trust)};
    spec->method = method_of(o);
    if (*images % ranks)
        return hpt__fail(HPT_ERR_OPTION, "option 'batch_size': %lld images cannot be shared evenly by %d ranks",
                         (long long)*images, ranks);
    spec->batch = (int)(*images / ranks);
    if (OPT_IS(o, augment_on, "gpu") && !s->ctx->be->views)
        return hpt__fail(HPT_ERR_OPTION, "option 'augment_on': gpu needs backend=cuda, this context runs on %s",
                         s->ctx->be->name);
    spec->schedule = (hpt__schedule){.lr = OPT_F(o, lr), .cosine = OPT_IS(o, schedule, "cosine"),
                                     .total = (uint64_t)OPT_I(o, steps), .warmup = (uint64_t)OPT_I(o, warmup_steps)};
    if (OPT_IS(o, schedule, "steps")) HPT_TRY(drops_of(o, &spec->schedule));
    if (OPT_IS(o, schedule, "inverse"))
        spec->schedule.gamma = OPT_F(o, schedule_gamma), spec->schedule.power = OPT_F(o, schedule_power);
    spec->parts = (int)OPT_I(o, accumulate);
    if (OPT_IS(o, schedule_unit, "epoch") && s->ds) {
        uint64_t per = s->ds->count / (uint64_t)*images;
        spec->schedule.per_epoch = per ? per : 1;
        spec->schedule.parts = (uint64_t)spec->parts;
    }
    HPT_TRY(hpt__precision(s->ctx, o, &spec->dtype));
    HPT_TRY(shares_of(s, spec, ranks));
    /* with several sets a step has several passes, each with groups of its own */
    return spec->method->shares ? HPT_OK : hpt__bn_groups(o, spec->batch, ranks, &spec->groups, &spec->bn_ranks);
}

/* Of the session's own images, and of the few labelled ones beside them. */
static void take_labels(void *user, hpt__trainer *t, const uint64_t *index) {
    hpt_session *s = user;
    int own = hpt__trainer_own(t), few = t->spec.share[1];
    for (int i = 0; i < own; i++) t->label[i] = hpt__taught_label(&s->taught, s->ds, index[i]);
    for (int i = own; i < own + few; i++) t->label[i] = hpt__taught_few_label(&s->taught, s->labelled, index[i]);
}

/* The loader's batches become the steps'. */
void hpt__session_open_feed(hpt_session *s) {
    hpt__trainer *t = &s->trainer;
    s->feed = (hpt__feed){.trainer = t, .truth = t->method->labels ? take_labels : NULL, .user = s};
    s->feed.spec = (hpt__loader_spec){
        .ds = s->ds, .batch = t->spec.batch, .total = t->spec.batch * t->comm->size,
        .first = t->spec.batch * t->comm->rank, .size = t->spec.size, .workers = (int)OPT_I(&s->opt, workers),
        .views = t->method->views, .seed = t->spec.seed ^ (uint64_t)OPT_I(&s->opt, data_seed) << 1,
        .bad = HPT__BAD_NEXT};
    hpt_dataset *const sets[HPT__SHARES] = {s->ds, s->labelled, s->unlabelled};
    for (int k = 0, n; k < HPT__SHARES && (n = t->spec.share[k]); k++)
        s->feed.spec.share[k] = (hpt__loader_share){sets[k], n, n * t->comm->size, n * t->comm->rank};
    for (int v = 0; v < 2; v++) hpt__augment_from_options(&s->opt, v, &s->feed.spec.augment[v]);
    s->feed.spec.raw = t->be->views && s->feed.spec.augment[0].crop == HPT__CROP_RESIZED &&
        !OPT_IS(&s->opt, augment_on, "cpu");
}

/* Data and, for a method with labels, what they are labels of. */
static hpt_status look_at_data(hpt_session *s) {
    const hpt__options *o = &s->opt;
    HPT_TRY(hpt__dataset_normalization(s->ds, o, &s->model->pixels, 1, &s->pixels));
    if (s->ds) {
        s->fingerprint = hpt__dataset_fingerprint(s->ds);
        HPT_TRY(hpt__augment_check(o));
    }
    if (!method_of(o)->labels) return HPT_OK;
    HPT_TRY(hpt__taught_open(&s->taught, o, s->model, s->ds));
    if (s->ds) s->fingerprint ^= hpt__taught_fingerprint(&s->taught, s->ds);
    return HPT_OK;
}

hpt_status hpt__session_open_trainer(hpt_session *s) {
    const hpt__options *o = &s->opt;
    hpt__comm *comm = s->ctx->comm;
    hpt__trainer *t = &s->trainer;
    hpt__trainer_spec spec;
    int64_t images;
    HPT_TRY(trainer_spec(s, &spec, &images));
    int labels = spec.method->labels;
    hpt__net *net = labels ? &s->taught.joined.net : &s->model->net;
    const float *params = labels ? s->taught.joined.params : s->model->params, *stats = labels
        ? s->taught.joined.stats : s->model->stats;
    uint8_t *trainable = hpt__alloc((size_t)net->n_tensors);
    void *own = hpt__calloc(1, spec.method->own);
    hpt_status st = trainable && own ? HPT_OK : hpt__fail_memory((size_t)net->n_tensors);
    spec.class_weight = s->taught.weight;
    spec.trainable = trainable;
    spec.own = own;
    if (!st) st = hpt__choose_trainable(net, o, OPT_IS(o, train, "bn"), trainable);
    if (!st) st = spec.method->configure(o, (int)images, own);
    hpt__trainer fresh;                 /* the one before stays until there is another */
    if (!st) st = hpt__trainer_open(&fresh, s->ctx->be, s->ctx->dev, comm, net, &spec, params, stats);
    hpt__free(trainable);
    hpt__free(own);
    HPT_TRY(st);
    hpt__trainer_close(t);
    *t = fresh;
    say_memory(s, spec.batch);
    if (t->spec.bn_ranks > 1 && !comm->rank)
        hpt__log(s->ctx, 0, "bn_group: %d images share batch-norm statistics, over %d ranks, which exchange sums",
                 spec.batch * spec.bn_ranks, spec.bn_ranks);
    hpt__session_open_feed(s);
    s->info = (hpt_step_info){.struct_size = sizeof s->info, .steps = spec.schedule.total, .entropy = NAN,
                              .entropy_loss = NAN};
    t->method->report(t, &s->info);
    return HPT_OK;
}

static hpt_status start(hpt_session *s) {
    const hpt__options *o = &s->opt;
    hpt__trainer_spec spec;
    int64_t images;
    int key = (int)OPT_I(o, carry_key), queue = (int)OPT_I(o, carry_queue);
    HPT_TRY(trainer_spec(s, &spec, &images));          /* what options say wrong comes before any work */
    HPT_TRY(look_at_data(s));
    HPT_TRY(hpt__session_open_trainer(s));
    if (s->ds && !s->trainer.method->labels) warn_of_sizes(s->ctx, s->ds->count, OPT_I(o, batch_size), queue_of(s));
    if (key || queue) HPT_TRY(hpt__session_carry(s, OPT_S(o, carry_from), key, queue));
    return s->ctx->comm->size > 1 ? hpt__session_compare_ranks(s) : HPT_OK;
}

hpt_status hpt__session_new(hpt_context *ctx, const hpt__options *o, hpt_model *model, hpt_dataset *ds,
                            hpt_session **out) {
    hpt_session *s = hpt__calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return hpt__fail_memory(sizeof *s);
    HPT__TURN(ctx);
    s->ctx = ctx;
    s->model = model;
    s->ds = ds;
    hpt__retain(ctx);
    hpt__retain(model);
    if (ds) hpt__retain(ds);
    hpt_status st = hpt__options_copy(&s->opt, o);
    if (!st) {
        st = start(s);
        if (!st) st = hpt__handle_open(s, HPT__KIND_SESSION, session_free);
    }
    if (st) {
        session_free(s);
        return st;
    }
    *out = s;
    return HPT_OK;
}

static hpt_status die(hpt_session *s, hpt_status st) {
    s->dead = st;
    snprintf(s->dead_text, sizeof s->dead_text, "%s", hpt__error_text());
    return st;
}

static hpt_status run_step(hpt_session *s, const float *const *view, int advance, hpt__step_result *out) {
    memcpy(s->feed.spec.mean, s->pixels.mean, sizeof s->pixels.mean);      /* a resumed run brings its own */
    memcpy(s->feed.spec.std, s->pixels.std, sizeof s->pixels.std);
    if (!view) return hpt__feed_step(&s->feed, advance, out);
    return hpt__feed_given(&s->feed, view, s->trainer.method->labels ? s->given : NULL, advance, out);
}

/* A score that is still to come for the weights as they are: one that was cancelled, or a checkpoint written before
 * it. */
static int score_due(const hpt_session *s) {
    const hpt__trainer *t = &s->trainer;
    const hpt__monitor *w = &s->monitor;
    return w->val && t->step && w->at != t->step && (t->step == t->spec.schedule.total || t->step % w->every == 0);
}
/* After a step: a score where one is due; at the end, the best weights if there were scores. */
static hpt_status watch(hpt_session *s) {
    hpt__trainer *t = &s->trainer;
    hpt__monitor *w = &s->monitor;
    int end = t->step == t->spec.schedule.total;
    if (w->val && (end || t->step % w->every == 0)) {
        HPT_TRY(hpt__session_sync(s));
        HPT_TRY(hpt__monitor_score(w, s->model, &s->opt, t->step));
        s->info.monitor = w->score;
        s->info.monitor_step = w->at;
        s->info.monitor_best = w->best;
        s->info.monitor_best_step = w->best_at;
        s->info.stopped = w->stopped;
        end |= w->stopped;
    }
    if (!end) return HPT_OK;
    HPT_TRY(hpt__session_sync(s));
    if (w->val && OPT_I(&s->opt, monitor_restore)) hpt__monitor_restore(w, s->model);
    return HPT_OK;
}

uint64_t hpt__session_epoch(const hpt_session *s) {
    const hpt__trainer *t = &s->trainer;
    return s->ds ? hpt__loader_epoch(s->ds->count, (uint64_t)hpt__trainer_own(t) * (uint64_t)t->comm->size,
                                     (t->step ? t->step - 1 : 0) * (uint64_t)hpt__trainer_parts(t)) : 0;
}

/* Those that a step takes images of. */
static hpt_status has_all_sets(const hpt_session *s) {
    const hpt__trainer *t = &s->trainer;
    const char *missing = t->spec.share[1] && !s->labelled ? "labelled"
                          : t->spec.share[2] && !s->unlabelled ? "unlabelled" : NULL;
    if (!missing) return HPT_OK;
    return hpt__fail(HPT_ERR_STATE, "method=%s needs a data set of role '%s' (hpt_session_data): images of the target, "
                     "%s", t->method->name, missing, strcmp(missing, "labelled") ? "whose labels are not asked for"
                     : "a few of each class");
}

hpt_status hpt__session_advance(hpt_session *s, const float *view_q, const float *view_k) {
    HPT__TURN(s->ctx);
    hpt__trainer *t = &s->trainer;
    hpt__step_result out = {0};
    double t0 = hpt__now_ms();
    if (s->dead) return hpt__fail(HPT_ERR_STATE, "an earlier step failed: %.900s", s->dead_text);
    if (!s->monitor.stopped && score_due(s)) HPT_TRY(watch(s));
    if (t->step >= t->spec.schedule.total || s->monitor.stopped) return HPT_END;
    if (!view_q && !s->ds)
        return hpt__fail(HPT_ERR_STATE, "the session has no data set; use hpt_session_step_batch() or "
                         "hpt_session_step_images()");
    HPT_TRY(view_q ? HPT_OK : has_all_sets(s));
    if (!s->monitor.val && !t->method->shares && (s->val || s->labelled))
        return hpt__fail(HPT_ERR_STATE, "a data set of role '%s' needs one of role '%s': images are scored by the "
                         "labels of their nearest neighbours", s->val ? "val" : "labelled",
                         s->val ? "labelled" : "val");
    int skip = OPT_IS(&s->opt, on_nonfinite, "skip"), ask = OPT_IS(&s->opt, on_nonfinite, "callback");
    uint64_t before = t->step;
    if (view_q && t->method->labels && !s->given)
        return hpt__fail(HPT_ERR_STATE, "images without labels: method=%s learns from labels, which "
                         "hpt_session_step_batch() takes", t->method->name);
    const float *view[] = {view_q, view_k};
    hpt_status st = run_step(s, view_q ? view : NULL, skip || ask, &out);
    /* nothing has changed; a later call begins this step anew */
    if (st == HPT_ERR_CANCELLED && t->step == before) {
        hpt__feed_close(&s->feed);
        return st;
    }
    /* images: a later call tries again */
    if (st < 0 && st != HPT_ERR_NUMERIC && t->step == before && !s->feed.loader && !view_q && !t->staged) return st;
    hpt_step_info *i = &s->info;
    i->loss = out.loss;
    i->acc1 = out.top1;
    i->acc5 = out.top5;
    i->z_std = out.spread;
    i->entropy = t->updates > 1 ? out.entropy : NAN;
    i->entropy_loss = NAN;
    i->lr = out.lr;
    i->wait_ms = s->feed.wait;
    i->step_ms = hpt__now_ms() - t0;
    t->method->report(t, i);
    i->epoch = hpt__session_epoch(s);
    if (st == HPT_ERR_NUMERIC && (skip || ask)) {
        i->skipped = ++s->skipped;
        i->loss = NAN;
        hpt__log(s->ctx, 1, "%s", hpt__error_text());
        st = HPT_OK;
    }
    /* the batch can be tried again, with other weights or another policy */
    if (st == HPT_ERR_NUMERIC && s->feed.loader) hpt__feed_close(&s->feed);
    else if (st && st != HPT_ERR_NUMERIC) return die(s, st);
    if (st) return st;
    i->step = t->step;
    s->synced = 0;
    if ((st = hpt__monitor_alarm(&s->monitor, s->ctx, &s->opt, i, i->queue_fill == queue_of(s)))) return die(s, st);
    return watch(s);
}

hpt_status hpt__session_step(hpt_session *s, const float *view_q, const float *view_k) {
    hpt__span span;
    hpt__span_begin(&s->ctx->watch, &span, HPT_PHASE_TRAIN, s->trainer.step, s->trainer.spec.schedule.total,
                    "pretraining");
    hpt_status st = hpt__session_advance(s, view_q, view_k);
    hpt__span_end(&span);
    return st;
}

static hpt_status run(hpt_session *s, hpt_step_fn fn, void *user, hpt__span *span) {
    for (;;) {
        uint64_t before = s->trainer.step;
        hpt_status st = hpt__span_at(span, before);
        if (!st && atomic_exchange(&s->cancel, 0)) st = HPT_ERR_CANCELLED;
        if (!st) st = hpt__session_advance(s, NULL, NULL);
        if (st == HPT_END) return HPT_OK;
        /* each step that counts is told */
        int stop = (!st || (st == HPT_ERR_CANCELLED && s->trainer.step > before)) && fn && fn(user, &s->info);
        if (st == HPT_ERR_CANCELLED)
            return hpt__fail(st, "cancelled after step %llu", (unsigned long long)s->trainer.step);
        if (st) return st;
        if (stop)
            return hpt__fail(HPT_ERR_CANCELLED, "stopped by the callback after step %llu",
                             (unsigned long long)s->trainer.step);
    }
}
hpt_status hpt__session_run(hpt_session *s, hpt_step_fn fn, void *user) {
    hpt__span span;
    s->running = 1;
    hpt__span_begin(&s->ctx->watch, &span, HPT_PHASE_TRAIN, s->trainer.step, s->trainer.spec.schedule.total,
                    "pretraining");
    hpt_status st = run(s, fn, user, &span);
    span.done = s->trainer.step;
    hpt__span_end(&span);
    s->running = 0;
    return st;
}

/* Where the run is, and what its numbers rest on. Metrics are those of the last step that this session made. */
void hpt__session_report(const hpt_session *s, json_t *to) {
    const hpt_step_info *i = &s->info;
    json_object_set_new(to, "steps", json_integer((json_int_t)i->step));
    json_object_set_new(to, "total_steps", json_integer((json_int_t)i->steps));
    json_object_set_new(to, "skipped", json_integer(i->skipped));
    for (const hpt__measure *m = s->trainer.method->measures; m->name; m++)
        if (m->at == offsetof(hpt_step_info, chance)) json_object_set_new(to, m->name, hpt__json_number(i->chance));
        else if (m->at) json_object_set_new(to, m->name, hpt__json_number(hpt__session_measure(s, m)));
    if (s->monitor.val) {
        json_object_set_new(to, "monitor", hpt__json_number(i->monitor));
        json_object_set_new(to, "monitor_best", hpt__json_number(i->monitor_best));
        json_object_set_new(to, "monitor_best_step", json_integer((json_int_t)i->monitor_best_step));
    }
    if (s->ds) hpt__report_unreadable(to, "data", s->ds);       /* others stood in for them */
    if (s->monitor.val) {
        if (s->monitor.train) hpt__report_unreadable(to, "monitor_train", s->monitor.train);
        hpt__report_unreadable(to, "monitor_val", s->monitor.val);
    }
    hpt__facts(to, s->ctx, s->trainer.spec.dtype, &s->pixels);
}

/* The network that a method with labels trains becomes the model and its classifier. */
static hpt_status sync_taught(hpt_session *s) {
    hpt__trainer *t = &s->trainer;
    const hpt__weights *w = t->network[0];
    float *params = hpt__alloc(t->net->n_params * 4), *stats = hpt__alloc(t->net->n_stats * 4 + 4);
    hpt_status st = params && stats ? HPT_OK : hpt__fail_memory(t->net->n_params * 4);
    if (!st) st = hpt__weights_get(&t->pool, t->spec.dtype, w, params, stats);
    if (!st) st = hpt__taught_give(&s->taught, params, stats, s->model);
    hpt__free(params);
    hpt__free(stats);
    return st;
}
static hpt_status sync_model(hpt_session *s) {
    hpt__trainer *t = &s->trainer;
    const hpt__weights *w = t->network[0];      /* the model's */
    hpt_status st = hpt__weights_get(&t->pool, t->spec.dtype, w, s->model->params, s->model->stats);
    if (!st && hpt__classes(&s->model->fc)) {       /* it was learnt on features that the model no longer gives */
        hpt__log(s->ctx, 0,
                 "the model's classifier of %d classes is dropped: pretraining has changed the features below it",
                 hpt__classes(&s->model->fc));
        hpt__classifier_fini(&s->model->fc);
    }
    return st;
}
hpt_status hpt__session_sync(hpt_session *s) {
    HPT__TURN(s->ctx);
    if (s->synced) return HPT_OK;
    hpt_status st = s->trainer.method->labels ? sync_taught(s) : sync_model(s);
    if (!st) hpt__model_learnt(s->model, &s->pixels);
    s->synced = st == HPT_OK;
    return st;
}

hpt_status hpt__session_tensor(hpt_session *s, const char *name, float *get, const float *set, uint64_t count) {
    HPT__TURN(s->ctx);
    hpt__trainer *t = &s->trainer;
    hpt__state item[HPT__STATES];
    hpt_status st = hpt__state_tensor(hpt__trainer_site(t), item, t->method->state(t, item), name, get, set, count);
    if (set && !st) s->synced = t->prepared = 0;
    return st;
}

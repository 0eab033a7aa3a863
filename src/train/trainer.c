/* SPDX-License-Identifier: MIT
 * From the top: opening, one step as it is queued, recording it, launching and finishing it, and saying what was not
 * finite. */
#include "train/trainer.h"
#include "train/drops.h"
#include "core/alloc.h"
#include "core/clock.h"
#include <math.h>
#include <string.h>

/* ---- memory ---- */

static void *take_host(hpt__trainer *t, size_t bytes, hpt_status *st) {
    if (*st) return NULL;
    t->be->device.enter(t->dev);
    void *p = t->be->queue.host_alloc(t->dev, bytes);
    t->be->device.leave(t->dev);
    if (p) memset(p, 0, bytes);
    else *st = hpt__fail_memory(bytes);
    return p;
}
static size_t input_bytes(const hpt__trainer *t) {
    return (sizeof(hpt__input) + (t->method->input_bytes ? t->method->input_bytes(t) : 0) + 63) / 64 * 64;
}

/* Room for what a step of several updates overwrites before it is known to count. */
static void keep_weights(hpt__trainer *t, hpt__weights *w, hpt_status *st) {
    size_t n = w->net->n_params, bytes = n * hpt__real_size(t->spec.dtype);
    w->params_kept = hpt__take(&t->pool, bytes, st);
    w->moment1_kept = hpt__take(&t->pool, bytes, st);
    if (w->moment2) w->moment2_kept = hpt__take(&t->pool, bytes, st);
    if (w->low) w->low_kept = hpt__take(&t->pool, n * 2, st);
}

hpt_status hpt__trainer_network(hpt__trainer *t, hpt__weights *w, const hpt__net *net, const char *role,
                                const uint8_t *trainable, hpt__weights *leader) {
    hpt__dtype dt = t->spec.dtype;
    size_t params = net->n_params * hpt__real_size(dt);
    if (t->n_networks == HPT__NETWORKS)
        return hpt__fail(HPT_ERR_INTERNAL, "more networks than a trainer has room for");
    hpt_status st = hpt__weights_open(&t->pool, dt, net, w);
    w->role = role;
    w->trainable = trainable;
    if (leader) {
        w->ahead = hpt__take(&t->pool, params, &st);
        leader->follower = w;
        w->after = t->method->follow_after;
    }
    if (trainable) {
        w->grad = hpt__take(&t->pool, params, &st);
        w->moment1 = hpt__take(&t->pool, params, &st);
        if (t->spec.optimizer.rule == HPT__ADAMW) w->moment2 = hpt__take(&t->pool, params, &st);
        if (t->method->passes > 1 || t->spec.parts > 1) w->spare = hpt__take(&t->pool, params, &st);
        w->trust = hpt__take(&t->pool, (size_t)net->n_tensors * hpt__real_size(dt), &st);
        if (t->updates > 1) keep_weights(t, w, &st);
    }
    w->stats_kept = hpt__take(&t->pool, hpt__weights_stat_bytes(w, dt), &st);
    if (!st) t->network[t->n_networks++] = w;
    return st;
}

static hpt_status make_plan(hpt__trainer *t, const hpt__weights *w, int images, int groups, int head, int reverse,
                            hpt__plan **out) {
    const hpt__trainer_spec *s = &t->spec;
    hpt__plan_spec p = {.dtype = s->dtype, .mode = w->trainable ? HPT__TRAIN : HPT__FORWARD, .batch = images,
                        .size = s->size, .groups = groups, .bn_ranks = s->bn_ranks, .comm = t->comm, .head = head,
                        .direct = s->direct, .deterministic = s->deterministic, .trainable = w->trainable,
                        .reverse = reverse, .drop_path = s->drop_path, .input_grad = w->net != t->net,
                        .watch = t->be->host_memory && t->comm->size == 1 ? s->watch : NULL};
    if (t->n_plans == HPT__PLANS) return hpt__fail(HPT_ERR_INTERNAL, "more plans than a trainer has room for");
    HPT_TRY(hpt__plan_create(t->be, t->dev, w->net, &p, out));
    t->plan[t->n_plans++] = *out;
    return HPT_OK;
}

hpt_status hpt__trainer_plan(hpt__trainer *t, const hpt__weights *w, int images, int groups, int head,
                             hpt__plan **out) {
    return make_plan(t, w, images, groups, head, 0, out);
}
hpt_status hpt__trainer_plan_reversed(hpt__trainer *t, const hpt__weights *w, int images, int groups, hpt__plan **out) {
    return make_plan(t, w, images, groups, 1, 1, out);
}

hpt_status hpt__trainer_begin(hpt__trainer *t, hpt__weights *model, hpt__weights *follower) {
    const hpt__net *net = model->net;
    hpt__dtype dt = t->spec.dtype;
    float *fresh = hpt__calloc(net->n_stats, 4);
    if (!fresh) return hpt__fail_memory(net->n_stats * 4);
    for (int i = 0; i < net->n_tensors; i++)
        for (size_t j = 0; net->tensors[i].kind == HPT__RUN_VAR && j < net->tensors[i].count; j++)
            fresh[net->tensors[i].offset + j] = 1;
    t->be->device.enter(t->dev);
    hpt__weights_upload(t->be, t->dev, dt, net, t->params, model->params, 0);
    hpt__weights_upload(t->be, t->dev, dt, net, t->stats, model->stats, 1);
    hpt_status st = hpt__span_tick(0);
    if (follower && !st) {
        t->be->memory.copy(t->dev, follower->params, model->params, net->n_params * hpt__real_size(dt));
        if (!(st = hpt__span_tick(0)))
            t->be->memory.copy(t->dev, follower->ahead, model->params, net->n_params * hpt__real_size(dt));
        hpt__weights_upload(t->be, t->dev, dt, net, fresh, follower->stats, 1);
    }
    t->be->device.leave(t->dev);
    hpt__free(fresh);
    return st;
}

/* What the trainer itself needs: outcome, inputs, and on a device the views of both lanes. */
static hpt_status take_lanes(hpt__trainer *t) {
    const hpt__backend *be = t->be;
    hpt_status st = HPT_OK;
    size_t n = (size_t)t->method->views * (size_t)t->spec.batch,
        image = 12 * (size_t)t->spec.size * (size_t)t->spec.size;
    t->outcome = hpt__take(&t->pool, sizeof *t->outcome, &st);
    t->scratch = hpt__take(&t->pool, HPT__OPTIMIZER_SCRATCH, &st);
    for (int l = 0; l < HPT__LANES; l++) {
        if (be->host_memory && l) break;
        t->input[l] = hpt__take(&t->pool, input_bytes(t), &st);
        if (be->host_memory) t->input_host[l] = t->input[l];
        else {
            t->input_host[l] = take_host(t, input_bytes(t), &st);
            t->view[l] = hpt__take(&t->pool, n * image, &st);          /* all views: one launch makes them */
            t->views[l] = hpt__take(&t->pool, n * sizeof(hpt__view), &st);
        }
    }
    if (!be->host_memory) t->table = hpt__take(&t->pool, 3 * 256 * 4, &st);
    t->outcome_host = be->host_memory ? t->outcome : take_host(t, sizeof *t->outcome, &st);
    return st;
}

hpt_status hpt__trainer_open(hpt__trainer *t, const hpt__backend *be, hpt__device *dev, hpt__comm *comm, hpt__net *net,
                             const hpt__trainer_spec *spec, const float *params, const float *stats) {
    size_t tensors = (size_t)net->n_tensors;
    *t = (hpt__trainer){.be = be, .dev = dev, .comm = comm, .net = net, .spec = *spec, .method = spec->method,
                        .params = params, .stats = stats, .pool = {be, dev, "the state of a session", NULL, 0, 0, 0}};
    if (!be->record.begin || spec->parts > 1) t->spec.graph = 0;        /* a part's share of the mean is a constant */
    if (!t->spec.bn_ranks) t->spec.bn_ranks = 1;
    t->updates = t->method->updates > 1 ? t->method->updates : 1;
    t->scored = spec->batch;
    uint8_t *trainable = hpt__alloc(tensors);
    t->self = hpt__calloc(1, t->method->size);
    size_t truth = (size_t)spec->batch * (spec->several ? (size_t)net->arch.dim : 1);
    int lost = !trainable || !t->self;
    if (t->method->labels && spec->several) lost |= !(t->target = hpt__calloc(truth, sizeof *t->target));
    else if (t->method->labels) lost |= !(t->label = hpt__calloc(truth, sizeof *t->label));
    t->spec.trainable = trainable;
    hpt_status st = lost ? hpt__fail_memory(tensors + truth + t->method->size) : HPT_OK;
    if (!st) {
        memcpy(trainable, spec->trainable, tensors);
        st = take_lanes(t);
    }
    if (!st) st = t->method->open(t, spec->own);
    if (!st) st = hpt__drops_open(t);
    if (!st) {
        be->device.enter(dev);
        st = be->queue.sync(dev);
        be->device.leave(dev);
    }
    t->params = t->stats = NULL;
    t->spec.own = NULL;
    t->spec.class_weight = NULL;
    if (st) hpt__trainer_close(t);
    return st;
}

void hpt__trainer_close(hpt__trainer *t) {
    if (!t->be) return;
    t->be->device.enter(t->dev);
    for (int l = 0; l < HPT__LANES; l++) {
        if (t->graph[l]) t->be->record.destroy(t->dev, t->graph[l]);
        if (t->pixels[l]) t->be->memory.free(t->dev, t->pixels[l]);
        if (!t->be->host_memory && t->input_host[l]) t->be->queue.host_free(t->dev, t->input_host[l]);
    }
    if (!t->be->host_memory && t->outcome_host) t->be->queue.host_free(t->dev, t->outcome_host);
    if (t->augment_scratch) t->be->memory.free(t->dev, t->augment_scratch);
    hpt__drops_close(t);
    while (t->n_retired) t->be->memory.free(t->dev, t->retired[--t->n_retired]);
    t->be->device.leave(t->dev);
    hpt__pool_free(&t->pool);
    while (t->n_plans) hpt__plan_destroy(t->plan[--t->n_plans]);
    if (t->method->close && t->self) t->method->close(t);
    hpt__free((void *)(uintptr_t)t->spec.trainable);
    hpt__free(t->self);
    hpt__free(t->label);
    hpt__free(t->target);
    *t = (hpt__trainer){0};
}

size_t hpt__trainer_plan_bytes(const hpt__trainer *t) {
    size_t sum = 0;
    for (int i = 0; i < t->n_plans; i++) sum += hpt__plan_bytes(t->plan[i]);
    return sum;
}

hpt_status hpt__trainer_restart(hpt__trainer *t, const hpt__schedule *s, const float *params, const float *stats) {
    const hpt__weights *w = t->network[0];
    size_t bytes = w->net->n_params * hpt__real_size(t->spec.dtype);
    t->spec.schedule = *s;
    t->step = 0;
    t->part = t->prepared = 0;
    HPT_TRY(hpt__weights_set(&t->pool, t->spec.dtype, w, params, stats));
    t->be->device.enter(t->dev);
    if (w->moment1) t->be->memory.zero(t->dev, w->moment1, bytes);
    if (w->moment2) t->be->memory.zero(t->dev, w->moment2, bytes);
    t->be->device.leave(t->dev);
    return HPT_OK;
}

/* ---- one step ---- */

hpt_status hpt__trainer_forward(hpt__trainer *t, const hpt__weights *w, hpt__plan *p, const void *images) {
    return hpt__plan_forward(p, hpt__weights_forward(w), w->low, w->stats, images, t->method->bn_momentum);
}

/* The mean over parts of the sums over passes: of i+1 values it is that of i * i/(i+1) + value / (i+1). The first of
 * all is written where the mean shall be. */
static hpt_status add_gradient(hpt__trainer *t, int i, hpt__weights *w, hpt__plan *p, void *dout) {
    int pass = t->passes[i]++, first = !t->part && !pass;
    double keep = pass ? 1 : (double)t->part / (t->part + 1), share = 1 - (double)t->part / (t->part + 1);
    HPT_TRY(hpt__plan_backward(p, w->params, w->low, first ? w->grad : w->spare, dout, NULL, NULL));
    if (first) return HPT_OK;
    t->be->device.enter(t->dev);
    t->be->params->blend(t->dev, t->spec.dtype, w->grad, w->grad, w->spare, w->net->n_params, keep, share);
    t->be->device.leave(t->dev);
    return HPT_OK;
}

hpt_status hpt__trainer_backward(hpt__trainer *t, hpt__weights *w, hpt__plan *p, void *dout) {
    int i = 0;
    while (t->network[i] != w) i++;
    if (w->spare) return add_gradient(t, i, w, p, dout);
    t->reduce[i] = hpt__reduce_begin(t->comm, w, t->spec.dtype);
    return hpt__plan_backward(p, w->params, w->low, w->grad, dout, t->comm->size > 1 ? hpt__reduce_ready : NULL,
                              &t->reduce[i]);
}

hpt_status hpt__trainer_judge(hpt__trainer *t) {
    if (t->comm->size > 1) {
        if (t->update) HPT_TRY(t->comm->mean_start(t->comm, &t->outcome->entropy, 1, 1));
        else HPT_TRY(t->comm->mean_start(t->comm, t->outcome, 4, 1));
        HPT_TRY(t->comm->mean_wait(t->comm));
    }
    t->be->params->judge(t->dev, t->outcome);
    return HPT_OK;
}

/* The gradients still to be averaged, and the running statistics: each rank saw other images, the mean of theirs is
 * that of the batch. */
static hpt_status reduce_rest(hpt__trainer *t) {
    int f64 = t->spec.dtype == HPT__F64;
    for (int i = 0; i < t->n_networks; i++) {
        if (!t->network[i]->trainable) continue;
        if (t->network[i]->spare) t->reduce[i] = hpt__reduce_begin(t->comm, t->network[i], t->spec.dtype);
        HPT_TRY(hpt__reduce_rest(&t->reduce[i]));
    }
    for (int i = 0; i < t->n_networks; i++)
        if (t->network[i]->net->n_stats)
            HPT_TRY(t->comm->mean_start(t->comm, t->network[i]->stats, t->network[i]->net->n_stats, f64));
    return t->comm->mean_wait(t->comm);
}

/* Gradients are there: unless something is not finite or would not be, the step counts. */
static hpt_status conclude(hpt__trainer *t, const hpt__input *in) {
    const hpt__backend *be = t->be;
    const hpt__vars *vars = in->vars + t->update * HPT__GROUPS;
    hpt__dtype dt = t->spec.dtype;
    hpt_status st = HPT_OK;
    be->device.enter(t->dev);
    if (t->comm->size > 1) st = reduce_rest(t);
    for (int i = 0; i < t->n_networks; i++)
        be->params->finite(t->dev, dt, t->network[i]->stats, t->network[i]->net->n_stats, HPT__BAD_STATS, t->outcome);
    for (int i = 0; i < t->n_networks && !st; i++)
        if (t->network[i]->trainable)
            hpt__optimizer_foresee(&t->spec.optimizer, be, t->dev, dt, t->network[i], vars, t->outcome,
                                   t->scratch);
    if (!st && t->method->commit) t->method->commit(t, in);
    for (int i = 0; i < t->n_networks && !st; i++)
        if (t->network[i]->trainable)
            hpt__optimizer_step(&t->spec.optimizer, be, t->dev, dt, t->network[i], vars, t->outcome);
    be->device.leave(t->dev);
    return st;
}

/* What a step overwrites before it is known whether it counts: running statistics in the forward passes, and all that
 * its updates but the last one write. KEEP makes the copies, BACK puts them back, BACK_IF_BAD if the outcome says so,
 * which only the device knows. Between enter and leave. */
enum { KEEP, BACK, BACK_IF_BAD };
static void move_kept(hpt__trainer *t, int how) {
    for (int i = 0; i < t->n_networks; i++) {
        const hpt__weights *w = t->network[i];
        size_t n = w->net->n_params, params = n * hpt__real_size(t->spec.dtype);
        const struct { void *is, *kept; size_t bytes; } all[] = {
            {w->stats, w->stats_kept, hpt__weights_stat_bytes(w, t->spec.dtype)}, {w->params, w->params_kept, params},
            {w->moment1, w->moment1_kept, params}, {w->moment2, w->moment2_kept, params},
            {w->low, w->low_kept, (n * 2 + 63) / 64 * 64}};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            if (!all[k].kept) continue;
            if (how == KEEP) t->be->memory.copy(t->dev, all[k].kept, all[k].is, all[k].bytes);
            else if (how == BACK) t->be->memory.copy(t->dev, all[k].is, all[k].kept, all[k].bytes);
            else t->be->memory.copy_if(t->dev, all[k].is, all[k].kept, all[k].bytes, &t->outcome->bad);
        }
    }
}
/* All networks as they were before the step. */
static void put_back(hpt__trainer *t) {
    move_kept(t, BACK);
    t->part = 0;
}
void hpt__trainer_abandon(hpt__trainer *t) {
    if (!t->part) return;
    t->be->device.enter(t->dev);
    put_back(t);
    t->be->device.leave(t->dev);
}

/* The updates of a step, or one of its parts, of which the last one concludes it. */
static hpt_status make_updates(hpt__trainer *t, const float *const *view, const hpt__input *in, int last) {
    hpt_status st = HPT_OK;
    for (t->update = 0; t->update < t->updates && !st; t->update++) {
        memset(t->passes, 0, sizeof t->passes);
        st = t->method->step(t, view, in);
        if (!st && last) st = conclude(t, in);
    }
    t->update = 0;
    return st;
}

/* A part of the step; the last one concludes it. */
static hpt_status whole_step(hpt__trainer *t, int lane) {
    const hpt__backend *be = t->be;
    const float *view[HPT__VIEWS];
    int last = t->part + 1 == hpt__trainer_parts(t);
    size_t floats = (size_t)t->spec.batch * 3 * (size_t)t->spec.size * (size_t)t->spec.size;
    for (int v = 0; v < t->method->views; v++)
        view[v] = be->host_memory ? t->source[v] : (float *)t->view[lane] + (size_t)v * floats;
    hpt__drops_use(t, lane);
    be->device.enter(t->dev);
    if (!t->part) {
        be->memory.zero(t->dev, t->outcome, sizeof *t->outcome);
        move_kept(t, KEEP);
    }
    be->device.leave(t->dev);
    hpt_status st = make_updates(t, view, t->input[lane], last);
    be->device.enter(t->dev);
    if (!st && last) move_kept(t, BACK_IF_BAD);
    if (st && be->host_memory) put_back(t);         /* cancelled, or a rank is gone: as before the step */
    if (!st && !be->host_memory) be->queue.fetch(t->dev, t->outcome_host, t->outcome, sizeof *t->outcome);
    be->device.leave(t->dev);
    return st;
}

/* The first step of a lane runs as it is (libraries load their code then), the second is recorded, later ones replay
 * it. */
static hpt_status run_or_replay(hpt__trainer *t, int lane) {
    const hpt__backend *be = t->be;
    if (t->spec.graph && t->warm[lane] && !t->graph[lane]) {
        be->device.enter(t->dev);
        hpt_status st = be->record.begin(t->dev);
        be->device.leave(t->dev);
        HPT_TRY(st);
        st = whole_step(t, lane);
        be->device.enter(t->dev);
        hpt_status end = be->record.end(t->dev, &t->graph[lane]);
        be->device.leave(t->dev);
        HPT_TRY(st ? st : end);
    }
    t->warm[lane] = 1;
    if (!t->graph[lane]) return whole_step(t, lane);
    be->device.enter(t->dev);
    hpt_status st = be->record.launch(t->dev, t->graph[lane]);
    be->device.leave(t->dev);
    return st;
}

/* After arrays were set from outside: followers for the step to come, and the copies that the backend keeps. Between
 * enter and leave. */
static void prepare(hpt__trainer *t) {
    hpt__dtype dt = t->spec.dtype;
    for (int i = 0; i < t->n_networks; i++) {
        const hpt__weights *w = t->network[i], *f = w->follower;
        size_t n = w->net->n_params;
        double ema = f && !f->after ? t->method->ema(t, t->step) : 0;
        if (f && !f->after)
            t->be->params->blend(t->dev, dt, f->ahead, f->params, w->params, f->net->n_params, ema, 1 - ema);
        if (w->low && !w->ahead) t->be->params->lower(t->dev, 1, n, n, w->params, w->low);
        if (f && f->low) t->be->params->lower(t->dev, 1, f->net->n_params, f->net->n_params, f->ahead, f->low);
    }
    if (t->method->prepare) t->method->prepare(t);
    t->prepared = 1;
}

/* Each group of each update: as all the others, at its own rate; AdamW counts updates. */
static void tell_groups(const hpt__trainer *t, hpt__vars *vars) {
    const hpt__optimizer *o = &t->spec.optimizer;
    for (int u = t->updates; u-- > 0;) {
        hpt__vars all = *vars;
        double count = (double)t->step * t->updates + u + 1;
        all.adam1 = 1 - pow(o->beta1, count);
        all.adam2 = sqrt(1 - pow(o->beta2, count));
        for (int g = HPT__GROUPS; g > 0; g--) vars[u * HPT__GROUPS + g - 1] = hpt__optimizer_vars(o, &all, g);
    }
}

hpt_status hpt__trainer_launch(hpt__trainer *t) {
    const hpt__backend *be = t->be;
    int lane = t->lane;
    hpt__input *in = t->input_host[lane];
    if (!t->staged) return hpt__fail(HPT_ERR_INTERNAL, "a step without images");
    t->lr = hpt__schedule_lr(&t->spec.schedule, t->step);
    *in->vars = (hpt__vars){.lr = t->lr};
    /* of the move that this update makes */
    if (t->method->ema) in->vars->ema = t->method->ema(t, t->step + !t->method->follow_after);
    if (t->method->draw) t->method->draw(t, in);
    tell_groups(t, in->vars);
    if (!t->part) t->sum = (hpt__step_result){0};
    be->device.enter(t->dev);
    if (!t->prepared) prepare(t);
    hpt__drops_stage(t, lane);
    if (!be->host_memory) {
        be->queue.stage(t->dev, lane, t->input[lane], in, input_bytes(t));
        be->queue.await(t->dev, lane);
        if (t->raw[lane])
            be->views->make(t->dev, t->method->views * t->spec.batch, t->spec.size, t->views_taps[lane],
                            t->views[lane], t->pixels[lane], t->table,
                        t->view[lane], t->augment_scratch);
    }
    be->device.leave(t->dev);
    t->staged = 0;
    t->launched = lane;
    if (!be->host_memory) t->lane = (lane + 1) % HPT__LANES;
    return run_or_replay(t, lane);
}

/* ---- what was not finite ---- */

/* Does part of a flat array hold a value that is not finite? The outcome is free again when this is asked. */
static int bad_part(hpt__trainer *t, const void *flat, size_t at, size_t n) {
    if (!flat) return 0;
    t->be->memory.zero(t->dev, t->outcome, sizeof *t->outcome);
    t->be->params->finite(t->dev, t->spec.dtype, (const char *)flat + at * hpt__real_size(t->spec.dtype), n,
                          HPT__BAD_GRAD, t->outcome);
    t->be->memory.download(t->dev, t->outcome_host, t->outcome, sizeof *t->outcome);
    return t->outcome_host->bad != 0;
}
static int bad_update(hpt__trainer *t, const hpt__weights *w, const hpt__run *r) {
    hpt__update u = hpt__optimizer_update(&t->spec.optimizer, t->spec.dtype, w, r);
    const hpt__input *in = t->input[t->launched];
    if (u.rule == HPT__FROZEN) return 0;
    t->be->memory.zero(t->dev, t->outcome, sizeof *t->outcome);
    t->be->params->foresee(t->dev, t->spec.dtype, &u, r->at, r->end - r->at, hpt__run_vars(in->vars, r),
                           HPT__BAD_UPDATE, t->outcome);
    t->be->memory.download(t->dev, t->outcome_host, t->outcome, sizeof *t->outcome);
    return t->outcome_host->bad != 0;
}
/* What was bad, as far as it can still be seen: "the gradient of conv1.weight". */
static void name_bad(hpt__trainer *t, int bad, char *text, size_t size) {
    if (bad & HPT__BAD_LOSS) {
        snprintf(text, size, t->updates > 1 ? "the loss or the entropy" : "the loss");
        return;
    }
    for (int i = 0; bad & HPT__BAD_UPDATE && i < t->n_networks; i++) {
        const hpt__weights *w = t->network[i];
        if (!w->trainable) continue;
        for (hpt__run r = {0}; hpt__weights_next_run(w, &r, 1);) {
            size_t n = r.first->count;
            if (!bad_update(t, w, &r)) continue;
            int grad = bad_part(t, w->grad, r.at, n), moment = !grad &&
                (bad_part(t, w->moment1, r.at, n) || bad_part(t, w->moment2, r.at, n));
            snprintf(text, size, "the %s of %s", grad ? "gradient" : moment ? "momentum" : "next value", r.first->name);
            return;
        }
    }
    for (int j = 0; j < t->net->n_tensors; j++)
        for (int i = 0; i < t->n_networks; i++) {
            const hpt__weights *w = t->network[i];
            if (j >= w->net->n_tensors) continue;
            const hpt__tensor *x = &w->net->tensors[j];
            if (!hpt__is_stat(x) || !bad_part(t, w->stats, x->offset, x->count)) continue;
            snprintf(text, size, "%s of the %s encoder", x->name, w->role);
            return;
        }
    snprintf(text, size, "a running statistic of batch norm");      /* what was before is back by now */
}
static hpt_status not_finite(hpt__trainer *t, int bad, int advance) {
    char text[160];
    name_bad(t, bad, text, sizeof text);
    for (int i = 0; i < t->n_networks; i++)
        if (t->network[i]->grad)
            t->be->memory.zero(t->dev, t->network[i]->grad,
                               t->network[i]->net->n_params * hpt__real_size(t->spec.dtype));
    uint64_t at = t->step;
    if (advance) t->step++;
    return hpt__fail(HPT_ERR_NUMERIC, "step %llu: %s is not finite; the step was not applied",
                     (unsigned long long)at + 1, text);
}

hpt_status hpt__trainer_finish(hpt__trainer *t, int advance, hpt__step_result *out) {
    const hpt__backend *be = t->be;
    hpt_status st = HPT_OK;
    double begin = hpt__now_ms();
    *out = (hpt__step_result){.lr = t->lr};
    be->device.enter(t->dev);
    /* asleep for most of the time that the last step took, then awake: the device should not wait for the host */
    while (!be->host_memory && (st = be->queue.poll(t->dev)) == HPT_END) {
        double waited = hpt__now_ms() - begin;
        if ((st = t->comm->check(t->comm, waited / 1000))) break;
        if (waited < 0.8 * t->last_wait || waited > 3 * t->last_wait + 5) hpt__sleep_us(20);
    }
    t->last_wait = hpt__now_ms() - begin;
    while (!st && t->n_retired) be->memory.free(t->dev, t->retired[--t->n_retired]);
    hpt__outcome o = *t->outcome_host;
    if (!st) {
        int parts = hpt__trainer_parts(t), last = t->part + 1 == parts;
        t->sum.loss += o.loss / parts;
        t->sum.top1 += 100 * o.top1 / t->scored / parts;
        t->sum.top5 += 100 * o.top5 / t->scored / parts;
        t->sum.spread += o.spread / parts;
        t->sum.entropy += o.entropy / parts;
        t->sum.lr = t->lr;
        *out = t->sum;
        t->part = last ? 0 : t->part + 1;
        if (!last) {
            be->device.leave(t->dev);
            return HPT_OK;
        }
        if (o.bad) st = not_finite(t, o.bad, advance);
        else {
            if (t->method->counted) t->method->counted(t);
            t->step++;
            out->applied = 1;
        }
    }
    be->device.leave(t->dev);
    return st;
}

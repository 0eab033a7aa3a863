/* SPDX-License-Identifier: MIT */
#include "ssl/session.h"
#include "core/alloc.h"
#include "core/clock.h"
#include <math.h>
#include <string.h>

static void session_free(void *p) {
    hpt_session *s = p;
    hpt__loader_destroy(s->loader);
    if (s->moco.be) hpt__moco_fini(&s->moco);
    hpt__options_fini(&s->opt);
    hpt__release(s->ds);
    hpt__release(s->model);
    hpt__release(s->ctx);
    hpt__free(s);
}

/* Which tensors train: all, or (Reed et al. 2022, HPT-BN) batch-norm weights and biases and the whole head. */
static void choose_trainable(const hpt__net *net, int bn_only, uint8_t *flag) {
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        int norm = t->kind == HPT__NORM_WEIGHT || t->kind == HPT__NORM_BIAS;
        flag[i] = !hpt__is_stat(t) && (!bn_only || norm || t->head);
    }
}

static hpt_status start(hpt_session *s) {
    const hpt__options *o = &s->opt;
    hpt__net *net = &s->model->net;
    hpt__moco_spec m = {.batch = (int)OPT_I(o, batch_size), .size = (int)OPT_I(o, image_size), .shuffle = (int)OPT_I(o, shuffle_bn),
                        .direct = OPT_IS(o, conv_algo, "direct"), .adamw = OPT_IS(o, optimizer, "adamw"), .queue = OPT_I(o, moco_k),
                        .m = OPT_F(o, moco_m), .t = OPT_F(o, moco_t), .momentum = OPT_F(o, momentum),
                        .weight_decay = OPT_F(o, weight_decay), .beta1 = OPT_F(o, adam_beta1), .beta2 = OPT_F(o, adam_beta2),
                        .eps = OPT_F(o, adam_eps), .seed = (uint64_t)OPT_I(o, seed)};
    m.schedule = (hpt__schedule){OPT_F(o, lr), OPT_IS(o, schedule, "cosine"), (uint64_t)OPT_I(o, steps), (uint64_t)OPT_I(o, warmup_steps), 0};
    if (OPT_IS(o, schedule_unit, "epoch") && s->ds) {
        uint64_t per = s->ds->count / (uint64_t)m.batch;
        m.schedule.per_epoch = per ? per : 1;
    }
    HPT_TRY(hpt__precision(s->ctx, o, &m.dtype));
    HPT_TRY(hpt__bn_groups(o, m.batch, &m.groups));
    if (m.groups == 1) m.shuffle = 0;       /* a permutation inside one group changes nothing */
    if (s->ds) {
        HPT_TRY(hpt__dataset_normalization(s->ds, o, s->mean, s->std));
        s->fingerprint = hpt__dataset_fingerprint(s->ds);
        if (OPT_F(o, aug_crop_min) > OPT_F(o, aug_crop_max)) return hpt__fail(HPT_ERR_OPTION, "option 'aug_crop_min' is larger than aug_crop_max");
        if (OPT_F(o, aug_blur_min) > OPT_F(o, aug_blur_max)) return hpt__fail(HPT_ERR_OPTION, "option 'aug_blur_min' is larger than aug_blur_max");
        if ((uint64_t)m.queue > s->ds->count)
            hpt__log(s->ctx, 1, "moco_k=%lld is more than the %llu images: the queue holds several keys of each image; consider moco_k=%llu, moco_m=0.99",
                     (long long)m.queue, (unsigned long long)s->ds->count, (unsigned long long)(s->ds->count > 4096 ? 4096 : s->ds->count));
    }
    uint8_t *trainable = hpt__alloc((size_t)net->n_tensors);
    if (!trainable) return hpt__fail_memory((size_t)net->n_tensors);
    choose_trainable(net, OPT_IS(o, train, "bn"), trainable);
    m.trainable = trainable;
    hpt_status st = hpt__moco_init(&s->moco, s->ctx->be, s->ctx->dev, net, &m, s->model->params, s->model->stats);
    hpt__free(trainable);
    int key = (int)OPT_I(o, carry_key), queue = (int)OPT_I(o, carry_queue);
    if (!st && (key || queue)) st = hpt__session_carry(s, OPT_S(o, carry_from), key, queue);
    s->info = (hpt_step_info){.struct_size = sizeof s->info, .queue_fill = (uint32_t)s->moco.filled, .steps = m.schedule.total, .chance = log((double)m.queue + 1)};
    return st;
}

hpt_status hpt__session_new(hpt_context *ctx, const hpt__options *o, hpt_model *model, hpt_dataset *ds, hpt_session **out) {
    hpt_session *s = hpt__calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return hpt__fail_memory(sizeof *s);
    hpt_status st = hpt__options_copy(&s->opt, o);
    if (!st) {
        s->ctx = ctx;
        s->model = model;
        s->ds = ds;
        hpt__retain(ctx);
        hpt__retain(model);
        if (ds) hpt__retain(ds);
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

static hpt_status open_loader(hpt_session *s) {
    hpt__loader_spec l = {.ds = s->ds, .batch = s->moco.spec.batch, .size = s->moco.spec.size, .workers = (int)OPT_I(&s->opt, workers),
                          .views = 2, .seed = s->moco.spec.seed ^ (uint64_t)OPT_I(&s->opt, data_seed) << 1, .first_step = s->moco.step,
                          .steps = s->moco.spec.schedule.total};
    hpt__augment_from_options(&s->opt, &l.augment);
    memcpy(l.mean, s->mean, sizeof l.mean);
    memcpy(l.std, s->std, sizeof l.std);
    return hpt__loader_create(&l, &s->loader);
}

static hpt_status die(hpt_session *s, hpt_status st) {
    s->dead = st;
    snprintf(s->dead_text, sizeof s->dead_text, "%s", hpt__error_text());
    return st;
}

hpt_status hpt__session_step(hpt_session *s, const float *view_q, const float *view_k) {
    hpt__moco *m = &s->moco;
    hpt__moco_metrics out;
    hpt__batch b = {{view_q, view_k}, NULL, 0};
    double t0 = hpt__now_ms(), wait = 0;
    hpt_status st;
    if (s->dead) return hpt__fail(HPT_ERR_STATE, "an earlier step failed: %.900s", s->dead_text);
    if (m->step >= m->spec.schedule.total) return HPT_END;
    if (!view_q) {
        if (!s->ds) return hpt__fail(HPT_ERR_STATE, "the session has no data set; use hpt_session_step_images()");
        if (!s->loader) HPT_TRY(open_loader(s));
        st = hpt__loader_next(s->loader, &b, &wait);
        if (st < 0) {
            hpt__loader_destroy(s->loader);         /* a later call starts again at this step */
            s->loader = NULL;
            return st;
        }
    }
    int skip = OPT_IS(&s->opt, on_nonfinite, "skip"), ask = OPT_IS(&s->opt, on_nonfinite, "callback");
    st = hpt__moco_step(m, b.view[0], b.view[1], skip || ask, &out);
    hpt_step_info *i = &s->info;
    i->loss = out.loss;
    i->acc1 = out.acc1;
    i->acc5 = out.acc5;
    i->z_std = out.z_std;
    i->lr = out.lr;
    i->wait_ms = wait;
    i->step_ms = hpt__now_ms() - t0;
    i->queue_fill = (uint32_t)m->filled;
    i->epoch = s->ds ? hpt__loader_epoch(s->ds->count, (uint64_t)m->spec.batch, m->step ? m->step - 1 : 0) : 0;
    if (st == HPT_ERR_NUMERIC && (skip || ask)) {
        i->skipped = ++s->skipped;
        i->loss = NAN;
        hpt__log(s->ctx, 1, "%s", hpt__error_text());
        st = HPT_OK;
    }
    if (st == HPT_ERR_NUMERIC && s->loader) {       /* the batch can be tried again, with other weights or another policy */
        hpt__loader_destroy(s->loader);
        s->loader = NULL;
    } else if (st && st != HPT_ERR_NUMERIC) return die(s, st);
    if (st) return st;
    i->step = m->step;
    s->synced = 0;
    if (!s->warned_collapse && m->step > 50 && out.z_std < 0.1) {
        s->warned_collapse = 1;
        hpt__log(s->ctx, 1, "step %llu: z_std is %.3f (1 = spread, 0 = all embeddings alike): the representation is collapsing; a lower lr or stronger augmentation may help",
                 (unsigned long long)m->step, out.z_std);
    }
    return m->step == m->spec.schedule.total ? hpt__session_sync(s) : HPT_OK;
}

hpt_status hpt__session_run(hpt_session *s, hpt_step_fn fn, void *user) {
    for (;;) {
        if (atomic_exchange(&s->cancel, 0)) return hpt__fail(HPT_ERR_CANCELLED, "cancelled after step %llu", (unsigned long long)s->moco.step);
        hpt_status st = hpt__session_step(s, NULL, NULL);
        if (st == HPT_END) return HPT_OK;
        HPT_TRY(st);
        if (fn && fn(user, &s->info)) return hpt__fail(HPT_ERR_CANCELLED, "stopped by the callback after step %llu", (unsigned long long)s->moco.step);
    }
}

hpt_status hpt__session_sync(hpt_session *s) {
    hpt__moco *m = &s->moco;
    if (s->synced) return HPT_OK;
    hpt__weights_download(m->be, m->dev, m->spec.dtype, m->net, m->q, s->model->params, 0);
    hpt__weights_download(m->be, m->dev, m->spec.dtype, m->net, m->stats_q, s->model->stats, 1);
    s->synced = 1;
    return HPT_OK;
}

/* "queue" is (K,D) inside and (D,K) outside, as in the checkpoints of facebookresearch/moco. */
static hpt_status queue_tensor(hpt_session *s, float *get, const float *set, uint64_t count) {
    hpt__moco *m = &s->moco;
    size_t d = (size_t)m->net->arch.dim, k = (size_t)m->spec.queue;
    if (count != d * k) return hpt__fail(HPT_ERR_ARGUMENT, "queue has %zu values, not %llu", d * k, (unsigned long long)count);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < d; j++) {
            size_t in = i * d + j, out = j * k + i;
            double *q64 = m->queue;
            float *q32 = m->queue;
            if (get) get[out] = m->spec.dtype == HPT__F64 ? (float)q64[in] : q32[in];
            else if (m->spec.dtype == HPT__F64) q64[in] = set[out];
            else q32[in] = set[out];
        }
    return HPT_OK;
}

hpt_status hpt__session_tensor(hpt_session *s, const char *name, float *get, const float *set, uint64_t count) {
    hpt__moco *m = &s->moco;
    size_t size = hpt__real_size(m->spec.dtype);
    if (!strcmp(name, "queue")) return queue_tensor(s, get, set, count);
    const struct { const char *prefix; void *params, *stats; } sets[] = {
        {"q.", m->q, m->stats_q}, {"k.", m->k, m->stats_k}, {"grad.", m->grad, NULL}, {"momentum.", m->moment1, NULL}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        size_t n = strlen(sets[i].prefix);
        if (strncmp(name, sets[i].prefix, n)) continue;
        int at = hpt__net_find(m->net, name + n);
        if (at < 0) break;
        const hpt__tensor *t = &m->net->tensors[at];
        char *base = hpt__is_stat(t) ? sets[i].stats : sets[i].params;
        if (!base) break;
        if (count != t->count) return hpt__fail(HPT_ERR_ARGUMENT, "%s has %zu values, not %llu", name, t->count, (unsigned long long)count);
        if (get) m->be->unpack(m->dev, m->spec.dtype, t->shape, base + t->offset * size, get);
        else m->be->pack(m->dev, m->spec.dtype, t->shape, set, base + t->offset * size);
        s->synced = 0;
        return HPT_OK;
    }
    return hpt__fail(HPT_ERR_ARGUMENT, "no session tensor is called '%.80s'", name);
}

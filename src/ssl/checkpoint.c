/* SPDX-License-Identifier: MIT
 * A session's checkpoint (docs/checkpoints.md): the layout of facebookresearch/moco
 *   {epoch, arch, state_dict: {module.queue, module.queue_ptr, module.encoder_q.*, module.encoder_k.*}, optimizer:
 *   {state, param_groups}}
 * with the names of the method's own state (train/method.h), and beside it "hpt": {format, version, step, config,
 * ...} with all that a bit-identical continuation needs. */
#include "core/alloc.h"
#include "core/json.h"
#include "core/number.h"
#include "ssl/model_file.h"
#include "ssl/names.h"
#include "ssl/session.h"
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };
static const int64_t scalar_shape[1] = {1};

/* Options that must be equal for a resumed run. */
static int must_match(int opt) { return hpt__options_applies(opt, 'P') && hpt__options_role(opt) == HPT__DECIDES; }

/* Options whose "auto" the checkpoint replaces by what it meant, so that the same run is recognised. */
static void option_text(const hpt_session *s, int opt, char *text, size_t size) {
    const hpt__net *net = s->trainer.net;
    if (opt == HPT__OPT_arch) snprintf(text, size, "%s", net->arch.name);
    else if (opt == HPT__OPT_width && net->arch.width) snprintf(text, size, "%d", net->arch.width);
    else if (opt == HPT__OPT_stem) snprintf(text, size, "%s", net->arch.small_stem ? "small" : "imagenet");
    else if (opt == HPT__OPT_precision) snprintf(text, size, "%s", hpt__dtype_name(s->trainer.spec.dtype));
    else hpt__options_get(&s->opt, hpt__options_key(opt), text, size, NULL);
}

/* The run's networks, rows and numbers in the host's memory, still to be filled. */
static hpt_status copy_open(hpt__copy *h, hpt__trainer *t) {
    hpt__state item[HPT__STATES];
    return hpt__copy_open(h, hpt__trainer_site(t), item, t->method->state(t, item));
}

/* PyTorch counts the parameters of all networks of the wrapper; those that train have a state. */
static void put_optimizer(hpt__torch_out *out, hpt_session *s, const hpt__copy *h) {
    const hpt__trainer *t = &s->trainer;
    const hpt__optimizer *o = &t->spec.optimizer;
    int id = 0, adamw = o->rule == HPT__ADAMW;
    hpt__tw_dict(out, 0);
    hpt__tw_str(out, "state");
    hpt__tw_dict(out, 0);
    for (int k = 0; k < h->n; k++) {
        const hpt__weights *w = h->item[k].weights;
        for (int i = 0; w && i < w->net->n_tensors; i++) {
            const hpt__tensor *x = &w->net->tensors[i];
            if (hpt__is_stat(x)) continue;
            if (w->trainable && w->trainable[i] && t->step) {
                hpt__tw_int(out, id);
                hpt__tw_dict(out, 0);
                hpt__tw_str(out, adamw ? "exp_avg" : "momentum_buffer");
                hpt__tw_tensor_f32(out, h->moment1[k] + x->offset, x->count, x->ndim, x->shape, NULL);
                if (adamw) {
                    hpt__tw_str(out, "exp_avg_sq");
                    hpt__tw_tensor_f32(out, h->moment2[k] + x->offset, x->count, x->ndim, x->shape, NULL);
                    hpt__tw_str(out, "step");
                    hpt__tw_int(out, (int64_t)t->step);
                }
                hpt__tw_end_dict(out);
            }
            id++;
        }
    }
    hpt__tw_end_dict(out);
    hpt__tw_str(out, "param_groups");
    hpt__tw_list(out);
    hpt__tw_dict(out, 0);
    hpt__tw_str(out, "lr"); hpt__tw_float(out, s->info.lr);
    hpt__tw_str(out, "weight_decay"); hpt__tw_float(out, o->weight_decay);
    if (!adamw) {
        hpt__tw_str(out, "momentum"); hpt__tw_float(out, o->momentum);
        hpt__tw_str(out, "dampening"); hpt__tw_int(out, 0);
        hpt__tw_str(out, "nesterov"); hpt__tw_bool(out, o->rule == HPT__NESTEROV);
    }
    hpt__tw_str(out, "params");
    hpt__tw_list(out);
    for (int i = 0; i < id; i++) hpt__tw_int(out, i);
    hpt__tw_end_list(out);
    hpt__tw_end_dict(out);
    hpt__tw_end_list(out);
    hpt__tw_end_dict(out);
}

/* Scores so far and the weights of the best. */
static void put_monitor(hpt__torch_out *t, const hpt_session *s, const int64_t *batches) {
    const hpt__monitor *w = &s->monitor;
    const struct { const char *key; double v; } all[] = {{"score", w->score}, {"best", w->best}, {"at", (double)w->at},
                                                         {"best_at", (double)w->best_at},
                                                         {"misses", (double)w->misses}, {"stopped", w->stopped}};
    char key[32], text[40];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(key, sizeof key, "monitor_%s", all[i].key);
        hpt__number_print(all[i].v, text, sizeof text);
        hpt__tw_str(t, key);
        hpt__tw_str(t, text);
    }
    hpt__tw_str(t, "monitor_of");
    hpt__tw_str(t, w->what);
    hpt__tw_str(t, "monitor_weights");
    hpt__tw_dict(t, 0);
    hpt__put_net(t, &s->model->net, "", w->params, w->stats, batches, !s->trainer.method->labels);
    if (hpt__classes(&w->fc)) hpt__put_net(t, &w->fc.net, "", w->fc.params, NULL, batches, 1);
    hpt__tw_end_dict(t);
}
static double meta_number(const hpt__tensorfile *f, const char *name) {
    const char *text = json_string_value(json_object_get(f->meta, name));
    double v = 0;
    return text && hpt__number_parse(text, &v) ? v : 0;
}

hpt_status hpt__session_save(hpt_session *s, const char *path) {
    HPT__TURN(s->ctx);
    hpt__trainer *t = &s->trainer;
    const hpt__net *net = t->net;
    hpt__copy h;
    hpt__torch_out out;
    char text[4100];
    if (t->spec.dtype == HPT__F64)
        return hpt__fail(HPT_ERR_UNSUPPORTED, "an fp64 session has no checkpoint (it exists for parity tests)");
    if (s->dead && !t->be->host_memory)
        return hpt__fail(HPT_ERR_STATE,
                         "a step failed half way on the device, so that the weights may be wrong: resume from the last "
                         "checkpoint (%.800s)", s->dead_text);
    HPT_TRY(copy_open(&h, t));
    hpt_status st = hpt__copy_take(&h);
    if (st) {
        hpt__copy_close(&h);
        return st;
    }
    int64_t batches = (int64_t)t->step;
    hpt__tw_begin(&out);
    hpt__tw_dict(&out, 0);
    hpt__tw_str(&out, "epoch"); hpt__tw_int(&out, t->step ? (int64_t)s->info.epoch + 1 : 0);
    hpt__tw_str(&out, "arch"); hpt__tw_str(&out, net->arch.name);
    hpt__tw_str(&out, "state_dict");
    hpt__tw_dict(&out, 1);
    for (int i = 0; i < h.n; i++) {
        const hpt__state *x = &h.item[i];
        const int64_t shape[2] = {x->d, x->n}, stride[2] = {1, x->d};
        if (x->kind == HPT__STATE_NOTE) continue;
        snprintf(text, sizeof text, "module.%s", x->name);
        if (x->kind == HPT__STATE_NETWORK)
            hpt__put_net(&out, x->weights->net, text, h.params[i], h.stats[i], &batches, 1);
        else hpt__tw_str(&out, text);
        if (x->kind == HPT__STATE_ROWS) hpt__tw_tensor_f32(&out, h.rows[i], (uint64_t)(x->n * x->d), 2, shape, stride);
        if (x->kind == HPT__STATE_NUMBER) hpt__tw_tensor_i64(&out, &h.number[i], 1, 1, scalar_shape);
    }
    hpt__tw_end_dict(&out);
    hpt__tw_str(&out, "optimizer");
    put_optimizer(&out, s, &h);
    hpt__tw_str(&out, "hpt");
    hpt__tw_dict(&out, 0);
    hpt__tw_str(&out, "format"); hpt__tw_int(&out, FORMAT);
    hpt__tw_str(&out, "version"); hpt__tw_str(&out, hpt_version_string());
    hpt__tw_str(&out, "backend"); hpt__tw_str(&out, t->be->name);
    hpt__tw_str(&out, "step"); hpt__tw_int(&out, (int64_t)t->step);
    for (int i = 0; i < h.n; i++)
        if (h.item[i].kind == HPT__STATE_NOTE) hpt__tw_str(&out, h.item[i].name), hpt__tw_int(&out, h.number[i]);
    hpt__tw_str(&out, "skipped"); hpt__tw_int(&out, s->skipped);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->fingerprint);
    hpt__tw_str(&out, "data"); hpt__tw_str(&out, text);
    hpt__put_arch(&out, &s->model->net.arch);
    hpt__put_pixels(&out, &s->pixels);
    hpt__put_classes(&out, &s->taught.fc);
    if (s->monitor.best_at) put_monitor(&out, s, &batches);
    hpt__tw_str(&out, "config");
    hpt__tw_dict(&out, 0);
    for (int i = 0; i < HPT__OPT_COUNT; i++)
        if (hpt__options_applies(i, 'P')) {
            option_text(s, i, text, sizeof text);
            hpt__tw_str(&out, hpt__options_key(i));
            hpt__tw_str(&out, text);
        }
    hpt__tw_end_dict(&out);
    hpt__tw_end_dict(&out);
    hpt__tw_end_dict(&out);
    st = hpt__tw_finish(&out, path);
    hpt__copy_close(&h);
    return st ? st : hpt__session_sync(s);
}

/* ---- reading ---- */

/* The networks of a file in the layout above, whatever wraps the module (DistributedDataParallel, torch.compile) or
 * its encoders. */
typedef struct parts {
    const hpt__tensorfile *f;
    hpt__networks nets;
    const hpt__candidate *of[HPT__STATES];      /* of the method's networks that are the model's; NULL: not there */
    const hpt__candidate *first;                /* the first of these */
    int base;                                   /* bytes of its prefix before "encoder_q.", where "queue" stands too */
} parts;

static const hpt__candidate *network_at(const hpt__networks *r, const char *prefix) {
    for (int i = 0; i < r->n; i++)
        if ((size_t)r->c[i].prefix_len == strlen(prefix) && !memcmp(r->c[i].prefix, prefix, strlen(prefix)))
            return &r->c[i];
    return NULL;
}
/* Is this network the one that the method calls word, with the others beside it? */
static int parts_at(parts *p, const hpt__candidate *c, const hpt__copy *h, const hpt__net *net) {
    int first = 0, others = 0;
    char key[600];
    while (h->item[first].kind != HPT__STATE_NETWORK) first++;
    const char *word = h->item[first].name;
    int length = (int)strlen(word), at = c->prefix_len - length;
    while (at >= 0 && (strncmp(c->prefix + at, word, (size_t)length) || (at && !strchr("./", c->prefix[at - 1])))) at--;
    if (at < 0) return 0;
    p->first = c;
    p->base = at;
    p->of[first] = c;
    for (int i = first + 1; i < h->n; i++) {
        if (h->item[i].kind != HPT__STATE_NETWORK || h->item[i].weights->net != net) continue;
        snprintf(key, sizeof key, "%.*s%s%.*s", at, c->prefix, h->item[i].name, c->prefix_len - at - length,
                 c->prefix + at + length);
        p->of[i] = network_at(&p->nets, key);
        others += !p->of[i];
    }
    return !others;
}
static hpt_status parts_open(parts *p, const hpt__tensorfile *f, const hpt__copy *h, const hpt__net *net) {
    *p = (parts){.f = f};
    HPT_TRY(hpt__recognise(f, &p->nets));
    for (int i = 0; i < p->nets.n; i++)
        if (parts_at(p, &p->nets.c[i], h, net)) break;
    return HPT_OK;
}
/* What stands beside the first network: "queue", "predictor.0.weight". */
static const hpt__ftensor *beside(const parts *p, const char *name) {
    return p->first ? hpt__networks_find(&p->nets, p->first->prefix, p->base, name) : NULL;
}
static hpt_status read_net(const parts *p, const hpt__candidate *c, const char *what, const hpt__net *net, int head,
                           float *params, float *stats) {
    int length = (int)strlen(what);
    while (length && what[length - 1] == '.') length--;
    if (!c) return hpt__fail(HPT_ERR_MISMATCH, "no %.*s inside that libhpt knows", length, what);
    json_t *report = json_object();
    hpt_status st = hpt__names_read(&p->nets, c, NULL, net, head, params, stats, report);
    json_decref(report);
    return st ? hpt__fail_context(st, "%.*s", length, what) : HPT_OK;
}
/* A network that is none of the model's, by the exact names of its tensors. */
static hpt_status read_small(const parts *p, const hpt__state *x, float *params, float *stats) {
    const hpt__net *net = x->weights->net;
    char name[160];
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *want = &net->tensors[i];
        snprintf(name, sizeof name, "%s%s", x->name, want->name);
        const hpt__ftensor *found = beside(p, name);
        if (!found || found->unreadable || !hpt__names_fits(found, want))
            return hpt__fail(HPT_ERR_MISMATCH, "'%s' is %s", name, found ? "of another shape" : "missing");
        HPT_TRY(hpt__ftensor_read(found, (hpt__is_stat(want) ? stats : params) + want->offset));
    }
    return HPT_OK;
}
static hpt_status read_network(const parts *p, hpt__copy *h, int i, const hpt__net *net) {
    const hpt__state *x = &h->item[i];
    if (x->weights->net == net) return read_net(p, p->of[i], x->name, net, 1, h->params[i], h->stats[i]);
    return read_small(p, x, h->params[i], h->stats[i]);
}

static int64_t meta_int(const hpt__tensorfile *f, const char *name, int64_t missing) {
    json_t *v = json_object_get(f->meta, name);
    return json_is_integer(v) ? json_integer_value(v) : missing;
}

/* What the optimizer calls its parameter number i: PyTorch up to 1.5 an address, later the number itself; the order is
 * in param_groups. */
static int64_t optimizer_key(const hpt__tensorfile *f, int i) {
    char name[64];
    snprintf(name, sizeof name, "optimizer/param_groups/0/params/%d", i);
    return meta_int(f, name, i);
}
/* Parameters that never had a gradient have no buffer, or None: their first step starts from zero, as it does in
 * PyTorch. In a file of ours every buffer is there. */
static hpt_status read_optimizer(const hpt__tensorfile *f, hpt_session *s, hpt__copy *h, uint64_t step) {
    const hpt__optimizer *o = &s->trainer.spec.optimizer;
    int adamw = o->rule == HPT__ADAMW, ours = json_object_get(f->meta, "hpt/format") != NULL, id = 0, found = 0;
    const char *first = adamw ? "exp_avg" : "momentum_buffer";
    char name[96];
    if (!ours && meta_int(f, "optimizer/param_groups/1/params/0", -1) >= 0)
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "the optimizer has more than one group of parameters: the file does not say which buffer belongs to which");
    for (int k = 0; k < h->n; k++) {
        const hpt__weights *w = h->item[k].weights;
        for (int i = 0; w && i < w->net->n_tensors; i++) {
            const hpt__tensor *t = &w->net->tensors[i];
            if (hpt__is_stat(t)) continue;
            for (int second = 0; w->trainable && w->trainable[i] && step && second <= adamw; second++) {
                snprintf(name, sizeof name, "optimizer/state/%lld/%s", (long long)optimizer_key(f, id),
                         second ? "exp_avg_sq" : first);
                const hpt__ftensor *x = hpt__tensorfile_find(f, name);
                if (!x && !ours) continue;
                if (!x || !(x->unreadable || hpt__names_fits(x, t)))
                    return hpt__fail(HPT_ERR_MISMATCH, "'%s' (%s) is %s", name, t->name, x ? "of another shape"
                                     : "missing");
                HPT_TRY(hpt__ftensor_read(x, (second ? h->moment2[k] : h->moment1[k]) + t->offset));
                found++;
            }
            id++;
        }
    }
    if (step && !found && (adamw || o->momentum > 0))
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "the optimizer's state has no %s: the run had another optimizer, or the file was stripped (then load it to "
            "start a new run)", first);
    return HPT_OK;
}

static hpt_status check_config(const hpt__tensorfile *f, hpt_session *s) {
    char name[96], now[4100], def[4100];
    int ours = json_object_get(f->meta, "hpt/format") != NULL;
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        if (!must_match(i)) continue;
        snprintf(name, sizeof name, "hpt/config/%s", hpt__options_key(i));
        const char *was = json_string_value(json_object_get(f->meta, name));
        option_text(s, i, now, sizeof now);
        /* a method's key that is younger than the file: the run was as its default is */
        if (!was && ours && hpt__options_other_method(i, "")) {
            hpt__options_get(NULL, hpt__options_key(i), def, sizeof def, NULL);
            was = def;
        }
        if (was && strcmp(was, now))
            return hpt__fail(HPT_ERR_MISMATCH, "option %s was %.100s in the run and is %.100s now", hpt__options_key(i),
                             was, now);
    }
    snprintf(now, sizeof now, "%016llx", (unsigned long long)s->fingerprint);
    const char *data = json_string_value(json_object_get(f->meta, "hpt/data"));
    if (data && s->ds && strcmp(data, now))
        return hpt__fail(HPT_ERR_MISMATCH, "the data set is not the one of the run (names, order or pixels differ)");
    return HPT_OK;
}

/* Rows and numbers beside the networks, checked against the session's. Rows go into h as they lie on the device. */
static hpt_status read_rows(const parts *p, hpt__copy *h, int i) {
    const hpt__state *x = &h->item[i];
    const hpt__ftensor *rows = beside(p, x->name);
    if (!rows)
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "no %s beside an encoder_q inside: weights alone, load them with hpt_model_load() to start a stage",
            x->name);
    if (rows->ndim != 2 || rows->shape[0] != x->d || rows->shape[1] != x->n)
        return hpt__fail(HPT_ERR_MISMATCH, "the %s is %lldx%lld, not %lldx%lld: set moco_dim=%lld moco_k=%lld", x->name,
                         (long long)rows->shape[0], (long long)rows->shape[1], (long long)x->d, (long long)x->n,
                         (long long)rows->shape[0], (long long)rows->shape[1]);
    float *outside = hpt__alloc(sizeof *outside * rows->count);
    if (!outside) return hpt__fail_memory(rows->count * 4);
    hpt_status st = hpt__ftensor_read(rows, outside);
    for (int64_t k = 0; !st && k < x->n; k++)
        for (int64_t j = 0; j < x->d; j++) h->rows[i][k * x->d + j] = outside[j * x->n + k];
    hpt__free(outside);
    return st;
}
static hpt_status read_number(const parts *p, hpt__copy *h, int i) {
    const hpt__state *x = &h->item[i];
    const hpt__ftensor *f = beside(p, x->name);
    float at = 0;
    if (!f)
        return hpt__fail(HPT_ERR_MISMATCH,
                         "no %s beside an encoder_q inside: weights alone, load them with hpt_model_load() to start a "
                         "stage", x->name);
    if (f->count == 1) HPT_TRY(hpt__ftensor_read(f, &at));
    if (f->count != 1 || !(at >= 0 && at < (float)x->limit))
        return hpt__fail(HPT_ERR_FORMAT, "%s is outside the queue", x->name);
    h->number[i] = (int64_t)at;
    return HPT_OK;
}
static void read_note(const parts *p, hpt__copy *h, int i) {
    const hpt__state *x = &h->item[i];
    char name[96];
    snprintf(name, sizeof name, "hpt/%s", x->name);
    h->number[i] = meta_int(p->f, name, x->limit);
    if (h->number[i] < 0 || h->number[i] > x->limit) h->number[i] = x->limit;
}
static hpt_status read_beside(const parts *p, hpt__copy *h) {
    for (int i = 0; i < h->n; i++) {
        if (h->item[i].kind == HPT__STATE_ROWS) HPT_TRY(read_rows(p, h, i));
        if (h->item[i].kind == HPT__STATE_NUMBER) HPT_TRY(read_number(p, h, i));
        if (h->item[i].kind == HPT__STATE_NOTE) read_note(p, h, i);
    }
    return HPT_OK;
}

/* Updates that so many batches made. */
static hpt_status whole_updates(int64_t batches, uint64_t of, int64_t *step) {
    *step = batches / (int64_t)of;
    if (*step * (int64_t)of == batches) return HPT_OK;
    return hpt__fail(HPT_ERR_MISMATCH, "the run is at batch %lld, which is in the middle of an update of accumulate=%d",
                     (long long)batches, (int)of);
}

/* Steps that the run has done. Files of facebookresearch/moco count epochs, without the images of a last batch that is
 * not full; those of OpenSelfSup have the number itself. */
static hpt_status steps_done(const hpt__tensorfile *f, const hpt_session *s, int64_t *step) {
    int64_t epoch = meta_int(f, "epoch", -1);
    uint64_t of = (uint64_t)hpt__trainer_parts(&s->trainer);
    if ((*step = meta_int(f, "hpt/step", -1)) >= 0) return HPT_OK;
    if ((*step = meta_int(f, "meta/iter", -1)) >= 0) return whole_updates(*step, of, step);
    if (epoch < 0 || epoch > 1000000000)
        return hpt__fail(HPT_ERR_MISMATCH, "neither a step nor an epoch inside: where the run was is not known");
    if (epoch && !s->ds)
        return hpt__fail(HPT_ERR_MISMATCH,
                         "the file counts epochs (%lld), which a session without a data set cannot tell in steps",
                         (long long)epoch);
    uint64_t batch = (uint64_t)hpt__trainer_own(&s->trainer) * (uint64_t)s->trainer.comm->size;
    uint64_t images = s->ds ? s->ds->count : 0;
    return whole_updates((int64_t)(images >= batch ? (uint64_t)epoch * (images / batch)
                                                   : ((uint64_t)epoch * images + batch - 1) / batch), of, step);
}

/* The scores of a watched run. */
static void take_monitor(hpt_session *s, const hpt__tensorfile *f) {
    hpt__monitor *w = &s->monitor;
    w->score = s->info.monitor = meta_number(f, "hpt/monitor_score");
    w->best = s->info.monitor_best = meta_number(f, "hpt/monitor_best");
    w->at = s->info.monitor_step = (uint64_t)meta_number(f, "hpt/monitor_at");
    w->best_at = s->info.monitor_best_step = (uint64_t)meta_number(f, "hpt/monitor_best_at");
    w->misses = (uint64_t)meta_number(f, "hpt/monitor_misses");
    w->stopped = s->info.stopped = meta_number(f, "hpt/monitor_stopped") > 0;
}

/* The weights of the best score, and the classifier that went with them. */
static hpt_status read_best(hpt_session *s, const parts *p) {
    static const char place[] = "hpt/monitor_weights/";
    hpt__monitor *w = &s->monitor;
    int labels = s->trainer.method->labels;
    char name[sizeof place + HPT__NAME];
    const char *was = json_string_value(json_object_get(p->f->meta, "hpt/monitor_of"));
    if (was && strcmp(was, w->what))
        return hpt__fail(HPT_ERR_MISMATCH, "the scores of the run were %.40s and would be %s now", was, w->what);
    memcpy(w->params, s->model->params, s->model->net.n_params * 4);
    HPT_TRY(read_net(p, network_at(&p->nets, place), "monitor_weights", &s->model->net, !labels, w->params, w->stats));
    if (!labels) return HPT_OK;
    hpt__classifier_fini(&w->fc);
    HPT_TRY(hpt__classifier_copy(&w->fc, &s->taught.fc));
    for (int i = 0; i < w->fc.net.n_tensors; i++) {
        const hpt__tensor *x = &w->fc.net.tensors[i];
        snprintf(name, sizeof name, "%s%s", place, x->name);
        const hpt__ftensor *found = hpt__tensorfile_find(p->f, name);
        if (!found || !hpt__names_fits(found, x))
            return hpt__fail(HPT_ERR_MISMATCH, "'%s' is %s", name, found ? "of another shape" : "missing");
        HPT_TRY(hpt__ftensor_read(found, w->fc.params + x->offset));
    }
    return HPT_OK;
}

static hpt_status resume_from(hpt_session *s, const parts *p, hpt__copy *h) {
    const hpt__tensorfile *f = p->f;
    hpt__trainer *t = &s->trainer;
    int64_t format = meta_int(f, "hpt/format", 0), step = 0;
    if (format > FORMAT)
        return hpt__fail(HPT_ERR_VERSION, "checkpoint format %lld is newer than this library", (long long)format);
    if (f->values_cut)
        return hpt__fail(HPT_ERR_FORMAT,
                         "more values than a file of this size may hold: where the run was is not certain");
    const char *method = json_string_value(json_object_get(f->meta, "hpt/config/method"));
    if (method && strcmp(method, t->method->name))
        return hpt__fail(HPT_ERR_MISMATCH, "the run was made with method=%.40s and is resumed with method=%s", method,
                         t->method->name);
    HPT_TRY(read_beside(p, h));
    HPT_TRY(check_config(f, s));
    HPT_TRY(steps_done(f, s, &step));
    if ((uint64_t)step > t->spec.schedule.total)
        return hpt__fail(HPT_ERR_MISMATCH, "the run is at step %lld, after the %llu of this session", (long long)step,
                         (unsigned long long)t->spec.schedule.total);
    for (int i = 0; i < h->n; i++)
        if (h->item[i].kind == HPT__STATE_NETWORK) HPT_TRY(read_network(p, h, i, t->net));
    HPT_TRY(read_optimizer(f, s, h, (uint64_t)step));
    if (s->monitor.val && meta_number(f, "hpt/monitor_best_at") > 0) {
        HPT_TRY(read_best(s, p));
        take_monitor(s, f);
    }
    /* all is read and fits: only now does the session change */
    /* those of the run, to the last bit; with the same options and data they are still of the data, or given */
    hpt__pixels mine = s->pixels;
    hpt__file_pixels(f, &s->pixels);
    for (int i = 0; i < 2; i++)
        if (!strcmp(mine.from[i], "data") || !strcmp(mine.from[i], "given")) s->pixels.from[i] = mine.from[i];
    s->pixels.images = mine.images;
    s->pixels.of = mine.of;
    hpt_status st = hpt__copy_give(h, NULL);
    t->prepared = 0;
    t->step = (uint64_t)step;
    s->skipped = (uint32_t)meta_int(f, "hpt/skipped", 0);
    s->info.step = t->step;
    s->info.epoch = hpt__session_epoch(s);
    if (t->step) s->info.lr = hpt__schedule_lr(&t->spec.schedule, t->step - 1);
    s->info.skipped = s->skipped;
    t->method->report(t, &s->info);
    s->synced = 0;
    return st;
}

hpt_status hpt__session_resume(hpt_session *s, const char *path) {
    HPT__TURN(s->ctx);
    hpt__trainer *t = &s->trainer;
    hpt__tensorfile f;
    hpt__copy h;
    if (t->step || s->feed.loader)
        return hpt__fail(HPT_ERR_STATE, "the session has already run; resume needs a fresh one");
    if (t->spec.dtype == HPT__F64) return hpt__fail(HPT_ERR_UNSUPPORTED, "an fp64 session has no checkpoint");
    HPT_TRY(hpt__tensorfile_open(&f, path));
    hpt_status st = copy_open(&h, t);
    parts p = {0};
    if (!st) st = parts_open(&p, &f, &h, t->net);
    if (!st) st = resume_from(s, &p, &h);
    hpt__copy_close(&h);
    hpt__networks_fini(&p.nets);
    hpt__tensorfile_close(&f);
    if (st) return hpt__fail_context(st, "%.400s", path);
    if (t->step < t->spec.schedule.total && !s->monitor.stopped) return HPT_OK;
    HPT_TRY(hpt__session_sync(s));
    if (s->monitor.val && OPT_I(&s->opt, monitor_restore)) hpt__monitor_restore(&s->monitor, s->model);
    return HPT_OK;
}

/* key: the follower's network; queue: what stands beside. */
hpt_status hpt__session_carry(hpt_session *s, const char *path, int key, int queue) {
    hpt__trainer *t = &s->trainer;
    hpt__tensorfile f;
    parts p = {0};
    hpt__copy h;
    uint8_t pick[HPT__STATES] = {0};
    if (!*path)
        return hpt__fail(HPT_ERR_OPTION,
                         "option 'carry_from': carry_key and carry_queue need the checkpoint of the stage before");
    HPT_TRY(hpt__tensorfile_open(&f, path));
    hpt_status st = copy_open(&h, t);
    if (!st) st = parts_open(&p, &f, &h, t->net);
    if (!st && queue) st = read_beside(&p, &h);
    for (int i = 0; i < h.n && !st; i++) {
        int network = h.item[i].kind == HPT__STATE_NETWORK, follower = network && h.item[i].weights->ahead;
        pick[i] = network ? key && follower : (uint8_t)queue;
        if (network && pick[i]) st = read_network(&p, &h, i, t->net);
    }
    if (!st) st = hpt__copy_give(&h, pick);
    t->prepared = 0;
    if (!st) t->method->report(t, &s->info);        /* the queue is filled now */
    hpt__copy_close(&h);
    hpt__networks_fini(&p.nets);
    hpt__tensorfile_close(&f);
    return st ? hpt__fail_context(st, "%.400s", path) : HPT_OK;
}

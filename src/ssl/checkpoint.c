/* SPDX-License-Identifier: MIT
 * Layout of a session's checkpoint (docs/checkpoints.md): the one of facebookresearch/moco
 *   {epoch, arch, state_dict: {module.queue, module.queue_ptr, module.encoder_q.*, module.encoder_k.*}, optimizer: {state, param_groups}}
 * and beside it "hpt": {format, version, step, config, ...} with all that a bit-identical continuation needs. */
#include "ssl/checkpoint.h"
#include "core/alloc.h"
#include "core/json.h"
#include "core/number.h"
#include "io/safetensors.h"
#include "io/torch_write.h"
#include "ssl/names.h"
#include "ssl/session.h"
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };
static const int64_t scalar_shape[1] = {1};

/* Tensors of one network under a prefix, num_batches_tracked after each running_var as torch has it. */
static void put_net(hpt__torch_out *t, const hpt__net *net, const char *prefix, const float *params, const float *stats, const int64_t *batches, int head) {
    char name[160];
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        if (x->head && !head) continue;
        snprintf(name, sizeof name, "%s%s", prefix, x->name);
        hpt__tw_str(t, name);
        hpt__tw_tensor_f32(t, (hpt__is_stat(x) ? stats : params) + x->offset, x->count, x->ndim, x->shape, NULL);
        if (x->kind == HPT__RUN_VAR) {
            snprintf(name, sizeof name, "%s%.*snum_batches_tracked", prefix, (int)(strlen(x->name) - strlen("running_var")), x->name);
            hpt__tw_str(t, name);
            hpt__tw_tensor_i64(t, batches, 1, 0, scalar_shape);
        }
    }
}

static void put_arch(hpt__torch_out *t, const hpt__arch *a) {
    hpt__tw_str(t, "arch"); hpt__tw_str(t, a->name);
    hpt__tw_str(t, "width"); hpt__tw_int(t, a->width);
    hpt__tw_str(t, "stem"); hpt__tw_str(t, a->small_stem ? "small" : "imagenet");
    hpt__tw_str(t, "moco_dim"); hpt__tw_int(t, a->dim);
    hpt__tw_str(t, "mlp"); hpt__tw_int(t, a->mlp);
}

/* The normalisation that the weights were trained with, in every file: metadata of safetensors, record hpt.json of a torch zip, entries of a
 * session's "hpt". */
static int note_pixels(json_t *to, const hpt__pixels *p) {        /* not 0: out of memory */
    char mean[96], std[96];
    hpt__pixels_text(p->mean, mean);
    hpt__pixels_text(p->std, std);
    return json_object_set_new(to, "pixel_mean", json_string(mean)) | json_object_set_new(to, "pixel_std", json_string(std));
}
static void put_pixels(hpt__torch_out *t, const hpt__pixels *p) {
    char text[96];
    hpt__pixels_text(p->mean, text);
    hpt__tw_str(t, "pixel_mean"); hpt__tw_str(t, text);
    hpt__pixels_text(p->std, text);
    hpt__tw_str(t, "pixel_std"); hpt__tw_str(t, text);
}
int hpt__file_pixels(const hpt__tensorfile *f, hpt__pixels *p) {
    static const char *const keys[2][2] = {{"hpt/pixel_mean", "hpt/pixel_std"}, {"pixel_mean", "pixel_std"}};
    for (int i = 0; i < 2; i++)
        if (hpt__pixels_parse(json_string_value(json_object_get(f->meta, keys[i][0])), json_string_value(json_object_get(f->meta, keys[i][1])), p)) return 1;
    return 0;
}

static hpt_status save_safetensors(hpt_model *m, const char *path) {
    const hpt__net *net = &m->net;
    char arch[200];
    hpt__st_item *items = hpt__calloc((size_t)net->n_tensors, sizeof *items);
    if (!items) return hpt__fail_memory(sizeof *items * (size_t)net->n_tensors);
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        items[i] = (hpt__st_item){.name = t->name, .ndim = t->ndim, .data = hpt__model_tensor(m, i), .count = t->count};
        memcpy(items[i].shape, t->shape, sizeof items[i].shape);
    }
    json_t *meta = json_object();
    snprintf(arch, sizeof arch, "%s width=%d stem=%s moco_dim=%d mlp=%d", net->arch.name, net->arch.width, net->arch.small_stem ? "small" : "imagenet",
             net->arch.dim, net->arch.mlp);
    int lost = json_object_set_new(meta, "arch", json_string(arch)) | note_pixels(meta, &m->pixels);
    hpt_status st = HPT_OK;
    if (lost) {
        json_decref(meta);
        st = hpt__fail_memory(sizeof arch);
    } else st = hpt__safetensors_write(path, items, (uint32_t)net->n_tensors, meta);
    hpt__free(items);
    return st;
}

hpt_status hpt__model_save(hpt_model *m, const char *path, const char *format) {
    static const int64_t batches = 0;
    hpt__torch_out t;
    size_t n = strlen(path);
    if (!format) format = n > 12 && !strcmp(path + n - 12, ".safetensors") ? "safetensors" : "torchvision";
    if (!strcmp(format, "safetensors")) return save_safetensors(m, path);
    int moco = !strcmp(format, "moco"), oss = !strcmp(format, "openselfsup");
    if (!moco && !oss && strcmp(format, "torchvision"))
        return hpt__fail(HPT_ERR_ARGUMENT, "format '%.40s' is none of torchvision, moco, openselfsup, safetensors", format);
    json_t *note = json_pack("{s:s}", "version", hpt_version_string());
    char *text = note_pixels(note, &m->pixels) ? NULL : hpt__json_dumps(note, 0);
    json_decref(note);
    if (!text) return hpt__fail_memory(sizeof *note);
    hpt__tw_begin(&t);
    if (moco || oss) {
        hpt__tw_dict(&t, 0);
        if (moco) hpt__tw_str(&t, "arch"), hpt__tw_str(&t, m->net.arch.name);
        hpt__tw_str(&t, "state_dict");
    }
    hpt__tw_dict(&t, 1);
    put_net(&t, &m->net, moco ? "module.encoder_q." : "", m->params, m->stats, &batches, moco);
    hpt__tw_end_dict(&t);
    if (oss) hpt__tw_str(&t, "author"), hpt__tw_str(&t, "OpenSelfSup");
    if (moco || oss) hpt__tw_end_dict(&t);
    hpt__tw_note(&t, text);
    hpt__free(text);
    return hpt__tw_finish(&t, path);
}

/* ---- session ---- */

/* Options that must be equal for a resumed run. */
static int must_match(int opt) { return hpt__options_applies(opt, 'P') && hpt__options_role(opt) == HPT__DECIDES; }

/* Options whose "auto" the checkpoint replaces by what it meant, so that the same run is recognised. */
static void option_text(const hpt_session *s, int opt, char *text, size_t size) {
    const hpt__net *net = s->moco.net;
    if (opt == HPT__OPT_arch) snprintf(text, size, "%s", net->arch.name);
    else if (opt == HPT__OPT_width) snprintf(text, size, "%d", net->arch.width);
    else if (opt == HPT__OPT_stem) snprintf(text, size, "%s", net->arch.small_stem ? "small" : "imagenet");
    else if (opt == HPT__OPT_precision) snprintf(text, size, "%s", hpt__dtype_name(s->moco.spec.dtype));
    else hpt__options_get(&s->opt, hpt__options_key(opt), text, size, NULL);
}

typedef struct host_copy { float *q, *k, *m1, *m2, *sq, *sk, *queue; } host_copy;
static void host_free(host_copy *h) {
    hpt__free(h->q); hpt__free(h->k); hpt__free(h->m1); hpt__free(h->m2); hpt__free(h->sq); hpt__free(h->sk); hpt__free(h->queue);
}
static hpt_status host_alloc(host_copy *h, const hpt__net *net, int second) {
    memset(h, 0, sizeof *h);
    size_t n = net->n_params;
    h->q = hpt__calloc(n, 4); h->k = hpt__calloc(n, 4); h->m1 = hpt__calloc(n, 4); h->m2 = second ? hpt__calloc(n, 4) : NULL;
    h->sq = hpt__calloc(net->n_stats, 4); h->sk = hpt__calloc(net->n_stats, 4);
    if (h->q && h->k && h->m1 && (h->m2 || !second) && h->sq && h->sk) return HPT_OK;
    host_free(h);
    return hpt__fail_memory(n * 4);
}

static void put_optimizer(hpt__torch_out *t, hpt_session *s, const host_copy *h) {
    const hpt__net *net = s->moco.net;
    const hpt__moco_spec *sp = &s->moco.spec;
    int id = 0;
    hpt__tw_dict(t, 0);
    hpt__tw_str(t, "state");
    hpt__tw_dict(t, 0);
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        if (hpt__is_stat(x)) continue;
        if (s->moco.trainable[i] && s->moco.step) {
            hpt__tw_int(t, id);
            hpt__tw_dict(t, 0);
            hpt__tw_str(t, (sp->rule == HPT__ADAMW) ? "exp_avg" : "momentum_buffer");
            hpt__tw_tensor_f32(t, h->m1 + x->offset, x->count, x->ndim, x->shape, NULL);
            if ((sp->rule == HPT__ADAMW)) {
                hpt__tw_str(t, "exp_avg_sq");
                hpt__tw_tensor_f32(t, h->m2 + x->offset, x->count, x->ndim, x->shape, NULL);
                hpt__tw_str(t, "step");
                hpt__tw_int(t, (int64_t)s->moco.step);
            }
            hpt__tw_end_dict(t);
        }
        id++;
    }
    hpt__tw_end_dict(t);
    hpt__tw_str(t, "param_groups");
    hpt__tw_list(t);
    hpt__tw_dict(t, 0);
    hpt__tw_str(t, "lr"); hpt__tw_float(t, s->info.lr);
    hpt__tw_str(t, "weight_decay"); hpt__tw_float(t, sp->weight_decay);
    if (!(sp->rule == HPT__ADAMW)) {
        hpt__tw_str(t, "momentum"); hpt__tw_float(t, sp->momentum);
        hpt__tw_str(t, "dampening"); hpt__tw_int(t, 0);
        hpt__tw_str(t, "nesterov"); hpt__tw_bool(t, 0);
    }
    hpt__tw_str(t, "params");
    hpt__tw_list(t);
    for (int i = 0; i < 2 * id; i++) hpt__tw_int(t, i);     /* both encoders are counted, as PyTorch does for the wrapper */
    hpt__tw_end_list(t);
    hpt__tw_end_dict(t);
    hpt__tw_end_list(t);
    hpt__tw_end_dict(t);
}

/* Scores so far and the weights of the best. */
static void put_monitor(hpt__torch_out *t, const hpt_session *s, const int64_t *batches) {
    const hpt__monitor *w = &s->monitor;
    const struct { const char *key; double v; } all[] = {{"score", w->score}, {"best", w->best}, {"at", (double)w->at}, {"best_at", (double)w->best_at}, {"misses", (double)w->misses}, {"stopped", w->stopped}};
    char key[32], text[40];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(key, sizeof key, "monitor_%s", all[i].key);
        hpt__number_print(all[i].v, text, sizeof text);
        hpt__tw_str(t, key);
        hpt__tw_str(t, text);
    }
    hpt__tw_str(t, "monitor_weights");
    hpt__tw_dict(t, 0);
    put_net(t, s->moco.net, "", w->params, w->stats, batches, 1);
    hpt__tw_end_dict(t);
}
static double meta_number(const hpt__tensorfile *f, const char *name) {
    const char *text = json_string_value(json_object_get(f->meta, name));
    double v = 0;
    return text && hpt__number_parse(text, &v) ? v : 0;
}

hpt_status hpt__session_save(hpt_session *s, const char *path) {
    HPT__TURN(s->ctx);
    hpt__moco *m = &s->moco;
    const hpt__net *net = m->net;
    host_copy h;
    hpt__torch_out t;
    if (m->spec.dtype == HPT__F64) return hpt__fail(HPT_ERR_UNSUPPORTED, "an fp64 session has no checkpoint (it exists for parity tests)");
    if (s->dead && !m->be->host_memory)
        return hpt__fail(HPT_ERR_STATE, "a step failed half way on the device, so that the weights may be wrong: resume from the last checkpoint (%.800s)", s->dead_text);
    HPT_TRY(host_alloc(&h, net, (m->spec.rule == HPT__ADAMW)));
    size_t queue_bytes = (size_t)m->spec.queue * (size_t)net->arch.dim * 4;
    if (!(h.queue = hpt__alloc(queue_bytes))) {
        host_free(&h);
        return hpt__fail_memory(queue_bytes);
    }
    m->be->enter(m->dev);
    m->be->download(m->dev, h.queue, m->queue, queue_bytes);
    hpt__weights_download(m->be, m->dev, m->spec.dtype, net, m->q, h.q, 0);
    hpt__weights_download(m->be, m->dev, m->spec.dtype, net, m->k, h.k, 0);
    hpt__weights_download(m->be, m->dev, m->spec.dtype, net, m->moment1, h.m1, 0);
    if (h.m2) hpt__weights_download(m->be, m->dev, m->spec.dtype, net, m->moment2, h.m2, 0);
    hpt__weights_download(m->be, m->dev, m->spec.dtype, net, m->stats_q, h.sq, 1);
    hpt__weights_download(m->be, m->dev, m->spec.dtype, net, m->stats_k, h.sk, 1);
    hpt_status read = m->be->sync(m->dev);
    m->be->leave(m->dev);
    if (read) {
        host_free(&h);
        return read;
    }
    int64_t batches = (int64_t)m->step, ptr = m->ptr, d = net->arch.dim;
    const int64_t queue_shape[2] = {d, m->spec.queue}, queue_stride[2] = {1, d};
    hpt__tw_begin(&t);
    hpt__tw_dict(&t, 0);
    hpt__tw_str(&t, "epoch"); hpt__tw_int(&t, m->step ? (int64_t)s->info.epoch + 1 : 0);
    hpt__tw_str(&t, "arch"); hpt__tw_str(&t, net->arch.name);
    hpt__tw_str(&t, "state_dict");
    hpt__tw_dict(&t, 1);
    hpt__tw_str(&t, "module.queue");
    hpt__tw_tensor_f32(&t, h.queue, (uint64_t)(d * m->spec.queue), 2, queue_shape, queue_stride);
    hpt__tw_str(&t, "module.queue_ptr");
    hpt__tw_tensor_i64(&t, &ptr, 1, 1, scalar_shape);
    put_net(&t, net, "module.encoder_q.", h.q, h.sq, &batches, 1);
    put_net(&t, net, "module.encoder_k.", h.k, h.sk, &batches, 1);
    hpt__tw_end_dict(&t);
    hpt__tw_str(&t, "optimizer");
    put_optimizer(&t, s, &h);
    hpt__tw_str(&t, "hpt");
    hpt__tw_dict(&t, 0);
    hpt__tw_str(&t, "format"); hpt__tw_int(&t, FORMAT);
    hpt__tw_str(&t, "version"); hpt__tw_str(&t, hpt_version_string());
    hpt__tw_str(&t, "backend"); hpt__tw_str(&t, m->be->name);
    hpt__tw_str(&t, "step"); hpt__tw_int(&t, (int64_t)m->step);
    hpt__tw_str(&t, "filled"); hpt__tw_int(&t, m->filled);
    hpt__tw_str(&t, "skipped"); hpt__tw_int(&t, s->skipped);
    char text[4100];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->fingerprint);
    hpt__tw_str(&t, "data"); hpt__tw_str(&t, text);
    put_arch(&t, &net->arch);
    put_pixels(&t, &s->pixels);
    if (s->monitor.best_at) put_monitor(&t, s, &batches);
    hpt__tw_str(&t, "config");
    hpt__tw_dict(&t, 0);
    for (int i = 0; i < HPT__OPT_COUNT; i++)
        if (hpt__options_applies(i, 'P')) {
            option_text(s, i, text, sizeof text);
            hpt__tw_str(&t, hpt__options_key(i));
            hpt__tw_str(&t, text);
        }
    hpt__tw_end_dict(&t);
    hpt__tw_end_dict(&t);
    hpt__tw_end_dict(&t);
    hpt_status st = hpt__tw_finish(&t, path);
    host_free(&h);
    return st ? st : hpt__session_sync(s);
}

/* ---- reading ---- */

/* The parts of a file in the layout of facebookresearch/moco, whatever wraps the module (DistributedDataParallel,
 * torch.compile) or its encoders. */
typedef struct parts {
    const hpt__tensorfile *f;
    hpt__networks nets;
    const hpt__candidate *q, *k;
    int base; /* what stands before "encoder_q.", "queue": so many bytes of q's prefix */
} parts;

static const hpt__candidate *network_at(const hpt__networks *r, const char *prefix) {
    for (int i = 0; i < r->n; i++)
        if ((size_t)r->c[i].prefix_len == strlen(prefix) && !memcmp(r->c[i].prefix, prefix, strlen(prefix)))
            return &r->c[i];
    return NULL;
}
static hpt_status parts_open(parts *p, const hpt__tensorfile *f) {
    static const char word[] = "encoder_q.";
    char key[600];
    *p = (parts){.f = f};
    HPT_TRY(hpt__recognise(f, &p->nets));
    for (int i = 0; i < p->nets.n && !p->k; i++) {
        const hpt__candidate *c = &p->nets.c[i];
        for (int at = c->prefix_len - (int)sizeof word + 1; at >= 0 && p->q != c; at--)
            if (!strncmp(c->prefix + at, word, sizeof word - 1) && (!at || strchr("./", c->prefix[at - 1])))
                p->q = c, p->base = at;
        if (p->q != c) continue;
        snprintf(key, sizeof key, "%.*sencoder_k.%.*s", p->base, c->prefix,
                 c->prefix_len - p->base - (int)sizeof word + 1, c->prefix + p->base + sizeof word - 1);
        p->k = network_at(&p->nets, key);
    }
    return HPT_OK;
}
static hpt_status read_net(const parts *p, const hpt__candidate *c, const char *what, const hpt__net *net,
                           float *params, float *stats) {
    if (!c) return hpt__fail(HPT_ERR_MISMATCH, "no %s inside that libhpt knows", what);
    json_t *report = json_object();
    hpt_status st = hpt__names_read(&p->nets, c, NULL, net, 1, params, stats, report);
    json_decref(report);
    return st ? hpt__fail_context(st, "%s", what) : HPT_OK;
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
static hpt_status read_optimizer(const hpt__tensorfile *f, hpt_session *s, host_copy *h, uint64_t step) {
    const hpt__net *net = s->moco.net;
    int adamw = s->moco.spec.rule == HPT__ADAMW, ours = json_object_get(f->meta, "hpt/format") != NULL, id = 0,
        found = 0;
    const char *first = adamw ? "exp_avg" : "momentum_buffer";
    char name[96];
    if (!ours && meta_int(f, "optimizer/param_groups/1/params/0", -1) >= 0)
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "the optimizer has more than one group of parameters: the file does not say which buffer belongs to which");
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        if (hpt__is_stat(t)) continue;
        for (int second = 0; s->moco.trainable[i] && step && second <= adamw; second++) {
            snprintf(name, sizeof name, "optimizer/state/%lld/%s", (long long)optimizer_key(f, id),
                     second ? "exp_avg_sq" : first);
            const hpt__ftensor *x = hpt__tensorfile_find(f, name);
            if (!x && !ours) continue;
            if (!x || !(x->unreadable || hpt__names_fits(x, t)))
                return hpt__fail(HPT_ERR_MISMATCH, "'%s' (%s) is %s", name, t->name,
                                 x ? "of another shape" : "missing");
            HPT_TRY(hpt__ftensor_read(x, (second ? h->m2 : h->m1) + t->offset));
            found++;
        }
        id++;
    }
    if (step && !found && (adamw || s->moco.spec.momentum > 0))
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "the optimizer's state has no %s: the run had another optimizer, or the file was stripped (then load it to start a new run)",
            first);
    return HPT_OK;
}

static hpt_status check_config(const hpt__tensorfile *f, hpt_session *s) {
    char name[96], now[4100];
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        if (!must_match(i)) continue;
        snprintf(name, sizeof name, "hpt/config/%s", hpt__options_key(i));
        const char *was = json_string_value(json_object_get(f->meta, name));
        option_text(s, i, now, sizeof now);
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

/* The queue and its pointer, checked against the session's; keys (dim, K) is freed by the caller. */
static hpt_status read_queue(const parts *p, const hpt__moco *m, float **keys, int64_t *ptr) {
    const hpt__ftensor *queue = p->q ? hpt__networks_find(&p->nets, p->q->prefix, p->base, "queue") : NULL;
    const hpt__ftensor *qptr = p->q ? hpt__networks_find(&p->nets, p->q->prefix, p->base, "queue_ptr") : NULL;
    float at = 0;
    *keys = NULL;
    if (!queue || !qptr)
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "no queue beside an encoder_q inside: weights alone, load them with hpt_model_load() to start a stage");
    if (queue->ndim != 2 || queue->shape[0] != m->net->arch.dim || queue->shape[1] != m->spec.queue)
        return hpt__fail(HPT_ERR_MISMATCH, "the queue is %lldx%lld, not %dx%lld: set moco_dim=%lld moco_k=%lld",
                         (long long)queue->shape[0], (long long)queue->shape[1], m->net->arch.dim,
                         (long long)m->spec.queue, (long long)queue->shape[0], (long long)queue->shape[1]);
    if (qptr->count == 1) HPT_TRY(hpt__ftensor_read(qptr, &at));
    if (qptr->count != 1 || !(at >= 0 && at < (float)m->spec.queue))
        return hpt__fail(HPT_ERR_FORMAT, "queue_ptr is outside the queue");
    *ptr = (int64_t)at;
    if (!(*keys = hpt__alloc(sizeof **keys * queue->count))) return hpt__fail_memory(queue->count * 4);
    hpt_status st = hpt__ftensor_read(queue, *keys);
    if (st) {
        hpt__free(*keys);
        *keys = NULL;
    }
    return st;
}
static void set_queue(hpt_session *s, const hpt__tensorfile *f, const float *keys, int64_t ptr) {
    hpt__moco *m = &s->moco;
    hpt__session_tensor(s, "queue", NULL, keys, (uint64_t)m->net->arch.dim * (uint64_t)m->spec.queue);
    m->ptr = ptr;
    m->filled = meta_int(f, "hpt/filled", m->spec.queue);
    if (m->filled < 0 || m->filled > m->spec.queue) m->filled = m->spec.queue;
}

/* Steps that the run has done. Files of facebookresearch/moco count epochs, without the images of a last batch that is
 * not full; those of OpenSelfSup have the number itself. */
static hpt_status steps_done(const hpt__tensorfile *f, const hpt_session *s, int64_t *step) {
    int64_t epoch = meta_int(f, "epoch", -1);
    *step = meta_int(f, "hpt/step", meta_int(f, "meta/iter", -1));
    if (*step >= 0) return HPT_OK;
    if (epoch < 0 || epoch > 1000000000)
        return hpt__fail(HPT_ERR_MISMATCH, "neither a step nor an epoch inside: where the run was is not known");
    if (epoch && !s->ds)
        return hpt__fail(HPT_ERR_MISMATCH,
                         "the file counts epochs (%lld), which a session without a data set cannot tell in steps",
                         (long long)epoch);
    uint64_t batch = (uint64_t)s->moco.spec.batch * (uint64_t)s->moco.comm->size, images = s->ds ? s->ds->count : 0;
    *step = (int64_t)(images >= batch ? (uint64_t)epoch * (images / batch)
                                      : ((uint64_t)epoch * images + batch - 1) / batch);
    return HPT_OK;
}

static hpt_status resume_from(hpt_session *s, const parts *p) {
    const hpt__tensorfile *f = p->f;
    hpt__moco *m = &s->moco;
    const hpt__net *net = m->net;
    host_copy h;
    float *keys;
    int64_t ptr, format = meta_int(f, "hpt/format", 0), step = 0;
    if (format > FORMAT) return hpt__fail(HPT_ERR_VERSION, "checkpoint format %lld is newer than this library", (long long)format);
    if (f->values_cut) return hpt__fail(HPT_ERR_FORMAT, "more values than a file of this size may hold: where the run was is not certain");
    HPT_TRY(read_queue(p, m, &keys, &ptr));
    hpt_status st = check_config(f, s);
    if (!st) st = steps_done(f, s, &step);
    if (!st && (uint64_t)step > m->spec.schedule.total) st = hpt__fail(HPT_ERR_MISMATCH, "the run is at step %lld, after the %llu of this session", (long long)step, (unsigned long long)m->spec.schedule.total);
    if (!st) st = host_alloc(&h, net, (m->spec.rule == HPT__ADAMW));
    if (st) {
        hpt__free(keys);
        return st;
    }
    if (!st) st = read_net(p, p->q, "encoder_q", net, h.q, h.sq);
    if (!st) st = read_net(p, p->k, "encoder_k", net, h.k, h.sk);
    if (!st) st = read_optimizer(f, s, &h, (uint64_t)step);
    int watched = s->monitor.train && meta_number(f, "hpt/monitor_best_at") > 0;
    if (!st && watched) st = read_net(p, network_at(&p->nets, "hpt/monitor_weights/"), "monitor_weights", net, s->monitor.params, s->monitor.stats);
    if (!st && watched) {
        hpt__monitor *w = &s->monitor;
        w->score = s->info.monitor = meta_number(f, "hpt/monitor_score");
        w->best = s->info.monitor_best = meta_number(f, "hpt/monitor_best");
        w->at = s->info.monitor_step = (uint64_t)meta_number(f, "hpt/monitor_at");
        w->best_at = s->info.monitor_best_step = (uint64_t)meta_number(f, "hpt/monitor_best_at");
        w->misses = (uint64_t)meta_number(f, "hpt/monitor_misses");
        w->stopped = s->info.stopped = meta_number(f, "hpt/monitor_stopped") > 0;
    }
    if (!st) {              /* all is read and fits: only now does the session change */
        set_queue(s, f, keys, ptr);
        hpt__file_pixels(f, &s->pixels);        /* those of the run, to the last bit */
        m->be->enter(m->dev);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, h.q, m->q, 0);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, h.k, m->k, 0);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, h.m1, m->moment1, 0);
        if (h.m2) hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, h.m2, m->moment2, 0);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, h.sq, m->stats_q, 1);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, net, h.sk, m->stats_k, 1);
        st = m->be->sync(m->dev);
        m->be->leave(m->dev);
        m->prepared = 0;
        m->step = (uint64_t)step;
        s->skipped = (uint32_t)meta_int(f, "hpt/skipped", 0);
        s->info.step = m->step;
        s->info.epoch = hpt__session_epoch(s);
        if (m->step) s->info.lr = hpt__schedule_lr(&m->spec.schedule, m->step - 1);
        s->info.skipped = s->skipped;
        s->info.queue_fill = (uint32_t)m->filled;
        s->synced = 0;
    }
    hpt__free(keys);
    host_free(&h);
    return st;
}

hpt_status hpt__session_resume(hpt_session *s, const char *path) {
    HPT__TURN(s->ctx);
    hpt__tensorfile f;
    if (s->moco.step || s->loader) return hpt__fail(HPT_ERR_STATE, "the session has already run; resume needs a fresh one");
    if (s->moco.spec.dtype == HPT__F64) return hpt__fail(HPT_ERR_UNSUPPORTED, "an fp64 session has no checkpoint");
    HPT_TRY(hpt__tensorfile_open(&f, path));
    parts p;
    hpt_status st = parts_open(&p, &f);
    if (!st) st = resume_from(s, &p);
    hpt__networks_fini(&p.nets);
    hpt__tensorfile_close(&f);
    if (st) return hpt__fail_context(st, "%.400s", path);
    if (s->moco.step < s->moco.spec.schedule.total && !s->monitor.stopped) return HPT_OK;
    HPT_TRY(hpt__session_sync(s));
    if (s->monitor.train && OPT_I(&s->opt, monitor_restore)) hpt__monitor_restore(&s->monitor, s->model);
    return HPT_OK;
}

hpt_status hpt__session_carry(hpt_session *s, const char *path, int key, int queue) {
    hpt__moco *m = &s->moco;
    hpt__tensorfile f;
    parts p;
    host_copy h = {0};
    float *keys = NULL;
    int64_t ptr = 0;
    if (!*path) return hpt__fail(HPT_ERR_OPTION, "option 'carry_from': carry_key and carry_queue need the checkpoint of the stage before");
    HPT_TRY(hpt__tensorfile_open(&f, path));
    hpt_status st = parts_open(&p, &f);
    if (!st && queue) st = read_queue(&p, m, &keys, &ptr);
    if (!st && key) st = host_alloc(&h, m->net, 0);
    if (!st && key) st = read_net(&p, p.k, "encoder_k", m->net, h.k, h.sk);
    if (!st && queue) set_queue(s, &f, keys, ptr);
    if (!st && key) {
        m->be->enter(m->dev);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, m->net, h.k, m->k, 0);
        hpt__weights_upload(m->be, m->dev, m->spec.dtype, m->net, h.sk, m->stats_k, 1);
        st = m->be->sync(m->dev);
        m->be->leave(m->dev);
        m->prepared = 0;
    }
    host_free(&h);
    hpt__free(keys);
    hpt__networks_fini(&p.nets);
    hpt__tensorfile_close(&f);
    return st ? hpt__fail_context(st, "%.400s", path) : HPT_OK;
}

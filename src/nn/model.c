/* SPDX-License-Identifier: MIT
 * The object behind hpt_model: making and copying one, a tensor of it by name, the way of its weights to a device
 * and back, and what of it trains (options train_only and freeze). Weights lie here in plain float32 and torch's
 * order; each backend has its own. */
#include "nn/model.h"
#include "core/alloc.h"
#include <fnmatch.h>
#include <string.h>

static void model_free(void *p) {
    hpt_model *m = p;
    hpt__net_fini(&m->net);
    hpt__free(m->params);
    hpt__free(m->stats);
    hpt__classifier_fini(&m->fc);
    hpt__release(m->ctx);
    hpt__free(m);
}

hpt_status hpt__model_new(hpt_context *ctx, const hpt__arch *a, hpt_model **out) {
    hpt_model *m = hpt__calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return hpt__fail_memory(sizeof *m);
    hpt_status st = hpt__net_create(a, &m->net);
    if (!st && (!(m->params = hpt__calloc(m->net.n_params, 4)) || !(m->stats = hpt__calloc(m->net.n_stats, 4))))
        st = hpt__fail_memory(m->net.n_params * 4);
    if (!st) st = hpt__handle_open(m, HPT__KIND_MODEL, model_free);
    if (st) {
        hpt__net_fini(&m->net);
        hpt__free(m->params);
        hpt__free(m->stats);
        hpt__free(m);
        return st;
    }
    m->pixels = hpt__pixels_imagenet;
    m->ctx = ctx;
    hpt__retain(ctx);
    *out = m;
    return HPT_OK;
}

hpt_status hpt__model_clone(const hpt_model *m, hpt_model **out) {
    HPT_TRY(hpt__model_new(m->ctx, &m->net.arch, out));
    memcpy((*out)->params, m->params, m->net.n_params * 4);
    memcpy((*out)->stats, m->stats, m->net.n_stats * 4);
    (*out)->pixels = m->pixels;
    hpt_status st = hpt__classifier_copy(&(*out)->fc, &m->fc);
    if (st) hpt__handle_close(*out, HPT__KIND_MODEL);
    if (st) *out = NULL;
    return st;
}

void hpt__model_learnt(hpt_model *m, const hpt__pixels *p) {
    m->pixels = *p;
    m->pixels.from[0] = m->pixels.from[1] = "model";
    m->pixels.images = m->pixels.of = 0;
}

float *hpt__model_tensor(hpt_model *m, int i) {
    const hpt__tensor *t = &m->net.tensors[i];
    return (hpt__is_stat(t) ? m->stats : m->params) + t->offset;
}

void hpt__weights_upload(const hpt__backend *be, hpt__device *dev, hpt__dtype dt, const hpt__net *net,
                         const float *plain, void *native, int stats) {
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        if (hpt__is_stat(t) == stats)
            be->order.pack(dev, dt, t->order, plain + t->offset, (char *)native + t->offset * hpt__real_size(dt));
    }
}
void hpt__weights_download(const hpt__backend *be, hpt__device *dev, hpt__dtype dt, const hpt__net *net,
                           const void *native, float *plain, int stats) {
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        if (hpt__is_stat(t) == stats)
            be->order.unpack(dev, dt, t->order, (const char *)native + t->offset * hpt__real_size(dt),
                             plain + t->offset);
    }
}

const char *hpt__dtype_name(hpt__dtype t) {
    return t == HPT__BF16 ? "bf16" : t == HPT__F64 ? "fp64" : t == HPT__TF32 ? "tf32" : "fp32";
}

hpt_status hpt__precision(hpt_context *ctx, const hpt__options *o, hpt__dtype *t) {
    const char *p = OPT_S(o, precision);
    if (!strcmp(p, "auto")) *t = ctx->be->device.supports(ctx->dev, HPT__BF16) == 2 ? HPT__BF16 : HPT__F32;
    else
        *t = !strcmp(p, "bf16") ? HPT__BF16 : !strcmp(p, "tf32") ? HPT__TF32 : !strcmp(p, "fp64") ? HPT__F64 : HPT__F32;
    if (!ctx->be->device.supports(ctx->dev, *t))
        return hpt__fail(HPT_ERR_UNSUPPORTED, "precision=%s: not on the %s backend of this machine", p, ctx->be->name);
    return HPT_OK;
}

hpt_status hpt__bn_groups(const hpt__options *o, int batch, int ranks, int *groups, int *bn_ranks) {
    return hpt__bn_groups_of(OPT_I(o, bn_group), batch, ranks, groups, bn_ranks);
}
hpt_status hpt__bn_groups_of(int64_t g, int batch, int ranks, int *groups, int *bn_ranks) {
    int64_t all = (int64_t)batch * ranks;
    if (g == 0 || g > all) g = all;
    *groups = g < batch ? (int)(batch / g) : 1;
    *bn_ranks = g > batch ? (int)(g / batch) : 1;
    if (all % g)
        return hpt__fail(HPT_ERR_OPTION, "option 'bn_group': %lld does not divide batch_size %lld", (long long)g,
                         (long long)all);
    if (batch % g && g % batch)
        return hpt__fail(HPT_ERR_OPTION,
                         "option 'bn_group': %lld images are neither a part of a rank's %d nor those of whole ranks",
                         (long long)g, batch);
    return HPT_OK;
}

/* Clears flag where the name matches (or, with only, does not match) one of the patterns. */
static hpt_status apply_patterns(const hpt__net *net, const char *key, const char *patterns, int only, uint8_t *flag) {
    uint8_t *hit = hpt__calloc((size_t)net->n_tensors, 1);
    char one[128];
    hpt_status st = hit ? HPT_OK : hpt__fail_memory((size_t)net->n_tensors);
    for (const char *p = patterns; *p && !st;) {
        size_t n = strcspn(p, ","), found = 0;
        snprintf(one, sizeof one, "%.*s", (int)(n < 120 ? n : 120), p + strspn(p, " "));
        for (int i = 0; i < net->n_tensors; i++)
            if (!fnmatch(one, net->tensors[i].name, 0)) hit[i] = 1, found++;
        if (!found) st = hpt__fail(HPT_ERR_OPTION, "option '%s': no tensor is called '%s'", key, one);
        p += n + (p[n] == ',');
    }
    for (int i = 0; i < net->n_tensors && !st; i++)
        if (hit[i] != only) flag[i] = 0;
    hpt__free(hit);
    return st;
}
hpt_status hpt__choose_trainable(const hpt__net *net, const hpt__options *o, int bn_only, uint8_t *flag) {
    int any = 0;
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        int norm = t->kind == HPT__NORM_WEIGHT || t->kind == HPT__NORM_BIAS;
        flag[i] = !hpt__is_stat(t) && (!bn_only || norm || t->head);
    }
    if (*OPT_S(o, train_only)) HPT_TRY(apply_patterns(net, "train_only", OPT_S(o, train_only), 1, flag));
    if (*OPT_S(o, freeze)) HPT_TRY(apply_patterns(net, "freeze", OPT_S(o, freeze), 0, flag));
    for (int i = 0; i < net->n_tensors; i++) any |= flag[i];
    return any ? HPT_OK : hpt__fail(HPT_ERR_OPTION, "options train, train_only and freeze leave nothing to train");
}

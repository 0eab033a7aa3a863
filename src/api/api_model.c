/* SPDX-License-Identifier: MIT
 * hpt_model_* and hpt_file_info: making, loading, saving, tensors, features, activations, predictions. Reports of
 * what a file held are put into words by ssl/names.c. */
#include "api/api.h"
#include "core/json.h"
#include "data/dataset.h"
#include "nn/facts.h"
#include "nn/graph.h"
#include "ssl/model_file.h"
#include "ssl/features.h"
#include "ssl/labelled.h"
#include "ssl/names.h"
#include "ssl/search.h"
#include <string.h>

hpt_status hpt_model_create(hpt_context *ctx, const hpt_config *cfg, hpt_model **out) {
    const hpt__options *o;
    hpt__arch a;
    OUT(out);
    CHECK(ctx, CONTEXT);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__arch_from_options(o, OPT_IS(o, arch, "auto") ? "resnet50" : OPT_S(o, arch), &a));
    HPT_TRY(hpt__model_new(ctx, &a, out));
    const hpt__net *net = &(*out)->net;
    hpt__span span;
    hpt__span_begin(&ctx->watch, &span, HPT_PHASE_PREPARE, 0, hpt__net_values(net), "weights of a new %s", a.name);
    hpt_status st = hpt__net_init(net, (uint64_t)OPT_I(o, seed), OPT_IS(o, init_method, "openselfsup"), 0,
                                  (*out)->params, (*out)->stats);
    hpt__span_end(&span);
    if (!st) st = hpt__pixels_given(o, &(*out)->pixels);
    if (st) {
        hpt_model_destroy(*out);
        *out = NULL;
    }
    return st;
}

/* The classifier of a file, taken or not, in the report. */
static void report_classifier(const hpt__networks *r, const hpt__candidate *c, const hpt__file_fc *fc, json_t *report) {
    if (!fc->t[0]) return;
    json_object_set_new(report, "classifier", json_pack("{s:i, s:b}", "classes", fc->classes, "loaded", fc->taken));
    for (int i = 0; i < 3 && fc->taken; i++)
        if (fc->t[i]) hpt__names_used(r, c, fc->t[i], report);
}

/* The network of an open file that the options ask for, as a new model. */
static hpt_status load(hpt_context *ctx, const hpt__options *o, const char *path, const hpt__tensorfile *f,
                       const hpt__networks *r, hpt_model **out, json_t *report) {
    const hpt__candidate *c;
    hpt__arch a;
    hpt_status st = hpt__networks_choose(r, OPT_S(o, backbone_prefix), &c);
    if (!st) st = hpt__names_arch(c, o, &a);
    if (st) {
        hpt__names_describe(r, r->n ? &r->c[0] : NULL, report);
        return hpt__fail_context(st, "%.400s", path);
    }
    HPT_TRY(hpt__model_new(ctx, &a, out));
    HPT_TRY(hpt__net_init(&(*out)->net, (uint64_t)OPT_I(o, seed), OPT_IS(o, init_method, "openselfsup"), 1,
                          (*out)->params, (*out)->stats));
    hpt__file_pixels(f, &(*out)->pixels);
    HPT_TRY(hpt__pixels_given(o, &(*out)->pixels));
    hpt__facts_pixels(report, &(*out)->pixels);
    HPT_TRY(hpt__names_load(r, c, o, path, *out, report));
    hpt__file_fc fc;
    if ((st = hpt__load_classifier(r, c, o, *out, &fc))) return hpt__fail_context(st, "%.400s", path);
    report_classifier(r, c, &fc, report);
    if (*c->note && OPT_IS(o, arch, "auto")) hpt__log(ctx, 0, "%.400s: %s", path, c->note);
    if (hpt__candidate_is(c, &a) == 2) {
        char is[160], asked[160];
        hpt__naming_of(&c->arch)->words(&c->arch, is, sizeof is);
        hpt__naming_of(&a)->words(&a, asked, sizeof asked);
        hpt__log(ctx, 0, "%.400s: its names are those of %s %s; taken as %s %s, as arch asks", path, c->arch.name, is,
                 a.name, asked);
    }
    if (json_integer_value(json_object_get(report, "foreign_count")))
        hpt__log(ctx, 1, "%.400s: %d tensors inside the backbone are not used, as unused=allow asks", path,
                 (int)json_integer_value(json_object_get(report, "foreign_count")));
    const json_t *bad = json_object_get(report, "not_finite");
    if (bad)
        hpt__log(ctx, 1,
                 "%.400s: %d tensors hold values that are not finite (NaN or infinity), first %.200s: features of this "
                 "model will not be numbers",
                 path, (int)json_integer_value(json_object_get(report, "not_finite_count")),
                 json_string_value(json_array_get(bad, 0)));
    for (int i = 0; i < r->n; i++)
        if (&r->c[i] != c && !r->c[i].same && r->c[i].stem) {
            hpt__log(
                ctx, 0,
                "%.400s: the network under '%.*s' was taken, not the one under '%.*s'%s (backbone_prefix takes "
                "another)", path, c->shown_len, c->shown, r->c[i].shown_len, r->c[i].shown, r->n > 2 ? " or another"
                : "");
            break;
        }
    return HPT_OK;
}
hpt_status hpt_model_load(hpt_context *ctx, const hpt_config *cfg, const char *path, hpt_model **out,
                          hpt_result **report) {
    const hpt__options *o;
    hpt__tensorfile f;
    hpt__networks r;
    OUT(out);
    if (report) *report = NULL;
    CHECK(ctx, CONTEXT);
    NOT_NULL(path);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT__SPAN(&ctx->watch, HPT_PHASE_PREPARE, "reading a network");
    HPT_TRY(hpt__tensorfile_open(&f, path));
    hpt_status st = hpt__recognise(&f, &r);
    if (!st) {
        json_t *j = hpt__json_begin();
        st = load(ctx, o, path, &f, &r, out, j);
        hpt_status made = report && (!st || st == HPT_ERR_MISMATCH || st == HPT_ERR_UNSUPPORTED)
            ? hpt__result_new(json_incref(j), report) : HPT_OK;
        json_decref(j);
        if (!st) st = made;
    }
    if (st) {
        hpt_model_destroy(*out);
        *out = NULL;
    }
    hpt__networks_fini(&r);
    hpt__tensorfile_close(&f);
    return st;
}
hpt_status hpt_model_clone(const hpt_model *model, hpt_model **out) {
    OUT(out);
    HOLD(model, MODEL);
    HPT__TURN(model->ctx);
    return hpt__model_clone(model, out);
}
void hpt_model_destroy(hpt_model *model) { hpt__handle_close(model, HPT__KIND_MODEL); }

hpt_status hpt_model_save(hpt_model *model, const char *path, const char *format) {
    HOLD(model, MODEL);
    HPT__TURN(model->ctx);
    NOT_NULL(path);
    return hpt__model_save(model, path, format);
}

hpt_status hpt_model_get_info(const hpt_model *model, hpt_model_info *info) {
    CHECK(model, MODEL);
    const hpt__net *net = &model->net;
    hpt_model_info full;
    memset(&full, 0, sizeof full);
    full.feature_dim = (uint32_t)net->feature_dim;
    full.embedding_dim = (uint32_t)net->arch.dim;
    full.tensors = (uint32_t)net->n_tensors;
    for (int i = 0; i < net->n_tensors; i++)
        if (!hpt__is_stat(&net->tensors[i]))
            *(net->tensors[i].head ? &full.head_params : &full.backbone_params) += net->tensors[i].count;
    snprintf(full.arch, sizeof full.arch, "%s", net->arch.name);
    if (net->arch.family == HPT__FAMILY_RESNET)
        snprintf(full.stem, sizeof full.stem, "%s", net->arch.small_stem ? "small" : "imagenet");
    full.width = (uint32_t)net->arch.width;
    memcpy(full.pixel_mean, model->pixels.mean, sizeof full.pixel_mean);
    memcpy(full.pixel_std, model->pixels.std, sizeof full.pixel_std);
    full.classes = (uint32_t)hpt__classes(&model->fc);
    full.several = model->fc.several;
    return hpt__struct_out(info, &full, sizeof full, "info");
}

hpt_status hpt_model_class_name(const hpt_model *model, uint32_t c, char *buf, size_t size, size_t *needed) {
    char number[16];
    CHECK(model, MODEL);
    if (c >= (uint32_t)hpt__classes(&model->fc))
        return hpt__fail(HPT_ERR_ARGUMENT, "class %u of a model with %d classes", c, hpt__classes(&model->fc));
    snprintf(number, sizeof number, "%u", c);
    return hpt__text_out(model->fc.name ? model->fc.name[c] : number, buf, size, needed);
}

hpt_status hpt_model_tensor_info(const hpt_model *model, uint32_t index, hpt_tensor_info *info) {
    CHECK(model, MODEL);
    if (index >= (uint32_t)model->net.n_tensors) return HPT_END;
    const hpt__tensor *t = &model->net.tensors[index];
    hpt_tensor_info full;
    _Static_assert(sizeof full.name == HPT__NAME, "room for every name");
    memset(&full, 0, sizeof full);
    full.ndim = t->ndim;
    memcpy(full.shape, t->shape, sizeof full.shape);
    snprintf(full.name, sizeof full.name, "%s", t->name);
    return hpt__struct_out(info, &full, sizeof full, "info");
}
static hpt_status tensor(hpt_model *m, const char *name, const float *other, uint64_t count, float **data) {
    static const char own[] = "classifier.";        /* its fc.weight, which a projection head of one layer has too */
    NOT_NULL(name);
    int fc = !strncmp(name, own, sizeof own - 1) && hpt__classes(&m->fc);
    char inside[80];
    const hpt__net *net = fc ? &m->fc.net : &m->net;
    const char *rest = fc ? name + sizeof own - 1 : name;
    snprintf(inside, sizeof inside, "fc.%.60s", rest);
    int i = hpt__net_find(net, fc && strncmp(rest, "fc", 2) ? inside : rest);
    if (i < 0) return hpt__fail(HPT_ERR_ARGUMENT, "no tensor is called '%.80s'", name);
    if (net->tensors[i].count != count)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s has %zu values, not %llu", name, net->tensors[i].count,
                         (unsigned long long)count);
    if (!other) return hpt__fail(HPT_ERR_ARGUMENT, "data is NULL");
    *data = fc ? m->fc.params + net->tensors[i].offset : hpt__model_tensor(m, i);
    return HPT_OK;
}
hpt_status hpt_model_get_tensor(const hpt_model *model, const char *name, float *data, uint64_t count) {
    float *mine;
    HOLD(model, MODEL);
    HPT__TURN(model->ctx);
    HPT_TRY(tensor((hpt_model *)(uintptr_t)model, name, data, count, &mine));
    memcpy(data, mine, (size_t)count * 4);
    return HPT_OK;
}
hpt_status hpt_model_set_tensor(hpt_model *model, const char *name, const float *data, uint64_t count) {
    float *mine;
    HOLD(model, MODEL);
    HPT__TURN(model->ctx);
    HPT_TRY(tensor(model, name, data, count, &mine));
    memcpy(mine, data, (size_t)count * 4);
    return HPT_OK;
}

/* Features without their normalisation cannot be compared with others: the log says what is used. */
static hpt_status tell_pixels(hpt_model *m, hpt_dataset *ds, const hpt__options *o) {
    hpt__pixels p;
    char mean[96], std[96];
    HPT_TRY(hpt__dataset_normalization(ds, o, &m->pixels, 0, &p));
    hpt__pixels_text(p.mean, mean);
    hpt__pixels_text(p.std, std);
    hpt__log(m->ctx, 0, "images are normalised with pixel_mean %s (%s), pixel_std %s (%s)", mean, p.from[0], std,
             p.from[1]);
    return HPT_OK;
}

hpt_status hpt_model_features(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg, float *out,
                              uint64_t out_count) {
    const hpt__options *o;
    HOLD(model, MODEL);
    HOLD(ds, DATASET);
    NOT_NULL(out);
    HPT_TRY(hpt__config_options(cfg, &o));
    if (out_count != ds->count * (uint64_t)model->net.feature_dim)
        return hpt__fail(HPT_ERR_ARGUMENT, "out has %llu values; %llu images x %d features are needed",
                         (unsigned long long)out_count, (unsigned long long)ds->count, model->net.feature_dim);
    HPT_TRY(tell_pixels(model, ds, o));
    return hpt__activations(model, ds, o, NULL, 0, HPT__BAD_HOLE, out, out_count);
}
hpt_status hpt_model_features_pixels(hpt_model *model, const hpt_config *cfg, const float *x, uint32_t n,
                                     uint32_t size, float *out) {
    const hpt__options *o;
    HOLD(model, MODEL);
    NOT_NULL(x);
    NOT_NULL(out);
    HPT_TRY(hpt__config_options(cfg, &o));
    if (n < 1 || n > 65536 || size < 8 || size > 4096)
        return hpt__fail(HPT_ERR_ARGUMENT, "%u images of %ux%u pixels", n, size, size);
    return hpt__features_pixels(model, o, x, n, size, out);
}

hpt_status hpt_model_predict(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg, float *logits, uint64_t count) {
    const hpt__options *o;
    HOLD(model, MODEL);
    HOLD(ds, DATASET);
    NOT_NULL(logits);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(tell_pixels(model, ds, o));
    return hpt__predict(model, ds, o, logits, count);
}

static hpt_status layer_out(const hpt__node *n, hpt_layer_info *info) {
    hpt_layer_info full;
    memset(&full, 0, sizeof full);
    full.channels = (uint32_t)n->c;
    full.height = (uint32_t)n->h;
    full.width = (uint32_t)n->w;
    if (snprintf(full.name, sizeof full.name, "%s", n->name) >= (int)sizeof full.name)
        return hpt__fail(HPT_ERR_UNSUPPORTED, "hpt_layer_info has no room for the name of layer '%s'", n->name);
    return hpt__struct_out(info, &full, sizeof full, "info");
}
static hpt_status layers(const hpt_model *model, uint32_t image_size, hpt__graph *g) {
    CHECK(model, MODEL);
    if (image_size < 8 || image_size > 4096)
        return hpt__fail(HPT_ERR_ARGUMENT, "image_size %u is outside 8..4096", image_size);
    return hpt__net_graph(&model->net.arch, (int)image_size, (int)image_size, 1, g);
}
hpt_status hpt_model_layer_info(const hpt_model *model, uint32_t index, uint32_t image_size, hpt_layer_info *info) {
    hpt__graph g;
    HPT_TRY(layers(model, image_size, &g));
    hpt_status st = HPT_END;
    for (int i = 0; i < g.n_nodes; i++) {
        if (!g.nodes[i].name[0] || index-- > 0) continue;
        st = layer_out(&g.nodes[i], info);
        break;
    }
    hpt__graph_fini(&g);
    return st;
}
hpt_status hpt_model_layer(const hpt_model *model, const char *name, uint32_t image_size, hpt_layer_info *info) {
    hpt__graph g;
    NOT_NULL(name);
    HPT_TRY(layers(model, image_size, &g));
    hpt_status st = hpt__graph_cut(&g, name, 0);
    if (!st) st = layer_out(&g.nodes[g.n_nodes - 1], info);
    hpt__graph_fini(&g);
    return st;
}
hpt_status hpt_model_activations(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg, const char *layer,
                                 float *out, uint64_t out_count) {
    const hpt__options *o;
    HOLD(model, MODEL);
    HOLD(ds, DATASET);
    NOT_NULL(layer);
    NOT_NULL(out);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(tell_pixels(model, ds, o));
    return hpt__activations(model, ds, o, layer, OPT_IS(o, act_pool, "average"), HPT__BAD_HOLE, out, out_count);
}

hpt_status hpt_model_refresh_bn(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg, hpt_result **result) {
    const hpt__options *o;
    uint64_t images = 0;
    hpt__pixels pixels;
    if (result) *result = NULL;
    HOLD(model, MODEL);
    HOLD(ds, DATASET);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__refresh_bn(model, ds, o, &images, &pixels));
    if (!result) return HPT_OK;
    hpt__json_lost();
    json_t *j = json_pack("{s:I, s:s}", "images", (json_int_t)images, "mode", OPT_S(o, refresh_mode));
    if (!j) return hpt__fail_memory(64);
    hpt__report_unreadable(j, "data", ds);
    hpt__facts_of(j, model->ctx, o, &pixels);
    return hpt__result_new(j, result);
}

hpt_status hpt_file_info(const char *path, hpt_result **result) {
    hpt__tensorfile f;
    hpt__networks r;
    char summary[8000];
    OUT(result);
    NOT_NULL(path);
    HPT_TRY(hpt__tensorfile_open(&f, path));
    hpt_status st = hpt__recognise(&f, &r);
    if (!st) {
        json_t *j = hpt__json_begin(), *list = json_array();
        const hpt__candidate *c = r.n ? &r.c[0] : NULL;
        /* out of memory: an entry would be missing */
        int lost = json_object_set_new(j, "file", hpt__json_text(path));
        hpt__file_fc fc;
        st = hpt__names_check(&r, c, j);
        if (hpt__file_classifier(&r, c, &fc)) {
            fc.taken = fc.labels != NULL;       /* as a load at defaults would */
            report_classifier(&r, c, &fc, j);
        }
        hpt__names_summary(&r, c, j, summary, sizeof summary);
        lost |= json_object_set_new(j, "summary", hpt__json_text(summary));
        for (uint32_t i = 0; i < f.n; i++) {
            json_t *shape = json_array(), *one = json_object();
            for (int d = 0; d < f.t[i].ndim; d++) lost |= json_array_append_new(shape, json_integer(f.t[i].shape[d]));
            lost |= json_object_set_new(one, "name", hpt__json_text(f.t[i].name));
            lost |= json_object_set_new(one, "type", json_string(hpt__ftype_name(f.t[i].type)));
            lost |= json_object_set_new(one, "shape", shape);
            if (f.t[i].unreadable) lost |= json_object_set_new(one, "unreadable", hpt__json_text(f.t[i].unreadable));
            lost |= json_array_append_new(list, one);
        }
        lost |= json_object_set(j, "values", f.meta);
        lost |= json_object_set_new(j, "tensors", list);
        if (f.values_cut) lost |= json_object_set_new(j, "values_cut", json_true());
        if (!st && lost) st = hpt__fail_memory(sizeof *j);
        if (!st) st = hpt__result_new(json_incref(j), result);
        json_decref(j);
    }
    hpt__networks_fini(&r);
    hpt__tensorfile_close(&f);
    return st;
}

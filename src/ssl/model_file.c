/* SPDX-License-Identifier: MIT
 * Model files (docs/checkpoints.md): a network's tensors under a prefix, its architecture, its normalisation and its
 * classifier, as sessions' checkpoints have them too. */
#include "ssl/model_file.h"
#include "core/alloc.h"
#include "core/json.h"
#include "core/number.h"
#include "io/safetensors.h"
#include <string.h>

/* What a format calls a tensor of a network of this architecture; a NULL: libhpt's name. */
static const char *written(const hpt__arch *a, const char *format, const char *name, char out[HPT__NAME]) {
    const hpt__naming *naming = a ? hpt__naming_of(a) : NULL;
    if (!naming || !naming->written) return name;
    naming->written(format, name, out, HPT__NAME);
    return out;
}
/* as: the architecture whose names in a format the tensors get; NULL: their own */
static void put_tensors(hpt__torch_out *t, const hpt__net *net, const char *prefix, const float *params,
                        const float *stats, const int64_t *batches, int head, const hpt__arch *as,
                        const char *format) {
    static const int64_t one[1] = {1};
    static const char last[] = "running_var";
    char name[160], other[HPT__NAME];
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        if (x->head && !head) continue;
        int n = snprintf(name, sizeof name, "%s%s", prefix, written(as, format, x->name, other));
        hpt__tw_str(t, name);
        hpt__tw_tensor_f32(t, (hpt__is_stat(x) ? stats : params) + x->offset, x->count, x->ndim, x->shape, NULL);
        if (x->kind == HPT__RUN_VAR) {
            size_t at = (size_t)n - (sizeof last - 1);
            snprintf(name + at, sizeof name - at, "num_batches_tracked");
            hpt__tw_str(t, name);
            hpt__tw_tensor_i64(t, batches, 1, 0, one);
        }
    }
}
void hpt__put_net(hpt__torch_out *t, const hpt__net *net, const char *prefix, const float *params, const float *stats,
                  const int64_t *batches, int head) {
    put_tensors(t, net, prefix, params, stats, batches, head, NULL, NULL);
}

void hpt__put_arch(hpt__torch_out *t, const hpt__arch *a) {
    json_t *entries = json_object(), *v;
    const char *key;
    if (hpt__naming_of(a)->entries(a, entries)) t->failed = 1;
    hpt__tw_str(t, "arch"); hpt__tw_str(t, a->name);
    json_object_foreach(entries, key, v) {
        hpt__tw_str(t, key);
        if (json_is_string(v)) hpt__tw_str(t, json_string_value(v));
        else hpt__tw_int(t, json_integer_value(v));
    }
    json_decref(entries);
    hpt__tw_str(t, "moco_dim"); hpt__tw_int(t, a->dim);
    hpt__tw_str(t, "mlp"); hpt__tw_int(t, a->mlp);
}

/* The normalisation that the weights were trained with, in every file: metadata of safetensors, record hpt.json of a
 * torch zip, entries of a session's "hpt". */
static int note_pixels(json_t *to, const hpt__pixels *p) {        /* not 0: out of memory */
    char mean[96], std[96];
    hpt__pixels_text(p->mean, mean);
    hpt__pixels_text(p->std, std);
    return json_object_set_new(to, "pixel_mean", json_string(mean)) | json_object_set_new(to, "pixel_std",
        json_string(std));
}
void hpt__put_pixels(hpt__torch_out *t, const hpt__pixels *p) {
    char text[96];
    hpt__pixels_text(p->mean, text);
    hpt__tw_str(t, "pixel_mean"); hpt__tw_str(t, text);
    hpt__pixels_text(p->std, text);
    hpt__tw_str(t, "pixel_std"); hpt__tw_str(t, text);
}
int hpt__file_pixels(const hpt__tensorfile *f, hpt__pixels *p) {
    static const char *const keys[2][2] = {{"hpt/pixel_mean", "hpt/pixel_std"}, {"pixel_mean", "pixel_std"}};
    for (int i = 0; i < 2; i++)
        if (hpt__pixels_parse(json_string_value(json_object_get(f->meta, keys[i][0])),
                              json_string_value(json_object_get(f->meta, keys[i][1])), p)) return 1;
    return 0;
}

/* The classifier, in the same places: "labels" says how many of its classes an image may have (and, in a file of
 * ours, that fc is a classifier and no projection head of one layer); "classes" are their names as a JSON array in a
 * text, where there are names; "classifier_temperature": it is one of directions (fc, or fc1 and fc2), whose cosines
 * are divided by that. */
static int note_classifier(json_t *to, const hpt__classifier *c) {        /* not 0: out of memory */
    char number[40];
    if (!hpt__classes(c)) return 0;
    int lost = json_object_set_new(to, "labels", json_string(c->several ? "several" : "one"));
    if (c->net.arch.temperature > 0) {
        hpt__number_print(c->net.arch.temperature, number, sizeof number);
        lost |= json_object_set_new(to, "classifier_temperature", json_string(number));
    }
    if (!c->name) return lost;
    json_t *names = json_array();
    for (int i = 0; i < hpt__classes(c); i++) lost |= json_array_append_new(names, hpt__json_text(c->name[i]));
    char *text = lost ? NULL : hpt__json_dumps(names, JSON_COMPACT);
    lost |= !text || json_object_set_new(to, "classes", json_string(text));
    json_decref(names);
    hpt__free(text);
    return lost;
}

void hpt__put_classes(hpt__torch_out *t, const hpt__classifier *c) {
    static const char *const keys[] = {"labels", "classes", "classifier_temperature"};
    json_t *note = json_object();
    if (!note || note_classifier(note, c)) t->failed = 1;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = json_string_value(json_object_get(note, keys[i]));
        if (text) hpt__tw_str(t, keys[i]), hpt__tw_str(t, text);
    }
    json_decref(note);
}

static const char *file_text(const hpt__tensorfile *f, const char *key) {
    char inside[40];
    snprintf(inside, sizeof inside, "hpt/%s", key);
    const char *text = json_string_value(json_object_get(f->meta, inside));
    return text ? text : json_string_value(json_object_get(f->meta, key));
}
/* A matrix of a classifier, for rows of so many values. */
static int is_matrix(const hpt__ftensor *w, int64_t columns) {
    return w && w->ndim == 2 && w->shape[1] == columns && w->shape[0] > 0 && w->shape[0] <= 1 << 20;
}
/* The linear layer of this name beside a network as a classifier of its features. 0: it is none */
static int classifier_at(const hpt__networks *r, const hpt__candidate *c, const char *name, hpt__file_fc *fc) {
    const hpt__ftensor *w = hpt__networks_part(r, c, name, ".weight"), *b = hpt__networks_part(r, c, name, ".bias");
    if (!is_matrix(w, hpt__arch_features(&c->arch)) || (b && (b->ndim != 1 || b->shape[0] != w->shape[0]))) return 0;
    fc->t[0] = w;
    fc->t[1] = b;
    fc->classes = (int)w->shape[0];
    return 1;
}
/* The same by any of the names that its family gives it. */
static int linear_beside(const hpt__networks *r, const hpt__candidate *c, hpt__file_fc *fc) {
    for (const char *const *name = hpt__naming_of(&c->arch)->classifier; *name; name++)
        if (classifier_at(r, c, *name, fc)) return 1;
    return 0;
}
/* One of directions: that without a bias, or fc1.weight, fc1.bias and fc2.weight. */
static int cosine_beside(const hpt__networks *r, const hpt__candidate *c, const char *temperature, hpt__file_fc *fc) {
    int64_t features = hpt__arch_features(&c->arch);
    if (!hpt__number_parse(temperature, &fc->form.temperature) || !(fc->form.temperature > 0)) return 0;
    const hpt__ftensor *w = hpt__networks_part(r, c, "fc1", ".weight"), *b = hpt__networks_part(r, c, "fc1", ".bias");
    if (!w) return linear_beside(r, c, fc) && !fc->t[1];
    const hpt__ftensor *last = hpt__networks_part(r, c, "fc2", ".weight");
    if (!is_matrix(w, features) || !b || b->ndim != 1 || b->shape[0] != w->shape[0] || !is_matrix(last, w->shape[0]))
        return 0;
    fc->t[0] = w;
    fc->t[1] = b;
    fc->t[2] = last;
    fc->form.hidden = (int)w->shape[0];
    fc->classes = (int)last->shape[0];
    return 1;
}
int hpt__file_classifier(const hpt__networks *r, const hpt__candidate *c, hpt__file_fc *fc) {
    hpt__pixels pixels;
    int ours = hpt__file_pixels(r->f, &pixels);
    *fc = (hpt__file_fc){.labels = ours ? file_text(r->f, "labels") : NULL};
    if (!c || !*c->arch.name || (ours && !fc->labels)) return 0;
    if (c->head && !c->arch.mlp) return 0;          /* MoCo v1 calls its projection head so */
    const char *temperature = ours ? file_text(r->f, "classifier_temperature") : NULL;
    return temperature ? cosine_beside(r, c, temperature, fc) : linear_beside(r, c, fc);
}
static hpt_status take_names(const hpt__tensorfile *f, hpt__classifier *c) {
    const char *text = file_text(f, "classes");
    json_t *names = text ? json_loads(text, 0, NULL) : NULL;
    size_t n = (size_t)hpt__classes(c);
    int lost = 0;
    if (!text && !f->values_cut) return HPT_OK;
    if (json_array_size(names) != n) {
        json_decref(names);
        return hpt__fail(HPT_ERR_FORMAT, "the names of its %zu classes cannot be read", n);
    }
    lost = !(c->name = hpt__calloc(n, sizeof *c->name));
    for (size_t i = 0; i < n && !lost; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        lost = !(c->name[i] = hpt__strdup(name ? name : ""));
    }
    json_decref(names);
    return lost ? hpt__fail_memory(n * sizeof *c->name) : HPT_OK;
}
hpt_status hpt__load_classifier(const hpt__networks *r, const hpt__candidate *c, const hpt__options *o, hpt_model *m,
                                hpt__file_fc *fc) {
    int there = hpt__file_classifier(r, c, fc), take = OPT_IS(o, classifier, "take");
    const char *name = hpt__naming_of(&m->net.arch)->classifier[0];
    if (take && !there)
        return hpt__fail(HPT_ERR_MISMATCH,
                         "no classifier lies beside the backbone (%s.weight with a row for each class, %s.bias)", name,
                         name);
    if (!there || OPT_IS(o, classifier, "drop") || !(take || fc->labels)) return HPT_OK;
    HPT_TRY(hpt__classifier_create_as(&m->fc, fc->form, m->net.feature_dim, fc->classes, fc->labels &&
                                      !strcmp(fc->labels, "several"), NULL));
    HPT_TRY(take_names(r->f, &m->fc));
    for (int i = 0; i < m->fc.net.n_tensors; i++)
        if (fc->t[i]) HPT_TRY(hpt__ftensor_read(fc->t[i], m->fc.params + m->fc.net.tensors[i].offset));
    fc->taken = 1;
    return HPT_OK;
}

static hpt_status save_safetensors(hpt_model *m, const char *path) {
    const hpt__net *net = &m->net;
    const hpt__classifier *fc = &m->fc;
    char arch[200], set[120], (*names)[HPT__NAME] = NULL;
    size_t own = (size_t)net->n_tensors, most = own + (size_t)fc->net.n_tensors, n = 0;
    hpt__st_item *items = hpt__calloc(most + 1, sizeof *items);
    if (!items || !(names = hpt__calloc(most - own + 1, sizeof *names))) {
        hpt__free(items);
        return hpt__fail_memory((sizeof *items + sizeof *names) * most);
    }
    for (size_t i = 0; i < most; i++) {
        const hpt__tensor *t = i < own ? &net->tensors[i] : &fc->net.tensors[i - own];
        /* a projection of one layer is called fc too */
        if (i < own && t->head && !net->arch.mlp && hpt__classes(fc)) continue;
        items[n] = (hpt__st_item){.name = t->name, .ndim = t->ndim, .count = t->count};
        memcpy(items[n].shape, t->shape, sizeof items->shape);
        if (i < own) items[n].data = hpt__model_tensor(m, (int)i);
        else {
            /* the classifier is called as its family calls it; all others have our names */
            items[n].data = fc->params + t->offset;
            items[n].name = written(&net->arch, "safetensors", t->name, names[i - own]);
        }
        n++;
    }
    json_t *meta = json_object();
    hpt__naming_of(&net->arch)->options(&net->arch, set, sizeof set);
    snprintf(arch, sizeof arch, "%s moco_dim=%d mlp=%d", set + strlen("arch="), net->arch.dim, net->arch.mlp);
    int lost = json_object_set_new(meta, "arch", json_string(arch)) | note_pixels(meta,
        &m->pixels) | note_classifier(meta, fc);
    hpt_status st = HPT_OK;
    if (lost) {
        json_decref(meta);
        st = hpt__fail_memory(sizeof arch);
    } else st = hpt__safetensors_write(path, items, (uint32_t)n, meta);
    hpt__free(items);
    hpt__free(names);
    return st;
}

hpt_status hpt__model_save(hpt_model *m, const char *path, const char *format) {
    static const int64_t batches = 0;
    static const char *const formats[] = {"torchvision", "timm", "moco", "openselfsup", "safetensors"};
    const hpt__arch *a = &m->net.arch;
    const hpt__naming *naming = hpt__naming_of(a);
    const hpt__classifier *fc = &m->fc;
    hpt__torch_out t;
    char lost[240] = "";
    size_t n = strlen(path), known = 0;
    if (!format) format = n > 12 && !strcmp(path + n - 12, ".safetensors") ? "safetensors" : naming->format;
    while (known < sizeof formats / sizeof *formats && strcmp(format, formats[known])) known++;
    if (known == sizeof formats / sizeof *formats)
        return hpt__fail(HPT_ERR_ARGUMENT,
                         "format '%.40s' is none of torchvision, timm, moco, openselfsup, safetensors", format);
    if (!strcmp(format, "safetensors")) return save_safetensors(m, path);
    int moco = !strcmp(format, "moco"), oss = !strcmp(format, "openselfsup"), with = hpt__classes(fc) && !moco && !oss;
    if (hpt__classes(fc) && !with)
        hpt__log(m->ctx, 0, "%.400s: layout %s has no place for the classifier of %d classes, which is left out", path,
                 format, hpt__classes(fc));
    if (naming->loses) naming->loses(a, format, lost, sizeof lost);
    if (*lost) hpt__log(m->ctx, 1, "%.400s: %s", path, lost);
    json_t *note = json_pack("{s:s}", "version", hpt_version_string());
    int failed = note_pixels(note, &m->pixels) || (with && note_classifier(note, fc));
    if (naming->untold) failed |= json_object_set_new(note, "arch", json_string(a->name));
    char *text = failed ? NULL : hpt__json_dumps(note, 0);
    json_decref(note);
    if (!text) return hpt__fail_memory(sizeof *note);
    hpt__tw_begin(&t);
    if (moco || oss) {
        hpt__tw_dict(&t, 0);
        if (moco) hpt__tw_str(&t, "arch"), hpt__tw_str(&t, a->name);
        hpt__tw_str(&t, "state_dict");
    }
    hpt__tw_dict(&t, 1);
    put_tensors(&t, &m->net, moco ? "module.encoder_q." : "", m->params, m->stats, &batches, moco, a, format);
    if (with) put_tensors(&t, &fc->net, "", fc->params, NULL, &batches, 1, a, format);
    hpt__tw_end_dict(&t);
    if (oss) hpt__tw_str(&t, "author"), hpt__tw_str(&t, "OpenSelfSup");
    if (moco || oss) hpt__tw_end_dict(&t);
    hpt__tw_note(&t, text);
    hpt__free(text);
    return hpt__tw_finish(&t, path);
}

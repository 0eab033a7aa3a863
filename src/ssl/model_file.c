/* SPDX-License-Identifier: MIT
 * Model files (docs/checkpoints.md): a network's tensors under a prefix, its architecture and its normalisation, as sessions' checkpoints
 * have them too. */
#include "ssl/model_file.h"
#include "core/alloc.h"
#include "core/json.h"
#include "io/safetensors.h"
#include <string.h>

void hpt__put_net(hpt__torch_out *t, const hpt__net *net, const char *prefix, const float *params, const float *stats, const int64_t *batches, int head) {
    static const int64_t one[1] = {1};
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
            hpt__tw_tensor_i64(t, batches, 1, 0, one);
        }
    }
}

void hpt__put_arch(hpt__torch_out *t, const hpt__arch *a) {
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
    hpt__put_net(&t, &m->net, moco ? "module.encoder_q." : "", m->params, m->stats, &batches, moco);
    hpt__tw_end_dict(&t);
    if (oss) hpt__tw_str(&t, "author"), hpt__tw_str(&t, "OpenSelfSup");
    if (moco || oss) hpt__tw_end_dict(&t);
    hpt__tw_note(&t, text);
    hpt__free(text);
    return hpt__tw_finish(&t, path);
}

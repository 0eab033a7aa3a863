/* SPDX-License-Identifier: MIT
 * Canonical names are torchvision's; every other producer is a prefix (and for the head a second one). The tables are from the projects'
 * own checkpoints: facebookresearch/moco, OpenSelfSup and HPT, mmselfsup, solo-learn, lightly, VISSL, timm. */
#include "ssl/names.h"
#include <stdlib.h>
#include <string.h>

static const char *const containers[] = {"", "state_dict/", "model/", "state_dict_ema/", "model_ema/", "classy_state_dict/base_model/model/trunk/"};
static const char *const prefixes[] = {"", "module.", "module.encoder_q.", "encoder_q.0.", "encoder_q.", "backbone.", "module.backbone.",
                                       "online_net.0.", "_feature_blocks.", "model.", "base_encoder.", "module.base_encoder.", "student.", "encoder."};

const char *hpt__names_prefix(const hpt__tensorfile *f, char *buf, size_t size) {
    char name[300];
    for (size_t c = 0; c < sizeof containers / sizeof *containers; c++)
        for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
            snprintf(buf, size, "%s%s", containers[c], prefixes[p]);
            snprintf(name, sizeof name, "%sconv1.weight", buf);
            if (hpt__tensorfile_find(f, name)) return buf;
        }
    return NULL;
}

int hpt__names_fits(const hpt__ftensor *f, const hpt__tensor *t) {
    if (f->ndim != t->ndim) return 0;
    for (int d = 0; d < t->ndim; d++)
        if (f->shape[d] != t->shape[d]) return 0;
    return 1;
}

/* The head next to a backbone: "fc.0.weight" with the same prefix (moco), or the producer's own place. */
static const hpt__ftensor *find_head(const hpt__tensorfile *f, const char *prefix, const char *name) {
    static const struct { const char *backbone, *head; } places[] = {
        {"encoder_q.0.", "encoder_q.1.mlp."}, {"backbone.", "neck.mlp."}, {"backbone.", "projector."}, {"backbone.", "projection_head.layers."}};
    char full[400];
    const hpt__ftensor *t;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    if ((t = hpt__tensorfile_find(f, full))) return t;
    size_t n = strlen(prefix);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t b = strlen(places[i].backbone);
        if (n < b || strcmp(prefix + n - b, places[i].backbone)) continue;
        snprintf(full, sizeof full, "%.*s%s%s", (int)(n - b), prefix, places[i].head, name + (strncmp(name, "fc.", 3) ? 0 : 3));
        if ((t = hpt__tensorfile_find(f, full))) return t;
    }
    return NULL;
}

const hpt__ftensor *hpt__names_find(const hpt__tensorfile *f, const char *prefix, const hpt__tensor *t) {
    char full[400];
    if (t->head) return find_head(f, prefix, t->name);
    snprintf(full, sizeof full, "%s%s", prefix, t->name);
    return hpt__tensorfile_find(f, full);
}

static const hpt__ftensor *part(const hpt__tensorfile *f, const char *prefix, const char *name) {
    char full[400];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return hpt__tensorfile_find(f, full);
}

hpt_status hpt__names_arch(const hpt__tensorfile *f, const char *prefix, const hpt__options *o, hpt__arch *a) {
    static const char *const names[] = {"resnet10", "resnet18", "resnet34", "resnet50", "resnet101"};
    const hpt__ftensor *stem = part(f, prefix, "conv1.weight"), *fc0 = part(f, prefix, "fc.0.weight"), *fc2 = part(f, prefix, "fc.2.weight");
    if (stem->ndim != 4 || stem->shape[0] % 16 || stem->shape[0] > 1024 || stem->shape[0] < 16 || (stem->shape[2] != 7 && stem->shape[2] != 3))
        return hpt__fail(HPT_ERR_MISMATCH, "the first convolution is not a ResNet's");
    int blocks[4], bottleneck = part(f, prefix, "layer1.0.conv3.weight") != NULL;
    for (int l = 0; l < 4; l++) {
        char name[64];
        for (blocks[l] = 0; blocks[l] < 64; blocks[l]++) {
            snprintf(name, sizeof name, "layer%d.%d.conv1.weight", l + 1, blocks[l]);
            if (!part(f, prefix, name)) break;
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        HPT_TRY(hpt__arch_from_options(o, names[i], a));
        if (a->bottleneck != bottleneck || memcmp(a->blocks, blocks, sizeof blocks)) continue;
        a->width = (int)stem->shape[0];
        a->small_stem = stem->shape[2] == 3;
        if (fc0 && fc2 && fc2->ndim == 2 && fc2->shape[0] <= 4096) a->mlp = 1, a->dim = (int)fc2->shape[0];
        return HPT_OK;
    }
    return hpt__fail(HPT_ERR_MISMATCH, "a network of %d, %d, %d, %d %s blocks is none that libhpt knows", blocks[0], blocks[1], blocks[2], blocks[3],
                     bottleneck ? "bottleneck" : "basic");
}

static void note(json_t *report, const char *list, const char *name) {
    json_t *l = json_object_get(report, list);
    if (json_array_size(l) < 200) json_array_append_new(l, json_string(name));
}

hpt_status hpt__names_load(const hpt__tensorfile *f, const char *path, int head, hpt_model *m, json_t *report) {
    char buf[128], all[128], name[300];
    const char *prefix = hpt__names_prefix(f, buf, sizeof buf);
    int loaded = 0, missing = 0, wrong = 0, unexpected = 0;
    json_object_set_new(report, "file", json_string(path));
    json_object_set_new(report, "container", json_string(f->container));
    json_object_set_new(report, "prefix", json_string(prefix ? prefix : ""));
    json_object_set_new(report, "missing", json_array());
    json_object_set_new(report, "unexpected", json_array());
    json_object_set_new(report, "wrong_shape", json_array());
    const char *first_wrong = NULL;
    for (int i = 0; prefix && i < m->net.n_tensors; i++) {
        const hpt__tensor *t = &m->net.tensors[i];
        if (t->head && !head) continue;
        const hpt__ftensor *x = hpt__names_find(f, prefix, t);
        if (!x) {
            missing++;
            note(report, "missing", t->name);
            if (!first_wrong) first_wrong = t->name;
        } else if (!hpt__names_fits(x, t)) {
            wrong++;
            note(report, "wrong_shape", t->name);
            if (!first_wrong) first_wrong = t->name;
        } else {
            HPT_TRY(hpt__ftensor_read(x, hpt__model_tensor(m, i)));
            loaded++;
        }
    }
    /* tensors under the backbone's prefix that are not ours; other branches of the file (key encoder, queue) were never asked for */
    snprintf(all, sizeof all, "%s", prefix ? prefix : "");
    for (uint32_t i = 0; i < f->n; i++) {
        const char *n = f->t[i].name;
        size_t len = strlen(all), tail = strlen(n);
        if (prefix && strncmp(n, all, len)) continue;
        snprintf(name, sizeof name, "%s", prefix ? n + len : n);
        if (prefix && (hpt__net_find(&m->net, name) >= 0 || (tail > 19 && !strcmp(n + tail - 19, "num_batches_tracked")))) continue;
        if (prefix && !*all && (strstr(name, "/") || strchr(name, '.') == NULL)) continue;
        unexpected++;
        note(report, "unexpected", n);
    }
    json_object_set_new(report, "loaded", json_integer(loaded));
    json_object_set_new(report, "missing_count", json_integer(missing));
    json_object_set_new(report, "wrong_shape_count", json_integer(wrong));
    json_object_set_new(report, "unexpected_count", json_integer(unexpected));
    if (!loaded)
        return hpt__fail(HPT_ERR_MISMATCH, "%.500s: no tensor matched %s (%u in the file%s%.120s)", path, m->net.arch.name, f->n,
                         f->n ? ", the first is " : "", f->n ? f->t[0].name : "");
    if (missing || wrong)
        return hpt__fail(HPT_ERR_MISMATCH, "%.500s: does not fit %s: %d tensors loaded, %d missing, %d of another shape (%s)", path, m->net.arch.name,
                         loaded, missing, wrong, first_wrong ? first_wrong : "");
    return HPT_OK;
}

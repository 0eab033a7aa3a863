/* SPDX-License-Identifier: MIT
 * Every tensor of a file is asked, family by family, whether a network begins there; then what is common to all
 * families: wrappers taken off the names, the projection head beside a backbone, which of several is meant, and who
 * wrote the file. What a family's own names are: resnet_names.c. */
#include "nn/recognise.h"
#include "core/alloc.h"
#include "core/status.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Families that are found in files, each by its own names. */
static const hpt__naming *const namings[HPT__FAMILIES] = {[HPT__FAMILY_RESNET] = &hpt__naming_resnet,
                                                           [HPT__FAMILY_EFFICIENTNET] = &hpt__naming_efficientnet};

int hpt__is_word(const char *p, size_t n, const char *words) {
    for (const char *w = words; *w; w += strcspn(w, " ") + (w[strcspn(w, " ")] != 0))
        if (strcspn(w, " ") == n && !memcmp(w, p, n)) return 1;
    return 0;
}

const char *hpt__looks_altered(const char *part, size_t n) {
    static const struct {
        const char *words, *network;
    } marks[] = {{"weight_mask", "a pruned network: torch.nn.utils.prune.remove() makes it plain"},
                 {"weight_orig weight_u",
                  "a network with spectral norm (or pruned): remove_spectral_norm() makes it plain"},
                 {"weight_g weight_v", "a network with weight norm: remove_weight_norm() makes it plain"},
                 {"parametrizations",
                  "a network with weight norm, spectral norm or another parametrization: remove_parametrizations() "
                  "makes it plain"},
                 {"lora_A lora_B lora_a lora_b adapter adapters", "a network with adapters"}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (hpt__is_word(part, n, marks[i].words)) return marks[i].network;
    return NULL;
}

/* ---- wrappers ---- */

/* DataParallel, DDP, AveragedModel; torch.compile; activation checkpointing and offloading; FSDP old and new; Lightning
 * and Opacus: modules around a module, of which only a part of a name is left. They may stand around any module. */
static const char wrappers[] = "module _orig_mod _checkpoint_wrapped_module _fsdp_wrapped_module _fpw_module "
                               "_dp_wrapped_module _wrapped_module _forward_module _module";
/* How many bytes from here on are such parts. */
static size_t wrapping(const char *name) {
    size_t n = 0;
    for (;;) {
        size_t k = strcspn(name + n, "./");
        if (name[n + k] != '.' || !hpt__is_word(name + n, k, wrappers)) return n;
        n += k + 1;
    }
}
/* The name without them, and its length; out NULL: the length alone. */
static size_t unwrapped(const char *name, char *out) {
    size_t used = 0;
    while (*name) {
        name += wrapping(name);
        size_t k = strcspn(name, "./");
        k += name[k] != 0;
        if (out) memcpy(out + used, name, k);
        used += k;
        name += k;
    }
    if (out) out[used] = 0;
    return used;
}
const char *hpt__networks_name(const hpt__networks *r, const hpt__ftensor *t) { return r->f->t[t - r->t].name; }
size_t hpt__networks_shown(const hpt__networks *r, const hpt__ftensor *t, size_t len) {
    const char *start = hpt__networks_name(r, t), *name = start;
    for (size_t used = 0;;) {
        if (r->text) name += wrapping(name);
        if (used >= len) return (size_t)(name - start);
        size_t k = strcspn(name, "./");
        k += name[k] != 0;
        used += k;
        name += k;
    }
}

/* ---- names in order ---- */

static int by_name(const void *a, const void *b) {
    const hpt__ftensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}
static int compare(const char *name, const char *prefix, size_t len, const char *rest) {
    int d = strncmp(name, prefix, len);
    return d ? d : strcmp(name + len, rest);
}
/* Index of the first name that is not before prefix + rest. */
static uint32_t lower(const hpt__networks *r, const char *prefix, int len, const char *rest) {
    uint32_t low = 0, high = r->f->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (compare(r->order[mid]->name, prefix, (size_t)len, rest) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
const hpt__ftensor *hpt__networks_find(const hpt__networks *r, const char *prefix, int len, const char *name) {
    uint32_t i = lower(r, prefix, len, name);
    return i < r->f->n && !compare(r->order[i]->name, prefix, (size_t)len, name) ? r->order[i] : NULL;
}
const hpt__ftensor *hpt__networks_part(const hpt__networks *r, const hpt__candidate *c, const char *a, const char *b) {
    char name[100];
    int n = snprintf(name, sizeof name, "%s%s", a, b);
    return n < 0 || (size_t)n >= sizeof name ? NULL : hpt__networks_find(r, c->prefix, c->prefix_len, name);
}

/* ---- one network ---- */

static int in_prefix(const hpt__candidate *c, const char *word) {
    size_t n = strlen(word);
    for (int i = 0; c && i + (int)n <= c->prefix_len; i++)
        if (!memcmp(c->prefix + i, word, n)) return 1;
    return 0;
}

/* MoCo v2's two layers; one layer (v1) only inside a MoCo encoder, for "fc" is the classifier of every other network.
 */
static void find_head(const hpt__networks *r, hpt__candidate *c) {
    const hpt__ftensor *first = hpt__candidate_head(r, c, "fc.0.weight"),
                       *last = hpt__candidate_head(r, c, "fc.2.weight");
    int64_t features = hpt__arch_features(&c->arch);
    const hpt__ftensor *norm = hpt__candidate_head(r, c, "fc.1.weight"),
        *third = hpt__candidate_head(r, c, "fc.3.weight");
    if (first && norm && third && !last) {      /* linear, batch norm, ReLU, linear: BYOL's projector */
        if (first->ndim != 2 || third->ndim != 2 || first->shape[1] != features || third->shape[1] != first->shape[0])
            return;
        if (third->shape[0] < 1 || third->shape[0] > 4096 || third->shape[1] > 65536) return;
        c->head = c->arch.mlp = c->arch.head_norm = 1;
        c->arch.hidden = first->shape[0] == features ? 0 : (int)first->shape[0];
        c->arch.dim = (int)third->shape[0];
        return;
    }
    int two = first && last;
    if (two && (first->ndim != 2 || first->shape[0] != features || first->shape[1] != features)) return;
    if (!two && (in_prefix(c, "encoder_q.") || in_prefix(c, "encoder_k.")))
        last = hpt__candidate_head(r, c, "fc.weight");
    if (!last || last->ndim != 2 || last->shape[1] != features || last->shape[0] < 1 || last->shape[0] > 4096) return;
    c->head = 1;
    c->arch.mlp = two;
    c->arch.dim = (int)last->shape[0];
}

/* ---- which one ---- */

/* Smaller is better. The order follows what the projects themselves hand on: the query or online network, not its
 * momentum copy (MoCo, BYOL, solo-learn, lightly); the teacher, not the student (DINO, iBOT); averaged weights (timm's
 * load_checkpoint takes them) - but mmengine swaps before it saves, so that "ema_state_dict" holds the plain ones.
 * Depth and, last, the place in the file decide among equals. */
static int preference(const hpt__candidate *c) {
    int p = 0, depth = 0;
    const char *end = c->shown + c->shown_len;
    for (const char *a = c->shown; a < end; a++) {
        const char *b = a;
        while (b < end && *b != '.' && *b != '/')
            b++;
        depth++;
        if (hpt__is_word(a, (size_t)(b - a), "ema_state_dict monitor_weights"))
            p += 16;
        else
            for (const char *w = a; w < b; w++) {
                size_t n = 0;
                while (w + n < b && w[n] != '_')
                    n++;
                if (hpt__is_word(w, n, "k key momentum target"))
                    p += 8;
                else if (hpt__is_word(w, n, "student"))
                    p += 4;
                else if (hpt__is_word(w, n, "teacher"))
                    p += 2;
                else if (hpt__is_word(w, n, "ema"))
                    p -= 1;
                w += n;
            }
        a = b;
    }
    return (c->stem ? 0 : 1 << 20) + p * 256 + (depth < 255 ? depth : 255);
}
static int by_preference(const void *a, const void *b) {
    const hpt__candidate *x = a, *y = b;
    return x->preference != y->preference ? (x->preference < y->preference ? -1 : 1)
                                          : (x->file_order > y->file_order) - (x->file_order < y->file_order);
}

/* Sorts; 1 if two names are the same. */
static int sort_names(hpt__networks *r) {
    int twice = 0;
    for (uint32_t i = 0; i < r->f->n; i++)
        r->order[i] = &r->t[i];
    qsort(r->order, r->f->n, sizeof *r->order, by_name);
    for (uint32_t i = 1; i < r->f->n && !twice; i++)
        twice = !strcmp(r->order[i - 1]->name, r->order[i]->name);
    return twice;
}
/* Fills order. Names without wrappers, unless two tensors then had the same. */
static hpt_status put_in_order(hpt__networks *r) {
    const hpt__tensorfile *f = r->f;
    size_t bytes = 0, used = 0;
    int wrapped = 0;
    if (!(r->order = hpt__alloc(sizeof(const hpt__ftensor *) * ((size_t)f->n + 1))))
        return hpt__fail_memory(sizeof *r->order * f->n);
    r->t = f->t;
    for (uint32_t i = 0; i < f->n; i++) {
        size_t n = unwrapped(f->t[i].name, NULL);
        wrapped |= n < strlen(f->t[i].name);
        bytes += n + 1;
    }
    if (wrapped) {
        r->text = hpt__alloc(bytes);
        hpt__ftensor *t = hpt__alloc(sizeof *t * ((size_t)f->n + 1));
        if (!r->text || !t) {
            hpt__free(t);
            return hpt__fail_memory(bytes + sizeof *t * f->n);
        }
        r->t = t;
        for (uint32_t i = 0; i < f->n; i++) {
            r->t[i] = f->t[i];
            r->t[i].name = r->text + used;
            used += unwrapped(f->t[i].name, r->t[i].name) + 1;
        }
    }
    if (sort_names(r) && wrapped) {
        hpt__free(r->t);
        hpt__free(r->text);
        r->t = f->t;
        r->text = NULL;
        sort_names(r);
    }
    return HPT_OK;
}
hpt_status hpt__recognise(const hpt__tensorfile *f, hpt__networks *r) {
    *r = (hpt__networks){.f = f};
    HPT_TRY(put_in_order(r));
    for (uint32_t i = 0; i < f->n && r->n < HPT__CANDIDATES; i++) {
        hpt__candidate *c = &r->c[r->n];
        int family = 0;
        while (family < HPT__FAMILIES && !(namings[family] && namings[family]->begins(r, &r->t[i], c)))
            family++;
        if (family == HPT__FAMILIES) continue;
        c->family = family;
        c->shown = hpt__networks_name(r, &r->t[i]);
        c->shown_len = (int)hpt__networks_shown(r, &r->t[i], (size_t)c->prefix_len);
        c->file_order = r->n++;
        c->at = c->end = lower(r, c->prefix, c->prefix_len, "");
        while (c->end < f->n && !strncmp(r->order[c->end]->name, c->prefix, (size_t)c->prefix_len))
            c->end++;
        namings[family]->derive(r, c);
        c->arch.family = c->family;
        if (*c->arch.name) find_head(r, c);
        c->preference = preference(c);
    }
    qsort(r->c, (size_t)r->n, sizeof *r->c, by_preference);
    for (int i = 0; i < r->n; i++)
        for (int j = 0; j < i; j++)
            r->c[i].same |= r->c[i].stem && r->c[j].stem && r->c[i].stem->data &&
                            r->c[i].stem->data == r->c[j].stem->data && r->c[i].block->data == r->c[j].block->data;
    return HPT_OK;
}
void hpt__networks_fini(hpt__networks *r) {
    if (r->text) hpt__free(r->t);
    hpt__free(r->text);
    hpt__free(r->order);
    *r = (hpt__networks){0};
}

/* Is wanted this prefix, with or without its last separator and its dictionaries? "." is the network whose names
 * nothing precedes. */
static int names_prefix(const hpt__candidate *c, const char *wanted, int with_containers, int with_wrappers) {
    const char *p = with_wrappers ? c->shown : c->prefix, *end = p + (with_wrappers ? c->shown_len : c->prefix_len);
    size_t w = strlen(wanted);
    for (const char *q = p; !with_containers && q < end; q++)
        if (*q == '/') p = q + 1;
    size_t n = (size_t)(end - p);
    if (!n) return !strcmp(wanted, ".");
    return (w == n || w + 1 == n) && !memcmp(wanted, p, w);
}
hpt_status hpt__networks_choose(const hpt__networks *r, const char *wanted, const hpt__candidate **c) {
    char list[800];
    size_t used = 0;
    *c = r->n ? &r->c[0] : NULL;
    if (!*wanted) return HPT_OK;
    for (int with = 3; with >= 0; with--)
        for (int i = 0; i < r->n; i++)
            if (names_prefix(&r->c[i], wanted, with & 1, with & 2)) {
                *c = &r->c[i];
                return HPT_OK;
            }
    *list = 0;
    for (int i = 0; i < r->n && used < sizeof list - 200; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s'%.*s'", i ? ", " : "",
                                 r->c[i].shown_len ? (r->c[i].shown_len < 150 ? r->c[i].shown_len : 150) : 1,
                                 r->c[i].shown_len ? r->c[i].shown : ".");
    return hpt__fail(HPT_ERR_MISMATCH, "no backbone lies under backbone_prefix '%.200s'; the file has %s", wanted,
                     r->n ? list : "none");
}

const hpt__naming *hpt__naming_of(const hpt__arch *a) { return namings[a->family]; }
void hpt__networks_marks(const hpt__arch *a, char *text, size_t size) {
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < HPT__FAMILIES && used < size; i++)
        if (namings[i] && (!a || (int)a->family == i))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", no " : "no ", namings[i]->mark);
}

int hpt__candidate_inside(const hpt__candidate *c, const char *name, char *canonical, size_t size) {
    return namings[c->family]->inside(c, name, canonical, size);
}
int hpt__candidate_is(const hpt__candidate *c, const hpt__arch *asked) {
    const hpt__naming *naming = namings[c->family];
    return naming->is ? naming->is(c, asked) : hpt__arch_same(&c->arch, asked, 0);
}
const char *hpt__looks_like(const hpt__candidate *c, const char *canonical) {
    return namings[c->family]->looks_like(canonical);
}

const char *hpt__no_network(const hpt__networks *r) {
    /* the first row of which a name holds the word: what is in other networks too stands last */
    static const struct {
        const char *word, *network;
    } whole[] = {{"flat_param", "weights that FSDP has flattened: save its full state dict"},
                 {"_packed_params", "a quantized network"},
                 {"relative_position_bias_table", "a Swin transformer"},
                 {"self_attention.in_proj_weight", "a vision transformer (ViT)"},
                 {"attn.qkv.weight", "a vision transformer (ViT)"},
                 {"attention.attention.query", "a vision transformer (ViT)"},
                 {"dwconv.weight", "a ConvNeXt"},
                 {"layer_scale", "a ConvNeXt"},
                 {"denseblock1.", "a DenseNet"},
                 {"Mixed_5b.", "an Inception network"},
                 {"branch2.", "a network with branches (ShuffleNet, GoogLeNet)"},
                 {"conv_dw.weight",
                  "a network of depthwise convolutions (RexNet, MobileNet) that libhpt does not build"},
                 {"features.0.", "a network of numbered features (VGG, AlexNet, MobileNet)"}};
    for (uint32_t i = 0; i < r->f->n; i++)
        for (int k = 0; k < HPT__FAMILIES; k++) {
            const char *looks = namings[k] ? namings[k]->no_network(r->order[i]->name) : NULL;
            if (looks) return looks;
        }
    for (size_t k = 0; k < sizeof whole / sizeof *whole; k++)
        for (uint32_t i = 0; i < r->f->n; i++)
            if (strstr(r->order[i]->name, whole[k].word)) return whole[k].network;
    return NULL;
}

const hpt__ftensor *hpt__candidate_head(const hpt__networks *r, const hpt__candidate *c, const char *name) {
    static const struct {
        const char *backbone, *head;
    } places[] = {{"encoder_q.0.", "encoder_q.1.mlp."},
                  {"encoder_k.0.", "encoder_k.1.mlp."},
                  {"backbone.", "neck.mlp."},
                  {"backbone.", "projector."},
                  {"backbone.", "projection_head.layers."}};
    const hpt__ftensor *t = hpt__networks_find(r, c->prefix, c->prefix_len, name);
    const char *rest = name + (strncmp(name, "fc.", 3) ? 0 : 3);
    char full[100];
    /* in place of the network's own classifier */
    for (const char *const *w = namings[c->family]->classifier; *w && rest != name && !t; w++) {
        snprintf(full, sizeof full, "%s.%s", *w, rest);
        t = hpt__networks_find(r, c->prefix, c->prefix_len, full);
    }
    for (size_t i = 0; i < sizeof places / sizeof *places && !t; i++) {
        int n = (int)strlen(places[i].backbone), outer = c->prefix_len - n;
        if (outer < 0 || memcmp(c->prefix + outer, places[i].backbone, (size_t)n)) continue;
        snprintf(full, sizeof full, "%s%s", places[i].head, rest);
        t = hpt__networks_find(r, c->prefix, outer, full);
    }
    return t;
}

/* ---- who wrote it ---- */

static int has_meta(const hpt__networks *r, const char *key) { return json_object_get(r->f->meta, key) != NULL; }
/* Does any tensor's name hold the word? */
static int in_names(const hpt__networks *r, const char *word) {
    for (uint32_t i = 0; i < r->f->n; i++)
        if (strstr(r->t[i].name, word)) return 1;
    return 0;
}
const char *hpt__producer(const hpt__networks *r, const hpt__candidate *c) {
    const char *author = json_string_value(json_object_get(r->f->meta, "author"));
    int lightning = has_meta(r, "pytorch-lightning_version");
    if (has_meta(r, "hpt/format")) return "libhpt (session)";
    if (author && !strcmp(author, "OpenSelfSup")) return "OpenSelfSup or HPT (extracted backbone)";
    if (c && !strcmp(c->naming, "detectron2")) return "detectron2";
    if (in_prefix(c, "_feature_blocks.")) return "VISSL";
    if (in_names(r, "projection_head.layers.") || in_names(r, "criterion.memory_bank")) return "lightly";
    if (in_prefix(c, "encoder_q.0.")) return "OpenSelfSup or HPT (MoCo)";
    if (in_names(r, "momentum_backbone.") ||
        (lightning && in_names(r, "state_dict/backbone.") && in_names(r, "state_dict/classifier.")))
        return "solo-learn";
    if (lightning) return "PyTorch Lightning";
    if (in_names(r, "encoder_q.") && in_names(r, "queue_ptr")) return "facebookresearch/moco";
    if (in_prefix(c, "encoder_q.")) return "facebookresearch/moco (weights alone)";
    if (in_names(r, "base_encoder.") && in_names(r, "momentum_encoder.")) return "MoCo v3";
    if (has_meta(r, "meta/mmengine_version") || has_meta(r, "meta/mmcv_version") ||
        has_meta(r, "meta/mmselfsup_version"))
        return "OpenMMLab";
    if (in_names(r, "teacher") && in_names(r, "student")) return "DINO";
    if (in_names(r, "online_encoder.") || in_names(r, "online_net.")) return "BYOL";
    if (in_names(r, "prototypes.")) return "SwAV";
    if (in_prefix(c, "encoder.") && in_names(r, "predictor.")) return "SimSiam";
    if (has_meta(r, "version") && has_meta(r, "arch") && in_names(r, "state_dict")) return "timm (training script)";
    return NULL;
}

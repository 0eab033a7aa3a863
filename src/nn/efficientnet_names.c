/* SPDX-License-Identifier: MIT
 * How EfficientNets are named in files: timm's names (which are libhpt's own), the same with numbers for its children
 * (Sequential), those of lukemelas' EfficientNet-PyTorch and torchvision's. Which member a file holds is told by its
 * blocks and widths, which flavour by its names and by what the file says of itself; and there are the networks of the
 * same builders that are none of ours. docs/checkpoints.md has the table. */
#include "nn/recognise.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the schemes ---- */

enum { EXPAND, NORM1, DEPTHWISE, NORM2, REDUCE, GROW, PROJECT, NORM3, PARTS };
enum { STEM_CONV, STEM_NORM, HEAD_CONV, HEAD_NORM, ENDS };
enum { TIMM, LUKEMELAS, TORCHVISION };

static const char *const canonical_end[ENDS] = {"conv_stem", "bn1", "conv_head", "bn2"};
typedef struct scheme {
    const char *naming, *blocks, *inner;    /* inner: between a block's number and its parts */
    /* flat: blocks are numbered through all stages; number of the first stage */
    int flat, first;
    const char *end[ENDS];
    const char *part[2][PARTS];             /* of the first stage, which does not expand (NULL), and of the others */
} scheme;
static const scheme schemes[] = {
    [TIMM] = {.naming = "timm", .blocks = "blocks.", .inner = "", .end = {"conv_stem", "bn1", "conv_head", "bn2"},
              .part = {{NULL, NULL, "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"},
                       {"conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3"}}},
    [LUKEMELAS] = {.naming = "lukemelas (EfficientNet-PyTorch)", .blocks = "_blocks.", .inner = "", .flat = 1,
                   .end = {"_conv_stem", "_bn0", "_conv_head", "_bn1"},
                   .part = {{NULL, NULL, "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv",
                             "_bn2"},
                            {"_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand",
                             "_project_conv", "_bn2"}}},
    [TORCHVISION] = {.naming = "torchvision", .blocks = "features.", .inner = "block.", .first = 1,
                     .end = {"features.0.0", "features.0.1", "features.8.0", "features.8.1"},
                     .part = {{NULL, NULL, "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"},
                              {"0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"}}}};

static const scheme *scheme_of(const hpt__candidate *c) { return &schemes[c->own.efficientnet.scheme]; }
static int is_conv(const hpt__ftensor *t) { return t && t->ndim == 4; }

/* ---- where a network begins ---- */

/* Does name end in tail, which begins with a component of it? Then where the tail begins, else -1. */
static int ends_in(const char *name, const char *tail) {
    size_t n = strlen(name), k = strlen(tail);
    if (n < k || strcmp(name + n - k, tail)) return -1;
    return n == k || name[n - k - 1] == '.' || name[n - k - 1] == '/' ? (int)(n - k) : -1;
}
/* Start of the component that ends before byte end ("a.blocks." 9: 2). */
static int component(const char *name, int end) {
    int at = end - 1;
    while (at > 0 && name[at - 1] != '.' && name[at - 1] != '/') at--;
    return at;
}
static int begins_as(hpt__candidate *c, const hpt__ftensor *t, int at, int scheme_id, const char *other) {
    const scheme *s = &schemes[scheme_id];
    *c = (hpt__candidate){.prefix = t->name, .prefix_len = at, .block = t, .naming = s->naming};
    hpt__efficientnet_names *own = &c->own.efficientnet;
    own->scheme = scheme_id;
    own->other = other;
    snprintf(own->blocks, sizeof own->blocks, "%s", s->blocks);
    for (int i = 0; i < ENDS; i++) snprintf(own->end[i], sizeof own->end[i], "%s", s->end[i]);
    return 1;
}
/* timm's: the first block under "blocks", or under a number with the stem before it. Networks that its builder makes
 * of other blocks begin so too. */
static int begins_timm(const hpt__networks *r, const hpt__ftensor *t, hpt__candidate *c) {
    static const char *const tails[] = {"0.0.conv_dw.weight", "0.0.conv_dw.0.weight", "0.0.conv.weight",
                                        "0.0.conv_exp.weight"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        int end = ends_in(t->name, tails[i]);
        if (end <= 0 || t->name[end - 1] != '.') continue;
        int at = component(t->name, end), length = end - 1 - at;
        if (hpt__is_word(t->name + at, (size_t)length, "blocks"))
            return i < 2 || is_conv(hpt__networks_find(r, t->name, at, "conv_stem.weight"))
                ? begins_as(c, t, at, TIMM, NULL) : 0;
        if (i || length > 3 || strspn(t->name + at, "0123456789") != (size_t)length) continue;
        if (!is_conv(hpt__networks_find(r, t->name, at, "0.weight"))) continue;
        begins_as(c, t, at, TIMM, NULL);
        c->naming = "timm's children, numbered (Sequential)";
        snprintf(c->own.efficientnet.blocks, sizeof c->own.efficientnet.blocks, "%.*s", length + 1, t->name + at);
        return 1;
    }
    return 0;
}
static int begins_torchvision(const hpt__networks *r, const hpt__ftensor *t, hpt__candidate *c) {
    int at = ends_in(t->name, "features.1.0.block.0.0.weight");
    if (at >= 0) return begins_as(c, t, at, TORCHVISION, NULL);
    if ((at = ends_in(t->name, "features.1.block.0.0.weight")) >= 0)
        return begins_as(c, t, at, TORCHVISION, "a MobileNetV3");
    if ((at = ends_in(t->name, "features.1.conv.0.0.weight")) >= 0)
        return begins_as(c, t, at, TORCHVISION, "a MobileNetV2");
    if ((at = ends_in(t->name, "1.0.block.0.0.weight")) < 0 ||
        !is_conv(hpt__networks_find(r, t->name, at, "0.0.weight"))) return 0;
    begins_as(c, t, at, TORCHVISION, NULL);
    c->naming = "torchvision's features alone";
    hpt__efficientnet_names *own = &c->own.efficientnet;
    *own->blocks = 0;
    for (int i = 0; i < ENDS; i++)
        snprintf(own->end[i], sizeof own->end[i], "%s", schemes[TORCHVISION].end[i] + strlen("features."));
    return 1;
}
static int begins(const hpt__networks *r, const hpt__ftensor *t, hpt__candidate *c) {
    if (t->ndim != 4 && !t->unreadable) return 0;
    int at = ends_in(t->name, "_blocks.0._depthwise_conv.weight");
    if (at >= 0) return begins_as(c, t, at, LUKEMELAS, NULL);
    return begins_timm(r, t, c) || begins_torchvision(r, t, c);
}

/* ---- its tensors ---- */

static const hpt__ftensor *end_of(const hpt__networks *r, const hpt__candidate *c, int end, const char *field) {
    return hpt__networks_part(r, c, c->own.efficientnet.end[end], field);
}
/* The weight of a part of a block; of flat names, block counts through all stages. */
static const hpt__ftensor *part_of(const hpt__networks *r, const hpt__candidate *c, int stage, int block, int part) {
    const scheme *s = scheme_of(c);
    char rest[80];
    const char *name = s->part[stage > 0][part];
    if (!name) return NULL;
    if (s->flat) snprintf(rest, sizeof rest, "%d.%s.weight", block, name);
    else snprintf(rest, sizeof rest, "%d.%d.%s%s.weight", stage + s->first, block, s->inner, name);
    return hpt__networks_part(r, c, c->own.efficientnet.blocks, rest);
}
static int block_there(const hpt__networks *r, const hpt__candidate *c, int stage, int block) {
    return part_of(r, c, stage, block, DEPTHWISE) || part_of(r, c, stage, block, PROJECT);
}
/* Does a tensor under the prefix have the word in its name? */
static int has(const hpt__networks *r, const hpt__candidate *c, const char *word) {
    for (uint32_t i = c->at; i < c->end; i++)
        if (strstr(r->order[i]->name + c->prefix_len, word)) return 1;
    return 0;
}

/* Among the numbered children of a Sequential the stem stands before the blocks and the head behind them; activations
 * between them, which are children of older versions, have no tensors. */
static void find_numbered_ends(const hpt__networks *r, hpt__candidate *c) {
    hpt__efficientnet_names *own = &c->own.efficientnet;
    int blocks = atoi(own->blocks), found[ENDS] = {-1, -1, -1, -1};
    char name[16];
    for (int i = 0; i < blocks + 8; i++) {
        int first = i < blocks ? STEM_CONV : HEAD_CONV;
        snprintf(name, sizeof name, "%d", i);
        const hpt__ftensor *t = hpt__networks_part(r, c, name, ".weight");
        if (!t || i == blocks) continue;
        if (is_conv(t) && found[first] < 0) found[first] = i;
        if (t->ndim == 1 && found[first] >= 0 && found[first + 1] < 0) found[first + 1] = i;
    }
    for (int i = 0; i < ENDS; i++) snprintf(own->end[i], sizeof own->end[i], "%d", found[i]);
}

/* Blocks of each stage and their output channels, as the file has them: the number of stages. In flat names a stage
 * begins where the channels change, as they do between all stages of an EfficientNet. */
enum { STAGES = HPT__EFFICIENTNET_STAGES, MOST_BLOCKS = 200 };
typedef struct shape { int64_t stem, head, out[STAGES + 1]; int depth[STAGES + 1], stages; } shape;
static int64_t outputs(const hpt__networks *r, const hpt__candidate *c, int stage, int block) {
    const hpt__ftensor *t = part_of(r, c, stage, block, PROJECT);
    return is_conv(t) ? t->shape[0] : 0;
}
static void measure(const hpt__networks *r, const hpt__candidate *c, shape *s) {
    const hpt__ftensor *stem = end_of(r, c, STEM_CONV, ".weight"), *head = end_of(r, c, HEAD_CONV, ".weight");
    *s = (shape){.stem = stem ? stem->shape[0] : 0, .head = head ? head->shape[0] : 0};
    if (!scheme_of(c)->flat) {
        for (; s->stages <= STAGES && block_there(r, c, s->stages, 0); s->stages++) {
            int *n = &s->depth[s->stages];
            while (*n < MOST_BLOCKS && block_there(r, c, s->stages, *n)) ++*n;
            s->out[s->stages] = outputs(r, c, s->stages, 0);
        }
        return;
    }
    int stage = -1;
    for (int b = 0; b < MOST_BLOCKS && block_there(r, c, stage, b); b++) {
        int64_t out = outputs(r, c, stage, b);
        if (stage < 0 || (out && out != s->out[stage])) {
            if (++stage > STAGES) break;
            s->out[stage] = out;
        }
        s->depth[stage]++;
    }
    s->stages = stage + 1;
}

/* ---- which network it is ---- */

/* Lite: stem, last convolution and the repeats of first and last stage stay. */
typedef struct scaling { const char *name; double width, depth; int lite; } scaling;
static int same_shape(const shape *s, double width, double depth, int lite) {
    int ends[2];
    for (int i = 0; i < 2; i++)
        ends[i] = hpt__efficientnet_widened(lite ? 1 : width, hpt__efficientnet_channels(i ? STAGES : -1));
    if (s->stages != STAGES || s->stem != ends[0] || s->head != ends[1]) return 0;
    for (int i = 0; i < STAGES; i++) {
        double by = lite && (i == 0 || i == STAGES - 1) ? 1 : depth;
        if (s->out[i] != hpt__efficientnet_widened(width, hpt__efficientnet_channels(i)) ||
            s->depth[i] != hpt__efficientnet_deepened(by, hpt__efficientnet_blocks(i))) return 0;
    }
    return 1;
}

/* A network that the same builders make and libhpt does not, as its names tell; NULL: nothing speaks against an
 * EfficientNet. */
static const char *other_network(const hpt__networks *r, const hpt__candidate *c, const shape *s) {
    static const struct { int depth[STAGES]; const char *name; } plain[] = {
        {{1, 2, 3, 4, 3, 3, 1}, "a MobileNetV2"}, {{1, 3, 3, 3, 2, 4, 1}, "an MNASNet"},
        {{1, 2, 3, 4, 2, 3, 1}, "an MNASNet with squeeze and excitation"},
        {{1, 3, 4, 4, 4, 4, 1}, "an FBNet-C or Single-Path NASNet"}};
    const char *conv = c->block->name + c->prefix_len;
    int squeezes = has(r, c, scheme_of(c)->part[1][REDUCE]);
    if (c->own.efficientnet.other) return c->own.efficientnet.other;
    if (has(r, c, ".routing_fn.")) return "an EfficientNet of conditional convolutions (CondConv)";
    if (has(r, c, "conv_dw.0.weight") || has(r, c, "conv_pw.0.weight")) return "a MixNet";
    if (has(r, c, "dw_start.") || has(r, c, "norm_head.")) return "a MobileNetV4";
    if (strstr(conv, ".conv.") || strstr(conv, ".conv_exp."))
        return squeezes ? "an EfficientNetV2" : "an EfficientNet-EdgeTPU or MobileNet-EdgeTPU";
    if (c->own.efficientnet.scheme == TORCHVISION && is_conv(c->block) && c->block->shape[1] > 1)
        return "an EfficientNetV2";
    if (end_of(r, c, HEAD_CONV, ".bias") && !end_of(r, c, HEAD_NORM, ".weight"))
        return "a MobileNetV3 or one of its class (LCNet, FBNetV3, HardCoRe-NAS)";
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (s->stages == STAGES && !memcmp(s->depth, plain[i].depth, sizeof plain[i].depth)) return plain[i].name;
    return NULL;
}
static void set_why(hpt__candidate *c, const char *what) {
    snprintf(c->why, sizeof c->why, "it is %s, which libhpt does not build (of this kind it builds efficientnet_b0 to "
             "efficientnet_b3)", what);
}
/* Why a network is none of ours though it has all parts of an EfficientNet. */
static void unknown_shape(hpt__candidate *c, const shape *s) {
    char depths[80] = "", channels[120] = "";
    size_t a = 0, b = 0;
    for (int i = 0; i < s->stages && i < STAGES; i++) {
        a += (size_t)snprintf(depths + a, sizeof depths - a, "%s%d", i ? ", " : "", s->depth[i]);
        b += (size_t)snprintf(channels + b, sizeof channels - b, "%s%u", i ? ", " : "", (unsigned)s->out[i]);
    }
    if (s->stages != STAGES)
        snprintf(c->why, sizeof c->why, "it has %d stages of blocks, not an EfficientNet's %d: another network, or one "
                 "that was cut before its end", s->stages, STAGES);
    else
        snprintf(c->why, sizeof c->why, "an EfficientNet of %.40s blocks and %.80s channels is none that libhpt knows",
                 depths, channels);
}
/* ---- flavours: the same tensors, other padding and batch norm ---- */

static const char *const flavours[] = {[HPT__FLAVOUR_TIMM] = "timm", [HPT__FLAVOUR_TF] = "tf",
                                       [HPT__FLAVOUR_LUKEMELAS] = "lukemelas",
                                       [HPT__FLAVOUR_TORCHVISION] = "torchvision"};
static int after_tensorflow(const hpt__arch *a) {
    return a->flavour == HPT__FLAVOUR_TF || a->flavour == HPT__FLAVOUR_LUKEMELAS;
}
static void words(const hpt__arch *a, char *text, size_t size) {
    char as[40] = "";
    if (a->flavour == HPT__FLAVOUR_LUKEMELAS)
        snprintf(as, sizeof as, " as for images of %d pixels", hpt__efficientnet_members[a->member].built_for);
    if (after_tensorflow(a)) snprintf(text, size, "(TensorFlow's same padding%s, batch norm eps 1e-3)", as);
    else snprintf(text, size, "(symmetric padding, batch norm eps 1e-5)");
}

static void set_flavour(hpt__candidate *c, int flavour) {
    c->arch.flavour = flavour;
    snprintf(c->arch.name, sizeof c->arch.name, "%sefficientnet_b%d", hpt__efficientnet_prefix(flavour),
             c->arch.member);
}
/* What a text (a file's name, a value in it) says of the flavour of an EfficientNet; -1: nothing. */
static int flavour_said(const char *text) {
    const char *at = strstr(text, "efficientnet_b");
    for (int i = HPT__FLAVOUR_TF; at && i <= HPT__FLAVOUR_LUKEMELAS; i++) {
        const char *prefix = hpt__efficientnet_prefix(i);
        size_t n = strlen(prefix);
        if ((size_t)(at - text) >= n && !memcmp(at - n, prefix, n)) return i;
    }
    return at ? HPT__FLAVOUR_TIMM : -1;
}
/* The same of the values of the file that name its network ("arch" of timm's and MoCo's training scripts). */
static int flavour_inside(const hpt__networks *r) {
    const char *key;
    json_t *v;
    json_object_foreach(r->f->meta, key, v) {
        const char *last = strrchr(key, '/'), *text = json_string_value(v);
        last = last ? last + 1 : key;
        int named = text && hpt__is_word(last, strlen(last), "arch architecture model model_name backbone encoder"),
            said = named ? flavour_said(text) : -1;
        if (said >= 0) return said;
    }
    return -1;
}
/* A file of ours says it. Else lukemelas' and torchvision's names tell theirs; those of timm's two flavours are the
 * same, and it takes a value of the file, its own name, or a default. */
static void find_flavour(const hpt__networks *r, hpt__candidate *c) {
    static const int by_names[] = {[TIMM] = HPT__FLAVOUR_TIMM, [LUKEMELAS] = HPT__FLAVOUR_LUKEMELAS,
                                   [TORCHVISION] = HPT__FLAVOUR_TORCHVISION};
    hpt__efficientnet_names *own = &c->own.efficientnet;
    const char *ours = json_string_value(json_object_get(r->f->meta, "hpt/arch")), *path = r->f->path ? r->f->path : "",
        *base = strrchr(path, '/');
    int said = ours ? flavour_said(ours) : -1;
    if (said < 0 && own->scheme == TIMM) said = flavour_inside(r);
    set_flavour(c, said >= 0 ? said : by_names[own->scheme]);
    if (said >= 0 || own->scheme != TIMM) return;
    said = flavour_said(base ? base + 1 : path);
    own->open = said >= 0 ? 2 : 1;
    if (said >= 0) set_flavour(c, said);
    int other = c->arch.flavour == HPT__FLAVOUR_TIMM ? HPT__FLAVOUR_TF : HPT__FLAVOUR_TIMM;
    char like[80];
    words(&c->arch, like, sizeof like);
    snprintf(c->note, sizeof c->note, "the tensors of efficientnet_b%d and tf_efficientnet_b%d are called the same; "
             "taken as %s %s, %s; arch=%sefficientnet_b%d takes the other", c->arch.member, c->arch.member,
             c->arch.name, like, said >= 0 ? "as the file's name says" : "for the file does not say which it is",
             hpt__efficientnet_prefix(other), c->arch.member);
}

/* Member from block counts and widths; else why it is none of ours. */
static void derive(const hpt__networks *r, hpt__candidate *c) {
    static const scaling others[] = {
        {"an EfficientNet-B4", 1.4, 1.8, 0}, {"an EfficientNet-B5", 1.6, 2.2, 0}, {"an EfficientNet-B6", 1.8, 2.6, 0},
        {"an EfficientNet-B7", 2, 3.1, 0}, {"an EfficientNet-B8", 2.2, 3.6, 0}, {"an EfficientNet-L2", 4.3, 5.3, 0},
        {"an EfficientNet-Lite1", 1, 1.1, 1}, {"an EfficientNet-Lite2", 1.1, 1.2, 1},
        {"an EfficientNet-Lite3", 1.2, 1.4, 1}, {"an EfficientNet-Lite4", 1.4, 1.8, 1}};
    hpt__efficientnet_names *own = &c->own.efficientnet;
    int member = -1;
    shape s;
    if (*own->blocks && strspn(own->blocks, "0123456789") && !scheme_of(c)->flat) find_numbered_ends(r, c);
    measure(r, c, &s);
    for (int i = 0; i < STAGES; i++) own->start[i + 1] = own->start[i] + s.depth[i];
    const hpt__ftensor *stem = end_of(r, c, STEM_CONV, ".weight");
    if (is_conv(stem) && end_of(r, c, STEM_NORM, ".weight")) c->stem = stem;
    const char *other = other_network(r, c, &s);
    for (size_t i = 0; i < sizeof others / sizeof *others && !other; i++)
        if (same_shape(&s, others[i].width, others[i].depth, others[i].lite)) other = others[i].name;
    for (int i = 0; i < HPT__EFFICIENTNETS; i++) {
        const hpt__efficientnet_member *m = &hpt__efficientnet_members[i];
        if (same_shape(&s, m->width, m->depth, 0)) member = i;
    }
    if (other) set_why(c, other);
    else if (!c->stem)
        snprintf(c->why, sizeof c->why, "it has no stem of a convolution and a batch norm (%s, %s)",
                 own->end[STEM_CONV], own->end[STEM_NORM]);
    else if (stem->shape[1] != 3 || stem->shape[2] != 3 || stem->shape[3] != 3)
        snprintf(c->why, sizeof c->why,
                 "its first convolution is %lldx%lld of %lld channels, not an EfficientNet's 3x3 of the 3 of RGB",
                 (long long)stem->shape[2], (long long)stem->shape[3], (long long)stem->shape[1]);
    else if (is_conv(c->block) && c->block->shape[1] != 1)
        snprintf(c->why, sizeof c->why, "its convolutions have groups of %lld channels, where an EfficientNet's are "
                 "depthwise", (long long)c->block->shape[1]);
    else if (s.stages != STAGES) unknown_shape(c, &s);
    else if (!end_of(r, c, HEAD_CONV, ".weight") || !end_of(r, c, HEAD_NORM, ".weight"))
        snprintf(c->why, sizeof c->why, "it has no %s and %s behind its blocks: a network that was cut before its end",
                 own->end[HEAD_CONV], own->end[HEAD_NORM]);
    else if (member < 0) unknown_shape(c, &s);
    else {
        c->arch.member = member;
        find_flavour(r, c);
    }
}

/* ---- names inside ---- */

static int takes(const char **name, const char *start) {
    size_t n = strlen(start);
    if (strncmp(*name, start, n) || (*name)[n] != '.') return 0;
    *name += n + 1;
    return 1;
}
/* A number and the dot behind it; -1: there is none. */
static int number(const char **name) {
    size_t n = strspn(*name, "0123456789");
    if (!n || n > 3 || (*name)[n] != '.') return -1;
    int v = atoi(*name);
    *name += n + 1;
    return v;
}
/* Is the rest of a name that of a block's tensor? Then fills canonical: as it is where the block has no such part. */
static int block_inside(const hpt__candidate *c, const char *rest, char *canonical, size_t size) {
    const hpt__efficientnet_names *own = &c->own.efficientnet;
    const scheme *s = scheme_of(c);
    int stage = number(&rest) - s->first, block;
    if (s->flat) {
        block = stage;
        for (stage = 0; stage < STAGES - 1 && block >= own->start[stage + 1];) stage++;
        block -= own->start[stage];
    } else
        block = number(&rest);
    if (stage < 0 || stage >= STAGES || block < 0 || strncmp(rest, s->inner, strlen(s->inner))) return 0;
    rest += strlen(s->inner);
    for (int i = 0; i < PARTS; i++) {
        const char *part = s->part[stage > 0][i];
        if (!part || !takes(&rest, part)) continue;
        snprintf(canonical, size, "blocks.%d.%d.%s.%s", stage, block, schemes[TIMM].part[stage > 0][i], rest);
        return 1;
    }
    snprintf(canonical, size, "blocks.%d.%d.%s", stage, block, rest);
    return 1;
}
static int inside(const hpt__candidate *c, const char *name, char *canonical, size_t size) {
    const hpt__efficientnet_names *own = &c->own.efficientnet;
    const char *rest = name;
    size_t root = strlen(own->blocks), first = strcspn(name, ".");
    for (int i = 0; i < ENDS; i++)
        if (takes(&rest, own->end[i])) {
            snprintf(canonical, size, "%s.%s", canonical_end[i], rest);
            return 1;
        }
    if (!strncmp(name, own->blocks, root) && block_inside(c, name + root, canonical, size)) return 1;
    /* what the network has no place for: of numbered children all up to the head, of features all */
    int numbered = first && first < 4 && strspn(name, "0123456789") == first;
    int ours = numbered ? atoi(name) <= atoi(own->end[HEAD_NORM]) && strspn(own->end[HEAD_NORM], "0123456789")
                        : (root && !strncmp(name, own->blocks, root)) ||
                              hpt__is_word(name, first, "conv_stem bn1 conv_head bn2 _conv_stem _bn0 _conv_head _bn1");
    if (!ours || strchr(name, '/')) return 0;
    snprintf(canonical, size, "%s", name);
    return 1;
}

static const char *looks_like(const char *canonical) {
    const char *last = strrchr(canonical, '.');
    if (last && !strcmp(last, ".bias") && !strstr(canonical, ".se."))
        return "a network whose convolutions have biases (batch norm folded away?)";
    if (strstr(canonical, ".se.conv.")) return "an EfficientNet with channel attention (ECA)";
    for (const char *a = canonical; *a; a += strcspn(a, ".") + (a[strcspn(a, ".")] != 0)) {
        const char *altered = hpt__looks_altered(a, strcspn(a, "."));
        if (altered) return altered;
        if (hpt__is_word(a, strcspn(a, "."), "aa filt")) return "an antialiased EfficientNet (blur pools)";
    }
    return NULL;
}

/* What the name of a tensor tells in a file where no network was found: EfficientNets that name their parts as no one
 * else does. */
static const char *no_network(const char *name) {
    static const struct { const char *word, *network; } whole[] = {
        {"depthwise_conv.depthwise_conv.weight", "an EfficientNet of Hugging Face's transformers, whose names libhpt "
                                                 "does not read (timm's it does)"},
        {"depthwise_conv.conv.weight",
         "a network of OpenMMLab's EfficientNet or MobileNet, whose names libhpt does not "
                                       "read (timm's it does)"},
        {"layers.8.0.layers.0.weight", "an MNASNet"},
        {"depsep.conv.weight", "an EfficientNet of NVIDIA's examples, whose names libhpt does not read (timm's it "
                               "does)"}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strstr(name, whole[i].word)) return whole[i].network;
    return NULL;
}

/* How many of the network's tensors have the word in libhpt's name for them. */
static int count(const hpt__networks *r, const hpt__candidate *c, const char *word) {
    char canonical[400];
    int n = 0;
    for (uint32_t i = c->at; i < c->end; i++)
        n += inside(c, r->order[i]->name + c->prefix_len, canonical, sizeof canonical) &&
            strstr(canonical, word) != NULL;
    return n;
}
static void unfit(const hpt__networks *r, const hpt__candidate *c, const hpt__tensor *want, const hpt__ftensor *got,
                  char *text, size_t size) {
    int squeezes = strstr(want->name, ".se.") != NULL, blocks = c->own.efficientnet.start[STAGES];
    *text = 0;
    if (!got && squeezes) {
        int n = count(r, c, ".se.");
        if (n) snprintf(text, size, "; of %d squeeze-and-excite tensors it has %d", 4 * blocks, n);
        else
            snprintf(text, size, "; it has none of %d squeeze-and-excite tensors: without them it is an "
                     "EfficientNet-Lite, which libhpt does not build", 4 * blocks);
    } else if (!got && strstr(want->name, ".running_")) {
        snprintf(text, size, "; looks like weights without batch-norm statistics (group norm, or parameters saved "
                 "instead of the state dict)");
    } else if (got && squeezes && got->ndim == 4 && strstr(want->name, ".conv_reduce.weight") &&
               got->shape[1] == want->shape[1]) {
        const char *what = got->shape[0] == want->shape[1] / 4 ? " (a quarter of the expanded channels)" : "";
        snprintf(text, size, "; it squeezes to %lld channels%s, an EfficientNet to %lld, a quarter of those that come "
                 "into the block", (long long)got->shape[0], what, (long long)want->shape[0]);
    }
}

/* libhpt's names are timm's; only its classifier is called fc. */
static void written(const char *format, const char *name, char *out, size_t size) {
    const scheme *s = &schemes[TORCHVISION];
    const char *rest = name;
    int torchvision = !strcmp(format, "torchvision");
    snprintf(out, size, "%s", name);
    if (takes(&rest, "fc") && strcmp(format, "moco")) {
        snprintf(out, size, "%s.%s", torchvision ? "classifier.1" : "classifier", rest);
        return;
    }
    if (!torchvision) return;
    for (int i = 0; i < ENDS; i++)
        if (takes(&rest, canonical_end[i])) snprintf(out, size, "%s.%s", s->end[i], rest);
    if (!takes(&rest, "blocks")) return;
    int stage = number(&rest), block = number(&rest);
    for (int i = 0; i < PARTS; i++)
        if (schemes[TIMM].part[stage > 0][i] && takes(&rest, schemes[TIMM].part[stage > 0][i]))
            snprintf(out, size, "%s%d.%d.%s%s.%s", s->blocks, stage + s->first, block, s->inner, s->part[stage > 0][i],
                     rest);
}

/* timm's and torchvision's compute the same. The two after TensorFlow have the same weights (lukemelas' were taken from
 * there) but, at other sizes than a member is built for, not the same padding: whoever asks for one gets it. */
static int is(const hpt__candidate *c, const hpt__arch *asked) {
    hpt__arch mine = c->arch;
    int open = c->own.efficientnet.open, alike = asked->flavour == mine.flavour || open == 1 ||
        (!after_tensorflow(asked) && !after_tensorflow(&mine));
    if (asked->family != mine.family || asked->member != mine.member) return 0;
    if (!open && after_tensorflow(asked) != after_tensorflow(&mine)) return 0;
    return alike ? 1 : 2;
}
static void options(const hpt__arch *a, char *text, size_t size) { snprintf(text, size, "arch=%s", a->name); }
static int entries(const hpt__arch *a, json_t *report) {
    return json_object_set_new(report, "flavour", json_string(flavours[a->flavour]));
}
static void loses(const hpt__arch *a, const char *format, char *text, size_t size) {
    char mine[80], theirs[80];
    *text = 0;
    if (strcmp(format, "torchvision") || !after_tensorflow(a)) return;
    words(a, mine, sizeof mine);
    words(&(hpt__arch){.flavour = HPT__FLAVOUR_TORCHVISION}, theirs, sizeof theirs);
    snprintf(text, size, "its features will be others in torchvision, whose network is another %s than this %s", theirs,
             mine);
}

const hpt__naming hpt__naming_efficientnet = {
    .mark = "blocks.0.0.conv_dw.weight of an EfficientNet", .classifier = {"classifier", "fc", "classifier.1", "_fc"},
    .format = "timm", .untold = 1, .begins = begins, .derive = derive, .inside = inside, .looks_like = looks_like,
    .no_network = no_network, .unfit = unfit, .is = is, .words = words, .options = options, .entries = entries,
    .written = written, .loses = loses};

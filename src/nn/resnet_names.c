/* SPDX-License-Identifier: MIT
 * How ResNets are named in files: torchvision's names and what other projects make of them (numbered children of a
 * Sequential, detectron2's res2 and norms inside convolutions, lightly's shortcuts), stems of several kinds, and the
 * networks that have the same names and are none of ours. The names that were tried are those of the projects' own
 * files: docs/checkpoints.md has the table, tests/golden the files. */
#include "nn/recognise.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- where a network begins ---- */

static int is_conv(const hpt__ftensor *t) { return t && t->ndim == 4; }

static int numbered_stage(const hpt__networks *r, const char *name, int at, int number) {
    char rest[40];
    snprintf(rest, sizeof rest, "%d.0.conv1.weight", number);
    return number >= 0 && is_conv(hpt__networks_find(r, name, at, rest));
}
/* Is this the first convolution of a first stage, prefix + STAGE + ".0.conv1.weight"? Then fills prefix and the names
 * of the stages. */
static int begins(const hpt__networks *r, const hpt__ftensor *t, hpt__candidate *c) {
    static const char tail[] = ".0.conv1.weight";
    const char *name = t->name;
    size_t n = strlen(name), end = n - (sizeof tail - 1), at = end;
    if ((t->ndim != 4 && !t->unreadable) || n < sizeof tail || strcmp(name + end, tail)) return 0;
    while (at && name[at - 1] != '.' && name[at - 1] != '/')
        at--;
    int named = hpt__is_word(name + at, end - at, "layer1"), detectron = hpt__is_word(name + at, end - at, "res2"),
        number = -1;
    if (end - at < 4 && strspn(name + at, "0123456789") == end - at) number = atoi(name + at);
    *c = (hpt__candidate){.prefix = name, .prefix_len = (int)at, .block = t};
    hpt__resnet_names *own = &c->own.resnet;
    if (number == 1 && at >= 7 && !memcmp(name + at - 7, "layer1.", 7) && !numbered_stage(r, name, (int)at, 2)) {
        c->prefix_len = (int)at - 7; /* layer1 = Sequential(maxpool, layer1), as segmentation networks are often cut */
        if (c->prefix_len && name[at - 8] != '.' && name[at - 8] != '/') return 0;
        c->naming = "torchvision, layer1 behind its pooling";
    } else if (number > 0) {
        if (numbered_stage(r, name, (int)at, number - 1) || !numbered_stage(r, name, (int)at, number + 1)) return 0;
        own->numbered = number;
        c->naming = "torchvision's children, numbered (Sequential)";
    } else if (detectron)
        c->naming = "detectron2";
    else if (named)
        c->naming = "torchvision";
    else
        return 0;
    for (int s = 0; s < 4; s++)
        if (own->numbered)
            snprintf(own->stage[s], sizeof own->stage[s], "%d", number + s);
        else
            snprintf(own->stage[s], sizeof own->stage[s], detectron ? "res%d" : "layer%d", s + 1 + detectron);
    if (number == 1 && !own->numbered) snprintf(own->stage[0], sizeof own->stage[0], "layer1.1");
    return 1;
}

/* ---- stem and blocks ---- */

static const hpt__ftensor *block_conv(const hpt__networks *r, const hpt__candidate *c, int stage, int block, int conv) {
    char rest[48];
    snprintf(rest, sizeof rest, ".%d.conv%d.weight", block, conv);
    return hpt__networks_part(r, c, c->own.resnet.stage[stage], rest);
}
/* A norm layer: running statistics, or (group norm) at least a vector of weights. */
static int is_norm(const hpt__networks *r, const hpt__candidate *c, const char *name) {
    const hpt__ftensor *w = hpt__networks_part(r, c, name, ".weight");
    return hpt__networks_part(r, c, name, ".running_mean") || (w && w->ndim == 1);
}

static int set_stem(const hpt__networks *r, hpt__candidate *c, const char *conv, const char *norm) {
    const hpt__ftensor *t = hpt__networks_part(r, c, conv, ".weight");
    if (!is_conv(t) || !is_norm(r, c, norm)) return 0;
    snprintf(c->own.resnet.stem_conv, sizeof c->own.resnet.stem_conv, "%s", conv);
    snprintf(c->own.resnet.stem_norm, sizeof c->own.resnet.stem_norm, "%s", norm);
    c->stem = t;
    return 1;
}
/* In a Sequential the stem is the convolution and the norm with the smallest numbers, or both in one nested Sequential.
 */
static void find_numbered_stem(const hpt__networks *r, hpt__candidate *c) {
    char conv[16], norm[16];
    int stages = c->own.resnet.numbered;
    for (int i = 0; i < stages; i++)
        for (int nested = 0; nested < 2; nested++) {
            snprintf(conv, sizeof conv, nested ? "%d.0" : "%d", i);
            if (!is_conv(hpt__networks_part(r, c, conv, ".weight"))) continue;
            for (int j = nested ? 1 : i + 1; j < (nested ? 8 : stages); j++) {
                if (nested)
                    snprintf(norm, sizeof norm, "%d.%d", i, j);
                else
                    snprintf(norm, sizeof norm, "%d", j);
                if (set_stem(r, c, conv, norm)) return;
            }
            return;
        }
}
static void find_stem(const hpt__networks *r, hpt__candidate *c) {
    static const struct {
        const char *conv, *norm;
    } places[] = {{"conv1", "bn1"},
                  {"stem.conv1", "stem.conv1.norm"},
                  {"stem.conv1", "stem.bn1"},
                  {"stem.0", "stem.1"},
                  {"layer0.0", "layer0.1"},
                  {"layer0.conv1", "layer0.bn1"},
                  {"0", "1"},
                  {"0.0", "0.1"}};
    if (c->own.resnet.numbered) find_numbered_stem(r, c);
    for (size_t i = 0; i < sizeof places / sizeof *places && !c->own.resnet.numbered; i++)
        if (set_stem(r, c, places[i].conv, places[i].norm)) return;
}

/* Architecture from block counts and the shapes of stem and first block; else why it is none of ours. */
static void derive(const hpt__networks *r, hpt__candidate *c) {
    find_stem(r, c);
    int blocks[4], bottleneck = block_conv(r, c, 0, 0, 3) != NULL;
    const hpt__ftensor *stem = c->stem, *conv2 = block_conv(r, c, 0, 0, 2);
    for (int s = 0; s < 4; s++)
        for (blocks[s] = 0; blocks[s] < 64 && block_conv(r, c, s, blocks[s], 1); blocks[s]++)
            ;
    if (!stem) {
        snprintf(c->why, sizeof c->why, "it has no stem of one convolution and one batch norm%s",
                 hpt__networks_part(r, c, "conv1.0", ".weight") ? " but several (a deep stem, as ResNet-C and -D have)"
                 : "");
        return;
    }
    int64_t width = stem->shape[0], side = stem->shape[2];
    const char *name = hpt__arch_of_blocks(blocks, bottleneck);
    for (int s = 1; s < 4; s++)
        if (!blocks[s]) {
            snprintf(c->why, sizeof c->why, "it has no layer%d: a network that was cut before its end", s + 1);
            return;
        }
    if (!name)
        snprintf(c->why, sizeof c->why, "a network of %d, %d, %d, %d %s blocks is none that libhpt knows%s", blocks[0],
                 blocks[1], blocks[2], blocks[3], bottleneck ? "bottleneck" : "basic",
                 bottleneck && blocks[1] == 8 && blocks[2] == 36 ? " (looks like a resnet152)" : "");
    else if (c->block->ndim == 4 && c->block->shape[1] != width)
        snprintf(c->why, sizeof c->why,
                 "its first convolution gives %lld channels and its first block takes %lld (a deep stem?)",
                 (long long)width, (long long)c->block->shape[1]);
    else if (stem->shape[1] != 3)
        snprintf(c->why, sizeof c->why, "its first convolution takes %lld channels, not the 3 of RGB",
                 (long long)stem->shape[1]);
    else if (side != stem->shape[3] || (side != 7 && side != 3))
        snprintf(c->why, sizeof c->why, "its first convolution is %lldx%lld, not a ResNet's 7x7 or 3x3",
                 (long long)side, (long long)stem->shape[3]);
    else if (width % 16 || width < 16 || width > 1024)
        snprintf(c->why, sizeof c->why, "its first stage has %lld channels, not a multiple of 16 up to 1024",
                 (long long)width);
    else if (is_conv(conv2) && conv2->shape[1] && conv2->shape[1] < conv2->shape[0])
        snprintf(c->why, sizeof c->why, "looks like a ResNeXt: layer1.0.conv2 has %lld groups",
                 (long long)(conv2->shape[0] / conv2->shape[1]));
    else if (is_conv(conv2) && conv2->shape[0] != width)
        snprintf(c->why, sizeof c->why, "looks like a wide ResNet: layer1.0.conv2 has %lld channels, not %lld",
                 (long long)conv2->shape[0], (long long)width);
    else {
        c->arch = (hpt__arch){.bottleneck = bottleneck, .width = (int)width, .small_stem = side == 3};
        snprintf(c->arch.name, sizeof c->arch.name, "%s", name);
        memcpy(c->arch.blocks, blocks, sizeof blocks);
    }
}
/* ---- names inside ---- */

static int takes(const char **name, const char *start) {
    size_t n = strlen(start);
    if (strncmp(*name, start, n) || (*name)[n] != '.') return 0;
    *name += n + 1;
    return 1;
}
/* Names inside a block that other projects have: lightly and the CIFAR networks after kuangliu ("shortcut"), detectron2
 * (norm in its convolution). */
static void canonical_block(const char *rest, char *out, size_t size) {
    static const struct {
        const char *from, *to;
    } names[] = {{"shortcut.0.", "downsample.0."},
                 {"shortcut.1.", "downsample.1."},
                 {"shortcut.norm.", "downsample.1."},
                 {"shortcut.weight", "downsample.0.weight"},
                 {"conv1.norm.", "bn1."},
                 {"conv2.norm.", "bn2."},
                 {"conv3.norm.", "bn3."}};
    size_t n = strspn(rest, "0123456789");
    const char *local = rest[n] == '.' ? rest + n + 1 : rest;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t k = strlen(names[i].from);
        if (strncmp(local, names[i].from, k)) continue;
        snprintf(out, size, "%.*s%s%s", (int)(local - rest), rest, names[i].to, local + k);
        return;
    }
    snprintf(out, size, "%s", rest);
}
static int resnet_inside(const hpt__candidate *c, const char *name, char *canonical, size_t size) {
    const char *rest = name;
    size_t first = strcspn(name, ".");
    const hpt__resnet_names *own = &c->own.resnet;
    for (int s = 0; s < 4; s++)
        if (takes(&rest, own->stage[s])) {
            int n = snprintf(canonical, size, "layer%d.", s + 1);
            canonical_block(rest, canonical + n, size - (size_t)n);
            return 1;
        }
    if (c->stem && takes(&rest, own->stem_norm))
        snprintf(canonical, size, "bn1.%s", rest);
    else if (c->stem && takes(&rest, own->stem_conv))
        snprintf(canonical, size, "conv1.%s", rest);
    else {
        /* a second stem convolution, a pooling with weights, attention between stages, a fifth stage; under numbers all
         * that stands before the stages */
        int stem =
            own->numbered
                ? first < 4 && strspn(name, "0123456789") == first && atoi(name) < own->numbered
                : hpt__is_word(
                      name, first,
                      "conv1 conv2 conv3 bn1 bn2 bn3 norm1 gn1 stem maxpool layer0 layer1 layer5 res1 res6 conv_stem "
                      "bam1 bam2 bam3 cbam ca ca1 ca2 sa sa1 sa2 se");
        if (!stem || strchr(name, '/')) return 0;
        snprintf(canonical, size, "%s", name);
    }
    return 1;
}

static const char *looks_like(const char *canonical) {
    static const struct {
        const char *words, *network;
    } marks[] = {{"se se_module SE squeeze", "an SE-ResNet (squeeze and excitation)"},
                 {"eca", "an ECA-ResNet (channel attention)"},
                 {"cbam CBAM ca sa ca1 sa1 ca2 sa2 bam1 bam2 bam3 ChannelGate SpatialGate attn attention",
                  "a ResNet with attention (CBAM)"},
                 {"IN BN ibn instnorm", "an IBN-ResNet (instance norm)"},
                 {"filt", "an antialiased ResNet (blur pools)"},
                 {"conv_offset offset", "a ResNet with deformable convolutions"},
                 {"convs bns", "a Res2Net"},
                 {"conv4 bn4", "a network with blocks of other convolutions"}};
    const char *last = strrchr(canonical, '.');
    size_t first = strcspn(canonical, ".");
    if (last && !strcmp(last, ".bias") && last - canonical > 5 && !strncmp(last - 5, "conv", 4))
        return "a network whose convolutions have biases (batch norm folded away?)";
    if (strstr(canonical, ".se.conv.")) return "an ECA-ResNet (channel attention)";
    for (const char *a = canonical; *a; a += strcspn(a, ".") + (a[strcspn(a, ".")] != 0)) {
        const char *altered = hpt__looks_altered(a, strcspn(a, "."));
        if (altered) return altered;
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            if (hpt__is_word(a, strcspn(a, "."), marks[i].words)) return marks[i].network;
    }
    if (hpt__is_word(canonical, first, "conv1 conv2 conv3 bn2 bn3 stem conv_stem"))
        return "a ResNet with a deep stem (ResNet-C, -D, CLIP)";
    if (hpt__is_word(canonical, first, "maxpool")) return "an antialiased ResNet (blur pools)";
    if (strstr(canonical, ".downsample.")) return "a ResNet-D (pooling in the shortcuts)";
    return NULL;
}

/* What the name of a tensor of a block tells, in a file where no network was found. */
static const char *no_network(const char *name) {
    const char *at = strstr(name, "layer1.0.");
    return at ? looks_like(at) : NULL;
}

static void unfit(const hpt__networks *r, const hpt__candidate *c, const hpt__tensor *want, const hpt__ftensor *got,
                  char *text, size_t size) {
    (void)r, (void)c;
    int none = !got && !strcmp(want->name, "bn1.running_mean");
    snprintf(text, size, "%s", none ? "; looks like a network without batch-norm statistics (group norm)" : "");
}

static const char *stem_name(const hpt__arch *a) { return a->small_stem ? "small" : "imagenet"; }
static void words(const hpt__arch *a, char *text, size_t size) {
    snprintf(text, size, "of width %d, stem %s", a->width, stem_name(a));
}
static void options(const hpt__arch *a, char *text, size_t size) {
    snprintf(text, size, "arch=%s width=%d stem=%s", a->name, a->width, stem_name(a));
}
static int entries(const hpt__arch *a, json_t *report) {
    return json_object_set_new(report, "width", json_integer(a->width)) |
        json_object_set_new(report, "stem", json_string(stem_name(a)));
}

const hpt__naming hpt__naming_resnet = {
    .mark = "layer1.0.conv1.weight with a stem beside it", .classifier = {"fc"}, .format = "torchvision",
        .begins = begins, .derive = derive,
    .inside = resnet_inside, .looks_like = looks_like, .no_network = no_network, .unfit = unfit, .words = words,
    .options = options, .entries = entries};

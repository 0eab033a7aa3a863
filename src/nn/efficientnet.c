/* SPDX-License-Identifier: MIT
 * EfficientNets B0 to B3 (Tan and Le 2019): stem, seven stages of inverted residual blocks with squeeze and excitation
 * (the width inside is a quarter of the block's input), a 1x1 convolution, global average. One table says the stages of
 * B0; a member multiplies their widths and depths. Modules are called as in timm; a module that is a batch norm with
 * its activation there ("bn1") is the activation's output here, too. Flavours have the same tensors and differ in
 * padding and batch norm: a file's weights want the flavour that they were trained with. */
#include "nn/efficientnet.h"
#include "nn/graph.h"
#include <stdio.h>
#include <string.h>

enum { MEMBERS = HPT__EFFICIENTNETS, STAGES = HPT__EFFICIENTNET_STAGES, STEM = 32, TOP = 1280 };
const hpt__efficientnet_member hpt__efficientnet_members[MEMBERS] = {
    {"efficientnet_b0", 1.0, 1.0, 224}, {"efficientnet_b1", 1.0, 1.1, 240},
    {"efficientnet_b2", 1.1, 1.2, 260}, {"efficientnet_b3", 1.2, 1.4, 300}};
static const hpt__efficientnet_member *const members = hpt__efficientnet_members;

static const struct { int window, stride, expand, out, blocks; } stages[STAGES] = {
    {3, 1, 1, 16, 1}, {3, 2, 6, 24, 2}, {5, 2, 6, 40, 2}, {3, 2, 6, 80, 3}, {5, 1, 6, 112, 3}, {5, 2, 6, 192, 4},
    {3, 1, 6, 320, 1}};
int hpt__efficientnet_channels(int stage) { return stage < 0 ? STEM : stage < STAGES ? stages[stage].out : TOP; }
int hpt__efficientnet_blocks(int stage) { return stages[stage].blocks; }

/* same 0: padded by half of the window; FIXED: with the zeros that maps get from images of the built size */
enum { FIXED = 1 };
static const struct flavour { const char *prefix; int same; double eps, momentum; } flavours[] = {
    [HPT__FLAVOUR_TIMM] = {"", 0, 1e-5, 0.1},
    [HPT__FLAVOUR_TF] = {"tf_", HPT__SAME, 1e-3, 0.1},
    [HPT__FLAVOUR_LUKEMELAS] = {"lukemelas_", FIXED, 1e-3, 0.01},
    [HPT__FLAVOUR_TORCHVISION] = {"", 0, 1e-5, 0.1}};       /* timm's in all that a network computes */
enum { FLAVOURS = sizeof flavours / sizeof *flavours };
const char *hpt__efficientnet_prefix(int flavour) { return flavours[flavour].prefix; }

static int member_of(const char *name, int *flavour) {
    for (int f = 0; f < FLAVOURS; f++)
        for (int i = 0; i < MEMBERS; i++) {
            size_t n = strlen(flavours[f].prefix);
            if (strncmp(name, flavours[f].prefix, n) || strcmp(name + n, members[i].name)) continue;
            *flavour = f;
            return i;
        }
    return -1;
}

static int from_options(const hpt__options *o, const char *name, hpt__arch *a) {
    int m = member_of(name, &a->flavour);
    if (m < 0) return 0;
    a->member = m;
    a->dim = (int)OPT_I(o, moco_dim);
    a->mlp = (int)OPT_I(o, mlp);
    a->hidden = (int)OPT_I(o, head_hidden);
    a->head_norm = OPT_IS(o, head, "byol");
    return 1;
}

/* to the nearest multiple of 8 that is not below nine tenths */
int hpt__efficientnet_widened(double by, int channels) {
    double c = by * channels;
    int near = (int)(c + 4) / 8 * 8;
    if (near < 8) near = 8;
    return near < 0.9 * c ? near + 8 : near;
}
int hpt__efficientnet_deepened(double by, int blocks) {
    double n = by * blocks;
    return (int)n + (n > (int)n);
}
static int widened(const hpt__arch *a, int channels) {
    return hpt__efficientnet_widened(members[a->member].width, channels);
}
static int deepened(const hpt__arch *a, int blocks) {
    return hpt__efficientnet_deepened(members[a->member].depth, blocks);
}
static int feature_dim(const hpt__arch *a) { return widened(a, TOP); }

/* What a build knows everywhere; side: of the maps that images of the built size would give. */
typedef struct building {
    hpt__graph *g;
    const hpt__arch *a;
    const struct flavour *flavour;
    int side, block, blocks;
    char prefix[HPT__NAME];     /* of the block's modules: "blocks.1.0." */
} building;

static void name_of(building *b, char name[HPT__NAME], const char *module) {
    hpt__graph_name(b->g, name, "%s%s", b->prefix, module);
}
/* A convolution and its batch norm. */
static int conv_norm(building *b, int x, hpt__conv_as as, const char *conv, const char *norm) {
    char name[HPT__NAME];
    if (as.window > 1) as.same = b->flavour->same == FIXED ? b->side : b->flavour->same;
    name_of(b, name, conv);
    x = hpt__graph_conv_as(b->g, x, as, name);
    if (as.stride > 1) b->side = (b->side + as.stride - 1) / as.stride;
    name_of(b, name, norm);
    return hpt__graph_norm_as(b->g, x, b->flavour->eps, b->flavour->momentum, name);
}
/* The same with SiLU: what the module of the batch norm gives. */
static int conv_norm_act(building *b, int x, hpt__conv_as as, const char *conv, const char *norm) {
    int n = conv_norm(b, x, as, conv, norm), y = hpt__graph_act(b->g, n, HPT__ACT_SILU);
    if (b->g->status) return 0;
    memcpy(b->g->nodes[y].name, b->g->nodes[n].name, HPT__NAME);
    b->g->nodes[n].name[0] = 0;
    return y;
}
/* x times a factor for each channel, which two layers make of the map's averages */
static int squeeze_excite(building *b, int x, int channels, int inside) {
    hpt__graph *g = b->g;
    char name[HPT__NAME];
    int r = hpt__graph_average(g, x, "");
    name_of(b, name, "se.conv_reduce");
    r = hpt__graph_act(g, hpt__graph_pixel(g, r, inside, name), HPT__ACT_SILU);
    name_of(b, name, "se.conv_expand");
    r = hpt__graph_act(g, hpt__graph_pixel(g, r, channels, name), HPT__ACT_SIGMOID);
    name_of(b, name, "se");
    return hpt__graph_scale(g, x, r, name);
}

static int block(building *b, int x, int stage, int stride) {
    hpt__graph *g = b->g;
    int in = g->status ? 0 : g->nodes[x].c, wide = in * stages[stage].expand, y = x, expands = wide != in,
        out = widened(b->a, stages[stage].out);
    if (expands)
        y = conv_norm_act(b, y, (hpt__conv_as){.k = wide, .window = 1, .stride = 1}, "conv_pw", "bn1");
    y = conv_norm_act(b, y, (hpt__conv_as){.k = wide, .window = stages[stage].window, .stride = stride,
                                           .groups = wide}, "conv_dw", expands ? "bn2" : "bn1");
    y = squeeze_excite(b, y, wide, in / 4);
    y = conv_norm(b, y, (hpt__conv_as){.k = out, .window = 1, .stride = 1}, expands ? "conv_pwl" : "conv_pw",
                  expands ? "bn3" : "bn2");
    double share = (double)b->block++ / b->blocks;
    if (g->status || stride != 1 || in != out) return y;
    if (share > 0) y = hpt__graph_drop(g, y, share);
    y = hpt__graph_add(g, y, x);
    if (!g->status) snprintf(g->nodes[y].name, HPT__NAME, "%.*s", (int)strlen(b->prefix) - 1, b->prefix);
    return y;
}

static void build(hpt__graph *g, const hpt__arch *a, int h, int w, int head) {
    building b = {.g = g, .a = a, .flavour = &flavours[a->flavour], .side = members[a->member].built_for};
    for (int s = 0; s < STAGES; s++) b.blocks += deepened(a, stages[s].blocks);
    int x = hpt__graph_images(g, 3, h, w);
    x = conv_norm_act(&b, x, (hpt__conv_as){.k = widened(a, STEM), .window = 3, .stride = 2}, "conv_stem", "bn1");
    for (int s = 0; s < STAGES; s++)
        for (int i = 0; i < deepened(a, stages[s].blocks); i++) {
            hpt__graph_name(g, b.prefix, "blocks.%d.%d.", s, i);
            x = block(&b, x, s, i ? 1 : stages[s].stride);
        }
    b.prefix[0] = 0;
    x = conv_norm_act(&b, x, (hpt__conv_as){.k = feature_dim(a), .window = 1, .stride = 1}, "conv_head", "bn2");
    x = hpt__graph_average(g, x, "avgpool");
    if (g->status || !head) return;
    g->head = 1;
    hpt__graph_head(g, x, a, "fc");
}

const hpt__family hpt__family_efficientnet = {.name = "efficientnet", .fan_out = 1, .from_options = from_options,
                                              .build = build, .feature_dim = feature_dim};

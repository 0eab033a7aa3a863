/* SPDX-License-Identifier: MIT
 * The family of ResNets (He et al. 2016, torchvision's v1.5: stride in the 3x3), with a projection head: what arch,
 * width and stem mean, the layers in the order in which they run, and the width of the features. */
#include "nn/graph.h"
#include <string.h>

static const struct { const char *name; int blocks[4], bottleneck; } members[] = {
    {"resnet10", {1, 1, 1, 1}, 0}, {"resnet18", {2, 2, 2, 2}, 0}, {"resnet34", {3, 4, 6, 3}, 0},
    {"resnet50", {3, 4, 6, 3}, 1}, {"resnet101", {3, 4, 23, 3}, 1}};
enum { MEMBERS = sizeof members / sizeof *members };

static int from_options(const hpt__options *o, const char *name, hpt__arch *a) {
    for (int i = 0; i < MEMBERS; i++)
        if (!strcmp(members[i].name, name)) {
            memcpy(a->blocks, members[i].blocks, sizeof a->blocks);
            a->bottleneck = members[i].bottleneck;
            a->width = (int)OPT_I(o, width);
            a->small_stem = OPT_IS(o, stem, "small");
            a->dim = (int)OPT_I(o, moco_dim);
            a->mlp = (int)OPT_I(o, mlp);
            a->hidden = (int)OPT_I(o, head_hidden);
            a->head_norm = OPT_IS(o, head, "byol");
            return 1;
        }
    return 0;
}

const char *hpt__arch_of_blocks(const int blocks[4], int bottleneck) {
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].bottleneck == bottleneck && !memcmp(members[i].blocks, blocks, sizeof members[i].blocks))
            return members[i].name;
    return NULL;
}

/* prefix.conv and prefix.norm: a convolution and its batch norm */
static int conv_norm(hpt__graph *g, int x, int k, int window, int stride, const char *prefix, const char *conv,
                     const char *norm) {
    char name[HPT__NAME];
    hpt__graph_name(g, name, "%s%s", prefix, conv);
    x = hpt__graph_conv(g, x, k, window, stride, name);
    hpt__graph_name(g, name, "%s%s", prefix, norm);
    return hpt__graph_norm(g, x, name);
}
static int relu(hpt__graph *g, int x) { return hpt__graph_act(g, x, HPT__ACT_RELU); }

static int block(hpt__graph *g, const hpt__arch *a, int x, int planes, int stride, const char *prefix) {
    int out = planes * (a->bottleneck ? 4 : 1), y, shortcut = x;
    if (a->bottleneck) {
        y = relu(g, conv_norm(g, x, planes, 1, 1, prefix, "conv1", "bn1"));
        y = relu(g, conv_norm(g, y, planes, 3, stride, prefix, "conv2", "bn2"));
        y = conv_norm(g, y, out, 1, 1, prefix, "conv3", "bn3");
    } else {
        y = relu(g, conv_norm(g, x, planes, 3, stride, prefix, "conv1", "bn1"));
        y = conv_norm(g, y, planes, 3, 1, prefix, "conv2", "bn2");
    }
    if (g->status) return 0;
    if (stride != 1 || g->nodes[x].c != out)
        shortcut = conv_norm(g, x, out, 1, stride, prefix, "downsample.0", "downsample.1");
    x = relu(g, hpt__graph_add(g, y, shortcut));
    if (!g->status) hpt__graph_name(g, g->nodes[x].name, "%.*s", (int)strlen(prefix) - 1, prefix);
    return x;
}

static void build(hpt__graph *g, const hpt__arch *a, int h, int w, int head) {
    int x = hpt__graph_images(g, 3, h, w);
    x = hpt__graph_conv(g, x, a->width, a->small_stem ? 3 : 7, a->small_stem ? 1 : 2, "conv1");
    x = relu(g, hpt__graph_norm(g, x, "bn1"));
    if (!a->small_stem) x = hpt__graph_maxpool(g, x, 3, 2, "maxpool");
    for (int layer = 0; layer < 4; layer++)
        for (int b = 0; b < a->blocks[layer]; b++) {
            char prefix[HPT__NAME];
            hpt__graph_name(g, prefix, "layer%d.%d.", layer + 1, b);
            x = block(g, a, x, a->width << layer, layer > 0 && b == 0 ? 2 : 1, prefix);
        }
    x = hpt__graph_average(g, x, "avgpool");
    if (g->status || !head) return;
    g->head = 1;
    hpt__graph_head(g, x, a, "fc");
}

static int feature_dim(const hpt__arch *a) { return a->width * 8 * (a->bottleneck ? 4 : 1); }

const hpt__family hpt__family_resnet = {.name = "resnet", .from_options = from_options, .build = build,
                                        .feature_dim = feature_dim};

/* SPDX-License-Identifier: MIT */
#include "nn/graph.h"
#include "core/alloc.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *grow(hpt__graph *g, void *p, int *cap, size_t size) {
    int n = *cap ? *cap * 2 : 64;
    void *q = hpt__realloc(p, (size_t)n * size);
    if (!q) {
        g->status = hpt__fail_memory((size_t)n * size);
        return p;
    }
    *cap = n;
    return q;
}

static int add_node(hpt__graph *g, hpt__node n) {
    if (g->n_nodes == g->cap_nodes) g->nodes = grow(g, g->nodes, &g->cap_nodes, sizeof *g->nodes);
    if (g->status) return 0;
    if (n.h < 1 || n.w < 1) g->status = hpt__fail(HPT_ERR_OPTION, "option 'image_size': too small for this network");
    g->nodes[g->n_nodes] = n;
    return g->n_nodes++;
}

static int add_tensor(hpt__graph *g, hpt__tensor_kind kind, int64_t a, int64_t b, int64_t window, const char *fmt, const char *name) {
    if (g->n_tensors == g->cap_tensors) g->tensors = grow(g, g->tensors, &g->cap_tensors, sizeof *g->tensors);
    if (g->status) return 0;
    hpt__tensor *t = &g->tensors[g->n_tensors];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s%s", name, fmt);
    t->kind = kind;
    t->head = g->head;
    t->ndim = window ? 4 : b ? 2 : 1;
    t->shape[0] = a;
    t->shape[1] = b;
    t->shape[2] = t->shape[3] = window;
    t->count = (size_t)(a * (b ? b : 1) * (window ? window * window : 1));
    size_t *end = hpt__is_stat(t) ? &g->n_stats : &g->n_params;
    t->offset = *end;
    *end += (t->count + 15) / 16 * 16;
    return g->n_tensors++;
}

static int conv(hpt__graph *g, int in, int k, int window, int stride, const char *name) {
    if (g->status) return 0;
    hpt__node x = g->nodes[in];
    int pad = window / 2;
    hpt__node n = {.kind = HPT__NODE_CONV, .in = in, .residual = -1, .c = k, .h = (x.h + 2 * pad - window) / stride + 1,
                   .w = (x.w + 2 * pad - window) / stride + 1, .window = window, .stride = stride, .pad = pad};
    n.tensor = add_tensor(g, HPT__CONV_WEIGHT, k, x.c, window, ".weight", name);
    snprintf(n.name, sizeof n.name, "%s", name);
    return add_node(g, n);
}
static int norm(hpt__graph *g, int in, const char *name) {
    if (g->status) return 0;
    hpt__node n = g->nodes[in];
    n.kind = HPT__NODE_NORM;
    n.act = HPT__ACT_NONE;
    n.eps = 1e-5;
    n.in = in;
    snprintf(n.name, sizeof n.name, "%s", name);
    n.tensor = add_tensor(g, HPT__NORM_WEIGHT, n.c, 0, 0, ".weight", name);
    add_tensor(g, HPT__NORM_BIAS, n.c, 0, 0, ".bias", name);
    add_tensor(g, HPT__RUN_MEAN, n.c, 0, 0, ".running_mean", name);
    add_tensor(g, HPT__RUN_VAR, n.c, 0, 0, ".running_var", name);
    return add_node(g, n);
}
static int relu(hpt__graph *g, int in) {
    if (g->status) return 0;
    hpt__node n = g->nodes[in];
    n.kind = HPT__NODE_ACT;
    n.act = HPT__ACT_RELU;
    n.name[0] = 0;
    n.in = in;
    n.residual = -1;
    return add_node(g, n);
}
static int add(hpt__graph *g, int in, int other) {
    if (g->status) return 0;
    hpt__node n = g->nodes[in];
    n.kind = HPT__NODE_ADD;
    n.act = HPT__ACT_NONE;
    n.name[0] = 0;
    n.in = in;
    n.residual = other;
    return add_node(g, n);
}
static int linear(hpt__graph *g, int in, int k, const char *name) {
    if (g->status) return 0;
    hpt__node n = {.kind = HPT__NODE_LINEAR, .in = in, .residual = -1, .c = k, .h = 1, .w = 1};
    snprintf(n.name, sizeof n.name, "%s", name);
    n.tensor = add_tensor(g, HPT__LINEAR_WEIGHT, k, g->nodes[in].c, 0, ".weight", name);
    add_tensor(g, HPT__LINEAR_BIAS, k, 0, 0, ".bias", name);
    return add_node(g, n);
}

/* prefix.conv and prefix.norm: a convolution and its batch norm */
static int conv_norm(hpt__graph *g, int x, int k, int window, int stride, const char *prefix, const char *conv_name, const char *norm_name) {
    char name[48];
    snprintf(name, sizeof name, "%s%s", prefix, conv_name);
    x = conv(g, x, k, window, stride, name);
    snprintf(name, sizeof name, "%s%s", prefix, norm_name);
    return norm(g, x, name);
}

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
    if (stride != 1 || g->nodes[x].c != out) shortcut = conv_norm(g, x, out, 1, stride, prefix, "downsample.0", "downsample.1");
    x = relu(g, add(g, y, shortcut));
    if (!g->status) snprintf(g->nodes[x].name, sizeof g->nodes[x].name, "%.*s", (int)strlen(prefix) - 1, prefix);
    return x;
}

hpt_status hpt__graph_resnet(hpt__graph *g, const hpt__arch *a, int size, int head) {
    memset(g, 0, sizeof *g);
    int x = add_node(g, (hpt__node){.kind = HPT__NODE_INPUT, .in = -1, .residual = -1, .c = 3, .h = size, .w = size});
    x = conv(g, x, a->width, a->small_stem ? 3 : 7, a->small_stem ? 1 : 2, "conv1");
    x = relu(g, norm(g, x, "bn1"));
    if (!a->small_stem && !g->status) {
        hpt__node n = g->nodes[x];
        x = add_node(g, (hpt__node){.kind = HPT__NODE_MAXPOOL, .in = x, .residual = -1, .c = n.c, .h = (n.h - 1) / 2 + 1,
                                    .w = (n.w - 1) / 2 + 1, .window = 3, .stride = 2, .pad = 1, .name = "maxpool"});
    }
    for (int layer = 0; layer < 4; layer++)
        for (int b = 0; b < a->blocks[layer]; b++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "layer%d.%d.", layer + 1, b);
            x = block(g, a, x, a->width << layer, layer > 0 && b == 0 ? 2 : 1, prefix);
        }
    if (!g->status) x = add_node(g, (hpt__node){.kind = HPT__NODE_AVERAGE, .in = x, .residual = -1, .c = g->nodes[x].c, .h = 1, .w = 1, .name = "avgpool"});
    g->head = 1;
    if (head && !g->status) {
        int d = g->nodes[x].c;
        if (a->mlp) linear(g, relu(g, linear(g, x, d, "fc.0")), a->dim, "fc.2");
        else linear(g, x, a->dim, "fc");
    }
    hpt_status st = g->status;
    if (st) hpt__graph_fini(g);
    return st;
}

hpt_status hpt__graph_cut(hpt__graph *g, const char *name, int pool) {
    int found = -1;
    size_t len = strlen(name);
    for (int i = 0; i < g->n_nodes; i++) {
        const char *is = g->nodes[i].name;
        if (!strcmp(is, name) || (!strncmp(is, name, len) && is[len] == '.' && !strncmp(name, "layer", 5) && !strchr(is + len + 1, '.'))) found = i;
    }
    if (found < 0) return hpt__fail(HPT_ERR_ARGUMENT, "no layer is called '%.60s' (hpt_model_layer_info lists them)", name);
    g->n_nodes = found + 1;
    hpt__node n = g->nodes[found];
    if (pool && n.kind != HPT__NODE_AVERAGE && n.kind != HPT__NODE_LINEAR)
        add_node(g, (hpt__node){.kind = HPT__NODE_AVERAGE, .in = found, .residual = -1, .c = n.c, .h = 1, .w = 1, .name = "avgpool"});
    return g->status;
}

/* The fused layer takes the place of the last node of its chain, where the residual is known to have run. */
static void fold(hpt__graph *g, int into, int from, int residual, hpt__act act) {
    hpt__node n = g->nodes[from];
    n.residual = residual;
    n.act = act;
    g->nodes[from].kind = HPT__NODE_GONE;
    g->nodes[into] = n;
}
static int consumers(const hpt__graph *g, int node) {
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].kind != HPT__NODE_GONE) n += (g->nodes[i].in == node) + (g->nodes[i].residual == node);
    return n;
}
void hpt__graph_fuse(hpt__graph *g) {
    for (int i = 0; i < g->n_nodes; i++) {
        hpt__node *n = &g->nodes[i];
        if (n->kind == HPT__NODE_ADD && g->nodes[n->in].kind == HPT__NODE_NORM && g->nodes[n->in].act == HPT__ACT_NONE && consumers(g, n->in) == 1)
            fold(g, i, n->in, n->residual, HPT__ACT_NONE);
        else if (n->kind == HPT__NODE_ACT && n->act == HPT__ACT_RELU && (g->nodes[n->in].kind == HPT__NODE_NORM || g->nodes[n->in].kind == HPT__NODE_LINEAR) &&
                 consumers(g, n->in) == 1)
            fold(g, i, n->in, g->nodes[n->in].residual, HPT__ACT_RELU);
    }
}

void hpt__graph_fini(hpt__graph *g) {
    hpt__free(g->nodes);
    hpt__free(g->tensors);
    memset(g, 0, sizeof *g);
}

/* SPDX-License-Identifier: MIT
 * Building a graph: nodes and tensors in arrays that grow, the first failure kept; cutting one behind a layer by
 * name. */
#include "nn/graph.h"
#include "core/alloc.h"
#include "nn/layers.h"
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

void hpt__graph_name(hpt__graph *g, char name[HPT__NAME], const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(name, HPT__NAME, fmt, ap);
    va_end(ap);
    if (n >= HPT__NAME && !g->status)
        g->status = hpt__fail(HPT_ERR_UNSUPPORTED,
                              "the name '%.60s...' of a layer or tensor has %d characters; at most %d", name, n,
                              HPT__NAME - 1);
}

/* The node with its shape and tensors; its index. */
static int add_node(hpt__graph *g, hpt__node n, const char *name) {
    const hpt__layer *row = &hpt__layers[n.kind];
    if (!g->status && g->n_nodes == g->cap_nodes) g->nodes = grow(g, g->nodes, &g->cap_nodes, sizeof *g->nodes);
    if (g->status) return 0;
    hpt__graph_name(g, n.name, "%s", name);
    n.tensor = g->n_tensors;
    if (row->shape) row->shape(g, &n);
    if (row->tensors) row->tensors(g, &n);
    if (g->status) return 0;
    if (n.h < 1 || n.w < 1) g->status = hpt__fail(HPT_ERR_OPTION, "option 'image_size': too small for this network");
    g->nodes[g->n_nodes] = n;
    return g->n_nodes++;
}

void hpt__graph_tensor(hpt__graph *g, hpt__tensor_kind kind, int64_t a, int64_t b, int64_t window, const char *module,
                       const char *field) {
    if (!g->status && g->n_tensors == g->cap_tensors)
        g->tensors = grow(g, g->tensors, &g->cap_tensors, sizeof *g->tensors);
    if (g->status) return;
    hpt__tensor *t = &g->tensors[g->n_tensors++];
    memset(t, 0, sizeof *t);
    hpt__graph_name(g, t->name, "%s.%s", module, field);
    t->kind = kind;
    t->head = g->head;
    t->ndim = window ? 4 : b ? 2 : 1;
    t->shape[0] = a;
    t->shape[1] = b;
    t->shape[2] = t->shape[3] = window;
    memcpy(t->order, t->shape, sizeof t->order);
    t->groups = 1;
    t->count = (size_t)(a * (b ? b : 1) * (window ? window * window : 1));
    size_t *end = hpt__is_stat(t) ? &g->n_stats : &g->n_params;
    t->offset = *end;
    *end += (t->count + 15) / 16 * 16;
}

int hpt__graph_images(hpt__graph *g, int c, int h, int w) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_INPUT, .in = -1, .residual = -1, .c = c, .h = h, .w = w,
                                   .pixels = 1}, "");
}
int hpt__graph_map_input(hpt__graph *g, int c, int h, int w, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_INPUT, .in = -1, .residual = -1, .c = c, .h = h, .w = w}, name);
}
int hpt__graph_rows_input(hpt__graph *g, int c, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_INPUT, .in = -1, .residual = -1, .c = c, .h = 1, .w = 1,
                                   .rows = 1}, name);
}
int hpt__graph_rows(hpt__graph *g, int c) { return hpt__graph_rows_input(g, c, ""); }
int hpt__graph_conv_as(hpt__graph *g, int in, hpt__conv_as as, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_CONV, .in = in, .residual = -1, .c = as.k, .window = as.window,
                                   .stride = as.stride, .pad_h = as.window / 2, .pad_w = as.window / 2,
                                   .groups = as.groups > 1 ? as.groups : 1, .same = as.same, .no_bias = !as.bias},
                    name);
}
int hpt__graph_conv(hpt__graph *g, int in, int k, int window, int stride, const char *name) {
    return hpt__graph_conv_as(g, in, (hpt__conv_as){.k = k, .window = window, .stride = stride}, name);
}
int hpt__graph_norm_as(hpt__graph *g, int in, double eps, double momentum, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_NORM, .in = in, .residual = -1, .eps = eps, .momentum = momentum},
                    name);
}
int hpt__graph_norm(hpt__graph *g, int in, const char *name) { return hpt__graph_norm_as(g, in, 1e-5, 0.1, name); }
int hpt__graph_act(hpt__graph *g, int in, hpt__act act) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_ACT, .in = in, .residual = -1, .act = act}, "");
}
int hpt__graph_add(hpt__graph *g, int in, int other) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_ADD, .in = in, .residual = other}, "");
}
int hpt__graph_maxpool(hpt__graph *g, int in, int window, int stride, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_MAXPOOL, .in = in, .residual = -1, .window = window,
                                   .stride = stride, .pad_h = window / 2, .pad_w = window / 2}, name);
}
int hpt__graph_average(hpt__graph *g, int in, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_AVERAGE, .in = in, .residual = -1}, name);
}
int hpt__graph_pixel(hpt__graph *g, int in, int k, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_LINEAR, .in = in, .residual = -1, .c = k, .window = 1}, name);
}
int hpt__graph_scale(hpt__graph *g, int in, int factors, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_SCALE, .in = in, .residual = factors}, name);
}
int hpt__graph_drop(hpt__graph *g, int in, double share) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_DROP, .in = in, .residual = -1, .share = share}, "");
}
int hpt__graph_linear(hpt__graph *g, int in, int k, int bias, const char *name) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_LINEAR, .in = in, .residual = -1, .c = k, .no_bias = !bias}, name);
}

int hpt__graph_unit(hpt__graph *g, int in, double scale) {
    return add_node(g, (hpt__node){.kind = HPT__NODE_UNIT, .in = in, .residual = -1, .scale = scale}, "");
}

int hpt__graph_find(const hpt__graph *g, const char *name) {
    int found = -1;
    size_t len = strlen(name);
    for (int i = 0; i < g->n_nodes; i++) {
        const char *is = g->nodes[i].name;
        int in_stage = (!strncmp(name, "layer", 5) || !strncmp(name, "blocks", 6)) && !strncmp(is, name, len) &&
                       is[len] == '.';
        if (!strcmp(is, name) || in_stage) found = i;
    }
    if (found < 0) hpt__fail(HPT_ERR_ARGUMENT, "no layer is called '%.60s' (hpt_model_layer_info lists them)", name);
    return found;
}
hpt_status hpt__graph_cut(hpt__graph *g, const char *name, int pool) {
    int found = hpt__graph_find(g, name);
    if (found < 0) return HPT_ERR_ARGUMENT;
    g->n_nodes = found + 1;
    if (pool && !g->nodes[found].rows) hpt__graph_average(g, found, "avgpool");
    return g->status;
}

int hpt__graph_consumers(const hpt__graph *g, int node) {
    int n = g->nodes[node].read;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].kind != HPT__NODE_GONE) n += (g->nodes[i].in == node) + (g->nodes[i].residual == node);
    return n;
}

void hpt__graph_fini(hpt__graph *g) {
    hpt__free(g->nodes);
    hpt__free(g->tensors);
    memset(g, 0, sizeof *g);
}

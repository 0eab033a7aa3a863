/* SPDX-License-Identifier: MIT
 * A multilayer perceptron on rows, as the projection head of another family's network and standing alone (BYOL's
 * predictor): linear -> batch norm (if asked) -> ReLU -> linear, or one linear layer. Modules are called as in
 * torch's Sequential: prefix + 0, 1, 3 with batch norm, 0, 2 without it; one layer alone (a classifier) is called
 * fc, and the two of a cosine classifier fc1 and fc2, as its authors call them. */
#include "nn/graph.h"

static int cosine(hpt__graph *g, int x, const hpt__arch *a, const char *prefix) {
    char name[HPT__NAME];
    hpt__graph_name(g, name, "%s1", prefix);
    if (a->mlp) x = hpt__graph_linear(g, x, a->hidden, 1, name);
    x = hpt__graph_unit(g, x, 1 / a->temperature);
    hpt__graph_name(g, name, "%s%s", prefix, a->mlp ? "2" : "");
    return hpt__graph_linear(g, x, a->dim, 0, name);
}
int hpt__graph_head(hpt__graph *g, int in, const hpt__arch *a, const char *prefix) {
    char name[HPT__NAME];
    if (g->status) return 0;
    if (a->temperature > 0) return cosine(g, in, a, prefix);
    if (!a->mlp) return hpt__graph_linear(g, in, a->dim, !a->no_bias[1], prefix);
    const char *dot = *prefix ? "." : "";
    int hidden = a->hidden ? a->hidden : g->nodes[in].c;
    hpt__graph_name(g, name, "%s%s0", prefix, dot);
    int x = hpt__graph_linear(g, in, hidden, !a->no_bias[0], name);
    if (a->head_norm) {
        hpt__graph_name(g, name, "%s%s1", prefix, dot);
        x = hpt__graph_norm(g, x, name);
    }
    x = hpt__graph_act(g, x, HPT__ACT_RELU);
    hpt__graph_name(g, name, "%s%s%d", prefix, dot, a->head_norm ? 3 : 2);
    return hpt__graph_linear(g, x, a->dim, !a->no_bias[1], name);
}

void hpt__arch_mlp(hpt__arch *a, int in, int hidden, int dim, int norm) {
    *a = (hpt__arch){.family = HPT__FAMILY_MLP, .name = "mlp", .in = in, .mlp = 1, .hidden = hidden, .dim = dim,
                     .head_norm = norm};
}

static int no_options(const hpt__options *o, const char *name, hpt__arch *a) {
    (void)o; (void)name; (void)a;
    return 0;       /* not a network of images: made by hpt__arch_mlp() */
}
static void build(hpt__graph *g, const hpt__arch *a, int h, int w, int head) {
    (void)h; (void)w; (void)head;
    g->head = 1;
    hpt__graph_head(g, hpt__graph_rows(g, a->in), a, a->mlp && !(a->temperature > 0) ? "" : "fc");
}
static int feature_dim(const hpt__arch *a) { return a->dim; }

const hpt__family hpt__family_mlp = {.name = "mlp", .from_options = no_options, .build = build,
                                     .feature_dim = feature_dim};

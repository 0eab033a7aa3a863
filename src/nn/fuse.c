/* SPDX-License-Identifier: MIT
 * What is folded into one operation: batch norm + sum + ReLU, batch norm + SiLU, drop + sum, linear + ReLU. Only layers
 * whose output nobody else reads are folded, and only activations that every backend's batch norm and product have
 * built in; what is left runs as operations of its own. */
#include "nn/graph.h"

/* The fused layer takes the place of the last node of its chain, where the residual is known to have run. */
static void fold(hpt__graph *g, int into, int residual, hpt__act act) {
    int from = g->nodes[into].in;
    hpt__node n = g->nodes[from];
    n.residual = residual;
    n.act = act;
    n.read = g->nodes[into].read;
    g->nodes[from].kind = HPT__NODE_GONE;
    g->nodes[into] = n;
}

void hpt__graph_keep_all(hpt__graph *g) {
    for (int i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].kind != HPT__NODE_DROP) continue;
        g->nodes[i].kind = HPT__NODE_GONE;
        for (int j = i + 1; j < g->n_nodes; j++) {
            if (g->nodes[j].in == i) g->nodes[j].in = g->nodes[i].in;
            if (g->nodes[j].residual == i) g->nodes[j].residual = g->nodes[i].in;
        }
    }
}

void hpt__graph_fuse(hpt__graph *g) {
    for (int i = 0; i < g->n_nodes; i++) {
        const hpt__node *n = &g->nodes[i], *x = n->in >= 0 ? &g->nodes[n->in] : n;
        int alone = n->in >= 0 && x->act == HPT__ACT_NONE && hpt__graph_consumers(g, n->in) == 1;
        int takes_relu = x->kind == HPT__NODE_NORM || x->kind == HPT__NODE_LINEAR;
        if (!alone) continue;
        int takes_sum = x->kind == HPT__NODE_NORM || x->kind == HPT__NODE_DROP;
        if (n->kind == HPT__NODE_ADD && takes_sum && x->residual < 0)
            fold(g, i, n->residual, HPT__ACT_NONE);
        else if (n->kind == HPT__NODE_ACT && n->act == HPT__ACT_RELU && takes_relu)
            fold(g, i, x->residual, HPT__ACT_RELU);
        else if (n->kind == HPT__NODE_ACT && n->act == HPT__ACT_SILU && x->kind == HPT__NODE_NORM && x->residual < 0)
            fold(g, i, -1, HPT__ACT_SILU);
    }
}

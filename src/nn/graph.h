/* SPDX-License-Identifier: MIT
 * A network as a graph of layers, in the order they run. Building it registers the tensors; hpt__graph_fuse() folds add and ReLU into the
 * batch norm (or linear layer) before them. */
#ifndef HPT__GRAPH_H
#define HPT__GRAPH_H
#include "kernels/geometry.h"
#include "nn/arch.h"

typedef enum hpt__node_kind { HPT__NODE_INPUT, HPT__NODE_CONV, HPT__NODE_NORM, HPT__NODE_ADD, HPT__NODE_ACT, HPT__NODE_MAXPOOL,
                              HPT__NODE_AVERAGE, HPT__NODE_LINEAR, HPT__NODE_GONE } hpt__node_kind;

typedef struct hpt__node {
    hpt__node_kind kind;
    int in, residual;               /* node indices, -1 = none; ADD: in + residual */
    int c, h, w;                    /* output map; AVERAGE and LINEAR: (c) alone, h = w = 1 */
    int window, stride, pad;
    hpt__act act;                   /* ACT: which; NORM, LINEAR: folded into it */
    double eps;                     /* NORM: added to the variance */
    char name[40];                  /* as torchvision calls the module: conv1, layer1.0.bn2, layer1.0 (its end), avgpool; "" if it has none */
    int tensor;                     /* first of its tensors: conv weight; norm weight, bias, mean, var; linear weight, bias */
} hpt__node;

typedef struct hpt__graph {
    hpt__node *nodes;
    hpt__tensor *tensors;
    int n_nodes, n_tensors, cap_nodes, cap_tensors, head;
    size_t n_params, n_stats;
    hpt_status status;              /* first failure while building; later calls do nothing */
} hpt__graph;

/* ResNet (He et al. 2016, torchvision's v1.5: stride in the 3x3) for size x size images; head: with the projection head. */
hpt_status hpt__graph_resnet(hpt__graph *g, const hpt__arch *a, int size, int head);
/* Cuts the graph, before fusing, behind the layer called name ("layer4" is its last block); pool: and averages its map. HPT_ERR_ARGUMENT: no such. */
hpt_status hpt__graph_cut(hpt__graph *g, const char *name, int pool);
void hpt__graph_fuse(hpt__graph *g);
void hpt__graph_fini(hpt__graph *g);
#endif

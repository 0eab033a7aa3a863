/* SPDX-License-Identifier: MIT
 * A network as a graph of layers, in the order they run. Adding a node gives it its shape and registers its tensors,
 * both by the row that its kind has in layers.c; fuse.c folds what a backend does in one pass; plan.c compiles what
 * is left. */
#ifndef HPT__GRAPH_H
#define HPT__GRAPH_H
#include "kernels/geometry.h"
#include "nn/net.h"

typedef enum hpt__node_kind { HPT__NODE_INPUT, HPT__NODE_CONV, HPT__NODE_NORM, HPT__NODE_ADD, HPT__NODE_ACT,
                              HPT__NODE_MAXPOOL, HPT__NODE_AVERAGE, HPT__NODE_LINEAR, HPT__NODE_UNIT, HPT__NODE_SCALE,
                              HPT__NODE_DROP, HPT__NODE_GONE } hpt__node_kind;

typedef struct hpt__node {
    hpt__node_kind kind;
    int in, residual;               /* node indices, -1 = none; ADD: in + residual; SCALE: in * residual */
    int c, h, w;                    /* output map, or rows: (N,c) reals, h = w = 1 */
    int rows;
    int pixels;                     /* INPUT, not of rows: float, as images are, whatever the plan's real is */
    int window, stride;             /* CONV, MAXPOOL; LINEAR: window 1: files have a 1x1 convolution */
    int pad_h, pad_w;               /* zeros before the first row and column */
    int same;                       /* CONV: hpt__conv_as */
    int groups;                     /* CONV */
    hpt__act act;                   /* ACT: which; NORM, LINEAR: folded into it */
    double eps, momentum;           /* NORM: added to the variance; share of this batch in the running statistics */
    double share;                   /* DROP: of the plan's drop_path */
    int no_bias;                    /* CONV, LINEAR */
    double scale;                   /* UNIT: length of its rows */
    /* as torchvision calls the module: conv1, layer1.0.bn2, layer1.0 (its end), avgpool; "" if it has none */
    char name[HPT__NAME];
    /* first of its tensors: conv weight; norm weight, bias, mean, var; linear weight, bias */
    int tensor;
    int read;                       /* how often it is an output of the plan, beside the last layer */
} hpt__node;

struct hpt__graph {
    hpt__node *nodes;
    hpt__tensor *tensors;
    int n_nodes, n_tensors, cap_nodes, cap_tensors, head;       /* head: what is added belongs to the projection head */
    size_t n_params, n_stats;
    hpt_status status;              /* first failure while building; later calls do nothing */
};

/* Each gives the index of its node. name: of the module, "" for none. */
int hpt__graph_images(hpt__graph *g, int c, int h, int w);                     /* the input: float (N,c,h,w) */
int hpt__graph_rows(hpt__graph *g, int c);                                      /* or real (N,c) */
/* One of several inputs, or one that is another plan's output: real (N,c,h,w), or (N,c) of rows. */
int hpt__graph_map_input(hpt__graph *g, int c, int h, int w, const char *name);
int hpt__graph_rows_input(hpt__graph *g, int c, const char *name);
/* padded by window / 2 */
int hpt__graph_conv(hpt__graph *g, int in, int k, int window, int stride, const char *name);
/* same 0: padded by window / 2. HPT__SAME: as TensorFlow pads, so that the output has size / stride pixels, rounded up;
 * of an odd number of zeros the end gets one more. Above 0: with the zeros that a map of so many pixels a side would
 * get, whatever the size of the one that comes. groups 0: 1 */
enum { HPT__SAME = -1 };
typedef struct hpt__conv_as { int k, window, stride, groups, bias, same; } hpt__conv_as;
int hpt__graph_conv_as(hpt__graph *g, int in, hpt__conv_as as, const char *name);
int hpt__graph_norm(hpt__graph *g, int in, const char *name);                  /* eps 1e-5, momentum 0.1 */
int hpt__graph_norm_as(hpt__graph *g, int in, double eps, double momentum, const char *name);
int hpt__graph_act(hpt__graph *g, int in, hpt__act act);
int hpt__graph_add(hpt__graph *g, int in, int other);
int hpt__graph_maxpool(hpt__graph *g, int in, int window, int stride, const char *name);
int hpt__graph_average(hpt__graph *g, int in, const char *name);
int hpt__graph_linear(hpt__graph *g, int in, int k, int bias, const char *name);
/* rows of length scale, as cosine classifiers have them before their last layer */
int hpt__graph_unit(hpt__graph *g, int in, double scale);
/* A linear layer with bias on rows that is a 1x1 convolution in files: weight (k,c,1,1). */
int hpt__graph_pixel(hpt__graph *g, int in, int k, const char *name);
/* A map times factors, rows of as many values as the map has channels. */
int hpt__graph_scale(hpt__graph *g, int in, int factors, const char *name);
/* Stochastic depth, while a plan trains with drop_path > 0: an image's map becomes 0 with probability drop_path *
 * share, else it is divided by the probability that it stays. */
int hpt__graph_drop(hpt__graph *g, int in, double share);
/* mlp.c: the projection head on rows */
int hpt__graph_head(hpt__graph *g, int in, const hpt__arch *a, const char *prefix);
/* For the rows of layers.c: a tensor called module.field of shape (a), (a,b) or (a,b,window,window); 0 leaves a
 * dimension out. */
void hpt__graph_tensor(hpt__graph *g, hpt__tensor_kind kind, int64_t a, int64_t b, int64_t window, const char *module,
                       const char *field);

/* A name put together; one that has no room is an error of the graph. */
void hpt__graph_name(hpt__graph *g, char name[HPT__NAME], const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The layer called name; of a stage or block ("layer4", "blocks.3.1") its last; -1, said: no such. Before fusing. */
int hpt__graph_find(const hpt__graph *g, const char *name);
/* Cuts the graph, before fusing, behind the layer called name, as hpt__graph_find() knows it; pool: and averages its
 * map. HPT_ERR_ARGUMENT: no such. */
hpt_status hpt__graph_cut(hpt__graph *g, const char *name, int pool);
int hpt__graph_consumers(const hpt__graph *g, int node);        /* layers that read it, and outputs that it is */
/* fuse.c */
void hpt__graph_fuse(hpt__graph *g);
void hpt__graph_keep_all(hpt__graph *g);    /* without layers that drop */
void hpt__graph_fini(hpt__graph *g);
#endif

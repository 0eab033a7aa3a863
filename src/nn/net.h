/* SPDX-License-Identifier: MIT
 * Networks: architectures by family, and the table of their tensors, with torchvision's names in torchvision's
 * order, then the projection head. A family is a row of the table in net.c and a file beside it. */
#ifndef HPT__NET_H
#define HPT__NET_H
#include "core/options.h"
#include "core/status.h"

typedef struct hpt__graph hpt__graph;

typedef enum hpt__family_id { HPT__FAMILY_RESNET, HPT__FAMILY_EFFICIENTNET, HPT__FAMILY_MLP, HPT__FAMILIES
} hpt__family_id;

/* Whose EfficientNet: the same tensors, other padding and batch norm (efficientnet.c); torchvision's computes what
 * timm's does. */
enum { HPT__FLAVOUR_TIMM, HPT__FLAVOUR_TF, HPT__FLAVOUR_LUKEMELAS, HPT__FLAVOUR_TORCHVISION };

typedef struct hpt__arch {
    hpt__family_id family;
    char name[32];
    int blocks[4], bottleneck;      /* resnet */
    int width;                      /* resnet: channels of the first stage */
    int small_stem;                 /* resnet: 3x3 stride 1, no max-pool */
    int member, flavour;            /* efficientnet: B0 is 0; HPT__FLAVOUR_* */
    int dim, mlp;           /* projection head: outputs; 1: two linear layers, 0: one */
    int in;                 /* mlp standing alone: values of an input row */
    int hidden;             /* values between two linear layers; 0: as many as come in */
    int head_norm;          /* batch norm of vectors between them */
    int no_bias[2];         /* the first of two, the last or only one: without bias */
    /* a cosine classifier (Saito et al. 2019): the last layer, without bias, reads rows of length 1/temperature, and
     * nothing but that lies between two layers; 0: none */
    double temperature;
} hpt__arch;

typedef struct hpt__family {
    const char *name;
    /* a head of one layer begins uniform by its fan-out and with bias 0, as timm's classifier */
    int fan_out;
    /* 0: it has no member of that name */
    int (*from_options)(const hpt__options *o, const char *name, hpt__arch *a);
    /* for images of h x w; head: with the projection head */
    void (*build)(hpt__graph *g, const hpt__arch *a, int h, int w, int head);
    int (*feature_dim)(const hpt__arch *a);
} hpt__family;
extern const hpt__family hpt__family_resnet, hpt__family_efficientnet, hpt__family_mlp;

typedef enum hpt__tensor_kind { HPT__CONV_WEIGHT, HPT__NORM_WEIGHT, HPT__NORM_BIAS, HPT__RUN_MEAN, HPT__RUN_VAR,
                                HPT__LINEAR_WEIGHT, HPT__LINEAR_BIAS, HPT__CONV_BIAS } hpt__tensor_kind;

/* Room for the name of a layer or tensor, as hpt_tensor_info has it; a longer one is an error. */
enum { HPT__NAME = 96 };

/* One tensor. Parameters lie in one flat array, running statistics in another; offset counts elements there and is a
 * multiple of 16. */
typedef struct hpt__tensor {
    char name[HPT__NAME];
    hpt__tensor_kind kind;
    int ndim, head;             /* head: part of the projection head */
    int64_t shape[4];           /* unused dimensions 0 */
    /* as order.pack() takes it: (K,C) where a product reads what files have as the weight of a 1x1 convolution */
    int64_t order[4];
    int groups;                 /* of a convolution, else 1 */
    size_t offset, count;
} hpt__tensor;

typedef struct hpt__net {
    hpt__arch arch;
    hpt__tensor *tensors;       /* state-dict order */
    int n_tensors;
    size_t n_params, n_stats;   /* lengths of the flat arrays, padding included */
    int feature_dim;
} hpt__net;

static inline int hpt__is_stat(const hpt__tensor *t) { return t->kind == HPT__RUN_MEAN || t->kind == HPT__RUN_VAR; }

/* Fills an architecture from options (arch must not be auto). */
hpt_status hpt__arch_from_options(const hpt__options *o, const char *name, hpt__arch *a);
/* mlp.c: a network of rows, in -> hidden -> dim, standing alone; its tensors are 0.weight, ..., all part of a head.
 * Bias: set no_bias. */
void hpt__arch_mlp(hpt__arch *a, int in, int hidden, int dim, int norm);
/* resnet.c: the member with these blocks a stage, NULL if none. */
const char *hpt__arch_of_blocks(const int blocks[4], int bottleneck);
int hpt__arch_features(const hpt__arch *a);                 /* values of an image's features */
int hpt__arch_same(const hpt__arch *a, const hpt__arch *b, int head);
/* The graph of a network, not yet fused. On failure there is none to free. */
hpt_status hpt__net_graph(const hpt__arch *a, int h, int w, int head, hpt__graph *g);
hpt_status hpt__net_of_graph(const hpt__graph *g, hpt__net *net);       /* its table of tensors alone */
hpt_status hpt__net_create(const hpt__arch *a, hpt__net *net);
void hpt__net_fini(hpt__net *net);
uint64_t hpt__net_values(const hpt__net *net);                /* of all tensors together */
int hpt__net_find(const hpt__net *net, const char *name);     /* index or -1 */
/* Random weights (option init), running mean 0 and variance 1. head_only: leaves the backbone as it is.
 * Tells the span under way how many values it has made. HPT_ERR_CANCELLED: arrays hold anything. */
hpt_status hpt__net_init(const hpt__net *net, uint64_t seed, int openselfsup, int head_only, float *params,
                         float *stats);
#endif

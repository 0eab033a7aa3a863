/* SPDX-License-Identifier: MIT
 * The shape of one layer and what its kernels need to know of it: (N,C,H,W) -> (N,K,P,Q) with an R x S window. One
 * struct for every kernel that works on feature maps. */
#ifndef HPT__GEOMETRY_H
#define HPT__GEOMETRY_H
typedef enum hpt__act { HPT__ACT_NONE, HPT__ACT_RELU, HPT__ACT_SILU, HPT__ACT_SIGMOID } hpt__act;
typedef struct hpt__geometry {
    int n, c, h, w;         /* input: batch, channels, height, width */
    int k, p, q;            /* output: channels, height, width */
    int r, s, stride;       /* window; its stride, both directions alike */
    /* zeros before the first row and column; how many come after the last follows from p and q */
    int pad_h, pad_w;
    int conv_groups;        /* convolution: channels go in so many groups, each of c/groups -> k/groups; 0 is 1 */
    int bn_groups;          /* batch norm: contiguous sub-batches of n/bn_groups images with their own statistics */
    int bn_ranks;           /* batch norm in halves: so many ranks share each group; 0 is 1 */
    /* fused into the operation: batch norm none, relu or silu, linear none or relu; the activation itself: which */
    hpt__act act;
    int residual;           /* batch norm: y = act(norm(x) + residual?) */
    /* batch norm, activation, sum: not maps but rows, real (N,C), whatever the type of maps; C any number */
    int rows;
    int extra_grad;         /* a second gradient is added to dy on reading */
    double eps;             /* batch norm: added to the variance */
    double scale;           /* unit: length of the rows; its gradient: the same, or turned around */
} hpt__geometry;
static inline int hpt__bn_ranks(const hpt__geometry *g) { return g->bn_ranks > 1 ? g->bn_ranks : 1; }
static inline int hpt__conv_groups(const hpt__geometry *g) { return g->conv_groups > 1 ? g->conv_groups : 1; }
#endif

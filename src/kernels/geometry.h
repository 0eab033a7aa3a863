/* SPDX-License-Identifier: MIT
 * The shape of one layer: (N,C,H,W) -> (N,K,P,Q) with an R x S window. One struct for every kernel that works on feature maps. */
#ifndef HPT__GEOMETRY_H
#define HPT__GEOMETRY_H
typedef struct hpt__geometry {
    int n, c, h, w;         /* input: batch, channels, height, width */
    int k, p, q;            /* output: channels, height, width */
    int r, s, stride, pad;  /* window, both directions alike */
    int groups;             /* batch norm: contiguous sub-batches of n/groups images with their own statistics */
    int relu, residual;     /* batch norm: y = relu?(norm(x) + residual?) */
    int extra_grad;         /* batch norm backward: a second gradient is added to dy on reading */
} hpt__geometry;
#endif

/* SPDX-License-Identifier: MIT
 * What a kind of layer is: one row of hpt__layers[] in layers.c. A new layer is a new row (and the operations it
 * emits). */
#ifndef HPT__LAYERS_H
#define HPT__LAYERS_H
#include "nn/graph.h"

typedef struct hpt__compiler hpt__compiler;

typedef struct hpt__layer {
    const char *name;
    void (*shape)(hpt__graph *g, hpt__node *n);       /* output from inputs; NULL: the builder says it */
    /* registers what it owns, in torch's order; NULL: nothing */
    void (*tensors)(hpt__graph *g, const hpt__node *n);
    int in_place;           /* without a backward pass the output may lie over the input */
    int adds;               /* its backward operation adds a second gradient while it reads the first */
    int learns;             /* it has gradients of tensors even if no flag says that they are wanted */
    void (*forward)(hpt__compiler *c, int node);
    /* called with at least one gradient received; NULL: ends here */
    void (*backward)(hpt__compiler *c, int node);
} hpt__layer;

extern const hpt__layer hpt__layers[];      /* by hpt__node_kind */
#endif

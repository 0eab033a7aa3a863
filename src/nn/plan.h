/* SPDX-License-Identifier: MIT
 * A network compiled for one (batch, size, precision, mode, backend): a flat list of operations over buffers that share one arena by
 * lifetime. Running it allocates nothing. */
#ifndef HPT__PLAN_H
#define HPT__PLAN_H
#include "backend/backend.h"
#include "core/progress.h"
#include "nn/net.h"

typedef enum hpt__plan_mode {
    HPT__EVAL,          /* forward with running statistics */
    HPT__FORWARD,       /* forward with batch statistics, running statistics updated; keeps no activations (key encoder, refresh) */
    HPT__TRAIN          /* the same with activations kept, and backward */
} hpt__plan_mode;

typedef struct hpt__plan_spec {
    hpt__dtype dtype;
    hpt__plan_mode mode;
    int batch, size;
    int groups;                 /* batch-norm groups; divides batch */
    int head;                   /* output = head's (batch, dim), else features (batch, feature_dim); type real */
    int direct, deterministic;  /* no Winograd; the same bits every run */
    const char *layer;          /* EVAL: the output is this layer's, real (batch,C,H,W); NULL: features, or the head's */
    int pool;                   /* layer: averaged over the map, (batch,C) */
    hpt__watch *watch;          /* asked between two operations, where a step can be given up (memory of the host); or NULL */
    const uint8_t *trainable;   /* TRAIN: one flag per tensor of the net; gradients of the others are not computed */
} hpt__plan_spec;

typedef struct hpt__plan hpt__plan;

hpt_status hpt__plan_create(const hpt__backend *be, hpt__device *dev, const hpt__net *net, const hpt__plan_spec *spec, hpt__plan **out);
void hpt__plan_destroy(hpt__plan *p);
size_t hpt__plan_bytes(const hpt__plan *p);
/* All arrays in device memory. images: float (batch,3,size,size). low: bfloat16 copy of params where the backend wants one, else NULL. The
 * output stays valid until the next forward. */
hpt_status hpt__plan_forward(hpt__plan *p, const void *params, const void *low, void *stats, const float *images, double bn_momentum);
const void *hpt__plan_output(const hpt__plan *p);
size_t hpt__plan_width(const hpt__plan *p);     /* values of the output for each image */
/* After forward: grads (=) for trainable tensors; dout (batch, dim) real, overwritten. ready, if not NULL, is called as backward proceeds: all
 * gradients at offsets from `from` (values) on are queued. */
hpt_status hpt__plan_backward(hpt__plan *p, const void *params, const void *low, void *grads, void *dout, void (*ready)(void *user, size_t from), void *user);
/* For tests and logs, one operation a line: kind, shape, where its arrays lie, and after " : " the implementation chosen. Cut to size. */
void hpt__plan_describe(const hpt__plan *p, char *text, size_t size);
#endif

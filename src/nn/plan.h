/* SPDX-License-Identifier: MIT
 * A network compiled for one (batch, size, precision, mode, backend): a flat list of operations over buffers that share
 * one arena by lifetime. Running it allocates nothing.
 *
 * A network of images takes float (batch,3,size,width); one of rows (family mlp: a head standing alone) takes real
 * (batch,in), which it reads where they lie: they must stay until backward has run. `real` is double where dtype is
 * HPT__F64, else float, also in bf16 plans. Two plans make a chain when one's output is the next one's input and the
 * next one's input gradient is its dout:
 *     hpt__plan_forward(body, ..., images);     hpt__plan_forward(head, ..., hpt__plan_output(body));
 *     hpt__plan_backward(head, ..., dout);      hpt__plan_backward(body, ..., hpt__plan_input_grad(head)); */
#ifndef HPT__PLAN_H
#define HPT__PLAN_H
#include "backend/backend.h"
#include "core/progress.h"
#include "nn/net.h"

typedef enum hpt__plan_mode {
    HPT__EVAL,          /* forward with running statistics */
    /* forward with batch statistics, running statistics updated; keeps no activations (key encoder, refresh) */
    HPT__FORWARD,
    HPT__TRAIN          /* the same with activations kept, and backward */
} hpt__plan_mode;

typedef struct hpt__plan_spec {
    hpt__dtype dtype;
    hpt__plan_mode mode;
    int batch, size, width;     /* of images: their height, and their width if it is another (0: square) */
    int groups;                 /* batch-norm groups; divides batch */
    int bn_ranks;               /* so many ranks, from a multiple of it on, share each of these groups; 0, 1: none */
    hpt__comm *comm;            /* of bn_ranks; each pass is then a collective call of all its ranks */
    int head;                   /* output = head's (batch, dim), else features (batch, feature_dim); type real */
    int direct, deterministic;  /* no Winograd; the same bits every run */
    /* EVAL: the output is this layer's, real (batch,C,H,W); NULL: features, or the head's */
    const char *layer;
    int pool;                   /* layer: averaged over the map, (batch,C) */
    /* asked between two operations, where a step can be given up (memory of the host); or NULL */
    hpt__watch *watch;
    int input_grad;             /* TRAIN: the gradient of the input is wanted */
    const uint8_t *trainable;   /* TRAIN: one flag per tensor of the net; gradients of the others are not computed */
} hpt__plan_spec;

typedef struct hpt__plan hpt__plan;

hpt_status hpt__plan_create(const hpt__backend *be, hpt__device *dev, const hpt__net *net, const hpt__plan_spec *spec,
                            hpt__plan **out);
/* The same of a graph that is not (all of) its net's family's: its tensors, by place in its table, are the net's. g
 * is taken over and empty afterwards. */
hpt_status hpt__plan_compile(const hpt__backend *be, hpt__device *dev, const hpt__net *net, hpt__graph *g,
                             const hpt__plan_spec *spec, hpt__plan **out);
void hpt__plan_destroy(hpt__plan *p);
size_t hpt__plan_bytes(const hpt__plan *p);
/* All arrays in device memory, from mem_alloc or 64-byte aligned. input: images or rows. low: bfloat16 copy of
 * params where the backend wants one, else NULL. bn_momentum: share of this batch in the running statistics, or
 * HPT__BN_OWN: as each layer has it (0.1). The output stays valid until the next forward. */
#define HPT__BN_OWN (-1.0)
hpt_status hpt__plan_forward(hpt__plan *p, const void *params, const void *low, void *stats, const void *input,
                             double bn_momentum);
const void *hpt__plan_output(const hpt__plan *p);
size_t hpt__plan_width(const hpt__plan *p);     /* values of the output for each image */
/* After forward: grads (=) for trainable tensors; dout (batch, dim) real, overwritten. ready, if not NULL, is called
 * as backward proceeds: all gradients at offsets from `from` (values) on are queued. */
hpt_status hpt__plan_backward(hpt__plan *p, const void *params, const void *low, void *grads, void *dout,
                              void (*ready)(void *user, size_t from), void *user);
/* After backward, where spec.input_grad asked for it (else NULL): real, in the input's shape; the caller may
 * overwrite it. Valid until the next forward. */
void *hpt__plan_input_grad(const hpt__plan *p);
/* For tests and logs, one operation a line: kind, shape, where its arrays lie, and after " : " the implementation
 * chosen. Cut to size. */
void hpt__plan_describe(const hpt__plan *p, char *text, size_t size);
#endif

/* SPDX-License-Identifier: MIT
 * A network compiled for one (batch, size, precision, mode, backend): a flat list of operations over buffers that share
 * one arena by lifetime. Running it allocates nothing.
 *
 * A network of images takes float (batch,3,size,width); one of rows (family mlp: a head standing alone) takes real
 * (batch,in), which it reads where they lie: they must stay until backward has run. `real` is double where dtype is
 * HPT__F64, else float, also in bf16 plans. */
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

enum { HPT__PORTS = 8 };

/* Inputs and outputs are numbered, inputs in the order of the graph, and have the names of their layers. Outputs are
 * rows, real (batch,C), or maps, real (batch,C,H,W), plain whatever the backend's own order; so are the gradients that
 * come for them, and those of inputs. Two plans make a chain when one's output is the next one's input and the next
 * one's input gradient is what comes for it:
 *     hpt__plan_forward(body, ..., images);     hpt__plan_forward(head, ..., hpt__plan_output(body));
 *     hpt__plan_backward(head, ..., dout);      hpt__plan_backward(body, ..., hpt__plan_input_grad(head));
 * An output, by the name of its layer; grad: TRAIN: a gradient comes for it. An input; grad: its gradient is wanted. */
typedef struct hpt__port { const char *name; int grad; } hpt__port;

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
    const hpt__port *outputs;   /* n_outputs of them; none: the last layer, for which in TRAIN a gradient comes */
    const hpt__port *inputs;    /* n_inputs of them; not named: input_grad says it */
    int n_outputs, n_inputs;
    int input_grad;             /* TRAIN: the gradients of the inputs are wanted */
    /* TRAIN: the gradient turns around at rows of one length (hpt__graph_unit()): what lies before them climbs the
     * loss */
    int reverse;
    double drop_path;           /* TRAIN, FORWARD: rate of stochastic depth, 0: none; then give_drops() */
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
/* All arrays in device memory, from mem_alloc or 64-byte aligned. input: images, rows or maps. low: bfloat16 copy of
 * params where the backend wants one, else NULL. bn_momentum: share of this batch in the running statistics, or
 * HPT__BN_OWN: as each layer has it; HPT__BN_TWICE: as far as two steps of the layer's own would move them. The outputs
 * stay valid until the next forward. */
#define HPT__BN_OWN (-1.0)
#define HPT__BN_TWICE (-2.0)
hpt_status hpt__plan_forward(hpt__plan *p, const void *params, const void *low, void *stats, const void *input,
                             double bn_momentum);
/* The same of a plan with several inputs. */
hpt_status hpt__plan_forward_all(hpt__plan *p, const void *params, const void *low, void *stats,
                                 const void *const *inputs, double bn_momentum);
/* After forward: grads (=) for trainable tensors; dout as the output is, real; that of rows is overwritten. ready, if
 * not NULL, is called as backward proceeds: all gradients at offsets from `from` (values) on are queued. */
hpt_status hpt__plan_backward(hpt__plan *p, const void *params, const void *low, void *grads, void *dout,
                              void (*ready)(void *user, size_t from), void *user);
/* The same of a plan with several outputs: one for each, NULL for those that no gradient comes for. */
hpt_status hpt__plan_backward_all(hpt__plan *p, const void *params, const void *low, void *grads, void *const *douts,
                                  void (*ready)(void *user, size_t from), void *user);
/* Stochastic depth: how many layers drop images and with which probability each; what they multiply each image with,
 * real (drops,batch) of device memory: 0, or 1/(1-p). Runs read it until it is given anew. */
int hpt__plan_batch(const hpt__plan *p);    /* images of a run */
int hpt__plan_drops(const hpt__plan *p);
double hpt__plan_drop_rate(const hpt__plan *p, int drop);
void hpt__plan_give_drops(hpt__plan *p, const void *factors);
/* The number of an input or output by name; -1: none is called so. */
int hpt__plan_find_input(const hpt__plan *p, const char *name);
int hpt__plan_find_output(const hpt__plan *p, const char *name);
const void *hpt__plan_output_at(const hpt__plan *p, int output);
size_t hpt__plan_width_at(const hpt__plan *p, int output);  /* values for each image */
/* After backward: real, in the input's shape, NULL where it was not wanted; the caller may overwrite it. Valid until
 * the next forward. */
void *hpt__plan_input_grad_at(const hpt__plan *p, int input);
/* of the first */
const void *hpt__plan_output(const hpt__plan *p);
size_t hpt__plan_width(const hpt__plan *p);
void *hpt__plan_input_grad(const hpt__plan *p);
/* For tests and logs, one operation a line: kind, shape, where its arrays lie, and after " : " the implementation
 * chosen. Cut to size. */
void hpt__plan_describe(const hpt__plan *p, char *text, size_t size);
#endif

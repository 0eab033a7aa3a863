/* SPDX-License-Identifier: MIT
 * Inside of the plan compiler, between plan.c (order, gradient sums, running), layers.c (what each layer emits) and
 * arena.c (buffers). */
#ifndef HPT__COMPILE_H
#define HPT__COMPILE_H
#include "nn/layers.h"
#include "nn/plan.h"

/* Where an array lies: a buffer of the arena, or so many bytes behind what the caller passes at each run. */
enum { HPT__IN_NONE, HPT__IN_ARENA, HPT__IN_PARAM, HPT__IN_LOW, HPT__IN_GRAD, HPT__IN_STAT, HPT__IN_INPUT,
       HPT__IN_DOUT, HPT__IN_DROP, HPT__BASES };
/* at: number of the buffer (arena), input or dout, bytes elsewhere; skip: bytes from the buffer's beginning */
typedef struct hpt__place { int base; size_t at, skip; } hpt__place;

/* One operation with its arrays, named as in hpt__op_args. */
typedef struct hpt__step {
    hpt__op *op;
    hpt__op_desc d;
#define ARRAY(name) hpt__place name;
    HPT__OP_ARRAYS(ARRAY)
#undef ARRAY
    double momentum;        /* batch norm: the layer's own */
    size_t exchange;        /* no operation (op is NULL): x, so many bytes of each rank, to y of all, in rank order */
} hpt__step;

/* alive from step first to step last */
typedef struct hpt__buffer { size_t bytes, offset; int first, last; } hpt__buffer;

/* An input: its gradient, if that is wanted. An output: where the caller finds it, and whether a gradient comes. */
typedef struct hpt__plan_end {
    char name[HPT__NAME];
    int node, grad;
    hpt__place at;
    size_t width;           /* output: values for each image */
    const void *given;      /* input: of the last forward pass */
} hpt__plan_end;

struct hpt__plan {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__plan_spec spec;
    hpt__step *steps;
    hpt__buffer *buffers;
    int n_steps, cap_steps, n_forward, n_buffers, cap_buffers;
    char *arena;
    size_t arena_bytes, scratch_at;
    hpt__plan_end input[HPT__PORTS], output[HPT__PORTS];
    int n_inputs, n_outputs;
    /* drop path: the rate of each drop, in the order of the graph; factors, real (n_drops,batch): what runs read */
    double *drop;
    int n_drops;
    const void *factors;
};

/* What the compiler knows of a node while it works. */
typedef struct hpt__node_state {
    hpt__place y;
    hpt__place grad[2];     /* gradients received */
    int grads, needed;      /* needed: it or something before it trains */
    hpt__place mean, rstd, aux;
} hpt__node_state;

struct hpt__compiler {
    hpt__plan *p;
    const hpt__net *net;
    hpt__graph g;
    hpt__node_state *s;     /* of each node */
    hpt_status status;      /* first failure; later calls do nothing */
};

/* plan.c */
void hpt__emit(hpt__compiler *c, hpt__op_kind kind, hpt__geometry g, hpt__step s);
/* Every rank's part, side by side in the order of the ranks. */
hpt__place hpt__emit_exchange(hpt__compiler *c, hpt__place part, size_t bytes);
void hpt__send_grad(hpt__compiler *c, int node, hpt__place grad);
static inline size_t hpt__plan_real(const hpt__plan *p) { return hpt__real_size(p->spec.dtype); }

/* layers.c: a node's output as the caller reads it, plain values or rows; such values in the backend's order */
hpt__place hpt__leave(hpt__compiler *c, int node);
hpt__place hpt__enter(hpt__compiler *c, int node, hpt__place plain);
/* where the factors of a DROP node are, real (batch) */
hpt__place hpt__drop_factors(hpt__compiler *c, int node);
/* sums two gradients of a node's output */
void hpt__add_grad(hpt__compiler *c, int node, hpt__place into, hpt__place more);

/* arena.c */
hpt__place hpt__new_buffer(hpt__compiler *c, size_t bytes);     /* alive from the step to come */
/* that step is the next: what it names is alive until then */
void hpt__use_buffers(hpt__plan *p, const hpt__step *s);
size_t hpt__lay_out(hpt__plan *p);                              /* gives buffers their offsets; the end, 0: no memory */
#endif

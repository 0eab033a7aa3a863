/* SPDX-License-Identifier: MIT
 * The layers: for each its shape, its tensors, and the operations of its forward and backward pass. A row emits through
 * hpt__emit() and hands gradients on through hpt__send_grad(); it knows nothing of order, lifetimes or memory.
 *
 * In-place choices: a batch norm writes dx over its input, which nobody reads again, and without a backward pass it
 * writes y there; the masked gradient that it leaves in dy is the gradient of its residual, so a shortcut costs no
 * buffer and no copy. */
#include "nn/compile.h"
#include <string.h>

/* ---- what the rows share ---- */

static const hpt__node *node_at(const hpt__compiler *c, int i) { return &c->g.nodes[i]; }

static size_t output_bytes(const hpt__compiler *c, const hpt__node *n) {
    const hpt__plan *p = c->p;
    if (n->rows) return (size_t)p->spec.batch * (size_t)n->c * hpt__plan_real(p);
    return p->be->order.act_bytes(p->dev, p->spec.dtype, p->spec.batch, n->c, n->h, n->w);
}
static hpt__place tensor_in(const hpt__compiler *c, int base, int tensor) {
    return (hpt__place){.base = base, .at = c->net->tensors[tensor].offset * hpt__plan_real(c->p)};
}
/* the bfloat16 copies lie in the same order, 2 bytes a value */
static hpt__place low_of(const hpt__compiler *c, int tensor) {
    return (hpt__place){.base = HPT__IN_LOW, .at = c->net->tensors[tensor].offset * 2};
}
static int trains(const hpt__compiler *c, int tensor) { return c->p->spec.trainable && c->p->spec.trainable[tensor]; }

static hpt__geometry geometry(const hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i), *x = n->in >= 0 ? node_at(c, n->in) : n;
    return (hpt__geometry){.n = c->p->spec.batch, .c = x->c, .h = x->h, .w = x->w, .k = n->c, .p = n->h, .q = n->w,
                           .r = n->window, .s = n->window, .stride = n->stride, .pad_h = n->pad_h, .pad_w = n->pad_w,
                           .conv_groups = n->groups,
                           .bn_groups = c->p->spec.groups, .bn_ranks = c->p->spec.bn_ranks,
                           .act = n->act,
                           .residual = n->residual >= 0, .extra_grad = c->s[i].grads == 2, .eps = n->eps,
                           .rows = n->rows && x->rows && n->kind != HPT__NODE_LINEAR};
}
/* x and y of a forward operation; y in a buffer of its own, or over x */
static hpt__step forward_step(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__node_state *s = &c->s[i];
    hpt__place x = n->in >= 0 ? c->s[n->in].y : (hpt__place){0};
    int over = hpt__layers[n->kind].in_place && c->p->spec.mode != HPT__TRAIN && x.base == HPT__IN_ARENA &&
               hpt__graph_consumers(&c->g, n->in) == 1;
    s->y = over ? x : hpt__new_buffer(c, output_bytes(c, n));
    return (hpt__step){.x = x, .y = s->y};
}
/* the gradients received */
static hpt__step backward_step(const hpt__compiler *c, int i) {
    const hpt__node_state *s = &c->s[i];
    return (hpt__step){.dy = s->grad[0], .dy2 = s->grads == 2 ? s->grad[1] : (hpt__place){0}};
}
/* of an operation that goes over a node's output */
static hpt__geometry output_geometry(const hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    return (hpt__geometry){.n = c->p->spec.batch, .c = n->c, .h = n->h, .w = n->w, .k = n->c, .p = n->h, .q = n->w,
                           .bn_groups = 1, .rows = n->rows};
}
hpt__place hpt__leave(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    if (n->rows && c->s[i].y.base == HPT__IN_ARENA) return c->s[i].y;
    size_t values = (size_t)c->p->spec.batch * (size_t)n->c * (size_t)n->h * (size_t)n->w;
    hpt__place plain = hpt__new_buffer(c, values * hpt__plan_real(c->p));
    hpt__emit(c, n->rows ? HPT__OP_SUM : HPT__OP_OUTPUT, output_geometry(c, i),
              (hpt__step){.x = c->s[i].y, .y = plain});
    return plain;
}
hpt__place hpt__enter(hpt__compiler *c, int i, hpt__place plain) {
    const hpt__node *n = node_at(c, i);
    if (n->rows) return plain;
    hpt__place map = hpt__new_buffer(c, output_bytes(c, n));
    hpt__emit(c, HPT__OP_ENTER, output_geometry(c, i), (hpt__step){.x = plain, .y = map});
    return map;
}
void hpt__add_grad(hpt__compiler *c, int i, hpt__place into, hpt__place more) {
    hpt__geometry g = output_geometry(c, i);
    g.residual = 1;
    hpt__emit(c, HPT__OP_SUM, g, (hpt__step){.x = into, .r = more, .y = into});
}
static hpt__place input_grad(hpt__compiler *c, int i) {
    return hpt__new_buffer(c, output_bytes(c, node_at(c, node_at(c, i)->in)));
}

/* ---- shapes ---- */

static void same_shape(hpt__graph *g, hpt__node *n) {
    const hpt__node *x = &g->nodes[n->in];
    n->c = x->c;
    n->h = x->h;
    n->w = x->w;
    n->rows = x->rows;
}
static void add_shape(hpt__graph *g, hpt__node *n) {
    const hpt__node *x = &g->nodes[n->in], *r = &g->nodes[n->residual];
    same_shape(g, n);
    if (x->c != r->c || x->h != r->h || x->w != r->w || x->rows != r->rows)
        g->status = hpt__fail(HPT_ERR_INTERNAL, "sum of %dx%dx%d and %dx%dx%d", x->c, x->h, x->w, r->c, r->h, r->w);
}
/* so that every stride-th pixel of a side is the middle of a window, or next to it */
static int same_zeros(const hpt__node *n, int side) {
    int zeros = ((side + n->stride - 1) / n->stride - 1) * n->stride + n->window - side;
    return zeros > 0 ? zeros : 0;
}
static void window_shape(hpt__graph *g, hpt__node *n) {
    const hpt__node *x = &g->nodes[n->in];
    if (n->kind == HPT__NODE_MAXPOOL) n->c = x->c;
    else if (x->c % n->groups || n->c % n->groups)
        g->status = hpt__fail(HPT_ERR_INTERNAL, "a convolution %d -> %d in %d groups", x->c, n->c, n->groups);
    int more_h = 2 * n->pad_h, more_w = 2 * n->pad_w;
    if (n->same) {
        more_h = same_zeros(n, n->same > 0 ? n->same : x->h);
        more_w = same_zeros(n, n->same > 0 ? n->same : x->w);
        n->pad_h = more_h / 2;
        n->pad_w = more_w / 2;
    }
    n->h = (x->h + more_h - n->window) / n->stride + 1;
    n->w = (x->w + more_w - n->window) / n->stride + 1;
}
static void rows_shape(hpt__graph *g, hpt__node *n) {
    if (n->kind == HPT__NODE_LINEAR && !g->nodes[n->in].rows)
        g->status = hpt__fail(HPT_ERR_INTERNAL, "a linear layer on a map: average it first");
    if (n->kind == HPT__NODE_AVERAGE) n->c = g->nodes[n->in].c;
    n->h = n->w = n->rows = 1;
}

/* ---- input ---- */

/* images and plain maps become maps of the backend; rows are read where the caller has them */
static hpt__plan_end *end_of(hpt__compiler *c, int i) {
    hpt__plan_end *e = c->p->input;
    while (e->node != i) e++;
    return e;
}
static hpt__place given(hpt__compiler *c, int i) {
    return (hpt__place){.base = HPT__IN_INPUT, .at = (size_t)(end_of(c, i) - c->p->input)};
}
static void input_forward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    if (n->rows) {
        c->s[i].y = given(c, i);
        return;
    }
    hpt__step op = forward_step(c, i);
    op.x = given(c, i);
    hpt__emit(c, n->pixels ? HPT__OP_INPUT : HPT__OP_ENTER, geometry(c, i), op);
}
/* the gradient of the input, if it is wanted: plain, or rows in memory of the plan */
static void input_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__plan *p = c->p;
    hpt__plan_end *e = end_of(c, i);
    e->at = c->s[i].grad[0];
    if (n->rows && e->at.base == HPT__IN_ARENA) return;
    e->at = hpt__new_buffer(c, (size_t)p->spec.batch * (size_t)n->c * (size_t)n->h * (size_t)n->w * hpt__plan_real(p));
    hpt__emit(c, n->rows ? HPT__OP_SUM : HPT__OP_OUTPUT, geometry(c, i),
              (hpt__step){.x = c->s[i].grad[0], .y = e->at});
}

/* ---- convolution ---- */

static void conv_tensors(hpt__graph *g, const hpt__node *n) {
    hpt__graph_tensor(g, HPT__CONV_WEIGHT, n->c, g->nodes[n->in].c / n->groups, n->window, n->name, "weight");
    if (!g->status) g->tensors[g->n_tensors - 1].groups = n->groups;
    if (!n->no_bias) hpt__graph_tensor(g, HPT__CONV_BIAS, n->c, 0, 0, n->name, "bias");
}
static void conv_forward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = forward_step(c, i);
    op.w = tensor_in(c, HPT__IN_PARAM, n->tensor);
    op.w_low = low_of(c, n->tensor);
    hpt__emit(c, HPT__OP_CONV, geometry(c, i), op);
    if (n->no_bias) return;
    hpt__place b = tensor_in(c, HPT__IN_PARAM, n->tensor + 1);
    hpt__emit(c, HPT__OP_BIAS, output_geometry(c, i), (hpt__step){.x = op.y, .b = b, .y = op.y});
}
static void conv_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = backward_step(c, i);
    if (!n->no_bias && trains(c, n->tensor + 1)) {
        hpt__place db = tensor_in(c, HPT__IN_GRAD, n->tensor + 1);
        hpt__emit(c, HPT__OP_BIAS_GRAD, output_geometry(c, i), (hpt__step){.dy = op.dy, .db = db});
    }
    op.x = c->s[n->in].y;
    op.w = tensor_in(c, HPT__IN_PARAM, n->tensor);
    op.w_low = low_of(c, n->tensor);
    if (trains(c, n->tensor)) {
        op.dw = tensor_in(c, HPT__IN_GRAD, n->tensor);
        hpt__emit(c, HPT__OP_CONV_WEIGHTS, geometry(c, i), op);
    }
    if (!c->s[n->in].needed) return;
    op.dx = input_grad(c, i);
    op.x = (hpt__place){0};
    hpt__emit(c, HPT__OP_CONV_DATA, geometry(c, i), op);
    hpt__send_grad(c, n->in, op.dx);
}

/* ---- batch norm, with what is folded into it ---- */

static void norm_tensors(hpt__graph *g, const hpt__node *n) {
    hpt__graph_tensor(g, HPT__NORM_WEIGHT, n->c, 0, 0, n->name, "weight");
    hpt__graph_tensor(g, HPT__NORM_BIAS, n->c, 0, 0, n->name, "bias");
    hpt__graph_tensor(g, HPT__RUN_MEAN, n->c, 0, 0, n->name, "running_mean");
    hpt__graph_tensor(g, HPT__RUN_VAR, n->c, 0, 0, n->name, "running_var");
}
/* The variance of one value is 0, so that the layer's output would be its bias, whatever the image shows. */
static void single_value(hpt__compiler *c, const hpt__node *n) {
    const char *name = c->g.tensors[n->tensor].name, *dot = strrchr(name, '.');
    const char *more = "more images together (batch_size and bn_group; finetuning: ft_batch and ft_micro)";
    int len = dot ? (int)(dot - name) : 0;
    if (n->rows)
        c->status = hpt__fail(HPT_ERR_OPTION, "batch norm '%.*s' would see one value a channel (1 image): use %s", len,
                              name, more);
    else
        c->status = hpt__fail(HPT_ERR_OPTION,
                              "batch norm '%.*s' would see one value a channel (1 image of 1x1): use a larger "
                              "image_size, "
                               "or %s", len, name, more);
}
/* This rank's sums (double (groups,C,2)) to all; where those of the ranks that share its groups begin. */
static hpt__place join_ranks(hpt__compiler *c, const hpt__node *n, hpt__place sums) {
    const hpt__plan_spec *spec = &c->p->spec;
    size_t bytes = (size_t)spec->groups * (size_t)n->c * 2 * sizeof(double);
    hpt__place all = hpt__emit_exchange(c, sums, bytes);
    all.skip = (size_t)(spec->comm->rank / spec->bn_ranks * spec->bn_ranks) * bytes;
    return all;
}
static hpt__place sums_buffer(hpt__compiler *c, const hpt__node *n) {
    return hpt__new_buffer(c, (size_t)c->p->spec.groups * (size_t)n->c * 2 * sizeof(double));
}
static void norm_forward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    const hpt__plan_spec *spec = &c->p->spec;
    hpt__node_state *s = &c->s[i];
    hpt__step op = forward_step(c, i);
    op.w = tensor_in(c, HPT__IN_PARAM, n->tensor);
    op.b = tensor_in(c, HPT__IN_PARAM, n->tensor + 1);
    op.run_mean = tensor_in(c, HPT__IN_STAT, n->tensor + 2);
    op.run_var = tensor_in(c, HPT__IN_STAT, n->tensor + 3);
    op.momentum = n->momentum;
    if (n->residual >= 0) op.r = c->s[n->residual].y;
    if (spec->mode == HPT__EVAL) {
        hpt__emit(c, HPT__OP_NORM_EVAL, geometry(c, i), op);
        return;
    }
    if (spec->batch / spec->groups * n->h * n->w == 1 && spec->bn_ranks < 2) {
        single_value(c, n);
        return;
    }
    op.mean = s->mean = hpt__new_buffer(c, (size_t)spec->groups * (size_t)n->c * hpt__plan_real(c->p));
    op.rstd = s->rstd = hpt__new_buffer(c, (size_t)spec->groups * (size_t)n->c * hpt__plan_real(c->p));
    if (spec->bn_ranks < 2) {
        hpt__emit(c, HPT__OP_NORM, geometry(c, i), op);
        return;
    }
    hpt__place moments = sums_buffer(c, n);
    hpt__emit(c, HPT__OP_NORM_MOMENTS, geometry(c, i), (hpt__step){.x = op.x, .aux = moments});
    op.aux = join_ranks(c, n, moments);
    hpt__emit(c, HPT__OP_NORM_JOINED, geometry(c, i), op);
}
static void norm_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    const hpt__node_state *s = &c->s[i];
    hpt__step op = backward_step(c, i);
    /* nobody reads the input again: no other layer, and not the one that made it (it would to mask by its
     * activation) */
    int over = c->s[n->in].y.base == HPT__IN_ARENA && hpt__graph_consumers(&c->g, n->in) == 1 &&
        node_at(c, n->in)->act == HPT__ACT_NONE;
    op.x = c->s[n->in].y;
    op.y_in = s->y;
    op.w = tensor_in(c, HPT__IN_PARAM, n->tensor);
    op.mean = s->mean;
    op.rstd = s->rstd;
    if (n->act == HPT__ACT_SILU) op.b = tensor_in(c, HPT__IN_PARAM, n->tensor + 1);
    op.dw = tensor_in(c, HPT__IN_GRAD, n->tensor);
    op.db = tensor_in(c, HPT__IN_GRAD, n->tensor + 1);
    if (c->p->spec.bn_ranks < 2) {
        op.dx = over ? op.x : input_grad(c, i);
        hpt__emit(c, HPT__OP_NORM_GRAD, geometry(c, i), op);
    } else {
        op.aux = sums_buffer(c, n);
        hpt__emit(c, HPT__OP_NORM_GRAD_SUMS, geometry(c, i), op);
        op.aux = join_ranks(c, n, op.aux);
        op.b = op.dw = op.db = op.y_in = op.dy2 = (hpt__place){0};
        op.dx = over ? op.x : input_grad(c, i);
        hpt__emit(c, HPT__OP_NORM_GRAD_JOINED, geometry(c, i), op);
    }
    hpt__send_grad(c, n->in, op.dx);
    if (n->residual >= 0 && c->s[n->residual].needed) hpt__send_grad(c, n->residual, op.dy);
}

/* ---- pooling ---- */

static void maxpool_forward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = forward_step(c, i);
    op.aux = c->s[i].aux = hpt__new_buffer(c, (size_t)c->p->spec.batch * (size_t)n->c * (size_t)n->h * (size_t)n->w);
    hpt__emit(c, HPT__OP_MAXPOOL, geometry(c, i), op);
}
static void average_forward(hpt__compiler *c, int i) {
    hpt__emit(c, HPT__OP_AVERAGE, geometry(c, i), forward_step(c, i));
}
static void pool_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = backward_step(c, i);
    op.dx = input_grad(c, i);
    op.aux = c->s[i].aux;
    hpt__emit(c, n->kind == HPT__NODE_MAXPOOL ? HPT__OP_MAXPOOL_GRAD : HPT__OP_AVERAGE_GRAD, geometry(c, i), op);
    hpt__send_grad(c, n->in, op.dx);
}

/* ---- activations and sums that stand alone ---- */

static void act_forward(hpt__compiler *c, int i) { hpt__emit(c, HPT__OP_ACT, geometry(c, i), forward_step(c, i)); }
static void act_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = backward_step(c, i);
    if (n->act == HPT__ACT_SILU) op.x = c->s[n->in].y;
    else op.y_in = c->s[i].y;
    op.dx = op.dy;
    hpt__emit(c, HPT__OP_ACT_GRAD, geometry(c, i), op);
    hpt__send_grad(c, n->in, op.dx);
}
static void add_forward(hpt__compiler *c, int i) {
    hpt__step op = forward_step(c, i);
    op.r = c->s[node_at(c, i)->residual].y;
    hpt__emit(c, HPT__OP_SUM, geometry(c, i), op);
}
/* One gradient for two layers, each of which may write into it: the second gets a copy. */
static void add_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__place d = c->s[i].grad[0], second = d;
    int both = c->s[n->in].needed && c->s[n->residual].needed;
    if (both) {
        hpt__geometry g = geometry(c, i);
        g.residual = 0;
        second = hpt__new_buffer(c, output_bytes(c, n));
        hpt__emit(c, HPT__OP_SUM, g, (hpt__step){.x = d, .y = second});
    }
    if (c->s[n->in].needed) hpt__send_grad(c, n->in, d);
    if (c->s[n->residual].needed) hpt__send_grad(c, n->residual, second);
}

/* ---- linear ---- */

static void linear_tensors(hpt__graph *g, const hpt__node *n) {
    int pixel = n->window == 1;
    hpt__graph_tensor(g, pixel ? HPT__CONV_WEIGHT : HPT__LINEAR_WEIGHT, n->c, g->nodes[n->in].c, n->window, n->name,
                      "weight");
    if (pixel && !g->status) g->tensors[g->n_tensors - 1].order[2] = g->tensors[g->n_tensors - 1].order[3] = 0;
    if (!n->no_bias) hpt__graph_tensor(g, pixel ? HPT__CONV_BIAS : HPT__LINEAR_BIAS, n->c, 0, 0, n->name, "bias");
}
static void linear_forward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = forward_step(c, i);
    op.w = tensor_in(c, HPT__IN_PARAM, n->tensor);
    if (!n->no_bias) op.b = tensor_in(c, HPT__IN_PARAM, n->tensor + 1);
    hpt__emit(c, HPT__OP_LINEAR, geometry(c, i), op);
}
static void linear_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = backward_step(c, i);
    int below = c->s[n->in].needed;
    op.x = c->s[n->in].y;
    op.y_in = c->s[i].y;
    op.w = tensor_in(c, HPT__IN_PARAM, n->tensor);
    op.dw = tensor_in(c, HPT__IN_GRAD, n->tensor);
    if (!n->no_bias) op.db = tensor_in(c, HPT__IN_GRAD, n->tensor + 1);
    if (below) op.dx = input_grad(c, i);
    hpt__emit(c, HPT__OP_LINEAR_GRAD, geometry(c, i), op);
    if (below) hpt__send_grad(c, n->in, op.dx);
}

/* ---- rows of one length ---- */

static void unit_forward(hpt__compiler *c, int i) {
    hpt__geometry g = geometry(c, i);
    g.scale = node_at(c, i)->scale;
    hpt__emit(c, HPT__OP_UNIT, g, forward_step(c, i));
}
static void unit_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__geometry g = geometry(c, i);
    hpt__step op = backward_step(c, i);
    g.scale = c->p->spec.reverse ? -n->scale : n->scale;
    op.x = c->s[n->in].y;
    op.dx = op.dy;
    hpt__emit(c, HPT__OP_UNIT_GRAD, g, op);
    hpt__send_grad(c, n->in, op.dx);
}

/* ---- squeeze and excitation, stochastic depth ---- */

static void scale_shape(hpt__graph *g, hpt__node *n) {
    const hpt__node *x = &g->nodes[n->in], *f = &g->nodes[n->residual];
    same_shape(g, n);
    if (x->rows || !f->rows || x->c != f->c)
        g->status = hpt__fail(HPT_ERR_INTERNAL, "a map of %d channels times %d factors", x->c, f->c);
}
static void scale_forward(hpt__compiler *c, int i) {
    hpt__step op = forward_step(c, i);
    op.b = c->s[node_at(c, i)->residual].y;
    hpt__emit(c, HPT__OP_SCALE, output_geometry(c, i), op);
}
static void scale_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = backward_step(c, i);
    op.x = c->s[n->in].y;
    op.b = c->s[n->residual].y;
    op.dx = op.dy;
    op.db = hpt__new_buffer(c, output_bytes(c, node_at(c, n->residual)));
    hpt__emit(c, HPT__OP_SCALE_GRAD, output_geometry(c, i), op);
    if (c->s[n->in].needed) hpt__send_grad(c, n->in, op.dx);
    if (c->s[n->residual].needed) hpt__send_grad(c, n->residual, op.db);
}
hpt__place hpt__drop_factors(hpt__compiler *c, int node) {
    size_t before = 0;
    for (int i = 0; i < node; i++) before += node_at(c, i)->kind == HPT__NODE_DROP;
    return (hpt__place){.base = HPT__IN_DROP, .at = before * (size_t)c->p->spec.batch * hpt__plan_real(c->p)};
}
/* With the sum that follows folded into it. */
static void drop_forward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__step op = forward_step(c, i);
    op.b = hpt__drop_factors(c, i);
    if (n->residual >= 0) op.r = c->s[n->residual].y;
    hpt__emit(c, HPT__OP_DROP, geometry(c, i), op);
}
static void drop_backward(hpt__compiler *c, int i) {
    const hpt__node *n = node_at(c, i);
    hpt__place dy = c->s[i].grad[0];
    int both = n->residual >= 0 && c->s[n->residual].needed;
    hpt__geometry g = geometry(c, i);
    g.residual = 0;
    if (c->s[n->in].needed) {
        hpt__place dx = both ? input_grad(c, i) : dy;
        hpt__emit(c, HPT__OP_DROP, g, (hpt__step){.x = dy, .b = hpt__drop_factors(c, i), .y = dx});
        hpt__send_grad(c, n->in, dx);
    }
    if (both) hpt__send_grad(c, n->residual, dy);
}

/* ---- the table ---- */

const hpt__layer hpt__layers[] = {
    [HPT__NODE_INPUT] = {"input", .forward = input_forward, .backward = input_backward},
    [HPT__NODE_CONV] = {"convolution", window_shape, conv_tensors, .forward = conv_forward, .backward = conv_backward},
    [HPT__NODE_NORM] = {"batch norm", same_shape, norm_tensors, .in_place = 1, .adds = 1, .learns = 1,
                        .forward = norm_forward, .backward = norm_backward},
    [HPT__NODE_ADD] = {"add", add_shape, .in_place = 1, .forward = add_forward, .backward = add_backward},
    [HPT__NODE_ACT] = {"activation", same_shape, .in_place = 1, .adds = 1, .forward = act_forward,
                       .backward = act_backward},
    [HPT__NODE_MAXPOOL] = {"max pooling", window_shape, .adds = 1, .forward = maxpool_forward,
                           .backward = pool_backward},
    [HPT__NODE_AVERAGE] = {"average", rows_shape, .forward = average_forward, .backward = pool_backward},
    [HPT__NODE_LINEAR] = {"linear", rows_shape, linear_tensors, .learns = 1, .forward = linear_forward,
                          .backward = linear_backward},
    [HPT__NODE_UNIT] = {"unit rows", same_shape, .in_place = 1, .forward = unit_forward, .backward = unit_backward},
    [HPT__NODE_SCALE] = {"scale", scale_shape, .in_place = 1, .forward = scale_forward, .backward = scale_backward},
    [HPT__NODE_DROP] = {"drop path", same_shape, .in_place = 1, .forward = drop_forward, .backward = drop_backward},
};

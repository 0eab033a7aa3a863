/* SPDX-License-Identifier: MIT
 * Compilation: forward operations node by node; backward operations in reverse, where each node collects the gradients its consumers send
 * (one or two in a ResNet: the second is added by the operation that reads them). In-place choices: a batch norm writes dx over its
 * input, which nobody reads again, and without a backward pass it writes y there; the masked gradient that it leaves in dy is the
 * gradient of its residual, so a shortcut costs no buffer and no copy. */
#include "nn/plan.h"
#include "core/alloc.h"
#include "nn/graph.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { IN_NONE, IN_ARENA, IN_PARAM, IN_LOW, IN_GRAD, IN_STAT, IN_IMAGE, IN_DOUT, BASES };
typedef struct place { int base; size_t at; } place;         /* at: buffer number for the arena, bytes elsewhere */

typedef struct step {
    hpt__op *op;
    hpt__op_desc d;
    place x, y_in, w, w_low, b, r, dy2, y, dx, dw, db, dy, mean, rstd, run_mean, run_var, aux;
} step;

typedef struct buffer { size_t bytes, offset; int first, last; } buffer;

struct hpt__plan {
    const hpt__backend *be;
    hpt__device *dev;
    hpt__plan_spec spec;
    step *steps;
    buffer *buffers;
    int n_steps, cap_steps, n_forward, n_buffers, cap_buffers;
    char *arena;
    size_t arena_bytes, scratch_at;
    place output;
    size_t width;
};

/* What the compiler knows of a node while it works. */
typedef struct state {
    int y;                  /* buffer of the output */
    place grad[2];          /* gradients received */
    int grads, needed;      /* needed: it or something before it trains */
    int mean, rstd, aux;
} state;

typedef struct compiler {
    hpt__plan *p;
    const hpt__net *net;
    hpt__graph g;
    state *s;
    hpt_status status;
} compiler;

static size_t real_size(const hpt__plan *p) { return hpt__real_size(p->spec.dtype); }

static int new_buffer(compiler *c, size_t bytes) {
    hpt__plan *p = c->p;
    if (p->n_buffers == p->cap_buffers) {
        int cap = p->cap_buffers ? p->cap_buffers * 2 : 128;
        buffer *b = hpt__realloc(p->buffers, sizeof *b * (size_t)cap);
        if (!b) {
            c->status = hpt__fail_memory(sizeof *b * (size_t)cap);
            return 0;
        }
        p->buffers = b;
        p->cap_buffers = cap;
    }
    p->buffers[p->n_buffers] = (buffer){(bytes + 63) / 64 * 64, 0, p->n_steps, p->n_steps};
    return p->n_buffers++;
}
static place arena(int buf) { return (place){IN_ARENA, (size_t)buf}; }
static size_t map_bytes(compiler *c, const hpt__node *n) {
    hpt__plan *p = c->p;
    if (n->kind == HPT__NODE_AVERAGE || n->kind == HPT__NODE_LINEAR) return (size_t)p->spec.batch * (size_t)n->c * real_size(p);
    return p->be->act_bytes(p->dev, p->spec.dtype, p->spec.batch, n->c, n->h, n->w);
}
static place tensor_place(compiler *c, int base, int tensor) {
    return (place){base, c->net->tensors[tensor].offset * real_size(c->p)};
}
/* the bfloat16 copies lie in the same order, 2 bytes a value */
static place low_place(compiler *c, int tensor) { return (place){IN_LOW, c->net->tensors[tensor].offset * 2}; }
static int trains(compiler *c, int tensor) { return c->p->spec.trainable && c->p->spec.trainable[tensor]; }

static hpt__geometry geometry(compiler *c, int i) {
    const hpt__node *n = &c->g.nodes[i], *x = n->in >= 0 ? &c->g.nodes[n->in] : n;
    return (hpt__geometry){.n = c->p->spec.batch, .c = x->c, .h = x->h, .w = x->w, .k = n->c, .p = n->h, .q = n->w, .r = n->window,
                           .s = n->window, .stride = n->stride, .pad = n->pad, .bn_groups = c->p->spec.groups,
                           .act = n->act, .residual = n->residual >= 0, .eps = n->eps};
}

static void emit(compiler *c, hpt__op_kind kind, hpt__geometry g, step s) {
    hpt__plan *p = c->p;
    if (c->status) return;
    if (p->n_steps == p->cap_steps) {
        int cap = p->cap_steps ? p->cap_steps * 2 : 128;
        step *more = hpt__realloc(p->steps, sizeof *more * (size_t)cap);
        if (!more) {
            c->status = hpt__fail_memory(sizeof *more * (size_t)cap);
            return;
        }
        p->steps = more;
        p->cap_steps = cap;
    }
    s.d = (hpt__op_desc){kind, p->spec.dtype, g, p->spec.direct, p->spec.deterministic};
    if ((c->status = p->be->op_create(p->dev, &s.d, &s.op))) return;
    const place *used[] = {&s.x, &s.y_in, &s.w, &s.b, &s.r, &s.dy2, &s.y, &s.dx, &s.dw, &s.db, &s.dy, &s.mean, &s.rstd, &s.aux};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (used[i]->base == IN_ARENA && p->buffers[used[i]->at].last < p->n_steps) p->buffers[used[i]->at].last = p->n_steps;
    p->steps[p->n_steps++] = s;
}

/* The variance of one value is 0, so that the layer's output would be its bias, whatever the image shows. */
static void single_value(compiler *c, const hpt__node *n) {
    const char *name = c->g.tensors[n->tensor].name, *dot = strrchr(name, '.');
    c->status = hpt__fail(HPT_ERR_OPTION, "batch norm '%.*s' would see one value a channel (1 image of 1x1): use a larger image_size, or more images together (batch_size and bn_group; finetuning: ft_batch and ft_micro)",
                          dot ? (int)(dot - name) : 0, name);
}

static void forward_node(compiler *c, int i) {
    const hpt__node *n = &c->g.nodes[i];
    hpt__plan *p = c->p;
    state *s = &c->s[i];
    hpt__geometry g = geometry(c, i);
    step op = {0};
    int in_place = n->kind == HPT__NODE_NORM && p->spec.mode != HPT__TRAIN;
    s->y = in_place ? c->s[n->in].y : new_buffer(c, map_bytes(c, n));
    if (c->status) return;
    op.y = arena(s->y);
    op.x = n->in >= 0 ? arena(c->s[n->in].y) : (place){IN_IMAGE, 0};
    switch (n->kind) {
    case HPT__NODE_INPUT: emit(c, HPT__OP_INPUT, g, op); break;
    case HPT__NODE_CONV:
        op.w = tensor_place(c, IN_PARAM, n->tensor);
        op.w_low = low_place(c, n->tensor);
        emit(c, HPT__OP_CONV, g, op);
        break;
    case HPT__NODE_NORM:
        op.w = tensor_place(c, IN_PARAM, n->tensor);
        op.b = tensor_place(c, IN_PARAM, n->tensor + 1);
        op.run_mean = tensor_place(c, IN_STAT, n->tensor + 2);
        op.run_var = tensor_place(c, IN_STAT, n->tensor + 3);
        if (n->residual >= 0) op.r = arena(c->s[n->residual].y);
        if (p->spec.mode != HPT__EVAL) {
            int images = p->spec.batch / p->spec.groups;
            if (images * n->h * n->w == 1) {
                single_value(c, n);
                return;
            }
            s->mean = new_buffer(c, (size_t)p->spec.groups * (size_t)n->c * real_size(p));
            s->rstd = new_buffer(c, (size_t)p->spec.groups * (size_t)n->c * real_size(p));
            op.mean = arena(s->mean);
            op.rstd = arena(s->rstd);
        }
        if (!c->status) emit(c, p->spec.mode == HPT__EVAL ? HPT__OP_NORM_EVAL : HPT__OP_NORM, g, op);
        break;
    case HPT__NODE_MAXPOOL:
        s->aux = new_buffer(c, (size_t)g.n * (size_t)g.c * (size_t)g.p * (size_t)g.q);
        op.aux = arena(s->aux);
        if (!c->status) emit(c, HPT__OP_MAXPOOL, g, op);
        break;
    case HPT__NODE_AVERAGE: emit(c, HPT__OP_AVERAGE, g, op); break;
    case HPT__NODE_LINEAR:
        op.w = tensor_place(c, IN_PARAM, n->tensor);
        op.b = tensor_place(c, IN_PARAM, n->tensor + 1);
        emit(c, HPT__OP_LINEAR, g, op);
        break;
    default: c->status = hpt__fail(HPT_ERR_INTERNAL, "plan: a layer of kind %d was not fused", (int)n->kind);
    }
}

static void send_grad(compiler *c, int node, place grad) {
    state *s = &c->s[node];
    if (s->grads == 2) {
        c->status = hpt__fail(HPT_ERR_INTERNAL, "plan: a layer with more than two consumers");
        return;
    }
    s->grad[s->grads++] = grad;
}

static void backward_node(compiler *c, int i) {
    const hpt__node *n = &c->g.nodes[i];
    state *s = &c->s[i];
    hpt__geometry g = geometry(c, i);
    step op = {0};
    if (!s->needed || !s->grads || n->kind == HPT__NODE_INPUT || c->status) return;
    int below = c->s[n->in].needed && c->g.nodes[n->in].kind != HPT__NODE_INPUT;
    op.dy = s->grad[0];
    if (s->grads == 2) {
        op.dy2 = s->grad[1];
        g.extra_grad = 1;
        if (n->kind != HPT__NODE_NORM && n->kind != HPT__NODE_MAXPOOL) {
            c->status = hpt__fail(HPT_ERR_INTERNAL, "plan: two gradients for a layer that cannot add them");
            return;
        }
    }
    switch (n->kind) {
    case HPT__NODE_CONV: {
        op.x = arena(c->s[n->in].y);
        op.w = tensor_place(c, IN_PARAM, n->tensor);
        op.w_low = low_place(c, n->tensor);
        if (trains(c, n->tensor)) {
            op.dw = tensor_place(c, IN_GRAD, n->tensor);
            emit(c, HPT__OP_CONV_WEIGHTS, g, op);
        }
        if (!below) return;
        int dx = new_buffer(c, map_bytes(c, &c->g.nodes[n->in]));
        if (c->status) return;
        op.dx = arena(dx);
        op.x = (place){0};
        emit(c, HPT__OP_CONV_DATA, g, op);
        send_grad(c, n->in, op.dx);
        break; }
    case HPT__NODE_NORM:
        op.x = arena(c->s[n->in].y);
        op.y_in = arena(s->y);
        op.w = tensor_place(c, IN_PARAM, n->tensor);
        op.mean = arena(s->mean);
        op.rstd = arena(s->rstd);
        op.dw = tensor_place(c, IN_GRAD, n->tensor);
        op.db = tensor_place(c, IN_GRAD, n->tensor + 1);
        op.dx = op.x;
        emit(c, HPT__OP_NORM_GRAD, g, op);
        send_grad(c, n->in, op.dx);
        if (n->residual >= 0 && c->s[n->residual].needed) send_grad(c, n->residual, op.dy);
        break;
    case HPT__NODE_MAXPOOL:
    case HPT__NODE_AVERAGE: {
        int dx = new_buffer(c, map_bytes(c, &c->g.nodes[n->in]));
        if (c->status) return;
        op.dx = arena(dx);
        if (n->kind == HPT__NODE_MAXPOOL) op.aux = arena(s->aux);
        emit(c, n->kind == HPT__NODE_MAXPOOL ? HPT__OP_MAXPOOL_GRAD : HPT__OP_AVERAGE_GRAD, g, op);
        send_grad(c, n->in, op.dx);
        break; }
    case HPT__NODE_LINEAR: {
        op.x = arena(c->s[n->in].y);
        op.y_in = arena(s->y);
        op.w = tensor_place(c, IN_PARAM, n->tensor);
        op.dw = tensor_place(c, IN_GRAD, n->tensor);
        op.db = tensor_place(c, IN_GRAD, n->tensor + 1);
        if (below) {
            int dx = new_buffer(c, map_bytes(c, &c->g.nodes[n->in]));
            if (c->status) return;
            op.dx = arena(dx);
        }
        emit(c, HPT__OP_LINEAR_GRAD, g, op);
        if (below) send_grad(c, n->in, op.dx);
        break; }
    default: break;
    }
}

/* Greedy by size: the largest buffer first, each at the lowest offset where nothing alive at the same time lies. */
static size_t lay_out(hpt__plan *p) {
    size_t end = 0;
    int *order = hpt__alloc(sizeof *order * (size_t)(p->n_buffers + 1));
    if (!order) return 0;
    for (int i = 0; i < p->n_buffers; i++) {
        int j = i;
        for (; j > 0 && p->buffers[order[j - 1]].bytes < p->buffers[i].bytes; j--) order[j] = order[j - 1];
        order[j] = i;
    }
    for (int i = 0; i < p->n_buffers; i++) {
        buffer *b = &p->buffers[order[i]];
        size_t at = 0;
        for (int moved = 1; moved;) {
            moved = 0;
            for (int j = 0; j < i; j++) {
                const buffer *o = &p->buffers[order[j]];
                if (o->first <= b->last && b->first <= o->last && at < o->offset + o->bytes && o->offset < at + b->bytes) {
                    at = o->offset + o->bytes;
                    moved = 1;
                }
            }
        }
        b->offset = at;
        if (at + b->bytes > end) end = at + b->bytes;
    }
    hpt__free(order);
    return end ? end : 64;
}

static hpt_status no_memory(const hpt__plan *p) {
    size_t left = p->be->mem_left(p->dev), need = p->arena_bytes >> 20;
    if (left == SIZE_MAX) return hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB for the activations of a batch of %d; a smaller batch_size needs less", need, p->spec.batch);
    return hpt__fail(HPT_ERR_MEMORY, "out of device memory: %zu MiB for the activations of a batch of %d, %zu MiB free; a smaller batch_size needs less", need, p->spec.batch, left >> 20);
}

/* The caller reads plain values: rows as they are, a feature map converted. */
static void way_out(compiler *c, int last) {
    const hpt__node *n = &c->g.nodes[last];
    hpt__plan *p = c->p;
    p->width = (size_t)n->c * (size_t)n->h * (size_t)n->w;
    if (n->kind == HPT__NODE_AVERAGE || n->kind == HPT__NODE_LINEAR) return;
    int y = new_buffer(c, (size_t)p->spec.batch * p->width * real_size(p));
    if (c->status) return;
    emit(c, HPT__OP_OUTPUT, (hpt__geometry){.n = p->spec.batch, .c = n->c, .h = n->h, .w = n->w, .k = n->c, .p = n->h, .q = n->w, .bn_groups = 1}, (step){.x = p->output, .y = arena(y)});
    p->output = arena(y);
}

hpt_status hpt__plan_create(const hpt__backend *be, hpt__device *dev, const hpt__net *net, const hpt__plan_spec *spec, hpt__plan **out) {
    compiler c = {.net = net};
    *out = NULL;
    hpt__plan *p = hpt__calloc(1, sizeof *p);
    if (!p) return hpt__fail_memory(sizeof *p);
    p->be = be;
    p->dev = dev;
    p->spec = *spec;
    c.p = p;
    be->enter(dev);
    c.status = hpt__graph_resnet(&c.g, &net->arch, spec->size, spec->head || spec->layer);
    if (!c.status && spec->layer) c.status = hpt__graph_cut(&c.g, spec->layer, spec->pool);
    if (!c.status && !(c.s = hpt__calloc((size_t)c.g.n_nodes, sizeof *c.s))) c.status = hpt__fail_memory(0);
    if (c.status) goto done;
    hpt__graph_fuse(&c.g);
    int last = 0;
    for (int i = 0; i < c.g.n_nodes && !c.status; i++)
        if (c.g.nodes[i].kind != HPT__NODE_GONE) {
            forward_node(&c, i);
            last = i;
        }
    if (c.status) goto done;
    p->output = arena(c.s[last].y);
    way_out(&c, last);
    if (c.status) goto done;
    p->n_forward = p->n_steps;
    if (spec->mode == HPT__TRAIN) {
        for (int i = 0; i < c.g.n_nodes; i++) {
            const hpt__node *n = &c.g.nodes[i];
            int own = n->kind == HPT__NODE_NORM || n->kind == HPT__NODE_LINEAR || (n->kind == HPT__NODE_CONV && trains(&c, n->tensor));
            c.s[i].needed = n->kind != HPT__NODE_GONE && (own || (n->in >= 0 && c.s[n->in].needed) || (n->residual >= 0 && c.s[n->residual].needed));
        }
        send_grad(&c, last, (place){IN_DOUT, 0});
        for (int i = last; i >= 0; i--)
            if (c.g.nodes[i].kind != HPT__NODE_GONE) backward_node(&c, i);
    }
    if (c.status) goto done;
    p->buffers[p->output.at].last = p->n_steps;     /* the caller reads it after forward */
    size_t scratch = 0;
    for (int i = 0; i < p->n_steps; i++)
        if (be->op_scratch(p->steps[i].op) > scratch) scratch = be->op_scratch(p->steps[i].op);
    if (!(p->scratch_at = lay_out(p))) c.status = hpt__fail_memory(0);
    p->arena_bytes = p->scratch_at + scratch + 64;
    if (!c.status && !(p->arena = be->mem_alloc(dev, p->arena_bytes)))
        c.status = no_memory(p);
done:
    be->leave(dev);
    hpt__free(c.s);
    hpt__graph_fini(&c.g);
    if (c.status) {
        hpt__plan_destroy(p);
        return c.status;
    }
    *out = p;
    return HPT_OK;
}

void hpt__plan_destroy(hpt__plan *p) {
    if (!p) return;
    for (int i = 0; i < p->n_steps; i++) p->be->op_destroy(p->steps[i].op);
    if (p->arena) p->be->mem_free(p->dev, p->arena);
    hpt__free(p->steps);
    hpt__free(p->buffers);
    hpt__free(p);
}

size_t hpt__plan_width(const hpt__plan *p) { return p->width; }
size_t hpt__plan_bytes(const hpt__plan *p) { return p->arena_bytes; }

static void *resolve(const hpt__plan *p, place at, char *const base[BASES]) {
    if (at.base == IN_NONE) return NULL;
    if (at.base == IN_ARENA) return p->arena + p->buffers[at.at].offset;
    return base[at.base] ? base[at.base] + at.at : NULL;
}

static hpt_status run(hpt__plan *p, int first, int last, char *const base[BASES], double momentum, void (*ready)(void *, size_t), void *user) {
    hpt_status st = HPT_OK;
    p->be->enter(p->dev);
    for (int i = first; i < last; i++) {
        const step *s = &p->steps[i];
        if ((st = hpt__watch_poll(p->spec.watch))) break;
        hpt__op_args a = {
            .x = resolve(p, s->x, base), .y_in = resolve(p, s->y_in, base), .w = resolve(p, s->w, base), .w_low = resolve(p, s->w_low, base), .b = resolve(p, s->b, base),
            .r = resolve(p, s->r, base), .dy2 = resolve(p, s->dy2, base), .y = resolve(p, s->y, base), .dx = resolve(p, s->dx, base),
            .dw = resolve(p, s->dw, base), .db = resolve(p, s->db, base), .dy = resolve(p, s->dy, base), .mean = resolve(p, s->mean, base),
            .rstd = resolve(p, s->rstd, base), .run_mean = resolve(p, s->run_mean, base), .run_var = resolve(p, s->run_var, base),
            .aux = resolve(p, s->aux, base), .scratch = p->arena + p->scratch_at, .momentum = momentum};
        if ((st = p->be->op_run(s->op, &a))) break;
        if (ready && s->dw.base == IN_GRAD) ready(user, s->dw.at / real_size(p));
    }
    p->be->leave(p->dev);
    return st;
}

/* const is cast away: a base array serves reads and writes, and the operations write only what their contracts say */
#define BASE(p) ((char *)(uintptr_t)(p))
hpt_status hpt__plan_forward(hpt__plan *p, const void *params, const void *low, void *stats, const float *images, double bn_momentum) {
    char *base[BASES] = {[IN_PARAM] = BASE(params), [IN_LOW] = BASE(low), [IN_STAT] = stats, [IN_IMAGE] = BASE(images)};
    return run(p, 0, p->n_forward, base, bn_momentum, NULL, NULL);
}
hpt_status hpt__plan_backward(hpt__plan *p, const void *params, const void *low, void *grads, void *dout, void (*ready)(void *, size_t), void *user) {
    char *base[BASES] = {[IN_PARAM] = BASE(params), [IN_LOW] = BASE(low), [IN_GRAD] = grads, [IN_DOUT] = dout};
    return run(p, p->n_forward, p->n_steps, base, 0, ready, user);
}
const void *hpt__plan_output(const hpt__plan *p) { return p->arena + p->buffers[p->output.at].offset; }

/* ---- description ---- */

typedef struct text_out { char *text; size_t at, size; } text_out;
static void say(text_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(text_out *o, const char *fmt, ...) {
    va_list ap;
    if (o->at + 1 >= o->size) return;
    va_start(ap, fmt);
    int n = vsnprintf(o->text + o->at, o->size - o->at, fmt, ap);
    va_end(ap);
    o->at += n > 0 ? (size_t)n : 0;
}
static void say_place(text_out *o, const hpt__plan *p, const char *name, place at) {
    static const char *const bases[BASES] = {"", "arena", "param", "low", "grad", "stat", "image", "dout"};
    if (at.base == IN_NONE) return;
    if (at.base == IN_ARENA) say(o, " %s=arena+%zu:%zu", name, p->buffers[at.at].offset, p->buffers[at.at].bytes);
    else say(o, " %s=%s+%zu", name, bases[at.base], at.at);
}
static int has_window(hpt__op_kind k) {
    return k == HPT__OP_CONV || k == HPT__OP_CONV_DATA || k == HPT__OP_CONV_WEIGHTS || k == HPT__OP_MAXPOOL || k == HPT__OP_MAXPOOL_GRAD;
}
void hpt__plan_describe(const hpt__plan *p, char *text, size_t size) {
    static const char *const names[] = {
        [HPT__OP_INPUT] = "input", [HPT__OP_CONV] = "conv", [HPT__OP_CONV_DATA] = "conv_data", [HPT__OP_CONV_WEIGHTS] = "conv_weights",
        [HPT__OP_NORM] = "norm", [HPT__OP_NORM_EVAL] = "norm_eval", [HPT__OP_NORM_GRAD] = "norm_grad", [HPT__OP_MAXPOOL] = "maxpool",
        [HPT__OP_MAXPOOL_GRAD] = "maxpool_grad", [HPT__OP_AVERAGE] = "average", [HPT__OP_AVERAGE_GRAD] = "average_grad",
        [HPT__OP_LINEAR] = "linear", [HPT__OP_OUTPUT] = "output", [HPT__OP_LINEAR_GRAD] = "linear_grad"};
    static const char *const acts[] = {"", " relu", " silu", " sigmoid"};
    text_out o = {text, 0, size};
    if (size) text[0] = 0;
    for (int i = 0; i < p->n_steps; i++) {
        const step *s = &p->steps[i];
        const hpt__geometry *g = &s->d.g;
        say(&o, "%s%s %dx%dx%dx%d -> %dx%dx%d", i == p->n_forward ? "-- backward --\n" : "", names[s->d.kind], g->n, g->c, g->h, g->w,
            g->k, g->p, g->q);
        if (g->r && has_window(s->d.kind)) say(&o, " window %dx%d stride %d pad %d", g->r, g->s, g->stride, g->pad);
        say(&o, " groups %d%s%s%s%s%s", g->bn_groups, acts[g->act], g->residual ? " residual" : "",
            g->extra_grad ? " extra_grad" : "", s->d.direct ? " direct" : "", s->d.deterministic ? " deterministic" : "");
        say_place(&o, p, "x", s->x);
        say_place(&o, p, "y_in", s->y_in);
        say_place(&o, p, "w", s->w);
        say_place(&o, p, "w_low", s->w_low);
        say_place(&o, p, "b", s->b);
        say_place(&o, p, "r", s->r);
        say_place(&o, p, "dy2", s->dy2);
        say_place(&o, p, "y", s->y);
        say_place(&o, p, "dx", s->dx);
        say_place(&o, p, "dw", s->dw);
        say_place(&o, p, "db", s->db);
        say_place(&o, p, "dy", s->dy);
        say_place(&o, p, "mean", s->mean);
        say_place(&o, p, "rstd", s->rstd);
        say_place(&o, p, "run_mean", s->run_mean);
        say_place(&o, p, "run_var", s->run_var);
        say_place(&o, p, "aux", s->aux);
        say(&o, " : %s\n", p->be->op_name(s->op));
    }
    say_place(&o, p, "output", p->output);
    say(&o, " width %zu, scratch from %zu\n", p->width, p->scratch_at);
}

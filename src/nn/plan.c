/* SPDX-License-Identifier: MIT
 * Compilation: forward operations node by node; backward operations in reverse, where each node collects the
 * gradients that its consumers send: where the operation that reads them adds a second one it does so, any other is
 * summed as it comes. What a node emits: layers.c; where buffers lie: arena.c. Then running a plan, and its
 * description. */
#include "core/alloc.h"
#include "nn/compile.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The first array that the operation cannot do without and the step does not name; NULL: none. */
static const char *array_missing(const hpt__step *s) {
#define ARRAY(name) {#name, &s->name},
    const struct { const char *name; const hpt__place *at; } given[] = {HPT__OP_ARRAYS(ARRAY)};
#undef ARRAY
    const hpt__op_row *row = &hpt__op_rows[s->d.kind];
    hpt__op_array a;
    for (const char *at = row->arrays; (at = hpt__op_next_array(at, &a));)
        for (size_t i = 0; i < sizeof given / sizeof *given; i++)
            if (!a.optional && given[i].at->base == HPT__IN_NONE && !strcmp(given[i].name, a.name))
                return given[i].name;
    return NULL;
}

static void add_step(hpt__compiler *c, const hpt__step *s) {
    hpt__plan *p = c->p;
    if (p->n_steps == p->cap_steps) {
        int cap = p->cap_steps ? p->cap_steps * 2 : 128;
        hpt__step *more = hpt__realloc(p->steps, sizeof *more * (size_t)cap);
        if (!more) {
            c->status = hpt__fail_memory(sizeof *more * (size_t)cap);
            p->be->op.destroy(s->op);
            return;
        }
        p->steps = more;
        p->cap_steps = cap;
    }
    hpt__use_buffers(p, s);
    p->steps[p->n_steps++] = *s;
}
void hpt__emit(hpt__compiler *c, hpt__op_kind kind, hpt__geometry g, hpt__step s) {
    hpt__plan *p = c->p;
    if (c->status) return;
    s.d = (hpt__op_desc){kind, p->spec.dtype, g, p->spec.direct, p->spec.deterministic};
    const char *missing = array_missing(&s);
    if (missing) {
        c->status =
            hpt__fail(HPT_ERR_INTERNAL, "operation %s: array %s is missing", hpt__op_rows[kind].name, missing);
        return;
    }
    if ((c->status = hpt__span_tick(0))) return;
    if (!(c->status = p->be->op.create(p->dev, &s.d, &s.op))) add_step(c, &s);
}
hpt__place hpt__emit_exchange(hpt__compiler *c, hpt__place part, size_t bytes) {
    hpt__place all = hpt__new_buffer(c, bytes * (size_t)c->p->spec.comm->size);
    hpt__step s = {.x = part, .y = all, .exchange = bytes};
    if (!c->status) add_step(c, &s);
    return all;
}

void hpt__send_grad(hpt__compiler *c, int node, hpt__place grad) {
    hpt__node_state *s = &c->s[node];
    int most = hpt__layers[c->g.nodes[node].kind].adds ? 2 : 1;
    if (c->status) return;
    if (s->grads < most) s->grad[s->grads++] = grad;
    else hpt__add_grad(c, node, s->grad[0], grad);
}

/* Which layers take part in the backward pass: they or something before them trains. */
static void mark_needed(hpt__compiler *c) {
    const uint8_t *flags = c->p->spec.trainable;
    for (int i = 0; i < c->g.n_nodes; i++) {
        const hpt__node *n = &c->g.nodes[i];
        const hpt__layer *row = &hpt__layers[n->kind];
        if (n->kind == HPT__NODE_GONE) continue;
        int wanted = 0;
        for (int k = 0; k < c->p->n_inputs; k++) wanted |= c->p->input[k].node == i && c->p->input[k].grad;
        int own = wanted || row->learns || (row->tensors && flags &&
                                            (flags[n->tensor] || (!n->no_bias && flags[n->tensor + 1])));
        c->s[i].needed = own || (n->in >= 0 && c->s[n->in].needed) || (n->residual >= 0 && c->s[n->residual].needed);
    }
}

static hpt_status no_memory(const hpt__plan *p) {
    size_t left = p->be->memory.left(p->dev), need = p->arena_bytes >> 20;
    if (left == SIZE_MAX)
        return hpt__fail(HPT_ERR_MEMORY,
                         "out of memory: %zu MiB for the activations of a batch of %d; a smaller batch_size needs "
                         "less", need, p->spec.batch);
    return hpt__fail(HPT_ERR_MEMORY,
                     "out of device memory: %zu MiB for the activations of a batch of %d, %zu MiB free; a smaller "
                     "batch_size needs less", need, p->spec.batch, left >> 20);
}

/* ---- inputs and outputs ---- */

static hpt_status new_end(hpt__plan_end *ends, int *n, int node, const char *name, int grad) {
    if (*n == HPT__PORTS) return hpt__fail(HPT_ERR_INTERNAL, "more than %d inputs or outputs of a plan", HPT__PORTS);
    ends[*n] = (hpt__plan_end){.node = node, .grad = grad};
    if (snprintf(ends[*n].name, HPT__NAME, "%s", name) >= HPT__NAME)
        return hpt__fail(HPT_ERR_UNSUPPORTED, "the name '%.60s...' of an output has more than %d characters", name,
                         HPT__NAME - 1);
    (*n)++;
    return HPT_OK;
}
static int find_end(const hpt__plan_end *ends, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(ends[i].name, name)) return i;
    return -1;
}
/* Which nodes are inputs and outputs, before fusing: a layer that is an output is left as it is. */
static hpt_status find_ends(hpt__compiler *c) {
    hpt__plan *p = c->p;
    const hpt__plan_spec *spec = &p->spec;
    int train = spec->mode == HPT__TRAIN;
    for (int i = 0; i < c->g.n_nodes; i++)
        if (c->g.nodes[i].kind == HPT__NODE_INPUT)
            HPT_TRY(new_end(p->input, &p->n_inputs, i, c->g.nodes[i].name, train && spec->input_grad));
    for (int i = 0; i < spec->n_inputs; i++) {
        int at = find_end(p->input, p->n_inputs, spec->inputs[i].name);
        if (at < 0) return hpt__fail(HPT_ERR_INTERNAL, "no input is called '%.60s'", spec->inputs[i].name);
        p->input[at].grad = train && spec->inputs[i].grad;
    }
    for (int i = 0; i < spec->n_outputs; i++) {
        int at = hpt__graph_find(&c->g, spec->outputs[i].name);
        if (at < 0) return HPT_ERR_ARGUMENT;
        HPT_TRY(new_end(p->output, &p->n_outputs, at, spec->outputs[i].name, train && spec->outputs[i].grad));
        c->g.nodes[at].read++;
    }
    return spec->n_outputs ? HPT_OK : new_end(p->output, &p->n_outputs, c->g.n_nodes - 1, "output", train);
}

static hpt_status find_drops(hpt__compiler *c) {
    hpt__plan *p = c->p;
    if (!(p->drop = hpt__calloc((size_t)c->g.n_nodes, sizeof *p->drop)))
        return hpt__fail_memory((size_t)c->g.n_nodes * sizeof *p->drop);
    for (int i = 0; i < c->g.n_nodes; i++)
        if (c->g.nodes[i].kind == HPT__NODE_DROP) p->drop[p->n_drops++] = p->spec.drop_path * c->g.nodes[i].share;
    return HPT_OK;
}
static void compile_forward(hpt__compiler *c) {
    hpt__plan *p = c->p;
    if ((c->status = find_ends(c))) return;
    if (p->spec.mode == HPT__EVAL || !(p->spec.drop_path > 0)) hpt__graph_keep_all(&c->g);
    hpt__graph_fuse(&c->g);
    if ((c->status = find_drops(c))) return;
    for (int i = 0; i < c->g.n_nodes && !c->status; i++) {
        hpt__node_kind kind = c->g.nodes[i].kind;
        if (kind != HPT__NODE_GONE) hpt__layers[kind].forward(c, i);
    }
    for (int i = 0; i < p->n_outputs && !c->status; i++) {
        const hpt__node *n = &c->g.nodes[p->output[i].node];
        p->output[i].width = (size_t)n->c * (size_t)n->h * (size_t)n->w;
        p->output[i].at = hpt__leave(c, p->output[i].node);
    }
    p->n_forward = p->n_steps;
}
/* A tensor that trains without a gradient would keep what its memory held. */
static void all_reached(hpt__compiler *c) {
    const uint8_t *flags = c->p->spec.trainable;
    for (int i = 0; i < c->g.n_nodes && flags && !c->status; i++) {
        const hpt__node *n = &c->g.nodes[i];
        if (n->kind == HPT__NODE_GONE || !hpt__layers[n->kind].tensors || !flags[n->tensor] || c->s[i].grads) continue;
        c->status = hpt__fail(HPT_ERR_INTERNAL, "layer '%s' trains, but no gradient reaches it", n->name);
    }
}
static void compile_backward(hpt__compiler *c) {
    hpt__plan *p = c->p;
    mark_needed(c);
    for (int i = 0; i < p->n_outputs; i++) {
        int node = p->output[i].node;
        if (!p->output[i].grad || !c->s[node].needed) continue;
        hpt__send_grad(c, node, hpt__enter(c, node, (hpt__place){.base = HPT__IN_DOUT, .at = (size_t)i}));
    }
    for (int i = c->g.n_nodes - 1; i >= 0 && !c->status; i--) {
        hpt__node_kind kind = c->g.nodes[i].kind;
        if (kind == HPT__NODE_GONE || !c->s[i].needed || !c->s[i].grads) continue;
        if (hpt__layers[kind].backward) hpt__layers[kind].backward(c, i);
    }
    all_reached(c);
}
/* One arena for all buffers, then the scratch of the operation that wants most. */
static void allocate(hpt__compiler *c) {
    hpt__plan *p = c->p;
    size_t scratch = 0;
    for (int i = 0; i < p->n_outputs; i++)          /* the caller reads them after forward, and these after backward */
        if (p->output[i].at.base == HPT__IN_ARENA) p->buffers[p->output[i].at.at].last = p->n_steps;
    for (int i = 0; i < p->n_inputs; i++)
        if (p->input[i].at.base == HPT__IN_ARENA) p->buffers[p->input[i].at.at].last = p->n_steps;
    for (int i = 0; i < p->n_steps; i++)
        if (p->steps[i].op && p->be->op.scratch(p->steps[i].op) > scratch)
            scratch = p->be->op.scratch(p->steps[i].op);
    if (!(p->scratch_at = hpt__lay_out(p))) c->status = hpt__fail_memory(0);
    p->arena_bytes = p->scratch_at + scratch + 64;
    if (!c->status && !(p->arena = p->be->memory.alloc(p->dev, p->arena_bytes))) c->status = no_memory(p);
}

hpt_status hpt__plan_create(const hpt__backend *be, hpt__device *dev, const hpt__net *net, const hpt__plan_spec *spec,
                            hpt__plan **out) {
    hpt__graph g;
    *out = NULL;
    HPT_TRY(hpt__net_graph(&net->arch, spec->size, spec->width ? spec->width : spec->size, spec->head || spec->layer,
                           &g));
    return hpt__plan_compile(be, dev, net, &g, spec, out);
}
hpt_status hpt__plan_compile(const hpt__backend *be, hpt__device *dev, const hpt__net *net, hpt__graph *g,
                             const hpt__plan_spec *spec, hpt__plan **out) {
    hpt__compiler c = {.net = net, .g = *g};
    *out = NULL;
    hpt__plan *p = hpt__calloc(1, sizeof *p);
    memset(g, 0, sizeof *g);
    if (!p) {
        hpt__graph_fini(&c.g);
        return hpt__fail_memory(sizeof *p);
    }
    p->be = be;
    p->dev = dev;
    p->spec = *spec;
    c.p = p;
    be->device.enter(dev);
    if (spec->layer) c.status = hpt__graph_cut(&c.g, spec->layer, spec->pool);
    if (!c.status && !(c.s = hpt__calloc((size_t)c.g.n_nodes, sizeof *c.s))) c.status = hpt__fail_memory(0);
    if (!c.status) compile_forward(&c);
    if (!c.status && spec->mode == HPT__TRAIN) compile_backward(&c);
    if (!c.status) allocate(&c);
    be->device.leave(dev);
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
    for (int i = 0; i < p->n_steps; i++) p->be->op.destroy(p->steps[i].op);
    if (p->arena) p->be->memory.free(p->dev, p->arena);
    hpt__free(p->steps);
    hpt__free(p->buffers);
    hpt__free(p->drop);
    hpt__free(p);
}

size_t hpt__plan_bytes(const hpt__plan *p) { return p->arena_bytes; }
int hpt__plan_batch(const hpt__plan *p) { return p->spec.batch; }
int hpt__plan_drops(const hpt__plan *p) { return p->n_drops; }
double hpt__plan_drop_rate(const hpt__plan *p, int drop) { return p->drop[drop]; }
void hpt__plan_give_drops(hpt__plan *p, const void *factors) { p->factors = factors; }

/* What a pass reads and writes beside the arena. */
typedef struct sources {
    char *flat[HPT__BASES];     /* arrays of parameters and statistics */
    const hpt__plan_end *input;
    void *const *dout;
} sources;
static void *resolve(const hpt__plan *p, hpt__place at, const sources *b) {
    switch (at.base) {
    case HPT__IN_NONE: return NULL;
    case HPT__IN_ARENA: return p->arena + p->buffers[at.at].offset + at.skip;
    case HPT__IN_INPUT: return (void *)(uintptr_t)b->input[at.at].given;
    case HPT__IN_DOUT: return b->dout[at.at];
    default: return b->flat[at.base] ? b->flat[at.base] + at.at : NULL;
    }
}

static hpt_status run_step(hpt__plan *p, const hpt__step *s, const sources *b, double momentum) {
    hpt__comm *comm = p->spec.comm;
    if (s->exchange) return comm->all_gather(comm, resolve(p, s->x, b), resolve(p, s->y, b), s->exchange);
#define ARRAY(name) .name = resolve(p, s->name, b),
    hpt__op_args a = {HPT__OP_ARRAYS(ARRAY)};
#undef ARRAY
    a.scratch = p->arena + p->scratch_at;
    a.momentum = momentum;
    if (momentum == HPT__BN_OWN) a.momentum = s->momentum;
    if (momentum == HPT__BN_TWICE) a.momentum = s->momentum * (2 - s->momentum);
    return p->be->op.run(s->op, &a);
}
static hpt_status run(hpt__plan *p, int first, int last, const sources *b, double momentum,
                      void (*ready)(void *, size_t), void *user) {
    hpt_status st = HPT_OK;
    if (p->n_drops && !p->factors)
        return hpt__fail(HPT_ERR_INTERNAL, "a plan with drop path has not been given factors");
    p->be->device.enter(p->dev);
    for (int i = first; i < last; i++) {
        const hpt__step *s = &p->steps[i];
        if ((st = hpt__watch_poll(p->spec.watch))) break;
        if ((st = run_step(p, s, b, momentum))) break;
        if (ready && s->dw.base == HPT__IN_GRAD) ready(user, s->dw.at / hpt__plan_real(p));
    }
    p->be->device.leave(p->dev);
    return st;
}

/* const is cast away: a base array serves reads and writes, and the operations write only what their contracts say */
#define BASE(p) ((char *)(uintptr_t)(p))
hpt_status hpt__plan_forward_all(hpt__plan *p, const void *params, const void *low, void *stats,
                                 const void *const *inputs, double bn_momentum) {
    sources b = {.flat = {[HPT__IN_PARAM] = BASE(params), [HPT__IN_LOW] = BASE(low), [HPT__IN_STAT] = stats,
                        [HPT__IN_DROP] = BASE(p->factors)},
               .input = p->input};
    for (int i = 0; i < p->n_inputs; i++) p->input[i].given = inputs[i];
    return run(p, 0, p->n_forward, &b, bn_momentum, NULL, NULL);
}
hpt_status hpt__plan_forward(hpt__plan *p, const void *params, const void *low, void *stats, const void *input,
                             double bn_momentum) {
    if (p->n_inputs != 1) return hpt__fail(HPT_ERR_INTERNAL, "one input for a plan of %d", p->n_inputs);
    return hpt__plan_forward_all(p, params, low, stats, &input, bn_momentum);
}
hpt_status hpt__plan_backward_all(hpt__plan *p, const void *params, const void *low, void *grads, void *const *douts,
                                  void (*ready)(void *, size_t), void *user) {
    sources b = {.flat = {[HPT__IN_PARAM] = BASE(params), [HPT__IN_LOW] = BASE(low), [HPT__IN_GRAD] = grads,
                        [HPT__IN_DROP] = BASE(p->factors)},
               .input = p->input, .dout = douts};
    for (int i = 0; i < p->n_outputs; i++)
        if (p->output[i].grad && !douts[i])
            return hpt__fail(HPT_ERR_INTERNAL, "the gradient of output '%s' is missing", p->output[i].name);
    return run(p, p->n_forward, p->n_steps, &b, 0, ready, user);
}
hpt_status hpt__plan_backward(hpt__plan *p, const void *params, const void *low, void *grads, void *dout,
                              void (*ready)(void *, size_t), void *user) {
    if (p->n_outputs != 1) return hpt__fail(HPT_ERR_INTERNAL, "one gradient for a plan of %d outputs", p->n_outputs);
    return hpt__plan_backward_all(p, params, low, grads, &dout, ready, user);
}

static void *in_arena(const hpt__plan *p, hpt__place at) {
    return at.base == HPT__IN_ARENA ? p->arena + p->buffers[at.at].offset : NULL;
}
int hpt__plan_find_input(const hpt__plan *p, const char *name) { return find_end(p->input, p->n_inputs, name); }
int hpt__plan_find_output(const hpt__plan *p, const char *name) { return find_end(p->output, p->n_outputs, name); }
const void *hpt__plan_output_at(const hpt__plan *p, int output) { return in_arena(p, p->output[output].at); }
size_t hpt__plan_width_at(const hpt__plan *p, int output) { return p->output[output].width; }
void *hpt__plan_input_grad_at(const hpt__plan *p, int input) { return in_arena(p, p->input[input].at); }
const void *hpt__plan_output(const hpt__plan *p) { return hpt__plan_output_at(p, 0); }
size_t hpt__plan_width(const hpt__plan *p) { return hpt__plan_width_at(p, 0); }
void *hpt__plan_input_grad(const hpt__plan *p) { return hpt__plan_input_grad_at(p, 0); }

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
static void say_place(text_out *o, const hpt__plan *p, const char *name, hpt__place at) {
    static const char *const bases[HPT__BASES] = {"", "arena", "param", "low", "grad", "stat", "image", "dout", "drop"};
    if (at.base == HPT__IN_NONE) return;
    if (at.base == HPT__IN_ARENA)
        say(o, " %s=arena+%zu:%zu", name, p->buffers[at.at].offset + at.skip, p->buffers[at.at].bytes - at.skip);
    else say(o, " %s=%s+%zu", name, bases[at.base], at.at);
}
static int has_window(hpt__op_kind k) {
    return !strcmp(hpt__op_rows[k].shapes, "CONV") || !strcmp(hpt__op_rows[k].shapes, "POOL");
}
void hpt__plan_describe(const hpt__plan *p, char *text, size_t size) {
    static const char *const acts[] = {"", " relu", " silu", " sigmoid"};
    text_out o = {text, 0, size};
    if (size) text[0] = 0;
    for (int i = 0; i < p->n_steps; i++) {
        const hpt__step *s = &p->steps[i];
        const hpt__geometry *g = &s->d.g;
        if (i == p->n_forward) say(&o, "-- backward --\n");
        if (s->exchange) {
            say(&o, "exchange of %zu bytes", s->exchange);
            say_place(&o, p, "x", s->x);
            say_place(&o, p, "y", s->y);
            say(&o, " : %s\n", p->spec.comm->name);
            continue;
        }
        say(&o, "%s %dx%dx%dx%d -> %dx%dx%d", hpt__op_rows[s->d.kind].name, g->n, g->c, g->h, g->w, g->k, g->p, g->q);
        if (g->r && has_window(s->d.kind)) say(&o, " window %dx%d stride %d pad %d", g->r, g->s, g->stride, g->pad_h);
        if (g->pad_w != g->pad_h) say(&o, "x%d", g->pad_w);
        if (g->conv_groups > 1 && has_window(s->d.kind)) say(&o, " in %d groups", g->conv_groups);
        say(&o, " groups %d%s%s%s%s%s", g->bn_groups, acts[g->act], g->residual ? " residual" : "",
            g->extra_grad ? " extra_grad" : "", s->d.direct ? " direct" : "", s->d.deterministic ? " deterministic"
            : "");
        if (g->scale) say(&o, " scale %g", g->scale);
#define ARRAY(name) say_place(&o, p, #name, s->name);
        HPT__OP_ARRAYS(ARRAY)
#undef ARRAY
        say(&o, " : %s\n", p->be->op.name(s->op));
    }
    for (int i = 0; i < p->n_outputs; i++) {
        say_place(&o, p, p->output[i].name, p->output[i].at);
        say(&o, " width %zu%s", p->output[i].width, p->output[i].grad && p->n_outputs > 1 ? " with gradient" : "");
    }
    say(&o, ", scratch from %zu\n", p->scratch_at);
}

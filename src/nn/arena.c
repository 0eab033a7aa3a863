/* SPDX-License-Identifier: MIT
 * Buffers of a plan and their places in its arena: each is alive from the step that makes it to the last that names
 * it, and two that are never alive together may share bytes. */
#include "core/alloc.h"
#include "nn/compile.h"

hpt__place hpt__new_buffer(hpt__compiler *c, size_t bytes) {
    hpt__plan *p = c->p;
    if (c->status) return (hpt__place){0};
    if (p->n_buffers == p->cap_buffers) {
        int cap = p->cap_buffers ? p->cap_buffers * 2 : 128;
        hpt__buffer *b = hpt__realloc(p->buffers, sizeof *b * (size_t)cap);
        if (!b) {
            c->status = hpt__fail_memory(sizeof *b * (size_t)cap);
            return (hpt__place){0};
        }
        p->buffers = b;
        p->cap_buffers = cap;
    }
    p->buffers[p->n_buffers] = (hpt__buffer){(bytes + 63) / 64 * 64, 0, p->n_steps, p->n_steps};
    return (hpt__place){.base = HPT__IN_ARENA, .at = (size_t)p->n_buffers++};
}

void hpt__use_buffers(hpt__plan *p, const hpt__step *s) {
#define ARRAY(name) &s->name,
    const hpt__place *const used[] = {HPT__OP_ARRAYS(ARRAY)};
#undef ARRAY
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (used[i]->base == HPT__IN_ARENA && p->buffers[used[i]->at].last < p->n_steps)
            p->buffers[used[i]->at].last = p->n_steps;
}

/* Greedy by size: the largest buffer first, each at the lowest offset where nothing alive at the same time lies. */
size_t hpt__lay_out(hpt__plan *p) {
    size_t end = 0;
    int *order = hpt__alloc(sizeof *order * (size_t)(p->n_buffers + 1));
    if (!order) return 0;
    for (int i = 0; i < p->n_buffers; i++) {
        int j = i;
        for (; j > 0 && p->buffers[order[j - 1]].bytes < p->buffers[i].bytes; j--) order[j] = order[j - 1];
        order[j] = i;
    }
    for (int i = 0; i < p->n_buffers; i++) {
        hpt__buffer *b = &p->buffers[order[i]];
        size_t at = 0;
        for (int moved = 1; moved;) {
            moved = 0;
            for (int j = 0; j < i; j++) {
                const hpt__buffer *o = &p->buffers[order[j]];
                if (o->first <= b->last && b->first <= o->last && at < o->offset + o->bytes &&
                    o->offset < at + b->bytes) {
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

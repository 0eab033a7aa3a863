/* SPDX-License-Identifier: MIT
 * Operations as every backend has them: the rows of ops.def, and the walk over a list of implementations. Compiled
 * into the library and into each module, which links to nothing of the library. */
#include "backend/op.h"
#include <stdio.h>
#include <string.h>

const hpt__op_row hpt__op_rows[HPT__OP_KINDS] = {
#define OP(KIND, name, shapes, arrays) {#name, #shapes, arrays},
#include "backend/ops.def"
#undef OP
};

const char *hpt__op_next_array(const char *at, hpt__op_array *out) {
    const char *arrow = strstr(at, "->");
    out->written = !arrow;
    at += strspn(at, " ->");
    if (!*at) return NULL;
    if (arrow && arrow < at) out->written = 1;
    size_t name = strcspn(at, ":"), what = strcspn(at + name + 1, " ?+=");
    snprintf(out->name, sizeof out->name, "%.*s", (int)name, at);
    snprintf(out->what, sizeof out->what, "%.*s", (int)what, at + name + 1);
    at += name + 1 + what;
    out->optional = *at == '?';
    snprintf(out->over, sizeof out->over, "%.*s", *at == '=' ? (int)strcspn(at + 1, " ") : 0, at + 1);
    return at + strcspn(at, " ");
}

void hpt__op_destroy(hpt__op *op) {
    if (!op) return;
    if (op->impl && op->impl->destroy) op->impl->destroy(op);
    if (op->own) op->host->free(op->own);
    op->host->free(op);
}
void *hpt__op_own(hpt__op *op, size_t bytes) {
    op->own = op->host->alloc(bytes);
    if (op->own) memset(op->own, 0, bytes);
    else op->host->fail(HPT_ERR_MEMORY, "out of memory for an operation");
    return op->own;
}
size_t hpt__op_scratch(const hpt__op *op) { return op->scratch; }
const char *hpt__op_name(const hpt__op *op) { return op->name; }

/* One implementation of the list; *out is NULL unless it serves. */
static hpt_status try_impl(hpt__device *dev, const hpt__host *host, const hpt__impl *impl, const hpt__op_desc *d,
                           hpt__op **out) {
    *out = NULL;
    if (impl->fits && !impl->fits(dev, d))      /* the last of the list says so */
        return impl[1].name
                   ? HPT_ERR_UNSUPPORTED
                   : host->fail(HPT_ERR_UNSUPPORTED, "operation %s: nothing serves %dx%dx%dx%d -> %dx%dx%d here",
                                hpt__op_rows[d->kind].name, d->g.n, d->g.c, d->g.h, d->g.w, d->g.k, d->g.p, d->g.q);
    hpt__op *op = host->alloc(sizeof *op);
    if (!op) return host->fail(HPT_ERR_MEMORY, "out of memory for an operation");
    memset(op, 0, sizeof *op);
    op->d = *d;
    op->dev = dev;
    op->host = host;
    op->impl = impl;
    snprintf(op->name, sizeof op->name, "%s", impl->name);
    hpt_status st = impl->create ? impl->create(op) : HPT_OK;
    if (st) hpt__op_destroy(op);
    else *out = op;
    return st;
}
hpt_status hpt__op_create(hpt__device *dev, const hpt__host *host, const hpt__impl *list, const hpt__op_desc *d,
                          hpt__op **out) {
    hpt_status st = HPT_ERR_UNSUPPORTED;
    *out = NULL;
    if (!list->name) return host->fail(st, "operation %s: not on this backend", hpt__op_rows[d->kind].name);
    for (; list->name && st == HPT_ERR_UNSUPPORTED; list++) st = try_impl(dev, host, list, d, out);
    return st;
}

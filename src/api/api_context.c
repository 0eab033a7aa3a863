/* SPDX-License-Identifier: MIT */
#include "api/api.h"
#include "backend/backend.h"
#include "core/alloc.h"

static void context_free(void *p) {
    hpt_context *c = p;
    hpt__backend_close(c->be, c->dev, c->module);
    hpt__free(c);
}

hpt_status hpt_context_create(const hpt_config *cfg, hpt_context **out) {
    const hpt__options *o;
    OUT(out);
    HPT_TRY(hpt__config_options(cfg, &o));
    hpt_context *c = hpt__calloc(1, sizeof *c);
    if (!c) return hpt__fail_memory(sizeof *c);
    c->threads = (int)OPT_I(o, threads);
    hpt_status st = hpt__backend_open(OPT_S(o, backend), OPT_S(o, module_dir), &c->threads, &c->be, &c->dev, &c->module);
    if (!st && (st = hpt__handle_open(c, HPT__KIND_CONTEXT, context_free))) hpt__backend_close(c->be, c->dev, c->module);
    if (st) {
        hpt__free(c);
        return st;
    }
    *out = c;
    return HPT_OK;
}
void hpt_context_destroy(hpt_context *ctx) { hpt__handle_close(ctx, HPT__KIND_CONTEXT); }

hpt_status hpt_context_set_log(hpt_context *ctx, hpt_log_fn fn, void *user) {
    CHECK(ctx, CONTEXT);
    ctx->log = fn;
    ctx->log_user = user;
    return HPT_OK;
}
hpt_status hpt_context_describe(const hpt_context *ctx, char *buf, size_t size, size_t *needed) {
    char text[200];
    CHECK(ctx, CONTEXT);
    ctx->be->describe(ctx->dev, text, sizeof text);
    return hpt__text_out(text, buf, size, needed);
}

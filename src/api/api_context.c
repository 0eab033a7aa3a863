/* SPDX-License-Identifier: MIT
 * hpt_context_*: choosing and opening a backend and a communicator, who hears log and progress, and the cancel from
 * another thread. As in every file of this folder: check arguments, call below, set the error. */
#include "api/api.h"
#include "backend/backend.h"
#include "core/alloc.h"
#include "nn/facts.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void context_free(void *p) {
    hpt_context *c = p;
    if (c->comm && c->comm->close) c->comm->close(c->comm);
    hpt__free(c->comm);
    hpt__backend_close(c->be, c->dev, c->module);
    if (c->comm_module) dlclose(c->comm_module);
    hpt__turn_fini(&c->turn);
    pthread_mutex_destroy(&c->log_lock);
    hpt__free(c);
}

typedef hpt_status (*mpi_open)(const hpt__host *host, const hpt__comm_spec *spec, hpt__comm *out);

static hpt_status open_comm(hpt_context *c, const hpt__options *o) {
    hpt__comm_spec spec = {(int)OPT_I(o, rank), (int)OPT_I(o, ranks), OPT_S(o, comm_id), OPT_F(o, comm_timeout)};
    char path[HPT__MODULE_PATH];
    if (OPT_IS(o, comm, "self")) {
        if (spec.size > 1)
            return hpt__fail(HPT_ERR_OPTION, "option 'ranks': %d ranks need comm=nccl or comm=mpi", spec.size);
        hpt__comm_self(c->comm);
        return HPT_OK;
    }
    if (OPT_IS(o, comm, "nccl")) {
        if (!c->be->exchange.open)
            return hpt__fail(HPT_ERR_OPTION, "option 'comm': nccl needs backend=cuda, this context runs on %s",
                             c->be->name);
        if (spec.rank >= spec.size)
            return hpt__fail(HPT_ERR_OPTION, "option 'rank': %d is not below ranks=%d", spec.rank, spec.size);
        return c->be->exchange.open(c->dev, &spec, c->comm);
    }
    if (!c->be->host_memory)
        return hpt__fail(HPT_ERR_OPTION,
                         "option 'comm': mpi works on the memory of the CPU backends; use comm=nccl with backend=cuda");
    HPT_TRY(hpt__module_load("mpi", OPT_S(o, module_dir), &c->comm_module, path));
    mpi_open open = (mpi_open)(uintptr_t)dlsym(c->comm_module, "hpt_comm_mpi_2");
    if (!open) return hpt__fail(HPT_ERR_UNAVAILABLE, "%.800s is a module of another version of libhpt", path);
    return open(&hpt__host_table, &spec, c->comm);
}

hpt_status hpt_context_create(const hpt_config *cfg, hpt_context **out) {
    const hpt__options *o;
    OUT(out);
    HPT_TRY(hpt__config_options(cfg, &o));
    hpt_context *c = hpt__calloc(1, sizeof *c);
    if (!c || !(c->comm = hpt__calloc(1, sizeof *c->comm))) {
        hpt__free(c);
        return hpt__fail_memory(sizeof *c);
    }
    hpt__turn_init(&c->turn);
    pthread_mutex_init(&c->log_lock, NULL);
    c->asked = (int)OPT_I(o, threads);
    hpt__open open = {.device = (int)OPT_I(o, device), .threads = c->asked, .cache_dir = OPT_S(o, plan_cache)};
    hpt_status st = hpt__backend_open(OPT_S(o, backend), OPT_S(o, module_dir), &open, &c->be, &c->dev, &c->module,
                                      c->fallback);
    c->threads = open.threads;
    if (!st && c->be->host_memory) c->watch.owner = c;
    if (!st) st = open_comm(c, o);
    if (!st) st = hpt__handle_open(c, HPT__KIND_CONTEXT, context_free);
    if (st) {
        context_free(c);
        return st;
    }
    *out = c;
    return HPT_OK;
}
void hpt_context_destroy(hpt_context *ctx) { hpt__handle_close(ctx, HPT__KIND_CONTEXT); }

hpt_status hpt_context_set_log(hpt_context *ctx, hpt_log_fn fn, void *user) {
    CHECK(ctx, CONTEXT);
    pthread_mutex_lock(&ctx->log_lock);
    ctx->log = fn;
    ctx->log_user = user;
    int tell = fn && !ctx->told;        /* there was no log yet when the context was made */
    ctx->told |= tell;
    pthread_mutex_unlock(&ctx->log_lock);
    if (tell && *ctx->fallback) hpt__log(ctx, 1, "%s", ctx->fallback);
    if (tell && ctx->asked > ctx->threads)
        hpt__log(ctx, 0, "threads=%d: this process may use %d processor%s, and takes no more threads than those",
                 ctx->asked, ctx->threads, ctx->threads == 1 ? "" : "s");
    return HPT_OK;
}
hpt_status hpt_context_set_progress(hpt_context *ctx, hpt_progress_fn fn, void *user) {
    CHECK(ctx, CONTEXT);
    ctx->watch.fn = fn;
    ctx->watch.user = user;
    return HPT_OK;
}
hpt_status hpt_context_cancel(hpt_context *ctx) {
    CHECK(ctx, CONTEXT);
    ctx->watch.cancels++;
    return HPT_OK;
}
hpt_status hpt_context_describe(const hpt_context *ctx, char *buf, size_t size, size_t *needed) {
    char text[300], device[200];
    CHECK(ctx, CONTEXT);
    ctx->be->device.describe(ctx->dev, device, sizeof device);
    int at = snprintf(text, sizeof text, "%s%s", device, *ctx->fallback
                      ? ", falls back: the onednn module did not load" : "");
    if (ctx->comm->size > 1)
        snprintf(text + at, sizeof text - (size_t)at, ", rank %d of %d over %s", ctx->comm->rank, ctx->comm->size,
                 ctx->comm->name);
    return hpt__text_out(text, buf, size, needed);
}
hpt_status hpt_context_facts(hpt_context *ctx, const hpt_config *cfg, hpt_result **result) {
    const hpt__options *o;
    OUT(result);
    HOLD(ctx, CONTEXT);
    HPT_TRY(hpt__config_options(cfg, &o));
    json_t *j = hpt__json_begin();
    if (!j) return hpt__fail_memory(64);
    hpt_status st = hpt__facts_of(j, ctx, o, NULL);
    if (!st) return hpt__result_new(j, result);
    json_decref(j);
    return st;
}
hpt_status hpt_context_ranks(const hpt_context *ctx, int32_t *rank, int32_t *ranks) {
    CHECK(ctx, CONTEXT);
    if (!rank || !ranks) return hpt__fail(HPT_ERR_ARGUMENT, "hpt_context_ranks: a pointer is NULL");
    *rank = ctx->comm->rank;
    *ranks = ctx->comm->size;
    return HPT_OK;
}
hpt_status hpt_comm_id(const hpt_config *cfg, char *buf, size_t size, size_t *needed) {
    const hpt__options *o;
    void *module;
    char path[HPT__MODULE_PATH], id[512];
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__module_load("cuda", OPT_S(o, module_dir), &module, path));
    const hpt__backend *be = dlsym(module, "hpt_backend_cuda");
    hpt_status st = be && be->api == HPT__BACKEND_API ? be->exchange.id(&hpt__host_table, id, sizeof id)
        : hpt__fail(HPT_ERR_UNAVAILABLE, "%.800s is a module of another version of libhpt", path);
    dlclose(module);
    return st ? st : hpt__text_out(id, buf, size, needed);
}

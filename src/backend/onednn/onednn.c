/* SPDX-License-Identifier: MIT
 * The oneDNN backend (module libhpt-onednn.so): convolutions and matrix products by oneDNN 2.x, everything else by
 * src/kernels/<family>_cpu.c on the same team of threads (team.h). Here are the device and the table; operations and
 * families lie in a file for each subject. */
#define _POSIX_C_SOURCE 200809L
#include "backend/onednn/onednn.h"
#include <stdio.h>
#include <string.h>

extern const hpt__backend hpt_backend_onednn __attribute__((visibility("default")));

hpt_status hpt__onednn_fail(hpt__device *dev, dnnl_status_t st, const char *what) {
    static const char *const names[] = {"success",       "out of memory", "invalid arguments", "unimplemented",
                                        "iterator ends", "runtime error", "not required"};
    hpt_status code = st == dnnl_out_of_memory   ? HPT_ERR_MEMORY
                      : st == dnnl_unimplemented ? HPT_ERR_UNSUPPORTED
                                                 : HPT_ERR_DEVICE;
    return dev->base.host->fail(code, "oneDNN: %s: %s", what, (unsigned)st < 7 ? names[st] : "unknown status");
}

/* ---- device ---- */

/* Do oneDNN's loops come to our team? A product of one by one asks how many threads there are. */
static int serves_onednn(void) {
    float one = 1, out;
    hpt__team_asked();
    return dnnl_sgemm('N', 'N', 1, 1, 1, 1, &one, 1, &one, 1, 0, &out, 1) == dnnl_success && hpt__team_asked();
}

static hpt_status open_device(const hpt__host *host, const hpt__open *o, hpt__device **out) {
    hpt_status st = HPT_OK;
    hpt__device *dev = host->alloc(sizeof *dev);
    if (!dev) return host->fail(HPT_ERR_MEMORY, "out of memory opening oneDNN");
    memset(dev, 0, sizeof *dev);
    dev->base.host = host;
    dev->threads = o->threads;
    dev->cpu = &hpt__cpu_table_base;
#if defined(__x86_64__)
    /* what oneDNN will use decides (a user may have capped it), so that its layouts and ours agree */
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    if ((isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 && __builtin_cpu_supports("fma"))
        dev->cpu = &hpt__cpu_table_avx2;
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core) dev->cpu = &hpt__cpu_table_avx512;
#endif
    if (!(dev->team = hpt__team_create(host, dev->threads, serves_onednn()))) {
        host->free(dev);
        return host->fail(HPT_ERR_MEMORY, "out of memory opening oneDNN");
    }
    DNNL(dev, dnnl_engine_create(&dev->engine, dnnl_cpu, 0));
    DNNL(dev, dnnl_stream_create(&dev->stream, dev->engine, dnnl_stream_default_flags));
    *out = dev;
    return HPT_OK;
done:
    if (dev->engine) dnnl_engine_destroy(dev->engine);
    hpt__team_destroy(dev->team);
    host->free(dev);
    return st;
}
static void close_device(hpt__device *dev) {
    dnnl_stream_destroy(dev->stream);
    dnnl_engine_destroy(dev->engine);
    hpt__team_destroy(dev->team);
    dev->base.host->free(dev);
}
static void describe(hpt__device *dev, char *text, size_t size) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "onednn %d.%d.%d (%s, %d thread%s)", v->major, v->minor, v->patch, dev->cpu->isa, dev->threads,
             dev->threads == 1 ? "" : "s");
}
static int supports(hpt__device *dev, hpt__dtype t) {
    if (t == HPT__F32) return 2;
    if (t != HPT__BF16 || dev->cpu->block != 16) return 0;
#if defined(__x86_64__)
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_bf16 || isa == dnnl_cpu_isa_avx512_core_amx ? 2 : 1;
#else
    return 0;
#endif
}
static void enter(hpt__device *dev) { hpt__team_enter(dev->team); }
static void leave(hpt__device *dev) { hpt__team_leave(dev->team); }
hpt_status hpt__onednn_whole(hpt__device *dev) {
    if (hpt__team_whole(dev->team)) return HPT_OK;
    return dev->base.host->fail(HPT_ERR_MEMORY, "%d threads cannot be started (option threads)", dev->threads);
}

static size_t act_bytes(hpt__device *dev, hpt__dtype t, int n, int c, int h, int w) {
    return hpt__onednn_values(dev, n, c, h, w) * (t == HPT__BF16 ? 2 : 4);
}

/* ---- operations ---- */

static const hpt__impl *op_list(hpt__op_kind kind, hpt__dtype t) {
    static const hpt__impl *const lists[HPT__OP_KINDS] = {
#define OP(KIND, name, shapes, arrays) hpt__onednn_##name,
#include "backend/ops.def"
#undef OP
    };
    (void)t;
    return lists[kind];
}
static hpt_status op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    hpt_status st = hpt__onednn_whole(dev);
    *out = NULL;
    if (!st) st = hpt__op_create(dev, dev->base.host, op_list(d->kind, d->dtype), d, out);
    if (!st && !strcmp((*out)->name, "cpu")) snprintf((*out)->name, sizeof (*out)->name, "cpu:%s", dev->cpu->isa);
    return st;
}
static hpt_status op_run(hpt__op *op, const hpt__op_args *a) {
    hpt_status st = hpt__onednn_whole(op->dev);
    return st ? st : op->impl->run(op, a);
}

const hpt__backend hpt_backend_onednn = {
    .api = HPT__BACKEND_API,
    .name = "onednn",
    .host_memory = 1,
    .device = {
        .open = open_device,
        .close = close_device,
        .describe = describe,
        .supports = supports,
        .low_params = hpt__host_no_low,
        .enter = enter,
        .leave = leave,
    },
    .memory = HPT__HOST_MEMORY,
    .queue.sync = hpt__host_sync,
    .order = {
        .act_bytes = act_bytes,
        .pack = hpt__onednn_pack,
        .unpack = hpt__onednn_unpack,
    },
    .op = {
        .list = op_list,
        .create = op_create,
        .scratch = hpt__op_scratch,
        .run = op_run,
        .destroy = hpt__op_destroy,
        .name = hpt__op_name,
    },
    .rows = &hpt__onednn_rows,
    .contrast = &hpt__onednn_contrast,
    .params = &hpt__onednn_params,
};

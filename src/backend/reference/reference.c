/* SPDX-License-Identifier: MIT
 * The reference backend: plain loops over (N,C,H,W) maps in float or double, from src/kernels/<family>_ref.c. The
 * oracle of the tests; never fast. Here are the device and the table; its operations: ops_ref.c. */
#include "backend/host/host_device.h"
#include "backend/reference/reference.h"
#include <stdio.h>
#include <string.h>

struct hpt__device { hpt__host_device base; };

static hpt_status ref_open(const hpt__host *host, const hpt__open *o, hpt__device **dev) {
    (void)o;
    if (!(*dev = host->alloc(sizeof **dev)))
        return host->fail(HPT_ERR_MEMORY, "out of memory opening the reference backend");
    (*dev)->base.host = host;
    return HPT_OK;
}
static void ref_close(hpt__device *dev) { dev->base.host->free(dev); }
static void ref_describe(hpt__device *dev, char *text, size_t size) {
    (void)dev;
    snprintf(text, size, "reference (plain C, 1 thread)");
}
static int ref_supports(hpt__device *dev, hpt__dtype t) { (void)dev; return t == HPT__F32 || t == HPT__F64; }
static void ref_nothing(hpt__device *dev) { (void)dev; }

/* ---- order: everything lies plain ---- */

static size_t ref_act_bytes(hpt__device *dev, hpt__dtype t, int n, int c, int h, int w) {
    (void)dev;
    return (size_t)n * c * h * w * hpt__real_size(t);
}
static size_t count_of(const int64_t shape[4]) {
    return (size_t)(shape[0] * (shape[1] ? shape[1] : 1) * (shape[2] ? shape[2] * shape[3] : 1));
}
static void ref_pack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const float *plain, void *native) {
    size_t n = count_of(shape);
    (void)dev;
    if (t == HPT__F64) for (size_t i = 0; i < n; i++) ((double *)native)[i] = plain[i];
    else memcpy(native, plain, n * 4);
}
static void ref_unpack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const void *native, float *plain) {
    size_t n = count_of(shape);
    (void)dev;
    if (t == HPT__F64) for (size_t i = 0; i < n; i++) plain[i] = (float)((const double *)native)[i];
    else memcpy(plain, native, n * 4);
}

/* ---- operations ---- */

static const hpt__impl *ref_list(hpt__op_kind kind, hpt__dtype t) {
    static const hpt__impl *const lists[HPT__OP_KINDS][2] = {
#define OP(KIND, name, shapes, arrays) {hpt__reference_##name##_f32, hpt__reference_##name##_f64},
#include "backend/ops.def"
#undef OP
    };
    return lists[kind][t == HPT__F64];
}
static hpt_status ref_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    return hpt__op_create(dev, dev->base.host, ref_list(d->kind, d->dtype), d, out);
}
static hpt_status ref_run(hpt__op *op, const hpt__op_args *a) { return op->impl->run(op, a); }

const hpt__backend hpt__backend_reference = {
    .api = HPT__BACKEND_API,
    .name = "reference",
    .host_memory = 1,
    .device = {
        .open = ref_open,
        .close = ref_close,
        .describe = ref_describe,
        .supports = ref_supports,
        .low_params = hpt__host_no_low,
        .enter = ref_nothing,
        .leave = ref_nothing,
    },
    .memory = HPT__HOST_MEMORY,
    .queue.sync = hpt__host_sync,
    .order = {
        .act_bytes = ref_act_bytes,
        .pack = ref_pack,
        .unpack = ref_unpack,
    },
    .op = {
        .list = ref_list,
        .create = ref_create,
        .scratch = hpt__op_scratch,
        .run = ref_run,
        .destroy = hpt__op_destroy,
        .name = hpt__op_name,
    },
    .rows = &hpt__host_rows,
    .contrast = &hpt__host_contrast,
    .params = &hpt__host_params,
};

/* SPDX-License-Identifier: MIT
 * What every backend fills (reference, onednn, cuda): the device itself by noun, operations on feature maps by kind
 * (hpt__op_kind), and a typed table for each kernel family on plain rows and flat arrays. The front end checks
 * arguments; a backend need not.
 *
 * Memory: pointers from memory.alloc belong to the device; only where host_memory is 1 may the host touch them, and
 * there every call has finished when it returns. Elsewhere work is queued in order and queue.sync waits for it. upload
 * and download block until the bytes have moved. Feature maps are opaque: only order.act_bytes knows how they are laid
 * out, and only ops of the same backend read them. Everything else is plain row-major `real`: float, or double where
 * dtype is HPT__F64. Convolution weights are flat parameters in the backend's own order (pack, unpack), same count as
 * plain. All calls on a device between enter() and leave(), by one thread at a time. A slot returns a status; the text
 * goes through host->fail. A slot without one that fails is reported by the next that has one. */
#ifndef HPT__BACKEND_H
#define HPT__BACKEND_H
#include "core/context.h"
#include "core/host.h"
#include "dist/comm.h"
#include "kernels/augment.h"
#include "kernels/geometry.h"
#include "kernels/infonce.h"
#include "kernels/optim.h"
#include "kernels/rows.h"

#define HPT__BACKEND_API 12

typedef enum hpt__op_kind {
#define OP(KIND, name, shapes, arrays) HPT__OP_##KIND,
#include "backend/ops.def"
#undef OP
    HPT__OP_KINDS
} hpt__op_kind;

typedef struct hpt__op_desc {
    hpt__op_kind kind;
    hpt__dtype dtype;
    hpt__geometry g;
    int direct;             /* convolutions: no Winograd */
    int deterministic;      /* the same bits every run, also where that costs time */
} hpt__op_desc;

/* The arrays of an operation, ops.def says of which; w_low: bfloat16 copy of w, where low_params is 1. */
#define HPT__OP_READ(A) A(x) A(y_in) A(w) A(w_low) A(b) A(r) A(dy2)
#define HPT__OP_WRITTEN(A) A(y) A(dx) A(dw) A(db) A(dy) A(mean) A(rstd) A(run_mean) A(run_var) A(aux)
#define HPT__OP_ARRAYS(A) HPT__OP_READ(A) HPT__OP_WRITTEN(A)
typedef struct hpt__op_args {
#define ARRAY(name) const void *name;
    HPT__OP_READ(ARRAY)
#undef ARRAY
#define ARRAY(name) void *name;
    HPT__OP_WRITTEN(ARRAY)
#undef ARRAY
    void *scratch;
    double momentum;
} hpt__op_args;

/* op.c: what ops.def says */
typedef struct hpt__op_row {
    const char *name, *shapes, *arrays;
} hpt__op_row;
extern const hpt__op_row hpt__op_rows[HPT__OP_KINDS];
/* One array of a row; the text after it, NULL at the end. written: behind the arrow; over: the array that it may be. */
typedef struct hpt__op_array {
    char name[12], what[12], over[12];
    int written, optional;
} hpt__op_array;
const char *hpt__op_next_array(const char *at, hpt__op_array *out);

typedef struct hpt__op hpt__op;
typedef struct hpt__impl hpt__impl;                /* op.h */
typedef struct hpt__recording hpt__recording;      /* of queued work, to be launched again */
/* cache_dir: for plans that were timed; empty: none */
typedef struct hpt__open { int device, threads; const char *cache_dir; } hpt__open;

/* Inputs of a step that arrive while the one before still computes: a transfer lane of its own. */
enum { HPT__LANES = 2 };

/* ---- the device itself, by noun ---- */

typedef struct hpt__device_ops {
    hpt_status (*open)(const hpt__host *host, const hpt__open *o, hpt__device **dev);
    void (*close)(hpt__device *dev);
    void (*describe)(hpt__device *dev, char *text, size_t size);
    int (*supports)(hpt__device *dev, hpt__dtype dtype);    /* 0 no, 1 yes, 2 fast, too: precision=auto may pick it */
    int (*low_params)(hpt__device *dev, hpt__dtype dtype);  /* 1: wants bfloat16 copies of flat parameters, w_low */
    void (*enter)(hpt__device *dev);
    void (*leave)(hpt__device *dev);
} hpt__device_ops;

typedef struct hpt__memory_ops {
    void *(*alloc)(hpt__device *dev, size_t bytes);
    void (*free)(hpt__device *dev, void *p);
    size_t (*left)(hpt__device *dev);                       /* bytes free on the device; SIZE_MAX: not known */
    void (*upload)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    void (*download)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    void (*copy)(hpt__device *dev, void *dst, const void *src, size_t bytes);      /* device to device */
    void (*zero)(hpt__device *dev, void *p, size_t bytes);
    /* if *flag, in device memory; bytes % 64 == 0 */
    void (*copy_if)(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag);
} hpt__memory_ops;

/* All but sync only where host_memory is 0. stage: queues the copy on a lane (src: memory from host_alloc, unchanged
 * until lane_wait); await: work queued from here on comes after the lane's copies; lane_wait: the host waits for the
 * lane's copies. fetch: queues a copy to memory from host_alloc after the work queued so far; poll: HPT_END if it is
 * not there yet. */
typedef struct hpt__queue_ops {
    hpt_status (*sync)(hpt__device *dev);
    void *(*host_alloc)(hpt__device *dev, size_t bytes);
    void (*host_free)(hpt__device *dev, void *p);
    void (*stage)(hpt__device *dev, int lane, void *dst, const void *src, size_t bytes);
    void (*await)(hpt__device *dev, int lane);
    hpt_status (*lane_wait)(hpt__device *dev, int lane);
    void (*fetch)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    hpt_status (*poll)(hpt__device *dev);
} hpt__queue_ops;

/* What is queued between begin and end becomes a recording instead of running. All NULL: none (host_memory is 1). */
typedef struct hpt__record_ops {
    hpt_status (*begin)(hpt__device *dev);
    hpt_status (*end)(hpt__device *dev, hpt__recording **out);     /* on failure nothing was recorded, nothing ran */
    hpt_status (*launch)(hpt__device *dev, hpt__recording *r);
    void (*destroy)(hpt__device *dev, hpt__recording *r);
} hpt__record_ops;

/* A communicator over devices (NCCL); NULL: none of its own. id writes a unique id as text. */
typedef struct hpt__exchange_ops {
    hpt_status (*open)(hpt__device *dev, const hpt__comm_spec *spec, hpt__comm *out);
    hpt_status (*id)(const hpt__host *host, char *text, size_t size);
} hpt__exchange_ops;

/* How maps and parameters lie. */
typedef struct hpt__order_ops {
    size_t (*act_bytes)(hpt__device *dev, hpt__dtype dtype, int n, int c, int h, int w);
    void (*pack)(hpt__device *dev, hpt__dtype dtype, const int64_t shape[4], const float *plain, void *native);
    void (*unpack)(hpt__device *dev, hpt__dtype dtype, const int64_t shape[4], const void *native, float *plain);
} hpt__order_ops;

typedef struct hpt__op_ops {
    const hpt__impl *(*list)(hpt__op_kind kind, hpt__dtype dtype); /* its implementations, the first that fits serves */
    hpt_status (*create)(hpt__device *dev, const hpt__op_desc *d, hpt__op **out);
    size_t (*scratch)(const hpt__op *op);                   /* bytes of args.scratch, 64-byte aligned */
    hpt_status (*run)(hpt__op *op, const hpt__op_args *a);
    void (*destroy)(hpt__op *op);
    const char *(*name)(const hpt__op *op);                 /* the implementation chosen, for tests and logs */
} hpt__op_ops;

typedef struct hpt__backend {
    uint32_t api;
    const char *name;
    int host_memory;
    hpt__device_ops device;
    hpt__memory_ops memory;
    hpt__queue_ops queue;
    hpt__record_ops record;
    hpt__exchange_ops exchange;
    hpt__order_ops order;
    hpt__op_ops op;
    const hpt__rows_ops *rows;              /* kernels/rows.h */
    const hpt__contrast_ops *contrast;      /* kernels/infonce.h */
    const hpt__params_ops *params;          /* kernels/optim.h */
    const hpt__views_ops *views;            /* kernels/augment.h; NULL: views are made on the host */
} hpt__backend;

extern const hpt__backend hpt__backend_reference;

/* registry.c: opens the backend called name ("auto", "cuda", "cpu", "onednn", "reference"), loading its module from dir
 * or beside the library. o->threads 0 becomes the number found. fallback: why the reference backend stands in for
 * another, "" if it does not. */
hpt_status hpt__backend_open(const char *name, const char *dir, hpt__open *o, const hpt__backend **backend,
                             hpt__device **dev, void **module, char fallback[HPT__FALLBACK]);
/* dlopen of libhpt-NAME.so from dir or the usual places */
enum { HPT__MODULE_PATH = 4300 };
hpt_status hpt__module_load(const char *name, const char *dir, void **module, char path[HPT__MODULE_PATH]);
int hpt__module_here(const char *name);     /* is its file in one of the usual places? Nothing is loaded. */
extern const hpt__host hpt__host_table;
void hpt__backend_close(const hpt__backend *backend, hpt__device *dev, void *module);
#endif

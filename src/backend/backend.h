/* SPDX-License-Identifier: MIT
 * The one operation table that every backend fills (reference, onednn, cuda). The front end checks arguments; a backend need not.
 *
 * Memory: pointers from mem_alloc belong to the device; only where host_memory is 1 may the host touch them, and there every call has
 * finished when it returns. Elsewhere work is queued in order and sync() waits for it. upload and download block until the bytes have
 * moved. Feature maps are opaque: only act_bytes() knows how they are laid out, and only ops of the same backend read them. Everything else is
 * plain row-major `real`: float, or double where dtype is HPT__F64. Convolution weights are flat parameters in the backend's own order
 * (pack, unpack), same count as plain.
 * All calls on a device between enter() and leave(), by one thread at a time.
 * A slot returns a status; the text goes through host->fail. A slot without one that fails is reported by the next that has one. */
#ifndef HPT__BACKEND_H
#define HPT__BACKEND_H
#include "core/context.h"
#include "core/host.h"
#include "kernels/geometry.h"
#include "dist/comm.h"
#include "kernels/augment.h"
#include "kernels/optim.h"

#define HPT__BACKEND_API 8
typedef enum hpt__dtype { HPT__F32, HPT__BF16, HPT__F64, HPT__TF32 } hpt__dtype;   /* of feature maps; TF32: float maps, products rounded to 10 bits */

typedef enum hpt__op_kind {
    HPT__OP_INPUT,          /* x: float (N,3,H,W) -> y: feature map */
    HPT__OP_CONV,           /* x, w -> y */
    HPT__OP_CONV_DATA,      /* dy, w -> dx */
    HPT__OP_CONV_WEIGHTS,   /* x, dy -> dw */
    HPT__OP_NORM,           /* x, w, b, r -> y, mean, rstd, run_mean, run_var; momentum */
    HPT__OP_NORM_EVAL,      /* x, w, b, r, run_mean, run_var -> y */
    HPT__OP_NORM_GRAD,      /* x, y, w, mean, rstd, dy (in, out), dy2 -> dx, dw, db */
    HPT__OP_MAXPOOL,        /* x -> y, aux */
    HPT__OP_MAXPOOL_GRAD,   /* dy, dy2, aux -> dx */
    HPT__OP_AVERAGE,        /* x -> y: real (N,C) */
    HPT__OP_AVERAGE_GRAD,   /* dy: real (N,C) -> dx */
    HPT__OP_LINEAR,         /* x (N,C), w (K,C), b (or NULL) -> y (N,K); geometry.act */
    HPT__OP_OUTPUT,         /* x -> y: real (N,C,H,W) */
    HPT__OP_LINEAR_GRAD,    /* x, y, w, dy (in, out: masked if act is relu) -> dx (or NULL), dw, db (or NULL) */
    HPT__OP_ACT,            /* x -> y; geometry.act; maps, or rows if geometry.rows */
    HPT__OP_ACT_GRAD,       /* x (silu) or y (relu, sigmoid), dy, dy2 -> dx */
    HPT__OP_SUM,            /* x, r (if geometry.residual, else a copy) -> y; maps, or rows */
    HPT__OP_BIAS,           /* x, b -> y: maps */
    HPT__OP_BIAS_GRAD       /* dy -> db */
} hpt__op_kind;

typedef struct hpt__op_desc {
    hpt__op_kind kind;
    hpt__dtype dtype;
    hpt__geometry g;
    int direct;             /* convolutions: no Winograd */
    int deterministic;      /* the same bits every run, also where that costs time */
} hpt__op_desc;

typedef struct hpt__op_args {
    const void *x, *y_in, *w, *w_low, *b, *r, *dy2;     /* w_low: bfloat16 copy of w, where low_params is 1 */
    void *y, *dx, *dw, *db, *dy, *mean, *rstd, *run_mean, *run_var, *aux, *scratch;
    double momentum;
} hpt__op_args;

typedef struct hpt__op hpt__op;
typedef struct hpt__device hpt__device;
typedef struct hpt__graph_exec hpt__graph_exec;
typedef struct hpt__open { int device, threads; const char *cache_dir; } hpt__open;      /* cache_dir: for plans that were timed; empty: none */

/* Inputs of a step that arrive while the one before still computes: a transfer lane of its own. */
enum { HPT__LANES = 2 };

typedef struct hpt__backend {
    uint32_t api;
    const char *name;
    int host_memory;
    hpt_status (*open)(const hpt__host *host, const hpt__open *o, hpt__device **dev);
    void (*close)(hpt__device *dev);
    void (*describe)(hpt__device *dev, char *text, size_t size);
    int (*supports)(hpt__device *dev, hpt__dtype dtype);    /* 0 no, 1 yes, 2 yes and fast: what precision=auto may pick */
    int (*low_params)(hpt__device *dev, hpt__dtype dtype);  /* 1: wants bfloat16 copies of flat parameters (w_low) */
    void (*enter)(hpt__device *dev);
    void (*leave)(hpt__device *dev);

    void *(*mem_alloc)(hpt__device *dev, size_t bytes);
    void (*mem_free)(hpt__device *dev, void *p);
    size_t (*mem_left)(hpt__device *dev);                   /* bytes free on the device; SIZE_MAX: not known */
    void (*upload)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    void (*download)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    void (*copy)(hpt__device *dev, void *dst, const void *src, size_t bytes);      /* device to device */
    void (*zero)(hpt__device *dev, void *p, size_t bytes);
    void (*copy_if)(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag);     /* if *flag, in device memory; bytes % 64 == 0 */
    hpt_status (*sync)(hpt__device *dev);

    /* Only where host_memory is 0. stage: queues the copy on a lane (src: memory from host_alloc, unchanged until lane_wait); await: work
     * queued from here on comes after the lane's copies; lane_wait: the host waits for the lane's copies. fetch: queues a copy to
     * memory from host_alloc after the work queued so far; poll: HPT_END if it is not there yet. */
    void *(*host_alloc)(hpt__device *dev, size_t bytes);
    void (*host_free)(hpt__device *dev, void *p);
    void (*stage)(hpt__device *dev, int lane, void *dst, const void *src, size_t bytes);
    void (*await)(hpt__device *dev, int lane);
    hpt_status (*lane_wait)(hpt__device *dev, int lane);
    void (*fetch)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    hpt_status (*poll)(hpt__device *dev);
    /* What is queued between begin and end becomes a graph instead of running. */
    hpt_status (*graph_begin)(hpt__device *dev);
    hpt_status (*graph_end)(hpt__device *dev, hpt__graph_exec **out);     /* on failure nothing was recorded and nothing ran */
    hpt_status (*graph_launch)(hpt__device *dev, hpt__graph_exec *g);
    void (*graph_destroy)(hpt__device *dev, hpt__graph_exec *g);

    /* A communicator over devices (NCCL); NULL: none of its own. fresh_id writes a unique id as text. */
    hpt_status (*comm_open)(hpt__device *dev, const hpt__comm_spec *spec, hpt__comm *out);
    hpt_status (*comm_id)(const hpt__host *host, char *text, size_t size);

    size_t (*act_bytes)(hpt__device *dev, hpt__dtype dtype, int n, int c, int h, int w);
    void (*pack)(hpt__device *dev, hpt__dtype dtype, const int64_t shape[4], const float *plain, void *native);
    void (*unpack)(hpt__device *dev, hpt__dtype dtype, const int64_t shape[4], const void *native, float *plain);

    hpt_status (*op_create)(hpt__device *dev, const hpt__op_desc *d, hpt__op **out);
    size_t (*op_scratch)(const hpt__op *op);                /* bytes of args.scratch, 64-byte aligned */
    hpt_status (*op_run)(hpt__op *op, const hpt__op_args *a);
    void (*op_destroy)(hpt__op *op);
    const char *(*op_name)(const hpt__op *op);              /* the implementation chosen, for tests and logs */

    /* kernel families (src/kernels); dtype HPT__F64 selects double, else float */
    hpt_status (*gemm)(hpt__device *, hpt__dtype, int ta, int tb, int m, int n, int k, double alpha, const void *a, int lda,
                       const void *b, int ldb, double beta, void *c, int ldc);
    /* low: bfloat16 copy of the queue in rows of queue_pitch() values, NULL if that is 0. The outcome's loss and tops are written. */
    int (*queue_pitch)(hpt__device *, hpt__dtype, int d);
    hpt_status (*infonce)(hpt__device *, hpt__dtype, int n, int d, int64_t queued, const void *q, const void *k, const void *queue,
                          const void *low, double tau, hpt__outcome *o, void *dq, void *scratch);
    size_t (*infonce_scratch)(hpt__device *, hpt__dtype, int n, int d);
    void (*l2norm)(hpt__device *, hpt__dtype, int n, int d, const void *x, void *y, void *norm);
    void (*l2norm_grad)(hpt__device *, hpt__dtype, int n, int d, const void *y, const void *norm, const void *dy, void *dx);
    void (*gather)(hpt__device *, hpt__dtype, int n, size_t d, const void *in, const uint32_t *index, void *out);
    void (*enqueue)(hpt__device *, hpt__dtype, int n, int d, const void *keys, void *queue, int64_t q, void *low, const hpt__vars *v, const hpt__outcome *o);
    void (*spread)(hpt__device *, hpt__dtype, int n, int d, const void *x, hpt__outcome *o, void *scratch);      /* scratch: d doubles */
    void (*agree)(hpt__device *, hpt__dtype, int n, int d, int images, const void *x, const void *y, void *dx, hpt__outcome *o, void *scratch);  /* n doubles */
    void (*update)(hpt__device *, hpt__dtype, const hpt__update *u, size_t at, size_t n, const hpt__vars *v, const hpt__outcome *o);
    void (*foresee)(hpt__device *, hpt__dtype, const hpt__update *u, size_t at, size_t n, const hpt__vars *v, int32_t bit, hpt__outcome *o);     /* bad |= bit if update would write what is not finite */
    void (*trust)(hpt__device *, hpt__dtype, hpt__rule, const void *p, const void *g, size_t n, double wd, double eta, void *trust, void *scratch);   /* 128 doubles */
    void (*ema)(hpt__device *, hpt__dtype, void *out, const void *k, const void *q, size_t n, double mom);
    void (*finite)(hpt__device *, hpt__dtype, const void *x, size_t n, int32_t bit, hpt__outcome *o);      /* o->bad |= bit if one is not */
    void (*judge)(hpt__device *, hpt__outcome *o);                                                          /* bad |= HPT__BAD_LOSS likewise */
    void (*lower)(hpt__device *, size_t rows, size_t d, size_t pitch, const void *x, void *low);            /* float -> bfloat16, zero beyond d */
    /* kernels/heads.h; loss may be NULL */
    void (*softmax_ce)(hpt__device *, int n, int heads, int classes, float *logits, const int32_t *label, float *loss);
    void (*bce)(hpt__device *, int n, int heads, int classes, float *logits, const float *target, float *loss);
    void (*classify)(hpt__device *, hpt__dtype, int n, int classes, void *logits, const int32_t *label, const void *weight, double smoothing,
                     hpt__outcome *);
    void (*sum_rows)(hpt__device *, int n, int d, const float *x, float *out);
    void (*add_bias)(hpt__device *, int n, int d, const float *b, float *y);
    /* views from 8-bit images: kernels/augment.h; NULL: images come augmented from the host */
    size_t (*augment_scratch)(hpt__device *, int views, int size, int taps);
    void (*augment)(hpt__device *, int views, int size, int taps, const hpt__view *view, const uint8_t *pixels, const float *table, float *out, void *scratch);
} hpt__backend;

extern const hpt__backend hpt__backend_reference;

/* registry.c: opens the backend called name ("auto", "cuda", "cpu", "onednn", "reference"), loading its module from dir or beside the library.
 * o->threads 0 becomes the number found. fallback: why the reference backend stands in for another, "" if it does not. */
hpt_status hpt__backend_open(const char *name, const char *dir, hpt__open *o, const hpt__backend **backend, hpt__device **dev, void **module, char fallback[HPT__FALLBACK]);
/* dlopen of libhpt-NAME.so from dir or the usual places */
enum { HPT__MODULE_PATH = 4300 };
hpt_status hpt__module_load(const char *name, const char *dir, void **module, char path[HPT__MODULE_PATH]);
int hpt__module_here(const char *name);     /* is its file in one of the usual places? Nothing is loaded. */
extern const hpt__host hpt__host_table;
void hpt__backend_close(const hpt__backend *backend, hpt__device *dev, void *module);

static inline size_t hpt__real_size(hpt__dtype t) { return t == HPT__F64 ? 8 : 4; }
#endif

/* SPDX-License-Identifier: MIT
 * The one operation table that every backend fills (reference, onednn; cuda later). The front end checks arguments; a backend need not.
 *
 * Memory: pointers from mem_alloc belong to the device; upload and download move bytes. Feature maps are opaque: only act_bytes() knows
 * how they are laid out, and only ops of the same backend read them. Everything else is plain row-major `real`: float, or double where
 * dtype is HPT__F64. Convolution weights are flat parameters in the backend's own order (pack, unpack), same count as plain.
 * All calls on a device between enter() and leave(), by one thread at a time.
 * A slot returns a status; the text goes through host->fail. */
#ifndef HPT__BACKEND_H
#define HPT__BACKEND_H
#include "hpt.h"
#include "kernels/geometry.h"
#include "kernels/optim.h"

#define HPT__BACKEND_API 1
typedef enum hpt__dtype { HPT__F32, HPT__BF16, HPT__F64 } hpt__dtype;   /* of feature maps */

/* What a module may use of the library; modules link to nothing of it. */
typedef struct hpt__host {
    hpt_status (*fail)(hpt_status status, const char *fmt, ...);
    void *(*alloc)(size_t bytes);       /* 64-byte aligned */
    void (*free)(void *p);
} hpt__host;

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
    HPT__OP_LINEAR,         /* x (N,C), w (K,C), b -> y (N,K); geometry.relu */
    HPT__OP_LINEAR_GRAD     /* x, y, w, dy (in, out: masked if relu) -> dx (or NULL), dw, db */
} hpt__op_kind;

typedef struct hpt__op_desc {
    hpt__op_kind kind;
    hpt__dtype dtype;
    hpt__geometry g;
    int direct;             /* convolutions: no Winograd */
} hpt__op_desc;

typedef struct hpt__op_args {
    const void *x, *y_in, *w, *b, *r, *dy2;
    void *y, *dx, *dw, *db, *dy, *mean, *rstd, *run_mean, *run_var, *aux, *scratch;
    double momentum;
} hpt__op_args;

typedef struct hpt__op hpt__op;
typedef struct hpt__device hpt__device;

typedef struct hpt__backend {
    uint32_t api;
    const char *name;
    hpt_status (*open)(const hpt__host *host, int threads, hpt__device **dev);
    void (*close)(hpt__device *dev);
    void (*describe)(hpt__device *dev, char *text, size_t size);
    int (*supports)(hpt__device *dev, hpt__dtype dtype);    /* 0 no, 1 yes, 2 yes and fast: what precision=auto may pick */
    void (*enter)(hpt__device *dev);
    void (*leave)(hpt__device *dev);

    void *(*mem_alloc)(hpt__device *dev, size_t bytes);
    void (*mem_free)(hpt__device *dev, void *p);
    void (*upload)(hpt__device *dev, void *dst, const void *src, size_t bytes);
    void (*download)(hpt__device *dev, void *dst, const void *src, size_t bytes);

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
    hpt_status (*infonce)(hpt__device *, hpt__dtype, int n, int d, int64_t queued, const void *q, const void *k, const void *queue,
                          double tau, double out[3], void *dq, void *scratch);
    size_t (*infonce_scratch)(hpt__device *, hpt__dtype, int n, int d);
    void (*l2norm)(hpt__device *, hpt__dtype, int n, int d, const void *x, void *y, void *norm);
    void (*l2norm_grad)(hpt__device *, hpt__dtype, int n, int d, const void *y, const void *norm, const void *dy, void *dx);
    void (*gather)(hpt__device *, hpt__dtype, int n, size_t d, const void *in, const uint32_t *index, void *out);
    int64_t (*enqueue)(hpt__device *, hpt__dtype, int n, int d, const void *keys, void *queue, int64_t q, int64_t ptr);
    double (*spread)(hpt__device *, hpt__dtype, int n, int d, const void *x);
    void (*sgd)(hpt__device *, hpt__dtype, void *p, void *m, const void *g, size_t n, double lr, double mom, double wd);
    void (*adamw)(hpt__device *, hpt__dtype, void *p, void *m, void *v, const void *g, size_t n, const hpt__adamw *o);
    void (*ema)(hpt__device *, hpt__dtype, void *out, const void *k, const void *q, size_t n, double mom);
    int (*finite)(hpt__device *, hpt__dtype, const void *x, size_t n);
} hpt__backend;

extern const hpt__backend hpt__backend_reference;

/* registry.c: opens the backend called name ("auto", "onednn", "reference"), loading its module from dir or beside the library. threads: 0 becomes the number found. */
hpt_status hpt__backend_open(const char *name, const char *dir, int *threads, const hpt__backend **backend, hpt__device **dev,
                             void **module);
void hpt__backend_close(const hpt__backend *backend, hpt__device *dev, void *module);

static inline size_t hpt__real_size(hpt__dtype t) { return t == HPT__F64 ? 8 : 4; }
#endif

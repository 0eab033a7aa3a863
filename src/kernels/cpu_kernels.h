/* SPDX-License-Identifier: MIT
 * The table of the _cpu.c kernels of one instruction set. Contracts: conv.h, norm.h, act.h, bias.h, pool.h, scale.h,
 * optim.h, infonce.h. Maps are blocked (N, C/block, H*W, block), float or bfloat16; lanes of the last block that have
 * no channel are 0. Each call does the part t of nt; calls of one name may run at the same time. */
#ifndef HPT__CPU_KERNELS_H
#define HPT__CPU_KERNELS_H
#include "kernels/geometry.h"
#include "kernels/optim.h"
#include <stddef.h>
#include <stdint.h>

typedef struct hpt__cpu_norm {
    const hpt__geometry *g;
    int bf16;
    const void *x, *y_in, *r, *dy2;
    void *y, *dy, *dx;
    const float *w, *b;
    float *mean, *rstd, *run_mean, *run_var, *dw, *db;
    double momentum, *partial;      /* partial: norm_scratch() bytes */
} hpt__cpu_norm;

typedef struct hpt__cpu_pool {
    const hpt__geometry *g;
    int bf16;
    const void *x;
    void *y;            /* maxpool: map; average: float (N,C) */
    uint8_t *where;
    const void *dy, *dy2;
    void *dx;
} hpt__cpu_pool;

/* Element by element, on values lo..hi-1 of arrays of any alignment. a: x, or y where the gradient of an activation is
 * in terms of it (relu, sigmoid); b: dy, or a sum's r (NULL: copy); c: dy2 or NULL. */
typedef struct hpt__cpu_act {
    hpt__act act;
    int bf16;
    const void *a, *b, *c;
    void *y;
} hpt__cpu_act;

typedef struct hpt__cpu_bias {
    const hpt__geometry *g;
    int bf16;
    const void *x;          /* map; the gradient: dy */
    const float *b;
    void *y;
    float *db;
} hpt__cpu_bias;

/* Weights in blocks of channels as the onednn backend keeps them: (C/block, R*S, block), the last block narrower. */
typedef struct hpt__cpu_depthwise {
    const hpt__geometry *g;
    int bf16;
    const void *x, *dy;     /* maps */
    const float *w;
    void *y, *dx;
    float *dw;
    void *buffers;          /* depthwise_scratch() bytes, in cache lines */
    double *partial;        /* gradient of weights: depthwise_partial() bytes */
} hpt__cpu_depthwise;

typedef struct hpt__cpu_scale {
    const hpt__geometry *g;
    size_t each;            /* drop: values of an image, lanes without a channel included */
    int bf16;
    const void *x, *r, *dy;
    const float *s;         /* (N,C); drop: (N) */
    void *y, *dx;
    float *ds;
} hpt__cpu_scale;

typedef struct hpt__cpu_kernels {
    const char *isa;
    int block;                      /* channels of a block: floats of a vector */
#define KERNEL(result, name, arguments) result (*name) arguments;
#include "kernels/cpu_list.h"
#undef KERNEL
} hpt__cpu_kernels;

extern const hpt__cpu_kernels hpt__cpu_table_base, hpt__cpu_table_avx2, hpt__cpu_table_avx512;

/* in a _cpu.c file, which is compiled for one instruction set: the prototypes of its set */
#ifdef HPT__ISA
#include "kernels/vec.h"
#define KERNEL(result, name, arguments) result CPU(name) arguments;
#include "kernels/cpu_list.h"
#undef KERNEL
#endif
#endif

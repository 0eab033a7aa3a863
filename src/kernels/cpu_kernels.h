/* SPDX-License-Identifier: MIT
 * The table of the _cpu.c kernels of one instruction set. Contracts: norm.h, act.h, bias.h, pool.h, optim.h, infonce.h. Maps are blocked
 * (N, C/block, H*W, block), float or bfloat16. Each call does the part t of nt; calls of one name may run at the same time. */
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

/* Element by element, on values lo..hi-1 of arrays of any alignment. a: x, or y where the gradient of an activation is in terms of it (relu,
 * sigmoid); b: dy, or a sum's r (NULL: copy); c: dy2 or NULL. */
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

typedef struct hpt__cpu_kernels {
    const char *isa;
    int block;
    size_t (*norm_scratch)(const hpt__geometry *g);
    void (*norm_stats)(const hpt__cpu_norm *a, int t, int nt);
    void (*norm_finish)(const hpt__cpu_norm *a);
    void (*norm_apply)(const hpt__cpu_norm *a, int t, int nt);
    void (*norm_eval)(const hpt__cpu_norm *a, int t, int nt);
    void (*norm_grad_sums)(const hpt__cpu_norm *a, int t, int nt);
    void (*norm_grad_finish)(const hpt__cpu_norm *a);
    void (*norm_grad_apply)(const hpt__cpu_norm *a, int t, int nt);
    void (*maxpool)(const hpt__cpu_pool *a, int t, int nt);
    void (*maxpool_grad)(const hpt__cpu_pool *a, int t, int nt);
    void (*average)(const hpt__cpu_pool *a, int t, int nt);
    void (*average_grad)(const hpt__cpu_pool *a, int t, int nt);
    void (*update)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v);
    int (*foresee)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v);
    void (*ema)(float *out, const float *k, const float *q, size_t n, double mom);
    int (*finite)(const float *x, size_t n);
    void (*infonce_rows)(int first, int last, int d, int width, int pitch, float *s, float *max, double *sum, double *above,
                         const float *pos, float *dq);
    void (*act)(const hpt__cpu_act *j, size_t lo, size_t hi);
    void (*act_grad)(const hpt__cpu_act *j, size_t lo, size_t hi);
    void (*sum)(const hpt__cpu_act *j, size_t lo, size_t hi);
    void (*bias)(const hpt__cpu_bias *a, int t, int nt);
    void (*bias_grad)(const hpt__cpu_bias *a, int t, int nt);
} hpt__cpu_kernels;

extern const hpt__cpu_kernels hpt__cpu_table_base, hpt__cpu_table_avx2, hpt__cpu_table_avx512;
#endif

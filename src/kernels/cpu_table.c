/* SPDX-License-Identifier: MIT */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"

size_t CPU(norm_scratch)(const hpt__geometry *g);
void CPU(norm_stats)(const hpt__cpu_norm *a, int t, int nt);
void CPU(norm_finish)(const hpt__cpu_norm *a);
void CPU(norm_apply)(const hpt__cpu_norm *a, int t, int nt);
void CPU(norm_eval)(const hpt__cpu_norm *a, int t, int nt);
void CPU(norm_grad_sums)(const hpt__cpu_norm *a, int t, int nt);
void CPU(norm_grad_finish)(const hpt__cpu_norm *a);
void CPU(norm_grad_apply)(const hpt__cpu_norm *a, int t, int nt);
void CPU(maxpool)(const hpt__cpu_pool *a, int t, int nt);
void CPU(maxpool_grad)(const hpt__cpu_pool *a, int t, int nt);
void CPU(average)(const hpt__cpu_pool *a, int t, int nt);
void CPU(average_grad)(const hpt__cpu_pool *a, int t, int nt);
void CPU(update)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v);
int CPU(foresee)(const hpt__update *u, size_t at, size_t n, const hpt__vars *v);
void CPU(ema)(float *out, const float *k, const float *q, size_t n, double mom);
int CPU(finite)(const float *x, size_t n);
void CPU(infonce_rows)(int first, int last, int d, int width, int pitch, float *s, float *max, double *sum, double *above,
                       const float *pos, float *dq);
void CPU(act)(const hpt__cpu_act *j, size_t lo, size_t hi);
void CPU(act_grad)(const hpt__cpu_act *j, size_t lo, size_t hi);
void CPU(sum)(const hpt__cpu_act *j, size_t lo, size_t hi);
void CPU(bias)(const hpt__cpu_bias *a, int t, int nt);
void CPU(bias_grad)(const hpt__cpu_bias *a, int t, int nt);

#define STR2(x) #x
#define STR(x) STR2(x)
const hpt__cpu_kernels CPU(table) = {
    STR(HPT__ISA), HPT__VB, CPU(norm_scratch), CPU(norm_stats), CPU(norm_finish), CPU(norm_apply), CPU(norm_eval),
    CPU(norm_grad_sums), CPU(norm_grad_finish), CPU(norm_grad_apply), CPU(maxpool), CPU(maxpool_grad), CPU(average),
    CPU(average_grad), CPU(update), CPU(foresee), CPU(ema), CPU(finite), CPU(infonce_rows), CPU(act), CPU(act_grad), CPU(sum),
    CPU(bias), CPU(bias_grad)};

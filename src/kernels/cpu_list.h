/* SPDX-License-Identifier: MIT
 * The list of the _cpu.c kernels: KERNEL(what it returns, name, arguments). From it come the members of
 * hpt__cpu_kernels, the prototypes of the functions and the table of each instruction set; no include guard, it is
 * read for each. */
KERNEL(size_t, norm_scratch, (const hpt__geometry *g))
KERNEL(void, norm_stats, (const hpt__cpu_norm *a, int t, int nt))
KERNEL(void, norm_finish, (const hpt__cpu_norm *a))
KERNEL(void, norm_apply, (const hpt__cpu_norm *a, int t, int nt))
KERNEL(void, norm_eval, (const hpt__cpu_norm *a, int t, int nt))
KERNEL(void, norm_grad_sums, (const hpt__cpu_norm *a, int t, int nt))
KERNEL(void, norm_grad_finish, (const hpt__cpu_norm *a))
KERNEL(void, norm_grad_apply, (const hpt__cpu_norm *a, int t, int nt))
KERNEL(void, maxpool, (const hpt__cpu_pool *a, int t, int nt))
KERNEL(void, maxpool_grad, (const hpt__cpu_pool *a, int t, int nt))
KERNEL(void, average, (const hpt__cpu_pool *a, int t, int nt))
KERNEL(void, average_grad, (const hpt__cpu_pool *a, int t, int nt))
KERNEL(void, act, (const hpt__cpu_act *j, size_t lo, size_t hi))
KERNEL(void, act_grad, (const hpt__cpu_act *j, size_t lo, size_t hi))
KERNEL(void, sum, (const hpt__cpu_act *j, size_t lo, size_t hi))
KERNEL(void, bias, (const hpt__cpu_bias *a, int t, int nt))
KERNEL(void, bias_grad, (const hpt__cpu_bias *a, int t, int nt))
KERNEL(void, update, (const hpt__update *u, size_t at, size_t n, const hpt__vars *v))
KERNEL(int, foresee, (const hpt__update *u, size_t at, size_t n, const hpt__vars *v))
KERNEL(void, blend, (float *out, const float *k, const float *q, size_t n, double a, double b))
KERNEL(int, finite, (const float *x, size_t n))
KERNEL(void, infonce_rows, (int first, int last, int d, int width, int pitch, float *s, float *max, double *sum,
                            double *above, const float *pos, float *dq))

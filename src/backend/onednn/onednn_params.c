/* SPDX-License-Identifier: MIT
 * Passes over flat parameters by optim_cpu.c on the team. Contract: optim.h. Values do not depend on each other, so
 * any cut gives the same bits; a pass that looks for what is not finite only joins flags. */
#include "backend/onednn/onednn.h"

/* Element-wise passes: each thread takes a 16-element aligned part. */
typedef struct flat_job {
    const hpt__cpu_kernels *cpu;
    float *p;
    const float *a, *b;
    size_t at, n;
    double share_a, share_b;
    const hpt__update *u;
    const hpt__vars *vars;
    int bad[256];
} flat_job;
static void range(const flat_job *j, int t, int nt, size_t *lo, size_t *hi) {
    size_t blocks = (j->n + 15) / 16;
    *lo = blocks * (size_t)t / (size_t)nt * 16;
    *hi = blocks * (size_t)(t + 1) / (size_t)nt * 16;
    if (*hi > j->n) *hi = j->n;
}
static void update_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi) j->cpu->update(j->u, j->at + lo, hi - lo, j->vars);
}
static void blend_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi) j->cpu->blend(j->p + lo, j->a + lo, j->b + lo, hi - lo, j->share_a, j->share_b);
}
static void finite_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi && !j->cpu->finite(j->a + lo, hi - lo)) j->bad[t & 255] = 1;
}
static void update(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                   const hpt__outcome *o) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .u = u, .at = at, .n = n, .vars = v};
    if (!o || !o->bad) hpt__team_run(update_part, &j);
}
static void foresee_part(void *arg, int t, int nt) {
    flat_job *j = arg;
    size_t lo, hi;
    range(j, t, nt, &lo, &hi);
    if (lo < hi && j->cpu->foresee(j->u, j->at + lo, hi - lo, j->vars)) j->bad[t & 255] = 1;
}
static int any(const flat_job *j) {
    int bad = 0;
    for (int i = 0; i < 256; i++) bad |= j->bad[i];
    return bad;
}
static void foresee(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                    int32_t bit, hpt__outcome *o) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .u = u, .at = at, .n = n, .vars = v};
    hpt__team_run(foresee_part, &j);
    if (any(&j)) o->bad |= bit;
}
static void blend(hpt__device *dev, hpt__dtype t, void *out, const void *k, const void *q, size_t n, double a,
                  double b) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .p = out, .a = k, .b = q, .n = n, .share_a = a, .share_b = b};
    hpt__team_run(blend_part, &j);
}
static void finite(hpt__device *dev, hpt__dtype t, const void *x, size_t n, int32_t bit, hpt__outcome *o) {
    (void)t;
    flat_job j = {.cpu = dev->cpu, .a = x, .n = n};
    hpt__team_run(finite_part, &j);
    if (any(&j)) o->bad |= bit;
}

const hpt__params_ops hpt__onednn_params = {
    .update = update,
    .foresee = foresee,
    .trust = hpt__host_trust,
    .blend = blend,
    .finite = finite,
    .judge = hpt__host_judge,
    .lower = hpt__host_lower,
};

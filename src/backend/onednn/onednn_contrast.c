/* SPDX-License-Identifier: MIT
 * InfoNCE over tiles of the queue: products by oneDNN, rows of a tile by infonce_cpu.c on the team. Contract:
 * infonce.h. */
#include "backend/onednn/onednn.h"
#include "kernels/infonce.h"
#include <math.h>
#include <string.h>

/* scratch: tile of logits, then max and pos (float), sum and above (double) */
static size_t scratch_bytes(hpt__device *dev, hpt__dtype t, int n, int d) {
    (void)dev; (void)t; (void)d;
    return (size_t)n * (HPT__INFONCE_TILE + 16) * 4 + (size_t)n * 24;
}
typedef struct infonce_job {
    const hpt__cpu_kernels *cpu;
    int n, d, width;
    float *s, *max, *pos, *dq;
    double *sum, *above;
} infonce_job;
static void infonce_part(void *arg, int t, int nt) {
    infonce_job *j = arg;
    j->cpu->infonce_rows(j->n * t / nt, j->n * (t + 1) / nt, j->d, j->width, HPT__INFONCE_TILE + 16, j->s, j->max,
                         j->sum, j->above, j->pos, j->dq);
}
static hpt_status infonce(hpt__device *dev, hpt__dtype t, int n, int d, int64_t queued, const void *q_, const void *k_,
                          const void *queue_, const void *low, double tau, hpt__outcome *o, void *dq_, void *scratch) {
    const float *q = q_, *k = k_, *queue = queue_;
    float *dq = dq_, inv = (float)(1 / tau);
    (void)t; (void)low;
    infonce_job j = {dev->cpu, n, d, 0, scratch, NULL, NULL, dq, NULL, NULL};
    j.sum = (double *)((float *)scratch + (size_t)n * (HPT__INFONCE_TILE + 16));
    j.above = j.sum + n;
    j.max = (float *)(j.above + n);
    j.pos = j.max + n;
    memset(dq, 0, (size_t)n * d * 4);
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int l = 0; l < d; l++) s += (double)q[(size_t)i * d + l] * k[(size_t)i * d + l];
        j.max[i] = j.pos[i] = (float)(s / tau);
        j.sum[i] = 1;
        j.above[i] = 0;
    }
    for (int64_t at = 0; at < queued; at += HPT__INFONCE_TILE) {
        j.width = (int)(queued - at < HPT__INFONCE_TILE ? queued - at : HPT__INFONCE_TILE);
        int pitch = HPT__INFONCE_TILE + 16;     /* not a power of two: rows do not fall on the same cache sets */
        hpt_status st =
            hpt__onednn_gemm(dev, HPT__F32, 0, 1, n, j.width, d, inv, q, d, queue + at * d, d, 0, j.s, pitch);
        if (st) return st;
        hpt__team_run(infonce_part, &j);
        if ((st = hpt__onednn_gemm(dev, HPT__F32, 0, 0, n, d, j.width, 1, j.s, pitch, queue + at * d, d, 1, dq, d)))
            return st;
    }
    double loss = 0, scale = 1 / (n * tau);
    o->top1 = o->top5 = 0;
    for (int i = 0; i < n; i++) {
        double p = exp((double)j.pos[i] - j.max[i]) / j.sum[i] - 1;
        loss += j.max[i] + log(j.sum[i]) - j.pos[i];
        o->top1 += j.above[i] < 1;
        o->top5 += j.above[i] < 5;
        for (int l = 0; l < d; l++) {
            size_t at = (size_t)i * d + l;
            dq[at] = (float)((dq[at] / j.sum[i] + p * k[at]) * scale);
        }
    }
    o->loss = loss / n;
    return HPT_OK;
}

const hpt__contrast_ops hpt__onednn_contrast = {
    .pitch = hpt__host_pitch,
    .scratch = scratch_bytes,
    .infonce = infonce,
    .enqueue = hpt__host_enqueue,
    .spread = hpt__host_spread,
    .agree = hpt__host_agree,
};

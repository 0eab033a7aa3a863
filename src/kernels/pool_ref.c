/* SPDX-License-Identifier: MIT
 * Contract: pool.h. Plain loops over windows, written once for float and double (real.h). Of equal maxima the first
 * counts, as in PyTorch. */
#include "kernels/pool.h"
#include <string.h>

void REF(maxpool_forward)(const hpt__geometry *g, const real *x, real *y, uint8_t *where) {
    for (int nc = 0; nc < g->n * g->c; nc++)
        for (int p = 0; p < g->p; p++)
            for (int q = 0; q < g->q; q++) {
                real best = 0;
                int found = 0, at = 0;
                for (int r = 0; r < g->r; r++)
                    for (int s = 0; s < g->s; s++) {
                        int h = p * g->stride + r - g->pad_h, w = q * g->stride + s - g->pad_w;
                        if (h < 0 || h >= g->h || w < 0 || w >= g->w) continue;
                        real v = x[((size_t)nc * g->h + h) * g->w + w];
                        if (!found || v > best || v != v) best = v, at = r * g->s + s, found = 1;
                    }
                size_t o = ((size_t)nc * g->p + p) * g->q + q;
                y[o] = best;
                where[o] = (uint8_t)at;
            }
}

void REF(maxpool_backward)(const hpt__geometry *g, const real *dy, const real *dy2, const uint8_t *where, real *dx) {
    memset(dx, 0, sizeof(real) * (size_t)g->n * g->c * g->h * g->w);
    for (int nc = 0; nc < g->n * g->c; nc++)
        for (int p = 0; p < g->p; p++)
            for (int q = 0; q < g->q; q++) {
                size_t o = ((size_t)nc * g->p + p) * g->q + q;
                int h = p * g->stride + where[o] / g->s - g->pad_h, w = q * g->stride + where[o] % g->s - g->pad_w;
                dx[((size_t)nc * g->h + h) * g->w + w] += dy[o] + (g->extra_grad ? dy2[o] : 0);
            }
}

void REF(average_forward)(const hpt__geometry *g, const real *x, real *y) {
    int hw = g->h * g->w;
    for (int nc = 0; nc < g->n * g->c; nc++) {
        double s = 0;
        for (int i = 0; i < hw; i++) s += x[(size_t)nc * hw + i];
        y[nc] = (real)(s / hw);
    }
}

void REF(average_backward)(const hpt__geometry *g, const real *dy, real *dx) {
    int hw = g->h * g->w;
    for (int nc = 0; nc < g->n * g->c; nc++)
        for (int i = 0; i < hw; i++) dx[(size_t)nc * hw + i] = (real)((double)dy[nc] / hw);
}

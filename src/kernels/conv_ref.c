/* SPDX-License-Identifier: MIT
 * Contract: conv.h. The seven loops of a convolution and of its two gradients, sums in double, written once for
 * float and double (real.h). It is slow and it is what every other convolution is compared with. */
#include "kernels/conv.h"
#include <string.h>

/* Output columns q for which the input column q*stride + s - pad lies inside 0..w-1. */
static void valid(int out, int in, int s, int stride, int pad, int *lo, int *hi) {
    int a = pad - s;
    *lo = a > 0 ? (a + stride - 1) / stride : 0;
    int last = in - 1 + pad - s;
    *hi = last < 0 ? 0 : last / stride + 1;
    if (*hi > out) *hi = out;
}

void REF(conv_forward)(const hpt__geometry *g, const real *x, const real *w, real *y, double *plane) {
    for (int n = 0; n < g->n; n++)
        for (int k = 0; k < g->k; k++) {
            int cs = g->c / hpt__conv_groups(g), first = k / (g->k / hpt__conv_groups(g)) * cs;
            memset(plane, 0, sizeof(double) * (size_t)g->p * g->q);
            for (int c = 0; c < cs; c++) {
                const real *xc = x + ((size_t)n * g->c + first + c) * g->h * g->w;
                const real *wk = w + ((size_t)k * cs + c) * g->r * g->s;
                for (int r = 0; r < g->r; r++)
                    for (int s = 0; s < g->s; s++) {
                        int p0, p1, q0, q1;
                        double f = wk[r * g->s + s];
                        valid(g->p, g->h, r, g->stride, g->pad_h, &p0, &p1);
                        valid(g->q, g->w, s, g->stride, g->pad_w, &q0, &q1);
                        for (int p = p0; p < p1; p++) {
                            const real *row = xc + (ptrdiff_t)(p * g->stride + r - g->pad_h) * g->w + s - g->pad_w;
                            for (int q = q0; q < q1; q++) plane[p * g->q + q] += f * row[(ptrdiff_t)q * g->stride];
                        }
                    }
            }
            real *yk = y + ((size_t)n * g->k + k) * g->p * g->q;
            for (int i = 0; i < g->p * g->q; i++) yk[i] = (real)plane[i];
        }
}

void REF(conv_backward_data)(const hpt__geometry *g, const real *dy, const real *w, real *dx, double *plane) {
    for (int n = 0; n < g->n; n++)
        for (int c = 0; c < g->c; c++) {
            int cs = g->c / hpt__conv_groups(g), ks = g->k / hpt__conv_groups(g), first = c / cs * ks;
            memset(plane, 0, sizeof(double) * (size_t)g->h * g->w);
            for (int k = first; k < first + ks; k++) {
                const real *dk = dy + ((size_t)n * g->k + k) * g->p * g->q;
                const real *wk = w + ((size_t)k * cs + c % cs) * g->r * g->s;
                for (int r = 0; r < g->r; r++)
                    for (int s = 0; s < g->s; s++) {
                        int p0, p1, q0, q1;
                        double f = wk[r * g->s + s];
                        valid(g->p, g->h, r, g->stride, g->pad_h, &p0, &p1);
                        valid(g->q, g->w, s, g->stride, g->pad_w, &q0, &q1);
                        for (int p = p0; p < p1; p++) {
                            double *row = plane + (ptrdiff_t)(p * g->stride + r - g->pad_h) * g->w + s - g->pad_w;
                            for (int q = q0; q < q1; q++) row[(ptrdiff_t)q * g->stride] += f * dk[p * g->q + q];
                        }
                    }
            }
            real *xc = dx + ((size_t)n * g->c + c) * g->h * g->w;
            for (int i = 0; i < g->h * g->w; i++) xc[i] = (real)plane[i];
        }
}

void REF(conv_backward_weights)(const hpt__geometry *g, const real *x, const real *dy, real *dw) {
    int cs = g->c / hpt__conv_groups(g), ks = g->k / hpt__conv_groups(g);
    for (int k = 0; k < g->k; k++)
        for (int c = 0; c < cs; c++)
            for (int r = 0; r < g->r; r++)
                for (int s = 0; s < g->s; s++) {
                    int p0, p1, q0, q1;
                    double sum = 0;
                    valid(g->p, g->h, r, g->stride, g->pad_h, &p0, &p1);
                    valid(g->q, g->w, s, g->stride, g->pad_w, &q0, &q1);
                    for (int n = 0; n < g->n; n++) {
                        const real *xc = x + ((size_t)n * g->c + k / ks * cs + c) * g->h * g->w;
                        const real *dk = dy + ((size_t)n * g->k + k) * g->p * g->q;
                        for (int p = p0; p < p1; p++) {
                            const real *row = xc + (ptrdiff_t)(p * g->stride + r - g->pad_h) * g->w + s - g->pad_w;
                            for (int q = q0; q < q1; q++)
                                sum += (double)dk[p * g->q + q] * row[(ptrdiff_t)q * g->stride];
                        }
                    }
                    dw[(((size_t)k * cs + c) * g->r + r) * g->s + s] = (real)sum;
                }
}

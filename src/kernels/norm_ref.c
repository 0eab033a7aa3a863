/* SPDX-License-Identifier: MIT
 * Contract: norm.h. Mean and variance in two passes, sums in double; written once for float and double (real.h).
 * Every backend is compared with it. */
#include "kernels/norm.h"
#include <math.h>

/* offset of (n, c) in (N,C,H,W) */
#define AT(g, n_, c_) (((size_t)(n_) * (g)->c + (c_)) * (size_t)(g)->h * (g)->w)

static void apply(const hpt__geometry *g, int n0, int n1, int c, const real *x, const real *res, real *y, double mean,
                  double rstd, double w, double b) {
    int hw = g->h * g->w;
    for (int n = n0; n < n1; n++)
        for (int i = 0; i < hw; i++) {
            size_t at = AT(g, n, c) + i;
            double v = (x[at] - mean) * rstd * w + b;
            if (g->residual) v += res[at];
            y[at] = (real)(g->act == HPT__ACT_RELU && v < 0 ? 0 : v);
        }
}

void REF(norm_train)(const hpt__geometry *g, const real *x, const real *w, const real *b, const real *res, real *y,
                     real *mean, real *rstd, real *run_mean, real *run_var, double mom) {
    int per = g->n / g->bn_groups, hw = g->h * g->w;
    double m = (double)per * hw;
    for (int c = 0; c < g->c; c++) {
        double avg_mean = 0, avg_var = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double s = 0, ss = 0;
            for (int n = gr * per; n < (gr + 1) * per; n++)
                for (int i = 0; i < hw; i++) s += x[AT(g, n, c) + i];
            double mu = s / m;
            for (int n = gr * per; n < (gr + 1) * per; n++)
                for (int i = 0; i < hw; i++) {
                    double d = x[AT(g, n, c) + i] - mu;
                    ss += d * d;
                }
            double var = ss / m, rs = 1 / sqrt(var + g->eps);
            mean[gr * g->c + c] = (real)mu;
            rstd[gr * g->c + c] = (real)rs;
            avg_mean += mu / g->bn_groups;
            avg_var += (m > 1 ? ss / (m - 1) : var) / g->bn_groups;
            apply(g, gr * per, (gr + 1) * per, c, x, res, y, mu, rs, w[c], b[c]);
        }
        run_mean[c] = (real)((1 - mom) * run_mean[c] + mom * avg_mean);
        run_var[c] = (real)((1 - mom) * run_var[c] + mom * avg_var);
    }
}

void REF(norm_eval)(const hpt__geometry *g, const real *x, const real *w, const real *b, const real *res, real *y,
                    const real *run_mean, const real *run_var) {
    for (int c = 0; c < g->c; c++)
        apply(g, 0, g->n, c, x, res, y, run_mean[c], 1 / sqrt(run_var[c] + g->eps), w[c], b[c]);
}

void REF(norm_backward)(const hpt__geometry *g, const real *x, const real *y, const real *w, const real *mean,
                        const real *rstd, real *dy, const real *dy2, real *dx, real *dw, real *db) {
    int per = g->n / g->bn_groups, hw = g->h * g->w;
    double m = (double)per * hw;
    for (int c = 0; c < g->c; c++) {
        double sum_w = 0, sum_b = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double mu = mean[gr * g->c + c], rs = rstd[gr * g->c + c], sd = 0, sdx = 0;
            for (int n = gr * per; n < (gr + 1) * per; n++)
                for (int i = 0; i < hw; i++) {
                    size_t at = AT(g, n, c) + i;
                    double d = dy[at];
                    if (g->extra_grad) d += dy2[at];
                    if (g->act == HPT__ACT_RELU && !(y[at] > 0)) d = 0;
                    dy[at] = (real)d;
                    sd += d;
                    sdx += d * (x[at] - mu) * rs;
                }
            for (int n = gr * per; n < (gr + 1) * per; n++)
                for (int i = 0; i < hw; i++) {
                    size_t at = AT(g, n, c) + i;
                    dx[at] = (real)(w[c] * rs * (dy[at] - sd / m - (x[at] - mu) * rs * (sdx / m)));
                }
            sum_b += sd;
            sum_w += sdx;
        }
        dw[c] = (real)sum_w;
        db[c] = (real)sum_b;
    }
}

/* SPDX-License-Identifier: MIT
 * Contract: norm.h. Mean and variance in two passes, sums in double; written once for float and double (real.h).
 * Every backend is compared with it. */
#include "kernels/norm.h"
#include <math.h>

/* offset of (n, c) in (N,C,H,W) */
#define AT(g, n_, c_) (((size_t)(n_) * (g)->c + (c_)) * (size_t)(g)->h * (g)->w)

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void apply(const hpt__geometry *g, int n0, int n1, int c, const real *x, const real *res, real *y, double mean,
                  double rstd, double w, double b) {
    int hw = g->h * g->w;
    for (int n = n0; n < n1; n++)
        for (int i = 0; i < hw; i++) {
            size_t at = AT(g, n, c) + i;
            double v = (x[at] - mean) * rstd * w + b;
            if (g->residual) v += res[at];
            y[at] = (real)(g->act == HPT__ACT_SILU ? v * sigmoid(v) : g->act == HPT__ACT_RELU && v < 0 ? 0 : v);
        }
}

/* mean and sum of squares about it of a group's channel */
static void moments_of(const hpt__geometry *g, int gr, int c, const real *x, double *mean, double *sq) {
    int per = g->n / g->bn_groups, hw = g->h * g->w;
    double s = 0;
    for (int n = gr * per; n < (gr + 1) * per; n++)
        for (int i = 0; i < hw; i++) s += x[AT(g, n, c) + i];
    *mean = s / ((double)per * hw);
    *sq = 0;
    for (int n = gr * per; n < (gr + 1) * per; n++)
        for (int i = 0; i < hw; i++) {
            double d = x[AT(g, n, c) + i] - *mean;
            *sq += d * d;
        }
}

void REF(norm_train)(const hpt__geometry *g, const real *x, const real *w, const real *b, const real *res, real *y,
                     real *mean, real *rstd, real *run_mean, real *run_var, double mom) {
    int per = g->n / g->bn_groups;
    double m = (double)per * g->h * g->w;
    for (int c = 0; c < g->c; c++) {
        double avg_mean = 0, avg_var = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double mu, sq;
            moments_of(g, gr, c, x, &mu, &sq);
            double var = sq / m, rs = 1 / sqrt(var + g->eps);
            mean[gr * g->c + c] = (real)mu;
            rstd[gr * g->c + c] = (real)rs;
            avg_mean += mu / g->bn_groups;
            avg_var += (m > 1 ? sq / (m - 1) : var) / g->bn_groups;
            apply(g, gr * per, (gr + 1) * per, c, x, res, y, mu, rs, w[c], b[c]);
        }
        run_mean[c] = (real)((1 - mom) * run_mean[c] + mom * avg_mean);
        run_var[c] = (real)((1 - mom) * run_var[c] + mom * avg_var);
    }
}

void REF(norm_moments)(const hpt__geometry *g, const real *x, double *moments) {
    for (int gr = 0; gr < g->bn_groups; gr++)
        for (int c = 0; c < g->c; c++, moments += 2) moments_of(g, gr, c, x, moments, moments + 1);
}
void REF(norm_join)(const hpt__geometry *g, const double *moments, real *mean, real *rstd, real *run_mean,
                    real *run_var, double mom) {
    int ranks = hpt__bn_ranks(g);
    double m = (double)(g->n / g->bn_groups) * g->h * g->w, all = m * ranks;
    size_t block = (size_t)g->bn_groups * (size_t)g->c * 2;
    for (int c = 0; c < g->c; c++) {
        double avg_mean = 0, avg_var = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            const double *of = moments + ((size_t)gr * (size_t)g->c + (size_t)c) * 2;
            double mu = 0, sq = 0;
            for (int r = 0; r < ranks; r++) mu += of[(size_t)r * block] / ranks;
            for (int r = 0; r < ranks; r++) {
                double d = of[(size_t)r * block] - mu;
                sq += of[(size_t)r * block + 1] + m * d * d;
            }
            mean[gr * g->c + c] = (real)mu;
            rstd[gr * g->c + c] = (real)(1 / sqrt(sq / all + g->eps));
            avg_mean += mu / g->bn_groups;
            avg_var += (all > 1 ? sq / (all - 1) : sq) / g->bn_groups;
        }
        run_mean[c] = (real)((1 - mom) * run_mean[c] + mom * avg_mean);
        run_var[c] = (real)((1 - mom) * run_var[c] + mom * avg_var);
    }
}
void REF(norm_apply)(const hpt__geometry *g, const real *x, const real *w, const real *b, const real *res, real *y,
                     const real *mean, const real *rstd) {
    int per = g->n / g->bn_groups;
    for (int gr = 0; gr < g->bn_groups; gr++)
        for (int c = 0; c < g->c; c++)
            apply(g, gr * per, (gr + 1) * per, c, x, res, y, mean[gr * g->c + c], rstd[gr * g->c + c], w[c], b[c]);
}

void REF(norm_eval)(const hpt__geometry *g, const real *x, const real *w, const real *b, const real *res, real *y,
                    const real *run_mean, const real *run_var) {
    for (int c = 0; c < g->c; c++)
        apply(g, 0, g->n, c, x, res, y, run_mean[c], 1 / sqrt(run_var[c] + g->eps), w[c], b[c]);
}

/* d into dy; sum(d) and sum(d*(x-mu)*rs) of a group's channel */
static void sums_of(const hpt__geometry *g, int gr, int c, const real *x, const real *y, double mu, double rs, double w,
                    double b, real *dy, const real *dy2, double *sd, double *sdx) {
    int per = g->n / g->bn_groups, hw = g->h * g->w;
    *sd = *sdx = 0;
    for (int n = gr * per; n < (gr + 1) * per; n++)
        for (int i = 0; i < hw; i++) {
            size_t at = AT(g, n, c) + i;
            double d = dy[at];
            if (g->extra_grad) d += dy2[at];
            if (g->act == HPT__ACT_RELU && !(y[at] > 0)) d = 0;
            if (g->act == HPT__ACT_SILU) {
                double z = (x[at] - mu) * rs * w + b, s = sigmoid(z);
                d *= s * (1 + z * (1 - s));
            }
            dy[at] = (real)d;
            *sd += d;
            *sdx += d * (x[at] - mu) * rs;
        }
}
/* k1, k2: sum(d)/m, sum(d*(x-mu)*rs)/m */
static void grad_of(const hpt__geometry *g, int gr, int c, const real *x, double mu, double rs, double w,
                    const real *dy, double k1, double k2, real *dx) {
    int per = g->n / g->bn_groups, hw = g->h * g->w;
    for (int n = gr * per; n < (gr + 1) * per; n++)
        for (int i = 0; i < hw; i++) {
            size_t at = AT(g, n, c) + i;
            dx[at] = (real)(w * rs * (dy[at] - k1 - (x[at] - mu) * rs * k2));
        }
}

void REF(norm_backward)(const hpt__geometry *g, const real *x, const real *y, const real *w, const real *b,
                        const real *mean, const real *rstd, real *dy, const real *dy2, real *dx, real *dw, real *db) {
    double m = (double)(g->n / g->bn_groups) * g->h * g->w;
    for (int c = 0; c < g->c; c++) {
        double sum_w = 0, sum_b = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double mu = mean[gr * g->c + c], rs = rstd[gr * g->c + c], sd, sdx;
            sums_of(g, gr, c, x, y, mu, rs, w[c], b ? b[c] : 0, dy, dy2, &sd, &sdx);
            grad_of(g, gr, c, x, mu, rs, w[c], dy, sd / m, sdx / m, dx);
            sum_b += sd;
            sum_w += sdx;
        }
        dw[c] = (real)sum_w;
        db[c] = (real)sum_b;
    }
}
void REF(norm_grad_sums)(const hpt__geometry *g, const real *x, const real *y, const real *w, const real *b,
                         const real *mean, const real *rstd, real *dy, const real *dy2, real *dw, real *db,
                         double *sums) {
    for (int c = 0; c < g->c; c++) {
        double sum_w = 0, sum_b = 0;
        for (int gr = 0; gr < g->bn_groups; gr++) {
            double *of = sums + ((size_t)gr * (size_t)g->c + (size_t)c) * 2;
            sums_of(g, gr, c, x, y, mean[gr * g->c + c], rstd[gr * g->c + c], w ? w[c] : 0, b ? b[c] : 0, dy, dy2,
                    of, of + 1);
            sum_b += of[0];
            sum_w += of[1];
        }
        dw[c] = (real)sum_w;
        db[c] = (real)sum_b;
    }
}
void REF(norm_grad_joined)(const hpt__geometry *g, const real *x, const real *w, const real *mean, const real *rstd,
                           const real *dy, const double *sums, real *dx) {
    int ranks = hpt__bn_ranks(g);
    double all = (double)(g->n / g->bn_groups) * g->h * g->w * ranks;
    size_t block = (size_t)g->bn_groups * (size_t)g->c * 2;
    for (int gr = 0; gr < g->bn_groups; gr++)
        for (int c = 0; c < g->c; c++) {
            const double *of = sums + ((size_t)gr * (size_t)g->c + (size_t)c) * 2;
            double sd = 0, sdx = 0;
            for (int r = 0; r < ranks; r++) sd += of[(size_t)r * block], sdx += of[(size_t)r * block + 1];
            grad_of(g, gr, c, x, mean[gr * g->c + c], rstd[gr * g->c + c], w[c], dy, sd / all, sdx / all, dx);
        }
}

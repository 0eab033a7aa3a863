/* SPDX-License-Identifier: MIT
 * RV2 without n x n matrices, two ways of the same sum; the cheaper one is taken:
 *   wide   sum over pairs i < k of (x_i . x_k)(y_i . y_k), in blocks of rows             n^2 (p+q) / 2 products
 *   tall   ||X^T Y||_F^2 - sum_i |x_i|^2 |y_i|^2                                          n p q products
 * Rows are centred first, into double. */
#define _GNU_SOURCE
#include "eval/similarity.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

/* How far a comparison is, in products; the host reads it as rows of all. */
/* asked: products since it was asked last */
typedef struct rv2_work { hpt__span *span; double done, all; uint64_t asked; } rv2_work;

/* Asks whether to go on after every few milliseconds of work. */
static hpt_status worked(rv2_work *w, uint64_t products) {
    enum { OFTEN = 1 << 21 };
    if ((w->asked += products) < OFTEN) return HPT_OK;
    w->done += (double)w->asked;
    w->asked = 0;
    if (!w->span) return hpt__span_tick(0);
    double rows = (double)w->span->total * fmin(1, w->done / w->all);
    return hpt__span_at(w->span, (uint64_t)rows);
}
static hpt_status centred(const float *x, uint64_t n, uint64_t p, double **out, rv2_work *w) {
    double *c = *out = p && n <= SIZE_MAX / 8 / p ? hpt__alloc_aligned((size_t)(n * p) * 8) : NULL;
    if (!c) return hpt__fail_memory((size_t)(n * p) * 8);
    for (uint64_t j = 0; j < p; j++) {
        double sum = 0;
        for (uint64_t i = 0; i < n; i++) sum += x[i * p + j];
        for (uint64_t i = 0; i < n; i++) c[i * p + j] = x[i * p + j] - sum / (double)n;
        HPT_TRY(worked(w, 8 * n));      /* a column is read with long strides */
    }
    return HPT_OK;
}
static double dot(const double *a, const double *b, uint64_t n) {
    double s[4] = {0, 0, 0, 0};
    uint64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) s[k] += a[i + (uint64_t)k] * b[i + (uint64_t)k];
    for (; i < n; i++) s[0] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static hpt_status wide(const double *x, uint64_t p, const double *y, uint64_t q, uint64_t n, double out[3],
                       rv2_work *w) {
    for (uint64_t i = 1; i < n; i++) {
        double xy = 0, xx = 0, yy = 0;
        for (uint64_t k = 0; k < i; k++) {
            double a = dot(x + i * p, x + k * p, p), b = dot(y + i * q, y + k * q, q);
            xy += a * b;
            xx += a * a;
            yy += b * b;
            HPT_TRY(worked(w, p + q));
        }
        out[0] += 2 * xy;
        out[1] += 2 * xx;
        out[2] += 2 * yy;
    }
    return HPT_OK;
}

/* ||X^T Y||_F^2 - sum_i |x_i|^2 |y_i|^2: X^T Y in strips of columns of X. */
static hpt_status tall(const double *x, uint64_t p, const double *y, uint64_t q, uint64_t n, double *out, rv2_work *k) {
    enum { STRIP = 8 };
    double *acc = hpt__alloc_aligned(sizeof *acc * STRIP * (size_t)q), sum = 0;
    if (!acc) return hpt__fail_memory(sizeof *acc * STRIP * (size_t)q);
    hpt_status st = HPT_OK;
    for (uint64_t j = 0; j < p && !st; j += STRIP) {
        uint64_t w = p - j < STRIP ? p - j : STRIP;
        memset(acc, 0, sizeof *acc * STRIP * (size_t)q);
        for (uint64_t i = 0; i < n && !st; i++) {
            for (uint64_t a = 0; a < w; a++) {
                double v = x[i * p + j + a];
                for (uint64_t b = 0; b < q; b++) acc[a * q + b] += v * y[i * q + b];
            }
            st = worked(k, w * q);
        }
        sum += dot(acc, acc, w * q);
    }
    for (uint64_t i = 0; i < n && !st; i++) {
        sum -= dot(x + i * p, x + i * p, p) * dot(y + i * q, y + i * q, q);
        st = worked(k, p + q);
    }
    hpt__free(acc);
    *out = sum;
    return st;
}

hpt_status hpt__rv2(const float *xf, uint64_t p, const float *yf, uint64_t q, uint64_t n, hpt__span *span,
                    double *out) {
    if (n < 3 || !p || !q) return hpt__fail(HPT_ERR_ARGUMENT, "RV2 needs at least 3 images and 1 value each");
    double *x = NULL, *y = NULL, s[3] = {0, 0, 0};
    double cost_wide = (double)n * (double)n / 2 * (double)(p + q),
        cost_tall = (double)n * ((double)p * (double)q + (double)p * (double)p + (double)q * (double)q);
    rv2_work w = {span, 0, fmin(cost_wide, cost_tall) + 8 * (double)n * (double)(p + q), 0};
    hpt_status st = centred(xf, n, p, &x, &w);
    if (!st) st = centred(yf, n, q, &y, &w);
    if (!st && cost_wide <= cost_tall) st = wide(x, p, y, q, n, s, &w);
    else if (!st) {
        st = tall(x, p, y, q, n, &s[0], &w);
        if (!st) st = tall(x, p, x, p, n, &s[1], &w);
        if (!st) st = tall(y, q, y, q, n, &s[2], &w);
    }
    hpt__free(x);
    hpt__free(y);
    if (!st && !(s[1] > 0 && s[2] > 0))
        st = hpt__fail(HPT_ERR_NUMERIC, "RV2: activations are constant over the images, or not finite");
    if (!st) *out = s[0] / sqrt(s[1]) / sqrt(s[2]);
    return st;
}

double hpt__error_iou(const int32_t *a, const int32_t *b, const int32_t *label, uint64_t n) {
    uint64_t both = 0, either = 0;
    for (uint64_t i = 0; i < n; i++) {
        int x = a[i] != label[i], y = b[i] != label[i];
        both += (uint64_t)(x && y);
        either += (uint64_t)(x || y);
    }
    return either ? (double)both / (double)either : 1;
}

/* lgamma() writes a variable of the whole process, signgam. */
static double log_gamma(double x) {
    int sign;
    return lgamma_r(x, &sign);
}
double hpt__incomplete_beta(double a, double b, double x) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    /* where the fraction converges fast */
    if (x > (a + 1) / (a + b + 2)) return 1 - hpt__incomplete_beta(b, a, 1 - x);
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 1000; m++) {
        double up[2] = {m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                        -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))}, delta = 1;
        for (int i = 0; i < 2; i++) {
            d = 1 + up[i] * d;
            c = 1 + up[i] / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            delta = c * d;
            f *= delta;
        }
        if (fabs(delta - 1) < 1e-16) break;
    }
    return exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x)) * f / a;
}

static void moments(const double *x, uint64_t n, double *mean, double *error) {
    double s = 0, ss = 0;
    for (uint64_t i = 0; i < n; i++) s += x[i];
    *mean = s / (double)n;
    for (uint64_t i = 0; i < n; i++) ss += (x[i] - *mean) * (x[i] - *mean);
    *error = ss / (double)(n - 1) / (double)n;
}
hpt_status hpt__welch(const double *a, uint64_t na, const double *b, uint64_t nb, double *t, double *dof, double *p) {
    double ma, mb, ea, eb;
    if (na < 2 || nb < 2) return hpt__fail(HPT_ERR_ARGUMENT, "Welch's test needs at least 2 values in each group");
    moments(a, na, &ma, &ea);
    moments(b, nb, &mb, &eb);
    if (!(ea + eb > 0))
        return hpt__fail(HPT_ERR_NUMERIC, "Welch's test: the values of both groups are all equal, or not finite");
    *t = (ma - mb) / sqrt(ea + eb);
    *dof = (ea + eb) * (ea + eb) / (ea * ea / (double)(na - 1) + eb * eb / (double)(nb - 1));
    *p = hpt__incomplete_beta(*dof / 2, 0.5, *dof / (*dof + *t * *t));
    return HPT_OK;
}

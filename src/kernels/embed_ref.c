/* SPDX-License-Identifier: MIT
 * Contract: embed.h. Plain loops in the order of the formulas, sums in double, written once for float and double
 * (real.h). Every backend is compared with it. */
#include "kernels/embed.h"
#include <math.h>
#include <string.h>

void REF(l2norm)(int n, int d, const real *x, real *y, real *norm) {
    for (int i = 0; i < n; i++, x += d, y += d) {
        double s = 0;
        for (int j = 0; j < d; j++) s += (double)x[j] * x[j];
        double len = sqrt(s);
        if (len < 1e-12) len = 1e-12;
        norm[i] = (real)len;
        for (int j = 0; j < d; j++) y[j] = (real)(x[j] / len);
    }
}

void REF(l2norm_backward)(int n, int d, const real *y, const real *norm, const real *dy, real *dx) {
    for (int i = 0; i < n; i++, y += d, dy += d, dx += d) {
        double s = 0;
        if (norm[i] > 1e-12)
            for (int j = 0; j < d; j++) s += (double)y[j] * dy[j];
        for (int j = 0; j < d; j++) dx[j] = (real)((dy[j] - y[j] * s) / norm[i]);
    }
}

static double length(int d, const real *x) {
    double s = 0;
    for (int j = 0; j < d; j++) s += (double)x[j] * x[j];
    return sqrt(s) > 1e-12 ? sqrt(s) : 1e-12;
}
void REF(unit)(int n, int d, const real *x, double scale, real *y) {
    for (int i = 0; i < n; i++, x += d, y += d) {
        double len = length(d, x);
        for (int j = 0; j < d; j++) y[j] = (real)(scale * x[j] / len);
    }
}
void REF(unit_backward)(int n, int d, const real *x, double scale, const real *dy, real *dx) {
    for (int i = 0; i < n; i++, x += d, dy += d, dx += d) {
        double s = 0, len = length(d, x);
        if (len > 1e-12)
            for (int j = 0; j < d; j++) s += x[j] / len * dy[j];
        for (int j = 0; j < d; j++) dx[j] = (real)(scale * (dy[j] - x[j] / len * s) / len);
    }
}

void REF(gather)(int n, size_t d, const real *in, const uint32_t *index, real *out) {
    for (int i = 0; i < n; i++) memcpy(out + i * d, in + index[i] * d, d * sizeof(real));
}

void REF(mix)(int n, size_t d, const real *x, const real *all, const hpt__pair *p, real *out) {
    real own = (real)*p->share, rest = (real)(1 - *p->share);
    for (int i = 0; i < n; i++) {
        const real *a = x + (size_t)i * d, *b = all + p->other[i] * d;
        real *y = out + (size_t)i * d;
        for (size_t j = 0; j < d; j++) {
            real first = own * a[j], second = rest * b[j];
            y[j] = first + second;
        }
    }
}

void REF(enqueue)(int n, int d, const real *keys, real *queue, int64_t q, const hpt__vars *v, const hpt__outcome *o) {
    for (int i = 0; i < n && !o->bad; i++)
        memcpy(queue + (v->ptr + i) % q * d, keys + (size_t)i * d, (size_t)d * sizeof(real));
}

double REF(spread)(int n, int d, const real *x) {
    double total = 0;
    for (int j = 0; j < d; j++) {
        double s = 0, ss = 0;
        for (int i = 0; i < n; i++) s += x[(size_t)i * d + j];
        for (int i = 0; i < n; i++) ss += (x[(size_t)i * d + j] - s / n) * (x[(size_t)i * d + j] - s / n);
        total += sqrt(ss / n);
    }
    return total / sqrt(d);
}

double REF(agree)(int n, int d, int images, const real *x, const real *y, real *dx) {
    double loss = 0;
    for (int i = 0; i < n; i++, x += d, y += d, dx += d) {
        double dot = 0;
        for (int j = 0; j < d; j++) {
            dot += (double)x[j] * y[j];
            dx[j] = (real)(-2.0 / images * y[j]);
        }
        loss += 2 - 2 * dot;
    }
    return loss / images;
}

void REF(relu_backward)(size_t n, const real *y, const real *dy, real *dx) {
    for (size_t i = 0; i < n; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

void REF(add_bias)(int n, int d, const real *b, int relu, real *y) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d; j++) {
            real v = y[(size_t)i * d + j] + (b ? b[j] : 0);
            y[(size_t)i * d + j] = relu && v < 0 ? 0 : v;
        }
}

void REF(sum_rows)(int n, int d, const real *x, real *out) {
    for (int j = 0; j < d; j++) {
        double s = 0;
        for (int i = 0; i < n; i++) s += x[(size_t)i * d + j];
        out[j] = (real)s;
    }
}

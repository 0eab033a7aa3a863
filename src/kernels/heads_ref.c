/* SPDX-License-Identifier: MIT
 * The losses of heads.h in plain loops: what every backend must give. Written once for float and double (real.h);
 * sums in double. */
#include "kernels/heads.h"
#include <math.h>

void REF(softmax_ce)(int n, int heads, int classes, real *logits, const int32_t *label, real *loss) {
    for (int i = 0; i < n; i++)
        for (int h = 0; h < heads; h++) {
            real *x = logits + ((size_t)i * (size_t)heads + (size_t)h) * (size_t)classes;
            double max = x[0], sum = 0;
            int y = label[i], ok = y >= 0 && y < classes;
            for (int c = 1; c < classes; c++)
                if (x[c] > max) max = x[c];
            for (int c = 0; c < classes; c++) sum += exp(x[c] - max);
            if (loss) loss[(size_t)i * (size_t)heads + (size_t)h] = (real)(ok ? max + log(sum) - x[y] : 0);
            for (int c = 0; c < classes; c++) x[c] = ok ? (real)((exp(x[c] - max) / sum - (c == y)) / n) : 0;
        }
}

void REF(bce)(int n, int heads, int classes, real *logits, const real *target, real *loss) {
    size_t cols = (size_t)heads * (size_t)classes;
    for (size_t i = 0; i < (size_t)n * cols; i++) {
        double x = logits[i], t = target[i / cols * (size_t)classes + i % (size_t)classes];
        if (loss) loss[i] = (real)((x > 0 ? x : 0) - x * t + log1p(exp(-fabs(x))));
        logits[i] = (real)((1 / (1 + exp(-x)) - t) / n / classes);
    }
}

void REF(classify)(int n, int classes, real *logits, const int32_t *label, const real *weight, double smoothing,
                   const hpt__pair *mix, hpt__outcome *o) {
    double loss = 0, all = 0;
    for (int c = 0; c < classes; c++) all += weight ? weight[c] : 1;
    o->top1 = o->top5 = 0;
    for (int i = 0; i < n; i++) {
        real *x = logits + (size_t)i * (size_t)classes;
        int y = label[i], z = mix ? mix->label[mix->other[i]] : y, above = 0;
        double share = mix ? *mix->share : 1;
        if (share < 0.5) {      /* y: of the larger share */
            int swap = y;
            y = z;
            z = swap;
            share = 1 - share;
        }
        double max = x[0], sum = 0, spread = smoothing / classes;
        double own = (1 - smoothing) * (weight ? weight[y] : 1) * share;
        double rest = mix ? (1 - smoothing) * (weight ? weight[z] : 1) * (1 - share) : 0;
        for (int c = 1; c < classes; c++)
            if (x[c] > max) max = x[c];
        for (int c = 0; c < classes; c++) {
            sum += exp(x[c] - max);
            above += x[c] > x[y];
        }
        double log_sum = max + log(sum), total = own + spread * all, mine = own * (log_sum - x[y]);
        if (mix) {
            total += rest;
            mine += rest * (log_sum - x[z]);
        }
        for (int c = 0; c < classes; c++) {
            double t = spread * (weight ? weight[c] : 1) + (c == y ? own : 0) + (c == z ? rest : 0);
            if (smoothing > 0) mine += spread * (weight ? weight[c] : 1) * (log_sum - x[c]);
            x[c] = (real)((exp(x[c] - max) / sum * total - t) / n);
        }
        loss += mine;
        o->top1 += above < 1;
        o->top5 += above < 5;
    }
    o->loss = loss / n;
}

void REF(entropy)(int n, int classes, real *logits, double scale, hpt__outcome *o) {
    const double e = 1e-5;
    double all = 0;
    for (int i = 0; i < n; i++) {
        real *x = logits + (size_t)i * (size_t)classes;
        double max = x[0], sum = 0, mean = 0, own = 0;
        for (int c = 1; c < classes; c++)
            if (x[c] > max) max = x[c];
        for (int c = 0; c < classes; c++) sum += exp(x[c] - max);
        for (int c = 0; c < classes; c++) {
            double p = exp(x[c] - max) / sum;
            own -= p * log(p + e);
            mean += p * (log(p + e) + p / (p + e));
        }
        for (int c = 0; c < classes; c++) {
            double p = exp(x[c] - max) / sum;
            x[c] = (real)(scale / n * p * (log(p + e) + p / (p + e) - mean));
        }
        all += own;
    }
    o->entropy = all / n;
}

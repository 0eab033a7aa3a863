/* SPDX-License-Identifier: MIT
 * Contract: infonce.h. The matrix of logits row by row, softmax with its maximum taken out, gradient beside it;
 * plain loops, sums in double, written once for float and double (real.h). */
#include "kernels/infonce.h"
#include <math.h>

static double dot(const real *a, const real *b, int d) {
    double s = 0;
    for (int i = 0; i < d; i++) s += (double)a[i] * (double)b[i];
    return s;
}

void REF(infonce)(int n, int d, int64_t queued, const real *q, const real *k, const real *queue, double tau,
                  double out[3], real *dq) {
    double loss = 0, top1 = 0, top5 = 0;
    for (int i = 0; i < n; i++) {
        const real *qi = q + (size_t)i * d, *ki = k + (size_t)i * d;
        double pos = dot(qi, ki, d) / tau, max = pos, sum = 0;
        int64_t above = 0;
        for (int64_t j = 0; j < queued; j++) {
            double s = dot(qi, queue + j * d, d) / tau;
            if (s > max) max = s;
            above += s > pos;
        }
        sum = exp(pos - max);
        for (int64_t j = 0; j < queued; j++) sum += exp(dot(qi, queue + j * d, d) / tau - max);
        loss += max + log(sum) - pos;
        top1 += above < 1;
        top5 += above < 5;
        double scale = 1 / (n * tau);
        for (int l = 0; l < d; l++) {
            double g = (exp(pos - max) / sum - 1) * ki[l];
            dq[(size_t)i * d + l] = (real)(g * scale);
        }
        for (int64_t j = 0; j < queued; j++) {
            double p = exp(dot(qi, queue + j * d, d) / tau - max) / sum * scale;
            for (int l = 0; l < d; l++) dq[(size_t)i * d + l] = (real)(dq[(size_t)i * d + l] + p * queue[j * d + l]);
        }
    }
    out[0] = loss / n;
    out[1] = top1;
    out[2] = top5;
}

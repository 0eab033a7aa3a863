/* SPDX-License-Identifier: MIT
 * Contract: infonce.h. One tile's share of the online log-sum-exp, for rows first..last-1:
 *   s (row pitch) holds logits of width keys, already divided by tau, and leaves as exp(s - max);
 *   max, sum, above and the rows of dq are carried from tile to tile. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <math.h>

void CPU(infonce_rows)(int first, int last, int d, int width, int pitch, float *s, float *max, double *sum,
                       double *above, const float *pos, float *dq) {
    for (int n = first; n < last; n++) {
        float *row = s + (size_t)n * pitch;
        int padded = (width + HPT__VB - 1) / HPT__VB * HPT__VB;
        for (int j = width; j < padded; j++) row[j] = -INFINITY;
        vf top = vec_set(max[n]), mine = vec_set(pos[n]);
        vi count = {0};
        for (int j = 0; j < padded; j += HPT__VB) {
            vf v = vec_loadu(row + j);
            top = vec_max(v, top);
            count -= v > mine;
        }
        float m = max[n];
        int64_t larger = 0;
        for (int l = 0; l < HPT__VB; l++) {
            if (top[l] > m) m = top[l];
            larger += count[l];
        }
        above[n] += (double)larger;
        if (m > max[n]) {
            float c = expf(max[n] - m);
            sum[n] *= c;
            for (int l = 0; l < d; l++) dq[(size_t)n * d + l] *= c;
            max[n] = m;
        }
        vf total = {0}, shift = vec_set(m);
        for (int j = 0; j < padded; j += HPT__VB) {
            vf e = vec_exp(vec_loadu(row + j) - shift);
            vec_storeu(row + j, e);
            total += e;
        }
        for (int j = width; j < padded; j++) row[j] = 0;
        double t = 0;
        for (int l = 0; l < HPT__VB; l++) t += total[l];
        sum[n] += t;
    }
}

/* SPDX-License-Identifier: MIT
 * Contract: rng.h. Philox4x32-10, and what is drawn from its words. Conversions are written out (no rand, no
 * distribution of the C library), so that every machine draws the same numbers. */
#include "core/rng.h"
#include <math.h>

void hpt__philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

/* Key = seed mixed with the purpose (splitmix64); counter = (block, b, a). */
void hpt__rng_init(hpt__rng *r, uint64_t seed, uint32_t purpose, uint64_t a, uint32_t b) {
    uint64_t z = seed + 0x9E3779B97F4A7C15u * (purpose + 1ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    r->key[0] = (uint32_t)z;
    r->key[1] = (uint32_t)(z >> 32);
    r->ctr[0] = 0;
    r->ctr[1] = b;
    r->ctr[2] = (uint32_t)a;
    r->ctr[3] = (uint32_t)(a >> 32);
    r->left = 0;
    r->has_spare = 0;
}

uint32_t hpt__rng_u32(hpt__rng *r) {
    if (!r->left) {
        hpt__philox(r->ctr, r->key, r->out);
        r->ctr[0]++;
        r->left = 4;
    }
    return r->out[4 - r->left--];
}

double hpt__rng_uniform(hpt__rng *r) { return hpt__rng_u32(r) * (1.0 / 4294967296.0); }
double hpt__rng_range(hpt__rng *r, double lo, double hi) { return lo + (hi - lo) * hpt__rng_uniform(r); }

uint32_t hpt__rng_below(hpt__rng *r, uint32_t n) {   /* Lemire 2019 */
    uint64_t m = (uint64_t)hpt__rng_u32(r) * n;
    if ((uint32_t)m < n)
        for (uint32_t t = (0u - n) % n; (uint32_t)m < t;) m = (uint64_t)hpt__rng_u32(r) * n;
    return (uint32_t)(m >> 32);
}

double hpt__rng_normal(hpt__rng *r) {
    if (r->has_spare) {
        r->has_spare = 0;
        return r->spare;
    }
    /* u in (0,1] */
    double u = (hpt__rng_u32(r) + 1.0) * (1.0 / 4294967296.0), v = 6.283185307179586 * hpt__rng_uniform(r);
    double length = sqrt(-2.0 * log(u));
    r->spare = length * sin(v);
    r->has_spare = 1;
    return length * cos(v);
}

/* Logarithm of a Gamma(a) variable: for a below 1 that of Gamma(a + 1) times uniform^(1/a), which as a number would be
 * 0 for small a. */
static double log_gamma_variable(hpt__rng *r, double a) {
    double scaled = a < 1 ? log(hpt__rng_uniform(r) + 0x1p-33) / a : 0, d = (a < 1 ? a + 1 : a) - 1.0 / 3;
    double c = 1 / sqrt(9 * d);
    for (;;) {
        double x = hpt__rng_normal(r), v = 1 + c * x, u = hpt__rng_uniform(r) + 0x1p-33;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) return scaled + log(d * v);
    }
}
double hpt__rng_beta(hpt__rng *r, double a) {
    double x = log_gamma_variable(r, a), y = log_gamma_variable(r, a);
    return 1 / (1 + exp(y - x));
}

void hpt__rng_permutation(hpt__rng *r, uint32_t *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) p[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = hpt__rng_below(r, i), t = p[i - 1];
        p[i - 1] = p[j];
        p[j] = t;
    }
}

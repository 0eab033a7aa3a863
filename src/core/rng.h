/* SPDX-License-Identifier: MIT
 * Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011). A draw depends on its key and counter alone, so
 * results do not depend on threads, workers or resume points. */
#ifndef HPT__RNG_H
#define HPT__RNG_H
#include <stdint.h>

/* What the numbers are for; part of the key, so that streams never meet. Never renumber: it would change every
 * result. */
enum { HPT__RNG_INIT = 1, HPT__RNG_QUEUE = 2, HPT__RNG_ORDER = 3, HPT__RNG_AUGMENT = 4, HPT__RNG_SHUFFLE = 5,
       HPT__RNG_SPLIT = 6, HPT__RNG_PROBE = 7, HPT__RNG_HEAD = 8, HPT__RNG_MIXUP = 9,
       HPT__RNG_DROP = 10 };

typedef struct hpt__rng {
    uint32_t key[2], ctr[4], out[4];
    int left, has_spare;
    double spare;
} hpt__rng;

/* A stream for (seed, purpose, a, b): a and b are, for instance, epoch and sample; 2^32 blocks of 4 draws each. */
void hpt__rng_init(hpt__rng *r, uint64_t seed, uint32_t purpose, uint64_t a, uint32_t b);
uint32_t hpt__rng_u32(hpt__rng *r);
double hpt__rng_uniform(hpt__rng *r);                       /* [0,1), 32 bits */
double hpt__rng_range(hpt__rng *r, double lo, double hi);
uint32_t hpt__rng_below(hpt__rng *r, uint32_t n);           /* 0..n-1, unbiased; n >= 1 */
double hpt__rng_normal(hpt__rng *r);                        /* Box-Muller; two values from two draws */
/* Beta(a, a), a > 0: the share of one of two Gamma(a) variables (Marsaglia and Tsang 2000), in [0,1]. */
double hpt__rng_beta(hpt__rng *r, double a);
void hpt__rng_permutation(hpt__rng *r, uint32_t *p, uint32_t n);
void hpt__philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);
#endif

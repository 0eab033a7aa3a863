/* SPDX-License-Identifier: MIT
 * The hash behind every made-up number: the same in C and in fixtures/make_fixtures.py, so that fixtures hold
 * results and no inputs. */
#include "inputs.h"
#include <string.h>

uint32_t hash_at(uint64_t i, uint64_t seed) {
    uint64_t x = i + seed * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((x ^ (x >> 31)) >> 32);
}
float value_at(uint64_t i, uint64_t seed) { return (float)((double)(hash_at(i, seed) >> 8) / (1 << 23) - 1); }
void fill_f32(float *x, size_t n, uint64_t seed, float scale, float shift) {
    for (size_t i = 0; i < n; i++) {
        float v = value_at(i, seed) * scale;
        x[i] = v + shift;
    }
}
void fill_f64(double *x, size_t n, uint64_t seed, float scale, float shift) {
    for (size_t i = 0; i < n; i++) {
        float v = value_at(i, seed) * scale;
        v = v + shift;
        x[i] = v;
    }
}
uint16_t round_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return f != f ? 0x7fff : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
float from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

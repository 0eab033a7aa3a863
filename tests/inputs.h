/* SPDX-License-Identifier: MIT
 * Numbers that every test and make_fixtures.py agree on; needs nothing but the C library, because tests on a GPU
 * machine have nothing else. */
#ifndef INPUTS_H
#define INPUTS_H
#include <stddef.h>
#include <stdint.h>
float value_at(uint64_t i, uint64_t seed);
uint32_t hash_at(uint64_t i, uint64_t seed);
void fill_f32(float *x, size_t n, uint64_t seed, float scale, float shift);
void fill_f64(double *x, size_t n, uint64_t seed, float scale, float shift);     /* the same float values */
uint16_t round_bf16(float f);       /* to nearest even */
float from_bf16(uint16_t h);
#endif

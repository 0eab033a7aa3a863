/* SPDX-License-Identifier: MIT
 * One function for each parser of untrusted bytes. libFuzzer drives them (make fuzz); `make check` replays the corpus through them. */
#ifndef FUZZ_TARGETS_H
#define FUZZ_TARGETS_H
#include <stddef.h>
#include <stdint.h>
void fuzz_image(const uint8_t *p, size_t n);
void fuzz_torch(const uint8_t *p, size_t n);            /* zip and legacy */
void fuzz_safetensors(const uint8_t *p, size_t n);
void fuzz_idx(const uint8_t *p, size_t n);
void fuzz_npz(const uint8_t *p, size_t n);
void fuzz_json(const uint8_t *p, size_t n);
void fuzz_mat(const uint8_t *p, size_t n);
#endif

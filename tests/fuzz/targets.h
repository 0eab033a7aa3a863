/* SPDX-License-Identifier: MIT
 * The parsers of untrusted bytes, one row each. libFuzzer drives them (make fuzz); `make check` replays the corpus
 * and the bombs of test_hostile.c through them. All measure: an input may cost 4 bytes of heap a byte, what it
 * declares (16 bytes a pixel; an array's own bytes; 160 an image that a list names), 1 MiB, and a second of
 * processor time up to 1 MB. */
#ifndef FUZZ_TARGETS_H
#define FUZZ_TARGETS_H
#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_target {
    const char *name;
    uint64_t (*run)(const uint8_t *p, size_t n);        /* gives the bytes that what the input declares may take */
} fuzz_target;
extern const fuzz_target fuzz_targets[];                /* ends with a row without a name */
const fuzz_target *fuzz_find(const char *name);         /* NULL: no such target */
/* Runs an input. Gives a line of text where it passed a limit, else NULL; name: of the input, for that line. */
const char *fuzz_measure(const fuzz_target *t, const char *name, const uint8_t *p, size_t n);
#endif

/* SPDX-License-Identifier: MIT
 * The parsers of untrusted bytes, one row each. libFuzzer drives them (make fuzz); `make check` replays the corpus through them. Both measure:
 * an input may cost 4 bytes of heap a byte, 16 a pixel that it declares, 1 MiB, and a second of processor time up to 1 MB. */
#ifndef FUZZ_TARGETS_H
#define FUZZ_TARGETS_H
#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_target {
    const char *name;
    uint64_t (*run)(const uint8_t *p, size_t n);        /* gives the bytes that what the input declares may take beside its own size */
} fuzz_target;
extern const fuzz_target fuzz_targets[];                /* ends with a row without a name */
const fuzz_target *fuzz_find(const char *name);         /* NULL: no such target */
/* Aborts with a line of text where a limit is passed; name: of the input, for that line. */
void fuzz_one(const fuzz_target *t, const char *name, const uint8_t *p, size_t n);
#endif

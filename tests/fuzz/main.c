/* SPDX-License-Identifier: MIT
 * The libFuzzer program of every target: it runs the one whose name the program has (build/fuzz/image). Files of more
 * than 64 KiB, mostly tensors or pixels, are changed at their beginning or end, where the structure is. */
#include "fuzz/targets.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned seed);

static const fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *slash = strrchr((*argv)[0], '/'), *name = slash ? slash + 1 : (*argv)[0];
    (void)argc;
    if ((target = fuzz_find(name))) return 0;
    fprintf(stderr, "%s: not the name of a target\n", name);
    exit(1);
}
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    const char *passed = fuzz_measure(target, "input", p, n);
    if (passed) {
        fprintf(stderr, "%s\n", passed);
        abort();
    }
    return 0;
}
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned seed) {
    const size_t window = 1 << 15;
    if (n <= 2 * window) return LLVMFuzzerMutate(p, n, most);
    LLVMFuzzerMutate(p + (seed % 3 ? 0 : n - window), window, window);
    return n;
}

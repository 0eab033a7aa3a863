/* SPDX-License-Identifier: MIT
 * A libFuzzer program for -DTARGET=fuzz_<parser>. */
#include "fuzz/targets.h"
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    TARGET(p, n);
    return 0;
}

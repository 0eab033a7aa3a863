/* SPDX-License-Identifier: MIT
 * Tests that type commands, as a user does: what came out on both streams, the exit status, and texts that a refusal
 * must hold. */
#ifndef SHELL_H
#define SHELL_H
#include "support.h"

#ifndef HPT_TEST_BIN
#define HPT_TEST_BIN "bin"
#define HPT_TEST_LIB "lib"
#endif
extern char output[1 << 20];                                        /* of the last command, both streams */
int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* exit status; 128 + the signal */
#define RUN(...)                                                                                                       \
    do {                                                                                                               \
        if (sh(__VA_ARGS__)) FAIL("command failed: %s", output);                                                       \
    } while (0)
/* The command must fail with this status and say this. */
#define REFUSED(status, text, ...)                                                                                     \
    do {                                                                                                               \
        int rc_ = sh(__VA_ARGS__);                                                                                     \
        if (rc_ != (status) || !strstr(output, text))                                                                  \
            FAIL("exit status %d, expected %d and '%s': %s", rc_, status, text, output);                               \
    } while (0)
char *read_text(const char *path);
char *stripes(const char *dir, int n); /* DIR/set: n PPM files in each of two class folders, columns and rows */
#endif

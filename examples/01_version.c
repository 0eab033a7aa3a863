/* SPDX-License-Identifier: MIT
 * 01: is the library there, and which backend does it choose? Introduces hpt_version_string, hpt_context_create,
 * hpt_last_error. */
#include <hpt.h>
#include <stdio.h>

int main(void) {
    hpt_context *ctx;
    char text[256];
    if (hpt_context_create(NULL, &ctx) || hpt_context_describe(ctx, text, sizeof text, NULL)) {
        fprintf(stderr, "%s\n", hpt_last_error());
        return 1;
    }
    printf("libhpt %s, backend %s\n", hpt_version_string(), text);
    hpt_context_destroy(ctx);
    return 0;
}

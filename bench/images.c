/* SPDX-License-Identifier: MIT
 * bench/images LIST SIZE ROUNDS - decode and augment on one core: every image of a list once (decoded, two full
 * MoCo-v2 views as 8-bit). Prints JSON: ms per image for decoding and plain crop, and for one view beyond decoding,
 * best round. */
#define _POSIX_C_SOURCE 200809L
#include "common.h"

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: images LIST SIZE ROUNDS\n"), 2;
    unsigned size = (unsigned)atoi(argv[2]);
    hpt_config *file, *cached;
    hpt_context *ctx;
    hpt_dataset *a, *b;
    hpt_dataset_info info = {.struct_size = sizeof info};
    ok(hpt_config_create(NULL, &file));
    ok(hpt_config_create(NULL, &cached));
    ok(hpt_config_set(file, "backend", "reference"));
    ok(hpt_config_set(file, "aug_hue", "0.1"));
    ok(hpt_config_set(cached, "aug_hue", "0.1"));
    ok(hpt_config_set(cached, "cache", "memory"));
    ok(hpt_context_create(file, &ctx));
    ok(hpt_dataset_open(ctx, file, argv[1], &a));
    ok(hpt_dataset_open(ctx, cached, argv[1], &b));
    ok(hpt_dataset_get_info(a, &info));
    unsigned char *rgb = malloc((size_t)size * size * 3);
    double whole = 1e9, view = 1e9;
    /* fills the cache */
    for (uint64_t i = 0; i < info.count; i++) ok(hpt_dataset_view(b, cached, i, 0, 0, size, rgb));
    for (int r = 0; r < atoi(argv[3]); r++) {
        double t0 = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        for (uint64_t i = 0; i < info.count; i++) ok(hpt_dataset_view(a, file, i, 0, (uint64_t)r, size, rgb));
        double t1 = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        for (uint64_t i = 0; i < info.count; i++) ok(hpt_dataset_view(b, cached, i, 1, (uint64_t)r, size, rgb));
        double t2 = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        if ((t1 - t0) / (double)info.count < whole) whole = (t1 - t0) / (double)info.count;
        if ((t2 - t1) / (double)info.count < view) view = (t2 - t1) / (double)info.count;
    }
    printf("{\"images\": %llu, \"decode_ms\": %.4f, \"view_ms\": %.4f}\n", (unsigned long long)info.count,
           whole - view, view);
    return 0;
}

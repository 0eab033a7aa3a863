/* SPDX-License-Identifier: MIT
 * What options are to a result, and the one hash of them that everything is kept under. Apart from options.c, for
 * programs that link no xxhash. */
#include "core/options.h"
#include <string.h>
#include <xxhash.h>

hpt__option_role hpt__options_role(int opt) {
    switch (opt) {
    case HPT__OPT_workers: case HPT__OPT_threads: case HPT__OPT_cache: case HPT__OPT_cache_mb:
    case HPT__OPT_plan_cache: case HPT__OPT_module_dir:
    case HPT__OPT_comm_timeout: case HPT__OPT_list_check: case HPT__OPT_work_file: case HPT__OPT_work_every:
    case HPT__OPT_search_dir:
    case HPT__OPT_search_save_every: case HPT__OPT_cuda_graph: case HPT__OPT_augment_on:
    case HPT__OPT_stats_file: case HPT__OPT_preset: return HPT__NEUTRAL;
    case HPT__OPT_on_nonfinite: case HPT__OPT_alarm: case HPT__OPT_carry_head: case HPT__OPT_classifier:
    case HPT__OPT_backbone_prefix: case HPT__OPT_unused: return HPT__POLICY;
    default: return HPT__DECIDES;
    }
}
uint64_t hpt__options_hash(const hpt__options *o, char stage, uint64_t seed) {
    char text[4100];
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        if (!hpt__options_applies(i, stage) || hpt__options_role(i) == HPT__NEUTRAL) continue;
        seed = XXH3_64bits_withSeed(hpt__options_key(i), strlen(hpt__options_key(i)) + 1, seed);
        hpt__options_get(o, hpt__options_key(i), text, sizeof text, NULL);
        seed = XXH3_64bits_withSeed(text, strlen(text) + 1, seed);
    }
    return seed;
}

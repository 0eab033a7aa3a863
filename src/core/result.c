/* SPDX-License-Identifier: MIT
 * Contract: result.h. Two counters for each thread: entries that were lost since ever, and those of them that
 * somebody has asked for. */
#include "core/result.h"

static _Thread_local uint64_t losses, told;

json_t *hpt__json_begin(void) {
    told = losses;
    return json_object();
}
int hpt__json_lost(void) {
    int was = losses != told;
    told = losses;
    return was;
}
uint64_t hpt__json_losses(void) { return losses; }
int hpt__json_keep(int failed) {
    losses += failed != 0;
    return failed;
}

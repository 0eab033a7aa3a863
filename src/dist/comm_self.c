/* SPDX-License-Identifier: MIT */
#include "dist/comm.h"
#include <string.h>

static hpt_status self_gather(hpt__comm *c, const void *part, void *all, size_t bytes) {
    (void)c;
    if (part != all) memcpy(all, part, bytes);
    return HPT_OK;
}
static hpt_status self_mean(hpt__comm *c, float *data, size_t count) { (void)c; (void)data; (void)count; return HPT_OK; }
static hpt_status self_broadcast(hpt__comm *c, void *data, size_t bytes, int root) { (void)c; (void)data; (void)bytes; (void)root; return HPT_OK; }
void hpt__comm_self(hpt__comm *c) { *c = (hpt__comm){"self", 0, 1, NULL, self_gather, self_mean, self_broadcast}; }

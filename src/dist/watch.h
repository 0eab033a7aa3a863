/* SPDX-License-Identifier: MIT
 * Notices that a rank is gone, whatever its communicator does: every rank holds a TCP connection to rank 0, which
 * the kernel closes when a process dies; rank 0 tells the others. A thread of its own listens, so that death is
 * known at once also in the middle of a collective call. Linked into each communicator's module. */
#ifndef HPT__WATCH_H
#define HPT__WATCH_H
#include "core/host.h"

typedef struct hpt__watch hpt__watch;
/* gather: all_gather of a small record of every rank, in host memory */
typedef hpt_status (*hpt__watch_gather)(void *user, const void *part, void *all, size_t bytes);
hpt_status hpt__watch_open(const hpt__host *host, int rank, int size, hpt__watch_gather gather, void *user,
                           hpt__watch **out);
/* The first rank that died, -1: none. left: instead, one that closed its context in order. */
int hpt__watch_dead(const hpt__watch *w);
int hpt__watch_left(const hpt__watch *w);
/* Another part of this process found that a rank is gone (or, rank = own, gives up): tell everybody. */
void hpt__watch_tell(hpt__watch *w, int rank);
void hpt__watch_close(hpt__watch *w);
#endif

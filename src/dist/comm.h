/* SPDX-License-Identifier: MIT
 * The communicator table: one rank today; NCCL and MPI fill the same slots. Counts are elements of real; all calls block. */
#ifndef HPT__COMM_H
#define HPT__COMM_H
#include "core/status.h"
typedef struct hpt__comm {
    const char *name;
    int rank, size;
    void *state;
    hpt_status (*all_gather)(struct hpt__comm *c, const void *part, void *all, size_t bytes);     /* all: size parts in rank order */
    hpt_status (*all_mean)(struct hpt__comm *c, float *data, size_t count);                       /* in place */
    hpt_status (*broadcast)(struct hpt__comm *c, void *data, size_t bytes, int root);
} hpt__comm;
void hpt__comm_self(hpt__comm *c);
#endif

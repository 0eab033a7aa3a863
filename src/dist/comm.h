/* SPDX-License-Identifier: MIT
 * The communicator table: self, mpi (module, memory of the host), nccl (in the cuda module, memory of the device,
 * calls are queued like its kernels). Every rank makes the same calls in the same order. A call that fails, or a
 * peer that is gone, ends the communicator: from then on every call returns HPT_ERR_PEER and names the rank. */
#ifndef HPT__COMM_H
#define HPT__COMM_H
#include "core/status.h"

typedef struct hpt__comm_spec {
    int rank, size;             /* mpi: from MPI */
    const char *id;             /* nccl: the text of rank 0's comm_id */
    /* seconds without progress of a collective call before the peers are given up; 0: for ever */
    double timeout;
} hpt__comm_spec;

typedef struct hpt__comm {
    const char *name;
    int rank, size;
    void *state;
    /* all: size parts in rank order */
    hpt_status (*all_gather)(struct hpt__comm *c, const void *part, void *all, size_t bytes);
    /* In place mean over ranks of float, or double values. start may return before it is done; wait finishes all
     * that were started. */
    hpt_status (*mean_start)(struct hpt__comm *c, void *data, size_t count, int is_double);
    hpt_status (*mean_wait)(struct hpt__comm *c);
    /* all_gather of host memory; blocks */
    hpt_status (*host_gather)(struct hpt__comm *c, const void *part, void *all, size_t bytes);
    /* For loops that wait: HPT_ERR_PEER if a rank is gone, or if waited (seconds) is more than the timeout. Does not
     * block. */
    hpt_status (*check)(struct hpt__comm *c, double waited);
    void (*close)(struct hpt__comm *c);
} hpt__comm;
void hpt__comm_self(hpt__comm *c);
#endif

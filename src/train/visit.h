/* SPDX-License-Identifier: MIT
 * What a piece of work consists of, said once: a list of named networks, arrays and numbers. One walk over it makes the
 * host's copy that a checkpoint is written from and read into, picks what another run carries over, finds a tensor by
 * name, and keeps work under way in a file. */
#ifndef HPT__VISIT_H
#define HPT__VISIT_H
#include "train/weights.h"

typedef struct hpt__state {
    enum {
        HPT__STATE_NETWORK,     /* weights, with gradients' moments if they train */
        HPT__STATE_ROWS,        /* real (n,d) on the device; (d,n) outside, as facebookresearch/moco has its queue */
        HPT__STATE_FLOATS,      /* (n) on the host */
        HPT__STATE_NUMBER,      /* 0 to below limit, always there */
        HPT__STATE_NOTE,        /* 0 to limit, which is also meant where a file has none */
        HPT__STATE_REAL,        /* may be NaN */
        HPT__STATE_LIST         /* a JSON array */
    } kind;
    const char *name;           /* in a file: "encoder_q.", "queue", "queue_ptr" */
    const char *prefix;         /* network: of its tensors in hpt_session_get_tensor(): "q." */
    hpt__weights *weights;
    void *rows;
    float *floats;
    int64_t n, d;
    int64_t *number;
    int64_t limit;
    double *real;
    struct json_t *list;
} hpt__state;
enum { HPT__STATES = 20 };

/* Where the arrays lie. */
typedef struct hpt__site { const hpt__backend *be; hpt__device *dev; hpt__dtype dtype; } hpt__site;

/* Networks, rows and numbers in plain order, in the host's memory: one entry for each item, NULL where it has none. */
typedef struct hpt__copy {
    hpt__state item[HPT__STATES];
    int n;
    hpt__site at;
    float *params[HPT__STATES], *stats[HPT__STATES], *moment1[HPT__STATES], *moment2[HPT__STATES], *rows[HPT__STATES];
    int64_t number[HPT__STATES];
} hpt__copy;
hpt_status hpt__copy_open(hpt__copy *c, hpt__site at, const hpt__state *item, int n);
void hpt__copy_close(hpt__copy *c);
hpt_status hpt__copy_take(hpt__copy *c);                            /* from the device */
hpt_status hpt__copy_give(const hpt__copy *c, const uint8_t *pick); /* to it: all, or the items that pick names */

/* A tensor by name: rows, or the rest of the name after a network's prefix, or after "grad." or "momentum." (of the
 * network that trains and has it). HPT_ERR_ARGUMENT: there is none, or count is not its size. */
hpt_status hpt__state_tensor(hpt__site at, const hpt__state *item, int n, const char *name, float *get,
                             const float *set, uint64_t count);

/* Work under way in a file (io/statefile.h), all items of it. path "": nothing is kept. HPT_END: nothing is there. */
hpt_status hpt__work_save(const char *path, uint64_t key, hpt__site at, const hpt__state *item, int n);
hpt_status hpt__work_load(const char *path, uint64_t key, hpt__site at, const hpt__state *item, int n);
#endif

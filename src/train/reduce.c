/* SPDX-License-Identifier: MIT
 * Starts a bucket when enough gradients are ready. A bucket holds what trains only: the gradients of the rest are
 * not computed. */
#include "train/reduce.h"

enum { BUCKET = 2 << 20 };      /* values: 8 MiB of float */

hpt__reduce hpt__reduce_begin(hpt__comm *comm, const hpt__weights *w, hpt__dtype t) {
    return (hpt__reduce){.comm = comm, .w = w, .dtype = t, .end = w->net->n_params};
}
static hpt_status start(hpt__reduce *b, size_t from) {
    size_t size = hpt__real_size(b->dtype);
    for (hpt__run r = {0}; hpt__weights_next_run(b->w, &r, 0);) {
        size_t lo = r.at > from ? r.at : from, hi = r.end < b->end ? r.end : b->end;
        if (r.group && lo < hi)
            HPT_TRY(b->comm->mean_start(b->comm, (char *)b->w->grad + lo * size, hi - lo, size == 8));
    }
    b->end = from;
    return HPT_OK;
}
void hpt__reduce_ready(void *reduce, size_t from) {
    hpt__reduce *b = reduce;
    if (!b->status && b->end - from >= BUCKET) b->status = start(b, from);
}
hpt_status hpt__reduce_rest(hpt__reduce *b) {
    HPT_TRY(b->status);
    return start(b, 0);
}

/* SPDX-License-Identifier: MIT
 * Walking a network's tensors in runs, so that an update of all parameters is one launch and one of a few is few. A
 * run is what lies side by side and shares its rule. */
#include "train/weights.h"

int hpt__weights_next_run(const hpt__weights *w, hpt__run *r, int each) {
    const hpt__net *net = w->net;
    while (r->next < net->n_tensors && hpt__is_stat(&net->tensors[r->next])) r->next++;
    if (r->next == net->n_tensors) return 0;
    r->first = &net->tensors[r->next];
    r->trains = w->trainable && w->trainable[r->next];
    r->at = r->first->offset;
    for (int n = 0; r->next < net->n_tensors; r->next++) {
        const hpt__tensor *t = &net->tensors[r->next];
        if (hpt__is_stat(t)) continue;
        if ((w->trainable && w->trainable[r->next]) != r->trains || (each && n++)) break;
        r->end = t->offset + (t->count + 15) / 16 * 16;
    }
    return 1;
}

/* SPDX-License-Identifier: MIT
 * Memory and copies of weights, and walking a network's tensors in runs, so that an update of all parameters is one
 * launch and one of a few is few. */
#include "train/weights.h"
#include "core/alloc.h"

enum { ZEROED_AT_ONCE = 1 << 24 };      /* bytes: a start may be cancelled, and new memory costs ms a MiB */

void *hpt__take(hpt__pool *p, size_t bytes, hpt_status *st) {
    if (*st) return NULL;
    if (p->n == p->room) {
        int room = p->room ? 2 * p->room : 32;
        void **more = hpt__realloc(p->taken, sizeof *more * (size_t)room);
        if (!more) {
            *st = hpt__fail_memory(sizeof *more * (size_t)room);
            return NULL;
        }
        p->taken = more;
        p->room = room;
    }
    p->be->device.enter(p->dev);
    char *x = p->be->memory.alloc(p->dev, bytes + 64);
    if (x) {
        p->taken[p->n++] = x;
        p->bytes += bytes;
        for (size_t at = 0, n; at < bytes + 64 && !*st; at += n) {
            n = bytes + 64 - at < ZEROED_AT_ONCE ? bytes + 64 - at : ZEROED_AT_ONCE;
            p->be->memory.zero(p->dev, x + at, n);
            *st = hpt__span_tick(0);
        }
    } else {
        size_t left = p->be->memory.left(p->dev);
        *st = left == SIZE_MAX
                  ? hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB for %s", bytes >> 20, p->of)
                  : hpt__fail(HPT_ERR_MEMORY, "out of device memory: %zu MiB for %s, %zu MiB free", bytes >> 20, p->of,
                              left >> 20);
    }
    p->be->device.leave(p->dev);
    return x;
}
void hpt__pool_free(hpt__pool *p) {
    if (p->n) p->be->device.enter(p->dev);
    for (int i = p->n; i-- > 0;) p->be->memory.free(p->dev, p->taken[i]);
    if (p->n) p->be->device.leave(p->dev);
    hpt__free(p->taken);
    p->taken = NULL;
    p->n = p->room = 0;
}

hpt_status hpt__weights_open(hpt__pool *p, hpt__dtype t, const hpt__net *net, hpt__weights *w) {
    hpt_status st = HPT_OK;
    *w = (hpt__weights){.net = net};
    w->params = hpt__take(p, net->n_params * hpt__real_size(t), &st);
    if (p->be->device.low_params(p->dev, t)) w->low = hpt__take(p, net->n_params * 2, &st);
    w->stats = hpt__take(p, hpt__weights_stat_bytes(w, t), &st);
    return st;
}
hpt_status hpt__weights_set(const hpt__pool *p, hpt__dtype t, const hpt__weights *w, const float *params,
                            const float *stats) {
    size_t n = w->net->n_params;
    p->be->device.enter(p->dev);
    hpt__weights_upload(p->be, p->dev, t, w->net, params, w->params, 0);
    if (stats) hpt__weights_upload(p->be, p->dev, t, w->net, stats, w->stats, 1);
    if (w->low && !w->ahead) p->be->params->lower(p->dev, 1, n, n, w->params, w->low);
    hpt_status st = p->be->queue.sync(p->dev);
    p->be->device.leave(p->dev);
    return st;
}
hpt_status hpt__weights_get(const hpt__pool *p, hpt__dtype t, const hpt__weights *w, float *params, float *stats) {
    p->be->device.enter(p->dev);
    if (params) hpt__weights_download(p->be, p->dev, t, w->net, hpt__weights_kept(w), params, 0);
    if (stats) hpt__weights_download(p->be, p->dev, t, w->net, w->stats, stats, 1);
    hpt_status st = p->be->queue.sync(p->dev);
    p->be->device.leave(p->dev);
    return st;
}

static int group_of(const hpt__weights *w, int i) { return w->trainable ? w->trainable[i] : 0; }

int hpt__weights_next_run(const hpt__weights *w, hpt__run *r, int each) {
    const hpt__net *net = w->net;
    while (r->next < net->n_tensors && hpt__is_stat(&net->tensors[r->next])) r->next++;
    if (r->next == net->n_tensors) return 0;
    r->first = &net->tensors[r->next];
    r->group = group_of(w, r->next);
    r->at = r->first->offset;
    for (int n = 0; r->next < net->n_tensors; r->next++) {
        const hpt__tensor *t = &net->tensors[r->next];
        if (hpt__is_stat(t)) continue;
        if (group_of(w, r->next) != r->group || (each && n++)) break;
        r->end = t->offset + (t->count + 15) / 16 * 16;
    }
    return 1;
}

/* SPDX-License-Identifier: MIT
 * On the host the views are read where they are. On a device they travel on a lane of their own, while the step
 * before still computes. */
#include "train/lane.h"

static size_t view_bytes(const hpt__trainer *t) {
    return (size_t)t->spec.batch * 12 * (size_t)t->spec.size * (size_t)t->spec.size;
}

hpt_status hpt__stage_views(hpt__trainer *t, const float *const *view, int later) {
    size_t bytes = view_bytes(t);
    t->staged = 1;
    t->raw[t->lane] = 0;
    for (int v = 0; v < t->method->views; v++) {
        t->source[v] = view[v];
        if (t->be->host_memory) continue;
        char *to = (char *)t->view[t->lane] + (size_t)v * bytes;
        t->be->device.enter(t->dev);
        if (later) t->be->queue.stage(t->dev, t->lane, to, view[v], bytes);
        else t->be->memory.upload(t->dev, to, view[v], bytes);
        t->be->device.leave(t->dev);
    }
    return HPT_OK;
}

/* A step may be under way: nothing here may wait for it (another rank may be gone, and only finish() notices), so
 * the old memory is freed after that step. */
static hpt_status grow(hpt__trainer *t, void **p, size_t *cap, size_t bytes) {
    if (bytes <= *cap) return HPT_OK;
    /* crops vary from batch to batch */
    void *more = t->n_retired < HPT__RETIRED ? t->be->memory.alloc(t->dev, 2 * bytes) : NULL;
    if (more) {
        if (*p) t->retired[t->n_retired++] = *p;
        *p = more;
        *cap = 2 * bytes;
        return HPT_OK;
    }
    return hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu MiB of the device for the images of a batch", bytes >> 20);
}

hpt_status hpt__stage_raw(hpt__trainer *t, const uint8_t *pixels, size_t bytes, const hpt__view *views,
                          const float *table) {
    int l = t->lane, n = t->method->views * t->spec.batch, taps = 3;
    for (int i = 0; i < n; i++)
        if (hpt__view_taps(views + i, t->spec.size) > taps) taps = hpt__view_taps(views + i, t->spec.size);
    t->be->device.enter(t->dev);
    hpt_status st = grow(t, &t->pixels[l], &t->pixels_cap[l], bytes);
    if (!st) st = grow(t, &t->augment_scratch, &t->augment_cap, t->be->views->scratch(t->dev, n, t->spec.size, taps));
    if (!st) {
        t->be->queue.stage(t->dev, l, t->pixels[l], pixels, bytes);
        t->be->queue.stage(t->dev, l, t->views[l], views, (size_t)n * sizeof *views);
        /* before the first step: nothing to wait for */
        if (!t->table_sent) t->be->memory.upload(t->dev, t->table, table, 3 * 256 * 4);
        t->table_sent = 1;
        t->views_taps[l] = taps;
        t->raw[l] = t->staged = 1;
    }
    t->be->device.leave(t->dev);
    return st;
}

hpt_status hpt__stage_wait(hpt__trainer *t) {
    if (t->be->host_memory) return HPT_OK;
    t->be->device.enter(t->dev);
    hpt_status st = t->be->queue.lane_wait(t->dev, t->lane);
    t->be->device.leave(t->dev);
    return st;
}

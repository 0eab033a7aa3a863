/* SPDX-License-Identifier: MIT
 * From below: a loader's batches, parts and steps. A loader is opened where the trainer is, so that a run that was
 * resumed, cancelled or fed by the host in between goes on with the images that it would have seen. */
#include "train/feed.h"
#include "core/progress.h"
#include "train/lane.h"
#include <string.h>

static void *pinned_alloc(void *user, size_t bytes) {
    hpt__trainer *t = user;
    t->be->device.enter(t->dev);
    void *p = t->be->queue.host_alloc(t->dev, bytes);
    t->be->device.leave(t->dev);
    return p;
}
static void pinned_free(void *user, void *p) {
    hpt__trainer *t = user;
    t->be->device.enter(t->dev);
    t->be->queue.host_free(t->dev, p);
    t->be->device.leave(t->dev);
}
/* A batch of the loader is a part of a step. */
static hpt_status open_loader(hpt__feed *f) {
    hpt__trainer *t = f->trainer;
    uint64_t parts = (uint64_t)hpt__trainer_parts(t);
    f->spec.first_step = t->step * parts + (uint64_t)t->part;
    f->spec.steps = t->spec.schedule.total * parts;
    if (!t->be->host_memory) {
        f->spec.alloc = pinned_alloc;
        f->spec.free = pinned_free;
        f->spec.user = t;
    }
    return hpt__loader_create(&f->spec, &f->loader);
}
void hpt__feed_close(hpt__feed *f) {
    if (!f->trainer) return;
    f->prefetched = f->trainer->staged = 0;
    hpt__loader_destroy(f->loader);
    f->loader = NULL;
}

/* The loader's next batch becomes the next part's. */
static hpt_status next_batch(hpt__feed *f) {
    hpt__trainer *t = f->trainer;
    hpt__batch b;
    hpt_status st = f->loader ? HPT_OK : open_loader(f);
    if (!st) st = hpt__loader_next(f->loader, &b, &f->ahead);
    if (!st)
        st = b.views ? hpt__stage_raw(t, b.pixels, b.bytes, b.views, b.table)
                     : hpt__stage_views(t, b.view, !t->be->host_memory);
    if (!st && f->truth) f->truth(f->user, t, b.index);
    /* the copy may overlap with a step under way, but ends before the loader refills its memory */
    if (!st) st = hpt__stage_wait(t);
    return st;
}

/* Launch, and while a device computes the images of the part after it. */
static hpt_status make_part(hpt__feed *f, int ahead, int advance, hpt__step_result *out) {
    hpt__trainer *t = f->trainer;
    int failed = 0, last = t->step + 1 >= t->spec.schedule.total && t->part + 1 == hpt__trainer_parts(t);
    HPT_TRY(hpt__trainer_launch(t));
    if (ahead && !t->be->host_memory && !last) {
        f->prefetched = next_batch(f) == HPT_OK;        /* a bad image is reported by the step that needs it */
        failed = !f->prefetched;
    }
    hpt_status st = hpt__trainer_finish(t, advance, out);
    if (failed && !st) hpt__feed_close(f);
    return st;
}

/* Does the host want an end before the next part? One rank alone may leave a step. */
static hpt_status between_parts(const hpt__trainer *t) {
    return t->part && t->comm->size == 1 ? hpt__span_tick(0) : HPT_OK;
}

hpt_status hpt__feed_step(hpt__feed *f, int advance, hpt__step_result *out) {
    hpt__trainer *t = f->trainer;
    hpt_status st;
    f->wait = 0;
    do {
        st = f->prefetched ? HPT_OK : next_batch(f);
        if (st < 0) hpt__feed_close(f);
        f->wait += f->ahead;
        f->prefetched = 0;
        if (!st) st = make_part(f, 1, advance, out);
        if (!st) st = between_parts(t);
    } while (!st && t->part);
    if (st && t->part) hpt__feed_close(f);      /* the step begins anew, with the images of its first part */
    if (st) hpt__trainer_abandon(t);
    return st;
}

hpt_status hpt__feed_given(hpt__feed *f, const float *const *view, const int32_t *label, int advance,
                           hpt__step_result *out) {
    hpt__trainer *t = f->trainer;
    size_t n = (size_t)t->spec.batch, floats = n * 3 * (size_t)t->spec.size * (size_t)t->spec.size;
    const float *part[HPT__VIEWS];
    hpt_status st;
    hpt__feed_close(f);
    f->wait = 0;
    do {
        for (int v = 0; v < t->method->views; v++) part[v] = view[v] + (size_t)t->part * floats;
        if (label) memcpy(t->label, label + (size_t)t->part * n, sizeof *label * n);
        st = hpt__stage_views(t, part, 0);
        if (!st) st = make_part(f, 0, advance, out);
        if (!st) st = between_parts(t);
    } while (!st && t->part);
    if (st) hpt__trainer_abandon(t);
    return st;
}

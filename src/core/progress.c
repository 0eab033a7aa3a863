/* SPDX-License-Identifier: MIT
 * Contract: progress.h. Spans of a thread form a list on its stack; the thread's innermost one is remembered, so
 * that code which knows no context can count pieces and ask whether to go on. */
#include "core/progress.h"
#include "core/clock.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { EVERY_MS = 100 };
static _Thread_local hpt__span *innermost;

/* The innermost span of this thread on this watch below s; NULL: none. */
static hpt__span *on(hpt__span *s, const hpt__watch *w) {
    while (s && s->watch != w) s = s->outer;
    return s;
}

static void tell(hpt__span *s, hpt_progress_fn fn, double now) {
    hpt_progress p;
    uint64_t here = s->done - s->first;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.phase = s->phase;
    p.done = s->done;
    p.total = s->total;
    p.seconds_left = s->total && here ? (now - s->begin) / 1000 * (double)(s->total - s->done) / (double)here : NAN;
    if (s->total && s->done >= s->total) p.seconds_left = 0;
    p.score = s->score;
    snprintf(p.name, sizeof p.name, "%s", s->name);
    s->told = now;
    s->shown = 1;
    if (fn(s->watch->user, &p)) s->stop = 1;
}

void hpt__span_begin(hpt__watch *w, hpt__span *s, int32_t phase, uint64_t first, uint64_t total, const char *name,
                     ...) {
    const hpt__span *outer = on(innermost, w);
    va_list ap;
    *s = (hpt__span){.outer = innermost, .watch = w, .phase = phase, .first = first, .done = first, .total = total,
                     .begin = hpt__now_ms(), .score = NAN};
    s->heard = outer ? outer->heard : w->heard;
    s->told = outer ? outer->told : s->begin - EVERY_MS;
    s->stop = outer && outer->stop;
    va_start(ap, name);
    vsnprintf(s->name, sizeof s->name, name, ap);
    va_end(ap);
    innermost = s;
}

void hpt__span_end(hpt__span *s) {
    hpt__span *outer = on(s->outer, s->watch);
    hpt_progress_fn fn = s->watch->fn;
    if (fn && s->shown && !s->stop && s->total && s->done >= s->total) tell(s, fn, hpt__now_ms());
    innermost = s->outer;
    if (outer) {
        outer->told = s->told;
        outer->stop |= s->stop;
    } else s->watch->heard = s->watch->cancels;
}

hpt_status hpt__watch_poll(hpt__watch *w) {
    hpt__span *s = w ? on(innermost, w) : NULL;
    if (!s) return HPT_OK;
    hpt_progress_fn fn = w->fn;
    if (w->cancels != s->heard) s->stop = 1;
    int look = w->owner && !w->busy.told;
    if (!s->stop && (fn || look)) {
        double now = hpt__now_ms();
        if (look) hpt__busy_look(w->owner, &w->busy, now);
        if (fn && now - s->told >= EVERY_MS) tell(s, fn, now);
    }
    return s->stop ? hpt__fail(HPT_ERR_CANCELLED, "cancelled: %s", s->name) : HPT_OK;
}

hpt_status hpt__span_tick(uint64_t pieces) {
    if (!innermost) return HPT_OK;
    innermost->done += pieces;
    return hpt__watch_poll(innermost->watch);
}

hpt_status hpt__span_at(hpt__span *s, uint64_t done) {
    s->done = done;
    if (s->watch->often) s->told = 0;
    return hpt__watch_poll(s->watch);
}

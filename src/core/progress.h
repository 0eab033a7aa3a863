/* SPDX-License-Identifier: MIT
 * How far a call has come, told to the host, and whether it shall stop: hpt_context_set_progress(),
 * hpt_context_cancel(). A piece of work that may take more than a second is a span; spans lie inside each other on
 * the stack of the thread that called the library. At least ten times a second it says how far it is (hpt__span_at)
 * or asks whether to go on (hpt__watch_poll); both cost a clock reading. What comes back is HPT_ERR_CANCELLED once
 * the host wants an end, and again at every question until the outermost span is over. */
#ifndef HPT__PROGRESS_H
#define HPT__PROGRESS_H
#include "core/busy.h"
#include "core/status.h"

/* Of a context; calls of several threads may be under way on it. */
typedef struct hpt__watch {
    _Atomic(hpt_progress_fn) fn;
    void *_Atomic user;
    int often;                          /* fn is called at every hpt__span_at, not ten times a second (recipes) */
    _Atomic uint32_t cancels, heard;    /* asked for by any thread; of those, what a call has come back for */
    struct hpt_context *owner;          /* whose log hears if the machine is busy; NULL: a device does the work */
    hpt__busy busy;
} hpt__watch;

typedef struct hpt__span {
    struct hpt__span *outer;            /* of this thread, perhaps of another context */
    hpt__watch *watch;
    int32_t phase;                      /* HPT_PHASE_* */
    int shown, stop;                    /* the host has heard of it; wants an end */
    uint32_t heard;                     /* watch->heard when the outermost began */
    uint64_t first, done, total;        /* first: done before it began (a resumed run); total 0: not known */
    double begin, told, score;          /* ms; ms, when the host was told last; the best score so far, NaN without */
    char name[64];
} hpt__span;

void hpt__span_begin(hpt__watch *w, hpt__span *s, int32_t phase, uint64_t first, uint64_t total, const char *name, ...)
    __attribute__((format(printf, 6, 7)));
hpt_status hpt__span_at(hpt__span *s, uint64_t done);
void hpt__span_end(hpt__span *s);                       /* every span that began, also after an error */
/* From here to the end of the block: a call that is made of several spans. */
#define HPT__SPAN(watch, phase, name) \
    __attribute__((cleanup(hpt__span_end), unused)) hpt__span hpt__whole; \
    hpt__span_begin(watch, &hpt__whole, phase, 0, 0, name)
/* One more piece of whatever this thread is doing; for code that knows no context. HPT_OK outside of spans. */
hpt_status hpt__span_tick(uint64_t pieces);
hpt_status hpt__watch_poll(hpt__watch *w);        /* w NULL, or no span under way on this thread: nobody watches */
#endif

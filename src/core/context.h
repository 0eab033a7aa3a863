/* SPDX-License-Identifier: MIT
 * The object behind hpt_context, as the layers above the backends see it: the device, the communicator, threads, the
 * log, who watches, and whose turn it is. */
#ifndef HPT__CONTEXT_H
#define HPT__CONTEXT_H
#include "core/handle.h"
#include "core/progress.h"
#include "core/turn.h"
#include <stdio.h>

enum { HPT__FALLBACK = 700 };
struct hpt__backend;
struct hpt__device;
struct hpt__comm;
struct hpt_context {
    hpt__handle handle;
    const struct hpt__backend *be;
    struct hpt__device *dev;
    void *module, *comm_module;
    struct hpt__comm *comm;
    int threads, asked;     /* compute threads; as option threads says, 0: as many as there are processors */
    char fallback[HPT__FALLBACK];   /* why the reference backend stands in for another; "" if it does not */
    int told;               /* the log has it */
    pthread_mutex_t log_lock;
    hpt_log_fn log;
    void *log_user;
    hpt__turn turn;         /* of the calls that use the device */
    hpt__watch watch;       /* how far they have come, and whether they shall stop */
};
void hpt__log(hpt_context *ctx, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* HPT__TURN(ctx): from here to the end of the block this thread has the context's turn. */
static inline void hpt__turn_end(hpt_context **ctx) { hpt__turn_give(&(*ctx)->turn); }
static inline hpt_context *hpt__turn_begin(hpt_context *ctx) {
    hpt__turn_take(&ctx->turn);
    return ctx;
}
#define HPT__TURN(context) __attribute__((cleanup(hpt__turn_end), unused)) hpt_context *hpt__turn_held \
    = hpt__turn_begin(context)
/* Between two pieces of a long evaluation, where the device rests: hpt__span_at(), and others may have their turn. */
hpt_status hpt__between(hpt_context *ctx, hpt__span *s, uint64_t done);
#endif

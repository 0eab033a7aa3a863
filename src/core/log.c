/* SPDX-License-Identifier: MIT
 * What the host's log hears: one line, formatted without a locale, to the function that hpt_context_set_log() was
 * given. The library prints nothing itself. */
#include "core/context.h"
#include "core/number.h"
#include <stdarg.h>

void hpt__log(hpt_context *ctx, int level, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    pthread_mutex_lock(&ctx->log_lock);
    hpt_log_fn log = ctx->log;
    void *user = ctx->log_user;
    pthread_mutex_unlock(&ctx->log_lock);
    if (!log) return;
    va_start(ap, fmt);
    hpt__vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    log(user, level, text);
}

hpt_status hpt__between(hpt_context *ctx, hpt__span *s, uint64_t done) {
    hpt__turn_yield(&ctx->turn);
    return hpt__span_at(s, done);
}

/* SPDX-License-Identifier: MIT */
#include "core/context.h"
#include "core/number.h"
#include <stdarg.h>

void hpt__log(hpt_context *ctx, int level, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    if (!ctx->log) return;
    va_start(ap, fmt);
    hpt__vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    ctx->log(ctx->log_user, level, text);
}

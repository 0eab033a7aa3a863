/* SPDX-License-Identifier: MIT
 * Contract: status.h. The text of the last failure on each thread, cut at 1 KiB and free of control characters, and
 * the names of the statuses. */
#include "core/status.h"
#include "core/number.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char text[1024];

hpt_status hpt__fail(hpt_status status, const char *fmt, ...) {
    char fresh[sizeof text];   /* the arguments may point into the old text */
    va_list ap;
    va_start(ap, fmt);
    hpt__vformat(fresh, sizeof fresh, fmt, ap);
    va_end(ap);
    for (char *p = fresh; *p; p++)
        if ((unsigned char)*p < 32) *p = ' ';   /* one line, whatever a hostile file called its tensors */
    memcpy(text, fresh, sizeof text);
    return status;
}

hpt_status hpt__fail_memory(size_t bytes) {
    return hpt__fail(HPT_ERR_MEMORY, "out of memory: %zu bytes were asked for", bytes);
}

hpt_status hpt__fail_context(hpt_status status, const char *fmt, ...) {
    char what[512], old[sizeof text];
    va_list ap;
    va_start(ap, fmt);
    hpt__vformat(what, sizeof what, fmt, ap);
    va_end(ap);
    memcpy(old, text, sizeof old);
    return hpt__fail(status, "%s: %s", what, old);
}

const char *hpt__error_text(void) { return text; }

const char *hpt_last_error(void) { return text; }

const char *hpt_status_name(hpt_status s) {
    static const char *const names[] = {
        "HPT_OK", "HPT_ERR_ARGUMENT", "HPT_ERR_STATE", "HPT_ERR_MEMORY", "HPT_ERR_IO", "HPT_ERR_FORMAT",
            "HPT_ERR_MISMATCH",
        "HPT_ERR_UNSUPPORTED", "HPT_ERR_UNAVAILABLE", "HPT_ERR_DATA", "HPT_ERR_NUMERIC", "HPT_ERR_CANCELLED",
        "HPT_ERR_FORKED", "HPT_ERR_PEER", "HPT_ERR_VERSION", "HPT_ERR_DEVICE", "HPT_ERR_INTERNAL", "HPT_ERR_OPTION"};
    _Static_assert(sizeof names / sizeof *names == 1 - HPT_ERR_OPTION, "a name for each status");
    if (s == HPT_END) return "HPT_END";
    if (s > 0 || -(int64_t)s >= (int64_t)(sizeof names / sizeof *names)) return "HPT_ERR_?";
    return names[-s];
}

/* SPDX-License-Identifier: MIT
 * The object behind hpt_context, as the layers above the backends see it. */
#ifndef HPT__CONTEXT_H
#define HPT__CONTEXT_H
#include "core/handle.h"
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
    int threads;
    char fallback[HPT__FALLBACK];   /* why the reference backend stands in for another; "" if it does not */
    int told;               /* the log has it */
    hpt_log_fn log;
    void *log_user;
};
void hpt__log(hpt_context *ctx, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#endif

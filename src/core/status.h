/* SPDX-License-Identifier: MIT
 * Status codes and the thread-local error text. Set the text where the fault is found; pass the code up unchanged.
 * HPT_TRY returns from a function that met one. */
#ifndef HPT__STATUS_H
#define HPT__STATUS_H
#include "hpt.h"

/* Sets this thread's error text (cut at 1 KiB) and returns status. */
hpt_status hpt__fail(hpt_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Out of memory: needs no memory itself. */
hpt_status hpt__fail_memory(size_t bytes);
/* Puts "what: " before the present text. */
hpt_status hpt__fail_context(hpt_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *hpt__error_text(void);

#define HPT_TRY(call) do { hpt_status hpt__st_ = (call); if (hpt__st_ < 0) return hpt__st_; } while (0)
#define HPT_TRY_GOTO(st, call, label) do { (st) = (call); if ((st) < 0) goto label; } while (0)
#endif

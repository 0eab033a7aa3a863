/* SPDX-License-Identifier: MIT
 * What a module may use of the library; modules link to nothing of it. So a module is opened and closed as a file,
 * whatever program the library itself lies in. */
#ifndef HPT__HOST_H
#define HPT__HOST_H
#include "hpt.h"
typedef struct hpt__host {
    hpt_status (*fail)(hpt_status status, const char *fmt, ...);
    void *(*alloc)(size_t bytes);       /* 64-byte aligned */
    void (*free)(void *p);
} hpt__host;
#endif

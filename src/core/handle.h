/* SPDX-License-Identifier: MIT
 * Public handles: a reference count, a kind, and a table of live handles, so that NULL, wrong, destroyed and
 * inherited (fork) handles give a status. The object embeds hpt__handle as its first member. */
#ifndef HPT__HANDLE_H
#define HPT__HANDLE_H
#include "core/status.h"
#include <stdatomic.h>

enum { HPT__KIND_CONFIG = 1, HPT__KIND_CONTEXT, HPT__KIND_DATASET, HPT__KIND_MODEL, HPT__KIND_SESSION,
       HPT__KIND_RESULT, HPT__KIND_RECIPE, HPT__KINDS };

typedef struct hpt__handle {
    _Atomic int refs;
    int kind, pid;
    void (*free)(void *object);
} hpt__handle;

/* Registers a new object with one reference, that of the caller. On failure the object is not freed. */
hpt_status hpt__handle_open(void *object, int kind, void (*free)(void *object));
/* HPT_OK if h is a live handle of this kind made by this process. */
hpt_status hpt__handle_check(const void *h, int kind, const char *argument);
/* The same, and a reference for the time of a call: another thread may then destroy the handle meanwhile. argument
 * NULL: no error text. */
hpt_status hpt__handle_hold(const void *h, int kind, const char *argument);
/* Ends the caller's handle: it leaves the table and loses its reference. After a fork the child's copy only leaves
 * the table: what it holds (threads, a device) belongs to the parent. */
void hpt__handle_close(void *h, int kind);
void hpt__retain(void *object);
void hpt__release(void *object);        /* frees at zero; NULL is fine */
static inline void hpt__drop(void *held) { hpt__release(*(void **)held); }
#endif

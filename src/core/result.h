/* SPDX-License-Identifier: MIT
 * For files that fill results. jansson's calls fail where memory does not suffice, one by one and mostly unread, and
 * a result would lose entries without a word. Here each failure is remembered for the thread until hpt__json_lost()
 * asks: whoever hands a result on asks, and gives HPT_ERR_MEMORY instead. */
#ifndef HPT__RESULT_H
#define HPT__RESULT_H
#include "core/json.h"
#include <stdint.h>

json_t *hpt__json_begin(void);      /* an object for a result; what was lost before is forgotten */
int hpt__json_lost(void);           /* 1 if an entry was lost since; forgets it */
uint64_t hpt__json_losses(void);    /* of this thread, ever: for results that are made of others */
int hpt__json_keep(int failed);     /* remembers, and gives failed back */

#define json_object_set_new(o, key, v) hpt__json_keep((json_object_set_new)((o), (key), (v)))
#define json_object_set(o, key, v) hpt__json_keep((json_object_set)((o), (key), (v)))
#define json_object_update(o, other) hpt__json_keep((json_object_update)((o), (other)))
#define json_array_append_new(a, v) hpt__json_keep((json_array_append_new)((a), (v)))
#define json_array_append(a, v) hpt__json_keep((json_array_append)((a), (v)))
#define json_array_extend(a, other) hpt__json_keep((json_array_extend)((a), (other)))
#endif

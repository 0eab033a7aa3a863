/* SPDX-License-Identifier: MIT
 * Arrays and a line of text of work that is under way, so that it can go on after an interruption: one file,
 * replaced atomically, with a key of what it belongs to and a checksum. Not for exchange: same machine, same build. */
#ifndef HPT__STATEFILE_H
#define HPT__STATEFILE_H
#include "core/status.h"

typedef struct hpt__state_part { void *p; size_t bytes; } hpt__state_part;
hpt_status hpt__state_save(const char *path, uint64_t key, const char *text, const hpt__state_part *part, int n);
/* HPT_END: no such file, or one of other work, or damaged: nothing was changed. HPT_ERR_IO: there, and cannot be
 * read. text: free with hpt__free. */
hpt_status hpt__state_load(const char *path, uint64_t key, char **text, const hpt__state_part *part, int n);
#endif

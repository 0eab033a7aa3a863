/* SPDX-License-Identifier: MIT
 * INI text of any line length: [section], then key = value (or key: value); # and ; begin a comment in a line of its
 * own, a blank and ; one behind a value. An indented line goes on with the value before, after one blank. Values and
 * keys are trimmed. */
#ifndef HPT__INI_H
#define HPT__INI_H
#include "core/status.h"

typedef struct hpt__ini_line {
    const char *section, *key, *value;      /* key NULL: the section begins; section NULL: none has begun */
    int line;                               /* of the key, from 1 */
} hpt__ini_line;
typedef hpt_status (*hpt__ini_fn)(void *user, const hpt__ini_line *l);

/* Calls fn for each section and each key, until it fails. text[n] must be writable; text is changed. file is for
 * errors (HPT_ERR_FORMAT). */
hpt_status hpt__ini_read(char *text, size_t n, const char *file, hpt__ini_fn fn, void *user);
#endif

/* SPDX-License-Identifier: MIT
 * JSON one token at a time, for annotation files of hundreds of megabytes: nothing is built, the file is read in
 * blocks, depth is limited. */
#ifndef HPT__JSONSCAN_H
#define HPT__JSONSCAN_H
#include "core/status.h"

typedef enum hpt__jtoken { HPT__J_ERROR, HPT__J_END, HPT__J_OBJECT, HPT__J_END_OBJECT, HPT__J_ARRAY, HPT__J_END_ARRAY,
                           HPT__J_KEY, HPT__J_STRING, HPT__J_NUMBER, HPT__J_WORD } hpt__jtoken;

enum { HPT__J_DEPTH = 64, HPT__J_TEXT = 1024 };
typedef struct hpt__jscan {
    const uint8_t *p, *begin, *end;
    uint8_t *block;                 /* of the file, or NULL: all is in memory */
    uint64_t before;                /* bytes of the file that stood before begin */
    int fd;
    hpt_status failed;              /* reading: HPT_ERR_IO, and the error text says why */
    int depth, want;                /* want: what the grammar allows next */
    uint8_t in_object[HPT__J_DEPTH];
    char text[HPT__J_TEXT];         /* key or string, UTF-8, cut; number or word as written */
    char *whole;                    /* the last string of hpt__jscan_string, whole_n bytes and a 0 */
    size_t whole_n, whole_cap;
    int keeps;                      /* strings go to whole, too */
    double number;
} hpt__jscan;

hpt_status hpt__jscan_open(hpt__jscan *s, const char *path);
void hpt__jscan_memory(hpt__jscan *s, const void *p, size_t n);
void hpt__jscan_close(hpt__jscan *s);
/* The next token. HPT__J_ERROR: not JSON; it stays so. */
hpt__jtoken hpt__jscan_next(hpt__jscan *s);
/* As hpt__jscan_next, and a string is in s->whole, however long it is. Out of memory: HPT__J_ERROR, failed is set. */
hpt__jtoken hpt__jscan_string(hpt__jscan *s);
/* What the next value will be, by its first character, without reading it; HPT__J_ERROR also at an end. */
hpt__jtoken hpt__jscan_peek(hpt__jscan *s);
/* Passes over the value that begins next (after a key, or an element). 0: not JSON. */
int hpt__jscan_skip(hpt__jscan *s);
uint64_t hpt__jscan_at(const hpt__jscan *s);    /* offset, for error texts */
#endif

/* SPDX-License-Identifier: MIT
 * Bytes of the heap that a piece of work holds at most, whoever asks for them: the library, zlib, the image
 * libraries. */
#ifndef HEAP_H
#define HEAP_H
#include <stddef.h>

void heap_begin(void);          /* from now on */
size_t heap_peak(void);         /* the most since heap_begin(), above what was held then; all threads together */
#endif

/* SPDX-License-Identifier: MIT
 * Arrays of pixels and labels from IDX (plain or gzip) and npz files, under hard limits. */
#ifndef HPT__ARRAYS_H
#define HPT__ARRAYS_H
#include "io/file.h"

typedef struct hpt__array { uint8_t *p; int ndim; uint64_t shape[4], count; char type; } hpt__array;   /* type: 'u' uint8, 'i' int64 */
hpt_status hpt__idx_read(const char *path, hpt__array *out);
hpt_status hpt__idx_parse(const uint8_t *p, size_t n, hpt__array *out);
/* Array called name (without .npy). found may be NULL (then missing is an error). Integer arrays of any width come as int64 if ints. */
hpt_status hpt__npz_read(const char *path, const char *name, int ints, hpt__array *out, int *found);
hpt_status hpt__npz_parse(const uint8_t *p, size_t n, const char *name, int ints, hpt__array *out, int *found);
void hpt__array_free(hpt__array *a);
#endif

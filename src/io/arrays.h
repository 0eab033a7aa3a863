/* SPDX-License-Identifier: MIT
 * Arrays of pixels and labels from IDX (plain or gzip), npy and npz files, under hard limits: nothing is inflated or
 * allocated before the header and the size of the file allow it. */
#ifndef HPT__ARRAYS_H
#define HPT__ARRAYS_H
#include "io/file.h"

/* In C order. type: 'u' bytes (images), 'i' int64 (labels). note: what was done to the values, or, of an array that
 * is not there, which are. */
typedef struct hpt__array { uint8_t *p; int ndim; uint64_t shape[4], count; char type, note[320]; } hpt__array;
hpt_status hpt__idx_read(const char *path, hpt__array *out);
hpt_status hpt__idx_parse(const uint8_t *p, size_t n, hpt__array *out);
/* Array called name (without .npy); ints: labels, which come as int64 from integers, booleans and whole floats; else
 * images, as bytes: from bytes, booleans (255), integers 0..255, floats 0..1 (times 255) or 0..255 (rounded). found
 * may be NULL (then missing is an error). */
hpt_status hpt__npz_read(const char *path, const char *name, int ints, hpt__array *out, int *found);
hpt_status hpt__npz_parse(const uint8_t *p, size_t n, const char *name, int ints, hpt__array *out, int *found);
hpt_status hpt__npy_read(const char *path, int ints, hpt__array *out);
hpt_status hpt__npy_parse(const uint8_t *p, size_t n, int ints, hpt__array *out);
/* Axis d becomes what axes[d] was. */
hpt_status hpt__array_permute(hpt__array *a, const int axes[4]);
/* The labels that belong to images by the names of their arrays (train_images and train_labels, x_train and
 * y_train); 0: none by that rule. */
int hpt__array_partner(const char *images, char *labels, size_t size);
void hpt__array_free(hpt__array *a);
#endif

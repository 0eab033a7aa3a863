/* SPDX-License-Identifier: MIT
 * Writing safetensors: float32 tensors with names and shapes, and a few words about them. Reading is tensorfile.h's
 * business, by the same safetensors.c. */
#ifndef HPT__SAFETENSORS_H
#define HPT__SAFETENSORS_H
#include "io/file.h"
#include <jansson.h>
typedef struct hpt__st_item { const char *name; int ndim; int64_t shape[4]; const float *data; uint64_t count;
} hpt__st_item;
/* Float32 tensors in the given order; meta: a JSON object of strings, taken over. Atomic. */
hpt_status hpt__safetensors_write(const char *path, const hpt__st_item *items, uint32_t n, json_t *meta);
#endif

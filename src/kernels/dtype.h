/* SPDX-License-Identifier: MIT
 * What the tables of the kernel families share: the types of values, and the device that a backend computes on (each
 * has its own struct). A family's table stands beside its contract and has a slot for each function that callers
 * choose by backend; every backend fills one, a line a slot. Where a slot has a dtype, HPT__F64 selects double, else
 * values are float; a slot without a status that fails is reported by the next that has one. */
#ifndef HPT__DTYPE_H
#define HPT__DTYPE_H
#include <stddef.h>

/* of feature maps; TF32: float maps, products rounded to 10 bits */
typedef enum hpt__dtype { HPT__F32, HPT__BF16, HPT__F64, HPT__TF32 } hpt__dtype;
static inline size_t hpt__real_size(hpt__dtype t) { return t == HPT__F64 ? 8 : 4; }

typedef struct hpt__device hpt__device;
#endif

/* SPDX-License-Identifier: MIT
 * The lists of ops_ref.c, for float and double: hpt__reference_NAME_f32[], hpt__reference_NAME_f64[] for each row of
 * ops.def. A kind that is not in its list is not there (backend/op.h). */
#ifndef HPT__REFERENCE_H
#define HPT__REFERENCE_H
#include "backend/op.h"
#define OP(KIND, name, shapes, arrays)                                                                                 \
    extern const hpt__impl hpt__reference_##name##_f32[], hpt__reference_##name##_f64[];
#include "backend/ops.def"
#undef OP
#endif

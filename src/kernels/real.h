/* SPDX-License-Identifier: MIT
 * The _ref.c files are compiled twice, for float and for double (HPT__REAL_DOUBLE); REF(name) adds the suffix. Sums
 * are double in both. A contract declares both with HPT__BOTH(macro). */
#ifndef HPT__REAL_H
#define HPT__REAL_H
#include <stddef.h>
#include <stdint.h>
#ifdef HPT__REAL_DOUBLE
typedef double real;
#define REF(name) hpt__ref_##name##_f64
#else
typedef float real;
#define REF(name) hpt__ref_##name##_f32
#endif
#define HPT__BOTH(decl) decl(float, f32) decl(double, f64)
#endif

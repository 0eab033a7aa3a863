/* SPDX-License-Identifier: MIT
 * Every operation of a backend against the reference in double, over one list of shapes (ops.c); rows of ops.def,
 * shapes and arrays included, are all it knows. */
#ifndef TESTS_OPS_H
#define TESTS_OPS_H
#include "backend/backend.h"

/* again: a second device of the same backend, which must give the same bits (another number of threads); may be dev.
 * Fails the test at the first value that is too far off. */
void ops_against_reference(const hpt__backend *be, hpt__device *dev, hpt__device *again, hpt__dtype t);
#endif

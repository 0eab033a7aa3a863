/* SPDX-License-Identifier: MIT
 * One numeric array of a MATLAB 5 file (as scipy and MATLAB 6 to 7 write them), compressed or not: labels and splits
 * of data sets that come in such files. */
#ifndef HPT__MAT_H
#define HPT__MAT_H
#include "core/status.h"
/* values: freed by the caller with hpt__free. At most 2^20 of them. HPT_ERR_FORMAT: no such array, or not such a
 * file. */
hpt_status hpt__mat_read(const char *path, const char *name, double **values, uint64_t *count);
hpt_status hpt__mat_parse(const uint8_t *p, size_t n, const char *name, double **values, uint64_t *count);
#endif

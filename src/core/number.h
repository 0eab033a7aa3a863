/* SPDX-License-Identifier: MIT
 * Numbers as text, always with a point, whatever the host's locale. */
#ifndef HPT__NUMBER_H
#define HPT__NUMBER_H
#include <stddef.h>
int hpt__number_parse(const char *text, double *out);           /* 1 if the whole text is a finite number */
void hpt__number_print(double x, char *buf, size_t size);       /* shortest text that reads back the same */
/* Parses "a,b,c": up to max numbers; returns how many, or -1. */
int hpt__number_list(const char *text, double *out, int max);
#endif

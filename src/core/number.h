/* SPDX-License-Identifier: MIT
 * Numbers as text, always with a point, whatever the host's locale: every number in a file, a message or a key goes
 * through here. */
#ifndef HPT__NUMBER_H
#define HPT__NUMBER_H
#include <stdarg.h>
#include <stddef.h>
int hpt__number_parse(const char *text, double *out);           /* 1 if the whole text is a finite number */
void hpt__number_print(double x, char *buf, size_t size);       /* shortest text that reads back the same */
/* snprintf and vsnprintf in the C locale. */
int hpt__format(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int hpt__vformat(char *buf, size_t size, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));
/* "a,b,c", each the shortest text that reads back as the same float. */
void hpt__number_list_print(const float *x, int n, char *buf, size_t size);
/* Parses "a,b,c": up to max numbers; returns how many, or -1. */
int hpt__number_list(const char *text, double *out, int max);
#endif

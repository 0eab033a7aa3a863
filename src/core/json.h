/* SPDX-License-Identifier: MIT
 * JSON values of what JSON has no value for. json_real(), json_string() and json_pack() fail on such, and what was
 * to hold them would be lost without a word. */
#ifndef HPT__JSON_H
#define HPT__JSON_H
#include <jansson.h>
json_t *hpt__json_number(double x);             /* null for NaN and Inf */
json_t *hpt__json_text(const char *text);       /* bytes that are not UTF-8 become U+FFFD; NULL: null */
/* an array; each value the shortest that reads back as the same float */
json_t *hpt__json_floats(const float *x, int n);
/* As json_dumps(), which may leave a key out when memory runs out in its middle. NULL: out of memory. Free with
 * hpt__free. */
char *hpt__json_dumps(const json_t *v, size_t flags);
double hpt__json_real(const json_t *v);         /* NaN for what is no number */
#endif

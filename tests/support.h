/* SPDX-License-Identifier: MIT
 * The other half of fixtures/make_fixtures.py: the same inputs by hash, signatures of large outputs, JSON fixtures.
 * And what most tests begin with: contexts, configurations, small sets. */
#ifndef SUPPORT_H
#define SUPPORT_H
#include "harness.h"
#include "hpt.h"
#include "inputs.h"
#include <jansson.h>
#include <math.h>
#include <stdint.h>

/* Estimated ||x - truth|| / ||truth|| from a signature [norm, 8 projections]. */
double signature_error(const double *x, size_t n, json_t *sig);
double signature_error_f32(const float *x, size_t n, json_t *sig);
json_t *fixture(const char *name);              /* tests/fixtures/<name>.json */
double num(json_t *o, const char *key);
int integer(json_t *o, const char *key);
size_t hex(const char *text, uint8_t *out);     /* returns the number of bytes */
hpt_context *context(const char *backend, int threads);      /* NULL if onednn is not here */
hpt_context *fast_context(void);                /* onednn, else skips the test */
int of_machine(const char *text);               /* a line of the log that a busy machine brings, whatever is tested */
void set(hpt_config *c, const char *pairs);     /* "key=value key=value" */
hpt_config *config(const char *pairs);
void fill_model(hpt_model *m, uint64_t seed);   /* weights as fill() of the script */
char *temp_dir(void);                           /* a fresh folder, removed by nobody but the system's /tmp rules */
/* labelled patterns in memory */
hpt_dataset *toy_set(hpt_context *ctx, const char *pairs, int n, int size, int classes);
#endif

/* SPDX-License-Identifier: MIT
 * Just enough JSON to read the fixtures where no JSON library is installed: numbers by path, such as
 * "tensors/grad.bn1.bias/sig/3". */
#ifndef TESTS_GPU_JSON_H
#define TESTS_GPU_JSON_H
/* the whole file; fails the test if it cannot be read */
char *json_text(const char *path);
const char *json_at(const char *text, const char *path);            /* start of a value, NULL if there is none */
double json_num(const char *text, const char *path);                /* fails the test if it is missing */
int json_str_is(const char *text, const char *path, const char *word);
/* The i-th key of the object at path, into name; 0 beyond the last. */
int json_key(const char *text, const char *path, int i, char name[128]);
#endif

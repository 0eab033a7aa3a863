/* SPDX-License-Identifier: MIT
 * Files that a test writes into a folder of its own, and what opens of them as a data set. Between begin() and end()
 * names are of that folder. */
#ifndef HPT_TEST_FILES_H
#define HPT_TEST_FILES_H
#include "shell.h"

extern char root[80];           /* the folder of this test */
extern char said[8192];         /* what the log said since the last opens(), a line each, with its level */
void begin(void);
void end(void);
const char *at(const char *name);               /* eight names at a time */
void put(const char *name, const void *data, size_t n);         /* with the folders on the way */
void text(const char *name, const char *s);
void link_to(const char *target, const char *name);
hpt_context *listening(void);
/* What opens as path: "a/1.png=a b/2.png=b" with names of classes, or numbers, or nothing behind =. */
const char *opens(hpt_context *ctx, const char *options, const char *path);
const char *open_all(hpt_context *ctx, const char *path, hpt_status *st);       /* names and numbers, or the status */
void memory_runs_out(hpt_context *ctx, const char *path);       /* at each allocation: an error, never fewer images */
double seconds(void);           /* of processor time */
/* Bytes of a file under construction: n more, or a number of n bytes, the lowest first. p is freed by the caller. */
typedef struct bytes { uint8_t *p; size_t n; } bytes;
void more(bytes *b, const void *p, size_t n);
void le(bytes *b, uint64_t v, int n);
#define OPENS(options, path, want) do { const char *got_ = opens(ctx, options, path); \
    if (strcmp(got_, want)) FAIL("%s gave %s, not %s", path, got_, want); } while (0)
#define SAID(word) do { if (!strstr(said, word)) FAIL("the log lacks '%s': %s", word, said); } while (0)
#endif

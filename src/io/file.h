/* SPDX-License-Identifier: MIT
 * Regular files in, nothing else (a FIFO or device that an image, list or checkpoint is called never hangs a call),
 * and files out that replace the old one only when they are complete: temporary name in the same folder, fsync,
 * rename, fsync of the folder. What a writer that was killed left behind goes when the next one comes. EINTR is
 * retried, short counts continued, close checked. */
#ifndef HPT__FILE_H
#define HPT__FILE_H
#include "core/status.h"

/* A regular file for reading, and its size (may be NULL). HPT_ERR_IO with words for a folder, FIFO, socket or
 * device: none of them is waited for. Close fd with close(). */
hpt_status hpt__file_open(const char *path, int *fd, uint64_t *size);
/* Up to want bytes; got is less only at the end of the file. path: for the error text. */
hpt_status hpt__file_take(int fd, const char *path, void *to, size_t want, size_t *got);

typedef struct hpt__bytes { uint8_t *p; size_t n; } hpt__bytes;
/* HPT_ERR_IO, HPT_ERR_CANCELLED, HPT_ERR_FORMAT if larger than max, HPT_ERR_MEMORY. Free p with hpt__free. */
hpt_status hpt__file_read(const char *path, uint64_t max, hpt__bytes *out);

typedef struct hpt__writer {
    int fd, failed;
    char path[4096], temp[4128];
    uint8_t *buf;
    size_t used;
    uint64_t at;            /* bytes written so far */
} hpt__writer;
hpt_status hpt__writer_open(hpt__writer *w, const char *path);
void hpt__writer_put(hpt__writer *w, const void *data, size_t n);   /* failures are kept for commit */
hpt_status hpt__writer_commit(hpt__writer *w);                      /* or removes the temporary file */
void hpt__writer_abort(hpt__writer *w);
#endif

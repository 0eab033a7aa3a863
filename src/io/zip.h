/* SPDX-License-Identifier: MIT
 * Strict ZIP reading (reject anything two readers could see differently) and a writer of stored, 64-byte aligned
 * entries as torch.save makes. */
#ifndef HPT__ZIP_H
#define HPT__ZIP_H
#include "io/file.h"

typedef struct hpt__zip_entry { const char *name; int name_len; uint16_t method, checked; uint64_t packed, size, data;
                                uint32_t crc; } hpt__zip_entry;
typedef struct hpt__zip { const uint8_t *p; size_t n; hpt__zip_entry *e; uint32_t count; } hpt__zip;

/* Parses the directory of a file in memory. deflate: method 8 allowed as well as 0. HPT_ERR_FORMAT, HPT_ERR_MEMORY. */
hpt_status hpt__zip_open(hpt__zip *z, const uint8_t *p, size_t n, int deflate);
void hpt__zip_close(hpt__zip *z);
hpt__zip_entry *hpt__zip_find(const hpt__zip *z, const char *name);
/* Checks the CRC of a stored entry, the first time, and gives its bytes, borrowed. */
hpt_status hpt__zip_stored(const hpt__zip *z, hpt__zip_entry *e, const uint8_t **data);
/* Any entry into out[size], inflated where needed; size must be the entry's. */
hpt_status hpt__zip_read(const hpt__zip *z, const hpt__zip_entry *e, uint8_t *out, uint64_t size);

typedef struct hpt__zip_writer { hpt__writer *w; uint8_t *dir; size_t used, cap; uint32_t count; int failed;
} hpt__zip_writer;
void hpt__zip_begin(hpt__zip_writer *z, hpt__writer *w);
void hpt__zip_add(hpt__zip_writer *z, const char *name, const void *data, uint64_t n);
hpt_status hpt__zip_end(hpt__zip_writer *z);
/* for tests: zip64 fields from so many bytes on; 0: where they are needed */
void hpt__zip_test_limit(uint64_t bytes);
#endif

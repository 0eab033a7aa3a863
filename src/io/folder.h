/* SPDX-License-Identifier: MIT
 * What a folder holds, with nothing lost: every failed call is an error. Names that begin with a dot are left out. Only
 * links that lead nowhere are no error; they come as such. */
#ifndef HPT__FOLDER_H
#define HPT__FOLDER_H
#include "core/status.h"

typedef enum hpt__folder_kind { HPT__FOLDER_FILE, HPT__FOLDER_FOLDER, HPT__FOLDER_OTHER,
                                HPT__FOLDER_NOWHERE } hpt__folder_kind;
typedef struct hpt__folder_entry {
    const char *name;
    uint64_t dev, ino;          /* of what a link leads to; dev is 0 for entries that are no links */
    hpt__folder_kind kind;      /* of what a link leads to */
    int link;
} hpt__folder_entry;
typedef struct hpt__folder {
    hpt__folder_entry *e;       /* by name */
    size_t n;
    uint64_t dev, ino;          /* the folder itself */
    int kernel;                 /* of the kernel's own (proc, sysfs) */
    char *names;
} hpt__folder;

/* HPT_ERR_IO with the path and the reason, HPT_ERR_MEMORY. A folder read is freed with hpt__folder_free. */
hpt_status hpt__folder_read(const char *path, hpt__folder *out);
void hpt__folder_free(hpt__folder *f);

/* Test hook: the n-th system call on folders from now fails with this error number; 0: off. And how many there were. */
void hpt__folder_test_fail(int64_t nth, int error);
int64_t hpt__folder_test_count(void);
#endif

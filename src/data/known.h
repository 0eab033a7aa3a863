/* SPDX-License-Identifier: MIT
 * Known data sets: a table, readers of their original downloads, splits, and the check against the table. Descriptor
 * files of the user become rows of the same kind. */
#ifndef HPT__KNOWN_H
#define HPT__KNOWN_H
#include "data/collection.h"
#include <jansson.h>

typedef enum hpt__reader { HPT__READ_LISTS, HPT__READ_DOMAIN, HPT__READ_FOLDERS, HPT__READ_BDD, HPT__READ_KIDS,
                           HPT__READ_CHEXPERT, HPT__READ_COCO, HPT__READ_VOC, HPT__READ_FLOWERS,
                           HPT__READ_ADAPTATION, HPT__READ_OWN } hpt__reader;
typedef struct hpt__known {
    hpt_set_info info;
    hpt__reader reader;
    int exact;
    char root[4096], file[3][4096], label_map[1024], label_column[256];    /* READ_OWN: a descriptor file */
} hpt__known;

/* a name of the table, or the path of a descriptor file */
hpt_status hpt__known_find(const char *name, hpt__known *out);
hpt_status hpt__known_index(uint32_t i, hpt__known *out);           /* HPT_END past the last */
/* root, or what the descriptor says; HPT_ERR_ARGUMENT */
hpt_status hpt__known_root(const hpt__known *k, const char *root, const char **at);
/* split: "train", "val", "test", "train+val"; of lists for adaptation what hpt__read_adaptation() has. */
hpt_status hpt__known_open(const hpt__known *k, const hpt__options *o, const char *root, const char *split,
                           hpt__source **out);

/* annotations.c: the 20 classes of Pascal VOC, in the order of their numbers. */
extern const char *const hpt__voc_names[20];
/* The lists of domain adaptation have splits of their own. */
hpt_status hpt__read_adaptation(const hpt__known *k, const hpt__options *o, const char *root, const char *split,
                                hpt__collection *c);
/* part: 0 what the download trains on, 1 its validation images, 2 its test images; an empty
 * collection where it has no such part. */
hpt_status hpt__read_part(const hpt__known *k, const hpt__options *o, const char *root, int part, hpt__collection *c);
#endif

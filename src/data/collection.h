/* SPDX-License-Identifier: MIT
 * Names and labels of image files while they are gathered: from folders, lists, or the annotations of a known
 * download. */
#ifndef HPT__COLLECTION_H
#define HPT__COLLECTION_H
#include "data/dataset.h"

typedef struct hpt__entry {
    char *path, *object;        /* object: what it shows, where a column of the list says so (option group_by) */
    int32_t label;
    uint32_t line, row;         /* row: of multi */
    uint64_t ino;               /* of a folder: number of the file, 0 elsewhere; and whether the name is a link */
    int link;
} hpt__entry;
typedef struct hpt__collection {
    hpt__entry *f;
    uint64_t n, cap;
    char **cls;                 /* class names, or NULL */
    uint32_t classes, cap_cls;
    uint8_t *multi;             /* multi-label: classes values each entry, in the order of collecting */
    uint64_t multi_cap;
    char *list;                 /* the list file */
    /* of the folder or list that it was gathered from: equal names in it are equal objects. place: of a list's folder,
     * whose lists share the values of their columns */
    uint64_t base, place;
    hpt__note *note;            /* what is said where the set is opened */
    size_t notes;
    uint64_t skipped;           /* files that look like images and are not read */
    char why[sizeof ((hpt__source *)0)->unlabelled_why];        /* there are no labels */
} hpt__collection;

/* Takes over path (NULL: out of memory). label -1: none. multi: c->classes values of 0 and 1, or NULL. */
hpt_status hpt__collect(hpt__collection *c, char *path, int32_t label, const uint8_t *multi, uint32_t line);
hpt_status hpt__collect_class(hpt__collection *c, const char *name);       /* appends a class name */
void hpt__collection_drop_classes(hpt__collection *c);
hpt_status hpt__note_add(hpt__note **note, size_t *n, int level, const char *fmt,
                         ...) __attribute__((format(printf, 4, 5)));
hpt_status hpt__collection_note(hpt__collection *c, int level, const char *fmt,
                                ...) __attribute__((format(printf, 3, 4)));
hpt_status hpt__collection_take_notes(hpt__collection *c, const hpt__collection *from);
void hpt__collection_why(hpt__collection *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t hpt__collection_base(const char *path);
/* Keys of what the images show (option group_by); NULL: each its own. */
hpt_status hpt__collection_objects(const hpt__options *o, const hpt__collection *c, uint64_t **out);
void hpt__collection_sort(hpt__collection *c);                              /* by path */
void hpt__collection_fini(hpt__collection *c);
/* The collection becomes a source; what it held is taken over. */
hpt_status hpt__collection_source(const hpt__options *o, hpt__collection *c, hpt__source **out);
/* Appends a name to "a, b", shortened where there is no room. */
void hpt__append_name(char *text, size_t size, uint64_t already, const char *name);
/* The next field of a line of CSV (list.c), in place: quotes removed, blanks around it too; moves *p behind it, or
 * to NULL at the end of the line. separator: , ; tab, or a blank for any number of blanks. NULL: a quote is not
 * closed, or something follows it. */
char *hpt__csv_field(char **p, char separator);
char *hpt__path_join(const char *a, const char *b);
/* Image files under dir, recursively, all with this label. */
hpt_status hpt__collect_tree(hpt__collection *c, const char *dir, int32_t label);
/* A folder: sub-folders that hold images are classes. Images beside them: all are taken, without labels. */
hpt_status hpt__collect_folder(hpt__collection *c, const char *path);
/* A list file; see hpt_dataset_open(). Options list_root, label_map, classes, list_check. */
hpt_status hpt__collect_list(hpt__collection *c, const hpt__options *o, const char *path);
#endif

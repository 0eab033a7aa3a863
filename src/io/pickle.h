/* SPDX-License-Identifier: MIT
 * Pickles of torch.save, protocols 0 to 5, read as data. Nothing is called or looked up: names of classes are compared
 * with a short list that says what a value means here (a dictionary, a tensor, ...); everything else is opaque, may
 * occur anywhere and yields nothing.
 *
 * A value is a number of 32 bits. Plain ones are the offset of their opcode, decoded when they are asked for; the
 * others, with the top bit set, lie in one array of cells. So memory is a few bytes for each opcode, and all of it is
 * taken from an allowance that the caller gives. */
#ifndef HPT__PICKLE_H
#define HPT__PICKLE_H
#include "core/status.h"
#include "io/tensorfile.h"

typedef enum hpt__pk_kind { HPT__PK_OPAQUE, HPT__PK_NONE, HPT__PK_BOOL, HPT__PK_INT, HPT__PK_FLOAT, HPT__PK_STR,
HPT__PK_TUPLE, HPT__PK_LIST,
                            HPT__PK_DICT, HPT__PK_GLOBAL, HPT__PK_OBJECT, HPT__PK_STORAGE,
                            HPT__PK_TENSOR } hpt__pk_kind;
typedef uint32_t hpt__pk_ref;
#define HPT__PK_NOTHING 0xffffffffu

typedef struct hpt__pickle {
    const uint8_t *data;            /* borrowed */
    uint32_t *cell, used, cap;
    hpt__pk_ref root, storages;     /* storages: the last one met; hpt__pk_storage.next leads to the one before */
    size_t end;                     /* bytes used, STOP included */
    uint64_t *room;
} hpt__pickle;

typedef struct hpt__pk_value {
    hpt__pk_kind kind;
    int64_t i;                      /* BOOL, INT */
    double f;                       /* FLOAT */
    const char *s;                  /* STR: bytes inside the pickle */
    size_t len;
} hpt__pk_value;

/* A storage as a persistent id names it. */
typedef struct hpt__pk_storage {
    hpt__ftype type;
    uint32_t bytes;                 /* of an element; 0: not known */
    const char *unreadable;         /* as in hpt__ftensor; NULL too if unknown is set */
    hpt__pk_ref unknown, next;      /* unknown: the class that says nothing to us, or HPT__PK_NOTHING */
    const char *key;
    uint32_t key_len;
    int64_t numel, view;            /* elements; of a view (legacy files): where it begins in its base */
} hpt__pk_storage;

/* A tensor: bounds are proved whenever storage is given. */
typedef struct hpt__pk_tensor {
    hpt__pk_ref storage, unknown;   /* HPT__PK_NOTHING: without a storage; nothing unknown */
    hpt__ftype type;
    const char *unreadable;
    int64_t offset, shape[8], stride[8];
    int ndim;
    uint64_t count;
} hpt__pk_tensor;

/* Reads one pickle at data. What it allocates is taken from *room, bytes, and given back by hpt__pickle_free.
 * HPT_ERR_FORMAT, HPT_ERR_MEMORY. */
hpt_status hpt__pickle_parse(hpt__pickle *p, const uint8_t *data, size_t n, uint64_t *room);
void hpt__pickle_free(hpt__pickle *p);

hpt__pk_value hpt__pk_get(const hpt__pickle *p, hpt__pk_ref ref);
hpt__pk_storage hpt__pk_storage_of(const hpt__pickle *p, hpt__pk_ref ref);
hpt_status hpt__pk_tensor_of(const hpt__pickle *p, hpt__pk_ref ref, hpt__pk_tensor *t);
uint32_t hpt__pk_count(const hpt__pickle *p,
                       hpt__pk_ref ref); /* items of a TUPLE, LIST; keys and values of a DICT; else 0 */
hpt__pk_ref hpt__pk_item(const hpt__pickle *p, hpt__pk_ref tuple,
                         uint32_t i); /* HPT__PK_NOTHING: no TUPLE, or not so many */
hpt__pk_ref hpt__pk_lookup(const hpt__pickle *p, hpt__pk_ref dict, const char *key);
/* The items in order: TUPLE, LIST; DICT: key, value, key, value. */
typedef struct hpt__pk_iter { const hpt__pickle *p; uint32_t at, left, next; } hpt__pk_iter;
hpt__pk_iter hpt__pk_items(const hpt__pickle *p, hpt__pk_ref ref);
int hpt__pk_next(hpt__pk_iter *it, hpt__pk_ref *ref);
/* An OBJECT is what an unknown class made: the attributes it was given, and the items it was given as a dictionary is.
 */
hpt__pk_ref hpt__pk_state(const hpt__pickle *p, hpt__pk_ref object);
hpt__pk_ref hpt__pk_object_items(const hpt__pickle *p, hpt__pk_ref object);
/* "module.Class" of a GLOBAL or of an OBJECT's class, cut to size. */
void hpt__pk_class_name(const hpt__pickle *p, hpt__pk_ref ref, char *buf, size_t size);
#endif

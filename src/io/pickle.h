/* SPDX-License-Identifier: MIT
 * Reading protocol-2 pickles of torch.save as data. A tree of nodes is built; nothing is called or looked up. Names of classes are compared
 * with a short list; any other becomes an OPAQUE node that can hold nothing and yields nothing. */
#ifndef HPT__PICKLE_H
#define HPT__PICKLE_H
#include "core/status.h"
#include "io/tensorfile.h"

typedef enum hpt__pk_kind { HPT__PK_NONE, HPT__PK_BOOL, HPT__PK_INT, HPT__PK_FLOAT, HPT__PK_STR, HPT__PK_TUPLE, HPT__PK_LIST, HPT__PK_DICT,
                            HPT__PK_GLOBAL, HPT__PK_STORAGE, HPT__PK_TENSOR, HPT__PK_OPAQUE } hpt__pk_kind;

typedef struct hpt__pk_node {
    hpt__pk_kind kind;
    int64_t i;                      /* BOOL, INT; GLOBAL: which; STORAGE: hpt__ftype; TENSOR: storage node */
    double f;
    const char *s;                  /* STR, STORAGE key: bytes inside the pickle */
    uint32_t len;
    uint32_t *item, n, cap;         /* TUPLE, LIST; DICT: key, value, key, value */
    int64_t numel;                  /* STORAGE */
    int64_t offset, view;           /* TENSOR: first element; STORAGE: view offset into the base */
    int64_t shape[8], stride[8];
    int ndim;
} hpt__pk_node;

typedef struct hpt__pickle {
    hpt__pk_node *node;
    uint32_t n, cap, root;
    size_t end;                     /* bytes used, STOP included */
} hpt__pickle;

hpt_status hpt__pickle_parse(hpt__pickle *p, const uint8_t *data, size_t n);
void hpt__pickle_free(hpt__pickle *p);
#endif

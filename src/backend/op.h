/* SPDX-License-Identifier: MIT
 * How a backend does its operations: for each kind an ordered list of implementations, fastest first and what serves
 * any shape last. The first that fits and can be created serves. A backend called B defines a list hpt__B_NAME[] for
 * each row of ops.def, ended by HPT__IMPL_END, in the file of its subject; what it cannot do is a list of nothing but
 * the end. */
#ifndef HPT__OP_H
#define HPT__OP_H
#include "backend/backend.h"

struct hpt__impl {
    const char *name;
    const char *when;                                               /* for docs/operations.md; NULL: any shape */
    int (*fits)(const hpt__device *dev, const hpt__op_desc *d);     /* NULL: always */
    /* What can be made once; NULL: nothing. HPT_ERR_UNSUPPORTED: the next of the list is asked. */
    hpt_status (*create)(hpt__op *op);
    hpt_status (*run)(hpt__op *op, const hpt__op_args *a);
    void (*destroy)(hpt__op *op);                                   /* of what create made in own; NULL: nothing */
};
#define HPT__IMPL_END {0}

struct hpt__op {
    hpt__op_desc d;
    hpt__device *dev;
    const hpt__host *host;
    const hpt__impl *impl;
    size_t scratch;         /* bytes that run wants */
    char name[80];          /* the implementation's, or what create says in more detail */
    void *own;              /* of hpt__op_own() */
};

hpt_status hpt__op_create(hpt__device *dev, const hpt__host *host, const hpt__impl *list, const hpt__op_desc *d,
                          hpt__op **out);
void *hpt__op_own(hpt__op *op,
                  size_t bytes); /* zeroed memory for create, freed with the operation; NULL: none left, said */
size_t hpt__op_scratch(const hpt__op *op);
void hpt__op_destroy(hpt__op *op);
const char *hpt__op_name(const hpt__op *op);
#endif

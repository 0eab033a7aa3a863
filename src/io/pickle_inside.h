/* SPDX-License-Identifier: MIT
 * Inside of the pickle reader, between pickle.c (the machine of opcodes), pickle_names.c (which classes mean something)
 * and pickle_values.c (values as they are asked for, and what tensors are made of).
 *
 * Cells of an object: a head (kind, and << 8 what it means), then
 *   TUPLE             count, items
 *   LIST, DICT        count, first and last chunk; a chunk: next chunk, count, items
 *   GLOBAL            opcode, NOTHING or module, name
 *   OBJECT            class, arguments, state, items (a DICT)
 *   STORAGE           persistent id, storage before
 *   TENSOR            arguments, state
 *   INT, FLOAT, BOOL  low, high half */
#ifndef HPT__PICKLE_INSIDE_H
#define HPT__PICKLE_INSIDE_H
#include "io/pickle.h"
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, "pickle: " __VA_ARGS__)
#define OBJECT_BIT (1u << 31)
#define NOTHING HPT__PK_NOTHING

/* What a class or function means to us. */
enum { G_UNKNOWN, G_DICT, G_RECONSTRUCT, G_NEWOBJ, G_SIZE, G_STORAGE, G_DTYPE, G_INNER, G_FROM_TYPE, G_REBUILD,
       G_REBUILD3, G_QUANTIZED, G_SPARSE, G_META, G_NESTED, G_WRAPPER, G_DEVICE, G_NDARRAY, G_FROMBUFFER, G_NP_DTYPE,
       G_NP_SCALAR, G_ENCODE };

/* An element type. Those that we cannot read have a size, so that the data behind them are found. */
typedef struct hpt__pk_element {
    const char *storage, *dtype;        /* class of a storage, dtype; NULL: none */
    hpt__ftype type;
    uint32_t bytes;
    const char *unreadable;
} hpt__pk_element;
extern const hpt__pk_element hpt__pk_elements[];
/* What a name means, with the index of its element type in the second byte. */
uint32_t hpt__pk_meaning(const char *module, size_t m, const char *name, size_t n);

/* A whole number of decimal digits; 0: it is not one, or does not fit. */
int hpt__pk_decimal(const uint8_t *s, size_t n, int64_t *out);
int hpt__pk_is_int(const hpt__pickle *p, hpt__pk_ref ref, int64_t *out);
int hpt__pk_is_text(const hpt__pk_value *v, const char *text);

static inline uint32_t *object(const hpt__pickle *p, hpt__pk_ref ref) { return p->cell + (ref & ~OBJECT_BIT); }
static inline int is_object(hpt__pk_ref ref) { return ref & OBJECT_BIT && ref != NOTHING; }
static inline hpt__pk_kind kind_of(const hpt__pickle *p, hpt__pk_ref ref) {
    return is_object(ref)   ? (hpt__pk_kind)(*object(p, ref) & 0xff)
           : ref == NOTHING ? HPT__PK_NONE
                            : hpt__pk_get(p, ref).kind;
}
static inline uint32_t what_of(const hpt__pickle *p, hpt__pk_ref ref) {
    return is_object(ref) && kind_of(p, ref) == HPT__PK_GLOBAL ? *object(p, ref) >> 8 & 0xff : G_UNKNOWN;
}
static inline uint64_t le(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}
/* Of a line inside the pickle; a longer one is never a value that we look at, so that looking costs little however
 * often it is done. */
enum { MAX_LINE = 1024 };
static inline size_t line_length(const uint8_t *p) {
    const uint8_t *end = memchr(p, '\n', MAX_LINE);
    return end ? (size_t)(end - p) : MAX_LINE;
}
#endif

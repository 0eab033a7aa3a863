/* SPDX-License-Identifier: MIT
 * Checkpoints of others as a flat list of tensors and plain values. Three containers, known by their first bytes: torch
 * zip, torch legacy stream, safetensors. Nothing is executed: the pickle reader builds a tree and knows a short list of
 * names as data.
 *
 * Names are paths through the nested dictionaries, joined by '/': "state_dict/module.encoder_q.conv1.weight", "epoch".
 */
#ifndef HPT__TENSORFILE_H
#define HPT__TENSORFILE_H
#include "io/file.h"
#include "io/jsonscan.h"
#include <jansson.h>

typedef enum hpt__ftype { HPT__FT_F32, HPT__FT_F64, HPT__FT_F16, HPT__FT_BF16, HPT__FT_I64, HPT__FT_I32, HPT__FT_I16,
HPT__FT_I8, HPT__FT_U8,
                          HPT__FT_BOOL, HPT__FT_U16, HPT__FT_U32, HPT__FT_U64, HPT__FT_OTHER,
                          HPT__FT_COUNT } hpt__ftype;
typedef struct hpt__ftensor {
    char *name;
    hpt__ftype type;
    int ndim;
    int64_t shape[8], stride[8];        /* elements */
    const uint8_t *data;                /* first element; bounds were checked */
    uint64_t count;
    const char *unreadable; /* NULL, or why its numbers cannot be had: "complex64", "quantized", ...; data is NULL */
} hpt__ftensor;

typedef struct hpt__tensorfile {
    const char *container;              /* "torch-zip", "torch-legacy", "safetensors" */
    const char *path;                   /* as it was opened, not a copy; NULL: parsed from memory */
    hpt__bytes file;
    hpt__ftensor *t;
    uint32_t n, cap;
    json_t *meta;                       /* numbers, strings, booleans by path */
    int values_cut; /* some are missing there: more of them than a file of this size may ask memory for */
    uint64_t room;  /* bytes that the readers may still allocate: all in all four times the file and a little */
    struct hpt__reason *reasons;        /* texts of hpt__ftensor.unreadable */
} hpt__tensorfile;

hpt_status hpt__tensorfile_open(hpt__tensorfile *f, const char *path);
hpt_status hpt__tensorfile_parse(hpt__tensorfile *f);                       /* of file, already read: for fuzzing */
void hpt__tensorfile_close(hpt__tensorfile *f);
const hpt__ftensor *hpt__tensorfile_find(const hpt__tensorfile *f, const char *name);
/* count values in row-major order, converted. HPT_ERR_UNSUPPORTED, with name and reason, for an unreadable one. */
hpt_status hpt__ftensor_read(const hpt__ftensor *t, float *out) __attribute__((warn_unused_result));
size_t hpt__ftype_size(hpt__ftype t);
const char *hpt__ftype_name(hpt__ftype t);
float hpt__ftype_value(hpt__ftype t, const uint8_t *p);                      /* one element as the file has it */
/* for the container readers */
int hpt__utf8_ok(const char *s, size_t n);                                   /* well-formed, as JSON needs it */
hpt_status hpt__tensorfile_reason(hpt__tensorfile *f, const char *text,
                                  const char **kept); /* a copy that lives as long as f */
/* A value for meta, which it takes; bytes: of its text. NULL: HPT_ERR_MEMORY. */
hpt_status hpt__tensorfile_value(hpt__tensorfile *f, const char *name, json_t *v, size_t bytes);
/* A text that s, which goes over base, has just read as the value from offset begin on: long ones, which the scanner
 * cuts, as a whole. */
hpt_status hpt__tensorfile_text(hpt__tensorfile *f, const char *name, const hpt__jscan *s, const void *base,
                                uint64_t begin);
hpt_status hpt__tensorfile_unique(const hpt__tensorfile *f);                 /* HPT_ERR_FORMAT if a name occurs twice */
size_t hpt__torch_legacy_magic(const uint8_t *p, size_t n); /* 0: no legacy file; else the bytes of its magic number */
hpt_status hpt__tensorfile_add(hpt__tensorfile *f, const char *name, size_t name_len, const hpt__ftensor *t);
hpt_status hpt__torch_zip_parse(hpt__tensorfile *f);
hpt_status hpt__torch_legacy_parse(hpt__tensorfile *f);
hpt_status hpt__safetensors_parse(hpt__tensorfile *f);
#endif

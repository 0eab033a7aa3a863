/* SPDX-License-Identifier: MIT
 * Writing torch.save zips that torch.load(weights_only=True) reads: a small pickle emitter and the storages. Calls
 * nest as dictionaries and lists do; the first failure is kept until hpt__tw_finish(). */
#ifndef HPT__TORCH_WRITE_H
#define HPT__TORCH_WRITE_H
#include "io/file.h"

typedef struct hpt__torch_out {
    uint8_t *buf;
    size_t used, cap;
    int failed;
    char *note;
    struct { const void *data; uint64_t bytes; } *storage;
    uint32_t n, storage_cap;
} hpt__torch_out;

void hpt__tw_begin(hpt__torch_out *t);
void hpt__tw_dict(hpt__torch_out *t, int ordered);          /* opens a dictionary; then key, value, key, value */
void hpt__tw_list(hpt__torch_out *t);
void hpt__tw_end_dict(hpt__torch_out *t);
void hpt__tw_end_list(hpt__torch_out *t);
void hpt__tw_str(hpt__torch_out *t, const char *s);
void hpt__tw_int(hpt__torch_out *t, int64_t v);
void hpt__tw_float(hpt__torch_out *t, double v);
void hpt__tw_bool(hpt__torch_out *t, int v);
void hpt__tw_none(hpt__torch_out *t);
/* data must stay until finish. stride NULL: contiguous. */
void hpt__tw_tensor_f32(hpt__torch_out *t, const float *data, uint64_t count, int ndim, const int64_t *shape,
                        const int64_t *stride);
void hpt__tw_tensor_i64(hpt__torch_out *t, const int64_t *data, uint64_t count, int ndim, const int64_t *shape);
/* A JSON object beside the pickle, as record hpt.json: what belongs to a file that holds a bare state_dict, where
 * another key would break strict loading. torch.load() does not look at it. */
void hpt__tw_note(hpt__torch_out *t, const char *json);
hpt_status hpt__tw_finish(hpt__torch_out *t, const char *path);     /* writes atomically and frees, also on failure */
#endif

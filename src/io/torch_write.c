/* SPDX-License-Identifier: MIT
 * Contract: torch_write.h. Emits protocol 2, the opcodes that torch.save itself uses, and each tensor's bytes as an
 * entry of its own as soon as it comes. */
#include "io/torch_write.h"
#include "core/alloc.h"
#include "io/zip.h"
#include <stdio.h>
#include <string.h>

static void put(hpt__torch_out *t, const void *p, size_t n) {
    if (t->failed) return;
    if (t->used + n > t->cap) {
        size_t cap = (t->used + n) * 2 + 4096;
        uint8_t *b = hpt__realloc(t->buf, cap);
        if (!b) {
            t->failed = 1;
            return;
        }
        t->buf = b;
        t->cap = cap;
    }
    memcpy(t->buf + t->used, p, n);
    t->used += n;
}
static void op(hpt__torch_out *t, const char *s) { put(t, s, strlen(s)); }

void hpt__tw_begin(hpt__torch_out *t) {
    memset(t, 0, sizeof *t);
    put(t, "\x80\x02", 2);
}
void hpt__tw_dict(hpt__torch_out *t, int ordered) { op(t, ordered ? "ccollections\nOrderedDict\n)R(" : "}("); }
void hpt__tw_end_dict(hpt__torch_out *t) { op(t, "u"); }
void hpt__tw_list(hpt__torch_out *t) { op(t, "]("); }
void hpt__tw_end_list(hpt__torch_out *t) { op(t, "e"); }
void hpt__tw_str(hpt__torch_out *t, const char *s) {
    uint32_t n = (uint32_t)strlen(s);
    op(t, "X");
    put(t, &n, 4);
    put(t, s, n);
}
void hpt__tw_int(hpt__torch_out *t, int64_t v) {
    if (v >= INT32_MIN && v <= INT32_MAX) {
        int32_t x = (int32_t)v;
        op(t, "J");
        put(t, &x, 4);
    } else {
        put(t, "\x8a\x08", 2);
        put(t, &v, 8);
    }
}
void hpt__tw_float(hpt__torch_out *t, double v) {
    uint64_t u;
    uint8_t be[8];
    memcpy(&u, &v, 8);
    for (int i = 0; i < 8; i++) be[i] = (uint8_t)(u >> (56 - 8 * i));
    op(t, "G");
    put(t, be, 8);
}
void hpt__tw_bool(hpt__torch_out *t, int v) { op(t, v ? "\x88" : "\x89"); }
void hpt__tw_none(hpt__torch_out *t) { op(t, "N"); }

static void tensor(hpt__torch_out *t, const char *cls, const void *data, uint64_t count, size_t size, int ndim,
                   const int64_t *shape, const int64_t *stride) {
    char key[16];
    int64_t dense[8];
    if (t->n == t->storage_cap) {
        uint32_t cap = t->storage_cap ? t->storage_cap * 2 : 256;
        void *more = hpt__realloc(t->storage, sizeof *t->storage * cap);
        if (!more) {
            t->failed = 1;
            return;
        }
        t->storage = more;
        t->storage_cap = cap;
    }
    if (!stride) {
        int64_t s = 1;
        for (int d = ndim - 1; d >= 0; d--) {
            dense[d] = s;
            s *= shape[d];
        }
        stride = dense;
    }
    snprintf(key, sizeof key, "%u", t->n);
    op(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    hpt__tw_str(t, "storage");
    op(t, cls);
    hpt__tw_str(t, key);
    hpt__tw_str(t, "cpu");
    hpt__tw_int(t, (int64_t)count);
    op(t, "tQK");
    put(t, "\0", 1);
    op(t, "(");
    for (int d = 0; d < ndim; d++) hpt__tw_int(t, shape[d]);
    op(t, "t(");
    for (int d = 0; d < ndim; d++) hpt__tw_int(t, stride[d]);
    op(t, "t\x89" "ccollections\nOrderedDict\n)RtR");
    t->storage[t->n].data = data;
    t->storage[t->n++].bytes = count * size;
}
void hpt__tw_tensor_f32(hpt__torch_out *t, const float *data, uint64_t count, int ndim, const int64_t *shape,
                        const int64_t *stride) {
    tensor(t, "ctorch\nFloatStorage\n", data, count, 4, ndim, shape, stride);
}
void hpt__tw_tensor_i64(hpt__torch_out *t, const int64_t *data, uint64_t count, int ndim, const int64_t *shape) {
    tensor(t, "ctorch\nLongStorage\n", data, count, 8, ndim, shape, NULL);
}

void hpt__tw_note(hpt__torch_out *t, const char *json) {
    t->note = hpt__strdup(json);
    if (!t->note) t->failed = 1;
}

hpt_status hpt__tw_finish(hpt__torch_out *t, const char *path) {
    hpt__writer w;
    hpt__zip_writer z;
    hpt_status st = HPT_OK;
    op(t, ".");
    if (t->failed) st = hpt__fail_memory(t->cap * 2);
    if (!st && !(st = hpt__writer_open(&w, path))) {
        hpt__zip_begin(&z, &w);
        hpt__zip_add(&z, "archive/data.pkl", t->buf, t->used);
        for (uint32_t i = 0; i < t->n; i++) {
            char name[40];
            snprintf(name, sizeof name, "archive/data/%u", i);
            hpt__zip_add(&z, name, t->storage[i].data, t->storage[i].bytes);
        }
        hpt__zip_add(&z, "archive/version", "3\n", 2);
        hpt__zip_add(&z, "archive/byteorder", "little", 6);
        if (t->note) hpt__zip_add(&z, "archive/hpt.json", t->note, strlen(t->note));
        st = hpt__zip_end(&z);
        if (st) hpt__writer_abort(&w);
        else st = hpt__writer_commit(&w);
    }
    hpt__free(t->buf);
    hpt__free(t->storage);
    hpt__free(t->note);
    memset(t, 0, sizeof *t);
    return st;
}

/* SPDX-License-Identifier: MIT
 * Between the files of the oneDNN backend: the device, what a primitive needs, and each file's share of the tables.
 * Feature maps are nChw16c (AVX-512) or nChw8c; where blocks do not divide the channels (the 3 of images) they lie
 * plain. */
#ifndef HPT__ONEDNN_H
#define HPT__ONEDNN_H
#include "backend/host/host_device.h"
#include "backend/onednn/team.h"
#include "backend/op.h"
#include "kernels/cpu_kernels.h"
#include <dnnl.h>

struct hpt__device {
    hpt__host_device base;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads;
    hpt__team *team;
    const hpt__cpu_kernels *cpu;
};

/* onednn.c */
hpt_status hpt__onednn_fail(hpt__device *dev, dnnl_status_t st, const char *what);
#define DNNL(dev, call) do { \
    dnnl_status_t s_ = (call); \
    if (s_ != dnnl_success) { st = hpt__onednn_fail(dev, s_, #call); goto done; } \
} while (0)
/* nothing may be run, and nothing made, unless all threads could be started */
hpt_status hpt__onednn_whole(hpt__device *dev);

/* onednn_conv.c: parameters (O,I,H,W) <-> (O/b, I/b, H, W, i, o), stem (O/b, H, W, I, o) */
void hpt__onednn_pack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const float *plain, void *native);
void hpt__onednn_unpack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const void *native, float *plain);

/* onednn_maps.c: do blocks divide the channels of the operation's input? Where they do not, the map lies plain and the
 * reference's kernel serves: right, not fast, and float only, which the second says. */
int hpt__onednn_blocked(const hpt__device *dev, const hpt__op_desc *d);
hpt_status hpt__onednn_plain(hpt__op *op);
#define HPT__BLOCKED_OR_PLAIN(create, run, run_plain) { \
    {"cpu", "channels in whole blocks", hpt__onednn_blocked, create, run, NULL}, \
    {"reference", "fp32", NULL, hpt__onednn_plain, run_plain, NULL}, \
    HPT__IMPL_END \
}

/* onednn_rows.c */
hpt_status hpt__onednn_gemm(hpt__device *dev, hpt__dtype t, int ta, int tb, int m, int n, int k, double alpha,
                            const void *a, int lda, const void *b, int ldb, double beta, void *c, int ldc);

extern const hpt__rows_ops hpt__onednn_rows;
extern const hpt__contrast_ops hpt__onednn_contrast;
extern const hpt__params_ops hpt__onednn_params;
#define OP(KIND, name, shapes, arrays) extern const hpt__impl hpt__onednn_##name[];
#include "backend/ops.def"
#undef OP
#endif

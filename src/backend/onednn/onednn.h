/* SPDX-License-Identifier: MIT
 * Between the files of the oneDNN backend: the device, what a primitive needs, and each file's share of the tables.
 * Feature maps are nChw16c (AVX-512) or nChw8c, of any number of channels: lanes of the last block that have none are
 * 0, which whoever writes a map sees to. Maps of few channels (images) lie plain. */
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

/* Maps of so few channels lie plain: oneDNN's first convolutions read images so. */
enum { HPT__PLAIN_CHANNELS = 4 };
static inline int hpt__onednn_in_blocks(int channels) { return channels > HPT__PLAIN_CHANNELS; }
/* values that a map takes, lanes without a channel included */
static inline size_t hpt__onednn_values(const hpt__device *dev, int n, int c, int h, int w) {
    int b = hpt__onednn_in_blocks(c) ? dev->cpu->block : 1;
    return (size_t)n * (size_t)((c + b - 1) / b * b) * (size_t)h * (size_t)w;
}

/* onednn_depthwise.c, for the lists of onednn_conv.c */
int hpt__onednn_depthwise_fits(const hpt__device *dev, const hpt__op_desc *d);
hpt_status hpt__onednn_depthwise_create(hpt__op *op);
hpt_status hpt__onednn_depthwise_run(hpt__op *op, const hpt__op_args *a);

/* onednn_maps.c: does the operation's input lie in blocks? Where not, the reference's kernel serves: right, not fast,
 * and of maps in bfloat16 on copies in float (hpt__onednn_in_float). */
int hpt__onednn_blocked(const hpt__device *dev, const hpt__op_desc *d);
hpt_status hpt__onednn_plain(hpt__op *op);
hpt_status hpt__onednn_in_float(hpt__op *op, const hpt__op_args *a, hpt_status (*run)(hpt__op *, const hpt__op_args *));
/* the list of operation name, which plain_<name> serves on plain maps */
#define HPT__BLOCKED_OR_PLAIN(name, create, run) \
    static hpt_status name##_in_float(hpt__op *op, const hpt__op_args *a) { \
        return hpt__onednn_in_float(op, a, plain_##name); \
    } \
    const hpt__impl hpt__onednn_##name[] = { \
        {"cpu", "maps of 5 channels and more, rows of whole vectors", hpt__onednn_blocked, create, run, NULL}, \
        {"reference", NULL, NULL, hpt__onednn_plain, name##_in_float, NULL}, \
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

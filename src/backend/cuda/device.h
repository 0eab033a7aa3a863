/* SPDX-License-Identifier: MIT
 * The device of the cuda backend, and how its files report failure. One stream computes; each lane has a stream for
 * copies; events order them. */
#ifndef HPT__CUDA_DEVICE_H
#define HPT__CUDA_DEVICE_H
#include "backend/backend.h"
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

typedef struct hpt__matmul hpt__matmul;

struct hpt__device {
    const hpt__host *host;
    int index, major, minor, sms, driver;
    char name[128], cache_dir[1024];
    size_t memory;
    cudaStream_t compute, lane[HPT__LANES];
    cudaEvent_t lane_done[HPT__LANES], fetched;
    cudnnHandle_t cudnn;
    cublasLtHandle_t blas;
    hpt__matmul *matmuls;           /* products that were set up, by shape */
    void *blas_workspace;
    int pending;                    /* fetched has been recorded and not been seen */
    hpt_status status;              /* first failure since the last report */
    int lost;                       /* the context is beyond repair: every call fails */
    char text[600];
};

/* A status for a CUDA error; clears the runtime's sticky error. What fails for good (an illegal address, a lost
 * card) marks the device lost. */
hpt_status hpt__cuda_fail(hpt__device *dev, cudaError_t e, const char *what);
hpt_status hpt__cudnn_fail(const hpt__host *host, cudnnStatus_t s, const char *what);
/* For slots without a status: kept, and given by the next slot that has one. */
void hpt__cuda_note(hpt__device *dev, cudaError_t e, const char *what);
hpt_status hpt__cuda_report(hpt__device *dev);
#define CUDA_TRY(dev, call) do { cudaError_t e_ = (call); \
                                 if (e_ != cudaSuccess) return hpt__cuda_fail(dev, e_, #call); } while (0)

/* conv.c: convolutions through cuDNN's graph API. A target is a device (handle) or, to ask what a card would get
 * without having one, a device-property descriptor. */
typedef struct hpt__conv_target { const hpt__host *host; cudnnHandle_t handle; cudnnBackendDescriptor_t properties;
} hpt__conv_target;
typedef struct hpt__conv_plan {
    cudnnBackendDescriptor_t plan;
    int64_t workspace;
    char name[80];
} hpt__conv_plan;
enum { HPT__CONV_CANDIDATES = 12 };
/* Geometry with channels as they lie in memory. bf16: maps and weights bfloat16, dw too. Up to `most` finalised
 * plans of at most `limit` bytes of workspace, in the order of cuDNN's heuristics; those whose numerics the op's
 * dtype and flags forbid are left out. */
hpt_status hpt__conv_candidates(const hpt__conv_target *t, const hpt__op_desc *d, int64_t limit, hpt__conv_plan *out,
                                int most, int *count);
/* The plan to use: from the cache folder, or the fastest of the candidates on this device, timed once and kept. */
hpt_status hpt__conv_choose(hpt__device *dev, const hpt__op_desc *d, hpt__conv_plan *out);
void hpt__conv_release(hpt__conv_plan *p);
/* x, w, y: input side, weights, output side, whichever way the operation goes */
hpt_status hpt__conv_execute(hpt__device *dev, const hpt__conv_plan *p, const void *x, const void *w, const void *y,
                             void *workspace);

/* matmul.c: c = alpha*op(a)*op(b) + beta*c, row major, float; fast: products may round to TF32. bias (n values) and
 * relu: epilogue, may be NULL, 0 */
hpt_status hpt__cuda_matmul(hpt__device *dev, int fast, int ta, int tb, int m, int n, int k, double alpha,
                            const void *a, int lda, const void *b, int ldb, double beta, void *c, int ldc,
                            const void *bias, int relu);
void hpt__cuda_matmul_free(hpt__device *dev);

/* nccl.c */
hpt_status hpt__nccl_open(hpt__device *dev, const hpt__comm_spec *spec, hpt__comm *out);
hpt_status hpt__nccl_id(const hpt__host *host, char *text, size_t size);
#endif

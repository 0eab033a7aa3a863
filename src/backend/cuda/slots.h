/* SPDX-License-Identifier: MIT
 * The slots of the cuda backend that lie in device.c and ops.c; cuda.c makes the table. Contracts:
 * backend/backend.h. */
#ifndef HPT__CUDA_SLOTS_H
#define HPT__CUDA_SLOTS_H
#include "backend/cuda/device.h"
enum { HPT__BLAS_WORKSPACE = 32 << 20 };
hpt_status hpt__cuda_open(const hpt__host *host, const hpt__open *o, hpt__device **out);
void hpt__cuda_close(hpt__device *dev);
void hpt__cuda_describe(hpt__device *dev, char *text, size_t size);
void hpt__cuda_enter(hpt__device *dev);
void hpt__cuda_leave(hpt__device *dev);
void *hpt__cuda_alloc(hpt__device *dev, size_t bytes);
void hpt__cuda_free(hpt__device *dev, void *p);
size_t hpt__cuda_left(hpt__device *dev);
void hpt__cuda_upload(hpt__device *dev, void *dst, const void *src, size_t bytes);
void hpt__cuda_download(hpt__device *dev, void *dst, const void *src, size_t bytes);
void hpt__cuda_copy(hpt__device *dev, void *dst, const void *src, size_t bytes);
void hpt__cuda_zero(hpt__device *dev, void *p, size_t bytes);
hpt_status hpt__cuda_sync(hpt__device *dev);
void *hpt__cuda_host_alloc(hpt__device *dev, size_t bytes);
void hpt__cuda_host_free(hpt__device *dev, void *p);
void hpt__cuda_stage(hpt__device *dev, int lane, void *dst, const void *src, size_t bytes);
void hpt__cuda_await(hpt__device *dev, int lane);
hpt_status hpt__cuda_lane_wait(hpt__device *dev, int lane);
void hpt__cuda_fetch(hpt__device *dev, void *dst, const void *src, size_t bytes);
hpt_status hpt__cuda_poll(hpt__device *dev);
hpt_status hpt__cuda_record_begin(hpt__device *dev);
hpt_status hpt__cuda_record_end(hpt__device *dev, hpt__recording **out);
hpt_status hpt__cuda_record_launch(hpt__device *dev, hpt__recording *g);
void hpt__cuda_record_destroy(hpt__device *dev, hpt__recording *g);
size_t hpt__cuda_act_bytes(hpt__device *dev, hpt__dtype t, int n, int c, int h, int w);
void hpt__cuda_pack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const float *plain, void *native);
void hpt__cuda_unpack(hpt__device *dev, hpt__dtype t, const int64_t shape[4], const void *native, float *plain);
const hpt__impl *hpt__cuda_op_list(hpt__op_kind kind, hpt__dtype t);
hpt_status hpt__cuda_op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out);
hpt_status hpt__cuda_op_run(hpt__op *op, const hpt__op_args *a);
#endif

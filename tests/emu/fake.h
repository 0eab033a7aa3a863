/* SPDX-License-Identifier: MIT
 * A stand-in for the CUDA runtime, cuDNN's graph API, cuBLASLt and NCCL with the same symbols, for machines without a
 * GPU. It records and checks calls and computes on the host, so that the backend's own code runs end to end. It proves
 * nothing about speed.
 *
 * Streams are lazy: work runs only when somebody waits for it, as late as the order of events allows; a missing
 * dependency or a host buffer that is reused too early gives wrong numbers here. With hpt_fake_protect(1) device
 * memory cannot be touched by the host at all. */
#ifndef HPT_FAKE_H
#define HPT_FAKE_H
#include <cuda_runtime_api.h>
#ifdef __cplusplus
#include <functional>
#include <mutex>
#define HPT_FAKE_API extern "C" __attribute__((visibility("default")))
void hpt_fake_submit(cudaStream_t s, const char *name, std::function<void()> fn);
/* asked again until it is true: work that waits for another rank */
void hpt_fake_submit_until(cudaStream_t s, const char *name, std::function<bool()> fn);
void hpt_fake_error(cudaError_t e);
bool hpt_fake_fails(const char *call, int *code);                       /* counts the call; true: it must fail */
void hpt_fake_object(int delta);                                        /* a live handle or descriptor more or fewer */
/* complains unless inside one allocation */
void hpt_fake_check_device(const void *p, size_t bytes, size_t align, const char *what);
void hpt_fake_complain(const char *fmt, ...);
#else
#define HPT_FAKE_API
#endif
/* controls for tests */
HPT_FAKE_API void hpt_fake_reset(void);
/* call number after (0 = next) of this name fails with code */
HPT_FAKE_API void hpt_fake_fail(const char *call, int after, int code);
/* every later call fails with code: a lost device; 0 ends it */
HPT_FAKE_API void hpt_fake_lose(int code);
HPT_FAKE_API long hpt_fake_calls(const char *call);
HPT_FAKE_API void hpt_fake_device(int count, int major, int minor, size_t memory);
HPT_FAKE_API void hpt_fake_versions(int driver, int cudnn, int nccl);    /* 0: as the headers */
HPT_FAKE_API void hpt_fake_protect(int on);
/* live allocations, streams, events, graphs, descriptors, handles */
HPT_FAKE_API long hpt_fake_live(void);
HPT_FAKE_API const char *hpt_fake_complaints(void);                     /* "" if every call was correct */
#endif

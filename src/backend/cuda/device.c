/* SPDX-License-Identifier: MIT
 * Opening a GPU, memory, streams, graphs, and failures of the cuda backend. A failed call is remembered by the
 * device: whatever is asked of it afterwards says so, because a stream that failed has lost all that was queued. */
#include "backend/cuda/slots.h"
#include <stdio.h>
#include <string.h>

/* ---- failures ---- */

/* Errors after which the driver refuses this process's context for good. */
static int fatal(cudaError_t e) {
    switch ((int)e) {
    case cudaErrorIllegalAddress: case cudaErrorLaunchFailure: case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError: case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress: case cudaErrorInvalidAddressSpace: case cudaErrorInvalidPc:
    case cudaErrorAssert: case cudaErrorECCUncorrectable: case cudaErrorContained: return 1;
    default: return 0;
    }
}
hpt_status hpt__cuda_fail(hpt__device *dev, cudaError_t e, const char *what) {
    cudaGetLastError();
    if (fatal(e)) dev->lost = 1;
    if (e == cudaErrorMemoryAllocation)
        return dev->host->fail(HPT_ERR_MEMORY, "CUDA device %d: %s: out of memory", dev->index, what);
    return dev->host->fail(HPT_ERR_DEVICE, "CUDA device %d: %s: %s (%s)%s", dev->index, what, cudaGetErrorString(e),
                           cudaGetErrorName(e), dev->lost
                           ? "; the device is lost to this process: start it again and resume" : "");
}
void hpt__cuda_note(hpt__device *dev, cudaError_t e, const char *what) {
    if (e == cudaSuccess || dev->status) return;
    cudaGetLastError();
    if (fatal(e)) dev->lost = 1;
    dev->status = e == cudaErrorMemoryAllocation ? HPT_ERR_MEMORY : HPT_ERR_DEVICE;
    snprintf(dev->text, sizeof dev->text, "CUDA device %d: %s: %s (%s)", dev->index, what, cudaGetErrorString(e),
             cudaGetErrorName(e));
}
hpt_status hpt__cuda_report(hpt__device *dev) {
    hpt_status st = dev->status;
    dev->status = HPT_OK;
    if (st)
        return dev->host->fail(st, "%s%s", dev->text, dev->lost
                               ? "; the device is lost to this process: start it again and resume" : "");
    return dev->lost ? dev->host->fail(HPT_ERR_DEVICE,
                                       "CUDA device %d is lost to this process: start it again and resume", dev->index)
                                       : HPT_OK;
}

/* ---- opening ---- */

static hpt_status check_versions(const hpt__host *host, int *driver) {
    int runtime = 0;
    size_t cudnn = cudnnGetVersion();
    cudaError_t e = cudaDriverGetVersion(driver);
    if (!e) e = cudaRuntimeGetVersion(&runtime);
    if (e || !*driver)
        return host->fail(HPT_ERR_UNAVAILABLE, "CUDA: no driver: %s", e ? cudaGetErrorString(e)
                          : "libcuda.so.1 is not usable");
    if (*driver / 1000 < CUDART_VERSION / 1000)
        return host->fail(HPT_ERR_UNAVAILABLE, "CUDA: the driver is for CUDA %d.%d, this module needs %d",
                          *driver / 1000, *driver % 1000 / 10, CUDART_VERSION / 1000);
    if (cudnn / 10000 != CUDNN_MAJOR)
        return host->fail(HPT_ERR_UNAVAILABLE, "cuDNN %zu.%zu is loaded, this module was built for major version %d",
                          cudnn / 10000, cudnn % 10000 / 100, CUDNN_MAJOR);
    return HPT_OK;
}

static hpt_status start(hpt__device *dev) {
    struct cudaDeviceProp p;
    cudaError_t e = cudaSetDevice(dev->index);
    if (!e) e = cudaGetDeviceProperties(&p, dev->index);
    if (e) {
        cudaGetLastError();
        return dev->host->fail(HPT_ERR_UNAVAILABLE, "CUDA device %d: %s", dev->index, cudaGetErrorString(e));
    }
    snprintf(dev->name, sizeof dev->name, "%.120s", p.name);
    dev->major = p.major;
    dev->minor = p.minor;
    dev->sms = p.multiProcessorCount;
    dev->memory = p.totalGlobalMem;
    if (p.major < 8)
        return dev->host->fail(HPT_ERR_UNAVAILABLE,
                               "CUDA device %d, %s, has compute capability %d.%d; 8.0 (Ampere) or later is needed",
                               dev->index, dev->name, p.major, p.minor);
    CUDA_TRY(dev, cudaStreamCreateWithFlags(&dev->compute, cudaStreamNonBlocking));
    CUDA_TRY(dev, cudaEventCreateWithFlags(&dev->fetched, cudaEventDisableTiming));
    for (int l = 0; l < HPT__LANES; l++) {
        CUDA_TRY(dev, cudaStreamCreateWithFlags(&dev->lane[l], cudaStreamNonBlocking));
        CUDA_TRY(dev, cudaEventCreateWithFlags(&dev->lane_done[l], cudaEventDisableTiming));
    }
    cudnnStatus_t s = cudnnCreate(&dev->cudnn);
    if (!s) s = cudnnSetStream(dev->cudnn, dev->compute);
    if (s) return hpt__cudnn_fail(dev->host, s, "opening cuDNN");
    cublasStatus_t b = cublasLtCreate(&dev->blas);
    if (b) return dev->host->fail(HPT_ERR_DEVICE, "cuBLASLt: opening: %s", cublasLtGetStatusString(b));
    CUDA_TRY(dev, cudaMalloc(&dev->blas_workspace, HPT__BLAS_WORKSPACE));
    return HPT_OK;
}

void hpt__cuda_close(hpt__device *dev) {
    cudaSetDevice(dev->index);
    if (dev->compute) cudaStreamSynchronize(dev->compute);
    hpt__cuda_matmul_free(dev);
    if (dev->blas_workspace) cudaFree(dev->blas_workspace);
    if (dev->blas) cublasLtDestroy(dev->blas);
    if (dev->cudnn) cudnnDestroy(dev->cudnn);
    for (int l = 0; l < HPT__LANES; l++) {
        if (dev->lane[l]) cudaStreamDestroy(dev->lane[l]);
        if (dev->lane_done[l]) cudaEventDestroy(dev->lane_done[l]);
    }
    if (dev->fetched) cudaEventDestroy(dev->fetched);
    if (dev->compute) cudaStreamDestroy(dev->compute);
    cudaGetLastError();
    dev->host->free(dev);
}

hpt_status hpt__cuda_open(const hpt__host *host, const hpt__open *o, hpt__device **out) {
    int driver = 0, count = 0;
    HPT_TRY(check_versions(host, &driver));
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e || !count) {
        cudaGetLastError();
        return host->fail(HPT_ERR_UNAVAILABLE, "CUDA: no GPU: %s", e ? cudaGetErrorString(e) : "the driver lists none");
    }
    if (o->device >= count)
        return host->fail(HPT_ERR_UNAVAILABLE, "option 'device': there is no GPU %d, only 0 to %d", o->device,
                          count - 1);
    hpt__device *dev = host->alloc(sizeof *dev);
    if (!dev) return host->fail(HPT_ERR_MEMORY, "out of memory opening CUDA");
    memset(dev, 0, sizeof *dev);
    dev->host = host;
    dev->index = o->device;
    dev->driver = driver;
    snprintf(dev->cache_dir, sizeof dev->cache_dir, "%s", o->cache_dir ? o->cache_dir : "");
    hpt_status st = start(dev);
    if (st) {
        hpt__cuda_close(dev);
        return st;
    }
    *out = dev;
    return HPT_OK;
}

void hpt__cuda_describe(hpt__device *dev, char *text, size_t size) {
    size_t cudnn = cudnnGetVersion();
    snprintf(text, size, "cuda device %d (%s, sm_%d%d, %zu MiB, cuDNN %zu.%zu.%zu)", dev->index, dev->name, dev->major,
             dev->minor, dev->memory >> 20, cudnn / 10000, cudnn % 10000 / 100, cudnn % 100);
}

/* ---- memory ---- */

void hpt__cuda_enter(hpt__device *dev) { hpt__cuda_note(dev, cudaSetDevice(dev->index), "cudaSetDevice"); }
void hpt__cuda_leave(hpt__device *dev) { (void)dev; }

void *hpt__cuda_alloc(hpt__device *dev, size_t bytes) {
    void *p = NULL;
    hpt__cuda_enter(dev);
    if (cudaMalloc(&p, bytes ? bytes : 1) == cudaSuccess) return p;
    cudaGetLastError();
    return NULL;
}
void hpt__cuda_free(hpt__device *dev, void *p) {
    hpt__cuda_enter(dev);
    if (p) cudaFree(p);
}
size_t hpt__cuda_left(hpt__device *dev) {
    size_t left = 0, total = 0;
    hpt__cuda_enter(dev);
    return cudaMemGetInfo(&left, &total) == cudaSuccess ? left : 0;
}
static void move(hpt__device *dev, void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind) {
    cudaError_t e = cudaMemcpyAsync(dst, src, bytes, kind, dev->compute);
    if (!e && kind != cudaMemcpyDeviceToDevice) e = cudaStreamSynchronize(dev->compute);
    hpt__cuda_note(dev, e, kind == cudaMemcpyHostToDevice ? "copying to the device" : "copying from the device");
}
void hpt__cuda_upload(hpt__device *dev, void *dst, const void *src, size_t bytes) {
    move(dev, dst, src, bytes, cudaMemcpyHostToDevice);
}
void hpt__cuda_download(hpt__device *dev, void *dst, const void *src, size_t bytes) {
    move(dev, dst, src, bytes, cudaMemcpyDeviceToHost);
}
void hpt__cuda_copy(hpt__device *dev, void *dst, const void *src, size_t bytes) {
    move(dev, dst, src, bytes, cudaMemcpyDeviceToDevice);
}
void hpt__cuda_zero(hpt__device *dev, void *p, size_t bytes) {
    hpt__cuda_note(dev, cudaMemsetAsync(p, 0, bytes, dev->compute), "cudaMemsetAsync");
}
hpt_status hpt__cuda_sync(hpt__device *dev) {
    hpt__cuda_note(dev, cudaStreamSynchronize(dev->compute), "waiting for the device");
    return hpt__cuda_report(dev);
}

/* ---- lanes ---- */

void *hpt__cuda_host_alloc(hpt__device *dev, size_t bytes) {
    void *p = NULL;
    (void)dev;
    if (cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocPortable) == cudaSuccess) return p;
    cudaGetLastError();
    return NULL;
}
void hpt__cuda_host_free(hpt__device *dev, void *p) {
    (void)dev;
    if (p) cudaFreeHost(p);
}
void hpt__cuda_stage(hpt__device *dev, int lane, void *dst, const void *src, size_t bytes) {
    hpt__cuda_note(dev, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, dev->lane[lane]), "staging a batch");
    hpt__cuda_note(dev, cudaEventRecord(dev->lane_done[lane], dev->lane[lane]), "staging a batch");
}
void hpt__cuda_await(hpt__device *dev, int lane) {
    hpt__cuda_note(dev, cudaStreamWaitEvent(dev->compute, dev->lane_done[lane], 0), "cudaStreamWaitEvent");
}
hpt_status hpt__cuda_lane_wait(hpt__device *dev, int lane) {
    hpt__cuda_note(dev, cudaEventSynchronize(dev->lane_done[lane]), "waiting for a batch");
    return hpt__cuda_report(dev);
}
/* The event is recorded by launch (inside a graph an event would belong to the graph): see hpt__cuda_poll. */
void hpt__cuda_fetch(hpt__device *dev, void *dst, const void *src, size_t bytes) {
    hpt__cuda_note(dev, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, dev->compute), "fetching a result");
}
hpt_status hpt__cuda_poll(hpt__device *dev) {
    if (dev->status || dev->lost) {
        dev->pending = 0;
        return hpt__cuda_report(dev);
    }
    if (!dev->pending) {
        CUDA_TRY(dev, cudaEventRecord(dev->fetched, dev->compute));
        dev->pending = 1;
    }
    cudaError_t e = cudaEventQuery(dev->fetched);
    if (e == cudaErrorNotReady) return HPT_END;
    dev->pending = 0;
    CUDA_TRY(dev, e);
    return hpt__cuda_report(dev);
}

/* ---- graphs ---- */

struct hpt__recording { cudaGraphExec_t exec; };

hpt_status hpt__cuda_record_begin(hpt__device *dev) {
    HPT_TRY(hpt__cuda_report(dev));
    CUDA_TRY(dev, cudaStreamBeginCapture(dev->compute, cudaStreamCaptureModeThreadLocal));
    return HPT_OK;
}
hpt_status hpt__cuda_record_end(hpt__device *dev, hpt__recording **out) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    *out = NULL;
    cudaError_t e = cudaStreamEndCapture(dev->compute, &graph);
    hpt_status st = hpt__cuda_report(dev);
    if (!st && e) st = hpt__cuda_fail(dev, e, "recording a step");
    if (!st && (e = cudaGraphInstantiate(&exec, graph, 0))) st = hpt__cuda_fail(dev, e, "cudaGraphInstantiate");
    if (graph) cudaGraphDestroy(graph);
    if (!st && !(*out = dev->host->alloc(sizeof **out))) {
        cudaGraphExecDestroy(exec);
        st = dev->host->fail(HPT_ERR_MEMORY, "out of memory for a graph");
    }
    if (!st) (*out)->exec = exec;
    return st;
}
hpt_status hpt__cuda_record_launch(hpt__device *dev, hpt__recording *g) {
    CUDA_TRY(dev, cudaGraphLaunch(g->exec, dev->compute));
    return HPT_OK;
}
void hpt__cuda_record_destroy(hpt__device *dev, hpt__recording *g) {
    cudaGraphExecDestroy(g->exec);
    dev->host->free(g);
}

/* SPDX-License-Identifier: MIT
 * The communicator over NCCL: one rank a GPU. Calls are queued on a stream of their own that follows and is followed
 * by the compute stream through events, so that reducing a bucket of gradients overlaps with the backward pass that
 * goes on. The NCCL communicator is non-blocking; where the host waits it polls NCCL's state and the watch, and a
 * broken communicator is aborted, never destroyed. */
#define _POSIX_C_SOURCE 200809L
#include "backend/cuda/device.h"
#include "dist/watch.h"
#include <nccl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct nccl_state {
    hpt__device *dev;
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t ready, done;
    hpt__watch *watch;
    void *box;                  /* device memory for host_gather */
    size_t box_bytes;
    double timeout, left_since;
    int failed;
} nccl_state;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static hpt_status broken(hpt__comm *c, hpt_status st) {
    nccl_state *s = c->state;
    if (!s->failed && s->comm) ncclCommAbort(s->comm);      /* also ends its kernels that wait on the device */
    s->comm = NULL;
    s->failed = 1;
    return st;
}
static hpt_status nccl_fail(hpt__comm *c, ncclResult_t r, const char *what) {
    nccl_state *s = c->state;
    int dead = s->watch ? hpt__watch_dead(s->watch) : -1;
    if (dead >= 0)
        return broken(c, s->dev->host->fail(HPT_ERR_PEER, "rank %d of %d is gone (this is rank %d)", dead, c->size,
                                            c->rank));
    return broken(c, s->dev->host->fail(r == ncclInvalidArgument || r == ncclInvalidUsage ? HPT_ERR_INTERNAL
                                        : HPT_ERR_PEER, "NCCL: %s: %s", what, ncclGetErrorString(r)));
}
enum { GRACE_S = 5 };
static hpt_status nccl_check(hpt__comm *c, double waited) {
    nccl_state *s = c->state;
    const hpt__host *host = s->dev->host;
    ncclResult_t r = ncclSuccess;
    if (s->failed) return host->fail(HPT_ERR_PEER, "an earlier exchange between the ranks failed");
    int dead = s->watch ? hpt__watch_dead(s->watch) : -1, left = s->watch ? hpt__watch_left(s->watch) : -1;
    if (dead >= 0) return nccl_fail(c, ncclRemoteError, "peer");
    ncclResult_t e = ncclCommGetAsyncError(s->comm, &r);
    if (e || (r && r != ncclInProgress)) return nccl_fail(c, e ? e : r, "asynchronous error");
    if (left >= 0 && !s->left_since) s->left_since = now();
    if (s->left_since && now() - s->left_since > GRACE_S)
        return broken(c,
                      host->fail(HPT_ERR_PEER,
                                 "rank %d of %d has closed its context while the others still train (this is rank %d)",
                                 left, c->size, c->rank));
    if (s->timeout > 0 && waited > s->timeout) {
        if (s->watch) hpt__watch_tell(s->watch, c->rank);
        return broken(c,
                      host->fail(HPT_ERR_PEER,
                                 "NCCL: no progress for %.0f seconds (option comm_timeout); this is rank %d of %d",
                                 s->timeout, c->rank, c->size));
    }
    return HPT_OK;
}
/* A non-blocking call may still be under way when it returns. */
static hpt_status settle(hpt__comm *c, ncclResult_t r, const char *what) {
    nccl_state *s = c->state;
    double begin = now();
    while (r == ncclInProgress) {
        ncclResult_t e = ncclCommGetAsyncError(s->comm, &r);
        if (e) r = e;
        if (r == ncclInProgress) {
            hpt_status st = nccl_check(c, now() - begin);
            if (st) return st;
            nanosleep(&(struct timespec){0, 100000}, NULL);
        }
    }
    return r ? nccl_fail(c, r, what) : HPT_OK;
}
#define CUDA_OK(call) do { cudaError_t e_ = (call); if (e_) return broken(c, hpt__cuda_fail(s->dev, e_, #call)); \
} while (0)

/* The exchange comes after what compute has queued; compute goes on only after join(). */
static hpt_status fork_stream(hpt__comm *c) {
    nccl_state *s = c->state;
    if (s->failed) return nccl_check(c, 0);
    CUDA_OK(cudaEventRecord(s->ready, s->dev->compute));
    CUDA_OK(cudaStreamWaitEvent(s->stream, s->ready, 0));
    return HPT_OK;
}
static hpt_status join_stream(hpt__comm *c) {
    nccl_state *s = c->state;
    CUDA_OK(cudaEventRecord(s->done, s->stream));
    CUDA_OK(cudaStreamWaitEvent(s->dev->compute, s->done, 0));
    return HPT_OK;
}
static hpt_status nccl_gather(hpt__comm *c, const void *part, void *all, size_t bytes) {
    nccl_state *s = c->state;
    HPT_TRY(fork_stream(c));
    HPT_TRY(settle(c, ncclAllGather(part, all, bytes, ncclInt8, s->comm, s->stream), "all-gather"));
    return join_stream(c);
}
static hpt_status nccl_mean_start(hpt__comm *c, void *data, size_t count, int is_double) {
    nccl_state *s = c->state;
    HPT_TRY(fork_stream(c));
    return settle(c, ncclAllReduce(data, data, count, is_double ? ncclFloat64 : ncclFloat32, ncclAvg, s->comm,
                                   s->stream), "all-reduce");
}
static hpt_status nccl_mean_wait(hpt__comm *c) {
    nccl_state *s = c->state;
    return s->failed ? nccl_check(c, 0) : join_stream(c);
}
static hpt_status nccl_host_gather(hpt__comm *c, const void *part, void *all, size_t bytes) {
    nccl_state *s = c->state;
    size_t need = bytes * (size_t)(c->size + 1);
    if (s->failed) return nccl_check(c, 0);
    if (need > s->box_bytes) {
        if (s->box) cudaFree(s->box);
        s->box = NULL;
        CUDA_OK(cudaMalloc(&s->box, need));
        s->box_bytes = need;
    }
    char *mine = s->box, *theirs = mine + bytes;
    CUDA_OK(cudaMemcpyAsync(mine, part, bytes, cudaMemcpyHostToDevice, s->dev->compute));
    HPT_TRY(nccl_gather(c, mine, theirs, bytes));
    CUDA_OK(cudaEventRecord(s->done, s->stream));
    double begin = now();
    for (cudaError_t e; (e = cudaEventQuery(s->done)) != cudaSuccess;) {
        if (e != cudaErrorNotReady) return broken(c, hpt__cuda_fail(s->dev, e, "waiting for an all-gather"));
        HPT_TRY(nccl_check(c, now() - begin));
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
    CUDA_OK(cudaMemcpyAsync(all, theirs, bytes * (size_t)c->size, cudaMemcpyDeviceToHost, s->dev->compute));
    CUDA_OK(cudaStreamSynchronize(s->dev->compute));
    return HPT_OK;
}
static void nccl_close(hpt__comm *c) {
    nccl_state *s = c->state;
    if (!s) return;
    cudaSetDevice(s->dev->index);
    hpt__watch_close(s->watch);
    if (s->comm && !s->failed) {
        cudaStreamSynchronize(s->stream);
        ncclResult_t r = ncclCommFinalize(s->comm);
        for (int i = 0; i < 50000 && r == ncclInProgress; i++) {
            nanosleep(&(struct timespec){0, 100000}, NULL);
            if (ncclCommGetAsyncError(s->comm, &r)) break;
        }
        if (r) ncclCommAbort(s->comm);
        else ncclCommDestroy(s->comm);
    }
    if (s->box) cudaFree(s->box);
    if (s->stream) cudaStreamDestroy(s->stream);
    if (s->ready) cudaEventDestroy(s->ready);
    if (s->done) cudaEventDestroy(s->done);
    s->dev->host->free(s);
    c->state = NULL;
}

/* ---- ids as text ---- */

hpt_status hpt__nccl_id(const hpt__host *host, char *text, size_t size) {
    ncclUniqueId id;
    ncclResult_t r = ncclGetUniqueId(&id);
    if (r) return host->fail(HPT_ERR_UNAVAILABLE, "NCCL: ncclGetUniqueId: %s", ncclGetErrorString(r));
    if (size < 2 * sizeof id + 1) return host->fail(HPT_ERR_ARGUMENT, "an NCCL id needs %zu bytes", 2 * sizeof id + 1);
    for (size_t i = 0; i < sizeof id; i++) snprintf(text + 2 * i, 3, "%02x", (unsigned char)id.internal[i]);
    return HPT_OK;
}
static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10
        : -1;
}
static int parse_id(const char *text, ncclUniqueId *id) {
    if (strlen(text) != 2 * sizeof *id) return 0;
    for (size_t i = 0; i < sizeof *id; i++) {
        int a = digit(text[2 * i]), b = digit(text[2 * i + 1]);
        if (a < 0 || b < 0) return 0;
        id->internal[i] = (char)(a * 16 + b);
    }
    return 1;
}

static hpt_status watch_gather(void *user, const void *part, void *all, size_t bytes) {
    return nccl_host_gather(user, part, all, bytes);
}

static hpt_status start(hpt__comm *c, const ncclUniqueId *id) {
    nccl_state *s = c->state;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    CUDA_OK(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking));
    CUDA_OK(cudaEventCreateWithFlags(&s->ready, cudaEventDisableTiming));
    CUDA_OK(cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming));
    HPT_TRY(settle(c, ncclCommInitRankConfig(&s->comm, c->size, *id, c->rank, &config), "ncclCommInitRankConfig"));
    return c->size > 1 ? hpt__watch_open(s->dev->host, c->rank, c->size, watch_gather, c, &s->watch) : HPT_OK;
}

hpt_status hpt__nccl_open(hpt__device *dev, const hpt__comm_spec *spec, hpt__comm *out) {
    ncclUniqueId id;
    int version = 0;
    ncclResult_t r = ncclGetVersion(&version);
    if (r || version / 10000 != NCCL_MAJOR)
        return dev->host->fail(HPT_ERR_UNAVAILABLE, "NCCL %d.%d is loaded, this module was built for major version %d",
                               version / 10000, version % 10000 / 100, NCCL_MAJOR);
    if (!parse_id(spec->id, &id))
        return dev->host->fail(HPT_ERR_OPTION,
                               "option 'comm_id': not an id of %zu hexadecimal digits; rank 0 gets one from "
                               "hpt_comm_id()", 2 * sizeof id);
    nccl_state *s = dev->host->alloc(sizeof *s);
    if (!s) return dev->host->fail(HPT_ERR_MEMORY, "out of memory for a communicator");
    memset(s, 0, sizeof *s);
    s->dev = dev;
    s->timeout = spec->timeout;
    *out = (hpt__comm){"nccl", spec->rank, spec->size, s, nccl_gather, nccl_mean_start, nccl_mean_wait,
                       nccl_host_gather, nccl_check, nccl_close};
    cudaSetDevice(dev->index);
    hpt_status st = start(out, &id);
    if (st) {
        nccl_close(out);
        memset(out, 0, sizeof *out);
    }
    return st;
}

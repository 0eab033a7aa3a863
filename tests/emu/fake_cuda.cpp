/* SPDX-License-Identifier: MIT
 * The CUDA runtime of fake.h: memory, lazy streams, events, capture and graphs. Work on a stream runs as late as the
 * rules allow, and memory can be closed to the host: what forgets to wait is caught. */
#include "fake.h"
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

extern "C" void hpt_emu_allow_shared(const void *kernel, size_t bytes);

struct op { std::function<bool()> fn; cudaEvent_t wait; uint64_t version; };
struct graph { std::vector<std::function<bool()>> ops; bool broken = false; std::set<cudaStream_t> streams;
               cudaStream_t origin = nullptr; };
struct CUstream_st { std::deque<op> q; std::shared_ptr<graph> capture; bool dirty = false;
                     std::thread::id owner = std::this_thread::get_id(); };
struct CUevent_st { uint64_t version = 0, done = 0; CUstream_st *stream = nullptr; std::shared_ptr<graph> capture;
                    double at = 0; };
struct CUgraph_st { std::shared_ptr<graph> g; };
struct CUgraphExec_st { std::shared_ptr<graph> g; };

static std::mutex lock_;
static thread_local std::unique_lock<std::mutex> *held;
struct guard {
    std::unique_lock<std::mutex> l;
    bool mine;
    guard() : mine(!held) {
        if (mine) {
            l = std::unique_lock<std::mutex>(lock_);
            held = &l;
        }
    }
    ~guard() { if (mine) held = nullptr; }
};

struct plan { int after, code; };
static std::map<std::string, long> calls;
static std::map<std::string, plan> failures;
static std::map<char *, size_t> device_memory, host_memory;
static int lost, devices = 1, major_ = 9, minor_ = 0, driver_version, protect_, running;
static size_t memory_limit = (size_t)80 << 30, memory_used;
static long live;
static std::string complaints;
static thread_local cudaError_t last = cudaSuccess;
static CUstream_st null_stream;
int hpt_fake_cudnn_version, hpt_fake_nccl_version;

void hpt_fake_reset(void) {
    guard g;
    calls.clear();
    failures.clear();
    lost = 0;
    devices = 1;
    major_ = 9;
    minor_ = 0;
    driver_version = hpt_fake_cudnn_version = hpt_fake_nccl_version = 0;
    memory_limit = (size_t)80 << 30;
    complaints.clear();
    last = cudaSuccess;
}
void hpt_fake_fail(const char *call, int after, int code) { guard g; failures[call] = {after, code}; }
void hpt_fake_lose(int code) { guard g; lost = code; }
long hpt_fake_calls(const char *call) { guard g; return calls[call]; }
void hpt_fake_device(int count, int major, int minor, size_t memory) {
    guard g; devices = count; major_ = major; minor_ = minor; if (memory) memory_limit = memory;
}
void hpt_fake_versions(int driver, int cudnn, int nccl) {
    driver_version = driver; hpt_fake_cudnn_version = cudnn; hpt_fake_nccl_version = nccl;
}
void hpt_fake_protect(int on) { guard g; protect_ = on; }
long hpt_fake_live(void) { guard g; return live; }
void hpt_fake_object(int delta) { guard g; live += delta; }
const char *hpt_fake_complaints(void) { return complaints.c_str(); }
void hpt_fake_complain(const char *fmt, ...) {
    char text[500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (complaints.size() < 4000) complaints += std::string(text) + "\n";
}
bool hpt_fake_fails(const char *call, int *code) {
    guard g;
    calls[call]++;
    if (lost) {
        *code = lost;
        return true;
    }
    auto it = failures.find(call);
    if (it == failures.end()) return false;
    if (it->second.after-- > 0) return false;
    *code = it->second.code;
    failures.erase(it);
    return true;
}
void hpt_fake_error(cudaError_t e) { last = e; }
static cudaError_t result(cudaError_t e) {
    if (e != cudaSuccess && e != cudaErrorNotReady) last = e;
    return e;
}
#define ENTER guard guard_; { int code_; if (hpt_fake_fails(__func__, &code_)) return result((cudaError_t)code_); }

static void protect(int rw) {
    if (protect_)
        for (auto &m : device_memory)
            mprotect(m.first, (m.second + 4095) / 4096 * 4096, rw ? PROT_READ | PROT_WRITE : PROT_NONE);
}
void hpt_fake_check_device(const void *p, size_t bytes, size_t align, const char *what) {
    char *c = (char *)(uintptr_t)p;
    if (align && (uintptr_t)p % align) hpt_fake_complain("%s: %p is not aligned to %zu", what, p, align);
    auto it = device_memory.upper_bound(c);
    if (it == device_memory.begin()) { hpt_fake_complain("%s: %p is not device memory", what, p); return; }
    --it;
    if (c + bytes > it->first + it->second)
        hpt_fake_complain("%s: %p with %zu bytes leaves its allocation of %zu bytes", what, p, bytes, it->second);
}
static bool in(const std::map<char *, size_t> &m, const void *p, size_t n) {
    char *c = (char *)(uintptr_t)p;
    auto it = m.upper_bound(c);
    if (it == m.begin()) return false;
    --it;
    return c + n <= it->first + it->second;
}

static void submit(CUstream_st *s, std::function<void()> fn);
static CUstream_st *stream_of(cudaStream_t s) { return s ? s : &null_stream; }
static bool run(std::function<bool()> &fn) {
    if (running++ == 0) protect(1);
    bool done = fn();
    if (--running == 0) protect(0);
    return done;
}
/* Runs a stream's work in order, up to an event if one is given; false: something waits for another rank. */
static bool advance(CUstream_st *s, cudaEvent_t until, uint64_t version) {
    while (!s->q.empty() && !(until && until->done >= version)) {
        op &o = s->q.front();
        if (o.wait) {
            if (o.wait->done < o.version && o.wait->stream && !advance(o.wait->stream, o.wait, o.version)) return false;
        } else if (!run(o.fn)) return false;
        s->q.pop_front();
    }
    return true;
}
static std::condition_variable_any others;
static void drain(CUstream_st *s, cudaEvent_t until, uint64_t version) {
    while (!advance(s, until, version)) others.wait_for(*held, std::chrono::milliseconds(1));
}
static std::set<CUstream_st *> all_streams;
static void drain_all() {
    drain(&null_stream, nullptr, 0);
    /* another thread is another rank */
    for (auto s : all_streams) if (s->owner == std::this_thread::get_id()) drain(s, nullptr, 0);
}
static double now() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
static void submit_until(CUstream_st *s, std::function<bool()> fn) {
    s->dirty = true;
    if (s->capture) s->capture->ops.push_back(fn);
    else s->q.push_back({fn, nullptr, 0});
}
void hpt_fake_submit(cudaStream_t s, const char *name, std::function<void()> fn) {
    guard g;
    int code;
    if (hpt_fake_fails(name, &code)) { last = (cudaError_t)code; return; }
    submit(stream_of(s), fn);
}
static void submit(CUstream_st *s, std::function<void()> fn) { submit_until(s, [=] { fn(); return true; }); }
void hpt_fake_submit_until(cudaStream_t s, const char *name, std::function<bool()> fn) {
    guard g;
    int code;
    if (hpt_fake_fails(name, &code)) { last = (cudaError_t)code; return; }
    submit_until(stream_of(s), fn);
}
/* calls that are forbidden while this thread captures; only one capture at a time is kept track of */
static thread_local std::shared_ptr<graph> capturing_;
static bool forbidden(const char *call) {
    if (!capturing_) return false;
    hpt_fake_complain("%s during a capture", call);
    capturing_->broken = true;
    return true;
}

extern "C" {
cudaError_t cudaGetDeviceCount(int *n) { ENTER *n = devices; return result(devices ? cudaSuccess : cudaErrorNoDevice); }
cudaError_t cudaSetDevice(int d) { ENTER return result(d < devices ? cudaSuccess : cudaErrorInvalidDevice); }
cudaError_t cudaDriverGetVersion(int *v) {
    ENTER *v = driver_version ? driver_version : CUDART_VERSION; return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *v) { ENTER *v = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
    ENTER
    if (d >= devices) return result(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    strcpy(p->name, "emulated device");
    p->major = major_;
    p->minor = minor_;
    p->multiProcessorCount = 4;
    p->totalGlobalMem = memory_limit;
    p->sharedMemPerBlockOptin = 232448;
    p->l2CacheSize = 50 << 20;
    p->pciBusID = 7;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_, size_t *total) {
    ENTER *free_ = memory_limit - memory_used; *total = memory_limit; return cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t n) {
    ENTER
    *p = nullptr;
    if (forbidden(__func__)) return result(cudaErrorStreamCaptureUnsupported);
    if (n > memory_limit - memory_used) return result(cudaErrorMemoryAllocation);
    char *c = protect_ ? (char *)mmap(nullptr, (n + 4095) / 4096 * 4096, running ? PROT_READ | PROT_WRITE : PROT_NONE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                       : (char *)aligned_alloc(256, (n + 255) / 256 * 256);
    if (!c || c == MAP_FAILED) return result(cudaErrorMemoryAllocation);
    if (!protect_) memset(c, 0xff, n);                  /* fresh device memory holds anything: NaNs here */
    device_memory[c] = n;
    memory_used += n;
    live++;
    *p = c;
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    ENTER
    if (!p) return cudaSuccess;
    if (forbidden(__func__)) return result(cudaErrorStreamCaptureUnsupported);
    drain_all();
    auto it = device_memory.find((char *)p);
    if (it == device_memory.end()) { hpt_fake_complain("cudaFree of %p", p); return result(cudaErrorInvalidValue); }
    if (protect_) munmap(p, (it->second + 4095) / 4096 * 4096); else free(p);
    memory_used -= it->second;
    device_memory.erase(it);
    live--;
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned) {
    ENTER
    if (forbidden(__func__)) return result(cudaErrorStreamCaptureUnsupported);
    if (!(*p = aligned_alloc(256, (n + 255) / 256 * 256))) return result(cudaErrorMemoryAllocation);
    host_memory[(char *)*p] = n;
    live++;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p) {
    ENTER
    if (!p) return cudaSuccess;
    drain_all();
    if (!host_memory.erase((char *)p)) {
        hpt_fake_complain("cudaFreeHost of %p", p); return result(cudaErrorInvalidValue);
    }
    free(p);
    live--;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, enum cudaMemcpyKind kind, cudaStream_t s) {
    ENTER
    CUstream_st *st = stream_of(s);
    bool dst_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
        src_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!n) return cudaSuccess;
    if (dst_device) hpt_fake_check_device(dst, n, 0, "copy to the device");
    if (src_device) hpt_fake_check_device(src, n, 0, "copy from the device");
    if (!dst_device && !in(host_memory, dst, n)) {
        if (forbidden("cudaMemcpyAsync to pageable memory")) return result(cudaErrorStreamCaptureUnsupported);
        submit(st, [=] { memcpy(dst, src, n); });
        drain(st, nullptr, 0);
    } else if (!src_device && !in(host_memory, src, n)) {
        if (forbidden("cudaMemcpyAsync from pageable memory")) return result(cudaErrorStreamCaptureUnsupported);
        auto copy = std::make_shared<std::vector<char>>((const char *)src, (const char *)src + n);
        submit(st, [=] { memcpy(dst, copy->data(), n); });
    } else submit(st, [=] { memmove(dst, src, n); });
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *dst, int v, size_t n, cudaStream_t s) {
    ENTER
    hpt_fake_check_device(dst, n, 0, "memset");
    submit(stream_of(s), [=] { memset(dst, v, n); });
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    ENTER *s = new CUstream_st; all_streams.insert(*s); live++; return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    ENTER drain(s, nullptr, 0); all_streams.erase(s); delete s; live--; return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    ENTER
    if (forbidden(__func__)) return result(cudaErrorStreamCaptureUnsupported);
    drain(stream_of(s), nullptr, 0);
    return result(last == cudaErrorIllegalAddress ? last : cudaSuccess);
}
cudaError_t cudaStreamQuery(cudaStream_t s) {
    ENTER return advance(stream_of(s), nullptr, 0) ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
    ENTER *e = new CUevent_st; live++; return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) { ENTER if (e) { drain_all(); delete e; live--; } return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s_) {
    ENTER
    CUstream_st *s = stream_of(s_);
    e->stream = s;
    e->capture = s->capture;
    if (s->capture) return cudaSuccess;
    uint64_t v = ++e->version;
    s->q.push_back({[=] { e->done = v; e->at = now(); return true; }, nullptr, 0});
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s_, cudaEvent_t e, unsigned) {
    ENTER
    CUstream_st *s = stream_of(s_);
    if (e->capture) {
        if (s->capture && s->capture != e->capture) {
            hpt_fake_complain("two captures meet"); return result(cudaErrorStreamCaptureMerge);
        }
        s->capture = e->capture;
        e->capture->streams.insert(s);
        if (e->stream) e->stream->dirty = false;
        return cudaSuccess;
    }
    if (s->capture) {
        hpt_fake_complain("a capture waits for an event outside it"); return result(cudaErrorStreamCaptureIsolation);
    }
    s->q.push_back({nullptr, e, e->version});
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    ENTER
    if (forbidden(__func__)) return result(cudaErrorStreamCaptureUnsupported);
    if (e->stream) drain(e->stream, e, e->version);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t e) {
    ENTER return !e->stream || advance(e->stream, e, e->version) ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
    ENTER
    if (a->done < a->version || b->done < b->version) return result(cudaErrorNotReady);
    *ms = (float)(b->at - a->at);
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode) {
    ENTER
    drain(s, nullptr, 0);
    s->capture = std::make_shared<graph>();
    s->capture->origin = s;
    s->capture->streams.insert(s);
    s->dirty = false;
    capturing_ = s->capture;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out) {
    guard guard_;
    int code = 0;
    bool fails = hpt_fake_fails(__func__, &code), unjoined = false;
    auto g = s->capture;
    *out = nullptr;
    if (g)
        for (auto t : g->streams) {
            if (t != s && t->dirty) unjoined = true;
            t->capture.reset();
        }
    capturing_.reset();                                 /* also a capture that fails is over */
    if (fails) return result((cudaError_t)code);
    if (!g) return result(cudaErrorIllegalState);
    if (unjoined) {
        hpt_fake_complain("a stream was not joined before the capture ended");
        return result(cudaErrorStreamCaptureUnjoined); }
    if (g->broken) return result(cudaErrorStreamCaptureInvalidated);
    *out = new CUgraph_st{g};
    live++;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long) {
    ENTER *e = new CUgraphExec_st{g->g}; live++; return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) { ENTER delete g; live--; return cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) { ENTER drain_all(); delete e; live--; return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
    ENTER
    auto g = e->g;
    for (auto &fn : g->ops) submit_until(stream_of(s), fn);
    return cudaSuccess;
}
cudaError_t cudaGetLastError(void) {
    guard g;
    cudaError_t e = lost ? (cudaError_t)lost : last;
    last = cudaSuccess;
    return e;
}
cudaError_t cudaPeekAtLastError(void) { guard g; return lost ? (cudaError_t)lost : last; }
const char *cudaGetErrorName(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    default: return "cudaError";
    }
}
const char *cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
cudaError_t cudaFuncSetAttribute(const void *k, enum cudaFuncAttribute, int v) {
    hpt_emu_allow_shared(k, (size_t)v); return cudaSuccess;
}
}

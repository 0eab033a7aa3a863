/* SPDX-License-Identifier: MIT
 * NCCL of fake.h: ranks are threads of one process that meet by their id. A call waits on the stream for all ranks,
 * as on cards. */
#include "fake.h"
#include <functional>
#include <mutex>
#include <map>
#include <memory>
#include <nccl.h>
#include <string.h>
#include <string>
#include <vector>
extern int hpt_fake_nccl_version;

struct meeting { int arrived = 0, done = 0; std::vector<const void *> in; std::vector<void *> out; };
struct group { int size = 0, joined = 0; bool aborted = false; std::map<uint64_t, meeting> calls; };
struct ncclComm { std::shared_ptr<group> g; int rank; uint64_t next = 0; int waiting = 0, finalized = 0; };
static std::map<std::string, std::shared_ptr<group>> groups;
static std::mutex groups_lock;
static int ids;

/* what: called once, by the last to arrive, with every rank's pointers */
static void meet(ncclComm *c, const void *in, void *out, cudaStream_t s, std::function<void(meeting &, int)> what,
                 const char *name) {
    auto g = c->g;
    int rank = c->rank;
    hpt_fake_submit_until(s, name, [=] {
        if (g->aborted) return true;
        meeting &m = g->calls[c->next];
        if (!c->waiting) {
            c->waiting = 1;
            m.in.resize((size_t)g->size);
            m.out.resize((size_t)g->size);
            m.in[(size_t)rank] = in;
            m.out[(size_t)rank] = out;
            if (++m.arrived == g->size) {
                what(m, g->size);
                m.done = 1;
            }
        }
        if (!m.done) return false;
        c->waiting = 0;
        c->next++;
        return true;
    });
}
#define ENTER { int code_; if (hpt_fake_fails(__func__, &code_)) return (ncclResult_t)code_; }
extern "C" {
ncclResult_t ncclGetVersion(int *v) {
    *v = hpt_fake_nccl_version ? hpt_fake_nccl_version : NCCL_VERSION_CODE; return ncclSuccess;
}
const char *ncclGetErrorString(ncclResult_t r) {
    return r == ncclRemoteError ? "remote process exited" : "fake NCCL error";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    ENTER
    std::lock_guard<std::mutex> hold(groups_lock);
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "group %d", ids++);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t *c, int size, ncclUniqueId id, int rank, ncclConfig_t *config) {
    ENTER
    std::lock_guard<std::mutex> hold(groups_lock);
    auto &g = groups[std::string(id.internal, sizeof id.internal)];
    if (!g) g = std::make_shared<group>();
    g->size = size;
    g->joined++;
    *c = new ncclComm{g, rank};
    hpt_fake_object(1);
    if (config->blocking != 0) hpt_fake_complain("nccl: a blocking communicator");
    return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *r) {
    ENTER
    std::lock_guard<std::mutex> hold(groups_lock);
    *r = c->g->aborted ? ncclRemoteError : c->g->joined < c->g->size ? ncclInProgress : ncclSuccess;
    return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t c) { ENTER c->finalized = 1; return ncclSuccess; }
ncclResult_t ncclCommDestroy(ncclComm_t c) {
    if (!c->finalized || c->g->aborted)
        hpt_fake_complain("nccl: a communicator destroyed that is broken or not finalised");
    delete c;
    hpt_fake_object(-1);
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t c) {
    c->g->aborted = true;
    hpt_fake_object(-1);
    return ncclSuccess;         /* stream work may still name it: kept */
}
ncclResult_t ncclAllGather(const void *in, void *out, size_t count, ncclDataType_t type, ncclComm_t c, cudaStream_t s) {
    ENTER
    if (type != ncclInt8) hpt_fake_complain("nccl: all-gather of type %d", (int)type);
    hpt_fake_check_device(in, count, 0, "nccl: all-gather in");
    hpt_fake_check_device(out, count * (size_t)c->g->size, 0, "nccl: all-gather out");
    meet(c, in, out, s, [=](meeting &m, int n) { for (int r = 0; r < n; r++) for (int p = 0; p < n;
        p++) memmove((char *)m.out[(size_t)r] + (size_t)p * count, m.in[(size_t)p], count); }, "nccl all-gather");
    return ncclSuccess;
}
ncclResult_t ncclAllReduce(const void *in, void *out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c,
                           cudaStream_t s) {
    ENTER
    size_t size = type == ncclFloat64 ? 8 : 4;
    if (in != out || op != ncclAvg || (type != ncclFloat32 && type != ncclFloat64))
        hpt_fake_complain("nccl: all-reduce op %d type %d", (int)op, (int)type);
    hpt_fake_check_device(in, count * size, 0, "nccl: all-reduce");
    meet(c, in, out, s, [=](meeting &m, int n) {
        for (size_t i = 0; i < count; i++) {
            double sum = 0;
            for (int r = 0; r < n; r++)
                sum += size == 8 ? ((const double *)m.in[(size_t)r])[i] : (double)((const float *)m.in[(size_t)r])[i];
            for (int r = 0; r < n; r++)
                if (size == 8) ((double *)m.out[(size_t)r])[i] = sum / n;
                else ((float *)m.out[(size_t)r])[i] = (float)(sum / n);
        }
    }, "nccl all-reduce");
    return ncclSuccess;
}
}

/* SPDX-License-Identifier: MIT
 * Runs kernels on the host: see emu.h. One block at a time per host thread; fibers are switched by hand (x86-64) or
 * by ucontext. */
#include "emu.h"
#include <map>
#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <vector>
#include "fake.h"
#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif
#ifdef EMU_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
/* Saves the callee's registers on the old stack, switches, restores. */
extern "C" void hpt_emu_switch(void **from, void *to);
__asm__(".text\n.globl hpt_emu_switch\n.hidden hpt_emu_switch\n.type hpt_emu_switch,@function\nhpt_emu_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size hpt_emu_switch,.-hpt_emu_switch\n");
#else
#include <ucontext.h>
#endif

#ifdef EMU_ASAN
enum { STACK = 128 << 10 };
#else
enum { STACK = 64 << 10 };
#endif
enum { MAX_THREADS = 1024, MAX_SHARED = 232448 };

struct pending { void *to; const void *from; };
struct fiber : hpt_emu_thread {
    char *stack;
    void *sp;
#if !defined(__x86_64__)
    ucontext_t context;
#endif
    int warp, done, waiting;                    /* waiting: 1 block barrier, 2 warp */
    uint64_t generation;                        /* of the warp rendezvous waited for */
    std::vector<std::vector<pending>> groups;
    std::vector<pending> open;
    void *fake_stack;
};
struct warp {
    uint32_t mask, arrived;
    uint64_t generation;
    char in[32][64], out[2][32][64];
    uint32_t alive;
};
struct block_state {
    std::vector<fiber> fibers;
    warp warps[MAX_THREADS / 32];
    int alive, at_barrier;
    std::map<const void *, std::pair<void *, size_t>> shared;
    void *dynamic;
    size_t dynamic_bytes, shared_bytes;
    const char *kernel;
    const std::function<void()> *body;
    fiber *current;
    void *main_sp, *main_fake;
    const void *main_bottom;
    size_t main_size;
#if !defined(__x86_64__)
    ucontext_t main_context;
#endif
};
thread_local hpt_emu_thread *hpt_emu_me;
static thread_local block_state *S;

void hpt_emu_fault(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "emulated device: kernel %s: ", S ? S->kernel : "?");
    vfprintf(stderr, fmt, ap);
    if (hpt_emu_me)
        fprintf(stderr, " (block %u,%u,%u thread %u)", hpt_emu_me->block.x, hpt_emu_me->block.y, hpt_emu_me->block.z,
                hpt_emu_me->thread.x);
    fprintf(stderr, "\n");
    abort();
}

static void to_main(fiber *f) {
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(f->done ? nullptr : &f->fake_stack, S->main_bottom, S->main_size);
#endif
#if defined(__x86_64__)
    hpt_emu_switch(&f->sp, S->main_sp);
#else
    swapcontext(&f->context, &S->main_context);
#endif
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, nullptr, nullptr);
#endif
}
static void to_fiber(fiber *f) {
    S->current = f;
    hpt_emu_me = f;
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(&S->main_fake, f->stack, STACK);
#endif
#if defined(__x86_64__)
    hpt_emu_switch(&S->main_sp, f->sp);
#else
    swapcontext(&S->main_context, &f->context);
#endif
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(S->main_fake, nullptr, nullptr);
#endif
    hpt_emu_me = nullptr;
}
static void fiber_main() {
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &S->main_bottom, &S->main_size);
#endif
    fiber *f = S->current;
    (*S->body)();
    for (auto &g : f->groups)
        if (!g.empty()) hpt_emu_fault("a thread ends with an asynchronous copy that nobody waited for");
    if (!f->open.empty()) hpt_emu_fault("a thread ends with an asynchronous copy that was not committed");
    f->done = 1;
    S->alive--;
    S->warps[f->warp].alive &= ~(1u << f->lane);
    to_main(f);
    abort();
}

void hpt_emu_sync(const char *, int) {
    fiber *f = S->current;
    f->waiting = 1;
    S->at_barrier++;
    to_main(f);
}
void hpt_emu_exchange(uint32_t mask, const void *mine, size_t size, void *all) {
    fiber *f = S->current;
    warp *w = &S->warps[f->warp];
    if (size > 64) hpt_emu_fault("an exchange of %zu bytes", size);
    if (!(mask >> f->lane & 1)) hpt_emu_fault("a lane calls a warp function without being in its mask");
    if (mask & ~w->alive)
        hpt_emu_fault("a warp function names lanes %08x that have ended or do not exist", mask & ~w->alive);
    if (w->arrived && w->mask != mask) hpt_emu_fault("lanes of one warp call with masks %08x and %08x", w->mask, mask);
    memcpy(w->in[f->lane], mine, size);
    w->mask = mask;
    w->arrived |= 1u << f->lane;
    uint64_t gen = w->generation;
    if (w->arrived == mask) {
        for (int i = 0; i < 32; i++) if (mask >> i & 1) memcpy(w->out[gen & 1][i], w->in[i], size);
        w->arrived = 0;
        w->generation++;
    } else {
        f->waiting = 2;
        f->generation = gen;
        to_main(f);
    }
    for (int i = 0; i < 32; i++) if (mask >> i & 1) memcpy((char *)all + i * size, w->out[gen & 1][i], size);
}

void *hpt_emu_shared(const void *site, size_t bytes) {
    auto it = S->shared.find(site);
    if (it == S->shared.end()) {
        S->shared_bytes += bytes;
        if (S->shared_bytes > 48 << 10) hpt_emu_fault("%zu bytes of static shared memory", S->shared_bytes);
        void *p = malloc(bytes);
        memset(p, 0xff, bytes);
        it = S->shared.emplace(site, std::make_pair(p, bytes)).first;
    }
    return it->second.first;
}
void *hpt_emu_dynamic(void) { return S->dynamic; }
void hpt_emu_copy(void *to, const void *from) { S->current->open.push_back({to, from}); }
void hpt_emu_commit(void) {
    S->current->groups.push_back(S->current->open);
    S->current->open.clear();
}
void hpt_emu_wait(int left) {
    auto &g = S->current->groups;
    while ((int)g.size() > left) {
        for (auto &p : g.front()) memcpy(p.to, p.from, 16);
        g.erase(g.begin());
    }
}

static uint64_t order_seed() {
    const char *t = getenv("HPT_EMU_ORDER");
    return t ? strtoull(t, nullptr, 10) : 0;
}
static uint32_t draw(uint64_t *s) { return (uint32_t)((*s = *s * 6364136223846793005u + 1442695040888963407u) >> 33); }
static void shuffle(std::vector<int> &v, uint64_t *s) {
    for (size_t i = v.size(); i > 1; i--) std::swap(v[i - 1], v[draw(s) % i]);
}

static void run_block(block_state *b, dim3 grid, dim3 block, hpt_emu_uint3 at, uint64_t *seed) {
    int n = (int)(block.x * block.y * block.z);
    std::vector<int> order((size_t)n);
    for (int i = 0; i < n; i++) order[(size_t)i] = i;
    for (auto &s : b->shared) memset(s.second.first, 0xff, s.second.second);
    if (b->dynamic) memset(b->dynamic, 0xff, b->dynamic_bytes);
    memset(b->warps, 0, sizeof b->warps);
    b->alive = n;
    b->at_barrier = 0;
    for (int i = 0; i < n; i++) {
        fiber *f = &b->fibers[(size_t)i];
        f->thread = {(unsigned)i % block.x, (unsigned)i / block.x % block.y, (unsigned)i / (block.x * block.y)};
        f->block = at;
        f->block_dim = block;
        f->grid_dim = grid;
        f->lane = i % 32;
        f->warp = i / 32;
        f->done = f->waiting = 0;
        f->groups.clear();
        f->open.clear();
        b->warps[i / 32].alive |= 1u << (i % 32);
#if defined(__x86_64__)
        void **top = (void **)(f->stack + STACK - 64);
        *--top = nullptr;
        *--top = (void *)fiber_main;
        for (int r = 0; r < 6; r++) *--top = nullptr;
        f->sp = top;
#else
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack;
        f->context.uc_stack.ss_size = STACK;
        makecontext(&f->context, fiber_main, 0);
#endif
    }
    while (b->alive) {
        int moved = 0;
        if (*seed) shuffle(order, seed);
        for (int i : order) {
            fiber *f = &b->fibers[(size_t)i];
            if (f->done || f->waiting == 1) continue;
            if (f->waiting == 2) {
                if (b->warps[f->warp].generation == f->generation) continue;
                f->waiting = 0;
            }
            moved = 1;
            to_fiber(f);
        }
        /* threads that have ended count as arrived, as on the card */
        if (b->alive && b->at_barrier == b->alive) {
            for (auto &f : b->fibers) if (f.waiting == 1) f.waiting = 0;
            b->at_barrier = 0;
            moved = 1;
        }
        if (!moved)
            hpt_emu_fault("threads wait for each other forever: %d of %d alive are at a block barrier", b->at_barrier,
                          b->alive);
    }
}

static std::mutex allowed_lock;
static std::map<const void *, size_t> allowed;
extern "C" void hpt_emu_allow_shared(const void *kernel, size_t bytes) {
    std::lock_guard<std::mutex> hold(allowed_lock);
    allowed[kernel] = bytes;
}

static void run_kernel(const char *name, dim3 grid, dim3 block, size_t smem, const std::function<void()> &body) {
    static thread_local std::vector<char *> stacks;
    block_state b{};
    uint64_t seed = order_seed();
    size_t n = (size_t)block.x * block.y * block.z;
    while (stacks.size() < n) stacks.push_back((char *)malloc(STACK));
    b.fibers.resize(n);
    for (size_t i = 0; i < n; i++) b.fibers[i].stack = stacks[i];
    b.kernel = name;
    b.body = &body;
    b.dynamic_bytes = smem;
    b.dynamic = smem ? aligned_alloc(16, (smem + 15) / 16 * 16) : nullptr;
    S = &b;
    std::vector<int> blocks((size_t)grid.x * grid.y * grid.z);
    for (size_t i = 0; i < blocks.size(); i++) blocks[i] = (int)i;
    if (seed) shuffle(blocks, &seed);
    for (int i : blocks)
        run_block(&b, grid, block, {(unsigned)i % grid.x, (unsigned)i / grid.x % grid.y,
                                    (unsigned)i / (grid.x * grid.y)}, &seed);
    for (auto &s : b.shared) free(s.second.first);
    free(b.dynamic);
    S = nullptr;
}

void hpt_emu_enqueue(cudaStream_t s, const char *name, const void *kernel, dim3 grid, dim3 block, size_t smem,
                     std::function<void()> body) {
    size_t n = (size_t)block.x * block.y * block.z, allow = 48 << 10;
    {
        std::lock_guard<std::mutex> hold(allowed_lock);
        auto it = allowed.find(kernel);
        if (it != allowed.end()) allow = it->second;
    }
    if (!n || n > MAX_THREADS || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 2147483647u ||
        grid.y > 65535 || grid.z > 65535 || smem > allow || smem > MAX_SHARED) {
        fprintf(stderr, "emulated device: launch of %s: grid %u,%u,%u block %u,%u,%u shared %zu of %zu allowed\n",
                name, grid.x, grid.y, grid.z, block.x, block.y, block.z, smem, allow);
        hpt_fake_error(cudaErrorInvalidConfiguration);
        return;
    }
    hpt_fake_submit(s, name, [=] { run_kernel(name, grid, block, smem, body); });
}

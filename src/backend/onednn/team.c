/* SPDX-License-Identifier: MIT
 * The team of team.h: its threads, how they wait and take parts of work, and the six functions of OpenMP through
 * which oneDNN runs on it. Parts are taken by counters alone; no lock is held while one runs. */
#define _GNU_SOURCE
#include "backend/onednn/team.h"
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* OpenMP as oneDNN calls it: libgomp's stable ABI (GOMP_1.0, GOMP_4.0) and API */
#define OPENMP __attribute__((visibility("default")))
OPENMP void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags);
OPENMP void GOMP_barrier(void);
OPENMP int omp_get_thread_num(void);
OPENMP int omp_get_num_threads(void);
OPENMP int omp_get_max_threads(void);
OPENMP int omp_in_parallel(void);

/* Regions are counted by turn. slot[t].begun is the last turn whose part t somebody has begun: all are turn - 1 when
 * a region starts, and whoever moves one to turn owns that part. Nothing of a region changes before all its parts
 * are done, so an owner may read it. */
typedef struct slot { _Alignas(64) _Atomic uint32_t begun; } slot;
struct hpt__team {
    const hpt__host *host;
    int threads, own, started;
    pid_t pid;                                  /* the process whose threads they are */
    int entered;
    /* what the thread that entered computed on before, and how many threads its OpenMP had */
    hpt__team *outer;
    int outer_threads;
    void (*fn)(void *);
    void *data;
    _Atomic int parts, stop;
    _Alignas(64) _Atomic uint32_t turn;         /* idle workers sleep on it */
    _Atomic uint32_t idle;
    /* parts that are not done; the thread that runs the region sleeps on it */
    _Alignas(64) _Atomic uint32_t left;
    _Atomic uint32_t unbegun, waiting;
    _Alignas(64) _Atomic uint32_t phase;        /* GOMP_barrier */
    _Atomic uint32_t arrived, held;
    pthread_t *thread;
    slot slot[];
};
typedef struct worker { hpt__team *m; int t; } worker;

/* What the calling thread is doing. */
static _Thread_local hpt__team *mine;
static _Thread_local struct place { int t, nt; } here = {0, 1};
static _Thread_local int asked;

/* ---- libgomp, where it is the team or where a thread is not ours ---- */

static struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    void (*barrier)(void);
    int (*thread_num)(void), (*num_threads)(void), (*max_threads)(void), (*in_parallel)(void);
    void (*set_num_threads)(int);
} gomp;
static pthread_once_t gomp_once = PTHREAD_ONCE_INIT;
static void find_gomp(void) {
    static const char *const names[] = {"GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads",
                                        "omp_get_max_threads", "omp_in_parallel", "omp_set_num_threads"};
    void *lib = dlopen("libgomp.so.1", RTLD_NOW | RTLD_LOCAL), *found[7] = {0};
    for (int i = 0; i < 7 && lib; i++) found[i] = dlsym(lib, names[i]);
    _Static_assert(sizeof gomp == sizeof found, "one pointer each");
    memcpy(&gomp, found, sizeof gomp);
}
static int gomp_here(void) {
    pthread_once(&gomp_once, find_gomp);
    return gomp.parallel && gomp.barrier && gomp.thread_num && gomp.num_threads && gomp.max_threads &&
        gomp.in_parallel && gomp.set_num_threads;
}
/* Is the calling thread libgomp's business? */
static int outside(void) {
    asked = 1;
    return !(mine && mine->own) && gomp_here();
}
int hpt__team_asked(void) {
    int was = asked;
    asked = 0;
    return was;
}

/* ---- waiting ---- */

enum { SPIN_NS = 100000 };      /* longer than the gaps between regions, far shorter than a scheduler's slice */
static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline void pause_a_moment(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
/* Until the word is no longer value; gives up after SPIN_NS. Returns the word. */
static uint32_t spin_while(_Atomic uint32_t *word, uint32_t value) {
    uint32_t now = value;
    for (uint64_t end = 0; (now = atomic_load_explicit(word, memory_order_acquire)) == value;) {
        for (int i = 0; i < 32; i++) {
            pause_a_moment();
            if (atomic_load_explicit(word, memory_order_relaxed) != value) break;
        }
        uint64_t t = now_ns();
        if (!end) end = t + SPIN_NS;
        else if (t > end) break;
    }
    return now;
}
/* Until the word is no longer value; who changes it calls wake, if sleepers is not 0. */
static uint32_t wait_while(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers) {
    uint32_t now = spin_while(word, value);
    if (now != value) return now;
    atomic_fetch_add(sleepers, 1);
    while ((now = atomic_load(word)) == value) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    atomic_fetch_sub(sleepers, 1);
    return now;
}
static void wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* ---- the team ---- */

/* Does part t of the region, unless it was begun. */
static void take(hpt__team *m, int t, uint32_t turn) {
    uint32_t before = turn - 1;
    if (atomic_load_explicit(&m->slot[t].begun, memory_order_relaxed) != before) return;
    if (!atomic_compare_exchange_strong(&m->slot[t].begun, &before, turn)) return;
    atomic_fetch_sub(&m->unbegun, 1);
    struct place outer = here;
    here = (struct place){t, atomic_load_explicit(&m->parts, memory_order_relaxed)};
    m->fn(m->data);
    here = outer;
    if (atomic_fetch_sub(&m->left, 1) == 1 && atomic_load(&m->waiting)) wake(&m->left, INT_MAX);
}
/* The own part, then those that nobody has begun. */
static void take_all(hpt__team *m, int t, uint32_t turn) {
    take(m, t, turn);
    for (int u = 1; u < m->threads && atomic_load(&m->unbegun) && atomic_load(&m->turn) == turn; u++)
        take(m, (t + u) % m->threads, turn);
}

static void *work(void *arg) {
    worker w = *(worker *)arg;
    uint32_t turn = 0;
    w.m->host->free(arg);
    mine = w.m;
    for (;;) {
        turn = wait_while(&w.m->turn, turn, &w.m->idle);
        if (atomic_load(&w.m->stop)) return NULL;
        take_all(w.m, w.t, turn);
    }
}

static void region(hpt__team *m, void (*fn)(void *), void *data, int nt) {
    uint32_t turn = atomic_load_explicit(&m->turn, memory_order_relaxed) + 1;
    m->fn = fn;
    m->data = data;
    atomic_store_explicit(&m->parts, nt, memory_order_relaxed);
    atomic_store_explicit(&m->left, (uint32_t)nt, memory_order_relaxed);
    atomic_store_explicit(&m->unbegun, (uint32_t)nt, memory_order_relaxed);
    for (int t = nt; t < m->threads; t++) atomic_store_explicit(&m->slot[t].begun, turn, memory_order_relaxed);
    atomic_store(&m->turn, turn);
    if (atomic_load(&m->idle)) wake(&m->turn, INT_MAX);
    take_all(m, 0, turn);
    for (uint32_t left = atomic_load(&m->left); left; left = wait_while(&m->left, left, &m->waiting)) { }
}
static void run(void (*fn)(void *), void *data, int nt) {
    hpt__team *m = mine;
    if (nt < 1 || nt > m->threads) nt = m->threads;
    if (nt > 1 && here.nt == 1) {
        region(m, fn, data, nt);
        return;
    }
    struct place outer = here;                  /* in a part: alone */
    here = (struct place){0, 1};
    fn(data);
    here = outer;
}

typedef struct call { void (*part)(void *, int, int); void *arg; } call;
static void own_part(void *data) {
    call *c = data;
    c->part(c->arg, here.t, here.nt);
}
static void gomp_part(void *data) {
    call *c = data;
    c->part(c->arg, gomp.thread_num(), gomp.num_threads());
}
void hpt__team_run(void (*part)(void *, int, int), void *arg) {
    call c = {part, arg};
    if (!mine) part(arg, 0, 1);
    else if (mine->own) run(own_part, &c, 0);
    else gomp.parallel(gomp_part, &c, 0, 0);
}

hpt__team *hpt__team_create(const hpt__host *host, int threads, int own) {
    size_t bytes = sizeof(hpt__team) + sizeof(slot) * (size_t)threads;
    hpt__team *m = host->alloc(bytes);
    if (!m) return NULL;
    memset(m, 0, bytes);
    m->host = host;
    m->threads = threads;
    m->own = own || !gomp_here();
    m->thread = host->alloc(sizeof *m->thread * (size_t)threads);
    if (m->thread) return m;
    host->free(m);
    return NULL;
}
/* The threads are started when they are first needed; a child that a process forks has none of its parent's. All
 * signals are blocked on them: those are the host's business. */
static void start(hpt__team *m) {
    sigset_t all, old;
    if (m->pid != getpid()) {
        m->pid = getpid();
        m->started = 0;
        atomic_store(&m->idle, 0);
    }
    if (m->started == m->threads - 1) return;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    while (m->started < m->threads - 1) {
        worker *w = m->host->alloc(sizeof *w);
        if (!w) break;
        *w = (worker){m, m->started + 1};
        if (pthread_create(&m->thread[m->started], NULL, work, w)) {
            m->host->free(w);
            break;
        }
        m->started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}
static void nothing(void *arg) { (void)arg; }
/* The same for libgomp's team, which it makes when a thread of the host first runs something. */
static void start_gomp(int threads) {
    static _Thread_local int made;
    sigset_t all, old;
    if (made >= threads) return;
    made = threads;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    gomp.parallel(nothing, NULL, 0, 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}
void hpt__team_enter(hpt__team *m) {
    if (m->entered++) return;
    m->outer = mine;
    mine = m;
    if (m->own) {
        start(m);
        return;
    }
    m->outer_threads = gomp.max_threads();      /* belongs to the calling thread: lent for the call */
    if (m->outer_threads != m->threads) gomp.set_num_threads(m->threads);
    start_gomp(m->threads);
}
void hpt__team_leave(hpt__team *m) {
    if (--m->entered) return;
    mine = m->outer;
    if (!m->own && m->outer_threads != m->threads) gomp.set_num_threads(m->outer_threads);
}
int hpt__team_whole(const hpt__team *m) { return !m->own || m->started == m->threads - 1; }
void hpt__team_destroy(hpt__team *m) {
    if (!m) return;
    if (m->pid == getpid()) {       /* a forked child has none of them */
        atomic_store(&m->stop, 1);
        atomic_fetch_add(&m->turn, 1);
        wake(&m->turn, INT_MAX);
        for (int i = 0; i < m->started; i++) pthread_join(m->thread[i], NULL);
    }
    m->host->free(m->thread);
    m->host->free(m);
}

/* ---- what oneDNN calls ---- */

void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags) {
    if (outside()) gomp.parallel(fn, data, threads, flags);
    else if (mine) run(fn, data, (int)threads);
    else fn(data);
}
void GOMP_barrier(void) {
    hpt__team *m = mine;
    if (outside()) {
        gomp.barrier();
        return;
    }
    if (here.nt == 1) return;
    uint32_t phase = atomic_load(&m->phase);
    if (atomic_fetch_add(&m->arrived, 1) + 1 < (uint32_t)here.nt) {
        wait_while(&m->phase, phase, &m->held);
        return;
    }
    atomic_store(&m->arrived, 0);
    atomic_store(&m->phase, phase + 1);
    if (atomic_load(&m->held)) wake(&m->phase, INT_MAX);
}
int omp_get_thread_num(void) { return outside() ? gomp.thread_num() : here.t; }
int omp_get_num_threads(void) { return outside() ? gomp.num_threads() : here.nt; }
int omp_get_max_threads(void) { return outside() ? gomp.max_threads() : mine ? mine->threads : 1; }
int omp_in_parallel(void) { return outside() ? gomp.in_parallel() : here.nt > 1; }

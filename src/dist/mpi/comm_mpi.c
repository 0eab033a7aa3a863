/* SPDX-License-Identifier: MIT
 * The communicator over MPI for CPU ranks (module libhpt-mpi.so). Every collective call is started without blocking
 * and polled together with the watch, so that a rank that dies ends the wait. Results are the same on every rank and
 * every run with the same ranks. */
#define _GNU_SOURCE
#include "dist/comm.h"
#include "dist/watch.h"
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

hpt_status hpt_comm_mpi_2(const hpt__host *host, const hpt__comm_spec *spec,
                          hpt__comm *out) __attribute__((visibility("default")));

enum { PENDING = 64, GRACE_S = 5 };
typedef struct mpi_state {
    const hpt__host *host;
    MPI_Comm comm;
    hpt__watch *watch;
    double timeout;
    int failed, n;                              /* n: means under way */
    MPI_Request request[PENDING];
    struct { void *data; size_t count; int is_double; } mean[PENDING];
} mpi_state;

/* MPI was initialised by this module; a peer is gone: MPI_Finalize would wait for it */
static int started_here, broken;
static void finalize(void) {
    int done = 0;
    MPI_Finalized(&done);
    if (started_here && !broken && !done) MPI_Finalize();
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static hpt_status gone(hpt__comm *c, int rank, const char *how) {
    mpi_state *s = c->state;
    s->failed = broken = 1;
    return s->host->fail(HPT_ERR_PEER, "rank %d of %d %s (this is rank %d)", rank, c->size, how, c->rank);
}
static hpt_status mpi_check(hpt__comm *c, double waited) {
    mpi_state *s = c->state;
    (void)waited;
    int dead = s->watch ? hpt__watch_dead(s->watch) : -1;
    if (dead >= 0) return gone(c, dead, "is gone: its process ended or its machine cannot be reached");
    if (s->failed) return s->host->fail(HPT_ERR_PEER, "an earlier exchange between the ranks failed");
    return HPT_OK;
}
static hpt_status mpi_error(hpt__comm *c, int e, const char *what) {
    mpi_state *s = c->state;
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    /* who was it? */
    for (int i = 0; i < 200 && hpt__watch_dead(s->watch) < 0; i++) nanosleep(&(struct timespec){0, 5000000}, NULL);
    if (hpt__watch_dead(s->watch) >= 0) return mpi_check(c, 0);
    MPI_Error_string(e, text, &n);
    s->failed = broken = 1;
    return s->host->fail(HPT_ERR_PEER, "MPI: %s: %.300s", what, text);
}

/* Polls n requests to their end. */
static hpt_status await(hpt__comm *c, int n, MPI_Request *r, const char *what) {
    mpi_state *s = c->state;
    double begin = now(), left_since = 0;
    for (int done = 0, spins = 0;; spins++) {
        int e = MPI_Testall(n, r, &done, MPI_STATUSES_IGNORE);
        if (e) return mpi_error(c, e, what);
        if (done) return HPT_OK;
        if (spins & 15) continue;
        hpt_status st = s->watch ? mpi_check(c, 0) : HPT_OK;
        if (st) return st;
        double t = now();
        int left = s->watch ? hpt__watch_left(s->watch) : -1;
        if (left >= 0 && !left_since) left_since = t;
        if (left_since && t - left_since > GRACE_S)
            return gone(c, left, "has closed its context while the others still train");
        if (s->timeout > 0 && t - begin > s->timeout) {
            s->failed = broken = 1;
            if (s->watch) hpt__watch_tell(s->watch, c->rank);
            return s->host->fail(HPT_ERR_PEER,
                                 "%s: no progress for %.0f seconds (option comm_timeout); this is rank %d of %d", what,
                                 s->timeout, c->rank, c->size);
        }
        if (spins > 2000) nanosleep(&(struct timespec){0, 50000}, NULL);
        else sched_yield();
    }
}

static hpt_status mpi_gather(hpt__comm *c, const void *part, void *all, size_t bytes) {
    mpi_state *s = c->state;
    MPI_Request r;
    int words = bytes % 4 == 0;
    size_t n = words ? bytes / 4 : bytes;
    if (s->failed) return mpi_check(c, 0);
    if (n > 2147483647)
        return s->host->fail(HPT_ERR_UNSUPPORTED, "MPI: a rank's part of %zu bytes is too large for one exchange",
                             bytes);
    int e = MPI_Iallgather(part, (int)n, words ? MPI_INT32_T : MPI_BYTE, all, (int)n, words ? MPI_INT32_T : MPI_BYTE,
                           s->comm, &r);
    return e ? mpi_error(c, e, "all-gather") : await(c, 1, &r, "all-gather");
}

static hpt_status mpi_mean_wait(hpt__comm *c) {
    mpi_state *s = c->state;
    hpt_status st = s->n ? await(c, s->n, s->request, "all-reduce") : HPT_OK;
    for (int i = 0; !st && i < s->n; i++) {
        double *d = s->mean[i].data;
        float *f = s->mean[i].data;
        if (s->mean[i].is_double) for (size_t j = 0; j < s->mean[i].count; j++) d[j] /= c->size;
        else for (size_t j = 0; j < s->mean[i].count; j++) f[j] /= (float)c->size;
    }
    s->n = 0;
    return st;
}
static hpt_status mpi_mean_start(hpt__comm *c, void *data, size_t count, int is_double) {
    mpi_state *s = c->state;
    if (s->failed) return mpi_check(c, 0);
    if (count > 2147483647)
        return s->host->fail(HPT_ERR_UNSUPPORTED, "MPI: %zu values are too many for one exchange", count);
    if (s->n == PENDING) {
        hpt_status st = mpi_mean_wait(c);
        if (st) return st;
    }
    int e = MPI_Iallreduce(MPI_IN_PLACE, data, (int)count, is_double ? MPI_DOUBLE : MPI_FLOAT, MPI_SUM, s->comm,
                           &s->request[s->n]);
    if (e) return mpi_error(c, e, "all-reduce");
    s->mean[s->n].data = data;
    s->mean[s->n].count = count;
    s->mean[s->n++].is_double = is_double;
    return HPT_OK;
}

static void mpi_close(hpt__comm *c) {
    mpi_state *s = c->state;
    if (!s) return;
    hpt__watch_close(s->watch);
    if (!s->failed && !broken) MPI_Comm_free(&s->comm);
    s->host->free(s);
    c->state = NULL;
}

static hpt_status first_gather(void *user, const void *part, void *all, size_t bytes) {
    return mpi_gather(user, part, all, bytes);
}

hpt_status hpt_comm_mpi_2(const hpt__host *host, const hpt__comm_spec *spec, hpt__comm *out) {
    int running = 0, level = 0;
    mpi_state *s = host->alloc(sizeof *s);
    if (!s) return host->fail(HPT_ERR_MEMORY, "out of memory for a communicator");
    memset(s, 0, sizeof *s);
    s->host = host;
    s->timeout = spec->timeout;
    MPI_Initialized(&running);
    if (!running) {
        if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level)) {
            host->free(s);
            return host->fail(HPT_ERR_UNAVAILABLE, "MPI could not be initialised: was the program started by mpirun?");
        }
        started_here = 1;
        atexit(finalize);
    }
    *out = (hpt__comm){"mpi", 0, 1, s, mpi_gather, mpi_mean_start, mpi_mean_wait, mpi_gather, mpi_check, mpi_close};
    int e = MPI_Comm_dup(MPI_COMM_WORLD, &s->comm);
    if (!e) e = MPI_Comm_set_errhandler(s->comm, MPI_ERRORS_RETURN);
    if (!e) e = MPI_Comm_rank(s->comm, &out->rank);
    if (!e) e = MPI_Comm_size(s->comm, &out->size);
    hpt_status st = e ? host->fail(HPT_ERR_DEVICE, "MPI: a communicator could not be made") : HPT_OK;
    if (!st && out->size > 1) st = hpt__watch_open(host, out->rank, out->size, first_gather, out, &s->watch);
    if (st) {
        s->failed = 1;
        mpi_close(out);
        memset(out, 0, sizeof *out);
    }
    return st;
}

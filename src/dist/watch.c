/* SPDX-License-Identifier: MIT
 * The TCP connections of watch.h and the thread that listens on them. How ranks find each other: each tells its
 * address, port and a number of this start over the communicator itself. Lives in modules, so all memory comes
 * through hpt__host. */
#define _GNU_SOURCE
#include "dist/watch.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 30000 };
typedef struct card { char boot[40], address[INET_ADDRSTRLEN]; uint16_t port; uint16_t pad; uint32_t ok;
                      uint64_t token; } card;
/* 'H' hello, 'D' dead, 'L' left in order */
typedef struct note { uint8_t kind, pad[3]; int32_t rank; uint64_t token; } note;

struct hpt__watch {
    const hpt__host *host;
    int rank, size, listener, wake[2], running;
    int *peer;                  /* sockets by rank; rank 0 has all, the others only [0]; -1 none */
    uint64_t token;
    _Atomic int dead, left, stop;
    pthread_mutex_t lock;
    pthread_t thread;
};

/* ---- small socket helpers ---- */

static void tune(int fd) {
    int on = 1, idle = 5, every = 2, count = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);      /* a host that vanishes says nothing */
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}
static int send_note(int fd, char kind, int rank, uint64_t token) {
    note n = {(uint8_t)kind, {0}, rank, token};
    return send(fd, &n, sizeof n, MSG_NOSIGNAL) == (ssize_t)sizeof n;
}
static int read_note(int fd, note *n, int ms) {      /* 1 whole note, 0 closed or failed */
    size_t have = 0;
    while (have < sizeof *n) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, ms) <= 0) return 0;
        ssize_t r = recv(fd, (char *)n + have, sizeof *n - have, 0);
        if (r <= 0 && errno != EINTR) return 0;
        if (r > 0) have += (size_t)r;
    }
    return 1;
}
/* This machine's address as others reach it: the first interface that is up and not the loopback. */
static void own_address(char text[INET_ADDRSTRLEN]) {
    struct ifaddrs *all = NULL;
    snprintf(text, INET_ADDRSTRLEN, "127.0.0.1");
    if (getifaddrs(&all)) return;
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) &&
            !(i->ifa_flags & IFF_LOOPBACK)) {
            inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, text, INET_ADDRSTRLEN);
            break;
        }
    freeifaddrs(all);
}
static void boot_id(char text[40]) {
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    memset(text, 0, 40);
    if (!f) return;
    if (!fgets(text, 40, f)) text[0] = 0;
    fclose(f);
}
static int listen_here(uint16_t *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 128) &&
        !getsockname(fd, (struct sockaddr *)&a, &len)) {
        *port = ntohs(a.sin_port);
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}
static int connect_to(const char *address, uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (inet_pton(AF_INET, address, &a.sin_addr) == 1 && !connect(fd, (struct sockaddr *)&a, sizeof a)) {
        tune(fd);
        return fd;
    }
    close(fd);
    return -1;
}

/* ---- the listening thread ---- */

static void mark(hpt__watch *w, char kind, int rank) {
    int none = -1;
    atomic_compare_exchange_strong(kind == 'D' ? &w->dead : &w->left, &none, rank);
}
static void drop(hpt__watch *w, int rank) {
    pthread_mutex_lock(&w->lock);
    if (w->peer[rank] >= 0) close(w->peer[rank]);
    w->peer[rank] = -1;
    pthread_mutex_unlock(&w->lock);
}
static void tell_all(hpt__watch *w, char kind, int about) {
    pthread_mutex_lock(&w->lock);
    for (int r = 0; r < w->size; r++)
        if (w->peer[r] >= 0 && r != about) send_note(w->peer[r], kind, about, w->token);
    pthread_mutex_unlock(&w->lock);
}
static void heard(hpt__watch *w, int from) {
    note n;
    char kind = 'D';
    int about = from;
    if (read_note(w->peer[from], &n, 1000) && n.token == w->token && (n.kind == 'D' || n.kind == 'L') && n.rank >= 0 &&
        n.rank < w->size) {
        kind = (char)n.kind;
        about = n.rank;
    }
    mark(w, kind, about);
    if (w->rank == 0) tell_all(w, kind, about);
    if (about == from) drop(w, from);
}
static void *listen_thread(void *arg) {
    hpt__watch *w = arg;
    struct pollfd *p = w->host->alloc(sizeof *p * (size_t)(w->size + 1));
    int *who = w->host->alloc(sizeof *who * (size_t)(w->size + 1));
    while (p && who && !atomic_load(&w->stop)) {
        int n = 1;
        p[0] = (struct pollfd){w->wake[0], POLLIN, 0};
        for (int r = 0; r < w->size; r++)
            if (w->peer[r] >= 0) {
                who[n] = r;
                p[n++] = (struct pollfd){w->peer[r], POLLIN, 0};
            }
        if (poll(p, (nfds_t)n, -1) < 0 && errno != EINTR) break;
        for (int i = 1; i < n && !atomic_load(&w->stop); i++)
            if (p[i].revents) heard(w, who[i]);
    }
    if (p) w->host->free(p);
    if (who) w->host->free(who);
    return NULL;
}

/* ---- opening: rank 0 listens, tells where, and takes size-1 calls ---- */

static hpt_status meet(hpt__watch *w, const card *all) {
    if (w->rank) {
        char boot[40];
        boot_id(boot);
        const char *where = boot[0] && !memcmp(boot, all[0].boot, sizeof boot) ? "127.0.0.1" : all[0].address;
        if ((w->peer[0] = connect_to(where, all[0].port)) < 0)
            return w->host->fail(HPT_ERR_PEER, "rank %d cannot reach rank 0 at %s:%d: %s", w->rank, where, all[0].port,
                                 strerror(errno));
        return send_note(w->peer[0], 'H', w->rank, w->token) ? HPT_OK : w->host->fail(HPT_ERR_PEER, "rank 0 hung up");
    }
    for (int met = 1; met < w->size;) {
        struct pollfd p = {w->listener, POLLIN, 0};
        note n;
        if (poll(&p, 1, PATIENCE_MS) <= 0)
            return w->host->fail(HPT_ERR_PEER, "only %d of %d ranks came within %d seconds", met, w->size,
                                 PATIENCE_MS / 1000);
        int fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        if (!read_note(fd, &n, 5000) || n.kind != 'H' || n.token != w->token || n.rank < 1 || n.rank >= w->size ||
            w->peer[n.rank] >= 0) {
            close(fd);                          /* somebody else's call */
            continue;
        }
        tune(fd);
        w->peer[n.rank] = fd;
        met++;
    }
    return HPT_OK;
}

static void release(hpt__watch *w) {
    if (w->running) {
        atomic_store(&w->stop, 1);
        if (write(w->wake[1], "", 1) < 0) { /* the thread is ending by itself */ }
        pthread_join(w->thread, NULL);
    }
    for (int r = 0; w->peer && r < w->size; r++)
        if (w->peer[r] >= 0) close(w->peer[r]);
    for (int i = 0; i < 2; i++)
        if (w->wake[i] >= 0) close(w->wake[i]);
    if (w->listener >= 0) close(w->listener);
    pthread_mutex_destroy(&w->lock);
    if (w->peer) w->host->free(w->peer);
    w->host->free(w);
}

hpt_status hpt__watch_open(const hpt__host *host, int rank, int size, hpt__watch_gather gather, void *user,
                           hpt__watch **out) {
    hpt__watch *w = host->alloc(sizeof *w);
    card mine = {0}, *all = host->alloc(sizeof *all * (size_t)size);
    *out = NULL;
    if (!w || !all) {
        if (w) host->free(w);
        if (all) host->free(all);
        return host->fail(HPT_ERR_MEMORY, "out of memory watching %d ranks", size);
    }
    memset(w, 0, sizeof *w);
    w->host = host;
    w->rank = rank;
    w->size = size;
    w->listener = w->wake[0] = w->wake[1] = -1;
    atomic_init(&w->dead, -1);
    atomic_init(&w->left, -1);
    pthread_mutex_init(&w->lock, NULL);
    hpt_status st = HPT_OK;
    if (!(w->peer = host->alloc(sizeof *w->peer * (size_t)size)))
        st = host->fail(HPT_ERR_MEMORY, "out of memory watching %d ranks", size);
    for (int r = 0; !st && r < size; r++) w->peer[r] = -1;
    mine.ok = !st && !pipe2(w->wake, O_CLOEXEC);
    if (rank == 0 && mine.ok) {
        boot_id(mine.boot);
        own_address(mine.address);
        mine.ok = getrandom(&mine.token, sizeof mine.token, 0) == (ssize_t)sizeof mine.token &&
            (w->listener = listen_here(&mine.port)) >= 0;
    }
    hpt_status met = gather(user, &mine, all, sizeof mine);        /* every rank takes part, also one that failed */
    if (!st) st = met;
    for (int r = 0; !st && r < size; r++)
        if (!all[r].ok) st = host->fail(HPT_ERR_PEER, "rank %d could not open a socket", r);
    if (!st) {
        w->token = all[0].token;
        st = meet(w, all);
    }
    if (!st) {
        sigset_t every, old;
        sigfillset(&every);
        pthread_sigmask(SIG_BLOCK, &every, &old);       /* signals are the host's business */
        w->running = !pthread_create(&w->thread, NULL, listen_thread, w);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (!w->running) st = host->fail(HPT_ERR_MEMORY, "cannot start the thread that watches the ranks");
    }
    host->free(all);
    if (st) release(w);
    else *out = w;
    return st;
}

int hpt__watch_dead(const hpt__watch *w) { return atomic_load(&((hpt__watch *)(uintptr_t)w)->dead); }
int hpt__watch_left(const hpt__watch *w) { return atomic_load(&((hpt__watch *)(uintptr_t)w)->left); }
void hpt__watch_tell(hpt__watch *w, int rank) {
    mark(w, 'D', rank);
    tell_all(w, 'D', rank);
}
void hpt__watch_close(hpt__watch *w) {
    if (!w) return;
    tell_all(w, 'L', w->rank);
    release(w);
}

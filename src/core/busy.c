/* SPDX-License-Identifier: MIT
 * Contract: busy.h. Reads schedstat of each thread below /proc/self/task, keeps no file open, and never fails: where
 * there is nothing to read, nothing is said. */
#define _GNU_SOURCE
#include "core/busy.h"
#include "core/context.h"
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 1000 };

int hpt__busy_rule(double wall, double waited, double cpu, int threads) {
    return wall > 0 && waited > 0.5 * wall && cpu < 0.75 * threads * wall;
}

/* ms that all threads of this process waited for a processor, since they began; negative where the kernel does not
 * say. */
static double waited(void) {
    DIR *d = opendir("/proc/self/task");
    double sum = -1;
    if (!d) return sum;
    for (struct dirent *e; (e = readdir(d));) {
        char path[300], text[80], *second = NULL;
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", e->d_name);
        int f = *e->d_name == '.' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        if (f < 0) continue;
        ssize_t n = read(f, text, sizeof text - 1);
        close(f);
        if (n <= 0) continue;
        text[n] = 0;
        strtoull(text, &second, 10);
        sum = (sum < 0 ? 0 : sum) + 1e-6 * (double)strtoull(second, NULL, 10);
    }
    closedir(d);
    return sum;
}
static double cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void tell(hpt_context *ctx, double wall, double wait) {
    cpu_set_t set;
    char advice[80] = "";
    if (ctx->threads > 1 && sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == ctx->threads)
        snprintf(advice, sizeof advice, "; threads=%d would be faster", ctx->threads - 1);
    hpt__log(ctx, 1,
             "the machine is busy: in %.1f s the threads of this process waited %.1f s for processors that others "
             "use%s", wall / 1e3, wait / 1e3, advice);
}

void hpt__busy_look(hpt_context *ctx, hpt__busy *b, double now) {
    if (now < b->next || b->told || atomic_exchange(&b->looking, 1)) return;
    double wait = waited(), used = cpu(), wall = now - b->begin, more = wait - b->waited;
    /* another thread may have looked between the comparison and the exchange: its window has only begun */
    if (b->next == 0 || wall >= LOOK_MS) {
        int busy = b->next > 0 && hpt__busy_rule(wall, more, used - b->cpu, ctx->threads);
        b->begin = now;
        b->waited = wait;
        b->cpu = used;
        b->next = now + LOOK_MS;
        if (busy || wait < 0) b->told = 1;
        if (busy && wait >= 0) tell(ctx, wall, more);
    }
    b->looking = 0;
}

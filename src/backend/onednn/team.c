/* SPDX-License-Identifier: MIT */
#include "backend/onednn/team.h"

/* libgomp's stable ABI (GOMP_4.0) and the OpenMP API */
extern void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags);
extern void GOMP_barrier(void);
extern int omp_get_thread_num(void), omp_get_num_threads(void), omp_get_max_threads(void);
extern void omp_set_num_threads(int n);

typedef struct call { void (*part)(void *, int, int); void *arg; } call;
static void enter(void *data) {
    call *c = data;
    c->part(c->arg, omp_get_thread_num(), omp_get_num_threads());
}
void hpt__team_run(void (*part)(void *, int, int), void *arg) {
    call c = {part, arg};
    GOMP_parallel(enter, &c, 0, 0);
}
void hpt__team_barrier(void) { GOMP_barrier(); }
int hpt__team_set_threads(int n) {
    int old = omp_get_max_threads();
    if (n != old) omp_set_num_threads(n);
    return old;
}

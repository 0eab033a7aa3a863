/* SPDX-License-Identifier: MIT
 * Threads of the library. They block all signals: those are the host's business, and its handlers run on its
 * threads. */
#ifndef HPT__THREAD_H
#define HPT__THREAD_H
#include <pthread.h>
#include <signal.h>

static inline int hpt__thread_start(pthread_t *t, void *(*fn)(void *), void *arg) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int failed = pthread_create(t, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}
#endif

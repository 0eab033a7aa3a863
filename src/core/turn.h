/* SPDX-License-Identifier: MIT
 * Whose turn it is on a context. A device works for one call at a time: calls of other threads wait in the order in
 * which they came. The thread that has the turn may take it again (a call that calls, a callback that calls the
 * library). */
#ifndef HPT__TURN_H
#define HPT__TURN_H
#include <pthread.h>
#include <stdint.h>

typedef struct hpt__turn {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t owner;
    uint64_t next, now;     /* tickets: of the next to come, and the one that is served */
    int depth;              /* how often the owner has taken it; 0: free */
} hpt__turn;

void hpt__turn_init(hpt__turn *t);
void hpt__turn_fini(hpt__turn *t);
void hpt__turn_take(hpt__turn *t);
void hpt__turn_give(hpt__turn *t);
/* lets those who wait go first; for the owner, where the device rests between two pieces of work */
void hpt__turn_yield(hpt__turn *t);
#endif

/* SPDX-License-Identifier: MIT
 * Contract: turn.h. Tickets under one lock: who comes takes the next number and waits until it is served. A turn
 * that its owner takes again is only counted. */
#include "core/turn.h"

void hpt__turn_init(hpt__turn *t) {
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->next = t->now = 0;
    t->depth = 0;
}
void hpt__turn_fini(hpt__turn *t) {
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
}
/* With the lock held: waits for this thread's ticket. */
static void wait_turn(hpt__turn *t, int depth) {
    for (uint64_t mine = t->next++; mine != t->now;) pthread_cond_wait(&t->changed, &t->lock);
    t->owner = pthread_self();
    t->depth = depth;
}
static void end_turn(hpt__turn *t) {
    t->depth = 0;
    t->now++;
    pthread_cond_broadcast(&t->changed);
}
void hpt__turn_take(hpt__turn *t) {
    pthread_mutex_lock(&t->lock);
    if (t->depth && pthread_equal(t->owner, pthread_self())) t->depth++;
    else wait_turn(t, 1);
    pthread_mutex_unlock(&t->lock);
}
void hpt__turn_give(hpt__turn *t) {
    pthread_mutex_lock(&t->lock);
    if (--t->depth == 0) end_turn(t);
    pthread_mutex_unlock(&t->lock);
}
void hpt__turn_yield(hpt__turn *t) {
    pthread_mutex_lock(&t->lock);
    int depth = t->depth;
    if (t->next > t->now + 1) {
        end_turn(t);
        wait_turn(t, depth);
    }
    pthread_mutex_unlock(&t->lock);
}

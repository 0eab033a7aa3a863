/* SPDX-License-Identifier: MIT
 * Whether other programs hold up the threads of this process. A team of threads is as slow as its slowest member, so
 * one that gets no processor costs far more than its share; the log then names the cause, once a context. Looked at
 * once a second while a call is under way (core/progress.c), from /proc/self/task: on other systems than Linux
 * nothing is said. */
#ifndef HPT__BUSY_H
#define HPT__BUSY_H

struct hpt_context;
typedef struct hpt__busy {
    _Atomic double next;            /* ms: when to look again; 0: not looked yet */
    _Atomic int looking, told;      /* a thread is at it; the log has it, or there is nothing to look at */
    /* ms, at the last look: the clock, the waiting for processors and the processor time of all threads */
    double begin, waited, cpu;
} hpt__busy;

/* The rule. All three in one unit: what passed on the clock, what all threads together waited for a processor
 * although they could have run, the processor time of the process. A team whose own image threads compete with it
 * waits as well, but then its processors are in use. */
int hpt__busy_rule(double wall, double waited, double cpu, int threads);
/* In a call on a context whose compute threads run on this machine's processors; costs a comparison until the next
 * look. */
void hpt__busy_look(struct hpt_context *ctx, hpt__busy *b, double now);
#endif

/* SPDX-License-Identifier: MIT
 * Contract: clock.h. The monotonic clock of the system, and a sleep of less than a second, which a signal may cut
 * short; whoever waits with it looks again. */
#define _GNU_SOURCE
#include "core/clock.h"
#include <time.h>
double hpt__now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}
void hpt__sleep_us(long us) {
    struct timespec t = {0, us * 1000};
    nanosleep(&t, NULL);
}

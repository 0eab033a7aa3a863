/* SPDX-License-Identifier: MIT
 * Time in milliseconds from a clock that is never set back, for measuring and waiting. Nothing that is computed
 * depends on it. */
#ifndef HPT__CLOCK_H
#define HPT__CLOCK_H
double hpt__now_ms(void);   /* monotonic */
void hpt__sleep_us(long us);      /* below a second */
#endif

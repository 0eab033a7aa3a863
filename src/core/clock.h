/* SPDX-License-Identifier: MIT */
#ifndef HPT__CLOCK_H
#define HPT__CLOCK_H
double hpt__now_ms(void);   /* monotonic */
void hpt__sleep_us(long us);      /* below a second */
#endif

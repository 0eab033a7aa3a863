/* SPDX-License-Identifier: MIT */
#ifndef HPT__CLOCK_H
#define HPT__CLOCK_H
double hpt__now_ms(void);   /* monotonic */
#endif

/* SPDX-License-Identifier: MIT
 * The OpenMP team that oneDNN computes on, for our own loops: no second pool that would fight with it for the cores. Calls libgomp's
 * entry points directly, so that any compiler can build the module without a second OpenMP run time. */
#ifndef HPT__TEAM_H
#define HPT__TEAM_H
void hpt__team_run(void (*part)(void *arg, int t, int nt), void *arg);     /* runs part on every thread of the team and waits */
void hpt__team_barrier(void);                                               /* inside part */
int hpt__team_set_threads(int n);                                           /* of the calling thread; returns the old number */
#endif

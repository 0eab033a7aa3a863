/* SPDX-License-Identifier: MIT
 * The threads that a context computes on, for oneDNN's loops and for our own: one team, so that no second pool fights
 * with it for the processors. A region of work is cut into parts, as many as the team has threads; the results depend
 * on the cut, not on who does which part. Each thread begins with its own part and then takes those that nobody has
 * begun: a thread that another process has displaced is not waited for, unless it was displaced in the midst of a part.
 * Who waits spins for a moment and then sleeps.
 *
 * oneDNN computes with OpenMP. Of that it uses six functions, which team.c defines: the run-time linker binds oneDNN
 * to them, because the module comes before its libraries in their search order. On threads that have entered no team
 * they hand on to libgomp. Where oneDNN was bound to libgomp already (a host program that uses OpenMP or oneDNN
 * itself), the team is libgomp's, for our loops, too. */
#ifndef HPT__TEAM_H
#define HPT__TEAM_H
#include "core/host.h"

typedef struct hpt__team hpt__team;
/* own: oneDNN is bound to the functions of team.c (hpt__team_asked) */
hpt__team *hpt__team_create(const hpt__host *host, int threads, int own);       /* NULL: no memory */
void hpt__team_destroy(hpt__team *m);
/* The calling thread computes on m until it leaves. Calls may be nested; a team is entered by one thread at a time. */
void hpt__team_enter(hpt__team *m);
void hpt__team_leave(hpt__team *m);
int hpt__team_whole(const hpt__team *m);        /* 0: its threads could not be started; nothing may be run */
/* Between enter and leave: runs part on the team and waits. Parts may not wait for each other. */
void hpt__team_run(void (*part)(void *arg, int t, int nt), void *arg);
int hpt__team_asked(void);                      /* has this thread called one of the six since the last question? */
#endif

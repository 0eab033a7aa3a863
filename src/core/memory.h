/* SPDX-License-Identifier: MIT
 * How much memory this process may still fill before the system runs out of it or a control group (a container, a
 * batch system's job) ends it. The kernel grants more than there is and ends a process when it is used; whoever is
 * about to fill gigabytes asks here first, to warn. */
#ifndef HPT__MEMORY_H
#define HPT__MEMORY_H
#include <stdint.h>

/* Bytes; UINT64_MAX: nothing is known. */
uint64_t hpt__memory_free(void);
/* The rule behind it, on files of another root folder than "/", for tests. */
uint64_t hpt__memory_free_under(const char *root);

/* Of batch images that need so many bytes together: how many fit into left, halved until they do; 0: not even one. A
 * tenth of what is left stays for images on their way. */
int hpt__memory_batch(uint64_t bytes, int batch, uint64_t left);
#endif

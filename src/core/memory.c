/* SPDX-License-Identifier: MIT
 * /proc/meminfo (MemAvailable), and on the way from the process's control group up to the root each limit less what
 * is used of it: version 2 (memory.max, memory.current) or version 1 (memory.limit_in_bytes, memory.usage_in_bytes).
 * Pages of files that a group holds count as used there although the kernel would drop them: inactive_file is taken
 * off again, as monitors of containers do. */
#define _GNU_SOURCE
#include "core/memory.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A small text file of root, 0-closed; 0: not there. */
static int text_of(const char *root, const char *path, char *text, size_t size) {
    char full[4600];
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full) return 0;
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* The number behind key at the begin of a line; key "": the first of the text. UINT64_MAX: none ("max"). */
static uint64_t number_of(const char *text, const char *key) {
    size_t len = strlen(key);
    while (strncmp(text, key, len)) {
        if (!(text = strchr(text, '\n'))) return UINT64_MAX;
        text++;
    }
    text += len + strspn(text + len, " \t:");
    return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* What the group at folder leaves. */
static uint64_t group_free(const char *root, const char *folder, int version) {
    static const char *const limit[] = {"memory.limit_in_bytes", "memory.max"};
    static const char *const used[] = {"memory.usage_in_bytes", "memory.current"};
    static const char *const inactive[] = {"total_inactive_file ", "inactive_file "};
    char path[4300], text[8192];
    snprintf(path, sizeof path, "%.4200s/%s", folder, limit[version - 1]);
    uint64_t most = text_of(root, path, text, sizeof text) ? number_of(text, "") : UINT64_MAX;
    if (most >= UINT64_MAX >> 2) return UINT64_MAX;     /* version 1 says "no limit" by a huge number */
    snprintf(path, sizeof path, "%.4200s/%s", folder, used[version - 1]);
    uint64_t now = text_of(root, path, text, sizeof text) ? number_of(text, "") : UINT64_MAX;
    if (now == UINT64_MAX) return most;
    snprintf(path, sizeof path, "%.4200s/memory.stat", folder);
    uint64_t files = text_of(root, path, text, sizeof text) ? number_of(text, inactive[version - 1]) : UINT64_MAX;
    if (files <= now) now -= files;
    return now < most ? most - now : 0;
}

uint64_t hpt__memory_free_under(const char *root) {
    char text[8192], group[4200];
    uint64_t least = UINT64_MAX;
    if (text_of(root, "/proc/meminfo", text, sizeof text)) {
        uint64_t kib = number_of(text, "MemAvailable:");
        if (kib < UINT64_MAX >> 10) least = kib << 10;
    }
    if (!text_of(root, "/proc/self/cgroup", text, sizeof text)) return least;
    for (char *line = text, *next; line && *line; line = next) {
        if ((next = strchr(line, '\n'))) *next++ = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        int version = !names[1] ? 2 : strstr(names + 1, "memory") ? 1 : 0;
        if (!version || *path != '/') continue;
        snprintf(group, sizeof group, "/sys/fs/cgroup%s%s", version == 1 ? "/memory" : "",
                 strcmp(path, "/") ? path : "");
        size_t top = strlen(version == 1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup");
        for (;;) {
            uint64_t left = group_free(root, group, version);
            if (left < least) least = left;
            char *end = strrchr(group, '/');
            if (strlen(group) <= top || !end) break;
            *end = 0;
        }
    }
    return least;
}
uint64_t hpt__memory_free(void) { return hpt__memory_free_under(""); }

int hpt__memory_batch(uint64_t bytes, int batch, uint64_t left) {
    double each = (double)bytes / batch, room = (double)left * 0.9;
    while (batch && each * batch > room) batch /= 2;
    return batch;
}

/* SPDX-License-Identifier: MIT
 * What a run needs is said before it starts, with a batch that fits where it does not: the system would end the process
 * in the midst of the first step. */
#include "shell.h"
#include "core/memory.h"

static void put(const char *root, const char *path, const char *text) {
    char full[600];
    RUN("mkdir -p %s$(dirname %s)", root, path);
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *f = fopen(full, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}
#define MIB (1ull << 20)
TEST(memory_that_is_left) {
    const char *root = temp_dir();
    CHECK(hpt__memory_free_under(root) == UINT64_MAX);
    put(root, "/proc/meminfo", "MemTotal:       16384000 kB\nMemFree:  1000 kB\nMemAvailable:    8388608 kB\n");
    CHECK(hpt__memory_free_under(root) == 8192 * MIB);
    /* version 2: the nearest limit on the way up counts, and pages of files that nobody uses do not */
    put(root, "/proc/self/cgroup", "0::/jobs/7/step\n");
    put(root, "/sys/fs/cgroup/jobs/7/step/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/jobs/7/memory.max", "4294967296\n");
    put(root, "/sys/fs/cgroup/jobs/7/memory.current", "3221225472\n");
    CHECK(hpt__memory_free_under(root) == 1024 * MIB);
    put(root, "/sys/fs/cgroup/jobs/7/memory.stat", "anon 1\ninactive_file 1073741824\nactive_file 5\n");
    CHECK(hpt__memory_free_under(root) == 2048 * MIB);
    put(root, "/sys/fs/cgroup/jobs/7/memory.current", "5368709120\n");
    put(root, "/sys/fs/cgroup/jobs/7/memory.stat", "anon 1\n");
    CHECK(hpt__memory_free_under(root) == 0);
    put(root, "/proc/self/cgroup", "0::/\n");       /* seen from inside a container */
    CHECK(hpt__memory_free_under(root) == 8192 * MIB);
    put(root, "/sys/fs/cgroup/memory.max", "1073741824\n");
    CHECK(hpt__memory_free_under(root) == 1024 * MIB);
    RUN("rm %s/sys/fs/cgroup/memory.max", root);
    /* version 1 */
    put(root, "/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/batch\n1:name=systemd:/x\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "/sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "1073741824\n");
    put(root, "/sys/fs/cgroup/memory/batch/memory.usage_in_bytes", "805306368\n");
    CHECK(hpt__memory_free_under(root) == 256 * MIB);
    put(root, "/sys/fs/cgroup/memory/batch/memory.stat", "inactive_file 1\ntotal_inactive_file 268435456\n");
    CHECK(hpt__memory_free_under(root) == 512 * MIB);
    put(root, "/proc/self/cgroup", "nonsense\n::\n4:memory\n0:\n");
    CHECK(hpt__memory_free_under(root) == 8192 * MIB);
    CHECK(hpt__memory_free() > 16 * MIB);           /* of this machine */

    CHECK(hpt__memory_batch(1000 * MIB, 256, 2000 * MIB) == 256);
    CHECK(hpt__memory_batch(1900 * MIB, 256, 2000 * MIB) == 128);
    CHECK(hpt__memory_batch(14500 * MIB, 256, 2000 * MIB) == 16);
    CHECK(hpt__memory_batch(14500 * MIB, 2, 2000 * MIB) == 0);
    CHECK(hpt__memory_batch(14500 * MIB, 256, UINT64_MAX) == 256);
}

static char heard[2000];
static void hear(void *user, int level, const char *text) {
    (void)user;
    size_t n = strlen(heard);
    snprintf(heard + n, sizeof heard - n, "%d %s\n", level, text);
}
TEST(memory_of_a_step_is_said) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet18 image_size=224 batch_size=64 bn_group=64 moco_k=64");
    hpt_model *m;
    hpt_session *s;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_context_set_log(ctx, hear, NULL));
    OK(hpt_session_create(ctx, c, m, NULL, &s));
    CHECK(strstr(heard, "a step of 64 images") && strstr(heard, "GiB"));
    hpt_session_destroy(s);
    *heard = 0;
    set(c, "batch_size=2 bn_group=2 moco_k=2");
    OK(hpt_session_create(ctx, c, m, NULL, &s));
    CHECK(!strstr(heard, "GiB"));                   /* nothing worth a line */
    hpt_session_destroy(s);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    hpt_context_destroy(ctx);
}

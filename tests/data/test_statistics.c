/* SPDX-License-Identifier: MIT
 * Mean and deviation of a set: of all or of a sample, and kept in a file that gives the same bits, knows when it no
 * longer fits, and is never trusted blindly. */
#define _GNU_SOURCE
#include "data/dataset.h"
#include "shell.h"
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char notes[4000];
static void keep(void *user, int32_t level, const char *line) {
    (void)user;
    (void)level;
    if (of_machine(line)) return;
    if (strlen(notes) + strlen(line) + 2 < sizeof notes) strcat(strcat(notes, line), "\n");
}
typedef struct stats { float mean[3], std[3]; uint32_t bad; uint64_t cut; } stats;
static uint64_t passed;         /* images that were decoded, and could be */
static stats take(const char *path, const char *options) {
    hpt_context *ctx = context("reference", 2);
    hpt_config *c = config(options);
    hpt_dataset *ds;
    hpt_dataset_info info = {.struct_size = sizeof info};
    stats s;
    memset(&s, 0, sizeof s);
    *notes = 0;
    passed = 0;
    hpt_context_set_log(ctx, keep, NULL);
    OK(hpt_dataset_open(ctx, c, path, &ds));
    OK(hpt_dataset_stats(ds, s.mean, s.std));
    OK(hpt_dataset_get_info(ds, &info));
    for (uint64_t i = 0; i < ds->count; i++) passed += ds->src->state[i] == HPT__IMAGE_READ;
    s.bad = info.bad_images;
    s.cut = info.truncated_images;
    hpt_dataset_destroy(ds);
    hpt_config_destroy(c);
    hpt_context_destroy(ctx);
    return s;
}
#define SAME(a, b) CHECK(!memcmp(&(a), &(b), sizeof(stats)))

TEST_LIMIT(statistics_are_kept_while_they_fit, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12), opt[800], more[900];
    snprintf(opt, sizeof opt, "stats_file=%s/s.json", dir);
    stats plain = take(set_, "seed=0"), a = take(set_, opt);
    SAME(plain, a);
    CHECK(passed == 24 && !strstr(notes, "not kept"));
    RUN("grep -c '\"images\": 24' %s/s.json && test -z \"$(find %s -name '*tmp*')\"", dir, dir);
    a = take(set_, opt);
    SAME(plain, a);
    CHECK(!passed); /* no image was read */
    RUN("mv %s/set %s/moved", dir, dir); /* a set may move */
    char moved[300];
    snprintf(moved, sizeof moved, "%s/moved", dir);
    a = take(moved, opt);
    SAME(plain, a);
    CHECK(!passed);
    /* options that change pixels, and files that change in any way, are other sets; the file holds all of them */
    static const char *const others[] = {"alpha=white", "orient=apply", "truncated=accept", "max_pixels=10000",
                                         "stats_images=5", "stats_images=6", "bad_image=skip",
                                         "stats_images=5 data_seed=2", "cache_side=7 cache=memory"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(more, sizeof more, "%s %s", opt, others[i]);
        stats b = take(moved, others[i]), first = take(moved, more);
        if (!passed) FAIL("%s: taken from another", others[i]);
        stats again = take(moved, more);
        if (passed) FAIL("%s: not found", others[i]);
        SAME(b, first);
        SAME(b, again);
    }
    RUN("test $(grep -c '\"images\": ' %s/s.json) = 10", dir);
    static const char *const edits[] = {"touch -d '2001-01-01' %s/rows/003.ppm",
                                        "cp -p %s/rows/004.ppm %s/rows/x && printf ' ' >> %s/rows/x && touch -r "
                                        "%s/rows/004.ppm %s/rows/x && mv %s/rows/x %s/rows/004.ppm",
                                        "mv %s/rows/005.ppm %s/rows/zz.ppm", "rm %s/rows/006.ppm",
                                        "cp %s/rows/007.ppm %s/rows/new.ppm"};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char cmd[900];
        snprintf(cmd, sizeof cmd, edits[i], moved, moved, moved, moved, moved, moved, moved);
        RUN("%s", cmd);
        a = take(moved, opt);
        stats b = take(moved, "seed=0");
        if (i != 2 && passed != (i < 3 ? 24u : i == 3 ? 23u : 24u))
            FAIL("edit %zu: %llu", i, (unsigned long long)passed);
        SAME(a, b);
        a = take(moved, opt);
        CHECK(!passed);
    }
    CHECK(memcmp(a.mean, plain.mean, sizeof a.mean)); /* they were other images */
}
/* What cannot be read is known from the file as if all had been read; one that can be read by now makes it anew. */
TEST_LIMIT(kept_statistics_know_unreadable_images, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 6), opt[800];
    RUN("cd %s/rows && for i in 1 3; do head -c 300 00$i.ppm > x && mv x 00$i.ppm; done && printf 'P6 20 20 255\n' > "
        "002.ppm", set_);
    snprintf(opt, sizeof opt, "stats_file=%s/s.json bad_image=skip", dir);
    stats plain = take(set_, "bad_image=skip"), a = take(set_, opt);
    SAME(plain, a);
    CHECK(a.bad == 3);
    a = take(set_, opt);
    SAME(plain, a);
    CHECK(!passed && a.bad == 3);
    snprintf(opt, sizeof opt, "stats_file=%s/s.json bad_image=skip truncated=accept", dir);
    stats accepted = take(set_, "bad_image=skip truncated=accept");
    a = take(set_, opt);
    a = take(set_, opt);
    SAME(accepted, a);
    CHECK(!passed && a.cut + a.bad == 3 && a.cut >= 2);
    /* the same name, size and time, but it is readable now */
    snprintf(opt, sizeof opt, "stats_file=%s/t.json bad_image=skip", dir);
    RUN("cd %s/rows && cp -p 004.ppm ../../kept && head -c $(stat -c %%s 004.ppm) /dev/zero > 004.ppm && touch -d "
        "2001-01-01 004.ppm", set_);
    a = take(set_, opt);
    CHECK(a.bad == 4);
    RUN("cd %s/rows && cp ../../kept 004.ppm && touch -d 2001-01-01 004.ppm", set_);
    a = take(set_, opt);
    CHECK(a.bad == 3 && passed == 9);
    SAME(plain, a);
}
TEST_LIMIT(statistics_of_a_sample, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 30), opt[800];
    stats all = take(set_, "seed=0"), five = take(set_, "stats_images=5"),
        again = take(set_, "stats_images=5 threads=1");
    SAME(five, again);
    five = take(set_, "stats_images=5");
    CHECK(passed == 5 && strstr(notes, "pixel statistics of 5 of 60 images"));
    stats other = take(set_, "stats_images=5 data_seed=9"), most = take(set_, "stats_images=59"),
        whole = take(set_, "stats_images=60"), over = take(set_, "stats_images=4000");
    SAME(all, whole);
    SAME(all, over);
    CHECK(memcmp(&five, &all, sizeof all) && memcmp(&five, &other, sizeof all) && memcmp(&most, &all, sizeof all));
    for (int c = 0; c < 3; c++)
        CHECK(fabs((double)(most.mean[c] - all.mean[c])) < 0.01 && fabs((double)(five.mean[c] - all.mean[c])) < 0.2);
    (void)opt;
    /* the result says what its numbers rest on */
    RUN("%s/hpt pretrain --data %s --out %s/run --arch resnet10 --width 16 --stem small --image_size 16 --batch_size 8 "
        "--bn_group 4 --moco_k 16 --threads 1 --steps 1 --stats_images 7 --json 2> %s/notes | grep -q "
        "'\"pixel_statistics\": \"of 7 of 60 images\"' && grep -q 'pixel statistics of 7 of 60' %s/notes",
        HPT_TEST_BIN, set_, dir, dir, dir);
    RUN("grep -q '\"pixel_statistics\": \"of 7 of 60 images\"' %s/run/args.json && grep -q '\"images\": 7' "
        "%s/run/stats.json", dir, dir);
    REFUSED(1, "not the one of the run", "%s/hpt pretrain --out %s/run --resume --stats_images 8", HPT_TEST_BIN, dir);
}
/* Damaged files, files of something else, places that cannot be written, several processes at once. */
TEST_LIMIT(a_file_of_statistics_is_never_trusted_blindly, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 6), opt[800], key[40];
    snprintf(opt, sizeof opt, "stats_file=%s/s.json", dir);
    stats plain = take(set_, "seed=0"), a = take(set_, opt);
    RUN("grep -o '\"[0-9a-f]\\{16\\}\"' %s/s.json", dir);
    snprintf(key, sizeof key, "%.18s", output);
    const char *const contents[] = {"", "{", "[]", "{\"format\": \"other\", \"sets\": {}}",
                                    "{\"format\": \"hpt statistics 1\"}", "\xff\xfe",
                                    "{\"format\": \"hpt statistics 1\", \"sets\": 3}"};
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/s.json", dir);
        FILE *f = fopen(path, "w");
        fputs(contents[i], f);
        fclose(f);
        a = take(set_, opt);
        SAME(plain, a);
        if (passed != 12 || !strstr(notes, "written anew")) FAIL("%zu: %s", i, notes);
        a = take(set_, opt);
        CHECK(!passed && !strstr(notes, "anew"));
    }
    const char *const entries[] = {"null", "{}",
                                   "{\"images\": 12, \"of\": 12, \"mean\": [0.5, 0.5], \"std\": [0.2, 0.2, 0.2], "
                                   "\"unreadable\": [], \"cut\": []}",
                                   "{\"images\": 12, \"of\": 12, \"mean\": [0.5, 0.5, 7], \"std\": [0.2, 0.2, 0.2], "
                                   "\"unreadable\": [], \"cut\": []}",
                                   "{\"images\": 12, \"of\": 12, \"mean\": [0.5, 0.5, 0.5], \"std\": [0.2, 0.2, 0], "
                                   "\"unreadable\": [], \"cut\": []}",
                                   "{\"images\": 12, \"of\": 13, \"mean\": [0.5, 0.5, 0.5], \"std\": [0.2, 0.2, 0.2], "
                                   "\"unreadable\": [], \"cut\": []}",
                                   "{\"images\": 12, \"of\": 12, \"mean\": [0.5, 0.5, 0.5], \"std\": [0.2, 0.2, 0.2], "
                                   "\"unreadable\": [400], \"cut\": []}",
                                   "{\"images\": 12, \"of\": 12, \"mean\": [0.5, 0.5, 0.5], \"std\": [0.2, 0.2, 0.2], "
                                   "\"unreadable\": [], \"cut\": [1]}"};
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/s.json", dir);
        FILE *f = fopen(path, "w");
        fprintf(f, "{\"format\": \"hpt statistics 1\", \"sets\": {%s: %s}}", key, entries[i]);
        fclose(f);
        a = take(set_, opt);
        SAME(plain, a);
        if (passed != 12) FAIL("%zu was believed", i);
        a = take(set_, opt);
        CHECK(!passed);
    }
    snprintf(opt, sizeof opt, "stats_file=%s/none/s.json", dir);
    a = take(set_, opt);
    SAME(plain, a);
    CHECK(strstr(notes, "not kept"));
    snprintf(opt, sizeof opt, "stats_file=%s", dir);
    a = take(set_, opt);
    SAME(plain, a);
    CHECK(strstr(notes, "not kept"));
    /* eight processes, all of them right, and a whole file at the end */
    snprintf(opt, sizeof opt, "stats_file=%s/many.json", dir);
    pid_t p[8];
    for (int i = 0; i < 8; i++)
        if (!(p[i] = fork())) {
            char own[900];
            for (int k = 0; k < 4; k++) {
                snprintf(own, sizeof own, "%s stats_images=%d", opt, i % 2 ? 12 : 3 + k);
                stats b = take(set_, own);
                if (i % 2 && memcmp(&b, &plain, sizeof b)) _exit(1);
                if (strstr(notes, "anew") || strstr(notes, "not kept")) fputs(notes, stderr), _exit(2);
            }
            _exit(0);
        }
    for (int i = 0; i < 8; i++) {
        int st;
        CHECK(waitpid(p[i], &st, 0) == p[i]);
        if (st) FAIL("process %d: %d", i, st);
    }
    RUN("test $(ls %s | grep -c many) = 1", dir);
    snprintf(opt, sizeof opt, "stats_file=%s/many.json stats_images=12", dir);
    a = take(set_, opt);
    CHECK(!strstr(notes, "anew"));
}
/* A recipe keeps one in its folder. */
TEST_LIMIT(recipes_keep_statistics, 60) {
    char *dir = temp_dir();
    stripes(dir, 8);
    RUN("cd %s && printf '[recipe]\\nname = r\\nout = out\\nbackend = reference\\n[data d]\\npath = set\\n[pretrain "
        "p]\\ndata = d\\narch = resnet10\\nwidth = 16\\nstem = small\\nimage_size = 16\\nbatch_size = 8\\nbn_group = "
        "4\\nmoco_k = 16\\nsteps = 1\\n' > r.ini && %s%s/hpt run r.ini > log 2>&1 || { cat log; exit 1; }", dir,
        *HPT_TEST_BIN == '/' ? "" : getenv("PWD"), *HPT_TEST_BIN == '/' ? HPT_TEST_BIN : "/" HPT_TEST_BIN);
    RUN("grep -q '\"images\": 16' %s/out/stats.json && ! grep -rq 'stats.json' %s/out/stages/*/result.json", dir, dir);
}

/* SPDX-License-Identifier: MIT
 * Several CPU ranks over MPI, through the command line as a user starts them: equal to one rank, and a rank that
 * dies is named. */
#define _GNU_SOURCE
#include "support.h"
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#ifndef HPT_TEST_BIN
#define HPT_TEST_BIN "bin"
#endif

#define MPIRUN "mpirun --allow-run-as-root --oversubscribe --bind-to none"
#define TRAIN HPT_TEST_BIN "/hpt pretrain --data %s/img --arch resnet10 --width 16 --stem small --image_size 16 " \
    "--batch_size 32 --bn_group 8 --moco_k 64 --moco_dim 16 " \
    "--precision fp32 --conv_algo direct --lr 0.001 --workers 1 --threads 1 --seed 3 --overwrite "

static char *prepared(void) {
    char cmd[300], path[200];
    if (system("command -v mpirun >/dev/null 2>&1")) SKIP("mpirun is not here");
    if (access(HPT_TEST_MODULES "/libhpt-mpi.so", R_OK)) SKIP("the mpi module was not built");
    char *dir = temp_dir();
    snprintf(cmd, sizeof cmd, "mkdir -p %s/img", dir);
    CHECK(!system(cmd));
    for (int i = 0; i < 64; i++) {
        snprintf(path, sizeof path, "%s/img/%02d.ppm", dir, i);
        FILE *f = fopen(path, "w");
        CHECK(f);
        fprintf(f, "P6\n20 20\n255\n");
        for (int j = 0; j < 1200; j++)
            fputc((int)(128 + 60 * sin(j * 0.02 * (i + 1)) + 50 * value_at((uint64_t)j, (uint64_t)i)), f);
        fclose(f);
    }
    return dir;
}
static double column(const char *dir, const char *run, int step, const char *key) {
    char path[200], line[600], find[40];
    double v = NAN;
    snprintf(path, sizeof path, "%s/%s/metrics.jsonl", dir, run);
    FILE *f = fopen(path, "r");
    if (!f) FAIL("%s is missing", path);
    snprintf(find, sizeof find, "\"%s\": ", key);
    for (int i = 0; i < step && fgets(line, sizeof line, f); i++)
        if (i == step - 1) v = atof(strstr(line, find) + strlen(find));
    fclose(f);
    return v;
}
/* 4 ranks x 8 images = 1 rank x 32 with the same batch-norm groups: the same permutation and order, sums in another
 * order */
static void four_equal_one(const char *more) {
    char *dir = prepared(), cmd[1200];
    snprintf(cmd, sizeof cmd, TRAIN "%s --steps 8 --out %s/one >/dev/null 2>%s/err1", dir, more, dir, dir);
    if (system(cmd)) FAIL("%s", cmd);
    snprintf(cmd, sizeof cmd, MPIRUN " -n 4 " TRAIN "%s --steps 8 --out %s/four >/dev/null 2>%s/err4", dir, more,
             dir, dir);
    if (system(cmd)) {
        snprintf(cmd, sizeof cmd, "tail -5 %s/err4", dir);
        if (system(cmd)) { /* shown */ }
        FAIL("mpirun failed");
    }
    for (int s = 1; s <= 8; s++) {
        double a = column(dir, "one", s, "loss"), b = column(dir, "four", s, "loss");
        if (!(fabs(a - b) <= 2e-5 * a)) FAIL("step %d: loss %.7f with one rank, %.7f with four", s, a, b);
        CHECK(column(dir, "one", s, "contrast_acc1") == column(dir, "four", s, "contrast_acc1"));
    }
    /* the exported backbones: weights and running statistics */
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 stem=small moco_dim=16");
    hpt_model *m[2];
    for (int i = 0; i < 2; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s/exported/backbone.pth", dir, i ? "four" : "one");
        OK(hpt_model_load(ctx, c, path, &m[i], NULL));
    }
    float a[64 * 64 * 9], b[64 * 64 * 9];
    OK(hpt_model_get_tensor(m[0], "layer3.0.conv2.weight", a, 64 * 64 * 9));
    OK(hpt_model_get_tensor(m[1], "layer3.0.conv2.weight", b, 64 * 64 * 9));
    for (int i = 0; i < 64 * 64 * 9; i++) CHECK(fabsf(a[i] - b[i]) <= 2e-6f);
    OK(hpt_model_get_tensor(m[0], "bn1.running_var", a, 16));
    OK(hpt_model_get_tensor(m[1], "bn1.running_var", b, 16));
    for (int i = 0; i < 16; i++) CHECK(fabsf(a[i] - b[i]) <= 1e-5f * fabsf(a[i]));
}
TEST(mpi_four_ranks_equal_one) { four_equal_one("--train all"); }
TEST(mpi_batch_norm_over_two_of_four_ranks) { four_equal_one("--bn_group 16"); }
TEST(mpi_batch_norm_over_all_ranks) { four_equal_one("--bn_group 0"); }
TEST(mpi_four_ranks_equal_one_bn_only) { four_equal_one("--train bn"); }       /* only what trains is exchanged */
/* and what rank 0 saved then is taken up again. Each rank runs under a shell that survives it, so that mpirun does
 * not end the others before they can speak. */
static void a_rank_dies(const char *more) {
    char *dir = prepared(), cmd[2000], path[200], text[4000];
    snprintf(path, sizeof path, "%s/rank.sh", dir);
    FILE *f = fopen(path, "w");
    CHECK(f);
    fprintf(f,
            "#!/bin/bash\nr=$OMPI_COMM_WORLD_RANK\n" TRAIN "--batch_size 24 %s --steps 1000000 --out %s/run >%s/out$r "
            "2>&1 &\necho $! >%s/pid$r.x; mv %s/pid$r.x %s/pid$r\nwait $!\necho $? >%s/status$r.x; mv %s/status$r.x "
            "%s/status$r\nsleep 2\nexit 0\n", dir, more, dir, dir, dir, dir, dir, dir, dir, dir);
    fclose(f);
    chmod(path, 0755);
    snprintf(cmd, sizeof cmd, MPIRUN " -n 3 %s >%s/mpi.log 2>&1 &", path, dir);
    CHECK(!system(cmd));
    snprintf(path, sizeof path, "%s/run/metrics.jsonl", dir);
    struct stat st = {0};
    for (int i = 0; i < 600 && (stat(path, &st) || st.st_size < 2000); i++) usleep(50000);       /* training goes on */
    CHECK(st.st_size >= 2000);
    snprintf(path, sizeof path, "%s/pid1", dir);
    f = fopen(path, "r");
    int pid = 0;
    CHECK(f && fscanf(f, "%d", &pid) == 1 && pid > 1);
    fclose(f);
    CHECK(!kill(pid, SIGKILL));
    for (int r = 0; r < 3; r += 2) {
        snprintf(path, sizeof path, "%s/status%d", dir, r);
        int waited = 0;
        while (access(path, R_OK) && waited++ < 100) usleep(50000);
        if (waited >= 100) FAIL("rank %d still runs 5 seconds after rank 1 was killed", r);
        snprintf(path, sizeof path, "%s/out%d", dir, r);
        snprintf(cmd, sizeof cmd, "tail -c 500 %s", path);
        f = popen(cmd, "r");
        size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
        text[n] = 0;
        if (f) pclose(f);
        if (r == 0 && !strstr(text, "saved after step")) FAIL("rank 0 said: %s", text);
        if (!strstr(text, "rank 1 of 3 is gone") || !strstr(text, "HPT_ERR_PEER")) FAIL("rank %d said: %s", r, text);
    }
    usleep(2500000);                    /* mpirun ends */
    snprintf(cmd, sizeof cmd,
             "m=%s/run/metrics.jsonl; n=$(wc -l <$m); " TRAIN "--batch_size 24 %s --steps 1000000 --out %s/run "
             "--resume 2>&1 & p=$!; i=0; while [ $i -lt 300 ] && [ $(wc -l <$m) -le $((n + 8)) ]; do sleep 0.1; "
             /* it trains: where the machine does not know its own name, MPI looks for it for seconds */
             "i=$((i + 1)); done; kill -INT $p; wait $p", dir, dir, more, dir);
    char *overwrite = strstr(cmd, "--overwrite");
    memset(overwrite, ' ', strlen("--overwrite"));
    f = popen(cmd, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f) pclose(f);
    if (!strstr(text, "stopped at step")) FAIL("resumed: %s", text);
}
TEST_LIMIT(mpi_a_dead_rank_is_named_within_seconds, 120) { a_rank_dies(""); }
TEST_LIMIT(mpi_a_dead_rank_is_named_by_batch_norm_over_ranks, 120) { a_rank_dies("--bn_group 0"); }
TEST_LIMIT(mpi_ranks_that_disagree_are_refused, 120) {
    char *dir = prepared(), cmd[1500], text[2000];
    snprintf(cmd, sizeof cmd,
             MPIRUN " -n 2 bash -c '" TRAIN "--steps 4 --moco_t 0.$((OMPI_COMM_WORLD_RANK + 1)) --out %s/run' 2>&1",
             dir, dir);
    FILE *f = popen(cmd, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    CHECK(f && pclose(f) != 0);
    if (!strstr(text, "rank 1 has other options than rank 0")) FAIL("%s", text);
    snprintf(cmd, sizeof cmd, MPIRUN " -n 3 " TRAIN "--steps 4 --out %s/odd 2>&1", dir, dir);
    f = popen(cmd, "r");
    n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    CHECK(f && pclose(f) != 0);
    if (!strstr(text, "cannot be shared evenly by 3 ranks")) FAIL("%s", text);
}

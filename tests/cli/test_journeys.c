/* SPDX-License-Identifier: MIT
 * The ways that people go: own photographs, a first run, every command on it, Ctrl-C and kill -9 at random instants and
 * on again, and what is said when something is wrong. */
#define _GNU_SOURCE
#include "shell.h"
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The classifier of a probe is in its result: on the features of the test images it gives the logits that were
 * scored. */
TEST(the_trained_classifier_can_be_had) {
    static const char *const scales[] = {"none", "standard", "unit"};
    hpt_context *ctx = context("reference", 1);
    for (int k = 0; k < 3; k++) {
        hpt_config *c =
            config("arch=resnet10 width=16 stem=small image_size=16 batch_size=16 probe_steps=12 probe_eval_every=6 "
                               "probe_batch=16 probe_lr=0.1,1 probe_keep=1 ft_lr=0.01 ft_length=2 ft_batch=16 "
                               "ft_micro=8");
        OK(hpt_config_set(c, "probe_scale", scales[k]));
        hpt_dataset *train = toy_set(ctx, "", 48, 16, 3), *asked = toy_set(ctx, "", 12, 16, 3);
        OK(hpt_config_set(c, "overlap", "allow"));
        hpt_model *m, *tuned;
        hpt_result *r;
        OK(hpt_model_create(ctx, c, &m));
        for (int fine = 0; fine < 2 - (k > 0); fine++) {
            hpt_model *on = m;
            if (fine) OK(hpt_model_finetune(m, train, NULL, asked, c, &tuned, &r));
            else OK(hpt_model_linear(m, train, NULL, asked, c, &r));
            if (fine) on = tuned;
            uint64_t dim = 0;
            hpt_model_info mi = {.struct_size = sizeof mi};
            OK(hpt_model_get_info(m, &mi));
            dim = mi.feature_dim;
            float *w = calloc(3 * dim, 4), b[3], logits[36], *x = calloc(12 * dim, 4);
            OK(hpt_result_array(r, "head_weight", w, 3 * dim, NULL));
            OK(hpt_result_array(r, "head_bias", b, 3, NULL));
            OK(hpt_result_array(r, "test_logits", logits, 36, NULL));
            OK(hpt_model_features(on, asked, c, x, 12 * dim));
            for (uint64_t i = 0; i < 12; i++)
                for (uint64_t j = 0; j < 3; j++) {
                    double sum = 0, sq = 0;
                    for (uint64_t d = 0; d < dim; d++) {
                        sum += (double)w[j * dim + d] * (double)x[i * dim + d];
                        sq += (double)x[i * dim + d] * (double)x[i * dim + d];
                    }
                    if (k == 2 && !fine) sum /= sqrt(sq);
                    sum += (double)b[j];
                    if (fabs(sum - (double)logits[i * 3 + j]) > 1e-3 * (1 + fabs(sum)))
                        FAIL("%s %d: image %d: %g, not %g", scales[k], fine, (int)i, sum, (double)logits[i * 3 + j]);
                }
            free(w);
            free(x);
            hpt_result_destroy(r);
            if (fine) hpt_model_destroy(tuned);
        }
        hpt_model_destroy(m);
        hpt_dataset_destroy(train);
        hpt_dataset_destroy(asked);
        hpt_config_destroy(c);
    }
    hpt_context_destroy(ctx);
}

/* No more threads than processors, whatever is asked, and it is said; facts are those of results. */
static void hear(void *user, int32_t level, const char *text) {
    (void)level;
    if (strstr(text, "threads=1000: this process may use")) ++*(int *)user;
}
TEST(threads_stay_below_the_processors) {
    char text[300], nproc[100];
    int told = 0;
    double n = 0;
    hpt_config *c = config("threads=1000 backend=reference precision=fp64");
    hpt_context *ctx;
    hpt_result *r;
    OK(hpt_context_create(c, &ctx));
    for (int i = 0; i < 2; i++) OK(hpt_context_set_log(ctx, hear, &told));
    OK(hpt_context_facts(ctx, c, &r));
    OK(hpt_result_number(r, "threads", &n));
    OK(hpt_result_json(r, text, sizeof text, NULL));
    RUN("env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc");
    snprintf(nproc, sizeof nproc, "%.90s", output);
    CHECK(told == (atoi(nproc) < 1000) && n <= atoi(nproc));
    CHECK(strstr(text, "\"precision\": \"fp64\"") && strstr(text, "\"backend\": \"reference\""));
    hpt_result_destroy(r);
    OK(hpt_config_set(c, "precision", "tf32"));
    FAILS(HPT_ERR_UNSUPPORTED, "precision=tf32", hpt_context_facts(ctx, c, &r));
    hpt_context_destroy(ctx);
    hpt_config_destroy(c);
}

/* ---- the commands ---- */

static const char *const bin = HPT_TEST_BIN "/hpt";
#define NET "--arch resnet10 --width 16 --stem small --image_size 16 --threads 1 --backend reference"
#define MOCO NET " --batch_size 8 --bn_group 4 --moco_k 16"

/* What a command says on each stream. */
static char *first_line(const char *text) { return strndup(text, strcspn(text, "\n")); }
/* The last line tells what is wrong; before it at most the command's first line, and notes. */
static int told_in_one_line(const char *text) {
    size_t n = strlen(text);
    const char *last = n && text[n - 1] == '\n' ? text : NULL;
    for (const char *p = text; last && *p; p = strchr(p, '\n') + 1)
        if (strlen(last = p) < n && !strncmp(p, "hpt", 3)) break;
    return last && !strncmp(last, "hpt", 3) && strcspn(last, "\n") == strlen(last) - 1 && strlen(last) <= 600 &&
        !strchr(text, '{');
}
static json_t *json_of(const char *cmd) {
    json_error_t why;
    RUN("%s --json 2> /dev/null", cmd);
    json_t *j = json_loads(output, 0, &why);
    if (!j) FAIL("%s: %s: %s", cmd, why.text, output);
    return j;
}

/* Own photographs, from scratch to every number. The folder's name has all that a name can have. */
TEST_LIMIT(own_photographs, 120) {
    char *top = temp_dir(), *set_ = stripes(top, 10), dir[300], cmd[3000], *line;
    RUN("cp -r %s %s/check && rm %s/check/rows/00[0-5].ppm %s/check/columns/00[0-5].ppm && rm %s/rows/00[6-9].ppm "
        "%s/columns/00[6-9].ppm", set_, top, top, top, set_, set_);
    snprintf(dir, sizeof dir, "%s/it's \"ä\"\n\xff", top);
    CHECK(!mkdir(dir, 0777));
    snprintf(dir, sizeof dir, "\"$(printf '%s/it'\\''s \"ä\"\\n\\377')\"", top);
    RUN("mv %s %s/set && mv %s/check %s", set_, dir, top, dir);
    /* a first run, from scratch; its folder says where its images were, whatever the bytes */
    RUN("%s pretrain --data %s/set --out %s/run " MOCO " --steps 6", bin, dir, dir);
    line = first_line(output);
    CHECK(!strcmp(line, "reference (plain C, 1 thread), fp32; data 12 images, 2 classes"));
    RUN("head -1 %s/run/train.log", dir);
    CHECK(strstr(output, line));
    free(line);
    RUN("cp -r %s/run %s/again && %s pretrain --out %s/again --resume --json 2> /dev/null", dir, dir, bin, dir);
    json_t *j = json_loads(output, 0, NULL);
    CHECK(json_integer_value(json_object_get(j, "steps")) == 6);
    json_decref(j);
    RUN("cat %s/run/args.json", dir);
    j = json_loads(output, 0, NULL);
    CHECK(json_integer_value(json_object_get(json_object_get(j, "run"), "images")) == 12);
    json_decref(j);
    /* every command on it */
    static const struct {
        const char *cmd, *first, *key;
    } all[] = {
        {"linear --train %s/set --test %s/check --init %s/run/exported/backbone.pth --probe_steps 4 --probe_eval_every "
         "2", "fp32; train 12 images, 2 classes; test 8 images, 2 classes", "test_score"},
        {"linear --train %s/set --val %s/check --init %s/run/exported/backbone.pth --probe_steps 4 --per-class 3",
         "fp32; train 6 images, 2 classes; val 8 images, 2 classes", "val_score"},
        {"knn --train %s/set --test %s/check --init %s/run/exported/model.safetensors --knn_k 3",
         "fp32; train 12 images, 2 classes; test 8 images, 2 classes", "knn_score"},
        {"finetune --train %s/set --val %s/check --init %s/run/exported/backbone.pth --ft_lr 0.01 --ft_length 1 "
         "--ft_batch 4", "fp32; train 12 images, 2 classes; val 8 images, 2 classes", "val_score"},
        {"embed --data %s/set --out %s/f.csv --init %s/run/checkpoints/last.pth.tar",
         "fp32; data 12 images, 2 classes", "file"},
        {"refresh-bn --data %s/set --out %s/fresh.pth --init %s/run/exported/backbone.pth --bn_group 4 --batch_size 4",
         "fp32; data 12 images, 2 classes", "images"},
        {"similarity %s/fresh.pth --data %s/set %s/run/exported/backbone.pth", "fp32; data 12 images, 2 classes",
         "rv2"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char typed[2600];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(typed, sizeof typed, all[i].cmd, dir, dir, dir);
#pragma GCC diagnostic pop
        snprintf(cmd, sizeof cmd, "%s %s --image_size 16 --backend reference --threads 1", bin, typed);
        RUN("%s 2>&1 > /dev/null", cmd);
        line = first_line(output);
        if (!strstr(line, all[i].first) || strncmp(line, "reference (", 11)) FAIL("%s: begins %s", cmd, output);
        free(line);
        RUN("%s 2> /dev/null", cmd);
        if (strchr(output, '{')) FAIL("%s: JSON without --json: %s", cmd, output);
        j = json_of(cmd);
        if (!json_object_get(j, all[i].key)) FAIL("%s: no %s", cmd, all[i].key);
        json_decref(j);
    }
    RUN("head -1 %s/f.csv && grep -c ',\"columns\"$' %s/f.csv && grep -c ',\"rows\"$' %s/f.csv && ls %s", dir, dir,
        dir, dir);
    CHECK(!strncmp(output, "filename,label,embedding_0,", 27) &&
          strstr(output, ",embedding_127,class\n6\n6\nagain\n") && !strstr(output, "tmp"));
    RUN("%s search --sources %s/set,%s/check --train %s/set --val %s/check --init %s/fresh.pth --image_size 16 "
        "--threads 1 --backend reference --steps 2 --batch_size 4 --bn_group 4 --moco_k 8 --probe_steps 2 --overlap "
        "allow 2>&1 > %s/ranking", bin, dir, dir, dir, dir, dir, dir);
    CHECK(strstr(output, "set 12 images, 2 classes; ") && strstr(output, "check 8 images, 2 classes\n"));
    RUN("cat %s/ranking", dir);
    CHECK(strstr(output, "/set: top-1 ") && strstr(output, "/check: top-1 "));
    RUN("%s info %s/fresh.pth | wc -l", bin, dir);
    CHECK(atoi(output) < 30);
    snprintf(cmd, sizeof cmd, "%s info %s/fresh.pth", bin, dir);
    json_decref(json_of(cmd));
    RUN("%s export %s/fresh.pth %s/f.safetensors --format safetensors", bin, dir, dir);
    snprintf(cmd, sizeof cmd, "%s dataset check %s/shop.ini", bin, top);
    RUN("cd %s && echo \"$(pwd)/a\" > /dev/null && mkdir a && cp %s/set/rows/00[01].ppm a && printf 'a/000.ppm one\\n' "
        "> l.txt && printf 'a/001.ppm one\\n' > m.txt && printf '[dataset]\\nname = shop\\ntrain = l.txt\\ntest = "
        "m.txt\\nval = m.txt\\n' > shop.ini", top, dir);
    CHECK(sh("%s --json 2> /dev/null", cmd) == 1); /* val and test share an image */
    j = json_loads(output, 0, NULL);
    CHECK(j && json_object_get(j, "splits"));
    json_decref(j);
    free(set_);
}

/* What is wrong is said in one line, and the status says that something was. */
TEST_LIMIT(failures_are_one_line, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 4);
    RUN("cd %s && : > empty.pth && head -c 3000 /dev/urandom > noise.pth && mkdir none && : > none/a.png && echo hello "
        "> words.txt && echo '{}' > j.safetensors && mkdir plain && cp set/rows/*.ppm plain && printf '[recipe]\\nout "
        "= x\\n[a]\\nkind = linear\\nlr = x\\n' > r.ini", dir);
    static const struct {
        const char *says, *cmd;
    } all[] = {
        {"empty.pth", "info D/empty.pth"},
        {"noise.pth", "info D/noise.pth"},
        {"j.safetensors", "info D/j.safetensors"},
        {"no-such", "info D/no-such.pth"},
        {"not a regular file", "info D/set"},
        {"000.ppm", "info D/set/rows/000.ppm"},
        {"empty.pth", "embed --data D/set --out D/x.csv --init D/empty.pth"},
        {"noise.pth", "linear --train D/set --init D/noise.pth"},
        {"000.ppm", "knn --train D/set --test D/set --init D/set/rows/000.ppm"},
        {"noise.pth", "export D/noise.pth D/y.pth"},
        {"noise.pth", "refresh-bn --data D/set --init D/noise.pth --out D/y.pth"},
        {"noise.pth", "search --sources D/set --train D/set --val D/set --init D/noise.pth"},
        {"noise.pth", "similarity D/noise.pth random --data D/set"},
        {"noise.pth", "pretrain --data D/set --out D/run --init D/noise.pth"},
        {"a.png", "embed --data D/none --out D/x.csv --init random " NET},
        {"words.txt", "embed --data D/words.txt --out D/x.csv --init random " NET},
        {"no labels", "linear --train D/plain --init random " NET},
        {"no labels", "knn --train D/set --test D/plain --init random " NET},
        {"'knn_k'", "knn --train D/set --test D/set --init random --knn_k many"},
        {"given twice", "knn --train D/set --train D/plain --test D/set --init random"},
        {"monitor-train", "pretrain --data D/set --out D/run --monitor_every 5"},
        {"not a number from 1 to", "linear --train D/set --init random --per-class 4294967297"},
        {"not a number from 1 to", "finetune --train D/set --init random --labels 0"},
        {"--layers", "similarity random random --layers"},
        {"none is named", "search --sources , --train D/set --val D/set --init random"},
        {"share 8 images", "linear --train D/set --test D/set --init random " NET},
        {"bn_group", "pretrain --data D/set --out D/run --bn_group 3 " NET " --batch_size 8"},
        {"precision=fp64",
         "knn --train D/set --test D/set --init random --arch resnet10 --backend onednn --precision fp64"},
        {"'foo'", "dataset list foo"},
        {"'foo'", "dataset show foo"},
        {"r.ini", "run D/r.ini"},
        {"no such file", "run D/none.ini"}};
    int bad = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char cmd[1200] = "", *to = cmd;
        for (const char *p = all[i].cmd; *p; p++)
            to += *p == 'D' && p[1] == '/' ? sprintf(to, "%s", dir) : sprintf(to, "%c", *p);
        int rc = sh("%s %s", bin, cmd);
        if ((rc == 1 || rc == 2) && told_in_one_line(output) && strstr(output, all[i].says)) continue;
        printf("%s: exit status %d, one line with '%s' was expected:\n%s\n", cmd, rc, all[i].says, output);
        bad++;
    }
    CHECK(!bad);
    RUN("%s knn --train %s/set --test %s/set --overlap allow --init random --moco_k 5 " NET, bin, dir, dir);
    CHECK(strstr(output, "note: option 'moco_k' does nothing in hpt knn; it is for: "));
    RUN("test ! -e %s/run && test ! -e %s/x.csv && test ! -e %s/y.pth", dir, dir, dir); /* and nothing is left of it */
    free(set_);
}

/* ---- stopped at any instant ---- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* Runs until it is done, or the signal comes after that many seconds; the exit status, or 128 + the signal. */
static int stopped_after(const char *cmd, int sig, double after) {
    pid_t p = fork();
    if (!p) {
        execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
        _exit(9);
    }
    struct timespec t = {(time_t)after, (long)(1e9 * (after - floor(after)))};
    int st;
    nanosleep(&t, NULL);
    kill(p, sig);
    if (waitpid(p, &st, 0) != p) FAIL("waitpid");
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}
/* Every long command: stopped at random instants and typed again, it says what an undisturbed one says, and its
 * files are the same. */
TEST_LIMIT(stopped_at_random_and_on_again, 240) {
    char *dir = temp_dir(), *set_ = stripes(dir, 16), cmd[3000], quoted[4000];
    unsigned draw = 20261125u;
    int all_stops = 0;
    RUN("cd %s && mkdir -p check/rows check/columns && mv set/rows/01[2-5].ppm check/rows && mv "
        "set/columns/01[2-5].ppm check/columns", dir);
    RUN("%s export random %s/base.pth --arch resnet10 --width 16 --stem small", bin, dir);
    RUN("%s finetune --train %s --test %s/check --init %s/base.pth --out %s/classes.pth --ft_lr 0.01 --ft_length 1 "
        "--ft_batch 16 --image_size 16 --threads 1", bin, set_, dir, dir, dir);
    RUN("cd %s && printf '[dataset]\nname = s\ntrain = set\ntest = check\n' > s.ini", dir);
    /* keeps: work that was done before the stop is not done again; kill -9 is survived too. plain: takes no model,
     * and no options beside its own */
    static const struct {
        const char *cmd, *again, *file;
        int keeps, plain;
    } all[] = {
        {"linear --train SET --test CHECK --work_file OUT/work --probe_augment 1 --val CHECK --overlap allow "
         "--probe_steps 60 --probe_eval_every 6 --probe_batch 8 --work_every 6 --json", NULL, NULL, 1, 0},
        {"finetune --train SET --test CHECK --work_file OUT/work --work_every 2 --ft_lr 0.01 --ft_length 24 --ft_batch "
         "16 --ft_micro 8 --ft_eval_every 4 --out OUT/tuned.pth --json", NULL, "tuned.pth", 1, 0},
        {"search --sources SET,CHECK --train SET --val CHECK --overlap allow --steps 6 --batch_size 8 --bn_group 4 "
         "--moco_k 16 --probe_steps 10 --search_dir OUT/search --search_save_every 3 --out OUT/best.pth", NULL,
         "best.pth", 1, 0},
        {"pretrain --data SET --out OUT/run --steps 60 --save-every 4 --batch_size 8 --bn_group 4 --moco_k 16",
         "pretrain --out OUT/run --resume", "run/exported/model.safetensors", 1, 0},
        {"embed --data SET --out OUT/f.csv", NULL, "f.csv", 0, 0},
        {"refresh-bn --data SET --out OUT/fresh.pth --bn_group 4 --batch_size 8", NULL, "fresh.pth", 0, 0},
        {"knn --train SET --test CHECK --json", NULL, NULL, 0, 0},
        {"similarity INIT random --data SET --arch resnet10 --width 16 --stem small", NULL, NULL, 0, 0},
        {"predict --data SET --init DIR/classes.pth --top 2 --out OUT/p.csv", NULL, "p.csv", 1, 0},
        {"export INIT OUT/e.safetensors --format safetensors", NULL, "e.safetensors", 1, 1},
        {"info INIT --json", NULL, NULL, 1, 1},
        {"dataset check DIR/s.ini --json", NULL, NULL, 1, 1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double whole = 0;
        int stops = 0, done = 0;
        for (int cut = 0; cut < 2; cut++) {
            char out[300], run[320];
            snprintf(out, sizeof out, "%s/%s", dir, cut ? "cut" : "whole");
            snprintf(run, sizeof run, "%s/run/args.json", out);
            RUN("mkdir -p %s/search", out);
            for (int round = 0; !done; round++) {
                const char *typed = all[i].again && !access(run, F_OK) ? all[i].again : all[i].cmd;
                char *to = cmd + sprintf(cmd, "exec %s ", bin);
                for (const char *p = typed; *p; p++) {
                    const char *name[] = {"SET", "CHECK", "OUT", "INIT", "DIR"}, *is = NULL;
                    char value[320];
                    for (int k = 0; k < 5 && !is; k++)
                        if (!strncmp(p, name[k], strlen(name[k]))) {
                            snprintf(value, sizeof value, k == 1 ? "%s/check" : k == 3 ? "%s/base.pth" : "%s",
                                     k == 0 ? set_ : k == 2 ? out : dir);
                            is = name[k];
                        }
                    to += is ? sprintf(to, "%s", value) : sprintf(to, "%c", *p);
                    p += is ? strlen(is) - 1 : 0;
                }
                if (typed != all[i].again && !all[i].plain) {
                    to += sprintf(to, " --image_size 16 --threads 1 --backend cpu");
                    if (!strstr(typed, "--init ") && strncmp(typed, "similarity", 10))
                        to += sprintf(to, " --init %s/base.pth", dir);
                }
                snprintf(quoted, sizeof quoted, "%s > %s/said 2> %s/notes", cmd, out, out);
                double begin = seconds();
                int sig = all[i].keeps && round % 3 == 2 ? SIGKILL : SIGINT;
                draw = draw * 1103515245u + 12345u;
                int rc = !cut || round >= 4 ? sh("%s", quoted)
                    : stopped_after(quoted, sig, whole * (double)(draw >> 8 & 1023) / 1100);
                if (!cut) whole = seconds() - begin;
                if (rc && rc != 130 && rc != 128 + SIGKILL)
                    FAIL("%s: exit status %d: %s", quoted, rc, (sh("cat %s/notes", out), output));
                if (rc == 130) { /* one line says so, if it was far enough to say anything */
                    sh("grep -c stopped %s/notes", out);
                    if (atoi(output) > 1) FAIL("%s: %s", quoted, (sh("cat %s/notes", out), output));
                    stops++;
                }
                done = !rc;
                if (round > 6) FAIL("%s: does not end", quoted);
            }
            done = 0;
        }
        RUN("cd %s && for r in whole cut; do sed -e 's,%s/[a-z]*/,,; /seconds/d' $r/said > $r/said.text; done; diff "
            "whole/said.text cut/said.text", dir, dir);
        if (all[i].file) RUN("cmp %s/whole/%s %s/cut/%s", dir, all[i].file, dir, all[i].file);
        RUN("find %s/cut -name '*.tmp*' -o -name '*.try*' -o -name work | wc -l", dir);
        printf("%.10s: %.2f s, stopped %d times, %d files left\n", all[i].cmd, whole, stops, atoi(output));
        RUN("rm -rf %s/cut %s/whole", dir, dir);
        all_stops += stops;
    }
    CHECK(all_stops >= 5);
    free(set_);
}

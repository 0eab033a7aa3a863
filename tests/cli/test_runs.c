/* SPDX-License-Identifier: MIT
 * Runs of hpt that are killed, stopped, resumed and refused: the folder of a run tells one story, and what was typed is
 * used or refused. */
#define _GNU_SOURCE
#include "shell.h"
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NET                                                                                                            \
    "--arch resnet10 --width 16 --stem small --image_size 16 --batch_size 8 --bn_group 4 --moco_k 16 --threads 1"
static const char *const bin = HPT_TEST_BIN "/hpt";

/* metrics.jsonl, summary.csv and train.log of two runs are equal, times apart; args.json too. */
static void same_story(const char *dir, const char *a, const char *b) {
    static const char *const files[] = {"metrics.jsonl", "summary.csv", "train.log", "args.json", "stats.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        RUN("for r in %s %s; do sed -e 's/\"time_ms\": .*//' -e 's/, [0-9.]* s, loss/, loss/' %s/$r/%s > %s/$r.text || "
            "exit 1; done; diff %s/%s.text %s/%s.text",
            a, b, dir, files[i], dir, dir, a, dir, b);
    RUN("for f in checkpoints/last.pth.tar exported/backbone.pth exported/model.safetensors; do cmp %s/%s/$f %s/%s/$f "
        "|| exit 1; done",
        dir, a, dir, b);
    RUN("(cd %s/%s && find . -type f | sort) > %s/a.text; (cd %s/%s && find . -type f | sort) > %s/b.text; diff "
        "%s/a.text %s/b.text",
        dir, a, dir, dir, b, dir, dir, dir);
}

#define WHOLE "%s pretrain --data %s --out %s " NET " --steps 60 --save-every 5"
/* One run, killed at times that sweep over it; each resumed one types nothing but the folder. */
static void killed_run(const char *set_, const char *out, int *kills) {
    char args[320];
    snprintf(args, sizeof args, "%s/args.json", out);
    for (int i = 0; i < 40; i++) {
        int st, begun = !access(args, F_OK);
        pid_t p = fork();
        if (!p) {
            char cmd[2000];
            if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(9);
            if (begun)
                snprintf(cmd, sizeof cmd, "exec %s pretrain --out %s --resume", bin, out);
            else
                snprintf(cmd, sizeof cmd, "exec " WHOLE, bin, set_, out);
            execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
            _exit(9);
        }
        struct timespec t = {0, (20 + 5 * (*kills % 29)) * 1000000L};
        nanosleep(&t, NULL);
        kill(p, SIGKILL);
        waitpid(p, &st, 0);
        *kills += WIFSIGNALED(st);
        if (WIFEXITED(st) && WEXITSTATUS(st)) FAIL("attempt %d ended with status %d", i, WEXITSTATUS(st));
        if (WIFEXITED(st)) return;
    }
    RUN("if [ -e %s ]; then %s pretrain --out %s --resume; else " WHOLE "; fi", args, bin, out, bin, set_, out);
}
/* A hundred kills -9 (fewer where a machine is so slow that a run does not get on between them). */
TEST_LIMIT(killed_runs_tell_one_story, 300) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12), out[300], name[20];
    snprintf(out, sizeof out, "%s/whole", dir);
    RUN(WHOLE, bin, set_, out);
    RUN("wc -l < %s/whole/metrics.jsonl", dir);
    CHECK(atoi(output) == 60);
    RUN("wc -l < %s/whole/summary.csv", dir);
    CHECK(atoi(output) == 1 + 20); /* 24 images, 8 a step: 3 steps an epoch */
    int kills = 0;
    for (int run = 0; run < 20 && kills < 100; run++) {
        snprintf(name, sizeof name, "cut%d", run);
        snprintf(out, sizeof out, "%s/%s", dir, name);
        killed_run(set_, out, &kills);
        same_story(dir, "whole", name);
    }
    printf("%d kills\n", kills);
    CHECK(kills >= 20);
    RUN("%s pretrain --out %s --resume", bin, out); /* done already: nothing changes */
    same_story(dir, "whole", name);
}

TEST_LIMIT(resume_takes_the_options_of_the_run, 120) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12);
    RUN("%s pretrain --data %s --out %s/base " NET " --steps 3", bin, set_, dir);
    RUN("%s pretrain --data %s --out %s/run --init %s/base/exported/backbone.pth --lr 0.1 " NET
        " --steps 9 --save-every 3",
        bin, set_, dir, dir);
    RUN("cp -r %s/run %s/kept", dir, dir);
    RUN("%s pretrain --out %s/run --resume --json", bin, dir);
    CHECK(strstr(output, "\"steps\": 9"));
    /* the team of threads is part of what makes the bits: another is a note */
    CHECK(!strstr(output, "the run began on"));
    RUN("grep -c 'machine.*onednn' %s/run/args.json; nproc", dir);
    int other = atoi(output) && atoi(strchr(output, '\n')) > 1;
    RUN("cp -r %s/run %s/more && %s pretrain --out %s/more --resume --threads 2", dir, dir, bin, dir);
    CHECK(other == !!strstr(output, "note: the run began on onednn"));
    REFUSED(1, "option lr was", "%s pretrain --out %s/run --resume --lr 0.2", bin, dir);
    REFUSED(1, "--init was", "%s pretrain --out %s/run --resume --init %s/other.pth", bin, dir, dir);
    REFUSED(1, "holds no run to resume", "%s pretrain --out %s/none --resume", bin, dir);
    REFUSED(2, "contradict", "%s pretrain --out %s/run --resume --overwrite", bin, dir);
    RUN("rm %s/run/checkpoints/last.pth.tar", dir);
    REFUSED(1, "no checkpoint to go on from", "%s pretrain --out %s/run --resume", bin, dir);
    RUN("diff %s/run/metrics.jsonl %s/kept/metrics.jsonl", dir, dir); /* refused: nothing was touched */
    /* a run that replaces another leaves nothing of it, even if it is stopped at once */
    RUN("cp -r %s/kept %s/again", dir, dir);
    sh("%s pretrain --data %s --out %s/again --overwrite " NET " --steps 100000 & p=$!; for i in $(seq 200); do "
       "test -e %s/again/exported/backbone.pth || break; sleep 0.05; done; kill -KILL $p", bin, set_, dir, dir);
    CHECK(sh("test -e %s/again/exported/backbone.pth", dir) != 0);
    /* refused for its options: no folder that looks like a run */
    REFUSED(1, "bn_group", "%s pretrain --data %s --out %s/fresh " NET " --bn_group 3", bin, set_, dir);
    RUN("%s pretrain --data %s --out %s/fresh " NET " --steps 2", bin, set_, dir);
    RUN("%s pretrain --data %s --out %s/a/b/c " NET " --steps 2", bin, set_, dir); /* folders above are made */
}

/* Places that cannot be written are found before the work; an answer is printed in any case; a full standard output is
 * an error. */
TEST_LIMIT(outputs_are_tried_first, 120) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12);
    RUN("%s pretrain --data %s --out %s/run " NET " --steps 2", bin, set_, dir);
#define MODEL "--image_size 16 --backend reference --threads 1"
    char init[400];
    snprintf(init, sizeof init, "--init %s/run/exported/backbone.pth " MODEL, dir);
    REFUSED(1, "No such file or directory", "%s embed --data %s --out %s/none/x.csv %s", bin, set_, dir, init);
    RUN("mkdir %s/folder.csv", dir);
    REFUSED(1, "not a regular file", "%s embed --data %s --out %s/folder.csv %s", bin, set_, dir, init);
    REFUSED(2, "must end in .csv or .npy", "%s embed --data %s --out %s/x.npz %s", bin, set_, dir, init);
    REFUSED(1, "No such file or directory", "%s refresh-bn --data %s --out %s/none/x.pth %s", bin, set_, dir, init);
    REFUSED(1, "No such file or directory", "%s finetune --train %s --out %s/none/x.pth %s", bin, set_, dir, init);
    REFUSED(1, "No such file or directory", "%s search --sources %s --train %s --val %s --out %s/none/x.pth %s", bin,
            set_, set_, set_, dir, init);
    REFUSED(1, "No such file or directory", "%s export %s/run/exported/backbone.pth %s/none/x.pth", bin, dir, dir);
    REFUSED(1, "not a regular file", "%s export %s/run/exported/backbone.pth /dev/full", bin, dir);
    REFUSED(1, "Not a directory", "%s pretrain --data %s --out %s/run/args.json/x " NET " --steps 2", bin, set_, dir);
    RUN("%s knn --train %s --test %s --overlap allow %s", bin, set_, set_, init);
    CHECK(strstr(output, "%"));
    REFUSED(1, "standard output: No space left", "%s knn --train %s --test %s --overlap allow %s > /dev/full", bin,
            set_, set_, init);
    REFUSED(1, "nearest neighbours: top-1", "%s knn --train %s --test %s --overlap allow %s > /dev/full", bin,
            set_, set_, init);
    REFUSED(1, "standard output: No space left", "%s options > /dev/full", bin);
    REFUSED(1, "standard output: No space left", "%s info %s/run/exported/backbone.pth > /dev/full", bin, dir);
}

/* A monitor of several labels an image scores areas, and says so. */
TEST_LIMIT(the_monitors_score_has_its_name, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 4);
    RUN("cd %s && (for f in */*.ppm; do case $f in *[02468].ppm) echo $f 1,0;; *) echo $f 0,1;; esac; done) > ../m.txt",
        set_);
    RUN("%s pretrain --data %s --out %s/run " NET " --steps 2 --monitor_every 1 --overlap allow --monitor-train "
        "%s/../m.txt --monitor-val %s/../m.txt --list_root %s", bin, set_, dir, set_, set_, set_);
    RUN("grep kNN %s/run/train.log", dir);
    CHECK(strstr(output, "kNN AUROC ") && !strstr(output, "%"));
    RUN("%s pretrain --data %s --out %s/one " NET " --steps 2 --monitor_every 1 --overlap allow --monitor-train "
        "%s --monitor-val %s", bin, set_, dir, set_, set_);
    RUN("grep kNN %s/one/train.log", dir);
    CHECK(strstr(output, "kNN top-1 % "));
}
/* Nothing is left of a run that its monitor's images refuse. */
TEST_LIMIT(a_refused_monitor_leaves_nothing, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 4);
    RUN("mkdir %s/other && cp -r %s/* %s/other && mv %s/other/$(ls %s | head -1) %s/other/unknown", dir, set_, dir, dir,
        set_, dir);
    REFUSED(1, "unknown", "%s pretrain --data %s --out %s/run " NET " --steps 2 --monitor_every 1 --overlap allow "
            "--monitor-train %s --monitor-val %s/other", bin, set_, dir, set_, dir);
    CHECK(!sh("test -e %s/run && echo there", dir) || !strstr(output, "there"));
    RUN("%s pretrain --data %s --out %s/run " NET " --steps 2 --monitor_every 1 --overlap allow --monitor-train %s "
        "--monitor-val %s", bin, set_, dir, set_, set_);
}
/* A checkpoint of another kind of network is called by its name. */
TEST(other_networks_are_named) {
    static const struct { const char *tensors, *looks; } files[] = {
        {"blocks.0.attn.qkv.weight", "a vision transformer"},
        {"layers.0.blocks.0.attn.relative_position_bias_table", "a Swin transformer"},
        {"features.1.0.block.0.0.weight", NULL},
        {"stages.0.0.dwconv.weight", "a ConvNeXt"},
        {"features.denseblock1.denselayer1.conv1.weight", "a DenseNet"}};
    char *dir = temp_dir();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char header[300], path[300];
        int n = snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                         files[i].tensors);
        uint64_t size = (uint64_t)n;
        snprintf(path, sizeof path, "%s/%zu.safetensors", dir, i);
        FILE *f = fopen(path, "wb");
        CHECK(f && fwrite(&size, 8, 1, f) == 1 && fwrite(header, (size_t)n, 1, f) == 1 &&
              fwrite("\0\0\0", 4, 1, f) == 1);
        CHECK(!fclose(f));
        RUN("%s info %s", bin, path);
        CHECK(files[i].looks ? strstr(output, files[i].looks) != NULL : !strstr(output, "looks like"));
    }
}

TEST_LIMIT(what_is_typed_is_used_or_refused, 60) {
    char *dir = temp_dir(), *set_ = stripes(dir, 4);
    REFUSED(2, "'x.pth' is not understood", "%s linear --train %s x.pth", bin, set_);
    REFUSED(2, "--init FILE is needed", "%s linear --train %s", bin, set_);
    REFUSED(2, "--init FILE is needed", "%s knn --train %s --test %s", bin, set_, set_);
    REFUSED(2, "--init FILE is needed", "%s embed --data %s --out %s/x.csv", bin, set_, dir);
    REFUSED(2, "--init FILE is needed", "%s finetune --train %s", bin, set_);
    REFUSED(2, "'extra' is not understood", "%s pretrain extra --data %s --out %s/r", bin, set_, dir);
    REFUSED(2, "'abc' is not a number", "%s pretrain --data %s --out %s/r --save-every abc", bin, set_, dir);
    REFUSED(2, "'-5' is not a number", "%s linear --train %s --init random --per-class -5", bin, set_);
    REFUSED(2, "go together", "%s pretrain --data %s --out %s/r --monitor-train %s", bin, set_, dir, set_);
    REFUSED(2, "did you mean 'pretrain'?", "%s pretain --data %s", bin, set_);
    REFUSED(2, "did you mean 'linear'?", "%s lin", bin);
    REFUSED(2, "did you mean '--monitor-train'?", "%s pretrain --monitor_trian %s", bin, set_);
    REFUSED(2, "did you mean 'steps'?", "%s pretrain --step 5", bin);
    /* at the end of the line, too, where no value can follow */
    REFUSED(2, "did you mean '--resume'?", "%s pretrain --out %s/r --resum", bin, dir);
    REFUSED(2, "did you mean '--overwrite'?", "%s pretrain --out %s/r --overwrit", bin, dir);
    REFUSED(2, "--lr needs a value", "%s pretrain --out %s/r --lr", bin, dir);
    REFUSED(2, "did you mean 'steps'?", "%s pretrain --step", bin);
    RUN("%s pretrain --help", bin);
    CHECK(strstr(output, "--help-all") && strstr(output, "--moco_k") && !strstr(output, "--lars_trust"));
    for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n")) CHECK(strlen(line) <= 100);
    RUN("%s pretrain --help-all", bin);
    CHECK(strstr(output, "--lars_trust") && strstr(output, "--init_method"));
    REFUSED(2, "takes no value", "%s linear --train %s --json=1", bin, set_);
    REFUSED(2, "contradict", "%s finetune --train %s --init random --labels 4 --per-class 2", bin, set_);
    RUN("%s embed --data %s --init random --arch resnet10 --width 16 --stem small --image_size 16 --threads 1 --out "
        "%s/x.csv",
        bin, set_, dir);
    RUN("%s pretrain --data %s --out %s/u --save_every 2 " NET " --steps 4", bin, set_,
        dir); /* '_' and '-' are one letter */
}

/* A writer that was killed leaves its temporary file; the next writer of the same name removes it, but not one of a
 * writer that lives. */
TEST(temporary_files_of_dead_writers_go) {
    char *dir = temp_dir(), path[300];
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 stem=small");
    hpt_model *m;
    OK(hpt_model_create(ctx, c, &m));
    RUN("touch %s/m.pth.tmp99999.0 %s/m.pth.tmp1.7 %s/other.pth.tmp1.7 %s/m.pth.tmpx %s/m.pth.tmp1.7.bak", dir, dir,
        dir, dir, dir);
    RUN("(flock -n 9 && sleep 30) 9> %s/m.pth.tmp5.5 > /dev/null 2>&1 & sleep 0.3", dir);
    snprintf(path, sizeof path, "%s/m.pth", dir);
    OK(hpt_model_save(m, path, NULL));
    RUN("ls %s", dir);
    CHECK(!strcmp(output, "m.pth\nm.pth.tmp1.7.bak\nm.pth.tmp5.5\nm.pth.tmpx\nother.pth.tmp1.7\n"));
    RUN("pkill -f '^sleep 30$' || true");
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    hpt_context_destroy(ctx);
}

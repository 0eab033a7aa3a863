/* SPDX-License-Identifier: MIT
 * Known sets and descriptor files where a command takes images: SET:SPLIT:FOLDER. The same words for every command,
 * and a file of that name goes first. */
#define _GNU_SOURCE
#include "shell.h"
#include <unistd.h>

#define NET "--arch resnet10 --width 16 --stem small --image_size 16 --batch_size 8 --threads 1 --backend reference"
static const char *const bin = HPT_TEST_BIN "/hpt";

TEST_LIMIT(commands_take_sets_by_name, 120) {
    char *dir = temp_dir(), *set_ = stripes(dir, 10);
    RUN("cd %s && mkdir -p lists && for i in 0 1 2 3; do echo \"set/rows/00$i.ppm 1\"; echo \"set/columns/00$i.ppm "
        "0\"; done > lists/a.txt && for i in 6 7; do echo \"set/rows/00$i.ppm 1\"; echo \"set/columns/00$i.ppm 0\"; "
        "done > lists/b.txt && printf '[dataset]\\nname = shop\\ntrain = lists/a.txt\\ntest = lists/b.txt\\nval = "
        "lists/b.txt\\n' > shop.ini", dir);
    /* each option takes its split; the same numbers as by paths */
    RUN("%s knn --train %s/shop.ini:train --test %s/shop.ini:test --init random --knn_k 3 " NET " --json 2> /dev/null",
        bin, dir, dir);
    char *by_name = strdup(output);
    RUN("%s knn --train %s/lists/a.txt --test %s/lists/b.txt --list_root %s --init random --knn_k 3 " NET " --json 2> "
        "/dev/null", bin, dir, dir, dir);
    CHECK(!strcmp(by_name, output));
    RUN("cd %s && %s/%s knn --train shop.ini --test shop.ini --init random --knn_k 3 " NET " --json 2> notes", dir,
        *bin == '/' ? "" : getenv("PWD"), bin);
    CHECK(!strcmp(by_name, output));
    RUN("cat %s/notes", dir);
    CHECK(strstr(output, "shop.ini: its split train is taken") && strstr(output, "shop.ini: its split test is taken"));
    free(by_name);
    /* every other command that opens images */
    RUN("%s linear --train %s/shop.ini:train --val %s/shop.ini:val --init random --probe_steps 2 --probe_lr 0.1 " NET,
        bin, dir, dir);
    RUN("%s embed --data %s/shop.ini:train+val --init random --out %s/e.csv " NET " && test $(wc -l < %s/e.csv) = 13",
        bin, dir, dir, dir);
    RUN("%s refresh-bn --data %s/shop.ini:test:%s --init random --out %s/m.pth " NET " --refresh_images 4 --bn_group "
        "4", bin, dir, dir, dir);
    RUN("%s similarity random random --data %s/shop.ini:test " NET, bin, dir);
    RUN("%s pretrain --data %s/shop.ini:train --monitor-train %s/shop.ini --monitor-val %s/shop.ini --out %s/run "
        "--steps 2 --moco_k 16 --bn_group 4 --monitor_every 1 " NET, bin, dir, dir, dir, dir);
    RUN("grep -q 'shop.ini:train' %s/run/args.json && %s pretrain --out %s/run --resume", dir, bin, dir);
    /* a file of that very name goes first; what is neither is said */
    RUN("mv %s %s/shop.ini:test && %s embed --data %s/shop.ini:test --init random --out %s/f.csv " NET " && test $(wc "
        "-l < %s/f.csv) = 21", set_, dir, bin, dir, dir, dir);
    REFUSED(1, "no data set is called 'resics'", "%s embed --data resics:train --init random --out %s/g.csv " NET, bin,
            dir);
    REFUSED(1, "resisc:train:FOLDER", "%s embed --data resisc --init random --out %s/g.csv " NET, bin, dir);
    REFUSED(1, "split 'tarin' is none of", "%s embed --data resisc:tarin:/tmp --init random --out %s/g.csv " NET, bin,
            dir);
    REFUSED(1, "no such file", "%s embed --data %s/none:train --init random --out %s/g.csv " NET, bin, dir, dir);
    RUN("%s linear --help", bin);
    CHECK(strstr(output, "SET:SPLIT:FOLDER"));
}

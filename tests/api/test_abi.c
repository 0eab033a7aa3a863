/* SPDX-License-Identifier: MIT
 * What surrounds the code: header, symbols, layers, documents, examples, the command line, the fuzz corpus. Runs
 * tools of the system. */
#define _GNU_SOURCE
#include "fuzz/targets.h"
#include "shell.h"
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ONEDNN (!access(HPT_TEST_MODULES "/libhpt-onednn.so", R_OK))

TEST(header_compiles_alone) {
    const char *const modes[] = {"gcc -xc -std=c99", "gcc -xc -std=c11", "gcc -xc -std=c17", "g++ -xc++ -std=c++98",
                                 "g++ -xc++ -std=c++11", "g++ -xc++ -std=c++17", "g++ -xc++ -std=c++20"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (modes[i][1] == '+' && sh("command -v g++")) continue;
        RUN("printf '#include <hpt.h>\\n#include <hpt.h>\\n' | %s -Wall -Wextra -pedantic -Werror%s -Iinclude "
            "-fsyntax-only -", modes[i], strstr(modes[i], "98") ? " -Wno-long-long" : "");
    }
    RUN("printf '#include <hpt.h>\\n' | gcc -xc -std=c11 -Wpadded -Werror -Iinclude -fsyntax-only -");
}
TEST(exports_are_the_header) {
    if (sh("command -v nm")) SKIP("no nm (package binutils)");
    RUN("nm -D --defined-only %s/libhpt.so | awk '$2 != \"A\" {print $3}' | sed 's/@.*//' | sort", HPT_TEST_LIB);
    char *exported = strdup(output);
    RUN("sed -n 's/^HPT_API [^(]*[ *]\\(hpt_[a-z0-9_]*\\)(.*/\\1/p' include/hpt.h | sort");
    CHECK(!strcmp(exported, output));
    RUN("cut -d' ' -f1 lib/libhpt.symbols | sort");
    CHECK(!strcmp(exported, output));
    if (!ONEDNN) SKIP("no oneDNN in this build: the symbols of its module are not looked at");
    /* the backend, and what oneDNN calls of OpenMP (src/backend/onednn/team.h) */
    RUN("nm -D --defined-only %s/hpt/libhpt-onednn.so | awk '$2 != \"A\" {print $3}' | LC_ALL=C sort", HPT_TEST_LIB);
    CHECK(!strcmp(output,
                  "GOMP_barrier\nGOMP_parallel\nhpt_backend_onednn\nomp_get_max_threads\nomp_get_num_threads\nomp_get_"
                  "thread_num\nomp_in_parallel\n"));
}
TEST(imports_nothing_that_stops_or_prints) {
    if (strstr(HPT_TEST_LIB, "build")) SKIP("a sanitized build imports its run time");
    static const char *const forbidden[] = {"exit", "_exit", "abort", "raise", "__assert_fail", "printf", "puts",
                                            "fprintf", "vfprintf", "stdout", "stderr", "perror", "signal", "sigaction",
                                            "setenv", "getenv", "secure_getenv", "setlocale", "srand", "rand",
                                            "system", "fork", "chdir", "umask", "atexit", "__printf_chk",
                                            "__fprintf_chk", "fwrite", "putchar", "execve"};
    if (sh("command -v nm")) SKIP("no nm (package binutils)");
    RUN("nm -D -u %s/libhpt.so | awk '{print $2}' | sed 's/@.*//'", HPT_TEST_LIB);
    char *save = NULL;
    for (char *p = strtok_r(output, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
        for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
            if (!strcmp(p, forbidden[i])) FAIL("libhpt.so imports %s", p);
}
TEST(elf_is_clean) {
    if (strstr(HPT_TEST_LIB, "build")) SKIP("sanitized build");
    RUN("readelf -dW %s/libhpt.so", HPT_TEST_LIB);
    CHECK(strstr(output, "libhpt.so.0") && strstr(output, "NOW") && !strstr(output, "TEXTREL") &&
          !strstr(output, "RPATH") && !strstr(output, "RUNPATH") && !strstr(output, "STATIC_TLS"));
    CHECK(!strstr(output, "gomp") && !strstr(output, "dnnl") && !strstr(output, "stdc++"));
    RUN("strip -o /tmp/hpt-stripped.so %s/libhpt.so && stat -c %%s /tmp/hpt-stripped.so && rm /tmp/hpt-stripped.so",
        HPT_TEST_LIB);
    printf("  %s", output);
    CHECK(atol(output) < 1000000);
}
TEST(layers_point_down) { RUN("tools/check-layers"); }
TEST(headers_names_and_widths_follow_the_style) { RUN("tools/check-style"); }
TEST(documents_name_what_exists) { RUN("tools/check-docs %s/hpt", HPT_TEST_BIN); }
TEST(every_function_links) {        /* a program that takes the address of each */
    char *dir = temp_dir();
    FILE *f = fopen(strcat(strcpy(malloc(100), dir), "/all.c"), "w");
    RUN("cut -d' ' -f1 lib/libhpt.symbols");
    fprintf(f, "#include <hpt.h>\ntypedef void (*fn)(void);\nint main(void) { fn volatile f[] = {");
    char *save = NULL;
    for (char *p = strtok_r(output, "\n", &save); p; p = strtok_r(NULL, "\n", &save)) fprintf(f, "(fn)%s, ", p);
    fprintf(f, "0}; return f[0] == 0; }\n");
    fclose(f);
    RUN("gcc -Iinclude %s/all.c -o %s/all -L%s -lhpt -Wl,-rpath,\"$PWD/%s\" %s && %s/all", dir, dir, HPT_TEST_LIB,
        HPT_TEST_LIB, strstr(HPT_TEST_LIB, "build") ? "-fsanitize=address,undefined" : "", dir);
}
/* Without blanks and line breaks, and without what begins the lines of a comment. */
static char *squeezed(const char *path) {
    char *text = read_text(path), *to = text;
    for (char *p = text; *p; p++) {
        if (p > text && p[-1] == '\n' && !strncmp(p, " *", 2)) p++;
        else if (!strchr(" \n", *p)) *to++ = *p;
    }
    *to = 0;
    return text;
}
/* Header and README show examples/03_pretrain.c, which the build compiles; each may break its lines as it likes. */
TEST(snippets_are_the_example) {
    char *code = squeezed("examples/03_pretrain.c");
    CHECK(strlen(code) > 500);
    if (!strstr(squeezed("README.md"), code)) FAIL("README.md shows another program than examples/03_pretrain.c");
    if (!strstr(squeezed("include/hpt.h"), code)) FAIL("hpt.h shows another program than examples/03_pretrain.c");
}
TEST(options_page_is_current) {
    RUN("%s/hpt options --markdown", HPT_TEST_BIN);
    char *page = read_text("docs/options.md");
    if (strcmp(page, output)) FAIL("docs/options.md is old: run bin/hpt options --markdown > docs/options.md");
}
TEST_LIMIT(examples_run, 240) {
    RUN("%s/01_version", HPT_TEST_BIN);
    CHECK(strstr(output, "libhpt 0."));
    RUN("%s/02_features tests/fixtures/files", HPT_TEST_BIN);
    CHECK(strstr(output, "13 images, 512 features each"));
    RUN("%s/04_stages", HPT_TEST_BIN);
    CHECK(strstr(output, "linear probe"));
    if (!sh("test -x %s/05_raii", HPT_TEST_BIN)) {
        RUN("%s/05_raii", HPT_TEST_BIN);
        CHECK(strstr(output, "did you mean 'moco_k'"));
    }
    CHECK(sh("%s/03_pretrain", HPT_TEST_BIN) == 1 && strstr(output, "my-images: no such file"));
    if (strstr(HPT_TEST_LIB, "build")) return;      /* a sanitized library needs a sanitized interpreter */
    if (sh("command -v python3")) SKIP("no python3");
    RUN("python3 examples/06_ctypes.py %s/libhpt.so", HPT_TEST_LIB);
    CHECK(strstr(output, "fine"));
}

/* examples/06_ctypes.py writes hpt_step_info in Python's words: every member of hpt.h, in its order, with its type. */
TEST(struct_of_the_python_example) {
    char *header = read_text("include/hpt.h"), *python = read_text("examples/06_ctypes.py"),
        want[4000] = "    _fields_ = [\n", *line = NULL;
    char *p = strstr(header, "typedef struct hpt_step_info {\n");
    CHECK(p);
    for (p = strchr(p, '\n') + 1; *p != '}'; p = strchr(p, '\n') + 1) {
        char type[20], names[100], word[120], *save = NULL;
        if (!strncmp(p, "    /*", 6)) {                 /* of the member below; perhaps of several lines */
            p = strstr(p, "*/");
            continue;
        }
        CHECK(sscanf(p, " %19s %99[^;];", type, names) == 2);
        type[strlen(type) - (strstr(type, "_t") ? 2 : 0)] = 0;
        for (line = strtok_r(names, ", ", &save); line; line = strtok_r(NULL, ", ", &save)) {
            snprintf(word, sizeof word, "        ('%s', C.c_%s),\n", line, type);
            strcat(want, word);
        }
    }
    strcpy(strrchr(want, ','), "]\n");
    if (!strstr(python, want)) FAIL("examples/06_ctypes.py has another struct than hpt.h:\n%s", want);
}

/* ---- the command line, as a user types it ---- */

#define NET "--arch resnet10 --width 16 --stem small --image_size 16 --batch_size 8 --bn_group 4 --moco_k 16"
TEST_LIMIT(command_line, 240) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12);
    const char *b = HPT_TEST_BIN;
    CHECK(sh("%s/hpt", b) == 2 && strstr(output, "usage"));
    CHECK(sh("%s/hpt fly", b) == 2 && strstr(output, "no command 'fly'"));
    RUN("%s/hpt pretrain --help", b);
    CHECK(strstr(output, "moco_k") && strstr(output, "--resume") && strstr(output, "threads"));
    CHECK(sh("%s/hpt pretrain --data %s --out %s/r --moco_kk 3", b, set_, dir) == 2 &&
          strstr(output, "did you mean 'moco_k'"));
    CHECK(sh("%s/hpt pretrain --data %s/none --out %s/r " NET, b, dir, dir) == 1 && strstr(output, "no such file"));
    RUN("%s/hpt pretrain --data %s --out %s/run " NET " --steps 12 --save-every 5 --json", b, set_, dir);
    CHECK(strstr(output, "\"steps\": 12") && strstr(output, "loss"));
    RUN("ls %s/run %s/run/checkpoints %s/run/exported", dir, dir, dir);
    CHECK(strstr(output, "args.json") && strstr(output, "metrics.jsonl") && strstr(output, "summary.csv") &&
          strstr(output, "train.log") && strstr(output, "last.pth.tar") && strstr(output, "backbone.pth") &&
          strstr(output, "model.safetensors"));
    RUN("wc -l < %s/run/metrics.jsonl", dir);
    CHECK(atoi(output) == 12);
    CHECK(sh("%s/hpt pretrain --data %s --out %s/run " NET " --steps 12", b, set_, dir) == 1 &&
          strstr(output, "--resume"));
    /* done already: fine */
    RUN("%s/hpt pretrain --data %s --out %s/run " NET " --steps 12 --resume", b, set_, dir);
    RUN("%s/hpt refresh-bn --data %s --init %s/run/exported/backbone.pth --out %s/fresh.pth --image_size 16", b, set_,
        dir, dir);
    RUN("%s/hpt linear --train %s --test %s --init %s/fresh.pth --image_size 16 --probe_steps 60 --probe_eval_every 20 "
        "--probe_scale standard --overlap allow", b, set_, set_, dir);
    CHECK(strstr(output, "top-1"));
    RUN("%s/hpt linear --train %s --per-class 5 --init %s/fresh.pth --image_size 16 --probe_steps 20 --json", b, set_,
        dir);
    CHECK(strstr(output, "\"val_top1\""));
    RUN("%s/hpt embed --data %s --init %s/run/checkpoints/last.pth.tar --out %s/x.csv --image_size 16", b, set_, dir,
        dir);
    CHECK(strstr(output, "24 x 128"));
    RUN("head -2 %s/x.csv", dir);
    CHECK(strstr(output, "filename,label,embedding_0") && strstr(output, "columns/000.ppm"));
    RUN("%s/hpt embed --data %s --init %s/run/checkpoints/last.pth.tar --out %s/x.npy --image_size 16", b, set_, dir,
        dir);
    RUN("stat -c %%s %s/x.npy", dir);
    CHECK(atoi(output) == 128 + 24 * 128 * 4);
    RUN("%s/hpt info --json %s/run/checkpoints/last.pth.tar", b, dir);
    CHECK(strstr(output, "torch-zip") && strstr(output, "module.queue") && strstr(output, "\"hpt/step\": 12"));
    RUN("%s/hpt export %s/run/checkpoints/last.pth.tar %s/oss.pth --format openselfsup", b, dir, dir);
    CHECK(sh("%s/hpt info %s/x.csv", b, dir) == 1 && strstr(output, "neither a torch file"));
    RUN("%s/hpt options linear", b);
    CHECK(strstr(output, "probe_lr"));
}
TEST_LIMIT(ctrl_c_saves_and_resume_equals_an_undisturbed_run, 240) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12);
    const char *b = HPT_TEST_BIN;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    RUN("%s/hpt pretrain --data %s --out %s/whole " NET " --steps 200 --threads 1", b, set_, dir);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double whole = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    /* --foreground: one signal; else timeout(1) also signals its own group, and a second Ctrl-C ends at once */
    int stopped = 130, runs = 0;
    for (; runs < 9 && stopped == 130; runs++)
        stopped = sh("timeout --foreground -s INT --preserve-status %.3f %s/hpt pretrain --data %s --out %s/cut " NET
                     " --steps 200 --threads 1%s", 0.4 * whole, b, set_, dir, runs ? " --resume" : "");
    CHECK(runs >= 2);       /* at least one of them was stopped */
    /* a machine that has become slow: nine times is enough */
    if (stopped == 130) stopped = sh("%s/hpt pretrain --out %s/cut --resume", b, dir);
    if (stopped) FAIL("exit status %d: %s", stopped, output);
    RUN("cmp %s/whole/checkpoints/last.pth.tar %s/cut/checkpoints/last.pth.tar && cmp %s/whole/exported/backbone.pth "
        "%s/cut/exported/backbone.pth", dir, dir, dir, dir);
}
TEST_LIMIT(installs_and_is_found_by_pkg_config, 120) {
    if (strstr(HPT_TEST_LIB, "build")) SKIP("sanitized build");
    char *dir = temp_dir();
    RUN("make -s install-built DESTDIR=%s PREFIX=/usr", dir);
    RUN("find %s -type f -o -type l | sed 's|%s||' | sort", dir, dir);
    CHECK(strstr(output, "/usr/include/hpt.h") && strstr(output, "/usr/lib/libhpt.so.0") &&
          strstr(output, "/usr/lib/pkgconfig/hpt.pc") && strstr(output, "/usr/bin/hpt"));
    CHECK(!strstr(output, "/usr/lib/hpt/libhpt-onednn.so") == !ONEDNN);
    const char *backend = ONEDNN ? "backend onednn" : "backend reference";
    /* the tree is moved: pkg-config and CMake find it all the same, also for static programs */
    RUN("mv %s/usr %s/moved", dir, dir);
    RUN("export PKG_CONFIG_PATH=%s/moved/lib/pkgconfig; gcc examples/01_version.c $(pkg-config --cflags --libs hpt) -o "
        "%s/v && LD_LIBRARY_PATH=%s/moved/lib %s/v", dir, dir, dir, dir);
    CHECK(strstr(output, backend));
    CHECK(sh("export PKG_CONFIG_PATH=%s/moved/lib/pkgconfig; gcc -static examples/03_pretrain.c $(pkg-config --static "
             "--cflags --libs hpt) -o %s/p && %s/p", dir, dir, dir) == 1);
    CHECK(strstr(output, "my-images: no such file"));         /* a program that takes the whole library, decoders too */
    RUN("export PKG_CONFIG_PATH=%s/moved/lib/pkgconfig; gcc -static examples/01_version.c $(pkg-config --static "
        "--cflags --libs hpt) -o %s/s && %s/s", dir, dir, dir);
    CHECK(strstr(output, "backend reference"));
    /* README's program and one in C++ from another folder, with nothing of this tree in reach but what was installed */
    RUN("mkdir %s/away && cp examples/03_pretrain.c examples/05_raii.cpp %s/away", dir, dir);
    CHECK(sh("cd %s/away && export PKG_CONFIG_PATH=%s/moved/lib/pkgconfig && gcc -std=c11 -Wall -Wextra -Wpedantic "
             "-Werror 03_pretrain.c $(pkg-config --cflags --libs hpt) -Wl,-rpath,%s/moved/lib -o p && ./p", dir, dir,
             dir) == 1);
    CHECK(strstr(output, "my-images: no such file"));
    if (sh("command -v g++")) printf("no g++: a program in C++ is not tried\n");
    else {
        RUN("cd %s/away && export PKG_CONFIG_PATH=%s/moved/lib/pkgconfig && for std in 11 17; do g++ -std=c++$std "
            "-Wall -Wextra -Wpedantic -Werror 05_raii.cpp $(pkg-config --cflags --libs hpt) -Wl,-rpath,%s/moved/lib -o "
            "r && ./r; done", dir, dir, dir);
        RUN("cd %s/away && export PKG_CONFIG_PATH=%s/moved/lib/pkgconfig && g++ -static 05_raii.cpp $(pkg-config "
            "--static --cflags --libs hpt) -o s && ./s", dir, dir);
    }
    CHECK(strstr(read_text("pkgconfig/hptConfig.cmake.in"), "hpt::hpt"));
    if (sh("command -v cmake")) SKIP("no cmake: find_package(hpt) is not tried");
    RUN("mkdir %s/c && cp examples/01_version.c %s/c && printf 'cmake_minimum_required(VERSION 3.13)\\nproject(v "
        "C)\\nfind_package(hpt 0.1 REQUIRED)\\nadd_executable(v 01_version.c)\\ntarget_link_libraries(v hpt::hpt)\\n' "
        "> %s/c/CMakeLists.txt && cmake -S %s/c -B %s/c/b -DCMAKE_PREFIX_PATH=%s/moved && cmake --build %s/c/b && "
        "%s/c/b/v", dir, dir, dir, dir, dir, dir, dir, dir);
    CHECK(strstr(output, backend));
    RUN("make -s uninstall DESTDIR=%s PREFIX=/moved && find %s/moved ! -type d", dir, dir);
    CHECK(!*output);
}
#ifndef HPT_TEST_EMU
TEST(cuda_backend_on_the_emulated_device) {
    SKIP("no headers of CUDA, cuDNN and NCCL: the tests of tests/emu and tests/gpu are not built");
}
#endif

static int replay(const char *dir, const fuzz_target *t) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[600];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "rb");
        uint8_t *p = malloc(1 << 21);
        size_t size = f ? fread(p, 1, 1 << 21, f) : 0;
        if (f) fclose(f);
        p = realloc(p, size ? size : 1);
        const char *passed = fuzz_measure(t, path, p, size);
        if (passed) FAIL("%s", passed);
        free(p);
        n++;
    }
    if (d) closedir(d);
    return n;
}
/* every file through every parser, and the seeds of each, within the limits of memory and time */
TEST(fuzz_corpus) {
    char *seeds = temp_dir();
    int python = !sh("command -v python3");
    if (python) RUN("python3 tests/fuzz/seeds.py %s", seeds);
    for (const fuzz_target *t = fuzz_targets; t->name; t++) {
        char path[200], seed[200];
        snprintf(path, sizeof path, "tests/fuzz/corpus/%s", t->name);
        snprintf(seed, sizeof seed, "%s/%s", seeds, t->name);
        CHECK(replay(path, t) + replay("tests/fixtures/files", t) > 10);
        CHECK(replay(seed, t) > 0 || !python);
    }
}
/* The real cuDNN, asked without a GPU: see tests/cudnn/plans.c. */
TEST_LIMIT(cudnn_has_kernels_for_our_networks, 120) {
    char text[4000];
    if (access(HPT_TEST_BIN "/cudnn-plans", X_OK)) SKIP("not built: no cuDNN, or a sanitized build");
    FILE *f = popen(HPT_TEST_BIN "/cudnn-plans H100 2>&1", "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    int st = f ? pclose(f) : -1;
    printf("  %s", text);
    if (WIFEXITED(st) && WEXITSTATUS(st) == 77) SKIP("this cuDNN cannot be asked");
    CHECK(st == 0);
}

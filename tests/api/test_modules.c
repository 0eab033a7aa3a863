/* SPDX-License-Identifier: MIT
 * Where modules come from: the library's or the program's own folder, never the current one. And what stands in for
 * one that is not there. */
#define _GNU_SOURCE
#include "support.h"
#include <dlfcn.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static void heard(void *user, int32_t level, const char *text) {
    char *said = user;
    if (level == 1 && !*said) snprintf(said, 512, "%.500s", text);
}
/* This program is linked with libhpt.a, so its modules would lie beside it. */
TEST(a_context_without_options) {
    hpt_context *ctx;
    char what[300], said[512] = "", again[512] = "";
    OK(hpt_context_create(NULL, &ctx));
    OK(hpt_context_describe(ctx, what, sizeof what, NULL));
    OK(hpt_context_set_log(ctx, heard, said));      /* after creation: told all the same, and once */
    OK(hpt_context_set_log(ctx, heard, again));
    CHECK(!*again);
    int fallback = strstr(what, "falls back") != NULL;
    CHECK(fallback == !strncmp(what, "reference", 9));
    CHECK(fallback == (strstr(said, "falls back to reference") != NULL) &&
          (!fallback || strstr(said, "libhpt-onednn.so")));
    hpt_context_destroy(ctx);
    hpt_config *c = config("backend=reference");    /* what was asked for is no fall-back */
    OK(hpt_context_create(c, &ctx));
    OK(hpt_context_describe(ctx, what, sizeof what, NULL));
    *said = 0;
    OK(hpt_context_set_log(ctx, heard, said));
    CHECK(!*said && !strstr(what, "falls"));
    printf("%s\n", what);
}
/* A shell command with %s for the test's folder, in which it runs. */
static char where[64];
static int sh(const char *cmd) {
    char text[2 * PATH_MAX];
    snprintf(text, sizeof text, "top=$PWD lib=$PWD/%s san='%s'; cd %s; %s", HPT_TEST_LIB, strstr(HPT_TEST_LIB, "build")
             ? "-fsanitize=address,undefined" : "", where, cmd);
    int st = system(text);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128;
}
TEST(no_module_from_the_current_folder) {
    char text[PATH_MAX];
    snprintf(where, sizeof where, "%s", temp_dir());
    snprintf(text, sizeof text, "%s/evil.c", where);
    FILE *f = fopen(text, "w");
    fprintf(f,
            "#include <stdio.h>\n__attribute__((constructor)) static void here(void) { fclose(fopen(\"%s/loaded\", "
            "\"w\")); }\n", where);
    fclose(f);
    snprintf(text, sizeof text, "%s/main.c", where);
    f = fopen(text, "w");
    fputs("#include <hpt.h>\n#include <stdio.h>\nint main(void) { char t[300]; hpt_context *c; if "
          "(hpt_context_create(NULL, &c)) return 1;\nhpt_context_describe(c, t, sizeof t, NULL); puts(t); "
          "hpt_context_destroy(c); return 0; }\n", f);
    fclose(f);
    if (sh("gcc $san -I$top/include main.c $lib/libhpt.a $(pkg-config --libs zlib jansson libxxhash; for p in libjpeg "
           "libpng; do pkg-config --exists $p && pkg-config --libs $p; done) -lm -ldl -pthread -o main 2>link.txt"))
        SKIP("cannot link a program here");
    CHECK(!sh("gcc -shared -fPIC -o evil.so evil.c && mkdir -p app here here/hpt here/lib/hpt && mv main app/program"));
    CHECK(!sh("for d in here here/hpt here/lib/hpt; do for m in onednn cuda; do cp evil.so $d/libhpt-$m.so; done; "
              "done"));
    /* argv[0] is "program" */
    CHECK(!sh("cd here && PATH=$PWD/../app program | grep -q 'reference.*falls back'"));
    CHECK(!sh("cd here && ln -s ../app/program program && PATH=. program | grep -q 'reference.*falls back'"));
    CHECK(!sh("cd here && bash -c 'exec -a hpt/program ../app/program' | grep -q 'reference.*falls back'"));
    CHECK(!sh("test ! -e loaded"));
    if (!sh("test -e $lib/hpt/libhpt-onednn.so")) {      /* beside the program is the place */
        CHECK(!sh("mkdir app/hpt && cp $lib/hpt/libhpt-onednn.so app/hpt && cd here && PATH=$PWD/../app program | grep "
                  "-q '^onednn'"));
        CHECK(!sh("test ! -e loaded"));
    }
    hpt_config *c = config("backend=onednn");
    hpt_context *ctx;
    set(c, "module_dir=no/such/folder");
    FAILS(HPT_ERR_UNAVAILABLE, "no/such/folder: No such file", hpt_context_create(c, &ctx));
    CHECK(!chdir(where));
    set(c, "module_dir=here/hpt");      /* but the user may choose */
    FAILS(HPT_ERR_UNAVAILABLE, "another version", hpt_context_create(c, &ctx));
    CHECK(!access("loaded", F_OK));
}
/* A library that was opened by a relative path, and the current folder changed since. */
TEST(features_are_what_is_there) {
    static const struct { const char *feature, *file; } all[] = {{"onednn", "hpt/libhpt-onednn.so"},
                                                                 {"cuda", "hpt/libhpt-cuda.so"},
                                                                 {"nccl", "hpt/libhpt-cuda.so"},
                                                                 {"mpi", "hpt/libhpt-mpi.so"}};
    char path[PATH_MAX];
    int there[4];
    snprintf(path, sizeof path, "%s/libhpt.so", HPT_TEST_LIB);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) SKIP("%s", dlerror());
    int32_t (*has)(const char *) = (int32_t (*)(const char *))(uintptr_t)dlsym(lib, "hpt_has");
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", HPT_TEST_LIB, all[i].file);
        there[i] = !access(path, R_OK);
    }
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 4; i++)
            if (has(all[i].feature) != there[i]) FAIL("hpt_has(\"%s\") is %d", all[i].feature, has(all[i].feature));
        CHECK(!chdir(temp_dir()));
    }
    CHECK(has("reference") && !has("") && !has("reference2") && !has(NULL));
}
/* The line that a failing test ends with is a command that runs it again. */
TEST(fails_when_asked) {
    if (getenv("HPT_TEST_FAIL")) FAIL("as asked");
}
TEST(a_failure_says_how_to_run_it_again) {
    char self[PATH_MAX] = "", cmd[2 * PATH_MAX], line[PATH_MAX], *again = NULL;
    CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(cmd, sizeof cmd, "HPT_TEST_FAIL=1 %s fails_when_asked", self);
    FILE *p = popen(cmd, "r");
    while (!again && fgets(line, sizeof line, p)) again = strstr(line, "again: ");
    pclose(p);
    CHECK(again);
    again[strcspn(again, "\n")] = 0;
    snprintf(cmd, sizeof cmd, "%s >/dev/null", again + 7);
    CHECK(!system(cmd));
}

/* SPDX-License-Identifier: MIT
 * check [-l] [name-part ...]: each test in its own process; exit 0 pass, 77 skip with a printed reason, else fail. Last line: the counts. */
#define _GNU_SOURCE
#include "harness.h"
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static test *first, **last = &first;
void test_register(test *t) {
    *last = t;
    last = &t->next;
}

int main(int argc, char **argv) {
    int passed = 0, failed = 0, skipped = 0, list = argc > 1 && !strcmp(argv[1], "-l");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (test *t = first; t; t = t->next) {
        int wanted = argc == 1 || list;
        for (int i = 1; i < argc; i++) wanted |= strstr(t->name, argv[i]) != NULL;
        if (!wanted) continue;
        if (list) {
            puts(t->name);
            continue;
        }
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        fflush(stdout);
        pid_t p = fork();
        if (p == 0) {
            alarm((unsigned)t->seconds * (getenv("HPT_TEST_SLOW") ? 10 : 1));
            t->fn();
            exit(0);
        }
        int st = 0;
        waitpid(p, &st, 0);
        clock_gettime(CLOCK_MONOTONIC, &b);
        double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        const char *word = "ok";
        if (WIFEXITED(st) && WEXITSTATUS(st) == 0) passed++;
        else if (WIFEXITED(st) && WEXITSTATUS(st) == 77) skipped++, word = "skip";
        else failed++, word = "FAIL";
        printf("%-4s %-40s %6.2f s", word, t->name, s);
        if (WIFSIGNALED(st)) printf("  (signal %d%s)", WTERMSIG(st), WTERMSIG(st) == SIGALRM ? ", time limit" : "");
        printf("%s%s\n", word[0] == 'F' ? "   again: build/check " : "", word[0] == 'F' ? t->name : "");
    }
    if (!list) printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}

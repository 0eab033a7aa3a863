/* SPDX-License-Identifier: MIT
 * check [-l] [-f] [-j N] [name-part ...]: each test in its own process, N at a time; exit 0 pass, 77 skip with a
 * printed reason, else fail. -l lists them; -f leaves out those that have a limit of their own, the long ones. A test's
 * output is shown when it ends, and its folders in /tmp are removed then (not with HPT_TEST_KEEP set). Last line: the
 * counts. */
#define _GNU_SOURCE
#include "harness.h"
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16 };
typedef struct job { test *t; pid_t pid; FILE *out; struct timespec begin; } job;
static test *first, **last = &first;
static int passed, failed, skipped;
static const char *program;
void test_register(test *t) {
    *last = t;
    last = &t->next;
}

static void begin(job *j, test *t) {
    *j = (job){.t = t, .out = tmpfile()};
    clock_gettime(CLOCK_MONOTONIC, &j->begin);
    fflush(stdout);
    j->pid = fork();
    if (j->pid) return;
    char id[16];
    snprintf(id, sizeof id, "%d", (int)getpid());
    setenv("HPT_TEST_ID", id, 1);
    if (j->out) dup2(fileno(j->out), 1);
    alarm((unsigned)(t->seconds ? t->seconds : DEFAULT_LIMIT) * (getenv("HPT_TEST_SLOW") ? 10 : 1));
    t->fn();
    exit(0);
}
/* Whatever became of the test: its folders are called by its number (temp_dir() in support.c). */
static void sweep(pid_t pid) {
    char command[200];
    snprintf(command, sizeof command,
             "for d in /tmp/hpt-test-%d-*; do [ -d \"$d\" ] && chmod -R u+rwx \"$d\" && rm -rf \"$d\"; done "
             "2>/dev/null", (int)pid);
    if (!getenv("HPT_TEST_KEEP") && system(command) == -1) printf("no shell: the folders of a test stay in /tmp\n");
}
static void end(job *j, int st) {
    struct timespec now;
    char text[4096];
    clock_gettime(CLOCK_MONOTONIC, &now);
    sweep(j->pid);
    if (j->out) {
        rewind(j->out);
        for (size_t n; (n = fread(text, 1, sizeof text, j->out)) > 0;) fwrite(text, 1, n, stdout);
        fclose(j->out);
    }
    double s = (double)(now.tv_sec - j->begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - j->begin.tv_nsec);
    const char *word = "ok";
    if (WIFEXITED(st) && WEXITSTATUS(st) == 0) passed++;
    else if (WIFEXITED(st) && WEXITSTATUS(st) == 77) skipped++, word = "skip";
    else failed++, word = "FAIL";
    printf("%-4s %-40s %6.2f s", word, j->t->name, s);
    if (WIFSIGNALED(st)) printf("  (signal %d%s)", WTERMSIG(st), WTERMSIG(st) == SIGALRM ? ", time limit" : "");
    if (word[0] == 'F') printf("   again: %s %s", program, j->t->name);
    printf("\n");
    j->t = NULL;
}
static void wait_one(job *jobs) {
    int st = 0;
    pid_t p = waitpid(-1, &st, 0);
    for (int i = 0; i < MOST; i++)
        if (jobs[i].t && jobs[i].pid == p) end(&jobs[i], st);
}

static int busy(const job *jobs) {
    int n = 0;
    for (int i = 0; i < MOST; i++) n += jobs[i].t != NULL;
    return n;
}

int main(int argc, char **argv) {
    job jobs[MOST] = {{0}};
    program = argv[0];
    int list = 0, fast = 0, at_once = 1, names = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-l")) list = 1;
        else if (!strcmp(argv[i], "-f")) fast = 1;
        else if (!strcmp(argv[i], "-j") && i + 1 < argc) at_once = atoi(argv[++i]);
        else argv[1 + names++] = argv[i];
    }
    if (at_once < 1) at_once = 1;
    if (at_once > MOST) at_once = MOST;
    for (test *t = first; t; t = t->next) {
        int wanted = !names || list;
        for (int i = 0; i < names; i++) wanted |= strstr(t->name, argv[1 + i]) != NULL;
        if (!wanted || (fast && t->seconds)) continue;
        if (list) {
            puts(t->name);
            continue;
        }
        while (busy(jobs) >= at_once) wait_one(jobs);
        int slot = 0;
        while (jobs[slot].t) slot++;
        begin(&jobs[slot], t);
    }
    while (busy(jobs)) wait_one(jobs);
    if (!list) printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}

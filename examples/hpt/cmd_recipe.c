/* SPDX-License-Identifier: MIT
 * hpt run: a recipe, its plan, its report. */
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct screen { double begin, last; int tty, quiet; } screen;

static int32_t show(void *user, const hpt_recipe_progress *p) {
    screen *s = user;
    char left[24], took[24];
    double now = seconds();
    cli_clock(p->seconds_left, left);
    cli_clock(now - s->begin, took);
    if (s->quiet) return cli_interrupted();
    if (p->event == HPT_RECIPE_END) {
        fprintf(stderr, s->tty ? "\r\033[K%s  [%u/%u] done: %s\n" : "%s  [%u/%u] done: %s\n", took, p->done, p->stages, p->name);
        s->last = now;
    } else if (now - s->last > (s->tty ? 0.2 : 30)) {
        s->last = now;
        fprintf(stderr, s->tty ? "\r\033[K%s  [%u/%u] about %s left  %s  step %llu/%llu" : "%s  [%u/%u] about %s left  %s  step %llu/%llu\n", took, p->done, p->stages, left, p->name, (unsigned long long)p->step,
                (unsigned long long)p->steps);
    }
    fflush(stderr);
    return cli_interrupted();
}

/* A warning that many stages share is shown once: told apart by how it begins. */
static void note(void *user, int32_t level, const char *text) {
    static char shown[16][24];
    static int n;
    (void)user;
    if (!level) return;
    for (int i = 0; i < n; i++)
        if (!strncmp(shown[i], text, 23)) return;
    if (n < 16) snprintf(shown[n++], sizeof shown[0], "%.23s", text);
    fprintf(stderr, "warning: %s (shown once)\n", text);
}

static void print_sum(const hpt_result *res, FILE *to) {
    double todo = 0, steps = 0, left = 0, all = 0, total = 0;
    char when[24];
    hpt_result_number(res, "to_do", &todo);
    hpt_result_number(res, "stage_count", &all);
    hpt_result_number(res, "steps_left", &steps);
    hpt_result_number(res, "total_steps", &total);
    hpt_result_number(res, "seconds_left", &left);
    cli_clock(left, when);
    fprintf(to, "%.0f of %.0f stages to do, %.0f of %.0f optimizer steps, about %s\n", todo, all, steps, total, when);
}
static int print_plan(const hpt_result *res, int json) {
    char *text = cli_json(res);
    if (!text) return 1;
    if (json) {
        printf("%s\n", text);
        free(text);
        return 0;
    }
    /* one stage a line: the library's JSON has one field a line */
    char name[160] = "", state[16] = "";
    double n = 0, secs = 0;
    printf("%-70s %-8s %10s %9s\n", "stage", "state", "steps", "seconds");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        sscanf(line, " \"name\": \"%159[^\"]\"", name);
        sscanf(line, " \"state\": \"%15[^\"]\"", state);
        sscanf(line, " \"steps\": %lf", &n);
        if (sscanf(line, " \"seconds\": %lf", &secs) == 1 && *name) {
            printf("%-70s %-8s %10.0f %9.0f\n", name, state, n, secs);
            name[0] = 0;
        }
    }
    free(text);
    print_sum(res, stdout);
    return 0;
}

int cmd_run(int argc, char **argv) {
    cli_arg args[] = {{"out", "DIR", "where results go (else the recipe's own \"out\")", NULL, 0},
                      {"plan", "", "show stages, steps and estimated time; train nothing", NULL, 1},
                      {"report", "", "write the report from what is done; train nothing", NULL, 1},
                      {"set", "SECTION.KEY=VALUE", "replace a line of the recipe; may be given several times", NULL, 2},
                      {"quiet", "", "no progress", NULL, 1}, {"json", "", "print the plan or the results as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "run", .takes = 1, .stage = "context", .args = args,
             .about = "hpt run RECIPE.ini [--plan] [--out DIR] [--set section.key=value]\nRun the stages of a recipe that are not done yet; Ctrl-C saves, the same command goes on. Ends with DIR/report.html."};
    hpt_recipe *r = NULL;
    hpt_result *res = NULL;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (c.n_positional != 1) return fprintf(stderr, "usage: hpt run RECIPE.ini [--plan] [--out DIR]\n"), 2;
    hpt_status st = hpt_recipe_open(c.cfg, c.positional[0], cli_value(&c, "out"), &r);
    char *sets = (char *)(size_t)cli_value(&c, "set");
    for (char *line = sets ? strtok(sets, "\n") : NULL; line && !st; line = strtok(NULL, "\n")) {
        char *eq = strchr(line, '=');
        if (!eq) rc = (fprintf(stderr, "hpt run: --set %s: not section.key=value\n", line), 2);
        else {
            *eq = 0;
            st = hpt_recipe_set(r, line, eq + 1);
        }
    }
    int json = cli_value(&c, "json") != NULL;
    if (!st && !rc && cli_value(&c, "plan")) {
        st = hpt_recipe_plan(r, &res);
        if (!st) rc = print_plan(res, json);
    } else if (!st && !rc) {
        screen s = {seconds(), 0, isatty(2), cli_value(&c, "quiet") != NULL};
        cli_catch();
        st = hpt_recipe_set_log(r, note, NULL);
        if (!st && !s.quiet && !cli_value(&c, "report") && !(st = hpt_recipe_plan(r, &res))) {
            print_sum(res, stderr);
            hpt_result_destroy(res);
            res = NULL;
        }
        if (!st) st = cli_value(&c, "report") ? hpt_recipe_report(r, &res) : hpt_recipe_run(r, show, &s, &res);
        if (!st && json) {
            char *text = cli_json(res);
            printf("%s\n", text ? text : "");
            free(text);
        }
    }
    if (st == HPT_ERR_CANCELLED && cli_interrupted()) {
        fprintf(stderr, "\nstopped; the same command goes on\n");
        rc = 130;
    } else if (st) rc = cli_fail("run", st);
    hpt_result_destroy(res);
    hpt_recipe_destroy(r);
    cli_close(&c);
    return rc;
}

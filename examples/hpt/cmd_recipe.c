/* SPDX-License-Identifier: MIT
 * hpt run: a recipe, its plan, its report. The screen shows what runs at the same time; Ctrl-C saves, and the same
 * line goes on. */
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* running: stages under way, which draw lines of their own */
typedef struct screen { const cli *c; double begin, last; int tty, quiet, running; uint32_t done, stages; } screen;

static int32_t show(void *user, const hpt_recipe_progress *p) {
    screen *s = user;
    char left[24], took[24];
    double now = seconds();
    s->done = p->done;
    s->stages = p->stages;
    s->running += p->event == HPT_RECIPE_BEGIN ? 1 : p->event == HPT_RECIPE_END ? -1 : 0;
    cli_clock(p->seconds_left, left);
    cli_clock(now - s->begin, took);
    if (s->quiet) return cli_interrupted();
    if (p->event == HPT_RECIPE_END) {
        fprintf(stderr, s->tty ? "\r\033[K%s  [%u/%u] done: %s\n" : "%s  [%u/%u] done: %s\n", took, p->done, p->stages,
                p->name);
        s->last = now;
    } else if (now - s->last > (s->tty ? 0.2 : 30)) {
        s->last = now;
        fprintf(stderr, s->tty ? "\r\033[K%s  [%u/%u] about %s left  %s  step %llu/%llu"
                : "%s  [%u/%u] about %s left  %s  step %llu/%llu\n", took, p->done, p->stages, left, p->name,
                (unsigned long long)p->step, (unsigned long long)p->steps);
    }
    fflush(stderr);
    return cli_interrupted();
}

/* Before the stages and after them. */
static int32_t show_rest(void *user, const hpt_progress *p) {
    screen *s = user;
    return s->quiet || s->running ? cli_interrupted() : cli_progress((void *)(size_t)s->c, p);
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
    cli_note(1, "warning: %s (shown once)", text);
}

/* The first line of a run, as that of other commands: from the plan, or from the results. */
static void say_first(const hpt_result *res) {
    enum { SETS = 8 };
    char *text = cli_json(res), *line = NULL;
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *data = json_object_get(j, "data"), *one;
    size_t size = 0, at;
    FILE *f = j ? open_memstream(&line, &size) : NULL;
    free(text);
    if (f) {
        const char *precision = json_string_value(json_object_get(j, "precision"));
        fprintf(f, "%s%s%s", json_string_value(json_object_get(j, "backend")), *precision ? ", " : "", precision);
        int jobs = (int)json_integer_value(json_object_get(j, "jobs"));
        if (jobs > 1) fprintf(f, ", %d stages at a time", jobs);
        json_array_foreach(data, at, one) {
            json_t *classes = json_object_get(one, "classes");
            if (at < SETS)
                cli_set(f, json_string_value(json_object_get(one, "name")),
                        (unsigned long long)json_integer_value(json_object_get(one, "images")),
                        json_is_integer(classes) ? (int)json_integer_value(classes) : -1,
                        json_is_true(json_object_get(one, "several_labels")));
        }
        if (at > SETS) fprintf(f, "; and %zu more sets", at - SETS);
        if (!fclose(f)) cli_say(line);
        free(line);
    }
    json_decref(j);
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

/* The main numbers, in a screen: a line for each sentence, or for each evaluation where there is none; then where
 * all stands. */
static void print_end(const char *text) {
    enum { LINES = 10 };
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *one;
    json_t *findings = json_object_get(j, "findings"), *scores = json_object_get(j, "scores");
    size_t at, n = json_array_size(findings) ? json_array_size(findings) : json_array_size(scores);
    if (json_array_size(findings)) {
        json_array_foreach(findings, at, one) {
            const char *claim = json_string_value(json_object_get(one, "claim")),
                *verdict = json_string_value(json_object_get(one, "verdict"));
            if (at < LINES) printf("%s: %s\n", claim ? claim : "", verdict ? verdict : "");
        }
    } else json_array_foreach(scores, at, one) {
        const char *metric = json_string_value(json_object_get(one, "metric")),
            *value = json_string_value(json_object_get(one, "value"));
        const char *name = json_string_value(json_object_get(one, "name"));
        json_t *sd = json_object_get(one, "sd");
        if (at >= LINES) break;
        printf("%s: %s %.2f %%", name ? name : "", metric && !strcmp(metric, "auroc") ? "AUROC" : "top-1",
               json_number_value(json_object_get(one, "mean")));
        if (json_is_number(sd))
            printf(" +- %.2f over %d seeds", json_number_value(sd),
                   (int)json_integer_value(json_object_get(one, "seeds")));
        printf(" on %s\n", value && !strcmp(value, "test_score") ? "test" : "validation");
    }
    if (n > LINES) printf("... and %zu more in the report\n", n - LINES);
    const char *report = json_string_value(json_object_get(j, "report"));
    printf("report: %s\n", report ? report : "?");
    json_decref(j);
}

int cmd_run(int argc, char **argv) {
    cli_arg args[] = {{"out", "DIR", "where results go (else the recipe's own \"out\")", NULL, 0},
                      {"plan", "", "show stages, steps and estimated time; train nothing", NULL, 1},
                      {"report", "", "write the report from what is done; train nothing", NULL, 1},
                      {"set", "SECTION.KEY=VALUE", "replace a line of the recipe; may be given several times", NULL, 2},
                      {"quiet", "", "no progress", NULL, 1}, {"json", "", "print the plan or the results as JSON",
                                                              NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "run", .takes = 1, .stage = "context", .args = args,
             .about = "hpt run RECIPE.ini [--plan] [--out DIR] [--set section.key=value]\nRun the stages of a recipe "
             "that are not done yet; Ctrl-C saves, the same command goes on. Ends with DIR/report.html."};
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
    int json = cli_value(&c, "json") != NULL, plan = cli_value(&c, "plan") != NULL,
        report = cli_value(&c, "report") != NULL && !plan;
    screen s = {&c, seconds(), 0, isatty(2), cli_value(&c, "quiet") != NULL, 0, 0, 0};
    cli_catch();
    if (!st && !rc) st = hpt_recipe_set_log(r, note, NULL);
    if (!st && !rc) st = hpt_recipe_set_progress(r, show_rest, &s);
    if (!st && !rc && !report && !(st = hpt_recipe_plan(r, &res))) say_first(res);
    if (!st && !rc && plan) rc = print_plan(res, json);
    else if (!st && !rc) {
        if (res && !s.quiet) print_sum(res, stderr);
        hpt_result_destroy(res);
        res = NULL;
        st = report ? hpt_recipe_report(r, &res) : hpt_recipe_run(r, show, &s, &res);
        if (!st && report) say_first(res);
        else if (!st) cli_say(NULL);
        char *text = st ? NULL : cli_json(res);
        if (!st && json) printf("%s\n", text ? text : "");
        else if (!st) print_end(text);
        free(text);
    }
    if (st == HPT_ERR_CANCELLED && cli_interrupted()) {
        cli_say(NULL);
        if (s.tty && s.last > 0) fprintf(stderr, "\n");
        if (report) fprintf(stderr, "stopped before the report was written; the same command begins again\n");
        else if (s.stages)
            fprintf(stderr, "stopped with %u of %u stages done; the same command goes on\n", s.done, s.stages);
        else fprintf(stderr, "stopped before the first stage; the same command begins again\n");
        rc = 130;
    } else if (st) rc = cli_fail("run", st);
    hpt_result_destroy(res);
    hpt_recipe_destroy(r);
    cli_close(&c);
    return rc;
}

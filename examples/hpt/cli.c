/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "cli.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int cli_fail(const char *what, hpt_status st) {
    fprintf(stderr, "hpt: %s: %s (%s)\n", what, hpt_last_error(), hpt_status_name(st));
    return 1;
}

static void help(const cli *c) {
    hpt_option_info o = {.struct_size = sizeof o};
    printf("%s\n\n", c->about);
    for (const cli_arg *a = c->args; a->name; a++) printf("  --%s%s%-*s %s\n", a->name, a->flag == 1 ? "" : " ", (int)(22 - strlen(a->name)), a->flag == 1 ? "" : a->value_name, a->doc);
    if (!c->stage) return;
    static const char *const stages[] = {"context", "dataset", NULL};
    printf("\nOptions of the library (default; range):\n");
    for (int s = -1; s < 2; s++)
        for (unsigned i = 0; hpt_config_describe(s < 0 ? c->stage : stages[s], i, &o) == HPT_OK; i++)
            if (s < 0 || !strstr(o.stages, c->stage)) printf("  --%-18s %s (%s%s%s)\n", o.key, o.doc, *o.def ? o.def : "\"\"", *o.range ? "; " : "", o.range);
}

int cli_parse(cli *c, int argc, char **argv) {
    if (hpt_config_create(NULL, &c->cfg)) return 1 + cli_fail(c->command, HPT_ERR_MEMORY);
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        char key[128];
        cli_arg *own = NULL;
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            help(c);
            return 1;
        }
        if (strncmp(a, "--", 2)) {
            if (c->n_positional == 2) return fprintf(stderr, "hpt %s: unexpected '%s'\n", c->command, a), 3;
            c->positional[c->n_positional++] = a;
            continue;
        }
        const char *eq = strchr(a, '=');
        snprintf(key, sizeof key, "%.*s", eq ? (int)(eq - a - 2) : 100, a + 2);
        for (cli_arg *k = c->args; k->name; k++)
            if (!strcmp(k->name, key)) own = k;
        if (own && own->flag == 1) {
            own->value = "1";
            continue;
        }
        const char *value = eq ? eq + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value) return fprintf(stderr, "hpt %s: --%s needs a value\n", c->command, key), 3;
        if (own && own->flag == 2 && own->value) {      /* given again: one a line */
            size_t size = strlen(own->value) + strlen(value) + 2;
            char *joined = malloc(size);
            if (!joined) return 2;
            snprintf(joined, size, "%s\n%s", own->value, value);
            own->value = joined;
            continue;
        }
        if (own) {
            own->value = own->flag == 2 ? strdup(value) : value;
            continue;
        }
        for (char *p = key; *p; p++)
            if (*p == '-') *p = '_';
        hpt_status st = hpt_config_set(c->cfg, key, value);
        if (st) return 1 + cli_fail(c->command, st) + 1;
    }
    return 0;
}
const char *cli_value(const cli *c, const char *name) {
    for (const cli_arg *a = c->args; a->name; a++)
        if (!strcmp(a->name, name)) return a->value;
    return NULL;
}

static void note(void *user, int32_t level, const char *text) {
    (void)user;
    fprintf(stderr, "%s: %s\n", level ? "warning" : "note", text);
}
/* One of several processes of mpirun, and the user did not choose otherwise: train together, and share this machine's processors (threads that
 * spin for a processor which another rank holds cost a factor of ten). */
static void join_ranks(hpt_config *cfg) {
    const char *ranks = getenv("OMPI_COMM_WORLD_SIZE"), *here = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    char comm[16] = "", threads[16] = "";
    if (!ranks || atoi(ranks) < 2) return;
    hpt_config_get(cfg, "comm", comm, sizeof comm, NULL);
    hpt_config_get(cfg, "threads", threads, sizeof threads, NULL);
    if (!strcmp(comm, "self")) hpt_config_set(cfg, "comm", "mpi");
    cpu_set_t set;
    long all = sysconf(_SC_NPROCESSORS_ONLN), mine = sched_getaffinity(0, sizeof set, &set) ? all : CPU_COUNT(&set);
    if (!strcmp(threads, "0") && here && mine == all && atoi(here) > 1)     /* not bound to its own processors by mpirun */
        hpt_config_set_int(cfg, "threads", mine / atoi(here) > 0 ? mine / atoi(here) : 1);
}
int cli_open(cli *c) {
    join_ranks(c->cfg);
    hpt_status st = hpt_context_create(c->cfg, &c->ctx);
    if (st) return cli_fail(c->command, st);
    hpt_context_set_log(c->ctx, note, NULL);
    return 0;
}
void cli_close(cli *c) {
    hpt_context_destroy(c->ctx);
    hpt_config_destroy(c->cfg);
}

char *cli_json(const hpt_result *r) {
    size_t n = 0;
    if (hpt_result_json(r, NULL, 0, &n)) return NULL;
    char *text = malloc(n);
    if (text && hpt_result_json(r, text, n, NULL)) {
        free(text);
        text = NULL;
    }
    return text;
}

int cli_model(cli *c, const char *path, hpt_model **m) {
    hpt_result *report = NULL;
    if (!path) {
        hpt_status st = hpt_model_create(c->ctx, c->cfg, m);
        return st ? cli_fail(c->command, st) : 0;
    }
    hpt_status st = hpt_model_load(c->ctx, c->cfg, path, m, &report);
    if (report) {
        double loaded = 0, missing = 0, wrong = 0, unexpected = 0;
        hpt_result_number(report, "loaded", &loaded);
        hpt_result_number(report, "missing_count", &missing);
        hpt_result_number(report, "wrong_shape_count", &wrong);
        hpt_result_number(report, "unexpected_count", &unexpected);
        if (st) {
            char *text = cli_json(report);
            char first[1024];
            snprintf(first, sizeof first, "%s", hpt_last_error());
            fprintf(stderr, "hpt: %s (%s)\nload report: %s\n", first, hpt_status_name(st), text ? text : "");
            free(text);
            hpt_result_destroy(report);
            return 1;
        }
        fprintf(stderr, "%s: %g tensors loaded, %g missing, %g of another shape, %g not used\n", path, loaded, missing, wrong, unexpected);
        hpt_result_destroy(report);
    }
    return st ? cli_fail(c->command, st) : 0;
}

void progress_begin(progress *p, unsigned long long first, unsigned long long steps) {
    *p = (progress){seconds(), 0, first, steps, isatty(2)};
}
void progress_show(progress *p, unsigned long long done, const char *text) {
    double now = seconds(), took = now - p->start;
    if (done < p->steps && now - p->last < (p->tty ? 0.1 : 10)) return;
    p->last = now;
    double rate = took > 0 ? (double)(done - p->first) / took : 0, left = rate > 0 ? (double)(p->steps - done) / rate : 0;
    char bar[31];
    for (int i = 0; i < 30; i++) bar[i] = (double)i < 30.0 * (double)done / (double)p->steps ? '=' : ' ';
    bar[30] = 0;
    if (p->tty) fprintf(stderr, "\r\033[K[%s] %llu/%llu  %s  %.2f steps/s  %02d:%02d left", bar, done, p->steps, text, rate, (int)left / 60, (int)left % 60);
    else fprintf(stderr, "step %llu/%llu  %s  %.2f steps/s  %02d:%02d left\n", done, p->steps, text, rate, (int)left / 60, (int)left % 60);
}
void progress_end(progress *p) {
    if (p->tty) fprintf(stderr, "\n");
}

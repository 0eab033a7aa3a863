/* SPDX-License-Identifier: MIT
 * Contract: rundir.h. Keeps the lines of a run in step with its checkpoint: what a killed run wrote after its last
 * save is cut off when it goes on, so that the folder tells one story. */
#define _GNU_SOURCE
#include "rundir.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(const char *path, const char *why) {
    fprintf(stderr, "hpt pretrain: %s: %s\n", path, why);
    return 1;
}
static char *join(const char *dir, const char *name) {
    char *p = NULL;
    return asprintf(&p, "%s/%s", dir, name) < 0 ? NULL : p;
}
char *rundir_path(const rundir *r, const char *name) { return join(r->dir, name); }

/* mkdir -p */
static int make_dirs(const char *path) {
    char *p = strdup(path);
    int rc = p ? 0 : 1;
    for (char *s = p ? p + 1 : NULL; !rc && s;) {
        char *slash = strchr(s, '/');
        if (slash) *slash = 0;
        if (*p && mkdir(p, 0777) && errno != EEXIST) rc = refuse(p, strerror(errno));
        if (slash) *slash = '/';
        s = slash ? slash + 1 : NULL;
    }
    struct stat st;
    if (!rc && (stat(path, &st) || !S_ISDIR(st.st_mode))) rc = refuse(path, "not a folder");
    free(p);
    return rc;
}

/* Files of a run, and folders. */
static const char *const folders[] = {"checkpoints", "exported"};
static const char *const files[] = {"args.json",
                                    "metrics.jsonl",
                                    "summary.csv",
                                    "train.log",
                                    "checkpoints/last.pth.tar",
                                    "exported/backbone.pth",
                                    "exported/model.safetensors"};

static int init(rundir *r, const char *dir) {
    *r = (rundir){.dir = strdup(dir), .checkpoint = join(dir, "checkpoints/last.pth.tar"), .loss = NAN};
    return r->dir && r->checkpoint ? 0 : refuse(dir, "out of memory");
}

static int make_folders(const rundir *r) {
    int rc = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !rc; i++) {
        char *p = rundir_path(r, folders[i]);
        rc = p ? make_dirs(p) : 1;
        free(p);
    }
    return rc;
}

/* A place that cannot be written is found now, not when hours of work are to be saved. */
static int try_place(const rundir *r, const char *name) {
    char *full = rundir_path(r, name);
    FILE *f = full ? fopen(full, "w") : NULL;
    int rc = !f || fputs("try", f) < 0 || fclose(f) ? refuse(full ? full : r->dir, strerror(errno)) : 0;
    if (full) unlink(full);
    free(full);
    return rc;
}

int rundir_new(rundir *r, const char *dir, int overwrite) {
    if (init(r, dir)) return 1;
    char *args = rundir_path(r, "args.json");
    if (args && !overwrite && !access(args, F_OK)) {
        fprintf(stderr, "hpt pretrain: %s holds a run already; --resume continues it, --overwrite replaces it\n", dir);
        free(args);
        return 1;
    }
    free(args);
    r->made = access(dir, F_OK) != 0;
    return make_dirs(dir) || try_place(r, ".try");
}
void rundir_undo(rundir *r) {
    char *stats = r->made ? rundir_path(r, "stats.json") : NULL;
    if (stats) unlink(stats);
    if (r->made) rmdir(r->dir);
    free(stats);
}
int rundir_clear(rundir *r) {
    int rc = make_folders(r);
    for (size_t i = 0; i < sizeof files / sizeof *files && !rc; i++) {
        char *p = rundir_path(r, files[i]);
        if (!p)
            rc = 1;
        else if (unlink(p) && errno != ENOENT)
            rc = refuse(p, strerror(errno));
        free(p);
    }
    for (int i = 0; i < 2 && !rc; i++) {
        char *p = join(folders[i], ".try");
        rc = p ? try_place(r, p) : 1;
        free(p);
    }
    return rc;
}

int rundir_old(rundir *r, const char *dir, json_t **args) {
    json_error_t why;
    *args = NULL;
    if (init(r, dir)) return 1;
    char *p = rundir_path(r, "args.json");
    if (!p || access(p, F_OK)) {
        fprintf(stderr, "hpt pretrain: %s holds no run to resume; start it without --resume\n", dir);
        free(p);
        return 1;
    }
    if (!(*args = json_load_file(p, JSON_REJECT_DUPLICATES, &why)) || !json_is_object(*args)) {
        fprintf(stderr, "hpt pretrain: %s: %s\n", p, *args ? "not a JSON object" : why.text);
        free(p);
        return 1;
    }
    free(p);
    if (access(r->checkpoint, F_OK)) {
        fprintf(stderr, "hpt pretrain: %s: no checkpoint to go on from (%s); --overwrite starts the run again\n", dir,
                r->checkpoint);
        return 1;
    }
    return make_folders(r);         /* the checkpoint may be another program's */
}

/* Text becomes the file PATH, whole or not at all. */
static int replace(const char *path, const char *text) {
    char *temp = NULL;
    if (asprintf(&temp, "%s.new", path) < 0) return refuse(path, "out of memory");
    FILE *f = fopen(temp, "w");
    int bad = !f || fprintf(f, "%s\n", text) < 0 || fflush(f) || fsync(fileno(f));
    if (f) bad |= fclose(f) != 0;
    if (bad || rename(temp, path)) {
        bad = refuse(path, strerror(errno));
        unlink(temp);
    }
    free(temp);
    return bad;
}
/* With as few digits as all its numbers need to be read back the same: 0.03 is no 0.029999999999999999. */
static char *short_text(const json_t *j) {
    char *text = NULL;
    for (int digits = 15, same = 0; digits <= 17 && !same; digits++) {
        free(text);
        if (!(text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(digits)))) return NULL;
        json_t *back = json_loads(text, 0, NULL);
        same = json_equal(j, back);
        json_decref(back);
    }
    return text;
}
int rundir_args(rundir *r, const json_t *args) {
    char *text = short_text(args), *path = rundir_path(r, "args.json");
    int rc = text && path ? replace(path, text) : refuse(r->dir, "out of memory");
    free(text);
    free(path);
    return rc;
}

/* ---- numbers of a step, as they stand in metrics.jsonl ---- */

static void number(char *out, size_t size, const char *format, double v) {
    if (isfinite(v))
        snprintf(out, size, format, v);
    else
        snprintf(out, size, "null");
}
/* The value after "key": in a line of metrics.jsonl; NaN for null, or if it is not there. */
static double field(const char *line, const char *key) {
    char quoted[40], *end;
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = strstr(line, quoted);
    if (!at) return NAN;
    double v = strtod(at + strlen(quoted), &end);
    return end == at + strlen(quoted) ? NAN : v;
}

static void put(rundir *r, FILE *f, const char *text) {
    if (f && fputs(text, f) < 0 && !r->failed) r->failed = errno;
}
void rundir_close_epoch(rundir *r) {
    char text[120];
    int n = 0;
    if (r->epoch_steps) n = snprintf(text, sizeof text, "%llu,%.6f,", r->epoch, r->epoch_loss / (double)r->epoch_steps);
    if (r->epoch_steps && isfinite(r->epoch_acc))       /* a method without it leaves the field empty */
        n += snprintf(text + n, sizeof text - (size_t)n, "%.3f", r->epoch_acc / (double)r->epoch_steps);
    snprintf(text + n, sizeof text - (size_t)n, "\n");
    if (r->epoch_steps) put(r, r->summary, text);
    r->epoch_loss = r->epoch_acc = 0;
    r->epoch_steps = 0;
}
/* A line of metrics.jsonl enters the averages. They are taken from the text, so that a resumed run, which reads it
 * back, gets the same. */
static void count(rundir *r, const char *line) {
    char key[24];
    snprintf(key, sizeof key, "%s1", r->right);
    double epoch = field(line, "epoch"), loss = field(line, "loss"), acc = field(line, key);
    if (epoch != (double)r->epoch) {
        rundir_close_epoch(r);
        r->epoch = (unsigned long long)epoch;
    }
    r->loss = loss;
    if (!isfinite(loss)) return;
    r->epoch_loss += loss;
    r->epoch_acc += acc;
    r->epoch_steps++;
}

void rundir_score(rundir *r, const hpt_step_info *i) {
    char line[200];
    if (!i->monitor_step || i->monitor_step <= r->scored) return;
    r->scored = i->monitor_step;
    snprintf(line, sizeof line, "step %llu: %s %.2f, best %.2f at %llu%s\n",
             (unsigned long long)i->monitor_step, r->score, i->monitor, i->monitor_best,
             (unsigned long long)i->monitor_best_step, i->stopped ? "; stopped" : "");
    put(r, r->log, line);
}
void rundir_step(rundir *r, const hpt_step_info *i) {
    char line[720], more[120] = "", v[9][40];
    const struct {
        double v;
        const char *format;
    } all[9] = {{i->loss, "%.6f"}, {i->acc1, "%.3f"},    {i->acc5, "%.3f"},    {i->z_std, "%.5f"},      {i->lr, "%.8g"},
                {i->step_ms, "%.2f"}, {i->wait_ms, "%.2f"}, {i->entropy, "%.6f"}, {i->entropy_loss, "%.6f"}};
    if (!r->metrics) return;
    for (int k = 0; k < 9; k++) number(v[k], sizeof v[k], all[k].format, all[k].v);
    if (isfinite(i->entropy)) snprintf(more, sizeof more, "\"entropy\": %s, \"entropy_loss\": %s, ", v[7], v[8]);
    snprintf(
        line, sizeof line,
        "{\"step\": %llu, \"epoch\": %llu, \"loss\": %s, \"%s1\": %s, \"%s5\": %s, \"z_std\": %s, "
        "%s\"queue_fill\": %u, \"lr\": %s, \"time_ms\": %s, \"data_wait_ms\": %s}\n",
        (unsigned long long)i->step, (unsigned long long)i->epoch, v[0], r->right, v[1], r->right, v[2], v[3], more,
        i->queue_fill, v[4], v[5], v[6]);
    put(r, r->metrics, line);
    count(r, line);
    rundir_score(r, i);
}

void rundir_flush(rundir *r) {
    FILE *all[] = {r->metrics, r->log, r->summary};
    for (int i = 0; i < 3; i++)
        if (all[i] && (fflush(all[i]) || fsync(fileno(all[i]))) && !r->failed) r->failed = errno;
}
void rundir_end(rundir *r, const char *text) {
    put(r, r->log, text);
    put(r, r->log, "\n");
}

/* ---- cutting back ---- */

/* 1 if the line belongs to the run up to step. */
static int metrics_line(const char *line, unsigned long long step) {
    double s = field(line, "step");
    return line[0] == '{' && strstr(line, "}\n") && s >= 1 && s <= (double)step && isfinite(field(line, "epoch"));
}
static int log_line(const char *line, unsigned long long step, unsigned long long n) {
    unsigned long long s;
    return strchr(line, '\n') && (n == 0 || (sscanf(line, "step %llu: ", &s) == 1 && s <= step) ||
                                  (sscanf(line, "from step %llu: ", &s) == 1 && s <= step));
}

/* The first line, the last "from step" line: how the machine was described. */
static int same_machine(const char *line, const char *machine) { return strstr(line, machine) != NULL; }

/* Copies what is kept of an old file to a new one that takes its place, and opens that for more. */
static FILE *reopen(rundir *r, const char *name, unsigned long long step, const char *machine, int *same) {
    char *path = rundir_path(r, name), *temp = NULL, *line = NULL;
    size_t room = 0;
    unsigned long long n = 0, last = 0;
    FILE *old = path ? fopen(path, "r") : NULL, *f = NULL;
    int is_log = !strcmp(name, "train.log"), is_metrics = !strcmp(name, "metrics.jsonl");
    if (path && asprintf(&temp, "%s.new", path) >= 0) f = fopen(temp, "w");
    while (f && old && getline(&line, &room, old) > 0) {
        unsigned long long s = is_metrics && metrics_line(line, step) ? (unsigned long long)field(line, "step") : 0;
        if (is_log ? !log_line(line, step, n) : s != last + 1) continue; /* every step once, in order */
        n++;
        last = s;
        put(r, f, line);
        if (is_log) sscanf(line, "step %llu: ", &r->scored);
        if (is_log)
            *same = !strncmp(line, "step ", 5) ? *same : same_machine(line, machine);
        else
            count(r, line);
    }
    if (is_metrics && f && last < step && old)
        fprintf(stderr, "hpt pretrain: note: %s ends at step %llu, the checkpoint at %llu\n", path, last, step);
    if (old) fclose(old);
    free(line);
    if (!f || fflush(f) || fsync(fileno(f)) || rename(temp, path)) {
        refuse(path ? path : r->dir, strerror(errno));
        if (f) fclose(f);
        f = NULL;
    }
    free(temp);
    free(path);
    return f;
}

int rundir_open(rundir *r, unsigned long long step, const char *machine) {
    char *summary = rundir_path(r, "summary.csv"), text[1200];
    int same = 0;
    if (!summary) return refuse(r->dir, "out of memory");
    if (!(r->summary = fopen(summary, "w"))) refuse(summary, strerror(errno));
    free(summary);
    if (!r->summary) return 1;
    snprintf(text, sizeof text, "epoch,train_loss,train_%s1\n", r->right + (strncmp(r->right, "train_", 6) ? 0 : 6));
    put(r, r->summary, text);
    if (!(r->metrics = reopen(r, "metrics.jsonl", step, machine, &same)) ||
        !(r->log = reopen(r, "train.log", step, machine, &same)))
        return 1;
    setvbuf(r->log, NULL, _IOLBF, 0);
    if (ftell(r->log) == 0)
        snprintf(text, sizeof text, "libhpt %s, %.1000s\n", hpt_version_string(), machine);
    else if (!same)
        snprintf(text, sizeof text, "from step %llu: libhpt %s, %.1000s\n", step, hpt_version_string(), machine);
    if (!same) put(r, r->log, text);
    return 0;
}

int rundir_close(rundir *r) {
    FILE *all[] = {r->metrics, r->log, r->summary};
    rundir_flush(r);
    for (int i = 0; i < 3; i++)
        if (all[i] && fclose(all[i]) && !r->failed) r->failed = errno;
    int bad = r->failed ? refuse(r->dir, strerror(r->failed)) : 0;
    free(r->dir);
    free(r->checkpoint);
    *r = (rundir){.dir = NULL};
    return bad;
}

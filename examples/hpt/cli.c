/* SPDX-License-Identifier: MIT
 * hpt, the shared parts: words of the command line against the option table, help, progress and its bar, Ctrl-C,
 * files that are written beside their place and renamed. */
#define _GNU_SOURCE
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile sig_atomic_t interrupted;
/* Once: stop, having saved what is kept. Twice: at once. */
static void on_signal(int sig) {
    if (interrupted) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    interrupted = 1;
}
int cli_interrupted(void) { return interrupted; }
void cli_catch(void) {
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
}

/* ---- the bar on a terminal ---- */

static int bar_shown;
static void clear_bar(void) {
    if (bar_shown) fprintf(stderr, "\r\033[K");
    bar_shown = 0;
}
/* About ten times a second, from whatever takes long. Pretraining and the search draw bars of their own, of steps. */
int32_t cli_progress(void *user, const hpt_progress *p) {
    const cli *c = user;
    char left[24] = "", bar[31];
    if (!isatty(2) || p->phase == HPT_PHASE_TRAIN || (p->phase == HPT_PHASE_SEARCH && !p->total)) return interrupted;
    if (p->total && isfinite(p->seconds_left)) cli_clock(p->seconds_left, left);
    for (int i = 0; i < 30; i++) bar[i] = p->total && (double)i < 30.0 * (double)p->done / (double)p->total ? '=' : ' ';
    bar[30] = 0;
    fprintf(stderr, "\r\033[K");
    if (p->total)
        fprintf(stderr, "[%s] %llu/%llu  %s  %s%s", bar, (unsigned long long)p->done, (unsigned long long)p->total,
                p->name, left, *left ? " left" : "");
    else fprintf(stderr, "%s  %llu %s", c->command, (unsigned long long)p->done, p->name);
    if (isfinite(p->score)) fprintf(stderr, "  best %.2f", p->score);
    bar_shown = 1;
    return interrupted;
}

/* ---- the first line, and notes ---- */

/* Until the first line is said, which may take as long as opening a large folder, notes wait for it. */
static struct { int warning; char *text; } held[64];
static int n_held, said;
static void release(int warnings_only) {
    clear_bar();
    for (int i = 0; i < n_held; i++) {
        if (held[i].warning || !warnings_only) fprintf(stderr, "%s\n", held[i].text);
        free(held[i].text);
    }
    n_held = 0;
    said = 1;
}
void cli_note(int warning, const char *fmt, ...) {
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0) text = NULL;
    va_end(ap);
    if (!text) return;
    if (!said && n_held == sizeof held / sizeof *held) release(0);
    if (!said) {
        held[n_held].warning = warning;
        held[n_held++].text = text;
        return;
    }
    clear_bar();
    fprintf(stderr, "%s\n", text);
    free(text);
}
void cli_say(const char *line) {
    clear_bar();
    if (line) fprintf(stderr, "%s\n", line);
    release(0);
}
void cli_set(FILE *line, const char *name, unsigned long long images, int classes, int several) {
    fprintf(line, "; %s %llu image%s", name, images, images == 1 ? "" : "s");
    if (classes >= 0)
        fprintf(line, ", %d %s", classes, several ? "labels an image" : classes == 1 ? "class" : "classes");
}
char *cli_line(const cli *c, const char *const *names, hpt_dataset *const *sets, int n) {
    char machine[512] = "", *text = NULL, *all = NULL;
    size_t size = 0;
    hpt_result *r = NULL;
    hpt_status st = hpt_context_describe(c->ctx, machine, sizeof machine, NULL);
    if (!st) st = hpt_context_facts(c->ctx, c->cfg, &r);
    if (st) return cli_fail(c->command, st), NULL;
    text = cli_json(r);
    hpt_result_destroy(r);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    FILE *f = open_memstream(&all, &size);
    const char *precision = json_string_value(json_object_get(j, "precision"));
    if (f) fprintf(f, "%s, %s", machine, precision ? precision : "");
    for (int i = 0; i < n && f; i++) {
        hpt_dataset_info d = {.struct_size = sizeof d};
        if (!sets[i] || hpt_dataset_get_info(sets[i], &d)) continue;
        cli_set(f, names[i], d.count, d.labelled ? (int)d.classes : -1, d.labelled == 2);
    }
    if (f && fclose(f)) free(all), all = NULL;
    json_decref(j);
    free(text);
    if (!all) fprintf(stderr, "hpt: %s: out of memory\n", c->command);
    return all;
}
int cli_begin(const cli *c, const char *const *names, hpt_dataset *const *sets, int n) {
    char *line = cli_line(c, names, sets, n);
    if (!line) return 1;
    cli_say(line);
    free(line);
    return 0;
}

int cli_fail(const char *what, hpt_status st) {
    release(1);
    if (st == HPT_ERR_CANCELLED && interrupted)
        return fprintf(stderr, "hpt: %s: stopped (%s)\n", what, hpt_last_error()), 130;
    fprintf(stderr, "hpt: %s: %s (%s)\n", what, hpt_last_error(), hpt_status_name(st));
    return 1;
}

/* ---- help ---- */

/* "  --name VALUE   text", the text wrapped beside the names, at blanks and between choices. */
static void entry(const char *name, const char *value, const char *text) {
    enum { LEFT = 26, RIGHT = 100 };
    int at = printf("  --%s%s%s", name, *value ? " " : "", value);
    if (at >= LEFT) at = printf("\n") - 1;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " |");
        int fresh = at < LEFT, blank = p > text && p[-1] == ' ';
        n += p[n] == '|';
        if (!fresh && at + blank + (int)n > RIGHT) {
            at = printf("\n") - 1;
            fresh = 1;
        }
        at += printf("%*s%.*s", fresh ? LEFT - at : blank, "", (int)n, p);
        p += n;
        while (*p == ' ') p++;
    }
    printf("\n");
}
static void option_entry(const hpt_option_info *o) {
    char text[1600];
    snprintf(text, sizeof text, "%s (%s%s%s%s%s)", o->doc, *o->def ? o->def : "\"\"", *o->range ? "; " : "", o->range,
             *o->methods ? "; method " : "", o->methods);
    entry(o->key, "", text);
}
/* The library's options that most runs of a command set or should know. */
static int matters(const char *stage, const char *key) {
    static const struct { const char *stage, *keys; } all[] = {
        {"pretrain",
         " preset method arch image_size batch_size accumulate steps lr moco_k moco_m bn_group train precision seed "
         "aug_hue mme_entropy mme_classifier mme_dim mme_lambda bad_image backend threads "},
        {"refresh-bn", " image_size batch_size bn_group refresh_mode refresh_images bad_image backend threads "},
        {"linear",
         " preset image_size probe_lr probe_steps probe_augment probe_scale pixel_mean pixel_std seed work_file "
         "bad_image backend threads "},
        {"finetune",
         " preset image_size ft_lr ft_length ft_batch ft_micro ft_eval_every precision seed work_file bad_image "
         "backend threads "},
        {"knn", " image_size knn_k knn_t batch_size pixel_mean pixel_std bad_image backend threads "},
        {"search",
         " image_size steps batch_size moco_k search_mode search_prerank search_dir probe_steps precision backend "
         "threads "},
        {"embed", " image_size eval_crop batch_size pixel_mean pixel_std precision bad_image backend threads "},
        {"score", " score_metric score_masks score_at coco_id0 score_rounded threads "},
        {"dataset", " list_root label_map label_column list_check bad_image max_pixels max_file_mb stats_images "},
        {"model", " arch width stem init_method carry_head "},
        {"context", " backend threads "}};
    char word[128];
    snprintf(word, sizeof word, " %s ", key);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].stage, stage)) return strstr(all[i].keys, word) != NULL;
    return 0;
}
/* Does a list of words like "moco|byol" share one with another? */
static int in_common(const char *a, const char *b) {
    for (size_t n; *a; a += n + (a[n] == '|')) {
        n = strcspn(a, "|");
        for (const char *p = b; *p; p += strcspn(p, "|"), p += *p == '|')
            if (strcspn(p, "|") == n && !strncmp(a, p, n)) return 1;
    }
    return 0;
}
static void help(const cli *c, int all) {
    static const struct { const char *stage, *title; } groups[] = {
        {"context", "Machine"}, {"dataset", "Reading images"}, {"model", "Network"}, {NULL, "This command"}};
    hpt_option_info o = {.struct_size = sizeof o};
    int left = 0;
    printf("%s\n\n", c->about);
    for (const cli_arg *a = c->args; a->name; a++) entry(a->name, a->flag == 1 ? "" : a->value_name, a->doc);
    entry("help", "", c->stage ? "this; --help-all shows every option" : "this");
    for (const cli_arg *a = c->args; a->name; a++)
        if (!strncmp(a->value_name, "PATH", 4)) {
            printf("\nPATH is a folder, a list (.txt .tsv .csv), IDX, npz, npy or an image, or SET:SPLIT:FOLDER:\n"
                   "SET a known set (`hpt dataset list`) with the FOLDER of its download, or a descriptor file\n"
                   "(FOLDER is in it); SPLIT train, val, test or train+val: shop.ini:test, resisc:train:/data/NWPU\n"
                   "(docs/datasets.md). A file or folder of that very name goes first.\n");
            break;
        }
    if (!c->stage) return;
    for (int pass = 0; pass < 4; pass++) {
        /* an option stands in the first group that it belongs to, the command's own last */
        const char *stage = pass < 3 ? groups[pass].stage : c->stage;
        int shown = 0;
        for (unsigned i = 0; hpt_config_describe(stage, i, &o) == HPT_OK; i++) {
            int first = 3;
            /* what every stage has (a preset) is the command's, too */
            int everywhere = strstr(o.stages, "dataset") && strstr(o.stages, "model") && strstr(o.stages, c->stage);
            for (int g = 2; g >= 0 && !everywhere; g--)
                if (!strncmp(o.stages, groups[g].stage, strlen(groups[g].stage))) first = g;
            if (first != pass || (pass == 2 && !strstr(o.stages, c->stage))) continue;
            if (c->methods && *o.methods && !in_common(c->methods, o.methods)) continue;
            if (!all && !matters(c->stage, o.key)) {
                left++;
                continue;
            }
            if (!shown++) printf("\n%s (default; range)\n", groups[pass].title);
            option_entry(&o);
        }
    }
    if (left) printf("\n%d more options of the library: hpt %s --help-all, docs/options.md\n", left, c->command);
}

int cli_distance(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 60) return 99;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (; *a; a++) {
        int corner = row[0]++;
        for (int j = 1; j <= n; j++) {
            int best = corner + (*a != b[j - 1]);
            corner = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}
/* '-' and '_' are one letter in the names of options. */
static int same_key(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))) return 0;
    return *a == *b;
}
/* An option that the command does not look at is said to do nothing, and whose it is: one set of options often
 * serves several commands. */
static void tell_foreign(const cli *c, const char *key) {
    const char *own[] = {"context", "dataset", "model", c->stage};
    hpt_option_info o = {.struct_size = sizeof o};
    int n = !c->stage ? 0 : !strcmp(c->stage, "context") || !strcmp(c->stage, "dataset") ? 2
        : !strcmp(c->stage, "model") ? 3 : 4;
    for (int k = 0; k < n; k++)
        for (unsigned i = 0; hpt_config_describe(own[k], i, &o) == HPT_OK; i++)
            if (!strcmp(o.key, key)) return;
    for (unsigned i = 0; hpt_config_describe(NULL, i, &o) == HPT_OK; i++)
        if (!strcmp(o.key, key)) break;
    fprintf(stderr, "note: option '%s' does nothing in hpt %s; it is for: %s\n", key, c->command, o.stages);
}
/* A preset is for one stage: said before anything is opened. */
static hpt_status preset_fits(const cli *c, const char *preset) {
    hpt_config *of_stage;
    if (!c->stage || !strstr(" pretrain linear finetune search ", c->stage)) return HPT_OK;
    hpt_status st = hpt_config_create(c->stage, &of_stage);
    if (!st) st = hpt_config_set(of_stage, "preset", preset);
    hpt_config_destroy(of_stage);
    return st;
}
/* An argument of this command whose name is near to key, or begins with it; NULL: none. */
static const char *near_argument(const cli *c, const char *key) {
    const char *near = NULL;
    for (const cli_arg *k = c->args; k->name; k++) {
        char name[64], wanted[128];
        snprintf(name, sizeof name, "%s", k->name);
        snprintf(wanted, sizeof wanted, "%s", key);
        for (char *p = name; *p; p++) *p = *p == '-' ? '_' : *p;
        for (char *p = wanted; *p; p++) *p = *p == '-' ? '_' : *p;
        if (cli_distance(name, wanted) < 3 || (strlen(wanted) > 2 && !strncmp(name, wanted, strlen(wanted))))
            near = k->name;
    }
    return near;
}
/* The last word of the line is an option that takes a value, or one that there is not. */
static int without_value(const cli *c, const cli_arg *mine, const char *key) {
    hpt_option_info o = {.struct_size = sizeof o};
    int known = mine != NULL;
    for (unsigned i = 0; !known && hpt_config_describe(NULL, i, &o) == HPT_OK; i++) known = same_key(o.key, key);
    const char *near = known ? NULL : near_argument(c, key);
    if (near) return fprintf(stderr, "hpt %s: unknown option '%s', did you mean '--%s'?\n", c->command, key, near), 3;
    if (known) return fprintf(stderr, "hpt %s: --%s needs a value\n", c->command, key), 3;
    return 1 + cli_fail(c->command, hpt_config_set(c->cfg, key, "")) + 1;
}
int cli_parse(cli *c, int argc, char **argv) {
    if (hpt_config_create(NULL, &c->cfg)) return 1 + cli_fail(c->command, HPT_ERR_MEMORY);
    c->argc = argc;
    c->argv = argv;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        char key[128];
        cli_arg *mine = NULL;
        if (!strcmp(a, "--help") || !strcmp(a, "-h") || !strcmp(a, "--help-all")) {
            help(c, !strcmp(a, "--help-all"));
            return 1;
        }
        if (strncmp(a, "--", 2)) {
            if (c->n_positional == c->takes)
                return fprintf(stderr, "hpt %s: '%s' is not understood%s\n", c->command, a, c->takes ? ""
                               : "; files and folders are given as --option PATH (--help lists them)"), 3;
            c->positional[c->n_positional++] = a;
            continue;
        }
        const char *eq = strchr(a, '=');
        snprintf(key, sizeof key, "%.*s", eq ? (int)(eq - a - 2) : 100, a + 2);
        for (cli_arg *k = c->args; k->name; k++)
            if (same_key(k->name, key)) mine = k;
        if (mine && mine->flag == 1) {
            if (eq) return fprintf(stderr, "hpt %s: --%s takes no value\n", c->command, mine->name), 3;
            mine->value = "1";
            continue;
        }
        const char *value = eq ? eq + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value) return without_value(c, mine, key);
        if (mine && mine->flag == 2 && mine->value) {      /* given again: one a line */
            size_t size = strlen(mine->value) + strlen(value) + 2;
            char *joined = malloc(size);
            if (!joined) return 2;
            snprintf(joined, size, "%s\n%s", mine->value, value);
            mine->value = joined;
            continue;
        }
        if (mine && mine->value && mine->flag != 2 && strcmp(mine->value, value))
            return fprintf(stderr, "hpt %s: --%s was given twice: '%s' and '%s'\n", c->command, mine->name,
                           mine->value, value), 3;
        if (mine) {
            mine->value = mine->flag == 2 ? strdup(value) : value;
            continue;
        }
        for (char *p = key; *p; p++)
            if (*p == '-') *p = '_';
        hpt_status st = hpt_config_set(c->cfg, key, value);
        if (!st && !strcmp(key, "preset")) st = preset_fits(c, value);
        if (!st) tell_foreign(c, key);
        if (!st) continue;
        const char *near = near_argument(c, key);
        if (near && strstr(hpt_last_error(), "unknown option"))
            return fprintf(stderr, "hpt %s: unknown option '%s', did you mean '--%s'?\n", c->command, key, near), 3;
        return 1 + cli_fail(c->command, st) + 1;
    }
    return 0;
}
const char *cli_value(const cli *c, const char *name) {
    for (const cli_arg *a = c->args; a->name; a++)
        if (!strcmp(a->name, name)) return a->value;
    return NULL;
}

int cli_typed(const cli *c, const char *key) {
    for (int i = 1; i < c->argc; i++) {
        char name[128];
        if (strncmp(c->argv[i], "--", 2)) continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(c->argv[i] + 2, "="), c->argv[i] + 2);
        int command = 0;            /* an argument of the command by that name is no option of the library */
        for (const cli_arg *a = c->args; a->name; a++) command |= same_key(a->name, name);
        if (!command && same_key(name, key)) return 1;
    }
    return 0;
}
void cli_give(cli *c, const char *name, const char *value) {
    for (cli_arg *a = c->args; a->name; a++)
        if (!strcmp(a->name, name)) a->value = value;
}
int cli_number(const cli *c, const char *name, unsigned long long least, unsigned long long most,
               unsigned long long *v) {
    const char *text = cli_value(c, name);
    char *end;
    if (!text) return 0;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || x < least || x > most)
        return fprintf(stderr, "hpt %s: --%s: '%s' is not a number from %llu to %llu\n", c->command, name, text, least,
                       most), 1;
    *v = x;
    return 0;
}
int cli_writable(const cli *c, const char *path) {
    struct stat s;
    char *temp = NULL;
    int bad = 0;
    if (!path) return 0;
    if (!stat(path, &s) && !S_ISREG(s.st_mode))
        return fprintf(stderr, "hpt %s: %s: exists and is not a regular file\n", c->command, path), 1;
    if (asprintf(&temp, "%s.try%d", path, (int)getpid()) < 0) return 1;
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) unlink(temp);
    if (fd < 0 || write(fd, "try", 3) != 3 || close(fd))
        bad = fprintf(stderr, "hpt %s: %s: %s\n", c->command, path, strerror(errno)) != 0;
    free(temp);
    return bad;
}

void cli_csv_text(FILE *f, const char *text) {
    for (const char *p = text; *p; p++) fprintf(f, *p == '"' ? "\"\"" : "%c", *p);
}
int cli_file_begin(cli_file *o, const cli *c, const char *path) {
    *o = (cli_file){.f = stdout, .path = path, .command = c->command};
    if (!path) return 0;
    if (asprintf(&o->temp, "%s.tmp%d", path, (int)getpid()) < 0)
        return fprintf(stderr, "hpt %s: out of memory\n", c->command), 1;
    if ((o->f = fopen(o->temp, "wb"))) return 0;
    fprintf(stderr, "hpt %s: %s: %s\n", c->command, path, strerror(errno));
    free(o->temp);
    return 1;
}
int cli_file_end(cli_file *o, int failed) {
    if (!o->temp) return failed;
    int bad = failed || ferror(o->f) || fflush(o->f) || fsync(fileno(o->f)), why = errno;
    if (fclose(o->f) && !bad) bad = 1, why = errno;
    if (!bad && rename(o->temp, o->path)) bad = 1, why = errno;
    if (bad) unlink(o->temp);
    if (bad && !failed) fprintf(stderr, "hpt %s: %s: %s\n", o->command, o->path, strerror(why));
    free(o->temp);
    return bad;
}

void cli_print(json_t *object) {
    char *text = json_dumps(object, JSON_REAL_PRECISION(8));
    printf("%s\n", text ? text : "");
    free(text);
    json_decref(object);
}
void cli_json_number(json_t *object, const char *key, double v) {
    json_object_set_new(object, key, isfinite(v) ? json_real(v) : json_null());
}
void cli_json_text(json_t *object, const char *key, const char *text) {
    json_t *v = json_string(text);
    char *copy = v ? NULL : strdup(text);
    for (unsigned char *p = (unsigned char *)copy; p && *p; p++)
        if (*p > 126) *p = '?';
    json_object_set_new(object, key, v ? v : copy ? json_string(copy) : json_null());
    free(copy);
}

/* "top-1 66.67 %", or what there is instead of a number. */
static void score_text(const json_t *j, const char *key, const char *metric, char out[64]) {
    json_t *v = json_object_get(j, key);
    if (json_is_number(v)) snprintf(out, 64, "%s %.2f %%", metric, json_number_value(v));
    else snprintf(out, 64, v ? "no %s" : "not scored", metric);
}
void cli_scores(const cli *c, const hpt_result *r, const char *what) {
    clear_bar();
    char *text = cli_json(r), test[64], val[64];
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    const char *name = json_string_value(json_object_get(j, "metric")), *metric = name && !strcmp(name, "auroc")
        ? "AUROC" : "top-1";
    json_t *lr = json_object_get(j, "best_lr");
    if (cli_value(c, "json")) printf("%s\n", text ? text : "");
    else if (json_object_get(j, "knn_score")) {
        score_text(j, "knn_score", metric, test);
        printf("%s: %s on test\n", what, test);
    } else {
        score_text(j, "val_score", metric, val);
        score_text(j, "test_score", metric, test);
        printf("%s: ", what);
        if (json_object_get(j, "test_score")) printf("%s on test, ", test);
        printf("%s on validation", val);
        if (lr) printf(" (lr %g, step %g)", json_number_value(lr), json_number_value(json_object_get(j, "best_step")));
        printf(json_object_get(j, "test_score") ? "\n" : "; test: not scored\n");
    }
    /* an AUROC of some classes only is not the one of all */
    static const char *const lists[] = {"test_undefined_classes", "knn_undefined_classes"};
    for (int i = 0; i < 2; i++) {
        size_t n = json_array_size(json_object_get(j, lists[i]));
        if (n && !cli_value(c, "json"))
            printf("  without %zu class%s that no image, or every image, of the test set has\n", n, n > 1 ? "es" : "");
    }
    json_decref(j);
    free(text);
}
void cli_clock(double s, char out[24]) {
    int n = s < 1e9 ? (int)s : 999999999;
    if (n >= 3600) snprintf(out, 24, "%d:%02d:%02d", n / 3600, n / 60 % 60, n % 60);
    else snprintf(out, 24, "%02d:%02d", n / 60, n % 60);
}

static void note(void *user, int32_t level, const char *text) {
    (void)user;
    cli_note(level > 0, "%s: %s", level ? "warning" : "note", text);
}
/* One of several processes of mpirun, and the user did not choose otherwise: train together, and share this
 * machine's processors (threads that spin for a processor which another rank holds cost a factor of ten). */
static void join_ranks(hpt_config *cfg) {
    const char *ranks = getenv("OMPI_COMM_WORLD_SIZE"), *here = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    char comm[16] = "", threads[16] = "";
    if (!ranks || atoi(ranks) < 2) return;
    hpt_config_get(cfg, "comm", comm, sizeof comm, NULL);
    hpt_config_get(cfg, "threads", threads, sizeof threads, NULL);
    if (!strcmp(comm, "self")) hpt_config_set(cfg, "comm", "mpi");
    cpu_set_t set;
    long all = sysconf(_SC_NPROCESSORS_ONLN), mine = sched_getaffinity(0, sizeof set, &set) ? all : CPU_COUNT(&set);
    /* not bound to its own processors by mpirun */
    if (!strcmp(threads, "0") && here && mine == all && atoi(here) > 1)
        hpt_config_set_int(cfg, "threads", mine / atoi(here) > 0 ? mine / atoi(here) : 1);
}
int cli_open(cli *c) {
    join_ranks(c->cfg);
    hpt_status st = hpt_context_create(c->cfg, &c->ctx);
    if (st) return cli_fail(c->command, st);
    hpt_context_set_log(c->ctx, note, NULL);
    hpt_context_set_progress(c->ctx, cli_progress, c);
    cli_catch();
    return 0;
}
void cli_close(cli *c) {
    release(0);
    hpt_context_destroy(c->ctx);
    hpt_config_destroy(c->cfg);
}

void cli_unreadable(const cli *c, const char *set, const hpt_dataset *ds, const char *became) {
    enum { NAMED = 10 };
    FILE *to = cli_value(c, "json") ? stderr : stdout;
    char name[4200];
    hpt_dataset_info di = {.struct_size = sizeof di};
    if (!ds || hpt_dataset_get_info(ds, &di)) return;
    if (di.truncated_images)
        fprintf(to, "%s: %llu images have lost their tail (what is there was used)\n", set,
                (unsigned long long)di.truncated_images);
    if (!di.bad_images) return;
    fprintf(to, "%s: %llu images, %u unreadable (%s):", set, (unsigned long long)di.count - di.bad_images,
            di.bad_images, became);
    for (uint32_t i = 0; i < NAMED && hpt_dataset_bad_image(ds, i, name, sizeof name, NULL) == HPT_OK; i++)
        fprintf(to, "%s %s", i ? "," : "", name);
    fprintf(to, di.bad_images > NAMED ? ", ...\n" : "\n");
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
    if (!path || !strcmp(path, "random")) {
        hpt_status st = hpt_model_create(c->ctx, c->cfg, m);
        return st ? cli_fail(c->command, st) : 0;
    }
    hpt_status st = hpt_model_load(c->ctx, c->cfg, path, m, &report);
    if (!st) {
        double loaded = 0, beside = 0, foreign = 0;
        char *text = report ? cli_json(report) : NULL;
        json_t *j = text ? json_loads(text, 0, NULL) : NULL;
        const char *prefix = json_string_value(json_object_get(j, "prefix"));
        hpt_model_info info = {.struct_size = sizeof info};
        hpt_result_number(report, "loaded", &loaded);
        hpt_result_number(report, "not_used_count", &beside);
        hpt_result_number(report, "foreign_count", &foreign);
        hpt_model_get_info(*m, &info);
        char classes[64] = "", built[64] = "";      /* width and stem are a ResNet's */
        if (info.width) snprintf(built, sizeof built, " of width %u, stem %s", info.width, info.stem);
        if (info.classes) snprintf(classes, sizeof classes, ", and its classifier of %u classes", info.classes);
        cli_note(0, "%s: %s%s, %g tensors loaded%s%.300s%s%s, %g beside them not used", path, info.arch, built, loaded,
                 prefix && *prefix ? " from '" : "", prefix ? prefix : "", prefix && *prefix ? "'" : "", classes,
                 beside + foreign);
        json_decref(j);
        free(text);
    }
    hpt_result_destroy(report);
    return st ? cli_fail(c->command, st) : 0;
}

/* "SET:SPLIT:FOLDER" in its parts: SET a known set or a descriptor file, the others may be missing. 0: path is no
 * such name. */
static int set_name(const char *path, const char *otherwise, char **set, char **split, const char **root) {
    static const char *const splits[] = {"train", "val", "test", "train+val", "labelled-1", "labelled-3",
                                         "unlabelled-1", "unlabelled-3", "test-1", "test-3"};
    hpt_set_info known = {.struct_size = sizeof known};
    struct stat s;
    const char *colon = strchr(path, ':'), *ini = strstr(path, ".ini:");
    size_t n = strlen(path);
    int there = !stat(path, &s), is = n > 4 && !strcmp(path + n - 4, ".ini");
    if (there && !(is && S_ISREG(s.st_mode))) return 0;
    if (is && (there || !ini)) colon = NULL;
    else if (ini) is = (colon = ini + 4) != NULL;
    n = colon ? (size_t)(colon - path) : n;
    for (uint32_t i = 0; !is && hpt_set_describe(i, &known) == HPT_OK; i++)
        is = strlen(known.name) == n && !memcmp(known.name, path, n);
    const char *part = colon ? colon + 1 : "";
    size_t len = strcspn(part, ":");
    for (size_t i = 0; i < sizeof splits / sizeof *splits && !memchr(path, '/', n); i++)
        is |= strlen(splits[i]) == len && !memcmp(splits[i], part, len);
    if (!is) return 0;
    *root = part[len] ? part + len + 1 : NULL;
    *set = strndup(path, n);
    *split = len ? strndup(part, len) : strdup(otherwise);
    if (!len) cli_note(0, "note: %s: its split %s is taken", path, otherwise);
    return *set && *split ? 1 : -1;
}
hpt_status cli_dataset(cli *c, const char *option, const char *path, hpt_dataset **ds) {
    const char *part = strstr(option, "test") ? "test" : strstr(option, "val") ? "val" : "train", *root = NULL;
    char *set = NULL, *split = NULL;
    *ds = NULL;
    int is = set_name(path, part, &set, &split, &root);
    hpt_status st = is < 0 ? HPT_ERR_MEMORY : is ? hpt_dataset_named(c->ctx, c->cfg, set, root, split, ds)
        : hpt_dataset_open(c->ctx, c->cfg, path, ds);
    if (st && is > 0 && strstr(hpt_last_error(), "(root) is needed"))
        fprintf(stderr, "hpt %s: --%s %s: say where its download lies: %s:%s:FOLDER\n", c->command, option, path, set,
                split);
    free(set);
    free(split);
    return st;
}

int cli_needs_init(const cli *c) {
    if (cli_value(c, "init")) return 0;
    fprintf(stderr, "hpt %s: --init FILE is needed: the model (--init random for random weights)\n", c->command);
    return 2;
}

void progress_begin(progress *p, unsigned long long first, unsigned long long steps) {
    *p = (progress){seconds(), 0, first, steps, isatty(2)};
}
void progress_show(progress *p, unsigned long long done, const char *text) {
    double now = seconds(), took = now - p->start;
    if (done < p->steps && now - p->last < (p->tty ? 0.1 : 10)) return;
    p->last = now;
    double rate = took > 0 ? (double)(done - p->first) / took : 0, left = rate > 0 ? (double)(p->steps - done) / rate
        : 0;
    char bar[31];
    for (int i = 0; i < 30; i++) bar[i] = (double)i < 30.0 * (double)done / (double)p->steps ? '=' : ' ';
    bar[30] = 0;
    char clock[24];
    cli_clock(left, clock);
    if (p->tty)
        fprintf(stderr, "\r\033[K[%s] %llu/%llu  %s  %.2f steps/s  %s left", bar, done, p->steps, text, rate, clock);
    else fprintf(stderr, "step %llu/%llu  %s  %.2f steps/s  %s left\n", done, p->steps, text, rate, clock);
}
void progress_end(progress *p) {
    if (p->tty) fprintf(stderr, "\n");
}

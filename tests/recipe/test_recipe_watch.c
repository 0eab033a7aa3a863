/* SPDX-License-Identifier: MIT
 * Recipes and comparisons of representations tell how far they are and can be stopped from another thread and from
 * the keyboard, at every instant: another call then ends in the results of an undisturbed one. */
#define _GNU_SOURCE
#include "shell.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* What comes back within 0.2 s of work, on a machine that may be busy with other things. */
enum { SOON = 5 };

/* ---- two representations ---- */

typedef struct heard { int calls, stop_at, bad; uint64_t last; } heard;
static int32_t rows_told(void *user, const hpt_progress *p) {
    heard *h = user;
    h->bad |= p->phase != HPT_PHASE_COMPARE || p->done < h->last || p->done > p->total || !strstr(p->name, "images");
    h->last = p->done;
    return ++h->calls >= h->stop_at && h->stop_at;
}
typedef struct cancel_later { hpt_context *ctx; useconds_t after; double at; } cancel_later;
static void *cancels(void *arg) {
    cancel_later *c = arg;
    usleep(c->after);
    c->at = now();
    hpt_context_cancel(c->ctx);
    return NULL;
}
/* Wide: few images, many values. Tall: the other way round. Both take a second or more. */
TEST_LIMIT(a_comparison_of_representations_stops, 120) {
    static const struct { uint64_t n, p, q; } shape[] = {{800, 6000, 3000}, {12000, 220, 260}};
    hpt_context *ctx = context("reference", 1);
    for (size_t k = 0; k < 2; k++) {
        uint64_t n = shape[k].n, p = shape[k].p, q = shape[k].q;
        float *x = malloc(n * p * 4), *y = malloc(n * q * 4);
        fill_f32(x, n * p, 11, 1, 0);
        fill_f32(y, n * q, 12, 1, 0);
        for (uint64_t i = 0; i < n; i++) y[i * q] += x[i * p];
        double want, got = 7;
        OK(hpt_rv2(x, p, y, q, n, &want));
        heard h = {0};
        OK(hpt_context_set_progress(ctx, rows_told, &h));
        OK(hpt_context_rv2(ctx, x, p, y, q, n, &got));
        CHECK(got == want && h.calls && !h.bad && h.last == n);
        for (int stop_at = 1; stop_at < 3; stop_at++) {
            h = (heard){.stop_at = stop_at};
            got = 7;
            FAILS(HPT_ERR_CANCELLED, "images", hpt_context_rv2(ctx, x, p, y, q, n, &got));
            CHECK(got == 7 && h.calls == stop_at);
        }
        OK(hpt_context_set_progress(ctx, NULL, NULL));
        int stopped = 0;
        for (useconds_t after = 1000; after < 100000; after *= 4) {
            cancel_later c = {ctx, after, 0};
            pthread_t t;
            CHECK(!pthread_create(&t, NULL, cancels, &c));
            hpt_status st = hpt_context_rv2(ctx, x, p, y, q, n, &got);
            double end = now();
            pthread_join(t, NULL);
            if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
            stopped += st == HPT_ERR_CANCELLED;
            if (st && end - c.at > SOON) FAIL("%.1f s after it was stopped", end - c.at);
            if (!st) OK(hpt_context_cancel(ctx));       /* came too late: the next call hears it */
            if (!st) FAILS(HPT_ERR_CANCELLED, "images", hpt_context_rv2(ctx, x, p, y, q, n, &got));
        }
        CHECK(stopped >= 2);
        OK(hpt_context_rv2(ctx, x, p, y, q, n, &got));
        CHECK(got == want);
        free(x);
        free(y);
    }
    hpt_context_destroy(ctx);
}

/* ---- recipes ---- */

static void write_text(const char *name, const char *text) {
    FILE *f = fopen(name, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}
/* Pictures of three classes, NAME/cK/I.ppm below the current folder. */
static void write_set(const char *name, int from, int to, int side) {
    uint8_t *rgb = malloc((size_t)side * (size_t)side * 3);
    char path[100];
    RUN("mkdir -p %s/c0 %s/c1 %s/c2", name, name, name);
    for (int i = from; i < to; i++) {
        int k = i % 3;
        for (int p = 0; p < side * side * 3; p++)
            rgb[p] = (uint8_t)((p % 3 == k) * 120 + (p / 3 % side * (k + 1) + i * 37) % 90);
        snprintf(path, sizeof path, "%s/c%d/%d.ppm", name, k, i);
        FILE *f = fopen(path, "wb");
        CHECK(f && fprintf(f, "P6 %d %d 255\n", side, side) > 0);
        CHECK(fwrite(rgb, (size_t)side * (size_t)side * 3, 1, f) == 1 && !fclose(f));
    }
    free(rgb);
}
static void begin(int images, int side) {
    CHECK(!chdir(temp_dir()));
    write_set("target", 0, images, side);
    write_set("held", images, 2 * images, side);
    write_set("other", 2 * images, 3 * images, side);
}
/* Every kind of stage, and every part of a report. */
#define HEAD "[recipe]\nbackend = reference\nthreads = 2\nsave_every = 3\n"
#define NET(side)                                                                                                      \
    "[options]\narch = resnet10\nwidth = 16\nstem = small\nimage_size = " side "\nmoco_dim = 16\nbatch_size = "        \
    "8\nbn_group = 8\nmoco_k = 16\nprecision = fp32\neval_crop = full\nprobe_lr = 0.1\nprobe_steps = 6\n"              \
    "probe_eval_every = 2\nprobe_batch = 8\nft_batch = 8\nft_micro = 8\nft_lr = 0.01\nft_length = 4\n"                 \
    "ft_eval_every = 2\nknn_k = 3\n"
#define STAGES                                                                                                         \
    "[data target]\npath = target\nunique = 1\n[data held]\npath = held\ndrop_names = *none*\nwithout = target\n"      \
    "[data other]\npath = other\n[data few]\nfrom = target\nimages = 12\n"                                             \
    "[pretrain hpt]\ndata = target\nsweep.steps = 2, 4\n[refresh-bn base]\ninit = random\ndata = target\n"             \
    "[search source]\ninit = base\nsources = few, other\ntrain = target\nval = held\nsteps = 3\n"                      \
    "[linear probe]\nmodel = hpt\ntrain = target\ntest = held\nprobe_keep = 1\n"                                       \
    "[knn near]\nmodel = base\ntrain = target\ntest = held\n"                                                          \
    "[finetune tuned]\nmodel = base\ntrain = few\ntest = held\n[choose best]\nof = probe\nover = steps\n"              \
    "[similarity alike]\nof = hpt\nmetric = rv2\ndata = held\n[similarity wrong]\nof = probe\nmetric = iou\n"          \
    "[table all]\nstages = probe, near\n[plot lines]\nkind = lines\nstages = probe\n"                                  \
    "[plot heat]\nkind = heat\nof = alike\n[plot near]\nkind = closeness\nof = alike\nstages = probe\n"                \
    "[finding sure]\nclaim = more is more\nleft = probe[steps=4]\nright = probe[steps=2]\n"

static hpt_recipe *opened(void) {
    hpt_recipe *r = NULL;
    OK(hpt_recipe_open(NULL, "r.ini", "out", &r));
    return r;
}
/* Results and their table without times, as NAME.json and NAME.csv; the folder goes. */
static void keep_results(const char *name) {
    RUN("sed -E 's/\"([a-z]+_)?seconds\": [^,}]*/\"seconds\": 0/' out/results.json > %s.json && "
        "cut -d, -f1-13,15- out/results.csv > %s.csv && grep -c results out/report.html >/dev/null; "
        "test -s %s.json -a -s %s.csv && ! find out -name 'work.state' -o -name '*.tmp*' | grep . && rm -r out",
        name, name, name, name);
}
static void undisturbed(void) {
    hpt_recipe *r = opened();
    OK(hpt_recipe_run(r, NULL, NULL, NULL));
    hpt_recipe_destroy(r);
    keep_results("whole");
}
static void as_undisturbed(void) {
    keep_results("again");
    RUN("cmp whole.json again.json && cmp whole.csv again.csv");
}

/* Stops each place where it is asked once: a phase by its name, a stage by its own. */
enum { PLACES = 64, BY_FN = 0, BY_THREAD = 1, BY_STAGE_FN = 2 };
typedef struct stops {
    hpt_recipe *r;
    int how, n, bad;
    char stage[128], place[PLACES][128];
} stops;
static int fresh(stops *s, const char *place) {
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->place[i], place)) return 0;
    if (s->n < PLACES) snprintf(s->place[s->n++], sizeof s->place[0], "%s", place);
    return 1;
}
static void *cancels_recipe(void *r) {
    hpt_recipe_cancel(r);
    return NULL;
}
static int32_t each_place(void *user, const hpt_progress *p) {
    stops *s = user;
    pthread_t t;
    s->bad |= p->struct_size != sizeof *p || !p->name[0] || (p->total && p->done > p->total) || p->phase < 1 ||
              p->phase > HPT_PHASE_PREPARE;
    if (s->how == BY_STAGE_FN || !fresh(s, *s->stage ? s->stage : p->name)) return 0;
    if (s->how == BY_FN) return 1;
    s->bad |= pthread_create(&t, NULL, cancels_recipe, s->r) || pthread_join(t, NULL);
    return 0;
}
static int32_t each_stage(void *user, const hpt_recipe_progress *p) {
    stops *s = user;
    snprintf(s->stage, sizeof s->stage, "%s", p->event == HPT_RECIPE_END ? "" : p->name);
    return s->how == BY_STAGE_FN && p->event == HPT_RECIPE_STEP && fresh(s, p->name);
}
static int stopped_at(const stops *s, const char *place) {
    for (int i = 0; i < s->n; i++)
        if (strstr(s->place[i], place) == s->place[i]) return 1;
    return 0;
}

/* One handle is stopped everywhere, and its last run ends as one that nobody stopped. */
TEST_LIMIT(recipes_stop_everywhere_and_go_on, 240) {
    static const char *const stages[] = {"hpt steps=2", "hpt steps=4", "base",   "source", "probe", "near",
                                         "tuned",       "best",        "alike"};
    begin(24, 16);
    write_text("r.ini", HEAD NET("16") STAGES);
    undisturbed();
    for (int how = BY_FN; how <= BY_STAGE_FN; how++) {
        hpt_result *res = NULL;
        stops s = {.r = opened(), .how = how};
        int cancelled = 0;
        hpt_status st = HPT_ERR_CANCELLED;
        OK(hpt_recipe_set_progress(s.r, each_place, &s));
        while (st == HPT_ERR_CANCELLED) {
            *s.stage = 0;
            int before = s.n;
            st = hpt_recipe_run(s.r, each_stage, &s, &res);
            if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
            CHECK(!s.bad && (st != HPT_OK) == (s.n > before) && (st != HPT_OK) == (res == NULL));
            cancelled += st != HPT_OK;
        }
        hpt_result_destroy(res);
        hpt_recipe_destroy(s.r);
        printf("  %d stops\n", cancelled);
        for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
            if (!stopped_at(&s, stages[i]) && strcmp(stages[i], "best")) FAIL("never stopped in %s", stages[i]);
        if (how != BY_STAGE_FN) {
            CHECK(stopped_at(&s, "networks timed") && stopped_at(&s, "parts of the report"));
            CHECK(stopped_at(&s, "images found") || stopped_at(&s, "data sets and stages"));
        }
        as_undisturbed();
    }
}

/* Plan and report of one handle; what was cancelled is as it was before, and lines may be replaced again. */
static char *plan_text(hpt_recipe *r) {
    hpt_result *res;
    size_t n = 0;
    OK(hpt_recipe_plan(r, &res));
    OK(hpt_result_json(res, NULL, 0, &n));
    char *text = malloc(n), *p = text;
    OK(hpt_result_json(res, text, n, NULL));
    hpt_result_destroy(res);
    while ((p = strstr(p, "\"seconds"))) {
        size_t all = strcspn(p, ",\n}");
        memmove(p, p + all, strlen(p + all) + 1);
    }
    return text;
}
TEST_LIMIT(plans_and_reports_are_cancelled, 120) {
    hpt_result *res = NULL;
    begin(24, 16);
    write_text("r.ini", HEAD NET("16") STAGES);
    hpt_recipe *r = opened();
    char *want = plan_text(r);
    hpt_recipe_destroy(r);
    for (int twice = 0; twice < 2; twice++) {
        r = opened();
        stops s = {.r = r, .how = BY_THREAD};
        OK(hpt_recipe_set_progress(r, each_place, &s));
        for (int before = -1; before < s.n;) { /* until there is no new place */
            before = s.n;
            hpt_status st = hpt_recipe_plan(r, &res);
            if (st) CHECK(st == HPT_ERR_CANCELLED && !res && strstr(hpt_last_error(), "cancelled") && s.n > before);
            hpt_result_destroy(res);
            res = NULL;
            if (before == 0 && twice) { /* cancelled while the data were opened: nothing is planned yet */
                OK(hpt_recipe_set(r, "hpt.sweep.steps", "2, 4, 6"));
                write_text("s.ini", "");
                OK(hpt_recipe_set(r, "recipe.out", "elsewhere"));
            }
        }
        char *got = plan_text(r);
        CHECK(s.n >= 2 && !s.bad);
        if (twice) CHECK(strstr(got, "hpt steps=6"));
        else if (strcmp(want, got)) FAIL("%s\n%s", want, got);
        free(got);
        hpt_recipe_destroy(r);
    }
    /* asked for before a call: the next one hears it, and only that one */
    r = opened();
    OK(hpt_recipe_cancel(r));
    OK(hpt_recipe_cancel(r));
    FAILS(HPT_ERR_CANCELLED, "nothing ran", hpt_recipe_plan(r, &res));
    OK(hpt_recipe_plan(r, &res));
    hpt_result_destroy(res);
    OK(hpt_recipe_cancel(r));
    FAILS(HPT_ERR_CANCELLED, "report", hpt_recipe_report(r, &res));
    RUN("! ls out/report.html out/results.json out/results.csv 2>/dev/null");
    OK(hpt_recipe_report(r, &res));
    hpt_result_destroy(res);
    RUN("ls out/report.html out/results.json out/results.csv");
    hpt_recipe_destroy(r);
    free(want);
}

/* From another thread at any time, with one stage at a time and with two: back soon, and on again. */
typedef struct later { hpt_recipe *r; useconds_t after; double at; } later;
static void *cancels_later(void *arg) {
    later *l = arg;
    usleep(l->after);
    l->at = now();
    hpt_recipe_cancel(l->r);
    return NULL;
}
TEST_LIMIT(recipes_are_cancelled_from_another_thread, 300) {
    begin(24, 48);
    for (int jobs = 1; jobs < 3; jobs++) {
        double worst = 0;
        int stopped = 0;
        hpt_status st = HPT_ERR_CANCELLED;
        write_text("r.ini", jobs == 1 ? HEAD NET("16") STAGES : HEAD "jobs = 2\n" NET("16") STAGES);
        undisturbed();
        hpt_recipe *r = opened();
        for (useconds_t after = 3000; st == HPT_ERR_CANCELLED; after *= 2) {
            later l = {r, after, 0};
            pthread_t t;
            CHECK(!pthread_create(&t, NULL, cancels_later, &l));
            st = hpt_recipe_run(r, NULL, NULL, NULL);
            double end = now();
            pthread_join(t, NULL);
            if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
            stopped += st != HPT_OK;
            if (st && end - l.at > worst) worst = end - l.at;
        }
        hpt_recipe_destroy(r);
        printf("  jobs = %d: %d stopped, the slowest after %.0f ms\n", jobs, stopped, 1000 * worst);
        CHECK(stopped >= 5 && worst < SOON);
        as_undisturbed();
    }
}

/* hpt run: the first line, and Ctrl-C at any instant. --foreground: once; else timeout(1) also signals its own group,
 * and a second Ctrl-C ends at once. */
TEST_LIMIT(hpt_run_stops_at_any_instant, 300) {
    char hpt[4096];
    int in_plan = 0, in_stages = 0, stopped = 0;
    CHECK(realpath(HPT_TEST_BIN "/hpt", hpt));
    begin(36, 96);
    write_text("r.ini", HEAD NET("16") STAGES);
    RUN("%s run r.ini --out out", hpt);
    static const char *const first = ", fp32; target 36 images, 3 classes; held 36 images, 3 classes; other 36 images, "
                                     "3 classes; few 12 images, 3 classes\n";
    if (strncmp(output, "reference", 9) || !strstr(output, first)) FAIL("%s", output);
    RUN("%s run r.ini --out out --report 2>&1 >/dev/null | head -1", hpt);
    CHECK(!strncmp(output, "reference", 9) && strstr(output, first));
    RUN("%s run r.ini --out out --plan 2>&1 >/dev/null | head -1", hpt);
    CHECK(!strncmp(output, "reference", 9) && strstr(output, first));
    keep_results("whole");
    for (double after = 0.01;; after *= 1.4) {
        int rc = sh("timeout --foreground --preserve-status -s INT %.3f %s run r.ini --out out", after, hpt);
        if (!rc) break;
        if (rc != 130) FAIL("%d: %s", rc, output);
        in_plan += strstr(output, "before the first stage") != NULL;
        in_stages += strstr(output, "the same command goes on") != NULL;
        stopped++;
        if (*output && !strstr(output, "stopped ")) FAIL("%s", output);
    }
    printf("  stopped %d times, %d of them before the first stage\n", stopped, in_plan);
    CHECK(in_plan >= 1 && in_stages >= 1);
    as_undisturbed();
}

/* kill -9 at random instants and the same command again: what was done is kept, and the end is that of an
 * undisturbed run. */
TEST_LIMIT(hpt_run_survives_kills, 300) {
    char hpt[4096];
    unsigned draw = 20261125u;
    int killed = 0, rc = 137;
    CHECK(realpath(HPT_TEST_BIN "/hpt", hpt));
    begin(18, 8);
    write_text("r.ini", "[recipe]\nbackend = reference\nthreads = 1\nsave_every = 3\n" NET("8") STAGES);
    double whole = now();
    RUN("%s run r.ini --out out", hpt);
    whole = now() - whole;
    keep_results("whole");
    for (int round = 0; round < 7 && rc; round++) {
        draw = draw * 1103515245u + 12345u;
        double after = round < 6 ? 0.02 + whole * (double)(draw >> 8 & 1023) / 4096 : 1000;
        rc = sh("timeout --foreground --preserve-status -s KILL %.3f %s run r.ini --out out", after, hpt);
        if (rc && rc != 137) FAIL("%d: %s", rc, output);
        killed += rc != 0;
    }
    printf("  killed %d times, %.1f s undisturbed\n", killed, whole);
    CHECK(!rc && killed >= 2);
    as_undisturbed();
}

/* hpt similarity: on its way to the activations, and between the rows that are compared. */
TEST_LIMIT(hpt_similarity_stops_at_any_instant, 120) {
    char hpt[4096], *want = NULL, *got;
    int stopped = 0, comparing = 0;
    CHECK(realpath(HPT_TEST_BIN "/hpt", hpt));
    CHECK(!chdir(temp_dir()));
    write_set("target", 0, 120, 32);
    hpt_context *ctx = context("reference", 1);
    for (int i = 0; i < 2; i++) {
        hpt_config *c = config("arch=resnet10 width=16 stem=small");
        OK(hpt_config_set_int(c, "seed", i));
        hpt_model *m;
        OK(hpt_model_create(ctx, c, &m));
        OK(hpt_model_save(m, i ? "b.safetensors" : "a.safetensors", NULL));
        hpt_model_destroy(m);
        hpt_config_destroy(c);
    }
    hpt_context_destroy(ctx);
    for (double after = 0.02;; after *= 1.4) {
        int rc = sh("timeout --foreground --preserve-status -s INT %.3f %s similarity a.safetensors b.safetensors "
                    "--data target --arch resnet10 --width 16 --stem small --image_size 48 --eval_crop full "
                    "--layer layer1 --act_pool none --backend reference --threads 1 --json",
                    want ? after : 1000.0, hpt);
        if (rc && rc != 130) FAIL("%d: %s", rc, output);
        if (rc && *output && !strstr(output, "stopped")) FAIL("%s", output);
        stopped += rc != 0;
        comparing += strstr(output, "two representations") != NULL;
        if (rc) continue;
        CHECK((got = strstr(output, "\"rv2\"")) && (got = strdup(got)));
        if (want && strcmp(want, got)) FAIL("%s\n%s", want, got);
        int again = want != NULL;
        free(want);
        want = got;
        if (again) break;
    }
    free(want);
    printf("  stopped %d times, %d of them while comparing\n", stopped, comparing);
    CHECK(stopped >= 3);
}

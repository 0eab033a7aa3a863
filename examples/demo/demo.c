/* SPDX-License-Identifier: MIT
 * bin/demo [--out DIR] [--quick]: base = clip art from openclipart-png, target = Fashion-MNIST, both from Debian's
 * packages. Strategies: random weights, Base (batch-norm refresh), Target from scratch, HPT, HPT-BN at equal numbers
 * of target steps, and Target given the steps of base and HPT together. Linear probes with few labels on frozen
 * features. What is done is kept in DIR/runs: a second call goes on. */
#define _POSIX_C_SOURCE 200809L
#include "demo.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const int label_counts[KS] = {5, 20, 100};
const char *const class_names[CLASSES] = {"T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt",
                                          "sneaker", "bag", "ankle boot"};

#define CLIPART "/usr/share/openclipart/png"
#define FASHION "/usr/share/datasets/fashion-mnist/"
/* Set once, before any run, and not tuned: the same for every strategy. The probe's learning rate and stopping point
 * are chosen on 1,000 training images whose labels are kept apart; the test images are scored once in each probe. */
#define NETWORK "arch=resnet10 width=16 stem=small image_size=32 moco_dim=64"
#define TRAIN   "batch_size=128 bn_group=64 moco_k=2048 moco_m=0.99 moco_t=0.2 optimizer=adamw lr=0.003 " \
    "weight_decay=0.0001 aug_hue=0.1"
#define IMAGES  "alpha=white bad_image=skip cache=memory cache_side=48"
#define PROBE   "probe_scale=standard probe_lr=0.003,0.03,0.3 eval_crop=full"

static void die(const char *what) {
    fprintf(stderr, "demo: %s: %s\n", what, hpt_last_error());
    exit(1);
}
#define OK(call) do { if ((call) < 0) die(#call); } while (0)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static hpt_config *config(const char *pairs) {
    hpt_config *c;
    char copy[1024], *save = NULL;
    OK(hpt_config_create(NULL, &c));
    snprintf(copy, sizeof copy, "%s", pairs);
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(p, '=');
        *eq = 0;
        OK(hpt_config_set(c, p, eq + 1));
    }
    return c;
}

/* ---- progress: steps of all runs, shared by the workers ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double work_done, work_total, started;
static char doing[2][64];

static void show(int last) {
    static double shown;
    double t = now(), frac = work_total > 0 ? work_done / work_total : 1, left = frac > 0.01
        ? (t - started) / frac * (1 - frac) : 0;
    int tty = isatty(2);
    if (!last && t - shown < (tty ? 0.2 : 20)) return;
    shown = t;
    char bar[41];
    for (int i = 0; i < 40; i++) bar[i] = i < (int)(40 * frac) ? '=' : ' ';
    bar[40] = 0;
    char eta[16] = "--:--";
    if (frac > 0.01) snprintf(eta, sizeof eta, "%02d:%02d", (int)left / 60, (int)left % 60);
    fprintf(stderr, tty ? "\r\033[K[%s] %3.0f%%  %s left  %s  %s" : "[%s] %3.0f%%  %s left  %s  %s\n", bar, 100 * frac,
            eta, doing[0], doing[1]);
    if (last && tty) fprintf(stderr, "\n");
    fflush(stderr);
}
static void advance(double amount) {
    pthread_mutex_lock(&lock);
    work_done += amount;
    show(0);
    pthread_mutex_unlock(&lock);
}

/* ---- data ---- */

/* Clip art without the 1,378 near-identical stars, without blank images, and with every picture once (links and
 * "image not found" placeholders are many copies of one). */
static hpt_dataset *open_clipart(hpt_context *ctx, int quick) {
    hpt_config *c = config(IMAGES " eval_crop=full");
    hpt_dataset *all, *part;
    hpt_dataset_info info = {.struct_size = sizeof info};
    char name[4200];
    float mean[3], std[3];
    OK(hpt_dataset_open(ctx, c, CLIPART, &all));
    OK(hpt_dataset_get_info(all, &info));
    uint64_t *keep = malloc(sizeof *keep * info.count), n = 0, *hash = malloc(sizeof *hash * info.count);
    for (uint64_t i = 0; i < info.count; i++) {
        OK(hpt_dataset_name(all, i, name, sizeof name, NULL));
        if (!strstr(name, "/shapes/stars/") && (!quick || i % 16 == 0)) keep[n++] = i;
    }
    OK(hpt_dataset_subset(all, keep, n, &part));
    hpt_dataset_destroy(all);
    OK(hpt_dataset_stats(part, mean, std));         /* decodes everything once, on all processors */
    uint64_t kept = 0, *order = malloc(sizeof *order * n);
    uint8_t *rgb = malloc(SIDE * SIDE * 3);
    for (uint64_t i = 0; i < n; i++) {
        double s = 0, ss = 0;
        uint64_t h = 1469598103934665603u;
        hpt_status st = hpt_dataset_image(part, c, i, SIDE, rgb);
        if (st == HPT_ERR_DATA) continue;       /* unreadable: bad_image=skip leaves it to us */
        OK(st);
        for (int p = 0; p < SIDE * SIDE * 3; p++) {
            h = (h ^ rgb[p]) * 1099511628211u;
            s += rgb[p];
            ss += (double)rgb[p] * rgb[p];
        }
        s /= SIDE * SIDE * 3;
        int fresh = sqrt(ss / (SIDE * SIDE * 3) - s * s) > 4;
        for (uint64_t k = 0; k < kept && fresh; k++) fresh = hash[k] != h;
        if (!fresh) continue;
        hash[kept] = h;
        order[kept++] = i;
    }
    hpt_dataset *base;
    OK(hpt_dataset_subset(part, order, kept, &base));
    OK(hpt_dataset_get_info(part, &info));
    fprintf(stderr, "base: %llu drawings (of %llu; %u unreadable ones, blank ones and copies left out)\n",
            (unsigned long long)kept, (unsigned long long)n, info.bad_images);
    hpt_dataset_destroy(part);
    hpt_config_destroy(c);
    free(keep); free(hash); free(order); free(rgb);
    return base;
}

static void open_data(demo *d, int quick) {
    hpt_config *c = config("pad=2 invert=1");
    hpt_dataset *test, *rest, *rest2;
    d->base = open_clipart(d->ctx, quick);
    OK(hpt_dataset_open(d->ctx, c, FASHION "train-images-idx3-ubyte.gz", &d->target));
    OK(hpt_dataset_open(d->ctx, c, FASHION "t10k-images-idx3-ubyte.gz", &test));
    OK(hpt_dataset_per_class(d->target, 100, 1, &d->val, &rest));
    OK(hpt_dataset_per_class(rest, 200, 2, &d->pool, &rest2));
    OK(hpt_dataset_per_class(test, quick ? 50 : 400, 3, &d->test, NULL));
    hpt_dataset_destroy(test);
    hpt_dataset_destroy(rest);
    hpt_dataset_destroy(rest2);
    hpt_config_destroy(c);
}
/* A handle of its own for a worker: pixels are shared. */
static hpt_dataset *view_of(hpt_dataset *ds) {
    hpt_dataset_info info = {.struct_size = sizeof info};
    hpt_dataset *out;
    OK(hpt_dataset_get_info(ds, &info));
    uint64_t *index = malloc(sizeof *index * info.count);
    for (uint64_t i = 0; i < info.count; i++) index[i] = i;
    OK(hpt_dataset_subset(ds, index, info.count, &out));
    free(index);
    return out;
}

/* ---- one run ---- */

typedef struct worker {
    demo *d;
    int seed, slot;
    hpt_context *ctx;
    hpt_dataset *base, *target, *pool, *val, *test;
} worker;

enum { PROBE_COST = 60 };       /* of a model, in steps, for the time left */
static double step_cost(const char *strategy) { return !strcmp(strategy, "hpt-bn") ? 0.8 : 1; }

typedef struct watch { run *r; double cost; int every; } watch;
static int32_t on_step(void *user, const hpt_step_info *i) {
    watch *w = user;
    if (w->r && i->step % (uint64_t)w->every == 0 && w->r->n_curve < CURVE) {
        w->r->curve_step[w->r->n_curve] = (double)i->step;
        w->r->curve_loss[w->r->n_curve++] = i->loss;
    }
    advance(w->cost);
    return 0;
}

static void train(worker *w, hpt_model *m, hpt_dataset *ds, int steps, int seed, int bn, run *r) {
    hpt_config *c = config(NETWORK " " TRAIN " workers=1");
    hpt_session *s;
    watch eye = {r, bn ? step_cost("hpt-bn") : 1, steps > CURVE ? steps / CURVE + 1 : 1};
    OK(hpt_config_set_int(c, "steps", steps));
    OK(hpt_config_set_int(c, "seed", seed));
    if (bn) OK(hpt_config_set(c, "train", "bn"));
    OK(hpt_session_create(w->ctx, c, m, ds, &s));
    OK(hpt_session_run(s, on_step, &eye));
    hpt_session_destroy(s);
    hpt_config_destroy(c);
}

static float *features(hpt_model *m, hpt_dataset *ds, int32_t **labels, uint64_t *n, uint32_t *dim) {
    hpt_config *c = config("image_size=32 batch_size=250 workers=1 eval_crop=full");
    hpt_dataset_info di = {.struct_size = sizeof di};
    hpt_model_info mi = {.struct_size = sizeof mi};
    OK(hpt_dataset_get_info(ds, &di));
    OK(hpt_model_get_info(m, &mi));
    float *x = malloc(sizeof *x * di.count * mi.feature_dim);
    *labels = malloc(sizeof **labels * di.count);
    OK(hpt_model_features(m, ds, c, x, di.count * mi.feature_dim));
    for (uint64_t i = 0; i < di.count; i++) OK(hpt_dataset_label(ds, i, &(*labels)[i]));
    *n = di.count;
    *dim = mi.feature_dim;
    hpt_config_destroy(c);
    return x;
}

/* Probes with k labels of each class, DRAWS times; the draws are the same for every strategy. */
static void probe(worker *w, hpt_model *m, run *r) {
    uint64_t n_pool, n_val, n_test;
    uint32_t dim;
    int32_t *y_pool, *y_val, *y_test;
    hpt_config *c = config(PROBE " probe_batch=256 probe_eval_every=25");
    OK(hpt_config_set_int(c, "probe_steps", w->d->p.probe_steps));
    float *pool = features(m, w->pool, &y_pool, &n_pool, &dim), *val = features(m, w->val, &y_val, &n_val, &dim),
        *test = features(m, w->test, &y_test, &n_test, &dim);
    float *x = malloc(sizeof *x * n_pool * dim);
    int32_t *y = malloc(sizeof *y * n_pool);
    for (int k = 0; k < KS; k++)
        for (int draw = 0; draw < DRAWS; draw++) {
            uint64_t n = 0, at = 0;
            int got[CLASSES] = {0};
            unsigned state = (unsigned)(w->seed * 1000 + draw * 10 + k) * 2654435761u + 12345u;
            unsigned start = state >> 8;
            for (uint64_t i = 0; i < n_pool; i++) {     /* a walk through the pool with a step prime to its size */
                at = (start + i * 1789u) % n_pool;
                if (got[y_pool[at]] == label_counts[k]) continue;
                got[y_pool[at]]++;
                memcpy(x + n * dim, pool + at * dim, sizeof *x * dim);
                y[n++] = y_pool[at];
            }
            hpt_result *res;
            OK(hpt_config_set_int(c, "seed", draw));
            OK(hpt_linear_features(w->ctx, c, dim, CLASSES, x, y, n, val, y_val, n_val, test, y_test, n_test, &res));
            OK(hpt_result_number(res, "test_top1", &r->acc[k][draw]));
            OK(hpt_result_number(res, "val_top1", &r->val[k][draw]));
            r->n_acc[k] = draw + 1;
            hpt_result_destroy(res);
        }
    free(pool); free(val); free(test); free(x); free(y); free(y_pool); free(y_val); free(y_test);
    hpt_config_destroy(c);
    advance(PROBE_COST);
}

/* ---- files of runs ---- */

static void run_path(const demo *d, const run *r, const char *end, char *path, size_t size) {
    snprintf(path, size, "%s/runs/%s-%d-seed%d%s", d->out, r->strategy, r->steps, r->seed, end);
}
static void save_run(const demo *d, const run *r) {
    char path[4096], temp[4200];
    json_t *acc = json_array(), *val = json_array(), *curve = json_array();
    for (int k = 0; k < KS; k++) {
        json_t *a = json_array(), *v = json_array();
        for (int i = 0; i < r->n_acc[k]; i++)
            json_array_append_new(a, json_real(r->acc[k][i])), json_array_append_new(v, json_real(r->val[k][i]));
        json_array_append_new(acc, a);
        json_array_append_new(val, v);
    }
    for (int i = 0; i < r->n_curve; i++)
        json_array_append_new(curve, json_pack("[f,f]", r->curve_step[i], r->curve_loss[i]));
    json_t *j = json_pack("{s:i,s:f,s:o,s:o,s:o}", "total_steps", r->total_steps, "seconds", r->seconds, "test", acc,
                          "val", val, "curve", curve);
    run_path(d, r, ".json", path, sizeof path);
    snprintf(temp, sizeof temp, "%s.tmp", path);
    if (json_dump_file(j, temp, JSON_COMPACT) || rename(temp, path))
        fprintf(stderr, "demo: %s: %s\n", path, strerror(errno)), exit(1);
    json_decref(j);
}
static int load_run(const demo *d, run *r) {
    char path[4096];
    run_path(d, r, ".json", path, sizeof path);
    json_t *j = json_load_file(path, 0, NULL), *acc = json_object_get(j, "test"), *val = json_object_get(j, "val"),
        *curve = json_object_get(j, "curve");
    int ok = json_array_size(acc) == KS;
    for (int k = 0; k < KS && ok; k++) {
        r->n_acc[k] = (int)json_array_size(json_array_get(acc, (size_t)k));
        ok = r->n_acc[k] == DRAWS;
        for (int i = 0; i < r->n_acc[k] && ok; i++) {
            r->acc[k][i] = json_number_value(json_array_get(json_array_get(acc, (size_t)k), (size_t)i));
            r->val[k][i] = json_number_value(json_array_get(json_array_get(val, (size_t)k), (size_t)i));
        }
    }
    r->seconds = json_number_value(json_object_get(j, "seconds"));
    for (r->n_curve = 0; ok && r->n_curve < (int)json_array_size(curve) && r->n_curve < CURVE; r->n_curve++) {
        r->curve_step[r->n_curve] = json_number_value(json_array_get(json_array_get(curve, (size_t)r->n_curve), 0));
        r->curve_loss[r->n_curve] = json_number_value(json_array_get(json_array_get(curve, (size_t)r->n_curve), 1));
    }
    json_decref(j);
    return ok;
}

/* ---- the runs of one seed, in order ---- */

static hpt_model *model(worker *w, const char *path) {
    hpt_config *c = config(NETWORK);
    hpt_model *m;
    OK(hpt_config_set_int(c, "seed", w->seed));
    OK(path ? hpt_model_load(w->ctx, c, path, &m, NULL) : hpt_model_create(w->ctx, c, &m));
    hpt_config_destroy(c);
    return m;
}
static void refresh(worker *w, hpt_model *m) {
    hpt_config *c = config("image_size=32 batch_size=250 workers=1 eval_crop=full refresh_images=10000");
    OK(hpt_model_refresh_bn(m, w->target, c, NULL));
    hpt_config_destroy(c);
}

static void do_run(worker *w, run *r) {
    char base[4096], path[4096];
    snprintf(base, sizeof base, "%s/runs/base-seed%d.safetensors", w->d->out, w->seed);
    double t0 = now();
    int scratch = !strcmp(r->strategy, "target") || !strcmp(r->strategy, "random");
    snprintf(doing[w->slot], sizeof doing[0], "%s %d (seed %d)", r->strategy, r->steps, r->seed);
    if (!scratch && access(base, R_OK)) {           /* the base model is trained once for each seed */
        snprintf(doing[w->slot], sizeof doing[0], "base training (seed %d)", r->seed);
        hpt_model *b = model(w, NULL);
        train(w, b, w->base, w->d->p.base, w->seed, 0, r);
        OK(hpt_model_save(b, base, NULL));
        hpt_model_destroy(b);
    }
    hpt_model *m = model(w, scratch ? NULL : base);
    if (!strcmp(r->strategy, "base")) refresh(w, m);    /* only batch-norm statistics meet the target */
    else if (r->steps) train(w, m, w->target, r->steps, w->seed + 100, !strcmp(r->strategy, "hpt-bn"), r);
    run_path(w->d, r, ".safetensors", path, sizeof path);
    OK(hpt_model_save(m, path, NULL));
    probe(w, m, r);
    r->seconds = now() - t0;
    save_run(w->d, r);
    hpt_model_destroy(m);
}

static void *work(void *arg) {
    worker *w = arg;
    for (int i = 0; i < w->d->n_runs; i++)
        if (w->d->runs[i].seed == w->seed && !w->d->runs[i].n_acc[0]) do_run(w, &w->d->runs[i]);
    return NULL;
}

static void add_run(demo *d, const char *strategy, int steps, int seed) {
    d->runs = realloc(d->runs, sizeof *d->runs * (size_t)(d->n_runs + 1));
    run *r = &d->runs[d->n_runs++];
    memset(r, 0, sizeof *r);
    r->strategy = strategy;
    r->steps = steps;
    r->seed = seed;
    r->total_steps = steps + (!strcmp(strategy, "target") || !strcmp(strategy, "random") ? 0 : d->p.base);
}

/* Keeps a result only if it came from the same plan. */
static int same_plan(const demo *d) {
    char path[4096], text[400], old[400] = "";
    snprintf(text, sizeof text, NETWORK " " TRAIN " " PROBE " base=%d lengths=%d,%d,%d long=%d probe=%d version=%s\n",
             d->p.base, d->p.lengths[0], d->p.lengths[1], d->p.lengths[2], d->p.long_target, d->p.probe_steps,
             hpt_version_string());
    snprintf(path, sizeof path, "%s/runs/plan.txt", d->out);
    FILE *f = fopen(path, "r");
    if (f) {
        if (!fgets(old, sizeof old, f)) old[0] = 0;
        fclose(f);
        if (!strcmp(old, text)) return 1;
        fprintf(stderr, "demo: %s holds results of other settings; remove the folder or give --out\n", d->out);
        return 0;
    }
    if (!(f = fopen(path, "w")) || fputs(text, f) < 0 || fclose(f))
        fprintf(stderr, "demo: %s: %s\n", path, strerror(errno)), exit(1);
    return 1;
}

int main(int argc, char **argv) {
    demo d = {.out = "demo/out", .p = {450, {30, 100, 300}, 3, 750, 2, 300}};
    int quick = 0, threads = 0;
    char path[4096];
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--quick")) quick = 1;
        else if (!strcmp(argv[i], "--out") && i + 1 < argc) d.out = argv[++i];
        else
            return fprintf(stderr,
                           "usage: demo [--out DIR] [--quick]\n  --quick: a few steps, to see that everything runs; "
                           "its numbers mean nothing\n"), 2;
    if (quick) d.p = (plan){4, {2, 3, 4}, 3, 8, 2, 20};
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", d.out);
    for (char *p = dir + 1; *p; p++)
        if (*p == '/') *p = 0, mkdir(dir, 0777), *p = '/';
    mkdir(dir, 0777);
    snprintf(path, sizeof path, "%s/runs", d.out);
    if (mkdir(path, 0777) && errno != EEXIST) return fprintf(stderr, "demo: %s: %s\n", path, strerror(errno)), 1;
    if (!same_plan(&d)) return 1;
    for (int seed = 0; seed < d.p.seeds; seed++) {
        add_run(&d, "random", 0, seed);
        add_run(&d, "base", 0, seed);
        for (int l = 0; l < d.p.n_lengths; l++) {
            add_run(&d, "target", d.p.lengths[l], seed);
            add_run(&d, "hpt", d.p.lengths[l], seed);
            add_run(&d, "hpt-bn", d.p.lengths[l], seed);
        }
        add_run(&d, "target", d.p.long_target, seed);
    }
    int todo = 0;
    for (int i = 0; i < d.n_runs; i++) {
        run *r = &d.runs[i];
        if (load_run(&d, r)) continue;
        memset(r->n_acc, 0, sizeof r->n_acc);
        r->n_curve = 0;
        todo++;
        work_total += r->steps * step_cost(r->strategy) + PROBE_COST + (!strcmp(r->strategy, "base") ? d.p.base : 0);
    }
    snprintf(path, sizeof path, "%s/report.html", d.out);
    if (!todo && !access(path, R_OK)) {
        print_table(&d, stdout);
        printf("\nAlready done. Report: %s   (make demo again from scratch: rm -r %s)\n", path, d.out);
        return 0;
    }
    hpt_config *c = config("threads=0");
    OK(hpt_context_create(c, &d.ctx));
    OK(hpt_context_describe(d.ctx, d.machine, sizeof d.machine, NULL));
    fprintf(stderr, "libhpt %s, %s\n", hpt_version_string(), d.machine);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    threads = cpus > d.p.seeds ? (int)(cpus / d.p.seeds) : 1;
    started = now();
    open_data(&d, quick);
    worker w[2];
    pthread_t id[2];
    started = now();
    for (int s = 0; s < d.p.seeds; s++) {           /* one seed in each of two threads, sessions side by side */
        OK(hpt_config_set_int(c, "threads", threads));
        w[s] = (worker){.d = &d, .seed = s, .slot = s, .base = view_of(d.base), .target = view_of(d.target),
                        .pool = view_of(d.pool), .val = view_of(d.val), .test = view_of(d.test)};
        OK(hpt_context_create(c, &w[s].ctx));
        if (pthread_create(&id[s], NULL, work, &w[s])) return fprintf(stderr, "demo: no thread\n"), 1;
    }
    for (int s = 0; s < d.p.seeds; s++) {
        pthread_join(id[s], NULL);
        hpt_dataset_destroy(w[s].base);
        hpt_dataset_destroy(w[s].target);
        hpt_dataset_destroy(w[s].pool);
        hpt_dataset_destroy(w[s].val);
        hpt_dataset_destroy(w[s].test);
        hpt_context_destroy(w[s].ctx);
    }
    work_done = work_total;
    show(1);
    d.seconds = now() - started;
    if (write_summary(&d) || write_report(&d)) return 1;
    print_table(&d, stdout);
    printf("\n");
    findings(&d, stdout, "", "\n");
    printf("\nReport: %s\n", path);
    hpt_dataset_destroy(d.base);
    hpt_dataset_destroy(d.target);
    hpt_dataset_destroy(d.pool);
    hpt_dataset_destroy(d.val);
    hpt_dataset_destroy(d.test);
    hpt_context_destroy(d.ctx);
    hpt_config_destroy(c);
    free(d.runs);
    return 0;
}

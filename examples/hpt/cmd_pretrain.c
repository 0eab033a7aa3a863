/* SPDX-License-Identifier: MIT
 * hpt pretrain, train, adapt-domain: one stage, in a run directory (rundir.h says what is in it). Saves, resumes,
 * watches, and ends with the model's files. What is each command's own stands in its run_kind. */
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include "run.h"
#include "rundir.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    const run_kind *kind;
    hpt_session *s;
    hpt_dataset *set[RUN_SETS];     /* those of kind->sets that were given, the first is trained on */
    const char *name[RUN_SETS];
    int sets;
    progress bar;
    rundir dir;
    unsigned long long save_every;
    hpt_status save_status;
    int quiet; /* a rank other than 0: writes nothing */
} run;

static int32_t after_step(void *user, const hpt_step_info *i) {
    run *r = user;
    char text[160];
    if (r->quiet) return cli_interrupted();
    int n = snprintf(text, sizeof text, "loss %.3f", i->loss);
    if (isfinite(i->chance))        /* of a method that tells images apart */
        n += snprintf(text + n, sizeof text - (size_t)n, " (chance %.2f)  acc1 %.1f", i->chance, i->acc1);
    if (isfinite(i->z_std)) n += snprintf(text + n, sizeof text - (size_t)n, "  z_std %.2f", i->z_std);
    if (isfinite(i->entropy)) n += snprintf(text + n, sizeof text - (size_t)n, "  entropy %.2f", i->entropy);
    snprintf(text + n, sizeof text - (size_t)n, "  wait %.0f%%", i->step_ms > 0 ? 100 * i->wait_ms / i->step_ms : 0);
    progress_show(&r->bar, i->step, text);
    rundir_step(&r->dir, i);
    if (r->save_every && i->step % r->save_every == 0 && i->step < i->steps) {
        rundir_flush(&r->dir);
        if ((r->save_status = hpt_session_save(r->s, r->dir.checkpoint))) return 1;
    }
    return cli_interrupted();
}

/* ---- what was run: args.json ---- */

static const char *const own[] = {"data", "init", "monitor-train", "monitor-val", "save-every",
                                  "source", "labelled", "unlabelled", "val", "test"};
enum { OWN = sizeof own / sizeof *own };

/* The session as a result: what its numbers rest on, as it came out on this machine. */
static json_t *session_json(const run *r) {
    hpt_result *res = NULL;
    char *text = hpt_session_result(r->s, &res) ? NULL : cli_json(res);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    hpt_result_destroy(res);
    return j;
}

static const char *const facts[] = {"backend", "precision", "threads", "pixel_mean", "pixel_std", "pixels_from",
                                    "pixel_statistics"};
enum { FACTS = sizeof facts / sizeof *facts };

/* A text of the command line, whatever its bytes: those that are no UTF-8 stand in KEY-bytes too. */
static void keep_text(json_t *to, const char *key, const char *text) {
    char name[40];
    json_t *valid = json_string(text), *bytes = valid ? NULL : json_array();
    json_decref(valid);
    cli_json_text(to, key, text);
    for (const char *p = text; bytes && *p; p++) json_array_append_new(bytes, json_integer((unsigned char)*p));
    snprintf(name, sizeof name, "%s-bytes", key);
    if (bytes) json_object_set_new(to, name, bytes);
}
/* free() it; NULL if it is not there. */
static char *kept_text(const json_t *from, const char *key) {
    char name[40];
    const char *text = json_string_value(json_object_get(from, key));
    snprintf(name, sizeof name, "%s-bytes", key);
    json_t *bytes = json_object_get(from, name), *one;
    if (!bytes) return text ? strdup(text) : NULL;
    char *raw = calloc(json_array_size(bytes) + 1, 1);
    size_t i;
    if (raw) json_array_foreach(bytes, i, one) raw[i] = (char)json_integer_value(one);
    return raw;
}

/* {"run": {"data": ..., "init": ..., "machine": ..., "precision": ...}, and every option as it was given} */
static json_t *describe_run(const cli *c, const hpt_dataset *ds, const char *machine, const json_t *session) {
    static const char *const stages[] = {"context", "dataset", "model", "pretrain"};
    json_t *all = json_object(), *r = json_object();
    json_object_set_new(r, "libhpt", json_string(hpt_version_string()));
    json_object_set_new(r, "machine", json_string(machine));
    for (int i = 0; i < FACTS; i++) json_object_set(r, facts[i], json_object_get(session, facts[i]));
    hpt_dataset_info d = {.struct_size = sizeof d};
    if (!hpt_dataset_get_info(ds, &d)) {
        json_object_set_new(r, "images", json_integer((json_int_t)d.count));
        json_object_set_new(r, "classes", json_integer((json_int_t)d.classes));
    }
    for (int i = 0; i < OWN; i++)
        if (cli_value(c, own[i])) keep_text(r, own[i], cli_value(c, own[i]));
    json_object_set_new(all, "run", r);
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        size_t n = 0;
        hpt_config_json(c->cfg, stages[i], NULL, 0, &n);
        char *text = malloc(n + 1);
        json_t *part = text && !hpt_config_json(c->cfg, stages[i], text, n, NULL) ? json_loads(text, 0, NULL) : NULL;
        if (part) json_object_update(all, part);
        json_decref(part);
        free(text);
    }
    return all;
}

/* A resumed run has the options of args.json; what is typed too goes before them, and the library refuses what
 * contradicts the checkpoint. */
static int restore_run(cli *c, const json_t *args) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)args, key, v) {
        hpt_status st = HPT_OK;
        if (cli_typed(c, key)) continue;
        if (json_is_integer(v))
            st = hpt_config_set_int(c->cfg, key, json_integer_value(v));
        else if (json_is_real(v))
            st = hpt_config_set_float(c->cfg, key, json_real_value(v));
        else if (json_is_string(v))
            st = hpt_config_set(c->cfg, key, json_string_value(v));
        if (st) return fprintf(stderr, "hpt %s: args.json of the run: %s\n", c->command, hpt_last_error()), 1;
    }
    const char *preset = json_string_value(json_object_get(args, "preset"));
    char typed[32] = "";
    hpt_config_get(c->cfg, "preset", typed, sizeof typed, NULL);
    if (cli_typed(c, "preset") && strcmp(typed, preset ? preset : "none"))
        return fprintf(stderr, "hpt %s: --preset was %s in the run and is %s now\n", c->command,
                       preset ? preset : "none", typed), 1;
    static char *kept[OWN];         /* to the end of the program, as what was typed */
    const json_t *r = json_object_get(args, "run");
    for (int i = 0; i < OWN; i++) {
        char *was = kept_text(r, own[i]);
        const char *now = cli_value(c, own[i]);
        if (was && now && !strcmp(own[i], "init") && strcmp(was, now))
            return fprintf(stderr, "hpt %s: --init was %s in the run and is %s now\n", c->command, was, now), 1;
        if (was && !now)
            cli_give(c, own[i], kept[i] = was);
        else
            free(was);
    }
    return 0;
}

/* A run goes on anywhere, but to the same bits only where it was; plain C computes alike with any number of threads. */
static void note_machine(const cli *c, const json_t *args) {
    char now[256] = "";
    const char *was = json_string_value(json_object_get(json_object_get(args, "run"), "machine"));
    hpt_context_describe(c->ctx, now, sizeof now, NULL);
    if (was && strcmp(was, now) && (strncmp(was, "reference", 9) || strncmp(now, "reference", 9)))
        cli_note(0, "note: the run began on %s, now it is %s: its end is not bit for bit that of an undisturbed run",
                 was, now);
}

/* ---- training ---- */

static hpt_status open_monitor(cli *c, run *r) {
    hpt_dataset *vote = NULL, *scored = NULL;
    const char *train = cli_value(c, "monitor-train"), *val = cli_value(c, "monitor-val");
    if (!train) return HPT_OK;
    hpt_status st = cli_dataset(c, "monitor-train", train, &vote);
    if (!st) st = cli_dataset(c, "monitor-val", val, &scored);
    hpt_dataset_info d = {.struct_size = sizeof d};
    if (!st && !(st = hpt_dataset_get_info(vote, &d)) && d.labelled == 2) r->dir.score = "kNN AUROC";
    if (!st) st = hpt_session_monitor(r->s, vote, scored);
    hpt_dataset_destroy(vote);
    hpt_dataset_destroy(scored);
    return st;
}
/* The first of the kind's sets is there; the others have the session's roles as their names. */
static hpt_status open_sets(cli *c, run *r) {
    hpt_status st = HPT_OK;
    for (int i = 1; i < RUN_SETS && r->kind->sets[i] && !st; i++) {
        const char *path = cli_value(c, r->kind->sets[i]);
        if (!path) continue;
        if ((st = cli_dataset(c, r->kind->sets[i], path, &r->set[r->sets]))) break;
        r->name[r->sets] = r->kind->sets[i];
        st = hpt_session_data(r->s, r->name[r->sets], r->set[r->sets]);
        r->sets++;
    }
    return st;
}

/* The session exists and everything can be written: the run begins, with a checkpoint of step 0, or goes on. */
static int begin(cli *c, run *r, int resume, const char *machine) {
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_status st = HPT_OK;
    if (resume) st = hpt_session_resume(r->s, r->dir.checkpoint);
    if (!st && !resume && !r->quiet) st = hpt_session_save(r->s, r->dir.checkpoint);
    if (st) return cli_fail(c->command, st);
    hpt_session_get_info(r->s, &info);
    if (!r->quiet) {
        json_t *j = session_json(r), *args = resume ? NULL : describe_run(c, r->set[0], machine, j);
        char *line = cli_line(c, r->name, r->set, r->sets);
        int rc = !line || (!resume && rundir_args(&r->dir, args)) || rundir_open(&r->dir, info.step, line);
        json_decref(args);
        json_decref(j);
        if (!rc) cli_say(line);
        free(line);
        if (rc) return 1;
        if (resume)
            fprintf(stderr, "resumed after step %llu of %llu\n", (unsigned long long)info.step,
                    (unsigned long long)info.steps);
        progress_begin(&r->bar, info.step, info.steps);
    } else
        cli_say(NULL);
    return 0;
}

static hpt_status export_model(run *r, hpt_model *m) {
    static const char *const names[] = {"exported/backbone.pth", "exported/model.safetensors"};
    hpt_status st = HPT_OK;
    for (int i = 0; i < 2 && !st; i++) {
        char *path = rundir_path(&r->dir, names[i]);
        st = path ? hpt_model_save(m, path, NULL) : HPT_ERR_MEMORY;
        free(path);
    }
    return st;
}

/* score: of the kind's own end, or NULL */
static void print_end(const cli *c, const run *r, const hpt_step_info *i, const json_t *score, double took) {
    const char *key;
    json_t *v;
    char *path = rundir_path(&r->dir, "exported/backbone.pth");
    if (cli_value(c, "json")) {
        json_t *j = json_pack("{s:I}", "steps", (json_int_t)i->step);
        cli_json_number(j, "loss", r->dir.loss);
        json_t *session = session_json(r);
        /* those that the method has */
        static const char *const said[] = {"chance", "contrast_acc1", "train_top1", "z_std", "entropy", "entropy_loss"};
        for (size_t k = 0; k < sizeof said / sizeof *said; k++)
            json_object_set(j, said[k], json_object_get(session, said[k]));
        cli_json_number(j, "seconds", took);
        for (int k = 0; k < FACTS; k++) json_object_set(j, facts[k], json_object_get(session, facts[k]));
        static const char *const unread[] = {"unreadable_images", "unreadable"};
        for (int k = 0; k < 2; k++) json_object_set(j, unread[k], json_object_get(session, unread[k]));
        json_decref(session);
        if (isfinite(i->entropy)) cli_json_number(j, "entropy", i->entropy);
        if (i->monitor_step) {
            cli_json_number(j, "monitor_best", i->monitor_best);
            json_object_set_new(j, "monitor_best_step", json_integer((json_int_t)i->monitor_best_step));
        }
        json_object_foreach((json_t *)(uintptr_t)score, key, v) if (!json_object_get(j, key)) json_object_set(j, key,
            v);
        if (path) cli_json_text(j, "backbone", path);
        char *text = json_dumps(j, JSON_REAL_PRECISION(8));
        printf("%s\n", text ? text : "");
        free(text);
        json_decref(j);
    } else
        printf("%s\n", path ? path : "");
    free(path);
}

static int train(cli *c, run *r, hpt_model *m, int resume) {
    char machine[256] = "", why[1024];
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_context_describe(c->ctx, machine, sizeof machine, NULL);
    int begun = begin(c, r, resume, machine);
    if (begun) return begun;
    double t0 = seconds();
    hpt_status st = hpt_session_run(r->s, after_step, r);
    if (!r->quiet) progress_end(&r->bar);
    if (r->save_status) st = r->save_status;
    snprintf(why, sizeof why, "%s", hpt_last_error());
    hpt_session_get_info(r->s, &info);
    int stopped = st == HPT_ERR_CANCELLED && cli_interrupted();
    if (r->quiet) return stopped ? 130 : st ? cli_fail(c->command, st) : 0;
    unsigned long long step = info.step;
    rundir_score(&r->dir, &info);
    rundir_flush(&r->dir);
    /* Another rank is gone: what this one has is as after the last whole step, unless it lies on a GPU. */
    hpt_status saved =
        st == HPT_OK || stopped || st == HPT_ERR_PEER ? hpt_session_save(r->s, r->dir.checkpoint) : HPT_OK;
    if (saved && st != HPT_ERR_PEER) snprintf(why, sizeof why, "%s", hpt_last_error());
    if (saved && st != HPT_ERR_PEER) st = saved;
    if (st == HPT_ERR_PEER && !saved)
        fprintf(stderr, "hpt %s: saved after step %llu; start all ranks again with --resume\n", c->command, step);
    if (st == HPT_OK && (st = export_model(r, m))) snprintf(why, sizeof why, "%s", hpt_last_error());
    char text[1200], last[200] = "";
    json_t *score = NULL;
    if (st == HPT_OK && r->kind->end && (st = r->kind->end(c, m, r->name, r->set, r->sets, &score, last, sizeof last)))
        snprintf(why, sizeof why, "%s", hpt_last_error());
    if (st == HPT_OK) {
        rundir_close_epoch(&r->dir);
        snprintf(text, sizeof text, "done after step %llu, %.1f s, loss %.4f%s%s", step, seconds() - t0, r->dir.loss,
                 *last ? ", " : "", last);
    } else
        snprintf(text, sizeof text, "%s after step %llu, %.1f s", stopped && !saved ? "interrupted" : why, step,
                 seconds() - t0);
    rundir_end(&r->dir, text);
    if (stopped && !saved) {
        fprintf(stderr, "stopped at step %llu; `hpt %s --out %s --resume` continues\n", step, c->command, r->dir.dir);
        return 130;
    }
    if (st) fprintf(stderr, "hpt: %s: %s (%s)\n", c->command, why, hpt_status_name(st));
    else {
        if (*last && !cli_value(c, "json")) printf("%s\n", last);
        print_end(c, r, &info, score, seconds() - t0);
    }
    json_decref(score);
    return st != HPT_OK;
}

/* Their statistics stand in the folder of the run, unless the user wants them elsewhere. */
static hpt_status open_images(cli *c, const char *what, const char *out, hpt_dataset **ds) {
    char given[4200] = "", path[4200];
    hpt_config_get(c->cfg, "stats_file", given, sizeof given, NULL);
    int ours = out && !*given && (size_t)snprintf(path, sizeof path, "%s/stats.json", out) < sizeof path;
    hpt_status st = ours ? hpt_config_set(c->cfg, "stats_file", path) : HPT_OK;
    if (!st) st = cli_dataset(c, what, cli_value(c, what), ds);
    if (ours) hpt_config_set(c->cfg, "stats_file", ""); /* args.json tells of options, not of folders */
    return st;
}

static void tell_unreadable(const char *what, const hpt_dataset *ds) {
    hpt_dataset_info di = {.struct_size = sizeof di};
    char name[4200];
    if (!ds || hpt_dataset_get_info(ds, &di) || !di.bad_images) return;
    fprintf(stderr, "%s: %llu images, %u unreadable (others stood in):\n", what,
            (unsigned long long)di.count - di.bad_images, di.bad_images);
    for (unsigned i = 0; i < 100 && hpt_dataset_bad_image(ds, i, name, sizeof name, NULL) == HPT_OK; i++)
        fprintf(stderr, "  %s\n", name);
}

static const char *command_of(const char *method) {
    return !strcmp(method, "supervised") ? "train" : !strcmp(method, "mme") ? "adapt-domain" : "pretrain";
}

/* What contradicts itself, or is missing: 0, or 2 with a text. */
static int check_words(const cli *c, const run_kind *k) {
    const char *data = k->sets[0];
    static const char *const watched[] = {"monitor_every", "monitor_patience", "monitor_restore"};
    if (!cli_value(c, data))
        return fprintf(stderr, "hpt %s: the run does not say which images it had: --%s is needed\n", c->command, data),
            2;
    if (!cli_value(c, "monitor-train") != !cli_value(c, "monitor-val"))
        return fprintf(stderr, "hpt %s: --monitor-train and --monitor-val go together\n", c->command), 2;
    for (int i = 0; i < 3; i++)
        if (cli_typed(c, watched[i]) && !cli_value(c, "monitor-train") && !cli_value(c, "val"))
            return fprintf(stderr, "hpt %s: --%s needs %s\n", c->command, watched[i],
                           k->sets[1] ? "--val" : "--monitor-train and --monitor-val"), 2;
    return k->check ? k->check(c) : 0;
}

int cli_run(int argc, char **argv, const run_kind *k) {
    cli c = {.command = k->command, .stage = "pretrain", .methods = k->method ? k->method : "moco|byol",
             .args = k->args, .about = k->about};
    int rc = cli_parse(&c, argc, argv), resume, overwrite;
    hpt_model *m = NULL;
    json_t *was = NULL;
    char method[32] = "";
    run r = {.kind = k, .save_every = 500, .name = {k->sets[0]}, .sets = 1};
    if (rc) return rc - 1;
    const char *out = cli_value(&c, "out");
    resume = cli_value(&c, "resume") != NULL;
    overwrite = cli_value(&c, "overwrite") != NULL;
    if (!out || (!resume && !cli_value(&c, k->sets[0])))
        return fprintf(stderr, "hpt %s: --%s and --out are needed (--help lists all)\n", c.command, k->sets[0]), 2;
    if (resume && overwrite)
        return fprintf(stderr, "hpt %s: --resume and --overwrite contradict each other\n", c.command), 2;
    if (resume && (rundir_old(&r.dir, out, &was) || restore_run(&c, was))) return 1;
    if (k->preset && !resume && !cli_typed(&c, "preset")) hpt_config_set(c.cfg, "preset", k->preset);
    hpt_config_get(c.cfg, "method", method, sizeof method, NULL);
    if (k->method && strcmp(method, k->method))
        return fprintf(stderr, "hpt %s: method=%s is hpt %s's\n", c.command, method, command_of(method)), 2;
    if (!k->method && strcmp(command_of(method), "pretrain") && strcmp(method, "supervised"))
        return fprintf(stderr, "hpt pretrain: method=%s is hpt %s's\n", method, command_of(method)), 2;
    if ((rc = check_words(&c, k))) return rc;
    if (cli_number(&c, "save-every", 0, 1ull << 53, &r.save_every)) return 2;
    if ((rc = cli_open(&c))) return rc;
    int32_t rank = 0, ranks = 1;
    hpt_context_ranks(c.ctx, &rank, &ranks);
    r.quiet = rank != 0;
    if (resume && !r.quiet) note_machine(&c, was);
    if (!resume && !r.quiet && (rc = rundir_new(&r.dir, out, overwrite))) return rc;
    r.dir.right = strcmp(method, "supervised") && strcmp(method, "mme") ? "contrast_acc" : "train_top";
    r.dir.score = k->sets[1] ? "val top-1 %" : "kNN top-1 %";
    hpt_status st = open_images(&c, k->sets[0], !resume && r.quiet ? NULL : out, &r.set[0]);
    rc = st ? cli_fail(c.command, st) : cli_model(&c, resume ? r.dir.checkpoint : cli_value(&c, "init"), &m);
    if (!rc && ((st = hpt_session_create(c.ctx, c.cfg, m, r.set[0], &r.s)) || (st = open_monitor(&c, &r)) ||
                (st = open_sets(&c, &r))))
        rc = cli_fail(c.command, st);
    if (rc && !resume && !r.quiet) rundir_undo(&r.dir);
    if (!rc && !resume && !r.quiet) rc = rundir_clear(&r.dir);
    if (!rc) rc = train(&c, &r, m, resume);
    if (r.dir.dir && rundir_close(&r.dir) && !rc) rc = 1;
    hpt_session_destroy(r.s);
    tell_unreadable(k->sets[0], r.set[0]);
    hpt_model_destroy(m);
    for (int i = 0; i < RUN_SETS; i++) hpt_dataset_destroy(r.set[i]);
    json_decref(was);
    cli_close(&c);
    return rc;
}

#define DATA {"data", "PATH", "images: folder, list, IDX, npz", NULL, 0}
#define WATCH \
    {"monitor-train", "PATH", "labelled images that vote in the kNN scores of --monitor_every", NULL, 0}, \
        {"monitor-val", "PATH", "labelled images that are scored", NULL, 0}
int cmd_pretrain(int argc, char **argv) {
    cli_arg args[] = {DATA, RUN_ARGS, WATCH, {NULL, NULL, NULL, NULL, 0}};
    return cli_run(argc, argv, &(run_kind){
        .command = "pretrain", .sets = {"data"}, .args = args,
        .about = "hpt pretrain --data PATH --out DIR [--init FILE] [--key value ...]\nhpt pretrain --out DIR --resume\n"
                 "Continue (or begin) pretraining without labels: MoCo v2, or --preset byol and others (`hpt options\n"
                 "pretrain` lists them). Under mpirun the ranks share each batch; rank 0 writes."});
}
int cmd_train(int argc, char **argv) {
    cli_arg args[] = {DATA, RUN_ARGS, WATCH, {NULL, NULL, NULL, NULL, 0}};
    return cli_run(argc, argv, &(run_kind){
        .command = "train", .method = "supervised", .preset = "supervised", .sets = {"data"}, .args = args,
        .about = "hpt train --data PATH --out DIR [--init FILE] [--key value ...]\nhpt train --out DIR --resume\n"
                 "Supervised training of a network and its classifier on labelled images, as torchvision's reference "
                 "does it (--preset supervised),\nunless given otherwise. exported/ then has the classifier too (hpt "
                 "predict)."});
}

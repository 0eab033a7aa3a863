/* SPDX-License-Identifier: MIT
 * hpt pretrain: one stage, with a run directory (args.json, train.log, metrics.jsonl, summary.csv, checkpoints/, exported/). */
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static volatile sig_atomic_t interrupted;
static void on_signal(int sig) {
    (void)sig;
    interrupted = 1;
}

typedef struct run {
    hpt_session *s;
    progress bar;
    FILE *metrics, *log, *summary;
    const char *checkpoint;
    unsigned long long save_every, epoch;
    double epoch_loss, epoch_acc;
    unsigned long long epoch_steps;
    hpt_status save_status;
    int quiet;                      /* a rank other than 0: writes nothing */
} run;

static FILE *open_in(const char *dir, const char *name, const char *mode) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fopen(path, mode);
}
static FILE *open_or_null(const run *r, const char *dir, const char *name, const char *mode) { return r->quiet ? fopen("/dev/null", "w") : open_in(dir, name, mode); }
static int make_dir(const char *dir, const char *sub) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", dir, *sub ? "/" : "", sub);
    if (!mkdir(path, 0777) || errno == EEXIST) return 0;
    fprintf(stderr, "hpt pretrain: %s: %s\n", path, strerror(errno));
    return 1;
}
static int exists(const char *dir, const char *name) {
    struct stat st;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return !stat(path, &st);
}

static void end_epoch(run *r) {
    if (r->epoch_steps) fprintf(r->summary, "%llu,%.6f,%.3f\n", r->epoch, r->epoch_loss / (double)r->epoch_steps, r->epoch_acc / (double)r->epoch_steps);
    r->epoch_loss = r->epoch_acc = 0;
    r->epoch_steps = 0;
}

static int32_t after_step(void *user, const hpt_step_info *i) {
    run *r = user;
    char text[160];
    snprintf(text, sizeof text, "loss %.3f (chance %.2f)  acc1 %.1f  z_std %.2f  wait %.0f%%", i->loss, i->chance, i->acc1, i->z_std,
             i->step_ms > 0 ? 100 * i->wait_ms / i->step_ms : 0);
    if (!r->quiet) progress_show(&r->bar, i->step, text);
    fprintf(r->metrics, "{\"step\": %llu, \"epoch\": %llu, \"loss\": %.6f, \"contrast_acc1\": %.3f, \"contrast_acc5\": %.3f, \"z_std\": %.5f, \"queue_fill\": %u, "
            "\"lr\": %.8g, \"time_ms\": %.2f, \"data_wait_ms\": %.2f}\n", (unsigned long long)i->step, (unsigned long long)i->epoch, i->loss == i->loss ? i->loss : -1.0,
            i->acc1, i->acc5, i->z_std, i->queue_fill, i->lr, i->step_ms, i->wait_ms);
    if (i->monitor_step == i->step) fprintf(r->log, "step %llu: kNN %.2f %%, best %.2f %% at %llu%s\n", (unsigned long long)i->step, i->monitor, i->monitor_best, (unsigned long long)i->monitor_best_step, i->stopped ? "; stopped" : "");
    if (i->epoch != r->epoch) {
        end_epoch(r);
        r->epoch = i->epoch;
    }
    if (i->loss == i->loss) {
        r->epoch_loss += i->loss;
        r->epoch_acc += i->acc1;
        r->epoch_steps++;
    }
    if (!r->quiet && r->save_every && i->step % r->save_every == 0 && i->step < i->steps) {
        fflush(r->metrics);
        if ((r->save_status = hpt_session_save(r->s, r->checkpoint))) return 1;
    }
    return interrupted;
}

static int prepare(cli *c, const char *out, const char *checkpoint, int resume, int overwrite) {
    if (!resume && !overwrite && exists(out, "args.json"))
        return fprintf(stderr, "hpt pretrain: %s holds a run already; --resume continues it, --overwrite replaces it\n", out), 1;
    if (resume && !exists(out, "args.json")) return fprintf(stderr, "hpt pretrain: %s holds no run to resume\n", out), 1;
    if (make_dir(out, "") || make_dir(out, "checkpoints") || make_dir(out, "exported")) return 1;
    if (!resume) remove(checkpoint);
    size_t n = 0;
    hpt_config_json(c->cfg, "pretrain", NULL, 0, &n);
    char *json = malloc(n);
    FILE *f = resume ? NULL : open_in(out, "args.json", "w");
    if (json && f && !hpt_config_json(c->cfg, "pretrain", json, n, NULL)) fprintf(f, "%s\n", json);
    if (f && fclose(f)) return fprintf(stderr, "hpt pretrain: %s/args.json: %s\n", out, strerror(errno)), 1;
    free(json);
    return 0;
}

static int train(cli *c, hpt_model *m, hpt_dataset *ds, const char *out, int resume, int quiet) {
    char checkpoint[4096], path[4096], text[256];
    run r = {.quiet = quiet};
    hpt_step_info info = {.struct_size = sizeof info};
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/last.pth.tar", out);
    hpt_status st = hpt_session_create(c->ctx, c->cfg, m, ds, &r.s);
    if (!st && cli_value(c, "monitor-train") && cli_value(c, "monitor-val")) {
        hpt_dataset *vote = NULL, *scored = NULL;
        st = hpt_dataset_open(c->ctx, c->cfg, cli_value(c, "monitor-train"), &vote);
        if (!st) st = hpt_dataset_open(c->ctx, c->cfg, cli_value(c, "monitor-val"), &scored);
        if (!st) st = hpt_session_monitor(r.s, vote, scored);
        hpt_dataset_destroy(vote);
        hpt_dataset_destroy(scored);
    }
    if (st) return cli_fail("pretrain", st);
    if (resume && exists(out, "checkpoints/last.pth.tar") && (st = hpt_session_resume(r.s, checkpoint))) return cli_fail("pretrain", st);
    r.checkpoint = checkpoint;
    r.save_every = cli_value(c, "save-every") ? strtoull(cli_value(c, "save-every"), NULL, 10) : 500;
    r.metrics = open_or_null(&r, out, "metrics.jsonl", resume ? "a" : "w");
    r.log = open_or_null(&r, out, "train.log", resume ? "a" : "w");
    r.summary = open_or_null(&r, out, "summary.csv", resume ? "a" : "w");
    if (!r.metrics || !r.log || !r.summary) return fprintf(stderr, "hpt pretrain: cannot write in %s: %s\n", out, strerror(errno)), 1;
    if (!resume) fprintf(r.summary, "epoch,train_loss,train_contrast_acc1\n");
    hpt_session_get_info(r.s, &info);
    hpt_context_describe(c->ctx, text, sizeof text, NULL);
    fprintf(r.log, "libhpt %s, %s, from step %llu of %llu\n", hpt_version_string(), text, (unsigned long long)info.step, (unsigned long long)info.steps);
    r.epoch = info.epoch;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (!quiet) progress_begin(&r.bar, info.step, info.steps);
    double t0 = seconds();
    st = hpt_session_run(r.s, after_step, &r);
    if (!quiet) progress_end(&r.bar);
    if (r.save_status) st = r.save_status;
    snprintf(text, sizeof text, "%s", hpt_last_error());
    end_epoch(&r);
    hpt_session_get_info(r.s, &info);
    fprintf(r.log, "%s after step %llu, %.1f s, loss %.4f\n", st == HPT_OK ? "done" : text, (unsigned long long)info.step, seconds() - t0, info.loss);
    int stopped = st == HPT_ERR_CANCELLED && interrupted;
    /* another rank is gone: what this one has is as after the last whole step, unless it lies on a GPU */
    if (!quiet && st == HPT_ERR_PEER) {
        char why[1024];
        snprintf(why, sizeof why, "%s", hpt_last_error());
        if (hpt_session_save(r.s, checkpoint) == HPT_OK) fprintf(stderr, "hpt pretrain: saved after step %llu; start all ranks again with --resume\n", (unsigned long long)info.step);
        fprintf(stderr, "hpt: pretrain: %s (%s)\n", why, hpt_status_name(st));
        return 1;
    }
    if (!quiet && (st == HPT_OK || stopped)) {
        hpt_status saved = hpt_session_save(r.s, checkpoint);
        if (saved) st = saved, stopped = 0;
    }
    if (!quiet && st == HPT_OK) {
        snprintf(path, sizeof path, "%s/exported/backbone.pth", out);
        st = hpt_model_save(m, path, "torchvision");
        snprintf(path, sizeof path, "%s/exported/model.safetensors", out);
        if (!st) st = hpt_model_save(m, path, "safetensors");
    }
    int bad = ferror(r.metrics) | fclose(r.metrics) | fclose(r.log) | fclose(r.summary);
    hpt_session_destroy(r.s);
    if (stopped) {
        fprintf(stderr, "stopped at step %llu; `hpt pretrain ... --resume` continues\n", (unsigned long long)info.step);
        return 130;
    }
    if (st) return cli_fail("pretrain", st);
    if (bad) return fprintf(stderr, "hpt pretrain: writing in %s failed: %s\n", out, strerror(errno)), 1;
    if (quiet) return 0;
    if (cli_value(c, "json"))
        printf("{\"steps\": %llu, \"loss\": %.6f, \"chance\": %.6f, \"contrast_acc1\": %.3f, \"z_std\": %.5f, \"seconds\": %.2f, \"backbone\": \"%s/exported/backbone.pth\"}\n",
               (unsigned long long)info.step, info.loss, info.chance, info.acc1, info.z_std, seconds() - t0, out);
    else printf("%s/exported/backbone.pth\n", out);
    return 0;
}

int cmd_pretrain(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images: folder, list, IDX, npz", NULL, 0},
                      {"init", "FILE", "start from these weights (else random)", NULL, 0},
                      {"out", "DIR", "run directory", NULL, 0},
                      {"monitor-train", "PATH", "labelled images that vote in the kNN scores of --monitor_every", NULL, 0},
                      {"monitor-val", "PATH", "labelled images that are scored", NULL, 0},
                      {"save-every", "N", "steps between checkpoints (500; 0 only at the end)", NULL, 0},
                      {"resume", "", "continue the run in --out, bit for bit", NULL, 1},
                      {"overwrite", "", "replace the run in --out", NULL, 1},
                      {"json", "", "print the result as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "pretrain", .stage = "pretrain", .args = args,
             .about = "hpt pretrain --data PATH --out DIR [--init FILE] [--key value ...]\nContinue (or begin) MoCo-v2 pretraining. Under mpirun the ranks share each batch; rank 0 writes."};
    int rc = cli_parse(&c, argc, argv);
    const char *data = cli_value(&c, "data"), *out = cli_value(&c, "out");
    char checkpoint[4096];
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    if (rc) return rc - 1;
    if (!data || !out) return fprintf(stderr, "hpt pretrain: --data and --out are needed (--help lists all)\n"), 2;
    int resume = cli_value(&c, "resume") != NULL;
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/last.pth.tar", out);
    if ((rc = cli_open(&c))) return rc;
    hpt_status st = hpt_dataset_open(c.ctx, c.cfg, data, &ds);
    rc = st ? cli_fail("pretrain", st) : cli_model(&c, cli_value(&c, "init"), &m);
    int32_t rank = 0, ranks = 1;
    hpt_context_ranks(c.ctx, &rank, &ranks);
    if (!rc && rank == 0) rc = prepare(&c, out, checkpoint, resume, cli_value(&c, "overwrite") != NULL);
    if (!rc) rc = train(&c, m, ds, out, resume, rank != 0);
    hpt_dataset_info di = {.struct_size = sizeof di};
    if (ds && !hpt_dataset_get_info(ds, &di) && di.bad_images) {
        char name[1024];
        fprintf(stderr, "%u unreadable images were replaced:\n", di.bad_images);
        for (unsigned i = 0; hpt_dataset_bad_image(ds, i, name, sizeof name, NULL) == HPT_OK; i++) fprintf(stderr, "  %s\n", name);
    }
    hpt_model_destroy(m);
    hpt_dataset_destroy(ds);
    cli_close(&c);
    return rc;
}

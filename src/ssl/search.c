/* SPDX-License-Identifier: MIT
 * The order of work is in run_all(): full takes one candidate after the other to its end, halving takes all to a
 * rung and drops the worse half. In both, candidates are probed at the rungs, so that the result can say what the
 * other way would have chosen and cost. With search_dir, scores and checkpoints are kept there under a key of
 * everything that they depend on. */
#include "ssl/search.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/result.h"
#include "eval/knn.h"
#include "io/file.h"
#include "nn/facts.h"
#include "ssl/features.h"
#include "ssl/probe.h"
#include "ssl/session.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { MAX_RUNGS = 17, NEAREST = 10 };

typedef struct candidate {
    hpt_model *model;               /* a copy of the base that trains */
    hpt_session *session;
    double score[MAX_RUNGS], affinity, seconds;
    uint64_t at;                    /* steps done */
    int scored, out, near_rank;     /* out: rung + 1 where it was dropped; near_rank from 1 */
} candidate;

typedef struct search {
    const hpt__search *in;
    candidate *c;
    uint64_t rung[MAX_RUNGS], key;
    int rungs;                      /* the last is the end */
    json_t *kept;                   /* search_dir/search.json */
    double probe_seconds;
} search;

/* ---- what is kept on disk ---- */

static void file_of(const search *s, int i, const char *end, char *path, size_t size) {
    snprintf(path, size, "%s/candidate-%d%s", OPT_S(s->in->o, search_dir), i, end);
}

/* What an earlier search left: NULL where there is nothing, or nothing that can be read. */
static hpt_status read_kept(search *s, const char *path) {
    enum { MOST = 1 << 24 };
    struct stat sb;
    json_error_t why;
    hpt__bytes b;
    if (stat(path, &sb)) return HPT_OK;
    HPT_TRY(hpt__file_read(path, MOST, &b));
    s->kept = json_loadb((const char *)b.p, b.n, 0, &why);
    hpt__free(b.p);
    return !s->kept && json_error_code(&why) == json_error_out_of_memory ? hpt__fail_memory(b.n) : HPT_OK;
}
static hpt_status load_kept(search *s, const hpt__sets *sets) {
    char path[4200], key[24];
    const char *dir = OPT_S(s->in->o, search_dir);
    uint64_t h = XXH3_64bits_withSeed(s->in->base->params, s->in->base->net.n_params * 4,
                                      XXH3_64bits(s->in->base->stats, s->in->base->net.n_stats * 4)), id;
    const hpt__pixels *px = &s->in->base->pixels;
    h = XXH3_64bits_withSeed(px->mean, sizeof px->mean, XXH3_64bits_withSeed(px->std, sizeof px->std, h));
    h = hpt__options_hash(s->in->o, 'S', XXH3_64bits_withSeed(s->in->ctx->be->name, strlen(s->in->ctx->be->name), h));
    for (int i = -2; i < s->in->n; i++) {
        HPT_TRY(hpt__dataset_identity(i == -2 ? s->in->train : i == -1 ? s->in->val : s->in->source[i], &id));
        h = XXH3_64bits_withSeed(&id, sizeof id, h);
    }
    for (int i = 0; i < 2; i++) {       /* scores are over the images that could be read then */
        id = hpt__dataset_fingerprint(sets->ds[i]);
        h = XXH3_64bits_withSeed(&id, sizeof id, h);
    }
    snprintf(key, sizeof key, "%016llx", (unsigned long long)h);
    s->key = h;
    if (!*dir) return HPT_OK;
    if (mkdir(dir, 0777)) { /* it may be there; a missing parent shows when the first file is written */ }
    snprintf(path, sizeof path, "%s/search.json", dir);
    HPT_TRY(read_kept(s, path));
    const char *was = json_string_value(json_object_get(s->kept, "key"));
    if (!was || strcmp(was, key)) {
        json_decref(s->kept);
        s->kept = json_pack("{s:s,s:{}}", "key", key, "scores");
        for (int i = 0; i < s->in->n; i++) {        /* checkpoints of another search */
            file_of(s, i, ".pth.tar", path, sizeof path);
            remove(path);
            file_of(s, i, ".safetensors", path, sizeof path);
            remove(path);
        }
    }
    return s->kept ? HPT_OK : hpt__fail_memory(256);
}
static hpt_status save_kept(search *s) {
    char path[4200];
    hpt__writer w;
    if (!s->kept || s->in->ctx->comm->rank) return HPT_OK;
    snprintf(path, sizeof path, "%s/search.json", OPT_S(s->in->o, search_dir));
    char *text = hpt__json_dumps(s->kept, JSON_INDENT(1));
    if (!text) return hpt__fail_memory(4096);
    hpt_status st = hpt__writer_open(&w, path);
    if (!st) {
        hpt__writer_put(&w, text, strlen(text));
        st = hpt__writer_commit(&w);
    }
    hpt__free(text);
    return st;
}

/* ---- one candidate ---- */

typedef struct stepper { search *s; int i; hpt_status save; } stepper;
static int exists(const char *path) {
    struct stat st;
    return !stat(path, &st);
}
static hpt_status open_candidate(search *s, int i) {
    candidate *c = &s->c[i];
    char path[4200];
    if (c->session) return HPT_OK;
    if (!c->model) HPT_TRY(hpt__model_clone(s->in->base, &c->model));
    HPT_TRY(hpt__session_new(s->in->ctx, s->in->o, c->model, s->in->source[i], &c->session));
    file_of(s, i, ".pth.tar", path, sizeof path);
    return s->kept && exists(path) ? hpt__session_resume(c->session, path) : HPT_OK;
}
static void close_candidate(candidate *c) {
    if (c->session) hpt__handle_close(c->session, HPT__KIND_SESSION);
    c->session = NULL;
}

static hpt_status probe_at(search *s, int i, int r) {
    candidate *c = &s->c[i];
    json_t *j = json_object();
    double t0 = hpt__now_ms();
    hpt_status st = hpt__session_sync(c->session);
    if (!st) st = hpt__model_linear(c->model, s->in->train, s->in->val, NULL, s->in->o, j, NULL, NULL);
    if (!st) c->score[r] = json_number_value(json_object_get(j, "val_score"));
    s->probe_seconds += (hpt__now_ms() - t0) / 1000;
    json_decref(j);
    return st;
}

/* To rung r and its score there, or from what is kept. */
static hpt_status advance(search *s, int i, int r) {
    candidate *c = &s->c[i];
    char path[4200], name[48];
    snprintf(name, sizeof name, "%d/%llu", i, (unsigned long long)s->rung[r]);
    json_t *kept = s->kept ? json_object_get(json_object_get(s->kept, "scores"), name) : NULL;
    int last = r == s->rungs - 1;
    if (kept) {
        c->score[r] = json_number_value(kept);
        c->at = s->rung[r];
        c->scored = r + 1;
        return HPT_OK;
    }
    double t0 = hpt__now_ms();
    uint64_t every = (uint64_t)OPT_I(s->in->o, search_save_every);
    HPT_TRY(open_candidate(s, i));
    file_of(s, i, ".pth.tar", path, sizeof path);
    while (c->session->trainer.step < s->rung[r]) {
        hpt__span span;
        hpt__span_begin(&s->in->ctx->watch, &span, HPT_PHASE_TRAIN, c->session->trainer.step, s->rung[r], "source %s",
                        s->in->name[i]);
        hpt_status st = hpt__span_at(&span, c->session->trainer.step);
        if (!st) st = hpt__session_advance(c->session, NULL, NULL);
        hpt__span_end(&span);
        if (st == HPT_END) break;
        if (st == HPT_ERR_CANCELLED && s->kept && c->session->trainer.step)
            HPT_TRY(hpt__session_save(c->session, path));
        if (st) return hpt__fail_context(st, "source %s", s->in->name[i]);
        if (s->kept && !s->in->ctx->comm->rank && (c->session->trainer.step % every == 0 ||
                                                   c->session->trainer.step
                                                   == s->rung[r])) HPT_TRY(hpt__session_save(c->session, path));
        if (s->in->fn && s->in->fn(s->in->user, &c->session->info))
            return hpt__fail(HPT_ERR_CANCELLED, "stopped by the callback in source %s", s->in->name[i]);
    }
    HPT_TRY(probe_at(s, i, r));
    c->at = s->rung[r];
    c->scored = r + 1;
    c->seconds += (hpt__now_ms() - t0) / 1000;
    if (last) close_candidate(c);
    if (!s->kept) return HPT_OK;
    json_object_set_new(json_object_get(s->kept, "scores"), name, json_real(c->score[r]));
    return save_kept(s);
}

/* The candidates that halving keeps after rung r, by their scores there: flags in and out. Ties: the earlier
 * candidate. */
static void halve(const search *s, int r, uint8_t *alive) {
    int n = 0, keep;
    for (int i = 0; i < s->in->n; i++) n += alive[i];
    keep = (n + 1) / 2;
    for (int i = 0; i < s->in->n; i++) {
        int better = 0;
        for (int j = 0; j < s->in->n; j++)
            better += alive[j] && (s->c[j].score[r] > s->c[i].score[r] || (s->c[j].score[r] == s->c[i].score[r] &&
                                                                           j < i));
        if (alive[i] && better >= keep) alive[i] = 2;       /* leaves below, so that all are judged alike */
    }
    for (int i = 0; i < s->in->n; i++)
        if (alive[i] == 2) alive[i] = 0;
}

static hpt_status run_all(search *s, int halving, uint8_t *alive) {
    if (!halving) {
        for (int i = 0; i < s->in->n; i++)
            for (int r = 0; r < s->rungs && alive[i]; r++) HPT_TRY(advance(s, i, r));
        return HPT_OK;
    }
    for (int r = 0; r < s->rungs; r++) {
        for (int i = 0; i < s->in->n; i++)
            if (alive[i]) HPT_TRY(advance(s, i, r));
        if (r == s->rungs - 1) break;
        uint8_t was[256];
        memcpy(was, alive, (size_t)s->in->n);
        halve(s, r, alive);
        for (int i = 0; i < s->in->n; i++)
            if (was[i] && !alive[i]) {
                s->c[i].out = r + 1;
                close_candidate(&s->c[i]);
            }
    }
    return HPT_OK;
}

/* ---- nearness of sources to the target, by features of the base model ---- */

static hpt_status some_features(const search *s, hpt_dataset *ds, const hpt__options *o, float **x, uint64_t *n) {
    uint64_t most = (uint64_t)OPT_I(o, search_images), *index;
    hpt_dataset *all = NULL, *part = NULL;
    HPT_TRY(hpt__dataset_order(ds, (uint64_t)OPT_I(o, seed), &index));
    hpt_status st = hpt__dataset_new(s->in->ctx, ds->src, index, ds->count, &all);
    hpt__free(index);
    for (uint64_t known = 0; !st;) {
        st = hpt__dataset_readable(all, most, &part);
        known = ds->src->bad_count;
        *n = st ? 0 : part->count;
        if (!st && !(*x = hpt__alloc(sizeof **x * (size_t)*n * (size_t)s->in->base->net.feature_dim)))
            st = hpt__fail_memory((size_t)*n * 4);
        if (!st) st = hpt__features(s->in->base, part, o, *x);
        if (part) hpt__handle_close(part, HPT__KIND_DATASET);
        if (st != HPT_ERR_DATA || ds->src->bad_count == known) break;
        hpt__free(*x);          /* one went away meanwhile: again, without it */
        *x = NULL;
        st = HPT_OK;
    }
    if (all) hpt__handle_close(all, HPT__KIND_DATASET);
    return st;
}
/* sets: the target's, with the normalisation that all sets are seen with. */
static hpt_status rank_by_nearness(search *s, const hpt__sets *sets) {
    float *target = NULL, *x = NULL;
    uint64_t n, m;
    int d = s->in->base->net.feature_dim;
    hpt_status st = some_features(s, s->in->train, &sets->opt, &target, &n);
    for (int i = 0; i < s->in->n && !st; i++) {
        st = some_features(s, s->in->source[i], &sets->opt, &x, &m);
        if (!st) st = hpt__knn_affinity(s->in->ctx, d, NEAREST, x, m, target, n, &s->c[i].affinity);
        hpt__free(x);
        x = NULL;
    }
    hpt__free(target);
    for (int i = 0; i < s->in->n; i++) {
        s->c[i].near_rank = 1;
        for (int j = 0; j < s->in->n; j++)
            s->c[i].near_rank += s->c[j].affinity > s->c[i].affinity || (s->c[j].affinity == s->c[i].affinity && j < i);
    }
    return st;
}

/* ---- result ---- */

static int best_of(const search *s, const uint8_t *alive) {
    int best = -1, end = s->rungs - 1;
    for (int i = 0; i < s->in->n; i++)
        if (alive[i] && s->c[i].scored > end && (best < 0 || s->c[i].score[end] > s->c[best].score[end])) best = i;
    return best;
}
static void report(const search *s, const uint8_t *alive, int winner, json_t *out) {
    int end = s->rungs - 1, full = !OPT_IS(s->in->o, search_mode, "halving"), nearest = 0;
    uint64_t cost = 0;
    json_t *list = json_array();
    for (int i = 0; i < s->in->n; i++) {
        const candidate *c = &s->c[i];
        int rank = 1;
        json_t *rungs = json_array();
        for (int r = 0; r < c->scored; r++)
            json_array_append_new(rungs, json_pack("{s:I,s:f}", "step", (json_int_t)s->rung[r], "val_score",
                                                   c->score[r]));
        for (int j = 0; j < s->in->n; j++) {        /* by steps done, then by score */
            const candidate *d = &s->c[j];
            rank += d->at > c->at || (d->at == c->at && d->scored && c->scored &&
                                      (d->score[d->scored - 1] > c->score[c->scored - 1] ||
                                       (d->score[d->scored - 1] == c->score[c->scored - 1] && j < i)));
        }
        cost += c->at;
        if (c->near_rank == 1) nearest = i;
        json_t *about = json_pack("{s:o,s:I,s:I,s:o,s:i,s:o,s:i,s:o,s:f,s:b}", "name", hpt__json_text(s->in->name[i]),
                                  "images", (json_int_t)s->in->source[i]->count, "steps", (json_int_t)c->at,
                                  "val_score",
                                              c->scored ? json_real(c->score[c->scored - 1]) : json_null(), "rank",
                                              rank, "nearness", hpt__json_number(c->affinity), "nearness_rank",
                                              c->near_rank, "rungs", rungs, "seconds", c->seconds, "dropped",
                                              !alive[i]);
        hpt__report_unreadable(about, "source", s->in->source[i]);      /* others stood in for them */
        json_array_append_new(list, about);
    }
    json_object_set_new(out, "candidates", list);
    json_object_set_new(out, "winner", hpt__json_text(s->in->name[winner]));
    json_object_set_new(out, "winner_index", json_integer(winner));
    json_object_set_new(out, "val_score", json_real(s->c[winner].score[end]));
    json_object_set_new(out, "metric", json_string(s->in->train->src->multi ? "auroc" : "top1"));
    json_object_set_new(out, "mode", json_string(full ? "full" : "halving"));
    json_object_set_new(out, "cost_steps", json_integer((json_int_t)cost));
    json_object_set_new(out, "probe_seconds", json_real(s->probe_seconds));
    json_object_set_new(out, "nearest", hpt__json_text(s->in->name[nearest]));
    json_object_set_new(out, "nearest_is_winner", json_boolean(nearest == winner));
    if (!full || s->rungs < 2) return;
    uint8_t left[256];              /* what halving would have done with the same scores */
    uint64_t halving_cost = 0;
    for (int i = 0; i < s->in->n; i++) left[i] = s->c[i].scored == s->rungs;
    for (int r = 0; r < s->rungs; r++) {
        for (int i = 0; i < s->in->n; i++) halving_cost += left[i] ? s->rung[r] - (r ? s->rung[r - 1] : 0) : 0;
        if (r < end) halve(s, r, left);
    }
    int would = best_of(s, left);
    json_object_set_new(out, "halving", json_pack("{s:o,s:b,s:I,s:I}", "winner", hpt__json_text(s->in->name[would]),
                                                  "same_winner", would == winner, "cost_steps",
                                                  (json_int_t)halving_cost, "full_cost_steps", (json_int_t)cost));
}

hpt_status hpt__source_search(const hpt__search *in, hpt_model **winner, json_t *result) {
    HPT__SPAN(&in->ctx->watch, HPT_PHASE_SEARCH, "search for a source");
    search s = {.in = in};
    uint8_t alive[256];
    uint64_t total = (uint64_t)OPT_I(in->o, steps);
    int want = (int)OPT_I(in->o, search_rungs), prerank = (int)OPT_I(in->o, search_prerank);
    *winner = NULL;
    if (in->n < 1 || in->n > 255) return hpt__fail(HPT_ERR_ARGUMENT, "%d candidates; 1 to 255 can be compared", in->n);
    for (int r = want; r > 0; r--)
        if (total >> r && (!s.rungs || total >> r > s.rung[s.rungs - 1])) s.rung[s.rungs++] = total >> r;
    s.rung[s.rungs++] = total;
    if (!(s.c = hpt__calloc((size_t)in->n, sizeof *s.c))) return hpt__fail_memory(sizeof *s.c * (size_t)in->n);
    hpt__sets sets;
    hpt_status st = hpt__sets_open(&sets, in->train, in->val, NULL, in->o, &in->base->pixels);
    if (!st) {
        st = load_kept(&s, &sets);
        if (!st) st = rank_by_nearness(&s, &sets);
        hpt__sets_report(&sets, result);
        hpt__sets_close(&sets);
    }
    for (int i = 0; i < in->n; i++) alive[i] = !prerank || s.c[i].near_rank <= prerank;
    if (!st) st = run_all(&s, OPT_IS(in->o, search_mode, "halving"), alive);
    int best = st ? -1 : best_of(&s, alive);
    /* all its scores were kept: its weights are in the checkpoint of the last step */
    if (!st && !s.c[best].model) {
        st = open_candidate(&s, best);
        if (!st) st = hpt__session_sync(s.c[best].session);
    }
    if (!st) {
        report(&s, alive, best, result);
        st = hpt__facts_of(result, in->ctx, in->o, &s.c[best].model->pixels);
        *winner = s.c[best].model;
        s.c[best].model = NULL;
    }
    for (int i = 0; i < in->n; i++) {
        close_candidate(&s.c[i]);
        if (s.c[i].model) hpt__handle_close(s.c[i].model, HPT__KIND_MODEL);
    }
    json_decref(s.kept);
    hpt__free(s.c);
    return st;
}

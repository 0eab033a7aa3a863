/* SPDX-License-Identifier: MIT
 * The graph of instances: keys, what is done already, the plan, and the workers that run what is left. The key of an
 * instance is a hash of its options, its inputs' keys and the library's version: a result is taken again exactly
 * where the same call would give the same bits. */
#define _GNU_SOURCE
#include "recipe/recipe.h"
#include "backend/backend.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/context.h"
#include "core/thread.h"
#include "data/dataset.h"
#include "io/file.h"
#include "nn/model.h"
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static int is_stage(const hpt_recipe *r, const hpt__instance *in) {
    return in->section >= 0 && r->sections[in->section].kind >= HPT__S_PRETRAIN &&
        r->sections[in->section].kind <= HPT__S_SIMILARITY;
}

/* ---- keys: everything that a result depends on ---- */

/* Counted up whenever the same options come to mean something else: what an older build kept is then not taken.
 * 2: images are normalised with the mean and deviation of the first set that a model was trained on, not ImageNet's. */
enum { RESULTS = 2 };

static hpt_status file_hash(const char *path, uint64_t *h) {
    enum { PIECE = 1 << 20 };
    int fd = -1;
    size_t n = PIECE;
    uint8_t *buf = hpt__alloc(PIECE);
    XXH3_state_t *s = XXH3_createState();
    hpt_status st = buf && s ? hpt__file_open(path, &fd, NULL) : hpt__fail_memory(PIECE);
    if (!st) XXH3_64bits_reset(s);
    while (!st && n == PIECE && !(st = hpt__file_take(fd, path, buf, PIECE, &n))) {
        XXH3_64bits_update(s, buf, n);
        st = hpt__span_tick(0);
    }
    if (!st) *h = XXH3_64bits_digest(s);
    if (fd >= 0) close(fd);
    XXH3_freeState(s);
    hpt__free(buf);
    return st;
}
static void mix(uint64_t *h, const char *text) { *h = XXH3_64bits_withSeed(text, strlen(text) + 1, *h); }

static hpt_status make_key(hpt_recipe *r, hpt__instance *in) {
    const hpt__section *s = &r->sections[in->section];
    hpt_config *c;
    uint64_t h = 0, f = 0;
    HPT_TRY(hpt__instance_config(r, in, &c));
    hpt_status st = HPT_OK;
    mix(&h, hpt_version_string());
    h = XXH3_64bits_withSeed(&(int32_t){RESULTS}, sizeof(int32_t), h);
    mix(&h, r->ctx->be->name);
    mix(&h, hpt__kinds[s->kind].word);
    if (hpt__kinds[s->kind].stage) h = hpt__options_hash(&c->o, hpt__options_stage(hpt__kinds[s->kind].stage), h);
    h = XXH3_64bits_withSeed(&in->seed, sizeof in->seed, h);
    static const char *const own[] = {"metric", "layer", "group", "over", "by"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        const char *v = s->kind == HPT__S_SIMILARITY || s->kind == HPT__S_CHOOSE ? hpt__instance_value(r, in, own[i])
            : NULL;
        mix(&h, v ? v : "");
    }
    for (int i = 0; i < in->n_input; i++) {
        mix(&h, in->input[i].key);
        h = XXH3_64bits_withSeed(&r->instances[in->input[i].instance].key, sizeof h, h);
    }
    if (in->file) {
        st = file_hash(in->file, &f);
        if (st) {
            st = hpt__relative(st, in->file);
            const hpt__line *l = hpt__section_line(s, hpt__section_line(s, "init") ? "init" : "model");
            st = hpt__fail_context(st, "%.300s, line %d", s->file, l ? l->line : s->line);
        }
        h = XXH3_64bits_withSeed(&f, sizeof f, h);
    }
    in->key = h;
    hpt_config_destroy(c);
    /* "hpt steps=500 seed 1" and a folder that a person can recognise */
    char name[512], dir[256];
    int at = snprintf(name, sizeof name, "%s", s->name);
    for (int i = 0; i < in->n_vars && at < 300; i++)
        at += snprintf(name + at, sizeof name - (size_t)at, " %s=%.60s", strncmp(in->vars[i].id, s->name,
            strlen(s->name)) ? in->vars[i].id : strchr(in->vars[i].id, '.') + 1, in->vars[i].value);
    if (in->seed >= 0 && at < 480) snprintf(name + at, sizeof name - (size_t)at, " seed %lld", (long long)in->seed);
    snprintf(dir, sizeof dir, "%.100s", name);
    for (char *p = dir; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=-+", *p)) *p = '_';
    in->name = hpt__strdup(name);
    size_t size = strlen(r->out) + strlen(dir) + 40;
    in->dir = hpt__alloc(size);
    if (!in->name || !in->dir) return hpt__fail_memory(256);
    int length = snprintf(in->dir, size, "%s/stages/%s-%016llx", r->out, dir, (unsigned long long)h);
    if (!st && length > 4000) st = hpt__fail(HPT_ERR_IO, "%.80s...: the folder's name is too long", r->out);
    return st;
}

static hpt_status look(hpt__instance *in) {
    enum { MOST = 1 << 28 };
    char path[4200];
    struct stat sb;
    json_error_t why;
    hpt__bytes b;
    snprintf(path, sizeof path, "%s/result.json", in->dir);
    hpt_status st = stat(path, &sb) ? HPT_END : hpt__file_read(path, MOST, &b);
    if (!st) {
        in->result = json_loadb((const char *)b.p, b.n, 0, &why);
        hpt__free(b.p);
        if (!in->result && json_error_code(&why) == json_error_out_of_memory) return hpt__fail_memory(b.n);
        if (in->result) in->state = HPT__I_DONE;
        if (in->result) return HPT_OK;
    } else if (st != HPT_END) return st;
    snprintf(path, sizeof path, "%s/checkpoint.pth.tar", in->dir);
    in->state = !stat(path, &sb) ? HPT__I_PART : HPT__I_NEW;
    snprintf(path, sizeof path, "%s/search/search.json", in->dir);
    if (!stat(path, &sb)) in->state = HPT__I_PART;
    return HPT_OK;
}

/* Options of stage context: the recipe's, then the caller's. threads 0: as they say. */
static hpt_status context_config(const hpt_recipe *r, int threads, hpt_config **out) {
    const hpt__section *top = hpt__section_only(r, HPT__S_RECIPE);
    char text[4100];
    hpt_status st = hpt_config_create(NULL, out);
    for (int i = 0; i < HPT__OPT_COUNT && !st; i++) {
        if (!hpt__options_applies(i, 'C')) continue;
        const char *v = hpt__section_value(top, hpt__options_key(i), NULL);
        if (r->base && r->base->o.v[i].set && !hpt_config_get(r->base, hpt__options_key(i), text, sizeof text, NULL))
            v = text;
        if (v) st = hpt_config_set(*out, hpt__options_key(i), v);
    }
    if (!st && threads) st = hpt_config_set_int(*out, "threads", threads);
    if (st) {
        hpt_config_destroy(*out);
        *out = NULL;
    }
    return st;
}
static int worker_threads(const hpt_recipe *r) { return r->ctx->threads / r->jobs > 0 ? r->ctx->threads / r->jobs : 1; }

/* A stage that begins with a file of weights: does the file hold its network? Found now, not after hours of other
 * stages. last: what was asked before (instances of one section follow each other and mostly ask the same). */
static hpt_status try_weights(hpt_recipe *r, hpt__instance *in, char *last, size_t size) {
    static const char *const keys[] = {"arch",   "width",      "stem",     "backbone_prefix",
                                       "unused", "carry_head", "moco_dim", "mlp"};
    const hpt__section *s = &r->sections[in->section];
    const hpt__line *l = hpt__section_line(s, hpt__section_line(s, "init") ? "init" : "model");
    char asked[6000], value[400];
    hpt_config *c;
    hpt_model *m = NULL;
    int n = snprintf(asked, sizeof asked, "%.4200s", in->file);
    HPT_TRY(hpt__instance_config(r, in, &c));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!hpt_config_get(c, keys[i], value, sizeof value, NULL) && (size_t)n < sizeof asked)
            n += snprintf(asked + n, sizeof asked - (size_t)n, "|%.150s", value);
    hpt_status st = strcmp(asked, last) ? hpt_model_load(r->ctx, c, in->file, &m, NULL) : HPT_OK;
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    snprintf(last, size, "%s", asked);
    return st ? hpt__fail_context(st, "%.300s, line %d", s->file, l ? l->line : s->line) : HPT_OK;
}

/* The layer that a similarity compares: have the networks it is to be done? One of each section that it names. */
static hpt_status try_layer(hpt_recipe *r, int at) {
    const hpt__instance *in = &r->instances[at];
    const hpt__section *s = &r->sections[in->section];
    const hpt__line *l = hpt__section_line(s, "layer");
    int last = -1;
    if (s->kind != HPT__S_SIMILARITY || !l || in->state == HPT__I_DONE || strcmp(hpt__instance_value(r, in, "metric"),
        "rv2")) return HPT_OK;
    for (int i = 0; i < in->n_input; i++) {
        const hpt__instance *of = &r->instances[in->input[i].instance];
        hpt_layer_info info = {.struct_size = sizeof info};
        hpt_config *c = NULL;
        hpt_model *m = NULL;
        if (strcmp(in->input[i].key, "of") || of->section == last) continue;
        last = of->section;
        hpt_status st = hpt__instance_config(r, in, &c);
        if (!st) st = hpt__stage_network(r, r->ctx, of, &m);
        if (!st)
            st = hpt_model_layer(m, hpt__instance_value(r, in, "layer"), (uint32_t)OPT_I(&c->o, image_size), &info);
        hpt_model_destroy(m);
        hpt_config_destroy(c);
        if (st) return hpt__fail_context(st, "%.300s, line %d", l->file, l->line);
    }
    return HPT_OK;
}

/* Adds the precision in which a stage computes to those of the recipe. */
static hpt_status note_precision(hpt_recipe *r, const hpt__instance *in) {
    const hpt__section *s = &r->sections[in->section];
    const char *stage = hpt__kinds[s->kind].stage;
    hpt_config *c;
    hpt__dtype type;
    char held[80];
    if (!stage || !hpt__options_applies(HPT__OPT_precision, hpt__options_stage(stage))) return HPT_OK;
    HPT_TRY(hpt__instance_config(r, in, &c));
    hpt_status st = hpt__precision(r->ctx, &c->o, &type);
    hpt_config_destroy(c);
    if (st)
        return hpt__fail_context(st, "%.300s, line %d: [%s %s]", s->file, s->line, hpt__kinds[s->kind].word, s->name);
    const char *name = hpt__dtype_name(type);
    snprintf(held, sizeof held, "%s/", r->precision);
    for (const char *at = held; *at; at = strchr(at, '/') + 1)
        if (!strncmp(at, name, strlen(name)) && at[strlen(name)] == '/') return HPT_OK;
    snprintf(r->precision, sizeof r->precision, "%.40s%s", *r->precision ? held : "", name);
    return HPT_OK;
}

/* Data sets are opened and compared, stages looked at: takes as long as the data sets are large. */
static hpt_status look_around(hpt_recipe *r) {
    char weights[6000] = "";
    HPT__SPAN(&r->ctx->watch, HPT_PHASE_PLAN, "data sets and stages of the recipe");
    hpt__whole.total = 3 * (uint64_t)r->n_instances;        /* opened, compared, looked for */
    hpt_status st = hpt__recipe_data(r);
    for (int i = 0; i < r->n_instances && !st; i++) {       /* inputs stand before what uses them */
        hpt__instance *in = &r->instances[i];
        if ((st = hpt__span_tick(1)) || !is_stage(r, in)) continue;
        st = hpt__stage_cost(r, in);
        if (!st) st = note_precision(r, in);
        if (!st) st = make_key(r, in);
        if (!st) st = look(in);
        if (!st) st = try_layer(r, i);
        if (!st && in->file && in->state == HPT__I_NEW) st = try_weights(r, in, weights, sizeof weights);
    }
    return st ? st : hpt__span_tick(0);
}
static hpt_status prepare(hpt_recipe *r) {
    const hpt__section *top = hpt__section_only(r, HPT__S_RECIPE);
    hpt_config *c = NULL;
    HPT_TRY(hpt__recipe_check(r));
    r->out_from_lines = !r->out;
    if (!r->out && !(r->out = hpt__strdup(hpt__section_value(top, "out", "recipe-out")))) return hpt__fail_memory(64);
    HPT_TRY(hpt__recipe_expand(r));
    HPT_TRY(hpt__recipe_check_reports(r));
    HPT_TRY(hpt__recipe_check_options(r));
    r->jobs = atoi(hpt__section_value(top, "jobs", "1"));       /* a whole number: hpt__recipe_check */
    HPT_TRY(context_config(r, 0, &c));
    hpt_status st = OPT_IS(&c->o, comm, "self") ? HPT_OK : hpt__fail(HPT_ERR_UNSUPPORTED,
        "a recipe runs in one process: comm=%s is for hpt pretrain", OPT_S(&c->o, comm));
    if (!st) st = hpt_context_create(c, &r->ctx);
    hpt_config_destroy(c);
    if (!st) st = hpt_context_set_log(r->ctx, r->log, r->log_user);
    if (!st) st = hpt_context_describe(r->ctx, r->backend, sizeof r->backend, NULL);
    if (st) return st;
    hpt__recipe_follow(r, r->ctx);
    st = look_around(r);
    if (!st && r->jobs > r->ctx->threads) r->jobs = r->ctx->threads;
    return st;
}
void hpt__recipe_forget(hpt_recipe *r) {
    for (int i = 0; i < r->n_instances; i++) hpt__instance_fini(&r->instances[i]);
    for (int i = 0; i < r->n_sections; i++) r->sections[i].expanded = r->sections[i].first = r->sections[i].count = 0;
    hpt__free(r->instances);
    hpt__free(r->seeds);
    hpt_context_destroy(r->ctx);
    if (r->out_from_lines) {
        hpt__free(r->out);
        r->out = NULL;
    }
    r->instances = NULL;
    r->seeds = NULL;
    r->ctx = NULL;
    r->n_instances = r->cap_instances = r->n_seeds = r->depth = 0;
    r->precision[0] = 0;
}
hpt_status hpt__recipe_prepare(hpt_recipe *r) {
    if (r->refused) return hpt__fail(r->refused, "%s", r->text);
    if (r->prepared) return HPT_OK;
    hpt_status st = prepare(r);
    if (st == HPT_ERR_CANCELLED) {
        hpt__recipe_forget(r);
        return hpt__fail(st, "cancelled: the recipe's data sets and stages were being looked at; nothing ran");
    }
    r->prepared = 1;
    r->refused = st;
    if (st) snprintf(r->text, sizeof r->text, "%s", hpt__error_text());
    return st;
}

/* ---- estimated time: seconds for an image's forward pass, by kind of network, from results that are there or from
 * a few steps ---- */

typedef struct speed { char what[200]; double images, seconds; } speed;
enum { MAX_SPEEDS = 64 };

static hpt_status network(const hpt_recipe *r, const hpt__instance *in, char *what, size_t size) {
    const hpt__instance *root = hpt__stage_root(r, in);
    hpt_config *c, *first;
    HPT_TRY(hpt__instance_config(r, in, &c));
    hpt_status st = hpt__instance_config(r, root, &first);
    const hpt__options *o = &c->o, *f = st ? NULL : &first->o;
    if (!st)
        snprintf(what, size, "%016llx/%s/%lld/%s/%lld/%s", root->file ? (unsigned long long)XXH3_64bits(root->file,
            strlen(root->file)) : 0,
                 OPT_S(f, arch), (long long)OPT_I(f, width), OPT_S(f, stem), (long long)OPT_I(o, image_size),
                 OPT_S(o, precision));
    hpt_config_destroy(c);
    if (!st) hpt_config_destroy(first);
    return st;
}
/* The stage's network before any training, at most 32 images, three steps of which the last two count. */
static hpt_status measure(hpt_recipe *r, const hpt__instance *in, hpt_context *ctx, speed *s) {
    hpt_config *c = NULL;
    hpt_model *m = NULL;
    hpt_session *session = NULL;
    int d = hpt__instance_input(in, "data", 0);
    hpt_dataset *ds = d < 0 ? NULL : r->instances[in->input[d].instance].ds, *part = NULL;
    hpt_status st = ds ? hpt__instance_config(r, in, &c) : HPT_END;
    int64_t batch = st ? 0 : OPT_I(&c->o, batch_size) < 32 ? OPT_I(&c->o, batch_size) : 32;
    if (!st) st = hpt_config_set_int(c, "batch_size", batch);
    if (!st) st = hpt_config_set(c, "accumulate", "1");
    if (!st) st = hpt_config_set(c, "bn_group", "0");
    if (!st) st = hpt_config_set(c, "carry_key", "0");
    if (!st) st = hpt_config_set(c, "carry_queue", "0");
    if (!st) st = hpt_config_set(c, "pixel_mean", "imagenet");     /* statistics of the images are not what is timed */
    if (!st) st = hpt_config_set(c, "pixel_std", "imagenet");
    if (!st) st = hpt_config_set_int(c, "steps", 3);
    if (!st) st = hpt__dataset_readable(ds, 64, &part);
    if (!st) st = hpt__stage_network(r, ctx, in, &m);
    if (!st) st = hpt__span_tick(0);
    if (!st) st = hpt_session_create(ctx, c, m, part, &session);
    if (!st) st = hpt_session_step(session, NULL);
    double t0 = hpt__now_ms();
    if (!st) st = hpt_session_step(session, NULL);
    if (!st) st = hpt_session_step(session, NULL);
    if (!st) {
        s->seconds = (hpt__now_ms() - t0) / 1000;
        s->images = 2 * 4 * (double)batch;
    }
    hpt_session_destroy(session);
    hpt_model_destroy(m);
    hpt_dataset_destroy(part);
    hpt_config_destroy(c);
    return st == HPT_END ? HPT_OK : st;
}

static hpt_status estimate(hpt_recipe *r) {
    speed all[MAX_SPEEDS];
    int n = 0;
    char what[200];
    hpt_context *ctx = NULL;
    hpt_status st = HPT_OK;
    if (r->estimated) return HPT_OK;
    HPT__SPAN(&r->ctx->watch, HPT_PHASE_PLAN, "networks timed for the plan");
    for (int round = 0; round < 3 && !st; round++)      /* results; measurements for the rest; estimates */
        for (int i = 0; i < r->n_instances && !st; i++) {
            hpt__instance *in = &r->instances[i];
            if (!is_stage(r, in)) continue;
            if ((st = hpt__span_tick(0)) || (st = network(r, in, what, sizeof what))) break;
            int k = 0, pretrain = r->sections[in->section].kind == HPT__S_PRETRAIN;
            while (k < n && strcmp(all[k].what, what)) k++;
            if (round == 2) {
                double rate = k < n && all[k].images > 0 ? all[k].seconds / all[k].images : 0;
                for (int j = 0; !rate && j < n; j++)        /* evaluation options may name the network less fully */
                    if (all[j].images > 0) rate = all[j].seconds / all[j].images;
                in->estimate = in->state == HPT__I_DONE ? 0 : rate * (double)in->images;
                continue;
            }
            if (round == 0 && (!pretrain || in->state != HPT__I_DONE)) continue;
            if (round == 1 && (!pretrain || in->state == HPT__I_DONE || k < n)) continue;
            if (k == n && n == MAX_SPEEDS) continue;
            if (k == n) {
                memset(&all[n], 0, sizeof all[n]);
                memcpy(all[n++].what, what, sizeof what);
            }
            if (round == 0) {
                double seconds = json_number_value(json_object_get(in->result, "seconds")),
                    images = json_number_value(json_object_get(in->result, "images"));
                all[k].seconds += seconds;
                all[k].images += images;
            } else {
                if (!ctx) {
                    hpt_config *c;
                    st = context_config(r, worker_threads(r), &c);
                    if (!st) st = hpt_context_create(c, &ctx);
                    hpt_config_destroy(c);
                    if (!st) hpt__recipe_follow(r, ctx);
                }
                if (!st) st = measure(r, in, ctx, &all[k]);
                if (!st) st = hpt__span_tick(1);
            }
        }
    hpt_context_destroy(ctx);
    r->estimated = !st;
    return st == HPT_ERR_CANCELLED ? hpt__fail(st, "cancelled: the networks were being timed for the plan") : st;
}

void hpt__recipe_facts(const hpt_recipe *r, json_t *out) {
    json_t *data = json_array();
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        const hpt__instance *in = &r->instances[s->first];      /* sizes may differ between seeds: the first */
        hpt_dataset_info info = {.struct_size = sizeof info};
        if (s->kind != HPT__S_DATA || !s->count || hpt_dataset_get_info(in->ds, &info)) continue;
        json_array_append_new(data, json_pack("{s:o,s:I,s:o,s:b}", "name", hpt__json_text(s->name), "images",
                                              (json_int_t)info.count, "classes", info.labelled
                                              ? json_integer(info.classes) : json_null(), "several_labels",
                                              info.labelled == 2));
    }
    json_object_set_new(out, "backend", hpt__json_text(r->backend));
    json_object_set_new(out, "precision", json_string(r->precision));
    json_object_set_new(out, "threads", json_integer(r->ctx->threads));
    json_object_set_new(out, "jobs", json_integer(r->jobs));
    json_object_set_new(out, "data", data);
}

hpt_status hpt__recipe_plan(hpt_recipe *r, json_t *out) {
    static const char *const words[] = {[HPT__I_NEW] = "to do", [HPT__I_PART] = "begun", [HPT__I_RUNNING] = "running",
                                        [HPT__I_DONE] = "done"};
    HPT_TRY(hpt__recipe_prepare(r));
    HPT_TRY(estimate(r));
    json_t *list = json_array();
    double seconds = 0, steps = 0, left = 0;
    int todo = 0, all = 0;
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        if (!is_stage(r, in)) continue;
        json_array_append_new(list, json_pack("{s:o,s:s,s:s,s:s,s:I,s:I,s:f}", "name", hpt__json_text(in->name),
                                              "section", r->sections[in->section].name, "kind",
                                              hpt__kinds[r->sections[in->section].kind].word, "state",
                                              words[in->state], "steps", (json_int_t)in->steps, "images",
                                              (json_int_t)in->images, "seconds", in->estimate));
        all++;
        steps += (double)in->steps;
        if (in->state == HPT__I_DONE) continue;
        todo++;
        left += (double)in->steps;
        seconds += in->estimate;
    }
    json_object_set_new(out, "stages", list);
    json_object_set_new(out, "stage_count", json_integer(all));
    json_object_set_new(out, "to_do", json_integer(todo));
    json_object_set_new(out, "total_steps", json_real(steps));
    json_object_set_new(out, "steps_left", json_real(left));
    json_object_set_new(out, "seconds_left", json_real(seconds / r->jobs));
    hpt__recipe_facts(r, out);
    json_object_set_new(out, "out", hpt__json_text(r->out));
    return HPT_OK;
}

/* ---- workers ---- */

/* steps as told last */
typedef struct worker { hpt_recipe *r; hpt_context *ctx; hpt__instance *in; double share; uint64_t step, steps;
                        int begun; pthread_t thread; } worker;

static void count(const hpt_recipe *r, int *done, int *all) {
    *done = *all = 0;
    for (int i = 0; i < r->n_instances; i++) {
        if (!is_stage(r, &r->instances[i])) continue;
        ++*all;
        *done += r->instances[i].state == HPT__I_DONE;
    }
}
/* With the lock. Non-zero from the host: stop. */
static void show(worker *w, int32_t event, uint64_t step, uint64_t steps) {
    hpt_recipe *r = w->r;
    hpt_recipe_progress p = {.struct_size = sizeof p, .event = event, .step = step, .steps = steps};
    int done, all;
    if (!r->fn) return;
    count(r, &done, &all);
    p.done = (uint32_t)done;
    p.stages = (uint32_t)all;
    double worked = r->spent, passed = (hpt__now_ms() - r->started) / 1000;
    p.seconds_left = worked > 0 ? passed * (r->total - worked) / worked : r->total / r->jobs;
    if (p.seconds_left < 0) p.seconds_left = 0;
    snprintf(p.name, sizeof p.name, "%s", w->in->name);
    if (r->fn(r->user, &p)) r->stop = 1;
}
static hpt_status on_step(void *user, uint64_t step, uint64_t steps) {
    worker *w = user;
    pthread_mutex_lock(&w->r->lock);
    if (!steps) step = w->step, steps = w->steps;       /* somewhere between two steps */
    else w->step = step, w->steps = steps;
    double share = w->in->estimate * (steps ? (double)step / (double)steps : 0);
    if (!w->begun && step && steps) {       /* what a resumed stage had done already is not this run's work */
        w->begun = 1;
        w->share = w->in->estimate * (double)(step - 1) / (double)steps;
        w->r->total -= w->share;
    }
    if (share > w->share) {
        w->r->spent += share - w->share;
        w->share = share;
    }
    show(w, HPT_RECIPE_STEP, step, steps);
    w->r->stop |= hpt__recipe_cancelled(w->r);
    int stop = w->r->stop;
    pthread_mutex_unlock(&w->r->lock);
    return stop ? hpt__fail(HPT_ERR_CANCELLED, "stopped") : HPT_OK;
}

/* The first instance whose inputs are done, or NULL; waiting: others may still become ready. */
static hpt__instance *next(hpt_recipe *r, int *waiting) {
    *waiting = 0;
    for (int i = 0; i < r->n_instances; i++) {
        hpt__instance *in = &r->instances[i];
        if (!is_stage(r, in) || in->state == HPT__I_DONE) continue;
        if (in->state == HPT__I_RUNNING) {
            *waiting = 1;
            continue;
        }
        int ready = 1;
        for (int k = 0; k < in->n_input; k++) {
            const hpt__instance *d = &r->instances[in->input[k].instance];
            ready &= !is_stage(r, d) || d->state == HPT__I_DONE;
        }
        if (ready) return in;
    }
    return NULL;
}

static void *work(void *arg) {
    worker *w = arg;
    hpt_recipe *r = w->r;
    pthread_mutex_lock(&r->lock);
    while (!r->stop && !hpt__recipe_cancelled(r)) {
        int waiting;
        hpt__instance *in = next(r, &waiting);
        if (!in && !waiting) break;
        if (!in) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        in->state = HPT__I_RUNNING;
        w->in = in;
        w->share = 0;
        w->begun = 0;
        w->step = 0;
        w->steps = in->steps;
        show(w, HPT_RECIPE_BEGIN, 0, in->steps);
        pthread_mutex_unlock(&r->lock);
        hpt_status st = hpt__stage_run(r, w->ctx, in, on_step, w);
        pthread_mutex_lock(&r->lock);
        in->state = st ? HPT__I_NEW : HPT__I_DONE;
        if (st && (!r->status || r->status == HPT_ERR_CANCELLED)) {
            r->status = st;
            snprintf(r->text, sizeof r->text, "%s", hpt__error_text());
        }
        if (st) r->stop = 1;
        else {
            r->spent += in->estimate - w->share;
            show(w, HPT_RECIPE_END, in->steps, in->steps);
        }
        pthread_cond_broadcast(&r->changed);
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void forward_log(void *user, int32_t level, const char *text) {
    hpt_recipe *r = user;
    if (!r->log) return;
    pthread_mutex_lock(&r->lock);
    r->log(r->log_user, level, text);
    pthread_mutex_unlock(&r->lock);
}

static hpt_status run_workers(hpt_recipe *r) {
    worker w[64];
    int started = 0;
    hpt_config *c;
    hpt_status st = context_config(r, worker_threads(r), &c);
    memset(w, 0, sizeof w);
    for (int i = 0; i < r->jobs && !st; i++) {
        w[i].r = r;
        if (r->jobs == 1) w[i].ctx = r->ctx;
        else st = hpt_context_create(c, &w[i].ctx);
        if (!st && r->jobs > 1) st = hpt_context_set_log(w[i].ctx, forward_log, r);
    }
    if (!st && r->jobs == 1) work(&w[0]);
    else
        for (; started < r->jobs && !st; started++)
            if (hpt__thread_start(&w[started].thread, work, &w[started])) {
                if (started) break;
                st = hpt__fail(HPT_ERR_MEMORY, "cannot start a thread for stages");
            }
    for (int i = 0; i < started; i++) pthread_join(w[i].thread, NULL);
    for (int i = 0; i < r->jobs && r->jobs > 1; i++) hpt_context_destroy(w[i].ctx);
    hpt_config_destroy(c);
    return st;
}

hpt_status hpt__recipe_run(hpt_recipe *r) {
    char path[4200];
    HPT_TRY(hpt__recipe_prepare(r));
    HPT_TRY(hpt__make_dir(r->out));
    snprintf(path, sizeof path, "%s/.lock", r->out);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return hpt__fail(HPT_ERR_IO, "%.800s: cannot be written", path);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        close(fd);
        return hpt__fail(HPT_ERR_STATE, "%.800s: another process runs a recipe there", r->out);
    }
    hpt_status st = HPT_OK;
    for (int i = 0; i < r->n_instances && !st; i++)        /* another process may have gone on meanwhile */
        if (is_stage(r, &r->instances[i]) && r->instances[i].state != HPT__I_DONE) st = look(&r->instances[i]);
    if (!st) st = estimate(r);
    r->stop = 0;
    r->status = HPT_OK;
    r->started = hpt__now_ms();
    r->spent = r->total = 0;
    for (int i = 0; i < r->n_instances; i++)
        if (is_stage(r, &r->instances[i]) && r->instances[i].state != HPT__I_DONE) r->total += r->instances[i].estimate;
    if (!st) st = run_workers(r);
    if (!st && r->status) st = hpt__fail(r->status, "%s", r->text);
    int done, all;
    count(r, &done, &all);
    if (!st && done < all) st = hpt__fail(HPT_ERR_CANCELLED, "stopped with %d of %d stages done", done, all);
    close(fd);
    return st;
}

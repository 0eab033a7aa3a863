/* SPDX-License-Identifier: MIT
 * One instance: its model from the stage before, its data, the call of hpt.h that does the work, and its files:
 * model.safetensors, result.json (written last: there means done), and while it trains checkpoint.pth.tar. */
#define _GNU_SOURCE
#include "recipe/stage.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/number.h"
#include "core/result.h"
#include "data/dataset.h"
#include "io/file.h"
#include "ssl/labelled.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

hpt_status hpt__make_dir(const char *path) {
    char part[4096], why[128];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1;; p++) {
        if (*p && *p != '/') continue;
        char was = *p;
        *p = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return hpt__fail(HPT_ERR_IO, "%.800s: cannot make the folder (%s)", part,
                             strerror_r(errno, why, sizeof why));
        *p = was;
        if (!was) return HPT_OK;
    }
}
hpt_status hpt__json_write(const char *path, json_t *j) {
    hpt__writer w;
    char *text = hpt__json_dumps(j, JSON_INDENT(1));
    if (!text) return hpt__fail_memory(4096);
    hpt_status st = hpt__writer_open(&w, path);
    if (!st) {
        hpt__writer_put(&w, text, strlen(text));
        hpt__writer_put(&w, "\n", 1);
        st = hpt__writer_commit(&w);
    }
    hpt__free(text);
    return st;
}
void hpt__stage_file(const hpt__instance *in, const char *name, char path[4200]) {
    snprintf(path, 4200, "%s/%s", in->dir, name);
}

/* The r-th input with this key as an instance, or NULL. */
hpt__instance *hpt__stage_input(const hpt_recipe *r, const hpt__instance *in, const char *key) {
    int i = hpt__instance_input(in, key, 0);
    return i < 0 ? NULL : &r->instances[in->input[i].instance];
}
/* A handle of this worker's own on a data set; NULL where there is none. */
hpt_status hpt__stage_data(const hpt_recipe *r, const hpt__instance *in, const char *key, hpt_dataset **out) {
    hpt__instance *d = hpt__stage_input(r, in, key);
    *out = NULL;
    return d ? hpt__dataset_share(d->ds, out) : HPT_OK;
}
hpt_status hpt__stage_model(const hpt_recipe *r, hpt_context *ctx, const hpt_config *c, const hpt__instance *in,
                        const char *key, hpt_model **out) {
    const hpt__instance *from = hpt__stage_input(r, in, key);
    char path[4200];
    if (from) {
        hpt__stage_file(from, "model.safetensors", path);
        return hpt_model_load(ctx, c, path, out, NULL);
    }
    return in->file ? hpt_model_load(ctx, c, in->file, out, NULL) : hpt_model_create(ctx, c, out);
}

const hpt__instance *hpt__stage_root(const hpt_recipe *r, const hpt__instance *in) {
    static const char *const keys[] = {"init", "model", "of"};
    const hpt__instance *from;
    do {
        from = NULL;
        for (size_t i = 0; i < sizeof keys / sizeof *keys && !from; i++) from = hpt__stage_input(r, in, keys[i]);
        if (from) in = from;
    } while (from);
    return in;
}
hpt_status hpt__stage_network(const hpt_recipe *r, hpt_context *ctx, const hpt__instance *in, hpt_model **out) {
    const hpt__instance *root = hpt__stage_root(r, in);
    hpt_config *c;
    HPT_TRY(hpt__instance_config(r, root, &c));
    hpt_status st = root->file ? hpt_model_load(ctx, c, root->file, out, NULL) : hpt_model_create(ctx, c, out);
    hpt_config_destroy(c);
    return st;
}

/* JSON of a result into out. */
void hpt__stage_merge(json_t *out, hpt_result *res) {
    if (res) json_object_update(out, res->json);
    hpt_result_destroy(res);
}

/* What a number rests on, from the result of a call. */
void hpt__stage_facts(json_t *out, const hpt_result *res) {
    static const char *const keys[] = {"metric", "backend", "precision", "threads", "pixel_mean", "pixel_std",
                                       "pixels_from", "pixel_statistics"};
    for (size_t i = 0; res && i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(res->json, keys[i])) json_object_set(out, keys[i], json_object_get(res->json, keys[i]));
}

uint64_t hpt__stage_save_every(const hpt_recipe *r, const hpt__instance *in) {
    const char *v = hpt__instance_value(r, in, "save_every");
    double x;
    if (!v) v = hpt__section_value(hpt__section_only(r, HPT__S_RECIPE), "save_every", "500");
    return hpt__number_parse(v, &x) && x >= 1 ? (uint64_t)x : 500;
}

static hpt_status refresh(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, json_t *out) {
    char path[4200];
    hpt_result *res = NULL;
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    hpt_status st = hpt__stage_model(r, ctx, c, in, "init", &m);
    if (!st) st = hpt__stage_data(r, in, "data", &ds);
    if (!st) st = hpt_model_refresh_bn(m, ds, c, &res);
    hpt__stage_file(in, "model.safetensors", path);
    if (!st) st = hpt_model_save(m, path, NULL);
    if (!st) hpt__report_unreadable(out, "data", ds);
    hpt__stage_facts(out, res);
    hpt_result_destroy(res);
    hpt_model_destroy(m);
    hpt_dataset_destroy(ds);
    return st;
}

/* Raw float32 beside the result, for stages that compare predictions. */
static hpt_status keep_logits(const hpt__instance *in, const hpt_result *res) {
    char path[4200];
    uint64_t n = 0;
    if (hpt_result_array(res, "test_logits", NULL, 0, &n)) return HPT_OK;
    float *x = hpt__alloc((size_t)n * 4);
    if (!x) return hpt__fail_memory((size_t)n * 4);
    hpt__writer w;
    hpt__stage_file(in, "test_logits.f32", path);
    hpt_status st = hpt_result_array(res, "test_logits", x, n, NULL);
    if (!st) st = hpt__writer_open(&w, path);
    if (!st) {
        hpt__writer_put(&w, x, (size_t)n * 4);
        st = hpt__writer_commit(&w);
    }
    hpt__free(x);
    return st;
}

/* What a result with the sets train and test says of them, where test is called `set` here. */
static void merge_sets(json_t *out, const json_t *from, const char *set) {
    static const char *const about[] = {"unreadable", "classes_only_in_train", "classes_matched"};
    const char *name;
    char key[40];
    json_t *value, *in;
    json_int_t count = 0;
    for (size_t i = 0; i < sizeof about / sizeof *about; i++)
        json_object_foreach(json_object_get(from, about[i]), name, value) {
            if (!(in = json_object_get(out, about[i]))) json_object_set_new(out, about[i], in = json_object());
            json_object_set(in, strcmp(name, "test") ? name : set, value);
        }
    json_object_foreach(json_object_get(out, "unreadable"), name,
                        value) count += json_integer_value(json_object_get(value, "count"));
    json_object_set_new(out, "unreadable_images", json_integer(count));
    json_object_set(out, "train_images", json_object_get(from, "train_images"));
    snprintf(key, sizeof key, "%s_images", set);
    json_object_set(out, key, json_object_get(from, "test_images"));
}

/* About ten times a second: how far a probe or finetuning is, which have no other steps to tell, and whether to
 * stop. */
typedef struct watcher { hpt_recipe *r; hpt__stage_step fn; void *user; hpt__section_kind kind; double told; } watcher;
static int32_t look_up(void *user, const hpt_progress *p) {
    enum { EVERY_MS = 100 };
    watcher *w = user;
    double t = hpt__now_ms();
    if (t - w->told >= EVERY_MS) {
        w->told = t;
        hpt__recipe_hear(w->r, p);      /* an end that is asked for here reaches every stage by its next step */
    }
    int counts = (w->kind == HPT__S_LINEAR && p->phase == HPT_PHASE_PROBE) ||
        (w->kind == HPT__S_FINETUNE && p->phase == HPT_PHASE_FINETUNE);
    return counts && p->total ? w->fn(w->user, p->done, p->total) != HPT_OK : w->fn(w->user, 0, 0) != HPT_OK;
}
static hpt_status evaluate(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, json_t *out) {
    hpt__section_kind kind = r->sections[in->section].kind;
    char path[4200];
    hpt_model *m = NULL, *tuned = NULL;
    hpt_dataset *train = NULL, *val = NULL, *test = NULL;
    hpt_result *res = NULL;
    hpt_status st = hpt__stage_model(r, ctx, c, in, "model", &m);
    if (!st) st = hpt__stage_data(r, in, "train", &train);
    if (!st) st = hpt__stage_data(r, in, "val", &val);
    if (!st) st = hpt__stage_data(r, in, "test", &test);
    /* as a probe does: a fifth of train, every class left in the rest */
    if (!st && kind == HPT__S_KNN && !val && !test) {
        hpt_dataset *all = train;
        uint64_t n;
        train = NULL;
        st = hpt_dataset_objects(all, &n);
        if (!st) st = hpt_dataset_few(all, n - n / 5, (uint64_t)OPT_I(&c->o, seed), &train, &val);
        hpt_dataset_destroy(all);
    }
    if (!st && kind != HPT__S_KNN) {        /* an interrupted one goes on */
        hpt__stage_file(in, "work.state", path);
        st = hpt_config_set(c, "work_file", path);
        if (!st) st = hpt_config_set_int(c, "work_every", (int64_t)hpt__stage_save_every(r, in));
    }
    if (!st && kind == HPT__S_LINEAR) st = hpt_model_linear(m, train, val, test, c, &res);
    else if (!st && kind == HPT__S_FINETUNE) {
        st = hpt_model_finetune(m, train, val, test, c, &tuned, &res);
        hpt__stage_file(in, "model.safetensors", path);
        if (!st) st = hpt_model_save(tuned, path, NULL);
    } else if (!st) {        /* nothing is chosen here: both sets are scored */
        static const char *const names[2] = {"val_score", "test_score"};
        for (int i = 0; i < 2 && !st; i++) {
            if (!(i ? test : val)) continue;
            st = hpt_model_knn(m, train, i ? test : val, c, &res);
            if (!st) json_object_set(out, names[i], json_object_get(res->json, "knn_score"));
            hpt__stage_facts(out, res);
            if (!st) merge_sets(out, res->json, hpt__set_names[i + 1]);
            hpt_result_destroy(res);
            res = NULL;
        }
    }
    if (!st && kind != HPT__S_KNN) st = hpt_config_set(c, "work_file", "");        /* no paths in results */
    if (!st && res) st = keep_logits(in, res);
    if (!st && res) {
        hpt__stage_merge(out, res);
        json_object_del(out, "curve");
    } else hpt_result_destroy(res);
    hpt_model_destroy(m);
    hpt_model_destroy(tuned);
    hpt_dataset_destroy(train);
    hpt_dataset_destroy(val);
    hpt_dataset_destroy(test);
    return st;
}

/* The evaluation with the best validation score (ties: the first); its model goes on. */
static hpt_status choose(hpt_recipe *r, hpt__instance *in, json_t *out) {
    const char *by = hpt__instance_value(r, in, "by");
    char path[4200];
    const hpt__instance *best = NULL;
    double top = 0;
    json_t *all = json_array();
    for (int i = 0; i < in->n_input; i++) {
        const hpt__instance *e = &r->instances[in->input[i].instance];
        double v = hpt__json_real(json_object_get(e->result, by ? by : "val_score"));
        json_array_append_new(all, json_pack("{s:o,s:o}", "name", hpt__json_text(e->name), "val_score",
                                             hpt__json_number(v)));
        if (v == v && (!best || v > top)) best = e, top = v;
    }
    json_object_set_new(out, "candidates", all);
    if (!best)
        return hpt__fail(HPT_ERR_NUMERIC, "[%s]: no evaluation has the number '%s' to choose by",
                         r->sections[in->section].name, by ? by : "val_score");
    json_object_set_new(out, "chosen", hpt__json_text(best->name));
    json_object_set_new(out, "val_score", json_real(top));
    json_object_set(out, "metric", json_object_get(best->result, "metric"));
    const hpt__instance *from = r->sections[best->section].kind == HPT__S_ADAPT ? best
        : hpt__stage_input(r, best, "model");
    hpt__bytes b;
    hpt__writer w;
    if (!from)
        return hpt__fail(HPT_ERR_FORMAT, "[%s]: '%s' has no stage as its model", r->sections[in->section].name,
                         best->name);
    hpt__stage_file(from, "model.safetensors", path);
    HPT_TRY(hpt__file_read(path, 1ull << 34, &b));
    hpt__stage_file(in, "model.safetensors", path);
    hpt_status st = hpt__writer_open(&w, path);
    if (!st) {
        hpt__writer_put(&w, b.p, b.n);
        st = hpt__writer_commit(&w);
    }
    hpt__free(b.p);
    return st;
}

/* ---- any instance ---- */

hpt_status hpt__stage_run(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt__stage_step fn, void *user) {
    hpt_config *c = NULL;
    char path[4200], key[24];
    json_t *out = json_object();
    uint64_t losses = hpt__json_losses();
    double t0 = hpt__now_ms();
    hpt_status st = hpt__make_dir(in->dir);
    if (!st) st = hpt__instance_config(r, in, &c);
    hpt__section_kind kind = r->sections[in->section].kind;
    watcher w = {r, fn, user, kind, 0};
    if (!st) st = hpt_context_set_progress(ctx, look_up, &w);
    ctx->watch.often = 1;
    if (!st) switch (kind) {
        case HPT__S_PRETRAIN: case HPT__S_ADAPT: st = hpt__stage_pretrain(r, ctx, in, c, fn, user, out); break;
        case HPT__S_REFRESH: st = refresh(r, ctx, in, c, out); break;
        case HPT__S_SEARCH: st = hpt__stage_search(r, ctx, in, c, fn, user, out); break;
        case HPT__S_CHOOSE: st = choose(r, in, out); break;
        case HPT__S_SIMILARITY: st = hpt__stage_similarity(r, ctx, in, c, fn, user, out); break;
        default: st = evaluate(r, ctx, in, c, out);
        }
    hpt__recipe_follow(r, ctx);
    if (st == HPT_ERR_CANCELLED) st = hpt__fail(st, "stopped");
    if (!st) {
        json_t *vars = json_object(), *config = NULL;
        size_t n = 0;
        for (int i = 0; i < in->n_vars; i++)
            json_object_set_new(vars, in->vars[i].id, hpt__json_text(in->vars[i].value));
        snprintf(key, sizeof key, "%016llx", (unsigned long long)in->key);
        hpt_config_json(c, NULL, NULL, 0, &n);
        const char *stage = hpt__kinds[kind].stage;
        char *text = hpt__alloc(n + 1);
        if (text && stage && !hpt_config_json(c, stage, text, n + 1, NULL)) config = json_loads(text, 0, NULL);
        hpt__free(text);
        if (!out || (stage && !config)) losses++;
        json_t *all = json_pack("{s:o,s:s,s:s,s:I,s:o,s:f,s:I,s:s,s:o?}", "stage",
                                hpt__json_text(r->sections[in->section].name), "kind",
                                hpt__kinds[r->sections[in->section].kind].word, "key", key, "seed",
                                (json_int_t)in->seed, "vars", vars, "seconds", (hpt__now_ms() - t0) / 1000, "images",
                                (json_int_t)in->images, "libhpt", hpt_version_string(), "config", config);
        json_object_update(all, out);
        hpt__stage_file(in, "result.json", path);
        st = all && hpt__json_losses() == losses ? hpt__json_write(path, all) : hpt__fail_memory(4096);
        in->result = all;
    }
    json_decref(out);
    hpt_config_destroy(c);
    return st ? hpt__fail_context(st, "stage %.100s", in->name) : HPT_OK;
}

/* Updates, and images that pass through the network: a forward pass is 1, with backward 3. */
hpt_status hpt__stage_cost(hpt_recipe *r, hpt__instance *in) {
    hpt_config *c;
    HPT_TRY(hpt__instance_config(r, in, &c));
    const hpt__options *o = &c->o;
    uint64_t step = 4 * (uint64_t)(OPT_I(o, batch_size) * OPT_I(o, accumulate)), steps = (uint64_t)OPT_I(o, steps),
        sets = 0, sources = 0, of = 0, rungs = (uint64_t)OPT_I(o, search_rungs) + 1;
    for (int i = 0; i < in->n_input; i++) {
        const hpt__instance *d = &r->instances[in->input[i].instance];
        if (r->sections[d->section].kind == HPT__S_DATA && strcmp(in->input[i].key, "sources")) sets += d->images;
        sources += !strcmp(in->input[i].key, "sources");
        of += !strcmp(in->input[i].key, "of");
    }
    switch (r->sections[in->section].kind) {
    case HPT__S_PRETRAIN: in->steps = steps; in->images = steps * step; break;
    case HPT__S_ADAPT: {        /* one batch of the source, one with labels, two without; each with a backward pass */
        const hpt__instance *test = hpt__stage_input(r, in, "test");
        in->steps = steps;
        in->images = steps * 3 * (uint64_t)OPT_I(o, batch_size) * (OPT_IS(o, mme_entropy, "off") ? 2 : 4) +
            (test ? test->images : 0);
        break; }
    case HPT__S_SEARCH: in->steps = sources * steps; in->images = sources * (steps * step + rungs * sets); break;
    case HPT__S_FINETUNE: {
        const hpt__instance *train = hpt__stage_input(r, in, "train"), *val = hpt__stage_input(r, in, "val");
        uint64_t batch = (uint64_t)OPT_I(o, ft_batch), updates = 0;
        char item[32];
        double lr[8], v;
        int rates = hpt__number_list(OPT_S(o, ft_lr), lr, 8);
        for (int i = 0; hpt__list_item(OPT_S(o, ft_length), i, ',', item, sizeof item); i++) {
            size_t n = strlen(item);
            int epochs = n && item[n - 1] == 'e';
            if (epochs) item[n - 1] = 0;
            if (hpt__number_parse(item, &v) && v > 0)
                updates += (uint64_t)v * (epochs ? (train->images + batch - 1) / batch : 1);
        }
        in->steps = updates * (uint64_t)(rates > 0 ? rates : 1);
        in->images = in->steps * batch * 3 + (val ? val->images : 0) * in->steps / (uint64_t)OPT_I(o, ft_eval_every);
        break; }
    case HPT__S_LINEAR:
        in->steps = 0;
        in->images = sets + (OPT_I(o, probe_augment) ? (uint64_t)OPT_I(o, probe_steps) * (uint64_t)OPT_I(o,
            probe_batch) : 0); break;
    case HPT__S_SIMILARITY: in->steps = 0; in->images = of * sets; break;
    default: in->steps = 0; in->images = sets;
    }
    hpt_config_destroy(c);
    return HPT_OK;
}

/* SPDX-License-Identifier: MIT
 * One instance: its model from the stage before, its data, the call of hpt.h that does the work, and its files:
 * model.safetensors, result.json (written last: there means done), and while it trains checkpoint.pth.tar. */
#define _GNU_SOURCE
#include "recipe/recipe.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/number.h"
#include "core/result.h"
#include "data/dataset.h"
#include "io/file.h"
#include "nn/facts.h"
#include "ssl/labelled.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
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
static void file_in(const hpt__instance *in, const char *name, char path[4200]) {
    snprintf(path, 4200, "%s/%s", in->dir, name);
}

/* The r-th input with this key as an instance, or NULL. */
static hpt__instance *input(const hpt_recipe *r, const hpt__instance *in, const char *key) {
    int i = hpt__instance_input(in, key, 0);
    return i < 0 ? NULL : &r->instances[in->input[i].instance];
}
/* A handle of this worker's own on a data set; NULL where there is none. */
static hpt_status data(const hpt_recipe *r, const hpt__instance *in, const char *key, hpt_dataset **out) {
    hpt__instance *d = input(r, in, key);
    *out = NULL;
    return d ? hpt__dataset_share(d->ds, out) : HPT_OK;
}
static hpt_status model(const hpt_recipe *r, hpt_context *ctx, const hpt_config *c, const hpt__instance *in,
                        const char *key, hpt_model **out) {
    const hpt__instance *from = input(r, in, key);
    char path[4200];
    if (from) {
        file_in(from, "model.safetensors", path);
        return hpt_model_load(ctx, c, path, out, NULL);
    }
    return in->file ? hpt_model_load(ctx, c, in->file, out, NULL) : hpt_model_create(ctx, c, out);
}

const hpt__instance *hpt__stage_root(const hpt_recipe *r, const hpt__instance *in) {
    static const char *const keys[] = {"init", "model", "of"};
    const hpt__instance *from;
    do {
        from = NULL;
        for (size_t i = 0; i < sizeof keys / sizeof *keys && !from; i++) from = input(r, in, keys[i]);
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
static void merge(json_t *out, hpt_result *res) {
    if (res) json_object_update(out, res->json);
    hpt_result_destroy(res);
}

/* What a number rests on, from the result of a call. */
static void take_facts(json_t *out, const hpt_result *res) {
    static const char *const keys[] = {"metric", "backend", "precision", "threads", "pixel_mean", "pixel_std",
                                       "pixels_from", "pixel_statistics"};
    for (size_t i = 0; res && i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(res->json, keys[i])) json_object_set(out, keys[i], json_object_get(res->json, keys[i]));
}

/* Does a later stage take key encoder or queue from this one's checkpoint? */
static int carried(const hpt_recipe *r, const hpt__instance *in) {
    int me = (int)(in - r->instances);
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *c = &r->instances[i];
        if (c->section < 0 || r->sections[c->section].kind != HPT__S_PRETRAIN) continue;
        int at = hpt__instance_input(c, "init", 0);
        const char *k = hpt__instance_value(r, c, "carry_key");
        int yes = k && !strcmp(k, "1");
        k = hpt__instance_value(r, c, "carry_queue");
        yes |= k && !strcmp(k, "1");
        if (at >= 0 && c->input[at].instance == me && yes) return 1;
    }
    return 0;
}

static uint64_t save_every(const hpt_recipe *r, const hpt__instance *in) {
    const char *v = hpt__instance_value(r, in, "save_every");
    double x;
    if (!v) v = hpt__section_value(hpt__section_only(r, HPT__S_RECIPE), "save_every", "500");
    return hpt__number_parse(v, &x) && x >= 1 ? (uint64_t)x : 500;
}

typedef struct teller { hpt__stage_step fn; void *user; hpt_status st; uint64_t done, total; } teller;
static int32_t tell(void *user, const hpt_step_info *i) {
    teller *t = user;
    (void)i;
    t->st = t->fn(t->user, ++t->done, t->total);
    return t->st != HPT_OK;
}

/* A checkpoint, and beside it (first, so that it is never behind) what the result will say of the steps before. */
static hpt_status save_pretraining(hpt_session *s, const char *checkpoint, const char *story, json_t *curve) {
    hpt_result *res = NULL;
    json_t *j = json_object();
    uint64_t losses = hpt__json_losses();
    hpt_status st = j ? hpt_session_result(s, &res) : hpt__fail_memory(64);
    if (!st) {
        json_object_set(j, "curve", curve);
        json_object_set(j, "result", res->json);
        st = hpt__json_losses() == losses ? hpt__json_write(story, j) : hpt__fail_memory(4096);
    }
    hpt_result_destroy(res);
    json_decref(j);
    return st ? st : hpt_session_save(s, checkpoint);
}
/* The curve up to a step, and the result then (NULL: nothing is kept). */
static hpt_status read_story(const char *story, uint64_t step, json_t *curve, json_t **result) {
    enum { MOST = 1 << 24 };
    struct stat sb;
    hpt__bytes b;
    size_t at;
    json_t *point;
    *result = NULL;
    if (stat(story, &sb)) return HPT_OK;
    HPT_TRY(hpt__file_read(story, MOST, &b));
    json_t *j = json_loadb((const char *)b.p, b.n, 0, NULL);
    hpt__free(b.p);
    json_array_foreach(json_object_get(j, "curve"), at, point)
        if ((uint64_t)json_integer_value(json_array_get(point, 0)) <= step) json_array_append(curve, point);
    *result = json_incref(json_object_get(j, "result"));
    json_decref(j);
    return HPT_OK;
}

/* The further sets of an adaptation. Without the entropy of unlabelled images these are not looked at. */
static hpt_status give_roles(hpt_recipe *r, const hpt__instance *in, const hpt_config *c, hpt_session *s, json_t *out) {
    static const char *const roles[] = {"labelled", "unlabelled", "val"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        hpt_dataset *ds;
        if (!strcmp(roles[i], "unlabelled") && OPT_IS(&c->o, mme_entropy, "off")) continue;
        HPT_TRY(data(r, in, roles[i], &ds));
        if (!ds) continue;
        char key[40];
        snprintf(key, sizeof key, "%s_images", roles[i]);
        json_object_set_new(out, key, json_integer((json_int_t)ds->count));
        hpt_status st = hpt_session_data(s, roles[i], ds);
        hpt_dataset_destroy(ds);
        HPT_TRY(st);
    }
    return HPT_OK;
}
/* Accuracy of the classifier on all images of the test set that can be read, and on val what the session found. */
static hpt_status score_adapted(hpt_recipe *r, const hpt__instance *in, hpt_model *m, json_t *out) {
    static const char *const numbers[] = {"test_top1", "test_class_mean", "test_images"};
    hpt_config *own = NULL;
    hpt_dataset *test;
    hpt_result *res = NULL;
    char said[300];
    if (input(r, in, "val")) {
        json_object_set(out, "val_score", json_object_get(out, "monitor_best"));
        json_object_set(out, "best_step", json_object_get(out, "monitor_best_step"));
    }
    json_object_set_new(out, "metric", json_string("top1"));
    json_object_set_new(out, "source_images", json_integer((json_int_t)input(r, in, "source")->images));
    HPT_TRY(data(r, in, "test", &test));
    if (!test) return HPT_OK;
    if (hpt__protocol_text(r, in, said, sizeof said)) json_object_set_new(out, "protocol", hpt__json_text(said));
    hpt_status st = hpt__instance_config(r, in, &own);
    if (!st) st = hpt_config_set(own, "pixel_mean", "model");
    if (!st) st = hpt_config_set(own, "pixel_std", "model");
    if (!st) st = hpt_model_score(m, test, own, &res);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !st; i++)
        json_object_set(out, numbers[i], json_object_get(res->json, numbers[i]));
    if (!st) json_object_set(out, "test_score", json_object_get(out, "test_top1"));
    if (!st) hpt__report_unreadable(out, "test", test);
    hpt_result_destroy(res);
    hpt_config_destroy(own);
    hpt_dataset_destroy(test);
    return st;
}

static hpt_status pretrain(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                           void *user, json_t *out) {
    char checkpoint[4200], story[4200], path[4200];
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL, *train = NULL, *val = NULL;
    int adapts = r->sections[in->section].kind == HPT__S_ADAPT;
    hpt_session *s = NULL;
    hpt_result *res = NULL;
    struct stat sb;
    hpt_step_info info = {.struct_size = sizeof info};
    uint64_t every = save_every(r, in);
    file_in(in, "checkpoint.pth.tar", checkpoint);
    file_in(in, "story.json", story);
    const hpt__instance *before = input(r, in, "init");
    hpt_status st = HPT_OK;
    if (before && (OPT_I(&c->o, carry_key) || OPT_I(&c->o, carry_queue))) {
        file_in(before, "checkpoint.pth.tar", path);
        st = hpt_config_set(c, "carry_from", path);
    }
    /* looked at before, and said in the report */
    if (!st && adapts && (in->tested[0] || in->tested[1])) st = hpt_config_set(c, "overlap", "allow");
    if (!st) st = model(r, ctx, c, in, "init", &m);
    if (!st) st = data(r, in, adapts ? "source" : "data", &ds);
    if (!st) st = data(r, in, "monitor_train", &train);
    if (!st) st = data(r, in, "monitor_val", &val);
    if (!st) st = hpt_session_create(ctx, c, m, ds, &s);
    if (!st && adapts) st = give_roles(r, in, c, s, out);
    if (!st && train && val) st = hpt_session_monitor(s, train, val);
    int resumed = !st && !stat(checkpoint, &sb);
    if (resumed) st = hpt_session_resume(s, checkpoint);
    if (!st) st = hpt_session_get_info(s, &info);
    json_t *curve = json_array(), *kept = NULL;
    if (!st && resumed) st = read_story(story, info.step, curve, &kept);
    uint64_t first = info.step;
    uint64_t stride = in->steps / 60 + 1;
    while (!st && info.step < in->steps && !info.stopped) {
        st = hpt_session_step(s, &info);
        if (st == HPT_END) {
            st = HPT_OK;
            break;
        }
        if (!st && (info.step % stride == 0 || info.step == in->steps))
            json_array_append_new(curve, json_pack("[I,o]", (json_int_t)info.step, hpt__json_number(info.loss)));
        if (!st && info.step % every == 0 && info.step < in->steps)
            st = save_pretraining(s, checkpoint, story, curve);
        if (!st) st = fn(user, info.step, in->steps);
        if (st == HPT_ERR_CANCELLED) {      /* stopped, perhaps in the middle of a step: nothing is lost */
            char why[512];
            snprintf(why, sizeof why, "%.500s", hpt_last_error());
            hpt_status saved = save_pretraining(s, checkpoint, story, curve);
            st = saved ? saved : hpt__fail(st, "%s", why);
        }
    }
    if (!st && carried(r, in)) st = hpt_session_save(s, checkpoint);
    else if (!st) remove(checkpoint);
    file_in(in, "model.safetensors", path);
    if (!st) st = hpt_model_save(m, path, NULL);
    if (!st) st = hpt_session_result(s, &res);
    if (!st) {
        json_object_set(out, "curve", curve);
        merge(out, res);
        if (kept && info.step == first) json_object_update(out, kept);      /* no step was left to make */
    }
    if (!st && adapts) st = score_adapted(r, in, m, out);
    if (!st) {
        remove(story);
    }
    json_decref(kept);
    json_decref(curve);
    hpt_session_destroy(s);
    hpt_model_destroy(m);
    hpt_dataset_destroy(ds);
    hpt_dataset_destroy(train);
    hpt_dataset_destroy(val);
    return st;
}

static hpt_status refresh(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, json_t *out) {
    char path[4200];
    hpt_result *res = NULL;
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    hpt_status st = model(r, ctx, c, in, "init", &m);
    if (!st) st = data(r, in, "data", &ds);
    if (!st) st = hpt_model_refresh_bn(m, ds, c, &res);
    file_in(in, "model.safetensors", path);
    if (!st) st = hpt_model_save(m, path, NULL);
    if (!st) hpt__report_unreadable(out, "data", ds);
    take_facts(out, res);
    hpt_result_destroy(res);
    hpt_model_destroy(m);
    hpt_dataset_destroy(ds);
    return st;
}

static hpt_status search(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                         void *user, json_t *out) {
    char path[4200];
    hpt_model *m = NULL, *winner = NULL;
    hpt_dataset *source[256] = {NULL}, *train = NULL, *val = NULL;
    const char *name[256];
    hpt_result *res = NULL;
    uint32_t n = 0;
    teller t = {fn, user, HPT_OK, 0, in->steps};
    file_in(in, "search", path);
    hpt_status st = hpt_config_set(c, "search_dir", path);
    if (!st) st = hpt_config_set_int(c, "search_save_every", (int64_t)save_every(r, in));
    if (!st) st = model(r, ctx, c, in, "init", &m);
    if (!st) st = data(r, in, "train", &train);
    if (!st) st = data(r, in, "val", &val);
    for (int i = 0; i < in->n_input && !st && n < 255; i++) {
        if (strcmp(in->input[i].key, "sources")) continue;
        const hpt__instance *d = &r->instances[in->input[i].instance];
        hpt__recipe_input one = {"x", in->input[i].instance};
        hpt__instance holder = {.section = in->section, .input = &one, .n_input = 1};
        name[n] = r->sections[d->section].name;
        st = data(r, &holder, "x", &source[n]);
        n += !st;
    }
    if (!st) st = hpt_source_search(ctx, c, m, source, name, n, train, val, tell, &t, &winner, &res);
    if (st == HPT_ERR_CANCELLED && t.st) st = t.st;
    if (!st) st = hpt_config_set(c, "search_dir", "");
    file_in(in, "model.safetensors", path);
    if (!st) st = hpt_model_save(winner, path, NULL);
    if (!st) merge(out, res);
    hpt_model_destroy(winner);
    hpt_model_destroy(m);
    hpt_dataset_destroy(train);
    hpt_dataset_destroy(val);
    for (uint32_t i = 0; i < n; i++) hpt_dataset_destroy(source[i]);
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
    file_in(in, "test_logits.f32", path);
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
    hpt_status st = model(r, ctx, c, in, "model", &m);
    if (!st) st = data(r, in, "train", &train);
    if (!st) st = data(r, in, "val", &val);
    if (!st) st = data(r, in, "test", &test);
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
        file_in(in, "work.state", path);
        st = hpt_config_set(c, "work_file", path);
        if (!st) st = hpt_config_set_int(c, "work_every", (int64_t)save_every(r, in));
    }
    if (!st && kind == HPT__S_LINEAR) st = hpt_model_linear(m, train, val, test, c, &res);
    else if (!st && kind == HPT__S_FINETUNE) {
        st = hpt_model_finetune(m, train, val, test, c, &tuned, &res);
        file_in(in, "model.safetensors", path);
        if (!st) st = hpt_model_save(tuned, path, NULL);
    } else if (!st) {        /* nothing is chosen here: both sets are scored */
        static const char *const names[2] = {"val_score", "test_score"};
        for (int i = 0; i < 2 && !st; i++) {
            if (!(i ? test : val)) continue;
            st = hpt_model_knn(m, train, i ? test : val, c, &res);
            if (!st) json_object_set(out, names[i], json_object_get(res->json, "knn_score"));
            take_facts(out, res);
            if (!st) merge_sets(out, res->json, hpt__set_names[i + 1]);
            hpt_result_destroy(res);
            res = NULL;
        }
    }
    if (!st && kind != HPT__S_KNN) st = hpt_config_set(c, "work_file", "");        /* no paths in results */
    if (!st && res) st = keep_logits(in, res);
    if (!st && res) {
        merge(out, res);
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
    const hpt__instance *from = r->sections[best->section].kind == HPT__S_ADAPT ? best : input(r, best, "model");
    hpt__bytes b;
    hpt__writer w;
    if (!from)
        return hpt__fail(HPT_ERR_FORMAT, "[%s]: '%s' has no stage as its model", r->sections[in->section].name,
                         best->name);
    file_in(from, "model.safetensors", path);
    HPT_TRY(hpt__file_read(path, 1ull << 34, &b));
    file_in(in, "model.safetensors", path);
    hpt_status st = hpt__writer_open(&w, path);
    if (!st) {
        hpt__writer_put(&w, b.p, b.n);
        st = hpt__writer_commit(&w);
    }
    hpt__free(b.p);
    return st;
}

/* ---- similarity of every pair ---- */

static hpt_status activations(hpt_context *ctx, hpt_config *c, const hpt__instance *of, const char *layer,
                              hpt_dataset *ds, uint64_t n, float **x, uint64_t *width) {
    char path[4200];
    hpt_model *m = NULL;
    hpt_layer_info l = {.struct_size = sizeof l};
    file_in(of, "model.safetensors", path);
    HPT_TRY(hpt_model_load(ctx, c, path, &m, NULL));
    hpt_status st = hpt_model_layer(m, layer, (uint32_t)OPT_I(&c->o, image_size), &l);
    *width = st ? 0 : OPT_IS(&c->o, act_pool, "average") ? l.channels : (uint64_t)l.channels * l.height * l.width;
    if (!st && !(*x = hpt__alloc((size_t)(n * *width) * 4))) st = hpt__fail_memory((size_t)(n * *width) * 4);
    if (!st) st = hpt_model_activations(m, ds, c, layer, *x, n * *width);
    hpt_model_destroy(m);
    return st;
}
static hpt_status logits(const hpt__instance *of, const hpt_recipe *r, float **x, uint64_t *width, uint64_t *n) {
    char path[4200];
    hpt__bytes b;
    file_in(of, "test_logits.f32", path);
    const hpt__instance *test = input(r, of, "test");
    if (!test) return hpt__fail(HPT_ERR_FORMAT, "[%s] has no test set", r->sections[of->section].name);
    hpt_status st = hpt__file_read(path, 1ull << 34, &b);
    if (st) return hpt__fail_context(st, "the linear stage needs probe_keep = 1");
    *x = (float *)(void *)b.p;
    *n = test->images;
    *width = b.n / 4 / test->images;
    return b.n == *width * *n * 4 && *width ? HPT_OK : hpt__fail(HPT_ERR_FORMAT,
                                                                 "%.800s: not as many values as images x classes",
                                                                 path);
}
/* Which test images a stage gets wrong: 1, else 0. Labels are those of its own training set's classes, in whose
 * order its logits stand. */
static hpt_status errors(const hpt_recipe *r, const hpt__instance *of, const float *x, uint64_t width, uint64_t n,
                         int32_t **wrong) {
    const hpt_dataset *train = input(r, of, "train")->ds, *test = input(r, of, "test")->ds;
    hpt__class_rule rule;
    int32_t *to;
    if (!test->src->label)
        return hpt__fail(HPT_ERR_FORMAT, "[%s]: metric iou needs one label an image", r->sections[of->section].name);
    HPT_TRY(hpt__labels_match(train, test, "test", &rule, &to));
    if (!(*wrong = hpt__alloc(sizeof **wrong * (size_t)n))) {
        hpt__free(to);
        return hpt__fail_memory((size_t)n * 4);
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t best = 0;
        int32_t label = hpt__dataset_label(test, i);
        for (uint64_t c = 1; c < width; c++)
            if (x[i * width + c] > x[i * width + best]) best = c;
        (*wrong)[i] = (int32_t)best != (to ? to[label] : label);
    }
    hpt__free(to);
    return HPT_OK;
}

/* Rows of images that some stage could not read (NaN) leave every matrix and every list of errors. Returns how many
 * stay. */
static uint64_t common_rows(float **x, int32_t **wrong, const uint64_t *width, int n, uint64_t images) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < images; i++) {
        int whole = 1;
        for (int k = 0; k < n; k++) whole &= !isnan(x[k][i * width[k]]);
        if (!whole) continue;
        for (int k = 0; k < n && kept < i; k++) {
            memcpy(x[k] + kept * width[k], x[k] + i * width[k], sizeof *x[k] * (size_t)width[k]);
            if (wrong[k]) wrong[k][kept] = wrong[k][i];
        }
        kept++;
    }
    return kept;
}

static hpt_status similarity(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                             void *user, json_t *out) {
    const char *v = hpt__instance_value(r, in, "metric");
    char metric[32], layer[64], group[96] = "";
    snprintf(metric, sizeof metric, "%s", v);
    v = hpt__instance_value(r, in, "layer");
    snprintf(layer, sizeof layer, "%s", v ? v : "avgpool");
    if ((v = hpt__instance_value(r, in, "group"))) snprintf(group, sizeof group, "%s", v);
    int iou = !strcmp(metric, "iou"), linear = iou || !strcmp(metric, "rv2-linear"), n = 0;
    if (!linear && strcmp(metric, "rv2"))
        return hpt__fail(HPT_ERR_FORMAT, "[%s]: metric is none of rv2, rv2-linear, iou", r->sections[in->section].name);
    int *of = hpt__calloc((size_t)in->n_input + 1, sizeof *of);
    float **x = hpt__calloc((size_t)in->n_input + 1, sizeof *x);
    int32_t **p = hpt__calloc((size_t)in->n_input + 1, sizeof *p), *right = NULL;
    uint64_t *width = hpt__calloc((size_t)in->n_input + 1, sizeof *width), images = 0;
    double *same = hpt__calloc((size_t)in->n_input * (size_t)in->n_input + 2, sizeof *same),
        *other = hpt__calloc((size_t)in->n_input * (size_t)in->n_input + 2, sizeof *other);
    hpt_dataset *ds = NULL;
    json_t *matrix = json_array(), *names = json_array();
    hpt_status st = of && x && p && width && same && other ? HPT_OK : hpt__fail_memory(64);
    if (!st && !linear) st = data(r, in, "data", &ds);
    if (!st && !linear && !ds)
        st = hpt__fail(HPT_ERR_FORMAT, "[%s]: metric rv2 needs data", r->sections[in->section].name);
    if (ds) images = input(r, in, "data")->images;
    for (int i = 0; i < in->n_input && !st; i++)
        if (!strcmp(in->input[i].key, "of")) of[n++] = in->input[i].instance;
    for (int i = 0; i < n && !st; i++) {
        const hpt__instance *o = &r->instances[of[i]];
        uint64_t count = images;
        st = linear ? logits(o, r, &x[i], &width[i], &count) : activations(ctx, c, o, layer, ds, images, &x[i],
            &width[i]);
        if (!st && linear && i && count != images)
            st = hpt__fail(HPT_ERR_FORMAT, "[%s]: its stages have test sets of different sizes",
                           r->sections[in->section].name);
        images = count;
        if (!st && iou) st = errors(r, o, x[i], width[i], images, &p[i]);
        json_array_append_new(names, hpt__json_text(o->name));
        if (!st) st = fn(user, (uint64_t)i + 1, (uint64_t)n);
    }
    uint64_t n_same = 0, n_other = 0, all = images, pairs = 0;
    HPT__SPAN(&ctx->watch, HPT_PHASE_COMPARE, "similarity");
    hpt__whole.total = (uint64_t)n * (uint64_t)(n - 1) / 2;
    if (!st) images = common_rows(x, p, width, n, images);
    if (!st && iou && !(right = hpt__calloc((size_t)images + 1, sizeof *right)))
        st = hpt__fail_memory((size_t)images * 4);
    for (int i = 0; i < n && !st; i++) {
        json_t *row = json_array();
        for (int j = 0; j < n && !st; j++) {
            double s = 1;
            if (j < i) s = json_number_value(json_array_get(json_array_get(matrix, (size_t)j), (size_t)i));
            else if (iou) st = hpt_error_iou(p[i], p[j], right, images, &s);
            else if (i != j) st = hpt_rv2(x[i], width[i], x[j], width[j], images, &s);
            if (!st && j > i) st = hpt__span_at(&hpt__whole, ++pairs);
            json_array_append_new(row, hpt__json_number(s));
            if (j <= i || !*group || st) continue;
            const char *a = hpt__instance_var(&r->instances[of[i]], group),
                *b = hpt__instance_var(&r->instances[of[j]], group);
            if (a && b && !strcmp(a, b)) same[n_same++] = s;
            else other[n_other++] = s;
        }
        json_array_append_new(matrix, row);
    }
    if (!st && *group && n_same > 1 && n_other > 1) {
        double t, dof, pv, ms = 0, mo = 0;
        for (uint64_t i = 0; i < n_same; i++) ms += same[i] / (double)n_same;
        for (uint64_t i = 0; i < n_other; i++) mo += other[i] / (double)n_other;
        if (!hpt_welch(same, n_same, other, n_other, &t, &dof, &pv))
            json_object_set_new(out, "welch", json_pack("{s:o,s:f,s:f,s:I,s:I,s:o,s:o,s:o}", "group",
                                                        hpt__json_text(group), "same_mean", ms, "different_mean", mo,
                                                        "same_pairs", (json_int_t)n_same, "different_pairs",
                                                        (json_int_t)n_other, "t", hpt__json_number(t), "dof",
                                                        hpt__json_number(dof), "p", hpt__json_number(pv)));
    }
    if (!st) st = hpt__facts_of(out, ctx, &c->o, NULL);
    json_object_set_new(out, "metric", json_string(metric));
    json_object_set_new(out, "names", names);
    json_object_set_new(out, "matrix", matrix);
    json_object_set_new(out, "images_compared", json_integer((json_int_t)images));
    if (ds && !st) hpt__report_unreadable(out, "data", ds);
    else json_object_set_new(out, "unreadable_images", json_integer((json_int_t)(all - images)));
    for (int i = 0; i < n; i++) {
        if (x) hpt__free(x[i]);
        if (p) hpt__free(p[i]);
    }
    hpt__free(of); hpt__free(x); hpt__free(p); hpt__free(right); hpt__free(width); hpt__free(same); hpt__free(other);
    hpt_dataset_destroy(ds);
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
        case HPT__S_PRETRAIN: case HPT__S_ADAPT: st = pretrain(r, ctx, in, c, fn, user, out); break;
        case HPT__S_REFRESH: st = refresh(r, ctx, in, c, out); break;
        case HPT__S_SEARCH: st = search(r, ctx, in, c, fn, user, out); break;
        case HPT__S_CHOOSE: st = choose(r, in, out); break;
        case HPT__S_SIMILARITY: st = similarity(r, ctx, in, c, fn, user, out); break;
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
        file_in(in, "result.json", path);
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
        const hpt__instance *test = input(r, in, "test");
        in->steps = steps;
        in->images = steps * 3 * (uint64_t)OPT_I(o, batch_size) * (OPT_IS(o, mme_entropy, "off") ? 2 : 4) +
            (test ? test->images : 0);
        break; }
    case HPT__S_SEARCH: in->steps = sources * steps; in->images = sources * (steps * step + rungs * sets); break;
    case HPT__S_FINETUNE: {
        const hpt__instance *train = input(r, in, "train"), *val = input(r, in, "val");
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

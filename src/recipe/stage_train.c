/* SPDX-License-Identifier: MIT
 * Stages that train for long: pretraining by any method, domain adaptation, the choice of a source. They save what is
 * under way, and what was told of it so far beside that, so that a stopped one goes on to an undisturbed one's
 * result. */
#include "recipe/stage.h"
#include "core/alloc.h"
#include "core/result.h"
#include "io/file.h"
#include "ssl/labelled.h"
#include <string.h>
#include <sys/stat.h>

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
        HPT_TRY(hpt__stage_data(r, in, roles[i], &ds));
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
    if (hpt__stage_input(r, in, "val")) {
        json_object_set(out, "val_score", json_object_get(out, "monitor_best"));
        json_object_set(out, "best_step", json_object_get(out, "monitor_best_step"));
    }
    json_object_set_new(out, "metric", json_string("top1"));
    json_object_set_new(out, "source_images", json_integer((json_int_t)hpt__stage_input(r, in, "source")->images));
    HPT_TRY(hpt__stage_data(r, in, "test", &test));
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

hpt_status hpt__stage_pretrain(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                           void *user, json_t *out) {
    char checkpoint[4200], story[4200], path[4200];
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL, *train = NULL, *val = NULL;
    int adapts = r->sections[in->section].kind == HPT__S_ADAPT;
    hpt_session *s = NULL;
    hpt_result *res = NULL;
    struct stat sb;
    hpt_step_info info = {.struct_size = sizeof info};
    uint64_t every = hpt__stage_save_every(r, in);
    hpt__stage_file(in, "checkpoint.pth.tar", checkpoint);
    hpt__stage_file(in, "story.json", story);
    const hpt__instance *before = hpt__stage_input(r, in, "init");
    hpt_status st = HPT_OK;
    if (before && (OPT_I(&c->o, carry_key) || OPT_I(&c->o, carry_queue))) {
        hpt__stage_file(before, "checkpoint.pth.tar", path);
        st = hpt_config_set(c, "carry_from", path);
    }
    /* looked at before, and said in the report */
    if (!st && adapts && (in->tested[0] || in->tested[1])) st = hpt_config_set(c, "overlap", "allow");
    if (!st) st = hpt__stage_model(r, ctx, c, in, "init", &m);
    if (!st) st = hpt__stage_data(r, in, adapts ? "source" : "data", &ds);
    if (!st) st = hpt__stage_data(r, in, "monitor_train", &train);
    if (!st) st = hpt__stage_data(r, in, "monitor_val", &val);
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
    hpt__stage_file(in, "model.safetensors", path);
    if (!st) st = hpt_model_save(m, path, NULL);
    if (!st) st = hpt_session_result(s, &res);
    if (!st) {
        json_object_set(out, "curve", curve);
        hpt__stage_merge(out, res);
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

hpt_status hpt__stage_search(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                         void *user, json_t *out) {
    char path[4200];
    hpt_model *m = NULL, *winner = NULL;
    hpt_dataset *source[256] = {NULL}, *train = NULL, *val = NULL;
    const char *name[256];
    hpt_result *res = NULL;
    uint32_t n = 0;
    teller t = {fn, user, HPT_OK, 0, in->steps};
    hpt__stage_file(in, "search", path);
    hpt_status st = hpt_config_set(c, "search_dir", path);
    if (!st) st = hpt_config_set_int(c, "search_save_every", (int64_t)hpt__stage_save_every(r, in));
    if (!st) st = hpt__stage_model(r, ctx, c, in, "init", &m);
    if (!st) st = hpt__stage_data(r, in, "train", &train);
    if (!st) st = hpt__stage_data(r, in, "val", &val);
    for (int i = 0; i < in->n_input && !st && n < 255; i++) {
        if (strcmp(in->input[i].key, "sources")) continue;
        const hpt__instance *d = &r->instances[in->input[i].instance];
        hpt__recipe_input one = {"x", in->input[i].instance};
        hpt__instance holder = {.section = in->section, .input = &one, .n_input = 1};
        name[n] = r->sections[d->section].name;
        st = hpt__stage_data(r, &holder, "x", &source[n]);
        n += !st;
    }
    if (!st) st = hpt_source_search(ctx, c, m, source, name, n, train, val, tell, &t, &winner, &res);
    if (st == HPT_ERR_CANCELLED && t.st) st = t.st;
    if (!st) st = hpt_config_set(c, "search_dir", "");
    hpt__stage_file(in, "model.safetensors", path);
    if (!st) st = hpt_model_save(winner, path, NULL);
    if (!st) hpt__stage_merge(out, res);
    hpt_model_destroy(winner);
    hpt_model_destroy(m);
    hpt_dataset_destroy(train);
    hpt_dataset_destroy(val);
    for (uint32_t i = 0; i < n; i++) hpt_dataset_destroy(source[i]);
    return st;
}

/* SPDX-License-Identifier: MIT
 * The handle behind hpt_recipe_*: checks arguments, takes the recipe for one call at a time, sets the error. The
 * work is done by run.c and report.c. */
#include "recipe/recipe.h"
#include "core/alloc.h"
#include <string.h>

static void recipe_free(void *p) {
    hpt_recipe *r = p;
    hpt__recipe_forget(r);
    for (int i = 0; i < r->n_sections; i++) {
        for (int k = 0; k < r->sections[i].n; k++) {
            hpt__free(r->sections[i].lines[k].key);
            hpt__free(r->sections[i].lines[k].value);
        }
        hpt__free(r->sections[i].lines);
        hpt__free(r->sections[i].name);
    }
    for (int i = 0; i < r->n_files; i++) hpt__free(r->files[i]);
    hpt__free(r->files);
    hpt__free(r->sections);
    hpt__free(r->path);
    hpt__free(r->out);
    hpt_config_destroy(r->base);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    hpt__free(r);
}

hpt_status hpt_recipe_open(const hpt_config *cfg, const char *path, const char *out_dir, hpt_recipe **out) {
    const hpt__options *o;
    OUT(out);
    NOT_NULL(path);
    HPT_TRY(hpt__config_options(cfg, &o));
    hpt_recipe *r = hpt__calloc(1, sizeof *r);
    if (!r) return hpt__fail_memory(sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    hpt_status st = (r->path = hpt__strdup(path)) && (!out_dir || (r->out = hpt__strdup(out_dir))) ? HPT_OK
        : hpt__fail_memory(64);
    if (!st && o && !(st = hpt_config_create(NULL, &r->base))) st = hpt__options_copy(&r->base->o, o);
    if (!st) st = hpt__recipe_read(r, path, 0);
    if (!st) st = hpt__recipe_check(r);
    if (!st) st = hpt__handle_open(r, HPT__KIND_RECIPE, recipe_free);
    if (st) recipe_free(r);
    else *out = r;
    return st;
}
void hpt_recipe_destroy(hpt_recipe *r) { hpt__handle_close(r, HPT__KIND_RECIPE); }

hpt_status hpt_recipe_set(hpt_recipe *r, const char *key, const char *value) {
    CHECK(r, RECIPE);
    NOT_NULL(key);
    NOT_NULL(value);
    if (r->prepared) return hpt__fail(HPT_ERR_STATE, "the recipe is planned already");
    const char *dot = strchr(key, '.');
    for (int i = 0; dot && i < r->n_sections; i++) {
        hpt__section *s = &r->sections[i];
        const char *name = *s->name ? s->name : hpt__kinds[s->kind].word;
        if (strlen(name) != (size_t)(dot - key) || memcmp(name, key, strlen(name))) continue;
        const hpt__line *was = hpt__section_line(s, dot + 1);
        HPT_TRY(hpt__section_set(s, dot + 1, value, was ? was->line : s->line, was ? was->file : s->file));
        return hpt__recipe_check(r);
    }
    return hpt__fail(HPT_ERR_ARGUMENT, "'%.80s' is not section.key of the recipe", key);
}
hpt_status hpt_recipe_set_log(hpt_recipe *r, hpt_log_fn fn, void *user) {
    CHECK(r, RECIPE);
    r->log = fn;
    r->log_user = user;
    return r->ctx ? hpt_context_set_log(r->ctx, fn, user) : HPT_OK;
}
hpt_status hpt_recipe_set_progress(hpt_recipe *r, hpt_progress_fn fn, void *user) {
    CHECK(r, RECIPE);
    pthread_mutex_lock(&r->lock);
    r->progress = fn;
    r->progress_user = user;
    pthread_mutex_unlock(&r->lock);
    return HPT_OK;
}
hpt_status hpt_recipe_cancel(hpt_recipe *r) {
    CHECK(r, RECIPE);
    r->cancels++;
    return HPT_OK;
}

hpt_status hpt_recipe_plan(hpt_recipe *r, hpt_result **result) {
    OUT(result);
    CHECK(r, RECIPE);
    json_t *j = hpt__json_begin();
    if (!j) return hpt__fail_memory(64);
    hpt_status st = hpt__recipe_over(r, hpt__recipe_plan(r, j));
    if (!st) return hpt__result_new(j, result);
    json_decref(j);
    return st;
}
static hpt_status report(hpt_recipe *r, hpt_status st, hpt_result **result) {
    json_t *j = NULL;
    if (!st) st = hpt__recipe_report(r, &j);
    HPT_TRY(hpt__recipe_over(r, st));
    if (result) return hpt__result_new(j, result);
    json_decref(j);
    return HPT_OK;
}
hpt_status hpt_recipe_report(hpt_recipe *r, hpt_result **result) {
    if (result) *result = NULL;
    CHECK(r, RECIPE);
    return report(r, hpt__recipe_prepare(r), result);
}
hpt_status hpt_recipe_run(hpt_recipe *r, hpt_recipe_fn fn, void *user, hpt_result **result) {
    if (result) *result = NULL;
    CHECK(r, RECIPE);
    r->fn = fn;
    r->user = user;
    return report(r, hpt__recipe_run(r), result);
}

/* SPDX-License-Identifier: MIT
 * Every function of hpt.h that takes a handle, every handle argument of it, and everything that is not a live handle
 * of that kind: NULL, a destroyed one, one of each other kind, memory that is none. The header says which functions
 * there are; the table must have them all. */
#define _GNU_SOURCE
#include "core/handle.h"
#include "support.h"
#include <ctype.h>
#include <unistd.h>

static const char *const kind_name[] = {[HPT__KIND_CONFIG] = "hpt_config", [HPT__KIND_CONTEXT] = "hpt_context",
                                        [HPT__KIND_DATASET] = "hpt_dataset", [HPT__KIND_MODEL] = "hpt_model",
                                        [HPT__KIND_SESSION] = "hpt_session", [HPT__KIND_RESULT] = "hpt_result",
                                        [HPT__KIND_RECIPE] = "hpt_recipe"};
_Static_assert(sizeof kind_name / sizeof *kind_name == HPT__KINDS, "every kind");

/* Room for whatever a call wants beside its handles. */
static float x[4096];
static double f64;
static uint64_t u64, ids[2];
static int32_t i32, labels[16];
static uint8_t bytes[4096];
static size_t need;
static char buf[256];
static void *out, *out2;
static hpt_dataset_info ds_info = {.struct_size = sizeof ds_info};
static hpt_model_info model_info = {.struct_size = sizeof model_info};
static hpt_tensor_info tensor_info = {.struct_size = sizeof tensor_info};
static hpt_layer_info layer_info = {.struct_size = sizeof layer_info};
static hpt_step_info step_info = {.struct_size = sizeof step_info};
static hpt_metric metric = {.struct_size = sizeof metric};
static hpt_batch batch = {.struct_size = sizeof batch};
static const hpt_boxes no_boxes = {.struct_size = sizeof no_boxes};
static hpt_dataset *sources[1];
static const char *const source_names[1] = {"s"};

enum { MOST = 5 };
/* optional: names of arguments that may be NULL */
typedef struct entry { const char *name, *optional; hpt_status (*call)(void **h); } entry;
/* Each pointer of a call has a number; the one that is hidden is NULL. */
enum { POINTERS = 8 };
static int hidden = -1, has[POINTERS];
#define P(i, p) (has[i] = 1, hidden == (i) ? NULL : (p))
#define OUT(T) P(0, (T **)(void *)&out)
#define OUT2(T) P(1, (T **)(void *)&out2)
#define CALL(name, optional, ...) static hpt_status call_##name(void **h) { return name(__VA_ARGS__); }
#define CALLS \
    CALL(hpt_config_set, "", h[0], "lr", "0.1") \
    CALL(hpt_config_set_int, "", h[0], "steps", 1) \
    CALL(hpt_config_set_float, "", h[0], "lr", 0.1) \
    CALL(hpt_config_get, "", h[0], "lr", P(2, buf), sizeof buf, &need) \
    CALL(hpt_config_json, "", h[0], "knn", NULL, 0, &need) \
    CALL(hpt_context_create, "cfg", h[0], OUT(hpt_context)) \
    CALL(hpt_context_set_log, "", h[0], NULL, NULL) \
    CALL(hpt_context_set_progress, "", h[0], NULL, NULL) \
    CALL(hpt_context_cancel, "", h[0]) \
    CALL(hpt_context_describe, "", h[0], P(2, buf), sizeof buf, &need) \
    CALL(hpt_context_facts, "cfg", h[0], h[1], OUT(hpt_result)) \
    CALL(hpt_context_ranks, "", h[0], P(2, &i32), P(3, &i32)) \
    CALL(hpt_context_rv2, "", h[0], P(2, x), 1, P(3, x), 1, 4, P(4, &f64)) \
    CALL(hpt_average_precision, "cfg", h[0], h[1], 1, P(2, &no_boxes), P(3, &no_boxes), OUT(hpt_result)) \
    CALL(hpt_score_boxes, "cfg", h[0], h[1], P(2, "/nowhere"), P(3, "/nowhere"), OUT(hpt_result)) \
    CALL(hpt_comm_id, "cfg", h[0], buf, sizeof buf, &need) \
    CALL(hpt_dataset_open, "cfg", h[0], h[1], "/nowhere", OUT(hpt_dataset)) \
    CALL(hpt_dataset_from_memory, "cfg", h[0], h[1], P(2, bytes), 1, 8, 8, 3, NULL, OUT(hpt_dataset)) \
    CALL(hpt_dataset_subset, "", h[0], P(2, &u64), 1, OUT(hpt_dataset)) \
    CALL(hpt_dataset_split, "", h[0], 0.5, 0, OUT(hpt_dataset), OUT2(hpt_dataset)) \
    CALL(hpt_dataset_per_class, "", h[0], 1, 0, OUT(hpt_dataset), OUT2(hpt_dataset)) \
    CALL(hpt_dataset_few, "", h[0], 4, 0, OUT(hpt_dataset), OUT2(hpt_dataset)) \
    CALL(hpt_dataset_budget, "", h[0], 4, 0, OUT(hpt_dataset), OUT2(hpt_dataset)) \
    CALL(hpt_dataset_budgets, "", h[0], 2, P(2, ids)) \
    CALL(hpt_dataset_join, "", h[0], h[1], OUT(hpt_dataset)) \
    CALL(hpt_dataset_objects, "", h[0], P(2, &u64)) \
    CALL(hpt_dataset_disjoint, "", h[0], h[1], P(2, &u64)) \
    CALL(hpt_dataset_identity, "", h[0], P(2, &u64)) \
    CALL(hpt_dataset_get_info, "", h[0], P(2, &ds_info)) \
    CALL(hpt_dataset_label, "", h[0], 0, P(2, &i32)) \
    CALL(hpt_dataset_targets, "", h[0], 0, P(2, bytes), 2) \
    CALL(hpt_dataset_name, "", h[0], 0, P(2, buf), sizeof buf, &need) \
    CALL(hpt_dataset_class_name, "", h[0], 0, P(2, buf), sizeof buf, &need) \
    CALL(hpt_dataset_bad_image, "", h[0], 0, buf, sizeof buf, &need) \
    CALL(hpt_dataset_readable, "", h[0], 0, P(2, &i32)) \
    CALL(hpt_dataset_stats, "", h[0], P(2, x), P(3, x + 3)) \
    CALL(hpt_dataset_image, "cfg", h[0], h[1], 0, 8, P(2, bytes)) \
    CALL(hpt_dataset_view, "cfg", h[0], h[1], 0, 0, 0, 8, P(2, bytes)) \
    CALL(hpt_model_create, "cfg", h[0], h[1], OUT(hpt_model)) \
    CALL(hpt_model_load, "cfg", h[0], h[1], "/nowhere", OUT(hpt_model), OUT2(hpt_result)) \
    CALL(hpt_model_clone, "", h[0], OUT(hpt_model)) \
    CALL(hpt_model_save, "", h[0], "/nowhere/x.pth", NULL) \
    CALL(hpt_model_get_info, "", h[0], P(2, &model_info)) \
    CALL(hpt_model_class_name, "", h[0], 0, buf, sizeof buf, &need) \
    CALL(hpt_model_tensor_info, "", h[0], 0, P(2, &tensor_info)) \
    CALL(hpt_model_get_tensor, "", h[0], "bn1.bias", P(2, x), 16) \
    CALL(hpt_model_set_tensor, "", h[0], "bn1.bias", P(2, x), 16) \
    CALL(hpt_model_features, "cfg", h[0], h[1], h[2], P(2, x), 4 * 128) \
    CALL(hpt_model_predict, "cfg", h[0], h[1], h[2], P(2, x), 4) \
    CALL(hpt_model_score, "cfg", h[0], h[1], h[2], OUT(hpt_result)) \
    CALL(hpt_model_features_pixels, "cfg", h[0], h[1], P(2, x), 1, 8, P(3, x)) \
    CALL(hpt_model_layer_info, "", h[0], 0, 32, P(2, &layer_info)) \
    CALL(hpt_model_layer, "", h[0], "conv1", 32, P(2, &layer_info)) \
    CALL(hpt_model_activations, "cfg", h[0], h[1], h[2], "conv1", P(2, x), 1) \
    CALL(hpt_model_refresh_bn, "cfg", h[0], h[1], h[2], OUT(hpt_result)) \
    CALL(hpt_model_linear, "val test cfg", h[0], h[1], h[2], h[3], h[4], OUT(hpt_result)) \
    CALL(hpt_linear_features, "cfg", h[0], h[1], 2, 2, P(2, x), P(3, labels), 4, NULL, NULL, 0, NULL, NULL, 0, \
         OUT(hpt_result)) \
    CALL(hpt_model_knn, "cfg", h[0], h[1], h[2], h[3], OUT(hpt_result)) \
    CALL(hpt_model_finetune, "val test cfg", h[0], h[1], h[2], h[3], h[4], OUT(hpt_model), OUT2(hpt_result)) \
    CALL(hpt_session_create, "cfg ds", h[0], h[1], h[2], h[3], OUT(hpt_session)) \
    CALL(hpt_session_monitor, "", h[0], h[1], h[2]) \
    CALL(hpt_session_data, "", h[0], "val", h[1]) \
    CALL(hpt_session_metric, "", h[0], 0, P(2, &metric)) \
    CALL(hpt_session_step_batch, "", h[0], P(2, &batch), P(3, &step_info)) \
    CALL(hpt_session_step, "", h[0], P(2, &step_info)) \
    CALL(hpt_session_step_images, "", h[0], P(2, x), P(3, x), P(4, &step_info)) \
    CALL(hpt_session_run, "", h[0], NULL, NULL) \
    CALL(hpt_session_cancel, "", h[0]) \
    CALL(hpt_session_save, "", h[0], "/nowhere/x.pth") \
    CALL(hpt_session_resume, "", h[0], "/nowhere/x.pth") \
    CALL(hpt_session_sync, "", h[0]) \
    CALL(hpt_session_result, "", h[0], OUT(hpt_result)) \
    CALL(hpt_session_get_info, "", h[0], P(2, &step_info)) \
    CALL(hpt_session_get_tensor, "", h[0], "q.bn1.bias", P(2, x), 16) \
    CALL(hpt_session_set_tensor, "", h[0], "q.bn1.bias", P(2, x), 16) \
    CALL(hpt_source_search, "cfg", h[0], h[1], h[2], sources, source_names, 1, h[3], h[4], NULL, NULL, \
         OUT(hpt_model), OUT2(hpt_result)) \
    CALL(hpt_dataset_named, "cfg", h[0], h[1], "resisc", "/nowhere", "train", OUT(hpt_dataset)) \
    CALL(hpt_dataset_check, "cfg", h[0], h[1], "resisc", "/nowhere", OUT(hpt_result)) \
    CALL(hpt_recipe_open, "cfg", h[0], "/nowhere", NULL, OUT(hpt_recipe)) \
    CALL(hpt_recipe_set, "", h[0], "recipe.seeds", "1") \
    CALL(hpt_recipe_set_log, "", h[0], NULL, NULL) \
    CALL(hpt_recipe_set_progress, "", h[0], NULL, NULL) \
    CALL(hpt_recipe_cancel, "", h[0]) \
    CALL(hpt_recipe_plan, "", h[0], OUT(hpt_result)) \
    CALL(hpt_recipe_run, "", h[0], NULL, NULL, OUT(hpt_result)) \
    CALL(hpt_recipe_report, "", h[0], OUT(hpt_result)) \
    CALL(hpt_result_number, "", h[0], "x", P(2, &f64)) \
    CALL(hpt_result_json, "", h[0], NULL, 0, &need) \
    CALL(hpt_result_array, "", h[0], "x", NULL, 0, &u64)
CALLS
#undef CALL
#define CALL(name, optional, ...) {#name, optional, call_##name},
static const entry table[] = {CALLS};
#undef CALL
enum { ENTRIES = sizeof table / sizeof *table };

/* One prototype of the header: its name and the kinds and names of its handle arguments. */
typedef struct prototype { char name[64], arg[MOST][24]; int kind[MOST], n; } prototype;
/* Returns the text behind it, NULL at the end. */
static const char *next_prototype(const char *p, prototype *f) {
    memset(f, 0, sizeof *f);
    if (!(p = strstr(p, "\nHPT_API "))) return NULL;
    const char *open = strchr(p, '('), *close = strchr(p, ')');
    const char *name = open;
    while (isalnum((unsigned char)name[-1]) || name[-1] == '_') name--;
    snprintf(f->name, sizeof f->name, "%.*s", (int)(open - name), name);
    char args[1000];
    snprintf(args, sizeof args, "%.*s", (int)(close - open - 1), open + 1);
    char *save = NULL;
    for (char *a = strtok_r(args, ",", &save); a; a = strtok_r(NULL, ",", &save)) {
        a += strspn(a, " \n");
        if (!strncmp(a, "const ", 6)) a += 6;
        char *star = strchr(a, '*');
        if (!star || strchr(star + 1, '*') || star[-1] != ' ') continue;
        for (int k = 1; k < HPT__KINDS; k++)
            if (!strncmp(a, kind_name[k], strlen(kind_name[k])) && a[strlen(kind_name[k])] == ' ' &&
                star == a + strlen(kind_name[k]) + 1) {
                CHECK(f->n < MOST);
                f->kind[f->n] = k;
                snprintf(f->arg[f->n++], sizeof f->arg[0], "%s", star + 1);
            }
    }
    return close;
}

static void *live[HPT__KINDS], *gone[HPT__KINDS];
static void destroy(int kind, void *h) {
    switch (kind) {
    case HPT__KIND_CONFIG: hpt_config_destroy(h); break;
    case HPT__KIND_CONTEXT: hpt_context_destroy(h); break;
    case HPT__KIND_DATASET: hpt_dataset_destroy(h); break;
    case HPT__KIND_MODEL: hpt_model_destroy(h); break;
    case HPT__KIND_SESSION: hpt_session_destroy(h); break;
    case HPT__KIND_RESULT: hpt_result_destroy(h); break;
    case HPT__KIND_RECIPE: hpt_recipe_destroy(h); break;
    default: FAIL("kind %d is not known here", kind);
    }
}
static void make(void **h, const char *ini) {
    hpt_config *c =
        config("backend=reference arch=resnet10 width=16 stem=small image_size=16 batch_size=4 bn_group=0 moco_k=8 "
               "steps=2");
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 4, 16, 2);
    hpt_model *m;
    hpt_session *s;
    hpt_result *res;
    hpt_recipe *r;
    float fx[8] = {0, 1, 0, 1, 0, 1, 0, 1};
    int32_t fy[4] = {0, 1, 0, 1};
    hpt_config *p = config("probe_steps=1 probe_lr=1");
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    OK(hpt_linear_features(ctx, p, 2, 2, fx, fy, 4, fx, fy, 4, NULL, NULL, 0, &res));
    OK(hpt_recipe_open(NULL, ini, NULL, &r));
    hpt_config_destroy(p);
    void *all[HPT__KINDS] = {[HPT__KIND_CONFIG] = c, [HPT__KIND_CONTEXT] = ctx, [HPT__KIND_DATASET] = ds,
                             [HPT__KIND_MODEL] = m, [HPT__KIND_SESSION] = s, [HPT__KIND_RESULT] = res,
                             [HPT__KIND_RECIPE] = r};
    memcpy(h, all, sizeof all);
}
static void expect(const char *what, const prototype *f, int a, hpt_status st, const char *text) {
    if (st != HPT_ERR_ARGUMENT || strncmp(hpt_last_error(), f->arg[a], strlen(f->arg[a])) ||
        !strstr(hpt_last_error(), text))
        FAIL("%s(%s = %s) gave %s, '%s'; wanted '%s %s'", f->name, f->arg[a], what, hpt_status_name(st),
             hpt_last_error(), f->arg[a], text);
}

TEST(every_handle_is_refused_everywhere) {
    char path[64], text[100], *header = calloc(1, 1 << 18);
    _Alignas(64) char junk[4096];
    FILE *ini = fopen((snprintf(path, sizeof path, "%s/r.ini", temp_dir()), path), "w");
    fputs("[recipe]\nseeds = 0\n", ini);
    fclose(ini);
    FILE *h = fopen("include/hpt.h", "r");
    CHECK(h && fread(header, 1, (1 << 18) - 1, h) > 1000);
    fclose(h);
    memset(junk, 0x41, sizeof junk);
    make(live, path);
    make(gone, path);
    for (int k = HPT__KINDS - 1; k > 0; k--) destroy(k, gone[k]);
    sources[0] = live[HPT__KIND_DATASET];
    const char *p = header;
    prototype f;
    int used = 0, calls = 0, kinds = 0;
    for (; (p = next_prototype(p, &f));) {
        if (!f.n) continue;
        size_t len = strlen(f.name);
        if (!strcmp(f.name + len - 8, "_destroy")) {        /* whatever it is: nothing happens */
            for (int k = 1; k < HPT__KINDS; k++)
                if (k != f.kind[0]) destroy(f.kind[0], live[k]);
            destroy(f.kind[0], NULL);
            destroy(f.kind[0], gone[f.kind[0]]);
            destroy(f.kind[0], junk + 128);
            kinds++;
            continue;
        }
        const entry *e = NULL;
        for (int i = 0; i < ENTRIES; i++)
            if (!strcmp(table[i].name, f.name)) e = &table[i];
        if (!e) FAIL("%s of hpt.h takes a handle and is not in the table of this test", f.name);
        used++;
        for (int a = 0; a < f.n; a++) {
            void *args[MOST];
            for (int i = 0; i < f.n; i++) args[i] = live[f.kind[i]];
            if (!strstr(e->optional, f.arg[a])) {
                args[a] = NULL;
                expect("NULL", &f, a, e->call(args), "is NULL");
            }
            snprintf(text, sizeof text, "is not a live %s", kind_name[f.kind[a]]);
            args[a] = gone[f.kind[a]];
            expect("destroyed", &f, a, e->call(args), text);
            args[a] = junk + 64;
            expect("other memory", &f, a, e->call(args), text);
            for (int k = 1; k < HPT__KINDS; k++) {
                if (k == f.kind[a]) continue;
                snprintf(text, sizeof text, "is not a live %s but a %s", kind_name[f.kind[a]], kind_name[k]);
                args[a] = live[k];
                expect(kind_name[k], &f, a, e->call(args), text);
                calls++;
            }
        }
    }
    CHECK(used == ENTRIES && kinds == HPT__KINDS - 1 && calls > 600);
    sources[0] = live[HPT__KIND_MODEL];     /* handles in an array */
    FAILS(HPT_ERR_ARGUMENT, "sources[i] is not a live hpt_dataset but a hpt_model",
          hpt_source_search(live[HPT__KIND_CONTEXT], NULL, live[HPT__KIND_MODEL], sources, source_names, 1,
                            live[HPT__KIND_DATASET], live[HPT__KIND_DATASET], NULL, NULL, OUT(hpt_model),
                            OUT2(hpt_result)));
    OK(hpt_session_step(live[HPT__KIND_SESSION], NULL));    /* and all of them still live */
    for (int k = 1; k < HPT__KINDS; k++) destroy(k, live[k]);
}

/* Pointers that may be NULL, by the number that CALLS has for them; hpt.h says so at each. */
static const char *const may_be_null[] = {
    "hpt_dataset_per_class 1", "hpt_dataset_few 1", "hpt_dataset_budget 1", "hpt_dataset_disjoint 2",
        "hpt_model_load 1",
    "hpt_model_refresh_bn 0", "hpt_model_finetune 0", "hpt_session_step 2", "hpt_session_step_batch 3",
    "hpt_session_step_images 4", "hpt_recipe_run 0", "hpt_recipe_report 0"};

TEST(every_pointer_is_refused_as_NULL) {
    char path[64], one[80], *header = calloc(1, 1 << 18);
    FILE *ini = fopen((snprintf(path, sizeof path, "%s/r.ini", temp_dir()), path), "w"),
        *h = fopen("include/hpt.h", "r");
    fputs("[recipe]\nseeds = 0\n", ini);
    fclose(ini);
    CHECK(h && fread(header, 1, (1 << 18) - 1, h) > 1000);
    fclose(h);
    make(live, path);
    sources[0] = live[HPT__KIND_DATASET];
    prototype f;
    size_t pointers = 0, optional = 0, listed = sizeof may_be_null / sizeof *may_be_null;
    for (const char *p = header; (p = next_prototype(p, &f));)
        for (int e = 0; e < ENTRIES; e++) {
            void *args[MOST];
            if (strcmp(table[e].name, f.name)) continue;
            for (int i = 0; i < f.n; i++) args[i] = live[f.kind[i]];
            memset(has, 0, sizeof has);
            for (hidden = 0; hidden < POINTERS; hidden++) {
                if (hidden && !has[hidden]) continue;       /* the first call has said which there are */
                out = out2 = NULL;
                hpt_status st = table[e].call(args);
                if (!has[hidden]) continue;
                int refused = st == HPT_ERR_ARGUMENT && strstr(hpt_last_error(), "NULL"), may = 0;
                snprintf(one, sizeof one, "%s %d", f.name, hidden);
                for (size_t k = 0; k < listed; k++) may |= !strcmp(may_be_null[k], one);
                if (refused == may) FAIL("%s gave %s, '%s'", one, hpt_status_name(st), st ? hpt_last_error() : "");
                if (out2) destroy(strstr(f.name, "dataset") ? HPT__KIND_DATASET : HPT__KIND_RESULT, out2);
                if (out && strstr(f.name, "hpt_dataset_")) destroy(HPT__KIND_DATASET, out);
                pointers++;
                optional += (size_t)may;
            }
        }
    hidden = -1;
    CHECK(pointers > 70 && optional == listed);
    for (int k = 1; k < HPT__KINDS; k++) destroy(k, live[k]);
    free(header);
}

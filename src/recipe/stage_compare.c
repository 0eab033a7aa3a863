/* SPDX-License-Identifier: MIT
 * The stage that compares others, every pair of them: their activations or the predictions that they kept, by RV2 or
 * by which images they get wrong. */
#include "recipe/stage.h"
#include "core/alloc.h"
#include "data/dataset.h"
#include "io/file.h"
#include "nn/facts.h"
#include "ssl/labelled.h"
#include <math.h>
#include <string.h>

static hpt_status activations(hpt_context *ctx, hpt_config *c, const hpt__instance *of, const char *layer,
                              hpt_dataset *ds, uint64_t n, float **x, uint64_t *width) {
    char path[4200];
    hpt_model *m = NULL;
    hpt_layer_info l = {.struct_size = sizeof l};
    hpt__stage_file(of, "model.safetensors", path);
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
    hpt__stage_file(of, "test_logits.f32", path);
    const hpt__instance *test = hpt__stage_input(r, of, "test");
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
    const hpt_dataset *train = hpt__stage_input(r, of, "train")->ds, *test = hpt__stage_input(r, of, "test")->ds;
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
        int32_t label = hpt__dataset_label(test, i);
        int right, among_five;
        hpt__top(x + i * width, (int)width, to ? to[label] : label, &right, &among_five);
        (*wrong)[i] = !right;
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

hpt_status hpt__stage_similarity(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
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
    if (!st && !linear) st = hpt__stage_data(r, in, "data", &ds);
    if (!st && !linear && !ds)
        st = hpt__fail(HPT_ERR_FORMAT, "[%s]: metric rv2 needs data", r->sections[in->section].name);
    if (ds) images = hpt__stage_input(r, in, "data")->images;
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

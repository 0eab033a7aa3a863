/* SPDX-License-Identifier: MIT
 * hpt_dataset_* and hpt_set_describe: opening, parts of a set, names and labels, one image as evaluation or training
 * sees it, and the check of a known set against its description. */
#include "api/api.h"
#include "core/alloc.h"
#include "core/json.h"
#include "data/dataset.h"
#include "data/known.h"
#include "ssl/labelled.h"
#include "core/number.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

static hpt_status wrap(hpt_context *ctx, hpt__source *src, hpt_dataset **out) {
    hpt_status st = hpt__dataset_new(ctx, src, NULL, src->n, out);
    for (size_t i = 0; i < src->notes && !st; i++) hpt__log(ctx, src->note[i].level, "%s", src->note[i].text);
    hpt__source_release(src);
    return st;
}

hpt_status hpt_dataset_open(hpt_context *ctx, const hpt_config *cfg, const char *path, hpt_dataset **out) {
    const hpt__options *o;
    hpt__source *src;
    OUT(out);
    CHECK(ctx, CONTEXT);
    NOT_NULL(path);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT__SPAN(&ctx->watch, HPT_PHASE_OPEN, "images found");
    HPT_TRY(hpt__source_open(o, path, &src));
    return wrap(ctx, src, out);
}

hpt_status hpt_dataset_from_memory(hpt_context *ctx, const hpt_config *cfg, const uint8_t *pixels, uint64_t count,
                                   uint32_t height, uint32_t width, uint32_t channels, const int32_t *labels,
                                   hpt_dataset **out) {
    const hpt__options *o;
    hpt__source *src;
    OUT(out);
    CHECK(ctx, CONTEXT);
    NOT_NULL(pixels);
    HPT_TRY(hpt__config_options(cfg, &o));
    if (!count || !height || !width || (channels != 1 && channels != 3) || height > 65535 || width > 65535 ||
        count > 1ull << 32 || count > SIZE_MAX / ((uint64_t)height * width * channels))
        return hpt__fail(HPT_ERR_ARGUMENT, "%llu images of %ux%u with %u channels", (unsigned long long)count, height,
                         width, channels);
    if (*OPT_S(o, group_by)) return hpt__fail(HPT_ERR_OPTION, "images in memory have no names for group_by");
    for (uint64_t i = 0; labels && i < count; i++)
        if (labels[i] < 0 || labels[i] > 1000000)
            return hpt__fail(HPT_ERR_ARGUMENT, "label %d of image %llu", labels[i], (unsigned long long)i);
    HPT_TRY(hpt__source_create(o, count, &src));
    src->w = (int)width;
    src->h = (int)height;
    src->channels = (int)channels;
    size_t bytes = (size_t)count * height * width * channels;
    src->pixels = hpt__alloc(bytes);
    if (labels) src->label = hpt__alloc(sizeof *labels * (size_t)count);
    if (!src->pixels || (labels && !src->label)) {
        hpt__source_release(src);
        return hpt__fail_memory(bytes);
    }
    memcpy(src->pixels, pixels, bytes);
    for (uint64_t i = 0; labels && i < count; i++) {
        src->label[i] = labels[i];
        if ((uint32_t)labels[i] >= src->classes) src->classes = (uint32_t)labels[i] + 1;
    }
    return wrap(ctx, src, out);
}

/* ---- known sets ---- */

hpt_status hpt_set_describe(uint32_t index, hpt_set_info *info) {
    hpt__known k;
    hpt_status st = hpt__known_index(index, &k);
    return st ? st : hpt__struct_out(info, &k.info, sizeof k.info, "info");
}
hpt_status hpt_dataset_named(hpt_context *ctx, const hpt_config *cfg, const char *name, const char *root,
                             const char *split, hpt_dataset **out) {
    const hpt__options *o;
    hpt__known k;
    hpt__source *src;
    OUT(out);
    CHECK(ctx, CONTEXT);
    NOT_NULL(name);
    NOT_NULL(split);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__known_find(name, &k));
    HPT__SPAN(&ctx->watch, HPT_PHASE_OPEN, "images found");
    HPT_TRY(hpt__known_open(&k, o, root, split, &src));
    return wrap(ctx, src, out);
}

/* Problems in words, any bytes; lost: there was no memory for one. */
typedef struct findings { json_t *list; size_t n; char first[600]; int lost; } findings;
static void problem(findings *f, const char *fmt, ...) {
    char text[700];
    va_list args;
    va_start(args, fmt);
    hpt__vformat(text, sizeof text, fmt, args);
    va_end(args);
    if (!f->n++) snprintf(f->first, sizeof f->first, "%.599s", text);
    f->lost |= json_array_append_new(f->list, hpt__json_text(text)) != 0;
}
/* A failed call is a problem of the set, unless memory has run out or the host wants an end. */
static hpt_status found(findings *f, hpt_status st, const char *before) {
    if (st == HPT_ERR_MEMORY || st == HPT_ERR_CANCELLED) return st;
    if (st) problem(f, "%s%.600s", before, hpt_last_error());
    return HPT_OK;
}
/* One split against the table; *ds stays open for the overlaps. */
static hpt_status check_split(hpt_context *ctx, const hpt__options *o, const hpt__known *k, const char *root, int part,
                              hpt_dataset **ds, json_t *splits, findings *problems) {
    static const char *const names[3] = {"train", "val", "test"};
    hpt__source *src;
    uint64_t want = k->info.images[part];
    hpt_status st = hpt__known_open(k, o, root, names[part], &src);
    if (!st) st = wrap(ctx, src, ds);
    if (st) {
        char before[16];
        snprintf(before, sizeof before, "%s: ", names[part]);
        return found(problems, st, before);
    }
    uint64_t n = (*ds)->count, far = n > want ? n - want : want - n;
    problems->lost |= json_array_append_new(splits, json_pack("{s:s,s:I,s:I,s:i}", "split", names[part], "images",
                                                              (json_int_t)n, "expected", (json_int_t)want, "classes",
                                                              (int)(*ds)->src->classes)) != 0;
    if (want && (k->exact ? far > 0 : far * 50 > want))
        problem(problems, "%s: %llu images, %llu are expected%s", names[part], (unsigned long long)n,
                (unsigned long long)want, k->exact ? "" : " (within 2 %)");
    if (k->info.classes && (*ds)->src->classes != k->info.classes)
        problem(problems, "%s: %u classes, %u are expected", names[part], (*ds)->src->classes, k->info.classes);
    if (hpt__dataset_labelled(*ds) != (k->info.several ? 2 : 1) && (k->reader != HPT__READ_OWN || k->info.classes))
        problem(problems, "%s: %s labels an image, %s expected", names[part], hpt__dataset_labelled(*ds) == 2
                ? "several" : hpt__dataset_labelled(*ds) ? "one" : "no", k->info.several ? "several are" : "one is");
    return part == 0 ? found(problems, hpt__dataset_all_classes(*ds, names[0]), "") : HPT_OK;
}
hpt_status hpt_dataset_check(hpt_context *ctx, const hpt_config *cfg, const char *name, const char *root,
                             hpt_result **result) {
    const hpt__options *o;
    hpt__known k;
    hpt_dataset *ds[3] = {NULL, NULL, NULL};
    OUT(result);
    hpt__json_lost();       /* of calls before */
    CHECK(ctx, CONTEXT);
    NOT_NULL(name);
    HPT_TRY(hpt__config_options(cfg, &o));
    const char *at;
    HPT_TRY(hpt__known_find(name, &k));
    HPT__SPAN(&ctx->watch, HPT_PHASE_CHECK, "checking the data set");
    HPT_TRY(hpt__known_root(&k, root, &at));
    json_t *splits = json_array();
    findings problems = {.list = json_array()};
    hpt_status st = HPT_OK;
    for (int i = 0; i < 3 && !st; i++)
        if (k.reader != HPT__READ_OWN || i == 0 || *k.file[i] || i == 1)
            st = check_split(ctx, o, &k, root, i, &ds[i], splits, &problems);
    /* lists for adaptation overlap by their protocol */
    for (int i = 0; i < 3 && !st && k.reader != HPT__READ_ADAPTATION; i++) {
        hpt_dataset *a = ds[i], *b = ds[(i + 1) % 3];
        if (a && b) st = found(&problems, hpt_dataset_disjoint(a, b, NULL), "");
    }
    for (int i = 1; i < 3 && !st; i++) {
        hpt__class_rule rule;
        int32_t *to;
        if (!ds[0] || !ds[i] || !hpt__dataset_labelled(ds[0]) || !hpt__dataset_labelled(ds[i])) continue;
        st = found(&problems, hpt__labels_match(ds[0], ds[i], hpt__set_names[i], &rule, &to), "");
        hpt__free(to);
    }
    for (int i = 0; i < 3; i++) hpt_dataset_destroy(ds[i]);
    size_t n = problems.n;
    json_t *j = st || problems.lost ? NULL : json_pack("{s:o,s:o,s:o,s:I,s:i,s:O,s:O}", "name",
                                                       hpt__json_text(k.info.name), "title",
                                                       hpt__json_text(k.info.title), "root", hpt__json_text(at),
                                                       "problem_count", (json_int_t)n, "classes", (int)k.info.classes,
                                                       "splits", splits, "problems", problems.list);
    json_decref(splits);
    json_decref(problems.list);
    if (st) return st;
    if (!j) return hpt__fail_memory(64);
    HPT_TRY(hpt__result_new(j, result));
    return n ? hpt__fail(HPT_ERR_MISMATCH, "%s: %zu problem%s, first: %s", k.info.name, n, n > 1 ? "s" : "",
                         problems.first) : HPT_OK;
}

void hpt_dataset_destroy(hpt_dataset *ds) { hpt__handle_close(ds, HPT__KIND_DATASET); }

static hpt_status part(const hpt_dataset *ds, const uint64_t *index, uint64_t count, hpt_dataset **out) {
    if (!count) return hpt__fail(HPT_ERR_ARGUMENT, "the part would be empty");
    return hpt__dataset_new(ds->ctx, ds->src, index, count, out);
}

hpt_status hpt_dataset_subset(const hpt_dataset *ds, const uint64_t *indices, uint64_t count, hpt_dataset **out) {
    OUT(out);
    CHECK(ds, DATASET);
    NOT_NULL(indices);
    for (uint64_t i = 0; i < count; i++)
        if (indices[i] >= ds->count)
            return hpt__fail(HPT_ERR_ARGUMENT, "index %llu of %llu images", (unsigned long long)indices[i],
                             (unsigned long long)ds->count);
    uint64_t *inner = hpt__alloc(sizeof *inner * (size_t)(count + 1));
    if (!inner) return hpt__fail_memory(sizeof *inner * (size_t)count);
    for (uint64_t i = 0; i < count; i++) inner[i] = ds->index[indices[i]];
    hpt_status st = part(ds, inner, count, out);
    hpt__free(inner);
    return st;
}
hpt_status hpt_dataset_join(const hpt_dataset *a, const hpt_dataset *b, hpt_dataset **out) {
    OUT(out);
    CHECK(a, DATASET);
    CHECK(b, DATASET);
    HPT__SPAN(&a->ctx->watch, HPT_PHASE_CHECK, "joining two sets");
    return hpt__dataset_join(a, b, out);
}
static hpt_status two_parts(const hpt_dataset *ds, uint64_t *index, uint64_t n, hpt_dataset **first,
                            hpt_dataset **second) {
    hpt_status st = part(ds, index, n, first);
    if (!st && second) st = part(ds, index + n, ds->count - n, second);
    if (st && *first) {
        hpt_dataset_destroy(*first);
        *first = NULL;
    }
    hpt__free(index);
    return st;
}
hpt_status hpt_dataset_split(const hpt_dataset *ds, double fraction, uint64_t seed, hpt_dataset **first,
                             hpt_dataset **second) {
    uint64_t *index;
    OUT(first);
    OUT(second);
    CHECK(ds, DATASET);
    if (!(fraction > 0 && fraction < 1))
        return hpt__fail(HPT_ERR_ARGUMENT, "fraction %g is not between 0 and 1", fraction);
    uint64_t n;
    HPT_TRY(hpt__dataset_split(ds, fraction, seed, &index, &n));
    return two_parts(ds, index, n, first, second);
}
/* n by a rule of data/dataset_draw.c, and the others. */
typedef hpt_status (*draw)(const hpt_dataset *ds, uint64_t n, uint64_t seed, uint64_t **index, uint64_t *taken);
static hpt_status drawn(draw rule, const hpt_dataset *ds, uint64_t n, uint64_t seed, hpt_dataset **out,
                        hpt_dataset **rest) {
    uint64_t *index, taken;
    OUT(out);
    if (rest) *rest = NULL;
    CHECK(ds, DATASET);
    HPT_TRY(rule(ds, n, seed, &index, &taken));
    return two_parts(ds, index, taken, out, rest);
}
hpt_status hpt_dataset_per_class(const hpt_dataset *ds, uint32_t k, uint64_t seed, hpt_dataset **out,
                                 hpt_dataset **rest) {
    return drawn(hpt__dataset_per_class, ds, k, seed, out, rest);
}
hpt_status hpt_dataset_few(const hpt_dataset *ds, uint64_t n, uint64_t seed, hpt_dataset **out, hpt_dataset **rest) {
    return drawn(hpt__dataset_few, ds, n, seed, out, rest);
}
hpt_status hpt_dataset_budget(const hpt_dataset *ds, uint64_t n, uint64_t seed, hpt_dataset **out, hpt_dataset **rest) {
    return drawn(hpt__dataset_budget, ds, n, seed, out, rest);
}
hpt_status hpt_dataset_budgets(const hpt_dataset *ds, uint32_t count, uint64_t *out) {
    CHECK(ds, DATASET);
    NOT_NULL(out);
    return hpt__dataset_budgets(ds, count, out);
}
hpt_status hpt_dataset_objects(const hpt_dataset *ds, uint64_t *count) {
    CHECK(ds, DATASET);
    NOT_NULL(count);
    return hpt__dataset_objects(ds, count);
}
hpt_status hpt_dataset_disjoint(const hpt_dataset *a, const hpt_dataset *b, uint64_t *common) {
    uint64_t n, first[2];
    char x[420], y[420];
    if (common) *common = 0;
    CHECK(a, DATASET);
    CHECK(b, DATASET);
    HPT__SPAN(&a->ctx->watch, HPT_PHASE_CHECK, "comparing two sets");
    HPT_TRY(hpt__dataset_overlap(a, b, &n, first, NULL));
    if (common) *common = n;
    if (!n) return HPT_OK;
    hpt__dataset_where(a, first[0], x, sizeof x);
    hpt__dataset_where(b, first[1], y, sizeof y);
    return hpt__fail(HPT_ERR_ARGUMENT, "the sets share %llu images, first %s and %s", (unsigned long long)n, x, y);
}
hpt_status hpt_dataset_identity(const hpt_dataset *ds, uint64_t *hash) {
    CHECK(ds, DATASET);
    NOT_NULL(hash);
    return hpt__dataset_identity(ds, hash);
}

hpt_status hpt_dataset_get_info(const hpt_dataset *ds, hpt_dataset_info *info) {
    CHECK(ds, DATASET);
    hpt_dataset_info full = {0, hpt__dataset_labelled(ds), ds->count, ds->src->classes,
                             (uint32_t)hpt__dataset_bad_count(ds), ds->src->skipped, hpt__dataset_cut_count(ds)};
    return hpt__struct_out(info, &full, sizeof full, "info");
}
static hpt_status in_range(const hpt_dataset *ds, uint64_t i) {
    CHECK(ds, DATASET);
    return i < ds->count ? HPT_OK : hpt__fail(HPT_ERR_ARGUMENT, "image %llu of %llu", (unsigned long long)i,
                                              (unsigned long long)ds->count);
}
hpt_status hpt_dataset_label(const hpt_dataset *ds, uint64_t i, int32_t *label) {
    HPT_TRY(in_range(ds, i));
    NOT_NULL(label);
    *label = hpt__dataset_label(ds, i);
    return HPT_OK;
}
hpt_status hpt_dataset_targets(const hpt_dataset *ds, uint64_t i, uint8_t *targets, uint32_t count) {
    HPT_TRY(in_range(ds, i));
    NOT_NULL(targets);
    const uint8_t *t = hpt__dataset_targets(ds, i);
    if (!t) return hpt__fail(HPT_ERR_ARGUMENT, "the data set has not several labels an image");
    if (count != ds->src->classes)
        return hpt__fail(HPT_ERR_ARGUMENT, "%u targets, the set has %u classes", count, ds->src->classes);
    memcpy(targets, t, count);
    return HPT_OK;
}
hpt_status hpt_dataset_name(const hpt_dataset *ds, uint64_t i, char *buf, size_t size, size_t *needed) {
    char text[4200];
    HPT_TRY(in_range(ds, i));
    hpt__dataset_name(ds, i, text, sizeof text);
    return hpt__text_out(text, buf, size, needed);
}
hpt_status hpt_dataset_class_name(const hpt_dataset *ds, uint32_t c, char *buf, size_t size, size_t *needed) {
    char text[32];
    CHECK(ds, DATASET);
    if (c >= ds->src->classes) return hpt__fail(HPT_ERR_ARGUMENT, "class %u of %u", c, ds->src->classes);
    snprintf(text, sizeof text, "%u", c);
    return hpt__text_out(ds->src->class_name ? ds->src->class_name[c] : text, buf, size, needed);
}
hpt_status hpt_dataset_bad_image(const hpt_dataset *ds, uint32_t i, char *buf, size_t size, size_t *needed) {
    CHECK(ds, DATASET);
    uint64_t left = i;
    for (uint64_t at = 0; at < ds->count && ds->src->bad_count; at++)
        if (hpt__dataset_is_bad(ds, at) && !left--) return hpt_dataset_name(ds, at, buf, size, needed);
    return HPT_END;
}
hpt_status hpt_dataset_readable(const hpt_dataset *ds, uint64_t i, int32_t *readable) {
    HPT_TRY(in_range(ds, i));
    NOT_NULL(readable);
    uint8_t state = ds->src->state[ds->index[i]];
    *readable = ds->src->pixels || state == HPT__IMAGE_READ || state == HPT__IMAGE_CUT ? 1 : state == HPT__IMAGE_BAD
        ? 0 : -1;
    return HPT_OK;
}
hpt_status hpt_dataset_stats(hpt_dataset *ds, float mean[3], float std[3]) {
    CHECK(ds, DATASET);
    NOT_NULL(mean);
    NOT_NULL(std);
    HPT_TRY(hpt__dataset_stats(ds));
    memcpy(mean, ds->mean, sizeof ds->mean);
    memcpy(std, ds->std, sizeof ds->std);
    return HPT_OK;
}

static hpt_status one_image(hpt_dataset *ds, uint64_t i, uint32_t size, const uint8_t *rgb) {
    HPT_TRY(in_range(ds, i));
    NOT_NULL(rgb);
    return size >= 1 && size <= 4096 ? HPT_OK : hpt__fail(HPT_ERR_ARGUMENT, "size %u is outside 1..4096", size);
}
hpt_status hpt_dataset_image(hpt_dataset *ds, const hpt_config *cfg, uint64_t i, uint32_t size, uint8_t *rgb) {
    const hpt__options *o;
    hpt__work work = {0};
    hpt__image hold = {0}, im;
    HPT_TRY(one_image(ds, i, size, rgb));
    HPT_TRY(hpt__config_options(cfg, &o));
    int resize = OPT_IS(o, eval_crop, "full") ? (int)size : hpt__frame((int)size);
    hpt_status st = hpt__dataset_image(ds, i, &work, &hold, &im);
    if (!st) st = hpt__plain_apply(&work, &im, resize, OPT_IS(o, eval_crop, "square"), (int)size, rgb);
    hpt__work_fini(&work);
    hpt__image_free(&hold);
    return st;
}
hpt_status hpt_dataset_view(hpt_dataset *ds, const hpt_config *cfg, uint64_t i, uint32_t view, uint64_t epoch,
                            uint32_t size, uint8_t *rgb) {
    const hpt__options *o;
    hpt__work work = {0};
    hpt__image hold = {0}, im;
    hpt__augment a;
    hpt__draws d;
    hpt__rng r;
    HPT_TRY(one_image(ds, i, size, rgb));
    HPT_TRY(hpt__config_options(cfg, &o));
    if (view > 1) return hpt__fail(HPT_ERR_ARGUMENT, "view %u is neither 0 nor 1", view);
    HPT_TRY(hpt__augment_check(o));
    hpt__augment_from_options(o, (int)view, &a);
    a.size = (int)size;
    hpt_status st = hpt__dataset_image(ds, i, &work, &hold, &im);
    if (!st) {
        hpt__rng_init(&r, (uint64_t)OPT_I(o, seed) ^ (uint64_t)OPT_I(o, data_seed) << 1, HPT__RNG_AUGMENT, epoch,
                      (uint32_t)(i * 2 + view));
        hpt__augment_draw(&r, &a, im.w, im.h, &d);
        st = hpt__augment_apply(&work, &im, &a, &d, rgb);
    }
    hpt__work_fini(&work);
    hpt__image_free(&hold);
    return st;
}

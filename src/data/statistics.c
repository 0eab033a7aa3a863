/* SPDX-License-Identifier: MIT
 * Mean and deviation of the images of a set: of all or of a sample, taken once, and kept in a file if there is one. The
 * file is JSON:
 *   {"format": "hpt statistics 1", "sets": {KEY: {"images": n, "of": n, "mean": [r,g,b], "std": [r,g,b], "unreadable":
 *   [...], "cut": [...]}}}
 * KEY is hpt__dataset_content(); images, of the set's own numbers, that could not be read or had lost their tails
 * are looked at again, so that a set knows of them as if it had been read whole. A file that says something else is
 * begun again: it holds nothing that cannot be had again. */
#include "core/alloc.h"
#include "core/json.h"
#include "core/rng.h"
#include "data/dataset.h"
#include "io/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char format[] = "hpt statistics 1";
enum { SETS = 1000 };           /* that a file keeps; the oldest go */

void hpt__dataset_take_stats(hpt_dataset *to, const hpt_dataset *from) {
    memcpy(to->mean, from->mean, sizeof to->mean);
    memcpy(to->std, from->std, sizeof to->std);
    to->stats_images = from->stats_images;
    to->stats_of = from->stats_of;
    to->has_stats = 1;
}

/* ---- the file ---- */

/* Its object, or a new one. */
static json_t *read_file(const hpt_dataset *ds, int warn) {
    const char *path = ds->src->stats_file;
    hpt__bytes f;
    json_t *all = NULL;
    int there = !access(path, F_OK);        /* asked first: another process may be about to write the first one */
    hpt_status st = hpt__file_read(path, 64u << 20, &f);
    if (!st) {
        all = json_loadb((const char *)f.p, f.n, JSON_REJECT_DUPLICATES, NULL);
        const char *is = json_string_value(json_object_get(all, "format"));
        hpt__free(f.p);
        if (!is || strcmp(is, format) || !json_is_object(json_object_get(all, "sets"))) {
            json_decref(all);
            all = NULL;
        }
    }
    if (all) return all;
    if (warn && there) hpt__log(ds->ctx, 1, "%.800s: not a file of statistics, or damaged; it is written anew", path);
    return json_pack("{s:s, s:{}}", "format", format, "sets");
}
static int numbers(const json_t *v, float out[3], double least) {
    for (size_t c = 0; c < 3; c++) {
        double x = hpt__json_real(json_array_get(v, c));
        if (!(x >= least && x <= 1) || json_array_size(v) != 3) return 0;
        out[c] = (float)x;
    }
    return 1;
}
/* Images of this list are as they were when it was written: each can still not be read, or (cut) is without its
 * tail. */
static int still_so(const hpt_dataset *ds, const json_t *list, int cut) {
    hpt__work work = {0};
    hpt__image hold = {0}, im;
    int same = json_is_array(list);
    for (size_t i = 0; same && i < json_array_size(list); i++) {
        json_int_t k = json_integer_value(json_array_get(list, i));
        same = json_is_integer(json_array_get(list, i)) && k >= 0 && (uint64_t)k < ds->count;
        if (!same) break;
        hpt_status st = hpt__dataset_image(ds, (uint64_t)k, &work, &hold, &im);
        same = cut ? !st && ds->src->state[ds->index[k]] == HPT__IMAGE_CUT : hpt__dataset_skips(ds, st);
    }
    hpt__work_fini(&work);
    hpt__image_free(&hold);
    return same;
}
/* 1: the file knew it. */
static int load(hpt_dataset *ds, const char *key) {
    json_t *all = read_file(ds, 1), *e = json_object_get(json_object_get(all, "sets"), key);
    json_int_t images = json_integer_value(json_object_get(e, "images")),
        of = json_integer_value(json_object_get(e, "of"));
    int sampled = ds->src->sample[0] && ds->src->sample[0] < ds->count;
    int known = e && of == (json_int_t)ds->count && images > 0 && images <= of &&
        numbers(json_object_get(e, "mean"), ds->mean, 0) &&
                numbers(json_object_get(e, "std"), ds->std, 1e-6) && still_so(ds, json_object_get(e, "unreadable"),
                0) && still_so(ds, json_object_get(e, "cut"), 1);
    if (known) {
        ds->stats_images = sampled ? (uint64_t)images : 0;
        ds->stats_of = sampled ? ds->count : 0;
    }
    json_decref(all);
    return known;
}
static json_t *places(const hpt_dataset *ds, const uint64_t *pick, uint64_t n, uint8_t state) {
    json_t *list = json_array();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t k = pick ? pick[i] : i;
        if (ds->src->state[ds->index[k]] == state) json_array_append_new(list, json_integer((json_int_t)k));
    }
    return list;
}
/* Another process may have written since, hence what is there is read again; an entry that is lost between the two
 * is taken anew by whoever wants it. A file that cannot be written costs a warning. */
static void save(const hpt_dataset *ds, const char *key, uint64_t images, const uint64_t *pick, uint64_t n) {
    const char *path = ds->src->stats_file, *oldest;
    json_t *all = read_file(ds, 0), *sets = json_object_get(all, "sets");
    json_t *e = json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "images", (json_int_t)images, "of", (json_int_t)ds->count,
                          "mean", hpt__json_floats(ds->mean, 3), "std", hpt__json_floats(ds->std, 3), "unreadable",
                          places(ds, pick, n, HPT__IMAGE_BAD), "cut", places(ds, pick, n, HPT__IMAGE_CUT));
    hpt__writer *w = hpt__alloc(sizeof *w);
    while (json_object_size(sets) >= SETS && (oldest = json_object_iter_key(json_object_iter(sets))))
        json_object_del(sets, oldest);
    int lost = !e || json_object_set_new(sets, key, e);
    char *text = lost || !w ? NULL : hpt__json_dumps(all, JSON_INDENT(1));
    hpt_status st = text ? hpt__writer_open(w, path) : hpt__fail_memory(sizeof *w);
    if (!st) {
        hpt__writer_put(w, text, strlen(text));
        hpt__writer_put(w, "\n", 1);
        st = hpt__writer_commit(w);
    }
    if (st) hpt__log(ds->ctx, 1, "the statistics of the images are not kept: %.900s", hpt__error_text());
    hpt__free(text);
    hpt__free(w);
    json_decref(all);
}

/* ---- the pass ---- */

static int by_place(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}
/* n places of the set, rising. */
static hpt_status draw(const hpt_dataset *ds, uint64_t n, uint64_t **pick) {
    uint32_t all = (uint32_t)ds->count, *order;
    if (ds->count > 0xffffffffu) return hpt__fail(HPT_ERR_UNSUPPORTED, "more than 2^32 images");
    *pick = hpt__alloc(sizeof **pick * (size_t)n);
    order = hpt__alloc(sizeof *order * ((size_t)all + 1));
    if (*pick && order) {
        hpt__rng r;
        hpt__rng_init(&r, ds->src->sample[1], HPT__RNG_SPLIT, 2, 0);
        hpt__rng_permutation(&r, order, all);
        for (uint64_t i = 0; i < n; i++) (*pick)[i] = order[i];
        qsort(*pick, (size_t)n, sizeof **pick, by_place);
    }
    hpt__free(order);
    return *pick && order ? HPT_OK : hpt__fail_memory(sizeof **pick * (size_t)n + sizeof *order * ds->count);
}
/* Sums in the order of the set, whoever made them. */
static hpt_status compute(hpt_dataset *ds, const uint64_t *pick, uint64_t count, uint64_t *images) {
    double total[6] = {0}, (*sum)[6] = hpt__calloc((size_t)count, sizeof *sum);
    uint64_t n = 0;
    if (!sum) return hpt__fail_memory((size_t)count * 48);
    hpt_status st = hpt__dataset_scan(ds, pick, 0, count, sum);
    for (uint64_t i = 0; i < count && !st; i++) {
        if (isnan(sum[i][0])) continue;
        n++;
        for (int c = 0; c < 6; c++) total[c] += sum[i][c];
    }
    hpt__free(sum);
    if (!st && !n) st = hpt__dataset_none_readable(ds);
    if (st) return st;
    for (int c = 0; c < 3; c++) {
        double mean = total[c] / (double)n, var = total[3 + c] / (double)n - mean * mean;
        ds->mean[c] = (float)mean;
        ds->std[c] = (float)sqrt(var > 1e-6 ? var : 1e-6);      /* a set of one colour must not divide by 0 */
    }
    *images = n;
    return HPT_OK;
}
static hpt_status take_stats(hpt_dataset *ds) {
    const hpt__source *s = ds->src;
    uint64_t hash, *pick = NULL, n = ds->count, images = 0;
    int sampled = s->sample[0] && s->sample[0] < n, known = 0;
    char key[20] = "";
    if (s->given_stats) {
        memcpy(ds->mean, s->mean, sizeof ds->mean);
        memcpy(ds->std, s->std, sizeof ds->std);
        ds->has_stats = 1;
        return HPT_OK;
    }
    if (*s->stats_file) {
        HPT_TRY(hpt__dataset_content(ds, &hash));
        snprintf(key, sizeof key, "%016llx", (unsigned long long)hash);
        known = load(ds, key);
    }
    if (sampled) n = s->sample[0];
    hpt_status st = sampled && !known ? draw(ds, n, &pick) : HPT_OK;
    if (!st && !known) st = compute(ds, pick, n, &images);
    if (!st && !known) {
        ds->stats_images = sampled ? images : 0;
        ds->stats_of = sampled ? ds->count : 0;
        if (*key) save(ds, key, images, pick, n);
    }
    if (!st && sampled)
        hpt__log(ds->ctx, 0, "pixel statistics of %llu of %llu images (option stats_images)",
                 (unsigned long long)ds->stats_images, (unsigned long long)ds->stats_of);
    hpt__free(pick);
    if (!st) ds->has_stats = 1;
    return st;
}

hpt_status hpt__dataset_stats(hpt_dataset *ds) {
    hpt_dataset *from = ds->origin;
    pthread_mutex_lock(&ds->stats_lock);
    hpt_status st = ds->has_stats ? HPT_OK : from ? hpt__dataset_stats(from) : take_stats(ds);
    if (!st && from) hpt__dataset_take_stats(ds, from);
    pthread_mutex_unlock(&ds->stats_lock);
    return st;
}

hpt_status hpt__dataset_normalization(hpt_dataset *ds, const hpt__options *o, const hpt__pixels *model, int fresh,
                                      hpt__pixels *out) {
    *out = *model;
    out->images = out->of = 0;
    for (int i = 0; i < 2; i++) {
        const char *v = i ? OPT_S(o, pixel_std) : OPT_S(o, pixel_mean);
        int asked = !strcmp(v, "data");
        if (!ds && asked)
            return hpt__fail(HPT_ERR_OPTION, "option '%s': data needs a data set", i ? "pixel_std" : "pixel_mean");
        if (!ds || (!asked && !(fresh && !strcmp(v, "auto")))) continue;
        HPT_TRY(hpt__dataset_stats(ds));
        memcpy(i ? out->std : out->mean, i ? ds->std : ds->mean, sizeof out->mean);
        out->from[i] = "data";
        out->images = ds->stats_images;
        out->of = ds->stats_of;
    }
    return hpt__pixels_given(o, out);
}

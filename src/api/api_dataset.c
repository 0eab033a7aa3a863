/* SPDX-License-Identifier: MIT */
#include "api/api.h"
#include "core/alloc.h"
#include "data/dataset.h"
#include <math.h>
#include <string.h>

static hpt_status wrap(hpt_context *ctx, hpt__source *src, hpt_dataset **out) {
    hpt_status st = hpt__dataset_new(ctx, src, NULL, src->n, out);
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
    HPT_TRY(hpt__source_open(o, path, &src));
    return wrap(ctx, src, out);
}

hpt_status hpt_dataset_from_memory(hpt_context *ctx, const hpt_config *cfg, const uint8_t *pixels, uint64_t count, uint32_t height, uint32_t width,
                                   uint32_t channels, const int32_t *labels, hpt_dataset **out) {
    const hpt__options *o;
    hpt__source *src;
    OUT(out);
    CHECK(ctx, CONTEXT);
    NOT_NULL(pixels);
    HPT_TRY(hpt__config_options(cfg, &o));
    if (!count || !height || !width || (channels != 1 && channels != 3) || height > 65535 || width > 65535 || count > 1ull << 32 ||
        count > SIZE_MAX / ((uint64_t)height * width * channels))
        return hpt__fail(HPT_ERR_ARGUMENT, "%llu images of %ux%u with %u channels", (unsigned long long)count, height, width, channels);
    for (uint64_t i = 0; labels && i < count; i++)
        if (labels[i] < 0 || labels[i] > 1000000) return hpt__fail(HPT_ERR_ARGUMENT, "label %d of image %llu", labels[i], (unsigned long long)i);
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
        if (indices[i] >= ds->count) return hpt__fail(HPT_ERR_ARGUMENT, "index %llu of %llu images", (unsigned long long)indices[i], (unsigned long long)ds->count);
    uint64_t *inner = hpt__alloc(sizeof *inner * (size_t)(count + 1));
    if (!inner) return hpt__fail_memory(sizeof *inner * (size_t)count);
    for (uint64_t i = 0; i < count; i++) inner[i] = ds->index[indices[i]];
    hpt_status st = part(ds, inner, count, out);
    hpt__free(inner);
    return st;
}
static hpt_status two_parts(const hpt_dataset *ds, uint64_t *index, uint64_t n, hpt_dataset **first, hpt_dataset **second) {
    hpt_status st = part(ds, index, n, first);
    if (!st && second) st = part(ds, index + n, ds->count - n, second);
    if (st && *first) {
        hpt_dataset_destroy(*first);
        *first = NULL;
    }
    hpt__free(index);
    return st;
}
hpt_status hpt_dataset_split(const hpt_dataset *ds, double fraction, uint64_t seed, hpt_dataset **first, hpt_dataset **second) {
    uint64_t *index;
    OUT(first);
    OUT(second);
    CHECK(ds, DATASET);
    if (!(fraction > 0 && fraction < 1)) return hpt__fail(HPT_ERR_ARGUMENT, "fraction %g is not between 0 and 1", fraction);
    HPT_TRY(hpt__dataset_order(ds, seed, &index));
    return two_parts(ds, index, (uint64_t)llround(fraction * (double)ds->count), first, second);
}
hpt_status hpt_dataset_per_class(const hpt_dataset *ds, uint32_t k, uint64_t seed, hpt_dataset **out, hpt_dataset **rest) {
    uint64_t *index, n;
    OUT(out);
    if (rest) *rest = NULL;
    CHECK(ds, DATASET);
    HPT_TRY(hpt__dataset_per_class(ds, k, seed, &index, &n));
    return two_parts(ds, index, n, out, rest);
}

hpt_status hpt_dataset_get_info(const hpt_dataset *ds, hpt_dataset_info *info) {
    CHECK(ds, DATASET);
    pthread_mutex_lock(&ds->src->lock);
    hpt_dataset_info full = {0, ds->src->label != NULL, ds->count, ds->src->classes, (uint32_t)ds->src->bad_count};
    pthread_mutex_unlock(&ds->src->lock);
    return hpt__struct_out(info, &full, sizeof full, "info");
}
static hpt_status in_range(const hpt_dataset *ds, uint64_t i) {
    CHECK(ds, DATASET);
    return i < ds->count ? HPT_OK : hpt__fail(HPT_ERR_ARGUMENT, "image %llu of %llu", (unsigned long long)i, (unsigned long long)ds->count);
}
hpt_status hpt_dataset_label(const hpt_dataset *ds, uint64_t i, int32_t *label) {
    HPT_TRY(in_range(ds, i));
    NOT_NULL(label);
    *label = hpt__dataset_label(ds, i);
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
    pthread_mutex_lock(&ds->src->lock);
    uint64_t n = ds->src->bad_count < 16 ? ds->src->bad_count : 16, k = i < n ? ds->src->bad_first[i] : 0;
    pthread_mutex_unlock(&ds->src->lock);
    if (i >= n) return HPT_END;
    return hpt__text_out(ds->src->path ? ds->src->path[k] : "memory", buf, size, needed);
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
    int resize = OPT_IS(o, eval_crop, "full") ? (int)size : (int)lrint(size / 0.875);
    hpt_status st = hpt__dataset_image(ds, i, &work, &hold, &im);
    if (!st) st = hpt__plain_apply(&work, &im, resize, (int)size, rgb);
    hpt__work_fini(&work);
    hpt__image_free(&hold);
    return st;
}
hpt_status hpt_dataset_view(hpt_dataset *ds, const hpt_config *cfg, uint64_t i, uint32_t view, uint64_t epoch, uint32_t size, uint8_t *rgb) {
    const hpt__options *o;
    hpt__work work = {0};
    hpt__image hold = {0}, im;
    hpt__augment a;
    hpt__draws d;
    hpt__rng r;
    HPT_TRY(one_image(ds, i, size, rgb));
    HPT_TRY(hpt__config_options(cfg, &o));
    if (view > 1) return hpt__fail(HPT_ERR_ARGUMENT, "view %u is neither 0 nor 1", view);
    hpt__augment_from_options(o, &a);
    a.size = (int)size;
    hpt_status st = hpt__dataset_image(ds, i, &work, &hold, &im);
    if (!st) {
        hpt__rng_init(&r, (uint64_t)OPT_I(o, seed) ^ (uint64_t)OPT_I(o, data_seed) << 1, HPT__RNG_AUGMENT, epoch, (uint32_t)(i * 2 + view));
        hpt__augment_draw(&r, &a, im.w, im.h, &d);
        st = hpt__augment_apply(&work, &im, &a, &d, rgb);
    }
    hpt__work_fini(&work);
    hpt__image_free(&hold);
    return st;
}

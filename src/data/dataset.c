/* SPDX-License-Identifier: MIT
 * A data set in memory: sources and their counts of users, one image of it (decoded, cached, or the next that can be
 * read), and the mean and deviation of all. How paths become sets: dataset_open.c; parts: dataset_parts.c. */
#define _GNU_SOURCE
#include "data/dataset.h"
#include "core/alloc.h"
#include "core/thread.h"
#include "io/file.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

hpt_status hpt__source_create(const hpt__options *o, uint64_t n, hpt__source **out) {
    hpt__source *s = hpt__calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return hpt__fail_memory(sizeof *s);
    s->refs = 1;
    s->n = n;
    s->limits = (hpt__image_limits){.max_pixels = (uint64_t)OPT_I(o, max_pixels),
                                    .max_bytes = (uint64_t)OPT_I(o, max_file_mb) << 20,
                                    .alpha = OPT_IS(o, alpha, "white") ? HPT__ALPHA_WHITE : OPT_IS(o, alpha, "black")
                                    ? HPT__ALPHA_BLACK : HPT__ALPHA_DROP, .orient = OPT_IS(o, orient, "apply"),
                                    .accept_cut = OPT_IS(o, truncated, "accept")};
    s->skip_bad = OPT_IS(o, bad_image, "skip");
    s->cache_side = (int)OPT_I(o, cache_side);
    s->cache_left = (uint64_t)OPT_I(o, cache_mb) << 20;
    s->invert = (int)OPT_I(o, invert);
    s->pad = (int)OPT_I(o, pad);
    s->sample[0] = (uint64_t)OPT_I(o, stats_images);
    s->sample[1] = s->sample[0] ? (uint64_t)OPT_I(o, data_seed) : 0;
    s->stats_file = hpt__strdup(OPT_S(o, stats_file));
    s->state = hpt__calloc((size_t)n + 1, sizeof *s->state);
    if (OPT_IS(o, cache, "memory")) s->cache = hpt__calloc((size_t)n + 1, sizeof *s->cache);
    if (!s->state || !s->stats_file || (OPT_IS(o, cache, "memory") && !s->cache)) {
        hpt__source_release(s);
        return hpt__fail_memory((size_t)n);
    }
    *out = s;
    return HPT_OK;
}

void hpt__source_release(hpt__source *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
    for (uint64_t i = 0; s->path && i < s->n; i++) hpt__free(s->path[i]);
    for (uint64_t i = 0; s->cache && i < s->n; i++) hpt__free(s->cache[i]);
    for (uint32_t i = 0; s->class_name && i < s->classes; i++) hpt__free(s->class_name[i]);
    for (size_t i = 0; i < s->notes; i++) hpt__free(s->note[i].text);
    hpt__free(s->note);
    hpt__free(s->path);
    hpt__free((void *)s->cache);
    hpt__free(s->class_name);
    hpt__free(s->pixels);
    hpt__free(s->title);
    hpt__free(s->stats_file);
    hpt__free(s->label);
    hpt__free(s->multi);
    hpt__free(s->object);
    hpt__free(s->list);
    hpt__free(s->line);
    hpt__free((void *)s->state);
    hpt__free(s);
}

static void dataset_free(void *p) {
    hpt_dataset *ds = p;
    hpt__source_release(ds->src);
    hpt__free(ds->index);
    hpt__release(ds->ctx);
    hpt__release(ds->origin);
    pthread_mutex_destroy(&ds->stats_lock);
    hpt__free(ds);
}

hpt_status hpt__dataset_new(hpt_context *ctx, hpt__source *src, const uint64_t *index, uint64_t count,
                            hpt_dataset **out) {
    hpt_dataset *ds = hpt__calloc(1, sizeof *ds);
    *out = NULL;
    if (!ds) return hpt__fail_memory(sizeof *ds);
    ds->index = hpt__alloc(sizeof *ds->index * (size_t)(count + 1));
    if (!ds->index || hpt__handle_open(ds, HPT__KIND_DATASET, dataset_free)) {
        hpt__free(ds->index);
        hpt__free(ds);
        return hpt__fail_memory(sizeof *ds->index * (size_t)count);
    }
    for (uint64_t i = 0; i < count; i++) ds->index[i] = index ? index[i] : i;
    ds->count = count;
    ds->ctx = ctx;
    hpt__retain(ctx);
    ds->src = src;
    atomic_fetch_add(&src->refs, 1);
    pthread_mutex_init(&ds->stats_lock, NULL);
    *out = ds;
    return HPT_OK;
}
hpt_status hpt__dataset_share(hpt_dataset *ds, hpt_dataset **out) {
    HPT_TRY(hpt__dataset_new(ds->ctx, ds->src, ds->index, ds->count, out));
    hpt__retain(ds);
    (*out)->origin = ds;
    return HPT_OK;
}

int32_t hpt__dataset_label(const hpt_dataset *ds, uint64_t i) {
    return ds->src->label ? ds->src->label[ds->index[i]] : -1;
}
const uint8_t *hpt__dataset_targets(const hpt_dataset *ds, uint64_t i) {
    return ds->src->multi ? ds->src->multi + ds->index[i] * ds->src->classes : NULL;
}
int hpt__dataset_labelled(const hpt_dataset *ds) { return ds->src->multi ? 2 : ds->src->label != NULL; }
void hpt__dataset_name(const hpt_dataset *ds, uint64_t i, char *text, size_t size) {
    uint64_t k = ds->index[i];
    if (ds->src->path) snprintf(text, size, "%s", ds->src->path[k]);
    else snprintf(text, size, "%s#%llu", ds->src->title ? ds->src->title : "memory", (unsigned long long)k);
}

void hpt__dataset_where(const hpt_dataset *ds, uint64_t i, char *text, size_t size) {
    const hpt__source *s = ds->src;
    char name[400];
    hpt__dataset_name(ds, i, name, sizeof name);
    if (s->list && s->line) snprintf(text, size, "%.300s, line %u (%.300s)", s->list, s->line[ds->index[i]], name);
    else snprintf(text, size, "%.390s", name);
}

/* ---- one image ---- */

static hpt_status pixels_image(const hpt__source *s, uint64_t k, hpt__work *work, hpt__image *view) {
    int w = s->w + 2 * s->pad, h = s->h + 2 * s->pad, flip = s->invert ? 255 : 0;
    uint8_t *to = hpt__work_get(work, 6, (size_t)w * (size_t)h * 3);
    if (!to) return hpt__fail_memory((size_t)w * (size_t)h * 3);
    const uint8_t *from = s->pixels + k * (uint64_t)s->w * (uint64_t)s->h * (uint64_t)s->channels;
    memset(to, flip, (size_t)w * (size_t)h * 3);
    for (int y = 0; y < s->h; y++) {
        uint8_t *row = to + ((size_t)(y + s->pad) * (size_t)w + (size_t)s->pad) * 3;
        for (int x = 0; x < s->w; x++)
            for (int c = 0; c < 3; c++)
                row[3 * x + c] = (uint8_t)(from[((size_t)y * (size_t)s->w + (size_t)x) * (size_t)s->channels +
                                                (size_t)(s->channels == 3 ? c : 0)] ^ flip);
    }
    *view = (hpt__image){.w = w, .h = h, .rgb = to};
    return HPT_OK;
}

/* Shrinks to cache_side and keeps a copy if there is room; another thread may have been faster. */
static hpt_status keep(hpt__source *s, uint64_t k, hpt__work *work, hpt__image *hold, hpt__image *view) {
    int side = hold->w < hold->h ? hold->w : hold->h;
    if (s->cache_side && side > s->cache_side) {
        int w = hold->w <= hold->h ? s->cache_side : (int)((int64_t)s->cache_side * hold->w / hold->h);
        int h = hold->w <= hold->h ? (int)((int64_t)s->cache_side * hold->h / hold->w) : s->cache_side;
        uint8_t *small = hpt__alloc((size_t)w * (size_t)h * 3);
        if (!small) return hpt__fail_memory((size_t)w * (size_t)h * 3);
        hpt_status st = hpt__resize(work, hold->rgb, hold->w, hold->h, 0, 0, hold->w, hold->h, HPT__BILINEAR, small, w,
                                    h);
        if (st) {
            hpt__free(small);
            return st;
        }
        hpt__image_free(hold);
        *hold = (hpt__image){.w = w, .h = h, .rgb = small, .cut = hold->cut};
    }
    *view = *hold;
    uint64_t bytes = 8 + (uint64_t)hold->w * (uint64_t)hold->h * 3;
    if (atomic_load(&s->cache_left) < bytes) return HPT_OK;
    uint8_t *copy = hpt__alloc((size_t)bytes), *none = NULL;
    if (!copy) return HPT_OK;           /* a cache is allowed to stay empty */
    memcpy(copy, &hold->w, 4);
    memcpy(copy + 4, &hold->h, 4);
    memcpy(copy + 8, hold->rgb, (size_t)bytes - 8);
    if (atomic_compare_exchange_strong(&s->cache[k], &none, copy)) atomic_fetch_sub(&s->cache_left, bytes);
    else hpt__free(copy);
    return HPT_OK;
}

static hpt_status file_image(hpt__source *s, uint64_t k, hpt__work *work, hpt__image *hold, hpt__image *view) {
    uint8_t *kept = s->cache ? atomic_load(&s->cache[k]) : NULL;
    if (kept) {
        memcpy(&view->w, kept, 4);
        memcpy(&view->h, kept + 4, 4);
        view->rgb = kept + 8;
        return HPT_OK;
    }
    hpt__bytes f;
    HPT_TRY(hpt__file_read(s->path[k], s->limits.max_bytes, &f));
    hpt__image_free(hold);
    hpt_status st = hpt__image_decode(f.p, f.n, &s->limits, hold);
    hpt__free(f.p);
    if (st == HPT_ERR_DATA) return hpt__fail_context(st, "%.700s", s->path[k]);
    if (st) return st;
    if (s->cache) return keep(s, k, work, hold, view);
    *view = *hold;
    return HPT_OK;
}

/* A failure that says nothing about the file: this process has no memory or no file descriptor left. */
static int out_of_means(hpt_status st) {
    return st == HPT_ERR_MEMORY || st == HPT_ERR_CANCELLED ||
        (st == HPT_ERR_IO && (errno == EMFILE || errno == ENFILE || errno == ENOMEM));
}

hpt_status hpt__dataset_image(const hpt_dataset *ds, uint64_t i, hpt__work *work, hpt__image *hold, hpt__image *view) {
    hpt__source *s = ds->src;
    uint64_t k = ds->index[i];
    if (s->pixels) return pixels_image(s, k, work, view);
    uint8_t state = atomic_load_explicit(&s->state[k], memory_order_relaxed);
    if (state == HPT__IMAGE_BAD) return hpt__fail(HPT_ERR_DATA, "image: %.700s: found unreadable before", s->path[k]);
    hpt_status st = file_image(s, k, work, hold, view);
    if (!st) {
        if (state == HPT__IMAGE_UNKNOWN) {
            int cut = hold->cut && hold->rgb == view->rgb;
            if (atomic_compare_exchange_strong(&s->state[k], &state, cut ? HPT__IMAGE_CUT : HPT__IMAGE_READ) && cut)
                atomic_fetch_add(&s->cut_count, 1);
        }
        return HPT_OK;
    }
    if (out_of_means(st)) return st;
    if (s->skip_bad && atomic_exchange(&s->state[k], HPT__IMAGE_BAD) != HPT__IMAGE_BAD)
        atomic_fetch_add(&s->bad_count, 1);
    return hpt__fail_context(HPT_ERR_DATA, "image");
}

int hpt__dataset_skips(const hpt_dataset *ds, hpt_status st) { return st == HPT_ERR_DATA && ds->src->skip_bad; }
int hpt__dataset_is_bad(const hpt_dataset *ds, uint64_t i) { return ds->src->state[ds->index[i]] == HPT__IMAGE_BAD; }
uint64_t hpt__dataset_bad_count(const hpt_dataset *ds) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < ds->count && ds->src->bad_count; i++) n += (uint64_t)hpt__dataset_is_bad(ds, i);
    return n;
}
uint64_t hpt__dataset_cut_count(const hpt_dataset *ds) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < ds->count && ds->src->cut_count; i++) n += ds->src->state[ds->index[i]] == HPT__IMAGE_CUT;
    return n;
}

hpt_status hpt__dataset_none_readable(const hpt_dataset *ds) {
    char name[600];
    hpt__dataset_name(ds, 0, name, sizeof name);
    return hpt__fail(HPT_ERR_DATA, "no readable image among %llu, first %s", (unsigned long long)ds->count, name);
}
hpt_status hpt__dataset_image_or_next(const hpt_dataset *ds, uint64_t *i, hpt__work *work, hpt__image *hold,
                                      hpt__image *view) {
    for (uint64_t tries = 0; tries < ds->count; tries++) {
        uint64_t at = (*i + tries) % ds->count;
        hpt_status st = hpt__dataset_image(ds, at, work, hold, view);
        if (hpt__dataset_skips(ds, st)) continue;
        *i = at;
        return st;
    }
    return hpt__dataset_none_readable(ds);
}

/* ---- a pass over many images: in parallel; what it finds does not depend on the workers ---- */

typedef struct scan_job {
    hpt_dataset *ds;
    const uint64_t *pick;           /* the images, NULL: all */
    /* for statistics, by image; NAN where it cannot be read. NULL: only look whether it can */
    double (*sum)[6];
    uint64_t to;
    _Atomic uint64_t next;
    _Atomic int failed;
    hpt_status status;
    char text[1024];
    pthread_mutex_t lock;
} scan_job;

/* span: of the thread that called the library, which tells the host how far all are; NULL in the others. */
static void scan_images(scan_job *j, hpt__span *span) {
    hpt__work work = {0};
    hpt__image hold = {0}, im;
    uint64_t i;
    while (!j->failed && (i = atomic_fetch_add(&j->next, 1)) < j->to) {
        uint64_t k = j->pick ? j->pick[i] : i;
        if (!j->sum && j->ds->src->state[j->ds->index[k]] != HPT__IMAGE_UNKNOWN) continue;
        hpt_status st = span ? hpt__span_at(span, i) : HPT_OK;
        if (!st) st = hpt__dataset_image(j->ds, k, &work, &hold, &im);
        if (hpt__dataset_skips(j->ds, st)) {
            if (j->sum) j->sum[i][0] = NAN;
            continue;
        }
        if (st) {
            pthread_mutex_lock(&j->lock);
            if (!j->failed) {
                j->status = st;
                snprintf(j->text, sizeof j->text, "%s", hpt__error_text());
            }
            j->failed = 1;
            pthread_mutex_unlock(&j->lock);
            break;
        }
        size_t n = (size_t)im.w * (size_t)im.h;
        for (int c = 0; c < 3 && j->sum; c++) {
            uint64_t s = 0, ss = 0;
            for (size_t p = 0; p < n; p++) {
                uint32_t v = im.rgb[3 * p + (size_t)c];
                s += v;
                ss += v * v;
            }
            j->sum[i][c] = (double)s / (double)n / 255;
            j->sum[i][3 + c] = (double)ss / (double)n / (255.0 * 255.0);
        }
    }
    hpt__work_fini(&work);
    hpt__image_free(&hold);
}
static void *scan_worker(void *arg) {
    scan_images(arg, NULL);
    return NULL;
}
hpt_status hpt__dataset_scan(hpt_dataset *ds, const uint64_t *pick, uint64_t from, uint64_t to, double (*sum)[6]) {
    scan_job j = {.ds = ds, .pick = pick, .sum = sum, .next = from, .to = to};
    pthread_t t[64];
    int n = ds->ctx->threads < 64 ? ds->ctx->threads : 64, started = 0;
    pthread_mutex_init(&j.lock, NULL);
    hpt__span span;
    hpt__span_begin(&ds->ctx->watch, &span, sum ? HPT_PHASE_STATS : HPT_PHASE_CHECK, from, to,
                    sum ? "statistics of the images" : "looking at the images");
    while (started < n - 1 && !hpt__thread_start(&t[started], scan_worker, &j)) started++;
    scan_images(&j, &span);
    for (int i = 0; i < started; i++) pthread_join(t[i], NULL);
    if (!j.failed) span.done = to;
    hpt__span_end(&span);
    pthread_mutex_destroy(&j.lock);
    return j.failed ? hpt__fail(j.status, "%s", j.text) : HPT_OK;
}

hpt_status hpt__dataset_readable(hpt_dataset *ds, uint64_t most, hpt_dataset **out) {
    uint64_t n = 0, seen = 0, *index = hpt__alloc(sizeof *index * (size_t)(ds->count + 1));
    int look = ds->src->skip_bad && !ds->src->pixels;
    hpt_status st = index ? HPT_OK : hpt__fail_memory(sizeof *index * (size_t)ds->count);
    *out = NULL;
    while (!st && n < most && seen < ds->count) {
        uint64_t to = ds->count - seen < most - n ? ds->count : seen + most - n;
        if (look) st = hpt__dataset_scan(ds, NULL, seen, to, NULL);
        for (; seen < to && !st; seen++)
            if (!hpt__dataset_is_bad(ds, seen)) index[n++] = ds->index[seen];
    }
    if (!st && !n) st = hpt__dataset_none_readable(ds);
    if (!st) st = hpt__dataset_new(ds->ctx, ds->src, index, n, out);
    if (!st && ds->has_stats) {         /* of the whole set, as far as it can be read */
        hpt__dataset_take_stats(*out, ds);
    }
    hpt__free(index);
    return st;
}

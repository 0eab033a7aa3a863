/* SPDX-License-Identifier: MIT
 * A ring of batches: workers make items of the next ones in any order, the caller takes batches in theirs. A worker
 * that fails leaves status and text for the caller, and all of them stop. */
#define _GNU_SOURCE
#include "data/loader.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/thread.h"
#include <pthread.h>
#include <string.h>

enum { DEPTH = 3, PERMS = 4 };

typedef struct loader_slot {
    float *x[2];
    uint64_t *index, step, epoch;
    int done;
    uint8_t *hole;
    /* raw: pixels of the batch; spill: those of an image that found no room, by item */
    uint8_t *pixels, **spill;
    size_t used, cap;
    hpt__view *views;
    /* memory that was too small; kept to the end, because freeing pinned memory waits for the device */
    void *old[40];
    int n_old;
} loader_slot;

struct hpt__loader {
    hpt__loader_spec s;
    float table[3][256];
    loader_slot slot[DEPTH];
    pthread_t thread[256];
    int threads, stop, failed;
    hpt_status status;
    char text[1024];
    pthread_mutex_t lock;
    pthread_cond_t ready, room;
    /* items handed to workers; batches given to the consumer, counted from first_step */
    uint64_t next_item, taken;
    int holding;
    int n_shares;
    hpt__loader_share share[HPT__SHARES];       /* ds alone is the first */
    struct { uint64_t epoch; uint32_t *p; int used; } perm[HPT__SHARES][PERMS];
};

uint64_t hpt__loader_epoch(uint64_t n, uint64_t batch, uint64_t step) {
    return n >= batch ? step / (n / batch) : step * batch / n;
}

/* Which set an item of a batch is from; *i becomes its place among those of that set. */
static int share_of(const hpt__loader *l, uint64_t *i) {
    int k = 0;
    while (*i >= (uint64_t)l->share[k].images) *i -= (uint64_t)l->share[k++].images;
    return k;
}
/* Sets draw apart, also where two of them are the same. */
static uint64_t seed_of(const hpt__loader *l, int k) { return l->s.seed ^ (uint64_t)k * 0x9e3779b97f4a7c15u; }

/* Order of an epoch of set k; called with the lock. The oldest of PERMS is replaced. */
static const uint32_t *permutation(hpt__loader *l, int k, uint64_t epoch) {
    int at = 0;
    for (int i = 0; i < PERMS; i++) {
        if (l->perm[k][i].used && l->perm[k][i].epoch == epoch) return l->perm[k][i].p;
        if (!l->perm[k][i].used || (l->perm[k][at].used && l->perm[k][i].epoch < l->perm[k][at].epoch)) at = i;
    }
    hpt__rng r;
    hpt__rng_init(&r, seed_of(l, k), HPT__RNG_ORDER, epoch, 0);
    hpt__rng_permutation(&r, l->perm[k][at].p, (uint32_t)l->share[k].ds->count);
    l->perm[k][at].epoch = epoch;
    l->perm[k][at].used = 1;
    return l->perm[k][at].p;
}

/* Which image of its set is item i of a step? With fewer images than a batch, epochs follow each other inside it; else
 * the rest of an epoch is dropped. */
static uint64_t image_of(hpt__loader *l, uint64_t step, uint64_t i, uint64_t *epoch) {
    int k = share_of(l, &i);
    uint64_t n = l->share[k].ds->count, b = (uint64_t)l->share[k].total;
    i += (uint64_t)l->share[k].first;
    if (l->s.plain) {
        *epoch = 0;
        return step * b + i;
    }
    uint64_t per = l->s.stream ? 0 : n / b, pos = per ? step % per * b + i : (step * b + i) % n;
    *epoch = per ? step / per : (step * b + i) / n;
    return permutation(l, k, *epoch)[pos];
}

static void *take(const hpt__loader *l, size_t bytes) {
    return l->s.alloc ? l->s.alloc(l->s.user, bytes) : hpt__alloc_aligned(bytes);
}
static void give(const hpt__loader *l, void *p) {
    if (p && l->s.free) l->s.free(l->s.user, p);
    else if (!l->s.free) hpt__free(p);
}

/* The part of an image that its two crops need, into the batch's pixels. */
static hpt_status make_raw(hpt__loader *l, loader_slot *s, uint64_t i, uint64_t image, uint64_t epoch,
                           const hpt__image *im, uint64_t seed) {
    hpt__draws d[2];
    for (int v = 0; v < 2; v++) {
        hpt__rng r;
        hpt__rng_init(&r, seed, HPT__RNG_AUGMENT, epoch, (uint32_t)(image * 2 + (uint64_t)v));
        hpt__augment_draw(&r, &l->s.augment[v], im->w, im->h, &d[v]);
    }
    int x0 = d[0].x < d[1].x ? d[0].x : d[1].x, y0 = d[0].y < d[1].y ? d[0].y : d[1].y;
    int xa = d[0].x + d[0].w, xb = d[1].x + d[1].w, ya = d[0].y + d[0].h, yb = d[1].y + d[1].h,
        w = (xa > xb ? xa : xb) - x0, h = (ya > yb ? ya : yb) - y0;
    size_t row = (size_t)w * 3, bytes = row * (size_t)h;
    pthread_mutex_lock(&l->lock);
    size_t at = s->used;
    s->used += (bytes + 15) / 16 * 16;
    pthread_mutex_unlock(&l->lock);
    uint8_t *to = at + bytes > s->cap ? s->spill[i] = hpt__alloc(bytes) : s->pixels + at;
    if (!to) return hpt__fail_memory(bytes);
    for (int y = 0; y < h; y++)
        memcpy(to + (size_t)y * row, im->rgb + ((size_t)(y0 + y) * (size_t)im->w + (size_t)x0) * 3, row);
    for (int v = 0; v < 2; v++) {
        d[v].x -= x0;
        d[v].y -= y0;
        hpt__draws_view(&d[v], &l->s.augment[v], w, h, at, &s->views[(size_t)v * (size_t)l->s.batch + i]);
    }
    return HPT_OK;
}
/* A batch that was larger than its memory: larger memory, and everything into it. */
static hpt_status gather_spill(hpt__loader *l, loader_slot *s) {
    if (s->used <= s->cap) return HPT_OK;
    size_t cap = 2 * s->used;
    uint8_t *more = take(l, cap);
    if (!more) return hpt__fail_memory(cap);
    memcpy(more, s->pixels, s->cap);
    for (int i = 0; i < l->s.batch; i++)
        if (s->spill[i]) {
            const hpt__view *v = &s->views[i];
            memcpy(more + v->offset, s->spill[i], (size_t)v->w * (size_t)v->h * 3);
            hpt__free(s->spill[i]);
            s->spill[i] = NULL;
        }
    if (s->n_old < 40) s->old[s->n_old++] = s->pixels;
    else give(l, s->pixels);
    s->pixels = more;
    s->cap = cap;
    return HPT_OK;
}

static hpt_status make_item(hpt__loader *l, loader_slot *s, uint64_t i, uint64_t image, uint64_t epoch, hpt__work *work,
                            hpt__image *hold, uint8_t *rgb) {
    size_t pixels = (size_t)l->s.size * (size_t)l->s.size;
    uint64_t within = i;
    int k = share_of(l, &within);
    hpt_dataset *ds = l->share[k].ds;
    hpt__image im;
    s->hole[i] = 0;
    if (image >= ds->count) {
        memset(s->x[0] + i * pixels * 3, 0, pixels * 12);
        return HPT_OK;
    }
    uint64_t taken = image;
    hpt_status st = l->s.bad == HPT__BAD_NEXT ? hpt__dataset_image_or_next(ds, &taken, work, hold, &im)
        : hpt__dataset_image(ds, image, work, hold, &im);
    s->hole[i] = l->s.bad == HPT__BAD_HOLE && hpt__dataset_skips(ds, st);
    if (s->hole[i]) {
        for (int v = 0; v < l->s.views; v++) memset(s->x[v] + i * pixels * 3, 0, pixels * 12);
        return HPT_OK;
    }
    HPT_TRY(st);
    s->index[i] = taken;            /* draws stay those of the image that was due */
    if (l->s.raw) return make_raw(l, s, i, image, epoch, &im, seed_of(l, k));
    for (int v = 0; v < l->s.views; v++) {
        if (l->s.plain) HPT_TRY(hpt__plain_apply(work, &im, l->s.resize, l->s.square, l->s.size, rgb));
        else {
            hpt__rng r;
            hpt__draws d;
            hpt__rng_init(&r, seed_of(l, k), HPT__RNG_AUGMENT, epoch, (uint32_t)(image * 2 + (uint64_t)v));
            hpt__augment_draw(&r, &l->s.augment[v], im.w, im.h, &d);
            HPT_TRY(hpt__augment_apply(work, &im, &l->s.augment[v], &d, rgb));
        }
        hpt__normalize(rgb, pixels, l->table, s->x[v] + i * pixels * 3);
    }
    return HPT_OK;
}

static void *worker(void *arg) {
    hpt__loader *l = arg;
    hpt__work work = {0};
    hpt__image hold = {0};
    uint8_t *rgb = hpt__alloc((size_t)l->s.size * (size_t)l->s.size * 3);
    uint64_t total = (l->s.steps - l->s.first_step) * (uint64_t)l->s.batch;
    pthread_mutex_lock(&l->lock);
    while (!l->stop && !l->failed && l->next_item < total) {
        uint64_t batch = l->next_item / (uint64_t)l->s.batch, i = l->next_item % (uint64_t)l->s.batch, epoch;
        if (batch >= l->taken + DEPTH - (uint64_t)l->holding) {
            pthread_cond_wait(&l->room, &l->lock);
            continue;
        }
        l->next_item++;
        loader_slot *s = &l->slot[batch % DEPTH];
        uint64_t image = image_of(l, l->s.first_step + batch, i, &epoch);
        if (i == 0) {
            s->done = 0;
            s->used = 0;
            s->epoch = epoch;
            s->step = batch;
        }
        s->index[i] = image;
        pthread_mutex_unlock(&l->lock);
        hpt_status st = rgb ? make_item(l, s, i, image, epoch, &work, &hold, rgb) : hpt__fail_memory(0);
        pthread_mutex_lock(&l->lock);
        if (st && !l->failed) {
            l->failed = 1;
            l->status = st;
            snprintf(l->text, sizeof l->text, "%s", hpt__error_text());
        }
        if (++s->done == l->s.batch || l->failed) pthread_cond_broadcast(&l->ready);
        if (l->failed) pthread_cond_broadcast(&l->room);
    }
    pthread_mutex_unlock(&l->lock);
    hpt__free(rgb);
    hpt__image_free(&hold);
    hpt__work_fini(&work);
    return NULL;
}

hpt_status hpt__loader_create(const hpt__loader_spec *spec, hpt__loader **out) {
    size_t image = (size_t)spec->size * (size_t)spec->size * 3;
    hpt__loader *l = hpt__calloc(1, sizeof *l);
    hpt_status st = HPT_OK;
    *out = NULL;
    if (!l) return hpt__fail_memory(sizeof *l);
    l->s = *spec;
    while (l->n_shares < HPT__SHARES && spec->share[l->n_shares].images) {
        l->share[l->n_shares] = spec->share[l->n_shares];
        l->n_shares++;
    }
    if (!l->n_shares)
        l->share[l->n_shares++] = (hpt__loader_share){spec->ds, spec->batch, spec->total ? spec->total : spec->batch,
                                                      spec->first};
    if (l->s.workers < 1) l->s.workers = spec->ds->ctx->threads;
    if (l->s.workers > 256) l->s.workers = 256;
    hpt__normalize_table(spec->mean, spec->std, l->table);
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&l->ready, &clock);
    pthread_condattr_destroy(&clock);
    pthread_cond_init(&l->room, NULL);
    for (int i = 0; i < DEPTH && !st; i++) {
        size_t n = (size_t)spec->batch, bytes = image * n * (spec->raw ? 2 : 4);
        if (spec->raw) {
            loader_slot *s = &l->slot[i];
            s->pixels = take(l, bytes);
            s->cap = s->pixels ? bytes : 0;
            s->views = take(l, 2 * n * sizeof *s->views);
            s->spill = hpt__calloc(n, sizeof *s->spill);
            if (!s->pixels || !s->views || !s->spill) st = hpt__fail_memory(bytes);
        } else
            for (int v = 0; v < spec->views && !st; v++)
                if (!(l->slot[i].x[v] = take(l, bytes))) st = hpt__fail_memory(bytes);
        if (!st && (!(l->slot[i].index = hpt__alloc(sizeof(uint64_t) * n)) || !(l->slot[i].hole = hpt__alloc(n))))
            st = hpt__fail_memory(9 * n);
        l->slot[i].step = UINT64_MAX;
    }
    for (int i = 0; i < PERMS * l->n_shares && !spec->plain && !st; i++) {
        size_t n = (size_t)l->share[i / PERMS].ds->count;
        if (!(l->perm[i / PERMS][i % PERMS].p = hpt__alloc(sizeof(uint32_t) * n))) st = hpt__fail_memory(n * 4);
    }
    if (!st) {
        while (l->threads < l->s.workers && !hpt__thread_start(&l->thread[l->threads], worker, l)) l->threads++;
        if (!l->threads) st = hpt__fail(HPT_ERR_MEMORY, "cannot start a thread for images");
    }
    if (st) {
        hpt__loader_destroy(l);
        return st;
    }
    *out = l;
    return HPT_OK;
}

void hpt__loader_destroy(hpt__loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = 1;
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->threads; i++) pthread_join(l->thread[i], NULL);
    for (int i = 0; i < DEPTH; i++) {
        loader_slot *s = &l->slot[i];
        for (int v = 0; v < 2; v++) give(l, s->x[v]);
        while (s->n_old) give(l, s->old[--s->n_old]);
        give(l, s->pixels);
        give(l, s->views);
        for (int j = 0; s->spill && j < l->s.batch; j++) hpt__free(s->spill[j]);
        hpt__free(s->spill);
        hpt__free(s->index);
        hpt__free(s->hole);
    }
    for (int i = 0; i < PERMS * HPT__SHARES; i++) hpt__free(l->perm[i / PERMS][i % PERMS].p);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->room);
    hpt__free(l);
}

hpt_status hpt__loader_next(hpt__loader *l, hpt__batch *b, double *wait_ms) {
    double t0 = hpt__now_ms();
    pthread_mutex_lock(&l->lock);
    if (l->holding) {
        l->holding = 0;
        pthread_cond_broadcast(&l->room);
    }
    if (l->s.first_step + l->taken >= l->s.steps) {
        pthread_mutex_unlock(&l->lock);
        return HPT_END;
    }
    loader_slot *s = &l->slot[l->taken % DEPTH];
    hpt_status st = HPT_OK;
    while (!st && !l->failed && !(s->step == l->taken && s->done == l->s.batch)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 50000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (!pthread_cond_timedwait(&l->ready, &l->lock, &until)) continue;
        pthread_mutex_unlock(&l->lock);         /* the host may take its time */
        st = hpt__watch_poll(&l->s.ds->ctx->watch);
        pthread_mutex_lock(&l->lock);
    }
    if (!st) st = l->failed ? hpt__fail(l->status, "%s", l->text) : HPT_OK;
    if (!st && l->s.raw) st = gather_spill(l, s);
    if (!st) {
        l->taken++;
        l->holding = 1;         /* this slot is not refilled until the next call */
        *b = (hpt__batch){{s->x[0], s->x[1]}, s->index, s->hole, s->epoch, s->pixels, s->used, s->views,
                          &l->table[0][0]};
    }
    pthread_mutex_unlock(&l->lock);
    if (wait_ms) *wait_ms = hpt__now_ms() - t0;
    return st;
}

/* SPDX-License-Identifier: MIT
 * Two sets of files as one, for training without labels on source and target together. The new source holds copies of
 * the names; what is known of a file (unreadable, its object) goes along. */
#include "data/dataset.h"
#include "core/alloc.h"
#include <string.h>
#include <xxhash.h>

static int same_reading(const hpt__source *a, const hpt__source *b) {
    return a->limits.max_pixels == b->limits.max_pixels && a->limits.max_bytes == b->limits.max_bytes &&
        a->limits.alpha == b->limits.alpha && a->limits.orient == b->limits.orient &&
        a->limits.accept_cut == b->limits.accept_cut && a->skip_bad == b->skip_bad && a->cache_side == b->cache_side;
}
/* An empty source that reads its n files as s does. */
static hpt_status like(const hpt__source *s, uint64_t n, hpt__source **out) {
    hpt__options o;
    hpt__options_init(&o, 0);
    hpt_status st = s->cache ? hpt__options_set(&o, "cache", "memory") : HPT_OK;
    if (!st) st = hpt__options_set(&o, "stats_file", s->stats_file);
    if (!st) st = hpt__source_create(&o, n, out);
    hpt__options_fini(&o);
    if (st) return st;
    (*out)->limits = s->limits;
    (*out)->skip_bad = s->skip_bad;
    (*out)->cache_side = s->cache_side;
    (*out)->cache_left = s->cache_left;
    memcpy((*out)->sample, s->sample, sizeof s->sample);
    snprintf((*out)->unlabelled_why, sizeof (*out)->unlabelled_why, "it was joined from two sets");
    (*out)->path = hpt__calloc((size_t)n + 1, sizeof *(*out)->path);
    return (*out)->path ? HPT_OK : hpt__fail_memory((size_t)n * sizeof *(*out)->path);
}
/* Image i of ds becomes image `to` of s. */
static hpt_status take(hpt__source *s, uint64_t to, const hpt_dataset *ds, uint64_t i) {
    const hpt__source *from = ds->src;
    uint64_t k = ds->index[i];
    if (!(s->path[to] = hpt__strdup(from->path[k]))) return hpt__fail_memory(strlen(from->path[k]));
    if (s->object)
        s->object[to] = from->object ? from->object[k] : XXH3_64bits(from->path[k], strlen(from->path[k]));
    uint8_t state = from->state[k];
    s->state[to] = state;
    s->bad_count += state == HPT__IMAGE_BAD;
    s->cut_count += state == HPT__IMAGE_CUT;
    return HPT_OK;
}
hpt_status hpt__dataset_join(const hpt_dataset *a, const hpt_dataset *b, hpt_dataset **out) {
    uint64_t common, first[2], n = a->count;
    hpt__source *s = NULL;
    *out = NULL;
    if (!a->src->path || !b->src->path)
        return hpt__fail(HPT_ERR_UNSUPPORTED, "sets of files can be joined; arrays cannot");
    if (!same_reading(a->src, b->src))
        return hpt__fail(HPT_ERR_ARGUMENT, "the sets are not read alike: max_pixels, max_file_mb, alpha, orient, "
                         "truncated, bad_image and cache_side must be equal");
    uint8_t *there = hpt__alloc((size_t)b->count + 1);
    hpt_status st = there ? hpt__dataset_overlap(b, a, &common, first, there) : hpt__fail_memory((size_t)b->count);
    if (!st) st = like(a->src, a->count + b->count - common, &s);
    if (!st && (a->src->object || b->src->object) &&
        !(s->object = hpt__alloc(sizeof *s->object * (size_t)(s->n + 1)))) st = hpt__fail_memory((size_t)s->n * 8);
    for (uint64_t i = 0; i < a->count && !st; i++) st = take(s, i, a, i);
    for (uint64_t i = 0; i < b->count && !st; i++)
        if (!there[i]) st = take(s, n++, b, i);
    if (!st) st = hpt__dataset_new(a->ctx, s, NULL, s->n, out);
    hpt__source_release(s);
    hpt__free(there);
    return st;
}

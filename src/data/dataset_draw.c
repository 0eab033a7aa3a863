/* SPDX-License-Identifier: MIT
 * Seeded parts of a data set: a share, k of each class, a few labels, nested budgets of labels. What is drawn are
 * objects: with option group_by all images of one object go together, so that none crosses from training to test;
 * without it each image is an object. And the rule that says which object an image shows. */
#define _GNU_SOURCE
#include "data/dataset.h"
#include "core/alloc.h"
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- which object an image shows ---- */

/* The part of a path that names the object: of a file "name", "folder", or what the first parentheses of a regular
 * expression hold. 0: the rule says nothing about this path. */
static int named_part(const char *path, const char *rule, const regex_t *re, size_t *from, size_t *to) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    regmatch_t part[2];
    if (re) {
        if (regexec(re, path, 2, part, 0) || part[1].rm_so < 0) return 0;
        *from = (size_t)part[1].rm_so;
        *to = (size_t)part[1].rm_eo;
    } else if (!strcmp(rule, "folder")) {
        *from = 0;
        *to = slash ? (size_t)(slash - path) : 0;
    } else {
        *from = (size_t)(name - path);
        *to = dot && dot > name ? (size_t)(dot - path) : strlen(path);
    }
    return 1;
}
hpt_status hpt__objects_by_name(const char *rule, char *const *path, uint64_t n, uint64_t base, uint64_t **out) {
    int plain = !strcmp(rule, "name") || !strcmp(rule, "folder");
    regex_t re;
    char why[200];
    size_t from, to;
    *out = NULL;
    if (!*rule) return HPT_OK;
    int wrong = plain ? 0 : regcomp(&re, rule, REG_EXTENDED);
    if (wrong) {
        regerror(wrong, &re, why, sizeof why);
        return hpt__fail(HPT_ERR_OPTION, "group_by '%.200s' is neither name, folder, column:NAME nor an extended "
                         "regular expression: %s", rule, why);
    }
    hpt_status st = plain || re.re_nsub ? HPT_OK
        : hpt__fail(HPT_ERR_OPTION, "group_by '%.200s' is neither name, folder nor column:NAME, and as a regular "
                    "expression it lacks parentheses around what names the object", rule);
    if (!st && !(*out = hpt__alloc(sizeof **out * (size_t)(n + 1)))) st = hpt__fail_memory((size_t)n * 8);
    for (uint64_t i = 0; i < n && !st; i++) {
        if (named_part(path[i], rule, plain ? NULL : &re, &from, &to))
            (*out)[i] = XXH3_64bits_withSeed(path[i] + from, to - from, base);
        else st = hpt__fail(HPT_ERR_OPTION, "group_by '%.200s' finds no object in %.600s", rule, path[i]);
    }
    if (!plain) regfree(&re);
    if (!st) return HPT_OK;
    hpt__free(*out);
    *out = NULL;
    return st;
}

/* ---- objects in a seeded order ---- */

typedef struct member { uint64_t object, first, at; } member;
static int by_object(const void *a, const void *b) {
    const member *x = a, *y = b;
    return x->object != y->object ? (x->object < y->object ? -1 : 1) : x->at < y->at ? -1 : x->at > y->at;
}
static int by_first(const void *a, const void *b) {
    const member *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x->at < y->at ? -1 : x->at > y->at;
}
/* Images of an object stand together, objects in the order of their first images. Returns how many objects. */
static uint64_t gather(const uint64_t *object, uint64_t n, member *m) {
    uint64_t objects = 0;
    for (uint64_t i = 0; i < n; i++) m[i] = (member){object ? object[i] : i, i, i};
    if (!object) return n;
    qsort(m, (size_t)n, sizeof *m, by_object);
    for (uint64_t i = 0; i < n; i++) {
        int same = i && m[i].object == m[i - 1].object;
        m[i].first = same ? m[i - 1].first : m[i].at;
        objects += !same;
    }
    qsort(m, (size_t)n, sizeof *m, by_first);
    return objects;
}
void hpt__draw_free(hpt__draw *d) {
    hpt__free(d->image);
    hpt__free(d->start);
    memset(d, 0, sizeof *d);
}
hpt_status hpt__draw_objects(const uint64_t *object, uint64_t images, hpt__rng *r, hpt__draw *d) {
    memset(d, 0, sizeof *d);
    if (images > 0xffffffffu) return hpt__fail(HPT_ERR_UNSUPPORTED, "more than 2^32 images");
    size_t n = (size_t)images;
    member *m = hpt__alloc(sizeof *m * (n + 1));
    uint64_t *begin = hpt__alloc(sizeof *begin * (n + 1));
    uint32_t *p = hpt__alloc(sizeof *p * (n + 1));
    d->image = hpt__alloc(sizeof *d->image * (n + 1));
    d->start = hpt__alloc(sizeof *d->start * (n + 1));
    hpt_status st = m && begin && p && d->image && d->start ? HPT_OK : hpt__fail_memory(sizeof *m * n);
    if (!st) {
        uint64_t k = 0, at = 0;
        d->n = gather(object, n, m);
        for (size_t i = 0; i < n; i++)
            if (!i || m[i].first != m[i - 1].first) begin[k++] = i;
        begin[k] = n;
        hpt__rng_permutation(r, p, (uint32_t)k);
        for (uint64_t u = 0; u < k; u++) {
            d->start[u] = at;
            for (uint64_t i = begin[p[u]]; i < begin[p[u] + 1]; i++) d->image[at++] = m[i].at;
        }
        d->start[k] = at;
    } else hpt__draw_free(d);
    hpt__free(m);
    hpt__free(begin);
    hpt__free(p);
    return st;
}

hpt_status hpt__dataset_object_keys(const hpt_dataset *ds, uint64_t **key) {
    *key = NULL;
    if (!ds->src->object) return HPT_OK;
    if (!(*key = hpt__alloc(sizeof **key * (size_t)(ds->count + 1)))) return hpt__fail_memory((size_t)ds->count * 8);
    for (uint64_t i = 0; i < ds->count; i++) (*key)[i] = ds->src->object[ds->index[i]];
    return HPT_OK;
}
/* The objects of ds; their images as numbers of the source. plain: each image is one, whatever it shows. */
static hpt_status draw(const hpt_dataset *ds, uint64_t seed, int plain, hpt__draw *d) {
    uint64_t *key = NULL;
    hpt__rng r;
    hpt__rng_init(&r, seed, HPT__RNG_SPLIT, 0, 0);
    if (!plain) HPT_TRY(hpt__dataset_object_keys(ds, &key));
    hpt_status st = hpt__draw_objects(key, ds->count, &r, d);
    for (uint64_t i = 0; i < ds->count && !st; i++) d->image[i] = ds->index[d->image[i]];
    hpt__free(key);
    return st;
}
hpt_status hpt__dataset_objects(const hpt_dataset *ds, uint64_t *n) {
    uint64_t *key;
    HPT_TRY(hpt__dataset_object_keys(ds, &key));
    member *m = key ? hpt__alloc(sizeof *m * (size_t)(ds->count + 1)) : NULL;
    hpt_status st = key && !m ? hpt__fail_memory(sizeof *m * (size_t)ds->count) : HPT_OK;
    *n = m ? gather(key, ds->count, m) : ds->count;
    hpt__free(key);
    hpt__free(m);
    return st;
}
static const char *things(const hpt_dataset *ds) { return ds->src->object ? "objects" : "images"; }
static const char *class_name(const hpt__source *s, uint32_t c, char text[16]) {
    snprintf(text, 16, "%u", c);
    return s->class_name ? s->class_name[c] : text;
}

/* The label of object u, which all its images must have. -1: none. */
static hpt_status label_of(const hpt_dataset *ds, const hpt__draw *d, uint64_t u, int32_t *label) {
    const hpt__source *s = ds->src;
    char a[16], b[16];
    uint64_t first = d->image[d->start[u]];
    *label = s->label[first];
    for (uint64_t i = d->start[u] + 1; i < d->start[u + 1]; i++) {
        int32_t other = s->label[d->image[i]];
        if (other == *label) continue;
        return hpt__fail(HPT_ERR_ARGUMENT, "group_by: %.400s and %.400s are one object, but of classes %s and %s",
                         s->path[first], s->path[d->image[i]], *label < 0 ? "none" : class_name(s, (uint32_t)*label, a),
                         other < 0 ? "none" : class_name(s, (uint32_t)other, b));
    }
    return HPT_OK;
}

/* ---- a part in the making: what is taken from the front, the rest from the back or behind ---- */

typedef struct pick { uint64_t *index, front, back; } pick;
static void take_object(pick *k, const hpt__draw *d, uint64_t u) {
    for (uint64_t i = d->start[u]; i < d->start[u + 1]; i++) k->index[k->front++] = d->image[i];
}
static void leave_object(pick *k, const hpt__draw *d, uint64_t u) {
    k->back -= d->start[u + 1] - d->start[u];
    for (uint64_t i = d->start[u], to = k->back; i < d->start[u + 1]; i++) k->index[to++] = d->image[i];
}
/* Takes the drawn order over as the list of images. */
static void keep_order(hpt__draw *d, uint64_t **index) {
    *index = d->image;
    d->image = NULL;
}

hpt_status hpt__dataset_order(const hpt_dataset *ds, uint64_t seed, uint64_t **index) {
    hpt__draw d;
    HPT_TRY(draw(ds, seed, 1, &d));
    keep_order(&d, index);
    hpt__draw_free(&d);
    return HPT_OK;
}
hpt_status hpt__dataset_split(const hpt_dataset *ds, double fraction, uint64_t seed, uint64_t **index,
                              uint64_t *taken) {
    hpt__draw d;
    HPT_TRY(draw(ds, seed, 0, &d));
    *taken = d.start[(uint64_t)llround(fraction * (double)d.n)];
    keep_order(&d, index);
    hpt__draw_free(&d);
    return HPT_OK;
}

hpt_status hpt__dataset_per_class(const hpt_dataset *ds, uint64_t k, uint64_t seed, uint64_t **index, uint64_t *taken) {
    hpt__draw d;
    uint32_t classes = ds->src->classes;
    char text[16];
    if (!hpt__dataset_labelled(ds)) return hpt__dataset_no_labels(ds, "");
    if (ds->src->multi)
        return hpt__fail(HPT_ERR_ARGUMENT,
                         "images with several labels have no k of each class; take a number of images");
    if (!k) return hpt__fail(HPT_ERR_ARGUMENT, "k is 0");
    HPT_TRY(draw(ds, seed, 0, &d));
    uint32_t *got = hpt__calloc(classes + 1ull, sizeof *got);
    pick part = {hpt__alloc(sizeof **index * (size_t)(ds->count + 1)), 0, ds->count};
    hpt_status st = got && part.index ? HPT_OK : hpt__fail_memory((size_t)ds->count * 8);
    for (uint64_t u = 0; u < d.n && !st; u++) {
        int32_t label;
        st = label_of(ds, &d, u, &label);
        if (!st && label >= 0 && got[label] < k) {
            got[label]++;
            take_object(&part, &d, u);
        } else if (!st) leave_object(&part, &d, u);
    }
    for (uint32_t c = 0; c < classes && !st; c++)
        if (got[c] < k)
            st = hpt__fail(HPT_ERR_ARGUMENT, "class %s has only %u %s, %llu were asked for",
                           ds->src->class_name ? class_name(ds->src, c, text) : "(unnamed)", got[c], things(ds),
                           (unsigned long long)k);
    hpt__draw_free(&d);
    hpt__free(got);
    if (st) hpt__free(part.index);
    *index = st ? NULL : part.index;
    *taken = part.front;
    return st;
}

/* Does object u bring a class that is not there yet? Then it is there. */
static hpt_status brings(const hpt_dataset *ds, const hpt__draw *d, uint64_t u, uint8_t *have, int *fresh) {
    const hpt__source *s = ds->src;
    int32_t label = -1;
    *fresh = 0;
    if (!s->multi) {
        HPT_TRY(label_of(ds, d, u, &label));
        if (label >= 0 && !have[label]) *fresh = have[label] = 1;
        return HPT_OK;
    }
    for (uint64_t i = d->start[u]; i < d->start[u + 1]; i++)
        for (uint32_t c = 0; c < s->classes; c++)
            if (!have[c] && s->multi[d->image[i] * s->classes + c]) *fresh = have[c] = 1;
    return HPT_OK;
}
hpt_status hpt__dataset_few(const hpt_dataset *ds, uint64_t n, uint64_t seed, uint64_t **index, uint64_t *taken) {
    const hpt__source *s = ds->src;
    hpt__draw d;
    uint64_t got = 0;
    char text[16];
    if (!hpt__dataset_labelled(ds)) return hpt__dataset_no_labels(ds, "");
    HPT_TRY(draw(ds, seed, 0, &d));
    uint8_t *have = hpt__calloc(s->classes + 1ull, 1), *used = hpt__calloc((size_t)d.n + 1, 1);
    pick part = {hpt__alloc(sizeof **index * (size_t)(ds->count + 1)), 0, 0};
    hpt_status st = have && used && part.index ? HPT_OK : hpt__fail_memory((size_t)ds->count * 8);
    if (!st && (n < s->classes || n > d.n))
        st = hpt__fail(HPT_ERR_ARGUMENT, "%llu %s: at least one of each of %u classes, at most all %llu",
                       (unsigned long long)n, things(ds), s->classes, (unsigned long long)d.n);
    for (uint64_t u = 0; u < d.n && !st && got < n; u++) {
        int fresh;
        st = brings(ds, &d, u, have, &fresh);
        if (st || !fresh) continue;
        used[u] = 1;
        got++;
        take_object(&part, &d, u);
    }
    for (uint32_t c = 0; c < s->classes && !st; c++)
        if (!have[c]) st = hpt__fail(HPT_ERR_ARGUMENT, "class %s has no image", class_name(s, c, text));
    *taken = part.front;
    for (uint64_t u = 0; u < d.n && !st; u++)           /* any, and from the n-th on the others */
        if (!used[u]) {
            take_object(&part, &d, u);
            if (got++ < n) *taken = part.front;
        }
    hpt__draw_free(&d);
    hpt__free(have);
    hpt__free(used);
    if (st) hpt__free(part.index);
    *index = st ? NULL : part.index;
    return st;
}

/* ---- budgets ---- */

/* Round by round: rank[u] is how many objects of its class stand before u. size: objects of each class. */
static hpt_status ranks(const hpt_dataset *ds, const hpt__draw *d, uint32_t *rank, uint32_t *size) {
    for (uint64_t u = 0; u < d->n; u++) {
        int32_t label;
        HPT_TRY(label_of(ds, d, u, &label));
        if (label < 0) return hpt__fail(HPT_ERR_ARGUMENT, "some images have no label");
        rank[u] = size[label]++;
    }
    return HPT_OK;
}
hpt_status hpt__dataset_budget(const hpt_dataset *ds, uint64_t n, uint64_t seed, uint64_t **index, uint64_t *taken) {
    const hpt__source *s = ds->src;
    hpt__draw d;
    char text[16];
    *index = NULL;
    if (!hpt__dataset_labelled(ds)) return hpt__dataset_no_labels(ds, "");
    if (s->multi)
        return hpt__fail(HPT_ERR_ARGUMENT, "images with several labels have no budget that is balanced over classes");
    HPT_TRY(draw(ds, seed, 0, &d));
    uint32_t *rank = hpt__alloc(sizeof *rank * (size_t)(d.n + 1)), *size = hpt__calloc(s->classes + 1ull, sizeof *size);
    uint64_t *order = hpt__alloc(sizeof *order * (size_t)(d.n + 1)), *begin = hpt__calloc((size_t)d.n + 2,
        sizeof *begin);
    pick part = {hpt__alloc(sizeof **index * (size_t)(ds->count + 1)), 0, 0};
    hpt_status st = rank && size && order && begin && part.index ? HPT_OK : hpt__fail_memory((size_t)ds->count * 8);
    if (!st && n < s->classes)
        st = hpt__fail(HPT_ERR_ARGUMENT, "a budget of %llu labels is below one for each of %u classes",
                       (unsigned long long)n, s->classes);
    if (!st && n > d.n)
        st = hpt__fail(HPT_ERR_ARGUMENT, "a budget of %llu labels is larger than the data, %llu %s",
                       (unsigned long long)n, (unsigned long long)d.n, things(ds));
    if (!st) st = ranks(ds, &d, rank, size);
    for (uint32_t c = 0; c < s->classes && !st; c++)
        if (!size[c])
            st = hpt__fail(HPT_ERR_ARGUMENT, "class %s has no image; a budget begins with one label of each of %u "
                           "classes", class_name(s, c, text), s->classes);
    /* objects by their round, and within a round in the drawn order */
    for (uint64_t u = 0; u < d.n && !st; u++) begin[rank[u] + 1]++;
    for (uint64_t k = 0; k < d.n && !st; k++) begin[k + 1] += begin[k];
    for (uint64_t u = 0; u < d.n && !st; u++) order[begin[rank[u]]++] = u;
    *taken = 0;
    for (uint64_t u = 0; u < d.n && !st; u++) {
        take_object(&part, &d, order[u]);
        if (u < n) *taken = part.front;
    }
    hpt__draw_free(&d);
    hpt__free(rank);
    hpt__free(size);
    hpt__free(order);
    hpt__free(begin);
    if (st) hpt__free(part.index);
    else *index = part.index;
    return st;
}
hpt_status hpt__dataset_budgets(const hpt_dataset *ds, uint32_t count, uint64_t *out) {
    enum { SHOTS = 11 };
    uint64_t n, classes = ds->src->classes;
    if (!hpt__dataset_labelled(ds)) return hpt__dataset_no_labels(ds, "");
    if (ds->src->multi)
        return hpt__fail(HPT_ERR_ARGUMENT, "images with several labels have no budgets that are balanced over classes");
    if (count < 2 || count > 1000) return hpt__fail(HPT_ERR_ARGUMENT, "%u budgets: from 2 to 1000", count);
    HPT_TRY(hpt__dataset_objects(ds, &n));
    double second = SHOTS * (double)classes, ratio = (double)n / second;
    if (ratio <= 1)
        return hpt__fail(HPT_ERR_ARGUMENT, "%llu %s of %llu classes are too few for a series whose second budget is "
                         "%d of each class: name the budgets one by one", (unsigned long long)n, things(ds),
                         (unsigned long long)classes, SHOTS);
    out[0] = classes;
    for (uint32_t i = 0; i + 1 < count; i++)
        out[i + 1] = (uint64_t)llround(second * pow(ratio, (double)i / (count - 1)));
    return HPT_OK;
}

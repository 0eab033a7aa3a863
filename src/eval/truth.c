/* SPDX-License-Identifier: MIT
 * Contract: truth.h. Storage, the checks that every format shares, and scenes: masks become runs when their image is
 * scored, in the thread that scores it. */
#define _GNU_SOURCE
#include "eval/truth.h"
#include "core/alloc.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Of the columns that all polygons of a file cross, so many and so many more a number are plausible. */
enum { CROSSINGS = 1 << 21, CROSSINGS_A_NUMBER = 2000 };

void hpt__marks_free(hpt__marks *s) {
    for (uint64_t i = 0; i < s->image_count; i++) hpt__free(s->images[i].name);
    for (uint64_t i = 0; i < s->class_count; i++) hpt__free(s->classes[i].name);
    hpt__free(s->path);
    hpt__free(s->images);
    hpt__free(s->classes);
    hpt__free(s->m);
    hpt__free(s->order);
    hpt__free(s->points);
    hpt__free(s->runs);
    *s = (hpt__marks){0};
}
/* Room for n items of size bytes in *p. */
static hpt_status grow(void *p, uint64_t *cap, uint64_t n, size_t size) {
    void **at = p;
    if (n <= *cap) return HPT_OK;
    uint64_t more = *cap / 2 * 3 > n ? *cap / 2 * 3 : n + 16;
    void *to = hpt__realloc(*at, (size_t)more * size);
    if (!to) return hpt__fail_memory((size_t)more * size);
    *at = to;
    *cap = more;
    return HPT_OK;
}
hpt_status hpt__marks_image(hpt__marks *s, int64_t id, uint32_t w, uint32_t h, const char *name) {
    HPT_TRY(grow(&s->images, &s->cap_images, s->image_count + 1, sizeof *s->images));
    hpt__marked_image *i = s->images + s->image_count;
    *i = (hpt__marked_image){.id = id, .w = w, .h = h};
    if (name && *name && !(i->name = hpt__strdup(name))) return hpt__fail_memory(strlen(name));
    s->image_count++;
    return HPT_OK;
}
hpt_status hpt__marks_class(hpt__marks *s, int64_t id, const char *name) {
    if (s->class_count == HPT__TRUTH_CLASSES)
        return hpt__fail(HPT_ERR_FORMAT, "%.700s: more than %d categories", s->path, HPT__TRUTH_CLASSES);
    HPT_TRY(grow(&s->classes, &s->cap_classes, s->class_count + 1, sizeof *s->classes));
    hpt__marked_class *c = s->classes + s->class_count;
    *c = (hpt__marked_class){.id = id};
    if (!(c->name = hpt__strdup(name))) return hpt__fail_memory(strlen(name));
    s->class_count++;
    return HPT_OK;
}
hpt_status hpt__marks_add(hpt__marks *s, hpt__mark **out) {
    HPT_TRY(grow(&s->m, &s->cap, s->n + 1, sizeof *s->m));
    *out = s->m + s->n++;
    **out = (hpt__mark){.area = NAN, .nth = s->n};
    return HPT_OK;
}
hpt_status hpt__marks_points(hpt__marks *s, uint64_t more) {
    return grow(&s->points, &s->cap_points, s->point_count + more, sizeof *s->points);
}
hpt_status hpt__marks_runs(hpt__marks *s, uint64_t more) {
    return grow(&s->runs, &s->cap_runs, s->run_count + more, sizeof *s->runs);
}

/* ---- checks ---- */

static int by_image_id(const void *a, const void *b) {
    int64_t x = ((const hpt__marked_image *)a)->id, y = ((const hpt__marked_image *)b)->id;
    return x < y ? -1 : x > y;
}
static int by_class_id(const void *a, const void *b) {
    int64_t x = ((const hpt__marked_class *)a)->id, y = ((const hpt__marked_class *)b)->id;
    return x < y ? -1 : x > y;
}
/* "FILE: annotation 7 (id 42, image 3): ..." */
static hpt_status refuse(const hpt__marks *s, const hpt__mark *m, int64_t image, const char *why) {
    char id[32] = "";
    if (m->has_id) snprintf(id, sizeof id, "id %lld, ", (long long)m->id);
    return hpt__fail(HPT_ERR_DATA, "%.500s: %s %llu (%simage %lld): %.300s", s->path, s->what,
                     (unsigned long long)m->nth, id, (long long)image, why);
}
static hpt_status refuse_id(const hpt__marks *s, const hpt__mark *m, const char *what, int64_t id,
                            const hpt__marks *truth) {
    return hpt__fail(HPT_ERR_DATA, "%.350s: %s %llu names %s %lld, which is not in %.350s", s->path, s->what,
                     (unsigned long long)m->nth, what, (long long)id, truth == s ? "the file" : truth->path);
}
static hpt_status check_polygons(const hpt__marks *s, const hpt__mark *m, const hpt__marked_image *i,
                                 uint64_t *crossings) {
    const double *p = s->points + m->at, *end = p + m->n;
    char why[120];
    if (p == end) return refuse(s, m, i->id, "a segmentation without a polygon");
    for (uint64_t nth = 1; p < end; nth++) {
        uint64_t n = (uint64_t)*p++;
        if (n < 6 || n % 2) {
            snprintf(why, sizeof why, "polygon %llu has %llu numbers; it needs x and y of 3 points or more",
                     (unsigned long long)nth, (unsigned long long)n);
            return refuse(s, m, i->id, why);
        }
        for (uint64_t k = 0; k < n; k++)
            if (!(fabs(p[k]) <= HPT__POLYGON_FAR)) return refuse(s, m, i->id, "a coordinate beyond 100,000,000");
        *crossings += hpt__polygon_crossings(p, n / 2, i->w);
        p += n;
    }
    if (*crossings > CROSSINGS + CROSSINGS_A_NUMBER * s->point_count)
        return refuse(s, m, i->id, "polygons that cross the image so often are none");
    return HPT_OK;
}
static hpt_status check_mask(const hpt__marks *s, const hpt__mark *m, const hpt__marked_image *i,
                             uint64_t *crossings) {
    char why[200];
    if (!i->w || !i->h) return refuse(s, m, i->id, "masks need width and height of the image");
    if (m->polygons) return check_polygons(s, m, i, crossings);
    if (!m->coded) return refuse(s, m, i->id, "no segmentation");
    if (m->h == i->h && m->w == i->w) return HPT_OK;
    snprintf(why, sizeof why, "a mask of %u rows and %u columns in an image of %u and %u", m->h, m->w, i->h, i->w);
    return refuse(s, m, i->id, why);
}
static hpt_status check_box(hpt__marks *s, const hpt__mark *m, const hpt__marked_image *i, int results) {
    char why[240];
    const double *b = m->box;
    if (!(b[2] >= 0 && b[3] >= 0) || (!results && (b[2] == 0 || b[3] == 0))) {
        snprintf(why, sizeof why, "a box of width %.6g and height %.6g", b[2], b[3]);
        return refuse(s, m, i->id, why);
    }
    if (b[2] == 0 || b[3] == 0) s->empty_boxes++;
    if (!results && i->w && i->h && (b[0] >= i->w || b[1] >= i->h || b[0] + b[2] <= 0 || b[1] + b[3] <= 0)) {
        snprintf(why, sizeof why, "the box at %.6g, %.6g of %.6g x %.6g lies outside the image of %u x %u", b[0], b[1],
                 b[2], b[3], i->w, i->h);
        return refuse(s, m, i->id, why);
    }
    return HPT_OK;
}
static int by_id(const void *a, const void *b) {
    const hpt__mark *x = *(const hpt__mark *const *)a, *y = *(const hpt__mark *const *)b;
    return x->id != y->id ? x->id < y->id ? -1 : 1 : x->nth < y->nth ? -1 : x->nth > y->nth;
}
static hpt_status check_ids(hpt__marks *s) {
    hpt__mark **list = hpt__alloc((size_t)(s->n + 1) * sizeof *list);
    uint64_t n = 0;
    hpt_status st = list ? HPT_OK : hpt__fail_memory((size_t)(s->n + 1) * sizeof *list);
    for (uint64_t i = 0; i < s->n && !st; i++)
        if (s->m[i].has_id) list[n++] = s->m + i;
    if (!st) qsort((void *)list, (size_t)n, sizeof *list, by_id);
    for (uint64_t i = 1; i < n && !st; i++)
        if (list[i]->id == list[i - 1]->id)
            st = hpt__fail(HPT_ERR_DATA, "%.700s: %ss %llu and %llu have both id %lld", s->path, s->what,
                           (unsigned long long)list[i - 1]->nth, (unsigned long long)list[i]->nth,
                           (long long)list[i]->id);
    hpt__free((void *)list);
    return st;
}
/* Places for ids, and all that can be wrong with an object. */
static hpt_status check(hpt__marks *s, const hpt__marks *truth) {
    uint64_t crossings = 0;
    int results = truth != s;
    for (uint64_t k = 0; k < s->n; k++) {
        hpt__mark *m = s->m + k;
        hpt__marked_image key = {.id = m->image}, *i = bsearch(&key, truth->images, (size_t)truth->image_count,
                                                               sizeof key, by_image_id);
        hpt__marked_class name = {.id = m->category}, *c = bsearch(&name, truth->classes, (size_t)truth->class_count,
                                                                   sizeof name, by_class_id);
        if (!i) return refuse_id(s, m, "image", m->image, truth);
        if (!c) return refuse_id(s, m, "category", m->category, truth);
        m->image = i - truth->images;
        m->category = c - truth->classes;
        HPT_TRY(s->masks ? check_mask(s, m, i, &crossings) : check_box(s, m, i, results));
        if (!results && !(m->area >= 0)) {
            if (m->area == m->area) return refuse(s, m, i->id, "an area below 0");
            s->areas_missing++;
        }
        if (results && !s->masks) m->area = m->box[2] * m->box[3];
    }
    return HPT_OK;
}
hpt_status hpt__marks_link(hpt__marks *s, const hpt__marks *truth) {
    if (!truth) {
        if (s->image_count) qsort(s->images, (size_t)s->image_count, sizeof *s->images, by_image_id);
        if (s->class_count) qsort(s->classes, (size_t)s->class_count, sizeof *s->classes, by_class_id);
        for (uint64_t i = 1; i < s->image_count; i++)
            if (s->images[i].id == s->images[i - 1].id)
                return hpt__fail(HPT_ERR_DATA, "%.700s: two images have id %lld", s->path, (long long)s->images[i].id);
        for (uint64_t i = 1; i < s->class_count; i++)
            if (s->classes[i].id == s->classes[i - 1].id)
                return hpt__fail(HPT_ERR_DATA, "%.700s: two categories have id %lld", s->path,
                                 (long long)s->classes[i].id);
        HPT_TRY(check_ids(s));
        truth = s;
    }
    HPT_TRY(check(s, truth));
    /* by image: counted, then dealt */
    uint64_t *count = hpt__calloc((size_t)truth->image_count + 1, sizeof *count);
    s->order = hpt__alloc((size_t)(s->n + 1) * sizeof *s->order);
    if (!count || !s->order) {
        hpt__free(count);
        return hpt__fail_memory((size_t)(s->n + 1) * sizeof *s->order);
    }
    if (truth != s) {
        s->images = hpt__calloc((size_t)truth->image_count, sizeof *s->images);
        s->image_count = s->images ? truth->image_count : 0;
        if (!s->images) {
            hpt__free(count);
            return hpt__fail_memory((size_t)truth->image_count * sizeof *s->images);
        }
    }
    for (uint64_t k = 0; k < s->n; k++) s->images[s->m[k].image].n++;
    for (uint64_t i = 1; i < s->image_count; i++)
        count[i] = s->images[i].first = s->images[i - 1].first + s->images[i - 1].n;
    for (uint64_t k = 0; k < s->n; k++) s->order[count[s->m[k].image]++] = k;
    hpt__free(count);
    return HPT_OK;
}

/* ---- files ---- */

static int ends(const char *path, const char *with) {
    size_t n = strlen(path), m = strlen(with);
    return n > m && !strcasecmp(path + n - m, with);
}
static hpt_status read_truth(const char *path, hpt__marks *s) {
    struct stat at;
    int folder = !stat(path, &at) && S_ISDIR(at.st_mode), json = !folder && !ends(path, ".txt") && !ends(path, ".csv");
    if (json) {
        s->format = "coco";
        return hpt__marks_read_json(path, NULL, s);
    }
    if (s->masks) return hpt__fail(HPT_ERR_ARGUMENT, "%.700s: has boxes, and no masks", path);
    s->format = ends(path, ".csv") && !folder ? "csv" : "voc";
    return *s->format == 'c' ? hpt__truth_read_csv(s) : hpt__truth_read_voc(path, folder, s);
}
static hpt_status read_file(const char *path, int masks, const hpt__marks *truth, hpt__marks *out) {
    *out = (hpt__marks){.what = truth ? "result" : "annotation", .format = "coco", .masks = masks,
                        .path = hpt__strdup(path)};
    hpt_status st = !out->path ? hpt__fail_memory(strlen(path)) : truth ? hpt__marks_read_json(path, truth, out)
        : read_truth(path, out);
    if (st) hpt__marks_free(out);
    return st;
}
hpt_status hpt__truth_read(const char *path, int masks, hpt__marks *out) { return read_file(path, masks, NULL, out); }
hpt_status hpt__found_read(const char *path, const hpt__marks *truth, int masks, hpt__marks *out) {
    return read_file(path, masks, truth, out);
}

/* ---- scenes ---- */

static hpt_status rle_copy(const uint32_t *counts, uint64_t n, uint32_t h, uint32_t w, hpt__rle *out) {
    uint32_t *p = hpt__alloc((size_t)(n + 1) * sizeof *p);
    if (!p) return hpt__fail_memory((size_t)(n + 1) * sizeof *p);
    memcpy(p, counts, (size_t)n * sizeof *p);
    *out = (hpt__rle){h, w, n, p};
    return HPT_OK;
}
/* The union of all polygons of an object, or its runs. */
static hpt_status mask_of(const hpt__marks *s, const hpt__mark *m, const hpt__marked_image *i, hpt__rle *out) {
    if (m->coded) return rle_copy(s->runs + m->at, m->n, m->h, m->w, out);
    const double *p = s->points + m->at, *end = p + m->n;
    while (p < end) {
        uint64_t n = (uint64_t)*p++;
        hpt__rle one, both = {i->h, i->w, 0, NULL};
        HPT_TRY(hpt__rle_polygon(p, n / 2, i->h, i->w, &one));
        p += n;
        if (!out->counts) {
            *out = one;
            continue;
        }
        size_t most = (size_t)(one.n + out->n + 1) * sizeof *both.counts;
        if ((both.counts = hpt__alloc(most))) both.n = hpt__rle_merge(out, &one, 0, both.counts);
        hpt__free(one.counts);
        if (!both.counts) return hpt__fail_memory(most);
        hpt__free(out->counts);
        *out = both;
    }
    return HPT_OK;
}
/* Objects of image i; what is written is counted, so that after an error the caller frees what is there. */
static hpt_status objects(const hpt__marks *s, const hpt__marks *truth, uint64_t i, int id0, hpt__object **out,
                          uint64_t *n) {
    const hpt__marked_image *image = s->images + i;
    if (!(*out = hpt__calloc((size_t)image->n, sizeof **out))) return hpt__fail_memory((size_t)image->n * sizeof **out);
    *n = image->n;
    for (uint64_t k = 0; k < image->n; k++) {
        const hpt__mark *m = s->m + s->order[image->first + k];
        hpt__object *o = *out + k;
        *o = (hpt__object){.area = m->area, .score = m->score, .class_index = (int32_t)m->category, .crowd = m->crowd,
                           .ignored = m->ignored, .unmatched = id0 && m->has_id && !m->id};
        memcpy(o->box, m->box, sizeof o->box);
        if (s->masks) {
            HPT_TRY(mask_of(s, m, truth->images + i, &o->mask));
            hpt__rle_box(&o->mask, o->box);
            if (s != truth || o->area != o->area) o->area = (double)hpt__rle_area(&o->mask);
        } else if (o->area != o->area) o->area = o->box[2] * o->box[3];
    }
    return HPT_OK;
}
static hpt_status fill(const hpt__scenes *all, uint64_t image, hpt__scene *out) {
    const hpt__marked *m = all->from;
    HPT_TRY(objects(m->truth, m->truth, image, m->id0_unmatched, &out->truth, &out->truths));
    return objects(m->found, m->truth, image, 0, &out->found, &out->founds);
}
hpt__scenes hpt__marked_scenes(const hpt__marked *m) {
    return (hpt__scenes){.count = m->truth->image_count, .fill = fill, .from = m};
}

/* SPDX-License-Identifier: MIT
 * Contract: truth.h. COCO's two JSON formats: annotations (images, annotations, categories in any order, keys in any
 * order) and results, a list of detections. Read as a stream; what is not needed is passed over. */
#include "core/alloc.h"
#include "eval/truth.h"
#include "io/jsonscan.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct coco_file { hpt__jscan s; hpt__marks *to; const char *item; uint64_t nth; } coco_file;

/* "FILE: annotation 7: bbox is not four numbers (byte 123)"; a fault of reading or of JSON itself goes before. */
static hpt_status wrong(coco_file *r, const char *why) {
    const char *at = (const char *)r->s.p, *json = "not JSON";
    size_t left = (size_t)(r->s.end - r->s.p);
    if (r->s.failed) return hpt__fail_context(r->s.failed, "%.500s", r->to->path);
    if (left >= 3 && !memcmp(at, "NaN", 3)) json = "NaN is not JSON, and no number";
    if (left >= 8 && !memcmp(at, "Infinity", 8)) json = "Infinity is not JSON, and no number";
    if (!why) why = json;
    if (r->nth)
        return hpt__fail(HPT_ERR_FORMAT, "%.500s: %s %llu: %s (byte %llu)", r->to->path, r->item,
                         (unsigned long long)r->nth, why, (unsigned long long)hpt__jscan_at(&r->s));
    return hpt__fail(HPT_ERR_FORMAT, "%.500s: %s (byte %llu)", r->to->path, why,
                     (unsigned long long)hpt__jscan_at(&r->s));
}
static hpt_status skip(coco_file *r) { return hpt__jscan_skip(&r->s) ? HPT_OK : wrong(r, NULL); }
static hpt_status number(coco_file *r, const char *key, double *x) {
    char why[80];
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t == HPT__J_NUMBER) return *x = r->s.number, HPT_OK;
    if (t == HPT__J_ERROR) return wrong(r, NULL);
    snprintf(why, sizeof why, "%s is not a number", key);
    return wrong(r, why);
}
static hpt_status whole_number(coco_file *r, const char *key, int64_t least, int64_t most, int64_t *out) {
    double x;
    char why[120];
    HPT_TRY(number(r, key, &x));
    if (x >= (double)least && x <= (double)most && x == floor(x)) return *out = (int64_t)x, HPT_OK;
    snprintf(why, sizeof why, "%s is not a whole number of %lld to %lld", key, (long long)least, (long long)most);
    return wrong(r, why);
}
#define MOST_ID ((int64_t)1 << 53)
static hpt_status id_of(coco_file *r, const char *key, int64_t *out) {
    return whole_number(r, key, -MOST_ID, MOST_ID, out);
}
/* 0 or 1, false or true */
static hpt_status flag(coco_file *r, const char *key, uint8_t *out) {
    char why[80];
    hpt__jtoken t = hpt__jscan_next(&r->s);
    int is = t == HPT__J_NUMBER ? (r->s.number == 0 ? 0 : r->s.number == 1 ? 1 : -1) : t != HPT__J_WORD ? -1
        : !strcmp(r->s.text, "true");
    if (t == HPT__J_ERROR) return wrong(r, NULL);
    snprintf(why, sizeof why, "%s is neither 0 nor 1", key);
    if (is < 0) return wrong(r, why);
    *out = (uint8_t)is;
    return HPT_OK;
}
static hpt_status box_of(coco_file *r, double box[4]) {
    hpt__jtoken t = hpt__jscan_next(&r->s);
    int n = 0;
    if (t == HPT__J_ARRAY)
        while ((t = hpt__jscan_next(&r->s)) == HPT__J_NUMBER && n < 4) {
            if (!(fabs(r->s.number) <= 1e9)) return wrong(r, "bbox holds a number beyond 1,000,000,000");
            box[n++] = r->s.number;
        }
    if (t == HPT__J_ERROR) return wrong(r, NULL);
    return n == 4 && t == HPT__J_END_ARRAY ? HPT_OK : wrong(r, "bbox is not four numbers: x, y, width, height");
}

/* ---- segmentation ---- */

/* A list of polygons, each a list of numbers. */
static hpt_status polygons(coco_file *r, hpt__mark *m) {
    hpt__marks *to = r->to;
    hpt__jtoken t;
    m->polygons = 1;
    m->at = to->point_count;
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_ARRAY) {
        HPT_TRY(hpt__marks_points(to, 1));
        uint64_t head = to->point_count++;
        while ((t = hpt__jscan_next(&r->s)) == HPT__J_NUMBER) {
            HPT_TRY(hpt__marks_points(to, 1));
            to->points[to->point_count++] = r->s.number;
        }
        if (t != HPT__J_END_ARRAY) break;
        to->points[head] = (double)(to->point_count - head - 1);
    }
    m->n = to->point_count - m->at;
    if (t == HPT__J_ERROR) return wrong(r, NULL);
    return t == HPT__J_END_ARRAY ? HPT_OK : wrong(r, "segmentation is not a list of lists of numbers");
}
static hpt_status size_of(coco_file *r, hpt__mark *m) {
    int64_t side[2];
    if (hpt__jscan_next(&r->s) != HPT__J_ARRAY) return wrong(r, "size of a mask is not [height, width]");
    for (int i = 0; i < 2; i++) HPT_TRY(whole_number(r, "size of a mask", 1, HPT__MASK_SIDE, side + i));
    if (hpt__jscan_next(&r->s) != HPT__J_END_ARRAY) return wrong(r, "size of a mask is not [height, width]");
    m->h = (uint32_t)side[0];
    m->w = (uint32_t)side[1];
    return HPT_OK;
}
static hpt_status counts_of(coco_file *r, hpt__mark *m) {
    hpt__marks *to = r->to;
    hpt__jtoken t = hpt__jscan_string(&r->s);
    to->run_count = m->at;                  /* a second list replaces the first */
    m->coded = 1;
    if (t == HPT__J_STRING) {
        HPT_TRY(hpt__marks_runs(to, r->s.whole_n));
        int64_t n = hpt__rle_parse(r->s.whole, r->s.whole_n, to->runs + m->at);
        if (n < 0) return wrong(r, "counts is no string of COCO's runs");
        to->run_count += m->n = (uint64_t)n;
        return HPT_OK;
    }
    if (t != HPT__J_ARRAY) return wrong(r, t == HPT__J_ERROR ? NULL : "counts is neither a string nor a list");
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_NUMBER) {
        double x = r->s.number;
        if (!(x >= 0 && x <= UINT32_MAX && x == floor(x))) return wrong(r, "counts holds what is no length of a run");
        HPT_TRY(hpt__marks_runs(to, 1));
        to->runs[to->run_count++] = (uint32_t)x;
    }
    m->n = to->run_count - m->at;
    return t == HPT__J_END_ARRAY ? HPT_OK : wrong(r, t == HPT__J_ERROR ? NULL : "counts is not a list of numbers");
}
static hpt_status runs(coco_file *r, hpt__mark *m) {
    hpt__jtoken t;
    m->at = r->to->run_count;
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        if (!strcmp(r->s.text, "size")) HPT_TRY(size_of(r, m));
        else if (!strcmp(r->s.text, "counts")) HPT_TRY(counts_of(r, m));
        else HPT_TRY(skip(r));
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    if (!m->coded || !m->h) return wrong(r, "a mask needs size and counts");
    int64_t n = hpt__rle_canonical(r->to->runs + m->at, m->n, m->h, m->w);
    if (n < 0) {
        char why[120];
        uint64_t sum = 0;
        for (uint64_t i = 0; i < m->n; i++) sum += r->to->runs[m->at + i];
        snprintf(why, sizeof why, "runs of %llu pixels in a mask of %u x %u", (unsigned long long)sum, m->h, m->w);
        return wrong(r, why);
    }
    m->n = (uint64_t)n;
    r->to->run_count = m->at + m->n;
    return HPT_OK;
}
static hpt_status segmentation(coco_file *r, hpt__mark *m) {
    if (!r->to->masks) return skip(r);
    if (m->polygons || m->coded) return wrong(r, "two segmentations");
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t == HPT__J_ARRAY) return polygons(r, m);
    if (t == HPT__J_OBJECT) return runs(r, m);
    return wrong(r, t == HPT__J_ERROR ? NULL : "segmentation is neither a list of polygons nor a mask");
}

/* ---- objects ---- */

/* An annotation or (results) a detection; its opening brace is read. */
static hpt_status mark(coco_file *r, int results) {
    hpt__mark *m;
    hpt__jtoken t;
    int image = 0, category = 0, box = 0, score = 0;
    HPT_TRY(hpt__marks_add(r->to, &m));
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        const char *key = r->s.text;
        if (!strcmp(key, "image_id")) {
            HPT_TRY(id_of(r, "image_id", &m->image));
            image = 1;
        } else if (!strcmp(key, "category_id")) {
            HPT_TRY(id_of(r, "category_id", &m->category));
            category = 1;
        } else if (!strcmp(key, "bbox") && !r->to->masks) {
            HPT_TRY(box_of(r, m->box));
            box = 1;
        } else if (!strcmp(key, "segmentation")) HPT_TRY(segmentation(r, m));
        else if (results && !strcmp(key, "score")) {
            HPT_TRY(number(r, "score", &m->score));
            score = 1;
        } else if (!results && !strcmp(key, "id")) {
            HPT_TRY(id_of(r, "id", &m->id));
            m->has_id = 1;
        } else if (!results && !strcmp(key, "area")) HPT_TRY(number(r, "area", &m->area));
        else if (!results && !strcmp(key, "iscrowd")) HPT_TRY(flag(r, "iscrowd", &m->crowd));
        else if (!results && (!strcmp(key, "ignore") || !strcmp(key, "difficult"))) {
            uint8_t is;
            HPT_TRY(flag(r, "ignore or difficult", &is));
            m->ignored |= is;
        } else HPT_TRY(skip(r));
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    if (!image) return wrong(r, "no image_id");
    if (!category) return wrong(r, "no category_id");
    if (results && !score) return wrong(r, "no score");
    if (!r->to->masks && !box) return wrong(r, "no bbox");
    if (r->to->masks && !m->polygons && !m->coded) return wrong(r, "no segmentation");
    return HPT_OK;
}
static hpt_status name_of(coco_file *r, char name[HPT__J_TEXT]) {
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t == HPT__J_WORD && !strcmp(r->s.text, "null")) return HPT_OK;
    if (t != HPT__J_STRING) return wrong(r, t == HPT__J_ERROR ? NULL : "a name that is no text");
    memcpy(name, r->s.text, HPT__J_TEXT);
    return HPT_OK;
}
static hpt_status image(coco_file *r) {
    char name[HPT__J_TEXT] = "";
    int64_t id = 0, side[2] = {0, 0};
    int has_id = 0;
    hpt__jtoken t;
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        const char *key = r->s.text;
        if (!strcmp(key, "id")) {
            HPT_TRY(id_of(r, "id", &id));
            has_id = 1;
        } else if (!strcmp(key, "width")) HPT_TRY(whole_number(r, "width", 1, HPT__MASK_SIDE, side));
        else if (!strcmp(key, "height")) HPT_TRY(whole_number(r, "height", 1, HPT__MASK_SIDE, side + 1));
        else if (!strcmp(key, "file_name")) HPT_TRY(name_of(r, name));
        else HPT_TRY(skip(r));
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    return has_id ? hpt__marks_image(r->to, id, (uint32_t)side[0], (uint32_t)side[1], name) : wrong(r, "no id");
}
static hpt_status category(coco_file *r) {
    char name[HPT__J_TEXT] = "";
    int64_t id = 0;
    int has_id = 0;
    hpt__jtoken t;
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        if (!strcmp(r->s.text, "id")) {
            HPT_TRY(id_of(r, "id", &id));
            has_id = 1;
        } else if (!strcmp(r->s.text, "name")) HPT_TRY(name_of(r, name));
        else HPT_TRY(skip(r));
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    return has_id ? hpt__marks_class(r->to, id, name) : wrong(r, "no id");
}
/* The elements of a list, its bracket read. what: 0 images, 1 annotations, 2 categories, 3 results */
static hpt_status elements(coco_file *r, int what) {
    static const char *const items[] = {"image", "annotation", "category", "result"};
    hpt__jtoken t;
    r->item = items[what];
    r->nth = 1;
    for (; (t = hpt__jscan_next(&r->s)) == HPT__J_OBJECT; r->nth++)
        HPT_TRY(what == 0 ? image(r) : what == 2 ? category(r) : mark(r, what == 3));
    if (t != HPT__J_END_ARRAY) return wrong(r, t == HPT__J_ERROR ? NULL : "not an object");
    r->nth = 0;
    return HPT_OK;
}
static hpt_status annotations(coco_file *r) {
    static const char *const lists[] = {"images", "annotations", "categories"};
    int seen[3] = {0};
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t != HPT__J_OBJECT)
        return wrong(r, t == HPT__J_ARRAY ? "a list, not annotations in COCO's format (these are results?)"
                     : t == HPT__J_ERROR ? NULL : "not annotations in COCO's format");
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        int what = -1;
        for (int i = 0; i < 3; i++)
            if (!strcmp(r->s.text, lists[i])) what = i;
        if (what < 0) {
            HPT_TRY(skip(r));
            continue;
        }
        if (seen[what]++) return wrong(r, "a second list of images, annotations or categories");
        if ((t = hpt__jscan_next(&r->s)) != HPT__J_ARRAY)
            return wrong(r, t == HPT__J_ERROR ? NULL : "images, annotations or categories is not a list");
        HPT_TRY(elements(r, what));
    }
    if (t != HPT__J_END_OBJECT || hpt__jscan_next(&r->s) != HPT__J_END) return wrong(r, NULL);
    for (int i = 0; i < 3; i++)
        if (!seen[i])
            return hpt__fail(HPT_ERR_FORMAT, "%.700s: no list \"%s\", so these are no annotations in COCO's format",
                             r->to->path, lists[i]);
    if (!r->to->image_count || !r->to->class_count)
        return hpt__fail(HPT_ERR_DATA, "%.700s: no %s", r->to->path, r->to->image_count ? "categories" : "images");
    return HPT_OK;
}
static hpt_status results(coco_file *r) {
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t != HPT__J_ARRAY)
        return wrong(r, t == HPT__J_OBJECT ? "an object, not results in COCO's format, which are a list"
                     : t == HPT__J_ERROR ? NULL : "not results in COCO's format");
    HPT_TRY(elements(r, 3));
    return hpt__jscan_next(&r->s) == HPT__J_END ? HPT_OK : wrong(r, NULL);
}
static hpt_status read(const char *path, int masks, const hpt__marks *truth, hpt__marks *out) {
    coco_file r = {.to = out};
    *out = (hpt__marks){.what = truth ? "result" : "annotation", .masks = masks, .path = hpt__strdup(path)};
    hpt_status st = out->path ? hpt__jscan_open(&r.s, path) : hpt__fail_memory(strlen(path));
    if (!st) {
        st = truth ? results(&r) : annotations(&r);
        hpt__jscan_close(&r.s);
    }
    if (!st) st = hpt__marks_link(out, truth);
    if (st) hpt__marks_free(out);
    return st;
}
hpt_status hpt__truth_read(const char *path, int masks, hpt__marks *out) { return read(path, masks, NULL, out); }
hpt_status hpt__found_read(const char *path, const hpt__marks *truth, int masks, hpt__marks *out) {
    return read(path, masks, truth, out);
}

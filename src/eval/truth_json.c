/* SPDX-License-Identifier: MIT
 * Contract: truth.h. COCO's two JSON formats: annotations (images, annotations, categories in any order, keys in any
 * order) and results, a list of detections; and BDD100K's lists of frames, of both generations. Read as a stream; what
 * is not needed is passed over. */
#include "core/alloc.h"
#include "eval/truth.h"
#include "io/jsonscan.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct named_image { const char *name; size_t n; uint64_t index; } named_image;
typedef struct coco_file {
    hpt__jscan s;
    hpt__marks *to;
    const hpt__marks *truth;    /* of results */
    named_image *names;         /* its images, with and without folder and ending; made when one is asked for */
    uint64_t name_count;
    const char *item;
    uint64_t nth;
    int generation;             /* BDD: 1 and 2 (bits) for names that only that one has */
} coco_file;

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

/* ---- names in results ---- */

static int by_name(const void *a, const void *b) {
    const named_image *x = a, *y = b;
    int d = memcmp(x->name, y->name, x->n < y->n ? x->n : y->n);
    return d ? d : x->n < y->n ? -1 : x->n > y->n;
}
static const char *stem_of(const char *name, size_t *n) {
    const char *slash = strrchr(name, '/'), *stem = slash ? slash + 1 : name, *dot = strrchr(stem, '.');
    *n = dot ? (size_t)(dot - stem) : strlen(stem);
    return stem;
}
static hpt_status index_names(coco_file *r) {
    const hpt__marks *t = r->truth;
    r->names = hpt__alloc((size_t)(2 * t->image_count + 1) * sizeof *r->names);
    if (!r->names) return hpt__fail_memory((size_t)(2 * t->image_count + 1) * sizeof *r->names);
    for (uint64_t i = 0; i < t->image_count; i++) {
        const char *name = t->images[i].name;
        size_t n;
        if (!name) continue;
        r->names[r->name_count++] = (named_image){name, strlen(name), i};
        const char *stem = stem_of(name, &n);
        if (stem != name || n < strlen(name)) r->names[r->name_count++] = (named_image){stem, n, i};
    }
    qsort(r->names, (size_t)r->name_count, sizeof *r->names, by_name);
    return HPT_OK;
}
/* The image of that file name, with or without folder and ending. */
static hpt_status image_named(coco_file *r, const char *name, int64_t *id) {
    char why[400];
    if (!r->names) HPT_TRY(index_names(r));
    named_image key = {name, strlen(name), 0}, *end = r->names + r->name_count;
    named_image *at = bsearch(&key, r->names, (size_t)r->name_count, sizeof key, by_name);
    if (!at) {                                  /* VOC's have no ending */
        key.name = stem_of(name, &key.n);
        at = bsearch(&key, r->names, (size_t)r->name_count, sizeof key, by_name);
    }
    if (!at) {
        snprintf(why, sizeof why, "image '%.120s' is not in %.200s", name, r->truth->path);
        return wrong(r, why);
    }
    while (at > r->names && !by_name(at - 1, &key)) at--;
    for (named_image *k = at; k < end && !by_name(k, &key); k++)
        if (k->index != at->index) {
            snprintf(why, sizeof why, "several images of truth are called '%.200s'", name);
            return wrong(r, why);
        }
    *id = r->truth->images[at->index].id;
    return HPT_OK;
}
static hpt_status class_named(coco_file *r, const char *name, int64_t *id) {
    char why[400];
    for (uint64_t k = 0; k < r->truth->class_count; k++)
        if (!strcmp(r->truth->classes[k].name, name)) return *id = r->truth->classes[k].id, HPT_OK;
    snprintf(why, sizeof why, "category '%.120s' is not in %.200s", name, r->truth->path);
    return wrong(r, why);
}
/* A number; in results a name, too. */
static hpt_status id_or_name(coco_file *r, const char *key, hpt_status (*named)(coco_file *, const char *, int64_t *),
                             int64_t *id) {
    char why[120];
    hpt__jtoken t = hpt__jscan_next(&r->s);
    double x = r->s.number;
    if (t == HPT__J_STRING && r->truth) return named(r, r->s.text, id);
    if (t == HPT__J_ERROR) return wrong(r, NULL);
    if (r->truth && r->truth->names_only && named == class_named)
        return wrong(r, "truth has some of Pascal VOC's 20 classes, so that their numbers may mean two things: give "
                     "category_id as a name");
    if (t == HPT__J_NUMBER && fabs(x) <= (double)MOST_ID && x == floor(x)) return *id = (int64_t)x, HPT_OK;
    snprintf(why, sizeof why, "%s is not a whole number%s", key, r->truth ? ", and no name" : "");
    return wrong(r, why);
}

/* ---- segmentation ---- */

/* A list of polygons, each a list of numbers. */
static hpt_status polygons(coco_file *r, hpt__mark *m) {
    hpt__marks *to = r->to;
    hpt__jtoken t;
    m->polygons = 1;
    m->at = to->point_count;
    HPT_TRY(hpt__marks_points(to, 1));
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
    HPT_TRY(hpt__marks_runs(to, 1));
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
            HPT_TRY(id_or_name(r, "image_id", image_named, &m->image));
            image = 1;
        } else if (!strcmp(key, "category_id")) {
            HPT_TRY(id_or_name(r, "category_id", class_named, &m->category));
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

/* ---- BDD100K: an array of frames ---- */

enum { FIRST = 1, SECOND = 2 };
/* Classes of both generations, each with its number in the first (bdd2coco.py) and the second (scalabel). crowd: what
 * the second does not score, but excuses. */
static const struct { const char *name; int first, second, only, crowd; } bdd[] = {
    {"person", 1, 1, FIRST, 0}, {"pedestrian", 1, 1, SECOND, 0}, {"rider", 2, 2, 0, 0}, {"car", 3, 3, 0, 0},
    {"bus", 4, 5, 0, 0}, {"truck", 5, 4, 0, 0}, {"bike", 6, 8, FIRST, 0}, {"bicycle", 6, 8, SECOND, 0},
    {"motor", 7, 7, FIRST, 0}, {"motorcycle", 7, 7, SECOND, 0}, {"traffic light", 8, 9, 0, 0},
    {"traffic sign", 9, 10, 0, 0}, {"train", 10, 6, 0, 0}, {"other person", 0, 1, SECOND, 1},
    {"other vehicle", 0, 3, SECOND, 1}, {"trailer", 0, 4, SECOND, 1}};
enum { BDD = sizeof bdd / sizeof *bdd };
static hpt_status corners(coco_file *r, double at[4]) {
    static const char *const keys[4] = {"x1", "y1", "x2", "y2"};
    int seen = 0;
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t != HPT__J_OBJECT) return wrong(r, t == HPT__J_ERROR ? NULL : "box2d is not an object");
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        int k = 0;
        while (k < 4 && strcmp(r->s.text, keys[k])) k++;
        if (k == 4) HPT_TRY(skip(r));
        else {
            HPT_TRY(number(r, keys[k], at + k));
            if (!(fabs(at[k]) <= 1e9)) return wrong(r, "box2d holds a number beyond 1,000,000,000");
            seen |= 1 << k;
        }
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    return seen == 15 ? HPT_OK : wrong(r, "box2d lacks x1, y1, x2 or y2");
}
/* {"crowd": true}; everything else is passed over */
static hpt_status label_attributes(coco_file *r, uint8_t *crowd) {
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t == HPT__J_WORD) return HPT_OK;                /* null */
    if (t != HPT__J_OBJECT) return wrong(r, t == HPT__J_ERROR ? NULL : "attributes is not an object");
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY)
        if (!strcmp(r->s.text, "crowd")) HPT_TRY(flag(r, "crowd", crowd));
        else HPT_TRY(skip(r));
    return t == HPT__J_END_OBJECT ? HPT_OK : wrong(r, NULL);
}
static hpt_status bdd_label(coco_file *r, uint64_t image) {
    int category = -1, box = 0;
    char why[160], name[80] = "";
    double at[4] = {0};
    uint8_t crowd = 0;
    hpt__mark *m;
    hpt__jtoken t;
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        if (!strcmp(r->s.text, "category")) {
            if (hpt__jscan_next(&r->s) != HPT__J_STRING) return wrong(r, "category is no text");
            snprintf(name, sizeof name, "%.79s", r->s.text);
            for (int k = 0; k < BDD; k++)
                if (!strcmp(r->s.text, bdd[k].name)) category = k;
        } else if (!strcmp(r->s.text, "box2d")) {
            t = hpt__jscan_peek(&r->s);
            if (t == HPT__J_WORD) HPT_TRY(skip(r));     /* null */
            else {
                HPT_TRY(corners(r, at));
                box = 1;
            }
        } else if (!strcmp(r->s.text, "attributes")) HPT_TRY(label_attributes(r, &crowd));
        else HPT_TRY(skip(r));
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    if (!box) return HPT_OK;                            /* lanes, drivable areas */
    if (category < 0) {
        snprintf(why, sizeof why, "a box of category '%s', which is none of BDD100K's", name);
        return wrong(r, why);
    }
    r->generation |= bdd[category].only;
    HPT_TRY(hpt__marks_add(r->to, &m));
    m->image = (int64_t)image + 1;
    m->category = category;
    m->box[0] = at[0], m->box[1] = at[1], m->box[2] = at[2] - at[0], m->box[3] = at[3] - at[1];
    m->area = m->box[2] * m->box[3];
    m->crowd = crowd || bdd[category].crowd;
    return HPT_OK;
}
static hpt_status bdd_frame(coco_file *r) {
    char name[HPT__J_TEXT] = "";
    uint64_t image = r->to->image_count;
    hpt__jtoken t;
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        if (!strcmp(r->s.text, "name")) HPT_TRY(name_of(r, name));
        else if (!strcmp(r->s.text, "labels")) {
            t = hpt__jscan_next(&r->s);
            if (t == HPT__J_WORD) continue;             /* null: nothing is there */
            if (t != HPT__J_ARRAY) return wrong(r, t == HPT__J_ERROR ? NULL : "labels is not a list");
            while ((t = hpt__jscan_next(&r->s)) == HPT__J_OBJECT) HPT_TRY(bdd_label(r, image));
            if (t != HPT__J_END_ARRAY) return wrong(r, t == HPT__J_ERROR ? NULL : "a label that is no object");
        } else HPT_TRY(skip(r));
    }
    if (t != HPT__J_END_OBJECT) return wrong(r, NULL);
    if (!*name) return wrong(r, "a frame without a name (these are results, not truth?)");
    return hpt__marks_image(r->to, (int64_t)image + 1, 1280, 720, name);
}
/* The bracket is read. Numbers of images are 1, 2, ... in the file's order; those of classes as the generation has. */
static hpt_status bdd_frames(coco_file *r) {
    hpt__jtoken t;
    r->item = "frame";
    r->nth = 1;
    for (; (t = hpt__jscan_next(&r->s)) == HPT__J_OBJECT; r->nth++) HPT_TRY(bdd_frame(r));
    if (t != HPT__J_END_ARRAY) return wrong(r, t == HPT__J_ERROR ? NULL : "not an object");
    r->nth = 0;
    if (!r->to->image_count) return hpt__fail(HPT_ERR_DATA, "%.700s: no images", r->to->path);
    if (r->to->masks) return wrong(r, "BDD100K's frames have boxes, and no masks");
    if (r->generation == (FIRST | SECOND)) return wrong(r, "names of classes of both generations (person, pedestrian)");
    int first = r->generation == FIRST;
    r->to->format = first ? "bdd100k-1" : "bdd100k-2";
    for (int k = 0; k < BDD; k++)
        if (bdd[k].only != (first ? SECOND : FIRST) && !bdd[k].crowd)
            HPT_TRY(hpt__marks_class(r->to, first ? bdd[k].first : bdd[k].second, bdd[k].name));
    for (uint64_t i = 0; i < r->to->n; i++) {
        int k = (int)r->to->m[i].category;
        r->to->m[i].category = first ? bdd[k].first : bdd[k].second;
    }
    return HPT_OK;
}

static hpt_status annotations(coco_file *r) {
    static const char *const lists[] = {"images", "annotations", "categories"};
    int seen[3] = {0};
    hpt__jtoken t = hpt__jscan_next(&r->s);
    if (t == HPT__J_ARRAY) {
        HPT_TRY(bdd_frames(r));
        return hpt__jscan_next(&r->s) == HPT__J_END ? HPT_OK : wrong(r, NULL);
    }
    if (t != HPT__J_OBJECT) return wrong(r, t == HPT__J_ERROR ? NULL : "not annotations in COCO's format");
    while ((t = hpt__jscan_next(&r->s)) == HPT__J_KEY) {
        int what = -1;
        if (!strcmp(r->s.text, "frames") && !seen[0]) {         /* scalabel's newer files */
            if (hpt__jscan_next(&r->s) != HPT__J_ARRAY) return wrong(r, "frames is not a list");
            HPT_TRY(bdd_frames(r));
            seen[0] = seen[1] = seen[2] = 1;
            continue;
        }
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
hpt_status hpt__marks_read_json(const char *path, const hpt__marks *truth, hpt__marks *out) {
    coco_file r = {.to = out, .truth = truth};
    HPT_TRY(hpt__jscan_open(&r.s, path));
    hpt_status st = truth ? results(&r) : annotations(&r);
    hpt__jscan_close(&r.s);
    hpt__free(r.names);
    return st ? st : hpt__marks_link(out, truth);
}

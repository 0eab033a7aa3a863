/* SPDX-License-Identifier: MIT
 * Contract: truth.h. Boxes from text: folders of Pascal VOC's XML files, and a table of one's own (CSV). Images and
 * classes have names there; the numbers that results may use for them are made here. */
#include "core/alloc.h"
#include "core/number.h"
#include "data/collection.h"
#include "data/known.h"
#include "eval/truth.h"
#include "io/file.h"
#include "io/folder.h"
#include "io/xmlscan.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hpt_status line_fails(const hpt__marks *s, uint64_t line, const char *why) {
    return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %llu: %.200s", s->path, (unsigned long long)line, why);
}

/* ---- names become numbers ---- */

/* "a/000012.jpg" is 12; -1: other characters than digits, or too many */
static int64_t stem_number(const char *name) {
    const char *slash = strrchr(name, '/'), *p = slash ? slash + 1 : name;
    size_t n = strspn(p, "0123456789");
    return n && n < 16 && (!p[n] || p[n] == '.') ? strtoll(p, NULL, 10) : -1;
}
static int by_image_id(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}
/* The numbers in their file names where all have one and no two the same, else 1, 2, ...; marks have indexes. */
static hpt_status number_images(hpt__marks *s) {
    uint64_t n = s->image_count;
    int64_t *id = hpt__alloc((size_t)(n + 1) * sizeof *id);
    int named = 1;
    if (!id) return hpt__fail_memory((size_t)(n + 1) * sizeof *id);
    for (uint64_t i = 0; i < n; i++) named &= (id[i] = stem_number(s->images[i].name)) >= 0;
    if (n) qsort(id, (size_t)n, sizeof *id, by_image_id);
    for (uint64_t i = 1; i < n; i++) named &= id[i] != id[i - 1];
    hpt__free(id);
    for (uint64_t i = 0; i < n; i++) s->images[i].id = named ? stem_number(s->images[i].name) : (int64_t)i + 1;
    for (uint64_t k = 0; k < s->n; k++) s->m[k].image = s->images[s->m[k].image].id;
    return HPT_OK;
}
static int by_class_name(const void *a, const void *b) {
    return strcmp((*(const hpt__marked_class *const *)a)->name, (*(const hpt__marked_class *const *)b)->name);
}
static int64_t voc_number(const char *name) {
    for (int k = 0; k < 20; k++)
        if (!strcmp(name, hpt__voc_names[k])) return k + 1;
    return -1;
}
static int64_t whole_number(const char *name) {
    size_t n = strspn(name, "0123456789");
    return n && n < 16 && !name[n] ? strtoll(name, NULL, 10) : -1;
}
/* Numbers where all are numbers, else 1, 2, ... by name; marks have indexes. Some of Pascal VOC's 20, and no other,
 * have two numbers that results may mean, so that results must use names. */
static hpt_status number_classes(hpt__marks *s, int voc) {
    int numbers = 1;
    uint64_t n = s->class_count;
    hpt__marked_class **list = hpt__alloc((size_t)(n + 1) * sizeof *list);
    if (!list) return hpt__fail_memory((size_t)(n + 1) * sizeof *list);
    for (uint64_t k = 0; k < n; k++) {
        list[k] = s->classes + k;
        voc &= voc_number(list[k]->name) > 0;
        numbers &= whole_number(list[k]->name) >= 0;
    }
    qsort((void *)list, (size_t)n, sizeof *list, by_class_name);
    for (uint64_t k = 0; k < n; k++) list[k]->id = numbers ? whole_number(list[k]->name) : (int64_t)k + 1;
    hpt__free((void *)list);
    for (uint64_t k = 0; k < s->n; k++) s->m[k].category = s->classes[s->m[k].category].id;
    s->names_only = voc && n < 20;
    return HPT_OK;
}
/* The index of a class by name, added if it is new. */
static hpt_status class_index(hpt__marks *s, const char *name, int64_t *index) {
    for (uint64_t k = 0; k < s->class_count; k++)
        if (!strcmp(s->classes[k].name, name)) return *index = (int64_t)k, HPT_OK;
    *index = (int64_t)s->class_count;
    return hpt__marks_class(s, 0, name);
}
static hpt_status finish(hpt__marks *s, int voc) {
    if (!s->image_count || !s->class_count)
        return hpt__fail(HPT_ERR_DATA, "%.700s: no %s", s->path, s->image_count ? "objects" : "images");
    HPT_TRY(number_images(s));
    HPT_TRY(number_classes(s, voc));
    return hpt__marks_link(s, NULL);
}

/* ---- Pascal VOC ---- */

typedef struct voc_object { char name[128]; double edge[4]; int seen, difficult; } voc_object;
/* A number as text of an element. 0: none. */
static int number(const hpt__xml *x, double *out) {
    char text[64];
    if (!x->len || x->len >= sizeof text) return 0;
    snprintf(text, sizeof text, "%.*s", (int)x->len, x->text);
    return hpt__number_parse(text, out) && fabs(*out) <= 1e9;
}
static hpt_status voc_fails(const hpt__xml *x, uint64_t nth, const char *why) {
    return hpt__fail(HPT_ERR_FORMAT, "%.600s: object %llu: %s", x->path, (unsigned long long)nth, why);
}
/* xmin ymin xmax ymax count pixels from 1, both ends in. */
static hpt_status voc_mark(hpt__marks *s, const hpt__xml *x, const voc_object *o, uint64_t nth, uint64_t image) {
    hpt__mark *m;
    char why[160];
    int64_t index;
    if (!*o->name) return voc_fails(x, nth, "no name");
    if (o->seen != 15) return voc_fails(x, nth, "bndbox lacks xmin, ymin, xmax or ymax");
    double w = o->edge[2] - (o->edge[0] - 1), h = o->edge[3] - (o->edge[1] - 1);
    if (!(w > 0 && h > 0)) {
        snprintf(why, sizeof why, "a box from %.6g, %.6g to %.6g, %.6g has no pixel", o->edge[0], o->edge[1],
                 o->edge[2], o->edge[3]);
        return voc_fails(x, nth, why);
    }
    HPT_TRY(class_index(s, o->name, &index));
    HPT_TRY(hpt__marks_add(s, &m));
    *m = (hpt__mark){.image = (int64_t)image, .category = index, .box = {o->edge[0] - 1, o->edge[1] - 1, w, h},
                     .area = w * h, .nth = nth, .ignored = o->difficult == 1};
    return HPT_OK;
}
static hpt_status voc_file(hpt__marks *s, const char *text, const char *path, const char *name) {
    static const char *const edges[4] = {"xmin", "ymin", "xmax", "ymax"};
    voc_object o = {.seen = 0};
    hpt__xml x;
    hpt__xml_event event;
    uint64_t nth = 0, image = s->image_count;
    double v;
    HPT_TRY(hpt__marks_image(s, 0, 0, 0, name));
    hpt__xml_begin(&x, text, path);
    for (;;) {
        HPT_TRY(hpt__xml_next(&x, &event));
        if (event == HPT__XML_END) break;
        if (event == HPT__XML_CLOSE && x.depth == 1 && !strcmp(x.tag, "object")) {
            HPT_TRY(voc_mark(s, &x, &o, ++nth, image));
            o = (voc_object){.seen = 0};
        }
        if (event != HPT__XML_OPEN) continue;
        if (x.depth == 3 && !strcmp(x.name[1], "size") && (!strcmp(x.tag, "width") || !strcmp(x.tag, "height"))) {
            if (!number(&x, &v) || v < 0 || v > HPT__MASK_SIDE || v != floor(v))
                return hpt__fail(HPT_ERR_FORMAT, "%.700s: %s of the image is no size", path, x.tag);
            *(*x.tag == 'w' ? &s->images[image].w : &s->images[image].h) = (uint32_t)v;
        }
        if (x.depth < 3 || strcmp(x.name[1], "object")) continue;
        if (x.depth == 3 && !strcmp(x.tag, "name"))
            snprintf(o.name, sizeof o.name, "%.*s", (int)(x.len < 127 ? x.len : 127), x.text);
        if (x.depth == 3 && !strcmp(x.tag, "difficult")) {
            if (!number(&x, &v) || (v != 0 && v != 1)) return voc_fails(&x, nth + 1, "difficult is neither 0 nor 1");
            o.difficult = v == 1;
        }
        for (int i = 0; i < 4 && x.depth == 4 && !strcmp(x.name[2], "bndbox"); i++) {
            if (strcmp(x.tag, edges[i])) continue;
            if (!number(&x, o.edge + i)) return voc_fails(&x, nth + 1, "bndbox holds what is no number");
            o.seen |= 1 << i;
        }
    }
    return HPT_OK;
}
static hpt_status voc_image(hpt__marks *s, const char *folder, const char *stem, size_t n) {
    char path[4600], name[260];
    hpt__bytes xml;
    if (n > 250) return hpt__fail(HPT_ERR_FORMAT, "%.700s: a name of %zu characters", s->path, n);
    snprintf(name, sizeof name, "%.*s", (int)n, stem);
    snprintf(path, sizeof path, "%.4200s/%s.xml", folder, name);
    HPT_TRY(hpt__file_read(path, 1 << 24, &xml));
    xml.p[xml.n] = 0;
    hpt_status st = strlen((char *)xml.p) == xml.n ? voc_file(s, (char *)xml.p, path, name)
        : hpt__fail(HPT_ERR_FORMAT, "%.700s: a zero byte", path);
    hpt__free(xml.p);
    return st;
}
/* All XML files of a folder, by name. */
static hpt_status voc_folder(hpt__marks *s, const char *folder) {
    hpt__folder f;
    HPT_TRY(hpt__folder_read(folder, &f));
    hpt_status st = HPT_OK;
    for (size_t i = 0; i < f.n && !st; i++) {
        size_t n = strlen(f.e[i].name);
        if (n > 4 && !strcmp(f.e[i].name + n - 4, ".xml")) st = voc_image(s, folder, f.e[i].name, n - 4);
    }
    hpt__folder_free(&f);
    if (!st && !s->image_count) st = hpt__fail(HPT_ERR_DATA, "%.700s: no XML file is there", folder);
    return st;
}
/* ImageSets/Main/test.txt: the first word of each line, in ../../Annotations. */
static hpt_status voc_list(hpt__marks *s, const char *list) {
    char folder[4200];
    hpt__bytes f;
    const char *slash = strrchr(list, '/');
    snprintf(folder, sizeof folder, "%.*s../../Annotations", slash ? (int)(slash + 1 - list) : 0, list);
    HPT_TRY(hpt__file_read(list, 1 << 26, &f));
    f.p[f.n] = 0;
    hpt_status st = strlen((char *)f.p) == f.n ? HPT_OK : hpt__fail(HPT_ERR_FORMAT, "%.700s: a zero byte", list);
    for (char *p = (char *)f.p; *p && !st;) {
        size_t blank = strspn(p, " \t\r\n"), n = strcspn(p += blank, " \t\r\n");
        if (n) st = voc_image(s, folder, p, n);
        p += n;
        p += strcspn(p, "\n");
    }
    hpt__free(f.p);
    return st;
}

/* ---- a table of one's own ---- */

enum { IMAGE, CLASS, X, Y, WIDTH, HEIGHT, XMIN, YMIN, XMAX, YMAX, DIFFICULT, CROWD, COLUMNS, MOST_COLUMNS = 64 };
static const char *const headings[COLUMNS] = {
    " image filename file path name image_path ", " class label category class_name ", " x ", " y ", " w width ",
    " h height ", " xmin x1 left ", " ymin y1 top ", " xmax x2 right ", " ymax y2 bottom ", " difficult ",
    " crowd iscrowd "};
static hpt_status csv_heading(const hpt__marks *s, char *line, int column[COLUMNS]) {
    char *rest = line, *v, word[64];
    for (int c = 0; c < COLUMNS; c++) column[c] = -1;
    for (int i = 0; rest && i < MOST_COLUMNS; i++) {
        if (!(v = hpt__csv_field(&rest, ','))) return line_fails(s, 1, "a quote that is not closed");
        snprintf(word, sizeof word, " %.60s ", v);
        for (char *p = word; *p; p++) *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        for (int c = 0; c < COLUMNS; c++)
            if (strstr(headings[c], word) && column[c] < 0) column[c] = i;
    }
    int sizes = column[X] >= 0 && column[Y] >= 0 && column[WIDTH] >= 0 && column[HEIGHT] >= 0;
    int edges = column[XMIN] >= 0 && column[YMIN] >= 0 && column[XMAX] >= 0 && column[YMAX] >= 0;
    if (column[IMAGE] < 0 || column[CLASS] < 0 || sizes == edges)
        return line_fails(s, 1, "the columns must be image, class, and either x, y, width, height or xmin, ymin, "
                          "xmax, ymax (continuous, from 0); difficult and crowd may be there");
    if (edges) column[X] = column[XMIN], column[Y] = column[YMIN];
    return HPT_OK;
}
/* Images in the order in which they appear first; rows of one need not follow each other. */
typedef struct seen_images { uint64_t *slot, size; } seen_images;
static hpt_status csv_image(hpt__marks *s, seen_images *seen, const char *name, uint64_t *index) {
    if (2 * (s->image_count + 1) > seen->size) {
        uint64_t size = seen->size ? 2 * seen->size : 1024, *slot = hpt__calloc((size_t)size, sizeof *slot);
        if (!slot) return hpt__fail_memory((size_t)size * sizeof *slot);
        for (uint64_t i = 0; i < s->image_count; i++) {
            uint64_t h = 14695981039346656037u;
            for (const char *p = s->images[i].name; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
            while (slot[h % size]) h++;
            slot[h % size] = i + 1;
        }
        hpt__free(seen->slot);
        *seen = (seen_images){slot, size};
    }
    uint64_t h = 14695981039346656037u;
    for (const char *p = name; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    for (; seen->slot[h % seen->size]; h++) {
        *index = seen->slot[h % seen->size] - 1;
        if (!strcmp(s->images[*index].name, name)) return HPT_OK;
    }
    *index = s->image_count;
    seen->slot[h % seen->size] = s->image_count + 1;
    return hpt__marks_image(s, 0, 0, 0, name);
}
static hpt_status csv_row(hpt__marks *s, seen_images *seen, char *line, uint64_t nth, const int column[COLUMNS]) {
    char *v[MOST_COLUMNS] = {NULL}, *rest = line;
    static char blank[1];
    int n = 0, edges = column[X] == column[XMIN] && column[X] >= 0;
    uint64_t image = 0;
    double box[4], flag[2] = {0, 0};
    hpt__mark *m;
    for (; rest && n < MOST_COLUMNS; n++)
        if (!(v[n] = hpt__csv_field(&rest, ','))) return line_fails(s, nth, "a quote that is not closed");
#define FIELD(c) (column[c] >= 0 && column[c] < n ? v[column[c]] : blank)
    const int at[4] = {X, Y, edges ? XMAX : WIDTH, edges ? YMAX : HEIGHT};
    if (!*FIELD(IMAGE)) return line_fails(s, nth, "no image");
    HPT_TRY(csv_image(s, seen, FIELD(IMAGE), &image));
    if (!*FIELD(CLASS) && !*FIELD(at[0]) && !*FIELD(at[1]) && !*FIELD(at[2]) && !*FIELD(at[3])) return HPT_OK;
    if (!*FIELD(CLASS)) return line_fails(s, nth, "a box without a class");
    for (int i = 0; i < 4; i++)
        if (!hpt__number_parse(FIELD(at[i]), box + i) || !(fabs(box[i]) <= 1e9))
            return line_fails(s, nth, "a box that is not four numbers");
    for (int i = 0; i < 2; i++)
        if (*FIELD(DIFFICULT + i) && (!hpt__number_parse(FIELD(DIFFICULT + i), flag + i) ||
                                      (flag[i] != 0 && flag[i] != 1)))
            return line_fails(s, nth, "difficult or crowd is neither 0 nor 1");
    if (edges) box[2] -= box[0], box[3] -= box[1];
    int64_t index;
    HPT_TRY(class_index(s, FIELD(CLASS), &index));
    HPT_TRY(hpt__marks_add(s, &m));
    *m = (hpt__mark){.image = (int64_t)image, .category = index, .box = {box[0], box[1], box[2], box[3]},
                     .area = box[2] * box[3], .nth = nth, .ignored = flag[0] == 1, .crowd = flag[1] == 1};
    return HPT_OK;
}
static hpt_status csv(hpt__marks *s) {
    int column[COLUMNS];
    uint64_t line = 0;
    hpt__bytes f;
    seen_images seen = {NULL, 0};
    hpt_status st = HPT_OK;
    HPT_TRY(hpt__file_read(s->path, 1u << 30, &f));
    f.p[f.n] = 0;
    char *at = (char *)f.p, *end = at + f.n;
    if (f.n >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3;
    while (at < end && !st) {
        char *eol = memchr(at, '\n', (size_t)(end - at)), *next;
        if (!eol) eol = end;
        next = eol + 1;
        *eol = 0;
        if (eol > at && eol[-1] == '\r') *--eol = 0;
        line++;
        if (strlen(at) < (size_t)(eol - at)) st = line_fails(s, line, "a zero byte");
        else if (line == 1) st = csv_heading(s, at, column);
        else if (*at) st = csv_row(s, &seen, at, line, column);
        at = next;
    }
    hpt__free(seen.slot);
    hpt__free(f.p);
    return st;
}

hpt_status hpt__truth_read_voc(const char *path, int folder, hpt__marks *s) {
    s->what = "object";
    HPT_TRY(folder ? voc_folder(s, path) : voc_list(s, path));
    return finish(s, 1);
}
hpt_status hpt__truth_read_csv(hpt__marks *s) {
    s->what = "line";
    HPT_TRY(csv(s));
    return finish(s, 0);
}

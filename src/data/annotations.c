/* SPDX-License-Identifier: MIT
 * Labels of known downloads from their own annotation files. What is read is untrusted: sizes are checked, and
 * everything that does not fit is an error with the file's name, never a guess. */
#define _GNU_SOURCE
#include "data/known.h"
#include "core/alloc.h"
#include "io/file.h"
#include "io/jsonscan.h"
#include "io/mat.h"
#include "io/xmlscan.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int is_there(const char *path) {
    struct stat s;
    return !stat(path, &s);
}
static hpt_status bad_json(const hpt__jscan *s, const char *path) {
    if (s->failed) return hpt__fail_context(s->failed, "%.500s", path);
    return hpt__fail(HPT_ERR_FORMAT, "%.700s: not the JSON that was expected, at byte %llu", path,
                     (unsigned long long)hpt__jscan_at(s));
}

/* ---- DomainNet and lists of one's own ---- */

static hpt_status read_list(const hpt__options *o, const char *root, const char *list, hpt__collection *c) {
    char path[8400];
    hpt__options opt;
    snprintf(path, sizeof path, "%s/%s", root, list);
    HPT_TRY(hpt__options_copy(&opt, o));
    hpt_status st = hpt__options_set(&opt, "list_root", root);
    if (!st) st = hpt__collect_list(c, &opt, path);
    hpt__options_fini(&opt);
    return st;
}

/* DomainNet's lists hold numbers, and other lists of it hold other numbers for the same classes; what a class is
 * called, the folder of its images says ("real/aircraft_carrier/real_001_000114.jpg 0"). */
typedef struct named { const char *name; size_t n; uint32_t label; } named;
static int by_folder(const void *x, const void *y) {
    const named *a = x, *b = y;
    int d = strncmp(a->name, b->name, a->n < b->n ? a->n : b->n);
    return d ? d : a->n < b->n ? -1 : a->n > b->n;
}
static named folder_of(const hpt__entry *e) {
    const char *end = strrchr(e->path, '/'), *from = end;
    while (from && from > e->path && from[-1] != '/') from--;
    return (named){from ? from : "", from ? (size_t)(end - from) : 0, (uint32_t)e->label};
}
static hpt_status name_classes(hpt__collection *c, uint32_t classes) {
    char text[256];
    if (!c->n || c->multi || c->cls || c->classes > classes) return HPT_OK;     /* refused later, in words */
    named *of = hpt__calloc(classes + 1ull, sizeof *of), *sorted = hpt__alloc(sizeof *sorted * (classes + 1ull));
    hpt_status st = of && sorted ? HPT_OK : hpt__fail_memory(sizeof *of * classes);
    uint32_t n = 0;
    for (uint64_t i = 0; i < c->n && !st; i++) {
        named here = folder_of(&c->f[i]);
        if (c->f[i].label < 0) st = hpt__fail(HPT_ERR_FORMAT, "%.700s: an image without a label", c->list);
        else if (!of[here.label].name) of[here.label] = sorted[n++] = here;
        else if (by_folder(&of[here.label], &here))
            st = hpt__fail(HPT_ERR_FORMAT, "%.400s, line %u: label %u is the folder '%.*s' here, and '%.*s' before",
                           c->list, c->f[i].line, here.label, (int)here.n, here.name, (int)of[here.label].n,
                           of[here.label].name);
    }
    if (!st) qsort(sorted, n, sizeof *sorted, by_folder);
    for (uint32_t i = 1; i < n && !st; i++)
        if (!by_folder(&sorted[i - 1], &sorted[i]))
            st = hpt__fail(HPT_ERR_FORMAT, "%.400s: labels %u and %u are both the folder '%.*s'", c->list,
                           sorted[i - 1].label, sorted[i].label, (int)sorted[i].n, sorted[i].name);
    c->classes = st ? c->classes : 0;
    for (uint32_t k = 0; k < classes && !st; k++) {     /* one without an image here has no name to tell */
        if (of[k].name) snprintf(text, sizeof text, "%.*s", (int)of[k].n, of[k].name);
        else snprintf(text, sizeof text, "(class %u)", k);
        st = hpt__collect_class(c, text);
    }
    hpt__free(of);
    hpt__free(sorted);
    return st;
}

/* The lists of semi-supervised adaptation (Saito et al. 2019): beside the folders of the domains, or as that code lays
 * them out, in txt/multi with the images in multi. */
hpt_status hpt__read_adaptation(const hpt__known *k, const hpt__options *o, const char *root, const char *split,
                                hpt__collection *c) {
    static const struct { const char *split, *list, *shots; int tested; } all[] = {
        {"train", "labeled_source_images", "", 0}, {"val", "validation_target_images", "_3", 0},
        {"labelled-1", "labeled_target_images", "_1", 0}, {"labelled-3", "labeled_target_images", "_3", 0},
        {"unlabelled-1", "unlabeled_target_images", "_1", 1}, {"unlabelled-3", "unlabeled_target_images", "_3", 1},
        {"test-1", "unlabeled_target_images", "_1", 1}, {"test-3", "unlabeled_target_images", "_3", 1},
        {"test", "unlabeled_target_images", "_3", 1}};
    char domain[32], list[4300], images[4200];
    snprintf(domain, sizeof domain, "%.*s", (int)(strlen(k->info.name) - strlen("126")), k->info.name);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].split, split)) continue;
        snprintf(images, sizeof images, "%.4000s/txt/multi", root);
        int theirs = is_there(images);
        snprintf(images, sizeof images, "%.4000s%s", root, theirs ? "/multi" : "");
        snprintf(list, sizeof list, "%s%s_%s%s.txt", theirs ? "../txt/multi/" : "", all[i].list, domain, all[i].shots);
        HPT_TRY(read_list(o, images, list, c));
        HPT_TRY(name_classes(c, k->info.classes));
        return all[i].tested ? hpt__collection_note(c, 0, "%s, %s: by this protocol the unlabelled list is the test "
                                                    "list too, and holds the validation images", k->info.name, split)
            : HPT_OK;
    }
    return hpt__fail(HPT_ERR_ARGUMENT, "split '%.40s' of %s is none of train (the domain as a source), labelled-1, "
                     "labelled-3, unlabelled-1, unlabelled-3, val, test, test-1, test-3", split, k->info.name);
}

/* ---- folders ---- */

static hpt_status read_folders(const char *root, hpt__collection *c) {
    static const char *const inside[] = {"NWPU-RESISC45", "UCMerced_LandUse/Images", "Images", ""};
    char path[4200];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s%s", root, *inside[i] ? "/" : "", inside[i]);
        if (is_there(path)) return hpt__collect_folder(c, path);
    }
    return hpt__fail(HPT_ERR_IO, "%.800s: no such folder", root);
}

static hpt_status read_kids(const char *root, const char *part, hpt__collection *c) {
    static const char *const words[] = {"NORMAL", "BACTERIA", "VIRUS"};
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", root, part);
    HPT_TRY(hpt__collect_tree(c, path, -1));
    hpt__collection_sort(c);
    for (int k = 0; k < 3; k++) HPT_TRY(hpt__collect_class(c, words[k]));
    for (uint64_t i = 0; i < c->n; i++) {
        const char *slash = strrchr(c->f[i].path, '/'), *name = slash ? slash + 1 : c->f[i].path;
        for (int k = 0; k < 3; k++)
            if (strcasestr(name, words[k]) || (k == 0 && strstr(c->f[i].path, "/NORMAL/"))) c->f[i].label = k;
        if (c->f[i].label < 0)
            return hpt__fail(HPT_ERR_FORMAT, "%.800s: the name holds none of NORMAL, BACTERIA, VIRUS", c->f[i].path);
    }
    return HPT_OK;
}

/* ---- CheXpert: CSV with a header; labels by column name ---- */

static hpt_status read_chexpert(const char *root, const char *csv, hpt__collection *c) {
    static const char *const names[] = {"Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"};
    char path[4200], image[4200];
    int column[5] = {-1, -1, -1, -1, -1}, path_column = -1;
    uint32_t line = 0;
    hpt__bytes f;
    snprintf(path, sizeof path, "%s/%s", root, csv);
    HPT_TRY(hpt__file_read(path, 1u << 30, &f));
    f.p[f.n] = 0;
    hpt_status st = (c->list = hpt__strdup(path)) ? HPT_OK : hpt__fail_memory(64);
    for (int k = 0; k < 5 && !st; k++) st = hpt__collect_class(c, names[k]);
    char *at = (char *)f.p, *end = at + f.n;
    if (f.n >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3;
    while (at < end && !st) {
        char *eol = memchr(at, '\n', (size_t)(end - at)), *next, *rest = at, *v;
        if (!eol) eol = end;
        next = eol + 1;
        *eol = 0;
        if (eol > at && eol[-1] == '\r') *--eol = 0;
        uint8_t label[5] = {0};
        int found = 0;
        const char *where = NULL;
        line++;
        if (strlen(at) < (size_t)(eol - at)) st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: a zero byte", path, line);
        for (int i = 0; *at && rest && !st; i++) {
            if (!(v = hpt__csv_field(&rest, ','))) {
                st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: a quote that is not closed, or something behind it",
                               path, line);
                break;
            }
            if (line == 1) {
                if (!strcmp(v, "Path")) path_column = i;
                for (int k = 0; k < 5; k++)
                    if (!strcmp(v, names[k])) column[k] = i;
                continue;
            }
            if (i == path_column) where = v;
            for (int k = 0; k < 5; k++) {
                if (i != column[k]) continue;
                found++;
                int one = !strcmp(v, "1.0") || !strcmp(v, "1");
                if (!one && *v && strcmp(v, "0.0") && strcmp(v, "0") && strcmp(v, "-1.0") && strcmp(v, "-1"))
                    st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: '%.40s' is none of 1.0, 0.0, -1.0, blank", path,
                                   line, v);
                label[k] = (uint8_t)one;
            }
        }
        if (!st && line == 1 && (path_column < 0 || column[0] < 0 || column[1] < 0 || column[2] < 0 || column[3] < 0 ||
                                 column[4] < 0))
            st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line 1: a column is missing of Path, %s, %s, %s, %s, %s", path,
                           names[0], names[1], names[2], names[3], names[4]);
        if (!st && line > 1 && *at) {
            if (!where || found != 5)
                st = hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: fewer columns than the first line", path, line);
            else {          /* CheXpert-v1.0-small/train/...: the root is that first folder */
                const char *slash = strchr(where, '/');
                snprintf(image, sizeof image, "%s/%s", root, slash && !strncmp(where, "CheXpert", 8) ? slash + 1
                         : where);
                st = is_there(image) ? hpt__collect(c, hpt__strdup(image), -1, label, line)
                    : hpt__fail(HPT_ERR_IO, "%.400s, line %u: %.500s: no such file", path, line, image);
            }
        }
        at = next;
    }
    hpt__free(f.p);
    return st;
}

/* ---- COCO: images, annotations and categories in any order ---- */

typedef struct coco { struct { int64_t id; char *file; } *image; struct { int64_t image, category; } *mark;
                      struct { int64_t id; char name[64]; } category[256]; uint64_t images, marks, cap_images,
                      cap_marks; int categories; } coco;

static int by_id(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return x < y ? -1 : x > y;
}
/* One object of an array: what 0 image, 1 annotation, 2 category. */
static hpt_status coco_object(coco *k, hpt__jscan *s, int what, const char *path) {
    int64_t id = -1, image = -1, category = -1;
    char name[HPT__J_TEXT] = "";
    hpt__jtoken t;
    while ((t = hpt__jscan_next(s)) == HPT__J_KEY) {
        int64_t *number = !strcmp(s->text, "id") ? &id : !strcmp(s->text, "image_id") ? &image
            : !strcmp(s->text, "category_id") ? &category : NULL;
        int text = !strcmp(s->text, what == 2 ? "name" : "file_name");
        if (number || text) {
            t = hpt__jscan_next(s);
            if (number && t == HPT__J_NUMBER && s->number >= 0 && s->number < 9e15) *number = (int64_t)s->number;
            else if (text && t == HPT__J_STRING) memcpy(name, s->text, sizeof name);
            else return bad_json(s, path);
        } else if (!hpt__jscan_skip(s)) return bad_json(s, path);
    }
    if (t != HPT__J_END_OBJECT) return bad_json(s, path);
    if (what == 2) {
        if (id < 0 || k->categories == 256) return bad_json(s, path);
        k->category[k->categories].id = id;
        snprintf(k->category[k->categories++].name, 64, "%.60s", name);
        return HPT_OK;
    }
    uint64_t *n = what ? &k->marks : &k->images, *cap = what ? &k->cap_marks : &k->cap_images;
    if (*n == *cap) {
        uint64_t more = *cap ? 2 * *cap : 4096;
        void *p = what ? (void *)hpt__realloc(k->mark, sizeof *k->mark * (size_t)more) : (void *)hpt__realloc(k->image,
            sizeof *k->image * (size_t)more);
        if (!p) return hpt__fail_memory((size_t)more * 16);
        if (what) k->mark = p;
        else k->image = p;
        *cap = more;
    }
    if (what == 0 && (id < 0 || !*name || strstr(name, ".."))) return bad_json(s, path);
    if (what == 1 && (image < 0 || category < 0)) return bad_json(s, path);
    if (what) {
        k->mark[*n].image = image;
        k->mark[*n].category = category;
    } else {
        k->image[*n].id = id;
        if (!(k->image[*n].file = hpt__strdup(name))) return hpt__fail_memory(64);
    }
    ++*n;
    return HPT_OK;
}
static hpt_status coco_read(coco *k, hpt__jscan *s, const char *path) {
    hpt__jtoken t;
    if (hpt__jscan_next(s) != HPT__J_OBJECT) return bad_json(s, path);
    while ((t = hpt__jscan_next(s)) == HPT__J_KEY) {
        int what = !strcmp(s->text, "images") ? 0 : !strcmp(s->text, "annotations") ? 1
            : !strcmp(s->text, "categories") ? 2 : -1;
        if (what < 0) {
            if (!hpt__jscan_skip(s)) return bad_json(s, path);
            continue;
        }
        if (hpt__jscan_next(s) != HPT__J_ARRAY) return bad_json(s, path);
        while ((t = hpt__jscan_next(s)) == HPT__J_OBJECT) HPT_TRY(coco_object(k, s, what, path));
        if (t != HPT__J_END_ARRAY) return bad_json(s, path);
    }
    return t == HPT__J_END_OBJECT ? HPT_OK : bad_json(s, path);
}
static hpt_status coco_collect(coco *k, const char *folder, const char *path, hpt__collection *c) {
    char image[6000];
    if (!k->categories)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: no categories, so that an image can have no label", path);
    qsort(k->category, (size_t)k->categories, sizeof *k->category, by_id);
    if (k->images) qsort(k->image, (size_t)k->images, sizeof *k->image, by_id);
    for (int i = 0; i < k->categories; i++) HPT_TRY(hpt__collect_class(c, k->category[i].name));
    for (int i = 1; i < k->categories; i++)
        if (k->category[i].id == k->category[i - 1].id)
            return hpt__fail(HPT_ERR_FORMAT, "%.600s: two categories have id %lld", path, (long long)k->category[i].id);
    /* by image, which is their first member */
    if (k->marks) qsort(k->mark, (size_t)k->marks, sizeof *k->mark, by_id);
    uint64_t m = 0;
    for (uint64_t i = 0; i < k->images; i++) {
        uint8_t label[256] = {0};
        if (i && k->image[i].id == k->image[i - 1].id)
            return hpt__fail(HPT_ERR_FORMAT, "%.600s: two images have id %lld", path, (long long)k->image[i].id);
        for (; m < k->marks && k->mark[m].image == k->image[i].id; m++) {
            char *cat = bsearch(&k->mark[m].category, k->category, (size_t)k->categories, sizeof *k->category, by_id);
            if (!cat)
                return hpt__fail(HPT_ERR_FORMAT, "%.600s: an annotation names category %lld, which is not there", path,
                                 (long long)k->mark[m].category);
            label[(size_t)(cat - (char *)k->category) / sizeof *k->category] = 1;
        }
        if (m < k->marks && k->mark[m].image < k->image[i].id) break;
        snprintf(image, sizeof image, "%s/%s", folder, k->image[i].file);
        if (!is_there(image)) return hpt__fail(HPT_ERR_IO, "%.400s names %.500s: no such file", path, image);
        HPT_TRY(hpt__collect(c, hpt__strdup(image), -1, label, 0));
    }
    return m == k->marks ? HPT_OK : hpt__fail(HPT_ERR_FORMAT,
                                              "%.600s: an annotation names image %lld, which is not there", path,
                                              (long long)k->mark[m].image);
}
static hpt_status read_coco(const char *root, const char *part, hpt__collection *c) {
    char path[4200], folder[4096];
    hpt__jscan s;
    coco *k = hpt__calloc(1, sizeof *k);
    if (!k) return hpt__fail_memory(sizeof *k);
    snprintf(path, sizeof path, "%s/annotations/instances_%s.json", root, part);
    snprintf(folder, sizeof folder, "%.4000s/%s", root, part);
    hpt_status st = hpt__jscan_open(&s, path);
    if (!st) {
        st = coco_read(k, &s, path);
        hpt__jscan_close(&s);
    }
    if (!st) st = coco_collect(k, folder, path, c);
    for (uint64_t i = 0; i < k->images; i++) hpt__free(k->image[i].file);
    hpt__free(k->image);
    hpt__free(k->mark);
    hpt__free(k);
    return st;
}

/* ---- BDD: an array of {"name", "attributes": {"weather"}} ---- */

static hpt_status read_bdd(const char *root, const char *part, hpt__collection *c) {
    static const char *const names[] = {"clear", "foggy", "overcast", "partly cloudy", "rainy", "snowy"};
    char path[4200], image[6000], name[HPT__J_TEXT];
    hpt__jscan s;
    hpt__jtoken t = HPT__J_ERROR;
    snprintf(path, sizeof path, "%s/labels/bdd100k_labels_images_%s.json", root, part);
    for (int k = 0; k < 6; k++) HPT_TRY(hpt__collect_class(c, names[k]));
    HPT_TRY(hpt__jscan_open(&s, path));
    hpt_status st = hpt__jscan_next(&s) == HPT__J_ARRAY ? HPT_OK : bad_json(&s, path);
    while (!st && (t = hpt__jscan_next(&s)) == HPT__J_OBJECT) {
        int label = -1, ok = 1;
        name[0] = 0;
        while (ok && (t = hpt__jscan_next(&s)) == HPT__J_KEY) {
            if (!strcmp(s.text, "name")) {
                ok = hpt__jscan_next(&s) == HPT__J_STRING;
                memcpy(name, s.text, sizeof name);
            } else if (!strcmp(s.text, "attributes")) {
                ok = hpt__jscan_next(&s) == HPT__J_OBJECT;
                while (ok && (t = hpt__jscan_next(&s)) == HPT__J_KEY) {
                    if (strcmp(s.text, "weather")) ok = hpt__jscan_skip(&s);
                    else if ((ok = hpt__jscan_next(&s) == HPT__J_STRING))
                        for (int k = 0; k < 6; k++)
                            if (!strcmp(s.text, names[k])) label = k;
                }
                ok = ok && t == HPT__J_END_OBJECT;
            } else ok = hpt__jscan_skip(&s);
        }
        if (!ok || t != HPT__J_END_OBJECT || !*name || strstr(name, "..")) st = bad_json(&s, path);
        else if (label >= 0) {          /* undefined weather is left out */
            snprintf(image, sizeof image, "%s/images/100k/%s/%s", root, part, name);
            st = is_there(image) ? hpt__collect(c, hpt__strdup(image), label, NULL, 0)
                : hpt__fail(HPT_ERR_IO, "%.400s names %.500s: no such file", path, image);
        }
    }
    if (!st && t != HPT__J_END_ARRAY) st = bad_json(&s, path);
    hpt__jscan_close(&s);
    return st;
}

/* ---- Pascal VOC: one XML file an image ---- */

const char *const hpt__voc_names[20] = {"aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
                                        "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant",
                                        "sheep", "sofa", "train", "tvmonitor"};

/* Text of annotation/object/name and .../difficult; parts of objects have names too, one level deeper. */
static hpt_status voc_labels(const char *text, const char *path, uint8_t label[20]) {
    int current = -1, difficult = 0;
    hpt__xml x;
    hpt__xml_event event;
    memset(label, 0, 20);
    hpt__xml_begin(&x, text, path);
    for (;;) {
        HPT_TRY(hpt__xml_next(&x, &event));
        if (event == HPT__XML_END) return HPT_OK;
        if (event == HPT__XML_CLOSE && x.depth == 1 && !strcmp(x.tag, "object")) {
            if (current < 0) return hpt__fail(HPT_ERR_FORMAT, "%.700s: an object of an unknown class", path);
            if (!difficult) label[current] = 1;
            current = -1;
            difficult = 0;
        }
        if (event != HPT__XML_OPEN || x.depth != 3 || strcmp(x.name[1], "object")) continue;
        if (!strcmp(x.tag, "difficult")) difficult = x.len == 1 && *x.text == '1';
        for (int k = 0; k < 20 && !strcmp(x.tag, "name"); k++)
            if (strlen(hpt__voc_names[k]) == x.len && !memcmp(hpt__voc_names[k], x.text, x.len)) current = k;
    }
}
static hpt_status read_voc(const char *root, const char *year, const char *part, hpt__collection *c) {
    char path[4200], file[4200], base[4096];
    uint8_t label[20];
    hpt__bytes f, xml;
    snprintf(base, sizeof base, "%.4000s/VOCdevkit/VOC%s", root, year);
    if (!is_there(base)) snprintf(base, sizeof base, "%.4000s/VOC%s", root, year);
    snprintf(path, sizeof path, "%s/ImageSets/Main/%s.txt", base, part);
    HPT_TRY(hpt__file_read(path, 1 << 26, &f));
    f.p[f.n] = 0;
    hpt_status st = strlen((char *)f.p) == f.n ? HPT_OK : hpt__fail(HPT_ERR_FORMAT, "%.700s: a zero byte", path);
    while (!st && c->classes < 20) st = hpt__collect_class(c, hpt__voc_names[c->classes]);
    for (char *p = (char *)f.p; *p && !st;) {
        size_t n = strcspn(p, " \t\r\n"), gap = strspn(p + n, " \t\r\n");
        if (n > 0 && n < 64) {
            snprintf(file, sizeof file, "%s/Annotations/%.*s.xml", base, (int)n, p);
            st = hpt__file_read(file, 1 << 24, &xml);
            if (!st) {
                xml.p[xml.n] = 0;
                st = strlen((char *)xml.p) == xml.n ? voc_labels((char *)xml.p, file, label)
                    : hpt__fail(HPT_ERR_FORMAT, "%.700s: a zero byte", file);
                hpt__free(xml.p);
            }
            snprintf(file, sizeof file, "%s/JPEGImages/%.*s.jpg", base, (int)n, p);
            if (!st)
                st = is_there(file) ? hpt__collect(c, hpt__strdup(file), -1, label, 0)
                    : hpt__fail(HPT_ERR_IO, "%.400s names %.500s: no such file", path, file);
        } else if (n) st = hpt__fail(HPT_ERR_FORMAT, "%.700s: a name of %zu characters", path, n);
        p += n + gap;
    }
    hpt__free(f.p);
    return st;
}

/* ---- Oxford Flowers: numbers of images from 1, labels from 1 ---- */

static hpt_status read_flowers(const char *root, const char *which, hpt__collection *c) {
    char path[4200], name[16];
    double *label = NULL, *id = NULL;
    uint64_t labels, ids;
    snprintf(path, sizeof path, "%s/imagelabels.mat", root);
    hpt_status st = hpt__mat_read(path, "labels", &label, &labels);
    snprintf(path, sizeof path, "%s/setid.mat", root);
    if (!st) st = hpt__mat_read(path, which, &id, &ids);
    for (int k = 1; k <= 102 && !st; k++) {
        snprintf(name, sizeof name, "%d", k);
        st = hpt__collect_class(c, name);
    }
    for (uint64_t i = 0; !st && i < ids; i++) {
        char image[4200];
        if (!(id[i] >= 1 && id[i] <= (double)labels) ||
            !(label[(uint64_t)id[i] - 1] >= 1 && label[(uint64_t)id[i] - 1] <= 102)) {
            st = hpt__fail(HPT_ERR_FORMAT, "%.700s: entry %llu of %s is out of range", path, (unsigned long long)i,
                           which);
            break;
        }
        snprintf(image, sizeof image, "%s/jpg/image_%05u.jpg", root, (unsigned)id[i]);
        st = is_there(image) ? hpt__collect(c, hpt__strdup(image), (int32_t)label[(uint64_t)id[i] - 1] - 1, NULL, 0)
            : hpt__fail(HPT_ERR_IO, "%.400s names %.500s: no such file", path, image);
    }
    hpt__free(label);
    hpt__free(id);
    return st;
}

hpt_status hpt__read_part(const hpt__known *k, const hpt__options *o, const char *root, int part, hpt__collection *c) {
    static const char *const names[3] = {"train", "val", "test"};
    char list[4200];
    snprintf(list, sizeof list, "%s/meta/train.txt", root);
    /* the paper's lists, or one's own */
    if (k->reader != HPT__READ_OWN && (k->reader == HPT__READ_LISTS || is_there(list))) {
        snprintf(list, sizeof list, "meta/%s.txt", names[part]);
        return read_list(o, root, list, c);
    }
    switch (k->reader) {
    case HPT__READ_DOMAIN:
        snprintf(list, sizeof list, "%s_%s.txt", k->info.name, names[part]);
        if (part == 1) return HPT_OK;
        HPT_TRY(read_list(o, root, list, c));
        return name_classes(c, k->info.classes);
    case HPT__READ_FOLDERS: return part ? HPT_OK : read_folders(root, c);
    case HPT__READ_KIDS: return part == 1 ? HPT_OK : read_kids(root, names[part], c);
    case HPT__READ_CHEXPERT: return part == 1 ? HPT_OK : read_chexpert(root, part ? "valid.csv" : "train.csv", c);
    case HPT__READ_COCO: return part == 2 ? HPT_OK : read_coco(root, part ? "val2014" : "train2014", c);
    case HPT__READ_BDD: return part == 1 ? HPT_OK : read_bdd(root, part ? "val" : "train", c);
    case HPT__READ_VOC:
        if (part == 1) return HPT_OK;
        if (part == 2) return read_voc(root, "2007", "test", c);
        HPT_TRY(read_voc(root, "2007", "trainval", c));
        return read_voc(root, "2012", "trainval", c);
    case HPT__READ_FLOWERS: return read_flowers(root, part == 0 ? "trnid" : part == 1 ? "valid" : "tstid", c);
    default: break;
    }
    /* a descriptor file: list, folder, IDX or npz are opened as they are, by known.c */
    return HPT_OK;
}

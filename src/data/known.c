/* SPDX-License-Identifier: MIT
 * The table of known data sets (known.def), sets of one's own from a descriptor file, and how a split is put
 * together from what the readers (annotations.c, folders.c, list.c) give. */
#include "data/known.h"
#include "core/alloc.h"
#include "core/number.h"
#include "data/classes.h"
#include "io/file.h"
#include "io/ini.h"
#include <string.h>
#include <sys/stat.h>

#define SET(name, title, reader, classes, several, train, val, test, exact, m0, m1, m2, s0, s1, s2, split, layout, \
            remarks) \
    {{sizeof(hpt_set_info), classes, several, 0, {train, val, test}, {m0##f, m1##f, m2##f}, {s0##f, s1##f, s2##f}, \
      name, title, split, layout, remarks}, HPT__READ_##reader, exact},
static const struct { hpt_set_info info; hpt__reader reader; int exact; } table[] = {
#include "data/known.def"
};
enum { SETS = sizeof table / sizeof *table };

hpt_status hpt__known_index(uint32_t i, hpt__known *out) {
    if (i >= SETS) return HPT_END;
    memset(out, 0, sizeof *out);
    out->info = table[i].info;
    out->reader = table[i].reader;
    out->exact = table[i].exact;
    return HPT_OK;
}

/* ---- descriptor files: [dataset] name, classes, labels, root, train, val, test, ... ---- */

/* Copies a value that must fit. */
static hpt_status take(char *to, size_t size, const char *value) {
    size_t n = strlen(value);
    if (n >= size) return hpt__fail(HPT_ERR_FORMAT, "'%.60s...' is longer than %zu characters", value, size - 1);
    memcpy(to, value, n + 1);
    return HPT_OK;
}
/* Three numbers of a range, which no NaN is in. */
static int three(const char *value, double lo, double hi, double v[3]) {
    if (hpt__number_list(value, v, 3) != 3) return 0;
    for (int i = 0; i < 3; i++)
        if (!(v[i] >= lo && v[i] <= hi)) return 0;
    return 1;
}
static hpt_status own_line(hpt__known *k, const char *key, const char *value) {
    double v[3];
    static const char *const files[] = {"train", "val", "test"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(key, files[i])) return take(k->file[i], sizeof k->file[i], value);
    if (!strcmp(key, "name")) return take(k->info.name, sizeof k->info.name, value);
    if (!strcmp(key, "title")) return take(k->info.title, sizeof k->info.title, value);
    if (!strcmp(key, "root")) return take(k->root, sizeof k->root, value);
    if (!strcmp(key, "label_map")) return take(k->label_map, sizeof k->label_map, value);
    if (!strcmp(key, "label_column")) return take(k->label_column, sizeof k->label_column, value);
    if (!strcmp(key, "labels") && (!strcmp(value, "one") || !strcmp(value, "several"))) k->info.several = *value == 's';
    else if (!strcmp(key, "classes") && hpt__number_parse(value, v) && v[0] >= 1 && v[0] <= 1e6)
        k->info.classes = (uint32_t)v[0];
    else if (!strcmp(key, "images") && three(value, 0, 1e12, v))
        for (int i = 0; i < 3; i++) k->info.images[i] = (uint64_t)v[i];
    else if (!strcmp(key, "mean") && three(value, 0, 1, v)) for (int i = 0; i < 3; i++) k->info.mean[i] = (float)v[i];
    else if (!strcmp(key, "std") && three(value, 1e-6, 1, v)) for (int i = 0; i < 3; i++) k->info.std[i] = (float)v[i];
    else
        return hpt__fail(HPT_ERR_FORMAT,
                         "'%.40s = %.60s': the keys are name, title, root, train, val, test (folders or lists), "
                         "classes (1..1000000), labels (one, several), label_map, label_column, images (three "
                         "numbers), mean, std (three numbers up to 1, std above 0)", key, value);
    return HPT_OK;
}
typedef struct own { hpt__known *k; const char *path; } own;
static hpt_status own_text(void *user, const hpt__ini_line *l) {
    own *w = user;
    hpt_status st = HPT_OK;
    if (!l->section) st = hpt__fail(HPT_ERR_FORMAT, "'%.40s = %.60s' stands before [dataset]", l->key, l->value);
    else if (strcmp(l->section, "dataset"))
        st = hpt__fail(HPT_ERR_FORMAT, "a section [%.40s]; only [dataset] is known", l->section);
    else if (l->key) st = own_line(w->k, l->key, l->value);
    return st ? hpt__fail_context(st, "%.400s, line %d", w->path, l->line) : HPT_OK;
}
static hpt_status own_set(const char *path, hpt__known *out) {
    hpt__bytes f;
    own w = {out, path};
    memset(out, 0, sizeof *out);
    out->reader = HPT__READ_OWN;
    out->exact = 1;
    out->info.struct_size = sizeof out->info;
    HPT_TRY(hpt__file_read(path, 1 << 20, &f));
    hpt_status st = hpt__ini_read((char *)f.p, f.n, path, own_text, &w);
    hpt__free(f.p);
    if (st) return st;
    if (!*out->file[0]) return hpt__fail(HPT_ERR_FORMAT, "%.600s: a line 'train = ...' is missing", path);
    if (!*out->root) {          /* beside the file */
        const char *slash = strrchr(path, '/');
        if (slash && (size_t)(slash - path) >= sizeof out->root)
            return hpt__fail(HPT_ERR_ARGUMENT, "the path is too long");
        snprintf(out->root, sizeof out->root, "%.*s", slash > path ? (int)(slash - path) : 1, slash ? path : ".");
    }
    return HPT_OK;
}

hpt_status hpt__known_find(const char *name, hpt__known *out) {
    size_t n = strlen(name);
    for (int i = 0; i < SETS; i++)
        if (!strcmp(table[i].info.name, name)) return hpt__known_index((uint32_t)i, out);
    if (n > 4 && !strcmp(name + n - 4, ".ini")) return own_set(name, out);
    char all[400] = "";
    for (int i = 0; i < SETS; i++) snprintf(all + strlen(all), sizeof all - strlen(all), " %s", table[i].info.name);
    return hpt__fail(HPT_ERR_ARGUMENT, "no data set is called '%.60s'; there are%s, and descriptor files (*.ini)",
                     name, all);
}

/* ---- splits ---- */

/* Keeps the entries whose place in a seeded order of objects lies in [from, to) of the whole. */
static hpt_status keep_share(const hpt__options *o, hpt__collection *c, uint64_t seed, double from, double to) {
    uint64_t *object, kept = 0;
    hpt__draw d;
    hpt__rng r;
    hpt__rng_init(&r, seed, HPT__RNG_SPLIT, 1, 0);
    HPT_TRY(hpt__collection_objects(o, c, &object));
    hpt_status st = hpt__draw_objects(object, c->n, &r, &d);
    hpt__free(object);
    if (st) return st;
    uint64_t lo = (uint64_t)(from * (double)d.n + 0.5), hi = (uint64_t)(to * (double)d.n + 0.5);
    uint8_t *flag = hpt__calloc((size_t)c->n + 1, 1);
    if (!flag) st = hpt__fail_memory((size_t)c->n);
    for (uint64_t i = d.start[lo]; i < d.start[hi] && !st; i++) flag[d.image[i]] = 1;
    for (uint64_t i = 0; i < c->n && !st; i++) {        /* in the order of collecting */
        if (flag[i]) {
            c->f[kept++] = c->f[i];
            continue;
        }
        hpt__free(c->f[i].path);
        hpt__free(c->f[i].object);
    }
    if (!st) c->n = kept;
    hpt__free(flag);
    hpt__draw_free(&d);
    return st;
}

/* A descriptor file's own part: a folder or a list. */
static hpt_status own_part(const hpt__known *k, const hpt__options *o, const char *root, int part, hpt__collection *c) {
    char path[8200];
    struct stat s;
    hpt__options opt;
    if (!*k->file[part]) return HPT_OK;
    if (k->file[part][0] == '/') snprintf(path, sizeof path, "%s", k->file[part]);
    else snprintf(path, sizeof path, "%s/%s", root, k->file[part]);
    if (stat(path, &s)) return hpt__fail(HPT_ERR_IO, "%.800s: no such file or folder", path);
    if (S_ISDIR(s.st_mode)) return hpt__collect_folder(c, path);
    HPT_TRY(hpt__options_copy(&opt, o));
    hpt_status st = *k->label_map ? hpt__options_set(&opt, "label_map", k->label_map) : HPT_OK;
    if (!st && *k->label_column) st = hpt__options_set(&opt, "label_column", k->label_column);
    if (!st) st = hpt__options_set(&opt, "list_root", root);
    if (!st) st = hpt__collect_list(c, &opt, path);
    hpt__options_fini(&opt);
    return st;
}
static hpt_status read_part(const hpt__known *k, const hpt__options *o, const char *root, int part,
                            hpt__collection *c) {
    return k->reader == HPT__READ_OWN ? own_part(k, o, root, part, c) : hpt__read_part(k, o, root, part, c);
}
/* Appends val to train; its classes are train's of the same name. */
static hpt_status append(hpt__collection *a, hpt__collection *b) {
    hpt__class_names into = {a->cls, a->classes}, from = {b->cls, b->classes};
    hpt__class_rule rule;
    int32_t *to;
    char text[900];
    if (!b->n) return HPT_OK;
    if (!a->n) {
        hpt__collection t = *a;
        *a = *b;
        *b = t;
        return HPT_OK;
    }
    HPT_TRY(hpt__classes_match(into, from, &rule, &to));
    hpt_status st = HPT_OK;
    uint8_t *row = hpt__calloc(a->classes + 1ull, 1);
    if (!row) st = hpt__fail_memory(a->classes);
    else if (!a->multi != !b->multi || (!to && a->multi && a->classes != b->classes))
        st = hpt__fail(HPT_ERR_FORMAT, "train has %u classes, val has %u", a->classes, b->classes);
    for (uint64_t i = 0; i < b->n && !st; i++) {
        hpt__entry *e = &b->f[i];
        const uint8_t *values = b->multi ? b->multi + (uint64_t)e->row * b->classes : NULL;
        int32_t label = e->label >= 0 && to ? to[e->label] : e->label, missing = e->label >= 0 &&
            (label < 0 || (into.name && (uint32_t)label >= into.n)) ? e->label : -1;
        memset(row, 0, a->classes);
        for (uint32_t c = 0; values && c < b->classes; c++) {
            int32_t at = to ? to[c] : (int32_t)c;
            if (values[c] && at < 0) missing = (int32_t)c;
            else if (at >= 0) row[at] = values[c];
        }
        if (missing >= 0) {
            hpt__classes_missing(into, from, (uint32_t)missing, "train's", e->path, text, sizeof text);
            st = hpt__fail(HPT_ERR_FORMAT, "val: %s", text);
            break;
        }
        /* numbers alone: val may have more of them */
        if (!values && label >= (int32_t)a->classes) a->classes = (uint32_t)label + 1;
        st = hpt__collect(a, e->path, label, values ? row : NULL, e->line);
        if (!st) a->f[a->n - 1].object = e->object, e->object = NULL;
        e->path = NULL;
    }
    hpt__free(row);
    hpt__free(to);
    hpt__free(a->list);         /* lines of two lists */
    a->list = NULL;
    return st;
}

static hpt_status collect_split(const hpt__known *k, const hpt__options *o, const char *root, int part,
                                hpt__collection *c) {
    uint64_t seed = (uint64_t)OPT_I(o, data_seed);
    char meta[4200];
    struct stat s;
    snprintf(meta, sizeof meta, "%s/meta/train.txt", root);
    int given = k->reader == HPT__READ_LISTS || k->reader == HPT__READ_FLOWERS ||
        (k->reader == HPT__READ_OWN && *k->file[1]) || (k->reader != HPT__READ_OWN && !stat(meta, &s));
    if (given) return read_part(k, o, root, part, c);
    if (k->reader == HPT__READ_FOLDERS) {       /* 60:20:20 of one folder */
        static const double cut[4] = {0, 0.6, 0.8, 1};
        HPT_TRY(read_part(k, o, root, 0, c));
        return keep_share(o, c, seed, cut[part], cut[part + 1]);
    }
    if (k->reader == HPT__READ_COCO) {          /* official val halved */
        HPT_TRY(read_part(k, o, root, part ? 1 : 0, c));
        return part ? keep_share(o, c, seed, part == 1 ? 0 : 0.5, part == 1 ? 0.5 : 1) : HPT_OK;
    }
    if (part == 2) return read_part(k, o, root, 2, c);
    double val = k->reader == HPT__READ_BDD ? 1.0 / 7 : 0.2;
    HPT_TRY(read_part(k, o, root, 0, c));
    return part ? keep_share(o, c, seed, 0, val) : keep_share(o, c, seed, val, 1);
}

/* A download is never looked for in the current folder: that walks whatever stands there. */
hpt_status hpt__known_root(const hpt__known *k, const char *root, const char **at) {
    *at = root && *root ? root : k->root;
    return **at ? HPT_OK : hpt__fail(HPT_ERR_ARGUMENT, "%s: the folder of its download (root) is needed", k->info.name);
}
hpt_status hpt__known_open(const hpt__known *k, const hpt__options *o, const char *root, const char *split,
                           hpt__source **out) {
    hpt__collection c = {0}, more = {0};
    const char *at = root && *root ? root : k->root;
    hpt_status st = HPT_OK;
    *out = NULL;
    if (!*at) return hpt__fail(HPT_ERR_ARGUMENT, "%s: the folder of its download (root) is needed", k->info.name);
    if (k->reader == HPT__READ_ADAPTATION) st = hpt__read_adaptation(k, o, at, split, &c);
    else if (!strcmp(split, "train") || !strcmp(split, "train+val")) st = collect_split(k, o, at, 0, &c);
    else if (!strcmp(split, "val")) st = collect_split(k, o, at, 1, &c);
    else if (!strcmp(split, "test")) st = collect_split(k, o, at, 2, &c);
    else return hpt__fail(HPT_ERR_ARGUMENT, "split '%.40s' is none of train, val, test, train+val", split);
    if (!st && k->reader != HPT__READ_ADAPTATION && !strcmp(split, "train+val")) {
        st = collect_split(k, o, at, 1, &more);
        if (!st) st = append(&c, &more);
        if (!st) st = hpt__collection_take_notes(&c, &more);
    }
    if (!st && !c.n) st = hpt__fail(HPT_ERR_FORMAT, "%s has no %s images in %.600s", k->info.name, split, at);
    if (!st && k->info.classes && c.classes > k->info.classes)
        st = hpt__fail(HPT_ERR_FORMAT, "%s, %s: a label up to %u, the set has %u classes", k->info.name, split,
                       c.classes - 1, k->info.classes);
    /* a list need not name the last class */
    if (!st && k->info.classes && !c.multi && !c.cls) c.classes = k->info.classes;
    if (!st) st = hpt__collection_source(o, &c, out);
    if (!st && k->info.std[0] > 0) {
        (*out)->given_stats = 1;
        memcpy((*out)->mean, k->info.mean, sizeof k->info.mean);
        memcpy((*out)->std, k->info.std, sizeof k->info.std);
    }
    hpt__collection_fini(&c);
    hpt__collection_fini(&more);
    return st;
}

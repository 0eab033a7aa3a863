/* SPDX-License-Identifier: MIT
 * Images of a folder and what lies below it. Every real file is taken once in a class, a link that leads up is not
 * followed, and whatever is left out is counted and said in notes. Nothing is left out because a call failed. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "core/progress.h"
#include "data/collection.h"
#include "io/file.h"
#include "io/folder.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FOLDERS = 10000000, KINDS = 24 };

/* a folder, and the one it was met in */
typedef struct place { uint64_t dev, ino; int64_t parent; } place;
typedef struct todo { char *path; int64_t parent; uint64_t dev, ino; int link; } todo;  /* a folder to read */
typedef struct todo_list { todo *t; size_t n, cap; } todo_list;
/* how many, and the first of them */
typedef struct counted { uint64_t n; char first[512]; } counted;

typedef struct folder_walk {
    hpt__collection *c;
    const char *root;
    place *p;                   /* all folders met: those above the root, the root, then those of the present class */
    size_t n, cap, fixed;
    uint64_t *slot;             /* hash of p: index + 1 */
    size_t slots;
    todo_list real, links, more;
    uint64_t folders, with_images;          /* with_images: folders of the present class that hold some */
    int at_top;                             /* its first folder does */
    /* files that look like images and are not read, by extension; last: others */
    uint64_t kind[KINDS + 1];
    char extension[KINDS][12];
    int kinds;
    counted unread, nowhere, up, again, kernel, twice, two_classes;
} folder_walk;

static void count(counted *c, const char *path) {
    if (!c->n++) snprintf(c->first, sizeof c->first, "%.500s", path);
}

/* ---- folders met ---- */

static size_t slot_of(const folder_walk *w, uint64_t dev, uint64_t ino) {
    size_t at = (size_t)((ino ^ dev << 40 ^ dev >> 24) * 0x9e3779b97f4a7c15ull >> 20) & (w->slots - 1);
    while (w->slot[at] && (w->p[w->slot[at] - 1].dev != dev || w->p[w->slot[at] - 1].ino != ino))
        at = (at + 1) & (w->slots - 1);
    return at;
}
static int64_t find(const folder_walk *w, uint64_t dev, uint64_t ino) {
    return w->slots ? (int64_t)w->slot[slot_of(w, dev, ino)] - 1 : -1;
}
static hpt_status rehash(folder_walk *w, size_t slots) {
    uint64_t *fresh = hpt__calloc(slots, sizeof *fresh);
    if (!fresh) return hpt__fail_memory(slots * sizeof *fresh);
    hpt__free(w->slot);
    w->slot = fresh;
    w->slots = slots;
    for (size_t i = 0; i < w->n; i++) w->slot[slot_of(w, w->p[i].dev, w->p[i].ino)] = i + 1;
    return HPT_OK;
}
static hpt_status remember(folder_walk *w, uint64_t dev, uint64_t ino, int64_t parent) {
    if (w->n == w->cap) {
        size_t cap = 2 * w->cap + 64;
        place *p = hpt__realloc(w->p, sizeof *p * cap);
        if (!p) return hpt__fail_memory(sizeof *p * cap);
        w->p = p;
        w->cap = cap;
    }
    if (2 * (w->n + 1) > w->slots) HPT_TRY(rehash(w, w->slots ? 2 * w->slots : 256));
    w->p[w->n++] = (place){dev, ino, parent};
    w->slot[slot_of(w, dev, ino)] = w->n;
    return HPT_OK;
}
/* The folders above the root, as far up as they may be looked at; a link below that leads to one of them would never
 * end. */
static hpt_status remember_above(folder_walk *w, const char *root) {
    char *up = hpt__strdup(root);
    uint64_t dev = 0, ino = 0;
    hpt_status st = up ? HPT_OK : hpt__fail_memory(64);
    for (int i = 0; i < 4096 && !st; i++) {
        struct stat s;
        if (stat(up, &s)) {
            if (i == 0)
                st = hpt__fail(HPT_ERR_IO, "%.800s: %s", root, errno == ENOENT ? "no such folder" : "cannot be read");
            break;
        }
        if (i && (uint64_t)s.st_dev == dev && (uint64_t)s.st_ino == ino) break;
        dev = (uint64_t)s.st_dev;
        ino = (uint64_t)s.st_ino;
        if (i) st = remember(w, dev, ino, -1);
        char *next = st ? NULL : hpt__path_join(up, "..");
        if (!st && !next) st = hpt__fail_memory(64);
        hpt__free(up);
        up = next;
    }
    hpt__free(up);
    w->fixed = w->n;
    return st;
}
/* Whether a folder is above another. Those above the root, and the root of class folders, are above everything. */
static int is_above(const folder_walk *w, int64_t target, int64_t from) {
    if ((size_t)target < w->fixed) return 1;
    while (from >= 0 && from != target) from = w->p[from].parent;
    return from == target;
}

/* ---- one class ---- */

static hpt_status push(todo_list *l, char *path, const todo *t) {
    if (l->n == l->cap) {
        size_t cap = 2 * l->cap + 16;
        todo *more = hpt__realloc(l->t, sizeof *more * cap);
        if (!more) {
            hpt__free(path);
            return hpt__fail_memory(sizeof *more * cap);
        }
        l->t = more;
        l->cap = cap;
    }
    l->t[l->n] = *t;
    l->t[l->n++].path = path;
    return HPT_OK;
}
static int by_path(const void *a, const void *b) { return strcmp(((const todo *)a)->path, ((const todo *)b)->path); }

/* What systems leave in folders that are not the user's images: archives of macOS, thumbnails of a NAS, bins. */
static int of_a_system(const char *name) {
    static const char *const names[] = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information",
                                        "lost+found", "Thumbs.db", "ehthumbs.db", "desktop.ini"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i])) return 1;
    return 0;
}
static void unread(folder_walk *w, const char *path, const char *extension) {
    int k = 0;
    while (k < w->kinds && strcmp(w->extension[k], extension)) k++;
    if (k == w->kinds && k < KINDS) snprintf(w->extension[w->kinds++], sizeof w->extension[0], "%.11s", extension);
    w->kind[k]++;
    count(&w->unread, path);
}
/* Takes over path. A name without an extension is an image if its first bytes say so. */
static hpt_status take(folder_walk *w, char *path, const hpt__folder_entry *e, int32_t label) {
    const char *extension;
    int image = hpt__image_name(path);
    if (e->kind != HPT__FOLDER_FILE) {
        if (e->kind == HPT__FOLDER_NOWHERE) count(&w->nowhere, path);
        else if (image) unread(w, path, "(no file)");
    } else if (!image && (extension = hpt__image_unread(path))) unread(w, path, extension);
    else if (!image && hpt__image_no_extension(path)) {
        uint8_t head[HPT__IMAGE_HEAD];
        size_t got = 0;
        int fd;
        hpt_status st = hpt__file_open(path, &fd, NULL);
        if (!st) {
            st = hpt__file_take(fd, path, head, sizeof head, &got);
            close(fd);
        }
        if (st) unread(w, path, "(unreadable)");
        else image = hpt__image_kind_of(head, got) != HPT__IMAGE_OTHER;
    }
    if (e->kind == HPT__FOLDER_FILE && image) {
        HPT_TRY(hpt__collect(w->c, path, label, NULL, 0));
        w->c->f[w->c->n - 1].ino = e->ino;
        w->c->f[w->c->n - 1].link = e->link != 0;
        return HPT_OK;
    }
    hpt__free(path);
    return HPT_OK;
}
/* One folder: images are taken, sub-folders noted for later; links to folders wait until all real ones are read. */
static hpt_status read_one(folder_walk *w, const todo *t, int32_t label) {
    hpt__folder f;
    int64_t known = t->link ? find(w, t->dev, t->ino) : -1;
    uint64_t before = w->c->n;
    if (known >= 0) {
        count(is_above(w, known, t->parent) ? &w->up : &w->again, t->path);
        return HPT_OK;
    }
    if (++w->folders > MAX_FOLDERS)
        return hpt__fail(HPT_ERR_FORMAT, "%.800s: more than %d folders", w->root, MAX_FOLDERS);
    HPT_TRY(hpt__span_tick(0));
    HPT_TRY(hpt__folder_read(t->path, &f));
    known = find(w, f.dev, f.ino);
    hpt_status st = HPT_OK;
    if (known >= 0) count(is_above(w, known, t->parent) ? &w->up : &w->again, t->path);
    else if (f.kernel) count(&w->kernel, t->path);
    else st = remember(w, f.dev, f.ino, t->parent);
    int64_t self = (int64_t)w->n - 1;
    for (size_t i = 0; i < f.n && !st && known < 0 && !f.kernel; i++) {
        const hpt__folder_entry *e = &f.e[i];
        if (of_a_system(e->name)) continue;
        char *path = hpt__path_join(t->path, e->name);
        if (!path) st = hpt__fail_memory(256);
        else if (e->kind == HPT__FOLDER_FOLDER)
            st = push(e->link ? &w->more : &w->real, path, &(todo){NULL, self, e->dev, e->ino, e->link});
        else st = take(w, path, e, label);
    }
    hpt__folder_free(&f);
    w->with_images += w->c->n > before;
    if (t->parent == (int64_t)w->fixed - 1) w->at_top = w->c->n > before;
    return st;
}
/* A folder and all below it. Links are followed in rounds, in the order of their paths, so that the names of files
 * do not depend on the order in which a file system lists them. */
static hpt_status read_tree(folder_walk *w, const char *path, const hpt__folder_entry *e, int32_t label) {
    char *copy = hpt__strdup(path);
    hpt_status st = copy ? HPT_OK : hpt__fail_memory(64);
    if (!st && (w->n > w->fixed || !w->slots)) {        /* the class before is forgotten */
        size_t slots = 256;
        w->n = w->fixed;
        while (slots < 4 * w->n) slots *= 2;
        st = rehash(w, slots);
    }
    w->with_images = 0;
    if (!st)
        st = push(&w->real, copy, &(todo){NULL, (int64_t)w->fixed - 1, e ? e->dev : 0, e ? e->ino : 0, e && e->link});
    else hpt__free(copy);
    while (!st && (w->real.n || w->links.n || w->more.n)) {
        if (!w->real.n && !w->links.n) {
            todo_list l = w->links;
            w->links = w->more;
            w->more = l;
            qsort(w->links.t, w->links.n, sizeof *w->links.t, by_path);
            for (size_t i = 0, j = w->links.n - 1; i < j; i++, j--) {       /* the first is popped first */
                todo t = w->links.t[i];
                w->links.t[i] = w->links.t[j];
                w->links.t[j] = t;
            }
        }
        todo_list *l = w->real.n ? &w->real : &w->links;
        todo t = l->t[--l->n];
        st = read_one(w, &t, label);
        hpt__free(t.path);
    }
    return st;
}

/* ---- files that are met twice ---- */

static int by_file(const void *a, const void *b) {
    const hpt__entry *x = a, *y = b;
    if (x->ino != y->ino) return x->ino < y->ino ? -1 : 1;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return x->link != y->link ? x->link - y->link : strcmp(x->path, y->path);
}
/* Of several names of one file in a class the first is kept, real names before links. Numbers of files come from the
 * folders, cheaply, and are those of one file system: before anything is dropped the files are asked. */
static hpt_status once(folder_walk *w, uint64_t from) {
    hpt__entry *f = w->c->f + from;
    uint64_t n = w->c->n - from, kept = 0;
    hpt_status st = HPT_OK;
    if (n) qsort(f, (size_t)n, sizeof *f, by_file);
    for (uint64_t i = 0; i < n; i++) {
        struct stat a, b;
        int same = 0;
        for (uint64_t k = kept; k-- > 0 && f[k].ino == f[i].ino && !same && !st;) {
            if (stat(f[k].path, &a) || stat(f[i].path, &b))
                st = hpt__fail(HPT_ERR_IO, "%.800s: changed while the folder was read", f[i].path);
            else if (a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
                same = f[k].label == f[i].label;
                if (!same) count(&w->two_classes, f[i].path);
                if (!same) break;
            }
        }
        if (same) {
            count(&w->twice, f[i].path);
            hpt__free(f[i].path);
        } else f[kept++] = f[i];
    }
    w->c->n = from + kept;
    return st;
}

/* ---- what was left out, in words ---- */

static hpt_status say(folder_walk *w, const counted *c, int level, const char *one, const char *many) {
    if (!c->n) return HPT_OK;
    return hpt__collection_note(w->c, level, "%.400s: %llu %s, first %.400s", w->root, (unsigned long long)c->n,
                                c->n == 1 ? one : many, c->first);
}
/* ".gif 38, .heic 2" */
static void kinds_text(const folder_walk *w, char *text, size_t size) {
    *text = 0;
    for (int k = 0; k <= w->kinds; k++) {
        const char *e = k == w->kinds ? "other" : w->extension[k];
        size_t n = strlen(text);
        if (w->kind[k])
            snprintf(text + n, size - n, "%s%s%s %llu", n ? ", " : "", *e == '(' || k == w->kinds ? "" : ".", e,
                     (unsigned long long)w->kind[k]);
    }
}
static hpt_status unread_note(folder_walk *w) {
    char text[KINDS * 36];
    if (!w->unread.n) return HPT_OK;
    w->c->skipped += w->unread.n;
    kinds_text(w, text, sizeof text);
    return hpt__collection_note(w->c, 1, "%.300s: %llu file%s of a kind that is not read: %.200s; first %.400s",
                                w->root, (unsigned long long)w->unread.n, w->unread.n == 1 ? "" : "s", text,
                                w->unread.first);
}
static hpt_status say_all(folder_walk *w) {
    HPT_TRY(unread_note(w));
    HPT_TRY(say(w, &w->nowhere, 1, "link leads nowhere and is left out", "links lead nowhere and are left out"));
    HPT_TRY(say(w, &w->up, 1, "link leads up to a folder that it is in and is not followed",
                "links lead up to folders that they are in and are not followed"));
    HPT_TRY(say(w, &w->again, 0, "link leads to a folder that is read already; it is taken once",
                "links lead to folders that are read already; they are taken once"));
    HPT_TRY(say(w, &w->kernel, 0, "folder of the kernel's is left out", "folders of the kernel's are left out"));
    HPT_TRY(say(w, &w->twice, 0, "name is another of a file of its class; the file is taken once",
                "names are others of files of their class; each file is taken once"));
    return say(w, &w->two_classes, 1, "file is in two classes", "files are in two classes");
}
static void close_walk(folder_walk *w) {
    todo_list *l[] = {&w->real, &w->links, &w->more};
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < l[i]->n; k++) hpt__free(l[i]->t[k].path);
        hpt__free(l[i]->t);
    }
    hpt__free(w->p);
    hpt__free(w->slot);
    hpt__free(w);
}
static hpt_status open_walk(hpt__collection *c, const char *root, folder_walk **out) {
    folder_walk *w = *out = hpt__calloc(1, sizeof *w);
    if (!w) return hpt__fail_memory(sizeof *w);
    w->c = c;
    w->root = root;
    hpt_status st = remember_above(w, root);
    if (st) {
        close_walk(w);
        *out = NULL;
    }
    return st;
}

hpt_status hpt__collect_tree(hpt__collection *c, const char *dir, int32_t label) {
    folder_walk *w;
    uint64_t from = c->n;
    HPT_TRY(open_walk(c, dir, &w));
    hpt_status st = read_tree(w, dir, NULL, label);
    if (!st) st = once(w, from);
    if (!st) st = say_all(w);
    close_walk(w);
    return st;
}

/* ---- class folders ---- */

/* Names that parts of a data set have: a folder of nothing else was hardly meant as one of classes. */
static int parts_of_a_set(const hpt__collection *c) {
    static const char *const names[] = {"train", "training", "val", "valid", "validation", "test", "testing", "dev",
                                        "eval"};
    uint32_t found = 0;
    for (uint32_t i = 0; i < c->classes; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) found += !strcasecmp(c->cls[i], names[k]);
    return c->classes && found == c->classes;
}
static hpt_status say_classes(folder_walk *w, uint64_t with_images) {
    hpt__collection *c = w->c;
    char names[420] = "";
    for (uint32_t i = 0; i < c->classes; i++) hpt__append_name(names, sizeof names, i, c->cls[i]);
    HPT_TRY(hpt__collection_note(c, 0, "%u class%s, the folder%s of %.400s: %s", c->classes, c->classes == 1 ? ""
                                 : "es", c->classes == 1 ? "" : "s", w->root, names));
    if (parts_of_a_set(c))
        return hpt__collection_note(c, 1,
                                    "%.400s: its folders (%s) are called like parts of a data set, and are taken for "
                                    "classes; give one of them if their folders are the classes", w->root, names);
    if (c->classes == 1 && with_images > 1 && !w->at_top)
        return hpt__collection_note(c, 1,
                                    "%.400s: its only folder, %s, is the only class; give %s/%s if the folders in it "
                                    "are the classes", w->root, names, w->root, names);
    return HPT_OK;
}

/* Sub-folders that hold images are classes, in name order. Where images stand beside them, or a sub-folder holds
 * only images of kinds that are not read, no class can be trusted: the set has no labels, and says why. */
static hpt_status read_folder(folder_walk *w, const hpt__folder *f) {
    hpt__collection *c = w->c;
    counted loose = {0}, lost = {0}, empty = {0};
    char empties[300] = "";
    uint64_t with_images = 0;
    for (size_t i = 0; i < f->n; i++) {
        const hpt__folder_entry *e = &f->e[i];
        uint64_t images = c->n, unread_before = w->unread.n, up_before = w->up.n;
        if (of_a_system(e->name)) continue;
        char *path = hpt__path_join(w->root, e->name);
        if (!path) return hpt__fail_memory(256);
        if (e->kind != HPT__FOLDER_FOLDER) {
            HPT_TRY(take(w, path, e, -1));
            if (c->n > images) count(&loose, c->f[images].path);
            continue;
        }
        hpt_status st = read_tree(w, path, e, (int32_t)c->classes);
        hpt__free(path);
        HPT_TRY(st);
        with_images += w->with_images;
        if (c->n > images) HPT_TRY(hpt__collect_class(c, e->name));
        else if (w->unread.n > unread_before) count(&lost, e->name);
        else if (w->up.n == up_before) {
            count(&empty, e->name);
            hpt__append_name(empties, sizeof empties, empty.n - 1, e->name);
        }
    }
    if (!c->n) {
        char text[KINDS * 36];
        kinds_text(w, text, sizeof text);
        return hpt__fail(HPT_ERR_FORMAT, "%.500s: no image inside of a kind that is read, by its name%s%.300s",
                         w->root, *text ? "; there are " : "", text);
    }
    if (!c->classes) hpt__collection_why(c, "%.400s has no class folders", w->root);
    else if (loose.n)
        hpt__collection_why(c,
                            "%.200s: images stand beside class folders (first: %.200s); move them into a class folder "
                            "or use a list", w->root, loose.first);
    else if (lost.n)
        hpt__collection_why(c, "%.200s: the class folder %.100s holds only images of a kind that is not read", w->root,
                            lost.first);
    if (*c->why) {
        if (c->classes) HPT_TRY(hpt__collection_note(c, 1, "no labels: %s", c->why));
        for (uint64_t i = 0; i < c->n; i++) c->f[i].label = -1;
        hpt__collection_drop_classes(c);
    } else {
        HPT_TRY(say_classes(w, with_images));
        if (empty.n)
            HPT_TRY(hpt__collection_note(c, 0, "%.400s: %llu folder%s without an image %s no class%s: %s", w->root,
                                         (unsigned long long)empty.n, empty.n == 1 ? "" : "s", empty.n == 1 ? "is"
                                         : "are", empty.n == 1 ? "" : "es", empties));
    }
    HPT_TRY(once(w, 0));
    return say_all(w);
}
hpt_status hpt__collect_folder(hpt__collection *c, const char *path) {
    folder_walk *w;
    hpt__folder f;
    c->base = hpt__collection_base(path);
    HPT_TRY(open_walk(c, path, &w));
    hpt_status st = hpt__folder_read(path, &f);
    if (!st) {
        st = remember(w, f.dev, f.ino, -1);
        w->fixed = w->n;
        if (!st) st = read_folder(w, &f);
        hpt__folder_free(&f);
    }
    close_walk(w);
    if (!st) hpt__collection_sort(c);
    return st;
}

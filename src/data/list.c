/* SPDX-License-Identifier: MIT
 * List files as people have them: "path label" with blanks, tabs, commas or semicolons between, CSV with a heading,
 * words or numbers as labels, one value a class. What a line means is decided by where the name of an image ends,
 * not by the first blank; a line that is not understood is an error that says how to write it. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "core/number.h"
#include "data/collection.h"
#include "io/file.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_CLASSES = 1000000 };
typedef enum label_kind { UNKNOWN, NONE, NUMBER, WORD, SEVERAL } label_kind;
static const char *const how = "; a line is: path, a tab, then a number from 0, a word, or for several labels 0 and 1 "
    "with commas (0,1,0)";
static const char *const how_table = "; below a heading one column is called label, or all but the path hold 0 and 1";

typedef struct list {
    hpt__collection *c;
    const char *path, *map, *root, *label_name;     /* label_name: option label_column; empty: none */
    const char *object_name;    /* the column of option group_by=column:NAME, or NULL */
    uint32_t line;
    int64_t limit;
    int check;
    label_kind kind;            /* of every line; the first that is not a heading decides */
    uint8_t *row;               /* SEVERAL: values of this line */
    char **word;                /* WORD: one for each entry, in the text of the file */
    uint64_t cap_word;
    char separator;             /* of a heading's columns; 0: no heading, or one that is not needed any more */
    /* label_column -1: the columns that take[] marks are values of several labels, or there is none */
    int path_column, label_column, object_column;
    uint32_t columns;
    uint8_t *take;
    int slashes;                /* backslashes of some path were taken for slashes */
} list;

static hpt_status bad_line(const list *l, const char *what, const char *text) {
    return hpt__fail(HPT_ERR_FORMAT, "%.400s, line %u: %s%.60s%s%s", l->path, l->line, what, text, *text ? "'" : "",
                     l->separator ? how_table : how);
}

/* ---- fields ---- */

char *hpt__csv_field(char **p, char separator) {
    char *s = *p, *to, *begin;
    const char stop[3] = {separator, separator == ' ' ? '\t' : 0, 0};
    while (*s == ' ' || (*s == '\t' && separator != '\t')) s++;
    begin = to = s;
    if (*s == '"') {
        for (s++; *s && !(*s == '"' && s[1] != '"'); *to++ = *s++) s += *s == '"';
        if (!*s++) return NULL;
        while (*s && !strchr(stop, *s) && (*s == ' ' || *s == '\t')) s++;
        if (*s && !strchr(stop, *s)) return NULL;
    } else {
        s += strcspn(s, stop);
        for (to = s; to > begin && (to[-1] == ' ' || to[-1] == '\t'); to--) {}
    }
    *p = *s ? s + 1 : NULL;
    if (separator == ' ' && *p && !*(*p + strspn(*p, " \t"))) *p = NULL;
    *to = 0;
    return begin;
}

/* ---- labels ---- */

/* One value of a multi-label list: through option label_map ("1.0=1,-1.0=0,=0": token=value, an empty token too),
 * else 0 or 1. */
static int token_value(const char *map, const char *token, size_t n) {
    while (n && (*token == ' ' || *token == '\t')) token++, n--;
    while (n && (token[n - 1] == ' ' || token[n - 1] == '\t')) n--;
    for (const char *p = map; *p;) {
        size_t len = strcspn(p, ","), eq = strcspn(p, "=");
        if (eq < len && eq == n && !memcmp(p, token, n))
            return len == eq + 2 && (p[eq + 1] == '0' || p[eq + 1] == '1') ? p[eq + 1] - '0' : -1;
        p += len + (p[len] == ',');
    }
    if (n && (token[0] == '0' || token[0] == '1') && (n == 1 || (n == 3 && token[1] == '.' && token[2] == '0')))
        return token[0] - '0';
    return -1;
}
/* What stands between the values of several labels: commas, else semicolons, else tabs, else blanks. 0: there is one
 * value. */
static char between(const char *label) {
    return strchr(label, ',') ? ',' : strchr(label, ';') ? ';' : strchr(label, '\t') ? '\t' : strchr(label, ' ') ? ' '
        : 0;
}
/* The next value of several: its length, and *p moves to the one after, or to NULL. */
static const char *value_of(const char **p, char separator, size_t *n) {
    const char *s = *p, stop[2] = {separator, 0};
    *n = strcspn(s, stop);
    const char *next = s + *n;
    if (*next) next++;
    else next = NULL;
    if (next && separator == ' ') next += strspn(next, " ");
    *p = next;
    return s;
}
static int all_values(const list *l, const char *label, char separator) {
    for (const char *p = label; p;) {
        size_t n;
        const char *v = value_of(&p, separator, &n);
        if (token_value(l->map, v, n) < 0) return 0;
    }
    return 1;
}
static hpt_status values_begin(list *l, uint32_t want) {
    if (l->row && want == l->c->classes) return HPT_OK;
    if (l->row)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: %u values where the lines before have %u", l->path, l->line,
                         want, l->c->classes);
    if (l->limit && want != l->limit)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: %u values, option classes says %lld", l->path, l->line,
                         want, (long long)l->limit);
    if (want > MAX_CLASSES)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: %u values, over %d", l->path, l->line, want, MAX_CLASSES);
    if (!(l->row = hpt__alloc(want))) return hpt__fail_memory(want);
    if (!l->c->cls) l->c->classes = want;
    return HPT_OK;
}
static hpt_status one_value(list *l, uint32_t k, const char *token, size_t n) {
    int v = token_value(l->map, token, n);
    if (v >= 0) {
        l->row[k] = (uint8_t)v;
        return HPT_OK;
    }
    char text[48];
    snprintf(text, sizeof text, "%.*s", (int)(n < 40 ? n : 40), token);
    return bad_line(l, "neither 0, 1 nor a token of option label_map: '", text);
}
/* "0,1,0" -> row; the first line decides how many classes there are. */
static hpt_status several(list *l, const char *label, char separator) {
    uint32_t want = 0, k = 0;
    size_t n;
    for (const char *p = label; p; want++) value_of(&p, separator, &n);
    HPT_TRY(values_begin(l, want));
    for (const char *p = label; p; k++) {
        const char *v = value_of(&p, separator, &n);
        HPT_TRY(one_value(l, k, v, n));
    }
    return HPT_OK;
}
/* A number ("3", or "3.0" as tables write it), or a word. */
static hpt_status single(list *l, char *label, int quoted, int64_t *value) {
    double v;
    int number = !quoted && hpt__number_parse(label, &v);
    if (number && (v < 0 || v > MAX_CLASSES || v != floor(v)))
        return bad_line(l, v < 0 ? "a negative label; images without a label go into a list of their own: '"
                        : "not a label from 0 to 1000000: '", label);
    if (number && l->limit && v >= (double)l->limit)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s, line %u: label %.0f is outside 0..%lld (option classes)", l->path,
                         l->line, v, (long long)l->limit - 1);
    if (!number && strchr(label, ' ') && label[strspn(label, "0123456789. ")] == 0)
        return bad_line(l, "several numbers: '", label);
    if (!number && strchr(label, '|'))
        return bad_line(l, "several words in one label; give one column of 0 and 1 a class: '", label);
    if (l->kind == UNKNOWN) l->kind = number ? NUMBER : WORD;
    if (number && l->kind == WORD) return bad_line(l, "a number where the lines before have words: '", label);
    if (!number && l->kind == NUMBER) return bad_line(l, "a word where the lines before have numbers: '", label);
    if (number) *value = (int64_t)v;
    return HPT_OK;
}

/* ---- one line ---- */

/* Where the last part ends that is called like an image and is followed by a separator or the end; 0: nowhere. */
static size_t image_end(const char *s) {
    size_t end = 0;
    for (const char *dot = s; (dot = strchr(dot, '.')); dot++) {
        char name[12] = "x";            /* "x.png" */
        size_t n = 1;
        while (n < sizeof name - 2 && isalnum((unsigned char)dot[n])) n++;
        if (dot[n] && !strchr(" \t,;", dot[n])) continue;
        memcpy(name + 1, dot, n);
        name[n + 1] = 0;
        if (hpt__image_name(name) || hpt__image_unread(name)) end = (size_t)(dot - s) + n;
    }
    return end;
}
static int is_file(const char *path) {
    struct stat s;
    return !stat(path, &s) && S_ISREG(s.st_mode);
}
static char *whole_path(const list *l, const char *name) {
    return *name == '/' ? hpt__strdup(name) : hpt__path_join(l->root, name);
}
/* Where the path of a line ends whose name has no extension: before a tab; the longest part before a blank or comma
 * that is a file; the first. */
static hpt_status plain_end(const list *l, char *s, size_t *end) {
    size_t n = strlen(s), first = strcspn(s, " ");
    *end = strcspn(s, "\t");
    if (*end < n) return HPT_OK;
    *end = first < n ? first : strcspn(s, ",;");
    for (size_t at = n + 1, tries = 0; l->check && at-- > 0 && tries < 16;) {
        if (at < n && !strchr(" ,;", s[at])) continue;
        char keep = s[at];
        tries++;
        s[at] = 0;
        char *path = whole_path(l, s);
        int there = path && is_file(path);
        hpt__free(path);
        s[at] = keep;
        if (!path) return hpt__fail_memory(n);
        if (there) {
            *end = at;
            break;
        }
    }
    return HPT_OK;
}
/* "path label" -> its two parts, in place. label NULL: none. */
static hpt_status split(const list *l, char *s, char **name, char **label, int *quoted) {
    size_t end;
    *quoted = 0;
    if (*s == '"') {
        char *to = *name = s++;
        for (; *s && !(*s == '"' && s[1] != '"'); *to++ = *s++) s += *s == '"';
        if (!*s) return bad_line(l, "no closing quote", "");
        if (s[1] && !strchr(" \t,;", s[1])) return bad_line(l, "something follows the closing quote: '", s + 1);
        *to = 0;
        s++;
    } else {
        *name = s;
        end = strcspn(s, "\t");
        if (!s[end]) end = image_end(s);
        if (!end) HPT_TRY(plain_end(l, s, &end));
        s += end;
    }
    char *rest = s + strspn(s, " \t");
    /* "path ,1,0": a blank value comes first, where label_map has one */
    if ((*rest == ',' || *rest == ';') && (rest == s || token_value(l->map, "", 0) < 0)) rest++;
    rest += strspn(rest, " \t");
    *s = 0;
    size_t n = strlen(rest);
    if (n > 1 && rest[n - 1] == ',' && !memchr(rest, ',', n - 1)) rest[--n] = 0;
    if (*rest == '"') {
        char *p = rest;
        if (!(rest = hpt__csv_field(&p, ',')) || p)
            return bad_line(l, "something follows the closing quote, or there is none", "");
        *quoted = 1;
    }
    *label = n ? rest : NULL;
    return HPT_OK;
}

/* Takes the file of this line. */
static hpt_status take(list *l, const char *name, int64_t value, char *word) {
    hpt__collection *c = l->c;
    char *path = whole_path(l, name);
    if (path && l->check && !is_file(path)) {
        char *other = strchr(name, '\\') ? hpt__strdup(path) : NULL;
        for (char *p = other; p && *p; p++)
            if (*p == '\\') *p = '/';
        if (other && is_file(other)) {
            hpt__free(path);
            path = other;
            l->slashes = 1;
        } else {
            struct stat s;
            const char *tilde = strncmp(name, "~/", 2) ? "" : " ('~' is not expanded here: write the folder out)";
            const char *what = stat(path, &s) ? "no such file" : "not a regular file";
            hpt_status st = hpt__fail(HPT_ERR_IO, "%.300s, line %u: %.400s: %s%s%s", l->path, l->line, path, what,
                                      tilde, !c->n && !image_end(name)
                                      ? " (if this is a heading, call its columns path and label)" : image_end(name)
                                      ? "" : how);
            hpt__free(other);
            hpt__free(path);
            return st;
        }
    }
    HPT_TRY(hpt__collect(c, path, (int32_t)value, l->kind == SEVERAL ? l->row : NULL, l->line));
    if (l->kind != WORD) return HPT_OK;
    if (c->n > l->cap_word) {
        uint64_t cap = 2 * l->cap_word + 64;
        char **more = hpt__realloc(l->word, sizeof *more * (size_t)cap);
        if (!more) return hpt__fail_memory(sizeof *more * (size_t)cap);
        l->word = more;
        l->cap_word = cap;
    }
    l->word[c->n - 1] = word;
    return HPT_OK;
}
/* A line with this label, or NULL, becomes an entry. */
static hpt_status labelled(list *l, const char *name, char *label, int quoted) {
    int64_t value = -1;
    if (!label || !*label) {
        if (l->kind == UNKNOWN) l->kind = NONE;
        if (l->kind == SEVERAL) return bad_line(l, "no labels where the lines before have several", "");
        if (l->kind != NONE) return bad_line(l, "some lines have a label and some have none", "");
        return take(l, name, -1, NULL);
    }
    if (l->kind == NONE) return bad_line(l, "some lines have a label and some have none", "");
    char separator = quoted ? 0 : between(label);
    int more = l->kind == SEVERAL || separator == ',' || separator == ';' || separator == '\t' ||
        (separator && all_values(l, label, separator));
    if (more) {
        if (l->kind == UNKNOWN) l->kind = SEVERAL;
        if (l->kind != SEVERAL) return bad_line(l, "several labels where the lines before have one: '", label);
        if (!separator) return bad_line(l, "one label where the lines before have several: '", label);
        HPT_TRY(several(l, label, separator));
    } else HPT_TRY(single(l, label, quoted, &value));
    return take(l, name, value, label);
}

/* ---- headings ---- */

/* Lower case, with _ for blank and -. */
static void plain_name(const char *s, char *out, size_t size) {
    size_t n = 0;
    for (; *s && n + 1 < size; s++) out[n++] = *s == ' ' || *s == '-' ? '_' : (char)tolower((unsigned char)*s);
    out[n] = 0;
}
/* Rank of a column's name in a list of names; -1: not among them. */
static int rank(const char *name, const char *const *names) {
    char plain[40];
    plain_name(name, plain, sizeof plain);
    for (int i = 0; names[i]; i++)
        if (!strcmp(plain, names[i])) return i;
    return -1;
}
static const char *const path_names[] = {"path", "paths", "filepath", "file_path", "filename", "file_name",
                                         "filenames", "file", "files", "image_path", "imagepath", "img_path", "imgpath",
    "image_file", "img_file", "image_filename", "image_name", "imagename", "img_name", "image", "images", "img",
    "full_path", "fullpath", "rel_path", "relative_path", "image_index", "image_id", "imageid", "img_id", "photo",
    "picture", "src", "uri", "name", "id", NULL};
static const char *const label_names[] = {"label", "labels", "class", "classes", "target", "targets", "category",
                                          "class_label", "label_name", "class_name", "classname", "category_name",
                                          "class_id",
    "classid", "class_idx", "label_id", "category_id", "y", "gt", "ground_truth", "species", "breed", "diagnosis",
    "tag", "tags", "finding_labels", NULL};
static const char *const no_label_names[] = {"", "index", "unnamed:_0", "id", "image_id", NULL};

static char separator_of(const char *s) {
    return strchr(s, '\t') ? '\t' : strchr(s, ',') ? ',' : strchr(s, ';') ? ';' : ' ';
}

/* Which column option label_column means: the one of that name, byte by byte, else in other letters, else that
 * number. -1: none. */
static int asked_column(const char *asked, const char *line, char separator, int *found) {
    char plain[64], wanted[64];
    int best = -1, rank = 3, k = 0;
    char *copy = hpt__strdup(line), *rest = copy, *v;
    double number;
    plain_name(asked, wanted, sizeof wanted);
    for (; rest && (v = hpt__csv_field(&rest, separator)); k++) {
        plain_name(v, plain, sizeof plain);
        int r = !strcmp(v, asked) ? 0 : !strcmp(plain, wanted) ? 1 : 3;
        if (r < rank) rank = r, best = k;
    }
    if (best < 0 && hpt__number_parse(asked, &number) && number >= 1 && number <= k && number == floor(number))
        best = (int)number - 1;
    *found = copy && rank < 3;
    hpt__free(copy);
    return best;
}
/* The first line of a table names its columns: one of them is called like the path of a file, and none is one. *is:
 * it is a heading. */
static hpt_status heading(list *l, const char *line, int *is) {
    char separator = separator_of(line), *copy = hpt__strdup(line), *rest = copy, *v;
    int best_path = -1, best_label = -1, plain = 1;
    uint32_t values = 0;
    hpt_status st = copy ? HPT_OK : hpt__fail_memory(strlen(line));
    char path_name[48] = "", label_name[48] = "";
    *is = 0;
    l->path_column = l->label_column = l->object_column = -1;
    l->columns = 0;
    for (; rest && !st && plain && (v = hpt__csv_field(&rest, separator)); l->columns++) {
        int p = rank(v, path_names), y = rank(v, label_names);
        plain = !hpt__image_name(v) && !hpt__image_unread(v);
        if (p >= 0 && (best_path < 0 || p < best_path))
            best_path = p, l->path_column = (int)l->columns, snprintf(path_name, sizeof path_name, "%.40s", v);
        if (y >= 0 && (best_label < 0 || y < best_label))
            best_label = y, l->label_column = (int)l->columns, snprintf(label_name, sizeof label_name, "%.40s", v);
    }
    if (!st && *l->label_name) {
        int named, k = asked_column(l->label_name, line, separator, &named);
        if (named && plain && best_path < 0 && l->columns == 2)
            best_path = l->path_column = !k, snprintf(path_name, sizeof path_name, "number %d", !k + 1);
        if (k < 0 || k == l->path_column || best_path < 0 || !plain)
            st = hpt__fail(HPT_ERR_OPTION, "%.400s: option label_column is %.60s, and line %u %s: %.300s", l->path,
                           l->label_name, l->line, k >= 0 && k == l->path_column ? "has the images there" : !plain ||
                           best_path < 0 ? "is no heading with a column of paths" : "has no such column", line);
        l->label_column = k;
        snprintf(label_name, sizeof label_name, "%.40s", l->label_name);
    }
    if (!st && plain && best_path >= 0 && !rest) {
        char *there = whole_path(l, path_name);
        if (!there) st = hpt__fail_memory(64);
        *is = there && !is_file(there);
        hpt__free(there);
    }
    hpt__free(copy);
    if (st || !*is) return st;
    if (l->object_name) {
        int named, k = asked_column(l->object_name, line, separator, &named);
        if (k < 0 || k == l->path_column || (k == l->label_column && *l->label_name))
            return hpt__fail(HPT_ERR_OPTION, "%.400s: option group_by is column:%.60s, and line %u %s: %.300s", l->path,
                             l->object_name, l->line, k < 0 ? "has no such column"
                             : "has the images or the labels there", line);
        l->object_column = k;
        if (k == l->label_column) l->label_column = -1;
    }
    if (l->label_column < 0 && l->object_column < 0 && l->columns == 2) l->label_column = !l->path_column;
    /* "path label": lines are what they are without it */
    if (separator == ' ' && l->path_column == 0 && l->columns <= 2 && !l->object_name) separator = 0;
    l->separator = separator;
    if (l->label_column < 0 && l->columns > 1) {        /* one column of 0 and 1 a class */
        if (!(l->take = hpt__calloc(l->columns, 1)) || !(copy = hpt__strdup(line))) return hpt__fail_memory(l->columns);
        rest = copy;
        for (uint32_t k = 0; rest && !st && (v = hpt__csv_field(&rest, separator)); k++) {
            if ((int)k == l->path_column || (int)k == l->object_column || rank(v, no_label_names) >= 0) continue;
            l->take[k] = 1;
            values++;
            st = hpt__collect_class(l->c, v);
        }
        hpt__free(copy);
        if (values) l->kind = SEVERAL;
        if (!st && values) st = values_begin(l, values);
    }
    if (!st && l->label_column >= 0 && !*label_name)
        snprintf(label_name, sizeof label_name, "number %d", l->label_column + 1);
    if (!st && !values)
        st = hpt__collection_note(l->c, 0, "%.400s, line %u: a heading; images are column %s%s%s", l->path, l->line,
                                  path_name, l->label_column >= 0 ? ", labels are column " : ", no column of labels",
                                                  l->label_column >= 0 ? label_name : "");
    if (!st && values)
        st = hpt__collection_note(l->c, 0,
                                  "%.400s, line %u: a heading; images are column %s, the other %u columns are one "
                                  "label each", l->path, l->line, path_name, values);
    return st;
}
/* A line below a heading with more than a path and a label with a blank between. */
static hpt_status table_line(list *l, char *line) {
    char *name = NULL, *label = NULL, *object = NULL, *rest = line, *v;
    uint32_t k = 0, values = 0;
    hpt__collection *c = l->c;
    for (; rest; k++) {
        if (!(v = hpt__csv_field(&rest, l->separator)))
            return bad_line(l, "a quote that is not closed, or something behind it", "");
        if (k == l->columns && (*v || rest)) k++;          /* a comma at the end is nothing */
        if (k >= l->columns) break;
        if ((int)k == l->path_column) name = v;
        else if ((int)k == l->label_column) label = v;
        else if ((int)k == l->object_column) object = v;
        else if (l->take && l->take[k]) HPT_TRY(one_value(l, values++, v, strlen(v)));
    }
    if (k != l->columns)
        return hpt__fail(HPT_ERR_FORMAT,
                         "%.600s, line %u: %s columns than the %u of the heading; a field that holds the separator is "
                         "put in \"quotes\"", l->path, l->line, k < l->columns ? "fewer" : "more", l->columns);
    if (!name || !*name) return bad_line(l, "no path", "");
    if (object && !*object) return bad_line(l, "no object in column ", l->object_name);
    int64_t value = -1;
    if (l->kind == SEVERAL) HPT_TRY(take(l, name, -1, NULL));
    else if (!label || !*label) HPT_TRY(labelled(l, name, NULL, 0));
    else if (l->kind == NONE) HPT_TRY(labelled(l, name, label, 0));
    else {
        HPT_TRY(single(l, label, 0, &value));
        HPT_TRY(take(l, name, value, label));
    }
    if (object && !(c->f[c->n - 1].object = hpt__strdup(object))) return hpt__fail_memory(strlen(object));
    return HPT_OK;
}

/* The quote that closes the one before p, and how many lines end between; NULL: none within a MiB. */
static char *closing(char *p, char *end, uint32_t *lines) {
    enum { QUOTED = 1 << 20 };
    char *last = end - p > QUOTED ? p + QUOTED : end;
    *lines = 0;
    for (; p < last; p++) {
        if (*p == '"' && p[1] != '"') return p;
        if (*p == '"') p++;
        *lines += *p == '\n' || (*p == '\r' && p[1] != '\n');
    }
    return NULL;
}
/* Where the line at p ends; a field in quotes may hold line breaks, which *more counts. */
static char *line_end(const list *l, char *p, char *end, uint32_t *more) {
    const char table[2] = {l->separator, 0}, *stop = l->separator == ' ' ? "" : l->separator ? table : ",;\t";
    int fresh = p[strspn(p, " \t")] != '#', comment = !fresh;       /* fresh: a field begins here */
    uint32_t lines;
    *more = 0;
    for (; p < end && *p != '\n' && *p != '\r'; p++) {
        char *q = fresh && *p == '"' ? closing(p + 1, end, &lines) : NULL;
        if (q) *more += lines, p = q;
        if (!comment && *p && strchr(stop, *p)) fresh = 1;
        else if (*p != ' ' && *p != '\t') fresh = 0;
    }
    return p;
}
static hpt_status one_line(list *l, char *line, size_t n) {
    char *name = NULL, *label = NULL, *s = line + strspn(line, " \t");
    int is = 0, quoted = 0;
    if (memchr(line, 0, n)) return bad_line(l, "a zero byte (UTF-16 is saved as UTF-8)", "");
    if (!*s || *s == '#') return HPT_OK;
    while (n && (line[n - 1] == ' ' || (line[n - 1] == '\t' && !l->separator))) line[--n] = 0;
    if (!l->c->n && !l->columns) {
        if (!strncmp(s, "sep=", 4) && strlen(s) == 5) return HPT_OK;       /* a hint of Excel's */
        HPT_TRY(heading(l, line, &is));
        if (!is) {
            l->columns = 1;
            l->separator = 0;
        }
        if (is) return HPT_OK;
    }
    if (l->separator) return table_line(l, line);
    HPT_TRY(split(l, s, &name, &label, &quoted));
    return labelled(l, name, label, quoted);
}

/* ---- the whole ---- */

static int by_word(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
/* Words become classes in the order of their names. */
static hpt_status number_words(list *l) {
    hpt__collection *c = l->c;
    char **sorted = hpt__alloc(sizeof *sorted * (size_t)c->n);
    if (!sorted) return hpt__fail_memory(sizeof *sorted * (size_t)c->n);
    memcpy(sorted, l->word, sizeof *sorted * (size_t)c->n);
    qsort(sorted, (size_t)c->n, sizeof *sorted, by_word);
    hpt_status st = HPT_OK;
    for (uint64_t i = 0; i < c->n && !st; i++)
        if (!i || strcmp(sorted[i], sorted[i - 1])) {
            if (c->classes == MAX_CLASSES)
                st = hpt__fail(HPT_ERR_FORMAT, "%.800s: more than %d different words", l->path, MAX_CLASSES);
            else st = hpt__collect_class(c, sorted[i]);
        }
    hpt__free(sorted);
    for (uint64_t i = 0; i < c->n && !st; i++) {
        char **at = bsearch(&l->word[i], c->cls, c->classes, sizeof *c->cls, by_word);
        c->f[i].label = (int32_t)(at - c->cls);
    }
    if (!st && l->limit && c->classes > l->limit)
        st = hpt__fail(HPT_ERR_FORMAT, "%.600s: %u different words as labels, option classes says %lld", l->path,
                       c->classes, (long long)l->limit);
    char names[420] = "";
    for (uint32_t i = 0; i < c->classes && !st; i++) hpt__append_name(names, sizeof names, i, c->cls[i]);
    if (!st)
        st = hpt__collection_note(c, 0, "%u class%s, the words of %.400s: %s", c->classes, c->classes == 1 ? "" : "es",
                                  l->path, names);
    return st;
}
static hpt_status finish(list *l) {
    hpt__collection *c = l->c;
    if (!c->n) return hpt__fail(HPT_ERR_FORMAT, "%.800s: the list is empty", l->path);
    if (l->slashes)
        HPT_TRY(hpt__collection_note(c, 0, "%.800s: backslashes in its paths are taken for slashes", l->path));
    if (l->kind == NONE) hpt__collection_why(c, "%.400s names images without labels", l->path);
    if (l->kind == WORD) return number_words(l);
    if (l->kind == SEVERAL)
        return hpt__collection_note(c, 0, "%u classes, each with a value of 0 or 1 in %.600s", c->classes, l->path);
    if (l->kind != NUMBER) return HPT_OK;
    for (uint64_t i = 0; i < c->n; i++)
        if (c->f[i].label >= (int32_t)c->classes) c->classes = (uint32_t)c->f[i].label + 1;
    if (l->limit) c->classes = (uint32_t)l->limit;
    return hpt__collection_note(c, 0, "%u class%s, the numbers from 0 to %u of %.600s", c->classes, c->classes == 1
                                ? "" : "es", c->classes - 1, l->path);
}

hpt_status hpt__collect_list(hpt__collection *c, const hpt__options *o, const char *path) {
    hpt__bytes f;
    HPT_TRY(hpt__file_read(path, 1u << 30, &f));
    const char *slash = strrchr(path, '/'), *given = OPT_S(o, list_root);
    char *root = *given ? hpt__strdup(given) : slash ? hpt__strndup(path, (size_t)(slash + 1 - path))
        : hpt__strdup(".");
    c->list = hpt__strdup(path);
    hpt_status st = root && c->list ? HPT_OK : hpt__fail_memory(64);
    list l = {.c = c, .path = path, .map = OPT_S(o, label_map), .root = root, .limit = OPT_I(o, classes),
              .check = (int)OPT_I(o, list_check), .label_name = OPT_S(o, label_column),
              .object_name = strncmp(OPT_S(o, group_by), "column:", 7) ? NULL : OPT_S(o, group_by) + 7};
    c->base = hpt__collection_base(path);
    c->place = hpt__collection_base(root ? root : ".");
    char *p = (char *)f.p, *end = p + f.n;
    *end = 0;
    if (!st && f.n >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2)))
        st = hpt__fail(HPT_ERR_FORMAT, "%.800s: UTF-16 text; save the list as UTF-8", path);
    if (f.n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) p += 3;
    while (p < end && !st) {            /* lines end as Unix, Windows or old Macs end them */
        uint32_t more;
        char *eol = line_end(&l, p, end, &more);
        char *next = eol + 1 < end && eol[0] == '\r' && eol[1] == '\n' ? eol + 2 : eol + 1;
        l.line++;
        *eol = 0;
        st = one_line(&l, p, (size_t)(eol - p));
        l.line += more;
        p = next;
    }
    if (!st) st = finish(&l);
    hpt__free(root);
    hpt__free(l.row);
    hpt__free(l.word);
    hpt__free(l.take);
    hpt__free(f.p);
    return st;
}

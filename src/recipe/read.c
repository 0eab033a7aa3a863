/* SPDX-License-Identifier: MIT
 * INI text to sections (libinih). inih does not tell lines to its handler, so the reader counts them as it hands them over. */
#include "recipe/recipe.h"
#include "core/alloc.h"
#include "io/file.h"
#include "core/number.h"
#include <ini.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

/* Every stage may have label (shown in tables and figures), strategy (to look up the paper's numbers), seeds, like, sweep.KEY, variant.NAME. */
#define STAGE " label strategy colour seeds like "
const hpt__kind hpt__kinds[HPT__S_KINDS] = {
    [HPT__S_RECIPE] = {"recipe", "context", " name title about out seeds jobs include data_root save_every ", "", "", ""},
    [HPT__S_OPTIONS] = {"options", NULL, "", "", "", ""},
    [HPT__S_TEMPLATE] = {"template", NULL, "", "", "", ""},
    [HPT__S_DATA] = {"data", "dataset", " like path set root split from per_class few fraction images part split_seed keep_names drop_names without set_of unique title ", " from without set_of ", "", ""},
    [HPT__S_PRETRAIN] = {"pretrain", "pretrain", STAGE "init data monitor_train monitor_val save_every ", " init data monitor_train monitor_val ", "", " data "},
    [HPT__S_REFRESH] = {"refresh-bn", "refresh-bn", STAGE "init data ", " init data ", "", " init data "},
    [HPT__S_SEARCH] = {"search", "search", STAGE "init sources train val save_every ", " init sources train val ", " sources ", " sources train val "},
    [HPT__S_CHOOSE] = {"choose", NULL, STAGE "of over by ", " of ", " of ", " of over "},
    [HPT__S_LINEAR] = {"linear", "linear", STAGE "model train val test save_every ", " model train val test ", "", " model train "},
    [HPT__S_KNN] = {"knn", "knn", STAGE "model train val test ", " model train val test ", "", " model train "},
    [HPT__S_FINETUNE] = {"finetune", "finetune", STAGE "model train val test save_every ", " model train val test ", "", " model train "},
    [HPT__S_SIMILARITY] = {"similarity", "embed", STAGE "of data metric layer group ", " of data ", " of ", " of metric "},
    [HPT__S_TABLE] = {"table", NULL, " title stages columns value about ", "", "", " stages "},
    [HPT__S_PLOT] = {"plot", NULL, " title kind stages x value log minus relative of about paper ", "", "", " kind "},
    [HPT__S_FINDING] = {"finding", NULL, " claim left right value expect margin paper ", "", "", " claim left right "},
};

int hpt__word_in(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if (p > words && p[-1] == ' ' && p[n] == ' ') return 1;
    return 0;
}
hpt_status hpt__line_fail(const hpt__line *l, const char *fmt, ...) {
    char text[800];
    va_list args;
    va_start(args, fmt);
    hpt__vformat(text, sizeof text, fmt, args);
    va_end(args);
    return hpt__fail(HPT_ERR_FORMAT, "%.300s, line %d: %s", l->file, l->line, text);
}
int hpt__list_item(const char *list, int i, char separator, char *out, size_t size) {
    const char *p = list;
    while (i-- > 0) {
        if (!(p = strchr(p, separator))) return 0;
        p++;
    }
    const char *end = strchr(p, separator), *bracket = strchr(p, '[');
    if (bracket && end && bracket < end && strchr(bracket, ']')) end = strchr(strchr(bracket, ']'), separator);       /* commas in name[a=1,b=2] */
    size_t n = end ? (size_t)(end - p) : strlen(p);
    while (n && (*p == ' ' || *p == '\t')) p++, n--;
    while (n && (p[n - 1] == ' ' || p[n - 1] == '\t')) n--;
    snprintf(out, size, "%.*s", (int)(n < size ? n : size - 1), p);
    return 1;
}

const hpt__line *hpt__section_line(const hpt__section *s, const char *key) {
    for (int i = 0; s && i < s->n; i++)
        if (!strcmp(s->lines[i].key, key)) return &s->lines[i];
    return NULL;
}
const char *hpt__section_value(const hpt__section *s, const char *key, const char *missing) {
    const hpt__line *l = hpt__section_line(s, key);
    return l ? l->value : missing;
}
int hpt__section_find(const hpt_recipe *r, const char *name) {
    for (int i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind >= HPT__S_DATA && r->sections[i].kind <= HPT__S_SIMILARITY && !strcmp(r->sections[i].name, name)) return i;
    return -1;
}
hpt__section *hpt__section_only(const hpt_recipe *r, hpt__section_kind kind) {
    for (int i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind == kind) return &r->sections[i];
    return NULL;
}

hpt_status hpt__section_set(hpt__section *s, const char *key, const char *value, int line, const char *file) {
    hpt__line *l = (hpt__line *)(uintptr_t)hpt__section_line(s, key);
    char *copy = hpt__strdup(value);
    if (!copy) return hpt__fail_memory(strlen(value));
    if (l) {
        hpt__free(l->value);
        l->value = copy;
        l->line = line;
        l->file = file;
        return HPT_OK;
    }
    hpt__line *more = s->n % 16 ? s->lines : hpt__realloc(s->lines, sizeof *more * (size_t)(s->n + 16));
    char *name = hpt__strdup(key);
    if (more) s->lines = more;
    if (!more || !name) {
        hpt__free(copy);
        hpt__free(name);
        return hpt__fail_memory(64);
    }
    s->lines[s->n++] = (hpt__line){name, copy, line, file};
    return HPT_OK;
}

/* ---- one file ---- */

typedef struct reader {
    hpt_recipe *r;
    const char *p, *end, *file;
    int line, header, opened;       /* lines handed over; the one of the last [section], and of the one that is open */
    int indented;                   /* the last line goes on with the value before */
    int current;                    /* section of the lines to come, -1 none */
    char last_key[128];
    hpt_status st;
    int depth;
} reader;

static char *next_line(char *to, int size, void *stream) {
    reader *rd = stream;
    if (rd->p >= rd->end || rd->st) return NULL;
    const char *eol = memchr(rd->p, '\n', (size_t)(rd->end - rd->p));
    size_t n = (size_t)((eol ? eol + 1 : rd->end) - rd->p);
    rd->line++;
    if (n + 1 > (size_t)size) {
        rd->st = hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: longer than %d characters; go on in the next line, indented", rd->file, rd->line, size - 2);
        return NULL;
    }
    memcpy(to, rd->p, n);
    to[n] = 0;
    if (memchr(to, 0, n)) rd->st = hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: a zero byte", rd->file, rd->line);
    rd->p += n;
    rd->indented = *to == ' ' || *to == '\t';
    if (to[strspn(to, " \t")] == '[') rd->header = rd->line;
    return rd->st ? NULL : to;
}

static hpt_status open_section(reader *rd, const char *text) {
    hpt_recipe *r = rd->r;
    char kind[64], name[64];
    hpt__line at = {.line = rd->header, .file = rd->file};
    const char *blank = strchr(text, ' ');
    snprintf(kind, sizeof kind, "%.*s", (int)(blank ? blank - text : 60), text);
    hpt__list_item(blank ? blank + 1 : "", 0, '\n', name, sizeof name);
    int k = 0;
    while (k < HPT__S_KINDS && strcmp(hpt__kinds[k].word, kind)) k++;
    if (k == HPT__S_KINDS)
        return hpt__line_fail(&at, "a section [%.60s] is unknown; there are recipe, options, template, data, pretrain, refresh-bn, search, choose, linear, knn, finetune, similarity, table, plot, finding", text);
    if (k > HPT__S_OPTIONS && !*name) return hpt__line_fail(&at, "[%s] needs a name: [%s NAME]", kind, kind);
    if (strpbrk(name, "[],=./")) return hpt__line_fail(&at, "the name '%s' must not hold any of [ ] , = . /", name);
    for (int i = 0; i < r->n_sections; i++) {
        hpt__section *s = &r->sections[i];
        if ((int)s->kind == k && !strcmp(s->name, name)) {
            if (k > HPT__S_OPTIONS && s->file == rd->file) return hpt__line_fail(&at, "[%s %s] is there already, in line %d", kind, name, s->line);
            rd->current = i;        /* an including file adds to, and overrides, what it includes */
            return HPT_OK;
        }
    }
    if (k > HPT__S_TEMPLATE && k <= HPT__S_SIMILARITY && hpt__section_find(r, name) >= 0)
        return hpt__line_fail(&at, "the name '%s' is taken by line %d", name, r->sections[hpt__section_find(r, name)].line);
    hpt__section *more = r->n_sections % 32 ? r->sections : hpt__realloc(r->sections, sizeof *more * (size_t)(r->n_sections + 32));
    char *copy = hpt__strdup(name);
    if (more) r->sections = more;
    if (!more || !copy) {
        hpt__free(copy);
        return hpt__fail_memory(64);
    }
    r->sections[r->n_sections] = (hpt__section){.kind = (hpt__section_kind)k, .name = copy, .line = rd->header, .file = rd->file};
    rd->current = r->n_sections++;
    return HPT_OK;
}

static hpt_status include(reader *rd, const char *value) {
    char path[4096];
    const char *slash = strrchr(rd->file, '/');
    if (*value == '/' || !slash) snprintf(path, sizeof path, "%s", value);
    else snprintf(path, sizeof path, "%.*s%s", (int)(slash + 1 - rd->file), rd->file, value);
    hpt_status st = hpt__recipe_read(rd->r, path, rd->depth + 1);
    return st ? hpt__fail_context(st, "%.300s, line %d: include", rd->file, rd->line) : HPT_OK;
}

static int handle(void *user, const char *section, const char *name, const char *value) {
    reader *rd = user;
    if (rd->st) return 0;
    if (rd->header != rd->opened || rd->current < 0) {
        rd->opened = rd->header;
        rd->last_key[0] = 0;
        if (!*section) rd->st = hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: '%.60s' stands before the first section", rd->file, rd->line, name);
        else rd->st = open_section(rd, section);
        if (rd->st) return 0;
    }
    hpt__section *s = &rd->r->sections[rd->current];
    if (s->kind == HPT__S_RECIPE && !strcmp(name, "include")) {
        int keep = rd->current;
        rd->st = include(rd, value);
        rd->current = keep;
        return !rd->st;
    }
    const hpt__line *was = hpt__section_line(s, name);
    if (rd->indented && !strcmp(name, rd->last_key) && was) {
        size_t size = strlen(was->value) + strlen(value) + 2;
        char *joined = hpt__alloc(size);
        if (!joined) rd->st = hpt__fail_memory(size);
        else {
            snprintf(joined, size, "%s %s", was->value, value);
            rd->st = hpt__section_set(s, name, joined, was->line, rd->file);
        }
        hpt__free(joined);
        return !rd->st;
    }
    if (was && was->file == rd->file) {
        rd->st = hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: '%.60s' is there already, in line %d", rd->file, rd->line, name, was->line);
        return 0;
    }
    snprintf(rd->last_key, sizeof rd->last_key, "%s", name);
    rd->st = hpt__section_set(s, name, value, rd->line, rd->file);
    return !rd->st;
}

hpt_status hpt__recipe_read(hpt_recipe *r, const char *path, int depth) {
    hpt__bytes f;
    if (depth > 8) return hpt__fail(HPT_ERR_FORMAT, "%.600s: files include each other", path);
    HPT_TRY(hpt__file_read(path, 1 << 20, &f));
    char **files = r->n_files % 8 ? r->files : hpt__realloc(r->files, sizeof *files * (size_t)(r->n_files + 8)), *copy = hpt__strdup(path);
    if (files) r->files = files;
    if (!files || !copy) {
        hpt__free(copy);
        hpt__free(f.p);
        return hpt__fail_memory(64);
    }
    r->files[r->n_files++] = copy;
    reader rd = {.r = r, .p = (const char *)f.p, .end = (const char *)f.p + f.n, .file = copy, .current = -1, .depth = depth};
    int at = ini_parse_stream(next_line, &rd, handle, &rd);
    hpt__free(f.p);
    if (rd.st) return rd.st;
    return at ? hpt__fail(HPT_ERR_FORMAT, "%.400s, line %d: neither [section] nor key = value", path, at) : HPT_OK;
}

/* ---- after reading ---- */

/* Lines of the template (or section) that "like" names, where the section has none of its own. */
static hpt_status apply_like(hpt_recipe *r, hpt__section *s, int depth) {
    const hpt__line *like = hpt__section_line(s, "like");
    if (!like) return HPT_OK;
    if (depth > 8) return hpt__line_fail(like, "'like' goes round in a circle");
    hpt__section *from = NULL;
    for (int i = 0; i < r->n_sections; i++)
        if (!strcmp(r->sections[i].name, like->value) && (r->sections[i].kind == HPT__S_TEMPLATE || r->sections[i].kind == s->kind)) from = &r->sections[i];
    if (!from) return hpt__line_fail(like, "there is no [template %.60s], and no [%s %.60s]", like->value, hpt__kinds[s->kind].word, like->value);
    HPT_TRY(apply_like(r, from, depth + 1));
    for (int i = 0; i < from->n; i++)
        if (!hpt__section_line(s, from->lines[i].key)) HPT_TRY(hpt__section_set(s, from->lines[i].key, from->lines[i].value, from->lines[i].line, from->lines[i].file));
    return HPT_OK;
}

/* An option of the kind's stage with a value in range; a swept key: each of its values. */
static hpt_status check_option(const hpt__section *s, const hpt__line *l, const char *key, const char *value) {
    const hpt__kind *k = &hpt__kinds[s->kind];
    hpt_config *c;
    HPT_TRY(hpt_config_create(k->stage, &c));
    hpt_status st = hpt_config_set(c, key, value);
    if (st) {
        char text[600];
        snprintf(text, sizeof text, "%.500s", hpt_last_error());
        st = hpt__line_fail(l, "%s%s%s%s", text, strstr(text, "does not belong") ? " ([" : "", strstr(text, "does not belong") ? k->word : "", strstr(text, "does not belong") ? "])" : "");
    }
    hpt_config_destroy(c);
    return st;
}
static hpt_status check_line(const hpt__section *s, const hpt__line *l) {
    const hpt__kind *k = &hpt__kinds[s->kind];
    char item[512], key[128];
    if (s->kind == HPT__S_TEMPLATE) return HPT_OK;      /* checked where it is used */
    int stage = s->kind >= HPT__S_DATA && s->kind <= HPT__S_SIMILARITY;
    if (stage && !strncmp(l->key, "sweep.", 6)) {
        if (!strcmp(l->key + 6, "seed") || !strcmp(l->key + 6, "like") || !strcmp(l->key + 6, "seeds")) return hpt__line_fail(l, "'%s' cannot be swept", l->key + 6);
        for (int i = 0; hpt__list_item(l->value, i, ',', item, sizeof item); i++) {
            if (!*item) return hpt__line_fail(l, "an empty value in the list");
            if (!hpt__word_in(k->own, l->key + 6)) HPT_TRY(check_option(s, l, l->key + 6, item));
        }
        return HPT_OK;
    }
    if (stage && !strncmp(l->key, "variant.", 8)) {     /* "aug_gray=0 aug_jitter=0" */
        for (int i = 0; hpt__list_item(l->value, i, ' ', item, sizeof item); i++) {
            char *eq = strchr(item, '=');
            if (!*item) continue;
            if (!eq) return hpt__line_fail(l, "'%.60s' is not key=value", item);
            *eq = 0;
            snprintf(key, sizeof key, "%.120s", item);
            if (!hpt__word_in(k->own, key)) HPT_TRY(check_option(s, l, key, eq + 1));
        }
        return HPT_OK;
    }
    if (hpt__word_in(k->own, l->key)) return HPT_OK;
    if (s->kind == HPT__S_OPTIONS || k->stage) return check_option(s, l, l->key, l->value);
    return hpt__line_fail(l, "[%s] has no key '%.60s'; it has%s", k->word, l->key, k->own);
}

hpt_status hpt__recipe_check(hpt_recipe *r) {
    char word[64];
    for (int i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind > HPT__S_TEMPLATE) HPT_TRY(apply_like(r, &r->sections[i], 0));
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        hpt__line at = {.line = s->line, .file = s->file};
        for (int j = 0; j < s->n; j++) HPT_TRY(check_line(s, &s->lines[j]));
        for (int j = 0; hpt__list_item(hpt__kinds[s->kind].needed, j, ' ', word, sizeof word); j++) {
            char swept[80];
            snprintf(swept, sizeof swept, "sweep.%s", word);
            if (*word && !hpt__section_line(s, word) && !hpt__section_line(s, swept)) return hpt__line_fail(&at, "[%s %s] needs a line '%s = ...'", hpt__kinds[s->kind].word, s->name, word);
        }
    }
    return HPT_OK;
}

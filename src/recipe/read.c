/* SPDX-License-Identifier: MIT
 * INI text to sections. Its limits (one file 1 MiB, lines of a section, files, ...) keep any text cheap: none comes
 * near a recipe that a person writes. */
#include "recipe/recipe.h"
#include "core/alloc.h"
#include "core/number.h"
#include "core/text.h"
#include "io/file.h"
#include "io/ini.h"
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_LINES = 1000, MAX_FILES = 64, MAX_HELD = 900 << 10, MAX_KEY = 80, MAX_VALUE = 16384 };

/* Every stage may have label (shown in tables and figures), strategy (to look up the paper's numbers), seeds, like,
 * sweep.KEY, variant.NAME. */
#define STAGE " label strategy colour seeds like "
const hpt__kind hpt__kinds[HPT__S_KINDS] = {
    [HPT__S_RECIPE] = {"recipe", "context", " name title about out seeds jobs include data_root save_every ", "", "",
                       ""},
    [HPT__S_OPTIONS] = {"options", NULL, "", "", "", ""},
    [HPT__S_TEMPLATE] = {"template", NULL, "", "", "", ""},
    [HPT__S_DATA] = {"data", "dataset",
                     " like path set root split from per_class few fraction images budget budgets part split_seed "
                     "keep_names drop_names without set_of unique title with ", " from without set_of with ", "", ""},
    [HPT__S_PRETRAIN] = {"pretrain", "pretrain", STAGE "init data monitor_train monitor_val save_every ",
                         " init data monitor_train monitor_val ", "", " data "},
    [HPT__S_REFRESH] = {"refresh-bn", "refresh-bn", STAGE "init data ", " init data ", "", " init data "},
    [HPT__S_SEARCH] = {"search", "search", STAGE "init sources train val save_every ", " init sources train val ",
                       " sources ", " sources train val "},
    [HPT__S_CHOOSE] = {"choose", NULL, STAGE "of over by ", " of ", " of ", " of over "},
    [HPT__S_LINEAR] = {"linear", "linear", STAGE "model train val test save_every ", " model train val test ", "",
                       " model train "},
    [HPT__S_KNN] = {"knn", "knn", STAGE "model train val test ", " model train val test ", "", " model train "},
    [HPT__S_FINETUNE] = {"finetune", "finetune", STAGE "model train val test save_every ", " model train val test ",
                         "", " model train "},
    [HPT__S_ADAPT] = {"adapt", "pretrain", STAGE "init source labelled unlabelled val test save_every ",
                      " init source labelled unlabelled val test ", "", " source labelled "},
    [HPT__S_SIMILARITY] = {"similarity", "embed", STAGE "of data metric layer group ", " of data ", " of ",
                           " of metric "},
    [HPT__S_TABLE] = {"table", NULL, " title stages columns value about ", "", "", " stages "},
    [HPT__S_PLOT] = {"plot", NULL, " title kind stages x value log minus relative of about ", "", "", " kind "},
    [HPT__S_FINDING] = {"finding", NULL, " claim left right value expect margin paper ", "", "", " claim left right "},
};

int hpt__is_evaluation(hpt__section_kind k) {
    return k == HPT__S_LINEAR || k == HPT__S_KNN || k == HPT__S_FINETUNE || k == HPT__S_ADAPT;
}
int hpt__word_in(const char *words, const char *word) {
    size_t n = strlen(word);
    if (!n || strchr(word, ' ')) return 0;
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
    int comment = l->value && (strstr(l->value, " #") || strstr(l->value, "\t#"));
    return hpt__fail(HPT_ERR_FORMAT, "%.300s, line %d: %s%s", l->file, l->line, text,
                     comment ? " (a comment behind a value begins with ';', not '#')" : "");
}
int hpt__list_item(const char *list, int i, char separator, char *out, size_t size) {
    const char *p = list, *end;
    for (;; p = end + 1) {
        for (end = p; *end && *end != separator; end++)
            if (*end == '[' && strchr(end, ']')) end = strchr(end, ']');        /* commas in name[a=1,b=2] */
        if (i-- == 0) break;
        if (!*end) return 0;
    }
    size_t n = (size_t)(end - p);
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
/* The first section of a chain; follow .next. */
static int *chain(const hpt_recipe *r, const char *name) {
    return (int *)(uintptr_t)&r->by_name[XXH3_64bits(name, strlen(name)) % HPT__BY_NAME];
}
int hpt__section_find(const hpt_recipe *r, const char *name) {
    for (int i = *chain(r, name); i >= 0; i = r->sections[i].next)
        if (r->sections[i].kind >= HPT__S_DATA && r->sections[i].kind <= HPT__S_SIMILARITY &&
            !strcmp(r->sections[i].name, name)) return i;
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
    if (s->n >= MAX_LINES) {
        hpt__free(copy);
        return hpt__line_fail(&(hpt__line){.line = line, .file = file}, "more than %d lines in a section", MAX_LINES);
    }
    hpt__line *more = s->n % 4 ? s->lines : hpt__realloc(s->lines, sizeof *more * (size_t)(s->n + 4));
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

/* A recipe of any size, with what 'like' adds, stays within a MiB. */
static hpt_status hold(hpt_recipe *r, size_t bytes, const hpt__line *at) {
    r->held += bytes;
    if (r->held <= MAX_HELD) return HPT_OK;
    return hpt__line_fail(at,
                          "the recipe is too large: its sections and lines, with those that 'like' adds, take over %d "
                          "KiB", MAX_HELD >> 10);
}
static hpt_status hold_line(hpt_recipe *r, const hpt__line *l, const hpt__line *at) {
    return hold(r, sizeof *l + strlen(l->key) + strlen(l->value) + 32, at);
}

/* ---- one file ---- */

typedef struct recipe_reader {
    hpt_recipe *r;
    const char *file;
    int current;                    /* section of the lines to come, -1 none */
    int depth;
} recipe_reader;

static hpt_status open_section(recipe_reader *rd, const char *text, int line) {
    hpt_recipe *r = rd->r;
    char kind[64];
    hpt__line at = {.line = line, .file = rd->file};
    const char *blank = strchr(text, ' '), *name = blank ? blank + strspn(blank, " \t") : "";
    if (!hpt__utf8(text)) return hpt__line_fail(&at, "the section's name is not UTF-8: save the file in that encoding");
    if (strlen(name) >= 64) return hpt__line_fail(&at, "the name '%.40s...' is longer than 63 characters", name);
    snprintf(kind, sizeof kind, "%.*s", (int)(blank ? blank - text < 60 ? blank - text : 60 : 60), text);
    int k = 0;
    while (k < HPT__S_KINDS && strcmp(hpt__kinds[k].word, kind)) k++;
    if (k == HPT__S_KINDS)
        return hpt__line_fail(&at,
                              "a section [%.60s] is unknown; there are recipe, options, template, data, pretrain, "
                              "refresh-bn, search, choose, linear, knn, finetune, adapt, similarity, table, plot, "
                              "finding", text);
    if (k > HPT__S_OPTIONS && !*name) return hpt__line_fail(&at, "[%s] needs a name: [%s NAME]", kind, kind);
    if (strpbrk(name, "[],=./")) return hpt__line_fail(&at, "the name '%s' must not hold any of [ ] , = . /", name);
    for (int i = *chain(r, name); i >= 0; i = r->sections[i].next) {
        hpt__section *s = &r->sections[i];
        if ((int)s->kind == k && !strcmp(s->name, name)) {
            if (k > HPT__S_OPTIONS && s->file == rd->file)
                return hpt__line_fail(&at, "[%s %s] is there already, in line %d", kind, name, s->line);
            rd->current = i;        /* an including file adds to, and overrides, what it includes */
            return HPT_OK;
        }
    }
    if (k > HPT__S_TEMPLATE && k <= HPT__S_SIMILARITY && hpt__section_find(r, name) >= 0)
        return hpt__line_fail(&at, "the name '%s' is taken by line %d", name,
                              r->sections[hpt__section_find(r, name)].line);
    HPT_TRY(hold(r, sizeof(hpt__section) + 4 * sizeof(hpt__line) + strlen(name) + 32, &at));
    hpt__section *more = r->n_sections % 32 ? r->sections
        : hpt__realloc(r->sections, sizeof *more * (size_t)(r->n_sections + 32));
    char *copy = hpt__strdup(name);
    if (more) r->sections = more;
    if (!more || !copy) {
        hpt__free(copy);
        return hpt__fail_memory(64);
    }
    r->sections[r->n_sections] = (hpt__section){.kind = (hpt__section_kind)k, .name = copy, .line = line,
                                                .file = rd->file, .next = *chain(r, copy)};
    *chain(r, copy) = rd->current = r->n_sections++;
    return HPT_OK;
}

static hpt_status include(recipe_reader *rd, const hpt__line *l) {
    char path[PATH_MAX];
    const char *slash = strrchr(rd->file, '/');
    int folder = *l->value == '/' || !slash ? 0 : (int)(slash + 1 - rd->file);
    if ((size_t)folder + strlen(l->value) >= sizeof path)
        return hpt__line_fail(l, "the path is longer than %d characters", PATH_MAX - 1);
    snprintf(path, sizeof path, "%.*s%s", folder, rd->file, l->value);
    hpt_status st = hpt__recipe_read(rd->r, path, rd->depth + 1);
    return st ? hpt__fail_context(st, "%.300s, line %d: include", rd->file, l->line) : HPT_OK;
}

static hpt_status take_line(void *user, const hpt__ini_line *in) {
    recipe_reader *rd = user;
    hpt__line l = {(char *)(uintptr_t)in->key, (char *)(uintptr_t)in->value, in->line, rd->file};
    if (!in->key) return open_section(rd, in->section, in->line);
    if (!in->section) return hpt__line_fail(&l, "'%.60s' stands before the first section", l.key);
    if (!hpt__utf8(l.key)) return hpt__line_fail(&l, "the key is not UTF-8: save the file in that encoding");
    if (strlen(l.key) > MAX_KEY)
        return hpt__line_fail(&l, "the key '%.40s...' is longer than %d characters", l.key, MAX_KEY);
    if (strlen(l.value) > MAX_VALUE)
        return hpt__line_fail(&l, "the value of '%s' is longer than %d characters", l.key, MAX_VALUE);
    hpt__section *s = &rd->r->sections[rd->current];
    if (s->kind == HPT__S_RECIPE && !strcmp(l.key, "include")) {
        int keep = rd->current;
        hpt_status st = include(rd, &l);
        rd->current = keep;
        return st;
    }
    const hpt__line *was = hpt__section_line(s, l.key);
    if (was && was->file == rd->file)
        return hpt__line_fail(&l, "'%.60s' is there already, in line %d", l.key, was->line);
    HPT_TRY(hold_line(rd->r, &l, &l));
    return hpt__section_set(s, l.key, l.value, l.line, rd->file);
}

hpt_status hpt__recipe_read(hpt_recipe *r, const char *path, int depth) {
    hpt__bytes f;
    if (depth > 8) return hpt__fail(HPT_ERR_FORMAT, "%.600s: files include each other", path);
    if (r->n_files >= MAX_FILES)
        return hpt__fail(HPT_ERR_FORMAT, "%.600s: more than %d files are included", path, MAX_FILES);
    if (!depth) memset(r->by_name, -1, sizeof r->by_name);
    HPT_TRY(hpt__file_read(path, 1 << 20, &f));
    char **files = r->n_files % 8 ? r->files : hpt__realloc(r->files, sizeof *files * (size_t)(r->n_files + 8)),
        *copy = hpt__strdup(path);
    if (files) r->files = files;
    if (!files || !copy) {
        hpt__free(copy);
        hpt__free(f.p);
        return hpt__fail_memory(64);
    }
    r->files[r->n_files++] = copy;
    recipe_reader rd = {.r = r, .file = copy, .current = -1, .depth = depth};
    hpt_status st = hpt__ini_read((char *)f.p, f.n, copy, take_line, &rd);
    hpt__free(f.p);
    return st;
}

/* ---- after reading ---- */

/* Lines of the template (or section) that "like" names, where the section has none of its own. */
static hpt_status apply_like(hpt_recipe *r, hpt__section *s, int depth) {
    const hpt__line *like = hpt__section_line(s, "like");
    if (!like) return HPT_OK;
    if (depth > 8) return hpt__line_fail(like, "'like' goes round in a circle");
    hpt__section *from = NULL;
    for (int i = *chain(r, like->value); i >= 0; i = r->sections[i].next)
        if (!strcmp(r->sections[i].name, like->value) && (r->sections[i].kind == HPT__S_TEMPLATE ||
                                                          r->sections[i].kind == s->kind) &&
                                                          (!from || &r->sections[i] > from)) from = &r->sections[i];
    if (!from)
        return hpt__line_fail(like, "there is no [template %.60s], and no [%s %.60s]", like->value,
                              hpt__kinds[s->kind].word, like->value);
    HPT_TRY(apply_like(r, from, depth + 1));
    for (int i = 0; i < from->n; i++)
        if (!hpt__section_line(s, from->lines[i].key)) {
            HPT_TRY(hold_line(r, &from->lines[i], like));
            HPT_TRY(hpt__section_set(s, from->lines[i].key, from->lines[i].value, from->lines[i].line,
                                     from->lines[i].file));
        }
    return HPT_OK;
}

/* The own key of a kind that is two slips away at most from what was written, or NULL. */
static const char *near_key(const hpt__kind *k, const char *key, char *word, size_t size) {
    char one[64];
    int best = 3;
    for (int i = 0; hpt__list_item(k->own, i, ' ', one, sizeof one); i++) {
        int slips = *one ? hpt__word_slips(key, one) : 99;
        if (slips >= best) continue;
        best = slips;
        snprintf(word, size, "%s", one);
    }
    return best < 3 ? word : NULL;
}

/* An option of the kind's stage with a value in range; a swept key: each of its values. */
static hpt_status check_option(const hpt__section *s, const hpt__line *l, const char *key, const char *value) {
    const hpt__kind *k = &hpt__kinds[s->kind];
    hpt_config *c;
    HPT_TRY(hpt_config_create(k->stage, &c));
    hpt_status st = hpt_config_set(c, key, value);
    if (st) {
        char text[600], word[64];
        snprintf(text, sizeof text, "%.500s", hpt_last_error());
        const char *near = strstr(text, "unknown option") ? near_key(k, key, word, sizeof word) : NULL;
        if (near) st = hpt__line_fail(l, "[%s] has no key '%.60s'; did you mean '%s'?", k->word, key, near);
        else
            st = hpt__line_fail(l, "%s%s%s%s", text, strstr(text, "does not belong") ? " ([" : "",
                                strstr(text, "does not belong") ? k->word : "", strstr(text, "does not belong") ? "])"
                                : "");
    }
    hpt_config_destroy(c);
    return st;
}
static hpt_status check_line(const hpt__section *s, const hpt__line *l) {
    const hpt__kind *k = &hpt__kinds[s->kind];
    char item[HPT__ITEM], key[128], word[64];
    if (s->kind == HPT__S_TEMPLATE) return HPT_OK;      /* checked where it is used */
    int stage = s->kind >= HPT__S_DATA && s->kind <= HPT__S_SIMILARITY, sweep = stage && !strncmp(l->key, "sweep.", 6);
    if (s->kind != HPT__S_OPTIONS && !sweep && !hpt__word_in(" title label about claim ", l->key) &&
        strlen(l->value) >= HPT__ITEM)
        return hpt__line_fail(l, "the value of '%s' is longer than %d characters", l->key, HPT__ITEM - 1);
    if (sweep) {
        if (!strcmp(l->key + 6, "seed") || !strcmp(l->key + 6, "like") || !strcmp(l->key + 6, "seeds"))
            return hpt__line_fail(l, "'%s' cannot be swept", l->key + 6);
        for (int i = 0; hpt__list_item(l->value, i, ',', item, sizeof item); i++) {
            if (!*item) return hpt__line_fail(l, "an empty value in the list");
            if (strlen(item) == sizeof item - 1)
                return hpt__line_fail(l, "a value in the list is longer than %d characters", HPT__ITEM - 2);
            if (!hpt__word_in(k->own, l->key + 6)) HPT_TRY(check_option(s, l, l->key + 6, item));
            HPT_TRY(hpt__line_check(s, &(hpt__line){l->key + 6, item, l->line, l->file}));
        }
        return HPT_OK;
    }
    if (stage && !strncmp(l->key, "variant.", 8)) {     /* "aug_gray=0 aug_jitter=0" */
        for (int i = 0; hpt__list_item(l->value, i, ' ', item, sizeof item); i++) {
            char *eq = strchr(item, '=');
            if (!*item) continue;
            if (strlen(item) == sizeof item - 1)
                return hpt__line_fail(l, "a value in the list is longer than %d characters", HPT__ITEM - 2);
            if (!eq) return hpt__line_fail(l, "'%.60s' is not key=value", item);
            *eq = 0;
            snprintf(key, sizeof key, "%.120s", item);
            if (!hpt__word_in(k->own, key)) HPT_TRY(check_option(s, l, key, eq + 1));
            HPT_TRY(hpt__line_check(s, &(hpt__line){key, eq + 1, l->line, l->file}));
        }
        return HPT_OK;
    }
    if (hpt__word_in(k->own, l->key)) return hpt__line_check(s, l);
    if (s->kind == HPT__S_OPTIONS || k->stage) return check_option(s, l, l->key, l->value);
    const char *near = near_key(k, l->key, word, sizeof word);
    if (near) return hpt__line_fail(l, "[%s] has no key '%.60s'; did you mean '%s'?", k->word, l->key, near);
    return hpt__line_fail(l, "[%s] has no key '%.60s'; it has%s", k->word, l->key, k->own);
}

/* "budgets = 3" is "sweep.budget = 1/3, 2/3, 3/3": how many labels these are is known when the set is open. */
static hpt_status spread_budgets(hpt__section *s) {
    const hpt__line *l = hpt__section_line(s, "budgets");
    char list[40 * HPT__MAX_COLUMNS] = "";
    double n;
    if (!l || s->kind != HPT__S_DATA) return HPT_OK;
    const hpt__line *was = hpt__section_line(s, "sweep.budget");
    if (was && was->line == l->line && was->file == l->file) return HPT_OK;     /* checked before */
    if (hpt__section_line(s, "budget") || was)
        return hpt__line_fail(l, "only one of budget, sweep.budget and budgets can be there");
    if (!hpt__whole_number(l->value, 2, HPT__MAX_COLUMNS, &n))
        return hpt__line_fail(l, "budgets is '%.60s', not a whole number from 2 to %d", l->value, HPT__MAX_COLUMNS);
    for (int i = 1; i <= (int)n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%d/%d", i > 1 ? ", " : "", i, (int)n);
    return hpt__section_set(s, "sweep.budget", list, l->line, l->file);
}

hpt_status hpt__recipe_check(hpt_recipe *r) {
    char word[64];
    for (int i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind > HPT__S_TEMPLATE) HPT_TRY(apply_like(r, &r->sections[i], 0));
    for (int i = 0; i < r->n_sections; i++) HPT_TRY(spread_budgets(&r->sections[i]));
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        hpt__line at = {.line = s->line, .file = s->file};
        for (int j = 0; j < s->n; j++) HPT_TRY(check_line(s, &s->lines[j]));
        for (int j = 0; hpt__list_item(hpt__kinds[s->kind].needed, j, ' ', word, sizeof word); j++) {
            char swept[80];
            snprintf(swept, sizeof swept, "sweep.%s", word);
            if (*word && !hpt__section_line(s, word) && !hpt__section_line(s, swept))
                return hpt__line_fail(&at, "[%s %s] needs a line '%s = ...'", hpt__kinds[s->kind].word, s->name, word);
        }
    }
    return HPT_OK;
}

/* SPDX-License-Identifier: MIT
 * What a recipe names must exist: sections, variables and their values, numbers that stages give, kinds of figures. All
 * of it is found here, with file and line, before anything is opened or trained; a table that stays empty after hours
 * of work helps nobody. */
#include "recipe/select.h"
#include "core/number.h"
#include "core/text.h"
#include <math.h>
#include <string.h>

int hpt__whole_number(const char *text, double lo, double hi, double *v) {
    return hpt__number_parse(text, v) && *v >= lo && *v <= hi && *v == floor(*v);
}

/* ---- names ---- */

typedef struct guess {
    const char *word;
    int slips;
} guess;
static void consider(guess *g, const char *typed, const char *word) {
    int slips = hpt__word_slips(typed, word);
    if (slips < g->slips && slips <= (int)strlen(typed) / 2) *g = (guess){word, slips};
}
enum { NEAR = 4 }; /* slips that are no longer near */

hpt_status hpt__no_section(const hpt_recipe *r, const hpt__line *l, const char *ref) {
    guess g = {NULL, NEAR};
    char name[64];
    size_t n = strcspn(ref, "[");
    snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), ref);
    int file = !strcmp(l->key ? l->key : "", "init") || !strcmp(l->key ? l->key : "", "model");
    for (int i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind >= HPT__S_DATA && r->sections[i].kind <= HPT__S_SIMILARITY)
            consider(&g, name, r->sections[i].name);
    const char *none = file ? "is neither a section nor a file (a file's path holds '.' or '/')" : NULL;
    if (none && g.word) return hpt__line_fail(l, "'%.60s' %s; did you mean '%s'?", ref, none, g.word);
    if (none) return hpt__line_fail(l, "'%.60s' %s", ref, none);
    if (g.word) return hpt__line_fail(l, "there is no section called '%.60s'; did you mean '%s'?", ref, g.word);
    return hpt__line_fail(l, "there is no section called '%.60s'", ref);
}

/* The i-th variable that instances of an expanded section differ in, by its last part; NULL past the end. */
static const char *variable(const hpt_recipe *r, int section, int i) {
    const hpt__section *s = &r->sections[section];
    const hpt__instance *in = s->count ? &r->instances[s->first] : NULL;
    return in && i < in->n_vars ? strchr(in->vars[i].id, '.') + 1 : NULL;
}
int hpt__section_varies(const hpt_recipe *r, int section, const char *key) {
    const hpt__section *s = &r->sections[section];
    for (int i = s->first; i < s->first + s->count; i++)
        if (hpt__instance_var(&r->instances[i], key)) return 1;
    return 0;
}
/* "a, b, c" */
static void add_word(char *list, size_t size, const char *word) {
    size_t at = strlen(list);
    if (at + 40 < size) snprintf(list + at, size - at, "%s%.30s", at ? ", " : "", word);
}
static void variables_of(const hpt_recipe *r, int section, char *list, size_t size) {
    const char *v;
    for (int i = 0; (v = variable(r, section, i)); i++) add_word(list, size, v);
}
hpt_status hpt__no_variable(const hpt_recipe *r, const hpt__line *l, int section, const char *key) {
    const hpt__section *s = &r->sections[section];
    char list[300] = "";
    variables_of(r, section, list, sizeof list);
    return hpt__line_fail(l, "[%s %s] has no variable '%.60s'; it has %s", hpt__kinds[s->kind].word, s->name, key,
                          *list ? list : "none: nothing is swept in it or before it (sweep.KEY = a, b)");
}

/* The values that a variable of a section has. */
static void values_of(const hpt_recipe *r, int section, const char *key, char *list, size_t size) {
    const hpt__section *s = &r->sections[section];
    for (int i = s->first; i < s->first + s->count; i++) {
        const char *v = hpt__instance_var(&r->instances[i], key);
        int fresh = v != NULL;
        for (int j = s->first; j < i && fresh; j++) {
            const char *w = hpt__instance_var(&r->instances[j], key);
            fresh = !w || strcmp(v, w);
        }
        if (fresh) add_word(list, size, v);
    }
}

hpt_status hpt__ref_check(const hpt_recipe *r, const hpt__line *l, const char *ref) {
    char item[HPT__ITEM], *value, list[300] = "";
    int at = hpt__ref_section(r, ref);
    const char *open = strchr(ref, '['), *close = open ? strchr(open, ']') : NULL;
    if (at < 0) return hpt__no_section(r, l, ref);
    if (!open) return HPT_OK;
    if (!close || close[1]) return hpt__line_fail(l, "'%.100s' is not name[key=value, key=value]", ref);
    for (int i = 0, is; (is = hpt__ref_filter(ref, i, item, &value)); i++) {
        if (is < 0) return hpt__line_fail(l, "'%.60s' in '%.100s' is not key=value", item, ref);
        if (!hpt__section_varies(r, at, item)) return hpt__no_variable(r, l, at, item);
    }
    const hpt__section *s = &r->sections[at];
    for (int i = s->first; i < s->first + s->count; i++)
        if (hpt__ref_matches(r, ref, &r->instances[i])) return HPT_OK;
    hpt__ref_filter(ref, 0, item, &value);
    values_of(r, at, item, list, sizeof list);
    return hpt__line_fail(l, "nothing matches '%.100s'; '%.60s' is %s there", ref, item, list);
}

/* ---- numbers ---- */

/* What results of a kind of stage hold, besides seed, seconds and images. test: with a test set alone; val: with a
 * validation set alone. */
typedef struct numbers {
    const char *all, *val, *test;
} numbers;
static numbers numbers_of(hpt__section_kind kind) {
    static const char scores[] = " test_score test_top1 test_top5 test_auroc test_images ";
    static const char tuned[] =
        " val_score val_top1 val_auroc best_lr best_step classes train_images val_images unreadable_images "
        "truncated_images threads ";
    switch (kind) {
    case HPT__S_PRETRAIN:
        return (numbers){
            " loss contrast_acc1 contrast_acc5 chance z_std lr steps total_steps skipped monitor monitor_best "
            "monitor_best_step unreadable_images truncated_images threads ",
            "", ""};
    case HPT__S_ADAPT:
        return (numbers){" loss entropy entropy_loss chance lr steps total_steps skipped labelled_images source_images "
                         "unlabelled_images unreadable_images truncated_images threads ",
                         " val_score best_step ", " test_score test_top1 test_class_mean test_images "};
    case HPT__S_REFRESH:
        return (numbers){" unreadable_images truncated_images threads ", "", ""};
    case HPT__S_SEARCH:
        return (numbers){" val_score cost_steps winner_index probe_seconds unreadable_images threads ", "", ""};
    case HPT__S_CHOOSE:
        return (numbers){" val_score ", "", ""};
    case HPT__S_KNN:
        return (numbers){" train_images unreadable_images threads ", " val_score val_images ",
                         " test_score test_images "};
    case HPT__S_SIMILARITY:
        return (numbers){" images_compared unreadable_images threads ", "", ""};
    default:
        return (numbers){tuned, "", scores};
    }
}
static int has_input(const hpt_recipe *r, int section, const char *key) {
    const hpt__section *s = &r->sections[section];
    for (int i = s->first; i < s->first + s->count; i++)
        if (hpt__instance_input(&r->instances[i], key, 0) >= 0) return 1;
    return 0;
}
static const char *rest(const char *words) { return *words ? words + 1 : words; }      /* without the first blank */
/* Does a section give a number? l: the line that asks, or that names the section where the number is a default. */
static hpt_status gives(const hpt_recipe *r, const hpt__line *l, int section, const char *value, int written) {
    const hpt__section *s = &r->sections[section];
    numbers n = numbers_of(s->kind);
    int test = has_input(r, section, "test");
    int val = has_input(r, section, "val") || (s->kind == HPT__S_KNN && !test);     /* a fifth of train */
    if (hpt__word_in(" seed seconds images ", value) || hpt__word_in(n.all, value)) return HPT_OK;
    if ((val && hpt__word_in(n.val, value)) || (test && hpt__word_in(n.test, value))) return HPT_OK;
    const char *lacks = hpt__word_in(n.val, value)    ? "val"
                        : hpt__word_in(n.test, value) ? "test"
                                                      : NULL,
               *say = written ? "" : ", which is shown where no 'value' is written";
    if (lacks)
        return hpt__line_fail(l, "[%s %s] has no '%s' set and gives no '%.40s'%s", hpt__kinds[s->kind].word, s->name,
                              lacks, value, say);
    return hpt__line_fail(l, "[%s %s] gives no number '%.40s'%s; it gives%s%s%sseconds", hpt__kinds[s->kind].word,
                          s->name, value, say, n.all, val ? rest(n.val) : "", test ? rest(n.test) : "");
}

/* ---- values of the own keys of sections, read before anything is expanded ---- */

static hpt_status one_of(const hpt__line *l, const char *words) {
    if (hpt__word_in(words, l->value)) return HPT_OK;
    return hpt__line_fail(l, "%s is '%.60s', which is none of%.*s", l->key, l->value, (int)strlen(words) - 1, words);
}
static hpt_status whole(const hpt__line *l, double lo, double hi) {
    double v;
    if (hpt__whole_number(l->value, lo, hi, &v)) return HPT_OK;
    return hpt__line_fail(l, "%s is '%.60s', not a whole number from %.0f to %.0f", l->key, l->value, lo, hi);
}
/* "#rgb", "#rrggbb" or a word: it goes into the figure as it is. */
static int is_colour(const char *c) {
    size_t n = strlen(c);
    if (*c == '#') return (n == 4 || n == 7) && strspn(c + 1, "0123456789abcdefABCDEF") == n - 1;
    return n && n < 16 && strspn(c, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == n;
}
static const char *plot_keys(const char *kind) {
    if (!strcmp(kind, "heat")) return " title about kind of ";
    if (!strcmp(kind, "closeness")) return " title about kind of stages x value log ";
    if (!strcmp(kind, "bars")) return " title about kind stages x value minus relative ";
    return " title about kind stages x value log minus relative ";
}
hpt_status hpt__line_check(const hpt__section *s, const hpt__line *l) {
    double v;
    switch (s->kind) {
    case HPT__S_RECIPE:
        if (!strcmp(l->key, "jobs")) return whole(l, 1, 64);
        break;
    case HPT__S_DATA:
        if (!strcmp(l->key, "unique")) return one_of(l, " 0 1 ");
        if (!strcmp(l->key, "part")) return one_of(l, " taken rest ");
        break;
    case HPT__S_SIMILARITY:
        if (!strcmp(l->key, "metric")) return one_of(l, " rv2 rv2-linear iou ");
        break;
    case HPT__S_FINDING:
        if (!strcmp(l->key, "expect")) return one_of(l, " greater not-less equal ");
        if (!strcmp(l->key, "margin") && (!hpt__number_parse(l->value, &v) || v < 0))
            return hpt__line_fail(l, "margin is '%.60s', not a number from 0 on", l->value);
        break;
    case HPT__S_PLOT: {
        const char *kind = hpt__section_value(s, "kind", "lines");
        if (!strcmp(l->key, "kind")) return one_of(l, " lines bars heat closeness ");
        if (!hpt__word_in(" lines bars heat closeness ", kind)) break; /* said where it stands */
        if (!hpt__word_in(plot_keys(kind), l->key))
            return hpt__line_fail(l, "a figure of kind %s has no '%s'; it has%s", kind, l->key, plot_keys(kind));
        if (!strcmp(l->key, "log")) return one_of(l, " 0 1 ");
        break;
    }
    default:
        break;
    }
    if (!strcmp(l->key, "save_every")) return whole(l, 1, 1e9);
    if (!strcmp(l->key, "colour") && !is_colour(l->value))
        return hpt__line_fail(l, "colour is '%.60s', neither #rrggbb nor a word", l->value);
    return HPT_OK;
}

/* ---- tables, figures and sentences, after expanding ---- */

/* The i-th reference of a list; *section < 0: none is left. */
static hpt_status ref_at(const hpt_recipe *r, const hpt__line *l, int i, char ref[HPT__ITEM], int *section) {
    *section = -1;
    if (!hpt__list_item(l->value, i, ',', ref, HPT__ITEM)) return HPT_OK;
    if (!*ref) return hpt__line_fail(l, "an empty name in '%s'", l->key);
    HPT_TRY(hpt__ref_check(r, l, ref));
    *section = hpt__ref_section(r, ref);
    if (r->sections[*section].kind == HPT__S_DATA)
        return hpt__line_fail(l, "'%.60s' is [data]; '%s' wants stages", ref, l->key);
    return HPT_OK;
}
/* Every stage of a list gives the number. */
static hpt_status stages_give(const hpt_recipe *r, const hpt__section *s, const hpt__line *l, const char *missing) {
    const hpt__line *v = hpt__section_line(s, "value");
    char ref[HPT__ITEM];
    for (int i = 0, at;; i++) {
        HPT_TRY(ref_at(r, l, i, ref, &at));
        if (at < 0) return HPT_OK;
        HPT_TRY(gives(r, v ? v : l, at, v ? v->value : missing, v != NULL));
    }
}
/* At least one stage of a list has the variable that a line names, and no more values than fit. */
static hpt_status varies(const hpt_recipe *r, const hpt__line *by, const char *variable_name, const hpt__line *l,
                         int most) {
    char ref[HPT__ITEM], list[300] = "";
    int group[HPT__MAX_GROUPS], any = 0, n = hpt__groups(r, l->value, group, HPT__MAX_GROUPS), values = 0;
    for (int i = 0; i < n; i++) {
        const char *v = hpt__instance_var(&r->instances[group[i]], variable_name);
        int fresh = v != NULL;
        any |= fresh;
        for (int j = 0; j < i && fresh; j++) {
            const char *w = hpt__instance_var(&r->instances[group[j]], variable_name);
            fresh = !w || strcmp(v, w);
        }
        values += fresh;
    }
    if (values > most)
        return hpt__line_fail(by, "'%.60s' has %d values; at most %d can be shown", variable_name, values, most);
    if (any) return HPT_OK;
    for (int i = 0, at; !ref_at(r, l, i, ref, &at) && at >= 0; i++) variables_of(r, at, list, sizeof list);
    return hpt__line_fail(by, "no stage of '%.60s' has a variable '%.60s'; %s%s", l->value, variable_name,
                          *list ? "they have " : "nothing is swept there (sweep.KEY = a, b)", list);
}

static hpt_status check_table(const hpt_recipe *r, const hpt__section *s) {
    const hpt__line *stages = hpt__section_line(s, "stages"), *columns = hpt__section_line(s, "columns");
    HPT_TRY(stages_give(r, s, stages, "test_score"));
    return columns ? varies(r, columns, columns->value, stages, HPT__MAX_COLUMNS) : HPT_OK;
}

static hpt_status check_similarity_plot(const hpt_recipe *r, const hpt__section *s, const char *kind) {
    const hpt__line *of = hpt__section_line(s, "of"), *stages = hpt__section_line(s, "stages"),
                    *x = hpt__section_line(s, "x");
    const hpt__line here = {.line = s->line, .file = s->file}, *v = hpt__section_line(s, "value");
    if (!of) return hpt__line_fail(&here, "[plot %s] of kind %s needs a line 'of = ...': a similarity", s->name, kind);
    HPT_TRY(hpt__ref_check(r, of, of->value));
    int at = hpt__ref_section(r, of->value);
    if (r->sections[at].kind != HPT__S_SIMILARITY)
        return hpt__line_fail(of, "'of' wants a [similarity], '%.60s' is [%s]", of->value,
                              hpt__kinds[r->sections[at].kind].word);
    if (!strcmp(kind, "heat")) return HPT_OK;
    const hpt__line *compared = hpt__section_line(&r->sections[at], "of");
    char ref[HPT__ITEM];
    if (x && compared) HPT_TRY(varies(r, x, x->value, compared, HPT__MAX_POINTS));
    if (stages) return stages_give(r, s, stages, "val_score");
    for (int i = 0, k; compared; i++) {
        HPT_TRY(ref_at(r, compared, i, ref, &k));
        if (k < 0) break;
        if (!hpt__is_evaluation(r->sections[k].kind))
            return hpt__line_fail(
                &here,
                "[plot %s]: '%.60s' compares models; a line 'stages = ...' must say by which evaluation "
                "one is the best",
                s->name, of->value);
        HPT_TRY(gives(r, v ? v : of, k, v ? v->value : "val_score", v != NULL));
    }
    return HPT_OK;
}
static hpt_status check_plot(const hpt_recipe *r, const hpt__section *s) {
    const char *kind = hpt__section_value(s, "kind", "lines");
    const hpt__line *stages = hpt__section_line(s, "stages"), *x = hpt__section_line(s, "x"),
                    *minus = hpt__section_line(s, "minus");
    const hpt__line *relative = hpt__section_line(s, "relative"), here = {.line = s->line, .file = s->file};
    char ref[HPT__ITEM], list[300] = "";
    int n = 0, others = 0, bars = !strcmp(kind, "bars");
    if (!strcmp(kind, "heat") || !strcmp(kind, "closeness")) return check_similarity_plot(r, s, kind);
    if (!stages) return hpt__line_fail(&here, "[plot %s] of kind %s needs a line 'stages = ...'", s->name, kind);
    HPT_TRY(stages_give(r, s, stages, "test_score"));
    const char *by = x ? x->value : "steps";
    if (x || bars || relative) HPT_TRY(varies(r, x ? x : stages, by, stages, HPT__MAX_POINTS));
    while (hpt__list_item(stages->value, n, ',', ref, sizeof ref)) n++;
    for (int at; minus; others++) {
        HPT_TRY(ref_at(r, minus, others, ref, &at));
        if (at < 0) break;
        const hpt__line *v = hpt__section_line(s, "value");
        HPT_TRY(gives(r, v ? v : minus, at, v ? v->value : "test_score", v != NULL));
    }
    if (minus && others != 1 && others != n)
        return hpt__line_fail(minus, "'minus' names %d stages; one, or one for each of the %d of 'stages'", others, n);
    if (!relative) return HPT_OK;
    for (int i = 0, at; !ref_at(r, stages, i, ref, &at) && at >= 0; i++) {
        const hpt__section *t = &r->sections[at];
        for (int k = t->first; k < t->first + t->count; k++) {
            const char *v = hpt__instance_var(&r->instances[k], by);
            if (v && !strcmp(v, relative->value)) return HPT_OK;
        }
        values_of(r, at, by, list, sizeof list);
    }
    return hpt__line_fail(relative, "relative is '%.60s', but '%.60s' is %s", relative->value, by, list);
}

/* "stage[key=value]", "stage - stage", or a number. */
static hpt_status check_side(const hpt_recipe *r, const hpt__section *s, const hpt__line *l) {
    const hpt__line *v = hpt__section_line(s, "value");
    double number;
    char part[HPT__ITEM];
    const char *minus = strstr(l->value, " - ");
    if (hpt__number_parse(l->value, &number)) return HPT_OK;
    for (int i = 0; i < 2; i++) {
        if (i && !minus) break;
        if (i)
            snprintf(part, sizeof part, "%s", minus + 3);
        else
            snprintf(part, sizeof part, "%.*s", minus ? (int)(minus - l->value) : (int)strlen(l->value), l->value);
        hpt__line one = *l;
        char ref[HPT__ITEM];
        hpt__list_item(part, 0, '\n', ref, sizeof ref);
        if (!*ref)
            return hpt__line_fail(l, "'%.100s' is neither a stage, stage[key=value], stage - stage, nor a number",
                                  l->value);
        HPT_TRY(hpt__ref_check(r, &one, ref));
        int at = hpt__ref_section(r, ref);
        if (r->sections[at].kind == HPT__S_DATA)
            return hpt__line_fail(l, "'%.60s' is [data]; '%s' wants a stage", ref, l->key);
        HPT_TRY(gives(r, v ? v : l, at, v ? v->value : "test_score", v != NULL));
    }
    return HPT_OK;
}

/* ---- similarities and choices ---- */

static hpt_status check_similarity(const hpt_recipe *r, const hpt__section *s) {
    const hpt__line *metric = hpt__section_line(s, "metric"), *of = hpt__section_line(s, "of"),
                    *group = hpt__section_line(s, "group");
    const hpt__line here = {.line = s->line, .file = s->file};
    char ref[HPT__ITEM];
    if (!metric || !of) return HPT_OK; /* swept */
    int models = !strcmp(metric->value, "rv2");
    if (models && !has_input(r, (int)(s - r->sections), "data"))
        return hpt__line_fail(&here, "[similarity %s]: metric rv2 needs a line 'data = ...'", s->name);
    for (int i = 0, at;; i++) {
        HPT_TRY(ref_at(r, of, i, ref, &at));
        if (at < 0) break;
        const hpt__section *t = &r->sections[at];
        if (models && (t->kind == HPT__S_LINEAR || t->kind == HPT__S_KNN || t->kind == HPT__S_SIMILARITY))
            return hpt__line_fail(of, "metric rv2 compares models; [%s %s] makes none", hpt__kinds[t->kind].word,
                                  t->name);
        if (models) continue;
        if (t->kind != HPT__S_LINEAR && t->kind != HPT__S_FINETUNE)
            return hpt__line_fail(of, "metric %s compares predictions of [linear] or [finetune] stages; '%s' is [%s]",
                                  metric->value, t->name, hpt__kinds[t->kind].word);
        if (!has_input(r, at, "test"))
            return hpt__line_fail(of, "metric %s compares predictions on test images; [%s %s] has no 'test'",
                                  metric->value, hpt__kinds[t->kind].word, t->name);
        for (int k = t->first; k < t->first + t->count; k++) {
            hpt_config *c;
            HPT_TRY(hpt__instance_config(r, &r->instances[k], &c));
            int kept = OPT_I(&c->o, probe_keep) != 0;
            hpt_config_destroy(c);
            if (!kept)
                return hpt__line_fail(of, "metric %s needs 'probe_keep = 1' in [%s %s]", metric->value,
                                      hpt__kinds[t->kind].word, t->name);
        }
    }
    return group ? varies(r, group, group->value, of, HPT__MAX_GROUPS) : HPT_OK;
}
static hpt_status check_choice(const hpt_recipe *r, const hpt__section *s) {
    const hpt__line *by = hpt__section_line(s, "by"), *of = hpt__section_line(s, "of");
    int at = of ? hpt__ref_section(r, of->value) : -1;
    return at < 0 ? HPT_OK : gives(r, by ? by : of, at, by ? by->value : "val_score", by != NULL);
}

hpt_status hpt__recipe_check_reports(const hpt_recipe *r) {
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        hpt_status st = HPT_OK;
        switch (s->kind) {
        case HPT__S_TABLE:
            st = check_table(r, s);
            break;
        case HPT__S_PLOT:
            st = check_plot(r, s);
            break;
        case HPT__S_SIMILARITY:
            st = check_similarity(r, s);
            break;
        case HPT__S_CHOOSE:
            st = check_choice(r, s);
            break;
        case HPT__S_FINDING:
            st = check_side(r, s, hpt__section_line(s, "left"));
            if (!st) st = check_side(r, s, hpt__section_line(s, "right"));
            break;
        case HPT__S_DATA: /* one that nothing uses is not opened, but names what exists */
            for (int k = 0; k < s->n && !st && !s->expanded; k++)
                if (hpt__word_in(hpt__kinds[s->kind].refs, s->lines[k].key) &&
                    hpt__ref_section(r, s->lines[k].value) < 0)
                    st = hpt__no_section(r, &s->lines[k], s->lines[k].value);
            break;
        default:
            break;
        }
        HPT_TRY(st);
    }
    return HPT_OK;
}

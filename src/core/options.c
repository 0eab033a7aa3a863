/* SPDX-License-Identifier: MIT
 * Values for the option table: text checked and kept, with type and range, what is in force (what was set, else what
 * the preset has, else the default), which keys a stage or a method takes, the nearest key for a typing error, and
 * whether all of it fits together for a stage. What options are to a result: options_hash.c. */
#include "core/options.h"
#include "core/alloc.h"
#include "core/number.h"
#include "core/presets.h"
#include "core/text.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct row {
    const char *key, *stages, *methods;
    int type;
    double def, lo, hi;
    const char *text, *doc;     /* text: default of TEXT, choices of CHOICE */
    const char *choice;         /* default word of CHOICE */
} row;

static const row table[HPT__OPT_COUNT] = {
#define INT(key, stages, methods, def, lo, hi, doc) \
    {#key, #stages, methods, HPT_OPTION_INT, def, lo, hi, NULL, doc, NULL},
#define FLT(key, stages, methods, def, lo, hi, doc) \
    {#key, #stages, methods, HPT_OPTION_FLOAT, def, lo, hi, NULL, doc, NULL},
#define TXT(key, stages, methods, def, doc) \
    {#key, #stages, methods, HPT_OPTION_TEXT, 0, 0, 0, def, doc, NULL},
#define CHO(key, stages, methods, def, choices, doc) \
    {#key, #stages, methods, HPT_OPTION_CHOICE, 0, 0, 0, choices, doc, def},
#include "core/options.def"
};

static const struct { char letter; const char *name; } stage_names[] = {
    {'C', "context"}, {'D', "dataset"}, {'M', "model"}, {'P', "pretrain"}, {'R', "refresh-bn"}, {'L', "linear"},
        {'F', "finetune"},
    {'K', "knn"}, {'S', "search"}, {'E', "embed"}, {'A', "score"}};
#define STAGES ((int)(sizeof stage_names / sizeof *stage_names))

char hpt__options_stage(const char *name) {
    for (int i = 0; i < STAGES; i++)
        if (!strcmp(stage_names[i].name, name)) return stage_names[i].letter;
    return 0;
}

const char *hpt__options_stage_name(char letter) {
    for (int i = 0; i < STAGES; i++)
        if (stage_names[i].letter == letter) return stage_names[i].name;
    return "";
}

int hpt__options_applies(int opt, char stage) {
    const char *s = table[opt].stages;
    /* a search pretrains and probes */
    return !stage || strchr(s, stage) || (stage == 'S' && (strchr(s, 'P') || strchr(s, 'L')));
}
const char *hpt__options_key(int opt) { return table[opt].key; }
int hpt__options_type(int opt) { return table[opt].type; }

void hpt__options_init(hpt__options *o, char stage) {
    memset(o, 0, sizeof *o);
    o->stage = stage;
}

void hpt__options_fini(hpt__options *o) {
    for (int i = 0; i < HPT__OPT_COUNT; i++) hpt__free(o->v[i].s);
    memset(o, 0, sizeof *o);
}

hpt_status hpt__options_copy(hpt__options *dst, const hpt__options *src) {
    hpt__options_init(dst, 0);
    if (!src) return HPT_OK;
    *dst = *src;
    dst->stage = 0;
    for (int i = 0; i < HPT__OPT_COUNT; i++) dst->v[i].s = NULL;
    for (int i = 0; i < HPT__OPT_COUNT; i++)
        if (src->v[i].s && !(dst->v[i].s = hpt__strdup(src->v[i].s))) {
            hpt__options_fini(dst);
            return hpt__fail_memory(strlen(src->v[i].s));
        }
    return HPT_OK;
}

static hpt_status find(const char *key, int *opt) {
    int best = -1, score = 99;
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        if (!strcmp(table[i].key, key)) {
            *opt = i;
            return HPT_OK;
        }
        int d = hpt__word_slips(key, table[i].key);
        if (d < score) best = i, score = d;
    }
    if (best >= 0 && score <= 3)
        return hpt__fail(HPT_ERR_OPTION, "unknown option '%.64s', did you mean '%s'?", key, table[best].key);
    return hpt__fail(HPT_ERR_OPTION, "unknown option '%.64s' (`hpt options` lists them)", key);
}

static int choice_index(const char *choices, const char *word) {
    int index = 0;
    size_t n = strlen(word);
    for (const char *p = choices;; index++) {
        size_t len = strcspn(p, "|");
        if (len == n && !memcmp(p, word, n)) return index;
        if (!p[len]) return -1;
        p += len + 1;
    }
}

static const char *choice_word(const char *choices, int64_t index, char word[32]) {
    while (index-- > 0) choices += strcspn(choices, "|") + 1;
    snprintf(word, 32, "%.*s", (int)strcspn(choices, "|"), choices);
    return word;
}

const char *hpt__options_other_method(int opt, const char *method) {
    const char *methods = table[opt].methods;
    return *methods && choice_index(methods, method) < 0 ? methods : NULL;
}

/* A word that is none of an option's, but one of a method's own option of that name (classifier, mme_classifier). */
static hpt_status no_such_word(const row *r, const char *text) {
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        const char *tail = strchr(table[i].key, '_');
        if (*table[i].methods && tail && !strcmp(tail + 1, r->key) && table[i].type == HPT_OPTION_CHOICE &&
            choice_index(table[i].text, text) >= 0)
            return hpt__fail(HPT_ERR_OPTION, "option '%s': '%.64s' is none of %s; of method=%s it is option '%s'",
                             r->key, text, r->text, table[i].methods, table[i].key);
    }
    return hpt__fail(HPT_ERR_OPTION, "option '%s': '%.64s' is none of %s", r->key, text, r->text);
}

/* Text of an option's type and range, as a value; v->s is the text itself, not a copy. */
static hpt_status read_value(int opt, const char *text, hpt__option_value *v) {
    const row *r = &table[opt];
    const char *key = r->key;
    *v = (hpt__option_value){0};
    if (r->type == HPT_OPTION_TEXT) {
        if (strlen(text) > 4000) return hpt__fail(HPT_ERR_OPTION, "option '%s': text longer than 4000 bytes", key);
        v->s = (char *)(uintptr_t)text;
    } else if (r->type == HPT_OPTION_CHOICE) {
        int index = choice_index(r->text, text);
        if (index < 0) return no_such_word(r, text);
        v->i = index;
    } else {
        double x;
        const char *kind = r->type == HPT_OPTION_INT ? "a whole number" : "a number";
        if (!hpt__number_parse(text, &x) || (r->type == HPT_OPTION_INT && x != floor(x)))
            return hpt__fail(HPT_ERR_OPTION, "option '%s': '%.64s' is not %s", key, text, kind);
        if (!(x >= r->lo && x <= r->hi))
            return hpt__fail(HPT_ERR_OPTION, "option '%s': %.64s is outside %.16g..%.16g", key, text, r->lo, r->hi);
        if (opt == HPT__OPT_width && fmod(x, 16) != 0)
            return hpt__fail(HPT_ERR_OPTION, "option 'width': %.64s is not a multiple of 16", text);
        v->i = (int64_t)x;
        v->f = x;
    }
    v->set = 1;
    return HPT_OK;
}

hpt_status hpt__options_set(hpt__options *o, const char *key, const char *text) {
    hpt__option_value v;
    int opt;
    HPT_TRY(find(key, &opt));
    if (!hpt__options_applies(opt, o->stage))
        return hpt__fail(HPT_ERR_OPTION, "option '%s' does not belong to this stage", key);
    HPT_TRY(read_value(opt, text, &v));
    if (opt == HPT__OPT_preset) HPT_TRY(hpt__preset_fits((int)v.i, o->stage));
    if (v.s && !(v.s = hpt__strdup(v.s))) return hpt__fail_memory(strlen(text));
    hpt__free(o->v[opt].s);
    o->v[opt] = v;
    return HPT_OK;
}

static int preset_of(const hpt__options *o) { return o ? (int)o->v[HPT__OPT_preset].i : 0; }

/* What goes before the default: what was set, else what the preset has (in room), else NULL. */
static const hpt__option_value *given(const hpt__options *o, int opt, hpt__option_value *room) {
    if (!o) return NULL;
    if (o->v[opt].set) return &o->v[opt];
    const char *text = preset_of(o) ? hpt__preset_value(preset_of(o), opt) : NULL;
    return text && !read_value(opt, text, room) ? room : NULL;
}

int64_t hpt__opt_i(const hpt__options *o, int opt) {
    hpt__option_value room;
    const hpt__option_value *v = given(o, opt, &room);
    return v ? v->i : (int64_t)table[opt].def;
}
double hpt__opt_f(const hpt__options *o, int opt) {
    hpt__option_value room;
    const hpt__option_value *v = given(o, opt, &room);
    return v ? v->f : table[opt].def;
}
const char *hpt__opt_s(const hpt__options *o, int opt) {
    hpt__option_value room;
    const hpt__option_value *v = given(o, opt, &room);
    if (table[opt].type == HPT_OPTION_TEXT) return v ? v->s : table[opt].text;
    static _Thread_local char word[4][32];   /* up to four words may be in use in one expression */
    static _Thread_local int turn;
    turn = (turn + 1) & 3;
    return choice_word(table[opt].text, v ? v->i : choice_index(table[opt].text, table[opt].choice), word[turn]);
}
int hpt__opt_is(const hpt__options *o, int opt, const char *choice) { return !strcmp(hpt__opt_s(o, opt), choice); }

hpt_status hpt__options_get(const hpt__options *o, const char *key, char *buf, size_t size, int *out) {
    int opt;
    HPT_TRY(find(key, &opt));
    if (out) *out = opt;
    switch (table[opt].type) {
    case HPT_OPTION_INT: snprintf(buf, size, "%lld", (long long)hpt__opt_i(o, opt)); break;
    case HPT_OPTION_FLOAT: hpt__number_print(hpt__opt_f(o, opt), buf, size); break;
    default: snprintf(buf, size, "%s", hpt__opt_s(o, opt));
    }
    return HPT_OK;
}

int hpt__options_changed(const hpt__options *o, int opt) {
    const row *r = &table[opt];
    const hpt__option_value *v = &o->v[opt];
    if (!v->set) return 0;
    if (r->type == HPT_OPTION_TEXT) return strcmp(v->s, r->text) != 0;
    if (r->type == HPT_OPTION_CHOICE) return v->i != choice_index(r->text, r->choice);
    return v->f > r->def || v->f < r->def;
}

hpt_status hpt__options_check(const hpt__options *o, char stage) {
    char method[32], of[64] = "";
    int preset = preset_of(o);
    HPT_TRY(hpt__preset_fits(preset, stage));
    if (!o || !strchr("PS", stage)) return HPT_OK;
    snprintf(method, sizeof method, "%s", OPT_S(o, method));
    if (*hpt__preset_method(preset) && strcmp(hpt__preset_method(preset), method))
        return hpt__fail(HPT_ERR_OPTION, "options 'preset' and 'method' contradict each other: preset=%s is of "
                         "method=%s, not of method=%s", hpt__preset_name(preset), hpt__preset_method(preset), method);
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        const char *others = hpt__options_changed(o, i) ? hpt__options_other_method(i, method) : NULL;
        if (!others || !hpt__options_applies(i, 'P')) continue;
        for (const char *p = others; *p; p += *p == '|') {
            size_t n = strcspn(p, "|"), at = strlen(of);
            snprintf(of + at, sizeof of - at, "%s%.*s", at ? " or " : "", (int)n, p);
            p += n;
        }
        return hpt__fail(HPT_ERR_OPTION, "option '%s' is of method=%s and means nothing to method=%s: leave it out",
                         table[i].key, of, method);
    }
    return HPT_OK;
}

/* Text that describe() hands out, until the next call on the thread. */
static _Thread_local char def_text[32], range_text[80], stages_text[128];

hpt_status hpt__options_describe(char stage, uint32_t index, hpt_option_info *info) {
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        if (!hpt__options_applies(i, stage) || index-- > 0) continue;
        const row *r = &table[i];
        info->type = r->type;
        info->key = r->key;
        info->doc = r->doc;
        info->since = "0.1";
        info->methods = r->methods;
        info->range = range_text;
        range_text[0] = 0;
        stages_text[0] = 0;
        for (int s = 0; s < STAGES; s++)
            if (strchr(r->stages, stage_names[s].letter))
                snprintf(stages_text + strlen(stages_text), sizeof stages_text - strlen(stages_text), "%s%s",
                         stages_text[0] ? " " : "", stage_names[s].name);
        info->stages = stages_text;
        info->def = def_text;
        if (r->type == HPT_OPTION_TEXT) info->def = r->text;
        else if (r->type == HPT_OPTION_CHOICE) info->def = r->choice, info->range = r->text;
        else {
            char lo[24], hi[24];
            hpt__number_print(r->def, def_text, sizeof def_text);
            hpt__number_print(r->lo, lo, sizeof lo);
            hpt__number_print(r->hi, hi, sizeof hi);
            snprintf(range_text, sizeof range_text, "%s..%s", lo, hi);
        }
        return HPT_OK;
    }
    return HPT_END;
}

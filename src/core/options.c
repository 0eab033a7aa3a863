/* SPDX-License-Identifier: MIT
 * The option table of options.def as data, and values for it: setting with type and range, words of choices, which
 * keys a stage or a method takes, the nearest key for a typing error. What options are to a result: options_hash.c. */
#include "core/options.h"
#include "core/alloc.h"
#include "core/number.h"
#include "core/text.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct row {
    const char *key, *stages;
    int type;
    double def, lo, hi;
    const char *text, *doc;     /* text: default of TEXT, choices of CHOICE */
    const char *choice;         /* default word of CHOICE */
} row;

static const row table[HPT__OPT_COUNT] = {
#define INT(key, stages, def, lo, hi, doc) {#key, #stages, HPT_OPTION_INT, def, lo, hi, NULL, doc, NULL},
#define FLT(key, stages, def, lo, hi, doc) {#key, #stages, HPT_OPTION_FLOAT, def, lo, hi, NULL, doc, NULL},
#define TXT(key, stages, def, doc) {#key, #stages, HPT_OPTION_TEXT, 0, 0, 0, def, doc, NULL},
#define CHO(key, stages, def, choices, doc) {#key, #stages, HPT_OPTION_CHOICE, 0, 0, 0, choices, doc, def},
#include "core/options.def"
};

/* Keys that mean something to one method of pretraining only; all others are every method's. */
static const struct { int opt; const char *methods; } of_method[] = {
    {HPT__OPT_moco_k, "moco"}, {HPT__OPT_moco_m, "moco"}, {HPT__OPT_moco_t, "moco"}, {HPT__OPT_shuffle_bn, "moco"},
    {HPT__OPT_carry_queue, "moco"}, {HPT__OPT_byol_m, "byol"}, {HPT__OPT_byol_hidden, "byol"},
    {HPT__OPT_label_smoothing, "supervised"}, {HPT__OPT_class_weights, "supervised"}};

static const struct { char letter; const char *name; } stage_names[] = {
    {'C', "context"}, {'D', "dataset"}, {'M', "model"}, {'P', "pretrain"}, {'R', "refresh-bn"}, {'L', "linear"},
        {'F', "finetune"},
    {'K', "knn"}, {'S', "search"}, {'E', "embed"}};
#define STAGES ((int)(sizeof stage_names / sizeof *stage_names))

char hpt__options_stage(const char *name) {
    for (int i = 0; i < STAGES; i++)
        if (!strcmp(stage_names[i].name, name)) return stage_names[i].letter;
    return 0;
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

const char *hpt__options_other_method(int opt, const char *method) {
    for (size_t i = 0; i < sizeof of_method / sizeof *of_method; i++)
        if (of_method[i].opt == opt && strcmp(of_method[i].methods, method)) return of_method[i].methods;
    return NULL;
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

hpt_status hpt__options_set(hpt__options *o, const char *key, const char *text) {
    int opt;
    HPT_TRY(find(key, &opt));
    const row *r = &table[opt];
    if (!hpt__options_applies(opt, o->stage))
        return hpt__fail(HPT_ERR_OPTION, "option '%s' does not belong to this stage", key);
    hpt__option_value *v = &o->v[opt];
    if (r->type == HPT_OPTION_TEXT) {
        if (strlen(text) > 4000) return hpt__fail(HPT_ERR_OPTION, "option '%s': text longer than 4000 bytes", key);
        char *copy = hpt__strdup(text);
        if (!copy) return hpt__fail_memory(strlen(text));
        hpt__free(v->s);
        v->s = copy;
    } else if (r->type == HPT_OPTION_CHOICE) {
        int index = choice_index(r->text, text);
        if (index < 0) return hpt__fail(HPT_ERR_OPTION, "option '%s': '%.64s' is none of %s", key, text, r->text);
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

int64_t hpt__opt_i(const hpt__options *o, int opt) {
    return o && o->v[opt].set ? o->v[opt].i : (int64_t)table[opt].def;
}
double hpt__opt_f(const hpt__options *o, int opt) { return o && o->v[opt].set ? o->v[opt].f : table[opt].def; }
const char *hpt__opt_s(const hpt__options *o, int opt) {
    if (table[opt].type == HPT_OPTION_TEXT) return o && o->v[opt].set ? o->v[opt].s : table[opt].text;
    static _Thread_local char word[4][32];   /* up to four words may be in use in one expression */
    static _Thread_local int turn;
    turn = (turn + 1) & 3;
    int64_t i = o && o->v[opt].set ? o->v[opt].i : choice_index(table[opt].text, table[opt].choice);
    return choice_word(table[opt].text, i, word[turn]);
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

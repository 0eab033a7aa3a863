/* SPDX-License-Identifier: MIT
 * Sections to instances. A stage has one instance for each seed, each combination of the instances that it refers
 * to, and each combination of its own sweeps; a variable that two of its inputs share must have one value in both. */
#include "recipe/recipe.h"
#include "core/alloc.h"
#include "core/presets.h"
#include "core/number.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_INSTANCES = 100000, MAX_DEPTH = 64 };     /* each stage of a row takes some 40 KiB of the stack */

/* ---- looking things up ---- */

static const char *last_part(const char *id) {
    const char *dot = strchr(id, '.');
    return dot ? dot + 1 : id;
}
const char *hpt__instance_var(const hpt__instance *in, const char *key) {
    for (int i = 0; i < in->n_vars; i++)
        if (!strcmp(in->vars[i].id, key)) return in->vars[i].value;
    for (int i = 0; i < in->n_vars; i++)
        if (!strcmp(last_part(in->vars[i].id), key)) return in->vars[i].value;
    return NULL;
}
const char *hpt__instance_value(const hpt_recipe *r, const hpt__instance *in, const char *key) {
    const hpt__section *s = &r->sections[in->section];
    char id[160];
    static _Thread_local char found[HPT__ITEM];
    snprintf(id, sizeof id, "%s.%s", s->name, key);
    for (int i = 0; i < in->n_vars; i++)
        if (!strcmp(in->vars[i].id, id)) return in->vars[i].value;
    snprintf(id, sizeof id, "%s.variant", s->name);
    for (int i = 0; i < in->n_vars; i++) {      /* "aug_gray=0 aug_jitter=0" of the variant's line */
        char line[96], item[HPT__ITEM];
        if (strcmp(in->vars[i].id, id)) continue;
        snprintf(line, sizeof line, "variant.%.80s", in->vars[i].value);
        const char *pairs = hpt__section_value(s, line, "");
        for (int j = 0; hpt__list_item(pairs, j, ' ', item, sizeof item); j++) {
            char *eq = strchr(item, '=');
            if (!eq) continue;
            *eq = 0;
            if (strcmp(item, key)) continue;
            snprintf(found, sizeof found, "%s", eq + 1);
            return found;
        }
    }
    return hpt__section_value(s, key, NULL);
}
int hpt__instance_input(const hpt__instance *in, const char *key, int from) {
    for (int i = from; i < in->n_input; i++)
        if (!strcmp(in->input[i].key, key)) return i;
    return -1;
}

static void ref_name(const char *ref, char name[128]) {
    size_t n = strcspn(ref, "[");
    while (n && (ref[n - 1] == ' ' || ref[n - 1] == '\t')) n--;
    snprintf(name, 128, "%.*s", (int)(n < 127 ? n : 127), ref);
}
int hpt__ref_section(const hpt_recipe *r, const char *ref) {
    char name[128];
    ref_name(ref, name);
    return hpt__section_find(r, name);
}
int hpt__ref_filter(const char *ref, int i, char key[HPT__ITEM], char **value) {
    char filter[HPT__ITEM];
    const char *open = strchr(ref, '['), *close = open ? strchr(open, ']') : NULL;
    if (!close) return 0;
    snprintf(filter, sizeof filter, "%.*s", (int)(close - open - 1), open + 1);
    if (!hpt__list_item(filter, i, ',', key, HPT__ITEM)) return 0;
    char *eq = strchr(key, '=');
    if (!eq) return -1;
    *value = eq + 1 + strspn(eq + 1, " \t");
    do *eq = 0;
    while (eq-- > key && (*eq == ' ' || *eq == '\t'));
    return 1;
}
int hpt__ref_matches(const hpt_recipe *r, const char *ref, const hpt__instance *in) {
    char name[128], item[HPT__ITEM], *value;
    ref_name(ref, name);
    if (strcmp(r->sections[in->section].name, name)) return 0;
    for (int i = 0; hpt__ref_filter(ref, i, item, &value) > 0; i++) {
        const char *v = hpt__instance_var(in, item);
        double a, b;
        if (!v) return 0;
        if (strcmp(v, value) && !(hpt__number_parse(v, &a) && hpt__number_parse(value, &b) && a == b)) return 0;
    }
    return 1;
}

/* ---- building ---- */

static hpt_status copy_vars(hpt__instance *in, const hpt__instance *from, int *conflict) {
    *conflict = 0;
    for (int i = 0; i < from->n_vars; i++) {
        int have = -1;
        for (int j = 0; j < in->n_vars; j++)
            if (!strcmp(in->vars[j].id, from->vars[i].id)) have = j;
        if (have >= 0) {
            if (strcmp(in->vars[have].value, from->vars[i].value)) *conflict = 1;
            continue;
        }
        hpt__var *more = hpt__realloc(in->vars, sizeof *more * (size_t)(in->n_vars + 1));
        if (!more) return hpt__fail_memory(64);
        in->vars = more;
        in->vars[in->n_vars] = (hpt__var){hpt__strdup(from->vars[i].id), hpt__strdup(from->vars[i].value)};
        in->n_vars++;
        if (!in->vars[in->n_vars - 1].id || !in->vars[in->n_vars - 1].value) return hpt__fail_memory(64);
    }
    return HPT_OK;
}
static hpt_status add_var(hpt__instance *in, const char *section, const char *key, const char *value) {
    char id[160];
    hpt__var v = {id, (char *)(uintptr_t)value};
    hpt__instance one = {.vars = &v, .n_vars = 1};
    int conflict;
    snprintf(id, sizeof id, "%.70s.%.80s", section, key);
    return copy_vars(in, &one, &conflict);
}
void hpt__instance_fini(hpt__instance *in) {
    for (int i = 0; i < in->n_vars; i++) {
        hpt__free(in->vars[i].id);
        hpt__free(in->vars[i].value);
    }
    hpt__free(in->vars);
    hpt__free(in->input);
    hpt__free(in->file);
    hpt__free(in->known_set);
    hpt__free(in->name);
    hpt__free(in->dir);
    hpt_dataset_destroy(in->ds);
    json_decref(in->result);
    memset(in, 0, sizeof *in);
}
static hpt_status copy_instance(hpt__instance *to, const hpt__instance *from) {
    int conflict;
    *to = (hpt__instance){.section = from->section, .seed = from->seed};
    HPT_TRY(copy_vars(to, from, &conflict));
    if (from->file && !(to->file = hpt__strdup(from->file))) return hpt__fail_memory(64);
    if (!from->n_input) return HPT_OK;
    if (!(to->input = hpt__alloc(sizeof *to->input * (size_t)from->n_input))) return hpt__fail_memory(64);
    memcpy(to->input, from->input, sizeof *to->input * (size_t)from->n_input);
    to->n_input = from->n_input;
    return HPT_OK;
}
static hpt_status add_input(hpt__instance *in, const char *key, int instance) {
    hpt__recipe_input *more = hpt__realloc(in->input, sizeof *more * (size_t)(in->n_input + 1));
    if (!more) return hpt__fail_memory(64);
    in->input = more;
    in->input[in->n_input++] = (hpt__recipe_input){key, instance};
    return HPT_OK;
}
static hpt_status push(hpt_recipe *r, hpt__instance *in) {
    if (r->n_instances >= MAX_INSTANCES)
        return hpt__fail(HPT_ERR_FORMAT, "%.300s: more than %d stages", r->path, MAX_INSTANCES);
    if (r->n_instances == r->cap_instances) {
        int cap = r->cap_instances ? 2 * r->cap_instances : 256;
        hpt__instance *more = hpt__realloc(r->instances, sizeof *more * (size_t)cap);
        if (!more) return hpt__fail_memory(sizeof *more * (size_t)cap);
        r->instances = more;
        r->cap_instances = cap;
    }
    r->instances[r->n_instances++] = *in;
    memset(in, 0, sizeof *in);
    return HPT_OK;
}

/* Does an instance of a referred section belong to this seed? One without seeds, or with other seeds than ours,
 * serves all with its first. */
static int seed_fits(const hpt_recipe *r, const hpt__section *s, const hpt__instance *p, int64_t seed) {
    if (p->seed < 0 || p->seed == seed) return 1;
    for (int i = s->first; i < s->first + s->count; i++)
        if (r->instances[i].seed == seed) return 0;
    return p->seed == r->instances[s->first].seed;
}

static hpt_status expand_section(hpt_recipe *r, int at, const hpt__line *from);

typedef struct expansion { hpt_recipe *r; int section; const char *ref_keys[8]; int n_refs; } expansion;

static hpt_status expand_sweeps(expansion *b, hpt__instance *in, int line);

static hpt_status expand_refs(expansion *b, hpt__instance *in, int ref);

/* Equal in every variable but those called over? */
static int equal_but(const hpt__instance *a, const hpt__instance *b, const char *over) {
    if (a->n_vars != b->n_vars || a->section != b->section) return 0;
    for (int i = 0; i < a->n_vars; i++) {
        const char *v = hpt__instance_var(b, a->vars[i].id);
        if (!v || (strcmp(v, a->vars[i].value) && strcmp(last_part(a->vars[i].id), over) &&
                   strcmp(a->vars[i].id, over))) return 0;
    }
    return 1;
}
/* One instance for each group of evaluations that differ in the variable "over" alone; its inputs are the group. */
static hpt_status expand_choice(expansion *b, hpt__instance *in, int ref, const hpt__line *l, const char *text) {
    hpt_recipe *r = b->r;
    const char *over = hpt__section_value(&r->sections[b->section], "over", "");
    int target = hpt__ref_section(r, text);
    if (target < 0) return hpt__no_section(r, l, text);
    hpt__section_kind kind = r->sections[target].kind;
    if (!hpt__is_evaluation(kind))
        return hpt__line_fail(l, "'of' wants an evaluation, '%.60s' is [%s]", text, hpt__kinds[kind].word);
    HPT_TRY(expand_section(r, target, l));
    HPT_TRY(hpt__ref_check(r, l, text));
    const hpt__line *named = hpt__section_line(&r->sections[b->section], "over");
    if (!hpt__section_varies(r, target, over)) return hpt__no_variable(r, named ? named : l, target, over);
    int first = r->sections[target].first, end = first + r->sections[target].count;
    for (int i = first; i < end; i++) {
        const hpt__section *t = &r->sections[target];
        hpt__instance next;
        int fresh = hpt__ref_matches(r, text, &r->instances[i]) && seed_fits(r, t, &r->instances[i], in->seed),
            conflict = 0;
        for (int j = first; j < i && fresh; j++)
            fresh = r->instances[j].seed != r->instances[i].seed || !hpt__ref_matches(r, text, &r->instances[j]) ||
                !equal_but(&r->instances[i], &r->instances[j], over);
        if (!fresh) continue;
        hpt_status st = copy_instance(&next, in);
        for (int k = 0; k < r->instances[i].n_vars && !st; k++) {
            hpt__instance one = {.vars = &r->instances[i].vars[k], .n_vars = 1};
            if (strcmp(last_part(one.vars->id), over) && strcmp(one.vars->id, over))
                st = copy_vars(&next, &one, &conflict);
        }
        for (int j = i; j < end && !st; j++)
            if (r->instances[j].seed == r->instances[i].seed && hpt__ref_matches(r, text, &r->instances[j]) &&
                equal_but(&r->instances[i], &r->instances[j], over)) st = add_input(&next, "of", j);
        if (!st && !conflict) st = expand_refs(b, &next, ref + 1);
        hpt__instance_fini(&next);
        HPT_TRY(st);
    }
    return HPT_OK;
}

/* The reference of key number ref: each matching instance in turn (product), or all of them (group). */
static hpt_status expand_refs(expansion *b, hpt__instance *in, int ref) {
    hpt_recipe *r = b->r;
    hpt__section *s = &r->sections[b->section];
    if (ref == b->n_refs) return expand_sweeps(b, in, 0);
    const char *key = b->ref_keys[ref];
    const char *value = hpt__instance_value(r, in, key);
    const hpt__line *l = hpt__section_line(s, key);
    char item[HPT__ITEM], id[96];
    if (!l) {
        snprintf(id, sizeof id, "sweep.%.80s", key);
        l = hpt__section_line(s, id);
    }
    if (!value || !*value || !strcmp(value, "random") || !strcmp(value, "none")) return expand_refs(b, in, ref + 1);
    int group = hpt__word_in(hpt__kinds[s->kind].lists, key);
    char text[HPT__ITEM];
    snprintf(text, sizeof text, "%s", value);
    if (!group) {
        int target = hpt__ref_section(r, text);
        hpt_status st = HPT_OK;
        if (target < 0) {           /* a file with weights */
            int file = !strcmp(key, "init") || !strcmp(key, "model");
            if (!file || (!strchr(text, '.') && !strchr(text, '/'))) return hpt__no_section(r, l, text);
            if (!(in->file = hpt__strdup(text))) return hpt__fail_memory(64);
            return expand_refs(b, in, ref + 1);
        }
        hpt__section *t = &r->sections[target];
        int wants_data = strcmp(key, "init") && strcmp(key, "model");
        if (wants_data != (t->kind == HPT__S_DATA))
            return hpt__line_fail(l, "'%s' wants %s, '%.60s' is [%s]", key, wants_data ? "a [data] section"
                                  : "a stage with a model", text, hpt__kinds[t->kind].word);
        if (!wants_data && t->kind != HPT__S_PRETRAIN && t->kind != HPT__S_REFRESH && t->kind != HPT__S_SEARCH &&
            t->kind != HPT__S_CHOOSE && t->kind != HPT__S_FINETUNE && t->kind != HPT__S_ADAPT) return hpt__line_fail(l,
            "[%s %s] makes no model", hpt__kinds[t->kind].word, t->name);
        HPT_TRY(expand_section(r, target, l));
        HPT_TRY(hpt__ref_check(r, l, text));
        t = &r->sections[target];
        for (int i = t->first, n = t->first + t->count; i < n && !st; i++) {
            hpt__instance next;
            int conflict;
            if (!hpt__ref_matches(r, text, &r->instances[i]) ||
                (in->seed >= 0 && !seed_fits(r, t, &r->instances[i], in->seed))) continue;
            if (in->seed < 0 && r->instances[i].seed >= 0 && r->instances[i].seed != r->instances[t->first].seed)
                continue;
            st = copy_instance(&next, in);
            if (!st) st = copy_vars(&next, &r->instances[i], &conflict);
            if (!st) st = add_input(&next, key, i);
            if (!st && !conflict) st = expand_refs(b, &next, ref + 1);
            hpt__instance_fini(&next);
        }
        return st;
    }
    if (s->kind == HPT__S_CHOOSE) return expand_choice(b, in, ref, l, text);
    for (int k = 0; hpt__list_item(text, k, ',', item, sizeof item); k++) {
        int target = hpt__ref_section(r, item), found = 0;
        if (target < 0) return hpt__no_section(r, l, item);
        int data = !strcmp(key, "sources");
        if (data != (r->sections[target].kind == HPT__S_DATA))
            return hpt__line_fail(l, "'%s' wants %s, '%.60s' is [%s]", key, data ? "[data] sections" : "stages", item,
                                  hpt__kinds[r->sections[target].kind].word);
        HPT_TRY(expand_section(r, target, l));
        HPT_TRY(hpt__ref_check(r, l, item));
        const hpt__section *t = &r->sections[target];
        for (int i = t->first; i < t->first + t->count; i++)
            if (hpt__ref_matches(r, item, &r->instances[i]) && (!data || seed_fits(r, t, &r->instances[i], in->seed))) {
                HPT_TRY(add_input(in, key, i));
                found = 1;
            }
        if (!found) return hpt__line_fail(l, "nothing matches '%.100s'", item);
    }
    return expand_refs(b, in, ref + 1);
}

/* Own sweeps, line by line: "sweep.KEY = a, b", and all "variant.NAME" lines together. Swept references were chosen
 * before. */
static hpt_status expand_sweeps(expansion *b, hpt__instance *in, int line) {
    hpt_recipe *r = b->r;
    hpt__section *s = &r->sections[b->section];
    char item[HPT__ITEM];
    for (; line < s->n; line++) {
        const char *key = s->lines[line].key;
        if (strncmp(key, "sweep.", 6) || hpt__word_in(hpt__kinds[s->kind].refs, key + 6)) continue;
        hpt_status st = HPT_OK;
        for (int i = 0; hpt__list_item(s->lines[line].value, i, ',', item, sizeof item) && !st; i++) {
            hpt__instance next;
            st = copy_instance(&next, in);
            if (!st) st = add_var(&next, s->name, key + 6, item);
            if (!st) st = expand_sweeps(b, &next, line + 1);
            hpt__instance_fini(&next);
        }
        return st;
    }
    hpt__instance done;
    HPT_TRY(copy_instance(&done, in));
    hpt_status st = push(r, &done);
    if (st) hpt__instance_fini(&done);
    return st;
}
/* Variants, then swept references ("sweep.data = a, b"), come first: they decide what is referred to. */
static hpt_status expand_variants(expansion *b, hpt__instance *in, int line, int variant_done) {
    hpt_recipe *r = b->r;
    hpt__section *s = &r->sections[b->section];
    char item[HPT__ITEM];
    hpt_status st = HPT_OK;
    int any = 0;
    for (int i = 0; i < s->n && !variant_done && !st; i++) {
        if (strncmp(s->lines[i].key, "variant.", 8)) continue;
        hpt__instance next;
        any = 1;
        st = copy_instance(&next, in);
        if (!st) st = add_var(&next, s->name, "variant", s->lines[i].key + 8);
        if (!st) st = expand_variants(b, &next, 0, 1);
        hpt__instance_fini(&next);
    }
    if (any || st) return st;
    for (; line < s->n; line++) {
        const char *key = s->lines[line].key;
        if (strncmp(key, "sweep.", 6) || !hpt__word_in(hpt__kinds[s->kind].refs, key + 6)) continue;
        for (int i = 0; hpt__list_item(s->lines[line].value, i, ',', item, sizeof item) && !st; i++) {
            hpt__instance next;
            st = copy_instance(&next, in);
            if (!st) st = add_var(&next, s->name, key + 6, item);
            if (!st) st = expand_variants(b, &next, line + 1, 1);
            hpt__instance_fini(&next);
        }
        return st;
    }
    return expand_refs(b, in, 0);
}

/* Has a section an instance for each seed? A data section has, if it draws by the run's seed or is made of one that
 * does. */
static int by_seed(const hpt_recipe *r, int at, int depth) {
    const hpt__section *s = &r->sections[at];
    const char *own = hpt__section_value(s, "split_seed", "");
    char item[HPT__ITEM];
    if (s->kind != HPT__S_DATA) return s->kind != HPT__S_SIMILARITY;
    if (!strcmp(own, "run")) return 1;
    for (int i = 0; i < s->n && depth < MAX_DEPTH; i++) {
        const char *key = s->lines[i].key;
        if (!hpt__word_in(hpt__kinds[s->kind].refs, strncmp(key, "sweep.", 6) ? key : key + 6)) continue;
        for (int k = 0; hpt__list_item(s->lines[i].value, k, ',', item, sizeof item); k++) {
            int target = hpt__ref_section(r, item);
            if (target >= 0 && by_seed(r, target, depth + 1)) return 1;
        }
    }
    return 0;
}

static hpt_status expand_section(hpt_recipe *r, int at, const hpt__line *from) {
    hpt__section *s = &r->sections[at];
    expansion b = {r, at, {0}, 0};
    char word[64];
    static const char *const known[] = {"init", "data", "monitor_train", "monitor_val", "sources", "train", "val",
                                        "test", "model", "of", "from", "without", "set_of", "with", "source",
                                        "labelled", "unlabelled"};
    if (s->expanded == 2) return HPT_OK;
    if (s->expanded == 1) return hpt__line_fail(from, "the stages go round in a circle: '%s' needs itself", s->name);
    if (r->depth >= MAX_DEPTH)
        return hpt__line_fail(from, "more than %d stages that need each other in a row", MAX_DEPTH);
    r->depth++;
    s->expanded = 1;
    for (int i = 0; hpt__list_item(hpt__kinds[s->kind].refs, i, ' ', word, sizeof word); i++)
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (!strcmp(known[k], word)) b.ref_keys[b.n_refs++] = known[k];
    /* what is referred to comes first in the list of instances */
    int before = r->n_instances;
    for (int round = 0; round < 2; round++) {
        const hpt__line *own = s->kind == HPT__S_DATA ? NULL : hpt__section_line(s, "seeds");
        int per_seed = by_seed(r, at, 0);
        before = r->n_instances;
        hpt_status st = HPT_OK;
        char spare[32];
        if (own && hpt__list_item(own->value, r->n_seeds, ',', spare, sizeof spare))
            return hpt__line_fail(own, "more seeds than the recipe's %d: add them to 'seeds' of [recipe]", r->n_seeds);
        for (int i = 0; i < (per_seed ? r->n_seeds : 1) && !st; i++) {
            char item[32];
            double v;
            hpt__instance in = {.section = at, .seed = per_seed ? r->seeds[i] : -1};
            if (own) {
                if (!hpt__list_item(own->value, i, ',', item, sizeof item)) break;
                if (!hpt__whole_number(item, 0, 1e15, &v)) return hpt__line_fail(own, "'%.40s' is not a seed", item);
                in.seed = (int64_t)v;
            }
            st = expand_variants(&b, &in, 0, 0);
            hpt__instance_fini(&in);
        }
        if (st) return st;
        s = &r->sections[at];
        /* the first round expanded what is referred to between ours; the second finds all of it there, so ours are
         * together */
        if (round == 0) {
            int mixed = 0;
            for (int i = before; i < r->n_instances; i++) mixed |= r->instances[i].section != at;
            if (!mixed) break;
            for (int i = before; i < r->n_instances; i++)
                if (r->instances[i].section == at) r->instances[i].section = -1;        /* dropped below */
        }
    }
    s->first = before;
    s->count = r->n_instances - before;
    s->expanded = 2;
    r->depth--;
    hpt__line here = {.line = s->line, .file = s->file};
    if (!s->count)
        return hpt__line_fail(&here, "[%s %s] matches nothing: no combination of what it refers to fits together",
                              hpt__kinds[s->kind].word, s->name);
    return HPT_OK;
}

hpt_status hpt__recipe_expand(hpt_recipe *r) {
    const hpt__section *top = hpt__section_only(r, HPT__S_RECIPE);
    const char *seeds = hpt__section_value(top, "seeds", "0");
    char item[64];
    double v;
    for (int i = 0; hpt__list_item(seeds, i, ',', item, sizeof item); i++) {
        int64_t *more = hpt__realloc(r->seeds, sizeof *more * (size_t)(i + 1));
        if (!more) return hpt__fail_memory(64);
        r->seeds = more;
        if (!hpt__whole_number(item, 0, 1e15, &v))
            return hpt__line_fail(hpt__section_line(top, "seeds"), "'%.40s' is not a seed", item);
        if (r->n_seeds == HPT__SEEDS)
            return hpt__line_fail(hpt__section_line(top, "seeds"), "more than %d seeds", HPT__SEEDS);
        for (int k = 0; k < r->n_seeds; k++)
            if (r->seeds[k] == (int64_t)v)
                return hpt__line_fail(hpt__section_line(top, "seeds"), "seed %s is there twice", item);
        r->seeds[r->n_seeds++] = (int64_t)v;
    }
    hpt__line here = {.line = 1, .file = r->path};
    int stages = 0;
    for (int i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind >= HPT__S_PRETRAIN && r->sections[i].kind <= HPT__S_SIMILARITY) {
            HPT_TRY(expand_section(r, i, &here));
            stages++;
        }
    return stages ? HPT_OK : hpt__line_fail(&here, "there is no stage: a section [pretrain NAME], [linear NAME], ...");
}

/* ---- options ---- */

/* Preset and method of a stage: its own, and of [options] what is for this stage and goes with them. */
static hpt_status choose_method(const hpt_recipe *r, const hpt__instance *in, const hpt__section *common, char letter,
                                hpt_config *c) {
    char own[2][64] = {"", ""};         /* a later hpt__instance_value() may overwrite what an earlier one gave */
    static const char *const keys[2] = {"preset", "method"};
    for (int i = 0; i < 2; i++) {
        const char *v = hpt__instance_value(r, in, keys[i]);
        if (v) snprintf(own[i], sizeof own[i], "%s", v);
    }
    const char *preset = *own[0] ? own[0] : NULL, *method = *own[1] ? own[1] : NULL;
    if (r->sections[in->section].kind == HPT__S_ADAPT && !preset && !method) method = "mme";
    const char *all = common ? hpt__section_value(common, "preset", NULL) : NULL;
    int of_all = all ? hpt__preset_find(all) : -1;
    hpt_status st = HPT_OK;
    if (!preset && of_all > 0 && !hpt__preset_fits(of_all, letter) &&
        !(method && strcmp(method, hpt__preset_method(of_all))))
        st = hpt_config_set(c, "preset", all);
    if (preset) st = hpt_config_set(c, "preset", preset);
    else if (!method && common) method = hpt__section_value(common, "method", NULL);
    if (!st && method && hpt__options_applies(HPT__OPT_method, letter)) st = hpt_config_set(c, "method", method);
    return st;
}

hpt_status hpt__instance_config(const hpt_recipe *r, const hpt__instance *in, hpt_config **out) {
    const hpt__section *s = &r->sections[in->section], *common = hpt__section_only(r, HPT__S_OPTIONS);
    const hpt__kind *k = &hpt__kinds[s->kind];
    char letter = k->stage ? hpt__options_stage(k->stage) : 0, text[4100];
    hpt_config *c;
    if (!k->stage) return hpt_config_create(NULL, out);
    HPT_TRY(hpt_config_create(k->stage, out));
    c = *out;
    int trains = hpt__options_applies(HPT__OPT_method, letter);
    hpt_status st = strchr("PLFS", letter) ? choose_method(r, in, common, letter, c) : HPT_OK;
    for (int i = 0; common && i < common->n && !st; i++) {
        const hpt__line *l = &common->lines[i];
        int opt;
        if (hpt__options_get(&c->o, l->key, text, sizeof text, &opt) || !hpt__options_applies(opt, letter)) continue;
        if (opt == HPT__OPT_preset || opt == HPT__OPT_method) continue;
        /* for the stages of that method */
        if (trains && hpt__options_other_method(opt, OPT_S(&c->o, method))) continue;
        st = hpt_config_set(c, l->key, l->value);
    }
    for (int i = 0; i < HPT__OPT_COUNT && !st; i++) {
        const char *v = hpt__options_applies(i, letter) && !hpt__word_in(k->own, hpt__options_key(i))
            ? hpt__instance_value(r, in, hpt__options_key(i)) : NULL;
        if (v) st = hpt_config_set(c, hpt__options_key(i), v);
    }
    if (!st && in->seed >= 0 && hpt__options_applies(HPT__OPT_seed, letter))
        st = hpt_config_set_int(c, "seed", OPT_I(&c->o, seed) + in->seed);
    if (!st && trains && (s->kind == HPT__S_ADAPT) != OPT_IS(&c->o, method, "mme"))
        st = hpt__fail(HPT_ERR_OPTION, "method=%s is one of [%s NAME]", OPT_S(&c->o, method),
                       s->kind == HPT__S_ADAPT ? "pretrain" : "adapt");
    if (!st) st = hpt__options_check(&c->o, letter);
    if (!st) return HPT_OK;
    hpt_config_destroy(c);
    *out = NULL;
    return hpt__fail_context(st, "%.300s, line %d: [%s %s]", s->file, s->line, k->word, s->name);
}

/* Options that do not go together are said before data sets are opened. */
hpt_status hpt__recipe_check_options(const hpt_recipe *r) {
    for (int i = 0; i < r->n_instances; i++) {
        hpt_config *c;
        if (r->instances[i].section < 0) continue;
        HPT_TRY(hpt__instance_config(r, &r->instances[i], &c));
        hpt_config_destroy(c);
    }
    return HPT_OK;
}

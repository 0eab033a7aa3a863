/* SPDX-License-Identifier: MIT
 * Data instances: a path or a known set, then names kept and dropped, copies and blank images left out, then a part.
 * And the checks that must hold before anything trains. */
#include "recipe/recipe.h"
#include "core/alloc.h"
#include "core/number.h"
#include "data/known.h"
#include "ssl/labelled.h"
#include <fnmatch.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

hpt_status hpt__relative(hpt_status st, const char *path) {
    char said[600], here[PATH_MAX];
    if (st != HPT_ERR_IO || *path == '/' || !getcwd(here, sizeof here)) return st;
    snprintf(said, sizeof said, "%s", hpt__error_text());
    return hpt__fail(st, "%s; paths of a recipe are relative to the current folder, %.300s", said, here);
}

static hpt_status at_line(const hpt_recipe *r, const hpt__instance *in, const char *key, hpt_status st) {
    const hpt__section *s = &r->sections[in->section];
    const hpt__line *l = hpt__section_line(s, key);
    if (l && strstr(l->value, " #")) {
        char said[700];
        snprintf(said, sizeof said, "%s", hpt__error_text());
        st = hpt__fail(st, "%s (a comment behind a value begins with ';', not '#')", said);
    }
    return hpt__fail_context(st, "%.300s, line %d: [%s %s]", l ? l->file : s->file, l ? l->line : s->line,
                             hpt__kinds[s->kind].word, s->name);
}
static hpt_status bad(const hpt_recipe *r, const hpt__instance *in, const char *key, const char *text) {
    return at_line(r, in, key, hpt__fail(HPT_ERR_FORMAT, "%s", text));
}

static int matches(const char *patterns, const char *name) {
    char item[HPT__ITEM];
    for (int i = 0; hpt__list_item(patterns, i, ',', item, sizeof item); i++)
        if (*item && !fnmatch(item, name, 0)) return 1;
    return 0;
}

/* Replaces *ds by a part of it. */
static hpt_status narrow(hpt_dataset **ds, const uint64_t *index, uint64_t n) {
    hpt_dataset *part;
    HPT_TRY(hpt_dataset_subset(*ds, index, n, &part));
    hpt_dataset_destroy(*ds);
    *ds = part;
    return HPT_OK;
}

static hpt_status by_names(hpt_dataset **ds, const char *keep, const char *drop) {
    hpt_dataset_info info = {.struct_size = sizeof info};
    char name[4200];
    uint64_t n = 0;
    HPT_TRY(hpt_dataset_get_info(*ds, &info));
    uint64_t *index = hpt__alloc(sizeof *index * (size_t)(info.count + 1));
    hpt_status st = index ? HPT_OK : hpt__fail_memory((size_t)info.count * 8);
    for (uint64_t i = 0; i < info.count && !st; i++) {
        st = hpt_dataset_name(*ds, i, name, sizeof name, NULL);
        if (!st) st = hpt__span_tick(0);
        if (!st && (!keep || matches(keep, name)) && !(drop && matches(drop, name))) index[n++] = i;
    }
    if (!st) st = narrow(ds, index, n);
    hpt__free(index);
    return st;
}

static hpt_status leave_out(hpt_dataset **ds, const hpt_dataset *those) {
    uint64_t n = (*ds)->count, kept = 0, common, first[2];
    uint64_t *index = hpt__alloc(sizeof *index * (size_t)(n + 1));
    uint8_t *flag = hpt__alloc((size_t)n + 1);
    hpt_status st = index && flag ? hpt__dataset_overlap(*ds, those, &common, first, flag)
        : hpt__fail_memory((size_t)n * 8);
    for (uint64_t i = 0; i < n && !st; i++)
        if (!flag[i]) index[kept++] = i;
    if (!st) st = narrow(ds, index, kept);
    hpt__free(index);
    hpt__free(flag);
    return st;
}

/* Every picture once, and none that is of one colour: drawings come as links, placeholders and many copies. Compared
 * at 32 x 32 pixels. */
static hpt_status uniques(hpt_dataset **ds) {
    enum { SIDE = 32 };
    hpt_dataset_info info = {.struct_size = sizeof info};
    uint8_t rgb[SIDE * SIDE * 3];
    hpt_config *c = NULL;
    HPT_TRY(hpt__dataset_scan(*ds, NULL, 0, (*ds)->count, NULL));       /* decodes everything once, on all processors */
    HPT_TRY(hpt_dataset_get_info(*ds, &info));
    if (info.bad_images)
        hpt__log((*ds)->ctx, 1, "unique: %u of %llu images cannot be read and are left out", info.bad_images,
                 (unsigned long long)info.count);
    size_t slots = 64;
    while (slots < 4 * (size_t)info.count) slots *= 2;
    HPT__SPAN(&(*ds)->ctx->watch, HPT_PHASE_CHECK, "copies and blank images looked for");
    hpt__whole.total = info.count;
    uint64_t *index = hpt__alloc(sizeof *index * (size_t)(info.count + 1)), *table = hpt__calloc(slots, sizeof *table),
        n = 0;
    hpt_status st = index && table ? hpt_config_create(NULL, &c) : hpt__fail_memory(slots * 8);
    if (!st) st = hpt_config_set(c, "eval_crop", "full");
    for (uint64_t i = 0; i < info.count && !st; i++) {
        double s = 0, ss = 0;
        if ((st = hpt__span_at(&hpt__whole, i))) break;
        st = hpt_dataset_image(*ds, c, i, SIDE, rgb);
        if (hpt__dataset_skips(*ds, st)) {
            st = HPT_OK;
            continue;
        }
        if (st) break;
        for (int p = 0; p < SIDE * SIDE * 3; p++) {
            s += rgb[p];
            ss += (double)rgb[p] * rgb[p];
        }
        s /= sizeof rgb;
        if (sqrt(fmax(0, ss / sizeof rgb - s * s)) <= 4) continue;
        uint64_t h = XXH3_64bits(rgb, sizeof rgb) | 1;
        size_t at = (size_t)h & (slots - 1);
        while (table[at] && table[at] != h) at = (at + 1) & (slots - 1);
        if (table[at]) continue;
        table[at] = h;
        index[n++] = i;
    }
    if (!st) st = narrow(ds, index, n);
    hpt_config_destroy(c);
    hpt__free(index);
    hpt__free(table);
    return st;
}

/* "3795" labels, or "2/7": the second of a series of seven (hpt_dataset_budgets). */
static hpt_status budget_of(const hpt_recipe *r, const hpt__instance *in, const hpt_dataset *ds, const char *text,
                            double *n) {
    char item[HPT__ITEM];
    uint64_t all[HPT__MAX_COLUMNS];
    double which, of;
    if (!strchr(text, '/'))
        return hpt__whole_number(text, 1, 4294967295.0, n) ? HPT_OK
            : bad(r, in, "budget", "neither a whole number from 1 on nor K/B, the K-th of a series of B");
    hpt__list_item(text, 0, '/', item, sizeof item);
    int whole = hpt__whole_number(item, 1, HPT__MAX_COLUMNS, &which);
    hpt__list_item(text, 1, '/', item, sizeof item);
    if (!whole || !hpt__whole_number(item, 2, HPT__MAX_COLUMNS, &of) || which > of)
        return bad(r, in, "budget", "K/B is the K-th of a series of B budgets, 1/2 to 24/24");
    hpt_status st = hpt_dataset_budgets(ds, (uint32_t)of, all);
    if (st) return at_line(r, in, "budget", st);
    *n = (double)all[(int)which - 1];
    hpt__log(ds->ctx, 0, "[data %s]: budget %s is %.0f labels", r->sections[in->section].name, text, *n);
    return HPT_OK;
}

/* images, fraction, per_class, few or budget; part=rest takes the others. */
static hpt_status take_part(const hpt_recipe *r, const hpt__instance *in, hpt_dataset **ds) {
    static const char *const ways[] = {"per_class", "few", "fraction", "images", "budget"};
    enum { WAYS = sizeof ways / sizeof *ways };
    const char *way = NULL, *part = hpt__instance_value(r, in, "part");
    char text[HPT__ITEM];
    double v, seed = 0;
    uint64_t objects;
    for (int i = 0; i < WAYS; i++) {
        const char *t = hpt__instance_value(r, in, ways[i]);
        if (t && way)
            return bad(r, in, ways[i], "only one of per_class, few, fraction, images and budget can be there");
        if (t) way = ways[i], snprintf(text, sizeof text, "%s", t);
    }
    if (part && strcmp(part, "taken") && strcmp(part, "rest"))
        return bad(r, in, "part", "part is neither taken nor rest");
    if (!way) return part ? bad(r, in, "part", "part belongs to per_class, few, fraction, images or budget") : HPT_OK;
    int want_rest = part && !strcmp(part, "rest");
    const char *s = hpt__instance_value(r, in, "split_seed");
    if (s && !strcmp(s, "run")) seed = (double)in->seed;
    else if (s && !hpt__whole_number(s, 0, 1e15, &seed))
        return bad(r, in, "split_seed", "split_seed is neither a number nor run");
    int share = !strcmp(way, "fraction"), budget = !strcmp(way, "budget");
    if (budget) HPT_TRY(budget_of(r, in, *ds, text, &v));
    else if (share ? !hpt__number_parse(text, &v) || v <= 0 : !hpt__whole_number(text, 1, 4294967295.0, &v))
        return bad(r, in, way, share ? "not a positive number" : "not a whole number from 1 on");
    HPT_TRY(hpt_dataset_objects(*ds, &objects));
    hpt_dataset *taken = NULL, *rest = NULL;
    hpt_status st;
    if (!strcmp(way, "fraction") && v >= 1)
        return want_rest ? bad(r, in, way, "nothing is left of fraction = 1") : HPT_OK;
    if (!strcmp(way, "images") && v >= (double)objects)
        return want_rest ? bad(r, in, way, "nothing is left") : HPT_OK;
    if (!strcmp(way, "per_class"))
        st = hpt_dataset_per_class(*ds, (uint32_t)v, (uint64_t)seed, &taken, want_rest ? &rest : NULL);
    else if (!strcmp(way, "few"))
        st = hpt_dataset_few(*ds, (uint64_t)v, (uint64_t)seed, &taken, want_rest ? &rest : NULL);
    else if (budget) st = hpt_dataset_budget(*ds, (uint64_t)v, (uint64_t)seed, &taken, want_rest ? &rest : NULL);
    else
        st = hpt_dataset_split(*ds, share ? v : v / (double)objects, (uint64_t)seed, &taken, &rest);
    if (st) return at_line(r, in, way, st);
    hpt_dataset_destroy(*ds);
    *ds = want_rest ? rest : taken;
    if (!want_rest && rest) hpt_dataset_destroy(rest);
    if (want_rest) hpt_dataset_destroy(taken);
    return HPT_OK;
}

/* In the recipe's folder, unless the recipe says where. */
static hpt_status keep_statistics(const hpt_recipe *r, hpt_config *c) {
    char path[4200];
    size_t n = 0;
    HPT_TRY(hpt_config_get(c, "stats_file", path, sizeof path, &n));
    if (*path || !r->out || (size_t)snprintf(path, sizeof path, "%s/stats.json", r->out) >= sizeof path) return HPT_OK;
    return hpt_config_set(c, "stats_file", path);
}
static hpt_status open_instance(hpt_recipe *r, hpt__instance *in) {
    hpt_config *c = NULL;
    hpt_status st;
    if (in->opened) return HPT_OK;
    in->opened = 1;
    const char *v = hpt__instance_value(r, in, "path"), *key = "path";
    int from = hpt__instance_input(in, "from", 0), beside = hpt__instance_input(in, "set_of", 0),
        without = hpt__instance_input(in, "without", 0), with = hpt__instance_input(in, "with", 0);
    if (from >= 0) {
        key = "from";
        if (v || hpt__instance_value(r, in, "set")) return bad(r, in, "from", "from goes with neither path nor set");
        hpt__instance *p = &r->instances[in->input[from].instance];
        HPT_TRY(open_instance(r, p));
        st = hpt__dataset_new(r->ctx, p->ds->src, p->ds->index, p->ds->count, &in->ds);
        if (!st && p->known_set && !(in->known_set = hpt__strdup(p->known_set))) st = hpt__fail_memory(64);
    } else {
        char *path = v ? hpt__strdup(v) : NULL;         /* v lives until the next value is asked for */
        st = v && !path ? hpt__fail_memory(strlen(v)) : hpt__instance_config(r, in, &c);
        if (!st) st = keep_statistics(r, c);
        if (!st && v) {
            st = hpt_dataset_open(r->ctx, c, path, &in->ds);
            if (st) st = hpt__relative(st, path);
        } else if (!st && (beside >= 0 || (v = hpt__instance_value(r, in, "set")))) {
            /* another split of the set that it names */
            const hpt__instance *of = beside >= 0 ? &r->instances[in->input[beside].instance] : in;
            key = beside >= 0 ? "set_of" : "set";
            char set[HPT__ITEM], root[HPT__ITEM], split[64];
            if (beside >= 0 && !(v = hpt__instance_value(r, of, "set"))) {
                hpt_config_destroy(c);
                return bad(r, in, "set_of", "names no section with a set");
            }
            snprintf(set, sizeof set, "%s", v);
            v = hpt__instance_value(r, of, "root");
            const hpt__section *top = hpt__section_only(r, HPT__S_RECIPE);
            if (v) snprintf(root, sizeof root, "%s", v);
            else if ((size_t)snprintf(root, sizeof root, "%s/%s", hpt__section_value(top, "data_root", "data"),
                                      set) >= sizeof root) {
                hpt_config_destroy(c);
                return bad(r, in, key, "data_root and the set's name are too long together");
            }
            v = hpt__instance_value(r, in, "split");
            snprintf(split, sizeof split, "%s", v ? v : "train+val");
            st = hpt_dataset_named(r->ctx, c, set, root, split, &in->ds);
            if (st) st = hpt__relative(st, root);
            if (!st && !(in->known_set = hpt__strdup(set))) st = hpt__fail_memory(64);
        } else if (!st) st = hpt__fail(HPT_ERR_FORMAT, "needs path, set or from");
        hpt_config_destroy(c);
        hpt__free(path);
    }
    if (st) return at_line(r, in, key, st);
    char keep[HPT__ITEM] = "", drop[HPT__ITEM] = "";
    if ((v = hpt__instance_value(r, in, "keep_names"))) snprintf(keep, sizeof keep, "%s", v);
    if ((v = hpt__instance_value(r, in, "drop_names"))) snprintf(drop, sizeof drop, "%s", v);
    if (*keep || *drop) st = by_names(&in->ds, *keep ? keep : NULL, *drop ? drop : NULL);
    if (st) return at_line(r, in, *keep ? "keep_names" : "drop_names", st);
    if (without >= 0) {
        hpt__instance *p = &r->instances[in->input[without].instance];
        HPT_TRY(open_instance(r, p));
        st = leave_out(&in->ds, p->ds);
        if (st) return at_line(r, in, "without", st);
    }
    v = hpt__instance_value(r, in, "unique");
    if (v && !strcmp(v, "1")) st = uniques(&in->ds);
    if (st) return at_line(r, in, "unique", st);
    HPT_TRY(take_part(r, in, &in->ds));
    if (with >= 0) {
        hpt__instance *p = &r->instances[in->input[with].instance];
        hpt_dataset *both;
        HPT_TRY(open_instance(r, p));
        st = hpt_dataset_join(in->ds, p->ds, &both);
        if (st) return at_line(r, in, "with", st);
        hpt_dataset_destroy(in->ds);
        in->ds = both;
        hpt__free(in->known_set);
        in->known_set = NULL;
    }
    uint64_t id;
    HPT_TRY(hpt_dataset_identity(in->ds, &id));
    in->key = id;
    hpt_dataset_info info = {.struct_size = sizeof info};
    HPT_TRY(hpt_dataset_get_info(in->ds, &info));
    in->images = info.count;
    return HPT_OK;
}

/* ---- checks ---- */

typedef struct pair { int a, b; } pair;
typedef struct pairs { pair *p; int n; } pairs;
static int seen(pairs *l, int a, int b, hpt_status *st) {
    for (int i = 0; i < l->n; i++)
        if (l->p[i].a == a && l->p[i].b == b) return 1;
    pair *more = l->n % 64 ? l->p : hpt__realloc(l->p, sizeof *more * (size_t)(l->n + 64));
    if (!more) {
        *st = hpt__fail_memory(64);
        return 1;
    }
    l->p = more;
    l->p[l->n++] = (pair){a, b};
    return 0;
}

/* Lists whose protocol has the unlabelled images, and the validation images among them, as the test images. */
static int by_protocol(const hpt__instance *data, const hpt__instance *test) {
    hpt__known set;
    return data->known_set && test->known_set && !strcmp(data->known_set, test->known_set) &&
        !hpt__known_find(data->known_set, &set) && set.reader == HPT__READ_ADAPTATION;
}

int hpt__protocol_text(const hpt_recipe *r, const hpt__instance *in, char *text, size_t size) {
    int test = hpt__instance_input(in, "test", 0);
    if (test < 0 || (!in->tested[0] && !in->tested[1])) return 0;
    const hpt__instance *t = &r->instances[in->input[test].instance];
    snprintf(text, size,
             "by the protocol of %.60s, of %llu test images %llu are trained on without their labels and %llu are "
             "validation images", t->known_set, (unsigned long long)t->images, (unsigned long long)in->tested[0],
             (unsigned long long)in->tested[1]);
    return 1;
}

/* No image of the test split may be in anything that the model was made from. */
static hpt_status sources_apart(hpt_recipe *r, int stage, int test, hpt__instance *eval, pairs *done) {
    const hpt__instance *in = &r->instances[stage];
    hpt_status st = HPT_OK;
    for (int i = 0; i < in->n_input && !st; i++) {
        int other = in->input[i].instance;
        int data = r->sections[r->instances[other].section].kind == HPT__S_DATA;
        const char *key = in->input[i].key;
        /* of an evaluation that was chosen from, or a finetuned model */
        if (data && !strcmp(key, "test")) continue;
        if (!data) {
            st = sources_apart(r, other, test, eval, done);
            continue;
        }
        int allowed = (!strcmp(key, "unlabelled") || !strcmp(key, "val")) && in == eval &&
            by_protocol(&r->instances[other], &r->instances[test]);
        if (!allowed && (seen(done, other, test, &st) || st)) continue;
        uint64_t common;
        st = hpt_dataset_disjoint(r->instances[other].ds, r->instances[test].ds, &common);
        if (st == HPT_ERR_ARGUMENT && allowed) {
            st = HPT_OK;
            eval->tested[!strcmp(key, "val")] = common;
            continue;
        }
        if (st)
            st = at_line(r, in, key, hpt__fail_context(st, "'%s' is also in the test set '%s' of [%s]",
                                                       r->sections[r->instances[other].section].name,
                                                       r->sections[r->instances[test].section].name,
                                                           r->sections[eval->section].name));
    }
    return st;
}

/* Do the labels of these sets fit each other? */
static hpt_status fit(hpt_dataset *const ds[3], const hpt__options *o) {
    hpt__sets s;
    HPT_TRY(hpt__sets_open(&s, ds[0], ds[1], ds[2], o, NULL));
    hpt__sets_close(&s);
    return HPT_OK;
}

/* The labelled sets that watch a pretraining. */
static hpt_status check_monitor(hpt_recipe *r, const hpt__instance *in, pairs *done) {
    int train = hpt__instance_input(in, "monitor_train", 0), val = hpt__instance_input(in, "monitor_val", 0);
    hpt_config *c;
    hpt_status st = HPT_OK;
    if (train < 0 || val < 0) return HPT_OK;
    train = in->input[train].instance;
    val = in->input[val].instance;
    if (seen(done, train, val, &st)) return st;
    hpt_dataset *const ds[3] = {r->instances[train].ds, r->instances[val].ds, NULL};
    HPT_TRY(hpt__instance_config(r, in, &c));
    st = fit(ds, &c->o);
    hpt_config_destroy(c);
    return st ? at_line(r, in, "monitor_train", st) : HPT_OK;
}

/* Labels of the further sets are the source's classes, by name where they have names; and nothing is tested on what was
 * trained on, unless the lists' protocol says so. */
static hpt_status check_adaptation(hpt_recipe *r, int at, pairs *done) {
    static const char *const sets[] = {"labelled", "val", "test"};
    hpt__instance *in = &r->instances[at];
    int source = in->input[hpt__instance_input(in, "source", 0)].instance, k = hpt__instance_input(in, "test", 0);
    hpt_config *c;
    HPT_TRY(hpt__instance_config(r, in, &c));
    int allow = hpt__opt_is(&c->o, HPT__OPT_overlap, "allow"), free_pass = !OPT_IS(&c->o, mme_entropy, "off");
    hpt_config_destroy(c);
    if (free_pass && hpt__instance_input(in, "unlabelled", 0) < 0)
        return bad(r, in, "mme_entropy", "needs a line 'unlabelled = ...', or mme_entropy = off");
    hpt_status st = HPT_OK;
    for (size_t i = 0; i < sizeof sets / sizeof *sets && !st; i++) {
        int j = hpt__instance_input(in, sets[i], 0);
        hpt__class_rule rule;
        int32_t *to;
        if (j < 0) continue;
        st = hpt__labels_match(r->instances[source].ds, r->instances[in->input[j].instance].ds, sets[i], &rule, &to);
        if (st) return at_line(r, in, sets[i], hpt__fail_context(st, "train is the source"));
        hpt__free(to);
    }
    /* what is chosen on val is not trained on; without labels, its lists may want it */
    int val = hpt__instance_input(in, "val", 0);
    for (int i = 0; i < in->n_input && !st && !allow && val >= 0; i++) {
        const hpt__instance *v = &r->instances[in->input[val].instance], *d = &r->instances[in->input[i].instance];
        int free_of_labels = !strcmp(in->input[i].key, "unlabelled");
        if ((strcmp(in->input[i].key, "source") && strcmp(in->input[i].key, "labelled") && !free_of_labels) ||
            (free_of_labels && by_protocol(d, v))) continue;
        st = hpt_dataset_disjoint(d->ds, v->ds, NULL);
        if (st) st = at_line(r, in, "val", hpt__fail_context(st, "%s", in->input[i].key));
    }
    if (st || k < 0 || allow) return st;
    int test = in->input[k].instance;
    HPT_TRY(sources_apart(r, at, test, in, done));
    char said[300];
    if (hpt__protocol_text(r, in, said, sizeof said)) hpt__log(r->ctx, 0, "%s", said);
    return HPT_OK;
}

static hpt_status check_evaluation(hpt_recipe *r, int at, pairs *done) {
    hpt__instance *in = &r->instances[at];
    int id[3];
    hpt_dataset *ds[3];
    hpt_config *c;
    hpt_status st;
    for (int i = 0; i < 3; i++) {
        int k = hpt__instance_input(in, hpt__set_names[i], 0);
        id[i] = k < 0 ? -1 : in->input[k].instance;
        ds[i] = k < 0 ? NULL : r->instances[id[i]].ds;
    }
    HPT_TRY(hpt__instance_config(r, in, &c));
    int allow = hpt__opt_is(&c->o, HPT__OPT_overlap, "allow");
    st = HPT_OK;
    if (!(seen(done, id[0], id[1], &st) & seen(done, id[0], id[2], &st) & seen(done, id[1], id[2], &st)) && !st) {
        st = fit(ds, &c->o);
        if (st) st = at_line(r, in, "train", st);
    }
    hpt_config_destroy(c);
    for (int i = 0; i < in->n_input && !st && !allow && id[2] >= 0; i++)
        if (!strcmp(in->input[i].key, "model")) st = sources_apart(r, in->input[i].instance, id[2], in, done);
    return st;
}

hpt_status hpt__recipe_data(hpt_recipe *r) {
    pairs done = {NULL, 0};
    hpt_status st = HPT_OK;
    for (int i = 0; i < r->n_instances && !st; i++) {
        if (r->instances[i].section >= 0 && r->sections[r->instances[i].section].kind == HPT__S_DATA)
            st = open_instance(r, &r->instances[i]);
        if (!st) st = hpt__span_tick(1);
    }
    for (int i = 0; i < r->n_instances && !st; i++) {
        if ((st = hpt__span_tick(1)) || r->instances[i].section < 0) continue;
        hpt__section_kind k = r->sections[r->instances[i].section].kind;
        if (k == HPT__S_LINEAR || k == HPT__S_KNN || k == HPT__S_FINETUNE || k == HPT__S_SEARCH)
            st = check_evaluation(r, i, &done);
        if (k == HPT__S_PRETRAIN) st = check_monitor(r, &r->instances[i], &done);
        if (k == HPT__S_ADAPT) st = check_adaptation(r, i, &done);
    }
    hpt__free(done.p);
    return st;
}

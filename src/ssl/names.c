/* SPDX-License-Identifier: MIT
 * A tensor inside a backbone that the model has no place for means that the file holds another network with a ResNet's
 * names (squeeze and excitation, blur pools, ...): loading the rest would give features that no one trained. Hence it
 * is refused, as a missing tensor is. */
#include "ssl/names.h"
#include "core/alloc.h"
#include "core/result.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED = 200 }; /* names that a report lists; counts are of all */

static int is_counter(const char *name) {
    size_t n = strlen(name);
    return n > 20 && !strcmp(name + n - 20, ".num_batches_tracked");
}

static hpt_status not_ours(const hpt__candidate *c) {
    if (!c->shown_len) return hpt__fail(HPT_ERR_MISMATCH, "its network cannot be read: %s", c->why);
    return hpt__fail(HPT_ERR_MISMATCH, "the network under '%.*s' cannot be read: %s",
                     c->shown_len < 300 ? c->shown_len : 300, c->shown, c->why);
}

hpt_status hpt__names_arch(const hpt__candidate *c, const hpt__options *o, hpt__arch *a) {
    int automatic = OPT_IS(o, arch, "auto");
    if (automatic && c && !*c->arch.name) return not_ours(c);
    HPT_TRY(hpt__arch_from_options(o, !automatic ? OPT_S(o, arch) : c ? c->arch.name : "resnet50", a));
    if (!automatic || !c) return HPT_OK;
    a->width = c->arch.width;
    a->small_stem = c->arch.small_stem;
    if (c->head)
        a->dim = c->arch.dim, a->mlp = c->arch.mlp, a->hidden = c->arch.hidden, a->head_norm = c->arch.head_norm;
    return HPT_OK;
}

int hpt__names_fits(const hpt__ftensor *f, const hpt__tensor *t) {
    if (f->ndim != t->ndim) return 0;
    for (int d = 0; d < t->ndim; d++)
        if (f->shape[d] != t->shape[d]) return 0;
    return 1;
}

void hpt__names_map(const hpt__networks *r, const hpt__candidate *c, const hpt__net *net, const hpt__ftensor **of) {
    char canonical[400];
    for (int i = 0; i < net->n_tensors; i++)
        of[i] = net->tensors[i].head ? hpt__candidate_head(r, c, net->tensors[i].name) : NULL;
    for (uint32_t k = c->at; k < c->end; k++) {
        int i = hpt__candidate_inside(c, r->order[k]->name + c->prefix_len, canonical, sizeof canonical)
                    ? hpt__net_find(net, canonical)
                    : -1;
        if (i >= 0 && !net->tensors[i].head && !of[i]) of[i] = r->order[k];
    }
}

/* ---- what is said ---- */

static void note(json_t *report, const char *list, const char *name) {
    json_t *l = json_object_get(report, list);
    if (json_array_size(l) < LISTED) json_array_append_new(l, hpt__json_text(name));
}
static json_t *prefix_text(const hpt__candidate *c) { return json_stringn(c->shown, (size_t)c->shown_len); }

/* Under what name the tensors that a load does not ask for are counted: another candidate, or what comes next to the
 * backbone's own module. */
static size_t group_of(const hpt__networks *r, const hpt__candidate *c, const char *name) {
    for (int i = 0; i < r->n; i++) {
        size_t n = (size_t)r->c[i].prefix_len;
        if (&r->c[i] != c && n && !strncmp(name, r->c[i].prefix, n) && !(c && (int)n < c->prefix_len)) return n;
    }
    size_t base = c ? (size_t)c->prefix_len : 0;
    while (base &&
           strncmp(name, c->prefix, base)) { /* the deepest module around the backbone that holds this tensor too */
        base--;
        while (base && c->prefix[base - 1] != '.' && c->prefix[base - 1] != '/')
            base--;
    }
    size_t next = strcspn(name + base, "./");
    return base + next + (name[base + next] != 0);
}
static void group_key(const hpt__networks *r, const hpt__candidate *c, const hpt__ftensor *t, char *key, size_t size) {
    snprintf(key, size, "%.*s", (int)hpt__networks_shown(r, t, group_of(r, c, t->name)), hpt__networks_name(r, t));
}
static void count_unused(const hpt__networks *r, const hpt__candidate *c, json_t *report) {
    char canonical[400], key[400];
    json_int_t all = 0;
    json_t *groups = json_object_get(report, "not_used");
    for (uint32_t k = 0; k < r->f->n; k++) {
        const char *name = r->order[k]->name;
        if (c && k >= c->at && k < c->end &&
            hpt__candidate_inside(c, name + c->prefix_len, canonical, sizeof canonical))
            continue;
        group_key(r, c, r->order[k], key, sizeof key);
        all++;
        json_int_t n = json_integer_value(json_object_get(groups, key));
        if (!n && json_object_size(groups) >= LISTED) snprintf(key, sizeof key, "...");
        json_object_set_new(groups, key, json_integer(json_integer_value(json_object_get(groups, key)) + 1));
    }
    json_object_set_new(report, "not_used_count", json_integer(all));
}

void hpt__names_used(const hpt__networks *r, const hpt__candidate *c, const hpt__ftensor *t, json_t *report) {
    char key[400];
    json_t *groups = json_object_get(report, "not_used");
    group_key(r, c, t, key, sizeof key);
    json_int_t n = json_integer_value(json_object_get(groups, key)),
        all = json_integer_value(json_object_get(report, "not_used_count"));
    if (n > 1) json_object_set_new(groups, key, json_integer(n - 1));
    else json_object_del(groups, key);
    json_object_set_new(report, "not_used_count", json_integer(all - 1));
    json_t *list = json_object_get(report, "unexpected"), *name;
    size_t i;
    json_array_foreach(list, i, name)
        if (!strcmp(json_string_value(name), hpt__networks_name(r, t))) {
            json_array_remove(list, i);
            n = json_integer_value(json_object_get(report, "unexpected_count"));
            json_object_set_new(report, "unexpected_count", json_integer(n - 1));
            break;
        }
}

void hpt__names_describe(const hpt__networks *r, const hpt__candidate *c, json_t *report) {
    const hpt__tensorfile *f = r->f;
    const char *producer = hpt__producer(r, c);
    json_object_set_new(report, "container", json_string(f->container));
    json_object_set_new(report, "tensor_count", json_integer(f->n));
    json_object_set_new(report, "prefix", c ? prefix_text(c) : json_string(""));
    json_object_set_new(report, "backbone_prefix", c ? prefix_text(c) : json_null());
    json_object_set_new(report, "producer", hpt__json_text(producer));
    json_object_set_new(report, "not_used", json_object());
    json_object_set_new(report, "unreadable", json_array());
    json_object_set_new(report, "candidates", json_array());
    if (c) json_object_set_new(report, "naming", json_string(c->naming));
    if (c && *c->note) json_object_set_new(report, "note", json_string(c->note));
    if (c && *c->arch.name) {
        json_object_set_new(report, "arch", json_string(c->arch.name));
        hpt__naming_of(&c->arch)->entries(&c->arch, report);
        json_object_set_new(report, "head",
                            c->head ? json_pack("{s:i, s:i}", "moco_dim", c->arch.dim, "mlp", c->arch.mlp)
                                    : json_null());
    }
    for (int i = 0; i < r->n; i++) {
        const hpt__candidate *x = &r->c[i];
        json_array_append_new(json_object_get(report, "candidates"),
                              json_pack("{s:o, s:s, s:i, s:b, s:b}", "prefix", prefix_text(x), "network",
                                        *x->arch.name ? x->arch.name : x->why, "width", x->arch.width, "chosen", x == c,
                                        "same_tensors", x->same));
    }
    for (uint32_t i = 0; i < f->n; i++)
        if (f->t[i].unreadable && json_array_size(json_object_get(report, "unreadable")) < LISTED)
            json_array_append_new(json_object_get(report, "unreadable"),
                                  json_pack("{s:o, s:s}", "name", hpt__json_text(f->t[i].name), "why",
                                            f->t[i].unreadable));
    count_unused(r, c, report);
}

/* ---- loading ---- */

static int listed(const json_t *report, const char *list, char *text, size_t size) {
    size_t used = 0;
    json_t *names = json_object_get(report, list), *v;
    size_t i;
    *text = 0;
    json_array_foreach(names, i, v) if (i < 3 && used < size) used +=
        (size_t)snprintf(text + used, size - used, "%s%.120s", i ? ", " : "", json_string_value(v));
    if (json_array_size(names) > 3 && used < size) snprintf(text + used, size - used, ", ...");
    return (int)json_array_size(names);
}

/* Room for what the first tensor that does not fit tells, as the end of a message. */
enum { HINT = 240 };

/* Fills {loaded, missing[], wrong_shape[], foreign[], unexpected[]} and their counts: what the file has of a network,
 * and what beside it. */
static void examine(const hpt__networks *r, const hpt__candidate *c, const hpt__net *net, int head,
                    const hpt__ftensor **of, json_t *report, char hint[HINT]) {
    static const char *const lists[] = {"missing", "wrong_shape", "foreign", "unexpected"};
    int count[4] = {0}, loaded = 0, first[2] = {-1, -1};
    char canonical[400], key[40];
    const char *looks = NULL;
    for (int i = 0; i < 4; i++)
        json_object_set_new(report, lists[i], json_array());
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        if (t->head && !head) continue;
        int which = !of[i] ? 0
                    : of[i]->unreadable || hpt__names_fits(of[i], t)
                        ? -1
                        : 1; /* reading says why an unreadable one stops the load */
        if (which < 0) {
            loaded++;
            continue;
        }
        if (!count[which]++) first[which] = i;
        note(report, lists[which], t->name);
    }
    int worst = first[0] >= 0 ? first[0] : first[1];
    *hint = 0;
    if (worst >= 0) hpt__naming_of(&c->arch)->unfit(r, c, &net->tensors[worst], of[worst], hint, HINT);
    /* tensors under the backbone's prefix that are not ours; other branches of the file (key encoder, queue) were never
     * asked for */
    for (uint32_t k = c->at; k < c->end; k++) {
        const char *name = r->order[k]->name + c->prefix_len;
        int inside = hpt__candidate_inside(c, name, canonical, sizeof canonical),
            i = hpt__net_find(net, inside ? canonical : name);
        if (is_counter(name) || (i >= 0 && (net->tensors[i].head || of[i] == r->order[k]))) continue;
        if (!inside && !c->prefix_len && (strchr(name, '/') || !strchr(name, '.'))) continue;
        if (inside) count[2]++, note(report, "foreign", hpt__networks_name(r, r->order[k]));
        if (inside && !looks) looks = hpt__looks_like(c, canonical);
        count[3]++, note(report, "unexpected", hpt__networks_name(r, r->order[k]));
    }
    if (looks) json_object_set_new(report, "looks_like", json_string(looks));
    json_object_set_new(report, "loaded", json_integer(loaded));
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s_count", lists[i]);
        json_object_set_new(report, key, json_integer(count[i]));
    }
}

static const char *article(const char *name) { return *name && strchr("aeiou", *name) ? "an" : "a"; }
/* Why an examined file is refused: one line that names what would help. */
static hpt_status judge(const hpt__candidate *c, const hpt__options *o, const hpt__arch *a, const json_t *report,
                        const char *hint) {
    char names[400], looks[120] = "", is[160], asked[160], set[80];
    const char *like = json_string_value(json_object_get(report, "looks_like"));
    if (like) snprintf(looks, sizeof looks, "; looks like %s", like);
    const hpt__naming *naming = hpt__naming_of(&c->arch);
    if (!hpt__candidate_is(c, a)) {
        naming->words(&c->arch, is, sizeof is);
        hpt__naming_of(a)->words(a, asked, sizeof asked);
        naming->options(&c->arch, set, sizeof set);
        return hpt__fail(HPT_ERR_MISMATCH, "the file is %s %s %s, not %s %s %s; leave arch out or set %s",
                         article(c->arch.name), c->arch.name, is, article(a->name), a->name, asked, set);
    }
    if (OPT_IS(o, unused, "refuse") && listed(report, "foreign", names, sizeof names))
        return hpt__fail(
            HPT_ERR_MISMATCH,
            "tensors inside the backbone would go unused, so it is another network than %s (%lld: %s%s); unused=allow "
            "loads the rest",
            a->name, (long long)json_integer_value(json_object_get(report, "foreign_count")), names, looks);
    if (listed(report, "missing", names, sizeof names)) {
        if (!strncmp(names, "fc.", 3) && c->head)
            return hpt__fail(HPT_ERR_MISMATCH, "its head is another one (missing: %s): set moco_dim=%d mlp=%d", names,
                             c->arch.dim, c->arch.mlp);
        if (!strncmp(names, "fc.", 3) && OPT_I(o, carry_head))
            return hpt__fail(
                HPT_ERR_MISMATCH,
                "no projection head that libhpt knows lies beside the backbone (missing: %s); leave carry_head out",
                names);
        return hpt__fail(HPT_ERR_MISMATCH, "does not fit %s: missing %s%s", a->name, names, *hint ? hint : looks);
    }
    if (listed(report, "wrong_shape", names, sizeof names)) {
        if (c->head && !strncmp(names, "fc.", 3))
            return hpt__fail(HPT_ERR_MISMATCH, "its head is of another shape (%s): set moco_dim=%d mlp=%d", names,
                             c->arch.dim, c->arch.mlp);
        return hpt__fail(HPT_ERR_MISMATCH, "does not fit %s: of another shape: %s%s", a->name, names,
                         *hint ? hint : looks);
    }
    return HPT_OK;
}

/* {not_finite[], not_finite_count}: tensors with a NaN or an infinity, absent if there are none. */
static void look_for_nan(json_t *report, const char *name, const float *x, size_t n) {
    size_t i = 0;
    while (i < n && isfinite(x[i]))
        i++;
    if (i == n) return;
    if (!json_object_get(report, "not_finite")) json_object_set_new(report, "not_finite", json_array());
    note(report, "not_finite", name);
    json_object_set_new(report, "not_finite_count",
                        json_integer(json_integer_value(json_object_get(report, "not_finite_count")) + 1));
}

hpt_status hpt__names_read(const hpt__networks *r, const hpt__candidate *c, const hpt__options *o, const hpt__net *net,
                           int head, float *params, float *stats, json_t *report) {
    if (!*c->arch.name) return not_ours(c);
    char hint[HINT];
    const hpt__ftensor **of = hpt__calloc((size_t)net->n_tensors, sizeof *of);
    if (!of) return hpt__fail_memory(sizeof *of * (size_t)net->n_tensors);
    hpt__names_map(r, c, net, of);
    examine(r, c, net, head, of, report, hint);
    hpt_status st = judge(c, o, &net->arch, report, hint);
    for (int i = 0; i < net->n_tensors && !st; i++) {
        const hpt__tensor *t = &net->tensors[i];
        float *to = (hpt__is_stat(t) ? stats : params) + t->offset;
        if (!of[i] || (!head && t->head)) continue;
        st = hpt__ftensor_read(of[i], to);
        if (!st) look_for_nan(report, hpt__networks_name(r, of[i]), to, t->count);
    }
    hpt__free(of);
    return st;
}
hpt_status hpt__names_load(const hpt__networks *r, const hpt__candidate *c, const hpt__options *o, const char *path,
                           hpt_model *m, json_t *report) {
    const char *looks = c ? NULL : hpt__no_network(r);
    char marks[300];
    hpt__networks_marks(OPT_IS(o, arch, "auto") ? NULL : &m->net.arch, marks, sizeof marks);
    json_object_set_new(report, "file", hpt__json_text(path));
    hpt__names_describe(r, c, report);
    hpt_status st =
        c ? hpt__names_read(r, c, o, &m->net, (int)OPT_I(o, carry_head), m->params, m->stats, report)
          : hpt__fail(
                HPT_ERR_MISMATCH,
                "no tensor matched %s (%u in the file%s%.120s): there is %s%s%s", m->net.arch.name, r->f->n,
                r->f->n ? ", the first is " : "", r->f->n ? r->f->t[0].name : "", marks, looks ? "; looks like " : "",
                looks ? looks : "");
    return st ? hpt__fail_context(st, "%.500s", path) : HPT_OK;
}

hpt_status hpt__names_check(const hpt__networks *r, const hpt__candidate *c, json_t *report) {
    hpt__net net;
    hpt_status st = HPT_OK;
    hpt__names_describe(r, c, report);
    if (c && !*c->arch.name)
        st = not_ours(c);
    else if (c) {
        HPT_TRY(hpt__net_create(&c->arch, &net));
        const hpt__ftensor **of = hpt__calloc((size_t)net.n_tensors, sizeof *of);
        if (of) {
            hpt__names_map(r, c, &net, of);
            char hint[HINT];
            examine(r, c, &net, 0, of, report, hint);
            st = judge(c, NULL, &net.arch, report, hint);
            for (int i = 0; i < net.n_tensors && !st; i++)
                if (of[i] && of[i]->unreadable && !net.tensors[i].head) st = hpt__ftensor_read(of[i], NULL);
        } else
            st = hpt__fail_memory(sizeof *of * (size_t)net.n_tensors);
        hpt__free(of);
        hpt__net_fini(&net);
    }
    if (st && st != HPT_ERR_MISMATCH && st != HPT_ERR_UNSUPPORTED) return st;
    if (st) json_object_set_new(report, "refused", hpt__json_text(hpt__error_text()));
    json_object_set_new(report, "loads", json_boolean(c && !st));
    return HPT_OK;
}

/* ---- a screen of text ---- */

typedef struct text {
    char *p;
    size_t size, used;
} text;
static void say(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(text *t, const char *format, ...) {
    va_list a;
    va_start(a, format);
    int n = t->used < t->size ? vsnprintf(t->p + t->used, t->size - t->used, format, a) : 0;
    va_end(a);
    if (n > 0) t->used += (size_t)n;
}
static void say_values(text *t, const json_t *meta) {
    const char *key;
    json_t *v;
    int n = 0;
    json_object_foreach((json_t *)(uintptr_t)meta, key, v) {
        if (strchr(key, '/') || n == 8) continue;
        say(t, "%s%.60s=", n++ ? ", " : "values      ", key);
        if (json_is_string(v))
            say(t, "%.60s", json_string_value(v));
        else if (json_is_integer(v))
            say(t, "%lld", (long long)json_integer_value(v));
        else if (json_is_real(v))
            say(t, "%.6g", json_real_value(v));
        else
            say(t, "%s", json_is_true(v) ? "true" : "false");
    }
    if (n) say(t, "\n");
}
void hpt__names_summary(const hpt__networks *r, const hpt__candidate *c, const json_t *report, char *out, size_t size) {
    text t = {out, size, 0};
    json_t *v, *groups = json_object_get(report, "not_used"), *unreadable = json_object_get(report, "unreadable");
    const char *key, *producer = json_string_value(json_object_get(report, "producer"));
    const char *refused = json_string_value(json_object_get(report, "refused"));
    const char *looks = c ? NULL : hpt__no_network(r);
    size_t i;
    int n;
    *out = 0;
    say(&t, "container   %s, %u tensors\n", r->f->container, r->f->n);
    if (producer) say(&t, "made by     %s, as its names and values say\n", producer);
    char some[300] = "";
    if (!c) {
        hpt__networks_marks(NULL, some, sizeof some);
        say(&t, "backbone    none: %s%s%s\n", some, looks ? "; looks like " : "", looks ? looks : "");
    } else {
        say(&t, "backbone    %s", *c->arch.name ? c->arch.name : "not one that libhpt knows");
        if (*c->arch.name) hpt__naming_of(&c->arch)->words(&c->arch, some, sizeof some), say(&t, " %s", some);
        say(&t, "\nprefix      '%.*s'\nnames       %s\n", c->shown_len < 400 ? c->shown_len : 400, c->shown,
            c->naming);
        if (*c->note) say(&t, "note        %s\n", c->note);
        if (c->head)
            say(&t, "head        %s to %d values (loaded with carry_head=1)\n",
                c->arch.mlp ? "two layers" : "one layer", c->arch.dim);
        json_t *fc = json_object_get(report, "classifier");
        if (fc)
            say(&t, "classifier  %lld classes (%s)\n", (long long)json_integer_value(json_object_get(fc, "classes")),
                json_is_true(json_object_get(fc, "loaded")) ? "loaded" : "loaded with classifier=take");
        say(&t, "loads       %s%s\n", refused ? "no: " : "yes", refused ? refused : "");
    }
    for (n = 0; n < r->n; n++)
        if (&r->c[n] != c)
            say(&t, "%s'%.*s' (%s%s)\n", n == 0 || (n == 1 && c == &r->c[0]) ? "others      " : "            ",
                r->c[n].shown_len < 200 ? r->c[n].shown_len : 200, r->c[n].shown,
                *r->c[n].arch.name ? r->c[n].arch.name : r->c[n].why, r->c[n].same ? ", the same tensors" : "");
    if (r->n > 1) say(&t, "            (option backbone_prefix takes another)\n");
    n = 0;
    json_object_foreach(groups, key, v) if (n++ < 10)
        say(&t, "%s%s %lld\n", n == 1 ? "not used    " : "            ", key, (long long)json_integer_value(v));
    if (n > 10) say(&t, "            and %d more groups\n", n - 10);
    json_array_foreach(unreadable, i, v) if (i < 5)
        say(&t, "%s%s (%s)\n", i ? "            " : "unreadable  ", json_string_value(json_object_get(v, "name")),
            json_string_value(json_object_get(v, "why")));
    if (json_array_size(unreadable) > 5) say(&t, "            and %zu more\n", json_array_size(unreadable) - 5);
    say_values(&t, r->f->meta);
}

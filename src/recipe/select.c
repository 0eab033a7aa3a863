/* SPDX-License-Identifier: MIT
 * Numbers of finished instances: groups over seeds, differences, paired tests. What tables, figures and sentences
 * are made of. */
#include "recipe/select.h"
#include "core/alloc.h"
#include "core/number.h"
#include "eval/similarity.h"
#include <math.h>
#include <string.h>

double hpt__instance_number(const hpt__instance *in, const char *value) {
    json_t *v = json_object_get(in->result, value);
    return in->state == HPT__I_DONE && json_is_number(v) ? json_number_value(v) : NAN;
}
const char *hpt__section_label(const hpt__section *s) { return hpt__section_value(s, "label", s->name); }

void hpt__instance_label(const hpt_recipe *r, const hpt__instance *in, const char *but, char *out, size_t size) {
    size_t at = (size_t)snprintf(out, size, "%s", hpt__section_label(&r->sections[in->section]));
    for (int i = 0; i < in->n_vars && at < size; i++) {
        const char *last = strchr(in->vars[i].id, '.') + 1;
        if (but && (!strcmp(last, but) || !strcmp(in->vars[i].id, but))) continue;
        at += (size_t)snprintf(out + at, size - at, ", %s=%s", last, in->vars[i].value);
    }
}

int hpt__same_vars(const hpt__instance *a, const hpt__instance *b) {
    if (a->section != b->section || a->n_vars != b->n_vars) return 0;
    for (int i = 0; i < a->n_vars; i++) {
        const char *v = hpt__instance_var(b, a->vars[i].id);
        if (!v || strcmp(v, a->vars[i].value)) return 0;
    }
    return 1;
}

/* The instance of a section that stands beside `in`: same seed, and equal in every variable that both have by its
 * last part. */
const hpt__instance *hpt__beside(const hpt_recipe *r, const hpt__instance *in, const char *ref) {
    int at = hpt__ref_section(r, ref);
    if (at < 0) return NULL;
    const hpt__section *s = &r->sections[at];
    for (int i = s->first; i < s->first + s->count; i++) {
        const hpt__instance *o = &r->instances[i];
        int ok = hpt__ref_matches(r, ref, o) && (o->seed == in->seed || o->seed < 0);
        for (int k = 0; k < in->n_vars && ok; k++) {
            const char *last = strchr(in->vars[k].id, '.') + 1, *v = hpt__instance_var(o, last);
            ok = !v || !strcmp(v, in->vars[k].value);
        }
        if (ok) return o;
    }
    return NULL;
}

double hpt__valued(const hpt_recipe *r, const hpt__instance *in, const hpt__value *v) {
    double x = hpt__instance_number(in, v->name);
    if (v->minus && *v->minus) {
        const hpt__instance *o = hpt__beside(r, in, v->minus);
        x -= o ? hpt__instance_number(o, v->name) : NAN;
    }
    if (v->relative && *v->relative) {      /* against the own instance with another value of x */
        double base = NAN;
        const hpt__section *s = &r->sections[in->section];
        for (int i = s->first; i < s->first + s->count; i++) {
            const hpt__instance *o = &r->instances[i];
            const char *ox = hpt__instance_var(o, v->x);
            if (o->seed != in->seed || !ox || strcmp(ox, v->relative)) continue;
            int same = o->n_vars == in->n_vars;
            for (int k = 0; k < in->n_vars && same; k++) {
                const char *last = strchr(in->vars[k].id, '.') + 1, *mine = in->vars[k].value,
                    *its = hpt__instance_var(o, in->vars[k].id);
                same = !strcmp(last, v->x) || !strcmp(in->vars[k].id, v->x) || (its && !strcmp(its, mine));
            }
            if (same) base = hpt__instance_number(o, v->name);
        }
        x -= base;
    }
    return x;
}

hpt__mean hpt__over_seeds(const hpt_recipe *r, const hpt__instance *in, const hpt__value *v) {
    hpt__mean m = {0, 0, 0};
    double sum = 0, sq = 0;
    const hpt__section *s = &r->sections[in->section];
    for (int pass = 0; pass < 2; pass++)
        for (int i = s->first; i < s->first + s->count; i++) {
            if (!hpt__same_vars(in, &r->instances[i])) continue;
            double x = hpt__valued(r, &r->instances[i], v);
            if (x != x) continue;
            if (!pass) sum += x, m.n++;
            else sq += (x - m.mean) * (x - m.mean);
            m.mean = m.n ? sum / m.n : 0;
        }
    m.sd = m.n > 1 ? sqrt(sq / (m.n - 1)) : 0;
    return m;
}

int hpt__groups(const hpt_recipe *r, const char *stages, int *out, int max) {
    char item[HPT__ITEM];
    int n = 0;
    for (int k = 0; hpt__list_item(stages, k, ',', item, sizeof item); k++) {
        int at = hpt__ref_section(r, item);
        if (at < 0) continue;
        const hpt__section *s = &r->sections[at];
        for (int i = s->first; i < s->first + s->count && n < max; i++) {
            int fresh = hpt__ref_matches(r, item, &r->instances[i]);
            for (int j = 0; j < n && fresh; j++) fresh = !hpt__same_vars(&r->instances[i], &r->instances[out[j]]);
            if (fresh) out[n++] = i;
        }
    }
    return n;
}

/* ---- "stage[key=value] - other" ---- */

/* Mean of a side's instances of one seed. */
static double side(const hpt_recipe *r, const char *text, const char *value, int64_t seed) {
    char part[2][HPT__ITEM];
    double total = 0, constant;
    if (hpt__number_parse(text, &constant)) return constant;
    const char *minus = strstr(text, " - ");
    snprintf(part[0], sizeof part[0], "%.*s", minus ? (int)(minus - text) : HPT__ITEM - 1, text);
    snprintf(part[1], sizeof part[1], "%s", minus ? minus + 3 : "");
    for (int p = 0; p < 2 && *part[p]; p++) {
        char ref[HPT__ITEM];
        double sum = 0;
        int n = 0;
        hpt__list_item(part[p], 0, '\n', ref, sizeof ref);
        int at = hpt__ref_section(r, ref);
        for (int i = at < 0 ? 0 : r->sections[at].first; at >= 0 && i < r->sections[at].first + r->sections[at].count;
             i++) {
            const hpt__instance *in = &r->instances[i];
            double x = hpt__instance_number(in, value);
            if (x != x || !hpt__ref_matches(r, ref, in) || (in->seed >= 0 && in->seed != seed)) continue;
            sum += x;
            n++;
        }
        total += (p ? -1 : 1) * (n ? sum / n : NAN);
    }
    return total;
}

void hpt__compare(const hpt_recipe *r, const char *left, const char *right, const char *value, hpt__comparison *c) {
    double d[HPT__SEEDS], sl = 0, sr = 0;
    memset(c, 0, sizeof *c);
    c->left = c->right = c->difference = c->sd = c->p = NAN;
    for (int i = 0; i < r->n_seeds && c->n < HPT__SEEDS; i++) {
        double a = side(r, left, value, r->seeds[i]), b = side(r, right, value, r->seeds[i]);
        if (a != a || b != b) continue;
        sl += a;
        sr += b;
        d[c->n++] = a - b;
    }
    if (!c->n) return;
    c->left = sl / c->n;
    c->right = sr / c->n;
    c->difference = c->left - c->right;
    if (c->n < 2) return;           /* one seed has no spread */
    double sq = 0;
    for (int i = 0; i < c->n; i++) sq += (d[i] - c->difference) * (d[i] - c->difference);
    c->sd = sqrt(sq / (c->n - 1));
    if (c->sd > 0) {
        double t = c->difference / (c->sd / sqrt(c->n)), dof = c->n - 1;
        c->p = hpt__incomplete_beta(dof / 2, 0.5, dof / (dof + t * t));
    } else c->p = c->difference == 0 ? 1 : 0;
}

double hpt__paper_number(const hpt_recipe *r, const hpt__instance *in, const char **where) {
    static const struct { const char *set, *strategy, *variable; double at, value; const char *where; } all[] = {
#define PAPER(set, strategy, value, where) {set, strategy, NULL, 0, value, where},
#define PAPER_AT(set, strategy, variable, at, value, where) {set, strategy, variable, at, value, where},
#include "recipe/paper.def"
#undef PAPER
#undef PAPER_AT
    };
    const char *strategy = hpt__instance_value(r, in, "strategy");
    int t = hpt__instance_input(in, "test", 0);
    const char *set = t < 0 ? NULL : r->instances[in->input[t].instance].known_set;
    for (size_t i = 0; strategy && set && i < sizeof all / sizeof *all; i++) {
        double at;
        const char *v = all[i].variable ? hpt__instance_var(in, all[i].variable) : NULL;
        if (strcmp(all[i].set, set) || strcmp(all[i].strategy, strategy)) continue;
        if (all[i].variable && !(v && hpt__number_parse(v, &at) && fabs(at - all[i].at) < 0.5)) continue;
        *where = all[i].where;
        return all[i].value;
    }
    return NAN;
}

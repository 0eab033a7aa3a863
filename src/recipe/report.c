/* SPDX-License-Identifier: MIT
 * results.json, results.csv and report.html from what is done. Every sentence is computed from the numbers. Where a
 * loop may be long the host is asked whether to go on; what is not whole then is never written. */
#include "recipe/select.h"
#include "core/alloc.h"
#include "core/result.h"
#include "core/number.h"
#include "io/file.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GROUPS = HPT__MAX_GROUPS, MAX_COLUMNS = HPT__MAX_COLUMNS };

void hpt__put(hpt__text *t, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = hpt__vformat(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0 && t->n + (size_t)n + 1 > t->cap) {
        size_t cap = 2 * (t->n + (size_t)n + 4096);
        char *p = hpt__realloc(t->p, cap);
        if (p) {
            t->p = p;
            t->cap = cap;
        } else t->failed = 1;
    }
    if (n >= 0 && !t->failed) t->n += (size_t)hpt__vformat(t->p + t->n, t->cap - t->n, fmt, again);
    va_end(again);
}
void hpt__put_number(hpt__text *t, int decimals, double x) {
    if (x == x) hpt__put(t, "%.*f", decimals, x);
    else hpt__put(t, "-");
}
void hpt__put_html(hpt__text *t, const char *s) {
    for (; s && *s; s++) {
        if (*s == '<') hpt__put(t, "&lt;");
        else if (*s == '>') hpt__put(t, "&gt;");
        else if (*s == '&') hpt__put(t, "&amp;");
        else if (*s == '"') hpt__put(t, "&quot;");
        else hpt__put(t, "%c", *s);
    }
}
static hpt_status write_text(const char *path, hpt__text *t) {
    hpt__writer w;
    if (t->failed) return hpt__fail_memory(t->cap);
    HPT_TRY(hpt__writer_open(&w, path));
    hpt__writer_put(&w, t->p ? t->p : "", t->n);
    return hpt__writer_commit(&w);
}

/* ---- sentences ---- */

static void verdict(const char *expect, double margin, const hpt__comparison *c, char *out, size_t size) {
    double over = c->difference;
    char sure[80];
    if (!c->n) {
        snprintf(out, size, "not known yet");
        return;
    }
    if (c->n == 1) snprintf(sure, sizeof sure, "one seed: no test");
    else if (c->p < 0.0005) hpt__format(sure, sizeof sure, "p < 0.001, paired t-test over %d seeds", c->n);
    else hpt__format(sure, sizeof sure, "p = %.3f, paired t-test over %d seeds", c->p, c->n);
    int certain = c->n > 1 && c->p < 0.05;
    if (!strcmp(expect, "not-less")) {
        if (over >= -margin)
            snprintf(out, size, "appears: %s (%s)", over >= 0 ? "not behind" : "behind by no more than the margin",
                     sure);
        else
            snprintf(out, size, "%s (%s)", certain ? "does not appear: it is behind"
                     : "does not appear in the means, and the seeds do not settle it", sure);
    } else if (!strcmp(expect, "equal")) {
        snprintf(out, size, "%s (%s)", fabs(over) <= margin ? "appears: within the margin" : certain
                 ? "does not appear" : "does not appear in the means, and the seeds do not settle it", sure);
    } else if (over > margin)
        snprintf(out, size, "%s (%s)", certain ? "appears" : "points that way, not settled", sure);
    else
        snprintf(out, size, "%s (%s)", certain && over < 0 ? "does not appear: the opposite does" : "does not appear",
                 sure);
}

static json_t *findings(const hpt_recipe *r, hpt__text *html) {
    json_t *list = json_array();
    char text[240];
    int any = 0;
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        hpt__comparison c;
        double margin = 0;
        if (s->kind != HPT__S_FINDING) continue;
        if (hpt__span_tick(0)) break;
        const char *left = hpt__section_value(s, "left", ""), *right = hpt__section_value(s, "right", ""),
            *value = hpt__section_value(s, "value", "test_score");
        hpt__number_parse(hpt__section_value(s, "margin", "0"), &margin);
        hpt__compare(r, left, right, value, &c);
        verdict(hpt__section_value(s, "expect", "greater"), margin, &c, text, sizeof text);
        json_array_append_new(list, json_pack("{s:o,s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:i,s:o}", "name",
                                              hpt__json_text(s->name), "claim",
                                              hpt__json_text(hpt__section_value(s, "claim", "")), "left",
                                              hpt__json_text(left), "right", hpt__json_text(right), "verdict", text,
                                              "left_mean", hpt__json_number(c.left), "right_mean",
                                              hpt__json_number(c.right), "difference", hpt__json_number(c.difference),
                                              "sd", hpt__json_number(c.sd), "seeds", c.n, "p", hpt__json_number(c.p)));
        if (!any++) hpt__put(html, "<h2>What the numbers say</h2>\n<ul>\n");
        hpt__put(html, "<li><b>");
        hpt__put_html(html, hpt__section_value(s, "claim", ""));
        hpt__put(html, "</b>");
        if (hpt__section_line(s, "paper")) {
            hpt__put(html, " <small>(");
            hpt__put_html(html, hpt__section_value(s, "paper", ""));
            hpt__put(html, ")</small>");
        }
        hpt__put(html, ": ");
        hpt__put_html(html, text);
        if (c.n) {
            hpt__put(html, ". <small>");
            hpt__put_html(html, left);
            hpt__put(html, " %.2f, ", c.left);
            hpt__put_html(html, right);
            hpt__put(html, " %.2f, difference %+.2f", c.right, c.difference);
            if (c.n > 1) hpt__put(html, " &plusmn; %.2f", c.sd);
            hpt__put(html, ".</small>");
        }
        hpt__put(html, "</li>\n");
    }
    if (any) hpt__put(html, "</ul>\n");
    return list;
}

/* ---- tables ---- */

static void cell(const hpt_recipe *r, const hpt__instance *in, const char *value, hpt__text *html) {
    hpt__value v = {value, NULL, NULL, NULL};
    hpt__mean m = hpt__over_seeds(r, in, &v);
    const char *where;
    double paper = hpt__paper_number(r, in, &where);
    if (!m.n) hpt__put(html, "<td>-");
    else if (m.n == 1) hpt__put(html, "<td>%.2f", m.mean);
    else hpt__put(html, "<td>%.2f &plusmn; %.2f", m.mean, m.sd);
    const char *metric = json_string_value(json_object_get(in->result, "metric"));
    if (m.n && metric && !strcmp(metric, "auroc") && strstr(value, "_score")) hpt__put(html, " <small>AUROC</small>");
    if (paper == paper) hpt__put(html, " <small>(paper %.1f, %s)</small>", paper, where);
}
static void table(const hpt_recipe *r, const hpt__section *s, const char *stages, hpt__text *html) {
    int group[MAX_GROUPS], n = hpt__groups(r, stages, group, MAX_GROUPS), columns = 0;
    const char *column = s ? hpt__section_value(s, "columns", NULL) : NULL, *value = s ? hpt__section_value(s, "value",
        "test_score") : "test_score";
    const char *head[MAX_COLUMNS];
    char name[256], done[MAX_GROUPS];
    memset(done, 0, sizeof done);
    for (int i = 0; i < n && column; i++) {
        const char *v = hpt__instance_var(&r->instances[group[i]], column);
        int fresh = v != NULL && columns < MAX_COLUMNS;
        for (int k = 0; k < columns && fresh; k++) fresh = strcmp(head[k], v);
        if (fresh) head[columns++] = v;
    }
    hpt__put(html, "<h3>");
    hpt__put_html(html, s ? hpt__section_value(s, "title", s->name) : "All evaluations");
    hpt__put(html, "</h3>\n");
    if (s && hpt__section_line(s, "about")) {
        hpt__put(html, "<p>");
        hpt__put_html(html, hpt__section_value(s, "about", ""));
        hpt__put(html, "</p>\n");
    }
    hpt__put(html, "<table><tr><th>stage");
    for (int k = 0; k < columns; k++) {
        hpt__put(html, "<th>");
        hpt__put_html(html, column);
        hpt__put(html, "=");
        hpt__put_html(html, head[k]);
    }
    if (!columns) {
        hpt__put(html, "<th>");
        hpt__put_html(html, value);
        if (!s) hpt__put(html, "<th>val_score");
    }
    hpt__put(html, "</tr>\n");
    for (int i = 0; i < n; i++) {
        const hpt__instance *in = &r->instances[group[i]];
        if (done[i]) continue;
        if (hpt__span_tick(0)) break;
        char mine[256];
        hpt__instance_label(r, in, column, mine, sizeof mine);
        hpt__put(html, "<tr><td>");
        hpt__put_html(html, mine);
        if (!columns) {
            cell(r, in, value, html);
            if (!s) cell(r, in, "val_score", html);
        }
        for (int k = 0; k < columns; k++) {
            const hpt__instance *hit = NULL;
            for (int j = i; j < n; j++) {
                const hpt__instance *o = &r->instances[group[j]];
                const char *v = hpt__instance_var(o, column);
                hpt__instance_label(r, o, column, name, sizeof name);
                if (strcmp(name, mine) || (v && strcmp(v, head[k]))) continue;
                if (!hit) hit = o;
                done[j] = 1;
            }
            if (hit) cell(r, hit, value, html);
            else hpt__put(html, "<td>");
        }
        hpt__put(html, "</tr>\n");
    }
    hpt__put(html, "</table>\n");
}

/* For whoever wants the main numbers without the report: each evaluation, its score on test images (else validation)
 * over seeds. */
static json_t *scores(const hpt_recipe *r) {
    json_t *list = json_array();
    char name[256];
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        hpt__section_kind kind = in->section < 0 ? HPT__S_RECIPE : r->sections[in->section].kind;
        if (!hpt__is_evaluation(kind)) continue;
        if (hpt__span_tick(0)) break;
        int first = 1;
        for (int k = r->sections[in->section].first; k < i && first; k++) first = !hpt__same_vars(in, &r->instances[k]);
        if (!first) continue;
        hpt__value v = {"test_score", NULL, NULL, NULL};
        hpt__mean m = hpt__over_seeds(r, in, &v);
        if (!m.n) {
            v.name = "val_score";
            m = hpt__over_seeds(r, in, &v);
        }
        if (!m.n) continue;
        hpt__instance_label(r, in, NULL, name, sizeof name);
        json_t *metric = json_object_get(in->result, "metric"), *one = json_object();
        json_object_set_new(one, "name", hpt__json_text(name));
        json_object_set_new(one, "section", hpt__json_text(r->sections[in->section].name));
        json_object_set_new(one, "value", json_string(v.name));
        json_object_set_new(one, "metric", metric ? json_incref(metric) : json_null());
        json_object_set_new(one, "mean", hpt__json_number(m.mean));
        json_object_set_new(one, "sd", m.n > 1 ? hpt__json_number(m.sd) : json_null());
        json_object_set_new(one, "seeds", json_integer(m.n));
        json_array_append_new(list, one);
    }
    return list;
}

/* ---- searches and similarities ---- */

static long long integer_in(const json_t *o, const char *key) {
    return (long long)json_integer_value(json_object_get(o, key));
}
static void searches(const hpt_recipe *r, hpt__text *html) {
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        if (in->section < 0 || r->sections[in->section].kind != HPT__S_SEARCH || !in->result) continue;
        json_t *list = json_object_get(in->result, "candidates"), *c, *h = json_object_get(in->result, "halving");
        size_t at;
        hpt__put(html, "<h3>Choice of a source: ");
        hpt__put_html(html, in->name);
        hpt__put(html,
                 "</h3>\n<table><tr><th>candidate<th>images<th>steps<th>val score<th>rank<th>nearness<th>nearness "
                 "rank<th>at the rungs<th>seconds</tr>\n");
        json_array_foreach(list, at, c) {
            hpt__put(html, "<tr><td>");
            hpt__put_html(html, json_string_value(json_object_get(c, "name")));
            hpt__put(html, "<td>%lld<td>%lld<td>", integer_in(c, "images"), integer_in(c, "steps"));
            hpt__put_number(html, 2, hpt__json_real(json_object_get(c, "val_score")));
            hpt__put(html, "<td>%lld<td>", integer_in(c, "rank"));
            hpt__put_number(html, 3, hpt__json_real(json_object_get(c, "nearness")));
            hpt__put(html, "<td>%lld<td>", integer_in(c, "nearness_rank"));
            size_t k;
            json_t *rung;
            json_array_foreach(json_object_get(c, "rungs"), k, rung) {
                hpt__put(html, "%s%lld: ", k ? ", " : "", integer_in(rung, "step"));
                hpt__put_number(html, 2, hpt__json_real(json_object_get(rung, "val_score")));
            }
            hpt__put(html, "<td>");
            hpt__put_number(html, 0, hpt__json_real(json_object_get(c, "seconds")));
            hpt__put(html, "</tr>\n");
        }
        hpt__put(html, "</table>\n<p>Taken: <b>");
        hpt__put_html(html, json_string_value(json_object_get(in->result, "winner")));
        hpt__put(html, "</b>, after %lld steps in all. ", integer_in(in->result, "cost_steps"));
        if (h) {
            hpt__put(html, "Successive halving would have taken ");
            hpt__put_html(html, json_string_value(json_object_get(h, "winner")));
            hpt__put(html, " after %lld steps. ", integer_in(h, "cost_steps"));
        }
        hpt__put(html, "The nearest to the target by features of the base model, before any training, is ");
        hpt__put_html(html, json_string_value(json_object_get(in->result, "nearest")));
        hpt__put(html, ".</p>\n");
    }
}
static void choices(const hpt_recipe *r, hpt__text *html) {
    int any = 0;
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        const char *chosen = json_string_value(json_object_get(in->result, "chosen"));
        if (!chosen) continue;
        hpt__put(html, any++ ? "<br>\n" : "<h3>Chosen by validation</h3>\n<p>");
        hpt__put_html(html, in->name);
        hpt__put(html, ": ");
        hpt__put_html(html, chosen);
        hpt__put(html, " (");
        hpt__put_number(html, 2, hpt__json_real(json_object_get(in->result, "val_score")));
        hpt__put(html, ")");
    }
    if (any) hpt__put(html, "</p>\n");
}
static void welches(const hpt_recipe *r, hpt__text *html) {
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        json_t *w = json_object_get(in->result, "welch");
        if (!w) continue;
        hpt__put(html, "<p>");
        hpt__put_html(html, hpt__section_label(&r->sections[in->section]));
        hpt__put(html,
                 ": pairs with the same %s %.3f (%lld pairs), with different ones %.3f (%lld pairs); Welch's t = %.2f, "
                 "%.1f degrees of freedom, p = %.2g. Pairs share models, so they are not independent.</p>\n",
                 json_string_value(json_object_get(w, "group")), json_number_value(json_object_get(w, "same_mean")),
                 integer_in(w, "same_pairs"), json_number_value(json_object_get(w, "different_mean")),
                 integer_in(w, "different_pairs"), json_number_value(json_object_get(w, "t")),
                 json_number_value(json_object_get(w, "dof")), json_number_value(json_object_get(w, "p")));
    }
}

/* ---- what the numbers leave out ---- */

/* Joins the names of a list, at most eight. */
static void names_text(const json_t *list, char *text, size_t size) {
    size_t n = json_array_size(list), at = 0;
    *text = 0;
    for (size_t i = 0; i < n && i < 8 && at + 1 < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%.200s", i ? ", " : "",
                               json_string_value(json_array_get(list, i)));
    if (n > 8 && at + 1 < size) snprintf(text + at, size - at, ", ...");
}
static void say(json_t *said, const char *line) {
    json_object_set_new(said, line, json_integer(1 + json_integer_value(json_object_get(said, line))));
}
static void unreadable(json_t *said, const json_t *result, const char *whose, int trained) {
    const char *name;
    char names[2000], line[2400];
    json_t *set;
    json_object_foreach(json_object_get(result, "unreadable"), name, set) {
        long long n = (long long)json_integer_value(json_object_get(set, "count"));
        names_text(json_object_get(set, "names"), names, sizeof names);
        snprintf(line, sizeof line, "%.200s: %lld unreadable image%s, %s: %s", whose ? whose : name, n, n == 1 ? ""
                 : "s", trained ? "others stood in" : "left out", names);
        say(said, line);
    }
}
/* Images that could not be read, and classes of train that a set lacks: every sentence once, with the stages that it
 * holds for. */
static void left_out(const hpt_recipe *r, hpt__text *html) {
    json_t *said = json_object(), *value, *set;
    const char *name, *text;
    char names[2000], line[2400];
    size_t at;
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        int trained = in->section >= 0 && (r->sections[in->section].kind == HPT__S_PRETRAIN ||
                                             r->sections[in->section].kind == HPT__S_ADAPT);
        if (hpt__span_tick(0)) break;
        unreadable(said, in->result, NULL, trained);
        json_array_foreach(json_object_get(in->result, "candidates"), at, set) unreadable(said, set,
            json_string_value(json_object_get(set, "name")), 1);
        json_object_foreach(json_object_get(in->result, "classes_only_in_train"), name, set) {
            names_text(set, names, sizeof names);
            snprintf(line, sizeof line, "%s: no image of %zu of train's classes: %s", name, json_array_size(set),
                     names);
            say(said, line);
        }
        if ((text = json_string_value(json_object_get(in->result, "protocol")))) say(said, text);
    }
    if (json_object_size(said)) hpt__put(html, "<h2>What the numbers leave out</h2>\n<ul>\n");
    json_object_foreach(said, text, value) {
        hpt__put(html, "<li>");
        hpt__put_html(html, text);
        hpt__put(html, " <small>(%lld stage%s)</small></li>\n", (long long)json_integer_value(value),
                 json_integer_value(value) == 1 ? "" : "s");
    }
    if (json_object_size(said)) hpt__put(html, "</ul>\n");
    json_decref(said);
}

/* ---- files ---- */

static void csv_cell(hpt__text *t, const char *s) {
    hpt__put(t, "\"");
    for (; s && *s; s++) hpt__put(t, *s == '"' ? "\"\"" : "%c", *s);
    hpt__put(t, "\"");
}
static hpt_status write_csv(const hpt_recipe *r) {
    static const char *const numbers[] = {"val_score", "test_score", "test_top5", "best_lr", "steps", "loss", "images",
                                          "unreadable_images", "seconds"};
    hpt__text t = {0};
    char path[4200], text[40];
    hpt__put(&t, "stage,kind,seed,variables,key");
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) hpt__put(&t, ",%s", numbers[k]);
    hpt__put(&t, ",metric,precision\n");
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        if (!in->result) continue;
        csv_cell(&t, r->sections[in->section].name);
        hpt__put(&t, ",%s,%lld,", hpt__kinds[r->sections[in->section].kind].word, (long long)in->seed);
        hpt__text vars = {0};
        for (int k = 0; k < in->n_vars; k++)
            hpt__put(&vars, "%s%s=%s", k ? " " : "", in->vars[k].id, in->vars[k].value);
        csv_cell(&t, vars.p);
        hpt__free(vars.p);
        hpt__put(&t, ",%016llx", (unsigned long long)in->key);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            double v = hpt__instance_number(in, numbers[k]);
            text[0] = 0;
            if (v == v) hpt__number_print(v, text, sizeof text);
            hpt__put(&t, ",%s", text);
        }
        for (int k = 0; k < 2; k++) {
            const char *word = json_string_value(json_object_get(in->result, k ? "precision" : "metric"));
            hpt__put(&t, ",%s", word ? word : "");
        }
        hpt__put(&t, "\n");
    }
    snprintf(path, sizeof path, "%s/results.csv", r->out);
    hpt_status st = write_text(path, &t);
    hpt__free(t.p);
    return st;
}

static void all_stages(const hpt_recipe *r, hpt__text *html) {
    double seconds = 0, steps = 0;
    int n = 0;
    hpt__put(html,
             "<details><summary>Every "
             "stage</summary><table><tr><th>stage<th>kind<th>steps<th>seconds<th>metric<th>val<th>test<th>key</tr>\n");
    for (int i = 0; i < r->n_instances; i++) {
        const hpt__instance *in = &r->instances[i];
        if (in->section < 0 || !in->name) continue;
        double s = hpt__instance_number(in, "seconds"), v = hpt__instance_number(in, "val_score"),
            t = hpt__instance_number(in, "test_score");
        hpt__put(html, "<tr><td>");
        hpt__put_html(html, in->name);
        hpt__put(html, "<td>%s<td>%llu", hpt__kinds[r->sections[in->section].kind].word, (unsigned long long)in->steps);
        if (s == s) hpt__put(html, "<td>%.0f", s);
        else hpt__put(html, "<td>not done");
        const char *metric = json_string_value(json_object_get(in->result, "metric"));
        hpt__put(html, "<td>");
        hpt__put_html(html, metric ? metric : "");
        hpt__put(html, v == v ? "<td>%.2f" : "<td>", v);
        hpt__put(html, t == t ? "<td>%.2f" : "<td>", t);
        hpt__put(html, "<td><code>%016llx</code></tr>\n", (unsigned long long)in->key);
        if (s == s) seconds += s, steps += (double)in->steps, n++;
    }
    hpt__put(html,
             "</table></details>\n<p>%d stages done, %.0f optimizer steps, %.0f seconds of work (%d at a time).</p>\n",
             n, steps, seconds, r->jobs);
}

hpt_status hpt__recipe_report(hpt_recipe *r, json_t **results) {
    const hpt__section *top = hpt__section_only(r, HPT__S_RECIPE);
    hpt__text html = {0}, say = {0};
    char path[4200];
    hpt__text stages = {0};
    uint64_t losses = hpt__json_losses();
    HPT__SPAN(&r->ctx->watch, HPT_PHASE_REPORT, "parts of the report");
    hpt__whole.total = 2 * (uint64_t)r->n_sections;     /* tables, then figures */
    HPT_TRY(hpt__make_dir(r->out));
    const char *title = hpt__section_value(top, "title", hpt__section_value(top, "name", r->path));
    json_t *all = json_object(), *list = json_array(), *found = findings(r, &say);
    json_object_set_new(all, "recipe", hpt__json_text(hpt__section_value(top, "name", r->path)));
    json_object_set_new(all, "title", hpt__json_text(title));
    json_object_set_new(all, "libhpt", json_string(hpt_version_string()));
    hpt__recipe_facts(r, all);
    json_object_set_new(all, "findings", found);
    json_object_set_new(all, "scores", scores(r));
    snprintf(path, sizeof path, "%s/report.html", r->out);
    json_object_set_new(all, "report", hpt__json_text(path));
    for (int i = 0; i < r->n_instances; i++)
        if (r->instances[i].result) json_array_append(list, r->instances[i].result);
    json_object_set_new(all, "stages", list);
    json_object_set_new(all, "stage_count", json_integer((json_int_t)json_array_size(list)));

    hpt__put(&html, "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    hpt__put_html(&html, title);
    hpt__put(&html,
             "</title><style>body{font:15px/1.45 sans-serif;max-width:1000px;margin:2em auto;padding:0 "
             "1em}table{border-collapse:collapse;margin:.6em 0}td,th{padding:3px 12px;border-bottom:1px solid "
             "#ddd;text-align:right}td:first-child,th:first-child{text-align:left}small{color:#555}li{margin:.4em "
             "0}</style></head><body>\n<h1>");
    hpt__put_html(&html, title);
    hpt__put(&html, "</h1>\n<p>");
    hpt__put_html(&html, hpt__section_value(top, "about", ""));
    hpt__put(&html, "</p>\n<p>libhpt %s, ", hpt_version_string());
    hpt__put_html(&html, r->backend);
    hpt__put(&html, "; seeds");
    for (int i = 0; i < r->n_seeds; i++) hpt__put(&html, " %lld", (long long)r->seeds[i]);
    hpt__put(&html,
             ". Scores are percent on test images (top-1, or 100 times the mean AUROC): mean and standard deviation "
             "over seeds. Everything that was chosen was chosen on validation images.</p>\n");
    if (say.p) hpt__put(&html, "%s", say.p);
    hpt__put(&html, "<h2>Tables</h2>\n");
    int tables = 0;
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        if (hpt__span_tick(1)) break;
        if (s->kind == HPT__S_TABLE) table(r, s, hpt__section_value(s, "stages", ""), &html), tables++;
        if (hpt__is_evaluation(s->kind))
            hpt__put(&stages, "%s%s", stages.n ? ", " : "", s->name);
    }
    if (!tables && stages.n && !stages.failed) table(r, NULL, stages.p, &html);
    searches(r, &html);
    choices(r, &html);
    int plots = 0;
    for (int i = 0; i < r->n_sections; i++) {
        const hpt__section *s = &r->sections[i];
        if (hpt__span_tick(1)) break;
        if (s->kind != HPT__S_PLOT) continue;
        if (!plots++) hpt__put(&html, "<h2>Figures</h2>\n");
        hpt__put(&html, "<h3>");
        hpt__put_html(&html, hpt__section_value(s, "title", s->name));
        hpt__put(&html, "</h3>\n");
        if (hpt__section_line(s, "about")) {
            hpt__put(&html, "<p>");
            hpt__put_html(&html, hpt__section_value(s, "about", ""));
            hpt__put(&html, "</p>\n");
        }
        hpt__plot(r, s, &html);
    }
    welches(r, &html);
    left_out(r, &html);
    all_stages(r, &html);
    hpt__put(&html, "</body></html>\n");

    snprintf(path, sizeof path, "%s/report.html", r->out);
    html.failed |= stages.failed | say.failed;
    hpt__free(stages.p);
    hpt_status st = hpt__span_tick(0);
    if (st == HPT_ERR_CANCELLED)
        st = hpt__fail(st, "cancelled: the report was being put together; what is done stays done");
    if (!st && hpt__json_losses() != losses) st = hpt__fail_memory(4096);
    if (!st) st = write_text(path, &html);
    snprintf(path, sizeof path, "%s/results.json", r->out);
    if (!st) st = hpt__json_write(path, all);
    if (!st) st = write_csv(r);
    hpt__free(html.p);
    hpt__free(say.p);
    if (st) json_decref(all);
    else *results = all;
    return st;
}

/* SPDX-License-Identifier: MIT
 * Figures as SVG: lines (a value against a swept one), bars (grouped), heat (similarity of every pair), closeness
 * (similarity to the best model against a swept value). Error bars are one standard deviation over seeds. */
#include "recipe/select.h"
#include "core/alloc.h"
#include "core/result.h"
#include "core/number.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { W = 760, H = 360, LEFT = 62, BOTTOM = 48, TOP = 16, RIGHT = 250, MAX_SERIES = HPT__MAX_SERIES,
       MAX_POINTS = HPT__MAX_POINTS, MAX_GROUPS = HPT__MAX_GROUPS };
static const char *const colours[] = {"#d62728", "#1f77b4", "#2ca02c", "#8c564b", "#9467bd", "#ff7f0e", "#17becf",
                                      "#7f7f7f", "#bcbd22", "#e377c2"};

typedef struct point { int x; double mean, sd; } point;         /* x: index of the category */
typedef struct series { char name[160]; char colour[16]; int flat; point p[MAX_POINTS]; int n; } series;
typedef struct chart {
    series s[MAX_SERIES];
    char x[MAX_POINTS][48];         /* categories in order */
    double at[MAX_POINTS];          /* as numbers */
    int n, n_x, numeric, log;
    double y0, y1;
} chart;

static int category(chart *c, const char *x) {
    for (int i = 0; i < c->n_x; i++)
        if (!strcmp(c->x[i], x)) return i;
    if (c->n_x == MAX_POINTS) return -1;
    snprintf(c->x[c->n_x], sizeof c->x[0], "%s", x);
    if (!hpt__number_parse(x, &c->at[c->n_x])) c->numeric = 0;
    return c->n_x++;
}
static series *series_of(chart *c, const char *name, const char *colour) {
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->s[i].name, name)) return &c->s[i];
    if (c->n == MAX_SERIES) return NULL;
    series *s = &c->s[c->n];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->colour, sizeof s->colour, "%s", colour && *colour ? colour : colours[c->n % 10]);
    c->n++;
    return s;
}
static void add_point(chart *c, series *s, int x, double mean, double sd) {
    if (!s || x < -1 || s->n == MAX_POINTS || mean != mean) return;
    s->p[s->n++] = (point){x, mean, sd};
    c->y0 = fmin(c->y0, mean - sd);
    c->y1 = fmax(c->y1, mean + sd);
}
static void gather(const hpt_recipe *r, const hpt__section *sec, chart *c) {
    int group[MAX_GROUPS];
    char name[160], item[HPT__ITEM], minus[HPT__ITEM];
    const char *stages = hpt__section_value(sec, "stages", ""), *x = hpt__section_value(sec, "x", "steps");
    hpt__value v = {hpt__section_value(sec, "value", "test_score"), NULL, hpt__section_value(sec, "relative", NULL), x};
    for (int k = 0; hpt__list_item(stages, k, ',', item, sizeof item); k++) {
        v.minus = hpt__list_item(hpt__section_value(sec, "minus", ""), k, ',', minus, sizeof minus) ? minus : NULL;
        if (!v.minus && hpt__section_line(sec, "minus"))
            v.minus = hpt__list_item(hpt__section_value(sec, "minus", ""), 0, ',', minus, sizeof minus) ? minus : NULL;
        int n = hpt__groups(r, item, group, MAX_GROUPS);
        for (int i = 0; i < n; i++) {
            const hpt__instance *in = &r->instances[group[i]];
            if (hpt__span_tick(0)) return;      /* a report that is given up is not written */
            hpt__mean m = hpt__over_seeds(r, in, &v);
            if (!m.n) continue;
            const char *value = hpt__instance_var(in, x);
            hpt__instance_label(r, in, x, name, sizeof name);
            series *s = series_of(c, name, hpt__section_value(&r->sections[in->section], "colour", NULL));
            if (s && !value) s->flat = 1;
            add_point(c, s, value ? category(c, value) : -1, m.mean, m.sd);
        }
    }
}

static double px(const chart *c, int x) {
    double w = W - LEFT - RIGHT, lo = c->at[0], hi = c->at[0];
    if (!c->numeric || c->n_x < 2) return LEFT + w * (x + 0.5) / (c->n_x ? c->n_x : 1);
    for (int i = 1; i < c->n_x; i++) lo = fmin(lo, c->at[i]), hi = fmax(hi, c->at[i]);
    double t = c->log && lo > 0 ? log(c->at[x] / lo) / log(hi / lo) : (c->at[x] - lo) / (hi - lo);
    return LEFT + 16 + t * (w - 32);
}
static double py(const chart *c, double y) { return H - BOTTOM - (y - c->y0) / (c->y1 - c->y0) * (H - BOTTOM - TOP); }

static void frame(const chart *c, const char *x_title, const char *y_title, hpt__text *out) {
    double span = c->y1 - c->y0, step = pow(10, floor(log10(span / 3)));
    if (span / step > 12) step *= 5;
    else if (span / step > 6) step *= 2;
    hpt__put(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
             "font-family=\"sans-serif\" font-size=\"11\">\n", W, H, W, H);
    hpt__put(out, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", W, H);
    for (double y = ceil(c->y0 / step) * step; y <= c->y1 + 1e-9; y += step)
        hpt__put(out,
                 "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/><text x=\"%d\" y=\"%.1f\" "
                 "text-anchor=\"end\">%g</text>\n", LEFT, W - RIGHT, py(c, y), py(c, y), fabs(y) < 1e-9 ? "#888"
                 : "#ddd", LEFT - 6, py(c, y) + 4, fabs(y) < 1e-9 ? 0 : y);
    for (int i = 0; i < c->n_x; i++) {
        hpt__put(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", px(c, i), H - BOTTOM + 16);
        hpt__put_html(out, c->x[i]);
        hpt__put(out, "</text>\n");
    }
    hpt__put(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + W - RIGHT) / 2, H - 10);
    hpt__put_html(out, x_title);
    hpt__put(out, "</text><text transform=\"translate(15,%d) rotate(-90)\" text-anchor=\"middle\">", (H - BOTTOM) / 2);
    hpt__put_html(out, y_title);
    hpt__put(out, "</text>\n<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#555\"/>\n",
             LEFT, TOP, W - LEFT - RIGHT, H - BOTTOM - TOP);
}
static void legend(const chart *c, int i, int square, hpt__text *out) {
    int y = TOP + 12 + 18 * i, x = W - RIGHT + 10;
    if (square)
        hpt__put(out, "<rect x=\"%d\" y=\"%d\" width=\"14\" height=\"10\" fill=\"%s\"/>", x, y - 5, c->s[i].colour);
    else
        hpt__put(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\"%s/>", x, x + 22,
                 y, y, c->s[i].colour, c->s[i].flat ? " stroke-dasharray=\"6 4\"" : "");
    hpt__put(out, "<text x=\"%d\" y=\"%d\">", x + (square ? 20 : 28), y + 4);
    hpt__put_html(out, c->s[i].name);
    hpt__put(out, "</text>\n");
}
static void error_bar(const chart *c, double x, const point *p, const char *colour, hpt__text *out) {
    if (p->sd > 0)
        hpt__put(out,
                 "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/><line x1=\"%.1f\" x2=\"%.1f\" "
                 "y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/><line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" "
                 "stroke=\"%s\"/>\n", x, x, py(c, p->mean - p->sd), py(c, p->mean + p->sd), colour, x - 3, x + 3,
                 py(c, p->mean - p->sd), py(c, p->mean - p->sd), colour, x - 3, x + 3, py(c, p->mean + p->sd),
                 py(c, p->mean + p->sd), colour);
}

static int by_x(const void *a, const void *b) { return ((const point *)a)->x - ((const point *)b)->x; }
static void sort_categories(chart *c) {         /* numbers ascending */
    if (!c->numeric) return;
    for (int i = 1; i < c->n_x; i++)
        for (int j = i; j > 0 && c->at[j - 1] > c->at[j]; j--) {
            double t = c->at[j];
            char text[48];
            c->at[j] = c->at[j - 1];
            c->at[j - 1] = t;
            memcpy(text, c->x[j], 48);
            memcpy(c->x[j], c->x[j - 1], 48);
            memcpy(c->x[j - 1], text, 48);
            for (int s = 0; s < c->n; s++)
                for (int p = 0; p < c->s[s].n; p++)
                    c->s[s].p[p].x = c->s[s].p[p].x == j ? j - 1 : c->s[s].p[p].x == j - 1 ? j : c->s[s].p[p].x;
        }
    for (int s = 0; s < c->n; s++) qsort(c->s[s].p, (size_t)c->s[s].n, sizeof *c->s[s].p, by_x);
}

static void lines(const chart *c, hpt__text *out) {
    for (int i = 0; i < c->n; i++) {
        const series *s = &c->s[i];
        if (s->flat) {
            double y = py(c, s->p[0].mean);
            hpt__put(out,
                     "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"2\" "
                     "stroke-dasharray=\"6 4\"/>\n", LEFT, W - RIGHT, y, y, s->colour);
        } else {
            hpt__put(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", s->colour);
            for (int p = 0; p < s->n; p++) hpt__put(out, "%.1f,%.1f ", px(c, s->p[p].x), py(c, s->p[p].mean));
            hpt__put(out, "\"/>\n");
            for (int p = 0; p < s->n; p++) {
                double x = px(c, s->p[p].x);
                hpt__put(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>", x, py(c, s->p[p].mean),
                         s->colour);
                error_bar(c, x + 2 * (i - c->n / 2), &s->p[p], s->colour, out);
            }
        }
        legend(c, i, 0, out);
    }
}
static void bars(const chart *c, hpt__text *out) {
    double w = (double)(W - LEFT - RIGHT) / (c->n_x ? c->n_x : 1), each = w * 0.8 / (c->n ? c->n : 1),
        zero = py(c, fmax(c->y0, fmin(c->y1, 0)));
    for (int i = 0; i < c->n; i++) {
        for (int p = 0; p < c->s[i].n; p++) {
            if (c->s[i].p[p].x < 0) continue;
            double x = LEFT + w * c->s[i].p[p].x + w * 0.1 + each * i, y = py(c, c->s[i].p[p].mean);
            hpt__put(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x,
                     fmin(y, zero), each * 0.92, fabs(y - zero), c->s[i].colour);
            error_bar(c, x + each * 0.46, &c->s[i].p[p], "#222", out);
        }
        legend(c, i, 1, out);
    }
}

/* ---- similarity ---- */

static const hpt__instance *similarity_of(const hpt_recipe *r, const hpt__section *sec) {
    int at = hpt__ref_section(r, hpt__section_value(sec, "of", ""));
    return at >= 0 && r->sections[at].count && r->instances[r->sections[at].first].result
        ? &r->instances[r->sections[at].first] : NULL;
}
static void heat(const hpt_recipe *r, const hpt__section *sec, hpt__text *out) {
    const hpt__instance *in = similarity_of(r, sec);
    json_t *m = in ? json_object_get(in->result, "matrix") : NULL, *names = in ? json_object_get(in->result, "names")
        : NULL;
    int n = (int)json_array_size(m), side = n > 30 ? 480 / n : 18, left = 230;
    if (side < 4) side = 4;
    double lo = 1, hi = -1;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (i != j)
                lo = fmin(lo, json_number_value(json_array_get(json_array_get(m, (size_t)i), (size_t)j))),
                    hi = fmax(hi, json_number_value(json_array_get(json_array_get(m, (size_t)i), (size_t)j)));
    if (n < 2) return;
    int width = left + (n * side > 300 ? n * side : 300) + 20;
    hpt__put(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
             "font-family=\"sans-serif\" font-size=\"10\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width,
             n * side + 40, width, n * side + 40, width, n * side + 40);
    for (int i = 0; i < n; i++) {
        if (side >= 9) {
            hpt__put(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", left - 4, i * side + side / 2 + 4);
            hpt__put_html(out, json_string_value(json_array_get(names, (size_t)i)));
            hpt__put(out, "</text>\n");
        }
        for (int j = 0; j < n; j++) {
            double v = json_number_value(json_array_get(json_array_get(m, (size_t)i), (size_t)j)), t = hi > lo
                ? (v - lo) / (hi - lo) : 1;
            if (t > 1) t = 1;
            hpt__put(out,
                     "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" "
                     "fill=\"rgb(%d,%d,%d)\"><title>%.3f</title></rect>\n", left + j * side, i * side, side, side,
                     (int)(255 - 220 * t), (int)(250 - 150 * t), (int)(240 - 60 * t), v);
        }
    }
    hpt__put(out, "<text x=\"%d\" y=\"%d\">from %.3f (light) to %.3f (dark) off the diagonal</text></svg>\n", left,
             n * side + 24, lo, hi);
}

/* Similarity of each model to the best one: best by the mean value of the evaluation stages that use it. */
static void closeness(const hpt_recipe *r, const hpt__section *sec, chart *c) {
    const hpt__instance *sim = similarity_of(r, sec);
    const char *x = hpt__section_value(sec, "x", "steps"), *value = hpt__section_value(sec, "value", "val_score");
    char name[160];
    int of[MAX_GROUPS], n = 0, best = -1, eval = hpt__ref_section(r, hpt__section_value(sec, "stages", ""));
    double top = -1;
    for (int i = 0; sim && i < sim->n_input && n < MAX_GROUPS; i++)
        if (!strcmp(sim->input[i].key, "of")) of[n++] = sim->input[i].instance;
    for (int i = 0; i < n; i++) {
        /* evaluations compared, or models whose evaluations are looked up */
        double score = hpt__instance_number(&r->instances[of[i]], value);
        for (int e = eval < 0 ? 0 : r->sections[eval].first; score != score && eval >= 0 &&
             e < r->sections[eval].first + r->sections[eval].count; e++) {
            int m = hpt__instance_input(&r->instances[e], "model", 0);
            if (m >= 0 && r->instances[e].input[m].instance == of[i])
                score = hpt__instance_number(&r->instances[e], value);
        }
        if (score == score && score > top) top = score, best = i;
    }
    for (int i = 0; i < n && best >= 0 && !hpt__span_tick(0); i++) {
        const hpt__instance *in = &r->instances[of[i]];
        int fresh = 1;
        double sum = 0, sq = 0;
        int k = 0;
        for (int j = 0; j < i; j++) fresh &= !hpt__same_vars(in, &r->instances[of[j]]);
        if (!fresh) continue;
        for (int j = 0; j < n; j++) {
            if (j == best || !hpt__same_vars(in, &r->instances[of[j]])) continue;
            double v = hpt__json_real(json_array_get(json_array_get(json_object_get(sim->result, "matrix"),
                                                                    (size_t)best), (size_t)j));
            if (v != v) continue;
            sum += v;
            sq += v * v;
            k++;
        }
        const char *at = hpt__instance_var(in, x);
        hpt__instance_label(r, in, x, name, sizeof name);
        series *s = k ? series_of(c, name, NULL) : NULL;
        if (s && !at) s->flat = 1;
        if (k)
            add_point(c, s, at ? category(c, at) : -1, sum / k, k > 1 ? sqrt(fmax(0, (sq - sum * sum / k) / (k - 1)))
                      : 0);
    }
}

void hpt__plot(const hpt_recipe *r, const hpt__section *sec, hpt__text *out) {
    const char *kind = hpt__section_value(sec, "kind", "lines");
    if (!strcmp(kind, "heat")) {
        heat(r, sec, out);
        return;
    }
    chart *c = hpt__calloc(1, sizeof *c);
    if (!c) return;
    c->numeric = 1;
    c->log = !strcmp(hpt__section_value(sec, "log", "1"), "1");
    c->y0 = INFINITY;
    c->y1 = -INFINITY;
    if (!strcmp(kind, "closeness")) closeness(r, sec, c);
    else gather(r, sec, c);
    int bar = !strcmp(kind, "bars");
    if (bar) c->numeric = 0;
    if (bar && (hpt__section_line(sec, "minus") || hpt__section_line(sec, "relative")))
        c->y0 = fmin(c->y0, 0), c->y1 = fmax(c->y1, 0);
    sort_categories(c);
    double pad = c->y1 > c->y0 ? 0.08 * (c->y1 - c->y0) : 1;
    c->y0 -= pad;
    c->y1 += pad;
    if (c->n && isfinite(c->y0) && isfinite(c->y1)) {
        const char *value = strcmp(kind, "closeness") ? hpt__section_value(sec, "value", "test_score")
            : "similarity to the best model";
        if (!strcmp(value, "test_score"))
            value = bar && c->y0 < 0 ? "difference on test images, points" : "score on test images, %";
        else if (!strcmp(value, "val_score")) value = "score on validation images, %";
        frame(c, hpt__section_value(sec, "x", "steps"), value, out);
        if (bar) bars(c, out);
        else lines(c, out);
        hpt__put(out, "</svg>\n");
    } else hpt__put(out, "<p>Nothing to draw yet.</p>\n");
    hpt__free(c);
}

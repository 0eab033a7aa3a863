/* SPDX-License-Identifier: MIT
 * The demo's table, sentences, summary.json and report.html. Every sentence is computed from the numbers: a
 * difference that is not there is not claimed. */
#include "demo.h"
#include <errno.h>
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

static const char *const strategies[] = {"random", "base", "target", "hpt", "hpt-bn"};
static const char *const titles[] = {"Random weights", "Base only (BN refresh)", "Target from scratch",
                                     "HPT (base, then target)", "HPT-BN (batch norm only)"};
static const char *const colours[] = {"#999999", "#8c564b", "#1f77b4", "#d62728", "#2ca02c"};

int mean_of(const demo *d, const char *strategy, int steps, int k, double *mean, double *sd) {
    double s = 0, ss = 0;
    int n = 0;
    for (int i = 0; i < d->n_runs; i++) {
        const run *r = &d->runs[i];
        if (strcmp(r->strategy, strategy) || r->steps != steps) continue;
        for (int j = 0; j < r->n_acc[k]; j++) s += r->acc[k][j], ss += r->acc[k][j] * r->acc[k][j], n++;
    }
    *mean = n ? s / n : 0;
    *sd = n > 1 ? sqrt((ss - s * s / n) / (n - 1) > 0 ? (ss - s * s / n) / (n - 1) : 0) : 0;
    return n;
}

/* Difference of two strategies over equal (seed, draw) pairs: mean and its standard error. */
static int difference(const demo *d, const char *a, int sa, const char *b, int sb, int k, double *mean, double *err) {
    double s = 0, ss = 0;
    int n = 0;
    for (int i = 0; i < d->n_runs; i++)
        for (int j = 0; j < d->n_runs; j++) {
            const run *x = &d->runs[i], *y = &d->runs[j];
            if (strcmp(x->strategy, a) || strcmp(y->strategy, b) || x->steps != sa || y->steps != sb ||
                x->seed != y->seed) continue;
            for (int t = 0; t < x->n_acc[k] && t < y->n_acc[k]; t++) {
                double v = x->acc[k][t] - y->acc[k][t];
                s += v;
                ss += v * v;
                n++;
            }
        }
    *mean = n ? s / n : 0;
    *err = n > 1 ? sqrt(fmax(0, (ss - s * s / n) / (n - 1)) / n) : 0;
    return n;
}

/* "ahead by 3.1 points", "behind by", or "level with (0.2 points, within the noise of 0.5)" */
static void versus(const demo *d, const char *a, int sa, const char *b, int sb, int k, char *text, size_t size) {
    double m, e;
    difference(d, a, sa, b, sb, k, &m, &e);
    if (fabs(m) <= 2 * e) snprintf(text, size, "level (%+.1f points, twice the standard error is %.1f)", m, 2 * e);
    else
        snprintf(text, size, "%s by %.1f points (twice the standard error is %.1f)", m > 0 ? "ahead" : "behind",
                 fabs(m), 2 * e);
}

void findings(const demo *d, FILE *to, const char *before, const char *after) {
    char text[160];
    int last = d->p.lengths[d->p.n_lengths - 1];
    for (int l = 0; l < d->p.n_lengths; l++) {
        versus(d, "hpt", d->p.lengths[l], "target", d->p.lengths[l], 1, text, sizeof text);
        fprintf(to, "%sAfter %d target steps each, with 20 labels per class, HPT against Target from scratch: %s.%s",
                before, d->p.lengths[l], text, after);
    }
    versus(d, "hpt", d->p.lengths[0], "target", last, 1, text, sizeof text);
    fprintf(to, "%sHPT after only %d target steps against Target after %d (%.0f times as many): %s.%s", before,
            d->p.lengths[0], last, (double)last / d->p.lengths[0], text, after);
    versus(d, "hpt", last, "target", d->p.long_target, 1, text, sizeof text);
    fprintf(to, "%sHPT (%d base + %d target steps) against Target given the same total of %d steps: %s.%s", before,
            d->p.base, last, d->p.long_target, text, after);
    versus(d, "hpt", last, "base", 0, 1, text, sizeof text);
    fprintf(to, "%sHPT after %d target steps against the base model alone: %s.%s", before, last, text, after);
    versus(d, "hpt-bn", d->p.lengths[0], "hpt", d->p.lengths[0], 1, text, sizeof text);
    fprintf(to, "%sHPT-BN against HPT after %d target steps: %s.%s", before, d->p.lengths[0], text, after);
}

void print_table(const demo *d, FILE *to) {
    double m, sd;
    fprintf(to,
            "Linear probe on Fashion-MNIST, top-1 on test images, mean +- standard deviation over %d seeds x %d label "
            "draws\n\n", d->p.seeds, DRAWS);
    fprintf(to, "%-26s %12s %12s %15s %15s %15s\n", "strategy", "target steps", "total steps", "5 labels/class",
            "20 labels/class", "100 labels/class");
    for (int s = 0; s < 5; s++)
        for (int i = 0; i < d->n_runs; i++) {
            const run *r = &d->runs[i];
            if (r->seed || strcmp(r->strategy, strategies[s])) continue;
            fprintf(to, "%-26s %12d %12d ", titles[s], r->steps, r->total_steps);
            for (int k = 0; k < KS; k++) {
                mean_of(d, r->strategy, r->steps, k, &m, &sd);
                fprintf(to, "    %5.1f +- %3.1f ", m, sd);
            }
            fprintf(to, "\n");
        }
}

int write_summary(demo *d) {
    char path[4096];
    json_t *list = json_array();
    for (int i = 0; i < d->n_runs; i++)
        for (int k = 0; k < KS; k++) {
            const run *r = &d->runs[i];
            double s = 0;
            json_t *draws = json_array();
            for (int j = 0; j < r->n_acc[k]; j++)
                s += r->acc[k][j], json_array_append_new(draws, json_real(r->acc[k][j]));
            json_array_append_new(list, json_pack("{s:s,s:i,s:i,s:i,s:i,s:f,s:o}", "strategy", r->strategy, "steps",
                                                  r->steps, "total_steps", r->total_steps, "labels_per_class",
                                                  label_counts[k], "seed", r->seed, "accuracy", r->n_acc[k]
                                                  ? s / r->n_acc[k] : 0, "draws", draws));
        }
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:f,s:o}", "libhpt", hpt_version_string(), "machine", d->machine, "base",
                          "openclipart-png", "target", "dataset-fashion-mnist", "seconds", d->seconds, "results", list);
    snprintf(path, sizeof path, "%s/summary.json", d->out);
    int bad = json_dump_file(j, path, JSON_INDENT(1));
    json_decref(j);
    if (bad) fprintf(stderr, "demo: %s: %s\n", path, strerror(errno));
    return bad;
}

/* ---- HTML ---- */

static void put_image(FILE *f, const uint8_t *rgb, int side, int shown, const char *title) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    png_image im;
    memset(&im, 0, sizeof im);
    im.version = PNG_IMAGE_VERSION;
    im.width = im.height = (png_uint_32)side;
    im.format = PNG_FORMAT_RGB;
    png_alloc_size_t n = 0;
    if (!png_image_write_get_memory_size(im, n, 0, rgb, 0, NULL)) return;
    uint8_t *p = calloc(n + 3, 1);
    if (p && png_image_write_to_memory(&im, p, &n, 0, rgb, 0, NULL)) {
        fprintf(f, "<img width=%d height=%d title=\"%s\" src=\"data:image/png;base64,", shown, shown, title);
        for (size_t i = 0; i < n; i += 3) {
            unsigned v = (unsigned)p[i] << 16 | (unsigned)p[i + 1] << 8 | p[i + 2];
            fputc(digits[v >> 18], f);
            fputc(digits[v >> 12 & 63], f);
            fputc(i + 1 < n ? digits[v >> 6 & 63] : '=', f);
            fputc(i + 2 < n ? digits[v & 63] : '=', f);
        }
        fprintf(f, "\">");
    }
    free(p);
}

enum { W = 620, H = 330, LEFT = 56, BOTTOM = 42, TOP = 14, RIGHT = 190 };
typedef struct axes { double x0, x1, y0, y1; int log_x; } axes;
static double px(const axes *a, double x) {
    double t = a->log_x ? log(x / a->x0) / log(a->x1 / a->x0) : (x - a->x0) / (a->x1 - a->x0);
    return LEFT + t * (W - LEFT - RIGHT);
}
static double py(const axes *a, double y) { return H - BOTTOM - (y - a->y0) / (a->y1 - a->y0) * (H - BOTTOM - TOP); }
static void begin_plot(FILE *f, const axes *a, const char *x_title, const char *y_title) {
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" width=%d height=%d font-family=\"sans-serif\" font-size=11>\n", W, H, W, H);
    double step = pow(10, floor(log10((a->y1 - a->y0) / 3)));
    if ((a->y1 - a->y0) / step > 12) step *= 5;
    else if ((a->y1 - a->y0) / step > 6) step *= 2;
    for (double y = ceil(a->y0 / step) * step; y <= a->y1 + 1e-9; y += step)
        fprintf(f, "<line x1=%d x2=%d y1=%.1f y2=%.1f stroke=#ddd /><text x=%d y=%.1f text-anchor=end>%g</text>\n",
                LEFT, W - RIGHT, py(a, y), py(a, y), LEFT - 6, py(a, y) + 4, y);
    fprintf(f,
            "<text x=%d y=%d text-anchor=middle>%s</text><text transform=\"translate(14,%d) rotate(-90)\" "
            "text-anchor=middle>%s</text>\n", (LEFT + W - RIGHT) / 2, H - 6, x_title, (H - BOTTOM) / 2, y_title);
    fprintf(f, "<rect x=%d y=%d width=%d height=%d fill=none stroke=#555 />\n", LEFT, TOP, W - LEFT - RIGHT,
            H - BOTTOM - TOP);
}
static void x_tick(FILE *f, const axes *a, double x) {
    fprintf(f, "<text x=%.1f y=%d text-anchor=middle>%g</text>\n", px(a, x), H - BOTTOM + 15, x);
}
static void legend(FILE *f, int row, const char *colour, const char *dash, const char *text) {
    fprintf(f,
            "<line x1=%d x2=%d y1=%d y2=%d stroke=%s stroke-width=2 stroke-dasharray=\"%s\" /><text x=%d "
            "y=%d>%s</text>\n", W - RIGHT + 8, W - RIGHT + 30, TOP + 10 + 18 * row, TOP + 10 + 18 * row, colour, dash,
            W - RIGHT + 35, TOP + 14 + 18 * row, text);
}

static void plot_accuracy(FILE *f, const demo *d, int k) {
    double m, sd, lo = 100, hi = 0;
    for (int i = 0; i < d->n_runs; i++)
        for (int j = 0; j < d->runs[i].n_acc[k]; j++)
            lo = fmin(lo, d->runs[i].acc[k][j]), hi = fmax(hi, d->runs[i].acc[k][j]);
    axes a = {d->p.lengths[0] * 0.8, d->p.long_target * 1.25, floor(lo) - 1, ceil(hi) + 1, 1};
    begin_plot(f, &a, "target steps (128 images each; logarithmic)", "probe top-1, %");
    for (int l = 0; l < d->p.n_lengths; l++) x_tick(f, &a, d->p.lengths[l]);
    x_tick(f, &a, d->p.long_target);
    for (int s = 0; s < 5; s++) {
        if (s < 2) {
            mean_of(d, strategies[s], 0, k, &m, &sd);
            fprintf(f, "<line x1=%d x2=%d y1=%.1f y2=%.1f stroke=%s stroke-width=2 stroke-dasharray=\"6 4\" />\n",
                    LEFT, W - RIGHT, py(&a, m), py(&a, m), colours[s]);
            legend(f, s, colours[s], "6 4", titles[s]);
            continue;
        }
        fprintf(f, "<polyline fill=none stroke=%s stroke-width=2 points=\"", colours[s]);
        int n = d->p.n_lengths + (s == 2);
        for (int l = 0; l < n; l++) {
            int steps = l < d->p.n_lengths ? d->p.lengths[l] : d->p.long_target;
            mean_of(d, strategies[s], steps, k, &m, &sd);
            fprintf(f, "%.1f,%.1f ", px(&a, steps), py(&a, m));
        }
        fprintf(f, "\" />\n");
        for (int l = 0; l < n; l++) {
            int steps = l < d->p.n_lengths ? d->p.lengths[l] : d->p.long_target;
            mean_of(d, strategies[s], steps, k, &m, &sd);
            double x = px(&a, steps) + 3 * (s - 3);
            fprintf(f, "<circle cx=%.1f cy=%.1f r=3.5 fill=%s /><line x1=%.1f x2=%.1f y1=%.1f y2=%.1f stroke=%s />\n",
                    px(&a, steps), py(&a, m), colours[s], x, x, py(&a, m - sd), py(&a, m + sd), colours[s]);
        }
        legend(f, s, colours[s], "", titles[s]);
    }
    fprintf(f, "</svg>\n");
}

static void plot_loss(FILE *f, const demo *d) {
    double hi = 0, lo = 99, chance = log(2048 + 1);
    int last = d->p.lengths[d->p.n_lengths - 1], row = 0;
    for (int i = 0; i < d->n_runs; i++)
        for (int j = 0; j < d->runs[i].n_curve; j++)
            hi = fmax(hi, d->runs[i].curve_loss[j]), lo = fmin(lo, d->runs[i].curve_loss[j]);
    axes a = {0, d->p.long_target, floor(lo), fmax(ceil(hi), ceil(chance)), 0};
    begin_plot(f, &a, "step of the run", "InfoNCE loss, nats");
    for (int i = 0; i <= 4; i++) x_tick(f, &a, d->p.long_target * i / 4);
    fprintf(f, "<line x1=%d x2=%d y1=%.1f y2=%.1f stroke=#777 stroke-dasharray=\"2 3\" />\n", LEFT, W - RIGHT,
            py(&a, chance), py(&a, chance));
    for (int i = 0; i < d->n_runs; i++) {
        const run *r = &d->runs[i];
        if (r->seed || !r->n_curve) continue;
        int s = 0;
        while (strcmp(strategies[s], r->strategy)) s++;
        if (r->steps && r->steps != last && r->steps != d->p.long_target) continue;
        fprintf(f, "<polyline fill=none stroke=%s stroke-width=1.3 %s points=\"", colours[s],
                r->steps == d->p.long_target ? "stroke-dasharray=\"5 2\"" : "");
        for (int j = 0; j < r->n_curve; j++)
            fprintf(f, "%.1f,%.1f ", px(&a, r->curve_step[j]), py(&a, r->curve_loss[j]));
        fprintf(f, "\" />\n");
        char text[64];
        snprintf(text, sizeof text, "%s, %d steps", s == 1 ? "base stage" : r->strategy, s == 1 ? d->p.base : r->steps);
        legend(f, row++, colours[s], r->steps == d->p.long_target ? "5 2" : "", text);
    }
    legend(f, row, "#777", "2 3", "chance, ln(K+1)");
    fprintf(f, "</svg>\n");
}

static void views(FILE *f, hpt_dataset *ds, const char *what) {
    uint8_t *rgb = malloc(96 * 96 * 3);
    hpt_config *c;
    hpt_dataset_info info = {.struct_size = sizeof info};
    if (hpt_config_create(NULL, &c) || hpt_config_set(c, "eval_crop", "full") || hpt_config_set(c, "aug_hue", "0.1") ||
        hpt_dataset_get_info(ds, &info)) return;
    fprintf(f, "<p>%s: each image and its two views<br>\n", what);
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t at = i * 977 % info.count;
        if (hpt_dataset_image(ds, c, at, SIDE, rgb) == HPT_OK) put_image(f, rgb, SIDE, 72, "image");
        for (uint32_t v = 0; v < 2; v++)
            if (hpt_dataset_view(ds, c, at, v, 0, SIDE, rgb) == HPT_OK)
                put_image(f, rgb, SIDE, 72, v ? "key view" : "query view");
        fprintf(f, " &nbsp; ");
    }
    fprintf(f, "</p>\n");
    hpt_config_destroy(c);
    free(rgb);
}

/* Nearest test images by cosine of features. */
static void neighbours(FILE *f, demo *d, const char *file, const char *what) {
    char path[4096];
    hpt_config *c = NULL;
    hpt_model *m = NULL;
    hpt_dataset_info di = {.struct_size = sizeof di};
    hpt_model_info mi = {.struct_size = sizeof mi};
    uint8_t rgb[SIDE * SIDE * 3];
    snprintf(path, sizeof path, "%s/runs/%s", d->out, file);
    if (hpt_config_create(NULL, &c) || hpt_config_set(c, "image_size", "32") ||
        hpt_config_set(c, "eval_crop", "full") || hpt_model_load(d->ctx, c, path, &m, NULL) ||
        hpt_dataset_get_info(d->test, &di) || hpt_model_get_info(m, &mi)) {
        fprintf(f, "<p>%s: %s</p>\n", what, hpt_last_error());
        return;
    }
    size_t dim = mi.feature_dim, n = di.count;
    float *x = malloc(sizeof *x * n * dim);
    if (hpt_model_features(m, d->test, c, x, n * dim) == HPT_OK) {
        int hits = 0, asked = 0;
        double *score = malloc(sizeof *score * n);
        for (size_t i = 0; i < n; i++) {
            double s = 0;
            for (size_t j = 0; j < dim; j++) s += (double)x[i * dim + j] * x[i * dim + j];
            for (size_t j = 0; j < dim; j++) x[i * dim + j] /= (float)sqrt(s + 1e-12);
        }
        fprintf(f, "<p>%s: image | its nearest neighbours among the test images<br>\n", what);
        for (size_t q = 0; q < QUERIES; q++) {
            size_t at = (q * 2 + 1) * n / (2 * QUERIES);
            int32_t want = -1, got = -1;
            hpt_dataset_label(d->test, at, &want);
            if (hpt_dataset_image(d->test, c, at, SIDE, rgb) == HPT_OK) put_image(f, rgb, SIDE, 48, class_names[want]);
            fprintf(f, " | ");
            for (size_t i = 0; i < n; i++) {
                score[i] = 0;
                for (size_t j = 0; j < dim; j++) score[i] += (double)x[i * dim + j] * x[at * dim + j];
            }
            score[at] = -2;
            for (int k = 0; k < NEIGHBOURS; k++) {
                size_t best = 0;
                for (size_t i = 1; i < n; i++)
                    if (score[i] > score[best]) best = i;
                score[best] = -2;
                hpt_dataset_label(d->test, best, &got);
                hits += got == want;
                asked++;
                if (hpt_dataset_image(d->test, c, best, SIDE, rgb) == HPT_OK)
                    put_image(f, rgb, SIDE, 48, class_names[got]);
            }
            fprintf(f, "<br>\n");
        }
        fprintf(f, "%d of these %d neighbours are of the same class.</p>\n", hits, asked);
        free(score);
    }
    free(x);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
}

int write_report(demo *d) {
    char path[4096], file[64];
    double m, sd;
    snprintf(path, sizeof path, "%s/report.html", d->out);
    FILE *f = fopen(path, "w");
    if (!f) return fprintf(stderr, "demo: %s: %s\n", path, strerror(errno)), 1;
    fprintf(f,
            "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>libhpt demo</title><style>body{font:15px/1.45 "
            "sans-serif;max-width:960px;margin:2em auto;padding:0 1em}"
               "table{border-collapse:collapse}td,th{padding:3px 12px;border-bottom:1px solid "
               "#ddd;text-align:right}td:first-child,th:first-child{text-align:left}img{image-rendering:pixelated;marg"
               "in:1px}</style>\n<h1>Hierarchical pretraining, small and real</h1>\n");
    fprintf(f,
            "<p>Base: clip art (Debian openclipart-png, unlabelled). Target: Fashion-MNIST (60,000 training images "
            "without labels, padded to 32x32, on white). A ResNet-10 of "
               "width 16, MoCo v2. Probe: softmax regression on frozen features with 5, 20 or 100 labels per class; "
               "the probe's learning rate and stopping point by 1,000 validation images, test images scored once; "
               "pretraining settings were not tuned. %d seeds x %d label draws. libhpt %s, %s; this call took %.0f "
               "s.</p>\n<h2>What the numbers say</h2>\n<ul>\n", d->p.seeds, DRAWS,
            hpt_version_string(), d->machine, d->seconds);
    findings(d, f, "<li>", "</li>\n");
    fprintf(f, "</ul>\n<h2>Probe accuracy</h2>\n<table><tr><th>strategy<th>target steps<th>total steps");
    for (int k = 0; k < KS; k++) fprintf(f, "<th>%d labels/class", label_counts[k]);
    fprintf(f, "</tr>\n");
    for (int s = 0; s < 5; s++)
        for (int i = 0; i < d->n_runs; i++) {
            const run *r = &d->runs[i];
            if (r->seed || strcmp(r->strategy, strategies[s])) continue;
            fprintf(f, "<tr><td>%s<td>%d<td>%d", titles[s], r->steps, r->total_steps);
            for (int k = 0; k < KS; k++) {
                mean_of(d, r->strategy, r->steps, k, &m, &sd);
                fprintf(f, "<td>%.1f &plusmn; %.1f", m, sd);
            }
            fprintf(f, "</tr>\n");
        }
    fprintf(f,
            "</table>\n<p>&plusmn; is the standard deviation over seeds and label draws; most of it is shared by all "
            "strategies (the same draws), so the sentences above "
               "compare pair by pair.</p>\n");
    for (int k = 0; k < KS; k++) {
        fprintf(f, "<h3>%d labels per class</h3>\n", label_counts[k]);
        plot_accuracy(f, d, k);
    }
    fprintf(f, "<h2>Loss</h2>\n<p>Seed 0. The loss first rises while the queue fills with real keys.</p>\n");
    plot_loss(f, d);
    fprintf(f, "<h2>Images</h2>\n");
    views(f, d->base, "Base, clip art");
    views(f, d->target, "Target, Fashion-MNIST");
    fprintf(f, "<h2>Nearest neighbours</h2>\n");
    neighbours(f, d, "random-0-seed0.safetensors", "Before (random weights)");
    neighbours(f, d, "base-0-seed0.safetensors", "Base model");
    snprintf(file, sizeof file, "hpt-%d-seed0.safetensors", d->p.lengths[d->p.n_lengths - 1]);
    neighbours(f, d, file, "After HPT");
    fprintf(f, "</html>\n");
    int bad = ferror(f) | fclose(f);
    if (bad) fprintf(stderr, "demo: %s: %s\n", path, strerror(errno));
    return bad;
}

/* SPDX-License-Identifier: MIT
 * Contract: boxes.h. Pascal VOC's average precision as Detectron2 reports it: scores and corners rounded as in the
 * files that it writes, corners from 1 and inclusive, AP over 11 points (2007) or as the area (2012), the mean over
 * IoU thresholds .50 to .95. */
#include "core/alloc.h"
#include "core/number.h"
#include "eval/boxes.h"
#include <math.h>
#include <string.h>

enum { T = HPT__AP_T };
static double threshold(int t) { return (50 + 5 * t) / 100.0; }

static double rounded(double x, const char *format) {
    char text[400];
    double y = x;
    hpt__format(text, sizeof text, *format == '3' ? "%.3f" : "%.1f", x);
    return hpt__number_parse(text, &y) ? y : x;
}
/* Corners are what is written: from 1 on the left, both inclusive. */
void hpt__voc_corners(hpt__object *o) {
    double x1 = o->box[0] + 1, y1 = o->box[1] + 1, x2 = o->box[0] + o->box[2], y2 = o->box[1] + o->box[3];
    o->box[0] = x1, o->box[1] = y1, o->box[2] = x2, o->box[3] = y2;
}
void hpt__voc_round(hpt__object *found) {
    found->score = rounded(found->score, "3");
    for (int i = 0; i < 4; i++) found->box[i] = rounded(found->box[i], "1");
}

static double overlap(const double a[4], const double b[4]) {
    double w = fmin(a[2], b[2]) - fmax(a[0], b[0]) + 1, h = fmin(a[3], b[3]) - fmax(a[1], b[1]) + 1;
    double both = (w > 0 ? w : 0) * (h > 0 ? h : 0);
    return both / ((a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - both);
}
/* A detection belongs to the object that it overlaps most, the first of equals, and to no other if that one is taken
 * or does not count. */
hpt_status hpt__voc_match(const hpt__ap_settings *s, const hpt__object *const *truth, uint64_t truths,
                          const hpt__object *const *found, uint64_t founds, hpt__ap_room *room, hpt__record *records,
                          uint64_t *positives) {
    (void)s;
    HPT_TRY(hpt__ap_reserve(room, 0, truths));
    uint32_t *taken = room->order;          /* a bit a threshold */
    memset(taken, 0, sizeof *taken * (size_t)truths);
    for (uint64_t g = 0; g < truths; g++) positives[0] += !(truth[g]->crowd || truth[g]->ignored);
    for (uint64_t d = 0; d < founds; d++) {
        double most = -INFINITY;
        uint64_t at = 0;
        for (uint64_t g = 0; g < truths; g++) {
            double v = overlap(found[d]->box, truth[g]->box);
            if (v > most) most = v, at = g;
        }
        for (int t = 0; t < T; t++) {
            if (!(most > threshold(t))) continue;
            if (truth[at]->crowd || truth[at]->ignored) records[d].out[0] |= (uint16_t)(1 << t);
            else if (!(taken[at] >> t & 1)) {
                taken[at] |= 1u << t;
                records[d].hit[0] |= (uint16_t)(1 << t);
            }
        }
    }
    return HPT_OK;
}

/* The mean, over recalls 0, .1, .. 1, of the highest precision from there on, which pr holds by now. */
static double eleven_points(const double *rc, const double *pr, uint64_t n) {
    double ap = 0;
    for (int i = 0; i < 11; i++) {
        uint64_t d = 0;
        while (d < n && !(rc[d] >= i * .1)) d++;
        ap += (d < n ? pr[d] : 0) / 11;
    }
    return ap;
}
/* The area under the precision, which falls from left to right. rc and pr, which follows it, are used up. */
static double integral(double *rc, const double *pr, uint64_t n) {
    uint64_t parts = 0;
    double before = 0;
    for (uint64_t d = 0; d < n; d++) {
        double now = rc[d];
        if (now != before) rc[parts++] = (now - before) * pr[d];
        before = now;
    }
    if (before != 1) rc[parts++] = 0;           /* the last part, up to recall 1, is a term of numpy's sum */
    return hpt__pairwise_sum(rc, parts);
}
void hpt__voc_curves(hpt__ap *ap, uint32_t k, double *room) {
    const hpt__class_records *c = ap->of + k;
    double *rc = room, *pr = room + c->n;
    for (int t = 0; t < T; t++) {
        double tp = 0, fp = 0, *of = ap->class_ap + (uint64_t)t * ap->s.classes + k;
        ap->recall[(uint64_t)t * ap->s.classes + k] = NAN;
        *of = NAN;
        if (!c->positives[0]) continue;
        for (uint64_t i = 0; i < c->n; i++) {
            if (c->r[i].hit[0] >> t & 1) tp++;
            else if (!(c->r[i].out[0] >> t & 1)) fp++;
            rc[i] = tp / (double)c->positives[0];
            pr[i] = tp / fmax(tp + fp, 0x1p-52);
        }
        ap->recall[(uint64_t)t * ap->s.classes + k] = c->n ? rc[c->n - 1] : 0;
        hpt__curve_keep(ap, k, 0, -1, t, rc, pr, c->n);
        *of = ap->s.metric == HPT__AP_VOC07 ? eleven_points(rc, pr, c->n) : integral(rc, pr, c->n);
    }
}
/* AP, AP50, AP75; the other nine are COCO's alone. */
hpt_status hpt__voc_stats(hpt__ap *ap) {
    uint32_t n = ap->s.classes;
    double of[T], *room = hpt__alloc(sizeof *room * ((size_t)n + 1));
    if (!room) return hpt__fail_memory(sizeof *room * ((size_t)n + 1));
    for (int i = 0; i < 12; i++) ap->stats[i] = NAN;
    for (int t = 0; t < T; t++) {
        uint64_t m = 0;
        for (uint32_t k = 0; k < n; k++) {
            double v = ap->class_ap[(uint64_t)t * n + k];
            if (v == v) room[m++] = v;
        }
        of[t] = m ? hpt__pairwise_sum(room, m) / (double)m : NAN;
    }
    ap->stats[0] = hpt__pairwise_sum(of, T) / T;
    ap->stats[1] = of[0];
    ap->stats[2] = of[5];
    hpt__free(room);
    return HPT_OK;
}
void hpt__voc_of_class(const hpt__ap *ap, uint32_t k, double out[7]) {
    double of[T];
    for (int t = 0; t < T; t++) of[t] = ap->class_ap[(uint64_t)t * ap->s.classes + k];
    for (int i = 3; i < 7; i++) out[i] = NAN;
    out[0] = hpt__pairwise_sum(of, T) / T;
    out[1] = of[0];
    out[2] = of[5];
}

/* SPDX-License-Identifier: MIT
 * Contract: boxes.h. COCO's average precision: matching, curves and the twelve numbers, each sum in the order of
 * pycocotools, so that all of it has the same bits. */
#include "core/alloc.h"
#include "eval/boxes.h"
#include <math.h>
#include <string.h>

enum { T = HPT__AP_T, R = HPT__AP_R, A = HPT__AP_A };
static const double areas[A][2] = {{0, 1e10}, {0, 1024}, {1024, 9216}, {9216, 1e10}};

/* numpy.linspace(.5, .95, 10) and (0, 1, 101): the step times the index, and the end itself. */
static double threshold(int t) { return t == T - 1 ? .95 : t * ((.95 - .5) / (T - 1)) + .5; }
static double recall_at(int r) { return r == R - 1 ? 1 : r * .01; }
static int outside(double area, int a) { return area < areas[a][0] || area > areas[a][1]; }

/* One area and threshold. order: objects that count first; their IoU with detection d at iou[d * truths + object].
 * taken: a byte an object, cleared here. */
static void match_one(const hpt__object *const *truth, uint64_t truths, const hpt__object *const *found,
                      uint64_t founds, const double *iou, const uint32_t *order, uint64_t counting, uint8_t *taken,
                      int a, int t, hpt__record *records) {
    double least = threshold(t) < 1 - 1e-10 ? threshold(t) : 1 - 1e-10;
    memset(taken, 0, (size_t)truths);
    for (uint64_t d = 0; d < founds; d++) {
        const double *row = iou + d * truths;
        double best = least;
        uint64_t m = truths;                /* place in order; truths: none */
        for (uint64_t g = 0; g < truths; g++) {
            uint32_t at = order[g];
            if (taken[at] && !truth[at]->crowd) continue;
            if (m < counting && g >= counting) break;
            if (row[at] < best) continue;
            best = row[at];
            m = g;
        }
        int hit = 0, out = 0;
        if (m < truths) {
            taken[order[m]] = 1;
            hit = !truth[order[m]]->unmatched;
            out = m >= counting;
        }
        if (!hit && outside(found[d]->area, a)) out = 1;
        records[d].hit[a] |= (uint16_t)(hit << t);
        records[d].out[a] |= (uint16_t)(out << t);
    }
}
hpt_status hpt__coco_match(const hpt__ap_settings *s, const hpt__object *const *truth, uint64_t truths,
                           const hpt__object *const *found, uint64_t founds, hpt__ap_room *room, hpt__record *records,
                           uint64_t *positives) {
    if (founds > hpt__ap_counts[HPT__AP_M - 1]) founds = hpt__ap_counts[HPT__AP_M - 1];
    HPT_TRY(hpt__ap_reserve(room, truths * founds, 2 * truths));
    uint8_t *taken = (uint8_t *)(room->order + truths);
    double highest = 0;
    for (uint64_t d = 0; d < founds; d++)
        for (uint64_t g = 0; g < truths; g++) {
            double v = s->masks ? hpt__rle_iou(&found[d]->mask, found[d]->box, &truth[g]->mask, truth[g]->box,
                                               truth[g]->crowd)
                : hpt__box_iou(found[d]->box, truth[g]->box, truth[g]->crowd);
            room->iou[d * truths + g] = v;
            if (v > highest) highest = v;
        }
    for (int a = 0; a < A; a++) {
        uint64_t counting = 0, n;
        for (uint64_t g = 0; g < truths; g++)
            if (!(truth[g]->crowd || truth[g]->ignored || outside(truth[g]->area, a)))
                room->order[counting++] = (uint32_t)g;
        n = counting;
        for (uint64_t g = 0; g < truths; g++)
            if (truth[g]->crowd || truth[g]->ignored || outside(truth[g]->area, a)) room->order[n++] = (uint32_t)g;
        positives[a] += counting;
        for (int t = 0; t < T; t++)         /* where nothing overlaps enough, nothing is looked at */
            match_one(truth, highest >= threshold(t) || truths == 0 ? truths : 0, found, founds, room->iou,
                      room->order, counting, taken, a, t, records);
    }
    return HPT_OK;
}

/* ---- curves ---- */

static uint64_t cell(const hpt__ap *ap, int t, int r, uint32_t k, int a, uint32_t kept) {
    return ((((uint64_t)t * R + (uint64_t)r) * ap->s.classes + k) * A + (uint64_t)a) * ap->m + kept;
}
static uint64_t recall_cell(const hpt__ap *ap, int t, uint32_t k, int a, int m) {
    return (((uint64_t)t * ap->s.classes + k) * A + (uint64_t)a) * HPT__AP_M + (uint64_t)m;
}

void hpt__curve_keep(hpt__ap *ap, uint32_t k, int a, int m, int t, const double *rc, double *pr, uint64_t n) {
    const hpt__class_records *c = ap->of + k;
    uint32_t most = m < 0 ? UINT32_MAX : hpt__ap_counts[m], kept = ap->m == 1 ? 0 : (uint32_t)m;
    for (int r = 0; r < R; r++) ap->precision[cell(ap, t, r, k, a, kept)] = ap->scores[cell(ap, t, r, k, a, kept)] = 0;
    for (uint64_t i = n; i > 1; i--)
        if (pr[i - 1] > pr[i - 2]) pr[i - 2] = pr[i - 1];
    uint64_t i = 0, at = 0;                 /* place among those kept, and in the records */
    while (at < c->n && c->r[at].rank >= most) at++;
    for (int r = 0; r < R && i < n;) {
        if (rc[i] >= recall_at(r)) {
            ap->precision[cell(ap, t, r, k, a, kept)] = pr[i];
            ap->scores[cell(ap, t, r, k, a, kept)] = c->r[at].score;
            r++;
            continue;
        }
        i++;
        at++;
        while (at < c->n && c->r[at].rank >= most) at++;
    }
}
/* Recall and precision after each of the detections that m lets count. */
static void curve(hpt__ap *ap, uint32_t k, int a, int m, int t, double *rc, double *pr) {
    const hpt__class_records *c = ap->of + k;
    double positives = (double)c->positives[a], tp = 0, fp = 0;
    uint64_t n = 0;
    for (uint64_t i = 0; i < c->n; i++) {
        const hpt__record *r = c->r + i;
        if (r->rank >= hpt__ap_counts[m]) continue;
        if (!(r->out[a] >> t & 1)) {
            if (r->hit[a] >> t & 1) tp++;
            else fp++;
        }
        rc[n] = tp / positives;
        pr[n++] = tp / (fp + tp + 0x1p-52);
    }
    ap->recall[recall_cell(ap, t, k, a, m)] = n ? rc[n - 1] : 0;
    if (ap->m > 1 || m == HPT__AP_M - 1) hpt__curve_keep(ap, k, a, m, t, rc, pr, n);
}
void hpt__coco_curves(hpt__ap *ap, uint32_t k, double *room) {
    const hpt__class_records *c = ap->of + k;
    for (int a = 0; a < A; a++)
        for (int m = 0; m < HPT__AP_M && c->positives[a]; m++)
            for (int t = 0; t < T; t++) curve(ap, k, a, m, t, room, room + c->n);
}

/* numpy.mean of the n numbers; NaN without any. */
static double mean(const double *x, uint64_t n) { return n ? hpt__pairwise_sum(x, n) / (double)n : NAN; }
static double mean_precision(const hpt__ap *ap, int first, int last, uint32_t k, uint32_t to, int a, double *room) {
    uint64_t n = 0;
    for (int t = first; t <= last; t++)
        for (int r = 0; r < R; r++)
            for (uint32_t i = k; i < to; i++) {
                double v = ap->precision[cell(ap, t, r, i, a, ap->m - 1)];
                if (v > -1) room[n++] = v;
            }
    return mean(room, n);
}
static double mean_recall(const hpt__ap *ap, uint32_t k, uint32_t to, int a, int m, double *room) {
    uint64_t n = 0;
    for (int t = 0; t < T; t++)
        for (uint32_t i = k; i < to; i++) {
            double v = ap->recall[recall_cell(ap, t, i, a, m)];
            if (v > -1) room[n++] = v;
        }
    return mean(room, n);
}
/* The first six (AP...) of classes k to the one before `to`. */
static void six(const hpt__ap *ap, uint32_t k, uint32_t to, double *room, double *out) {
    out[0] = mean_precision(ap, 0, T - 1, k, to, 0, room);
    out[1] = mean_precision(ap, 0, 0, k, to, 0, room);
    out[2] = mean_precision(ap, 5, 5, k, to, 0, room);
    for (int a = 1; a < A; a++) out[2 + a] = mean_precision(ap, 0, T - 1, k, to, a, room);
}
hpt_status hpt__coco_stats(hpt__ap *ap) {
    uint32_t n = ap->s.classes;
    double *room = hpt__alloc(sizeof *room * T * R * (size_t)(n + 1));
    if (!room) return hpt__fail_memory(sizeof *room * T * R * (size_t)(n + 1));
    six(ap, 0, n, room, ap->stats);
    for (int m = 0; m < HPT__AP_M; m++) ap->stats[6 + m] = mean_recall(ap, 0, n, 0, m, room);
    for (int a = 1; a < A; a++) ap->stats[8 + a] = mean_recall(ap, 0, n, a, HPT__AP_M - 1, room);
    hpt__free(room);
    return HPT_OK;
}
void hpt__coco_of_class(const hpt__ap *ap, uint32_t k, double out[7]) {
    double room[T * R];
    six(ap, k, k + 1, room, out);
    out[6] = mean_recall(ap, k, k + 1, 0, HPT__AP_M - 1, room);
}

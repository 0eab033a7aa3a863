/* SPDX-License-Identifier: MIT
 * Contract: boxes.h. The way that every metric goes: images in batches, shared out to threads, matched class by
 * class; records put together in the order of images; curves of each class; numbers over all. */
#include "eval/boxes.h"
#include "core/alloc.h"
#include "core/thread.h"
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint32_t hpt__ap_counts[HPT__AP_M] = {1, 10, 100};
enum { BATCH = 512 };                   /* images whose records wait to be put together */

double hpt__box_iou(const double a[4], const double b[4], int crowd) {
    double w = fmin(a[2] + a[0], b[2] + b[0]) - fmax(a[0], b[0]), h;
    if (w <= 0) return 0;
    h = fmin(a[3] + a[1], b[3] + b[1]) - fmax(a[1], b[1]);
    if (h <= 0) return 0;
    double both = w * h, any = crowd ? a[2] * a[3] : a[2] * a[3] + b[2] * b[3] - both;
    return both / any;
}
double hpt__pairwise_sum(const double *x, uint64_t n) {
    double sum = 0, part[8];
    if (n > 128) {
        uint64_t half = n / 2 - n / 2 % 8;
        return hpt__pairwise_sum(x, half) + hpt__pairwise_sum(x + half, n - half);
    }
    if (n < 8) {
        for (uint64_t i = 0; i < n; i++) sum += x[i];
        return sum;
    }
    memcpy(part, x, sizeof part);
    uint64_t i = 8;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) part[j] += x[i + (uint64_t)j];
    sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    for (; i < n; i++) sum += x[i];
    return sum;
}
hpt_status hpt__ap_reserve(hpt__ap_room *room, uint64_t ious, uint64_t order) {
    if (ious >= room->cap) {                    /* there is always room for one, so that nothing is NULL */
        hpt__free(room->iou);
        room->cap = 0;
        if (!(room->iou = hpt__alloc((size_t)(ious + 1) * sizeof(double)))) return hpt__fail_memory((size_t)ious * 8);
        room->cap = ious + 1;
    }
    if (order >= room->order_cap) {
        hpt__free(room->order);
        room->order_cap = 0;
        if (!(room->order = hpt__alloc((size_t)(order + 1) * 4))) return hpt__fail_memory((size_t)order * 4);
        room->order_cap = order + 1;
    }
    return HPT_OK;
}

/* ---- one image ---- */

/* What an image leaves: runs of records by class, and cells of the confusion matrix. */
typedef struct part {
    struct { uint32_t class_index; uint64_t first, n, truths, positives[HPT__AP_A], true_at, false_at; } *of;
    hpt__record *records;
    struct { uint32_t row, column; } *cells;
    uint64_t classes, cells_n, truths, crowds, ignored, founds;
} part;
typedef struct job {
    const hpt__ap_settings *s;
    const hpt__scenes *scenes;
    part *parts;
    uint64_t first, count;
    _Atomic uint64_t next;
    pthread_mutex_t lock;
    hpt_status st;              /* of the first image that failed */
    uint64_t st_image;
    char text[1024];
} job;

static int by_class(const void *a, const void *b) {
    const hpt__object *x = *(const hpt__object *const *)a, *y = *(const hpt__object *const *)b;
    if (x->class_index != y->class_index) return x->class_index < y->class_index ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x < y ? -1 : x > y;
}
static int by_score(const void *a, const void *b) {
    const hpt__object *x = *(const hpt__object *const *)a, *y = *(const hpt__object *const *)b;
    return x->score != y->score ? x->score > y->score ? -1 : 1 : x < y ? -1 : x > y;
}
static double iou_of(const hpt__ap_settings *s, const hpt__object *found, const hpt__object *truth) {
    return s->masks ? hpt__rle_iou(&found->mask, found->box, &truth->mask, truth->box, truth->crowd)
        : hpt__box_iou(found->box, truth->box, truth->crowd);
}
/* Every detection of at least at_score, the surest first, goes with the free object of any class that it overlaps
 * most, at least by half; one that only lies in a crowd, or on what is ignored, is left out. */
static hpt_status confuse(const hpt__ap_settings *s, hpt__scene *in, const hpt__object **order, part *p) {
    uint8_t *taken = hpt__calloc((size_t)in->truths, 1);
    p->cells = hpt__alloc(sizeof *p->cells * (size_t)(in->truths + in->founds + 1));
    if (!taken || !p->cells) {
        hpt__free(taken);
        return hpt__fail_memory(sizeof *p->cells * (size_t)(in->truths + in->founds + 1));
    }
    for (uint64_t d = 0; d < in->founds; d++) order[d] = in->found + d;
    qsort(order, (size_t)in->founds, sizeof *order, by_score);
    for (uint64_t d = 0; d < in->founds && order[d]->score >= s->at_score; d++) {
        double most = 0;
        uint64_t at = in->truths;
        int excused = 0;
        for (uint64_t g = 0; g < in->truths; g++) {
            const hpt__object *o = in->truth + g;
            double v = taken[g] ? 0 : iou_of(s, order[d], o);
            if (v < .5) continue;
            if (o->crowd || o->ignored) excused = 1;
            else if (v > most) most = v, at = g;
        }
        if (at < in->truths) taken[at] = 1;
        else if (excused) continue;
        p->cells[p->cells_n].row = at < in->truths ? (uint32_t)in->truth[at].class_index : s->classes;
        p->cells[p->cells_n++].column = (uint32_t)order[d]->class_index;
    }
    for (uint64_t g = 0; g < in->truths; g++)
        if (!taken[g] && !in->truth[g].crowd && !in->truth[g].ignored) {
            p->cells[p->cells_n].row = (uint32_t)in->truth[g].class_index;
            p->cells[p->cells_n++].column = s->classes;
        }
    hpt__free(taken);
    return HPT_OK;
}
/* Objects and detections of an image, class by class. lists: room for both. */
static hpt_status match(const hpt__ap_settings *s, hpt__scene *in, const hpt__object **lists, hpt__ap_room *room,
                        part *p) {
    const hpt__object **truth = lists, **found = lists + in->truths;
    int voc = s->metric != HPT__AP_COCO;
    HPT_TRY(confuse(s, in, lists, p));
    for (uint64_t i = 0; i < in->truths; i++) {
        if (voc) hpt__voc_corners(in->truth + i);
        in->truth[i].score = 0;
        truth[i] = in->truth + i;
        p->crowds += in->truth[i].crowd;
        p->ignored += !in->truth[i].crowd && in->truth[i].ignored;
    }
    for (uint64_t i = 0; i < in->founds; i++) {
        if (voc) hpt__voc_corners(in->found + i);
        if (voc && s->rounded) hpt__voc_round(in->found + i);
        found[i] = in->found + i;
    }
    qsort(truth, (size_t)in->truths, sizeof *truth, by_class);
    qsort(found, (size_t)in->founds, sizeof *found, by_class);
    p->truths = in->truths;
    p->founds = in->founds;
    p->records = hpt__calloc((size_t)in->founds, sizeof *p->records);
    p->of = hpt__calloc((size_t)(in->truths + in->founds), sizeof *p->of);
    if (!p->records || !p->of) return hpt__fail_memory((size_t)(in->founds * sizeof *p->records));
    for (uint64_t g = 0, d = 0, r = 0; g < in->truths || d < in->founds;) {
        int32_t k = g == in->truths || (d < in->founds && found[d]->class_index < truth[g]->class_index)
            ? found[d]->class_index : truth[g]->class_index;
        uint64_t g0 = g, d0 = d;
        while (g < in->truths && truth[g]->class_index == k) g++;
        while (d < in->founds && found[d]->class_index == k) d++;
        uint64_t n = d - d0, most = hpt__ap_counts[HPT__AP_M - 1];
        if (!voc && n > most) n = most;
        p->of[p->classes].class_index = (uint32_t)k;
        p->of[p->classes].first = r;
        p->of[p->classes].n = n;
        p->of[p->classes].truths = g - g0;
        for (uint64_t i = 0; i < n; i++) {
            p->records[r + i].score = found[d0 + i]->score;
            p->records[r + i].rank = (uint32_t)i;
        }
        HPT_TRY((voc ? hpt__voc_match : hpt__coco_match)(s, truth + g0, g - g0, found + d0, n, room, p->records + r,
                                                         p->of[p->classes].positives));
        for (uint64_t i = 0; i < n && found[d0 + i]->score >= s->at_score; i++) {
            if (p->records[r + i].out[0] & 1) continue;
            if (p->records[r + i].hit[0] & 1) p->of[p->classes].true_at++;
            else p->of[p->classes].false_at++;
        }
        p->classes++;
        r += n;
    }
    return HPT_OK;
}
static void scene_free(hpt__scene *in) {
    for (uint64_t i = 0; i < in->truths; i++) hpt__free(in->truth[i].mask.counts);
    for (uint64_t i = 0; i < in->founds; i++) hpt__free(in->found[i].mask.counts);
    hpt__free(in->truth);
    hpt__free(in->found);
}
static hpt_status one_image(job *j, uint64_t i, hpt__ap_room *room) {
    hpt__scene in = {0};
    hpt_status st = j->scenes->fill(j->scenes, j->first + i, &in);
    uint64_t n = in.truths + in.founds;
    const hpt__object **lists = hpt__alloc((size_t)(n + 1) * sizeof *lists);
    if (!st && !lists) st = hpt__fail_memory((size_t)(n + 1) * sizeof *lists);
    if (!st) st = match(j->s, &in, lists, room, j->parts + i);
    hpt__free((void *)lists);
    scene_free(&in);
    return st;
}
static void *work(void *arg) {
    job *j = arg;
    hpt__ap_room room = {0};
    for (uint64_t i; (i = atomic_fetch_add(&j->next, 1)) < j->count;) {
        hpt_status st = one_image(j, i, &room);
        if (!st) continue;
        pthread_mutex_lock(&j->lock);
        if (!j->st || i < j->st_image) {
            j->st = st;
            j->st_image = i;
            snprintf(j->text, sizeof j->text, "%s", hpt__error_text());
        }
        pthread_mutex_unlock(&j->lock);
    }
    hpt__free(room.iou);
    hpt__free(room.order);
    return NULL;
}

/* ---- all images ---- */

static hpt_status put_together(hpt__ap *ap, const part *p) {
    uint32_t side = ap->s.classes + 1;
    for (uint64_t i = 0; i < p->cells_n && ap->s.classes <= HPT__AP_CONFUSION; i++)
        ap->confusion[(uint64_t)p->cells[i].row * side + p->cells[i].column]++;
    for (uint64_t i = 0; i < p->classes; i++) {
        hpt__class_records *c = ap->of + p->of[i].class_index;
        uint64_t n = p->of[i].n;
        if (c->n + n > c->cap) {
            uint64_t cap = 2 * c->cap > c->n + n ? 2 * c->cap : c->n + n;
            hpt__record *r = hpt__realloc(c->r, (size_t)cap * sizeof *r);
            if (!r) return hpt__fail_memory((size_t)cap * sizeof *r);
            c->r = r;
            c->cap = cap;
        }
        if (n) memcpy(c->r + c->n, p->records + p->of[i].first, (size_t)n * sizeof *c->r);
        c->n += n;
        c->founds += n;
        c->truths += p->of[i].truths;
        c->true_at += p->of[i].true_at;
        c->false_at += p->of[i].false_at;
        for (int a = 0; a < HPT__AP_A; a++) c->positives[a] += p->of[i].positives[a];
    }
    ap->truths += p->truths;
    ap->crowds += p->crowds;
    ap->ignored += p->ignored;
    ap->founds += p->founds;
    return HPT_OK;
}
static hpt_status batch(hpt__ap *ap, const hpt__scenes *scenes, uint64_t first, uint64_t count) {
    pthread_t thread[64];
    int threads = ap->s.threads < 64 ? ap->s.threads : 64, started = 0;
    job j = {.s = &ap->s, .scenes = scenes, .first = first, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!(j.parts = hpt__calloc((size_t)count, sizeof *j.parts)))
        return hpt__fail_memory((size_t)count * sizeof *j.parts);
    for (int i = 1; i < threads && (uint64_t)i < count; i++)
        if (!hpt__thread_start(&thread[started], work, &j)) started++;
    work(&j);
    while (started) pthread_join(thread[--started], NULL);
    hpt_status st = j.st ? hpt__fail(j.st, "%s", j.text) : HPT_OK;
    for (uint64_t i = 0; i < count && !st; i++) st = put_together(ap, j.parts + i);
    for (uint64_t i = 0; i < count; i++) {
        hpt__free(j.parts[i].of);
        hpt__free(j.parts[i].records);
        hpt__free(j.parts[i].cells);
    }
    hpt__free(j.parts);
    return st;
}

/* Equal scores stay in the order in which images came. */
typedef struct placed { hpt__record r; uint64_t at; } placed;
static int falling(const void *a, const void *b) {
    const placed *x = a, *y = b;
    return x->r.score != y->r.score ? x->r.score > y->r.score ? -1 : 1 : x->at < y->at ? -1 : x->at > y->at;
}
static hpt_status curves_of(hpt__ap *ap, uint32_t k) {
    hpt__class_records *c = ap->of + k;
    placed *list = hpt__alloc((size_t)(c->n + 1) * sizeof *list);
    if (!list) return hpt__fail_memory((size_t)(c->n + 1) * sizeof *list);
    for (uint64_t i = 0; i < c->n; i++) list[i] = (placed){c->r[i], i};
    qsort(list, (size_t)c->n, sizeof *list, falling);
    for (uint64_t i = 0; i < c->n; i++) c->r[i] = list[i].r;
    (ap->s.metric == HPT__AP_COCO ? hpt__coco_curves : hpt__voc_curves)(ap, k, (double *)(void *)list);
    hpt__free(list);
    return HPT_OK;
}

static hpt_status prepare(hpt__ap *ap) {
    uint64_t k = ap->s.classes, curve = (uint64_t)HPT__AP_T * HPT__AP_R * k * HPT__AP_A * ap->m;
    uint64_t recalls = (uint64_t)HPT__AP_T * k * HPT__AP_A * HPT__AP_M;
    int coco = ap->s.metric == HPT__AP_COCO;
    ap->of = hpt__calloc((size_t)k, sizeof *ap->of);
    ap->confusion = hpt__calloc(k > HPT__AP_CONFUSION ? 1 : (size_t)((k + 1) * (k + 1)), sizeof *ap->confusion);
    ap->recall = hpt__alloc((size_t)recalls * sizeof(double));
    ap->precision = hpt__alloc((size_t)curve * sizeof(double));
    ap->scores = hpt__alloc((size_t)curve * sizeof(double));
    ap->class_ap = coco ? NULL : hpt__alloc((size_t)(HPT__AP_T * k) * sizeof(double));
    if (!ap->of || !ap->confusion || !ap->recall || !ap->precision || !ap->scores || (!coco && !ap->class_ap))
        return hpt__fail_memory((size_t)(curve * 16));
    for (uint64_t i = 0; i < recalls; i++) ap->recall[i] = -1;
    for (uint64_t i = 0; i < curve; i++) ap->precision[i] = ap->scores[i] = -1;
    return HPT_OK;
}
hpt_status hpt__ap_compute(const hpt__ap_settings *s, const hpt__scenes *scenes, hpt__span *span, hpt__ap *ap) {
    *ap = (hpt__ap){.s = *s, .m = s->whole && s->metric == HPT__AP_COCO ? HPT__AP_M : 1, .images = scenes->count};
    HPT_TRY(prepare(ap));
    for (uint64_t i = 0; i < scenes->count; i += BATCH) {
        if (span) HPT_TRY(hpt__span_at(span, i));
        HPT_TRY(batch(ap, scenes, i, scenes->count - i < BATCH ? scenes->count - i : BATCH));
    }
    for (uint32_t k = 0; k < s->classes; k++) {
        if (span) HPT_TRY(hpt__span_at(span, scenes->count));
        HPT_TRY(curves_of(ap, k));
    }
    return (s->metric == HPT__AP_COCO ? hpt__coco_stats : hpt__voc_stats)(ap);
}
void hpt__ap_free(hpt__ap *ap) {
    for (uint32_t k = 0; ap->of && k < ap->s.classes; k++) hpt__free(ap->of[k].r);
    hpt__free(ap->of);
    hpt__free(ap->precision);
    hpt__free(ap->scores);
    hpt__free(ap->recall);
    hpt__free(ap->class_ap);
    hpt__free(ap->confusion);
    *ap = (hpt__ap){0};
}
void hpt__ap_of_class(const hpt__ap *ap, uint32_t k, double out[7]) {
    (ap->s.metric == HPT__AP_COCO ? hpt__coco_of_class : hpt__voc_of_class)(ap, k, out);
}

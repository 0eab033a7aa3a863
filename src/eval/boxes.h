/* SPDX-License-Identifier: MIT
 * Average precision of detections, image by image: what a detector found beside what is there. A record of 32 bytes
 * is all that stays of a detection; images are matched by several threads, and records kept in the order of images,
 * so that numbers are the same for any number of threads. Two metrics: coco_ap.c (COCO's, of boxes or masks) and
 * voc_ap.c (Pascal VOC's, 11-point and integral). */
#ifndef HPT__BOXES_H
#define HPT__BOXES_H
#include "core/progress.h"
#include "eval/rle.h"

typedef enum hpt__ap_metric { HPT__AP_COCO, HPT__AP_VOC07, HPT__AP_VOC12 } hpt__ap_metric;
enum { HPT__AP_T = 10, HPT__AP_R = 101, HPT__AP_A = 4, HPT__AP_M = 3 };  /* thresholds, recalls, areas, counts */
enum { HPT__AP_CONFUSION = 2000 };      /* most classes that a confusion matrix has */
extern const uint32_t hpt__ap_counts[HPT__AP_M];                /* 1, 10, 100 detections an image and class */

typedef struct hpt__object {
    double box[4];              /* x y w h from 0, continuous; of a mask its tight box */
    double area, score;
    hpt__rle mask;              /* counts NULL: none */
    int32_t class_index;
    uint8_t crowd;              /* many objects in one: any number of detections may lie in it */
    uint8_t ignored;            /* neither found nor missed counts (VOC: difficult) */
    uint8_t unmatched;          /* pycocotools takes a match with annotation id 0 for none */
} hpt__object;
/* What is in one image; fill writes it, in a thread of its own, and its masks go with hpt__free. */
typedef struct hpt__scene { hpt__object *truth, *found; uint64_t truths, founds; } hpt__scene;
typedef struct hpt__scenes {
    uint64_t count;
    hpt_status (*fill)(const struct hpt__scenes *all, uint64_t image, hpt__scene *out);
    const void *from;
} hpt__scenes;

typedef struct hpt__ap_settings {
    hpt__ap_metric metric;
    uint32_t classes;
    int masks, threads;
    int rounded;                /* voc: as the files of detections are */
    int whole;                  /* precision and scores for 1, 10 and 100 detections, not for 100 only */
    double at_score;            /* precision, recall and confusion of detections from here on, at IoU 0.5 */
} hpt__ap_settings;

typedef struct hpt__record {
    double score;
    uint32_t rank;              /* among those of its image and class, from 0 */
    uint16_t hit[HPT__AP_A], out[HPT__AP_A];        /* a bit a threshold: matched; does not count */
} hpt__record;
typedef struct hpt__class_records {
    hpt__record *r;
    uint64_t n, cap, truths, positives[HPT__AP_A], founds;      /* positives: objects that count */
    uint64_t true_at, false_at;                                 /* of at_score */
} hpt__class_records;

/* NaN: there is no such number (no object that counts). Classes K, areas A (all, small, medium, large). */
typedef struct hpt__ap {
    hpt__ap_settings s;
    hpt__class_records *of;     /* (K) */
    uint32_t m;                 /* detection counts kept: 3 if whole, else 1 (the last) */
    double *precision, *scores; /* (T,R,K,A,m) as pycocotools has them, -1 where there is none; voc:
                                 * area 0 only */
    double *recall;             /* (T,K,A,3); voc: (T,K), the last recall */
    double *class_ap;           /* voc: (T,K) */
    double stats[12];           /* AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl, fractions */
    uint64_t *confusion;        /* (K+1,K+1) truth by found; last row: nothing is there; last column: not found;
                                 * not made of more classes than HPT__AP_CONFUSION */
    uint64_t images, truths, crowds, ignored, founds;
} hpt__ap;

/* span: of this work, told in images; NULL: nobody is told. Free with hpt__ap_free, also after an error. */
hpt_status hpt__ap_compute(const hpt__ap_settings *s, const hpt__scenes *scenes, hpt__span *span, hpt__ap *out);
void hpt__ap_free(hpt__ap *ap);
/* AP, AP50, AP75, APs, APm, APl of one class (voc: three of them), then recall at 100 detections. */
void hpt__ap_of_class(const hpt__ap *ap, uint32_t k, double out[7]);

/* Overlap of boxes (x y w h) as a share of their union, of the detection's area if the object is a crowd. */
double hpt__box_iou(const double found[4], const double truth[4], int crowd);
/* numpy's sum of n numbers, bit for bit: pairs of halves, eight at a time below 128. */
double hpt__pairwise_sum(const double *x, uint64_t n);

/* ---- a metric's two halves ---- */

/* Room that a thread keeps from image to image. */
typedef struct hpt__ap_room { double *iou; uint64_t cap; uint32_t *order; uint64_t order_cap; } hpt__ap_room;
/* Matches the detections of one class in one image, which come by falling score, to its objects, in the order of the
 * file. records (founds) are there with score and rank; positives (A) are added to. */
hpt_status hpt__coco_match(const hpt__ap_settings *s, const hpt__object *const *truth, uint64_t truths,
                           const hpt__object *const *found, uint64_t founds, hpt__ap_room *room, hpt__record *records,
                           uint64_t *positives);
hpt_status hpt__voc_match(const hpt__ap_settings *s, const hpt__object *const *truth, uint64_t truths,
                          const hpt__object *const *found, uint64_t founds, hpt__ap_room *room, hpt__record *records,
                          uint64_t *positives);
hpt_status hpt__ap_reserve(hpt__ap_room *room, uint64_t ious, uint64_t order);
/* Curves of class k from its records, sorted by falling score; room (2 n doubles). Then the numbers over classes. */
void hpt__coco_curves(hpt__ap *ap, uint32_t k, double *room);
void hpt__voc_curves(hpt__ap *ap, uint32_t k, double *room);
/* The n precisions after each detection (of ranks below hpt__ap_counts[m]; m -1: all) become their running maximum
 * from the right, and are kept at each of 101 recalls with the score there. */
void hpt__curve_keep(hpt__ap *ap, uint32_t k, int a, int m, int t, const double *rc, double *pr, uint64_t n);
hpt_status hpt__coco_stats(hpt__ap *ap);
hpt_status hpt__voc_stats(hpt__ap *ap);
void hpt__coco_of_class(const hpt__ap *ap, uint32_t k, double out[7]);
void hpt__voc_of_class(const hpt__ap *ap, uint32_t k, double out[7]);
/* A box becomes the corners of VOC's files; a detection's are then rounded as the files round them: the score to
 * three places, corners to one. */
void hpt__voc_corners(hpt__object *o);
void hpt__voc_round(hpt__object *found);
#endif

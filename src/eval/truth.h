/* SPDX-License-Identifier: MIT
 * Boxes and masks from files: what is in images (truth) and what a detector found, read once, checked, and handed
 * to boxes.h image by image. Masks stay as the file has them (polygons, runs) until their image comes. Every file is
 * untrusted: what does not fit is refused with file and object. */
#ifndef HPT__TRUTH_H
#define HPT__TRUTH_H
#include "eval/boxes.h"

enum { HPT__TRUTH_CLASSES = 10000 };    /* most */
typedef struct hpt__marked_image {
    int64_t id;
    uint32_t w, h;              /* 0: not said */
    char *name;                 /* file name; NULL: none */
    uint64_t first, n;          /* its objects, in hpt__marks.order */
} hpt__marked_image;
typedef struct hpt__marked_class { int64_t id; char *name; } hpt__marked_class;
typedef struct hpt__mark {
    int64_t image, category;    /* ids; after hpt__marks_link places in images and classes */
    int64_t id;                 /* of the annotation */
    double box[4], area, score; /* area NaN: not said */
    uint64_t nth;               /* in the file, from 1; lines of a text file */
    uint64_t at, n;             /* polygons: numbers in points, each polygon after how many it has; runs: in runs */
    uint32_t h, w;              /* of runs, as the file has them */
    uint8_t polygons, coded, crowd, ignored, has_id;
} hpt__mark;
/* One file's objects; of results without images and classes, which are the truth's. */
typedef struct hpt__marks {
    char *path;
    const char *what;           /* "annotation", "result", "line": for messages */
    hpt__marked_image *images;
    hpt__marked_class *classes;
    hpt__mark *m;
    uint64_t *order;            /* (n) by image, each image's in the order of the file */
    double *points;
    uint32_t *runs;
    uint64_t image_count, class_count, n, point_count, run_count;
    uint64_t cap_images, cap_classes, cap, cap_points, cap_runs;
    uint64_t areas_missing, empty_boxes;
    const char *format;         /* "coco", "bdd100k-1", "bdd100k-2", "voc", "csv"; of results "coco" */
    int names_only;             /* classes have numbers of their own: results must name them */
    int masks;                  /* masks are read and needed, else boxes */
} hpt__marks;

void hpt__marks_free(hpt__marks *s);
/* Truth: COCO's annotations (JSON; masks of polygons, runs or strings), BDD100K's frames (JSON), a folder of Pascal
 * VOC's XML files or a list of them (.txt, in ImageSets/Main), a table (.csv). Checked and linked. */
hpt_status hpt__truth_read(const char *path, int masks, hpt__marks *out);
/* Results in COCO's format for that truth. */
hpt_status hpt__found_read(const char *path, const hpt__marks *truth, int masks, hpt__marks *out);
/* Both from arrays, which the caller has checked for being there; found's classes are truth's. */
hpt_status hpt__truth_arrays(uint32_t classes, const hpt_boxes *truth, const hpt_boxes *found, int masks,
                             hpt__marks *t, hpt__marks *f);

/* ---- for readers ---- */

hpt_status hpt__marks_image(hpt__marks *s, int64_t id, uint32_t w, uint32_t h, const char *name);
hpt_status hpt__marks_class(hpt__marks *s, int64_t id, const char *name);
hpt_status hpt__marks_add(hpt__marks *s, hpt__mark **out);              /* zeros, area NaN, score 0, nth */
hpt_status hpt__marks_points(hpt__marks *s, uint64_t more);             /* room for so many more */
hpt_status hpt__marks_runs(hpt__marks *s, uint64_t more);
hpt_status hpt__marks_read_json(const char *path, const hpt__marks *truth, hpt__marks *out);
hpt_status hpt__truth_read_voc(const char *path, int folder, hpt__marks *out);
hpt_status hpt__truth_read_csv(hpt__marks *out);
/* Sorts images and classes by id; places for ids; checks every object. truth: of these results; NULL: it is one. */
hpt_status hpt__marks_link(hpt__marks *s, const hpt__marks *truth);

/* ---- to be scored ---- */

typedef struct hpt__marked { const hpt__marks *truth, *found; int id0_unmatched; } hpt__marked;
/* Scenes over both; from is kept by the caller. */
hpt__scenes hpt__marked_scenes(const hpt__marked *m);
#endif

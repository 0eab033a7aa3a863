/* SPDX-License-Identifier: MIT
 * Masks as runs, COCO's way: pixels column by column, runs of background and object in turn, the first background
 * (perhaps of length 0). Strings, areas, tight boxes, unions, overlaps and the raster of polygons give what
 * pycocotools gives, bit for bit. All runs here are canonical: only the first may be empty. */
#ifndef HPT__RLE_H
#define HPT__RLE_H
#include "core/status.h"

enum { HPT__MASK_SIDE = 65535 };        /* most rows and columns */
typedef struct hpt__rle {
    uint32_t h, w;
    uint64_t n;             /* runs; they sum to h*w */
    uint32_t *counts;       /* NULL: no mask */
} hpt__rle;

/* Runs of COCO's string of n characters into counts (room for n). -1: no such string. */
int64_t hpt__rle_parse(const char *text, size_t n, uint32_t *counts);
/* The string, closed by 0, into text (room for 7 n + 1); gives its length. */
size_t hpt__rle_print(const hpt__rle *r, char *text);
/* Takes empty runs out of n counts, in place; gives how many are left. -1: they do not sum to h*w. */
int64_t hpt__rle_canonical(uint32_t *counts, uint64_t n, uint32_t h, uint32_t w);
/* Pixels (h*w, column by column, 0 background) to counts (room for h*w + 1); gives how many. And back. */
uint64_t hpt__rle_encode(const uint8_t *pixels, uint32_t h, uint32_t w, uint32_t *counts);
void hpt__rle_decode(const hpt__rle *r, uint8_t *pixels);
uint64_t hpt__rle_area(const hpt__rle *r);
void hpt__rle_box(const hpt__rle *r, double box[4]);            /* x y w h; 0 0 0 0 for an empty mask */
/* Union (or intersection) of two of one size into counts (room for a->n + b->n + 1); gives how many. */
uint64_t hpt__rle_merge(const hpt__rle *a, const hpt__rle *b, int intersect, uint32_t *counts);
/* Overlap of a detection with an object, as a share of the union, of the detection if the object is a crowd. The
 * boxes are theirs. -1: they overlap and the sizes differ. */
double hpt__rle_iou(const hpt__rle *found, const double found_box[4], const hpt__rle *truth, const double truth_box[4],
                    int crowd);

/* The most crossings of columns that the raster of a polygon of n points (n,2) makes in an image w wide. */
uint64_t hpt__polygon_crossings(const double *xy, uint64_t n, uint32_t w);
/* The polygon's mask; counts are the caller's to free. Coordinates within +-HPT__POLYGON_FAR. */
#define HPT__POLYGON_FAR 1e8
hpt_status hpt__rle_polygon(const double *xy, uint64_t n, uint32_t h, uint32_t w, hpt__rle *out);
#endif

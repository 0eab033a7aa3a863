/* SPDX-License-Identifier: MIT
 * The paper's pipeline: random resized crop, colour jitter, grayscale, blur, flip, normalise; and BYOL's (Grill et al.
 * 2020, appendix B), which solarizes after blur, crops bicubically and has other probabilities in each view. There the
 * flip comes first, which gives the same pixels: every operation after the crop treats left and right alike. Draws and
 * their application are apart, so that tests can give the draws and another device can use the same ones. */
#ifndef HPT__VIEWS_H
#define HPT__VIEWS_H
#include "core/options.h"
#include "core/rng.h"
#include "data/image.h"
#include "data/transform.h"
#include "kernels/augment.h"

/* How an image becomes size x size. PLAIN: short edge to size, central crop. SQUARE: both edges to hpt__frame(size),
 * whatever the aspect, and a crop of size x size somewhere in it (Saito et al. 2019). */
typedef enum hpt__crop { HPT__CROP_PLAIN, HPT__CROP_RESIZED, HPT__CROP_SQUARE } hpt__crop;
typedef struct hpt__augment {
    int size;
    hpt__crop crop;
    hpt__filter filter;                 /* of the crop */
    double crop_min, crop_max, jitter, brightness, contrast, saturation, hue, gray, blur, blur_min, blur_max, flip;
    double solarize;
} hpt__augment;

typedef struct hpt__draws {
    int x, y, w, h;                     /* crop box; of SQUARE: in the frame */
    int jitter, order[4];               /* operations 0 brightness 1 contrast 2 saturation 3 hue, in this order */
    double brightness, contrast, saturation, hue;
    int gray, blur, flip, solarize;
    double sigma;
} hpt__draws;

/* The pretraining pipeline of view 0 (query) or 1 (key). */
void hpt__augment_from_options(const hpt__options *o, int view, hpt__augment *a);
/* HPT_ERR_OPTION: aug_* options that contradict each other. */
hpt_status hpt__augment_check(const hpt__options *o);
/* crop 0.08..1 and flip, for supervised stages */
void hpt__augment_probe(int size, hpt__augment *a);
void hpt__augment_draw(hpt__rng *r, const hpt__augment *a, int w, int h, hpt__draws *d);
/* out (size,size,3) */
hpt_status hpt__augment_apply(hpt__work *wk, const hpt__image *im, const hpt__augment *a, const hpt__draws *d,
                              uint8_t *out);
/* The same draws for a device: image of w x h at offset in the pixels of its batch. */
void hpt__draws_view(const hpt__draws *d, const hpt__augment *a, int w, int h, uint64_t offset, hpt__view *v);
/* 256 where size is 224 */
int hpt__frame(int size);
/* Plain image: short edge (square: both edges) to resize, then the central size x size crop. */
hpt_status hpt__plain_apply(hpt__work *wk, const hpt__image *im, int resize, int square, int size, uint8_t *out);
/* x (3,size,size) float = (rgb/255 - mean)/std; table from hpt__normalize_table */
void hpt__normalize_table(const float mean[3], const float std[3], float table[3][256]);
void hpt__normalize(const uint8_t *rgb, size_t pixels, float table[3][256], float *x);
#endif

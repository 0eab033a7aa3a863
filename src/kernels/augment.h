/* SPDX-License-Identifier: MIT
 * augment - views of a batch on a device, from 8-bit images and given draws: crop and resize (Pillow's antialiased
 * triangle or cubic filter), colour jitter, grayscale, Gaussian blur (three extended box filters), solarize, flip,
 * normalise. Reference: hpt__augment_apply() of src/data, which is bit-identical to Pillow except for the blur's
 * rounding; the device version equals it bit for bit: the same fixed-point arithmetic, no contraction. out
 * (views,3,size,size) float = table[channel][level]. */
#ifndef HPT__KERNEL_AUGMENT_H
#define HPT__KERNEL_AUGMENT_H
#include "kernels/dtype.h"
#include "kernels/pixel.h"
typedef struct hpt__view {
    uint64_t offset;                /* of the image (h,w,3) in the pixels of the batch, bytes */
    int32_t w, h, x, y, cw, ch;     /* image, crop box */
    int32_t filter;                 /* hpt__filter */
    int32_t jitter, order[4];       /* 0 brightness 1 contrast 2 saturation 3 hue; -1 left out */
    float brightness, contrast, saturation;
    int32_t hue;                    /* shift of the 8-bit hue */
    int32_t gray, blur, solarize, flip;
    float radius;                   /* of one box */
} hpt__view;
/* taps of the widest filter that a view needs */
static inline int hpt__view_taps(const hpt__view *v, int size) {
    int s = HPT__FILTER_SUPPORT(v->filter), edge = v->cw > v->ch ? v->cw : v->ch, m = (s * edge + size - 1) / size;
    return 2 * (m < s ? s : m) + 1;
}

/* taps: the largest hpt__view_taps() of the batch; scratch in bytes */
typedef struct hpt__views_ops {
    size_t (*scratch)(hpt__device *dev, int views, int size, int taps);
    void (*make)(hpt__device *dev, int views, int size, int taps, const hpt__view *view, const uint8_t *pixels,
                 const float *table, float *out, void *scratch);
} hpt__views_ops;
#endif

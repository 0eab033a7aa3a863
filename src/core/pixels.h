/* SPDX-License-Identifier: MIT
 * Which mean and deviation images are normalised with, and where they come from. They travel with a model: weights
 * are worth little under others. */
#ifndef HPT__PIXELS_H
#define HPT__PIXELS_H
#include "core/options.h"

typedef struct hpt__pixels {
    float mean[3], std[3];              /* of levels in 0..1 */
    /* of mean and std: "imagenet", "model" (its file, or its training), "data", "given"; static text */
    const char *from[2];
    uint64_t images, of;                /* data: of a sample of so many of so many images; 0: of all */
} hpt__pixels;

/* what torchvision and the released MoCo models were trained with */
extern const hpt__pixels hpt__pixels_imagenet;
/* Takes what options pixel_mean and pixel_std give as numbers, or as imagenet; other words leave *p as it is. */
hpt_status hpt__pixels_given(const hpt__options *o, hpt__pixels *p);
void hpt__pixels_text(const float v[3], char text[96]);                         /* "r,g,b", read back exactly */
/* 1: both are sound, and *p is set, from "model" */
int hpt__pixels_parse(const char *mean, const char *std, hpt__pixels *p);
#endif

/* SPDX-License-Identifier: MIT
 * Image operations on 8-bit RGB with Pillow's semantics (bit for bit up to Pillow 12.2; blur too on the pinned
 * version). Sizes in pixels. */
#ifndef HPT__TRANSFORM_H
#define HPT__TRANSFORM_H
#include "core/status.h"
#include "kernels/pixel.h"

/* Scratch that grows and stays: one for each thread. */
typedef struct hpt__work { void *p[8]; size_t cap[8]; } hpt__work;
void *hpt__work_get(hpt__work *w, int slot, size_t bytes);     /* NULL when out of memory */
void hpt__work_fini(hpt__work *w);

/* out (oh,ow,3) = the box (x,y,bw,bh) of img (h,w,3), cut out and then resized; the filter's support is scaled when
 * shrinking. */
hpt_status hpt__resize(hpt__work *wk, const uint8_t *img, int w, int h, int x, int y, int bw, int bh,
                       hpt__filter filter, uint8_t *out, int ow, int oh);
/* Only the part (px,py,ow,oh) of that box resized to (rh,rw): the same bits, at the cost of the part, however long the
 * whole would be. w: width of img. */
hpt_status hpt__resize_part(hpt__work *wk, const uint8_t *img, int w, int x, int y, int bw, int bh, int rw, int rh,
                            hpt__filter filter, int px, int py, int ow, int oh, uint8_t *out);
void hpt__brightness(uint8_t *img, size_t pixels, float factor);
void hpt__contrast(uint8_t *img, size_t pixels, float factor);
void hpt__saturation(uint8_t *img, size_t pixels, float factor);
void hpt__hue(uint8_t *img, size_t pixels, double shift);       /* shift in turns, -0.5..0.5 */
void hpt__grayscale(uint8_t *img, size_t pixels);
hpt_status hpt__gaussian_blur(hpt__work *wk, uint8_t *img, int w, int h, float sigma);
void hpt__solarize(uint8_t *img, size_t pixels);                /* threshold 128 */
void hpt__flip(uint8_t *img, int w, int h);
/* Radius of each of the three boxes that make a Gaussian blur of this sigma. */
float hpt__box_radius(float sigma);
#endif

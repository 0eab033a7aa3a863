/* SPDX-License-Identifier: MIT
 * Drawing and applying the views of views.h. The order of draws is a contract: another order gives other views for
 * the same seed, so what is new draws last. */
#include "data/views.h"
#include <math.h>
#include <string.h>

/* A probability of the second view, or the first's. */
static double of_view(int view, double first, double second) { return view && second >= 0 ? second : first; }

void hpt__augment_from_options(const hpt__options *o, int view, hpt__augment *a) {
    *a = (hpt__augment){
        .size = (int)OPT_I(o, image_size), .crop = (hpt__crop)OPT_I(o, aug_crop), .crop_min = OPT_F(o, aug_crop_min),
        .crop_max = OPT_F(o, aug_crop_max), .jitter = OPT_F(o, aug_jitter), .brightness = OPT_F(o, aug_brightness),
        .contrast = OPT_F(o, aug_contrast), .saturation = OPT_F(o, aug_saturation), .hue = OPT_F(o, aug_hue),
        .gray = OPT_F(o, aug_gray), .blur = of_view(view, OPT_F(o, aug_blur), OPT_F(o, aug_blur_2)),
        .blur_min = OPT_F(o, aug_blur_min), .blur_max = OPT_F(o, aug_blur_max), .flip = OPT_F(o, aug_flip),
        .solarize = of_view(view, OPT_F(o, aug_solarize), OPT_F(o, aug_solarize_2)),
        .filter = OPT_IS(o, aug_resample, "bicubic") ? HPT__BICUBIC : HPT__BILINEAR};
}
hpt_status hpt__augment_check(const hpt__options *o) {
    const struct { const char *key; double v; } second[] = {
        {"aug_blur_2", OPT_F(o, aug_blur_2)}, {"aug_solarize_2", OPT_F(o, aug_solarize_2)}};
    for (size_t i = 0; i < sizeof second / sizeof *second; i++)
        if (second[i].v < 0 && second[i].v != -1)
            return hpt__fail(HPT_ERR_OPTION, "option '%s': %g is neither a probability nor -1 (as in the first view)",
                             second[i].key, second[i].v);
    if (OPT_F(o, aug_crop_min) > OPT_F(o, aug_crop_max))
        return hpt__fail(HPT_ERR_OPTION, "option 'aug_crop_min' is larger than aug_crop_max");
    if (OPT_F(o, aug_blur_min) > OPT_F(o, aug_blur_max))
        return hpt__fail(HPT_ERR_OPTION, "option 'aug_blur_min' is larger than aug_blur_max");
    return HPT_OK;
}
void hpt__augment_probe(int size, hpt__augment *a) {
    *a = (hpt__augment){.size = size, .crop = HPT__CROP_RESIZED, .crop_min = 0.08, .crop_max = 1, .flip = 0.5};
}

static void draw_crop(hpt__rng *r, const hpt__augment *a, int w, int h, hpt__draws *d) {
    double area = (double)w * h, lo = log(3.0 / 4), hi = log(4.0 / 3);
    for (int i = 0; i < 10; i++) {
        double target = area * hpt__rng_range(r, a->crop_min, a->crop_max), ratio = exp(hpt__rng_range(r, lo, hi));
        int cw = (int)lrint(sqrt(target * ratio)), ch = (int)lrint(sqrt(target / ratio));
        if (cw > 0 && cw <= w && ch > 0 && ch <= h) {
            d->w = cw;
            d->h = ch;
            d->y = (int)hpt__rng_below(r, (uint32_t)(h - ch + 1));
            d->x = (int)hpt__rng_below(r, (uint32_t)(w - cw + 1));
            return;
        }
    }
    double in = (double)w / h;                  /* central crop, aspect clamped */
    d->w = in > 4.0 / 3 ? (int)lrint(h * (4.0 / 3)) : w;
    d->h = in < 3.0 / 4 ? (int)lrint(w / (3.0 / 4)) : h;
    if (d->w < 1) d->w = 1;
    if (d->h < 1) d->h = 1;
    if (d->w > w) d->w = w;
    if (d->h > h) d->h = h;
    d->x = (w - d->w) / 2;
    d->y = (h - d->h) / 2;
}

int hpt__frame(int size) { return (int)lrint(size / 0.875); }

static void draw_square(hpt__rng *r, const hpt__augment *a, hpt__draws *d) {
    uint32_t places = (uint32_t)(hpt__frame(a->size) - a->size + 1);
    d->w = d->h = a->size;
    d->y = (int)hpt__rng_below(r, places);
    d->x = (int)hpt__rng_below(r, places);
}

/* The sequence of draws is part of every published result: change it and runs differ. A new draw comes after all
 * others, and is made whatever the probabilities, so that none of them moves another draw. */
void hpt__augment_draw(hpt__rng *r, const hpt__augment *a, int w, int h, hpt__draws *d) {
    memset(d, 0, sizeof *d);
    if (a->crop == HPT__CROP_RESIZED) draw_crop(r, a, w, h, d);
    if (a->crop == HPT__CROP_SQUARE) draw_square(r, a, d);
    d->jitter = hpt__rng_uniform(r) < a->jitter;
    uint32_t order[4];
    hpt__rng_permutation(r, order, 4);
    for (int i = 0; i < 4; i++) d->order[i] = (int)order[i];
    d->brightness = hpt__rng_range(r, 1 - a->brightness, 1 + a->brightness);
    d->contrast = hpt__rng_range(r, 1 - a->contrast, 1 + a->contrast);
    d->saturation = hpt__rng_range(r, 1 - a->saturation, 1 + a->saturation);
    d->hue = hpt__rng_range(r, -a->hue, a->hue);
    d->gray = hpt__rng_uniform(r) < a->gray;
    d->blur = hpt__rng_uniform(r) < a->blur;
    d->sigma = hpt__rng_range(r, a->blur_min, a->blur_max);
    d->flip = hpt__rng_uniform(r) < a->flip;
    d->solarize = hpt__rng_uniform(r) < a->solarize;
}

/* Short edge to resize, or (square) both, then the central size x size crop. */
static hpt_status plain(hpt__work *wk, const hpt__image *im, int resize, int square, int size, hpt__filter filter,
                        uint8_t *out) {
    int w = im->w, h = im->h;
    if (square) w = h = resize;
    else if ((w < h ? w : h) != resize) {
        w = im->w <= im->h ? resize : (int)((int64_t)resize * im->w / im->h);
        h = im->w <= im->h ? (int)((int64_t)resize * im->h / im->w) : resize;
    }
    int x = (int)lrint((w - size) / 2.0), y = (int)lrint((h - size) / 2.0);
    return hpt__resize_part(wk, im->rgb, im->w, 0, 0, im->w, im->h, w, h, filter, x, y, size, size, out);
}
hpt_status hpt__plain_apply(hpt__work *wk, const hpt__image *im, int resize, int square, int size, uint8_t *out) {
    return plain(wk, im, resize, square, size, HPT__BILINEAR, out);
}
static hpt_status crop(hpt__work *wk, const hpt__image *im, const hpt__augment *a, const hpt__draws *d, uint8_t *out) {
    int frame = hpt__frame(a->size);
    if (a->crop == HPT__CROP_PLAIN) return plain(wk, im, a->size, 0, a->size, a->filter, out);
    if (a->crop == HPT__CROP_RESIZED)
        return hpt__resize(wk, im->rgb, im->w, im->h, d->x, d->y, d->w, d->h, a->filter, out, a->size, a->size);
    return hpt__resize_part(wk, im->rgb, im->w, 0, 0, im->w, im->h, frame, frame, a->filter, d->x, d->y, d->w, d->h,
                            out);
}

hpt_status hpt__augment_apply(hpt__work *wk, const hpt__image *im, const hpt__augment *a, const hpt__draws *d,
                              uint8_t *out) {
    size_t pixels = (size_t)a->size * (size_t)a->size;
    HPT_TRY(crop(wk, im, a, d, out));
    if (d->jitter)
        for (int i = 0; i < 4; i++) switch (d->order[i]) {
            case 0: if (a->brightness > 0) hpt__brightness(out, pixels, (float)d->brightness); break;
            case 1: if (a->contrast > 0) hpt__contrast(out, pixels, (float)d->contrast); break;
            case 2: if (a->saturation > 0) hpt__saturation(out, pixels, (float)d->saturation); break;
            default: if (a->hue > 0) hpt__hue(out, pixels, d->hue);
            }
    if (d->gray) hpt__grayscale(out, pixels);
    if (d->blur) HPT_TRY(hpt__gaussian_blur(wk, out, a->size, a->size, (float)d->sigma));
    if (d->solarize) hpt__solarize(out, pixels);
    if (d->flip) hpt__flip(out, a->size, a->size);
    return HPT_OK;
}

void hpt__draws_view(const hpt__draws *d, const hpt__augment *a, int w, int h, uint64_t offset, hpt__view *v) {
    const double strength[4] = {a->brightness, a->contrast, a->saturation, a->hue};
    *v = (hpt__view){.offset = offset, .w = w, .h = h, .x = d->x, .y = d->y, .cw = d->w, .ch = d->h,
                     .filter = a->filter, .jitter = d->jitter, .brightness = (float)d->brightness,
                     .contrast = (float)d->contrast, .saturation = (float)d->saturation, .hue = (int)(d->hue * 255),
                     .gray = d->gray, .blur = d->blur, .solarize = d->solarize, .flip = d->flip,
                     .radius = d->blur ? hpt__box_radius((float)d->sigma) : 0};
    for (int i = 0; i < 4; i++) v->order[i] = strength[d->order[i]] > 0 ? d->order[i] : -1;
}

void hpt__normalize_table(const float mean[3], const float std[3], float table[3][256]) {
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) table[c][v] = ((float)v / 255.0f - mean[c]) / std[c];
}
void hpt__normalize(const uint8_t *rgb, size_t pixels, float table[3][256], float *x) {
    float *r = x, *g = x + pixels, *b = g + pixels;
    for (size_t i = 0; i < pixels; i++) {
        r[i] = table[0][rgb[3 * i]];
        g[i] = table[1][rgb[3 * i + 1]];
        b[i] = table[2][rgb[3 * i + 2]];
    }
}

/* SPDX-License-Identifier: MIT
 * WebP by libwebp: lossy, lossless, with alpha; of an animation the first frame, on a canvas without colour, as Pillow
 * shows it. The chunks are walked here; libwebp sees one frame. */
#include "data/image.h"
#include "core/alloc.h"
#include <string.h>
#ifdef HPT_HAVE_WEBP
#include <webp/decode.h>

#define BAD(...) hpt__fail(HPT_ERR_DATA, "WebP: " __VA_ARGS__)
/* ALPH and VP8 chunks, or a VP8L chunk; unturned: the orientation is lost with the file's tail */
typedef struct frame { const uint8_t *p; size_t n; int x, y, w, h, alpha, unturned; } frame;

static uint32_t le24(const uint8_t *p) { return (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]; }
static uint32_t le32(const uint8_t *p) { return (uint32_t)p[3] << 24 | le24(p); }

/* Where an image of chunks begins: frame and size. p: the chunks, n bytes of them. */
static hpt_status find_frame(const uint8_t *p, size_t n, frame *f) {
    const uint8_t *first = NULL;
    for (size_t at = 0; n - at >= 8;) {
        size_t len = le32(p + at + 4), have = n - at - 8;
        int lossy = !memcmp(p + at, "VP8 ", 4), alpha = !memcmp(p + at, "ALPH", 4),
            image = lossy || !memcmp(p + at, "VP8L", 4);
        if (len > have) {
            if (!image) return BAD("cut at byte %zu", at);
            len = have;
        }
        if ((alpha || image) && !first) first = p + at;
        if (image) {
            WebPBitstreamFeatures v;
            f->p = first;
            f->n = (size_t)(p + at + 8 + len - first);
            VP8StatusCode code = WebPGetFeatures(lossy ? p + at : first, lossy ? 8 + len : f->n, &v);
            if (code == VP8_STATUS_OUT_OF_MEMORY) return hpt__fail_memory(0);
            if (code != VP8_STATUS_OK) return BAD("damaged or cut");
            f->w = v.width;
            f->h = v.height;
            f->alpha = v.has_alpha || first != p + at;
            return HPT_OK;
        }
        if (len + (len & 1) > have) break;
        at += 8 + len + (len & 1);
    }
    return BAD("no image data");
}

static hpt_status walk(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info, frame *f) {
    int canvas = 0, animated = 0, found = 0, exif = 0;
    *f = (frame){0};
    uint64_t end = 8 + (uint64_t)le32(d + 4);
    info->cut = end > n;
    if (end < n) n = (size_t)end;              /* what follows the container is not its */
    if (n < 20) return BAD("cut");
    for (size_t at = 12; n - at >= 8;) {
        const uint8_t *p = d + at + 8;
        size_t len = le32(d + at + 4), have = n - at - 8;
        int image = !memcmp(d + at, "VP8 ", 4) || !memcmp(d + at, "VP8L", 4) || !memcmp(d + at, "ALPH", 4),
            anmf = !memcmp(d + at, "ANMF", 4);
        if (len > have && !image && !anmf) {
            if (!found) return BAD("cut at byte %zu", at);
            break;
        }
        if (!memcmp(d + at, "VP8X", 4) && at == 12) {
            if (len < 10) return BAD("header of %zu bytes", len);
            HPT_TRY(hpt__image_size((uint64_t)le24(p + 4) + 1, (uint64_t)le24(p + 7) + 1, lim, info));
            canvas = 1;
            animated = p[0] & 2;
            exif = p[0] & 8;
        } else if (!memcmp(d + at, "EXIF", 4)) {
            size_t skip = len >= 6 && !memcmp(p, "Exif\0", 6) ? 6 : 0;
            info->orientation = hpt__exif_orientation(p + skip, len - skip);
            exif = 0;
        } else if (anmf && animated && !found) {
            if (len < 16 || have < 16) return BAD("frame of %zu bytes", len);
            HPT_TRY(find_frame(p + 16, (len < have ? len : have) - 16, f));
            f->x = 2 * (int)le24(p);
            f->y = 2 * (int)le24(p + 3);
            if (f->w != (int)le24(p + 6) + 1 || f->h != (int)le24(p + 9) + 1)
                return BAD("a frame differs from its header");
            found = 1;
        } else if (image && !animated && !found) {
            HPT_TRY(find_frame(d + at, n - at, f));
            found = 1;
        }
        if (len > have || len + (len & 1) > have) break;
        at += 8 + len + (len & 1);
    }
    if (!found) return BAD("no image data");
    f->unturned = exif && info->cut && lim->orient;
    if (f->unturned && !lim->accept_cut) return BAD("cut, the EXIF orientation is missing");
    if (!canvas) HPT_TRY(hpt__image_size((uint64_t)f->w, (uint64_t)f->h, lim, info));
    if (f->w > info->w - f->x || f->h > info->h - f->y || (!animated && (f->w != info->w || f->h != info->h)))
        return BAD("the image does not fit its canvas");
    info->alpha = f->alpha || animated;
    return HPT_OK;
}

hpt_status hpt__webp_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    frame f;
    return walk(d, n, lim, info, &f);
}

hpt_status hpt__webp_decode(const uint8_t *d, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut) {
    frame f;
    hpt__image_info again = *info;
    WebPDecoderConfig c;
    HPT_TRY(walk(d, n, lim, &again, &f));
    size_t w = (size_t)info->w, h = (size_t)info->h, channels = info->alpha && lim->alpha != HPT__ALPHA_DROP ? 4 : 3;
    uint8_t *rgba = channels == 4 ? hpt__calloc(w * h, 4) : NULL, *to = rgba ? rgba : rgb;
    hpt_status st = HPT_OK;
    if (channels == 4 && !rgba) return hpt__fail_memory(w * h * 4);
    WebPInitDecoderConfig(&c);
    size_t at = ((size_t)f.y * w + (size_t)f.x) * channels;
    c.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    c.output.is_external_memory = 1;
    c.output.u.RGBA.rgba = to + at;
    c.output.u.RGBA.stride = (int)(w * channels);
    c.output.u.RGBA.size = w * h * channels - at;
    VP8StatusCode code = WebPDecode(f.p, f.n, &c);
    *cut = f.unturned;
    WebPFreeDecBuffer(&c.output);
    if (code == VP8_STATUS_OUT_OF_MEMORY) st = hpt__fail_memory(0);
    else if (code != VP8_STATUS_OK) {
        *cut = 1;
        if (!info->cut || !lim->accept_cut)
            st = info->cut ? BAD("cut, pixels are missing (truncated=accept takes what is there)") : BAD("damaged");
    }
    if (!st && rgba) hpt__image_flatten(rgba, w * h, lim->alpha, rgb);
    hpt__free(rgba);
    return st;
}
#else
hpt_status hpt__webp_scan(const uint8_t *d, size_t n, const hpt__image_limits *lim, hpt__image_info *info) {
    (void)d;
    (void)n;
    (void)lim;
    (void)info;
    return hpt__fail(HPT_ERR_DATA, "WebP is not read in a build without libwebp");
}
hpt_status hpt__webp_decode(const uint8_t *d, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                            uint8_t *rgb, int *cut) {
    (void)rgb;
    (void)cut;
    return hpt__webp_scan(d, n, lim, (hpt__image_info[]){*info});
}
#endif

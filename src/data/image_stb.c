/* SPDX-License-Identifier: MIT
 * JPEG and PNG in a build without libjpeg or libpng: stb_image, from the system's header, in this one translation
 * unit: static, hidden, no stdio, on a memory budget. stb makes no promise about hostile input; hpt__image_scan()
 * has been over the bytes before. */
#include "data/image.h"
#if !defined HPT_HAVE_JPEG || !defined HPT_HAVE_PNG
#include "core/alloc.h"
#include <string.h>

/* Every allocation of one decode counts against its budget (1 MiB + 4 x file + 16 x pixels); a request beyond it
 * gets NULL. */
static _Thread_local size_t budget;
static _Thread_local int no_memory;
static void *stb_alloc(size_t n) {
    if (n > budget) return NULL;
    budget -= n;
    void *p = hpt__alloc(n);
    if (!p) no_memory = 1;
    return p;
}
__attribute__((unused)) static void *stb_realloc(void *p, size_t old, size_t n) {
    if (n > old && n - old > budget) return NULL;
    if (n > old) budget -= n - old;
    p = hpt__realloc(p, n);
    if (!p) no_memory = 1;
    return p;
}

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_THREAD_LOCALS
#ifndef HPT_HAVE_JPEG
#define STBI_ONLY_JPEG
#endif
#ifndef HPT_HAVE_PNG
#define STBI_ONLY_PNG
#endif
#define STBI_MAX_DIMENSIONS 65535
#define STBI_ASSERT(x) ((void)0)
#define STBI_MALLOC(n) stb_alloc(n)
#define STBI_REALLOC_SIZED(p, old, n) stb_realloc(p, old, n)
#define STBI_FREE(p) hpt__free(p)
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wsign-compare"
#endif
#include <stb/stb_image.h>

hpt_status hpt__stb_decode(const uint8_t *data, size_t n, const hpt__image_limits *lim, const hpt__image_info *info,
                           uint8_t *rgb, int *cut) {
    int w = 0, h = 0, comp = 0;
    size_t pixels = (size_t)info->w * (size_t)info->h;
    *cut = info->cut;
    if (info->cut)
        return hpt__fail(HPT_ERR_DATA, "cut: a build without %s takes only whole files", info->kind == HPT__IMAGE_JPEG
                         ? "libjpeg" : "libpng");
    budget = (size_t)hpt__image_budget(n, info);
    no_memory = 0;
    unsigned char *px = stbi_load_from_memory(data, (int)n, &w, &h, &comp, 4);
    if (!px && no_memory) return hpt__fail_memory(0);
    if (!px)
        return hpt__fail(HPT_ERR_DATA, "stb_image: %s", stbi_failure_reason() ? stbi_failure_reason()
                         : "unknown failure");
    int same = w == info->w && h == info->h;
    if (same) hpt__image_flatten(px, pixels, lim->alpha, rgb);
    stbi_image_free(px);
    return same ? HPT_OK : hpt__fail(HPT_ERR_DATA, "stb_image: size differs from the header");
}
#endif

/* SPDX-License-Identifier: MIT
 * What each of the two views is made of: bicubic crops and solarize against Pillow (fixtures/make_views.py),
 * probabilities of the second view, and that a run which uses none of this keeps the views that it had. */
#include "api/api.h"
#undef CHECK
#include "data/loader.h"
#include "support.h"
#include <stdlib.h>
#include <string.h>

enum { SIZE = 24, RGB = SIZE * SIZE * 3 };

TEST(views_bicubic_and_solarize_against_pillow) {
    json_t *f = fixture("views"), *source = fixture("augment"), *c;
    hpt__image im = {.w = integer(source, "w"), .h = integer(source, "h")};
    uint8_t out[30 * 30 * 3], want[30 * 30 * 3];
    hpt__work wk = {0};
    size_t i, seen = 0;
    im.rgb = malloc((size_t)(im.w * im.h * 3));
    hex(json_string_value(json_object_get(source, "image")), im.rgb);
    json_array_foreach(json_object_get(f, "cases"), i, c) {
        const char *kind = json_string_value(json_object_get(c, "kind"));
        int w = integer(c, "w"), h = integer(c, "h"), a[6] = {0};
        size_t n = hex(json_string_value(json_object_get(c, "rgb")), want), k;
        json_t *x;
        json_array_foreach(json_object_get(c, "args"), k, x) a[k] = (int)json_integer_value(x);
        hpt__augment g = {.size = SIZE,
                          .crop = 1,
                          .filter = HPT__BICUBIC,
                          .brightness = 0.4,
                          .contrast = 0.4,
                          .saturation = 0.4,
                          .hue = 0};
        hpt__draws d = {.w = im.w, .h = im.h};
        if (!strcmp(kind, "bicubic"))
            OK(hpt__resize(&wk, im.rgb, im.w, im.h, a[0], a[1], a[2], a[3], HPT__BICUBIC, out, w, h));
        else if (!strcmp(kind, "plain")) {
            g.crop = 0;
            OK(hpt__augment_apply(&wk, &im, &g, &d, out));
        } else if (!strcmp(kind, "solarize")) {
            d.solarize = 1;
            OK(hpt__augment_apply(&wk, &im, &g, &d, out));
        } else if (!strcmp(kind, "levels")) {
            for (int v = 0; v < 256; v++) {
                out[3 * v] = (uint8_t)v;
                out[3 * v + 1] = (uint8_t)(255 - v);
                out[3 * v + 2] = (uint8_t)(v * 7 % 256);
            }
            hpt__solarize(out, 256);
        } else if (!strcmp(kind, "view")) { /* there the flip comes first, here last */
            d = (hpt__draws){.x = 4,
                             .y = 3,
                             .w = 31,
                             .h = 29,
                             .jitter = 1,
                             .order = {0, 1, 2, 3},
                             .brightness = 1.3,
                             .contrast = 0.75,
                             .saturation = 1.15,
                             .gray = a[0],
                             .solarize = a[1],
                             .flip = 1};
            OK(hpt__augment_apply(&wk, &im, &g, &d, out));
        } else if (!strcmp(kind, "square")) {
            g = (hpt__augment){.size = a[0], .crop = HPT__CROP_SQUARE};
            d = (hpt__draws){.x = a[1], .y = a[2], .w = a[0], .h = a[0], .flip = a[3]};
            OK(hpt__augment_apply(&wk, &im, &g, &d, out));
        } else if (!strcmp(kind, "square_eval")) {
            OK(hpt__plain_apply(&wk, &im, hpt__frame(a[0]), 1, a[0], out));
        } else FAIL("unknown case %s", kind);
        for (size_t b = 0; b < n; b++)
            if (out[b] != want[b]) FAIL("%s, case %zu: byte %zu is %d, Pillow has %d", kind, i, b, out[b], want[b]);
        seen++;
    }
    CHECK(seen == 24);
    free(im.rgb);
    hpt__work_fini(&wk);
}

/* A part of a resized picture is that part of the whole, with either filter. */
TEST(views_part_of_a_bicubic_picture) {
    enum { W = 41, H = 33 };
    uint8_t px[W * H * 3], whole[60 * 60 * 3], part[60 * 60 * 3];
    const int sizes[][2] = {{20, 17}, {41, 20}, {60, 33}, {60, 60}, {7, 5}};
    hpt__work wk = {0};
    for (size_t i = 0; i < sizeof px; i++) px[i] = (uint8_t)((i * 2654435761u) >> 11);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int filter = HPT__BILINEAR; filter <= HPT__BICUBIC; filter++) {
            int rw = sizes[s][0], rh = sizes[s][1], x = rw / 3, y = rh / 4, w = rw - x - 1, h = rh - y - 2;
            OK(hpt__resize(&wk, px, W, H, 0, 0, W, H, (hpt__filter)filter, whole, rw, rh));
            OK(hpt__resize_part(&wk, px, W, 0, 0, W, H, rw, rh, (hpt__filter)filter, x, y, w, h, part));
            for (int r = 0; r < h; r++) CHECK(!memcmp(part + r * w * 3, whole + ((y + r) * rw + x) * 3, (size_t)w * 3));
        }
    hpt__work_fini(&wk);
}

/* Flip first (BYOL) or last (MoCo): every operation after the crop treats left and right alike, blur's running sums
 * too. */
TEST(views_flip_first_or_last) {
    enum { W = 50, H = 40 };
    uint8_t *px = malloc(W * H * 3), last[RGB], first[RGB];
    hpt__image im = {.rgb = px, .w = W, .h = H};
    hpt__augment a = {.size = SIZE,
                      .crop = 1,
                      .crop_min = 0.08,
                      .crop_max = 1,
                      .jitter = 1,
                      .brightness = 0.4,
                      .contrast = 0.4,
                      .saturation = 0.2,
                      .hue = 0.1,
                      .gray = 0.3,
                      .blur = 0.8,
                      .blur_min = 0.1,
                      .blur_max = 2,
                      .flip = 1,
                      .solarize = 0.5,
                      .filter = HPT__BICUBIC};
    hpt__work wk = {0};
    for (int i = 0; i < W * H * 3; i++) px[i] = (uint8_t)(128 + 90 * sin(i * 0.013) + 30 * sin(i * 1.7));
    for (uint32_t k = 0; k < 40; k++) {
        hpt__rng r;
        hpt__draws d;
        hpt__image cut = {.rgb = first, .w = SIZE, .h = SIZE};
        hpt__rng_init(&r, 4, HPT__RNG_AUGMENT, 0, k);
        hpt__augment_draw(&r, &a, W, H, &d);
        OK(hpt__augment_apply(&wk, &im, &a, &d, last));
        OK(hpt__resize(&wk, px, W, H, d.x, d.y, d.w, d.h, a.filter, first, SIZE, SIZE));
        hpt__flip(first, SIZE, SIZE);
        d.x = d.y = d.flip = 0;
        d.w = d.h = SIZE;
        uint8_t done[RGB];
        OK(hpt__augment_apply(&wk, &cut, &a, &d, done));
        CHECK(!memcmp(done, last, RGB));
    }
    free(px);
    hpt__work_fini(&wk);
}

static void count(const char *pairs, int view, int *blur, int *solarize) {
    hpt_config *c = config(pairs);
    const hpt__options *o;
    hpt__augment a;
    OK(hpt__config_options(c, &o));
    OK(hpt__augment_check(o));
    hpt__augment_from_options(o, view, &a);
    *blur = *solarize = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        hpt__rng r;
        hpt__draws d;
        hpt__rng_init(&r, 1, HPT__RNG_AUGMENT, 0, 2 * i + (uint32_t)view);
        hpt__augment_draw(&r, &a, 100, 80, &d);
        *blur += d.blur;
        *solarize += d.solarize;
    }
    hpt_config_destroy(c);
}
TEST(views_have_probabilities_of_their_own) {
    const struct {
        const char *pairs;
        double blur[2], solarize[2];
    } cases[] = {{"", {0.5, 0.5}, {0, 0}},
                 {"aug_blur=1 aug_blur_2=0.1 aug_solarize_2=0.2", {1, 0.1}, {0, 0.2}}, /* BYOL's */
                 {"aug_blur=0.3 aug_solarize=0.6", {0.3, 0.3}, {0.6, 0.6}},
                 {"aug_blur_2=0 aug_solarize=1 aug_solarize_2=0", {0.5, 0}, {1, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int v = 0; v < 2; v++) {
            int blur, solarize;
            double want[2] = {cases[i].blur[v], cases[i].solarize[v]};
            count(cases[i].pairs, v, &blur, &solarize);
            if (fabs(blur / 1e4 - want[0]) > (want[0] > 0 && want[0] < 1 ? 0.02 : 0) ||
                fabs(solarize / 1e4 - want[1]) > (want[1] > 0 && want[1] < 1 ? 0.02 : 0))
                FAIL("'%s' view %d: %d blurred and %d solarized of 10000", cases[i].pairs, v, blur, solarize);
        }
}

/* 6 pictures of 40 x 30 with detail at every scale */
static hpt_dataset *pictures(hpt_context *ctx) {
    static uint8_t px[6 * 40 * 30 * 3];
    hpt_dataset *ds;
    for (uint32_t i = 0; i < sizeof px; i++) px[i] = (uint8_t)(i * 2654435761u >> (20 + i % 5));
    OK(hpt_dataset_from_memory(ctx, NULL, px, 6, 40, 30, 3, NULL, &ds));
    return ds;
}

/* The draws are a contract: views of a run that uses no new option are what they were before there were any (the hash
 * is of then). */
TEST(views_of_old_runs_stay) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = pictures(ctx);
    uint8_t rgb[RGB];
    uint64_t h = 14695981039346656037u;
    for (uint64_t i = 0; i < 6; i++)
        for (uint32_t v = 0; v < 2; v++)
            for (uint64_t e = 0; e < 4; e++) {
                OK(hpt_dataset_view(ds, NULL, i, v, e, SIZE, rgb));
                for (size_t j = 0; j < RGB; j++) h = (h ^ rgb[j]) * 1099511628211u;
            }
    if (h != 0x2c065daa2d81e72au) FAIL("other views: %016llx", (unsigned long long)h);
}

/* What a session's loader brings is what hpt_dataset_view() shows, of each view, by any number of threads. */
TEST(views_by_loader_and_preview) {
    enum { BATCH = 6, STEPS = 5 };
    const char *pairs =
        "aug_blur=1 aug_blur_2=0.3 aug_solarize=0.2 aug_solarize_2=0.7 aug_resample=bicubic aug_crop_min=0.08 seed=5";
    hpt_context *ctx = context("reference", 2);
    hpt_dataset *ds = pictures(ctx);
    hpt_config *c = config(pairs);
    const hpt__options *o;
    float table[3][256], mean[3] = {0.4f, 0.5f, 0.6f}, std[3] = {0.2f, 0.25f, 0.3f}, x[RGB];
    OK(hpt__config_options(c, &o));
    hpt__normalize_table(mean, std, table);
    for (int workers = 1; workers <= 3; workers += 2) {
        hpt__loader_spec s = {
            .ds = ds, .batch = BATCH, .size = SIZE, .workers = workers, .views = 2, .seed = 5, .steps = STEPS};
        hpt__loader *l;
        hpt__batch b;
        memcpy(s.mean, mean, sizeof mean);
        memcpy(s.std, std, sizeof std);
        for (int v = 0; v < 2; v++) {
            hpt__augment_from_options(o, v, &s.augment[v]);
            s.augment[v].size = SIZE;
        }
        OK(hpt__loader_create(&s, &l));
        for (int step = 0; step < STEPS; step++) {
            OK(hpt__loader_next(l, &b, NULL));
            for (int i = 0; i < BATCH; i++)
                for (uint32_t v = 0; v < 2; v++) {
                    uint8_t rgb[RGB];
                    OK(hpt_dataset_view(ds, c, b.index[i], v, b.epoch, SIZE, rgb));
                    hpt__normalize(rgb, RGB / 3, table, x);
                    if (memcmp(x, b.view[v] + (size_t)i * RGB, sizeof x))
                        FAIL("%d workers, step %d: view %u of item %d", workers, step, v, i);
                }
        }
        hpt__loader_destroy(l);
    }
}

TEST(views_options_that_make_no_sense) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = pictures(ctx);
    uint8_t rgb[RGB];
    const char *const bad[][2] = {{"aug_blur_2=-0.5", "option 'aug_blur_2': -0.5 is neither a probability nor -1"},
                                  {"aug_solarize_2=-0.01", "option 'aug_solarize_2': -0.01 is neither"},
                                  {"aug_crop_min=0.9 aug_crop_max=0.5", "aug_crop_min"},
                                  {"aug_blur_min=3", "aug_blur_min"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[300];
        snprintf(text, sizeof text,
                 "arch=resnet10 width=16 stem=small image_size=16 batch_size=6 bn_group=0 moco_k=12 steps=2 %s",
                 bad[i][0]);
        hpt_config *c = config(text);
        hpt_model *m;
        hpt_session *s;
        FAILS(HPT_ERR_OPTION, bad[i][1], hpt_dataset_view(ds, c, 0, 1, 0, SIZE, rgb));
        OK(hpt_model_create(ctx, c, &m));
        FAILS(HPT_ERR_OPTION, bad[i][1], hpt_session_create(ctx, c, m, ds, &s));
        hpt_model_destroy(m);
        hpt_config_destroy(c);
    }
    hpt_config *c = config("");
    FAILS(HPT_ERR_OPTION, "aug_resample", hpt_config_set(c, "aug_resample", "nearest"));
    FAILS(HPT_ERR_OPTION, "aug_solarize", hpt_config_set(c, "aug_solarize", "1.5"));
}

/* Positions of a crop in a square frame: all of them, evenly, whatever the picture's size. */
TEST(views_square_frame_is_used_evenly) {
    hpt__augment a = {.size = 24, .crop = HPT__CROP_SQUARE, .flip = 0.5};
    int seen[4][4] = {{0}}, flips = 0;
    hpt__rng r;
    for (uint64_t i = 0; i < 1600; i++) {
        hpt__draws d;
        hpt__rng_init(&r, 3, HPT__RNG_AUGMENT, i, 0);
        hpt__augment_draw(&r, &a, 5 + (int)i, 700, &d);
        CHECK(d.w == 24 && d.h == 24 && d.x >= 0 && d.x < 4 && d.y >= 0 && d.y < 4 && !d.jitter && !d.gray && !d.blur);
        seen[d.y][d.x]++;
        flips += d.flip;
    }
    for (int i = 0; i < 16; i++) CHECK(seen[i / 4][i % 4] > 60 && seen[i / 4][i % 4] < 140);
    CHECK(flips > 700 && flips < 900);
    /* the published frame */
    CHECK(hpt__frame(224) == 256);
}

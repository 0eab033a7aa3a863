/* SPDX-License-Identifier: MIT
 * Average precision of boxes and masks: whole arrays against pycocotools, Pascal VOC against Detectron2's formulas,
 * masks against pycocotools' (fixtures/make_boxes.py); the same numbers for any number of threads, and from arrays;
 * what must be refused, with its text. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "eval/truth.h"
#include "shell.h"
#include "support.h"
#include <sys/stat.h>
#include <unistd.h>

static char *path_in(const char *name) {
    static char path[64][300], *folder;
    static int turn;
    if (!folder) folder = temp_dir();
    char *p = path[turn++ % 64];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}
static const char *put_text(const char *name, const char *text) {
    const char *path = path_in(name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
    return path;
}
static const char *put(const char *name, json_t *j) {
    char *text = json_dumps(j, JSON_REAL_PRECISION(17));
    const char *path = put_text(name, text);
    free(text);
    return path;
}
static uint64_t fnv(const double *x, uint64_t n) {
    uint64_t h = 0xcbf29ce484222325;
    const uint8_t *p = (const uint8_t *)x;
    for (uint64_t i = 0; i < 8 * n; i++) h = (h ^ p[i]) * 0x100000001b3;
    return h;
}
static void same_array(const char *name, const double *x, uint64_t n, json_t *want) {
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)fnv(x, n));
    if (strcmp(text, json_string_value(want))) FAIL("%s: other bits than pycocotools'", name);
}
static void compute(json_t *c, hpt__ap_settings s, int id0, hpt__ap *ap) {
    hpt__marks truth, found;
    OK(hpt__truth_read(put("truth.json", json_object_get(c, "truth")), s.masks, &truth));
    OK(hpt__found_read(put("found.json", json_object_get(c, "results")), &truth, s.masks, &found));
    hpt__marked both = {&truth, &found, id0};
    hpt__scenes scenes = hpt__marked_scenes(&both);
    s.classes = (uint32_t)truth.class_count;
    OK(hpt__ap_compute(&s, &scenes, NULL, ap));
    hpt__marks_free(&truth);
    hpt__marks_free(&found);
}

TEST(coco_arrays_are_those_of_pycocotools) {
    json_t *cases = json_object_get(fixture("boxes"), "cases"), *c;
    size_t i;
    json_array_foreach(cases, i, c)
        for (int id0 = 0; id0 < 2; id0++)
            for (int threads = 1; threads < 6; threads += 2) {
                json_t *want = json_object_get(c, id0 ? "as_pycocotools" : "coco");
                if (!want) want = json_object_get(c, "coco");
                hpt__ap ap;
                compute(c, (hpt__ap_settings){.masks = integer(c, "masks"), .whole = 1, .threads = threads}, id0, &ap);
                uint64_t k = ap.s.classes, curves = 10 * 101 * k * 12;
                same_array("precision", ap.precision, curves, json_object_get(want, "precision"));
                same_array("scores", ap.scores, curves, json_object_get(want, "scores"));
                same_array("recall", ap.recall, 10 * k * 12, json_object_get(want, "recall"));
                for (size_t n = 0; n < 12; n++) {
                    double v = json_number_value(json_array_get(json_object_get(want, "stats"), n));
                    if (v == -1 ? ap.stats[n] == ap.stats[n] : ap.stats[n] != v)
                        FAIL("case %zu, number %zu: %.17g, not %.17g", i, n, ap.stats[n], v);
                }
                hpt__ap part;       /* without the arrays of 1 and 10 detections */
                compute(c, (hpt__ap_settings){.masks = integer(c, "masks"), .threads = threads}, id0, &part);
                CHECK(!memcmp(part.stats, ap.stats, sizeof ap.stats));
                CHECK(!memcmp(part.confusion, ap.confusion, (k + 1) * (k + 1) * 8));
                hpt__ap_free(&part);
                hpt__ap_free(&ap);
            }
}

TEST(voc_scores_are_those_of_detectron2) {
    json_t *cases = json_object_get(fixture("boxes"), "cases"), *c;
    static const char *const names[2] = {"voc07", "voc12"};
    size_t i;
    int seen = 0;
    json_array_foreach(cases, i, c)
        for (int v = 0; v < 2; v++) {
            json_t *want = json_object_get(c, names[v]);
            hpt__ap ap;
            if (!want) continue;
            compute(c, (hpt__ap_settings){.metric = v ? HPT__AP_VOC12 : HPT__AP_VOC07, .threads = 2, .rounded = 1}, 0,
                    &ap);
            for (size_t t = 0; t < 10; t++)
                for (size_t k = 0; k < ap.s.classes; k++) {
                    json_t *one = json_array_get(json_array_get(json_object_get(want, "ap"), t), k);
                    double got = ap.class_ap[t * ap.s.classes + k];
                    if (json_is_null(one) ? got == got : got != json_number_value(one))
                        FAIL("%s, case %zu, threshold %zu, class %zu: %.17g, not %.17g", names[v], i, t, k, got,
                             json_number_value(one));
                    seen++;
                }
            for (size_t n = 0; n < 3; n++)
                CHECK(ap.stats[n] == json_number_value(json_array_get(json_object_get(want, "stats"), n)));
            CHECK(isnan(ap.stats[3]) && isnan(ap.stats[11]));
            hpt__ap_free(&ap);
        }
    CHECK(seen > 200);
}

TEST(sums_are_those_of_numpy) {
    json_t *sums = json_object_get(fixture("boxes"), "sums"), *one;
    size_t i;
    json_array_foreach(sums, i, one) {
        uint64_t n = (uint64_t)json_integer_value(json_array_get(one, 0));
        double *x = malloc(n * sizeof *x);
        for (uint64_t k = 0; k < n; k++) x[k] = 1 / (1 + (double)(k * 2654435761 % 1000003));
        CHECK(hpt__pairwise_sum(x, n) == json_number_value(json_array_get(one, 1)));
        free(x);
    }
}

/* ---- masks ---- */

static hpt__rle parsed(json_t *o, const char *key, uint32_t *counts) {
    const char *text = json_string_value(json_object_get(o, key));
    int64_t n = hpt__rle_parse(text, strlen(text), counts);
    uint32_t h = (uint32_t)integer(o, "h"), w = (uint32_t)integer(o, "w");
    CHECK(n > 0 && hpt__rle_canonical(counts, (uint64_t)n, h, w) == n);
    return (hpt__rle){h, w, (uint64_t)n, counts};
}
static int says(const hpt__rle *r, json_t *o, const char *key) {
    char text[40000];
    CHECK(7 * r->n < sizeof text);
    hpt__rle_print(r, text);
    return !strcmp(text, json_string_value(json_object_get(o, key)));
}
TEST(runs_are_those_of_pycocotools) {
    json_t *blobs = json_object_get(json_object_get(fixture("boxes"), "masks"), "blobs"), *o;
    static uint32_t a[4000], b[4000], out[8000];
    static uint8_t pixels[2000];
    size_t i;
    json_array_foreach(blobs, i, o) {
        hpt__rle x = parsed(o, "a", a), y = parsed(o, "b", b), z = {x.h, x.w, 0, out};
        double box[4], other[4];
        json_t *runs = json_object_get(o, "runs");
        CHECK(json_array_size(runs) == x.n);
        for (size_t k = 0; k < x.n; k++) CHECK(json_integer_value(json_array_get(runs, k)) == a[k]);
        CHECK(says(&x, o, "a"));
        hpt__rle_decode(&x, pixels);
        z.n = hpt__rle_encode(pixels, x.h, x.w, out);
        CHECK(says(&z, o, "a"));
        CHECK(hpt__rle_area(&x) == (uint64_t)integer(o, "area"));
        hpt__rle_box(&x, box);
        hpt__rle_box(&y, other);
        for (size_t k = 0; k < 4; k++)
            CHECK(box[k] == json_number_value(json_array_get(json_object_get(o, "box"), k)));
        z.n = hpt__rle_merge(&x, &y, 0, out);
        CHECK(says(&z, o, "or"));
        z.n = hpt__rle_merge(&x, &y, 1, out);
        CHECK(says(&z, o, "and"));
        CHECK(hpt__rle_iou(&x, box, &y, other, 0) == num(o, "iou"));
        CHECK(hpt__rle_iou(&x, box, &y, other, 1) == num(o, "crowd"));
    }
    CHECK(i > 20);
}
TEST(polygons_are_rastered_as_by_pycocotools) {
    json_t *list = json_object_get(json_object_get(fixture("boxes"), "masks"), "polygons"), *o;
    size_t i;
    json_array_foreach(list, i, o) {
        json_t *xy = json_object_get(o, "xy");
        size_t n = json_array_size(xy);
        double p[64];
        hpt__rle r;
        for (size_t k = 0; k < n; k++) p[k] = json_number_value(json_array_get(xy, k));
        OK(hpt__rle_polygon(p, n / 2, (uint32_t)integer(o, "h"), (uint32_t)integer(o, "w"), &r));
        if (!says(&r, o, "counts")) FAIL("polygon %zu has other pixels", i);
        hpt__free(r.counts);
    }
    CHECK(i == 120);
}
TEST(strings_that_are_no_runs_are_refused) {
    uint32_t c[64];
    static const char *const bad[] = {"\x2f", "p", "1P", "PPPPPPPPPPPP1", "O", "oooooooo0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(hpt__rle_parse(bad[i], strlen(bad[i]), c) == -1);
    uint32_t empty_runs[] = {0, 3, 0, 2, 1, 0, 3}, short_of[] = {1, 2};
    CHECK(hpt__rle_canonical(empty_runs, 7, 3, 3) == 3 && empty_runs[1] == 5 && empty_runs[2] == 4);
    CHECK(hpt__rle_canonical(short_of, 2, 2, 2) == -1);
    CHECK(hpt__rle_canonical(short_of, 0, 2, 2) == -1);
}

/* ---- from arrays ---- */

TEST(boxes_in_arrays_score_as_in_files) {
    json_t *cases = json_object_get(fixture("boxes"), "cases"), *c, *d;
    hpt_context *ctx = context("reference", 2);
    size_t i, k;
    json_array_foreach(cases, i, c) {
        json_t *truth = json_object_get(json_object_get(c, "truth"), "annotations");
        json_t *names = json_object_get(json_object_get(c, "truth"), "categories");
        json_t *sets[2] = {truth, json_object_get(c, "results")};
        hpt_boxes b[2];
        double x[2][4000], score[2][1000], area[1000], ap;
        int64_t image[2][1000];
        int32_t label[2][1000];
        uint8_t crowd[1000];
        hpt_result *r;
        if (integer(c, "masks")) continue;
        for (int s = 0; s < 2; s++) {
            CHECK(json_array_size(sets[s]) <= 1000);
            json_array_foreach(sets[s], k, d) {
                for (size_t v = 0; v < 4; v++)
                    x[s][4 * k + v] = json_number_value(json_array_get(json_object_get(d, "bbox"), v));
                image[s][k] = integer(d, "image_id");
                label[s][k] = -1;
                for (size_t n = 0; n < json_array_size(names); n++)
                    if (integer(json_array_get(names, n), "id") == integer(d, "category_id")) label[s][k] = (int32_t)n;
                score[s][k] = s ? num(d, "score") : 0;
                if (!s) area[k] = num(d, "area"), crowd[k] = (uint8_t)integer(d, "iscrowd");
            }
            b[s] = (hpt_boxes){.struct_size = sizeof *b, .count = k, .box = x[s], .image = image[s],
                               .label = label[s]};
        }
        b[0].area = area;
        b[0].crowd = crowd;
        b[1].score = score[1];
        OK(hpt_average_precision(ctx, NULL, (uint32_t)json_array_size(names), &b[0], &b[1], &r));
        static const char *const numbers[] = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs",
                                              "ARm", "ARl"};
        for (size_t n = 0; n < 12; n++) {
            double want = json_number_value(json_array_get(json_object_get(json_object_get(c, "coco"), "stats"), n));
            if (want == -1) FAILS(HPT_ERR_ARGUMENT, numbers[n], hpt_result_number(r, numbers[n], &ap));
            else {
                OK(hpt_result_number(r, numbers[n], &ap));
                CHECK(ap == want);
            }
        }
        hpt_result_destroy(r);
        /* of a newer header: what this one does not know must be 0 */
        struct { hpt_boxes b; const void *later; } newer = {b[0], NULL};
        newer.b.struct_size = sizeof newer;
        OK(hpt_average_precision(ctx, NULL, (uint32_t)json_array_size(names), &newer.b, &b[1], &r));
        hpt_result_destroy(r);
        newer.later = area;
        FAILS(HPT_ERR_VERSION, "truth",
              hpt_average_precision(ctx, NULL, (uint32_t)json_array_size(names), &newer.b, &b[1], &r));
    }
}
TEST(masks_in_arrays) {
    hpt_context *ctx = context("reference", 1);
    uint8_t pixels[100] = {0};
    uint32_t counts[101];
    char text[2][800];
    for (int i = 0; i < 2; i++) {       /* 4 x 4 pixels, and the same 4 x 2 of them */
        memset(pixels, 0, sizeof pixels);
        for (int x = 3; x < 7 - 2 * i; x++) memset(pixels + 10 * x + 2, 1, 4);
        hpt__rle r = {10, 10, 0, counts};
        r.n = hpt__rle_encode(pixels, 10, 10, counts);
        hpt__rle_print(&r, text[i]);
    }
    const char *truth_mask[] = {text[0]}, *found_mask[] = {text[0], text[1]};
    int64_t image[] = {-5, -5};
    int32_t label[] = {0, 0}, size[] = {10, 10, 10, 10}, other[] = {10, 10, 5, 20};
    double score[] = {.4, .9}, ap;
    hpt_boxes t = {.struct_size = sizeof t, .count = 1, .image = image, .label = label, .mask = truth_mask,
                   .mask_size = size};
    hpt_boxes f = {.struct_size = sizeof f, .count = 2, .image = image, .label = label, .score = score,
                   .mask = found_mask, .mask_size = size};
    hpt_config *cfg = config("score_masks=1");
    hpt_result *r;
    OK(hpt_average_precision(ctx, cfg, 1, &t, &f, &r));
    OK(hpt_result_number(r, "AP50", &ap));      /* the surer one has IoU .5 and is right there only */
    CHECK(fabs(ap - 1) < 1e-12);
    OK(hpt_result_number(r, "AP75", &ap));
    CHECK(fabs(ap - .5) < 1e-12);
    hpt_result_destroy(r);
    f.mask_size = other;
    FAILS(HPT_ERR_DATA, "entry 1", hpt_average_precision(ctx, cfg, 1, &t, &f, &r));
    f.mask_size = size;
    found_mask[1] = "1";
    FAILS(HPT_ERR_DATA, "found: entry 1: the runs", hpt_average_precision(ctx, cfg, 1, &t, &f, &r));
    set(cfg, "score_metric=voc07");
    FAILS(HPT_ERR_ARGUMENT, "score_metric=voc07 is of boxes", hpt_average_precision(ctx, cfg, 1, &t, &f, &r));
}
TEST(wrong_arrays_are_refused) {
    hpt_context *ctx = context("reference", 1);
    double x[8] = {0, 0, 10, 10, 5, 5, 0, 3}, score[2] = {.5, .5};
    int64_t image[2] = {1, 2};
    int32_t label[2] = {0, 1};
    hpt_boxes t = {.struct_size = sizeof t, .count = 1, .box = x, .image = image, .label = label};
    hpt_boxes f = {.struct_size = sizeof f, .count = 2, .box = x, .image = image, .label = label, .score = score}, g;
    hpt_result *r;
    double v;
    OK(hpt_average_precision(ctx, NULL, 2, &t, &f, &r));        /* a found box without size is wrong, no error */
    OK(hpt_result_number(r, "empty_detections", &v));
    CHECK(v == 1);
    hpt_result_destroy(r);
#define BAD(status, text, set, what, value) do { g = f; set; g.what = value; \
    FAILS(status, text, hpt_average_precision(ctx, NULL, 2, &t, &g, &r)); CHECK(!r); } while (0)
    BAD(HPT_ERR_ARGUMENT, "found: score is NULL", (void)0, score, NULL);
    BAD(HPT_ERR_ARGUMENT, "found: box is NULL", (void)0, box, NULL);
    BAD(HPT_ERR_ARGUMENT, "found: entry 1: class 2 of 2", (void)0, label, ((int32_t[]){0, 2}));
    BAD(HPT_ERR_DATA, "found: entry 1: a score that is not finite", (void)0, score, ((double[]){1, NAN}));
    BAD(HPT_ERR_DATA, "found: entry 0: a box that is not finite", (void)0, box,
        ((double[]){0, INFINITY, 1, 1, 0, 0, 1, 1}));
    BAD(HPT_ERR_DATA, "found: entry 1 (image 2): a box of width -1", (void)0, box,
        ((double[]){0, 0, 1, 1, 0, 0, -1, 1}));
    FAILS(HPT_ERR_DATA, "truth: entry 1 (image 2): a box of width 0 and height 3",
          hpt_average_precision(ctx, NULL, 2, (t.count = 2, &t), &f, &r));
    FAILS(HPT_ERR_ARGUMENT, "0 classes", hpt_average_precision(ctx, NULL, 0, &t, &f, &r));
    t = (hpt_boxes){.struct_size = sizeof t};
    f.count = 0;
    OK(hpt_average_precision(ctx, NULL, 2, &t, &f, &r));        /* nothing at all: no number */
    FAILS(HPT_ERR_ARGUMENT, "AP", hpt_result_number(r, "AP", &v));
    hpt_result_destroy(r);
}

TEST(confusion_counts_every_object_and_detection_once) {
    hpt_context *ctx = context("reference", 1);
    /* an object of class 0 found as 1; one of class 1 found; one of 0 missed; a detection on nothing; one too unsure;
     * one in a crowd */
    double tx[] = {0, 0, 10, 10, 50, 0, 10, 10, 0, 50, 10, 10, 100, 100, 50, 50};
    double fx[] = {0, 0, 10, 10, 51, 0, 10, 10, 200, 200, 10, 10, 0, 50, 10, 10, 110, 110, 10, 10};
    int64_t image[5] = {3, 3, 3, 3, 3};
    int32_t tl[] = {0, 1, 0, 1}, fl[] = {1, 1, 0, 0, 1};
    uint8_t crowd[] = {0, 0, 0, 1};
    double score[] = {.9, .8, .7, .2, .6};
    hpt_boxes t = {.struct_size = sizeof t, .count = 4, .box = tx, .image = image, .label = tl, .crowd = crowd};
    hpt_boxes f = {.struct_size = sizeof f, .count = 5, .box = fx, .image = image, .label = fl, .score = score};
    static const float want[9] = {0, 1, 1, 0, 1, 0, 1, 0, 0};
    float got[9];
    uint64_t n;
    hpt_result *r;
    OK(hpt_average_precision(ctx, NULL, 2, &t, &f, &r));
    OK(hpt_result_array(r, "confusion", got, 9, &n));
    for (int i = 0; i < 9; i++)
        if (got[i] != want[i]) FAIL("cell %d is %g", i, (double)got[i]);
    hpt_result_destroy(r);
}

/* ---- files that are wrong ---- */

#define TRUTH(images, annotations, categories) \
    "{\"images\":[" images "],\"annotations\":[" annotations "],\"categories\":[" categories "]}"
#define IMAGE "{\"id\":1,\"width\":100,\"height\":80}"
#define CLASS "{\"id\":4,\"name\":\"cat\"}"
#define MARK(box) "{\"id\":7,\"image_id\":1,\"category_id\":4,\"area\":4,\"bbox\":" box "}"
#define SHAPE(s) "{\"id\":7,\"image_id\":1,\"category_id\":4,\"area\":4,\"segmentation\":" s "}"
#define FOUND(rest) "[{\"image_id\":1,\"category_id\":4," rest "}]"
TEST(wrong_files_are_refused_by_name) {
    static const struct { hpt_status status; int masks; const char *truth, *found, *text; } bad[] = {
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, MARK("[1,2,0,4]"), CLASS), "[]",
         "truth.json: annotation 1 (id 7, image 1): a box of width 0 and height 4"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, MARK("[101,2,3,4]"), CLASS), "[]", "lies outside the image of 100 x 80"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, MARK("[1,2,3]"), CLASS), "[]",
         "truth.json: annotation 1: bbox is not four numbers"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, MARK("[1,2,3,4,5]"), CLASS), "[]", "bbox is not four numbers"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, SHAPE("[]"), CLASS), "[]", "annotation 1: no bbox"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, MARK("[1,2,3,4]") "," MARK("[1,2,3,4]"), CLASS), "[]",
         "annotations 1 and 2 have both id 7"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE "," IMAGE, "", CLASS), "[]", "two images have id 1"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, "", CLASS "," CLASS), "[]", "two categories have id 4"},
        {HPT_ERR_DATA, 0, TRUTH("", "", CLASS), "[]", "no images"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, "{\"id\":1,\"image_id\":2,\"category_id\":4,\"bbox\":[1,1,1,1]}", CLASS), "[]",
         "annotation 1 names image 2, which is not in the file"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, "{\"id\":1,\"image_id\":1,\"category_id\":5,\"bbox\":[1,1,1,1]}", CLASS), "[]",
         "annotation 1 names category 5, which is not in the file"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "{\"id\":1.5}", CLASS), "[]", "annotation 1: id is not a whole number"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "{\"id\":\"a\"}", CLASS), "[]", "annotation 1: id is not a number"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "{\"iscrowd\":2}", CLASS), "[]", "iscrowd is neither 0 nor 1"},
        {HPT_ERR_FORMAT, 0, TRUTH("{\"id\":1,\"width\":0}", "", CLASS), "[]", "image 1: width is not a whole number"},
        {HPT_ERR_FORMAT, 0, "{\"images\":[]}", "[]", "no list \"annotations\""},
        {HPT_ERR_DATA, 0, "[]", "[]", "truth.json: no images"},
        {HPT_ERR_FORMAT, 0, "[{\"image_id\":1}]", "[]", "frame 1: a frame without a name (these are results"},
        {HPT_ERR_FORMAT, 0, "{\"images\":[{]", "[]", "truth.json: image 1: not JSON (byte"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "", CLASS), "{}", "found.json: an object, not results"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "", CLASS), FOUND("\"bbox\":[1,1,1,1]"), "found.json: result 1: no score"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "", CLASS), FOUND("\"bbox\":[1,1,1,1],\"score\":NaN"),
         "found.json: result 1: NaN is not JSON, and no number"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "", CLASS), FOUND("\"score\":-Infinity"), "Infinity is not JSON"},
        {HPT_ERR_FORMAT, 0, TRUTH(IMAGE, "", CLASS), FOUND("\"score\":1"), "result 1: no bbox"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, "", CLASS), FOUND("\"bbox\":[1,1,-1,1],\"score\":1"),
         "found.json: result 1 (image 1): a box of width -1 and height 1"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, "", CLASS),
         "[{\"image_id\":9,\"category_id\":4,\"score\":1,\"bbox\":[1,1,1,1]}]",
         "result 1 names image 9, which is not in"},
        {HPT_ERR_DATA, 0, TRUTH(IMAGE, "", CLASS),
         "[{\"image_id\":1,\"category_id\":3,\"score\":1,\"bbox\":[1,1,1,1]}]",
         "result 1 names category 3, which is not in"},
        {HPT_ERR_FORMAT, 1, TRUTH(IMAGE, MARK("[1,1,1,1]"), CLASS), "[]", "annotation 1: no segmentation"},
        {HPT_ERR_DATA, 1, TRUTH(IMAGE, SHAPE("[]"), CLASS), "[]", "a segmentation without a polygon"},
        {HPT_ERR_DATA, 1, TRUTH(IMAGE, SHAPE("[[1,2,3,4,5,6],[1,2,3,4]]"), CLASS), "[]",
         "annotation 1 (id 7, image 1): polygon 2 has 4 numbers; it needs x and y of 3 points or more"},
        {HPT_ERR_DATA, 1, TRUTH(IMAGE, SHAPE("[[1,2,3,4,5,6,7]]"), CLASS), "[]", "polygon 1 has 7 numbers"},
        {HPT_ERR_DATA, 1, TRUTH(IMAGE, SHAPE("[[1,2,3,4,5,1e12]]"), CLASS), "[]", "a coordinate beyond"},
        {HPT_ERR_FORMAT, 1, TRUTH(IMAGE, SHAPE("[1,2,3,4,5,6]"), CLASS), "[]",
         "segmentation is not a list of lists of numbers"},
        {HPT_ERR_FORMAT, 1, TRUTH(IMAGE, SHAPE("{\"size\":[2,2],\"counts\":[1,2]}"), CLASS), "[]",
         "annotation 1: runs of 3 pixels in a mask of 2 x 2"},
        {HPT_ERR_FORMAT, 1, TRUTH(IMAGE, SHAPE("{\"size\":[2,2],\"counts\":\"~\"}"), CLASS), "[]",
         "counts is no string of COCO's runs"},
        {HPT_ERR_FORMAT, 1, TRUTH(IMAGE, SHAPE("{\"size\":[2,70000],\"counts\":[]}"), CLASS), "[]", "size of a mask"},
        {HPT_ERR_FORMAT, 1, TRUTH(IMAGE, SHAPE("{\"counts\":[4]}"), CLASS), "[]", "a mask needs size and counts"},
        {HPT_ERR_DATA, 1, TRUTH(IMAGE, SHAPE("{\"size\":[2,2],\"counts\":[1,3]}"), CLASS), "[]",
         "a mask of 2 rows and 2 columns in an image of 80 and 100"},
        {HPT_ERR_DATA, 1, TRUTH("{\"id\":1}", SHAPE("[[1,2,3,4,5,6]]"), CLASS), "[]",
         "masks need width and height of the image"},
        {HPT_ERR_DATA, 1, TRUTH(IMAGE, "", CLASS),
         FOUND("\"score\":1,\"segmentation\":{\"size\":[1,1],\"counts\":[1]}"),
         "found.json: result 1 (image 1): a mask of 1 rows"},
    };
    hpt_context *ctx = context("reference", 1);
    hpt_result *r;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hpt_config *c = config(bad[i].masks ? "score_masks=1" : "score_masks=0");
        const char *truth = put_text("truth.json", bad[i].truth), *found = put_text("found.json", bad[i].found);
        FAILS(bad[i].status, bad[i].text, hpt_score_boxes(ctx, c, truth, found, &r));
        CHECK(!r);
        hpt_config_destroy(c);
    }
    FAILS(HPT_ERR_IO, "/nowhere", hpt_score_boxes(ctx, NULL, "/nowhere", "/nowhere", &r));
}
/* ---- other files of truth ---- */

#define OBJECT(name, extra, box) "<object><name>" name "</name>" extra "<part><name>head</name><bndbox><xmin>1</xmin>" \
    "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part><bndbox>" box "</bndbox></object>"
#define EDGES(x1, y1, x2, y2) "<ymax>" #y2 "</ymax><xmin>" #x1 "</xmin><ymin>" #y1 "</ymin><xmax>" #x2 "</xmax>"
static double score_of(const char *pairs, const char *truth, const char *found, const char *name) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config(pairs);
    hpt_result *r;
    double v = NAN;
    OK(hpt_score_boxes(ctx, c, truth, found, &r));
    if (hpt_result_number(r, name, &v)) v = NAN;
    hpt_result_destroy(r);
    hpt_config_destroy(c);
    hpt_context_destroy(ctx);
    return v;
}
static void refused(hpt_status status, const char *text, const char *truth, const char *found) {
    hpt_context *ctx = context("reference", 1);
    hpt_result *r;
    FAILS(status, text, hpt_score_boxes(ctx, NULL, truth, found, &r));
    hpt_context_destroy(ctx);
}
TEST(truth_in_voc_folders) {
    char *root = path_in("VOC2007"), path[400], list[400];
    CHECK(!sh("mkdir -p %s/Annotations %s/ImageSets/Main", root, root));
    snprintf(list, sizeof list, "VOC2007/ImageSets/Main/test.txt");
    snprintf(path, sizeof path, "VOC2007/Annotations/000007.xml");
    put_text(path, "<annotation><size><width>100</width><height>80</height><depth>3</depth></size>"
             OBJECT("dog", "<difficult>0</difficult>", EDGES(11, 21, 30, 40))
             OBJECT("cat", "<difficult>1</difficult>", EDGES(1, 1, 10, 10))
             OBJECT("cat", "", EDGES(51.5, 1, 60, 10)) "</annotation>");
    put_text("VOC2007/Annotations/000012.xml", "<annotation></annotation>");
    const char *lines = put_text(list, "000012 -1\n000007  1\n");
    /* the dog, the difficult cat (neither right nor wrong), and a dog where there is none; images by name and number */
    const char *found = put_text("found.json",
        "[{\"image_id\":7,\"category_id\":\"dog\",\"score\":0.9,\"bbox\":[10,20,20,20]},"
        "{\"image_id\":\"000007.jpg\",\"category_id\":\"cat\",\"score\":0.8,\"bbox\":[0,0,10,10]},"
        "{\"image_id\":\"000012\",\"category_id\":\"dog\",\"score\":0.3,\"bbox\":[0,0,10,10]}]");
    char folder[400];
    snprintf(folder, sizeof folder, "%s/Annotations", root);
    for (int i = 0; i < 2; i++) {
        const char *truth = i ? folder : lines;
        CHECK(fabs(score_of("score_metric=voc07", truth, found, "AP50") - .5) < 1e-9);       /* dog 1, cat 0 */
        CHECK(score_of("score_metric=voc12", truth, found, "classes") == 2);
        CHECK(score_of("", truth, found, "difficult") == 1);
        CHECK(fabs(score_of("", truth, found, "AP50") - .5) < 1e-9);             /* COCO's AP of them */
    }
    refused(HPT_ERR_FORMAT, "image 'b.jpg' is not in", lines,
            put_text("x.json", "[{\"image_id\":\"b.jpg\",\"category_id\":\"dog\",\"score\":1,\"bbox\":[1,1,1,1]}]"));
    refused(HPT_ERR_FORMAT, "give category_id as a name", lines,
            put_text("x.json", "[{\"image_id\":7,\"category_id\":12,\"score\":1,\"bbox\":[1,1,1,1]}]"));
    refused(HPT_ERR_FORMAT, "category 'zebra' is not in", lines,
            put_text("x.json", "[{\"image_id\":7,\"category_id\":\"zebra\",\"score\":1,\"bbox\":[1,1,1,1]}]"));
    put_text(path, "<annotation>" OBJECT("dog", "", EDGES(11, 21, 10, 40)) "</annotation>");
    refused(HPT_ERR_FORMAT, "000007.xml: object 1: a box from 11, 21 to 10, 40 has no pixel", lines, found);
    put_text(path, "<annotation>" OBJECT("dog", "", "<xmin>1</xmin>") "</annotation>");
    refused(HPT_ERR_FORMAT, "object 1: bndbox lacks", lines, found);
    put_text(path, "<annotation>" OBJECT("dog", "", EDGES(a, 21, 10, 40)) "</annotation>");
    refused(HPT_ERR_FORMAT, "object 1: bndbox holds what is no number", lines, found);
    put_text(path, "<annotation>" OBJECT("dog", "<difficult>2</difficult>", EDGES(1, 1, 5, 5)) "</annotation>");
    refused(HPT_ERR_FORMAT, "difficult is neither 0 nor 1", lines, found);
    put_text(path, "<annotation><object></annotation>");
    refused(HPT_ERR_FORMAT, "closes nothing", lines, found);
    put_text(list, "000012\n000099\n");
    refused(HPT_ERR_IO, "000099.xml", lines, found);
}
#define LABEL(category, x1, x2) "{\"category\":\"" category "\",\"attributes\":{\"occluded\":false},\"id\":3," \
    "\"box2d\":{\"x1\":" #x1 ",\"y1\":0,\"x2\":" #x2 ",\"y2\":10}}"
#define FRAME(name, labels) "{\"name\":\"" name "\",\"attributes\":{\"weather\":\"clear\"},\"labels\":" labels "}"
TEST(truth_of_bdd100k) {
    /* image 2: a truck is number 5 in the first generation and 4 in the second */
    const char *first = put_text("one.json", "[" FRAME("a.jpg", "null") "," FRAME("b.jpg",
        "[" LABEL("truck", 0, 10) "," LABEL("person", 50, 60) ",{\"category\":\"lane\",\"poly2d\":[]}]") "]");
    const char *second = put_text("two.json", "{\"config\":{},\"frames\":[" FRAME("a.jpg", "[]") "," FRAME("b.jpg",
        "[" LABEL("truck", 0, 10) "," LABEL("pedestrian", 50, 60) "," LABEL("other vehicle", 90, 99) "]") "]}");
    const char *found5 = put_text("five.json", "[{\"image_id\":2,\"category_id\":5,\"score\":1,\"bbox\":[0,0,10,10]}]");
    const char *found4 = put_text("four.json",
                                  "[{\"image_id\":\"b\",\"category_id\":4,\"score\":1,\"bbox\":[0,0,10,10]}]");
    CHECK(fabs(score_of("", first, found5, "AP") - .5) < 1e-9);
    CHECK(score_of("", first, found4, "AP") == 0);
    CHECK(fabs(score_of("", second, found4, "AP") - .5) < 1e-9);
    CHECK(score_of("", second, found5, "AP") == 0);
    CHECK(score_of("", second, found4, "crowds") == 1 && score_of("", second, found4, "classes") == 10);
    CHECK(score_of("", first, found4, "classes") == 10 && score_of("", first, found4, "images") == 2);
    refused(HPT_ERR_FORMAT, "both generations", put_text("x.json", "[" FRAME("a.jpg",
        "[" LABEL("person", 0, 10) "," LABEL("pedestrian", 0, 10) "]") "]"), found4);
    refused(HPT_ERR_FORMAT, "frame 1: a box of category 'zebra'",
            put_text("x.json", "[" FRAME("a.jpg", "[" LABEL("zebra", 0, 10) "]") "]"), found4);
    refused(HPT_ERR_DATA, "a box of width 0", put_text("x.json", "[" FRAME("a.jpg", "[" LABEL("car", 5, 5) "]") "]"),
            found4);
}
TEST(truth_in_a_table) {
    const char *found = put_text("found.json",
        "[{\"image_id\":\"a.jpg\",\"category_id\":2,\"score\":0.9,\"bbox\":[10,20,30,40]},"
        "{\"image_id\":2,\"category_id\":1,\"score\":0.9,\"bbox\":[1,2,3,4]}]");
    const char *sizes = put_text("t.csv", "image,class,x,y,width,height,difficult\r\na.jpg,dog,10,20,30,40,0\r\n"
                                 "\"b.jpg\",\"cat\",1,2,3,4,\r\na.jpg,dog,50,60,10,10,1\r\nc.jpg,,,,,,\r\n");
    CHECK(fabs(score_of("", sizes, found, "AP") - 1) < 1e-9);
    CHECK(score_of("", sizes, found, "images") == 3 && score_of("", sizes, found, "difficult") == 1);
    const char *edges = put_text("t.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n"
                                 "a.jpg,99,99,dog,10,20,40,60\nb.jpg,9,9,cat,1,2,4,6\n");
    CHECK(fabs(score_of("", edges, found, "AP") - 1) < 1e-9);
    refused(HPT_ERR_FORMAT, "t.csv, line 1: the columns must be", put_text("t.csv", "image,class,x\n"), found);
    refused(HPT_ERR_FORMAT, "t.csv, line 2: a box that is not four numbers",
            put_text("t.csv", "image,class,x,y,w,h\na.jpg,dog,1,2,three,4\n"), found);
    refused(HPT_ERR_FORMAT, "t.csv, line 2: a box without a class",
            put_text("t.csv", "image,class,x,y,w,h\na.jpg,,1,2,3,4\n"), found);
    refused(HPT_ERR_FORMAT, "t.csv, line 2: no image", put_text("t.csv", "image,class,x,y,w,h\n,dog,1,2,3,4\n"), found);
    refused(HPT_ERR_DATA, "t.csv: line 2 (image 1): a box of width 0",
            put_text("t.csv", "image,class,x,y,w,h\na.jpg,dog,1,2,0,4\n"), found);
    refused(HPT_ERR_DATA, "no objects", put_text("t.csv", "image,class,x,y,w,h\na.jpg,,,,,\n"), found);
}

/* Every allocation may fail: a status, nothing lost, and the next call works. */
TEST_LIMIT(scoring_survives_want_of_memory, 120) {
    json_t *c = json_array_get(json_object_get(fixture("boxes"), "cases"), 3);
    hpt_context *ctx = context("reference", 2);
    hpt_config *cfg = config("score_masks=1");
    const char *truth = put("truth.json", json_object_get(c, "truth"));
    const char *found = put("found.json", json_object_get(c, "results"));
    hpt_result *r;
    int refused = 0;
    for (int64_t n = 1;; n++) {
        hpt__alloc_test_fail(n, 0);
        hpt_status st = hpt_score_boxes(ctx, cfg, truth, found, &r);
        hpt__alloc_test_fail(0, 0);
        hpt_result_destroy(r);
        if (!st) break;
        CHECK(st == HPT_ERR_MEMORY);
        refused++;
    }
    printf("  %d allocations\n", refused);
    CHECK(refused > 100);
}

/* ---- the command ---- */

TEST(hpt_score_boxes_prints_tables_json_and_files) {
    json_t *c = json_array_get(json_object_get(fixture("boxes"), "cases"), 0), *j;
    const char *truth = put("truth.json", json_object_get(c, "truth"));
    const char *found = put("found.json", json_object_get(c, "results")), *csv = path_in("out.csv");
    RUN(HPT_TEST_BIN "/hpt score-boxes --truth %s --results %s --json --curves %s", truth, found, csv);
    CHECK((j = json_loads(output, 0, NULL)));
    CHECK(!strcmp(json_string_value(json_object_get(j, "metric")), "coco"));
    CHECK(!strcmp(json_string_value(json_object_get(j, "task")), "boxes"));
    double ap = json_number_value(json_array_get(json_object_get(json_object_get(c, "coco"), "stats"), 0));
    CHECK(fabs(num(j, "AP") - ap) < 1e-7);
    static const char *const keys[] = {"AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm",
                                       "ARl"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) CHECK(json_object_get(j, keys[i]));
    json_decref(j);
    char *text = read_text(csv);
    CHECK(!strncmp(text, "class,iou,recall,precision,score\n\"class 2\",0.50,0.00,", 53));
    RUN(HPT_TEST_BIN "/hpt score-boxes --truth %s --results %s --metric voc07 --per-class --confusion %s", truth, found,
        csv);
    CHECK(strstr(output, "Pascal VOC 2007 AP (11 points) of boxes: 10 images"));
    CHECK(strstr(output, "class 9") && !strstr(output, "APs"));
    text = read_text(csv);
    CHECK(strstr(text, "\"(none)\""));
    RUN(HPT_TEST_BIN "/hpt score-boxes --truth %s --results %s --metric voc12 --score_rounded 0", truth, found);
    CHECK(strstr(output, "Pascal VOC 2012 AP (area) of boxes"));
    REFUSED(2, "--truth and --results are needed", HPT_TEST_BIN "/hpt score-boxes --truth %s", truth);
    REFUSED(2, "none of coco|voc07|voc12", HPT_TEST_BIN "/hpt score-boxes --truth a --results b --metric voc");
    REFUSED(1, "no segmentation", HPT_TEST_BIN "/hpt score-boxes --truth %s --results %s --masks", truth, found);
}

/* SPDX-License-Identifier: MIT
 * hpt score-boxes: average precision of the boxes or masks of any detector, from files; a table or JSON, curves and
 * the confusion matrix as CSV. */
#include "cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IOUS = 10, RECALLS = 101 };

/* A number of the result as a fraction of 1, three places; "-" for one that does not exist. */
static void fraction(json_t *of, const char *key, int width) {
    json_t *v = json_object_get(of, key);
    if (json_is_number(v)) printf(" %*.3f", width, json_number_value(v));
    else printf(" %*s", width, "-");
}
static const char *title(const char *metric) {
    return !strcmp(metric, "coco") ? "COCO AP" : !strcmp(metric, "voc07") ? "Pascal VOC 2007 AP (11 points)"
        : "Pascal VOC 2012 AP (area)";
}
static long long whole(json_t *j, const char *key) { return json_integer_value(json_object_get(j, key)); }
static void table(json_t *j, int each) {
    static const struct { const char *key, *words; } rows[] = {
        {"AP", "AP     IoU .50:.95"}, {"AP50", "AP50   IoU .50"}, {"AP75", "AP75   IoU .75"},
        {"APs", "APs    small"}, {"APm", "APm    medium"}, {"APl", "APl    large"},
        {"AR1", "AR1    1 detection an image"}, {"AR10", "AR10   10 detections"}, {"AR100", "AR100  100 detections"},
        {"ARs", "ARs    small"}, {"ARm", "ARm    medium"}, {"ARl", "ARl    large"}};
    const char *metric = json_string_value(json_object_get(j, "metric"));
    size_t k;
    json_t *c;
    int coco = !strcmp(metric, "coco");
    printf("%s of %s: %lld images, %lld objects", title(metric), json_string_value(json_object_get(j, "task")),
           whole(j, "images"), whole(j, "objects"));
    if (whole(j, "crowds")) printf(" (%lld crowds)", whole(j, "crowds"));
    if (whole(j, "difficult")) printf(" (%lld difficult)", whole(j, "difficult"));
    printf(", %lld classes, %lld detections\n", whole(j, "classes"), whole(j, "detections"));
    for (size_t i = 0; i < (coco ? 12 : 3); i++) {
        printf("  %-28s", rows[i].words);
        fraction(j, rows[i].key, 6);
        printf("\n");
    }
    if (!each) return;
    double at = json_number_value(json_object_get(j, "score_at"));
    printf("\n  %-24s %8s %8s %6s %6s %6s %9s %6s   at score %g\n", "class", "objects", "found", "AP", "AP50", "AP75",
           "precision", "recall", at);
    json_array_foreach(json_object_get(j, "per_class"), k, c) {
        printf("  %-24s %8lld %8lld", json_string_value(json_object_get(c, "name")), whole(c, "objects"),
               whole(c, "detections"));
        for (int i = 0; i < 3; i++) fraction(c, rows[i].key, 6);
        fraction(c, "precision", 9);
        fraction(c, "recall", 6);
        printf("\n");
    }
}
static const char *name_of(json_t *j, size_t k) {
    json_t *c = json_array_get(json_object_get(j, "per_class"), k);
    return c ? json_string_value(json_object_get(c, "name")) : "(none)";
}
static void quoted(FILE *f, const char *text) {
    fprintf(f, "\"");
    cli_csv_text(f, text);
    fprintf(f, "\"");
}
static float *array(const hpt_result *r, const char *name, uint64_t count) {
    float *x = malloc((size_t)count * sizeof *x + 4);
    if (x && !hpt_result_array(r, name, x, count, NULL)) return x;
    free(x);
    return NULL;
}
/* A line for each class with objects, IoU threshold and recall. */
static int write_curves(FILE *f, json_t *j, const hpt_result *r) {
    size_t classes = (size_t)whole(j, "classes");
    float *precision = array(r, "precision", IOUS * RECALLS * classes);
    float *scores = array(r, "scores", IOUS * RECALLS * classes);
    int failed = !precision || !scores;
    fprintf(f, "class,iou,recall,precision,score\n");
    for (size_t k = 0; k < classes && !failed; k++)
        for (size_t t = 0; t < IOUS; t++)
            for (size_t i = 0; i < RECALLS; i++) {
                size_t at = (t * RECALLS + i) * classes + k;
                if (precision[at] < 0) continue;
                quoted(f, name_of(j, k));
                fprintf(f, ",%.2f,%.2f,%.9g,%.9g\n", .5 + .05 * (double)t, .01 * (double)i, (double)precision[at],
                        (double)scores[at]);
            }
    free(precision);
    free(scores);
    return failed;
}
static int write_confusion(FILE *f, json_t *j, const hpt_result *r) {
    size_t classes = (size_t)whole(j, "classes"), side = classes + 1;
    float *x = array(r, "confusion", side * side);
    fprintf(f, "truth \\ found");
    for (size_t k = 0; k < side; k++) {
        fprintf(f, ",");
        quoted(f, name_of(j, k));
    }
    for (size_t i = 0; i < side && x; i++) {
        fprintf(f, "\n");
        quoted(f, name_of(j, i));
        for (size_t k = 0; k < side; k++) fprintf(f, ",%.0f", (double)x[i * side + k]);
    }
    fprintf(f, "\n");
    free(x);
    return !x;
}
static int write_file(const cli *c, const char *path, json_t *j, const hpt_result *r,
                      int (*write)(FILE *, json_t *, const hpt_result *)) {
    cli_file o;
    int rc = path ? cli_file_begin(&o, c, path) : 0;
    return rc || !path ? rc : cli_file_end(&o, write(o.f, j, r));
}

int cmd_score_boxes(int argc, char **argv) {
    cli_arg args[] = {{"truth", "FILE", "what is there: annotations of COCO (JSON), BDD100K (JSON), Pascal VOC (folder "
                       "of XML, or list .txt), a table (.csv)", NULL, 0},
                      {"results", "FILE", "what was found: a list in COCO's format for results (JSON)", NULL, 0},
                      {"metric", "NAME", "coco (default), voc07 or voc12", NULL, 0},
                      {"masks", "", "score masks instead of boxes", NULL, 1},
                      {"per-class", "", "a line for each class, too", NULL, 1},
                      {"curves", "FILE", "precision over recall of each class and IoU as CSV", NULL, 0},
                      {"confusion", "FILE", "which class was taken for which, as CSV", NULL, 0},
                      {"json", "", "print everything as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "score-boxes", .stage = "score", .args = args,
             .about = "hpt score-boxes --truth annotations.json --results detections.json [--metric voc07] [--masks]\n"
             "Average precision of the boxes or masks of any detector. coco equals pycocotools to the last digit; "
             "voc07 and voc12 are what Detectron2 reports for Pascal VOC."};
    hpt_result *r = NULL;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    const char *truth = cli_value(&c, "truth"), *results = cli_value(&c, "results");
    const char *curves = cli_value(&c, "curves"), *matrix = cli_value(&c, "confusion");
    if (!truth || !results) return fprintf(stderr, "hpt score-boxes: --truth and --results are needed\n"), 2;
    hpt_status st = HPT_OK;
    if (cli_value(&c, "metric")) st = hpt_config_set(c.cfg, "score_metric", cli_value(&c, "metric"));
    if (!st && cli_value(&c, "masks")) st = hpt_config_set_int(c.cfg, "score_masks", 1);
    if (st) return cli_fail(c.command, st), 2;
    if (!cli_typed(&c, "backend")) hpt_config_set(c.cfg, "backend", "reference");      /* no network runs */
    if ((rc = cli_writable(&c, curves)) || (rc = cli_writable(&c, matrix)) || (rc = cli_open(&c))) return rc;
    st = hpt_score_boxes(c.ctx, c.cfg, truth, results, &r);
    if (st) rc = cli_fail(c.command, st);
    char *text = rc ? NULL : cli_json(r);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    if (!rc && !j) rc = cli_fail(c.command, HPT_ERR_MEMORY);
    if (!rc) rc = write_file(&c, curves, j, r, write_curves);
    if (!rc) rc = write_file(&c, matrix, j, r, write_confusion);
    if (!rc && cli_value(&c, "json")) cli_print(json_incref(j));
    else if (!rc) table(j, cli_value(&c, "per-class") != NULL);
    if (!rc && whole(j, "areas_computed"))
        cli_note(0, "%lld objects of %s have no \"area\": it is %s", whole(j, "areas_computed"), truth,
                 cli_value(&c, "masks") ? "their masks' pixels" : "width times height");
    if (!rc && whole(j, "empty_detections"))
        cli_note(0, "%lld boxes of %s have width or height 0: they count as wrong", whole(j, "empty_detections"),
                 results);
    json_decref(j);
    free(text);
    hpt_result_destroy(r);
    cli_close(&c);
    return rc;
}

/* SPDX-License-Identifier: MIT
 * hpt adapt-domain: a classifier for images of another domain than those that have labels, by minimax entropy (Saito et
 * al. 2019) or its baselines; trained in a run directory, and tested at the end. */
#include "run.h"
#include <stdlib.h>
#include <string.h>

static int check(const cli *c) {
    char entropy[32] = "";
    hpt_config_get(c->cfg, "mme_entropy", entropy, sizeof entropy, NULL);
    if (!cli_value(c, "labelled"))
        return fprintf(stderr, "hpt adapt-domain: --labelled is needed: a few images of the target with labels\n"), 2;
    if (!cli_value(c, "unlabelled") && strcmp(entropy, "off"))
        return fprintf(stderr, "hpt adapt-domain: --unlabelled is needed: images of the target (or --mme_entropy off, "
                       "which learns from labels alone)\n"), 2;
    return 0;
}

/* Accuracy on the test set, all of it. */
static hpt_status test(cli *c, hpt_model *m, const char *const *name, hpt_dataset *const *set, int n, json_t **score,
                       char *line, size_t size) {
    hpt_result *r = NULL;
    double top1 = 0, mean = 0, images = 0, classes = 0;
    int i = 0;
    while (i < n && strcmp(name[i], "test")) i++;
    if (i == n) return HPT_OK;
    hpt_status st = hpt_model_score(m, set[i], c->cfg, &r);
    if (!st) st = hpt_result_number(r, "test_top1", &top1);
    if (!st) st = hpt_result_number(r, "test_class_mean", &mean);
    if (!st) st = hpt_result_number(r, "test_images", &images);
    if (!st) st = hpt_result_number(r, "test_classes", &classes);
    if (!st)
        snprintf(line, size, "test top-1 %.2f %% of %.0f images, %.2f %% in the mean of %.0f classes", top1, images,
                 mean, classes);
    char *text = st ? NULL : cli_json(r);
    *score = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    hpt_result_destroy(r);
    cli_unreadable(c, "test", set[i], "left out");
    return st;
}

int cmd_adapt_domain(int argc, char **argv) {
    cli_arg args[] = {{"source", "PATH", "labelled images of the source: folder, list, IDX, npz", NULL, 0},
                      {"labelled", "PATH", "a few images of the target with labels, of the same classes", NULL, 0},
                      {"unlabelled", "PATH", "images of the target; labels are not looked at", NULL, 0},
                      {"val", "PATH", "labelled images of the target that say which weights are the best", NULL, 0},
                      {"test", "PATH", "labelled images of the target that the end is tested on", NULL, 0},
                      RUN_ARGS, {NULL, NULL, NULL, NULL, 0}};
    return cli_run(argc, argv, &(run_kind){
        .command = "adapt-domain", .method = "mme", .preset = "mme", .args = args, .check = check, .end = test,
        .sets = {"source", "labelled", "unlabelled", "val", "test"},
        .about = "hpt adapt-domain --source A --labelled B --unlabelled C [--val V] [--test D] --out DIR [--init "
        "FILE]\n"
                 "hpt adapt-domain --out DIR --resume\n"
                 "A classifier for images of another domain than those that have labels: minimax entropy (--preset "
                 "mme), or its baselines\n--mme_entropy minimise (ENT) and off (labels alone, S+T). None of the test "
                 "and val images may be trained on\n(--overlap allow does it all the same, and says so)."});
}

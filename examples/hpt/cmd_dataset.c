/* SPDX-License-Identifier: MIT
 * hpt dataset: the known sets, and whether a download is complete. Exit status 1 and a list of problems where it is
 * not. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

static int list_sets(const char *only) {
    hpt_set_info s = {.struct_size = sizeof s};
    int found = 0;
    if (!only)
        printf("%-16s %-38s %7s %-7s %9s %9s %9s\n", "name", "title", "classes", "metric", "train", "val", "test");
    for (uint32_t i = 0; hpt_set_describe(i, &s) == HPT_OK; i++) {
        if (!only)
            printf("%-16s %-38s %7u %-7s %9llu %9llu %9llu\n", s.name, s.title, s.classes, s.several ? "auroc"
                   : "top-1", (unsigned long long)s.images[0], (unsigned long long)s.images[1],
                   (unsigned long long)s.images[2]);
        else if (!strcmp(s.name, only)) {
            printf("%s: %s\nclasses  %u, %s\nimages   train %llu, val %llu, test %llu\nsplit    %s\nfiles    %s\nmean  "
                   "   %g,%g,%g\nstd      %g,%g,%g%s\nremarks  %s\n", s.name, s.title, s.classes, s.several
                   ? "several an image (AUROC)" : "one an image (top-1)", (unsigned long long)s.images[0],
                   (unsigned long long)s.images[1], (unsigned long long)s.images[2], s.split, s.layout,
                   (double)s.mean[0], (double)s.mean[1], (double)s.mean[2], (double)s.std[0], (double)s.std[1],
                   (double)s.std[2], s.std[0] > 0 ? "" : " (none published: computed from the images)", s.remarks);
            found = 1;
        }
    }
    if (only && !found)
        return fprintf(stderr, "hpt dataset: no set is called '%s'; `hpt dataset list` shows them\n", only), 2;
    return 0;
}

/* A line for each split, then what is wrong. */
static void check_text(const char *text) {
    json_t *j = json_loads(text, 0, NULL), *v;
    size_t i;
    json_array_foreach(json_object_get(j, "splits"), i, v) {
        long long want = (long long)json_integer_value(json_object_get(v, "expected"));
        printf("%-6s %lld images", json_string_value(json_object_get(v, "split")),
               (long long)json_integer_value(json_object_get(v, "images")));
        if (want) printf(" (%lld expected)", want);
        printf(", %lld classes\n", (long long)json_integer_value(json_object_get(v, "classes")));
    }
    json_array_foreach(json_object_get(j, "problems"), i, v) printf("problem: %s\n", json_string_value(v));
    if (j && !i) printf("complete\n");
    json_decref(j);
}

int cmd_dataset(int argc, char **argv) {
    cli_arg args[] = {{"json", "", "print the check as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "dataset", .takes = 2, .stage = "dataset", .args = args,
             .about = "hpt dataset list | show NAME | check NAME-OR-FILE.ini [ROOT] [--json]\nThe paper's data sets as "
             "their original downloads (ROOT is the folder of the download), or a descriptor file of your own."};
    if (argc < 2 || (!strcmp(argv[1], "list") && argc == 2)) return list_sets(NULL);
    if (!strcmp(argv[1], "list") && strncmp(argv[2], "-", 1))
        return fprintf(stderr, "hpt dataset list: '%s' is not understood\n", argv[2]), 2;
    if (!strcmp(argv[1], "show") && argc == 3 && strncmp(argv[2], "-", 1)) return list_sets(argv[2]);
    int help = !strncmp(argv[1], "--help", 6) || !strcmp(argv[1], "-h");
    if (strcmp(argv[1], "check") && !help)
        return fprintf(stderr, "usage: hpt dataset list | show NAME | check NAME-OR-FILE.ini [ROOT] [--json]\n"), 2;
    hpt_result *r = NULL;
    int rc = cli_parse(&c, help ? argc : argc - 1, help ? argv : argv + 1);
    if (rc) return rc - 1;
    if (!c.n_positional) return fprintf(stderr, "usage: hpt dataset check NAME-OR-FILE.ini [ROOT] [--json]\n"), 2;
    if ((rc = cli_open(&c))) return rc;
    hpt_status st = hpt_dataset_check(c.ctx, c.cfg, c.positional[0], c.n_positional > 1 ? c.positional[1] : NULL, &r);
    char *text = r ? cli_json(r) : NULL;
    if (text && cli_value(&c, "json")) printf("%s\n", text);
    else if (text) check_text(text);
    free(text);
    if (st) rc = cli_fail("dataset check", st);
    hpt_result_destroy(r);
    cli_close(&c);
    return rc;
}

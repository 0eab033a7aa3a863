/* SPDX-License-Identifier: MIT
 * hpt: which command it is, and the last word. Output that could not be written (a full disk, a closed pipe) is an
 * error of the command, not something lost in silence. */
#include "cli.h"
#include <errno.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

static const struct { const char *name; int (*run)(int, char **); const char *doc; } commands[] = {
    {"pretrain", cmd_pretrain,
     "MoCo-v2 pretraining on a folder of images, from a file or from scratch; all weights or batch norm only"},
    {"train", cmd_train, "supervised training of a network with its classifier on labelled images"},
    {"adapt-domain", cmd_adapt_domain,
     "a classifier for another domain with few labels: minimax entropy, and its baselines"},
    {"run", cmd_run, "a recipe: stages, choices, evaluations, report; --plan shows what it will cost"},
    {"refresh-bn", cmd_refresh_bn, "replace a model's batch-norm statistics by those of a data set"},
    {"linear", cmd_linear, "linear probe on frozen features"},
    {"knn", cmd_knn, "nearest neighbours on frozen features"},
    {"finetune", cmd_finetune, "few-label finetuning of the whole network"},
    {"search", cmd_search, "which source to pretrain on before the target"},
    {"similarity", cmd_similarity, "how alike two models are on a set of images"},
    {"dataset", cmd_dataset, "known data sets: list, check a download, count"},
    {"embed", cmd_embed, "features of every image as CSV or npy"},
    {"predict", cmd_predict, "class and probability of every image, by a model with a classifier"},
    {"score-boxes", cmd_score_boxes, "average precision of boxes or masks of any detector (COCO, Pascal VOC)"},
    {"info", cmd_info, "what a checkpoint holds"},
    {"export", cmd_export, "write a model in another layout"},
    {"options", cmd_options, "the table of all options"}};

/* An answer that could not be written is a failure too; what took hours to find is then shown as an error is. A
 * terminal has its lines at once. */
static char answer[1 << 16];
static int said(int rc) {
    size_t n = __fpending(stdout);
    if (!fflush(stdout) && !ferror(stdout)) return rc;
    fprintf(stderr, "hpt: standard output: %s\n", strerror(errno));
    if (!isatty(1)) fwrite(answer, 1, n, stderr);
    return rc ? rc : 1;
}

int main(int argc, char **argv) {
    if (!isatty(1)) setvbuf(stdout, answer, _IOFBF, sizeof answer);
    if (argc > 1)
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (!strcmp(argv[1], commands[i].name)) return said(commands[i].run(argc - 1, argv + 1));
    if (argc > 1 && !strcmp(argv[1], "--version")) return printf("hpt %s\n", hpt_version_string()), said(0);
    FILE *to = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) ? stdout : stderr;
    fprintf(to, "usage: hpt COMMAND [--option value ...]     hpt COMMAND --help\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-13s %s\n", commands[i].name, commands[i].doc);
    if (to == stderr && argc > 1) {
        const char *near = NULL;
        int least = 4;
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
            int d = strncmp(argv[1], commands[i].name, strlen(argv[1])) ? cli_distance(argv[1], commands[i].name) : 0;
            if (d < least) near = commands[i].name, least = d;
        }
        fprintf(stderr, "\nhpt: no command '%s'%s%s%s\n", argv[1], near ? ", did you mean '" : "", near ? near : "",
                near ? "'?" : "");
    }
    return said(to == stdout ? 0 : 2);
}

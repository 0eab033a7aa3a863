/* SPDX-License-Identifier: MIT
 * hpt predict: what a model with a classifier says of each image. A line an image, or a CSV with the likeliest
 * classes and their probabilities. */
#include "cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Logits become probabilities: softmax, or (several labels an image) sigmoid. */
static void probabilities(float *x, unsigned classes, int several) {
    double most = -INFINITY, sum = 0;
    for (unsigned k = 0; k < classes; k++) most = x[k] > most ? x[k] : most;
    for (unsigned k = 0; k < classes && !several; k++) sum += exp(x[k] - most);
    for (unsigned k = 0; k < classes; k++)
        x[k] = (float)(several ? 1 / (1 + exp(-(double)x[k])) : exp(x[k] - most) / sum);
}
/* The likeliest class that is not taken yet, the first of equals; taken then. */
static unsigned likeliest(const float *p, unsigned classes, char *taken) {
    unsigned best = classes;
    for (unsigned k = 0; k < classes; k++)
        if (!taken[k] && (best == classes || p[k] > p[best])) best = k;
    taken[best] = 1;
    return best;
}
/* One image a line: its name, then class and probability of the `top` likeliest. An image that cannot be read has
 * its name alone, and so has one whose logits are no numbers. */
static int write_rows(FILE *f, const hpt_model *m, const hpt_dataset *ds, float *x, unsigned long long n,
                      const hpt_model_info *mi, unsigned top) {
    static char name[8200];
    char *taken = malloc(mi->classes);
    if (!taken) return 1;
    fprintf(f, "filename");
    if (top) fprintf(f, ",class,probability");
    for (unsigned r = 2; r <= top; r++) fprintf(f, ",class_%u,probability_%u", r, r);
    fprintf(f, "\n");
    for (unsigned long long i = 0; i < n; i++) {
        float *row = x + i * mi->classes;
        int hole = 0;
        for (unsigned k = 0; k < mi->classes; k++) {
            hole |= !isfinite(row[k]);
            taken[k] = 0;
        }
        if (!hole) probabilities(row, mi->classes, mi->several);
        hpt_dataset_name(ds, i, name, sizeof name, NULL);
        fprintf(f, "\"");
        cli_csv_text(f, name);
        fprintf(f, "\"");
        for (unsigned r = 0; r < top; r++) {
            unsigned k = hole ? 0 : likeliest(row, mi->classes, taken);
            if (hole) {
                fprintf(f, ",,");
                continue;
            }
            hpt_model_class_name(m, k, name, sizeof name, NULL);
            fprintf(f, ",\"");
            cli_csv_text(f, name);
            fprintf(f, "\",%.6g", (double)row[k]);
        }
        fprintf(f, "\n");
    }
    free(taken);
    return 0;
}

int cmd_predict(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images", NULL, 0},
                      {"init", "FILE", "model with a classifier: of hpt finetune --out, or torchvision's", NULL, 0},
                      {"out", "FILE", "CSV, instead of standard output (-)", NULL, 0},
                      {"top", "K", "so many classes of each image (1)", NULL, 0},
                      {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "predict", .stage = "embed", .args = args,
             .about = "hpt predict --init FILE --data PATH [--top 5] [--out FILE.csv]\nName, class and probability of "
             "every "
                      "image as CSV; an image that cannot be read (bad_image=skip) has empty fields."};
    static const char *const names[1] = {"data"};
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    hpt_dataset_info di = {.struct_size = sizeof di};
    hpt_model_info mi = {.struct_size = sizeof mi};
    hpt_status st = HPT_OK;
    unsigned long long top = 1;
    float *x = NULL;
    cli_file o;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    const char *data = cli_value(&c, "data"), *init = cli_value(&c, "init"), *out = cli_value(&c, "out");
    if (!data || !init) return fprintf(stderr, "hpt predict: --init and --data are needed\n"), 2;
    if (cli_number(&c, "top", 1, 1000000, &top)) return 2;
    if (out && !strcmp(out, "-")) out = NULL;       /* standard output, as elsewhere */
    if (!cli_typed(&c, "classifier")) hpt_config_set(c.cfg, "classifier", "take");
    if ((rc = cli_writable(&c, out)) || (rc = cli_open(&c)) || (rc = cli_model(&c, init, &m))) return rc;
    if (!(st = cli_dataset(&c, "data", data, &ds)) && !(st = hpt_dataset_get_info(ds, &di)) &&
        !(st = hpt_model_get_info(m, &mi)) && !(rc = cli_begin(&c, names, &ds, 1))) {
        uint64_t count = di.count * mi.classes;
        x = malloc((size_t)count * 4 + 4);
        st = x ? hpt_model_predict(m, ds, c.cfg, x, count) : HPT_ERR_MEMORY;
    }
    if (st) rc = cli_fail("predict", st);
    if (!rc && !(rc = cli_file_begin(&o, &c, out)))
        rc = cli_file_end(&o, write_rows(o.f, m, ds, x, di.count, &mi, top < mi.classes ? (unsigned)top : mi.classes));
    if (!rc && out) printf("%llu images in %s\n", (unsigned long long)di.count, out);
    free(x);
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

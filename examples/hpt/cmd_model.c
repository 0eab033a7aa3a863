/* SPDX-License-Identifier: MIT
 * hpt refresh-bn, linear, embed: a model and images in, statistics, a score or features out. Features go into CSV
 * with the names of their images, or into npy. */
#define _GNU_SOURCE
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cmd_refresh_bn(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images whose statistics to take", NULL, 0}, {"init", "FILE", "model", NULL, 0},
                      {"out", "FILE", "where to write it", NULL, 0},
                      {"json", "", "print the result as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "refresh-bn", .stage = "refresh-bn", .args = args,
             .about = "hpt refresh-bn --data PATH --init FILE --out FILE\nReplace the running mean and variance of "
             "batch norm; weights stay."};
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    hpt_result *r = NULL;
    hpt_status st = HPT_OK;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    const char *data = cli_value(&c, "data"), *init = cli_value(&c, "init"), *out = cli_value(&c, "out");
    if (!data || !init || !out) return fprintf(stderr, "hpt refresh-bn: --data, --init and --out are needed\n"), 2;
    static const char *const names[1] = {"data"};
    if ((rc = cli_writable(&c, out)) || (rc = cli_open(&c)) || (rc = cli_model(&c, init, &m))) return rc;
    if ((st = cli_dataset(&c, "data", data, &ds))) rc = cli_fail("refresh-bn", st);
    else if ((rc = cli_begin(&c, names, &ds, 1))) (void)rc;
    else if ((st = hpt_model_refresh_bn(m, ds, c.cfg, &r)) || (st = hpt_model_save(m, out, NULL)))
        rc = cli_fail("refresh-bn", st);
    else {
        char *text = cli_json(r);
        printf("%s\n", cli_value(&c, "json") && text ? text : out);
        cli_unreadable(&c, "data", ds, "left out");
        free(text);
    }
    hpt_result_destroy(r);
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

int cmd_linear(int argc, char **argv) {
    cli_arg args[] = {{"train", "PATH", "labelled images to learn from", NULL, 0},
                      {"val", "PATH", "to choose on (else a fifth of train)", NULL, 0},
                      {"test", "PATH", "scored once at the end", NULL, 0},
                      {"init", "FILE", "model, or the word random", NULL, 0},
                      {"per-class", "K", "use only K images of each class", NULL, 0},
                      {"json", "", "print everything as JSON", NULL, 1},
                      {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "linear", .stage = "linear", .args = args,
             .about = "hpt linear --train PATH [--val PATH] [--test PATH] --init FILE\nLinear probe on frozen "
             "features; everything is chosen on validation images."};
    hpt_model *m = NULL;
    hpt_dataset *set[3] = {NULL, NULL, NULL}, *few = NULL;
    hpt_result *r = NULL;
    hpt_status st = HPT_OK;
    static const char *const names[3] = {"train", "val", "test"};
    unsigned long long per_class = 0;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (!cli_value(&c, "train")) return fprintf(stderr, "hpt linear: --train is needed\n"), 2;
    if (cli_number(&c, "per-class", 1, UINT32_MAX, &per_class) || cli_needs_init(&c)) return 2;
    if ((rc = cli_open(&c)) || (rc = cli_model(&c, cli_value(&c, "init"), &m))) return rc;
    for (int i = 0; i < 3 && !st; i++)
        if (cli_value(&c, names[i])) st = cli_dataset(&c, names[i], cli_value(&c, names[i]), &set[i]);
    if (!st && cli_value(&c, "per-class")) {
        char seed[32] = "0";
        hpt_config_get(c.cfg, "seed", seed, sizeof seed, NULL);
        st = hpt_dataset_per_class(set[0], (uint32_t)per_class, strtoull(seed, NULL, 10), &few, NULL);
    }
    hpt_dataset *const shown[3] = {few ? few : set[0], set[1], set[2]};
    if (st) rc = cli_fail("linear", st);
    else if (!(rc = cli_begin(&c, names, shown, 3)) && (st = hpt_model_linear(m, shown[0], set[1], set[2], c.cfg, &r)))
        rc = cli_fail("linear", st);
    if (!rc) cli_scores(&c, r, "linear probe");
    for (int i = 0; i < 3 && !rc; i++) cli_unreadable(&c, names[i], shown[i], "left out");
    hpt_result_destroy(r);
    hpt_dataset_destroy(few);
    for (int i = 0; i < 3; i++) hpt_dataset_destroy(set[i]);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

/* The row of an image that cannot be read is in no file. */
static int has_row(const hpt_dataset *ds, unsigned long long i) {
    int32_t readable = 1;
    hpt_dataset_readable(ds, i, &readable);
    return readable != 0;
}
/* Names of the classes that image i has, those of several labels with ';' between. */
static void csv_classes(FILE *f, const hpt_dataset *ds, const hpt_dataset_info *di, unsigned long long i,
                        int32_t label) {
    char name[1024];
    uint8_t *several = di->labelled == 2 ? calloc(di->classes, 1) : NULL;
    int n = 0;
    if (several) hpt_dataset_targets(ds, i, several, di->classes);
    fprintf(f, ",\"");
    for (uint32_t k = 0; k < di->classes; k++) {
        if (several ? !several[k] : (int32_t)k != label) continue;
        hpt_dataset_class_name(ds, k, name, sizeof name, NULL);
        if (n++) fprintf(f, ";");
        cli_csv_text(f, name);
    }
    fprintf(f, "\"");
    free(several);
}
static void write_csv(FILE *f, hpt_dataset *ds, const float *x, unsigned long long n, unsigned d) {
    char name[4200];
    hpt_dataset_info di = {.struct_size = sizeof di};
    hpt_dataset_get_info(ds, &di);
    fprintf(f, "filename,label");
    for (unsigned j = 0; j < d; j++) fprintf(f, ",embedding_%u", j);
    fprintf(f, di.labelled ? ",class\n" : "\n");
    for (unsigned long long i = 0; i < n; i++) {
        int32_t label = -1;
        if (!has_row(ds, i)) continue;
        hpt_dataset_label(ds, i, &label);
        hpt_dataset_name(ds, i, name, sizeof name, NULL);
        fprintf(f, "\"");
        cli_csv_text(f, name);
        fprintf(f, "\",%d", label);
        for (unsigned j = 0; j < d; j++) fprintf(f, ",%.8g", (double)x[i * d + j]);
        if (di.labelled) csv_classes(f, ds, &di, i, label);
        fprintf(f, "\n");
    }
}
static void write_npy(FILE *f, hpt_dataset *ds, const float *x, unsigned long long n, unsigned long long rows,
                      unsigned d) {
    char head[128];
    int len = snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }", rows, d),
        total = (len + 11 + 63) / 64 * 64 - 10;
    unsigned char pre[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(total & 255),
                             (unsigned char)(total >> 8)};
    fwrite(pre, 1, 10, f);
    fprintf(f, "%s%*s\n", head, total - len - 1, "");
    for (unsigned long long i = 0; i < n; i++)
        if (has_row(ds, i)) fwrite(x + i * d, 4, d, f);
}
static int write_features(const cli *c, const char *out, int npy, hpt_dataset *ds, const float *x,
                          unsigned long long n, unsigned long long rows, unsigned d) {
    cli_file o;
    if (cli_file_begin(&o, c, out)) return 1;
    if (npy) write_npy(o.f, ds, x, n, rows, d);
    else write_csv(o.f, ds, x, n, d);
    return cli_file_end(&o, 0);
}

int cmd_embed(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images", NULL, 0}, {"init", "FILE", "model, or the word random", NULL, 0},
                      {"out", "FILE", "*.csv or *.npy", NULL, 0},
                      {"json", "", "print what was written as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "embed", .stage = "embed", .args = args,
             .about = "hpt embed --data PATH --init FILE --out FEATURES.csv|.npy\nPooled backbone features of every "
             "image."};
    static const char *const names[1] = {"data"};
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    hpt_dataset_info di = {.struct_size = sizeof di};
    hpt_model_info mi = {.struct_size = sizeof mi};
    hpt_status st = HPT_OK;
    float *x = NULL;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    const char *data = cli_value(&c, "data"), *out = cli_value(&c, "out");
    if (!data || !out) return fprintf(stderr, "hpt embed: --data and --out are needed\n"), 2;
    size_t length = strlen(out);
    int npy = length > 4 && !strcmp(out + length - 4, ".npy");
    if (!npy && !(length > 4 && !strcmp(out + length - 4, ".csv")))
        return fprintf(stderr, "hpt embed: %s: the name must end in .csv or .npy\n", out), 2;
    if (cli_needs_init(&c)) return 2;
    if ((rc = cli_writable(&c, out)) || (rc = cli_open(&c)) || (rc = cli_model(&c, cli_value(&c, "init"), &m)))
        return rc;
    if (!(st = cli_dataset(&c, "data", data, &ds)) && !(st = hpt_dataset_get_info(ds, &di)) &&
        !(st = hpt_model_get_info(m, &mi)) && !(rc = cli_begin(&c, names, &ds, 1))) {
        x = malloc((size_t)(di.count * mi.feature_dim * 4));
        st = x ? hpt_model_features(m, ds, c.cfg, x, di.count * mi.feature_dim) : HPT_ERR_MEMORY;
    }
    if (st) rc = cli_fail("embed", st);
    if (!rc) hpt_dataset_get_info(ds, &di);
    unsigned long long rows = di.count - di.bad_images;
    if (!rc && !(rc = write_features(&c, out, npy, ds, x, di.count, rows, mi.feature_dim))) {
        if (cli_value(&c, "json")) {
            json_t *j = json_pack("{s:I, s:I, s:I}", "images", (json_int_t)rows, "features",
                                  (json_int_t)mi.feature_dim, "unreadable_images", (json_int_t)di.bad_images);
            cli_json_text(j, "file", out);
            cli_print(j);
        } else printf("%llu x %u features in %s\n", rows, mi.feature_dim, out);
        cli_unreadable(&c, "data", ds, "left out");
    }
    free(x);
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

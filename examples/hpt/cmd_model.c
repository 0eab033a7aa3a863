/* SPDX-License-Identifier: MIT
 * hpt refresh-bn, linear, embed. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cmd_refresh_bn(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images whose statistics to take", NULL, 0}, {"init", "FILE", "model", NULL, 0}, {"out", "FILE", "where to write it", NULL, 0},
                      {"json", "", "print the result as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "refresh-bn", .stage = "refresh-bn", .args = args,
             .about = "hpt refresh-bn --data PATH --init FILE --out FILE\nReplace the running mean and variance of batch norm; weights stay."};
    hpt_model *m = NULL;
    hpt_dataset *ds = NULL;
    hpt_result *r = NULL;
    hpt_status st = HPT_OK;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    const char *data = cli_value(&c, "data"), *init = cli_value(&c, "init"), *out = cli_value(&c, "out");
    if (!data || !init || !out) return fprintf(stderr, "hpt refresh-bn: --data, --init and --out are needed\n"), 2;
    if ((rc = cli_writable(&c, out)) || (rc = cli_open(&c)) || (rc = cli_model(&c, init, &m))) return rc;
    if ((st = cli_dataset(&c, "data", data, &ds)) || (st = hpt_model_refresh_bn(m, ds, c.cfg, &r)) || (st = hpt_model_save(m, out, NULL)))
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
    cli_arg args[] = {{"train", "PATH", "labelled images to learn from", NULL, 0}, {"val", "PATH", "to choose on (else a fifth of train)", NULL, 0},
                      {"test", "PATH", "scored once at the end", NULL, 0}, {"init", "FILE", "model, or the word random", NULL, 0},
                      {"per-class", "K", "use only K images of each class", NULL, 0}, {"json", "", "print everything as JSON", NULL, 1},
                      {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "linear", .stage = "linear", .args = args,
             .about = "hpt linear --train PATH [--val PATH] [--test PATH] --init FILE\nLinear probe on frozen features; everything is chosen on validation images."};
    hpt_model *m = NULL;
    hpt_dataset *set[3] = {NULL, NULL, NULL}, *few = NULL;
    hpt_result *r = NULL;
    hpt_status st = HPT_OK;
    static const char *const names[3] = {"train", "val", "test"};
    unsigned long long per_class = 0;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (!cli_value(&c, "train")) return fprintf(stderr, "hpt linear: --train is needed\n"), 2;
    if (cli_number(&c, "per-class", &per_class)) return 2;
    if ((rc = cli_open(&c)) || (rc = cli_trained(&c, &m))) return rc;
    for (int i = 0; i < 3 && !st; i++)
        if (cli_value(&c, names[i])) st = cli_dataset(&c, names[i], cli_value(&c, names[i]), &set[i]);
    if (!st && cli_value(&c, "per-class")) {
        char seed[32] = "0";
        hpt_config_get(c.cfg, "seed", seed, sizeof seed, NULL);
        st = hpt_dataset_per_class(set[0], (uint32_t)per_class, strtoull(seed, NULL, 10), &few, NULL);
    }
    if (!st) st = hpt_model_linear(m, few ? few : set[0], set[1], set[2], c.cfg, &r);
    if (st) rc = cli_fail("linear", st);
    else cli_scores(&c, r, "linear probe");
    for (int i = 0; i < 3 && !st; i++) cli_unreadable(&c, names[i], i || !few ? set[i] : few, "left out");
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
static int write_csv(FILE *f, hpt_dataset *ds, const float *x, unsigned long long n, unsigned d) {
    char name[4200];
    fprintf(f, "filename,label");
    for (unsigned j = 0; j < d; j++) fprintf(f, ",embedding_%u", j);
    fprintf(f, "\n");
    for (unsigned long long i = 0; i < n; i++) {
        int32_t label = -1;
        if (!has_row(ds, i)) continue;
        hpt_dataset_label(ds, i, &label);
        hpt_dataset_name(ds, i, name, sizeof name, NULL);
        fprintf(f, "\"");
        for (const char *p = name; *p; p++) fprintf(f, *p == '"' ? "\"\"" : "%c", *p);
        fprintf(f, "\",%d", label);
        for (unsigned j = 0; j < d; j++) fprintf(f, ",%.8g", (double)x[i * d + j]);
        fprintf(f, "\n");
    }
    return ferror(f);
}
static int write_npy(FILE *f, hpt_dataset *ds, const float *x, unsigned long long n, unsigned long long rows, unsigned d) {
    char head[128];
    int len = snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }", rows, d), total = (len + 11 + 63) / 64 * 64 - 10;
    unsigned char pre[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(total & 255), (unsigned char)(total >> 8)};
    fwrite(pre, 1, 10, f);
    fprintf(f, "%s%*s\n", head, total - len - 1, "");
    for (unsigned long long i = 0; i < n; i++)
        if (has_row(ds, i)) fwrite(x + i * d, 4, d, f);
    return ferror(f);
}

int cmd_embed(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images", NULL, 0}, {"init", "FILE", "model", NULL, 0}, {"out", "FILE", "*.csv or *.npy", NULL, 0}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "embed", .stage = "embed", .args = args, .about = "hpt embed --data PATH --init FILE --out FEATURES.csv|.npy\nPooled backbone features of every image."};
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
    if (!npy && !(length > 4 && !strcmp(out + length - 4, ".csv"))) return fprintf(stderr, "hpt embed: %s: the name must end in .csv or .npy\n", out), 2;
    if ((rc = cli_writable(&c, out)) || (rc = cli_open(&c)) || (rc = cli_trained(&c, &m))) return rc;
    if (!(st = cli_dataset(&c, "data", data, &ds)) && !(st = hpt_dataset_get_info(ds, &di)) && !(st = hpt_model_get_info(m, &mi))) {
        x = malloc((size_t)(di.count * mi.feature_dim * 4));
        st = x ? hpt_model_features(m, ds, c.cfg, x, di.count * mi.feature_dim) : HPT_ERR_MEMORY;
    }
    if (st) rc = cli_fail("embed", st);
    else {
        FILE *f = fopen(out, "wb");
        hpt_dataset_get_info(ds, &di);
        unsigned long long rows = di.count - di.bad_images;
        int bad = !f || (npy ? write_npy(f, ds, x, di.count, rows, mi.feature_dim) : write_csv(f, ds, x, di.count, mi.feature_dim));
        if (f) bad |= fclose(f);
        if (bad) rc = (fprintf(stderr, "hpt embed: %s: %s\n", out, strerror(errno)), 1);
        else {
            printf("%llu x %u features in %s\n", rows, mi.feature_dim, out);
            cli_unreadable(&c, "data", ds, "left out");
        }
    }
    free(x);
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

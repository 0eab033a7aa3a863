/* SPDX-License-Identifier: MIT
 * hpt knn, finetune, search, similarity: evaluations of one model, the choice of a source, and two models beside
 * each other. */
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include <stdlib.h>
#include <string.h>

static hpt_status open_sets(cli *c, const char *const *names, int n, hpt_dataset **set) {
    hpt_status st = HPT_OK;
    for (int i = 0; i < n && !st; i++)
        if (cli_value(c, names[i])) st = cli_dataset(c, names[i], cli_value(c, names[i]), &set[i]);
    return st;
}

int cmd_knn(int argc, char **argv) {
    cli_arg args[] = {{"train", "PATH", "labelled images that vote", NULL, 0},
                      {"test", "PATH", "labelled images to score", NULL, 0},
                      {"init", "FILE", "model, or the word random", NULL, 0},
                      {"json", "", "print everything as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    static const char *const names[2] = {"train", "test"};
    cli c = {.command = "knn", .stage = "knn", .args = args,
             .about = "hpt knn --train PATH --test PATH --init FILE\nWeighted nearest neighbours on frozen features; "
             "nothing is trained."};
    hpt_model *m = NULL;
    hpt_dataset *set[2] = {NULL, NULL};
    hpt_result *r = NULL;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (!cli_value(&c, "train") || !cli_value(&c, "test"))
        return fprintf(stderr, "hpt knn: --train and --test are needed\n"), 2;
    if (cli_needs_init(&c)) return 2;
    if ((rc = cli_open(&c)) || (rc = cli_model(&c, cli_value(&c, "init"), &m))) return rc;
    hpt_status st = open_sets(&c, names, 2, set);
    if (st) rc = cli_fail("knn", st);
    else if (!(rc = cli_begin(&c, names, set, 2)) && (st = hpt_model_knn(m, set[0], set[1], c.cfg, &r)))
        rc = cli_fail("knn", st);
    if (!rc) cli_scores(&c, r, "nearest neighbours");
    for (int i = 0; i < 2 && !rc; i++) cli_unreadable(&c, names[i], set[i], "left out");
    hpt_result_destroy(r);
    for (int i = 0; i < 2; i++) hpt_dataset_destroy(set[i]);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

int cmd_finetune(int argc, char **argv) {
    cli_arg args[] = {{"train", "PATH", "labelled images to learn from", NULL, 0},
                      {"val", "PATH", "to choose on (else a fifth of train)", NULL, 0},
                      {"test", "PATH", "scored once at the end", NULL, 0},
                      {"init", "FILE", "model, or the word random", NULL, 0},
                      {"out", "FILE", "write the tuned model, classifier included (hpt predict)", NULL, 0},
                      {"labels", "N", "use only N images, every class among them", NULL, 0},
                      {"per-class", "K", "use only K images of each class", NULL, 0},
                      {"json", "", "print everything as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    static const char *const names[3] = {"train", "val", "test"};
    cli c = {.command = "finetune", .stage = "finetune", .args = args,
             .about = "hpt finetune --train PATH [--labels 1000] [--val PATH] [--test PATH] --init FILE\nFew-label "
             "finetuning; everything is chosen on validation images."};
    hpt_model *m = NULL, *tuned = NULL;
    hpt_dataset *set[3] = {NULL, NULL, NULL}, *few = NULL;
    hpt_result *r = NULL;
    char seed[32] = "0";
    unsigned long long labels = 0, per_class = 0;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (!cli_value(&c, "train")) return fprintf(stderr, "hpt finetune: --train is needed\n"), 2;
    if (cli_number(&c, "labels", 1, UINT32_MAX, &labels) || cli_number(&c, "per-class", 1, UINT32_MAX, &per_class))
        return 2;
    if (labels && per_class)
        return fprintf(stderr, "hpt finetune: --labels and --per-class contradict each other\n"), 2;
    if (cli_needs_init(&c)) return 2;
    if ((rc = cli_writable(&c, cli_value(&c, "out"))) || (rc = cli_open(&c)) ||
        (rc = cli_model(&c, cli_value(&c, "init"), &m))) return rc;
    hpt_status st = open_sets(&c, names, 3, set);
    hpt_config_get(c.cfg, "seed", seed, sizeof seed, NULL);
    if (!st && labels) st = hpt_dataset_few(set[0], labels, strtoull(seed, NULL, 10), &few, NULL);
    else if (!st && per_class)
        st = hpt_dataset_per_class(set[0], (uint32_t)per_class, strtoull(seed, NULL, 10), &few, NULL);
    hpt_dataset *const shown[3] = {few ? few : set[0], set[1], set[2]};
    if (st) rc = cli_fail("finetune", st);
    else if (!(rc = cli_begin(&c, names, shown, 3)) &&
             (st = hpt_model_finetune(m, shown[0], set[1], set[2], c.cfg, &tuned, &r))) rc = cli_fail("finetune", st);
    if (!rc) cli_scores(&c, r, "finetuned");
    for (int i = 0; i < 3 && !rc; i++) cli_unreadable(&c, names[i], shown[i], "left out");
    if (!rc && cli_value(&c, "out") && (st = hpt_model_save(tuned, cli_value(&c, "out"), NULL)))
        rc = cli_fail("finetune", st);
    hpt_result_destroy(r);
    hpt_dataset_destroy(few);
    for (int i = 0; i < 3; i++) hpt_dataset_destroy(set[i]);
    hpt_model_destroy(tuned);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

typedef struct counted { progress bar; unsigned long long n; } counted;
static int32_t search_step(void *user, const hpt_step_info *i) {
    counted *p = user;
    char text[80];
    snprintf(text, sizeof text, "step %llu of a source, loss %.3f", (unsigned long long)i->step, i->loss);
    progress_show(&p->bar, ++p->n, text);
    return 0;
}
/* The candidates from the best down, with the steps that each was given. */
static void print_ranking(const cli *c, const hpt_result *r, const char *const *name) {
    char *text = cli_json(r);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *list = json_object_get(j, "candidates"), *k;
    const char *metric = json_string_value(json_object_get(j, "metric"));
    size_t at;
    if (cli_value(c, "json")) printf("%s\n", text ? text : "");
    for (size_t rank = 1; rank <= json_array_size(list) && !cli_value(c, "json"); rank++)
        json_array_foreach(list, at, k) {
            json_t *score = json_object_get(k, "val_score");
            if (json_integer_value(json_object_get(k, "rank")) != (json_int_t)rank) continue;
            printf("%s: ", name[at]);
            if (json_is_number(score))
                printf("%s %.2f %% on validation", metric && !strcmp(metric, "auroc") ? "AUROC" : "top-1",
                       json_number_value(score));
            else printf("not scored");
            printf(" (%lld steps)\n", (long long)json_integer_value(json_object_get(k, "steps")));
        }
    json_decref(j);
    free(text);
}
int cmd_search(int argc, char **argv) {
    cli_arg args[] = {{"sources", "PATH,PATH", "candidate sources", NULL, 0},
                      {"train", "PATH", "the target's labelled training images", NULL, 0},
                      {"val", "PATH", "the target's validation images: candidates are ranked on them", NULL, 0},
                      {"init", "FILE", "base model", NULL, 0}, {"out", "FILE", "write the winner's backbone", NULL, 0},
                      {"json", "", "print everything as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    static const char *const names[2] = {"train", "val"};
    cli c = {.command = "search", .stage = "search", .args = args,
             .about = "hpt search --sources A,B,C --train PATH --val PATH --init BASE [--out FILE]\nPretrain on each "
             "source on top of the base, probe on the target, take the best."};
    hpt_model *m = NULL, *winner = NULL;
    enum { MOST = 64 };
    hpt_dataset *set[2] = {NULL, NULL}, *source[MOST] = {NULL}, *all[MOST + 2];
    const char *name[MOST], *names_all[MOST + 2] = {"train", "val"};
    char *copy = NULL;
    hpt_result *r = NULL;
    uint32_t n = 0;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (!cli_value(&c, "sources") || !cli_value(&c, "train") || !cli_value(&c, "val"))
        return fprintf(stderr, "hpt search: --sources, --train and --val are needed\n"), 2;
    if (cli_needs_init(&c)) return 2;
    copy = strdup(cli_value(&c, "sources"));
    for (char *p = copy ? strtok(copy, ",") : NULL; p; p = strtok(NULL, ",")) {
        if (n == MOST) return fprintf(stderr, "hpt search: --sources: more than %d\n", MOST), 2;
        name[n++] = p;
    }
    if (!n) return fprintf(stderr, "hpt search: --sources: none is named\n"), 2;
    if ((rc = cli_writable(&c, cli_value(&c, "out"))) || (rc = cli_open(&c)) ||
        (rc = cli_model(&c, cli_value(&c, "init"), &m))) return rc;
    hpt_status st = open_sets(&c, names, 2, set);
    for (uint32_t i = 0; i < n && !st; i++) st = cli_dataset(&c, "sources", name[i], &source[i]);
    char steps[32] = "0";
    hpt_config_get(c.cfg, "steps", steps, sizeof steps, NULL);
    counted p = {.n = 0};
    for (uint32_t i = 0; i < n; i++) {       /* the first line: target, then sources */
        names_all[i + 2] = name[i];
        all[i + 2] = source[i];
    }
    memcpy(all, set, sizeof set);
    if (st) rc = cli_fail("search", st);
    else if (!(rc = cli_begin(&c, names_all, all, (int)n + 2))) {
        progress_begin(&p.bar, 0, strtoull(steps, NULL, 10) * n);
        st = hpt_source_search(c.ctx, c.cfg, m, source, name, n, set[0], set[1], search_step, &p, &winner, &r);
        progress_end(&p.bar);
        if (st) rc = cli_fail("search", st);
        else print_ranking(&c, r, name);
    }
    if (!rc && cli_value(&c, "out") && (st = hpt_model_save(winner, cli_value(&c, "out"), NULL)))
        rc = cli_fail("search", st);
    for (uint32_t i = 0; i < n && !rc; i++) cli_unreadable(&c, name[i], source[i], "others stood in");
    for (int i = 0; i < 2 && !rc; i++) cli_unreadable(&c, names[i], set[i], "left out");
    hpt_result_destroy(r);
    for (uint32_t i = 0; i < n; i++) hpt_dataset_destroy(source[i]);
    for (int i = 0; i < 2; i++) hpt_dataset_destroy(set[i]);
    free(copy);
    hpt_model_destroy(winner);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

static hpt_status layer_values(cli *c, hpt_model *m, hpt_dataset *ds, const char *layer, uint64_t images, float **x,
                               uint64_t *width) {
    hpt_layer_info l = {.struct_size = sizeof l};
    char size[16] = "224", pool[16] = "";
    hpt_status st;
    hpt_config_get(c->cfg, "image_size", size, sizeof size, NULL);
    hpt_config_get(c->cfg, "act_pool", pool, sizeof pool, NULL);
    if ((st = hpt_model_layer(m, layer, (uint32_t)atoi(size), &l))) return st;
    *width = !strcmp(pool, "average") ? l.channels : (uint64_t)l.channels * l.height * l.width;
    if (!(*x = malloc((size_t)(images * *width) * 4 + 4))) return HPT_ERR_MEMORY;
    return hpt_model_activations(m, ds, c->cfg, layer, *x, images * *width);
}
/* Rows of images that cannot be read leave both. Returns how many stay. */
static uint64_t readable_rows(const hpt_dataset *ds, uint64_t images, float *x[2], const uint64_t width[2]) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < images; i++) {
        int32_t readable = 1;
        hpt_dataset_readable(ds, i, &readable);
        for (int k = 0; k < 2 && readable && kept < i; k++)
            memcpy(x[k] + kept * width[k], x[k] + i * width[k], sizeof *x[k] * (size_t)width[k]);
        kept += readable != 0;
    }
    return kept;
}
static void print_layers(const cli *c, const hpt_model *m) {
    hpt_layer_info l = {.struct_size = sizeof l};
    char size[16] = "224";
    json_t *list = json_array();
    hpt_config_get(c->cfg, "image_size", size, sizeof size, NULL);
    cli_say(NULL);
    for (uint32_t i = 0; hpt_model_layer_info(m, i, (uint32_t)atoi(size), &l) == HPT_OK; i++)
        if (!cli_value(c, "json")) printf("%-24s %u x %u x %u\n", l.name, l.channels, l.height, l.width);
        else
            json_array_append_new(list, json_pack("{s:s, s:[I,I,I]}", "name", l.name, "shape", (json_int_t)l.channels,
                                                  (json_int_t)l.height, (json_int_t)l.width));
    if (cli_value(c, "json")) cli_print(list);
    else json_decref(list);
}
int cmd_similarity(int argc, char **argv) {
    cli_arg args[] = {{"data", "PATH", "images to compare on", NULL, 0},
                      {"layer", "NAME", "layer (avgpool); `--layers` lists them", NULL, 0},
                      {"layers", "", "list the layers of one model", NULL, 1},
                      {"json", "", "print the result as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    static const char *const names[1] = {"data"};
    cli c = {.command = "similarity", .takes = 2, .stage = "embed", .args = args,
             .about = "hpt similarity FILE FILE --data PATH [--layer layer4 --act_pool average]\nRV2 of two models' "
             "activations on the same images: 1 alike, 0 unrelated."};
    hpt_model *m[2] = {NULL, NULL};
    hpt_dataset *ds = NULL;
    hpt_dataset_info info = {.struct_size = sizeof info};
    float *x[2] = {NULL, NULL};
    uint64_t width[2] = {0, 0};
    double rv2 = 0;
    hpt_status st = HPT_OK;
    int rc = cli_parse(&c, argc, argv), list;
    if (rc) return rc - 1;
    list = cli_value(&c, "layers") != NULL;
    if (list && (c.n_positional != 1 || cli_value(&c, "data") || cli_value(&c, "layer")))
        return fprintf(stderr, "hpt similarity: --layers goes with one model and nothing else\n"), 2;
    if (!list && (c.n_positional < 2 || !cli_value(&c, "data")))
        return fprintf(stderr, "hpt similarity: two models and --data are needed\n"), 2;
    const char *layer = cli_value(&c, "layer") ? cli_value(&c, "layer") : "avgpool";
    if ((rc = cli_open(&c))) return rc;
    for (int i = 0; i < (list ? 1 : 2); i++)
        if ((rc = cli_model(&c, c.positional[i], &m[i]))) return rc;
    if (list) print_layers(&c, m[0]);
    else {
        st = cli_dataset(&c, "data", cli_value(&c, "data"), &ds);
        if (!st) st = hpt_dataset_get_info(ds, &info);
        if (!st) rc = cli_begin(&c, names, &ds, 1);
        for (int i = 0; i < 2 && !st && !rc; i++) st = layer_values(&c, m[i], ds, layer, info.count, &x[i], &width[i]);
        uint64_t n = st || rc ? 0 : readable_rows(ds, info.count, x, width);
        if (!st && !rc) st = hpt_context_rv2(c.ctx, x[0], width[0], x[1], width[1], n, &rv2);
        if (st) rc = cli_fail("similarity", st);
        else if (!rc && cli_value(&c, "json")) {
            json_t *j = json_pack("{s:f, s:s, s:I}", "rv2", rv2, "layer", layer, "images", (json_int_t)n);
            cli_json_text(j, "a", c.positional[0]);
            cli_json_text(j, "b", c.positional[1]);
            cli_print(j);
        } else if (!rc) printf("RV2 of %s over %llu images: %.4f\n", layer, (unsigned long long)n, rv2);
        if (!rc) cli_unreadable(&c, "data", ds, "left out");
    }
    for (int i = 0; i < 2; i++) {
        free(x[i]);
        hpt_model_destroy(m[i]);
    }
    hpt_dataset_destroy(ds);
    cli_close(&c);
    return rc;
}

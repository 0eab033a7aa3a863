/* SPDX-License-Identifier: MIT
 * The classifier that is part of a model: made by finetuning, kept in files, read from files of others, and what it
 * predicts. What must come out is computed here from features and weights. */
#include "shell.h"
#include <sys/stat.h>
#include <unistd.h>

#define SMALL                                                                                                          \
    "arch=resnet10 width=16 stem=small image_size=16 eval_crop=full precision=fp32 overlap=allow batch_size=5 "
#define TUNE SMALL "ft_batch=12 ft_micro=6 ft_lr=0.01 ft_length=4 ft_eval_every=4 probe_keep=1 "
enum { DIM = 128 };

/* logits, straight from the features */
static void expected(hpt_model *m, hpt_dataset *ds, hpt_config *c, size_t n, size_t classes, double *out) {
    float *f = malloc(n * DIM * 4), *w = malloc(classes * DIM * 4), *b = malloc(classes * 4);
    OK(hpt_model_features(m, ds, c, f, n * DIM));
    OK(hpt_model_get_tensor(m, "classifier.weight", w, classes * DIM));
    OK(hpt_model_get_tensor(m, "classifier.bias", b, classes));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < classes; k++) {
            double v = b[k];
            for (size_t j = 0; j < DIM; j++) v += (double)w[k * DIM + j] * f[i * DIM + j];
            out[i * classes + k] = v;
        }
    free(f);
    free(w);
    free(b);
}
static void close_to(const float *x, const double *y, size_t n, double tolerance) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance * (1 + fabs(y[i]))))
            FAIL("value %zu is %.8g, not %.8g", i, (double)x[i], y[i]);
}
static hpt_model *load(hpt_context *ctx, const char *pairs, const char *path) {
    hpt_model *m;
    OK(hpt_model_load(ctx, config(pairs), path, &m, NULL));
    return m;
}
static hpt_model_info info_of(hpt_model *m) {
    hpt_model_info i = {.struct_size = sizeof i};
    OK(hpt_model_get_info(m, &i));
    return i;
}
static hpt_model *tuned_on(hpt_context *ctx, hpt_dataset *ds, hpt_dataset *score, const char *pairs, hpt_result **r) {
    hpt_model *m, *tuned;
    hpt_config *c = config(pairs);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_finetune(m, ds, ds, score, c, &tuned, r));
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    return tuned;
}

TEST(classifier_of_a_finetuned_model) {
    static const char *const backends[] = {"reference", "onednn"};
    char *dir = temp_dir(), path[300];
    for (int b = 0; b < 2; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        enum { N = 13, K = 3 };
        hpt_dataset *ds = toy_set(ctx, "", 24, 16, K), *held = toy_set(ctx, "", N, 16, K);
        hpt_result *r;
        hpt_model *m = tuned_on(ctx, ds, held, TUNE, &r), *plain;
        hpt_config *c = config("image_size=16 eval_crop=full precision=fp32 batch_size=5");
        float kept[N * K], x[N * K], y[N * K];
        double want[N * K], also[N * K];
        hpt_model_info i = info_of(m);
        CHECK(i.classes == K && !i.several);
        OK(hpt_result_array(r, "test_logits", kept, N * K, NULL));
        OK(hpt_model_predict(m, held, c, x, N * K));
        expected(m, held, c, N, K, want);
        close_to(x, want, N * K, 1e-5);
        for (int k = 0; k < N * K; k++) also[k] = kept[k];
        close_to(x, also, N * K, 1e-4); /* what the finetuning scored */
        FAILS(HPT_ERR_ARGUMENT, "13 images x 3 are needed", hpt_model_predict(m, held, c, x, N * K + 1));
        /* a copy, and every layout that has a place for it */
        static const char *const files[] = {"m.pth", "m.safetensors"};
        for (int f = -1; f < 2; f++) {
            hpt_model *again;
            snprintf(path, sizeof path, "%s/%s", dir, files[f < 0 ? 0 : f]);
            if (f < 0)
                OK(hpt_model_clone(m, &again));
            else {
                OK(hpt_model_save(m, path, NULL));
                again = load(ctx, "", path);
            }
            OK(hpt_model_predict(again, held, c, y, N * K));
            CHECK(!memcmp(x, y, sizeof x));
            char name[8];
            OK(hpt_model_class_name(again, 2, name, sizeof name, NULL));
            CHECK(!strcmp(name, "2"));
            FAILS(HPT_ERR_ARGUMENT, "class 3 of a model with 3",
                  hpt_model_class_name(again, 3, name, sizeof name, NULL));
            hpt_model_destroy(again);
        }
        plain = load(ctx, "classifier=drop", path);
        CHECK(!info_of(plain).classes);
        FAILS(HPT_ERR_STATE, "the model has no classifier", hpt_model_predict(plain, held, c, x, N * K));
        hpt_model_destroy(plain);
        OK(hpt_model_save(m, path, "moco"));
        FAILS(HPT_ERR_MISMATCH, "no classifier lies beside",
              hpt_model_load(ctx, config("classifier=take"), path, &plain, NULL));
        hpt_context_destroy(ctx);
    }
}

TEST(classifier_of_several_labels) {
    hpt_context *ctx = fast_context();
    char *dir = temp_dir(), path[300];
    hpt_dataset *ds;
    hpt_result *r;
    stripes(dir, 6);
    snprintf(path, sizeof path, "%s/list.csv", dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "filename,upright,\"odd, \"\"one\"\"\"\n");
    for (int i = 0; i < 12; i++) fprintf(f, "set/%s/%03d.ppm,%d,%d\n", i < 6 ? "columns" : "rows", i % 6, i < 6, i % 2);
    fclose(f);
    OK(hpt_dataset_open(ctx, config("list_root="), path, &ds));
    hpt_model *m = tuned_on(ctx, ds, ds, TUNE, &r), *again;
    snprintf(path, sizeof path, "%s/m.safetensors", dir);
    OK(hpt_model_save(m, path, NULL));
    again = load(ctx, "", path);
    char name[32];
    CHECK(info_of(again).several == 1 && info_of(again).classes == 2);
    OK(hpt_model_class_name(again, 1, name, sizeof name, NULL));
    CHECK(!strcmp(name, "odd, \"one\""));
}

/* Names of any length, and more of them than a text of the JSON scanner holds. */
TEST(classifier_names_of_a_thousand_classes) {
    enum { K = 1100 };
    hpt_context *ctx = fast_context();
    char *dir = temp_dir(), path[300], name[64], want[64];
    hpt_dataset *ds;
    hpt_result *r;
    stripes(dir, 1);
    snprintf(path, sizeof path, "%s/list.csv", dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "filename,label\n");
    for (int k = 0; k < K; k++) fprintf(f, "set/rows/000.ppm,\"Gattung \xc3\xa4 \"\"%04d\"\"\"\n", k);
    fclose(f);
    OK(hpt_dataset_open(ctx, NULL, path, &ds));
    hpt_model *m = tuned_on(ctx, ds, NULL, TUNE "ft_length=1 ft_eval_every=1", &r);
    static const char *const files[] = {"m.pth", "m.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        OK(hpt_model_save(m, path, NULL));
        hpt_model *again = load(ctx, "", path);
        CHECK(info_of(again).classes == K);
        for (uint32_t k = 0; k < K; k += 7) {
            OK(hpt_model_class_name(again, k, name, sizeof name, NULL));
            OK(hpt_model_class_name(m, k, want, sizeof want, NULL));
            CHECK(!strcmp(name, want) && !strncmp(name, "Gattung \xc3\xa4", 10));
        }
    }
}

/* MoCo v1's head is called fc.weight too: it is no classifier, in no file of ours. */
TEST(classifier_is_no_projection_head) {
    hpt_context *ctx = fast_context();
    hpt_config *c = config(SMALL "mlp=0 moco_dim=24");
    char *dir = temp_dir(), path[300];
    hpt_model *m, *again;
    hpt_result *r;
    hpt_dataset *ds = toy_set(ctx, "", 12, 16, 3);
    OK(hpt_model_create(ctx, c, &m));
    snprintf(path, sizeof path, "%s/v1.safetensors", dir);
    OK(hpt_model_save(m, path, NULL));
    CHECK(!info_of(load(ctx, "", path)).classes);
    FAILS(HPT_ERR_MISMATCH, "no classifier lies beside",
          hpt_model_load(ctx, config("classifier=take"), path, &again, NULL));
    snprintf(path, sizeof path, "%s/v1.pth", dir);
    OK(hpt_model_save(m, path, "moco"));
    FAILS(HPT_ERR_MISMATCH, "no classifier lies beside",
          hpt_model_load(ctx, config("classifier=take"), path, &again, NULL));
    m = tuned_on(ctx, ds, NULL, TUNE "mlp=0 moco_dim=24", &r);
    snprintf(path, sizeof path, "%s/tuned.safetensors", dir);
    OK(hpt_model_save(m, path, NULL));
    CHECK(info_of(load(ctx, "", path)).classes == 3);
}

TEST(classifier_goes_when_features_change) {
    hpt_context *ctx = fast_context();
    hpt_dataset *ds = toy_set(ctx, "", 12, 16, 3);
    hpt_result *r;
    hpt_session *s;
    hpt_model *m = tuned_on(ctx, ds, NULL, TUNE, &r);
    OK(hpt_model_refresh_bn(m, ds, config("image_size=16 precision=fp32 batch_size=12"), NULL));
    CHECK(info_of(m).classes == 3); /* its weights stay, as AdaBN has it */
    OK(hpt_session_create(ctx, config("image_size=16 batch_size=4 moco_k=8 steps=1 precision=fp32"), m, ds, &s));
    OK(hpt_session_run(s, NULL, NULL));
    CHECK(!info_of(m).classes);
}

TEST(predict_on_the_command_line) {
    char *dir = temp_dir(), *set_ = stripes(dir, 6);
    const char *o = "--image_size 16 --eval_crop full --precision fp32 --backend reference --threads 1";
    RUN(HPT_TEST_BIN "/hpt finetune --train %s --init random --arch resnet10 --width 16 --stem small %s --ft_batch 12 "
                     "--ft_micro 12 --ft_lr 0.05 --ft_length 12 --ft_eval_every 4 --out %s/m.pth",
        set_, o, dir);
    RUN(HPT_TEST_BIN "/hpt info %s/m.pth", dir);
    CHECK(strstr(output, "classifier  2 classes (loaded)") && !strstr(output, "fc. "));
    RUN("printf broken > %s/columns/zz.ppm", set_);
    RUN(HPT_TEST_BIN "/hpt predict --init %s/m.pth --data %s --top 5 --bad_image skip %s 2> %s/log", dir, set_, o, dir);
    CHECK(!strncmp(output, "filename,class,probability,class_2,probability_2\n", 49));
    int lines = 0, holes = 0;
    for (char *p = strchr(output, '\n') + 1, *end; *p; p = end + 1, lines++) {
        char first[16], second[16], name[300];
        double a, b;
        CHECK((end = strchr(p, '\n')) != NULL);
        *end = 0;
        if (strstr(p, "zz.ppm")) {
            CHECK(!strcmp(strrchr(p, '"'), "\",,,,"));
            holes++;
            continue;
        }
        if (sscanf(p, "\"%299[^\"]\",\"%15[^\"]\",%lf,\"%15[^\"]\",%lf", name, first, &a, second, &b) != 5)
            FAIL("line '%s'", p);
        CHECK(strcmp(first, second) && (!strcmp(first, "rows") || !strcmp(first, "columns")));
        CHECK(a >= b && b >= 0 && fabs(a + b - 1) < 1e-5);
    }
    CHECK(lines == 13 && holes == 1);
    RUN(HPT_TEST_BIN "/hpt export %s/m.pth %s/m.safetensors", dir, dir);
    RUN(HPT_TEST_BIN "/hpt predict --init %s/m.safetensors --data %s --bad_image skip %s --out %s/p.csv", dir, set_, o,
        dir);
    CHECK(strstr(output, "13 images in"));
    RUN("cd %s && $OLDPWD/" HPT_TEST_BIN "/hpt predict --init m.safetensors --data %s --bad_image skip %s --out - "
        "> std.csv 2> log && cmp std.csv p.csv && ! ls ./-", dir, set_, o);
    RUN(HPT_TEST_BIN "/hpt export %s/m.pth %s/none.pth --classifier drop", dir, dir);
    REFUSED(1, "no classifier lies beside", HPT_TEST_BIN "/hpt predict --init %s/none.pth --data %s %s", dir, set_, o);
    REFUSED(2, "--init and --data are needed", HPT_TEST_BIN "/hpt predict --data %s", set_);
    REFUSED(1, "zz.ppm", HPT_TEST_BIN "/hpt predict --init %s/m.pth --data %s %s --out %s/q.csv", dir, set_, o, dir);
    char path[300];
    snprintf(path, sizeof path, "%s/q.csv", dir);
    CHECK(access(path, F_OK));
    /* torchvision's own file: classes are numbers */
    RUN("gunzip -c tests/golden/torchvision-resnet18.pth.gz > %s/tv.pth", dir);
    RUN(HPT_TEST_BIN "/hpt info %s/tv.pth", dir);
    CHECK(strstr(output, "(loaded with classifier=take)"));
    unlink((snprintf(path, sizeof path, "%s/columns/zz.ppm", set_), path));
    RUN(HPT_TEST_BIN "/hpt predict --init %s/tv.pth --data %s %s", dir, set_, o);
    CHECK(strstr(output, "columns/000.ppm\",\""));
}

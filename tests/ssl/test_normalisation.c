/* SPDX-License-Identifier: MIT
 * The mean and deviation that a model was trained with travel with it: into every file, through every stage, and
 * into every result. */
#define _GNU_SOURCE
#include "core/json.h"
#include "io/safetensors.h"
#include "io/torch_write.h"
#include "support.h"
#include <sys/stat.h>

#define TINY "arch=resnet10 width=16 stem=small image_size=16 moco_dim=8 batch_size=8 bn_group=0 moco_k=16 " \
    "precision=fp32 eval_crop=full " \
    "probe_lr=0.03 probe_steps=6 probe_eval_every=3 probe_batch=16 ft_lr=0.01 ft_length=2 ft_batch=8 ft_micro=8 " \
        "ft_eval_every=1 knn_k=5 steps=2 "
static const float imagenet[2][3] = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};

static hpt_model_info info_of(const hpt_model *m) {
    hpt_model_info i = {.struct_size = sizeof i};
    OK(hpt_model_get_info(m, &i));
    return i;
}
static int carries(const hpt_model *m, const float mean[3], const float std[3]) {
    hpt_model_info i = info_of(m);
    return !memcmp(i.pixel_mean, mean, sizeof i.pixel_mean) && !memcmp(i.pixel_std, std, sizeof i.pixel_std);
}
static json_t *json_of(const hpt_result *r) {
    size_t n;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    json_t *j = json_loads(text, 0, NULL);
    CHECK(j);
    free(text);
    return j;
}
/* The result rests on these, and says where they are from. */
static void rests_on(const hpt_result *r, const float mean[3], const float std[3], const char *from) {
    json_t *j = json_of(r);
    for (size_t c = 0; c < 3; c++) {
        CHECK((float)json_number_value(json_array_get(json_object_get(j, "pixel_mean"), c)) == mean[c]);
        CHECK((float)json_number_value(json_array_get(json_object_get(j, "pixel_std"), c)) == std[c]);
    }
    if (strcmp(json_string_value(json_object_get(j, "pixels_from")), from))
        FAIL("pixels_from is %s, not %s", json_string_value(json_object_get(j, "pixels_from")), from);
    CHECK(json_string_value(json_object_get(j, "backend")) &&
          !strcmp(json_string_value(json_object_get(j, "precision")), "fp32") &&
          json_integer_value(json_object_get(j, "threads")) >= 1);
    json_decref(j);
}
static hpt_model *train_on(hpt_context *ctx, hpt_config *c, hpt_model *m, hpt_dataset *ds) {
    hpt_session *s;
    OK(hpt_session_create(ctx, c, m, ds, &s));
    OK(hpt_session_run(s, NULL, NULL));
    hpt_session_destroy(s);
    return m;
}

TEST(one_image_has_the_same_features_alone_and_in_its_folder) {
    static const char *const backends[] = {"reference", "onednn"};
    for (int b = 0; b < 2; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        hpt_dataset *ds = toy_set(ctx, "", 11, 24, 3), *one;
        hpt_config *c = config(TINY);
        hpt_model *m;
        OK(hpt_model_create(ctx, c, &m));
        uint32_t d = info_of(m).feature_dim;
        float *all = malloc(sizeof *all * 11 * d), *alone = malloc(sizeof *alone * d);
        for (int trained = 0; trained < 2; trained++) {
            if (trained) train_on(ctx, c, m, ds);
            OK(hpt_model_features(m, ds, c, all, 11 * d));
            for (uint64_t i = 0; i < 11; i += 5) {
                OK(hpt_dataset_subset(ds, &i, 1, &one));
                OK(hpt_model_features(m, one, c, alone, d));
                CHECK(!memcmp(alone, all + i * d, sizeof *alone * d));
                hpt_dataset_destroy(one);
            }
        }
        free(all);
        free(alone);
    }
}

/* Trained, saved in every format, loaded: the same numbers to the last bit, and the same features. */
TEST(every_file_keeps_what_the_model_was_trained_with) {
    static const struct { const char *name, *format; } files[] = {{"a.safetensors", NULL}, {"a.pth", NULL},
                                                                  {"b.pth", "torchvision"}, {"c.pth", "moco"},
                                                                  {"d.pth", "openselfsup"}, {"e.bin", "safetensors"}};
    char *dir = temp_dir(), path[200];
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 16, 16, 2);
    hpt_config *c = config(TINY);
    hpt_model *m, *back;
    hpt_session *s;
    hpt_result *r;
    float mean[3], std[3];
    OK(hpt_dataset_stats(ds, mean, std));
    OK(hpt_model_create(ctx, c, &m));
    CHECK(carries(m, imagenet[0], imagenet[1]));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    CHECK(carries(m, imagenet[0], imagenet[1]));        /* nothing is trained yet */
    OK(hpt_session_result(s, &r));
    rests_on(r, mean, std, "data");
    json_t *j = json_of(r);
    CHECK(json_is_null(json_object_get(j, "loss")) && json_integer_value(json_object_get(j, "steps")) == 0 &&
          json_integer_value(json_object_get(j, "total_steps")) == 2);
    OK(hpt_session_run(s, NULL, NULL));
    OK(hpt_session_result(s, &r));
    CHECK(json_number_value(json_object_get(json_of(r), "loss")) > 0);
    CHECK(carries(m, mean, std) && memcmp(mean, imagenet[0], sizeof mean));
    uint32_t d = info_of(m).feature_dim;
    float *x = malloc(sizeof *x * 16 * d), *y = malloc(sizeof *y * 16 * d);
    OK(hpt_model_features(m, ds, c, x, 16 * d));
    for (size_t i = 0; i <= sizeof files / sizeof *files; i++) {
        if (i < sizeof files / sizeof *files) {
            snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
            OK(hpt_model_save(m, path, files[i].format));
        } else {
            snprintf(path, sizeof path, "%s/last.pth.tar", dir);
            OK(hpt_session_save(s, path));
        }
        OK(hpt_model_load(ctx, c, path, &back, &r));
        CHECK(carries(back, mean, std));
        CHECK(!strcmp(json_string_value(json_object_get(json_of(r), "pixels_from")), "model"));
        OK(hpt_model_features(back, ds, c, y, 16 * d));
        CHECK(!memcmp(x, y, sizeof *x * 16 * d));
        hpt_model_destroy(back);
    }
    hpt_session *again;     /* and a run that is taken up says what it said before */
    OK(hpt_model_create(ctx, c, &back));
    OK(hpt_session_create(ctx, c, back, ds, &again));
    OK(hpt_session_resume(again, path));
    OK(hpt_session_result(again, &r));
    rests_on(r, mean, std, "data");
    hpt_session_destroy(again);
    hpt_model_destroy(back);
    OK(hpt_model_clone(m, &back));
    CHECK(carries(back, mean, std));
}

/* Files of others take ImageNet's: bare, wrapped, and with values of that name that are none. */
TEST(files_of_others_take_imagenets) {
    char *dir = temp_dir(), path[200];
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config(TINY), *given = config(TINY "pixel_mean=0.5,0.5,0.5 pixel_std=0.25,0.25,0.25");
    const float half[3] = {0.5f, 0.5f, 0.5f}, quarter[3] = {0.25f, 0.25f, 0.25f};
    hpt_model *m, *back;
    hpt_tensor_info t = {.struct_size = sizeof t};
    hpt__st_item items[200];
    uint32_t n = 0;
    static const char *const metas[] = {"{}",
                                        "{\"pixel_mean\": \"123.675,116.28,103.53\", \"pixel_std\": "
                                        "\"58.395,57.12,57.375\"}", "{\"pixel_mean\": \"nan\", \"pixel_std\": \"\"}"};
    OK(hpt_model_create(ctx, c, &m));
    for (; hpt_model_tensor_info(m, n, &t) == HPT_OK; n++) {
        uint64_t count = 1;
        for (int k = 0; k < t.ndim; k++) count *= (uint64_t)t.shape[k];
        float *data = malloc(count * 4);
        OK(hpt_model_get_tensor(m, t.name, data, count));
        items[n] = (hpt__st_item){.name = strdup(t.name), .ndim = t.ndim, .data = data, .count = count};
        memcpy(items[n].shape, t.shape, sizeof items[n].shape);
    }
    snprintf(path, sizeof path, "%s/foreign.safetensors", dir);
    for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
        OK(hpt__safetensors_write(path, items, n, json_loads(metas[i], 0, NULL)));
        OK(hpt_model_load(ctx, c, path, &back, NULL));
        CHECK(carries(back, imagenet[0], imagenet[1]));
        hpt_model_destroy(back);
    }
    hpt__torch_out w;
    snprintf(path, sizeof path, "%s/foreign.pth", dir);
    hpt__tw_begin(&w);
    hpt__tw_dict(&w, 0);
    hpt__tw_str(&w, "pixel_mean"); hpt__tw_float(&w, 0.5);
    hpt__tw_str(&w, "state_dict");
    hpt__tw_dict(&w, 1);
    for (uint32_t i = 0; i < n; i++)
        hpt__tw_str(&w, items[i].name), hpt__tw_tensor_f32(&w, items[i].data, items[i].count, items[i].ndim,
                                                           items[i].shape, NULL);
    hpt__tw_end_dict(&w);
    hpt__tw_end_dict(&w);
    OK(hpt__tw_finish(&w, path));
    OK(hpt_model_load(ctx, c, path, &back, NULL));
    CHECK(carries(back, imagenet[0], imagenet[1]));
    hpt_model_destroy(back);
    /* told what they were trained with, they keep it */
    OK(hpt_model_load(ctx, given, path, &back, NULL));
    CHECK(carries(back, half, quarter));
    snprintf(path, sizeof path, "%s/told.pth", dir);
    OK(hpt_model_save(back, path, NULL));
    hpt_model_destroy(back);
    OK(hpt_model_load(ctx, c, path, &back, NULL));
    CHECK(carries(back, half, quarter));
}

/* Base, source, target: each stage of pretraining takes its own, what comes after takes the model's; options say
 * otherwise. */
TEST_LIMIT(stages_hand_it_on, 120) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *a = toy_set(ctx, "", 24, 16, 2), *b = toy_set(ctx, "invert=1", 24, 16, 2), *train, *rest;
    hpt_config *c = config(TINY "overlap=allow"), *o;
    const float half[3] = {0.5f, 0.5f, 0.5f}, quarter[3] = {0.25f, 0.25f, 0.25f};
    hpt_model *m, *tuned, *winner, *copy;
    hpt_result *r;
    float of_a[2][3], of_b[2][3], of_train[2][3];
    OK(hpt_dataset_stats(a, of_a[0], of_a[1]));
    OK(hpt_dataset_stats(b, of_b[0], of_b[1]));
    OK(hpt_dataset_per_class(a, 6, 1, &train, &rest));
    OK(hpt_dataset_stats(train, of_train[0], of_train[1]));
    CHECK(memcmp(of_a[0], of_b[0], 12) && memcmp(of_train[0], of_a[0], 12));
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_knn(m, train, rest, c, &r));
    rests_on(r, imagenet[0], imagenet[1], "imagenet");
    train_on(ctx, c, m, a);
    CHECK(carries(m, of_a[0], of_a[1]));
    train_on(ctx, c, m, b);
    CHECK(carries(m, of_b[0], of_b[1]));
    /* every evaluation: the model's */
    OK(hpt_model_knn(m, train, rest, c, &r));
    rests_on(r, of_b[0], of_b[1], "model");
    OK(hpt_model_linear(m, train, rest, NULL, c, &r));
    rests_on(r, of_b[0], of_b[1], "model");
    OK(hpt_model_finetune(m, train, rest, rest, c, &tuned, &r));
    rests_on(r, of_b[0], of_b[1], "model");
    CHECK(carries(tuned, of_b[0], of_b[1]));
    hpt_dataset *sources[2] = {a, b};
    const char *names[2] = {"a", "b"};
    OK(hpt_source_search(ctx, c, m, sources, names, 2, train, rest, NULL, NULL, &winner, &r));
    double at;
    OK(hpt_result_number(r, "winner_index", &at));
    rests_on(r, at > 0 ? of_b[0] : of_a[0], at > 0 ? of_b[1] : of_a[1], "model");
    CHECK(carries(winner, at > 0 ? of_b[0] : of_a[0], at > 0 ? of_b[1] : of_a[1]) && carries(m, of_b[0], of_b[1]));
    OK(hpt_model_clone(m, &copy));
    OK(hpt_model_refresh_bn(copy, a, c, &r));
    rests_on(r, of_b[0], of_b[1], "model");
    /* asked otherwise */
    o = config(TINY "overlap=allow pixel_mean=data pixel_std=data");
    OK(hpt_model_knn(m, train, rest, o, &r));
    rests_on(r, of_train[0], of_train[1], "data");
    OK(hpt_model_finetune(m, train, rest, NULL, o, &tuned, &r));
    rests_on(r, of_train[0], of_train[1], "data");
    CHECK(carries(tuned, of_train[0], of_train[1]) && carries(m, of_b[0], of_b[1]));
    OK(hpt_model_refresh_bn(copy, a, o, &r));
    rests_on(r, of_a[0], of_a[1], "data");
    CHECK(carries(copy, of_a[0], of_a[1]));             /* its running statistics are of images normalised so */
    o = config(TINY "overlap=allow pixel_mean=imagenet pixel_std=imagenet");
    OK(hpt_model_linear(m, train, rest, rest, o, &r));
    rests_on(r, imagenet[0], imagenet[1], "imagenet");
    o = config(TINY "overlap=allow pixel_mean=0.5,0.5,0.5 pixel_std=0.25,0.25,0.25");
    OK(hpt_model_knn(m, train, rest, o, &r));
    rests_on(r, half, quarter, "given");
    o = config(TINY "overlap=allow pixel_mean=0.5,0.5,0.5");
    OK(hpt_model_knn(m, train, rest, o, &r));
    rests_on(r, half, of_b[1], "mean given, std model");
    /* pretraining that keeps the model's */
    o = config(TINY "pixel_mean=model pixel_std=model");
    OK(hpt_model_clone(m, &copy));
    train_on(ctx, o, copy, a);
    CHECK(carries(copy, of_b[0], of_b[1]));
    static const char *const bad[] = {"123.675,116.28,103.53", "0.5,0.5", "mean", "-0.1,0,0", "0.5,0.5,0.5,0.5",
                                      "nan,0,0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o = config(TINY "overlap=allow");
        OK(hpt_config_set(o, "pixel_mean", bad[i]));
        FAILS(HPT_ERR_OPTION, "pixel_mean", hpt_model_knn(m, train, rest, o, &r));
    }
    o = config(TINY "overlap=allow pixel_std=0.2,0,0.2");
    FAILS(HPT_ERR_OPTION, "pixel_std", hpt_model_knn(m, train, rest, o, &r));
    hpt_session *s;
    o = config(TINY "pixel_mean=data");
    FAILS(HPT_ERR_OPTION, "data needs a data set", hpt_session_create(ctx, o, m, NULL, &s));
    OK(hpt_session_create(ctx, c, m, NULL, &s));        /* the host gives the views: as the model had it */
    OK(hpt_session_sync(s));
    CHECK(carries(m, of_b[0], of_b[1]));
}

/* A resumed run goes on with its own, and the monitor looks with the eyes of the run. */
TEST(resumed_and_watched_runs_keep_theirs) {
    char *dir = temp_dir(), path[200];
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 24, 16, 2), *other = toy_set(ctx, "invert=1", 24, 16, 2);
    hpt_config *c = config(TINY "pixel_mean=model pixel_std=model"), *plain = config(TINY "monitor_every=2");
    hpt_model *a, *b;
    hpt_session *s;
    hpt_result *r;
    hpt_step_info info = {.struct_size = sizeof info};
    const float third[3] = {1.0f / 3, 0.1f, 0.7f}, tenth[3] = {0.1f, 0.3f, 1.0f / 7};
    hpt_config *given = config(TINY);
    char text[100];
    snprintf(text, sizeof text, "%.9g,%.9g,%.9g", (double)third[0], (double)third[1], (double)third[2]);
    OK(hpt_config_set(given, "pixel_mean", text));
    snprintf(text, sizeof text, "%.9g,%.9g,%.9g", (double)tenth[0], (double)tenth[1], (double)tenth[2]);
    OK(hpt_config_set(given, "pixel_std", text));
    OK(hpt_model_create(ctx, given, &a));
    CHECK(carries(a, third, tenth));
    OK(hpt_session_create(ctx, c, a, ds, &s));
    OK(hpt_session_step(s, NULL));
    snprintf(path, sizeof path, "%s/last.pth.tar", dir);
    OK(hpt_session_save(s, path));
    OK(hpt_session_step(s, NULL));
    OK(hpt_session_sync(s));
    /* another model's statistics until the checkpoint says whose run it is */
    OK(hpt_model_create(ctx, config(TINY), &b));
    OK(hpt_session_create(ctx, c, b, ds, &s));
    OK(hpt_session_resume(s, path));
    OK(hpt_session_result(s, &r));
    rests_on(r, third, tenth, "model");
    OK(hpt_session_step(s, NULL));
    OK(hpt_session_sync(s));
    CHECK(carries(b, third, tenth));
    float x[16 * 27], y[16 * 27];
    OK(hpt_model_get_tensor(a, "conv1.weight", x, 16 * 27));
    OK(hpt_model_get_tensor(b, "conv1.weight", y, 16 * 27));
    CHECK(!memcmp(x, y, sizeof x));
    /* the monitor's score is the one of a call with the model as it was trained, whichever way the run was told */
    static const char *const told[] = {"auto", "data", "0.4,0.4,0.4"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        double score;
        OK(hpt_config_set(plain, "pixel_mean", told[i]));
        OK(hpt_model_create(ctx, config(TINY), &b));
        OK(hpt_session_create(ctx, plain, b, other, &s));
        OK(hpt_config_set(plain, "overlap", "allow"));
        hpt_dataset *vote, *scored;
        OK(hpt_dataset_per_class(ds, 6, 1, &vote, &scored));
        OK(hpt_session_monitor(s, vote, scored));
        OK(hpt_session_run(s, NULL, NULL));
        OK(hpt_session_get_info(s, &info));
        OK(hpt_model_knn(b, vote, scored, config(TINY), &r));
        OK(hpt_result_number(r, "knn_score", &score));
        CHECK(info.monitor_step == 2 && score == info.monitor);
    }
}

/* SPDX-License-Identifier: MIT
 * What a host gives a session beside its data set, and asks of it: hpt_session_data, hpt_session_metric,
 * hpt_session_step_batch, of every method, and what they refuse. */
#include "nn/model.h"
#undef CHECK
#include "support.h"

#define TINY "arch=resnet10 width=16 stem=small image_size=16 batch_size=6 bn_group=0 precision=fp32 steps=4 lr=0.05 "
#define MOCO TINY "moco_dim=16 moco_k=24 "
#define BYOL TINY "method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 "
#define SUPERVISED TINY "method=supervised "
enum { N = 6, SIZE = 16, PIXELS = N * 3 * SIZE * SIZE };

static hpt_session *session(hpt_context *ctx, const char *options, hpt_dataset *ds, hpt_model **model) {
    hpt_model *m;
    hpt_session *s;
    hpt_config *c = config(options);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    hpt_config_destroy(c);
    if (model) *model = m;
    return s;
}
/* "loss chance ..." */
static char *metric_names(hpt_session *s) {
    static char text[400];
    hpt_metric m = {.struct_size = sizeof m};
    uint32_t i = 0;
    text[0] = 0;
    for (; hpt_session_metric(s, i, &m) == HPT_OK; i++) snprintf(text + strlen(text), 40, "%s%s", i ? " " : "", m.name);
    CHECK(hpt_session_metric(s, i, &m) == HPT_END && hpt_session_metric(s, i + 100, &m) == HPT_END);
    return text;
}
static hpt_metric metric(hpt_session *s, const char *name) {
    hpt_metric m = {.struct_size = sizeof m};
    for (uint32_t i = 0; hpt_session_metric(s, i, &m) == HPT_OK; i++)
        if (!strcmp(m.name, name)) return m;
    FAIL("no metric %s", name);
}

TEST(metrics_of_every_method) {
    static const struct { const char *options, *names; } all[] = {
        {MOCO, "loss chance contrast_acc1 contrast_acc5 z_std queue_fill lr"}, {BYOL, "loss z_std lr"},
        {SUPERVISED, "loss chance train_top1 train_top5 lr"}};
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 12, SIZE, 3);
    for (int k = 0; k < 3; k++) {
        hpt_session *s = session(ctx, all[k].options, ds, NULL);
        hpt_step_info info = {.struct_size = sizeof info};
        if (strcmp(metric_names(s), all[k].names)) FAIL("%s", metric_names(s));
        CHECK(isnan(metric(s, "loss").value) && isnan(metric(s, "lr").value));
        OK(hpt_session_step(s, &info));
        hpt_metric loss = metric(s, "loss");
        CHECK(loss.value == info.loss && loss.higher_is_better == -1 && metric(s, "lr").value == info.lr);
        if (k == 0) {
            CHECK(metric(s, "queue_fill").value == info.queue_fill && info.queue_fill == N);
            CHECK(metric(s, "contrast_acc5").value == info.acc5 && metric(s, "chance").value == info.chance);
        }
        if (k == 1) CHECK(isnan(info.chance) && isnan(info.acc1) && isnan(info.acc5) && !info.queue_fill);
        if (k == 2) {
            hpt_metric top = metric(s, "train_top1");
            CHECK(top.value == info.acc1 && top.higher_is_better == 1 && !strcmp(top.unit, "%"));
            CHECK(isnan(info.z_std) && !info.queue_fill);
        }
        hpt_metric small = {.struct_size = 16};         /* of an older header: only what it has room for is filled */
        small.name[0] = 'x';
        OK(hpt_session_metric(s, 0, &small));
        CHECK(small.value == info.loss && small.name[0] == 'x');
        small.struct_size = 4;
        FAILS(HPT_ERR_ARGUMENT, "struct_size", hpt_session_metric(s, 0, &small));
        FAILS(HPT_ERR_ARGUMENT, "NULL", hpt_session_metric(s, 0, NULL));
        hpt_session_destroy(s);
    }
}

static float *views(int n, uint64_t seed) {
    float *x = malloc((size_t)n * PIXELS * 4);
    fill_f32(x, (uint64_t)n * PIXELS, seed, 2, 0);
    return x;
}

/* A batch of the host's is the same step as the calls that there were, to the last bit. */
TEST(batches_of_the_host) {
    hpt_context *ctx = context("reference", 1);
    const char *options[] = {MOCO, BYOL};
    const float *view[2] = {views(1, 5), views(1, 6)};
    hpt_batch b = {.struct_size = sizeof b, .images = N, .views = 2, .height = SIZE, .width = SIZE, .view = view};
    for (int k = 0; k < 2; k++) {
        hpt_model *one, *two;
        hpt_session *s = session(ctx, options[k], NULL, &one), *t = session(ctx, options[k], NULL, &two);
        for (int i = 0; i < 3; i++) {
            hpt_step_info a = {.struct_size = sizeof a}, c = {.struct_size = sizeof c};
            OK(hpt_session_step_images(s, view[0], view[1], &a));
            OK(hpt_session_step_batch(t, &b, &c));
            CHECK(a.loss == c.loss && c.step == (uint64_t)i + 1 && c.epoch == 0);
        }
        OK(hpt_session_sync(s));
        OK(hpt_session_sync(t));
        CHECK(!memcmp(one->params, two->params, one->net.n_params * 4));
        int32_t label[N] = {0};
        b.label = label;
        FAILS(HPT_ERR_ARGUMENT, "labels mean nothing to method=", hpt_session_step_batch(t, &b, NULL));
        b.label = NULL;
    }
}

/* Images and labels of the caller's own, with a fresh classifier: it learns them. */
TEST(labelled_batches_of_the_host) {
    hpt_context *ctx = context("reference", 1);
    float *x = views(1, 7);
    const float *view[1] = {x};
    int32_t label[N] = {0, 1, 2, 0, 1, 2};
    for (int i = 0; i < N; i++)         /* a class is a colour */
        for (int j = 0; j < 3 * SIZE * SIZE; j++)
            x[i * 3 * SIZE * SIZE + j] *= j / (SIZE * SIZE) == label[i] ? 1.0f : 0.1f;
    hpt_batch b = {.struct_size = sizeof b, .images = N, .views = 1, .height = SIZE, .width = SIZE, .view = view,
                   .label = label};
    hpt_model *m, *none;
    hpt_session *s = session(ctx, SUPERVISED "classes=3 steps=30 schedule=constant", NULL, &m);
    hpt_step_info info = {.struct_size = sizeof info}, first = {.struct_size = sizeof first};
    OK(hpt_session_step_batch(s, &b, &first));
    CHECK(fabs(first.chance - log(3)) < 1e-12);
    while (hpt_session_step_batch(s, &b, &info) == HPT_OK) {}
    printf("  loss %.3f, then %.3f\n", first.loss, info.loss);
    CHECK(info.step == 30 && info.loss < 0.3 * first.loss && info.acc1 == 100);
    hpt_model_info mi = {.struct_size = sizeof mi};
    OK(hpt_session_sync(s));
    OK(hpt_model_get_info(m, &mi));
    CHECK(mi.classes == 3);
    /* nothing wrong is run */
    s = session(ctx, SUPERVISED "classes=3", NULL, NULL);
    FAILS(HPT_ERR_STATE, "hpt_session_step_batch()", hpt_session_step_images(s, x, x, NULL));
    FAILS(HPT_ERR_STATE, "hpt_session_step_batch()", hpt_session_step(s, NULL));
    struct { uint32_t images, views, height, width; } wrong[] = {{5, 1, 16, 16}, {6, 2, 16, 16}, {6, 1, 8, 16},
                                                                 {6, 1, 16, 17}, {0, 0, 0, 0}};
    for (int i = 0; i < 5; i++) {
        hpt_batch w = b;
        w.images = wrong[i].images;
        w.views = wrong[i].views;
        w.height = wrong[i].height;
        w.width = wrong[i].width;
        FAILS(HPT_ERR_ARGUMENT, "6 images with 1 view of 16x16", hpt_session_step_batch(s, &w, NULL));
    }
    label[4] = 3;
    FAILS(HPT_ERR_ARGUMENT, "label 3 of image 4 of the batch is outside 0..2", hpt_session_step_batch(s, &b, NULL));
    label[4] = -1;
    FAILS(HPT_ERR_ARGUMENT, "label -1 of image 4", hpt_session_step_batch(s, &b, NULL));
    label[4] = 1;
    b.label = NULL;
    FAILS(HPT_ERR_ARGUMENT, "needs the labels", hpt_session_step_batch(s, &b, NULL));
    b.label = label;
    view[0] = NULL;
    FAILS(HPT_ERR_ARGUMENT, "view 0 of the batch is NULL", hpt_session_step_batch(s, &b, NULL));
    view[0] = x;
    b.view = NULL;
    FAILS(HPT_ERR_ARGUMENT, "view 0", hpt_session_step_batch(s, &b, NULL));
    b.view = view;
    FAILS(HPT_ERR_ARGUMENT, "batch is NULL", hpt_session_step_batch(s, NULL, NULL));
    b.struct_size = 0;
    FAILS(HPT_ERR_ARGUMENT, "struct_size", hpt_session_step_batch(s, &b, NULL));
    struct { hpt_batch b; uint64_t later; } newer = {b, 0};
    newer.b.struct_size = sizeof newer;
    OK(hpt_session_step_batch(s, &newer.b, &info));        /* what a newer header has is not set */
    newer.later = 1;
    FAILS(HPT_ERR_VERSION, "does not know", hpt_session_step_batch(s, &newer.b, NULL));
    OK(hpt_session_get_info(s, &info));
    CHECK(info.step == 1);
    /* a classifier that nobody described, or described otherwise */
    hpt_session *t;
    OK(hpt_model_create(ctx, config(SUPERVISED), &none));
    FAILS(HPT_ERR_ARGUMENT, "option classes", hpt_session_create(ctx, config(SUPERVISED), none, NULL, &t));
    FAILS(HPT_ERR_MISMATCH, "'classes' is 4 and the model's classifier has 3",
          hpt_session_create(ctx, config(SUPERVISED "classes=4"), m, NULL, &t));
    FAILS(HPT_ERR_OPTION, "balanced",
          hpt_session_create(ctx, config(SUPERVISED "classes=3 class_weights=balanced"), none, NULL, &t));
}

/* Further data sets by role: nearest neighbours as by hpt_session_monitor(), a classifier by its own answers. */
TEST(data_sets_by_role) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 12, SIZE, 3), *votes = toy_set(ctx, "", 9, SIZE, 3),
                *val = toy_set(ctx, "", 15, SIZE, 3);
#define WATCHED " monitor_every=2 overlap=allow eval_crop=full knn_k=3 "
    const char *methods[] = {MOCO WATCHED, BYOL WATCHED};
    for (int k = 0; k < 2; k++) {
        hpt_session *a = session(ctx, methods[k], ds, NULL), *b = session(ctx, methods[k], ds, NULL);
        OK(hpt_session_monitor(a, votes, val));
        OK(hpt_session_data(b, "val", val));
        FAILS(HPT_ERR_STATE, "needs one of role 'labelled'", hpt_session_step(b, NULL));
        OK(hpt_session_data(b, "labelled", votes));
        hpt_step_info i = {.struct_size = sizeof i}, j = {.struct_size = sizeof j};
        OK(hpt_session_run(a, NULL, NULL));
        OK(hpt_session_run(b, NULL, NULL));
        OK(hpt_session_get_info(a, &i));
        OK(hpt_session_get_info(b, &j));
        CHECK(i.monitor == j.monitor && i.monitor_best == j.monitor_best && i.monitor_step == 4 && j.monitor_step == 4);
        CHECK(metric(b, "knn_top1").value == j.monitor && metric(b, "knn_top1_best").value == j.monitor_best);
        FAILS(HPT_ERR_STATE, "already", hpt_session_data(b, "val", val));
        hpt_session *c = session(ctx, methods[k], ds, NULL);
        FAILS(HPT_ERR_ARGUMENT, "it has: labelled val", hpt_session_data(c, "unlabelled", val));
        FAILS(HPT_ERR_ARGUMENT, "NULL", hpt_session_data(c, NULL, val));
        OK(hpt_session_step(c, NULL));
        FAILS(HPT_ERR_STATE, "before the first step", hpt_session_data(c, "labelled", val));
    }
    /* the classifier: the score is that of hpt_model_predict */
    hpt_model *m;
    hpt_session *s = session(ctx, SUPERVISED WATCHED "steps=6 aug_crop_min=0.6 monitor_restore=0", ds, &m);
    float x[15 * 3];
    int right = 0;
    OK(hpt_session_data(s, "val", val));
    CHECK(!strcmp(metric_names(s), "loss chance train_top1 train_top5 lr val_top1 val_top1_best"));
    CHECK(isnan(metric(s, "val_top1").value));
    OK(hpt_session_run(s, NULL, NULL));
    OK(hpt_model_predict(m, val, config(TINY "eval_crop=full"), x, 45));
    for (int i = 0; i < 15; i++) {
        int best = 0, y;
        for (int c = 1; c < 3; c++)
            if (x[i * 3 + c] > x[i * 3 + best]) best = c;
        OK(hpt_dataset_label(val, (uint64_t)i, &y));
        right += best == y;
    }
    printf("  %d of 15, %.2f %%\n", right, metric(s, "val_top1").value);
    CHECK(fabs(metric(s, "val_top1").value - 100.0 * right / 15) < 1e-9);
    CHECK(metric(s, "val_top1_best").value >= metric(s, "val_top1").value);
    s = session(ctx, SUPERVISED WATCHED, ds, NULL);
    FAILS(HPT_ERR_ARGUMENT, "it has: val", hpt_session_data(s, "labelled", votes));
    hpt_dataset *none, *four = toy_set(ctx, "", 12, SIZE, 4);
    uint8_t px[4 * 16 * 16 * 3] = {0};
    OK(hpt_dataset_from_memory(ctx, NULL, px, 4, 16, 16, 3, NULL, &none));
    FAILS(HPT_ERR_ARGUMENT, "labels", hpt_session_data(s, "val", none));
    FAILS(HPT_ERR_MISMATCH, "label 3 is outside 0..2", hpt_session_data(s, "val", four));
    OK(hpt_session_data(s, "val", val));         /* a refusal leaves the place free */
    s = session(ctx, SUPERVISED "monitor_every=2 ", ds, NULL);
    FAILS(HPT_ERR_ARGUMENT, "share 12 images", hpt_session_data(s, "val", ds));
    s = session(ctx, SUPERVISED, ds, NULL);
    FAILS(HPT_ERR_OPTION, "monitor_every", hpt_session_data(s, "val", val));
}

/* A run that is scored by its classifier goes on to the same bits, best score and best weights included; scores of two
 * kinds are not compared. */
TEST(scores_of_the_classifier_are_resumed) {
    hpt_context *ctx = context("reference", 1);
    char path[300];
    snprintf(path, sizeof path, "%s/v.pth", temp_dir());
    const char *o = SUPERVISED WATCHED "steps=7 seed=3";
    hpt_dataset *ds = toy_set(ctx, "", 12, SIZE, 3), *val = toy_set(ctx, "", 15, SIZE, 3);
    hpt_model *one, *two, *half;
    hpt_session *s = session(ctx, o, ds, &one);
    OK(hpt_session_data(s, "val", val));
    OK(hpt_session_run(s, NULL, NULL));
    double best = metric(s, "val_top1_best").value;
    s = session(ctx, o, ds, &half);
    OK(hpt_session_data(s, "val", val));
    for (int i = 0; i < 5; i++) OK(hpt_session_step(s, NULL));
    OK(hpt_session_save(s, path));
    s = session(ctx, o, ds, &two);
    OK(hpt_session_data(s, "val", val));
    OK(hpt_session_resume(s, path));
    OK(hpt_session_run(s, NULL, NULL));
    CHECK(metric(s, "val_top1_best").value == best);
    CHECK(!memcmp(one->params, two->params, one->net.n_params * 4));
    CHECK(!memcmp(one->fc.params, two->fc.params, one->fc.net.n_params * 4));
    s = session(ctx, o, ds, NULL);
    OK(hpt_session_monitor(s, ds, val));
    FAILS(HPT_ERR_MISMATCH, "scores of the run were val_top1 and would be knn_top1", hpt_session_resume(s, path));
}

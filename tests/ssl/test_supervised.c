/* SPDX-License-Identifier: MIT
 * Supervised training: steps against PyTorch (fixtures/make_supervised.py), runs that go on after they stopped, several
 * ranks, what is refused. */
#include "core/rng.h"
#include "shell.h"
#include "ssl/session.h"
#include "steps.h"
#include <unistd.h>

static run start(hpt_context *ctx, const char *name, const char *precision, const char *more) {
    hpt_config *c;
    json_t *f = json_object_get(fixture("supervised"), name);
    char text[300];
    snprintf(text, sizeof text, "method=supervised schedule=steps label_smoothing=%g %s", num(f, "smoothing"), more);
    run r = run_of(ctx, f, precision, text, &c);
    size_t d = (size_t)r.m->net.feature_dim, k = (size_t)r.classes;
    OK(hpt__classifier_create(&r.m->fc, (int)d, r.classes, 0, NULL));
    fill_f32(hpt__classifier_weight(&r.m->fc), d * k, 900, 0.1f, 0);
    fill_f32(hpt__classifier_bias(&r.m->fc), k, 901, 0.1f, 0);
    OK(hpt_session_create(ctx, c, r.m, NULL, &r.s));
    hpt_config_destroy(c);
    return r;
}
/* A guess costs log K; there is no embedding. */
static void against_pytorch(run r, double loss_tol, double factor, double floor) {
    hpt_step_info info = compare(&r, loss_tol, factor, floor);
    CHECK(isnan(info.z_std) && fabs(info.chance - log(r.classes)) < 1e-12);
}

TEST(supervised_step_fp64) {
    /* outputs are read as float32 */
    against_pytorch(start(context("reference", 1), "rn18_thin", "fp64", ""), 1e-9, 0, 3e-7);
}
TEST(supervised_step_with_smoothing_fp64) { /* bottlenecks, two batch-norm groups */
    against_pytorch(start(context("reference", 1), "rn50_thin", "fp64", ""), 1e-9, 0, 3e-7);
}
TEST(supervised_step_fp32) {
    against_pytorch(start(context("reference", 1), "rn18_thin", "fp32", ""), 1e-6, 2, 1e-5);
}
TEST(supervised_step_onednn) {
    against_pytorch(start(fast_context(), "rn18_thin", "fp32", ""), 1e-6, 2, 1e-5);
}
#ifdef HPT_TEST_EMU
TEST(supervised_step_cuda) {
    against_pytorch(start(context("cuda", 1), "rn18_thin", "fp32", ""), 1e-6, 2, 1e-5);
}
#endif
TEST(supervised_twenty_steps_fp64) { /* the rate falls twice on the way */
    against_pytorch(start(context("reference", 1), "twenty", "fp64", ""), 1e-9, 0, 3e-7);
}
/* An update by three batches, each in two batch-norm groups. */
TEST(supervised_parts_fp64) {
    against_pytorch(start(context("reference", 1), "parts", "fp64", ""), 1e-9, 0, 3e-7);
    against_pytorch(start(context("reference", 1), "parts_fp64", "fp64", ""), 1e-9, 0, 3e-7);
}
TEST(supervised_parts_fp32) {
    against_pytorch(start(context("reference", 1), "parts", "fp32", ""), 1e-6, 2, 1e-5);
}
TEST(supervised_parts_onednn) {
    against_pytorch(start(fast_context(), "parts", "fp32", ""), 1e-6, 2, 1e-5);
}
#ifdef HPT_TEST_EMU
TEST(supervised_parts_cuda) {
    against_pytorch(start(context("cuda", 1), "parts", "fp32", ""), 1e-6, 2, 1e-5);
}
#endif

/* Images and labels mixed as torchvision's RandomMixup, with the shares that the library draws. */
static run mixup(hpt_context *ctx, const char *precision) {
    run r = start(ctx, "mixup", precision, "mixup=0.2");
    json_t *shares = json_object_get(r.f, "shares");
    for (size_t i = 0; i < json_array_size(shares); i++) {
        hpt__rng g;
        hpt__rng_init(&g, 0, HPT__RNG_MIXUP, i, 0);
        CHECK(hpt__rng_beta(&g, 0.2) == json_number_value(json_array_get(shares, i)));
    }
    return r;
}
TEST(supervised_mixup_fp64) {
    against_pytorch(mixup(context("reference", 1), "fp64"), 1e-9, 0, 3e-7);
}
TEST(supervised_mixup_fp32) {
    against_pytorch(mixup(context("reference", 1), "fp32"), 3e-6, 3, 3e-5);
}
TEST(supervised_mixup_onednn) {
    against_pytorch(mixup(fast_context(), "fp32"), 3e-6, 3, 3e-5);
}
#ifdef HPT_TEST_EMU
TEST(supervised_mixup_cuda) {
    against_pytorch(mixup(context("cuda", 1), "fp32"), 3e-6, 3, 3e-5);
}
#endif
/* Equal labels on both sides of a mixture are no mixture of labels; alpha 0 is a run without it, to the last bit. */
TEST(supervised_mixup_of_nothing) {
    run a = start(context("reference", 1), "rn18_thin", "fp32", ""),
        b = start(context("reference", 1), "rn18_thin", "fp32", "mixup=0");
    CHECK(step(&a, 0).loss == step(&b, 0).loss);
    size_t n = size_of(&a, "model.conv1.weight");
    float *x = malloc(n * 4), *y = malloc(n * 4);
    OK(hpt_session_get_tensor(a.s, "model.conv1.weight", x, n));
    OK(hpt_session_get_tensor(b.s, "model.conv1.weight", y, n));
    CHECK(!memcmp(x, y, n * 4));
    FAILS(HPT_ERR_OPTION, "'mixup' is of method=supervised",
          hpt_session_create(a.m->ctx, config("mixup=0.2"), a.m, NULL, &b.s));
}

#define SMALL                                                                                                          \
    "method=supervised arch=resnet10 width=16 stem=small image_size=16 batch_size=6 bn_group=0 precision=fp32 "        \
    "lr=0.05 schedule=steps "                                                                                          \
    "aug_crop_min=0.08 aug_jitter=0 aug_gray=0 aug_blur=0 "
static hpt_session *session(hpt_context *ctx, const char *pairs, hpt_model *m, hpt_dataset *ds) {
    hpt_session *s;
    OK(hpt_session_create(ctx, config(pairs), m, ds, &s));
    return s;
}
static hpt_model *model(hpt_context *ctx, const char *pairs) {
    hpt_model *m;
    OK(hpt_model_create(ctx, config(pairs), &m));
    return m;
}
static void same_models(hpt_model *a, hpt_model *b, const char *what) {
    CHECK(a->fc.net.n_params && a->fc.net.n_params == b->fc.net.n_params);
    if (memcmp(a->params, b->params, a->net.n_params * 4) || memcmp(a->stats, b->stats, a->net.n_stats * 4) ||
        memcmp(a->fc.params, b->fc.params, a->fc.net.n_params * 4))
        FAIL("%s: other weights", what);
}

/* Stopped at any step and gone on, with weights of the best score kept on the way. */
TEST_LIMIT(supervised_goes_on_to_the_same_bits, 120) {
    const char *backends[] = {"reference", "onednn",
#ifdef HPT_TEST_EMU
                              "cuda"
#endif
    };
    char *dir = temp_dir(), path[300];
    snprintf(path, sizeof path, "%s/sup.pth", dir);
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        const char *o = SMALL "steps=7 monitor_every=2 class_weights=balanced label_smoothing=0.1 mixup=0.4 seed=5 "
                              "overlap=allow";
        hpt_dataset *ds = toy_set(ctx, "", 20, 16, 3), *val = toy_set(ctx, "", 9, 16, 3);
        hpt_model *one = model(ctx, o), *half = model(ctx, o), *rest = model(ctx, o), *file;
        hpt_session *s = session(ctx, o, one, ds);
        OK(hpt_session_monitor(s, ds, val));
        OK(hpt_session_run(s, NULL, NULL));
        s = session(ctx, o, half, ds);
        OK(hpt_session_monitor(s, ds, val));
        for (int i = 0; i < 4; i++) OK(hpt_session_step(s, NULL));
        OK(hpt_session_save(s, path));
        hpt_session_destroy(s);
        s = session(ctx, o, rest, ds);
        OK(hpt_session_monitor(s, ds, val));
        OK(hpt_session_resume(s, path));
        OK(hpt_session_run(s, NULL, NULL));
        same_models(one, rest, backends[b]);
        hpt_session_destroy(s);
        /* the checkpoint is a model with a classifier too */
        OK(hpt_model_load(ctx, config("seed=5"), path, &file, NULL));
        same_models(half, file, "checkpoint");
        hpt_context_destroy(ctx);
    }
}

/* It learns: right answers on images that it has not seen, by the classifier of the saved model. */
TEST(supervised_training_learns) {
    hpt_context *ctx = fast_context();
    enum { N = 30, K = 3 };
    const char *o = SMALL "steps=40 batch_size=12 seed=2 aug_crop_min=0.6";
    hpt_dataset *ds = toy_set(ctx, "", 60, 16, K), *held = toy_set(ctx, "", N, 16, K);
    hpt_model *m = model(ctx, o);
    hpt_session *s = session(ctx, o, m, ds);
    float x[N * K];
    int right = 0;
    double v;
    hpt_result *r;
    OK(hpt_session_run(s, NULL, NULL));
    OK(hpt_session_result(s, &r));
    OK(hpt_result_number(r, "train_top1", &v));
    FAILS(HPT_ERR_ARGUMENT, "contrast_acc1", hpt_result_number(r, "contrast_acc1", &v));
    OK(hpt_model_predict(m, held, config("image_size=16 eval_crop=full precision=fp32 batch_size=10"), x, N * K));
    for (int i = 0; i < N; i++) {
        int best = 0;
        for (int k = 1; k < K; k++)
            if (x[i * K + k] > x[i * K + best]) best = k;
        right += best == i % K;
    }
    printf("  %d of %d right\n", right, N);
    CHECK(right >= 24);
}

TEST(supervised_refuses) {
    hpt_context *ctx = context("reference", 1);
    hpt_session *s;
    hpt_model *m = model(ctx, SMALL), *with = model(ctx, SMALL);
    hpt_dataset *ds = toy_set(ctx, "", 12, 16, 3), *more = toy_set(ctx, "", 12, 16, 4), *none, *hole;
    uint8_t px[4 * 16 * 16 * 3] = {0};
    const uint64_t index[8] = {0, 1, 3, 4, 6, 7, 9, 10};
    hpt_config *c = config(SMALL "steps=2");
    OK(hpt_dataset_from_memory(ctx, NULL, px, 4, 16, 16, 3, NULL, &none));
    OK(hpt_dataset_subset(ds, index, 8, &hole));
    FAILS(HPT_ERR_ARGUMENT, "labels", hpt_session_create(ctx, c, m, none, &s));
    FAILS(HPT_ERR_ARGUMENT, "class 2 has no image", hpt_session_create(ctx, c, m, hole, &s));
    FAILS(HPT_ERR_ARGUMENT, "needs a data set with labels", hpt_session_create(ctx, c, m, NULL, &s));
    OK(hpt__classifier_create(&with->fc, with->net.feature_dim, 3, 0, NULL));
    FAILS(HPT_ERR_MISMATCH, "label 3 is outside 0..2", hpt_session_create(ctx, c, with, more, &s));
    FAILS(HPT_ERR_OPTION, "'moco_k' is of method=moco", hpt_session_create(ctx, config(SMALL "moco_k=64"), m, ds, &s));
    FAILS(HPT_ERR_OPTION, "'label_smoothing' is of method=supervised",
          hpt_session_create(ctx, config("label_smoothing=0.1"), m, ds, &s));
    /* a step that is not finite changes nothing */
    s = session(ctx, SMALL "steps=2 on_nonfinite=stop", m, ds);
    float w[128 * 3], was[128 * 3];
    OK(hpt_session_get_tensor(s, "model.fc.weight", was, 128 * 3));
    w[0] = NAN;
    for (int i = 1; i < 128 * 3; i++) w[i] = was[i];
    OK(hpt_session_set_tensor(s, "model.fc.weight", w, 128 * 3));
    float before[16], after[16];
    OK(hpt_session_get_tensor(s, "model.bn1.running_mean", before, 16));
    FAILS(HPT_ERR_NUMERIC, "the loss is not finite", hpt_session_step(s, NULL));
    OK(hpt_session_get_tensor(s, "model.bn1.running_mean", after, 16));
    CHECK(!memcmp(before, after, sizeof before));
    float x[6 * 3 * 256] = {0};
    FAILS(HPT_ERR_STATE, "images without labels", hpt_session_step_images(s, x, x, NULL));
}

/* Labels are the run's too. */
TEST(supervised_resume_sees_other_labels) {
    hpt_context *ctx = context("reference", 1);
    char path[300];
    uint8_t px[6 * 256 * 3];
    const int32_t a[6] = {0, 1, 0, 1, 0, 1}, b[6] = {0, 1, 0, 1, 1, 0};
    hpt_dataset *ds[2];
    snprintf(path, sizeof path, "%s/x.pth", temp_dir());
    for (size_t i = 0; i < sizeof px; i++) px[i] = (uint8_t)(hash_at(i, 3) >> 24);
    for (int i = 0; i < 2; i++) OK(hpt_dataset_from_memory(ctx, NULL, px, 6, 16, 16, 3, i ? b : a, &ds[i]));
    hpt_session *s = session(ctx, SMALL "steps=2", model(ctx, SMALL), ds[0]);
    OK(hpt_session_save(s, path));
    s = session(ctx, SMALL "steps=2", model(ctx, SMALL), ds[1]);
    FAILS(HPT_ERR_MISMATCH, "not the one of the run", hpt_session_resume(s, path));
}

/* The command: a run that is stopped and resumed ends as one that was not; its exports classify; mpirun's ranks agree
 * with one. */
#define TRAIN                                                                                                          \
    HPT_TEST_BIN "/hpt train --data %s --arch resnet10 --width 16 --stem small --image_size 16 --batch_size 8 "        \
                 "--bn_group 4 --precision fp32 "                                                                      \
                 "--conv_algo direct --lr 0.02 --mixup 0.3 --steps 9 --threads 1 --workers 1 --backend reference "
TEST(train_on_the_command_line) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12), plain[300];
    RUN(TRAIN "--out %s/one", set_, dir);
    RUN("cat %s/one/metrics.jsonl %s/one/summary.csv", dir, dir);
    CHECK(strstr(output, "\"train_top1\": ") && !strstr(output, "contrast") &&
          strstr(output, "epoch,train_loss,train_top1\n"));
    RUN("timeout -s KILL 0.35 " TRAIN "--out %s/two --save-every 1 >/dev/null 2>&1; test -e %s/two/args.json", set_,
        dir, dir);
    RUN(HPT_TEST_BIN "/hpt train --resume --out %s/two", dir);
    RUN("cmp %s/one/exported/model.safetensors %s/two/exported/model.safetensors", dir, dir);
    RUN(HPT_TEST_BIN "/hpt info %s/one/exported/backbone.pth", dir);
    CHECK(strstr(output, "classifier  2 classes (loaded)"));
    RUN(HPT_TEST_BIN "/hpt info %s/one/checkpoints/last.pth.tar", dir);
    CHECK(strstr(output, "classifier  2 classes (loaded)"));
    RUN(HPT_TEST_BIN "/hpt predict --init %s/one/exported/backbone.pth --data %s --image_size 16 --precision fp32", dir,
        set_);
    CHECK(strstr(output, "\"rows\",") || strstr(output, "\"columns\","));
    RUN("mkdir %s/plain && cp %s/rows/*.ppm %s/plain", dir, set_, dir);
    snprintf(plain, sizeof plain, "%s/plain", dir);
    REFUSED(1, "label", TRAIN "--out %s/three", plain, dir);
    REFUSED(2, "method=moco is hpt pretrain's", TRAIN "--out %s/three --method moco", set_, dir);
    REFUSED(1, "'label_smoothing' is of method=supervised",
            HPT_TEST_BIN "/hpt pretrain --data %s --out %s/three --label_smoothing 0.1", set_, dir);
}
TEST(supervised_ranks_equal_one) {
    if (system("command -v mpirun >/dev/null 2>&1")) SKIP("mpirun is not here");
    if (access(HPT_TEST_MODULES "/libhpt-mpi.so", R_OK)) SKIP("the mpi module was not built");
    char *dir = temp_dir(), *set_ = stripes(dir, 12), path[300];
    hpt_context *ctx = context("reference", 1);
    float x[2][128 * 2], y[2][128];
    RUN(TRAIN "--class_weights balanced --label_smoothing 0.1 --out %s/one", set_, dir);
    RUN("mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 " TRAIN
        "--class_weights balanced --label_smoothing 0.1 --out %s/two",
        set_, dir);
    for (int i = 0; i < 2; i++) {
        hpt_model *m;
        snprintf(path, sizeof path, "%s/%s/exported/model.safetensors", dir, i ? "two" : "one");
        OK(hpt_model_load(ctx, NULL, path, &m, NULL));
        OK(hpt_model_get_tensor(m, "classifier.weight", x[i], 256));
        OK(hpt_model_get_tensor(m, "layer4.0.bn2.running_var", y[i], 128));
    }
    for (int i = 0; i < 256; i++) CHECK(fabsf(x[0][i] - x[1][i]) <= 2e-6f);
    for (int i = 0; i < 128; i++) CHECK(fabsf(y[0][i] - y[1][i]) <= 1e-5f * fabsf(y[0][i]));
}

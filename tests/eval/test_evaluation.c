/* SPDX-License-Identifier: MIT
 * Probe, finetuning, nearest neighbours, AUROC, similarity: against PyTorch, scikit-learn and SciPy
 * (fixtures/make_evaluation.py), and what they must refuse. */
#include "api/api.h"
#undef CHECK
#include "eval/knn.h"
#include "eval/linear.h"
#include "eval/similarity.h"
#include "support.h"
#include <unistd.h>

static double *numbers(json_t *list, size_t *n) {
    *n = json_array_size(list);
    double *x = malloc(sizeof *x * (*n + 1));
    for (size_t i = 0; i < *n; i++) x[i] = json_number_value(json_array_get(list, i));
    return x;
}
/* The bytes of images() in the script. */
static uint8_t *hashed_pixels(size_t n, uint64_t seed) {
    uint8_t *px = malloc(n);
    for (size_t i = 0; i < n; i++) px[i] = (uint8_t)(hash_at(i, seed) >> 24);
    return px;
}

TEST(heads_train_as_in_pytorch) {
    json_t *f = json_object_get(fixture("evaluation"), "probe");
    int n = integer(f, "n"), dim = integer(f, "dim"), classes = integer(f, "classes");
    size_t count;
    hpt_context *ctx = context("reference", 1);
    float *x = malloc(sizeof *x * (size_t)(n * dim)), *logits = malloc(sizeof *logits * (size_t)(n * classes)),
        *eye = calloc((size_t)(dim * dim), 4);
    int32_t *y = malloc(sizeof *y * (size_t)n);
    uint8_t *multi = malloc((size_t)(n * classes));
    fill_f32(x, (size_t)(n * dim), 61, 1, 0);
    for (int i = 0; i < n; i++) y[i] = (int32_t)(hash_at((uint64_t)i, 62) % (uint32_t)classes);
    for (int i = 0; i < n * classes; i++) multi[i] = hash_at((uint64_t)i, 63) % 3 == 0;
    for (int i = 0; i < dim; i++) eye[i * dim + i] = 1;
    hpt_config *c = config("probe_lr=1e-30 probe_steps=1 probe_batch=64");
    /* the first weights are those that the script was given */
    double *w0 = numbers(json_object_get(f, "w0"), &count);
    float *first = malloc(sizeof *first * (size_t)(dim * classes));
    hpt__labelled all = {x, y, (uint64_t)n, NULL, NULL}, ident = {eye, y, (uint64_t)dim, NULL, NULL};
    hpt__probe p = {.ctx = ctx, .dim = dim, .classes = classes, .train = all, .val = all, .test = ident,
                    .test_logits = first};
    json_t *j = json_object();
    OK(hpt__linear_probe(&p, &c->o, j));
    for (int i = 0; i < dim; i++)
        for (int k = 0; k < classes; k++) CHECK(fabs((double)first[i * classes + k] - w0[k * dim + i]) < 1e-9);
    /* thirty steps with drops at 1/3 and 2/3; one batch is the whole set, so its order is nothing */
    set(c, "probe_lr=0.3 probe_steps=30 probe_eval_every=30");
    for (int bce = 0; bce < 2; bce++) {
        double *want = numbers(json_object_get(f, bce ? "bce" : "ce"), &count), worst = 0;
        hpt__labelled one = {x, bce ? NULL : y, (uint64_t)n, bce ? multi : NULL, NULL};
        p = (hpt__probe){.ctx = ctx, .dim = dim, .classes = classes, .train = one, .val = one, .test = one,
                         .test_logits = logits};
        OK(hpt__linear_probe(&p, &c->o, j));
        for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)logits[i] - want[i]));
        printf("  %s: logits at most %.1e off\n", bce ? "bce" : "softmax", worst);
        CHECK(worst < 2e-5);
        CHECK(json_object_get(j, bce ? "test_auroc" : "test_top5"));
    }
}

TEST(finetuning_steps_as_in_pytorch) {
    json_t *f = json_object_get(fixture("evaluation"), "finetune"), *sigs = json_object_get(f, "tensors"), *sig;
    int n = integer(f, "n"), size = integer(f, "size"), classes = integer(f, "classes");
    const char *name;
    size_t count;
    int32_t y[64];
    hpt_model *m, *tuned;
    hpt_dataset *ds;
    hpt_result *r;
    for (int backend = 0; backend < 2; backend++) {
        hpt_context *ctx = context(backend ? "onednn" : "reference", 2);
        if (!ctx) continue;
        hpt_config *c =
            config("arch=resnet10 width=16 stem=small moco_dim=8 image_size=16 eval_crop=full pixel_mean=0.5,0.5,0.5 "
                   "pixel_std=0.25,0.25,0.25 precision=fp32 ft_batch=12 ft_micro=12 ft_lr=0.02 ft_length=3 "
                               "ft_head_factor=5 ft_eval_every=3 ft_augment=0 ft_weight_decay=0.001 overlap=allow "
                               "probe_keep=1 conv_algo=direct");
        OK(hpt_model_create(ctx, c, &m));
        fill_model(m, (uint64_t)integer(f, "seed"));
        for (int i = 0; i < n; i++) y[i] = i % classes;
        OK(hpt_dataset_from_memory(ctx, c, hashed_pixels((size_t)(n * size * size * 3), 501), (uint64_t)n,
                                   (uint32_t)size, (uint32_t)size, 3, y, &ds));
        OK(hpt_model_finetune(m, ds, ds, ds, c, &tuned, &r));
        float w[3 * 128], b[3], logits[64 * 3];
        OK(hpt_result_array(r, "head_weight", w, (uint64_t)classes * 128, NULL));
        OK(hpt_result_array(r, "head_bias", b, (uint64_t)classes, NULL));
        OK(hpt_result_array(r, "test_logits", logits, (uint64_t)(n * classes), NULL));
        double *want = numbers(json_object_get(f, "head_weight"), &count), err = 0, norm = 0, worst = 0;
        for (size_t i = 0; i < count; i++)
            err += ((double)w[i] - want[i]) * ((double)w[i] - want[i]), norm += want[i] * want[i];
        CHECK(count == (size_t)classes * 128 && sqrt(err / norm) < 2e-4);
        want = numbers(json_object_get(f, "head_bias"), &count);
        for (size_t i = 0; i < count; i++) CHECK(fabs((double)b[i] - want[i]) < 1e-5);
        json_object_foreach(sigs, name, sig) {
            hpt_tensor_info t = {.struct_size = sizeof t};
            size_t k = 0;
            for (uint32_t i = 0; hpt_model_tensor_info(tuned, i, &t) == HPT_OK; i++) {
                if (strcmp(t.name, name)) continue;
                for (k = 1; t.ndim--;) k *= (size_t)t.shape[t.ndim];
                break;
            }
            CHECK(k);
            float *x = malloc(k * 4);
            OK(hpt_model_get_tensor(tuned, name, x, k));
            double e = signature_error_f32(x, k, sig);
            worst = fmax(worst, e);
            if (e > 2e-3) FAIL("%s is %.1e off", name, e);
            free(x);
        }
        want = numbers(json_object_get(f, "logits"), &count);
        double off = 0;
        for (size_t i = 0; i < count; i++) off = fmax(off, fabs((double)logits[i] - want[i]));
        printf("  %s: head %.1e, worst tensor %.1e, evaluation logits %.1e off\n", backend ? "onednn" : "reference",
               sqrt(err / norm), worst, off);
        CHECK(off < 2e-3);
        /* the model that was given is as it was; averaging over parts of the batch with one statistics group each
         * still runs the same schedule */
        float a[16], z[16];
        hpt_model *again;
        OK(hpt_model_create(ctx, c, &again));
        fill_model(again, (uint64_t)integer(f, "seed"));
        OK(hpt_model_get_tensor(m, "bn1.weight", a, 16));
        OK(hpt_model_get_tensor(again, "bn1.weight", z, 16));
        CHECK(!memcmp(a, z, sizeof a));
    }
}

TEST(refreshed_statistics_as_in_pytorch) {
    json_t *f = json_object_get(fixture("evaluation"), "refresh"), *sig;
    int n = integer(f, "n"), size = integer(f, "size");
    const char *name;
    hpt_model *m;
    hpt_dataset *ds;
    hpt_context *ctx = context("reference", 2);
    hpt_config *c =
        config("arch=resnet10 width=16 stem=small moco_dim=8 image_size=16 eval_crop=full pixel_mean=0.5,0.5,0.5 "
               "pixel_std=0.25,0.25,0.25 precision=fp32 batch_size=16 bn_group=16");
    OK(hpt_model_create(ctx, c, &m));
    fill_model(m, (uint64_t)integer(f, "seed"));
    OK(hpt_dataset_from_memory(ctx, c, hashed_pixels((size_t)(n * size * size * 3), 502), (uint64_t)n, (uint32_t)size,
                               (uint32_t)size, 3, NULL, &ds));
    OK(hpt_model_refresh_bn(m, ds, c, NULL));
    double worst = 0;
    json_object_foreach(json_object_get(f, "tensors"), name, sig) {
        hpt_tensor_info t = {.struct_size = sizeof t};
        for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK && strcmp(t.name, name); i++) { }
        CHECK(!strcmp(t.name, name));
        float *x = malloc((size_t)t.shape[0] * 4);
        OK(hpt_model_get_tensor(m, name, x, (uint64_t)t.shape[0]));
        worst = fmax(worst, signature_error_f32(x, (size_t)t.shape[0], sig));
        free(x);
    }
    printf("  worst statistic %.1e off\n", worst);
    CHECK(worst < 1e-5);
}

TEST(auroc_and_scores) {
    json_t *f = json_object_get(fixture("evaluation"), "auroc"), *areas = json_object_get(f, "areas");
    enum { N = 60, C = 4 };
    float s[N * C], one[N];
    uint8_t t[N * C], col[N];
    double area, per[C];
    hpt__score sc;
    fill_f32(s, N * C, 601, 6, 0);
    for (int i = 0; i < N * C; i++) {
        s[i] = (float)(int)s[i] / 4;
        t[i] = hash_at((uint64_t)i, 602) % 4 == 0 && i % C != 3;
    }
    double sum = 0;
    for (int k = 0; k < C; k++) {
        for (int i = 0; i < N; i++) one[i] = s[i * C + k], col[i] = t[i * C + k];
        if (json_is_null(json_array_get(areas, (size_t)k))) {
            FAILS(HPT_ERR_NUMERIC, "both kinds", hpt_auroc(one, col, N, &area));
            continue;
        }
        OK(hpt_auroc(one, col, N, &area));
        CHECK(fabs(area - json_number_value(json_array_get(areas, (size_t)k))) < 1e-12);
        sum += area;
    }
    hpt__truth truth = {NULL, t, N, C};
    OK(hpt__score_logits(s, C, &truth, 0, &sc, per));
    CHECK(sc.undefined == 1 && fabs(sc.main - 100 * sum / 3) < 1e-9 && per[3] != per[3]);     /* left out of the mean */
    OK(hpt__score_logits(s, C, &truth, 1, &sc, NULL));
    /* as the paper's code has it */
    CHECK(fabs(sc.main - 100 * sum / 4) < 1e-9);
    /* top-1 and top-5: the first of equal logits; a NaN never wins */
    int a, b;
    float l[7] = {1, 3, 3, 0, -1, 2, 2};
    hpt__top(l, 7, 1, &a, &b);
    CHECK(a && b);
    hpt__top(l, 7, 2, &a, &b);
    CHECK(!a && b);
    hpt__top(l, 7, 3, &a, &b);
    CHECK(!a && !b);
    l[1] = NAN;
    hpt__top(l, 7, 1, &a, &b);
    CHECK(!a && !b);
}

TEST(nearest_neighbours_against_numpy) {
    json_t *f = json_object_get(fixture("evaluation"), "knn");
    enum { N = 50, M = 20, D = 9, C = 4 };
    float a[N * D], q[M * D], votes[M * C];
    int32_t y[N];
    size_t count;
    double *want = numbers(json_object_get(f, "votes"), &count), near;
    fill_f32(a, N * D, 611, 1, 0);
    fill_f32(q, M * D, 612, 1, 0);
    for (int i = 0; i < N; i++) y[i] = (int32_t)(hash_at((uint64_t)i, 613) % C);
    for (int backend = 0; backend < 2; backend++) {
        hpt_context *ctx = context(backend ? "onednn" : "reference", 2);
        if (!ctx) continue;
        hpt__knn_spec s = {D, integer(f, "k"), num(f, "t"), a, {y, NULL, N, C}};
        OK(hpt__knn_votes(ctx, &s, q, M, votes));
        for (size_t i = 0; i < count; i++) CHECK(fabs((double)votes[i] - want[i]) < 2e-6 * (1 + fabs(want[i])));
        OK(hpt__knn_affinity(ctx, D, 1, a, N, a, N, &near));
        CHECK(fabs(near - 1) < 1e-6);          /* each is its own neighbour */
    }
}

TEST(rv2_iou_and_welch) {
    json_t *f = fixture("evaluation"), *c;
    size_t at, n, m;
    json_array_foreach(json_object_get(f, "rv2"), at, c) {
        size_t rows = (size_t)integer(c, "n"), p = (size_t)integer(c, "p"), q = (size_t)integer(c, "q");
        float *x = malloc(rows * p * 4), *y = malloc(rows * q * 4);
        double v;
        fill_f32(x, rows * p, 621 + 2 * at, 1, 0);
        fill_f32(y, rows * q, 622 + 2 * at, 1, 0);
        for (size_t i = 0; i < rows; i++) y[i * q] += x[i * p];
        OK(hpt_rv2(x, p, y, q, rows, &v));
        if (fabs(v - num(c, "rv2")) > 1e-9) FAIL("case %zu: %.12f, numpy has %.12f", at, v, num(c, "rv2"));
        OK(hpt_rv2(y, q, x, p, rows, &v));
        CHECK(fabs(v - num(c, "rv2")) < 1e-9);
        for (size_t i = 0; i < rows * p; i++) x[i] *= 2;
        OK(hpt_rv2(x, p, x, p, rows, &v));
        CHECK(fabs(v - 1) < 1e-12);
        for (size_t i = 0; i < rows * p; i++) x[i] = 3;
        FAILS(HPT_ERR_NUMERIC, "constant", hpt_rv2(x, p, y, q, rows, &v));
    }
    json_array_foreach(json_object_get(f, "welch"), at, c) {
        double *a = numbers(json_object_get(c, "a"), &n), *b = numbers(json_object_get(c, "b"), &m), t, dof, p;
        OK(hpt_welch(a, n, b, m, &t, &dof, &p));
        if (fabs(t - num(c, "t")) > 1e-10 * fabs(t) || fabs(dof - num(c, "dof")) > 1e-10 * dof ||
            fabs(p - num(c, "p")) > 1e-11 + 1e-9 * p) FAIL("case %zu: t %.12g dof %.12g p %.12g", at, t, dof, p);
    }
    double one[2] = {1, 1}, t, dof, p, iou;
    FAILS(HPT_ERR_NUMERIC, "equal", hpt_welch(one, 2, one, 2, &t, &dof, &p));
    FAILS(HPT_ERR_ARGUMENT, "2 values", hpt_welch(one, 1, one, 2, &t, &dof, &p));
    const int32_t truth[5] = {0, 1, 2, 0, 1}, a[5] = {0, 2, 1, 1, 1}, b[5] = {0, 2, 2, 1, 0};
    OK(hpt_error_iou(a, b, truth, 5, &iou));      /* a errs at 1 2 3, b at 1 3 4 */
    CHECK(iou == 0.5);
    OK(hpt_error_iou(truth, truth, truth, 5, &iou));
    CHECK(iou == 1);
}

#define SMALL "arch=resnet10 width=16 stem=small image_size=16 moco_dim=16 batch_size=16 bn_group=8 moco_k=64 " \
    "precision=fp32 eval_crop=full seed=1 "

/* A layer's values: the average of the last block is the feature; a convolution's map has its shape; both backends
 * agree. */
TEST(activations_of_layers) {
    hpt_layer_info l = {.struct_size = sizeof l};
    float *feature[2] = {NULL, NULL}, *map[2] = {NULL, NULL}, *pooled = malloc(9 * 128 * 4);
    for (int backend = 0; backend < 2; backend++) {
        hpt_context *ctx = context(backend ? "onednn" : "reference", 2);
        if (!ctx) continue;
        hpt_config *c = config(SMALL);
        hpt_model *m;
        hpt_dataset *ds = toy_set(ctx, "", 9, 16, 3);
        OK(hpt_model_create(ctx, c, &m));
        fill_model(m, 5);
        int found = 0;
        for (uint32_t i = 0; hpt_model_layer_info(m, i, 16, &l) == HPT_OK; i++) {
            found |= !strcmp(l.name, "layer2.0.conv1") && l.channels == 32 && l.height == 8 && l.width == 8 ? 1 : 0;
            found |= !strcmp(l.name, "layer4.0") && l.channels == 128 && l.height == 2 ? 2 : 0;
            found |= !strcmp(l.name, "fc.2") && l.channels == 16 && l.height == 1 ? 4 : 0;
        }
        CHECK(found == 7);
        OK(hpt_model_layer(m, "layer3", 16, &l));
        CHECK(!strcmp(l.name, "layer3.0") && l.channels == 64);
        FAILS(HPT_ERR_ARGUMENT, "layer5", hpt_model_layer(m, "layer5", 16, &l));
        feature[backend] = malloc(9 * 128 * 4);
        map[backend] = malloc(9 * 32 * 64 * 4);
        OK(hpt_model_features(m, ds, c, feature[backend], 9 * 128));
        OK(hpt_model_activations(m, ds, c, "layer2.0.conv1", map[backend], 9 * 32 * 64));
        FAILS(HPT_ERR_ARGUMENT, "are needed", hpt_model_activations(m, ds, c, "layer2.0.conv1", map[backend], 7));
        FAILS(HPT_ERR_ARGUMENT, "layer9", hpt_model_activations(m, ds, c, "layer9", map[backend], 7));
        set(c, "act_pool=average");
        OK(hpt_model_activations(m, ds, c, "layer4", pooled, 9 * 128));
        for (int i = 0; i < 9 * 128; i++)
            CHECK(fabsf(pooled[i] - feature[backend][i]) < 1e-5f * (1 + fabsf(pooled[i])));
        float *mean = malloc(9 * 32 * 4);
        OK(hpt_model_activations(m, ds, c, "layer2.0.conv1", mean, 9 * 32));
        for (int i = 0; i < 9 * 32; i++) {
            double s = 0;
            for (int k = 0; k < 64; k++) s += map[backend][i * 64 + k] / 64.0;
            CHECK(fabs(s - (double)mean[i]) < 1e-5);
        }
    }
    for (int i = 0; map[1] && i < 9 * 32 * 64; i++)
        CHECK(fabsf(map[0][i] - map[1][i]) < 1e-4f * (1 + fabsf(map[0][i])));
}

/* Every choice of every evaluation stays the same when all test labels are wrong. */
TEST(no_choice_depends_on_test_labels) {
    hpt_context *ctx = fast_context();
    hpt_dataset *all = toy_set(ctx, "", 90, 16, 3), *train, *rest, *val, *held, *lies;
    hpt_model *m;
    hpt_result *r;
    static const char *const choices[] = {"best_lr", "best_step", "val_score"};
    double first[2][3], v;
    OK(hpt_dataset_per_class(all, 10, 1, &train, &rest));
    OK(hpt_dataset_per_class(rest, 10, 2, &val, &held));
    uint8_t *px = malloc(30 * 16 * 16 * 3);
    int32_t *wrong = malloc(30 * sizeof *wrong);
    for (uint64_t i = 0; i < 30; i++) {
        OK(hpt_dataset_image(held, NULL, i, 16, px + i * 768));
        OK(hpt_dataset_label(held, i, &wrong[i]));
        wrong[i] = (wrong[i] + 1) % 3;
    }
    OK(hpt_dataset_from_memory(ctx, NULL, px, 30, 16, 16, 3, wrong, &lies));
    hpt_config *c =
        config(SMALL "probe_steps=60 probe_eval_every=5 probe_batch=16 probe_lr=0.003,0.03,0.3 "
               "probe_schedule=step,cosine,constant probe_scale=standard ft_batch=16 ft_micro=8 ft_lr=0.01,0.001 "
               "ft_length=6,2e ft_eval_every=2");
    OK(hpt_model_create(ctx, c, &m));
    for (int pass = 0; pass < 2; pass++)
        for (int kind = 0; kind < 2; kind++) {
            if (kind) OK(hpt_model_finetune(m, train, val, pass ? lies : held, c, NULL, &r));
            else OK(hpt_model_linear(m, train, val, pass ? lies : held, c, &r));
            for (int k = 0; k < 3; k++) {
                OK(hpt_result_number(r, choices[k], &v));
                if (pass) CHECK(v == first[kind][k]);
                else first[kind][k] = v;
            }
            OK(hpt_result_number(r, "test_score", &v));
            printf("  %s: test score %.1f with %s labels\n", kind ? "finetune" : "probe", v, pass ? "wrong" : "right");
            if (!kind) CHECK(pass ? v < 40 : v > 60);
            hpt_result_destroy(r);
        }
}

TEST(finetuning_grid_and_refusals) {
    hpt_context *ctx = fast_context();
    hpt_dataset *all = toy_set(ctx, "", 60, 16, 3), *a, *b, *few, *rest;
    hpt_model *m, *tuned;
    hpt_result *r;
    double v;
    size_t n;
    OK(hpt_dataset_per_class(all, 10, 1, &a, &b));
    OK(hpt_dataset_few(all, 7, 3, &few, &rest));
    hpt_dataset_info info = {.struct_size = sizeof info};
    int seen = 0;
    for (uint64_t i = 0; i < 7; i++) {
        int32_t y;
        OK(hpt_dataset_label(few, i, &y));
        seen |= 1 << y;
    }
    OK(hpt_dataset_get_info(rest, &info));
    CHECK(seen == 7 && info.count == 53);
    FAILS(HPT_ERR_ARGUMENT, "at least one", hpt_dataset_few(all, 2, 3, &few, NULL));
    hpt_config *c =
        config(SMALL "ft_batch=12 ft_micro=6 ft_lr=0.01,1e30 ft_length=4,1e ft_eval_every=2 freeze=conv1.*,bn1.*");
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_finetune(m, a, NULL, b, c, &tuned, &r));
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    json_t *j = json_loads(text, 0, NULL), *runs = json_object_get(j, "runs");
    CHECK(json_array_size(runs) == 4);
    /* 24 images, 12 an update, one epoch */
    CHECK(json_integer_value(json_object_get(json_array_get(runs, 2), "updates")) == 2);
    CHECK(!strcmp(json_string_value(json_object_get(json_array_get(runs, 1), "note")), "diverged"));
    OK(hpt_result_number(r, "best_lr", &v));
    CHECK(v == 0.01);
    float x[16 * 27], y[16 * 27], z[128], w[128];
    OK(hpt_model_get_tensor(m, "conv1.weight", x, 16 * 27));
    OK(hpt_model_get_tensor(tuned, "conv1.weight", y, 16 * 27));
    CHECK(!memcmp(x, y, sizeof x));                     /* frozen */
    OK(hpt_model_get_tensor(m, "layer4.0.bn2.weight", z, 128));
    OK(hpt_model_get_tensor(tuned, "layer4.0.bn2.weight", w, 128));
    CHECK(memcmp(z, w, sizeof z));
    set(c, "ft_lr=1e30 ft_length=4");
    FAILS(HPT_ERR_NUMERIC, "diverged", hpt_model_finetune(m, a, NULL, b, c, NULL, &r));
    set(c, "ft_length=9x");
    FAILS(HPT_ERR_OPTION, "epochs", hpt_model_finetune(m, a, NULL, b, c, NULL, &r));
    set(c, "ft_length=2 freeze=nosuch.*");
    FAILS(HPT_ERR_OPTION, "nosuch", hpt_model_finetune(m, a, NULL, b, c, NULL, &r));
    /* a class of the numbering without an image: refused unless allowed */
    hpt_config *d = config("");
    uint8_t px[12 * 16 * 16 * 3] = {0};
    for (size_t i = 0; i < sizeof px; i++) px[i] = (uint8_t)(hash_at(i, 5) >> 24);
    const int32_t gap[12] = {0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2};
    hpt_dataset *hole;
    OK(hpt_dataset_from_memory(ctx, d, px, 12, 16, 16, 3, gap, &hole));
    set(c, "freeze= ft_lr=0.01");
    FAILS(HPT_ERR_ARGUMENT, "class 1 has no image", hpt_model_finetune(m, hole, b, NULL, c, NULL, &r));
    FAILS(HPT_ERR_ARGUMENT, "class 1 has no image", hpt_model_linear(m, hole, b, NULL, c, &r));
    FAILS(HPT_ERR_ARGUMENT, "share 30 images", hpt_model_finetune(m, a, b, b, c, NULL, &r));
}

/* Several labels an image: lists, probe with AUROC, finetuning, nearest neighbours. */
TEST(several_labels_an_image) {
    hpt_context *ctx = fast_context();
    char *dir = temp_dir(), path[128], line[256];
    hpt_dataset *toy = toy_set(ctx, "", 48, 16, 4), *ds, *train, *held;
    hpt_dataset_info info = {.struct_size = sizeof info};
    uint8_t rgb[16 * 16 * 3], t[3];
    hpt_model *m;
    hpt_result *r;
    double v;
    snprintf(path, sizeof path, "%s/set.txt", dir);
    FILE *list = fopen(path, "w");
    for (uint64_t i = 0; i < 48; i++) {
        int32_t y;
        OK(hpt_dataset_image(toy, NULL, i, 16, rgb));
        OK(hpt_dataset_label(toy, i, &y));
        snprintf(path, sizeof path, "%s/a %llu.ppm", dir, (unsigned long long)i);
        FILE *f = fopen(path, "wb");
        fprintf(f, "P6 16 16 255\n");
        fwrite(rgb, 1, sizeof rgb, f);
        fclose(f);
        fprintf(list, "\"a %llu.ppm\" %s,%s,%s\n", (unsigned long long)i, y & 1 ? "1.0" : "", y & 2 ? "1.0" : "-1.0",
                "0.0");
    }
    fclose(list);
    snprintf(path, sizeof path, "%s/set.txt", dir);
    FAILS(HPT_ERR_FORMAT, "line 1", hpt_dataset_open(ctx, NULL, path, &ds));
    hpt_config *c =
        config(SMALL "label_map=1.0=1,0.0=0,-1.0=0,=0 probe_steps=80 probe_eval_every=20 probe_batch=16 "
               "probe_scale=standard probe_lr=0.03,0.3 ft_batch=8 ft_micro=8 ft_length=6 ft_eval_every=3 knn_k=5");
    OK(hpt_dataset_open(ctx, c, path, &ds));
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.labelled == 2 && info.classes == 3 && info.count == 48);
    OK(hpt_dataset_targets(ds, 3, t, 3));
    CHECK(t[0] == 1 && t[1] == 1 && t[2] == 0);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_dataset_split(ds, 0.7, 1, &train, &held));
    FAILS(HPT_ERR_ARGUMENT, "class 2 has no image", hpt_model_linear(m, train, NULL, held, c, &r));
    set(c, "empty_classes=allow");
    OK(hpt_model_linear(m, train, NULL, held, c, &r));
    OK(hpt_result_number(r, "test_auroc", &v));
    printf("  probe AUROC %.1f\n", v);
    CHECK(v > 80);
    size_t n;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    json_t *j = json_loads(text, 0, NULL);
    CHECK(json_array_size(json_object_get(j, "test_undefined_classes")) == 1 &&
          json_integer_value(json_array_get(json_object_get(j, "test_undefined_classes"), 0)) == 2);
    OK(hpt_model_knn(m, train, held, c, &r));
    OK(hpt_result_number(r, "knn_auroc", &v));
    CHECK(v > 60);
    OK(hpt_model_finetune(m, train, NULL, held, c, NULL, &r));
    OK(hpt_result_number(r, "test_auroc", &v));
    snprintf(path, sizeof path, "%s/bad.txt", dir);
    list = fopen(path, "w");
    fprintf(list, "\"a 0.ppm\" 1.0,0.0,0.0\n\"a 1.ppm\" 1.0,0.0\n");
    fclose(list);
    FAILS(HPT_ERR_FORMAT, "line 2: 2 values", hpt_dataset_open(ctx, c, path, &ds));
    list = fopen(path, "w");
    fprintf(list, "\"a 0.ppm\" 3\n\"a 1.ppm\" 7\n");
    fclose(list);
    set(c, "classes=5");
    FAILS(HPT_ERR_FORMAT, "line 2: label 7 is outside 0..4", hpt_dataset_open(ctx, c, path, &ds));
    snprintf(line, sizeof line, "rm -rf %s", dir);
    if (system(line)) FAIL("rm");
}

/* kNN scores during pretraining, early stop, the best weights at the end, and a resumed run that knows its past
 * scores. */
static int32_t three(void *user, const hpt_step_info *i) {
    (void)user;
    return i->step == 3;
}
TEST(monitor_stops_and_restores) {
    hpt_context *ctx = fast_context();
    hpt_dataset *ds = toy_set(ctx, "", 60, 16, 3), *a, *b;
    hpt_model *m, *m2;
    hpt_session *s;
    hpt_step_info i = {.struct_size = sizeof i}, i2 = {.struct_size = sizeof i2};
    char *dir = temp_dir(), path[128];
    double v;
    hpt_result *r;
    OK(hpt_dataset_per_class(ds, 10, 1, &a, &b));
    hpt_config *c = config(SMALL "steps=40 lr=0.05 monitor_every=2 monitor_patience=2 knn_k=5");
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    OK(hpt_session_monitor(s, a, b));
    OK(hpt_session_run(s, NULL, NULL));
    OK(hpt_session_get_info(s, &i));
    printf("  stopped %d after step %llu, best %.1f at %llu\n", i.stopped, (unsigned long long)i.step, i.monitor_best,
           (unsigned long long)i.monitor_best_step);
    CHECK(i.stopped == 1 && i.step < 40 && i.monitor_step == i.step && i.monitor_best >= i.monitor);
    CHECK(i.step == i.monitor_best_step + 4);
    CHECK(hpt_session_step(s, NULL) == HPT_END);
    OK(hpt_model_knn(m, a, b, c, &r));           /* the model has the weights of the best score */
    OK(hpt_result_number(r, "knn_score", &v));
    CHECK(fabs(v - i.monitor_best) < 1e-9);
    /* the same, interrupted: the resumed run ends with the same step, scores and weights */
    hpt_session *t;
    OK(hpt_model_create(ctx, c, &m2));
    OK(hpt_session_create(ctx, c, m2, ds, &t));
    OK(hpt_session_monitor(t, a, b));
    FAILS(HPT_ERR_CANCELLED, "callback", hpt_session_run(t, three, NULL));
    snprintf(path, sizeof path, "%s/c.pth.tar", dir);
    OK(hpt_session_save(t, path));
    hpt_session_destroy(t);
    OK(hpt_model_create(ctx, c, &m2));
    OK(hpt_session_create(ctx, c, m2, ds, &t));
    OK(hpt_session_monitor(t, a, b));
    OK(hpt_session_resume(t, path));
    OK(hpt_session_run(t, NULL, NULL));
    OK(hpt_session_get_info(t, &i2));
    CHECK(i2.step == i.step && i2.monitor_best == i.monitor_best && i2.monitor_best_step == i.monitor_best_step);
    float x[128], y[128];
    OK(hpt_model_get_tensor(m, "layer4.0.bn2.bias", x, 128));
    OK(hpt_model_get_tensor(m2, "layer4.0.bn2.bias", y, 128));
    CHECK(!memcmp(x, y, sizeof x));
    remove(path);
    rmdir(dir);
    FAILS(HPT_ERR_STATE, "monitor already", hpt_session_monitor(s, a, b));
}

static void keep_text(void *user, int32_t level, const char *text) {
    (void)level;
    if (!of_machine(text)) snprintf(user, 600, "%s", text);
}
TEST(alarms_and_frozen_names) {
    hpt_context *ctx = fast_context();
    hpt_dataset *ds = toy_set(ctx, "", 64, 16, 3);
    hpt_model *m;
    hpt_session *s;
    char text[600] = "";
    OK(hpt_context_set_log(ctx, keep_text, text));
    /* a rate that tears the embeddings apart: the loss stays above chance when the queue is full */
    hpt_config *c =
        config(SMALL "steps=400 lr=30 moco_m=0.9999 moco_t=0.02 schedule=constant alarm=stop on_nonfinite=skip");
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    hpt_status st = hpt_session_run(s, NULL, NULL);
    printf("  %s: %s\n", hpt_status_name(st), st < 0 ? hpt_last_error() : "");
    CHECK(st == HPT_ERR_NUMERIC && strstr(hpt_last_error(), "alarm at step"));
    /* only what train_only names moves */
    hpt_config *d = config(SMALL "steps=2 train_only=layer4.*,fc.* freeze=*.bias");
    float a[16], b[16], x[128], y[128], p[128], q[128];
    hpt_model *n;
    OK(hpt_model_create(ctx, d, &n));
    OK(hpt_model_get_tensor(n, "bn1.weight", a, 16));
    OK(hpt_model_get_tensor(n, "layer4.0.bn2.weight", x, 128));
    OK(hpt_model_get_tensor(n, "layer4.0.bn2.bias", p, 128));
    OK(hpt_session_create(ctx, d, n, ds, &s));
    OK(hpt_session_run(s, NULL, NULL));
    OK(hpt_model_get_tensor(n, "bn1.weight", b, 16));
    OK(hpt_model_get_tensor(n, "layer4.0.bn2.weight", y, 128));
    OK(hpt_model_get_tensor(n, "layer4.0.bn2.bias", q, 128));
    CHECK(!memcmp(a, b, sizeof a) && memcmp(x, y, sizeof x) && !memcmp(p, q, sizeof p));
    set(d, "train_only=layer4.* freeze=layer4.*");
    FAILS(HPT_ERR_OPTION, "nothing to train", hpt_session_create(ctx, d, n, ds, &s));
}

/* SPDX-License-Identifier: MIT
 * Minimax-entropy adaptation: its loss against autograd, steps of it and of its baselines against PyTorch
 * (fixtures/make_mme.py), two updates that count together or not at all, runs that go on after they stopped, several
 * ranks, the classifier of directions as part of a model, what is refused. */
#define _GNU_SOURCE
#include "kernels/embed.h"
#include "kernels/heads.h"
#include "shell.h"
#include "ssl/session.h"
#include <pthread.h>
#include <unistd.h>

/* ---- the loss ---- */

TEST(mme_entropy_against_autograd) {
    json_t *cases = json_object_get(fixture("mme"), "heads"), *f;
    size_t at;
    json_array_foreach(cases, at, f) {
        int n = integer(f, "n"), c = integer(f, "c");
        double z[4 * 345], factor = num(f, "factor");
        fill_f64(z, (size_t)(n * c), (uint64_t)integer(f, "seed"), 8, 0);
        for (int i = 0; i < n * c; i++) z[i] *= factor;
        hpt__outcome o = {0};
        hpt__ref_entropy_f64(n, c, z, num(f, "scale"), &o);
        CHECK(fabs(o.entropy - num(f, "entropy")) < 1e-12 && o.loss == 0 && o.bad == 0);
        for (int i = 0; i < n * c; i++) {
            double truth = json_number_value(json_array_get(json_object_get(f, "grad"), (size_t)i));
            if (!(fabs(z[i] - truth) < 1e-12))
                FAIL("gradient %d of %dx%d: %.17g, autograd %.17g", i, n, c, z[i], truth);
        }
    }
}

/* Rows of one length: the gradient by differences, and turned around; a row of zeros stays one. */
TEST(unit_rows_and_their_gradient) {
    enum { D = 5 };
    double x[D], y[D], dy[D], dx[D], back[D], up[D], down[D], h = 1e-6, zero[D] = {0};
    fill_f64(x, D, 3, 1, 0.2f);
    fill_f64(dy, D, 4, 1, 0);
    hpt__ref_unit_f64(1, D, x, 20, y);
    double len = 0;
    for (int i = 0; i < D; i++) len += y[i] * y[i];
    CHECK(fabs(sqrt(len) - 20) < 1e-12);
    hpt__ref_unit_backward_f64(1, D, x, 20, dy, dx);
    hpt__ref_unit_backward_f64(1, D, x, -20, dy, back);
    for (int i = 0; i < D; i++) {
        double was = x[i], slope = 0;
        x[i] = was + h;
        hpt__ref_unit_f64(1, D, x, 20, up);
        x[i] = was - h;
        hpt__ref_unit_f64(1, D, x, 20, down);
        x[i] = was;
        for (int j = 0; j < D; j++) slope += dy[j] * (up[j] - down[j]) / (2 * h);
        CHECK(fabs(dx[i] - slope) < 1e-7 && dx[i] == -back[i]);
    }
    hpt__ref_unit_f64(1, D, zero, 20, y);
    for (int i = 0; i < D; i++) CHECK(y[i] == 0);
}

/* ---- steps against PyTorch ---- */

typedef struct run {
    hpt_model *m;
    hpt_session *s;
    json_t *f;
    int b, size, classes;
} run;

static run start(hpt_context *ctx, const char *name, const char *precision, const char *more) {
    if (!ctx) SKIP("this backend is not here: %s", hpt_last_error());
    run r = {.f = json_object_get(fixture("mme"), name)};
    char text[700];
    r.b = integer(r.f, "b");
    r.size = integer(r.f, "size");
    r.classes = integer(r.f, "classes");
    int hidden = integer(r.f, "hidden");
    hpt__classifier_form form = {num(r.f, "temperature"), hidden};
    snprintf(text, sizeof text,
             "preset=mme arch=%s width=%d stem=small image_size=%d batch_size=%d conv_algo=direct steps=%d "
             "precision=%s mme_entropy=%s mme_classifier=%s mme_dim=%d %s",
             json_string_value(json_object_get(r.f, "arch")), integer(r.f, "width"), r.size, r.b,
             integer(r.f, "steps"), precision, json_string_value(json_object_get(r.f, "entropy")),
             hidden ? "deep" : "plain", hidden ? hidden : 512, more);
    hpt_config *c = config(text);
    OK(hpt_model_create(ctx, c, &r.m));
    fill_model(r.m, 100);
    OK(hpt__classifier_create_as(&r.m->fc, form, r.m->net.feature_dim, r.classes, 0, NULL));
    for (int i = 0; i < r.m->fc.net.n_tensors; i++) {
        const hpt__tensor *x = &r.m->fc.net.tensors[i];
        fill_f32(r.m->fc.params + x->offset, x->count, hidden ? 900 + (uint64_t)i : 902, 0.1f, 0);
    }
    OK(hpt_session_create(ctx, c, r.m, NULL, &r.s));
    hpt_config_destroy(c);
    return r;
}
/* One batch: labelled images of both domains, and (unless off) unlabelled ones; hole: an image that is not finite. */
static hpt_status try_step(run *r, int i, int hole, hpt_step_info *info) {
    int n = r->s->trainer.spec.batch;
    size_t image = 3 * (size_t)r->size * (size_t)r->size;
    float *x = malloc((size_t)n * image * 4);
    int32_t y[64];
    fill_f32(x, (size_t)n * image, 6000 + (uint64_t)i, 2, 0);
    for (int j = 0; j < n; j++)
        y[j] = j < 2 * r->b ? (int32_t)(hash_at((uint64_t)j, 7000 + (uint64_t)i) % (uint32_t)r->classes) : -1;
    if (hole >= 0) x[(size_t)hole * image] = NAN;
    hpt_batch b = {.struct_size = sizeof b, .images = (uint32_t)n, .views = 1, .height = (uint32_t)r->size,
                   .width = (uint32_t)r->size, .view = (const float *const[]){x}, .label = y};
    hpt_status st = hpt_session_step_batch(r->s, &b, info);
    free(x);
    return st;
}
static size_t count_of(const run *r, const char *tensor) {
    int i = hpt__net_find(&r->s->taught.joined.net, tensor);
    if (i < 0) FAIL("no tensor %s", tensor);
    return r->s->taught.joined.net.tensors[i].count;
}
/* A run against PyTorch's: losses, entropies and right answers of its steps, every gradient (of the last update),
 * weight and statistic at its end. */
static void compare(run *r, double loss_tol, double factor, double floor) {
    int steps = integer(r->f, "steps"), off = !strcmp(json_string_value(json_object_get(r->f, "entropy")), "off");
    int ent = !strcmp(json_string_value(json_object_get(r->f, "entropy")), "minimise");
    const char *name, *worst_name = "";
    double worst = 0;
    json_t *t;
    for (int i = 0; i < steps; i++) {
        hpt_step_info info = {.struct_size = sizeof info};
        OK(try_step(r, i, -1, &info));
        double truth = json_number_value(json_array_get(json_object_get(r->f, "loss64"), (size_t)i));
        double entropy = json_number_value(json_array_get(json_object_get(r->f, "entropy64"), (size_t)i));
        int right = (int)json_integer_value(json_array_get(json_object_get(r->f, "right"), (size_t)i));
        if (!(fabs(info.loss - truth) <= loss_tol * truth)) FAIL("step %d: loss %.12f, PyTorch %.12f", i + 1, info.loss,
                                                                 truth);
        if (off ? !isnan(info.entropy) || !isnan(info.entropy_loss)
                : !(fabs(info.entropy - entropy) <= 4 * loss_tol) ||
                      fabs(info.entropy_loss - (ent ? 0.1 : -0.1) * info.entropy) > 1e-15)
            FAIL("step %d: entropy %.12f, loss %.12f, PyTorch %.12f", i + 1, info.entropy, info.entropy_loss, entropy);
        CHECK(fabs(info.acc1 - 100.0 * right / (2 * r->b)) < 1e-9 && isnan(info.z_std) &&
              fabs(info.lr - 0.01 * pow(1 + 1e-4 * i, -0.75)) < 1e-15);
    }
    float *x = malloc(64 << 20);
    json_object_foreach(json_object_get(r->f, "tensors"), name, t) {
        char full[100];
        int grad = !strncmp(name, "grad.", 5);
        size_t n = count_of(r, name + 5 * grad);
        snprintf(full, sizeof full, "%s%s", grad ? "" : "model.", name);
        OK(hpt_session_get_tensor(r->s, full, x, n));
        double e = signature_error_f32(x, n, json_object_get(t, "sig")), theirs = num(t, "torch_error"),
               limit = floor + factor * theirs;
        if (e / limit > worst) worst = e / limit, worst_name = name;
        if (!(e <= limit)) FAIL("%s: error %.3g, PyTorch fp32's own %.3g, limit %.3g", name, e, theirs, limit);
    }
    printf("  worst tensor: %s at %.2f of its limit\n", worst_name, worst);
    free(x);
}

TEST(mme_step_fp64) {
    run r = start(context("reference", 1), "deep", "fp64", "");
    compare(&r, 1e-9, 0, 3e-7); /* outputs are read as float32 */
}
TEST(mme_plain_steps_fp64) {
    run r = start(context("reference", 1), "plain", "fp64", "");
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(mme_minimised_entropy_fp64) {
    run r = start(context("reference", 1), "ent", "fp64", "");
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(mme_without_entropy_fp64) {
    run r = start(context("reference", 1), "source", "fp64", "");
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(mme_twenty_steps_fp64) {
    run r = start(context("reference", 1), "twenty", "fp64", "");
    compare(&r, 1e-9, 0, 3e-7);
}
TEST(mme_step_fp32) {
    run r = start(context("reference", 1), "deep", "fp32", "");
    compare(&r, 1e-5, 2, 1e-5);
}
TEST(mme_step_onednn) {
    run r = start(fast_context(), "deep", "fp32", "");
    compare(&r, 1e-5, 2, 1e-5);
}
#ifdef HPT_TEST_EMU
TEST(mme_step_cuda) {
    run r = start(context("cuda", 1), "deep", "fp32", "");
    compare(&r, 1e-5, 2, 1e-5);
}
#endif

/* ---- two updates that count together or not at all ---- */

/* Weights, statistics and momenta of a run. */
typedef struct all { float *x; size_t n; } all;
static all state_of(run *r) {
    const hpt__net *net = &r->s->taught.joined.net;
    all a = {malloc(32 << 20), 0};
    for (int i = 0; i < net->n_tensors; i++)
        for (int momentum = 0; momentum <= !hpt__is_stat(&net->tensors[i]); momentum++) {
            char name[160];
            snprintf(name, sizeof name, "%s%s", momentum ? "momentum." : "model.", net->tensors[i].name);
            OK(hpt_session_get_tensor(r->s, name, a.x + a.n, net->tensors[i].count));
            a.n += net->tensors[i].count;
        }
    return a;
}
static void same_state(run *a, run *b, const char *what) {
    all x = state_of(a), y = state_of(b);
    if (x.n != y.n || memcmp(x.x, y.x, x.n * 4)) FAIL("%s: other weights, statistics or momenta", what);
    free(x.x);
    free(y.x);
}
/* An unlabelled image that is not finite: the first update has been made when it is met. Steps before it are recorded
 * and replayed where the backend can. */
static void bad_second_update(const char *backend, const char *more) {
    hpt_context *ctx = context(backend, 1);
    if (!ctx) return;
    run a = start(ctx, "ent", "fp32", more), b = start(ctx, "ent", "fp32", more);
    for (int i = 0; i < 4; i++) {
        hpt_step_info info = {.struct_size = sizeof info};
        OK(try_step(&a, i % 3, -1, NULL));
        if (i % 2) FAILS(HPT_ERR_NUMERIC, "the step was not applied", try_step(&b, i, 3 * b.b, NULL));
        if (i == 2) FAILS(HPT_ERR_NUMERIC, "the step was not applied", try_step(&b, i, 0, NULL));
        OK(try_step(&b, i % 3, -1, &info));
        CHECK(info.step == (uint64_t)i + 1);
        same_state(&a, &b, backend);
    }
    hpt_context_destroy(ctx);
}
TEST_LIMIT(mme_counts_both_updates_or_neither, 120) {
    bad_second_update("onednn", "steps=9");
    bad_second_update("reference", "steps=9 nesterov=0 optimizer=adamw mme_entropy=minimax");
#ifdef HPT_TEST_EMU
    bad_second_update("cuda", "steps=9 mme_entropy=minimax");
#endif
}

/* Given up between two operations, at eight moments of a step: what its first update has written is put back. */
typedef struct canceller { hpt_context *ctx; useconds_t after; } canceller;
static void *cancel(void *arg) {
    canceller *c = arg;
    usleep(c->after);
    hpt_context_cancel(c->ctx);
    return NULL;
}
TEST_LIMIT(mme_step_that_is_given_up_changes_nothing, 120) {
    hpt_context *ctx = context("reference", 1);
    run a = start(ctx, "ent", "fp32", "steps=99 batch_size=12"),
        b = start(ctx, "ent", "fp32", "steps=99 batch_size=12");
    hpt_step_info info = {.struct_size = sizeof info};
    int stops = 0;
    a.b = b.b = 12;
    OK(try_step(&a, 0, -1, &info));
    OK(try_step(&b, 0, -1, &info));
    for (int k = 1; k <= 8; k++) {
        canceller c = {ctx, (useconds_t)(info.step_ms * 1000 * k / 9)};
        pthread_t t;
        CHECK(!pthread_create(&t, NULL, cancel, &c));
        hpt_status st = try_step(&b, k, -1, NULL);
        pthread_join(t, NULL);
        if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
        stops += st != HPT_OK;
        if (st) same_state(&a, &b, "after a stop");
        while (st && (st = try_step(&b, k, -1, NULL))) CHECK(st == HPT_ERR_CANCELLED);
        OK(try_step(&a, k, -1, NULL));
        same_state(&a, &b, "after the step");
    }
    printf("  %d stops\n", stops);
    CHECK(stops >= 3);
}

/* ---- runs from data sets ---- */

#define SMALL                                                                                                          \
    "preset=mme arch=resnet10 width=16 stem=small image_size=16 batch_size=6 mme_dim=12 precision=fp32 lr=0.02 " \
    "workers=2 "
typedef struct sets { hpt_dataset *source, *few, *rest, *val, *test; } sets;
/* The target's colours are other ones: inverted. */
static sets open_sets(hpt_context *ctx) {
    hpt_dataset *whole;
    sets d = {.source = toy_set(ctx, "", 40, 16, 3)};
    uint64_t at[3][20], n[3] = {0};
    whole = toy_set(ctx, "invert=1", 45, 18, 3);
    for (uint64_t i = 0; i < 45; i++) {
        int part = i < 6 ? 0 : i < 26 ? 1 : 2;
        at[part][n[part]++] = i;
    }
    OK(hpt_dataset_subset(whole, at[0], 5, &d.few));              /* fewer than a batch */
    OK(hpt_dataset_subset(whole, at[1], n[1], &d.rest));
    OK(hpt_dataset_subset(whole, at[2], 9, &d.val));
    OK(hpt_dataset_subset(whole, at[2] + 9, n[2] - 9, &d.test));
    return d;
}
static hpt_model *model(hpt_context *ctx, const char *pairs) {
    hpt_model *m;
    OK(hpt_model_create(ctx, config(pairs), &m));
    return m;
}
static hpt_session *session(hpt_context *ctx, const char *pairs, hpt_model *m, const sets *d) {
    hpt_session *s;
    OK(hpt_session_create(ctx, config(pairs), m, d->source, &s));
    OK(hpt_session_data(s, "labelled", d->few));
    OK(hpt_session_data(s, "unlabelled", d->rest));
    OK(hpt_session_data(s, "test", d->test));
    OK(hpt_session_data(s, "val", d->val));
    return s;
}
static void same_models(hpt_model *a, hpt_model *b, const char *what) {
    CHECK(a->fc.net.n_params && a->fc.net.n_params == b->fc.net.n_params && a->fc.net.arch.temperature > 0);
    CHECK(a->fc.net.arch.temperature == b->fc.net.arch.temperature);
    if (memcmp(a->params, b->params, a->net.n_params * 4) || memcmp(a->stats, b->stats, a->net.n_stats * 4) ||
        memcmp(a->fc.params, b->fc.params, a->fc.net.n_params * 4))
        FAIL("%s: other weights", what);
}
/* Stopped at any step and gone on; the checkpoint is a model with its classifier too. */
TEST_LIMIT(mme_goes_on_to_the_same_bits, 120) {
    const char *backends[] = {"reference", "onednn",
#ifdef HPT_TEST_EMU
                              "cuda"
#endif
    };
    char *dir = temp_dir(), path[300];
    snprintf(path, sizeof path, "%s/mme.pth", dir);
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        const char *o = b ? SMALL "steps=5 monitor_every=2 seed=5 mme_classifier=plain"
                          : SMALL "steps=5 monitor_every=2 seed=5 schedule_gamma=0.1";
        sets d = open_sets(ctx);
        hpt_model *one = model(ctx, o), *half = model(ctx, o), *rest = model(ctx, o), *file;
        hpt_session *s = session(ctx, o, one, &d);
        hpt_step_info info = {.struct_size = sizeof info};
        OK(hpt_session_run(s, NULL, NULL));
        OK(hpt_session_get_info(s, &info));
        CHECK(isfinite(info.monitor_best) && info.entropy > 0 && info.entropy_loss < 0);
        s = session(ctx, o, half, &d);
        for (int i = 0; i < 3; i++) OK(hpt_session_step(s, NULL));
        OK(hpt_session_save(s, path));
        hpt_session_destroy(s);
        s = session(ctx, o, rest, &d);
        OK(hpt_session_resume(s, path));
        OK(hpt_session_run(s, NULL, NULL));
        same_models(one, rest, backends[b]);
        hpt_session_destroy(s);
        OK(hpt_model_load(ctx, config("seed=5"), path, &file, NULL));
        same_models(half, file, "checkpoint");
        hpt_context_destroy(ctx);
    }
}

/* Predictions of a saved model are those of the model; another method goes on with its classifier. */
TEST(mme_classifier_in_files) {
    hpt_context *ctx = context("reference", 1);
    static const char *const forms[] = {"mme_classifier=deep", "mme_classifier=plain mme_temperature=0.07"};
    static const char *const files[] = {"m.pth", "m.safetensors"};
    char *dir = temp_dir(), path[300], options[400];
    sets d = open_sets(ctx);
    for (int f = 0; f < 2; f++) {
        snprintf(options, sizeof options, SMALL "steps=2 %s monitor_every=1", forms[f]);
        hpt_model *m = model(ctx, options), *got, *clone;
        hpt_session *s = session(ctx, options, m, &d);
        hpt_config *p = config("image_size=16 eval_crop=square precision=fp32");
        float x[3 * 10], y[3 * 10], w[128 * 12];
        double v;
        hpt_result *r;
        OK(hpt_session_run(s, NULL, NULL));
        hpt_session_destroy(s);
        OK(hpt_model_predict(m, d.test, p, x, 30));
        OK(hpt_model_clone(m, &clone));
        same_models(m, clone, "clone");
        OK(hpt_model_get_tensor(m, f ? "classifier.weight" : "classifier.fc1.weight", w, f ? 3 * 128 : 12 * 128));
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%s", dir, files[k]);
            OK(hpt_model_save(m, path, NULL));
            OK(hpt_model_load(ctx, NULL, path, &got, NULL));
            same_models(m, got, files[k]);
            OK(hpt_model_predict(got, d.test, p, y, 30));
            CHECK(!memcmp(x, y, sizeof x));
            hpt_model_destroy(got);
            OK(hpt_model_load(ctx, config("classifier=drop"), path, &got, NULL));
            CHECK(!hpt__classes(&got->fc) && !memcmp(got->params, m->params, m->net.n_params * 4));
            hpt_model_destroy(got);
        }
        int right = 0;
        for (uint64_t i = 0; i < 10; i++) {
            int best = 0;
            int32_t is;
            for (int c = 1; c < 3; c++)
                if (x[3 * i + (uint64_t)c] > x[3 * i + (uint64_t)best]) best = c;
            OK(hpt_dataset_label(d.test, i, &is));
            right += best == is;
        }
        OK(hpt_model_score(m, d.test, p, &r));
        OK(hpt_result_number(r, "test_top1", &v));
        CHECK(fabs(v - 10.0 * right) < 1e-9);
        OK(hpt_result_number(r, "test_images", &v));
        CHECK(v == 10);
        /* cosines: no logit beyond 1/temperature, and the features' length means nothing */
        for (int i = 0; i < 30; i++) CHECK(f == 0 || fabsf(x[i]) < 60);
        OK(hpt_session_create(ctx, config("method=supervised arch=resnet10 width=16 stem=small image_size=16 "
                                          "batch_size=6 bn_group=0 steps=1 precision=fp32 monitor_every=0"),
                              m, d.source, &s));
        OK(hpt_session_run(s, NULL, NULL));
        CHECK(m->fc.net.arch.temperature > 0 && hpt__classes(&m->fc) == 3);
    }
}

/* ---- what is refused ---- */

TEST(mme_refuses) {
    hpt_context *ctx = context("reference", 1);
    hpt_session *s;
    hpt_model *m = model(ctx, SMALL), *moco;
    sets d = open_sets(ctx);
    hpt_dataset *none, *four = toy_set(ctx, "pad=1", 8, 14, 4), *two;
    uint8_t px[4 * 16 * 16 * 3] = {0};
    const uint64_t hole[3] = {0, 1, 3};
    const char *o = SMALL "steps=2 monitor_every=1";
    char path[300];
    OK(hpt_dataset_from_memory(ctx, NULL, px, 4, 16, 16, 3, NULL, &none));
    OK(hpt_dataset_subset(d.few, hole, 3, &two));
    FAILS(HPT_ERR_ARGUMENT, "labels", hpt_session_create(ctx, config(o), m, none, &s));
    OK(hpt_session_create(ctx, config(o), m, d.source, &s));
    FAILS(HPT_ERR_ARGUMENT, "it has: labelled unlabelled val test", hpt_session_data(s, "train", d.few));
    FAILS(HPT_ERR_STATE, "a data set of role 'labelled'", hpt_session_step(s, NULL));
    FAILS(HPT_ERR_ARGUMENT, "labelled", hpt_session_data(s, "labelled", none));
    FAILS(HPT_ERR_MISMATCH, "label 3 is outside 0..2", hpt_session_data(s, "labelled", four));
    FAILS(HPT_ERR_MISMATCH, "2 of the 3 classes of the source have an image, class '2'",
          hpt_session_data(s, "labelled", two));
    FAILS(HPT_ERR_MISMATCH, "label 3 is outside 0..2", hpt_session_data(s, "test", four));
    OK(hpt_session_data(s, "labelled", d.few));
    FAILS(HPT_ERR_STATE, "already", hpt_session_data(s, "labelled", d.few));
    FAILS(HPT_ERR_STATE, "a data set of role 'unlabelled'", hpt_session_step(s, NULL));
    OK(hpt_session_data(s, "unlabelled", d.rest));
    FAILS(HPT_ERR_ARGUMENT, "unlabelled and test share 20 images", hpt_session_data(s, "test", d.rest));
    FAILS(HPT_ERR_ARGUMENT, "labelled and val share 5 images", hpt_session_data(s, "val", d.few));
    OK(hpt_session_step(s, NULL));
    FAILS(HPT_ERR_STATE, "already run", hpt_session_data(s, "test", d.test));
    hpt_session_destroy(s);
    /* overlap=allow trains all the same */
    OK(hpt_session_create(ctx, config(SMALL "steps=2 overlap=allow"), m, d.source, &s));
    OK(hpt_session_data(s, "unlabelled", d.rest));
    OK(hpt_session_data(s, "test", d.rest));
    hpt_session_destroy(s);
    FAILS(HPT_ERR_OPTION, "of method=mme it is option 'mme_classifier'", hpt_config_set(config(""), "classifier",
        "deep"));
    FAILS(HPT_ERR_OPTION, "'mme_lambda' is of method=mme", hpt_session_create(ctx, config("mme_lambda=0.2"), m, NULL,
        &s));
    FAILS(HPT_ERR_OPTION, "'moco_k' is of method=moco",
          hpt_session_create(ctx, config(SMALL "moco_k=64"), m, d.source, &s));
    FAILS(HPT_ERR_OPTION, "'nesterov' is a form of SGD",
          hpt_session_create(ctx, config(SMALL "optimizer=adamw"), m, d.source, &s));
    FAILS(HPT_ERR_OPTION, "batch norm",
          hpt_session_create(ctx, config(SMALL "image_size=8 bn_group=1"), m, d.source, &s));
    OK(hpt__classifier_create_as(&m->fc, (hpt__classifier_form){0.05, 12}, m->net.feature_dim, 3, 0, NULL));
    FAILS(HPT_ERR_MISMATCH, "classifier=drop", hpt_session_create(ctx, config(SMALL "mme_temperature=0.1"), m, d.source,
                                                                  &s));
    /* a MoCo run's file */
    snprintf(path, sizeof path, "%s/moco.pth", temp_dir());
    moco = model(ctx, "arch=resnet10 width=16 stem=small moco_dim=16");
    OK(hpt_session_create(ctx,
                          config("arch=resnet10 width=16 stem=small image_size=16 batch_size=4 bn_group=2 moco_k=8 "
                                      "moco_dim=16 steps=2 precision=fp32"), moco, d.source, &s));
    OK(hpt_session_save(s, path));
    hpt_session_destroy(s);
    s = session(ctx, o, model(ctx, SMALL), &d);
    FAILS(HPT_ERR_MISMATCH, "made with method=moco and is resumed with method=mme", hpt_session_resume(s, path));
}

/* Ties are a new best; the sixth score below it ends the run (the authors' patience of 5). */
TEST(mme_stops_as_its_authors) {
    hpt_option_info o = {.struct_size = sizeof o};
    hpt_context *ctx = context("reference", 1);
    sets d = open_sets(ctx);
    hpt_session *s = session(ctx, SMALL "steps=2 monitor_every=1", model(ctx, SMALL), &d);
    CHECK(s->monitor.ties && s->monitor.patience == 6);
    hpt__monitor *w = &s->monitor;
    OK(hpt_session_step(s, NULL));
    double score = w->score;
    w->best = score;
    w->best_at = 0;
    OK(hpt__monitor_score(w, s->model, &s->opt, 1));
    CHECK(w->best_at == 1 && w->misses == 0);
    w->best = score + 1;
    for (int i = 0; i < 6; i++) {
        CHECK(!w->stopped);
        OK(hpt__monitor_score(w, s->model, &s->opt, (uint64_t)i + 2));
    }
    CHECK(w->stopped && w->best_at == 1);
}

/* ---- as a user types it ---- */

/* Three folders of the target from one, so that none of them shares an image; PREFIX/src, few, rest, val, test. */
static char *domains(void) {
    char *dir = temp_dir();
    RUN("mkdir %s/all && cd %s/all && mkdir ../src", dir, dir);
    static const char *const names[] = {"ape", "bee", "cat"};
    for (int d = 0; d < 2; d++)
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 12; i++) {
                static const char *const part[] = {"few", "few", "val", "val", "test", "test", "test", "test"};
                char path[300];
                snprintf(path, sizeof path, "%s/%s/%s", dir, !d ? "src" : i < 8 ? part[i] : "rest", names[c]);
                RUN("mkdir -p %s", path);
                snprintf(path + strlen(path), sizeof path - strlen(path), "/%02d.ppm", i);
                FILE *f = fopen(path, "w");
                CHECK(f);
                fprintf(f, "P6\n22 18\n255\n");
                for (int p = 0; p < 22 * 18 * 3; p++) {
                    double wave = sin((c + 1) * 0.6 * (p / 3 % 22) + p % 3) * cos((c + 2) * 0.3 * (p / 66));
                    fputc((int)(128 + (d ? -70 : 70) * wave + 20 * value_at((uint64_t)p, (uint64_t)(i + 40 * d))), f);
                }
                CHECK(!fclose(f));
            }
    return dir;
}
#define ADAPT                                                                                                          \
    HPT_TEST_BIN "/hpt adapt-domain --source %s/src --labelled %s/few --unlabelled %s/rest --test %s/test --arch "     \
                 "resnet10 --width 16 --stem small --image_size 16 --batch_size 4 --mme_dim 12 --precision fp32 "      \
                 "--conv_algo direct --steps 6 --threads 1 --workers 1 --backend reference "
TEST_LIMIT(adapt_domain_on_the_command_line, 120) {
    char *dir = domains();
    RUN(ADAPT "--val %s/val --monitor_every 2 --out %s/one", dir, dir, dir, dir, dir, dir);
    CHECK(strstr(output, "test top-1 ") && strstr(output, "in the mean of 3 classes"));
    RUN("cat %s/one/metrics.jsonl %s/one/train.log", dir, dir);
    CHECK(strstr(output, "\"entropy\": ") && strstr(output, "\"entropy_loss\": -0.") &&
          strstr(output, "\"train_top1\""));
    CHECK(strstr(output, "val top-1 %") && !strstr(output, "kNN"));
    RUN("timeout -s KILL 0.9 " ADAPT "--val %s/val --monitor_every 2 --out %s/two --save-every 1 >/dev/null 2>&1; "
        "test -e %s/two/args.json", dir, dir, dir, dir, dir, dir, dir);
    RUN(HPT_TEST_BIN "/hpt adapt-domain --resume --out %s/two --json", dir);
    CHECK(strstr(output, "\"test_top1\": ") && strstr(output, "\"test_class_mean\": "));
    RUN("cmp %s/one/exported/model.safetensors %s/two/exported/model.safetensors", dir, dir);
    RUN(HPT_TEST_BIN "/hpt predict --init %s/one/exported/backbone.pth --data %s/test --image_size 16 --eval_crop "
        "square --precision fp32", dir, dir);
    CHECK(strstr(output, "\"ape\",") || strstr(output, "\"bee\",") || strstr(output, "\"cat\","));
    RUN(ADAPT "--mme-entropy off --out %s/three", dir, dir, dir, dir, dir);
    RUN("cat %s/three/metrics.jsonl", dir);
    CHECK(!strstr(output, "entropy"));
    /* what is wrong is said before anything is trained */
    REFUSED(1, "unlabelled and test share 12 images",
            HPT_TEST_BIN "/hpt adapt-domain --source %s/src --labelled %s/few --unlabelled %s/test --test %s/test "
            "--out %s/no --width 16 --arch resnet10", dir, dir, dir, dir, dir);
    RUN("mkdir %s/dogs && cp -r %s/few/ape %s/dogs/dog && cp -r %s/few/bee %s/few/cat %s/dogs", dir, dir, dir, dir, dir,
        dir);
    REFUSED(1, "class 'dog'", HPT_TEST_BIN "/hpt adapt-domain --source %s/src --labelled %s/dogs --unlabelled %s/rest "
            "--out %s/no --width 16 --arch resnet10", dir, dir, dir, dir);
    CHECK(strstr(output, "ape, bee, cat"));
    REFUSED(2, "--unlabelled is needed", HPT_TEST_BIN "/hpt adapt-domain --source %s/src --labelled %s/few --out %s/no",
            dir, dir, dir);
    REFUSED(2, "method=mme is hpt adapt-domain's", HPT_TEST_BIN "/hpt pretrain --data %s/src --method mme --out %s/no",
            dir, dir);
}
TEST_LIMIT(mme_ranks_equal_one, 120) {
    if (system("command -v mpirun >/dev/null 2>&1")) SKIP("mpirun is not here");
    if (access(HPT_TEST_MODULES "/libhpt-mpi.so", R_OK)) SKIP("the mpi module was not built");
    char *dir = domains(), path[300];
    hpt_context *ctx = context("reference", 1);
    hpt_model *m[2];
    RUN(ADAPT "--lr 0.002 --out %s/one", dir, dir, dir, dir, dir);
    RUN("mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 " ADAPT "--lr 0.002 --comm mpi --out %s/two",
        dir, dir, dir, dir, dir);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/exported/model.safetensors", dir, i ? "two" : "one");
        OK(hpt_model_load(ctx, NULL, path, &m[i], NULL));
    }
    double worst = 0;
    for (size_t i = 0; i < m[0]->net.n_params; i++) worst = fmax(worst, fabs(m[0]->params[i] - m[1]->params[i]));
    for (size_t i = 0; i < m[0]->fc.net.n_params; i++)
        worst = fmax(worst, fabs(m[0]->fc.params[i] - m[1]->fc.params[i]));
    printf("  parameters differ by %.2g\n", worst);
    CHECK(worst <= 2e-5);
}

/* SPDX-License-Identifier: MIT
 * Minimax-entropy adaptation: its loss against autograd, steps of it and of its baselines against PyTorch
 * (fixtures/make_mme.py), two updates that count together or not at all, runs that go on after they stopped, several
 * ranks, the classifier of directions as part of a model, what is refused. */
#include "kernels/embed.h"
#include "kernels/heads.h"
#include "shell.h"
#include "ssl/session.h"
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

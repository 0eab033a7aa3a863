/* SPDX-License-Identifier: MIT
 * Contract: steps.h. A session of any method is stepped through hpt_session_step_batch(), and its tensors are found by
 * the list that the method gives (train/visit.h). */
#include "steps.h"
#include "ssl/session.h"

static int optional(json_t *f, const char *key, int missing) {
    return json_object_get(f, key) ? integer(f, key) : missing;
}
run run_of(hpt_context *ctx, json_t *f, const char *precision, const char *more, hpt_config **conf) {
    if (!ctx) SKIP("this backend is not here: %s", hpt_last_error());
    run r = {.f = f, .batch = integer(f, "batch"), .parts = optional(f, "parts", 1), .size = integer(f, "size"),
             .classes = optional(f, "classes", 0)};
    char text[700];
    snprintf(text, sizeof text,
             "arch=%s width=%d stem=%s image_size=%d batch_size=%d accumulate=%d bn_group=%d conv_algo=direct steps=%d "
             "precision=%s %s",
             json_string_value(json_object_get(f, "arch")), integer(f, "width"),
             integer(f, "small") ? "small" : "imagenet", r.size, r.batch, r.parts, r.batch / integer(f, "groups"),
             optional(f, "steps", (int)json_array_size(json_object_get(f, "loss64"))), precision, more);
    *conf = config(text);
    OK(hpt_config_set_float(*conf, "lr", num(f, "lr")));
    OK(hpt_model_create(ctx, *conf, &r.m));
    fill_model(r.m, 100);
    return r;
}

hpt_step_info step(run *r, int i) {
    enum { MOST = 64 };
    const int all = r->batch * r->parts, views = r->classes ? 1 : 2;
    const size_t n = (size_t)all * 3 * (size_t)r->size * (size_t)r->size;
    float *x[2] = {malloc(n * 4), malloc(n * 4)};
    int32_t label[MOST];
    hpt_step_info info = {.struct_size = sizeof info};
    CHECK(all <= MOST);
    for (int v = 0; v < views; v++) fill_f32(x[v], n, 6000 + (uint64_t)(views * i + v), 2, 0);
    for (size_t j = 0; j < n && views == 2; j++) x[1][j] = 0.5f * x[1][j] + 0.5f * x[0][j];
    for (int j = 0; j < all && r->classes; j++)
        label[j] = (int32_t)(hash_at((uint64_t)j, 7000 + (uint64_t)i) % (uint32_t)r->classes);
    const float *const view[2] = {x[0], x[1]};
    const hpt_batch b = {.struct_size = sizeof b, .images = (uint32_t)all, .views = (uint32_t)views,
                         .height = (uint32_t)r->size, .width = (uint32_t)r->size, .view = view,
                         .label = r->classes ? label : NULL};
    OK(hpt_session_step_batch(r->s, &b, &info));
    free(x[0]);
    free(x[1]);
    return info;
}

size_t size_of(const run *r, const char *tensor) {
    hpt__trainer *t = &r->s->trainer;
    hpt__state item[HPT__STATES];
    int n = t->method->state(t, item);
    for (int i = 0; i < n; i++) {
        const hpt__weights *w = item[i].weights;
        if (item[i].kind == HPT__STATE_ROWS && !strcmp(item[i].name, tensor)) return (size_t)(item[i].n * item[i].d);
        if (item[i].kind != HPT__STATE_NETWORK) continue;
        const char *prefix[] = {item[i].prefix, w->grad ? "grad." : item[i].prefix,
                                w->grad ? "momentum." : item[i].prefix};
        for (int k = 0; k < 3; k++) {
            size_t length = strlen(prefix[k]);
            int at = strncmp(tensor, prefix[k], length) ? -1 : hpt__net_find(w->net, tensor + length);
            if (at >= 0) return w->net->tensors[at].count;
        }
    }
    FAIL("no tensor %s", tensor);
}

/* Losses of all steps and right answers; what the last step said. */
static hpt_step_info compare_losses(run *r, double tol) {
    json_t *loss = json_object_get(r->f, "loss64"), *right = json_object_get(r->f, "right");
    hpt_step_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < json_array_size(loss); i++) {
        double truth = json_number_value(json_array_get(loss, i));
        double theirs = tol > 1e-8 && !i ? 2 * fabs(num(r->f, "loss32") - truth) : 0;
        info = step(r, (int)i);
        if (!(fabs(info.loss - truth) <= tol * truth + theirs))
            FAIL("step %zu: loss %.12f, PyTorch %.12f", i + 1, info.loss, truth);
        double count = (double)json_integer_value(json_array_get(right, i));
        if (right) CHECK(fabs(info.acc1 - 100 * count / (r->batch * r->parts)) < 1e-9);
    }
    return info;
}
hpt_step_info compare(run *r, double loss_tol, double factor, double floor) {
    hpt_step_info info = compare_losses(r, loss_tol);
    const char *name, *worst_name = "";
    double worst = 0;
    json_t *t;
    float *x = malloc(64 << 20);
    json_object_foreach(json_object_get(r->f, "tensors"), name, t) {
        char full[120];
        int bare = r->classes && strncmp(name, "grad.", 5);     /* the names of the one network */
        snprintf(full, sizeof full, "%s%s", bare ? "model." : "", name);
        size_t n = size_of(r, full);
        OK(hpt_session_get_tensor(r->s, full, x, n));
        double e = signature_error_f32(x, n, json_object_get(t, "sig")), theirs = num(t, "torch_error"),
               limit = floor + factor * theirs;
        if (e / limit > worst) worst = e / limit, worst_name = name;
        if (!(e <= limit)) FAIL("%s: error %.3g, PyTorch fp32's own %.3g, limit %.3g", name, e, theirs, limit);
    }
    printf("  worst tensor: %s at %.2f of its limit\n", worst_name, worst);
    free(x);
    return info;
}

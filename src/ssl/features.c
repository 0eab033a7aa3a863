/* SPDX-License-Identifier: MIT
 * Contract: features.h. One pass over a set with a plain loader (no augmentation), in batches; rows of images that
 * cannot be read are NaN, and that is said. */
#include "ssl/features.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

/* Weights of a model's network on the device. */
static hpt_status place(hpt__encoder *e, hpt__weights *w, const hpt__net *net, const float *params,
                        const float *stats) {
    HPT_TRY(hpt__weights_open(&e->pool, e->dtype, net, w));
    return hpt__weights_set(&e->pool, e->dtype, w, params, stats);
}
static hpt_status open(hpt__encoder *e, const hpt_model *m, const hpt__options *o, const hpt__encoder_spec *s) {
    hpt_context *c = e->ctx;
    hpt_status st = HPT_OK;
    HPT_TRY(hpt__precision(c, o, &e->dtype));
    if (!c->be->host_memory)
        e->images = hpt__take(&e->pool, (size_t)s->batch * 12 * (size_t)s->size * (size_t)s->size, &st);
    if (!st && !s->weights) st = place(e, &e->own, &m->net, m->params, m->stats);
    if (!st && s->logits) st = place(e, &e->fc, &m->fc.net, m->fc.params, NULL);
    HPT_TRY(st);
    e->w = s->weights ? s->weights : &e->own;
    hpt__plan_spec p = {.dtype = e->dtype, .mode = s->groups ? HPT__FORWARD : HPT__EVAL, .batch = s->batch,
                        .size = s->size, .groups = s->groups ? s->groups : 1, .direct = OPT_IS(o, conv_algo, "direct"),
                        .deterministic = 1, .layer = s->layer, .pool = s->pool, .head = s->weights != NULL,
                        .watch = &c->watch};
    HPT_TRY(hpt__plan_create(c->be, c->dev, e->w->net, &p, &e->plan));
    e->last = e->plan;
    if (!s->logits) return HPT_OK;
    p = (hpt__plan_spec){.dtype = e->dtype, .mode = HPT__EVAL, .batch = s->batch, .size = s->size, .groups = 1,
                         .head = 1, .direct = p.direct, .deterministic = 1, .watch = &c->watch};
    return hpt__plan_create(c->be, c->dev, &m->fc.net, &p, &e->last);
}
hpt_status hpt__encoder_open(hpt__encoder *e, hpt_model *m, const hpt__options *o, const hpt__encoder_spec *s) {
    hpt_context *c = m->ctx;
    *e = (hpt__encoder){.ctx = c, .pool = {.be = c->be, .dev = c->dev, .of = "a network"}, .batch = s->batch,
                        .size = s->size};
    hpt_status st = open(e, m, o, s);
    if (st) hpt__encoder_close(e);
    return st;
}
void hpt__encoder_close(hpt__encoder *e) {
    if (e->last != e->plan) hpt__plan_destroy(e->last);
    hpt__plan_destroy(e->plan);
    hpt__pool_free(&e->pool);
    memset(e, 0, sizeof *e);
}
hpt_status hpt__encoder_forward(hpt__encoder *e, const float *x, double bn_momentum) {
    hpt_context *c = e->ctx;
    if (e->images) {
        c->be->device.enter(c->dev);
        c->be->memory.upload(c->dev, e->images, x, (size_t)e->batch * 12 * (size_t)e->size * (size_t)e->size);
        c->be->device.leave(c->dev);
        x = e->images;
    }
    return hpt__plan_forward(e->plan, e->w->params, e->w->low, e->w->stats, x, bn_momentum);
}
hpt_status hpt__encoder_run(hpt__encoder *e, const float *x, int n, float *out) {
    hpt_context *c = e->ctx;
    HPT_TRY(hpt__encoder_forward(e, x, 0));
    if (e->last != e->plan)
        HPT_TRY(hpt__plan_forward(e->last, e->fc.params, e->fc.low, NULL, hpt__plan_output(e->plan), 0));
    const void *y = hpt__plan_output(e->last);
    size_t count = (size_t)n * hpt__plan_width(e->last);
    hpt_status st = HPT_OK;
    c->be->device.enter(c->dev);
    if (e->dtype == HPT__F64) for (size_t i = 0; i < count; i++) out[i] = (float)((const double *)y)[i];
    else c->be->memory.download(c->dev, out, y, count * 4);
    st = c->be->queue.sync(c->dev);
    c->be->device.leave(c->dev);
    return st;
}

/* Plain images in order: short edge (or both) to image_size/0.875, or short edge to image_size. */
hpt_status hpt__plain_loader(hpt_dataset *ds, const hpt__options *o, const hpt__pixels *model, int batch,
                             uint64_t batches, hpt__bad_policy bad, hpt__loader **l) {
    hpt__pixels p;
    hpt__loader_spec s = {.ds = ds, .batch = batch, .size = (int)OPT_I(o, image_size),
                          .workers = (int)OPT_I(o, workers), .views = 1, .plain = 1, .bad = bad, .steps = batches};
    s.resize = OPT_IS(o, eval_crop, "full") ? s.size : hpt__frame(s.size);
    s.square = OPT_IS(o, eval_crop, "square");
    HPT_TRY(hpt__dataset_normalization(ds, o, model, 0, &p));
    memcpy(s.mean, p.mean, sizeof s.mean);
    memcpy(s.std, p.std, sizeof s.std);
    return hpt__loader_create(&s, l);
}

/* Rows of images without pixels hold nothing that could be taken for features. Returns how many there are. */
static uint64_t blank_rows(const hpt__batch *x, int n, size_t width, float *out) {
    uint64_t holes = 0;
    for (int i = 0; i < n; i++) {
        for (size_t j = 0; x->hole[i] && j < width; j++) out[(size_t)i * width + j] = NAN;
        holes += x->hole[i];
    }
    return holes;
}
/* Weights that are not finite give features that are not. */
static uint64_t bad_rows(const hpt__batch *x, int n, size_t width, const float *out) {
    uint64_t bad = 0;
    for (int i = 0; i < n; i++) {
        size_t j = 0;
        while (j < width && isfinite(out[(size_t)i * width + j])) j++;
        bad += j < width && !x->hole[i];
    }
    return bad;
}
static hpt_status tell_holes(const hpt_dataset *ds, uint64_t holes, const char *what) {
    char name[400];
    uint64_t i = 0;
    if (!holes) return HPT_OK;
    while (i + 1 < ds->count && !hpt__dataset_is_bad(ds, i)) i++;
    hpt__dataset_name(ds, i, name, sizeof name);
    if (holes == ds->count)
        return hpt__fail(HPT_ERR_DATA, "no readable image among %llu, first %s", (unsigned long long)holes, name);
    hpt__log(ds->ctx, 1, "%llu of %llu images cannot be read and have no %s, first %s", (unsigned long long)holes,
             (unsigned long long)ds->count, what, name);
    return HPT_OK;
}

hpt_status hpt__encoder_pass(hpt__encoder *e, hpt_dataset *ds, const hpt__options *o, const hpt__pixels *pixels,
                             hpt__bad_policy bad, hpt__span *span, float *out, uint64_t *holes, uint64_t *wrong) {
    hpt__loader *l = NULL;
    uint64_t batch = (uint64_t)e->batch;
    size_t width = hpt__plan_width(e->last);
    hpt_status st = hpt__plain_loader(ds, o, pixels, e->batch, (ds->count + batch - 1) / batch, bad, &l);
    for (uint64_t done = 0; !st && done < ds->count; done += batch) {
        hpt__batch x;
        int n = ds->count - done < batch ? (int)(ds->count - done) : e->batch;
        if (span && (st = hpt__between(e->ctx, span, done))) break;
        st = hpt__loader_next(l, &x, NULL);
        if (!st) st = hpt__encoder_run(e, x.view[0], n, out + done * width);
        if (st) break;
        if (holes) *holes += blank_rows(&x, n, width, out + done * width);
        if (wrong) *wrong += bad_rows(&x, n, width, out + done * width);
    }
    hpt__loader_destroy(l);
    return st;
}

/* What one pass over a set gives for each image: the values of a layer (NULL: features), or the classifier's logits. */
typedef struct wanted { const char *layer; int pool, logits; const char *what; } wanted;

static hpt_status pass(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const wanted *w, hpt__bad_policy bad,
                       float *out, uint64_t count) {
    hpt__encoder e;
    HPT__TURN(m->ctx);
    int64_t b = OPT_I(o, batch_size);
    if (w->logits && !hpt__classes(&m->fc))
        return hpt__fail(HPT_ERR_STATE, "the model has no classifier: finetuning gives it one, and option "
                         "classifier=take loads that of a file");
    hpt__encoder_spec s = {.batch = (int)((uint64_t)b < ds->count ? b : (int64_t)ds->count),
                           .size = (int)OPT_I(o, image_size), .layer = w->layer, .pool = w->pool, .logits = w->logits};
    HPT_TRY(hpt__encoder_open(&e, m, o, &s));
    size_t width = hpt__plan_width(e.last);
    hpt_status st = HPT_OK;
    if (count != ds->count * width)
        st = hpt__fail(HPT_ERR_ARGUMENT, "out has %llu values; %llu images x %zu are needed", (unsigned long long)count,
                       (unsigned long long)ds->count, width);
    uint64_t holes = 0, wrong = 0;
    hpt__span span;
    hpt__span_begin(&m->ctx->watch, &span, HPT_PHASE_FEATURES, 0, ds->count, "%s of %llu images", w->what,
                    (unsigned long long)ds->count);
    if (!st) st = hpt__encoder_pass(&e, ds, o, &m->pixels, bad, &span, out, &holes, &wrong);
    if (!st) span.done = ds->count;
    hpt__span_end(&span);
    hpt__encoder_close(&e);
    if (!st && wrong)
        hpt__log(m->ctx, 1, "%s of %llu of %llu images are not finite: weights of the model are not, or overflow",
                 w->what, (unsigned long long)wrong, (unsigned long long)ds->count);
    return st ? st : tell_holes(ds, holes, w->what);
}
hpt_status hpt__activations(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const char *layer, int pool,
                            hpt__bad_policy bad, float *out, uint64_t count) {
    return pass(m, ds, o, &(wanted){layer, pool, 0, "features"}, bad, out, count);
}
hpt_status hpt__predict(hpt_model *m, hpt_dataset *ds, const hpt__options *o, float *logits, uint64_t count) {
    return pass(m, ds, o, &(wanted){NULL, 0, 1, "predictions"}, HPT__BAD_HOLE, logits, count);
}
hpt_status hpt__features(hpt_model *m, hpt_dataset *ds, const hpt__options *o, float *out) {
    return hpt__activations(m, ds, o, NULL, 0, HPT__BAD_STOP, out, ds->count * (uint64_t)m->net.feature_dim);
}

hpt_status hpt__features_pixels(hpt_model *m, const hpt__options *o, const float *x, uint32_t n, uint32_t size,
                                float *out) {
    hpt__encoder e;
    hpt__span span;
    HPT__TURN(m->ctx);
    HPT_TRY(hpt__encoder_open(&e, m, o, &(hpt__encoder_spec){.batch = (int)n, .size = (int)size}));
    hpt__span_begin(&m->ctx->watch, &span, HPT_PHASE_FEATURES, 0, n, "features of %u images", n);
    hpt_status st = hpt__encoder_run(&e, x, (int)n, out);
    span.done = n;
    hpt__span_end(&span);
    hpt__encoder_close(&e);
    return st;
}

static hpt_status refresh_bn(hpt_model *m, hpt_dataset *ds, const hpt__options *o, uint64_t *images,
                             const hpt__pixels *pixels) {
    hpt__encoder e;
    hpt__loader *l = NULL;
    hpt_context *c = m->ctx;
    HPT__TURN(c);
    uint64_t n = ds->count;
    int batch = (int)(n < (uint64_t)OPT_I(o, batch_size) ? n : (uint64_t)OPT_I(o, batch_size)),
        group = (int)OPT_I(o, bn_group);
    if (n < 2) return hpt__fail(HPT_ERR_ARGUMENT, "refreshing batch norm needs at least 2 images");
    if (group < 1 || group > batch) group = batch;
    batch -= batch % group;                                 /* whole groups only; the rest of the set is left out */
    uint64_t batches = n / (uint64_t)batch;
    HPT_TRY(hpt__encoder_open(&e, m, o, &(hpt__encoder_spec){.batch = batch, .size = (int)OPT_I(o, image_size),
                                                             .groups = batch / group}));
    hpt__span span;
    hpt__span_begin(&c->watch, &span, HPT_PHASE_REFRESH, 0, batches * (uint64_t)batch, "batch-norm statistics");
    hpt_status st = hpt__plain_loader(ds, o, &m->pixels, batch, batches, HPT__BAD_STOP, &l);
    int ema = OPT_IS(o, refresh_mode, "ema");
    for (uint64_t i = 0; !st && i < batches; i++) {
        hpt__batch x;
        if ((st = hpt__between(c, &span, i * (uint64_t)batch))) break;
        st = hpt__loader_next(l, &x, NULL);
        if (!st) st = hpt__encoder_forward(&e, x.view[0], ema ? 0.1 : 1.0 / (double)(i + 1));
    }
    if (!st) span.done = span.total;
    hpt__span_end(&span);
    float *stats = st ? NULL : hpt__alloc(m->net.n_stats * 4);
    if (!st && !stats) st = hpt__fail_memory(m->net.n_stats * 4);
    if (!st) st = hpt__weights_get(&e.pool, e.dtype, e.w, NULL, stats);
    for (int i = 0; !st && i < m->net.n_tensors; i++) {
        const hpt__tensor *t = &m->net.tensors[i];
        for (size_t j = 0; !st && hpt__is_stat(t) && j < t->count; j++)
            if (!isfinite(stats[t->offset + j]))
                st = hpt__fail(HPT_ERR_NUMERIC, "%s is not finite; the model is unchanged", t->name);
    }
    if (!st) {
        memcpy(m->stats, stats, m->net.n_stats * 4);
        hpt__model_learnt(m, pixels);
        *images = batches * (uint64_t)batch;
    }
    hpt__free(stats);
    hpt__loader_destroy(l);
    hpt__encoder_close(&e);
    return st;
}
/* Of the first refresh_images that can be read, seen with the normalisation of the whole set. */
hpt_status hpt__refresh_bn(hpt_model *m, hpt_dataset *ds, const hpt__options *o, uint64_t *images,
                           hpt__pixels *pixels) {
    uint64_t limit = (uint64_t)OPT_I(o, refresh_images);
    hpt_dataset *part;
    HPT_TRY(hpt__dataset_normalization(ds, o, &m->pixels, 0, pixels));
    for (;;) {
        HPT_TRY(hpt__dataset_readable(ds, limit ? limit : ds->count, &part));
        uint64_t known = ds->src->bad_count;
        hpt_status st = refresh_bn(m, part, o, images, pixels);
        hpt__handle_close(part, HPT__KIND_DATASET);
        /* else one went away meanwhile: again, without it */
        if (st != HPT_ERR_DATA || ds->src->bad_count == known) return st;
    }
}

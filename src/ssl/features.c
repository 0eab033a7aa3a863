/* SPDX-License-Identifier: MIT
 * Contract: features.h. One pass over a set with a plain loader (no augmentation), in batches; rows of images that
 * cannot be read are NaN, and that is said. */
#include "ssl/features.h"
#include "core/alloc.h"
#include <math.h>
#include <string.h>

hpt_status hpt__encoder_open(hpt__encoder *e, hpt_model *m, const hpt__options *o, int batch, int size,
                             hpt__plan_mode mode, int groups, const char *layer, int pool) {
    hpt_context *c = m->ctx;
    memset(e, 0, sizeof *e);
    e->m = m;
    e->batch = batch;
    e->size = size;
    HPT_TRY(hpt__precision(c, o, &e->dtype));
    size_t size_of = hpt__real_size(e->dtype), image = 12 * (size_t)size * (size_t)size;
    const hpt__backend *be = c->be;
    int low = be->device.low_params(c->dev, e->dtype);
    be->device.enter(c->dev);
    e->params = be->memory.alloc(c->dev, m->net.n_params * size_of);
    e->stats = be->memory.alloc(c->dev, m->net.n_stats * size_of);
    if (low) e->low = be->memory.alloc(c->dev, m->net.n_params * 2);
    if (!be->host_memory) e->images = be->memory.alloc(c->dev, (size_t)batch * image);
    be->device.leave(c->dev);
    hpt_status st = e->params && e->stats && (!low || e->low) && (be->host_memory || e->images) ? HPT_OK
        : hpt__fail_memory(m->net.n_params * size_of);
    hpt__plan_spec s = {.dtype = e->dtype, .mode = mode, .batch = batch, .size = size, .groups = groups,
                        .direct = OPT_IS(o, conv_algo, "direct"), .deterministic = 1, .layer = layer, .pool = pool,
                          .watch = &c->watch};
    if (!st) st = hpt__plan_create(be, c->dev, &m->net, &s, &e->plan);
    if (!st) {
        be->device.enter(c->dev);
        hpt__weights_upload(be, c->dev, e->dtype, &m->net, m->params, e->params, 0);
        hpt__weights_upload(be, c->dev, e->dtype, &m->net, m->stats, e->stats, 1);
        if (low) be->params->lower(c->dev, 1, m->net.n_params, m->net.n_params, e->params, e->low);
        st = be->queue.sync(c->dev);
        be->device.leave(c->dev);
    }
    if (st) hpt__encoder_close(e);
    return st;
}
/* Behind the features comes the model's classifier. */
static hpt_status classify(hpt__encoder *e, const hpt__options *o) {
    hpt_context *c = e->m->ctx;
    const hpt__backend *be = c->be;
    const hpt__classifier *fc = &e->m->fc;
    size_t n = fc->net.n_params;
    int low = be->device.low_params(c->dev, e->dtype);
    be->device.enter(c->dev);
    e->fc_params = be->memory.alloc(c->dev, n * hpt__real_size(e->dtype));
    if (low) e->fc_low = be->memory.alloc(c->dev, n * 2);
    be->device.leave(c->dev);
    if (!e->fc_params || (low && !e->fc_low)) return hpt__fail_memory(n * hpt__real_size(e->dtype));
    hpt__plan_spec s = {.dtype = e->dtype, .mode = HPT__EVAL, .batch = e->batch, .size = e->size, .groups = 1,
                        .head = 1, .direct = OPT_IS(o, conv_algo, "direct"), .deterministic = 1, .watch = &c->watch};
    HPT_TRY(hpt__plan_create(be, c->dev, &fc->net, &s, &e->fc));
    be->device.enter(c->dev);
    hpt__weights_upload(be, c->dev, e->dtype, &fc->net, fc->params, e->fc_params, 0);
    if (low) be->params->lower(c->dev, 1, n, n, e->fc_params, e->fc_low);
    hpt_status st = be->queue.sync(c->dev);
    be->device.leave(c->dev);
    return st;
}
void hpt__encoder_close(hpt__encoder *e) {
    hpt_context *c = e->m->ctx;
    void *all[] = {e->params, e->low, e->stats, e->images, e->fc_params, e->fc_low};
    hpt__plan_destroy(e->plan);
    hpt__plan_destroy(e->fc);
    c->be->device.enter(c->dev);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) c->be->memory.free(c->dev, all[i]);
    c->be->device.leave(c->dev);
}
hpt_status hpt__encoder_forward(hpt__encoder *e, const float *x, double bn_momentum) {
    hpt_context *c = e->m->ctx;
    if (e->images) {
        c->be->device.enter(c->dev);
        c->be->memory.upload(c->dev, e->images, x, (size_t)e->batch * 12 * (size_t)e->size * (size_t)e->size);
        c->be->device.leave(c->dev);
        x = e->images;
    }
    return hpt__plan_forward(e->plan, e->params, e->low, e->stats, x, bn_momentum);
}
hpt_status hpt__encoder_run(hpt__encoder *e, const float *x, int n, float *out) {
    hpt_context *c = e->m->ctx;
    HPT_TRY(hpt__encoder_forward(e, x, 0));
    if (e->fc) HPT_TRY(hpt__plan_forward(e->fc, e->fc_params, e->fc_low, NULL, hpt__plan_output(e->plan), 0));
    const void *y = hpt__plan_output(e->fc ? e->fc : e->plan);
    size_t count = (size_t)n * hpt__plan_width(e->fc ? e->fc : e->plan);
    hpt_status st = HPT_OK;
    c->be->device.enter(c->dev);
    if (e->dtype == HPT__F64) for (size_t i = 0; i < count; i++) out[i] = (float)((const double *)y)[i];
    else c->be->memory.download(c->dev, out, y, count * 4);
    st = c->be->queue.sync(c->dev);
    c->be->device.leave(c->dev);
    return st;
}

/* Plain images in order, short edge to image_size/0.875 or image_size. */
hpt_status hpt__plain_loader(hpt_dataset *ds, const hpt__options *o, const hpt__pixels *model, int batch,
                             uint64_t batches, hpt__bad_policy bad, hpt__loader **l) {
    hpt__pixels p;
    hpt__loader_spec s = {.ds = ds, .batch = batch, .size = (int)OPT_I(o, image_size),
                          .workers = (int)OPT_I(o, workers), .views = 1, .plain = 1, .bad = bad, .steps = batches};
    s.resize = OPT_IS(o, eval_crop, "full") ? s.size : (int)lrint(s.size / 0.875);
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

/* What one pass over a set gives for each image: the values of a layer (NULL: features), or the classifier's logits. */
typedef struct wanted { const char *layer; int pool, logits; const char *what; } wanted;

static hpt_status pass(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const wanted *w, hpt__bad_policy bad,
                       float *out, uint64_t count) {
    hpt__encoder e;
    hpt__loader *l = NULL;
    HPT__TURN(m->ctx);
    int64_t b = OPT_I(o, batch_size);
    int batch = (int)((uint64_t)b < ds->count ? b : (int64_t)ds->count);
    if (w->logits && !hpt__classes(&m->fc))
        return hpt__fail(HPT_ERR_STATE,
                         "the model has no classifier: finetuning gives it one, and option classifier=take loads that "
                         "of a file");
    HPT_TRY(hpt__encoder_open(&e, m, o, batch, (int)OPT_I(o, image_size), HPT__EVAL, 1, w->layer, w->pool));
    hpt_status st = w->logits ? classify(&e, o) : HPT_OK;
    size_t width = w->logits ? (size_t)hpt__classes(&m->fc) : hpt__plan_width(e.plan);
    if (!st && count != ds->count * width)
        st = hpt__fail(HPT_ERR_ARGUMENT, "out has %llu values; %llu images x %zu are needed",
                       (unsigned long long)count, (unsigned long long)ds->count, width);
    uint64_t holes = 0, wrong = 0;
    hpt__span span;
    hpt__span_begin(&m->ctx->watch, &span, HPT_PHASE_FEATURES, 0, ds->count, "%s of %llu images", w->what,
                    (unsigned long long)ds->count);
    if (!st)
        st = hpt__plain_loader(ds, o, &m->pixels, batch, (ds->count + (uint64_t)batch - 1) / (uint64_t)batch, bad, &l);
    for (uint64_t done = 0; !st && done < ds->count; done += (uint64_t)batch) {
        hpt__batch x;
        int n = ds->count - done < (uint64_t)batch ? (int)(ds->count - done) : batch;
        if ((st = hpt__between(m->ctx, &span, done))) break;
        st = hpt__loader_next(l, &x, NULL);
        if (!st) st = hpt__encoder_run(&e, x.view[0], n, out + done * width);
        if (st) break;
        holes += blank_rows(&x, n, width, out + done * width);
        wrong += bad_rows(&x, n, width, out + done * width);
    }
    if (!st) span.done = ds->count;
    hpt__span_end(&span);
    hpt__loader_destroy(l);
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
    HPT_TRY(hpt__encoder_open(&e, m, o, (int)n, (int)size, HPT__EVAL, 1, NULL, 0));
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
    HPT_TRY(hpt__encoder_open(&e, m, o, batch, (int)OPT_I(o, image_size), HPT__FORWARD, batch / group, NULL, 0));
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
    if (!st) {
        c->be->device.enter(c->dev);
        hpt__weights_download(c->be, c->dev, e.dtype, &m->net, e.stats, stats, 1);
        st = c->be->queue.sync(c->dev);
        c->be->device.leave(c->dev);
    }
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

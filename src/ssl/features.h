/* SPDX-License-Identifier: MIT
 * Forward passes of a model over a data set: features, predictions, and the refresh of batch-norm statistics. An
 * encoder is a network on a device that computes and does not learn. */
#ifndef HPT__FEATURES_H
#define HPT__FEATURES_H
#include "data/loader.h"
#include "train/weights.h"

/* A network on its device, in evaluation mode (or statistics mode), for batches of one size. */
typedef struct hpt__encoder_spec {
    int batch, size, groups;        /* groups 0: 1, and evaluation; else of batch norm, whose statistics are renewed */
    const char *layer;              /* as the plan has them */
    int pool;
    int logits;                     /* behind the features comes the model's classifier */
    /* another network than the model's backbone, head included, with weights of the caller's on its device; or NULL */
    const hpt__weights *weights;
} hpt__encoder_spec;
typedef struct hpt__encoder {
    hpt_context *ctx;
    hpt__dtype dtype;
    hpt__pool pool;
    const hpt__weights *w;          /* own, or the caller's */
    hpt__weights own, fc;
    hpt__plan *plan, *last;         /* last: the classifier's, or plan itself */
    void *images;                   /* where the device does not read the host's memory */
    int batch, size;
} hpt__encoder;
hpt_status hpt__encoder_open(hpt__encoder *e, hpt_model *m, const hpt__options *o, const hpt__encoder_spec *s);
void hpt__encoder_close(hpt__encoder *e);
/* x (batch,3,size,size) in host memory -> the first n rows of features (or of the layer's values, or logits), or
 * (forward) only new running statistics */
hpt_status hpt__encoder_forward(hpt__encoder *e, const float *x, double bn_momentum);
hpt_status hpt__encoder_run(hpt__encoder *e, const float *x, int n, float *out);
/* Rows of a whole set, seen plain (hpt__plain_loader). span NULL: nobody is told. holes, wrong: images without pixels,
 * whose rows are NaN, and rows that are not finite; or NULL. */
hpt_status hpt__encoder_pass(hpt__encoder *e, hpt_dataset *ds, const hpt__options *o, const hpt__pixels *pixels,
                             hpt__bad_policy bad, hpt__span *span, float *out, uint64_t *holes, uint64_t *wrong);

/* Plain images in order: short edge to image_size/0.875 or image_size (option eval_crop), central crop; the last
 * batch zero-filled. */
hpt_status hpt__plain_loader(hpt_dataset *ds, const hpt__options *o, const hpt__pixels *model, int batch,
                             uint64_t batches, hpt__bad_policy bad, hpt__loader **l);
/* Features of images that are known to be readable (hpt__dataset_readable): one that is not any more is an error. */
hpt_status hpt__features(hpt_model *m, hpt_dataset *ds, const hpt__options *o, float *out);
/* The same for any layer (NULL: the features): count must be images * values of the layer. HPT__BAD_HOLE: rows of
 * images that cannot be read are NaN, which the log says; HPT_ERR_DATA if all are. */
hpt_status hpt__activations(hpt_model *m, hpt_dataset *ds, const hpt__options *o, const char *layer, int pool,
                            hpt__bad_policy bad, float *out, uint64_t count);
/* The classifier's logits, (images,classes), with such holes. HPT_ERR_STATE: the model has none. */
hpt_status hpt__predict(hpt_model *m, hpt_dataset *ds, const hpt__options *o, float *logits, uint64_t count);
hpt_status hpt__features_pixels(hpt_model *m, const hpt__options *o, const float *x, uint32_t n, uint32_t size,
                                float *out);
/* Reed et al. 2022, Base: only running means and variances change, and with them the normalisation that the model
 * carries. images: how many were used; unreadable ones never are. pixels: how they were normalised. */
hpt_status hpt__refresh_bn(hpt_model *m, hpt_dataset *ds, const hpt__options *o, uint64_t *images, hpt__pixels *pixels);
#endif

/* SPDX-License-Identifier: MIT
 * The losses by kernels of rows (kernels/heads.h): logits become their gradient in place, the outcome gets the mean
 * over the rows; with one label also how many rows were right. */
#include "train/head.h"

static void softmax(const hpt__scored *s) {
    s->be->rows->classify(s->dev, s->dtype, s->n, s->classes, s->logits, s->truth, s->weight, s->smoothing, s->mix,
                          s->outcome);
}
static void sigmoid(const hpt__scored *s) {
    s->be->rows->bce(s->dev, s->n, 1, s->classes, s->logits, s->truth, s->losses);
    s->be->rows->mean_loss(s->dev, (size_t)s->n * (size_t)s->classes, s->losses, s->outcome);
}
const hpt__loss hpt__loss_softmax = {"softmax", 0, softmax};
const hpt__loss hpt__loss_sigmoid = {"sigmoid", 1, sigmoid};

/* SPDX-License-Identifier: MIT
 * The object behind hpt_model: an architecture and its weights in plain float32, and their way to and from a device.
 * It is shared by whoever uses it and dies with the last of them. */
#ifndef HPT__MODEL_H
#define HPT__MODEL_H
#include "backend/backend.h"
#include "core/context.h"
#include "core/pixels.h"
#include "nn/classifier.h"
#include "nn/net.h"
#include "nn/plan.h"

struct hpt_model {
    hpt__handle handle;
    hpt_context *ctx;
    hpt__net net;
    float *params, *stats;
    /* what its images are normalised with: of its training, or of its file; else ImageNet's */
    hpt__pixels pixels;
    hpt__classifier fc;             /* on the features, where there is one */
};

hpt_status hpt__model_clone(const hpt_model *m, hpt_model **out);
hpt_status hpt__model_new(hpt_context *ctx, const hpt__arch *a, hpt_model **out);     /* weights zero */
/* it was trained on images normalised so, and carries that on */
void hpt__model_learnt(hpt_model *m, const hpt__pixels *p);
float *hpt__model_tensor(hpt_model *m, int i);
/* Copies between plain arrays and a device's arrays in the backend's order. */
void hpt__weights_upload(const hpt__backend *be, hpt__device *dev, hpt__dtype t, const hpt__net *net,
                         const float *plain, void *native, int stats);
void hpt__weights_download(const hpt__backend *be, hpt__device *dev, hpt__dtype t, const hpt__net *net,
                           const void *native, float *plain, int stats);
const char *hpt__dtype_name(hpt__dtype t);      /* as option precision has it */
/* Type of feature maps for option precision. */
hpt_status hpt__precision(hpt_context *ctx, const hpt__options *o, hpt__dtype *t);
/* Which tensors train: all, or (Reed et al. 2022, HPT-BN) batch-norm weights and biases and the whole head; of those
 * the ones that options train_only and freeze leave. A pattern that matches nothing is an error. */
hpt_status hpt__choose_trainable(const hpt__net *net, const hpt__options *o, int bn_only, uint8_t *flag);
/* Batch-norm groups of a rank's batch, by option bn_group, which counts images of the whole batch: groups of it, or one
 * that bn_ranks ranks share, which then holds whole ranks. */
hpt_status hpt__bn_groups(const hpt__options *o, int batch, int ranks, int *groups, int *bn_ranks);
hpt_status hpt__bn_groups_of(int64_t bn_group, int batch, int ranks, int *groups, int *bn_ranks);
#endif

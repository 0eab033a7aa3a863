/* SPDX-License-Identifier: MIT
 * Model files: torchvision, moco and OpenSelfSup layouts in a torch zip, and safetensors. (Session checkpoints:
 * session.h.) */
#ifndef HPT__MODEL_FILE_H
#define HPT__MODEL_FILE_H
#include "io/tensorfile.h"
#include "io/torch_write.h"
#include "nn/model.h"
#include "nn/recognise.h"
/* 1: the file says what its weights were trained with (files of others do not), and *p is set. */
int hpt__file_pixels(const hpt__tensorfile *f, hpt__pixels *p);
/* Into the dictionary under way: tensors of one network under a prefix, num_batches_tracked after each running_var
 * as torch has it. */
void hpt__put_net(hpt__torch_out *t, const hpt__net *net, const char *prefix, const float *params, const float *stats,
                  const int64_t *batches, int head);
void hpt__put_arch(hpt__torch_out *t, const hpt__arch *a);
void hpt__put_classes(hpt__torch_out *t, const hpt__classifier *c);      /* what note says of them beside its tensors */
void hpt__put_pixels(hpt__torch_out *t, const hpt__pixels *p);
/* A classifier beside a network of a file. */
typedef struct hpt__file_fc {
    /* as the classifier's tensors (nn/classifier.h): of a linear one (classes,features) and (classes), NULL where there
     * is no bias; of one of directions as many as it has; t[0] NULL: there is no classifier */
    const hpt__ftensor *t[3];
    hpt__classifier_form form;
    const char *labels;             /* files of ours: "one" or "several" labels an image; else NULL */
    int classes, taken;             /* taken: the model has it */
} hpt__file_fc;
/* 0: there is none */
int hpt__file_classifier(const hpt__networks *r, const hpt__candidate *c, hpt__file_fc *fc);
/* As option classifier asks; *fc says what there was. After a failure m is only to be destroyed. */
hpt_status hpt__load_classifier(const hpt__networks *r, const hpt__candidate *c, const hpt__options *o, hpt_model *m,
                                hpt__file_fc *fc);
hpt_status hpt__model_save(hpt_model *m, const char *path, const char *format);
#endif

/* SPDX-License-Identifier: MIT
 * Model files: torchvision, moco and OpenSelfSup layouts in a torch zip, and safetensors. (Session checkpoints: session.h.) */
#ifndef HPT__MODEL_FILE_H
#define HPT__MODEL_FILE_H
#include "io/tensorfile.h"
#include "io/torch_write.h"
#include "nn/model.h"
/* 1: the file says what its weights were trained with (files of others do not), and *p is set. */
int hpt__file_pixels(const hpt__tensorfile *f, hpt__pixels *p);
/* Into the dictionary under way: tensors of one network under a prefix, num_batches_tracked after each running_var as torch has it. */
void hpt__put_net(hpt__torch_out *t, const hpt__net *net, const char *prefix, const float *params, const float *stats, const int64_t *batches,
                  int head);
void hpt__put_arch(hpt__torch_out *t, const hpt__arch *a);
void hpt__put_pixels(hpt__torch_out *t, const hpt__pixels *p);
hpt_status hpt__model_save(hpt_model *m, const char *path, const char *format);
#endif

/* SPDX-License-Identifier: MIT
 * Model files: torchvision, moco and OpenSelfSup layouts in a torch zip, and safetensors. (Session checkpoints: session.h.) */
#ifndef HPT__CHECKPOINT_H
#define HPT__CHECKPOINT_H
#include "io/tensorfile.h"
#include "nn/model.h"
/* 1: the file says what its weights were trained with (files of others do not), and *p is set. */
int hpt__file_pixels(const hpt__tensorfile *f, hpt__pixels *p);
hpt_status hpt__model_save(hpt_model *m, const char *path, const char *format);
#endif

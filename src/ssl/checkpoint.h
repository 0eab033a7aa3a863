/* SPDX-License-Identifier: MIT
 * Model files: torchvision, moco and OpenSelfSup layouts in a torch zip, and safetensors. (Session checkpoints: session.h.) */
#ifndef HPT__CHECKPOINT_H
#define HPT__CHECKPOINT_H
#include "nn/model.h"
hpt_status hpt__model_save(hpt_model *m, const char *path, const char *format);
#endif

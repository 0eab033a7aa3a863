/* SPDX-License-Identifier: MIT
 * Other projects' tensor names as ours, and what of a file fits a model. */
#ifndef HPT__NAMES_H
#define HPT__NAMES_H
#include "io/tensorfile.h"
#include "nn/model.h"

/* Where the backbone's "conv1.weight" lies in a file: what stands before it, NULL if nowhere. The query or online network is preferred. */
const char *hpt__names_prefix(const hpt__tensorfile *f, char *buf, size_t size);
/* Tensor of the file that is ours called name (backbone or head), NULL if none. prefix: of hpt__names_prefix. */
const hpt__ftensor *hpt__names_find(const hpt__tensorfile *f, const char *prefix, const hpt__tensor *t);
/* Architecture from libhpt's record in the file, else from the shapes. */
hpt_status hpt__names_arch(const hpt__tensorfile *f, const char *prefix, const hpt__options *o, hpt__arch *a);
int hpt__names_fits(const hpt__ftensor *f, const hpt__tensor *t);
/* Loads the backbone (and head), fills the report {container, prefix, loaded, missing[], unexpected[], wrong_shape[]}. */
hpt_status hpt__names_load(const hpt__tensorfile *f, const char *path, int head, hpt_model *m, json_t *report);
#endif

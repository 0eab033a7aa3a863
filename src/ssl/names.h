/* SPDX-License-Identifier: MIT
 * A network of a file as a model: what is loaded, what is missing, what was left over, and all of it told. Which
 * network of the file that is has been decided before, by recognise.c. */
#ifndef HPT__NAMES_H
#define HPT__NAMES_H
#include "nn/model.h"
#include "nn/recognise.h"

/* The architecture to build for option arch (auto: the file's). c NULL: the file has no network. */
hpt_status hpt__names_arch(const hpt__candidate *c, const hpt__options *o, hpt__arch *a);
int hpt__names_fits(const hpt__ftensor *f, const hpt__tensor *t);
/* Which tensors of the file are the model's: of[i] for net->tensors[i], NULL where the file has none. */
void hpt__names_map(const hpt__networks *r, const hpt__candidate *c, const hpt__net *net, const hpt__ftensor **of);
/* The backbone (and the head) of a network of the file into a net's plain arrays; nothing is written unless all of it
 * fits. */
hpt_status hpt__names_read(const hpt__networks *r, const hpt__candidate *c, const hpt__options *o, const hpt__net *net,
                           int head, float *params, float *stats, json_t *report);
/* Loads the backbone (and, with option carry_head, the head). The report gets what hpt__names_describe() says and
 * {file, loaded, missing[], wrong_shape[], foreign[] (inside the backbone), unexpected[], not_finite[] (if there are
 * any)} with their counts. c NULL: an error. */
hpt_status hpt__names_load(const hpt__networks *r, const hpt__candidate *c, const hpt__options *o, const char *path,
                           hpt_model *m, json_t *report);
/* What the file was recognised as: {container, tensor_count, backbone_prefix, naming, producer, arch, width, stem,
 * head, candidates[], not_used{}, not_used_count, unreadable[]}. */
void hpt__names_describe(const hpt__networks *r, const hpt__candidate *c, json_t *report);
/* A tensor that such a report counts as not used was used after all. */
void hpt__names_used(const hpt__networks *r, const hpt__candidate *c, const hpt__ftensor *t, json_t *report);
/* That, and the same lists as a load with all options at their defaults: {loads, refused (why not)}. */
hpt_status hpt__names_check(const hpt__networks *r, const hpt__candidate *c, json_t *report);
/* A checked report as lines of text, at most a screen. */
void hpt__names_summary(const hpt__networks *r, const hpt__candidate *c, const json_t *report, char *text, size_t size);
#endif

/* SPDX-License-Identifier: MIT
 * What the files of stages share: an instance's inputs and files, and the stages that have a file of their own. Each
 * fills out with what its result.json says. */
#ifndef HPT__STAGE_H
#define HPT__STAGE_H
#include "recipe/recipe.h"

void hpt__stage_file(const hpt__instance *in, const char *name, char path[4200]);     /* in its folder */
/* The first input with this key as an instance, or NULL. */
hpt__instance *hpt__stage_input(const hpt_recipe *r, const hpt__instance *in, const char *key);
/* A handle of this worker's own on a data set; NULL where there is none. */
hpt_status hpt__stage_data(const hpt_recipe *r, const hpt__instance *in, const char *key, hpt_dataset **out);
/* The model of the stage that key names, of the instance's file, or a new one. */
hpt_status hpt__stage_model(const hpt_recipe *r, hpt_context *ctx, const hpt_config *c, const hpt__instance *in,
                            const char *key, hpt_model **out);
void hpt__stage_merge(json_t *out, hpt_result *res);                /* JSON of a result, which is destroyed */
void hpt__stage_facts(json_t *out, const hpt_result *res);          /* of it only what a number rests on */
uint64_t hpt__stage_save_every(const hpt_recipe *r, const hpt__instance *in);         /* steps */

/* stage_train.c */
hpt_status hpt__stage_pretrain(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                               void *user, json_t *out);
hpt_status hpt__stage_search(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                             void *user, json_t *out);
/* stage_compare.c */
hpt_status hpt__stage_similarity(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt_config *c, hpt__stage_step fn,
                                 void *user, json_t *out);
#endif

/* SPDX-License-Identifier: MIT
 * What a number rests on, in every result: backend, precision, threads, and the mean and deviation of the pixels.
 * One place writes them, so that results of any two calls can be compared. */
#ifndef HPT__FACTS_H
#define HPT__FACTS_H
#include "nn/model.h"
#include <jansson.h>
/* "backend", "precision" (as it was resolved), "threads", and of p (NULL: left out) what the images were normalised
 * with: "pixel_mean", "pixel_std", "pixels_from" (imagenet, model, data or given; if they differ, "mean X, std Y"),
 * "pixel_statistics" ("of 2000 of 120000 images"; of a sample alone). */
void hpt__facts(json_t *to, const hpt_context *ctx, hpt__dtype precision, const hpt__pixels *p);
void hpt__facts_pixels(json_t *to, const hpt__pixels *p);
/* with the precision that o asks for */
hpt_status hpt__facts_of(json_t *to, hpt_context *ctx, const hpt__options *o, const hpt__pixels *p);
#endif

/* SPDX-License-Identifier: MIT
 * Writes what a number rests on into a result. Contract: facts.h. Names and values are API: programs and reports
 * read them. */
#include "nn/facts.h"
#include "core/result.h"
#include <string.h>

void hpt__facts_pixels(json_t *to, const hpt__pixels *p) {
    char from[64];
    if (!strcmp(p->from[0], p->from[1])) snprintf(from, sizeof from, "%s", p->from[0]);
    else snprintf(from, sizeof from, "mean %s, std %s", p->from[0], p->from[1]);
    json_object_set_new(to, "pixel_mean", hpt__json_floats(p->mean, 3));
    json_object_set_new(to, "pixel_std", hpt__json_floats(p->std, 3));
    json_object_set_new(to, "pixels_from", json_string(from));
    if (!p->of) return;
    snprintf(from, sizeof from, "of %llu of %llu images", (unsigned long long)p->images, (unsigned long long)p->of);
    json_object_set_new(to, "pixel_statistics", json_string(from));
}

void hpt__facts(json_t *to, const hpt_context *ctx, hpt__dtype precision, const hpt__pixels *p) {
    json_object_set_new(to, "backend", json_string(ctx->be->name));
    json_object_set_new(to, "precision", json_string(hpt__dtype_name(precision)));
    json_object_set_new(to, "threads", json_integer(ctx->threads));
    if (p) hpt__facts_pixels(to, p);
}

hpt_status hpt__facts_of(json_t *to, hpt_context *ctx, const hpt__options *o, const hpt__pixels *p) {
    hpt__dtype t;
    HPT_TRY(hpt__precision(ctx, o, &t));
    hpt__facts(to, ctx, t, p);
    return HPT_OK;
}

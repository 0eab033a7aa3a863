/* SPDX-License-Identifier: MIT
 * Who follows a recipe and may stop it: every context that works for it asks here. A request to stop is counted, by any
 * thread; the call that is under way, or else the next one, comes back for all that were counted when it ends. */
#include "recipe/recipe.h"

int hpt__recipe_cancelled(const hpt_recipe *r) { return r->cancels != r->heard; }

int32_t hpt__recipe_hear(void *recipe, const hpt_progress *p) {
    hpt_recipe *r = recipe;
    pthread_mutex_lock(&r->lock);
    if (r->progress && !hpt__recipe_cancelled(r) && r->progress(r->progress_user, p)) r->cancels++;
    int stop = hpt__recipe_cancelled(r);
    pthread_mutex_unlock(&r->lock);
    return stop;
}
void hpt__recipe_follow(hpt_recipe *r, hpt_context *ctx) {
    ctx->watch.often = 0;
    hpt_context_set_progress(ctx, hpt__recipe_hear, r);
}
hpt_status hpt__recipe_over(hpt_recipe *r, hpt_status st) {
    r->heard = r->cancels;
    return st;
}

/* SPDX-License-Identifier: MIT
 * One launch for all tensors that share a rule; LARS has a factor for each tensor and takes them one by one. Before
 * anything is written the same arithmetic runs once without writing: a step that would not be finite changes
 * nothing. */
#include "train/optimizer.h"

hpt__update hpt__optimizer_update(const hpt__optimizer *o, hpt__dtype t, const hpt__weights *w, const hpt__run *r) {
    hpt__update u = {.q = w->params, .m = w->moment1, .v = w->moment2, .g = w->grad, .q_low = w->low,
                     .momentum = o->momentum, .wd = o->weight_decay, .b1 = o->beta1, .b2 = o->beta2, .eps = o->eps};
    if (w->follower) {
        u.k = w->follower->params;
        u.k_next = w->follower->ahead;
        u.k_low = w->follower->low;
    }
    u.rule = r->group ? o->rule : HPT__FROZEN;
    u.trust = (char *)w->trust + (size_t)(r->first - w->net->tensors) * hpt__real_size(t);
    if (hpt__rule_trusts(u.rule) && r->first->ndim < 2) {
        u.wd = 0;
        u.trust = NULL;
        if (u.rule == HPT__LARS) u.rule = HPT__SGD;
    }
    return u;
}

/* A gradient, a momentum or an overflow may be why. */
void hpt__optimizer_foresee(const hpt__optimizer *o, const hpt__backend *be, hpt__device *dev, hpt__dtype t,
                            const hpt__weights *w, const hpt__vars *vars, hpt__outcome *outcome, void *scratch) {
    size_t size = hpt__real_size(t);
    for (hpt__run r = {0}; hpt__weights_next_run(w, &r, hpt__rule_trusts(o->rule));) {
        hpt__update u = hpt__optimizer_update(o, t, w, &r);
        if (hpt__rule_trusts(u.rule) && u.trust)
            be->params->trust(dev, t, u.rule, (char *)w->params + r.at * size, (char *)w->grad + r.at * size,
                              r.first->count, u.wd, o->trust, (void *)(uintptr_t)u.trust, scratch);
        if (u.rule != HPT__FROZEN)
            be->params->foresee(dev, t, &u, r.at, r.end - r.at, hpt__run_vars(vars, &r), HPT__BAD_UPDATE, outcome);
    }
}

void hpt__optimizer_step(const hpt__optimizer *o, const hpt__backend *be, hpt__device *dev, hpt__dtype t,
                         const hpt__weights *w, const hpt__vars *vars, hpt__outcome *outcome) {
    for (hpt__run r = {0}; hpt__weights_next_run(w, &r, hpt__rule_trusts(o->rule));) {
        hpt__update u = hpt__optimizer_update(o, t, w, &r);
        be->params->update(dev, t, &u, r.at, r.end - r.at, hpt__run_vars(vars, &r), outcome);
    }
}

/* SPDX-License-Identifier: MIT
 * One update of a network that trains, and in the same pass that of its follower: SGD with momentum, AdamW or LARS in
 * two forms (kernels/optim.h) over runs of tensors of one group. A group has a rate of its own; tensors of none stay; a
 * follower follows all of them. */
#ifndef HPT__OPTIMIZER_H
#define HPT__OPTIMIZER_H
#include "train/weights.h"

enum { HPT__GROUPS = 24 };         /* most groups; groups count from 1 */
typedef struct hpt__optimizer {
    hpt__rule rule;
    double momentum, weight_decay;
    double beta1, beta2, eps;       /* AdamW */
    double rate[HPT__GROUPS];       /* of group g at g-1: times the schedule's; 0: 1 */
    double trust;                   /* LARS: eta; vectors have neither weight decay nor trust */
} hpt__optimizer;

/* Memory that hpt__optimizer_foresee() needs. */
enum { HPT__OPTIMIZER_SCRATCH = 128 * 8 };

/* vars, below: device memory, HPT__GROUPS of them, one for each group. */

/* What a group is told of a step: as all the others, at its own rate. */
static inline hpt__vars hpt__optimizer_vars(const hpt__optimizer *o, const hpt__vars *all, int group) {
    hpt__vars v = *all;
    if (o->rate[group - 1] > 0) v.lr *= o->rate[group - 1];
    return v;
}
/* Those of a run; tensors that stay read nothing but the follower's momentum, which is the same in all. */
static inline const hpt__vars *hpt__run_vars(const hpt__vars *vars, const hpt__run *r) {
    return vars + (r->group ? r->group - 1 : 0);
}
/* What kernels/optim.h is told of a run. */
hpt__update hpt__optimizer_update(const hpt__optimizer *o, hpt__dtype t, const hpt__weights *w, const hpt__run *r);
/* Queued. Would the update leave a value that is not finite? Then outcome->bad. LARS: its factors on the way. */
void hpt__optimizer_foresee(const hpt__optimizer *o, const hpt__backend *be, hpt__device *dev, hpt__dtype t,
                            const hpt__weights *w, const hpt__vars *vars, hpt__outcome *outcome, void *scratch);
/* Queued. Unless outcome->bad: parameters, moments, and the follower's: params = ahead; ahead = ahead*ema +
 * leader*(1-ema). */
void hpt__optimizer_step(const hpt__optimizer *o, const hpt__backend *be, hpt__device *dev, hpt__dtype t,
                         const hpt__weights *w, const hpt__vars *vars, hpt__outcome *outcome);
#endif

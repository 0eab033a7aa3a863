/* SPDX-License-Identifier: MIT
 * Training steps against PyTorch: a session as a fixture describes it, the inputs that its script made by the same
 * hash, and losses, right answers and tensors compared. fixtures/make_fixtures.py (MoCo), make_byol.py,
 * make_supervised.py. */
#ifndef STEPS_H
#define STEPS_H
#include "support.h"

/* batch: images of a part; a step has parts of them. classes: 0 without labels. */
typedef struct run { hpt_model *m; hpt_session *s; json_t *f; int batch, parts, size, classes; } run;

/* A model of the fixture's network, with the hash's weights. Skips the test if ctx is NULL. conf [out]: its options,
 * what every method's fixtures share, then more; the caller opens r.s with it. */
run run_of(hpt_context *ctx, json_t *f, const char *precision, const char *more, hpt_config **conf);
hpt_step_info step(run *r, int i);                      /* on the images and labels of the script's step i, from 0 */
size_t size_of(const run *r, const char *tensor);       /* values of a tensor of the session */
/* Every step of the fixture: losses within loss_tol, relative (and in single precision twice PyTorch's own error of the
 * first), right answers exactly; then tensors, each within floor + factor times PyTorch's own error in fp32. */
hpt_step_info compare(run *r, double loss_tol, double factor, double floor);
#endif

/* SPDX-License-Identifier: MIT
 * optim - one pass over flat parameters. All arrays: contiguous, the part [at, at+n) of each is treated.
 *
 *   update  with o->bad set: nothing. Otherwise, by rule, for each value
 *     sgd     d = g + wd*p;  m = mom*m + d;  p = p - lr*m          torch.optim.SGD without Nesterov; first step: m = 0.
 *             In float32 each line rounds as PyTorch's CPU kernels do: fma for the first and last, two roundings for
 *             the second.
 *     nesterov  the same d and m;  p = p - lr*(d + mom*m)               torch.optim.SGD(nesterov=True); its sum is an
 *             fma, too
 *     adamw   p = p*(1 - lr*wd);  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g^2;
 *             p = p - lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps)        Loshchilov and Hutter 2019; t = step, from 1
 *     lars    d = trust*(g + wd*p);  m = mom*m + d;  p = p - lr*m      You et al. 2017, as in moco-v3: tensor by tensor
 *     lars_lr d = (trust*lr)*(g + wd*p);  m = mom*m + d;  p = p - m       as in OpenSelfSup: lr within the momentum
 *             trust*lr (trust NULL: 1) is a product of doubles and rounds once, d twice (fma and product), m twice,
 *             p once
 *     frozen  p stays
 *   and then, if there is a key encoder (He et al. 2020, eq. 2), the step that has just counted becomes its state and
 *   the next is prepared:
 *     k = k_next;  k_next = k_next*ema + p*(1-ema)                        two rounded products and a rounded sum
 *   foresee 1 if update would leave a parameter (or second moment) that is not finite, whether by its gradient, its
 *   momentum or an overflow;
 *           the same arithmetic, nothing is written. Reads 12 bytes for each float32 value of sgd.
 *   trust   lars: eta*|p| / |g + wd*p|, 1 if either length is 0
 *           lars_lr: eta*|p| / (|g| + wd*|p|), 0 if that sum is 0: the quotient would be NaN or Inf where nothing
 *           moves. A tensor of zeros has 0 and stays zero, as in OpenSelfSup
 *   blend   out = k*a + q*b, rounded likewise; out may be k. A moving average: a = momentum, b = 1 - a
 *   finite  1 if every value is finite
 *
 * Bytes for each float32 value of update with sgd and a key encoder: reads p, m, g, k_next, writes p, m, k, k_next =
 * 32, and 4 more with two bfloat16 copies. Deterministic. vars and outcome lie in the backend's memory, so that a
 * captured step reads this step's values. */
#ifndef HPT__OPTIM_H
#define HPT__OPTIM_H
#include "kernels/dtype.h"
#include "kernels/real.h"

typedef struct hpt__vars {      /* what changes from step to step */
    double lr;
    double adam1, adam2;        /* 1 - b1^t, sqrt(1 - b2^t) */
    int64_t ptr;                /* queue row of the first new key */
    double ema;                 /* forms the key encoder of the step to come */
} hpt__vars;

/* stats: running statistics of batch norm */
enum { HPT__BAD_LOSS = 1, HPT__BAD_GRAD = 2, HPT__BAD_UPDATE = 4, HPT__BAD_STATS = 8 };
typedef struct hpt__outcome {   /* what a step reports */
    double loss, top1, top5, spread;    /* top: rows, see infonce.h; spread: see embed.h */
    double entropy;                     /* of predictions, see heads.h; 0 where none are asked for it */
    int32_t bad, reserved;      /* HPT__BAD_*: the step must change nothing */
} hpt__outcome;

typedef enum hpt__rule { HPT__SGD, HPT__NESTEROV, HPT__ADAMW, HPT__LARS, HPT__LARS_LR, HPT__FROZEN } hpt__rule;
/* Tensors are treated one at a time, with a trust each. */
static inline int hpt__rule_trusts(hpt__rule r) { return r == HPT__LARS || r == HPT__LARS_LR; }
typedef struct hpt__update {
    void *q, *k, *k_next, *m, *v;       /* parameters; key encoder (or NULL), the next one; first and second moment */
    const void *g, *trust;              /* gradient; lars: one value; lars_lr: one, or NULL */
    void *q_low, *k_low;                /* bfloat16 copies of q and k_next kept by the device backends, or NULL */
    hpt__rule rule;
    double momentum, wd, b1, b2, eps;
} hpt__update;

#define HPT__DECL(T, x_) \
    void hpt__ref_update_##x_(const hpt__update *u, size_t at, size_t n, const hpt__vars *v, const hpt__outcome *o); \
    int hpt__ref_foresee_##x_(const hpt__update *u, size_t at, size_t n, const hpt__vars *v); \
    double hpt__ref_trust_##x_(hpt__rule rule, const T *p, const T *g, size_t n, double wd, double eta); \
    void hpt__ref_blend_##x_(T *out, const T *k, const T *q, size_t n, double a, double b); \
    int hpt__ref_finite_##x_(const T *x, size_t n);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL

/* On flat parameters, their gradients and what a step reports. */
typedef struct hpt__params_ops {
    void (*update)(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                   const hpt__outcome *o);
    /* bad |= bit if update would write what is not finite */
    void (*foresee)(hpt__device *dev, hpt__dtype t, const hpt__update *u, size_t at, size_t n, const hpt__vars *v,
                    int32_t bit, hpt__outcome *o);
    /* trust: one value; scratch: 128 doubles */
    void (*trust)(hpt__device *dev, hpt__dtype t, hpt__rule rule, const void *p, const void *g, size_t n, double wd,
                  double eta, void *trust, void *scratch);
    void (*blend)(hpt__device *dev, hpt__dtype t, void *out, const void *k, const void *q, size_t n, double a,
                  double b);
    /* bad |= bit if one is not */
    void (*finite)(hpt__device *dev, hpt__dtype t, const void *x, size_t n, int32_t bit, hpt__outcome *o);
    void (*judge)(hpt__device *dev, hpt__outcome *o);       /* bad |= HPT__BAD_LOSS if loss or entropy are not finite */
    /* float -> bfloat16, zero beyond d */
    void (*lower)(hpt__device *dev, size_t rows, size_t d, size_t pitch, const void *x, void *low);
} hpt__params_ops;
#endif

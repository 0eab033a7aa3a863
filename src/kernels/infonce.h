/* SPDX-License-Identifier: MIT
 * infonce - contrastive loss of MoCo with one positive and Q queued negatives, and its gradient for the query.
 *
 *   s[n][0] = <q[n], k[n]> / tau          s[n][1+j] = <q[n], queue[j]> / tau          p[n] = softmax(s[n])
 *   loss    = mean over n of ( logsumexp(s[n]) - s[n][0] )
 *   dq[n]   = ( (p[n][0]-1) * k[n] + sum over j of p[n][1+j] * queue[j] ) / (N * tau)
 *   k and queue get no gradient.   He et al. 2020, eq. 1; Chen et al. 2020 (v2) for tau.
 *
 * q, k (N,D) and queue (Q,D): rows contiguous, unit length (not checked). tau > 0. N, D >= 1, Q >= 0.
 * out[0] = loss; out[1], out[2] = number of rows whose positive is among the 1 and 5 largest logits (ties count for
 * it). dq (N,D): written (=); must not alias any input. Range: |s| <= 1/tau for unit rows; the row maximum is
 * subtracted, so tau = 0.001 is fine. NaN or Inf in q, k, queue: out[0] is NaN. Deterministic. Never allocates.
 *
 * The cpu version walks the queue once in tiles of HPT__INFONCE_TILE keys: a product q*tile', an online log-sum-exp
 * for each row (Milakov and Gimelshein 2018), and dq += p*tile at once with a rescale when a row's maximum moves;
 * the N x (Q+1) matrix never exists. Work: 4*N*Q*D flops, queue read twice from the tile in cache = once from
 * memory; scratch: contrast_ops.scratch() bytes. */
#ifndef HPT__INFONCE_H
#define HPT__INFONCE_H
#include "hpt.h"
#include "kernels/dtype.h"
#include "kernels/optim.h"
#include "kernels/real.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_infonce_##x_(int n, int d, int64_t queued, const T *q, const T *k, const T *queue, double tau, \
                               double out[3], T *dq);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#define HPT__INFONCE_TILE 2048

/* What contrastive methods need; enqueue, spread and agree: embed.h. low: a bfloat16 copy of the queue in rows of
 * pitch() values, NULL if that is 0. infonce writes loss and tops of the outcome. scratch(): bytes for infonce; spread
 * takes d doubles, agree n. */
typedef struct hpt__contrast_ops {
    int (*pitch)(hpt__device *dev, hpt__dtype t, int d);
    size_t (*scratch)(hpt__device *dev, hpt__dtype t, int n, int d);
    hpt_status (*infonce)(hpt__device *dev, hpt__dtype t, int n, int d, int64_t queued, const void *q, const void *k,
                          const void *queue, const void *low, double tau, hpt__outcome *o, void *dq, void *scratch);
    void (*enqueue)(hpt__device *dev, hpt__dtype t, int n, int d, const void *keys, void *queue, int64_t q, void *low,
                    const hpt__vars *v, const hpt__outcome *o);
    void (*spread)(hpt__device *dev, hpt__dtype t, int n, int d, const void *x, hpt__outcome *o, void *scratch);
    void (*agree)(hpt__device *dev, hpt__dtype t, int n, int d, int images, const void *x, const void *y, void *dx,
                  hpt__outcome *o, void *scratch);
} hpt__contrast_ops;
#endif

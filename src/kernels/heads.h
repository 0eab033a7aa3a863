/* SPDX-License-Identifier: MIT
 * heads - losses of the classification heads; logits (N, heads*classes) become their gradient in place.
 *
 *   softmax_ce  for each head h: p = softmax(logits of h); loss[n][h] = -log p[label[n]];
 *               logits = (p - onehot(label[n])) / N.
 *               label outside 0..classes-1: the row counts for nothing (loss 0, gradient 0)
 *   bce         target (N,classes), the same for each head: loss[n][h][c] = max(x,0) - x*t + log1p(exp(-|x|)),
 *               t = target in 0..1 (torch.nn.BCEWithLogitsLoss); logits = (sigmoid(x) - t) / (N*classes)
 *   classify    the loss of a step (N,classes): t[n][c] = weight[c] * ((1-smoothing)*(c == label[n]) +
 *               smoothing/classes);
 *               o->loss = mean over n of -sum over c of t[n][c] * log softmax(logits[n])[c];
 *               logits = (softmax * sum of t[n] - t[n]) / N. Labels in 0..classes-1. weight NULL: all 1.
 *               o->top1, o->top5: rows whose label is among the 1 and 5 largest logits (ties count for it).
 *               mix NULL, or rows that are mixed (embed.h): (c == label[n]) becomes l*(c == label[n]) +
 *               (1-l)*(c == the other row's label), and top1, top5 ask for the label of the larger share (equal:
 *               label[n]).
 *               torch.nn.CrossEntropyLoss, but that with weights divides by the sum of weight[label[n]], which differs
 *               from rank to rank, not by N.
 *   entropy     p = softmax(logits[n]); o->entropy = -mean over n of sum over c of p log(p + 1e-5), nats;
 *               logits = the gradient of -scale * o->entropy = scale/N * p*(a - sum of p*a), a = log(p+1e-5) +
 *               p/(p+1e-5) (Saito et al. 2019: scale = lambda > 0, so that who descends it raises the entropy). Reads
 *               and writes nothing else of o.
 *   mean_loss   o->loss = mean of n losses, summed in double in a fixed order; no tops
 * loss is written (=) and may be NULL. Sums in double in the reference, float on a device. Deterministic. */
#ifndef HPT__HEADS_H
#define HPT__HEADS_H
#include "kernels/embed.h"
#define HPT__DECL(T, x_) \
    void hpt__ref_softmax_ce_##x_(int n, int heads, int classes, T *logits, const int32_t *label, T *loss); \
    void hpt__ref_bce_##x_(int n, int heads, int classes, T *logits, const T *target, T *loss); \
    void hpt__ref_classify_##x_(int n, int classes, T *logits, const int32_t *label, const T *weight, \
                                double smoothing, const hpt__pair *mix, hpt__outcome *o); \
    void hpt__ref_entropy_##x_(int n, int classes, T *logits, double scale, hpt__outcome *o);
HPT__BOTH(HPT__DECL)
#undef HPT__DECL
#endif

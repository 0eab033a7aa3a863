/* SPDX-License-Identifier: MIT
 * Minimax-entropy adaptation (Saito et al. 2019) as a method of the trainer: a classifier of one domain, the source,
 * for another with few labels, the target; with its baselines ENT and S+T.
 */
#ifndef HPT__MME_H
#define HPT__MME_H
#include "train/head.h"
#include "train/trainer.h"

typedef struct hpt__mme_own {
    double lambda, encoder_rate;
    int64_t bn_group;
    int entropy, minimax; /* there is a second update; the classifier's last layer climbs what all before it descends */
} hpt__mme_own;

/* trainer.self. On this rank: n images of source and target that have labels, u that have none; K classes. */
typedef struct hpt__mme {
    hpt__mme_own own;
    hpt__weights model; /* encoder and classifier, one network */
    hpt__plan *plan_taught, *plan_free;
    void *logits;   /* (n,K) or (u,K), then their gradient */
    uint8_t *group; /* of each tensor: ENCODER, CLASSIFIER, or 0: it stays */
} hpt__mme;

extern const hpt__method hpt__method_mme;
#endif

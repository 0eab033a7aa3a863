/* SPDX-License-Identifier: MIT
 * The predictor's network, and its first weights, which the paper leaves open: those of OpenSelfSup, whose recipe
 * HPT's runs with BYOL follow. */
#include "ssl/predictor.h"
#include "core/alloc.h"
#include "core/rng.h"

hpt_status hpt__predictor_open(hpt__predictor *p, hpt__trainer *t, int d, int hidden, int rows, int groups) {
    hpt__arch a;
    hpt__arch_mlp(&a, d, hidden, d, 1);
    HPT_TRY(hpt__net_create(&a, &p->net));
    if (!(p->all = hpt__alloc((size_t)p->net.n_tensors))) return hpt__fail_memory((size_t)p->net.n_tensors);
    for (int i = 0; i < p->net.n_tensors; i++) p->all[i] = !hpt__is_stat(&p->net.tensors[i]);
    HPT_TRY(hpt__trainer_network(t, &p->weights, &p->net, "predictor's", p->all, NULL));
    return hpt__trainer_plan(t, &p->weights, rows, groups, 1, &p->plan);
}

/* Linear layers N(0, 0.01) without bias, batch norm 1 and 0 (OpenSelfSup). */
hpt_status hpt__predictor_fill(const hpt__predictor *p, hpt__trainer *t) {
    const hpt__net *net = &p->net;
    float *params = hpt__calloc(net->n_params, 4), *stats = hpt__calloc(net->n_stats, 4);
    hpt_status st = params && stats ? HPT_OK : hpt__fail_memory(net->n_params * 4);
    for (int i = 0; !st && i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        hpt__rng r;
        hpt__rng_init(&r, t->spec.seed, HPT__RNG_HEAD, 1, (uint64_t)i);
        for (size_t j = 0; j < x->count; j++) {
            if (x->kind == HPT__LINEAR_WEIGHT) params[x->offset + j] = (float)(0.01 * hpt__rng_normal(&r));
            if (x->kind == HPT__NORM_WEIGHT) params[x->offset + j] = 1;
            if (x->kind == HPT__RUN_VAR) stats[x->offset + j] = 1;
        }
    }
    if (!st) {
        t->be->device.enter(t->dev);
        hpt__weights_upload(t->be, t->dev, t->spec.dtype, net, params, p->weights.params, 0);
        hpt__weights_upload(t->be, t->dev, t->spec.dtype, net, stats, p->weights.stats, 1);
        t->be->device.leave(t->dev);
    }
    hpt__free(params);
    hpt__free(stats);
    return st;
}

void hpt__predictor_close(hpt__predictor *p) {
    hpt__net_fini(&p->net);
    hpt__free(p->all);
}

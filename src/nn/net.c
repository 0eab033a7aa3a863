/* SPDX-License-Identifier: MIT
 * The table of families, the table of a network's tensors, and their first values. A network is its family, its
 * options and this table: names, shapes and places in one flat array, in torchvision's order. */
#include "nn/net.h"
#include "core/alloc.h"
#include "core/progress.h"
#include "core/rng.h"
#include "nn/graph.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const hpt__family *const families[HPT__FAMILIES] = {[HPT__FAMILY_RESNET] = &hpt__family_resnet,
                                                           [HPT__FAMILY_EFFICIENTNET] = &hpt__family_efficientnet,
                                                           [HPT__FAMILY_MLP] = &hpt__family_mlp};

hpt_status hpt__arch_from_options(const hpt__options *o, const char *name, hpt__arch *a) {
    memset(a, 0, sizeof *a);
    for (int i = 0; i < HPT__FAMILIES; i++)
        if (families[i]->from_options(o, name, a)) {
            a->family = (hpt__family_id)i;
            snprintf(a->name, sizeof a->name, "%s", name);
            int other = OPT_I(o, width) != 64 || OPT_IS(o, stem, "small");
            if (a->family == HPT__FAMILY_RESNET || !other) return HPT_OK;
            return hpt__fail(HPT_ERR_OPTION, "options 'width' and 'stem' are of ResNets; leave them out for %s", name);
        }
    return hpt__fail(HPT_ERR_OPTION, "option 'arch': no network is called '%.40s'", name);
}

int hpt__arch_features(const hpt__arch *a) { return families[a->family]->feature_dim(a); }

static int flavour(const hpt__arch *a) {
    return a->flavour == HPT__FLAVOUR_TORCHVISION ? HPT__FLAVOUR_TIMM : a->flavour;
}
int hpt__arch_same(const hpt__arch *a, const hpt__arch *b, int head) {
    int body = a->family == b->family && !memcmp(a->blocks, b->blocks, sizeof a->blocks) &&
        a->bottleneck == b->bottleneck && a->width == b->width && a->small_stem == b->small_stem &&
        a->member == b->member && flavour(a) == flavour(b) && a->in == b->in;
    return body && (!head || (a->dim == b->dim && a->mlp == b->mlp && a->hidden == b->hidden &&
                              a->head_norm == b->head_norm && a->temperature == b->temperature &&
                              !memcmp(a->no_bias, b->no_bias, sizeof a->no_bias)));
}

hpt_status hpt__net_graph(const hpt__arch *a, int h, int w, int head, hpt__graph *g) {
    memset(g, 0, sizeof *g);
    families[a->family]->build(g, a, h, w, head);
    hpt_status st = g->status;
    if (st) hpt__graph_fini(g);
    return st;
}

hpt_status hpt__net_of_graph(const hpt__graph *g, hpt__net *net) {
    size_t bytes = sizeof *g->tensors * (size_t)g->n_tensors;
    memset(net, 0, sizeof *net);
    if (!(net->tensors = hpt__alloc(bytes))) return hpt__fail_memory(bytes);
    memcpy(net->tensors, g->tensors, bytes);
    net->n_tensors = g->n_tensors;
    net->n_params = g->n_params;
    net->n_stats = g->n_stats;
    return HPT_OK;
}

hpt_status hpt__net_create(const hpt__arch *a, hpt__net *net) {
    hpt__graph g;
    memset(net, 0, sizeof *net);
    HPT_TRY(hpt__net_graph(a, 224, 224, 1, &g));
    hpt_status st = hpt__net_of_graph(&g, net);
    hpt__graph_fini(&g);
    net->arch = *a;
    net->feature_dim = hpt__arch_features(a);
    return st;
}

void hpt__net_fini(hpt__net *net) {
    hpt__free(net->tensors);
    memset(net, 0, sizeof *net);
}

uint64_t hpt__net_values(const hpt__net *net) {
    uint64_t sum = 0;
    for (int i = 0; i < net->n_tensors; i++) sum += net->tensors[i].count;
    return sum;
}

int hpt__net_find(const hpt__net *net, const char *name) {
    for (int i = 0; i < net->n_tensors; i++)
        if (!strcmp(net->tensors[i].name, name)) return i;
    return -1;
}

/* torchvision: convolutions Kaiming normal, fan-out (of a group, as in timm), gain sqrt(2); linear layers uniform
 * +-1/sqrt(fan_in), or as family.fan_out says.
 * openselfsup: Kaiming normal, fan-in, for both; linear bias 0. (reference code of MoCo and of HPT) */
hpt_status hpt__net_init(const hpt__net *net, uint64_t seed, int openselfsup, int head_only, float *params,
                         float *stats) {
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *t = &net->tensors[i];
        if (head_only && !t->head) continue;
        float *x = (hpt__is_stat(t) ? stats : params) + t->offset;
        hpt__rng r;
        hpt__rng_init(&r, seed, HPT__RNG_INIT, (uint64_t)i, 0);
        double window = t->ndim == 4 ? (double)(t->shape[2] * t->shape[3]) : 1;
        double fan_in = t->ndim >= 2 ? (double)t->shape[1] * window : 1, fan_out = (double)t->shape[0] * window;
        fan_out /= t->groups;
        int out = families[net->arch.family]->fan_out && t->head && !net->arch.mlp;
        if (t->kind == HPT__LINEAR_BIAS) fan_in = (double)(i > 0 ? net->tensors[i - 1].shape[1] : 1);
        for (size_t j = 0; j < t->count; j++) {
            if (!(j & 0xffff)) HPT_TRY(hpt__span_tick(t->count - j > 0x10000 ? 0x10000 : t->count - j));
            switch (t->kind) {
            case HPT__CONV_WEIGHT:
                x[j] = (float)(hpt__rng_normal(&r) * sqrt(2 / (openselfsup ? fan_in : fan_out)));
                break;
            case HPT__LINEAR_WEIGHT:
                x[j] = (float)(openselfsup ? hpt__rng_normal(&r) * sqrt(2 / fan_in)
                                           : hpt__rng_range(&r, -1, 1) / sqrt(out ? fan_out : fan_in));
                break;
            case HPT__LINEAR_BIAS:
                x[j] = openselfsup || out ? 0 : (float)(hpt__rng_range(&r, -1, 1) / sqrt(fan_in));
                break;
            case HPT__NORM_WEIGHT: case HPT__RUN_VAR: x[j] = 1; break;
            default: x[j] = 0;
            }
        }
    }
    return HPT_OK;
}

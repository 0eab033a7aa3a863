/* SPDX-License-Identifier: MIT
 * Memory of a model's classifier, and the names of its classes. It lies on the features beside the network,
 * not a layer of it: the same backbone has one after finetuning and none while it learns without labels. */
#include "nn/classifier.h"
#include "core/alloc.h"
#include <string.h>

float *hpt__classifier_weight(const hpt__classifier *c) { return c->params + c->net.tensors[0].offset; }
float *hpt__classifier_bias(const hpt__classifier *c) { return c->params + c->net.tensors[1].offset; }

void hpt__classifier_fini(hpt__classifier *c) {
    for (int i = 0; c->name && i < hpt__classes(c); i++) hpt__free(c->name[i]);
    hpt__free(c->name);
    hpt__free(c->params);
    hpt__net_fini(&c->net);
    memset(c, 0, sizeof *c);
}

hpt_status hpt__classifier_create_as(hpt__classifier *c, hpt__classifier_form form, int features, int classes,
                                     int several, char *const *name) {
    hpt__arch a = {.family = HPT__FAMILY_MLP, .name = "mlp", .in = features, .dim = classes, .mlp = form.hidden > 0,
                   .hidden = form.hidden, .temperature = form.temperature};
    memset(c, 0, sizeof *c);
    HPT_TRY(hpt__net_create(&a, &c->net));
    c->several = several;
    int lost = !(c->params = hpt__calloc(c->net.n_params, 4));
    if (name) lost |= !(c->name = hpt__calloc((size_t)classes, sizeof *c->name));
    for (int i = 0; i < classes && name && !lost; i++) lost = !(c->name[i] = hpt__strdup(name[i]));
    if (!lost) return HPT_OK;
    size_t bytes = c->net.n_params * 4;
    hpt__classifier_fini(c);
    return hpt__fail_memory(bytes);
}

hpt_status hpt__classifier_create(hpt__classifier *c, int features, int classes, int several, char *const *name) {
    return hpt__classifier_create_as(c, (hpt__classifier_form){0}, features, classes, several, name);
}

hpt_status hpt__classifier_copy(hpt__classifier *to, const hpt__classifier *from) {
    memset(to, 0, sizeof *to);
    if (!hpt__classes(from)) return HPT_OK;
    HPT_TRY(hpt__classifier_create_as(to, hpt__classifier_form_of(from), from->net.arch.in, hpt__classes(from),
                                      from->several, from->name));
    memcpy(to->params, from->params, from->net.n_params * 4);
    return HPT_OK;
}

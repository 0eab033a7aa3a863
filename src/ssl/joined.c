/* SPDX-License-Identifier: MIT
 * The way in and the way back, tensor by tensor: a model may have a projection head where the joined network has the
 * classifier, and keeps it. */
#include "ssl/joined.h"
#include "core/alloc.h"
#include <string.h>

hpt_status hpt__joined_open(hpt__joined *j, const hpt_model *m, hpt__classifier_form form, int classes) {
    hpt__arch a = m->net.arch;
    memset(j, 0, sizeof *j);
    a.head_norm = a.no_bias[0] = a.no_bias[1] = 0;
    a.mlp = form.hidden > 0;
    a.hidden = form.hidden;
    a.temperature = form.temperature;
    a.dim = classes;
    HPT_TRY(hpt__net_create(&a, &j->net));
    j->params = hpt__calloc(j->net.n_params, 4);
    j->stats = hpt__calloc(j->net.n_stats + 1, 4);
    return j->params && j->stats ? HPT_OK : hpt__fail_memory(j->net.n_params * 4);
}
void hpt__joined_close(hpt__joined *j) {
    hpt__net_fini(&j->net);
    hpt__free(j->params);
    hpt__free(j->stats);
    memset(j, 0, sizeof *j);
}

static float *of_classifier(const hpt__classifier *fc, const hpt__tensor *x) {
    return fc->params + fc->net.tensors[hpt__net_find(&fc->net, x->name)].offset;
}
void hpt__joined_set(hpt__joined *j, const hpt_model *m, const hpt__classifier *fc) {
    for (int i = 0; i < j->net.n_tensors; i++) {
        const hpt__tensor *x = &j->net.tensors[i];
        float *to = (hpt__is_stat(x) ? j->stats : j->params) + x->offset;
        if (!x->head) memcpy(to, hpt__model_tensor((hpt_model *)(uintptr_t)m, i), x->count * 4);
        else if (fc) memcpy(to, of_classifier(fc, x), x->count * 4);
    }
}
void hpt__joined_give(const hpt__net *net, const float *params, const float *stats, hpt_model *m, hpt__classifier *fc) {
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        const float *from = (hpt__is_stat(x) ? stats : params) + x->offset;
        memcpy(x->head ? of_classifier(fc, x) : hpt__model_tensor(m, i), from, x->count * 4);
    }
}

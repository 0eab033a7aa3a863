/* SPDX-License-Identifier: MIT
 * Contract: monitor.h. The score is that of hpt_model_knn() on the weights of now; alarms (collapse, a loss that
 * stays above chance) need no labels. */
#include "ssl/monitor.h"
#include "core/alloc.h"
#include "core/result.h"
#include "core/number.h"
#include "ssl/probe.h"
#include "ssl/score.h"
#include "ssl/taught.h"
#include <math.h>
#include <string.h>

/* Labels are looked at before anything trains: those of nearest neighbours, */
static hpt_status look_at_votes(hpt__monitor *m, hpt_model *model, hpt_dataset *train, hpt_dataset *val,
                                const hpt__options *o) {
    hpt__sets s;
    HPT_TRY(hpt__sets_open(&s, train, val, NULL, o, NULL));
    hpt_status st = hpt__can_choose(&s.truth[1], OPT_IS(o, auroc_undefined, "zero"), "monitor: val");
    for (int i = 0; i < 2; i++)
        if (s.ds[i]->count < s.given[i]->count)
            hpt__log(model->ctx, 1, "monitor, %s: %llu of %llu images cannot be read and are left out",
                     hpt__set_names[i], (unsigned long long)(s.given[i]->count - s.ds[i]->count),
                     (unsigned long long)s.given[i]->count);
    hpt__sets_close(&s);
    m->what = hpt__dataset_labelled(train) == 2 ? "knn_auroc" : "knn_top1";
    return st;
}
/* and those that a classifier is scored by, of images that it is not trained on. */
static hpt_status look_at_classes(hpt__monitor *m, const hpt__classifier *fc, const hpt_dataset *ds,
                                  const hpt_dataset *val, const hpt__options *o) {
    uint64_t common = 0, first[2];
    char where[420];
    HPT_TRY(hpt__taught_one_label(val, "val"));
    if (ds && !OPT_IS(o, overlap, "allow")) HPT_TRY(hpt__dataset_overlap(ds, val, &common, first, NULL));
    if (common) {
        hpt__dataset_where(val, first[1], where, sizeof where);
        return hpt__fail(HPT_ERR_ARGUMENT, "data and val share %llu images, first %s", (unsigned long long)common,
                         where);
    }
    m->what = "val_top1";
    return hpt__taught_match(fc, val, "val", &m->to);
}

hpt_status hpt__monitor_open(hpt__monitor *m, hpt_model *model, hpt_dataset *train, hpt_dataset *val,
                             const hpt__classifier *fc, const hpt_dataset *ds, const hpt__options *o, int ranks) {
    if (!OPT_I(o, monitor_every))
        return hpt__fail(HPT_ERR_OPTION, "option 'monitor_every' is 0: the monitor would never look");
    if (OPT_I(o, monitor_patience) && ranks > 1)
        return hpt__fail(HPT_ERR_UNSUPPORTED,
                         "monitor_patience with several ranks: they might not stop at the same step");
    HPT_TRY(train ? look_at_votes(m, model, train, val, o) : look_at_classes(m, fc, ds, val, o));
    m->params = hpt__calloc(model->net.n_params, 4);
    m->stats = hpt__calloc(model->net.n_stats, 4);
    if (!m->params || !m->stats) return hpt__fail_memory(model->net.n_params * 4);
    m->train = train;
    m->val = val;
    if (train) hpt__retain(train);
    hpt__retain(val);
    m->every = (uint64_t)OPT_I(o, monitor_every);
    m->patience = (uint64_t)OPT_I(o, monitor_patience);
    m->score = m->best = NAN;
    return HPT_OK;
}

void hpt__monitor_close(hpt__monitor *m) {
    hpt__release(m->train);
    hpt__release(m->val);
    hpt__free(m->to);
    hpt__free(m->params);
    hpt__free(m->stats);
    hpt__classifier_fini(&m->fc);
    memset(m, 0, sizeof *m);
}

hpt_status hpt__monitor_score(hpt__monitor *m, hpt_model *model, const hpt__options *o, uint64_t step) {
    json_t *j = json_object();
    double score = NAN;
    hpt__right right;
    hpt__options mine;          /* the session's, but images are seen as the network sees them in training */
    HPT_TRY(hpt__options_copy(&mine, o));
    hpt_status st = hpt__options_set(&mine, "pixel_mean", "model");
    if (!st) st = hpt__options_set(&mine, "pixel_std", "model");
    if (!st && m->train && !(st = hpt__model_knn(model, m->train, m->val, &mine, j)))
        score = hpt__json_real(json_object_get(j, "knn_score"));
    if (!st && !m->train && !(st = hpt__classifier_right(model, m->val, &mine, m->to, &right))) score = right.top1;
    hpt__options_fini(&mine);
    if (!st) {
        m->score = score;
        m->at = step;
        m->misses++;
        if (!(m->score <= m->best) || (m->ties && m->score >= m->best)) {      /* also the first */
            m->best = m->score;
            m->best_at = step;
            m->misses = 0;
            memcpy(m->params, model->params, model->net.n_params * 4);
            memcpy(m->stats, model->stats, model->net.n_stats * 4);
            hpt__classifier_fini(&m->fc);
            st = hpt__classifier_copy(&m->fc, &model->fc);
        }
        m->stopped = m->patience && m->misses >= m->patience;
    }
    json_decref(j);
    return st;
}

void hpt__monitor_restore(const hpt__monitor *m, hpt_model *model) {
    if (!m->best_at) return;
    if (hpt__classes(&m->fc) && hpt__classes(&m->fc) == hpt__classes(&model->fc))
        memcpy(model->fc.params, m->fc.params, m->fc.net.n_params * 4);
    memcpy(model->params, m->params, model->net.n_params * 4);
    memcpy(model->stats, m->stats, model->net.n_stats * 4);
}

hpt_status hpt__monitor_alarm(hpt__monitor *m, hpt_context *ctx, const hpt__options *o, const hpt_step_info *i,
                              int full) {
    enum { LONG = 100 };
    int stop = OPT_IS(o, alarm, "stop");
    if (OPT_IS(o, alarm, "off")) return HPT_OK;
    m->high = full && i->loss > i->chance ? m->high + 1 : 0;
    const char *text = NULL;
    char line[240];
    if (!m->told_collapse && i->step > 50 && i->z_std < 0.1) {
        m->told_collapse = 1;
        hpt__format(line, sizeof line,
                    "step %llu: z_std is %.3f (1 = spread, 0 = all embeddings alike): the representation is "
                    "collapsing; a lower lr or stronger augmentation may help",
                 (unsigned long long)i->step, i->z_std);
        text = line;
    } else if (!m->told_loss && m->high >= LONG) {
        m->told_loss = 1;
        hpt__format(line, sizeof line, "step %llu: the loss has been above chance (%.2f) for %d steps%s",
                 (unsigned long long)i->step, i->chance, LONG, i->queue_fill
                 ? " though the queue is full: lr may be too high, or the key encoder too slow for a short run "
                 "(moco_m=0.99)" : ": lr may be too high");
        text = line;
    }
    if (!text) return HPT_OK;
    if (stop) return hpt__fail(HPT_ERR_NUMERIC, "alarm at %s", text);
    hpt__log(ctx, 1, "%s", text);
    return HPT_OK;
}

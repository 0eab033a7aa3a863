/* SPDX-License-Identifier: MIT
 * What a host gives a session beside its data set, and asks of it by name or number: further data sets by their role,
 * what scores the run, batches of its own, metrics. */
#include "ssl/session.h"
#include <math.h>
#include <string.h>

/* Scores by the labels of train, or (NULL) by the classifier that is trained. */
static hpt_status watch_by(hpt_session *s, hpt_dataset *train, hpt_dataset *val) {
    if (s->monitor.val) return hpt__fail(HPT_ERR_STATE, "the session has a monitor already");
    if (s->trainer.step)
        return hpt__fail(HPT_ERR_STATE,
                         "the session has already run; the monitor comes before the first step and before resume");
    hpt_status st = hpt__monitor_open(&s->monitor, s->model, train, val, &s->taught.fc, s->ds, &s->opt,
                                      s->ctx->comm->size);
    if (st) hpt__monitor_close(&s->monitor);
    else s->info.monitor = s->info.monitor_best = NAN;
    return st;
}
hpt_status hpt__session_monitor(hpt_session *s, hpt_dataset *train, hpt_dataset *val) {
    HPT__TURN(s->ctx);
    return watch_by(s, train, val);
}

hpt_status hpt__session_data(hpt_session *s, const char *role, hpt_dataset *ds) {
    HPT__TURN(s->ctx);
    const hpt__method *m = s->trainer.method;
    int val = !strcmp(role, "val"), known = val || (!strcmp(role, "labelled") && strstr(m->roles, "labelled"));
    hpt_dataset **slot = val ? &s->val : &s->labelled;
    if (!known)
        return hpt__fail(HPT_ERR_ARGUMENT, "method=%s has no data set of role '%.40s', it has: %s", m->name, role,
                         m->roles);
    if (*slot) return hpt__fail(HPT_ERR_STATE, "the session has a data set of role '%s' already", role);
    if (s->trainer.step)
        return hpt__fail(HPT_ERR_STATE, "the session has already run; data sets come before the first step and before "
                         "resume");
    *slot = ds;
    hpt_status st = HPT_OK;
    if (m->labels || (s->val && s->labelled)) st = watch_by(s, m->labels ? NULL : s->labelled, s->val);
    if (st) *slot = NULL;
    else hpt__retain(ds);
    return st;
}

hpt_status hpt__session_metric(const hpt_session *s, uint32_t index, hpt_metric *out) {
    const hpt__measure *m = s->trainer.method->measures;
    const hpt_step_info *i = &s->info;
    const hpt__monitor *w = &s->monitor;
    uint32_t n = 0;
    while (n < index && m[n].name) n++;
    *out = (hpt_metric){.struct_size = sizeof *out, .value = NAN};
    if (m[n].name) {
        out->higher_is_better = m[n].better;
        snprintf(out->name, sizeof out->name, "%s", m[n].name);
        snprintf(out->unit, sizeof out->unit, "%s", m[n].unit);
        if (i->step_ms > 0) out->value = m[n].at ? *(const double *)(const void *)((const char *)i + m[n].at)
                                                 : (double)i->queue_fill;
        return HPT_OK;
    }
    if (!w->val || index - n > 1) return HPT_END;
    int best = index - n == 1;
    out->higher_is_better = 1;
    snprintf(out->name, sizeof out->name, "%s%s", w->what, best ? "_best" : "");
    snprintf(out->unit, sizeof out->unit, "%%");
    out->value = best ? w->best : w->score;
    return HPT_OK;
}

hpt_status hpt__session_step_batch(hpt_session *s, const hpt_batch *b) {
    const hpt__trainer *t = &s->trainer;
    const hpt__method *m = t->method;
    int size = t->spec.size, classes = hpt__classes(&s->taught.fc);
    if (b->images != (uint32_t)t->spec.batch || b->views != (uint32_t)m->views || b->height != (uint32_t)size ||
        b->width != (uint32_t)size)
        return hpt__fail(HPT_ERR_ARGUMENT, "a batch of this session is %d images with %d view%s of %dx%d, not %u with "
                         "%u of %ux%u", t->spec.batch, m->views, m->views == 1 ? "" : "s", size, size, b->images,
                         b->views, b->height, b->width);
    for (uint32_t v = 0; v < b->views; v++)
        if (!b->view || !b->view[v]) return hpt__fail(HPT_ERR_ARGUMENT, "view %u of the batch is NULL", v);
    if (!m->labels && b->label)
        return hpt__fail(HPT_ERR_ARGUMENT, "labels mean nothing to method=%s: leave them NULL", m->name);
    if (m->labels && !b->label) return hpt__fail(HPT_ERR_ARGUMENT, "method=%s needs the labels of the batch", m->name);
    for (uint32_t i = 0; m->labels && i < b->images; i++)
        if (b->label[i] < 0 || b->label[i] >= classes)
            return hpt__fail(HPT_ERR_ARGUMENT, "label %d of image %u of the batch is outside 0..%d, the classes of the "
                             "classifier", (int)b->label[i], i, classes - 1);
    s->given = b->label;
    hpt_status st = hpt__session_step(s, b->view[0], b->view[b->views - 1]);
    s->given = NULL;
    return st;
}

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
    s->monitor.ties = s->trainer.method->ties;
    if (st) hpt__monitor_close(&s->monitor);
    else s->info.monitor = s->info.monitor_best = NAN;
    return st;
}
hpt_status hpt__session_monitor(hpt_session *s, hpt_dataset *train, hpt_dataset *val) {
    HPT__TURN(s->ctx);
    return watch_by(s, train, val);
}

/* Is role one of the words? */
static int has_role(const char *roles, const char *role) {
    size_t n = strlen(role);
    for (const char *p = roles; *p; p += p[strcspn(p, " ")] ? strcspn(p, " ") + 1 : strcspn(p, " "))
        if (strcspn(p, " ") == n && !memcmp(p, role, n)) return n > 0;
    return 0;
}
static hpt_dataset **slot_of(hpt_session *s, const char *role) {
    return !strcmp(role, "val") ? &s->val : !strcmp(role, "test") ? &s->test
           : !strcmp(role, "unlabelled") ? &s->unlabelled : &s->labelled;
}

/* What is trained on holds none of what is scored or tested, or (overlap=allow) that is said. */
static hpt_status apart(const hpt_session *s, const hpt_dataset *a, const char *of_a, const hpt_dataset *b,
                        const char *of_b) {
    uint64_t common = 0, first[2];
    char where[420];
    if (a && b) HPT_TRY(hpt__dataset_overlap(a, b, &common, first, NULL));
    if (!common) return HPT_OK;
    hpt__dataset_where(b, first[1], where, sizeof where);
    if (!OPT_IS(&s->opt, overlap, "allow"))
        return hpt__fail(HPT_ERR_ARGUMENT, "%s and %s share %llu images, first %s (overlap=allow trains all the same)",
                         of_a, of_b, (unsigned long long)common, where);
    hpt__log(s->ctx, 1, "%s and %s share %llu images, first %s: it is trained on images that it is judged by", of_a,
             of_b, (unsigned long long)common, where);
    return HPT_OK;
}
static hpt_status all_apart(const hpt_session *s, const char *role) {
    const struct { const hpt_dataset *ds; const char *role; } trained[] = {
        {s->ds, "data"}, {s->labelled, "labelled"}, {s->unlabelled, "unlabelled"}}, judged[] = {{s->val, "val"},
                                                                                                {s->test, "test"}};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 2; k++)
            if (!strcmp(role, trained[i].role) || !strcmp(role, judged[k].role))
                HPT_TRY(apart(s, trained[i].ds, trained[i].role, judged[k].ds, judged[k].role));
    return HPT_OK;
}

/* A set of a method that takes a step's images from several: its labels, what it shares with others, and room for so
 * many of them. */
static hpt_status take_share(hpt_session *s, const char *role, hpt_dataset *ds) {
    hpt__trainer *t = &s->trainer;
    int few = !strcmp(role, "labelled"), more = !strcmp(role, "unlabelled"), b = hpt__trainer_own(t) * t->comm->size;
    HPT_TRY(all_apart(s, role));
    if (!strcmp(role, "val")) return watch_by(s, NULL, ds);
    if (!strcmp(role, "test")) return hpt__taught_fits(&s->taught, ds, role);
    if (few) HPT_TRY(hpt__taught_few(&s->taught, &s->opt, ds));
    if (more) HPT_TRY(hpt__taught_unlabelled(&s->taught, ds));
    if (more && !t->spec.share[2]) hpt__log(s->ctx, 0, "unlabelled: %s makes no use of it", "mme_entropy=off");
    if (more && ds->count < (uint64_t)(t->spec.share[2] * t->comm->size))
        hpt__log(s->ctx, 1, "unlabelled: a step takes %d images and there are %llu: some are in it more than once",
                 t->spec.share[2] * t->comm->size, (unsigned long long)ds->count);
    int takes = ds->count < (uint64_t)b ? (int)ds->count : b;
    hpt_status st = few && takes != t->spec.share[1] * t->comm->size ? hpt__session_open_trainer(s) : HPT_OK;
    if (!st) hpt__session_open_feed(s);
    if (st) return st;
    s->fingerprint = s->fingerprint * 31 + hpt__dataset_fingerprint(ds);
    if (few)
        for (uint64_t i = 0; i < ds->count; i++)
            s->fingerprint = s->fingerprint * 31 + (uint64_t)hpt__taught_few_label(&s->taught, ds, i);
    return t->comm->size > 1 ? hpt__session_compare_ranks(s) : HPT_OK;
}

hpt_status hpt__session_data(hpt_session *s, const char *role, hpt_dataset *ds) {
    HPT__TURN(s->ctx);
    const hpt__method *m = s->trainer.method;
    if (!has_role(m->roles, role))
        return hpt__fail(HPT_ERR_ARGUMENT, "method=%s has no data set of role '%.40s', it has: %s", m->name, role,
                         m->roles);
    hpt_dataset **slot = slot_of(s, role);
    if (*slot) return hpt__fail(HPT_ERR_STATE, "the session has a data set of role '%s' already", role);
    if (s->trainer.step)
        return hpt__fail(HPT_ERR_STATE, "the session has already run; data sets come before the first step and before "
                         "resume");
    *slot = ds;
    hpt_status st = HPT_OK;
    if (m->shares) st = take_share(s, role, ds);
    else if (m->labels || (s->val && s->labelled)) st = watch_by(s, m->labels ? NULL : s->labelled, s->val);
    if (st) *slot = NULL;
    else hpt__retain(ds);
    return st;
}

double hpt__session_measure(const hpt_session *s, const hpt__measure *m) {
    const hpt_step_info *i = &s->info;
    if (!(i->step_ms > 0)) return NAN;
    return m->at ? *(const double *)(const void *)((const char *)i + m->at) : (double)i->queue_fill;
}
hpt_status hpt__session_metric(const hpt_session *s, uint32_t index, hpt_metric *out) {
    const hpt__measure *m = s->trainer.method->measures;
    const hpt__monitor *w = &s->monitor;
    uint32_t n = 0;
    while (n < index && m[n].name) n++;
    *out = (hpt_metric){.struct_size = sizeof *out, .value = NAN};
    if (m[n].name) {
        out->higher_is_better = m[n].better;
        snprintf(out->name, sizeof out->name, "%s", m[n].name);
        snprintf(out->unit, sizeof out->unit, "%s", m[n].unit);
        out->value = hpt__session_measure(s, &m[n]);
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
    int size = t->spec.size, classes = hpt__classes(&s->taught.fc), parts = hpt__trainer_parts(t);
    uint32_t all = (uint32_t)(parts * t->spec.batch), taught = all - (uint32_t)t->spec.share[2];
    char made[64] = "";
    if (parts > 1) snprintf(made, sizeof made, " (accumulate=%d parts of %d)", parts, t->spec.batch);
    if (b->images != all || b->views != (uint32_t)m->views || b->height != (uint32_t)size ||
        b->width != (uint32_t)size)
        return hpt__fail(HPT_ERR_ARGUMENT, "a batch of this session is %u images%s with %d view%s of %dx%d, not %u "
                         "with %u of %ux%u", all, made, m->views, m->views == 1 ? "" : "s", size, size, b->images,
                         b->views, b->height, b->width);
    for (uint32_t v = 0; v < b->views; v++)
        if (!b->view || !b->view[v]) return hpt__fail(HPT_ERR_ARGUMENT, "view %u of the batch is NULL", v);
    if (!m->labels && b->label)
        return hpt__fail(HPT_ERR_ARGUMENT, "labels mean nothing to method=%s: leave them NULL", m->name);
    if (m->labels && !b->label) return hpt__fail(HPT_ERR_ARGUMENT, "method=%s needs the labels of the batch", m->name);
    for (uint32_t i = 0; m->labels && i < taught; i++)
        if (b->label[i] < 0 || b->label[i] >= classes)
            return hpt__fail(HPT_ERR_ARGUMENT, "label %d of image %u of the batch is outside 0..%d, the classes of the "
                             "classifier", (int)b->label[i], i, classes - 1);
    s->given = b->label;
    hpt_status st = hpt__session_step(s, b->view[0], b->view[b->views - 1]);
    s->given = NULL;
    return st;
}

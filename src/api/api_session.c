/* SPDX-License-Identifier: MIT
 * hpt_session_*: a run step by step or to its end. A session may be destroyed or cancelled while another thread is
 * in a call on it: what that means stands in hpt.h, and is done here. */
#include "api/api.h"
#include "ssl/session.h"
#include <string.h>

hpt_status hpt_session_create(hpt_context *ctx, const hpt_config *cfg, hpt_model *model, hpt_dataset *ds,
                              hpt_session **out) {
    const hpt__options *o;
    OUT(out);
    HOLD(ctx, CONTEXT);
    HOLD(model, MODEL);
    HOLD_IF(ds, DATASET);
    HPT_TRY(hpt__config_options(cfg, &o));
    HPT_TRY(hpt__options_check(o, 'P'));
    HPT__SPAN(&ctx->watch, HPT_PHASE_PREPARE, "readying a run");
    return hpt__session_new(ctx, o, model, ds, out);
}
/* A run in another thread ends with its step, and frees the session then. */
void hpt_session_destroy(hpt_session *s) {
    int live = hpt__handle_hold(s, HPT__KIND_SESSION, NULL) == HPT_OK;
    if (live) s->cancel = 1;
    hpt__handle_close(s, HPT__KIND_SESSION);
    if (live) hpt__release(s);
}

static hpt_status finish(hpt_session *s, hpt_status st, hpt_step_info *info) {
    if (info && st >= 0) HPT_TRY(hpt__struct_out(info, &s->info, sizeof s->info, "info"));
    return st;
}
/* Steps in the midst of a run (its callback is where that can happen) would make two runs of one. */
static hpt_status not_in_run(const hpt_session *s) {
    return s->running
        ? hpt__fail(HPT_ERR_STATE, "hpt_session_run() is under way: its callback may save, sync and look, not step")
        : HPT_OK;
}
hpt_status hpt_session_step(hpt_session *s, hpt_step_info *info) {
    HOLD(s, SESSION);
    HPT_TRY(not_in_run(s));
    return finish(s, hpt__session_step(s, NULL, NULL), info);
}
hpt_status hpt_session_step_images(hpt_session *s, const float *view_q, const float *view_k, hpt_step_info *info) {
    HOLD(s, SESSION);
    NOT_NULL(view_q);
    NOT_NULL(view_k);
    HPT_TRY(not_in_run(s));
    return finish(s, hpt__session_step(s, view_q, view_k), info);
}
hpt_status hpt_session_monitor(hpt_session *s, hpt_dataset *train, hpt_dataset *val) {
    HOLD(s, SESSION);
    HOLD(train, DATASET);
    HOLD(val, DATASET);
    HPT_TRY(not_in_run(s));
    return hpt__session_monitor(s, train, val);
}
hpt_status hpt_session_data(hpt_session *s, const char *role, hpt_dataset *ds) {
    HOLD(s, SESSION);
    HOLD(ds, DATASET);
    NOT_NULL(role);
    HPT_TRY(not_in_run(s));
    return hpt__session_data(s, role, ds);
}
hpt_status hpt_session_metric(const hpt_session *s, uint32_t index, hpt_metric *out) {
    hpt_metric full;
    HOLD(s, SESSION);
    NOT_NULL(out);
    hpt_status st = hpt__session_metric(s, index, &full);
    return st ? st : hpt__struct_out(out, &full, sizeof full, "out");
}
hpt_status hpt_session_step_batch(hpt_session *s, const hpt_batch *batch, hpt_step_info *info) {
    hpt_batch b;
    HOLD(s, SESSION);
    HPT_TRY(hpt__struct_in(&b, batch, sizeof b, "batch"));
    HPT_TRY(not_in_run(s));
    return finish(s, hpt__session_step_batch(s, &b), info);
}
hpt_status hpt_session_run(hpt_session *s, hpt_step_fn fn, void *user) {
    HOLD(s, SESSION);
    HPT_TRY(not_in_run(s));
    return hpt__session_run(s, fn, user);
}
hpt_status hpt_session_cancel(hpt_session *s) {
    HOLD(s, SESSION);
    s->cancel = 1;
    return HPT_OK;
}
hpt_status hpt_session_save(hpt_session *s, const char *path) {
    HOLD(s, SESSION);
    NOT_NULL(path);
    return hpt__session_save(s, path);
}
hpt_status hpt_session_resume(hpt_session *s, const char *path) {
    HOLD(s, SESSION);
    NOT_NULL(path);
    HPT_TRY(not_in_run(s));
    HPT__SPAN(&s->ctx->watch, HPT_PHASE_PREPARE, "reading a checkpoint");
    return hpt__session_resume(s, path);
}
hpt_status hpt_session_sync(hpt_session *s) {
    HOLD(s, SESSION);
    return hpt__session_sync(s);
}
hpt_status hpt_session_result(const hpt_session *s, hpt_result **result) {
    OUT(result);
    CHECK(s, SESSION);
    json_t *j = hpt__json_begin();
    hpt__session_report(s, j);
    return hpt__result_new(j, result);
}
hpt_status hpt_session_get_info(const hpt_session *s, hpt_step_info *info) {
    HOLD(s, SESSION);
    return hpt__struct_out(info, &s->info, sizeof s->info, "info");
}
hpt_status hpt_session_get_tensor(hpt_session *s, const char *name, float *data, uint64_t count) {
    HOLD(s, SESSION);
    NOT_NULL(name);
    NOT_NULL(data);
    return hpt__session_tensor(s, name, data, NULL, count);
}
hpt_status hpt_session_set_tensor(hpt_session *s, const char *name, const float *data, uint64_t count) {
    HOLD(s, SESSION);
    NOT_NULL(name);
    NOT_NULL(data);
    return hpt__session_tensor(s, name, NULL, data, count);
}

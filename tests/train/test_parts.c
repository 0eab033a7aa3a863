/* SPDX-License-Identifier: MIT
 * An update of several batches (option accumulate): which images it reads, what is counted, that nothing is left of
 * one that was stopped or failed between its batches, and who may not have it. Against PyTorch: test_byol.c,
 * test_supervised.c; values that are not finite, ranks and resuming: test_methods.c. */
#include "shell.h"
#include "ssl/session.h"

/* cuda: the emulated one, where it was built */
static const char *const backends[] = {"reference", "onednn", "cuda"};
enum { BACKENDS = 3 };
#define TINY "arch=resnet10 width=16 stem=small image_size=16 precision=fp32 bn_group=0 workers=1 seed=3 batch_size=4 "
#define BYOL TINY "method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 "
#define SUPERVISED TINY "method=supervised "

static hpt_session *open_session(hpt_context *ctx, const char *options, const char *more, hpt_dataset *ds) {
    char text[600];
    hpt_model *m;
    hpt_session *s;
    snprintf(text, sizeof text, "%s %s", options, more);
    hpt_config *c = config(text);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    return s;
}
static hpt_step_info next(hpt_session *s) {
    hpt_step_info info = {.struct_size = sizeof info};
    OK(hpt_session_step(s, &info));
    return info;
}

/* Without a rate an update of three batches says the mean of what three updates of one say of the same images, and
 * leaves the same running statistics, to the last bit. 5 batches are an epoch. */
TEST_LIMIT(parts_are_the_batches_in_their_order, 120) {
    static const char *const methods[] = {BYOL "byol_m=1 ", SUPERVISED}, *const tensor[] = {"online.", "model."};
    for (int b = 0; b < BACKENDS; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        hpt_dataset *ds = toy_set(ctx, "", 21, 16, 3);
        for (int k = b == 2; k < 2; k++) {      /* the emulation is slow */
            hpt_session *one = open_session(ctx, methods[k], "lr=0 schedule=constant steps=12", ds),
                        *three = open_session(ctx, methods[k], "lr=0 schedule=constant steps=4 accumulate=3", ds);
            float x[2][16];
            char name[40];
            for (int u = 0; u < 4; u++) {
                double loss = 0;
                uint64_t epoch = (uint64_t)u * 3 / 5;
                for (int i = 0; i < 3; i++) loss += next(one).loss / 3;
                hpt_step_info all = next(three);
                if (!(fabs(all.loss - loss) <= 1e-5 * loss))
                    FAIL("%s, update %d: loss %.9g, not %.9g", backends[b], u + 1, all.loss, loss);
                CHECK(all.step == (uint64_t)u + 1 && all.steps == 4 && all.epoch == epoch);
            }
            CHECK(hpt_session_step(three, NULL) == HPT_END && hpt_session_step(one, NULL) == HPT_END);
            for (int i = 0; i < 2; i++) {
                snprintf(name, sizeof name, "%sbn1.running_%s", tensor[k], i ? "mean" : "var");
                OK(hpt_session_get_tensor(one, name, x[0], 16));
                OK(hpt_session_get_tensor(three, name, x[1], 16));
                if (memcmp(x[0], x[1], sizeof x[0])) FAIL("%s: %s differs", backends[b], name);
            }
            hpt_session_destroy(one);
            hpt_session_destroy(three);
        }
        hpt_dataset_destroy(ds);
        hpt_context_destroy(ctx);
    }
}

/* A rate by the epoch follows the images that were read: of 12 batches, 5 are an epoch. Warm-up counts updates. */
TEST(parts_and_a_rate_by_the_epoch) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 21, 16, 3);
    hpt_session *s = open_session(ctx, SUPERVISED, "lr=0.1 schedule=cosine schedule_unit=epoch steps=4 accumulate=3 "
                                  "warmup_steps=2", ds);
    static const int epoch[] = {0, 0, 1, 1};
    for (int u = 0; u < 4; u++) {
        double lr = 0.1 * 0.5 * (1 + cos(acos(-1.0) * epoch[u] / 3)) * (u ? 1 : 0.5), got = next(s).lr;
        if (fabs(got - lr) > 1e-12) FAIL("update %d: rate %.9g, not %.9g", u + 1, got, lr);
    }
}

/* ---- stopped between two parts ---- */

typedef struct host { hpt_session *s; int part, stops; } host;
static int32_t told(void *user, const hpt_progress *p) {
    host *h = user;
    (void)p;
    if (!h->s || h->s->trainer.part < h->part) return 0;
    h->stops++;
    h->part = h->part % 2 + 1;
    return 1;
}
/* A step is long enough for the host to be asked in each of its parts, which it is ten times a second. */
TEST_LIMIT(parts_that_are_stopped_change_nothing, 240) {
    char *dir = temp_dir(), path[300];
    for (int b = 0; b < BACKENDS; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx || b == 1) continue;
        hpt_dataset *ds = toy_set(ctx, "", 40, 32, 3);
        for (int cut = 0; cut < 2; cut++) {
            hpt_session *s = b ? open_session(ctx, SUPERVISED, "steps=2 accumulate=3", ds)
                               : open_session(ctx, BYOL, "steps=2 accumulate=3 image_size=32 batch_size=12", ds);
            host h = {cut ? s : NULL, 1, 0};
            OK(hpt_context_set_progress(ctx, told, &h));
            for (hpt_status st = HPT_ERR_CANCELLED; st == HPT_ERR_CANCELLED;) {
                if (h.stops >= 2) h.s = NULL;
                st = hpt_session_run(s, NULL, NULL);
                CHECK(!st || st == HPT_ERR_CANCELLED);
                CHECK(s->trainer.part == 0);
            }
            OK(hpt_context_set_progress(ctx, NULL, NULL));
            printf("  %s: %d stops\n", backends[b], h.stops);
            CHECK(!cut || h.stops == 2);
            snprintf(path, sizeof path, "%s/%s%d", dir, backends[b], cut);
            OK(hpt_session_save(s, path));
            hpt_session_destroy(s);
        }
        RUN("cmp %s/%s0 %s/%s1", dir, backends[b], dir, backends[b]);
        hpt_dataset_destroy(ds);
        hpt_context_destroy(ctx);
    }
}

/* An image that cannot be read, in whichever part: the update is not made, and made once the file is whole again. */
TEST_LIMIT(parts_wait_for_a_file_that_is_mended, 120) {
    char *dir = temp_dir(), *set_ = stripes(dir, 9), path[300];
    for (int b = 0; b < BACKENDS; b++) {
        hpt_context *ctx = context(backends[b], 1);
        if (!ctx) continue;
        for (int bad = 0; bad < 2; bad++) {
            hpt_config *c = config("");
            hpt_dataset *ds;
            int refused = 0;
            OK(hpt_dataset_open(ctx, c, set_, &ds));
            hpt_session *s = open_session(ctx, SUPERVISED, "steps=4 accumulate=3 lr=0.05", ds);
            RUN("cp -r %s %s/whole", set_, dir);
            for (int i = 0; i < 4; i++) {
                if (bad) RUN("for f in %s/*/*%d.ppm; do : >$f; done", set_, i);
                hpt_status st = hpt_session_step(s, NULL);
                if (st) {
                    CHECK(bad && st == HPT_ERR_DATA && s->trainer.step == (uint64_t)i && s->trainer.part == 0);
                    refused++;
                }
                RUN("cp -r %s/whole/. %s/", dir, set_);
                if (st) next(s);
            }
            CHECK(bad ? refused >= 2 : !refused);
            RUN("rm -r %s/whole", dir);
            snprintf(path, sizeof path, "%s/%s%d", dir, backends[b], bad);
            OK(hpt_session_save(s, path));
            hpt_session_destroy(s);
            hpt_dataset_destroy(ds);
            hpt_config_destroy(c);
        }
        RUN("cmp %s/%s0 %s/%s1", dir, backends[b], dir, backends[b]);
        hpt_context_destroy(ctx);
    }
}

TEST(parts_are_refused_where_they_would_be_another_loss) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 20, 16, 3);
    hpt_config *c = config(TINY "accumulate=2 moco_k=16 moco_dim=16");
    hpt_model *m;
    hpt_session *s, *other;
    char path[300];
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_OPTION, "'accumulate' is of method=byol or supervised and means nothing to method=moco",
          hpt_session_create(ctx, c, m, ds, &s));
    FAILS(HPT_ERR_OPTION, "'accumulate': 0 is outside 1..1024", hpt_config_set(c, "accumulate", "0"));
    FAILS(HPT_ERR_OPTION, "'accumulate': 1025 is outside", hpt_config_set(c, "accumulate", "1025"));
    /* a run goes on with the updates that it began with */
    snprintf(path, sizeof path, "%s/x", temp_dir());
    s = open_session(ctx, SUPERVISED, "accumulate=2 steps=4", ds);
    next(s);
    OK(hpt_session_save(s, path));
    other = open_session(ctx, SUPERVISED, "accumulate=3 steps=4", ds);
    FAILS(HPT_ERR_MISMATCH, "option accumulate was 2 in the run and is 3 now", hpt_session_resume(other, path));
    /* the host's images are those of an update */
    static float x[8 * 3 * 16 * 16];
    const float *view = x;
    const int32_t label[8] = {0};
    hpt_batch b = {.struct_size = sizeof b, .images = 4, .views = 1, .height = 16, .width = 16, .view = &view,
                   .label = label};
    FAILS(HPT_ERR_ARGUMENT, "8 images (accumulate=2 parts of 4)", hpt_session_step_batch(s, &b, NULL));
    b.images = 8;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = value_at(i, 5);
    OK(hpt_session_step_batch(s, &b, NULL));
    CHECK(s->trainer.step == 2);
}

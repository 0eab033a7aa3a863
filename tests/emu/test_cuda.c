/* SPDX-License-Identifier: MIT
 * The cuda backend as a user meets it, over the emulated device: graphs, lanes, resume, failures of every call,
 * several ranks. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "core/context.h"
#include "fake.h"
#include "support.h"
#include <pthread.h>
#include <unistd.h>

#define SMALL "arch=resnet10 width=16 stem=small image_size=16 batch_size=8 bn_group=4 moco_k=20 moco_dim=16 seed=3 " \
    "lr=0.05 "

static hpt_context *cuda_with(const char *more) {
    hpt_config *c = config(more);
    hpt_context *ctx;
    OK(hpt_config_set(c, "backend", "cuda"));
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    OK(hpt_context_create(c, &ctx));
    hpt_config_destroy(c);
    return ctx;
}
static hpt_status make_session(hpt_context *ctx, const char *options, hpt_dataset *ds, hpt_session **s) {
    char text[900];
    hpt_model *m = NULL;
    snprintf(text, sizeof text, SMALL "%s", options);
    hpt_config *c = config(text);
    hpt_status st = hpt_model_create(ctx, c, &m);
    if (!st) st = hpt_session_create(ctx, c, m, ds, s);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    return st;
}
static hpt_session *session(hpt_context *ctx, const char *options, hpt_dataset *ds) {
    hpt_session *s;
    OK(make_session(ctx, options, ds, &s));
    return s;
}
static void steps(hpt_session *s, int n) {
    hpt_step_info info = {.struct_size = sizeof info};
    for (int i = 0; i < n; i++) OK(hpt_session_step(s, &info));
}
enum { W3 = 64 * 64 * 9 };
static float *weights(hpt_session *s, const char *name, size_t n) {
    float *x = malloc(n * 4);
    OK(hpt_session_get_tensor(s, name, x, n));
    return x;
}
static void correct(void) { if (hpt_fake_complaints()[0]) FAIL("%s", hpt_fake_complaints()); }

/* Lazy streams, memory that the host cannot touch, a graph from the second step of each lane on: the losses of the
 * reference. */
static void follow(const char *precision, double loss_tol, int exact) {
    char text[200];
    hpt_context *fast = cuda_with("comm=self"), *slow = context("reference", 1);
    snprintf(text, sizeof text, "steps=20 lr=0.0003 precision=%s", precision);
    hpt_session *a = session(fast, text, toy_set(fast, "", 30, 18, 3)),
        *b = session(slow, "steps=20 lr=0.0003 precision=fp32", toy_set(slow, "", 30, 18, 3));
    hpt_step_info x = {.struct_size = sizeof x}, y = {.struct_size = sizeof y};
    for (int i = 0; i < 12; i++) {
        OK(hpt_session_step(a, &x));
        OK(hpt_session_step(b, &y));
        if (!(fabs(x.loss - y.loss) <= loss_tol * y.loss))
            FAIL("step %d: loss %.7f on cuda in %s, %.7f on reference", i + 1, x.loss, precision, y.loss);
        if (exact) CHECK(fabs(x.z_std - y.z_std) <= 1e-3 && x.acc1 == y.acc1 && x.lr == y.lr);
    }
    CHECK(hpt_fake_calls("cudaGraphInstantiate") == 2 && hpt_fake_calls("cudaGraphLaunch") == 10);
    correct();
}
TEST_LIMIT(cuda_follows_the_reference_over_steps, 300) {
    hpt_fake_protect(1);
    follow("fp32", 1e-4, 1);
}
TEST_LIMIT(cuda_bf16_follows_within_its_rounding, 300) { follow("auto", 0.05, 0); }
/* always: of both runs; more: of the second */
static void same_bits_of(const char *always, const char *more, const char *order, int size) {
    hpt_context *ctx = cuda_with("comm=self");
    char text[200];
    float *ref = NULL;
    for (int k = 0; k < 2; k++) {
        if (k && order) setenv("HPT_EMU_ORDER", order, 1);
        snprintf(text, sizeof text, "steps=20 %s %s", always, k ? more : "");
        hpt_session *s = session(ctx, text, toy_set(ctx, "", 30, size, 3));
        steps(s, 5);
        float *w = weights(s, "q.layer3.0.conv2.weight", W3);
        if (k) CHECK(!memcmp(w, ref, W3 * 4));
        ref = w;
        hpt_session_destroy(s);
    }
    correct();
}
static void same_bits(const char *more, const char *order, int size) { same_bits_of("", more, order, size); }
TEST_LIMIT(cuda_graph_and_plain_launches_give_the_same_bits, 300) { same_bits("cuda_graph=0 workers=3", NULL, 18); }
/* a batch larger than its first memory */
TEST_LIMIT(cuda_views_made_on_the_device_are_the_cpus_bit_for_bit, 300) {
    same_bits("augment_on=cpu workers=2", NULL, 70);
}
TEST_LIMIT(cuda_views_of_byol_on_the_device_are_the_cpus_bit_for_bit, 300) {
    same_bits_of("aug_blur=1 aug_blur_2=0.1 aug_solarize_2=0.6 aug_resample=bicubic aug_crop_min=0.08",
                 "augment_on=cpu workers=2", NULL, 70);
}
/* The rate lies within the momentum, and changes each step: a recorded step reads it where the host puts it. */
TEST_LIMIT(cuda_lars_of_openselfsup_reads_the_rate_of_each_step, 300) {
    same_bits_of("optimizer=lars lars_form=openselfsup lr=0.5 lars_trust=0.02 warmup_steps=3", "cuda_graph=0", NULL,
                 18);
}
TEST_LIMIT(cuda_threads_in_shuffled_order_give_the_same_bits, 300) { same_bits("", "12345", 18); }

/* nor does it ever wait for the whole device: the host polls, so that it notices a rank that is gone */
TEST_LIMIT(cuda_step_allocates_nothing, 300) {
    hpt_context *ctx = cuda_with("comm=self");
    hpt_session *s = session(ctx, "steps=40", toy_set(ctx, "", 30, 18, 3));
    steps(s, 5);
    long before = hpt_fake_calls("cudaMalloc") + hpt_fake_calls("cudaHostAlloc"),
        launches = hpt_fake_calls("cudaGraphLaunch"), live = hpt_fake_live(),
        waits = hpt_fake_calls("cudaStreamSynchronize"),
        frees = hpt_fake_calls("cudaFree") + hpt_fake_calls("cudaFreeHost");
    steps(s, 10);
    if (hpt_fake_calls("cudaStreamSynchronize") != waits)
        FAIL("%ld waits for a stream in 10 steps", hpt_fake_calls("cudaStreamSynchronize") - waits);
    CHECK(hpt_fake_calls("cudaFree") + hpt_fake_calls("cudaFreeHost") == frees);
    CHECK(hpt_fake_calls("cudaMalloc") + hpt_fake_calls("cudaHostAlloc") == before &&
          hpt_fake_calls("cudaGraphLaunch") == launches + 10 && hpt_fake_live() == live);
    hpt_session_destroy(s);
    hpt_context_destroy(ctx);
    correct();
}
TEST_LIMIT(cuda_resume_bit_for_bit, 300) {
    const char *more[] = {"steps=12", "steps=12 optimizer=adamw lr=0.003 precision=tf32",
                          "steps=12 optimizer=lars train=bn", "steps=12 optimizer=lars lars_form=openselfsup"};
    for (int k = 0; k < 4; k++) {
        hpt_context *ctx = cuda_with("comm=self");
        hpt_dataset *ds = toy_set(ctx, "", 30, 18, 3);
        char path[200];
        snprintf(path, sizeof path, "%s/c.pth", temp_dir());
        hpt_session *a = session(ctx, more[k], ds), *b = session(ctx, more[k], ds);
        steps(a, 5);
        OK(hpt_session_save(a, path));
        steps(a, 4);
        OK(hpt_session_resume(b, path));
        steps(b, 4);
        const char *names[] = {"q.layer4.0.bn1.weight", "k.layer4.0.bn1.weight", "q.bn1.running_mean",
                               "k.bn1.running_var", "queue"};
        size_t counts[] = {128, 128, 16, 16, 320};
        for (int i = 0; i < 5; i++)
            if (memcmp(weights(a, names[i], counts[i]), weights(b, names[i], counts[i]), counts[i] * 4))
                FAIL("%s: %s differs", more[k], names[i]);
        hpt_session_destroy(a);
        hpt_session_destroy(b);
        hpt_dataset_destroy(ds);
        hpt_context_destroy(ctx);
    }
    correct();
}
TEST_LIMIT(cuda_nonfinite_step_changes_nothing, 300) {
    hpt_context *ctx = cuda_with("comm=self");
    for (int graph = 0; graph < 2; graph++) {
        hpt_session *s = session(ctx, graph ? "steps=20" : "steps=20 cuda_graph=0", toy_set(ctx, "", 30, 18, 3));
        steps(s, 5);
        float *q = weights(s, "q.layer3.0.conv2.weight", W3), *k = weights(s, "k.layer3.0.conv2.weight", W3),
            *r = weights(s, "q.bn1.running_mean", 16), *queue = weights(s, "queue", 320);
        float *bad = calloc(8 * 3 * 16 * 16, 4);
        hpt_step_info info = {.struct_size = sizeof info};
        bad[7] = NAN;
        FAILS(HPT_ERR_NUMERIC, "the loss is not finite", hpt_session_step_images(s, bad, bad, &info));
        CHECK(!memcmp(q, weights(s, "q.layer3.0.conv2.weight", W3), W3 * 4) &&
              !memcmp(k, weights(s, "k.layer3.0.conv2.weight", W3), W3 * 4) &&
              !memcmp(r, weights(s, "q.bn1.running_mean", 16), 64) && !memcmp(queue, weights(s, "queue", 320),
              320 * 4));
        steps(s, 3);            /* and the run goes on */
        hpt_session_destroy(s);
    }
    correct();
}
TEST_LIMIT(cuda_features_refresh_and_probe, 300) {
    hpt_context *ctx = cuda_with("comm=self"), *slow = context("reference", 1);
    hpt_config *c =
        config("arch=resnet10 width=16 stem=small image_size=16 batch_size=10 bn_group=0 precision=fp32 seed=3");
    hpt_model *m, *r;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_create(slow, c, &r));
    OK(hpt_model_refresh_bn(m, toy_set(ctx, "", 30, 18, 3), c, NULL));
    OK(hpt_model_refresh_bn(r, toy_set(slow, "", 30, 18, 3), c, NULL));
    float a[16], b[16], *fa = malloc(27 * 128 * 4), *fb = malloc(27 * 128 * 4);
    OK(hpt_model_get_tensor(m, "bn1.running_mean", a, 16));
    OK(hpt_model_get_tensor(r, "bn1.running_mean", b, 16));
    for (int i = 0; i < 16; i++) CHECK(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(b[i])));
    OK(hpt_model_features(m, toy_set(ctx, "", 27, 18, 3), c, fa, 27 * 128));
    OK(hpt_model_features(r, toy_set(slow, "", 27, 18, 3), c, fb, 27 * 128));
    for (int i = 0; i < 27 * 128; i++)
        if (!(fabsf(fa[i] - fb[i]) <= 1e-4f * (1 + fabsf(fb[i]))))
            FAIL("feature %d: %g, reference %g", i, fa[i], fb[i]);
    hpt_config *p =
        config("image_size=16 probe_steps=60 probe_eval_every=20 probe_batch=16 batch_size=16 precision=fp32 seed=1 "
               "overlap=allow");
    hpt_result *ra, *rb;
    double va, vb;
    OK(hpt_model_linear(m, toy_set(ctx, "", 60, 18, 3), toy_set(ctx, "", 30, 18, 3), NULL, p, &ra));
    OK(hpt_model_linear(r, toy_set(slow, "", 60, 18, 3), toy_set(slow, "", 30, 18, 3), NULL, p, &rb));
    OK(hpt_result_number(ra, "val_top1", &va));
    OK(hpt_result_number(rb, "val_top1", &vb));
    CHECK(fabs(va - vb) <= 4);
    correct();
}
TEST_LIMIT(cuda_activations_neighbours_and_finetuning, 300) {
    hpt_context *ctx[2] = {cuda_with("comm=self"), context("reference", 1)};
    float *map[2], *head[2];
    double knn[2], tuned[2];
    for (int k = 0; k < 2; k++) {
        hpt_config *c =
            config("arch=resnet10 width=16 stem=small image_size=16 batch_size=10 precision=fp32 eval_crop=full seed=3 "
                   "overlap=allow knn_k=5 ft_batch=8 ft_micro=4 ft_lr=0.01 ft_length=3 ft_eval_every=3");
        hpt_dataset *train = toy_set(ctx[k], "", 24, 16, 3), *val = toy_set(ctx[k], "", 12, 16, 3);
        hpt_model *m;
        hpt_result *r;
        OK(hpt_model_create(ctx[k], c, &m));
        map[k] = malloc(12 * 32 * 64 * 4);
        head[k] = malloc(3 * 128 * 4);
        OK(hpt_model_activations(m, val, c, "layer2.0.conv1", map[k], 12 * 32 * 64));
        OK(hpt_model_knn(m, train, val, c, &r));
        OK(hpt_result_number(r, "knn_score", &knn[k]));
        OK(hpt_model_finetune(m, train, val, NULL, c, NULL, &r));       /* two parts an update */
        OK(hpt_result_array(r, "head_weight", head[k], 3 * 128, NULL));
        OK(hpt_result_number(r, "val_score", &tuned[k]));
    }
    for (int i = 0; i < 12 * 32 * 64; i++)
        if (!(fabsf(map[0][i] - map[1][i]) <= 1e-4f * (1 + fabsf(map[1][i]))))
            FAIL("value %d: %g, reference %g", i, map[0][i], map[1][i]);
    CHECK(knn[0] == knn[1] && fabs(tuned[0] - tuned[1]) < 9);
    for (int i = 0; i < 3 * 128; i++)
        if (!(fabsf(head[0][i] - head[1][i]) <= 2e-3f)) FAIL("head %d: %g, reference %g", i, head[0][i], head[1][i]);
    correct();
}
/* an engine that the heuristics praise but that does not run is passed over */
TEST(cuda_plans_that_fail_are_passed_over) {
    hpt_context *ctx = cuda_with("comm=self");
    hpt_fake_fail("cudnnBackendExecute", 0, 3000);
    hpt_session *s = session(ctx, "steps=4 precision=fp32 conv_algo=auto", toy_set(ctx, "", 30, 18, 3));
    steps(s, 2);
    correct();
}
TEST_LIMIT(cuda_plans_are_cached, 120) {
    char dir[200], more[300];
    snprintf(dir, sizeof dir, "%s", temp_dir());
    snprintf(more, sizeof more, "plan_cache=%s", dir);
    long timed[3];
    for (int k = 0; k < 3; k++) {
        if (k == 2) {           /* a damaged cache is timed anew, not trusted */
            char cmd[400];
            snprintf(cmd, sizeof cmd, "for f in %s/*.plan; do head -c 700 $f > $f.x; mv $f.x $f; done", dir);
            CHECK(!system(cmd));
        }
        hpt_context *ctx = cuda_with(more);
        long before = hpt_fake_calls("cudaEventElapsedTime");
        hpt_session_destroy(session(ctx, "steps=4", NULL));
        timed[k] = hpt_fake_calls("cudaEventElapsedTime") - before;
        hpt_context_destroy(ctx);
    }
    CHECK(timed[0] > 0 && timed[1] == 0 && timed[2] == timed[0]);
    hpt_context *plain = cuda_with("comm=self");       /* without a folder: each is tried once, not timed */
    long before = hpt_fake_calls("cudaEventElapsedTime");
    hpt_session_destroy(session(plain, "steps=4", NULL));
    long tried = hpt_fake_calls("cudaEventElapsedTime") - before;
    CHECK(tried > 0 && tried < timed[0] / 2);
    correct();
}

/* ---- what a machine may lack ---- */

static void unavailable(const char *word) {
    hpt_config *c = config("backend=cuda");
    hpt_context *ctx;
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    FAILS(HPT_ERR_UNAVAILABLE, word, hpt_context_create(c, &ctx));
    hpt_config_destroy(c);
    hpt_fake_reset();
}
TEST(cuda_missing_parts_are_named) {
    hpt_fake_device(0, 9, 0, 0);
    unavailable("no GPU");
    hpt_fake_device(1, 7, 5, 0);
    unavailable("compute capability 7.5");
    hpt_fake_versions(12080, 0, 0);
    unavailable("driver is for CUDA 12.8");
    hpt_fake_versions(0, 80905, 0);
    unavailable("cuDNN 8");
    hpt_fake_fail("cudaDriverGetVersion", 0, cudaErrorInsufficientDriver);
    unavailable("no driver");
    hpt_config *c = config("backend=cuda device=3");
    hpt_context *ctx;
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    FAILS(HPT_ERR_UNAVAILABLE, "no GPU 3", hpt_context_create(c, &ctx));
    set(c, "device=0 comm=nccl comm_id=12");
    FAILS(HPT_ERR_OPTION, "comm_id", hpt_context_create(c, &ctx));
    hpt_fake_versions(0, 0, 12345);
    FAILS(HPT_ERR_UNAVAILABLE, "NCCL 1.23", hpt_context_create(c, &ctx));
    set(c, "comm=mpi");
    FAILS(HPT_ERR_OPTION, "comm=nccl", hpt_context_create(c, &ctx));
    CHECK(hpt_fake_live() == 0);
    /* auto goes on with the CPU */
    hpt_fake_device(0, 9, 0, 0);
    set(c, "comm=self backend=auto");
    OK(hpt_context_create(c, &ctx));
    char text[300];
    OK(hpt_context_describe(ctx, text, sizeof text, NULL));
    CHECK(!strstr(text, "cuda"));
    hpt_context_destroy(ctx);
}
TEST_LIMIT(cuda_too_little_memory_says_how_much, 120) {
    hpt_fake_device(1, 9, 0, 43 << 20);
    hpt_context *ctx = cuda_with("comm=self");
    hpt_session *s;
    char text[200];
    CHECK(make_session(ctx, "steps=4 batch_size=128 bn_group=0 cuda_graph=0", NULL, &s) == HPT_ERR_MEMORY);
    snprintf(text, sizeof text, "%s", hpt_last_error());
    if (!strstr(text, "MiB") || !strstr(text, "free")) FAIL("%s", text);
    s = session(ctx, "steps=4", toy_set(ctx, "", 30, 18, 3));       /* a smaller one fits */
    steps(s, 2);
    correct();
}

/* ---- every call fails once: a status, no crash, nothing left, and the context goes on or says that it is lost ---- */

static hpt_status whole_run(hpt_dataset **ds, hpt_context **ctx, int graph, const char *cache) {
    hpt_session *s = NULL;
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_config *c = config("backend=cuda");
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    OK(hpt_config_set(c, "plan_cache", cache));
    hpt_status st = hpt_context_create(c, ctx);
    hpt_config_destroy(c);
    if (st) return st;
    *ds = toy_set(*ctx, "", 30, 18, 3);
    st = make_session(*ctx, graph ? "steps=8 image_size=8 batch_size=4 bn_group=2 moco_k=8"
                      : "steps=8 cuda_graph=0 image_size=8 batch_size=4 bn_group=2 moco_k=8", *ds, &s);
    for (int i = 0; i < (graph ? 4 : 2) && !st; i++) st = hpt_session_step(s, &info);
    float x[16];
    if (!st) st = hpt_session_get_tensor(s, "q.bn1.weight", x, 16);
    if (!st) st = hpt_session_sync(s);
    hpt_session_destroy(s);
    return st;
}
TEST_LIMIT(cuda_every_call_may_fail, 600) {
    static const struct { const char *name; int code, most; } calls[] = {
        {"cudaMalloc", cudaErrorMemoryAllocation, 24}, {"cudaHostAlloc", cudaErrorMemoryAllocation, 8},
            {"cudaMemcpyAsync", cudaErrorInvalidValue, 12}, {"cudaMemsetAsync", cudaErrorInvalidValue, 8},
        {"cudaStreamSynchronize", cudaErrorUnknown, 6}, {"cudaStreamCreateWithFlags", cudaErrorMemoryAllocation, 4},
        {"cudaEventCreateWithFlags", cudaErrorUnknown, 5}, {"cudaEventRecord", cudaErrorUnknown, 6},
        {"cudaEventQuery", cudaErrorUnknown, 4}, {"cudaStreamWaitEvent", cudaErrorUnknown, 3},
        {"cudaEventSynchronize", cudaErrorUnknown, 4}, {"cudaStreamBeginCapture", cudaErrorUnknown, 2},
        {"cudaStreamEndCapture", cudaErrorUnknown, 2}, {"cudaGraphInstantiate", cudaErrorUnknown, 2},
        {"cudaGraphLaunch", cudaErrorUnknown, 3}, {"cudnnCreate", 2000, 1},
        {"cudnnSetStream", 2000, 1}, {"cudnnBackendCreateDescriptor", 2000, 12}, {"cudnnBackendSetAttribute", 2000, 16},
        {"cudnnBackendFinalize", 2000, 12}, {"cudnnBackendGetAttribute", 2000, 8}, {"cudnnBackendExecute", 2000, 8},
        {"cublasLtCreate", 14, 1},
        {"cublasLtMatmulDescCreate", 14, 2}, {"cublasLtMatmulDescSetAttribute", 14, 4},
        {"cublasLtMatrixLayoutCreate", 14, 3}, {"cublasLtMatmulPreferenceCreate", 14, 1},
        {"cublasLtMatmulPreferenceSetAttribute", 14, 2}, {"cublasLtMatmulAlgoGetHeuristic", 15, 2},
        {"cublasLtMatmul", 14, 3}, {"cudaGetDeviceProperties", cudaErrorUnknown, 1},
        {"cudaSetDevice", cudaErrorUnknown, 3},
        {"k_update<HPT__SGD>", cudaErrorLaunchFailure, 2}, {"k_gather<4>", cudaErrorInvalidConfiguration, 2},
        {"k_total", cudaErrorInvalidConfiguration, 2}, {"(k_sums<T, V>)", cudaErrorInvalidConfiguration, 2}};
    long runs = 0, failures = 0;
    const char *cache = temp_dir();
    int stride = getenv("HPT_TEST_SLOW") ? 3 : 1;           /* sanitizers: a third of them */
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++)
        for (int at = 0; at < calls[k].most; at += stride) {
            hpt_dataset *ds = NULL;
            hpt_context *ctx = NULL;
            hpt_fake_reset();
            hpt_fake_fail(calls[k].name, at * at / 2, calls[k].code);
            /* mostly with timed plans at hand: faster */
            hpt_status st = whole_run(&ds, &ctx, at % 2, at % 4 ? cache : "");
            runs++;
            if (st) {
                failures++;
                if (st != HPT_ERR_DEVICE && st != HPT_ERR_MEMORY && st != HPT_ERR_UNAVAILABLE &&
                    st != HPT_ERR_UNSUPPORTED) FAIL("%s #%d: %s: %s", calls[k].name, at, hpt_status_name(st),
                                                    hpt_last_error());
                if (strlen(hpt_last_error()) < 15) FAIL("%s #%d: text '%s'", calls[k].name, at, hpt_last_error());
            }
            hpt_fake_reset();
            hpt_dataset_destroy(ds);
            hpt_context_destroy(ctx);
            if (hpt_fake_live() != 0) FAIL("%s #%d: %ld objects left", calls[k].name, at, hpt_fake_live());
        }
    printf("  %ld runs, %ld failed as asked\n", runs, failures);
    CHECK(failures > runs / 3);
}
TEST_LIMIT(cuda_lost_device_is_said, 120) {
    hpt_context *ctx = cuda_with("comm=self"), *again;
    hpt_session *s = session(ctx, "steps=20", toy_set(ctx, "", 30, 18, 3));
    hpt_step_info info = {.struct_size = sizeof info};
    steps(s, 3);
    hpt_fake_lose(cudaErrorIllegalAddress);
    FAILS(HPT_ERR_DEVICE, "lost", hpt_session_step(s, &info));
    FAILS(HPT_ERR_STATE, "an earlier step failed", hpt_session_step(s, &info));
    hpt_session *other;
    CHECK(make_session(ctx, "steps=4", NULL, &other) == HPT_ERR_MEMORY || strstr(hpt_last_error(), "lost"));
    hpt_session_destroy(s);
    hpt_context_destroy(ctx);
    hpt_fake_lose(0);
    hpt_fake_reset();                           /* a new process */
    again = cuda_with("comm=self");
    s = session(again, "steps=20", toy_set(again, "", 30, 18, 3));
    steps(s, 2);
}

/* ---- several ranks over NCCL: threads meet in the stand-in ---- */

typedef struct rank_run { int rank, ranks, graph; char id[300], more[200]; float *q, *queue, loss[6];
                          hpt_status status; char text[300]; int stop_at, impatient; } rank_run;
static void *run_rank(void *arg) {
    rank_run *r = arg;
    char text[700];
    if (r->ranks > 1)
        snprintf(text, sizeof text, "comm=nccl rank=%d ranks=%d comm_id=%s comm_timeout=%d", r->rank, r->ranks, r->id,
                 r->impatient ? 3 : 300);
    else snprintf(text, sizeof text, "comm=self");
    hpt_config *c = config(text);
    hpt_context *ctx = NULL;
    hpt_session *s = NULL;
    hpt_step_info info = {.struct_size = sizeof info};
    OK(hpt_config_set(c, "backend", "cuda"));
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    r->status = hpt_context_create(c, &ctx);
    hpt_dataset *ds = r->status ? NULL : toy_set(ctx, "", 30, 18, 3);
    if (!r->status) r->status = make_session(ctx, r->more, ds, &s);
    for (int i = 0; i < 6 && i < r->stop_at && !r->status; i++) {
        r->status = hpt_session_step(s, &info);
        r->loss[i] = (float)info.loss;
    }
    snprintf(r->text, sizeof r->text, "%s", hpt_last_error());
    if (!r->status && r->stop_at >= 6) {
        r->q = weights(s, "q.layer3.0.conv2.weight", W3);
        r->queue = weights(s, "queue", 320);
    }
    if (r->stop_at < 6) usleep(6000000);        /* a rank that hangs, and is then gone */
    hpt_session_destroy(s);
    hpt_dataset_destroy(ds);
    hpt_context_destroy(ctx);
    hpt_config_destroy(c);
    return NULL;
}
static void run_ranks(rank_run *r, int n, const char *more) {
    pthread_t t[4];
    char id[300];
    hpt_config *c = config("comm=nccl");
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    OK(hpt_comm_id(c, id, sizeof id, NULL));
    hpt_config_destroy(c);
    for (int i = 0; i < n; i++) {
        r[i].rank = i;
        r[i].ranks = n;
        snprintf(r[i].id, sizeof r[i].id, "%s", id);
        snprintf(r[i].more, sizeof r[i].more, "%s", more);
        if (!r[i].stop_at) r[i].stop_at = 6;
        CHECK(!pthread_create(&t[i], NULL, run_rank, &r[i]));
    }
    for (int i = 0; i < n; i++) pthread_join(t[i], NULL);
}
static void two_ranks_equal_one(const char *more) {
    rank_run one = {.ranks = 1, .stop_at = 6}, two[2] = {{0}};
    snprintf(one.more, sizeof one.more, "%s", more);
    run_rank(&one);
    run_ranks(two, 2, more);
    for (int i = 0; i < 2; i++) {
        if (two[i].status || one.status) FAIL("rank %d: %s; alone: %s", i, two[i].text, one.text);
        for (int j = 0; j < 6; j++)
            if (!(fabsf(two[i].loss[j] - one.loss[j]) <= 2e-5f * one.loss[j]))
                FAIL("rank %d step %d: loss %.7f, alone %.7f", i, j + 1, two[i].loss[j], one.loss[j]);
        double far = 0;
        for (int j = 0; j < W3; j++) if (fabs(two[i].q[j] - one.q[j]) > far) far = fabs(two[i].q[j] - one.q[j]);
        for (int j = 0; j < 320; j++) CHECK(fabsf(two[i].queue[j] - one.queue[j]) <= 1e-3f);
        if (!(far <= 1e-5)) FAIL("rank %d: weights differ by %g", i, far);
    }
    CHECK(!memcmp(two[0].q, two[1].q, W3 * 4) && !memcmp(two[0].queue, two[1].queue, 320 * 4));
    correct();
}
TEST_LIMIT(cuda_nccl_two_ranks_equal_one, 300) { two_ranks_equal_one("steps=20 precision=fp32 lr=0.001"); }
/* groups of images that lie on both ranks, with the step recorded and not */
TEST_LIMIT(cuda_nccl_batch_norm_over_ranks, 300) {
    two_ranks_equal_one("steps=20 precision=fp32 lr=0.001 bn_group=8");
    two_ranks_equal_one("steps=20 precision=fp32 lr=0.001 bn_group=0 cuda_graph=0");
}
static void a_rank_stops(const char *more) {
    rank_run two[2] = {{.impatient = 1}, {.stop_at = 3, .impatient = 1}};
    run_ranks(two, 2, more);
    if (two[0].status != HPT_ERR_PEER) FAIL("%s: %s", hpt_status_name(two[0].status), two[0].text);
    CHECK(strstr(two[0].text, "rank"));
}
TEST_LIMIT(cuda_nccl_a_rank_that_stops_is_given_up, 120) { a_rank_stops("steps=20 precision=fp32"); }
TEST_LIMIT(cuda_nccl_batch_norm_waits_for_nobody_for_ever, 120) { a_rank_stops("steps=20 precision=fp32 bn_group=0"); }
TEST_LIMIT(cuda_nccl_ranks_must_agree, 120) {
    rank_run two[2] = {{0}};
    pthread_t t[2];
    char id[300];
    hpt_config *c = config("comm=nccl");
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    OK(hpt_comm_id(c, id, sizeof id, NULL));
    for (int i = 0; i < 2; i++) {
        two[i] = (rank_run){.rank = i, .ranks = 2, .stop_at = 6};
        snprintf(two[i].id, sizeof two[i].id, "%s", id);
        snprintf(two[i].more, sizeof two[i].more, "steps=20 moco_t=%s", i ? "0.1" : "0.2");
        CHECK(!pthread_create(&t[i], NULL, run_rank, &two[i]));
    }
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 2; i++)
        CHECK(two[i].status == HPT_ERR_MISMATCH && strstr(two[i].text, "rank 1 has other options"));
}

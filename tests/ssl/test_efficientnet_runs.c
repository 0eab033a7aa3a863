/* SPDX-License-Identifier: MIT
 * Every stage with an EfficientNet, with drop path where something trains: runs of every method go on to the bit, on
 * two ranks as on one and on a device that replays its steps; then the evaluations of what they made. */
#include "nn/model.h"
#include "shell.h"
#include <unistd.h>

enum { N = 8, SIZE = 32, PIXELS = N * 3 * SIZE * SIZE };
#define SMALL "arch=efficientnet_b0 image_size=32 batch_size=8 precision=fp32 steps=6 lr=0.0001 drop_path=0.6 "
static const char *const methods[] = {SMALL "moco_dim=16 moco_k=16 ",
    SMALL "method=byol head=byol moco_dim=16 head_hidden=16 byol_hidden=16 ",
    SMALL "method=supervised classes=3 ", SMALL "moco_dim=16 moco_k=16 train=bn ",
    SMALL "method=supervised classes=3 train=bn "};
enum { METHODS = sizeof methods / sizeof *methods };

static hpt_session *open_session(hpt_context *ctx, const char *options, hpt_model **m) {
    hpt_config *c = config(options);
    hpt_session *s;
    OK(hpt_model_create(ctx, c, m));
    OK(hpt_session_create(ctx, c, *m, NULL, &s));
    hpt_config_destroy(c);
    return s;
}
static double step(hpt_session *s, int labels, int at) {
    static float x[2][PIXELS];
    static const int32_t label[N] = {0, 1, 2, 2, 1, 0, 1, 2};
    const float *view[2] = {x[0], x[1]};
    hpt_step_info info = {.struct_size = sizeof info};
    hpt_batch b = {.struct_size = sizeof b, .images = N, .views = labels ? 1 : 2, .height = SIZE, .width = SIZE,
                   .view = view, .label = labels ? label : NULL};
    for (int v = 0; v < 2; v++) fill_f32(x[v], PIXELS, 50 + (uint64_t)(2 * at + v), 2, 0);
    OK(hpt_session_step_batch(s, &b, &info));
    return info.loss;
}

/* Draws depend on the step: what was saved after two goes on as if nothing had happened. */
static void goes_on(hpt_context *ctx, int first, int last, int steps) {
    char *dir = temp_dir(), path[300];
    if (!ctx) SKIP("this backend is not here: %s", hpt_last_error());
    for (int k = first; k < last; k++) {
        const int labels = strstr(methods[k], "supervised") != NULL;
        hpt_model *m[2];
        hpt_session *s = open_session(ctx, methods[k], &m[0]), *t = open_session(ctx, methods[k], &m[1]);
        snprintf(path, sizeof path, "%s/%d", dir, k);
        for (int i = 0; i < 2; i++) step(s, labels, i);
        OK(hpt_session_save(s, path));
        OK(hpt_session_resume(t, path));
        for (int i = 2; i < steps; i++) {
            double loss = step(s, labels, i), again = step(t, labels, i);
            if (again != loss) FAIL("%s: loss %.9g, resumed %.9g", methods[k], loss, again);
        }
        OK(hpt_session_sync(s));
        OK(hpt_session_sync(t));
        CHECK(!memcmp(m[0]->params, m[1]->params, m[0]->net.n_params * 4));
        CHECK(!memcmp(m[0]->stats, m[1]->stats, m[0]->net.n_stats * 4));
        hpt_session_destroy(s);
        hpt_session_destroy(t);
        unlink(path);
    }
}
TEST(efficientnet_runs_go_on) { goes_on(context("onednn", 1), 0, METHODS, 4); }
#ifdef HPT_TEST_EMU
TEST_LIMIT(efficientnet_runs_go_on_cuda, 120) {         /* its steps are replayed */
    if (getenv("HPT_TEST_SLOW")) SKIP("too slow under a sanitizer");
    goes_on(context("cuda", 1), METHODS - 1, METHODS, 5);
}
#endif

/* Losses with other draws, without draws, and where nothing can be dropped. */
TEST(drop_path_is_drawn_by_seed_and_step) {
    hpt_context *ctx = fast_context();
    static const char *const other[] = {"drop_path=0.6 ", "drop_path=0 ", "drop_path=0.3 "};
    double loss[3][2];
    for (int k = 0; k < 3; k++) {
        hpt_model *m;
        char options[400];
        snprintf(options, sizeof options, "%s lr=0 %s", methods[2], other[k]);
        hpt_session *s = open_session(ctx, options, &m);
        for (int i = 0; i < 2; i++) loss[k][i] = step(s, 1, 0);
        hpt_session_destroy(s);
    }
    CHECK(loss[1][0] == loss[1][1]);            /* nothing is drawn, nothing learnt */
    CHECK(loss[0][0] != loss[0][1] && loss[0][0] != loss[1][0] && loss[2][0] != loss[0][0]);
    hpt_config *c = config("arch=resnet10 width=16 stem=small image_size=16 batch_size=4 moco_k=16 drop_path=0.1");
    hpt_model *m;
    hpt_session *s;
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_OPTION, "no layer of resnet10 drops", hpt_session_create(ctx, c, m, NULL, &s));
    set(c, "arch=efficientnet_b0");
    FAILS(HPT_ERR_OPTION, "are of ResNets", hpt_model_create(ctx, c, &m));
}

/* ---- by the command line ---- */

#define AS " --image_size 32 --precision fp32 --threads 1 --workers 1 --backend cpu "
#define RUN_OF " --arch efficientnet_b0 --conv_algo direct --batch_size 8 --bn_group 4 --drop_path 0.5 --steps 1 " \
               "--lr 0.001" AS
TEST_LIMIT(efficientnet_two_ranks_equal_one, 120) {
    if (system("command -v mpirun >/dev/null 2>&1")) SKIP("mpirun is not here");
    if (access(HPT_TEST_MODULES "/libhpt-mpi.so", R_OK)) SKIP("the mpi module was not built");
    static const char *const runs[] = {"pretrain --moco_dim 16 --moco_k 32" RUN_OF,
                                       "pretrain --preset byol --moco_dim 16 --head_hidden 16 --byol_hidden 16" RUN_OF};
    char *dir = temp_dir(), *set_ = stripes(dir, 12), path[300];
    hpt_context *ctx = context("reference", 1);
    for (int k = 0; k < 2; k++) {
        hpt_model *m[2];
        RUN(HPT_TEST_BIN "/hpt %s --data %s --out %s/one%d", runs[k], set_, dir, k);
        RUN("mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 " HPT_TEST_BIN "/hpt %s --data %s "
            "--comm mpi --out %s/two%d", runs[k], set_, dir, k);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s%d/exported/model.safetensors", dir, i ? "two" : "one", k);
            OK(hpt_model_load(ctx, config("carry_head=1"), path, &m[i], NULL));
        }
        double worst = 0;
        for (size_t i = 0; i < m[0]->net.n_params; i++) worst = fmax(worst, fabs(m[0]->params[i] - m[1]->params[i]));
        printf("  %.30s: weights differ by %.2g\n", runs[k], worst);
        CHECK(worst <= 1e-3);        /* other draws differ by 0.1 */
    }
    RUN("rm -r %s", dir);
}

/* What was made goes through every evaluation, and on into another stage. */
TEST_LIMIT(efficientnet_through_every_stage, 120) {
    char *dir = temp_dir(), *set_ = stripes(dir, 12);
    static const char *const stages[] = {
        "pretrain --train bn" RUN_OF "--moco_dim 16 --moco_k 32 --init $D/a/exported/model.safetensors --data $S --out "
        "$D/b",
        "refresh-bn" AS "--batch_size 8 --init $D/b/exported/model.safetensors --data $S --out $D/r.safetensors",
        "embed" AS "--batch_size 8 --init $D/r.safetensors --data $S --out $D/e.npy",
        "knn" AS "--batch_size 8 --train $S --test $V --init $D/r.safetensors",
        "linear" AS "--batch_size 8 --probe_steps 20 --train $S --test $V --init $D/r.safetensors",
        "finetune" AS "--ft_lr 0.01 --ft_length 2 --ft_batch 8 --ft_micro 4 --drop_path 0.3 --train $S --val $V --test "
        "$W --out $D/f.safetensors --init $D/r.safetensors",
        "predict" AS "--batch_size 8 --data $S --init $D/f.safetensors --out $D/p.csv",
        "search" AS "--batch_size 8 --lr 0.0001 --moco_dim 16 --moco_k 32 --steps 2 --probe_steps 10 --sources $S,$S "
        "--train $S --val $V --init $D/r.safetensors",
        "similarity" AS "--batch_size 8 --layer blocks.3 --data $S $D/r.safetensors $D/a/exported/model.safetensors",
        "export $D/r.safetensors $D/t.pth --format timm", "info $D/t.pth"};
    RUN(HPT_TEST_BIN "/hpt pretrain --moco_dim 16 --moco_k 32" RUN_OF "--data %s --out %s/a", set_, dir);
    RUN("cd %s; for s in v w; do for c in columns rows; do "
        "mkdir -p $s/$c; mv $(ls set/$c/*.ppm | tail -3) $s/$c; done; done", dir);
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        RUN("S=%s D=%s; V=$D/v W=$D/w; " HPT_TEST_BIN "/hpt %s", set_, dir, stages[i]);
    RUN("rm -r %s", dir);
}

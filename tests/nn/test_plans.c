/* SPDX-License-Identifier: MIT
 * What networks compile to, held as text: operations, shapes, places of all arrays. tests/golden/plans has some plans
 * in full and the digest of every case (oneDNN's float plans are the reference's). Implementations, which depend on the
 * processor, are left out: a backend's sizes of maps are its own here, its operations are not made. `make record-plans`
 * writes the record anew, which only a change that means to change plans may do. */
#define _GNU_SOURCE
#include "api/api.h"
#undef CHECK
#include "backend/backend.h"
#include "core/context.h"
#include "nn/model.h"
#include "support.h"
#include <xxhash.h>

enum { TEXT = 1 << 20 };
typedef struct plan_case {
    const char *name, *arch;        /* arch: options of the network */
    hpt__plan_spec spec;
    int trains;                     /* 0 all, 1 batch norms and head, 2 head, 3 all but the first stage */
    int full;                       /* the text is held too */
} plan_case;
#define RN(x, more) "arch=resnet" #x " width=64 stem=imagenet moco_dim=128 mlp=1 " more
#define THIN(x, more) "arch=resnet" #x " width=16 stem=small moco_dim=16 mlp=1 " more
#define SPEC(m, n, px, g, ...) {.mode = HPT__##m, .batch = n, .size = px, .groups = g, __VA_ARGS__}
static const plan_case cases[] = {
    {"rn18-train", RN(18, ""), SPEC(TRAIN, 4, 64, 2, .head = 1, .deterministic = 1), 0, 1},
    {"rn18-train-direct", RN(18, ""), SPEC(TRAIN, 4, 64, 2, .head = 1, .direct = 1), 0, 0},
    {"rn18-forward", RN(18, ""), SPEC(FORWARD, 4, 64, 2, .head = 1, .deterministic = 1), 0, 1},
    {"rn18-eval", RN(18, ""), SPEC(EVAL, 4, 64, 1, .deterministic = 1), 0, 1},
    {"rn18-eval-head-odd", RN(18, "mlp=0"), SPEC(EVAL, 3, 75, 1, .head = 1), 0, 0},
    {"rn18-train-features", RN(18, ""), SPEC(TRAIN, 4, 70, 1, .deterministic = 1), 0, 0},
    {"rn18-train-norms", RN(18, ""), SPEC(TRAIN, 4, 64, 1, .head = 1), 1, 0},
    {"rn18-train-head", RN(18, ""), SPEC(TRAIN, 4, 64, 1, .head = 1), 2, 0},
    {"rn18-train-upper", RN(18, ""), SPEC(TRAIN, 4, 64, 4, .head = 1), 3, 0},
    {"rn34-train", RN(34, ""), SPEC(TRAIN, 2, 64, 1, .head = 1, .deterministic = 1), 0, 0},
    {"rn50-train", RN(50, ""), SPEC(TRAIN, 4, 64, 2, .head = 1, .deterministic = 1), 0, 1},
    {"rn50-train-linear", RN(50, "mlp=0"), SPEC(TRAIN, 2, 64, 1, .head = 1, .direct = 1), 0, 0},
    {"rn50-forward", RN(50, ""), SPEC(FORWARD, 4, 64, 2, .head = 1, .deterministic = 1), 0, 0},
    {"rn50-forward-features", RN(50, ""), SPEC(FORWARD, 4, 64, 1, .direct = 1), 0, 0},
    {"rn50-eval", RN(50, ""), SPEC(EVAL, 2, 96, 1, .deterministic = 1), 0, 0},
    {"rn50-eval-layer", RN(50, ""), SPEC(EVAL, 2, 64, 1, .layer = "layer3.1.bn2"), 0, 0},
    {"rn50-eval-layer4-pooled", RN(50, ""), SPEC(EVAL, 2, 64, 1, .layer = "layer4", .pool = 1), 0, 0},
    {"rn50-eval-stem", RN(50, ""), SPEC(EVAL, 2, 64, 1, .layer = "conv1"), 0, 0},
    {"rn50-wide-train", RN(50, "width=128"), SPEC(TRAIN, 2, 32, 1, .head = 1), 0, 0},
    {"rn101-eval", RN(101, ""), SPEC(EVAL, 1, 64, 1, .deterministic = 1), 0, 0},
    {"rn10-thin-train", THIN(10, ""), SPEC(TRAIN, 8, 16, 2, .head = 1, .deterministic = 1), 0, 1},
    {"rn10-thin-train-odd", THIN(10, "mlp=0"), SPEC(TRAIN, 6, 19, 3, .head = 1), 0, 0},
    {"rn10-thin-forward", THIN(10, ""), SPEC(FORWARD, 8, 16, 1, .head = 1), 0, 0},
    {"rn50-thin-train", THIN(50, "width=32"), SPEC(TRAIN, 4, 16, 1, .head = 1, .direct = 1), 0, 0},
    {"rn18-48-train", THIN(18, "width=48"), SPEC(TRAIN, 4, 32, 1, .head = 1), 0, 0},
    {"en-b0-train", "arch=efficientnet_b0 moco_dim=128", SPEC(TRAIN, 4, 64, 2, .head = 1, .drop_path = 0.2), 0, 1},
    {"en-b0-forward", "arch=efficientnet_b0 moco_dim=128", SPEC(FORWARD, 4, 64, 1, .head = 1), 0, 0},
    {"en-b2-train", "arch=efficientnet_b2 moco_dim=128", SPEC(TRAIN, 4, 64, 1, .head = 1, .deterministic = 1), 0, 0},
    {"en-b2-eval-tf", "arch=tf_efficientnet_b2", SPEC(EVAL, 2, 75, 1, .deterministic = 1), 0, 0},
    {"en-b2-eval-layer", "arch=efficientnet_b2", SPEC(EVAL, 2, 64, 1, .layer = "blocks.3", .pool = 1), 0, 0}};
enum { CASES = sizeof cases / sizeof *cases };

/* operations that are described and never run */
struct hpt__op { int unused; };
static hpt__op nothing;
static hpt_status op_create(hpt__device *dev, const hpt__op_desc *d, hpt__op **out) {
    (void)dev; (void)d;
    *out = &nothing;
    return HPT_OK;
}
static size_t op_scratch(const hpt__op *op) { (void)op; return 0; }
static void op_destroy(hpt__op *op) { (void)op; }
static const char *op_name(const hpt__op *op) { (void)op; return "any"; }

static char *plan_text(hpt_context *ctx, const plan_case *p, hpt__dtype t) {
    hpt_config *c = config(p->arch);
    hpt__plan *plan;
    hpt__arch a;
    hpt__net n, *net = &n;
    hpt__backend be = *ctx->be;
    char *text = malloc(TEXT), arch[32];
    be.op.create = op_create;
    be.op.scratch = op_scratch;
    be.op.destroy = op_destroy;
    be.op.name = op_name;
    OK(hpt_config_get(c, "arch", arch, sizeof arch, NULL));
    OK(hpt__arch_from_options(&c->o, arch, &a));
    OK(hpt__net_create(&a, net));
    uint8_t *flags = calloc((size_t)net->n_tensors, 1);
    for (int i = 0; i < net->n_tensors; i++) {
        const hpt__tensor *x = &net->tensors[i];
        int norm = x->kind == HPT__NORM_WEIGHT || x->kind == HPT__NORM_BIAS;
        flags[i] = p->trains == 0 || x->head || (p->trains == 1 && norm) ||
                   (p->trains == 3 && strcmp(x->name, "layer2") > 0 && x->name[0] == 'l');
    }
    hpt__plan_spec s = p->spec;
    s.dtype = t;
    s.trainable = flags;
    OK(hpt__plan_create(&be, ctx->dev, net, &s, &plan));
    hpt__plan_describe(plan, text, TEXT);
    CHECK(strlen(text) < TEXT - 1);
    hpt__plan_destroy(plan);
    free(flags);
    hpt__net_fini(net);
    hpt_config_destroy(c);
    return text;
}

static char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, TEXT);
    if (!f) FAIL("%s is not here", path);
    CHECK(fread(text, 1, TEXT - 1, f) < TEXT - 1);
    fclose(f);
    return text;
}
static void same_text(const char *what, const char *is, const char *was) {
    int line = 1;
    for (size_t i = 0; is[i] || was[i]; i++) {
        if (is[i] != was[i]) {
            while (i > 0 && is[i - 1] != '\n') i--;
            FAIL("%s, line %d:\n  is  %.*s\n  was %.*s", what, line, (int)strcspn(is + i, "\n"), is + i,
                 (int)strcspn(was + i, "\n"), was + i);
        }
        line += is[i] == '\n';
    }
}

/* Compares with the record, or writes it into the folder that HPT_RECORD_PLANS names. */
static void hold(hpt_context *ctx, const hpt__dtype *types, int n_types) {
    const char *record = getenv("HPT_RECORD_PLANS"), *be = ctx->be->name;
    const char *dir = record ? record : "tests/golden/plans";
    char path[400], *held, line[200];
    snprintf(path, sizeof path, "%s/%s.digests", dir, be);
    FILE *out = record ? fopen(path, "w") : NULL;
    if (record && !out) FAIL("cannot write %s", path);
    held = record ? NULL : slurp(path);
    for (int t = 0; t < n_types; t++) {
        for (int i = 0; i < CASES; i++) {
            char *text = plan_text(ctx, &cases[i], types[t]);
            const char *type = hpt__dtype_name(types[t]);
            unsigned long long digest = XXH64(text, strlen(text), 0);
            snprintf(line, sizeof line, "%s %s %016llx\n", cases[i].name, type, digest);
            snprintf(path, sizeof path, "%s/%s-%s.%s.txt", dir, cases[i].name, type, be);
            if (record) fputs(line, out);
            if (cases[i].full && t == 0 && strcmp(be, "onednn")) {
                if (record) {
                    FILE *f = fopen(path, "w");
                    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
                } else {
                    char *was = slurp(path);
                    same_text(path, text, was);
                    free(was);
                }
            }
            if (!record && !strstr(held, line)) FAIL("the plan of %s in %s on %s is another", cases[i].name, type, be);
            free(text);
        }
    }
    if (out) CHECK(!fclose(out));
    free(held);
}

TEST(golden_plans_reference) {
    hpt_context *ctx = context("reference", 1);
    hold(ctx, (hpt__dtype[]){HPT__F32, HPT__F64}, 2);
    hpt_context_destroy(ctx);
}
TEST(golden_plans_onednn) {
    hpt_context *ctx = fast_context();
    hold(ctx, (hpt__dtype[]){HPT__F32, HPT__BF16}, 2);
    hpt_context_destroy(ctx);
}
#ifdef HPT_TEST_EMU
TEST(golden_plans_cuda) {
    hpt_config *c = config("");
    hpt_context *ctx;
    OK(hpt_config_set(c, "backend", "cuda"));
    OK(hpt_config_set(c, "module_dir", HPT_TEST_EMU));
    OK(hpt_context_create(c, &ctx));
    hold(ctx, (hpt__dtype[]){HPT__BF16, HPT__F32, HPT__TF32}, 3);
    hpt_context_destroy(ctx);
    hpt_config_destroy(c);
}
#endif

/* The block that docs/architecture.md explains is one of the recorded plan: each of its lines is, with some arrays left
 * out, a line there, in that order. */
TEST(architecture_shows_the_recorded_plan) {
    char *page = slurp("docs/architecture.md"), *plan = slurp("tests/golden/plans/rn10-thin-train-fp32.reference.txt");
    char *lines = NULL, *words = NULL, *from = plan, *next, word[64];
    int found = 0;
    for (char *l = strtok_r(page, "\n", &lines); l; l = strtok_r(NULL, "\n", &lines)) {
        if (strncmp(l, "    ", 4) || !strstr(l, "=arena+")) continue;
        char shown[300], kind[40] = "";
        snprintf(shown, sizeof shown, "%s", l);
        for (; *from; from = next) {                    /* on to the line that it stands for */
            int all = 1;
            char *copy = strdup(shown), *end = strchr(from, '\n');
            next = end + 1;
            *end = 0;
            for (char *w = strtok_r(copy, " ", &words); w; w = strtok_r(NULL, " ", &words)) {
                if (!*kind) snprintf(kind, sizeof kind, "%s ", w);
                if (!strchr(w, '+')) continue;
                snprintf(word, sizeof word, " %s", w);
                char *at = strstr(from, word);
                all &= at && strchr(": ", at[strlen(word)]) != NULL;
            }
            all &= !strncmp(from, kind, strlen(kind));
            free(copy);
            if (all) break;
        }
        if (!*from) FAIL("the recorded plan has no such operation here:\n%s", l);
        from = next;
        found++;
    }
    CHECK(found == 15);
}

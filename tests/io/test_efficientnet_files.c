/* SPDX-License-Identifier: MIT
 * EfficientNets in files of others: the three schemes of names under any prefix, their flavours, what is refused and
 * with which words, and what libhpt writes. Names and shapes are those of the projects themselves
 * (tests/fixtures/make_efficientnet_names.py); weights are made up here. */
#include "io/tensorfile.h"
#include "io/torch_write.h"
#include "nn/model.h"
#include "support.h"
#include <zlib.h>

/* ---- the projects' names ---- */

typedef struct row { char name[100]; int counter, ndim; int64_t shape[4]; } row;
typedef struct section { row *row; int n; } section;

static char *all_names(void) {
    static char text[1 << 20];
    gzFile in = *text ? NULL : gzopen("tests/fixtures/files/efficientnet.names.gz", "rb");
    if (in) {
        int n = gzread(in, text, sizeof text - 1);
        CHECK(n > 1000 && gzclose(in) == Z_OK);
    }
    return text;
}
/* The state dict of a producer's network; ends the test if the fixture has none. */
static section names_of(const char *producer, const char *network) {
    char head[100];
    snprintf(head, sizeof head, "@ %s %s\n", producer, network);
    const char *p = strstr(all_names(), head);
    if (!p) FAIL("no names of %s", head);
    section s = {calloc(2000, sizeof(row)), 0};
    for (p += strlen(head); *p && *p != '@'; p = strchr(p, '\n') + 1) {
        row *r = &s.row[s.n++];
        char type;
        int used;
        CHECK(s.n < 2000 && sscanf(p, "%99s %c%n", r->name, &type, &used) == 2);
        r->counter = type == 'i';
        for (const char *d = p + used; *d == ' '; d += used) {
            long long v;
            CHECK(r->ndim < 4 && sscanf(d, "%lld%n", &v, &used) == 1);
            r->shape[r->ndim++] = v;
        }
    }
    return s;
}

/* ---- files ---- */

/* How a file is made of a section: skip and add change what it has, of a model (NULL: zeros) its weights. */
typedef struct file {
    /* where: dictionaries with '/', then the prefix: "state_dict/module." */
    const char *producer, *network, *where;
    const hpt_model *m;
    const char *skip;                           /* rows whose names hold this are left out */
    const char *add;                            /* one more tensor, of 8 values */
    const char *said;                           /* value of a key "arch" beside the dictionary */
    const char *(*rename)(const char *name, char out[100]);     /* NULL: the row is left out */
    void (*reshape)(const row *r, int64_t shape[4]);
    float *fc;                                  /* of the classifier, not NULL: its values (rows x features, rows) */
} file;
static float zeros[8];

static void put_rows(hpt__torch_out *t, const file *f, const char *prefix) {
    static const int64_t batches = 7, none[4];
    char name[300], other[100];
    section s = names_of(f->producer, f->network), mine = names_of("timm", f->m ? f->network : "efficientnet_b0");
    for (int i = 0; i < s.n; i++) {
        const row *r = &s.row[i];
        const char *local = f->rename ? f->rename(r->name, other) : r->name;
        if (!local || (f->skip && strstr(r->name, f->skip))) continue;
        snprintf(name, sizeof name, "%s%s", prefix, local);
        hpt__tw_str(t, name);
        int at = f->m && !r->counter ? hpt__net_find(&f->m->net, mine.row[i].name) : -1;
        int64_t shape[4];
        memcpy(shape, r->shape, sizeof shape);
        if (f->reshape) f->reshape(r, shape);
        if (r->counter)
            hpt__tw_tensor_i64(t, &batches, 1, 0, (int64_t[]){1});
        else if (at >= 0 && !memcmp(shape, r->shape, sizeof shape))
            hpt__tw_tensor_f32(t, hpt__model_tensor((hpt_model *)(uintptr_t)f->m, at), f->m->net.tensors[at].count,
                               r->ndim, shape, NULL);
        else if (f->fc && (i == s.n - 1 || i == s.n - 2))
            hpt__tw_tensor_f32(t, f->fc + (i == s.n - 1 ? shape[0] * s.row[i - 1].shape[1] : 0),
                               (uint64_t)(r->ndim == 2 ? shape[0] * shape[1] : shape[0]), r->ndim, shape, NULL);
        else
            hpt__tw_tensor_f32(t, zeros, 1, r->ndim, shape, none);      /* one value, seen everywhere */
    }
    free(s.row);
    free(mine.row);
    if (!f->add) return;
    snprintf(name, sizeof name, "%s%s", prefix, f->add);
    hpt__tw_str(t, name);
    hpt__tw_tensor_f32(t, zeros, 8, 1, (int64_t[]){8}, NULL);
}
static void put_at(hpt__torch_out *t, const file *f, const char *where) {
    const char *slash = strchr(where, '/');
    char key[100];
    if (!slash) {
        put_rows(t, f, where);
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)(slash - where), where);
    hpt__tw_str(t, key);
    hpt__tw_dict(t, 1);
    put_at(t, f, slash + 1);
    hpt__tw_end_dict(t);
}
static const char *written(const char *name, file f) {
    static char path[300];
    hpt__torch_out t;
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    hpt__tw_begin(&t);
    hpt__tw_dict(&t, 1);
    if (f.said) hpt__tw_str(&t, "arch"), hpt__tw_str(&t, f.said);
    put_at(&t, &f, f.where ? f.where : "");
    hpt__tw_end_dict(&t);
    OK(hpt__tw_finish(&t, path));
    return path;
}

/* Children of timm's network in a Sequential: stem, norm, blocks, head, norm; older versions have activations between
 * them. */
static const char *numbered_as(const char *name, const char *const numbers[5], char out[100]) {
    static const char *const children[] = {"conv_stem.", "bn1.", "blocks.", "conv_head.", "bn2."};
    for (int i = 0; i < 5; i++)
        if (!strncmp(name, children[i], strlen(children[i]))) {
            snprintf(out, 100, "%s.%s", numbers[i], name + strlen(children[i]));
            return out;
        }
    return NULL;
}
static const char *numbered(const char *name, char out[100]) {
    return numbered_as(name, (const char *const[]){"0", "1", "2", "3", "4"}, out);
}
static const char *numbered_old(const char *name, char out[100]) {
    return numbered_as(name, (const char *const[]){"0", "1", "3", "4", "5"}, out);
}
static const char *features_alone(const char *name, char out[100]) {
    if (strncmp(name, "features.", 9)) return NULL;
    snprintf(out, 100, "%s", name + 9);
    return out;
}
static const char *checkpointed(const char *name, char out[100]) {
    const char *dot = strstr(name, "blocks.0.0.");
    if (!dot) return name;
    snprintf(out, 100, "%.*s_checkpoint_wrapped_module.%s", (int)(dot - name) + 11, name, dot + 11);
    return out;
}

/* ---- checks ---- */

static int same_weights(const hpt_model *a, const hpt_model *b) {
    if (a->net.n_tensors != b->net.n_tensors) return 0;
    for (int i = 0; i < a->net.n_tensors; i++)
        if (!a->net.tensors[i].head &&
            memcmp(hpt__model_tensor((hpt_model *)(uintptr_t)a, i), hpt__model_tensor((hpt_model *)(uintptr_t)b, i),
                   a->net.tensors[i].count * 4)) return 0;
    return 1;
}
static hpt_model *model_of(hpt_context *ctx, const char *options, uint64_t seed) {
    hpt_model *m;
    OK(hpt_model_create(ctx, config(options), &m));
    fill_model(m, seed);
    return m;
}
/* What hpt info says of a file. */
static const char *info_of(const char *path) {
    static char text[1 << 20];
    hpt_result *r;
    OK(hpt_file_info(path, &r));
    OK(hpt_result_json(r, text, sizeof text, NULL));
    hpt_result_destroy(r);
    char *list = strstr(text, "\"tensors\": [");
    if (list) *list = 0;
    return text;
}
#define SAYS(TEXT, WORD) do { if (!strstr(TEXT, WORD)) FAIL("no '%s' in %s", WORD, TEXT); } while (0)
static char logged[2000];
static void keep_log(void *user, int32_t level, const char *line) {
    (void)user, (void)level;
    if (!of_machine(line)) snprintf(logged, sizeof logged, "%s", line);
}

/* Features of one image. */
static void features_of(hpt_model *m, float out[1280]) {
    static float x[3 * 48 * 48];
    fill_f32(x, sizeof x / sizeof *x, 21, 1, 0);
    OK(hpt_model_features_pixels(m, config("batch_size=1 precision=fp32"), x, 1, 48, out));
}

TEST(efficientnets_under_all_names_and_prefixes) {
    static const struct { file f; const char *prefix, *naming; } files[] = {
        {{.producer = "timm"}, "", "timm"},
        {{.producer = "timm", .where = "state_dict/module.encoder_q.", .skip = "classifier"},
         "state_dict/module.encoder_q.", "timm"},
        {{.producer = "timm", .where = "model/_orig_mod.backbone.", .rename = checkpointed},
         "model/_orig_mod.backbone.", "timm"},
        {{.producer = "timm", .where = "state_dict_ema/"}, "state_dict_ema/", "timm"},
        {{.producer = "timm", .rename = numbered}, "", "timm's children, numbered (Sequential)"},
        {{.producer = "timm", .where = "state_dict/encoder.0.", .rename = numbered_old}, "state_dict/encoder.0.",
         "timm's children, numbered (Sequential)"},
        {{.producer = "lukemelas"}, "", "lukemelas (EfficientNet-PyTorch)"},
        {{.producer = "lukemelas", .where = "net/module.encoder."}, "net/module.encoder.",
         "lukemelas (EfficientNet-PyTorch)"},
        {{.producer = "lukemelas", .where = "model.", .rename = checkpointed}, "model.",
         "lukemelas (EfficientNet-PyTorch)"},
        {{.producer = "torchvision"}, "", "torchvision"},
        {{.producer = "torchvision", .where = "a/b.c."}, "a/b.c.", "torchvision"},
        {{.producer = "torchvision", .rename = features_alone}, "", "torchvision's features alone"},
        {{.producer = "torchvision", .where = "state_dict/module.backbone.0.", .rename = features_alone},
         "state_dict/module.backbone.0.", "torchvision's features alone"}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, "arch=efficientnet_b0", 5), *luke = model_of(ctx, "arch=lukemelas_efficientnet_b0", 5),
        *got;
    float features[2][1280], mine[1280];
    char want[200];
    features_of(m, features[0]);
    features_of(luke, features[1]);
    CHECK(memcmp(features[0], features[1], sizeof features[0]) && isfinite(features[0][0]) && features[0][0] != 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        file f = files[i].f;
        f.network = "efficientnet_b0", f.m = m;
        const char *path = written("f.pth", f);
        hpt_result *r;
        double n;
        if (hpt_model_load(ctx, config("seed=3"), path, &got, &r)) FAIL("%zu: %s", i, hpt_last_error());
        if (!same_weights(m, got)) FAIL("%zu: other weights", i);
        features_of(got, mine);
        if (memcmp(mine, features[!strcmp(f.producer, "lukemelas")], sizeof mine)) FAIL("%zu: other features", i);
        OK(hpt_result_number(r, "foreign_count", &n));
        CHECK(n == 0);
        OK(hpt_result_number(r, "not_used_count", &n));         /* the classifier */
        CHECK(n == (f.skip || f.rename == numbered || f.rename == numbered_old || f.rename == features_alone ? 0 : 2));
        hpt_result_destroy(r);
        hpt_model_destroy(got);
        const char *info = info_of(path);
        snprintf(want, sizeof want, "\"backbone_prefix\": \"%s\"", files[i].prefix);
        SAYS(info, want);
        snprintf(want, sizeof want, "\"naming\": \"%s\"", files[i].naming);
        SAYS(info, want);
        SAYS(info, "\"loads\": true");
    }
}

/* B1 to B3 differ in depth, width, or both. */
TEST(efficientnet_members_are_told_by_their_shape) {
    static const struct { int b; const char *producer; } files[] = {
        {1, "torchvision"}, {2, "timm"}, {2, "torchvision"}, {2, "lukemelas"}, {3, "lukemelas"}};
    hpt_context *ctx = context("reference", 1);
    char arch[40];
    hpt_model *m = NULL, *got;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(arch, sizeof arch, "arch=efficientnet_b%d", files[i].b);
        if (!i || files[i].b != files[i - 1].b) {
            hpt_model_destroy(m);
            m = model_of(ctx, arch, 5);
        }
        const char *path = written("f.pth", (file){.producer = files[i].producer, .network = arch + 5, .m = m});
        OK(hpt_model_load(ctx, config("seed=3"), path, &got, NULL));
        CHECK(same_weights(m, got));
        hpt_model_destroy(got);
    }
    hpt_model_destroy(m);
}

static void squeeze_expanded(const row *r, int64_t shape[4]) {
    if (strstr(r->name, "se.conv_reduce.weight")) shape[0] = shape[1] / 4;
}
static void gray(const row *r, int64_t shape[4]) {
    if (!strcmp(r->name, "conv_stem.weight")) shape[1] = 1;
}
TEST(networks_of_an_efficientnets_builders_are_named) {
    static const struct { file f; const char *says; } files[] = {
        {{.producer = "timm", .network = "efficientnet_b4"},
         "it is an EfficientNet-B4, which libhpt does not build (of this kind it builds efficientnet_b0 to "
         "efficientnet_b3)"},
        {{.producer = "timm", .network = "efficientnet_b7"}, "it is an EfficientNet-B7, which libhpt"},
        {{.producer = "torchvision", .network = "efficientnet_b4"}, "it is an EfficientNet-B4, which libhpt"},
        {{.producer = "lukemelas", .network = "efficientnet_b4"}, "it is an EfficientNet-B4, which libhpt"},
        {{.producer = "timm", .network = "efficientnet_lite0"}, "it has none of 64 squeeze-and-excite tensors: without "
         "them it is an EfficientNet-Lite"},
        {{.producer = "timm", .network = "efficientnet_lite2"}, "it is an EfficientNet-Lite2, which libhpt"},
        {{.producer = "timm", .network = "tf_efficientnetv2_b0"}, "it is an EfficientNetV2, which libhpt"},
        {{.producer = "timm", .network = "efficientnetv2_rw_s"}, "it is an EfficientNetV2, which libhpt"},
        {{.producer = "torchvision", .network = "efficientnet_v2_s"}, "it is an EfficientNetV2, which libhpt"},
        {{.producer = "timm", .network = "mobilenetv1_100"}, "it has 5 stages of blocks"},
        {{.producer = "timm", .network = "mobilenetv2_100"}, "it is a MobileNetV2, which libhpt"},
        {{.producer = "torchvision", .network = "mobilenet_v2"}, "it is a MobileNetV2, which libhpt"},
        {{.producer = "timm", .network = "mobilenetv3_large_100"}, "it is a MobileNetV3"},
        {{.producer = "torchvision", .network = "mobilenet_v3_small"}, "it is a MobileNetV3"},
        {{.producer = "timm", .network = "mobilenetv4_conv_small"}, "it is a MobileNetV4, which libhpt"},
        {{.producer = "timm", .network = "mixnet_s"}, "it is a MixNet, which libhpt"},
        {{.producer = "timm", .network = "mnasnet_100"}, "it is an MNASNet, which libhpt"},
        {{.producer = "timm", .network = "efficientnet_es"}, "it is an EfficientNet-EdgeTPU"},
        {{.producer = "timm", .network = "efficientnet_cc_b0_4e"}, "(CondConv), which libhpt"},
        {{.producer = "timm", .network = "tinynet_a"}, "an EfficientNet of 1, 2, 2, 4, 4, 5, 1 blocks and 16, 24, 40, "
         "80, 112, 192, 320 channels is none that libhpt knows"},
        {{.producer = "timm", .network = "efficientnet_b1_pruned"}, "an EfficientNet of 2, 3, 3, 4, 4, 5, 2 blocks and "
         "16, 12, 35,"},
        {{.producer = "timm", .network = "efficientnet_b0_gn"}, "missing bn1.running_mean, bn1.running_var, "
         "blocks.0.0.bn1.running_mean, ...; looks like weights without batch-norm statistics"},
        {{.producer = "timm", .network = "efficientnet_b0_g8_gn"}, "its convolutions have groups of 8 channels"},
        {{.producer = "timm", .network = "rexnet_100"}, "a network of numbered features"},
        /* and what was done to a network of ours */
        {{.producer = "timm", .network = "efficientnet_b0", .skip = ".se."}, "does not fit efficientnet_b0: missing "
         "blocks.0.0.se.conv_reduce.weight, blocks.0.0.se.conv_reduce.bias, blocks.0.0.se.conv_expand.weight, ...; it "
         "has none of 64 squeeze-and-excite tensors"},
        {{.producer = "torchvision", .network = "efficientnet_b2", .skip = "features.3.1.block.2."}, "missing "
         "blocks.2.1.se.conv_reduce.weight, blocks.2.1.se.conv_reduce.bias, blocks.2.1.se.conv_expand.weight, ...; of "
         "92 squeeze-and-excite tensors it has 88"},
        {{.producer = "lukemelas", .network = "efficientnet_b0", .skip = "_blocks.4._se_reduce.bias"},
         "missing blocks.2.1.se.conv_reduce.bias; of 64 squeeze-and-excite tensors it has 63"},
        {{.producer = "lukemelas", .network = "efficientnet_b0", .skip = "running_"}, "without batch-norm statistics"},
        {{.producer = "timm", .network = "efficientnet_b0", .reshape = squeeze_expanded}, "of another shape: "
         "blocks.1.0.se.conv_reduce.weight, blocks.1.1.se.conv_reduce.weight, blocks.2.0.se.conv_reduce.weight, ...; "
         "it squeezes to 24 channels (a quarter of the expanded channels), an EfficientNet to 4"},
        {{.producer = "timm", .network = "efficientnet_b0", .reshape = gray}, "its first convolution is 3x3 of 1 "
         "channels"},
        {{.producer = "timm", .network = "efficientnet_b0", .skip = "conv_head."}, "it has no conv_head and bn2"},
        {{.producer = "timm", .network = "efficientnet_b0", .skip = "conv_stem."}, "it has no stem"},
        {{.producer = "lukemelas", .network = "efficientnet_b0", .skip = "_bn1."}, "it has no _conv_head and _bn1"},
        {{.producer = "torchvision", .network = "efficientnet_b0", .skip = "features.7."}, "it has 6 stages of blocks"},
        {{.producer = "timm", .network = "efficientnet_b0", .add = "blocks.0.0.conv_dw.bias"},
         "whose convolutions have biases"},
        {{.producer = "torchvision", .network = "efficientnet_b0", .add = "features.2.0.block.1.0.weight_mask"},
         "tensors inside the backbone would go unused, so it is another network than efficientnet_b0 (1: "
         "features.2.0.block.1.0.weight_mask; looks like a pruned network"},
        {{.producer = "lukemelas", .network = "efficientnet_b0", .add = "_blocks.3._attention.weight"},
         "(1: _blocks.3._attention.weight"},
        {{.producer = "timm", .network = "efficientnet_b0", .add = "bn1.parametrizations.weight.original0"},
         "another parametrization"}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *got;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = written("f.pth", files[i].f);
        hpt_status st = hpt_model_load(ctx, config("seed=3"), path, &got, NULL);
        if (st != HPT_ERR_MISMATCH || !strstr(hpt_last_error(), files[i].says) || strlen(hpt_last_error()) > 600)
            FAIL("%s %s (%zu): %d %s", files[i].f.producer, files[i].f.network, i, st, hpt_last_error());
        CHECK(!got);
        CHECK(!strstr(info_of(path), "\"loads\": true"));
    }
}

/* ---- flavours ---- */

/* The flavour that a load took, as its report has it. */
static const char *flavour_of(hpt_context *ctx, const char *options, const char *path) {
    static char text[20000];
    hpt_model *m;
    hpt_result *r;
    *logged = 0;
    if (hpt_model_load(ctx, config(options), path, &m, &r)) return "refused";
    OK(hpt_result_json(r, text, sizeof text, NULL));
    hpt_result_destroy(r);
    hpt_model_info info = {.struct_size = sizeof info};
    OK(hpt_model_get_info(m, &info));
    snprintf(text, sizeof text, "%s", info.arch);
    hpt_model_destroy(m);
    return text;
}

TEST(efficientnet_flavours) {
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, "arch=efficientnet_b0", 5);
    file f = {.producer = "timm", .network = "efficientnet_b0", .m = m};
    char path[300];
    hpt_context_set_log(ctx, keep_log, NULL);
    /* nothing said */
    snprintf(path, sizeof path, "%s", written("weights.pth", f));
    CHECK(!strcmp(flavour_of(ctx, "seed=3", path), "efficientnet_b0"));
    SAYS(logged, "efficientnet_b0 and tf_efficientnet_b0 are called the same; taken as efficientnet_b0 (symmetric "
         "padding, batch norm eps 1e-5), for the file does not say which it is; arch=tf_efficientnet_b0 takes the "
         "other");
    SAYS(info_of(path), "taken as efficientnet_b0");
    CHECK(!strcmp(flavour_of(ctx, "arch=tf_efficientnet_b0", path), "tf_efficientnet_b0") &&
          !strstr(logged, "taken as"));
    CHECK(!strcmp(flavour_of(ctx, "arch=efficientnet_b0", path), "efficientnet_b0") && !strstr(logged, "taken as"));
    CHECK(!strcmp(flavour_of(ctx, "arch=efficientnet_b2", path), "refused"));
    SAYS(hpt_last_error(), "set arch=efficientnet_b0");
    /* by its name */
    snprintf(path, sizeof path, "%s", written("tf_efficientnet_b0_ns-c0e6a31c.pth", f));
    CHECK(!strcmp(flavour_of(ctx, "seed=3", path), "tf_efficientnet_b0"));
    SAYS(logged,
         "taken as tf_efficientnet_b0 (TensorFlow's same padding, batch norm eps 1e-3), as the file's name says; "
         "arch=efficientnet_b0 takes the other");
    CHECK(!strcmp(flavour_of(ctx, "arch=efficientnet_b0", path), "efficientnet_b0"));
    SAYS(logged, "its names are those of tf_efficientnet_b0 (TensorFlow's same padding, batch norm eps 1e-3); taken as "
         "efficientnet_b0 (symmetric padding, batch norm eps 1e-5), as arch asks");
    snprintf(path, sizeof path, "%s", written("efficientnet_b0_ra-3dd342df.pth", f));
    CHECK(!strcmp(flavour_of(ctx, "seed=3", path), "efficientnet_b0"));
    SAYS(logged, "taken as efficientnet_b0 (symmetric padding, batch norm eps 1e-5), as the file's name says");
    /* by a value in it, which is no guess: the file's name does not matter, and another is refused */
    f.where = "state_dict/";
    f.said = "tf_efficientnet_b0";
    snprintf(path, sizeof path, "%s", written("efficientnet_b0.pth.tar", f));
    CHECK(!strcmp(flavour_of(ctx, "seed=3", path), "tf_efficientnet_b0") && !strstr(logged, "taken as"));
    CHECK(!strcmp(flavour_of(ctx, "arch=efficientnet_b0", path), "refused"));
    SAYS(hpt_last_error(), "same padding, batch norm eps 1e-3");
    SAYS(hpt_last_error(), "not an efficientnet_b0 (symmetric padding, batch norm eps 1e-5); leave arch "
         "out or set arch=tf_efficientnet_b0");
    f.said = "efficientnet_b0";
    snprintf(path, sizeof path, "%s", written("x.pth.tar", f));
    CHECK(!strcmp(flavour_of(ctx, "seed=3", path), "efficientnet_b0") && !strstr(logged, "taken as"));
    CHECK(!strcmp(flavour_of(ctx, "arch=tf_efficientnet_b0", path), "refused"));
    hpt_model_destroy(m);
}

/* lukemelas' names with timm's architecture: other padding, other eps. Asked for as TensorFlow's they are. */
TEST(efficientnets_of_another_flavour_are_refused) {
    static const struct { const char *producer, *options, *is; } asked[] = {
        {"lukemelas", "seed=3", "lukemelas_efficientnet_b0"},
        {"lukemelas", "arch=lukemelas_efficientnet_b0", "lukemelas_efficientnet_b0"},
        {"lukemelas", "arch=tf_efficientnet_b0", "tf_efficientnet_b0"},
        {"lukemelas", "arch=efficientnet_b0", "refused"},
        {"lukemelas", "arch=tf_efficientnet_b1", "refused"},
        {"torchvision", "seed=3", "efficientnet_b0"},
        {"torchvision", "arch=efficientnet_b0", "efficientnet_b0"},
        {"torchvision", "arch=tf_efficientnet_b0", "refused"},
        {"torchvision", "arch=lukemelas_efficientnet_b0", "refused"},
        {"timm", "arch=lukemelas_efficientnet_b0", "lukemelas_efficientnet_b0"},
        {"timm", "arch=resnet50", "refused"}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, "arch=efficientnet_b0", 5), *got;
    hpt_context_set_log(ctx, keep_log, NULL);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        const char *path = written("f.pth", (file){.producer = asked[i].producer, .network = "efficientnet_b0",
                                                   .m = m});
        const char *is = flavour_of(ctx, asked[i].options, path);
        if (strcmp(is, asked[i].is))
            FAIL("%s, %s: %s, not %s (%s)", asked[i].producer, asked[i].options, is, asked[i].is, hpt_last_error());
        CHECK(!strstr(logged, "its names are those of lukemelas_efficientnet_b0") == (i != 2));
    }
    const char *path = written("f.pth", (file){.producer = "lukemelas", .network = "efficientnet_b0", .m = m});
    FAILS(HPT_ERR_MISMATCH,
          "the file is a lukemelas_efficientnet_b0 (TensorFlow's same padding as for images of 224 pixels, batch norm "
          "eps 1e-3), not an efficientnet_b0 (symmetric padding, batch norm eps 1e-5); leave arch out or set "
          "arch=lukemelas_efficientnet_b0", hpt_model_load(ctx, config("arch=efficientnet_b0"), path, &got, NULL));
    FAILS(HPT_ERR_MISMATCH, "not a resnet50 of width 64, stem imagenet; leave arch out or set "
          "arch=lukemelas_efficientnet_b0", hpt_model_load(ctx, config("arch=resnet50"), path, &got, NULL));
    OK(hpt_model_save(model_of(ctx, "arch=resnet10 width=16 stem=small", 3), path, NULL));
    FAILS(HPT_ERR_MISMATCH, "the file is a resnet10 of width 16, stem small, not an efficientnet_b0 (symmetric padding",
          hpt_model_load(ctx, config("arch=efficientnet_b0"), path, &got, NULL));
    hpt_model_destroy(m);
}

/* ---- classifier, heads, half precision ---- */

TEST(classifiers_of_efficientnets) {
    static const char *const producers[] = {"timm", "torchvision", "lukemelas"};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, "arch=efficientnet_b0", 5), *got;
    float *fc = malloc(sizeof(float) * 1000 * 1281), *mine = malloc(sizeof(float) * 1000 * 1280);
    fill_f32(fc, 1000 * 1281, 77, 0.1f, 0);
    hpt_model_info info = {.struct_size = sizeof info};
    for (int p = 0; p < 3; p++) {
        const char *path = written("f.pth", (file){.producer = producers[p], .network = "efficientnet_b0", .m = m,
                                                   .fc = fc});
        SAYS(info_of(path), "\"classes\": 1000");
        OK(hpt_model_load(ctx, config("classifier=take"), path, &got, NULL));
        OK(hpt_model_get_info(got, &info));
        CHECK(info.classes == 1000);
        OK(hpt_model_get_tensor(got, "classifier.weight", mine, 1000 * 1280));
        CHECK(!memcmp(mine, fc, 1000 * 1280 * 4));
        OK(hpt_model_get_tensor(got, "classifier.bias", mine, 1000));
        CHECK(!memcmp(mine, fc + 1000 * 1280, 1000 * 4));
        hpt_model_destroy(got);
        for (int k = 0; k < 2; k++) {
            OK(hpt_model_load(ctx, config(k ? "classifier=drop" : "classifier=auto"), path, &got, NULL));
            OK(hpt_model_get_info(got, &info));
            CHECK(info.classes == 0);
            hpt_model_destroy(got);
        }
    }
    const char *none = written("f.pth", (file){.producer = "timm", .network = "efficientnet_b0", .m = m,
                                               .skip = "classifier"});
    FAILS(HPT_ERR_MISMATCH, "no classifier lies beside the backbone (classifier.weight with a row for each class",
          hpt_model_load(ctx, config("classifier=take"), none, &got, NULL));
    hpt_model_destroy(m);
    free(fc);
    free(mine);
}

/* Files of half precision, as timm and Hugging Face have them: safetensors of BF16 and F16, here of values that F16 and
 * BF16 have both. */
TEST(efficientnets_of_half_precision) {
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, "arch=efficientnet_b0", 5), *got;
    const hpt__net *net = &m->net;
    char path[300], *head = malloc(1 << 18);
    snprintf(path, sizeof path, "%s/model.safetensors", temp_dir());
    for (int bf16 = 0; bf16 < 2; bf16++) {
        size_t used = 1, at = 0;
        FILE *f = fopen(path, "wb");
        CHECK(f != NULL);
        head[0] = '{';
        for (int i = 0; i < net->n_tensors; i++) {
            const hpt__tensor *t = &net->tensors[i];
            if (t->head) continue;
            used += (size_t)sprintf(head + used, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", at ? "," : "", t->name,
                                    bf16 ? "BF16" : "F16");
            for (int d = 0; d < t->ndim; d++)
                used += (size_t)sprintf(head + used, "%s%d", d ? "," : "", (int)t->shape[d]);
            used += (size_t)sprintf(head + used, "],\"data_offsets\":[%zu,%zu]}", at, at + t->count * 2);
            at += t->count * 2;
        }
        used += (size_t)sprintf(head + used, "}");
        uint64_t n = used;
        CHECK(fwrite(&n, 8, 1, f) == 1 && fwrite(head, 1, used, f) == used);
        for (int i = 0; i < net->n_tensors; i++) {
            const hpt__tensor *t = &net->tensors[i];
            float *x = hpt__model_tensor(m, i);
            uint16_t *half = malloc(t->count * 2);
            for (size_t k = 0; k < t->count; k++) {
                uint32_t part = (uint32_t)(k * 7 + (size_t)i) & 127;    /* of the mantissa; 1 <= x < 2 */
                x[k] = 1 + (float)part / 128;
                half[k] = (uint16_t)(bf16 ? 0x3f80 | part : 0x3c00 | part << 3);
            }
            CHECK(t->head || fwrite(half, 2, t->count, f) == t->count);
            free(half);
        }
        CHECK(!fclose(f));
        OK(hpt_model_load(ctx, config("seed=3"), path, &got, NULL));
        CHECK(same_weights(m, got));
        hpt_model_destroy(got);
    }
    hpt_model_destroy(m);
    free(head);
}

/* ---- written ---- */

/* The file's tensors against a project's state dict: names and shapes, all of them and no others, in any order. */
static void has_names_of(const char *path, const char *producer, const char *network) {
    hpt__tensorfile f;
    section s = names_of(producer, network);
    OK(hpt__tensorfile_open(&f, path));
    if ((int)f.n != s.n) FAIL("%s %s: %u tensors, not %d", producer, network, f.n, s.n);
    for (int i = 0; i < s.n; i++) {
        const hpt__ftensor *t = hpt__tensorfile_find(&f, s.row[i].name);
        if (!t || t->ndim != s.row[i].ndim || memcmp(t->shape, s.row[i].shape, sizeof(int64_t) * (size_t)t->ndim) ||
            (t->type == HPT__FT_I64) != s.row[i].counter)
            FAIL("%s %s: %s", producer, network, s.row[i].name);
    }
    hpt__tensorfile_close(&f);
    free(s.row);
}

/* What strict loading in PyTorch asks: timm's state dict (and the default), and torchvision's. */
TEST(efficientnets_are_written_with_timms_and_torchvisions_names) {
    static const struct { const char *format, *file, *producer; } ways[] = {
        {NULL, "f.pth", "timm"}, {"timm", "f.pth", "timm"}, {"torchvision", "f.pth", "torchvision"},
        {"safetensors", "f.pth", NULL}, {NULL, "f.safetensors", NULL}, {"moco", "f.pth", NULL},
        {"openselfsup", "f.pth", NULL}};
    hpt_context *ctx = context("reference", 1);
    char path[300], arch[40], options[60];
    hpt_context_set_log(ctx, keep_log, NULL);
    for (int b = 0; b < 3; b += 2) {
        snprintf(arch, sizeof arch, "efficientnet_b%d", b);
        snprintf(options, sizeof options, "arch=%s", arch);
        hpt_model *m, *back, *backbone = model_of(ctx, options, 9);
        float *fc = calloc(1000 * 1409, sizeof *fc), bias[1000];
        const char *from = written("x.pth", (file){.producer = "timm", .network = arch, .fc = fc, .m = backbone});
        OK(hpt_model_load(ctx, config("classifier=take"), from, &m, NULL));
        for (int k = 0; k < 1000; k++) bias[k] = (float)k;
        OK(hpt_model_set_tensor(m, "classifier.bias", bias, 1000));
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            if (b && (!ways[i].format || !ways[i].producer)) continue;
            *logged = 0;
            snprintf(path, sizeof path, "%s/%s", temp_dir(), ways[i].file);
            OK(hpt_model_save(m, path, ways[i].format));
            int without = ways[i].format && (*ways[i].format == 'm' || *ways[i].format == 'o');
            CHECK(!strstr(logged, "its features will be others") && !strstr(logged, "left out") == !without);
            if (ways[i].producer) has_names_of(path, ways[i].producer, arch);
            OK(hpt_model_load(ctx, config("seed=3"), path, &back, NULL));
            CHECK(same_weights(m, back));
            hpt_model_info info = {.struct_size = sizeof info};
            OK(hpt_model_get_info(back, &info));
            CHECK(info.classes == (without ? 0 : 1000));
            if (info.classes) OK(hpt_model_get_tensor(back, "classifier.bias", fc, 1000));
            CHECK(without || !memcmp(bias, fc, sizeof bias));
            hpt_model_destroy(back);
        }
        hpt_model_destroy(m);
        hpt_model_destroy(backbone);
        free(fc);
    }
}

/* A file of ours says its flavour in every format; torchvision's names have no network of TensorFlow's. */
TEST(written_efficientnets_keep_their_flavour) {
    static const char *const archs[] = {"efficientnet_b0", "tf_efficientnet_b0", "lukemelas_efficientnet_b0"},
                      *const formats[] = {NULL, "torchvision", "safetensors", "moco"};
    hpt_context *ctx = context("reference", 1);
    char path[300], options[100];
    hpt_context_set_log(ctx, keep_log, NULL);
    for (size_t a = 0; a < 3; a++) {
        snprintf(options, sizeof options, "arch=%s", archs[a]);
        hpt_model *m = model_of(ctx, options, 4), *got;
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
            snprintf(path, sizeof path, "%s/f", temp_dir());
            *logged = 0;
            OK(hpt_model_save(m, path, formats[i]));
            int warns = strstr(logged, "its features will be others") != NULL;
            if (warns != (a > 0 && formats[i] && !strcmp(formats[i], "torchvision")))
                FAIL("%s as %s: '%s'", archs[a], formats[i], logged);
            const char *is = flavour_of(ctx, "seed=3", path);
            if (strcmp(is, archs[a])) FAIL("%s as %s: %s", archs[a], formats[i], is);
            CHECK(!strstr(logged, "taken as"));
            if (!a) {
                FAILS(HPT_ERR_MISMATCH, "arch out or set arch=efficientnet_b0",
                      hpt_model_load(ctx, config("arch=tf_efficientnet_b0"), path, &got, NULL));
            }
        }
        hpt_model_destroy(m);
    }
}

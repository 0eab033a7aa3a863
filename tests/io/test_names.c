/* SPDX-License-Identifier: MIT
 * Which network of a file is found, under what names, and what is refused: files are written here with the names of
 * other projects. (Files that those projects wrote themselves: test golden_files_load.) */
#include "io/tensorfile.h"
#include "io/torch_write.h"
#include "nn/model.h"
#include "ssl/names.h"
#include "support.h"
#include <zlib.h>

typedef struct rename_ {
    const char *from, *to;
} rename_;
static const rename_ sequential[] = {{"conv1.", "0."},  {"bn1.", "1."},    {"layer1.", "4."}, {"layer2.", "5."},
                                     {"layer3.", "6."}, {"layer4.", "7."}, {NULL, NULL}},
                     small_sequential[] = {{"conv1.", "0."},
                                           {"bn1.", "1."},
                                           {"layer1.", "2."},
                                           {"layer2.", "3."},
                                           {"layer3.", "4."},
                                           {"layer4.", "5."},
                                           {"*.downsample.", "shortcut."},
                                           {NULL, NULL}},
                     nested[] = {{"conv1.", "0.0."}, {"bn1.", "0.1."},  {"layer1.", "1."}, {"layer2.", "2."},
                                 {"layer3.", "3."},  {"layer4.", "4."}, {NULL, NULL}},
                     cut[] = {{"conv1.", "layer0.0."}, {"bn1.", "layer0.1."}, {"layer1.", "layer1.1."}, {NULL, NULL}},
                     shortcut[] = {{"*.downsample.", "shortcut."}, {NULL, NULL}},
                     detectron[] = {{"conv1.", "stem.conv1."},
                                    {"bn1.", "stem.conv1.norm."},
                                    {"layer1.", "res2."},
                                    {"layer2.", "res3."},
                                    {"layer3.", "res4."},
                                    {"layer4.", "res5."},
                                    {"*.bn1.", "conv1.norm."},
                                    {"*.bn2.", "conv2.norm."},
                                    {"*.downsample.0.", "shortcut."},
                                    {"*.downsample.1.", "shortcut.norm."},
                                    {NULL, NULL}};

/* name with the first fitting rule for its start, and then the first rule "*.x" for what stands behind its block. */
static void renamed(const char *name, const rename_ *rules, char out[200]) {
    char tail[120], head[120] = "";
    snprintf(tail, sizeof tail, "%s", name);
    if (!strncmp(name, "layer", 5)) { /* layer2.0. | downsample.0.weight */
        snprintf(head, sizeof head, "%.*s", 9, name);
        snprintf(tail, sizeof tail, "%s", name + 9);
    }
    for (const rename_ *k = rules; rules && k->from; k++) {
        int in_block = !strncmp(k->from, "*.", 2);
        const char *from = k->from + (in_block ? 2 : 0);
        char *part = *head && !in_block ? head : tail;
        if ((in_block && !*head) || strncmp(part, from, strlen(from))) continue;
        char rest[120];
        snprintf(rest, sizeof rest, "%s", part + strlen(from));
        snprintf(part, sizeof tail, "%s%.80s", k->to, rest);
        if (part == tail) break;
    }
    snprintf(out, 200, "%s%.90s", head, tail);
}

/* One network's tensors into the open dictionary. extra: one more tensor, NULL none. skip: tensors that are left out,
 * by the start of their names ("*x": by x anywhere). */
static void put(hpt__torch_out *t, hpt_model *m, const char *prefix, const rename_ *rules, const char *extra,
                const char *skip) {
    static const float zeros[64];
    char local[200], name[400];
    for (int i = 0; i < m->net.n_tensors; i++) {
        const hpt__tensor *x = &m->net.tensors[i];
        if (x->head ||
            (skip && (*skip == '*' ? strstr(x->name, skip + 1) != NULL : !strncmp(x->name, skip, strlen(skip)))))
            continue;
        renamed(x->name, rules, local);
        snprintf(name, sizeof name, "%s%s", prefix, local);
        hpt__tw_str(t, name);
        hpt__tw_tensor_f32(t, hpt__model_tensor(m, i), x->count, x->ndim, x->shape, NULL);
    }
    if (!extra) return;
    snprintf(name, sizeof name, "%s%s", prefix, extra);
    hpt__tw_str(t, name);
    hpt__tw_tensor_f32(t, zeros, 64, 1, (int64_t[]){64}, NULL);
}
/* where: dictionaries with '/', then the prefix of the names: "state_dict/module." */
static void put_at(hpt__torch_out *t, hpt_model *m, const char *where, const rename_ *rules, const char *extra,
                   const char *skip) {
    const char *slash = strchr(where, '/');
    char key[100];
    if (!slash) {
        put(t, m, where, rules, extra, skip);
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)(slash - where), where);
    hpt__tw_str(t, key);
    hpt__tw_dict(t, 1);
    put_at(t, m, slash + 1, rules, extra, skip);
    hpt__tw_end_dict(t);
}
static void write_file(const char *path, hpt_model *m, const char *where, const rename_ *rules, const char *extra,
                       const char *skip) {
    hpt__torch_out t;
    hpt__tw_begin(&t);
    hpt__tw_dict(&t, 1);
    put_at(&t, m, where, rules, extra, skip);
    hpt__tw_end_dict(&t);
    OK(hpt__tw_finish(&t, path));
}
static int same_weights(const hpt_model *a, const hpt_model *b) {
    if (a->net.n_tensors != b->net.n_tensors) return 0;
    for (int i = 0; i < a->net.n_tensors; i++)
        if (!a->net.tensors[i].head &&
            memcmp(hpt__model_tensor((hpt_model *)(uintptr_t)a, i), hpt__model_tensor((hpt_model *)(uintptr_t)b, i),
                   a->net.tensors[i].count * 4))
            return 0;
    return 1;
}
static hpt_model *model_of(hpt_context *ctx, const char *options, uint64_t seed) {
    hpt_model *m;
    OK(hpt_model_create(ctx, config(options), &m));
    fill_model(m, seed);
    return m;
}
static char *json_of(hpt_result *r) {
    size_t n;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    return text;
}

#define TINY "arch=resnet10 width=16 stem=small"
#define TINY18 "arch=resnet18 width=16 stem=small"

TEST(backbone_under_any_prefix_and_container) {
    static const struct {
        const char *where;
        const rename_ *rules;
    } places[] = {{"", NULL},
                  {"module.", NULL},
                  {"_orig_mod.", NULL},
                  {"state_dict/_orig_mod.module.", NULL},
                  {"state_dict/module._orig_mod.encoder.", NULL},
                  {"state_dict/module.encoder.", NULL},
                  {"model_state/backbone.", NULL},
                  {"network/", NULL},
                  {"a/b/c/d/e.f.g.h.", NULL},
                  {"teacher/backbone.", NULL},
                  {"state_dict/online_encoder.net.", NULL},
                  {"learner.net.trunk.base_net._feature_blocks.", NULL},
                  {"state_dict/backbone.body.", NULL},
                  {"model/net.model.", NULL},
                  {"state_dict/backbone.", sequential},
                  {"encoder.0.", sequential},
                  {"", sequential},
                  {"state_dict/backbone.", small_sequential},
                  {"features.", nested},
                  {"0.", sequential},
                  {"model/encoder.", cut},
                  {"net/module.encoder.", shortcut},
                  {"model/backbone.bottom_up.", detectron},
                  {"model/", detectron}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY, 5), *deep = model_of(ctx, TINY18, 6), *got;
    hpt_config *plain = config("seed=3");
    char path[200];
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int k = 0; k < 2; k++) {
            write_file(path, k ? deep : m, places[i].where, places[i].rules, NULL, NULL);
            hpt_status st = hpt_model_load(ctx, plain, path, &got, NULL);
            if (st) FAIL("'%s' (%zu): %s", places[i].where, i, hpt_last_error());
            if (!same_weights(k ? deep : m, got)) FAIL("'%s' (%zu): other weights", places[i].where, i);
            hpt_model_destroy(got);
        }
}

/* The tensors of src under prefix in the open dictionary, with these parts (one for each kind of name) put into
 * their names. */
typedef struct wrap_ {
    const char *prefix, *stem, *stage, *block, *conv, *norm; /* conv1.X  layer1.X  layer1.0.X  layer1.0.conv1.X ... */
} wrap_;
static void put_wrapped(hpt__torch_out *t, hpt_model *m, const wrap_ *w, float first) {
    char name[400];
    static const int64_t one;
    for (int i = 0; i < m->net.n_tensors; i++) {
        const hpt__tensor *x = &m->net.tensors[i];
        const char *local = x->name + (strncmp(x->name, "layer", 5) ? 0 : 9), *dot = strrchr(local, '.');
        if (x->head) continue;
        if (local == x->name)
            snprintf(name, sizeof name, "%s%.*s.%s%s", w->prefix, (int)(dot - local), local, w->stem, dot + 1);
        else
            snprintf(name, sizeof name, "%s%.7s%s%.2s%s%.*s.%s%s", w->prefix, x->name, w->stage, x->name + 7, w->block,
                     (int)(dot - local), local, strstr(local, "bn") ? w->norm : w->conv, dot + 1);
        float *v = hpt__model_tensor(m, i), was = v[0];
        if (i == 3 && first != 0) v[0] = first;
        hpt__tw_str(t, name);
        float *copy = malloc(x->count * 4); /* the writer reads it at the end */
        memcpy(copy, v, x->count * 4);
        v[0] = was;
        hpt__tw_tensor_f32(t, copy, x->count, x->ndim, x->shape, NULL);
        if (!strstr(name, "running_var")) continue;
        snprintf(strstr(name, "running_var"), 30, "num_batches_tracked");
        hpt__tw_str(t, name);
        hpt__tw_tensor_i64(t, &one, 1, 0, (int64_t[]){1});
    }
}
static void write_wrapped(const char *path, hpt_model *m, const wrap_ *w, const wrap_ *second, float first) {
    static const float values[128 * 128];
    hpt__torch_out t;
    hpt__tw_begin(&t);
    hpt__tw_dict(&t, 1);
    hpt__tw_str(&t, "state_dict");
    hpt__tw_dict(&t, 1);
    put_wrapped(&t, m, w, first);
    if (second) {
        put_wrapped(&t, m, second, 0);
        hpt__tw_str(&t, "head.weight");
        hpt__tw_tensor_f32(&t, values, 8, 1, (int64_t[]){8}, NULL);
    }
    if (strstr(w->prefix, "backbone.")) { /* lightly's head, wrapped too */
        hpt__tw_str(&t, "projection_head._orig_mod.layers.0.module.weight");
        hpt__tw_tensor_f32(&t, values, 128 * 128, 2, (int64_t[]){128, 128}, NULL);
        hpt__tw_str(&t, "projection_head._orig_mod.layers.0.module.bias");
        hpt__tw_tensor_f32(&t, values, 128, 1, (int64_t[]){128}, NULL);
        hpt__tw_str(&t, "projection_head._orig_mod.layers.2.weight");
        hpt__tw_tensor_f32(&t, values, 24 * 128, 2, (int64_t[]){24, 128}, NULL);
        hpt__tw_str(&t, "projection_head._orig_mod.layers.2.bias");
        hpt__tw_tensor_f32(&t, values, 24, 1, (int64_t[]){24}, NULL);
    }
    hpt__tw_end_dict(&t);
    hpt__tw_end_dict(&t);
    OK(hpt__tw_finish(&t, path));
}
/* Wrappers inside a name: activation checkpointing, FSDP, torch.compile and DDP of parts. */
TEST(wrappers_are_seen_through_wherever_they_stand) {
    static const wrap_ ways[] = {{"", "", "_checkpoint_wrapped_module.", "", "", ""},
                                 {"module.", "", "", "_checkpoint_wrapped_module.", "", ""},
                                 {"", "", "", "_fsdp_wrapped_module.", "", ""},
                                 {"_fsdp_wrapped_module.", "", "_fsdp_wrapped_module._checkpoint_wrapped_module.",
                                  "_orig_mod.", "", ""},
                                 {"_fsdp_wrapped_module._fpw_module.", "", "_fsdp_wrapped_module._fpw_module.", "", "",
                                  ""},
                                 {"encoder_q.", "_orig_mod.", "_orig_mod.", "module.", "_orig_mod.", "module."},
                                 {"_forward_module.net._orig_mod.", "module.", "", "", "module.", "module."},
                                 {"model._module.", "", "", "", "_checkpoint_wrapped_module.module.", ""},
                                 {"backbone._orig_mod.", "", "module.", "", "", ""}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY " moco_dim=24", 5), *got;
    char path[200];
    hpt_result *r;
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        double n;
        write_wrapped(path, m, &ways[i], NULL, 0);
        if (hpt_model_load(ctx, config("seed=3"), path, &got, &r)) FAIL("%zu: %s", i, hpt_last_error());
        if (!same_weights(m, got)) FAIL("%zu: other weights", i);
        OK(hpt_result_number(r, "unexpected_count", &n));
        CHECK(n == 0);
        OK(hpt_result_number(r, "not_used_count", &n));
        CHECK(n == (strstr(ways[i].prefix, "backbone") ? 4 : 0));
        char *text = json_of(r), want[100]; /* what is shown is the file's own */
        snprintf(want, sizeof want, "\"prefix\": \"state_dict/%s\"", ways[i].prefix);
        if (!strstr(text, want)) FAIL("%zu: %s", i, text);
        hpt_model_destroy(got);
        hpt_config *c = config("seed=3");
        OK(hpt_config_set(c, "backbone_prefix", ways[i].prefix[0] ? ways[i].prefix : "."));
        OK(hpt_model_load(ctx, c, path, &got, NULL));
        if (strstr(ways[i].prefix, "backbone")) OK(hpt_model_load(ctx, config("carry_head=1"), path, &got, NULL));
    }
    /* one network in two wrappings, of which one has none: both are there under their own names */
    hpt_model *other = model_of(ctx, TINY, 6);
    for (int ask = 0; ask < 2; ask++) {
        hpt__torch_out t;
        hpt__tw_begin(&t);
        hpt__tw_dict(&t, 1);
        put(&t, m, "net.", NULL, NULL, NULL);
        put(&t, other, "net.module.", NULL, NULL, NULL);
        hpt__tw_end_dict(&t);
        OK(hpt__tw_finish(&t, path));
        OK(hpt_model_load(ctx, config(ask ? "backbone_prefix=net.module" : "seed=3"), path, &got, NULL));
        CHECK(same_weights(ask ? other : m, got));
    }
}
static char warned[2000];
static void keep_log(void *user, int32_t level, const char *line) {
    (void)user;
    if (level && !of_machine(line)) snprintf(warned, sizeof warned, "%s", line);
}
/* What is not used is counted; a weight that is no number is told, and features that are none. */
TEST(what_a_load_leaves_and_what_is_no_number_is_told) {
    static const wrap_ teacher = {"teacher.", "", "", "", "", ""}, student = {"student.module.", "", "", "", "", ""};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY, 5), *got;
    hpt_dataset *ds = toy_set(ctx, "", 4, 16, 2);
    hpt_result *r;
    char path[200];
    double n, loaded;
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    write_wrapped(path, m, &teacher, &student, 0);
    hpt_context_set_log(ctx, keep_log, NULL);
    OK(hpt_model_load(ctx, config("seed=3"), path, &got, &r));
    OK(hpt_result_number(r, "not_used_count", &n));
    OK(hpt_result_number(r, "loaded", &loaded));
    CHECK(n == loaded + loaded / 5 + 1 && !*warned && !strstr(json_of(r), "not_finite"));
    float v[4 * 128];
    for (int k = 0; k < 3; k++) {
        write_wrapped(path, m, &teacher, NULL, k == 0 ? NAN : k == 1 ? INFINITY : -INFINITY);
        OK(hpt_model_load(ctx, config("seed=3"), path, &got, &r));
        CHECK(strstr(warned, "1 tensors hold values that are not finite") &&
              strstr(warned, "teacher.bn1.running_mean"));
        OK(hpt_result_number(r, "not_finite_count", &n));
        CHECK(n == 1);
        OK(hpt_model_features(got, ds, config("image_size=16 batch_size=4"), v, 4 * 128));
        if (k == 0) CHECK(strstr(warned, "features of 4 of 4 images are not finite"));
        *warned = 0;
    }
    /* other networks than ours by what stands in the names */
    static const char *const marks[][2] = {{"layer1.0.conv1.parametrizations.weight.original0", "parametrization"},
                                           {"layer1.0.conv1.weight_orig", "spectral norm"},
                                           {"layer1.0.conv1.weight_g", "weight norm"},
                                           {"_fsdp_wrapped_module._flat_param", "FSDP has flattened"}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        write_file(path, m, "", NULL, marks[i][0], "layer1.0.conv1.");
        FAILS(HPT_ERR_MISMATCH, marks[i][1], hpt_model_load(ctx, config("seed=3"), path, &got, NULL));
    }
    FAILS(HPT_ERR_NUMERIC, "not finite", (write_wrapped(path, m, &teacher, NULL, NAN),
                                          hpt_model_load(ctx, config("seed=3"), path, &got, NULL)) ? HPT_OK
                                          : hpt_model_knn(got, ds, ds,
                                                          config("image_size=16 batch_size=4 overlap=allow"), &r));
}

/* The documented order, and the option that names another. */
TEST(one_of_several_networks) {
    static const struct {
        const char *first, *second;
        int takes;
    } pairs[] = {{"state_dict/module.encoder_q.", "state_dict/module.encoder_k.", 0},
                 {"state_dict/module.encoder_k.", "state_dict/module.encoder_q.", 1},
                 {"student/module.backbone.", "teacher/backbone.", 1},
                 {"teacher.backbone.", "student.backbone.", 0},
                 {"teacher_backbone.", "student_backbone.", 0},
                 {"momentum_backbone.", "backbone.", 1},
                 {"backbone_momentum.", "backbone.", 1},
                 {"key_backbone.", "backbone.", 1},
                 {"target_net.0.", "online_net.0.", 1},
                 {"state_dict/", "state_dict_ema/", 1},
                 {"model_ema/module.", "model/", 0},
                 {"ema_state_dict/module.backbone.", "state_dict/backbone.", 1},
                 {"module.momentum_encoder.", "module.base_encoder.", 1},
                 {"hpt/monitor_weights/", "state_dict/module.encoder_q.", 1},
                 {"target_encoder.net.", "online_encoder.net.", 1},
                 {"a.b.", "a.", 1},
                 {"left.", "right.", 0}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m[2] = {model_of(ctx, TINY, 7), model_of(ctx, TINY, 8)}, *got;
    char path[200];
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *where[2] = {pairs[i].first, pairs[i].second};
        hpt__torch_out t;
        hpt__tw_begin(&t);
        hpt__tw_dict(&t, 1);
        size_t common = strcspn(where[0], "/") + 1;
        int shared = strchr(where[0], '/') && !strncmp(where[0], where[1], common); /* both in one dictionary */
        char key[40];
        snprintf(key, sizeof key, "%.*s", (int)common - 1, where[0]);
        if (shared) hpt__tw_str(&t, key), hpt__tw_dict(&t, 1);
        for (int k = 0; k < 2; k++)
            put_at(&t, m[k], where[k] + (shared ? common : 0), NULL, NULL, NULL);
        if (shared) hpt__tw_end_dict(&t);
        hpt__tw_end_dict(&t);
        OK(hpt__tw_finish(&t, path));
        for (int ask = -1; ask < 2; ask++) {
            hpt_config *c = config("seed=3");
            if (ask >= 0) OK(hpt_config_set(c, "backbone_prefix", where[ask]));
            OK(hpt_model_load(ctx, c, path, &got, NULL));
            if (!same_weights(m[ask < 0 ? pairs[i].takes : ask], got))
                FAIL("%s, %s, asked %d: the other one", where[0], where[1], ask);
            hpt_model_destroy(got);
        }
        hpt_result *info;
        OK(hpt_file_info(path, &info));
        char *text = json_of(info);
        CHECK(strstr(text, "others ") && strstr(text, where[!pairs[i].takes]));
        hpt_result_destroy(info);
    }
    hpt_config *c = config("backbone_prefix=nothing");
    FAILS(HPT_ERR_MISMATCH, "the file has 'left.', 'right.'", hpt_model_load(ctx, c, path, &got, NULL));
    OK(hpt_config_set(c, "backbone_prefix", "right")); /* the last separator may be left out */
    OK(hpt_model_load(ctx, c, path, &got, NULL));
    CHECK(same_weights(m[1], got));
}

TEST(another_network_with_our_names_is_refused) {
    static const struct {
        const char *extra, *says;
    } more[] = {{"layer1.0.se.fc1.weight", "SE-ResNet"},
                {"layer4.0.se_module.fc2.bias", "SE-ResNet"},
                {"layer2.0.eca.conv.weight", "ECA"},
                {"layer1.0.bn1.IN.weight", "IBN"},
                {"layer3.0.conv2.1.filt", "blur pools"},
                {"maxpool.1.filt", "blur pools"},
                {"layer1.0.ca.fc1.weight", "attention"},
                {"layer1.0.conv1.bias", "biases"},
                {"conv2.weight", "deep stem"},
                {"bn3.weight", "deep stem"},
                {"layer2.0.norm3.weight", "layer2.0.norm3.weight"},
                {"layer5.0.conv1.weight", "layer5.0.conv1.weight"},
                {"layer1.0.conv2.conv_offset.weight", "deformable"},
                {"layer1.3.weight", "layer1.3.weight"},
                {"layer1.0.conv1.weight_mask", "pruned"},
                {"bam1.gate_c.gate_activation.weight", "attention"},
                {"ca1.fc1.weight", "attention"},
                {"layer2.0.se.conv.weight", "ECA"}};
    static const char *const beside[] = {"fc.weight",
                                         "head.fc.bias",
                                         "projector.0.weight",
                                         "queue",
                                         "bn1.num_batches_tracked",
                                         "layer1.0.bn1.num_batches_tracked",
                                         "attnpool.c_proj.weight",
                                         "prototypes.weight",
                                         "neck.conv1.weight",
                                         "predictor.layers.0.weight"};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY, 9), *got;
    hpt_config *plain = config("seed=3"), *allow = config("unused=allow");
    hpt_result *report;
    char path[200];
    double n;
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        write_file(path, m, "state_dict/module.", NULL, more[i].extra, NULL);
        FAILS(HPT_ERR_MISMATCH, more[i].says, hpt_model_load(ctx, plain, path, &got, &report));
        CHECK(!got && strstr(hpt_last_error(), more[i].extra) && strstr(hpt_last_error(), "unused=allow") &&
              strlen(hpt_last_error()) < 600);
        OK(hpt_result_number(report, "foreign_count", &n));
        CHECK(n == 1);
        OK(hpt_model_load(ctx, allow, path, &got, NULL));
        CHECK(same_weights(m, got));
        hpt_model_destroy(got);
        hpt_result_destroy(report);
        OK(hpt_file_info(path, &report));
        CHECK(strstr(json_of(report), "\"loads\": false"));
        hpt_result_destroy(report);
    }
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        write_file(path, m, "state_dict/module.", NULL, beside[i], NULL);
        OK(hpt_model_load(ctx, plain, path, &got, NULL));
        CHECK(same_weights(m, got));
        hpt_model_destroy(got);
    }
    write_file(path, m, "features.", sequential, "2.weight", NULL); /* in a Sequential: a layer before the stages */
    FAILS(HPT_ERR_MISMATCH, "features.2.weight", hpt_model_load(ctx, plain, path, &got, NULL));
    write_file(path, m, "features.", sequential, "8.weight", NULL); /* and behind them, a head */
    OK(hpt_model_load(ctx, plain, path, &got, NULL));
    write_file(path, m, "", NULL, NULL, "layer3.0.bn2.running_var");
    FAILS(HPT_ERR_MISMATCH, "missing layer3.0.bn2.running_var", hpt_model_load(ctx, plain, path, &got, NULL));
    write_file(path, m, "", NULL, NULL, "*running");
    FAILS(HPT_ERR_MISMATCH, "group norm", hpt_model_load(ctx, plain, path, &got, NULL));
    write_file(path, m, "", NULL, NULL, "layer4");
    FAILS(HPT_ERR_MISMATCH, "no layer4", hpt_model_load(ctx, plain, path, &got, NULL));
    write_file(path, m, "", NULL, NULL, "bn1.");
    FAILS(HPT_ERR_MISMATCH, "no stem", hpt_model_load(ctx, plain, path, &got, NULL));
}

/* Shapes that are not a ResNet's of ours are named; a wrong option gets one line with the right ones. */
TEST(another_architecture_is_named) {
    static const struct {
        const char *tensor;
        int64_t shape[4];
        const char *says;
    } other[] = {{"layer1.0.conv2.weight", {16, 4, 3, 3}, "ResNeXt: layer1.0.conv2 has 4 groups"},
                 {"layer1.0.conv2.weight", {32, 32, 3, 3}, "wide ResNet"},
                 {"conv1.weight", {16, 1, 3, 3}, "takes 1 channels"},
                 {"conv1.weight", {16, 3, 5, 5}, "5x5"},
                 {"conv1.weight", {24, 3, 3, 3}, "24 channels"},
                 {"conv1.weight", {32, 3, 3, 3}, "gives 32 channels and its first block takes 16"}};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY, 10), *got;
    hpt_config *plain = config("seed=3");
    char path[200];
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        static const float zeros[16384];
        hpt__torch_out t;
        hpt__tw_begin(&t);
        hpt__tw_dict(&t, 1);
        put(&t, m, "", NULL, NULL, other[i].tensor);
        hpt__tw_str(&t, other[i].tensor);
        const int64_t *s = other[i].shape;
        hpt__tw_tensor_f32(&t, zeros, (uint64_t)(s[0] * s[1] * s[2] * s[3]), 4, s, NULL);
        hpt__tw_end_dict(&t);
        OK(hpt__tw_finish(&t, path));
        FAILS(HPT_ERR_MISMATCH, other[i].says, hpt_model_load(ctx, plain, path, &got, NULL));
    }
    write_file(path, m, "", NULL, NULL, NULL);
    FAILS(HPT_ERR_MISMATCH, "set arch=resnet10 width=16 stem=small",
          hpt_model_load(ctx, config("arch=resnet50"), path, &got, NULL));
    FAILS(HPT_ERR_MISMATCH, "not a resnet10 of width 64, stem small",
          hpt_model_load(ctx, config("arch=resnet10 stem=small"), path, &got, NULL));
    FAILS(HPT_ERR_MISMATCH, "carry_head", hpt_model_load(ctx, config("carry_head=1"), path, &got, NULL));
    OK(hpt_model_save(m, path, "moco"));
    FAILS(HPT_ERR_MISMATCH, "set moco_dim=128",
          hpt_model_load(ctx, config(TINY " carry_head=1 moco_dim=24"), path, &got, NULL));
    OK(hpt_model_load(ctx, config("carry_head=1 moco_dim=24"), path, &got,
                      NULL)); /* arch left out: the head's width is the file's too */
}

/* ---- runs of facebookresearch/moco ---- */

#define MOCO "steps=20 moco_k=24 batch_size=3 bn_group=0 image_size=16 moco_dim=8 threads=1 workers=1 seed=4 " TINY " "

static hpt_session *moco_session(hpt_context *ctx, const char *more, hpt_dataset *ds) {
    char text[400];
    hpt_session *s;
    hpt_model *m;
    snprintf(text, sizeof text, MOCO "%s", more);
    hpt_config *c = config(text);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, ds, &s));
    hpt_model_destroy(m);
    return s;
}

/* How a file of a run differs from ours: names, optimizer's keys, what is left out. */
typedef struct moco_file {
    const char *prefix, *inner;
    int64_t first_key, key_step;
    int scalar_ptr, float_ptr, without_epoch, groups;
    const char *no_buffer;
} moco_file;

/* f, a checkpoint of ours, as the original program writes it. */
static void write_moco(const char *path, const hpt__tensorfile *f, const moco_file *how) {
    hpt__torch_out t;
    char name[300];
    float *data[2000];
    int n_data = 0, params = 0;
    int64_t ptr = 0;
    hpt__tw_begin(&t);
    hpt__tw_dict(&t, 0);
    if (!how->without_epoch) hpt__tw_str(&t, "epoch"), hpt__tw_int(&t, 1);
    hpt__tw_str(&t, "arch");
    hpt__tw_str(&t, "resnet10");
    hpt__tw_str(&t, "state_dict");
    hpt__tw_dict(&t, 1);
    for (uint32_t i = 0; i < f->n; i++) {
        const hpt__ftensor *x = &f->t[i];
        const char *local = x->name + strlen("state_dict/module.");
        if (strncmp(x->name, "state_dict/module.", 18)) continue;
        float *v = data[n_data++] = malloc((x->count + 1) * 4);
        OK(hpt__ftensor_read(x, v));
        int encoder = !strncmp(local, "encoder_", 8);
        snprintf(name, sizeof name, "%s%.*s%s%s", how->prefix, encoder ? 10 : 0, local, encoder ? how->inner : "",
                 local + (encoder ? 10 : 0));
        hpt__tw_str(&t, name);
        if (!strcmp(local, "queue_ptr") && !how->float_ptr) {
            ptr = (int64_t)v[0];
            hpt__tw_tensor_i64(&t, &ptr, 1, !how->scalar_ptr, x->shape);
        } else
            hpt__tw_tensor_f32(&t, v, x->count, x->ndim, x->shape, NULL);
    }
    hpt__tw_end_dict(&t);
    hpt__tw_str(&t, "optimizer");
    hpt__tw_dict(&t, 0);
    hpt__tw_str(&t, "state");
    hpt__tw_dict(&t, 0);
    for (uint32_t i = 0; i < f->n; i++) {
        const hpt__ftensor *x = &f->t[i];
        int id, used = 0;
        if (sscanf(x->name, "optimizer/state/%d/momentum_buffer%n", &id, &used) != 1 || !used) continue;
        params = id + 1 > params ? id + 1 : params;
        if (how->no_buffer && (!strcmp(how->no_buffer, "all") || id == atoi(how->no_buffer))) continue;
        float *v = data[n_data++] = malloc(x->count * 4);
        OK(hpt__ftensor_read(x, v));
        hpt__tw_int(&t, how->first_key + how->key_step * id);
        hpt__tw_dict(&t, 0);
        hpt__tw_str(&t, "momentum_buffer");
        hpt__tw_tensor_f32(&t, v, x->count, x->ndim, x->shape, NULL);
        hpt__tw_end_dict(&t);
    }
    if (how->no_buffer &&
        strcmp(how->no_buffer, "all")) { /* what a parameter without gradient gets in newer versions */
        hpt__tw_int(&t, how->first_key + how->key_step * atoi(how->no_buffer));
        hpt__tw_dict(&t, 0);
        hpt__tw_str(&t, "momentum_buffer");
        hpt__tw_none(&t);
        hpt__tw_end_dict(&t);
    }
    hpt__tw_end_dict(&t);
    hpt__tw_str(&t, "param_groups");
    hpt__tw_list(&t);
    for (int g = 0; g < how->groups; g++) {
        hpt__tw_dict(&t, 0);
        hpt__tw_str(&t, "lr");
        hpt__tw_float(&t, 0.03);
        hpt__tw_str(&t, "params");
        hpt__tw_list(&t);
        for (int i = 0; i < 2 * params; i++)
            if (i % how->groups == g) hpt__tw_int(&t, how->first_key + how->key_step * i);
        hpt__tw_end_list(&t);
        hpt__tw_end_dict(&t);
    }
    hpt__tw_end_list(&t);
    hpt__tw_end_dict(&t);
    hpt__tw_end_dict(&t);
    OK(hpt__tw_finish(&t, path));
    while (n_data)
        free(data[--n_data]);
}

TEST(runs_of_the_original_moco_are_resumed) {
    static const moco_file files[] = {{"module.", "", 0, 1, 0, 0, 0, 1, NULL},
                                      {"module.", "", 139872112000000, 88, 0, 0, 0, 1, NULL},
                                      {"", "", 139872112000000, -72, 1, 0, 0, 1, NULL},
                                      {"_orig_mod.module.", "", 0, 1, 1, 0, 0, 1, NULL},
                                      {"module._orig_mod.", "", 94000000000000, 1048576, 0, 1, 0, 1, NULL},
                                      {"", "_orig_mod.", 0, 1, 0, 0, 0, 1, NULL},
                                      {"module.", "module.", 0, 1, 0, 0, 0, 1, NULL},
                                      {"_fsdp_wrapped_module.", "_fsdp_wrapped_module._checkpoint_wrapped_module.", 0,
                                       1, 0, 0, 0, 1, NULL}};
    static const char *const tensors[] = {"queue",
                                          "q.conv1.weight",
                                          "q.layer4.0.bn2.running_var",
                                          "k.layer2.0.conv1.weight",
                                          "k.bn1.running_mean",
                                          "q.fc.2.bias",
                                          "momentum.conv1.weight",
                                          "momentum.layer3.0.downsample.0.weight",
                                          "momentum.fc.0.weight"};
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 32, 16, 3); /* 10 steps of 3 an epoch; 2 images are left over */
    for (int mlp = 1; mlp >= 0; mlp--) {
        const char *more = mlp ? "" : "mlp=0";
        char *dir = temp_dir(), ours[200], theirs[200];
        static float want[sizeof tensors / sizeof *tensors][80000], got[80000];
        hpt_session *s = moco_session(ctx, more, ds);
        hpt__tensorfile f;
        snprintf(ours, sizeof ours, "%s/ours", dir);
        snprintf(theirs, sizeof theirs, "%s/theirs", dir);
        for (int i = 0; i < 10; i++)
            OK(hpt_session_step(s, NULL));
        OK(hpt_session_save(s, ours));
        OK(hpt__tensorfile_open(&f, ours));
        for (int i = 0; i < 2; i++)
            OK(hpt_session_step(s, NULL));
        uint64_t count[sizeof tensors / sizeof *tensors] = {192, 432, 128, 32 * 16 * 9, 16, 8, 432, 64 * 32, 128 * 128};
        size_t n = sizeof tensors / sizeof *tensors - (mlp ? 0 : 1);
        if (!mlp) count[5] = 0;
        for (size_t i = 0; i < n; i++)
            if (count[i]) OK(hpt_session_get_tensor(s, tensors[i], want[i], count[i]));
        hpt_session_destroy(s);
        for (size_t k = 0; k < (mlp ? sizeof files / sizeof *files : 2); k++) {
            write_moco(theirs, &f, &files[k]);
            s = moco_session(ctx, more, ds);
            OK(hpt_session_resume(s, theirs));
            hpt_step_info info = {.struct_size = sizeof info};
            OK(hpt_session_get_info(s, &info));
            CHECK(info.step == 10);
            for (int i = 0; i < 2; i++)
                OK(hpt_session_step(s, NULL));
            for (size_t i = 0; i < n; i++) {
                if (!count[i]) continue;
                OK(hpt_session_get_tensor(s, tensors[i], got, count[i]));
                if (memcmp(got, want[i], count[i] * 4))
                    FAIL("file %zu: %s is not that of the undisturbed run", k, tensors[i]);
            }
            hpt_session_destroy(s);
        }
        if (mlp) {
            static const struct {
                moco_file how;
                const char *options;
                hpt_status status;
                const char *says;
            } bad[] = {
                {{"module.", "", 0, 1, 0, 0, 1, 1, NULL}, "", HPT_ERR_MISMATCH, "neither a step nor an epoch"},
                {{"module.", "", 0, 1, 0, 0, 0, 2, NULL}, "", HPT_ERR_MISMATCH, "more than one group"},
                {{"module.", "", 0, 1, 0, 0, 0, 1, "all"}, "", HPT_ERR_MISMATCH, "no momentum_buffer"},
                {{"module.", "", 0, 1, 0, 0, 0, 1, NULL}, "optimizer=adamw", HPT_ERR_MISMATCH, "no exp_avg"},
                {{"module.", "", 0, 1, 0, 0, 0, 1, NULL}, "moco_k=48", HPT_ERR_MISMATCH, "set moco_dim=8 moco_k=24"},
                {{"module.", "", 0, 1, 0, 0, 0, 1, NULL}, "mlp=0", HPT_ERR_MISMATCH, "set moco_dim=8 mlp=1"},
                {{"module.", "", 0, 1, 0, 0, 0, 1, NULL}, "arch=resnet18", HPT_ERR_MISMATCH, "the file is a resnet10"},
                {{"module.", "", 7, 1, 0, 0, 0, 1, NULL}, "steps=9", HPT_ERR_MISMATCH, "at step 10"}};
            for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
                write_moco(theirs, &f, &bad[k].how);
                s = moco_session(ctx, bad[k].options, ds);
                FAILS(bad[k].status, bad[k].says, hpt_session_resume(s, theirs));
                hpt_session_destroy(s);
            }
            write_moco(
                theirs, &f,
                &(moco_file){"module.", "", 0, 1, 0, 0, 0, 1, "0"}); /* conv1 was never stepped: it starts from zero */
            s = moco_session(ctx, more, ds);
            OK(hpt_session_resume(s, theirs));
            OK(hpt_session_get_tensor(s, "momentum.conv1.weight", got, 432));
            for (int i = 0; i < 432; i++)
                CHECK(got[i] == 0);
            hpt_session_destroy(s);
        }
        hpt__tensorfile_close(&f);
    }
}

/* ---- files of the projects themselves ---- */

static void unpack(const char *from, const char *to) {
    static char buf[1 << 16];
    gzFile in = gzopen(from, "rb");
    FILE *out = fopen(to, "wb");
    int n;
    if (!in || !out) FAIL("%s, %s: cannot be opened", from, to);
    while ((n = gzread(in, buf, sizeof buf)) > 0)
        CHECK(fwrite(buf, 1, (size_t)n, out) == (size_t)n);
    CHECK(n == 0 && gzclose(in) == Z_OK && !fclose(out));
}
/* tests/golden/make_golden.py wrote them, and what must be found in them. */
TEST(golden_files_load) {
    json_error_t why;
    json_t *all = json_load_file("tests/golden/golden.json", 0, &why), *e, *v;
    hpt_context *ctx = context("reference", 1);
    hpt_config *plain = config("seed=3");
    char packed[300], path[300], text[64];
    const char *tensor;
    size_t i, k;
    if (!all) FAIL("golden.json: %s", why.text);
    CHECK(json_array_size(all) > 15);
    snprintf(path, sizeof path, "%s/f", temp_dir());
    json_array_foreach(all, i, e) {
        const char *file = json_string_value(json_object_get(e, "file")),
                   *says = json_string_value(json_object_get(e, "says"));
        hpt_model *m;
        hpt_result *report;
        snprintf(packed, sizeof packed, "tests/golden/%s.gz", file);
        unpack(packed, path);
        hpt_status st = hpt_model_load(ctx, plain, path, &m, &report);
        if (says) {
            if (st != HPT_ERR_MISMATCH || !strstr(hpt_last_error(), says))
                FAIL("%s: %s, %s", file, hpt_status_name(st), st ? hpt_last_error() : "");
            hpt_result_destroy(report);
            continue;
        }
        if (st) FAIL("%s: %s", file, hpt_last_error());
        hpt_model_info info = {.struct_size = sizeof info};
        OK(hpt_model_get_info(m, &info));
        snprintf(text, sizeof text, "%s %u %s", info.arch, info.width, info.stem);
        char want[64];
        snprintf(want, sizeof want, "%s %d %s", json_string_value(json_object_get(e, "arch")),
                 (int)json_integer_value(json_object_get(e, "width")), json_string_value(json_object_get(e, "stem")));
        if (strcmp(text, want)) FAIL("%s: %s, not %s", file, text, want);
        json_t *said = json_loads(json_of(report), 0, NULL);
        const char *prefix = json_string_value(json_object_get(said, "prefix"));
        if (strcmp(prefix, json_string_value(json_object_get(e, "prefix")))) FAIL("%s: prefix '%s'", file, prefix);
        json_array_foreach(json_object_get(e, "values"), k, v) {
            tensor = json_string_value(json_array_get(v, 0));
            uint64_t n = (uint64_t)json_integer_value(json_object_get(json_object_get(e, "sizes"), tensor));
            float *x = malloc(n * 4);
            OK(hpt_model_get_tensor(m, tensor, x, n));
            if (x[json_integer_value(json_array_get(v, 1))] != (float)json_real_value(json_array_get(v, 2)))
                FAIL("%s: %s has other values", file, tensor);
            free(x);
        }
        json_decref(said);
        hpt_result_destroy(report);
        hpt_model_destroy(m);
    }
    json_decref(all);
}

/* A tensor that cannot be read stops a load only if it is needed, and is listed in any case. */
TEST(unreadable_tensors_stop_a_load_only_if_needed) {
    static const char *const names[] = {"state_dict/freqs", "state_dict/layer3.0.conv1.weight",
                                        "state_dict/layer1.0.conv1.weight", "state_dict/fc.weight"};
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY, 11);
    char path[200], text[8000];
    snprintf(path, sizeof path, "%s/f.pth", temp_dir());
    for (int k = 0; k < 4; k++) {
        hpt__tensorfile f;
        hpt__networks r;
        write_file(path, m, "state_dict/", NULL, k == 0 ? "freqs" : k == 3 ? "fc.weight" : NULL, NULL);
        OK(hpt__tensorfile_open(&f, path));
        hpt__ftensor *x = (hpt__ftensor *)(uintptr_t)hpt__tensorfile_find(&f, names[k]);
        CHECK(x);
        x->unreadable = "complex64";
        x->data = NULL;
        OK(hpt__recognise(&f, &r));
        json_t *report = json_object();
        OK(hpt__names_check(&r, &r.c[0], report));
        hpt__names_summary(&r, &r.c[0], report, text, sizeof text);
        int needed = k == 1 || k == 2;
        CHECK(json_is_true(json_object_get(report, "loads")) == !needed);
        const char *why = json_string_value(json_object_get(report, "refused"));
        CHECK(!needed || (strstr(why, names[k]) && strstr(why, "complex64")));
        CHECK(json_array_size(json_object_get(report, "unreadable")) == 1 && strstr(text, "unreadable  ") &&
              strstr(text, names[k]));
        json_decref(report);
        hpt__networks_fini(&r);
        hpt__tensorfile_close(&f);
    }
}

/* A recipe whose file does not hold its network is refused by the plan, with the line. */
TEST(a_plan_looks_into_files_of_weights) {
    hpt_context *ctx = context("reference", 1);
    hpt_model *m = model_of(ctx, TINY, 12);
    char *dir = temp_dir(), path[300], out[300];
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "%s/%d.ppm", dir, i);
        FILE *f = fopen(path, "wb");
        CHECK(f && fprintf(f, "P6 8 8 255\n") > 0);
        for (int k = 0; k < 192; k++)
            fputc(i * 30 + k % 3, f);
        fclose(f);
    }
    snprintf(path, sizeof path, "%s/net.pth", dir);
    OK(hpt_model_save(m, path, "torchvision"));
    for (int right = 0; right < 2; right++) {
        hpt_recipe *r;
        hpt_result *plan;
        snprintf(path, sizeof path, "%s/r.ini", dir);
        snprintf(out, sizeof out, "%s/out", dir);
        FILE *f = fopen(path, "w");
        CHECK(f);
        fprintf(
            f,
            "[recipe]\nname = x\n[data t]\npath = %s\n[pretrain p]\ndata = t\ninit = %s/net.pth\nsteps = 2\nbatch_size "
            "= 4\nbn_group = 0\nmoco_k = 8\nimage_size = 16\n%s", dir, dir,
            right ? "arch = resnet10\nwidth = 16\nstem = small\n" : "arch = resnet18\n");
        fclose(f);
        OK(hpt_recipe_open(config("backend=reference"), path, out, &r));
        if (right)
            OK(hpt_recipe_plan(r, &plan));
        else
            FAILS(HPT_ERR_MISMATCH, "r.ini, line 7", hpt_recipe_plan(r, &plan));
        if (!right) CHECK(strstr(hpt_last_error(), "the file is a resnet10 of width 16"));
        hpt_recipe_destroy(r);
    }
}

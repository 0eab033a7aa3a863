/* SPDX-License-Identifier: MIT
 * Files of every release load in every later one: sessions of each method, models in each layout, a file of statistics.
 * tests/golden/MAJOR.MINOR holds them and golden.json, which says with what options they were made and what comes of
 * them. Their numbers are short sequences, so that they compress. `make record-golden` writes the folder of the present
 * version, once; a folder that is there is never written again. (Files of other projects: test golden_files_load.) */
#define _GNU_SOURCE
#include "shell.h"
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define NET "arch=resnet10 width=16 stem=small image_size=16 batch_size=8 bn_group=4 steps=6 precision=fp32 seed=5 " \
    "pixel_mean=0.5,0.25,0.125 pixel_std=0.5,0.25,0.75 backend=reference threads=1 "
static const struct { const char *name, *options; } sessions[] = {
    {"session-moco.pth.tar", NET "moco_k=32 moco_dim=16"},
    {"session-moco-adamw-bn.pth.tar", NET "moco_k=32 moco_dim=16 optimizer=adamw train=bn"},
    {"session-byol-lars.pth.tar", NET "method=byol head=byol moco_dim=16 head_hidden=32 byol_hidden=16 optimizer=lars"},
    {"session-supervised.pth.tar", NET "method=supervised"},
};
static const char *const models[] = {"model.pth", "model-moco.pth", "model-openselfsup.pth", "model.safetensors"};
static const char *const layouts[] = {"torchvision", "moco", "openselfsup", "safetensors"};
static const char *const prefixes[] = {"q.", "k.", "online.", "target.", "predictor.", "model.", "momentum."};

/* Value i of the tensor called name: a sequence of its own, with the signs that a running network needs. */
static float value(const char *name, uint64_t i) {
    uint64_t k = 7;
    for (const char *p = name; *p; p++) k = (k * 31 + (uint8_t)*p) % 1009;
    float x = 0.015625f * (float)((int)((i + k) % 7) - 3);
    return strstr(name, "running_var") ? 1 + x : strstr(name, "momentum.") ? x / 16 : strstr(name, ".weight") &&
        (strstr(name, "bn") || strstr(name, "downsample.1")) ? 1 + x : x;
}
/* Images of three classes, of their own for ever. */
static hpt_dataset *pictures(hpt_context *ctx, const char *options) {
    enum { N = 24, SIDE = 16 };
    uint8_t *rgb = malloc(N * SIDE * SIDE * 3);
    int32_t labels[N];
    for (int i = 0; i < N; i++) {
        labels[i] = i % 3;
        for (int p = 0; p < SIDE * SIDE * 3; p++)
            rgb[i * SIDE * SIDE * 3 + p] =
                (uint8_t)((p % 3 == i % 3) * 90 + (p / 3 % SIDE * (i % 3 + 1) * 11 + p / 48 * 5 + i * 37) % 150);
    }
    hpt_config *c = config(options);
    hpt_dataset *ds;
    OK(hpt_dataset_from_memory(ctx, c, rgb, N, SIDE, SIDE, 3, labels, &ds));
    hpt_config_destroy(c);
    free(rgb);
    return ds;
}

/* Every tensor of the session that can be named: its values are set, or must be those that were set. Momentum that is
 * not used (train=bn) is not kept. */
static int each_tensor(hpt_session *s, hpt_model *m, const char *options, int set_them) {
    hpt_tensor_info t = {.struct_size = sizeof t};
    static float x[1 << 18], want[1 << 18];
    char name[160];
    int named = 0;
    for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes; k++)
        for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK; i++) {
            uint64_t n = 1;
            for (int d = 0; d < t.ndim; d++) n *= (uint64_t)t.shape[d];
            CHECK(n <= sizeof x / sizeof *x);
            if (!strcmp(prefixes[k], "momentum.") && strstr(options, "train=bn")) continue;
            snprintf(name, sizeof name, "%s%s", prefixes[k], t.name);
            hpt_status st = hpt_session_get_tensor(s, name, x, n);
            if (st == HPT_ERR_ARGUMENT) continue;       /* not one of this method's */
            if (st) FAIL("%s: %s", name, hpt_last_error());
            for (uint64_t j = 0; j < n; j++) want[j] = value(name, j);
            if (set_them) OK(hpt_session_set_tensor(s, name, want, n));
            else
                for (uint64_t j = 0; j < n; j++)
                    if (x[j] != want[j]) FAIL("%s[%llu]: %g, not %g", name, (unsigned long long)j, x[j], want[j]);
            named++;
        }
    return named;
}
static hpt_session *open_session(hpt_context *ctx, const char *options, hpt_dataset *ds, hpt_model **m) {
    hpt_config *c = config(options);
    hpt_session *s;
    OK(hpt_model_create(ctx, c, m));
    OK(hpt_session_create(ctx, c, *m, ds, &s));
    hpt_config_destroy(c);
    return s;
}
static double next_loss(hpt_session *s) {
    hpt_step_info info = {.struct_size = sizeof info};
    OK(hpt_session_step(s, &info));
    return info.loss;
}

/* ---- recording ---- */

static void pack(const char *from, const char *folder, const char *name) {
    char to[300], buf[4096];
    snprintf(to, sizeof to, "%s/%s.gz", folder, name);
    FILE *in = fopen(from, "rb");
    gzFile out = gzopen(to, "wb9");
    CHECK(in && out);
    for (size_t n; (n = fread(buf, 1, sizeof buf, in)) > 0;) CHECK(gzwrite(out, buf, (unsigned)n) == (int)n);
    CHECK(!fclose(in) && gzclose(out) == Z_OK);
}
static void record(const char *folder) {
    char path[300], text[400];
    char *dir = temp_dir();
    json_t *all = json_pack("{s:s, s:[], s:[], s:{}}", "version", hpt_version_string(), "sessions", "models",
                            "statistics");
    if (mkdir(folder, 0777)) FAIL("%s is there: what was recorded stays as it is", folder);
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = pictures(ctx, "");
    snprintf(path, sizeof path, "%s/x", dir);
    for (size_t i = 0; i < sizeof sessions / sizeof *sessions; i++) {
        hpt_model *m;
        hpt_session *s = open_session(ctx, sessions[i].options, ds, &m);
        for (int k = 0; k < 2; k++) next_loss(s);
        int named = each_tensor(s, m, sessions[i].options, 1);
        OK(hpt_session_save(s, path));
        pack(path, folder, sessions[i].name);
        json_array_append_new(json_object_get(all, "sessions"),
                              json_pack("{s:s, s:s, s:i, s:i, s:f}", "file", sessions[i].name, "options",
                                        sessions[i].options, "step", 2, "tensors", named, "next_loss", next_loss(s)));
        hpt_session_destroy(s);
        hpt_model_destroy(m);
    }
    /* a model with all that one can have: a head, a classifier, the mean and deviation of its images */
    hpt_config *c = config(NET "moco_dim=16");
    hpt_model *m;
    OK(hpt_model_create(ctx, c, &m));
    hpt_config *sup = config(NET "method=supervised moco_dim=16");
    hpt_session *s;
    OK(hpt_session_create(ctx, sup, m, ds, &s));
    OK(hpt_session_sync(s));
    hpt_session_destroy(s);
    hpt_tensor_info t = {.struct_size = sizeof t};
    static float x[1 << 18];
    for (uint32_t i = 0;; i++) {
        uint64_t n = 1;
        if (hpt_model_tensor_info(m, i, &t) != HPT_OK) break;
        for (int d = 0; d < t.ndim; d++) n *= (uint64_t)t.shape[d];
        for (uint64_t j = 0; j < n; j++) x[j] = value(t.name, j);
        OK(hpt_model_set_tensor(m, t.name, x, n));
    }
    for (uint64_t j = 0; j < 3 * 128; j++) x[j] = value("classifier.weight", j);
    OK(hpt_model_set_tensor(m, "classifier.weight", x, 3 * 128));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        OK(hpt_model_save(m, path, layouts[i]));
        pack(path, folder, models[i]);
        json_array_append_new(json_object_get(all, "models"), json_pack("{s:s, s:s}", "file", models[i], "layout",
                                                                        layouts[i]));
    }
    hpt_model_destroy(m);
    hpt_dataset_destroy(ds);
    float mean[3], std[3];
    snprintf(text, sizeof text, "stats_file=%s/statistics.json", folder);
    ds = pictures(ctx, text);
    OK(hpt_dataset_stats(ds, mean, std));
    json_object_set_new(json_object_get(all, "statistics"), "mean",
                        json_pack("[f,f,f]", (double)mean[0], (double)mean[1], (double)mean[2]));
    json_object_set_new(json_object_get(all, "statistics"), "std",
                        json_pack("[f,f,f]", (double)std[0], (double)std[1], (double)std[2]));
    hpt_dataset_destroy(ds);
    snprintf(text, sizeof text, "%s/golden.json", folder);
    CHECK(!json_dump_file(all, text, JSON_INDENT(1)));
}

/* ---- loading ---- */

static void unpack(const char *folder, const char *name, const char *to) {
    char from[300], buf[4096];
    snprintf(from, sizeof from, "%s/%s.gz", folder, name);
    gzFile in = gzopen(from, "rb");
    FILE *out = fopen(to, "wb");
    int n;
    if (!in || !out) FAIL("%s, %s: cannot be opened", from, to);
    while ((n = gzread(in, buf, sizeof buf)) > 0) CHECK(fwrite(buf, 1, (size_t)n, out) == (size_t)n);
    CHECK(n == 0 && gzclose(in) == Z_OK && !fclose(out));
}
static void load_session(hpt_context *ctx, hpt_dataset *ds, json_t *e, const char *path) {
    hpt_step_info info = {.struct_size = sizeof info};
    const char *file = json_string_value(json_object_get(e, "file"));
    hpt_model *m;
    const char *options = json_string_value(json_object_get(e, "options"));
    hpt_session *s;
    /* a key that the file is older than was its default */
    int parts = strstr(options, "method=byol") || strstr(options, "method=supervised");
    if (parts && !strstr(options, "accumulate")) {
        char more[600];
        snprintf(more, sizeof more, "%s accumulate=2", options);
        s = open_session(ctx, more, ds, &m);
        FAILS(HPT_ERR_MISMATCH, "option accumulate was 1 in the run and is 2 now", hpt_session_resume(s, path));
        hpt_session_destroy(s);
        hpt_model_destroy(m);
    }
    s = open_session(ctx, options, ds, &m);
    if (hpt_session_resume(s, path)) FAIL("%s: %s", file, hpt_last_error());
    OK(hpt_session_get_info(s, &info));
    CHECK(info.step == (uint64_t)integer(e, "step"));
    int named = each_tensor(s, m, options, 0);
    double loss = next_loss(s), want = num(e, "next_loss");
    if (named != integer(e, "tensors")) FAIL("%s: %d tensors, not %d", file, named, integer(e, "tensors"));
    if (fabs(loss - want) > 1e-4 * fabs(want)) FAIL("%s: the next loss is %.9g, not %.9g", file, loss, want);
    hpt_session_destroy(s);
    hpt_model_destroy(m);
}
static void load_model(hpt_context *ctx, json_t *e, const char *path) {
    const char *file = json_string_value(json_object_get(e, "file")),
        *layout = json_string_value(json_object_get(e, "layout"));
    hpt_model_info info = {.struct_size = sizeof info};
    hpt_tensor_info t = {.struct_size = sizeof t};
    int head = !strcmp(layout, "moco") || !strcmp(layout, "safetensors"),
        classifier = !strcmp(layout, "torchvision") || !strcmp(layout, "safetensors");
    hpt_config *c = config("moco_dim=16");
    if (head) OK(hpt_config_set_int(c, "carry_head", 1));
    hpt_model *m;
    static float x[1 << 18];
    int compared = 0;
    if (hpt_model_load(ctx, c, path, &m, NULL)) FAIL("%s: %s", file, hpt_last_error());
    OK(hpt_model_get_info(m, &info));
    CHECK(!strcmp(info.arch, "resnet10") && !strcmp(info.stem, "small") && info.width == 16);
    CHECK(info.pixel_mean[1] == 0.25f && info.pixel_std[2] == 0.75f && info.classes == (classifier ? 3u : 0u));
    for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK; i++) {
        uint64_t n = 1;
        for (int d = 0; d < t.ndim; d++) n *= (uint64_t)t.shape[d];
        if (!head && !strncmp(t.name, "fc.", 3)) continue;
        OK(hpt_model_get_tensor(m, t.name, x, n));
        for (uint64_t j = 0; j < n; j++)
            if (x[j] != value(t.name, j)) FAIL("%s: %s has other values", file, t.name);
        compared++;
    }
    CHECK(compared > 50);
    if (classifier) {
        OK(hpt_model_get_tensor(m, "classifier.weight", x, 3 * 128));
        for (uint64_t j = 0; j < 3 * 128; j++) CHECK(x[j] == value("classifier.weight", j));
    }
    hpt_model_destroy(m);
    hpt_config_destroy(c);
}
static void load_statistics(hpt_context *ctx, json_t *e, const char *folder, const char *dir) {
    char text[400];
    float mean[3], std[3];
    RUN("cp %s/statistics.json %s/s.json", folder, dir);
    snprintf(text, sizeof text, "stats_file=%s/s.json", dir);
    hpt_dataset *ds = pictures(ctx, text);
    OK(hpt_dataset_stats(ds, mean, std));
    for (int c = 0; c < 3; c++) {
        CHECK(mean[c] == (float)json_number_value(json_array_get(json_object_get(e, "mean"), (size_t)c)));
        CHECK(std[c] == (float)json_number_value(json_array_get(json_object_get(e, "std"), (size_t)c)));
    }
    RUN("cmp %s/statistics.json %s/s.json", folder, dir);      /* it was good enough: nobody wrote it anew */
    hpt_dataset_destroy(ds);
}
static int release(const struct dirent *d) {
    return *d->d_name != '.' && strspn(d->d_name, "0123456789.") == strlen(d->d_name);
}
TEST(files_load_for_ever) {
    char folder[300], path[300], *dir = temp_dir();
    snprintf(path, sizeof path, "%s/x", dir);
    if (getenv("HPT_RECORD_GOLDEN")) {
        snprintf(folder, sizeof folder, "tests/golden/%d.%d", HPT_VERSION_MAJOR, HPT_VERSION_MINOR);
        record(folder);
    }
    struct dirent **found;
    int n = scandir("tests/golden", &found, release, alphasort), this_one = 0;
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = pictures(ctx, "");
    for (int i = 0; i < n; i++) {
        size_t k;
        json_t *e, *all;
        snprintf(folder, sizeof folder, "tests/golden/%s", found[i]->d_name);
        char *text = strcat(strcpy(malloc(strlen(folder) + 20), folder), "/golden.json");
        if (!(all = json_load_file(text, 0, NULL))) FAIL("%s cannot be read", text);
        printf("  %s: %zu sessions, %zu models\n", folder, json_array_size(json_object_get(all, "sessions")),
               json_array_size(json_object_get(all, "models")));
        json_array_foreach(json_object_get(all, "sessions"), k, e) {
            unpack(folder, json_string_value(json_object_get(e, "file")), path);
            load_session(ctx, ds, e, path);
        }
        json_array_foreach(json_object_get(all, "models"), k, e) {
            unpack(folder, json_string_value(json_object_get(e, "file")), path);
            load_model(ctx, e, path);
        }
        load_statistics(ctx, json_object_get(all, "statistics"), folder, dir);
        this_one |= !strncmp(json_string_value(json_object_get(all, "version")), hpt_version_string(), 3);
    }
    if (!this_one) FAIL("tests/golden has no files of version %s: make record-golden", hpt_version_string());
}

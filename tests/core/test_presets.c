/* SPDX-License-Identifier: MIT
 * Option preset and the methods that know an option: one table each, what goes before what, what is refused, and that
 * runs, their files and recipes hold what came out. */
#define _POSIX_C_SOURCE 200809L
#include "core/options.h"
#include "nn/model.h"
#include "recipe/recipe.h"
#undef CHECK
#include "shell.h"
#include <unistd.h>

static const char *value(hpt_config *c, const char *key) {
    static char text[8][200];
    static int turn;
    turn = (turn + 1) % 8;
    OK(hpt_config_get(c, key, text[turn], sizeof text[0], NULL));
    return text[turn];
}
static int find_option(const char *stage, const char *key, hpt_option_info *o) {
    o->struct_size = sizeof *o;
    for (uint32_t i = 0; hpt_config_describe(stage, i, o) == HPT_OK; i++)
        if (!strcmp(o->key, key)) return 1;
    return 0;
}

TEST(presets_are_what_the_table_says) {
    hpt_preset_info p = {.struct_size = sizeof p};
    hpt_option_info o;
    char names[300] = "none";
    uint32_t i = 0;
    for (; hpt_preset_describe(i, &p) == HPT_OK; i++) {
        char *save = NULL, *values = strdup(p.values);
        uint32_t sets = 0;
        hpt_config *c, *plain = config("");
        OK(hpt_config_create(p.stage, &c));
        OK(hpt_config_set(c, "preset", p.name));
        for (char *pair = strtok_r(values, " ", &save); pair; pair = strtok_r(NULL, " ", &save)) {
            char *eq = strchr(pair, '=');
            *eq = 0;
            if (!find_option(p.stage, pair, &o)) FAIL("preset=%s sets %s, no option of %s", p.name, pair, p.stage);
            if (*o.methods && !strstr(o.methods, p.method)) FAIL("preset=%s sets %s of %s", p.name, pair, o.methods);
            OK(hpt_config_set(plain, pair, eq + 1));        /* in range */
            if (strcmp(value(c, pair), value(plain, pair)))
                FAIL("preset=%s: %s is %s", p.name, pair, value(c, pair));
            sets++;
        }
        CHECK(sets == p.sets && sets > 5 && *p.doc);
        if (*p.method && strcmp(value(c, "method"), p.method)) FAIL("preset=%s is not of its method", p.name);
        snprintf(names + strlen(names), sizeof names - strlen(names), "|%s", p.name);
        hpt_config_destroy(c);
        hpt_config_destroy(plain);
        free(values);
    }
    CHECK(i == 8 && hpt_preset_describe(i, &p) == HPT_END);
    CHECK(find_option(NULL, "preset", &o) && !strcmp(o.range, names));
    p.struct_size = 3;
    FAILS(HPT_ERR_ARGUMENT, "struct_size", hpt_preset_describe(0, &p));
    FAILS(HPT_ERR_ARGUMENT, "NULL", hpt_preset_describe(0, NULL));
}

/* The numbers of the papers and their code, which no other place of the project repeats. */
TEST(presets_have_the_published_numbers) {
    static const struct { const char *preset, *key, *value; } all[] = {
        {"moco_v1", "mlp", "0"}, {"moco_v1", "moco_t", "0.07"}, {"moco_v1", "aug_blur", "0"},
        {"moco_v1", "schedule", "steps"}, {"moco_v1", "schedule_at", "0.6,0.8"}, {"moco_v1", "moco_k", "65536"},
        {"moco_v2", "mlp", "1"}, {"moco_v2", "moco_t", "0.2"}, {"moco_v2", "aug_hue", "0.1"},
        {"moco_v2", "schedule_unit", "epoch"}, {"hpt", "aug_hue", "0.4"}, {"hpt", "steps", "5000"},
        {"hpt", "schedule", "cosine"}, {"hpt", "bn_group", "64"}, {"hpt", "lr", "0.03"},
        {"byol", "method", "byol"}, {"byol", "head", "byol"}, {"byol", "moco_dim", "256"},
        {"byol", "head_hidden", "4096"}, {"byol", "byol_hidden", "4096"}, {"byol", "byol_m", "0.99"},
        {"byol", "optimizer", "lars"}, {"byol", "lr", "0.3"}, {"byol", "weight_decay", "1e-06"},
        {"byol", "aug_blur", "1"}, {"byol", "aug_blur_2", "0.1"}, {"byol", "aug_solarize", "0"},
        {"byol", "aug_solarize_2", "0.2"}, {"byol", "aug_crop_min", "0.08"}, {"byol", "aug_resample", "bicubic"},
        {"byol", "aug_saturation", "0.2"}, {"byol", "bn_group", "128"}, {"supervised", "lr", "0.1"},
        {"supervised", "schedule", "steps"}, {"supervised", "weight_decay", "0.0001"},
        {"supervised", "aug_crop_min", "0.08"}, {"supervised", "aug_jitter", "0"}, {"linear", "probe_augment", "1"},
        {"linear", "probe_lr", "0.3,3,30"}, {"finetune", "ft_length", "2500,90e"},
        {"finetune", "ft_head_factor", "100"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        hpt_config *c = config("");
        OK(hpt_config_set(c, "preset", all[i].preset));
        if (strcmp(value(c, all[i].key), all[i].value))
            FAIL("preset=%s: %s is %s", all[i].preset, all[i].key, value(c, all[i].key));
        hpt_config_destroy(c);
    }
}

TEST(keys_go_before_presets_in_any_order) {
    hpt_config *a = config("preset=byol lr=0.7 aug_blur_2=-1 optimizer=sgd"),
               *b = config("lr=0.7 aug_blur_2=-1 optimizer=sgd preset=moco_v1 preset=byol");
    char x[20000], y[20000];
    CHECK(!strcmp(value(a, "lr"), "0.7") && !strcmp(value(a, "optimizer"), "sgd"));
    CHECK(!strcmp(value(a, "aug_blur_2"), "-1") && !strcmp(value(a, "moco_dim"), "256"));
    OK(hpt_config_json(a, "pretrain", x, sizeof x, NULL));
    OK(hpt_config_json(b, "pretrain", y, sizeof y, NULL));
    CHECK(!strcmp(x, y) && strstr(x, "\"preset\": \"byol\"") && strstr(x, "\"byol_m\": 0.99"));
    OK(hpt_config_set(a, "preset", "none"));
    CHECK(!strcmp(value(a, "moco_dim"), "128") && !strcmp(value(a, "lr"), "0.7"));
    FAILS(HPT_ERR_OPTION, "none of none|moco_v1", hpt_config_set(a, "preset", "byool"));
    CHECK(!strcmp(value(a, "preset"), "none"));
    hpt_config_destroy(a);
    hpt_config_destroy(b);
}

#define TINY "arch=resnet10 width=16 stem=small image_size=16 batch_size=6 bn_group=0 steps=2 precision=fp32 "

TEST(presets_of_other_stages_and_methods_are_refused) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c;
    hpt_model *m;
    hpt_session *s;
    hpt_result *r;
    hpt_dataset *ds = toy_set(ctx, "", 12, 16, 3), *val = toy_set(ctx, "", 6, 16, 3);
    OK(hpt_model_create(ctx, config(TINY), &m));
    OK(hpt_config_create("linear", &c));
    FAILS(HPT_ERR_OPTION, "byol is for stage pretrain; for linear there are linear",
          hpt_config_set(c, "preset", "byol"));
    OK(hpt_config_set(c, "preset", "linear"));
    hpt_config_destroy(c);
    OK(hpt_config_create("knn", &c));
    FAILS(HPT_ERR_OPTION, "does not belong", hpt_config_set(c, "preset", "byol"));
    FAILS(HPT_ERR_OPTION, "for pretrain there are moco_v1, moco_v2, hpt, byol, supervised",
          hpt_session_create(ctx, config(TINY "preset=linear"), m, ds, &s));
    FAILS(HPT_ERR_OPTION, "for linear there are linear",
          hpt_model_linear(m, ds, val, NULL, config(TINY "preset=moco_v2"), &r));
    FAILS(HPT_ERR_OPTION, "for finetune there are finetune",
          hpt_model_finetune(m, ds, val, NULL, config(TINY "preset=linear"), NULL, &r));
    const char *name = "a";
    hpt_model *won;
    FAILS(HPT_ERR_OPTION, "for search there are moco_v1", hpt_source_search(ctx, config(TINY "preset=finetune"), m, &ds,
          &name, 1, ds, val, NULL, NULL, &won, &r));
    FAILS(HPT_ERR_OPTION, "preset=byol is of method=byol, not of method=moco",
          hpt_session_create(ctx, config(TINY "preset=byol method=moco"), m, ds, &s));
    FAILS(HPT_ERR_OPTION, "contradict",
          hpt_session_create(ctx, config(TINY "method=supervised preset=hpt"), m, ds, &s));
    FAILS(HPT_ERR_OPTION, "'moco_k' is of method=moco and means nothing to method=byol",
          hpt_session_create(ctx, config(TINY "moco_k=64 preset=byol"), m, ds, &s));
    static const char *const shares[] = {"0.8,0.6", "1.2", "0", "60;80", "0.5,0.5", ","};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        c = config(TINY "schedule=steps");
        OK(hpt_config_set(c, "schedule_at", shares[i]));
        FAILS(HPT_ERR_OPTION, "schedule_at", hpt_session_create(ctx, c, m, ds, &s));
    }
}

/* Every key that the table gives to some methods, with every other method. */
TEST(every_key_of_a_method_is_refused_by_the_others) {
    static const char *const methods[] = {"moco", "byol", "supervised"};
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 12, 16, 3);
    hpt_option_info o = {.struct_size = sizeof o};
    hpt_model *m;
    hpt_session *s;
    int refused = 0;
    OK(hpt_model_create(ctx, config(TINY "head=byol moco_dim=16 head_hidden=16"), &m));
    for (uint32_t i = 0; hpt_config_describe("pretrain", i, &o) == HPT_OK; i++) {
        char key[64], words[64], expected[200], other[64];
        if (!*o.methods) continue;
        snprintf(key, sizeof key, "%s", o.key);
        snprintf(words, sizeof words, "%s", o.methods);
        if (o.type == HPT_OPTION_TEXT) snprintf(other, sizeof other, "x");
        else if (o.type == HPT_OPTION_CHOICE)       /* the last word, or the first */
            snprintf(other, sizeof other, "%s", strcmp(strrchr(o.range, '|') + 1, o.def) ? strrchr(o.range, '|') + 1 :
                     strtok(strdup(o.range), "|"));
        else {
            snprintf(other, sizeof other, "%s", strstr(o.range, "..") + 2);
            if (!strcmp(other, o.def)) snprintf(other, sizeof other, "%.*s", (int)strcspn(o.range, "."), o.range);
        }
        for (int k = 0; k < 3; k++) {
            hpt_config *c = config(TINY "moco_dim=16 head_hidden=16");
            OK(hpt_config_set(c, "method", methods[k]));
            OK(hpt_config_set(c, key, other));
            if (strstr(words, methods[k])) continue;
            snprintf(expected, sizeof expected, "option '%s' is of method=%s", key, strtok(strdup(words), "|"));
            FAILS(HPT_ERR_OPTION, expected, hpt_session_create(ctx, c, m, ds, &s));
            snprintf(expected, sizeof expected, "means nothing to method=%s", methods[k]);
            CHECK(strstr(hpt_last_error(), expected));
            refused++;
            hpt_config_destroy(c);
        }
    }
    CHECK(refused >= 20);
    FAILS(HPT_ERR_OPTION, "'carry_key' is of method=moco or byol and means nothing to method=supervised",
          hpt_session_create(ctx, config(TINY "method=supervised carry_key=1"), m, ds, &s));
}

/* A run of a preset and one of the same values given one by one are one run: their files are each other's. */
TEST(a_preset_is_its_values) {
    hpt_context *ctx = context("reference", 1);
    hpt_preset_info p = {.struct_size = sizeof p};
    char path[300];
    snprintf(path, sizeof path, "%s/x.pth", temp_dir());
#define SIZES TINY "moco_dim=16 head_hidden=16 byol_hidden=16 warmup_steps=0 "
    hpt_config *by_name = config(SIZES "preset=byol"), *by_value = config("");
    uint32_t i = 0;
    while (hpt_preset_describe(i++, &p) == HPT_OK && strcmp(p.name, "byol")) {}
    char *values = strdup(p.values), *save = NULL;
    for (char *pair = strtok_r(values, " ", &save); pair; pair = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(pair, '=');
        *eq = 0;
        OK(hpt_config_set(by_value, pair, eq + 1));
    }
    set(by_value, SIZES);
    CHECK(hpt__options_hash(&by_name->o, 'P', 1) == hpt__options_hash(&by_value->o, 'P', 1));
    hpt_dataset *ds = toy_set(ctx, "", 12, 16, 3);
    hpt_model *a, *b;
    hpt_session *s;
    OK(hpt_model_create(ctx, by_name, &a));
    OK(hpt_session_create(ctx, by_name, a, ds, &s));
    OK(hpt_session_step(s, NULL));
    OK(hpt_session_save(s, path));
    OK(hpt_session_run(s, NULL, NULL));
    hpt_session_destroy(s);
    OK(hpt_model_create(ctx, by_value, &b));
    OK(hpt_session_create(ctx, by_value, b, ds, &s));
    OK(hpt_session_resume(s, path));
    OK(hpt_session_run(s, NULL, NULL));
    CHECK(!memcmp(a->params, b->params, a->net.n_params * 4) && !memcmp(a->stats, b->stats, a->net.n_stats * 4));
    hpt_session_destroy(s);
    /* another value is another run, whatever the name */
    OK(hpt_session_create(ctx, config(SIZES "preset=byol lr=0.1"), a, ds, &s));
    FAILS(HPT_ERR_MISMATCH, "option lr was 0.3 in the run and is 0.1 now", hpt_session_resume(s, path));
    hpt_session_destroy(s);
    hpt_result *r;
    char text[80000];
    OK(hpt_file_info(path, &r));
    OK(hpt_result_json(r, text, sizeof text, NULL));
    CHECK(strstr(text, "\"hpt/config/preset\": \"byol\"") && strstr(text, "\"hpt/config/lars_form\": \"openselfsup\""));
}

#define NET "--arch resnet10 --width 16 --stem small --image_size 16 --batch_size 6 --bn_group 0 --threads 1 " \
            "--workers 1 --backend reference --precision fp32 --steps 3 "
TEST(presets_on_the_command_line) {
    char *dir = temp_dir(), *set_ = stripes(dir, 6);
    const char *hpt = HPT_TEST_BIN "/hpt";
    RUN("%s pretrain --data %s --out %s/b --moco-dim 16 --head-hidden 16 --byol-hidden 16 --preset byol " NET, hpt,
        set_, dir);
    RUN("cat %s/b/args.json", dir);
    CHECK(strstr(output, "\"preset\": \"byol\"") && strstr(output, "\"method\": \"byol\"") &&
          strstr(output, "\"optimizer\": \"lars\"") && strstr(output, "\"bn_group\": 0"));
    RUN("%s pretrain --resume --preset byol --out %s/b", hpt, dir);
    REFUSED(1, "--preset was byol in the run and is hpt now", "%s pretrain --resume --preset hpt --out %s/b", hpt, dir);
    RUN("%s train --data %s --out %s/s " NET, hpt, set_, dir);
    RUN("cat %s/s/args.json", dir);
    CHECK(strstr(output, "\"preset\": \"supervised\"") && strstr(output, "\"aug_crop_min\": 0.08") &&
          strstr(output, "\"schedule\": \"steps\"") && strstr(output, "\"lr\": 0.1"));
    REFUSED(2, "method=byol is hpt pretrain's", "%s train --data %s --out %s/t --preset byol", hpt, set_, dir);
    REFUSED(2, "linear is for stage linear", "%s pretrain --data %s --out %s/t --preset linear", hpt, set_, dir);
    REFUSED(2, "moco_v1 is for stage pretrain", "%s linear --init x --train y --preset moco_v1", hpt);
    REFUSED(1, "contradict", "%s pretrain --data %s --out %s/t --preset byol --method moco " NET, hpt, set_, dir);
    REFUSED(1, "'aug_blur_2' is of method=moco or byol", "%s train --data %s --out %s/t --aug_blur_2 0.1 " NET, hpt,
            set_, dir);
    CHECK(access(strcat(strcpy(malloc(400), dir), "/t"), F_OK));
}

static hpt_config *stage_config(hpt_recipe *r, const char *name) {
    for (int i = 0; i < r->n_instances; i++) {
        hpt_config *c;
        int at = r->instances[i].section;
        if (at < 0 || strcmp(r->sections[at].name, name)) continue;
        OK(hpt__instance_config(r, &r->instances[i], &c));
        return c;
    }
    FAIL("no stage %s", name);
}
static hpt_status plan(const char *dir, const char *text, hpt_recipe **r) {
    char path[300];
    hpt_result *res = NULL;
    snprintf(path, sizeof path, "%s/r.ini", dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "[recipe]\nout = %s/out\n[data set]\npath = %s/set\n%s", dir, dir, text);
    fclose(f);
    hpt_status st = hpt_recipe_open(NULL, path, NULL, r);
    if (!st) st = hpt_recipe_plan(*r, &res);
    hpt_result_destroy(res);
    return st;
}
TEST(presets_in_recipes) {
#define TINY_LINES "arch = resnet10\nwidth = 16\nstem = small\nimage_size = 16\nbatch_size = 6\nsteps = 2\nbackend = " \
                   "reference\n"
    char *dir = temp_dir();
    hpt_recipe *r;
    hpt_config *c;
    stripes(dir, 6);
    OK(plan(dir, "[options]\npreset = byol\nmoco_k = 32\nlr = 0.2\n" TINY_LINES
            "[pretrain a]\ndata = set\n[pretrain b]\ndata = set\nmethod = moco\n"
            "[pretrain c]\ndata = set\npreset = moco_v1\nmoco_t = 0.1\n[pretrain d]\ndata = set\npreset = supervised\n"
            "[linear p]\nmodel = a\ntrain = set\nval = set\noverlap = allow\npreset = linear\n"
            "[knn k]\nmodel = a\ntrain = set\ntest = set\noverlap = allow\n", &r));
    c = stage_config(r, "a");
    CHECK(!strcmp(value(c, "method"), "byol") && !strcmp(value(c, "byol_m"), "0.99") && !strcmp(value(c, "lr"), "0.2"));
    c = stage_config(r, "b");       /* [options] is for the stages of its method */
    CHECK(!strcmp(value(c, "method"), "moco") && !strcmp(value(c, "moco_k"), "32"));
    CHECK(!strcmp(value(c, "preset"), "none"));
    c = stage_config(r, "c");
    CHECK(!strcmp(value(c, "mlp"), "0") && !strcmp(value(c, "moco_t"), "0.1") && !strcmp(value(c, "moco_k"), "32"));
    c = stage_config(r, "d");
    CHECK(!strcmp(value(c, "method"), "supervised") && !strcmp(value(c, "aug_jitter"), "0"));
    c = stage_config(r, "p");
    CHECK(!strcmp(value(c, "preset"), "linear") && !strcmp(value(c, "probe_augment"), "1"));
    hpt_recipe_destroy(r);
    FAILS(HPT_ERR_OPTION, "[pretrain a]: options 'preset' and 'method' contradict",
          plan(dir, "[options]\n" TINY_LINES "[pretrain a]\ndata = set\npreset = byol\nmethod = moco\n", &r));
    hpt_recipe_destroy(r);
    FAILS(HPT_ERR_OPTION, "[pretrain a]: option 'moco_k' is of method=moco",
          plan(dir, "[options]\n" TINY_LINES "[pretrain a]\ndata = set\npreset = byol\nmoco_k = 64\n", &r));
    hpt_recipe_destroy(r);
    FAILS(HPT_ERR_FORMAT, "linear is for stage linear",
          plan(dir, "[options]\n" TINY_LINES "[pretrain a]\ndata = set\npreset = linear\n", &r));
}

/* SPDX-License-Identifier: MIT
 * Two promises of every evaluation: classes of different sets go by their names, and an image that cannot be read
 * never lends another's pixels. Images are plain colours with noise, one colour a class, which a random network
 * tells apart: 100 % or something is mixed up. */
#define _GNU_SOURCE
#include "data/classes.h"
#include "data/dataset.h"
#include "core/alloc.h"
#include "shell.h"
#include "ssl/labelled.h"
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL "arch=resnet10 width=16 stem=small image_size=16 eval_crop=full precision=fp32 overlap=allow " \
    "bad_image=skip probe_lr=0.3 " \
              "probe_steps=40 probe_eval_every=20 probe_scale=standard ft_lr=0.01 ft_length=6 ft_eval_every=3 " \
                  "ft_batch=6 ft_micro=6 "

static const char *const colours[4] = {"blue", "green", "red", "violet"};
static const uint8_t rgb_of[4][3] = {{40, 40, 220}, {40, 220, 40}, {220, 40, 40}, {190, 60, 190}};

static void make_dir(const char *path) {
    char part[600];
    for (const char *p = path; (p = strchr(p + 1, '/'));) {
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        mkdir(part, 0777);
    }
    mkdir(path, 0777);
}
/* DIR/NAME/nn.ppm: n images of a colour. */
static void put_class(const char *dir, const char *name, int colour, int n, int seed) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    make_dir(path);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s/%02d.ppm", dir, name, i);
        FILE *f = fopen(path, "wb");
        CHECK(f);
        fprintf(f, "P6 16 16 255\n");
        for (int p = 0; p < 768; p++)
            fputc(rgb_of[colour][p % 3] + (int)(hash_at((uint64_t)p, (uint64_t)(seed + 100 * colour + i)) >> 27) - 16,
                  f);
        fclose(f);
    }
}
static void spoil(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void spoil(const char *fmt, ...) {           /* cut short: a header and a few pixels */
    char path[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    CHECK(!truncate(path, 20));
}
static hpt_dataset *open_set(hpt_context *ctx, const hpt_config *c, const char *fmt,
                             ...) __attribute__((format(printf, 3, 4)));
static hpt_dataset *open_set(hpt_context *ctx, const hpt_config *c, const char *fmt, ...) {
    char path[600];
    hpt_dataset *ds;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    OK(hpt_dataset_open(ctx, c, path, &ds));
    return ds;
}
static json_t *json_of(hpt_result *r) {
    size_t n;
    OK(hpt_result_json(r, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(r, text, n, NULL));
    json_t *j = json_loads(text, 0, NULL);
    CHECK(j);
    free(text);
    hpt_result_destroy(r);
    return j;
}
/* The first text at a path of keys and list positions ("unreadable test names"), or "". */
static const char *text_at(json_t *j, const char *a, const char *b, const char *c) {
    if (a) j = json_object_get(j, a);
    if (b) j = json_object_get(j, b);
    if (c) j = json_object_get(j, c);
    if (json_is_array(j)) j = json_array_get(j, 0);
    return json_is_string(j) ? json_string_value(j) : "";
}
enum { KNN, LINEAR, FINETUNE };
static hpt_status score(int how, hpt_model *m, hpt_dataset *train, hpt_dataset *val, hpt_dataset *probe,
                        const hpt_config *c, json_t **j) {
    hpt_result *r = NULL;
    hpt_status st = how == KNN ? hpt_model_knn(m, train, probe, c, &r) : how == LINEAR
        ? hpt_model_linear(m, train, val, probe, c, &r) : hpt_model_finetune(m, train, val, probe, c, NULL, &r);
    *j = st ? NULL : json_of(r);
    return st;
}
static double number_of(json_t *j, const char *key) {
    json_t *v = json_object_get(j, key);
    if (!json_is_number(v)) FAIL("no number %s", key);
    return json_number_value(v);
}
static char last_note[600];
static void keep_note(void *user, int32_t level, const char *text) {
    (void)user;
    (void)level;
    if (!of_machine(text)) snprintf(last_note, sizeof last_note, "%s", text);
}

/* ---- classes ---- */

TEST(class_names_are_matched) {
    char *a[] = {"cat", "dog", "owl"}, *b[] = {"owl", "cat"}, *numbers[] = {"0", "1", "10", "2"},
        *twice[] = {"cat", "cat"}, *padded[] = {"01", "1"};
    hpt__class_rule rule;
    int32_t *to;
    OK(hpt__classes_match((hpt__class_names){a, 3}, (hpt__class_names){b, 2}, &rule, &to));
    CHECK(rule == HPT__CLASS_NAME && to[0] == 2 && to[1] == 0);
    hpt__free(to);
    OK(hpt__classes_match((hpt__class_names){b, 2}, (hpt__class_names){a, 3}, &rule, &to));
    CHECK(rule == HPT__CLASS_NAME && to[0] == 1 && to[1] == -1 && to[2] == 0);
    hpt__free(to);
    OK(hpt__classes_match((hpt__class_names){a, 3}, (hpt__class_names){a, 3}, &rule, &to));
    CHECK(rule == HPT__CLASS_SAME && !to);
    /* 2 is "2", the last in the alphabet */
    OK(hpt__classes_match((hpt__class_names){numbers, 4}, (hpt__class_names){NULL, 11}, &rule, &to));
    CHECK(rule == HPT__CLASS_NUMBER && to[0] == 0 && to[2] == 3 && to[10] == 2 && to[3] == -1);
    hpt__free(to);
    OK(hpt__classes_match((hpt__class_names){NULL, 3}, (hpt__class_names){numbers, 4}, &rule, &to));
    CHECK(rule == HPT__CLASS_NUMBER && to[0] == 0 && to[1] == 1 && to[2] == -1 && to[3] == 2);
    hpt__free(to);
    OK(hpt__classes_match((hpt__class_names){a, 3}, (hpt__class_names){NULL, 3}, &rule, &to));
    CHECK(rule == HPT__CLASS_INDEX && !to);
    FAILS(HPT_ERR_FORMAT, "two classes are called 'cat'", hpt__classes_match((hpt__class_names){twice, 2},
        (hpt__class_names){b, 2}, &rule, &to));
    FAILS(HPT_ERR_FORMAT, "two classes are called", hpt__classes_match((hpt__class_names){padded, 2},
        (hpt__class_names){NULL, 2}, &rule, &to));
    char text[900], *long_name = malloc(4000), *many[40];
    memset(long_name, 'x', 3999);
    long_name[3999] = 0;
    for (int i = 0; i < 40; i++) many[i] = long_name;
    hpt__classes_missing((hpt__class_names){many, 40}, (hpt__class_names){a, 3}, 1, "train's", "a.png", text,
                         sizeof text);
    CHECK(strstr(text, "class 'dog' (first image a.png) is not one of train's") && strlen(text) < sizeof text);
    free(long_name);
}

/* A test set that lacks the first, the middle or the last class, or has one under another name, in each evaluation. */
TEST_LIMIT(evaluations_go_by_class_names, 120) {
    hpt_context *ctx = context("reference", 1);
    OK(hpt_context_set_log(ctx, keep_note, NULL));
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "probe_keep=1");
    hpt_model *m;
    json_t *j;
    OK(hpt_model_create(ctx, c, &m));
    snprintf(path, sizeof path, "%s/train", dir);
    for (int k = 0; k < 3; k++) put_class(path, colours[k], k, 5, 0);
    hpt_dataset *train = open_set(ctx, c, "%s/train", dir);
    for (int gone = 0; gone < 3; gone++) {
        snprintf(path, sizeof path, "%s/without-%d", dir, gone);
        for (int k = 0; k < 3; k++)
            if (k != gone) put_class(path, colours[k], k, 3, 50);
        hpt_dataset *probe = open_set(ctx, c, "%s", path);
        for (int how = 0; how < 3; how++) {
            last_note[0] = 0;
            OK(score(how, m, train, how == FINETUNE ? train : NULL, probe, c, &j));
            const char *key = how == KNN ? "knn_score" : "test_score";
            if (how != FINETUNE && number_of(j, key) != 100)
                FAIL("evaluation %d without class %d: %g %%", how, gone, number_of(j, key));
            CHECK(!strcmp(text_at(j, "classes_only_in_train", "test", NULL), colours[gone]) &&
                  number_of(j, "test_images") == 6);
            CHECK(!strcmp(text_at(j, "classes_matched", "test", NULL), "name"));
            CHECK(how || strstr(last_note, colours[gone]));        /* said once for two sets */
            json_decref(j);
        }
        hpt_result *r;
        float logits[6 * 3];
        OK(hpt_model_linear(m, train, NULL, probe, c, &r));
        OK(hpt_result_array(r, "test_logits", logits, 18, NULL));
        for (int i = 0; i < 6; i++) {
            int want = gone == 0 ? 1 + i / 3 : gone == 1 ? i / 3 * 2 : i / 3, best = 0;
            for (int k = 1; k < 3; k++)
                if (logits[3 * i + k] > logits[3 * i + best]) best = k;
            CHECK(best == want);                        /* columns are train's classes */
        }
        hpt_result_destroy(r);
        hpt_dataset_destroy(probe);
    }
    /* validation that lacks a class, too: choices are made on it */
    hpt_dataset *val = open_set(ctx, c, "%s/without-0", dir);
    OK(score(LINEAR, m, train, val, NULL, c, &j));
    CHECK(number_of(j, "val_score") == 100 && !strcmp(text_at(j, "classes_only_in_train", "val", NULL), "blue"));
    json_decref(j);
    /* a class that training does not know: in the alphabet before, between and after the others */
    static const char *const strange[] = {"apple", "grey", "zebra"};
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/with-%s", dir, strange[k]);
        put_class(path, strange[k], 3, 1, 9);
        put_class(path, "red", 2, 2, 9);
        hpt_dataset *probe = open_set(ctx, c, "%s", path);
        snprintf(path, sizeof path,
                 "test: class '%s' (first image %s/with-%s/%s/00.ppm) is not one of train's: blue, green, red",
                 strange[k], dir, strange[k], strange[k]);
        for (int how = 0; how < 3; how++) FAILS(HPT_ERR_ARGUMENT, path, score(how, m, train, NULL, probe, c, &j));
        FAILS(HPT_ERR_ARGUMENT, "val: class '", score(LINEAR, m, train, probe, NULL, c, &j));
        /* images of the known class alone: fine */
        const uint64_t known[2] = {(uint64_t)(k == 0), k == 0 ? 2 : 1};
        hpt_dataset *part;
        OK(hpt_dataset_subset(probe, k == 2 ? (const uint64_t[]){0, 1} : known[0] == 1 ? known
                              : (const uint64_t[]){1, 2}, 2, &part));
        OK(score(KNN, m, train, NULL, part, c, &j));
        CHECK(number_of(j, "knn_score") == 100);
        json_decref(j);
    }
    /* nearly the same name */
    static const char *const slips[][2] = {{"Blue", "blue"}, {"green ", "green"}, {"_red", NULL}};
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/slip-%d", dir, k);
        put_class(path, slips[k][0], k, 2, 9);
        hpt_dataset *probe = open_set(ctx, c, "%s", path);
        snprintf(path, sizeof path, slips[k][1] ? "'%s' (first image" : "class '%s'", slips[k][0]);
        FAILS(HPT_ERR_ARGUMENT, path, score(KNN, m, train, NULL, probe, c, &j));
        if (slips[k][1]) snprintf(path, sizeof path, "which has '%s': the names must be equal", slips[k][1]);
        CHECK(strstr(hpt_last_error(), path));
    }
}

static void write_list(const char *dir, const char *name, const char *root, const int *labels, int classes) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    CHECK(f);
    for (int k = 0; k < classes; k++)
        for (int i = 0; i < 3; i++) fprintf(f, "%s/%d/%02d.ppm %d\n", root, k, i, labels[k]);
    fclose(f);
}
/* One side has names, the other numbers. */
TEST(class_names_against_numbers) {
    hpt_context *ctx = context("reference", 1);
    OK(hpt_context_set_log(ctx, keep_note, NULL));
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL);
    hpt_model *m;
    json_t *j;
    OK(hpt_model_create(ctx, c, &m));
    static const char *const words[4] = {"a", "b", "c", "d"}, *const digits[4] = {"10", "2", "7", "9"};
    static const int values[4] = {10, 2, 7, 9}, order[4] = {0, 1, 2, 3};
    for (int k = 0; k < 4; k++) {
        char name[8];
        snprintf(name, sizeof name, "%d", k);
        snprintf(path, sizeof path, "%s/words", dir);
        put_class(path, words[k], k, 4, 0);
        snprintf(path, sizeof path, "%s/digits", dir);
        put_class(path, digits[k], k, 4, 0);
        snprintf(path, sizeof path, "%s/plain", dir);
        put_class(path, name, k, 3, 40);
    }
    write_list(dir, "values.txt", "plain", values, 4);
    write_list(dir, "order.txt", "plain", order, 4);
    hpt_dataset *by_word = open_set(ctx, c, "%s/words", dir), *by_digit = open_set(ctx, c, "%s/digits", dir),
        *value = open_set(ctx, c, "%s/values.txt", dir), *place = open_set(ctx, c, "%s/order.txt", dir);
    last_note[0] = 0;
    OK(score(KNN, m, by_digit, NULL, value, c, &j));            /* 2 is the class called 2 */
    CHECK(number_of(j, "knn_score") == 100 && !strcmp(text_at(j, "classes_matched", "test", NULL), "number") &&
          strstr(last_note, "by their value"));
    json_decref(j);
    set(c, "empty_classes=allow");
    OK(score(KNN, m, value, NULL, by_digit, c, &j));            /* and the other way round */
    CHECK(number_of(j, "knn_score") == 100);
    json_decref(j);
    FAILS(HPT_ERR_ARGUMENT, "test: label 0 (first image", score(KNN, m, by_digit, NULL, place, c, &j));
    last_note[0] = 0;
    OK(score(KNN, m, by_word, NULL, place, c, &j));
    CHECK(number_of(j, "knn_score") == 100 && !strcmp(text_at(j, "classes_matched", "test", NULL), "index") &&
          strstr(last_note, "matched by index"));
    json_decref(j);
    FAILS(HPT_ERR_ARGUMENT, "test: label 10 (first image", score(KNN, m, by_word, NULL, value, c, &j));
    OK(score(KNN, m, place, NULL, by_word, c, &j));
    CHECK(number_of(j, "knn_score") == 100);
    json_decref(j);
    OK(score(KNN, m, value, NULL, value, c, &j));               /* numbers alone */
    CHECK(number_of(j, "knn_score") == 100 && !json_object_get(j, "classes_matched"));
    json_decref(j);
}

/* Several labels an image: columns go by name. Sets are made in memory and given names as a reader would. */
static hpt_dataset *several(hpt_context *ctx, const char *const *names, int classes, const int *of_colour, int n,
                            int seed) {
    uint8_t *px = malloc((size_t)n * 768);
    hpt_dataset *ds;
    for (int i = 0; i < n; i++)
        for (int p = 0; p < 768; p++)
            px[i * 768 + p] = (uint8_t)(rgb_of[i % 3][p % 3] +
                                        (int)(hash_at((uint64_t)p, (uint64_t)(seed + i)) >> 27) - 16);
    OK(hpt_dataset_from_memory(ctx, NULL, px, (uint64_t)n, 16, 16, 3, NULL, &ds));
    hpt__source *s = ds->src;
    s->classes = (uint32_t)classes;
    s->multi = hpt__calloc((size_t)n * (size_t)classes, 1);
    s->class_name = names ? hpt__calloc((size_t)classes, sizeof *s->class_name) : NULL;
    for (int k = 0; k < classes && names; k++) s->class_name[k] = hpt__strdup(names[k]);
    for (int i = 0; i < n; i++)
        if (of_colour[i % 3] >= 0) s->multi[i * classes + of_colour[i % 3]] = 1;
    free(px);
    return ds;
}
TEST(columns_of_several_labels_go_by_name) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config(SMALL);
    hpt_model *m;
    json_t *j;
    OK(hpt_model_create(ctx, c, &m));
    static const char *const abc[] = {"a", "b", "c"}, *const cab[] = {"c", "a", "b"}, *const ac[] = {"c", "a"},
        *const abz[] = {"z", "b", "a"};
    hpt_dataset *train = several(ctx, abc, 3, (const int[]){0, 1, 2}, 18, 0), *turned = several(ctx, cab, 3,
        (const int[]){1, 2, 0}, 9, 500), *fewer = several(ctx, ac, 2, (const int[]){1, -1, 0}, 9, 500),
                *more = several(ctx, abz, 3, (const int[]){2, 1, 0}, 9, 500), *unnamed = several(ctx, NULL, 3,
                (const int[]){0, 1, 2}, 9, 500), *two = several(ctx, NULL, 2, (const int[]){0, 1, -1}, 9, 500),
                *unused = several(ctx, abz, 3, (const int[]){2, 1, -1}, 9, 500);
    for (int how = 0; how < 2; how++) {
        OK(score(how, m, train, how ? train : NULL, turned, c, &j));
        if (number_of(j, how ? "test_score" : "knn_score") != 100)
            FAIL("turned columns: %g", number_of(j, how ? "test_score" : "knn_score"));
        json_decref(j);
        OK(score(how, m, train, how ? train : NULL, fewer, c, &j));
        CHECK(number_of(j, how ? "test_score" : "knn_score") == 100 &&
              !strcmp(text_at(j, "classes_only_in_train", "test", NULL), "b"));
        json_decref(j);
        FAILS(HPT_ERR_ARGUMENT, "test: class 'z' (first image memory#2) is not one of train's: a, b, c",
              score(how, m, train, NULL, more, c, &j));
        OK(score(how, m, train, how ? train : NULL, unused, c, &j));        /* a column without a one says nothing */
        CHECK(number_of(j, how ? "test_score" : "knn_score") == 100);
        json_decref(j);
        OK(score(how, m, train, how ? train : NULL, unnamed, c, &j));
        CHECK(number_of(j, how ? "test_score" : "knn_score") == 100);
        json_decref(j);
        FAILS(HPT_ERR_ARGUMENT, "test has 2 classes, train has 3", score(how, m, train, NULL, two, c, &j));
    }
}

/* Splits of a descriptor's folders: train+val is one set with train's classes, and the check compares names. */
TEST(splits_of_a_set_go_by_class_names) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600], name[40];
    hpt_dataset *both;
    hpt_result *r;
    int32_t label;
    for (int k = 0; k < 3; k++) {
        static const char *const sets[] = {"train", "val", "odd"};
        for (int w = 0; w < 3; w++) {
            snprintf(path, sizeof path, "%s/%s", dir, sets[w]);
            if (w != 1 || k) put_class(path, colours[w == 2 ? k + 1 : k], w == 2 ? k + 1 : k, 2, 70 * w);
        }
    }
    for (int odd = 0; odd < 2; odd++) {
        snprintf(path, sizeof path, "%s/%d.ini", dir, odd);
        FILE *f = fopen(path, "w");
        fprintf(f, "[dataset]\nname = own\ntrain = train\nval = %s\ntest = val\n", odd ? "odd" : "val");
        fclose(f);
        if (odd) {
            FAILS(HPT_ERR_FORMAT, "val: class 'violet' (first image", hpt_dataset_named(ctx, NULL, path, NULL,
                "train+val", &both));
            FAILS(HPT_ERR_MISMATCH, "val: class 'violet' (first image", hpt_dataset_check(ctx, NULL, path, NULL, &r));
            break;
        }
        OK(hpt_dataset_named(ctx, NULL, path, NULL, "train+val", &both));
        CHECK(both->count == 10 && both->src->classes == 3);
        for (uint64_t i = 6; i < 10; i++) {
            OK(hpt_dataset_label(both, i, &label));
            OK(hpt_dataset_class_name(both, (uint32_t)label, name, sizeof name, NULL));
            OK(hpt_dataset_name(both, i, path, sizeof path, NULL));
            CHECK(strstr(path, name));
        }
    }
}

/* ---- images that cannot be read ---- */

/* Everything that an evaluation says, apart from what it left out. */
static char *essence(json_t *j) {
    static const char *const apart[] = {"unreadable", "unreadable_images", "classes_only_in_train", "classes_matched",
                                        "seconds"};
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) json_object_del(j, apart[i]);
    return json_dumps(j, JSON_SORT_KEYS);
}
static hpt_dataset *readable_part(const hpt_dataset *ds, const int *gone, int n) {
    uint64_t index[64], kept = 0;
    hpt_dataset *part;
    for (uint64_t i = 0; i < ds->count; i++) {
        int out = 0;
        for (int k = 0; k < n; k++) out |= gone[k] == (int)i;
        if (!out) index[kept++] = i;
    }
    OK(hpt_dataset_subset(ds, index, kept, &part));
    return part;
}

/* Each evaluation with unreadable images in each set is that without them, to the last digit: the first, middle and
 * last of a class and of a set. */
TEST_LIMIT(unreadable_images_leave_evaluations, 300) {
    static const int places[] = {0, 5, 11};
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "probe_keep=1"), *strict = config(SMALL "bad_image=error");
    hpt_model *m;
    json_t *j;
    OK(hpt_model_create(ctx, c, &m));
    for (int which = 0; which < 3; which++)
        for (int k = 0; k < 3; k++) {
            snprintf(path, sizeof path, "%s/%s", dir, hpt__set_names[which]);
            put_class(path, colours[k], k, 4, 300 * which);
        }
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        int i = places[p];
        for (int which = 0; which < 3; which++) {
            snprintf(path, sizeof path, "%s/%s", dir, hpt__set_names[which]);
            put_class(path, colours[i / 4], i / 4, 4, 300 * which);
        }
        for (int which = 0; which < 3; which++) {
            hpt_dataset *all[3], *clean[3] = {NULL, NULL, NULL};
            for (int k = 0; k < 3; k++) all[k] = open_set(ctx, c, "%s/%s", dir, hpt__set_names[k]);
            clean[which] = readable_part(all[which], &i, 1);
            spoil("%s/%s/%s/%02d.ppm", dir, hpt__set_names[which], colours[i / 4], i % 4);
            for (int how = 0; how < 3; how++) {
                if (how == KNN && which == 1) continue;
                if (how == FINETUNE && p) continue;         /* slow */
                hpt_dataset *val = which == 1 ? all[1] : NULL;
                OK(score(how, m, which ? all[0] : clean[0], which == 1 ? clean[1] : NULL, which == 2 ? clean[2]
                         : all[2], c, &j));
                char *want = essence(j);
                json_decref(j);
                OK(score(how, m, all[0], val, all[2], c, &j));
                json_t *said = json_object_get(json_object_get(j, "unreadable"), hpt__set_names[which]);
                CHECK(integer(said, "count") == 1 && number_of(j, "unreadable_images") == 1);
                snprintf(path, sizeof path, "%s/%s/%s/%02d.ppm", dir, hpt__set_names[which], colours[i / 4], i % 4);
                CHECK(!strcmp(text_at(said, "names", NULL, NULL), path));
                char *got = essence(j);
                if (strcmp(got, want))
                    FAIL("evaluation %d, %s without image %d:\n%s\ninstead of\n%s", how, hpt__set_names[which], i, got,
                         want);
                json_decref(j);
                free(want);
                free(got);
            }
            hpt_dataset *refuse[3];
            for (int k = 0; k < 3; k++) refuse[k] = open_set(ctx, strict, "%s/%s", dir, hpt__set_names[k]);
            for (int how = 0; how < 3; how++) {
                if (how == KNN && which == 1) continue;
                FAILS(HPT_ERR_DATA, path, score(how, m, refuse[0], which == 1 ? refuse[1] : NULL, refuse[2], strict,
                                                &j));
            }
            for (int k = 0; k < 3; k++) {
                hpt_dataset_destroy(all[k]);
                hpt_dataset_destroy(refuse[k]);
                hpt_dataset_destroy(clean[k]);
            }
            snprintf(path, sizeof path, "%s/%s", dir, hpt__set_names[which]);
            put_class(path, colours[i / 4], i / 4, 4, 300 * which);
        }
    }
}

/* Logits keep their places; the probe on random crops and a held-out fifth use readable images alone; a class
 * without any is refused by name. */
TEST_LIMIT(unreadable_images_and_rows_labels_classes, 120) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "probe_keep=1");
    hpt_model *m;
    hpt_result *r;
    json_t *j;
    float logits[12 * 3];
    OK(hpt_model_create(ctx, c, &m));
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/train", dir);
        put_class(path, colours[k], k, 4, 0);
        snprintf(path, sizeof path, "%s/test", dir);
        put_class(path, colours[k], k, 4, 50);
    }
    spoil("%s/test/blue/00.ppm", dir);
    spoil("%s/test/green/03.ppm", dir);
    spoil("%s/test/red/03.ppm", dir);
    hpt_dataset *train = open_set(ctx, c, "%s/train", dir), *probe = open_set(ctx, c, "%s/test", dir);
    for (int how = LINEAR; how <= FINETUNE; how++) {
        OK(how == LINEAR ? hpt_model_linear(m, train, NULL, probe, c, &r) : hpt_model_finetune(m, train, NULL, probe,
            c, NULL, &r));
        OK(hpt_result_array(r, "test_logits", logits, 36, NULL));
        for (int i = 0; i < 12; i++) {
            int best = 0, gone = i == 0 || i == 7 || i == 11;
            for (int k = 0; k < 3; k++) {
                CHECK(isnan(logits[3 * i + k]) == gone);
                if (logits[3 * i + k] > logits[3 * i + best]) best = k;
            }
            CHECK(gone || how == FINETUNE || best == i / 4);
        }
        hpt_result_destroy(r);
    }
    set(c, "probe_augment=1");
    spoil("%s/train/green/01.ppm", dir);
    hpt_dataset *cut = open_set(ctx, c, "%s/train", dir);
    OK(score(LINEAR, m, cut, probe, NULL, c, &j));
    CHECK(number_of(j, "train_images") == 11 && number_of(j, "val_images") == 9 &&
          number_of(j, "unreadable_images") == 4);
    json_decref(j);
    set(c, "probe_augment=0");
    for (int i = 0; i < 4; i++) spoil("%s/train/green/%02d.ppm", dir, i);
    hpt_dataset *without = open_set(ctx, c, "%s/train", dir);
    for (int how = 0; how < 3; how++) {
        FAILS(HPT_ERR_ARGUMENT, "class green has no image to train on", score(how, m, without, NULL, probe, c, &j));
        CHECK(strstr(hpt_last_error(), "without") && strstr(hpt_last_error(), "4 unreadable images"));
    }
    set(c, "empty_classes=allow");
    hpt_dataset *blind = open_set(ctx, c, "%s/train", dir);
    OK(score(KNN, m, blind, NULL, probe, c, &j));
    CHECK(number_of(j, "train_images") == 8);
    json_decref(j);
    for (int i = 0; i < 4; i++) {
        spoil("%s/train/red/%02d.ppm", dir, i);
        spoil("%s/train/blue/%02d.ppm", dir, i);
    }
    hpt_dataset *nothing = open_set(ctx, c, "%s/train", dir);
    for (int how = 0; how < 3; how++)
        FAILS(HPT_ERR_DATA, "no readable image among 12", score(how, m, nothing, NULL, probe, c, &j));
    hpt_session *s;
    FAILS(HPT_ERR_DATA, "no readable image among 12", hpt_session_create(ctx, c, m, nothing, &s));
}

/* Features, activations, statistics, batch-norm statistics: what the images that can be read give, whatever the
 * number of workers. */
TEST(unreadable_images_have_no_features) {
    static const int gone[] = {0, 4, 5, 11};
    char *dir = temp_dir(), path[600], name[600];
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/set", dir);
        put_class(path, colours[k], k, 4, 0);
    }
    for (int threads = 1; threads <= 3; threads += 2) {
        hpt_context *ctx = context("reference", threads);
        OK(hpt_context_set_log(ctx, keep_note, NULL));
        hpt_config *c = config(SMALL "batch_size=5");
        hpt_model *m, *a, *b;
        OK(hpt_config_set_int(c, "workers", threads));
        OK(hpt_model_create(ctx, c, &m));
        for (int k = 0; k < 3; k++) put_class(path, colours[k], k, 4, 0);
        hpt_dataset *whole = open_set(ctx, c, "%s/set", dir), *clean = readable_part(whole, gone, 4), *few, *ds;
        float want[8 * 128], got[12 * 128], mean[2][3], std[2][3];
        for (size_t i = 0; i < 4; i++) spoil("%s/set/%s/%02d.ppm", dir, colours[gone[i] / 4], gone[i] % 4);
        ds = open_set(ctx, c, "%s/set", dir);
        OK(hpt_dataset_stats(clean, mean[0], std[0]));
        OK(hpt_dataset_stats(ds, mean[1], std[1]));
        CHECK(!memcmp(mean[0], mean[1], sizeof mean[0]) && !memcmp(std[0], std[1], sizeof std[0]));
        OK(hpt_model_features(m, clean, c, want, 8 * 128));
        last_note[0] = 0;
        OK(hpt_model_features(m, ds, c, got, 12 * 128));
        CHECK(strstr(last_note, "4 of 12 images cannot be read"));
        int row = 0;
        for (int i = 0; i < 12; i++) {
            int32_t readable;
            int out = i == 0 || i == 4 || i == 5 || i == 11;
            OK(hpt_dataset_readable(ds, (uint64_t)i, &readable));
            CHECK(readable == !out);
            for (int k = 0; k < 128; k++)
                CHECK(out ? isnan(got[i * 128 + k]) : fabsf(got[i * 128 + k] - want[row * 128 + k]) < 1e-5f);
            row += !out;
        }
        OK(hpt_model_activations(m, ds, c, "avgpool", got, 12 * 128));
        CHECK(isnan(got[0]) && isnan(got[12 * 128 - 1]) && isfinite(got[128]));
        hpt_dataset_info info = {.struct_size = sizeof info};
        OK(hpt_dataset_get_info(ds, &info));
        CHECK(info.bad_images == 4);
        for (int i = 0; i < 4; i++) {       /* in the order of the set, not of the workers */
            OK(hpt_dataset_bad_image(ds, (uint32_t)i, name, sizeof name, NULL));
            snprintf(path, sizeof path, "%s/set/%s/%02d.ppm", dir, colours[gone[i] / 4], gone[i] % 4);
            CHECK(!strcmp(name, path));
        }
        snprintf(path, sizeof path, "%s/set", dir);
        CHECK(hpt_dataset_bad_image(ds, 4, name, sizeof name, NULL) == HPT_END);
        OK(hpt_dataset_subset(ds, (const uint64_t[]){1, 5, 6}, 3, &few));       /* of this part */
        OK(hpt_dataset_get_info(few, &info));
        CHECK(info.bad_images == 1 && !hpt_dataset_bad_image(few, 0, name, sizeof name, NULL) &&
              strstr(name, "green/01"));
        /* batch norm */
        hpt_result *r;
        OK(hpt_model_clone(m, &a));
        OK(hpt_model_clone(m, &b));
        set(c, "batch_size=4 bn_group=4");
        OK(hpt_model_refresh_bn(a, clean, c, NULL));
        OK(hpt_model_refresh_bn(b, ds, c, &r));
        json_t *j = json_of(r);
        CHECK(number_of(j, "images") == 8 && number_of(j, "unreadable_images") == 4 &&
              strstr(text_at(j, "unreadable", "data", "names"), "blue/00"));
        json_decref(j);
        float stats[2][16];
        OK(hpt_model_get_tensor(a, "bn1.running_mean", stats[0], 16));
        OK(hpt_model_get_tensor(b, "bn1.running_mean", stats[1], 16));
        CHECK(!memcmp(stats[0], stats[1], sizeof stats[0]));
        set(c, "refresh_images=4");
        OK(hpt_model_refresh_bn(b, ds, c, &r));
        /* four that can be read */
        CHECK(!hpt_result_number(r, "images", &(double){0}) && number_of(j = json_of(r), "images") == 4);
        json_decref(j);
        hpt_context_destroy(ctx);
    }
}

/* Pretraining takes another image, the same one for any number of workers and after a resume. */
TEST(unreadable_images_are_replaced_in_pretraining) {
    char *dir = temp_dir(), path[600];
    float loss[3][4];
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/set", dir);
        put_class(path, colours[k], k, 4, 0);
    }
    spoil("%s/set/blue/03.ppm", dir);
    spoil("%s/set/red/03.ppm", dir);
    spoil("%s/set/red/02.ppm", dir);
    for (int run = 0; run < 3; run++) {
        hpt_context *ctx = context("reference", 1);
        hpt_config *c = config(SMALL "batch_size=6 bn_group=6 moco_k=12 moco_dim=16 steps=4");
        hpt_dataset *ds = open_set(ctx, c, "%s/set", dir);
        hpt_model *m;
        hpt_session *s;
        hpt_step_info i = {.struct_size = sizeof i};
        OK(hpt_config_set_int(c, "workers", run == 1 ? 4 : 1));
        OK(hpt_model_create(ctx, c, &m));
        OK(hpt_session_create(ctx, c, m, ds, &s));
        snprintf(path, sizeof path, "%s/run.pth.tar", dir);
        if (run == 2) OK(hpt_session_resume(s, path));
        for (int k = run == 2 ? 2 : 0; k < 4; k++) {
            OK(hpt_session_step(s, &i));
            loss[run][k] = (float)i.loss;
            if (run == 0 && k == 1) OK(hpt_session_save(s, path));
        }
        hpt_dataset_info info = {.struct_size = sizeof info};
        OK(hpt_dataset_get_info(ds, &info));
        CHECK(info.bad_images == 3);
        hpt_context_destroy(ctx);
    }
    CHECK(!memcmp(loss[0], loss[1], sizeof loss[0]) && !memcmp(loss[0] + 2, loss[2] + 2, 2 * sizeof(float)));
}

/* Files that go away after a set was opened. */
TEST(files_that_vanish) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "overlap=refuse"), *strict = config(SMALL "overlap=refuse bad_image=error");
    hpt_model *m;
    json_t *j;
    uint64_t id;
    OK(hpt_model_create(ctx, c, &m));
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/train", dir);
        put_class(path, colours[k], k, 4, 0);
        snprintf(path, sizeof path, "%s/test", dir);
        put_class(path, colours[k], k, 4, 50);
    }
    hpt_dataset *train = open_set(ctx, c, "%s/train", dir), *probe = open_set(ctx, c, "%s/test", dir),
        *refuse = open_set(ctx, strict, "%s/test", dir), *again = open_set(ctx, c, "%s/test", dir);
    OK(score(KNN, m, train, NULL, again, c, &j));
    CHECK(number_of(j, "unreadable_images") == 0);
    json_decref(j);
    snprintf(path, sizeof path, "%s/test/green/02.ppm", dir);
    CHECK(!unlink(path));
    OK(score(KNN, m, train, NULL, probe, c, &j));
    CHECK(number_of(j, "knn_score") == 100 && number_of(j, "test_images") == 11 &&
          !strcmp(text_at(j, "unreadable", "test", "names"), path));
    json_decref(j);
    FAILS(HPT_ERR_IO, "green/02.ppm", score(KNN, m, train, NULL, refuse, strict, &j));
    OK(hpt_dataset_identity(probe, &id));
    FAILS(HPT_ERR_IO, "green/02.ppm", hpt_dataset_identity(refuse, &id));
    for (int how = 0; how < 3; how++) {         /* these had been read: they go away between the look and the reading */
        hpt_dataset *late = open_set(ctx, c, "%s/test", dir);
        OK(score(KNN, m, train, NULL, late, c, &j));
        json_decref(j);
        snprintf(path, sizeof path, "%s/test/red/%02d.ppm", dir, how);
        CHECK(!unlink(path));
        OK(score(how, m, train, NULL, late, c, &j));
        CHECK(number_of(j, "test_images") == 10 - how && number_of(j, "unreadable_images") == 1 &&
              !strcmp(text_at(j, "unreadable", "test", "names"), path));
        json_decref(j);
    }
    OK(score(KNN, m, train, NULL, again, c, &j));
    CHECK(number_of(j, "test_images") == 8 && number_of(j, "unreadable_images") == 4);
    json_decref(j);
    hpt_result *res;
    hpt_dataset *moved = open_set(ctx, c, "%s/test", dir);
    OK(hpt_model_features(m, moved, c, (float[8 * 128]){0}, 8 * 128));
    snprintf(path, sizeof path, "%s/test/red/03.ppm", dir);
    CHECK(!unlink(path));
    OK(hpt_model_refresh_bn(m, moved, c, &res));
    j = json_of(res);
    CHECK(number_of(j, "images") == 7 && number_of(j, "unreadable_images") == 1);
    json_decref(j);
    snprintf(path, sizeof path, "%s/test/green/02.ppm", dir);
    mkdir(path, 0777);                                          /* a folder where the image was */
    hpt_dataset *third = open_set(ctx, c, "%s/test", dir);
    CHECK(third->count == 7);
}

/* A process that has no file descriptor left has no unreadable images: the call fails, and later all is well. */
TEST(lack_of_descriptors_is_no_bad_image) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "workers=1 pixel_mean=0.5,0.5,0.5 pixel_std=0.2,0.2,0.2");
    hpt_model *m;
    json_t *j;
    hpt_dataset_info info = {.struct_size = sizeof info};
    int held[1024], n = 0;
    struct rlimit few = {64, 64};
    OK(hpt_model_create(ctx, c, &m));
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/set", dir);
        put_class(path, colours[k], k, 4, 0);
    }
    hpt_dataset *ds = open_set(ctx, c, "%s/set", dir);
    CHECK(!setrlimit(RLIMIT_NOFILE, &few));
    while ((held[n] = dup(1)) >= 0) n++;
    FAILS(HPT_ERR_IO, "00.ppm", hpt_model_features(m, ds, c, (float[12 * 128]){0}, 12 * 128));
    FAILS(HPT_ERR_IO, "00.ppm", score(KNN, m, ds, NULL, ds, c, &j));
    while (n) close(held[--n]);
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(info.bad_images == 0);
    OK(score(KNN, m, ds, NULL, ds, c, &j));
    CHECK(number_of(j, "test_images") == 12 && number_of(j, "knn_score") == 100);
}

/* The monitor of a pretraining run. */
TEST(monitor_goes_by_names_and_leaves_out) {
    hpt_context *ctx = context("reference", 1);
    OK(hpt_context_set_log(ctx, keep_note, NULL));
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "batch_size=6 bn_group=6 moco_k=12 moco_dim=16 steps=2 monitor_every=1 lr=0.000001");
    hpt_model *m;
    hpt_session *s;
    hpt_step_info i = {.struct_size = sizeof i};
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/train", dir);
        put_class(path, colours[k], k, 4, 0);
        snprintf(path, sizeof path, "%s/val", dir);
        if (k) put_class(path, colours[k], k, 3, 50);
        snprintf(path, sizeof path, "%s/odd", dir);
        put_class(path, colours[k + 1], k + 1, 3, 50);
    }
    spoil("%s/val/red/02.ppm", dir);
    hpt_dataset *train = open_set(ctx, c, "%s/train", dir), *val = open_set(ctx, c, "%s/val", dir),
        *odd = open_set(ctx, c, "%s/odd", dir);
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_session_create(ctx, c, m, train, &s));
    FAILS(HPT_ERR_ARGUMENT, "class 'violet' (first image", hpt_session_monitor(s, train, odd));
    last_note[0] = 0;
    OK(hpt_session_monitor(s, train, val));
    CHECK(strstr(last_note, "1 of 6 images"));
    OK(hpt_session_step(s, &i));
    CHECK(i.monitor == 100);
}

/* The search for a source: target and candidates with unreadable images, a target's validation set that lacks a
 * class. */
TEST(search_goes_by_names_and_leaves_out) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600];
    hpt_config *c = config(SMALL "batch_size=6 bn_group=6 moco_k=12 moco_dim=16 steps=2 search_rungs=1 lr=0.000001");
    hpt_model *m, *winner;
    hpt_result *r;
    for (int k = 0; k < 3; k++) {
        static const char *const sets[] = {"train", "val", "odd", "source"};
        for (int w = 0; w < 4; w++) {
            snprintf(path, sizeof path, "%s/%s", dir, sets[w]);
            if (w != 1 || k) put_class(path, colours[w == 2 ? k + 1 : k], w == 2 ? k + 1 : k, 4, 70 * w);
        }
    }
    spoil("%s/val/red/02.ppm", dir);
    spoil("%s/source/blue/00.ppm", dir);
    hpt_dataset *train = open_set(ctx, c, "%s/train", dir), *val = open_set(ctx, c, "%s/val", dir),
        *odd = open_set(ctx, c, "%s/odd", dir), *source = open_set(ctx, c, "%s/source", dir);
    const char *name = "one";
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "val: class 'violet'", hpt_source_search(ctx, c, m, &source, &name, 1, train, odd, NULL,
        NULL, &winner, &r));
    OK(hpt_source_search(ctx, c, m, &source, &name, 1, train, val, NULL, NULL, &winner, &r));
    json_t *j = json_of(r), *one = json_array_get(json_object_get(j, "candidates"), 0);
    CHECK(number_of(j, "val_score") == 100 && number_of(j, "val_images") == 7 &&
          strstr(text_at(j, "unreadable", "val", "names"), "red/02"));
    CHECK(!strcmp(text_at(j, "classes_only_in_train", "val", NULL), "blue"));
    CHECK(number_of(one, "unreadable_images") == 1 && strstr(text_at(one, "unreadable", "source", "names"),
                                                             "blue/00") && isfinite(number_of(one, "nearness")));
}

/* ---- recipes ---- */

TEST(recipes_go_by_names_and_leave_out) {
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[600], text[3000];
    (void)ctx;
    for (int k = 0; k < 3; k++) {
        static const char *const sets[] = {"train", "test", "odd"};
        for (int w = 0; w < 3; w++) {
            snprintf(path, sizeof path, "%s/%s", dir, sets[w]);
            if (w != 1 || k != 1) put_class(path, colours[w == 2 ? k + 1 : k], w == 2 ? k + 1 : k, 4, 70 * w);
        }
        /* another class before them: other numbers for the same names */
        snprintf(path, sizeof path, "%s/more", dir);
        put_class(path, colours[k], k, 4, 0);
        put_class(path, "apple", 3, 4, 0);
    }
    spoil("%s/test/red/03.ppm", dir);
    spoil("%s/train/blue/00.ppm", dir);
    const char *head = "[recipe]\nout = %s/out\n[options]\narch = resnet10\nwidth = 16\nstem = small\nimage_size = "
        "16\neval_crop = full\nbad_image = skip\noverlap = allow\nprobe_steps = 40\nprobe_lr = 0.3\n"
                       "backend = reference\nthreads = 1\nbatch_size = 4\nbn_group = 4\nmoco_k = 8\nmoco_dim = "
                       "16\n[data t]\npath = %s/train\n[data u]\npath = %s/%s\n%s";
    static const struct { const char *stage, *where; } refused[] = {
        {"[knn k]\nmodel = random\ntrain = t\ntest = u\n", "[knn k]"},
            {"[linear l]\nmodel = random\ntrain = t\ntest = u\n", "[linear l]"},
        {"[finetune f]\nmodel = random\ntrain = t\nval = u\n", "[finetune f]"},
        {"[pretrain p]\ndata = t\nsteps = 2\nmonitor_train = t\nmonitor_val = u\nmonitor_every = 1\n", "[pretrain p]"}};
    hpt_recipe *r;
    hpt_result *res;
    snprintf(path, sizeof path, "%s/r.ini", dir);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(text, sizeof text, head, dir, dir, dir, "odd", refused[i].stage);
        FILE *f = fopen(path, "w");
        fputs(text, f);
        fclose(f);
        OK(hpt_recipe_open(NULL, path, NULL, &r));
        FAILS(HPT_ERR_ARGUMENT, "class 'violet' (first image", hpt_recipe_plan(r, &res));
        CHECK(strstr(hpt_last_error(), refused[i].where) && strstr(hpt_last_error(), ", line "));
        hpt_recipe_destroy(r);
    }
    char stages[2000];
    snprintf(stages, sizeof stages,
             "[knn k]\nmodel = random\ntrain = t\nval = u\ntest = u\n[pretrain p]\ndata = t\nsteps = 2\n[refresh-bn "
             "b]\ninit = p\ndata = t\n[linear l]\nmodel = p\ntrain = t\ntest = u\nprobe_keep = 1\n[linear l2]\nmodel = "
             "b\ntrain = t\ntest = u\nprobe_keep = 1\n[data m]\npath = %s/more\n[linear l3]\nmodel = p\ntrain = "
             "m\ntest = u\nprobe_keep = 1\n[similarity s]\nof = l, l2, l3\nmetric = iou\n[similarity s2]\nof = p, "
             "b\nmetric = rv2\ndata = u\n", dir);
    snprintf(text, sizeof text, head, dir, dir, dir, "test", stages);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    OK(hpt_recipe_open(NULL, path, NULL, &r));
    OK(hpt_recipe_run(r, NULL, NULL, &res));
    json_t *j = json_of(res), *stage;
    size_t at;
    int seen = 0;
    json_array_foreach(json_object_get(j, "stages"), at, stage) {
        const char *name = text_at(stage, "stage", NULL, NULL);
        if (!strcmp(name, "k")) {
            CHECK(number_of(stage, "val_score") == 100 && number_of(stage, "test_score") == 100 &&
                  number_of(stage, "unreadable_images") == 3);
            CHECK(strstr(text_at(stage, "unreadable", "val", "names"), "red/03") &&
                  strstr(text_at(stage, "unreadable", "test", "names"), "red/03") &&
                  strstr(text_at(stage, "unreadable", "train", "names"), "blue/00"));
            CHECK(!strcmp(text_at(stage, "classes_only_in_train", "test", NULL), "green") &&
                  !strcmp(text_at(stage, "classes_only_in_train", "val", NULL), "green"));
            CHECK(number_of(stage, "test_images") == 7 && number_of(stage, "val_images") == 7 &&
                  number_of(stage, "train_images") == 11);
        } else if (!strcmp(name, "p") || !strcmp(name, "b"))
            CHECK(strstr(text_at(stage, "unreadable", "data", "names"), "blue/00"));
        else if (name[0] == 'l') CHECK(number_of(stage, "test_score") == 100);
        else {
            CHECK(number_of(stage, "images_compared") == 7 && number_of(stage, "unreadable_images") == 1);
            json_t *row = json_array_get(json_object_get(stage, "matrix"), 0);
            /* no errors on either side: alike; two steps change little */
            for (size_t k = 1; k < json_array_size(row); k++) CHECK(json_number_value(json_array_get(row, k)) > 0.9);
        }
        seen++;
    }
    CHECK(seen == 8);
    snprintf(path, sizeof path, "%s/out/report.html", dir);
    char *html = read_text(path);
    CHECK(strstr(html, "test: 1 unreadable image, left out: ") &&
          strstr(html, "data: 1 unreadable image, others stood in: "));
    CHECK(strstr(html, "no image of 1 of train's classes: green"));
}

/* ---- the program ---- */

TEST(commands_say_what_they_left_out) {
    char *dir = temp_dir(), path[600];
    for (int k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/train", dir);
        put_class(path, colours[k], k, 4, 0);
        snprintf(path, sizeof path, "%s/test", dir);
        put_class(path, colours[k], k, 2, 50);
    }
    spoil("%s/test/blue/01.ppm", dir);
    const char *o = "--init random --arch resnet10 --width 16 --stem small --image_size 16 --eval_crop full --backend "
        "reference --threads 1 --bad_image skip";
    char said[700];
    snprintf(said, sizeof said, "5 images, 1 unreadable (left out): %s/test/blue/01.ppm\n", dir);
    RUN(HPT_TEST_BIN "/hpt knn --train %s/train --test %s/test %s", dir, dir, o);
    CHECK(strstr(output, "100.00 %") && strstr(output, said));
    RUN(HPT_TEST_BIN "/hpt knn --train %s/train --test %s/test %s --json 2>/dev/null", dir, dir, o);
    json_t *j = json_loads(output, 0, NULL);
    CHECK(j && strstr(text_at(j, "unreadable", "test", "names"), "blue/01"));
    RUN(HPT_TEST_BIN "/hpt linear --train %s/train --test %s/test %s --probe_steps 20 --probe_lr 0.3", dir, dir, o);
    CHECK(strstr(output, said));
    RUN(HPT_TEST_BIN "/hpt finetune --train %s/train --test %s/test %s --ft_length 2 --ft_lr 0.01 --ft_batch 4", dir,
        dir, o);
    CHECK(strstr(output, said));
    RUN(HPT_TEST_BIN "/hpt embed --data %s/test %s --out %s/f.csv", dir, o, dir);
    CHECK(strstr(output, "5 x 128 features") && strstr(output, said));
    snprintf(path, sizeof path, "%s/f.csv", dir);
    char *csv = read_text(path);
    int lines = 0;
    for (char *p = csv; *p; p++) lines += *p == '\n';
    CHECK(lines == 6 && !strstr(csv, "blue/01") && strstr(csv, "blue/00") && !strstr(csv, "nan"));
    RUN(HPT_TEST_BIN "/hpt embed --data %s/test %s --out %s/f.npy", dir, o, dir);
    snprintf(path, sizeof path, "%s/f.npy", dir);
    struct stat s;
    CHECK(strstr(output, said) && !stat(path, &s) && s.st_size == 128 + 5 * 128 * 4);
    RUN(HPT_TEST_BIN "/hpt refresh-bn --data %s/test %s --out %s/m.pth 2>&1", dir, o, dir);
    CHECK(strstr(output, said));
    RUN(HPT_TEST_BIN "/hpt pretrain --data %s/test %s --out %s/run --steps 2 --batch_size 4 --bn_group 4 --moco_k 8 "
        "--json 2>/dev/null", dir, o, dir);
    CHECK((j = json_loads(output, 0, NULL)) && number_of(j, "unreadable_images") == 1 &&
          strstr(text_at(j, "unreadable", "data", "names"), "blue/01"));
    RUN(HPT_TEST_BIN "/hpt pretrain --data %s/test %s --out %s/run2 --steps 2 --batch_size 4 --bn_group 4 --moco_k 8",
        dir, o, dir);
    CHECK(strstr(output, "data: 5 images, 1 unreadable (others stood in):") && strstr(output, "blue/01"));
    RUN(HPT_TEST_BIN "/hpt similarity %s/m.pth %s/m.pth --data %s/test --bad_image skip --image_size 16 --backend "
        "reference", dir, dir, dir);
    CHECK(strstr(output, "over 5 images: 1.0000") && strstr(output, said));
    snprintf(path, sizeof path, "%s/test", dir);
    put_class(path, "zebra", 3, 1, 0);
    REFUSED(1, "test: class 'zebra' (first image", HPT_TEST_BIN "/hpt knn --train %s/train --test %s/test %s", dir,
            dir, o);
}

/* SPDX-License-Identifier: MIT
 * What commands say of a run: the numbers that its method has and no others, in as few digits as read back the same;
 * and in a command's help the options of its methods. */
#include "core/json.h"
#include "core/alloc.h"
#include "shell.h"

#define TINY "--arch resnet10 --width 16 --stem small --image_size 16 --batch_size 4 --bn_group 0 --moco_dim 16 " \
    "--precision fp32 --threads 1 --workers 1 --backend reference --steps 1 --lr 0.03 --json "

TEST(a_run_says_the_numbers_of_its_method) {
    static const struct { const char *command, *has, *lacks; } all[] = {
        {"pretrain " TINY "--moco_k 16", "chance contrast_acc1 z_std", "train_top1 entropy"},
        {"pretrain " TINY "--preset byol --head_hidden 16 --byol_hidden 16 --batch_size 4", "z_std",
         "chance contrast_acc1 train_top1 entropy"},
        {"train " TINY, "chance train_top1", "z_std contrast_acc1 entropy"}};
    char *dir = temp_dir(), *set_ = stripes(dir, 4), word[40];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        RUN(HPT_TEST_BIN "/hpt %s --data %s --out %s/%zu 2>/dev/null", all[i].command, set_, dir, i);
        json_t *j = json_loads(output, 0, NULL);
        CHECK(json_is_number(json_object_get(j, "loss")));
        for (int k = 0; k < 2; k++)
            for (const char *p = k ? all[i].lacks : all[i].has; sscanf(p, "%39s", word) == 1; p += strlen(word),
                 p += *p == ' ') {
                json_t *v = json_object_get(j, word);
                if (k ? v != NULL : !json_is_number(v)) FAIL("%s of %s: %s", word, all[i].command, output);
            }
        json_decref(j);
        RUN("cat %s/%zu/args.json", dir, i);
        if (!strstr(output, "\"lr\": 0.03,") || !strstr(output, "\"momentum\": 0.9,")) FAIL("%s", output);
    }
}

TEST(numbers_of_json_are_short_and_exact) {
    static const double v[] = {0.03, 1e-6, 0.1 + 0.2, 1.0 / 3, 5e-324, 1.7976931348623157e308, 1e22, -0.07, 3, 0,
                               1234567890123456.7};
    enum { N = sizeof v / sizeof *v };
    json_t *j = json_pack("{s:[], s:s, s:s}", "v", "0.029999999999999999", "0.029999999999999999", "quote", "a\"0.1\"");
    for (int i = 0; i < N; i++) json_array_append_new(json_object_get(j, "v"), json_real(v[i]));
    char *text = hpt__json_dumps(j, JSON_COMPACT);
    CHECK(text);
    json_t *back = json_loads(text, 0, NULL);
    if (!json_equal(j, back)) FAIL("%s", text);
    for (int i = 0; i < N; i++) CHECK(json_is_real(json_array_get(json_object_get(back, "v"), (size_t)i)));
    if (!strstr(text, "[0.03,1e-06,0.30000000000000004,") || strlen(text) > 250) FAIL("%s", text);
    hpt__free(text);
    json_decref(back);
    json_decref(j);
}

TEST(help_shows_the_options_of_the_command) {
    RUN(HPT_TEST_BIN "/hpt train --help-all");
    CHECK(strstr(output, "--label_smoothing ") && strstr(output, "--accumulate ") && strstr(output, "--lr "));
    CHECK(!strstr(output, "--moco_k") && !strstr(output, "--byol_m") && !strstr(output, "--mme_"));
    RUN(HPT_TEST_BIN "/hpt pretrain --help-all");
    CHECK(strstr(output, "--moco_k ") && strstr(output, "--byol_m ") && strstr(output, "--accumulate "));
    CHECK(!strstr(output, "--label_smoothing") && !strstr(output, "--mme_"));
    RUN(HPT_TEST_BIN "/hpt train --help");
    CHECK(!strstr(output, "moco_k"));
}

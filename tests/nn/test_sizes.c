/* SPDX-License-Identifier: MIT
 * Sizes that cannot train, and sizes that train otherwise than meant: refused with the layer, or warned of with the
 * option. */
#include "support.h"

#define TINY "arch=resnet10 width=16 stem=small image_size=8 moco_dim=8 precision=fp32 eval_crop=full steps=1 " \
    "ft_lr=0.01 ft_length=1 ft_eval_every=1 overlap=allow "

static char said[4096];
static void keep(void *user, int32_t level, const char *text) {
    (void)user;
    if (of_machine(text)) return;
    CHECK(strlen(said) + strlen(text) + 2 < sizeof said);
    if (level) strcat(strcat(said, text), "\n");
}
static void create(hpt_context *ctx, const char *options, hpt_dataset *ds, hpt_status want, const char *word) {
    hpt_config *c = config(TINY);
    hpt_model *m;
    hpt_session *s;
    set(c, options);
    OK(hpt_model_create(ctx, c, &m));
    said[0] = 0;
    if (want) FAILS(want, word, hpt_session_create(ctx, c, m, ds, &s));
    else {
        OK(hpt_session_create(ctx, c, m, ds, &s));
        OK(hpt_session_step(s, NULL));
        if (*word ? !strstr(said, word) : *said) FAIL("%s: '%s' was said, not '%s'", options, said, word);
        hpt_session_destroy(s);
    }
    hpt_model_destroy(m);
    hpt_config_destroy(c);
}

/* A map of 1x1 and one image: the layer's output would be its bias. PyTorch refuses this too. */
TEST(batch_norm_over_one_value) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 24, 8, 2), *train, *val;
    hpt_model *m, *tuned;
    hpt_result *r;
    const char *layer = "batch norm 'layer4.0.bn1' would see one value a channel";
    create(ctx, "batch_size=1 bn_group=0 moco_k=4", ds, HPT_ERR_OPTION, layer);
    create(ctx, "batch_size=4 bn_group=1 moco_k=8", ds, HPT_ERR_OPTION, layer);
    create(ctx, "batch_size=4 bn_group=1 moco_k=8 train=bn", ds, HPT_ERR_OPTION, layer);
    /* frozen weights still take the batch's statistics */
    create(ctx, "batch_size=4 bn_group=1 moco_k=8 freeze=layer*", ds, HPT_ERR_OPTION, layer);
    create(ctx, "batch_size=2 bn_group=1 moco_k=8 stem=imagenet image_size=32", ds, HPT_ERR_OPTION, layer);
    create(ctx, "batch_size=4 bn_group=2 moco_k=8", ds, HPT_OK, "");
    /* four values of one image are enough */
    create(ctx, "batch_size=4 bn_group=1 moco_k=8 image_size=16", ds, HPT_OK, "");
    OK(hpt_dataset_per_class(ds, 6, 1, &train, &val));
    hpt_config *c = config(TINY "ft_batch=8 ft_micro=1 batch_size=8 bn_group=1");
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_OPTION, "ft_micro", hpt_model_finetune(m, train, val, NULL, c, &tuned, &r));
    FAILS(HPT_ERR_OPTION, layer, hpt_model_refresh_bn(m, ds, c, &r));
    set(c, "ft_micro=2 bn_group=2");
    OK(hpt_model_finetune(m, train, val, NULL, c, &tuned, &r));
    OK(hpt_model_refresh_bn(m, ds, c, &r));
    /* evaluation uses running statistics: one image is fine */
    uint64_t first = 0;
    hpt_dataset *one;
    float x[128];
    OK(hpt_dataset_subset(ds, &first, 1, &one));
    OK(hpt_model_features(m, one, c, x, 128));
}

TEST(sizes_that_contradict_each_other) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds = toy_set(ctx, "", 24, 8, 2), *one;
    uint64_t first = 0;
    OK(hpt_dataset_subset(ds, &first, 1, &one));
    OK(hpt_context_set_log(ctx, keep, NULL));
    create(ctx, "batch_size=8 bn_group=0 moco_k=24", ds, HPT_OK, "");
    create(ctx, "batch_size=8 bn_group=0 moco_k=17", ds, HPT_OK, "moco_k=17 is not a multiple of batch_size=8");
    create(ctx, "batch_size=8 bn_group=0 moco_k=4", ds, HPT_OK, "moco_k=4 is less than batch_size=8");
    create(ctx, "batch_size=32 bn_group=0 moco_k=32", ds, HPT_OK, "batch_size=32 is more than the 24 images");
    create(ctx, "batch_size=8 bn_group=0 moco_k=64", ds, HPT_OK, "consider moco_k=24");
    create(ctx, "batch_size=16 bn_group=0 moco_k=64", ds, HPT_OK, "consider moco_k=16");
    create(ctx, "batch_size=2 bn_group=0 moco_k=4", one, HPT_OK, "one image only");
}

/* SPDX-License-Identifier: MIT
 * Contract: pixels.h. Reads what the options pixel_mean and pixel_std say, writes three numbers so that they read
 * back exactly, and takes those of a file only if they are sound. */
#include "core/pixels.h"
#include "core/number.h"
#include <string.h>

const hpt__pixels hpt__pixels_imagenet = {.mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f},
                                          .from = {"imagenet", "imagenet"}};

/* Three numbers in 0..1, deviations above 0. */
static int triple(const char *text, int std, float out[3]) {
    double v[3];
    if (hpt__number_list(text, v, 3) != 3) return 0;
    for (int c = 0; c < 3; c++) {
        if (v[c] < 0 || v[c] > 1 || (std && !((float)v[c] > 0))) return 0;
        out[c] = (float)v[c];
    }
    return 1;
}

hpt_status hpt__pixels_given(const hpt__options *o, hpt__pixels *p) {
    static const char *const words[] = {"auto", "data", "model"};
    for (int i = 0; i < 2; i++) {
        const char *v = i ? OPT_S(o, pixel_std) : OPT_S(o, pixel_mean);
        float *to = i ? p->std : p->mean;
        int word = 0;
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) word |= !strcmp(v, words[k]);
        if (word) continue;
        if (!strcmp(v, "imagenet")) {
            memcpy(to, i ? hpt__pixels_imagenet.std : hpt__pixels_imagenet.mean, sizeof p->mean);
            p->from[i] = "imagenet";
        } else if (triple(v, i, to)) p->from[i] = "given";
        else
            return hpt__fail(HPT_ERR_OPTION,
                             "option '%s': '%.60s' is neither auto, data, model, imagenet nor r,g,b of levels in "
                             "0..1%s", i ? "pixel_std" : "pixel_mean", v, i ? ", each above 0" : "");
    }
    return HPT_OK;
}

void hpt__pixels_text(const float v[3], char text[96]) { hpt__number_list_print(v, 3, text, 96); }

int hpt__pixels_parse(const char *mean, const char *std, hpt__pixels *p) {
    hpt__pixels read = {.from = {"model", "model"}};
    if (!mean || !std || !triple(mean, 0, read.mean) || !triple(std, 1, read.std)) return 0;
    *p = read;
    return 1;
}

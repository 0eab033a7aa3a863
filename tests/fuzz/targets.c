/* SPDX-License-Identifier: MIT */
#include "fuzz/targets.h"
#include "core/alloc.h"
#include "data/image.h"
#include "io/arrays.h"
#include "io/jsonscan.h"
#include "io/mat.h"
#include "io/tensorfile.h"
#include <stdlib.h>
#include <string.h>

void fuzz_image(const uint8_t *p, size_t n) {
    static const hpt__image_limits lim = {1 << 20, 1 << 20, HPT__ALPHA_WHITE};
    hpt__image im;
    if (hpt__image_decode(p, n, &lim, &im)) return;
    unsigned sum = 0;
    for (size_t i = 0; i < (size_t)im.w * (size_t)im.h * 3; i++) sum += im.rgb[i];
    if (sum == 0xffffffffu) abort();      /* every pixel was looked at */
    hpt__image_free(&im);
}
static void tensorfile(const uint8_t *p, size_t n) {
    hpt__tensorfile f = {0};
    f.file.n = n;
    f.file.p = hpt__alloc(n);
    if (n) memcpy(f.file.p, p, n);
    if (!hpt__tensorfile_parse(&f))
        for (uint32_t i = 0; i < f.n; i++) {
            if (f.t[i].unreadable) continue;
            if (f.t[i].count > 2 * n + 8) abort();      /* no tensor larger than its file allows */
            float *x = malloc(f.t[i].count * 4 + 4);
            if (x && hpt__ftensor_read(&f.t[i], x)) abort();
            free(x);
        }
    hpt__tensorfile_close(&f);
}
void fuzz_torch(const uint8_t *p, size_t n) { tensorfile(p, n); }
void fuzz_safetensors(const uint8_t *p, size_t n) {
    if (n >= 9) tensorfile(p, n);
}
void fuzz_idx(const uint8_t *p, size_t n) {
    hpt__array a;
    if (!hpt__idx_parse(p, n, &a)) hpt__array_free(&a);
}
void fuzz_npz(const uint8_t *p, size_t n) {
    hpt__array a;
    int found;
    if (!hpt__npz_parse(p, n, "images", 0, &a, &found)) hpt__array_free(&a);
    if (!hpt__npz_parse(p, n, "labels", 1, &a, &found)) hpt__array_free(&a);
}
void fuzz_json(const uint8_t *p, size_t n) {
    hpt__jscan s;
    hpt__jtoken t;
    size_t tokens = 0;
    hpt__jscan_memory(&s, p, n);
    while ((t = hpt__jscan_next(&s)) != HPT__J_ERROR && t != HPT__J_END)
        if (++tokens > n) abort();        /* each token takes a byte at least */
    hpt__jscan_memory(&s, p, n);
    if (hpt__jscan_skip(&s) && hpt__jscan_at(&s) > n) abort();
}
void fuzz_mat(const uint8_t *p, size_t n) {
    double *v;
    uint64_t count;
    if (hpt__mat_parse(p, n, "labels", &v, &count)) return;
    if (!count || count > 1 << 20) abort();
    hpt__free(v);
}

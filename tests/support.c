/* SPDX-License-Identifier: MIT
 * Contract: support.h. Contexts, configurations and small labelled sets for tests that want one in a line; a failure
 * in here fails the test that asked. */
#define _GNU_SOURCE
#include "support.h"
#include <unistd.h>

double signature_error(const double *x, size_t n, json_t *sig) {
    double p[8] = {0}, norm = json_number_value(json_array_get(sig, 0)), sq = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t h = hash_at(i, 77);
        for (int k = 0; k < 8; k++) p[k] += h >> k & 1 ? x[i] : -x[i];
    }
    for (size_t k = 0; k < 8; k++) {
        double d = p[k] - json_number_value(json_array_get(sig, k + 1));
        sq += d * d / 8;
    }
    return sqrt(sq) / (norm + 1e-30);
}
double signature_error_f32(const float *x, size_t n, json_t *sig) {
    double *d = malloc(n * sizeof *d);
    for (size_t i = 0; i < n; i++) d[i] = x[i];
    double e = signature_error(d, n, sig);
    free(d);
    return e;
}
json_t *fixture(const char *name) {
    char path[200];
    json_error_t err;
    snprintf(path, sizeof path, "tests/fixtures/%s.json", name);
    json_t *j = json_load_file(path, 0, &err);
    if (!j) FAIL("%s: %s", path, err.text);
    return j;
}
double num(json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) FAIL("fixture has no number '%s'", key);
    return json_number_value(v);
}
int integer(json_t *o, const char *key) {
    return json_is_boolean(json_object_get(o, key)) ? json_is_true(json_object_get(o, key)) : (int)num(o, key);
}
size_t hex(const char *text, uint8_t *out) {
    size_t n = strlen(text) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        sscanf(text + 2 * i, "%2x", &v);
        out[i] = (uint8_t)v;
    }
    return n;
}
#ifndef HPT_TEST_MODULES
#define HPT_TEST_MODULES "lib/hpt"
#endif
int of_machine(const char *text) { return !strncmp(text, "the machine is busy", 19); }
hpt_context *context(const char *backend, int threads) {
    hpt_config *c;
    hpt_context *ctx;
    OK(hpt_config_create(NULL, &c));
    OK(hpt_config_set(c, "backend", backend));
#ifdef HPT_TEST_EMU
    OK(hpt_config_set(c, "module_dir", strcmp(backend, "cuda") ? HPT_TEST_MODULES : HPT_TEST_EMU));
#else
    OK(hpt_config_set(c, "module_dir", HPT_TEST_MODULES));
#endif
    OK(hpt_config_set_int(c, "threads", threads));
    hpt_status st = hpt_context_create(c, &ctx);
    hpt_config_destroy(c);
    if (st == HPT_ERR_UNAVAILABLE) return NULL;
    OK(st);
    return ctx;
}
hpt_context *fast_context(void) {
    hpt_context *c = context("onednn", 2);
    if (!c) SKIP("the onednn module is not here: %s", hpt_last_error());
    return c;
}
void set(hpt_config *c, const char *pairs) {
    char *copy = strdup(pairs), *save = NULL;
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(p, '=');
        CHECK(eq);
        *eq = 0;
        OK(hpt_config_set(c, p, eq + 1));
    }
    free(copy);
}
hpt_config *config(const char *pairs) {
    hpt_config *c;
    OK(hpt_config_create(NULL, &c));
    set(c, pairs);
    return c;
}
void fill_model(hpt_model *m, uint64_t seed) {
    hpt_tensor_info t = {.struct_size = sizeof t};
    for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK; i++) {
        size_t n = 1, len = strlen(t.name);
        for (int d = 0; d < t.ndim; d++) n *= (size_t)t.shape[d];
        float *x = malloc(n * 4), scale = 0.1f, shift = 0;
        if (t.ndim == 4) scale = (float)(sqrt(2.0 / (double)(t.shape[0] * t.shape[2] * t.shape[3])) * sqrt(3.0));
        else if (t.ndim == 2) scale = (float)(1 / sqrt((double)t.shape[1]));
        else if (len > 12 && !strcmp(t.name + len - 12, "running_mean")) scale = 0;
        else if (len > 11 && !strcmp(t.name + len - 11, "running_var")) scale = 0, shift = 1;
        else if (!strcmp(t.name + len - 6, "weight")) scale = 0.2f, shift = 1;
        fill_f32(x, n, seed + i, scale, shift);
        OK(hpt_model_set_tensor(m, t.name, x, n));
        free(x);
    }
}
char *temp_dir(void) {
    static char name[64];
    const char *id = getenv("HPT_TEST_ID");         /* run.c removes what is called so, when the test has ended */
    snprintf(name, sizeof name, "/tmp/hpt-test-%s-XXXXXX", id ? id : "0");
    CHECK(mkdtemp(name));
    return name;
}
hpt_dataset *toy_set(hpt_context *ctx, const char *pairs, int n, int size, int classes) {
    hpt_config *c = config(pairs);
    uint8_t *px = malloc((size_t)n * (size_t)size * (size_t)size * 3);
    int32_t *labels = malloc(sizeof *labels * (size_t)n);
    for (int i = 0; i < n; i++) {
        labels[i] = i % classes;
        for (int p = 0; p < size * size * 3; p++) {
            int x = p / 3 % size, y = p / 3 / size, ch = p % 3;
            double wave = sin((labels[i] + 1) * 0.5 * x + ch) * cos((labels[i] + 2) * 0.3 * y);
            px[(size_t)i * (size_t)(size * size * 3) + (size_t)p] =
                (uint8_t)(128 + 70 * wave + 20 * value_at((uint64_t)p, (uint64_t)i + 900));
        }
    }
    hpt_dataset *ds;
    OK(hpt_dataset_from_memory(ctx, c, px, (uint64_t)n, (uint32_t)size, (uint32_t)size, 3, labels, &ds));
    hpt_config_destroy(c);
    free(px);
    free(labels);
    return ds;
}

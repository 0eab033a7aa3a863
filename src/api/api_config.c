/* SPDX-License-Identifier: MIT
 * hpt_version, hpt_has, hpt_config_* and hpt_result_*: what needs no device. And the two rules that all API files
 * share: text that goes out, structs that are filled up to struct_size. */
#include "api/api.h"
#include "backend/backend.h"
#include "core/alloc.h"
#include "core/json.h"
#include "core/number.h"
#include "core/presets.h"
#include <string.h>

uint32_t hpt_version(void) { return HPT_VERSION_MAJOR * 10000 + HPT_VERSION_MINOR * 100 + HPT_VERSION_PATCH; }
#define STR2(x) #x
#define STR(x) STR2(x)
const char *hpt_version_string(void) {
    return STR(HPT_VERSION_MAJOR) "." STR(HPT_VERSION_MINOR) "." STR(HPT_VERSION_PATCH);
}

int32_t hpt_has(const char *feature) {
    static const char *const have[] = {"reference",
#ifdef HPT_HAVE_JPEG
                                       "jpeg-turbo",
#endif
#ifdef HPT_HAVE_PNG
                                       "libpng",
#endif
#ifdef HPT_HAVE_TIFF
                                       "libtiff",
#endif
#ifdef HPT_HAVE_WEBP
                                       "libwebp",
#endif
                                       ""};
    for (size_t i = 0; feature && i < sizeof have / sizeof *have; i++)
        if (*feature && !strcmp(have[i], feature)) return 1;
    static const struct { const char *feature, *module; } modules[] = {{"onednn", "onednn"}, {"cuda", "cuda"},
        {"nccl", "cuda"}, {"mpi", "mpi"}};
    for (size_t i = 0; feature && i < sizeof modules / sizeof *modules; i++)
        if (!strcmp(modules[i].feature, feature)) return hpt__module_here(modules[i].module);
    return 0;
}

hpt_status hpt__text_out(const char *text, char *buf, size_t size, size_t *needed) {
    size_t n = strlen(text) + 1;
    if (needed) *needed = n;
    if (!buf && !size) return HPT_OK;
    if (!buf) return hpt__fail(HPT_ERR_ARGUMENT, "buf is NULL with size %zu", size);
    if (n <= size) {
        memcpy(buf, text, n);
        return HPT_OK;
    }
    if (size) {
        memcpy(buf, text, size - 1);
        buf[size - 1] = 0;
    }
    return hpt__fail(HPT_ERR_ARGUMENT, "buffer of %zu bytes is too small, %zu are needed", size, n);
}

hpt_status hpt__struct_out(void *to, const void *from, size_t have, const char *name) {
    uint32_t size;
    if (!to) return hpt__fail(HPT_ERR_ARGUMENT, "%s is NULL", name);
    memcpy(&size, to, 4);
    if (size < 8 || size > 65536)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s: struct_size is %u; set it to sizeof the struct", name, size);
    if (size > have) memset((char *)to + have, 0, size - have);
    memcpy((char *)to + 4, (const char *)from + 4, (size < have ? size : have) - 4);
    return HPT_OK;
}

hpt_status hpt__struct_in(void *to, const void *from, size_t have, const char *name) {
    uint32_t size;
    if (!from) return hpt__fail(HPT_ERR_ARGUMENT, "%s is NULL", name);
    memcpy(&size, from, 4);
    if (size < 8 || size > 65536)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s: struct_size is %u; set it to sizeof the struct", name, size);
    for (size_t i = have; i < size; i++)
        if (((const char *)from)[i])
            return hpt__fail(HPT_ERR_VERSION, "%s: byte %zu is set, which this library does not know", name, i);
    memset(to, 0, have);
    memcpy(to, from, size < have ? size : have);
    return HPT_OK;
}

hpt_status hpt__config_options(const hpt_config *cfg, const hpt__options **o) {
    *o = NULL;
    if (!cfg) return HPT_OK;
    CHECK(cfg, CONFIG);
    *o = &cfg->o;
    return HPT_OK;
}

static void config_free(void *p) {
    hpt_config *c = p;
    hpt__options_fini(&c->o);
    hpt__free(c);
}

static hpt_status stage_of(const char *stage, char *letter) {
    *letter = 0;
    if (!stage || (*letter = hpt__options_stage(stage))) return HPT_OK;
    return hpt__fail(HPT_ERR_ARGUMENT,
                     "stage '%.40s' is none of context, dataset, model, pretrain, refresh-bn, linear, finetune, knn, "
                     "search, embed, score", stage);
}

hpt_status hpt_config_create(const char *stage, hpt_config **out) {
    char letter;
    OUT(out);
    HPT_TRY(stage_of(stage, &letter));
    hpt_config *c = hpt__calloc(1, sizeof *c);
    if (!c) return hpt__fail_memory(sizeof *c);
    hpt__options_init(&c->o, letter);
    hpt_status st = hpt__handle_open(c, HPT__KIND_CONFIG, config_free);
    if (st) {
        hpt__free(c);
        return st;
    }
    *out = c;
    return HPT_OK;
}
void hpt_config_destroy(hpt_config *cfg) { hpt__handle_close(cfg, HPT__KIND_CONFIG); }

hpt_status hpt_config_set(hpt_config *cfg, const char *key, const char *value) {
    CHECK(cfg, CONFIG);
    NOT_NULL(key);
    NOT_NULL(value);
    return hpt__options_set(&cfg->o, key, value);
}
hpt_status hpt_config_set_int(hpt_config *cfg, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return hpt_config_set(cfg, key, text);
}
hpt_status hpt_config_set_float(hpt_config *cfg, const char *key, double value) {
    char text[40];
    hpt__number_print(value, text, sizeof text);
    return hpt_config_set(cfg, key, text);
}
hpt_status hpt_config_get(const hpt_config *cfg, const char *key, char *buf, size_t size, size_t *needed) {
    char text[4100];
    CHECK(cfg, CONFIG);
    NOT_NULL(key);
    HPT_TRY(hpt__options_get(&cfg->o, key, text, sizeof text, NULL));
    return hpt__text_out(text, buf, size, needed);
}

hpt_status hpt_config_json(const hpt_config *cfg, const char *stage, char *buf, size_t size, size_t *needed) {
    char letter, text[4100];
    CHECK(cfg, CONFIG);
    HPT_TRY(stage_of(stage, &letter));
    json_t *j = hpt__json_begin();
    for (int i = 0; i < HPT__OPT_COUNT; i++) {
        if (!hpt__options_applies(i, letter)) continue;
        hpt__options_get(&cfg->o, hpt__options_key(i), text, sizeof text, NULL);
        json_t *v = hpt__options_type(i) == HPT_OPTION_INT ? json_integer(hpt__opt_i(&cfg->o, i))
                    : hpt__options_type(i) == HPT_OPTION_FLOAT ? json_real(hpt__opt_f(&cfg->o, i))
                    : hpt__json_text(text);
        json_object_set_new(j, hpt__options_key(i), v);
    }
    char *dump = hpt__json_lost() ? NULL : hpt__json_dumps(j, JSON_INDENT(2));
    json_decref(j);
    if (!dump) return hpt__fail_memory(4096);
    hpt_status st = hpt__text_out(dump, buf, size, needed);
    hpt__free(dump);
    return st;
}

hpt_status hpt_config_describe(const char *stage, uint32_t index, hpt_option_info *info) {
    char letter;
    hpt_option_info full;
    memset(&full, 0, sizeof full);
    NOT_NULL(info);
    HPT_TRY(stage_of(stage, &letter));
    hpt_status st = hpt__options_describe(letter, index, &full);
    if (st) return st;
    return hpt__struct_out(info, &full, sizeof full, "info");
}

hpt_status hpt_preset_describe(uint32_t index, hpt_preset_info *info) {
    hpt_preset_info full;
    memset(&full, 0, sizeof full);
    NOT_NULL(info);
    hpt_status st = hpt__preset_describe(index, &full);
    if (st) return st;
    return hpt__struct_out(info, &full, sizeof full, "info");
}

/* ---- results ---- */

static void result_free(void *p) {
    hpt_result *r = p;
    json_decref(r->json);
    for (int i = 0; i < HPT__RESULT_ARRAYS; i++) hpt__free(r->array[i].x);
    hpt__free(r);
}
void hpt__result_add(hpt_result *r, const char *name, float *x, uint64_t count) {
    for (int i = 0; i < HPT__RESULT_ARRAYS; i++)
        if (!r->array[i].name) {
            r->array[i] = (hpt__array_out){name, x, count};
            return;
        }
    hpt__free(x);
}
hpt_status hpt_result_array(const hpt_result *r, const char *name, float *out, uint64_t count, uint64_t *needed) {
    CHECK(r, RESULT);
    NOT_NULL(name);
    for (int i = 0; i < HPT__RESULT_ARRAYS; i++) {
        const hpt__array_out *a = &r->array[i];
        if (!a->name || strcmp(a->name, name)) continue;
        if (needed) *needed = a->count;
        if (!out) return needed ? HPT_OK : hpt__fail(HPT_ERR_ARGUMENT, "out and needed are NULL");
        if (count != a->count)
            return hpt__fail(HPT_ERR_ARGUMENT, "%s has %llu values, not %llu", name, (unsigned long long)a->count,
                             (unsigned long long)count);
        memcpy(out, a->x, (size_t)count * 4);
        return HPT_OK;
    }
    return hpt__fail(HPT_ERR_ARGUMENT, "the result has no array '%.60s'", name);
}
hpt_status hpt__result_new(json_t *json, hpt_result **out) {
    hpt_result *r = hpt__json_lost() || !json ? NULL : hpt__calloc(1, sizeof *r);
    *out = NULL;
    if (!r || hpt__handle_open(r, HPT__KIND_RESULT, result_free)) {
        hpt__free(r);
        json_decref(json);
        return hpt__fail_memory(sizeof *r);
    }
    r->json = json;
    *out = r;
    return HPT_OK;
}
void hpt_result_destroy(hpt_result *r) { hpt__handle_close(r, HPT__KIND_RESULT); }
hpt_status hpt_result_number(const hpt_result *r, const char *name, double *value) {
    CHECK(r, RESULT);
    NOT_NULL(name);
    NOT_NULL(value);
    json_t *v = json_object_get(r->json, name);
    if (!json_is_number(v)) return hpt__fail(HPT_ERR_ARGUMENT, "the result has no number '%.80s'", name);
    *value = json_number_value(v);
    return HPT_OK;
}
hpt_status hpt_result_json(const hpt_result *r, char *buf, size_t size, size_t *needed) {
    CHECK(r, RESULT);
    char *dump = hpt__json_dumps(r->json, JSON_INDENT(2));
    if (!dump) return hpt__fail_memory(4096);
    hpt_status st = hpt__text_out(dump, buf, size, needed);
    hpt__free(dump);
    return st;
}

/* SPDX-License-Identifier: MIT
 * What presets set, which stage they are for, and how they are listed. Nothing is decided here about what goes before
 * what: that is hpt__opt_*() in options.c. */
#include "core/presets.h"
#include "core/options.h"
#include <stdio.h>
#include <string.h>

enum {
    NONE,
#define PRESET(name, stage, method, doc) PRESET_##name,
#define SETS(name, key, value)
#include "core/presets.def"
#undef PRESET
#undef SETS
    PRESETS
};

static const struct {
    const char *name, *stage, *method, *doc;
} presets[PRESETS] = {
    {"none", "", "", ""},
#define PRESET(name, stage, method, doc) {#name, #stage, method, doc},
#define SETS(name, key, value)
#include "core/presets.def"
#undef PRESET
#undef SETS
};

static const struct {
    int preset, opt;
    const char *text;
} values[] = {
#define PRESET(name, stage, method, doc)
#define SETS(name, key, value) {PRESET_##name, HPT__OPT_##key, value},
#include "core/presets.def"
#undef PRESET
#undef SETS
};
enum { VALUES = sizeof values / sizeof *values };

const char *hpt__preset_value(int preset, int opt) {
    for (int i = 0; i < VALUES; i++)
        if (values[i].opt == opt && values[i].preset == preset) return values[i].text;
    return NULL;
}
int hpt__preset_find(const char *name) {
    int i = PRESETS - 1;
    while (i >= 0 && strcmp(presets[i].name, name)) i--;
    return i;
}
const char *hpt__preset_name(int preset) { return presets[preset].name; }
const char *hpt__preset_method(int preset) { return presets[preset].method; }

static int fits(int preset, char stage) {
    char own = *presets[preset].stage;
    return own == stage || (stage == 'S' && (own == 'P' || own == 'L')); /* a search pretrains and probes */
}
hpt_status hpt__preset_fits(int preset, char stage) {
    char others[200] = "";
    if (!preset || !stage || !strchr("PLFS", stage) || fits(preset, stage)) return HPT_OK;
    for (int i = 1, n = 0; i < PRESETS; i++)
        if (fits(i, stage))
            n += snprintf(others + n, sizeof others - (size_t)n, "%s%s", n ? ", " : "", presets[i].name);
    return hpt__fail(HPT_ERR_OPTION, "option 'preset': %s is for stage %s; for %s there are %s (a stage with a preset "
                     "of its own needs a configuration of its own)", presets[preset].name,
                     hpt__options_stage_name(*presets[preset].stage), hpt__options_stage_name(stage), others);
}

/* Text that describe() hands out, until the next call on the thread. */
static _Thread_local char sets_text[1200];

hpt_status hpt__preset_describe(uint32_t index, hpt_preset_info *info) {
    size_t n = 0;
    if (index >= PRESETS - 1) return HPT_END;
    int preset = (int)index + 1;
    info->sets = 0;
    sets_text[0] = 0;
    for (int i = 0; i < VALUES; i++) {
        if (values[i].preset != preset) continue;
        n += (size_t)snprintf(sets_text + n, sizeof sets_text - n, "%s%s=%s", n ? " " : "",
                              hpt__options_key(values[i].opt), values[i].text);
        info->sets++;
    }
    info->name = presets[preset].name;
    info->stage = hpt__options_stage_name(*presets[preset].stage);
    info->method = presets[preset].method;
    info->doc = presets[preset].doc;
    info->values = sets_text;
    return HPT_OK;
}

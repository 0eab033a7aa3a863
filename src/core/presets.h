/* SPDX-License-Identifier: MIT
 * The preset table (presets.def): what option preset stands for. A preset is its number among the choices of that
 * option; 0 is none. Values are looked up where options are read (options.c), so that the order in which keys are given
 * does not matter. */
#ifndef HPT__PRESETS_H
#define HPT__PRESETS_H
#include "core/status.h"

/* The text that a preset has for an option, or NULL. */
const char *hpt__preset_value(int preset, int opt);
int hpt__preset_find(const char *name); /* -1: there is none */
const char *hpt__preset_name(int preset);
const char *hpt__preset_method(int preset); /* "" where its stage has none */
/* HPT_ERR_OPTION: it is not one for this stage (a letter of options.def; 0, and stages that do not train: all are). */
hpt_status hpt__preset_fits(int preset, char stage);
hpt_status hpt__preset_describe(uint32_t index, hpt_preset_info *info);
#endif

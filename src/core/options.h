/* SPDX-License-Identifier: MIT
 * The option table (options.def) and values for it. A key's stage, type, range, default and words come from the
 * table alone; code asks for values by key. */
#ifndef HPT__OPTIONS_H
#define HPT__OPTIONS_H
#include "core/status.h"

enum {
#define INT(key, stages, methods, def, lo, hi, doc) HPT__OPT_##key,
#define FLT(key, stages, methods, def, lo, hi, doc) HPT__OPT_##key,
#define TXT(key, stages, methods, def, doc) HPT__OPT_##key,
#define CHO(key, stages, methods, def, choices, doc) HPT__OPT_##key,
#include "core/options.def"
#undef INT
#undef FLT
#undef TXT
#undef CHO
    HPT__OPT_COUNT
};

typedef struct hpt__option_value {
    int set;
    int64_t i;      /* INT; for CHOICE the index of the choice */
    double f;       /* FLOAT */
    char *s;        /* TEXT */
} hpt__option_value;

typedef struct hpt__options {
    char stage;     /* 0: all keys */
    hpt__option_value v[HPT__OPT_COUNT];
} hpt__options;

void hpt__options_init(hpt__options *o, char stage);
void hpt__options_fini(hpt__options *o);
hpt_status hpt__options_copy(hpt__options *dst, const hpt__options *src);   /* src NULL: defaults */
hpt_status hpt__options_set(hpt__options *o, const char *key, const char *text);
hpt_status hpt__options_get(const hpt__options *o, const char *key, char *buf, size_t size, int *opt);
const char *hpt__options_stage_name(char letter);
char hpt__options_stage(const char *name);                                  /* 0 for an unknown name */
int hpt__options_applies(int opt, char stage);
int hpt__options_changed(const hpt__options *o, int opt);       /* it was set, and not to its default */
/* Is a key of methods (option method) only, and of none that is called method? Then their names, "moco|byol", else
 * NULL. */
const char *hpt__options_other_method(int opt, const char *method);
/* Of a call of a stage: its preset is for that stage. Of pretraining: option method is the preset's, and no key of
 * another method was changed (hosts that keep options set all). HPT_ERR_OPTION. */
hpt_status hpt__options_check(const hpt__options *o, char stage);
hpt_status hpt__options_describe(char stage, uint32_t index, hpt_option_info *info);
const char *hpt__options_key(int opt);
/* What an option is to a result: it decides it; it is what is done if something goes wrong, or how a file is read
 * that is there already; it changes nothing (threads, files, speed). The one list of exceptions: whatever is kept
 * for later is kept under hpt__options_hash(). */
typedef enum hpt__option_role { HPT__DECIDES, HPT__POLICY, HPT__NEUTRAL } hpt__option_role;
hpt__option_role hpt__options_role(int opt);
/* Of keys and values in force of a stage (a letter of options.def), but for the neutral ones. */
uint64_t hpt__options_hash(const hpt__options *o, char stage, uint64_t seed);
int hpt__options_type(int opt);

/* Values by HPT__OPT_* index: the default where nothing was set. */
int64_t hpt__opt_i(const hpt__options *o, int opt);
double hpt__opt_f(const hpt__options *o, int opt);
const char *hpt__opt_s(const hpt__options *o, int opt);         /* TEXT, or the CHOICE's word */
int hpt__opt_is(const hpt__options *o, int opt, const char *choice);
#define OPT_I(o, key) hpt__opt_i((o), HPT__OPT_##key)
#define OPT_F(o, key) hpt__opt_f((o), HPT__OPT_##key)
#define OPT_S(o, key) hpt__opt_s((o), HPT__OPT_##key)
#define OPT_IS(o, key, word) hpt__opt_is((o), HPT__OPT_##key, (word))
#endif

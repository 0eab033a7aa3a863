/* SPDX-License-Identifier: MIT
 * Numbers picked out of finished instances and put together: groups over seeds, differences of stages, Welch's
 * tests. Tables, figures and sentences of a report are made of nothing else. */
#ifndef HPT__SELECT_H
#define HPT__SELECT_H
#include "recipe/recipe.h"

/* A number of an instance: a field of its result, less that of another stage beside it (minus), less its own at
 * another x (relative). */
typedef struct hpt__value { const char *name, *minus, *relative, *x; } hpt__value;
typedef struct hpt__mean { double mean, sd; int n; } hpt__mean;        /* sd: sample standard deviation, 0 for one */

double hpt__instance_number(const hpt__instance *in, const char *value);        /* NaN if it has none */
const char *hpt__section_label(const hpt__section *s);
/* "label, key=value": the section and every variable but one (NULL: all). */
void hpt__instance_label(const hpt_recipe *r, const hpt__instance *in, const char *but, char *out, size_t size);
int hpt__same_vars(const hpt__instance *a, const hpt__instance *b);
const hpt__instance *hpt__beside(const hpt_recipe *r, const hpt__instance *in, const char *ref);
double hpt__valued(const hpt_recipe *r, const hpt__instance *in, const hpt__value *v);
hpt__mean hpt__over_seeds(const hpt_recipe *r, const hpt__instance *in, const hpt__value *v);
/* One instance for each combination of variables of "stage, stage[key=value]"; returns how many. */
int hpt__groups(const hpt_recipe *r, const char *stages, int *out, int max);

/* Two sides, "stage[key=value]" or "stage - stage" or a number, paired by seed; p: two-sided paired t-test, NaN for
 * one seed. */
typedef struct hpt__comparison { double left, right, difference, sd, p; int n; } hpt__comparison;
void hpt__compare(const hpt_recipe *r, const char *left, const char *right, const char *value, hpt__comparison *c);
/* What the paper has for the data set and strategy of an evaluation; NaN: nothing. */
double hpt__paper_number(const hpt_recipe *r, const hpt__instance *in, const char **where);
#endif

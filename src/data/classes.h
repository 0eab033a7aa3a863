/* SPDX-License-Identifier: MIT
 * Classes of two data sets, matched by name. A set has names (folders, words in lists, known sets) or only numbers,
 * and a number says nothing about a name: the rule that was used is handed on and told. */
#ifndef HPT__CLASSES_H
#define HPT__CLASSES_H
#include "core/status.h"

/* name NULL: numbers 0..n-1 */
typedef struct hpt__class_names { char *const *name; uint32_t n; } hpt__class_names;

/* How two sets were matched: SAME, nothing to do; NAME; NUMBER, where one side has numbers and every name of the
 * other is a whole number too; INDEX, where one side has names and the other only numbers that say nothing about
 * them. */
typedef enum hpt__class_rule { HPT__CLASS_SAME, HPT__CLASS_NAME, HPT__CLASS_NUMBER, HPT__CLASS_INDEX } hpt__class_rule;

/* to[c]: class of `into` that class c of `from` is, or -1. from.n values, freed by the caller; NULL: c itself, where
 * c < into.n. Names are compared byte by byte. HPT_ERR_FORMAT: into has one name twice. */
hpt_status hpt__classes_match(hpt__class_names into, hpt__class_names from, hpt__class_rule *rule, int32_t **to);
/* The sentence for class c of from, which into lacks: "class 'zebra' is not one of train's: a, b, c", with a
 * proposal where a name is nearly the same (case, blanks, _ or - for a blank). whose: "train's". */
void hpt__classes_missing(hpt__class_names into, hpt__class_names from, uint32_t c, const char *whose,
                          const char *where, char *text, size_t size);
#endif

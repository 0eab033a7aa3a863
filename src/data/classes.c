/* SPDX-License-Identifier: MIT
 * Matching by name, by number or by index, and the sentence about a class that is not there. Sets of thousands of
 * classes are sorted once, not searched for each. */
#include "data/classes.h"
#include "core/alloc.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry { const char *name; int32_t at; } entry;
static int by_name(const void *a, const void *b) { return strcmp(((const entry *)a)->name, ((const entry *)b)->name); }

/* Value of a name of digits, or -1. */
static int32_t whole_number(const char *s) {
    size_t n = strspn(s, "0123456789");
    return n && n < 8 && !s[n] ? (int32_t)strtol(s, NULL, 10) : -1;
}
static int all_numbers(hpt__class_names k) {
    for (uint32_t i = 0; i < k.n; i++)
        if (whole_number(k.name[i]) < 0) return 0;
    return k.n > 0;
}
static int same_names(hpt__class_names a, hpt__class_names b) {
    int same = a.n == b.n;
    for (uint32_t i = 0; i < a.n && same; i++) same = !strcmp(a.name[i], b.name[i]);
    return same;
}

static hpt_status match_names(hpt__class_names into, hpt__class_names from, int32_t *to) {
    entry *sorted = hpt__alloc(sizeof *sorted * (into.n + 1ull));
    hpt_status st = sorted ? HPT_OK : hpt__fail_memory(sizeof *sorted * (size_t)into.n);
    for (uint32_t i = 0; i < into.n && !st; i++) sorted[i] = (entry){into.name[i], (int32_t)i};
    if (!st && into.n) qsort(sorted, into.n, sizeof *sorted, by_name);
    for (uint32_t i = 1; i < into.n && !st; i++)
        if (!strcmp(sorted[i - 1].name, sorted[i].name))
            st = hpt__fail(HPT_ERR_FORMAT, "two classes are called '%.300s'", sorted[i].name);
    for (uint32_t c = 0; c < from.n && !st; c++) {
        const entry key = {from.name[c], 0}, *hit = into.n ? bsearch(&key, sorted, into.n, sizeof *sorted, by_name)
            : NULL;
        to[c] = hit ? hit->at : -1;
    }
    hpt__free(sorted);
    return st;
}

/* Names that are numbers, and numbers: "7" is 7, also where names in alphabetic order give it another index ("10"
 * stands before "2"). */
static hpt_status match_numbers(hpt__class_names into, hpt__class_names from, int32_t *to) {
    hpt__class_names named = into.name ? into : from;
    for (uint32_t c = 0; c < from.n; c++) to[c] = -1;
    for (uint32_t i = 0; i < named.n; i++) {
        int32_t v = whole_number(named.name[i]);
        uint32_t c = into.name ? (uint32_t)v : i;
        if (c >= from.n || (uint32_t)(into.name ? (int32_t)i : v) >= into.n) continue;
        if (to[c] >= 0) return hpt__fail(HPT_ERR_FORMAT, "two classes are called '%.300s', as numbers", named.name[i]);
        to[c] = into.name ? (int32_t)i : v;
    }
    return HPT_OK;
}

hpt_status hpt__classes_match(hpt__class_names into, hpt__class_names from, hpt__class_rule *rule, int32_t **to) {
    *to = NULL;
    *rule = HPT__CLASS_SAME;
    if (into.name == from.name || (into.name && from.name && same_names(into, from))) return HPT_OK;
    hpt__class_names named = into.name ? into : from;
    *rule = into.name && from.name ? HPT__CLASS_NAME : all_numbers(named) ? HPT__CLASS_NUMBER : HPT__CLASS_INDEX;
    if (*rule == HPT__CLASS_INDEX) return HPT_OK;
    if (!(*to = hpt__alloc(sizeof **to * (from.n + 1ull)))) return hpt__fail_memory(sizeof **to * (size_t)from.n);
    hpt_status st = *rule == HPT__CLASS_NAME ? match_names(into, from, *to) : match_numbers(into, from, *to);
    if (st) {
        hpt__free(*to);
        *to = NULL;
    }
    return st;
}

/* ---- what to say ---- */

/* Alike but for case, outer blanks, and '_' or '-' for a blank. */
static int nearly(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    while (n && isspace((unsigned char)*a)) a++, n--;
    while (m && isspace((unsigned char)*b)) b++, m--;
    while (n && isspace((unsigned char)a[n - 1])) n--;
    while (m && isspace((unsigned char)b[m - 1])) m--;
    for (size_t i = 0; i < n && n == m; i++) {
        int x = a[i] == '_' || a[i] == '-' ? ' ' : tolower((unsigned char)a[i]), y = b[i] == '_' || b[i] == '-' ? ' '
            : tolower((unsigned char)b[i]);
        if (x != y) return 0;
    }
    return n == m;
}

void hpt__classes_missing(hpt__class_names into, hpt__class_names from, uint32_t c, const char *whose,
                          const char *where, char *text, size_t size) {
    const char *name = from.name ? from.name[c] : NULL;
    int shown = 0;
    size_t n = name ? (size_t)snprintf(text, size, "class '%.200s'", name) : (size_t)snprintf(text, size, "label %u",
        c);
    n += (size_t)snprintf(text + n, size - n, " (first image %.300s) is not one of %s", where, whose);
    for (uint32_t i = 0; into.name && name && i < into.n; i++)
        if (nearly(into.name[i], name)) {
            snprintf(text + n, size - n, ", which has '%.200s': the names must be equal", into.name[i]);
            return;
        }
    if (!into.name) {
        snprintf(text + n, size - n, ": 0..%u", into.n - 1);
        return;
    }
    for (uint32_t i = 0; i < into.n && n < size; i++, shown++) {
        if (shown == 16 || n + strlen(into.name[i]) + 30 > size) {
            snprintf(text + n, size - n, ", ... (%u in all)", into.n);
            return;
        }
        n += (size_t)snprintf(text + n, size - n, "%s%.100s", i ? ", " : ": ", into.name[i]);
    }
}

/* SPDX-License-Identifier: MIT
 * Text from outside: file names and words of files are bytes, JSON and HTML are UTF-8. And what stands near a word
 * that was not known. */
#ifndef HPT__TEXT_H
#define HPT__TEXT_H
#include <stddef.h>

/* Bytes of the UTF-8 character at s, 1 to 4; 0 if there is none (as jansson and Python judge it). */
int hpt__utf8_at(const char *s);
int hpt__utf8(const char *s);       /* is all of it UTF-8? */
/* Slips between what was typed and a word, for "did you mean": Levenshtein distance; 0 for equal ones and where three
 * letters or more are its beginning. 99: not to be compared. */
int hpt__word_slips(const char *typed, const char *word);
#endif

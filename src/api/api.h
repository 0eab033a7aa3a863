/* SPDX-License-Identifier: MIT
 * Shared by the API files: handle objects that live only here, and the rules of hpt.h for text and structs. CHECK
 * looks up a handle and returns from the call with a status if it is not a live one of its kind. */
#ifndef HPT__API_H
#define HPT__API_H
#include "core/context.h"
#include "core/options.h"
#include "core/result.h"

struct hpt_config { hpt__handle handle; hpt__options o; };
typedef struct hpt__array_out { const char *name; float *x; uint64_t count; } hpt__array_out;
enum { HPT__RESULT_ARRAYS = 4 };
struct hpt_result { hpt__handle handle; json_t *json; hpt__array_out array[HPT__RESULT_ARRAYS]; };

hpt_status hpt__result_new(json_t *json, hpt_result **out);        /* takes over json, also on failure */
/* takes over x; name is static text */
void hpt__result_add(hpt_result *r, const char *name, float *x, uint64_t count);
hpt_status hpt__text_out(const char *text, char *buf, size_t size, size_t *needed);
/* Copies min(have, the caller's struct_size) bytes of from, keeping the caller's struct_size. */
/* A struct of the caller's, as this library knows it: 0 where an older header ends, HPT_ERR_VERSION where a newer one
 * has something set. */
hpt_status hpt__struct_in(void *to, const void *from, size_t have, const char *name);
hpt_status hpt__struct_out(void *to, const void *from, size_t have, const char *name);
hpt_status hpt__config_options(const hpt_config *cfg, const hpt__options **o);     /* cfg NULL: *o NULL, all defaults */

#define CHECK(h, KIND) HPT_TRY(hpt__handle_check((h), HPT__KIND_##KIND, #h))
/* For calls that take long: the handle stays until they return, whoever destroys it. A statement of its own, at the
 * top of a function. */
#define HOLD(h, KIND) \
    HPT_TRY(hpt__handle_hold((h), HPT__KIND_##KIND, #h)); \
    __attribute__((cleanup(hpt__drop), unused)) void *held_##h = (void *)(uintptr_t)(h)
#define HOLD_IF(h, KIND) \
    if (h) HPT_TRY(hpt__handle_hold((h), HPT__KIND_##KIND, #h)); \
    __attribute__((cleanup(hpt__drop), unused)) void *held_##h = (void *)(uintptr_t)(h)
#define NOT_NULL(p) do { if (!(p)) return hpt__fail(HPT_ERR_ARGUMENT, #p " is NULL"); } while (0)
#define OUT(p) do { NOT_NULL(p); *(p) = NULL; } while (0)
#endif

/* SPDX-License-Identifier: MIT
 * Every operation of every backend against the reference (ops.c), and docs/operations.md, which is made of their lists.
 * The cuda backend: tests/gpu/test_device.c. */
#include "backend/op.h"
#include "core/context.h"
#include "ops.h"
#include "support.h"
#include <stdarg.h>

/* The reference in double against itself proves nothing about values (test_kernels.c does, by PyTorch), but that in
 * place and float are right. */
TEST(ops_reference) {
    hpt_context *c = context("reference", 1);
    ops_against_reference(c->be, c->dev, c->dev, HPT__F64);
    ops_against_reference(c->be, c->dev, c->dev, HPT__F32);
}
TEST_LIMIT(ops_onednn, 300) {
    hpt_context *two = fast_context(), *one = context("onednn", 1);
    ops_against_reference(two->be, two->dev, one->dev, HPT__F32);
}
TEST_LIMIT(ops_onednn_bf16, 300) {
    hpt_context *two = fast_context(), *one = context("onednn", 1);
    if (!two->be->device.supports(two->dev, HPT__BF16)) SKIP("no bf16 on this processor");
    ops_against_reference(two->be, two->dev, one->dev, HPT__BF16);
}

/* ---- docs/operations.md ---- */

/* the backend on the emulated device; NULL: it is not built */
static hpt_context *cuda_context(void) {
#ifdef HPT_TEST_EMU
    hpt_config *o = config("backend=cuda");
    hpt_context *c;
    OK(hpt_config_set(o, "module_dir", HPT_TEST_EMU));
    OK(hpt_context_create(o, &c));
    hpt_config_destroy(o);
    return c;
#else
    return NULL;
#endif
}

enum { PAGE = 1 << 16 };
typedef struct page {
    char *text;
    size_t at;
} page;
__attribute__((format(printf, 2, 3))) static void say(page *p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    p->at += (size_t)vsnprintf(p->text + p->at, PAGE - p->at, fmt, ap);
    va_end(ap);
    CHECK(p->at < PAGE);
}
static void say_list(page *p, const hpt__impl *list) {
    say(p, " | ");
    if (!list->name) say(p, "-");
    for (int i = 0; list[i].name; i++) say(p, "%s%s", i ? ", " : "", list[i].name);
}
/* what each implementation serves, said once a backend */
static void say_when(page *p, const hpt__backend *be) {
    const char *said[64];
    int n = 0;
    for (int kind = 0; kind < HPT__OP_KINDS; kind++)
        for (const hpt__impl *i = be->op.list((hpt__op_kind)kind, HPT__F32); i->name; i++) {
            int seen = !i->when;
            for (int k = 0; k < n && !seen; k++) seen = !strcmp(said[k], i->when);
            if (seen) continue;
            CHECK(n < 64);
            said[n++] = i->when;
            say(p, "- %s, **%s**: %s\n", be->name, i->name, i->when);
        }
}
TEST(operations_page) {
    hpt_context *cuda = cuda_context(), *all[] = {context("reference", 1), fast_context(), cuda};
    const char *record = getenv("HPT_RECORD_OPERATIONS");
    page p = {malloc(PAGE), 0};
    if (!cuda) SKIP("the emulated device is not built");
    say(&p, "# Operations\n\n"
            "Made by `make record-operations` from `src/backend/ops.def` and the lists of the backends; a test "
            "compares. How to add one:\n"
            "[adding-a-kernel.md](adding-a-kernel.md). Arrays: what is read -> what is written; `+` read and written, "
            "`?` only where the\n"
            "geometry or the caller asks for it, `=a` may be array a. The words for them are those of `ops.def`. "
            "Implementations: the first\n"
            "that fits serves, and `hpt__plan_describe` names it. Types: reference fp32, fp64; onednn fp32 and, on "
            "AVX-512, bf16; cuda fp32,\n"
            "tf32, bf16.\n\n| operation | arrays | reference | onednn | cuda |\n|---|---|---|---|---|\n");
    for (int kind = 0; kind < HPT__OP_KINDS; kind++) {
        say(&p, "| %s | `%s`", hpt__op_rows[kind].name, hpt__op_rows[kind].arrays);
        for (int i = 0; i < 3; i++) say_list(&p, all[i]->be->op.list((hpt__op_kind)kind, HPT__F32));
        say(&p, " |\n");
    }
    say(&p, "\nWhere an implementation does not serve every shape:\n\n");
    for (int i = 0; i < 3; i++) say_when(&p, all[i]->be);
    if (record) {
        FILE *f = fopen(record, "w");
        CHECK(f && fputs(p.text, f) >= 0 && !fclose(f));
        return;
    }
    char *was = calloc(1, PAGE);
    FILE *f = fopen("docs/operations.md", "rb");
    if (!f || fread(was, 1, PAGE - 1, f) != p.at || memcmp(was, p.text, p.at))
        FAIL("docs/operations.md is old: make record-operations");
    fclose(f);
}

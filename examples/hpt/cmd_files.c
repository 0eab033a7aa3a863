/* SPDX-License-Identifier: MIT
 * hpt info, export, options: what a file holds, a model in another layout, and the option table as text or as
 * docs/options.md. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

int cmd_info(int argc, char **argv) {
    cli_arg args[] = {{"json", "", "all tensors and values, as JSON", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "info", .takes = 1, .args = args,
             .about = "hpt info FILE [--json]\nWhat a checkpoint was recognised as, and what of it a load takes. "
             "Nothing in it is executed."};
    hpt_result *r = NULL;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (c.n_positional != 1) return fprintf(stderr, "usage: hpt info FILE [--json]\n"), 2;
    hpt_status st = hpt_file_info(c.positional[0], &r);
    if (st) rc = cli_fail("info", st);
    else {
        char *text = cli_json(r);
        json_t *all = text && !cli_value(&c, "json") ? json_loads(text, 0, NULL) : NULL;
        if (all) printf("%s\n%s", c.positional[0], json_string_value(json_object_get(all, "summary")));
        else printf("%s\n", text ? text : "");
        json_decref(all);
        free(text);
    }
    hpt_result_destroy(r);
    cli_close(&c);
    return rc;
}

int cmd_export(int argc, char **argv) {
    cli_arg args[] = {{"format", "NAME", "torchvision, timm, moco, openselfsup, safetensors", NULL, 0},
                      {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "export", .takes = 2, .stage = "model", .args = args,
             .about = "hpt export FILE OUT [--format NAME]\nRead any checkpoint that libhpt knows and write it in "
             "another layout."};
    hpt_model *m = NULL;
    int rc = cli_parse(&c, argc, argv);
    if (rc) return rc - 1;
    if (c.n_positional != 2) return fprintf(stderr, "usage: hpt export FILE OUT [--format NAME]\n"), 2;
    if ((rc = cli_writable(&c, c.positional[1])) || (rc = cli_open(&c)) || (rc = cli_model(&c, c.positional[0], &m)))
        return rc;
    hpt_status st = hpt_model_save(m, c.positional[1], cli_value(&c, "format"));
    if (st) rc = cli_fail("export", st);
    else printf("%s\n", c.positional[1]);
    hpt_model_destroy(m);
    cli_close(&c);
    return rc;
}

/* Text in a cell of a table. */
static void cell(const char *text) {
    for (const char *p = text; *p; p++) *p == '|' ? printf("\\|") : printf("%c", *p);
}
/* What the values of option preset stand for, of a stage (NULL: all). */
static void list_presets(const char *stage, int md) {
    hpt_preset_info p = {.struct_size = sizeof p};
    if (md)
        printf("\n# Presets\n\nMade from `src/core/presets.def`: what option `preset` changes the defaults to. Keys "
               "that are given explicitly go before it, in whatever\norder. For fewer images an update than the "
               "preset's, scale `lr` with `batch_size`.\n\n"
               "| preset | stage | what it is | sets |\n|---|---|---|---|\n");
    for (unsigned i = 0; hpt_preset_describe(i, &p) == HPT_OK; i++) {
        if (stage && strcmp(stage, p.stage)) continue;
        if (md) {
            printf("| %s | %s | ", p.name, p.stage);
            cell(p.doc);
            printf(" | ");
            cell(p.values);
            printf(" |\n");
        } else
            printf("\npreset=%s: %s [%s]\n  %s\n", p.name, p.doc, p.stage, p.values);
    }
}

int cmd_options(int argc, char **argv) {
    cli_arg args[] = {{"markdown", "", "as a table for docs/options.md", NULL, 1}, {NULL, NULL, NULL, NULL, 0}};
    cli c = {.command = "options", .takes = 1, .args = args,
             .about = "hpt options [STAGE] [--markdown]\nAll options and presets, or those of a stage."};
    hpt_option_info o = {.struct_size = sizeof o};
    int rc = cli_parse(&c, argc, argv), md = cli_value(&c, "markdown") != NULL;
    if (rc) return rc - 1;
    const char *stage = c.n_positional ? c.positional[0] : NULL;
    if (md)
        printf("# Options\n\nMade by `hpt options --markdown` from `src/core/options.def`; `make check` compares. "
               "Methods: values of option `method` that\nknow the key, where not all do; the others refuse it.\n\n| "
               "key | default | range | stages | methods | meaning |\n|---|---|---|---|---|---|\n");
    hpt_status st = HPT_OK;
    for (unsigned i = 0; (st = hpt_config_describe(stage, i, &o)) == HPT_OK; i++)
        if (!md)
            printf("%-18s %s (%s%s%s%s%s) [%s]\n", o.key, o.doc, *o.def ? o.def : "\"\"", *o.range ? "; " : "", o.range,
                   *o.methods ? "; method " : "", o.methods, o.stages);
        else {
            printf("| %s | %s | ", o.key, *o.def ? o.def : "");
            for (const char *p = o.range; *p; p++) *p == '|' ? printf(", ") : printf("%c", *p);
            printf(" | %s | ", o.stages);
            for (const char *p = o.methods; *p; p++) printf("%c", *p == '|' ? ' ' : *p);
            printf(" | ");
            cell(o.doc);
            printf(" |\n");
        }
    if (st < 0) rc = cli_fail("options", st);
    else list_presets(stage, md);
    cli_close(&c);
    return rc;
}

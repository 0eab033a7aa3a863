/* SPDX-License-Identifier: MIT
 * A training run as a command: what pretrain, train and adapt-domain share (cmd_pretrain.c), and what each of them says
 * of itself. */
#ifndef RUN_H
#define RUN_H
#include "cli.h"

enum { RUN_SETS = 5 };
typedef struct run_kind {
    const char *command, *about;
    const char *method;                 /* the only one; NULL: those that are no other command's */
    const char *preset;                 /* unasked, or NULL */
    /* arguments that are data sets: the one that is trained on, then further ones, called as their role in the
     * session */
    const char *sets[RUN_SETS];
    cli_arg *args;
    /* before anything is opened: 0, or 2 with a text; may be NULL */
    int (*check)(const cli *c);
    /* of the trained model, with the sets that were given: *score (released by the caller) goes into the JSON, line
     * into the log and what is printed; may be NULL */
    hpt_status (*end)(cli *c, hpt_model *m, const char *const *name, hpt_dataset *const *set, int n, json_t **score,
                      char *line, size_t size);
} run_kind;
#define RUN_ARGS \
    {"init", "FILE", "start from these weights (else random)", NULL, 0}, {"out", "DIR", "run directory", NULL, 0}, \
        {"save-every", "N", "steps between checkpoints (500; 0 only at the end)", NULL, 0}, \
        {"resume", "", "continue the run in --out, bit for bit; images and options are those of the run", NULL, 1}, \
        {"overwrite", "", "replace the run in --out", NULL, 1}, {"json", "", "print the result as JSON", NULL, 1}
int cli_run(int argc, char **argv, const run_kind *k);
#endif

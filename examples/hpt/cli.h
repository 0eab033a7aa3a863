/* SPDX-License-Identifier: MIT
 * hpt, the command line over libhpt: shared parts. Uses nothing but the public header; so whatever hpt does a
 * program of your own can do. */
#ifndef CLI_H
#define CLI_H
#include <hpt.h>
#include <jansson.h>
#include <stdio.h>

/* Arguments of a command: its own (--data PATH, --json) and options of the library (--moco_k 4096), which go into
 * cfg. */
/* value: set by cli_parse; flag: 1 takes none, 2 may come again (one a line) */
typedef struct cli_arg { const char *name, *value_name, *doc; const char *value; int flag; } cli_arg;
typedef struct cli {
    const char *command, *stage;    /* stage: whose options are taken; NULL none */
    const char *methods;            /* whose options the help shows, as "moco|byol"; NULL: all */
    const char *about;
    cli_arg *args;                  /* ends with name NULL */
    const char *positional[2];
    int takes, n_positional;        /* words that are no options: how many the command takes, at most 2 */
    int argc;
    char **argv;
    hpt_config *cfg;
    hpt_context *ctx;
} cli;

/* 0 go on; else exit with code-1 (help was printed, or an error) */
int cli_parse(cli *c, int argc, char **argv);
const char *cli_value(const cli *c, const char *name);     /* NULL if not given; "1" for a flag */
int cli_distance(const char *a, const char *b);              /* slips between two words, 0 if equal */
int cli_typed(const cli *c, const char *key);               /* 1 if the user gave this option of the library */
/* an argument that was not typed gets a value, kept by the caller */
void cli_give(cli *c, const char *name, const char *value);
/* unchanged if not given; 1 with a text if it is no number from least to most */
int cli_number(const cli *c, const char *name, unsigned long long least, unsigned long long most,
               unsigned long long *v);
/* before the work: 0, or 1 with the reason if a file cannot be made there; NULL is fine */
int cli_writable(const cli *c, const char *path);
int cli_open(cli *c);                                       /* the context; notes wait for the first line */
/* "onednn 2.7.3 (avx512_bf16, 2 threads), bf16; train 360 images, 6 classes; test 60 images, 6 classes": what the
 * command computes on, with which precision, and the sets that are there. free() it; NULL after a text on stderr. */
char *cli_line(const cli *c, const char *const *names, hpt_dataset *const *sets, int n);
/* A set in that line. classes -1: without labels; several: it is the number of labels that an image may have. */
void cli_set(FILE *line, const char *name, unsigned long long images, int classes, int several);
/* the first line, and what waited for it; NULL: only that */
void cli_say(const char *line);
int cli_begin(const cli *c, const char *const *names, hpt_dataset *const *sets, int n);    /* both */
/* a line on stderr, after the first line */
void cli_note(int warning, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_close(cli *c);
/* prints the library's text; returns 1, or 130 after Ctrl-C */
int cli_fail(const char *what, hpt_status st);
int cli_interrupted(void);                                  /* Ctrl-C came once (a second one ends at once) */
int32_t cli_progress(void *cli, const hpt_progress *p);      /* draws the bar; non-zero after Ctrl-C */
void cli_catch(void);                                       /* from here on it stops the call under way */
int cli_needs_init(const cli *c);                            /* 2 with a text if --init was not given */
int cli_model(cli *c, const char *path, hpt_model **m);     /* from a file, or random if path is NULL or "random" */
/* The images that option names: a path, or SET:SPLIT:FOLDER (known set or descriptor file; without SPLIT the one
 * that the option is called like, else train). */
hpt_status cli_dataset(cli *c, const char *option, const char *path, hpt_dataset **ds);
/* The scores of an evaluation under the name of their metric, or with --json everything. */
void cli_scores(const cli *c, const hpt_result *r, const char *what);
void cli_json_text(json_t *object, const char *key, const char *text);      /* bytes that are not UTF-8 become '?' */
char *cli_json(const hpt_result *r);                        /* free() it */
/* "test: 2 images, 1 unreadable (left out): a/00.png", if some are; to stderr where stdout is JSON. ds may be NULL */
void cli_unreadable(const cli *c, const char *set, const hpt_dataset *ds, const char *became);
void cli_csv_text(FILE *f, const char *text);                /* inside quotes */
/* A file that is there whole, or as it was before. path NULL: standard output. end: 0, or 1 with a text; failed: the
 * file as it was stays. */
typedef struct cli_file { FILE *f; char *temp; const char *path, *command; } cli_file;
int cli_file_begin(cli_file *o, const cli *c, const char *path);
int cli_file_end(cli_file *o, int failed);
void cli_print(json_t *object);                              /* on standard output; the object is gone then */
void cli_json_number(json_t *object, const char *key, double v);    /* null for what is no number */
void cli_clock(double s, char out[24]);                     /* 1:02:03 or 02:03 */

/* progress bar on a terminal, else a line now and then */
typedef struct progress { double start, last; unsigned long long first, steps; int tty; } progress;
void progress_begin(progress *p, unsigned long long first, unsigned long long steps);
void progress_show(progress *p, unsigned long long done, const char *text);
void progress_end(progress *p);
double seconds(void);

int cmd_pretrain(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_adapt_domain(int argc, char **argv);
int cmd_refresh_bn(int argc, char **argv);
int cmd_linear(int argc, char **argv);
int cmd_embed(int argc, char **argv);
int cmd_predict(int argc, char **argv);
int cmd_score_boxes(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_options(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_finetune(int argc, char **argv);
int cmd_knn(int argc, char **argv);
int cmd_search(int argc, char **argv);
int cmd_similarity(int argc, char **argv);
int cmd_dataset(int argc, char **argv);
#endif

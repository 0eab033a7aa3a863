/* SPDX-License-Identifier: MIT
 * The object behind hpt_recipe. A recipe is an INI file of sections "[kind name]"; each expands to instances, one for
 * each seed and each combination of the values that it and what it refers to sweep over. Instances form a graph. This
 * folder works through hpt.h like any host program, so that everything a recipe does can be done by calls.
 *   read.c    file -> sections, with their lines          expand.c  sections -> instances; cycles and unknown names
 *   check.c   what names, tables, figures and sentences ask for exists
 *   data.c    opens data instances and checks them         stage.c   runs one instance (stage_train.c,
 *             stage_compare.c: those that take long)
 *   run.c     the graph: what is done, workers, plan       report.c  tables, sentences, results.*;
 *             plot.c its figures; select.c their numbers
 *   follow.c  who is told how far it is, and who stops it */
#ifndef HPT__RECIPE_H
#define HPT__RECIPE_H
#include "api/api.h"
#include <pthread.h>

typedef struct hpt__line { char *key, *value; int line; const char *file; } hpt__line;
typedef enum hpt__section_kind { HPT__S_RECIPE, HPT__S_OPTIONS, HPT__S_TEMPLATE, HPT__S_DATA, HPT__S_PRETRAIN,
                                 HPT__S_REFRESH, HPT__S_SEARCH, HPT__S_CHOOSE, HPT__S_LINEAR, HPT__S_KNN,
                                 HPT__S_FINETUNE, HPT__S_ADAPT, HPT__S_SIMILARITY, HPT__S_TABLE, HPT__S_PLOT,
                                 HPT__S_FINDING, HPT__S_KINDS } hpt__section_kind;
typedef struct hpt__section {
    hpt__section_kind kind;
    char *name;
    hpt__line *lines;
    int n, line, next;              /* next: section with the same hash of its name, -1 none */
    const char *file;
    int expanded;                   /* 0 no, 1 under way, 2 done */
    int first, count;               /* its instances, in recipe.order */
} hpt__section;

/* What a kind of section looks like. */
typedef struct hpt__kind {
    const char *word, *stage;       /* stage whose options it takes; NULL none */
    const char *own;                /* " key key ": keys of its own */
    const char *refs;               /* " key key ": those that name sections, in the order of hpt__instance.input */
    const char *lists;              /* refs that take all that match as one group */
    const char *needed;             /* must be there */
} hpt__kind;
extern const hpt__kind hpt__kinds[HPT__S_KINDS];

typedef struct hpt__var { char *id, *value; } hpt__var;        /* id: "section.key" */
typedef struct hpt__recipe_input { const char *key; int instance; } hpt__recipe_input;
typedef struct hpt__instance {
    int section;
    int64_t seed;                   /* -1: the same for all seeds */
    hpt__var *vars;
    int n_vars;
    hpt__recipe_input *input;
    int n_input;
    char *file;                     /* init or model from a file */
    /* data */
    hpt_dataset *ds;
    char *known_set;                /* name of its descriptor, or NULL */
    int opened;
    /* stages */
    char *name, *dir;               /* shown; folder of its files */
    /* key: of everything that the result depends on; cost in updates, and in images looked at */
    uint64_t key, steps, images;
    /* of an adaptation: unlabelled, val: images that are test images too, by protocol */
    uint64_t tested[2];
    double estimate;                /* seconds */
    int state;                      /* HPT__I_* */
    json_t *result;
} hpt__instance;
enum { HPT__BY_NAME = 4096 };
enum { HPT__ITEM = 4096 };          /* room for one value, part of a list or path, with its 0 */
enum { HPT__SEEDS = 64 };           /* of a recipe at most; and the most that a table or figure shows */
enum { HPT__MAX_GROUPS = 2048, HPT__MAX_COLUMNS = 24, HPT__MAX_POINTS = 64, HPT__MAX_SERIES = 24 };
enum { HPT__I_NEW, HPT__I_PART, HPT__I_RUNNING, HPT__I_DONE };

struct hpt_recipe {
    hpt__handle handle;
    hpt_config *base;               /* context options of the caller, or NULL */
    char *path, *out;
    char **files;                   /* names that lines refer to */
    int n_files;
    hpt__section *sections;
    int n_sections, depth;          /* depth: of stages that need each other */
    size_t held;                    /* bytes of sections and lines */
    int by_name[HPT__BY_NAME];      /* newest section with this hash, -1 none */
    hpt__instance *instances;
    int n_instances, cap_instances;
    int64_t *seeds;
    int n_seeds, jobs, prepared, estimated;
    int out_from_lines;             /* out is the recipe's own, not the caller's */
    hpt_status refused;             /* what prepare() failed with */
    hpt_log_fn log;
    void *log_user;
    hpt_context *ctx;               /* data sets, plan */
    char backend[160], precision[64];       /* of all stages, each once */
    /* who follows it */
    hpt_progress_fn progress;       /* with the lock */
    void *progress_user;
    _Atomic uint32_t cancels;       /* asked for; heard: of those, before the call that is under way */
    uint32_t heard;
    /* a run */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    hpt_recipe_fn fn;
    void *user;
    int stop;
    hpt_status status;
    char text[1024];
    /* seconds: begun at, estimated of what this run has done, estimated of all it must do */
    double started, spent, total;
};

/* read.c */
hpt_status hpt__recipe_read(hpt_recipe *r, const char *path, int depth);
/* kinds, keys, templates, after all lines are there */
hpt_status hpt__recipe_check(hpt_recipe *r);
hpt_status hpt__section_set(hpt__section *s, const char *key, const char *value, int line, const char *file);
const hpt__line *hpt__section_line(const hpt__section *s, const char *key);     /* NULL: not there */
const char *hpt__section_value(const hpt__section *s, const char *key, const char *missing);
int hpt__section_find(const hpt_recipe *r, const char *name);                   /* data or stage section; -1 */
hpt__section *hpt__section_only(const hpt_recipe *r, hpt__section_kind kind);   /* the first of a kind, or NULL */
int hpt__word_in(const char *words, const char *word);                          /* " a b c " */
int hpt__is_evaluation(hpt__section_kind kind);         /* has scores of val and test */
/* HPT_ERR_FORMAT with file and line */
hpt_status hpt__line_fail(const hpt__line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The i-th part of a list, trimmed; 0 past the end. */
int hpt__list_item(const char *list, int i, char separator, char *out, size_t size);

/* expand.c */
hpt_status hpt__recipe_expand(hpt_recipe *r);
void hpt__instance_fini(hpt__instance *in);
/* Value of a key of an instance: swept, then written, then NULL. */
const char *hpt__instance_value(const hpt_recipe *r, const hpt__instance *in, const char *key);
const char *hpt__instance_var(const hpt__instance *in, const char *key);        /* by id or by its last part; NULL */
/* index of an input with this key at or after from, or -1 */
int hpt__instance_input(const hpt__instance *in, const char *key, int from);
/* "name", "name[key=value,key=value]" -> section and whether an instance matches */
int hpt__ref_section(const hpt_recipe *r, const char *ref);
/* The i-th "key=value" in the brackets: key and value without blanks around them. 0: there is none; -1: it has no
 * '='. */
int hpt__ref_filter(const char *ref, int i, char key[HPT__ITEM], char **value);
int hpt__ref_matches(const hpt_recipe *r, const char *ref, const hpt__instance *in);
hpt_status hpt__instance_config(const hpt_recipe *r, const hpt__instance *in, hpt_config **out);

/* check.c */
/* 1 if the whole text is an integer from lo to hi */
int hpt__whole_number(const char *text, double lo, double hi, double *v);
/* The refusals of a name that there is not, with the nearest that there is. */
hpt_status hpt__no_section(const hpt_recipe *r, const hpt__line *l, const char *ref);
hpt_status hpt__no_variable(const hpt_recipe *r, const hpt__line *l, int section, const char *key);
/* has an expanded section this variable? */
int hpt__section_varies(const hpt_recipe *r, int section, const char *key);
/* of an expanded section: variables and values */
hpt_status hpt__ref_check(const hpt_recipe *r, const hpt__line *l, const char *ref);
hpt_status hpt__line_check(const hpt__section *s, const hpt__line *l);         /* values of a section's own keys */
hpt_status hpt__recipe_check_options(const hpt_recipe *r);                     /* expand.c; after expanding */
hpt_status hpt__recipe_check_reports(const hpt_recipe *r);                     /* after expanding */

/* data.c */
/* st; a file that was not found by a relative path: from where */
hpt_status hpt__relative(hpt_status st, const char *path);
/* of an adaptation that tests on images which it was given, as its lists want it; 0: there are none */
int hpt__protocol_text(const hpt_recipe *r, const hpt__instance *in, char *text, size_t size);
/* opens every data instance in use, and checks them against each other */
hpt_status hpt__recipe_data(hpt_recipe *r);

/* follow.c */
int hpt__recipe_cancelled(const hpt_recipe *r);
/* a hpt_progress_fn: tells the host; non-zero: stop */
int32_t hpt__recipe_hear(void *recipe, const hpt_progress *p);
/* ctx works for the recipe: whoever follows it follows ctx */
void hpt__recipe_follow(hpt_recipe *r, hpt_context *ctx);
/* st; ends a call of the recipe: cancels so far are heard */
hpt_status hpt__recipe_over(hpt_recipe *r, hpt_status st);

/* stage.c */
typedef hpt_status (*hpt__stage_step)(void *user, uint64_t step, uint64_t steps);      /* HPT_ERR_CANCELLED to stop */
hpt_status hpt__stage_run(hpt_recipe *r, hpt_context *ctx, hpt__instance *in, hpt__stage_step fn, void *user);
/* The network that an instance works on, without what training gives it: from the file that its row of stages begins
 * with, or fresh. */
hpt_status hpt__stage_network(const hpt_recipe *r, hpt_context *ctx, const hpt__instance *in, hpt_model **out);
const hpt__instance *hpt__stage_root(const hpt_recipe *r, const hpt__instance *in);    /* where that row begins */
hpt_status hpt__stage_cost(hpt_recipe *r, hpt__instance *in);       /* steps and images */
hpt_status hpt__json_write(const char *path, json_t *j);
hpt_status hpt__make_dir(const char *path);         /* with its parents */

/* run.c */
/* Expand, open data, keys, what is done. Once: a recipe that is refused stays refused; one that was cancelled is as
 * it was opened. */
hpt_status hpt__recipe_prepare(hpt_recipe *r);
void hpt__recipe_forget(hpt_recipe *r);             /* what preparing made */
/* what its numbers rest on: backend, precision, threads, data sets */
void hpt__recipe_facts(const hpt_recipe *r, json_t *out);
hpt_status hpt__recipe_plan(hpt_recipe *r, json_t *out);
hpt_status hpt__recipe_run(hpt_recipe *r);

/* report.c, plot.c */
hpt_status hpt__recipe_report(hpt_recipe *r, json_t **results);
typedef struct hpt__text { char *p; size_t n, cap; int failed; } hpt__text;
void hpt__put(hpt__text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hpt__put_number(hpt__text *t, int decimals, double x);      /* "-" for a number that does not exist */
void hpt__put_html(hpt__text *t, const char *s);    /* escaped */
void hpt__plot(const hpt_recipe *r, const hpt__section *s, hpt__text *out);
#endif

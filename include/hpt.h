/* SPDX-License-Identifier: MIT
 *
 * hpt.h - libhpt: hierarchical self-supervised pretraining of vision models (HPT).
 *
 * Take a pretrained model, continue MoCo-v2 pretraining on your own unlabelled images - stage by
 * stage, all weights or batch-norm parameters only - choose what to pretrain on by validation,
 * measure the result (linear probe, nearest neighbours, few-label finetuning), and hand the
 * backbone on. Or write all of it as a recipe (docs/recipes.md) and call hpt_recipe_run().
 *   Reed et al. 2022, "Self-Supervised Pretraining Improves Self-Supervised Pretraining";
 *   He et al. 2020 (MoCo), Chen et al. 2020 (MoCo v2).
 *
 * This header is the manual: what is not in here is not API.
 *
 * CONVENTIONS
 *   Status     Every call that can fail returns hpt_status: 0 = HPT_OK, positive = no error
 *              (HPT_END), negative = error. Out-parameters come last; on error handles are set to
 *              NULL. hpt_last_error() gives one line of text for the last failure on the calling
 *              thread.
 *   Handles    Opaque, made by *_create/_open/_load and freed by *_destroy; destroy(NULL) is fine.
 *              A handle keeps what it needs alive: any order of destruction is safe. A pointer that
 *              is not a live handle of the right kind (also one destroyed before) gives
 *              HPT_ERR_ARGUMENT.
 *   Threads    One handle, one thread at a time; different handles freely, also those of one
 *              context: calls that use its device take turns, step by step, with the same results
 *              as alone (two contexts run side by side). Exceptions: hpt_session_cancel(),
 *              hpt_context_cancel(), and hpt_session_destroy(), which ends a run in another thread
 *              after its step.
 *   Fork       A child process gets HPT_ERR_FORKED on inherited handles and may make new ones. If
 *              the parent has already trained with the onednn backend, the child should use
 *              backend=reference or exec: the OpenMP run time under oneDNN does not survive a fork.
 *   Memory     The library frees what it allocates. Text and arrays go into buffers of the caller.
 *   Text out   (char *buf, size_t size, size_t *needed): needed (may be NULL) receives the length
 *              with the closing 0. If size is too small, buf gets a cut, 0-closed text and the call
 *              returns HPT_ERR_ARGUMENT; size 0 with buf NULL only asks for the length and returns
 *              HPT_OK.
 *   Structs    Set struct_size = sizeof(the struct) before the call; the library fills at most that
 *              many bytes.
 *   Images     8-bit: (H,W,3) rows from the top, RGB. Float: (N,3,H,W) contiguous, already
 *              normalised.
 *   Options    Text keys on an hpt_config, all from one table: hpt_config_describe(), `hpt
 *              options`, docs/options.md.
 *   Silence    The library prints nothing, reads no environment, installs no handler, never exits
 *              or aborts.
 *
 * A complete program (examples/03_pretrain.c): continue pretraining base.pth on a folder of images,
 * 1000 steps.
 *
 *   #include <hpt.h>
 *   #include <stdio.h>
 *
 *   int main(void) {
 *       hpt_config *cfg; hpt_context *ctx; hpt_dataset *data; hpt_model *model; hpt_session *run;
 *       hpt_status st;
 *       if ((st = hpt_config_create(NULL, &cfg)) ||
 *           (st = hpt_config_set(cfg, "arch", "resnet50")) ||
 *           (st = hpt_config_set_int(cfg, "steps", 1000)) ||
 *           (st = hpt_context_create(cfg, &ctx)) ||
 *           (st = hpt_dataset_open(ctx, cfg, "my-images", &data)) ||
 *           (st = hpt_model_load(ctx, cfg, "base.pth", &model, NULL)) ||
 *           (st = hpt_session_create(ctx, cfg, model, data, &run)) ||
 *           (st = hpt_session_run(run, NULL, NULL)) ||
 *           (st = hpt_model_save(model, "adapted.pth", NULL))) {
 *           fprintf(stderr, "%s: %s\n", hpt_status_name(st), hpt_last_error());
 *           return 1;
 *       }
 *       hpt_session_destroy(run); hpt_model_destroy(model); hpt_dataset_destroy(data);
 *       hpt_context_destroy(ctx); hpt_config_destroy(cfg);
 *       return 0;
 *   }
 */
#ifndef HPT_H
#define HPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HPT_VERSION_MAJOR 0
#define HPT_VERSION_MINOR 1
#define HPT_VERSION_PATCH 0

#if defined(__GNUC__) && !defined(HPT_API)
#define HPT_API __attribute__((visibility("default")))
#elif !defined(HPT_API)
#define HPT_API
#endif

typedef struct hpt_config hpt_config;
typedef struct hpt_context hpt_context;
typedef struct hpt_dataset hpt_dataset;
typedef struct hpt_model hpt_model;
typedef struct hpt_session hpt_session;
typedef struct hpt_result hpt_result;
typedef struct hpt_recipe hpt_recipe;

/* ==== Status ================================================================================== */

typedef int32_t hpt_status;

#define HPT_OK 0
/* nothing left to do: all steps are done, or an index is past the last entry */
#define HPT_END 1
/* NULL, a wrong or destroyed handle, a number out of range, a buffer too small */
#define HPT_ERR_ARGUMENT (-1)
#define HPT_ERR_STATE (-2)      /* wrong order of calls, or the handle failed before */
#define HPT_ERR_MEMORY (-3)     /* an allocation failed; the handle can still be destroyed */
/* the operating system refused: not found, disk full, permission; files before stay intact */
#define HPT_ERR_IO (-4)
#define HPT_ERR_FORMAT (-5)     /* a file is corrupt, of an unknown kind, or over a safety limit */
/* a sound file that does not fit: other architecture, nothing matched, other run */
#define HPT_ERR_MISMATCH (-6)
#define HPT_ERR_UNSUPPORTED (-7)/* valid, but this library or backend cannot do it */
#define HPT_ERR_UNAVAILABLE (-8)/* a backend, module or device that is not here */
/* an image could not be read and bad_image=error; the text names the file */
#define HPT_ERR_DATA (-9)
/* a loss, gradient, momentum, statistic or update was not finite and on_nonfinite=stop */
#define HPT_ERR_NUMERIC (-10)
/* stopped by hpt_session_cancel(), hpt_context_cancel() or a callback; handles stay usable */
#define HPT_ERR_CANCELLED (-11)
#define HPT_ERR_FORKED (-12)    /* the handle was made by the parent process */
#define HPT_ERR_PEER (-13)      /* another rank failed (several devices) */
#define HPT_ERR_VERSION (-14)   /* a file or struct of a newer library */
#define HPT_ERR_DEVICE (-15)    /* a device or its library failed */
#define HPT_ERR_INTERNAL (-16)  /* a bug in libhpt: please report the text */
#define HPT_ERR_OPTION (-17)    /* unknown key, or a value outside its type or range */

/* hpt_version - MAJOR*10000 + MINOR*100 + PATCH of the library in use (not of this header).
 * Never fails. Since 0.1. */
HPT_API uint32_t hpt_version(void);

/* hpt_version_string - the same as text, "0.1.0"; static. Since 0.1. */
HPT_API const char *hpt_version_string(void);

/* hpt_status_name - the constant's name, "HPT_ERR_IO"; "HPT_ERR_?" for an unknown number. Static
 * text. Since 0.1. */
HPT_API const char *hpt_status_name(hpt_status status);

/* hpt_last_error - one line for the last failing call on this thread, naming file, offset,
 * tensor, option or rank; "" if none failed yet. Borrowed: valid until the next failing call on
 * this thread. At most 1 KiB. Since 0.1. */
HPT_API const char *hpt_last_error(void);

/* hpt_has - 1 if a feature is there, else 0, also for unknown names. Built in: "reference",
 * "jpeg-turbo", "libpng", "libtiff", "libwebp". In modules: "onednn", "cuda", "nccl" (comes with
 * cuda), "mpi": 1 if the module's file is where hpt_context_create() looks without module_dir;
 * nothing is loaded, so its own libraries or a device may still be missing. Since 0.1. */
HPT_API int32_t hpt_has(const char *feature);

/* ==== Configuration: the one option table ===================================================== */

/* hpt_config_create - an empty configuration: every option has its default.
 *
 * stage  [in]  "context", "dataset", "model", "pretrain", "refresh-bn", "linear", "finetune",
 *              "knn", "search", "embed", "score": only keys of that stage may be set. NULL: all
 *              keys. One configuration may serve every call of a program.
 * out    [out] the caller's; free with hpt_config_destroy(). Calls that take a configuration copy
 *              what they need.
 * HPT_ERR_ARGUMENT  unknown stage, or out is NULL
 * Since 0.1. */
HPT_API hpt_status hpt_config_create(const char *stage, hpt_config **out);
HPT_API void hpt_config_destroy(hpt_config *cfg);

/* hpt_config_set, _set_int, _set_float - give an option a value. Text is converted to the option's
 * type ("0.03", "5000").
 *
 * HPT_ERR_OPTION  unknown key (the text proposes the nearest), key of another stage, wrong type, or
 *                 value out of range; the old value stays
 * Since 0.1. */
HPT_API hpt_status hpt_config_set(hpt_config *cfg, const char *key, const char *value);
HPT_API hpt_status hpt_config_set_int(hpt_config *cfg, const char *key, int64_t value);
HPT_API hpt_status hpt_config_set_float(hpt_config *cfg, const char *key, double value);

/* hpt_config_get - the value in force as text (if never set, the preset's or else the default).
 * "Text out" rules. Since 0.1. */
HPT_API hpt_status hpt_config_get(const hpt_config *cfg, const char *key, char *buf, size_t size,
                                  size_t *needed);

/* hpt_config_json - the resolved configuration of a stage as one JSON object, defaults included.
 * stage NULL: all. "Text out" rules. Since 0.1. */
HPT_API hpt_status hpt_config_json(const hpt_config *cfg, const char *stage, char *buf,
                                   size_t size, size_t *needed);

typedef struct hpt_option_info {
    uint32_t struct_size;
    int32_t type;           /* HPT_OPTION_INT, _FLOAT, _TEXT, _CHOICE */
    const char *key;        /* borrowed until the next call on this thread */
    const char *def;        /* default as text; as range */
    /* "1..16777216", "0..1", or "sgd|adamw"; "" if free; borrowed until the next describe on
     * this thread */
    const char *range;
    const char *stages;     /* "pretrain linear"; as range */
    const char *doc;        /* one line; as range */
    const char *since;      /* "0.1"; as range */
    const char *methods;    /* values of option method that know the key, "moco|byol"; "" all: the
                             * others refuse it; as range */
} hpt_option_info;
#define HPT_OPTION_INT 0
#define HPT_OPTION_FLOAT 1
#define HPT_OPTION_TEXT 2
#define HPT_OPTION_CHOICE 3

/* hpt_config_describe - list the options, index 0, 1, ... until HPT_END. stage: as
 * hpt_config_create(). Since 0.1. */
HPT_API hpt_status hpt_config_describe(const char *stage, uint32_t index, hpt_option_info *info);

typedef struct hpt_preset_info {
    uint32_t struct_size;
    uint32_t sets;          /* how many options it has a value for */
    const char *name;       /* a value of option preset, "byol"; static, as stage, method, doc */
    const char *stage;      /* "pretrain", "linear" or "finetune" */
    const char *method;     /* its value of option method; "" where the stage has none */
    const char *doc;        /* one line */
    const char *values;     /* "lr=0.3 momentum=0.9 ...", each as hpt_config_set() takes it;
                             * borrowed until the next describe on this thread */
} hpt_preset_info;

/* hpt_preset_describe - the values that option preset may have, index 0, 1, ... until HPT_END,
 * and what each stands for. A preset changes defaults: what is set explicitly goes before it,
 * whether it is set earlier or later; hpt_config_get() and hpt_config_json() tell what came out.
 * HPT_ERR_OPTION of a call whose stage the preset is not for, or whose method is another. Since
 * 0.1. */
HPT_API hpt_status hpt_preset_describe(uint32_t index, hpt_preset_info *info);

/* ==== Context: backend, threads, log ========================================================== */

/* hpt_context_create - choose and open a backend. Options: backend, threads, module_dir.
 *
 * Modules are looked for beside the file of this library (of the program, if it is linked with
 * libhpt.a): hpt/, the folder itself, ../lib/hpt/, ../hpt/. Never in the current folder; option
 * module_dir names another one.
 * cfg  [in]  NULL: all defaults (backend auto: cuda with a usable GPU, else onednn if its module
 *            loads, else reference: that is a warning of the log and in hpt_context_describe(), for
 *            it is many times slower).
 * HPT_ERR_UNAVAILABLE  the backend asked for cannot be loaded; the text gives the loader's reason
 * HPT_ERR_MEMORY
 * Since 0.1. Example: examples/01_version.c */
HPT_API hpt_status hpt_context_create(const hpt_config *cfg, hpt_context **out);
HPT_API void hpt_context_destroy(hpt_context *ctx);

/* hpt_log_fn - level: 0 information, 1 warning. text: one line without newline, borrowed for the
 * call. Runs on the thread that called the library. Must not throw, longjmp, call the library
 * with the handle being used, or wait for another thread that uses the same context. */
typedef void (*hpt_log_fn)(void *user, int32_t level, const char *text);

/* hpt_context_set_log - where notes and warnings go (collapse, K above the number of images,
 * skipped files). NULL: nowhere, which is the default. A warning from hpt_context_create() is
 * kept and told to the first function set. Since 0.1. */
HPT_API hpt_status hpt_context_set_log(hpt_context *ctx, hpt_log_fn fn, void *user);

/* hpt_progress - how far the call under way has come. total 0: not known yet; seconds_left and
 * score: NaN if not known. name says what is done ("features of test"); pieces of work lie
 * inside each other, and the innermost speaks. */
typedef struct hpt_progress {
    uint32_t struct_size;
    int32_t phase;          /* HPT_PHASE_* */
    uint64_t done, total;   /* in the unit of the phase */
    double seconds_left;    /* of this piece of work */
    double score;           /* best so far, of phases that score */
    char name[64];
} hpt_progress;
#define HPT_PHASE_OPEN 1        /* files found in folders and lists */
#define HPT_PHASE_CHECK 2       /* images looked at: overlaps, checks of a data set */
#define HPT_PHASE_STATS 3       /* images read for mean and standard deviation */
#define HPT_PHASE_TRAIN 4       /* steps of pretraining */
#define HPT_PHASE_FEATURES 5    /* images passed through a network */
#define HPT_PHASE_REFRESH 6     /* images for batch-norm statistics */
#define HPT_PHASE_PROBE 7       /* updates of a linear probe */
#define HPT_PHASE_FINETUNE 8    /* updates of a finetuning */
#define HPT_PHASE_NEIGHBOURS 9  /* images scored by nearest neighbours */
#define HPT_PHASE_COMPARE 10    /* rows of two representations compared */
#define HPT_PHASE_SEARCH 11     /* steps of all candidates of a source search */
#define HPT_PHASE_PLAN 12       /* data sets and stages of a recipe looked at; networks timed */
#define HPT_PHASE_REPORT 13     /* parts of a recipe's report written */
#define HPT_PHASE_PREPARE 14    /* a network made, read from a file, or readied for training */
#define HPT_PHASE_SCORE 15      /* images whose boxes or masks are scored */

/* hpt_progress_fn - called about ten times a second by every call of this context that takes
 * long, on the thread that made the call. Non-zero stops it: it returns HPT_ERR_CANCELLED,
 * within a fifth of a second of work, having saved what it keeps (work_file, search_dir); a
 * training step that was given up in the middle has changed nothing. It must not call the
 * library with a handle of this context, throw or longjmp. */
typedef int32_t (*hpt_progress_fn)(void *user, const hpt_progress *p);

/* hpt_context_set_progress - who is told; fn NULL: nobody, which is the default. Since 0.1. */
HPT_API hpt_status hpt_context_set_progress(hpt_context *ctx, hpt_progress_fn fn, void *user);

/* hpt_context_cancel - from any thread (not from a signal handler): the call of this context
 * that is under way, or the next one that takes long, returns HPT_ERR_CANCELLED as after a
 * non-zero hpt_progress_fn. Every handle stays usable. On a GPU and with several ranks a step
 * under way ends first, and a file being written is written to its end. Since 0.1. */
HPT_API hpt_status hpt_context_cancel(hpt_context *ctx);

/* hpt_context_describe - one line: backend, its version, instruction set, threads, and whether
 * it is a fall-back. "Text out" rules. Since 0.1. */
HPT_API hpt_status hpt_context_describe(const hpt_context *ctx, char *buf, size_t size,
                                        size_t *needed);

/* hpt_context_facts - what a result of this context and these options will rest on, before
 * anything is computed. result [out] JSON: backend, precision (as option precision comes out
 * here), threads. HPT_ERR_UNSUPPORTED: a precision that the backend lacks. Since 0.1. */
HPT_API hpt_status hpt_context_facts(hpt_context *ctx, const hpt_config *cfg, hpt_result **result);

/* hpt_context_ranks - this process's number and how many train together (option comm; 0 and 1
 * alone). Since 0.1. */
HPT_API hpt_status hpt_context_ranks(const hpt_context *ctx, int32_t *rank, int32_t *ranks);

/* hpt_comm_id - a fresh id for comm=nccl, as text of 256 hexadecimal digits. Rank 0 makes it and
 * gives it to every rank by the host program's own means; each then sets comm_id, rank and ranks
 * and creates its context, which returns when all have come. cfg: module_dir is read; may be
 * NULL. "Text out" rules. HPT_ERR_UNAVAILABLE without the cuda module. Since 0.1. */
HPT_API hpt_status hpt_comm_id(const hpt_config *cfg, char *buf, size_t size, size_t *needed);

/* ==== Data sets =============================================================================== */

/* hpt_dataset_open - images from the disk. What path is decides:
 *   a folder with sub-folders that hold images   classes = sub-folder names, sorted; images
 *                                                searched recursively
 *   a folder with images only                    no labels
 *   a folder with both                           all images, no labels; calls that need labels say
 *                                                why there are none
 *   *.txt, *.tsv, *.csv, *.lst, *.list           list: one "path [label]" a line, or a table with a
 *                                                heading; # comments; relative to option list_root
 *                                                or the list's folder. A label is a number, a word
 *                                                (classes = the words, sorted) or, for several
 *                                                labels an image, one value a class: 0,1,0 (option
 *                                                label_map)
 *   *-idx3-ubyte[.gz], *.idx[.gz]                IDX images; labels from option labels_file, or the
 *                                                sibling *-labels-idx1-ubyte
 *   *.npz                                        array npz_images (N,H,W), (N,H,W,1), (N,H,W,3) or
 *                                                channels first, of bytes or what clearly stands
 *                                                for bytes; optional npz_labels (N), (N,1), or
 *                                                (N,classes) of 0 and 1
 *   *.npy                                        the same images; labels from option labels_file
 *                                                (npy or IDX)
 *   an image file                                one image
 * Only names and sizes are read here for folders and lists; pixels when they are needed. Formats:
 * JPEG, PNG, BMP, PNM, TIFF, WebP (docs/datasets.md has the details; hpt_has("libtiff"),
 * hpt_has("libwebp")). What is taken for classes, and what is left out (links that lead up, files
 * of kinds that are not read), goes to the log. Options: list_root, list_check, label_map,
 * label_column, classes, labels_file, npz_images, npz_labels, alpha, invert, pad, bad_image, cache,
 * cache_side, cache_mb, max_pixels, max_file_mb, orient, truncated, stats_images, stats_file.
 *
 * HPT_ERR_IO      not found or unreadable; a file that a list names is missing (the line is named)
 * HPT_ERR_FORMAT  an empty folder; a list line that is wrong, or its label out of range (its number
 *                 is named); a corrupt IDX or npz file
 * HPT_ERR_DATA    (later calls) an image that cannot be read or decoded, with bad_image=error. With
 *                 bad_image=skip evaluations, features and statistics leave it out and say so; in
 *                 pretraining the next readable image stands in for it.
 * Since 0.1. */
HPT_API hpt_status hpt_dataset_open(hpt_context *ctx, const hpt_config *cfg, const char *path,
                                    hpt_dataset **out);

/* hpt_dataset_from_memory - pixels (count,height,width,channels) uint8, channels 1 or 3, copied.
 * labels: count int32 values >= 0, or NULL. Options: invert, pad. HPT_ERR_ARGUMENT for a zero
 * size, HPT_ERR_MEMORY. Since 0.1. */
HPT_API hpt_status hpt_dataset_from_memory(hpt_context *ctx, const hpt_config *cfg,
                                           const uint8_t *pixels, uint64_t count, uint32_t height,
                                           uint32_t width, uint32_t channels,
                                           const int32_t *labels, hpt_dataset **out);
HPT_API void hpt_dataset_destroy(hpt_dataset *ds);

/* hpt_dataset_subset - the images with the given indices, in that order; pixels are shared, not
 * copied. Since 0.1. */
HPT_API hpt_status hpt_dataset_subset(const hpt_dataset *ds, const uint64_t *indices,
                                      uint64_t count, hpt_dataset **out);

/* hpt_dataset_join - the images of two sets of files as one set without labels, for pretraining on
 * both: those of a, then those of b that a does not hold. HPT_ERR_UNSUPPORTED: an array.
 * HPT_ERR_ARGUMENT: opened with options that read files differently (alpha, ...). Since 0.1. */
HPT_API hpt_status hpt_dataset_join(const hpt_dataset *a, const hpt_dataset *b, hpt_dataset **out);

/* Parts of a set are drawn object by object. An object is one image, or with option group_by all
 * images of one thing (sizes of an icon, views of a patient): they go together, and what the
 * following calls count are objects then. HPT_ERR_ARGUMENT where labels matter: the images of an
 * object have two labels (the text names them). */

/* hpt_dataset_objects - how many objects a set has. Since 0.1. */
HPT_API hpt_status hpt_dataset_objects(const hpt_dataset *ds, uint64_t *count);

/* hpt_dataset_split - two disjoint parts in a seeded random order: the first gets
 * round(fraction*count) images. The parts for a smaller fraction and the same seed are contained
 * in those for a larger one. fraction in (0,1). Since 0.1. */
HPT_API hpt_status hpt_dataset_split(const hpt_dataset *ds, double fraction, uint64_t seed,
                                     hpt_dataset **first, hpt_dataset **second);

/* hpt_dataset_per_class - k images of each class, seeded. rest: the others; NULL if not wanted.
 * HPT_ERR_ARGUMENT  no labels, k = 0, or a class with fewer than k images (the text names it)
 * Since 0.1. */
HPT_API hpt_status hpt_dataset_per_class(const hpt_dataset *ds, uint32_t k, uint64_t seed,
                                         hpt_dataset **out, hpt_dataset **rest);

/* hpt_dataset_few - n labelled images, seeded: one of each class first (with several labels an
 * image: a positive one), the others uniformly (Reed et al. 2022, 1000 labels). rest: the
 * others; NULL if not wanted. HPT_ERR_ARGUMENT: fewer than the classes, or a class without an
 * image. Since 0.1. */
HPT_API hpt_status hpt_dataset_few(const hpt_dataset *ds, uint64_t n, uint64_t seed,
                                   hpt_dataset **out, hpt_dataset **rest);

/* hpt_dataset_budget - n labels as one buys them bit by bit, seeded: one of each class first, then
 * another of each, round by round, as long as a class has more. With one seed, the images for a
 * smaller n are the first ones of those for a larger n. rest: the others; NULL if not wanted.
 * HPT_ERR_ARGUMENT: no labels, several labels an image, n below the number of classes or beyond
 * the data, or a class without an image. Since 0.1. */
HPT_API hpt_status hpt_dataset_budget(const hpt_dataset *ds, uint64_t n, uint64_t seed,
                                      hpt_dataset **out, hpt_dataset **rest);

/* hpt_dataset_budgets - a series of `count` (2 to 1000) numbers of labels for
 * hpt_dataset_budget(): one of each of C classes; then, evenly in the logarithm, from eleven of
 * each towards all N, which is itself left out: round(11C * (N/11C)^(i/(count-1))), i = 0 to
 * count-2. For seven budgets of DomainNet clipart's 34,019 training images: 345, 3795, 5470, 7883,
 * 11362, 16376, 23603 (Reed et al. 2022, table 3). HPT_ERR_ARGUMENT: no labels, several an image,
 * or no more than eleven of each class. Since 0.1. */
HPT_API hpt_status hpt_dataset_budgets(const hpt_dataset *ds, uint32_t count, uint64_t *out);

/* hpt_dataset_disjoint - HPT_OK if no image is in both sets: the same file (links count), the
 * same record of a file, the same pixels of sets from memory. common (may be NULL): how many
 * are. HPT_ERR_ARGUMENT: some are; the text names the first, with list and line. Since 0.1. */
HPT_API hpt_status hpt_dataset_disjoint(const hpt_dataset *a, const hpt_dataset *b,
                                        uint64_t *common);

/* hpt_dataset_identity - a number that changes with the images (names, sizes, times; pixels of
 * sets in memory), their order or labels: a key for results that are kept. Since 0.1. */
HPT_API hpt_status hpt_dataset_identity(const hpt_dataset *ds, uint64_t *hash);

typedef struct hpt_dataset_info {
    uint32_t struct_size;
    /* 0 no, 1 every image has a label, 2 every image has several (one 0 or 1 a class) */
    int32_t labelled;
    uint64_t count;
    uint32_t classes;       /* 0 without labels */
    uint32_t bad_images;    /* images of this set found unreadable so far (bad_image=skip) */
    /* files of a folder that look like images and are of a kind that is not read; a warning in
     * the log names them */
    uint64_t skipped_files;
    /* images of this set read so far whose file has lost pixels (truncated=accept) */
    uint64_t truncated_images;
} hpt_dataset_info;
HPT_API hpt_status hpt_dataset_get_info(const hpt_dataset *ds, hpt_dataset_info *info);

/* hpt_dataset_label - label of image i, -1 without labels. hpt_dataset_name - its path, or
 * "set#i". hpt_dataset_class_name - name of a class (folder name; else its number).
 * hpt_dataset_bad_image - name of the i-th image of the set found unreadable so far
 * (bad_image=skip), in the order of the set; HPT_END past the last. Since 0.1. */
HPT_API hpt_status hpt_dataset_label(const hpt_dataset *ds, uint64_t i, int32_t *label);
/* hpt_dataset_targets - the labels of image i where labelled is 2: count = classes values of 0
 * and 1. Since 0.1. */
HPT_API hpt_status hpt_dataset_targets(const hpt_dataset *ds, uint64_t i, uint8_t *targets,
                                       uint32_t count);
HPT_API hpt_status hpt_dataset_name(const hpt_dataset *ds, uint64_t i, char *buf, size_t size,
                                    size_t *needed);
HPT_API hpt_status hpt_dataset_class_name(const hpt_dataset *ds, uint32_t c, char *buf,
                                          size_t size, size_t *needed);
HPT_API hpt_status hpt_dataset_bad_image(const hpt_dataset *ds, uint32_t i, char *buf, size_t size,
                                         size_t *needed);

/* hpt_dataset_readable - is image i readable? 1 yes, 0 no (bad_image=skip), -1 nothing has read
 * it yet. After a call that read the whole set (statistics, features, an evaluation) it is 1 or
 * 0: which rows of hpt_model_features() hold features. Since 0.1. */
HPT_API hpt_status hpt_dataset_readable(const hpt_dataset *ds, uint64_t i, int32_t *readable);

/* hpt_dataset_stats - per-channel mean and standard deviation over all images at their own
 * sizes, in units of 0..1: mean of the images' means; std = sqrt(mean of the images' mean
 * squares - mean^2). Computed once and kept. An image set of mixed sizes is fine. With
 * bad_image=skip over the images that can be read. Options of the set: stats_images (a sample),
 * stats_file (kept between processes; what cannot be written there is a warning). Since 0.1. */
HPT_API hpt_status hpt_dataset_stats(hpt_dataset *ds, float mean[3], float std[3]);

/* hpt_dataset_image - image i as evaluation sees it, (size,size,3) uint8: short edge resized to
 * size/0.875 (or to size, option eval_crop=full), bilinear with antialiasing, then the central
 * crop. cfg NULL: defaults. HPT_ERR_DATA: image i cannot be read, also with bad_image=skip (so
 * for hpt_dataset_view). Since 0.1. */
HPT_API hpt_status hpt_dataset_image(hpt_dataset *ds, const hpt_config *cfg, uint64_t i,
                                     uint32_t size, uint8_t *rgb);

/* hpt_dataset_view - the augmented view that pretraining would make of image i: (size,size,3)
 * uint8. view 0 = query, 1 = key; draws keyed by (seed, epoch, i, view). Options: aug_* (those
 * that end in _2 are of view 1), seed. HPT_ERR_OPTION: aug_* options that contradict each other.
 * Since 0.1. */
HPT_API hpt_status hpt_dataset_view(hpt_dataset *ds, const hpt_config *cfg, uint64_t i,
                                    uint32_t view, uint64_t epoch, uint32_t size, uint8_t *rgb);

/* ==== Models ================================================================================== */

/* hpt_model_create - a randomly initialised backbone with its MoCo projection head. Options:
 * arch, width, stem, moco_dim, mlp, init_method, seed. HPT_ERR_OPTION, HPT_ERR_MEMORY. Since
 * 0.1. */
HPT_API hpt_status hpt_model_create(hpt_context *ctx, const hpt_config *cfg, hpt_model **out);

/* hpt_model_load - a model whose weights come from a file: torch zip, torch legacy stream, or
 * safetensors, known by its first bytes. Names of torchvision, facebookresearch/moco, OpenSelfSup,
 * solo-learn, timm, lukemelas (EfficientNet) are recognised. Nothing in the file is ever executed.
 * The architecture is the one that cfg names; if cfg leaves arch at "auto", the one recorded in a
 * libhpt file or derived from the tensors. The backbone is loaded; the head too with option
 * carry_head=1, else it starts fresh; a classifier as option classifier says: that of a libhpt
 * file, unless asked otherwise.
 *
 * report [out] NULL allowed. What was loaded, missing, unexpected, of the wrong shape, not used,
 * not finite; also set when HPT_ERR_MISMATCH is returned.
 * HPT_ERR_IO, HPT_ERR_FORMAT, HPT_ERR_VERSION   see there
 * HPT_ERR_MISMATCH  nothing matched, or a backbone tensor is missing or of another shape
 * Since 0.1. */
HPT_API hpt_status hpt_model_load(hpt_context *ctx, const hpt_config *cfg, const char *path,
                                  hpt_model **out, hpt_result **report);
HPT_API void hpt_model_destroy(hpt_model *model);

/* hpt_model_clone - a model of its own with the same weights, pixel_mean and pixel_std. Since
 * 0.1. */
HPT_API hpt_status hpt_model_clone(const hpt_model *model, hpt_model **out);

/* hpt_model_save - write the weights, atomically (temporary file, fsync, rename).
 * format [in] "torchvision" {torchvision's names, readable by torch.load(weights_only=True)},
 *             "timm" {timm's names, which are torchvision's for a ResNet}, "moco" {state_dict with
 *             module.encoder_q.*, head included}, "openselfsup" {state_dict, author},
 *             "safetensors" (backbone and head); a classifier goes into torchvision, timm and
 *             safetensors under the name that it has there (fc.weight, classifier.weight), with the
 *             names of its classes; NULL: safetensors for *.safetensors, else torchvision for a
 *             ResNet, timm for an EfficientNet.
 * pixel_mean and pixel_std are kept too: as metadata of safetensors, beside the pickle (record
 * hpt.json) in the others.
 * HPT_ERR_IO  nothing was changed at path
 * Since 0.1. */
HPT_API hpt_status hpt_model_save(hpt_model *model, const char *path, const char *format);

typedef struct hpt_model_info {
    uint32_t struct_size;
    uint32_t feature_dim;       /* width of the pooled backbone output */
    uint32_t embedding_dim;     /* width of the projection head's output */
    uint32_t tensors;           /* entries of hpt_model_tensor_info() */
    uint64_t backbone_params;   /* trainable numbers without the head */
    uint64_t head_params;
    char arch[32];              /* "resnet50" */
    char stem[16];              /* ResNets: "imagenet" or "small"; else "" */
    uint32_t width;             /* ResNets: 64 for the standard networks; else 0 */
    uint32_t reserved;
    /* what its images are normalised with: (level/255 - pixel_mean)/pixel_std, red, green, blue */
    float pixel_mean[3];
    float pixel_std[3];
    uint32_t classes;           /* of its classifier; 0: it has none */
    int32_t several;            /* 1: an image may have several (sigmoid); 0: one (softmax) */
} hpt_model_info;
/* hpt_model_get_info - pixel_mean and pixel_std are those that the weights were last trained (or
 * refreshed, or finetuned) with, or those of the file, where libhpt wrote it; else ImageNet's
 * (0.485,0.456,0.406 and 0.229,0.224,0.225): for files of others and for random weights, until
 * they are trained. Options pixel_mean and pixel_std of hpt_model_load() and hpt_model_create()
 * set them. Since 0.1. */
HPT_API hpt_status hpt_model_get_info(const hpt_model *model, hpt_model_info *info);

/* hpt_model_class_name - what class c of the model's classifier is called; its number where the
 * classes have no names. HPT_ERR_ARGUMENT: no such class. Since 0.1. */
HPT_API hpt_status hpt_model_class_name(const hpt_model *model, uint32_t c, char *buf, size_t size,
                                        size_t *needed);

typedef struct hpt_tensor_info {
    uint32_t struct_size;
    int32_t ndim;
    /* torch order: (out, in, kh, kw) for convolutions, (out, in) for linear layers */
    int64_t shape[4];
    char name[96];              /* torchvision name: "layer1.0.conv1.weight"; head: "fc.0.weight" */
} hpt_tensor_info;

/* hpt_model_tensor_info - list the tensors, index 0, 1, ... until HPT_END. hpt_model_get_tensor,
 * _set_tensor - copy one out of or into the model as float32; count must equal the number of
 * elements. After set, sessions that run on this model do not see the change. HPT_ERR_ARGUMENT:
 * unknown name or wrong count. A classifier's, which are not listed, are called
 * "classifier.weight" (classes, feature_dim) and "classifier.bias" (classes); of method=mme
 * "classifier.fc1.weight" (mme_dim, feature_dim), "classifier.fc1.bias" (mme_dim) and
 * "classifier.fc2.weight" (classes, mme_dim), or "classifier.weight" alone. Since 0.1. */
HPT_API hpt_status hpt_model_tensor_info(const hpt_model *model, uint32_t index,
                                         hpt_tensor_info *info);
HPT_API hpt_status hpt_model_get_tensor(const hpt_model *model, const char *name, float *data,
                                        uint64_t count);
HPT_API hpt_status hpt_model_set_tensor(hpt_model *model, const char *name, const float *data,
                                        uint64_t count);

/* hpt_model_features - pooled backbone features of every image, evaluation mode (running
 * statistics), image processing as hpt_dataset_image() at option image_size, normalised with the
 * model's own pixel_mean and pixel_std (hpt_model_info), whatever images are there beside: options
 * pixel_mean and pixel_std can ask for others. The log says which are used.
 * out [out] (count, feature_dim) float32; out_count must equal count*feature_dim. With
 *           bad_image=skip the row of an image that cannot be read is NaN
 *           (hpt_dataset_readable() tells), and the log says how many there are.
 * Options: image_size, batch_size, precision. HPT_ERR_DATA: an unreadable image with
 * bad_image=error, or no readable one at all. Since 0.1. Example: examples/02_features.c */
HPT_API hpt_status hpt_model_features(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg,
                                      float *out, uint64_t out_count);

/* hpt_model_features_pixels - the same for images in memory: x (n,3,size,size) float32,
 * normalised. out (n, feature_dim). Since 0.1. */
HPT_API hpt_status hpt_model_features_pixels(hpt_model *model, const hpt_config *cfg,
                                             const float *x, uint32_t n, uint32_t size, float *out);

/* hpt_model_predict - the classifier's logits of every image, with image processing,
 * normalisation and options as in hpt_model_features(). A model has a classifier after
 * hpt_model_finetune() or supervised training, from a file that such a model was saved in, and
 * with option classifier=take from a file of others (torchvision's fc). Pretraining without
 * labels drops it.
 *
 * logits [out] (count of images, classes) float32, classes as in hpt_model_info; count must equal
 *              their product. Probabilities are their softmax, or sigmoid where info.several.
 *              With bad_image=skip the row of an image that cannot be read is NaN
 *              (hpt_dataset_readable() tells), and the log says how many there are.
 * HPT_ERR_STATE  the model has no classifier
 * HPT_ERR_DATA   an unreadable image with bad_image=error, or no readable one at all
 * Since 0.1. */
HPT_API hpt_status hpt_model_predict(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg,
                                     float *logits, uint64_t count);

/* hpt_model_score - how often the model's classifier is right on labelled images, which are seen
 * as by hpt_model_predict(). Classes are matched by name where both have names.
 *
 * result  [out]  test_top1 (percent), test_class_mean (of each class's percent, over the classes
 *                that have an image), test_images (that could be read), test_classes
 * HPT_ERR_STATE     the model has no classifier
 * HPT_ERR_ARGUMENT  no labels, or several an image
 * HPT_ERR_MISMATCH  a class that the classifier lacks
 * HPT_ERR_DATA      as hpt_model_predict(). Since 0.1. */
HPT_API hpt_status hpt_model_score(hpt_model *model, hpt_dataset *test, const hpt_config *cfg,
                                   hpt_result **result);

typedef struct hpt_layer_info {
    uint32_t struct_size;
    uint32_t channels, height, width;   /* of its output; height and width 1 for vectors */
    /* torchvision's module: "conv1", "layer2.0.bn1", "layer2.0" (end of a block), "avgpool",
     * "fc.0" */
    char name[48];
} hpt_layer_info;

/* hpt_model_layer_info - list the layers for images of image_size pixels, index 0, 1, ... until
 * HPT_END. Since 0.1. */
HPT_API hpt_status hpt_model_layer_info(const hpt_model *model, uint32_t index,
                                        uint32_t image_size, hpt_layer_info *info);

/* hpt_model_layer - the layer called name; "layer4" is its last block. HPT_ERR_ARGUMENT: there
 * is none. Since 0.1. */
HPT_API hpt_status hpt_model_layer(const hpt_model *model, const char *name, uint32_t image_size,
                                   hpt_layer_info *info);

/* hpt_model_activations - output of one layer for every image, evaluation mode, before any ReLU
 * that follows it; images as in hpt_model_features(). layer: a name as for hpt_model_layer().
 * Option act_pool: none (default) writes (count, channels, height, width), average (count,
 * channels). out_count: all values. Unreadable images as there. Since 0.1. */
HPT_API hpt_status hpt_model_activations(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg,
                                         const char *layer, float *out, uint64_t out_count);

/* hpt_model_refresh_bn - the paper's Base strategy: forward passes over ds in training mode that
 * replace only the running mean and variance of batch norm. refresh_mode=cumulative: exact
 * average over one pass (default); ema: momentum 0.1. Plain images, no augmentation. Options:
 * image_size, batch_size, bn_group, refresh_mode, refresh_images, pixel_mean, pixel_std (the
 * model carries on what was used). Unreadable images are left out (bad_image=skip). result may
 * be NULL: images, unreadable_images; in the JSON their names, and what the result rests on.
 * Since 0.1. */
HPT_API hpt_status hpt_model_refresh_bn(hpt_model *model, hpt_dataset *ds, const hpt_config *cfg,
                                        hpt_result **result);

/* hpt_model_linear - linear probe on frozen features with the paper's recipe: batch 512, SGD
 * momentum 0.9, no weight decay, learning rates probe_lr (and schedules probe_schedule) side by
 * side, 5000 steps, x0.1 at 1/3 and 2/3, evaluated every 100 steps on val; the learning rate,
 * schedule and evaluation point best on val (ties: the earlier) are scored once on test. Images
 * with one label: softmax, top-1 and top-5. With several: one sigmoid a class, AUROC of each class
 * (ties averaged) and their mean; classes with only one kind of image in a set are left out and
 * named (option auroc_undefined). probe_augment=1 trains on random crops and flips as the paper
 * does; 0 (default) on the central crop, each feature computed once.
 *
 * Classes of val and test are train's classes of the same name, compared byte by byte, wherever
 * both sets have names (folders, words in lists, known sets; columns of several labels too); labels
 * in results are train's. Names that are whole numbers go with equal numbers of a set that has only
 * those. Where one side has names and the other only numbers, classes are matched by index, and the
 * log says so. A class that train lacks is an error that names it; one that val or test lacks is
 * noted.
 *
 * val    NULL: a class-balanced fifth of train is held out (at least one image a class).
 * test   NULL: no test score.
 * result [out] numbers: val_score and test_score (percent: top-1, or 100 * mean AUROC), val_top1,
 *        test_top1, test_top5 or val_auroc, test_auroc, best_lr, best_step, classes, train_images,
 *        val_images, test_images, unreadable_images (left out, bad_image=skip); JSON of everything,
 *        with "unreadable" {set: {count, names}} and "classes_only_in_train" {set: [names]} where
 *        there are some; arrays head_weight (classes, feature_dim), head_bias (classes): logits are
 *        weight times feature plus bias, for features as hpt_model_features() gives them (with
 *        probe_scale=unit for features scaled to length 1); with probe_keep=1 test_logits (test
 *        images, classes), NaN for unreadable images.
 * HPT_ERR_DATA      no image of a set can be read, or one cannot with bad_image=error
 * HPT_ERR_ARGUMENT  a set without labels, a class that train does not have, a class without a
 *                   training image (option empty_classes), images that two of the sets share
 *                   (option overlap): list and line are named, nothing was trained
 * Since 0.1. */
HPT_API hpt_status hpt_model_linear(hpt_model *model, hpt_dataset *train, hpt_dataset *val,
                                    hpt_dataset *test, const hpt_config *cfg, hpt_result **result);

/* hpt_linear_features - the same probe on features that the caller already has: train
 * (n_train,dim) float32 with labels 0..classes-1 (classes go by their numbers here), and so on;
 * n_val may be 0 (a fifth of train is held out), n_test may be 0. Nothing of test is looked at
 * before the choice is made. Arrays as there. HPT_ERR_NUMERIC: a row that is not finite. Since
 * 0.1. */
HPT_API hpt_status hpt_linear_features(hpt_context *ctx, const hpt_config *cfg, uint32_t dim,
                                       uint32_t classes, const float *train,
                                       const int32_t *train_labels, uint64_t n_train,
                                       const float *val, const int32_t *val_labels, uint64_t n_val,
                                       const float *test, const int32_t *test_labels,
                                       uint64_t n_test, hpt_result **result);

/* hpt_model_knn - weighted nearest neighbours on frozen features (Wu et al. 2018): each of the
 * knn_k training images nearest by cosine votes exp(similarity / knn_t) for its label(s).
 * Classes and unreadable images as in hpt_model_linear(). result [out] numbers: knn_score,
 * knn_top1 and knn_top5, or knn_auroc, train_images, test_images, unreadable_images. Since 0.1. */
HPT_API hpt_status hpt_model_knn(hpt_model *model, hpt_dataset *train, hpt_dataset *test,
                                 const hpt_config *cfg, hpt_result **result);

/* hpt_model_finetune - few-label finetuning of the whole network and a linear classifier (Reed et
 * al. 2022, table 4): every learning rate of ft_lr with every length of ft_length; classifier at
 * ft_head_factor times the rate, x0.1 at 1/3 and 2/3, ft_batch images an update computed in parts
 * of ft_micro. Classes and unreadable images as in hpt_model_linear(). The point of the grid and
 * the evaluation best on val are scored once on test. Options train_only and freeze choose what
 * trains.
 *
 * val   NULL: a class-balanced fifth of train.   test  NULL: no test score.
 * tuned [out] NULL allowed: a new model with the weights that were chosen, classifier and names of
 *       train's classes included; the given one stays as it is.
 * result [out] numbers: val_score, test_score, val_top1, test_top1, test_top5 (or _auroc), best_lr,
 *        best_step, classes; JSON with every run; arrays head_weight (classes, feature_dim),
 *        head_bias (classes), and with probe_keep=1 test_logits.
 * Errors as hpt_model_linear(); HPT_ERR_NUMERIC if every rate diverges. Since 0.1. */
HPT_API hpt_status hpt_model_finetune(hpt_model *model, hpt_dataset *train, hpt_dataset *val,
                                      hpt_dataset *test, const hpt_config *cfg, hpt_model **tuned,
                                      hpt_result **result);

/* ==== Training sessions ======================================================================= */

typedef struct hpt_step_info {
    uint32_t struct_size;
    /* keys in the queue that came from images, at most moco_k; other methods: 0 */
    uint32_t queue_fill;
    uint64_t step;          /* optimizer updates done, 1 after the first */
    uint64_t steps;         /* updates of the whole stage */
    /* passes over the data begun, from 0, when the step read its first image; 0 without a data
     * set */
    uint64_t epoch;
    /* of the step's images, before the update. moco: mean InfoNCE, nats; byol: mean of
     * 2 - 2 cos, summed over both orders of the views, 0..8; supervised: mean cross-entropy,
     * nats; mme: the same, of source and labelled target together */
    double loss;
    /* the loss of a guess: ln(moco_k + 1); byol: NaN; supervised, mme: ln(classes) */
    double chance;
    /* percent. moco: contrastive top-1, top-5, the positive among the moco_k + 1 logits; byol:
     * NaN; supervised, mme: right answers on the training images that have labels (with mixup: for
     * the image whose share is larger or equal) */
    double acc1, acc5;
    /* mean over dimensions of the std of the normalised queries (byol: projections), times
     * sqrt(dim): 1 = spread, 0 = collapsed; supervised, mme: NaN */
    double z_std;
    double lr;              /* learning rate of this update */
    double wait_ms;         /* waiting for images, of all parts of the step */
    double step_ms;         /* the whole step, waiting included */
    /* updates left out because of non-finite values, so far (on_nonfinite=skip) */
    uint32_t skipped;
    /* 1: the monitor ended the run (monitor_patience); further steps give HPT_END */
    int32_t stopped;
    /* last score of the monitor, percent; NaN before the first, 0 without a monitor */
    double monitor;
    double monitor_best;    /* best so far, and the steps of both */
    uint64_t monitor_step, monitor_best_step;
    /* mme: mean entropy of the unlabelled images' predictions, nats, 0..ln(classes); others: NaN */
    double entropy;
    /* mme: what the second update descends: -mme_lambda * entropy (MME; all before the last layer
     * climbs it), +mme_lambda * entropy (ENT); others, and S+T: NaN */
    double entropy_loss;
} hpt_step_info;

/* hpt_session_create - training of model on ds by option method: MoCo v2 (default), BYOL, or
 * supervised. The model's weights are copied in; the model receives the trained weights at
 * hpt_session_sync(), hpt_session_save(), and when the last step is done. The head is the model's
 * (fresh, or carried over at load). Key encoder = copy of the query's parameters; the queue
 * starts as random unit vectors (He et al. 2020, alg. 1); with carry_key, carry_queue and
 * carry_from both come from the checkpoint of the stage before. pixel_mean and pixel_std auto: of
 * ds, as in the paper; the model gets them with the weights, and every file that is written of it
 * keeps them. train=bn trains batch-norm parameters and head only (HPT-BN). All memory of a step
 * is taken here.
 *
 * method=byol: online network with a predictor of its own, a target network that follows it
 * (byol_m); the model should have a head of kind byol (head=byol; preset=byol has all numbers).
 *
 * method=supervised learns from the labels of ds: cross-entropy of a classifier on the features,
 * and all of it is trained. The model's classifier goes on if it has one (classes are matched by
 * name), else there is a fresh one; the model receives it with the weights.
 *
 * accumulate=n (byol, supervised): a step is one update by the mean gradient of n batches of
 * batch_size images, computed one after the other in the memory of one, each with batch norm of its
 * own. steps, schedules, monitor_every and checkpoints count updates; the loss and the percentages
 * of a step are means over its n batches. Every call makes whole updates: one that is cancelled,
 * fails or is not finite in any of its parts has changed nothing, and no call finds a session in
 * the middle of one.
 *
 * method=mme (Saito et al. 2019; preset=mme has all numbers) learns a classifier for images of
 * another domain, the target, of which few have labels: ds is the labelled source, and
 * hpt_session_data() gives the target's sets. A step is two updates: cross-entropy on batch_size
 * images of the source and as many labelled ones of the target (or all of them, if there are
 * fewer), together; then the entropy of the predictions for 2*batch_size unlabelled ones, which
 * the classifier's last layer raises and all before it lowers (mme_entropy: the baselines ENT and
 * S+T). Both count or neither. The model receives the classifier, which hpt_model_predict() and
 * model files know: cosines of the direction of the features (or of a linear layer on them) with
 * the classes', divided by mme_temperature.
 *
 * ds  [in]  NULL: the host feeds every step through hpt_session_step_batch(); supervised with a
 *           model that has no classifier: option classes says how many a fresh one has.
 * Options: stage pretrain of the table; option preset names sets of them (hpt_preset_describe()).
 * HPT_ERR_OPTION    a key that the method does not know (hpt_option_info.methods); a preset of
 *                   another stage or method
 * HPT_ERR_ARGUMENT  supervised, mme: no labels, several labels an image, or a class without an
 *                   image
 * HPT_ERR_MISMATCH  supervised, mme: a class that the model's classifier lacks; mme: the model's
 *                   classifier has another form than the options ask for
 * HPT_ERR_MEMORY, HPT_ERR_UNSUPPORTED (precision on this backend), HPT_ERR_DATA (statistics of
 * unreadable images) Since 0.1. Example: examples/03_pretrain.c */
HPT_API hpt_status hpt_session_create(hpt_context *ctx, const hpt_config *cfg, hpt_model *model,
                                      hpt_dataset *ds, hpt_session **out);
/* hpt_session_destroy - while another thread is in a call on s, that call ends first: a run with
 * HPT_ERR_CANCELLED after its step. */
HPT_API void hpt_session_destroy(hpt_session *s);

/* hpt_session_monitor - watch the run by kNN scores of val on train (labelled) every
 * monitor_every steps and at the end; before the first step and before resume. monitor_patience
 * scores in a row without a new best end the run; with monitor_restore the model gets the
 * weights of the best score. The labels serve no other purpose. Classes and unreadable images as
 * in hpt_model_linear(). Scoring copies the weights into the model. Since 0.1. */
HPT_API hpt_status hpt_session_monitor(hpt_session *s, hpt_dataset *train, hpt_dataset *val);

/* hpt_session_data - a further data set of the session, before the first step and before resume.
 *
 * role  [in]  "val": labelled images that are scored every monitor_every steps and at the end, as
 *             by hpt_session_monitor(). supervised: by the classifier that is trained, which knows
 *             their classes (by name where both have names). moco, byol: by their nearest
 *             neighbours in the set of role "labelled", which must be given too.
 *             "labelled" (moco, byol): labelled images that vote in these scores. mme: the few
 *             labelled images of the target, whose classes are the source's, by name where both
 *             have names.
 *             "unlabelled" (mme): images of the target; labels that they have are not looked at.
 *             "test" (mme): images that the model will be tested on. Nothing is done with them but
 *             to see that none is trained on.
 * HPT_ERR_ARGUMENT  a role that the method does not have (the text lists its roles), no labels,
 *                   images of val or test that are trained on (option overlap=allow: the log says
 *                   it)
 * HPT_ERR_MISMATCH  a class that the classifier lacks; labelled, mme: a class of the source without
 *                   an image (option empty_classes)
 * HPT_ERR_OPTION    monitor_every is 0
 * HPT_ERR_STATE     the session has run, or has a set of that role, or a monitor. Since 0.1. */
HPT_API hpt_status hpt_session_data(hpt_session *s, const char *role, hpt_dataset *ds);

/* A number of a run. */
typedef struct hpt_metric {
    uint32_t struct_size;
    int32_t higher_is_better;   /* 1 yes, -1 lower is better, 0 neither */
    double value;               /* NaN before the first step (a score: before the first) */
    char name[32];              /* "loss", "contrast_acc1", "train_top1", "val_top1", ... */
    char unit[16];              /* "nats", "%"; "" for none */
} hpt_metric;

/* hpt_session_metric - the method's numbers after the last step, and the scores of a monitor with
 * the best so far, index 0, 1, ... until HPT_END. Which there are does not change once the first
 * step is made. moco: loss, chance, contrast_acc1, contrast_acc5, z_std, queue_fill, lr; byol:
 * loss, z_std, lr; supervised: loss, chance, train_top1, train_top5, lr; with a monitor knn_top1
 * (or knn_auroc, val_top1) and the same with _best. Since 0.1. */
HPT_API hpt_status hpt_session_metric(const hpt_session *s, uint32_t index, hpt_metric *out);

/* hpt_session_step - run one optimisation step (an update) on the next batch, with accumulate=n on
 * the next n batches, and wait for it.
 *
 * info  [out]  NULL allowed. Set struct_size first.
 * HPT_OK           done
 * HPT_END          all steps are done; nothing was run
 * HPT_ERR_STATE    an earlier call failed for good; hpt_last_error() repeats that failure
 * HPT_ERR_DATA     an image could not be decoded and bad_image=error; the text names it. The step
 *                  can be tried again.
 * HPT_ERR_NUMERIC  loss, gradient, momentum or running statistic is not finite, or the update would
 *                  overflow, and on_nonfinite=stop; weights, queue, statistics and step count are
 *                  those before the step; the text names step and tensor
 * Since 0.1. */
HPT_API hpt_status hpt_session_step(hpt_session *s, hpt_step_info *info);

/* Images for one step, and what is known of them. A field that a newer header appends is 0 in an
 * older program; one that this library does not know must be 0 (HPT_ERR_VERSION). */
typedef struct hpt_batch {
    uint32_t struct_size;
    /* batch_size (with several ranks this rank's share); accumulate=n: n times as many, those of
     * the first part first. mme: batch_size of the source, then as many labelled ones of the
     * target (fewer, if its set of role "labelled" has fewer), then 2*batch_size unlabelled ones
     * (none with mme_entropy=off) */
    uint32_t images;
    uint32_t views;             /* of each image: moco, byol 2; supervised, mme 1 */
    uint32_t height, width;     /* image_size */
    uint32_t reserved;          /* 0 */
    const float *const *view;   /* (views) each (images,3,height,width) float32, normalised */
    /* (images) supervised, mme: the classifier's classes; mme: those of unlabelled images are not
     * read; others: NULL */
    const int32_t *label;
} hpt_batch;

/* hpt_session_step_batch - hpt_session_step() on the caller's own images, and labels where the
 * method learns from some. Nothing of batch is needed after the call.
 *
 * HPT_ERR_ARGUMENT  other sizes than the session's, labels missing, beyond the classifier, or
 *                   given to a method that has no use for them: nothing was run
 * HPT_ERR_VERSION   a batch of a newer header; the others as hpt_session_step(). Since 0.1. */
HPT_API hpt_status hpt_session_step_batch(hpt_session *s, const hpt_batch *batch,
                                          hpt_step_info *info);

/* hpt_session_step_images - the same with views given by the host: view_q, view_k
 * (images,3,image_size,image_size) float32, normalised, as many images as hpt_batch has.
 * HPT_ERR_STATE: method=supervised and mme, which need labels: hpt_session_step_batch(). Since
 * 0.1. */
HPT_API hpt_status hpt_session_step_images(hpt_session *s, const float *view_q,
                                           const float *view_k, hpt_step_info *info);

/* hpt_step_fn - called after each step on the calling thread; non-zero stops hpt_session_run()
 * with HPT_ERR_CANCELLED. With on_nonfinite=callback it is also called for a step that was not
 * applied (loss is then NaN or Inf). It may save, sync, cancel, and get or set info and tensors
 * of the session; a step, run or resume of it gives HPT_ERR_STATE. It must not throw or longjmp. */
typedef int32_t (*hpt_step_fn)(void *user, const hpt_step_info *info);

/* hpt_session_run - step until the end. fn may be NULL. HPT_OK at the end (also if it was
 * reached before). Since 0.1. */
HPT_API hpt_status hpt_session_run(hpt_session *s, hpt_step_fn fn, void *user);

/* hpt_session_cancel - from any thread (not a signal handler): the current or next
 * hpt_session_run() returns HPT_ERR_CANCELLED after the step in progress; a later run continues.
 * Since 0.1. */
HPT_API hpt_status hpt_session_cancel(hpt_session *s);

/* hpt_session_save - checkpoint of everything (facebookresearch/moco layout in a torch zip plus
 * our own entries), atomically. The previous file stays intact on any failure. HPT_ERR_IO: disk
 * full, permission. Since 0.1. */
HPT_API hpt_status hpt_session_save(hpt_session *s, const char *path);

/* hpt_session_resume - continue a run from its checkpoint, bit for bit as if it had not stopped.
 * The session must be fresh and of the same configuration and data. A file of facebookresearch/moco
 * without our entries is accepted too: weights, key encoder, queue and momentum are taken, and the
 * step count follows from its epoch.
 * HPT_ERR_MISMATCH  another architecture, configuration or data set (the text names the first
 *                   difference)
 * Since 0.1. */
HPT_API hpt_status hpt_session_resume(hpt_session *s, const char *path);

/* hpt_session_sync - copy the trained query encoder (weights, running statistics, head) into the
 * model. Since 0.1. */
HPT_API hpt_status hpt_session_sync(hpt_session *s);

/* hpt_session_result - the run as a result. JSON: steps, total_steps, skipped; the method's numbers
 * by the names of hpt_session_metric(), but for queue_fill (null before the first step of this
 * session); monitor, monitor_best, monitor_best_step where there is a monitor; unreadable_images
 * met so far (bad_image=skip; others stood in) with their names; and what it rests on (see "Files
 * and results"). Since 0.1. */
HPT_API hpt_status hpt_session_result(const hpt_session *s, hpt_result **result);

/* hpt_session_get_info - counters and metrics after the last step (zeros before the first).
 * Since 0.1. */
HPT_API hpt_status hpt_session_get_info(const hpt_session *s, hpt_step_info *info);

/* hpt_session_get_tensor, _set_tensor - state by name, float32 in torch layout: "q.<name>",
 * "k.<name>" (model tensors of both encoders), "grad.<name>" (of the last step),
 * "momentum.<name>", "queue" (dim, moco_k); method=supervised: "model.<name>",
 * "model.fc.weight", "model.fc.bias". For tests and own algorithms. Since 0.1. */
HPT_API hpt_status hpt_session_get_tensor(hpt_session *s, const char *name, float *data,
                                          uint64_t count);
HPT_API hpt_status hpt_session_set_tensor(hpt_session *s, const char *name, const float *data,
                                          uint64_t count);

/* ==== Choosing a source ======================================================================= */

/* hpt_source_search - task-aware source selection (Reed et al. 2022, 3.3): pretrain a copy of base
 * on each candidate (stage pretrain of the options), probe it on the target's train (stage linear),
 * rank on the target's val. No test image is involved.
 *
 * search_mode=halving drops the worse half at each rung (steps/4, steps/2 with search_rungs=2);
 * full (default) gives every candidate all steps and reports what halving would have chosen and
 * cost. Before anything is trained the candidates are ranked by nearness: mean cosine similarity of
 * the target's images to their 10 nearest of the candidate, by features of base; search_prerank=n
 * trains the n nearest alone.
 * fn      called after each step of each candidate; non-zero stops with HPT_ERR_CANCELLED. NULL
 *         allowed.
 * winner  [out] a new model: base after pretraining on the best source
 * result  [out] numbers: winner_index, val_score, cost_steps; JSON: metric, candidates with score,
 *               rank, cost and nearness, halving
 *         Classes and unreadable images of train and val as in hpt_model_linear(); a
 *         candidate's unreadable ones are counted with it.
 * With search_dir an interrupted search goes on where it stopped (search_save_every steps are
 * lost at most). Since 0.1. */
HPT_API hpt_status hpt_source_search(hpt_context *ctx, const hpt_config *cfg, hpt_model *base,
                                     hpt_dataset *const *sources, const char *const *names,
                                     uint32_t count, hpt_dataset *train, hpt_dataset *val,
                                     hpt_step_fn fn, void *user, hpt_model **winner,
                                     hpt_result **result);

/* ==== Comparing representations and scores ==================================================== */

/* hpt_rv2 - similarity of two representations of the same n images (modified RV coefficient,
 * Smilde et al. 2009): x (n,p), y (n,q) row by row, any width; columns are centred. -1..1; 1 for
 * equal up to rotation and scale. HPT_ERR_NUMERIC if one is constant. Since 0.1. */
HPT_API hpt_status hpt_rv2(const float *x, uint64_t p, const float *y, uint64_t q, uint64_t n,
                           double *rv2);

/* hpt_context_rv2 - the same number, bit for bit, as a call of a context: its hpt_progress_fn is
 * told (HPT_PHASE_COMPARE, in rows) and it can be stopped. HPT_ERR_CANCELLED: rv2 is untouched;
 * nothing is kept, another call begins anew. Since 0.1. */
HPT_API hpt_status hpt_context_rv2(hpt_context *ctx, const float *x, uint64_t p, const float *y,
                                   uint64_t q, uint64_t n, double *rv2);

/* hpt_error_iou - of the images that prediction a or b gets wrong, the share that both get
 * wrong; 1 if neither errs. Since 0.1. */
HPT_API hpt_status hpt_error_iou(const int32_t *a, const int32_t *b, const int32_t *labels,
                                 uint64_t n, double *iou);

/* hpt_welch - Welch's t-test of two groups with unequal variances: t, degrees of freedom,
 * two-sided p. At least 2 values each. Since 0.1. */
HPT_API hpt_status hpt_welch(const double *a, uint64_t na, const double *b, uint64_t nb, double *t,
                             double *dof, double *p);

/* hpt_auroc - area under the ROC curve of n scores, truth 0 or 1, ties averaged.
 * HPT_ERR_NUMERIC: all of one kind. Since 0.1. */
HPT_API hpt_status hpt_auroc(const float *scores, const uint8_t *truth, uint64_t n, double *area);

/* ==== Scoring boxes and masks ================================================================= */

/* Objects in images: what is there (truth), or what a detector found. Arrays are the caller's and
 * only read during the call. A field that a newer header appends is 0 in an older program; one that
 * this library does not know must be 0 (HPT_ERR_VERSION). */
typedef struct hpt_boxes {
    uint32_t struct_size;
    uint32_t reserved;          /* 0 */
    uint64_t count;
    const double *box;          /* (count,4) x, y of the upper left corner, width, height: pixels
                                 * from 0, continuous; NULL where masks are scored */
    const int64_t *image;       /* (count) number of the image, any numbers */
    const int32_t *label;       /* (count) class, 0..classes-1 */
    const double *score;        /* (count) found: the higher the surer; truth: NULL */
    const double *area;         /* (count) truth: pixels of the object, which decide whether it is
                                 * small, medium or large; NULL: width * height, or the mask's */
    const uint8_t *crowd;       /* (count) truth: 1 where it is many objects in one; NULL: none */
    const uint8_t *difficult;   /* (count) truth: 1 where it counts neither as found nor as missed;
                                 * NULL: none */
    const char *const *mask;    /* (count) strings of COCO's runs; NULL where boxes are scored */
    const int32_t *mask_size;   /* (count,2) height and width of each mask's image, or NULL */
} hpt_boxes;

/* hpt_average_precision - how well detections fit what is there; the boxes of any detector.
 *
 * classes  [in] 1..10000. Images that have neither objects nor detections change no score.
 * Options (stage "score"): score_metric, score_masks, score_rounded, score_at. The context's
 * threads share the images; the numbers are the same for any number of them.
 *   coco         COCO's, of boxes or masks: equal to pycocotools to the last bit
 *   voc07 voc12  Pascal VOC's with 11 points, or the area, as Detectron2 reports them: AP is the
 *                mean over IoU .50, .55, .. .95, and not COCO's AP. Boxes only.
 * result [out] numbers, fractions of 1: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm,
 *        ARl (voc: the first three), images, objects, detections. JSON with "metric", "task" (boxes
 *        or masks) and "per_class": the same of each class, with its precision and recall at
 *        score_at; a number that does not exist (no object of that size) is null. Arrays:
 *        precision, scores (10,101,classes): at each IoU threshold and each recall 0, .01, .. 1 the
 *        highest precision from there on, and the score where it is reached; -1 for a class without
 *        objects; recall (10,classes); confusion (classes+1,classes+1), up to 2000 classes: truth
 *        by found at IoU .5, the last row nothing is there, the last column not found.
 * HPT_ERR_ARGUMENT  arrays that are missing, labels beyond the classes, masks with voc07 or voc12
 * HPT_ERR_DATA      a box without size in truth, or below 0; a value that is not finite; a mask of
 *                   another size than its image: the text names the entry
 * HPT_ERR_CANCELLED by hpt_context_cancel() or the host. Since 0.1. */
HPT_API hpt_status hpt_average_precision(hpt_context *ctx, const hpt_config *cfg, uint32_t classes,
                                         const hpt_boxes *truth, const hpt_boxes *found,
                                         hpt_result **result);

/* hpt_score_boxes - the same of files, with option coco_id0 beside the others.
 *
 * truth    [in] COCO's annotations: JSON with images, annotations, categories (boxes, and masks of
 *               polygons, runs or strings); or, for boxes: BDD100K's frames (JSON, labels of both
 *               generations), a folder of Pascal VOC's XML files or a list of them (.txt in
 *               ImageSets/Main), a table of your own (.csv); docs/detection.md has the columns
 * results  [in] a list in COCO's format for results: image_id, category_id, score, and bbox or
 *               (with score_masks=1) segmentation. Names of images and classes may stand for their
 *               numbers.
 * Both are read and checked whole before anything is scored. Classes are truth's, in the order of
 * their numbers; per_class names them. JSON also: truth, truth_format, results, areas_computed
 * (objects without "area"), empty_detections (of width or height 0: they count as wrong).
 * HPT_ERR_IO, HPT_ERR_FORMAT  a file that cannot be read, or is none of these, with the place
 * HPT_ERR_DATA      an object that cannot be right (a box without size or outside its image, an
 *                   image or category that truth does not have, an id that comes twice, a polygon
 *                   of fewer than 3 points, a mask of another size than its image): file and object
 *                   are named
 * The others as hpt_average_precision(). Since 0.1. */
HPT_API hpt_status hpt_score_boxes(hpt_context *ctx, const hpt_config *cfg, const char *truth,
                                   const char *results, hpt_result **result);

/* ==== Known data sets ========================================================================= */

typedef struct hpt_set_info {
    uint32_t struct_size;
    uint32_t classes;
    int32_t several;            /* 1: several labels an image, scored by AUROC; 0: one, by top-1 */
    uint32_t reserved;
    uint64_t images[3];         /* train, val, test as the paper has them; 0: not published */
    float mean[3], std[3];      /* of the pixels, 0..1 */
    char name[32];              /* "resisc" */
    char title[64];
    char split[160];            /* how train, val and test come about */
    char layout[320];           /* files of the original download, below the root folder */
    char remarks[320];          /* where paper, code and download disagree */
} hpt_set_info;

/* hpt_set_describe - the 16 data sets of Reed et al. 2022 (table 5), index 0, 1, ... until
 * HPT_END. Since 0.1. */
HPT_API hpt_status hpt_set_describe(uint32_t index, hpt_set_info *info);

/* hpt_dataset_named - a split of a known data set from its original download, labels and all: no
 * list has to be written.
 *
 * name   [in]  one of hpt_set_describe(), or the path of a descriptor file (*.ini,
 *              docs/datasets.md) for a set of your own
 * root   [in]  the folder of the download; NULL: the one that the descriptor file names
 *              (HPT_ERR_ARGUMENT for the others)
 * split  [in]  "train", "val", "test", or "train+val" (what pretraining may see); of DomainNet's
 *              lists for adaptation (real126, ...) "train" (the domain as a source), "labelled-1",
 *              "labelled-3", "unlabelled-1", "unlabelled-3", "val", "test" ("test-1", "test-3")
 * Where the download has no validation set, a seeded fifth of its training images (option
 * data_seed) is it. HPT_ERR_IO, HPT_ERR_FORMAT: files that are missing or wrong, with their
 * names. Since 0.1. */
HPT_API hpt_status hpt_dataset_named(hpt_context *ctx, const hpt_config *cfg, const char *name,
                                     const char *root, const char *split, hpt_dataset **out);

/* hpt_dataset_check - opens all splits and compares images, classes and overlaps with the
 * descriptor, before anything trains. result [out] JSON: name, root, splits with count and
 * expected, classes, problems (a list of sentences); number: problem_count. Set also when
 * HPT_ERR_MISMATCH is returned, which means that there are problems. Since 0.1. */
HPT_API hpt_status hpt_dataset_check(hpt_context *ctx, const hpt_config *cfg, const char *name,
                                     const char *root, hpt_result **result);

/* ==== Recipes ================================================================================= */

/* A recipe is an INI file with a section for each stage (docs/recipes.md): data, pretrain,
 * refresh-bn, search, linear, knn, finetune, similarity; and for what is reported: table, plot,
 * finding. Stages name each other and sweep over values and seeds. */

typedef struct hpt_recipe_progress {
    uint32_t struct_size;
    int32_t event;              /* HPT_RECIPE_BEGIN, _STEP, _END of a stage */
    uint32_t done, stages;      /* stages of the recipe */
    uint64_t step, steps;       /* of this stage */
    double seconds_left;        /* estimated, of the whole recipe */
    char name[128];             /* "hpt steps=500 seed 1" */
} hpt_recipe_progress;
#define HPT_RECIPE_BEGIN 0
#define HPT_RECIPE_STEP 1
#define HPT_RECIPE_END 2

/* hpt_recipe_fn - called one at a time, but from worker threads of the library with jobs > 1;
 * non-zero stops the recipe: stages under way save a checkpoint first (evaluations too, between
 * two batches or updates). It must not call the recipe, throw or longjmp. */
typedef int32_t (*hpt_recipe_fn)(void *user, const hpt_recipe_progress *p);

/* hpt_recipe_open - read a recipe and check every section, key and value.
 *
 * cfg   [in]  NULL or options of stage context that go before the recipe's (backend, threads, ...)
 * out_dir [in] NULL: the recipe's own "out"
 * HPT_ERR_IO, HPT_ERR_FORMAT: file and line are named. Since 0.1. */
HPT_API hpt_status hpt_recipe_open(const hpt_config *cfg, const char *path, const char *out_dir,
                                   hpt_recipe **out);
HPT_API void hpt_recipe_destroy(hpt_recipe *r);

/* hpt_recipe_set - override a line before plan or run: key "section.key" ("recipe.seeds",
 * "hpt.steps", "target.path"). Since 0.1. */
HPT_API hpt_status hpt_recipe_set(hpt_recipe *r, const char *key, const char *value);

/* hpt_recipe_set_log - notes and warnings of the stages; with jobs > 1 from worker threads, one
 * at a time. Since 0.1. */
HPT_API hpt_status hpt_recipe_set_log(hpt_recipe *r, hpt_log_fn fn, void *user);

/* hpt_recipe_set_progress - who is told how far the call under way is, about ten times a second:
 * data sets opened and compared, networks timed (HPT_PHASE_PLAN), the report (HPT_PHASE_REPORT),
 * and what the stages do. With jobs > 1 from worker threads, one at a time. Non-zero stops the
 * call, as hpt_recipe_cancel() does, which is all of the recipe that it may call. fn NULL: nobody,
 * which is the default. Since 0.1. */
HPT_API hpt_status hpt_recipe_set_progress(hpt_recipe *r, hpt_progress_fn fn, void *user);

/* hpt_recipe_cancel - from any thread (not from a signal handler): the hpt_recipe_plan(), _run()
 * or _report() that is under way, or the next one, returns HPT_ERR_CANCELLED within a fifth of a
 * second of work, whatever it is doing; stages under way save first. The recipe stays usable:
 * another call goes on to the results of an undisturbed one. Since 0.1. */
HPT_API hpt_status hpt_recipe_cancel(hpt_recipe *r);

/* hpt_recipe_plan - opens all data and checks it (labels, classes, splits and sources that share
 * images: list and line are named), finds what is done already, and estimates the rest, from
 * finished stages of the same network or by timing three small steps. result [out] JSON: stages
 * (name, state, steps, images, seconds); numbers: to_do, steps_left, seconds_left. Nothing is
 * trained. Since 0.1. */
HPT_API hpt_status hpt_recipe_plan(hpt_recipe *r, hpt_result **result);

/* hpt_recipe_run - the plan, then every stage whose result is not there. Results are kept under a
 * key of the stage's full configuration, its inputs and the library's version; an interrupted stage
 * goes on from its last checkpoint (save_every). Ends with the report. result [out] NULL allowed;
 * the JSON of results.json
 * HPT_ERR_CANCELLED  stopped by fn, by that of hpt_recipe_set_progress() or by hpt_recipe_cancel();
 *                    a later run goes on, of this handle too
 * HPT_ERR_STATE      another process runs a recipe in the same folder. Since 0.1. */
HPT_API hpt_status hpt_recipe_run(hpt_recipe *r, hpt_recipe_fn fn, void *user, hpt_result **result);

/* hpt_recipe_report - results.json, results.csv and report.html (self-contained) from the stages
 * that are done. result [out] NULL allowed. Since 0.1. */
HPT_API hpt_status hpt_recipe_report(hpt_recipe *r, hpt_result **result);

/* ==== Files and results ======================================================================= */

/* Results of stages and evaluations say what they rest on: backend, precision (fp32, tf32, bf16
 * or fp64, as option precision came out here), threads, pixel_mean, pixel_std, and pixels_from:
 * "model" (of its training, by its file), "imagenet", "data" (of the images of this call) or
 * "given". Evaluations name what val_score, test_score and knn_score are: metric is "top1" or
 * "auroc", both in percent. A number that does not exist is null in JSON, and
 * hpt_result_number() gives HPT_ERR_ARGUMENT for it. */

/* hpt_file_info - what a checkpoint holds, without loading it: container, producer, tensors with
 * shapes and types, step, options. result [out] JSON. HPT_ERR_IO, HPT_ERR_FORMAT. Since 0.1. */
HPT_API hpt_status hpt_file_info(const char *path, hpt_result **result);

/* hpt_result_number - one top-level number by name; HPT_ERR_ARGUMENT if there is none.
 * hpt_result_json - everything as JSON. Since 0.1. */
HPT_API hpt_status hpt_result_number(const hpt_result *r, const char *name, double *value);
HPT_API hpt_status hpt_result_json(const hpt_result *r, char *buf, size_t size, size_t *needed);
/* hpt_result_array - copies a named float array of the result; count must be its length. out
 * NULL: only the length, to needed (may be NULL otherwise). HPT_ERR_ARGUMENT: no such array.
 * Since 0.1. */
HPT_API hpt_status hpt_result_array(const hpt_result *r, const char *name, float *out,
                                    uint64_t count, uint64_t *needed);
HPT_API void hpt_result_destroy(hpt_result *r);

#ifdef __cplusplus
}
#endif
#endif /* HPT_H */

/* SPDX-License-Identifier: MIT
 * A data set: a list of indices into a shared source of images. Parts of a set share its pixels, and what is learnt
 * about an image (unreadable, truncated) is known to all of them. */
#ifndef HPT__DATASET_H
#define HPT__DATASET_H
#include "core/context.h"
#include "core/options.h"
#include "core/pixels.h"
#include "core/rng.h"
#include "data/views.h"
#include <pthread.h>

/* what is known of a file; cut: read, but its tail is lost */
enum { HPT__IMAGE_UNKNOWN, HPT__IMAGE_READ, HPT__IMAGE_CUT, HPT__IMAGE_BAD };

typedef struct hpt__note { int level; char *text; } hpt__note;        /* as hpt_log_fn */

typedef struct hpt__source {
    _Atomic int refs;
    uint64_t n;
    char **path;                        /* files; NULL for pixels */
    uint8_t *pixels;                    /* (n,h,w,channels) */
    int w, h, channels, pad, invert;
    char *title;                        /* names pixel images: "title#i" */
    int32_t *label;                     /* n, or NULL */
    uint8_t *multi;                     /* multi-label: (n,classes) of 0 and 1, or NULL; label is NULL then */
    uint64_t *object;                   /* of each image, what it shows (option group_by); NULL: each its own */
    char *list;                         /* list file that named the images, or NULL */
    uint32_t *line;                     /* and the line of each */
    uint32_t classes;
    char **class_name;                  /* or NULL */
    char unlabelled_why[512];           /* without labels: the reason, for those who need some; may be empty */
    hpt__note *note;                    /* what is said when the set is opened */
    size_t notes;
    uint64_t skipped;                   /* files that look like images and are not read */
    hpt__image_limits limits;
    int skip_bad, cache_side;
    int given_stats;                    /* mean and std of a known set, for every part of it */
    float mean[3], std[3];
    uint64_t sample[2];                 /* statistics of so many images, drawn with this seed; 0: of all */
    char *stats_file;                   /* where they are kept; empty: nowhere */
    _Atomic(uint8_t *) *cache;          /* n entries: int32 w, h, then pixels; NULL without cache=memory */
    _Atomic uint64_t cache_left;
    /* one an image: HPT__IMAGE_*; BAD only with bad_image=skip, else it is tried again */
    _Atomic uint8_t *state;
    _Atomic uint64_t bad_count, cut_count;
    _Atomic(const void *) compared;     /* the source whose classes these were compared with last: said once */
} hpt__source;

struct hpt_dataset {
    hpt__handle handle;
    hpt_context *ctx;
    hpt__source *src;
    uint64_t *index;
    uint64_t count;
    struct hpt_dataset *origin;         /* handle that this one shares statistics with, or NULL */
    pthread_mutex_t stats_lock;         /* of the following: handles on this one may ask from several threads */
    int has_stats;
    float mean[3], std[3];
    uint64_t stats_images, stats_of;    /* of a sample: how many of how many images these are of; else 0 */
};

/* Makes an empty source; takes over nothing. */
hpt_status hpt__source_create(const hpt__options *o, uint64_t n, hpt__source **out);
void hpt__source_release(hpt__source *s);
/* dataset_open.c: what path is decides */
hpt_status hpt__source_open(const hpt__options *o, const char *path, hpt__source **out);
hpt_status hpt__dataset_new(hpt_context *ctx, hpt__source *src, const uint64_t *index, uint64_t count,
                            hpt_dataset **out);
/* Another handle on the same images, for another thread: pixels are shared, and mean and std, which take a pass over
 * all images, are taken once. */
hpt_status hpt__dataset_share(hpt_dataset *ds, hpt_dataset **out);

/* Image i, valid until the next call with this work. HPT_ERR_DATA: it cannot be read, whatever bad_image says. */
hpt_status hpt__dataset_image(const hpt_dataset *ds, uint64_t i, hpt__work *work, hpt__image *hold, hpt__image *view);
/* For training without labels: with bad_image=skip the next image that can be read stands in for one that cannot,
 * and *i becomes that one. */
hpt_status hpt__dataset_image_or_next(const hpt_dataset *ds, uint64_t *i, hpt__work *work, hpt__image *hold,
                                      hpt__image *view);
/* Did hpt__dataset_image() fail for an image that bad_image=skip leaves out? */
int hpt__dataset_skips(const hpt_dataset *ds, hpt_status st);
int hpt__dataset_is_bad(const hpt_dataset *ds, uint64_t i);        /* known to be unreadable (bad_image=skip) */
uint64_t hpt__dataset_bad_count(const hpt_dataset *ds);             /* how many places of ds are */
/* how many have lost their tail (truncated=accept) */
uint64_t hpt__dataset_cut_count(const hpt_dataset *ds);
/* The first `most` images of ds that can be read, in order, as a set of its own. With bad_image=skip each is decoded
 * once to know that, unless it was before; with bad_image=error nothing is decoded. HPT_ERR_DATA if none can be
 * read. */
hpt_status hpt__dataset_readable(hpt_dataset *ds, uint64_t most, hpt_dataset **out);
int32_t hpt__dataset_label(const hpt_dataset *ds, uint64_t i);
/* multi-label: classes values; else NULL */
const uint8_t *hpt__dataset_targets(const hpt_dataset *ds, uint64_t i);
/* 0 no, 1 one label an image, 2 multi-label */
int hpt__dataset_labelled(const hpt_dataset *ds);
void hpt__dataset_name(const hpt_dataset *ds, uint64_t i, char *text, size_t size);
hpt_status hpt__dataset_stats(hpt_dataset *ds);         /* statistics.c */
void hpt__dataset_take_stats(hpt_dataset *to, const hpt_dataset *from);
/* Decodes images from..to-1 of pick (NULL: of all), in parallel. sum: what statistics are made of, by place; NAN
 * where an image cannot be read. NULL: only those of which it is not known whether they can. */
hpt_status hpt__dataset_scan(hpt_dataset *ds, const uint64_t *pick, uint64_t from, uint64_t to, double (*sum)[6]);
hpt_status hpt__dataset_none_readable(const hpt_dataset *ds);
uint64_t hpt__dataset_fingerprint(const hpt_dataset *ds);
/* The same with labels and, for files, their sizes and times: what a result that is kept depends on. */
hpt_status hpt__dataset_identity(const hpt_dataset *ds, uint64_t *hash);
/* Names, sizes and times of the files, and whatever else decides which pixels are read, but no labels: what
 * statistics depend on. */
hpt_status hpt__dataset_content(const hpt_dataset *ds, uint64_t *hash);
/* Images of a that b holds too: the same file (through links too), or the same record. first: index in a and b of
 * one of them. in_b: a flag for each image of a, or NULL. */
hpt_status hpt__dataset_overlap(const hpt_dataset *a, const hpt_dataset *b, uint64_t *common, uint64_t first[2],
                                uint8_t *in_b);
/* "train: the data set has no labels", and why where that is known. HPT_ERR_ARGUMENT. what "": without the first
 * word. */
hpt_status hpt__dataset_no_labels(const hpt_dataset *ds, const char *what);
/* "train.txt, line 12 (cats/1.jpg)" */
void hpt__dataset_where(const hpt_dataset *ds, uint64_t i, char *text, size_t size);
/* Every class has an image (multi-label: a positive one): what a classifier needs to train. */
hpt_status hpt__dataset_all_classes(const hpt_dataset *ds, const char *what);
/* What options pixel_mean and pixel_std ask for. auto: the model's own, or with fresh (pretraining, which gives the
 * model what it is trained on) those of the set; ds NULL: no set, then it is the model's. */
hpt_status hpt__dataset_normalization(hpt_dataset *ds, const hpt__options *o, const hpt__pixels *model, int fresh,
                                      hpt__pixels *out);
/* dataset_join.c: the files of a, then those of b that a does not hold; without labels */
hpt_status hpt__dataset_join(const hpt_dataset *a, const hpt_dataset *b, hpt_dataset **out);

/* ---- dataset_draw.c: seeded parts. Lists of images for hpt__dataset_new, freed by the caller: all images, those that
 * are taken first. What is counted are objects (option group_by; without it each image is one), which stay whole.
 * ---- */

typedef struct hpt__draw {
    uint64_t *image, *start, n;         /* images of object u of n: image[start[u]] to image[start[u + 1] - 1] */
} hpt__draw;
/* Keys of the objects that files show; base goes into them. NULL: rule is empty. */
hpt_status hpt__objects_by_name(const char *rule, char *const *path, uint64_t n, uint64_t base, uint64_t **out);
/* Every object once, in an order drawn from r, by places of images. object: a key for each image, or NULL. */
hpt_status hpt__draw_objects(const uint64_t *object, uint64_t images, hpt__rng *r, hpt__draw *d);
void hpt__draw_free(hpt__draw *d);
/* of the images of ds, freed by the caller; NULL: each is an object */
hpt_status hpt__dataset_object_keys(const hpt_dataset *ds, uint64_t **key);
hpt_status hpt__dataset_objects(const hpt_dataset *ds, uint64_t *n);
/* images in a seeded order, whatever they show */
hpt_status hpt__dataset_order(const hpt_dataset *ds, uint64_t seed, uint64_t **index);
hpt_status hpt__dataset_split(const hpt_dataset *ds, double fraction, uint64_t seed, uint64_t **index, uint64_t *taken);
hpt_status hpt__dataset_per_class(const hpt_dataset *ds, uint64_t k, uint64_t seed, uint64_t **index, uint64_t *taken);
/* n: one of each class first (multi-label: a positive one), the others uniformly (Reed et al. 2022, 1000 labels). */
hpt_status hpt__dataset_few(const hpt_dataset *ds, uint64_t n, uint64_t seed, uint64_t **index, uint64_t *taken);
/* n: one of each class, then another of each, round by round; a smaller one is the beginning of a larger one. */
hpt_status hpt__dataset_budget(const hpt_dataset *ds, uint64_t n, uint64_t seed, uint64_t **index, uint64_t *taken);
hpt_status hpt__dataset_budgets(const hpt_dataset *ds, uint32_t count, uint64_t *out);     /* hpt_dataset_budgets() */
#endif

/* SPDX-License-Identifier: MIT
 * The parsers as fuzz targets, one function each: bytes in, status out, nothing left behind. hpt's own limits of
 * memory and time are checked for each input, in the fuzzer and when the corpus is played by make check. */
#define _GNU_SOURCE
#include "fuzz/targets.h"
#include "core/alloc.h"
#include "data/image.h"
#include "data/known.h"
#include "eval/truth.h"
#include "heap.h"
#include "io/arrays.h"
#include "io/jsonscan.h"
#include "io/mat.h"
#include "io/statefile.h"
#include "io/tensorfile.h"
#include "io/zip.h"
#include "recipe/recipe.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#if defined __SANITIZE_ADDRESS__ || defined FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { SECONDS = 5 };
#else
enum { SECONDS = 1 };
#endif
#define STOP(...) do { printf(__VA_ARGS__); printf("\n"); fflush(stdout); abort(); } while (0)

/* ---- files: a folder of this process, in memory where the system has such a place ---- */

static char folder[64];
static pid_t owner;
static int remove_one(const char *path, const struct stat *s, int type, struct FTW *f) {
    (void)s, (void)type, (void)f;
    return remove(path);
}
static void remove_folder(void) {
    if (getpid() == owner) nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
/* Bytes under a name in the folder; folders of the name are made. The path is good until the next call but seven. */
static const char *file(const char *name, const void *p, size_t n) {
    static char paths[8][300];
    static int turn;
    if (owner != getpid()) {
        snprintf(folder, sizeof folder, "%s/hpt-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        if (!mkdtemp(folder)) STOP("no temporary folder");
        owner = getpid();
        atexit(remove_folder);
    }
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    for (char *s = path + strlen(folder) + 1; !f && (s = strchr(s, '/')); *s++ = '/') {
        *s = 0;
        mkdir(path, 0777);
    }
    if (!f) f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) STOP("cannot write %s", path);
    return path;
}
static const hpt__options *defaults(void) {
    static hpt__options o;
    static int ready;
    if (!ready++) hpt__options_init(&o, 0);
    return &o;
}

/* ---- one row each ---- */

/* As the options' defaults have it, then with everything that options can ask for. */
static uint64_t image(const uint8_t *p, size_t n) {
    hpt__image_limits lim = {.max_pixels = 1 << 20, .max_bytes = 1 << 22};
    hpt__image_info info;
    hpt__image im;
    unsigned sum = 0;
    uint64_t declared = 0;
    for (int all = 0; all < 2; all++) {
        lim.alpha = all ? HPT__ALPHA_WHITE : HPT__ALPHA_DROP;
        lim.orient = lim.accept_cut = all;
        if (hpt__image_scan(p, n, &lim, &info)) continue;
        declared = 16 * (uint64_t)info.w * (uint64_t)info.h + info.window;
        /* what the two libraries take for the smallest image: tables of up to 1,000 groups of codes; a strip's
         * buffer */
        declared += info.kind == HPT__IMAGE_WEBP ? 12 << 20 : info.kind == HPT__IMAGE_TIFF ? 1 << 20 : 0;
        if (hpt__image_decode(p, n, &lim, &im)) continue;
        for (size_t i = 0; i < (size_t)im.w * (size_t)im.h * 3; i++) sum += im.rgb[i];
        if (sum == 0xffffffffu) abort();      /* every pixel was looked at */
        if (im.cut && !all) STOP("pixels are missing without an error");
        hpt__image_free(&im);
    }
    return declared;
}

static uint64_t tensors(const uint8_t *p, size_t n) {
    hpt__tensorfile f = {0};
    f.file.n = n;
    f.file.p = hpt__alloc(n);
    if (n) memcpy(f.file.p, p, n);
    if (!hpt__tensorfile_parse(&f))
        for (uint32_t i = 0; i < f.n; i++) {
            if (f.t[i].unreadable) continue;
            if (f.t[i].count > 2 * n + 8) STOP("tensor %s is larger than its file allows", f.t[i].name);
            size_t bytes = f.t[i].count * 4 + 4;
            /* outside the heap that is measured */
            float *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (room == MAP_FAILED) STOP("no memory");
            if (hpt__ftensor_read(&f.t[i], room)) STOP("%s", hpt_last_error());
            munmap(room, bytes);
        }
    hpt__tensorfile_close(&f);
    return 0;
}

static uint32_t word(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint64_t idx(const uint8_t *p, size_t n) {
    hpt__array a;
    uint8_t head[20] = {0};
    z_stream s = {.next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n, .next_out = head, .avail_out = sizeof head};
    uint64_t declared = 1;
    if (n && *p != 0x1f) memcpy(head, p, n < sizeof head ? n : sizeof head);
    else if (inflateInit2(&s, 15 + 16) == Z_OK) {
        inflate(&s, Z_SYNC_FLUSH);
        inflateEnd(&s);
    }
    for (int d = 0; d < head[3] && d < 4; d++) declared *= word(head + 4 + 4 * d);
    uint64_t size = n > 4 && *p == 0x1f ? __builtin_bswap32(word(p + n - 4)) : n;
    if (declared + 4 + 4ull * head[3] != size) declared = 0;        /* its own two words differ */
    if (!hpt__idx_parse(p, n, &a)) hpt__array_free(&a);
    return declared;
}
/* Bytes that an array of an npz file declares by its member's size and by its own header; 0 if the two differ. */
static uint64_t npy_bytes(const uint8_t *p, size_t n, const char *name) {
    hpt__zip z;
    uint8_t head[4096] = {0};
    uint64_t declared = 0;
    if (hpt__zip_open(&z, p, n, 1)) return 0;
    const hpt__zip_entry *e = hpt__zip_find(&z, name);
    if (e) {
        size_t got = e->packed < sizeof head - 1 ? (size_t)e->packed : sizeof head - 1;
        z_stream s = {.next_in = (Bytef *)(uintptr_t)(p + e->data), .avail_in = (uInt)e->packed,
                      .next_out = head, .avail_out = sizeof head - 1};
        if (!e->method) memcpy(head, p + e->data, got);
        else if (inflateInit2(&s, -15) == Z_OK) {
            inflate(&s, Z_SYNC_FLUSH);
            inflateEnd(&s);
        }
        uint64_t count = 1, header = 10 + (head[8] | (uint64_t)head[9] << 8);
        char *at = memmem(head, sizeof head, "'shape': (", 10), *end;
        for (at = at ? at + 10 : NULL; at; at = end + strspn(end, " ,")) {
            uint64_t v = strtoull(at, &end, 10);
            if (end == at || __builtin_mul_overflow(count, v, &count)) break;
        }
        if (!count) count = 1;
        if (at && e->size >= header && (e->size - header) % count == 0 && (e->size - header) / count <= 8)
            declared = e->size;
    }
    hpt__zip_close(&z);
    return declared;
}
static uint64_t npz(const uint8_t *p, size_t n) {
    hpt__array a;
    int found;
    uint64_t pixels = npy_bytes(p, n, "images.npy"), labels = npy_bytes(p, n, "labels.npy");
    if (!hpt__npz_parse(p, n, "images", 0, &a, &found)) hpt__array_free(&a);
    if (!hpt__npz_parse(p, n, "labels", 1, &a, &found)) hpt__array_free(&a);
    return pixels + 9 * labels;               /* labels of any width become 8 bytes */
}
static uint64_t mat(const uint8_t *p, size_t n) {
    double *v;
    uint64_t count;
    if (hpt__mat_parse(p, n, "labels", &v, &count)) return 0;
    if (!count || count > 1 << 20) STOP("%llu values", (unsigned long long)count);
    hpt__free(v);
    return 16 * count;
}
static uint64_t json(const uint8_t *p, size_t n) {
    hpt__jscan s;
    hpt__jtoken t;
    size_t tokens = 0;
    hpt__jscan_memory(&s, p, n);
    while ((t = hpt__jscan_next(&s)) != HPT__J_ERROR && t != HPT__J_END)
        if (++tokens > n) STOP("more tokens than bytes");
    hpt__jscan_memory(&s, p, n);
    if (hpt__jscan_skip(&s) && hpt__jscan_at(&s) > n) STOP("read past the end");
    return 0;
}

/* An image that a line names costs a path, an entry, and what the arrays of both grow by. */
static uint64_t named(const uint8_t *p, size_t n) {
    uint64_t lines = 1;
    for (size_t i = 0; i < n; i++) lines += p[i] == '\n' || p[i] == '}';
    return lines * 160;
}
/* A list, and the same as CSV. Its images: a.png beside it. */
static uint64_t list_file(const char *name, const uint8_t *p, size_t n) {
    hpt__source *s;
    file("a.png", "", 0);
    if (hpt__source_open(defaults(), file(name, p, n), &s)) return named(p, n);
    if (!s->n || (s->label && !s->classes)) STOP("a list of nothing");
    hpt__source_release(s);
    return named(p, n);
}
static uint64_t list(const uint8_t *p, size_t n) { return list_file("list.txt", p, n); }
static uint64_t csv(const uint8_t *p, size_t n) { return list_file("list.csv", p, n); }

/* An annotation file of a known set; its image is there. */
static void known_set(const char *set, const char *split) {
    hpt__known k;
    hpt__source *s;
    if (hpt__known_find(set, &k)) STOP("no set %s", set);
    if (!hpt__known_open(&k, defaults(), folder, split, &s)) hpt__source_release(s);
}
static uint64_t voc(const uint8_t *p, size_t n) {
    file("VOC2007/ImageSets/Main/test.txt", "a\n", 2);
    file("VOC2007/JPEGImages/a.jpg", "", 0);
    file("VOC2007/Annotations/a.xml", p, n);
    known_set("pascal", "test");
    return 0;
}
static uint64_t voc_list(const uint8_t *p, size_t n) {
    static const char xml[] = "<annotation><object><name>cat</name></object></annotation>";
    file("VOC2007/Annotations/a.xml", xml, sizeof xml - 1);
    file("VOC2007/JPEGImages/a.jpg", "", 0);
    file("VOC2007/ImageSets/Main/test.txt", p, n);
    known_set("pascal", "test");
    return named(p, n);
}
static uint64_t coco(const uint8_t *p, size_t n) {
    file("train2014/a.jpg", "", 0);
    file("annotations/instances_train2014.json", p, n);
    known_set("coco_2014", "train");
    return named(p, n);
}
static uint64_t bdd(const uint8_t *p, size_t n) {
    file("images/100k/val/a.jpg", "", 0);
    file("labels/bdd100k_labels_images_val.json", p, n);
    known_set("bdd", "test");
    return named(p, n);
}
static uint64_t chexpert(const uint8_t *p, size_t n) {
    file("a.jpg", "", 0);
    file("valid.csv", p, n);
    known_set("chexpert", "test");
    return named(p, n);
}
/* Its folders are not opened: they may name the whole disk. */
static uint64_t descriptor(const uint8_t *p, size_t n) {
    hpt__known k;
    hpt__known_find(file("own.ini", p, n), &k);
    return 0;
}
static uint64_t recipe(const uint8_t *p, size_t n) {
    hpt_recipe *r;
    if (hpt_recipe_open(NULL, file("recipe.ini", p, n), NULL, &r)) return 0;
    hpt__recipe_expand(r);
    hpt_recipe_destroy(r);
    return 0;
}
static uint64_t state(const uint8_t *p, size_t n) {
    uint8_t a[8], b[16];
    const hpt__state_part part[2] = {{a, sizeof a}, {b, sizeof b}};
    char *text;
    if (!hpt__state_load(file("work", p, n), 1, &text, part, 2)) hpt__free(text);
    return 0;
}

/* ---- boxes and masks to be scored: truth, a new line, results ---- */

static uint64_t boxes(const uint8_t *p, size_t n) {
    const uint8_t *line = memchr(p, '\n', n);
    size_t first = line ? (size_t)(line - p) : n, numbers = 1, objects = 1;
    char truth[300], found[300];
    uint64_t most = 0;
    for (size_t i = 0; i < n; i++) {
        numbers += p[i] == ',' || p[i] == '[';
        objects += p[i] == '{';
    }
    snprintf(truth, sizeof truth, "%s", file("truth.json", p, first));
    snprintf(found, sizeof found, "%s", file("found.json", line ? line + 1 : p, line ? n - first - 1 : 0));
    for (int masks = 0; masks < 2; masks++) {
        hpt__marks t, f;
        if (hpt__truth_read(truth, masks, &t)) continue;
        if (!hpt__found_read(found, &t, masks, &f)) {
            hpt__marked both = {&t, &f, 0};
            hpt__scenes scenes = hpt__marked_scenes(&both);
            hpt__ap_settings s = {.classes = (uint32_t)t.class_count, .masks = masks, .threads = 1};
            hpt__ap ap;
            if (hpt__ap_compute(&s, &scenes, NULL, &ap)) STOP("%s", hpt_last_error());
            hpt__ap_free(&ap);
            most = 100000 * t.class_count + (32 << 20) + 8000 * numbers;     /* curves, columns that polygons cross */
            hpt__marks_free(&f);
        }
        hpt__marks_free(&t);
    }
    return most + 40 * numbers + 600 * objects;
}

static uint64_t truth(const char *path, const uint8_t *p, size_t n) {
    uint64_t lines = 1;
    hpt__marks t;
    for (size_t i = 0; i < n; i++) lines += p[i] == '\n' || p[i] == '\r' || p[i] == '>';
    if (!hpt__truth_read(path, 0, &t)) hpt__marks_free(&t);
    return 600 * lines;
}
static uint64_t truth_voc(const uint8_t *p, size_t n) {
    file("xml/Annotations/a.xml", p, n);
    return truth(file("xml/ImageSets/Main/l.txt", "a\n", 2), p, n);
}
static uint64_t truth_csv(const uint8_t *p, size_t n) { return truth(file("truth.csv", p, n), p, n); }

/* ---- checkpoints as models and runs go on from them ---- */

static hpt_config *small(void) {
    static hpt_config *c;
    static const char *const pairs[][2] = {
        {"backend", "reference"}, {"threads", "1"}, {"arch", "resnet10"}, {"width", "16"}, {"stem", "small"},
            {"moco_dim", "8"},
        {"moco_k", "16"}, {"image_size", "8"}, {"batch_size", "2"}, {"bn_group", "2"}, {"steps", "9"},
        {"precision", "fp32"},
        {"pixel_mean", "0,0,0"}, {"pixel_std", "1,1,1"}};
    if (!c && hpt_config_create(NULL, &c)) STOP("%s", hpt_last_error());
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (hpt_config_set(c, pairs[i][0], pairs[i][1])) STOP("%s", hpt_last_error());
    return c;
}
static hpt_context *context(void) {
    static hpt_context *ctx;
    if (!ctx && hpt_context_create(small(), &ctx)) STOP("%s", hpt_last_error());
    return ctx;
}
static uint64_t model(const uint8_t *p, size_t n) {
    hpt_result *info, *report = NULL;
    hpt_model *m;
    const char *path = file("model.pth", p, n);
    uint64_t mine = 0;
    if (!hpt_file_info(path, &info)) {
        size_t bytes = 0;
        if (hpt_result_json(info, NULL, 0, &bytes)) STOP("%s", hpt_last_error());
        mine = 16 * bytes;                      /* the caller's text and the tree behind it */
        hpt_result_destroy(info);
    }
    if (!hpt_model_load(context(), small(), path, &m, &report)) hpt_model_destroy(m);
    hpt_result_destroy(report);
    return mine + (4 << 20);                    /* the network that the options name */
}
static uint64_t resume(const uint8_t *p, size_t n) {
    static hpt_model *m;
    static hpt_session *s;
    if (!m && hpt_model_create(context(), small(), &m)) STOP("%s", hpt_last_error());
    if (!s && hpt_session_create(context(), small(), m, NULL, &s)) STOP("%s", hpt_last_error());
    if (!hpt_session_resume(s, file("last.pth.tar", p, n))) {       /* a session resumes once */
        hpt_session_destroy(s);
        s = NULL;
    }
    return 32 << 20;                            /* the session's own arrays */
}

const fuzz_target fuzz_targets[] = {
    {"image", image}, {"torch", tensors}, {"safetensors", tensors}, {"idx", idx}, {"npz", npz}, {"mat", mat},
        {"json", json},
    {"list", list}, {"csv", csv}, {"voc", voc}, {"voc_list", voc_list}, {"coco", coco}, {"bdd", bdd},
    {"chexpert", chexpert}, {"descriptor", descriptor}, {"recipe", recipe}, {"state", state}, {"model", model},
    {"resume", resume}, {"boxes", boxes}, {"truth_voc", truth_voc},
    {"truth_csv", truth_csv}, {NULL, NULL}};

const fuzz_target *fuzz_find(const char *name) {
    for (const fuzz_target *t = fuzz_targets; t->name; t++)
        if (!strcmp(t->name, name)) return t;
    return NULL;
}
static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
const char *fuzz_measure(const fuzz_target *t, const char *name, const uint8_t *p, size_t n) {
    static char line[300];
    double begin = cpu_seconds(), megabytes = n > 1000000 ? (double)n / 1e6 : 1;
    heap_begin();
    uint64_t declared = t->run(p, n), peak = heap_peak(), allowed = 4 * (uint64_t)n + declared + (1 << 20);
    double took = cpu_seconds() - begin;
    if (took <= SECONDS * megabytes && peak <= allowed) return NULL;
    snprintf(line, sizeof line,
             "%s: %s: an input of %zu bytes took %.1f s and %llu bytes of memory, of %llu that it may", t->name, name,
             n, took, (unsigned long long)peak, (unsigned long long)allowed);
    return line;
}

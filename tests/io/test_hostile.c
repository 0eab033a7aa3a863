/* SPDX-License-Identifier: MIT
 * Small files that once cost much: each is made here and goes through its parser under the limits of fuzz/targets.h
 * (memory by the heap's peak, time by the processor's clock). Then what is no regular file, and folders without end. */
#define _GNU_SOURCE
#include "fuzz/targets.h"
#include "heap.h"
#include "support.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

typedef struct blob { uint8_t *p; size_t n, cap; } blob;
static void put(blob *b, const void *p, size_t n) {
    if (b->n + n > b->cap) b->p = realloc(b->p, b->cap = (b->cap + n) * 2);
    CHECK(b->p || !n);
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void text(blob *b, const char *s) { put(b, s, strlen(s)); }
static void times(blob *b, const char *s, size_t n) { for (size_t i = 0; i < n; i++) text(b, s); }
static void little(blob *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) put(b, &(uint8_t){(uint8_t)(i < 8 ? v >> 8 * i : 0)}, 1);
}
static void big(blob *b, uint32_t v) { for (int i = 3; i >= 0; i--) put(b, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1); }

/* Each input of a test is tried; ended() fails it if one passed a limit. */
static int passed_limits;
static void within(const char *target, const char *name, blob *b) {
    const char *line = fuzz_measure(fuzz_find(target), name, b->p, b->n);
    if (line) printf("%s\n", line), passed_limits++;
    free(b->p);
    *b = (blob){0};
}

static void ended(void) {
    if (passed_limits) FAIL("%d inputs cost too much", passed_limits);
}

/* A raw deflate stream of head, then zeros MiB of zeros (one MiB is packed once, and repeated), with its sums. */
typedef struct packed { blob raw; uint64_t size; uint32_t crc, adler; } packed;
static packed pack(const void *head, size_t n, size_t zeros) {
    enum { MIB = 1 << 20 };
    packed k = {.size = n + zeros * MIB};
    k.crc = (uint32_t)crc32(0, head, (uInt)n);
    k.adler = (uint32_t)adler32(1, head, (uInt)n);
    uint8_t *zero = calloc(1, MIB), out[8192];
    z_stream s = {0};
    CHECK(zero && deflateInit2(&s, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK);
    uint32_t crc = (uint32_t)crc32(0, zero, MIB), adler = (uint32_t)adler32(1, zero, MIB);
    for (int part = 0; part < 3; part++) {
        s.next_in = part == 0 ? (Bytef *)(uintptr_t)head : zero;
        s.avail_in = part == 0 ? (uInt)n : part == 1 && zeros ? MIB : 0;
        size_t begin = k.raw.n;
        int r;
        do {
            s.next_out = out;
            s.avail_out = sizeof out;
            r = deflate(&s, part == 2 ? Z_FINISH : Z_FULL_FLUSH);
            CHECK(r >= 0 || r == Z_BUF_ERROR);
            put(&k.raw, out, sizeof out - s.avail_out);
        } while (s.avail_out == 0);
        if (part != 1) continue;
        uint8_t *block = malloc(k.raw.n - begin + 1);
        size_t bytes = k.raw.n - begin;
        memcpy(block, k.raw.p + begin, bytes);
        for (size_t i = 0; i < zeros; i++) {
            if (i) put(&k.raw, block, bytes);
            k.crc = (uint32_t)crc32_combine(k.crc, crc, MIB);
            k.adler = (uint32_t)adler32_combine(k.adler, adler, MIB);
        }
        free(block);
    }
    deflateEnd(&s);
    free(zero);
    return k;
}
static void zlib_stream(blob *b, const void *head, size_t n, size_t zeros) {
    packed k = pack(head, n, zeros);
    put(b, "\x78\x9c", 2);
    put(b, k.raw.p, k.raw.n);
    big(b, k.adler);
    free(k.raw.p);
}

/* ---- images ---- */

static void chunk(blob *b, const char *kind, const blob *data) {
    big(b, (uint32_t)data->n);
    size_t at = b->n;
    text(b, kind);
    put(b, data->p, data->n);
    big(b, (uint32_t)crc32(0, b->p + at, (uInt)(b->n - at)));
}
/* A PNG of 10 x 10; text: chunks of that kind, each of zeros MiB; surplus: MiB of zeros behind the pixels. */
static blob png(const char *kind, size_t chunks, size_t zeros, size_t surplus, int behind) {
    blob b = {0}, head = {0}, note = {0}, pixels = {0}, none = {0};
    uint8_t raw[10 * 31] = {0};
    put(&b, "\x89PNG\r\n\x1a\n", 8);
    big(&head, 10);
    big(&head, 10);
    put(&head, "\10\2\0\0\0", 5);
    chunk(&b, "IHDR", &head);
    put(&note, "key\0\0", 5);
    if (*kind == 'i') {             /* iTXt: keyword, packed, method, language, keyword again */
        note.n = 0;
        put(&note, "key\0\1\0\0\0", 8);
    }
    zlib_stream(&note, "", 0, zeros);
    zlib_stream(&pixels, raw, sizeof raw, surplus);
    for (size_t i = 0; i < chunks && !behind; i++) chunk(&b, kind, &note);
    chunk(&b, "IDAT", &pixels);
    for (size_t i = 0; i < chunks && behind; i++) chunk(&b, kind, &note);
    chunk(&b, "IEND", &none);
    free(head.p);
    free(note.p);
    free(pixels.p);
    return b;
}
TEST(costly_png) {
    static const char *const kinds[] = {"zTXt", "iTXt", "iCCP"};
    for (int k = 0; k < 3; k++)
        for (int behind = 0; behind < 2; behind++) {
            blob b = png(kinds[k], 128, 8, 0, behind);
            within("image", kinds[k], &b);
        }
    blob b = png("zTXt", 0, 0, 1024, 0);
    within("image", "surplus of one GiB", &b);
    ended();
}
/* A TIFF of one pixel with tags that all point at one table of count values. */
static blob tiff(int tag, size_t tags, uint32_t count, uint16_t value) {
    blob b = {0};
    size_t table = 8 + 2 + 12 * (tags + 9) + 4;
    text(&b, "II*");
    little(&b, 0, 1);
    little(&b, 8, 4);
    little(&b, tags + 9, 2);
    const uint32_t one[9][3] = {{256, 3, 1}, {257, 3, 1}, {258, 3, 8}, {259, 3, 1}, {262, 3, 1},
                                {273, 4, (uint32_t)table},
                                {277, 3, 1}, {278, 3, 1}, {279, 4, 1}};
    for (int i = 0; i < 9; i++) {
        for (size_t k = 0; (int)one[i][0] == tag && k < tags; k++) {
            little(&b, (uint64_t)tag, 2);
            little(&b, 3, 2);
            little(&b, count, 4);
            little(&b, table, 4);
        }
        little(&b, one[i][0], 2);
        little(&b, one[i][1], 2);
        little(&b, 1, 4);
        little(&b, one[i][2], 4);
    }
    little(&b, 0, 4);
    for (uint32_t i = 0; i < count; i++) little(&b, value, 2);
    return b;
}
TEST(costly_tiff) {
    static const int tags[] = {258, 273, 279};
    for (int i = 0; i < 3; i++) {
        blob b = tiff(tags[i], 30000, 344000, 8);
        within("image", "30,000 tags that point at one table", &b);
        b = tiff(tags[i], 1, 500000, 8);
        within("image", "one tag with half a million values", &b);
    }
    blob b = {0};                   /* folders of tags in a circle, and a long chain of them */
    put(&b, "II*\0\10\0\0\0\1\0\0\1\3\0\1\0\0\0\1\0\0\0\10\0\0\0", 26);
    within("image", "a folder that follows itself", &b);
    put(&b, "II*\0\10\0\0\0", 8);
    for (uint32_t i = 0; i < 60000; i++) {
        put(&b, "\1\0\0\1\3\0\1\0\0\0\1\0\0\0", 14);
        little(&b, 8 + 18 * (i + 1), 4);
    }
    within("image", "60,000 folders", &b);
    ended();
}
/* A progressive JPEG of 1000 x 1000 with empty scans. */
TEST(costly_jpeg) {
    blob b = {0};
    put(&b, "\xff\xd8\xff\xdb\0\x43\0", 7);
    times(&b, "\1", 64);
    put(&b, "\xff\xc2\0\x0b\10\3\xe8\3\xe8\1\1\x11\0\xff\xc4\0\x14\0\1", 19);
    put(&b, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    for (int i = 0; i < 50000; i++) put(&b, "\xff\xda\0\10\1\1\0\0\0\0", 10);
    put(&b, "\xff\xd9", 2);
    within("image", "50,000 scans", &b);
    put(&b, "\xff\xd8", 2);
    for (int i = 0; i < 250000; i++) put(&b, "\xff\xfe\0\2", 4);
    within("image", "250,000 comments", &b);
    ended();
}
TEST(costly_pnm) {
    blob b = {0};
    text(&b, "P2 ");
    for (int i = 0; i < 100000; i++) text(&b, "#a\n#bcdef\n");
    text(&b, "1 1 255 7 ");
    within("image", "comments", &b);
    text(&b, "P3 500 500 255 ");
    times(&b, "0000000000000000000000000000000000000000000000000000000000000009 ", 15000);
    within("image", "long numbers", &b);
    text(&b, "P1 1000 1000 ");
    times(&b, "1", 999999);
    within("image", "one dot too few", &b);
    ended();
}

/* ---- checkpoints ---- */

typedef struct member { const char *name; const blob *data; const packed *deflated; } member;
static void zip_header(blob *b, const member *m, int central, size_t at) {
    uint64_t size = m->deflated ? m->deflated->size : m->data->n;
    uint64_t packed_size = m->deflated ? m->deflated->raw.n : m->data->n;
    uint32_t crc = m->deflated ? m->deflated->crc : (uint32_t)crc32(0, m->data->p, (uInt)m->data->n);
    text(b, central ? "PK\1\2" : "PK\3\4");
    if (central) little(b, 20, 2);
    little(b, 20, 2);
    little(b, 0, 2);
    little(b, m->deflated ? 8 : 0, 2);
    little(b, 0x21 << 16, 4);
    little(b, crc, 4);
    little(b, packed_size, 4);
    little(b, size, 4);
    little(b, strlen(m->name), 2);
    little(b, 0, 2);
    if (central) {
        little(b, 0, 10);
        little(b, at, 4);
    }
    text(b, m->name);
}
static blob zip(const member *m, size_t n) {
    blob b = {0}, dir = {0};
    for (size_t i = 0; i < n; i++) {
        zip_header(&dir, &m[i], 1, b.n);
        zip_header(&b, &m[i], 0, 0);
        if (m[i].deflated) put(&b, m[i].deflated->raw.p, m[i].deflated->raw.n);
        else put(&b, m[i].data->p, m[i].data->n);
    }
    size_t at = b.n;
    put(&b, dir.p, dir.n);
    text(&b, "PK\5\6");
    little(&b, 0, 4);
    little(&b, n, 2);
    little(&b, n, 2);
    little(&b, dir.n, 4);
    little(&b, at, 4);
    little(&b, 0, 2);
    free(dir.p);
    return b;
}
/* A checkpoint of a pickle, and of a storage of n zeros. Frees both. */
static void checkpoint(const char *name, blob *pickle, size_t n) {
    blob zeros = {calloc(n + 1, 1), n, 0};
    uint8_t three[2] = "3\n";
    const member m[] = {{"a/data.pkl", pickle, NULL}, {"a/data/0", &zeros, NULL},
                        {"a/version", &(blob){three, 2, 0}, NULL}};
    blob b = zip(m, 3);
    blob copy = b;
    copy.p = malloc(b.n);
    memcpy(copy.p, b.p, b.n);
    within("model", name, &copy);
    within("torch", name, &b);
    free(pickle->p);
    free(zeros.p);
    *pickle = (blob){0};
}
TEST(costly_pickle) {
    static const struct { const char *name, *piece; size_t n; } of[] = {
        {"lists", "]", 1000000}, {"more lists", "]", 8000000}, {"dictionaries", "}", 1000000},
            {"more dictionaries", "}", 8000000},
        {"empty tuples", ")", 8000000}, {"nothings", "N", 8000000}, {"marks", "(", 1000000},
        {"lists of lists", "]a", 500000},
        {"small numbers", "K\1", 4000000}, {"floats", "G12345678", 800000}, {"sets", "\x8f", 8000000},
        {"short texts", "U\1a", 2500000}, {"objects", "cA\nB\n)R", 1000000}, {"objects made", "cA\nB\n)\x81", 1000000},
        {"tuples in tuples", "\x85", 8000000}, {"lists read again", "]q\1h\1", 1500000}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        blob b = {0};
        put(&b, "\x80\2]", 3);
        times(&b, of[i].piece, of[i].n);
        text(&b, ".");
        checkpoint(of[i].name, &b, 0);
    }
    blob b = {0};
    put(&b, "\x80\2", 2);
    for (uint32_t i = 0; i < 160000; i++) {         /* keys that fall into one place of a table of 2^13, 2^16, ... */
        put(&b, "Nr", 2);
        little(&b, (uint64_t)i << 13, 4);
        put(&b, "0", 1);
    }
    put(&b, "N.", 2);
    checkpoint("numbers of the memo", &b, 0);
    put(&b, "\x80\2]q\0", 5);                       /* a list that holds the one before twice: 2^40 values */
    for (int i = 0; i < 40; i++) {
        put(&b, "]q", 2);
        little(&b, (uint64_t)i + 1, 1);
        put(&b, "h", 1);
        little(&b, (uint64_t)i, 1);
        put(&b, "ah", 2);
        little(&b, (uint64_t)i, 1);
        put(&b, "a", 1);
    }
    text(&b, ".");
    checkpoint("doubling lists", &b, 0);
    put(&b, "\x80\2}q\0", 5);                       /* the same with dictionaries */
    for (int i = 0; i < 40; i++) {
        put(&b, "}q", 2);
        little(&b, (uint64_t)i + 1, 1);
        for (int k = 0; k < 2; k++) {
            put(&b, k ? "U\1bh" : "U\1ah", 4);
            little(&b, (uint64_t)i, 1);
            put(&b, "s", 1);
        }
    }
    text(&b, ".");
    checkpoint("doubling dictionaries", &b, 0);
    ended();
}
TEST(costly_tensors) {
    blob b = {0};
    static const char args[] = "\x80\2ctorch._utils\n_rebuild_tensor_v2\nq\0((X\7\0\0\0storagectorch\nFloatStorage\n"
                               "X\1\0\0\0" "0X\3\0\0\0cpuJ\xf0\x49\2\0tQK\0K\1\x85K\1\x85\x89Ntq\1" "00}(";
    put(&b, args, sizeof args - 1);
    for (int i = 0; i < 30000; i++) {
        char key[16];
        put(&b, "X\5\0\0\0", 5);
        snprintf(key, sizeof key, "%05d", i);
        put(&b, key, 5);
        put(&b, "h\0h\1R", 5);
    }
    put(&b, "u.", 2);
    checkpoint("30,000 tensors on one storage", &b, 600000);
    ended();
}
static void safetensors(const char *name, const char *before, const char *piece, size_t n, const char *behind) {
    blob b = {0}, head = {0};
    text(&head, before);
    times(&head, piece, n);
    text(&head, behind);
    little(&b, head.n, 8);
    put(&b, head.p, head.n);
    free(head.p);
    within("safetensors", name, &b);
}
TEST(costly_safetensors) {
    safetensors("empty objects", "{\"a\":[{}", ",{}", 5500000, "]}");
    safetensors("zeros", "{\"a\":[0", ",0", 8000000, "]}");
    safetensors("deep", "{\"a\":", "[", 16000000, "");
    safetensors("notes", "{\"__metadata__\":{\"a\":\"", "x", 16000000, "\"}}");
    safetensors("a long name", "{\"", "x", 1000000, "\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,0]}}");
    safetensors("a shape whose product passes 2^63",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904,4611686018427387904],\"data_offsets\":[0,0"
                "]}}", "", 0, "");
    blob b = {0}, head = {0};
    text(&head, "{");
    for (int i = 0; i < 16000; i++) {
        char item[100];
        snprintf(item, sizeof item, "%s\"%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "",
                 i);
        text(&head, item);
    }
    text(&head, "}");
    little(&b, head.n, 8);
    put(&b, head.p, head.n);
    free(head.p);
    within("safetensors", "16,000 tensors of nothing", &b);
    ended();
}

/* ---- arrays ---- */

static blob npy_header(const char *shape) {
    blob b = {0};
    char line[118];
    snprintf(line, sizeof line, "{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }", shape);
    put(&b, "\x93NUMPY\1\0\x76\0", 10);
    memset(line + strlen(line), ' ', sizeof line - strlen(line));
    line[117] = '\n';
    put(&b, line, sizeof line);
    return b;
}
static void npz(const char *name, const blob *head, size_t zeros, int cut) {
    packed k = pack(head->p, head->n, zeros);
    if (cut) k.raw.n /= 2;
    blob b = zip(&(member){"images.npy", NULL, &k}, 1);
    within("npz", name, &b);
    free(k.raw.p);
}
TEST(costly_npz) {
    blob lie = npy_header("1, 4, 4"), none = {calloc(1, 128), 128, 0}, objects = npy_header("1, 4, 4");
    blob honest = npy_header("128, 1024, 1024"), far = npy_header("1048576, 1024, 1024");
    memcpy(objects.p + 22, "O', ", 4);
    npz("one GiB under a small header", &lie, 1024, 0);
    npz("one GiB without a header", &none, 1024, 0);
    npz("one GiB of objects", &objects, 1024, 0);
    npz("a shape far beyond the data", &far, 1024, 0);
    npz("an honest array", &honest, 128, 0);
    npz("an honest array, cut", &honest, 128, 1);
    blob b = {0};
    const member two[] = {{"images.npy", &honest, NULL}, {"labels.npy", &lie, NULL}};
    b = zip(two, 2);
    within("npz", "headers without data", &b);
    free(lie.p);
    free(none.p);
    free(objects.p);
    free(honest.p);
    free(far.p);
    ended();
}
TEST(costly_mat) {
    blob b = {0}, element = {0};
    uint8_t small[16] = {14, 0, 0, 0, 8};
    zlib_stream(&element, small, sizeof small, 1);
    char head[128] = "MATLAB 5.0 MAT-file";
    memcpy(head + 124, "\0\1IM", 4);
    put(&b, head, sizeof head);
    while (b.n < 1050000) {
        little(&b, 15, 4);
        little(&b, element.n < 85 ? element.n : 85, 4);
        put(&b, element.p, element.n < 85 ? element.n : 85);
    }
    free(element.p);
    element = (blob){0};
    within("mat", "12,000 packed elements", &b);
    put(&b, head, sizeof head);
    zlib_stream(&element, small, sizeof small, 60);
    little(&b, 15, 4);
    little(&b, element.n, 4);
    put(&b, element.p, element.n);
    free(element.p);
    within("mat", "one packed element of 60 MiB", &b);
    ended();
}
TEST(costly_idx) {
    static const uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, 64, 0, 0, 4, 0, 0, 0, 4, 0};
    for (int lie = 0; lie < 2; lie++) {
        packed k = pack(head, sizeof head, lie ? 1024 : 64);
        blob b = {0};
        put(&b, "\x1f\x8b\10\0\0\0\0\0\0\3", 10);
        put(&b, k.raw.p, k.raw.n);
        little(&b, k.crc, 4);
        little(&b, lie ? 64 * 1048576 + 16 : k.size, 4);
        within("idx", lie ? "one GiB that calls itself 64 MiB" : "an honest array", &b);
        free(k.raw.p);
    }
    ended();
}

/* ---- text ---- */

TEST(costly_recipe) {
    blob b = {0};
    text(&b, "[recipe]\nname = x\n");
    for (int i = 0; i < 40000; i++) {
        char line[40];
        snprintf(line, sizeof line, "[data a%d]\npath = x\n", i);
        text(&b, line);
    }
    within("recipe", "40,000 sections", &b);
    text(&b, "[template t]\n");
    for (int i = 0; i < 80000; i++) {
        char line[40];
        snprintf(line, sizeof line, "k%d = x\n", i);
        text(&b, line);
    }
    within("recipe", "80,000 keys", &b);
    text(&b, "[data d]\npath = x\n");
    times(&b, " y\n", 330000);
    within("recipe", "330,000 lines of one value", &b);
    text(&b, "[data d]\npath = x\nsweep.per_class = 1");
    times(&b, ",\n 1", 240000);
    within("recipe", "a sweep over 240,000 values", &b);
    text(&b, "[recipe]\nseeds = 1\n[data d0]\npath = x\n");
    for (int i = 0; i < 12; i++) {
        char line[80];
        snprintf(line, sizeof line, "[data d%d]\nfrom = d%d\nsweep.per_class = 1,2,3,4,5,6,7,8,9,10\n", i + 1, i);
        text(&b, line);
    }
    within("recipe", "sweeps that multiply", &b);
    times(&b, "[", 1000000);
    within("recipe", "one long line", &b);
    text(&b, "[recipe]\n");
    times(&b, "include = recipe.ini\n", 20);
    within("recipe", "a file that includes itself twenty times", &b);
    text(&b, "[recipe]\nseeds = 1");
    times(&b, ",\n 1", 240000);
    within("recipe", "240,000 seeds", &b);
    for (int i = 0; i < 20000; i++) {
        char line[60];
        snprintf(line, sizeof line, "[template t%d]\nlike = t%d\n", i, i + 1);
        text(&b, line);
    }
    within("recipe", "templates in a row", &b);
    text(&b, "[template t]\npath = ");
    times(&b, "x", 10000);
    for (int i = 0; i < 1000; i++) {
        char line[60];
        snprintf(line, sizeof line, "\n[data d%d]\nlike = t", i);
        text(&b, line);
    }
    within("recipe", "a long line that 1,000 sections share", &b);
    text(&b, "[recipe]\n= x\n");
    within("recipe", "a line without a key", &b);
    ended();
}
TEST(costly_lists) {
    static const char *const readers[] = {"list", "csv"};
    for (int i = 0; i < 2; i++) {
        blob b = {0};
        text(&b, "a.png,0");
        times(&b, ",1", 500000);
        text(&b, "\n");
        within(readers[i], "a line of 500,000 columns", &b);
        text(&b, "a.png");
        times(&b, ",", 1000000);
        within(readers[i], "a million commas", &b);
        times(&b, "\n", 1000000);
        within(readers[i], "a million empty lines", &b);
        times(&b, "a.png 0\n", 100000);
        within(readers[i], "100,000 lines", &b);
        text(&b, "a.png 999999\n");
        within(readers[i], "one large label", &b);
        times(&b, "\"", 1000000);
        within(readers[i], "a million quotes", &b);
        for (int k = 0; k < 60000; k++) {
            char line[40];
            snprintf(line, sizeof line, "a.png,class%d\n", k);
            text(&b, line);
        }
        within(readers[i], "60,000 classes of one image", &b);
    }
    ended();
}
TEST(costly_annotations) {
    blob b = {0};
    text(&b, "<annotation>");
    times(&b, "<!--", 250000);
    within("voc", "comments that do not end", &b);
    times(&b, "<object><name>cat</name></object>", 30000);
    within("voc", "30,000 objects", &b);
    times(&b, "<a>", 300000);
    within("voc", "nested tags", &b);
    times(&b, "<", 1000000);
    within("voc", "brackets", &b);
    times(&b, "a\n", 10000);
    within("voc_list", "one name 10,000 times", &b);
    text(&b, "{\"categories\":[{\"id\":1,\"name\":\"a\"}],\"images\":[{\"id\":0,\"file_name\":\"a.jpg\"}");
    for (int i = 1; i < 20000; i++) {
        char item[60];
        snprintf(item, sizeof item, ",{\"id\":%d,\"file_name\":\"a.jpg\"}", i);
        text(&b, item);
    }
    text(&b, "],\"annotations\":[]}");
    within("coco", "20,000 images", &b);
    text(&b, "{\"info\":");
    times(&b, "[", 1000000);
    within("coco", "deep", &b);
    text(&b, "Path,Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion");
    times(&b, ",x", 400000);
    text(&b, "\n");
    within("chexpert", "a wide first line", &b);
    text(&b, "[dataset]\ntrain = a\n");
    times(&b, "title = a\n", 100000);
    within("descriptor", "100,000 lines", &b);
    ended();
}

/* ---- what is no regular file, and folders without end ---- */

static double cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void refuses(hpt_context *ctx, const char *path) {
    hpt_dataset *ds;
    hpt_model *m;
    hpt_result *r;
    hpt_recipe *recipe;
    uint8_t pixels[3 * 8 * 8];
    hpt_status st = hpt_dataset_open(ctx, NULL, path, &ds);
    if (!st) {
        st = hpt_dataset_image(ds, NULL, 0, 8, pixels);
        hpt_dataset_destroy(ds);
    }
    if (st >= 0) FAIL("%s opens as a data set", path);
    CHECK(hpt_model_load(ctx, NULL, path, &m, NULL) < 0 && *hpt_last_error());
    CHECK(hpt_file_info(path, &r) < 0 && *hpt_last_error());
    CHECK(hpt_recipe_open(NULL, path, NULL, &recipe) < 0 && *hpt_last_error());
    CHECK(hpt_dataset_named(ctx, NULL, path, NULL, "train", &ds) < 0 && *hpt_last_error());
}
TEST_LIMIT(no_regular_files, 30) {
    static const char *const names[] = {"x.png", "x.txt", "x.csv", "x.npz", "x.pth", "x.ini", "x-images-idx3-ubyte",
                                        "x.idx.gz", "x.safetensors", "x.webp", "x.tif"};
    hpt_context *ctx = context("reference", 1);
    char *dir = temp_dir(), path[300], target[300];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        CHECK(!mkfifo(path, 0600));
        refuses(ctx, path);
        snprintf(target, sizeof target, "%s", path);
        snprintf(path, sizeof path, "%s/link-%s", dir, names[i]);
        CHECK(!symlink(target, path));
        refuses(ctx, path);
        snprintf(path, sizeof path, "%s/zero-%s", dir, names[i]);
        CHECK(!symlink("/dev/zero", path));
        refuses(ctx, path);
        snprintf(path, sizeof path, "%s/terminal-%s", dir, names[i]);
        CHECK(!symlink("/dev/ptmx", path));
        refuses(ctx, path);
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        snprintf(at.sun_path, sizeof at.sun_path, "%s/s-%s", dir, names[i]);
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(s >= 0 && !bind(s, (struct sockaddr *)&at, sizeof at));
        refuses(ctx, at.sun_path);
        close(s);
    }
    /* named by a list that does not look, and inside a folder */
    snprintf(path, sizeof path, "%s/list.txt", dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "x.png\n");
    fclose(f);
    hpt_config *c = config("list_check=0");
    hpt_dataset *ds;
    uint8_t pixels[3 * 8 * 8];
    hpt_status st = hpt_dataset_open(ctx, c, path, &ds);
    if (!st) st = hpt_dataset_image(ds, c, 0, 8, pixels);
    CHECK(st < 0);
    CHECK(hpt_dataset_open(ctx, NULL, dir, &ds) < 0);
    CHECK(cpu() < 5);
}
TEST_LIMIT(folders_without_end, 60) {
    hpt_context *ctx = context("reference", 1);
    hpt_dataset *ds;
    char *dir = temp_dir(), path[400], other[400];
    snprintf(path, sizeof path, "%s/train", dir);
    mkdir(path, 0777);
    for (int c = 0; c < 2; c++) {
        snprintf(path, sizeof path, "%s/train/%c", dir, 'a' + c);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/train/%c/0.ppm", dir, 'a' + c);
        FILE *f = fopen(path, "wb");
        fprintf(f, "P6 1 1 255\nabc");
        fclose(f);
        for (int i = 0; i < 3; i++) {           /* to itself, to the other, to the parent */
            static const char *const to[] = {".", "../a", ".."};
            for (int k = 0; k < 2; k++) {
                snprintf(other, sizeof other, "%s/train/%c/l%d%d", dir, 'a' + c, i, k);
                CHECK(!symlink(to[i], other));
            }
        }
    }
    snprintf(path, sizeof path, "%s/train", dir);
    double begin = cpu();
    OK(hpt_dataset_open(ctx, NULL, path, &ds));
    hpt_dataset_info info = {.struct_size = sizeof info};
    OK(hpt_dataset_get_info(ds, &info));
    CHECK(cpu() - begin < 1);
    CHECK(info.classes == 2);
    for (int level = 0; level < 2000; level++) {    /* a chain of folders far deeper than anybody's */
        if (strlen(path) > 380) break;
        strcat(path, "/d");
        mkdir(path, 0777);
    }
    snprintf(path, sizeof path, "%s/train", dir);
    hpt_status st = hpt_dataset_open(ctx, NULL, path, &ds);
    CHECK(st == HPT_OK || st == HPT_ERR_FORMAT);
}

/* SPDX-License-Identifier: MIT
 * Checkpoint readers against files of PyTorch, every cut and flip of them, the writers, atomic replacement.
 * Fixtures: fixtures/make_checkpoints.py. */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "io/arrays.h"
#include "io/tensorfile.h"
#include "support.h"
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>
#include <dirent.h>
#include <zlib.h>

static void expect(const hpt__tensorfile *f, const char *name, int n, const float *want) {
    float got[64];
    const hpt__ftensor *t = hpt__tensorfile_find(f, name);
    if (!t) FAIL("no tensor %s", name);
    CHECK(t->count == (uint64_t)n);
    OK(hpt__ftensor_read(t, got));
    for (int i = 0; i < n; i++)
        if (got[i] != want[i]) FAIL("%s[%d] is %g, not %g", name, i, got[i], want[i]);
}
static void mixed(const char *path, const char *container) {
    hpt__tensorfile f;
    float base[24], t[24], part[4], h[24];
    OK(hpt__tensorfile_open(&f, path));
    CHECK(!strcmp(f.container, container));
    fill_f32(base, 24, 81, 1, 0);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 6; j++) t[i * 6 + j] = base[j * 4 + i];
    for (int i = 0; i < 4; i++) part[i] = base[(2 + i / 2) * 4 + 1 + i % 2];
    expect(&f, "state_dict/a", 24, base);
    expect(&f, "state_dict/b", 24, t);              /* strides */
    expect(&f, "state_dict/c", 4, part);            /* offset into a shared storage */
    expect(&f, "state_dict/dbl", 24, base);
    expect(&f, "state_dict/i64", 6, (float[]){-3, -2, -1, 0, 1, 2});
    expect(&f, "state_dict/u8", 5, (float[]){0, 1, 2, 3, 4});
    expect(&f, "state_dict/scalar", 1, (float[]){3.5f});
    expect(&f, "state_dict/flag", 2, (float[]){1, 0});
    expect(&f, "state_dict/empty", 0, NULL);
    const char *low[2] = {"state_dict/half", "state_dict/bf"};
    for (int k = 0; k < 2; k++) {
        OK(hpt__ftensor_read(hpt__tensorfile_find(&f, low[k]), h));
        for (int i = 0; i < 24; i++) CHECK(fabsf(h[i] - base[i]) <= (k ? 0.0040f : 0.0005f) * fabsf(base[i]) + 1e-7f);
    }
    CHECK(json_integer_value(json_object_get(f.meta, "epoch")) == 7 &&
          json_real_value(json_object_get(f.meta, "lr")) == 0.03);
    CHECK(!strcmp(json_string_value(json_object_get(f.meta, "arch")), "resnet18"));
    hpt__tensorfile_close(&f);
}
TEST(torch_zip) { mixed("tests/fixtures/files/mixed_zip.pth", "torch-zip"); }
TEST(torch_legacy) { mixed("tests/fixtures/files/mixed_legacy.pth", "torch-legacy"); }
TEST(safetensors) {
    hpt__tensorfile f;
    float w[6];
    OK(hpt__tensorfile_open(&f, "tests/fixtures/files/small.safetensors"));
    fill_f32(w, 6, 91, 1, 0);
    expect(&f, "w.weight", 6, w);
    expect(&f, "n", 4, (float[]){0, 1, 2, 3});
    hpt__tensorfile_close(&f);
}

/* Every cut of a file and every byte of it changed three ways: an error with a text, or a sound result; ASan
 * watches. */
static void abuse(const char *path, size_t max_steps) {
    hpt__bytes whole;
    OK(hpt__file_read(path, 1 << 24, &whole));
    size_t step = whole.n / max_steps + 1, accepted = 0;
    for (size_t i = 0; i < whole.n; i += step)
        for (int how = 0; how < 4; how++) {
            hpt__tensorfile f = {0};
            f.file.n = how ? whole.n : i;
            f.file.p = hpt__alloc(f.file.n);
            memcpy(f.file.p, whole.p, f.file.n);
            if (how) f.file.p[i] ^= (uint8_t)(how == 1 ? 0xff : how == 2 ? 1 : 0x20);
            hpt_status st = hpt__tensorfile_parse(&f);
            if (!st && !how) FAIL("%s cut to %zu of %zu bytes was accepted", path, i, whole.n);
            if (st && !*hpt_last_error()) FAIL("an error without a text");
            for (uint32_t k = 0; !st && k < f.n; k++) {
                if (f.t[k].unreadable) continue;
                float *x = malloc(f.t[k].count * 4 + 4);
                OK(hpt__ftensor_read(&f.t[k], x));
                free(x);
            }
            accepted += !st;
            hpt__tensorfile_close(&f);
        }
    printf("  %s: %zu of %zu damaged files were still sound\n", path, accepted, (whole.n + step - 1) / step * 4);
    hpt__free(whole.p);
}
TEST(damaged_torch_zip) { abuse("tests/fixtures/files/mixed_zip.pth", 3000); }
TEST(damaged_torch_legacy) { abuse("tests/fixtures/files/mixed_legacy.pth", 3000); }
TEST(damaged_safetensors) { abuse("tests/fixtures/files/small.safetensors", 3000); }

static void refuse_bytes(const char *what, const void *p, size_t n, const char *word) {
    hpt__tensorfile f = {0};
    f.file.n = n;
    f.file.p = hpt__alloc(n);
    memcpy(f.file.p, p, n);
    hpt_status st = hpt__tensorfile_parse(&f);
    if (st >= 0 || !strstr(hpt_last_error(), word))
        FAIL("%s: %s '%s' should say '%s'", what, hpt_status_name(st), hpt_last_error(), word);
    hpt__tensorfile_close(&f);
}
#define LEGACY "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e\x80\x02\x4d\xe9\x03\x2e\x80\x02}."
#define REFUSE(what, body, word) refuse_bytes(what, LEGACY body, sizeof(LEGACY body) - 1, word)
TEST(hostile_pickles) {
    /* a call of os.system becomes a value without meaning: nothing is run, and there is no tensor */
    hpt__tensorfile f = {0};
    static const char code[] = LEGACY "\x80\x02"
        "cposix\nsystem\n(X\x1d\0\0\0touch /tmp/hpt-pickle-was-runtR.\x80\x02].";
    f.file.n = sizeof code - 1;
    f.file.p = hpt__alloc(sizeof code);
    memcpy(f.file.p, code, sizeof code);
    OK(hpt__tensorfile_parse(&f));
    CHECK(f.n == 0 && access("/tmp/hpt-pickle-was-run", F_OK));
    hpt__tensorfile_close(&f);
    REFUSE("protocol 6", "\x80\x06N.", "protocol");
    REFUSE("cut frame", "\x80\x04\x95....", "cut");
    REFUSE("frame past the end", "\x80\x04\x95\x09\0\0\0\0\0\0\0N.", "frame of 9 bytes");
    REFUSE("opcode that does not exist", "\x80\x02\xfe.", "opcode 0xfe");
    REFUSE("stack global", "\x80\x02\x93.", "stack is empty");
    REFUSE("stack global of numbers", "\x80\x02K\x01K\x02\x93.", "name of a class");
    REFUSE("item of a tuple", "\x80\x02)K\x01K\x02s.", "no dictionary");
    REFUSE("append to a dictionary", "\x80\x02}K\x01" "a.", "no list");
    REFUSE("odd dictionary", "\x80\x02}(K\x01u.", "dictionary items");
    REFUSE("no mark", "\x80\x02}K\x01K\x02u.", "no mark");
    REFUSE("empty stack", "\x80\x02.", "left at the end");
    REFUSE("memo", "\x80\x02h\x05.", "memo entry 5");
    REFUSE("huge memo index", "\x80\x02Nr\xff\xff\xff\xff.", "memo index");
    REFUSE("huge text", "\x80\x02X\xff\xff\xff\x7f.", "text of");
    REFUSE("call of a value", "\x80\x02K\x01)R.", "called");
    REFUSE("build on a number", "\x80\x02K\x01}b.", "plain value");
#define TENSOR(numel, off, size, stride) "\x80\x02" \
    "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" \
    "0X\x03\0\0\0cpu" numel "NtQ" off size stride "\x89}tR.\x80\x02]X\x01\0\0\0" "0a."
    REFUSE("outside its storage", TENSOR("K\x04", "K\x00", "(K\x05t", "(K\x01t"), "outside its storage");
    REFUSE("offset", TENSOR("K\x04", "K\x01", "(K\x04t", "(K\x01t"), "outside its storage");
    REFUSE("size overflow",
           TENSOR("K\x04", "K\x00",
                  "(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ft",
                  "(K\x01K\x01t"), "overflows");
    REFUSE("negative size", TENSOR("K\x04", "K\x00", "(J\xff\xff\xff\xfft", "(K\x01t"), "shape");
    REFUSE("missing data", TENSOR("K\x04", "K\x00", "(K\x04t", "(K\x01t"), "legacy");
    refuse_bytes("empty", "", 0, "empty");
    refuse_bytes("text", "hello world", 11, "neither");
    char deep[4000];        /* a million nested lists would be deeper than any stack: marks are counted */
    size_t n = sizeof LEGACY - 1;
    memcpy(deep, LEGACY, n);
    memcpy(deep + n, "\x80\x02", 2);
    memset(deep + n + 2, '(', 2000);
    refuse_bytes("deep", deep, n + 2002, "nesting");
}
TEST(hostile_safetensors) {
    const struct { const char *header, *word; size_t data; } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"dat"
         "a_offsets\":[0,8]}}", "duplicate", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "offsets", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", "overflows", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "hole", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"dat"
         "a_offsets\":[0,4]}}", "overlap", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "no tensor", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "shape", 4},
        {"{\"a\":7}", "entry", 0}, {"{\"__metadata__\":{\"k\":1}}", "no text", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t b[400] = {0};
        uint64_t n = strlen(cases[i].header);
        memcpy(b, &n, 8);
        memcpy(b + 8, cases[i].header, n);
        refuse_bytes(cases[i].header, b, 8 + n + cases[i].data, cases[i].word);
    }
    uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, '{', '}'};
    refuse_bytes("huge header", huge, sizeof huge, "header of");
}

TEST(idx_and_npz_bounds) {
    uint8_t idx[24] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8}, gz[200];
    hpt__array a;
    OK(hpt__idx_parse(idx, 24, &a));
    CHECK(a.ndim == 3 && a.count == 8 && a.p[7] == 8);
    hpt__array_free(&a);
    for (size_t n = 0; n < 24; n++) CHECK(hpt__idx_parse(idx, n, &a) == HPT_ERR_FORMAT);
    idx[4] = 0x7f;
    FAILS(HPT_ERR_FORMAT, "1 GiB", hpt__idx_parse(idx, 24, &a));
    idx[4] = 0;
    z_stream z;
    memset(&z, 0, sizeof z);
    CHECK(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, 0) == Z_OK);
    z.next_in = idx;
    z.avail_in = 24;
    z.next_out = gz;
    z.avail_out = sizeof gz;
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    size_t n = z.total_out;
    deflateEnd(&z);
    OK(hpt__idx_parse(gz, n, &a));
    CHECK(a.p[0] == 1 && a.count == 8);
    hpt__array_free(&a);
    for (size_t i = 0; i < n; i++) CHECK(hpt__idx_parse(gz, i, &a) < 0);
    gz[n] = 0;
    CHECK(hpt__idx_parse(gz, n + 1, &a) < 0);
    hpt__bytes f;
    OK(hpt__file_read("tests/fixtures/files/small.npz", 1 << 20, &f));
    int found;
    OK(hpt__npz_parse(f.p, f.n, "images", 0, &a, NULL));
    CHECK(a.ndim == 4 && a.count == 96 && a.p[95] == 95);
    hpt__array_free(&a);
    OK(hpt__npz_parse(f.p, f.n, "nothing", 0, &a, &found));
    CHECK(!found);
    FAILS(HPT_ERR_FORMAT, "no array", hpt__npz_parse(f.p, f.n, "nothing", 0, &a, NULL));
    FAILS(HPT_ERR_FORMAT, "neither 0 to 255", hpt__npz_parse(f.p, f.n, "labels", 0, &a, NULL));
    for (size_t i = 0; i < f.n; i++) {
        CHECK(hpt__npz_parse(f.p, i, "images", 0, &a, NULL) < 0);
        f.p[i] ^= 0x11;
        if (!hpt__npz_parse(f.p, f.n, "images", 0, &a, NULL)) hpt__array_free(&a);
        f.p[i] ^= 0x11;
    }
    hpt__free(f.p);
}

static int files_in(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}
TEST(writes_are_atomic) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 seed=1"), *other = config("arch=resnet10 width=16 seed=2");
    hpt_model *m, *m2;
    char *dir = temp_dir(), path[200];
    hpt__bytes a, b;
    OK(hpt_model_create(ctx, c, &m));
    OK(hpt_model_create(ctx, other, &m2));
    snprintf(path, sizeof path, "%s/m.pth", dir);
    OK(hpt_model_save(m, path, NULL));
    OK(hpt__file_read(path, 1 << 26, &a));
    FAILS(HPT_ERR_IO, "not a regular file", hpt_model_save(m, "/dev/full", NULL));
    FAILS(HPT_ERR_IO, "No such file", hpt_model_save(m, "/no/such/folder/x.pth", NULL));
    FAILS(HPT_ERR_ARGUMENT, "format", hpt_model_save(m, path, "onnx"));
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t cap = 0; cap < a.n; cap += a.n / 7) {       /* the disk is full at this byte */
        struct rlimit r = {cap, RLIM_INFINITY};
        CHECK(!setrlimit(RLIMIT_FSIZE, &r));
        FAILS(HPT_ERR_IO, "unchanged", hpt_model_save(m2, path, NULL));
        struct rlimit back = {RLIM_INFINITY, RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &back);
        OK(hpt__file_read(path, 1 << 26, &b));
        CHECK(b.n == a.n && !memcmp(a.p, b.p, a.n));
        CHECK(files_in(dir) == 1);
        hpt__free(b.p);
    }
    OK(hpt_model_save(m2, path, NULL));
    OK(hpt__file_read(path, 1 << 26, &b));
    CHECK(memcmp(a.p, b.p, a.n));
}

TEST(models_round_trip_in_every_layout) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 stem=small moco_dim=24 seed=5"), *head = config("carry_head=1"),
        *plain = config("seed=9");
    hpt_model *m, *r;
    char *dir = temp_dir(), path[200];
    const char *formats[] = {"torchvision", "moco", "openselfsup", "safetensors"};
    OK(hpt_model_create(ctx, c, &m));
    fill_model(m, 700);
    float *x = malloc(1 << 20), *y = malloc(1 << 20);
    for (int f = 0; f < 4; f++) {
        hpt_result *report;
        snprintf(path, sizeof path, "%s/m%d.pth", dir, f);
        OK(hpt_model_save(m, path, formats[f]));
        int has_head = f == 1 || f == 3;
        OK(hpt_model_load(ctx, has_head ? head : plain, path, &r, &report));
        hpt_model_info info = {.struct_size = sizeof info};
        OK(hpt_model_get_info(r, &info));
        CHECK(!strcmp(info.arch, "resnet10") && info.width == 16 && !strcmp(info.stem, "small"));
        CHECK(!has_head || info.embedding_dim == 24);
        hpt_tensor_info t = {.struct_size = sizeof t};
        for (uint32_t i = 0; hpt_model_tensor_info(m, i, &t) == HPT_OK; i++) {
            uint64_t n = 1;
            for (int d = 0; d < t.ndim; d++) n *= (uint64_t)t.shape[d];
            if (!has_head && !strncmp(t.name, "fc.", 3)) continue;
            OK(hpt_model_get_tensor(m, t.name, x, n));
            OK(hpt_model_get_tensor(r, t.name, y, n));
            if (memcmp(x, y, n * 4)) FAIL("%s: %s differs", formats[f], t.name);
        }
        hpt_model_destroy(r);
        hpt_result_destroy(report);
    }
    hpt_config *wrong = config("arch=resnet18 width=16 stem=small");
    hpt_result *report;
    FAILS(HPT_ERR_MISMATCH, "the file is a resnet10 of width 16, stem small, not a resnet18",
          hpt_model_load(ctx, wrong, path, &r, &report));
    double missing;
    OK(hpt_result_number(report, "missing_count", &missing));
    CHECK(missing > 0 && !r);
    FAILS(HPT_ERR_MISMATCH, "no tensor matched", hpt_model_load(ctx, plain, "tests/fixtures/files/mixed_zip.pth", &r,
                                                                NULL));
}
TEST(moco_file_of_pytorch) {
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("carry_head=1");
    hpt_model *m;
    hpt_result *info;
    float x[27 * 16], want[27 * 16];
    OK(hpt_model_load(ctx, c, "tests/fixtures/files/moco_legacy.pth", &m, NULL));
    OK(hpt_model_get_tensor(m, "conv1.weight", x, 27 * 16));
    fill_f32(want, 27 * 16, 300, (float)(sqrt(2.0 / (16 * 9)) * sqrt(3.0)), 0);
    /* stored as half */
    for (int i = 0; i < 27 * 16; i++) CHECK(fabsf(x[i] - want[i]) <= 0.0005f * fabsf(want[i]) + 1e-7f);
    OK(hpt_file_info("tests/fixtures/files/moco_legacy.pth", &info));
    size_t n;
    OK(hpt_result_json(info, NULL, 0, &n));
    char *text = malloc(n);
    OK(hpt_result_json(info, text, n, NULL));
    CHECK(strstr(text, "\"arch\": \"resnet10\"") && strstr(text, "torch-legacy") &&
          strstr(text, "state_dict/module.encoder_q."));
}

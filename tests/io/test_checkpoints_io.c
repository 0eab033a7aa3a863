/* SPDX-License-Identifier: MIT
 * What checkpoints hold beside the weights: objects of every kind stay opaque, tensors that cannot be read are listed
 * with the reason, and what is needed is read strictly. Hostile files cost little; no failed allocation loses an entry.
 */
#define _GNU_SOURCE
#include "core/alloc.h"
#include "fuzz/targets.h"
#include "io/tensorfile.h"
#include "io/torch_write.h"
#include "io/zip.h"
#include "shell.h"
#include "support.h"
#include <unistd.h>

#define FILES "tests/fixtures/files/"

/* ---- bytes of a file under construction ---- */

typedef struct bytes { uint8_t *p; size_t n, cap; } bytes;
static void put(bytes *b, const void *p, size_t n) {
    if (b->n + n > b->cap) b->p = realloc(b->p, b->cap = (b->n + n) * 2 + 64);
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
#define PUT(b, text) put(b, text, sizeof(text) - 1)
static void repeat(bytes *b, const void *p, size_t n, size_t times) {
    for (size_t i = 0; i < times; i++) put(b, p, n);
}
#define REPEAT(b, text, times) repeat(b, text, sizeof(text) - 1, times)

#define HEAD "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e\x80\x02\x4d\xe9\x03\x2e\x80\x02}."
#define T(type, numel, args)                                                                                           \
    "ctorch._utils\n_rebuild_tensor_v2\n((U\x07storage" type "U\x01"                                                   \
    "0U\x03"                                                                                                           \
    "cpuK" numel "NtQ" args "\x89}tR"
#define FLOATS(numel, args) T("ctorch\nFloatStorage\n", numel, args)
#define FOUR FLOATS("\x04", "K\x00K\x04\x85K\x01\x85")
/* a legacy file around a pickle (its protocol and STOP included): one storage "0" of floats 1, 2, 3, 4, or none */
static bytes legacy(const void *pickle, size_t n, int storage) {
    static const float data[4] = {1, 2, 3, 4};
    bytes b = {0};
    int64_t count = 4;
    PUT(&b, HEAD);
    put(&b, pickle, n);
    if (storage) {
        PUT(&b, "\x80\x02]U\x01" "0a.");
        put(&b, &count, 8);
        put(&b, data, sizeof data);
    } else PUT(&b, "\x80\x02].");
    return b;
}
#define LEGACY(pickle, storage) legacy(pickle, sizeof(pickle) - 1, storage)

static hpt_status parse(const bytes *b, hpt__tensorfile *f) {
    memset(f, 0, sizeof *f);
    f->file.n = b->n;
    f->file.p = hpt__alloc(b->n);
    memcpy(f->file.p, b->p, b->n);
    return hpt__tensorfile_parse(f);
}
static void values(const hpt__tensorfile *f, const char *name, int n, const double *want) {
    float got[64];
    const hpt__ftensor *t = hpt__tensorfile_find(f, name);
    if (!t) FAIL("no tensor %s", name);
    if (t->count != (uint64_t)n) FAIL("%s has %llu values", name, (unsigned long long)t->count);
    OK(hpt__ftensor_read(t, got));
    for (int i = 0; i < n; i++)
        if (got[i] != (float)want[i]) FAIL("%s[%d] is %g, not %g", name, i, got[i], want[i]);
}
static void unreadable(const hpt__tensorfile *f, const char *name, const char *why) {
    float got[64];
    const hpt__ftensor *t = hpt__tensorfile_find(f, name);
    if (!t) FAIL("no tensor %s", name);
    if (!t->unreadable || !strstr(t->unreadable, why))
        FAIL("%s is unreadable because of '%s', not '%s'", name, t->unreadable, why);
    CHECK(!t->data);
    FAILS(HPT_ERR_UNSUPPORTED, name, hpt__ftensor_read(t, got));
    CHECK(strstr(hpt_last_error(), why));
}
/* A pickle as the object of a legacy file with the storage: one tensor of that name with 1, 2, 3, 4. */
static void still_reads(const char *what, const void *pickle, size_t n, const char *name) {
    hpt__tensorfile f;
    bytes b = legacy(pickle, n, 1);
    if (parse(&b, &f)) FAIL("%s: %s", what, hpt_last_error());
    values(&f, name, 4, (double[]){1, 2, 3, 4});
    hpt__tensorfile_close(&f);
    free(b.p);
}
#define READS(what, pickle, name) still_reads(what, pickle, sizeof(pickle) - 1, name)
static void refused(const char *what, const bytes *b, hpt_status status, const char *word) {
    hpt__tensorfile f;
    hpt_status st = parse(b, &f);
    if (st != status || !strstr(hpt_last_error(), word))
        FAIL("%s: %s '%s' should say '%s'", what, hpt_status_name(st), hpt_last_error(), word);
    hpt__tensorfile_close(&f);
}

/* ---- files of PyTorch ---- */

TEST(objects_of_every_kind_stay_opaque) {
    static const char *const names[] = {"objects_p1_legacy", "objects_p2_zip",    "objects_p2_legacy", "objects_p3_zip",
                                        "objects_p4_zip",    "objects_p4_legacy", "objects_p5_zip"};
    static const struct { const char *name, *why;
    } odd[] = {
        {"quantized", "quantized"}, {"channels", "quantized"}, {"sparse", "sparse"},       {"rows", "sparse"},
        {"meta", "meta"},           {"nested", "nested"},      {"complex64", "complex64"}, {"complex128", "complex128"},
        {"negated", "negated"},     {"f8", "float8_e4m3fn"},   {"f8b", "float8_e5m2"},     {"endless", "expanded"},
        {"array", "NumPy"}};
    double w[12], turned[12], same[64], scaled[12];
    for (int i = 0; i < 12; i++) w[i] = i - 5, turned[i] = i % 3 * 4 + i / 3 - 5;
    for (int i = 0; i < 64; i++) same[i] = 2.5;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        hpt__tensorfile f;
        char path[200], name[64];
        snprintf(path, sizeof path, FILES "%s.pth", names[k]);
        OK(hpt__tensorfile_open(&f, path));
        values(&f, "state_dict/w", 12, w);
        values(&f, "state_dict/turned", 12, turned);
        values(&f, "state_dict/part", 4, (double[]){0, 1, 4, 5});
        values(&f, "state_dict/half", 12, w);
        values(&f, "state_dict/bf16", 12, w);
        values(&f, "state_dict/double", 12, w);
        values(&f, "state_dict/i64", 4, (double[]){-2, -1, 0, 1});
        values(&f, "state_dict/i8", 4, (double[]){-2, -1, 0, 1});
        values(&f, "state_dict/u16", 4, (double[]){65530, 65531, 65532, 65533});
        values(&f, "state_dict/u32", 2, (double[]){0, 4294967040.0});
        values(&f, "state_dict/u64", 4, (double[]){0, 1, 2, 3});
        values(&f, "state_dict/flag", 2, (double[]){1, 0});
        values(&f, "state_dict/same", 64, same);
        values(&f, "state_dict/scalar", 1, (double[]){3.5});
        values(&f, "state_dict/empty", 0, NULL);
        values(&f, "hyper/w", 12, w);           /* dictionaries by another name */
        values(&f, "default/w", 12, w);
        const char *multiples[] = {"state_dict/param", "state_dict/buf", "attributed"};
        for (int m = 0; m < 3; m++) {
            for (int i = 0; i < 12; i++) scaled[i] = w[i] * (m + 2);
            values(&f, multiples[m], 12, scaled);
        }
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
            snprintf(name, sizeof name, "odd/%s", odd[i].name);
            unreadable(&f, name, odd[i].why);
            int64_t first = hpt__tensorfile_find(&f, name)->shape[0];
            CHECK(first == (i < 5 ? 3 : i == 5 ? 0 : i == 7 ? 3 : i == 11 ? 1000000000 : i == 12 ? 2 : 4));
        }
        unreadable(&f, "fancy/w", "class somewhere.else.FancyDict");
        unreadable(&f, "network/0.weight", "class torch.nn.modules.container.Sequential");
        unreadable(&f, "network/1.0.running_var", "save its state_dict()");
        CHECK(f.n == 1 + 17 + 13 + 3 + 7);
        CHECK(!f.values_cut);
        json_t *m = f.meta;
        CHECK(json_integer_value(json_object_get(m, "epoch")) == 3 &&
              json_integer_value(json_object_get(m, "last")) == 17);
        CHECK(json_integer_value(json_object_get(m, "config/a/b")) == 3 &&
              json_real_value(json_object_get(m, "hyper/lr")) == 0.5);
        CHECK(json_integer_value(json_object_get(m, "counter/a")) == 2 &&
              json_integer_value(json_object_get(m, "i40")) == 1ll << 40);
        CHECK(json_real_value(json_object_get(m, "f64")) == 1.5 && json_real_value(json_object_get(m, "f32")) == 2.5);
        CHECK(json_integer_value(json_object_get(m, "np_int")) == -7 && json_is_true(json_object_get(m, "np_bool")));
        CHECK(json_is_null(json_object_get(m, "nan")) && !json_object_get(m, "surrogate") &&
              !json_object_get(m, "bytes") && !json_object_get(m, "big"));
        if (k) CHECK(!strcmp(json_string_value(json_object_get(m, "umlaut")), "\u00fcn\u00ef"));
        hpt__tensorfile_close(&f);
    }
}
TEST(what_is_no_checkpoint_is_named) {
    hpt__tensorfile f;
    FAILS(HPT_ERR_UNSUPPORTED, "class torch.nn.modules.container.Sequential): save model.state_dict()",
          hpt__tensorfile_open(&f, FILES "whole_zip.pth"));
    FAILS(HPT_ERR_UNSUPPORTED, "class torch.nn.modules.container.Sequential): save model.state_dict()",
          hpt__tensorfile_open(&f, FILES "whole_legacy.pth"));
    FAILS(HPT_ERR_UNSUPPORTED, "TorchScript", hpt__tensorfile_open(&f, FILES "script.pt"));
    FAILS(HPT_ERR_UNSUPPORTED, "torch.export", hpt__tensorfile_open(&f, FILES "exported.pt2"));
    FAILS(HPT_ERR_FORMAT, "not a file of torch.save", hpt__tensorfile_open(&f, FILES "small.npz"));
}

/* ---- pickles by hand ---- */

TEST(opcodes_of_every_protocol) {
    READS("state dict in a list", "\x80\x02]" FOUR "a.", "0");
    READS("protocols 0 and 1: no PROTO, marks, text",
          "(dS'w'\nctorch._utils\n_rebuild_tensor\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\nNtQI0\n(I4\nt("
          "L1L\nttRp7\n0g7\ns.",
          "w");
    READS("unicode names, put and get", "}p0\n(Vw\np1\n" FOUR "u.", "w");
    READS("long binary put", "\x80\x02}r\x01\0\0\0U\x01w" FOUR "s0j\x01\0\0\0.", "w");
    READS("memoize and get", "\x80\x04}\x94\x8c\x01w\x94" FOUR "\x94s0h\0.", "w");
    READS("stack global, frame",
          "\x80\x04\x95\x02\0\0\0\0\0\0\0}\x94\x8c\x01w\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93(("
          "\x8c\x07storage\x8c\x05torch\x8c\x0c"
          "FloatStorage\x93\x8c\x01"
          "0\x8c\x03"
          "cpuK\x04tQK\0K\x04\x85K\x01\x85\x89}tRs.",
          "w");
    READS("eight-byte lengths", "\x80\x04}\x8d\x01\0\0\0\0\0\0\0w" FOUR "s.", "w");
    READS("dup, pop, pop mark", "\x80\x02}2" "0(K\x01K\x02" "1(0U\x01w" FOUR "s.", "w");
    READS("old classes", "\x80\x02}(U\x01" "a(K\x01imy\nOld\n}bU\x01" "b(cmy\nOld\nK\x02o}bU\x01w" FOUR "u.", "w");
    READS("extension registry",
          "\x80\x02}(U\x01"
          "a\x82\x01)RU\x01"
          "b\x83\x01\x02)\x81}bU\x01"
          "c\x84\1\2\3\4U\x01w" FOUR "u.",
          "w");
    READS("sets, frozen sets, bytes", "\x80\x05}(U\x01" "a\x8f(K\x01K\x02\x90U\x01" "b(K\x01\x91U\x01"
        "c\x96\x02\0\0\0\0\0\0\0zzU\x01" "d\x97\x98U\x01" "e" "C\x01zU\x01" "fB\x01\0\0\0zU\x01w" FOUR "u.", "w");
    READS("eight-byte bytes, long numbers",
          "\x80\x04}(U\x01"
          "a\x8e\x01\0\0\0\0\0\0\0zU\x01"
          "b\x8b\x09\0\0\0\1\2\3\4\5\6\7\x08\x09U\x01w" FOUR "u.",
          "w");
    READS("new with keywords", "\x80\x04}(U\x01" "acmy\nNew\n(K\x01t}\x92}bU\x01w" FOUR "u.", "w");
    READS("items, state and appends of an opaque value",
          "\x80\x02}(U\x01"
          "acmy\nBag\n)\x81(K\x01K\x02uK\x01K\x02s(K\x01K\x02"
          "eK\x01"
          "a}bU\x01w" FOUR "u.",
          "w");
    READS("state of a dictionary", "\x80\x02" "ccollections\nOrderedDict\n)RU\x01w" FOUR "s}U\x09_metadata}sb.", "w");
    READS("pairs of Python 2", "\x80\x02" "ccollections\nOrderedDict\n](](U\x01w" FOUR "ee\x85R.", "w");
    READS("a dictionary rebuilt by protocol 0",
          "ccopy_reg\n_reconstructor\n(ccollections\nOrderedDict\nc__builtin__\ndict\n(dS'w'\n" FOUR "stR.", "w");
    READS("a parameter", "\x80\x02}U\x01w" "ctorch._utils\n_rebuild_parameter\n(" FOUR "\x88}tRs.", "w");
    READS("a parameter with a state",
          "\x80\x02}U\x01w"
          "ctorch._utils\n_rebuild_parameter_with_state\n(" FOUR "\x88}}tRs.",
          "w");
    READS("a Variable of PyTorch 0.3",
          "\x80\x02}U\x01w"
          "ctorch.nn.parameter\nParameter\n" FOUR "\x85R\x88\x89}\x87"
          "bs.",
          "w");
    READS("a subclass",
          "\x80\x02}U\x01w"
          "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmy\nTensor\n(("
          "U\x07storagectorch\nFloatStorage\nU\x01"
          "0U\x03"
          "cpuK\x04tQK\0K\x04\x85K\x01\x85\x89}t}tRs.",
          "w");
    READS("storages without a type",
          "\x80\x02}U\x01w"
          "ctorch._utils\n_rebuild_tensor_v3\n((U\x07storagectorch\nFloatStorage\nU\x01"
          "0U\x03"
          "cpuK\x04tQK\0K\x04\x85K\x01\x85\x89}ctorch\nfloat32\ntRs.",
          "w");
    READS("a view of a storage",
          "\x80\x02}(U\x01w" FOUR "U\x01v"
          "ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01"
          "0U\x03"
          "cpuK\x04(U\x01vK\x02K\x02ttQK\0K\x02\x85K\x01\x85\x89}tRu.",
          "w");
    READS("classes saved with their source",
          "\x80\x02}(U\x01"
          "a(U\x06modulecmy\nNet\nU\x01"
          "fU\x01stQ)\x81}bU\x01w" FOUR "u.",
          "w");
    READS("other persistent ids",
          "\x80\x02}(U\x01"
          "a(U\x05thingK\x01tQU\x01"
          "bK\x01QU\x01"
          "cPsome id\nU\x01w" FOUR "u.",
          "w");
    READS("a dictionary that holds itself", "\x80\x02}q\0(U\x01w" FOUR "U\x04selfh\0u.", "w");
    READS("a key that no name can be", "\x80\x02}(U\x03" "a\0b" "K\x01" "N" "K\x02" ")K\x03U\x01w" FOUR "u.", "w");
}
TEST(tensors_that_cannot_be_read) {
    hpt__tensorfile f;
    bytes b = LEGACY("\x80\x02}(U\x01w" FOUR "U\x01" "a" FLOATS("\x04", "K\0K\x04\x85J\xff\xff\xff\xff\x85")
                     "U\x01"
                         "b" FLOATS("\x04",
                                    "K\0(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t(K\x01K\x01K\x01K\x01K\x01K"
                                    "\x01K\x01K\x01K\x01t")
                     "U\x01" "c" FLOATS("\x04", "K\0J\xff\xff\xff\x7f\x85K\0\x85")
                     "U\x01" "d" FOUR "(K\x01K\x02K\x03K\x04tb"
                     "U\x01" "e" "ctorch._utils\n_rebuild_tensor_v2\n(NK\0K\x04\x85K\x01\x85\x89}tR"
                     "U\x01" "f" "ctorch._utils\n_rebuild_tensor_v3\n((U\x07storagectorch\nFloatStorage\nU\x01"
                         "0U\x03" "cpuK\x04tQK\0K\x02\x85K\x01\x85\x89}ctorch\nint7\ntR"
                     "U\x01" "g" "ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01"
                         "0U\x03" "cpuK\x04tQK\0K\x04\x85K\x01\x85\x89}}U\x03neg\x88stR"
                     "U\x01" "h" "ctorch._utils\n_rebuild_wrapper_subclass\n(cmy\nSub\nNK\x05\x85" "K\x01\x85tRu.", 1);
    OK(parse(&b, &f));
    values(&f, "w", 4, (double[]){1, 2, 3, 4});
    unreadable(&f, "a", "negative strides");
    unreadable(&f, "b", "more than 8 dimensions");
    unreadable(&f, "c", "expanded");
    unreadable(&f, "d", "state of its own");
    unreadable(&f, "e", "without a storage");
    unreadable(&f, "f", "torch.int7");
    unreadable(&f, "g", "negated");
    unreadable(&f, "h", "wrapper");
    CHECK(hpt__tensorfile_find(&f, "h")->shape[0] == 5 && hpt__tensorfile_find(&f, "c")->shape[0] == 0x7fffffff);
    hpt__tensorfile_close(&f);
    free(b.p);
    /* the storage of a type that nobody knows: in a stream, what follows it cannot be found */
    b = LEGACY("\x80\x02}U\x01w" T("ctorch\nOddStorage\n", "\x04", "K\x00K\x04\x85K\x01\x85") "s.", 1);
    refused("unknown storage", &b, HPT_ERR_UNSUPPORTED, "torch.OddStorage");
    free(b.p);
    b = LEGACY("\x80\x02}U\x01w" T("ctorch\nComplexFloatStorage\n", "\x02", "K\x00K\x02\x85K\x01\x85") "s.", 1);
    b.p[b.n - 24] = 2;          /* two elements of 8 bytes */
    OK(parse(&b, &f));
    unreadable(&f, "w", "complex64");
    hpt__tensorfile_close(&f);
}
TEST(needed_tensors_have_no_foreign_ancestor) {
    hpt__tensorfile f;
    bytes b = LEGACY("\x80\x02}(U\x01"
                     "acmy\nDict\n)\x81U\x01w" FOUR "sU\x01"
                     "bcmy\nmake\n" FOUR "\x85RU\x01"
                     "c(imy\nOld\n}U\x01w" FOUR "sbu.",
                     1);
    OK(parse(&b, &f));
    unreadable(&f, "a/w", "class my.Dict");
    CHECK(f.n == 1);            /* what a call or a state makes of its tensor is not known */
    hpt__tensorfile_close(&f);
#define P(text) text, sizeof(text) - 1
    const struct { const char *what, *pickle; size_t n; hpt_status status; const char *word; } bad[] = {
        {"item of a tuple", P("\x80\x02)K\x01K\x02s."), HPT_ERR_FORMAT, "no dictionary"},
        {"item of a tensor", P("\x80\x02" FOUR "K\x01K\x02s."), HPT_ERR_FORMAT, "no dictionary"},
        {"append to text", P("\x80\x02U\x01xK\x01" "a."), HPT_ERR_FORMAT, "no list"},
        {"add to a list", P("\x80\x02](K\x01\x90."), HPT_ERR_FORMAT, "no list"},
        {"state of a list", P("\x80\x02]}b."), HPT_ERR_FORMAT, "plain value"},
        {"call of a dictionary", P("\x80\x02})R."), HPT_ERR_FORMAT, "called"},
        {"arguments", P("\x80\x02" "cmy\nf\n]R."), HPT_ERR_FORMAT, "not a tuple"},
        {"tuple without a mark", P("\x80\x02K\x01t."), HPT_ERR_FORMAT, "no mark"},
        {"appends without a mark", P("\x80\x02]e."), HPT_ERR_FORMAT, "no mark"},
        {"pop of nothing", P("\x80\x02" "0."), HPT_ERR_FORMAT, "stack is empty"},
        {"below a mark", P("\x80\x02]K\x01(a."), HPT_ERR_FORMAT, "stack is empty"},
        {"memo beyond the file", P("\x80\x02Nr\x00\x00\x00\x01."), HPT_ERR_FORMAT, "memo index"},
        {"memo line", P("\x80\x02Np-1\n."), HPT_ERR_FORMAT, "memo index"},
        {"a line without end", P("\x80\x02Vabc."), HPT_ERR_FORMAT, "has no end"},
        {"storage that is not there", P("\x80\x02(U\x07storagectorch\nFloatStorage\nU\x02..NK\x01tQ."),
            HPT_ERR_FORMAT, "legacy"},
        {"storage key with a slash", P("\x80\x02(U\x07storagectorch\nFloatStorage\nU\x02./NK\x01tQ."),
            HPT_ERR_FORMAT, "persistent id"},
        {"object of a class", P("\x80\x02"
            "cmy\nNet\n)\x81}b."), HPT_ERR_UNSUPPORTED, "class my.Net): save model.state_dict()"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b = legacy(bad[i].pickle, bad[i].n, 0);
        refused(bad[i].what, &b, bad[i].status, bad[i].word);
        free(b.p);
    }
}

/* The magic number in every protocol that torch.save can be told to use. */
TEST(legacy_files_of_other_protocols) {
    static const char one[] = "L119547037146038801333356L\n.I1001\n.(dS'little_endian'\nI01\ns.(dS'epoch'\nI5\ns.(l.";
    hpt__tensorfile f;
    bytes b = {0};
    PUT(&b, one);
    OK(parse(&b, &f));
    CHECK(!strcmp(f.container, "torch-legacy") && json_integer_value(json_object_get(f.meta, "epoch")) == 5);
    hpt__tensorfile_close(&f);
    b.n = 0;
    put(&b, HEAD, sizeof HEAD - 5);
    PUT(&b, "\x80\x02}U\x0dlittle_endian\x89s.\x80\x02}.\x80\x02].");
    refused("big-endian", &b, HPT_ERR_UNSUPPORTED, "big-endian");
}

/* ---- zip ---- */

static bytes zip_of(const char *path, int n, const char *const *names, const bytes *contents) {
    hpt__writer w;
    hpt__zip_writer z;
    hpt__bytes all;
    OK(hpt__writer_open(&w, path));
    hpt__zip_begin(&z, &w);
    for (int i = 0; i < n; i++) hpt__zip_add(&z, names[i], contents[i].p, contents[i].n);
    OK(hpt__zip_end(&z));
    OK(hpt__writer_commit(&w));
    OK(hpt__file_read(path, 1u << 30, &all));
    return (bytes){all.p, all.n, all.n};
}
static char *temp_file(void) {
    char *path = NULL;
    CHECK(asprintf(&path, "%s/x.pth", temp_dir()) > 0);
    return path;
}
static bytes text(const char *s, size_t n) {
    bytes b = {0};
    put(&b, s, n);
    return b;
}
#define TEXT(s) text(s, sizeof(s) - 1)
TEST(zips_that_are_something_else) {
    const struct { const char *names[3]; hpt_status status; const char *word; } cases[] = {
        {{"m/data.pkl", "m/code/a.py", "m/x"}, HPT_ERR_UNSUPPORTED, "TorchScript"},
        {{"m/data.pkl", "m/constants.pkl", "m/x"}, HPT_ERR_UNSUPPORTED, "TorchScript"},
        {{"m/model.json", "m/tensors/0", "m/x"}, HPT_ERR_UNSUPPORTED, "TorchScript"},
        {{"e/archive_format", "e/models/model.json", "e/x"}, HPT_ERR_UNSUPPORTED, "torch.export"},
        {{"serialized_exported_program.json", "version", "x"}, HPT_ERR_UNSUPPORTED, "torch.export"},
        {{"a.npy", "b.npy", "x"}, HPT_ERR_FORMAT, "not a file of torch.save"},
        {{"a/x", "a/y", "a/version"}, HPT_ERR_FORMAT, "no data.pkl"},
        {{"a/data.pkl", "a/byteorder", "a/x"}, HPT_ERR_UNSUPPORTED, "big-endian"},
        {{"a/data.pkl", "b/x", "b/y"}, HPT_ERR_FORMAT, "more than one top folder"}};
    const bytes contents[3] = {TEXT("\x80\x02}."), TEXT("big"), TEXT("")};
    char *path = temp_file();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = zip_of(path, 3, cases[i].names, contents);
        refused(cases[i].names[1], &b, cases[i].status, cases[i].word);
    }
    const char *modern[] = {"m/data.pkl", "m/.format_version", "m/.storage_alignment", "m/byteorder", "m/version",
                            "m/.data/serialization_id"};
    const bytes parts[6] = {TEXT("\x80\x02}U\x05"
                                 "epochK\x07s."),
                            TEXT("1"),
                            TEXT("64"),
                            TEXT("little"),
                            TEXT("3\n"),
                            TEXT("0123456789")};
    hpt__tensorfile f;
    bytes b = zip_of(path, 6, modern, parts);
    OK(parse(&b, &f));
    CHECK(json_integer_value(json_object_get(f.meta, "epoch")) == 7);
    hpt__tensorfile_close(&f);
}

/* Sizes, offsets and the directory in 64 bits: forced on a small file, and needed by one of over 4 GiB where there is
 * room. */
static void write_large(const char *path, const float *data, uint64_t count) {
    hpt__torch_out t;
    hpt__tw_begin(&t);
    hpt__tw_dict(&t, 0);
    for (int i = 0; i < 3; i++) {
        hpt__tw_str(&t, i == 0 ? "a" : i == 1 ? "b" : "c");
        hpt__tw_tensor_f32(&t, data, i == 1 ? count : 5, 1, (int64_t[]){i == 1 ? (int64_t)count : 5}, NULL);
    }
    hpt__tw_end_dict(&t);
    OK(hpt__tw_finish(&t, path));
}
TEST(zip64_is_written_and_read) {
    char *path = temp_file();
    float data[1000];
    double want[5];
    hpt__bytes whole;
    for (int i = 0; i < 1000; i++) data[i] = (float)i;
    for (int i = 0; i < 5; i++) want[i] = i;
    for (uint64_t limit = 1; limit < 10000;
         limit = limit * 3 + 17) { /* each of size, offset and directory is beyond it, or is not */
        hpt__tensorfile f;
        hpt__zip_test_limit(limit);
        write_large(path, data, 1000);
        hpt__zip_test_limit(0);
        OK(hpt__tensorfile_open(&f, path));
        CHECK(hpt__tensorfile_find(&f, "b")->count == 1000 && !((hpt__tensorfile_find(&f, "b")->data - f.file.p) % 64));
        values(&f, "a", 5, want);
        values(&f, "c", 5, want);
        hpt__tensorfile_close(&f);
        if (!sh("command -v python3"))
            RUN("python3 -c \"import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None and "
                "len(z.namelist()) == 6\" %s", path);
        OK(hpt__file_read(path, 1 << 20, &whole));
        for (size_t i = 0; i < whole.n; i += 3) {           /* ASan watches */
            hpt__zip z;
            whole.p[i] ^= 0x5a;
            if (!hpt__zip_open(&z, whole.p, whole.n, 0)) hpt__zip_close(&z);
            whole.p[i] ^= 0x5a;
        }
        for (size_t i = 0; i < whole.n; i += 11) {
            hpt__zip z;
            CHECK(hpt__zip_open(&z, whole.p, i, 0) == HPT_ERR_FORMAT);
        }
        hpt__free(whole.p);
    }
}
TEST_LIMIT(files_over_4_gib, 600) {
    char *path = temp_file();
    uint64_t count = (1ull << 30) + 1000;
    if (!getenv("HPT_TEST_LARGE"))
        SKIP("HPT_TEST_LARGE=1 writes a checkpoint of 4 GiB: it takes 9 GiB of memory, 5 of disk");
    float *data = calloc(count, 4);
    CHECK(data);
    for (int i = 0; i < 5; i++) data[i] = (float)(i + 1);
    data[count - 1] = 9;
    write_large(path, data, count);
    free(data);
    if (getenv("HPT_TEST_LARGE_PYTHON")) RUN("%s %s", getenv("HPT_TEST_LARGE_PYTHON"), path);
    hpt__tensorfile f;
    OK(hpt__tensorfile_open(&f, path));
    const hpt__ftensor *b = hpt__tensorfile_find(&f, "b");
    float last;
    memcpy(&last, b->data + (count - 1) * 4, 4);
    CHECK(b->count == count && last == 9);
    values(&f, "c", 5, (double[]){1, 2, 3, 4, 5});
    hpt__tensorfile_close(&f);
    unlink(path);
}

/* ---- safetensors ---- */

static bytes safetensors_of(const void *header, size_t n, size_t data) {
    bytes b = {0};
    uint64_t len = n;
    put(&b, &len, 8);
    put(&b, header, n);
    REPEAT(&b, "\0", data);
    return b;
}
TEST(safetensors_types_and_texts) {
    hpt__tensorfile f;
    char header[6000], *at = header;
    const struct { const char *type; int bytes; } odd[] = {{"F8_E4M3", 2}, {"F8_E5M2", 2}, {"F8_E8M0", 2}, {"C64", 16},
                                                           {"F4", 1}, {"F6_E2M3", 2}, {"NEW7", 5}};
    int begin = 0;
    at += sprintf(at, "{\"__metadata__\":{\"format\":\"pt\",\"long\":\"");
    for (int i = 0; i < 3000; i++) *at++ = (char)('a' + i % 26);
    at += sprintf(at, "\\u00fc\",\"escaped\":\"a\\n\\\"b\\u00e9\"}");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        at += sprintf(at, ",\"odd%zu\":{\"shape\":[2],\"data_offsets\":[%d,%d],\"dtype\":\"%s\"}", i, begin,
                      begin + odd[i].bytes, odd[i].type);
        begin += odd[i].bytes;
    }
    at += sprintf(at, ",\"deep\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[%d,%d]}", begin,
                  begin + 2);
    at += sprintf(at, ",\"u16\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[%d,%d]}", begin + 2, begin + 6);
    at += sprintf(at, ",\"bool\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[%d,%d]}", begin + 6, begin + 8);
    /* a zero among sizes whose product overflows */
    at += sprintf(
        at, ",\"none\":{\"dtype\":\"F32\",\"shape\":[0,9007199254740992,9007199254740992],\"data_offsets\":[%d,%d]}}",
        begin + 8, begin + 8);
    bytes b = safetensors_of(header, (size_t)(at - header), (size_t)begin + 8);
    b.p[b.n - 6] = 7;
    b.p[b.n - 3] = 1;
    b.p[b.n - 1] = 1;
    OK(parse(&b, &f));
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        char name[16];
        snprintf(name, sizeof name, "odd%zu", i);
        unreadable(&f, name, odd[i].type);
        CHECK(hpt__tensorfile_find(&f, name)->shape[0] == 2);
    }
    unreadable(&f, "deep", "more than 8 dimensions");
    values(&f, "u16", 2, (double[]){7, 256});
    values(&f, "bool", 2, (double[]){0, 1});
    values(&f, "none", 0, NULL);
    const char *kept = json_string_value(json_object_get(f.meta, "long"));
    CHECK(kept && strlen(kept) == 3002 && !strcmp(kept + 3000, "\u00fc") && kept[2999] == 'a' + 2999 % 26);
    CHECK(!strcmp(json_string_value(json_object_get(f.meta, "escaped")), "a\n\"b\u00e9"));
    hpt__tensorfile_close(&f);
#define ENTRY(name, type, shape, off)                                                                                  \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" off "}"
    const struct { const char *header; size_t data; const char *word; } bad[] = {
        {"{" ENTRY("a", "C64", "[2]", "[0,15]") "}", 15, "offsets"},
        {"{" ENTRY("a", "F4", "[3]", "[0,1]") "}", 1, "offsets"},
        {"{" ENTRY("a", "NEW7", "[3]", "[4,1]") "}", 4, "offsets"},
        {"{" ENTRY("a", "F32", "[1.0]", "[0,4]") "}", 4, "shape"},
        {"{" ENTRY("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "shape"},
        {"{" ENTRY("a", "F32", "1", "[0,4]") "}", 4, "shape"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4,8]") "}", 4, "offsets"},
        {"{" ENTRY("a", "F32", "[18446744073709551616]", "[0,4]") "}", 4, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "entry 'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "entry 'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "entry 'a'"},
        {"{\"a\":[]}", 0, "entry 'a'"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "} x", 4, "not JSON"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]"), 4, "not JSON"},
        {"{\"a\xff\":1}", 0, "UTF-8"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "duplicate"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate"},
        {"{\"__metadata__\":[]}", 0, "no object"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b = safetensors_of(bad[i].header, strlen(bad[i].header), bad[i].data);
        refused(bad[i].header, &b, HPT_ERR_FORMAT, bad[i].word);
    }
}

/* ---- what hostile files cost: memory and time are measured by fuzz_measure ---- */

static void costs(const char *what, bytes b) {
    const char *passed = fuzz_measure(fuzz_find(b.p[8] == '{' ? "safetensors" : "torch"), what, b.p, b.n);
    if (passed) FAIL("%s", passed);
    free(b.p);
}
/* a legacy file whose pickle is before, a unit many times, after */
static bytes many(const char *before, size_t n, const char *unit, size_t len, size_t times, const char *after,
                  size_t end) {
    bytes b = {0};
    PUT(&b, HEAD "\x80\x02");
    put(&b, before, n);
    repeat(&b, unit, len, times);
    put(&b, after, end);
    PUT(&b, "\x80\x02].");
    return b;
}
#define MANY(before, unit, times, after)                                                                               \
    many(before, sizeof(before) - 1, unit, sizeof(unit) - 1, times, after, sizeof(after) - 1)
TEST_LIMIT(hostile_pickles_cost_little, 300) {
    const size_t mega = 1 << 20;
    costs("empty lists", MANY("", "]", mega, "."));
    costs("eight million empty lists", MANY("", "]", 8 * mega, "."));
    costs("a list of empty lists", MANY("](", "]", mega, "e."));
    costs("a list of nothing", MANY("](", "N", mega, "e."));
    costs("appended one by one", MANY("]", "Na", mega / 2, "."));
    costs("two lists in turn", MANY("]q\0]q\1", "h\0Na0h\1Na0", mega / 10, "0."));
    costs("objects", MANY("cm\nn\nq\0(", "h\0)\x81", mega / 4, "t."));
    costs("tuples of nothing", MANY("(", ")", mega, "t."));
    costs("tuples of one", MANY("N", "\x85", mega, "."));
    costs("marks and tuples", MANY("", "(t", mega / 2, "."));
    costs("classes", MANY("(", "cm\nn\n", mega / 5, "t."));
    costs("memo entries", MANY("N", "q\1r\2\0\0\0", mega / 8, "."));
    costs("one value ever again", MANY("]q\0(", "h\0", mega / 2, "e."));
    bytes b = {0};
    PUT(&b, HEAD "\x80\x02](S'");
    REPEAT(&b, "x\\", mega / 4);
    PUT(&b, "'\nq\0");
    REPEAT(&b, "h\0", mega / 4);
    PUT(&b, "e.\x80\x02].");
    costs("a long line ever again", b);
    b = (bytes){0};
    PUT(&b, HEAD "\x80\x02](");
    REPEAT(&b, "](NNe", 10000);
    PUT(&b, "eq\0" "0(");
    REPEAT(&b, "ccollections\nOrderedDict\nh\0\x85R", mega / 40);
    PUT(&b, "t.\x80\x02].");
    costs("pairs copied ever again", b);
    b = (bytes){0};
    PUT(&b, HEAD "\x80\x02N");
    for (uint32_t i = 0; i < mega / 5; i++) {
        PUT(&b, "r");
        put(&b, &(uint32_t){i * 8192}, 4);
    }
    PUT(&b, ".\x80\x02].");
    costs("memo entries that collide", b);
    b = (bytes){0};                 /* 2^40 ways through 40 lists */
    PUT(&b, HEAD "\x80\x02]q\0");
    for (uint8_t i = 0; i < 40; i++) put(&b, (uint8_t[]){']', 'q', (uint8_t)(i + 1), '(', 'h', i, 'h', i, 'e'}, 9);
    PUT(&b, "(t.\x80\x02].");
    b.p[b.n - 7] = '0';             /* the last list stays */
    b.p[b.n - 6] = 'h';
    costs("laughs", b);
    b = (bytes){0};                 /* 100,000 names for one tensor, in a small file */
    PUT(&b, HEAD "\x80\x02](" FOUR "q\0");
    REPEAT(&b, "h\0", 100000);
    PUT(&b, "e.\x80\x02]U\x01" "0a.\4\0\0\0\0\0\0\0");
    REPEAT(&b, "\0\0\0\0", 4);
    costs("names of one tensor", b);
    b = (bytes){0};                 /* more values than a small file may ask memory for */
    PUT(&b, HEAD "\x80\x02}(");
    for (uint32_t i = 0; i < 40000; i++) {
        char word[16];
        put(&b, word, (size_t)snprintf(word, sizeof word, "U\x06%06uK\x01", i));
    }
    PUT(&b, "u.\x80\x02].");
    hpt__tensorfile f;
    OK(parse(&b, &f));
    CHECK(f.values_cut && json_object_size(f.meta) > 1000);
    hpt__tensorfile_close(&f);
    costs("values", b);
    /* one storage of 600 KB under 30,000 tensors: its checksum is computed once */
    bytes data = {0};
    b = (bytes){0};
    PUT(&b, "\x80\x02](");
    PUT(&b, "(U\x07storagectorch\nFloatStorage\nU\x01" "0U\x03" "cpuJ");
    put(&b, &(int32_t){150000}, 4);
    PUT(&b, "NtQq\0" "0ctorch._utils\n_rebuild_tensor\nq\1" "0K\1\x85q\2" "0");
    REPEAT(&b, "h\1(h\0K\0h\2h\2tR", 30000);
    PUT(&b, "e.");
    REPEAT(&data, "\0\0\0\0", 150000);
    const char *names[] = {"x/data.pkl", "x/data/0"};
    costs("tensors of one storage", zip_of(temp_file(), 2, names, (bytes[]){b, data}));
}
TEST_LIMIT(hostile_headers_cost_little, 300) {
    bytes h = {0};
    PUT(&h, "{\"a\":[{}");
    REPEAT(&h, ",{}", 5 << 20);
    PUT(&h, "]}");
    costs("objects in a header", safetensors_of(h.p, h.n, 0));
    h.n = 0;
    PUT(&h, "{\"a\":{\"dtype\":\"F32\",\"shape\":[0");
    REPEAT(&h, ",0", 8000000);
    PUT(&h, "],\"data_offsets\":[0,0]}}");
    costs("a shape of eight million", safetensors_of(h.p, h.n, 0));
    h.n = 0;
    PUT(&h, "{");
    for (int i = 0; i < 60000; i++) {
        char entry[80];
        put(&h, entry,
            (size_t)snprintf(entry, sizeof entry, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                             i ? "," : "", i));
    }
    PUT(&h, "}");
    costs("tensors without data", safetensors_of(h.p, h.n, 0));
    h.n = 0;
    PUT(&h, "{\"__metadata__\":{\"a\":\"");
    REPEAT(&h, "\\u00e9", 1 << 20);
    PUT(&h, "\"}}");
    costs("a long text", safetensors_of(h.p, h.n, 0));
    h.n = 0;
    PUT(&h, "{\"__metadata__\":{\"a\":\"\"");
    for (int i = 0; i < 100000; i++) {
        char entry[40];
        put(&h, entry, (size_t)snprintf(entry, sizeof entry, ",\"%d\":\"\"", i));
    }
    PUT(&h, "}}");
    costs("many texts", safetensors_of(h.p, h.n, 0));
    free(h.p);
}

/* ---- memory runs out, in the library or in jansson: HPT_ERR_MEMORY, never fewer entries ---- */

static int64_t json_countdown;
static void *json_take(size_t n) { return json_countdown > 0 && --json_countdown == 0 ? NULL : malloc(n); }
TEST(no_failed_allocation_writes_less) {
    static const char *const formats[] = {"torchvision", "moco", "openselfsup", "safetensors"};
    hpt_context *ctx = context("reference", 1);
    hpt_config *c = config("arch=resnet10 width=16 stem=small");
    char *path = temp_file();
    hpt_model *m;
    OK(hpt_model_create(ctx, c, &m));
    json_set_alloc_funcs(json_take, free);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (int64_t n = 1;; n++) {
            hpt__tensorfile f;
            json_countdown = n;
            hpt_status st = hpt_model_save(m, path, formats[i]);
            json_countdown = 0;
            if (st && st != HPT_ERR_MEMORY) FAIL("%s: %s %s", formats[i], hpt_status_name(st), hpt_last_error());
            if (st) continue;
            OK(hpt__tensorfile_open(&f, path));
            CHECK(json_object_get(f.meta, i < 3 ? "hpt/pixel_std" : "pixel_std") && f.n >= 60);
            hpt__tensorfile_close(&f);
            break;
        }
    for (int64_t n = 1;; n++) {         /* hpt info: all tensors and values, or none */
        hpt_result *r = NULL;
        json_countdown = n;
        hpt_status st = hpt_file_info(FILES "objects_p2_zip.pth", &r);
        int64_t left = json_countdown;
        json_countdown = 0;
        if (st && st != HPT_ERR_MEMORY)
            FAIL("allocation %lld: %s %s", (long long)n, hpt_status_name(st), hpt_last_error());
        if (!st) {
            size_t size;
            OK(hpt_result_json(r, NULL, 0, &size));
            char *text = malloc(size);
            OK(hpt_result_json(r, text, size, NULL));
            json_t *j = json_loads(text, 0, NULL);
            CHECK(json_array_size(json_object_get(j, "tensors")) == 41 &&
                  json_object_size(json_object_get(j, "values")) == 16);
            json_decref(j);
            free(text);
            hpt_result_destroy(r);
            if (left > 0) break;
        }
    }
}
static uint32_t listed(const hpt__tensorfile *f) { return f->n + (uint32_t)json_object_size(f->meta); }
TEST(no_failed_allocation_loses_an_entry) {
    static const char *const files[] = {FILES "objects_p2_zip.pth", FILES "objects_p4_legacy.pth",
                                        FILES "small.safetensors", FILES "mixed_zip.pth"};
    json_set_alloc_funcs(json_take, free);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        hpt__tensorfile f;
        OK(hpt__tensorfile_open(&f, files[i]));
        uint32_t all = listed(&f);
        hpt__tensorfile_close(&f);
        for (int json = 0; json < 2; json++)
            for (int64_t n = 1;; n++) {
                json_countdown = json ? n : 0;
                hpt__alloc_test_fail(json ? 0 : n, 0);
                hpt_status st = hpt__tensorfile_open(&f, files[i]);
                hpt__alloc_test_fail(0, 0);
                int64_t left = json_countdown;
                json_countdown = 0;
                if (!st) {
                    CHECK(listed(&f) == all && (!json || left > 0));
                    hpt__tensorfile_close(&f);
                    break;
                }
                if (st != HPT_ERR_MEMORY)
                    FAIL("%s, allocation %lld: %s %s", files[i], (long long)n, hpt_status_name(st), hpt_last_error());
            }
    }
}

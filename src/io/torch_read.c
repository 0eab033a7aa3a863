/* SPDX-License-Identifier: MIT
 * The two torch containers: zip (PyTorch 1.6 and later) and the legacy stream before it (the released MoCo files).
 * Both end in the same walk over the pickle's values, which names tensors by their path. */
#include "core/alloc.h"
#include "core/json.h"
#include "io/jsonscan.h"
#include "io/pickle.h"
#include "io/zip.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, __VA_ARGS__)
enum { MAX_DEPTH = 64, MAX_VISITS = 2 << 20, MAX_LISTED = 20000, MAX_TEXT = 1 << 20 };

/* Where a storage's bytes lie. */
typedef hpt_status (*locate_fn)(void *ctx, const hpt__pk_storage *s, const uint8_t **data);
typedef struct walk {
    hpt__tensorfile *f;
    const hpt__pickle *p;
    locate_fn locate;
    void *ctx;
    const char *inside;             /* why no tensor below can be read, or NULL */
    char path[1024];
    hpt__pk_ref above[MAX_DEPTH];   /* the containers on the way down */
    uint32_t visits, listed;
} walk;

/* A value of the dictionary under its path; what lists hold is only kept up to a number. HPT_ERR_MEMORY, never a lost
 * entry. */
static hpt_status put_meta(walk *w, const hpt__pk_value *v, int in_list) {
    json_t *j;
    if ((in_list && w->listed == MAX_LISTED) || v->len > MAX_TEXT || !hpt__utf8_ok(w->path, strlen(w->path)) ||
        (v->kind == HPT__PK_STR && !hpt__utf8_ok(v->s, v->len)))
        return HPT_OK;
    if (v->kind == HPT__PK_BOOL) j = json_boolean(v->i);
    else if (v->kind == HPT__PK_INT) j = json_integer(v->i);
    else if (v->kind == HPT__PK_FLOAT) j = hpt__json_number(v->f);
    else j = json_stringn_nocheck(v->s, v->len);
    w->listed += in_list != 0;
    return hpt__tensorfile_value(w->f, w->path, j, v->len);
}

static hpt_status put_tensor(walk *w, hpt__pk_ref at, size_t len) {
    hpt__pk_tensor x;
    char why[160], cls[120];
    HPT_TRY(hpt__pk_tensor_of(w->p, at, &x));
    hpt__ftensor t = {
        .type = x.type, .ndim = x.ndim, .count = x.count, .unreadable = w->inside ? w->inside : x.unreadable};
    memcpy(t.shape, x.shape, sizeof t.shape);
    memcpy(t.stride, x.stride, sizeof t.stride);
    if (!t.unreadable && x.unknown != HPT__PK_NOTHING) {
        hpt__pk_class_name(w->p, x.unknown, cls, sizeof cls);
        snprintf(why, sizeof why, "of type %s", cls);
        HPT_TRY(hpt__tensorfile_reason(w->f, why, &t.unreadable));
    }
    if (!t.unreadable) {
        hpt__pk_storage s = hpt__pk_storage_of(w->p, x.storage);
        const uint8_t *base;
        if (t.count > (uint64_t)s.numel * s.bytes / hpt__ftype_size(t.type) && t.count > w->f->file.n / 2)
            t.unreadable = "expanded to more than its file holds";
        else {
            HPT_TRY(w->locate(w->ctx, &s, &base));
            t.data = t.count ? base + (size_t)x.offset * hpt__ftype_size(t.type) : base;
        }
    }
    if (t.unreadable) t.type = HPT__FT_OTHER;
    return hpt__tensorfile_add(w->f, w->path, len, &t);
}

/* Puts a key behind the path: its new length, or 0 for one that names nothing we could ask for. */
static size_t extend(walk *w, size_t len, char by, const hpt__pk_value *key) {
    char number[24];
    const char *s = key->s;
    size_t n = key->len, gap = len > 0;
    if (key->kind == HPT__PK_INT) {
        uint64_t v = key->i < 0 ? 0 - (uint64_t)key->i : (uint64_t)key->i;
        char *p = number + sizeof number;
        do *--p = (char)('0' + v % 10);
        while (v /= 10);
        if (key->i < 0) *--p = '-';
        s = p;
        n = (size_t)(number + sizeof number - p);
    } else if (key->kind != HPT__PK_STR) return 0;
    if (n > 512 || len + gap + n >= sizeof w->path || memchr(s, 0, n) || !(n + len)) return 0;
    if (gap) w->path[len] = by;
    memcpy(w->path + len + gap, s, n);
    w->path[len + gap + n] = 0;
    return len + gap + n;
}

static hpt_status visit(walk *w, hpt__pk_ref at, size_t len, int depth, int in_list);

/* Tensors of a torch.nn.Module that was saved as a whole: listed with the reason why they are not read. */
static hpt_status visit_module(walk *w, hpt__pk_ref state, size_t len, int depth, char by) {
    static const char *const parts[] = {"_parameters", "_buffers", "_modules"};
    for (int i = 0; i < 3; i++) {
        hpt__pk_ref k, v;
        for (hpt__pk_iter it = hpt__pk_items(w->p, hpt__pk_lookup(w->p, state, parts[i]));
             hpt__pk_next(&it, &k) && hpt__pk_next(&it, &v);) {
            hpt__pk_value key = hpt__pk_get(w->p, k);
            size_t n = extend(w, len, by, &key);
            hpt__pk_kind kind = hpt__pk_get(w->p, v).kind;
            if (n && (kind == HPT__PK_TENSOR || (i == 2 && kind == HPT__PK_OBJECT)))
                HPT_TRY(visit(w, v, n, depth + 1, 0));
        }
    }
    return HPT_OK;
}

/* Objects of unknown classes may do anything with what they hold: no tensor in there is read. */
static hpt_status visit_object(walk *w, hpt__pk_ref at, size_t len, int depth) {
    hpt__pk_ref state = hpt__pk_state(w->p, at), items = hpt__pk_object_items(w->p, at);
    const char *outer = w->inside;
    int module = hpt__pk_lookup(w->p, state, "_parameters") != HPT__PK_NOTHING &&
                 hpt__pk_lookup(w->p, state, "_modules") != HPT__PK_NOTHING;
    if (!module && items == HPT__PK_NOTHING) return HPT_OK;
    if (!outer) {
        char why[240], cls[120];
        hpt__pk_class_name(w->p, at, cls, sizeof cls);
        snprintf(why, sizeof why, "inside a whole Python object (class %s): save its state_dict() instead", cls);
        HPT_TRY(hpt__tensorfile_reason(w->f, why, &w->inside));
    }
    hpt_status st = module ? visit_module(w, state, len, depth, outer ? '.' : '/') : visit(w, items, len, depth + 1, 0);
    w->inside = outer;
    return st;
}

/* Flattens the tree; recursion is bounded by MAX_DEPTH, shared nodes by MAX_VISITS. What is deeper, or contains itself,
 * is opaque. */
static hpt_status visit(walk *w, hpt__pk_ref at, size_t len, int depth, int in_list) {
    hpt__pk_value x = hpt__pk_get(w->p, at);
    if (++w->visits > MAX_VISITS) return BAD("more than %d values", MAX_VISITS);
    switch (x.kind) {
    case HPT__PK_BOOL:
    case HPT__PK_INT:
    case HPT__PK_FLOAT:
    case HPT__PK_STR: return w->inside ? HPT_OK : put_meta(w, &x, in_list);
    case HPT__PK_TENSOR: return put_tensor(w, at, len);
    case HPT__PK_TUPLE: case HPT__PK_LIST: case HPT__PK_DICT: case HPT__PK_OBJECT: break;
    default: return HPT_OK;
    }
    if (depth == MAX_DEPTH) return HPT_OK;
    for (int i = 0; i < depth; i++)
        if (w->above[i] == at) return HPT_OK;
    w->above[depth] = at;
    if (x.kind == HPT__PK_OBJECT) return visit_object(w, at, len, depth);
    hpt__pk_ref k, v;
    hpt__pk_value index = {.kind = HPT__PK_INT};
    for (hpt__pk_iter it = hpt__pk_items(w->p, at); hpt__pk_next(&it, &k); index.i++) {
        hpt__pk_value key = index;
        v = k;
        if (x.kind == HPT__PK_DICT) {
            hpt__pk_next(&it, &v);
            key = hpt__pk_get(w->p, k);
        }
        size_t n = extend(w, len, '/', &key);
        if (n) HPT_TRY(visit(w, v, n, depth + 1, in_list || x.kind != HPT__PK_DICT));
    }
    return HPT_OK;
}

/* All that a pickle holds into the lists of f. */
static hpt_status list_all(walk *w) {
    hpt__pk_value root = hpt__pk_get(w->p, w->p->root);
    char cls[120];
    if (root.kind == HPT__PK_OBJECT && (hpt__pk_state(w->p, w->p->root) != HPT__PK_NOTHING ||
                                        hpt__pk_object_items(w->p, w->p->root) != HPT__PK_NOTHING)) {
        hpt__pk_class_name(w->p, w->p->root, cls, sizeof cls);
        return hpt__fail(HPT_ERR_UNSUPPORTED, "holds a whole Python object (class %s): save model.state_dict() instead",
                         cls);
    }
    HPT_TRY(visit(w, w->p->root, 0, 0, 0));
    return hpt__tensorfile_unique(w->f);
}

/* ---- zip ---- */

typedef struct zip_ctx { hpt__zip z; char prefix[513]; } zip_ctx;

static hpt_status locate_zip(void *ctx, const hpt__pk_storage *s, const uint8_t **data) {
    zip_ctx *c = ctx;
    char name[600];
    snprintf(name, sizeof name, "%s/data/%.*s", c->prefix, (int)s->key_len, s->key);
    hpt__zip_entry *e = hpt__zip_find(&c->z, name);
    if (!e) return BAD("storage '%s' is missing", name);
    if (e->size != (uint64_t)s->numel * s->bytes)
        return BAD("storage '%s' has %llu bytes, not %lld elements", name, (unsigned long long)e->size,
                   (long long)s->numel);
    return hpt__zip_stored(&c->z, e, data);
}

/* Zips of other programs that are taken for checkpoints, by the name of an entry, with or without the top folder. */
static hpt_status known_zip(const hpt__zip *z) {
    static const struct { const char *name, *text; int prefix;
    } others[] = {
        {"constants.pkl", "a TorchScript program, not a checkpoint; save its state_dict() instead", 0},
        {"code/", "a TorchScript program, not a checkpoint; save its state_dict() instead", 1},
        {"model.json", "a TorchScript program, not a checkpoint; save its state_dict() instead", 0},
        {"archive_format", "a program of torch.export, not a checkpoint; save the model's state_dict() instead", 0},
        {"serialized_exported_program.json",
         "a program of torch.export, not a checkpoint; save the model's state_dict() instead", 0}};
    for (uint32_t i = 0; i < z->count; i++) {
        const hpt__zip_entry *e = &z->e[i];
        const char *slash = memchr(e->name, '/', (size_t)e->name_len),
                   *name[2] = {e->name, slash ? slash + 1 : e->name};
        for (size_t k = 0; k < sizeof others / sizeof *others * 2; k++) {
            size_t want = strlen(others[k / 2].name), n = (size_t)(e->name + e->name_len - name[k % 2]);
            if ((others[k / 2].prefix ? n >= want : n == want) && !memcmp(name[k % 2], others[k / 2].name, want))
                return hpt__fail(HPT_ERR_UNSUPPORTED, "%s", others[k / 2].text);
        }
    }
    return HPT_OK;
}

/* The one top folder, the pickle in it and our note beside it (or NULL), the byte order. */
static hpt_status zip_layout(zip_ctx *c, hpt__zip_entry **pkl, hpt__zip_entry **note) {
    HPT_TRY(known_zip(&c->z));
    for (uint32_t i = 0; i < c->z.count; i++) {
        hpt__zip_entry *e = &c->z.e[i];
        const char *slash = memchr(e->name, '/', (size_t)e->name_len);
        size_t top = slash ? (size_t)(slash - e->name) : 0;
        if (!slash)
            return BAD("zip: '%.*s' lies outside the top folder: not a file of torch.save", e->name_len, e->name);
        if (!i) snprintf(c->prefix, sizeof c->prefix, "%.*s", (int)top, e->name);
        else if (strlen(c->prefix) != top || memcmp(c->prefix, e->name, top))
            return BAD("zip: more than one top folder");
        const char *rest = slash + 1;
        size_t n = (size_t)e->name_len - top - 1;
        if (n == 8 && !memcmp(rest, "data.pkl", 8)) *pkl = e;
        if (n == 8 && !memcmp(rest, "hpt.json", 8)) *note = e;
        if (n == 9 && !memcmp(rest, "byteorder", 9)) {
            const uint8_t *order;
            HPT_TRY(hpt__zip_stored(&c->z, e, &order));
            if (e->size != 6 || memcmp(order, "little", 6))
                return hpt__fail(HPT_ERR_UNSUPPORTED, "a checkpoint with big-endian numbers");
        }
    }
    return *pkl ? HPT_OK : BAD("zip: no data.pkl inside: not a file of torch.save");
}

/* Our record beside the pickle: an object of strings, kept as "hpt/<key>". */
static hpt_status read_note(hpt__tensorfile *f, const hpt__zip *z, hpt__zip_entry *e) {
    enum { LONGEST = 64 << 20 };       /* names of a million classes */
    const uint8_t *data;
    char name[128];
    hpt__jscan s;
    if (e->size > LONGEST) return BAD("hpt.json of %llu bytes", (unsigned long long)e->size);
    HPT_TRY(hpt__zip_stored(z, e, &data));
    if (!hpt__utf8_ok((const char *)data, (size_t)e->size)) return BAD("hpt.json is not UTF-8");
    hpt__jscan_memory(&s, data, (size_t)e->size);
    hpt__jtoken t = hpt__jscan_next(&s);
    hpt_status st = t == HPT__J_OBJECT ? HPT_OK : BAD("hpt.json is no JSON object");
    while (!st && (t = hpt__jscan_next(&s)) == HPT__J_KEY) {
        snprintf(name, sizeof name, "hpt/%.100s", s.text);
        uint64_t begin = hpt__jscan_at(&s);
        if (!hpt__jscan_skip(&s)) break;
        if (s.p[-1] == '"' && !json_object_get(f->meta, name)) st = hpt__tensorfile_text(f, name, &s, data, begin);
    }
    if (!st && (t != HPT__J_END_OBJECT || hpt__jscan_next(&s) != HPT__J_END)) st = BAD("hpt.json is no JSON object");
    hpt__jscan_close(&s);
    return st;
}

hpt_status hpt__torch_zip_parse(hpt__tensorfile *f) {
    zip_ctx c;
    hpt__pickle p = {0};
    hpt__zip_entry *pkl = NULL, *note = NULL;
    const uint8_t *data;
    memset(&c, 0, sizeof c);
    HPT_TRY(hpt__zip_open(&c.z, f->file.p, f->file.n, 1));
    uint64_t directory = c.z.count * sizeof *c.z.e;
    f->room -= directory < f->room ? directory : f->room;
    hpt_status st = zip_layout(&c, &pkl, &note);
    if (!st) st = hpt__zip_stored(&c.z, pkl, &data);
    if (!st) st = hpt__pickle_parse(&p, data, (size_t)pkl->size, &f->room);
    if (!st) {
        walk w = {.f = f, .p = &p, .locate = locate_zip, .ctx = &c};
        st = p.end == pkl->size ? list_all(&w) : BAD("pickle: bytes after its end");
    }
    if (!st && note) st = read_note(f, &c.z, note);
    hpt__pickle_free(&p);
    hpt__zip_close(&c.z);
    return st;
}

/* ---- legacy stream: magic, protocol 1001, system info, object, storage keys, then the storages to the exact end ----
 */

typedef struct stored { const char *key; const uint8_t *data; uint32_t len; hpt__pk_ref storage; } stored;
typedef struct legacy {
    hpt__pickle info, obj, keys;
    stored *s;                      /* by key */
    uint32_t n, *order;             /* order: of the data */
} legacy;

static int stored_order(const void *a, const void *b) {
    const stored *x = a, *y = b;
    return x->len != y->len ? (x->len < y->len ? -1 : 1) : memcmp(x->key, y->key, x->len);
}
static stored *find_stored(const legacy *c, const char *key, uint32_t len) {
    stored k = {.key = key, .len = len};
    return c->n ? bsearch(&k, c->s, c->n, sizeof *c->s, stored_order) : NULL;
}
static hpt_status locate_legacy(void *ctx, const hpt__pk_storage *s, const uint8_t **data) {
    const stored *e = find_stored(ctx, s->key, s->key_len);
    if (!e || !e->data) return BAD("storage '%.*s' is missing", (int)s->key_len, s->key);
    *data = e->data;
    return HPT_OK;
}

/* The magic number of a legacy file in any protocol: bytes up to its end, or 0. */
size_t hpt__torch_legacy_magic(const uint8_t *p, size_t n) {
    static const uint8_t magic[13] = {0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
    static const char text[] = "L119547037146038801333356L\n.";
    size_t at = 0;
    if (n > sizeof text && !memcmp(p, text, sizeof text - 1)) return sizeof text - 1;
    if (n >= 2 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5) at = 2;
    if (at && n > at + 9 && p[at] == 0x95) at += 9;       /* protocols 4 and 5: a frame */
    return at && n >= at + sizeof magic && !memcmp(p + at, magic, sizeof magic) ? at + sizeof magic : 0;
}

static int little_endian(const hpt__pickle *info) {
    hpt__pk_value v = hpt__pk_get(info, hpt__pk_lookup(info, info->root, "little_endian"));
    return v.kind != HPT__PK_BOOL || v.i;
}
/* The list of keys, sorted; it gives the order of the data. */
static hpt_status read_keys(hpt__tensorfile *f, legacy *c, size_t bytes_left) {
    const hpt__pickle *p = &c->keys;
    uint32_t n = hpt__pk_count(p, p->root), i = 0;
    uint64_t cost = (uint64_t)n * (sizeof *c->s + sizeof *c->order);
    if (hpt__pk_get(p, p->root).kind != HPT__PK_LIST || n > 100000 || n > bytes_left / 8 || cost > f->room)
        return BAD("legacy file: list of storages, or cut");
    f->room -= cost;
    c->s = hpt__calloc(n, sizeof *c->s);
    c->order = hpt__calloc(n, sizeof *c->order);
    if (!c->s || !c->order) return hpt__fail_memory((size_t)cost);
    hpt__pk_ref k;
    for (hpt__pk_iter it = hpt__pk_items(p, p->root); hpt__pk_next(&it, &k); i++) {
        hpt__pk_value key = hpt__pk_get(p, k);
        if (key.kind != HPT__PK_STR || key.len > 64) return BAD("legacy file: storage key %u", i);
        c->s[i] = (stored){.key = key.s, .len = (uint32_t)key.len, .storage = HPT__PK_NOTHING};
    }
    c->n = n;
    qsort(c->s, n, sizeof *c->s, stored_order);
    for (i = 1; i < n; i++)
        if (!stored_order(&c->s[i - 1], &c->s[i])) return BAD("legacy file: a storage is listed twice");
    i = 0;
    for (hpt__pk_iter it = hpt__pk_items(p, p->root); hpt__pk_next(&it, &k); i++) {
        hpt__pk_value key = hpt__pk_get(p, k);
        c->order[i] = (uint32_t)(find_stored(c, key.s, (uint32_t)key.len) - c->s);
    }
    return HPT_OK;
}
/* Types and sizes of the storages are those of the object's references; then the data follow, to the end of the file.
 */
static hpt_status read_storages(legacy *c, const uint8_t *p, const uint8_t *end) {
    for (hpt__pk_ref r = c->obj.storages; r != HPT__PK_NOTHING;) {
        hpt__pk_storage s = hpt__pk_storage_of(&c->obj, r), before;
        stored *e = find_stored(c, s.key, s.key_len);
        if (e && e->storage != HPT__PK_NOTHING) {
            before = hpt__pk_storage_of(&c->obj, e->storage);
            if (before.numel != s.numel || before.bytes != s.bytes || before.type != s.type) e = NULL;
        }
        if (!e) return BAD("legacy file: storage '%.*s'", (int)s.key_len, s.key);
        e->storage = r;
        r = s.next;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        stored *e = &c->s[c->order[i]];
        int64_t count;
        if (end - p < 8 || e->storage == HPT__PK_NOTHING)
            return BAD("legacy file: cut, or a storage that nothing uses");
        hpt__pk_storage s = hpt__pk_storage_of(&c->obj, e->storage);
        memcpy(&count, p, 8);
        p += 8;
        if (!s.bytes) {
            char cls[120];
            hpt__pk_class_name(&c->obj, s.unknown, cls, sizeof cls);
            return hpt__fail(HPT_ERR_UNSUPPORTED,
                             "legacy file: the size of a %s is not known, so that what follows cannot be found", cls);
        }
        if (count != s.numel || (uint64_t)count > (uint64_t)(end - p) / s.bytes)
            return BAD("legacy file: storage '%.*s' of %lld elements", (int)e->len, e->key, (long long)count);
        e->data = p;
        p += (size_t)count * s.bytes;
    }
    return p == end ? HPT_OK : BAD("legacy file: bytes after the last storage");
}
static hpt_status parse_legacy(hpt__tensorfile *f, legacy *c) {
    const uint8_t *p = f->file.p, *end = p + f->file.n;
    p += hpt__torch_legacy_magic(p, f->file.n);
    HPT_TRY(hpt__pickle_parse(&c->info, p, (size_t)(end - p), &f->room));
    p += c->info.end;
    hpt__pk_value protocol = hpt__pk_get(&c->info, c->info.root);
    if (protocol.kind != HPT__PK_INT || protocol.i != 1001) return BAD("legacy file: protocol is not 1001");
    hpt__pickle_free(&c->info);
    HPT_TRY(hpt__pickle_parse(&c->info, p, (size_t)(end - p), &f->room));
    p += c->info.end;
    if (!little_endian(&c->info)) return hpt__fail(HPT_ERR_UNSUPPORTED, "a checkpoint with big-endian numbers");
    HPT_TRY(hpt__pickle_parse(&c->obj, p, (size_t)(end - p), &f->room));
    p += c->obj.end;
    HPT_TRY(hpt__pickle_parse(&c->keys, p, (size_t)(end - p), &f->room));
    p += c->keys.end;
    HPT_TRY(read_keys(f, c, (size_t)(end - p)));
    HPT_TRY(read_storages(c, p, end));
    walk w = {.f = f, .p = &c->obj, .locate = locate_legacy, .ctx = c};
    return list_all(&w);
}
hpt_status hpt__torch_legacy_parse(hpt__tensorfile *f) {
    legacy c;
    memset(&c, 0, sizeof c);
    hpt_status st = parse_legacy(f, &c);
    hpt__free(c.s);
    hpt__free(c.order);
    hpt__pickle_free(&c.info);
    hpt__pickle_free(&c.obj);
    hpt__pickle_free(&c.keys);
    return st;
}

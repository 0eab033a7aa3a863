/* SPDX-License-Identifier: MIT */
#include "io/pickle.h"
#include "core/alloc.h"
#include <string.h>

#define BAD(...) hpt__fail(HPT_ERR_FORMAT, "pickle: " __VA_ARGS__)
enum { MAX_NODES = 8 << 20, MAX_STACK = 1 << 20, MAX_MARKS = 64, MAX_MEMO = 16 << 20, MAX_BYTES = 64 << 20, MAX_TEXT = 1 << 20 };

/* The names that may occur, and what they mean here. Storages carry their element type. */
enum { G_ODICT, G_REBUILD, G_REBUILD_OLD, G_PARAMETER, G_STORAGE, G_IGNORED };
static const struct { const char *name; int what, type; } globals[] = {
    {"collections OrderedDict", G_ODICT, 0}, {"torch._utils _rebuild_tensor_v2", G_REBUILD, 0},
    {"torch._utils _rebuild_tensor", G_REBUILD_OLD, 0}, {"torch._utils _rebuild_parameter", G_PARAMETER, 0},
    {"torch FloatStorage", G_STORAGE, HPT__FT_F32}, {"torch DoubleStorage", G_STORAGE, HPT__FT_F64},
    {"torch HalfStorage", G_STORAGE, HPT__FT_F16}, {"torch BFloat16Storage", G_STORAGE, HPT__FT_BF16},
    {"torch LongStorage", G_STORAGE, HPT__FT_I64}, {"torch IntStorage", G_STORAGE, HPT__FT_I32},
    {"torch ShortStorage", G_STORAGE, HPT__FT_I16}, {"torch CharStorage", G_STORAGE, HPT__FT_I8},
    {"torch ByteStorage", G_STORAGE, HPT__FT_U8}, {"torch BoolStorage", G_STORAGE, HPT__FT_BOOL}};

typedef struct machine {
    hpt__pickle *p;
    const uint8_t *d;
    size_t n, at;
    uint32_t *stack, top, stack_cap;
    uint32_t mark[MAX_MARKS], marks;
    uint32_t *memo_key, *memo_val, memo_cap, memo_used;     /* open addressing; key = index + 1 */
} machine;

static hpt_status add(machine *m, hpt__pk_kind kind, uint32_t *out) {
    hpt__pickle *p = m->p;
    if (p->n == MAX_NODES) return BAD("more than %d values", MAX_NODES);
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 1024;
        hpt__pk_node *x = hpt__realloc(p->node, sizeof *x * cap);
        if (!x) return hpt__fail_memory(sizeof *x * cap);
        p->node = x;
        p->cap = cap;
    }
    memset(&p->node[p->n], 0, sizeof *p->node);
    p->node[p->n].kind = kind;
    *out = p->n++;
    return HPT_OK;
}
static hpt_status push(machine *m, uint32_t node) {
    if (m->top == MAX_STACK) return BAD("stack of more than %d values at byte %zu", MAX_STACK, m->at);
    if (m->top == m->stack_cap) {
        uint32_t cap = m->stack_cap ? m->stack_cap * 2 : 256;
        uint32_t *s = hpt__realloc(m->stack, sizeof *s * cap);
        if (!s) return hpt__fail_memory(sizeof *s * cap);
        m->stack = s;
        m->stack_cap = cap;
    }
    m->stack[m->top++] = node;
    return HPT_OK;
}
static hpt_status push_new(machine *m, hpt__pk_kind kind, hpt__pk_node **node) {
    uint32_t x;
    HPT_TRY(add(m, kind, &x));
    *node = &m->p->node[x];
    return push(m, x);
}
static hpt_status append(machine *m, uint32_t to, const uint32_t *items, uint32_t n) {
    hpt__pk_node *x = &m->p->node[to];
    if (x->n + n > x->cap) {
        uint32_t cap = (x->n + n) * (x->n ? 2 : 1);
        uint32_t *more = hpt__realloc(x->item, sizeof *more * cap);
        if (!more) return hpt__fail_memory(sizeof *more * cap);
        x->item = more;
        x->cap = cap;
    }
    if (n) memcpy(x->item + x->n, items, sizeof *items * n);
    x->n += n;
    return HPT_OK;
}
/* values above the last mark; removes the mark but not the values */
static hpt_status above_mark(machine *m, uint32_t *first) {
    if (!m->marks) return BAD("no mark at byte %zu", m->at);
    *first = m->mark[--m->marks];
    return *first <= m->top ? HPT_OK : BAD("mark above the stack at byte %zu", m->at);
}
static hpt_status need(machine *m, uint32_t n) {
    uint32_t floor = m->marks ? m->mark[m->marks - 1] : 0;
    return m->top >= floor + n ? HPT_OK : BAD("stack is empty at byte %zu", m->at);
}

static hpt_status memo_put(machine *m, uint32_t index, uint32_t value) {
    if (index >= MAX_MEMO) return BAD("memo index %u at byte %zu", index, m->at);
    if (m->memo_used * 2 >= m->memo_cap) {
        uint32_t cap = m->memo_cap ? m->memo_cap * 2 : 1024;
        uint32_t *k = hpt__calloc(cap, sizeof *k), *v = hpt__calloc(cap, sizeof *v);
        if (!k || !v) {
            hpt__free(k);
            hpt__free(v);
            return hpt__fail_memory(sizeof *k * cap);
        }
        for (uint32_t i = 0; i < m->memo_cap; i++)
            if (m->memo_key[i]) {
                uint32_t j = m->memo_key[i] * 2654435761u & (cap - 1);
                while (k[j]) j = (j + 1) & (cap - 1);
                k[j] = m->memo_key[i];
                v[j] = m->memo_val[i];
            }
        hpt__free(m->memo_key);
        hpt__free(m->memo_val);
        m->memo_key = k;
        m->memo_val = v;
        m->memo_cap = cap;
    }
    uint32_t j = (index + 1) * 2654435761u & (m->memo_cap - 1);
    while (m->memo_key[j] && m->memo_key[j] != index + 1) j = (j + 1) & (m->memo_cap - 1);
    m->memo_used += !m->memo_key[j];
    m->memo_key[j] = index + 1;
    m->memo_val[j] = value;
    return HPT_OK;
}
static hpt_status memo_get(machine *m, uint32_t index) {
    if (m->memo_cap)
        for (uint32_t j = (index + 1) * 2654435761u & (m->memo_cap - 1); m->memo_key[j]; j = (j + 1) & (m->memo_cap - 1))
            if (m->memo_key[j] == index + 1) return push(m, m->memo_val[j]);
    return BAD("memo entry %u does not exist at byte %zu", index, m->at);
}

static int key_ok(const hpt__pk_node *s) {
    if (s->kind != HPT__PK_STR || !s->len || s->len > 32) return 0;
    for (uint32_t i = 0; i < s->len; i++) {
        char c = s->s[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-')) return 0;
    }
    return 1;
}

/* ('storage', Storage, key, location, numel[, view]) */
static hpt_status persistent(machine *m) {
    HPT_TRY(need(m, 1));
    hpt__pk_node *N = m->p->node, *t = &N[m->stack[m->top - 1]];
    if (t->kind != HPT__PK_TUPLE || t->n < 5 || t->n > 6) return BAD("persistent id at byte %zu", m->at);
    hpt__pk_node *tag = &N[t->item[0]], *cls = &N[t->item[1]], *key = &N[t->item[2]], *count = &N[t->item[4]];
    if (tag->kind != HPT__PK_STR || tag->len != 7 || memcmp(tag->s, "storage", 7) || cls->kind != HPT__PK_GLOBAL || globals[cls->i].what != G_STORAGE ||
        !key_ok(key) || count->kind != HPT__PK_INT || count->i < 0)
        return BAD("persistent id at byte %zu is not a storage", m->at);
    int64_t view = 0, numel = count->i;
    if (t->n == 6) {
        hpt__pk_node *v = &N[t->item[5]];
        if (v->kind == HPT__PK_TUPLE && v->n == 3 && N[v->item[1]].kind == HPT__PK_INT && N[v->item[2]].kind == HPT__PK_INT) {
            view = N[v->item[1]].i;
            int64_t size = N[v->item[2]].i;
            if (view < 0 || size < 0 || view > numel || size > numel - view) return BAD("storage view at byte %zu", m->at);
        } else if (v->kind != HPT__PK_NONE) return BAD("storage view at byte %zu", m->at);
    }
    int type = globals[cls->i].type;
    const char *s = key->s;
    uint32_t len = key->len, x;
    m->top--;
    HPT_TRY(add(m, HPT__PK_STORAGE, &x));
    hpt__pk_node *o = &m->p->node[x];
    o->i = type;
    o->s = s;
    o->len = len;
    o->numel = numel;
    o->view = view;
    return push(m, x);
}

/* (storage, offset, size, stride, ...): bounds are proved here, once */
static hpt_status rebuild(machine *m, const hpt__pk_node *args, uint32_t *out) {
    hpt__pk_node *N = m->p->node;
    if (args->n < 4) return BAD("tensor with %u arguments at byte %zu", args->n, m->at);
    uint32_t storage = args->item[0];
    hpt__pk_node *st = &N[storage], *off = &N[args->item[1]], *size = &N[args->item[2]], *stride = &N[args->item[3]];
    if (st->kind != HPT__PK_STORAGE || off->kind != HPT__PK_INT || size->kind != HPT__PK_TUPLE || stride->kind != HPT__PK_TUPLE || size->n != stride->n)
        return BAD("tensor arguments at byte %zu", m->at);
    if (size->n > 8) return BAD("tensor of %u dimensions at byte %zu", size->n, m->at);
    int64_t shape[8] = {0}, step[8] = {0}, start, last = 0;
    uint64_t count = 1;
    if (off->i < 0 || __builtin_add_overflow(off->i, st->view, &start)) return BAD("tensor offset at byte %zu", m->at);
    int ndim = (int)size->n;
    for (int d = 0; d < ndim; d++) {
        hpt__pk_node *a = &N[size->item[d]], *b = &N[stride->item[d]];
        int64_t reach;
        if (a->kind != HPT__PK_INT || b->kind != HPT__PK_INT || a->i < 0 || b->i < 0) return BAD("tensor shape at byte %zu", m->at);
        shape[d] = a->i;
        step[d] = b->i;
        if (__builtin_mul_overflow(count, (uint64_t)a->i, &count)) return BAD("tensor size overflows at byte %zu", m->at);
        if (a->i > 1 && (__builtin_mul_overflow(a->i - 1, b->i, &reach) || __builtin_add_overflow(last, reach, &last)))
            return BAD("tensor stride overflows at byte %zu", m->at);
    }
    if (count && (__builtin_add_overflow(last, start, &last) || last >= st->numel)) return BAD("tensor reaches outside its storage at byte %zu", m->at);
    if (count > (uint64_t)st->numel * 2 + 8) return BAD("tensor repeats its storage at byte %zu", m->at);
    HPT_TRY(add(m, HPT__PK_TENSOR, out));
    hpt__pk_node *o = &m->p->node[*out];
    o->i = storage;
    o->offset = start;
    o->ndim = ndim;
    memcpy(o->shape, shape, sizeof shape);
    memcpy(o->stride, step, sizeof step);
    return HPT_OK;
}

static hpt_status reduce(machine *m) {
    HPT_TRY(need(m, 2));
    uint32_t args = m->stack[--m->top], fn = m->stack[--m->top], out;
    hpt__pk_node *f = &m->p->node[fn], *a = &m->p->node[args];
    if (a->kind != HPT__PK_TUPLE) return BAD("arguments are not a tuple at byte %zu", m->at);
    if (f->kind == HPT__PK_OPAQUE) return push(m, fn);
    if (f->kind != HPT__PK_GLOBAL) return BAD("a value is called at byte %zu", m->at);
    switch (globals[f->i].what) {
    case G_ODICT: {
        if (a->n > 1) return BAD("OrderedDict arguments at byte %zu", m->at);
        uint32_t list = a->n ? a->item[0] : 0, pairs = a->n;
        HPT_TRY(add(m, HPT__PK_DICT, &out));
        if (pairs) {            /* Python 2: OrderedDict([[k, v], ...]) */
            if (m->p->node[list].kind != HPT__PK_LIST) return BAD("OrderedDict arguments at byte %zu", m->at);
            for (uint32_t i = 0; i < m->p->node[list].n; i++) {
                hpt__pk_node *kv = &m->p->node[m->p->node[list].item[i]];
                if ((kv->kind != HPT__PK_LIST && kv->kind != HPT__PK_TUPLE) || kv->n != 2) return BAD("OrderedDict pair at byte %zu", m->at);
                HPT_TRY(append(m, out, kv->item, 2));
            }
        }
        return push(m, out); }
    case G_REBUILD: case G_REBUILD_OLD:
        HPT_TRY(rebuild(m, a, &out));
        return push(m, out);
    case G_PARAMETER:
        if (a->n < 1 || m->p->node[a->item[0]].kind != HPT__PK_TENSOR) return BAD("parameter without a tensor at byte %zu", m->at);
        return push(m, a->item[0]);
    default: return BAD("a storage class is called at byte %zu", m->at);
    }
}

static hpt_status text(machine *m, size_t len) {
    hpt__pk_node *x;
    if (len > MAX_TEXT || len > m->n - m->at) return BAD("text of %zu bytes at byte %zu", len, m->at);
    HPT_TRY(push_new(m, HPT__PK_STR, &x));
    x->s = (const char *)m->d + m->at;
    x->len = (uint32_t)len;
    m->at += len;
    return HPT_OK;
}
static hpt_status global(machine *m) {
    char name[300];
    size_t n = 0;
    int lines = 0;
    while (lines < 2) {
        if (m->at == m->n || n > 290) return BAD("name at byte %zu", m->at);
        char c = (char)m->d[m->at++];
        if (c == '\n') {
            if (++lines == 1) name[n++] = ' ';
        } else name[n++] = c;
    }
    name[n] = 0;
    hpt__pk_node *x;
    HPT_TRY(push_new(m, HPT__PK_OPAQUE, &x));
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (!strcmp(globals[i].name, name)) {
            x->kind = HPT__PK_GLOBAL;
            x->i = (int64_t)i;
        }
    return HPT_OK;
}
static hpt_status tuple(machine *m, uint32_t n) {
    uint32_t x;
    HPT_TRY(need(m, n));
    HPT_TRY(add(m, HPT__PK_TUPLE, &x));
    if (n) HPT_TRY(append(m, x, m->stack + m->top - n, n));
    m->top -= n;
    return push(m, x);
}

static uint32_t le(const uint8_t *p, int n) {
    uint32_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint32_t)p[i] << 8 * i;
    return v;
}

static hpt_status step(machine *m, int op) {
    static const uint8_t operand[256] = {['K'] = 1, ['M'] = 2, ['J'] = 4, ['G'] = 8, ['X'] = 4, ['U'] = 1, ['T'] = 4, ['q'] = 1, ['r'] = 4,
                                         ['h'] = 1, ['j'] = 4, [0x8a] = 1};
    hpt__pk_node *x;
    uint32_t first, y;
    const uint8_t *a = m->d + m->at;
    if (m->n - m->at < operand[op & 255]) return BAD("cut at byte %zu", m->at);
    m->at += operand[op & 255];
    switch (op) {
    case '}': return push_new(m, HPT__PK_DICT, &x);
    case ']': return push_new(m, HPT__PK_LIST, &x);
    case ')': return push_new(m, HPT__PK_TUPLE, &x);
    case 'N': return push_new(m, HPT__PK_NONE, &x);
    case 0x88: case 0x89:
        HPT_TRY(push_new(m, HPT__PK_BOOL, &x));
        x->i = op == 0x88;
        return HPT_OK;
    case 'K': case 'M': case 'J':
        HPT_TRY(push_new(m, HPT__PK_INT, &x));
        x->i = op == 'J' ? (int32_t)le(a, 4) : (int64_t)le(a, op == 'K' ? 1 : 2);
        return HPT_OK;
    case 0x8a: {
        uint64_t v = 0;
        size_t len = a[0];
        if (len > m->n - m->at) return BAD("cut at byte %zu", m->at);
        HPT_TRY(push_new(m, len > 8 ? HPT__PK_OPAQUE : HPT__PK_INT, &x));     /* wider numbers: only the magic of legacy files */
        for (size_t i = 0; i < len && i < 8; i++) v |= (uint64_t)m->d[m->at + i] << 8 * i;
        if (len && len < 8 && m->d[m->at + len - 1] & 0x80) v |= ~0ull << 8 * len;
        x->i = (int64_t)v;
        m->at += len;
        return HPT_OK; }
    case 'G': {
        uint64_t v = 0;
        for (int i = 0; i < 8; i++) v = v << 8 | a[i];
        HPT_TRY(push_new(m, HPT__PK_FLOAT, &x));
        memcpy(&x->f, &v, 8);
        return HPT_OK; }
    case 'X': case 'T': return text(m, le(a, 4));
    case 'U': return text(m, a[0]);
    case 'c': return global(m);
    case 'q': case 'r':
        HPT_TRY(need(m, 1));
        return memo_put(m, le(a, op == 'q' ? 1 : 4), m->stack[m->top - 1]);
    case 'h': case 'j': return memo_get(m, le(a, op == 'h' ? 1 : 4));
    case '(':
        if (m->marks == MAX_MARKS) return BAD("nesting deeper than %d at byte %zu", MAX_MARKS, m->at);
        m->mark[m->marks++] = m->top;
        return HPT_OK;
    case 't':
        HPT_TRY(above_mark(m, &first));
        return tuple(m, m->top - first);
    case 0x85: case 0x86: case 0x87: return tuple(m, (uint32_t)(op - 0x84));
    case 'a': case 'e':
        if (op == 'a') {
            HPT_TRY(need(m, 2));
            first = m->top - 1;
        } else HPT_TRY(above_mark(m, &first));
        if (!first) return BAD("nothing to append to at byte %zu", m->at);
        y = m->stack[first - 1];
        if (m->p->node[y].kind != HPT__PK_LIST) return BAD("append to something that is no list at byte %zu", m->at);
        HPT_TRY(append(m, y, m->stack + first, m->top - first));
        m->top = first;
        return HPT_OK;
    case 's': case 'u':
        if (op == 's') {
            HPT_TRY(need(m, 3));
            first = m->top - 2;
        } else HPT_TRY(above_mark(m, &first));
        if (!first || (m->top - first) % 2) return BAD("dictionary items at byte %zu", m->at);
        y = m->stack[first - 1];
        if (m->p->node[y].kind != HPT__PK_OPAQUE) {
            if (m->p->node[y].kind != HPT__PK_DICT) return BAD("item of something that is no dictionary at byte %zu", m->at);
            HPT_TRY(append(m, y, m->stack + first, m->top - first));
        }
        m->top = first;
        return HPT_OK;
    case 'Q': return persistent(m);
    case 'R': return reduce(m);
    case 'b':
        HPT_TRY(need(m, 2));
        x = &m->p->node[m->stack[m->top - 2]];
        if (x->kind != HPT__PK_DICT && x->kind != HPT__PK_OPAQUE) return BAD("state of a plain value at byte %zu", m->at);
        m->top--;       /* attributes such as _metadata are not data */
        return HPT_OK;
    default: return BAD("opcode 0x%02x at byte %zu is not allowed", (unsigned)op, m->at - 1);
    }
}

hpt_status hpt__pickle_parse(hpt__pickle *p, const uint8_t *data, size_t n) {
    machine m = {.p = p, .d = data, .n = n > MAX_BYTES ? MAX_BYTES : n};
    hpt_status st = HPT_OK;
    memset(p, 0, sizeof *p);
    if (n < 2 || data[0] != 0x80 || data[1] != 2) st = BAD("protocol is not 2");
    m.at = 2;
    while (!st) {
        if (m.at >= m.n) {
            st = BAD("cut, or over %d bytes", MAX_BYTES);
            break;
        }
        int op = m.d[m.at++];
        if (op == '.') {
            if (m.top != 1 || m.marks) st = BAD("%u values left at the end", m.top);
            else p->root = m.stack[0], p->end = m.at;
            break;
        }
        st = step(&m, op);
    }
    hpt__free(m.stack);
    hpt__free(m.memo_key);
    hpt__free(m.memo_val);
    if (st) hpt__pickle_free(p);
    return st;
}

void hpt__pickle_free(hpt__pickle *p) {
    for (uint32_t i = 0; i < p->n; i++) hpt__free(p->node[i].item);
    hpt__free(p->node);
    memset(p, 0, sizeof *p);
}

/* SPDX-License-Identifier: MIT
 * Contract: pickle.h. A machine of the opcodes of protocols 0 to 5 that builds values and calls nothing. Every length
 * is compared with what is left of the file before it is believed. */
#include "io/pickle_inside.h"
#include "core/alloc.h"

enum { MAX_MARKS = 1024, MAX_CALLS = 4 };
static const size_t max_bytes = (size_t)1 << 31;        /* offsets leave the top bit free */

typedef struct machine {
    hpt__pickle *p;
    const uint8_t *d;
    size_t n, at;
    uint32_t *stack, top, stack_cap;
    uint32_t mark[MAX_MARKS], marks;
    uint32_t *memo, memo_cap, memo_used;        /* by index: writers number from 0 or 1 without gaps */
} machine;

/* Room for want numbers in an array; all arrays of a pickle are paid from one allowance. */
static hpt_status grow(machine *m, uint32_t **a, uint32_t *cap, uint64_t want) {
    if (want <= *cap) return HPT_OK;
    uint64_t more = want + want / 2 + 64,
             most = *m->p->room / sizeof **a; /* the old array lives until the new one is filled */
    if (more > most) more = most;
    if (more < want || more > OBJECT_BIT - 1)
        return BAD("at byte %zu its values would need more memory than a file of this size may ask for", m->at);
    uint32_t *x = hpt__realloc(*a, sizeof *x * more);
    if (!x) return hpt__fail_memory(sizeof *x * more);
    *m->p->room -= more * sizeof *x - *cap * sizeof *x;
    *a = x;
    *cap = (uint32_t)more;
    return HPT_OK;
}
static void release(machine *m, uint32_t *a, uint32_t cap) {
    hpt__free(a);
    *m->p->room += (uint64_t)cap * sizeof *a;
}
static hpt_status cells(machine *m, uint64_t n, uint32_t *first) {
    HPT_TRY(grow(m, &m->p->cell, &m->p->cap, m->p->used + n));
    *first = m->p->used;
    m->p->used += (uint32_t)n;
    return HPT_OK;
}
/* A new object of a head and n more cells. */
static hpt_status make(machine *m, uint32_t head, const uint32_t *rest, uint32_t n, hpt__pk_ref *out) {
    uint32_t at;
    HPT_TRY(cells(m, n + 1, &at));
    m->p->cell[at] = head;
    if (n) memcpy(m->p->cell + at + 1, rest, sizeof *rest * n);
    *out = at | OBJECT_BIT;
    return HPT_OK;
}
static hpt_status push(machine *m, hpt__pk_ref x) {
    HPT_TRY(grow(m, &m->stack, &m->stack_cap, m->top + 1ull));
    m->stack[m->top++] = x;
    return HPT_OK;
}
static hpt_status container(machine *m, hpt__pk_kind kind, hpt__pk_ref *out) {
    return make(m, kind, (uint32_t[]){0, NOTHING, NOTHING}, 3, out);
}
static hpt_status opaque(machine *m, hpt__pk_ref cls, hpt__pk_ref args, hpt__pk_ref *out) {
    return make(m, HPT__PK_OBJECT, (uint32_t[]){cls, args, NOTHING, NOTHING}, 4, out);
}
/* Adds items, which lie outside the cells, to a LIST or DICT. */
static hpt_status append(machine *m, hpt__pk_ref to, const uint32_t *items, uint32_t n) {
    hpt__pickle *p = m->p;
    uint32_t at, last = object(p, to)[3];
    if (!n) return HPT_OK;
    if (last != NOTHING && last + 2 + p->cell[last + 1] == p->used)
        HPT_TRY(cells(m, n, &at)); /* its last chunk is the end of the cells */
    else {
        HPT_TRY(cells(m, n + 2ull, &at));
        p->cell[at] = NOTHING;
        p->cell[at + 1] = 0;
        if (last == NOTHING) object(p, to)[2] = at;
        else p->cell[last] = at;
        object(p, to)[3] = last = at;
        at += 2;
    }
    memcpy(p->cell + at, items, sizeof *items * n);
    p->cell[last + 1] += n;
    object(p, to)[1] += n;
    return HPT_OK;
}

/* Values above the last mark; removes the mark but not the values. */
static hpt_status above_mark(machine *m, uint32_t *first) {
    if (!m->marks) return BAD("no mark at byte %zu", m->at);
    *first = m->mark[--m->marks];
    return HPT_OK;
}
static hpt_status need(machine *m, uint32_t n) {
    uint32_t floor = m->marks ? m->mark[m->marks - 1] : 0;
    return m->top - floor >= n ? HPT_OK : BAD("stack is empty at byte %zu", m->at);
}
static hpt_status tuple_of(machine *m, uint32_t first, hpt__pk_ref *out) {
    uint32_t n = m->top - first, at;
    HPT_TRY(cells(m, n + 2ull, &at));
    m->p->cell[at] = HPT__PK_TUPLE;
    m->p->cell[at + 1] = n;
    if (n) memcpy(m->p->cell + at + 2, m->stack + first, sizeof *m->stack * n);
    m->top = first;
    *out = at | OBJECT_BIT;
    return HPT_OK;
}

static hpt_status memo_put(machine *m, uint64_t index) {
    HPT_TRY(need(m, 1));
    if (index > m->at) return BAD("memo index %llu at byte %zu", (unsigned long long)index, m->at);
    uint32_t was = m->memo_cap;
    HPT_TRY(grow(m, &m->memo, &m->memo_cap, index + 1));
    memset(m->memo + was, 0xff, sizeof *m->memo * (m->memo_cap - was));     /* NOTHING */
    m->memo_used += m->memo[index] == NOTHING;
    m->memo[index] = m->stack[m->top - 1];
    return HPT_OK;
}
static hpt_status memo_get(machine *m, uint64_t index) {
    if (index >= m->memo_cap || m->memo[index] == NOTHING)
        return BAD("memo entry %llu does not exist at byte %zu", (unsigned long long)index, m->at);
    return push(m, m->memo[index]);
}

/* Copies the items of a dictionary, or the pairs of a list, into a new dictionary; *out stays NOTHING if from is
 * neither. */
static hpt_status dict_from(machine *m, hpt__pk_ref from, hpt__pk_ref *out) {
    hpt__pk_kind kind = kind_of(m->p, from);
    hpt__pk_ref x, pair[2];
    *out = NOTHING;
    if (kind != HPT__PK_DICT && kind != HPT__PK_LIST) return HPT_OK;
    hpt__pk_iter it = hpt__pk_items(m->p, from);
    HPT_TRY(container(m, HPT__PK_DICT, out));
    while (hpt__pk_next(&it, &x)) {
        pair[0] = x;
        if (kind == HPT__PK_DICT) hpt__pk_next(&it, &pair[1]);
        else {
            hpt__pk_iter two = hpt__pk_items(m->p, x);
            if (hpt__pk_count(m->p, x) != 2 || kind_of(m->p, x) == HPT__PK_DICT)
                return BAD("dictionary pair at byte %zu", m->at);
            hpt__pk_next(&two, &pair[0]);
            hpt__pk_next(&two, &pair[1]);
        }
        HPT_TRY(append(m, *out, pair, 2));
    }
    return HPT_OK;
}

/* Bytes of a bytes object: written as they are, or as text for _codecs.encode(text, "latin1"). Returns how many of at
 * most max. */
static size_t bytes_of(const hpt__pickle *p, hpt__pk_ref ref, uint8_t *out, size_t max) {
    if (kind_of(p, ref) == HPT__PK_OBJECT && what_of(p, object(p, ref)[1]) == G_ENCODE) {
        hpt__pk_value t = hpt__pk_get(p, hpt__pk_item(p, object(p, ref)[2], 0));
        size_t n = 0;
        for (size_t i = 0; t.kind == HPT__PK_STR && i < t.len && n < max; n++) {
            uint8_t c = (uint8_t)t.s[i++];
            if (c >= 0xc0 && i < t.len) c = (uint8_t)(c << 6 | (t.s[i++] & 0x3f));
            out[n] = c;
        }
        return n;
    }
    if (is_object(ref) || ref == NOTHING) return 0;
    const uint8_t *op = p->data + ref;
    int width = *op == 'C' || *op == 'U' ? 1 : *op == 'B' || *op == 'T' ? 4 : *op == 0x8e ? 8 : 0;
    uint64_t n = width ? le(op + 1, width) : 0;
    if (n > max) return 0;
    memcpy(out, op + 1 + width, (size_t)n);
    return (size_t)n;
}
/* numpy's scalar(dtype, bytes): best scores and epochs are kept as such. Opaque unless it is a plain little-endian
 * number. */
static hpt_status np_scalar(machine *m, hpt__pk_ref fn, hpt__pk_ref args, hpt__pk_ref *out) {
    static const struct {
        char code[3];
        hpt__ftype type;
    } codes[] = {{"f8", HPT__FT_F64}, {"f4", HPT__FT_F32}, {"f2", HPT__FT_F16}, {"i8", HPT__FT_I64},
                 {"i4", HPT__FT_I32}, {"i2", HPT__FT_I16}, {"i1", HPT__FT_I8},  {"u8", HPT__FT_U64},
                 {"u4", HPT__FT_U32}, {"u2", HPT__FT_U16}, {"u1", HPT__FT_U8},  {"b1", HPT__FT_BOOL}};
    hpt__pickle *p = m->p;
    hpt__pk_ref dtype = hpt__pk_item(p, args, 0);
    if (kind_of(p, dtype) == HPT__PK_OBJECT && what_of(p, object(p, dtype)[1]) == G_NP_DTYPE) {
        uint8_t raw[8];
        hpt__pk_value code = hpt__pk_get(p, hpt__pk_item(p, object(p, dtype)[2], 0)),
                      order = hpt__pk_get(p, hpt__pk_item(p, object(p, dtype)[3], 1));
        size_t n = bytes_of(p, hpt__pk_item(p, args, 1), raw, sizeof raw);
        for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
            if (!hpt__pk_is_text(&code, codes[i].code) || hpt__pk_is_text(&order, ">") ||
                hpt__ftype_size(codes[i].type) != n) continue;
            int whole = codes[i].code[0] != 'f', sign = codes[i].code[0] == 'i' && n < 8 && raw[n - 1] & 0x80;
            uint64_t bits = le(raw, (int)n) | (sign ? ~0ull << 8 * n : 0);
            if (!whole && n < 8) {
                double f = hpt__ftype_value(codes[i].type, raw);
                memcpy(&bits, &f, 8);
            }
            if (codes[i].code[0] == 'u' && bits > (uint64_t)INT64_MAX) break;
            return make(m, codes[i].type == HPT__FT_BOOL ? HPT__PK_BOOL : whole ? HPT__PK_INT : HPT__PK_FLOAT,
                        (uint32_t[]){(uint32_t)bits, (uint32_t)(bits >> 32)}, 2, out);
        }
    }
    return opaque(m, fn, args, out);
}

/* What a call, or the making of an instance, yields. The only place where a name has a meaning. */
static hpt_status call(machine *m, hpt__pk_ref fn, hpt__pk_ref args, int depth, hpt__pk_ref *out) {
    hpt__pickle *p = m->p;
    hpt__pk_kind kind = kind_of(p, fn);
    if (kind_of(p, args) != HPT__PK_TUPLE) return BAD("arguments are not a tuple at byte %zu", m->at);
    if (kind != HPT__PK_GLOBAL && kind != HPT__PK_OBJECT && kind != HPT__PK_OPAQUE)
        return BAD("a value is called at byte %zu", m->at);
    uint32_t what = what_of(p, fn), n = hpt__pk_count(p, args);
    hpt__pk_ref first = hpt__pk_item(p, args, 0);
    switch (what) {
    case G_DICT:        /* (), (pairs or dict), defaultdict: (factory [, dict]) */
        for (uint32_t i = 0; i < n; i++) {
            HPT_TRY(dict_from(m, hpt__pk_item(p, args, i), out));
            if (*out != NOTHING) return HPT_OK;
        }
        return container(m, HPT__PK_DICT, out);
    case G_RECONSTRUCT:     /* protocols 0 and 1: (class, base, value of the base) */
        if (what_of(p, first) == G_DICT) {
            HPT_TRY(dict_from(m, hpt__pk_item(p, args, 2), out));
            return *out != NOTHING ? HPT_OK : container(m, HPT__PK_DICT, out);
        }
        HPT_TRY(opaque(m, first, args, out));
        if (kind_of(p, hpt__pk_item(p, args, 2)) == HPT__PK_DICT) object(p, *out)[4] = hpt__pk_item(p, args, 2);
        return HPT_OK;
    case G_NEWOBJ:
        return what_of(p, first) == G_DICT ? container(m, HPT__PK_DICT, out) : opaque(m, first, args, out);
    case G_SIZE:
        if (kind_of(p, first) != HPT__PK_TUPLE) break;
        *out = first;
        return HPT_OK;
    case G_INNER:           /* a Parameter and its like are the tensor inside */
        if (kind_of(p, first) != HPT__PK_TENSOR) break;
        *out = first;
        return HPT_OK;
    case G_FROM_TYPE:       /* (function, class, its arguments, state) */
        if (depth < MAX_CALLS && kind_of(p, hpt__pk_item(p, args, 2)) == HPT__PK_TUPLE)
            return call(m, first, hpt__pk_item(p, args, 2), depth + 1, out);
        break;
    case G_REBUILD:
    case G_REBUILD3:
    case G_QUANTIZED:
    case G_SPARSE:
    case G_META:
    case G_NESTED:
    case G_WRAPPER:
    case G_DEVICE:
    case G_NDARRAY:
    case G_FROMBUFFER: {
        hpt__pk_tensor t;
        HPT_TRY(make(m, HPT__PK_TENSOR | what << 8, (uint32_t[]){args, NOTHING}, 2, out));
        p->end = m->at;
        return hpt__pk_tensor_of(p, *out, &t); }
    case G_NP_SCALAR: return np_scalar(m, fn, args, out);
    default: break;
    }
    return opaque(m, fn, args, out);
}
static hpt_status reduce(machine *m, int instance) {
    hpt__pk_ref out;
    HPT_TRY(need(m, 2));
    hpt__pk_ref args = m->stack[--m->top], fn = m->stack[--m->top];
    uint32_t what = what_of(m->p, fn);
    if (instance && what == G_DICT) HPT_TRY(container(m, HPT__PK_DICT, &out));
    else if (instance && what != G_UNKNOWN) HPT_TRY(opaque(m, fn, args, &out));
    else HPT_TRY(call(m, fn, args, 0, &out));
    return push(m, out);
}

static int key_ok(const hpt__pk_value *s) {
    if (s->kind != HPT__PK_STR || !s->len || s->len > 32) return 0;
    for (size_t i = 0; i < s->len; i++) {
        char c = s->s[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
              c == '-'))
            return 0;
    }
    return 1;
}
/* ('storage', class, key, location, numel [, view]); ('module', class, file, source) of a model saved as a whole;
 * anything else is opaque. */
static hpt_status persistent(machine *m) {
    HPT_TRY(need(m, 1));
    hpt__pickle *p = m->p;
    hpt__pk_ref id = m->stack[m->top - 1], view = hpt__pk_item(p, id, 5), out;
    hpt__pk_value tag = hpt__pk_get(p, hpt__pk_item(p, id, 0)), key = hpt__pk_get(p, hpt__pk_item(p, id, 2));
    int64_t numel, from = 0, size = 0;
    m->top--;
    if (kind_of(p, id) == HPT__PK_TUPLE && hpt__pk_is_text(&tag, "module") && hpt__pk_count(p, id) >= 2)
        return push(m, hpt__pk_item(p, id, 1));
    if (kind_of(p, id) != HPT__PK_TUPLE || !hpt__pk_is_text(&tag, "storage")) {
        HPT_TRY(opaque(m, NOTHING, NOTHING, &out));
        return push(m, out);
    }
    if (!key_ok(&key) || !hpt__pk_is_int(p, hpt__pk_item(p, id, 4), &numel) || numel < 0 || numel > INT64_MAX / 16)
        return BAD("persistent id at byte %zu is not a storage", m->at);
    if (kind_of(p, view) == HPT__PK_TUPLE
            ? !hpt__pk_is_int(p, hpt__pk_item(p, view, 1), &from) || !hpt__pk_is_int(p, hpt__pk_item(p, view, 2),
            &size) || from < 0 ||
                  size < 0 || from > numel || size > numel - from
            : kind_of(p, view) != HPT__PK_NONE)
        return BAD("storage view at byte %zu", m->at);
    HPT_TRY(make(m, HPT__PK_STORAGE, (uint32_t[]){id, p->storages}, 2, &out));
    p->storages = out;
    return push(m, out);
}

/* Attributes of an object. Those of dictionaries (_metadata) are not data; a tensor's may replace its data, as old
 * Tensor.__setstate__ did. */
static hpt_status build(machine *m) {
    HPT_TRY(need(m, 2));
    hpt__pk_ref state = m->stack[--m->top], x = m->stack[m->top - 1];
    hpt__pk_kind kind = kind_of(m->p, x);
    if (kind == HPT__PK_OBJECT) object(m->p, x)[3] = state;
    else if (kind == HPT__PK_TENSOR) {
        uint32_t what = *object(m->p, x) >> 8;
        if (what == G_NDARRAY) {
            hpt__pk_tensor t;
            object(m->p, x)[2] = state;
            m->p->end = m->at;
            return hpt__pk_tensor_of(m->p, x, &t);
        }
        if (kind_of(m->p, state) != HPT__PK_DICT && hpt__pk_count(m->p, state) > 3) object(m->p, x)[2] = state;
    } else if (kind != HPT__PK_DICT && kind != HPT__PK_GLOBAL && kind != HPT__PK_OPAQUE && kind != HPT__PK_STORAGE)
        return BAD("state of a plain value at byte %zu", m->at);
    return HPT_OK;
}
static hpt_status set_items(machine *m, uint32_t first) {
    if (!first || (m->top - first) % 2) return BAD("dictionary items at byte %zu", m->at);
    hpt__pk_ref to = m->stack[first - 1];
    hpt__pk_kind kind = kind_of(m->p, to);
    if (kind == HPT__PK_OBJECT) { /* kept, so that a tensor in there can be named with the reason why it is not read */
        hpt__pk_ref items = object(m->p, to)[4];
        if (items == NOTHING) HPT_TRY(container(m, HPT__PK_DICT, &items));
        object(m->p, to)[4] = items;
        to = items;
        kind = HPT__PK_DICT;
    }
    if (kind == HPT__PK_DICT) HPT_TRY(append(m, to, m->stack + first, m->top - first));
    else if (kind != HPT__PK_OPAQUE) return BAD("item of something that is no dictionary at byte %zu", m->at);
    m->top = first;
    return HPT_OK;
}
/* APPEND, APPENDS, ADDITEMS */
static hpt_status add_items(machine *m, uint32_t first, int to_set) {
    if (!first) return BAD("nothing to append to at byte %zu", m->at);
    hpt__pk_kind kind = kind_of(m->p, m->stack[first - 1]);
    if (kind == HPT__PK_LIST && !to_set) HPT_TRY(append(m, m->stack[first - 1], m->stack + first, m->top - first));
    else if (kind != HPT__PK_OBJECT && kind != HPT__PK_OPAQUE)
        return BAD("append to something that is no list at byte %zu", m->at);
    m->top = first;
    return HPT_OK;
}

/* The bytes of the line at m->at; m->at is then behind it. */
static hpt_status line(machine *m, const uint8_t **text, size_t *n) {
    *text = m->d + m->at;
    const uint8_t *end = memchr(*text, '\n', m->n - m->at);
    if (!end || memchr(*text, 0, (size_t)(end - *text))) return BAD("line at byte %zu has no end", m->at);
    *n = (size_t)(end - *text);
    m->at += *n + 1;
    return HPT_OK;
}
static hpt_status global_from_text(machine *m, uint32_t op, hpt__pk_ref *out) {
    const uint8_t *module, *name;
    size_t a, b;
    HPT_TRY(line(m, &module, &a));
    HPT_TRY(line(m, &name, &b));
    return make(m, HPT__PK_GLOBAL | hpt__pk_meaning((const char *)module, a, (const char *)name, b) << 8,
                (uint32_t[]){op, NOTHING}, 2, out);
}
static hpt_status stack_global(machine *m) {
    HPT_TRY(need(m, 2));
    hpt__pk_ref pair[2] = {m->stack[m->top - 2], m->stack[m->top - 1]}, out;
    hpt__pk_value a = hpt__pk_get(m->p, pair[0]), b = hpt__pk_get(m->p, pair[1]);
    if (a.kind != HPT__PK_STR || b.kind != HPT__PK_STR) return BAD("name of a class at byte %zu", m->at);
    m->top -= 2;
    HPT_TRY(make(m, HPT__PK_GLOBAL | hpt__pk_meaning(a.s, a.len, b.s, b.len) << 8, pair, 2, &out));
    return push(m, out);
}

/* Widths of the numbers behind an opcode; LENGTH: that number counts bytes that follow; LINE: a line of text follows.
 */
enum { LENGTH = 16, LINE = 32 };
static const uint8_t operand[256] = {
    ['K'] = 1,           ['M'] = 2,           ['J'] = 4,           ['G'] = 8,           ['X'] = 4 | LENGTH,
    ['U'] = 1 | LENGTH,  ['T'] = 4 | LENGTH,  ['B'] = 4 | LENGTH,  ['C'] = 1 | LENGTH,  [0x8a] = 1 | LENGTH,
    [0x8b] = 4 | LENGTH, [0x8c] = 1 | LENGTH, [0x8d] = 8 | LENGTH, [0x8e] = 8 | LENGTH, [0x96] = 8 | LENGTH,
    ['I'] = LINE,        ['L'] = LINE,        ['F'] = LINE,        ['S'] = LINE,        ['V'] = LINE,
    ['P'] = LINE,        ['p'] = LINE,        ['g'] = LINE,        ['q'] = 1,           ['r'] = 4,
    ['h'] = 1,           ['j'] = 4,           [0x80] = 1,          [0x95] = 8,          [0x82] = 1,
    [0x83] = 2,          [0x84] = 4};

static hpt_status step(machine *m, uint8_t op) {
    uint32_t here = (uint32_t)m->at - 1, first = 0, width = operand[op] & 15;
    hpt__pk_ref x;
    const uint8_t *a = m->d + m->at, *text = NULL;
    size_t len = 0;
    if (m->n - m->at < width) return BAD("cut at byte %zu", m->at);
    uint64_t number = le(a, (int)width);
    m->at += width;
    if (operand[op] & LENGTH) {
        if (number > m->n - m->at) return BAD("text of %llu bytes at byte %zu", (unsigned long long)number, m->at);
        m->at += (size_t)number;
    }
    if (operand[op] & LINE) HPT_TRY(line(m, &text, &len));
    switch (op) {
    case 'N': case 0x88: case 0x89: case 'K': case 'M': case 'J': case 0x8a: case 0x8b: case 'I': case 'L': case 'G':
    case 'F':               /* plain values */
    case 'X': case 'T': case 'U': case 0x8c: case 0x8d: case 'S': case 'V':
    case 'B':
    case 'C':
    case 0x8e:
    case 0x96:
    case 'P':
    case 0x82:
    case 0x83:
    case 0x84:
    case 0x8f:
    case 0x97: /* opaque ones */ return push(m, here);
    case '}': case ']':
        HPT_TRY(container(m, op == '}' ? HPT__PK_DICT : HPT__PK_LIST, &x));
        return push(m, x);
    case ')': case 't': case 0x85: case 0x86: case 0x87:
        if (op == 't') HPT_TRY(above_mark(m, &first));
        else {
            HPT_TRY(need(m, op == ')' ? 0 : op - 0x84u));
            first = m->top - (op == ')' ? 0 : op - 0x84u);
        }
        HPT_TRY(tuple_of(m, first, &x));
        return push(m, x);
    case 'l': case 'd': case 0x91:
        HPT_TRY(above_mark(m, &first));
        if (op == 'd' && (m->top - first) % 2) return BAD("dictionary items at byte %zu", m->at);
        x = here;       /* a frozen set is opaque */
        if (op != 0x91) {
            HPT_TRY(container(m, op == 'l' ? HPT__PK_LIST : HPT__PK_DICT, &x));
            /* an empty stack has no memory */
            if (m->top > first) HPT_TRY(append(m, x, m->stack + first, m->top - first));
        }
        m->top = first;
        return push(m, x);
    case 'c':
        HPT_TRY(global_from_text(m, here, &x));
        return push(m, x);
    case 0x93: return stack_global(m);
    case 'i': case 'o': {
        hpt__pk_ref cls = NOTHING, args;
        HPT_TRY(above_mark(m, &first));
        if (op == 'i') HPT_TRY(global_from_text(m, here, &cls));
        else if (m->top == first) return BAD("stack is empty at byte %zu", m->at);
        else cls = m->stack[first];
        HPT_TRY(tuple_of(m, first + (op == 'o'), &args));
        m->top = first;
        HPT_TRY(call(m, cls, args, 0, &x));
        return push(m, x); }
    case 'R': case 0x81: return reduce(m, op == 0x81);
    case 0x92:
        HPT_TRY(need(m, 3));
        m->top--;           /* keyword arguments */
        return reduce(m, 1);
    case 'b': return build(m);
    case 'Q': return persistent(m);
    case 'p':
        if (!hpt__pk_decimal(text, len, &(int64_t){0})) return BAD("memo index at byte %zu", m->at);
        return memo_put(m, strtoull((const char *)text, NULL, 10));
    case 'g':
        if (!hpt__pk_decimal(text, len, &(int64_t){0})) return BAD("memo index at byte %zu", m->at);
        return memo_get(m, strtoull((const char *)text, NULL, 10));
    case 'q': case 'r': return memo_put(m, number);
    case 0x94: return memo_put(m, m->memo_used);
    case 'h': case 'j': return memo_get(m, number);
    case '(':
        if (m->marks == MAX_MARKS) return BAD("nesting deeper than %d at byte %zu", MAX_MARKS, m->at);
        m->mark[m->marks++] = m->top;
        return HPT_OK;
    case '0':
        if (m->marks && m->mark[m->marks - 1] == m->top) m->marks--;
        else {
            HPT_TRY(need(m, 1));
            m->top--;
        }
        return HPT_OK;
    case '1':
        HPT_TRY(above_mark(m, &first));
        m->top = first;
        return HPT_OK;
    case '2':
        HPT_TRY(need(m, 1));
        return push(m, m->stack[m->top - 1]);
    case 'a': case 's':
        HPT_TRY(need(m, op == 'a' ? 2 : 3));
        return op == 'a' ? add_items(m, m->top - 1, 0) : set_items(m, m->top - 2);
    case 'e': case 'u': case 0x90:
        HPT_TRY(above_mark(m, &first));
        return op == 'u' ? set_items(m, first) : add_items(m, first, op == 0x90);
    case 0x80: return number > 5 ? BAD("protocol %llu is newer than 5", (unsigned long long)number) : HPT_OK;
    case 0x95:
        return number > m->n - m->at ? BAD("frame of %llu bytes at byte %zu", (unsigned long long)number, m->at)
                                     : HPT_OK;
    case 0x98:              /* READONLY_BUFFER of the value on top */
        return need(m, 1);
    default: return BAD("opcode 0x%02x at byte %u is unknown", (unsigned)op, here);
    }
}

hpt_status hpt__pickle_parse(hpt__pickle *p, const uint8_t *data, size_t n, uint64_t *room) {
    machine m = {.p = p, .d = data, .n = n < max_bytes ? n : max_bytes};
    hpt_status st = HPT_OK;
    *p = (hpt__pickle){.data = data, .storages = NOTHING, .room = room};
    while (!st) {
        if (m.at >= m.n) {
            st = BAD("cut, or over 2 GiB");
            break;
        }
        uint8_t op = m.d[m.at++];
        if (op == '.') {
            if (m.top != 1 || m.marks) st = BAD("%u values left at the end", m.top);
            else p->root = m.stack[0];
            break;
        }
        st = step(&m, op);
    }
    p->end = m.at;
    release(&m, m.stack, m.stack_cap);
    release(&m, m.memo, m.memo_cap);
    if (st) hpt__pickle_free(p);
    return st;
}

void hpt__pickle_free(hpt__pickle *p) {
    hpt__free(p->cell);
    if (p->room) *p->room += (uint64_t)p->cap * sizeof *p->cell;
    memset(p, 0, sizeof *p);
}

/* SPDX-License-Identifier: MIT
 * Contract: conv.h, where each channel is a group of its own (C = K = groups), on blocked maps. A block of an image is
 * done in bands of rows: what a band reads is copied as float, with the zeros around it, into a buffer of the thread
 * that stays in its cache; then a row of outputs is a sum of rows times weights, several outputs at a time, without a
 * question about edges. A gradient of the input with stride t is t x t such convolutions of stride 1, each with the
 * taps that meet its pixels. Gradients of weights are cut into items of (block, chunk of images) whatever the number
 * of threads, and float sums of some 256 pixels go to double, so results do not depend on it. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"
#include <string.h>

enum {
    TAPS = 121,             /* of the largest window */
    BAND = 64 << 10,       /* bytes of a thread's buffer, unless a window needs more */
    MIN_ITEMS = 16,         /* of gradients of weights */
    PIXELS = 256            /* summed in float before they go to double */
};

/* The buffer: so many rows of so many vectors, column 0 of the map at left. */
typedef struct band {
    vf *at;
    int rows, len, left, columns;       /* columns: those of the map that are wanted */
} band;
/* backward: what the gradient of the input reads, which is dy */
static band band_of(const hpt__geometry *g, int backward) {
    band b = {0};
    int least = backward ? (g->r - 1) / g->stride + 2 : g->r, size = HPT__VB * (int)sizeof(float);
    if (backward) {
        int before = g->s - 1 - g->pad_w, last = (g->w - 1 + g->pad_w) / g->stride + 1;
        b.left = before > 0 ? (before + g->stride - 1) / g->stride : 0;
        b.len = b.left + last;
        b.columns = g->q < last ? g->q : last;
    } else {
        b.left = g->pad_w;
        b.len = (g->q - 1) * g->stride + g->s;
        b.columns = g->w < b.len - b.left ? g->w : b.len - b.left;
    }
    b.rows = BAND / (b.len * size) > least ? BAND / (b.len * size) : least;
    return b;
}
static size_t band_bytes(const band *b) { return (size_t)b->rows * (size_t)b->len * HPT__VB * sizeof(float); }

/* Rows first..last-1 of a block of h x w pixels that begins at vector `from` of a map; what lies outside is 0. */
INLINE void fill_rows(const band *b, const void *map, size_t from, int h, int w, int first, int last, int bf16) {
    vf zero = {0}, *row = b->at;
    int left = b->left, len = b->len;
    for (int i = first; i < last; i++, row += len) {
        int inside = i >= 0 && i < h ? b->columns : 0;
        size_t at = from + (size_t)i * (size_t)w;
        vf *to = row + left;
        for (int k = 0; k < left; k++) row[k] = zero;
        for (int k = 0; k < inside; k++) to[k] = vec_load(map, at + (size_t)k, bf16);
        for (int k = inside; k < len - left; k++) to[k] = zero;
    }
}
static void fill(const band *b, const void *map, size_t from, int h, int w, int first, int last, int bf16) {
    if (bf16) fill_rows(b, map, from, h, w, first, last, 1);
    else fill_rows(b, map, from, h, w, first, last, 0);
}

/* ---- a row of outputs ---- */

/* y[i*y_step] = sum over rows k and taps s of x[k*x_row + i*step + s] * w[k*w_row + s], for i < outputs */
typedef struct line {
    const vf *x, *w;
    ptrdiff_t x_row;
    int w_row, rows, taps, step, outputs;
    void *y;
    size_t y_at, y_step;
    int bf16;
} line;
INLINE void tile(const line *l, int i, int count, int taps, int step) {
    vf sum[14];
    for (int k = 0; k < count; k++) sum[k] = (vf){0};
    const vf *x = l->x + (ptrdiff_t)i * step, *w = l->w;
    for (int r = 0; r < l->rows; r++, x += l->x_row, w += l->w_row)
        for (int s = 0; s < taps; s++) {
            vf f = w[s];
            for (int k = 0; k < count; k++) sum[k] += x[k * step + s] * f;
        }
    size_t to = l->y_at + (size_t)i * l->y_step;
    if (l->bf16) for (int k = 0; k < count; k++) vec_store(l->y, to + (size_t)k * l->y_step, sum[k], 1);
    else for (int k = 0; k < count; k++) vec_store(l->y, to + (size_t)k * l->y_step, sum[k], 0);
}
INLINE void tiles(const line *l, int taps, int step) {
    int i = 0;
    for (; i + 14 <= l->outputs; i += 14) tile(l, i, 14, taps, step);
    if (i + 8 <= l->outputs) tile(l, i, 8, taps, step), i += 8;
    else if (i + 7 <= l->outputs) tile(l, i, 7, taps, step), i += 7;
    if (i + 4 <= l->outputs) tile(l, i, 4, taps, step), i += 4;
    if (i + 2 <= l->outputs) tile(l, i, 2, taps, step), i += 2;
    if (i < l->outputs) tile(l, i, 1, taps, step);
}
/* straight loops for the windows that networks have */
static void run_line(const line *l) {
    switch (l->step == 1 || l->step == 2 ? l->step * 8 + (l->taps < 8 ? l->taps : 0) : 0) {
    case 8 + 1: tiles(l, 1, 1); break;
    case 8 + 2: tiles(l, 2, 1); break;
    case 8 + 3: tiles(l, 3, 1); break;
    case 8 + 5: tiles(l, 5, 1); break;
    case 16 + 3: tiles(l, 3, 2); break;
    case 16 + 5: tiles(l, 5, 2); break;
    default: tiles(l, l->taps, l->step); break;
    }
}

/* ---- forward, and the gradient of the input ---- */

/* The taps of a block of channels: (r,s) in order, or for the gradient of the input those that meet the columns
 * a, a + stride, ... together, a after a, each row from its last tap to its first. */
typedef struct taps {
    vf w[TAPS];
    /* of column a: where its taps begin, how many a row has, the first one's column of dy */
    int at[TAPS], count[TAPS], offset[TAPS];
} block_taps;
static void load_taps(block_taps *to, const hpt__cpu_depthwise *a, int cb, int backward) {
    const hpt__geometry *g = a->g;
    int lanes = vec_lanes(g->c, cb), window = g->r * g->s, n = 0;
    const float *w = a->w + (size_t)cb * HPT__VB * (size_t)window;
    for (int i = 0; i < window && !backward; i++) to->w[i] = vec_load_part(w + i * lanes, lanes);
    for (int c = 0; c < g->stride && backward; c++) {
        int first = (c + g->pad_w) % g->stride, last = first + (g->s - 1 - first) / g->stride * g->stride;
        to->at[c] = n;
        to->count[c] = first < g->s ? (last - first) / g->stride + 1 : 0;
        to->offset[c] = (c + g->pad_w - last) / g->stride;
        for (int r = 0; r < g->r; r++)
            for (int s = last; s >= first && first < g->s; s -= g->stride, n++)
                to->w[n] = vec_load_part(w + (r * g->s + s) * lanes, lanes);
    }
}
INLINE int least(int a, int b) { return a < b ? a : b; }

static void forward_block(const hpt__cpu_depthwise *a, int i, band *b) {
    const hpt__geometry *g = a->g;
    block_taps t;
    int each = (b->rows - g->r) / g->stride + 1;
    load_taps(&t, a, i % vec_blocks(g->c), 0);
    for (int p0 = 0; p0 < g->p; p0 += each) {
        int p1 = least(p0 + each, g->p), first = p0 * g->stride - g->pad_h;
        fill(b, a->x, (size_t)i * (size_t)g->h * (size_t)g->w, g->h, g->w, first,
             first + (p1 - p0 - 1) * g->stride + g->r, a->bf16);
        for (int p = p0; p < p1; p++) {
            int h = p * g->stride - g->pad_h, r0 = h < 0 ? -h : 0, r1 = least(g->r, g->h - h);
            line l = {.x = b->at + (ptrdiff_t)(h + r0 - first) * b->len, .x_row = b->len, .w = t.w + r0 * g->s,
                      .w_row = g->s, .rows = r1 - r0, .taps = g->s, .step = g->stride, .outputs = g->q, .y = a->y,
                      .y_at = ((size_t)i * (size_t)g->p + (size_t)p) * (size_t)g->q, .y_step = 1, .bf16 = a->bf16};
            run_line(&l);
        }
    }
}
static void backward_block(const hpt__cpu_depthwise *a, int i, band *b) {
    const hpt__geometry *g = a->g;
    block_taps t;
    int st = g->stride, each = (b->rows - 1) * st - (g->r - 1);
    if (each < 1) each = 1;
    load_taps(&t, a, i % vec_blocks(g->c), 1);
    for (int h0 = 0; h0 < g->h; h0 += each) {
        int h1 = least(h0 + each, g->h), low = h0 + g->pad_h - (g->r - 1), first = low > 0 ? (low + st - 1) / st : 0;
        int last = least((h1 - 1 + g->pad_h) / st + 1, g->p);
        fill(b, a->dy, (size_t)i * (size_t)g->p * (size_t)g->q, g->p, g->q, first, last, a->bf16);
        for (int h = h0; h < h1; h++) {
            /* rows p = (h + pad - r) / stride, from the last one downwards as r goes up */
            int r0 = (h + g->pad_h) % st, beyond = h + g->pad_h - r0 - (g->p - 1) * st;
            if (beyond > 0) r0 += beyond;
            int p = (h + g->pad_h - r0) / st, rows = r0 < g->r ? least((g->r - 1 - r0) / st, p) + 1 : 0;
            for (int c = 0; c < st && c < g->w; c++) {
                line l = {.x = b->at + (ptrdiff_t)(p - first) * b->len + b->left + t.offset[c], .x_row = -b->len,
                          .w = t.w + t.at[c] + r0 * t.count[c], .w_row = st * t.count[c], .rows = t.count[c] ? rows : 0,
                          .taps = t.count[c], .step = 1, .outputs = (g->w - c + st - 1) / st, .y = a->dx,
                          .y_at = ((size_t)i * (size_t)g->h + (size_t)h) * (size_t)g->w + (size_t)c,
                          .y_step = (size_t)st, .bf16 = a->bf16};
                run_line(&l);
            }
        }
    }
}

/* Of nt threads, each with a buffer. */
size_t CPU(depthwise_scratch)(const hpt__geometry *g, int threads) {
    band f = band_of(g, 0), d = band_of(g, 1);
    size_t most = band_bytes(&f) > band_bytes(&d) ? band_bytes(&f) : band_bytes(&d);
    return most * (size_t)threads;
}
INLINE band band_for(const hpt__cpu_depthwise *a, int backward, int t) {
    band b = band_of(a->g, backward);
    b.at = (vf *)((char *)a->buffers + band_bytes(&b) * (size_t)t);
    return b;
}
void CPU(depthwise)(const hpt__cpu_depthwise *a, int t, int nt) {
    int n = a->g->n * vec_blocks(a->g->c);
    band b = band_for(a, 0, t);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++) forward_block(a, i, &b);
}
void CPU(depthwise_data)(const hpt__cpu_depthwise *a, int t, int nt) {
    int n = a->g->n * vec_blocks(a->g->c);
    band b = band_for(a, 1, t);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++) backward_block(a, i, &b);
}

/* ---- the gradient of weights ---- */

static int chunks(const hpt__geometry *g) {
    int s = 1, cb = vec_blocks(g->c);
    while (cb * s < MIN_ITEMS && s * 2 <= g->n) s *= 2;
    return s;
}
/* sum[r*s_all + s] of r < nr, s < ns: over rows of q pixels of dy at vector `at`, x beginning at the first tap */
typedef struct patch {
    const vf *x;
    int len, s_all, stride, rows, q;
    const void *dy;
    size_t at;
    vf *sum;
    int bf16;
} patch;
INLINE void patch_sums(const patch *j, int nr, int ns, int step, int bf16) {
    vf sum[25];
    for (int r = 0; r < nr; r++)
        for (int s = 0; s < ns; s++) sum[r * ns + s] = j->sum[r * j->s_all + s];
    for (int p = 0; p < j->rows; p++) {
        const vf *x = j->x + (ptrdiff_t)p * j->stride * j->len;
        size_t at = j->at + (size_t)p * (size_t)j->q;
        for (int q = 0; q < j->q; q++, x += step) {
            vf d = vec_load(j->dy, at + (size_t)q, bf16);
            for (int r = 0; r < nr; r++)
                for (int s = 0; s < ns; s++) sum[r * ns + s] += d * x[(ptrdiff_t)r * j->len + s];
        }
    }
    for (int r = 0; r < nr; r++)
        for (int s = 0; s < ns; s++) j->sum[r * j->s_all + s] = sum[r * ns + s];
}
INLINE void patch_any(const patch *j, int nr, int ns) {
    int step = j->stride;
    if (j->bf16) {
        if (step == 1) patch_sums(j, nr, ns, 1, 1);
        else if (step == 2) patch_sums(j, nr, ns, 2, 1);
        else patch_sums(j, nr, ns, step, 1);
    } else if (step == 1) patch_sums(j, nr, ns, 1, 0);
    else if (step == 2) patch_sums(j, nr, ns, 2, 0);
    else patch_sums(j, nr, ns, step, 0);
}
/* as many taps at a time as there are registers for their sums */
static void window_sums(patch j, int r_all) {
    enum { ROWS = HPT__VB == 16 ? 5 : 2 };
    const vf *x = j.x;
    vf *sum = j.sum;
    if (j.s_all == 3 && r_all == 3) {
        patch_any(&j, 3, 3);
        return;
    }
    int r = 0;
    for (; j.s_all == 5 && r + ROWS <= r_all; r += ROWS) {
        j.x = x + (ptrdiff_t)r * j.len;
        j.sum = sum + r * 5;
        patch_any(&j, ROWS, 5);
    }
    for (; r < r_all; r++)
        for (int s = 0; s < j.s_all;) {
            j.x = x + (ptrdiff_t)r * j.len + s;
            j.sum = sum + r * j.s_all + s;
            int left = j.s_all - s;
            if (left >= 5) patch_any(&j, 1, 5), s += 5;
            else if (left >= 3) patch_any(&j, 1, 3), s += 3;
            else patch_any(&j, 1, 1), s++;
        }
}
static void flush(double *to, vf *sum, int n) {
    for (int i = 0; i < n; i++) {
        for (int l = 0; l < HPT__VB; l++) to[i * HPT__VB + l] += sum[i][l];
        sum[i] = (vf){0};
    }
}
static void weights_item(const hpt__cpu_depthwise *a, int i, band *b) {
    const hpt__geometry *g = a->g;
    int s = chunks(g), blocks = vec_blocks(g->c), cb = i / s, window = g->r * g->s, pixels = 0;
    int each = (b->rows - g->r) / g->stride + 1, some = PIXELS / g->q > 1 ? PIXELS / g->q : 1;
    double *to = a->partial + (size_t)i * (size_t)window * HPT__VB;
    vf sum[TAPS];
    memset(to, 0, sizeof *to * (size_t)window * HPT__VB);
    for (int k = 0; k < window; k++) sum[k] = (vf){0};
    for (int n = g->n * (i % s) / s; n < g->n * (i % s + 1) / s; n++) {
        size_t block = (size_t)n * (size_t)blocks + (size_t)cb;
        for (int p0 = 0; p0 < g->p; p0 += each) {
            int p1 = least(p0 + each, g->p), first = p0 * g->stride - g->pad_h;
            fill(b, a->x, block * (size_t)g->h * (size_t)g->w, g->h, g->w, first,
                 first + (p1 - p0 - 1) * g->stride + g->r, a->bf16);
            for (int p = p0; p < p1; p += some) {
                patch j = {.x = b->at + (ptrdiff_t)(p - p0) * g->stride * b->len, .len = b->len, .s_all = g->s,
                           .stride = g->stride, .rows = least(some, p1 - p), .q = g->q, .dy = a->dy,
                           .at = (block * (size_t)g->p + (size_t)p) * (size_t)g->q, .sum = sum, .bf16 = a->bf16};
                window_sums(j, g->r);
                pixels += j.rows * g->q;
                if (pixels >= PIXELS) flush(to, sum, window), pixels = 0;
            }
        }
    }
    flush(to, sum, window);
}
size_t CPU(depthwise_partial)(const hpt__geometry *g) {
    return sizeof(double) * HPT__VB * (size_t)(vec_blocks(g->c) * chunks(g)) * (size_t)(g->r * g->s);
}
void CPU(depthwise_weights)(const hpt__cpu_depthwise *a, int t, int nt) {
    int n = vec_blocks(a->g->c) * chunks(a->g);
    band b = band_for(a, 0, t);
    for (int i = (int)((int64_t)n * t / nt); i < (int)((int64_t)n * (t + 1) / nt); i++) weights_item(a, i, &b);
}
void CPU(depthwise_weights_finish)(const hpt__cpu_depthwise *a, int t, int nt) {
    const hpt__geometry *g = a->g;
    int n = vec_blocks(g->c), s = chunks(g), window = g->r * g->s;
    for (int cb = (int)((int64_t)n * t / nt); cb < (int)((int64_t)n * (t + 1) / nt); cb++) {
        int lanes = vec_lanes(g->c, cb);
        const double *from = a->partial + (size_t)cb * (size_t)s * (size_t)window * HPT__VB;
        float *dw = a->dw + (size_t)cb * HPT__VB * (size_t)window;
        for (int i = 0; i < window; i++)
            for (int l = 0; l < lanes; l++) {
                double all = 0;
                for (int k = 0; k < s; k++) all += from[((size_t)k * (size_t)window + (size_t)i) * HPT__VB + (size_t)l];
                dw[i * lanes + l] = (float)all;
            }
    }
}

/* SPDX-License-Identifier: MIT
 * Contract: rle.h. Runs are walked side by side, never as pixels. A polygon costs as much as it crosses columns: of
 * the walk along its edges that pycocotools makes in fifths of a pixel, only the steps that matter are looked at. */
#include "eval/rle.h"
#include "core/alloc.h"
#include "eval/boxes.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Each count from the fourth on is written as its difference to the one two before: groups of five bits, low ones
 * first, 32 added if more follow, then 48. The last group's bit of 16 is the sign. */
int64_t hpt__rle_parse(const char *text, size_t n, uint32_t *counts) {
    int64_t m = 0;
    for (size_t i = 0; i < n;) {
        int64_t x = 0;
        int shift = 0, more = 1;
        while (more) {
            int c = i < n ? (unsigned char)text[i++] - 48 : -1;
            if (c < 0 || c > 63 || shift > 35) return -1;
            x |= (int64_t)(c & 31) << shift;
            shift += 5;
            more = c & 32;
            if (!more && (c & 16)) x -= (int64_t)1 << shift;
        }
        if (m > 2) x += counts[m - 2];
        if (x < 0 || x > UINT32_MAX) return -1;
        counts[m++] = (uint32_t)x;
    }
    return m;
}
size_t hpt__rle_print(const hpt__rle *r, char *text) {
    size_t n = 0;
    for (uint64_t i = 0; i < r->n; i++) {
        int64_t x = (int64_t)r->counts[i] - (i > 2 ? (int64_t)r->counts[i - 2] : 0);
        for (int more = 1; more;) {
            int c = (int)(x & 31);
            x = (x - c) / 32;
            more = c & 16 ? x != -1 : x != 0;
            text[n++] = (char)((more ? c + 32 : c) + 48);
        }
    }
    text[n] = 0;
    return n;
}

int64_t hpt__rle_canonical(uint32_t *counts, uint64_t n, uint32_t h, uint32_t w) {
    uint64_t sum = 0, size = (uint64_t)h * w, m = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += counts[i];
        if (sum > size) return -1;
        int same = m && ((m - 1) & 1) == (i & 1);       /* of the kind of the run before: one with it */
        if (same) counts[m - 1] += counts[i];
        else if (counts[i] || !m) counts[m++] = counts[i];
    }
    return sum == size && m ? (int64_t)m : -1;
}

uint64_t hpt__rle_encode(const uint8_t *pixels, uint32_t h, uint32_t w, uint32_t *counts) {
    uint64_t size = (uint64_t)h * w, m = 0;
    uint32_t run = 0;
    int value = 0;
    for (uint64_t i = 0; i < size; i++, run++)
        if ((pixels[i] != 0) != value) {
            counts[m++] = run;
            run = 0;
            value = !value;
        }
    counts[m++] = run;
    return m;
}
void hpt__rle_decode(const hpt__rle *r, uint8_t *pixels) {
    for (uint64_t i = 0; i < r->n; pixels += r->counts[i++]) memset(pixels, (int)(i & 1), r->counts[i]);
}
uint64_t hpt__rle_area(const hpt__rle *r) {
    uint64_t area = 0;
    for (uint64_t i = 1; i < r->n; i += 2) area += r->counts[i];
    return area;
}
void hpt__rle_box(const hpt__rle *r, double box[4]) {
    uint64_t at = 0, x0 = r->w, y0 = r->h, x1 = 0, y1 = 0;
    for (uint64_t i = 0; i + 1 < r->n; i += 2) {
        uint64_t first = at + r->counts[i], last = first + r->counts[i + 1] - 1;
        uint64_t xa = first / r->h, ya = first % r->h, xb = last / r->h, yb = last % r->h;
        at = last + 1;
        if (xa < xb) {                  /* it goes on in the next column: all rows, whatever they are */
            y0 = 0;
            y1 = r->h - 1;
        }
        if (xa < x0) x0 = xa;
        if (xb > x1) x1 = xb;
        if (ya < y0) y0 = ya;
        if (yb < y0) y0 = yb;
        if (ya > y1) y1 = ya;
        if (yb > y1) y1 = yb;
    }
    if (r->n < 2) memset(box, 0, 4 * sizeof *box);
    else box[0] = (double)x0, box[1] = (double)y0, box[2] = (double)(x1 - x0 + 1), box[3] = (double)(y1 - y0 + 1);
}

uint64_t hpt__rle_merge(const hpt__rle *a, const hpt__rle *b, int intersect, uint32_t *counts) {
    uint64_t i = 0, j = 0, m = 0;
    uint32_t left_a = a->counts[0], left_b = b->counts[0], run = 0;
    int value = 0;
    for (;;) {
        while (!left_a && i + 1 < a->n) left_a = a->counts[++i];
        while (!left_b && j + 1 < b->n) left_b = b->counts[++j];
        if (!left_a || !left_b) break;
        int in_a = (int)(i & 1), in_b = (int)(j & 1), v = intersect ? in_a && in_b : in_a || in_b;
        uint32_t step = left_a < left_b ? left_a : left_b;
        if (v != value) {
            counts[m++] = run;
            run = 0;
            value = v;
        }
        run += step;
        left_a -= step;
        left_b -= step;
    }
    counts[m++] = run;
    return m;
}

double hpt__rle_iou(const hpt__rle *found, const double found_box[4], const hpt__rle *truth, const double truth_box[4],
                    int crowd) {
    if (!(hpt__box_iou(found_box, truth_box, crowd) > 0)) return 0;
    if (found->h != truth->h || found->w != truth->w) return -1;
    const uint32_t *a = found->counts, *b = truth->counts, *end_a = a + found->n, *end_b = b + truth->n;
    uint64_t both = 0, any = 0;
    uint32_t left_a = *a++, left_b = *b++, in_a = 0, in_b = 0;
    for (;;) {
        uint32_t step = left_a < left_b ? left_a : left_b;
        any += step & (0u - (in_a | in_b));
        both += step & (0u - (in_a & in_b));
        left_a -= step;
        left_b -= step;
        if (!left_a) {
            if (a == end_a) break;
            left_a = *a++;
            in_a ^= 1;
        }
        if (!left_b) {
            if (b == end_b) break;
            left_b = *b++;
            in_b ^= 1;
        }
    }
    if (!both) return 0;
    return (double)both / (double)(crowd ? hpt__rle_area(found) : any);
}

/* ---- polygons, in fifths of a pixel ---- */

enum { FIFTHS = 5 };
typedef struct edge { int64_t us, vs, ue, ve; } edge;
static int64_t grid(double v) { return (int64_t)(FIFTHS * v + .5); }     /* towards zero, as pycocotools does */
static edge edge_of(const double *xy, uint64_t i, uint64_t n) {
    uint64_t j = i + 1 < n ? i + 1 : 0;
    return (edge){grid(xy[2 * i]), grid(xy[2 * i + 1]), grid(xy[2 * j]), grid(xy[2 * j + 1])};
}
/* Columns whose middle lies between the ends: c with 5c+2 in [low, high), within the image. */
static void columns(int64_t low, int64_t high, uint32_t w, int64_t *from, int64_t *to) {
    *from = low <= 2 ? 0 : (low - 2 + FIFTHS - 1) / FIFTHS;
    *to = high <= 2 ? 0 : (high - 2 + FIFTHS - 1) / FIFTHS;
    if (*to > w) *to = w;
    if (*from > *to) *from = *to;
}
uint64_t hpt__polygon_crossings(const double *xy, uint64_t n, uint32_t w) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        edge e = edge_of(xy, i, n);
        int64_t from, to;
        columns(e.us < e.ue ? e.us : e.ue, e.us < e.ue ? e.ue : e.us, w, &from, &to);
        sum += (uint64_t)(to - from) + 1;
    }
    return sum;
}
/* The row at which column c is entered, v being the smaller of the two steps around its middle. */
static uint32_t place(int64_t c, int64_t v, uint32_t h) {
    double row = ((double)v + .5) / FIFTHS - .5;
    if (row < 0) row = 0;
    else if (row > h) row = h;
    return (uint32_t)((uint64_t)c * h + (uint64_t)ceil(row));
}
/* Crossings of one edge, each to the next place of its column. Steps go along the longer axis from the smaller end; the
 * other coordinate is rounded. */
static void cross(edge e, uint32_t h, uint32_t w, uint32_t *next, uint32_t *at) {
    int64_t du = llabs(e.ue - e.us), dv = llabs(e.ve - e.vs), from, to;
    int wide = du >= dv;
    if (wide ? e.us > e.ue : e.vs > e.ve) e = (edge){e.ue, e.ve, e.us, e.vs};
    if (!du) return;
    if (wide) {
        double slope = (double)(e.ve - e.vs) / (double)du;
        columns(e.us, e.ue, w, &from, &to);
        for (int64_t c = from; c < to; c++) {
            int64_t d = FIFTHS * c + 3 - e.us;
            int64_t before = (int64_t)((double)e.vs + slope * (double)(d - 1) + .5);
            int64_t after = (int64_t)((double)e.vs + slope * (double)d + .5);
            at[next[c]++] = place(c, before < after ? before : after, h);
        }
        return;
    }
    double slope = (double)(e.ue - e.us) / (double)dv;
    int up = e.ue > e.us;
    columns(up ? e.us : e.ue, up ? e.ue : e.us, w, &from, &to);
    for (int64_t c = from; c < to; c++) {
        /* the first step on the far side of the middle: a guess, then as it rounds */
        int64_t far = FIFTHS * c + (up ? 3 : 2);
        int64_t d = (int64_t)(((double)far + (up ? -.5 : .5) - (double)e.us) / slope);
        d = d < 1 ? 1 : d > dv ? dv : d;
#define BEYOND(step) (up ? (int64_t)((double)e.us + slope * (double)(step) + .5) >= far \
                      : (int64_t)((double)e.us + slope * (double)(step) + .5) <= far)
        while (d < dv && !BEYOND(d)) d++;
        while (d > 1 && BEYOND(d - 1)) d--;
#undef BEYOND
        at[next[c]++] = place(c, e.vs + d - 1, h);
    }
}
static int by_place(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}
/* One column's crossings, of which there are mostly two. */
static void sort_column(uint32_t *at, uint32_t n) {
    if (n > 32) qsort(at, n, sizeof *at, by_place);
    for (uint32_t i = 1; i < n && n <= 32; i++)
        for (uint32_t k = i; k && at[k] < at[k - 1]; k--) {
            uint32_t higher = at[k - 1];
            at[k - 1] = at[k];
            at[k] = higher;
        }
}
/* Where each column's crossings begin in at: counted, summed, dealt. next: zeros (w+2). Gives how many there are. */
static uint32_t deal(const double *xy, uint64_t n, uint32_t h, uint32_t w, uint32_t *next, uint32_t *at) {
    for (uint64_t i = 0; i < n; i++) {          /* +1 where an edge enters, -1 where it leaves */
        edge e = edge_of(xy, i, n);
        int64_t from, to;
        columns(e.us < e.ue ? e.us : e.ue, e.us < e.ue ? e.ue : e.us, w, &from, &to);
        next[from]++;
        next[to]--;
    }
    uint32_t edges = 0, sum = 0;
    for (uint32_t c = 0; c <= w; c++) {
        edges += next[c];
        next[c] = sum;
        sum += edges;
    }
    for (uint64_t i = 0; i < n; i++) cross(edge_of(xy, i, n), h, w, next, at);
    for (uint32_t c = 0, first = 0; c < w; first = next[c++]) sort_column(at + first, next[c] - first);
    return sum;
}
hpt_status hpt__rle_polygon(const double *xy, uint64_t n, uint32_t h, uint32_t w, hpt__rle *out) {
    uint64_t most = hpt__polygon_crossings(xy, n, w) + 1, m, runs = 0;
    uint32_t *at = hpt__alloc((size_t)most * sizeof *at), *next = hpt__calloc((size_t)w + 2, sizeof *next), last = 0;
    if (!at || !next) {
        hpt__free(at);
        hpt__free(next);
        return hpt__fail_memory((size_t)(most + w) * sizeof *at);
    }
    m = deal(xy, n, h, w, next, at);
    hpt__free(next);
    at[m++] = (uint32_t)((uint64_t)h * w);
    for (uint64_t i = 0; i < m; i++) {          /* where it changes twice it does not change */
        uint32_t run = at[i] - last;
        last = at[i];
        at[i] = run;
    }
    at[runs++] = at[0];
    for (uint64_t i = 1; i < m; i++)
        if (at[i]) at[runs++] = at[i];
        else if (++i < m) at[runs - 1] += at[i];
    *out = (hpt__rle){h, w, runs, at};
    return HPT_OK;
}

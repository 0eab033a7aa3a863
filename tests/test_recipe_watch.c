/* SPDX-License-Identifier: MIT
 * Recipes and comparisons of representations tell how far they are and can be stopped from another thread and from
 * the keyboard, at every instant: another call then ends in the results of an undisturbed one. */
#define _GNU_SOURCE
#include "shell.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* What comes back within 0.2 s of work, on a machine that may be busy with other things. */
enum { SOON = 5 };

/* ---- two representations ---- */

typedef struct heard { int calls, stop_at, bad; uint64_t last; } heard;
static int32_t rows_told(void *user, const hpt_progress *p) {
    heard *h = user;
    h->bad |= p->phase != HPT_PHASE_COMPARE || p->done < h->last || p->done > p->total || !strstr(p->name, "images");
    h->last = p->done;
    return ++h->calls >= h->stop_at && h->stop_at;
}
typedef struct cancel_later { hpt_context *ctx; useconds_t after; double at; } cancel_later;
static void *cancels(void *arg) {
    cancel_later *c = arg;
    usleep(c->after);
    c->at = now();
    hpt_context_cancel(c->ctx);
    return NULL;
}
/* Wide: few images, many values. Tall: the other way round. Both take a second or more. */
TEST_LIMIT(a_comparison_of_representations_stops, 120) {
    static const struct { uint64_t n, p, q; } shape[] = {{800, 6000, 3000}, {12000, 220, 260}};
    hpt_context *ctx = context("reference", 1);
    for (size_t k = 0; k < 2; k++) {
        uint64_t n = shape[k].n, p = shape[k].p, q = shape[k].q;
        float *x = malloc(n * p * 4), *y = malloc(n * q * 4);
        fill_f32(x, n * p, 11, 1, 0);
        fill_f32(y, n * q, 12, 1, 0);
        for (uint64_t i = 0; i < n; i++) y[i * q] += x[i * p];
        double want, got = 7;
        OK(hpt_rv2(x, p, y, q, n, &want));
        heard h = {0};
        OK(hpt_context_set_progress(ctx, rows_told, &h));
        OK(hpt_context_rv2(ctx, x, p, y, q, n, &got));
        CHECK(got == want && h.calls && !h.bad && h.last == n);
        for (int stop_at = 1; stop_at < 3; stop_at++) {
            h = (heard){.stop_at = stop_at};
            got = 7;
            FAILS(HPT_ERR_CANCELLED, "images", hpt_context_rv2(ctx, x, p, y, q, n, &got));
            CHECK(got == 7 && h.calls == stop_at);
        }
        OK(hpt_context_set_progress(ctx, NULL, NULL));
        int stopped = 0;
        for (useconds_t after = 1000; after < 100000; after *= 4) {
            cancel_later c = {ctx, after, 0};
            pthread_t t;
            CHECK(!pthread_create(&t, NULL, cancels, &c));
            hpt_status st = hpt_context_rv2(ctx, x, p, y, q, n, &got);
            double end = now();
            pthread_join(t, NULL);
            if (st && st != HPT_ERR_CANCELLED) FAIL("%s", hpt_last_error());
            stopped += st == HPT_ERR_CANCELLED;
            if (st && end - c.at > SOON) FAIL("%.1f s after it was stopped", end - c.at);
            if (!st) OK(hpt_context_cancel(ctx));       /* came too late: the next call hears it */
            if (!st) FAILS(HPT_ERR_CANCELLED, "images", hpt_context_rv2(ctx, x, p, y, q, n, &got));
        }
        CHECK(stopped >= 2);
        OK(hpt_context_rv2(ctx, x, p, y, q, n, &got));
        CHECK(got == want);
        free(x);
        free(y);
    }
    hpt_context_destroy(ctx);
}

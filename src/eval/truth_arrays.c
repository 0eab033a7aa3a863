/* SPDX-License-Identifier: MIT
 * Contract: truth.h. Boxes and masks out of the arrays of a program, hpt_boxes, under the same checks as those of
 * files. Entries are named by their index. */
#include "core/alloc.h"
#include "eval/truth.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}
/* All numbers of images of both, each once, to truth. */
static hpt_status images(const hpt_boxes *truth, const hpt_boxes *found, hpt__marks *to) {
    uint64_t n = truth->count + found->count;
    int64_t *id = hpt__alloc((size_t)(n + 1) * sizeof *id);
    hpt_status st = id ? HPT_OK : hpt__fail_memory((size_t)(n + 1) * sizeof *id);
    if (!st && truth->count) memcpy(id, truth->image, (size_t)truth->count * sizeof *id);
    if (!st && found->count) memcpy(id + truth->count, found->image, (size_t)found->count * sizeof *id);
    if (!st) qsort(id, (size_t)n, sizeof *id, by_number);
    for (uint64_t i = 0; i < n && !st; i++)
        if (!i || id[i] != id[i - 1]) st = hpt__marks_image(to, id[i], 0, 0, NULL);
    hpt__free(id);
    return st;
}
static hpt_status entry_fails(const hpt__marks *s, uint64_t i, const char *why) {
    return hpt__fail(HPT_ERR_DATA, "%s: entry %llu: %s", s->path, (unsigned long long)i, why);
}
/* The mask of entry i; the first one of an image says how large it is. */
static hpt_status mask(const hpt_boxes *b, uint64_t i, hpt__marks *images_of, hpt__marks *s, hpt__mark *m) {
    int32_t h = b->mask_size[2 * i], w = b->mask_size[2 * i + 1];
    if (!b->mask[i]) return entry_fails(s, i, "its mask is NULL");
    if (h < 1 || w < 1 || h > HPT__MASK_SIDE || w > HPT__MASK_SIDE) return entry_fails(s, i, "a mask of that size");
    size_t n = strlen(b->mask[i]);
    HPT_TRY(hpt__marks_runs(s, n));
    int64_t runs = hpt__rle_parse(b->mask[i], n, s->runs + s->run_count);
    if (runs < 0) return entry_fails(s, i, "its mask is no string of COCO's runs");
    runs = hpt__rle_canonical(s->runs + s->run_count, (uint64_t)runs, (uint32_t)h, (uint32_t)w);
    if (runs < 0) return entry_fails(s, i, "the runs of its mask do not have as many pixels as mask_size says");
    m->coded = 1;
    m->h = (uint32_t)h;
    m->w = (uint32_t)w;
    m->at = s->run_count;
    m->n = (uint64_t)runs;
    s->run_count += m->n;
    hpt__marked_image key = {.id = m->image}, *image = images_of->images;
    uint64_t low = 0, high = images_of->image_count;
    while (high - low > 1) {                    /* sorted, and it is there */
        uint64_t mid = (low + high) / 2;
        if (image[mid].id > key.id) high = mid;
        else low = mid;
    }
    if (!image[low].h) image[low].h = m->h, image[low].w = m->w;
    return HPT_OK;
}
static hpt_status fill(const hpt_boxes *b, uint32_t classes, hpt__marks *truth, hpt__marks *s) {
    int results = truth != s;
    for (uint64_t i = 0; i < b->count; i++) {
        hpt__mark *m;
        if (b->label[i] < 0 || (uint32_t)b->label[i] >= classes)
            return hpt__fail(HPT_ERR_ARGUMENT, "%s: entry %llu: class %d of %u", s->path, (unsigned long long)i,
                             b->label[i], classes);
        HPT_TRY(hpt__marks_add(s, &m));
        m->nth = i;
        m->image = b->image[i];
        m->category = b->label[i];
        if (results) m->score = b->score[i];
        else if (b->area) m->area = b->area[i];
        if (!results && b->crowd) m->crowd = b->crowd[i] != 0;
        if (!results && b->difficult) m->ignored = b->difficult[i] != 0;
        if (!isfinite(m->score)) return entry_fails(s, i, "a score that is not finite");
        if (!results && b->area && !isfinite(m->area)) return entry_fails(s, i, "an area that is not finite");
        for (int k = 0; k < 4 && !s->masks; k++) {
            m->box[k] = b->box[4 * i + (uint64_t)k];
            if (!(fabs(m->box[k]) <= 1e9))
                return entry_fails(s, i, "a box that is not finite, or beyond 1,000,000,000");
        }
        if (s->masks) HPT_TRY(mask(b, i, truth, s, m));
    }
    return HPT_OK;
}
static hpt_status read(uint32_t classes, const hpt_boxes *truth, const hpt_boxes *found, hpt__marks *t, hpt__marks *f) {
    if (!(t->path = hpt__strdup("truth")) || !(f->path = hpt__strdup("found"))) return hpt__fail_memory(8);
    char name[16];
    for (uint32_t k = 0; k < classes; k++) {
        snprintf(name, sizeof name, "%u", k);
        HPT_TRY(hpt__marks_class(t, k, name));
    }
    HPT_TRY(images(truth, found, t));
    HPT_TRY(fill(truth, classes, t, t));
    HPT_TRY(fill(found, classes, t, f));
    HPT_TRY(hpt__marks_link(t, NULL));
    return hpt__marks_link(f, t);
}
hpt_status hpt__truth_arrays(uint32_t classes, const hpt_boxes *truth, const hpt_boxes *found, int masks,
                             hpt__marks *t, hpt__marks *f) {
    *t = (hpt__marks){.what = "entry", .masks = masks};
    *f = (hpt__marks){.what = "entry", .masks = masks};
    hpt_status st = read(classes, truth, found, t, f);
    if (st) {
        hpt__marks_free(t);
        hpt__marks_free(f);
    }
    return st;
}

/* SPDX-License-Identifier: MIT
 * The walks over the list: host copies, a tensor by name, a file of work under way. What differs from one piece of
 * work to another is in its list alone. */
#include "train/visit.h"
#include "core/alloc.h"
#include "core/json.h"
#include "io/statefile.h"
#include <string.h>

/* ---- the host's copy ---- */

void hpt__copy_close(hpt__copy *c) {
    for (int i = 0; i < c->n; i++) {
        float *all[] = {c->params[i], c->stats[i], c->moment1[i], c->moment2[i], c->rows[i]};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) hpt__free(all[k]);
    }
    *c = (hpt__copy){0};
}
hpt_status hpt__copy_open(hpt__copy *c, hpt__site at, const hpt__state *item, int n) {
    size_t wanted = 0;
    int lost = 0;
    *c = (hpt__copy){.n = n, .at = at};
    memcpy(c->item, item, sizeof *item * (size_t)n);
    for (int i = 0; i < n; i++) {
        const hpt__state *x = &item[i];
        const hpt__weights *w = x->weights;
        if (x->kind == HPT__STATE_ROWS) {
            wanted += (size_t)(x->n * x->d);
            lost |= !(c->rows[i] = hpt__alloc((size_t)(x->n * x->d) * 4));
        }
        if (x->kind != HPT__STATE_NETWORK) continue;
        wanted += w->net->n_params;
        lost |= !(c->params[i] = hpt__calloc(w->net->n_params, 4));
        lost |= !(c->stats[i] = hpt__calloc(w->net->n_stats + 1, 4));
        if (w->moment1) lost |= !(c->moment1[i] = hpt__calloc(w->net->n_params, 4));
        if (w->moment2) lost |= !(c->moment2[i] = hpt__calloc(w->net->n_params, 4));
    }
    if (!lost) return HPT_OK;
    hpt__copy_close(c);
    return hpt__fail_memory(wanted * 4);
}

/* One network, down (to the host) or up. */
static void move_network(hpt__copy *c, int i, int up, int moments) {
    const hpt__weights *w = c->item[i].weights;
    const struct { void *native; float *plain; int stats; } all[] = {
        {hpt__weights_kept(w), c->params[i], 0}, {w->stats, c->stats[i], 1},
        {moments ? w->moment1 : NULL, c->moment1[i], 0}, {moments ? w->moment2 : NULL, c->moment2[i], 0}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        if (!all[k].native) continue;
        if (up)
            hpt__weights_upload(c->at.be, c->at.dev, c->at.dtype, w->net, all[k].plain, all[k].native, all[k].stats);
        else hpt__weights_download(c->at.be, c->at.dev, c->at.dtype, w->net, all[k].native, all[k].plain, all[k].stats);
    }
    if (up && w->low && !w->ahead)
        c->at.be->params->lower(c->at.dev, 1, w->net->n_params, w->net->n_params, w->params, w->low);
}
hpt_status hpt__copy_take(hpt__copy *c) {
    const hpt__backend *be = c->at.be;
    be->device.enter(c->at.dev);
    for (int i = 0; i < c->n; i++) {
        const hpt__state *x = &c->item[i];
        if (x->number) c->number[i] = *x->number;
        if (x->kind == HPT__STATE_ROWS) be->memory.download(c->at.dev, c->rows[i], x->rows, (size_t)(x->n * x->d) * 4);
        if (x->kind == HPT__STATE_NETWORK) move_network(c, i, 0, 1);
    }
    hpt_status st = be->queue.sync(c->at.dev);
    be->device.leave(c->at.dev);
    return st;
}
/* Rows of float onto the device, whatever its type. */
static hpt_status put_rows(hpt__site at, const hpt__state *x, const float *rows) {
    size_t n = (size_t)(x->n * x->d);
    if (at.dtype != HPT__F64) {
        at.be->memory.upload(at.dev, x->rows, rows, n * 4);
        return HPT_OK;
    }
    double *wide = hpt__alloc(n * 8);
    if (!wide) return hpt__fail_memory(n * 8);
    for (size_t i = 0; i < n; i++) wide[i] = rows[i];
    at.be->memory.upload(at.dev, x->rows, wide, n * 8);
    hpt__free(wide);
    return HPT_OK;
}
hpt_status hpt__copy_give(const hpt__copy *c, const uint8_t *pick) {
    hpt_status st = HPT_OK;
    c->at.be->device.enter(c->at.dev);
    for (int i = 0; i < c->n; i++) {
        const hpt__state *x = &c->item[i];
        if (pick && !pick[i]) continue;
        if (x->number) *x->number = c->number[i];
        if (x->kind == HPT__STATE_ROWS && !st) st = put_rows(c->at, x, c->rows[i]);
        if (x->kind == HPT__STATE_NETWORK) move_network((hpt__copy *)(uintptr_t)c, i, 1, !pick);
    }
    if (!st) st = c->at.be->queue.sync(c->at.dev);
    c->at.be->device.leave(c->at.dev);
    return st;
}

/* ---- a tensor by name ---- */

/* Rows are (n,d) inside and (d,n) outside. */
static hpt_status rows_tensor(hpt__site at, const hpt__state *x, float *get, const float *set, uint64_t count) {
    size_t d = (size_t)x->d, n = (size_t)x->n, size = hpt__real_size(at.dtype);
    if (count != d * n)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s has %zu values, not %llu", x->name, d * n, (unsigned long long)count);
    void *rows = hpt__alloc(d * n * size);
    if (!rows) return hpt__fail_memory(d * n * size);
    double *wide = rows;
    float *narrow = rows;
    at.be->device.enter(at.dev);
    if (get) at.be->memory.download(at.dev, rows, x->rows, d * n * size);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++) {
            size_t in = i * d + j, out = j * n + i;
            if (get) get[out] = size == 8 ? (float)wide[in] : narrow[in];
            else if (size == 8) wide[in] = set[out];
            else narrow[in] = set[out];
        }
    if (set) at.be->memory.upload(at.dev, x->rows, rows, d * n * size);
    hpt_status st = at.be->queue.sync(at.dev);
    at.be->device.leave(at.dev);
    hpt__free(rows);
    return st;
}

/* Where a tensor of a network lies. NULL: nowhere. */
static char *find_tensor(hpt__site place, const hpt__state *item, int n, const char *name, const hpt__tensor **x) {
    for (int i = 0; i < n; i++) {
        const hpt__weights *w = item[i].weights;
        if (item[i].kind != HPT__STATE_NETWORK) continue;
        const struct { const char *prefix; void *params, *stats; } sets[] = {
            {item[i].prefix, hpt__weights_kept(w), w->stats}, {"grad.", w->grad, NULL},
            {"momentum.", w->moment1, NULL}};
        for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
            size_t length = strlen(sets[k].prefix);
            int at = strncmp(name, sets[k].prefix, length) ? -1 : hpt__net_find(w->net, name + length);
            if (at < 0) continue;
            *x = &w->net->tensors[at];
            char *base = hpt__is_stat(*x) ? sets[k].stats : sets[k].params;
            if (base) return base + (*x)->offset * hpt__real_size(place.dtype);
        }
    }
    return NULL;
}
hpt_status hpt__state_tensor(hpt__site at, const hpt__state *item, int n, const char *name, float *get,
                             const float *set, uint64_t count) {
    const hpt__tensor *x;
    for (int i = 0; i < n; i++)
        if (item[i].kind == HPT__STATE_ROWS && !strcmp(item[i].name, name))
            return rows_tensor(at, &item[i], get, set, count);
    char *p = find_tensor(at, item, n, name, &x);
    if (!p) return hpt__fail(HPT_ERR_ARGUMENT, "no session tensor is called '%.80s'", name);
    if (count != x->count)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s has %zu values, not %llu", name, x->count, (unsigned long long)count);
    at.be->device.enter(at.dev);
    if (get) at.be->order.unpack(at.dev, at.dtype, x->order, p, get);
    else at.be->order.pack(at.dev, at.dtype, x->order, set, p);
    hpt_status st = at.be->queue.sync(at.dev);
    at.be->device.leave(at.dev);
    return st;
}

/* ---- work under way ---- */

/* The arrays of a copy and of the items, as the file has them one after the other. */
static int parts_of(const hpt__copy *c, hpt__state_part part[5 * HPT__STATES]) {
    int n = 0;
    for (int i = 0; i < c->n; i++) {
        const hpt__state *x = &c->item[i];
        size_t params = x->weights ? x->weights->net->n_params * 4 : 0;
        size_t stats = x->weights ? x->weights->net->n_stats * 4 : 0, rows = (size_t)(x->n * x->d) * 4;
        const hpt__state_part all[] = {{c->params[i], params}, {c->stats[i], stats}, {c->moment1[i], params},
                                       {c->moment2[i], params}, {c->rows[i], rows}, {x->floats, (size_t)x->n * 4}};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            if (all[k].p && all[k].bytes) part[n++] = all[k];
    }
    return n;
}
static json_t *numbers_of(const hpt__copy *c) {
    json_t *j = json_object();
    int lost = !j;
    for (int i = 0; i < c->n; i++) {
        const hpt__state *x = &c->item[i];
        if (x->number) lost |= json_object_set_new(j, x->name, json_integer((json_int_t)*x->number));
        if (x->real) lost |= json_object_set_new(j, x->name, hpt__json_number(*x->real));
        if (x->list) lost |= json_object_set(j, x->name, x->list);
    }
    if (!lost) return j;
    json_decref(j);
    return NULL;
}
hpt_status hpt__work_save(const char *path, uint64_t key, hpt__site at, const hpt__state *item, int n) {
    hpt__copy c;
    hpt__state_part part[5 * HPT__STATES];
    if (!*path) return HPT_OK;
    HPT_TRY(hpt__copy_open(&c, at, item, n));
    json_t *j = numbers_of(&c);
    char *text = j ? hpt__json_dumps(j, JSON_COMPACT) : NULL;
    hpt_status st = text ? hpt__copy_take(&c) : hpt__fail_memory(4096);
    if (!st) st = hpt__state_save(path, key, text, part, parts_of(&c, part));
    json_decref(j);
    hpt__free(text);
    hpt__copy_close(&c);
    return st;
}
hpt_status hpt__work_load(const char *path, uint64_t key, hpt__site at, const hpt__state *item, int n) {
    hpt__copy c;
    hpt__state_part part[5 * HPT__STATES];
    char *text = NULL;
    json_t *j = NULL;
    if (!*path) return HPT_END;
    HPT_TRY(hpt__copy_open(&c, at, item, n));
    hpt_status st = hpt__state_load(path, key, &text, part, parts_of(&c, part));
    if (!st && !(j = json_loads(text, 0, NULL))) st = hpt__fail_memory(strlen(text));
    for (int i = 0; i < n && !st; i++) {
        json_t *v = json_object_get(j, item[i].name);
        if (item[i].number) c.number[i] = json_integer_value(v);
        if (item[i].real) *item[i].real = hpt__json_real(v);
        if (item[i].list && json_array_extend(item[i].list, v)) st = hpt__fail_memory(4096);
    }
    if (!st) st = hpt__copy_give(&c, NULL);
    json_decref(j);
    hpt__free(text);
    hpt__copy_close(&c);
    return st;
}

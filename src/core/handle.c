/* SPDX-License-Identifier: MIT */
#include "core/handle.h"
#include "core/alloc.h"
#include <pthread.h>
#include <unistd.h>

typedef struct slot { const void *h; int kind; } slot;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static slot *table;     /* open addressing; size a power of two; freed when the last handle goes */
static size_t size, used;

static size_t where(const slot *t, size_t n, const void *h) {
    size_t i = ((uintptr_t)h >> 4) * 0x9E3779B97F4A7C15u >> 20 & (n - 1);
    while (t[i].h && t[i].h != h) i = (i + 1) & (n - 1);
    return i;
}

hpt_status hpt__handle_open(void *object, int kind, void (*free_fn)(void *)) {
    hpt__handle *x = object;
    x->refs = 1;
    x->kind = kind;
    x->pid = (int)getpid();
    x->free = free_fn;
    pthread_mutex_lock(&lock);
    if (used * 2 >= size) {
        size_t n = size ? size * 2 : 64;
        slot *t = hpt__calloc(n, sizeof *t);
        if (!t) {
            pthread_mutex_unlock(&lock);
            return hpt__fail_memory(n * sizeof *t);
        }
        for (size_t i = 0; i < size; i++)
            if (table[i].h) t[where(t, n, table[i].h)] = table[i];
        hpt__free(table);
        table = t;
        size = n;
    }
    table[where(table, size, object)] = (slot){object, kind};
    used++;
    pthread_mutex_unlock(&lock);
    return HPT_OK;
}

static int kind_of(const void *h) {
    pthread_mutex_lock(&lock);
    int kind = size && h ? table[where(table, size, h)].kind : 0;
    pthread_mutex_unlock(&lock);
    return kind;
}

hpt_status hpt__handle_check(const void *h, int kind, const char *argument) {
    static const char *const names[] = {"", "hpt_config", "hpt_context", "hpt_dataset", "hpt_model", "hpt_session", "hpt_result"};
    if (!h) return hpt__fail(HPT_ERR_ARGUMENT, "%s is NULL", argument);
    int found = kind_of(h);
    if (found != kind)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s is not a live %s%s%s", argument, names[kind], found ? " but a " : "",
                         found ? names[found] : "");
    if (((const hpt__handle *)h)->pid != (int)getpid())
        return hpt__fail(HPT_ERR_FORKED, "%s was made by the parent process; make a new one after fork", argument);
    return HPT_OK;
}

void hpt__handle_close(void *h, int kind) {
    if (!h || kind_of(h) != kind) return;
    pthread_mutex_lock(&lock);
    size_t hole = where(table, size, h);
    table[hole] = (slot){NULL, 0};
    used--;
    for (size_t i = (hole + 1) & (size - 1); table[i].h; i = (i + 1) & (size - 1)) {   /* close the gap in the probe sequence */
        slot s = table[i];
        table[i] = (slot){NULL, 0};
        table[where(table, size, s.h)] = s;
    }
    if (!used) {
        hpt__free(table);
        table = NULL;
        size = 0;
    }
    pthread_mutex_unlock(&lock);
    hpt__release(h);
}

void hpt__retain(void *object) { atomic_fetch_add(&((hpt__handle *)object)->refs, 1); }

void hpt__release(void *object) {
    hpt__handle *x = object;
    if (x && atomic_fetch_sub(&x->refs, 1) == 1) x->free(object);
}

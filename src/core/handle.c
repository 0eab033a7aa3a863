/* SPDX-License-Identifier: MIT
 * The table of live handles. Its lock is held over a fork, so that a child of a busy process finds the table whole
 * and the lock free. */
#include "core/handle.h"
#include "core/alloc.h"
#include <pthread.h>
#include <unistd.h>

typedef struct live_handle { const void *h; int kind; } live_handle;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static live_handle *table;     /* open addressing; size a power of two; freed when the last handle goes */
static size_t size, used;

static const char *const names[] = {[0] = "", [HPT__KIND_CONFIG] = "hpt_config", [HPT__KIND_CONTEXT] = "hpt_context",
                                    [HPT__KIND_DATASET] = "hpt_dataset", [HPT__KIND_MODEL] = "hpt_model",
                                    [HPT__KIND_SESSION] = "hpt_session", [HPT__KIND_RESULT] = "hpt_result",
                                    [HPT__KIND_RECIPE] = "hpt_recipe"};
_Static_assert(sizeof names / sizeof *names == HPT__KINDS, "a name for each kind of handle");

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }

static size_t where(const live_handle *t, size_t n, const void *h) {
    size_t i = ((uintptr_t)h >> 4) * 0x9E3779B97F4A7C15u >> 20 & (n - 1);
    while (t[i].h && t[i].h != h) i = (i + 1) & (n - 1);
    return i;
}

hpt_status hpt__handle_open(void *object, int kind, void (*free_fn)(void *)) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    hpt__handle *x = object;
    pthread_once(&once, watch_forks);
    x->refs = 1;
    x->kind = kind;
    x->pid = (int)getpid();
    x->free = free_fn;
    pthread_mutex_lock(&lock);
    if (used * 2 >= size) {
        size_t n = size ? size * 2 : 64;
        live_handle *t = hpt__calloc(n, sizeof *t);
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
    table[where(table, size, object)] = (live_handle){object, kind};
    used++;
    pthread_mutex_unlock(&lock);
    return HPT_OK;
}

/* Kind of a live handle, 0 if it is none; with hold and of the kind wanted it gets a reference before anyone else
 * can destroy it. */
static int kind_of(const void *h, int wanted, int hold) {
    pthread_mutex_lock(&lock);
    int kind = size && h ? table[where(table, size, h)].kind : 0;
    if (hold && kind == wanted && ((const hpt__handle *)h)->pid == (int)getpid()) hpt__retain((void *)(uintptr_t)h);
    pthread_mutex_unlock(&lock);
    return kind;
}

static hpt_status look(const void *h, int kind, const char *argument, int hold) {
    int found = kind_of(h, kind, hold);
    if (!argument) return found == kind && ((const hpt__handle *)h)->pid == (int)getpid() ? HPT_OK : HPT_ERR_ARGUMENT;
    if (!h) return hpt__fail(HPT_ERR_ARGUMENT, "%s is NULL", argument);
    if (found != kind)
        return hpt__fail(HPT_ERR_ARGUMENT, "%s is not a live %s%s%s", argument, names[kind], found ? " but a " : "",
                         names[found]);
    if (((const hpt__handle *)h)->pid != (int)getpid())
        return hpt__fail(HPT_ERR_FORKED, "%s was made by the parent process; make a new one after fork", argument);
    return HPT_OK;
}
hpt_status hpt__handle_check(const void *h, int kind, const char *argument) { return look(h, kind, argument, 0); }
hpt_status hpt__handle_hold(const void *h, int kind, const char *argument) { return look(h, kind, argument, 1); }

static void leave_table(const void *h) {
    size_t hole = where(table, size, h);
    table[hole] = (live_handle){NULL, 0};
    used--;
    /* close the gap in the probe sequence */
    for (size_t i = (hole + 1) & (size - 1); table[i].h; i = (i + 1) & (size - 1)) {
        live_handle s = table[i];
        table[i] = (live_handle){NULL, 0};
        table[where(table, size, s.h)] = s;
    }
    if (!used) {
        hpt__free(table);
        table = NULL;
        size = 0;
    }
}
void hpt__handle_close(void *h, int kind) {
    pthread_mutex_lock(&lock);
    int mine = size && h && table[where(table, size, h)].kind == kind;
    if (mine) leave_table(h);
    pthread_mutex_unlock(&lock);
    if (mine && ((hpt__handle *)h)->pid == (int)getpid()) hpt__release(h);
}

void hpt__retain(void *object) { atomic_fetch_add(&((hpt__handle *)object)->refs, 1); }

void hpt__release(void *object) {
    hpt__handle *x = object;
    if (x && atomic_fetch_sub(&x->refs, 1) == 1) x->free(object);
}

/* SPDX-License-Identifier: MIT
 * The backends by name, in the order that "auto" tries them. A module is loaded when it is first asked for, and
 * stays (RTLD_NODELETE): the OpenMP run time under oneDNN keeps threads that would outlive its code. Modules are
 * looked for beside this library (or the program that it is linked into), always by an absolute path: never in the
 * current folder, never by what argv[0] says. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "core/alloc.h"
#include "core/status.h"
#include "core/number.h"
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3)))
static hpt_status host_fail(hpt_status status, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    hpt__vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    return hpt__fail(status, "%s", text);
}
const hpt__host hpt__host_table = {host_fail, hpt__alloc_aligned, hpt__free};

/* The file that this code was loaded from, as an absolute path; resolved: links followed. The run-time linker knows
 * the library by the path that it found it under, which may be relative to a folder that was current once, and a
 * program only as argv[0] says: both are of no use here, and then the kernel's list of mapped files tells. */
static int own_file(int resolved, char path[PATH_MAX]) {
    Dl_info here;
    struct link_map *map = NULL;
    char line[PATH_MAX + 128], name[PATH_MAX];
    const uintptr_t me = (uintptr_t)own_file;
    *path = 0;
    if (dladdr1((void *)me, &here, (void **)&map, RTLD_DL_LINKMAP) && map && map->l_name[0] == '/' &&
        strlen(map->l_name) < PATH_MAX) snprintf(path, PATH_MAX, "%s", map->l_name);
    FILE *maps = *path ? NULL : fopen("/proc/self/maps", "re");
    while (maps && !*path && fgets(line, sizeof line, maps)) {
        unsigned long first, end;
        int at = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &first, &end, &at) < 2 || me < first || me >= end || !at ||
            line[at] != '/') continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(path, PATH_MAX, "%s", line + at);
    }
    if (maps) fclose(maps);
    if (!*path || !resolved) return *path == '/';
    if (!realpath(path, name)) return 0;
    snprintf(path, PATH_MAX, "%s", name);
    return 1;
}

/* Calls try with each place where a module may be; ends when one returns HPT_OK. */
typedef hpt_status (*visitor)(void *user, const char *path);
static hpt_status each_place(const char *name, visitor try, void *user) {
    static const char *const places[] = {"hpt/", "", "../lib/hpt/", "../hpt/"};
    char own[2][PATH_MAX], path[PATH_MAX + 128];
    for (int k = 0; k < 2; k++) {       /* a link to the library may stand elsewhere than library and modules */
        if (!own_file(k, own[k]) || (k && !strcmp(own[0], own[1]))) continue;
        int len = (int)(strrchr(own[k], '/') + 1 - own[k]);
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(path, sizeof path, "%.*s%slibhpt-%s.so", len, own[k], places[i], name);
            if (try(user, path) == HPT_OK) return HPT_OK;
        }
    }
    return HPT_ERR_UNAVAILABLE;
}
static hpt_status readable(void *user, const char *path) {
    (void)user;
    return access(path, R_OK) ? HPT_END : HPT_OK;
}
int hpt__module_here(const char *name) { return each_place(name, readable, NULL) == HPT_OK; }

/* first: why the file that is there, else the first place, did not load */
typedef struct opening { void **module; char *path, *first; } opening;
enum { WHY = 600 };
static hpt_status open_module(void *user, const char *path) {
    opening *o = user;
    if (path != o->path) snprintf(o->path, HPT__MODULE_PATH, "%s", path);
    if ((*o->module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE))) return HPT_OK;
    const char *why = dlerror();
    if (!*o->first || !access(path, F_OK)) snprintf(o->first, WHY, "%s", why);
    return HPT_END;
}

hpt_status hpt__module_load(const char *name, const char *dir, void **module, char path[HPT__MODULE_PATH]) {
    char first[WHY] = "", folder[PATH_MAX];
    opening o = {module, path, first};
    *module = NULL;
    if (dir && *dir) {
        char why[128];
        if (!realpath(dir, folder))
            return hpt__fail(HPT_ERR_UNAVAILABLE, "module %s: option module_dir: %.600s: %s", name, dir,
                             strerror_r(errno, why, sizeof why));
        snprintf(path, HPT__MODULE_PATH, "%s/libhpt-%s.so", strcmp(folder, "/") ? folder : "", name);
        return open_module(&o, path) == HPT_OK ? HPT_OK : hpt__fail(HPT_ERR_UNAVAILABLE, "module %s: %.900s", name,
                                                                    first);
    }
    if (each_place(name, open_module, &o) == HPT_OK) return HPT_OK;
    return hpt__fail(HPT_ERR_UNAVAILABLE, "module %s: %s (option module_dir names another folder)", name,
                     *first ? first : "this library cannot find its own file");
}

static hpt_status load(const char *name, const char *dir, const hpt__backend **backend, void **module) {
    char path[HPT__MODULE_PATH], symbol[64];
    HPT_TRY(hpt__module_load(name, dir, module, path));
    snprintf(symbol, sizeof symbol, "hpt_backend_%s", name);
    const hpt__backend *b = dlsym(*module, symbol);
    if (!b || b->api != HPT__BACKEND_API) {
        dlclose(*module);
        *module = NULL;
        return hpt__fail(HPT_ERR_UNAVAILABLE, "backend %s: %.800s is a module of another version of libhpt", name,
                         path);
    }
    const char *lacks = !b->rows ? "rows" : !b->contrast ? "contrast" : !b->params ? "params" : NULL;
    if (lacks) {
        dlclose(*module);
        *module = NULL;
        return hpt__fail(HPT_ERR_UNAVAILABLE, "backend %s: %.800s has no operations of the family '%s'", name, path,
                         lacks);
    }
    *backend = b;
    return HPT_OK;
}

/* That this process may run on. More than a cpu_set_t holds: all that there are. */
static int processors(void) {
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 1024 ? 1024 : (int)n;
}
/* Threads that wait for each other must all have a processor: with more of them a step takes a thousand times as
 * long. */
static int threads(int asked) {
    int most = processors();
    return asked >= 1 && asked < most ? asked : asked < 1 && most > 256 ? 256 : most;
}

static hpt_status load_and_open(const char *name, const char *dir, const hpt__open *o, const hpt__backend **backend,
                                hpt__device **dev, void **module) {
    hpt_status st = load(name, dir, backend, module);
    if (st) return st;
    st = (*backend)->device.open(&hpt__host_table, o, dev);
    if (st) {
        dlclose(*module);
        *module = NULL;
    }
    return st;
}

/* Is there an NVIDIA driver at all? Asked first by auto: the cuda module brings cuDNN, cuBLASLt and NCCL along,
 * which cost a machine without a GPU 0.1 s and 150 MB. */
static int driver_here(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver) dlclose(driver);
    return driver != NULL;
}

hpt_status hpt__backend_open(const char *name, const char *dir, hpt__open *o, const hpt__backend **backend,
                             hpt__device **dev, void **module, char fallback[HPT__FALLBACK]) {
    int any = !strcmp(name, "auto"), cpu = any || !strcmp(name, "cpu");
    *module = NULL;
    o->threads = threads(o->threads);
    *fallback = 0;
    if ((any && driver_here()) || !strcmp(name, "cuda")) {
        hpt_status st = load_and_open("cuda", dir, o, backend, dev, module);
        if (st == HPT_OK || !any) return st;
    }
    if (cpu || !strcmp(name, "onednn")) {
        hpt_status st = load_and_open("onednn", dir, o, backend, dev, module);
        if (st == HPT_OK || !cpu) return st;
        snprintf(fallback, HPT__FALLBACK, "backend %s falls back to reference, which is many times slower: %s", name,
                 hpt__error_text());
    }
    *backend = &hpt__backend_reference;
    return (*backend)->device.open(&hpt__host_table, o, dev);
}

void hpt__backend_close(const hpt__backend *backend, hpt__device *dev, void *module) {
    if (dev) backend->device.close(dev);
    if (module) dlclose(module);
}

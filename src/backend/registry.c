/* SPDX-License-Identifier: MIT
 * The backends by name, in the order that "auto" tries them. A module is loaded when it is first asked for, and stays (RTLD_NODELETE): the
 * OpenMP run time under oneDNN keeps threads that would outlive its code. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "core/alloc.h"
#include "core/status.h"
#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3)))
static hpt_status host_fail(hpt_status status, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return hpt__fail(status, "%s", text);
}
static const hpt__host host = {host_fail, hpt__alloc_aligned, hpt__free};

/* dir/libhpt-NAME.so, else beside this library in hpt/, else ../lib/hpt/ of it (a program linked statically in bin/). */
static hpt_status load(const char *name, const char *dir, const hpt__backend **backend, void **module) {
    char path[4200], first[600] = "", symbol[64];
    Dl_info here;
    void *lib = NULL;
    static const char *const places[] = {"hpt/", "", "../lib/hpt/", "../hpt/"};
    if (dir && *dir) {
        snprintf(path, sizeof path, "%.4000s/libhpt-%s.so", dir, name);
        lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (!lib) return hpt__fail(HPT_ERR_UNAVAILABLE, "backend %s: %.900s", name, dlerror());
    } else {
        if (!dladdr((void *)(uintptr_t)load, &here) || !here.dli_fname) return hpt__fail(HPT_ERR_UNAVAILABLE, "cannot find my own file");
        const char *slash = strrchr(here.dli_fname, '/');
        int len = slash ? (int)(slash + 1 - here.dli_fname) : 0;
        for (int i = 0; i < 4 && !lib; i++) {
            snprintf(path, sizeof path, "%.*s%slibhpt-%s.so", len > 3900 ? 3900 : len, here.dli_fname, places[i], name);
            lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
            if (!lib) {
                const char *why = dlerror();
                if (!first[0] || !strstr(why, "cannot open shared object file: No such")) snprintf(first, sizeof first, "%s", why);
            }
        }
        if (!lib) return hpt__fail(HPT_ERR_UNAVAILABLE, "backend %s: %s (option module_dir names another folder)", name, first);
    }
    snprintf(symbol, sizeof symbol, "hpt_backend_%s", name);
    const hpt__backend *b = dlsym(lib, symbol);
    if (!b || b->api != HPT__BACKEND_API) {
        dlclose(lib);
        return hpt__fail(HPT_ERR_UNAVAILABLE, "backend %s: %.800s is a module of another version of libhpt", name, path);
    }
    *backend = b;
    *module = lib;
    return HPT_OK;
}

static int processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}

hpt_status hpt__backend_open(const char *name, const char *dir, int *threads, const hpt__backend **backend, hpt__device **dev, void **module) {
    int any = !strcmp(name, "auto");
    *module = NULL;
    if (*threads < 1) *threads = processors();
    if (any || !strcmp(name, "onednn")) {
        hpt_status st = load("onednn", dir, backend, module);
        if (st == HPT_OK) st = (*backend)->open(&host, *threads, dev);
        if (st == HPT_OK || !any) return st;
    }
    *backend = &hpt__backend_reference;
    return (*backend)->open(&host, *threads, dev);
}

void hpt__backend_close(const hpt__backend *backend, hpt__device *dev, void *module) {
    if (dev) backend->close(dev);
    if (module) dlclose(module);
}

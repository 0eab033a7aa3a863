/* SPDX-License-Identifier: MIT
 * The backends by name, in the order that "auto" tries them. A module is loaded when it is first asked for, and stays (RTLD_NODELETE): the
 * OpenMP run time under oneDNN keeps threads that would outlive its code. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "core/alloc.h"
#include "core/status.h"
#include "core/number.h"
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
    hpt__vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    return hpt__fail(status, "%s", text);
}
const hpt__host hpt__host_table = {host_fail, hpt__alloc_aligned, hpt__free};

hpt_status hpt__module_load(const char *name, const char *dir, void **module, char path[4200]) {
    char first[600] = "";
    Dl_info here;
    static const char *const places[] = {"hpt/", "", "../lib/hpt/", "../hpt/"};
    *module = NULL;
    if (dir && *dir) {
        snprintf(path, 4200, "%.4000s/libhpt-%s.so", dir, name);
        *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        return *module ? HPT_OK : hpt__fail(HPT_ERR_UNAVAILABLE, "module %s: %.900s", name, dlerror());
    }
    if (!dladdr((void *)(uintptr_t)hpt__module_load, &here) || !here.dli_fname) return hpt__fail(HPT_ERR_UNAVAILABLE, "cannot find my own file");
    const char *slash = strrchr(here.dli_fname, '/');
    int len = slash ? (int)(slash + 1 - here.dli_fname) : 0;
    for (int i = 0; i < 4; i++) {
        snprintf(path, 4200, "%.*s%slibhpt-%s.so", len > 3900 ? 3900 : len, here.dli_fname, places[i], name);
        if ((*module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE))) return HPT_OK;
        const char *why = dlerror();
        if (!first[0] || !strstr(why, "cannot open shared object file: No such")) snprintf(first, sizeof first, "%s", why);
    }
    return hpt__fail(HPT_ERR_UNAVAILABLE, "module %s: %s (option module_dir names another folder)", name, first);
}

static hpt_status load(const char *name, const char *dir, const hpt__backend **backend, void **module) {
    char path[4200], symbol[64];
    HPT_TRY(hpt__module_load(name, dir, module, path));
    snprintf(symbol, sizeof symbol, "hpt_backend_%s", name);
    const hpt__backend *b = dlsym(*module, symbol);
    if (!b || b->api != HPT__BACKEND_API) {
        dlclose(*module);
        *module = NULL;
        return hpt__fail(HPT_ERR_UNAVAILABLE, "backend %s: %.800s is a module of another version of libhpt", name, path);
    }
    *backend = b;
    return HPT_OK;
}

static int processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}

static hpt_status load_and_open(const char *name, const char *dir, const hpt__open *o, const hpt__backend **backend, hpt__device **dev, void **module) {
    hpt_status st = load(name, dir, backend, module);
    if (st) return st;
    st = (*backend)->open(&hpt__host_table, o, dev);
    if (st) {
        dlclose(*module);
        *module = NULL;
    }
    return st;
}

/* Is there an NVIDIA driver at all? Asked first by auto: the cuda module brings cuDNN, cuBLASLt and NCCL along, which cost a machine without
 * a GPU 0.1 s and 150 MB. */
static int driver_here(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver) dlclose(driver);
    return driver != NULL;
}

hpt_status hpt__backend_open(const char *name, const char *dir, hpt__open *o, const hpt__backend **backend, hpt__device **dev, void **module) {
    int any = !strcmp(name, "auto"), cpu = any || !strcmp(name, "cpu");
    *module = NULL;
    if (o->threads < 1) o->threads = processors();
    if ((any && driver_here()) || !strcmp(name, "cuda")) {
        hpt_status st = load_and_open("cuda", dir, o, backend, dev, module);
        if (st == HPT_OK || !any) return st;
    }
    if (cpu || !strcmp(name, "onednn")) {
        hpt_status st = load_and_open("onednn", dir, o, backend, dev, module);
        if (st == HPT_OK || !cpu) return st;
    }
    *backend = &hpt__backend_reference;
    return (*backend)->open(&hpt__host_table, o, dev);
}

void hpt__backend_close(const hpt__backend *backend, hpt__device *dev, void *module) {
    if (dev) backend->close(dev);
    if (module) dlclose(module);
}

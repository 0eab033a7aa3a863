/* SPDX-License-Identifier: MIT
 * Memory of a device that is the host: one allocator, copies at once, so that nothing is ever to be waited for.
 * Shared by the reference and onednn backends. */
#include "backend/host/host_device.h"
#include <string.h>

static const hpt__host *host_of(hpt__device *dev) { return ((const hpt__host_device *)(const void *)dev)->host; }

void *hpt__host_alloc(hpt__device *dev, size_t bytes) { return host_of(dev)->alloc(bytes); }
void hpt__host_free(hpt__device *dev, void *p) { host_of(dev)->free(p); }
size_t hpt__host_left(hpt__device *dev) { (void)dev; return SIZE_MAX; }
void hpt__host_copy(hpt__device *dev, void *dst, const void *src, size_t bytes) { (void)dev; memcpy(dst, src, bytes); }
void hpt__host_zero(hpt__device *dev, void *p, size_t bytes) { (void)dev; memset(p, 0, bytes); }
void hpt__host_copy_if(hpt__device *dev, void *dst, const void *src, size_t bytes, const int32_t *flag) {
    if (*flag) hpt__host_copy(dev, dst, src, bytes);
}
hpt_status hpt__host_sync(hpt__device *dev) { (void)dev; return HPT_OK; }
int hpt__host_no_low(hpt__device *dev, hpt__dtype t) { (void)dev; (void)t; return 0; }

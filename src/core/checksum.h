/* SPDX-License-Identifier: MIT
 * The CRC-32 of PNG and zip, by zlib, in pieces that fit its 32-bit lengths; and the question whether a record's
 * checksum is right. */
#ifndef HPT__CHECKSUM_H
#define HPT__CHECKSUM_H
#include <stdint.h>
#include <zlib.h>

static inline uint32_t hpt__crc32(const uint8_t *p, uint64_t n) {
    uLong c = 0;
    while (n) {
        uInt part = n > 1u << 30 ? 1u << 30 : (uInt)n;
        c = crc32(c, p, part);
        p += part;
        n -= part;
    }
    return (uint32_t)c;
}
/* Whether bytes have the sum that their file gives. A fuzzer's build takes any, or no mutation would get behind this
 * door. */
static inline int hpt__crc_is(const uint8_t *p, uint64_t n, uint32_t given) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)p, (void)n, (void)given;
    return 1;
#else
    return hpt__crc32(p, n) == given;
#endif
}
#endif

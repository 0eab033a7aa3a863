/* SPDX-License-Identifier: MIT
 * Contract: statefile.h. A head with magic, key, lengths and checksum, then the text and the parts. Whatever does
 * not fit is as good as no file: the work is then done again. */
#include "io/statefile.h"
#include "core/alloc.h"
#include "io/file.h"
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* check: of everything behind the header */
typedef struct header { char magic[8]; uint64_t key, text, total, check; } header;
static const char magic[8] = "hptstate";

static uint64_t sum(const char *text, size_t len, const hpt__state_part *part, int n) {
    uint64_t h = XXH3_64bits(text, len);
    for (int i = 0; i < n; i++) h = XXH3_64bits_withSeed(part[i].p, part[i].bytes, h);
    return h;
}
hpt_status hpt__state_save(const char *path, uint64_t key, const char *text, const hpt__state_part *part, int n) {
    hpt__writer w;
    header h = {.key = key, .text = strlen(text) + 1};
    memcpy(h.magic, magic, sizeof magic);
    for (int i = 0; i < n; i++) h.total += part[i].bytes;
    h.check = sum(text, (size_t)h.text, part, n);
    HPT_TRY(hpt__writer_open(&w, path));
    hpt__writer_put(&w, &h, sizeof h);
    hpt__writer_put(&w, text, (size_t)h.text);
    for (int i = 0; i < n; i++) hpt__writer_put(&w, part[i].p, part[i].bytes);
    return hpt__writer_commit(&w);
}
hpt_status hpt__state_load(const char *path, uint64_t key, char **text, const hpt__state_part *part, int n) {
    hpt__bytes f;
    header h;
    uint64_t total = 0;
    for (int i = 0; i < n; i++) total += part[i].bytes;
    *text = NULL;
    hpt_status st = hpt__file_read(path, total + (64u << 20), &f);
    /* there, and cannot be read: nothing is begun again in silence */
    if (st == HPT_ERR_MEMORY || (st == HPT_ERR_IO && !access(path, F_OK))) return st;
    if (st) return HPT_END;
    st = HPT_END;
    if (f.n >= sizeof h) memcpy(&h, f.p, sizeof h);
    if (f.n >= sizeof h && !memcmp(h.magic, magic, sizeof magic) && h.key == key && h.total == total && h.text > 0 &&
        h.text <= f.n - sizeof h && f.n - sizeof h - h.text == total && !f.p[sizeof h + h.text - 1]) {
        uint64_t check = XXH3_64bits(f.p + sizeof h, (size_t)h.text), at = sizeof h + h.text;
        for (int i = 0; i < n; i++, at += part[i - 1].bytes)
            check = XXH3_64bits_withSeed(f.p + at, part[i].bytes, check);
        if (check == h.check)
            st = (*text = hpt__strdup((char *)f.p + sizeof h)) ? HPT_OK : hpt__fail_memory((size_t)h.text);
        at = sizeof h + h.text;
        for (int i = 0; i < n && !st; i++) {
            memcpy(part[i].p, f.p + at, part[i].bytes);
            at += part[i].bytes;
        }
    }
    hpt__free(f.p);
    return st;
}

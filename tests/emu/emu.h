/* SPDX-License-Identifier: MIT
 * The host meaning of src/kernels/device_c.h: a block runs as one fiber per thread, one block at a time. Barriers,
 * shuffles and the warp instructions are rendezvous; shared memory is heap memory of the exact size
 * (AddressSanitizer sees every overrun) filled with NaNs before each block; vector accesses check their alignment;
 * asynchronous copies arrive only when they are waited for; launches are checked against the card's limits.
 * HPT_EMU_ORDER=<seed> runs the threads of a block, and the blocks, in shuffled order: same bits or a race. */
#ifndef HPT_EMU_H
#define HPT_EMU_H
#include <cuda_runtime_api.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <functional>

#undef __global__
#undef __device__
#undef __forceinline__
#undef __launch_bounds__
#undef __restrict__
#define __global__ static
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define HPT_DEVICE static inline __attribute__((unused))

struct hpt_emu_uint3 { unsigned x, y, z; };
struct hpt_emu_thread {
    hpt_emu_uint3 thread, block;
    dim3 block_dim, grid_dim;
    int lane;
};
extern thread_local hpt_emu_thread *hpt_emu_me;
#define threadIdx (hpt_emu_me->thread)
#define blockIdx (hpt_emu_me->block)
#define blockDim (hpt_emu_me->block_dim)
#define gridDim (hpt_emu_me->grid_dim)

void hpt_emu_sync(const char *file, int line);
void hpt_emu_exchange(uint32_t mask, const void *mine, size_t size, void *all);     /* all: 32 x size */
void *hpt_emu_shared(const void *site, size_t bytes);
void *hpt_emu_dynamic(void);
void hpt_emu_copy(void *to, const void *from);
void hpt_emu_commit(void);
void hpt_emu_wait(int left);
[[noreturn]] void hpt_emu_fault(const char *fmt, ...);
void hpt_emu_enqueue(cudaStream_t s, const char *name, const void *kernel, dim3 grid, dim3 block, size_t smem,
                     std::function<void()> body);
extern "C" void hpt_emu_allow_shared(const void *kernel, size_t bytes);

#define __syncthreads() hpt_emu_sync(__FILE__, __LINE__)
static inline void __syncwarp(uint32_t mask = 0xffffffffu) { char x = 0, all[32]; hpt_emu_exchange(mask, &x, 1, all); }
template <typename T> static inline T __shfl_xor_sync(uint32_t mask, T v, int lane) {
    T all[32]; hpt_emu_exchange(mask, &v, sizeof v, all); return all[(hpt_emu_me->lane ^ lane) & 31];
}
static inline uint32_t __ballot_sync(uint32_t mask, int p) {
    char mine = p != 0, all[32];
    uint32_t r = 0;
    hpt_emu_exchange(mask, &mine, 1, all);
    for (int i = 0; i < 32; i++) if ((mask >> i & 1) && all[i]) r |= 1u << i;
    return r;
}
static inline int __any_sync(uint32_t mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int atomicOr(int *p, int v) { int old = *p; *p |= v; return old; }

#define HPT_LAUNCH(kernel, grid, block, smem, stream, ...) hpt_emu_launch(stream, #kernel, kernel, grid, block, smem, \
    __VA_ARGS__)
template <typename... P, typename... A>
static inline void hpt_emu_launch(cudaStream_t s, const char *name, void (*k)(P...), dim3 grid, dim3 block,
                                  size_t smem, A... a) {
    hpt_emu_enqueue(s, name, (const void *)k, grid, block, smem, [=] { k((P)a...); });
}
#define HPT_SHARED(T, name, count) static const char name##_site = 0; T *name = (T *)hpt_emu_shared(&name##_site, \
    sizeof(T) * (count))
#define HPT_SHARED_DYNAMIC(name) unsigned char *name = (unsigned char *)hpt_emu_dynamic()
#define HPT_ALLOW_SHARED(kernel, bytes) hpt_emu_allow_shared((const void *)(kernel), bytes)

HPT_DEVICE uint32_t hpt_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
HPT_DEVICE float hpt_from_bf16(uint16_t h) { uint32_t u = (uint32_t)h << 16; float f; memcpy(&f, &u, 4); return f; }
HPT_DEVICE uint16_t hpt_to_bf16(float f) {
    uint32_t u = hpt_bits(f);
    return f != f ? 0x7fff : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
HPT_DEVICE float hpt_mul(float a, float b) { return a * b; }     /* these files are compiled without contraction */
HPT_DEVICE float hpt_add(float a, float b) { return a + b; }
static inline void hpt_emu_aligned(const void *p) { if ((uintptr_t)p & 15) hpt_emu_fault("16-byte access at %p", p); }
HPT_DEVICE uint4 hpt_load16(const void *p) { hpt_emu_aligned(p); uint4 v; memcpy(&v, p, 16); return v; }
HPT_DEVICE void hpt_store16(void *p, uint4 v) { hpt_emu_aligned(p); memcpy(p, &v, 16); }

HPT_DEVICE float hpt_emu_half(const uint32_t *r, int i) { return hpt_from_bf16((uint16_t)(r[i / 2] >> (i % 2 * 16))); }
/* Inputs are bf16 as the hardware reads them; products are exact in fp32, sums fp32 in the order of k. */
HPT_DEVICE void hpt_mma_bf16_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    struct { uint32_t a[4], b[2]; } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, all[32];
    int lane = hpt_emu_me->lane, g = lane / 4, t = lane % 4;
    hpt_emu_exchange(0xffffffffu, &mine, sizeof mine, all);
    for (int i = 0; i < 4; i++) {
        int row = g + i / 2 * 8, col = 2 * t + i % 2;
        for (int k = 0; k < 16; k++) {
            const uint32_t *fa = all[row % 8 * 4 + k % 8 / 2].a, *fb = all[col * 4 + k % 8 / 2].b;
            float x = hpt_emu_half(fa + (row / 8 + k / 8 * 2), k % 2), y = hpt_emu_half(fb + k / 8, k % 2);
            d[i] += x * y;
        }
    }
}
HPT_DEVICE void hpt_ldmatrix_x4_trans(uint32_t r[4], const void *row) {
    const void *all[32];
    int lane = hpt_emu_me->lane;
    hpt_emu_aligned(row);
    hpt_emu_exchange(0xffffffffu, &row, sizeof row, all);
    for (int i = 0; i < 4; i++) {
        const uint16_t *lo = (const uint16_t *)all[i * 8 + 2 * (lane % 4)],
            *hi = (const uint16_t *)all[i * 8 + 2 * (lane % 4) + 1];
        r[i] = (uint32_t)lo[lane / 4] | (uint32_t)hi[lane / 4] << 16;
    }
    __syncwarp();
}
HPT_DEVICE void hpt_cp_async16(void *shared, const void *global) {
    hpt_emu_aligned(shared); hpt_emu_aligned(global); hpt_emu_copy(shared, global);
}
HPT_DEVICE void hpt_cp_async_commit(void) { hpt_emu_commit(); }
HPT_DEVICE void hpt_cp_async_wait(int left) { hpt_emu_wait(left); }
#endif

/* SPDX-License-Identifier: MIT
 * What the .cu files are written in. nvcc compiles them for the card; the tests compile the very same files for the
 * host, where tests/emu/emu.h gives every name below the same meaning (blocks as fibers). Device code keeps to a C
 * subset: no lambdas, no library, special instructions only through the wrappers here.
 *
 * Launchers are extern "C", take the stream first, never allocate, never synchronise, and return the launch's error. */
#ifndef HPT__DEVICE_C_H
#define HPT__DEVICE_C_H
#include <cuda_runtime_api.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#pragma nv_diag_suppress 128    /* loop is not reachable: the scalar forms of the templates below */
#include <cuda_bf16.h>
#define HPT_DEVICE static __device__ __forceinline__
#define HPT_LAUNCH(kernel, grid, block, smem, stream, ...) kernel<<<grid, block, smem, stream>>>(__VA_ARGS__)
#define HPT_SHARED(T, name, count) __shared__ T name[count]
#define HPT_SHARED_DYNAMIC(name) extern __shared__ __align__(16) unsigned char name[]
/* dynamic shared memory above 48 KiB must be asked for */
#define HPT_ALLOW_SHARED(kernel, bytes) cudaFuncSetAttribute((const void *)(kernel), \
                                                             cudaFuncAttributeMaxDynamicSharedMemorySize, \
                                                             (int)(bytes))

HPT_DEVICE float hpt_from_bf16(uint16_t h) { return __uint_as_float((uint32_t)h << 16); }
HPT_DEVICE uint16_t hpt_to_bf16(float f) { return __bfloat16_as_ushort(__float2bfloat16_rn(f)); }
HPT_DEVICE uint32_t hpt_bits(float f) { return __float_as_uint(f); }
HPT_DEVICE uint4 hpt_load16(const void *p) { return *(const uint4 *)p; }
HPT_DEVICE void hpt_store16(void *p, uint4 v) { *(uint4 *)p = v; }
/* correctly rounded, never contracted into an fma: where the contract fixes each rounding */
HPT_DEVICE float hpt_mul(float a, float b) { return __fmul_rn(a, b); }
HPT_DEVICE float hpt_add(float a, float b) { return __fadd_rn(a, b); }

/* d (16x8 fp32) += a (16x16 bf16, row) * b (16x8 bf16, column), one warp; fragments as PTX mma.m16n8k16 lays them out:
 * with g = lane/4, t = lane%4: a[0] row g, columns 2t,2t+1; a[1] row g+8; a[2], a[3] the same rows, columns +8;
 * b[0] rows 2t,2t+1 of column g; b[1] rows +8; d[0], d[1] row g, columns 2t,2t+1; d[2], d[3] row g+8. */
HPT_DEVICE void hpt_mma_bf16_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};" : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Four 8x8 matrices of 16-bit values from shared memory, transposed: lane l gives the address of row l%8 of matrix
 * l/8; afterwards lane l holds, of matrix i in r[i], the elements (2*(l%4), l/4) and (2*(l%4)+1, l/4). */
HPT_DEVICE void hpt_ldmatrix_x4_trans(uint32_t r[4], const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
/* 16 bytes from global to shared memory without registers in between; valid after commit, wait and a barrier */
HPT_DEVICE void hpt_cp_async16(void *shared, const void *global) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(at), "l"(global) : "memory");
}
HPT_DEVICE void hpt_cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
#define hpt_cp_async_wait(left) asm volatile("cp.async.wait_group %0;" :: "n"(left) : "memory")
#else
#include "emu.h"
#endif

#define HPT_WARP 32
#define HPT_FULL 0xffffffffu

template <typename T> HPT_DEVICE T hpt_warp_sum(T v) {
    for (int i = 16; i > 0; i >>= 1) v += __shfl_xor_sync(HPT_FULL, v, i);
    return v;
}
HPT_DEVICE float hpt_pick(float a, float b) { return a > b || a != a ? a : b; }      /* maximum that keeps NaN */
HPT_DEVICE uint32_t hpt_pack2(float lo, float hi) {
    return (uint32_t)hpt_to_bf16(lo) | (uint32_t)hpt_to_bf16(hi) << 16;
}

/* V values from one 16-byte (or narrower) load, widened to float: T = float (V 4 or 1) or uint16_t = bfloat16 (V 8
 * or 1) */
HPT_DEVICE float hpt_widen(float x) { return x; }
HPT_DEVICE float hpt_widen(uint16_t x) { return hpt_from_bf16(x); }
HPT_DEVICE void hpt_narrow(float *p, float x) { *p = x; }
HPT_DEVICE void hpt_narrow(uint16_t *p, float x) { *p = hpt_to_bf16(x); }
template <typename T, int V> HPT_DEVICE void hpt_load(const T *p, float x[V]) {
    if (V == 1) {
        x[0] = hpt_widen(p[0]);
        return;
    }
    union { uint4 u; T t[16 / sizeof(T)]; } v;
    v.u = hpt_load16(p);
    for (int i = 0; i < V; i++) x[i] = hpt_widen(v.t[i]);
}
template <typename T, int V> HPT_DEVICE void hpt_store(T *p, const float x[V]) {
    if (V == 1) {
        hpt_narrow(p, x[0]);
        return;
    }
    union { uint4 u; T t[16 / sizeof(T)]; } v;
    for (int i = 0; i < V; i++) hpt_narrow(&v.t[i], x[i]);
    hpt_store16(p, v.u);
}
/* 4 (or 1) values rounded to bfloat16 in one store */
template <int V> HPT_DEVICE void hpt_store_low(uint16_t *p, const float x[V]) {
    if (V == 1) p[0] = hpt_to_bf16(x[0]);
    else {
        uint2 v = {hpt_pack2(x[0], x[1 % V]), hpt_pack2(x[2 % V], x[3 % V])};
        *(uint2 *)p = v;
    }
}
#endif

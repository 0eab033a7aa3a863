/* SPDX-License-Identifier: MIT
 * Matrix products through cuBLASLt, with bias and ReLU in the epilogue. cuBLASLt is column-major: a row-major
 * product c = a*b is its c' = b'*a', so operands change places. What was set up for a shape is kept: a step sets up
 * nothing. */
#include "backend/cuda/slots.h"
#include <stdio.h>
#include <string.h>

typedef struct key { int fast, ta, tb, m, n, k, lda, ldb, ldc, epilogue, align; } key;
struct hpt__matmul {
    key key;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    size_t workspace;
    hpt__matmul *next;
};

static hpt_status blas_fail(hpt__device *dev, cublasStatus_t s, const key *k, const char *what) {
    return dev->host->fail(s == CUBLAS_STATUS_NOT_SUPPORTED ? HPT_ERR_UNSUPPORTED : s == CUBLAS_STATUS_ALLOC_FAILED
                           ? HPT_ERR_MEMORY : HPT_ERR_DEVICE, "cuBLASLt: %s of a product %dx%dx%d: %s", what, k->m,
                           k->n, k->k, cublasLtGetStatusString(s));
}
static void release(hpt__device *dev, hpt__matmul *p) {
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->c) cublasLtMatrixLayoutDestroy(p->c);
    if (p->desc) cublasLtMatmulDescDestroy(p->desc);
    dev->host->free(p);
}
void hpt__cuda_matmul_free(hpt__device *dev) {
    while (dev->matmuls) {
        hpt__matmul *p = dev->matmuls;
        dev->matmuls = p->next;
        release(dev, p);
    }
}

/* rows x cols as stored row-major = cols x rows for cuBLASLt */
static cublasStatus_t layout(cublasLtMatrixLayout_t *l, int rows, int cols, int ld) {
    return cublasLtMatrixLayoutCreate(l, CUDA_R_32F, (uint64_t)cols, (uint64_t)rows, ld);
}

static hpt_status set_up(hpt__device *dev, const key *k, hpt__matmul **out) {
    cublasLtMatmulPreference_t pref = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int got = 0;
    hpt__matmul *p = dev->host->alloc(sizeof *p);
    *out = NULL;
    if (!p) return dev->host->fail(HPT_ERR_MEMORY, "out of memory for a product");
    memset(p, 0, sizeof *p);
    p->key = *k;
    cublasOperation_t first = k->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = k->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    static const cublasLtEpilogue_t epilogues[4] = {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS,
                                                    CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_RELU};
    cublasLtEpilogue_t epilogue = epilogues[k->epilogue];
    uint64_t workspace = HPT__BLAS_WORKSPACE;
    uint32_t align = (uint32_t)k->align;
    cublasStatus_t s = cublasLtMatmulDescCreate(&p->desc, k->fast ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                                CUDA_R_32F);
    if (!s) s = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    if (!s) s = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    if (!s) s = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (!s) s = layout(&p->a, k->ta ? k->k : k->m, k->ta ? k->m : k->k, k->lda);
    if (!s) s = layout(&p->b, k->tb ? k->n : k->k, k->tb ? k->k : k->n, k->ldb);
    if (!s) s = layout(&p->c, k->m, k->n, k->ldc);
    if (!s) s = cublasLtMatmulPreferenceCreate(&pref);
    if (!s)
        s = cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace);
    static const cublasLtMatmulPreferenceAttributes_t aligned[4] = {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                                    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                                    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                                                    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (int i = 0; i < 4 && !s; i++) s = cublasLtMatmulPreferenceSetAttribute(pref, aligned[i], &align, sizeof align);
    if (!s) s = cublasLtMatmulAlgoGetHeuristic(dev->blas, p->desc, p->b, p->a, p->c, p->c, pref, 1, &found, &got);
    if (!s && got < 1) s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (pref) cublasLtMatmulPreferenceDestroy(pref);
    if (s) {
        release(dev, p);
        return blas_fail(dev, s, k, "setting up");
    }
    p->algo = found.algo;
    p->workspace = found.workspaceSize;
    p->next = dev->matmuls;
    *out = dev->matmuls = p;
    return HPT_OK;
}

static int alignment(const void *p, int align) {
    while ((uintptr_t)p % (uintptr_t)align) align /= 2;
    return align;
}
hpt_status hpt__cuda_matmul(hpt__device *dev, int fast, int ta, int tb, int m, int n, int k, double alpha,
                            const void *a, int lda, const void *b, int ldb, double beta, void *c, int ldc,
                            const void *bias, int relu) {
    key want;
    memset(&want, 0, sizeof want);
    want = (key){fast, ta, tb, m, n, k, lda, ldb, ldc, bias ? relu ? 2 : 1 : relu ? 3 : 0,
                 alignment(c, alignment(b, alignment(a, 256)))};
    float al = (float)alpha, be = (float)beta;
    hpt__matmul *p = dev->matmuls;
    while (p && memcmp(&p->key, &want, sizeof want)) p = p->next;
    if (!p) HPT_TRY(set_up(dev, &want, &p));
    cublasStatus_t s = bias ? cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                                             sizeof bias) : CUBLAS_STATUS_SUCCESS;
    if (!s)
        s = cublasLtMatmul(dev->blas, p->desc, &al, b, p->b, a, p->a, &be, c, p->c, c, p->c, &p->algo,
                           dev->blas_workspace, p->workspace, dev->compute);
    return s ? blas_fail(dev, s, &want, "running") : HPT_OK;
}

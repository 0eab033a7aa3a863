/* SPDX-License-Identifier: MIT
 * cuBLASLt of fake.h: float products with bias and ReLU, column-major, checked and computed in double. What we do
 * not use of it is refused. */
#include "fake.h"
#include <cublasLt.h>
#include <string.h>
#include <vector>

struct matmul_desc { cublasOperation_t ta, tb; cublasLtEpilogue_t epilogue; const float *bias; };
struct layout_desc { uint64_t rows, cols; int64_t ld; };
#define ENTER { int code_; if (hpt_fake_fails(__func__, &code_)) return (cublasStatus_t)code_; }
extern "C" {
const char *cublasLtGetStatusString(cublasStatus_t s) {
    return s == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_FAKE";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
    ENTER *h = (cublasLtHandle_t)new int(1); hpt_fake_object(1); return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
    delete (int *)h; hpt_fake_object(-1); return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType_t) {
    ENTER
    *d = (cublasLtMatmulDesc_t)new matmul_desc{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr};
    hpt_fake_object(1);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    delete (matmul_desc *)d; hpt_fake_object(-1); return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d_, cublasLtMatmulDescAttributes_t a, const void *v,
                                              size_t n) {
    ENTER
    matmul_desc *d = (matmul_desc *)d_;
    void *to = a == CUBLASLT_MATMUL_DESC_TRANSA ? (void *)&d->ta : a == CUBLASLT_MATMUL_DESC_TRANSB ? (void *)&d->tb
        : a == CUBLASLT_MATMUL_DESC_EPILOGUE ? (void *)&d->epilogue
                : a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? (void *)&d->bias : nullptr;
    if (!to || n != (a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? 8 : 4)) {
        hpt_fake_complain("cublasLt: attribute %d of %zu bytes", (int)a, n); return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(to, v, n);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld) {
    ENTER
    if (type != CUDA_R_32F || ld < (int64_t)rows) hpt_fake_complain("cublasLt: layout %lux%lu ld %ld",
                                                                    (unsigned long)rows, (unsigned long)cols, (long)ld);
    *l = (cublasLtMatrixLayout_t)new layout_desc{rows, cols, ld};
    hpt_fake_object(1);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
    delete (layout_desc *)l; hpt_fake_object(-1); return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    ENTER *p = (cublasLtMatmulPreference_t)new int(0); hpt_fake_object(1); return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    delete (int *)p; hpt_fake_object(-1); return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
                                                    const void *, size_t) {
    ENTER return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int want, cublasLtMatmulHeuristicResult_t *r,
                                              int *got) {
    ENTER
    memset(r, 0, sizeof *r);
    r->workspaceSize = 1024;
    *got = want > 0;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d_, const void *alpha, const void *a_,
                              cublasLtMatrixLayout_t al, const void *b_, cublasLtMatrixLayout_t bl, const void *beta,
                              const void *, cublasLtMatrixLayout_t, void *out_, cublasLtMatrixLayout_t dl,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t ws, cudaStream_t s) {
    ENTER
    matmul_desc d = *(matmul_desc *)d_;
    layout_desc A = *(layout_desc *)al, B = *(layout_desc *)bl, D = *(layout_desc *)dl;
    float x = *(const float *)alpha, y = *(const float *)beta;
    uint64_t m = d.ta ? A.cols : A.rows, k = d.ta ? A.rows : A.cols, n = d.tb ? B.rows : B.cols;
    if (!algo || m != D.rows || n != D.cols || k != (d.tb ? B.cols : B.rows))
        hpt_fake_complain("cublasLt: shapes do not fit: %lu %lu %lu", (unsigned long)m, (unsigned long)n,
                          (unsigned long)k);
    hpt_fake_check_device(a_, (size_t)A.ld * (A.cols - 1) * 4 + A.rows * 4, 4, "cublasLt: a");
    hpt_fake_check_device(b_, (size_t)B.ld * (B.cols - 1) * 4 + B.rows * 4, 4, "cublasLt: b");
    hpt_fake_check_device(out_, (size_t)D.ld * (D.cols - 1) * 4 + D.rows * 4, 4, "cublasLt: c");
    if (ws) hpt_fake_check_device(workspace, ws, 256, "cublasLt: workspace");
    bool biased = d.epilogue == CUBLASLT_EPILOGUE_BIAS || d.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
    bool relu = d.epilogue == CUBLASLT_EPILOGUE_RELU || d.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
    if (biased) hpt_fake_check_device(d.bias, m * 4, 4, "cublasLt: bias");
    const float *a = (const float *)a_, *b = (const float *)b_;
    float *out = (float *)out_;
    hpt_fake_submit(s, "cublasLt product", [=] {
        for (uint64_t j = 0; j < n; j++)
            for (uint64_t i = 0; i < m; i++) {
                double sum = 0;
                for (uint64_t l = 0; l < k; l++)
                    sum += (double)(d.ta ? a[l + i * (uint64_t)A.ld] : a[i + l * (uint64_t)A.ld]) * (double)(d.tb
                        ? b[j + l * (uint64_t)B.ld] : b[l + j * (uint64_t)B.ld]);
                float *to = out + i + j * (uint64_t)D.ld;
                double v = x * sum + (y != 0 ? y * (double)*to : 0);
                if (biased) v += (double)d.bias[i];
                if (relu && v < 0) v = 0;
                *to = (float)v;
            }
    });
    return CUBLAS_STATUS_SUCCESS;
}
}

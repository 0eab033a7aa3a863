/* SPDX-License-Identifier: MIT
 * Asks the installed cuDNN itself, without a GPU, what it would run on given cards: every convolution of ResNet-18
 * and 50 must have a kernel, forward and both gradients, bf16, tf32 and fp32, deterministic. cuDNN accepts a
 * description of a card in place of a handle; it builds the plans but cannot run them. Prints the counts; exit 1
 * names what is missing. */
#include "backend/cuda/device.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hpt_status fail(hpt_status s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    return s;
}
static const hpt__host host = {fail, malloc, free};
/* conv.c's other half runs on devices only */
hpt_status hpt__cuda_fail(hpt__device *dev, cudaError_t e, const char *what) {
    (void)dev; (void)e; (void)what; return HPT_ERR_DEVICE;
}

static const char *const cards[][2] = {
    {"H100",
     "{\"deviceName\":\"NVIDIA H100 80GB "
     "HBM3\",\"cudaDeviceId\":0,\"deviceVer\":900,\"driverVer\":13000,\"multiProcessorCount\":132,\"maxThreadsPerBlock"
     "\":1024,\"maxGridSize\":[2147483647,65535,65535],"
             "\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,\"smClockRateKHz\":1980000,\"memClockRateKHz\":26"
             "19000,\"l2CacheSize\":52428800,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlo"
             "ckOptin\":232448,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"pciDeviceId\":0,"
             "\"maxCtasPerSM\":32,\"maxThreadsPerSM\":2048,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem"
             "\":85029158912}"},
    {"A100",
     "{\"deviceName\":\"NVIDIA "
     "A100-SXM4-80GB\",\"cudaDeviceId\":0,\"deviceVer\":800,\"driverVer\":13000,\"multiProcessorCount\":108,\"maxThrea"
     "dsPerBlock\":1024,\"maxGridSize\":[2147483647,65535,65535],"
             "\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,\"smClockRateKHz\":1410000,\"memClockRateKHz\":15"
             "93000,\"l2CacheSize\":41943040,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlo"
             "ckOptin\":166912,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"pciDeviceId\":0,"
             "\"maxCtasPerSM\":32,\"maxThreadsPerSM\":2048,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem"
             "\":85031714816}"}};
/* c, h, k, window, stride: ResNet-50 at 224, ResNet-18's own, and the small stem */
static const int shapes[][5] = {{3, 224, 64, 7, 2}, {64, 56, 64, 1, 1}, {64, 56, 64, 3, 1}, {64, 56, 256, 1, 1},
                                {256, 56, 64, 1, 1}, {256, 56, 128, 1, 1}, {128, 56, 128, 3, 2}, {256, 56, 512, 1, 2},
                                {128, 28, 512, 1, 1},
                                {512, 28, 128, 1, 1}, {128, 28, 128, 3, 1}, {512, 28, 256, 1, 1}, {256, 28, 256, 3, 2},
                                {512, 28, 1024, 1, 2}, {1024, 14, 256, 1, 1}, {256, 14, 256, 3, 1},
                                {1024, 14, 512, 1, 1},
                                {512, 14, 512, 3, 2}, {1024, 14, 2048, 1, 2}, {2048, 7, 512, 1, 1},
                                {512, 7, 512, 3, 1}, {64, 56, 128, 3, 2}, {64, 56, 128, 1, 2}, {128, 28, 256, 3, 2},
                                {128, 28, 256, 1, 2},
                                {256, 14, 512, 3, 2}, {256, 14, 512, 1, 2}, {3, 32, 64, 3, 1}, {64, 32, 64, 3, 1},
                                {16, 8, 32, 3, 2}};

/* A plan must turn into text as conv.c's cache writes it, and the text into the same plan again. */
static int caches(const hpt__conv_target *t, const hpt__conv_plan *p) {
    int64_t n = 0, m = 0, workspace = -1;
    if (cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &n,
                                 NULL) || n < 2) return 0;
    char *text = malloc((size_t)n + 1);
    cudnnBackendDescriptor_t back = NULL;
    int ok = !cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, n, &m,
                                       text);
    while (m > 0 && !text[m - 1]) m--;
    text[m] = 0;
    ok = ok && !cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &back) &&
        !cudnnBackendSetAttribute(back, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                  &t->properties) &&
         !cudnnBackendSetAttribute(back, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, m, text) &&
         !cudnnBackendFinalize(back) && !cudnnBackendGetAttribute(back, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                                  CUDNN_TYPE_INT64, 1, &n, &workspace) &&
                                                                  workspace == p->workspace;
    if (!ok) {
        char why[400];
        cudnnGetLastErrorString(why, sizeof why);
        printf("a plan of %lld characters does not come back: %s\n", (long long)m, why);
    }
    if (back) cudnnBackendDestroyDescriptor(back);
    free(text);
    return ok;
}

int main(int argc, char **argv) {
    const hpt__dtype types[] = {HPT__BF16, HPT__TF32, HPT__F32};
    const hpt__op_kind kinds[] = {HPT__OP_CONV, HPT__OP_CONV_DATA, HPT__OP_CONV_WEIGHTS};
    int missing = 0;
    for (int c = 0; c < 2; c++) {
        hpt__conv_target t = {&host, NULL, NULL};
        int asked = 0, plans = 0;
        if (argc > 1 && strcmp(argv[1], cards[c][0])) continue;
        if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &t.properties) ||
            cudnnBackendSetAttribute(t.properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                     (int64_t)strlen(cards[c][1]), cards[c][1]) || cudnnBackendFinalize(t.properties)) {
            printf("this cuDNN takes no description of a card: nothing was asked\n");
            return 77;
        }
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int k = 0; k < 3; k++)
                for (int d = 0; d < 3; d++) {
                    const int *x = shapes[s];
                    if (k == 1 && x[0] == 3) continue;
                    hpt__op_desc op = {kinds[k], types[d],
                                       {.n = 64, .c = d == 0 ? (x[0] + 7) / 8 * 8 : (x[0] + 3) / 4 * 4, .h = x[1],
                                        .w = x[1], .k = x[2], .r = x[3], .s = x[3], .stride = x[4], .pad_h = x[3] / 2,
                                        .pad_w = x[3] / 2, .bn_groups = 1}, 0, 1};
                    op.g.p = op.g.q = (x[1] + 2 * op.g.pad_h - x[3]) / x[4] + 1;
                    hpt__conv_plan p[2];
                    int n = 0;
                    asked++;
                    if (hpt__conv_candidates(&t, &op, (int64_t)1 << 30, p, 2, &n)) missing++;
                    if (n && s == 2 && !caches(&t, &p[0]))
                        missing++, printf("%s: a plan cannot be cached\n", cards[c][0]);
                    for (int i = 0; i < n; i++) hpt__conv_release(&p[i]);
                    plans += n > 0;
                }
        printf("%s, cuDNN %zu: %d of %d convolutions have a deterministic kernel\n", cards[c][0], cudnnGetVersion(),
               plans, asked);
        cudnnBackendDestroyDescriptor(t.properties);
    }
    return missing != 0;
}

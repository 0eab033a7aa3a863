/* SPDX-License-Identifier: MIT
 * Names of classes and functions in pickles that mean something here: dictionaries of many libraries, what rebuilds
 * tensors, storages and element types. Any other name is opaque. */
#include "io/pickle_inside.h"

enum { MAX_NAME = 128 };
static const struct { const char *name; int what; } globals[] = {
    {"collections OrderedDict", G_DICT}, {"collections defaultdict", G_DICT}, {"collections Counter", G_DICT},
    {"__builtin__ dict", G_DICT}, {"builtins dict", G_DICT}, {"addict Dict", G_DICT},
    {"addict.addict Dict", G_DICT}, {"easydict EasyDict", G_DICT},
    {"mmengine.config.config ConfigDict", G_DICT}, {"mmcv.utils.config ConfigDict", G_DICT},
    {"pytorch_lightning.utilities.parsing AttributeDict", G_DICT},
    {"lightning.pytorch.utilities.parsing AttributeDict", G_DICT},
    {"lightning_fabric.utilities.data AttributeDict", G_DICT},
    {"lightning.fabric.utilities.data AttributeDict", G_DICT},
    {"copy_reg _reconstructor", G_RECONSTRUCT}, {"copyreg _reconstructor", G_RECONSTRUCT},
    {"copy_reg __newobj__", G_NEWOBJ}, {"copyreg __newobj__", G_NEWOBJ}, {"torch Size", G_SIZE},
    {"torch._utils _rebuild_tensor", G_REBUILD}, {"torch._utils _rebuild_tensor_v2", G_REBUILD},
    {"torch._utils _rebuild_tensor_v3", G_REBUILD3},
    {"torch._utils _rebuild_parameter", G_INNER}, {"torch._utils _rebuild_parameter_with_state", G_INNER},
    {"torch._utils _rebuild_device_tensor_from_cpu_tensor", G_INNER}, {"torch.nn.parameter Parameter", G_INNER},
    {"torch.nn.parameter Buffer", G_INNER}, {"torch.autograd.variable Variable", G_INNER},
    {"torch._tensor _rebuild_from_type_v2", G_FROM_TYPE}, {"torch._tensor _rebuild_from_type", G_FROM_TYPE},
    {"torch.tensor _rebuild_from_type", G_FROM_TYPE}, {"torch._utils _rebuild_qtensor", G_QUANTIZED},
    {"torch._utils _rebuild_sparse_tensor", G_SPARSE}, {"torch._utils _rebuild_sparse_csr_tensor", G_SPARSE},
    {"torch._utils _rebuild_meta_tensor_no_storage", G_META}, {"torch._utils _rebuild_nested_tensor", G_NESTED},
    {"torch._utils _rebuild_wrapper_subclass", G_WRAPPER}, {"torch._utils _rebuild_device_tensor_from_numpy", G_DEVICE},
    {"torch._utils _rebuild_xla_tensor", G_DEVICE}, {"numpy.core.multiarray _reconstruct", G_NDARRAY},
    {"numpy._core.multiarray _reconstruct", G_NDARRAY}, {"numpy.core.numeric _frombuffer", G_FROMBUFFER},
    {"numpy._core.numeric _frombuffer", G_FROMBUFFER}, {"numpy dtype", G_NP_DTYPE},
    {"numpy.core.multiarray scalar", G_NP_SCALAR},
    {"numpy._core.multiarray scalar", G_NP_SCALAR}, {"_codecs encode", G_ENCODE}};

const hpt__pk_element hpt__pk_elements[] = {
    {"FloatStorage", "float32", HPT__FT_F32, 4, NULL}, {"DoubleStorage", "float64", HPT__FT_F64, 8, NULL},
    {"HalfStorage", "float16", HPT__FT_F16, 2, NULL}, {"BFloat16Storage", "bfloat16", HPT__FT_BF16, 2, NULL},
    {"LongStorage", "int64", HPT__FT_I64, 8, NULL}, {"IntStorage", "int32", HPT__FT_I32, 4, NULL},
    {"ShortStorage", "int16", HPT__FT_I16, 2, NULL},
    {"CharStorage", "int8", HPT__FT_I8, 1, NULL}, {"ByteStorage", "uint8", HPT__FT_U8, 1, NULL},
    {"BoolStorage", "bool", HPT__FT_BOOL, 1, NULL},
    {"UntypedStorage", NULL, HPT__FT_U8, 1, NULL}, {"_UntypedStorage", NULL, HPT__FT_U8, 1, NULL},
    {NULL, "uint16", HPT__FT_U16, 2, NULL}, {NULL, "uint32", HPT__FT_U32, 4, NULL},
    {NULL, "uint64", HPT__FT_U64, 8, NULL},
    {"ComplexFloatStorage", "complex64", HPT__FT_OTHER, 8, "complex64"},
    {"ComplexDoubleStorage", "complex128", HPT__FT_OTHER, 16, "complex128"},
    {NULL, "complex32", HPT__FT_OTHER, 4, "complex32"}, {"QInt8Storage", "qint8", HPT__FT_OTHER, 1, "qint8"},
    {"QUInt8Storage", "quint8", HPT__FT_OTHER, 1, "quint8"}, {"QInt32Storage", "qint32", HPT__FT_OTHER, 4, "qint32"},
    {"QUInt4x2Storage", "quint4x2", HPT__FT_OTHER, 1, "quint4x2"},
    {"QUInt2x4Storage", "quint2x4", HPT__FT_OTHER, 1, "quint2x4"},
    {NULL, "float8_e4m3fn", HPT__FT_OTHER, 1, "float8_e4m3fn"}, {NULL, "float8_e5m2", HPT__FT_OTHER, 1, "float8_e5m2"},
    {NULL, "float8_e4m3fnuz", HPT__FT_OTHER, 1, "float8_e4m3fnuz"},
    {NULL, "float8_e5m2fnuz", HPT__FT_OTHER, 1, "float8_e5m2fnuz"},
    {NULL, "float8_e8m0fnu", HPT__FT_OTHER, 1, "float8_e8m0fnu"},
    {NULL, "float4_e2m1fn_x2", HPT__FT_OTHER, 1, "float4_e2m1fn_x2"},
    {NULL, "bits8", HPT__FT_OTHER, 1, "bits8"}, {NULL, "bits16", HPT__FT_OTHER, 2, "bits16"}};

uint32_t hpt__pk_meaning(const char *module, size_t m, const char *name, size_t n) {
    char full[MAX_NAME];
    if (m + n + 2 > sizeof full) return G_UNKNOWN;
    memcpy(full, module, m);
    full[m] = ' ';
    memcpy(full + m + 1, name, n);
    full[m + 1 + n] = 0;
    const char *own = full + m + 1;
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (!strcmp(globals[i].name, full)) return (uint32_t)globals[i].what;
    int torch = !strncmp(full, "torch ", 6),
        typed = torch || !strncmp(full, "torch.cuda ", 11) || !strncmp(full, "torch.storage ", 14);
    for (uint32_t i = 0; typed && i < sizeof hpt__pk_elements / sizeof *hpt__pk_elements; i++) {
        if (hpt__pk_elements[i].storage && !strcmp(hpt__pk_elements[i].storage, own)) return G_STORAGE | i << 8;
        if (torch && hpt__pk_elements[i].dtype && !strcmp(hpt__pk_elements[i].dtype, own)) return G_DTYPE | i << 8;
    }
    return G_UNKNOWN;
}

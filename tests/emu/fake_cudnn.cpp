/* SPDX-License-Identifier: MIT
 * cuDNN's graph API of fake.h: checks every descriptor when it is finalised (attributes present, types, counts, what
 * depends on what), every execution (pointers in device memory, sizes, alignment, workspace), and computes single
 * convolutions by the reference kernels. */
#include "fake.h"
#include <cudnn.h>
#include <map>
#include <math.h>
#include <memory>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>
extern "C" {
#include "kernels/conv.h"
}
extern int hpt_fake_cudnn_version;

struct attribute { cudnnBackendAttributeType_t type; int64_t count; std::vector<char> bytes; };
struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool final = false;
    std::map<int, attribute> a;
    int engine = 0;                             /* configurations: which */
    std::shared_ptr<struct convolution> conv;   /* graphs, configurations, plans */
};
/* What the operation graph says, taken out when the graph is finalised (its parts may be destroyed then). */
struct side { cudnnDataType_t type; int64_t dim[4], stride[4], uid, align; };
struct convolution { int kind; side x, w, y; hpt__geometry g; };
struct cudnnContext { cudaStream_t stream = nullptr; };

static size_t width(cudnnBackendAttributeType_t t) {
    switch (t) {
    case CUDNN_TYPE_HANDLE: case CUDNN_TYPE_BACKEND_DESCRIPTOR: case CUDNN_TYPE_INT64: case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_DOUBLE: return 8;
    case CUDNN_TYPE_CHAR: case CUDNN_TYPE_BOOLEAN: return 1;
    default: return 4;
    }
}
static descriptor *of(cudnnBackendDescriptor_t d) { return (descriptor *)d; }
template <typename T> static T get(descriptor *d, int name, int64_t i = 0) {
    T v{};
    auto it = d->a.find(name);
    if (it != d->a.end() && (size_t)(i + 1) * sizeof(T) <= it->second.bytes.size())
        memcpy(&v, it->second.bytes.data() + (size_t)i * sizeof(T), sizeof(T));
    return v;
}
static bool need(descriptor *d, int name, cudnnBackendAttributeType_t type, int64_t count, const char *what) {
    auto it = d->a.find(name);
    if (it == d->a.end()) hpt_fake_complain("cudnn: %s: attribute %d is missing", what, name);
    else if (it->second.type != type || (count && it->second.count != count))
        hpt_fake_complain("cudnn: %s: attribute %d has type %d count %ld", what, name, (int)it->second.type,
                          (long)it->second.count);
    else return true;
    return false;
}
static side side_of(descriptor *t) {
    side s{};
    s.type = get<cudnnDataType_t>(t, CUDNN_ATTR_TENSOR_DATA_TYPE);
    s.uid = get<int64_t>(t, CUDNN_ATTR_TENSOR_UNIQUE_ID);
    s.align = get<int64_t>(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
    for (int i = 0; i < 4; i++)
        s.dim[i] = get<int64_t>(t, CUDNN_ATTR_TENSOR_DIMENSIONS, i),
            s.stride[i] = get<int64_t>(t, CUDNN_ATTR_TENSOR_STRIDES, i);
    return s;
}
static size_t size_of(cudnnDataType_t t) { return t == CUDNN_DATA_BFLOAT16 ? 2 : 4; }
static size_t bytes_of(const side &s) { return (size_t)(s.dim[0] * s.dim[1] * s.dim[2] * s.dim[3]) * size_of(s.type); }

static bool finalize_graph(descriptor *g) {
    if (!need(g, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, "graph")) return false;
    if (!need(g, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, "graph")) return false;
    descriptor *op = get<descriptor *>(g, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    static const int names[3][6] = {
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
    auto c = std::make_shared<convolution>();
    c->kind = op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ? 0
        : op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? 1
              : op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR ? 2 : -1;
    if (c->kind < 0 || !op->final) {
        hpt_fake_complain("cudnn: graph of an unfinished or unknown operation"); return false;
    }
    const int *n = names[c->kind];
    for (int i = 0; i < 4; i++) {
        if (!need(op, n[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, "operation")) return false;
        if (!get<descriptor *>(op, n[i])->final) {
            hpt_fake_complain("cudnn: operation with an unfinished tensor"); return false;
        }
    }
    if (!need(op, n[4], CUDNN_TYPE_FLOAT, 1, "alpha") || !need(op, n[5], CUDNN_TYPE_FLOAT, 1, "beta") ||
        get<float>(op, n[4]) != 1 || get<float>(op, n[5]) != 0) return false;
    descriptor *conv = get<descriptor *>(op, n[0]);
    c->x = side_of(get<descriptor *>(op, n[1]));
    c->w = side_of(get<descriptor *>(op, n[2]));
    c->y = side_of(get<descriptor *>(op, n[3]));
    hpt__geometry &q = c->g;
    memset(&q, 0, sizeof q);
    q.n = (int)c->x.dim[0]; q.c = (int)c->x.dim[1]; q.h = (int)c->x.dim[2]; q.w = (int)c->x.dim[3];
    q.k = (int)c->w.dim[0]; q.r = (int)c->w.dim[2]; q.s = (int)c->w.dim[3]; q.p = (int)c->y.dim[2];
    q.q = (int)c->y.dim[3];
    q.stride = (int)get<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
    q.pad_h = (int)get<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
    q.pad_w = (int)get<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 1);
    if (q.pad_h != (int)get<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS) ||
        q.pad_w != (int)get<int64_t>(conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 1)) {
        hpt_fake_complain("cudnn: unequal padding before and after: few engines of a real cuDNN have it");
        return false;
    }
    q.bn_groups = 1;
    q.conv_groups = (int)(q.c / c->w.dim[1]);
    if (c->w.dim[1] * q.conv_groups != q.c || q.k % q.conv_groups || c->y.dim[0] != q.n || c->y.dim[1] != q.k ||
        q.p != (q.h + 2 * q.pad_h - q.r) / q.stride + 1 || q.q != (q.w + 2 * q.pad_w - q.s) / q.stride + 1) {
        hpt_fake_complain("cudnn: shapes of a convolution do not fit");
        return false;
    }
    if (c->x.type != c->y.type || c->w.type != c->x.type) {
        hpt_fake_complain("cudnn: mixed types: no engine (a real cuDNN has none for bf16 with a float gradient)");
        return false;
    }
    if (get<cudnnDataType_t>(conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT) {
        hpt_fake_complain("cudnn: accumulation is not float"); return false;
    }
    for (const side *s : {&c->x, &c->w, &c->y}) {
        if (s->stride[1] != 1 || s->stride[3] != s->dim[1] || s->stride[2] != s->dim[3] * s->dim[1] ||
            s->stride[0] != s->dim[2] * s->stride[2]) {
            hpt_fake_complain("cudnn: a tensor is not NHWC"); return false;
        }
        if ((s != &c->w || q.conv_groups == 1) && (size_t)s->dim[1] * size_of(s->type) % 16) {
            hpt_fake_complain("cudnn: %d channels are no whole 16-byte vectors", (int)s->dim[1]); return false;
        }
    }
    g->conv = c;
    return true;
}
static bool finalize_tensor(descriptor *t) {
    return need(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, "tensor") &&
        need(t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, "tensor") &&
        need(t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, "tensor") &&
           need(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, "tensor") &&
           need(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, "tensor");
}
static bool finalize_conv(descriptor *c) {
    return need(c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, "convolution") &&
        need(c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, "convolution") &&
           need(c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, "convolution") &&
           need(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, "convolution") &&
           need(c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, "convolution") &&
           need(c, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, "convolution") &&
           need(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, "convolution");
}

#define ENTER(name) { int code_; if (hpt_fake_fails(name, &code_)) return (cudnnStatus_t)code_; }
static int64_t workspace_of(const convolution &c, int engine) {
    return engine == 1 ? (int64_t)bytes_of(c.x) : engine == 2 ? 131 : 0;
}

/* NHWC map or KRSC weights <-> contiguous (N,C,H,W) float */
static std::vector<float> read(const side &s, const void *p) {
    std::vector<float> v((size_t)(s.dim[0] * s.dim[1] * s.dim[2] * s.dim[3]));
    for (int64_t n = 0, o = 0; n < s.dim[0]; n++)
        for (int64_t c = 0; c < s.dim[1]; c++)
            for (int64_t h = 0; h < s.dim[2]; h++) for (int64_t w = 0; w < s.dim[3]; w++, o++) {
        size_t at = (size_t)(n * s.stride[0] + c * s.stride[1] + h * s.stride[2] + w * s.stride[3]);
        if (s.type == CUDNN_DATA_BFLOAT16) {
            uint32_t u = (uint32_t)((const uint16_t *)p)[at] << 16;
            memcpy(&v[(size_t)o], &u, 4);
        } else v[(size_t)o] = ((const float *)p)[at];
    }
    return v;
}
static void write(const side &s, void *p, const std::vector<float> &v) {
    for (int64_t n = 0, o = 0; n < s.dim[0]; n++)
        for (int64_t c = 0; c < s.dim[1]; c++)
            for (int64_t h = 0; h < s.dim[2]; h++) for (int64_t w = 0; w < s.dim[3]; w++, o++) {
        size_t at = (size_t)(n * s.stride[0] + c * s.stride[1] + h * s.stride[2] + w * s.stride[3]);
        float f = v[(size_t)o];
        if (s.type == CUDNN_DATA_BFLOAT16) {
            uint32_t u;
            memcpy(&u, &f, 4);
            ((uint16_t *)p)[at] = f != f ? 0x7fff : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
        } else ((float *)p)[at] = f;
    }
}

extern "C" {
size_t cudnnGetVersion(void) { return hpt_fake_cudnn_version ? (size_t)hpt_fake_cudnn_version : CUDNN_VERSION; }
const char *cudnnGetErrorString(cudnnStatus_t) { return "CUDNN_STATUS_FAKE"; }
void cudnnGetLastErrorString(char *text, size_t n) { if (n) text[0] = 0; }
cudnnStatus_t cudnnCreate(cudnnHandle_t *h) {
    ENTER("cudnnCreate") *h = new cudnnContext; hpt_fake_object(1); return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t h) { delete h; hpt_fake_object(-1); return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s) {
    ENTER("cudnnSetStream") h->stream = s; return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *d) {
    ENTER("cudnnBackendCreateDescriptor")
    *d = new descriptor{};
    of(*d)->type = type;
    hpt_fake_object(1);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
    delete of(d); hpt_fake_object(-1); return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d_, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *v) {
    ENTER("cudnnBackendSetAttribute")
    descriptor *d = of(d_);
    if (d->final) {
        hpt_fake_complain("cudnn: attribute %d set after finalisation", (int)name); return CUDNN_STATUS_BAD_PARAM;
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) {        /* "fake <engine> <bytes of struct>" */
        unsigned long long where;
        int engine;
        std::string text((const char *)v, (size_t)count);
        size_t have = text.find('{');
        if (sscanf(text.c_str(), "fake %d %llx", &engine, &where) != 2 || have == std::string::npos ||
            text.size() - have - 1 < 2 * sizeof(convolution)) return CUDNN_STATUS_BAD_PARAM;
        auto c = std::make_shared<convolution>();
        for (size_t i = 0; i < sizeof(convolution); i++) {
            unsigned b; if (sscanf(text.c_str() + have + 1 + 2 * i, "%2x", &b) != 1) return CUDNN_STATUS_BAD_PARAM;
            ((unsigned char *)c.get())[i] = (unsigned char)b;
        }
        d->conv = c;
        d->engine = engine;
        return CUDNN_STATUS_SUCCESS;
    }
    d->a[name] = {type, count, std::vector<char>((const char *)v, (const char *)v + (size_t)count * width(type))};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d_) {
    ENTER("cudnnBackendFinalize")
    descriptor *d = of(d_);
    bool ok = true;
    switch (d->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: ok = finalize_tensor(d); break;
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: ok = finalize_conv(d); break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: ok = finalize_graph(d); break;
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
        ok = need(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, "heuristics") &&
            need(d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, "heuristics");
        if (ok) d->conv = get<descriptor *>(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->conv;
        break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        ok = need(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, "plan");
        if (ok && !d->conv) {
            ok = need(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, "plan");
            if (ok)
                d->conv = get<descriptor *>(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->conv,
                    d->engine = get<descriptor *>(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine;
        }
        break;
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        ok = need(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, "variant pack") &&
            need(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, "variant pack") &&
             need(d, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, "variant pack");
        break;
    default: break;
    }
    d->final = ok;
    return ok ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
/* Three engines: 0 plain, 1 asks for workspace, 2 is not deterministic and rounds its inputs. */
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t d_, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t count, int64_t *n, void *v) {
    ENTER("cudnnBackendGetAttribute")
    descriptor *d = of(d_);
    switch ((int)name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        if (!d->final) return CUDNN_STATUS_NOT_INITIALIZED;
        *n = 3;
        for (int64_t i = 0; i < 3 && i < count; i++)
            of(((cudnnBackendDescriptor_t *)v)[i])->conv = d->conv, of(((cudnnBackendDescriptor_t *)v)[i])->engine =
                (int)i;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        of(*(cudnnBackendDescriptor_t *)v)->engine = d->engine; *n = 1; return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *n = 0;
        if (d->engine == 2)
            ((cudnnBackendNumericalNote_t *)v)[(*n)++] = CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
                ((cudnnBackendNumericalNote_t *)v)[(*n)++] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        if (d->engine == 1) ((cudnnBackendNumericalNote_t *)v)[(*n)++] = CUDNN_NUMERICAL_NOTE_FFT;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *(int64_t *)v = workspace_of(*d->conv, d->engine); *n = 1; return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION: {
        std::string s = "fake " + std::to_string(d->engine) + " 1 {";
        for (size_t i = 0; i < sizeof(convolution); i++) {
            char h[3]; snprintf(h, 3, "%02x", ((unsigned char *)d->conv.get())[i]); s += h;
        }
        *n = (int64_t)s.size() + 1;
        if (count >= *n) memcpy(v, s.c_str(), s.size() + 1);
        return CUDNN_STATUS_SUCCESS; }
    default: hpt_fake_complain("cudnn: GetAttribute %d", (int)name); return CUDNN_STATUS_BAD_PARAM;
    }
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t plan_, cudnnBackendDescriptor_t pack_) {
    ENTER("cudnnBackendExecute")
    descriptor *plan = of(plan_), *pack = of(pack_);
    if (!plan->final || !pack->final) {
        hpt_fake_complain("cudnn: execution of something unfinished"); return CUDNN_STATUS_BAD_PARAM;
    }
    auto c = plan->conv;
    void *p[3] = {0};
    const side *s[3] = {&c->x, &c->w, &c->y};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            if (get<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, j) == s[i]->uid)
                p[i] = get<void *>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, j);
        hpt_fake_check_device(p[i], bytes_of(*s[i]), (size_t)s[i]->align, "cudnn: tensor");
    }
    void *ws = get<void *>(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    int64_t need_ws = workspace_of(*c, plan->engine);
    if (need_ws) hpt_fake_check_device(ws, (size_t)need_ws, 16, "cudnn: workspace");
    hpt_fake_submit(h->stream, "cudnn convolution", [=] {
        const hpt__geometry *g = &c->g;
        size_t in = (size_t)g->h * (size_t)g->w, out = (size_t)g->p * (size_t)g->q;
        std::vector<double> plane(in > out ? in : out);
        if (need_ws) memset(ws, 0xff, (size_t)need_ws);         /* a workspace is scratched over */
        std::vector<float> x, w, y;
        if (c->kind != 1) x = read(c->x, p[0]); else x.resize((size_t)(g->n * g->c) * in);
        if (c->kind != 2) w = read(c->w, p[1]); else w.resize((size_t)(g->k * g->c * g->r * g->s));
        if (c->kind != 0) y = read(c->y, p[2]); else y.resize((size_t)(g->n * g->k) * out);
        if (c->kind == 0)
            hpt__ref_conv_forward_f32(g, x.data(), w.data(), y.data(), plane.data()), write(c->y, p[2], y);
        else if (c->kind == 1)
            hpt__ref_conv_backward_data_f32(g, y.data(), w.data(), x.data(), plane.data()), write(c->x, p[0], x);
        else hpt__ref_conv_backward_weights_f32(g, x.data(), y.data(), w.data()), write(c->w, p[1], w);
    });
    return CUDNN_STATUS_SUCCESS;
}
}

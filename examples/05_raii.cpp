// SPDX-License-Identifier: MIT
// 05: libhpt from C++: handles in unique_ptr, statuses as exceptions. The header is C; these twenty lines are all that
// a wrapper needs. Introduces hpt_model_create, hpt_model_features_pixels.
#include <hpt.h>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <vector>

template <class T, void (*Destroy)(T *)> struct Deleter {
    void operator()(T *p) const { Destroy(p); }
};
template <class T, void (*Destroy)(T *)> using Handle = std::unique_ptr<T, Deleter<T, Destroy>>;
using Config = Handle<hpt_config, hpt_config_destroy>;
using Context = Handle<hpt_context, hpt_context_destroy>;
using Model = Handle<hpt_model, hpt_model_destroy>;

static void ok(hpt_status st) {
    if (st < 0) throw std::runtime_error(std::string(hpt_status_name(st)) + ": " + hpt_last_error());
}

int main() try {
    hpt_config *c = nullptr;
    hpt_context *x = nullptr;
    hpt_model *m = nullptr;
    ok(hpt_config_create(nullptr, &c));
    Config cfg(c);
    ok(hpt_config_set(c, "arch", "resnet18"));
    ok(hpt_context_create(c, &x));
    Context ctx(x);
    ok(hpt_model_create(x, c, &m));
    Model model(m);
    hpt_model_info info{};
    info.struct_size = sizeof info;
    ok(hpt_model_get_info(m, &info));
    std::vector<float> image(3 * 64 * 64, 0.5f), features(info.feature_dim);
    ok(hpt_model_features_pixels(m, c, image.data(), 1, 64, features.data()));
    std::cout << info.arch << ": " << info.backbone_params << " parameters, " << features.size() << " features\n";
    try {
        ok(hpt_config_set(c, "moco_kk", "1"));
    } catch (const std::exception &e) {
        std::cout << e.what() << "\n";
    }
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << "\n";
    return 1;
}

// SPDX-License-Identifier: Apache-2.0
// F32, F16 and BF16. Rows may lie at any address, hence memcpy.
#include <cstring>

#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

struct F32 {
  using Storage = float;
  static float load(float v) { return v; }
  static float store(float v) { return v; }
};
struct F16 {
  using Storage = uint16_t;
  static float load(uint16_t v) { return half_to_float(v); }
  static uint16_t store(float v) { return float_to_half(v); }
};
struct BF16 {
  using Storage = uint16_t;
  static float load(uint16_t v) { return bf16_to_f32(v); }
  static uint16_t store(float v) { return float_to_bfloat(v); }
};

template <class F>
float load_at(const uint8_t* data, int64_t i) {
  typename F::Storage v;
  std::memcpy(&v, data + i * int64_t{sizeof(v)}, sizeof(v));
  return F::load(v);
}

template <class F>
void decode(const uint8_t* data, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = load_at<F>(data, i);
}

template <class F>
void encode(const float* values, int64_t n, uint8_t* data) {
  for (int64_t i = 0; i < n; ++i) {
    const typename F::Storage v = F::store(values[i]);
    std::memcpy(data + i * int64_t{sizeof(v)}, &v, sizeof(v));
  }
}

template <class F>
double dot_f32(const uint8_t* data, const float* x, int64_t n) {
  double result = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    result += static_cast<double>(load_at<F>(data, i)) * static_cast<double>(x[i]);
  }
  return result;
}

template <class F>
constexpr Traits make_float_traits(Type type, std::string_view name) {
  return {type,      name,    1,         sizeof(typename F::Storage), true, decode<F>,
          encode<F>, nullptr, dot_f32<F>};
}

}  // namespace

constexpr Traits kF32Traits = make_float_traits<F32>(Type::kF32, "F32");
constexpr Traits kF16Traits = make_float_traits<F16>(Type::kF16, "F16");
constexpr Traits kBF16Traits = make_float_traits<BF16>(Type::kBF16, "BF16");

}  // namespace sluice::quant

// SPDX-License-Identifier: Apache-2.0
#include "quant/quant.h"

#include <array>
#include <cctype>

#include "base/check.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace sluice::quant {
namespace {

struct Entry {
  Type type;
  const Traits* traits;
};

// One line per format.
constexpr Entry kFormats[] = {
    {Type::kF32, &kF32Traits},         {Type::kF16, &kF16Traits},
    {Type::kBF16, &kBF16Traits},       {Type::kQ4_0, &kQ4_0Traits},
    {Type::kQ4_1, &kQ4_1Traits},       {Type::kQ5_0, &kQ5_0Traits},
    {Type::kQ5_1, &kQ5_1Traits},       {Type::kQ8_0, &kQ8_0Traits},
    {Type::kQ2_K, &kQ2_KTraits},       {Type::kQ3_K, &kQ3_KTraits},
    {Type::kQ4_K, &kQ4_KTraits},       {Type::kQ5_K, &kQ5_KTraits},
    {Type::kQ6_K, &kQ6_KTraits},       {Type::kIQ2_XXS, &kIQ2_XXSTraits},
    {Type::kIQ2_XS, &kIQ2_XSTraits},   {Type::kIQ2_S, &kIQ2_STraits},
    {Type::kIQ3_XXS, &kIQ3_XXSTraits}, {Type::kIQ3_S, &kIQ3_STraits},
    {Type::kIQ4_NL, &kIQ4_NLTraits},   {Type::kIQ4_XS, &kIQ4_XSTraits},
    {Type::kMXFP4, &kMXFP4Traits},
};

constexpr auto kById = [] {
  std::array<const Traits*, kTypeIdLimit> table{};
  for (const Entry& entry : kFormats) table[static_cast<uint32_t>(entry.type)] = entry.traits;
  return table;
}();

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(a[i])) !=
        std::tolower(static_cast<unsigned char>(b[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace

const Traits* find_traits(uint32_t type_id) {
  return type_id < kTypeIdLimit ? kById[type_id] : nullptr;
}

const Traits* find_traits(std::string_view name) {
  for (const Entry& entry : kFormats) {
    if (equal_ignoring_case(entry.traits->name, name)) return entry.traits;
  }
  return nullptr;
}

const Traits& traits(Type type) {
  const Traits* found = find_traits(static_cast<uint32_t>(type));
  SLUICE_CHECK(found != nullptr, "tensor type without a layout was let through by the loader");
  return *found;
}

size_t row_bytes(Type type, int64_t n) {
  const Traits& t = traits(type);
  return static_cast<size_t>(n / t.block_elements) * static_cast<size_t>(t.block_bytes);
}

float f16_to_f32(uint16_t bits) {
  return half_to_float(bits);
}
uint16_t f32_to_f16(float value) {
  return float_to_half(value);
}
uint16_t f32_to_bf16(float value) {
  return float_to_bfloat(value);
}

}  // namespace sluice::quant

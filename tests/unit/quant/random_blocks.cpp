// SPDX-License-Identifier: Apache-2.0
#include "random_blocks.h"

#include <cstring>

namespace sluice::quant {
namespace {

// Byte offsets of the fp16 fields of a block.
std::vector<size_t> half_offsets(Type type) {
  switch (type) {
    case Type::kQ4_1:
    case Type::kQ5_1:
    case Type::kQ4_K:
    case Type::kQ5_K:
      return {0, 2};
    case Type::kQ2_K:
      return {80, 82};
    case Type::kQ3_K:
      return {108};
    case Type::kQ6_K:
      return {208};
    case Type::kMXFP4:
      return {};
    default:
      return {0};
  }
}

}  // namespace

std::vector<const Traits*> all_formats() {
  std::vector<const Traits*> result;
  for (uint32_t id = 0; id < kTypeIdLimit; ++id) {
    if (const Traits* t = find_traits(id)) result.push_back(t);
  }
  return result;
}

std::vector<const Traits*> block_formats() {
  std::vector<const Traits*> result;
  for (const Traits* t : all_formats()) {
    if (!t->is_float) result.push_back(t);
  }
  return result;
}

void Row::set_scales(uint16_t half, uint8_t exponent) {
  for (size_t at = 0; at < size(); at += static_cast<size_t>(traits_->block_bytes)) {
    for (const size_t offset : half_offsets(traits_->type)) {
      std::memcpy(data() + at + offset, &half, 2);
    }
    if (traits_->type == Type::kMXFP4) data()[at] = exponent;
  }
}

Row random_row(const Traits& t, int64_t n, std::mt19937& random) {
  Row row(t, n);
  for (size_t i = 0; i < row.size(); ++i) row.data()[i] = static_cast<uint8_t>(random());
  for (size_t at = 0; at < row.size(); at += static_cast<size_t>(t.block_bytes)) {
    for (const size_t offset : half_offsets(t.type)) {
      // Either sign, about 1e-7 (subnormal) to 1.
      const auto sign = random() & 0x8000;
      const auto half = static_cast<uint16_t>(sign | random() % 0x3c00);
      std::memcpy(row.data() + at + offset, &half, 2);
    }
    if (t.type == Type::kMXFP4) row.data()[at] = static_cast<uint8_t>(100 + random() % 40);
  }
  return row;
}

}  // namespace sluice::quant

// SPDX-License-Identifier: Apache-2.0
// What a model remembers of one sequence: the key-value cache of every attention layer.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "compute/backend.h"
#include "quant/quant.h"

namespace sluice::model {

struct CacheTypes {
  quant::Type key = quant::Type::kF16;
  quant::Type value = quant::Type::kF16;
};

class Sequence {
 public:
  struct Shape {
    int64_t layers;
    int64_t kv_heads;
    int64_t head_dim;
  };

  // kUsage when a type cannot be used with this head size, kTooLarge when memory is out.
  static Result<Sequence> create(const compute::Backend& backend, const Shape& shape,
                                 int64_t capacity, const CacheTypes& types);

  int64_t capacity() const { return capacity_; }
  int64_t length() const { return length_; }  // positions that are stored
  void set_length(int64_t length) { length_ = length; }
  const sluice_kv& kv(int64_t layer) const { return layers_[static_cast<size_t>(layer)]; }
  uint64_t bytes() const { return memory_.bytes(); }

 private:
  explicit Sequence(const compute::Backend& backend) : memory_(backend) {}

  compute::DeviceArray memory_;
  std::vector<sluice_kv> layers_;
  int64_t capacity_ = 0;
  int64_t length_ = 0;
};

}  // namespace sluice::model

// SPDX-License-Identifier: Apache-2.0
// The gated delta rule in double, as it is defined and in its chunked form.
#pragma once

#include <cstdint>
#include <vector>

#include "compute/backend_abi.h"

namespace sluice::compute {

struct DeltaInput {
  sluice_delta_heads heads{};
  int64_t rows = 0;
  std::vector<float> qkv, ba, a, bias;
  float eps = 1e-6f;

  int64_t values() const { return int64_t{heads.value_heads} * heads.value_dim; }
  int64_t channels() const { return 2 * int64_t{heads.key_heads} * heads.key_dim + values(); }
};

class DeltaReference {
 public:
  // A state of zeros for inputs of this shape.
  explicit DeltaReference(const DeltaInput& shape)
      : state_(static_cast<size_t>(shape.values() * shape.heads.key_dim)) {}

  // Both go on from the state; they return [rows, value_heads * value_dim].
  std::vector<double> run_by_steps(const DeltaInput& in);
  std::vector<double> run_by_chunks(const DeltaInput& in, int64_t chunk);

  const std::vector<double>& state() const { return state_; }  // [value_heads, key_dim, value_dim]

 private:
  std::vector<double> state_;
};

}  // namespace sluice::compute

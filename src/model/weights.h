// SPDX-License-Identifier: Apache-2.0
// Binds the tensors of a GGUF file to a model's weights: checks shapes, loads into a backend's
// memory.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "compute/backend.h"
#include "gguf/gguf.h"
#include "residency/device_tier.h"
#include "residency/expert_cache.h"

namespace sluice::model {

// The weight types of one layer's expert stacks, and their row sizes.
struct ExpertStack {
  quant::Type gate, up, down;
  int64_t dim = 0;
  int64_t hidden = 0;
};

// Where a batch of many rows has the experts computed that an accelerator does not hold.
enum class Misses { kMeasured, kOnHost, kCopied };

// How the experts of a model are kept.
struct ExpertOptions {
  residency::CacheOptions cache;
  storage::ReadQueueOptions reads;
  // Where the backend is an accelerator.
  residency::DeviceTierOptions device;
  Misses misses = Misses::kMeasured;
};

// Where the experts of a model are.
struct ExpertTiers {
  std::unique_ptr<residency::ExpertCache> memory;
  std::unique_ptr<residency::DeviceTier> device;  // nullptr: all are computed in the host's memory
  Misses misses = Misses::kMeasured;
};

class Weights {
 public:
  Weights(const gguf::Gguf& file, const compute::Backend& backend)
      : file_(&file), backend_(&backend) {}

  bool has(const std::string& name) const { return file_->find_tensor(name) != nullptr; }

  // A matrix of `rows` rows of `cols`. kBadFile naming the tensor when it is missing or has another
  // shape, kUnsupported when the backend cannot multiply its type.
  Result<sluice_matrix> matrix(const std::string& name, int64_t cols, int64_t rows);
  // The same for a matrix whose rows come in `groups` groups, each of parts[0] rows, then parts[1]
  // rows and so on: loaded in another order, with part 0 of all groups first, then part 1.
  Result<sluice_matrix> regrouped_matrix(const std::string& name, int64_t cols, int64_t groups,
                                         std::span<const int64_t> parts);
  // The same in the host's memory, whatever the backend, to look rows up.
  Result<sluice_matrix> host_matrix(const std::string& name, int64_t cols, int64_t rows);
  // A vector of n floats, widened from whatever float type the file has.
  Result<const float*> vector(const std::string& name, int64_t n);
  // A matrix of a float type, transposed: floats [cols, rows].
  Result<const float*> transposed(const std::string& name, int64_t cols, int64_t rows);

  // Declares the experts of the next mixture layer ("blk.N.ffn_gate_exps.weight" and so on, or the
  // joint ffn_gate_up_exps); their bytes are read through open_experts().
  Result<ExpertStack> experts(const std::string& prefix, int64_t dim, int64_t hidden,
                              int64_t count);
  // Ends the declarations.
  Result<ExpertTiers> open_experts(const ExpertOptions& options);

  uint64_t bytes() const { return bytes_; }  // loaded so far, experts not counted
  // Differs between files that hold other tensors, and almost surely between other weights.
  Result<uint64_t> fingerprint() const;

 private:
  Result<const gguf::Tensor*> find(const std::string& name, std::array<int64_t, 4> shape) const;
  Result<const gguf::Tensor*> expert_tensor(const std::string& name, int64_t cols, int64_t rows,
                                            int64_t count) const;
  Result<void*> load(const gguf::Tensor& tensor, const compute::Backend& backend);
  Result<std::vector<float>> floats(const gguf::Tensor& tensor) const;
  Result<void*> upload(const void* data, size_t bytes);

  const gguf::Gguf* file_;
  const compute::Backend* backend_;
  std::deque<compute::DeviceArray> memory_;
  residency::ExpertTable expert_table_;
  uint64_t bytes_ = 0;
};

// The first `rows` rows of a matrix from row `first` on.
inline sluice_matrix row_range(const sluice_matrix& matrix, int64_t first, int64_t rows) {
  sluice_matrix part = matrix;
  part.data = static_cast<const uint8_t*>(matrix.data) +
              static_cast<size_t>(first) *
                  quant::row_bytes(static_cast<quant::Type>(matrix.type), matrix.cols);
  part.rows = rows;
  return part;
}

}  // namespace sluice::model

// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <fmt/ranges.h>

namespace sluice::model {
namespace {

std::string shape_text(const std::array<int64_t, 4>& shape) {
  size_t used = 4;
  while (used > 1 && shape[used - 1] == 1) --used;
  return fmt::format("{{{}}}", fmt::join(shape.begin(), shape.begin() + used, ", "));
}

}  // namespace

Result<const gguf::Tensor*> Weights::find(const std::string& name,
                                          std::array<int64_t, 4> shape) const {
  const gguf::Tensor* tensor = file_->find_tensor(name);
  const std::string& path = file_->files().front()->name();
  if (!tensor)
    return fail(ErrorKind::kBadFile, "{}: tensor {} is missing: not a complete model", path, name);
  if (tensor->shape != shape)
    return fail(ErrorKind::kBadFile, "{}: tensor {} has shape {}, the metadata asks for {}",
                file_->files()[static_cast<size_t>(tensor->file)]->name(), name,
                shape_text(tensor->shape), shape_text(shape));
  if (!(*backend_)->supports_weight(backend_->get(), static_cast<uint32_t>(tensor->type)))
    return fail(ErrorKind::kUnsupported, "{}: tensor {} has type {}, which {} cannot multiply",
                path, name, quant::traits(tensor->type).name, backend_->name());
  return tensor;
}

Result<void*> Weights::load(const gguf::Tensor& tensor) {
  compute::DeviceArray& memory = memory_.emplace_back(*backend_);
  const auto bytes = static_cast<size_t>(tensor.bytes);
  SLUICE_TRY(memory.reserve(bytes));
  if ((*backend_)->host_memory) {
    SLUICE_TRY(file_->read(tensor, {static_cast<uint8_t*>(memory.data()), bytes}));
  } else {
    std::vector<uint8_t> staging(bytes);
    SLUICE_TRY(file_->read(tensor, staging));
    SLUICE_TRY(backend_->check(
        (*backend_)->upload(backend_->get(), memory.data(), staging.data(), bytes)));
  }
  bytes_ += bytes;
  return memory.data();
}

Result<sluice_matrix> Weights::matrix(const std::string& name, int64_t cols, int64_t rows) {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {cols, rows, 1, 1}));
  SLUICE_ASSIGN(void* data, load(*tensor));
  return sluice_matrix{data, static_cast<uint32_t>(tensor->type), cols, rows};
}

Result<const float*> Weights::vector(const std::string& name, int64_t n) {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {n, 1, 1, 1}));
  const quant::Traits& format = quant::traits(tensor->type);
  if (!format.is_float)
    return fail(ErrorKind::kUnsupported, "{}: tensor {} is {}, must be F32, F16 or BF16",
                file_->files().front()->name(), name, format.name);
  std::vector<uint8_t> raw(static_cast<size_t>(tensor->bytes));
  SLUICE_TRY(file_->read(*tensor, raw));
  std::vector<float> values(static_cast<size_t>(n));
  format.decode(raw.data(), n, values.data());
  compute::DeviceArray& memory = memory_.emplace_back(*backend_);
  const size_t bytes = values.size() * sizeof(float);
  SLUICE_TRY(memory.reserve(bytes));
  SLUICE_TRY(
      backend_->check((*backend_)->upload(backend_->get(), memory.data(), values.data(), bytes)));
  bytes_ += bytes;
  return static_cast<const float*>(memory.data());
}

Result<const gguf::Tensor*> Weights::expert_tensor(const std::string& name, int64_t cols,
                                                   int64_t rows, int64_t count) const {
  return find(name, {cols, rows, count, 1});
}

Result<ExpertStack> Weights::experts(const std::string& prefix, int64_t dim, int64_t hidden,
                                     int64_t count) {
  std::vector<residency::ExpertRanges> layer(static_cast<size_t>(count));
  // `first` of `of`: the share of each expert's slice that is this part.
  auto add = [&](residency::Part part, const gguf::Tensor& tensor, uint64_t first, uint64_t of) {
    const uint64_t slice = tensor.bytes / static_cast<uint64_t>(count);
    for (size_t e = 0; e < layer.size(); ++e)
      layer[e][part] = {tensor.file, tensor.offset + e * slice + first * (slice / of), slice / of};
  };

  ExpertStack stack{};
  stack.dim = dim;
  stack.hidden = hidden;
  if (has(prefix + "ffn_gate_up_exps.weight")) {
    SLUICE_ASSIGN(const gguf::Tensor* joint,
                  expert_tensor(prefix + "ffn_gate_up_exps.weight", dim, 2 * hidden, count));
    stack.gate = stack.up = joint->type;
    add(residency::kGate, *joint, 0, 2);
    add(residency::kUp, *joint, 1, 2);
  } else {
    SLUICE_ASSIGN(const gguf::Tensor* gate,
                  expert_tensor(prefix + "ffn_gate_exps.weight", dim, hidden, count));
    SLUICE_ASSIGN(const gguf::Tensor* up,
                  expert_tensor(prefix + "ffn_up_exps.weight", dim, hidden, count));
    stack.gate = gate->type;
    stack.up = up->type;
    add(residency::kGate, *gate, 0, 1);
    add(residency::kUp, *up, 0, 1);
  }
  SLUICE_ASSIGN(const gguf::Tensor* down,
                expert_tensor(prefix + "ffn_down_exps.weight", hidden, dim, count));
  stack.down = down->type;
  add(residency::kDown, *down, 0, 1);
  expert_table_.push_back(std::move(layer));
  return stack;
}

Result<residency::ExpertCache> Weights::load_experts(int threads) const {
  return residency::ExpertCache::load(expert_table_, file_->files(), threads);
}

}  // namespace sluice::model

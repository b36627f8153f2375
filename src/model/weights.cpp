// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <fmt/ranges.h>

#include <cstring>

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

Result<void*> Weights::load(const gguf::Tensor& tensor, const compute::Backend& backend) {
  compute::DeviceArray& memory = memory_.emplace_back(backend);
  const auto bytes = static_cast<size_t>(tensor.bytes);
  SLUICE_TRY(memory.reserve(bytes));
  if (backend->host_memory) {
    SLUICE_TRY(file_->read(tensor, {static_cast<uint8_t*>(memory.data()), bytes}));
  } else {
    std::vector<uint8_t> staging(bytes);
    SLUICE_TRY(file_->read(tensor, staging));
    SLUICE_TRY(backend.check(backend->upload(backend.get(), memory.data(), staging.data(), bytes)));
  }
  bytes_ += bytes;
  return memory.data();
}

Result<sluice_matrix> Weights::matrix(const std::string& name, int64_t cols, int64_t rows) {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {cols, rows, 1, 1}));
  SLUICE_ASSIGN(void* data, load(*tensor, *backend_));
  return sluice_matrix{data, static_cast<uint32_t>(tensor->type), cols, rows};
}

Result<sluice_matrix> Weights::host_matrix(const std::string& name, int64_t cols, int64_t rows) {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {cols, rows, 1, 1}));
  SLUICE_ASSIGN(void* data, load(*tensor, backend_->host()));
  return sluice_matrix{data, static_cast<uint32_t>(tensor->type), cols, rows};
}

Result<sluice_matrix> Weights::regrouped_matrix(const std::string& name, int64_t cols,
                                                int64_t groups, std::span<const int64_t> parts) {
  int64_t group_rows = 0;
  for (const int64_t part : parts) group_rows += part;
  const int64_t rows = groups * group_rows;
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {cols, rows, 1, 1}));
  std::vector<uint8_t> raw(static_cast<size_t>(tensor->bytes)), ordered(raw.size());
  SLUICE_TRY(file_->read(*tensor, raw));
  const size_t row = quant::row_bytes(tensor->type, cols);
  uint8_t* to = ordered.data();
  int64_t first = 0;
  for (const int64_t part : parts) {
    const size_t bytes = static_cast<size_t>(part) * row;
    for (int64_t group = 0; group < groups; ++group, to += bytes)
      std::memcpy(to, raw.data() + static_cast<size_t>(group * group_rows + first) * row, bytes);
    first += part;
  }
  SLUICE_ASSIGN(void* data, upload(ordered.data(), ordered.size()));
  return sluice_matrix{data, static_cast<uint32_t>(tensor->type), cols, rows};
}

Result<void*> Weights::upload(const void* data, size_t bytes) {
  compute::DeviceArray& memory = memory_.emplace_back(*backend_);
  SLUICE_TRY(memory.reserve(bytes));
  SLUICE_TRY(backend_->check((*backend_)->upload(backend_->get(), memory.data(), data, bytes)));
  bytes_ += bytes;
  return memory.data();
}

Result<std::vector<float>> Weights::floats(const gguf::Tensor& tensor) const {
  const quant::Traits& format = quant::traits(tensor.type);
  if (!format.is_float)
    return fail(ErrorKind::kUnsupported, "{}: tensor {} is {}, must be F32, F16 or BF16",
                file_->files().front()->name(), tensor.name, format.name);
  std::vector<uint8_t> raw(static_cast<size_t>(tensor.bytes));
  SLUICE_TRY(file_->read(tensor, raw));
  int64_t count = 1;
  for (const int64_t n : tensor.shape) count *= n;
  std::vector<float> values(static_cast<size_t>(count));
  format.decode(raw.data(), count, values.data());
  return values;
}

Result<const float*> Weights::vector(const std::string& name, int64_t n) {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {n, 1, 1, 1}));
  SLUICE_ASSIGN(const std::vector<float> values, floats(*tensor));
  SLUICE_ASSIGN(void* data, upload(values.data(), values.size() * sizeof(float)));
  return static_cast<const float*>(data);
}

Result<const float*> Weights::transposed(const std::string& name, int64_t cols, int64_t rows) {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {cols, rows, 1, 1}));
  SLUICE_ASSIGN(const std::vector<float> values, floats(*tensor));
  std::vector<float> turned(values.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      turned[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * cols + c)];
  SLUICE_ASSIGN(void* data, upload(turned.data(), turned.size() * sizeof(float)));
  return static_cast<const float*>(data);
}

Result<uint64_t> Weights::fingerprint() const {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto add = [&](const void* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i)
      hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3;
  };
  for (const gguf::Tensor& tensor : file_->tensors()) {
    add(tensor.name.data(), tensor.name.size());
    add(tensor.shape.data(), sizeof(tensor.shape));
    add(&tensor.type, sizeof(tensor.type));
  }
  // Vectors are small, and training changes them too.
  for (const gguf::Tensor& tensor : file_->tensors()) {
    if (!tensor.name.ends_with("_norm.weight")) continue;
    std::vector<uint8_t> raw(static_cast<size_t>(tensor.bytes));
    SLUICE_TRY(file_->read(tensor, raw));
    add(raw.data(), raw.size());
  }
  return hash;
}

Result<const gguf::Tensor*> Weights::expert_tensor(const std::string& name, int64_t cols,
                                                   int64_t rows, int64_t count) const {
  SLUICE_ASSIGN(const gguf::Tensor* tensor, find(name, {cols, rows, count, 1}));
  if (tensor->bytes / static_cast<uint64_t>(count) >= uint64_t{1} << 31)
    return fail(ErrorKind::kUnsupported, "{}: tensor {}: an expert has {} bytes, at most 2 GiB",
                file_->files()[static_cast<size_t>(tensor->file)]->name(), name,
                tensor->bytes / static_cast<uint64_t>(count));
  return tensor;
}

Result<ExpertStack> Weights::experts(const std::string& prefix, int64_t dim, int64_t hidden,
                                     int64_t count) {
  residency::LayerExperts layer;
  layer.experts.resize(static_cast<size_t>(count));
  // `first` of `of`: the share of each expert's slice that is this part.
  auto add = [&](residency::Part part, const gguf::Tensor& tensor, uint64_t first, uint64_t of) {
    const uint64_t slice = tensor.bytes / static_cast<uint64_t>(count);
    const auto bytes = static_cast<uint32_t>(slice / of);
    layer.names[part] = tensor.name;
    for (size_t e = 0; e < layer.experts.size(); ++e)
      layer.experts[e][part] = {tensor.file, tensor.offset + e * slice + first * bytes, bytes};
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
  expert_table_.layers.push_back(std::move(layer));
  return stack;
}

Result<ExpertTiers> Weights::open_experts(const ExpertOptions& options) {
  residency::ExpertTable table = std::move(expert_table_);
  for (const auto& file : file_->files()) table.files.push_back(file->name());
  std::unique_ptr<storage::ReadQueue> queue;
  if (!table.layers.empty()) {
    SLUICE_ASSIGN(queue, storage::open_read_queue(table.files, options.reads));
  }
  ExpertTiers tiers;
  tiers.misses = options.misses;
  SLUICE_ASSIGN(tiers.memory,
                residency::ExpertCache::create(std::move(table), std::move(queue), options.cache));
  if (!(*backend_)->host_memory && tiers.memory->experts() > 0) {
    SLUICE_ASSIGN(tiers.device,
                  residency::DeviceTier::create(*backend_, *tiers.memory, options.device));
  }
  return tiers;
}

}  // namespace sluice::model

// SPDX-License-Identifier: Apache-2.0
#include "gguf/tensor_info.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

#include "gguf/cursor.h"
#include "gguf/messages.h"

namespace sluice::gguf {
namespace {

// Smallest info: a name of one byte (8 + 1), n_dims (4), one size (8), type (4), offset (8).
constexpr uint64_t kMinInfoBytes = 33;

struct NamedId {
  uint32_t id;
  std::string_view name;
};
// Ids that the format defines or has defined; the ones with a layout here come from quant first.
constexpr NamedId kOtherTypes[] = {
    {4, "Q4_2"},   {5, "Q4_3"},        {9, "Q8_1"},        {15, "Q8_K"},       {19, "IQ1_S"},
    {24, "I8"},    {25, "I16"},        {26, "I32"},        {27, "I64"},        {28, "F64"},
    {29, "IQ1_M"}, {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"},   {34, "TQ1_0"},
    {35, "TQ2_0"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {40, "NVFP4"},
    {41, "Q1_0"},  {42, "Q2_0"},
};

std::string describe_type(uint32_t id) {
  for (const NamedId& type : kOtherTypes) {
    if (type.id == id) return fmt::format("{} (id {})", type.name, id);
  }
  return fmt::format("with id {}, unknown to this version,", id);
}

Result<std::array<int64_t, 4>> read_shape(Cursor& cursor, std::string_view field,
                                          uint32_t dimensions) {
  std::array<int64_t, 4> shape = {1, 1, 1, 1};
  int64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const uint64_t offset = cursor.position();
    SLUICE_ASSIGN(const int64_t size, cursor.number<int64_t>(field));
    if (size <= 0) {
      return cursor.error(
          ErrorKind::kBadFile, field, offset,
          "size {} of dimension {} is not positive: the file is damaged, download it "
          "again",
          size, i);
    }
    if (__builtin_mul_overflow(elements, size, &elements)) {
      return cursor.error(
          ErrorKind::kBadFile, field, offset,
          "the number of elements overflows at size {} of dimension {}: the file is "
          "damaged, download it again",
          size, i);
    }
    shape[i] = size;
  }
  return shape;
}

// The offset is still counted from the data section.
Result<Tensor> read_info(Cursor& cursor, uint64_t index, uint64_t alignment, int file) {
  const uint64_t start = cursor.position();
  const std::string number = fmt::format("tensor info {}", index);
  SLUICE_ASSIGN(std::string name, cursor.string(number, kMaxTensorNameBytes));
  if (name.empty()) {
    return cursor.error(ErrorKind::kBadFile, number, start,
                        "an empty name: the file is damaged, download it again");
  }
  const std::string field = fmt::format("tensor {}", quote(name));

  uint64_t offset = cursor.position();
  SLUICE_ASSIGN(const uint32_t dimensions, cursor.number<uint32_t>(field));
  if (dimensions < 1 || dimensions > kMaxDimensions) {
    return cursor.error(
        ErrorKind::kBadFile, field, offset,
        "has {} dimensions, 1 to {} are possible: the file is damaged, download it again",
        dimensions, kMaxDimensions);
  }
  offset = cursor.position();
  SLUICE_ASSIGN(const auto shape, read_shape(cursor, field, dimensions));

  const uint64_t type_offset = cursor.position();
  SLUICE_ASSIGN(const uint32_t type_id, cursor.number<uint32_t>(field));
  const quant::Traits* traits = quant::find_traits(type_id);
  if (!traits) {
    return cursor.error(ErrorKind::kUnsupported, field, type_offset,
                        "type {} is not supported: take the model in another quantisation, such as "
                        "Q4_K_M",
                        describe_type(type_id));
  }
  const Result<uint64_t> bytes = tensor_bytes(*traits, shape);
  if (!bytes) {
    return cursor.error(ErrorKind::kBadFile, field, offset,
                        "{}: the file is damaged, download it again", bytes.error().message);
  }

  offset = cursor.position();
  SLUICE_ASSIGN(const uint64_t relative_offset, cursor.number<uint64_t>(field));
  if (relative_offset % alignment != 0) {
    return cursor.error(
        ErrorKind::kBadFile, field, offset,
        "data offset {} is no multiple of the alignment {}: convert the model again",
        relative_offset, alignment);
  }
  return Tensor{std::move(name), traits->type, static_cast<int>(dimensions), shape, file,
                relative_offset, *bytes};
}

// Turns the offsets of the file's tensors (the table's last ones) into offsets from its start.
Status place(const Cursor& cursor, std::span<Tensor> tensors,
             std::span<const uint64_t> info_offsets, uint64_t data_offset) {
  const uint64_t file_bytes = cursor.reader().size();
  for (size_t i = 0; i < tensors.size(); ++i) {
    Tensor& tensor = tensors[i];
    uint64_t end;
    if (!checked_add(tensor.offset, data_offset, &tensor.offset) ||
        !checked_add(tensor.offset, tensor.bytes, &end)) {
      return cursor.error(ErrorKind::kBadFile, fmt::format("tensor {}", quote(tensor.name)),
                          info_offsets[i],
                          "its data offset overflows: the file is damaged, download it again");
    }
    if (end > file_bytes) {
      return cursor.error(
          ErrorKind::kBadFile, fmt::format("tensor {}", quote(tensor.name)), info_offsets[i],
          "the file ends at byte {}, the tensor needs bytes {} to {}: the file is cut "
          "short, download it again",
          file_bytes, tensor.offset, end);
    }
  }
  return {};
}

Status check_overlap(const Cursor& cursor, std::span<const Tensor> tensors,
                     std::span<const uint64_t> info_offsets) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return tensors[a].offset < tensors[b].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const Tensor& before = tensors[order[i - 1]];
    const Tensor& after = tensors[order[i]];
    if (before.offset + before.bytes > after.offset) {
      return cursor.error(
          ErrorKind::kBadFile, fmt::format("tensor {}", quote(after.name)), info_offsets[order[i]],
          "its data at byte {} overlaps tensor {}, which ends at byte {}: the file is "
          "damaged, download it again",
          after.offset, quote(before.name), before.offset + before.bytes);
    }
  }
  return {};
}

}  // namespace

Result<uint64_t> tensor_bytes(const quant::Traits& traits, const std::array<int64_t, 4>& shape) {
  if (shape[0] % traits.block_elements != 0) {
    return fail(ErrorKind::kUsage, "the row length {} is no multiple of {}'s block of {}", shape[0],
                traits.name, traits.block_elements);
  }
  uint64_t bytes = static_cast<uint64_t>(shape[0] / traits.block_elements);
  bool fits = checked_multiply(bytes, static_cast<uint64_t>(traits.block_bytes), &bytes);
  for (int i = 1; i < kMaxDimensions && fits; ++i) {
    fits = checked_multiply(bytes, static_cast<uint64_t>(shape[i]), &bytes);
  }
  if (!fits || bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return fail(ErrorKind::kUsage, "the size in bytes of {} x {} x {} x {} as {} overflows",
                shape[0], shape[1], shape[2], shape[3], traits.name);
  }
  return bytes;
}

Status read_tensor_infos(Cursor& cursor, uint64_t count, uint64_t alignment, int file,
                         TensorTable* table) {
  SLUICE_TRY(cursor.expect(count, kMinInfoBytes, "the tensor infos"));
  const size_t first = table->tensors.size();
  if (count > kMaxTensors - first) {
    return cursor.error(
        ErrorKind::kTooLarge, "the tensor infos", cursor.position(),
        "{} tensors, at most {} are accepted: the file is damaged, download it again", count,
        kMaxTensors);
  }
  std::vector<uint64_t> info_offsets;
  for (uint64_t i = 0; i < count; ++i) {
    info_offsets.push_back(cursor.position());
    SLUICE_ASSIGN(Tensor tensor, read_info(cursor, i, alignment, file));
    const auto [entry, is_new] = table->index.try_emplace(tensor.name, table->tensors.size());
    if (!is_new) {
      return cursor.error(ErrorKind::kBadFile, fmt::format("tensor {}", quote(tensor.name)),
                          info_offsets.back(),
                          "appears twice, first as tensor {} of part {}: convert the model again",
                          entry->second, table->tensors[entry->second].file + 1);
    }
    table->tensors.push_back(std::move(tensor));
  }
  // A position in a file and a capped alignment: this sum cannot wrap.
  const uint64_t data_offset = (cursor.position() + alignment - 1) / alignment * alignment;
  const std::span<Tensor> added = std::span(table->tensors).subspan(first);
  SLUICE_TRY(place(cursor, added, info_offsets, data_offset));
  return check_overlap(cursor, added, info_offsets);
}

}  // namespace sluice::gguf

// SPDX-License-Identifier: Apache-2.0
#include "gguf/split.h"

#include <algorithm>

namespace sluice::gguf {
namespace {

constexpr std::string_view kIndexKey = "split.no";
constexpr std::string_view kCountKey = "split.count";
constexpr std::string_view kTensorsKey = "split.tensors.count";

// Five digits, or nothing.
std::optional<uint64_t> parse_number(std::string_view digits) {
  uint64_t number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

}  // namespace

std::optional<SplitName> parse_split_name(std::string_view path) {
  constexpr std::string_view kShape = "-00000-of-00000.gguf";
  if (path.size() < kShape.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kShape.size());
  const auto number = parse_number(tail.substr(1, 5));
  const auto count = parse_number(tail.substr(10, 5));
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || !number ||
      !count || *number == 0 || *number > *count) {
    return std::nullopt;
  }
  return SplitName{std::string(path.substr(0, path.size() - kShape.size())), *number, *count};
}

std::string split_path(std::string_view prefix, uint64_t number, uint64_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, number, count);
}

Result<Split> read_split(const Metadata& metadata, std::string_view path) {
  Split split;
  SLUICE_ASSIGN(const uint64_t index, metadata.uint_or(kIndexKey, 0));
  SLUICE_ASSIGN(split.count, metadata.uint_or(kCountKey, 1));
  split.count = std::max<uint64_t>(split.count, 1);  // some tools write 0 for a model in one file
  if (split.count > Split::kMaxParts) {
    return metadata.error(
        ErrorKind::kBadFile, kCountKey,
        fmt::format("{} parts, at most {} can be named: the file is damaged, download "
                    "it again",
                    split.count, Split::kMaxParts));
  }
  if (index >= split.count) {
    return metadata.error(
        ErrorKind::kBadFile, kIndexKey,
        fmt::format("part {} (from 0) of {} cannot be: the file is damaged, download "
                    "it again",
                    index, split.count));
  }
  if (index != 0) {
    const auto name = parse_split_name(path);
    return metadata.error(
        ErrorKind::kUsage, kIndexKey,
        fmt::format("this is part {} of {}: give the first part{}", index + 1, split.count,
                    name ? ", " + split_path(name->prefix, 1, split.count) : std::string()));
  }
  if (split.count == 1) return split;
  SLUICE_ASSIGN(split.tensors, metadata.require_uint(kTensorsKey));
  return split;
}

Status check_part(const Metadata& metadata, const Split& split, uint64_t index) {
  SLUICE_ASSIGN(const uint64_t its_index, metadata.require_uint(kIndexKey));
  if (its_index != index) {
    return metadata.error(
        ErrorKind::kBadFile, kIndexKey,
        fmt::format("says part {} where part {} (from 0) is needed: a part was renamed "
                    "or is of another model, download it again",
                    its_index, index));
  }
  SLUICE_ASSIGN(const uint64_t its_count, metadata.require_uint(kCountKey));
  if (its_count != split.count) {
    return metadata.error(
        ErrorKind::kBadFile, kCountKey,
        fmt::format("says {} parts, the first part says {}: they are of different "
                    "models, download them again",
                    its_count, split.count));
  }
  return {};
}

Status check_total(const Metadata& first, const Split& split, uint64_t tensors) {
  if (split.count == 1 || tensors == split.tensors) return {};
  return first.error(
      ErrorKind::kBadFile, kTensorsKey,
      fmt::format("promises {} tensors, the {} parts hold {}: a part is of another model, "
                  "download them again",
                  split.tensors, split.count, tensors));
}

}  // namespace sluice::gguf

// SPDX-License-Identifier: Apache-2.0
// Models split into several files: names and the keys that bind the parts together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "gguf/metadata.h"

namespace sluice::gguf {

// "<prefix>-00002-of-00004.gguf": number from 1.
struct SplitName {
  std::string prefix;
  uint64_t number;
  uint64_t count;
};
std::optional<SplitName> parse_split_name(std::string_view path);
std::string split_path(std::string_view prefix, uint64_t number, uint64_t count);

// The parts a model consists of, as its first file tells.
struct Split {
  static constexpr uint64_t kMaxParts = 99999;  // five digits in the names
  uint64_t count = 1;
  uint64_t tensors = 0;  // of all parts together; unknown (0) for a model in one file
};

// `path` is used to tell which file to give when this one is a later part: kUsage. kBadFile when
// the keys contradict each other.
Result<Split> read_split(const Metadata& metadata, std::string_view path);

// kBadFile unless the file with this metadata says that it is part `index` (from 0) of
// `split.count`.
Status check_part(const Metadata& metadata, const Split& split, uint64_t index);

// kBadFile unless the parts together hold as many tensors as the first one promised.
Status check_total(const Metadata& first, const Split& split, uint64_t tensors);

}  // namespace sluice::gguf

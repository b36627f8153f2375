// SPDX-License-Identifier: Apache-2.0
// Where the experts lie in the model's files.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice::residency {

// The parts of one expert, in the order in which they are needed.
enum Part { kGate = 0, kUp = 1, kDown = 2, kParts = 3 };

struct ByteRange {
  int file = 0;
  uint64_t offset = 0;
  uint32_t bytes = 0;
};

using ExpertRanges = std::array<ByteRange, kParts>;

// One mixture layer. Its experts are of one size: expert e's part p has as many bytes as expert
// 0's.
struct LayerExperts {
  std::vector<ExpertRanges> experts;
  std::array<std::string, kParts> names;  // of the tensors, for messages

  uint64_t expert_bytes() const {
    uint64_t bytes = 0;
    if (!experts.empty())
      for (const ByteRange& range : experts.front()) bytes += range.bytes;
    return bytes;
  }
};

struct ExpertTable {
  std::vector<LayerExperts> layers;
  std::vector<std::string> files;  // paths, as ByteRange::file counts them

  uint64_t bytes() const {
    uint64_t bytes = 0;
    for (const LayerExperts& layer : layers) bytes += layer.expert_bytes() * layer.experts.size();
    return bytes;
  }
};

// Where one expert's parts lie in memory.
using ExpertParts = std::array<const uint8_t*, kParts>;

}  // namespace sluice::residency

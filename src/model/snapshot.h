// SPDX-License-Identifier: Apache-2.0
// A sequence's memory at one position, as one block of bytes in host memory that can be kept,
// written to a file and read again.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/result.h"

namespace sluice::model {

enum class SnapshotContent : uint32_t {
  kRecurrent = 0,  // states of recurrent layers only
  kAll = 1,        // and keys and values
};

// The first bytes of a snapshot, little-endian as in memory.
struct SnapshotHeader {
  static constexpr uint64_t kMagic = 0x50414e5345435553;  // "SUCESNAP"
  static constexpr uint32_t kVersion = 1;

  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  SnapshotContent content = SnapshotContent::kRecurrent;
  uint64_t model = 0;     // Sequence::Shape::model
  uint64_t sequence = 0;  // kRecurrent: the sequence that has the keys and values
  uint64_t history = 0;   // kRecurrent: how often that one had computed positions anew
  int64_t length = 0;
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t recurrent_layers = 0;
  int64_t conv_floats = 0;
  int64_t state_floats = 0;
  uint32_t key_type = 0;
  uint32_t value_type = 0;
};

class Snapshot {
 public:
  // kTooLarge when memory is out.
  static Result<Snapshot> create(const SnapshotHeader& header, uint64_t payload_bytes);
  // A copy of data(). kBadFile when it is no snapshot, or one of another version.
  static Result<Snapshot> parse(std::span<const uint8_t> bytes);

  const SnapshotHeader& header() const { return header_; }
  int64_t length() const { return header_.length; }
  uint64_t bytes() const { return memory_.size(); }
  std::span<const uint8_t> data() const { return {memory_.data(), memory_.size()}; }
  std::span<uint8_t> payload() {
    return {memory_.data() + sizeof(SnapshotHeader), memory_.size() - sizeof(SnapshotHeader)};
  }
  std::span<const uint8_t> payload() const {
    return {memory_.data() + sizeof(SnapshotHeader), memory_.size() - sizeof(SnapshotHeader)};
  }

 private:
  Snapshot() = default;
  SnapshotHeader header_;
  AlignedBuffer memory_;
};

}  // namespace sluice::model

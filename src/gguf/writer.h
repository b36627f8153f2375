// SPDX-License-Identifier: Apache-2.0
// Writes GGUF v3: metadata and tensor infos first, then tensor data streamed in order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"

namespace sluice::gguf {

// Order of calls: set and add_tensor, begin, write until every tensor is complete, finish. What is
// wrong with keys or tensors is told by begin. A writer that is destroyed before finish succeeded
// removes what it wrote; an existing file at the path is replaced only by finish.
class Writer {
 public:
  // Replaces a key that is already there. "general.alignment" (u32) sets the alignment, default 32.
  void set(std::string key, Value value);
  void set_string(std::string key, std::string value);
  void set_u32(std::string key, uint32_t value);
  void set_f32(std::string key, float value);
  void set_bool(std::string key, bool value);
  void set_strings(std::string key, std::vector<std::string> values);
  void set_i32s(std::string key, std::vector<int32_t> values);

  // Declares the next tensor; shape as in the file (ne[0] first).
  void add_tensor(std::string name, quant::Type type, std::vector<int64_t> shape);

  // Writes everything before the data to `path` (to path + ".part" until finish() renames it).
  // kUsage, naming the key or tensor, for what the reader would refuse, and for a path that is a
  // folder or a device; kIo when the system refuses.
  Status begin(const std::string& path);
  // Appends bytes of the declared tensors in order; padding is inserted between tensors. A tensor
  // may come in several pieces, a piece never spans tensors (kUsage). kIo with the path when the
  // disk is full. After an error every further call fails.
  Status write(std::span<const uint8_t> bytes);
  // kIo with the path when the disk is full; kUsage if bytes are missing.
  Status finish();

  Writer();
  ~Writer();
  Writer(Writer&& other) noexcept;
  Writer& operator=(Writer&& other) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::gguf

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

class Writer {
 public:
  void set(std::string key, Value value);  // replaces a key that is already there
  void set_string(std::string key, std::string value);
  void set_u32(std::string key, uint32_t value);
  void set_f32(std::string key, float value);
  void set_bool(std::string key, bool value);
  void set_strings(std::string key, std::vector<std::string> values);
  void set_i32s(std::string key, std::vector<int32_t> values);

  // Declares the next tensor; shape as in the file (ne[0] first).
  void add_tensor(std::string name, quant::Type type, std::vector<int64_t> shape);

  // Writes everything before the data to `path` (to path + ".part" until finish() renames it).
  Status begin(const std::string& path);
  // Appends bytes of the declared tensors in order; padding is inserted between tensors. A tensor may
  // come in several pieces, a piece never spans tensors.
  Status write(std::span<const uint8_t> bytes);
  // kIo with the path when the disk is full; fails if bytes are missing.
  Status finish();

  Writer();
  ~Writer();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::gguf

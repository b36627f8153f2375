// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice::hub {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const uint8_t> bytes);
  std::string hex();  // of all that was added; afterwards it is as new

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Sixty-four hexadecimal digits, lower case.
bool is_sha256(std::string_view text);

}  // namespace sluice::hub

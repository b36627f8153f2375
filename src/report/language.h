// SPDX-License-Identifier: Apache-2.0
// Texts in two languages, side by side where they are used.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace sluice::report {

class Language {
 public:
  static Language english() { return Language(false); }
  static Language chinese() { return Language(true); }

  bool is_chinese() const { return chinese_; }
  const char* code() const { return chinese_ ? "zh-CN" : "en"; }

  // Both formats are checked against the arguments when compiled; "{0}" puts them in another order.
  template <typename... Args>
  std::string operator()(fmt::format_string<Args...> en, fmt::format_string<Args...> zh,
                         Args&&... args) const {
    return fmt::format(chinese_ ? zh : en, std::forward<Args>(args)...);
  }

 private:
  explicit Language(bool chinese) : chinese_(chinese) {}
  bool chinese_;
};

}  // namespace sluice::report

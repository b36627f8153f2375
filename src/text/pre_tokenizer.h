// SPDX-License-Identifier: Apache-2.0
// Splits text into the words that byte-pair merging works on, by the regular expression that the
// vocabulary was trained with.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"

namespace sluice::text {

class PreTokenizer {
 public:
  // By the name in tokenizer.ggml.pre; kUnsupported for names this program has no expression for.
  static Result<PreTokenizer> create(std::string_view name);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Goes through one text; several may go through different texts at the same time.
  class Words {
   public:
    // `text` is valid UTF-8 and outlives this.
    Words(const PreTokenizer& pre_tokenizer, std::string_view text);
    ~Words();
    Words(const Words&) = delete;
    Words& operator=(const Words&) = delete;

    // The next word, never empty; every byte of the text is in exactly one word. Empty at the end.
    std::string_view next();

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Impl;
  explicit PreTokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::text

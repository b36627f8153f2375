// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace sluice::text {

std::string Utf8Stream::push(std::string_view bytes) {
  held_.append(bytes);
  std::string complete;
  complete.reserve(held_.size());
  const std::string_view text = held_;
  size_t i = 0;
  while (i < text.size()) {
    const auto c = decode_utf8(text.substr(i));
    if (c.status == Utf8Status::kIncomplete) break;
    complete.append(c.status == Utf8Status::kValid ? text.substr(i, c.length)
                                                   : kReplacementCharacter);
    i += c.length;
  }
  held_.erase(0, i);
  return complete;
}

std::string Utf8Stream::finish() {
  const bool incomplete = !held_.empty();
  held_.clear();
  return incomplete ? std::string(kReplacementCharacter) : std::string();
}

}  // namespace sluice::text

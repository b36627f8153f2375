// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "text/jinja/parser.h"

namespace sluice::text::jinja {

class Parser::Level {
 public:
  explicit Level(Parser& parser) : parser_(parser) {
    if (++parser_.depth_ > parser_.max_depth_) {
      throw Failure{ErrorKind::kTooLarge,
                    fmt::format("nests deeper than {} levels (limit depth)", parser_.max_depth_),
                    parser_.current().at};
    }
  }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;
  ~Level() { --parser_.depth_; }

 private:
  Parser& parser_;
};

}  // namespace sluice::text::jinja

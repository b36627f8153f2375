// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "text/jinja/interpreter.h"

namespace sluice::text::jinja {

// Evaluation may be nested deeper than any expression, since macros call each other; the stack must
// hold this many times the limit on depth.
inline constexpr int kEvaluationsPerDepth = 8;

class Interpreter::Nested {
 public:
  explicit Nested(Budget& budget) : budget_(budget) {
    if (++budget_.evaluations > budget_.limits().depth * kEvaluationsPerDepth) {
      --budget_.evaluations;
      exceed("nests its evaluation deeper than {} times {} (limit depth)", kEvaluationsPerDepth,
             budget_.limits().depth);
    }
  }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  ~Nested() { --budget_.evaluations; }

 private:
  Budget& budget_;
};

// Enters a new scope below `parent` and returns to the former one at the end.
class Interpreter::Frame {
 public:
  Frame(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), former_(interpreter.scope_), parent_(parent) {
    make();
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  ~Frame() { interpreter_.scope_ = former_; }

  // An empty scope for the next round.
  void renew() {
    if (owner_ != nullptr) {
      owner_->variables.clear();
    } else {
      make();
    }
  }

 private:
  void make() {
    owner_ = std::make_unique<Scope>();
    owner_->parent = parent_;
    owner_->owner = &owner_;
    interpreter_.scope_ = owner_.get();
  }

  Interpreter& interpreter_;
  Scope* former_;
  Scope* parent_;
  std::unique_ptr<Scope> owner_;
};

}  // namespace sluice::text::jinja

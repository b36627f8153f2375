// SPDX-License-Identifier: Apache-2.0
// A grammar as a machine over bytes: a graph of nodes, with calls of rules and counted repetitions.
// Repetitions are never written out, so that {1,65536} costs what {1,2} does.
#pragma once

#include <bitset>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

using NodeId = int32_t;
using ByteSet = std::bitset<256>;

struct Node {
  enum class Op : uint8_t {
    kBytes,   // one byte of byte_sets[argument], then next
    kSplit,   // any of targets[argument .. argument + next)
    kCall,    // rule `argument`, then next
    kRepeat,  // repeats[argument], then next
    kLoop,    // the end of a repetition's body
    kReturn,  // the end of a rule
  };
  Op op;
  int32_t argument = 0;
  NodeId next = 0;
};

struct Repeat {
  NodeId body;
  int32_t min;  // 0 where the body may be empty
  int32_t max;  // kUnlimited: counting stops at min
};

struct Program {
  std::vector<Node> nodes;
  std::vector<NodeId> targets;
  std::vector<ByteSet> byte_sets;  // none is empty
  std::vector<Repeat> repeats;
  std::vector<NodeId> entries;  // [rule]
  NodeId root = 0;              // entry of the rule that everything follows
};

constexpr size_t kMaxNodes = 500'000;

// kUsage for left recursion (naming the rule), kTooLarge above kMaxNodes. A rule that does nothing
// but turn into itself (a ::= a | "x") is fine.
Result<Program> compile(const Grammar& grammar);

}  // namespace sluice::text::grammar

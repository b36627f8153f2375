// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/program.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "base/check.h"
#include "text/grammar/left_recursion.h"
#include "text/quoted.h"
#include "text/unicode.h"

namespace sluice::text::grammar {
namespace {

using Op = Node::Op;

// The bytes of one position of a character: from..to.
struct ByteRange {
  uint8_t first;
  uint8_t last;
};
using Encoding = std::vector<ByteRange>;

// Splits code points first..last, whose UTF-8 has the same length, so that each part is a product
// of byte ranges.
void split_encodings(uint32_t first, uint32_t last, std::vector<Encoding>& out) {
  std::string a;
  std::string b;
  append_utf8(first, a);
  append_utf8(last, b);
  // The highest position, counted in groups of 6 bits from the right, below which everything is
  // covered; cut there.
  for (size_t low = 1; low < a.size(); ++low) {
    const uint32_t mask = (1U << (6 * low)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      split_encodings(first, first | mask, out);
      split_encodings((first | mask) + 1, last, out);
      return;
    }
    if ((last & mask) != mask) {
      split_encodings(first, (last & ~mask) - 1, out);
      split_encodings(last & ~mask, last, out);
      return;
    }
  }
  Encoding encoding;
  for (size_t i = 0; i < a.size(); ++i)
    encoding.push_back({static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i])});
  out.push_back(std::move(encoding));
}

std::vector<Encoding> encodings(const std::vector<Range>& ranges) {
  constexpr Range kLengths[] = {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, 0x10FFFF}};
  std::vector<Encoding> out;
  for (const Range& range : ranges) {
    for (const Range& length : kLengths) {
      const uint32_t first = std::max(range.first, length.first);
      const uint32_t last = std::min(range.last, length.last);
      if (first <= last) split_encodings(first, last, out);
    }
  }
  return out;
}

class Compiler {
 public:
  explicit Compiler(const Grammar& grammar)
      : grammar_(grammar), nullable_(find_nullable(grammar)) {}

  Result<Program> compile() {
    const RuleId bad = find_left_recursion(grammar_, nullable_);
    if (bad >= 0)
      return fail(ErrorKind::kUsage,
                  "grammar: rule {} begins with itself (left recursion): write it as a repetition, "
                  "as in a ::= b (\"+\" b)*",
                  quoted(grammar_.rules[static_cast<size_t>(bad)].name));
    const NodeId end = add({Op::kReturn});
    program_.entries.resize(grammar_.rules.size());
    for (size_t i = 0; i < grammar_.rules.size() && !full(); ++i) {
      SLUICE_CHECK(grammar_.rules[i].expr >= 0, "every rule is defined");
      program_.entries[i] = expr(grammar_.rules[i].expr, end);
    }
    if (full())
      return fail(ErrorKind::kTooLarge,
                  "grammar: it takes more than {} nodes: use fewer or smaller rules", kMaxNodes);
    program_.root = program_.entries[static_cast<size_t>(grammar_.root)];
    return std::move(program_);
  }

 private:
  bool full() const { return program_.nodes.size() > kMaxNodes; }

  NodeId add(Node node) {
    program_.nodes.push_back(node);
    return static_cast<NodeId>(program_.nodes.size() - 1);
  }

  NodeId add_split(const std::vector<NodeId>& targets) {
    const NodeId node = add({Op::kSplit});
    set_split(node, targets);
    return node;
  }

  void set_split(NodeId node, const std::vector<NodeId>& targets) {
    Node& split = program_.nodes[static_cast<size_t>(node)];
    split.argument = static_cast<int32_t>(program_.targets.size());
    split.next = static_cast<int32_t>(targets.size());
    program_.targets.insert(program_.targets.end(), targets.begin(), targets.end());
  }

  NodeId add_bytes(const ByteSet& set, NodeId next) {
    const auto [found, fresh] =
        sets_.try_emplace(set, static_cast<int32_t>(program_.byte_sets.size()));
    if (fresh) program_.byte_sets.push_back(set);
    return add({Op::kBytes, found->second, next});
  }

  // From the end to the beginning: `next` is what follows. Returns where it begins.
  NodeId expr(ExprId id, NodeId next) {
    if (full()) return next;
    const Expr& e = grammar_.exprs[static_cast<size_t>(id)];
    switch (e.kind) {
      case Expr::Kind::kLiteral:
        for (size_t i = e.bytes.size(); i-- > 0;) {
          ByteSet set;
          set.set(static_cast<uint8_t>(e.bytes[i]));
          next = add_bytes(set, next);
        }
        return next;
      case Expr::Kind::kClass:
        return char_class(e.ranges, next);
      case Expr::Kind::kSequence:
        for (size_t i = e.parts.size(); i-- > 0;) next = expr(e.parts[i], next);
        return next;
      case Expr::Kind::kChoice: {
        std::vector<NodeId> targets;
        for (const ExprId part : e.parts) targets.push_back(expr(part, next));
        return add_split(targets);
      }
      case Expr::Kind::kRepeat:
        return repeat(e, next);
      case Expr::Kind::kRule:
        return add({Op::kCall, e.rule, next});
    }
    SLUICE_CHECK(false, "an unknown expression");
  }

  NodeId char_class(const std::vector<Range>& ranges, NodeId next) {
    // One byte each: one node. Longer ones share their ends.
    ByteSet single;
    std::vector<NodeId> targets;
    std::unordered_map<uint64_t, NodeId> shared;  // (range, next) -> node
    const auto bytes = [&](ByteRange range, NodeId then) {
      const uint64_t key = static_cast<uint64_t>(then) << 16 | range.first << 8U | range.last;
      const auto [found, fresh] = shared.try_emplace(key, 0);
      if (fresh) {
        ByteSet set;
        for (int b = range.first; b <= range.last; ++b) set.set(static_cast<size_t>(b));
        found->second = add_bytes(set, then);
      }
      return found->second;
    };
    for (const Encoding& encoding : encodings(ranges)) {
      if (encoding.size() == 1) {
        for (int b = encoding[0].first; b <= encoding[0].last; ++b)
          single.set(static_cast<size_t>(b));
        continue;
      }
      NodeId node = next;
      for (size_t i = encoding.size(); i-- > 0;) node = bytes(encoding[i], node);
      targets.push_back(node);
    }
    if (single.any()) targets.push_back(add_bytes(single, next));
    return targets.size() == 1 ? targets.front() : add_split(targets);
  }

  NodeId repeat(const Expr& e, NodeId next) {
    const ExprId part = e.parts.front();
    const bool empty = may_be_empty(grammar_, nullable_, part);
    const int32_t min = empty ? 0 : e.min;
    if (e.max == 1) return add_split({expr(part, next), next});
    if (e.max == kUnlimited && min <= 1) {
      const NodeId loop = add({Op::kSplit});
      const NodeId body = expr(part, loop);
      set_split(loop, {body, next});
      return min == 1 ? body : loop;
    }
    const NodeId node = add({Op::kRepeat, static_cast<int32_t>(program_.repeats.size()), next});
    program_.repeats.push_back({0, min, e.max});
    const size_t index = program_.repeats.size() - 1;
    const NodeId body = expr(part, add({Op::kLoop}));
    program_.repeats[index].body = body;
    return node;
  }

  const Grammar& grammar_;
  std::vector<bool> nullable_;  // [rule]
  Program program_;
  std::unordered_map<ByteSet, int32_t> sets_;
};

}  // namespace

Result<Program> compile(const Grammar& grammar) {
  return Compiler(grammar).compile();
}

}  // namespace sluice::text::grammar

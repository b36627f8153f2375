// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/grammar.h"

#include <algorithm>
#include <set>

#include "base/check.h"

namespace sluice::text::grammar {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800;
constexpr uint32_t kLastSurrogate = 0xDFFF;

}  // namespace

std::vector<Range> normal_ranges(std::vector<Range> ranges, bool negated) {
  std::ranges::sort(ranges);
  std::vector<Range> joined;
  for (const Range& r : ranges) {
    if (!joined.empty() && r.first <= joined.back().last + 1)
      joined.back().last = std::max(joined.back().last, r.last);
    else
      joined.push_back(r);
  }
  if (negated) {
    std::vector<Range> others;
    uint32_t next = 0;
    for (const Range& r : joined) {
      if (r.first > next) others.push_back({next, r.first - 1});
      next = r.last + 1;
    }
    if (next <= kLastCodePoint) others.push_back({next, kLastCodePoint});
    joined = std::move(others);
  }
  std::vector<Range> out;
  for (const Range& r : joined) {
    if (r.first < kFirstSurrogate) out.push_back({r.first, std::min(r.last, kFirstSurrogate - 1)});
    if (r.last > kLastSurrogate) out.push_back({std::max(r.first, kLastSurrogate + 1), r.last});
  }
  return out;
}

ExprId Grammar::add(Expr expr) {
  exprs.push_back(std::move(expr));
  return static_cast<ExprId>(exprs.size() - 1);
}

ExprId Grammar::literal(std::string bytes) {
  const auto [found, fresh] = literals_.try_emplace(bytes, -1);
  if (!fresh) return found->second;
  Expr expr;
  expr.bytes = std::move(bytes);
  return found->second = add(std::move(expr));
}

ExprId Grammar::char_class(std::vector<Range> ranges, bool negated) {
  ranges = normal_ranges(std::move(ranges), negated);
  SLUICE_CHECK(!ranges.empty(), "a class that no character is in");
  const auto [found, fresh] = classes_.try_emplace(ranges, -1);
  if (!fresh) return found->second;
  Expr expr;
  expr.kind = Expr::Kind::kClass;
  expr.ranges = std::move(ranges);
  return found->second = add(std::move(expr));
}

ExprId Grammar::sequence(std::vector<ExprId> parts) {
  if (parts.empty()) return literal("");
  if (parts.size() == 1) return parts.front();
  Expr expr;
  expr.kind = Expr::Kind::kSequence;
  expr.parts = std::move(parts);
  return add(std::move(expr));
}

ExprId Grammar::choice(std::vector<ExprId> parts) {
  SLUICE_CHECK(!parts.empty(), "a choice among nothing");
  if (parts.size() == 1) return parts.front();
  Expr expr;
  expr.kind = Expr::Kind::kChoice;
  expr.parts = std::move(parts);
  return add(std::move(expr));
}

ExprId Grammar::repeat(ExprId part, int32_t min, int32_t max) {
  SLUICE_CHECK(0 <= min && min <= max, "bounds of a repetition");
  if (max == 0) return literal("");
  if (min == 1 && max == 1) return part;
  Expr expr;
  expr.kind = Expr::Kind::kRepeat;
  expr.parts = {part};
  expr.min = min;
  expr.max = max;
  return add(std::move(expr));
}

ExprId Grammar::call(RuleId rule) {
  const auto [found, fresh] = calls_.try_emplace(rule, -1);
  if (!fresh) return found->second;
  Expr expr;
  expr.kind = Expr::Kind::kRule;
  expr.rule = rule;
  return found->second = add(std::move(expr));
}

RuleId Grammar::add_rule(std::string name, ExprId expr) {
  rules.push_back({std::move(name), expr});
  return static_cast<RuleId>(rules.size() - 1);
}

ExprId Grammar::through(std::string_view mark) {
  SLUICE_CHECK(!mark.empty(), "a mark without text");
  std::vector<RuleId> begun;  // [bytes of the mark that the text ends with]
  for (size_t length = 0; length < mark.size(); ++length)
    begun.push_back(add_rule(std::string("until ").append(mark)));
  const std::set<char> letters(mark.begin(), mark.end());
  for (size_t length = 0; length < mark.size(); ++length) {
    // By where it leads to, so that there are few alternatives.
    std::map<size_t, std::vector<Range>> to;
    std::vector<Range> others;
    for (const char c : letters) {
      std::string end = std::string(mark.substr(0, length)) + c;
      while (!mark.starts_with(end)) end.erase(0, 1);
      const auto code = static_cast<uint32_t>(c);
      to[end.size()].push_back({code, code});
      others.push_back({code, code});
    }
    std::vector<ExprId> parts = {sequence({char_class(std::move(others), true), call(begun[0])})};
    for (auto& [next, ranges] : to) {
      const ExprId one = char_class(std::move(ranges));
      parts.push_back(next == mark.size() ? one : sequence({one, call(begun[next])}));
    }
    rules[static_cast<size_t>(begun[length])].expr = choice(std::move(parts));
  }
  return call(begun[0]);
}

}  // namespace sluice::text::grammar

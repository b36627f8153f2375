// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/left_recursion.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace sluice::text::grammar {
namespace {

struct Edge {
  RuleId to;
  bool tail;  // nothing is left to do afterwards
};

// The rules that `id` may call before it has read anything.
void left_calls(const Grammar& grammar, const std::vector<bool>& nullable, ExprId id, bool tail,
                std::vector<Edge>& out) {
  const Expr& e = grammar.exprs[static_cast<size_t>(id)];
  switch (e.kind) {
    case Expr::Kind::kLiteral:
    case Expr::Kind::kClass:
      return;
    case Expr::Kind::kSequence:
      for (size_t i = 0; i < e.parts.size(); ++i) {
        left_calls(grammar, nullable, e.parts[i], tail && i + 1 == e.parts.size(), out);
        if (!may_be_empty(grammar, nullable, e.parts[i])) return;
      }
      return;
    case Expr::Kind::kChoice:
      for (const ExprId part : e.parts) left_calls(grammar, nullable, part, tail, out);
      return;
    case Expr::Kind::kRepeat:
      left_calls(grammar, nullable, e.parts.front(), tail && e.max == 1, out);
      return;
    case Expr::Kind::kRule:
      out.push_back({e.rule, tail});
      return;
  }
}

}  // namespace

namespace {

// Whether `id` can be had from what can be had of rules; `characters`: from nothing but itself.
bool holds(const Grammar& grammar, const std::vector<bool>& rules, bool characters, ExprId id) {
  const Expr& e = grammar.exprs[static_cast<size_t>(id)];
  const auto part = [&](ExprId p) { return holds(grammar, rules, characters, p); };
  switch (e.kind) {
    case Expr::Kind::kLiteral:
      return characters || e.bytes.empty();
    case Expr::Kind::kClass:
      return characters;
    case Expr::Kind::kSequence:
      return std::ranges::all_of(e.parts, part);
    case Expr::Kind::kChoice:
      return std::ranges::any_of(e.parts, part);
    case Expr::Kind::kRepeat:
      return e.min == 0 || part(e.parts.front());
    case Expr::Kind::kRule:
      return rules[static_cast<size_t>(e.rule)];
  }
  return false;
}

// The rules that are called somewhere in it.
std::vector<RuleId> calls_in(const Grammar& grammar, ExprId expr) {
  std::vector<RuleId> calls;
  std::vector<ExprId> inside = {expr};
  while (!inside.empty()) {
    const Expr& e = grammar.exprs[static_cast<size_t>(inside.back())];
    inside.pop_back();
    if (e.kind == Expr::Kind::kRule) calls.push_back(e.rule);
    inside.insert(inside.end(), e.parts.begin(), e.parts.end());
  }
  return calls;
}

// [rule]: whether it holds, of those in `work` that hold only where others do.
std::vector<bool> rules_that_hold(const Grammar& grammar, bool characters,
                                  std::vector<RuleId> work) {
  // The rules that call each rule: only they can change when it does.
  std::unordered_map<RuleId, std::vector<RuleId>> callers;
  std::vector<bool> rules(grammar.rules.size(), false);
  for (const RuleId rule : work)
    for (const RuleId called : calls_in(grammar, grammar.rules[static_cast<size_t>(rule)].expr))
      callers[called].push_back(rule);
  while (!work.empty()) {
    const auto rule = static_cast<size_t>(work.back());
    work.pop_back();
    if (rules[rule] || !holds(grammar, rules, characters, grammar.rules[rule].expr)) continue;
    rules[rule] = true;
    const auto& more = callers[static_cast<RuleId>(rule)];
    work.insert(work.end(), more.begin(), more.end());
  }
  return rules;
}

}  // namespace

bool may_be_empty(const Grammar& grammar, const std::vector<bool>& nullable, ExprId id) {
  return holds(grammar, nullable, false, id);
}

std::vector<bool> find_nullable(const Grammar& grammar) {
  std::vector<RuleId> all(grammar.rules.size());
  std::iota(all.begin(), all.end(), 0);
  return rules_that_hold(grammar, false, std::move(all));
}

bool may_end(const Grammar& grammar, ExprId expr) {
  // Only what can be reached: a grammar of many schemas asks for each.
  std::vector<bool> seen(grammar.rules.size(), false);
  std::vector<RuleId> reached;
  const auto reach = [&](ExprId from) {
    for (const RuleId rule : calls_in(grammar, from)) {
      if (seen[static_cast<size_t>(rule)]) continue;
      seen[static_cast<size_t>(rule)] = true;
      reached.push_back(rule);
    }
  };
  reach(expr);
  for (size_t i = 0; i < reached.size(); ++i)
    reach(grammar.rules[static_cast<size_t>(reached[i])].expr);
  return holds(grammar, rules_that_hold(grammar, true, std::move(reached)), true, expr);
}

RuleId find_left_recursion(const Grammar& grammar, const std::vector<bool>& nullable) {
  const size_t count = grammar.rules.size();
  std::vector<std::vector<Edge>> edges(count);
  for (size_t rule = 0; rule < count; ++rule)
    left_calls(grammar, nullable, grammar.rules[rule].expr, true, edges[rule]);

  // Strongly connected components (Tarjan), without recursion.
  constexpr int32_t kNone = -1;
  std::vector<int32_t> order(count, kNone);
  std::vector<int32_t> low(count, 0);
  std::vector<int32_t> component(count, kNone);
  std::vector<size_t> open;
  std::vector<std::pair<size_t, size_t>> path;  // rule, next edge
  int32_t next_order = 0;
  int32_t components = 0;
  for (size_t start = 0; start < count; ++start) {
    if (order[start] != kNone) continue;
    path.emplace_back(start, 0);
    while (!path.empty()) {
      const size_t rule = path.back().first;
      if (path.back().second == 0) {
        order[rule] = low[rule] = next_order++;
        open.push_back(rule);
      }
      if (path.back().second < edges[rule].size()) {
        const auto to = static_cast<size_t>(edges[rule][path.back().second++].to);
        if (order[to] == kNone)
          path.emplace_back(to, 0);
        else if (component[to] == kNone)
          low[rule] = std::min(low[rule], order[to]);
        continue;
      }
      path.pop_back();
      if (!path.empty()) low[path.back().first] = std::min(low[path.back().first], low[rule]);
      if (low[rule] != order[rule]) continue;
      for (size_t member = count; member != rule;) {
        member = open.back();
        open.pop_back();
        component[member] = components;
      }
      ++components;
    }
  }
  for (size_t rule = 0; rule < count; ++rule)
    for (const Edge& edge : edges[rule])
      if (!edge.tail && component[rule] == component[static_cast<size_t>(edge.to)])
        return static_cast<RuleId>(rule);
  return -1;
}

}  // namespace sluice::text::grammar

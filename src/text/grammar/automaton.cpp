// SPDX-License-Identifier: Apache-2.0
#include "text/grammar/automaton.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::text::grammar {
namespace {

using Op = Node::Op;

constexpr int32_t kCallFrame = -1;
constexpr FrameId kBottom = 0;         // the whole text ends here
constexpr FrameId kUnknownCaller = 1;  // of local states
constexpr size_t kMaxConfigs = 20'000;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 29);
}

}  // namespace

size_t Automaton::FrameHash::operator()(const Frame& f) const {
  return mix(mix(static_cast<uint32_t>(f.node), static_cast<uint32_t>(f.count)), f.parent);
}

void Automaton::Seen::clear() {
  used_ = 0;
  if (++round_ != 0) return;
  std::ranges::fill(slots_, std::pair<uint64_t, uint32_t>{});
  round_ = 1;
}

bool Automaton::Seen::insert(uint64_t key) {
  if (2 * used_ >= slots_.size()) grow();
  const size_t mask = slots_.size() - 1;
  for (size_t i = mix(0, key) & mask;; i = (i + 1) & mask) {
    if (slots_[i].second == round_) {
      if (slots_[i].first == key) return false;
      continue;
    }
    slots_[i] = {key, round_};
    ++used_;
    return true;
  }
}

void Automaton::Seen::grow() {
  const auto old = std::exchange(slots_, decltype(slots_)(2 * slots_.size()));
  used_ = 0;
  for (const auto& [key, round] : old)
    if (round == round_) insert(key);
}

Automaton::Automaton(std::shared_ptr<const Program> program, Trigger trigger)
    : program_(std::move(program)), trigger_(std::move(trigger)) {
  if (!trigger_.text.empty()) {
    const auto add = [this](bool paused, const std::string& mark) {
      for (size_t length = 0; length < mark.size(); ++length) {
        Free free{paused, mark.substr(0, length)};
        if (std::ranges::find(free_, free) == free_.end()) free_.push_back(std::move(free));
      }
    };
    add(false, trigger_.text);
    if (!trigger_.pause_begin.empty() && !trigger_.pause_end.empty()) {
      add(false, trigger_.pause_begin);
      add(true, trigger_.pause_end);
    }
  }
  clear();
}

void Automaton::clear() {
  states_.clear();
  table_.clear();
  by_hash_.clear();
  frames_.clear();
  frame_ids_.clear();
  after_.clear();
  configs_ = 0;
  frames_.push_back({-1, kCallFrame, kBottom});
  frames_.push_back({-2, kCallFrame, kBottom});
  intern({});  // kDead
  for (size_t i = 0; i < free_.size(); ++i) {
    State state;
    state.free = static_cast<int32_t>(i);
    state.accepting = true;
    intern(std::move(state));
  }
}

StateId Automaton::free_state(const Free& free) const {
  const auto found = std::ranges::find(free_, free);
  return found == free_.end() ? kDead : static_cast<StateId>(found - free_.begin()) + 1;
}

// Nothing may follow.
StateId Automaton::over() {
  State state;
  state.accepting = true;
  return intern(std::move(state));
}

StateId Automaton::free_step(const Free& from, uint8_t byte) {
  std::string end = from.begun + static_cast<char>(byte);
  const auto came = [&](const std::string& mark) { return !mark.empty() && end.ends_with(mark); };
  if (!from.paused && came(trigger_.text)) {
    items_.push_back({program_->root, kBottom, true});
    return close();
  }
  if (came(from.paused ? trigger_.pause_end : trigger_.pause_begin))
    if (const StateId state = free_state({!from.paused, ""}); state != kDead) return state;
  for (;; end.erase(0, 1))
    if (const StateId state = free_state({from.paused, end}); state != kDead) return state;
}

StateId Automaton::start() {
  if (!free_.empty()) {
    const StateId paused = free_state({true, ""});
    return trigger_.paused && paused != kDead ? paused : 1;
  }
  items_.push_back({program_->root, kBottom, true});
  return close();
}

FrameId Automaton::frame(NodeId node, int32_t count, FrameId parent) {
  const Frame frame{node, count, parent};
  const auto [found, fresh] = frame_ids_.try_emplace(frame, static_cast<FrameId>(frames_.size()));
  if (fresh) frames_.push_back(frame);
  return found->second;
}

void Automaton::visit_repeat(NodeId node, int32_t count, FrameId parent, bool consumed) {
  const Node& n = program_->nodes[static_cast<size_t>(node)];
  const Repeat& repeat = program_->repeats[static_cast<size_t>(n.argument)];
  if (repeat.max == kUnlimited) count = std::min(count, repeat.min);
  if (count >= repeat.min) items_.push_back({n.next, parent, consumed});
  if (count < repeat.max) items_.push_back({repeat.body, frame(node, count, parent), false});
}

StateId Automaton::close() {
  State state;
  seen_.clear();
  while (!items_.empty()) {
    const Item item = items_.back();
    items_.pop_back();
    if (++work_ > work_limit_ || state.configs.size() > kMaxConfigs) {
      overflow_ = true;
      items_.clear();
      return kDead;
    }
    const Node& n = program_->nodes[static_cast<size_t>(item.node)];
    // Most items are bytes, and sorting finds those that came twice.
    if (n.op == Op::kBytes) {
      state.configs.push_back({item.node, item.frame});
      continue;
    }
    if (!seen_.insert(uint64_t{item.frame} << 32 | static_cast<uint64_t>(item.node) << 1 |
                      (item.consumed ? 1 : 0)))
      continue;
    switch (n.op) {
      case Op::kBytes:
        break;
      case Op::kSplit:
        for (int32_t i = 0; i < n.next; ++i)
          items_.push_back(
              {program_->targets[static_cast<size_t>(n.argument + i)], item.frame, item.consumed});
        break;
      case Op::kCall: {
        // Nothing to come back for: the rule's end is this one's.
        const bool tail = program_->nodes[static_cast<size_t>(n.next)].op == Op::kReturn;
        items_.push_back({program_->entries[static_cast<size_t>(n.argument)],
                          tail ? item.frame : frame(n.next, kCallFrame, item.frame),
                          item.consumed});
        break;
      }
      case Op::kRepeat:
        visit_repeat(item.node, 0, item.frame, item.consumed);
        break;
      case Op::kLoop: {
        // An empty round leads nowhere that leaving out the round does not.
        if (!item.consumed) break;
        const Frame f = frames_[item.frame];
        visit_repeat(f.node, f.count + 1, f.parent, true);
        break;
      }
      case Op::kReturn:
        if (item.frame == kBottom) {
          state.accepting = true;
        } else if (item.frame == kUnknownCaller) {
          state.exits = true;
        } else {
          const Frame f = frames_[item.frame];
          items_.push_back({f.node, f.parent, item.consumed});
        }
        break;
    }
  }
  if (state.accepting && !free_.empty()) return trigger_.once ? over() : 1;
  std::ranges::sort(state.configs);
  state.configs.erase(std::unique(state.configs.begin(), state.configs.end()), state.configs.end());
  return intern(std::move(state));
}

StateId Automaton::intern(State state) {
  uint64_t hash = static_cast<uint64_t>(state.free + 1) << 2 | (state.accepting ? 2 : 0) |
                  (state.exits ? 1 : 0);
  for (const Config& c : state.configs)
    hash = mix(hash, uint64_t{c.frame} << 32 | static_cast<uint32_t>(c.node));
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const State& known = states_[it->second];
    if (known.free == state.free && known.accepting == state.accepting &&
        known.exits == state.exits && known.configs == state.configs)
      return it->second;
  }
  const auto id = static_cast<StateId>(states_.size());
  // What is dead, or has ended, stays so: its steps need no computing.
  const bool over = state.configs.empty() && state.free < 0;
  configs_ += state.configs.size();
  states_.push_back(std::move(state));
  table_.insert(table_.end(), 256, over ? kDead : kUnknown);
  by_hash_.emplace(hash, id);
  return id;
}

StateId Automaton::compute_step(StateId state, uint8_t byte) {
  if (overflow_) return kDead;
  if (states_[state].free >= 0) {
    const StateId next = free_step(free_[static_cast<size_t>(states_[state].free)], byte);
    if (overflow_) return kDead;
    return table_[size_t{state} * 256 + byte] = next;
  }
  // All bytes that the same configurations allow lead to the same state.
  ByteSet same;
  same.set();
  for (const Config& c : states_[state].configs) {
    const Node& n = program_->nodes[static_cast<size_t>(c.node)];
    const ByteSet& set = program_->byte_sets[static_cast<size_t>(n.argument)];
    if (set.test(byte)) {
      same &= set;
      items_.push_back({n.next, c.frame, true});
    } else {
      same &= ~set;
    }
  }
  work_ += states_[state].configs.size();
  const StateId next = close();
  if (overflow_) return kDead;
  for (size_t b = 0; b < 256; ++b)
    if (same.test(b)) table_[size_t{state} * 256 + b] = next;
  return next;
}

int32_t Automaton::clamp(const Repeat& repeat, int32_t count, int32_t reach) const {
  // Counting in 64 bits: max may be the largest number.
  const int64_t min = repeat.min;
  const int64_t max = repeat.max;
  if (max - count <= reach) return count;
  if (count >= min) return static_cast<int32_t>(min);
  // The same distance to the least, as far as it matters; never nearer to the most than it was.
  if (min - count > reach) return static_cast<int32_t>(min - reach - 1);
  return count;
}

std::vector<Automaton::Part> Automaton::parts(StateId state, int32_t reach) {
  std::vector<std::pair<FrameId, Config>> cut;  // caller, configuration without it
  std::vector<FrameId> counters;
  for (const Config& c : states_[state].configs) {
    counters.clear();
    FrameId caller = c.frame;
    while (frames_[caller].count != kCallFrame) {
      counters.push_back(caller);
      caller = frames_[caller].parent;
    }
    FrameId local = kUnknownCaller;
    for (size_t i = counters.size(); i-- > 0;) {
      const Frame f = frames_[counters[i]];
      const Node& n = program_->nodes[static_cast<size_t>(f.node)];
      const Repeat& repeat = program_->repeats[static_cast<size_t>(n.argument)];
      local = frame(f.node, clamp(repeat, f.count, reach), local);
    }
    cut.push_back({caller, {c.node, local}});
  }
  std::ranges::sort(cut);
  std::vector<Part> out;
  for (size_t i = 0; i < cut.size();) {
    State local;
    const FrameId caller = cut[i].first;
    for (; i < cut.size() && cut[i].first == caller; ++i)
      if (local.configs.empty() || local.configs.back() != cut[i].second)
        local.configs.push_back(cut[i].second);
    out.push_back({intern(std::move(local)), caller});
  }
  return out;
}

StateId Automaton::after(FrameId caller) {
  if (const auto known = after_.find(caller); known != after_.end()) return known->second;
  StateId state = kDead;
  if (caller == kBottom) {
    state = free_.empty() || trigger_.once ? over() : 1;
  } else {
    const Frame f = frames_[caller];
    items_.push_back({f.node, f.parent, true});
    state = close();
    if (overflow_) return kDead;
  }
  after_.emplace(caller, state);
  return state;
}

size_t Automaton::bytes() const {
  return states_.size() * (256 * sizeof(StateId) + sizeof(State) + 64) + configs_ * sizeof(Config) +
         frames_.size() * (2 * sizeof(Frame) + 48);
}

StateId Automaton::restart(StateId state) {
  if (states_[state].free >= 0) {
    const StateId same = state;  // free states come first, always in the same order
    clear();
    return same;
  }
  State kept = states_[state];
  const std::vector<Frame> old = std::move(frames_);
  clear();
  // Parents come before their children.
  std::vector<FrameId> renamed(old.size(), kBottom);
  std::vector<bool> used(old.size(), false);
  for (const Config& c : kept.configs)
    for (FrameId f = c.frame; f > kUnknownCaller && !used[f]; f = old[f].parent) used[f] = true;
  renamed[kUnknownCaller] = kUnknownCaller;
  for (size_t f = kUnknownCaller + 1; f < old.size(); ++f)
    if (used[f]) renamed[f] = frame(old[f].node, old[f].count, renamed[old[f].parent]);
  for (Config& c : kept.configs) c.frame = renamed[c.frame];
  std::ranges::sort(kept.configs);
  return intern(std::move(kept));
}

}  // namespace sluice::text::grammar
